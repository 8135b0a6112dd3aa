#include <cstring>

#include "client/core/testing/fake_cluster.h"
#include "common/base/crc32c.h"

namespace cairn::client::testing {

FakeServer::FakeServer(runtime::Runtime& runtime, net::MemNetwork& network, net::Address at)
    : runtime_(runtime), network_(network), address_(std::move(at)), tasks_(runtime) {}

void FakeServer::listen() {
  Result<std::unique_ptr<net::Listener>> made =
      network_.listen(address_, [this](std::unique_ptr<net::Stream> stream) {
        tasks_.spawn(accept(std::move(stream), next_connection_++));
      });
  CHECK(made.has_value());
  listener_ = std::move(*made);
}

void FakeServer::close() {
  listener_.reset();
  for (const auto& [id, channel] : channels_) tasks_.spawn(retire(channel));
  channels_.clear();
}

Task<void> FakeServer::retire(ChannelPtr channel) {
  channel->close();
  co_await channel->closed();
}

FakeServer::ChannelPtr FakeServer::channel(std::uint64_t connection) const {
  const auto found = channels_.find(connection);
  return found == channels_.end() ? nullptr : found->second;
}

Task<void> FakeServer::accept(std::unique_ptr<net::Stream> stream, std::uint64_t connection) {
  net::Credentials credentials{"test", "key"};
  net::Channel::Handler handler = [this, connection](std::uint16_t op, net::Payload request) {
    return serve(connection, op, std::move(request));
  };
  const Deadline deadline = runtime_.after(5s);
  Result<std::unique_ptr<net::Channel>> accepted = co_await net::accept_channel(
      runtime_, std::move(stream), std::move(credentials), std::move(handler), deadline);
  if (!accepted.has_value()) co_return;
  channels_.emplace(connection, ChannelPtr(std::move(*accepted)));
}

FakeCs::FakeCs(runtime::Runtime& runtime, net::MemNetwork& network, net::Address at)
    : FakeServer(runtime, network, std::move(at)) {
  listen();
}

void FakeCs::kill() {
  dead = true;
  close();
}

void FakeCs::revive() {
  dead = false;
  listen();
}

void FakeCs::revive_at(net::Address at) {
  set_address(std::move(at));
  revive();
}

void FakeCs::freeze() {
  frozen_ = true;
  network_.set_unreachable(address(), true);
}

void FakeCs::thaw() {
  frozen_ = false;
  network_.set_unreachable(address(), false);
}

Task<void> FakeCs::while_frozen() {
  while (frozen_) co_await runtime::sleep_for(runtime_, 1ms);
}

Task<Result<net::Payload>> FakeCs::serve(std::uint64_t /*connection*/, std::uint16_t op,
                                         net::Payload request) {
  co_await while_frozen();
  if (op == pb::OP_PING) {
    ++pings;
    if (!knows_ping) co_return fail(Code::kUnsupported, "an older chunk server");
    co_return net::Payload{};
  }
  if (delay != Duration()) co_await runtime::sleep_for(runtime_, delay);
  co_await while_frozen();
  if (dead) co_return fail(Code::kUnavailable, "dead");
  if (op == pb::OP_READ) {
    pb::Read ask;
    CHECK(ask.ParseFromString(request.meta));
    ++reads;
    co_return read(ask);
  }
  if (op == pb::OP_PREPARE) {
    pb::Prepare ask;
    CHECK(ask.ParseFromString(request.meta));
    ++prepares;
    if (ask.unaligned()) ++unaligned;
    CO_TRY_VOID(prepare(ask, request));
    co_return net::Payload{};
  }
  if (op == pb::OP_SETTLE) ++settles;
  if (op == pb::OP_CHECK) {
    pb::Check check;
    CHECK(check.ParseFromString(request.meta));
    checks.push_back(check);
  }
  co_return net::Payload{};
}

Status FakeCs::prepare(const pb::Prepare& ask, const net::Payload& request) {
  if (full) return fail(Code::kNoSpace, "full");
  const auto key = std::pair(ask.chunk(), ask.piece());
  if (!pieces.contains(key) && !ask.create()) return fail(Code::kPieceMissing, "no such piece");
  Piece& piece = pieces[key];
  if (ask.epoch() < piece.epoch) return fail(Code::kStaleEpoch, "older epoch");
  if (ask.version() < piece.version) return fail(Code::kStaleVersion, "older version");
  if (ask.epoch() > piece.epoch) piece.seen.clear();
  piece.epoch = ask.epoch();
  piece.version = ask.version();
  if (!piece.seen.insert(ask.seq()).second) {
    ++repeated;
    return Status();
  }
  const Buffer body = request.body.empty() ? Buffer() : request.body.front();
  std::size_t at = 0;
  std::size_t counted = 0;
  for (const bool delta : {false, true}) {
    std::uint64_t before = 0;
    for (const pb::BlockRange& range : delta ? ask.deltas() : ask.writes()) {
      CHECK_GE(range.first(), before);
      for (std::uint64_t i = 0; i < range.count(); ++i, ++at) {
        CHECK_LE((at + 1) * kBlockBytes, body.size());
        const Bytes bytes = body.span().subspan(at * kBlockBytes, kBlockBytes);
        std::uint32_t crc = 0;
        std::memcpy(&crc, ask.crcs().data() + 4 * at, 4);
        CHECK_EQ(crc, crc32c(bytes));
        Block& block = piece.blocks[range.first() + i];  // a hole is zeros
        if (!delta) block.fill(std::byte{0});
        for (std::size_t x = 0; x < kBlockBytes; ++x) block[x] ^= bytes[x];
      }
      before = range.first() + range.count();
    }
    (delta ? delta_blocks : written_blocks) += at - counted;
    counted = at;
  }
  CHECK_EQ(at * kBlockBytes, body.size());
  for (const pb::BlockRange& range : ask.zeroes()) {
    piece.blocks.erase(piece.blocks.lower_bound(range.first()),
                       piece.blocks.lower_bound(range.first() + range.count()));
  }
  return Status();
}

Result<net::Payload> FakeCs::read(const pb::Read& ask) {
  const auto found = pieces.find({ask.chunk(), ask.piece()});
  if (found == pieces.end()) return fail(Code::kPieceMissing, "no such piece");
  pb::ReadReply reply;
  std::vector<std::byte> bytes;
  for (const pb::BlockRange& range : ask.ranges()) {
    for (std::uint64_t block = range.first(); block < range.first() + range.count(); ++block) {
      const auto at = found->second.blocks.find(block);
      if (at == found->second.blocks.end()) continue;
      const bool follows =
          reply.present_size() != 0 &&
          reply.present().rbegin()->first() + reply.present().rbegin()->count() == block;
      pb::BlockRange& run =
          follows ? *reply.mutable_present(reply.present_size() - 1) : *reply.add_present();
      if (!follows) run.set_first(block);
      run.set_count(run.count() + 1);
      ++read_blocks;
      const std::uint32_t crc = crc32c(at->second);
      reply.mutable_crcs()->append(reinterpret_cast<const char*>(&crc), 4);
      bytes.insert(bytes.end(), at->second.begin(), at->second.end());
    }
  }
  if (rot_reads != 0 && !bytes.empty()) {
    --rot_reads;
    bytes[bytes.size() / 2] ^= std::byte{1};
  }
  net::Payload answer;
  answer.meta = reply.SerializeAsString();
  if (!bytes.empty()) answer.body.push_back(Buffer::copy_of(bytes));
  return answer;
}

}  // namespace cairn::client::testing
