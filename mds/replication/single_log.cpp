#include "mds/replication/replicated_log.h"

namespace cairn::mds::replication {

SingleLog::SingleLog(runtime::Runtime& runtime, LogStore& store, ApplyBatch apply,
                     std::function<void(const Error&)> on_failure)
    : runtime_(runtime),
      store_(store),
      apply_(std::move(apply)),
      on_failure_(std::move(on_failure)),
      wake_(runtime),
      tasks_(runtime) {}

void SingleLog::start() { tasks_.spawn(run()); }

Task<Result<std::string>> SingleLog::propose(std::string command) {
  if (failed_) co_return fail(Code::kDiskFailed, "the log failed");
  if (stopping_) co_return fail(Code::kCancelled, "the MDS is stopping");
  if (queue_.size() >= kQueueMax) co_return fail(Code::kOverloaded, "too many commands wait");
  if (command.size() > kRecordPayloadBytesMax) {
    co_return fail(Code::kTooBig, "the command does not fit into the log");
  }
  runtime::Completion<Result<std::string>> done(runtime_);
  queue_.push_back(Waiting{.command = std::move(command), .done = done});
  wake_.notify_all();
  Result<std::string> answer = co_await done.wait();
  co_return answer;
}

Task<void> SingleLog::stop() {
  stopping_ = true;
  wake_.notify_all();
  co_await tasks_.join();
}

SingleLog::Statistics SingleLog::statistics() const {
  Statistics statistics = statistics_;
  if (busy_) statistics.busy += runtime_.now() - busy_since_;
  return statistics;
}

Task<void> SingleLog::run() {
  while (!failed_) {
    if (queue_.empty()) {
      if (stopping_) co_return;
      co_await wake_.wait();
      continue;
    }
    busy_ = true;
    busy_since_ = runtime_.now();
    co_await write_one_batch();
    busy_ = false;
    statistics_.busy += runtime_.now() - busy_since_;
  }
}

Task<void> SingleLog::write_one_batch() {
  std::vector<Waiting> batch;
  std::vector<Entry> entries;
  ByteCount bytes = 0;
  Slot slot = store_.last_slot();
  while (!queue_.empty() && batch.size() < limits::kLogBatchCommandsMax &&
         (batch.empty() || bytes + queue_.front().command.size() <= limits::kLogBatchBytesMax)) {
    slot = slot.next();
    bytes += queue_.front().command.size();
    entries.push_back(Entry{.slot = slot, .bytes = queue_.front().command});
    batch.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  const Status written = co_await store_.append(entries);
  if (!written.has_value()) {
    fail_all(std::move(batch), written.error());
    co_return;
  }
  Result<std::vector<std::string>> answers = apply_(entries);
  if (!answers.has_value()) {
    fail_all(std::move(batch), answers.error());
    co_return;
  }
  CHECK_EQ(answers->size(), batch.size());
  ++statistics_.batches;
  statistics_.commands += batch.size();
  for (std::size_t i = 0; i < batch.size(); ++i) batch[i].done.set(std::move((*answers)[i]));
}

void SingleLog::fail_all(std::vector<Waiting> batch, const Error& error) {
  failed_ = true;
  for (Waiting& waiting : batch) waiting.done.set(fail(error));
  for (Waiting& waiting : queue_) waiting.done.set(fail(error));
  queue_.clear();
  on_failure_(error);
}

}  // namespace cairn::mds::replication
