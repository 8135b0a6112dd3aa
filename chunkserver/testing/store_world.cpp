#include "chunkserver/testing/store_world.h"

#include "common/base/crc32c.h"

namespace cairn::chunkserver::testing {
namespace {

class Listener final : public observe::Log {
 public:
  explicit Listener(std::function<void(const std::string&)> listen) : listen_(std::move(listen)) {}
  void write(observe::Severity, const std::string& line) override {
    if (listen_) listen_(line);
  }
  bool enabled(observe::Severity) const override { return static_cast<bool>(listen_); }

 private:
  std::function<void(const std::string&)> listen_;
};

}  // namespace

StoreWorld::StoreWorld(Options options)
    : options_(std::move(options)),
      loop_(options_.seed),
      disk_(disk_options(options_.disk_bytes)),
      kv_(power_, options_.seed),
      log_(std::make_unique<Listener>(options_.log)) {
  power_.add(&disk_);
}

StoreWorld::~StoreWorld() {
  if (store_ == nullptr) return;
  const Status closed = loop_.run(store_->close());
  ignore(closed, "the test is over");
}

io::SimDiskOptions StoreWorld::disk_options(ByteCount bytes) const {
  return {.size_limit = bytes,
          .read_latency = options_.read_latency,
          .write_latency = options_.write_latency,
          .flush_latency = options_.flush_latency,
          .tear_sectors = options_.tear_sectors};
}

Task<Status> StoreWorld::run_late(runtime::Runtime* runtime, Duration latency,
                                  std::move_only_function<Status()> call) {
  co_await sleep_for(*runtime, latency);
  co_return call();
}

Status StoreWorld::open() {
  CHECK(store_ == nullptr);
  power_.on();
  device_ = std::make_unique<PoweredDevice>(loop_, power_, disk_, options_.discard_latency);
  store::StoreOptions options;
  options.journal_bytes = options_.journal_bytes;
  options.grow_bytes = options_.grow_bytes;
  options.size_bytes = options_.size_bytes;
  options.open_ring = [this](const std::string& directory, bool create) {
    return open_ring(directory, create);
  };
  options.remove_ring = [this](const std::string& directory) { return remove_ring(directory); };
  if (options_.index_latency != Duration{}) {
    options.offload = [this](std::move_only_function<Status()> call) {
      return run_late(&loop_, options_.index_latency, std::move(call));
    };
  }
  if (options_.tune) options_.tune(&options);
  Result<std::unique_ptr<store::PieceStore>> opened =
      loop_.run(store::PieceStore::open(&loop_, device_.get(), &kv_, log_.get(), options));
  if (!opened.has_value()) {
    device_.reset();
    return fail(std::move(opened).error());
  }
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

void StoreWorld::crash(std::uint64_t seed, Fate fate) {
  if (power_.up()) power_.end_now(fate, seed);
  bury();
}

Result<std::unique_ptr<io::BlockDevice>> StoreWorld::open_ring(const std::string& directory,
                                                               bool create) {
  if (!power_.up()) return fail(Code::kJournalFailed, "the simulated power was cut");
  RingFile& file = rings_[directory];
  if (!file.exists && !create) {
    return fail(Code::kNotFound, "there is no journal in " + directory);
  }
  if (!file.exists) {
    file.disk = std::make_unique<io::SimDisk>(disk_options(options_.ring_disk_bytes));
    file.exists = true;
    power_.add(file.disk.get());
  }
  return std::unique_ptr<io::BlockDevice>(
      std::make_unique<PoweredDevice>(loop_, power_, *file.disk, options_.discard_latency));
}

Status StoreWorld::remove_ring(const std::string& directory) {
  if (!power_.up()) return fail(Code::kJournalFailed, "the simulated power was cut");
  lose_ring(directory);
  return {};
}

io::SimDisk* StoreWorld::ring_disk(const std::string& directory) {
  const auto it = rings_.find(directory);
  return it == rings_.end() || !it->second.exists ? nullptr : it->second.disk.get();
}

std::vector<std::string> StoreWorld::ring_files() const {
  std::vector<std::string> names;
  for (const auto& [directory, file] : rings_) {
    if (file.exists) names.push_back(directory);
  }
  return names;
}

void StoreWorld::lose_ring(const std::string& directory) {
  const auto it = rings_.find(directory);
  if (it == rings_.end() || !it->second.exists) return;
  power_.remove(it->second.disk.get());
  removed_.push_back(std::move(it->second.disk));
  rings_.erase(it);
}

std::optional<Buffer> StoreWorld::read_raw(const std::string& directory, DiskOffset at,
                                           ByteCount bytes) {
  CHECK(store_ == nullptr);
  io::SimDisk* disk = directory.empty() ? &disk_ : ring_disk(directory);
  if (disk == nullptr) return std::nullopt;
  const std::unique_ptr<io::BlockDevice> device = disk->attach(loop_);
  if (at.raw() + bytes > device->size()) return std::nullopt;
  Buffer block = Buffer::allocate(bytes);
  const Status read = loop_.run(device->read(at, block.span()));
  disk->kill();
  if (!read.has_value()) return std::nullopt;
  return block;
}

void StoreWorld::write_raw(const std::string& directory, DiskOffset at, const Buffer& bytes) {
  CHECK(store_ == nullptr);
  io::SimDisk* disk = directory.empty() ? &disk_ : ring_disk(directory);
  const std::unique_ptr<io::BlockDevice> device = disk->attach(loop_);
  std::vector<io::DeviceWrite> writes;
  writes.push_back({at, {bytes.span()}});
  CHECK(loop_.run(device->write_durably(std::move(writes))).has_value());
  disk->kill();
}

std::optional<Buffer> StoreWorld::read_beside(DiskOffset at) {
  if (at.raw() + kBlockBytes > device_->size()) return std::nullopt;
  Buffer block = Buffer::allocate(kBlockBytes);
  const Status read = loop_.run(device_->read(at, block.span()));
  if (!read.has_value()) return std::nullopt;
  return block;
}

std::optional<store::RingPlace> StoreWorld::ring_place() {
  std::optional<store::Superblock> newest;
  for (std::uint64_t slot = 0; slot < 2; ++slot) {
    const DiskOffset at(slot * kBlockBytes);
    const std::optional<Buffer> block =
        store_ == nullptr ? read_raw("", at, kBlockBytes) : read_beside(at);
    if (!block.has_value()) continue;
    const Result<std::optional<store::Superblock>> decoded =
        store::decode_superblock(block->span());
    if (!decoded.has_value() || !decoded->has_value()) continue;
    if (!newest.has_value() || (*decoded)->generation > newest->generation) newest = **decoded;
  }
  if (!newest.has_value()) return std::nullopt;
  return newest->ring;
}

void StoreWorld::lend_ring(const std::string& directory, StoreWorld* from) {
  CHECK(from->store_ == nullptr);
  lose_ring(directory);
  RingFile& theirs = from->rings_[directory];
  CHECK(theirs.exists);
  from->power_.remove(theirs.disk.get());
  power_.add(theirs.disk.get());
  rings_[directory] = std::move(theirs);
  from->rings_.erase(directory);
}

void StoreWorld::make_empty_ring(const std::string& directory) {
  RingFile& file = rings_[directory];
  CHECK(!file.exists);
  file.disk = std::make_unique<io::SimDisk>(disk_options(options_.ring_disk_bytes));
  file.exists = true;
  power_.add(file.disk.get());
}

MadePrepare make_prepare(PieceId piece, std::uint64_t version, store::OpId op,
                         std::vector<store::BlockRange> writes, std::vector<std::uint64_t> values,
                         std::vector<store::BlockRange> deltas) {
  MadePrepare made;
  made.request.piece = piece;
  made.request.version = ChunkVersion(version);
  made.request.op = op;
  made.request.participants = 1;
  made.request.create = true;
  made.request.writes = std::move(writes);
  made.request.deltas = std::move(deltas);
  CHECK_EQ(store::total_blocks(made.request.writes) + store::total_blocks(made.request.deltas),
           values.size());
  made.body = Buffer::allocate(values.size() * kBlockBytes);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const MutableBytes block = made.body.span().subspan(i * kBlockBytes, kBlockBytes);
    fill_block(block, values[i]);
    made.request.crcs.push_back(crc32c(block));
  }
  return made;
}

}  // namespace cairn::chunkserver::testing
