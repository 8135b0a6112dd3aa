// TimedOffload: an Offload that knows how old its oldest job is. The index lives on the same drive
// as the data; when that hangs a job shows it.
//
// Requires: as Offload.
#pragma once

#include <set>

#include "chunkserver/io/offload.h"
#include "common/base/time.h"

namespace cairn::chunkserver::health {

class TimedOffload {
 public:
  TimedOffload(runtime::Runtime& runtime, unsigned threads)
      : runtime_(runtime), offload_(runtime, threads) {}

  Task<Status> run(io::Offload::Job job) {
    const auto begun = begun_.insert(runtime_.now());
    Status status = co_await offload_.run(std::move(job));
    begun_.erase(begun);
    co_return status;
  }
  // Its time in line included; zero: there is none.
  Duration oldest() const { return begun_.empty() ? Duration{} : runtime_.now() - *begun_.begin(); }

 private:
  runtime::Runtime& runtime_;
  io::Offload offload_;
  std::multiset<Instant> begun_;
};

}  // namespace cairn::chunkserver::health
