#include "admin/commands/report_stream.h"

#include <utility>

namespace cairn::admin {
namespace {

constexpr std::size_t kWaitingMax = 64 * 1024;

}  // namespace

Status ReportStream::append(const std::string& text) {
  waiting_ += text;
  if (waiting_.size() < kWaitingMax) return {};
  return flush();
}

std::string ReportStream::opening(const std::string& name) {
  const char* const before = std::exchange(begun_, true) ? ",\n" : "{";
  return before + Json(name).dump() + ": ";
}

Status ReportStream::text(const std::string& text) {
  if (json_) return {};
  return append(text);
}

Status ReportStream::member(const std::string& name, const Json& value) {
  if (!json_) return {};
  return append(opening(name) + value.dump());
}

Status ReportStream::begin_list(const std::string& name) {
  if (!json_) return {};
  list_begun_ = false;
  return append(opening(name) + "[");
}

Status ReportStream::item(const Json& value) {
  if (!json_) return {};
  const char* const before = std::exchange(list_begun_, true) ? ",\n" : "\n";
  return append(before + value.dump());
}

Status ReportStream::end_list() {
  if (!json_) return {};
  return append(list_begun_ ? "\n]" : "]");
}

Status ReportStream::flush() {
  if (waiting_.empty()) return {};
  const std::string now = std::exchange(waiting_, std::string());
  if (print_(now)) return {};
  return fail(Code::kDiskFailed, "standard output does not take what is printed");
}

Status ReportStream::finish() {
  if (json_) {
    TRY_VOID(append(begun_ ? "}\n" : "{}\n"));
  }
  return flush();
}

}  // namespace cairn::admin
