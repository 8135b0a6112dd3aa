#include "chunkserver/testing/sim_writers.h"

#include "chunkserver/testing/store_calls.h"

namespace cairn::chunkserver::testing {

void SimWriters::answered(const std::vector<std::pair<PieceId, ModelOp>>& done) {
  for (const auto& [piece, op] : done) {
    Writer& writer = writers_[piece];
    if (op.first != writer.epoch || writer.open.erase(op.second) == 0) continue;
    writer.early.insert(op.second);
  }
  for (auto& [piece, writer] : writers_) {
    while (writer.early.erase(writer.decided + 1) != 0) ++writer.decided;
  }
}

ModelRead SimWriters::draw_read() {
  ModelRead read;
  std::uint64_t block = kAreaFirst + prng_.below(kAreaBlocks);
  while (block < kAreaFirst + kAreaBlocks && read.ranges.size() < 4) {
    const std::uint64_t count = prng_.between(1, kAreaFirst + kAreaBlocks - block);
    read.ranges.emplace_back(block, count);
    block += count + prng_.between(1, 5);
  }
  return read;
}

ModelCall SimWriters::draw(PieceId piece, const PieceModel& model) {
  Writer& writer = writers_[piece];
  if (!model.exists()) writer.version = std::max(writer.version, model.removed_version() + 1);
  const std::uint64_t dice = prng_.below(100);
  if (dice < 62) return prepare(&writer, model);
  if (dice < 74) return settle(&writer);
  if (dice < 84) {
    if (prng_.chance(800)) {
      ++writer.version;
      writer.begin_epoch();
      writer.sealed = true;
    }
    return ModelSeal{writer.version, writer.epoch};
  }
  if (dice < 93) {
    // Resolved is what was sealed, durably.
    ModelResolve resolve{model.version(), model.epoch(), {}};
    for (const auto& [op, forwarded] : model.listed()) {
      if (forwarded || prng_.chance(500)) resolve.forward.insert(op);
    }
    writer.begin_epoch();
    return resolve;
  }
  if (dice < 96) return ModelRemove{};
  return ghost(writer, model);
}

// Now and then without a version, or at a newer one: another piece was lost.
ModelSettle SimWriters::settle(Writer* writer) {
  ModelSettle settle{writer->epoch, prng_.between(1, writer->decided + 1)};
  if (prng_.chance(300)) return settle;
  if (prng_.chance(150)) ++writer->version;
  settle.version = writer->version;
  return settle;
}

ModelPrepare SimWriters::ghost(const Writer& writer, const PieceModel& model) {
  Writer old = writer;
  if (old.epoch > 1 && prng_.chance(500)) --old.epoch;
  if (old.version > 1 && prng_.chance(500)) --old.version;
  old.last.reset();
  old.open.clear();
  old.sealed = true;
  old.decided = 0;
  old.seq = 1000 + ghosts_++;  // never the number of another op
  return prepare(&old, model);
}

ModelPrepare SimWriters::prepare(Writer* writer, const PieceModel& model) {
  if (writer->last.has_value() && prng_.chance(80)) return *writer->last;  // a repeat
  // What was not answered is sent again.
  if (!writer->open.empty() && prng_.chance(300)) return writer->open.begin()->second;
  if (!std::exchange(writer->sealed, false) && prng_.chance(50)) writer->begin_epoch();
  ModelPrepare prepare;
  prepare.version = writer->version;
  prepare.op = {writer->epoch, ++writer->seq};
  prepare.create = !model.exists() || prng_.chance(300);
  if (prng_.chance(500)) prepare.settled_below = prng_.between(0, writer->decided + 1);
  draw_blocks(&prepare);
  writer->last = prepare;
  writer->open.emplace(prepare.op.second, prepare);
  return prepare;
}

void SimWriters::draw_blocks(ModelPrepare* prepare) {
  const std::uint64_t end = kAreaFirst + kAreaBlocks;
  if (prng_.chance(100)) {  // a large write: everything
    for (std::uint64_t block = kAreaFirst; block < end; ++block) {
      prepare->writes[block] = prng_.next();
    }
    return;
  }
  const bool sparse = prng_.chance(500);
  for (std::uint64_t block = kAreaFirst; block < end;) {
    const std::uint64_t run = prng_.between(1, 5);
    const std::uint64_t kind = prng_.below(sparse ? 40 : 10);
    for (std::uint64_t i = 0; i < run && block < end; ++i, ++block) {
      if (kind < 3) prepare->writes[block] = prng_.next();
      if (kind == 3) prepare->zeroes.insert(block);
      if (deltas_ && (kind == 4 || kind == 5)) prepare->deltas[block] = prng_.next();
    }
  }
}

}  // namespace cairn::chunkserver::testing
