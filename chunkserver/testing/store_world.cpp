#include "chunkserver/testing/store_world.h"

#include "common/base/crc32c.h"

namespace cairn::chunkserver::testing {

Status RestlessKv::write(const kv::Batch& batch) {
  if (broken()) return fail(Code::kDiskFailed, "injected failure of the index");
  TRY_VOID(below_.write(batch));
  if (prng_.chance(self_flush_)) return below_.flush();
  return {};
}

Status RestlessKv::flush() {
  if (broken()) return fail(Code::kDiskFailed, "injected failure of the index");
  ++flushes_;
  return below_.flush();
}

StoreWorld::StoreWorld(Options options)
    : options_(options),
      loop_(options.seed),
      disk_({.size_limit = options.disk_bytes}),
      kv_(disk_, options.seed),
      log_(observe::make_null_log()) {}

StoreWorld::~StoreWorld() {
  if (store_ == nullptr) return;
  const Status closed = loop_.run(store_->close());
  ignore(closed, "the test is over");
}

Status StoreWorld::open() {
  CHECK(store_ == nullptr);
  device_ = disk_.attach(loop_);
  store::StoreOptions options;
  options.journal_bytes = options_.journal_bytes;
  options.grow_bytes = options_.grow_bytes;
  options.size_bytes = options_.size_bytes;
  Result<std::unique_ptr<store::PieceStore>> opened =
      loop_.run(store::PieceStore::open(&loop_, device_.get(), &kv_, log_.get(), options));
  if (!opened.has_value()) return fail(std::move(opened).error());
  store_ = std::move(*opened);
  return {};
}

Status StoreWorld::close() {
  Status closed = loop_.run(store_->close());
  store_.reset();
  device_.reset();
  return closed;
}

void StoreWorld::bury() {
  if (store_ != nullptr) {
    const Status closed = loop_.run(store_->close());
    ignore(closed, "its disk is gone");
    store_.reset();
  }
  device_.reset();
  kv_.crash();
}

void StoreWorld::crash(std::uint64_t seed) {
  disk_.crash(seed);
  bury();
}

void fill_block(MutableBytes block, std::uint64_t value) {
  for (std::size_t at = 0; at < block.size(); at += 8) store_le(block.data() + at, value + at);
}

std::optional<std::uint64_t> value_of(Bytes block) {
  const auto value = load_le<std::uint64_t>(block.data());
  for (std::size_t at = 0; at < block.size(); at += 8) {
    if (load_le<std::uint64_t>(block.data() + at) != value + at) return std::nullopt;
  }
  return value;
}

MadePrepare make_prepare(PieceId piece, std::uint64_t version, store::OpId op,
                         std::vector<store::BlockRange> writes, std::vector<std::uint64_t> values) {
  MadePrepare made;
  made.request.piece = piece;
  made.request.version = ChunkVersion(version);
  made.request.op = op;
  made.request.participants = 1;
  made.request.create = true;
  made.request.writes = std::move(writes);
  CHECK_EQ(store::total_blocks(made.request.writes), values.size());
  made.body = Buffer::allocate(values.size() * kBlockBytes);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const MutableBytes block = made.body.span().subspan(i * kBlockBytes, kBlockBytes);
    fill_block(block, values[i]);
    made.request.crcs.push_back(crc32c(block));
  }
  return made;
}

}  // namespace cairn::chunkserver::testing
