#include "client/fuse/process.h"

#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>

#include <charconv>
#include <cstdint>
#include <fstream>
#include <string>

namespace cairn::client::fuse {

bool fatal_signal_pending(pid_t thread) {
  if (thread <= 0) return true;
  // The kernel puts SIGKILL into every thread's own set when any fatal signal ends the process.
  constexpr std::uint64_t kKillBit = 1ULL << (SIGKILL - 1);
  std::ifstream file(fmt::format("/proc/{}/status", thread));
  if (!file) return true;
  std::string line;
  while (std::getline(file, line)) {
    if (!line.starts_with("SigPnd:") && !line.starts_with("ShdPnd:")) continue;
    const std::size_t digits = line.find_first_not_of(" \t", line.find(':') + 1);
    if (digits == std::string::npos) continue;
    std::uint64_t pending = 0;
    std::from_chars(line.data() + digits, line.data() + line.size(), pending, 16);
    if ((pending & kKillBit) != 0) return true;
  }
  return false;
}

void block_signals_of_this_thread() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

}  // namespace cairn::client::fuse
