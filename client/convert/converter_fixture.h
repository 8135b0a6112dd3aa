// ConverterFixture: a file of a mount, and a ConversionWorker, on a FakeCluster.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "client/convert/conversion_worker.h"
#include "client/core/testing/file_model.h"

namespace cairn::client::convert {

using client::testing::FakeCluster;
using client::testing::FakeMaster;
using client::testing::FileModel;
using client::testing::pattern;
using client::testing::Shape;

inline constexpr Shape kFourTwo{};
inline constexpr Shape kTwoOne{
    .data = 2, .parity = 1, .min = 2, .cell_bytes = 32 * 1024, .piece_bytes = 256 * 1024};
inline constexpr Shape kThreeCopies{
    .data = 1, .parity = 2, .min = 2, .cell_bytes = 64 * 1024, .piece_bytes = 128 * 1024};
inline constexpr ByteCount kStripe = 4 * 64 * 1024;
inline constexpr ByteCount kChunk = 4 * kStripe;

class ConverterFixture : public ::testing::Test {
 protected:
  explicit ConverterFixture(std::uint64_t seed = 1)
      : cluster_(kFourTwo, seed, 1),
        mount_(cluster_.mount()),
        inode_(cluster_.create(*mount_, "a")),
        file_(cluster_, *mount_, inode_) {}

  FakeMaster& master() { return *cluster_.master; }
  FakeMaster::Node& node() { return master().nodes.at(inode_.raw()); }

  void want(Shape to) { master().wanted[inode_.raw()] = to; }
  // A converter begins to work.
  void start() {
    CHECK(worker_ == nullptr);
    Options options = cluster_.options();
    options.converter = 1025;
    options.hard = false;
    options.fail_on_nospace = true;
    ran_.reset();
    worker_ = std::make_unique<ConversionWorker>(cluster_.runtime, cluster_.network, *cluster_.log,
                                                 std::move(options));
    cluster_.start(worker_->run(), &ran_);
  }
  bool until_ran(Duration limit = 5min) {
    return cluster_.world.run_until([&] { return ran_.has_value(); }, limit);
  }
  // Until the master has no file for it any more.
  void join() {
    ASSERT_TRUE(until_ran());
    EXPECT_TRUE(ran_->has_value()) << ran_->error().to_string();
    stats_ = worker_->stats();
    worker_.reset();
  }
  void convert(Shape to) {
    want(to);
    start();
    join();
  }
  // Nothing but the file is left, in this shape, and whoever mounts it now reads the right bytes.
  void expect_whole(Shape is) {
    const Shape now = master().shape_of(inode_.raw());
    EXPECT_EQ(now.data, is.data);
    EXPECT_EQ(now.parity, is.parity);
    EXPECT_EQ(master().shadows, master().purged);
    for (const auto& [index, chunk] : node().chunks) {
      EXPECT_EQ(chunk.encoding().data(), is.data);
      EXPECT_EQ(chunk.inode(), inode_.raw());
    }
    file_.check_all();
    auto other = cluster_.mount();
    file_.use(*other);
    file_.check_all();
    file_.use(*mount_);
    cluster_.unmount(std::move(other));
    cluster_.check_parity();
  }
  void TearDown() override {
    if (worker_ != nullptr) {
      worker_->interrupt();
      ASSERT_TRUE(until_ran());
      worker_.reset();
    }
    if (mount_ == nullptr) return;
    mount_->release(inode_, OpenMode::kWrite);
    cluster_.unmount(std::move(mount_));
  }
  // Blocks of a piece of chunks of the file, all together.
  std::size_t stored_blocks() {
    std::size_t blocks = 0;
    for (const auto& [index, chunk] : node().chunks) {
      for (const pb::Piece& piece : chunk.pieces()) {
        const auto& held = cluster_.cs.at(piece.cs_id() - 1025)->pieces;
        const auto found = held.find({chunk.id(), piece.index()});
        if (found != held.end()) blocks += found->second.blocks.size();
      }
    }
    return blocks;
  }
  // A missing piece of any file.
  struct Missing {
    InodeId inode;
    std::uint64_t index = 0;
    std::uint32_t piece = 0;
  };
  std::optional<Missing> missing() {
    for (const auto& [id, one] : master().nodes) {
      for (const auto& [index, chunk] : one.chunks) {
        for (const pb::Piece& piece : chunk.pieces()) {
          if (piece.state() != pb::PIECE_MISSING) continue;
          return Missing{InodeId::from_raw(id), index, piece.index()};
        }
      }
    }
    return std::nullopt;
  }
  // False: nothing is missing, or it must wait.
  bool repair_one() {
    const std::optional<Missing> one = missing();
    if (!one.has_value()) return false;
    return cluster_.run(cluster_.repair(one->inode, one->index, one->piece));
  }
  static Task<Instant> stopped_at(ConversionWorker* worker, runtime::Runtime* runtime) {
    co_await worker->stop();
    co_return runtime->now();
  }
  // True for requests of converters.
  bool is_converter(const pb::ClientRequest& request) {
    return master().converter_sessions.contains(request.session());
  }

  FakeCluster cluster_;
  std::unique_ptr<FileSystem> mount_;
  InodeId inode_;
  FileModel file_;
  std::unique_ptr<ConversionWorker> worker_;
  std::optional<Status> ran_;
  ConversionWorker::Stats stats_;
};

}  // namespace cairn::client::convert
