#include "admin/hwflush/memory.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <sstream>

#include "admin/hwflush/limits.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"

namespace cairn::admin::hwflush {
namespace {

constexpr std::string_view kHeader = "cairn-hwflush-state 1\n";
constexpr std::string_view kLastLine = "crc ";

// Blanks, line ends, '%' and what is no ASCII as "%41".
std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    const auto raw = static_cast<unsigned char>(c);
    if (raw <= ' ' || raw >= 0x7f || c == '%') {
      result += fmt::format("%{:02x}", raw);
    } else {
      result += c;
    }
  }
  return result.empty() ? "%" : result;  // a word is never empty
}

std::optional<std::string> unescaped(const std::string& text) {
  std::string result;
  if (text == "%") return result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      result += text[i];
      continue;
    }
    unsigned value = 0;
    if (i + 2 >= text.size()) return std::nullopt;
    const auto [rest, error] = std::from_chars(&text[i + 1], &text[i + 1] + 2, value, 16);
    if (error != std::errc() || rest != &text[i + 1] + 2) return std::nullopt;
    result += static_cast<char>(value);
    i += 2;
  }
  return result;
}

// "17:123456": thread and counter.
std::optional<Counter> parse_counter(const std::string& word) {
  Counter counter;
  const char* const end = word.data() + word.size();
  const auto thread = std::from_chars(word.data(), end, counter.thread);
  if (thread.ec != std::errc() || thread.ptr == end || *thread.ptr != ':') return std::nullopt;
  const auto value = std::from_chars(thread.ptr + 1, end, counter.value);
  if (value.ec != std::errc() || value.ptr != end) return std::nullopt;
  if (counter.thread >= kThreadsMax) return std::nullopt;
  return counter;
}

std::unexpected<Error> corrupt(const std::string& why) {
  return fail(Code::kCorrupt, "the state of hwflush-check cannot be read: " + why);
}

// The lines between header and CRC.
Result<std::string_view> checked_body(std::string_view text) {
  const std::size_t last = text.rfind(kLastLine);
  if (!text.starts_with(kHeader) || last == std::string_view::npos || last < kHeader.size()) {
    return corrupt("it is no such file");
  }
  const std::string wanted = fmt::format("crc {:08x}\n", crc32c(as_bytes(text.substr(0, last))));
  if (text.substr(last) != wanted) return corrupt("its checksum is wrong");
  return text.substr(kHeader.size(), last - kHeader.size());
}

}  // namespace

Known Memory::find(const Hello& hello) {
  if (hello.fresh) {
    std::erase_if(directories_, [&hello](const auto& item) {
      const bool same_place = item.second.host == hello.host && item.second.path == hello.path;
      return item.first == hello.directory || same_place;
    });
  }
  Known known;
  auto found = directories_.find(hello.directory);
  if (found != directories_.end()) {
    known.by = KnownBy::kDirectory;
  } else {
    for (auto at = directories_.begin(); at != directories_.end(); ++at) {
      if (at->second.host != hello.host || at->second.path != hello.path) continue;
      if (found == directories_.end() || at->second.age > found->second.age) found = at;
    }
    if (found != directories_.end()) known.by = KnownBy::kPlace;
  }
  if (found == directories_.end()) return known;
  for (const auto& [thread, value] : found->second.counters) {
    known.on_server.push_back({thread, value});
  }
  return known;
}

Status Memory::take(const Hello& hello, const Counters& flushed) {
  const auto found = directories_.find(hello.directory);
  if (found == directories_.end() && directories_.size() >= kDirectoriesMax) {
    return fail(Code::kOverloaded, "this server already remembers " +
                                       std::to_string(kDirectoriesMax) + " directories");
  }
  if (found != directories_.end()) {
    for (const Counter& counter : flushed) {
      const auto known = found->second.counters.find(counter.thread);
      if (known == found->second.counters.end() || counter.value >= known->second) continue;
      return fail(Code::kStaleVersion,
                  fmt::format("id{} sent counter {} after {}: two clients use one directory, or "
                              "the device went back in time",
                              counter.thread, counter.value, known->second));
    }
  }
  Entry& entry = directories_[hello.directory];
  if (entry.host != hello.host || entry.path != hello.path || entry.age == 0) {
    entry.host = hello.host;
    entry.path = hello.path;
    entry.age = next_age_++;
  }
  for (const Counter& counter : flushed) entry.counters[counter.thread] = counter.value;
  return {};
}

std::string Memory::to_text() const {
  std::string text(kHeader);
  std::map<std::uint64_t, DirectoryId> by_age;
  for (const auto& [directory, entry] : directories_) by_age.emplace(entry.age, directory);
  for (const auto& [age, directory] : by_age) {
    const Entry& entry = directories_.at(directory);
    text += directory.to_string() + " " + escaped(entry.host) + " " + escaped(entry.path);
    for (const auto& [thread, value] : entry.counters) text += fmt::format(" {}:{}", thread, value);
    text += "\n";
  }
  return text + fmt::format("crc {:08x}\n", crc32c(as_bytes(text)));
}

Result<Memory> Memory::parse(std::string_view text) {
  TRY(const std::string_view body, checked_body(text));
  Memory memory;
  std::istringstream lines{std::string(body)};
  std::string line;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string id, host, path, word;
    words >> id >> host >> path;
    Hello hello;
    const std::optional<DirectoryId> directory = DirectoryId::parse(id);
    const std::optional<std::string> host_name = unescaped(host);
    const std::optional<std::string> path_name = unescaped(path);
    if (!directory.has_value() || !host_name.has_value() || !path_name.has_value()) {
      return corrupt("a line makes no sense");
    }
    hello.directory = *directory;
    hello.host = *host_name;
    hello.path = *path_name;
    Counters counters;
    while (words >> word) {
      const std::optional<Counter> counter = parse_counter(word);
      if (!counter.has_value()) return corrupt("a counter makes no sense");
      counters.push_back(*counter);
    }
    TRY_VOID(memory.take(hello, counters));
  }
  return memory;
}

}  // namespace cairn::admin::hwflush
