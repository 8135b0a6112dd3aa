// A read of one piece, and when it is late the same blocks rebuilt from others: the first good
// answer wins. The loser ends by itself; nobody waits for it.
#include <algorithm>
#include <optional>
#include <utility>

#include "client/core/reader.h"

namespace cairn::client {

namespace {

constexpr Duration kSlowRead = 1500ms;  // then the others are asked if they are quick
constexpr Duration kAttempt = 8s;

unsigned count_of(PieceMask mask) { return static_cast<unsigned>(std::popcount(mask)); }

}  // namespace

struct Reader::Race {
  explicit Race(runtime::Runtime& runtime) : changed(runtime) {}
  std::optional<PartsResult> direct;
  std::optional<PartsResult> others;
  std::optional<StripeGuard> guard;  // of the others
  bool over = false;
  Event changed;
};

// A row must not change while it is rebuilt. Who has a shared lease needs no lock: nobody writes.
bool Reader::must_lock(const Inode& inode, const Span& span, StripeLock lock) {
  return span.encoding.data > 1 && lock == StripeLock::kFree && inode.mode == pb::LEASE_EXCLUSIVE;
}

Task<void> Reader::run_direct(std::shared_ptr<Race> race, std::shared_ptr<const ChunkView> view,
                              unsigned piece, layout::BlockRun run, Deadline deadline) {
  PartsResult result = co_await read_piece(std::move(view), piece, run, deadline);
  if (race->over) co_return;
  race->direct.emplace(std::move(result));
  race->changed.notify_all();
}

Task<void> Reader::run_others(std::shared_ptr<Race> race, InodePtr inode, Span span,
                              StripeLock lock, PieceMask broken, Deadline deadline) {
  if (must_lock(*inode, span, lock)) {
    StripeGuard guard = co_await lock_stripe_until(&runtime_, inode, span.stripe, deadline);
    if (race->over) co_return;
    if (!guard.held()) {
      race->others.emplace(fail(Code::kTimeout, "a write of the stripe is under way"));
      race->changed.notify_all();
      co_return;
    }
    race->guard.emplace(std::move(guard));
  }
  PartsResult result = co_await rebuild(inode, span, broken, deadline);
  race->guard.reset();
  if (race->over) co_return;
  race->others.emplace(std::move(result));
  race->changed.notify_all();
}

bool Reader::is_quick(const std::string& address) {
  return !links_.avoided(address) && !book_.stuck(address, runtime_.now());
}

// One that is merely late counts against the share of reads that may be hedged. One that is very
// late does not, but then the others must be quicker than it.
bool Reader::may_hedge(const Span& span, const ChunkView& view, unsigned piece, bool late) {
  if (!late) return book_.take_hedge();
  PieceMask quick = 0;
  const PieceMask zero = view.unwritten | span.chunk->fresh;
  for (unsigned i = 0; i < view.pieces.size(); ++i) {
    if (i == piece) continue;
    const bool readable = (view.current & piece_bit(i)) != 0;
    const bool zeros_only = (zero & piece_bit(i)) != 0;
    if (zeros_only || (readable && is_quick(view.pieces[i].address))) quick |= piece_bit(i);
  }
  return count_of(quick) >= span.encoding.data;
}

Task<Reader::Raced> Reader::race(InodePtr inode, Span span, StripeLock lock,
                                 std::shared_ptr<const ChunkView> view, unsigned piece,
                                 Deadline deadline) {
  const std::string& address = view->pieces[piece].address;
  const auto race = std::make_shared<Race>(runtime_);
  const Instant late = runtime_.after(kSlowRead);
  const Deadline until = std::min(deadline, runtime_.after(kAttempt));
  Instant next = runtime_.after(book_.patience(address));
  bool hedged = false;
  book_.count_read();
  tasks_.spawn(run_direct(race, view, piece, span.run, until));
  const auto decided = [&race, &hedged] {
    if (race->direct.has_value() && (race->direct->has_value() || !hedged)) return true;
    return race->others.has_value() && (race->others->has_value() || race->direct.has_value());
  };
  while (!decided()) {
    const Instant now = runtime_.now();
    if (hedged || now < next) {
      co_await race->changed.wait_until(hedged ? Instant::infinite() : next);
      continue;
    }
    if (now >= late) links_.mark_slow(address);
    hedged = may_hedge(span, *view, piece, now >= late);
    next = now >= late ? Instant::infinite() : late;
    if (!hedged) continue;
    ++hedged_;
    tasks_.spawn(run_others(race, inode, span, lock, piece_bit(piece), deadline));
  }
  race->over = true;
  race->guard.reset();
  Raced raced;
  const bool direct_won = race->direct.has_value() && (race->direct->has_value() || !hedged);
  raced.all_asked = hedged && !direct_won && !race->others->has_value();
  raced.result = std::move(direct_won ? *race->direct : *race->others);
  co_return raced;
}

}  // namespace cairn::client
