#include "admin/drive/sys_tree.h"

#include <sys/sysmacros.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

namespace cairn::admin {
namespace {

namespace fs = std::filesystem;

std::optional<std::uint64_t> to_number(const std::string& text) {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || rest != end) return std::nullopt;
  return value;
}

}  // namespace

std::string SysTree::directory(const std::string& name) const {
  return root_ + "/class/block/" + name;
}

std::optional<std::string> SysTree::line(const std::string& name,
                                         const std::string& attribute) const {
  std::ifstream file(directory(name) + "/" + attribute);
  std::string text;
  if (!file || !std::getline(file, text)) return std::nullopt;
  while (text.ends_with(' ')) text.pop_back();
  return text;
}

std::optional<std::uint64_t> SysTree::number(const std::string& name,
                                             const std::string& attribute) const {
  const std::optional<std::string> text = line(name, attribute);
  return text.has_value() ? to_number(*text) : std::nullopt;
}

std::vector<std::string> SysTree::entries(const std::string& name, const std::string& where) const {
  std::vector<std::string> result;
  std::error_code error;
  for (fs::directory_iterator at(directory(name) + "/" + where, error), end; !error && at != end;
       at.increment(error)) {
    result.push_back(at->path().filename().string());
  }
  std::ranges::sort(result);
  return result;
}

bool SysTree::exists(const std::string& name) const {
  std::error_code error;
  return !name.empty() && fs::exists(directory(name), error);
}

std::optional<std::string> SysTree::name_of(dev_t device) const {
  const std::string link =
      root_ + "/dev/block/" + std::to_string(major(device)) + ":" + std::to_string(minor(device));
  std::error_code error;
  const fs::path target = fs::read_symlink(link, error);
  if (error) return std::nullopt;
  return target.filename().string();
}

bool SysTree::is_partition(const std::string& name) const {
  return line(name, "partition").has_value();
}

std::string SysTree::drive_of(const std::string& name) const {
  if (!is_partition(name)) return name;
  std::error_code error;
  const fs::path real = fs::canonical(directory(name), error);
  return error ? name : real.parent_path().filename().string();
}

std::vector<std::string> SysTree::partitions_of(const std::string& drive) const {
  std::vector<std::pair<std::uint64_t, std::string>> found;
  for (const std::string& entry : entries(drive, "")) {
    const std::optional<std::uint64_t> number_of = number(drive, entry + "/partition");
    if (number_of.has_value()) found.emplace_back(*number_of, entry);
  }
  std::ranges::sort(found);
  std::vector<std::string> result;
  for (auto& [number_of, name] : found) result.push_back(std::move(name));
  return result;
}

std::string SysTree::driver_of(const std::string& drive) const {
  std::error_code error;
  const fs::path target = fs::read_symlink(directory(drive) + "/device/driver", error);
  return error ? std::string() : target.filename().string();
}

std::string device_path(const std::string& name) {
  std::string path = "/dev/" + name;
  std::ranges::replace(path, '!', '/');
  return path;
}

std::string partition_name(const std::string& drive, unsigned number) {
  const bool ends_in_digit = !drive.empty() && drive.back() >= '0' && drive.back() <= '9';
  return drive + (ends_in_digit ? "p" : "") + std::to_string(number);
}

}  // namespace cairn::admin
