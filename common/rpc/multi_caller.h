// MultiCaller: one Caller over several addresses of the same service. Stays with the peer that
// answered last; goes to the next on kUnavailable (not sent) and kNotMaster (not done). Other
// errors are the caller's: after kTimeout or kConnectionLost the request may have happened, so it
// is sent again only with Resend::kIdempotent, but later calls begin with the next peer.
//
// Promises: learn() replaces what was learned before; the addresses of the constructor stay.
// Limits:   Patience::kOneRound asks each peer once; kUntilDeadline pauses after a round and goes
//           on, which rides out an election. `attempt` bounds what one silent peer may cost.
//           kPeersMax peers.
// Errors:   the last peer's, but of a round with a kNotMaster that (some MDS live, none leads);
//           kUnavailable when there is no peer.
// Requires: outlives its calls.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/net/stream.h"
#include "common/rpc/rpc.h"
#include "common/runtime/runtime.h"

namespace cairn::rpc {

enum class Patience { kOneRound, kUntilDeadline };
enum class Resend { kWhenNotDone, kIdempotent };

using MakeCaller = std::function<std::unique_ptr<Caller>(const net::Address&)>;

class MultiCaller final : public Caller {
 public:
  static constexpr std::size_t kPeersMax = 32;

  struct Options {
    Patience patience = Patience::kOneRound;
    Resend resend = Resend::kWhenNotDone;
    // With kIdempotent: one peer may take this long. Zero: up to the deadline of the call.
    Duration attempt = Duration{};
    Duration pause = std::chrono::milliseconds(200);  // between rounds
  };

  // A fixed set of peers.
  MultiCaller(runtime::Runtime& runtime, std::vector<std::unique_ptr<Caller>> peers,
              Patience patience = Patience::kOneRound);
  // Peers that come and go.
  MultiCaller(runtime::Runtime& runtime, const std::vector<net::Address>& addresses,
              MakeCaller make, Options options);

  Task<Result<std::string>> call(std::string method, std::string request,
                                 Deadline deadline) override;

  // The members now, likeliest master first, as they stand in replies ("ADDR:PORT"). An empty list
  // says nothing and changes nothing; what is no address is skipped.
  void learn(const std::vector<std::string>& members);
  std::vector<net::Address> addresses() const;

 private:
  struct Peer {
    net::Address address;
    bool fixed = false;  // not learned
    std::shared_ptr<Caller> caller;
  };

  Task<Result<std::string>> ask_round(const std::string* method, const std::string* request,
                                      Deadline deadline);
  bool goes_on(Code code) const;
  Deadline attempt_deadline(Deadline deadline) const;
  void prefer_next(const std::shared_ptr<Caller>& after);
  std::size_t index_of(const std::shared_ptr<Caller>& caller) const;

  runtime::Runtime& runtime_;
  std::vector<Peer> peers_;
  MakeCaller make_;
  Options options_;
  std::size_t preferred_ = 0;
};

}  // namespace cairn::rpc
