#include "client/core/testing/fake_cluster.h"

#include <gtest/gtest.h>

#include "common/erasure/codec.h"

namespace cairn::client::testing {

namespace {
constexpr Duration kLease = 10s;
}

FakeCluster::FakeCluster(Shape made, std::uint64_t seed, unsigned spare, unsigned mds)
    : world(seed),
      runtime(world.make_runtime()),
      network(runtime),
      shape(made),
      log(observe::make_null_log()),
      tasks_(runtime) {
  std::vector<net::Address> addresses;
  for (unsigned i = 0; i < shape.data + shape.parity + spare; ++i) {
    addresses.push_back({"10.0.1." + std::to_string(i + 1), 3000});
    cs.push_back(std::make_unique<FakeCs>(runtime, network, addresses.back()));
  }
  const net::Address door{"10.0.0.1", 2511};
  master = std::make_unique<FakeMaster>(runtime, network, door, shape, addresses, kLease);
  for (unsigned i = 1; i < mds; ++i) master->add_peer({"10.0.0." + std::to_string(i + 1), 2511});
}

FakeCluster::~FakeCluster() {
  master->close_all();
  for (const auto& one : cs) {
    one->thaw();
    one->close();
  }
  world.run_for(20s);
}

Options FakeCluster::options() {
  Options options;
  options.masters = {master->address()};
  options.credentials = {"test", "key"};
  options.host_id = HostId::from_raw(7);
  options.process = "process " + std::to_string(++mounts_);
  options.cache_bytes = 8_MiB;
  options.dirty_bytes_per_file = 4_MiB;
  options.restart_grace = Duration();
  return options;
}

std::unique_ptr<FileSystem> FakeCluster::mount(std::function<void(Options&)> change) {
  Options options = this->options();
  if (change) change(options);
  std::unique_ptr<FileSystem> made = FileSystem::make(runtime, network, *log, std::move(options));
  const Status started = run(made->start());
  EXPECT_TRUE(started.has_value()) << started.error().to_string();
  return made;
}

void FakeCluster::unmount(std::unique_ptr<FileSystem> file_system) {
  const Status stopped = run(file_system->stop(runtime.after(30s)));
  EXPECT_TRUE(stopped.has_value()) << stopped.error().to_string();
}

void FakeCluster::revive_at(std::size_t index, net::Address at) {
  cs[index]->revive_at(at);
  master->cs_moved(index, at);
}

InodeId FakeCluster::create(FileSystem& file_system, const std::string& name) {
  pb::MakeNode make;
  make.set_parent(1);
  make.set_name(name);
  make.set_type(pb::TYPE_REGULAR);
  const Result<pb::Attributes> made = run(file_system.make_node(make, true));
  EXPECT_TRUE(made.has_value()) << made.error().to_string();
  return InodeId::from_raw(made->inode());
}

void FakeCluster::check_parity() const {
  const Block none{};
  for (const auto& [id, node] : master->nodes) {
    const Shape is = master->shape_of(id);
    const auto codec = erasure::Codec::get(is.data, is.parity);
    for (const auto& [index, chunk] : node.chunks) {
      std::vector<const FakeCs::Piece*> pieces(is.data + is.parity, nullptr);
      std::set<std::uint64_t> blocks;
      bool complete = true;
      for (const pb::Piece& piece : chunk.pieces()) {
        complete = complete && piece.state() != pb::PIECE_MISSING;
        if (piece.state() != pb::PIECE_CURRENT) continue;
        const auto& held = cs[piece.cs_id() - 1025]->pieces;
        const auto found = held.find({chunk.id(), piece.index()});
        ASSERT_NE(found, held.end()) << "chunk " << chunk.id() << " piece " << piece.index();
        pieces[piece.index()] = &found->second;
        for (const auto& [block, bytes] : found->second.blocks) blocks.insert(block);
      }
      if (!complete) continue;
      for (const std::uint64_t block : blocks) {
        std::vector<const std::byte*> data;
        std::vector<Block> parity(is.parity);
        std::vector<std::byte*> out;
        for (Block& one : parity) out.push_back(one.data());
        const auto bytes_of = [&](std::size_t piece) {
          if (pieces[piece] == nullptr) return none.data();
          const auto at = pieces[piece]->blocks.find(block);
          return at == pieces[piece]->blocks.end() ? none.data() : at->second.data();
        };
        for (std::size_t i = 0; i < is.data; ++i) data.push_back(bytes_of(i));
        codec->encode(data, out, kBlockBytes);
        for (std::size_t j = 0; j < is.parity; ++j) {
          ASSERT_EQ(std::memcmp(parity[j].data(), bytes_of(is.data + j), kBlockBytes), 0)
              << "inode " << id << " chunk " << index << " block " << block << " parity " << j;
        }
      }
    }
  }
}

std::vector<std::byte> joined(const std::vector<Buffer>& parts) {
  std::vector<std::byte> bytes;
  for (const Buffer& part : parts)
    bytes.insert(bytes.end(), part.data(), part.data() + part.size());
  return bytes;
}

}  // namespace cairn::client::testing
