#include "chunkserver/inspect/inspection.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "chunkserver/inspect/frozen_device.h"
#include "chunkserver/inspect/frozen_kv.h"
#include "chunkserver/store/ring_scan.h"
#include "chunkserver/store/store_files.h"
#include "common/base/crc32c.h"
#include "common/cluster/durable_file.h"
#include "common/kv/rocks_kv.h"
#include "common/runtime/asio_runtime.h"
#include "common/runtime/run_blocking.h"

namespace cairn::chunkserver::inspect {
namespace {

// Of decoded rows: those of one piece after the other.
constexpr ByteCount kRowCacheBytes = 16_MiB;

// Keeps a daemon from starting while we look; there is no lock where none ever ran.
Result<int> hold_lock(const std::string& repository) {
  const std::string path = repository + "/lock";
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0 && errno == ENOENT) return -1;
  if (file < 0) return fail(cairn::cluster::system_error(errno, "open", path));
  if (::flock(file, LOCK_SH | LOCK_NB) == 0) return file;
  const int number = errno;
  char holder[24] = {};
  const ssize_t n = ::pread(file, holder, sizeof holder - 1, 0);
  ::close(file);
  if (number != EWOULDBLOCK) return fail(cairn::cluster::system_error(number, "lock", path));
  std::string_view process(holder, n > 0 ? static_cast<std::size_t>(n) : 0);
  process = process.substr(0, process.find_first_not_of("0123456789"));
  return fail(Code::kBusy, fmt::format("a chunk server is running on {} (process {})", repository,
                                       process.empty() ? "?" : process));
}

Result<std::unique_ptr<kv::RocksKv>> open_index(const std::string& repository) {
  kv::RocksKv::Options read_only;
  read_only.create = false;
  read_only.read_only = true;
  Result<std::unique_ptr<kv::RocksKv>> index = kv::RocksKv::open(repository + "/index", read_only);
  if (index.has_value() || index.error().code() != Code::kNotFound) return index;
  if (::access((repository + "/initialized").c_str(), F_OK) == 0) {
    return fail(Code::kCorrupt, "the index is lost: " + index.error().message());
  }
  return fail(Code::kNotFound, "the chunk server of " + repository +
                                   " was made but never started: it holds nothing");
}

// Is the file the ring that the superblock speaks of?
bool is_ring(runtime::AsioRuntime& runtime, FrozenDevice& file, const store::Superblock& store) {
  if (file.size() < kBlockBytes) return false;
  Buffer block = Buffer::allocate(kBlockBytes);
  const Status read = runtime::run_blocking(runtime, file.read(DiskOffset(0), block.span()));
  if (!read.has_value()) return false;
  const Result<store::RingHeader> header = store::decode_ring_header(std::as_const(block).span());
  return header.has_value() && header->store_id == store.store_id && header->ring == store.ring.id;
}

std::string describe(const Error& error) {
  return error.message().empty() ? std::string(code_name(error.code())) : error.message();
}

}  // namespace

struct Inspection::Parts {
  ~Parts() {
    if (lock >= 0) ::close(lock);
  }
  // The ring file, wherever it is now.
  Result<std::unique_ptr<io::BlockDevice>> open_ring(const std::string& directory) {
    std::vector<std::string> places = options.journal_directories;
    if (places.empty()) places.push_back(directory);
    std::unique_ptr<FrozenDevice> found;
    std::optional<Error> error;
    for (const std::string& place : places) {
      const std::string path = fmt::format("{}/{}", place, store::kRingFileName);
      Result<std::unique_ptr<FrozenDevice>> file = FrozenDevice::open(runtime, path);
      if (!file.has_value()) {
        error = file.error();
        continue;
      }
      const bool right = is_ring(runtime, **file, *summary.superblock);
      // A wrong one is better than none: the store says what is wrong with it.
      if (right || found == nullptr) found = std::move(*file);
      if (right) break;
    }
    if (found == nullptr) return fail(std::move(*error));
    return std::unique_ptr<io::BlockDevice>(std::move(found));
  }

  Options options;
  int lock = -1;
  runtime::AsioRuntime runtime;
  std::unique_ptr<kv::RocksKv> index;
  std::unique_ptr<FrozenKv> rows;
  std::unique_ptr<FrozenDevice> data;
  Summary summary;
  store::RecoveredStore store;
};

Inspection::Inspection(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {
  summary_ = parts_->summary;
}
Inspection::~Inspection() = default;

Result<std::unique_ptr<Inspection>> Inspection::open(Options options) {
  auto parts = std::make_unique<Parts>();
  Parts& p = *parts;
  p.options = std::move(options);
  p.summary.repository = p.options.repository;
  p.summary.without_journal = p.options.without_journal;
  TRY(p.summary.identity, cairn::cluster::CsRepository::load(p.options.repository));
  TRY(p.lock, hold_lock(p.options.repository));
  TRY(p.index, open_index(p.options.repository));
  p.rows = std::make_unique<FrozenKv>(*p.index);
  Result<std::unique_ptr<FrozenDevice>> data =
      FrozenDevice::open(p.runtime, p.options.repository + "/data");
  if (!data.has_value() && data.error().code() == Code::kNotFound) {
    return fail(Code::kCorrupt,
                "the data file is lost, or its drive is not there: " + data.error().message());
  }
  TRY(p.data, std::move(data));
  p.summary.data_bytes = p.data->size();
  TRY_VOID(load(p));
  return std::unique_ptr<Inspection>(new Inspection(std::move(parts)));
}

Status Inspection::load_superblock(Parts& p) {
  Result<std::optional<store::Superblock>> read =
      runtime::run_blocking(p.runtime, store::read_superblock(p.data.get()));
  if (read.has_value() && !read->has_value()) {
    read = fail(Code::kCorrupt,
                "the begin of the data file is empty: it was never used, or it is overwritten");
  }
  if (read.has_value()) {
    p.summary.superblock = std::move(**read);
    return {};
  }
  // The index alone tells where the pieces lie.
  if (p.options.without_journal && read.error().code() == Code::kCorrupt) return {};
  return fail(read.error());
}

Status Inspection::load(Parts& p) {
  TRY(const std::optional<std::string> position, p.rows->get(store::kPositionKey));
  if (!position.has_value()) {
    return fail(Code::kCorrupt, "the index is damaged: it has no journal position");
  }
  TRY(p.summary.position, store::decode_position(*position));
  TRY_VOID(load_superblock(p));
  store::PieceTable::Options table;
  table.cache_bytes = kRowCacheBytes;
  if (p.options.without_journal) {
    TRY(const store::Counters counters, store::load_counters(*p.rows));
    p.store.table = std::make_unique<store::PieceTable>(p.runtime, *p.rows, counters, table);
  } else {
    store::RecoveryOptions recovery;
    recovery.ring.blocks = store::kRingBlocksMin;  // of a new store: this is none
    recovery.keep_bytes = 0;
    recovery.table = table;
    recovery.open_ring = [&p](const std::string& directory, bool) {
      return p.open_ring(directory);
    };
    recovery.remove_ring = [](const std::string&) { return Status(); };
    TRY(p.store,
        runtime::run_blocking(p.runtime, store::recover(&p.runtime, p.data.get(), p.rows.get(),
                                                        std::move(recovery))));
  }
  p.summary.counters = p.store.table->counters();
  p.summary.batches = p.store.batches;
  p.summary.dropped = p.store.dropped;
  p.summary.homeless = p.store.homes.homeless();
  return {};
}

Status Inspection::for_each_piece(const VisitPiece& visit) const {
  Status status;
  const auto each = [&](std::string_view key, std::string_view value) {
    const Result<PieceId> piece = store::parse_piece_key(key);
    status =
        piece.has_value() ? visit(*piece, store::decode_piece_row(value)) : fail(piece.error());
    return status.has_value();
  };
  // The recovery left every change in the Kv.
  TRY_VOID(parts_->rows->scan(store::kPiecePrefix, kv::prefix_end(store::kPiecePrefix), each));
  return status;
}

Result<std::optional<store::PieceRow>> Inspection::row(PieceId piece) const {
  return store::load_piece(*parts_->rows, piece);
}

Result<std::vector<std::uint32_t>> Inspection::segments(PieceId piece, const store::PieceRow& row) {
  store::PieceTable& table = *parts_->store.table;
  table.trim();
  std::vector<std::uint32_t> numbers;
  if (row.blocks != 0) {
    TRY(numbers, table.segments_of(piece));
  }
  for (const store::PendingOp& op : row.pending) {
    for (const std::vector<store::BlockRange>* ranges : {&op.writes, &op.deltas}) {
      for (const store::BlockRange& range : *ranges) {
        for (std::uint64_t n = range.first / store::kSegmentBlocks;
             n * store::kSegmentBlocks < range.end(); ++n) {
          numbers.push_back(static_cast<std::uint32_t>(n));
        }
      }
    }
  }
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  return numbers;
}

Result<std::vector<store::LocatedBlock>> Inspection::located(PieceId piece,
                                                             const store::PieceRow& row,
                                                             std::uint32_t segment) {
  return store::locate(*parts_->store.table, piece, row,
                       {{segment * store::kSegmentBlocks, store::kSegmentBlocks}});
}

std::optional<std::string> Inspection::read_layer(const store::BlockPlace& place,
                                                  MutableBytes into) {
  const store::HomeMap::Place* const in_ring = parts_->store.homes.find(place.disk);
  Task<Status> reading = in_ring != nullptr
                             ? parts_->store.ring->read(in_ring->ring_block, into)
                             : parts_->data->read(DiskOffset(place.disk * kBlockBytes), into);
  const Status read = runtime::run_blocking(parts_->runtime, std::move(reading));
  if (!read.has_value()) return describe(read.error());
  if (crc32c(into) == place.crc) return std::nullopt;
  if (in_ring != nullptr) {
    return fmt::format("block {} of the journal: wrong checksum", in_ring->ring_block);
  }
  return fmt::format("disk block {}: wrong checksum{}", place.disk,
                     summary_.without_journal ? " (maybe only the journal had it)" : "");
}

PieceBlocks Inspection::read(const std::vector<store::LocatedBlock>& blocks) {
  PieceBlocks read;
  read.bytes = Buffer::zeroed(blocks.size() * kBlockBytes);
  Buffer layer = Buffer::allocate(kBlockBytes);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const MutableBytes into = read.bytes.span().subspan(i * kBlockBytes, kBlockBytes);
    std::optional<std::string> trouble;
    if (blocks[i].base.disk != 0) trouble = read_layer(blocks[i].base, into);
    for (const store::BlockPlace& delta : blocks[i].deltas) {
      if (trouble.has_value()) break;
      trouble = read_layer(delta, layer.span());
      for (std::size_t b = 0; b < kBlockBytes; ++b) into[b] ^= layer.span()[b];
    }
    if (trouble.has_value()) std::memset(into.data(), 0, into.size());
    read.blocks.push_back(blocks[i].block);
    read.missing.push_back(trouble.value_or(""));
  }
  return read;
}

Status Inspection::for_each_batch(const std::function<Status(const store::Batch& batch)>& visit) {
  if (parts_->options.without_journal) return {};
  // The ring as it lies on the disk: what our recovery wrote, it wrote to the index only.
  const store::TablePosition& position = summary_.position;
  store::JournalPosition from = position.tail;
  if (position.ring != summary_.superblock->ring.id) from.next_block = 0;
  store::RingScan scan(*parts_->store.ring, from);
  for (;;) {
    TRY(const std::optional<store::Batch> batch,
        runtime::run_blocking(parts_->runtime, scan.next()));
    if (!batch.has_value()) return {};
    TRY_VOID(visit(*batch));
  }
}

}  // namespace cairn::chunkserver::inspect
