#include "mds/state/keys.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "common/base/prng.h"
#include "proto/log_record.pb.h"

namespace cairn::mds::state::keys {
namespace {

std::string hex(std::string_view bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text.push_back(kDigits[byte >> 4]);
    text.push_back(kDigits[byte & 15]);
  }
  return text;
}

const InodeId kInode = InodeId::from_raw(0x0102);
const ChunkId kChunk = ChunkId::from_raw(0x0a0b0c);
const NodeId kCs = NodeId::from_raw(1025);
const SessionId kSession = SessionId::from_raw(7);

// The bytes are a format: a change here loses every existing cluster.
TEST(Keys, HaveTheirGoldenBytes) {
  EXPECT_EQ(hex(applied()), "41");
  EXPECT_EQ(hex(group()), "47");
  EXPECT_EQ(hex(cluster()), "43");
  EXPECT_EQ(hex(counters()), "4e");
  EXPECT_EQ(hex(inode(kInode)), "490000000000000102");
  EXPECT_EQ(hex(dentry(kInode, "ab")), "4400000000000001026162");
  EXPECT_EQ(hex(xattr(kInode, "user.x")), "580000000000000102757365722e78");
  EXPECT_EQ(hex(chunk(kChunk)), "4b00000000000a0b0c");
  EXPECT_EQ(hex(chunk_at({kInode, 3})), "4d00000000000001020000000000000003");
  EXPECT_EQ(hex(open_chunk({kInode, 3})), "5700000000000001020000000000000003");
  EXPECT_EQ(hex(degraded(kChunk)), "4200000000000a0b0c");
  EXPECT_EQ(hex(piece_on({kCs, kChunk, 5})), "500000040100000000000a0b0c05");
  EXPECT_EQ(hex(piece_count(kCs)), "5400000401");
  EXPECT_EQ(hex(removal({kCs, kChunk, 5})), "520000040100000000000a0b0c05");
  EXPECT_EQ(hex(orphan(kInode)), "4f0000000000000102");
  EXPECT_EQ(hex(lease({kSession, kInode})), "4c00000000000000070000000000000102");
  EXPECT_EQ(hex(session(kSession)), "530000000000000007");
  EXPECT_EQ(hex(reply({kSession, RequestSeq(9)})), "5100000000000000070000000000000009");
  EXPECT_EQ(hex(chunk_server(kCs)), "4800000401");
  EXPECT_EQ(hex(event(10000)), "450000000000002710");
  EXPECT_EQ(hex(setting("a.b")), "56612e62");
  EXPECT_EQ(hex(conversion(kInode)), "590000000000000102");
  EXPECT_EQ(hex(encode_number(0x1122334455667788)), "1122334455667788");
  EXPECT_EQ(hex(encode_removal(7)), "0000000000000007");
  EXPECT_EQ(encode_removal(0), "");
}

TEST(Keys, DecodeWhatTheyEncode) {
  EXPECT_EQ(decode_inode(Table::kInode, inode(kInode)), kInode);
  EXPECT_EQ(decode_inode(Table::kOrphan, orphan(kInode)), kInode);
  EXPECT_EQ(decode_inode(Table::kConversion, conversion(kInode)), kInode);
  const std::string name_key = dentry(kInode, std::string_view("a\0\xff", 3));
  const auto name = decode_name(Table::kDentry, name_key);
  ASSERT_TRUE(name.has_value());
  EXPECT_EQ(name->inode, kInode);
  EXPECT_EQ(name->name, std::string_view("a\0\xff", 3));
  EXPECT_EQ(decode_chunk(Table::kChunk, chunk(kChunk)), kChunk);
  EXPECT_EQ(decode_chunk(Table::kDegraded, degraded(kChunk)), kChunk);
  const auto place = decode_place(Table::kOpenChunk, open_chunk({kInode, UINT64_MAX}));
  ASSERT_TRUE(place.has_value());
  EXPECT_EQ(place->inode, kInode);
  EXPECT_EQ(place->index, UINT64_MAX);
  const auto piece = decode_piece(Table::kRemoval, removal({kCs, kChunk, 20}));
  ASSERT_TRUE(piece.has_value());
  EXPECT_EQ(piece->cs, kCs);
  EXPECT_EQ(piece->chunk, kChunk);
  EXPECT_EQ(piece->piece, 20u);
  EXPECT_EQ(decode_cs(Table::kChunkServer, chunk_server(kCs)), kCs);
  const auto held = decode_lease(lease({kSession, kInode}));
  ASSERT_TRUE(held.has_value());
  EXPECT_EQ(held->session, kSession);
  EXPECT_EQ(held->inode, kInode);
  EXPECT_EQ(decode_session(session(kSession)), kSession);
  const auto stored = decode_reply(reply({kSession, RequestSeq(9)}));
  ASSERT_TRUE(stored.has_value());
  EXPECT_EQ(stored->seq, RequestSeq(9));
  EXPECT_EQ(decode_event(event(12)), 12u);
  EXPECT_EQ(decode_setting("Va.b"), "a.b");
  EXPECT_EQ(decode_number(encode_number(99)), 99u);
  EXPECT_EQ(decode_removal(encode_removal(99)), 99u);
  EXPECT_EQ(decode_removal(encode_removal(0)), 0u);
}

TEST(Keys, RefuseBytesOfAnotherTableOrLength) {
  EXPECT_FALSE(decode_inode(Table::kInode, orphan(kInode)).has_value());
  EXPECT_FALSE(decode_inode(Table::kInode, inode(kInode) + "x").has_value());
  EXPECT_FALSE(decode_inode(Table::kConversion, orphan(kInode)).has_value());
  EXPECT_FALSE(decode_inode(Table::kConversion, conversion(kInode) + "x").has_value());
  EXPECT_FALSE(decode_inode(Table::kConversion, "Y").has_value());
  EXPECT_FALSE(decode_inode(Table::kInode, "").has_value());
  EXPECT_FALSE(decode_name(Table::kDentry, dentry(kInode, "")).has_value());
  EXPECT_FALSE(decode_name(Table::kDentry, xattr(kInode, "a")).has_value());
  EXPECT_FALSE(decode_place(Table::kChunkAt, open_chunk({kInode, 1})).has_value());
  EXPECT_FALSE(decode_piece(Table::kPieceOn, "P").has_value());
  EXPECT_FALSE(decode_cs(Table::kChunkServer, piece_count(kCs)).has_value());
  EXPECT_FALSE(decode_lease(session(kSession)).has_value());
  EXPECT_FALSE(decode_setting("V").has_value());
  EXPECT_FALSE(decode_setting(event(1)).has_value());
  EXPECT_FALSE(decode_number("1234567").has_value());
  EXPECT_FALSE(decode_removal("1234567").has_value());
  EXPECT_FALSE(decode_chunk(Table::kChunk, degraded(kChunk)).has_value());
}

// What a decoder makes of bytes is the key that they are, or nothing.
TEST(Keys, DecodersTakeAnyBytes) {
  Prng prng(5);
  int decoded = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes(prng.below(20), 'Y');
    for (std::size_t at = prng.below(2); at < bytes.size(); ++at) {
      bytes[at] = static_cast<char>(prng.below(256));
    }
    if (const auto id = decode_inode(Table::kConversion, bytes)) {
      EXPECT_EQ(conversion(*id), bytes);
      ++decoded;
    }
    for (const Table table : {Table::kPieceOn, Table::kOpenChunk, Table::kLease, Table::kDentry}) {
      if (!bytes.empty()) bytes[0] = static_cast<char>(table);
      if (const auto at = decode_piece(table, bytes); at && table == Table::kPieceOn) {
        EXPECT_EQ(hex(piece_on(*at)), hex(bytes));
      }
      if (const auto at = decode_place(table, bytes); at && table == Table::kOpenChunk) {
        EXPECT_EQ(hex(open_chunk(*at)), hex(bytes));
      }
      if (const auto at = decode_lease(bytes)) {
        EXPECT_EQ(hex(lease(*at)), hex(bytes));
      }
      if (const auto at = decode_name(table, bytes); at && table == Table::kDentry) {
        EXPECT_EQ(hex(dentry(at->inode, at->name)), hex(bytes));
      }
    }
  }
  EXPECT_GT(decoded, 100);
}

TEST(Keys, OrderAsTheirNumbersDo) {
  const std::vector<std::uint64_t> numbers = {0,     1,          255,        256,
                                              65535, 1ULL << 32, 1ULL << 63, UINT64_MAX};
  for (std::size_t i = 1; i < numbers.size(); ++i) {
    EXPECT_LT(inode(InodeId::from_raw(numbers[i - 1])), inode(InodeId::from_raw(numbers[i])));
    EXPECT_LT(chunk_at({kInode, numbers[i - 1]}), chunk_at({kInode, numbers[i]}));
    EXPECT_LT(event(numbers[i - 1]), event(numbers[i]));
  }
  EXPECT_LT(dentry(kInode, "\xff\xff"), dentry(InodeId::from_raw(kInode.raw() + 1), "a"));
}

// A command as the log keeps it: numbers of fields never change.
TEST(LogRecord, CommandHasItsGoldenBytes) {
  pb::Command command;
  command.set_time_ns(5);
  pb::ClientRequest& request = *command.mutable_client()->mutable_request();
  request.set_session(1);
  request.set_seq(2);
  request.set_answered_below(2);
  pb::MakeNode& op = *request.mutable_make_node();
  op.set_parent(1);
  op.set_name("f");
  op.set_type(pb::TYPE_REGULAR);
  op.set_mode(0644);
  op.mutable_owner()->set_uid(1000);
  op.set_exclusive_lease(true);
  pb::Placement& placement = *command.mutable_client()->add_placement();
  placement.set_piece(1);
  placement.set_cs_id(1026);
  EXPECT_EQ(hex(command.SerializeAsString()),
            "080a5a230a1a080110021802ba01110801120166180120a4032a0308e807400112"
            "050801108208");
}

TEST(LogRecord, SetConfigHasItsGoldenBytes) {
  pb::Command command;
  command.set_time_ns(5);
  pb::Setting& setting = *command.mutable_set_config()->add_settings();
  setting.set_name("a.b");
  setting.set_value("3");
  EXPECT_EQ(hex(command.SerializeAsString()), "080ac2010a0a080a03612e62120133");
}

TEST(LogRecord, RepairCommandsHaveTheirGoldenBytes) {
  pb::Command place;
  place.mutable_place_piece()->set_chunk(9);
  place.mutable_place_piece()->set_version(2);
  place.mutable_place_piece()->set_piece(3);
  place.mutable_place_piece()->set_cs_id(1025);
  EXPECT_EQ(hex(place.SerializeAsString()),
            "ca010908091002180320"
            "8108");
  pb::Command finish;
  finish.mutable_finish_repair()->set_chunk(9);
  finish.mutable_finish_repair()->set_version(2);
  finish.mutable_finish_repair()->set_piece(3);
  finish.mutable_finish_repair()->set_cs_id(1025);
  finish.mutable_finish_repair()->set_next_seq(5);
  EXPECT_EQ(hex(finish.SerializeAsString()), "d2010b0809100218032081082805");
  pb::Command recovered;
  recovered.mutable_finish_recovery()->set_chunk(9);
  recovered.mutable_finish_recovery()->set_version(2);
  recovered.mutable_finish_recovery()->set_unreachable(1);
  recovered.mutable_finish_recovery()->set_regions(0x8000000000000001);
  EXPECT_EQ(hex(recovered.SerializeAsString()),
            "b2010f0809100218012101000000000000"
            "80");
}

TEST(LogRecord, ChunkHasItsGoldenBytes) {
  pb::Chunk chunk;
  chunk.set_id(9);
  chunk.set_version(2);
  chunk.set_seq_floor(7);
  pb::Piece& piece = *chunk.add_pieces();
  piece.set_cs_id(1025);
  piece.set_state(pb::PIECE_MISSING);
  piece.set_missed(0x8000000000000001);
  EXPECT_EQ(hex(chunk.SerializeAsString()), "08092002420e10810818022901000000000000805007");
}

TEST(LogRecord, ConversionHasItsGoldenBytes) {
  pb::Command policy;
  policy.mutable_set_policy()->add_inodes(2);
  policy.mutable_set_policy()->set_keep_data(true);
  EXPECT_EQ(hex(policy.SerializeAsString()), "8a01050a01022001");
  pb::Command make;
  make.mutable_client()->mutable_request()->mutable_make_shadow()->set_inode(2);
  EXPECT_EQ(hex(make.SerializeAsString()), "5a070a05f202020802");
  pb::Command swap;
  pb::SwapData& op = *swap.mutable_client()->mutable_request()->mutable_swap_data();
  op.set_inode(2);
  op.set_epoch(7);
  op.set_shadow(3);
  EXPECT_EQ(hex(swap.SerializeAsString()), "5a0b0a09fa0206080210071803");
  pb::ConversionRecord row;
  row.mutable_encoding()->set_data(4);
  row.mutable_encoding()->set_parity(2);
  row.mutable_encoding()->set_min(5);
  row.set_since_ns(5);
  EXPECT_EQ(hex(row.SerializeAsString()), "0a06080410021805100a");
  pb::InodeRecord shadow;
  shadow.mutable_attributes()->set_inode(3);
  shadow.set_shadow_of(2);
  EXPECT_EQ(hex(shadow.SerializeAsString()), "0a0208035802");
  pb::Chunk chunk;
  chunk.set_id(9);
  chunk.set_opened(3);
  EXPECT_EQ(hex(chunk.SerializeAsString()), "08095803");
}

TEST(LogRecord, InodeHasItsGoldenBytes) {
  pb::InodeRecord inode;
  inode.mutable_attributes()->set_inode(2);
  inode.mutable_attributes()->set_type(pb::TYPE_DIRECTORY);
  inode.mutable_attributes()->set_nlink(2);
  inode.mutable_policy()->mutable_encoding()->set_data(4);
  inode.mutable_policy()->mutable_encoding()->set_parity(2);
  inode.mutable_policy()->mutable_encoding()->set_min(5);
  inode.set_parent(1);
  EXPECT_EQ(hex(inode.SerializeAsString()), "0a0608021002300212080a060804100218052001");
}

}  // namespace
}  // namespace cairn::mds::state::keys
