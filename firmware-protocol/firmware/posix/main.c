/* lastspin-imager: the device end of the imager protocol over a block device or a file, and over power
 * that a command switches. It opens the drive for reading only and writes to nothing but its links. */
#include "posix.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* How often the core is called when nothing happens. */
#define TICK_MS 10
#define DISCHARGE_MS 2000

struct lastspin_device device;

static struct lastspin_settings settings = {
    .firmware = "lastspin-imager 1.0",
    .limits = {.park_temperature = LASTSPIN_NO_TEMPERATURE,
               .off_temperature = LASTSPIN_NO_TEMPERATURE},
    .sector_bytes = 512,
};
static const char *state_path;
static volatile sig_atomic_t must_end;

static const char usage[] =
    "usage: lastspin-imager [options] [FILE|DEVICE]\n"
    "Serves a block device or a file to lastspin as an imager, for reading only.\n"
    "  --stdio               on standard input and output (the default)\n"
    "  --pty PATH            on a new pty, with a link to it at PATH\n"
    "  --tcp [HOST:]PORT     on TCP; on this machine only unless HOST says otherwise\n"
    "  --tty PATH            on a serial device; --baud N (115200) sets its rate\n"
    "  --power COMMAND       switches the drive's power by COMMAND, in which {action} is on or off\n"
    "  --discharge MS        until the drive's rails are down after that (2000)\n"
    "  --state PATH          keeps the power's state there, on a file system that is lost with the\n"
    "                        board's own power (/run), so that a restart of this program keeps it\n"
    "  --sector-bytes N      logical sector of a file (512)\n"
    "  --count PATH          writes there at the end how many reads reached the drive\n";

void say(const char *format, ...) {
  va_list arguments;
  fputs("lastspin-imager: ", stderr);
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
}

void fail(int exit_code, const char *format, ...) {
  va_list arguments;
  fputs("lastspin-imager: ", stderr);
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  /* A reader that hangs in the kernel must not keep the process. */
  _exit(exit_code);
}

uint32_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint32_t)((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
}

/* ---- What the core asks of its port --------------------------------------------------------------- */

void lastspin_port_sample(struct lastspin_sample *sample) {
  *sample = (struct lastspin_sample){
      {LASTSPIN_NO_RAIL, LASTSPIN_NO_RAIL},
      {LASTSPIN_NO_RAIL, LASTSPIN_NO_RAIL},
      LASTSPIN_NO_TEMPERATURE, LASTSPIN_ACTIVITY_NO_LINE, switch_state()};
}

/* Whole or not at all: what is half written is not there under the name that counts. */
void lastspin_port_save(const struct lastspin_record *record) {
  if (!state_path) return;
  char draft[4096];
  snprintf(draft, sizeof draft, "%s.new", state_path);
  const int fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  const bool is_written =
      fd >= 0 && write(fd, record, sizeof *record) == (ssize_t)sizeof *record;
  if (fd >= 0) close(fd);
  if (!is_written || rename(draft, state_path) != 0) {
    say("cannot keep the state in %s: %s", state_path, strerror(errno));
  }
}

void lastspin_port_hold(bool hold) { (void)hold; }

/* ---- Options -------------------------------------------------------------------------------------- */

static unsigned long number(const char *name, const char *text, unsigned long least,
                            unsigned long most) {
  char *end = NULL;
  errno = 0;
  const unsigned long value = strtoul(text, &end, 10);
  if (errno != 0 || end == text || *end != 0 || text[0] == '-' || value < least || value > most) {
    fail(EXIT_BAD_INPUT, "%s takes a number from %lu to %lu, not '%s'", name, least, most, text);
  }
  return value;
}

static void set_option(struct options *options, int option, const char *value) {
  switch (option) {
    case 'p': options->pty = value; break;
    case 't': options->tcp = value; break;
    case 'y': options->tty = value; break;
    case 'w': options->power = value; break;
    case 's': options->state = value; break;
    case 'c': options->count = value; break;
    case 'b': options->baud = number("--baud", value, 1, 4000000); break;
    case 'd': options->discharge_ms = number("--discharge", value, 0, 60000); break;
    case 'n':
      options->sector_bytes = number("--sector-bytes", value, 256, 65536);
      if (options->sector_bytes % 256 != 0) {
        fail(EXIT_BAD_INPUT, "--sector-bytes takes a multiple of 256");
      }
      break;
    case 'h': fputs(usage, stdout); exit(EXIT_OK);
    case '-': break;
    default: fputs("see lastspin-imager --help\n", stderr); exit(EXIT_BAD_INPUT);
  }
}

static struct options parse(int count, char **words) {
  static const struct option known[] = {
      {"stdio", no_argument, NULL, '-'},          {"pty", required_argument, NULL, 'p'},
      {"tcp", required_argument, NULL, 't'},      {"tty", required_argument, NULL, 'y'},
      {"power", required_argument, NULL, 'w'},    {"state", required_argument, NULL, 's'},
      {"count", required_argument, NULL, 'c'},    {"baud", required_argument, NULL, 'b'},
      {"discharge", required_argument, NULL, 'd'}, {"sector-bytes", required_argument, NULL, 'n'},
      {"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0},
  };
  struct options options = {.baud = 115200, .discharge_ms = DISCHARGE_MS};
  int option;
  while ((option = getopt_long(count, words, "h", known, NULL)) != -1) {
    set_option(&options, option, optarg);
  }
  if (optind < count) options.path = words[optind++];
  if (optind < count) fail(EXIT_BAD_INPUT, "one FILE or DEVICE, not also %s", words[optind]);
  if (!options.path && !options.power) {
    fail(EXIT_BAD_INPUT, "give a FILE or DEVICE, --power COMMAND, or both; see --help");
  }
  return options;
}

/* ---- Start, loop, end ----------------------------------------------------------------------------- */

static uint32_t random_number(void) {
  uint32_t value = now_ms();
  const int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  if (fd >= 0 && read(fd, &value, sizeof value) < 0) value = now_ms();
  if (fd >= 0) close(fd);
  return value;
}

static void describe(const struct options *options) {
  settings.boot_id = random_number();
  settings.discharge_ms = (uint16_t)options->discharge_ms;
  settings.capabilities = 0;
  if (options->path) {
    settings.capabilities |= LASTSPIN_CAN_IDENTIFY | LASTSPIN_CAN_READ | LASTSPIN_CAN_THROTTLE;
    settings.sector_bytes = drive_sector_bytes();
  }
  /* Silence has something to stop on every imager. */
  settings.capabilities |= LASTSPIN_CAN_WATCHDOG;
  if (options->power) {
    settings.capabilities |= LASTSPIN_CAN_POWER;
    settings.rails = LASTSPIN_RAILS;
  }
}

static void start(const struct options *options) {
  static struct lastspin_record saved;
  bool is_saved = false;
  state_path = options->state;
  if (state_path) {
    const int fd = open(state_path, O_RDONLY | O_CLOEXEC);
    is_saved = fd >= 0 && read(fd, &saved, sizeof saved) == (ssize_t)sizeof saved;
    if (fd >= 0) close(fd);
  }
  lastspin_init(&device, &settings, is_saved ? LASTSPIN_BOOT_SOFTWARE : LASTSPIN_BOOT_POWER_ON,
                is_saved ? &saved : NULL, now_ms());
}

static void on_signal(int number_of_signal) {
  (void)number_of_signal;
  must_end = 1;
}

static void take_signals(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = on_signal;
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  /* A peer that closed is told of by `write`. */
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, NULL);
}

static void serve_once(void) {
  struct pollfd polls[LINK_POLLS_MAX + 1];
  const nfds_t count = links_poll(polls);
  polls[count] = (struct pollfd){drive_wake_fd(), POLLIN, 0};
  if (poll(polls, count + 1, TICK_MS) < 0) return;
  links_serve(polls, count);
  switch_serve();
  drive_serve();
  lastspin_poll(&device, now_ms());
  links_flush();
}

static void write_count(const char *to) {
  FILE *file = fopen(to, "we");
  if (!file) return;
  fprintf(file, "%llu\n", (unsigned long long)drive_read_count());
  fclose(file);
}

int main(int count, char **words) {
  const struct options options = parse(count, words);
  take_signals();
  if (options.power) switch_open(options.power);
  if (options.path) drive_open(&options, !options.power);
  describe(&options);
  start(&options);
  links_open(&options);
  while (!must_end && !links_ended()) serve_once();
  /* Nobody watches over the drive from here on, unless a restart is to find it as it is. After the end of its
     only input nobody can come back (T-5). */
  if (options.power && (!options.state || links_ended())) lastspin_port_set_rails(0);
  if (options.state && links_ended()) unlink(options.state);
  switch_finish();
  links_close();
  if (options.count) write_count(options.count);
  /* A reader that hangs in the kernel must not keep the process. */
  _exit(EXIT_OK);
}
