#include "common/daemon/memory.h"

#include <malloc.h>

#include "common/base/check.h"

namespace cairn::daemon {

void keep_freed_memory() {
  constexpr int kMmapThreshold = 32 << 20;  // the most glibc takes
  constexpr int kTrimThreshold = 128 << 20;
  CHECK_EQ(::mallopt(M_MMAP_THRESHOLD, kMmapThreshold), 1);
  CHECK_EQ(::mallopt(M_TRIM_THRESHOLD, kTrimThreshold), 1);
}

void give_freed_memory_back() { ::malloc_trim(0); }

}  // namespace cairn::daemon
