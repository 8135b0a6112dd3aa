// Conversions and the bytes behind them: a writer, and a converter that copies unit by unit and
// follows docs/protocols/conversion.md, take turns at random. The file has what was written last
// after every step, through any number of exchanges. A converter that spares a rule is found out:
// so the rules are needed, and this test would notice if the tables broke them.
#include <algorithm>
#include <map>

#include "common/base/limits.h"
#include "common/base/prng.h"
#include "mds/state/testing/cluster.h"

namespace cairn::mds::state {
namespace {

using testing::Cluster;
using testing::code_of;

constexpr Code kDone = static_cast<Code>(0);
constexpr std::uint64_t kUnit = limits::kPieceBytesDefault;  // one data piece of one chunk
constexpr std::uint64_t kUnitsMax = 12;

enum class Spared {
  kNothing,
  kRest,        // what changed since it was copied is not copied again under the lease
  kLookFirst,   // the stamp is noted after the range was read
  kOpenChunks,  // what was open is taken for settled
  kZeros,       // what is a hole now stays in the shadow
  kHoles,       // what was a hole is read nevertheless, and taken for the hole it is again later
};

// (id, opened) of a settled chunk; all 0: a hole.
struct Stamp {
  std::uint64_t id = 0;
  std::uint64_t opened = 0;
  bool open = false;
  friend bool operator==(const Stamp&, const Stamp&) = default;
};

class ConversionWorld {
 public:
  ConversionWorld(std::uint64_t seed, Spared spared) : prng_(seed), spared_(spared) {
    for (std::uint64_t i = 1; i <= 6; ++i) servers_.push_back(c_.add_cs(i));
    c_.set_policy(Cluster::kRoot, 4, 2, 5);
    writer_ = c_.open_session("writer");
    converter_ = c_.open_session("converter");
    file_ = c_.file(writer_, Cluster::kRoot, "f");
  }

  // False: the file has other bytes than it should.
  bool run(int steps) {
    for (int i = 1; i <= steps; ++i) {
      if (chance(500)) {
        write_step();
      } else {
        convert_step();
      }
      if (!is_true()) return false;
      if (i % 100 == 0) c_.expect_sound();
      if (::testing::Test::HasFailure()) return true;
    }
    c_.expect_sound();
    return true;
  }
  int swaps() const { return swaps_; }

 private:
  bool chance(std::uint32_t permille) { return prng_.chance(permille); }
  std::uint64_t units_of(std::uint64_t inode) const { return c_.attributes(inode).size() / kUnit; }
  static std::uint64_t data_of(const pb::InodeRecord& file) {
    return file.has_layout() ? file.layout().encoding().data() : 1;
  }
  std::optional<pb::Chunk> chunk_at(std::uint64_t inode, std::uint64_t index) const {
    const std::vector<pb::Chunk> chunks = c_.chunks(inode, index);
    if (chunks.empty() || chunks[0].index() != index) return std::nullopt;
    return chunks[0];
  }

  // ---- the data path, which does what it should ----

  std::uint64_t read(std::uint64_t inode, std::uint64_t unit) const {
    const std::uint64_t data = data_of(c_.inode(inode));
    const std::optional<pb::Chunk> chunk = chunk_at(inode, unit / data);
    return chunk ? disk_.at(chunk->id()).at(unit % data) : 0;
  }
  void write(std::uint64_t session, std::uint64_t inode, std::uint64_t unit, std::uint64_t value) {
    const pb::InodeRecord file = c_.inode(inode);
    const pb::Encoding& e = file.has_layout() ? file.layout().encoding() : file.policy().encoding();
    pb::OpenChunk op;
    op.set_inode(inode);
    op.set_epoch(file.lease_epoch());
    op.set_index(unit / e.data());
    const std::vector<std::uint32_t> places(servers_.begin(),
                                            servers_.begin() + e.data() + e.parity());
    const pb::ClientReply reply = c_.open_chunk(session, op, places);
    ASSERT_EQ(code_of(reply.error()), kDone) << reply.error().message();
    std::vector<std::uint64_t>& content = disk_[reply.open_chunk().chunk().id()];
    content.resize(e.data());
    content[unit % e.data()] = value;
  }
  void trim(std::uint64_t session, std::uint64_t inode) {
    const pb::InodeRecord file = c_.inode(inode);
    if (!file.trim_pending()) return;
    const std::uint64_t data = data_of(file);
    for (std::uint64_t unit = units_of(inode); unit % data != 0; ++unit) {
      write(session, inode, unit, 0);
    }
    c_.commit(session, inode, file.lease_epoch(), 0, true);
  }
  void set_size(std::uint64_t session, std::uint64_t inode, std::uint64_t units) {
    if (units > units_of(inode)) trim(session, inode);
    const std::uint64_t epoch = c_.inode(inode).lease_epoch();
    c_.truncate(session, inode, epoch, units * kUnit);
  }
  bool holds(std::uint64_t session, std::uint64_t inode) const {
    return c_.inode(inode).lease_session() == session;
  }
  // True once the session has it.
  bool acquire(std::uint64_t session, std::uint64_t inode) {
    return code_of(c_.grant(session, inode).error()) == kDone;
  }
  void release(std::uint64_t session, std::uint64_t inode) {
    if (holds(session, inode)) c_.release(session, inode, c_.inode(inode).lease_epoch());
  }
  void recover(std::uint64_t inode) {
    for (const pb::Chunk& chunk : c_.chunks(inode)) {
      if (chunk.writer_epoch() == 0) continue;
      const std::uint64_t version = c_.begin_recovery(chunk.id()).chunk().version();
      EXPECT_EQ(Cluster::error(c_.finish_recovery(chunk.id(), version)), 0U);
    }
  }

  bool is_true() const {
    const pb::InodeRecord file = c_.inode(file_);
    if (file.attributes().size() != truth_.size() * kUnit) return false;
    std::vector<std::uint64_t> content(truth_.size());
    for (const pb::Chunk& chunk : c_.chunks(file_)) {
      const std::vector<std::uint64_t>& units = disk_.at(chunk.id());
      const std::uint64_t first = chunk.index() * data_of(file);
      for (std::uint64_t i = 0; i < units.size() && first + i < content.size(); ++i) {
        content[first + i] = units[i];
      }
    }
    return content == truth_;
  }

  // ---- the writer ----

  void write_step() {
    if (!holds(writer_, file_)) {
      acquire(writer_, file_);
      return;
    }
    const std::uint64_t dice = prng_.below(100);
    const std::uint64_t unit = prng_.below(kUnitsMax);
    if (dice < 55) {
      write_unit(unit, chance(100) ? 0 : ++next_value_);
    } else if (dice < 65) {
      close_some();
    } else if (dice < 75) {
      set_size(writer_, file_, unit);
      truth_.resize(unit);
    } else if (dice < 90) {
      release(writer_, file_);
    } else if (dice < 93) {
      c_.release(writer_, file_, c_.inode(file_).lease_epoch(), true);
      recover(file_);
    } else {
      set_policy();
    }
  }
  void write_unit(std::uint64_t unit, std::uint64_t value) {
    if (unit >= truth_.size()) {
      trim(writer_, file_);
      truth_.resize(unit + 1);
    }
    write(writer_, file_, unit, value);
    truth_[unit] = value;
    c_.commit(writer_, file_, c_.inode(file_).lease_epoch(), truth_.size() * kUnit);
  }
  void close_some() {
    for (const pb::Chunk& chunk : c_.chunks(file_)) {
      if (chunk.writer_epoch() == 0 || chance(500)) continue;
      pb::ClientRequest request;
      request.mutable_close_chunk()->set_inode(file_);
      request.mutable_close_chunk()->set_epoch(chunk.writer_epoch());
      request.mutable_close_chunk()->set_chunk(chunk.id());
      EXPECT_EQ(code_of(c_.mutate(writer_, request).error()), kDone);
    }
  }
  void set_policy() {
    const std::uint64_t dice = prng_.below(3);
    if (dice == 0) c_.set_policy(file_, 4, 2, 5);
    if (dice == 1) c_.set_policy(file_, 1, 2, 2);
    if (dice == 2) c_.set_policy(file_, 2, 1, 2);
  }

  // ---- the converter ----

  void convert_step() {
    if (shadow_ == 0) {
      begin();
    } else if (chance(5)) {
      give_up();
    } else if (range_) {
      copy_unit();
    } else if (!holds(converter_, file_)) {
      copy_or_lock();
    } else {
      finish();
    }
  }
  void begin() {
    const pb::ClientReply made = c_.make_shadow(converter_, file_);
    if (code_of(made.error()) != kDone) return;
    shadow_ = made.make_node().attributes().inode();
    copied_.clear();
  }
  std::uint64_t ranges() const {
    const std::uint64_t data = data_of(c_.inode(file_));
    return (std::max(units_of(file_), units_of(shadow_)) + data - 1) / data;
  }
  Stamp look(std::uint64_t range) const {
    const std::optional<pb::Chunk> chunk = chunk_at(file_, range);
    if (!chunk) return {};
    const bool open = spared_ != Spared::kOpenChunks && chunk->writer_epoch() != 0;
    return {.id = chunk->id(), .opened = chunk->opened(), .open = open};
  }
  bool is_copied(std::uint64_t range) const {
    const auto it = copied_.find(range);
    const Stamp now = look(range);
    if (it == copied_.end()) return now == Stamp{};
    return !now.open && it->second == now;
  }
  std::vector<std::uint64_t> changed() const {
    std::vector<std::uint64_t> found;
    for (std::uint64_t range = 0; range < ranges(); ++range) {
      if (!is_copied(range)) found.push_back(range);
    }
    return found;
  }
  void begin_range(std::uint64_t range) {
    range_ = range;
    noted_ = look(range);
    unit_ = range * data_of(c_.inode(file_));
  }
  void copy_unit() {
    const bool hole = noted_ == Stamp{} && spared_ != Spared::kHoles;
    const std::uint64_t value = !hole && unit_ < units_of(file_) ? read(file_, unit_) : 0;
    const bool zero = value == 0 && (spared_ == Spared::kZeros || read(shadow_, unit_) == 0);
    if (!zero) write_shadow(value);
    const std::uint64_t data = data_of(c_.inode(file_));
    if (++unit_ % data != 0) return;
    const Stamp stamp = spared_ == Spared::kLookFirst ? look(*range_) : noted_;
    copied_.erase(*range_);
    // Of an open one it notes nothing that could be found again.
    copied_[*range_] = stamp.open ? Stamp{.id = UINT64_MAX} : stamp;
    range_.reset();
  }
  void write_shadow(std::uint64_t value) {
    ASSERT_TRUE(acquire(converter_, shadow_));
    if (units_of(shadow_) <= unit_) set_size(converter_, shadow_, unit_ + 1);
    write(converter_, shadow_, unit_, value);
  }
  void copy_or_lock() {
    const std::vector<std::uint64_t> left = changed();
    if (!left.empty() && chance(900)) {
      begin_range(left[prng_.below(left.size())]);
      return;
    }
    release(converter_, shadow_);
    // The recall: the writer flushes and gives it back.
    release(writer_, file_);
    ASSERT_TRUE(acquire(converter_, file_));
  }
  // Under the lease.
  void finish() {
    const std::vector<std::uint64_t> left = changed();
    if (!left.empty() && spared_ != Spared::kRest) {
      begin_range(left[0]);
      return;
    }
    if (chance(100)) {  // it takes too long
      release(converter_, file_);
      return;
    }
    if (units_of(shadow_) != units_of(file_)) {
      ASSERT_TRUE(acquire(converter_, shadow_));
      set_size(converter_, shadow_, units_of(file_));
    }
    if (c_.inode(shadow_).trim_pending()) {
      ASSERT_TRUE(acquire(converter_, shadow_));
      trim(converter_, shadow_);
    }
    release(converter_, shadow_);
    swap();
  }
  void swap() {
    const pb::Attributes before = c_.attributes(file_);
    const auto row = c_.conversion(file_);
    const bool same = row && row->encoding().data() == c_.inode(shadow_).policy().encoding().data();
    const pb::ClientReply reply =
        c_.swap_data(converter_, file_, c_.inode(file_).lease_epoch(), shadow_);
    EXPECT_EQ(code_of(reply.error()) == kDone, same) << reply.error().message();
    if (same) ++swaps_;
    EXPECT_EQ(c_.attributes(file_).mtime_ns(), before.mtime_ns());
    EXPECT_EQ(c_.attributes(file_).ctime_ns(), before.ctime_ns());
    give_up();
  }
  // Its session ends, whatever it was at; the shadow is purged.
  void give_up() {
    if (holds(converter_, shadow_)) recover(shadow_);
    EXPECT_EQ(Cluster::error(c_.end_session(converter_)), 0U);
    EXPECT_TRUE(c_.purge(shadow_, 100).purged());
    converter_ = c_.open_session("converter");
    shadow_ = 0;
    range_.reset();
  }

  Prng prng_;
  Spared spared_;
  Cluster c_ = Cluster::made();
  std::vector<std::uint32_t> servers_;
  std::uint64_t writer_ = 0;
  std::uint64_t file_ = 0;
  std::map<std::uint64_t, std::vector<std::uint64_t>> disk_;  // chunk -> its units
  std::vector<std::uint64_t> truth_;
  std::uint64_t next_value_ = 0;

  std::uint64_t converter_ = 0;
  std::uint64_t shadow_ = 0;
  std::map<std::uint64_t, Stamp> copied_;
  std::optional<std::uint64_t> range_;  // under way, with what was noted when it began
  Stamp noted_;
  std::uint64_t unit_ = 0;
  int swaps_ = 0;
};

TEST(ConversionTruth, TheFileHasWhatWasWrittenLast) {
  int swaps = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    ConversionWorld world(seed, Spared::kNothing);
    ASSERT_TRUE(world.run(1000)) << "wrong bytes";
    if (::testing::Test::HasFailure()) return;
    swaps += world.swaps();
  }
  EXPECT_GT(swaps, 100);
}

// Each rule is needed, and a world without it is noticed soon.
TEST(ConversionTruth, AConverterThatSparesARuleIsFoundOut) {
  for (const Spared spared :
       {Spared::kRest, Spared::kLookFirst, Spared::kOpenChunks, Spared::kZeros, Spared::kHoles}) {
    SCOPED_TRACE("rule " + std::to_string(static_cast<int>(spared)));
    bool found = false;
    for (std::uint64_t seed = 1; seed <= 40 && !found; ++seed) {
      ConversionWorld world(seed, spared);
      found = !world.run(1000);
      if (::testing::Test::HasFailure()) return;
    }
    EXPECT_TRUE(found);
  }
}

}  // namespace
}  // namespace cairn::mds::state
