#include "common/runtime/completion.h"
#include "mds/replication/log_store.h"

namespace cairn::mds::replication {

Task<Status> MemLogStore::append(std::vector<Entry> batch) {
  CHECK(!batch.empty());
  CHECK_EQ(batch.front().slot.raw(), last_slot().raw() + 1);
  runtime::Completion<Status> done(*runtime_);
  runtime_->schedule(runtime_->now() + latency_,
                     [this, life = life_, done, entries = std::move(batch)]() mutable {
                       if (life != life_) return;
                       if (failed_) {
                         done.set(fail(Code::kDiskFailed, "the log's disk failed"));
                         return;
                       }
                       ++flushes_;
                       for (Entry& entry : entries) durable_.push_back(std::move(entry));
                       done.set(Status());
                     });
  Status status = co_await done.wait();
  co_return status;
}

Status MemLogStore::read_from(Slot from, const EntryVisitor& visit) const {
  if (from < truncated_before_) return fail(Code::kCorrupt, "the log begins later than asked");
  for (const Entry& entry : durable_) {
    if (entry.slot < from) continue;
    TRY_VOID(visit(entry.slot, entry.bytes));
  }
  return {};
}

Task<Status> MemLogStore::truncate_before(Slot slot) {
  std::size_t cut = 0;
  while (cut + 1 < durable_.size() && durable_[cut].slot < slot) ++cut;
  durable_.erase(durable_.begin(), durable_.begin() + static_cast<std::ptrdiff_t>(cut));
  if (!durable_.empty()) truncated_before_ = durable_.front().slot;
  co_return Status();
}

Slot MemLogStore::last_slot() const { return durable_.empty() ? Slot() : durable_.back().slot; }

ByteCount MemLogStore::size_bytes() const {
  ByteCount bytes = 0;
  for (const Entry& entry : durable_) bytes += kRecordHeaderBytes + entry.bytes.size();
  return bytes;
}

}  // namespace cairn::mds::replication
