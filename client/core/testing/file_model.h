// FileModel: one file of a mount beside a plain byte vector, for tests on a FakeCluster.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "client/core/testing/fake_cluster.h"
#include "common/base/prng.h"

namespace cairn::client::testing {

inline std::vector<std::byte> pattern(std::uint64_t seed, std::size_t count) {
  Prng prng(seed);
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(prng.next());
  return bytes;
}

// One file of a mount beside a plain byte vector.
class FileModel {
 public:
  FileModel(FakeCluster& cluster, FileSystem& file_system, InodeId inode)
      : cluster_(cluster), file_system_(&file_system), inode_(inode) {}

  void use(FileSystem& file_system) { file_system_ = &file_system; }
  void write(std::uint64_t at, const std::vector<std::byte>& bytes) {
    const Status written = cluster_.run(file_system_->write(inode_, FileOffset(at), bytes, false));
    ASSERT_TRUE(written.has_value()) << written.error().to_string();
    if (truth.size() < at + bytes.size()) truth.resize(at + bytes.size());
    std::copy(bytes.begin(), bytes.end(), truth.begin() + static_cast<std::ptrdiff_t>(at));
  }
  void truncate(std::uint64_t size) {
    pb::SetAttr change;
    change.set_size(size);
    const Result<pb::Attributes> cut = cluster_.run(file_system_->set_attributes(inode_, change));
    ASSERT_TRUE(cut.has_value()) << cut.error().to_string();
    EXPECT_EQ(cut->size(), size);
    truth.resize(size);
  }
  void fsync() {
    const Status synced = cluster_.run(file_system_->fsync(inode_));
    ASSERT_TRUE(synced.has_value()) << synced.error().to_string();
  }
  void check(std::uint64_t at, std::uint64_t length) {
    const Result<std::vector<Buffer>> got =
        cluster_.run(file_system_->read(inode_, FileOffset(at), length));
    ASSERT_TRUE(got.has_value()) << got.error().to_string();
    const std::vector<std::byte> bytes = joined(*got);
    const std::uint64_t end = std::min<std::uint64_t>(truth.size(), at + length);
    ASSERT_EQ(bytes.size(), end > at ? end - at : 0);
    const auto from = truth.begin() + static_cast<std::ptrdiff_t>(at);
    const auto differ = std::mismatch(bytes.begin(), bytes.end(), from);
    ASSERT_TRUE(differ.first == bytes.end())
        << "first wrong byte at " << at + static_cast<std::uint64_t>(differ.first - bytes.begin());
  }
  void check_all() {
    check(0, truth.size() + 10'000);
    const Result<pb::Attributes> attributes = cluster_.run(file_system_->get_attributes(inode_));
    ASSERT_TRUE(attributes.has_value());
    EXPECT_EQ(attributes->size(), truth.size());
  }

  std::vector<std::byte> truth;

 private:
  FakeCluster& cluster_;
  FileSystem* file_system_;
  InodeId inode_;
};

}  // namespace cairn::client::testing
