#include "chunkserver/io/fault_plan.h"

#include <fmt/format.h>

#include <charconv>
#include <set>

namespace cairn::chunkserver::io {
namespace {

// One day: longer is a slip of the pen.
constexpr std::uint64_t kDelayMaxUs = 86'400'000'000;
constexpr std::uint64_t kBandwidthMax = 1_TiB;
// 2^52 blocks: 2^64 bytes.
constexpr std::uint64_t kBlocksMax = std::uint64_t{1} << 52;

std::unexpected<Error> refused(std::string_view word, const char* why) {
  return fail(Code::kInvalidArgument, fmt::format("fault plan: \"{}\": {}", word, why));
}

// Takes the digits at the beginning of `text` away.
Result<std::uint64_t> take_number(std::string_view word, std::string_view* text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc()) return refused(word, "expected a number");
  text->remove_prefix(static_cast<std::size_t>(end - text->data()));
  return value;
}

Result<Duration> parse_delay(std::string_view word, std::string_view text) {
  TRY(const std::uint64_t number, take_number(word, &text));
  const std::uint64_t unit = text == "us" ? 1 : text == "ms" ? 1'000 : text == "s" ? 1'000'000 : 0;
  if (unit == 0) return refused(word, "expected a time as 500us, 2ms or 1s");
  if (number > kDelayMaxUs / unit) return refused(word, "longer than a day");
  return Duration(static_cast<std::int64_t>(number * unit * 1000));
}

Result<ByteCount> parse_bandwidth(std::string_view word, std::string_view text) {
  TRY(const std::uint64_t number, take_number(word, &text));
  const ByteCount unit = text.empty()  ? 1
                         : text == "K" ? 1_KiB
                         : text == "M" ? 1_MiB
                         : text == "G" ? 1_GiB
                                       : 0;
  if (unit == 0) return refused(word, "expected bytes per second as 50M");
  if (number == 0 || number > kBandwidthMax / unit) return refused(word, "out of range");
  return number * unit;
}

Result<bool> parse_switch(std::string_view word, std::string_view text) {
  if (text != "on" && text != "off") return refused(word, "expected on or off");
  return text == "on";
}

Status parse_kinds(std::string_view word, std::string_view text, FaultPlan* plan) {
  for (;;) {
    const std::size_t comma = text.find(',');
    const std::string_view kind = text.substr(0, comma);
    bool* const flag = kind == "reads"     ? &plan->fail_reads
                       : kind == "writes"  ? &plan->fail_writes
                       : kind == "flushes" ? &plan->fail_flushes
                                           : nullptr;
    if (flag == nullptr) return refused(word, "expected reads, writes or flushes");
    *flag = true;
    if (comma == std::string_view::npos) return {};
    text.remove_prefix(comma + 1);
  }
}

Status parse_range(std::string_view word, std::string_view text, FaultPlan* plan) {
  TRY(plan->fail_first, take_number(word, &text));
  if (!text.starts_with('+')) return refused(word, "expected FIRST+COUNT");
  text.remove_prefix(1);
  TRY(plan->fail_count, take_number(word, &text));
  if (!text.empty()) return refused(word, "expected FIRST+COUNT");
  if (plan->fail_count == 0 || plan->fail_first > kBlocksMax || plan->fail_count > kBlocksMax) {
    return refused(word, "out of range");
  }
  return {};
}

Status parse_word(std::string_view word, std::string_view key, std::string_view value,
                  FaultPlan* plan) {
  if (key == "read-delay") {
    TRY(plan->read_delay, parse_delay(word, value));
  } else if (key == "write-delay") {
    TRY(plan->write_delay, parse_delay(word, value));
  } else if (key == "flush-delay") {
    TRY(plan->flush_delay, parse_delay(word, value));
  } else if (key == "serial") {
    TRY(plan->serial, parse_switch(word, value));
  } else if (key == "bandwidth") {
    TRY(plan->bandwidth, parse_bandwidth(word, value));
  } else if (key == "fail") {
    return parse_kinds(word, value, plan);
  } else if (key == "fail-range") {
    return parse_range(word, value, plan);
  } else if (key == "stall") {
    TRY(plan->stall, parse_switch(word, value));
  } else {
    return refused(word, "unknown");
  }
  return {};
}

std::string delay_text(Duration delay) {
  const auto us = static_cast<std::uint64_t>(delay.count()) / 1000;
  return us % 1'000'000 == 0 ? fmt::format("{}s", us / 1'000'000)
         : us % 1000 == 0    ? fmt::format("{}ms", us / 1000)
                             : fmt::format("{}us", us);
}

std::string bandwidth_text(ByteCount bytes) {
  return bytes % 1_GiB == 0   ? fmt::format("{}G", bytes / 1_GiB)
         : bytes % 1_MiB == 0 ? fmt::format("{}M", bytes / 1_MiB)
         : bytes % 1_KiB == 0 ? fmt::format("{}K", bytes / 1_KiB)
                              : fmt::format("{}", bytes);
}

}  // namespace

Result<FaultPlan> FaultPlan::parse(std::string_view text) {
  FaultPlan plan;
  std::set<std::string_view> seen;
  while (!text.empty()) {
    const std::size_t begin = text.find_first_not_of(' ');
    if (begin == std::string_view::npos) break;
    text.remove_prefix(begin);
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(word.size());
    const std::size_t equals = word.find('=');
    const std::string_view key = word.substr(0, equals);
    if (!seen.insert(key).second) return refused(word, "given twice");
    if (word == "none") continue;
    if (equals == std::string_view::npos) return refused(word, "unknown");
    TRY_VOID(parse_word(word, key, word.substr(equals + 1), &plan));
  }
  if (seen.empty()) return fail(Code::kInvalidArgument, "fault plan: empty; \"none\" clears it");
  if (seen.size() > 1 && seen.contains("none")) {
    return refused("none", "goes with no other word");
  }
  return plan;
}

std::string FaultPlan::to_text() const {
  if (none()) return "none";
  std::string text;
  const auto add = [&text](const std::string& word) { text += (text.empty() ? "" : " ") + word; };
  if (read_delay != Duration{}) add("read-delay=" + delay_text(read_delay));
  if (write_delay != Duration{}) add("write-delay=" + delay_text(write_delay));
  if (flush_delay != Duration{}) add("flush-delay=" + delay_text(flush_delay));
  if (serial) add("serial=on");
  if (bandwidth != 0) add("bandwidth=" + bandwidth_text(bandwidth));
  std::string kinds;
  if (fail_reads) kinds += ",reads";
  if (fail_writes) kinds += ",writes";
  if (fail_flushes) kinds += ",flushes";
  if (!kinds.empty()) add("fail=" + kinds.substr(1));
  if (fail_count != 0) add(fmt::format("fail-range={}+{}", fail_first, fail_count));
  if (stall) add("stall=on");
  return text;
}

}  // namespace cairn::chunkserver::io
