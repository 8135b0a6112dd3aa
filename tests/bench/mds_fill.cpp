// cairn-mds-fill: fills the tables of a stopped MDS offline with many inodes, through the state
// machine but without a log, so that restart time, memory and lookups of large clusters can be
// measured. The repository must be of a group of one that is new or that was stopped cleanly. Never
// for a cluster with data.
//
// usage: cairn-mds-fill -r REPO --inodes N [--per-directory 1000] [--chunks] [--reads 100000]
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>

#include "common/base/prng.h"
#include "common/cluster/repository.h"
#include "common/daemon/daemon.h"
#include "common/kv/overlay.h"
#include "mds/replication/rocks_vault.h"
#include "mds/state/keys.h"
#include "mds/state/machine.h"

namespace cairn::mds {
namespace {

using Clock = std::chrono::steady_clock;
using state::Machine;

// Mutations from here on are executed without being remembered for a repeat.
constexpr std::uint64_t kUnstoredSeqs = 1ULL << 63;
constexpr std::size_t kBatchKeys = 100'000;
constexpr std::int64_t kFirstTimeNs = 1'700'000'000'000'000'000;

struct Arguments {
  std::string repository;
  std::uint64_t inodes = 0;
  std::uint64_t per_directory = 1000;
  bool chunks = false;
  std::uint64_t reads = 0;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The state machine with its tables and the next slot.
class Filler {
 public:
  explicit Filler(kv::RocksKv& tables) : tables_(tables), overlay_(tables) {}

  Status begin(const cluster::MdsRepository& identity) {
    TRY(const Slot applied, Machine::applied_slot(tables_));
    slot_ = applied;
    if (!state::queries::cluster(tables_).has_value()) {
      pb::Command init;
      init.mutable_init_cluster()->set_cluster_id(identity.cluster_id.raw());
      init.mutable_init_cluster()->set_name(identity.cluster);
      TRY_VOID(apply(init));
    }
    pb::Command open;
    pb::OpenSession& request = *open.mutable_open_session()->mutable_request();
    request.set_host("fill");
    request.set_process(fmt::format("fill {}", slot_.raw()));
    TRY(const pb::CommandReply reply, apply(open));
    session_ = reply.open_session().session();
    return {};
  }

  // As many fake chunk servers as a chunk of the root's encoding has pieces.
  Status add_chunk_servers() {
    TRY(const pb::InodeRecord root, state::queries::inode(overlay_, kRootInode));
    const pb::Encoding& encoding = root.policy().encoding();
    for (std::uint32_t i = 0; i < encoding.data() + encoding.parity(); ++i) {
      pb::Command add;
      add.mutable_add_cs()->mutable_request()->set_repo_uuid(0xf111'0000 + i);
      add.mutable_add_cs()->mutable_request()->set_host(fmt::format("fill{}", i));
      TRY(const pb::CommandReply reply, apply(add));
      chunk_servers_.push_back(reply.add_cs().cs_id());
    }
    return {};
  }

  Result<std::uint64_t> make(std::uint64_t parent, std::string name, pb::FileType type) {
    pb::Command command = mutation();
    pb::MakeNode& op = *command.mutable_client()->mutable_request()->mutable_make_node();
    op.set_parent(parent);
    op.set_name(std::move(name));
    op.set_type(type);
    op.set_mode(type == pb::TYPE_DIRECTORY ? 0755 : 0644);
    op.mutable_owner()->set_uid(1000);
    op.mutable_owner()->set_gid(1000);
    const bool with_chunk = type == pb::TYPE_REGULAR && !chunk_servers_.empty();
    op.set_exclusive_lease(with_chunk);
    TRY(const pb::CommandReply reply, apply(command));
    const pb::MakeNodeReply& made = reply.client().make_node();
    if (with_chunk) {
      TRY_VOID(write_chunk(made.attributes().inode(), made.epoch()));
    }
    return made.attributes().inode();
  }

  Status end() {
    pb::Command command;
    command.mutable_end_session()->set_session(session_);
    TRY_VOID(apply(command));
    TRY_VOID(tables_.write(overlay_.take()));
    return tables_.flush();
  }
  Slot slot() const { return slot_; }

 private:
  pb::Command mutation() {
    pb::Command command;
    pb::ClientRequest& request = *command.mutable_client()->mutable_request();
    request.set_session(session_);
    request.set_seq(kUnstoredSeqs + slot_.raw());
    return command;
  }

  Status write_chunk(std::uint64_t inode, std::uint64_t epoch) {
    pb::Command open = mutation();
    pb::OpenChunk& op = *open.mutable_client()->mutable_request()->mutable_open_chunk();
    op.set_inode(inode);
    op.set_epoch(epoch);
    op.set_touch((1U << chunk_servers_.size()) - 1);
    for (std::uint32_t i = 0; i < chunk_servers_.size(); ++i) {
      pb::Placement& placement = *open.mutable_client()->add_placement();
      placement.set_piece(i);
      placement.set_cs_id(chunk_servers_[i]);
    }
    TRY_VOID(apply(open));
    pb::Command release = mutation();
    pb::ReleaseLease& give = *release.mutable_client()->mutable_request()->mutable_release_lease();
    give.set_inode(inode);
    give.set_epoch(epoch);
    give.mutable_update()->set_size(1 << 20);
    give.mutable_update()->set_written_bytes(1 << 20);
    return drop_value(apply(release));
  }

  static Status drop_value(const Result<pb::CommandReply>& reply) {
    return reply.has_value() ? Status() : Status(fail(reply.error()));
  }

  Result<pb::CommandReply> apply(pb::Command command) {
    slot_ = slot_.next();
    command.set_time_ns(kFirstTimeNs + static_cast<std::int64_t>(slot_.raw()) * 1000);
    TRY(state::Applied applied, Machine::apply(slot_, command, overlay_));
    const pb::ErrorDetail& refused =
        applied.reply.has_error() ? applied.reply.error() : applied.reply.client().error();
    if (refused.code() != 0) return fail(Code::kInternal, "refused: " + refused.message());
    overlay_.add(applied.changes);
    if (overlay_.size() >= kBatchKeys) {
      TRY_VOID(tables_.write(overlay_.take()));
    }
    return std::move(applied.reply);
  }

  kv::RocksKv& tables_;
  kv::Overlay overlay_;
  Slot slot_;
  std::uint64_t session_ = 0;
  std::vector<std::uint32_t> chunk_servers_;
};

Status fill_files(Filler& filler, const Arguments& arguments) {
  const Clock::time_point start = Clock::now();
  TRY(const std::uint64_t top,
      filler.make(kRootInode.raw(), fmt::format("fill{}", filler.slot().raw()),
                  pb::TYPE_DIRECTORY));
  std::uint64_t directory = top;
  double told = 0;
  for (std::uint64_t made = 0; made < arguments.inodes; ++made) {
    if (made % (arguments.per_directory + 1) == 0) {
      const std::uint64_t number = made / (arguments.per_directory + 1);
      TRY(directory, filler.make(top, fmt::format("d{:06}", number), pb::TYPE_DIRECTORY));
    } else {
      TRY_VOID(filler.make(directory, fmt::format("file{:08}.dat", made), pb::TYPE_REGULAR));
    }
    const double now = made % 10'000 == 0 ? seconds_since(start) : told;
    if (now - told < 5) continue;
    told = now;
    fmt::print("{:>10} inodes, {:.0f}/s\n", made, static_cast<double>(made) / now);
  }
  TRY_VOID(filler.end());
  const double took = seconds_since(start);
  fmt::print("{} inodes in {:.1f} s: {:.0f}/s\n", arguments.inodes, took,
             static_cast<double>(arguments.inodes) / took);
  return {};
}

// Random reads and a digest, over tables that were just opened.
Status read_back(const std::filesystem::path& directory, std::uint64_t reads) {
  Clock::time_point start = Clock::now();
  TRY(const std::unique_ptr<kv::RocksKv> tables,
      kv::RocksKv::open(directory, replication::RocksVault::tables_options()));
  TRY(const pb::Counters counters, state::queries::counters(*tables));
  fmt::print("opened in {:.2f} s, {} inodes\n", seconds_since(start), counters.inodes());
  Prng prng(1);
  start = Clock::now();
  for (std::uint64_t i = 0; i < reads; ++i) {
    const std::uint64_t inode = 2 + prng.below(counters.next_inode() - 2);
    const auto found = state::queries::inode(*tables, InodeId::from_raw(inode));
    if (!found.has_value()) return fail(found.error());
  }
  fmt::print("an inode that is there: {:.1f} us\n",
             seconds_since(start) * 1e6 / static_cast<double>(reads));
  start = Clock::now();
  for (std::uint64_t i = 0; i < reads; ++i) {
    const InodeId parent = InodeId::from_raw(2 + prng.below(counters.next_inode() - 2));
    const auto found = tables->get(state::keys::dentry(parent, "absent"));
    if (!found.has_value()) return fail(found.error());
  }
  fmt::print("a name that is not there: {:.1f} us\n",
             seconds_since(start) * 1e6 / static_cast<double>(reads));
  start = Clock::now();
  const std::unique_ptr<kv::Reader> view = tables->view();
  TRY(const std::uint32_t digest, Machine::digest(*view));
  const kv::RocksKv::Stats stats = tables->stats();
  fmt::print("digest {:08x} in {:.2f} s; {} MiB cached, {} MiB of readers\n", digest,
             seconds_since(start), stats.block_cache_bytes >> 20, stats.table_reader_bytes >> 20);
  return {};
}

void print_memory() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  fmt::print("resident at most {} MiB\n", usage.ru_maxrss >> 10);
}

Status fill(const cluster::MdsRepository& identity, const std::filesystem::path& directory,
            const Arguments& arguments) {
  TRY(const std::unique_ptr<kv::RocksKv> tables,
      kv::RocksKv::open(directory, replication::RocksVault::tables_options()));
  Filler filler(*tables);
  TRY_VOID(filler.begin(identity));
  if (arguments.chunks) {
    TRY_VOID(filler.add_chunk_servers());
  }
  TRY_VOID(fill_files(filler, arguments));
  const kv::RocksKv::Stats stats = tables->stats();
  fmt::print("slot {}, {} MiB of tables, {} keys\n", filler.slot().raw(),
             stats.live_table_bytes >> 20, stats.keys_estimated);
  return {};
}

Status run(const Arguments& arguments) {
  TRY(const cluster::MdsRepository identity, cluster::MdsRepository::load(arguments.repository));
  TRY_VOID(daemon::lock_repository(arguments.repository));
  const std::filesystem::path directory = std::filesystem::path(arguments.repository) / "db";
  if (arguments.inodes != 0) {
    TRY_VOID(fill(identity, directory, arguments));
  }
  if (arguments.reads != 0) {
    TRY_VOID(read_back(directory, arguments.reads));
  }
  print_memory();
  return {};
}

}  // namespace
}  // namespace cairn::mds

int main(int argc, char** argv) {
  cairn::mds::Arguments arguments;
  CLI::App app("Fills a stopped MDS with inodes, for measurements");
  app.add_option("-r", arguments.repository, "repository of the MDS")->required();
  app.add_option("--inodes", arguments.inodes, "how many to make")->required();
  app.add_option("--per-directory", arguments.per_directory, "files in each directory");
  app.add_flag("--chunks", arguments.chunks,
               "one chunk a file, on chunk servers that do not exist");
  app.add_option("--reads", arguments.reads, "then read that many at random, and take a digest");
  CLI11_PARSE(app, argc, argv);
  const cairn::Status done = cairn::mds::run(arguments);
  if (done.has_value()) return 0;
  fmt::print(stderr, "cairn-mds-fill: {}\n", done.error().to_string());
  return 1;
}
