/* Power by a command of the user's: `COMMAND {action}` with `on` or `off`. It runs beside the loop; the
 * rails count as switched when it has ended well. */
#include "posix.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

#define PLACE "{action}"
/* A command that has not ended by then does not work. */
#define COMMAND_MS 30000
/* What could not be switched off is tried again so often. */
#define RETRY_MS 1000

static const char *template;
static pid_t child;
static uint32_t since_ms;
static bool wanted;
static bool doing;
static bool failed;
static bool retry;

void switch_open(const char *command) {
  if (!strstr(command, PLACE)) {
    fail(EXIT_BAD_INPUT, "--power '%s' has no %s, which stands for on or off", command, PLACE);
  }
  template = command;
}

static void command_line(char *into, size_t room, const char *action) {
  const char *place = strstr(template, PLACE);
  const int before = (int)(place - template);
  snprintf(into, room, "%.*s%s%s", before, template, action, place + strlen(PLACE));
}

static void start(bool on) {
  char line[4096];
  command_line(line, sizeof line, on ? "on" : "off");
  char shell[] = "sh";
  char flag[] = "-c";
  char *arguments[] = {shell, flag, line, NULL};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  /* The protocol's lines are not the command's. */
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", 0, 0);
  posix_spawn_file_actions_adddup2(&actions, 2, 1);
  const int error = posix_spawn(&child, "/bin/sh", &actions, NULL, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  doing = on;
  since_ms = now_ms();
  if (error == 0) return;
  say("cannot run the power command: %s", strerror(error));
  child = 0;
  failed = true;
  retry = !on;
}

void lastspin_port_set_rails(uint8_t rails) {
  if (!template) return;
  wanted = rails != 0;
  failed = false;
  drive_powered(wanted);
  if (child == 0) start(wanted);
}

uint8_t switch_state(void) {
  if (child != 0 || retry || wanted != doing) return LASTSPIN_SWITCH_MOVING;
  return failed ? LASTSPIN_SWITCH_FAILED : LASTSPIN_SWITCH_DONE;
}

static void ended(bool well) {
  child = 0;
  if (!well) say("the power command failed: %s", doing ? "on" : "off");
  /* Off has to be reached; on is for the laptop to ask for again. */
  retry = !well && !doing && !wanted;
  failed = !well && doing;
  since_ms = now_ms();
  if (wanted != doing) start(wanted);
}

void switch_serve(void) {
  if (retry && now_ms() - since_ms >= RETRY_MS) {
    retry = false;
    start(false);
  }
  if (child == 0) return;
  int status = 0;
  const pid_t waited = waitpid(child, &status, WNOHANG);
  if (waited == child) {
    ended(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  } else if (waited < 0 && errno != EINTR) {
    ended(false);
  } else if (now_ms() - since_ms >= COMMAND_MS) {
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    ended(false);
  }
}

void switch_finish(void) {
  const struct timespec moment = {0, 10 * 1000 * 1000};
  for (int tries = 0; tries < 500 && (child != 0 || wanted != doing); tries++) {
    switch_serve();
    nanosleep(&moment, NULL);
  }
}
