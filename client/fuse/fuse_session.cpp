#include "client/fuse/fuse_session.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "client/fuse/fuse_api.h"
#include "client/fuse/mount_table.h"
#include "client/fuse/ops.h"
#include "client/fuse/process.h"

namespace cairn::client::fuse {

namespace {

constexpr unsigned kBackgroundRequestsMax = 64;  // read-ahead and asynchronous direct I/O under way
constexpr Duration kThreadPollInterval = 5ms;

void negotiate(void*, fuse_conn_info* connection) {
  constexpr unsigned kWanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS |
                               FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_EXPLICIT_INVAL_DATA |
                               FUSE_CAP_CACHE_SYMLINKS;
  // Not: splice (a copy into our own memory is cheaper than a pipe), HANDLE_KILLPRIV (the kernel
  // takes set-user-id bits away), POSIX_ACL, locks (local to the mount for now), WRITEBACK_CACHE,
  // AUTO_INVAL_DATA.
  connection->want = connection->capable & kWanted;
  connection->max_write = 1_MiB;
  connection->max_background = kBackgroundRequestsMax;
  connection->congestion_threshold = kBackgroundRequestsMax * 3 / 4;
  connection->time_gran = 1;
}

fuse_lowlevel_ops operations() {
  fuse_lowlevel_ops ops{};
  ops.init = negotiate;
  add_namespace_ops(ops);
  add_attribute_ops(ops);
  add_file_ops(ops);
  add_directory_ops(ops);
  add_xattr_ops(ops);
  return ops;
}

Error mount_error(const std::string& mount_point, int error) {
  const std::string why = std::strerror(error);
  if (::access("/dev/fuse", F_OK) != 0) {
    return Error(Code::kNotFound, "there is no /dev/fuse: load the module (modprobe fuse)");
  }
  const Code code = error == EPERM || error == EACCES ? Code::kNotPermitted : Code::kUnavailable;
  return Error(code, fmt::format("the kernel refused the mount at {}: {}", mount_point, why));
}

}  // namespace

FuseSession::FuseSession(runtime::Runtime& runtime, FileSystem& fs, observe::Log& log,
                         Options options)
    : runtime_(runtime),
      log_(log),
      options_(std::move(options)),
      kernel_cache_(runtime, log),
      server_(runtime, fs, log, kernel_cache_, {.keep_cache = options_.keep_cache}),
      ended_(runtime) {}

FuseSession::~FuseSession() { CHECK(closed_ || session_ == nullptr); }

Status FuseSession::open_session() {
  std::vector<std::string> mount_options = {"fsname=" + options_.source, "subtype=cairn",
                                            "default_permissions"};
  mount_options.insert(mount_options.end(), options_.kernel_options.begin(),
                       options_.kernel_options.end());
  std::vector<std::string> words = {"cairn-mount", "-o",
                                    fmt::format("{}", fmt::join(mount_options, ","))};
  if (options_.debug) words.emplace_back("-odebug");
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  fuse_args arguments = FUSE_ARGS_INIT(static_cast<int>(pointers.size()), pointers.data());
  const fuse_lowlevel_ops ops = operations();
  session_ = fuse_session_new(&arguments, &ops, sizeof ops, &server_);
  fuse_opt_free_args(&arguments);
  if (session_ == nullptr) return fail(Code::kInvalidArgument, "libfuse refused the mount options");
  errno = 0;
  if (fuse_session_mount(session_, options_.mount_point.c_str()) != 0) {
    const int error = errno;
    fuse_session_destroy(session_);
    session_ = nullptr;
    return fail(mount_error(options_.mount_point, error));
  }
  return {};
}

Result<std::unique_ptr<FuseSession>> FuseSession::mount(runtime::Runtime& runtime, FileSystem& fs,
                                                        observe::Log& log, Options options) {
  std::unique_ptr<FuseSession> session(new FuseSession(runtime, fs, log, std::move(options)));
  TRY_VOID(session->open_session());
  FuseSession* const self = session.get();
  const std::optional<MountEntry> there = visible_mount(self->options_.mount_point);
  if (there) self->device_ = there->device;
  self->kernel_cache_.start(self->session_);
  fs.on_invalidate([self](InodeId inode) { return self->kernel_cache_.invalidate(inode); });
  self->device_thread_ = std::make_unique<DeviceThread>(
      self->session_, self->server_.memory(), log,
      [self] { self->runtime_.post([self] { self->request_end(); }); });
  return session;
}

// Waits for the answer to the kernel's first request too: only then the read-ahead may be raised.
void FuseSession::probe(runtime::Completion<int> done) const {
  struct statvfs st {};
  const int error = ::statvfs(options_.mount_point.c_str(), &st) == 0 ? 0 : errno;
  if (error == 0) raise_read_ahead(device_);
  done.set_from_any_thread(error);
}

Task<Status> FuseSession::serving() {
  runtime::Completion<int> done(runtime_);
  prober_ = std::thread([this, done] {
    block_signals_of_this_thread();
    probe(done);
  });
  const int error = co_await done.wait();
  if (error == 0) co_return Status();
  co_return fail(Code::kUnavailable, fmt::format("the new mount at {} does not answer: {}",
                                                 options_.mount_point, std::strerror(error)));
}

Task<void> FuseSession::ended() { co_await ended_.wait(); }

void FuseSession::request_end() { ended_.set(true); }

Task<void> FuseSession::unmount(Deadline deadline) {
  if (device_thread_->ended() || unmounter_.joinable()) co_return;
  runtime::Completion<Status> done(runtime_);
  unmounter_ = std::thread([this, done]() mutable {
    block_signals_of_this_thread();
    done.set_from_any_thread(fuse::unmount(options_.mount_point, device_));
  });
  const std::optional<Status> result = co_await done.wait_until(deadline);
  if (!result) log_.warning("unmounting {} takes long: going on", options_.mount_point);
  if (result && !result->has_value()) log_.error("{}", result->error().message());
}

Task<void> FuseSession::close() {
  CHECK(!closed_);
  closed_ = true;
  server_.refuse();
  // Requests decoded before the refusal begin in this turn, and are answered with the others.
  co_await runtime::yield_turn(runtime_);
  server_.answer_all(ENOTCONN);
  // These threads wait for nothing but requests, and those are refused by the device thread now.
  if (prober_.joinable()) prober_.join();
  if (unmounter_.joinable()) unmounter_.join();
  kernel_cache_.stop();
  device_thread_->stop();
  while (!device_thread_->ended()) {
    co_await runtime::sleep_for(runtime_, kThreadPollInterval);
    device_thread_->stop();
  }
  device_thread_->join();
  co_await server_.drained();
  // Closes the device: what still used a detached mount gets ENOTCONN from the kernel.
  fuse_session_destroy(session_);
  session_ = nullptr;
}

}  // namespace cairn::client::fuse
