/* Links: standard input and output, a pty, TCP connections, a serial device (PROTOCOL.md T). */
#include "posix.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

/* What may wait to be written: little on a slow line, so that a status does not wait behind it. */
#define QUEUE_BYTES (256 * 1024)
#define LINE_QUEUE_BYTES (16 * 1024)
/* A serial device that went away is looked for so often. */
#define REOPEN_MS 1000

enum link_kind { FREE_LINK, STDIO_LINK, PTY_LINK, TTY_LINK, TCP_LINK };

struct posix_link {
  enum link_kind kind;
  /* -1: gone, and perhaps to come back. */
  int in;
  int out;
  bool is_open;
  uint32_t opened_ms;
  size_t limit;
  size_t head;
  size_t count;
  uint8_t queue[QUEUE_BYTES];
};

static struct posix_link links[LASTSPIN_LINKS_MAX];
static const struct options *settings;
static int listener = -1;
static bool input_ended;
/* Flags of standard input and output as they were: others share them. */
static int flags_before[2] = {-1, -1};

/* ---- Bytes out ------------------------------------------------------------------------------------ */

size_t lastspin_port_room(uint8_t link) {
  const struct posix_link *to = &links[link];
  return to->is_open ? to->limit - to->count : 0;
}

void lastspin_port_send(uint8_t link, const uint8_t *bytes, size_t count) {
  struct posix_link *to = &links[link];
  size_t tail = (to->head + to->count) % QUEUE_BYTES;
  const size_t first = count < QUEUE_BYTES - tail ? count : QUEUE_BYTES - tail;
  memcpy(&to->queue[tail], bytes, first);
  memcpy(to->queue, bytes + first, count - first);
  to->count += count;
}

static void drop(uint8_t link) {
  struct posix_link *of = &links[link];
  if (of->is_open) lastspin_close(&device, link);
  of->is_open = false;
  of->count = 0;
  of->head = 0;
  if (of->kind == STDIO_LINK) {
    input_ended = true;
    return;
  }
  /* A pty stays: its other side may be opened again. */
  if (of->kind == PTY_LINK) {
    tcflush(of->in, TCIOFLUSH);
    return;
  }
  if (of->in >= 0) close(of->in);
  of->in = of->out = -1;
  of->opened_ms = now_ms();
  if (of->kind == TCP_LINK) of->kind = FREE_LINK;
}

static void flush(uint8_t link) {
  struct posix_link *of = &links[link];
  while (of->is_open && of->count > 0) {
    const size_t straight = QUEUE_BYTES - of->head;
    const ssize_t sent = write(of->out, &of->queue[of->head],
                               of->count < straight ? of->count : straight);
    if (sent > 0) {
      of->head = (of->head + (size_t)sent) % QUEUE_BYTES;
      of->count -= (size_t)sent;
    } else if (sent < 0 && errno == EINTR) {
      continue;
    } else {
      if (errno != EAGAIN && errno != EWOULDBLOCK) drop(link);
      return;
    }
  }
}

void links_flush(void) {
  for (uint8_t link = 0; link < LASTSPIN_LINKS_MAX; link++) flush(link);
}

/* ---- Bytes in ------------------------------------------------------------------------------------- */

static void take(uint8_t link) {
  static uint8_t bytes[65536];
  const ssize_t got = read(links[link].in, bytes, sizeof bytes);
  if (got > 0) {
    lastspin_receive(&device, link, bytes, (size_t)got, now_ms());
  } else if (got == 0 || (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK)) {
    drop(link);
  }
}

/* ---- Opening -------------------------------------------------------------------------------------- */

static void make_nonblocking(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags >= 0) fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static void begin(uint8_t link, enum link_kind kind, int in, int out) {
  struct posix_link *of = &links[link];
  of->kind = kind;
  of->in = in;
  of->out = out;
  of->head = of->count = 0;
  of->is_open = true;
  of->opened_ms = now_ms();
  const bool is_line = kind == PTY_LINK || kind == TTY_LINK;
  of->limit = is_line ? LINE_QUEUE_BYTES : QUEUE_BYTES;
  make_nonblocking(in);
  if (out != in) make_nonblocking(out);
  lastspin_open(&device, link);
}

static uint8_t free_link(void) {
  for (uint8_t link = 0; link < LASTSPIN_LINKS_MAX; link++) {
    if (links[link].kind == FREE_LINK) return link;
  }
  return LASTSPIN_LINKS_MAX;
}

/* Eight bits, no parity, one stop bit, no flow control by line or character (T-2). */
static void make_raw(int fd, speed_t speed) {
  struct termios line;
  if (tcgetattr(fd, &line) != 0) return;
  line.c_iflag = 0;
  line.c_oflag = 0;
  line.c_lflag = 0;
  line.c_cflag = CS8 | CREAD | CLOCAL;
  line.c_cc[VMIN] = 1;
  line.c_cc[VTIME] = 0;
  if (speed != B0) {
    cfsetispeed(&line, speed);
    cfsetospeed(&line, speed);
  }
  tcsetattr(fd, TCSANOW, &line);
}

static speed_t speed_of(unsigned long baud) {
  static const struct {
    unsigned long baud;
    speed_t speed;
  } speeds[] = {
      {9600, B9600},       {19200, B19200},     {38400, B38400},     {57600, B57600},
      {115200, B115200},   {230400, B230400},
#ifdef B3000000
      {460800, B460800},   {500000, B500000},   {921600, B921600},   {1000000, B1000000},
      {2000000, B2000000}, {3000000, B3000000},
#endif
  };
  for (size_t at = 0; at < sizeof speeds / sizeof speeds[0]; at++) {
    if (speeds[at].baud == baud) return speeds[at].speed;
  }
  fail(EXIT_BAD_INPUT, "--baud %lu is not a rate that serial devices here know", baud);
}

static void open_pty(const char *name) {
  const int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (fd < 0 || grantpt(fd) != 0 || unlockpt(fd) != 0) {
    fail(EXIT_ENVIRONMENT, "no pty to be had: %s", strerror(errno));
  }
  make_raw(fd, B0);
  unlink(name);
  if (symlink(ptsname(fd), name) != 0) {
    fail(EXIT_BAD_INPUT, "cannot make %s: %s", name, strerror(errno));
  }
  begin(free_link(), PTY_LINK, fd, fd);
  say("serving pty %s", name);
}

static int open_tty(void) {
  const int fd = open(settings->tty, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
  if (fd >= 0) make_raw(fd, speed_of(settings->baud));
  return fd;
}

/* Splits [HOST:]PORT; loopback unless told (T-4). */
static void split_address(const char *address, char *host, size_t room, const char **port) {
  const char *colon = strrchr(address, ':');
  if (!colon) {
    snprintf(host, room, "127.0.0.1");
    *port = address;
    return;
  }
  const bool is_v6 = address[0] == '[' && colon > address + 1 && colon[-1] == ']';
  const char *from = is_v6 ? address + 1 : address;
  const int length = (int)(colon - from) - (is_v6 ? 1 : 0);
  snprintf(host, room, "%.*s", length, from);
  *port = colon + 1;
}

static void open_tcp(const char *address) {
  char host[256];
  const char *port;
  split_address(address, host, sizeof host, &port);
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
  struct addrinfo *found = NULL;
  const int error = getaddrinfo(host, port, &hints, &found);
  if (error != 0) fail(EXIT_BAD_INPUT, "--tcp %s: %s", address, gai_strerror(error));
  const int on = 1;
  listener = socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, 0);
  if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      bind(listener, found->ai_addr, found->ai_addrlen) != 0 || listen(listener, 8) != 0) {
    fail(EXIT_ENVIRONMENT, "cannot listen on %s: %s", address, strerror(errno));
  }
  freeaddrinfo(found);
  make_nonblocking(listener);
  struct sockaddr_storage bound;
  socklen_t bytes = sizeof bound;
  char number[16] = "?";
  if (getsockname(listener, (struct sockaddr *)&bound, &bytes) == 0) {
    getnameinfo((struct sockaddr *)&bound, bytes, NULL, 0, number, sizeof number, NI_NUMERICSERV);
  }
  say("listening on %s port %s", host, number);
}

/* A place for one more connection: the one without the session that has been there longest gives way. */
static uint8_t place_for_connection(void) {
  uint8_t oldest = free_link();
  if (oldest < LASTSPIN_LINKS_MAX) return oldest;
  uint32_t longest_ms = 0;
  for (uint8_t link = 0; link < LASTSPIN_LINKS_MAX; link++) {
    if (links[link].kind != TCP_LINK || device.session.link == link) continue;
    const uint32_t age_ms = now_ms() - links[link].opened_ms;
    if (oldest < LASTSPIN_LINKS_MAX && age_ms < longest_ms) continue;
    oldest = link;
    longest_ms = age_ms;
  }
  if (oldest < LASTSPIN_LINKS_MAX) drop(oldest);
  return oldest;
}

static void accept_connection(void) {
  const int fd = accept(listener, NULL, NULL);
  if (fd < 0) return;
  const int on = 1;
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  const uint8_t link = place_for_connection();
  if (link < LASTSPIN_LINKS_MAX) begin(link, TCP_LINK, fd, fd);
  else close(fd);
}

void links_open(const struct options *options) {
  settings = options;
  if (options->pty) open_pty(options->pty);
  if (options->tcp) open_tcp(options->tcp);
  if (options->tty) {
    const int fd = open_tty();
    if (fd < 0) fail(EXIT_BAD_INPUT, "cannot open %s: %s", options->tty, strerror(errno));
    begin(free_link(), TTY_LINK, fd, fd);
  }
  if (!options->pty && !options->tcp && !options->tty) {
    flags_before[0] = fcntl(STDIN_FILENO, F_GETFL);
    flags_before[1] = fcntl(STDOUT_FILENO, F_GETFL);
    begin(free_link(), STDIO_LINK, STDIN_FILENO, STDOUT_FILENO);
  }
}

/* ---- The loop's side ------------------------------------------------------------------------------ */

/* A pty whose other side was closed says so until it is opened again; a serial device that went is
 * opened again when it is back. */
static void look_for(uint8_t link) {
  struct posix_link *of = &links[link];
  if (of->is_open) return;
  if (of->kind == PTY_LINK) {
    struct pollfd look = {of->in, POLLIN, 0};
    poll(&look, 1, 0);
    if ((look.revents & POLLHUP) == 0) begin(link, PTY_LINK, of->in, of->out);
  } else if (of->kind == TTY_LINK && now_ms() - of->opened_ms >= REOPEN_MS) {
    const int fd = open_tty();
    of->opened_ms = now_ms();
    if (fd >= 0) begin(link, TTY_LINK, fd, fd);
  }
}

nfds_t links_poll(struct pollfd *polls) {
  nfds_t count = 0;
  for (uint8_t link = 0; link < LASTSPIN_LINKS_MAX; link++) {
    look_for(link);
    const struct posix_link *of = &links[link];
    const bool writes = of->is_open && of->count > 0;
    polls[count++] = (struct pollfd){of->is_open ? of->in : -1, POLLIN, 0};
    polls[count++] = (struct pollfd){writes ? of->out : -1, POLLOUT, 0};
  }
  polls[count++] = (struct pollfd){listener, POLLIN, 0};
  return count;
}

void links_serve(const struct pollfd *polls, nfds_t count) {
  if (count < LINK_POLLS_MAX) return;
  for (uint8_t link = 0; link < LASTSPIN_LINKS_MAX; link++) {
    if (links[link].is_open && polls[2 * link + 1].revents != 0) flush(link);
    if (links[link].is_open && polls[2 * link].revents != 0) take(link);
  }
  if (polls[LINK_POLLS_MAX - 1].revents != 0) accept_connection();
}

bool links_ended(void) { return input_ended && listener < 0; }

void links_close(void) {
  links_flush();
  if (settings->pty) unlink(settings->pty);
  if (flags_before[0] >= 0) fcntl(STDIN_FILENO, F_SETFL, flags_before[0]);
  if (flags_before[1] >= 0) fcntl(STDOUT_FILENO, F_SETFL, flags_before[1]);
}
