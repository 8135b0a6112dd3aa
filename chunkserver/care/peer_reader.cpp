#include "chunkserver/care/peer_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "chunkserver/data/decode.h"
#include "common/base/crc32c.h"
#include "proto/data_plane.pb.h"

namespace cairn::chunkserver::care {
namespace {

// A peer never asks anything of a channel that we opened.
net::Channel::Handler nothing_served() { return nullptr; }

std::vector<store::BlockRange> to_ranges(const std::vector<std::uint64_t>& blocks,
                                         std::size_t begin, std::size_t end) {
  std::vector<store::BlockRange> ranges;
  for (std::size_t i = begin; i < end; ++i) {
    if (!ranges.empty() && ranges.back().end() == blocks[i]) {
      ++ranges.back().count;
    } else {
      ranges.push_back({blocks[i], 1});
    }
  }
  return ranges;
}

std::unexpected<Error> nonsense(const PeerPiece& from, const char* what) {
  return fail(Code::kProtocol, fmt::format("{} answers a READ with {}", from.address, what));
}

}  // namespace

// Blocks [begin, end) of those asked for.
struct PeerReader::Part {
  std::size_t begin = 0;
  std::size_t end = 0;
};

// Keeps a link from being closed as unused.
class PeerReader::Use {
 public:
  Use(Link* link, runtime::Runtime* runtime) : link_(link), runtime_(runtime) { ++link_->users; }
  ~Use() {
    --link_->users;
    link_->used_at = runtime_->now();
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

 private:
  Link* link_;
  runtime::Runtime* runtime_;
};

PeerReader::PeerReader(runtime::Runtime& runtime, net::Network& network,
                       net::Credentials credentials)
    : runtime_(runtime),
      network_(network),
      credentials_(std::move(credentials)),
      zeros_(Buffer::zeroed(kBlockBytes)),
      group_(runtime) {}

PeerReader::~PeerReader() {
  for (const auto& [address, link] : links_) {
    CHECK(link->channel == nullptr);
    CHECK_EQ(link->users, std::size_t{0});
  }
}

Task<void> PeerReader::finish(std::shared_ptr<net::Channel> channel) {
  channel->close();
  co_await channel->closed();
}

void PeerReader::retire(Link& link) {
  if (link.channel == nullptr) return;
  std::shared_ptr<net::Channel> channel = std::exchange(link.channel, nullptr);
  group_.spawn(finish(std::move(channel)));
}

std::size_t PeerReader::connections() const {
  return static_cast<std::size_t>(std::count_if(
      links_.begin(), links_.end(), [](const auto& at) { return at.second->channel != nullptr; }));
}

void PeerReader::sweep() {
  const Instant now = runtime_.now();
  for (auto at = links_.begin(); at != links_.end();) {
    Link& link = *at->second;
    const bool idle = link.users == 0 && now - link.used_at >= kPeerIdle;
    if (idle) retire(link);
    at = idle ? links_.erase(at) : std::next(at);
  }
}

void PeerReader::interrupt() {
  stopping_ = true;
  for (const auto& [address, link] : links_) {
    if (link->channel != nullptr) link->channel->close();
  }
}

Task<void> PeerReader::stop() {
  interrupt();
  for (const auto& [address, link] : links_) retire(*link);
  co_await group_.join();
}

Task<Result<std::shared_ptr<net::Channel>>> PeerReader::channel(Link* link, std::string address,
                                                                Deadline deadline) {
  const runtime::Semaphore::Permit turn = co_await link->connecting.lock_until(deadline);
  if (stopping_) co_return fail(Code::kCancelled, "the chunk server stops");
  if (!turn.held()) co_return fail(Code::kTimeout, "connecting to " + address);
  if (link->channel != nullptr && link->channel->is_open()) co_return link->channel;
  retire(*link);
  if (runtime_.now() < link->avoid_until) {
    co_return fail(Code::kUnavailable, address + " could not be reached a moment ago");
  }
  Result<net::Address> to = net::Address::parse(address);
  if (!to.has_value()) co_return fail(std::move(to).error());
  net::Address target = *to;
  net::Credentials credentials = credentials_;
  net::Channel::Handler handler = nothing_served();
  const Deadline until = std::min(deadline, runtime_.after(kPeerConnect));
  Result<std::unique_ptr<net::Channel>> made = co_await net::connect_channel(
      runtime_, network_, std::move(target), std::move(credentials), std::move(handler), until);
  if (!made.has_value()) {
    if (made.error().code() == Code::kTimeout) link->avoid_until = runtime_.after(kPeerAvoid);
    co_return fail(std::move(made).error());
  }
  link->channel = std::move(*made);
  if (stopping_) {
    link->channel->close();
    co_return fail(Code::kCancelled, "the chunk server stops");
  }
  co_return link->channel;
}

Task<Result<PeerBlocks>> PeerReader::read(PeerPiece from, std::vector<std::uint64_t> blocks,
                                          Deadline deadline) {
  CHECK(!blocks.empty());
  CHECK_LE(blocks.size(), store::kReadBlocksMax);
  if (stopping_) co_return fail(Code::kCancelled, "the chunk server stops");
  std::unique_ptr<Link>& slot = links_[from.address];
  if (slot == nullptr) slot = std::make_unique<Link>(runtime_);
  Link* const link = slot.get();
  const Use use(link, &runtime_);
  std::string address = from.address;
  Result<std::shared_ptr<net::Channel>> to = co_await channel(link, std::move(address), deadline);
  if (!to.has_value()) co_return fail(std::move(to).error());
  PeerBlocks answer;
  answer.blocks.resize(blocks.size());
  // A read that meets a bad block fails as a whole: its halves are read.
  std::vector<Part> parts{{0, blocks.size()}};
  std::size_t reads = 0;
  while (!parts.empty()) {
    const Part part = parts.back();
    parts.pop_back();
    std::shared_ptr<net::Channel> channel = *to;
    const Status status =
        co_await read_part(std::move(channel), &from, &blocks, part, &answer, deadline);
    ++reads;
    if (status.has_value()) continue;
    answer.trouble = status.error();
    const Code code = status.error().code();
    if (code != Code::kChecksumMismatch && code != Code::kDiskFailed) {
      if (reads == 1) co_return fail(status.error());
      break;
    }
    if (part.end - part.begin < 2 || reads >= kReadsForBadBlocks) continue;
    const std::size_t middle = part.begin + (part.end - part.begin) / 2;
    parts.push_back({middle, part.end});
    parts.push_back({part.begin, middle});
  }
  co_return answer;
}

Task<Status> PeerReader::read_part(std::shared_ptr<net::Channel> channel, const PeerPiece* from,
                                   const std::vector<std::uint64_t>* blocks, Part part,
                                   PeerBlocks* into, Deadline deadline) {
  const std::vector<store::BlockRange> asked = to_ranges(*blocks, part.begin, part.end);
  pb::Read read;
  read.set_chunk(from->piece.chunk.raw());
  read.set_piece(from->piece.index.raw());
  read.set_version(from->version.raw());
  data::encode_ranges(asked, read.mutable_ranges());
  net::Payload request;
  request.meta = read.SerializeAsString();
  Result<net::Payload> reply = co_await channel->call(pb::OP_READ, std::move(request), deadline);
  if (!reply.has_value()) co_return fail(std::move(reply).error());
  pb::ReadReply told;
  if (!told.ParseFromString(reply->meta)) co_return nonsense(*from, "noise");
  const Result<std::vector<store::BlockRange>> present =
      data::decode_ranges(told.present(), part.end - part.begin);
  if (!present.has_value()) co_return nonsense(*from, "bad ranges");
  const std::uint64_t count = store::total_blocks(*present);
  if (told.crcs().size() != count * sizeof(std::uint32_t) ||
      reply->body_size() != count * kBlockBytes) {
    co_return nonsense(*from, "another number of blocks than it says");
  }
  const Buffer body = count == 0 ? Buffer() : reply->body[0];
  const Bytes crcs = as_bytes(told.crcs());
  // What it does not have is zeros.
  std::size_t at = part.begin;
  std::size_t nth = 0;
  Status status;
  for (const store::BlockRange& range : *present) {
    for (std::uint64_t block = range.first; block < range.end(); ++block, ++nth) {
      while (at < part.end && (*blocks)[at] < block) into->blocks[at++] = zeros_;
      if (at == part.end || (*blocks)[at] != block) co_return nonsense(*from, "other blocks");
      Buffer bytes = body.slice(nth * kBlockBytes, kBlockBytes);
      const std::uint32_t crc = load_le<std::uint32_t>(crcs.data() + nth * sizeof(std::uint32_t));
      if (crc32c(std::as_const(bytes).span()) == crc) {
        into->blocks[at] = std::move(bytes);
        ++into->received;
      } else {
        into->trouble = Error(Code::kChecksumMismatch, from->address + " sent a damaged block");
      }
      ++at;
    }
  }
  while (at < part.end) into->blocks[at++] = zeros_;
  co_return status;
}

}  // namespace cairn::chunkserver::care
