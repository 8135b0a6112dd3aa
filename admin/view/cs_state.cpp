#include "admin/view/cs_state.h"

#include <fmt/format.h>

#include "admin/view/units.h"
#include "common/base/units.h"

namespace cairn::admin {
namespace {

using Json = cluster::control::Json;

// A chunk server of another version may say less, or other things: what is missing is empty.
std::string text(const Json& json, const char* name) {
  const auto it = json.find(name);
  return it != json.end() && it->is_string() ? it->get<std::string>() : std::string();
}
bool flag(const Json& json, const char* name) {
  const auto it = json.find(name);
  return it != json.end() && it->is_boolean() && it->get<bool>();
}
std::uint64_t number(const Json& json, const char* name) {
  const auto it = json.find(name);
  return it != json.end() && it->is_number_unsigned() ? it->get<std::uint64_t>() : 0;
}
Json part(const Json& json, const char* name) {
  const auto it = json.find(name);
  return it != json.end() && it->is_object() ? *it : Json::object();
}

std::string backlog_text(const Json& journal) {
  if (!flag(journal, "on")) return "small writes go to the drive at once";
  if (flag(journal, "clean")) return "clean: nothing to commit";
  return fmt::format("{} used, {} not yet on the drive", format_size(number(journal, "used_bytes")),
                     format_size(number(journal, "backlog_bytes")));
}

std::string service_text(const Json& state) {
  const std::string failure = text(state, "failure");
  if (!failure.empty()) {
    const std::string letter = text(state, "flag");
    return "does not serve" + (letter.empty() ? "" : " (flag " + letter + ")") + ": " + failure;
  }
  if (!flag(state, "running")) return "does not run";
  return fmt::format("serves at {}, process {}", text(state, "address"), number(state, "pid"));
}

std::string flush_text(const Json& state) {
  const Json check = part(state, "flush_check");
  if (check.empty()) return "not checked";
  return fmt::format("{}, {} flushes a second",
                     flag(check, "suspicious") ? "SUSPICIOUS" : "nothing suspicious",
                     number(check, "flushes_per_second"));
}

}  // namespace

bool cs_journal_on(const Json& state) { return flag(part(state, "journal"), "on"); }

std::string cs_journal_directory(const Json& state) {
  return text(part(state, "journal"), "directory");
}

std::string cs_journal_text(const Json& state) {
  const Json journal = part(state, "journal");
  if (journal.empty()) return "no store that is open";
  if (!flag(journal, "on")) return "no journal";
  const std::string directory = text(journal, "directory");
  return fmt::format("a journal of {} MB {}", number(journal, "bytes") / 1_MiB,
                     directory.empty() ? "in the repository" : "at " + directory);
}

std::string cs_change_text(const Json& before, const Json& after) {
  const std::string was = cs_journal_text(before);
  const std::string is = cs_journal_text(after);
  const std::string who = fmt::format("CS {}: ", number(after, "cs_id"));
  return who + (was == is ? is + ", as before\n" : is + ", before " + was + "\n");
}

std::string cs_progress_text(const Json& progress) {
  const Json journal = part(progress, "journal");
  return fmt::format("{}: {} not yet on the drive", text(progress, "doing"),
                     format_size(number(journal, "backlog_bytes")));
}

std::string cs_state_text(const Json& state) {
  const Json journal = part(state, "journal");
  std::string result = fmt::format("CS {} of cluster '{}' at {}\n", number(state, "cs_id"),
                                   text(state, "cluster"), text(state, "repository"));
  const auto line = [&result](const char* name, const std::string& value) {
    result += fmt::format("  {:<12} {}\n", name, value);
  };
  line("service", service_text(state));
  if (!journal.empty()) {
    line("journal", cs_journal_text(state) + "; " + backlog_text(journal));
  }
  line("checksums", flag(state, "checksums") ? "verified on every read"
                                             : "kept, not verified on reads (make-cs -S)");
  line("tuned for", text(state, "tune"));
  line("flushes", flush_text(state));
  if (number(state, "damaged_blocks") != 0) {
    line("damage", fmt::format("{} blocks, being healed", number(state, "damaged_blocks")));
  }
  if (!text(state, "engine").empty()) {
    const std::string note = text(state, "engine_note");
    line("engine", text(state, "engine") + (note.empty() ? "" : " (" + note + ")"));
  }
  if (!text(state, "doing").empty()) line("doing", text(state, "doing"));
  return result;
}

}  // namespace cairn::admin
