#include "client/convert/conversion_worker.h"

#include <utility>

#include "client/convert/file_converter.h"
#include "client/core/mount.h"

namespace cairn::client::convert {

namespace {
constexpr Duration kAskEvery = 1s;
constexpr Duration kGiveUpPatience = 3s;  // then what is under way is cut off
constexpr Duration kStopPatience = 5s;
// A daemon that is to end does not wait for a cluster that is away.
constexpr Duration kInterruptPatience = 300ms;
}  // namespace

ConversionWorker::ConversionWorker(runtime::Runtime& runtime, net::Network& network,
                                   observe::Log& log, Options options)
    : runtime_(runtime),
      network_(network),
      log_(log),
      options_(std::move(options)),
      changed_(runtime),
      tasks_(runtime) {}

ConversionWorker::~ConversionWorker() { CHECK(!running_); }

ConversionWorker::Stats ConversionWorker::stats() const {
  Stats now = stats_;
  if (file_ == nullptr) return now;
  now.inode = file_->source().raw();
  now.bytes_copied += file_->bytes_copied();
  return now;
}

void ConversionWorker::interrupt() {
  if (std::exchange(interrupted_, true)) return;
  if (file_ != nullptr) file_->cancel();
  changed_.notify_all();
  if (mount_ != nullptr) tasks_.spawn(cut_off());
}

Task<void> ConversionWorker::stop() {
  interrupt();
  while (running_) co_await changed_.wait_until(Instant::infinite());
}

Task<Status> ConversionWorker::run() {
  CHECK(!running_);
  running_ = true;
  Result<bool> more = true;
  while (!interrupted_ && more.has_value() && *more) {
    mount_ = std::make_unique<Mount>(runtime_, network_, log_, options_);
    stopping_mount_ = false;
    const Status started = co_await mount_->start();
    if (started.has_value()) {
      more = co_await serve();
      co_await give_up();
    } else {
      more = fail(started.error());
      co_await stop_mount();
    }
    co_await tasks_.join();
    mount_.reset();
    const bool again = more.has_value() && *more;
    const Deadline next = again ? runtime_.after(kAskEvery) : runtime_.now();
    while (!interrupted_ && runtime_.now() < next) co_await changed_.wait_until(next);
  }
  Status result;
  if (!more.has_value() && !interrupted_) result = fail(std::move(more).error());
  // Whoever waits in stop() may be the end of this object.
  running_ = false;
  changed_.notify_all();
  co_return result;
}

// False: the master names no file. True: a new session is to ask again.
Task<Result<bool>> ConversionWorker::serve() {
  while (!interrupted_) {
    if (file_ != nullptr && mount_->session_generation() != file_->generation()) co_return true;
    const Instant asked = runtime_.now();
    pb::NextConversion tell = report();
    const bool told_end = tell.ended();
    const Result<pb::NextConversionReply> next = co_await mount_->next_conversion(std::move(tell));
    if (interrupted_) co_return false;
    if (!next.has_value()) co_return fail(next.error());
    if (told_end) forget_file();
    if (next->inode() == 0) co_return false;
    const InodeId named = InodeId::from_raw(next->inode());
    if (file_ == nullptr) {
      file_ = std::make_unique<FileConverter>(runtime_, log_, *mount_, *mount_, named);
      tasks_.spawn(work(file_.get()));
    } else if (file_->source() != named) {
      co_return true;
    }
    const Deadline again = asked + kAskEvery;
    while (!interrupted_ && !ended_.has_value() && runtime_.now() < again) {
      co_await changed_.wait_until(again);
    }
  }
  co_return false;
}

pb::NextConversion ConversionWorker::report() const {
  pb::NextConversion tell;
  if (file_ == nullptr) return tell;
  tell.set_inode(file_->source().raw());
  tell.set_bytes_done(file_->bytes_done());
  tell.set_bytes_total(file_->bytes_total());
  tell.set_ended(ended_.has_value());
  if (ended_.has_value() && !ended_->has_value()) {
    const Error& error = ended_->error();
    tell.mutable_trouble()->set_code(static_cast<std::uint32_t>(error.code()));
    tell.mutable_trouble()->set_message(error.message());
  }
  return tell;
}

Task<void> ConversionWorker::work(FileConverter* file) {
  Status ended = co_await file->run();
  if (!ended.has_value() && ended.error().code() != Code::kCancelled) {
    log_.warning("inode {}: its data was not converted: {}", file->source().raw(),
                 ended.error().to_string());
  }
  ended_ = std::move(ended);
  changed_.notify_all();
}

void ConversionWorker::forget_file() {
  if (file_ == nullptr) return;
  stats_.bytes_copied += file_->bytes_copied();
  if (!ended_.has_value() || (!ended_->has_value() && ended_->error().code() == Code::kCancelled)) {
    ++stats_.given_up;
  } else {
    ++(ended_->has_value() ? stats_.converted : stats_.failed);
  }
  file_.reset();
  ended_.reset();
}

// Whatever waits for the master or for chunk servers ends, if it does not by itself.
Task<void> ConversionWorker::cut_off() {
  const Deadline patience = runtime_.after(kInterruptPatience);
  while (file_ != nullptr && !ended_.has_value() && runtime_.now() < patience) {
    co_await changed_.wait_until(patience);
  }
  co_await stop_mount();
}

Task<void> ConversionWorker::stop_mount() {
  if (std::exchange(stopping_mount_, true)) co_return;  // run() joins the one that does it
  const Deadline deadline = runtime_.after(interrupted_ ? kInterruptPatience : kStopPatience);
  const Status stopped = co_await mount_->stop(deadline);
  ignore(stopped, "what was not written is of a shadow, which goes with the session");
}

// Without the file, if there is one, and without the session.
Task<void> ConversionWorker::give_up() {
  if (file_ != nullptr && !ended_.has_value()) {
    file_->cancel();
    const Deadline patience = runtime_.after(interrupted_ ? kInterruptPatience : kGiveUpPatience);
    while (!ended_.has_value() && runtime_.now() < patience) {
      co_await changed_.wait_until(patience);
    }
  }
  co_await stop_mount();
  co_await tasks_.join();
  forget_file();
}

}  // namespace cairn::client::convert
