#include "admin/view/conversion_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "admin/view/attributes.h"
#include "admin/view/table.h"
#include "admin/view/units.h"

namespace cairn::admin {
namespace {

std::string files(std::uint64_t count) {
  return fmt::format("{} {}", count, count == 1 ? "file" : "files");
}

std::uint64_t not_begun(const pb::ConversionStat& stat) {
  return stat.waiting() - std::min(stat.waiting(), stat.under_way());
}

std::string done_of(const pb::ConversionStat::File& file) {
  return format_size(file.bytes_done()) + " of " + format_size(file.bytes_total());
}

}  // namespace

std::string conversion_line(const pb::ConversionStat& stat) {
  if (stat.waiting() + stat.converted() == 0) return {};
  std::string text = "Conversions: ";
  if (stat.paused() && stat.waiting() != 0) text += "paused (mds.convert.workers=0), ";
  text += fmt::format("{} under way, {} wait; {} converted", files(stat.under_way()),
                      not_begun(stat), stat.converted());
  if (stat.bytes_converted() != 0) text += " (" + format_size(stat.bytes_converted()) + ")";
  if (stat.under_way() != 0) text += ", " + format_rate(stat.bytes_per_second());
  return text + "\n";
}

std::string conversion_table(const pb::ConversionStat& stat) {
  if (stat.files_size() == 0) return {};
  Table table({"INODE", "CONVERTED_TO", "DONE", "WORKER", "LAST_TROUBLE"});
  for (const pb::ConversionStat::File& file : stat.files()) {
    const bool runs = !file.worker().empty();
    table.add({file.path().empty() ? std::to_string(file.inode()) : file.path(),
               encoding_attribute(file.to()), runs ? done_of(file) : "-",
               runs ? file.worker() : "waits", file.trouble().empty() ? "-" : file.trouble()});
  }
  return table.to_string();
}

std::string file_conversion_line(const pb::ConversionStat::File& file) {
  std::string text = "Conversion: into " + encoding_attribute(file.to()) + ", ";
  if (file.worker().empty()) {
    text += "it waits for its turn";
  } else {
    text += "under way by " + file.worker() + ", " + done_of(file);
  }
  if (!file.trouble().empty()) text += "; the last attempt failed: " + file.trouble();
  return text + "\n";
}

std::string conversion_progress(const pb::ConversionStat& stat) {
  std::uint64_t done = 0;
  std::uint64_t total = 0;
  std::string_view trouble;
  for (const pb::ConversionStat::File& file : stat.files()) {
    done += file.bytes_done();
    total += file.bytes_total();
    if (trouble.empty() && file.worker().empty()) trouble = file.trouble();
  }
  std::string text = fmt::format("{} to be converted", files(stat.waiting()));
  if (stat.paused()) text += ", paused";
  if (stat.under_way() != 0) {
    text += fmt::format(", {} under way: {} of {}, {}", stat.under_way(), format_size(done),
                        format_size(total), format_rate(stat.bytes_per_second()));
  }
  if (!trouble.empty()) text += fmt::format("; {}", trouble);
  return text;
}

}  // namespace cairn::admin
