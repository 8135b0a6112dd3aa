#include "common/rpc/multi_caller.h"

#include <algorithm>

namespace cairn::rpc {
namespace {

bool was_not_done(Code code) { return code == Code::kUnavailable || code == Code::kNotMaster; }
bool is_unknown(Code code) { return code == Code::kTimeout || code == Code::kConnectionLost; }

}  // namespace

MultiCaller::MultiCaller(runtime::Runtime& runtime, std::vector<std::unique_ptr<Caller>> peers,
                         Patience patience)
    : runtime_(runtime), options_{.patience = patience} {
  for (std::unique_ptr<Caller>& caller : peers) {
    peers_.push_back({.address = {}, .fixed = true, .caller = std::move(caller)});
  }
}

MultiCaller::MultiCaller(runtime::Runtime& runtime, const std::vector<net::Address>& addresses,
                         MakeCaller make, Options options)
    : runtime_(runtime), make_(std::move(make)), options_(options) {
  for (const net::Address& address : addresses) {
    const bool known =
        std::ranges::any_of(peers_, [&](const Peer& peer) { return peer.address == address; });
    if (known) continue;
    peers_.push_back({.address = address, .fixed = true, .caller = make_(address)});
  }
}

bool MultiCaller::goes_on(Code code) const {
  return was_not_done(code) || (is_unknown(code) && options_.resend == Resend::kIdempotent);
}

Deadline MultiCaller::attempt_deadline(Deadline deadline) const {
  const bool bounded = options_.resend == Resend::kIdempotent && options_.attempt != Duration{};
  return bounded ? std::min(deadline, runtime_.after(options_.attempt)) : deadline;
}

std::size_t MultiCaller::index_of(const std::shared_ptr<Caller>& caller) const {
  const auto at =
      std::ranges::find_if(peers_, [&](const Peer& peer) { return peer.caller == caller; });
  return static_cast<std::size_t>(at - peers_.begin());
}

void MultiCaller::prefer_next(const std::shared_ptr<Caller>& after) {
  const std::size_t at = index_of(after);
  // A call beside this one may have found a better peer meanwhile.
  if (at == preferred_ && at < peers_.size()) preferred_ = (at + 1) % peers_.size();
}

Task<Result<std::string>> MultiCaller::call(std::string method, std::string request,
                                            Deadline deadline) {
  for (;;) {
    Result<std::string> outcome = co_await ask_round(&method, &request, deadline);
    const bool again = !outcome.has_value() && goes_on(outcome.error().code()) &&
                       options_.patience == Patience::kUntilDeadline &&
                       runtime_.now() + options_.pause < deadline;
    if (!again) co_return outcome;
    co_await runtime::sleep_for(runtime_, options_.pause);
  }
}

Task<Result<std::string>> MultiCaller::ask_round(const std::string* method,
                                                 const std::string* request, Deadline deadline) {
  Result<std::string> outcome = fail(Code::kUnavailable, "no address to call");
  // learn() may change the peers while one of them is asked.
  std::vector<std::shared_ptr<Caller>> round;
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    round.push_back(peers_[(preferred_ + i) % peers_.size()].caller);
  }
  bool leaderless = false;
  for (const std::shared_ptr<Caller>& caller : round) {
    std::string name = *method;
    std::string bytes = *request;
    const Deadline until = attempt_deadline(deadline);
    Result<std::string> answer = co_await caller->call(std::move(name), std::move(bytes), until);
    const bool told = answer.has_value() ||
                      !(was_not_done(answer.error().code()) || is_unknown(answer.error().code()));
    if (told) {
      const std::size_t at = index_of(caller);
      if (at < peers_.size()) preferred_ = at;
      co_return answer;
    }
    prefer_next(caller);
    const Code code = answer.error().code();
    if (!leaderless || code == Code::kNotMaster) outcome = std::move(answer);
    leaderless = leaderless || code == Code::kNotMaster;
    if (!goes_on(code) || runtime_.now() >= deadline) break;
  }
  co_return outcome;
}

void MultiCaller::learn(const std::vector<std::string>& members) {
  if (members.empty() || make_ == nullptr) return;
  const std::shared_ptr<Caller> preferred =
      preferred_ < peers_.size() ? peers_[preferred_].caller : nullptr;
  std::vector<net::Address> told;
  for (const std::string& member : members) {
    const Result<net::Address> address = net::Address::parse(member);
    if (address.has_value()) told.push_back(*address);
  }
  if (told.empty()) return;
  std::erase_if(peers_, [&](const Peer& peer) {
    return !peer.fixed && std::ranges::find(told, peer.address) == told.end();
  });
  for (const net::Address& address : told) {
    const bool known =
        std::ranges::any_of(peers_, [&](const Peer& peer) { return peer.address == address; });
    if (known || peers_.size() >= kPeersMax) continue;
    peers_.push_back({.address = address, .fixed = false, .caller = make_(address)});
  }
  const std::size_t at = index_of(preferred);
  preferred_ = at < peers_.size() ? at : 0;
}

std::vector<net::Address> MultiCaller::addresses() const {
  std::vector<net::Address> all;
  for (const Peer& peer : peers_) all.push_back(peer.address);
  return all;
}

}  // namespace cairn::rpc
