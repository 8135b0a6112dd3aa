// DataPlayer: what changes files, what makes them durable, and the end of them.
#include <algorithm>

#include "tests/sim/data_player.h"

namespace cairn::sim {

DataModel::Change DataPlayer::draw_write(const FileSlot& slot, bool* append) {
  Prng& prng = world_.prng();
  const std::uint64_t cell = shape_.cell_bytes / kSector;
  const std::uint64_t stripe = shape_.stripe_bytes / kSector;
  const std::uint64_t most = shape_.file_bytes_max / kSector;
  const std::uint64_t size = slot.model.size() / kSector;
  const std::uint64_t room = std::min(most - 1, size + stripe);
  std::uint64_t first = prng.below(room + 1);
  std::uint64_t count = 1;
  switch (prng.below(6)) {
    case 0:  // a few sectors
      count = prng.between(1, kSectorsPerBlock);
      break;
    case 1:  // whole blocks
      first -= first % kSectorsPerBlock;
      count = prng.between(1, 8) * kSectorsPerBlock;
      break;
    case 2:  // whole stripes
      first -= first % stripe;
      count = prng.between(1, 3) * stripe;
      break;
    case 3:  // about a cell
      count = prng.between(1, 2 * cell);
      break;
    case 4:  // near the newest write
      first = std::min(room, slot.hot + prng.below(2 * kSectorsPerBlock));
      count = prng.between(1, 2 * kSectorsPerBlock);
      break;
    default:
      count = prng.between(1, 4 * stripe);
  }
  // Where nobody else could still change the end.
  const bool sure =
      !slot.model.doubtful() && (slot.writer == nullptr || slot.writer == slot.holder->life);
  *append = sure && prng.chance(120) && size < most;
  if (*append) first = size;
  count = std::min(count, most - first);
  return {
      .first = first, .count = count, .tag = files_.next_tag() | (*append ? kAppended : Tag{0})};
}

void DataPlayer::begin_change(Step* step, const DataModel::Change& change) {
  step->op->changes = true;
  step->slot->model.apply(change);
  if (change.tag != 0) step->slot->hot = change.first;
  files_.note(*step->slot, step->life,
              "change " + std::to_string(step->slot->model.changes()) + ": sectors " +
                  std::to_string(change.first) + " + " + std::to_string(change.count) + " tag " +
                  std::to_string(change.tag) + ", inode " + std::to_string(step->inode.raw()));
}

void DataPlayer::end_change(Step* step, ChangeNumber before, const Status& status,
                            const char* what) {
  FileSlot& slot = *step->slot;
  if (slot.generation != step->op->generation) return;
  files_.note(slot, step->life, std::string(what) + (status.has_value() ? " done" : " failed"));
  if (step->op->ghost) ++counts_.ghosts;
  if (!status.has_value()) {
    if (!excused(*step, status.error(), what)) return;
    // It may have happened, and more than it may be lost.
    slot.model.doubt(step->life->id);
    slot.model.mix();
    return;
  }
  if (step->op->broken) return;
  step->op->changes = false;
  if (slot.writer != nullptr && slot.writer != step->life) {
    ++counts_.takeovers;
    if (!slot.model.doubtful()) slot.model.durable(before);
  }
  slot.writer = step->life;
  slot.touched = false;
  if (world_.now() <= step->life->at_risk_until) slot.model.doubt(step->life->id);
}

Task<void> DataPlayer::write(Step* step) {
  bool append = false;
  const DataModel::Change change = draw_write(*step->slot, &append);
  const ChangeNumber before = step->slot->model.changes();
  ++(append ? counts_.appends : counts_.writes);
  std::vector<std::byte> bytes(change.count * kSector);
  fill_sectors(bytes, change.first, change.tag);
  begin_change(step, change);
  const Status written = co_await step->life->fs->write(
      step->inode, FileOffset(change.first * kSector), Bytes(bytes), append);
  end_change(step, before, written, "write");
}

Task<void> DataPlayer::truncate(Step* step) {
  const std::uint64_t most = shape_.file_bytes_max / kSector;
  const std::uint64_t room = std::min(most, step->slot->model.size() / kSector + 64);
  const DataModel::Change change{.first = world_.prng().below(room + 1)};
  const ChangeNumber before = step->slot->model.changes();
  ++counts_.truncates;
  begin_change(step, change);
  pb::SetAttr attributes;
  attributes.set_size(change.first * kSector);
  const Result<pb::Attributes> done =
      co_await step->life->fs->set_attributes(step->inode, std::move(attributes));
  end_change(step, before, done.has_value() ? Status() : Status(fail(done.error())), "truncate");
}

// Without the lock: others, and this client itself, go on with the file meanwhile.
Task<void> DataPlayer::fsync(Step* step) {
  ++counts_.fsyncs;
  const ChangeNumber mark = step->slot->model.changes();
  files_.unlock(*step->slot, step->op);
  const Status synced = co_await step->life->fs->fsync(step->inode);
  judge_sync(step, mark, synced);
}

void DataPlayer::judge_sync(Step* step, ChangeNumber mark, const Status& status) {
  FileSlot& slot = *step->slot;
  if (slot.generation != step->op->generation || step->life->dead) return;
  if (!status.has_value()) {
    if (!excused(*step, status.error(), "fsync")) return;
    if (slot.writer == step->life) slot.model.doubt(step->life->id);
    return;
  }
  const auto lost = slot.untold.find(step->life->id);
  if (lost != slot.untold.end() && lost->second <= mark) {
    return files_.fail_run(where(*step) + "fsync says that changes are durable that are lost");
  }
  if (slot.writer != step->life) return;
  if (slot.model.doubtful()) {
    const bool alone = slot.model.doubted_only_by(step->life->id) && !slot.touched &&
                       slot.model.ghosts() == 0 && !slot.model.loose();
    if (!alone) return;
  }
  slot.model.durable(mark);
  files_.note(slot, step->life, "durable up to change " + std::to_string(mark));
  if (mark != slot.model.changes() || slot.holder != nullptr) return;
  slot.model.trust(step->life->id);
  slot.writer = nullptr;
}

Task<void> DataPlayer::unlink(Step* step) {
  ++counts_.unlinks;
  std::string name = step->slot->name();
  files_.replace(*step->slot);
  const Status gone = co_await step->life->fs->unlink(kRootInode, std::move(name), false);
  ignore(gone, "clean() looks after those that are left");
}

// ---- for quiet times ----

Task<void> DataPlayer::verify(DataPlayer* self, LifePtr life, unsigned slot, const char* when) {
  Step step;
  step.slot = &self->files_.slot(slot);
  step.life = life;
  step.op = self->files_.lock(*step.slot, life);
  if (step.op == nullptr) {
    self->files_.fail_run(step.slot->name() + " is locked for ever");
    co_return;
  }
  const Timing timing(self, life);
  const Status opened = co_await self->ensure_open(&step);
  if (!opened.has_value()) {
    const bool may = self->excused(step, opened.error(), "open");
    static_cast<void>(may);
  } else {
    const bool known = co_await self->look(&step, when);
    static_cast<void>(known);
  }
  self->files_.unlock(*step.slot, step.op);
}

Task<void> DataPlayer::sync(DataPlayer* self, LifePtr life, unsigned slot) {
  Step step;
  step.slot = &self->files_.slot(slot);
  step.life = life;
  step.op = std::make_shared<DataOp>();
  step.op->life = life;
  step.op->generation = step.slot->generation;
  const Timing timing(self, life);
  const Status opened = co_await self->ensure_open(&step);
  if (!opened.has_value()) {
    self->files_.fail_run(self->where(step) + "open: " + opened.error().to_string());
    co_return;
  }
  co_await self->fsync(&step);
}

Task<void> DataPlayer::clean(DataPlayer* self, LifePtr life) {
  const Timing timing(self, life);
  const std::set<std::string> names = self->files_.doomed();
  for (const std::string& name : names) {
    std::string copy = name;
    const Status gone = co_await life->fs->unlink(kRootInode, std::move(copy), false);
    if (gone.has_value() || gone.error().code() == Code::kNotFound) continue;
    self->files_.fail_run("unlink " + name + ": " + gone.error().to_string());
  }
  self->files_.doomed().clear();
}

Task<void> DataPlayer::unlink_all(DataPlayer* self, LifePtr life) {
  for (unsigned i = 0; i < self->files_.count(); ++i) self->files_.replace(self->files_.slot(i));
  co_await clean(self, life);
}

}  // namespace cairn::sim
