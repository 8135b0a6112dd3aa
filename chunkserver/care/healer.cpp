#include "chunkserver/care/healer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "chunkserver/care/rebuild.h"
#include "proto/mds_cluster.pb.h"

namespace cairn::chunkserver::care {
namespace {

using erasure::PieceMask;

constexpr Duration kLookupTimeout = 3s;
constexpr Duration kReadTimeout = 5s;
constexpr std::size_t kRunsAtOnce = 64;  // taken up before the damage is looked at again
// Looking at much damage takes a while: it is done less often.
constexpr std::uint64_t kMuchDamage = 4096;
constexpr Duration kMuchPeriod = 10s;
constexpr std::uint64_t kDecodesAtOnce = 64;  // before others have their turn: about a millisecond
constexpr std::uint64_t kDecodesARunMax = 8192;  // of blocks that nothing fits to

}  // namespace

Healer::Healer(runtime::Runtime& runtime, net::Network& network, net::Credentials credentials,
               rpc::Caller& mds, StoreDoor& door, observe::Log& log, HealerOptions options)
    : runtime_(runtime),
      mds_(mds),
      door_(door),
      log_(log),
      options_(options),
      peers_(runtime, network, std::move(credentials)),
      zero_block_(Buffer::zeroed(kBlockBytes)),
      group_(runtime) {}

void Healer::start() { group_.spawn(run()); }

Task<void> Healer::stop() {
  stopping_ = true;
  peers_.interrupt();
  if (sleeper_.has_value()) sleeper_->set(true);
  co_await group_.join();
  co_await peers_.stop();
}

Task<void> Healer::wait(Duration duration) {
  if (stopping_) co_return;
  sleeper_.emplace(runtime_);
  runtime::Completion<bool> sleeper = *sleeper_;
  const std::optional<bool> woken = co_await sleeper.wait_until(runtime_.after(duration));
  static_cast<void>(woken);
  sleeper_.reset();
}

Task<void> Healer::run() {
  while (!stopping_) {
    Duration pause = options_.period;
    if (!door_.failure().has_value()) {
      const std::vector<store::DamagedBlock> damaged =
          door_.damaged_count() == 0 ? std::vector<store::DamagedBlock>() : door_.damaged();
      std::vector<HealRun> runs = ledger_.due(damaged, runtime_.now(), kHealRunBlocks, kRunsAtOnce);
      const bool more = runs.size() == kRunsAtOnce;
      if (damaged.size() > kMuchDamage && !more) pause = std::max<Duration>(pause, kMuchPeriod);
      if (!runs.empty()) co_await heal_all(std::move(runs));
    }
    peers_.sweep();
    co_await wait(pause);
  }
}

Task<void> Healer::heal_all(std::vector<HealRun> runs) {
  std::reverse(runs.begin(), runs.end());  // they are taken from the end
  runtime::TaskGroup workers(runtime_);
  const std::size_t count = std::min(kHealsAtOnce, runs.size());
  for (std::size_t i = 0; i < count; ++i) workers.spawn(work(&runs));
  co_await workers.join();
}

Task<void> Healer::work(std::vector<HealRun>* runs) {
  while (!runs->empty() && !halted()) {
    HealRun run = std::move(runs->back());
    runs->pop_back();
    co_await wait_turn(run.blocks.size());
    if (halted()) co_return;
    co_await heal_run(std::move(run));
  }
}

Task<void> Healer::wait_turn(std::size_t blocks) {
  const Instant turn = std::max(runtime_.now(), next_turn_);
  const ByteCount bytes = blocks * kBlockBytes;
  next_turn_ =
      turn + Duration(1s) * static_cast<std::int64_t>(bytes) /
                 static_cast<std::int64_t>(std::max<ByteCount>(options_.bytes_a_second, 1));
  if (turn > runtime_.now()) co_await runtime::sleep_until(runtime_, turn);
}

Task<void> Healer::heal_run(HealRun run) {
  std::vector<PieceMask> built(run.blocks.size(), 0);
  Result<HealSources> sources = co_await look_up(&run);
  if (!sources.has_value()) {
    put_off(run, built, sources.error(), nullptr);
    co_return;
  }
  const Buffer body = Buffer::allocate(run.blocks.size() * kBlockBytes);
  Buffer target = body;
  built = co_await build(&run, &*sources, std::move(target));
  // Until the store itself checked, nothing is healed.
  Status given;
  const bool some = std::any_of(built.begin(), built.end(), [](PieceMask m) { return m != 0; });
  if (some) given = co_await give(&run, &*sources, &built, &body);
  if (halted()) co_return;
  if (!given.has_value()) {
    std::fill(built.begin(), built.end(), 0);
    put_off(run, built, given.error(), nullptr);
    co_return;
  }
  const bool enough = sources->answered() >= sources->encoding.data;
  const Error why =
      enough ? Error(Code::kChecksumMismatch, "what the other pieces have does not fit")
             : Error(Code::kTooFewPieces, fmt::format("{} of {} pieces needed", sources->answered(),
                                                      unsigned{sources->encoding.data}));
  put_off(run, built, why, &*sources);
}

Task<Result<HealSources>> Healer::look_up(const HealRun* run) {
  pb::LookupChunkRequest request;
  request.set_cluster_id(options_.cluster_id);
  request.set_cs_id(options_.cs_id);
  request.set_repo_uuid(options_.repo_uuid);
  request.set_chunk(run->piece.chunk.raw());
  std::string method = "/cairn.pb.Cluster/LookupChunk";
  const Deadline deadline = runtime_.after(kLookupTimeout);
  Result<pb::LookupChunkReply> reply = co_await rpc::call<pb::LookupChunkReply>(
      mds_, std::move(method), std::move(request), deadline);
  if (!reply.has_value()) co_return fail(std::move(reply).error());
  if (!reply->has_chunk()) co_return fail(Code::kPieceMissing, "the chunk was removed");
  co_return find_sources(reply->chunk(), run->piece, options_.cs_id, run->blocks.size(),
                         zero_block_);
}

Task<std::vector<PieceMask>> Healer::build(const HealRun* run, HealSources* sources, Buffer body) {
  std::vector<PieceMask> built(run->blocks.size(), 0);
  Rebuilder rebuilder(sources->encoding, run->piece.index);
  std::size_t left = built.size();
  std::uint64_t yielded = 0;
  // Unwritten pieces alone may do.
  bool more = sources->answered() >= sources->encoding.data;
  if (!more) more = co_await read_more(run, sources);
  while (more && left != 0 && !halted()) {
    for (std::size_t i = 0; i < built.size() && rebuilder.decodes() < kDecodesARunMax; ++i) {
      if (built[i] != 0) continue;
      const std::vector<std::byte*> blocks = sources->block(i);
      const MutableBytes into = body.span().subspan(i * kBlockBytes, kBlockBytes);
      built[i] = rebuilder.build(blocks, run->blocks[i].crc, runtime_.random(), into);
      if (built[i] != 0) --left;
      if (rebuilder.decodes() - yielded < kDecodesAtOnce) continue;
      yielded = rebuilder.decodes();
      co_await runtime::yield_turn(runtime_);
    }
    if (left != 0) more = co_await read_more(run, sources);
  }
  co_return built;
}

Task<bool> Healer::read_more(const HealRun* run, HealSources* sources) {
  // As many as are needed; then, of copies, one by one; of a code, all the others.
  const unsigned data = sources->encoding.data;
  bool some = false;
  while (!halted()) {
    const unsigned have = sources->answered();
    std::size_t want = data == 1 ? 1 : sources->sources.size();
    if (have < data) want = data - have;
    runtime::TaskGroup readers(runtime_);
    std::size_t begun = 0;
    for (HealSource& source : sources->sources) {
      if (source.answer.has_value() || begun == want) continue;
      ++begun;
      readers.spawn(read_source(run, sources->version, &source));
    }
    co_await readers.join();
    some = some || begun != 0;
    if (begun == 0 || sources->answered() >= data) break;
  }
  co_return some && sources->answered() >= data;
}

Task<void> Healer::read_source(const HealRun* run, ChunkVersion version, HealSource* source) {
  std::vector<std::uint64_t> blocks;
  blocks.reserve(run->blocks.size());
  for (const store::DamagedBlock& block : run->blocks) blocks.push_back(block.block);
  PeerPiece from{source->address,
                 {run->piece.chunk, PieceIndex(static_cast<std::uint8_t>(source->piece))},
                 version};
  const Deadline deadline = runtime_.after(kReadTimeout);
  Result<PeerBlocks> answer = co_await peers_.read(std::move(from), std::move(blocks), deadline);
  source->answer = std::move(answer);
}

Task<Status> Healer::give(const HealRun* run, const HealSources* sources,
                          const std::vector<PieceMask>* built, const Buffer* body) {
  if (halted()) co_return fail(Code::kCancelled, "the chunk server stops or failed");
  std::vector<store::DamagedBlock> blocks;
  Buffer bytes = Buffer::allocate(body->size());
  PieceMask used = 0;
  for (std::size_t i = 0; i < built->size(); ++i) {
    if ((*built)[i] == 0) continue;
    std::memcpy(bytes.data() + blocks.size() * kBlockBytes, body->data() + i * kBlockBytes,
                kBlockBytes);
    blocks.push_back(run->blocks[i]);
    used |= (*built)[i];
  }
  const std::vector<store::DamagedBlock> given = blocks;
  Buffer content = bytes.slice(0, given.size() * kBlockBytes);
  const Status status = co_await door_.heal(run->piece, std::move(blocks), std::move(content));
  if (!status.has_value()) co_return status;
  healed_ += given.size();
  for (const store::DamagedBlock& block : given) ledger_.healed(block, runtime_.now());
  log_.info("healed {} damaged blocks of piece {}.{} ({}) from {}", given.size(),
            run->piece.chunk.raw(), run->piece.index.raw(), describe_blocks(given),
            describe_used(*sources, used));
  co_return status;
}

void Healer::put_off(const HealRun& run, const std::vector<PieceMask>& built, const Error& why,
                     const HealSources* sources) {
  if (halted()) return;  // not their fault
  const bool certain = why.code() == Code::kTooFewPieces;
  std::vector<store::DamagedBlock> news;
  for (std::size_t i = 0; i < run.blocks.size(); ++i) {
    if (built[i] != 0) continue;
    if (ledger_.failed(run.blocks[i], runtime_.now(), certain)) news.push_back(run.blocks[i]);
  }
  if (news.empty()) return;
  log_.warning("{} damaged blocks of piece {}.{} ({}) cannot be healed now: {}{}{}", news.size(),
               run.piece.chunk.raw(), run.piece.index.raw(), describe_blocks(news), why.to_string(),
               sources == nullptr ? "" : ": ",
               sources == nullptr ? "" : describe_lacking(*sources));
}

}  // namespace cairn::chunkserver::care
