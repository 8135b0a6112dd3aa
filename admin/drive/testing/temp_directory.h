// A directory for one test, gone with everything in it afterwards.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

#include "common/cluster/durable_file.h"

namespace cairn::admin {

class TempDirectory {
 public:
  TempDirectory() : path_(testing::TempDir() + "cairn-admin-XXXXXX") {
    EXPECT_NE(::mkdtemp(path_.data()), nullptr);
  }
  ~TempDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  // Makes the directories on the way.
  void write(const std::string& name, const std::string& text) const {
    const std::string file = *this / name;
    const std::string parent = std::filesystem::path(file).parent_path();
    EXPECT_TRUE(cluster::make_directories(parent, 0755).has_value());
    EXPECT_TRUE(cluster::write_file_durably(file, text, 0644).has_value());
  }
  std::string read(const std::string& name) const {
    return cluster::read_small_file(*this / name).value_or("");
  }

 private:
  std::string path_;
};

}  // namespace cairn::admin
