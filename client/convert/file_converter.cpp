#include "client/convert/file_converter.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "client/core/reader.h"

namespace cairn::client::convert {

namespace {
constexpr std::uint32_t kChunksPerLook = 64;
constexpr std::uint64_t kNoEnd = std::numeric_limits<std::uint64_t>::max();
}  // namespace

FileConverter::FileConverter(runtime::Runtime& runtime, observe::Log& log, FileSystem& file_system,
                             ConversionPort& port, InodeId source)
    : runtime_(runtime),
      log_(log),
      file_system_(file_system),
      port_(port),
      source_(source),
      generation_(port.session_generation()),
      slots_(runtime, kUnitsAtOnce),
      tasks_(runtime),
      changed_(runtime) {}

ByteCount FileConverter::bytes_done() const { return std::min(position_, size_); }

void FileConverter::cancel() {
  cancelled_ = true;
  changed_.notify_all();
}

Status FileConverter::check() const {
  if (cancelled_) return fail(Code::kCancelled, "the conversion was called off");
  if (port_.session_generation() != generation_) {
    return fail(Code::kSessionGone, "the session ended during the conversion");
  }
  return Status();
}

Task<Status> FileConverter::run() {
  const Result<InodeId> shadow = co_await port_.make_shadow(source_);
  if (!shadow.has_value()) co_return fail(shadow.error());
  shadow_ = *shadow;
  const Status converted = co_await convert();
  ++hold_number_;
  port_.let_go(source_, &hold_);
  port_.drop_shadow(shadow_);
  changed_.notify_all();
  co_await tasks_.join();
  co_return converted;
}

Task<Status> FileConverter::convert() {
  const Status copied = co_await copy_in_rounds();
  if (!copied.has_value()) co_return copied;
  for (unsigned holds = 0; holds < kHoldsMost; ++holds) {
    const Status settled = co_await port_.settle_shadow(shadow_);
    if (!settled.has_value()) co_return settled;
    unsettled_ = false;
    const Status whole = co_await wait_whole();
    if (!whole.has_value()) co_return whole;
    CO_TRY_VOID(check());
    const Result<Held> held = co_await hold_and_swap();
    if (!held.has_value()) co_return fail(held.error());
    if (*held == Held::kSwapped) co_return Status();
  }
  co_return fail(Code::kBusy, "pieces of the copy were lost again and again");
}

Task<Status> FileConverter::copy_in_rounds() {
  Rounds rounds;
  for (;;) {
    const Result<std::uint64_t> ranges = co_await copy_round();
    if (!ranges.has_value()) co_return fail(ranges.error());
    position_ = size_;
    if (!rounds.again(*ranges)) co_return Status();
  }
}

Task<Result<std::uint64_t>> FileConverter::copy_round() {
  std::uint64_t ranges = 0;
  std::uint64_t cursor = 0;
  while (cursor != kNoEnd) {
    CO_TRY_VOID(check());
    const Result<std::vector<RangeWork>> work = co_await look(&cursor);
    if (!work.has_value()) co_return fail(work.error());
    for (const RangeWork& one : *work) {
      const Status done = co_await bring_up(one);
      if (!done.has_value()) co_return fail(done.error());
      ++ranges;
    }
  }
  co_return ranges;
}

// The next chunks from `cursor` on, and what is to be done about them. It moves behind them.
Task<Result<std::vector<RangeWork>>> FileConverter::look(std::uint64_t* cursor) {
  const std::uint64_t first = *cursor;
  const FileHold* const hold = holding_ ? &hold_ : nullptr;
  const Result<ConversionPort::Look> look =
      co_await port_.look(source_, first, kChunksPerLook, hold);
  if (!look.has_value()) co_return fail(look.error());
  CO_TRY_VOID(accept_layout(look->map.layout()));
  const Status fitted = co_await fit_size(look->size);
  if (!fitted.has_value()) co_return fail(fitted.error());
  std::vector<SeenChunk> chunks;
  std::uint64_t last = 0;
  for (const pb::Chunk& chunk : look->map.chunks()) {
    if (chunk.index() < first) co_return fail(Code::kProtocol, "chunks that were not asked for");
    last = std::max(last, chunk.index());
    chunks.push_back(seen(chunk));
  }
  *cursor = chunks.empty() ? kNoEnd : last + 1;
  std::vector<RangeWork> work;
  if (plan_.has_value()) work = plan_->judge(chunks, first, *cursor);
  co_return work;
}

Status FileConverter::accept_layout(const pb::Layout& told) {
  if (told.cell_bytes() == 0) return Status();  // no chunk yet
  TRY(const layout::FileLayout layout, layout_from(told));
  if (!layout_.has_value()) {
    layout_ = told;
    plan_.emplace(layout.chunk_bytes());
    written_.emplace(layout.chunk_bytes());
    return Status();
  }
  TRY(const layout::FileLayout known, layout_from(*layout_));
  if (same_layout(known, layout)) return Status();
  return fail(Code::kBusy, "the file got another layout during its conversion");
}

Task<Status> FileConverter::fit_size(ByteCount size) {
  if (size == size_) co_return Status();
  unsettled_ = true;
  pb::SetAttr change;
  change.set_size(size);
  const Result<pb::Attributes> sized =
      co_await file_system_.set_attributes(shadow_, std::move(change));
  if (!sized.has_value()) co_return fail(sized.error());
  if (size < size_ && plan_.has_value()) {
    plan_->cut(size);
    written_->cut(size);
  }
  size_ = size;
  co_return Status();
}

Task<Status> FileConverter::bring_up(RangeWork work) {
  const std::uint64_t index = work.index;
  Task<Status> doing = work.absent ? zero_range(index) : copy_range(index);
  const Status done = co_await doing;
  if (!done.has_value()) co_return done;
  plan_->done(work);
  const ByteCount end = index * plan_->range_bytes() + plan_->bytes_of(index, size_);
  position_ = std::max(position_, end);
  co_return Status();
}

Task<Status> FileConverter::copy_range(std::uint64_t index) {
  const std::uint64_t begin = index * plan_->range_bytes();
  const std::uint64_t end = begin + plan_->bytes_of(index, size_);
  Status status;
  runtime::TaskGroup units(runtime_);
  for (std::uint64_t at = begin; at < end && status.has_value(); at += kUnitBytes) {
    runtime::Semaphore::Permit permit = co_await slots_.acquire(1);
    const Status go_on = check();
    if (!go_on.has_value()) status = go_on;
    if (!status.has_value()) break;
    units.spawn(copy_unit(at, std::min(kUnitBytes, end - at), &status, std::move(permit)));
  }
  co_await units.join();
  co_return status;
}

Task<void> FileConverter::copy_unit(std::uint64_t at, ByteCount length, Status* status,
                                    runtime::Semaphore::Permit permit) {
  const Status copied = co_await copy_bytes(at, length);
  if (!copied.has_value() && status->has_value()) *status = copied;
  permit.release();
}

Task<Status> FileConverter::copy_bytes(std::uint64_t at, ByteCount length) {
  const FileHold* const hold = holding_ ? &hold_ : nullptr;
  // Shorter where the file was cut meanwhile: the next look tells.
  const Result<std::vector<Buffer>> parts =
      co_await port_.read_source(source_, FileOffset(at), length, hold);
  if (!parts.has_value()) co_return fail(parts.error());
  for (const Buffer& part : *parts) {
    CHECK_EQ(at % kBlockBytes, std::uint64_t{0});
    const std::vector<WriteRun> runs = runs_to_write(at, part.span(), *written_);
    for (const WriteRun& run : runs) written_->add(run.offset, run.bytes.size());
    for (const WriteRun& run : runs) {
      unsettled_ = true;
      const Status written =
          co_await file_system_.write(shadow_, FileOffset(run.offset), run.bytes, false);
      if (!written.has_value()) co_return written;
      copied_ += run.bytes.size();
    }
    at += part.size();
  }
  co_return Status();
}

Task<Status> FileConverter::zero_range(std::uint64_t index) {
  for (const WrittenParts::Run& run : written_->runs(index, size_)) {
    for (ByteCount done = 0; done < run.length;) {
      CO_TRY_VOID(check());
      const Buffer nothing = zeros(std::min<ByteCount>(run.length - done, 1_MiB));
      unsettled_ = true;
      const Status written = co_await file_system_.write(shadow_, FileOffset(run.offset + done),
                                                         nothing.span(), false);
      if (!written.has_value()) co_return written;
      done += nothing.size();
    }
  }
  written_->clear_range(index);
  co_return Status();
}

Task<void> FileConverter::pause(Duration time) {
  const Deadline until = runtime_.after(time);
  while (!cancelled_ && runtime_.now() < until) co_await changed_.wait_until(until);
}

}  // namespace cairn::client::convert
