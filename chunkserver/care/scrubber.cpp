#include "chunkserver/care/scrubber.h"

#include <algorithm>
#include <utility>

#include "common/cluster/durable_file.h"

namespace cairn::chunkserver::care {
namespace {

constexpr Duration kSaveEvery = 5s;
constexpr Duration kLookAgain = 10s;  // at an empty or failed store
constexpr Duration kDebtMost = 60s;   // what a slow drive may leave undone is not all made up for

Status write_state(const std::string& path, const std::string& text) {
  return cairn::cluster::write_file_durably(path, text, 0600);
}

Status read_state(const std::string& path, std::string* into) {
  TRY(*into, cairn::cluster::read_small_file(path));
  return {};
}

}  // namespace

Scrubber::Scrubber(runtime::Runtime& runtime, StoreDoor& door, observe::Log& log,
                   ScrubberOptions options)
    : runtime_(runtime),
      door_(door),
      log_(log),
      options_(std::move(options)),
      rate_(options_.pieces_a_minute),
      group_(runtime) {}

void Scrubber::start() {
  due_ = runtime_.now();
  saved_at_ = runtime_.now();
  group_.spawn(run());
}

Task<void> Scrubber::stop() {
  stopping_ = true;
  wake();
  co_await group_.join();
}

void Scrubber::set_rate(std::uint32_t pieces_a_minute) {
  if (pieces_a_minute == rate_) return;
  const bool was_off = rate_ == 0;
  rate_ = pieces_a_minute;
  const Instant now = runtime_.now();
  if (rate_ != 0) due_ = was_off ? now : std::min(due_, now + share());
  wake();
}

void Scrubber::take_tasks(const std::vector<pb::ScrubTask>& tasks) {
  if (tasks_.take(tasks) != 0) wake();
}

pb::ScrubProgress Scrubber::progress() const {
  const std::int64_t wall = runtime_.wall_now().raw();
  pb::ScrubProgress progress;
  progress.set_pieces_verified(state_.verified);
  // Pieces may have gone since they were verified.
  progress.set_pieces_total(std::max(door_.pieces(), state_.verified));
  progress.set_round_ns(state_.began_ns == 0 ? 0
                                             : std::max<std::int64_t>(wall - state_.began_ns, 0));
  progress.set_last_round_ns_ago(
      state_.ended_ns == 0 ? 0 : std::max<std::int64_t>(wall - state_.ended_ns, 1));
  progress.set_blocks_verified(blocks_verified_);
  progress.set_damaged_found(damaged_found_);
  return progress;
}

Duration Scrubber::share() const {
  return rate_ == 0 ? Duration{} : Duration(60s) / static_cast<std::int64_t>(rate_);
}

void Scrubber::wake() {
  if (sleeper_.has_value()) sleeper_->set(true);
}

Task<void> Scrubber::wait_until(Instant at) {
  if (stopping_) co_return;
  sleeper_.emplace(runtime_);
  runtime::Completion<bool> sleeper = *sleeper_;
  const std::optional<bool> woken = co_await sleeper.wait_until(at);
  static_cast<void>(woken);
  sleeper_.reset();
}

Task<void> Scrubber::run() {
  co_await load();
  while (!stopping_) {
    if (to_save() && runtime_.now() >= saved_at_ + kSaveEvery) co_await save();
    if (tasks_.waiting()) {
      co_await run_task();
    } else if (rate_ != 0 && !halted() && runtime_.now() >= due_) {
      co_await run_rotation();
    } else {
      const Instant look = runtime_.after(kLookAgain);
      const bool rotates = rate_ != 0 && !halted();
      const Instant next = rotates ? std::min(due_, look) : look;
      const Instant until = to_save() ? std::min(next, saved_at_ + kSaveEvery) : next;
      co_await wait_until(until);
    }
  }
  if (to_save()) co_await save();
}

Task<void> Scrubber::run_task() {
  const ScrubJob job = *tasks_.begin();
  Pace pace{.begin = runtime_.now()};
  ScrubResult result = co_await verify(job.piece, &pace);
  if (stopping_) {
    tasks_.postpone();
    co_return;
  }
  log_.info("scrubbed piece {}.{}, as asked: {} blocks, {} damaged{}{}", job.piece.chunk.raw(),
            job.piece.index.raw(), result.blocks, result.damaged,
            result.failure.has_value() ? "; " : "",
            result.failure.has_value() ? result.failure->to_string() : "");
  tasks_.finish(std::move(result));
}

Task<void> Scrubber::run_rotation() {
  const Instant begin = std::max(due_, runtime_.now() - kDebtMost);
  const Result<std::optional<PieceId>> next = co_await door_.next_piece(state_.after);
  if (stopping_) co_return;
  if (!next.has_value()) {
    log_.warning("the scrub cannot go on now: {}", next.error().to_string());
    due_ = runtime_.after(kLookAgain);
    co_return;
  }
  if (!next->has_value()) {
    const bool empty = !state_.after.has_value();
    end_round();
    if (empty) due_ = runtime_.after(kLookAgain);
    co_return;
  }
  const PieceId piece = **next;
  Pace pace{.begin = begin, .share = share(), .reads = 1, .rotation = true};
  const ScrubResult result = co_await verify(piece, &pace);
  if (halted()) co_return;
  if (result.damaged != 0) {
    log_.warning("the scrub found {} damaged blocks in piece {}.{}", result.damaged,
                 piece.chunk.raw(), piece.index.raw());
  }
  if (!result.failure.has_value()) {
    ++state_.verified;
  } else if (result.failure->code() != Code::kPieceMissing) {
    log_.warning("the scrub leaves out piece {}.{} in this round: {}", piece.chunk.raw(),
                 piece.index.raw(), result.failure->to_string());
  }
  state_.after = piece;
  unsaved_ = true;
  // The rate may have changed meanwhile.
  due_ = pace.begin + share();
}

void Scrubber::end_round() {
  const std::int64_t wall = runtime_.wall_now().raw();
  // A store without pieces has no rounds.
  if (state_.after.has_value()) {
    log_.info("the scrub verified all {} pieces in {} s", state_.verified,
              (wall - state_.began_ns) / Duration(1s).count());
    state_.ended_ns = wall;
    unsaved_ = true;
  }
  state_.after.reset();
  state_.verified = 0;
  state_.began_ns = wall;
}

Task<void> Scrubber::load() {
  state_.began_ns = runtime_.wall_now().raw();
  if (options_.state_path.empty()) co_return;
  std::string text;
  std::move_only_function<Status()> job = [path = options_.state_path, into = &text] {
    return read_state(path, into);
  };
  Status read;
  if (options_.offload != nullptr) {
    read = co_await options_.offload(std::move(job));
  } else {
    read = job();
  }
  if (!read.has_value() && read.error().code() == Code::kNotFound) co_return;
  Result<ScrubState> state = fail(Code::kInternal);
  if (read.has_value()) {
    state = decode_scrub_state(text);
  } else {
    state = fail(read.error());
  }
  if (state.has_value()) {
    state_ = *state;
  } else {
    log_.warning("{} is of no use, the scrub begins a new round: {}", options_.state_path,
                 state.error().to_string());
  }
}

Task<void> Scrubber::save() {
  unsaved_ = false;
  saved_at_ = runtime_.now();
  std::move_only_function<Status()> job = [path = options_.state_path,
                                           text = encode_scrub_state(state_)] {
    return write_state(path, text);
  };
  Status written;
  if (options_.offload != nullptr) {
    written = co_await options_.offload(std::move(job));
  } else {
    written = job();
  }
  // It fails as long as the drive is full: said once.
  if (!written.has_value() && !save_failed_) {
    log_.warning("how far the scrub is was not noted: {}", written.error().to_string());
  }
  save_failed_ = !written.has_value();
}

}  // namespace cairn::chunkserver::care
