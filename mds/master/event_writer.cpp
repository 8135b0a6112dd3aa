#include "mds/master/event_writer.h"

namespace cairn::mds::master {

namespace {
const char* severity_text(observe::Severity severity) {
  switch (severity) {
    case observe::Severity::kWarning:
      return "WRN";
    case observe::Severity::kError:
      return "ERR";
    case observe::Severity::kDebug:
    case observe::Severity::kInfo:
      return "INF";
  }
  return "INF";
}
}  // namespace

void EventWriter::write(std::string subsystem, observe::Severity severity, std::string message) {
  env_.log.write(severity, subsystem + ": " + message);
  if (env_.stopping || queue_.size() >= kQueueMax) return;
  pb::Event event;
  event.set_subsystem(std::move(subsystem));
  event.set_severity(severity_text(severity));
  event.set_message(std::move(message));
  queue_.push_back(std::move(event));
  wake_.notify_all();
}

Task<void> EventWriter::run(EventWriter* self) {
  while (!self->env_.stopping) {
    if (self->queue_.empty()) {
      co_await self->wake_.wait();
      continue;
    }
    pb::Command command;
    *command.mutable_add_event()->mutable_event() = std::move(self->queue_.front());
    self->queue_.pop_front();
    const Result<pb::CommandReply> written = co_await self->env_.commands.run(std::move(command));
    if (!written.has_value()) {
      self->env_.log.debug("event not kept: {}", written.error().to_string());
    }
  }
}

}  // namespace cairn::mds::master
