#include "chunkserver/cluster/keeper.h"

#include <algorithm>

#include "common/base/limits.h"
#include "proto/admin.pb.h"

namespace cairn::chunkserver::cluster {
namespace {

constexpr Duration kCallTimeout = 3s;  // over all MDS
constexpr Duration kBackoffFirst = 50ms;
// Chunks are placed only at chunk servers that the master heard of: an election, which takes a
// second or two, is followed closely; a cluster that is away for longer is not stormed.
constexpr Duration kElection = 10s;
constexpr Duration kBackoffElection = 400ms;
constexpr Duration kBackoffMost = 3s;
constexpr std::int64_t kHeartbeatMsMin = 10;
constexpr std::int64_t kHeartbeatMsMax = 60'000;

}  // namespace

Keeper::Keeper(runtime::Runtime& runtime, rpc::Caller& mds, pb::RegisterCsRequest identity,
               Duties& duties, observe::Log& log, OnMembers on_members)
    : runtime_(runtime),
      mds_(mds),
      identity_(std::move(identity)),
      duties_(duties),
      log_(log),
      on_members_(std::move(on_members)),
      group_(runtime) {}

void Keeper::start() {
  answered_at_ = runtime_.now();
  group_.spawn(run());
}

Task<void> Keeper::stop() {
  stopping_ = true;
  wake();
  co_await group_.join();
}

void Keeper::wake() {
  if (sleeper_.has_value()) sleeper_->set(true);
}

Task<void> Keeper::wait(Duration duration) {
  if (stopping_) co_return;
  sleeper_.emplace(runtime_);
  runtime::Completion<bool> sleeper = *sleeper_;
  const std::optional<bool> woken = co_await sleeper.wait_until(runtime_.after(duration));
  static_cast<void>(woken);
  sleeper_.reset();
}

Duration Keeper::next_backoff() {
  const bool lately = runtime_.now() - answered_at_ < kElection;
  const Duration most = lately ? kBackoffElection : kBackoffMost;
  backoff_ = backoff_ == Duration{} ? kBackoffFirst : std::min<Duration>(backoff_ * 2, most);
  // Half of it is chance, so that a restarted MDS is not asked by everybody at once.
  const auto half = static_cast<std::uint64_t>(backoff_.count() / 2);
  return Duration(static_cast<std::int64_t>(half + runtime_.random() % (half + 1)));
}

void Keeper::complain(const char* what, const Error& error) {
  // A trouble that lasts is said once, and then every hundredth time.
  lost_master_ = error.code() == Code::kNotMaster;
  const bool again = error.code() == last_complaint_;
  complaints_ = again ? complaints_ + 1 : 0;
  last_complaint_ = error.code();
  if (complaints_ % 100 == 0) log_.warning("{}: {}", what, error.to_string());
}

void Keeper::answered(const google::protobuf::RepeatedPtrField<std::string>& members) {
  answered_at_ = runtime_.now();
  last_complaint_ = Code::kInternal;
  if (on_members_ == nullptr || members.empty()) return;
  members_.assign(members.begin(), members.end());
  on_members_(members_);
}

// Only a master tells the members, and they may all be others by now: whoever is none knows who is.
Task<void> Keeper::look_for_master() {
  if (!std::exchange(lost_master_, false) || on_members_ == nullptr || stopping_) co_return;
  std::string method = "/cairn.pb.Admin/Hello";
  pb::HelloRequest request;
  const Deadline deadline = runtime_.after(kCallTimeout);
  const Result<pb::HelloReply> reply =
      co_await rpc::call<pb::HelloReply>(mds_, std::move(method), std::move(request), deadline);
  if (!reply.has_value() || reply->master().empty()) co_return;
  // It may be wrong: nobody is forgotten for it.
  std::vector<std::string> all = members_;
  if (std::ranges::find(all, reply->master()) == all.end()) all.push_back(reply->master());
  on_members_(all);
}

Task<void> Keeper::run() {
  while (!stopping_) {
    if (!registered_) {
      const bool done = co_await register_once();
      if (!done) {
        co_await look_for_master();
        co_await wait(next_backoff());
        continue;
      }
    }
    const bool done = co_await heartbeat_once();
    if (done) backoff_ = Duration{};
    if (!registered_) continue;
    if (!done) co_await look_for_master();
    co_await wait(done ? heartbeat_ : std::min(heartbeat_, next_backoff()));
  }
}

Task<bool> Keeper::register_once() {
  std::string method = "/cairn.pb.Cluster/RegisterCs";
  pb::RegisterCsRequest request = identity_;
  const std::optional<Failure> failure = duties_.failure();
  if (failure.has_value()) {
    request.set_failure(failure->text);
    request.set_trouble(std::string(1, failure->letter));
  }
  const Deadline deadline = runtime_.after(kCallTimeout);
  Result<pb::RegisterCsReply> reply = co_await rpc::call<pb::RegisterCsReply>(
      mds_, std::move(method), std::move(request), deadline);
  if (!reply.has_value()) {
    complain("not registered at the MDS", reply.error());
    co_return false;
  }
  registered_ = true;
  heartbeat_ = std::chrono::milliseconds(
      std::clamp<std::int64_t>(reply->heartbeat_ms(), kHeartbeatMsMin, kHeartbeatMsMax));
  answered(reply->mds());
  if (failure.has_value()) {
    log_.info("registered at the MDS as CS {}, which serves nothing: {}", identity_.cs_id(),
              failure->text);
  } else {
    log_.info("registered at the MDS as CS {}, data at {}", identity_.cs_id(), identity_.address());
  }
  co_return true;
}

pb::HeartbeatRequest Keeper::heartbeat() {
  pb::HeartbeatRequest request;
  request.set_cluster_id(identity_.cluster_id());
  request.set_cs_id(identity_.cs_id());
  request.set_repo_uuid(identity_.repo_uuid());
  *request.mutable_statistics() = duties_.statistics();
  if (const std::optional<Failure> failure = duties_.failure(); failure.has_value()) {
    request.set_failure(failure->text);
    request.set_trouble(std::string(1, failure->letter));
  }
  for (const Removal& removal : removed_) {
    pb::PieceRef* ref = request.add_removed();
    ref->set_chunk(removal.piece.chunk.raw());
    ref->set_piece(removal.piece.index.raw());
    ref->set_version(removal.version);
  }
  for (const pb::ScrubDone& done : duties_.scrubbed()) *request.add_scrubbed() = done;
  return request;
}

Task<bool> Keeper::heartbeat_once() {
  std::string method = "/cairn.pb.Cluster/Heartbeat";
  const std::set<Removal> reported = removed_;
  pb::HeartbeatRequest request = heartbeat();
  const std::vector<pb::ScrubDone> scrubbed(request.scrubbed().begin(), request.scrubbed().end());
  const Deadline deadline = runtime_.after(kCallTimeout);
  Result<pb::HeartbeatReply> reply =
      co_await rpc::call<pb::HeartbeatReply>(mds_, std::move(method), std::move(request), deadline);
  if (!reply.has_value()) {
    complain("heartbeat failed", reply.error());
    co_return false;
  }
  answered(reply->mds());
  if (reply->unknown()) {
    log_.info("the MDS does not know us: registering again");
    registered_ = false;
    co_return true;
  }
  for (const Removal& removal : reported) removed_.erase(removal);
  duties_.scrub_reported(scrubbed);
  duties_.set_verify_rate(reply->verify_chunks());
  take_removals(*reply);
  if (reply->convert() && !stopping_) duties_.offer_conversion();
  if (reply->scrub_size() != 0 && !stopping_) {
    duties_.take_scrub_tasks({reply->scrub().begin(), reply->scrub().end()});
  }
  co_return true;
}

void Keeper::take_removals(const pb::HeartbeatReply& reply) {
  if (stopping_ || duties_.failure().has_value()) return;
  for (const pb::PieceRef& ref : reply.remove()) {
    if (removing_.size() >= kRemovalsAtOnce || removed_.size() >= kRemovalsKnownMax) return;
    if (ref.chunk() == 0 || ref.piece() >= limits::kPiecesPerChunkMax) {
      log_.error("the MDS asks to remove piece {} of chunk {}", ref.piece(), ref.chunk());
      continue;
    }
    const PieceId piece{ChunkId::from_raw(ref.chunk()),
                        PieceIndex(static_cast<std::uint8_t>(ref.piece()))};
    const Removal removal{piece, ref.version()};
    if (removed_.contains(removal) || !removing_.insert(removal).second) continue;
    group_.spawn(remove_one(removal));
  }
}

Task<void> Keeper::remove_one(Removal removal) {
  const PieceId piece = removal.piece;
  std::optional<ChunkVersion> most;
  if (removal.version != 0) most = ChunkVersion(removal.version);
  const Status status = co_await duties_.remove(piece, most);
  removing_.erase(removal);
  if (!status.has_value()) {
    log_.warning("removing piece {}.{}: {}", piece.chunk.raw(), piece.index.raw(),
                 status.error().to_string());
    co_return;
  }
  removed_.insert(removal);
  // The next heartbeat need not wait: there may be more to remove.
  if (removing_.empty()) wake();
}

}  // namespace cairn::chunkserver::cluster
