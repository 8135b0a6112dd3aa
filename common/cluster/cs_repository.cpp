#include "common/cluster/cs_repository.h"

#include "common/cluster/durable_file.h"
#include "common/cluster/identity_file.h"

namespace cairn::cluster {
namespace {

constexpr std::uint64_t kFormat = 2;
constexpr std::uint32_t kTierMax = 3;
constexpr const char* kFile = "cs.conf";

Json to_json(const CsRepository& cs) {
  Json json = {
      {"format", kFormat},
      {"kind", "cs"},
      {"cluster", cs.cluster},
      {"cluster_id", hex16(cs.cluster_id.raw())},
      {"cs_id", cs.cs_id.raw()},
      {"repo_uuid", hex16(cs.repo_uuid)},
      {"host_id", hex16(cs.host_id.raw())},
      {"host", cs.host},
      {"address", cs.address.host},
      {"port", cs.address.port},
      {"tier", cs.tier},
      {"size_bytes", cs.size_bytes},
      {"checksums", cs.checksums},
      {"tune", tune_word(cs.tune)},
      {"journal",
       {{"on", cs.journal.on}, {"directory", cs.journal.directory}, {"bytes", cs.journal.bytes}}}};
  if (cs.flush_check.has_value()) {
    json["flush_check"] = {{"suspicious", cs.flush_check->suspicious},
                           {"flushes_per_second", cs.flush_check->flushes_per_second},
                           {"checked_at_ns", cs.flush_check->checked_at_ns}};
  }
  return json;
}

// A member that must be an object; an empty one, noted, when it is not.
const Json& object(const Json& json, const char* name, Fields& fields) {
  static const Json empty = Json::object();
  const auto it = json.find(name);
  if (it != json.end() && it->is_object()) return *it;
  fields.note(name);
  return empty;
}

JournalWish read_journal(const Json& json, Fields& outer) {
  const Json& part = object(json, "journal", outer);
  Fields fields(part);
  JournalWish wish;
  wish.on = fields.flag("on");
  wish.directory = fields.text("directory");
  wish.bytes = fields.number("bytes", kJournalBytesMax);
  if (wish.bytes == 0) fields.note("bytes");
  if (!wish.directory.empty() && !wish.directory.starts_with('/')) fields.note("directory");
  if (!fields.wrong().empty()) outer.note("journal." + fields.wrong());
  return wish;
}

std::optional<FlushCheck> read_flush_check(const Json& json, Fields& outer) {
  if (!outer.has("flush_check")) return std::nullopt;
  const Json& part = object(json, "flush_check", outer);
  Fields fields(part);
  FlushCheck check;
  check.suspicious = fields.flag("suspicious");
  check.flushes_per_second = fields.number("flushes_per_second", UINT64_MAX);
  check.checked_at_ns = static_cast<std::int64_t>(fields.number("checked_at_ns", INT64_MAX));
  if (!fields.wrong().empty()) outer.note("flush_check." + fields.wrong());
  return check;
}

}  // namespace

const char* tune_word(Tune tune) { return tune == Tune::kSsd ? "ssd" : "hdd"; }

std::optional<Tune> parse_tune(std::string_view word) {
  if (word == "ssd") return Tune::kSsd;
  if (word == "hdd") return Tune::kHdd;
  return std::nullopt;
}

Result<CsRepository> CsRepository::load(const std::string& directory) {
  const std::string path = directory + "/" + kFile;
  TRY(const Json json, read_identity(path, "cs", kFormat));
  Fields fields(json);
  CsRepository cs;
  cs.cluster = fields.cluster();
  cs.cluster_id = ClusterId::from_raw(fields.id("cluster_id"));
  cs.cs_id = NodeId::from_raw(static_cast<std::uint32_t>(fields.number("cs_id", UINT32_MAX)));
  cs.repo_uuid = fields.id("repo_uuid");
  cs.host_id = HostId::from_raw(fields.id("host_id"));
  cs.host = fields.text("host");
  cs.address = fields.address(true);
  cs.tier = static_cast<std::uint32_t>(fields.number("tier", kTierMax));
  cs.size_bytes = fields.number("size_bytes", UINT64_MAX);
  if (!cs.cs_id.valid()) fields.note("cs_id");
  if (fields.number("format", UINT32_MAX) >= 2) {
    cs.checksums = fields.flag("checksums");
    const std::optional<Tune> tune = parse_tune(fields.text("tune"));
    if (!tune.has_value()) fields.note("tune");
    cs.tune = tune.value_or(Tune::kHdd);
    cs.journal = read_journal(json, fields);
    cs.flush_check = read_flush_check(json, fields);
  }
  TRY_VOID(fields.check(path));
  return cs;
}

Status CsRepository::create(const std::string& directory, std::string_view except) const {
  return create_identity(directory, kFile, to_json(*this), except);
}

Status CsRepository::save(const std::string& directory) const {
  return write_file_durably(directory + "/" + kFile, identity_text(to_json(*this)), 0644);
}

}  // namespace cairn::cluster
