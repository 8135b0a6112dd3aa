#include "chunkserver/store/reuse_gate.h"

#include <gtest/gtest.h>

namespace cairn::chunkserver::store {
namespace {

TEST(ReuseGate, HoldsBackUntilEarlierReadsEnded) {
  ReuseGate gate;
  gate.hold({{1, 1}});
  EXPECT_EQ(gate.take_reusable(), (std::vector<Extent>{{1, 1}}));
  const ReuseGate::Ticket first = gate.begin_read();
  gate.hold({{2, 1}});
  const ReuseGate::Ticket second = gate.begin_read();
  gate.hold({{3, 1}});
  EXPECT_TRUE(gate.take_reusable().empty());
  gate.end_read(first);
  EXPECT_EQ(gate.take_reusable(), (std::vector<Extent>{{2, 1}}));
  gate.end_read(second);
  EXPECT_EQ(gate.take_reusable(), (std::vector<Extent>{{3, 1}}));
  EXPECT_FALSE(gate.holds());
}

TEST(Epochs, TellWhenAllWhoWereInsideHaveLeft) {
  Epochs epochs;
  EXPECT_TRUE(epochs.empty());
  EXPECT_TRUE(epochs.left_since(epochs.mark()));
  const Epochs::Ticket first = epochs.begin();
  const Epochs::Ticket second = epochs.begin();
  const Epochs::Ticket mark = epochs.mark();
  const Epochs::Ticket later = epochs.begin();
  const Epochs::Ticket next = epochs.mark();
  epochs.end(first);
  EXPECT_FALSE(epochs.left_since(mark));
  epochs.end(second);
  EXPECT_TRUE(epochs.left_since(mark));
  EXPECT_FALSE(epochs.left_since(next));
  EXPECT_FALSE(epochs.empty());
  epochs.end(later);
  EXPECT_TRUE(epochs.left_since(next));
  EXPECT_TRUE(epochs.empty());
}

}  // namespace
}  // namespace cairn::chunkserver::store
