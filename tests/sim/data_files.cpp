#include "tests/sim/data_files.h"

#include <algorithm>
#include <cstdlib>

namespace cairn::sim {

namespace {
constexpr Duration kExcuse = 60s;
constexpr Duration kBackAgain = 10s;  // until it has heard what became of its session
}  // namespace

DataFiles::DataFiles(SimWorld& world, unsigned count)
    : world_(world), slots_(count), notes_(std::getenv("CAIRN_SIM_LOG") != nullptr) {
  for (unsigned i = 0; i < count; ++i) slots_[i].index = i;
}

void DataFiles::note(const FileSlot& slot, const LifePtr& life, const std::string& what) const {
  if (!notes_) return;
  std::fprintf(stderr, "%.6f > %s client%u: %s\n", static_cast<double>(world_.now().nanos()) / 1e9,
               slot.name().c_str(), life->index, what.c_str());
}

DataOpPtr DataFiles::lock(FileSlot& slot, const LifePtr& life) {
  if (slot.holder != nullptr) return nullptr;
  slot.holder = std::make_shared<DataOp>();
  slot.holder->life = life;
  slot.holder->generation = slot.generation;
  return slot.holder;
}

void DataFiles::unlock(FileSlot& slot, const DataOpPtr& op) {
  if (slot.holder == op) slot.holder = nullptr;
  if (!op->ghost) return;
  op->ghost = false;
  std::erase(slot.ghosts, op);
  if (slot.generation == op->generation) slot.model.ghost_ended();
}

void DataFiles::replace(FileSlot& slot) {
  doomed_.insert(slot.name());
  ++slot.generation;
  slot.model = DataModel();
  slot.ghosts.clear();
  slot.writer = nullptr;
  slot.touched = false;
  slot.untold.clear();
  slot.told.clear();
}

void DataFiles::suspect(FileSlot& slot, const LifePtr& life) {
  if (slot.writer != life) return;
  slot.model.doubt(life->id);
  note(slot, life, "may have lost changes");
  slot.touched = false;
  if (slot.holder != nullptr && slot.holder->life != life && slot.holder->changes) {
    slot.model.mix();
    slot.touched = true;
  }
}

void DataFiles::struck(const LifePtr& life, Duration outage) {
  life->excused_until = std::max(life->excused_until, world_.now() + outage + kExcuse);
  life->at_risk_until = std::max(life->at_risk_until, world_.now() + outage + kBackAgain);
  for (FileSlot& slot : slots_) {
    suspect(slot, life);
    const DataOpPtr op = slot.holder;
    if (op == nullptr || op->life != life) continue;
    slot.holder = nullptr;
    op->broken = true;
    if (!op->changes || op->generation != slot.generation) continue;
    op->ghost = true;
    slot.ghosts.push_back(op);
    slot.model.doubt(life->id);
    slot.model.add_ghost();
  }
}

void DataFiles::killed(const LifePtr& life) {
  life->dead = true;
  for (FileSlot& slot : slots_) {
    suspect(slot, life);
    const DataOpPtr op = slot.holder;
    if (op != nullptr && op->life == life) {
      slot.holder = nullptr;
      op->broken = true;
      if (op->changes && op->generation == slot.generation) slot.model.doubt(life->id);
    }
    std::erase_if(slot.ghosts, [&](const DataOpPtr& ghost) {
      if (ghost->life != life) return false;
      ghost->ghost = false;
      if (ghost->generation == slot.generation) slot.model.ghost_ended();
      return true;
    });
    slot.untold.erase(life->id);
  }
}

void DataFiles::declared_loss(const LifePtr& life, InodeId inode) {
  life->excused_until = std::max(life->excused_until, world_.now() + kExcuse);
  for (FileSlot& slot : slots_) {
    const auto open = life->open.find(slot.index);
    if (open == life->open.end() || open->second.inode != inode) continue;
    if (open->second.generation == slot.generation) suspect(slot, life);
  }
}

}  // namespace cairn::sim
