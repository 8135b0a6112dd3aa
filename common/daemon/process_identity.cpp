#include "common/daemon/process_identity.h"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>

namespace cairn::daemon {
namespace {

std::optional<std::string> first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

struct Stat {
  char state = '?';
  std::uint64_t start_time = 0;
};

// proc(5): "pid (comm) state ppid ..."; comm may hold anything, so fields count from its last ')'.
std::optional<Stat> read_stat(std::string_view pid) {
  constexpr int kStateField = 3;
  constexpr int kStartTimeField = 22;
  const std::optional<std::string> line = first_line(fmt::format("/proc/{}/stat", pid));
  if (!line) return std::nullopt;
  const std::size_t end = line->rfind(')');
  if (end == std::string::npos) return std::nullopt;
  std::istringstream rest(line->substr(end + 1));
  Stat stat;
  std::string field;
  for (int number = kStateField; number <= kStartTimeField; ++number) {
    if (!(rest >> field)) return std::nullopt;
    if (number == kStateField) stat.state = field.front();
  }
  const auto [at, error] =
      std::from_chars(field.data(), field.data() + field.size(), stat.start_time);
  if (error != std::errc{}) return std::nullopt;
  return stat;
}

std::optional<std::string> boot_id() { return first_line("/proc/sys/kernel/random/boot_id"); }

std::optional<std::string> pid_namespace() {
  std::error_code error;
  const std::filesystem::path link = std::filesystem::read_symlink("/proc/self/ns/pid", error);
  if (error) return std::nullopt;
  // "pid:[4026531836]"
  const std::string text = link.string();
  const std::size_t open = text.find('[');
  const std::size_t close = text.find(']');
  if (open == std::string::npos || close == std::string::npos) return std::nullopt;
  return text.substr(open + 1, close - open - 1);
}

// A zombie that still has threads may still write: only its first thread has ended.
bool has_threads(std::string_view pid) {
  std::error_code error;
  std::filesystem::directory_iterator threads(fmt::format("/proc/{}/task", pid), error);
  if (error) return false;
  return std::distance(begin(threads), end(threads)) > 1;
}

}  // namespace

Result<std::string> process_identity() {
  const std::string pid = std::to_string(::getpid());
  const std::optional<Stat> stat = read_stat(pid);
  const std::optional<std::string> boot = boot_id();
  const std::optional<std::string> space = pid_namespace();
  if (!stat || !boot || !space) {
    return fail(Code::kUnavailable, "/proc is not mounted: it tells live mounts from dead ones");
  }
  return fmt::format("{} {} {} {}", pid, stat->start_time, *boot, *space);
}

bool process_alive(std::string_view identity) {
  std::istringstream fields{std::string(identity)};
  std::string pid;
  std::uint64_t start_time = 0;
  std::string boot;
  std::string space;
  // Written by another version: nobody can tell, so it lives.
  if (!(fields >> pid >> start_time >> boot >> space)) return true;
  const std::optional<std::string> our_boot = boot_id();
  const std::optional<std::string> our_space = pid_namespace();
  if (!our_boot || !our_space) return true;
  if (boot != *our_boot) return false;
  if (space != *our_space) return true;
  const std::optional<Stat> stat = read_stat(pid);
  if (!stat || stat->start_time != start_time) return false;
  if (stat->state == 'Z' || stat->state == 'X') return has_threads(pid);
  return true;
}

}  // namespace cairn::daemon
