#include "common/rpc/rpc.h"

#include "common/base/check.h"

namespace cairn::rpc {

void Dispatcher::add(std::string method, Handler handler) {
  CHECK(method.starts_with('/'));
  CHECK(handler != nullptr);
  const bool added = handlers_.emplace(std::move(method), std::move(handler)).second;
  CHECK(added);
}

const Handler* Dispatcher::find(std::string_view method) const {
  const auto it = handlers_.find(method);
  return it == handlers_.end() ? nullptr : &it->second;
}

}  // namespace cairn::rpc
