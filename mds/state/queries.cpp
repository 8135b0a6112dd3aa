// Reads of the namespace and of the cluster's small tables. Those of chunks: queries_chunks.cpp.
#include <algorithm>

#include "mds/state/keys.h"
#include "mds/state/machine.h"
#include "mds/state/names.h"
#include "mds/state/rows.h"

namespace cairn::mds::state::queries {
namespace {

// Entries of one answer: they must fit one frame's meta with their attributes.
constexpr std::size_t kEntriesPerReplyMax = 4096;
constexpr std::size_t kEntriesPerReplyDefault = 1024;

Result<pb::InodeRecord> directory(const kv::Reader& reader, InodeId id) {
  TRY(pb::InodeRecord inode, queries::inode(reader, id));
  if (inode.attributes().type() != pb::TYPE_DIRECTORY) {
    return fail(Code::kNotDirectory, "inode " + std::to_string(id.raw()) + " is not a directory");
  }
  return inode;
}

Result<InodeId> child(const kv::Reader& reader, InodeId parent, std::string_view name) {
  TRY_VOID(check_name(name));
  TRY(const std::optional<pb::DentryRecord> dentry,
      rows::find<pb::DentryRecord>(reader, keys::dentry(parent, name)));
  if (!dentry) {
    return fail(Code::kNotFound, "no such name in inode " + std::to_string(parent.raw()));
  }
  return InodeId::from_raw(dentry->inode());
}

// All rows of a table, or of one owner in it.
template <class T>
Result<std::vector<T>> all_rows(const kv::Reader& reader, const std::string& prefix,
                                const std::string& from, std::size_t limit) {
  std::vector<T> found;
  if (limit == 0) return found;
  TRY_VOID(rows::each<T>(reader, prefix, from, [&](std::string_view, T row) {
    found.push_back(std::move(row));
    return found.size() < limit;
  }));
  return found;
}

// What `decode` makes of the keys; kCorrupt when it makes nothing of one.
template <class T, class Decode>
Result<std::vector<T>> all_keys(const kv::Reader& reader, const std::string& prefix,
                                const std::string& from, std::size_t limit, const Decode& decode) {
  std::vector<T> found;
  if (limit == 0) return found;
  bool bad = false;
  TRY_VOID(rows::scan(reader, prefix, from, [&](std::string_view key, std::string_view) {
    std::optional<T> item = decode(key);
    bad = !item.has_value();
    if (bad) return false;
    found.push_back(std::move(*item));
    return found.size() < limit;
  }));
  if (bad) return rows::corrupt(prefix[0]);
  return found;
}

Status add_attributes(const kv::Reader& reader, pb::ReadDirReply& reply) {
  for (pb::ReadDirReply::Entry& entry : *reply.mutable_entries()) {
    TRY(const pb::InodeRecord inode, queries::inode(reader, InodeId::from_raw(entry.inode())));
    *entry.mutable_attributes() = inode.attributes();
  }
  return {};
}

}  // namespace

Result<pb::ClusterRecord> cluster(const kv::Reader& reader) {
  TRY(std::optional<pb::ClusterRecord> cluster,
      rows::find<pb::ClusterRecord>(reader, keys::cluster()));
  if (!cluster) return fail(Code::kNotFound, "there is no cluster yet");
  return std::move(*cluster);
}

Result<pb::Counters> counters(const kv::Reader& reader) {
  TRY(std::optional<pb::Counters> counters, rows::find<pb::Counters>(reader, keys::counters()));
  return counters.value_or(pb::Counters());
}

Result<pb::InodeRecord> inode(const kv::Reader& reader, InodeId id) {
  TRY(std::optional<pb::InodeRecord> inode, rows::find<pb::InodeRecord>(reader, keys::inode(id)));
  if (!inode) {
    return fail(Code::kNotFound, "inode " + std::to_string(id.raw()) + " does not exist");
  }
  return std::move(*inode);
}

Result<pb::Attributes> lookup(const kv::Reader& reader, InodeId parent, std::string_view name) {
  TRY_VOID(directory(reader, parent));
  TRY(const InodeId id, child(reader, parent, name));
  TRY(const pb::InodeRecord found, inode(reader, id));
  return found.attributes();
}

Result<pb::InodeRecord> resolve(const kv::Reader& reader, std::string_view path) {
  TRY(pb::InodeRecord at, inode(reader, kRootInode));
  while (!path.empty()) {
    const std::size_t slash = std::min(path.find('/'), path.size());
    const std::string_view name = path.substr(0, slash);
    path.remove_prefix(std::min(slash + 1, path.size()));
    if (name.empty() || name == ".") continue;
    if (at.attributes().type() != pb::TYPE_DIRECTORY) {
      return fail(Code::kNotDirectory, "a part of the path is not a directory");
    }
    InodeId next = InodeId::from_raw(at.parent());
    if (name != "..") {
      TRY(next, child(reader, InodeId::from_raw(at.attributes().inode()), name));
    }
    TRY(at, inode(reader, next));
  }
  return at;
}

Result<pb::ReadDirReply> read_dir(const kv::Reader& reader, const pb::ReadDir& request) {
  const InodeId id = InodeId::from_raw(request.inode());
  TRY(const pb::InodeRecord parent, directory(reader, id));
  pb::ReadDirReply reply;
  reply.set_parent(parent.parent());
  reply.set_end(true);
  const std::size_t asked = request.limit() == 0 ? kEntriesPerReplyDefault : request.limit();
  const int limit = static_cast<int>(std::min(asked, kEntriesPerReplyMax));
  // The first key after the one of `after`, which sorts before every longer name.
  std::string from;
  if (!request.after().empty()) from = keys::dentry(id, request.after()) + '\0';
  const std::string prefix = keys::of_inode(keys::Table::kDentry, id);
  const auto add = [&](std::string_view key, const pb::DentryRecord& dentry) {
    if (reply.entries_size() == limit) {
      reply.set_end(false);
      return false;
    }
    pb::ReadDirReply::Entry& entry = *reply.add_entries();
    entry.set_name(std::string(key.substr(prefix.size())));
    entry.set_inode(dentry.inode());
    entry.set_type(dentry.type());
    return true;
  };
  TRY_VOID(rows::each<pb::DentryRecord>(reader, prefix, from, add));
  if (request.attributes()) {
    TRY_VOID(add_attributes(reader, reply));
  }
  return reply;
}

Result<std::string> xattr(const kv::Reader& reader, InodeId id, std::string_view name) {
  TRY_VOID(check_xattr_name(name));
  TRY_VOID(inode(reader, id));
  TRY(std::optional<std::string> value, reader.get(keys::xattr(id, name)));
  if (!value) return fail(Code::kNoAttribute, "no such attribute");
  return std::move(*value);
}

Result<pb::ListXattrReply> xattr_names(const kv::Reader& reader, InodeId id) {
  TRY_VOID(inode(reader, id));
  const std::string prefix = keys::of_inode(keys::Table::kXattr, id);
  pb::ListXattrReply reply;
  TRY_VOID(rows::scan(reader, prefix, {}, [&](std::string_view key, std::string_view) {
    reply.add_names(std::string(key.substr(prefix.size())));
    return true;
  }));
  return reply;
}

Result<std::vector<pb::CsRecord>> chunk_servers(const kv::Reader& reader) {
  return all_rows<pb::CsRecord>(reader, keys::all_of(keys::Table::kChunkServer), {}, SIZE_MAX);
}

Result<std::vector<pb::SessionRecord>> sessions(const kv::Reader& reader) {
  return all_rows<pb::SessionRecord>(reader, keys::all_of(keys::Table::kSession), {}, SIZE_MAX);
}

Result<std::vector<InodeId>> exclusive_leases(const kv::Reader& reader, SessionId session) {
  const auto decode = [](std::string_view key) -> std::optional<InodeId> {
    const std::optional<keys::SessionInode> lease = keys::decode_lease(key);
    if (!lease) return std::nullopt;
    return lease->inode;
  };
  return all_keys<InodeId>(reader, keys::of_session(keys::Table::kLease, session), {}, SIZE_MAX,
                           decode);
}

Result<std::vector<InodeId>> orphans(const kv::Reader& reader, InodeId after, std::size_t limit) {
  if (after.raw() == UINT64_MAX) return std::vector<InodeId>();
  const auto decode = [](std::string_view key) {
    return keys::decode_inode(keys::Table::kOrphan, key);
  };
  return all_keys<InodeId>(reader, keys::all_of(keys::Table::kOrphan),
                           keys::orphan(InodeId::from_raw(after.raw() + 1)), limit, decode);
}

Result<std::vector<pb::Event>> events(const kv::Reader& reader, std::uint64_t after,
                                      std::size_t limit) {
  if (after == UINT64_MAX) return std::vector<pb::Event>();
  return all_rows<pb::Event>(reader, keys::all_of(keys::Table::kEvent), keys::event(after + 1),
                             limit);
}

Result<std::vector<pb::Event>> last_events(const kv::Reader& reader, std::size_t limit) {
  TRY(const pb::Counters numbers, counters(reader));
  // Event ids have no gaps.
  const std::uint64_t next = numbers.next_event();
  const std::uint64_t after = next > limit && next - limit > 1 ? next - limit - 1 : 0;
  return events(reader, after, limit);
}

Result<std::vector<Conversion>> conversions(const kv::Reader& reader, InodeId after,
                                            std::size_t limit) {
  std::vector<Conversion> found;
  if (limit == 0 || after.raw() == UINT64_MAX) return found;
  bool bad = false;
  TRY_VOID(rows::each<pb::ConversionRecord>(reader, keys::all_of(keys::Table::kConversion),
                                            keys::conversion(InodeId::from_raw(after.raw() + 1)),
                                            [&](std::string_view key, pb::ConversionRecord record) {
                                              const std::optional<InodeId> id =
                                                  keys::decode_inode(keys::Table::kConversion, key);
                                              bad = !id.has_value();
                                              if (bad) return false;
                                              found.push_back({*id, std::move(record)});
                                              return found.size() < limit;
                                            }));
  if (bad) return rows::corrupt(static_cast<char>(keys::Table::kConversion));
  return found;
}

Result<std::optional<pb::ConversionRecord>> conversion(const kv::Reader& reader, InodeId id) {
  return rows::find<pb::ConversionRecord>(reader, keys::conversion(id));
}

Result<std::uint64_t> conversion_count(const kv::Reader& reader) {
  std::uint64_t count = 0;
  TRY_VOID(rows::scan(reader, keys::all_of(keys::Table::kConversion), {},
                      [&](std::string_view, std::string_view) { return ++count != 0; }));
  return count;
}

Result<std::uint64_t> setting(const kv::Reader& reader, const SettingSpec& spec) {
  TRY(const std::optional<std::string> stored, reader.get(keys::setting(spec.name)));
  if (!stored) return spec.default_value;
  return parse_setting(spec, *stored).value_or(spec.default_value);
}

Result<std::vector<pb::Setting>> stored_settings(const kv::Reader& reader) {
  std::vector<pb::Setting> found;
  bool bad = false;
  const auto add = [&](std::string_view key, std::string_view value) {
    const std::optional<std::string_view> name = keys::decode_setting(key);
    bad = !name.has_value();
    if (bad) return false;
    pb::Setting& setting = found.emplace_back();
    setting.set_name(std::string(*name));
    setting.set_value(std::string(value));
    return true;
  };
  TRY_VOID(rows::scan(reader, keys::all_of(keys::Table::kSetting), {}, add));
  if (bad) return rows::corrupt(static_cast<char>(keys::Table::kSetting));
  return found;
}

Result<std::optional<pb::ClientReply>> stored_reply(const kv::Reader& reader, SessionId session,
                                                    RequestSeq seq) {
  return rows::find<pb::ClientReply>(reader, keys::reply({session, seq}));
}

}  // namespace cairn::mds::state::queries
