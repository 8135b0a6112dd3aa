#include "mds/service/process_usage.h"

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

namespace cairn::mds::service {

namespace {
std::uint64_t nanos(const timeval& time) {
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000ULL +
         static_cast<std::uint64_t>(time.tv_usec) * 1'000ULL;
}
}  // namespace

ProcessUsage process_usage() {
  ProcessUsage usage;
  rusage self{};
  if (::getrusage(RUSAGE_SELF, &self) == 0) {
    usage.cpu_ns = nanos(self.ru_utime) + nanos(self.ru_stime);
  }
  std::ifstream statm("/proc/self/statm");
  std::uint64_t total_pages = 0;
  std::uint64_t resident_pages = 0;
  if (statm >> total_pages >> resident_pages) {
    usage.memory_bytes = resident_pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  }
  return usage;
}

}  // namespace cairn::mds::service
