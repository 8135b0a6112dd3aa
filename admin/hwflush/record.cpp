#include "admin/hwflush/record.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/base/prng.h"

namespace cairn::admin::hwflush {
namespace {

constexpr std::uint64_t kMagic = 0x314c4657484e5243;  // "CRNHWFL1"
constexpr std::size_t kFillerAt = 40;
constexpr std::size_t kCrcAt = kRecordBytes - 4;

std::optional<std::uint64_t> parse_hex(std::string_view text) {
  std::uint64_t value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc() || rest != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

std::string DirectoryId::to_string() const { return fmt::format("{:016x}{:016x}", high, low); }

std::optional<DirectoryId> DirectoryId::parse(std::string_view text) {
  if (text.size() != 32) return std::nullopt;
  const std::optional<std::uint64_t> high = parse_hex(text.substr(0, 16));
  const std::optional<std::uint64_t> low = parse_hex(text.substr(16));
  if (!high.has_value() || !low.has_value()) return std::nullopt;
  const DirectoryId id{*high, *low};
  if (id.empty()) return std::nullopt;
  return id;
}

void encode_record(const Record& record, MutableBytes into) {
  CHECK_EQ(into.size(), std::size_t{kRecordBytes});
  CHECK_NE(record.counter, std::uint64_t{0});
  store_le<std::uint64_t>(into.data(), kMagic);
  store_le<std::uint32_t>(into.data() + 8, record.thread);
  store_le<std::uint32_t>(into.data() + 12, 0);
  store_le<std::uint64_t>(into.data() + 16, record.directory.high);
  store_le<std::uint64_t>(into.data() + 24, record.directory.low);
  store_le<std::uint64_t>(into.data() + 32, record.counter);
  Prng filler(record.counter ^ (std::uint64_t{record.thread} << 32));
  std::size_t at = kFillerAt;
  for (; at + 8 <= kCrcAt; at += 8) store_le<std::uint64_t>(into.data() + at, filler.next());
  std::fill(into.begin() + static_cast<std::ptrdiff_t>(at),
            into.begin() + static_cast<std::ptrdiff_t>(kCrcAt), std::byte{0});
  store_le<std::uint32_t>(into.data() + kCrcAt, crc32c(into.first(kCrcAt)));
}

std::optional<Record> decode_record(Bytes block) {
  if (block.size() != kRecordBytes || load_le<std::uint64_t>(block.data()) != kMagic) {
    return std::nullopt;
  }
  if (load_le<std::uint32_t>(block.data() + kCrcAt) != crc32c(block.first(kCrcAt))) {
    return std::nullopt;
  }
  Record record;
  record.thread = load_le<std::uint32_t>(block.data() + 8);
  record.directory.high = load_le<std::uint64_t>(block.data() + 16);
  record.directory.low = load_le<std::uint64_t>(block.data() + 24);
  record.counter = load_le<std::uint64_t>(block.data() + 32);
  if (record.counter == 0) return std::nullopt;
  return record;
}

std::uint64_t newest_counter(Bytes blocks, DirectoryId directory, std::uint32_t thread) {
  std::uint64_t newest = 0;
  for (; blocks.size() >= kRecordBytes; blocks = blocks.subspan(kRecordBytes)) {
    const std::optional<Record> record = decode_record(blocks.first(kRecordBytes));
    if (!record.has_value() || record->directory != directory || record->thread != thread) continue;
    newest = std::max(newest, record->counter);
  }
  return newest;
}

}  // namespace cairn::admin::hwflush
