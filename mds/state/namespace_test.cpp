#include <gtest/gtest.h>

#include "common/base/limits.h"
#include "mds/state/testing/cluster.h"

namespace cairn::mds::state {
namespace {

using testing::Cluster;
using testing::code_of;

constexpr std::uint64_t kRoot = Cluster::kRoot;
const Code kDone = static_cast<Code>(0);

class Namespace : public ::testing::Test {
 protected:
  void SetUp() override { s_ = c_.open_session(); }
  void TearDown() override { c_.expect_sound(); }

  Code made(std::uint64_t parent, std::string_view name, pb::FileType type = pb::TYPE_REGULAR) {
    return code_of(c_.make(s_, parent, name, type).error());
  }
  Code renamed(Cluster::Names names, std::uint32_t flags = 0) {
    return code_of(c_.rename(s_, names, flags).error());
  }
  Code removed(std::uint64_t parent, std::string_view name, bool directory = false) {
    return code_of(c_.unlink(s_, parent, name, directory).error());
  }
  bool exists(std::uint64_t parent, std::string_view name) {
    return queries::lookup(c_.kv(), InodeId::from_raw(parent), name).has_value();
  }
  std::uint32_t nlink(std::uint64_t inode) { return c_.attributes(inode).nlink(); }

  Cluster c_ = Cluster::made();
  std::uint64_t s_ = 0;
};

TEST_F(Namespace, RootIsAsInitClusterSays) {
  const pb::InodeRecord root = c_.inode(kRoot);
  EXPECT_EQ(root.attributes().type(), pb::TYPE_DIRECTORY);
  EXPECT_EQ(root.attributes().mode(), 0755u);
  EXPECT_EQ(root.attributes().uid(), 0u);
  EXPECT_EQ(root.attributes().nlink(), 2u);
  EXPECT_EQ(root.policy().encoding().data(), 1u);
  EXPECT_EQ(root.policy().encoding().min(), 1u);
  EXPECT_EQ(root.policy().failure_domain(), pb::DOMAIN_HOST);
  pb::Command again;
  again.mutable_init_cluster()->set_cluster_id(78);
  EXPECT_EQ(code_of(c_.apply(again).error()), Code::kExists);
}

TEST_F(Namespace, MakeNodeChecksNames) {
  struct Case {
    std::string name;
    Code code;
  };
  const std::vector<Case> cases = {{"", Code::kInvalidName},
                                   {".", Code::kInvalidName},
                                   {"..", Code::kInvalidName},
                                   {"a/b", Code::kInvalidName},
                                   {std::string("a\0b", 3), Code::kInvalidName},
                                   {std::string(256, 'a'), Code::kNameTooLong},
                                   {std::string(255, 'a'), kDone},
                                   {"...", kDone},
                                   {"\xff\xfe", kDone},
                                   {" ", kDone}};
  for (const Case& one : cases) EXPECT_EQ(made(kRoot, one.name), one.code) << one.name;
}

TEST_F(Namespace, MakeNodeChecksTheParent) {
  const std::uint64_t file = c_.file(s_, kRoot, "f");
  EXPECT_EQ(made(999, "x"), Code::kNotFound);
  EXPECT_EQ(made(file, "x"), Code::kNotDirectory);
  EXPECT_EQ(made(kRoot, "f"), Code::kExists);
  EXPECT_EQ(made(kRoot, "x", pb::TYPE_UNSET), Code::kInvalidArgument);
  EXPECT_EQ(made(kRoot, "x", static_cast<pb::FileType>(99)), Code::kInvalidArgument);
  const std::uint64_t gone = c_.directory(s_, kRoot, "d");
  EXPECT_EQ(removed(kRoot, "d", true), kDone);
  EXPECT_EQ(made(gone, "x"), Code::kNotFound);
}

TEST_F(Namespace, NewInodesHaveTheirAttributes) {
  const pb::Attributes file = c_.make(s_, kRoot, "f").make_node().attributes();
  EXPECT_EQ(file.mode(), 0644u);
  EXPECT_EQ(file.uid(), 10u);
  EXPECT_EQ(file.gid(), 20u);
  EXPECT_EQ(file.nlink(), 1u);
  EXPECT_EQ(file.mtime_ns(), c_.time_ns());
  EXPECT_EQ(c_.attributes(kRoot).mtime_ns(), c_.time_ns());
  EXPECT_EQ(nlink(kRoot), 2u);
  const pb::Attributes link = c_.make(s_, kRoot, "l", pb::TYPE_SYMLINK).make_node().attributes();
  EXPECT_EQ(link.mode(), 0777u);
  EXPECT_EQ(link.size(), 8u);
  const pb::Attributes dir = c_.make(s_, kRoot, "d", pb::TYPE_DIRECTORY).make_node().attributes();
  EXPECT_EQ(dir.nlink(), 2u);
  EXPECT_EQ(nlink(kRoot), 3u);
  EXPECT_EQ(c_.counters().inodes(), 4u);
  EXPECT_EQ(c_.counters().files(), 1u);
}

TEST_F(Namespace, SymlinkTargetsAreChecked) {
  for (const auto& [target, code] :
       std::vector<std::pair<std::string, Code>>{{"", Code::kNotFound},
                                                 {std::string(4096, 'a'), Code::kNameTooLong},
                                                 {std::string("a\0", 2), Code::kInvalidArgument},
                                                 {std::string(4095, 'a'), kDone}}) {
    pb::ClientRequest request;
    request.mutable_make_node()->set_parent(kRoot);
    request.mutable_make_node()->set_name("l");
    request.mutable_make_node()->set_type(pb::TYPE_SYMLINK);
    request.mutable_make_node()->set_target(target);
    EXPECT_EQ(code_of(c_.mutate(s_, request).error()), code);
  }
}

TEST_F(Namespace, SetgidDirectoryGivesItsGroup) {
  const std::uint64_t dir = c_.directory(s_, kRoot, "d");
  pb::SetAttr change;
  change.set_inode(dir);
  change.set_mode(02775);
  change.set_gid(500);
  c_.set_attr(s_, change);
  EXPECT_EQ(c_.attributes(c_.file(s_, dir, "f")).gid(), 500u);
  const pb::Attributes below = c_.attributes(c_.directory(s_, dir, "sub"));
  EXPECT_EQ(below.gid(), 500u);
  EXPECT_EQ(below.mode() & 02000u, 02000u);
}

TEST_F(Namespace, LinkRefusesWhatPosixRefuses) {
  const std::uint64_t file = c_.file(s_, kRoot, "f");
  const std::uint64_t dir = c_.directory(s_, kRoot, "d");
  EXPECT_EQ(code_of(c_.link(s_, dir, kRoot, "x").error()), Code::kNotPermitted);
  EXPECT_EQ(code_of(c_.link(s_, 999, kRoot, "x").error()), Code::kNotFound);
  EXPECT_EQ(code_of(c_.link(s_, file, kRoot, "d").error()), Code::kExists);
  EXPECT_EQ(code_of(c_.link(s_, file, file, "x").error()), Code::kNotDirectory);
  EXPECT_EQ(code_of(c_.link(s_, file, dir, "..").error()), Code::kInvalidName);
  const pb::ClientReply done = c_.link(s_, file, dir, "x");
  EXPECT_EQ(done.attributes().nlink(), 2u);
  EXPECT_EQ(done.attributes().ctime_ns(), c_.time_ns());
  EXPECT_EQ(removed(kRoot, "f"), kDone);
  EXPECT_EQ(removed(dir, "x"), kDone);
  EXPECT_EQ(code_of(c_.link(s_, file, kRoot, "again").error()), Code::kNotFound);
}

TEST_F(Namespace, UnlinkMakesOrphansOfRegularFilesOnly) {
  const std::uint64_t file = c_.file(s_, kRoot, "f");
  c_.make(s_, kRoot, "fifo", pb::TYPE_FIFO);
  const std::uint64_t dir = c_.directory(s_, kRoot, "d");
  c_.file(s_, dir, "in");
  EXPECT_EQ(removed(kRoot, "none"), Code::kNotFound);
  EXPECT_EQ(removed(kRoot, "d"), Code::kIsDirectory);
  EXPECT_EQ(removed(kRoot, "f", true), Code::kNotDirectory);
  EXPECT_EQ(removed(kRoot, "d", true), Code::kNotEmpty);
  EXPECT_EQ(removed(kRoot, "f"), kDone);
  EXPECT_EQ(removed(kRoot, "fifo"), kDone);
  EXPECT_EQ(removed(dir, "in"), kDone);
  EXPECT_EQ(removed(kRoot, "d", true), kDone);
  EXPECT_EQ(nlink(kRoot), 2u);
  EXPECT_EQ(nlink(file), 0u);
  const auto orphans = queries::orphans(c_.kv(), InodeId(), 10);
  ASSERT_EQ(orphans->size(), 2u);
  EXPECT_EQ(c_.counters().inodes(), 3u);
  EXPECT_TRUE(c_.purge(file, 10).purged());
  EXPECT_TRUE(c_.purge(file, 10).purged());
  EXPECT_EQ(code_of(c_.purge(kRoot, 10).error()), Code::kRefusedForSafety);
  EXPECT_EQ(queries::orphans(c_.kv(), InodeId::from_raw(file), 10)->size(), 1u);
}

TEST_F(Namespace, RenameMovesFilesAndTimes) {
  const std::uint64_t file = c_.file(s_, kRoot, "a");
  const std::uint64_t dir = c_.directory(s_, kRoot, "d");
  EXPECT_EQ(renamed({kRoot, "a", dir, "b"}), kDone);
  EXPECT_FALSE(exists(kRoot, "a"));
  EXPECT_TRUE(exists(dir, "b"));
  for (const std::uint64_t id : {kRoot, dir}) {
    EXPECT_EQ(c_.attributes(id).mtime_ns(), c_.time_ns());
    EXPECT_EQ(c_.attributes(id).ctime_ns(), c_.time_ns());
  }
  EXPECT_EQ(c_.attributes(file).ctime_ns(), c_.time_ns());
  EXPECT_EQ(renamed({kRoot, "none", dir, "x"}), Code::kNotFound);
  EXPECT_EQ(renamed({999, "a", dir, "x"}), Code::kNotFound);
  EXPECT_EQ(renamed({dir, "b", 999, "x"}), Code::kNotFound);
  EXPECT_EQ(renamed({dir, "b", file, "x"}), Code::kNotDirectory);
  EXPECT_EQ(renamed({dir, "b", kRoot, ".."}), Code::kInvalidName);
  EXPECT_EQ(renamed({dir, "b", kRoot, "x"}, 3), Code::kInvalidArgument);
  EXPECT_EQ(renamed({dir, "b", kRoot, "x"}, 4), Code::kInvalidArgument);
}

TEST_F(Namespace, RenameReplacesByType) {
  const std::uint64_t file = c_.file(s_, kRoot, "f");
  const std::uint64_t victim = c_.file(s_, kRoot, "victim");
  const std::uint64_t dir = c_.directory(s_, kRoot, "d");
  c_.directory(s_, kRoot, "empty");
  const std::uint64_t full = c_.directory(s_, kRoot, "full");
  c_.file(s_, full, "in");
  EXPECT_EQ(renamed({kRoot, "d", kRoot, "f"}), Code::kNotDirectory);
  EXPECT_EQ(renamed({kRoot, "f", kRoot, "d"}), Code::kIsDirectory);
  EXPECT_EQ(renamed({kRoot, "d", kRoot, "full"}), Code::kNotEmpty);
  EXPECT_EQ(renamed({kRoot, "f", kRoot, "victim"}, 1), Code::kExists);
  EXPECT_EQ(nlink(kRoot), 5u);
  EXPECT_EQ(renamed({kRoot, "d", kRoot, "empty"}), kDone);
  EXPECT_EQ(nlink(kRoot), 4u);
  EXPECT_EQ(renamed({kRoot, "f", kRoot, "victim"}), kDone);
  EXPECT_EQ(nlink(victim), 0u);
  EXPECT_EQ(c_.attributes(victim).ctime_ns(), c_.time_ns());
  EXPECT_EQ(nlink(file), 1u);
  EXPECT_EQ(renamed({kRoot, "empty", full, "d"}), kDone);
  EXPECT_EQ(c_.inode(dir).parent(), full);
  EXPECT_EQ(nlink(full), 3u);
  EXPECT_EQ(nlink(kRoot), 3u);
}

TEST_F(Namespace, RenameOfHardLinksDoesNothing) {
  const std::uint64_t file = c_.file(s_, kRoot, "a");
  c_.link(s_, file, kRoot, "b");
  const std::int64_t before = c_.attributes(file).ctime_ns();
  EXPECT_EQ(renamed({kRoot, "a", kRoot, "b"}), kDone);
  EXPECT_EQ(renamed({kRoot, "a", kRoot, "a"}), kDone);
  EXPECT_EQ(renamed({kRoot, "a", kRoot, "b"}, 2), kDone);
  EXPECT_EQ(renamed({kRoot, "a", kRoot, "b"}, 1), Code::kExists);
  EXPECT_TRUE(exists(kRoot, "a"));
  EXPECT_TRUE(exists(kRoot, "b"));
  EXPECT_EQ(c_.attributes(file).ctime_ns(), before);
}

TEST_F(Namespace, RenameNeverMakesARing) {
  const std::uint64_t a = c_.directory(s_, kRoot, "a");
  const std::uint64_t b = c_.directory(s_, a, "b");
  const std::uint64_t d = c_.directory(s_, b, "d");
  EXPECT_EQ(renamed({kRoot, "a", a, "x"}), Code::kInvalidArgument);
  EXPECT_EQ(renamed({kRoot, "a", d, "x"}), Code::kInvalidArgument);
  EXPECT_EQ(renamed({kRoot, "a", a, "b"}), Code::kInvalidArgument);
  EXPECT_EQ(renamed({kRoot, "a", a, "b"}, 2), Code::kInvalidArgument);
  EXPECT_EQ(renamed({a, "b", kRoot, "a"}, 2), Code::kInvalidArgument);
  EXPECT_EQ(renamed({a, "b", kRoot, "a"}), Code::kNotEmpty);
  EXPECT_EQ(renamed({b, "d", kRoot, "a"}), Code::kNotEmpty);
  EXPECT_EQ(renamed({b, "d", a, "d"}), kDone);
  EXPECT_EQ(renamed({a, "b", d, "b"}), kDone);
}

TEST_F(Namespace, ExchangeSwapsAnyTypes) {
  const std::uint64_t file = c_.file(s_, kRoot, "f");
  const std::uint64_t d1 = c_.directory(s_, kRoot, "d1");
  const std::uint64_t d2 = c_.directory(s_, d1, "d2");
  EXPECT_EQ(renamed({kRoot, "f", d1, "none"}, 2), Code::kNotFound);
  EXPECT_EQ(renamed({kRoot, "f", d1, "d2"}, 2), kDone);
  EXPECT_EQ(nlink(kRoot), 4u);
  EXPECT_EQ(nlink(d1), 2u);
  EXPECT_EQ(c_.inode(d2).parent(), kRoot);
  EXPECT_EQ(queries::lookup(c_.kv(), InodeId::from_raw(d1), "d2")->inode(), file);
  EXPECT_EQ(renamed({kRoot, "d1", kRoot, "f"}, 2), kDone);
  EXPECT_EQ(queries::resolve(c_.kv(), "/f/d2")->attributes().inode(), file);
}

TEST_F(Namespace, SetAttrChangesModeOwnerAndTimes) {
  const std::uint64_t file = c_.file(s_, kRoot, "f");
  pb::SetAttr change;
  change.set_inode(file);
  change.set_mode(0106775);
  change.set_atime_ns(1);
  change.set_mtime_ns(-2);
  const pb::ClientReply reply = c_.set_attr(s_, change);
  EXPECT_EQ(reply.attributes().mode(), 06775u);
  EXPECT_EQ(reply.attributes().atime_ns(), 1);
  EXPECT_EQ(reply.attributes().mtime_ns(), -2);
  EXPECT_EQ(reply.attributes().ctime_ns(), c_.time_ns());
  pb::SetAttr owner;
  owner.set_inode(file);
  owner.set_uid(4);
  EXPECT_EQ(c_.set_attr(s_, owner).attributes().mode(), 0775u);
  change.set_mode(02765);  // setgid without group execute is a mark for locking: it stays
  c_.set_attr(s_, change);
  EXPECT_EQ(c_.set_attr(s_, owner).attributes().mode(), 02765u);
  owner.set_inode(999);
  EXPECT_EQ(code_of(c_.set_attr(s_, owner).error()), Code::kNotFound);
}

TEST_F(Namespace, XattrsFollowFlagsAndLimits) {
  const std::uint64_t file = c_.file(s_, kRoot, "f");
  const auto set = [&](std::string name, std::string value, std::uint32_t flags = 0) {
    pb::ClientRequest request;
    request.mutable_set_xattr()->set_inode(file);
    request.mutable_set_xattr()->set_name(std::move(name));
    request.mutable_set_xattr()->set_value(std::move(value));
    request.mutable_set_xattr()->set_flags(flags);
    return code_of(c_.mutate(s_, request).error());
  };
  EXPECT_EQ(set("user.a", "1", 2), Code::kNoAttribute);
  EXPECT_EQ(set("user.a", "1", 1), kDone);
  EXPECT_EQ(set("user.a", "2", 1), Code::kExists);
  EXPECT_EQ(set("user.a", "", 2), kDone);
  EXPECT_EQ(set("user.a", "1", 3), Code::kInvalidArgument);
  EXPECT_EQ(set("", "1"), Code::kInvalidArgument);
  EXPECT_EQ(set(std::string(256, 'a'), "1"), Code::kRangeTooSmall);
  EXPECT_EQ(set("user.b", std::string(65537, 'x')), Code::kTooBig);
  EXPECT_EQ(set("user.b", std::string(65536, 'x')), kDone);
  EXPECT_EQ(set("user.c", std::string(65536, 'x')), Code::kNoSpace);
  EXPECT_EQ(set("user.c", std::string(65518, 'x')), kDone);
  EXPECT_EQ(c_.inode(file).xattr_bytes(), limits::kXattrsBytesPerInodeMax);
  EXPECT_EQ(queries::xattr_names(c_.kv(), InodeId::from_raw(file))->names_size(), 3);
  EXPECT_EQ(queries::xattr(c_.kv(), InodeId::from_raw(file), "user.a").value(), "");
  pb::ClientRequest remove;
  remove.mutable_remove_xattr()->set_inode(file);
  remove.mutable_remove_xattr()->set_name("user.b");
  EXPECT_EQ(code_of(c_.mutate(s_, remove).error()), kDone);
  EXPECT_EQ(code_of(c_.mutate(s_, remove).error()), Code::kNoAttribute);
}

TEST_F(Namespace, ReadDirPagesByName) {
  std::vector<std::string> names;
  for (int i = 0; i < 25; ++i) names.push_back("n" + std::to_string(100 + i));
  for (const std::string& name : names) c_.file(s_, kRoot, name);
  std::vector<std::string> seen;
  pb::ReadDir request;
  request.set_inode(kRoot);
  request.set_limit(10);
  request.set_attributes(true);
  for (bool end = false; !end;) {
    const Result<pb::ReadDirReply> page = queries::read_dir(c_.kv(), request);
    ASSERT_TRUE(page.has_value());
    end = page->end();
    ASSERT_GT(page->entries_size(), 0);
    for (const auto& entry : page->entries()) {
      seen.push_back(entry.name());
      EXPECT_EQ(entry.attributes().inode(), entry.inode());
    }
    request.set_after(seen.back());
  }
  EXPECT_EQ(seen, names);
}

TEST_F(Namespace, ResolveWalksPaths) {
  const std::uint64_t dir = c_.directory(s_, kRoot, "d");
  const std::uint64_t file = c_.file(s_, dir, "f");
  const auto at = [&](std::string_view path) {
    const Result<pb::InodeRecord> found = queries::resolve(c_.kv(), path);
    return found.has_value() ? found->attributes().inode() : 0;
  };
  EXPECT_EQ(at("/"), kRoot);
  EXPECT_EQ(at(""), kRoot);
  EXPECT_EQ(at("d/f"), file);
  EXPECT_EQ(at("//d/./f"), file);
  EXPECT_EQ(at("/d/../../d"), dir);
  EXPECT_EQ(at("/d/f/x"), 0u);
  EXPECT_EQ(at("/none"), 0u);
}

}  // namespace
}  // namespace cairn::mds::state
