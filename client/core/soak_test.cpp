// Writers, failures and repairs at random. The copy of a repair takes only what `missed` names, so
// every region that a decided op touched without being marked ends as wrong parity or wrong bytes.
#include <gtest/gtest.h>

#include <array>

#include "client/core/testing/file_model.h"

namespace cairn::client {
namespace {

using testing::FakeCluster;
using testing::FileModel;
using testing::pattern;
using testing::Shape;

constexpr Shape kFourTwo{};
constexpr Shape kThreeCopies{.data = 1, .parity = 2, .min = 2};
constexpr int kSeeds = 10;

class Soak {
 public:
  Soak(Shape shape, std::uint64_t seed)
      : cluster_(shape, seed, 1, 2),
        prng_(seed),
        mount_(make()),
        inode_(cluster_.create(*mount_, "a")),
        file_(cluster_, *mount_, inode_) {}

  void run() {
    for (int step = 0; step < 150 && !::testing::Test::HasFatalFailure(); ++step) {
      const std::uint64_t kind = prng_.below(24);
      if (kind < 10) {
        write();
      } else if (kind < 18) {
        disturb(kind);
      } else if (kind < 22) {
        repair_some();
      } else {
        cluster_.world.run_for(std::chrono::milliseconds(prng_.below(400)));
      }
      cluster_.world.run_for(std::chrono::milliseconds(prng_.below(20)));
    }
    settle();
  }

 private:
  std::unique_ptr<FileSystem> make() {
    return cluster_.mount([](Options& options) {
      options.cache_bytes = 2_MiB;
      options.dirty_bytes_per_file = 1_MiB;
      options.operation_timeout = 60s;
    });
  }

  void write() {
    const std::uint64_t at = prng_.below(2'500'000);
    const std::uint64_t length = 1 + prng_.below(prng_.chance(300) ? 200'000 : 9'000);
    const std::vector<std::byte> bytes = pattern(prng_.next(), length);
    std::optional<Status> written;
    cluster_.start(mount_->write(inode_, FileOffset(at), bytes, false), &written);
    for (int i = 0; i < 600 && !written.has_value(); ++i) {
      cluster_.world.run_for(100ms);
      if (!written.has_value()) repair_some();
      if (i > 20) bring_back();
    }
    ASSERT_TRUE(written.has_value());
    ASSERT_TRUE(written->has_value()) << written->error().to_string();
    if (file_.truth.size() < at + length) file_.truth.resize(at + length);
    std::ranges::copy(bytes, file_.truth.begin() + static_cast<std::ptrdiff_t>(at));
  }

  void disturb(std::uint64_t kind) {
    const std::size_t server = prng_.below(cluster_.cs.size());
    if (kind < 13 && away_.size() < 2 && !away_.contains(server)) {
      const bool kills = prng_.chance(600);
      away_.emplace(server, kills);
      if (kills) {
        cluster_.cs[server]->kill();
      } else {
        cluster_.cs[server]->freeze();
      }
    } else if (kind < 15) {
      bring_back();
    } else if (kind == 15) {
      cluster_.network.cut(cluster_.cs[server]->address());
    } else if (kind == 16) {
      cluster_.master->lose_replies = 1 + prng_.below(2);
    } else {
      const std::size_t old = cluster_.master->leader();
      cluster_.master->kill(old);
      cluster_.world.run_for(std::chrono::milliseconds(prng_.below(800)));
      cluster_.master->elect(1 - old);
      cluster_.master->revive(old);
    }
  }

  void bring_back() {
    if (away_.empty()) return;
    const auto [server, killed] = *away_.begin();
    away_.erase(away_.begin());
    if (killed) {
      cluster_.cs[server]->revive();
    } else {
      cluster_.cs[server]->thaw();
    }
  }

  void repair_some() {
    for (auto& [index, chunk] : cluster_.master->nodes.at(inode_.raw()).chunks) {
      for (const pb::Piece& piece : chunk.pieces()) {
        const bool free = next_ == 0 || repairs_[next_ - 1].has_value();
        if (!free || next_ == repairs_.size()) return;
        const bool away = away_.contains(piece.cs_id() - 1025);
        if (piece.state() != pb::PIECE_MISSING || away) continue;
        const Duration copy = std::chrono::milliseconds(prng_.below(300));
        cluster_.start(cluster_.repair(inode_, index, piece.index(), copy), &repairs_[next_++]);
      }
    }
  }

  void settle() {
    while (!away_.empty()) bring_back();
    std::optional<Status> synced;
    cluster_.start(mount_->fsync(inode_), &synced);
    for (int i = 0; i < 900; ++i) {
      cluster_.world.run_for(100ms);
      repair_some();
    }
    ASSERT_TRUE(synced.has_value());
    ASSERT_TRUE(synced->has_value()) << synced->error().to_string();
    for (const auto& [index, chunk] : cluster_.master->nodes.at(inode_.raw()).chunks) {
      for (const pb::Piece& piece : chunk.pieces()) ASSERT_NE(piece.state(), pb::PIECE_MISSING);
    }
    cluster_.check_parity();
    mount_->release(inode_, OpenMode::kWrite);
    cluster_.unmount(std::move(mount_));
    auto other = cluster_.mount();
    file_.use(*other);
    file_.check_all();
    cluster_.unmount(std::move(other));
  }

  FakeCluster cluster_;
  Prng prng_;
  std::unique_ptr<FileSystem> mount_;
  InodeId inode_;
  FileModel file_;
  std::map<std::size_t, bool> away_;  // servers; killed, or frozen
  std::array<std::optional<bool>, 1'000> repairs_;
  std::size_t next_ = 0;
};

class SoakTest : public ::testing::TestWithParam<Shape> {};
INSTANTIATE_TEST_SUITE_P(Shapes, SoakTest, ::testing::Values(kFourTwo, kThreeCopies));

TEST_P(SoakTest, RandomWritesFailuresAndRepairsKeepEveryRowWhole) {
  for (std::uint64_t seed = 1; seed <= kSeeds && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Soak(GetParam(), seed).run();
  }
}

}  // namespace
}  // namespace cairn::client
