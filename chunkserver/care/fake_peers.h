// Other chunk servers and the master, as the healer sees them, for tests: over a MemNetwork, with
// every kind of trouble.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "chunkserver/care/fake_door.h"
#include "chunkserver/data/decode.h"
#include "common/base/arrival_set.h"
#include "common/net/channel.h"
#include "common/net/mem_network.h"
#include "common/rpc/rpc.h"
#include "common/runtime/task_group.h"
#include "proto/data_plane.pb.h"
#include "proto/mds_cluster.pb.h"

namespace cairn::chunkserver::care::testing {

inline const net::Credentials kCredentials{"stor1", "key"};

// One chunk server that answers READ.
class FakePeer {
 public:
  FakePeer(runtime::Runtime& runtime, net::Network& network, net::Address at)
      : runtime_(runtime), group_(runtime) {
    listener_ = std::move(*network.listen(at, [this](std::unique_ptr<net::Stream> stream) {
      group_.spawn(serve(this, std::move(stream)));
    }));
  }
  Task<void> stop() {
    listener_->close();
    for (net::Channel* channel : channels_) channel->close();
    co_await group_.join();
  }

  std::map<PieceId, std::map<std::uint64_t, Buffer>> content;  // what is not in it is a hole
  std::set<std::uint64_t> rotten;                              // reads of these fail
  std::set<std::uint64_t> sent_damaged;                        // the CRC does not fit
  std::optional<Error> error;
  Duration delay = 1ms;
  std::uint64_t reads = 0;
  std::uint64_t blocks_sent = 0;
  std::uint64_t connections = 0;

 private:
  static Task<void> serve(FakePeer* self, std::unique_ptr<net::Stream> stream) {
    net::Credentials credentials = kCredentials;
    net::Channel::Handler handler = [self](std::uint16_t op, net::Payload request) {
      return read(self, op, std::move(request));
    };
    const Deadline deadline = self->runtime_.after(3s);
    Result<std::unique_ptr<net::Channel>> channel = co_await net::accept_channel(
        self->runtime_, std::move(stream), std::move(credentials), std::move(handler), deadline);
    if (!channel.has_value()) co_return;
    ++self->connections;
    self->channels_.insert(channel->get());
    co_await (*channel)->closed();
    (*channel)->close();
    self->channels_.erase(channel->get());
  }
  static Task<Result<net::Payload>> read(FakePeer* self, std::uint16_t op, net::Payload request) {
    CHECK_EQ(op, std::uint16_t{pb::OP_READ});
    ++self->reads;
    co_await runtime::sleep_for(self->runtime_, self->delay);
    if (self->error.has_value()) co_return fail(*self->error);
    pb::Read ask;
    CHECK(ask.ParseFromString(request.meta));
    CO_TRY(const PieceId piece, data::decode_piece(ask.chunk(), ask.piece()));
    CO_TRY(const std::vector<store::BlockRange> ranges,
           data::decode_ranges(ask.ranges(), store::kReadBlocksMax));
    if (!self->content.contains(piece)) co_return fail(Code::kPieceMissing);
    co_return self->answer(piece, ranges);
  }
  Result<net::Payload> answer(PieceId piece, const std::vector<store::BlockRange>& ranges) {
    std::vector<store::BlockRange> present;
    std::vector<std::uint32_t> crcs;
    std::vector<Buffer> parts;
    for (const store::BlockRange& range : ranges) {
      for (std::uint64_t block = range.first; block < range.end(); ++block) {
        if (rotten.contains(block)) return fail(Code::kChecksumMismatch, "rotten");
        const auto at = content[piece].find(block);
        if (at == content[piece].end()) continue;
        present.push_back({block, 1});
        crcs.push_back(crc32c(std::as_const(at->second).span()) +
                       (sent_damaged.contains(block) ? 1 : 0));
        parts.push_back(at->second);
      }
    }
    blocks_sent += parts.size();
    pb::ReadReply reply;
    data::encode_ranges(present, reply.mutable_present());
    reply.set_crcs(data::encode_crcs(crcs));
    net::Payload payload;
    payload.meta = reply.SerializeAsString();
    payload.body = std::move(parts);
    return payload;
  }

  runtime::Runtime& runtime_;
  std::unique_ptr<net::Listener> listener_;
  ArrivalSet<net::Channel*> channels_;
  runtime::TaskGroup group_;
};

// A master that knows chunks.
class FakeMaster final : public rpc::Caller {
 public:
  explicit FakeMaster(runtime::Runtime& runtime) : runtime_(runtime) {}
  Task<Result<std::string>> call(std::string method, std::string request, Deadline) override {
    CHECK(method == "/cairn.pb.Cluster/LookupChunk");
    ++calls;
    co_await runtime::sleep_for(runtime_, 1ms);
    if (error.has_value()) co_return fail(*error);
    pb::LookupChunkRequest ask;
    CHECK(ask.ParseFromString(request));
    last = ask;
    pb::LookupChunkReply reply;
    const auto at = chunks.find(ask.chunk());
    if (at != chunks.end()) *reply.mutable_chunk() = at->second;
    co_return reply.SerializeAsString();
  }

  std::map<std::uint64_t, pb::Chunk> chunks;
  std::optional<Error> error;
  std::uint64_t calls = 0;
  pb::LookupChunkRequest last;

 private:
  runtime::Runtime& runtime_;
};

}  // namespace cairn::chunkserver::care::testing
