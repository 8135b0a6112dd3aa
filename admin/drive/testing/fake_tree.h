// A /sys of block devices as a test wants it, with the links that the real one has.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "admin/drive/sys_tree.h"
#include "admin/drive/testing/temp_directory.h"

namespace cairn::admin {

class FakeTree {
 public:
  SysTree tree() const { return SysTree(directory_.path()); }

  void add_drive(const std::string& name, const std::map<std::string, std::string>& attributes) {
    add("devices/" + name, name, attributes);
  }
  void add_partition(const std::string& drive, unsigned number,
                     std::map<std::string, std::string> attributes) {
    const std::string name = partition_name(drive, number);
    attributes["partition"] = std::to_string(number);
    add("devices/" + drive + "/" + name, name, attributes);
  }
  // `upper` is a volume on `lower`.
  void stack(const std::string& upper, const std::string& lower) {
    link(real(upper) / "slaves" / lower, real(lower));
    link(real(lower) / "holders" / upper, real(upper));
  }
  void set_driver(const std::string& drive, const std::string& driver) {
    link(real(drive) / "device" / "driver", directory_ / ("drivers/" + driver));
  }

 private:
  void add(const std::string& place, const std::string& name,
           const std::map<std::string, std::string>& attributes) {
    std::filesystem::create_directories(directory_ / place);
    for (const auto& [attribute, value] : attributes) {
      directory_.write(place + "/" + attribute, value + "\n");
      if (attribute == "dev") link(directory_ / ("dev/block/" + value), directory_ / place);
    }
    link(directory_ / ("class/block/" + name), directory_ / place);
  }
  std::filesystem::path real(const std::string& name) const {
    return std::filesystem::canonical(directory_ / ("class/block/" + name));
  }
  static void link(const std::filesystem::path& at, const std::filesystem::path& to) {
    std::filesystem::create_directories(at.parent_path());
    std::filesystem::create_symlink(to, at);
  }

  TempDirectory directory_;
};

}  // namespace cairn::admin
