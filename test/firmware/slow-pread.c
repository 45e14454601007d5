/* For LD_PRELOAD: reads that begin at certain sectors of 512 bytes hang (SLOW_LBA, for SLOW_MS), fail as a
 * medium error does (BAD_LBA), end early by half (SHORT_LBA), or find the drive gone (GONE_LBA). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

typedef ssize_t (*reader)(int, void *, size_t, off_t);

static int begins_at(const char *name, off_t at) {
  const char *lba = getenv(name);
  return lba && atoll(lba) * 512 == at;
}

ssize_t pread64(int fd, void *into, size_t count, off_t at) {
  const reader next = (reader)dlsym(RTLD_NEXT, "pread64");
  if (begins_at("SLOW_LBA", at)) usleep((useconds_t)atoi(getenv("SLOW_MS")) * 1000);
  if (begins_at("SHORT_LBA", at)) count /= 2;
  if (begins_at("BAD_LBA", at) || begins_at("GONE_LBA", at)) {
    errno = begins_at("BAD_LBA", at) ? ENODATA : ENODEV;
    return -1;
  }
  return next(fd, into, count, at);
}

ssize_t pread(int fd, void *into, size_t count, off_t at) { return pread64(fd, into, count, at); }
