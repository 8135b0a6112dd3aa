// MultiCaller: one Caller over several addresses of the same service. Stays with the peer that
// answered last; goes to the next on kUnavailable (not sent) and kNotMaster (not done). Other
// errors are the caller's: after kTimeout or kConnectionLost the request may have happened, so it
// is not sent again, but later calls begin with the next peer.
//
// Limits:   Patience::kOneRound asks each peer once; kUntilDeadline pauses 200 ms after a round and
//           goes on, which rides out an election.
// Errors:   the last peer's; kUnavailable when there is no peer.
// Requires: outlives its calls.
#pragma once

#include <memory>
#include <vector>

#include "common/rpc/rpc.h"
#include "common/runtime/runtime.h"

namespace cairn::rpc {

enum class Patience { kOneRound, kUntilDeadline };

class MultiCaller final : public Caller {
 public:
  MultiCaller(runtime::Runtime& runtime, std::vector<std::unique_ptr<Caller>> peers,
              Patience patience = Patience::kOneRound);

  Task<Result<std::string>> call(std::string method, std::string request,
                                 Deadline deadline) override;

 private:
  Task<Result<std::string>> ask_round(const std::string* method, const std::string* request,
                                      Deadline deadline);

  runtime::Runtime& runtime_;
  std::vector<std::unique_ptr<Caller>> peers_;
  Patience patience_;
  std::size_t preferred_ = 0;
};

}  // namespace cairn::rpc
