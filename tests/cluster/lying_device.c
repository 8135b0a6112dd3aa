/* Preloaded into a client of hwflush-check: a device that lies. After LYING_AFTER records it says of
 * every further one that it is written and flushed, and drops it, as a volatile cache does that a
 * power cut empties. Only whole records of 4 KiB count: what the client writes before is kept. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/types.h>

enum { kRecordBytes = 4096 };

static atomic_long records;

static int is_dropped(size_t count) {
  const char* after = getenv("LYING_AFTER");
  if (after == NULL || count != kRecordBytes) return 0;
  return atomic_fetch_add(&records, 1) >= atol(after);
}

typedef ssize_t (*Write)(int, const void*, size_t, off_t);

ssize_t pwrite(int fd, const void* bytes, size_t count, off_t at) {
  if (is_dropped(count)) return (ssize_t)count;
  return ((Write)dlsym(RTLD_NEXT, "pwrite"))(fd, bytes, count, at);
}

ssize_t pwrite64(int fd, const void* bytes, size_t count, off_t at) {
  if (is_dropped(count)) return (ssize_t)count;
  return ((Write)dlsym(RTLD_NEXT, "pwrite64"))(fd, bytes, count, at);
}
