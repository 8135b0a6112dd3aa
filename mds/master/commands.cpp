#include "mds/master/commands.h"

#include <algorithm>

namespace cairn::mds::master {

Error to_error(const pb::ErrorDetail& detail) {
  if (!is_known_code(detail.code())) return Error(Code::kInternal, detail.message());
  return Error(static_cast<Code>(detail.code()), detail.message());
}

void fill_error(const Error& error, pb::ErrorDetail* detail) {
  detail->set_code(static_cast<std::uint32_t>(error.code()));
  detail->set_message(error.message());
}

Task<Status> Commands::confirm() {
  Status confirmed = co_await log_.confirm();
  if (closed_) co_return fail(Code::kNotMaster, "this MDS is not the master any more");
  co_return confirmed;
}

Task<Result<pb::CommandReply>> Commands::run(pb::Command command) {
  if (closed_) co_return fail(Code::kNotMaster, "this MDS is not the master any more");
  last_time_ns_ = std::max(last_time_ns_ + 1, runtime_.wall_now().raw());
  command.set_time_ns(last_time_ns_);
  std::string bytes = command.SerializeAsString();
  Result<std::string> answer = co_await log_.propose(std::move(bytes));
  if (!answer.has_value()) co_return fail(std::move(answer).error());
  pb::CommandReply reply;
  if (!reply.ParseFromString(*answer)) {
    co_return fail(Code::kInternal, "the state machine gave an undecodable answer");
  }
  if (reply.error().code() != 0) co_return fail(to_error(reply.error()));
  co_return reply;
}

}  // namespace cairn::mds::master
