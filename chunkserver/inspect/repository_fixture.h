// What the tests of `cairn inspect` share: repositories on real files, with a store at work on
// them; the files as a kill at that moment would leave them; their bytes, to see that nobody
// changes them.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "chunkserver/inspect/inspection.h"
#include "chunkserver/io/open_device.h"
#include "chunkserver/store/piece_store.h"
#include "chunkserver/testing/store_world.h"
#include "common/base/crc32c.h"
#include "common/kv/rocks_kv.h"
#include "common/runtime/asio_runtime.h"
#include "common/runtime/run_blocking.h"

namespace cairn::chunkserver::inspect {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    path_ = (std::filesystem::temp_directory_path() / "cairn-inspect-XXXXXX").string();
    CHECK(::mkdtemp(path_.data()) != nullptr);
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline cairn::cluster::CsRepository identity_of(std::uint32_t cs) {
  return {.cluster = "stor1",
          .cluster_id = ClusterId::from_raw(77),
          .cs_id = NodeId::from_raw(cs),
          .repo_uuid = cs,
          .host_id = HostId::from_raw(7),
          .host = "box",
          .address = {.host = "127.0.0.1", .port = 0},
          .size_bytes = 0};
}

// Path -> checksum of the content, of everything below.
inline std::map<std::string, std::uint32_t> contents_of(const std::string& directory) {
  std::map<std::string, std::uint32_t> contents;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    contents[entry.path().string()] = crc32c(as_bytes(bytes));
  }
  return contents;
}

inline void copy_tree(const std::string& from, const std::string& to) {
  std::filesystem::copy(from, to, std::filesystem::copy_options::recursive);
}

struct LiveOptions {
  std::uint32_t cs = 1025;
  std::string journal_directory = {};  // empty: in the data file
  ByteCount journal_bytes = 256 * kBlockBytes;
};

// A store at work in a repository. Nothing goes home or is folded by itself.
class LiveStore {
 public:
  explicit LiveStore(std::string directory, LiveOptions options = {})
      : directory_(std::move(directory)) {
    if (!std::filesystem::exists(directory_ + "/cs.conf")) {
      CHECK(identity_of(options.cs).create(directory_).has_value());
      std::ofstream(directory_ + "/lock") << "1\n";
    }
    if (!options.journal_directory.empty()) {
      std::filesystem::create_directories(options.journal_directory);
    }
    index_ = std::move(kv::RocksKv::open(directory_ + "/index").value());
    device_ = open_device(directory_ + "/data", true);
    store::StoreOptions store;
    store.journal_bytes = options.journal_bytes;
    store.journal_directory = options.journal_directory;
    store.open_ring = [this](const std::string& at,
                             bool create) -> Result<std::unique_ptr<io::BlockDevice>> {
      return open_device(at + "/cairn-journal", create);
    };
    store.remove_ring = [](const std::string& at) -> Status {
      std::filesystem::remove(at + "/cairn-journal");
      return {};
    };
    store.grow_bytes = 1_MiB;
    store.home_delay = std::chrono::hours(1);
    store.fold_delay = std::chrono::hours(1);
    store_ = std::move(run(store::PieceStore::open(&runtime_, device_.get(), index_.get(),
                                                   log_.get(), std::move(store)))
                           .value());
    std::ofstream(directory_ + "/initialized") << "1\n";
  }
  ~LiveStore() {
    if (!closed_) store_->fence(Error(Code::kUnavailable, "the test is over"));
    ignore(run(store_->close()), "it is fenced, or closed");
  }
  void close() {
    EXPECT_TRUE(run(store_->close()).has_value());
    closed_ = true;
  }

  template <class T>
  T run(Task<T> task) {
    return runtime::run_blocking(runtime_, std::move(task));
  }
  store::PieceStore& store() { return *store_; }
  runtime::Runtime& runtime() { return runtime_; }
  Status put(testing::MadePrepare made) {
    return run(store_->prepare(std::move(made.request), std::move(made.body)));
  }
  // Everything of the epoch below `seq` is decided.
  void settle(PieceId piece, store::OpId below) {
    EXPECT_TRUE(run(store_->settle(piece, below)).has_value());
    quiesce();
  }
  void quiesce() {
    Task<Status> quiet = quiesced(store_.get());
    EXPECT_TRUE(run(std::move(quiet)).has_value());
  }
  void checkpoint() { EXPECT_TRUE(run(store_->checkpoint()).has_value()); }
  // Everything is at home.
  void commit() { EXPECT_TRUE(run(store_->commit_all()).has_value()); }

  // The files as kill -9 would leave them now. The index apart: RocksDB removes files beside us.
  void leave(const std::string& to) {
    quiesce();
    std::filesystem::create_directories(to);
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
      const std::filesystem::path name = entry.path().filename();
      if (name != "index")
        std::filesystem::copy_file(entry.path(), std::filesystem::path(to) / name);
    }
    ASSERT_TRUE(index_->checkpoint(to + "/index").has_value());
  }

 private:
  std::unique_ptr<io::BlockDevice> open_device(const std::string& path, bool create) {
    return std::move(
        io::open_device(runtime_, path, {.create = create, .allow_uring = false}).value());
  }
  static Task<Status> quiesced(store::PieceStore* store) {
    co_await store->quiesce();
    co_return Status();
  }

  std::string directory_;
  runtime::AsioRuntime runtime_;
  std::unique_ptr<observe::Log> log_ = observe::make_null_log();
  std::unique_ptr<kv::RocksKv> index_;
  std::unique_ptr<io::BlockDevice> device_;
  std::unique_ptr<store::PieceStore> store_;
  bool closed_ = false;
};

// Block -> checksum of its bytes.
using PieceContent = std::map<std::uint64_t, std::uint32_t>;
using StoreContent = std::map<PieceId, PieceContent>;

// What a store serves.
inline StoreContent served(LiveStore& live) {
  StoreContent content;
  std::optional<PieceId> piece;
  for (;;) {
    piece = live.run(live.store().next_piece(piece)).value();
    if (!piece.has_value()) return content;
    PieceContent& blocks = content[*piece];
    const std::vector<store::BlockRange> stored =
        live.run(live.store().stored(*piece, 0, store::kPieceBlocksMax)).value();
    for (const store::BlockRange& range : stored) {
      const store::ReadAnswer answer = live.run(live.store().read(*piece, {range})).value();
      EXPECT_EQ(answer.present, std::vector<store::BlockRange>{range});
      for (std::uint64_t i = 0; i < range.count; ++i) {
        blocks[range.first + i] = crc32c(answer.bytes.span().subspan(i * kBlockBytes, kBlockBytes));
      }
    }
  }
}

// What an inspection shows, without what it says is missing.
inline StoreContent shown(Inspection& inspection, std::uint64_t* missing = nullptr) {
  StoreContent content;
  const Status walked =
      inspection.for_each_piece([&](PieceId piece, const Result<store::PieceRow>& row) -> Status {
        PieceContent& blocks = content[piece];
        TRY(const std::vector<std::uint32_t> segments, inspection.segments(piece, *row));
        for (const std::uint32_t segment : segments) {
          TRY(const std::vector<store::LocatedBlock> located,
              inspection.located(piece, *row, segment));
          const PieceBlocks read = inspection.read(located);
          for (std::size_t i = 0; i < read.blocks.size(); ++i) {
            const Bytes bytes = read.bytes.span().subspan(i * kBlockBytes, kBlockBytes);
            if (read.missing[i].empty()) blocks[read.blocks[i]] = crc32c(bytes);
            if (!read.missing[i].empty() && missing != nullptr) ++*missing;
          }
        }
        return {};
      });
  EXPECT_TRUE(walked.has_value()) << (walked.has_value() ? "" : walked.error().to_string());
  return content;
}

}  // namespace cairn::chunkserver::inspect
