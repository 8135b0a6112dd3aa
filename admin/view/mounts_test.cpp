#include "admin/view/mounts.h"

#include <gtest/gtest.h>

namespace cairn::admin {
namespace {

constexpr const char* kTable =
    "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
    "30 22 0:44 / /mnt/stor1 rw,nosuid shared:5 master:2 - fuse.cairn cairn://stor1 rw,user_id=0\n"
    "31 30 0:45 / /mnt/stor1/inner rw - tmpfs tmpfs rw\n"
    "32 22 0:46 / /mnt/with\\040blank rw - fuse.cairn cairn://two rw\n"
    "33 22 0:44 /sub/dir /srv/bind rw - fuse.cairn cairn://stor1 rw\n"
    "34 22 0:50 / /mnt/other rw - fuse.sshfs cairn://no rw\n"
    "broken line\n";

std::string found(const std::string& path) {
  const auto place = locate(parse_mountinfo(kTable), path);
  return place.has_value() ? place->cluster + ":" + place->path : "none";
}

TEST(Mounts, TranslatesPathsToTheCluster) {
  EXPECT_EQ(found("/mnt/stor1"), "stor1:/");
  EXPECT_EQ(found("/mnt/stor1/a/b c"), "stor1:/a/b c");
  EXPECT_EQ(found("/mnt/with blank/x"), "two:/x");
  EXPECT_EQ(found("/srv/bind/x"), "stor1:/sub/dir/x");
}

TEST(Mounts, IsNotFooledByNeighboursAndOtherFilesystems) {
  EXPECT_EQ(found("/mnt/stor10"), "none");
  EXPECT_EQ(found("/mnt/stor1/inner/x"), "none");
  EXPECT_EQ(found("/mnt/other"), "none");
  EXPECT_EQ(found("/home"), "none");
}

TEST(Mounts, TheLastMountAtAPlaceWins) {
  const auto mounts = parse_mountinfo(
      "1 0 0:1 / /m rw - fuse.cairn cairn://old rw\n2 1 0:2 / /m rw - fuse.cairn cairn://new rw\n");
  EXPECT_EQ(locate(mounts, "/m/x")->cluster, "new");
}

TEST(NormalPath, RemovesWhatMeansNothing) {
  EXPECT_EQ(normal_path(""), "/");
  EXPECT_EQ(normal_path("//a///b/./c/"), "/a/b/c");
  EXPECT_EQ(normal_path("/a/../../b"), "/b");
}

}  // namespace
}  // namespace cairn::admin
