#include "mds/master/purger.h"

#include "mds/state/machine.h"

namespace cairn::mds::master {

void Purger::poke() {
  poked_ = true;
  wanted_ = false;
  wake_.notify_all();
}

Task<void> Purger::run(Purger* self) {
  while (!self->env_.stopping) {
    if (!self->poked_) {
      co_await self->wake_.wait();
      continue;
    }
    self->poked_ = false;
    const Status swept = co_await self->sweep();
    if (!swept.has_value() && !self->env_.stopping) {
      self->env_.log.warning("removing unlinked files: {}", swept.error().to_string());
    }
  }
}

Task<Status> Purger::sweep() {
  InodeId after;
  while (!env_.stopping) {
    CO_TRY(const std::vector<InodeId> page, state::queries::orphans(env_.tables, after, kParallel));
    if (page.empty()) break;
    after = page.back();
    runtime::TaskGroup group(env_.runtime);
    for (const InodeId inode : page) {
      if (allowed_(inode)) group.spawn(purge(this, inode));
    }
    co_await group.join();
    co_await runtime::yield_turn(env_.runtime);
  }
  co_return Status();
}

Task<void> Purger::purge(Purger* self, InodeId inode) {
  while (!self->env_.stopping && self->allowed_(inode)) {
    pb::Command command;
    command.mutable_purge_inode()->set_inode(inode.raw());
    command.mutable_purge_inode()->set_chunks_max(kChunksPerStep);
    const Result<pb::CommandReply> reply = co_await self->env_.commands.run(std::move(command));
    if (!reply.has_value()) {
      self->env_.log.debug("purging inode {}: {}", inode.raw(), reply.error().to_string());
      co_return;
    }
    if (reply->purged()) co_return;
  }
}

}  // namespace cairn::mds::master
