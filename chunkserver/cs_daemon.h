// CsDaemon: the life of one cairn-csd: it comes home, opens its store and serves; or it is *sick*:
// it cannot serve, and stays to say why, to the cluster and at its control door, until it is
// stopped.
//
// Promises: ends by itself only for what the person who starts it must set right (another process
//           has the repository, a taken port, a store that was never made and cannot be). Writes
//           nothing below a repository that is not there; serves by itself when that appears, and
//           when the drive of a journal appears that was not there at the start. A
//           drive that hangs fences the store after hang_limit, and holds up neither heartbeats nor
//           control door nor the end.
// Requires: the runtime's loop; run() ended before it dies; everything it is given outlives it.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "chunkserver/chunk_server.h"
#include "chunkserver/control/cs_operator.h"
#include "chunkserver/control/unix_stream.h"
#include "chunkserver/health/watch.h"
#include "chunkserver/premises.h"
#include "chunkserver/whereabouts.h"
#include "common/runtime/completion.h"

namespace cairn::chunkserver {

struct CsDaemonOptions {
  net::Credentials credentials;
  std::string version;
  bool allow_faults = false;
  Duration hang_limit = 30s;
  cluster::Keeper::OnMembers on_mds_members;
  // Of the chunk server at home there; see client_converter.h. Empty: it converts nothing.
  std::function<convert::MakeConverter(const Whereabouts&)> converters;
  // It serves, or stays sick: `remark` says why.
  std::function<void(const std::string& remark)> on_ready;
  // The end is asked for and a drive holds it up: leave now. Acknowledged writes are durable.
  std::function<void()> leave_now;
};

class CsDaemon final : public control::House {
 public:
  CsDaemon(runtime::AsioRuntime& runtime, net::Network& network, rpc::Caller& mds,
           observe::Log& log, Whereabouts place, CsDaemonOptions options);
  ~CsDaemon() override;
  CsDaemon(const CsDaemon&) = delete;
  CsDaemon& operator=(const CsDaemon&) = delete;

  Task<Status> run();
  void request_stop();
  // Something is wrong with a drive: what is open cannot be closed in order.
  bool troubled() const { return trouble().has_value(); }

  // control::House
  control::protocol::Json state() const override;
  Result<store::PieceStore*> store() override;
  const control::JournalPlaces& places() const override { return places_; }
  Status set_tune(cairn::cluster::Tune tune) override;
  Status set_fault(control::protocol::FaultRequest request) override;

 private:
  struct Sick;

  Task<void> wait_for_home();
  Task<Status> live();
  Status move_in();
  Task<Status> open();
  // Sick or well, as it was opened.
  Task<void> settle(Status opened);
  // False: it is not that the journal's drive was missing, or stop() was asked for.
  Task<bool> wait_for_journal();
  // As before open().
  Task<void> move_out();
  bool ends_with(const Error& error) const;
  ChunkServerOptions server_options();
  void watch_drives();
  void on_hang(const Error& error);
  // Sick with this, or well again.
  Task<void> set_sick(std::optional<cluster::Failure> failure);
  void tell(const cluster::Failure& failure);
  // Until then; true: stop() was asked for.
  Task<bool> stopped_within(Duration duration);
  Task<void> attend();
  Task<Status> close();
  void hurry();
  std::optional<cluster::Failure> trouble() const;
  Duration oldest_request() const;
  control::protocol::Json journal_state() const;

  runtime::AsioRuntime& runtime_;
  net::Network& network_;
  rpc::Caller& mds_;
  observe::Log& log_;
  Whereabouts place_;
  CsDaemonOptions options_;
  control::JournalPlaces places_;
  std::optional<control::CsOperator> operator_;
  std::optional<control::ControlDoor> door_;
  std::unique_ptr<control::UnixListener> listener_;
  // In the order of their making: each stands on those above it.
  std::unique_ptr<Premises> premises_;
  std::unique_ptr<ChunkServer> server_;
  std::unique_ptr<health::Watch> watch_;
  std::unique_ptr<Sick> sick_;
  std::optional<cluster::Failure> failure_;  // of being sick
  std::optional<cluster::Failure> told_;
  bool opening_ = false;
  bool stopping_ = false;
  runtime::Mutex sickness_;
  std::optional<runtime::Completion<bool>> sleeper_;
  runtime::TaskGroup group_;
};

}  // namespace cairn::chunkserver
