#include "mds/replication/table_swap.h"

namespace cairn::mds::replication {
namespace {

struct Paths {
  explicit Paths(const disk::Path& repository)
      : db(repository / "db"),
        old(repository / "db.old"),
        incoming(repository / "incoming"),
        incoming_db(incoming / "db"),
        manifest(incoming / "manifest"),
        marker(incoming / "install") {}
  disk::Path db, old, incoming, incoming_db, manifest, marker;
};

Status step(const SwapHook& hook, int number) { return hook ? hook(number) : Status(); }

}  // namespace

Status begin_swap(const disk::Path& repository, const SwapHook& hook) {
  const Paths at(repository);
  TRY_VOID(step(hook, 1));
  TRY_VOID(disk::remove_tree(at.old));
  TRY_VOID(step(hook, 2));
  return disk::write_whole(at.marker, "");
}

Status finish_swap(const disk::Path& repository, const SwapHook& hook) {
  const Paths at(repository);
  if (!disk::exists(at.marker)) {
    // Nothing was begun. Old tables without new ones are no state that a swap leaves; they are
    // better than none.
    if (!disk::exists(at.db) && disk::exists(at.old)) return disk::rename(at.old, at.db);
    return {};
  }
  if (disk::exists(at.incoming_db)) {
    if (disk::exists(at.db)) {
      TRY_VOID(disk::remove_tree(at.old));
      TRY_VOID(step(hook, 3));
      TRY_VOID(disk::rename(at.db, at.old));
    }
    TRY_VOID(step(hook, 4));
    TRY_VOID(disk::rename(at.incoming_db, at.db));
  }
  if (!disk::exists(at.db)) {
    return fail(Code::kCorrupt, repository.string() + " was to get new tables, but has none");
  }
  TRY_VOID(step(hook, 5));
  TRY_VOID(disk::remove_file(at.manifest));
  TRY_VOID(step(hook, 6));
  TRY_VOID(disk::remove_file(at.marker));
  TRY_VOID(step(hook, 7));
  return disk::remove_tree(at.incoming);
}

Status drop_old_tables(const disk::Path& repository, const SwapHook& hook) {
  TRY_VOID(step(hook, 8));
  return disk::remove_tree(Paths(repository).old);
}

}  // namespace cairn::mds::replication
