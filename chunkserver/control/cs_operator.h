// CsOperator: what can be asked of a chunk server through its control door, carried out on its
// store. The same for a running daemon and for `cairn configure-cs` on one that does not run.
//
// Requires: the loop thread; what the house gives stays good until the call ends.
// Errors:   kBusy (a change is under way), kUnsupported (faults are not allowed), the failure of a
//           store that does not serve, those of change_journal(), PieceStore, FaultPlan.
#pragma once

#include <optional>

#include "chunkserver/control/door.h"
#include "chunkserver/control/journal_change.h"

namespace cairn::chunkserver::control {

// The chunk server the operator works on.
class House {
 public:
  virtual ~House() = default;
  virtual protocol::Json state() const = 0;
  // Or why there is none that serves.
  virtual Result<store::PieceStore*> store() = 0;
  virtual const JournalPlaces& places() const = 0;
  virtual Status set_tune(cairn::cluster::Tune tune) = 0;
  virtual Status set_fault(protocol::FaultRequest request) = 0;
};

class CsOperator final : public Operator {
 public:
  CsOperator(House& house, observe::Log& log) : house_(house), log_(log) {}

  Task<Result<protocol::Json>> carry_out(protocol::Request request) override;
  protocol::Json progress() const override;
  // What is being changed, for people; empty: nothing.
  const std::string& doing() const { return doing_; }

 private:
  Task<Status> change(protocol::JournalRequest request);
  Task<Status> commit();

  House& house_;
  observe::Log& log_;
  std::string doing_;
};

}  // namespace cairn::chunkserver::control
