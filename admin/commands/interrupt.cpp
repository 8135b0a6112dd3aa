#include "admin/commands/interrupt.h"

#include <atomic>

#include "common/base/check.h"

namespace cairn::admin {
namespace {

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);  // a handler may touch it

void note(int /*signal*/) { interrupted.store(true); }

}  // namespace

Interrupt::Interrupt() {
  interrupted.store(false);
  struct sigaction once = {};
  once.sa_handler = note;
  once.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  sigemptyset(&once.sa_mask);
  CHECK_EQ(::sigaction(SIGINT, &once, &before_int_), 0);
  CHECK_EQ(::sigaction(SIGTERM, &once, &before_term_), 0);
}

Interrupt::~Interrupt() {
  CHECK_EQ(::sigaction(SIGINT, &before_int_, nullptr), 0);
  CHECK_EQ(::sigaction(SIGTERM, &before_term_, nullptr), 0);
}

bool Interrupt::happened() const { return interrupted.load(); }

}  // namespace cairn::admin
