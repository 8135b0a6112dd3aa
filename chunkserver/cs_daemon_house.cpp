// What the control door shows and changes of a daemon.
#include <unistd.h>

#include "chunkserver/cs_daemon.h"
#include "chunkserver/health/trouble.h"
#include "chunkserver/house_state.h"

namespace cairn::chunkserver {

std::optional<cluster::Failure> CsDaemon::trouble() const {
  if (failure_.has_value()) return failure_;
  if (server_ == nullptr || server_->open_store() == nullptr) return std::nullopt;
  const std::optional<Error>& failure = server_->store().failure();
  if (!failure.has_value()) return std::nullopt;
  return health::failure_of(*failure);
}

Duration CsDaemon::oldest_request() const {
  return watch_ == nullptr ? Duration{} : watch_->oldest();
}

control::protocol::Json CsDaemon::state() const {
  control::protocol::Json json =
      identity_state(place_.directory, place_.cluster, place_.identity.cs_id(), options_.version);
  json["running"] = true;
  json["serving"] = server_ != nullptr && server_->open_store() != nullptr && !troubled();
  const std::optional<cluster::Failure> failure = trouble();
  json["failure"] = failure.has_value() ? failure->text : "";
  json["flag"] = failure.has_value() ? std::string(1, failure->letter) : "";
  if (place_.repository.has_value()) put_configuration(*place_.repository, &json);
  if (server_ != nullptr && server_->open_store() != nullptr) {
    put_store(server_->store().statistics(), &json);
    json["address"] = server_->address().to_string();
    json["engine"] = server_->engine();
    json["engine_note"] = server_->device().engine_note();
    json["direct"] = server_->device().direct();
    json["registered"] = server_->registered();
  }
  json["oldest_request_ms"] =
      std::chrono::duration_cast<std::chrono::milliseconds>(oldest_request()).count();
  if (options_.allow_faults && premises_ != nullptr) {
    io::FaultDevice* data = premises_->data_faults();
    json["faults"] = {{"data", data == nullptr ? "" : data->plan().to_text()},
                      {"journal", premises_->rings().fault_plan().to_text()}};
  }
  return json;
}

Result<store::PieceStore*> CsDaemon::store() {
  const std::optional<cluster::Failure> failure = trouble();
  if (failure.has_value())
    return fail(Code::kDiskFailed, "the chunk server does not serve: " + failure->text);
  if (stopping_) return fail(Code::kUnavailable, "the chunk server is being stopped");
  if (opening_ || server_ == nullptr || server_->open_store() == nullptr) {
    return fail(Code::kUnavailable, "the chunk server is still opening its store");
  }
  return server_->open_store();
}

Status CsDaemon::set_tune(cairn::cluster::Tune tune) {
  if (!place_.repository.has_value()) return fail(Code::kNotFound, "the repository is not there");
  cairn::cluster::CsRepository changed = *place_.repository;
  changed.tune = tune;
  TRY_VOID(changed.save(place_.directory));
  place_.repository = std::move(changed);
  return {};
}

Status CsDaemon::set_fault(control::protocol::FaultRequest request) {
  if (!options_.allow_faults) {
    return fail(Code::kUnsupported, "the chunk server was not started with --allow-faults");
  }
  TRY(const io::FaultPlan plan, io::FaultPlan::parse(request.plan));
  if (premises_ == nullptr) return fail(Code::kUnavailable, "there is no device yet");
  if (request.device == control::protocol::FaultRequest::Device::kJournal) {
    premises_->rings().set_fault_plan(plan);
    return {};
  }
  if (premises_->data_faults() == nullptr) {
    return fail(Code::kUnavailable, "there is no device yet");
  }
  premises_->data_faults()->set_plan(plan);
  return {};
}

}  // namespace cairn::chunkserver
