#include "common/rpc/grpc_stream.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/client_callback.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <deque>
#include <mutex>

#include "common/rpc/auth.h"
#include "common/rpc/grpc_channel.h"
#include "common/rpc/status_code.h"
#include "common/rpc/stream_batch.h"

namespace cairn::rpc {
namespace {

constexpr int kAskAfterMs = 500;
constexpr int kGiveUpAfterMs = 1'500;
// One write. Larger ones delay what comes behind them; smaller ones cost system calls.
constexpr ByteCount kBatchBytesMax = 1_MiB;
// An attempt that connected and was not taken.
constexpr Duration kOpenTimeout = 3s;
// A connection of this age begins anew with the shortest pause.
constexpr Duration kHealthy = 1s;

using Message = std::shared_ptr<const std::string>;

}  // namespace

// One life of the connection. gRPC's threads and the loop; everything below `mutex` is guarded by
// it. Lives until gRPC is done with it.
struct GrpcStream::Attempt final
    : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
  Attempt(runtime::Runtime& r, std::weak_ptr<Link> l, std::shared_ptr<grpc::Channel> channel)
      : runtime(r), link(std::move(l)), stub(std::move(channel)) {}

  void start(const std::string& method, const std::shared_ptr<Attempt>& me);
  bool send(Message message, ByteCount bytes_max);
  ByteCount queued();
  void cancel() { context.TryCancel(); }
  // Nobody touches the runtime any more.
  void wait_until_done();

  void OnReadInitialMetadataDone(bool ok) override;
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;
  void write_locked();

  runtime::Runtime& runtime;
  const std::weak_ptr<Link> link;
  grpc::GenericStub stub;
  grpc::ClientContext context;
  grpc::ByteBuffer incoming;  // the listener has nothing to say: its end is what is read

  std::mutex mutex;
  std::condition_variable changed;
  std::shared_ptr<Attempt> self;  // until OnDone
  std::deque<Message> queue;
  ByteCount queue_bytes = 0;
  ByteCount written = 0;  // of the front message
  grpc::ByteBuffer outgoing;
  bool writing = false;
  bool over = false;  // no operation may be started any more
  bool done = false;
};

// What the loop knows of the stream.
struct GrpcStream::Link : std::enable_shared_from_this<Link> {
  Link(runtime::Runtime& r, net::Credentials c, Options o)
      : runtime(r), credentials(std::move(c)), options(std::move(o)) {}

  void begin();
  void opened(const Attempt* which);
  void ended(const Attempt* which, const Error& error);
  void retry_at(Instant at);
  void stop();

  runtime::Runtime& runtime;
  const net::Credentials credentials;
  const Options options;
  std::shared_ptr<Attempt> attempt;
  bool connected = false;
  bool hurry = false;  // retry_now() came during an attempt
  Instant connected_at;
  Duration backoff = kBackoffMin;
  runtime::TimerId timer = 0;  // of the next attempt, or the end of the patience with this one
  std::uint64_t dropped = 0;
};

// ---- Attempt ----

void GrpcStream::Attempt::start(const std::string& method, const std::shared_ptr<Attempt>& me) {
  self = me;
  stub.PrepareBidiStreamingCall(&context, method, {}, this);
  AddHold();  // writes are started from outside of gRPC's callbacks, until OnReadDone(false)
  StartRead(&incoming);
  StartCall();
}

bool GrpcStream::Attempt::send(Message message, ByteCount bytes_max) {
  const std::lock_guard lock(mutex);
  // A message larger than the whole queue goes alone.
  if (over || (!queue.empty() && queue_bytes + message->size() > bytes_max)) return false;
  queue_bytes += message->size();
  queue.push_back(std::move(message));
  if (!writing) write_locked();
  return true;
}

ByteCount GrpcStream::Attempt::queued() {
  const std::lock_guard lock(mutex);
  return queue_bytes;
}

// gRPC runs no callback inside StartWrite(), so the lock may be held; it keeps the end of the call
// away.
void GrpcStream::Attempt::write_locked() {
  std::vector<BatchItem> batch;
  ByteCount bytes = 0;
  while (!queue.empty()) {
    const Message& message = queue.front();
    const ByteCount left = message->size() - written;
    // A large message goes in parts of its own.
    if (!batch.empty() && bytes + left > kBatchBytesMax) break;
    const ByteCount size = std::min(left, kBatchBytesMax);
    batch.push_back({message, written, size});
    bytes += size;
    written += size;
    if (written < message->size()) break;
    written = 0;
    queue.pop_front();
  }
  queue_bytes -= bytes;
  outgoing = pack_batch(batch);
  writing = true;
  StartWrite(&outgoing);
}

void GrpcStream::Attempt::OnReadInitialMetadataDone(bool ok) {
  if (!ok || !context.GetServerInitialMetadata().contains(kStreamKey)) return;
  const std::lock_guard lock(mutex);
  runtime.post([link = link, me = self] {
    if (const std::shared_ptr<Link> alive = link.lock()) alive->opened(me.get());
  });
}

void GrpcStream::Attempt::OnReadDone(bool ok) {
  if (ok) {
    incoming.Clear();
    StartRead(&incoming);
    return;
  }
  {
    const std::lock_guard lock(mutex);
    over = true;
    queue.clear();
    queue_bytes = 0;
  }
  RemoveHold();
}

void GrpcStream::Attempt::OnWriteDone(bool ok) {
  const std::lock_guard lock(mutex);
  writing = false;
  outgoing.Clear();
  if (ok && !over && !queue.empty()) write_locked();
}

void GrpcStream::Attempt::OnDone(const grpc::Status& status) {
  Error error = status.ok() ? Error(Code::kConnectionLost, "the peer ended the stream")
                            : to_error(status, context);
  std::shared_ptr<Attempt> last;  // dies outside the lock
  const std::lock_guard lock(mutex);
  last = std::move(self);
  runtime.post([link = link, me = last, error = std::move(error)] {
    if (const std::shared_ptr<Link> alive = link.lock()) alive->ended(me.get(), error);
  });
  done = true;
  changed.notify_all();
}

void GrpcStream::Attempt::wait_until_done() {
  std::unique_lock lock(mutex);
  changed.wait(lock, [this] { return done; });
}

// ---- Link ----

void GrpcStream::Link::begin() {
  timer = 0;
  hurry = false;
  const std::string hello = options.hello();
  CHECK_LE(hello.size(), kHelloBytesMax);
  // A channel of its own: the pauses between attempts are ours, not gRPC's.
  attempt = std::make_shared<Attempt>(
      runtime, weak_from_this(),
      make_channel(options.address, {.message_bytes_max = ByteCount{kMessageBytesMax},
                                     .ask_after_ms = kAskAfterMs,
                                     .give_up_after_ms = kGiveUpAfterMs}));
  const std::array<std::uint64_t, 2> nonce{runtime.random(), runtime.random()};
  const std::int64_t unix_ms = runtime.wall_now().raw() / 1'000'000;
  attempt->context.AddMetadata(kAuthKey,
                               make_auth(credentials, options.method, hello, unix_ms, nonce));
  attempt->context.AddMetadata(kHelloKey, hello);
  attempt->start(options.method, attempt);
  timer = runtime.schedule(runtime.after(kOpenTimeout), [link = weak_from_this()] {
    const std::shared_ptr<Link> alive = link.lock();
    if (alive == nullptr) return;
    alive->timer = 0;
    if (alive->attempt != nullptr) alive->attempt->cancel();
  });
}

void GrpcStream::Link::opened(const Attempt* which) {
  if (attempt.get() != which) return;
  if (timer != 0) runtime.cancel(std::exchange(timer, 0));
  connected = true;
  connected_at = runtime.now();
  if (options.on_change) options.on_change({});
}

void GrpcStream::Link::ended(const Attempt* which, const Error& error) {
  if (attempt.get() != which) return;
  attempt.reset();
  if (timer != 0) runtime.cancel(std::exchange(timer, 0));
  const bool was_healthy = connected && runtime.now() - connected_at >= kHealthy;
  connected = false;
  if (was_healthy || hurry) backoff = kBackoffMin;
  // Up to a quarter less: two members that dial each other do not stay in step.
  const Duration shorter(static_cast<std::int64_t>(
      runtime.random() % static_cast<std::uint64_t>(backoff.count() / 4)));
  retry_at(runtime.now() + (backoff - shorter));
  backoff = std::min(backoff * 2, kBackoffMax);
  if (options.on_change) options.on_change(fail(error));
}

void GrpcStream::Link::retry_at(Instant at) {
  timer = runtime.schedule(at, [link = weak_from_this()] {
    if (const std::shared_ptr<Link> alive = link.lock()) alive->begin();
  });
}

void GrpcStream::Link::stop() {
  if (timer != 0) runtime.cancel(std::exchange(timer, 0));
  if (attempt == nullptr) return;
  attempt->cancel();
  attempt->wait_until_done();
  attempt.reset();
}

// ---- GrpcStream ----

GrpcStream::GrpcStream(runtime::Runtime& runtime, net::Credentials credentials, Options options)
    : link_(std::make_shared<Link>(runtime, std::move(credentials), std::move(options))) {
  CHECK(link_->options.hello != nullptr);
  link_->begin();
}

GrpcStream::~GrpcStream() { link_->stop(); }

bool GrpcStream::send(Message message) {
  const bool taken = link_->connected && link_->attempt != nullptr &&
                     message->size() <= kStreamMessageBytesMax &&
                     link_->attempt->send(std::move(message), link_->options.queue_bytes_max);
  if (!taken) ++link_->dropped;
  return taken;
}

bool GrpcStream::connected() const { return link_->connected; }

void GrpcStream::retry_now() {
  if (link_->connected) return;
  link_->hurry = true;
  link_->backoff = kBackoffMin;
  if (link_->attempt != nullptr) return;
  if (link_->timer != 0) link_->runtime.cancel(std::exchange(link_->timer, 0));
  link_->begin();
}

ByteCount GrpcStream::queued_bytes() const {
  return link_->attempt == nullptr ? 0 : link_->attempt->queued();
}

std::uint64_t GrpcStream::dropped() const { return link_->dropped; }

}  // namespace cairn::rpc
