// For the tests of repair: a chunk whose pieces lie at chunk servers of their own, each with a real
// store on a simulated disk behind a MemNetwork, and what every block of every piece should be.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "chunkserver/care/fake_door.h"
#include "chunkserver/care/repair_worker.h"
#include "chunkserver/data/data_service.h"
#include "chunkserver/data/decode.h"
#include "chunkserver/testing/power.h"
#include "chunkserver/testing/virtual_loop.h"
#include "common/base/arrival_set.h"
#include "common/net/mem_network.h"

namespace cairn::chunkserver::care::testing {

using chunkserver::testing::PoweredDevice;
using chunkserver::testing::VirtualLoop;
using erasure::PieceMask;
using store::BlockRange;

inline erasure::Encoding encoding_of(std::uint32_t data, std::uint32_t parity) {
  const Result<erasure::Encoding> made = erasure::Encoding::make(data, parity, data);
  CHECK(made.has_value());
  return *made;
}

// One chunk server: a store, and the data plane in front of it, which may be made to lie.
class RepairServer {
 public:
  RepairServer(VirtualLoop& loop, net::MemNetwork& network, net::Address at)
      : loop_(loop), kv_(power_, 1), log_(observe::make_null_log()), group_(loop) {
    power_.add(&disk_);
    open();
    listener_ = std::move(*network.listen(at, [this](std::unique_ptr<net::Stream> stream) {
      group_.spawn(serve(this, std::move(stream)));
    }));
  }
  void open() {
    power_.on();
    device_ = std::make_unique<PoweredDevice>(loop_, power_, disk_, Duration{});
    store::StoreOptions options;
    options.journal_bytes = 1_MiB;
    options.grow_bytes = 8_MiB;
    Result<std::unique_ptr<store::PieceStore>> opened =
        loop_.run(store::PieceStore::open(&loop_, device_.get(), &kv_, log_.get(), options));
    CHECK(opened.has_value());
    store_ = std::move(*opened);
    service_ = std::make_unique<data::DataService>(*store_);
  }
  // After power().end_at() struck, or now; then it lives again. Nothing of it may be under way.
  void restart(std::uint64_t seed) {
    if (power_.up()) power_.end_now(chunkserver::testing::Fate::kBySeed, seed);
    close();
    kv_.crash();
    open();
  }
  void close() {
    const Status closed = loop_.run(store_->close());
    ignore(closed, "its disk may be gone");
    service_.reset();
    store_.reset();
    device_.reset();
  }
  Task<void> stop() {
    listener_->close();
    for (net::Channel* channel : channels_) channel->close();
    co_await group_.join();
  }
  store::PieceStore& store() { return *store_; }
  chunkserver::testing::Power& power() { return power_; }
  io::SimDisk& disk() { return disk_; }

  std::set<std::uint64_t> lies;  // the CRC of these blocks is told wrong
  std::optional<Error> error;
  Duration delay = {};
  std::uint64_t reads = 0;

 private:
  static Task<void> serve(RepairServer* self, std::unique_ptr<net::Stream> stream) {
    net::Channel::Handler handler = [self](std::uint16_t op, net::Payload request) {
      return answer(self, op, std::move(request));
    };
    net::Credentials credentials{"c", "k"};
    const Deadline deadline = self->loop_.after(3s);
    Result<std::unique_ptr<net::Channel>> channel = co_await net::accept_channel(
        self->loop_, std::move(stream), std::move(credentials), std::move(handler), deadline);
    if (!channel.has_value()) co_return;
    self->channels_.insert(channel->get());
    co_await (*channel)->closed();
    (*channel)->close();
    self->channels_.erase(channel->get());
  }
  static Task<Result<net::Payload>> answer(RepairServer* self, std::uint16_t op,
                                           net::Payload request) {
    ++self->reads;
    if (self->delay != Duration{}) co_await runtime::sleep_for(self->loop_, self->delay);
    if (self->error.has_value()) co_return fail(*self->error);
    Result<net::Payload> reply = co_await self->service_->handle(op, std::move(request));
    if (!reply.has_value() || self->lies.empty()) co_return reply;
    pb::ReadReply told;
    CHECK(told.ParseFromString(reply->meta));
    std::size_t nth = 0;
    for (const pb::BlockRange& range : told.present()) {
      for (std::uint64_t b = range.first(); b < range.first() + range.count(); ++b, ++nth) {
        if (self->lies.contains(b)) (*told.mutable_crcs())[nth * 4] ^= 1;
      }
    }
    reply->meta = told.SerializeAsString();
    co_return reply;
  }

  VirtualLoop& loop_;
  chunkserver::testing::Power power_;
  io::SimDisk disk_;
  chunkserver::testing::RestlessKv kv_;
  std::unique_ptr<observe::Log> log_;
  std::unique_ptr<io::BlockDevice> device_;
  std::unique_ptr<store::PieceStore> store_;
  std::unique_ptr<data::DataService> service_;
  std::unique_ptr<net::Listener> listener_;
  ArrivalSet<net::Channel*> channels_;
  runtime::TaskGroup group_;
};

class RepairWorld {
 public:
  static constexpr std::uint64_t kChunk = 7;
  RepairWorld(erasure::Encoding encoding, unsigned target, std::uint64_t piece_blocks = 1024,
              std::uint64_t seed = 1)
      : encoding_(encoding), target_(target), loop_(seed), network_(loop_), prng_(seed) {
    chunk_.set_id(kChunk);
    chunk_.set_inode(70);
    chunk_.set_index(2);
    chunk_.set_version(3);
    chunk_.mutable_encoding()->set_data(encoding.data);
    chunk_.mutable_encoding()->set_parity(encoding.parity);
    chunk_.mutable_encoding()->set_min(encoding.min);
    chunk_.set_cell_bytes(64 * kBlockBytes);
    chunk_.set_piece_bytes(piece_blocks * kBlockBytes);
    for (unsigned i = 0; i < encoding.pieces(); ++i) {
      const net::Address at{"10.0.0." + std::to_string(i + 1), 2600};
      servers_.push_back(std::make_unique<RepairServer>(loop_, network_, at));
      pb::Piece& piece = *chunk_.add_pieces();
      piece.set_index(i);
      piece.set_cs_id(2000 + i);
      piece.set_state(pb::PIECE_CURRENT);
      piece.set_address(at.to_string());
      content_.emplace_back();
    }
    make_worker();
  }
  ~RepairWorld() {
    end_worker();
    for (const auto& server : servers_) {
      loop_.run(server->stop());
      server->close();
    }
  }

  // ---- what the writer does ----
  PieceMask all() const { return (PieceMask{1} << encoding_.pieces()) - 1; }
  PieceMask all_but_target() const { return all() & ~(PieceMask{1} << target_); }
  // New random rows, some of them with holes; taken by the pieces `at`, and decided there.
  void write(const std::vector<BlockRange>& rows, PieceMask at, bool settle = true) {
    ++seq_;
    for (const BlockRange& range : rows) {
      for (std::uint64_t b = range.first; b < range.end(); ++b) make_row(b);
    }
    for (unsigned i = 0; i < encoding_.pieces(); ++i) {
      if ((at >> i & 1U) == 0) continue;
      ASSERT_TRUE(prepare(i, rows, seq_).has_value());
      if (settle) {
        ASSERT_TRUE(settle_at(i, epoch_, seq_ + 1).has_value());
      }
    }
  }
  // From now on these data pieces get zeros only.
  void set_zeros(PieceMask pieces) { zeros_ = pieces; }
  // What the piece should have in these blocks, as one op of it.
  Status prepare(unsigned piece, const std::vector<BlockRange>& rows, std::uint64_t seq) {
    store::PrepareRequest request = op(piece, seq);
    Buffer body = Buffer::allocate(store::total_blocks(rows) * kBlockBytes);
    std::size_t at = 0;
    for (const BlockRange& range : rows) {
      for (std::uint64_t b = range.first; b < range.end(); ++b) {
        const auto block = content_[piece].find(b);
        if (block == content_[piece].end()) {
          request.zeroes.push_back({b, 1});
          continue;
        }
        request.writes.push_back({b, 1});
        const Bytes bytes = std::as_const(block->second).span();
        request.crcs.push_back(crc32c(bytes));
        std::memcpy(body.data() + at, bytes.data(), kBlockBytes);
        at += kBlockBytes;
      }
    }
    return put(piece, std::move(request), body.slice(0, at));
  }
  // An op of noise that only this piece has.
  Status stray(unsigned piece, const std::vector<BlockRange>& rows, bool deltas,
               std::uint64_t seq) {
    store::PrepareRequest request = op(piece, seq);
    (deltas ? request.deltas : request.writes) = rows;
    const std::uint64_t count = store::total_blocks(rows);
    Buffer body = Buffer::allocate(count * kBlockBytes);
    for (std::uint64_t i = 0; i < count; ++i) {
      const Buffer noise = random_block(prng_.next());
      std::memcpy(body.data() + i * kBlockBytes, noise.data(), kBlockBytes);
      request.crcs.push_back(crc32c(noise.span()));
    }
    return put(piece, std::move(request), std::move(body));
  }
  store::PrepareRequest op(unsigned piece, std::uint64_t seq) const {
    store::PrepareRequest request;
    request.piece = id(piece);
    request.version = ChunkVersion(chunk_.version());
    request.op = {LeaseEpoch(epoch_), OpSeq(seq)};
    request.participants = all();
    request.create = true;
    return request;
  }
  Status put(unsigned piece, store::PrepareRequest request, Buffer body) {
    return loop_.run(servers_[piece]->store().prepare(std::move(request), std::move(body)));
  }
  Status settle_at(unsigned piece, std::uint64_t epoch, std::uint64_t below) {
    return loop_.run(servers_[piece]->store().settle(id(piece), {LeaseEpoch(epoch), OpSeq(below)}));
  }

  // ---- what the master does ----
  void lose_target() {
    place(target_).set_state(pb::PIECE_MISSING);
    chunk_.set_version(chunk_.version() + 1);
  }
  // Every attempt has a version of its own.
  pb::Repair request(layout::RegionMask regions, bool whole = false) {
    if (attempts_++ != 0) chunk_.set_version(chunk_.version() + 1);
    pb::Repair repair;
    *repair.mutable_chunk() = chunk_;
    repair.set_piece(target_);
    repair.set_version(chunk_.version() + 1);
    repair.set_epoch(epoch_);
    repair.set_first_seq(seq_ + 1);
    repair.set_regions(regions);
    repair.set_whole(whole);
    repair.set_blocks(piece_blocks());
    return repair;
  }
  Result<pb::RepairReply> repair(layout::RegionMask regions, bool whole = false) {
    return loop_.run(worker_->repair(request(regions, whole)));
  }
  pb::Piece& place(unsigned piece) { return *chunk_.mutable_pieces(static_cast<int>(piece)); }

  // ---- what is there ----
  void expect_right(unsigned piece) {
    store::PieceStore& store = servers_[piece]->store();
    for (std::uint64_t first = 0; first < piece_blocks(); first += store::kReadBlocksMax) {
      std::vector<BlockRange> ranges{
          {first, std::min(store::kReadBlocksMax, piece_blocks() - first)}};
      const Result<store::ReadAnswer> answer = loop_.run(store.read(id(piece), std::move(ranges)));
      ASSERT_TRUE(answer.has_value()) << answer.error().to_string();
      std::map<std::uint64_t, Bytes> found;
      std::size_t nth = 0;
      for (const BlockRange& range : answer->present) {
        for (std::uint64_t b = range.first; b < range.end(); ++b, ++nth) {
          found[b] = answer->bytes.span().subspan(nth * kBlockBytes, kBlockBytes);
        }
      }
      const Buffer zeros = Buffer::zeroed(kBlockBytes);
      for (std::uint64_t b = first; b < first + store::kReadBlocksMax && b < piece_blocks(); ++b) {
        const auto wanted = content_[piece].find(b);
        const Bytes right =
            wanted == content_[piece].end() ? zeros.span() : std::as_const(wanted->second).span();
        const Bytes is = found.contains(b) ? found[b] : zeros.span();
        ASSERT_EQ(std::memcmp(is.data(), right.data(), kBlockBytes), 0)
            << "block " << b << " of piece " << piece;
      }
    }
  }
  void expect_consistent() {
    loop_.run_for(20s);
    loop_.run(target().store().quiesce());
    EXPECT_TRUE(target().store().check_consistency().has_value());
  }
  Result<store::PieceStatusAnswer> status(unsigned piece) {
    loop_.run(servers_[piece]->store().quiesce());
    return loop_.run(servers_[piece]->store().status(id(piece)));
  }
  static PieceId id(unsigned piece) { return piece_id(kChunk, static_cast<std::uint8_t>(piece)); }
  std::uint64_t piece_blocks() const { return chunk_.piece_bytes() / kBlockBytes; }

  // The target's process begins anew.
  void restart_target(std::uint64_t seed) {
    end_worker();
    servers_[target_]->restart(seed);
    make_worker();
  }
  void make_worker() {
    worker_ = std::make_unique<RepairWorker>(loop_, network_, net::Credentials{"c", "k"},
                                             servers_[target_]->store(), log_, 2000 + target_);
  }
  void end_worker() {
    loop_.run(worker_->stop());
    worker_.reset();
  }

  RepairServer& server(unsigned piece) { return *servers_[piece]; }
  RepairServer& target() { return *servers_[target_]; }
  RepairWorker& worker() { return *worker_; }
  VirtualLoop& loop() { return loop_; }
  net::MemNetwork& network() { return network_; }
  KeptLog& log() { return log_; }
  pb::Chunk& chunk() { return chunk_; }
  std::uint64_t seq() const { return seq_; }
  std::uint64_t epoch() const { return epoch_; }
  void begin_epoch() {
    ++epoch_;
    seq_ = 0;
  }

 private:
  void make_row(std::uint64_t block) {
    std::vector<Buffer> row;
    std::vector<const std::byte*> data;
    std::vector<std::byte*> parity;
    for (unsigned i = 0; i < encoding_.pieces(); ++i) row.push_back(Buffer::zeroed(kBlockBytes));
    const bool hole = prng_.chance(100);
    for (unsigned i = 0; i < encoding_.data; ++i) {
      const bool zeros = hole || (zeros_ >> i & 1U) != 0 || prng_.chance(200);
      if (!zeros) row[i] = random_block(prng_.next());
      data.push_back(row[i].data());
    }
    for (unsigned i = encoding_.data; i < encoding_.pieces(); ++i) parity.push_back(row[i].data());
    erasure::Codec::get(encoding_.data, encoding_.parity)->encode(data, parity, kBlockBytes);
    const Buffer zeros = Buffer::zeroed(kBlockBytes);
    for (unsigned i = 0; i < encoding_.pieces(); ++i) {
      const bool empty = std::memcmp(row[i].data(), zeros.data(), kBlockBytes) == 0;
      if (empty) {
        content_[i].erase(block);
      } else {
        content_[i][block] = row[i];
      }
    }
  }

  const erasure::Encoding encoding_;
  const unsigned target_;
  VirtualLoop loop_;
  net::MemNetwork network_;
  KeptLog log_;
  Prng prng_;
  pb::Chunk chunk_;
  unsigned attempts_ = 0;
  std::uint64_t epoch_ = 5;
  std::uint64_t seq_ = 0;
  PieceMask zeros_ = 0;
  std::vector<std::unique_ptr<RepairServer>> servers_;
  std::vector<std::map<std::uint64_t, Buffer>> content_;
  std::unique_ptr<RepairWorker> worker_;
};

}  // namespace cairn::chunkserver::care::testing
