#include "mds/replication/snapshot_puller.h"

#include <algorithm>
#include <numeric>

#include "common/base/limits.h"
#include "mds/replication/snapshot_rules.h"

namespace cairn::mds::replication {
namespace {

constexpr Duration kAskAgain = 500ms;

}  // namespace

SnapshotPuller::SnapshotPuller(runtime::Runtime& runtime, TableVault& vault, rpc::Caller& caller,
                               Options options)
    : runtime_(runtime),
      vault_(vault),
      caller_(caller),
      options_(options),
      bucket_(options.bytes_per_s),
      tasks_(runtime) {}

Task<Result<Snapshot>> SnapshotPuller::open() {
  const Deadline patience = runtime_.after(options_.open_wait);
  for (;;) {
    pb::OpenSnapshotRequest request;
    request.set_cluster_id(options_.cluster_id.raw());
    request.set_from(options_.self.raw());
    request.set_resume(vault_.incoming_id());
    const Deadline deadline = runtime_.after(options_.open_call);
    std::string method = "/cairn.pb.Peer/OpenSnapshot";
    const Result<pb::OpenSnapshotReply> reply = co_await rpc::call<pb::OpenSnapshotReply>(
        caller_, std::move(method), std::move(request), deadline);
    if (stopping()) co_return fail(Code::kCancelled, "stopping");
    if (reply.has_value()) co_return decode_snapshot(*reply);
    const bool comes = reply.error().code() == Code::kBusy && runtime_.now() < patience;
    if (!comes) co_return fail(reply.error());
    co_await runtime::sleep_for(runtime_, kAskAgain);
  }
}

Task<Result<Slot>> SnapshotPuller::pull() {
  const Result<Snapshot> opened = co_await open();
  if (!opened.has_value()) co_return fail(opened.error());
  const Snapshot& snapshot = *opened;
  CO_TRY(const TableFacts present, table_facts(vault_.tables()));
  if (snapshot.applied <= present.applied) co_return snapshot.applied;
  Snapshot wanted = snapshot;
  Result<std::vector<ByteCount>> have = co_await vault_.begin_incoming(std::move(wanted));
  if (!have.has_value()) co_return fail(have.error());
  have_ = std::move(*have);
  total_ = total_bytes(snapshot);
  here_ = std::accumulate(have_.begin(), have_.end(), ByteCount{0});
  file_ = 0;
  offset_ = have_.front();
  const Status fetched = co_await fetch_all(&snapshot);
  // Those that are still under way end by their deadlines.
  co_await tasks_.join();
  asked_.clear();
  if (!fetched.has_value()) co_return fail(fetched.error());
  co_return snapshot.applied;
}

Task<Status> SnapshotPuller::fetch_all(const Snapshot* snapshot) {
  for (;;) {
    while (asked_.size() < kPartsInFlight && ask_next(*snapshot)) {
    }
    if (asked_.empty()) co_return Status();
    Status taken = co_await take_front();
    if (!taken.has_value()) co_return taken;
    if (stopping()) co_return fail(Code::kCancelled, "stopping");
  }
}

bool SnapshotPuller::ask_next(const Snapshot& snapshot) {
  while (file_ < have_.size() && offset_ == snapshot.files[file_].bytes) {
    ++file_;
    offset_ = file_ < have_.size() ? have_[file_] : 0;
  }
  if (file_ == have_.size()) return false;
  Part part{.file = static_cast<std::uint32_t>(file_),
            .offset = offset_,
            .bytes = std::min(limits::kSnapshotPartBytes, snapshot.files[file_].bytes - offset_),
            .done = runtime::Completion<Bytes>(runtime_)};
  offset_ += part.bytes;
  asked_.push_back(part);
  tasks_.spawn(fetch(this, snapshot.id, part));
  return true;
}

Task<void> SnapshotPuller::fetch(SnapshotPuller* self, std::uint64_t id, Part part) {
  const Instant at = self->bucket_.take(part.bytes, self->runtime_.now());
  if (at > self->runtime_.now()) co_await runtime::sleep_until(self->runtime_, at);
  pb::ReadSnapshotRequest request;
  request.set_cluster_id(self->options_.cluster_id.raw());
  request.set_id(id);
  request.set_file(part.file);
  request.set_offset(part.offset);
  request.set_bytes(static_cast<std::uint32_t>(part.bytes));
  const Deadline deadline = self->runtime_.after(self->options_.part_call);
  std::string method = "/cairn.pb.Peer/ReadSnapshot";
  Result<pb::ReadSnapshotReply> reply = co_await rpc::call<pb::ReadSnapshotReply>(
      self->caller_, std::move(method), std::move(request), deadline);
  if (!reply.has_value()) {
    part.done.set(fail(reply.error()));
    co_return;
  }
  part.done.set(std::move(*reply->mutable_bytes()));
}

Task<Status> SnapshotPuller::take_front() {
  Part part = asked_.front();
  asked_.pop_front();
  Bytes bytes = co_await part.done.wait();
  if (!bytes.has_value()) co_return fail(bytes.error());
  if (bytes->size() != part.bytes) {
    co_return fail(Code::kProtocol, "a part of a snapshot has not the length that was asked for");
  }
  Status written = co_await vault_.write_incoming(part.file, part.offset, std::move(*bytes));
  if (written.has_value()) here_ += part.bytes;
  co_return written;
}

}  // namespace cairn::mds::replication
