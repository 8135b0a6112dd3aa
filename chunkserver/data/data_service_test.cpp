// The data plane over a channel of MemNetwork, as a client sees it.
#include "chunkserver/data/data_service.h"

#include <gtest/gtest.h>

#include "chunkserver/data/data_server.h"
#include "chunkserver/data/decode.h"
#include "chunkserver/testing/store_world.h"
#include "common/net/mem_network.h"
#include "proto/data_plane.pb.h"

namespace cairn::chunkserver::data {
namespace {

using testing::StoreWorld;

net::Payload prepare_payload(std::uint64_t seq, std::vector<store::BlockRange> writes,
                             std::vector<std::uint64_t> values) {
  const testing::MadePrepare made = testing::make_prepare(
      testing::piece_id(7, 1), 1, testing::op_id(1, seq), std::move(writes), std::move(values));
  pb::Prepare prepare;
  prepare.set_chunk(7);
  prepare.set_piece(1);
  prepare.set_version(1);
  prepare.set_epoch(1);
  prepare.set_seq(seq);
  prepare.set_participants(3);
  prepare.set_create(true);
  encode_ranges(made.request.writes, prepare.mutable_writes());
  prepare.set_crcs(encode_crcs(made.request.crcs));
  net::Payload payload;
  payload.meta = prepare.SerializeAsString();
  payload.body.push_back(made.body);
  return payload;
}

// A server on a store, and one channel to it.
class Fixture {
 public:
  Fixture() : world_({}), network_(world_.loop()), log_(observe::make_null_log()) {
    CHECK(world_.open().has_value());
    service_ = std::make_unique<DataService>(world_.store());
    server_ = std::make_unique<DataServer>(world_.loop(), network_, net::Credentials{"c", "k"},
                                           *service_, *log_);
    const Result<net::Address> address = server_->start({"10.0.0.1", 2600});
    CHECK(address.has_value());
    net::Channel::Handler nobody = [](std::uint16_t, net::Payload) -> Task<Result<net::Payload>> {
      co_return fail(Code::kUnsupported);
    };
    Result<std::unique_ptr<net::Channel>> channel = world_.loop().run(net::connect_channel(
        world_.loop(), network_, *address, {"c", "k"}, std::move(nobody), world_.loop().after(1s)));
    CHECK(channel.has_value());
    channel_ = std::move(*channel);
  }
  ~Fixture() {
    channel_->close();
    world_.loop().run(channel_->closed());
    world_.loop().run(server_->stop());
  }

  Result<net::Payload> call(pb::Op op, net::Payload request) {
    return world_.loop().run(channel_->call(static_cast<std::uint16_t>(op), std::move(request),
                                            world_.loop().after(10s)));
  }
  template <class Message>
  Result<net::Payload> call(pb::Op op, const Message& message) {
    net::Payload payload;
    payload.meta = message.SerializeAsString();
    return call(op, std::move(payload));
  }
  StoreWorld& world() { return world_; }
  DataService& service() { return *service_; }
  net::Channel& channel() { return *channel_; }

 private:
  StoreWorld world_;
  net::MemNetwork network_;
  std::unique_ptr<observe::Log> log_;
  std::unique_ptr<DataService> service_;
  std::unique_ptr<DataServer> server_;
  std::unique_ptr<net::Channel> channel_;
};

pb::Read read_of(std::uint64_t first, std::uint32_t count) {
  pb::Read read;
  read.set_chunk(7);
  read.set_piece(1);
  read.set_version(1);
  pb::BlockRange* range = read.add_ranges();
  range->set_first(first);
  range->set_count(count);
  return read;
}

Task<Result<pb::RepairReply>> answer_repair(std::uint64_t first_seq) {
  if (first_seq == 0) co_return fail(Code::kBusy);
  pb::RepairReply reply;
  reply.set_next_seq(first_seq + 1);
  co_return reply;
}

TEST(DataService, ServesOneWritersLife) {
  Fixture fixture;
  ASSERT_TRUE(
      fixture.call(pb::OP_PREPARE, prepare_payload(1, {{0, 2}, {5, 1}}, {1, 2, 3})).has_value());
  const Result<net::Payload> answer = fixture.call(pb::OP_READ, read_of(0, 10));
  ASSERT_TRUE(answer.has_value());
  pb::ReadReply reply;
  ASSERT_TRUE(reply.ParseFromString(answer->meta));
  ASSERT_EQ(reply.present_size(), 2);
  EXPECT_EQ(reply.present(1).first(), 5U);
  EXPECT_EQ(reply.crcs().size(), 12U);
  ASSERT_EQ(answer->body_size(), 3 * kBlockBytes);
  EXPECT_EQ(testing::value_of(answer->body[0].slice(2 * kBlockBytes, kBlockBytes).span()), 3U);

  pb::Settle settle;
  settle.set_chunk(7);
  settle.set_piece(1);
  settle.set_epoch(1);
  settle.set_settled_below(2);
  net::Payload posted;
  posted.meta = settle.SerializeAsString();
  fixture.channel().post(pb::OP_SETTLE, std::move(posted));
  fixture.world().loop().run_for(1s);

  pb::PieceStatus status;
  status.set_chunk(7);
  status.set_piece(1);
  pb::PieceStatusReply told;
  ASSERT_TRUE(told.ParseFromString(fixture.call(pb::OP_PIECE_STATUS, status)->meta));
  EXPECT_EQ(told.blocks(), 3U);
  EXPECT_EQ(told.undecided(), 0U);
  EXPECT_EQ(fixture.service().figures().bytes_written, 3 * kBlockBytes);
  EXPECT_EQ(fixture.service().figures().bytes_read, 3 * kBlockBytes);
}

TEST(DataService, DeltasAreAddedToWhatIsThere) {
  Fixture fixture;
  ASSERT_TRUE(fixture.call(pb::OP_PREPARE, prepare_payload(1, {{0, 2}}, {1, 2})).has_value());
  net::Payload old = std::move(*fixture.call(pb::OP_READ, read_of(0, 4)));
  const testing::MadePrepare made = testing::make_prepare(
      testing::piece_id(7, 1), 1, testing::op_id(1, 2), {{3, 1}}, {3, 4, 5}, {{1, 2}});
  pb::Prepare prepare;
  prepare.set_chunk(7);
  prepare.set_piece(1);
  prepare.set_version(1);
  prepare.set_epoch(1);
  prepare.set_seq(2);
  prepare.set_participants(3);
  prepare.set_unaligned(true);
  encode_ranges(made.request.writes, prepare.mutable_writes());
  encode_ranges(made.request.deltas, prepare.mutable_deltas());
  prepare.set_crcs(encode_crcs(made.request.crcs));
  net::Payload payload;
  payload.meta = prepare.SerializeAsString();
  payload.body.push_back(made.body);
  ASSERT_TRUE(fixture.call(pb::OP_PREPARE, std::move(payload)).has_value());
  const Result<net::Payload> answer = fixture.call(pb::OP_READ, read_of(0, 4));
  ASSERT_TRUE(answer.has_value());
  ASSERT_EQ(answer->body_size(), 4 * kBlockBytes);
  const Bytes now = std::as_const(answer->body[0]).span();
  const Bytes before = std::as_const(old.body[0]).span();
  const Bytes body = std::as_const(made.body).span();
  for (std::size_t i = 0; i < kBlockBytes; ++i) {
    ASSERT_EQ(now[i], before[i]);
    ASSERT_EQ(now[kBlockBytes + i], before[kBlockBytes + i] ^ body[kBlockBytes + i]);
    ASSERT_EQ(now[2 * kBlockBytes + i], body[2 * kBlockBytes + i]) << "a hole is zeros";
    ASSERT_EQ(now[3 * kBlockBytes + i], body[i]);
  }
  EXPECT_EQ(fixture.service().figures().active, 0U);
}

TEST(DataService, SealsAndResolves) {
  Fixture fixture;
  ASSERT_TRUE(fixture.call(pb::OP_PREPARE, prepare_payload(1, {{0, 1}}, {1})).has_value());
  ASSERT_TRUE(fixture.call(pb::OP_PREPARE, prepare_payload(2, {{1, 1}}, {2})).has_value());
  pb::Seal seal;
  seal.set_chunk(7);
  seal.set_piece(1);
  seal.set_version(2);
  seal.set_epoch(2);
  pb::SealReply sealed;
  ASSERT_TRUE(sealed.ParseFromString(fixture.call(pb::OP_SEAL, seal)->meta));
  ASSERT_EQ(sealed.undecided_size(), 2);
  EXPECT_EQ(sealed.undecided(1).seq(), 2U);
  EXPECT_EQ(sealed.undecided(1).participants(), 3U);
  EXPECT_EQ(sealed.settled_epoch(), 1U);
  EXPECT_EQ(sealed.settled_below(), 1U);
  EXPECT_EQ(fixture.call(pb::OP_PREPARE, prepare_payload(3, {{1, 1}}, {2})).error().code(),
            Code::kStaleVersion);
  pb::Resolve resolve;
  resolve.set_chunk(7);
  resolve.set_piece(1);
  resolve.set_version(2);
  resolve.set_epoch(2);
  pb::Resolve::OpId* op = resolve.add_forward();
  op->set_epoch(1);
  op->set_seq(2);
  ASSERT_TRUE(fixture.call(pb::OP_RESOLVE, resolve).has_value());
  EXPECT_EQ(fixture.call(pb::OP_READ, read_of(0, 2))->body_size(), kBlockBytes);
}

TEST(DataService, ASealTellsTheHullOfWhatIsUndecided) {
  Fixture fixture;
  ASSERT_TRUE(
      fixture.call(pb::OP_PREPARE, prepare_payload(1, {{3, 2}, {9, 1}}, {1, 2, 3})).has_value());
  pb::Seal seal;
  seal.set_chunk(7);
  seal.set_piece(1);
  seal.set_version(2);
  seal.set_epoch(2);
  pb::SealReply reply;
  ASSERT_TRUE(reply.ParseFromString(fixture.call(pb::OP_SEAL, seal)->meta));
  ASSERT_EQ(reply.undecided_size(), 1);
  EXPECT_EQ(reply.undecided(0).first_block(), 3U);
  EXPECT_EQ(reply.undecided(0).end_block(), 10U);
}

TEST(DataService, APingIsAnsweredEvenWhenTheStoreIsFenced) {
  Fixture fixture;
  EXPECT_TRUE(fixture.call(pb::OP_PING, net::Payload()).has_value());
  fixture.world().store().fence(Error(Code::kDiskFailed, "gone"));
  EXPECT_EQ(fixture.call(pb::OP_READ, read_of(0, 1)).error().code(), Code::kDiskFailed);
  const Result<net::Payload> answer = fixture.call(pb::OP_PING, net::Payload());
  ASSERT_TRUE(answer.has_value());
  EXPECT_TRUE(answer->meta.empty());
}

TEST(DataService, HandsRepairsAndChecksOn) {
  StoreWorld world({});
  ASSERT_TRUE(world.open().has_value());
  std::vector<std::pair<PieceId, std::vector<store::BlockRange>>> checked;
  std::vector<std::uint32_t> repaired;
  ServiceHooks hooks;
  hooks.check = [&](PieceId piece, std::vector<store::BlockRange> ranges) {
    checked.emplace_back(piece, std::move(ranges));
  };
  hooks.repair = [&](const pb::Repair& request) -> Task<Result<pb::RepairReply>> {
    repaired.push_back(request.piece());
    return answer_repair(request.first_seq());
  };
  DataService service(world.store(), std::move(hooks));
  const auto call = [&](DataService& to, pb::Op op, const auto& message) {
    net::Payload payload;
    payload.meta = message.SerializeAsString();
    return world.loop().run(to.handle(static_cast<std::uint16_t>(op), std::move(payload)));
  };
  pb::Check check;
  check.set_chunk(7);
  check.set_piece(2);
  encode_ranges({{4, 2}, {9, 1}}, check.mutable_ranges());
  EXPECT_TRUE(call(service, pb::OP_CHECK, check).has_value());
  ASSERT_EQ(checked.size(), 1U);
  EXPECT_EQ(checked[0].first, testing::piece_id(7, 2));
  EXPECT_EQ(checked[0].second, (std::vector<store::BlockRange>{{4, 2}, {9, 1}}));
  check.set_chunk(0);
  EXPECT_EQ(call(service, pb::OP_CHECK, check).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(checked.size(), 1U);
  pb::Repair repair;
  repair.set_piece(3);
  repair.set_first_seq(9);
  pb::RepairReply reply;
  ASSERT_TRUE(reply.ParseFromString(call(service, pb::OP_REPAIR, repair)->meta));
  EXPECT_EQ(reply.next_seq(), 10U);
  EXPECT_EQ(repaired, (std::vector<std::uint32_t>{3}));
  repair.set_first_seq(0);
  EXPECT_EQ(call(service, pb::OP_REPAIR, repair).error().code(), Code::kBusy);
  DataService plain(world.store());
  check.set_chunk(7);
  EXPECT_TRUE(call(plain, pb::OP_CHECK, check).has_value());
  EXPECT_EQ(call(plain, pb::OP_REPAIR, repair).error().code(), Code::kUnsupported);
}

TEST(DataService, RefusesWhatIsNotRight) {
  Fixture fixture;
  struct Row {
    const char* name;
    std::function<void(pb::Prepare&)> spoil;
    Code code;
  };
  const auto range = [](pb::Prepare& p, std::uint64_t first, std::uint32_t count) {
    pb::BlockRange* one = p.add_zeroes();
    one->set_first(first);
    one->set_count(count);
  };
  const std::vector<Row> rows = {
      {"no chunk", [](pb::Prepare& p) { p.set_chunk(0); }, Code::kInvalidArgument},
      {"piece 21", [](pb::Prepare& p) { p.set_piece(21); }, Code::kInvalidArgument},
      {"no seq", [](pb::Prepare& p) { p.set_seq(0); }, Code::kInvalidArgument},
      {"too few checksums", [](pb::Prepare& p) { p.mutable_crcs()->resize(4); },
       Code::kInvalidArgument},
      {"a damaged block", [](pb::Prepare& p) { (*p.mutable_crcs())[0] ^= 1; },
       Code::kChecksumMismatch},
      {"body and ranges differ", [](pb::Prepare& p) { p.mutable_writes(0)->set_count(3); },
       Code::kInvalidArgument},
      {"an empty range", [](pb::Prepare& p) { p.mutable_writes(0)->set_count(0); },
       Code::kInvalidArgument},
      {"beyond the piece",
       [](pb::Prepare& p) { p.mutable_writes(0)->set_first(store::kPieceBlocksMax - 1); },
       Code::kInvalidArgument},
      {"overflow", [](pb::Prepare& p) { p.mutable_writes(0)->set_first(UINT64_MAX); },
       Code::kInvalidArgument},
      {"written and zeroed", [&](pb::Prepare& p) { range(p, 1, 1); }, Code::kInvalidArgument},
      {"unsorted",
       [&](pb::Prepare& p) {
         range(p, 9, 1);
         range(p, 8, 1);
       },
       Code::kInvalidArgument},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    net::Payload payload = prepare_payload(1, {{0, 2}}, {1, 2});
    pb::Prepare prepare;
    ASSERT_TRUE(prepare.ParseFromString(payload.meta));
    row.spoil(prepare);
    payload.meta = prepare.SerializeAsString();
    const Result<net::Payload> answer = fixture.call(pb::OP_PREPARE, std::move(payload));
    ASSERT_FALSE(answer.has_value());
    EXPECT_EQ(answer.error().code(), row.code);
  }
  net::Payload noise;
  noise.meta = "\xff\xff\xff";
  EXPECT_EQ(fixture.call(pb::OP_PREPARE, noise).error().code(), Code::kProtocol);
  EXPECT_EQ(fixture.call(pb::OP_READ, noise).error().code(), Code::kProtocol);
  EXPECT_EQ(fixture.call(pb::OP_CLIENT_REQUEST, noise).error().code(), Code::kUnsupported);
  EXPECT_EQ(fixture.call(pb::OP_READ, read_of(0, 1025)).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(fixture.call(pb::OP_READ, read_of(0, 1)).error().code(), Code::kPieceMissing);
  EXPECT_EQ(fixture.world().store().statistics().pieces, 0U);
  EXPECT_EQ(fixture.service().figures().damaged, 1U);
}

}  // namespace
}  // namespace cairn::chunkserver::data
