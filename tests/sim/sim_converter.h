// SimConverter: what converts files in a simulated chunk server: the production worker of
// client/convert as a client of the simulated cluster.
#pragma once

#include <functional>

#include "chunkserver/convert/converter.h"
#include "client/convert/conversion_worker.h"

namespace cairn::sim {

class SimConverter final : public chunkserver::convert::Converter {
 public:
  // `at_work`: where it can be found while it lives.
  SimConverter(runtime::Runtime& runtime, net::Network& network, observe::Log& log,
               client::Options options, SimConverter** at_work)
      : worker_(runtime, network, log, std::move(options)), at_work_(at_work) {
    *at_work_ = this;
  }
  ~SimConverter() override { *at_work_ = nullptr; }
  SimConverter(const SimConverter&) = delete;
  SimConverter& operator=(const SimConverter&) = delete;

  Task<Status> run() override { return worker_.run(); }
  void interrupt() override { worker_.interrupt(); }
  Task<void> stop() override { return worker_.stop(); }
  // It has a file now.
  bool has_file() const { return worker_.stats().inode != 0; }

 private:
  client::convert::ConversionWorker worker_;
  SimConverter** at_work_;
};

}  // namespace cairn::sim
