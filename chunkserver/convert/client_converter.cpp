#include "chunkserver/convert/client_converter.h"

#include "client/convert/conversion_worker.h"
#include "common/cluster/cluster_config.h"
#include "common/daemon/memory.h"
#include "common/daemon/process_identity.h"

namespace cairn::chunkserver::convert {
namespace {

class ClientConverter final : public Converter {
 public:
  ClientConverter(runtime::Runtime& runtime, net::Network& network, observe::Log& log,
                  client::Options options)
      : worker_(std::make_unique<Worker>(runtime, network, log, std::move(options))) {}
  ~ClientConverter() override {
    worker_.reset();
    daemon::give_freed_memory_back();  // tens of megabytes, which the store has no use for
  }
  ClientConverter(const ClientConverter&) = delete;
  ClientConverter& operator=(const ClientConverter&) = delete;

  Task<Status> run() override { return worker_->run(); }
  void interrupt() override { worker_->interrupt(); }
  Task<void> stop() override { return worker_->stop(); }

 private:
  using Worker = client::convert::ConversionWorker;
  std::unique_ptr<Worker> worker_;
};

Result<client::Options> session_options(const ClientConverterOptions& from) {
  client::Options options;
  for (const net::Address& mds : from.mds()) {
    options.masters.push_back(cairn::cluster::session_address(mds));
  }
  TRY(options.host_id, from.host_id());
  TRY(options.process, daemon::process_identity());
  options.credentials = from.credentials;
  options.host = from.host;
  options.converter = from.cs_id.raw();
  options.cache_bytes = kConverterCache;
  // A cluster without space is the administrator's matter: the file is tried again later.
  options.fail_on_nospace = true;
  options.hard = false;
  options.process_alive = [](const std::string& process) { return daemon::process_alive(process); };
  return options;
}

}  // namespace

MakeConverter client_converters(runtime::Runtime& runtime, net::Network& network, observe::Log& log,
                                ClientConverterOptions options) {
  return [&runtime, &network, &log,
          from = std::move(options)]() -> Result<std::unique_ptr<Converter>> {
    TRY(client::Options session, session_options(from));
    return std::make_unique<ClientConverter>(runtime, network, log, std::move(session));
  };
}

}  // namespace cairn::chunkserver::convert
