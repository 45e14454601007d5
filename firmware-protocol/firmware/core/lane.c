/* The drive takes one command at a time (PROTOCOL.md C-5): what it is doing, what waits for it, and
 * whether it answers (P-7). Compiled with LASTSPIN_WITH_READS. */
#include "internal.h"

#if LASTSPIN_WITH_READS

/* How long `identify` waits for a drive, and `park` for one that may take it. */
#define COMMAND_WAIT_MS 3000
/* P-7: hung is what is still busy so long after a deadline. */
#define HUNG_MS 2000

/* ---- Whether the drive answers ------------------------------------------------------------------ */

void lastspin_lane_began(struct lastspin_device *device, uint8_t what, uint32_t within_ms) {
  device->lane.busy = what;
  device->lane.abandoned = false;
  device->lane.left_ms = within_ms;
}

void lastspin_lane_late(struct lastspin_device *device) {
  if (!device->lane.late) device->lane.late_ms = 0;
  device->lane.late = true;
}

void lastspin_lane_abandon(struct lastspin_device *device) {
  struct lastspin_lane *lane = &device->lane;
  lane->command = NULL;
  if (lane->busy == LASTSPIN_LANE_FREE || lane->abandoned) return;
  lane->abandoned = true;
  lastspin_port_give_up();
}

void lastspin_drive_ready(struct lastspin_device *device) {
  device->lane.late = false;
  if (lastspin_power_apply(device, LASTSPIN_INPUT_DRIVE_READY) >= LASTSPIN_POWER_STATES) return;
  struct lastspin_event *event = lastspin_event(device, LASTSPIN_EVENT_READY);
  if (!event) return;
  const struct lastspin_ready body = {device->lane.not_ready_ms};
  struct lastspin_writer to = lastspin_event_writer(event);
  lastspin_put_ready(&to, &body);
  lastspin_event_written(event, &to);
}

void lastspin_drive_gone(struct lastspin_device *device) {
  device->lane.late = false;
  device->lane.parked = false;
  if (lastspin_power_apply(device, LASTSPIN_INPUT_DRIVE_GONE) >= LASTSPIN_POWER_STATES) return;
  device->lane.not_ready_ms = 0;
  lastspin_event(device, LASTSPIN_EVENT_GONE);
}

void lastspin_drive_got_power(struct lastspin_device *device) { device->lane.not_ready_ms = 0; }

void lastspin_drive_lost_power(struct lastspin_device *device) {
  device->lane.late = false;
  device->lane.parked = false;
  device->lane.own_park = 0;
  lastspin_reads_cut_short(device, LASTSPIN_OUTCOME_GONE);
  struct lastspin_command *command = device->lane.command;
  if (command) {
    lastspin_answer(device, command, LASTSPIN_REPLY_NO_DRIVE, LASTSPIN_BECAUSE_NO_POWER);
  }
  lastspin_lane_abandon(device);
}

static void watch_hung(struct lastspin_device *device) {
  if (!device->lane.late || device->lane.late_ms < HUNG_MS) return;
  if (lastspin_power_apply(device, LASTSPIN_INPUT_DRIVE_SILENT) >= LASTSPIN_POWER_STATES) return;
  device->lane.not_ready_ms = 0;
  lastspin_event(device, LASTSPIN_EVENT_HUNG);
}

/* ---- Commands ----------------------------------------------------------------------------------- */

static uint8_t need(const struct lastspin_device *device, uint32_t capability, uint8_t *reason) {
  if (lastspin_can(device, capability)) return LASTSPIN_REPLY_OK;
  *reason = LASTSPIN_BECAUSE_NOT_OFFERED;
  return LASTSPIN_REPLY_UNSUPPORTED;
}

static uint8_t malformed(uint8_t *reason, bool is_short) {
  *reason = is_short ? LASTSPIN_BECAUSE_CUT_SHORT : LASTSPIN_BECAUSE_NO_MEANING;
  return LASTSPIN_REPLY_MALFORMED;
}

static uint8_t do_reset(struct lastspin_device *device, struct lastspin_cursor *body,
                        uint8_t *reason) {
  struct lastspin_reset_request request;
  if (!lastspin_take_reset_request(body, &request)) return malformed(reason, true);
  const bool is_soft = request.kind == LASTSPIN_RESET_SOFT;
  if (!is_soft && request.kind != LASTSPIN_RESET_HARD) return malformed(reason, false);
  const uint8_t reply =
      need(device, is_soft ? LASTSPIN_CAN_SOFT_RESET : LASTSPIN_CAN_HARD_RESET, reason);
  if (reply != LASTSPIN_REPLY_OK) return reply;
  lastspin_reads_stop(device);
  *reason = LASTSPIN_BECAUSE_NO_POWER;
  if (lastspin_power_apply(device, LASTSPIN_INPUT_RESET) >= LASTSPIN_POWER_STATES) {
    return LASTSPIN_REPLY_NO_DRIVE;
  }
  device->lane.late = false;
  device->lane.not_ready_ms = 0;
  lastspin_port_reset(request.kind);
  return LASTSPIN_REPLY_OK;
}

static uint8_t do_park(struct lastspin_device *device, struct lastspin_command *command,
                       struct lastspin_cursor *body, uint8_t *reason) {
  struct lastspin_park_request request;
  if (!lastspin_take_park_request(body, &request)) return malformed(reason, true);
  if (request.kind != LASTSPIN_PARK_UNLOAD && request.kind != LASTSPIN_PARK_STANDBY) {
    return malformed(reason, false);
  }
  const uint8_t reply = need(device, LASTSPIN_CAN_PARK, reason);
  if (reply != LASTSPIN_REPLY_OK) return reply;
  command->asked[0] = request.kind;
  command->stage = LASTSPIN_WAITING;
  return LASTSPIN_REPLY_PENDING;
}

static uint8_t do_abort(struct lastspin_device *device, struct lastspin_cursor *body,
                        uint8_t *reason) {
  struct lastspin_abort_request request;
  if (!lastspin_take_abort_request(body, &request)) return malformed(reason, true);
  const uint8_t reply = need(device, LASTSPIN_CAN_READ, reason);
  if (reply == LASTSPIN_REPLY_OK) lastspin_reads_abort(device, request.read_id_below);
  return reply;
}

static uint8_t do_resend(struct lastspin_device *device, struct lastspin_command *command,
                         struct lastspin_cursor *body, uint8_t *reason) {
  struct lastspin_resend_request request;
  if (!lastspin_take_resend_request(body, &request)) return malformed(reason, true);
  const uint8_t reply = need(device, LASTSPIN_CAN_READ, reason);
  if (reply != LASTSPIN_REPLY_OK) return reply;
  command->asked[0] = request.read_id;
  command->asked[1] = request.offset;
  command->asked[2] = request.length;
  command->stage = LASTSPIN_WAITING;
  return LASTSPIN_REPLY_PENDING;
}

uint8_t lastspin_drive_command(struct lastspin_device *device, struct lastspin_command *command,
                               struct lastspin_cursor *body, uint8_t *reason) {
  uint8_t reply;
  switch (command->code) {
    case LASTSPIN_CODE_IDENTIFY:
      reply = need(device, LASTSPIN_CAN_IDENTIFY, reason);
      if (reply != LASTSPIN_REPLY_OK) return reply;
      command->stage = LASTSPIN_WAITING;
      return LASTSPIN_REPLY_PENDING;
    case LASTSPIN_CODE_PARK:
      return do_park(device, command, body, reason);
    case LASTSPIN_CODE_RESET:
      return do_reset(device, body, reason);
    case LASTSPIN_CODE_ABORT:
      return do_abort(device, body, reason);
    case LASTSPIN_CODE_RESEND:
      return do_resend(device, command, body, reason);
    default:
      *reason = LASTSPIN_BECAUSE_NOT_OFFERED;
      return LASTSPIN_REPLY_UNSUPPORTED;
  }
}

/* ---- Parking without being asked, and before a cut ---------------------------------------------- */

bool lastspin_park_by_itself(struct lastspin_device *device, uint8_t kind) {
  if (!lastspin_can(device, LASTSPIN_CAN_PARK)) return false;
  if (lastspin_power_cell(device, LASTSPIN_INPUT_PARK) != LASTSPIN_TO_DONE) return false;
  device->lane.own_park = kind;
  return true;
}

bool lastspin_park_before_cut(struct lastspin_device *device, struct lastspin_command *command,
                              const struct lastspin_power_request *request) {
  /* P-4: one that hangs is not waited for. */
  if (device->lane.busy != LASTSPIN_LANE_FREE) return false;
  if (!lastspin_park_by_itself(device, LASTSPIN_PARK_STANDBY)) return false;
  device->lane.cut = (struct lastspin_cut){true, request->action, request->off_ms,
                                           LASTSPIN_PARK_MS, command};
  return true;
}

void lastspin_cut_now(struct lastspin_device *device) {
  const struct lastspin_cut cut = device->lane.cut;
  if (!cut.pending) return;
  device->lane.cut.pending = false;
  uint8_t reason = LASTSPIN_BECAUSE_NONE;
  /* A trip that came first stands: a cycle would bring the drive back by itself (P-2). */
  const bool is_tripped = device->power.state == LASTSPIN_STATE_TRIPPED;
  const uint8_t action = is_tripped ? LASTSPIN_POWER_OFF : cut.action;
  const uint8_t reply = lastspin_power_switch(device, action, cut.off_ms, &reason);
  if (!cut.command) return;
  cut.command->answer[0] = device->power.state;
  cut.command->answer_bytes = 1;
  lastspin_answer(device, cut.command, reply, reason);
}

static void watch_cut(struct lastspin_device *device) {
  const struct lastspin_lane *lane = &device->lane;
  const bool is_parked = lane->own_park == 0 && lane->busy == LASTSPIN_LANE_FREE;
  if (lane->cut.pending && (is_parked || lane->cut.left_ms == 0)) lastspin_cut_now(device);
}

/* ---- What goes before the reads that wait ------------------------------------------------------- */

static struct lastspin_command *oldest_waiting(struct lastspin_session *session) {
  struct lastspin_command *oldest = NULL;
  for (uint8_t at = 0; at < LASTSPIN_COMMANDS_MAX; at++) {
    struct lastspin_command *command = &session->commands[at];
    if (command->stage != LASTSPIN_WAITING || command->code == LASTSPIN_CODE_RESEND) continue;
    if (!oldest || command->id < oldest->id) oldest = command;
  }
  return oldest;
}

static void start_command(struct lastspin_device *device, struct lastspin_command *command) {
  command->stage = LASTSPIN_UNDER_WAY;
  device->lane.command = command;
  if (command->code == LASTSPIN_CODE_IDENTIFY) {
    lastspin_lane_began(device, LASTSPIN_LANE_IDENTIFY, COMMAND_WAIT_MS);
    lastspin_port_start_identify();
  } else {
    lastspin_lane_began(device, LASTSPIN_LANE_PARK, LASTSPIN_PARK_MS);
    lastspin_port_start_park((uint8_t)command->asked[0]);
  }
}

/* Starts a command that waits, or ends its wait, by the table. */
static void consider(struct lastspin_device *device, struct lastspin_command *command) {
  const bool is_park = command->code == LASTSPIN_CODE_PARK;
  const uint8_t cell = lastspin_power_cell(
      device, is_park ? LASTSPIN_INPUT_PARK : LASTSPIN_INPUT_IDENTIFY_PASSTHROUGH);
  if (cell == LASTSPIN_TO_NO_DRIVE) {
    lastspin_answer(device, command, LASTSPIN_REPLY_NO_DRIVE, LASTSPIN_BECAUSE_NO_POWER);
  } else if (cell == LASTSPIN_TO_BUSY) {
    lastspin_answer(device, command, LASTSPIN_REPLY_BUSY, LASTSPIN_BECAUSE_HANGS);
  } else if (cell == LASTSPIN_TO_DONE && device->lane.busy == LASTSPIN_LANE_FREE) {
    start_command(device, command);
  } else if (command->waited_ms >= COMMAND_WAIT_MS && !device->reads.is_started) {
    const uint8_t reply = is_park ? LASTSPIN_REPLY_BUSY : LASTSPIN_REPLY_NO_DRIVE;
    lastspin_answer(device, command, reply, LASTSPIN_BECAUSE_NO_ANSWER);
  }
}

static void start_own_park(struct lastspin_device *device) {
  struct lastspin_lane *lane = &device->lane;
  const uint8_t kind = lane->own_park;
  lane->own_park = 0;
  if (lastspin_power_cell(device, LASTSPIN_INPUT_PARK) != LASTSPIN_TO_DONE) return;
  lane->command = NULL;
  lane->parked = kind == LASTSPIN_PARK_STANDBY;
  lastspin_lane_began(device, LASTSPIN_LANE_PARK, LASTSPIN_PARK_MS);
  lastspin_port_start_park(kind);
}

/* A command that the drive has not answered in its time. A read has its own deadline (reads.c). */
static void watch_deadline(struct lastspin_device *device) {
  struct lastspin_lane *lane = &device->lane;
  if (lane->busy == LASTSPIN_LANE_FREE || lane->left_ms > 0) return;
  lastspin_lane_late(device);
  if (lane->busy == LASTSPIN_LANE_READ || lane->abandoned) return;
  if (lane->command) {
    lastspin_answer(device, lane->command,
                    lane->busy == LASTSPIN_LANE_PARK ? LASTSPIN_REPLY_BUSY
                                                     : LASTSPIN_REPLY_NO_DRIVE,
                    LASTSPIN_BECAUSE_NO_ANSWER);
  }
  lastspin_lane_abandon(device);
}

void lastspin_lane_advance(struct lastspin_device *device, uint32_t by_ms) {
  struct lastspin_lane *lane = &device->lane;
  if (lane->busy != LASTSPIN_LANE_FREE) lane->left_ms = lastspin_less(lane->left_ms, by_ms);
  lane->late_ms = lastspin_later(lane->late_ms, by_ms);
  lane->not_ready_ms = lastspin_later(lane->not_ready_ms, by_ms);
  lane->cut.left_ms = lastspin_less(lane->cut.left_ms, by_ms);
  for (uint8_t at = 0; at < LASTSPIN_COMMANDS_MAX; at++) {
    struct lastspin_command *command = &device->session.commands[at];
    command->waited_ms = lastspin_later(command->waited_ms, by_ms);
  }
}

bool lastspin_lane_step(struct lastspin_device *device) {
  struct lastspin_lane *lane = &device->lane;
  watch_deadline(device);
  watch_hung(device);
  watch_cut(device);
  if (device->reads.is_started) return false;
  if (lane->own_park != 0 && lane->busy == LASTSPIN_LANE_FREE) start_own_park(device);
  for (;;) {
    struct lastspin_command *command = oldest_waiting(&device->session);
    if (!command) break;
    consider(device, command);
    /* It waits on: reads come after it. */
    if (command->stage == LASTSPIN_WAITING) return false;
  }
  /* What the port was told to do comes first; what nobody waits for counts against the read. */
  return !lane->cut.pending && (lane->busy == LASTSPIN_LANE_FREE || lane->abandoned);
}

/* ---- What the port is done with ----------------------------------------------------------------- */

/* The lane is free again; false where nobody waited for it. */
static bool lane_ended(struct lastspin_device *device, uint8_t what) {
  struct lastspin_lane *lane = &device->lane;
  if (lane->busy != what) return false;
  lane->busy = LASTSPIN_LANE_FREE;
  return !lane->abandoned;
}

void lastspin_read_done(struct lastspin_device *device, const struct lastspin_read_result *result) {
  const bool is_waited_for = lane_ended(device, LASTSPIN_LANE_READ);
  if (result->outcome == LASTSPIN_OUTCOME_GONE) {
    lastspin_drive_gone(device);
  } else if (result->outcome != LASTSPIN_OUTCOME_TIMEOUT) {
    lastspin_drive_ready(device);
  }
  if (is_waited_for) lastspin_reads_finish(device, result);
}

void lastspin_identify_done(struct lastspin_device *device,
                            const struct lastspin_identify_response *identity) {
  const bool is_waited_for = lane_ended(device, LASTSPIN_LANE_IDENTIFY);
  struct lastspin_command *command = device->lane.command;
  if (identity) lastspin_drive_ready(device);
  if (!is_waited_for || !command) return;
  device->lane.command = NULL;
  if (!identity) {
    lastspin_answer(device, command, LASTSPIN_REPLY_NO_DRIVE, LASTSPIN_BECAUSE_NO_ANSWER);
    return;
  }
  struct lastspin_writer to = {command->answer, sizeof command->answer, false};
  const bool fits = lastspin_put_identify_response(&to, identity);
  command->answer_bytes = (uint16_t)(to.at - command->answer);
  if (fits && command->answer_bytes + 6U <= device->session.frame_bytes_max) {
    lastspin_answer(device, command, LASTSPIN_REPLY_OK, LASTSPIN_BECAUSE_NONE);
  } else {
    lastspin_answer(device, command, LASTSPIN_REPLY_LIMIT, LASTSPIN_BECAUSE_TOO_LONG);
  }
}

void lastspin_park_done(struct lastspin_device *device, bool is_parked) {
  const bool is_waited_for = lane_ended(device, LASTSPIN_LANE_PARK);
  struct lastspin_command *command = device->lane.command;
  device->lane.late = false;
  if (!is_waited_for || !command) return;
  device->lane.command = NULL;
  if (is_parked && command->asked[0] == LASTSPIN_PARK_STANDBY) device->lane.parked = true;
  lastspin_answer(device, command, is_parked ? LASTSPIN_REPLY_OK : LASTSPIN_REPLY_BUSY,
                  is_parked ? LASTSPIN_BECAUSE_NONE : LASTSPIN_BECAUSE_NO_ANSWER);
}

#else
/* C wants something in every file. */
typedef int lastspin_no_lane;
#endif
