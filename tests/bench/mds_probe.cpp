// cairn-mds-probe: asks one MDS, and no other, for the attributes of an inode, again and again, and
// does not wait for answers before it asks anew. What it prints tells whether that MDS ever said
// something that was not true any more (tests/cluster/register.py judges).
//
//   cairn-mds-probe -c NAME --at ADDR:PORT --inode N [--every-ms 20] [--others ADDR:PORT,...]
//
// A line of each answer: "SENT ANSWERED CODE MTIME", ns of the monotonic clock; MTIME with CODE 0.
// After a lost connection or a refusal it connects again, to the same MDS. A new master would wait
// for the session of a client that it does not hear of: when answers stop, the session is resumed
// at one of the others, and what was asked before still waits for its answer. Ends with SIGTERM,
// and closes the session.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstdio>

#include "common/cluster/cluster_config.h"
#include "common/net/tcp_network.h"
#include "common/runtime/asio_runtime.h"
#include "common/runtime/task_group.h"
#include "tests/bench/mds_session.h"

namespace cairn::bench {
namespace {

constexpr Duration kConnectPatience = 300ms;
constexpr Duration kAnswerPatience = 120s;  // longer than any test stops an MDS
constexpr Duration kSilent = 300ms;
constexpr Duration kGoodByePatience = 3s;

struct Arguments {
  std::string cluster;
  std::string at;
  std::uint64_t inode = 0;
  int every_ms = 20;
  std::vector<std::string> others;
};

struct Probe {
  runtime::AsioRuntime loop;
  net::TcpNetwork network{loop};
  std::unique_ptr<MdsSession> session;
  std::unique_ptr<runtime::TaskGroup> questions;
  bool broken = true;  // the channel, or its MDS is not the master
  Instant answered;    // the newest good answer
  std::unique_ptr<MdsSession> elsewhere;
  std::unique_ptr<MdsSession> last;
};

void print(Instant sent, Instant answered, unsigned code, std::int64_t mtime) {
  fmt::print("{} {} {} {}\n", sent.nanos(), answered.nanos(), code, mtime);
  std::fflush(stdout);
}

Task<void> ask_one(Probe* probe, std::uint64_t inode) {
  pb::ClientRequest request;
  request.mutable_get_attr()->set_inode(inode);
  const Instant sent = probe->loop.now();
  const Deadline deadline = sent + kAnswerPatience;
  const Result<pb::ClientReply> reply = co_await probe->session->ask(std::move(request), deadline);
  if (reply.has_value()) {
    probe->answered = probe->loop.now();
    print(sent, probe->loop.now(), 0, reply->attributes().mtime_ns());
    co_return;
  }
  print(sent, probe->loop.now(), static_cast<unsigned>(reply.error().code()), 0);
  probe->broken = true;
}

Task<void> ask_for_ever(Probe* probe, const Arguments* arguments) {
  const Duration every = std::chrono::milliseconds(arguments->every_ms);
  for (;;) {
    if (probe->broken) {
      const Instant sent = probe->loop.now();
      const Deadline deadline = sent + kConnectPatience;
      const Status opened = co_await probe->session->open(deadline);
      if (opened.has_value()) {
        probe->broken = false;
      } else {
        print(sent, probe->loop.now(), static_cast<unsigned>(opened.error().code()), 0);
      }
    }
    if (!probe->broken) probe->questions->spawn(ask_one(probe, arguments->inode));
    const Instant again = probe->loop.after(every);
    co_await runtime::sleep_until(probe->loop, again);
  }
}

// Not for a session that was resumed already: only the first silence is covered.
Task<void> resume_elsewhere(Probe* probe, MdsSession::Options options) {
  for (;;) {
    const bool silent =
        probe->answered != Instant() && probe->loop.now() - probe->answered > kSilent;
    if (silent && probe->session->session() != 0) break;
    const Instant again = probe->loop.after(kSilent / 4);
    co_await runtime::sleep_until(probe->loop, again);
  }
  options.resume = probe->session->session();
  probe->elsewhere = std::make_unique<MdsSession>(probe->loop, probe->network, std::move(options));
  const Deadline never = Deadline::infinite();
  const Status resumed = co_await probe->elsewhere->open(never);
  if (resumed.has_value()) co_return;
  fmt::print(stderr, "resuming elsewhere: {}\n", resumed.error().to_string());
}

// At the end: a session that is left open would hold up the next failover.
Task<void> say_good_bye(Probe* probe, MdsSession::Options options) {
  options.resume = probe->session->session();
  probe->last = std::make_unique<MdsSession>(probe->loop, probe->network, std::move(options));
  const Deadline deadline = probe->loop.after(kGoodByePatience);
  const Status resumed = co_await probe->last->open(deadline);
  if (resumed.has_value()) co_await probe->last->close();
  std::fflush(stdout);
  std::_Exit(resumed.has_value() ? 0 : 1);  // questions may still wait: nobody waits for them
}

Status probe(const Arguments& arguments) {
  const cluster::ClusterConfig config("", arguments.cluster);
  TRY(const net::Credentials credentials, config.credentials());
  TRY(const net::Address at, net::Address::parse(arguments.at));
  Probe probe;
  MdsSession::Options options{.doors = {cluster::session_address(at)},
                              .credentials = credentials,
                              .name = fmt::format("probe {}", ::getpid())};
  probe.session = std::make_unique<MdsSession>(probe.loop, probe.network, options);
  probe.questions = std::make_unique<runtime::TaskGroup>(probe.loop);
  MdsSession::Options everywhere = options;
  options.doors.clear();
  for (const std::string& text : arguments.others) {
    TRY(const net::Address other, net::Address::parse(text));
    options.doors.push_back(cluster::session_address(other));
    everywhere.doors.push_back(options.doors.back());
  }
  boost::asio::signal_set signals(probe.loop.context(), SIGTERM);
  signals.async_wait([&probe, &everywhere](const boost::system::error_code& error, int) {
    if (!error) probe.questions->spawn(say_good_bye(&probe, everywhere));
  });
  if (!options.doors.empty()) {
    probe.questions->spawn(resume_elsewhere(&probe, std::move(options)));
  }
  probe.questions->spawn(ask_for_ever(&probe, &arguments));
  probe.loop.run();  // until say_good_bye()
  return {};
}

}  // namespace
}  // namespace cairn::bench

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_DFL);
  cairn::bench::Arguments arguments;
  CLI::App app("What one MDS says of an inode");
  app.add_option("-c,--cluster", arguments.cluster, "the cluster's name")->required();
  app.add_option("--at", arguments.at, "ADDR:PORT of the MDS")->required();
  app.add_option("--inode", arguments.inode, "whose mtime is printed")->required();
  app.add_option("--others", arguments.others, "ADDR:PORT,... of the other MDS")->delimiter(',');
  app.add_option("--every-ms", arguments.every_ms, "between two questions (20)");
  CLI11_PARSE(app, argc, argv);
  const cairn::Status done = cairn::bench::probe(arguments);
  if (done.has_value()) return 0;
  fmt::print(stderr, "cairn-mds-probe: {}\n", done.error().to_string());
  return 1;
}
