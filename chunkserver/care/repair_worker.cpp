#include "chunkserver/care/repair_worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

namespace cairn::chunkserver::care {
namespace {

using store::BlockRange;
using store::OpId;

// Of one read at one source; then another is asked. The master waits some seconds for the whole.
constexpr Duration kReadTimeout = 4s;

}  // namespace

// How the copy is kept safe from every crash. What the piece has undecided may be right or wrong,
// and where it is wrong only those ops tell which blocks that are: they must not be settled before
// these blocks are copied. So the first op of a copy, the *cover*, turns every block that will be
// copied into a hole; the piece takes it and settles all older ops in one record. It stays
// undecided, and so does every block that is copied over it, until all of them are there: whoever
// looks at the piece before that finds the cover, and copies what it covers.
struct RepairWorker::Run {
  explicit Run(RepairPlan p)
      : plan(std::move(p)),
        codec(erasure::Codec::get(plan.encoding.data, plan.encoding.parity)),
        steps({}, plan.encoding.data) {}

  RepairPlan plan;
  std::shared_ptr<const erasure::Codec> codec;
  RepairSteps steps;
  std::vector<BlockRange> area;  // what is copied
  OpSeq cover;
  OpSeq next;  // first unused number
  std::map<unsigned, unsigned> failures;
  std::map<unsigned, std::string> why;  // a source failed, by piece
  ByteCount bytes_read = 0;
  ByteCount bytes_written = 0;
  Status status;

  std::vector<const RepairSource*> choose(erasure::PieceMask asked, unsigned count) {
    std::vector<const RepairSource*> left;
    for (const RepairSource& source : plan.sources) {
      if ((asked >> source.piece & 1U) == 0) left.push_back(&source);
    }
    std::ranges::stable_sort(left, {}, [this](const RepairSource* s) {
      return failures.contains(s->piece) ? failures[s->piece] : 0;
    });
    if (left.size() > count) left.resize(count);
    return left;
  }
  std::string lacking() const {
    std::vector<std::string> lines = plan.absent;
    for (const RepairSource& source : plan.sources) {
      const auto at = why.find(source.piece);
      if (at == why.end()) continue;
      lines.push_back(fmt::format("piece {} at {}: {}", source.piece, source.address, at->second));
    }
    return fmt::format("{}", fmt::join(lines, "; "));
  }
};

RepairWorker::RepairWorker(runtime::Runtime& runtime, net::Network& network,
                           net::Credentials credentials, store::PieceStore& store,
                           observe::Log& log, std::uint32_t cs_id)
    : runtime_(runtime),
      store_(store),
      log_(log),
      cs_id_(cs_id),
      peers_(runtime, network, std::move(credentials)),
      group_(runtime) {}

void RepairWorker::interrupt() {
  stopping_ = true;
  peers_.interrupt();
  if (sleeper_.has_value()) sleeper_->set(true);
}

Task<void> RepairWorker::stop() {
  CHECK(running_.empty());
  interrupt();
  co_await group_.join();
  co_await peers_.stop();
}

Task<void> RepairWorker::sweep() {
  while (!stopping_ && peers_.connections() != 0) {
    sleeper_.emplace(runtime_);
    runtime::Completion<bool> sleeper = *sleeper_;
    const std::optional<bool> woken = co_await sleeper.wait_until(runtime_.after(kPeerIdle));
    static_cast<void>(woken);
    sleeper_.reset();
    if (!stopping_) peers_.sweep();
  }
  sweeping_ = false;
}

Status RepairWorker::halted() const {
  if (stopping_) return fail(Code::kCancelled, "the chunk server stops");
  if (store_.failure().has_value()) return fail(*store_.failure());
  return {};
}

Task<Result<pb::RepairReply>> RepairWorker::repair(pb::Repair request) {
  CO_TRY(RepairPlan plan, plan_repair(request, cs_id_));
  CO_TRY_VOID(halted());
  const PieceId piece = plan.piece;
  if (running_.contains(piece)) co_return fail(Code::kBusy, "a repair of it is under way");
  if (running_.size() >= kRepairsAtOnce) {
    co_return fail(Code::kBusy, fmt::format("{} repairs are under way", running_.size()));
  }
  running_.insert(piece);
  Run run(std::move(plan));
  Result<pb::RepairReply> reply = co_await carry_out(&run);
  running_.erase(piece);
  note(run, reply);
  if (!stopping_ && !std::exchange(sweeping_, true)) group_.spawn(sweep());
  co_return reply;
}

Task<Result<pb::RepairReply>> RepairWorker::carry_out(Run* run) {
  CO_TRY(const Look seen, co_await look(&run->plan));
  run->next = seen.first_seq;
  const bool blind = store_.sabotage().blind_repair;
  const std::vector<store::BlockRange> none;
  run->area = blocks_to_copy(run->plan, blind ? none : seen.undecided);
  const bool nothing = seen.exists && run->area.empty();
  if (!nothing) {
    run->steps = RepairSteps(run->area, run->plan.encoding.data);
    CO_TRY_VOID(co_await begin(run, !seen.exists));
    runtime::TaskGroup workers(runtime_);
    for (std::size_t i = 0; i < kRepairStepsAtOnce; ++i) workers.spawn(copy(run));
    co_await workers.join();
    if (!run->status.has_value()) co_return fail(run->status.error());
  }
  CO_TRY_VOID(co_await finish(run));
  pb::RepairReply reply;
  reply.set_next_seq(run->next.raw());
  reply.set_bytes_read(run->bytes_read);
  reply.set_bytes_written(run->bytes_written);
  co_return reply;
}

// From here on the piece takes nothing older than what the copy brings. Every attempt has a version
// of its own: a request of one that is over, of a deposed master perhaps, must not touch a piece
// that may be current by now.
Task<Result<RepairWorker::Look>> RepairWorker::look(const RepairPlan* plan) {
  Look seen;
  seen.first_seq = plan->first_seq;
  const Result<store::PieceStatusAnswer> before = co_await store_.status(plan->piece);
  if (before.has_value() && before->version >= plan->version) {
    co_return fail(Code::kStaleVersion, fmt::format("the piece has version {}, the repair {}",
                                                    before->version.raw(), plan->version.raw()));
  }
  const Result<store::SealAnswer> sealed =
      co_await store_.seal(plan->piece, plan->version, plan->epoch, true);
  if (!sealed.has_value()) {
    if (sealed.error().code() == Code::kPieceMissing && plan->whole) co_return seen;
    co_return fail(sealed.error());
  }
  seen.exists = true;
  seen.undecided = sealed->touched;
  if (sealed->settled.epoch == plan->epoch) {
    seen.first_seq = std::max(seen.first_seq, sealed->settled.seq);
  }
  for (const store::UndecidedOp& op : sealed->undecided) {
    if (op.op.epoch != plan->epoch) continue;
    seen.first_seq = std::max(seen.first_seq, OpSeq(op.op.seq.raw() + 1));
  }
  co_return seen;
}

Task<Status> RepairWorker::begin(Run* run, bool create) {
  const RepairPlan& plan = run->plan;
  run->cover = run->next;
  run->next = OpSeq(run->next.raw() + 1);
  store::PrepareRequest cover;
  cover.piece = plan.piece;
  cover.version = plan.version;
  cover.op = {plan.epoch, run->cover};
  cover.settled_below = run->cover;
  cover.participants = 1U << plan.piece.index.raw();
  cover.create = create;
  cover.copy = true;
  cover.facts = plan.facts;
  cover.zeroes = run->area;
  Status taken = co_await store_.prepare(std::move(cover), Buffer());
  if (taken.has_value() || taken.error().code() != Code::kPieceMissing) co_return taken;
  // It was removed at this version or a newer one: asking again with `whole` would not help.
  co_return fail(Code::kStaleVersion, "the piece was removed");
}

Task<void> RepairWorker::copy(Run* run) {
  while (run->status.has_value()) {
    Status status = halted();
    std::vector<BlockRange> step;
    if (status.has_value()) step = run->steps.next();
    if (status.has_value() && step.empty()) co_return;
    if (status.has_value()) status = co_await copy_step(run, std::move(step));
    if (!status.has_value() && run->status.has_value()) run->status = std::move(status);
  }
}

Task<Status> RepairWorker::copy_step(Run* run, std::vector<BlockRange> step) {
  StepContent content(run->plan.encoding, blocks_of(step));
  CO_TRY_VOID(co_await gather(run, &content));
  // Checksums and decoding take a while: others have their turn between.
  co_await runtime::yield_turn(runtime_);
  StepContent::Built built = content.build(*run->codec, run->plan.piece.index.raw());
  run->steps.was_empty(built.crcs.empty());
  // The cover made holes of all of them.
  if (built.crcs.empty()) co_return Status();
  co_return co_await put(run, std::move(built));
}

Task<Status> RepairWorker::gather(Run* run, StepContent* content) {
  erasure::PieceMask asked = 0;
  for (const RepairSource& source : run->plan.sources) {
    if (!source.unwritten) continue;
    content->add_zeros(source.piece);
    asked |= erasure::PieceMask{1} << source.piece;
  }
  for (;;) {
    const unsigned lacking = content->lacking();
    if (lacking == 0) co_return Status();
    CO_TRY_VOID(halted());
    const std::vector<const RepairSource*> sources = run->choose(asked, lacking);
    if (sources.size() < lacking) {
      co_return fail(Code::kTooFewPieces, run->lacking());
    }
    runtime::TaskGroup readers(runtime_);
    for (const RepairSource* source : sources) {
      asked |= erasure::PieceMask{1} << source->piece;
      readers.spawn(read_source(run, source, content));
    }
    co_await readers.join();
  }
}

Task<void> RepairWorker::read_source(Run* run, const RepairSource* source, StepContent* content) {
  PeerPiece from{source->address,
                 {run->plan.piece.chunk, PieceIndex(static_cast<std::uint8_t>(source->piece))},
                 run->plan.source_version};
  std::vector<std::uint64_t> blocks = content->blocks();
  const Deadline deadline = runtime_.after(kReadTimeout);
  Result<PeerBlocks> answer = co_await peers_.read(std::move(from), std::move(blocks), deadline);
  const Error* trouble = nullptr;
  if (!answer.has_value()) trouble = &answer.error();
  if (answer.has_value() && answer->trouble.has_value()) trouble = &*answer->trouble;
  if (trouble != nullptr) {
    ++run->failures[source->piece];
    run->why[source->piece] = trouble->to_string();
  }
  if (!answer.has_value()) co_return;
  run->bytes_read += answer->received * kBlockBytes;
  content->add(source->piece, std::move(answer->blocks));
}

Task<Status> RepairWorker::put(Run* run, StepContent::Built built) {
  const RepairPlan& plan = run->plan;
  store::PrepareRequest request;
  request.piece = plan.piece;
  request.version = plan.version;
  request.op = {plan.epoch, run->next};
  run->next = OpSeq(run->next.raw() + 1);
  request.settled_below = run->cover;
  request.participants = 1U << plan.piece.index.raw();
  request.copy = true;
  request.facts = plan.facts;
  request.writes = std::move(built.writes);
  request.crcs = std::move(built.crcs);
  const std::size_t bytes = built.body.size();
  CO_TRY_VOID(co_await store_.prepare(std::move(request), std::move(built.body)));
  run->bytes_written += bytes;
  co_return Status();
}

// Everything that was copied is durable. A crash that loses the settle is harmless: the copy is
// whole, so whoever comes next may settle it: the next writer's first op, a recovery (nobody else
// takes part in the copy's ops: they go forward), or the next repair, which copies once more.
Task<Status> RepairWorker::finish(Run* run) {
  const RepairPlan& plan = run->plan;
  if (run->cover != OpSeq()) {
    CO_TRY(const store::SealAnswer now,
           co_await store_.seal(plan.piece, plan.version, plan.epoch, true));
    const OpId settled = now.settled;
    if (settled != OpId{plan.epoch, run->cover}) {
      // The master gave numbers that a writer had used: a late settle of its may have let ops of
      // the copy pass as done already. A new cover says that nothing of it is to be trusted.
      const OpSeq began = run->cover;
      run->next = std::max(run->next, settled.seq);
      CO_TRY_VOID(co_await begin(run, false));
      co_return fail(Code::kRefusedForSafety,
                     fmt::format("ops up to {}.{} were settled during the copy, which began at {}",
                                 settled.epoch.raw(), settled.seq.raw(), began.raw()));
    }
  }
  co_return co_await store_.settle(plan.piece, {plan.epoch, run->next});
}

void RepairWorker::note(const Run& run, const Result<pb::RepairReply>& reply) {
  figures_.bytes_read += run.bytes_read;
  figures_.bytes_written += run.bytes_written;
  const PieceId piece = run.plan.piece;
  if (reply.has_value()) {
    ++figures_.repaired;
    log_.debug("repaired piece {}.{} to version {}: {} bytes from {} bytes of others",
               piece.chunk.raw(), piece.index.raw(), run.plan.version.raw(), run.bytes_written,
               run.bytes_read);
    return;
  }
  ++figures_.failed;
  log_.info("the repair of piece {}.{} ended: {}", piece.chunk.raw(), piece.index.raw(),
            reply.error().to_string());
}

}  // namespace cairn::chunkserver::care
