#include "mds/master/scrubs.h"

#include <algorithm>

#include "mds/state/machine.h"

namespace cairn::mds::master {

namespace {

// One slice of work: a few milliseconds of reads.
constexpr std::uint32_t kNamesPage = 64;
constexpr std::uint32_t kChunksPage = 256;

PieceId piece_id(std::uint64_t chunk, std::uint32_t piece) {
  return {ChunkId::from_raw(chunk), PieceIndex(static_cast<std::uint8_t>(piece))};
}

bool has_piece(const pb::Chunk& chunk, std::uint32_t cs, std::uint32_t piece) {
  return std::ranges::any_of(chunk.pieces(), [&](const pb::Piece& p) {
    return p.index() == piece && p.cs_id() == cs && p.state() == pb::PIECE_CURRENT;
  });
}

}  // namespace

Result<ScrubBoard::JobId> Scrubs::start(const pb::InodeRecord& inode, std::string target) {
  const pb::FileType type = inode.attributes().type();
  if (type != pb::TYPE_REGULAR && type != pb::TYPE_DIRECTORY) {
    return fail(Code::kInvalidArgument, target + " is neither a file nor a directory");
  }
  TRY(const ScrubBoard::JobId job, board_.open(std::move(target)));
  const InodeId top = InodeId::from_raw(inode.attributes().inode());
  env_.tasks.spawn(walk(this, job, top, type == pb::TYPE_DIRECTORY));
  return job;
}

// ---- the walk ----

Task<void> Scrubs::walk(Scrubs* self, ScrubBoard::JobId job, InodeId top, bool directory) {
  Status walked;
  if (directory) {
    walked = co_await self->walk_tree(job, top);
  } else {
    walked = co_await self->walk_file(job, top);
  }
  if (walked.has_value()) {
    self->board_.close(job);
  } else {
    self->board_.end(job, walked.error().message());
  }
}

Task<Status> Scrubs::breathe() {
  co_await runtime::yield_turn(env_.runtime);
  if (env_.stopping) co_return fail(Code::kCancelled, "this MDS is not the master any more");
  co_return Status();
}

Task<Status> Scrubs::walk_tree(ScrubBoard::JobId job, InodeId top) {
  std::vector<Level> path;
  path.push_back(Level{.directory = top, .after = {}, .below = {}});
  while (!path.empty()) {
    Level& level = path.back();
    if (!level.below.empty()) {
      const InodeId next = level.below.back();
      level.below.pop_back();
      path.push_back(Level{.directory = next, .after = {}, .below = {}});
    } else if (level.end) {
      path.pop_back();
    } else {
      Status seen = co_await walk_page(job, &path.back());
      if (!seen.has_value()) co_return seen;
    }
  }
  co_return Status();
}

Task<Status> Scrubs::walk_page(ScrubBoard::JobId job, Level* level) {
  pb::ReadDir page;
  page.set_inode(level->directory.raw());
  page.set_after(level->after);
  page.set_limit(kNamesPage);
  const Result<pb::ReadDirReply> listed = state::queries::read_dir(env_.tables, page);
  if (!listed.has_value()) {
    level->end = true;
    // Removed while the tree was walked.
    if (listed.error().code() == Code::kNotFound) co_return Status();
    co_return fail(listed.error());
  }
  for (const pb::ReadDirReply::Entry& entry : listed->entries()) {
    const InodeId inode = InodeId::from_raw(entry.inode());
    if (entry.type() == pb::TYPE_DIRECTORY) level->below.push_back(inode);
    if (entry.type() != pb::TYPE_REGULAR) continue;
    Status seen = co_await walk_file(job, inode);
    if (!seen.has_value()) co_return seen;
  }
  level->end = listed->end() || listed->entries_size() == 0;
  if (!level->end) level->after = listed->entries(listed->entries_size() - 1).name();
  Status alive = co_await breathe();
  co_return alive;
}

Task<Status> Scrubs::walk_file(ScrubBoard::JobId job, InodeId inode) {
  std::uint64_t first = 0;
  for (;;) {
    const Result<pb::GetChunksReply> page =
        state::queries::chunks(env_.tables, inode, first, kChunksPage);
    if (!page.has_value()) {
      if (page.error().code() == Code::kNotFound) co_return Status();
      co_return fail(page.error());
    }
    for (const pb::Chunk& chunk : page->chunks()) {
      CO_TRY_VOID(add_chunk(job, chunk));
    }
    if (page->chunks_size() < static_cast<int>(kChunksPage)) co_return Status();
    first = page->chunks(page->chunks_size() - 1).index() + 1;
    Status alive = co_await breathe();
    if (!alive.has_value()) co_return alive;
  }
}

Status Scrubs::add_chunk(ScrubBoard::JobId job, const pb::Chunk& chunk) {
  for (const pb::Piece& piece : chunk.pieces()) {
    // Never written: it is on no disk.
    if (piece.state() == pb::PIECE_UNWRITTEN) continue;
    const PieceId id = piece_id(chunk.id(), piece.index());
    if (piece.state() == pb::PIECE_MISSING || piece.cs_id() == 0) {
      board_.add_missing(job, chunk.inode(), id);
      continue;
    }
    TRY_VOID(board_.add(job, NodeId::from_raw(piece.cs_id()), id));
  }
  return {};
}

// ---- the chunk servers ----

Status Scrubs::answered(std::uint32_t cs, const pb::ScrubDone& done) {
  if (done.piece().chunk() == 0 || done.piece().piece() >= limits::kPiecesPerChunkMax) {
    return fail(Code::kProtocol, "the answer to a scrub names no piece");
  }
  const NodeId node = NodeId::from_raw(cs);
  const Instant now = env_.runtime.now();
  const ScrubBoard::Task task{done.job(), piece_id(done.piece().chunk(), done.piece().piece())};
  if (!board_.awaits(node, task)) return {};
  ScrubBoard::Answer answer{.task = task,
                            .inode = 0,
                            .blocks = done.blocks(),
                            .damaged = done.damaged(),
                            .failure = done.failure()};
  if (done.damaged() != 0 || !done.failure().empty()) {
    const Result<pb::Chunk> chunk = state::queries::chunk(env_.tables, task.piece.chunk);
    if (!chunk.has_value() && chunk.error().code() != Code::kNotFound) return fail(chunk.error());
    // Removed, or moved elsewhere, since the walk.
    if (!chunk.has_value() || !has_piece(*chunk, cs, done.piece().piece())) {
      board_.dropped(node, task, now);
      return {};
    }
    answer.inode = chunk->inode();
  }
  board_.answered(node, answer, now);
  return {};
}

std::vector<pb::ScrubTask> Scrubs::tasks(std::uint32_t cs) {
  std::vector<pb::ScrubTask> told;
  for (const ScrubBoard::Task& task : board_.hand_out(NodeId::from_raw(cs), env_.runtime.now())) {
    pb::ScrubTask& one = told.emplace_back();
    one.set_job(task.job);
    one.mutable_piece()->set_chunk(task.piece.chunk.raw());
    one.mutable_piece()->set_piece(task.piece.index.raw());
  }
  return told;
}

void Scrubs::step(Instant now) {
  for (const NodeId cs : board_.servers()) {
    if (cs_board_.state_of(cs.raw(), now) == CsState::kOffline) {
      board_.give_up(cs, "the CS is offline");
    }
  }
  board_.expire(now);
  for (const ScrubBoard::Progress& job : board_.take_finished()) tell_end(job);
}

void Scrubs::tell_end(const ScrubBoard::Progress& job) {
  const bool clean = job.failure.empty() && job.damaged == 0 && job.unreachable == 0;
  std::string text = fmt::format("Scrub {} of {} ended: {} of {} pieces verified, {} damaged {}",
                                 job.job, job.target, job.verified, job.pieces, job.damaged,
                                 job.damaged == 1 ? "block" : "blocks");
  if (!job.failure.empty()) text += ": " + job.failure;
  events_.write("MDS", clean ? observe::Severity::kInfo : observe::Severity::kWarning,
                std::move(text));
}

}  // namespace cairn::mds::master
