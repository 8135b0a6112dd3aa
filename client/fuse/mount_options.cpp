#include "client/fuse/mount_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <optional>

namespace cairn::client::fuse {

namespace {

constexpr std::string_view kScheme = "cairn://";

// Understood by the kernel; passed on as they are.
constexpr std::array<std::string_view, 21> kKernelOptions = {
    "rw",       "ro",         "suid",        "nosuid",        "dev",
    "nodev",    "exec",       "noexec",      "sync",          "async",
    "dirsync",  "atime",      "noatime",     "diratime",      "nodiratime",
    "relatime", "norelatime", "strictatime", "nostrictatime", "allow_other",
    "max_read"};

// For mount(8) and systemd; they mean nothing once the helper runs.
constexpr std::array<std::string_view, 15> kForOthers = {
    "defaults", "_netdev", "auto",  "noauto", "nofail",
    "user",     "nouser",  "users", "owner",  "noowner",
    "group",    "nogroup", "loud",  "silent", "default_permissions"};

template <std::size_t N>
bool contains(const std::array<std::string_view, N>& list, std::string_view word) {
  return std::ranges::find(list, word) != list.end();
}

Result<std::uint64_t> parse_number(std::string_view option, std::string_view text,
                                   std::uint64_t low, std::uint64_t high) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < low || value > high) {
    return fail(Code::kInvalidArgument, fmt::format("{} takes a number from {} to {}, not \"{}\"",
                                                    option, low, high, text));
  }
  return value;
}

// The words of a command line, one after the other.
class Words {
 public:
  explicit Words(std::span<const std::string> words) : rest_(words) {}
  bool empty() const { return rest_.empty(); }
  std::string_view next() {
    const std::string_view word = rest_.front();
    rest_ = rest_.subspan(1);
    return word;
  }
  Result<std::string_view> value_of(std::string_view option) {
    if (rest_.empty()) {
      return fail(Code::kInvalidArgument, fmt::format("{} needs a value", option));
    }
    return next();
  }

 private:
  std::span<const std::string> rest_;
};

Status set_cache(MountRequest& request, std::string_view option, std::string_view text) {
  TRY(const std::uint64_t megabytes, parse_number(option, text, 16, 1'048'576));
  request.cache_bytes = megabytes << 20;
  return {};
}

Status set_timeout(MountRequest& request, std::string_view option, std::string_view text) {
  TRY(const std::uint64_t seconds, parse_number(option, text, 1, 86'400));
  request.timeout = std::chrono::seconds(seconds);
  return {};
}

// One word of -o; `sloppy`: unknown ones are ignored (mount -s).
Status add_option(MountRequest& request, std::string_view word, bool sloppy) {
  const std::size_t equals = word.find('=');
  const std::string_view name = word.substr(0, equals);
  const std::string_view value =
      equals == std::string_view::npos ? std::string_view() : word.substr(equals + 1);
  if (name.empty() || contains(kForOthers, name) || name.starts_with("x-") ||
      name.starts_with("X-") || name == "comment" || name == "fsname" || name == "subtype") {
    return {};
  }
  if (contains(kKernelOptions, name)) {
    if (name == "ro") request.read_only = true;
    if (name == "rw") request.read_only = false;
    request.kernel_options.emplace_back(word);
    return {};
  }
  if (name == "cache-size") return set_cache(request, "-o cache-size", value);
  if (name == "timeout") return set_timeout(request, "-o timeout", value);
  if (name == "log") {
    request.log_file = value;
  } else if (name == "soft" || name == "hard") {
    request.soft = name == "soft";
  } else if (name == "fail-on-nospace") {
    request.fail_on_nospace = true;
  } else if (!sloppy) {
    return fail(Code::kInvalidArgument,
                fmt::format("unknown mount option \"{}\"; see cairn-mount --help", word));
  }
  return {};
}

Status add_options(MountRequest& request, std::string_view list, bool sloppy) {
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    TRY_VOID(add_option(request, list.substr(0, comma), sloppy));
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
  }
  return {};
}

Result<std::string> parse_source(std::string_view source) {
  if (!source.starts_with(kScheme)) {
    return fail(Code::kInvalidArgument,
                fmt::format("\"{}\" is no cluster: write cairn://NAME", source));
  }
  source.remove_prefix(kScheme.size());
  while (source.ends_with('/')) source.remove_suffix(1);
  return std::string(source);
}

// SOURCE and DIR, or DIR alone after -c.
Status take_positional(MountRequest& request, std::span<const std::string_view> words) {
  if (words.size() == 2) {
    TRY(std::string name, parse_source(words[0]));
    if (!request.cluster.empty() && request.cluster != name) {
      return fail(Code::kInvalidArgument,
                  fmt::format("-c {} and {} are different clusters", request.cluster, words[0]));
    }
    request.cluster = std::move(name);
    request.mount_point = words[1];
  } else if (words.size() == 1 && !request.cluster.empty()) {
    request.mount_point = words[0];
  } else {
    return fail(Code::kInvalidArgument, "say what to mount and where: cairn-mount -c NAME DIR");
  }
  if (request.mount_point.empty()) return fail(Code::kInvalidArgument, "the mount point is empty");
  return {};
}

// mount(8): "mount.type spec dir [-sfnv] [-N namespace] [-o options] [-t type.subtype]".
Result<MountRequest> parse_helper(Words words) {
  MountRequest request;
  std::vector<std::string_view> positional;
  std::string_view options;
  bool sloppy = false;
  while (!words.empty()) {
    const std::string_view word = words.next();
    if (word == "-o") {
      TRY(options, words.value_of(word));
    } else if (word == "-t" || word == "-N") {
      TRY_VOID(words.value_of(word));
    } else if (word.size() > 1 && word[0] == '-' &&
               word.find_first_not_of("sfnv", 1) == std::string_view::npos) {
      sloppy = sloppy || word.find('s') != std::string_view::npos;
      request.fake = request.fake || word.find('f') != std::string_view::npos;
      request.verbose = request.verbose || word.find('v') != std::string_view::npos;
    } else if (word.starts_with('-')) {
      return fail(Code::kInvalidArgument, fmt::format("unknown option {}", word));
    } else {
      positional.push_back(word);
    }
  }
  TRY_VOID(add_options(request, options, sloppy));
  TRY_VOID(take_positional(request, positional));
  return request;
}

// Options without a value. False: not one of them.
bool set_flag(MountRequest& request, std::string_view word) {
  if (word == "-f" || word == "--foreground") {
    request.foreground = true;
  } else if (word == "-v" || word == "--verbose") {
    request.verbose = true;
  } else if (word == "-d" || word == "--debug") {
    request.debug = request.verbose = request.foreground = true;
  } else if (word == "-h" || word == "--help") {
    request.help = true;
  } else if (word == "-V" || word == "--version") {
    request.version = true;
  } else if (word == "--fail-on-nospace") {
    request.fail_on_nospace = true;
  } else if (word == "--soft" || word == "--hard") {
    request.soft = word == "--soft";
  } else if (word == "--read-only" || word == "-r") {
    request.read_only = true;
    request.kernel_options.emplace_back("ro");
  } else {
    return false;
  }
  return true;
}

// An option for which takes_value() is true.
Status set_value(MountRequest& request, std::string_view name, std::string_view value) {
  if (name == "-c" || name == "--cluster") {
    request.cluster = value;
  } else if (name == "-l" || name == "--log") {
    request.log_file = value;
  } else if (name == "-o") {
    return add_options(request, value, false);
  } else if (name == "--cache-size") {
    return set_cache(request, name, value);
  } else if (name == "--timeout") {
    return set_timeout(request, name, value);
  }
  return {};
}

bool takes_value(std::string_view name) {
  constexpr std::array<std::string_view, 7> kNames = {"-c", "--cluster",    "-l",       "--log",
                                                      "-o", "--cache-size", "--timeout"};
  return contains(kNames, name);
}

Result<MountRequest> parse_own(Words words) {
  MountRequest request;
  std::vector<std::string_view> positional;
  while (!words.empty()) {
    const std::string_view word = words.next();
    if (set_flag(request, word)) continue;
    const std::size_t equals = word.starts_with("--") ? word.find('=') : std::string_view::npos;
    const std::string_view name = word.substr(0, equals);
    if (takes_value(name)) {
      std::string_view value;
      if (equals == std::string_view::npos) {
        TRY(value, words.value_of(name));
      } else {
        value = word.substr(equals + 1);
      }
      TRY_VOID(set_value(request, name, value));
    } else if (word.size() > 1 && word.starts_with('-')) {
      return fail(Code::kInvalidArgument,
                  fmt::format("unknown option {}; see cairn-mount --help", word));
    } else {
      positional.push_back(word);
    }
  }
  if (request.help || request.version) return request;
  TRY_VOID(take_positional(request, positional));
  return request;
}

}  // namespace

Result<MountRequest> parse_mount_request(std::string_view program,
                                         std::span<const std::string> words, bool superuser) {
  const std::string_view name = program.substr(program.rfind('/') + 1);
  Result<MountRequest> request =
      name.starts_with("mount.") ? parse_helper(Words(words)) : parse_own(Words(words));
  if (!request.has_value() || !superuser) return request;
  std::vector<std::string>& options = request->kernel_options;
  if (std::ranges::find(options, "allow_other") == options.end()) {
    options.emplace_back("allow_other");
  }
  return request;
}

std::string_view mount_usage() {
  return R"(cairn-mount: mounts a Cairn cluster.

  cairn-mount -c stor1 /mnt/stor1
  cairn-mount cairn://stor1 /mnt/stor1 -o ro --log /var/log/cairn-mount.log
  in /etc/fstab:  cairn://stor1 /mnt/stor1 fuse.cairn rw,nosuid,nodev 0 0

  -c, --cluster NAME     the cluster, known from /etc/cairn/clusters/NAME (cairn -c NAME auth-node)
  -o OPT[,OPT...]        ro, nosuid, nodev, noexec, noatime, ... and the words below
                         without their dashes
  -f, --foreground       stay in the foreground; log to stderr
  -l, --log FILE         log there ("journald": the journal)
  -v, --verbose          log more
  -d, --debug            foreground, and print each request of the kernel
  --fail-on-nospace      a write to a full cluster fails with ENOSPC; else it waits for space
  --soft                 a write that cannot proceed fails after --timeout; else it waits
  --timeout SECONDS      how long other requests wait for the cluster (30)
  --cache-size MB        memory for cached data (256)
  -r, --read-only        the same as -o ro
  -V, --version          -h, --help

Ends when it is unmounted (umount DIR, fusermount3 -u DIR) or gets SIGTERM.
Exit codes: 0 mounted, 1 failed, 2 wrong usage, 3 no such cluster or directory,
5 cluster not reachable, 6 not authenticated.
)";
}

}  // namespace cairn::client::fuse
