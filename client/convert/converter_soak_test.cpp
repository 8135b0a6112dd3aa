// Random programs: two mounts use a file while it is brought from one encoding into the next, and
// sessions of the converter end whenever they like.
#include "client/convert/converter_fixture.h"

namespace cairn::client::convert {
namespace {

class ConverterSoak : public ConverterFixture, public ::testing::WithParamInterface<int> {
 protected:
  ConverterSoak() : ConverterFixture(static_cast<std::uint64_t>(GetParam())) {}

  void step(Prng& prng) {
    const std::uint64_t size = file_.truth.size();
    FileSystem* const by = prng.chance(500) ? mount_.get() : other_.get();
    file_.use(*by);
    switch (prng.below(12)) {
      case 0:
        file_.truncate(prng.below(size + 1));
        break;
      case 1:
        file_.truncate(size + prng.below(kChunk));
        break;
      case 2:
        file_.write(size, pattern(prng.next(), 1 + prng.below(300'000)));
        break;
      case 3:
        file_.write(prng.below(size + kStripe), std::vector<std::byte>(1 + prng.below(200'000)));
        break;
      case 4:
        file_.fsync();
        break;
      case 5:
      case 6:
        file_.check(prng.below(size + 1), 1 + prng.below(500'000));
        break;
      default:
        file_.write(prng.below(size + 1), pattern(prng.next(), 1 + prng.below(30'000)));
    }
    cluster_.world.run_for(Duration(static_cast<std::int64_t>(prng.below(60'000'000))));
  }
  // Chunk servers get slow, quick, are away for a while; answers of the master are lost.
  void trouble(Prng& prng) {
    client::testing::FakeCs& cs = *cluster_.cs[prng.below(cluster_.cs.size())];
    switch (prng.below(5)) {
      case 0:
        cs.delay = Duration(static_cast<std::int64_t>(prng.below(30'000'000)));
        break;
      case 1:
        // With two pieces of a chunk missing writes would wait for a repair.
        if (away_ == nullptr && !missing().has_value()) {
          away_ = &cs;
          cs.kill();
        }
        break;
      case 2:
        master().lose_replies = 1;
        break;
      case 3:
        end_converter(prng);
        break;
      default:
        come_back();
    }
  }
  void come_back() {
    if (away_ != nullptr) std::exchange(away_, nullptr)->revive();
  }
  void end_converter(Prng& prng) {
    for (const std::uint64_t session : master().sessions()) {
      if (master().converter_sessions.contains(session) && prng.chance(500)) {
        master().end_session(session);
      }
    }
  }

  std::unique_ptr<FileSystem> other_;
  client::testing::FakeCs* away_ = nullptr;
};

TEST_P(ConverterSoak, EveryByteIsThereWhateverHappens) {
  Prng prng(static_cast<std::uint64_t>(GetParam()) * 77);
  other_ = cluster_.mount();
  ASSERT_TRUE(cluster_.run(other_->open(inode_, OpenMode::kWrite)).has_value());
  file_.write(0, pattern(prng.next(), 2 * kChunk + prng.below(2 * kChunk)));
  for (const auto& cs : cluster_.cs) {
    cs->delay = Duration(static_cast<std::int64_t>(prng.below(8'000'000)));
  }
  Shape is = kFourTwo;
  for (int round = 0; round < 3; ++round) {
    is = is.data == 4 ? kTwoOne : is.data == 2 ? kThreeCopies : kFourTwo;
    want(is);
    start();
    for (int i = 0; i < 60 && !ran_.has_value(); ++i) {
      step(prng);
      if (prng.chance(100)) trouble(prng);
      if (away_ == nullptr) repair_one();
      if (HasFatalFailure()) return;
    }
    come_back();
    while (!ran_.has_value()) {
      if (!repair_one()) cluster_.world.run_for(300ms);
    }
    join();
    file_.use(*mount_);
    if (master().wanted.empty()) {
      expect_whole(is);
    } else {
      is = master().shape_of(inode_.raw());
      expect_whole(is);
      master().forget_failures();
      master().wanted.clear();
    }
    if (HasFatalFailure()) return;
  }
  other_->release(inode_, OpenMode::kWrite);
  cluster_.unmount(std::move(other_));
}

INSTANTIATE_TEST_SUITE_P(Seeds, ConverterSoak, ::testing::Range(1, 25));

}  // namespace
}  // namespace cairn::client::convert
