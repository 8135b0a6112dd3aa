// Random programs against an independent model of a POSIX namespace.
#include <gtest/gtest.h>

#include "common/base/prng.h"
#include "mds/state/invariants.h"
#include "mds/state/testing/cluster.h"
#include "mds/state/testing/posix_model.h"

namespace cairn::mds::state {
namespace {

using testing::Cluster;
using testing::PosixModel;

class RandomProgram {
 public:
  explicit RandomProgram(std::uint64_t seed) : prng_(seed) { session_ = c_.open_session(); }

  void run(int steps, int check_every) {
    for (int i = 1; i <= steps && !::testing::Test::HasFailure(); ++i) {
      step();
      if (i % check_every == 0) compare();
    }
    compare();
  }

 private:
  // An inode that is or was there: mostly young ones, so that directories fill and empty.
  std::uint64_t any_inode() {
    const std::uint64_t next = c_.counters().next_inode();
    if (prng_.chance(300)) return 1;
    const std::uint64_t span = std::min<std::uint64_t>(next, 60);
    return next - 1 - prng_.below(span);
  }
  std::uint64_t any_directory() {
    if (prng_.chance(50)) return any_inode();
    const std::uint64_t start = any_inode();
    auto it = model_.nodes().lower_bound(start);
    for (int tries = 0; tries < 20 && it != model_.nodes().end(); ++tries, ++it) {
      if (it->second.kind == PosixModel::Kind::kDirectory) return it->first;
    }
    return 1;
  }
  PosixModel::Name any_name() {
    return {any_directory(), std::string(1, static_cast<char>('a' + prng_.below(6)))};
  }

  void expect(const Status& model, const pb::ClientReply& reply, const std::string& what) {
    const std::uint32_t code =
        model.has_value() ? 0 : static_cast<std::uint32_t>(model.error().code());
    EXPECT_EQ(reply.error().code(), code) << what << ": " << reply.error().message();
  }

  void make() {
    const PosixModel::Name at = any_name();
    const std::uint64_t dice = prng_.below(10);
    const auto kind = dice < 4   ? PosixModel::Kind::kFile
                      : dice < 9 ? PosixModel::Kind::kDirectory
                                 : PosixModel::Kind::kSymlink;
    const auto type = dice < 4   ? pb::TYPE_REGULAR
                      : dice < 9 ? pb::TYPE_DIRECTORY
                                 : pb::TYPE_SYMLINK;
    expect(model_.make(at, kind), c_.make(session_, at.parent, at.name, type), "make");
  }
  void rename() {
    const PosixModel::Name from = any_name();
    const PosixModel::Name to = any_name();
    const std::uint64_t dice = prng_.below(10);
    const std::uint32_t flags = dice < 6 ? 0 : dice < 8 ? 2 : 1;
    const auto flag = flags == 0   ? PosixModel::Flag::kNone
                      : flags == 2 ? PosixModel::Flag::kExchange
                                   : PosixModel::Flag::kNoReplace;
    expect(model_.rename(from, to, flag),
           c_.rename(session_, {from.parent, from.name, to.parent, to.name}, flags), "rename");
  }
  void purge() {
    const auto orphans = queries::orphans(c_.kv(), InodeId(), 5);
    ASSERT_TRUE(orphans.has_value());
    for (const InodeId id : *orphans) {
      EXPECT_TRUE(c_.purge(id.raw(), 10).purged());
      model_.purge(id.raw());
    }
  }

  void step() {
    const std::uint64_t dice = prng_.below(100);
    if (dice < 35) {
      make();
    } else if (dice < 45) {
      const std::uint64_t inode = any_inode();
      const PosixModel::Name at = any_name();
      expect(model_.link(inode, at), c_.link(session_, inode, at.parent, at.name), "link");
    } else if (dice < 70) {
      const PosixModel::Name at = any_name();
      const bool directory = prng_.chance(500);
      expect(model_.unlink(at, directory), c_.unlink(session_, at.parent, at.name, directory),
             "unlink");
    } else if (dice < 98) {
      rename();
    } else {
      purge();
    }
  }

  // Every node with its link count, parent and entries.
  void compare() {
    std::size_t inodes = 0;
    for (const auto& [id, node] : model_.nodes()) {
      const Result<pb::InodeRecord> inode = queries::inode(c_.kv(), InodeId::from_raw(id));
      ASSERT_TRUE(inode.has_value()) << id;
      EXPECT_EQ(inode->attributes().nlink(), model_.links(id)) << id;
      ++inodes;
      if (node.kind != PosixModel::Kind::kDirectory) continue;
      EXPECT_EQ(inode->parent(), node.parent);
      pb::ReadDir request;
      request.set_inode(id);
      const Result<pb::ReadDirReply> listed = queries::read_dir(c_.kv(), request);
      ASSERT_TRUE(listed.has_value());
      std::map<std::string, std::uint64_t> entries;
      for (const auto& entry : listed->entries()) entries[entry.name()] = entry.inode();
      EXPECT_EQ(entries, node.entries) << id;
    }
    EXPECT_EQ(c_.counters().inodes(), inodes);
    c_.expect_sound();
    EXPECT_TRUE(c_.kv().flush().has_value());
  }

  Prng prng_;
  Cluster c_ = Cluster::made();
  std::uint64_t session_ = 0;
  PosixModel model_;
};

TEST(Model, LongProgramAgreesWithPosix) { RandomProgram(1).run(100'000, 10'000); }

TEST(Model, ShortProgramsAgreeAtEveryStep) {
  for (std::uint64_t seed = 100; seed < 140; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomProgram(seed).run(250, 1);
    if (::testing::Test::HasFailure()) break;
  }
}

}  // namespace
}  // namespace cairn::mds::state
