#include "admin/drive/drive_contents.h"

#include <charconv>
#include <optional>
#include <sstream>

#include "admin/drive/run_program.h"

namespace cairn::admin {
namespace {

constexpr int kNothingFound = 2;  // exit codes of blkid
constexpr int kSeveralFound = 8;
constexpr const char* kSeveral = "several filesystems";

// The number after "start=" and blanks.
std::optional<std::uint64_t> field(std::string_view line, std::string_view key) {
  const std::size_t at = line.find(key);
  if (at == std::string_view::npos) return std::nullopt;
  std::string_view rest = line.substr(at + key.size());
  while (rest.starts_with(' ')) rest.remove_prefix(1);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  if (error != std::errc()) return std::nullopt;
  return value;
}

std::string quoted_field(std::string_view line, std::string_view key) {
  const std::size_t at = line.find(key);
  if (at == std::string_view::npos) return {};
  const std::string_view rest = line.substr(at + key.size());
  return std::string(rest.substr(0, rest.find('"')));
}

// The digits at the end of the device's name.
unsigned number_of(std::string_view device) {
  const std::size_t last = device.find_last_not_of("0123456789");
  const std::string_view digits = device.substr(last == std::string_view::npos ? 0 : last + 1);
  unsigned value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return value;
}

Result<std::map<std::string, std::string>> probe(std::vector<std::string> words) {
  TRY(const ProgramResult result, run_program(std::move(words)));
  if (result.exit_code == kNothingFound) return std::map<std::string, std::string>{};
  if (result.exit_code == kSeveralFound) {
    return std::map<std::string, std::string>{{"TYPE", kSeveral}};
  }
  if (result.exit_code != 0) {
    return fail(Code::kDiskFailed, "blkid cannot read it: " + result.errors);
  }
  return parse_blkid(result.output);
}

DriveContent content_of(std::string where, std::map<std::string, std::string> found,
                        std::string name) {
  return {.where = std::move(where),
          .type = std::move(found["TYPE"]),
          .label = std::move(found["LABEL"]),
          .name = std::move(name)};
}

}  // namespace

std::map<std::string, std::string> parse_blkid(std::string_view text) {
  std::map<std::string, std::string> result;
  std::istringstream lines{std::string(text)};
  std::string line;
  while (std::getline(lines, line)) {
    const std::size_t equals = line.find('=');
    if (equals == std::string::npos) continue;
    std::string value;
    for (std::size_t i = equals + 1; i < line.size(); ++i) {
      if (line[i] == '\\' && i + 1 < line.size()) ++i;
      value += line[i];
    }
    result[line.substr(0, equals)] = value;
  }
  return result;
}

std::vector<TableEntry> parse_partition_table(std::string_view text) {
  std::vector<TableEntry> result;
  std::istringstream lines{std::string(text)};
  std::string line;
  while (std::getline(lines, line)) {
    const std::size_t colon = line.find(" : ");
    if (colon == std::string::npos) continue;
    const auto start = field(line, "start=");
    const auto size = field(line, "size=");
    if (!start.has_value() || !size.has_value() || *size == 0) continue;
    result.push_back({.number = number_of(line.substr(0, colon)),
                      .start = *start,
                      .size = *size,
                      .name = quoted_field(line, "name=\"")});
  }
  return result;
}

Result<std::vector<DriveContent>> contents_of(const std::string& drive, ByteCount sector_bytes) {
  std::vector<DriveContent> result;
  TRY(auto found, probe({"blkid", "-p", "-o", "export", drive}));
  result.push_back(content_of(drive, std::move(found), {}));
  // Exit code 1: there is no table.
  TRY(const ProgramResult table, run_program({"sfdisk", "--dump", drive}));
  if (table.exit_code != 0) return result;
  for (TableEntry& entry : parse_partition_table(table.output)) {
    TRY(auto inside,
        probe({"blkid", "-p", "-o", "export", "-O", std::to_string(entry.start * sector_bytes),
               "-S", std::to_string(entry.size * sector_bytes), drive}));
    result.push_back(content_of("partition " + std::to_string(entry.number) + " of " + drive,
                                std::move(inside), std::move(entry.name)));
  }
  return result;
}

Result<std::string> filesystem_uuid(const std::string& device) {
  TRY(auto found, probe({"blkid", "-p", "-o", "export", device}));
  if (found["UUID"].empty()) return fail(Code::kNotFound, "there is no filesystem on " + device);
  return found["UUID"];
}

}  // namespace cairn::admin
