#include "common/rpc/grpc_call.h"

#include <algorithm>

namespace cairn::rpc {
namespace {

constexpr std::size_t kMessageTextMax = 2048;  // gRPC carries it in a header

}  // namespace

std::string metadata_of(const grpc::GenericCallbackServerContext& context, const char* key) {
  const auto it = context.client_metadata().find(key);
  if (it == context.client_metadata().end()) return {};
  return {it->second.data(), it->second.size()};
}

grpc::Status refuse_with(grpc::GenericCallbackServerContext& context, const Error& error) {
  context.AddTrailingMetadata(kCodeKey, std::to_string(static_cast<unsigned>(error.code())));
  return grpc::Status(static_cast<grpc::StatusCode>(to_grpc_status(error.code())),
                      error.message().substr(0, kMessageTextMax));
}

bool CallTable::add(const std::shared_ptr<Call>& call) {
  std::shared_ptr<Call> dropped;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return false;
    if (calls_.size() >= kCallsMax) {
      const auto it = std::ranges::find_if(
          calls_, [](const auto& entry) { return entry.second->is_reading(); });
      // It stays in the table until gRPC is done with it, beyond the limit for that moment.
      if (it == calls_.end() || calls_.size() >= 2 * kCallsMax) return false;
      dropped = it->second;
    }
    call->number = next_number_++;
    calls_.emplace(call->number, call);
  }
  // Outside the lock: the end of a call comes back into the table.
  if (dropped)
    dropped->finish(fail(Code::kOverloaded, "too many calls, and this one said nothing"));
  return true;
}
void CallTable::remove(Call* call) {
  std::shared_ptr<Call> last;  // dies outside the lock
  const std::lock_guard lock(mutex_);
  const auto it = calls_.find(call->number);
  if (it == calls_.end()) return;
  last = std::move(it->second);
  calls_.erase(it);
}
void CallTable::close(bool closed) {
  const std::lock_guard lock(mutex_);
  closed_ = closed;
}
std::vector<std::shared_ptr<Call>> CallTable::all() {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Call>> calls;
  for (const auto& [key, call] : calls_) calls.push_back(call);
  return calls;
}

}  // namespace cairn::rpc
