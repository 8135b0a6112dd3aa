#include "mds/replication/snapshot_rules.h"

#include <algorithm>
#include <set>

#include "mds/state/machine.h"

namespace cairn::mds::replication {
namespace {

bool is_number(std::string_view text) {
  return !text.empty() && text.size() <= 20 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool is_number_between(std::string_view text, std::string_view before, std::string_view after) {
  if (text.size() < before.size() + after.size()) return false;
  if (!text.starts_with(before) || !text.ends_with(after)) return false;
  text.remove_prefix(before.size());
  text.remove_suffix(after.size());
  return is_number(text);
}

}  // namespace

bool is_table_file(std::string_view name) {
  return name == "CURRENT" || is_number_between(name, "MANIFEST-", "") ||
         is_number_between(name, "OPTIONS-", "") || is_number_between(name, "", ".sst") ||
         is_number_between(name, "", ".log");
}

Status check_snapshot(const Snapshot& snapshot) {
  if (snapshot.id == 0) return fail(Code::kCorrupt, "a snapshot without an id");
  if (snapshot.files.empty() || snapshot.files.size() > kSnapshotFilesMax) {
    return fail(Code::kCorrupt,
                "a snapshot of " + std::to_string(snapshot.files.size()) + " files");
  }
  if (snapshot.membership.size() > kMembershipBytesMax) {
    return fail(Code::kCorrupt, "a snapshot with an impossible membership");
  }
  std::set<std::string_view> names;
  for (const SnapshotFile& file : snapshot.files) {
    if (!is_table_file(file.name)) return fail(Code::kCorrupt, "a snapshot with a foreign file");
    if (!names.insert(file.name).second) {
      return fail(Code::kCorrupt, "a snapshot with " + file.name + " twice");
    }
    if (file.bytes > kSnapshotFileBytesMax) {
      return fail(Code::kCorrupt, "a snapshot with an impossible size of " + file.name);
    }
  }
  return {};
}

ByteCount total_bytes(const Snapshot& snapshot) {
  ByteCount bytes = 0;
  for (const SnapshotFile& file : snapshot.files) bytes += file.bytes;
  return bytes;
}

pb::OpenSnapshotReply encode_snapshot(const Snapshot& snapshot) {
  pb::OpenSnapshotReply reply;
  reply.set_id(snapshot.id);
  reply.set_applied(snapshot.applied.raw());
  reply.set_membership(snapshot.membership);
  for (const SnapshotFile& file : snapshot.files) {
    pb::SnapshotFile& entry = *reply.add_files();
    entry.set_name(file.name);
    entry.set_bytes(file.bytes);
    entry.set_crc32c(file.crc32c);
  }
  return reply;
}

Result<Snapshot> decode_snapshot(const pb::OpenSnapshotReply& reply) {
  Snapshot snapshot{.id = reply.id(),
                    .applied = Slot(reply.applied()),
                    .membership = reply.membership(),
                    .files = {}};
  for (const pb::SnapshotFile& file : reply.files()) {
    snapshot.files.push_back({.name = file.name(), .bytes = file.bytes(), .crc32c = file.crc32c()});
  }
  TRY_VOID(check_snapshot(snapshot));
  return snapshot;
}

Result<TableFacts> table_facts(const kv::Reader& tables) {
  TableFacts facts;
  TRY(facts.applied, state::Machine::applied_slot(tables));
  TRY(facts.membership, state::Machine::group(tables));
  return facts;
}

}  // namespace cairn::mds::replication
