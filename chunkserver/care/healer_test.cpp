// The healer between a store in memory, other chunk servers over a MemNetwork, and a master.
#include "chunkserver/care/healer.h"

#include <gtest/gtest.h>

#include "chunkserver/care/fake_peers.h"
#include "chunkserver/testing/virtual_loop.h"

namespace cairn::chunkserver::care {
namespace {

using observe::Severity;
using testing::FakeDoor;
using testing::FakePeer;
using testing::piece_id;
using testing::random_block;

constexpr std::uint32_t kOwnId = 1025;
constexpr std::uint64_t kChunk = 7;

erasure::Encoding code(std::uint32_t data, std::uint32_t parity, std::uint32_t min) {
  const Result<erasure::Encoding> encoding = erasure::Encoding::make(data, parity, min);
  CHECK(encoding.has_value());
  return *encoding;
}

net::Address address_of(unsigned piece) { return {"10.0.0." + std::to_string(piece + 1), 2600}; }

// Chunk 7: our piece and the others, each at its own chunk server, with content by row.
class HealerTest : public ::testing::Test {
 protected:
  HealerTest() : loop_(1), network_(loop_), master_(loop_), door_(loop_) {}
  ~HealerTest() override {
    stop();
    for (const auto& peer : peers_) {
      if (peer != nullptr) loop_.run(peer->stop());
    }
  }

  void make_chunk(const erasure::Encoding& encoding, std::uint8_t own) {
    encoding_ = encoding;
    own_ = piece_id(kChunk, own);
    pb::Chunk& chunk = master_.chunks[kChunk];
    chunk.set_id(kChunk);
    chunk.set_version(3);
    chunk.mutable_encoding()->set_data(encoding.data);
    chunk.mutable_encoding()->set_parity(encoding.parity);
    chunk.mutable_encoding()->set_min(encoding.min);
    for (unsigned i = 0; i < encoding.pieces(); ++i) {
      pb::Piece& piece = *chunk.add_pieces();
      piece.set_index(i);
      piece.set_cs_id(i == own ? kOwnId : 2000 + i);
      piece.set_state(pb::PIECE_CURRENT);
      piece.set_address(address_of(i).to_string());
      peers_.push_back(i == own ? nullptr
                                : std::make_unique<FakePeer>(loop_, network_, address_of(i)));
      if (i != own) peers_[i]->content[peer_piece(i)];
    }
  }
  static PieceId peer_piece(unsigned i) { return piece_id(kChunk, static_cast<std::uint8_t>(i)); }
  pb::Piece& place(unsigned piece) {
    return *master_.chunks[kChunk].mutable_pieces(static_cast<int>(piece));
  }

  // The row's blocks at all pieces, ours damaged. Data pieces of `holes` are zeros.
  void make_row(std::uint64_t block, std::uint64_t seed, erasure::PieceMask holes = 0) {
    std::vector<Buffer> row;
    std::vector<const std::byte*> data;
    std::vector<std::byte*> parity;
    for (unsigned i = 0; i < encoding_.data; ++i) {
      row.push_back((holes >> i & 1U) != 0 ? Buffer::zeroed(kBlockBytes)
                                           : random_block(seed * 1000 + i));
      data.push_back(row.back().data());
    }
    for (unsigned i = 0; i < encoding_.parity; ++i) {
      row.push_back(Buffer::copy_of(std::as_const(row[0]).span()));
      parity.push_back(row.back().data());
    }
    if (!encoding_.is_replicas()) {
      erasure::Codec::get(encoding_.data, encoding_.parity)->encode(data, parity, kBlockBytes);
    }
    for (unsigned i = 0; i < encoding_.pieces(); ++i) {
      if (peers_[i] == nullptr) continue;
      if ((holes >> i & 1U) == 0) {
        peers_[i]->content[peer_piece(i)][block] = row[i];
      } else {
        peers_[i]->content[peer_piece(i)].erase(block);
      }
    }
    right_[block] = row[own_.index.raw()];
    door_.damage(own_, block, crc32c(std::as_const(right_[block]).span()));
  }

  void start(HealerOptions options = {}) {
    options.cluster_id = 9;
    options.cs_id = kOwnId;
    options.repo_uuid = 77;
    healer_ = std::make_unique<Healer>(loop_, network_, testing::kCredentials, master_, door_, log_,
                                       options);
    healer_->start();
  }
  void stop() {
    if (healer_ != nullptr) loop_.run(healer_->stop());
    healer_.reset();
  }
  void expect_healed() {
    EXPECT_TRUE(door_.known.empty()) << door_.known.size() << " left";
    for (const auto& [block, content] : right_) {
      const std::optional<Buffer>& healed = door_.content[own_][block].healed;
      ASSERT_TRUE(healed.has_value()) << "block " << block;
      EXPECT_EQ(std::memcmp(healed->data(), content.data(), kBlockBytes), 0);
    }
    EXPECT_EQ(healer_->figures().undoable, 0U);
  }

  testing::KeptLog log_;
  chunkserver::testing::VirtualLoop loop_;
  net::MemNetwork network_;
  testing::FakeMaster master_;
  FakeDoor door_;
  erasure::Encoding encoding_;
  PieceId own_;
  std::vector<std::unique_ptr<FakePeer>> peers_;
  std::map<std::uint64_t, Buffer> right_;
  std::unique_ptr<Healer> healer_;
};

TEST_F(HealerTest, CopiesFromAReplica) {
  make_chunk(code(1, 2, 2), 1);
  make_row(0, 1);
  make_row(5, 2);
  start();
  loop_.run_for(3s);
  expect_healed();
  EXPECT_EQ(healer_->figures().healed, 2U);
  EXPECT_EQ(peers_[0]->reads + peers_[2]->reads, 1U) << "one source is enough";
  EXPECT_EQ(log_.count(Severity::kInfo,
                       "healed 2 damaged blocks of piece 7.1 (0, 5) from pieces 0 "
                       "(10.0.0.1:2600)"),
            1U);
  EXPECT_EQ(master_.last.cluster_id(), 9U);
  EXPECT_EQ(master_.last.cs_id(), kOwnId);
  EXPECT_EQ(master_.last.repo_uuid(), 77U);
}

TEST_F(HealerTest, DecodesFromAsFewPiecesAsNeeded) {
  make_chunk(code(4, 2, 5), 5);
  for (std::uint64_t block = 10; block < 20; ++block) make_row(block, block);
  start();
  loop_.run_for(3s);
  expect_healed();
  for (unsigned i = 0; i < 4; ++i) EXPECT_EQ(peers_[i]->reads, 1U);
  EXPECT_EQ(peers_[4]->reads, 0U);
}

class HealerCodes : public HealerTest,
                    public ::testing::WithParamInterface<std::pair<unsigned, unsigned>> {};

TEST_P(HealerCodes, HealWithAsManyPiecesLostAsTheCodeAllows) {
  const auto [data, parity] = GetParam();
  const erasure::Encoding encoding = code(data, parity, data);
  Prng prng(data * 100 + parity);
  make_chunk(encoding, static_cast<std::uint8_t>(prng.below(encoding.pieces())));
  for (std::uint64_t block = 0; block < 5; ++block) {
    make_row(block, block, prng.below(2) == 0 ? 1U : 0U);
  }
  unsigned away = parity - 1;  // ours is one
  while (away > 0) {
    const auto piece = static_cast<unsigned>(prng.below(encoding.pieces()));
    if (piece == own_.index.raw() || place(piece).state() == pb::PIECE_MISSING) continue;
    place(piece).set_state(pb::PIECE_MISSING);
    --away;
  }
  start();
  loop_.run_for(5s);
  expect_healed();
}
INSTANTIATE_TEST_SUITE_P(Sampled, HealerCodes,
                         ::testing::Values(std::pair(1U, 1U), std::pair(1U, 14U), std::pair(2U, 1U),
                                           std::pair(3U, 2U), std::pair(4U, 2U), std::pair(5U, 3U),
                                           std::pair(7U, 4U), std::pair(10U, 4U),
                                           std::pair(16U, 2U), std::pair(17U, 4U)));

TEST_F(HealerTest, UnwrittenPiecesAndHolesAreZeros) {
  make_chunk(code(3, 1, 3), 0);
  make_row(4, 1, 0b110);  // pieces 1 and 2 have holes
  make_row(6, 2, 0b010);
  place(1).set_state(pb::PIECE_UNWRITTEN);
  place(1).clear_address();
  peers_[1]->content.clear();
  start();
  loop_.run_for(3s);
  expect_healed();
  EXPECT_EQ(peers_[1]->reads, 0U);
}

TEST_F(HealerTest, BlocksThatShouldBeZeroAreHealedToo) {
  make_chunk(code(1, 1, 1), 0);
  make_row(3, 1, 0b11);
  start();
  loop_.run_for(3s);
  expect_healed();
}

TEST_F(HealerTest, ASourceThatLiesIsFoundOut) {
  make_chunk(code(4, 2, 4), 0);
  for (std::uint64_t block = 0; block < 30; ++block) make_row(block, block);
  // Wrong bytes, and the CRC of the wrong bytes.
  for (auto& [block, bytes] : peers_[2]->content[peer_piece(2)]) bytes = random_block(99 + block);
  start();
  loop_.run_for(5s);
  expect_healed();
}

TEST_F(HealerTest, ASourceThatSendsDamagedBlocksIsNotUsed) {
  make_chunk(code(1, 2, 2), 2);
  for (std::uint64_t block = 0; block < 8; ++block) make_row(block, block);
  peers_[0]->sent_damaged = {1, 2, 3};
  start();
  loop_.run_for(5s);
  expect_healed();
  EXPECT_EQ(peers_[1]->reads, 1U);
}

TEST_F(HealerTest, SourcesWithDamageOfTheirOwnStillGiveTheRest) {
  make_chunk(code(2, 1, 2), 0);
  for (std::uint64_t block = 0; block < 200; ++block) make_row(block, block);
  peers_[1]->rotten = {17, 101};
  start();
  loop_.run_for(5s);
  EXPECT_EQ(door_.known.size(), 2U);
  EXPECT_TRUE(door_.known.contains({own_, 17}));
  EXPECT_TRUE(door_.known.contains({own_, 101}));
  EXPECT_EQ(healer_->figures().undoable, 2U);
  peers_[1]->rotten.clear();  // healed over there
  loop_.run_for(60s);
  expect_healed();
}

TEST_F(HealerTest, AWriteUnderWayIsWaitedFor) {
  make_chunk(code(4, 2, 5), 1);
  for (std::uint64_t block = 0; block < 4; ++block) make_row(block, block);
  // An op changed piece 3, but not all parity yet. What is damaged here is untouched by it.
  const Buffer before = peers_[3]->content[peer_piece(3)][2];
  peers_[3]->content[peer_piece(3)][2] = random_block(12345);
  const Buffer p = peers_[4]->content[peer_piece(4)][2];
  const Buffer q = peers_[5]->content[peer_piece(5)][2];
  peers_[4]->content[peer_piece(4)][2] = random_block(1);
  peers_[5]->content[peer_piece(5)][2] = random_block(2);
  start();
  loop_.run_for(12s);
  EXPECT_EQ(door_.known.size(), 1U) << "the other rows are healed";
  EXPECT_EQ(door_.heals, 1) << "and nothing wrong was offered";
  EXPECT_EQ(log_.count(Severity::kWarning, ""), 0U) << "it may be over soon";
  loop_.run_for(60s);
  EXPECT_EQ(log_.count(Severity::kWarning, "does not fit"), 1U) << "then it is said, once";
  // The op was dropped.
  peers_[3]->content[peer_piece(3)][2] = before;
  peers_[4]->content[peer_piece(4)][2] = p;
  peers_[5]->content[peer_piece(5)][2] = q;
  loop_.run_for(kHealRetryMost);
  expect_healed();
}

TEST_F(HealerTest, DamageThatCannotBeUndoneIsSaidOnceWithWhatIsMissing) {
  make_chunk(code(3, 2, 3), 0);
  make_row(8, 1);
  make_row(9, 2);
  place(1).set_state(pb::PIECE_MISSING);
  place(2).clear_address();
  start();
  loop_.run_for(3600s);
  EXPECT_EQ(door_.known.size(), 2U);
  EXPECT_EQ(healer_->figures().undoable, 2U);
  EXPECT_EQ(log_.count(Severity::kWarning, ""), 1U);
  EXPECT_EQ(log_.count(Severity::kWarning, "2 damaged blocks of piece 7.0 (8-9) cannot be healed"),
            1U);
  EXPECT_EQ(log_.count(Severity::kWarning,
                       "2 of 3 pieces needed: piece 1 is missing; piece 2 is at CS 2002"),
            1U);
  EXPECT_LT(master_.calls, 30U) << "it is not asked all the time";
  place(2).set_address(address_of(2).to_string());
  loop_.run_for(kHealRetryMost + 1s);
  expect_healed();
}

TEST_F(HealerTest, PeersThatHangOrAreAwayCostTimeOnly) {
  make_chunk(code(5, 3, 5), 0);
  for (std::uint64_t block = 0; block < 5; ++block) make_row(block, block);
  peers_[1]->delay = 100s;
  network_.set_unreachable(address_of(2), true);
  start();
  loop_.run_for(15s);
  expect_healed();
  for (unsigned i = 3; i < 8; ++i) EXPECT_EQ(peers_[i]->reads, 1U);
}

TEST_F(HealerTest, AWholePieceIsHealedInRunsAtItsRate) {
  make_chunk(code(1, 1, 1), 0);
  for (std::uint64_t block = 0; block < 4000; ++block) make_row(block, block);
  HealerOptions options;
  options.bytes_a_second = 1_MiB;
  start(options);
  loop_.run_for(8s);
  const std::uint64_t after8 = healer_->figures().healed;
  EXPECT_GT(after8, 1500U);
  EXPECT_LT(after8, 2900U);
  loop_.run_for(12s);
  expect_healed();
  EXPECT_EQ(door_.heals, 16);
  EXPECT_LE(door_.most_in_flight, static_cast<int>(kHealsAtOnce));
  EXPECT_EQ(peers_[1]->connections, 1U);
}

TEST_F(HealerTest, ManyDamagedPiecesAreHealedAFewAtATime) {
  make_chunk(code(1, 1, 1), 0);
  make_row(0, 1);
  const pb::Chunk chunk = master_.chunks[kChunk];
  for (std::uint64_t id = 100; id < 300; ++id) {
    master_.chunks[id] = chunk;
    master_.chunks[id].set_id(id);
    const Buffer content = random_block(id);
    peers_[1]->content[piece_id(id, 1)][0] = content;
    door_.damage(piece_id(id, 0), 0, crc32c(content.span()));
  }
  door_.read_time = 20ms;
  start();
  loop_.run_for(10s);
  EXPECT_TRUE(door_.known.empty());
  EXPECT_EQ(door_.most_in_flight, static_cast<int>(kHealsAtOnce));
}

TEST_F(HealerTest, NothingIsHealedWhileTheStoreIsFenced) {
  make_chunk(code(1, 1, 1), 0);
  make_row(0, 1);
  door_.failed = Error(Code::kDiskFailed, "dead");
  start();
  loop_.run_for(60s);
  EXPECT_EQ(master_.calls, 0U);
  EXPECT_EQ(peers_[1]->reads, 0U);
  EXPECT_EQ(door_.heals, 0);
}

TEST_F(HealerTest, APieceTheMasterDroppedIsLeftAlone) {
  make_chunk(code(1, 1, 1), 0);
  make_row(0, 1);
  for (const int what : {0, 1, 2}) {
    const pb::Chunk whole = master_.chunks[kChunk];
    if (what == 0) place(0).set_state(pb::PIECE_MISSING);
    if (what == 1) place(0).set_cs_id(4711);
    if (what == 2) master_.chunks.clear();
    start();
    loop_.run_for(60s);
    EXPECT_EQ(peers_[1]->reads, 0U) << what;
    EXPECT_EQ(door_.heals, 0) << what;
    stop();
    master_.chunks[kChunk] = whole;
  }
  start();
  loop_.run_for(3s);
  expect_healed();
}

TEST_F(HealerTest, NonsenseOfTheMasterHealsNothing) {
  make_chunk(code(4, 2, 4), 0);
  make_row(0, 1);
  const pb::Chunk whole = master_.chunks[kChunk];
  for (const int what : {0, 1, 2, 3}) {
    pb::Chunk& chunk = master_.chunks[kChunk];
    if (what == 0) chunk.mutable_encoding()->set_data(40);
    if (what == 1) chunk.mutable_pieces()->RemoveLast();
    if (what == 2) chunk.set_id(8);
    if (what == 3) chunk.mutable_pieces(2)->set_index(3);
    start();
    loop_.run_for(20s);
    EXPECT_EQ(door_.heals, 0) << what;
    stop();
    chunk = whole;
  }
}

TEST_F(HealerTest, AMasterThatIsAwayIsAskedAgain) {
  make_chunk(code(1, 1, 1), 0);
  make_row(0, 1);
  master_.error = Error(Code::kUnavailable, "an election");
  start();
  loop_.run_for(3s);
  EXPECT_EQ(door_.heals, 0);
  master_.error.reset();
  loop_.run_for(6s);
  expect_healed();
}

TEST_F(HealerTest, WhatTheStoreRefusesIsTriedAgainLater) {
  make_chunk(code(1, 1, 1), 0);
  make_row(0, 1);
  door_.refuse_heal = Error(Code::kChecksumMismatch, "it was written meanwhile");
  start();
  loop_.run_for(4s);
  EXPECT_EQ(door_.heals, 1);
  door_.refuse_heal = Error(Code::kNoSpace, "full");
  loop_.run_for(60s);
  EXPECT_EQ(log_.count(Severity::kWarning, "full"), 1U);
  door_.refuse_heal.reset();
  loop_.run_for(kHealRetryMost);
  expect_healed();
}

TEST_F(HealerTest, StopsInTheMiddle) {
  make_chunk(code(4, 2, 4), 0);
  for (std::uint64_t block = 0; block < 2000; ++block) make_row(block, block);
  for (unsigned i = 1; i < 6; ++i) peers_[i]->delay = 400ms;
  for (int step = 0; step < 12; ++step) {
    start();
    loop_.run_for(Duration(70ms) * step);
    const Instant before = loop_.now();
    stop();
    EXPECT_LE(loop_.now() - before, 2s);
  }
}

TEST_F(HealerTest, ConnectionsAreClosedWhenUnused) {
  make_chunk(code(1, 1, 1), 0);
  make_row(0, 1);
  start();
  loop_.run_for(3s);
  expect_healed();
  EXPECT_EQ(peers_[1]->connections, 1U);
  loop_.run_for(2 * kPeerIdle);
  make_row(1, 1);
  loop_.run_for(3s);
  expect_healed();
  EXPECT_EQ(peers_[1]->connections, 2U);
}

}  // namespace
}  // namespace cairn::chunkserver::care
