// Interrupt: while one lives, the first SIGINT or SIGTERM does not end the process but is seen
// here, so that a long work can end in order; the second one ends it.
//
// Requires: one at a time.
#pragma once

#include <signal.h>

namespace cairn::admin {

class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;
  bool happened() const;

 private:
  struct sigaction before_int_ = {};
  struct sigaction before_term_ = {};
};

}  // namespace cairn::admin
