// FakeCluster: a master and chunk servers in memory, over MemNetwork on virtual time, for tests of
// client/core. They keep the rules of docs/protocols in the simplest way and can be told to fail.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "client/core/event.h"
#include "client/core/file_system.h"
#include "common/net/mem_network.h"
#include "common/runtime/task_group.h"
#include "proto/data_plane.pb.h"
#include "tests/sim/sim_runtime.h"

namespace cairn::client::testing {

struct Shape {
  std::uint32_t data = 4;
  std::uint32_t parity = 2;
  std::uint32_t min = 5;
  std::uint32_t cell_bytes = 64 * 1024;
  std::uint64_t piece_bytes = 4 * 64 * 1024;
};

using Block = std::array<std::byte, kBlockBytes>;

// Accepts channels and keeps them until it dies.
class FakeServer {
 public:
  FakeServer(runtime::Runtime& runtime, net::MemNetwork& network, net::Address at);
  virtual ~FakeServer() = default;
  void close();
  const net::Address& address() const { return address_; }
  runtime::Runtime& runtime() { return runtime_; }
  net::MemNetwork& network() { return network_; }
  runtime::TaskGroup& tasks() { return tasks_; }

 protected:
  using ChannelPtr = std::shared_ptr<net::Channel>;
  virtual Task<Result<net::Payload>> serve(std::uint64_t connection, std::uint16_t op,
                                           net::Payload request) = 0;
  void listen();
  void set_address(net::Address at) { address_ = std::move(at); }
  ChannelPtr channel(std::uint64_t connection) const;

  runtime::Runtime& runtime_;
  net::MemNetwork& network_;

 private:
  Task<void> accept(std::unique_ptr<net::Stream> stream, std::uint64_t connection);
  Task<void> retire(ChannelPtr channel);

  net::Address address_;
  runtime::TaskGroup tasks_;
  std::unique_ptr<net::Listener> listener_;
  std::map<std::uint64_t, ChannelPtr> channels_;
  std::uint64_t next_connection_ = 1;
};

class FakeCs final : public FakeServer {
 public:
  FakeCs(runtime::Runtime& runtime, net::MemNetwork& network, net::Address at);

  struct Piece {
    std::uint64_t version = 0;
    std::uint64_t epoch = 0;
    std::set<std::uint64_t> seen;  // seqs of the epoch
    std::map<std::uint64_t, Block> blocks;
  };
  std::map<std::pair<std::uint64_t, std::uint32_t>, Piece> pieces;
  bool dead = false;  // answers nothing, refuses connections
  bool full = false;
  bool knows_ping = true;
  Duration delay{};             // before each answer, but not of pings
  std::uint64_t rot_reads = 0;  // so many answers carry a flipped bit
  std::uint64_t reads = 0;
  std::uint64_t read_blocks = 0;  // sent in their answers; holes are not
  std::uint64_t prepares = 0;
  std::uint64_t written_blocks = 0;  // in their bodies
  std::uint64_t delta_blocks = 0;
  std::uint64_t unaligned = 0;  // of them
  std::uint64_t repeated = 0;
  std::uint64_t settles = 0;
  std::uint64_t pings = 0;
  std::vector<pb::Check> checks;
  void kill();
  void revive();
  // As SIGSTOP does: connections stay, nothing is answered.
  void freeze();
  void thaw();
  void revive_at(net::Address at);

 private:
  Task<Result<net::Payload>> serve(std::uint64_t connection, std::uint16_t op,
                                   net::Payload request) override;
  Task<void> while_frozen();
  Status prepare(const pb::Prepare& ask, const net::Payload& request);
  Result<net::Payload> read(const pb::Read& ask);
  bool frozen_ = false;
};

class FakeMaster;

// One more MDS of the group.
class FakePeer final : public FakeServer {
 public:
  FakePeer(FakeMaster& group, std::size_t index, net::Address at);
  void open() { listen(); }
  using FakeServer::channel;

 private:
  Task<Result<net::Payload>> serve(std::uint64_t connection, std::uint16_t op,
                                   net::Payload request) override;
  FakeMaster& group_;
  const std::size_t index_;
};

// A group of MDS: this one, number 0, and its peers. What the log would replicate is here once;
// what is a master's memory is forgotten by elect().
class FakeMaster final : public FakeServer {
 public:
  FakeMaster(runtime::Runtime& runtime, net::MemNetwork& network, net::Address at, Shape shape,
             std::vector<net::Address> chunk_servers, Duration lease);

  static constexpr std::size_t kNobody = 99;
  // `at`: the session door. Its gRPC address has the port below.
  void add_peer(net::Address at);
  std::size_t leader() const { return leader_; }
  void elect(std::size_t index);
  void depose() { leader_ = kNobody; }
  void kill(std::size_t index);
  void revive(std::size_t index);
  // As SIGSTOP does: connections stay, nothing is answered before resume().
  void pause(std::size_t index);
  void close_all();
  void resume(std::size_t index) { pause_until(index, Instant()); }
  void pause_until(std::size_t index, Instant until);
  bool known_members = true;    // told in OpenSessionReply
  bool knows_leader = true;     // the others tell who it is
  std::optional<Code> trouble;  // the leader answers this to everything
  std::uint64_t redirects = 0;
  std::uint64_t resumed = 0;  // sessions, by a new channel
  std::uint64_t reclaims = 0;
  bool lose_reclaims = false;  // the connection breaks when one comes
  // One request at one MDS, over any door.
  Task<Result<net::Payload>> serve_at(std::size_t index, std::uint64_t connection, std::uint16_t op,
                                      net::Payload request);

  struct Node {
    pb::Attributes attributes;
    std::uint64_t holder = 0;  // session with the exclusive lease
    std::uint64_t epoch = 0;
    std::set<std::uint64_t> shared;
    std::map<std::uint64_t, pb::Chunk> chunks;
    bool trim_pending = false;
    std::set<std::uint64_t> pinned;  // by sessions
    std::optional<Shape> shape;      // since its first chunk, or for that
    std::uint64_t shadow_of = 0;
  };
  std::map<std::uint64_t, Node> nodes;
  std::map<std::string, std::uint64_t> names;
  std::uint64_t recalls = 0;
  std::uint64_t executed = 0;      // mutations really done
  std::uint64_t lose_replies = 0;  // so many mutations are done, then the connection breaks
  std::uint64_t lose_answers = 0;  // the same with leases and unpins
  std::uint64_t lose_unpins = 0;   // so many are not even done
  std::uint64_t unsettled = 0;
  bool refuse_releases = false;      // as if each lease had ended just before
  Shape shape;                       // of files that get their first chunk
  bool below_minimum = false;        // refuse every DropPieces
  bool repairs = true;               // false: an older one, without regions and below no minimum
  std::uint64_t looks = 0;           // GetChunks
  std::uint64_t opens = 0;           // OpenChunk
  std::uint64_t drops = 0;           // DropPieces with pieces
  std::vector<std::uint64_t> marks;  // DropPieces without: their regions
  std::uint64_t closes = 0;
  std::function<void()> on_open;  // an OpenChunk was done, its answer is not sent yet
  // OpenChunk of it waits. An open one is closed by its holder first; false: that took too long.
  Task<bool> hold(std::uint64_t inode, std::uint64_t index, Duration patience);
  void release(std::uint64_t inode, std::uint64_t index);
  pb::Chunk& chunk(std::uint64_t inode, std::uint64_t index) {
    return nodes.at(inode).chunks.at(index);
  }
  // Null: it went with its file, was cut off, or exchanged for another (`id`; 0: any).
  pb::Chunk* find_chunk(std::uint64_t inode, std::uint64_t index, std::uint64_t id = 0);
  void end_session(std::uint64_t session);

  // Conversion (fake_convert.cpp). `wanted`: the rows of the queue, by inode.
  std::map<std::uint64_t, Shape> wanted;
  bool convert_paused = false;
  std::uint64_t shadows = 0;                                 // made
  std::uint64_t purged = 0;                                  // of them, with what they had then
  std::uint64_t swaps = 0;                                   // done
  std::uint64_t refused_swaps = 0;                           // kBusy
  std::vector<pb::NextConversion> progress;                  // all that was told
  std::function<void(const pb::ClientRequest&)> on_request;  // before it is done
  std::set<std::uint64_t> converter_sessions;
  // The first that a converter told, of any file: 0 is "converted".
  std::optional<std::uint32_t> conversion_ended() const;
  // Of a converter: the next answer names whatever comes first.
  void take_back(std::uint64_t inode) { converting_.erase(inode); }
  void forget_failures() { failed_.clear(); }
  // Waits until nobody else has a lease that stands in the way of `session`.
  Task<void> wait_free(std::uint64_t inode, std::uint64_t session, bool exclusive);
  pb::Chunk& allocate(std::uint64_t inode, std::uint64_t index);
  Shape shape_of(std::uint64_t inode) const { return nodes.at(inode).shape.value_or(shape); }
  // A chunk server registered from there.
  void cs_moved(std::size_t index, const net::Address& to);
  std::vector<std::uint64_t> sessions() const;

 private:
  struct Client {
    std::uint64_t connection = 0;
    bool expected = false;  // it has not told what it held
    std::map<std::uint64_t, std::string> replies;
  };
  Task<Result<net::Payload>> serve(std::uint64_t connection, std::uint16_t op,
                                   net::Payload request) override;
  Task<Result<pb::ClientReply>> answer(std::uint64_t connection, pb::ClientRequest request);
  Result<pb::ClientReply> open_session(std::uint64_t connection, const pb::OpenSession& open);
  Result<pb::ClientReply> reclaim(std::uint64_t session, const pb::Reclaim& reclaim);
  pb::ClientReply redirect() const;
  FakeServer& door(std::size_t index);
  std::string grpc_address(std::size_t index);
  ChannelPtr channel_of(std::uint64_t connection);
  Task<void> while_paused(std::size_t index);
  bool any_expected() const;
  Task<Result<pb::ClientReply>> acquire(pb::ClientRequest request);
  Result<pb::ClientReply> mutate(const pb::ClientRequest& request);
  Result<pb::ClientReply> open_chunk(const pb::ClientRequest& request);
  Result<pb::ClientReply> drop_pieces(const pb::ClientRequest& request);
  Result<pb::ClientReply> close_chunk(const pb::ClientRequest& request);
  Result<pb::Chunk*> open_for(const pb::ClientRequest& request, std::uint64_t inode,
                              std::uint64_t epoch, std::uint64_t chunk);
  bool is_held(const pb::OpenChunk& open) const;
  Task<void> send_hold(ChannelPtr to, pb::HoldChunk hold);
  Result<pb::ClientReply> set_attr(const pb::ClientRequest& request);
  void recall(Node& node, std::uint64_t id, std::uint64_t session, pb::LeaseMode keep);
  Task<void> send_recall(ChannelPtr to, pb::RecallLease recall);
  pb::Layout layout(const Node& node) const;
  static std::uint64_t inode_of(const pb::ClientRequest& request);
  Result<pb::ClientReply> make_shadow(const pb::ClientRequest& request);
  Result<pb::ClientReply> swap_data(const pb::ClientRequest& request);
  pb::ClientReply next_conversion(const pb::ClientRequest& request);
  void unpin(std::uint64_t inode, std::uint64_t session);
  void update(Node& node, const pb::FileUpdate& update);

  std::vector<net::Address> chunk_servers_;
  Duration lease_;
  std::vector<std::unique_ptr<FakePeer>> peers_;
  std::size_t leader_ = 0;
  std::map<std::size_t, Instant> paused_;
  std::map<std::uint64_t, Client> clients_;
  Event released_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> held_;  // inode, index
  std::map<std::uint64_t, std::uint64_t> converting_;       // inode -> session
  std::set<std::uint64_t> failed_;                          // conversions that are not tried again
  std::uint64_t next_session_ = 1;
  std::uint64_t next_inode_ = 2;
  std::uint64_t next_chunk_ = 1;
  std::uint64_t next_epoch_ = 1;
};

class FakeCluster {
 public:
  explicit FakeCluster(Shape shape, std::uint64_t seed = 1, unsigned spare = 0, unsigned mds = 1);
  ~FakeCluster();

  // Of one more client process.
  Options options();
  std::unique_ptr<FileSystem> mount(std::function<void(Options&)> change = nullptr);
  void unmount(std::unique_ptr<FileSystem> file_system);
  // Runs a task to its end.
  template <class T>
  T run(Task<T> task, Duration limit = std::chrono::minutes(10)) {
    std::optional<T> value;
    tasks_.spawn(keep(std::move(task), &value));
    CHECK(world.run_until([&] { return value.has_value(); }, limit));
    return std::move(*value);
  }
  template <class T>
  void start(Task<T> task, std::optional<T>* into) {
    tasks_.spawn(keep(std::move(task), into));
  }
  // A dead chunk server comes back somewhere else.
  void revive_at(std::size_t index, net::Address at);
  // The piece of a chunk that is on cs[server].
  std::uint32_t piece_on(InodeId inode, std::uint64_t index, std::size_t server) const;
  // The master repairs a missing piece: only what `missed` names is copied. False: it was not
  // closed in time, or too few pieces could be read. The hold lasts `copy` longer than it has to.
  Task<bool> repair(InodeId inode, std::uint64_t index, std::uint32_t piece,
                    Duration copy = Duration());
  // Brings the data of a file into another encoding, as a converter does it in the end: everybody's
  // leases are recalled, then it is another file's worth of chunks. All pieces must be there.
  Task<bool> convert(InodeId inode, Shape to);
  // Every row of every chunk whose pieces are all current: parity is that of the data.
  void check_parity() const;
  InodeId create(FileSystem& file_system, const std::string& name);

  sim::SimWorld world;
  runtime::Runtime& runtime;
  net::MemNetwork network;
  Shape shape;
  std::vector<std::unique_ptr<FakeCs>> cs;
  std::unique_ptr<FakeMaster> master;
  std::unique_ptr<observe::Log> log;

 private:
  template <class T>
  static Task<void> keep(Task<T> task, std::optional<T>* into) {
    T value = co_await task;
    into->emplace(std::move(value));
  }
  bool copy_piece(const pb::Chunk& chunk, std::uint32_t piece, std::uint64_t epoch);
  runtime::TaskGroup tasks_;
  unsigned mounts_ = 0;
};

// The bytes of a read, in one piece.
std::vector<std::byte> joined(const std::vector<Buffer>& parts);

}  // namespace cairn::client::testing
