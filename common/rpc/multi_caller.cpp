#include "common/rpc/multi_caller.h"

namespace cairn::rpc {
namespace {

constexpr Duration kPause = 200ms;

bool was_not_done(Code code) { return code == Code::kUnavailable || code == Code::kNotMaster; }
bool is_peer_suspect(Code code) {
  return was_not_done(code) || code == Code::kTimeout || code == Code::kConnectionLost;
}

}  // namespace

MultiCaller::MultiCaller(runtime::Runtime& runtime, std::vector<std::unique_ptr<Caller>> peers,
                         Patience patience)
    : runtime_(runtime), peers_(std::move(peers)), patience_(patience) {}

Task<Result<std::string>> MultiCaller::call(std::string method, std::string request,
                                            Deadline deadline) {
  for (;;) {
    Result<std::string> outcome = co_await ask_round(&method, &request, deadline);
    const bool again = !outcome.has_value() && was_not_done(outcome.error().code()) &&
                       patience_ == Patience::kUntilDeadline && runtime_.now() + kPause < deadline;
    if (!again) co_return outcome;
    co_await runtime::sleep_for(runtime_, kPause);
  }
}

Task<Result<std::string>> MultiCaller::ask_round(const std::string* method,
                                                 const std::string* request, Deadline deadline) {
  Result<std::string> outcome = fail(Code::kUnavailable, "no address to call");
  const std::size_t first = preferred_;
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    const std::size_t at = (first + i) % peers_.size();
    std::string name = *method;
    std::string bytes = *request;
    outcome = co_await peers_[at]->call(std::move(name), std::move(bytes), deadline);
    if (outcome.has_value() || !is_peer_suspect(outcome.error().code())) {
      preferred_ = at;
      co_return outcome;
    }
    preferred_ = (at + 1) % peers_.size();
    if (!was_not_done(outcome.error().code()) || runtime_.now() >= deadline) co_return outcome;
  }
  co_return outcome;
}

}  // namespace cairn::rpc
