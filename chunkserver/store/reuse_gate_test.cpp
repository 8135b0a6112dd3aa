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
  EXPECT_EQ(gate.held_blocks(), 1U);
  gate.end_read(second);
  EXPECT_EQ(gate.take_reusable(), (std::vector<Extent>{{3, 1}}));
  EXPECT_FALSE(gate.holds());
}

}  // namespace
}  // namespace cairn::chunkserver::store
