#include "chunkserver/control/cs_operator.h"

namespace cairn::chunkserver::control {

Task<Result<protocol::Json>> CsOperator::carry_out(protocol::Request request) {
  Status done;
  if (auto* journal = std::get_if<protocol::JournalRequest>(&request)) {
    done = co_await change(std::move(*journal));
  } else if (std::holds_alternative<protocol::CommitRequest>(request)) {
    done = co_await commit();
  } else if (const auto* tune = std::get_if<protocol::TuneRequest>(&request)) {
    done = house_.set_tune(tune->tune);
  } else if (auto* fault = std::get_if<protocol::FaultRequest>(&request)) {
    done = house_.set_fault(std::move(*fault));
  }
  if (!done.has_value()) co_return fail(std::move(done).error());
  protocol::Json state = house_.state();
  if (!doing_.empty()) state["doing"] = doing_;
  co_return state;
}

protocol::Json CsOperator::progress() const {
  protocol::Json json = {{"doing", doing_}};
  const protocol::Json state = house_.state();
  if (state.contains("journal")) json["journal"] = state["journal"];
  return json;
}

Task<Status> CsOperator::change(protocol::JournalRequest request) {
  CO_TRY(store::PieceStore * store, house_.store());
  if (!doing_.empty()) co_return fail(Code::kBusy, doing_ + ", which has not ended");
  store::RingPlan wanted{
      .directory = std::move(request.directory), .bytes = request.bytes, .journal = request.on};
  const std::string from = describe(ring_of(store->statistics()));
  const std::string to = describe(wanted);
  doing_ = "changing from " + from + " to " + to;
  log_.info("{}", doing_);
  const JournalPlaces* places = &house_.places();
  const Status changed = co_await change_journal(store, places, std::move(wanted));
  doing_.clear();
  if (changed.has_value()) log_.info("changed from {} to {}", from, to);
  co_return changed;
}

Task<Status> CsOperator::commit() {
  CO_TRY(store::PieceStore * store, house_.store());
  if (!doing_.empty()) co_return fail(Code::kBusy, doing_ + ", which has not ended");
  doing_ = "committing the journal";
  const Status committed = co_await store->commit_all();
  doing_.clear();
  co_return committed;
}

}  // namespace cairn::chunkserver::control
