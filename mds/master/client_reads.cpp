// Reads: answered from the tables.
#include <algorithm>

#include "mds/master/client_service.h"
#include "mds/state/machine.h"

namespace cairn::mds::master {

namespace {
constexpr std::uint32_t kReadDirEntriesMax = 4096;
constexpr std::uint32_t kChunksPerAnswerMax = 4096;
}  // namespace

bool ClientService::held_by_other(SessionId session, InodeId inode) const {
  const Result<pb::InodeRecord> record = state::queries::inode(env_.tables, inode);
  return record.has_value() && record->lease_session() != 0 &&
         record->lease_session() != session.raw();
}

Task<ClientService::Reply> ClientService::read(SessionId session, pb::ClientRequest request) {
  using Op = pb::ClientRequest;
  Reply reply = pb::ClientReply();
  switch (request.op_case()) {
    case Op::kLookup:
      reply = co_await lookup(session, std::move(*request.mutable_lookup()));
      co_return reply;
    case Op::kGetAttr:
      reply = co_await get_attr(session, InodeId::from_raw(request.get_attr().inode()));
      co_return reply;
    case Op::kReadDir:
      co_return read_dir(session, request.read_dir());
    case Op::kGetChunks:
      co_return get_chunks(request.get_chunks());
    case Op::kStatFs:
      co_return stat_fs();
    case Op::kReadLink: {
      CO_TRY(pb::InodeRecord record,
             state::queries::inode(env_.tables, InodeId::from_raw(request.read_link().inode())));
      if (record.attributes().type() != pb::TYPE_SYMLINK) {
        co_return fail(Code::kInvalidArgument, "not a symbolic link");
      }
      reply->mutable_read_link()->set_target(record.target());
      co_return reply;
    }
    case Op::kGetXattr: {
      CO_TRY(std::string value,
             state::queries::xattr(env_.tables, InodeId::from_raw(request.get_xattr().inode()),
                                   request.get_xattr().name()));
      reply->mutable_get_xattr()->set_value(std::move(value));
      co_return reply;
    }
    case Op::kListXattr: {
      CO_TRY(pb::ListXattrReply names,
             state::queries::xattr_names(env_.tables,
                                         InodeId::from_raw(request.list_xattr().inode())));
      *reply->mutable_list_xattr() = std::move(names);
      co_return reply;
    }
    default:
      co_return fail(Code::kUnsupported, "this MDS does not know the request");
  }
}

Task<ClientService::Reply> ClientService::lookup(SessionId session, pb::Lookup request) {
  const InodeId parent = InodeId::from_raw(request.parent());
  for (;;) {
    CO_TRY(pb::Attributes found, state::queries::lookup(env_.tables, parent, request.name()));
    const InodeId inode = InodeId::from_raw(found.inode());
    if (found.type() == pb::TYPE_REGULAR && held_by_other(session, inode)) {
      const Status settled = co_await parts_.leases.acquire(inode, session, Want::kLook);
      if (!settled.has_value()) co_return fail(settled.error());
      // The name may have been changed while we waited; the moment of truth is the answer.
      const Result<pb::Attributes> again =
          state::queries::lookup(env_.tables, parent, request.name());
      if (!again.has_value() || again->inode() != found.inode()) continue;
      found = *again;
    }
    pb::ClientReply reply;
    *reply.mutable_attributes() = std::move(found);
    co_return reply;
  }
}

Task<ClientService::Reply> ClientService::get_attr(SessionId session, InodeId inode) {
  if (held_by_other(session, inode)) {
    const Status settled = co_await parts_.leases.acquire(inode, session, Want::kLook);
    if (!settled.has_value()) co_return fail(settled.error());
  }
  CO_TRY(pb::InodeRecord record, state::queries::inode(env_.tables, inode));
  pb::ClientReply reply;
  *reply.mutable_attributes() = std::move(*record.mutable_attributes());
  co_return reply;
}

ClientService::Reply ClientService::read_dir(SessionId session, const pb::ReadDir& request) {
  pb::ReadDir bounded = request;
  bounded.set_limit(std::clamp<std::uint32_t>(request.limit(), 1, kReadDirEntriesMax));
  TRY(pb::ReadDirReply listed, state::queries::read_dir(env_.tables, bounded));
  for (pb::ReadDirReply::Entry& entry : *listed.mutable_entries()) {
    // Attributes that somebody else may have delayed are left out: whoever needs them asks
    // get_attr.
    if (!entry.has_attributes() || entry.type() != pb::TYPE_REGULAR) continue;
    if (held_by_other(session, InodeId::from_raw(entry.inode()))) entry.clear_attributes();
  }
  pb::ClientReply reply;
  *reply.mutable_read_dir() = std::move(listed);
  return reply;
}

ClientService::Reply ClientService::get_chunks(const pb::GetChunks& request) {
  const std::uint32_t count = std::clamp<std::uint32_t>(request.count(), 1, kChunksPerAnswerMax);
  TRY(pb::GetChunksReply found,
      state::queries::chunks(env_.tables, InodeId::from_raw(request.inode()), request.first(),
                             count));
  for (pb::Chunk& chunk : *found.mutable_chunks()) parts_.cs_board.fill_addresses(&chunk);
  pb::ClientReply reply;
  *reply.mutable_get_chunks() = std::move(found);
  return reply;
}

// What the root's encoding makes of the raw space of all CSs that are not offline.
ClientService::Reply ClientService::stat_fs() {
  TRY(const pb::InodeRecord root, state::queries::inode(env_.tables, kRootInode));
  TRY(const pb::Counters counters, state::queries::counters(env_.tables));
  const Instant now = env_.runtime.now();
  double total = 0;
  double unused = 0;
  double available = 0;
  for (const auto& [id, entry] : parts_.cs_board.all()) {
    if (parts_.cs_board.state(entry, now) == CsState::kOffline) continue;
    const double space = static_cast<double>(entry.statistics.space_bytes());
    const double free = static_cast<double>(entry.statistics.free_bytes());
    const auto reserve =
        static_cast<double>(placement::reserve_bytes(entry.statistics.space_bytes()));
    total += space;
    unused += free;
    available += std::max(0.0, free - reserve);
  }
  const pb::Encoding& encoding = root.policy().encoding();
  const double pieces = std::max(1U, encoding.data() + encoding.parity());
  const double share = std::max(1U, encoding.data()) / pieces;
  pb::ClientReply reply;
  pb::StatFsReply* answer = reply.mutable_stat_fs();
  answer->set_total_bytes(static_cast<std::uint64_t>(total * share));
  answer->set_free_bytes(static_cast<std::uint64_t>(unused * share));
  answer->set_available_bytes(static_cast<std::uint64_t>(available * share));
  answer->set_files(counters.inodes());
  return reply;
}

}  // namespace cairn::mds::master
