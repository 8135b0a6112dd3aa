#include "admin/commands/repository_checks.h"

#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "common/base/check.h"
#include "common/cluster/durable_file.h"
#include "common/cluster/repository.h"

namespace cairn::admin {
namespace {

// The nearest directory above (or at) `path` that exists.
std::string existing_part(const std::string& path) {
  std::error_code ignored;
  std::filesystem::path part = path;
  while (part.has_relative_path() && !std::filesystem::exists(part, ignored)) {
    part = part.parent_path();
  }
  return part.empty() ? "/" : part.string();
}

}  // namespace

std::uint64_t random_id() {
  std::uint64_t id = 0;
  while (id == 0) {
    CHECK_EQ(::getrandom(&id, sizeof id, 0), static_cast<ssize_t>(sizeof id));
  }
  return id;
}

std::string host_name() {
  std::array<char, 256> name = {};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

Result<net::Address> parse_address(const std::string& text, std::uint16_t default_port) {
  const bool bare_v6 = !text.starts_with('[') && text.find(':') != text.rfind(':');
  const bool bracketed_v6 = text.starts_with('[') && text.ends_with(']');
  const bool has_port = !bare_v6 && !bracketed_v6 && text.find(':') != std::string::npos;
  if (has_port) return net::Address::parse(text);
  // Port 0 is no port to parse() but a wish for any port here.
  const std::string host = bare_v6 ? "[" + text + "]" : text;
  Result<net::Address> address = net::Address::parse(host + ":1");
  if (!address.has_value()) {
    return fail(Code::kInvalidArgument,
                "'" + text + "' is not ADDR or ADDR:PORT with an IP address");
  }
  address->port = default_port;
  return address;
}

Result<std::vector<net::Address>> parse_address_lists(const std::vector<std::string>& lists,
                                                      std::uint16_t default_port) {
  std::vector<net::Address> addresses;
  for (std::string rest : lists) {
    while (!rest.empty()) {
      const std::size_t comma = std::min(rest.find(','), rest.size());
      TRY(net::Address address, parse_address(rest.substr(0, comma), default_port));
      if (std::ranges::find(addresses, address) == addresses.end()) {
        addresses.push_back(std::move(address));
      }
      rest.erase(0, comma + 1);
    }
  }
  return addresses;
}

Result<std::string> repository_path(const std::string& directory) {
  if (directory.empty()) return fail(Code::kInvalidArgument, "the repository has no name");
  std::error_code error;
  const std::filesystem::path absolute =
      std::filesystem::weakly_canonical(std::filesystem::absolute(directory), error);
  if (error) return fail(cluster::system_error(error.value(), "look at", directory));
  std::string path = absolute.string();
  if (path.size() > 1 && path.ends_with('/')) path.pop_back();
  if (path.find('\n') != std::string::npos) {
    return fail(Code::kInvalidArgument, "the name of the repository has a line break");
  }
  return path;
}

Result<std::string> check_repository(const std::string& directory, std::string_view except) {
  TRY(const std::string path, repository_path(directory));
  TRY(const bool empty, cluster::is_empty_directory(path, except));
  if (!empty) {
    return fail(Code::kNotEmpty, "the directory " + path + " is not empty");
  }
  const std::string nearest = existing_part(path);
  if (::access(nearest.c_str(), W_OK | X_OK) != 0) {
    return fail(cluster::system_error(errno, "write to", nearest));
  }
  return path;
}

Result<ByteCount> free_bytes_at(const std::string& directory) {
  const std::string nearest = existing_part(directory);
  struct statvfs status = {};
  if (::statvfs(nearest.c_str(), &status) != 0) {
    return fail(cluster::system_error(errno, "look at", nearest));
  }
  return ByteCount{status.f_bavail} * status.f_frsize;
}

Result<std::uint64_t> filesystem_of(const std::string& directory) {
  const std::string nearest = existing_part(directory);
  struct stat status = {};
  if (::stat(nearest.c_str(), &status) != 0) {
    return fail(cluster::system_error(errno, "look at", nearest));
  }
  return std::uint64_t{status.st_dev};
}

}  // namespace cairn::admin
