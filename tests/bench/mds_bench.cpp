// cairn-mds-bench: commits per second and latency of a group of MDS, without mounts. Each client is
// a session of its own with a directory of its own, and `--depth` operations under way: create a
// file, unlink it, and so on. Operations survive a change of the master (mds_session.h), so the
// longest latency of a run with a kill is the failover time.
//
//   cairn-mds-bench -c NAME [--masters ADDR,...] [--clients 64] [--depth 1] [--seconds 10]
//                   [--trace FILE] [--json]
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/cluster/cluster_config.h"
#include "common/daemon/memory.h"
#include "common/net/tcp_network.h"
#include "common/rpc/grpc_client.h"
#include "common/rpc/multi_caller.h"
#include "common/runtime/asio_runtime.h"
#include "common/runtime/task_group.h"
#include "proto/admin.pb.h"
#include "tests/bench/mds_session.h"

namespace cairn::bench {
namespace {

using runtime::AsioRuntime;
using runtime::TaskGroup;

struct Arguments {
  std::string cluster;
  std::vector<std::string> masters;
  std::size_t clients = 1;
  std::size_t depth = 1;
  double seconds = 10;
  double patience = 60;  // an operation that took longer is an error
  std::string trace;
  bool json = false;
};

// An operation that was committed. Nanoseconds of the monotonic clock, that of the machine.
struct Sample {
  std::int64_t sent;
  std::int64_t answered;
  std::size_t door;
};

struct Run {
  AsioRuntime loop;
  net::TcpNetwork network{loop};
  std::unique_ptr<rpc::MultiCaller> admin;
  std::vector<std::unique_ptr<MdsSession>> sessions;
  std::vector<std::uint64_t> directories;
  std::vector<Sample> samples;
  std::vector<std::string> errors;  // the first few
  std::size_t failed = 0;
  bool over = false;
  Duration patience{0};
};

struct Totals {
  std::uint64_t slots = 0;
  std::map<std::uint32_t, std::uint64_t> flushes;
  std::uint32_t master = 0;
};

void note_error(Run* run, const Error& error) {
  ++run->failed;
  if (run->errors.size() < 5) run->errors.push_back(error.to_string());
}

Task<Result<Totals>> totals(Run* run) {
  std::string method = "/cairn.pb.Admin/Stat";
  pb::StatRequest request;
  const Deadline deadline = run->loop.after(30s);
  const Result<pb::StatReply> reply = co_await rpc::call<pb::StatReply>(
      *run->admin, std::move(method), std::move(request), deadline);
  if (!reply.has_value()) co_return fail(reply.error());
  Totals found;
  for (const pb::MdsStat& mds : reply->mds()) {
    found.flushes[mds.id()] = mds.flushes();
    if (!mds.master()) continue;
    found.slots = mds.applied_slot();
    found.master = mds.id();
  }
  co_return found;
}

pb::ClientRequest make(std::uint64_t parent, std::string name, pb::FileType type) {
  pb::ClientRequest request;
  pb::MakeNode& node = *request.mutable_make_node();
  node.set_parent(parent);
  node.set_name(std::move(name));
  node.set_type(type);
  node.set_mode(0755);
  node.mutable_owner();
  return request;
}

pb::ClientRequest remove(std::uint64_t parent, std::string name, bool directory) {
  pb::ClientRequest request;
  request.mutable_unlink()->set_parent(parent);
  request.mutable_unlink()->set_name(std::move(name));
  request.mutable_unlink()->set_directory(directory);
  return request;
}

// False: the lane gives up.
Task<bool> timed(Run* run, MdsSession* session, pb::ClientRequest request) {
  const Instant sent = run->loop.now();
  const Deadline deadline = sent + run->patience;
  const Result<pb::ClientReply> reply = co_await session->mutate(std::move(request), deadline);
  if (!reply.has_value()) {
    note_error(run, reply.error());
    co_return false;
  }
  run->samples.push_back({sent.nanos(), run->loop.now().nanos(), session->door()});
  co_return true;
}

// Leaves nothing behind: ends after an unlink.
Task<void> lane(Run* run, MdsSession* session, std::uint64_t directory, std::size_t number) {
  const std::string name = fmt::format("f{}", number);
  while (!run->over) {
    pb::ClientRequest create = make(directory, name, pb::TYPE_REGULAR);
    const bool created = co_await timed(run, session, std::move(create));
    if (!created) break;
    pb::ClientRequest unlink = remove(directory, name, false);
    const bool unlinked = co_await timed(run, session, std::move(unlink));
    if (!unlinked) break;
  }
}

Task<void> prepare(Run* run, MdsSession* session, std::uint64_t* directory, std::string name) {
  const Deadline deadline = run->loop.after(30s);
  const Status opened = co_await session->open(deadline);
  if (!opened.has_value()) {
    note_error(run, opened.error());
    co_return;
  }
  pb::ClientRequest request = make(session->root(), std::move(name), pb::TYPE_DIRECTORY);
  const Result<pb::ClientReply> made = co_await session->mutate(std::move(request), deadline);
  if (!made.has_value()) {
    note_error(run, made.error());
    co_return;
  }
  *directory = made->make_node().attributes().inode();
}

Task<void> clean(Run* run, MdsSession* session, std::string name) {
  pb::ClientRequest request = remove(session->root(), std::move(name), true);
  const Deadline deadline = run->loop.after(30s);
  const Result<pb::ClientReply> removed = co_await session->mutate(std::move(request), deadline);
  if (!removed.has_value()) note_error(run, removed.error());
  co_await session->close();
}

std::string directory_name(std::size_t client) {
  return fmt::format("mds-bench-{}-{}", ::getpid(), client);
}

double quantile_us(const std::vector<double>& sorted, double q) {
  if (sorted.empty()) return 0;
  return sorted[std::min(sorted.size() - 1,
                         static_cast<std::size_t>(q * static_cast<double>(sorted.size())))];
}

void write_trace(const Run& run, const std::string& path) {
  std::FILE* const file = std::fopen(path.c_str(), "w");
  CHECK(file != nullptr);
  for (const Sample& s : run.samples) {
    fmt::print(file, "{} {} {}\n", s.sent, s.answered, s.door);
  }
  CHECK_EQ(std::fclose(file), 0);
}

void report(const Arguments& arguments, const Run& run, double seconds, const Totals& before,
            const Totals& after) {
  std::vector<double> us;
  us.reserve(run.samples.size());
  for (const Sample& s : run.samples) us.push_back(static_cast<double>(s.answered - s.sent) / 1e3);
  std::sort(us.begin(), us.end());
  const auto ops = static_cast<double>(run.samples.size());
  nlohmann::ordered_json json = {{"clients", arguments.clients},
                                 {"depth", arguments.depth},
                                 {"seconds", seconds},
                                 {"ops", run.samples.size()},
                                 {"ops_per_s", ops / seconds},
                                 {"p50_us", quantile_us(us, 0.5)},
                                 {"p99_us", quantile_us(us, 0.99)}};
  json["max_us"] = us.empty() ? 0.0 : us.back();
  json["failed"] = run.failed;
  json["errors"] = run.errors;
  json["slots"] = after.slots - before.slots;
  json["flushes"] = nlohmann::ordered_json::object();
  std::uint64_t flushes = 0;
  for (const auto& [id, count] : after.flushes) {
    const auto found = before.flushes.find(id);
    const std::uint64_t base = found == before.flushes.end() ? 0 : found->second;
    const std::uint64_t delta = count >= base ? count - base : count;  // it was restarted
    json["flushes"][std::to_string(id)] = delta;
    if (id == after.master) flushes = delta;
  }
  const bool known = flushes != 0 && before.master == after.master;
  json["fsyncs_per_op"] = known && ops > 0 ? static_cast<double>(flushes) / ops : 0.0;
  json["slots_per_flush"] =
      known ? static_cast<double>(after.slots - before.slots) / static_cast<double>(flushes) : 0.0;
  if (arguments.json) {
    fmt::print("{}\n", json.dump());
    return;
  }
  fmt::print(
      "{} clients x {}: {:.0f} ops/s, p50 {:.0f} us, p99 {:.0f} us, max {:.0f} us, {} failed; "
      "master: {:.2f} fsyncs/op, {:.1f} slots a flush\n",
      arguments.clients, arguments.depth, ops / seconds, quantile_us(us, 0.5),
      quantile_us(us, 0.99), us.empty() ? 0.0 : us.back(), run.failed,
      json["fsyncs_per_op"].get<double>(), json["slots_per_flush"].get<double>());
  for (const std::string& error : run.errors) fmt::print("  error: {}\n", error);
}

Task<void> run_all(Run* run, const Arguments* arguments) {
  TaskGroup group(run->loop);
  for (std::size_t i = 0; i < arguments->clients; ++i) {
    std::string name = directory_name(i);
    group.spawn(prepare(run, run->sessions[i].get(), &run->directories[i], std::move(name)));
  }
  co_await group.join();
  const Result<Totals> before = co_await totals(run);
  if (!before.has_value()) note_error(run, before.error());
  const Instant begin = run->loop.now();
  if (run->failed == 0) {
    for (std::size_t i = 0; i < arguments->clients; ++i) {
      for (std::size_t j = 0; j < arguments->depth; ++j) {
        group.spawn(lane(run, run->sessions[i].get(), run->directories[i], j));
      }
    }
    const auto length =
        std::chrono::duration_cast<Duration>(std::chrono::duration<double>(arguments->seconds));
    co_await runtime::sleep_until(run->loop, begin + length);
    run->over = true;
    co_await group.join();
  }
  const double seconds = static_cast<double>((run->loop.now() - begin).count()) / 1e9;
  const Result<Totals> after = co_await totals(run);
  report(*arguments, *run, seconds, before.value_or(Totals()), after.value_or(Totals()));
  for (std::size_t i = 0; i < arguments->clients; ++i) {
    std::string name = directory_name(i);
    group.spawn(clean(run, run->sessions[i].get(), std::move(name)));
  }
  co_await group.join();
  run->loop.stop();
}

Status bench(const Arguments& arguments) {
  daemon::keep_freed_memory();  // as in the daemons
  const cluster::ClusterConfig config("", arguments.cluster);
  TRY(const net::Credentials credentials, config.credentials());
  TRY(std::vector<net::Address> masters, config.mds_addresses());
  if (!arguments.masters.empty()) masters.clear();
  for (const std::string& text : arguments.masters) {
    TRY(net::Address address, net::Address::parse(text));
    masters.push_back(std::move(address));
  }
  Run run;
  run.patience =
      std::chrono::duration_cast<Duration>(std::chrono::duration<double>(arguments.patience));
  run.samples.reserve(1 << 20);
  run.admin = std::make_unique<rpc::MultiCaller>(
      run.loop, rpc::make_grpc_callers(run.loop, masters, credentials),
      rpc::Patience::kUntilDeadline);
  MdsSession::Options options{.doors = {}, .credentials = credentials, .name = {}};
  for (const net::Address& address : masters) {
    options.doors.push_back(cluster::session_address(address));
  }
  for (std::size_t i = 0; i < arguments.clients; ++i) {
    options.name = fmt::format("bench {} {}", ::getpid(), i);
    run.sessions.push_back(std::make_unique<MdsSession>(run.loop, run.network, options));
  }
  run.directories.resize(arguments.clients);
  TaskGroup group(run.loop);
  group.spawn(run_all(&run, &arguments));
  run.loop.run();
  if (!arguments.trace.empty()) write_trace(run, arguments.trace);
  if (run.failed != 0) return fail(Code::kInternal, run.errors.front());
  return {};
}

}  // namespace
}  // namespace cairn::bench

int main(int argc, char** argv) {
  cairn::bench::Arguments arguments;
  CLI::App app("Load on a group of MDS, without mounts");
  app.add_option("-c,--cluster", arguments.cluster, "the cluster's name")->required();
  app.add_option("--masters", arguments.masters, "ADDR:PORT,... of its MDS (default: bs.list)")
      ->delimiter(',');
  app.add_option("--clients", arguments.clients, "sessions (1)")->check(CLI::Range(1, 1024));
  app.add_option("--depth", arguments.depth, "operations of each under way (1)")
      ->check(CLI::Range(1, 256));
  app.add_option("--seconds", arguments.seconds, "of load (10)");
  app.add_option("--patience", arguments.patience, "seconds after which an operation failed (60)");
  app.add_option("--trace", arguments.trace, "a line of each operation: sent, answered (ns), door");
  app.add_flag("--json", arguments.json);
  CLI11_PARSE(app, argc, argv);
  const cairn::Status done = cairn::bench::bench(arguments);
  if (done.has_value()) return 0;
  fmt::print(stderr, "cairn-mds-bench: {}\n", done.error().to_string());
  return 1;
}
