/* What the parts of the POSIX port know of each other. */
#ifndef LASTSPIN_POSIX_H
#define LASTSPIN_POSIX_H

#define _GNU_SOURCE /* O_DIRECT, ptsname; harmless where it means nothing */

#include <poll.h>
#include <sys/types.h>

#include "lastspin.h"

/* Exit codes, as the laptop's program has them. */
enum { EXIT_OK = 0, EXIT_ENVIRONMENT = 1, EXIT_BAD_INPUT = 2 };

struct options {
  const char *path;
  const char *power;
  const char *pty;
  const char *tcp;
  const char *tty;
  const char *state;
  const char *count;
  unsigned long baud;
  unsigned long sector_bytes;
  unsigned long discharge_ms;
};

/* The one device of this process. */
extern struct lastspin_device device;

/* Says one line on standard error and ends the process. */
void fail(int exit_code, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Milliseconds of a clock that only goes forward; they wrap as the core expects. */
uint32_t now_ms(void);

/* ---- Links (links.c) -------------------------------------------------------------------------- */

#define LINK_POLLS_MAX (2 * LASTSPIN_LINKS_MAX + 1)

/* Opens the links that were asked for; standard input and output where none was. Fails with a line. */
void links_open(const struct options *options);
/* Adds what is to be waited for; the number of entries. */
nfds_t links_poll(struct pollfd *polls);
/* Moves bytes, accepts and drops links. */
void links_serve(const struct pollfd *polls, nfds_t count);
/* Writes what waits, as far as it goes. */
void links_flush(void);
/* Standard input has ended and there is no other way in (T-5). */
bool links_ended(void);
void links_close(void);

/* ---- The drive (drive.c) ---------------------------------------------------------------------- */

struct drive_facts {
  uint64_t sector_count;
  uint32_t sector_bytes;
  uint32_t physical_sector_bytes;
};

/* Opens the drive and says what it is; fails with a line. `must_be_there`: it has power now. */
void drive_open(const struct options *options, bool must_be_there);
uint32_t drive_sector_bytes(void);
/* Readable when the reader is done with something. */
int drive_wake_fd(void);
/* Tells the core what the reader is done with, and looks for a drive that went away. */
void drive_serve(void);
/* The drive's power was switched: it is opened anew, or let go. */
void drive_powered(bool is_on);
uint64_t drive_read_count(void);

/* ---- Power by a command (switch.c) ------------------------------------------------------------ */

void switch_open(const char *command);
void switch_serve(void);
/* LASTSPIN_SWITCH_... */
uint8_t switch_state(void);
/* Waits, for a few seconds at most, until the command that runs has ended. */
void switch_finish(void);

#endif
