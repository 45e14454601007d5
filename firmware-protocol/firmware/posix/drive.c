/* The drive: a block device or a file, opened for reading only, read by a thread of its own, so that a
 * read that the kernel does not give back leaves the rest alive. One command is one `pread`, and
 * nothing is ever read a second time here. */
#include "posix.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/fs.h>
#include <linux/hdreg.h>
#include <sys/ioctl.h>
#endif

#define SECTOR_BYTES_DEFAULT 512
/* Memory that direct reads can go to. */
#define ALIGN_BYTES 4096
/* A drive that is not there is looked for so often. */
#define LOOK_MS 500
#define RAW_BYTES 512

enum job_kind { JOB_NONE, JOB_LOOK, JOB_READ, JOB_IDENTIFY, JOB_LEAVE };

struct job {
  enum job_kind kind;
  uint64_t lba;
  uint32_t count;
};

struct identity {
  char model[48];
  char serial[32];
  char firmware[16];
  uint8_t raw[RAW_BYTES];
  uint16_t raw_bytes;
};

/* Between the loop and the reader. `job` is the reader's from `has_job` to `is_done`. */
static struct {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool has_job;
  bool is_done;
  struct job job;
  struct lastspin_read_result result;
  struct drive_facts facts;
  struct identity identity;
  bool is_there;
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* The loop's own. */
static const char *path;
static uint32_t sector_bytes;
static uint32_t sector_bytes_asked;
static struct job next_job;
static bool has_next;
static bool leave_due;
static bool is_powered;
static uint32_t looked_ms;
static int wake[2] = {-1, -1};

/* The reader's own. */
static int fd = -1;
static bool is_direct;
static uint8_t *buffer;
static uint64_t read_count;

/* ---- Opening and asking ------------------------------------------------------------------------- */

static int open_read_only(const char *name) {
#ifdef O_DIRECT
  const int direct = open(name, O_RDONLY | O_DIRECT | O_CLOEXEC | O_NONBLOCK);
  is_direct = direct >= 0;
  if (direct >= 0 || errno != EINVAL) return direct;
#endif
  is_direct = false;
  return open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

#ifdef __linux__
static uint64_t ask_device(int from, struct drive_facts *facts) {
  uint64_t bytes = 0;
  int logical = 0;
  unsigned int physical = 0;
  if (ioctl(from, BLKGETSIZE64, &bytes) != 0) return 0;
  if (ioctl(from, BLKSSZGET, &logical) == 0 && logical > 0) facts->sector_bytes = (uint32_t)logical;
  if (ioctl(from, BLKPBSZGET, &physical) == 0) facts->physical_sector_bytes = physical;
  return bytes;
}
#else
static uint64_t ask_device(int from, struct drive_facts *facts) {
  (void)facts;
  const off_t end = lseek(from, 0, SEEK_END);
  return end > 0 ? (uint64_t)end : 0;
}
#endif

/* Size and sectors of what is open; false and errno where it cannot be a drive, or is not ready. */
static bool ask_facts(int from, struct drive_facts *facts) {
  struct stat found;
  *facts = (struct drive_facts){0, SECTOR_BYTES_DEFAULT, 0};
  if (fstat(from, &found) != 0) return false;
  uint64_t bytes = 0;
  if (S_ISBLK(found.st_mode)) {
    bytes = ask_device(from, facts);
  } else if (S_ISREG(found.st_mode)) {
    bytes = (uint64_t)found.st_size;
  } else {
    errno = ENOTBLK;
    return false;
  }
  if (sector_bytes_asked > 0) facts->sector_bytes = sector_bytes_asked;
  if (facts->physical_sector_bytes < facts->sector_bytes) {
    facts->physical_sector_bytes = facts->sector_bytes;
  }
  facts->sector_count = bytes / facts->sector_bytes;
  errno = ENOMEDIUM;
  return facts->sector_count > 0;
}

/* A line of the kernel's about the device, without the blanks around it. */
static void read_line(const char *folder, const char *name, char *into, size_t room) {
  char file[PATH_MAX];
  into[0] = 0;
  snprintf(file, sizeof file, "%s/%s", folder, name);
  FILE *from = fopen(file, "re");
  if (!from) return;
  if (!fgets(into, (int)room, from)) into[0] = 0;
  fclose(from);
  size_t end = strlen(into);
  while (end > 0 && (unsigned char)into[end - 1] <= ' ') into[--end] = 0;
  const size_t blanks = strspn(into, " ");
  memmove(into, into + blanks, end - blanks + 1);
}

static void ask_identity(struct identity *identity) {
  char real[PATH_MAX];
  char folder[PATH_MAX + 64];
  memset(identity, 0, sizeof *identity);
  const char *base = realpath(path, real) ? strrchr(real, '/') + 1 : path;
  struct stat found;
  if (fd < 0 || fstat(fd, &found) != 0 || !S_ISBLK(found.st_mode)) {
    snprintf(identity->model, sizeof identity->model, "%.*s", (int)sizeof identity->model - 1, base);
    return;
  }
  snprintf(folder, sizeof folder, "/sys/class/block/%s/device", base);
  if (access(folder, F_OK) != 0) {
    /* A partition: what it lies on. */
    snprintf(folder, sizeof folder, "/sys/class/block/%s/../device", base);
  }
  read_line(folder, "model", identity->model, sizeof identity->model);
  read_line(folder, "serial", identity->serial, sizeof identity->serial);
  read_line(folder, "rev", identity->firmware, sizeof identity->firmware);
#ifdef __linux__
  /* IDENTIFY DEVICE as the kernel kept it; it asks the drive nothing. */
  if (ioctl(fd, HDIO_GET_IDENTITY, identity->raw) == 0) identity->raw_bytes = RAW_BYTES;
#endif
}

/* ---- The reader: one job at a time ---------------------------------------------------------------- */

static void leave(void) {
  if (fd >= 0) close(fd);
  fd = -1;
}

/* Whether the drive is there, opened anew. */
static bool look(struct drive_facts *facts) {
  if (fd < 0) fd = open_read_only(path);
  /* Where reads go through the cache the kernel must not read ahead: one read is one command. */
#ifdef POSIX_FADV_RANDOM
  if (fd >= 0) posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
#endif
  if (fd >= 0 && ask_facts(fd, facts)) return true;
  leave();
  return false;
}

static uint64_t micros(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static ssize_t read_once(uint64_t at, size_t bytes) {
  __atomic_add_fetch(&read_count, 1, __ATOMIC_RELAXED);
  return pread(fd, buffer, bytes, (off_t)at);
}

/* Where direct reads are refused outright nothing has reached the drive. */
static ssize_t read_bytes(uint64_t at, size_t bytes) {
  ssize_t got = read_once(at, bytes);
#ifdef O_DIRECT
  if (got < 0 && errno == EINVAL && is_direct) {
    const int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && fcntl(fd, F_SETFL, flags & ~O_DIRECT) == 0) {
      is_direct = false;
      __atomic_sub_fetch(&read_count, 1, __ATOMIC_RELAXED);
      got = read_once(at, bytes);
    }
  }
#endif
  return got;
}

/* SCSI sense as the kernel's error tells it; nothing where it does not. */
static void fault_of(int error, struct lastspin_read_result *result) {
  result->outcome = LASTSPIN_OUTCOME_FAULT;
  if (error == ENODATA) {
    /* A medium error (BLK_STS_MEDIUM). */
    result->known = LASTSPIN_KNOWN_SENSE;
    result->sense_key = 3;
  }
}

static uint8_t outcome_of_error(int error) {
  switch (error) {
    case ENODEV:
    case ENXIO:
    case ENOENT:
    case ENOMEDIUM:
    case ESHUTDOWN:
    case EBADF:
      return LASTSPIN_OUTCOME_GONE;
    case ETIMEDOUT:
    /* The board's own trouble is not the drive's. */
    case ENOMEM:
    case EINTR:
    case EAGAIN:
      return LASTSPIN_OUTCOME_TIMEOUT;
    default:
      return LASTSPIN_OUTCOME_FAULT;
  }
}

static void do_read(const struct job *job, struct lastspin_read_result *result) {
  const size_t bytes = (size_t)job->count * sector_bytes;
  const uint64_t began = micros();
  const ssize_t got = fd < 0 ? (errno = ENODEV, -1) : read_bytes(job->lba * sector_bytes, bytes);
  const int error = errno;
  memset(result, 0, sizeof *result);
  result->elapsed_micros = micros() - began;
  result->data = buffer;
  if (got == (ssize_t)bytes) {
    result->outcome = LASTSPIN_OUTCOME_GOOD;
    result->good_count = job->count;
  } else if (got >= 0) {
    /* It ended early: so far it was good, and there it failed. */
    result->good_count = (uint32_t)((size_t)got / sector_bytes);
    fault_of(0, result);
    result->known = LASTSPIN_KNOWN_FAILING_LBA;
    result->failing_lba = job->lba + result->good_count;
  } else {
    result->outcome = outcome_of_error(error);
    if (result->outcome == LASTSPIN_OUTCOME_FAULT) fault_of(error, result);
  }
}

static void do_job(const struct job *job) {
  struct drive_facts facts = {0, 0, 0};
  struct lastspin_read_result result;
  struct identity identity;
  bool is_there = false;
  memset(&result, 0, sizeof result);
  memset(&identity, 0, sizeof identity);
  switch (job->kind) {
    case JOB_READ:
      do_read(job, &result);
      if (result.outcome == LASTSPIN_OUTCOME_GONE) leave();
      break;
    case JOB_IDENTIFY:
      is_there = look(&facts);
      ask_identity(&identity);
      break;
    case JOB_LOOK:
      is_there = look(&facts);
      break;
    default:
      leave();
      break;
  }
  pthread_mutex_lock(&shared.lock);
  shared.result = result;
  shared.facts = facts;
  shared.identity = identity;
  shared.is_there = is_there;
  shared.is_done = true;
  pthread_mutex_unlock(&shared.lock);
}

static void *reader(void *nothing) {
  (void)nothing;
  for (;;) {
    pthread_mutex_lock(&shared.lock);
    while (!shared.has_job || shared.is_done) pthread_cond_wait(&shared.changed, &shared.lock);
    const struct job job = shared.job;
    pthread_mutex_unlock(&shared.lock);
    do_job(&job);
    const char byte = 0;
    while (write(wake[1], &byte, 1) < 0 && errno == EINTR) {
    }
  }
  return NULL;
}

/* ---- The loop's side ------------------------------------------------------------------------------ */

/* Gives the reader what waits, if it is free. */
static void hand_over(void) {
  pthread_mutex_lock(&shared.lock);
  if (!shared.has_job && (leave_due || has_next)) {
    shared.job = leave_due ? (struct job){JOB_LEAVE, 0, 0} : next_job;
    if (leave_due) leave_due = false;
    else has_next = false;
    shared.has_job = true;
    shared.is_done = false;
    pthread_cond_signal(&shared.changed);
  }
  pthread_mutex_unlock(&shared.lock);
}

static void ask_for(enum job_kind kind, uint64_t lba, uint32_t count) {
  next_job = (struct job){kind, lba, count};
  has_next = true;
  hand_over();
}

void lastspin_port_start_read(uint64_t lba, uint32_t count, uint32_t timeout_ms) {
  (void)timeout_ms;
  ask_for(JOB_READ, lba, count);
}

void lastspin_port_start_identify(void) { ask_for(JOB_IDENTIFY, 0, 0); }

/* Neither is offered: a bridge's own commands would be needed. */
void lastspin_port_start_park(uint8_t kind) { (void)kind; }
void lastspin_port_reset(uint8_t kind) { (void)kind; }

/* The kernel does not give a read back before it is done with it. */
void lastspin_port_give_up(void) {}

static struct lastspin_bytes text(const char *from) {
  return (struct lastspin_bytes){(const uint8_t *)from, (uint16_t)strlen(from)};
}

static void tell_identity(const struct identity *identity, const struct drive_facts *facts) {
  const struct lastspin_identify_response response = {
      .model = text(identity->model),
      .serial = text(identity->serial),
      .firmware = text(identity->firmware),
      .sector_count = facts->sector_count,
      .sector_bytes = facts->sector_bytes,
      .physical_sector_bytes = facts->physical_sector_bytes,
      .raw = {identity->raw, identity->raw_bytes},
  };
  lastspin_identify_done(&device, &response);
}

static void tell(enum job_kind kind) {
  /* `buffer` and these stay as they are until the reader gets its next job. */
  const struct lastspin_read_result result = shared.result;
  switch (kind) {
    case JOB_READ:
      lastspin_read_done(&device, &result);
      break;
    case JOB_IDENTIFY:
      if (shared.is_there) tell_identity(&shared.identity, &shared.facts);
      else lastspin_identify_done(&device, NULL);
      break;
    case JOB_LOOK:
      if (is_powered && shared.is_there) lastspin_drive_ready(&device);
      break;
    default:
      break;
  }
}

static void take_what_is_done(void) {
  char bytes[16];
  while (read(wake[0], bytes, sizeof bytes) > 0) {
  }
  pthread_mutex_lock(&shared.lock);
  const bool is_done = shared.has_job && shared.is_done;
  const enum job_kind kind = shared.job.kind;
  pthread_mutex_unlock(&shared.lock);
  if (!is_done) return;
  tell(kind);
  pthread_mutex_lock(&shared.lock);
  shared.has_job = false;
  pthread_mutex_unlock(&shared.lock);
}

void drive_serve(void) {
  if (!path) return;
  take_what_is_done();
  hand_over();
  const uint8_t state = device.power.state;
  const bool is_looked_for = state == LASTSPIN_STATE_ON_NOT_READY || state == LASTSPIN_STATE_HUNG;
  const bool is_idle = !has_next && device.lane.busy == LASTSPIN_LANE_FREE;
  if (!is_powered || !is_looked_for || !is_idle || now_ms() - looked_ms < LOOK_MS) return;
  looked_ms = now_ms();
  ask_for(JOB_LOOK, 0, 0);
}

void drive_powered(bool is_on) {
  if (!path) return;
  is_powered = is_on;
  if (is_on) return;
  /* What is open now is not what comes back. */
  leave_due = true;
  hand_over();
}

int drive_wake_fd(void) { return wake[0]; }
uint32_t drive_sector_bytes(void) { return sector_bytes; }
uint64_t drive_read_count(void) { return __atomic_load_n(&read_count, __ATOMIC_RELAXED); }

/* ---- Start ---------------------------------------------------------------------------------------- */

static void check_sectors(const struct drive_facts *facts, uint32_t own_bytes) {
  if (facts->sector_bytes % own_bytes != 0) {
    fail(EXIT_BAD_INPUT, "%s has sectors of %u bytes, and cannot be read in %u", path, own_bytes,
         facts->sector_bytes);
  }
}

static void look_at_start(bool must_be_there) {
  struct drive_facts facts;
  struct stat found;
  if (stat(path, &found) == 0 && !S_ISBLK(found.st_mode) && !S_ISREG(found.st_mode)) {
    fail(EXIT_BAD_INPUT, "%s is neither a regular file nor a block device", path);
  }
  if (look(&facts)) {
    const uint32_t asked = sector_bytes_asked;
    struct drive_facts own;
    sector_bytes_asked = 0;
    if (ask_facts(fd, &own) && S_ISBLK(found.st_mode)) check_sectors(&facts, own.sector_bytes);
    sector_bytes_asked = asked;
    sector_bytes = facts.sector_bytes;
    return;
  }
  if (must_be_there) {
    fail(errno == ENOENT ? EXIT_BAD_INPUT : EXIT_ENVIRONMENT, "cannot open %s: %s", path,
         errno == ENOMEDIUM ? "it is empty, or its drive is not ready" : strerror(errno));
  }
  sector_bytes = sector_bytes_asked > 0 ? sector_bytes_asked : SECTOR_BYTES_DEFAULT;
}

void drive_open(const struct options *options, bool must_be_there) {
  pthread_t thread;
  path = options->path;
  sector_bytes_asked = (uint32_t)options->sector_bytes;
  look_at_start(must_be_there);
  sector_bytes_asked = sector_bytes;
  void *memory = NULL;
  if (posix_memalign(&memory, ALIGN_BYTES, LASTSPIN_READ_BYTES_MAX) != 0 || pipe(wake) != 0 ||
      fcntl(wake[0], F_SETFL, O_NONBLOCK) != 0) {
    fail(EXIT_ENVIRONMENT, "no memory or no pipe for the reader");
  }
  buffer = memory;
  is_powered = must_be_there;
  looked_ms = now_ms() - LOOK_MS;
  if (pthread_create(&thread, NULL, reader, NULL) != 0) {
    fail(EXIT_ENVIRONMENT, "no thread for the reader");
  }
  pthread_detach(thread);
}
