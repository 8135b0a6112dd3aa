#include "common/cluster/cluster_config.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "common/base/check.h"
#include "common/cluster/durable_file.h"

namespace cairn::cluster {
namespace {

constexpr std::size_t kKeyBytes = 32;
constexpr std::size_t kNameMax = 63;
constexpr std::uint64_t kScryptN = 16384;
constexpr std::uint64_t kScryptR = 8;
constexpr std::uint64_t kScryptP = 1;
constexpr std::uint64_t kScryptMemoryMax = 64 << 20;
constexpr std::string_view kHexDigits = "0123456789abcdef";

std::string etc_directory(const std::string& etc) {
  if (!etc.empty()) return etc;
  const char* from_environment = std::getenv("CAIRN_ETC");
  if (from_environment != nullptr && *from_environment != '\0') return from_environment;
  return "/etc/cairn";
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

std::string to_hex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    hex += kHexDigits[byte >> 4U];
    hex += kHexDigits[byte & 15U];
  }
  return hex;
}

// Empty when it is not an even number of hex digits.
std::string from_hex(std::string_view hex) {
  if (hex.size() % 2 != 0) return {};
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    const std::size_t high = kHexDigits.find(hex[i]);
    const std::size_t low = kHexDigits.find(hex[i + 1]);
    if (high == std::string_view::npos || low == std::string_view::npos) return {};
    bytes += static_cast<char>(high << 4U | low);
  }
  return bytes;
}

bool is_name_character(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-';
}

HostId fresh_host_id() {
  std::uint64_t raw = 0;
  while (raw == 0) {
    CHECK_EQ(RAND_bytes(reinterpret_cast<unsigned char*>(&raw), sizeof raw), 1);
  }
  return HostId::from_raw(raw);
}

}  // namespace

Status check_cluster_name(std::string_view name) {
  if (name.empty()) return fail(Code::kInvalidArgument, "the cluster name is empty");
  if (name.size() > kNameMax) {
    return fail(Code::kInvalidArgument, "the cluster name has " + std::to_string(name.size()) +
                                            " characters; at most 63 are allowed");
  }
  if (!std::ranges::all_of(name, is_name_character)) {
    return fail(Code::kInvalidArgument, "the cluster name '" + std::string(name) +
                                            "' may have letters, digits, '-' and '_' only");
  }
  return {};
}

ClusterConfig::ClusterConfig(std::string etc, std::string name)
    : etc_(etc_directory(etc)), name_(std::move(name)) {}

std::string ClusterConfig::directory() const { return etc_ + "/clusters/" + name_; }

Result<std::vector<net::Address>> ClusterConfig::mds_addresses() const {
  const std::string path = directory() + "/bs.list";
  Result<std::string> content = read_small_file(path);
  if (!content.has_value()) {
    if (content.error().code() != Code::kNotFound) return fail(std::move(content).error());
    return fail(Code::kNotFound, "no MDS of cluster '" + name_ + "' is known here: there is no " +
                                     path + " (cairn -c " + name_ + " auth-node -b ADDR makes it)");
  }
  std::vector<net::Address> addresses;
  std::string_view rest = *content;
  for (int line_number = 1; !rest.empty(); ++line_number) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    line = trimmed(line.substr(0, line.find('#')));
    if (line.empty()) continue;
    Result<net::Address> address = net::Address::parse(line);
    if (!address.has_value()) {
      return fail(Code::kInvalidArgument,
                  path + " line " + std::to_string(line_number) + ": " + address.error().message());
    }
    addresses.push_back(std::move(*address));
  }
  if (addresses.empty()) {
    return fail(Code::kNotFound, path + " lists no MDS: add one ADDR:PORT a line");
  }
  return addresses;
}

Status ClusterConfig::write_mds_addresses(const std::vector<net::Address>& addresses) const {
  std::string content;
  for (const net::Address& address : addresses) content += address.to_string() + "\n";
  TRY_VOID(make_directories(directory(), 0755));
  return write_file_durably(directory() + "/bs.list", content, 0644);
}

Result<net::Credentials> ClusterConfig::credentials() const {
  const std::string path = directory() + "/auth_digest.key";
  Result<std::string> content = read_small_file(path);
  if (!content.has_value()) {
    if (content.error().code() != Code::kNotFound) return fail(std::move(content).error());
    return net::Credentials{.cluster = name_, .key = {}};
  }
  std::string key = from_hex(trimmed(*content));
  if (key.size() != kKeyBytes) {
    return fail(Code::kInvalidArgument, path + " line 1: not a key of 64 hex digits (cairn -c " +
                                            name_ + " auth-node makes it anew)");
  }
  return net::Credentials{.cluster = name_, .key = std::move(key)};
}

std::string ClusterConfig::derive_key(std::string_view cluster, std::string_view password) {
  const std::string salt = "cairn:" + std::string(cluster);
  std::string key(kKeyBytes, '\0');
  const int done = EVP_PBE_scrypt(password.data(), password.size(),
                                  reinterpret_cast<const unsigned char*>(salt.data()), salt.size(),
                                  kScryptN, kScryptR, kScryptP, kScryptMemoryMax,
                                  reinterpret_cast<unsigned char*>(key.data()), key.size());
  CHECK_EQ(done, 1);
  return key;
}

Status ClusterConfig::write_key(std::string_view key) const {
  CHECK_EQ(key.size(), kKeyBytes);
  TRY_VOID(make_directories(directory(), 0755));
  return write_file_durably(directory() + "/auth_digest.key", to_hex(key) + "\n", 0600);
}

bool ClusterConfig::has_key() const {
  std::error_code ignored;
  return std::filesystem::exists(directory() + "/auth_digest.key", ignored);
}

Result<HostId> ClusterConfig::host_id() const {
  const char* from_environment = std::getenv("CAIRN_HOST_ID_FILE");
  const bool given = from_environment != nullptr && *from_environment != '\0';
  const std::string path = given ? std::string(from_environment) : etc_ + "/host_id";
  Result<std::string> content = read_small_file(path);
  if (!content.has_value() && content.error().code() == Code::kNotFound) {
    const std::filesystem::path parent = std::filesystem::path(path).parent_path();
    if (!parent.empty()) {
      TRY_VOID(make_directories(parent.string(), 0755));
    }
    const Status created = create_file_durably(path, format_host_id(fresh_host_id()) + "\n", 0644);
    // Someone else made it at the same moment: his id is the host's.
    if (!created.has_value() && created.error().code() != Code::kExists)
      return fail(created.error());
    content = read_small_file(path);
  }
  if (!content.has_value()) return fail(std::move(content).error());
  Result<HostId> id = parse_host_id(trimmed(*content));
  if (!id.has_value()) {
    return fail(Code::kInvalidArgument, path + " line 1: " + id.error().message());
  }
  return id;
}

std::vector<std::string> ClusterConfig::known(const std::string& etc) {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator entries(etc_directory(etc) + "/clusters", error);
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    std::error_code ignored;
    std::string name = entries->path().filename().string();
    if (entries->is_directory(ignored) && check_cluster_name(name).has_value()) {
      names.push_back(std::move(name));
    }
  }
  std::ranges::sort(names);
  return names;
}

std::string format_host_id(HostId id) {
  std::string text(16, '0');
  std::uint64_t rest = id.raw();
  for (std::size_t i = text.size(); i-- > 0; rest >>= 4U) text[i] = kHexDigits[rest & 15U];
  return text;
}

Result<HostId> parse_host_id(std::string_view text) {
  std::uint64_t raw = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), raw, 16);
  if (text.size() != 16 || error != std::errc{} || end != text.data() + text.size() || raw == 0) {
    return fail(Code::kInvalidArgument,
                "not a host id of 16 hex digits: '" + std::string(text) + "'");
  }
  return HostId::from_raw(raw);
}

net::Address session_address(const net::Address& mds) {
  CHECK_LT(mds.port, 65535);
  return net::Address{.host = mds.host, .port = static_cast<std::uint16_t>(mds.port + 1)};
}

}  // namespace cairn::cluster
