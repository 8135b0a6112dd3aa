// Conversions that do not get to their end: the file must be as it was.
#include "client/convert/converter_fixture.h"
#include "client/convert/file_converter.h"

namespace cairn::client::convert {
namespace {

using IsStep = bool (*)(const pb::ClientRequest&, std::uint64_t source);
struct Step {
  const char* name;
  IsStep is;
  unsigned which = 1;  // the first one, the second...
};

const Step kSteps[] = {
    {"make the shadow",
     [](const pb::ClientRequest& r, std::uint64_t) { return r.has_make_shadow(); }},
    {"first look",
     [](const pb::ClientRequest& r, std::uint64_t s) {
       return r.has_get_chunks() && r.get_chunks().inode() == s;
     }},
    {"shared lease",
     [](const pb::ClientRequest& r, std::uint64_t s) {
       return r.has_acquire_lease() && r.acquire_lease().inode() == s;
     }},
    {"size of the shadow",
     [](const pb::ClientRequest& r, std::uint64_t) { return r.has_set_attr(); }},
    {"first chunk of the shadow",
     [](const pb::ClientRequest& r, std::uint64_t) { return r.has_open_chunk(); }},
    {"fourth chunk of the shadow",
     [](const pb::ClientRequest& r, std::uint64_t) { return r.has_open_chunk(); }, 4},
    {"second look",
     [](const pb::ClientRequest& r, std::uint64_t s) {
       return r.has_get_chunks() && r.get_chunks().inode() == s;
     },
     4},
    {"commit of the shadow",
     [](const pb::ClientRequest& r, std::uint64_t) { return r.has_commit_file(); }},
    {"release of the shadow",
     [](const pb::ClientRequest& r, std::uint64_t s) {
       return r.has_release_lease() && r.release_lease().inode() != s;
     }},
    {"look at the shadow",
     [](const pb::ClientRequest& r, std::uint64_t s) {
       return r.has_get_chunks() && r.get_chunks().inode() != s;
     }},
    {"exclusive lease",
     [](const pb::ClientRequest& r, std::uint64_t s) {
       return r.has_acquire_lease() && r.acquire_lease().inode() == s &&
              r.acquire_lease().mode() == pb::LEASE_EXCLUSIVE;
     }},
    {"swap", [](const pb::ClientRequest& r, std::uint64_t) { return r.has_swap_data(); }},
};

class ConverterFailureTest : public ConverterFixture {
 protected:
  // Runs `then` when the step comes for the first time.
  void at(Step step, std::function<void(std::uint64_t session)> then) {
    reached_ = 0;
    master().on_request = [this, step, then = std::move(then)](const pb::ClientRequest& request) {
      if (!is_converter(request) || !step.is(request, inode_.raw())) return;
      if (++reached_ == step.which) then(request.session());
    };
  }
  void prepare() {
    file_.truncate(0);
    file_.write(0, pattern(1, 5 * kChunk + 999));
    file_.write(7 * kChunk, pattern(2, 10'000));
    file_.fsync();
  }
  std::uint32_t ended() { return master().conversion_ended().value_or(9'999); }

  unsigned reached_ = 0;
};

TEST_F(ConverterFailureTest, AtAnyStepItsSessionMayEndAndTheNextOneConvertsTheFile) {
  Shape to = kTwoOne;
  std::uint64_t swaps = 0;
  for (const Step& step : kSteps) {
    SCOPED_TRACE(step.name);
    prepare();
    at(step, [this](std::uint64_t session) { master().end_session(session); });
    convert(to);
    EXPECT_GE(reached_, step.which);
    EXPECT_EQ(stats_.converted, 1U);
    EXPECT_EQ(master().swaps, ++swaps);
    expect_whole(to);
    if (HasFailure()) return;
    to = to.data == 2 ? kFourTwo : kTwoOne;
  }
}

TEST_F(ConverterFailureTest, AtAnyStepItMayBeInterruptedAndTheFileStays) {
  for (const Step& step : kSteps) {
    SCOPED_TRACE(step.name);
    prepare();
    want(kTwoOne);
    at(step, [this](std::uint64_t) { worker_->interrupt(); });
    start();
    const Instant began = cluster_.runtime.now();
    join();
    EXPECT_LT(cluster_.runtime.now() - began, Duration(10s));
    EXPECT_GE(reached_, step.which);
    // The swap may be under way then.
    const bool swapped = master().swaps != 0;
    expect_whole(swapped ? kTwoOne : kFourTwo);
    EXPECT_EQ(master().sessions().size(), 1U) << "it said good-bye";
    master().on_request = nullptr;
    if (swapped) {
      master().swaps = 0;
      convert(kFourTwo);
      expect_whole(kFourTwo);
      master().swaps = 0;
    }
    if (HasFailure()) return;
  }
}

TEST_F(ConverterFailureTest, ASwapWhoseAnswerIsLostIsDoneOnce) {
  prepare();
  at({"swap", [](const pb::ClientRequest& r, std::uint64_t) { return r.has_swap_data(); }},
     [this](std::uint64_t) { master().lose_replies = 1; });
  convert(kTwoOne);
  EXPECT_EQ(master().swaps, 1U);
  EXPECT_EQ(stats_.converted, 1U);
  expect_whole(kTwoOne);
}

TEST_F(ConverterFailureTest, ASessionThatEndsRightAfterTheSwapLeavesTheConvertedFile) {
  prepare();
  at({"swap", [](const pb::ClientRequest& r, std::uint64_t) { return r.has_swap_data(); }},
     [this](std::uint64_t session) {
       cluster_.runtime.post([this, session] { master().end_session(session); });
     });
  convert(kTwoOne);
  EXPECT_EQ(master().swaps, 1U);
  expect_whole(kTwoOne);
}

TEST_F(ConverterFailureTest, AFailoverInTheMiddleChangesNothing) {
  prepare();
  for (const auto& cs : cluster_.cs) cs->delay = 20ms;
  want(kTwoOne);
  start();
  cluster_.world.run_for(100ms);
  master().elect(0);
  join();
  for (const auto& cs : cluster_.cs) cs->delay = Duration();
  EXPECT_EQ(stats_.converted, 1U);
  expect_whole(kTwoOne);
}

TEST_F(ConverterFailureTest, WithoutSpaceTheFileStaysAndTheMasterIsToldWhy) {
  prepare();
  at({"second chunk", [](const pb::ClientRequest& r, std::uint64_t) { return r.has_open_chunk(); },
      2},
     [this](std::uint64_t) {
       for (const auto& cs : cluster_.cs) cs->full = true;
     });
  convert(kTwoOne);
  for (const auto& cs : cluster_.cs) cs->full = false;
  EXPECT_EQ(stats_.failed, 1U);
  EXPECT_EQ(ended(), static_cast<std::uint32_t>(Code::kNoSpace));
  EXPECT_EQ(master().swaps, 0U);
  expect_whole(kFourTwo);
}

TEST_F(ConverterFailureTest, ACopyThatLostPiecesIsNotSwapped) {
  prepare();
  at({"second chunk", [](const pb::ClientRequest& r, std::uint64_t) { return r.has_open_chunk(); },
      2},
     [this](std::uint64_t) { cluster_.cs[3]->kill(); });
  convert(kThreeCopies);
  EXPECT_EQ(stats_.failed, 1U);
  EXPECT_EQ(ended(), static_cast<std::uint32_t>(Code::kBusy));
  EXPECT_EQ(master().swaps, 0U);
  cluster_.cs[3]->revive();
  cluster_.world.run_for(1s);
  expect_whole(kFourTwo);
}

TEST_F(ConverterFailureTest, AFileThatCannotBeReadStays) {
  prepare();
  for (const std::size_t i : {0U, 1U, 2U, 3U}) cluster_.cs[i]->kill();
  convert(kTwoOne);
  EXPECT_EQ(stats_.failed, 1U);
  for (const std::size_t i : {0U, 1U, 2U, 3U}) cluster_.cs[i]->revive();
  cluster_.world.run_for(10s);
  EXPECT_EQ(master().swaps, 0U);
  expect_whole(kFourTwo);
}

// What changed last is small, but the chunk servers are slow: others do not wait for that.
TEST_F(ConverterFailureTest, OthersWaitForTheHeldFileOnlySoLong) {
  prepare();
  auto other = cluster_.mount();
  ASSERT_TRUE(cluster_.run(other->open(inode_, OpenMode::kRead)).has_value());
  std::optional<Instant> held;
  at({"exclusive lease",
      [](const pb::ClientRequest& r, std::uint64_t s) {
        return r.has_acquire_lease() && r.acquire_lease().inode() == s &&
               r.acquire_lease().mode() == pb::LEASE_EXCLUSIVE;
      }},
     [this, &held](std::uint64_t) {
       held = cluster_.runtime.now();
       for (auto& [index, chunk] : node().chunks) chunk.set_opened(chunk.opened() + 1);
       for (const auto& cs : cluster_.cs) cs->delay = 4s;
     });
  want(kTwoOne);
  start();
  ASSERT_TRUE(cluster_.world.run_until([&] { return held.has_value(); }, 60s));
  cluster_.world.run_for(1s);
  const Result<pb::Attributes> attributes = cluster_.run(other->get_attributes(inode_));
  EXPECT_TRUE(attributes.has_value());
  EXPECT_LT(cluster_.runtime.now() - *held, kHoldTime + 500ms);
  file_.write(0, pattern(5, kBlockBytes));
  EXPECT_LT(cluster_.runtime.now() - *held, kHoldTime + 1s);
  for (const auto& cs : cluster_.cs) cs->delay = Duration();
  join();
  EXPECT_EQ(ended(), static_cast<std::uint32_t>(Code::kBusy));
  other->release(inode_, OpenMode::kRead);
  cluster_.unmount(std::move(other));
  expect_whole(kFourTwo);
}

TEST_F(ConverterFailureTest, APausedMasterGetsItsFileBack) {
  prepare();
  for (const auto& cs : cluster_.cs) cs->delay = 400ms;
  want(kTwoOne);
  start();
  cluster_.world.run_for(1500ms);
  EXPECT_FALSE(ran_.has_value());
  master().convert_paused = true;
  join();
  for (const auto& cs : cluster_.cs) cs->delay = Duration();
  EXPECT_EQ(stats_.given_up, 1U);
  EXPECT_EQ(master().swaps, 0U);
  EXPECT_FALSE(master().conversion_ended().has_value());
  expect_whole(kFourTwo);
  master().convert_paused = false;
  convert(kTwoOne);
  expect_whole(kTwoOne);
}

TEST_F(ConverterFailureTest, AMasterThatNamesAnotherFileGetsThatOne) {
  prepare();
  const InodeId second = cluster_.create(*mount_, "b");
  FileModel b(cluster_, *mount_, second);
  b.write(0, pattern(8, 12 * kChunk));
  b.fsync();
  for (const auto& cs : cluster_.cs) cs->delay = 400ms;
  master().wanted[second.raw()] = kThreeCopies;
  start();
  cluster_.world.run_for(1500ms);
  want(kTwoOne);
  master().take_back(second.raw());
  join();
  for (const auto& cs : cluster_.cs) cs->delay = Duration();
  EXPECT_EQ(stats_.given_up, 1U);
  EXPECT_EQ(stats_.converted, 2U);
  b.check_all();
  EXPECT_EQ(master().shape_of(second.raw()).data, 1U);
  mount_->release(second, OpenMode::kWrite);
  expect_whole(kTwoOne);
}

TEST_F(ConverterFailureTest, AFileThatIsRemovedIsNoTroubleForTheNextOne) {
  const InodeId second = cluster_.create(*mount_, "b");
  FileModel b(cluster_, *mount_, second);
  b.write(0, pattern(8, 3 * kChunk));
  b.fsync();
  prepare();
  for (const auto& cs : cluster_.cs) cs->delay = 100ms;
  master().wanted[second.raw()] = kThreeCopies;
  want(kTwoOne);
  start();
  ASSERT_TRUE(cluster_.world.run_until([&] { return master().shadows == 1; }, 10s));
  cluster_.world.run_for(100ms);
  const Status closed = cluster_.run(mount_->fsync(inode_));
  EXPECT_TRUE(closed.has_value());
  mount_->release(inode_, OpenMode::kWrite);
  master().nodes.erase(inode_.raw());
  master().wanted.erase(inode_.raw());
  join();
  for (const auto& cs : cluster_.cs) cs->delay = Duration();
  EXPECT_EQ(stats_.converted, 1U);
  b.check_all();
  EXPECT_EQ(master().shadows, master().purged);
  mount_->release(second, OpenMode::kWrite);
  cluster_.unmount(std::move(mount_));
}

TEST_F(ConverterFailureTest, AMasterThatCannotBeReachedIsAnError) {
  master().close_all();
  start();
  ASSERT_TRUE(until_ran(5min));
  EXPECT_FALSE(ran_->has_value());
  worker_.reset();
  master().revive(0);
}

TEST_F(ConverterFailureTest, StopWaitsForItsEndAndMayComeFirst) {
  prepare();
  for (const auto& cs : cluster_.cs) cs->delay = 400ms;
  want(kTwoOne);
  start();
  cluster_.world.run_for(1500ms);
  std::optional<Instant> stopped;
  cluster_.start(stopped_at(worker_.get(), &cluster_.runtime), &stopped);
  ASSERT_TRUE(cluster_.world.run_until([&] { return stopped.has_value(); }, 10s));
  EXPECT_TRUE(ran_.has_value());
  for (const auto& cs : cluster_.cs) cs->delay = Duration();
  worker_.reset();
  expect_whole(kFourTwo);
  const std::size_t sessions = master().sessions().size();
  Options options = cluster_.options();
  options.converter = 1;
  ConversionWorker late(cluster_.runtime, cluster_.network, *cluster_.log, std::move(options));
  late.interrupt();
  EXPECT_TRUE(cluster_.run(late.run()).has_value());
  EXPECT_EQ(master().sessions().size(), sessions);
}

}  // namespace
}  // namespace cairn::client::convert
