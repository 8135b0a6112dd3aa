#include "tests/sim/data_player.h"

#include <algorithm>

#include "common/runtime/runtime.h"

namespace cairn::sim {

namespace {
constexpr Duration kRetry = 300ms;
constexpr ByteCount kReadBytes = 256_KiB;

Duration millis(std::uint64_t count) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(count));
}
}  // namespace

DataPlayer::Timing::Timing(DataPlayer* owner, LifePtr of) : self(owner), life(std::move(of)) {
  ++life->running;
  begun = self->world_.now();
}
DataPlayer::Timing::~Timing() {
  --life->running;
  if (begun < life->excused_until) return;
  self->longest_ = std::max(self->longest_, self->world_.now() - begun);
}

void OpCounts::tell(DataCoverage& coverage) const {
  coverage.count("ops.writes", writes);
  coverage.count("ops.appends", appends);
  coverage.count("ops.truncates", truncates);
  coverage.count("ops.fsyncs", fsyncs);
  coverage.count("ops.reads", reads);
  coverage.count("ops.takeovers", takeovers);
  coverage.count("ops.unlinks", unlinks);
  coverage.count("ops.ghosts", ghosts);
  coverage.count("ops.excused", excused);
  coverage.count("ops.losses", losses);
  coverage.count("ops.told", told);
}

std::string DataPlayer::where(const Step& step) const {
  return step.slot->name() + " at client " + std::to_string(step.life->index) + " (" +
         std::to_string(world_.now().nanos() / 1'000'000) + " ms): ";
}

bool DataPlayer::excused(const Step& step, const Error& error, const char* what) {
  if (world_.now() <= step.life->excused_until) {
    ++counts_.excused;
    step.slot->told[step.life->id] = step.slot->model.changes();
    files_.note(*step.slot, step.life, std::string(what) + " fails: " + error.to_string());
    if (step.slot->untold.erase(step.life->id) != 0) ++counts_.told;
    return true;
  }
  files_.fail_run(where(step) + what + ": " + error.to_string());
  return false;
}

// ---- mount and open ----

Task<void> DataPlayer::mount(DataPlayer* self, LifePtr life) {
  for (;;) {
    const Status started = co_await life->fs->start();
    if (started.has_value()) break;
    const Code code = started.error().code();
    if (code != Code::kUnavailable && code != Code::kTimeout && code != Code::kNotMaster) {
      self->files_.fail_run("mount: " + started.error().to_string());
      co_return;
    }
    co_await runtime::sleep_for(*life->runtime, kRetry);
  }
  life->mounted = true;
}

Task<Status> DataPlayer::open_or_make(LifePtr life, std::string name, InodeId* inode) {
  for (;;) {
    std::string wanted = name;
    const Result<pb::Attributes> found = co_await life->fs->lookup(kRootInode, std::move(wanted));
    if (found.has_value()) {
      *inode = InodeId::from_raw(found->inode());
      co_return Status();
    }
    if (found.error().code() != Code::kNotFound) co_return fail(found.error());
    pb::MakeNode request;
    request.set_parent(kRootInode.raw());
    request.set_name(name);
    request.set_type(pb::TYPE_REGULAR);
    request.set_mode(0644);
    const Result<pb::Attributes> made = co_await life->fs->make_node(std::move(request), false);
    if (made.has_value()) {
      *inode = InodeId::from_raw(made->inode());
      co_return Status();
    }
    if (made.error().code() != Code::kExists) co_return fail(made.error());
  }
}

Task<Status> DataPlayer::ensure_open(Step* step) {
  const LifePtr life = step->life;
  const unsigned index = step->slot->index;
  const unsigned generation = step->slot->generation;
  const auto known = life->open.find(index);
  if (known != life->open.end() && known->second.generation == generation) {
    step->inode = known->second.inode;
    step->writes = known->second.writes;
    co_return Status();
  }
  if (known != life->open.end()) {
    const ClientLife::Open old = known->second;
    life->open.erase(known);
    life->fs->release(old.inode, old.writes ? client::OpenMode::kWrite : client::OpenMode::kRead);
  }
  std::string name = step->slot->name();
  InodeId inode;
  const Status found = co_await open_or_make(life, std::move(name), &inode);
  if (!found.has_value()) co_return found;
  const bool writes = world_.prng().chance(850);
  const client::OpenMode mode = writes ? client::OpenMode::kWrite : client::OpenMode::kRead;
  const Result<pb::Attributes> opened = co_await life->fs->open(inode, mode);
  if (!opened.has_value()) co_return fail(opened.error());
  const auto meanwhile = life->open.find(index);
  if (meanwhile != life->open.end()) {  // by another player, after our lock was broken
    life->fs->release(inode, mode);
    step->inode = meanwhile->second.inode;
    step->writes = meanwhile->second.writes;
    co_return Status();
  }
  life->open[index] = {.generation = generation, .inode = inode, .writes = writes};
  step->inode = inode;
  step->writes = writes;
  co_return Status();
}

// ---- reading ----

Task<Result<bool>> DataPlayer::read_part(Step* step, std::uint64_t offset, ByteCount length,
                                         std::vector<Tag>* tags) {
  const Result<std::vector<Buffer>> parts =
      co_await step->life->fs->read(step->inode, FileOffset(offset), length);
  if (!parts.has_value()) co_return fail(parts.error());
  std::vector<std::byte> bytes;
  for (const Buffer& part : *parts) {
    bytes.insert(bytes.end(), part.span().begin(), part.span().end());
  }
  if (bytes.size() % kSector != 0) {
    files_.fail_run(where(*step) + "a read ends in the middle of a sector");
    co_return false;
  }
  for (std::size_t at = 0; at < bytes.size(); at += kSector) {
    const std::uint64_t number = (offset + at) / kSector;
    const std::optional<Tag> tag = read_sector(Bytes(bytes).subspan(at, kSector), number);
    if (!tag.has_value()) {
      files_.fail_run(where(*step) + "inode " + std::to_string(step->inode.raw()) + ", sector " +
                      std::to_string(number) + " holds what nobody wrote there");
      co_return false;
    }
    tags->push_back(*tag);
  }
  co_return !bytes.empty();
}

// A whole read, judged. True: the file's present state is known.
Task<bool> DataPlayer::look(Step* step, const char* when) {
  FileSlot& slot = *step->slot;
  const bool ghosts = slot.model.ghosts() != 0;
  // What it did not make durable itself is not settled by its own look.
  const bool own = slot.writer == step->life;
  const bool hands_over = slot.writer != nullptr && slot.writer != step->life;
  const ChangeNumber before = slot.model.changes();
  ++counts_.reads;
  Observed seen;
  for (;;) {
    const Result<bool> more =
        co_await read_part(step, seen.sectors.size() * kSector, kReadBytes, &seen.sectors);
    if (!more.has_value()) {
      const bool may = excused(*step, more.error(), "read");
      static_cast<void>(may);
      co_return false;
    }
    if (!*more) break;
  }
  seen.size = seen.sectors.size() * kSector;
  if (broken(*step) || !files_.failure().empty()) co_return false;
  slot.touched = slot.touched || slot.writer != step->life;
  files_.note(slot, step->life, "saw all, size " + std::to_string(seen.size));
  if (!slot.model.doubtful()) {
    const std::string wrong = slot.model.check_exactly(seen);
    if (!wrong.empty()) files_.fail_run(where(*step) + when + ", " + wrong);
    if (hands_over) {
      ++counts_.takeovers;
      slot.model.durable(before);
      slot.writer = nullptr;
    }
    co_return wrong.empty();
  }
  const std::string wrong = slot.model.check_legal(seen);
  if (!wrong.empty()) {
    files_.fail_run(where(*step) + when + " (after trouble), " + wrong);
    co_return false;
  }
  const bool settled =
      !ghosts && slot.model.ghosts() == 0 && !own && !slot.model.doubted_by(step->life->id);
  this->seen(step, seen, settled);
  co_return true;
}

// What a doubtful file holds is known now.
void DataPlayer::seen(Step* step, const Observed& seen, bool settled) {
  FileSlot& slot = *step->slot;
  const std::optional<ChangeNumber> lost = slot.model.oldest_lost(seen);
  if (lost.has_value()) ++counts_.losses;
  files_.note(slot, step->life,
              std::string(settled ? "settles it" : "takes it as it is") +
                  (lost.has_value() ? ", lost: " + std::to_string(*lost) : std::string()));
  if (settled && lost.has_value() && slot.writer != nullptr && !slot.writer->dead &&
      slot.model.doubted_only_by(slot.writer->id) && slot.told[slot.writer->id] < *lost) {
    slot.untold.emplace(slot.writer->id, *lost);
  }
  slot.model.adopt(seen, settled);
  if (!settled) return;
  slot.writer = nullptr;
  slot.touched = false;
}

Task<void> DataPlayer::check_part(Step* step) {
  FileSlot& slot = *step->slot;
  if (slot.model.size() == 0 || world_.prng().chance(300)) {
    const bool known = co_await look(step, "a read");
    static_cast<void>(known);
    co_return;
  }
  ++counts_.reads;
  const std::uint64_t sectors = slot.model.size() / kSector;
  const std::uint64_t first = world_.prng().below(sectors);
  const std::uint64_t count =
      world_.prng().between(1, std::min<std::uint64_t>(sectors - first, kReadBytes / kSector));
  std::vector<Tag> tags;
  const Result<bool> got = co_await read_part(step, first * kSector, count * kSector, &tags);
  if (!got.has_value()) {
    const bool may = excused(*step, got.error(), "read");
    static_cast<void>(may);
    co_return;
  }
  if (broken(*step) || slot.model.doubtful()) co_return;
  for (std::uint64_t i = 0; i < count; ++i) {
    const Tag expected = slot.model.sector(first + i);
    const Tag found = i < tags.size() ? tags[i] : 0;
    if (i < tags.size() && found == expected) continue;
    files_.fail_run(where(*step) + "a read: sector " + std::to_string(first + i) + " is " +
                    (i < tags.size() ? std::to_string(found) : "missing") + ", written was " +
                    std::to_string(expected));
    co_return;
  }
}

// ---- the loop ----

Task<void> DataPlayer::play(DataPlayer* self, LifePtr life) {
  while (self->playing_ && !life->dead) {
    const Duration think = millis(self->world_.prng().below(self->shape_.think_ms_max + 1));
    co_await runtime::sleep_for(*life->runtime, think);
    if (!self->playing_ || life->dead) break;
    co_await self->one(life);
  }
}

Task<void> DataPlayer::one(LifePtr life) {
  unsigned index = static_cast<unsigned>(world_.prng().below(files_.count()));
  if (world_.prng().chance(shape_.loyal_per_mille)) index = life->index % files_.count();
  Step step;
  step.slot = &files_.slot(index);
  step.life = life;
  step.op = files_.lock(*step.slot, life);
  if (step.op == nullptr) co_return;
  const Timing timing(this, life);
  co_await act(&step);
  files_.unlock(*step.slot, step.op);
}

Task<void> DataPlayer::act(Step* step) {
  const Status opened = co_await ensure_open(step);
  if (!opened.has_value()) {
    const bool may = excused(*step, opened.error(), "open");
    static_cast<void>(may);
    co_return;
  }
  if (broken(*step)) co_return;
  const std::uint64_t kind = world_.prng().below(100);
  if (kind >= 97) {
    co_await unlink(step);
    co_return;
  }
  if (step->slot->model.doubtful() && kind < 85) {
    const bool known = co_await look(step, "a look");
    if (!known || broken(*step)) co_return;
  }
  if (!step->writes || (kind >= 70 && kind < 85)) {
    co_await check_part(step);
  } else if (kind < 60) {
    co_await write(step);
  } else if (kind < 70) {
    co_await truncate(step);
  } else {
    co_await fsync(step);
  }
}

}  // namespace cairn::sim
