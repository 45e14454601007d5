/* Sessions, commands and their memory, and what is sent when the line has room (PROTOCOL.md H, C). */
#include "internal.h"

/* ---- Reasons ---------------------------------------------------------------------------------- */

/* One behind the other, each ended by a zero: read byte by byte, they can stay in flash. */
#define REASON_TEXT(name, text) text "\0"
static const char reasons[] LASTSPIN_FLASH = LASTSPIN_REASONS(REASON_TEXT);

static void put_reason(struct lastspin_writer *to, uint8_t reason) {
  const char *at = reasons;
  for (; reason > 0; at++) {
    if (LASTSPIN_FLASH_BYTE(at) == 0) reason--;
  }
  uint16_t count = 0;
  while (LASTSPIN_FLASH_BYTE(at + count) != 0) count++;
  lastspin_put_u16(to, count);
  for (; count > 0; count--) lastspin_put_u8(to, (uint8_t)LASTSPIN_FLASH_BYTE(at++));
}

void lastspin_put_refusal(struct lastspin_writer *to, uint8_t reply, uint8_t reason) {
  lastspin_put_u8(to, reply);
  put_reason(to, reason);
}

/* ---- What waits to be sent -------------------------------------------------------------------- */

void lastspin_reply(struct lastspin_device *device, uint8_t link, struct lastspin_reply reply) {
  if (link >= LASTSPIN_LINKS_MAX) return;
  struct lastspin_link *to = &device->links[link];
  for (uint8_t at = 0; at < to->reply_count; at++) {
    if (to->replies[at].id == reply.id && to->replies[at].code == reply.code) return;
  }
  /* C-7: a laptop that keeps to what was offered never gets here; another one asks again (C-2). */
  if (to->reply_count == LASTSPIN_REPLIES_MAX) {
    device->violations++;
    return;
  }
  to->replies[to->reply_count++] = reply;
}

static void refuse(struct lastspin_device *device, uint8_t link, uint8_t code, uint32_t id,
                   uint8_t reply, uint8_t reason) {
  lastspin_reply(device, link, (struct lastspin_reply){id, code, reply, reason});
}

void lastspin_answer(struct lastspin_device *device, struct lastspin_command *command,
                     uint8_t reply, uint8_t reason) {
  command->stage = LASTSPIN_DONE;
  command->reply = reply;
  command->reason = reason;
  if (reply != LASTSPIN_REPLY_OK) command->answer_bytes = 0;
  refuse(device, device->session.link, command->code, command->id, reply, reason);
}

struct lastspin_event *lastspin_event(struct lastspin_device *device, uint8_t code) {
  struct lastspin_session *session = &device->session;
  /* E-1: nobody is there to be told. */
  if (session->link == LASTSPIN_NO_LINK) return NULL;
  if (session->event_count == LASTSPIN_EVENTS_MAX) {
    session->event_count--;
    memmove(&session->events[0], &session->events[1],
            session->event_count * sizeof session->events[0]);
  }
  struct lastspin_event *event = &session->events[session->event_count++];
  event->code = code;
  event->body_bytes = 0;
  return event;
}

struct lastspin_writer lastspin_event_writer(struct lastspin_event *event) {
  return (struct lastspin_writer){event->body, sizeof event->body, false};
}

void lastspin_event_written(struct lastspin_event *event, const struct lastspin_writer *written) {
  event->body_bytes = (uint8_t)(written->at - event->body);
}

/* ---- Messages that are made when the line has room for them ------------------------------------- */

static void put_hello(const struct lastspin_device *device, struct lastspin_writer *to) {
  const struct lastspin_settings *settings = device->settings;
  const struct lastspin_hello_response response = {
      .major = LASTSPIN_VERSION_MAJOR,
      .minor = LASTSPIN_VERSION_MINOR,
      .capabilities = settings->capabilities,
      .frame_bytes_max = device->session.frame_bytes_max,
#if LASTSPIN_WITH_READS
      .buffer_bytes = lastspin_can(device, LASTSPIN_CAN_READ) ? LASTSPIN_BUFFER_BYTES : 0,
      .requests_max = lastspin_can(device, LASTSPIN_CAN_READ) ? LASTSPIN_REQUESTS_MAX : 0,
      .read_count_max = lastspin_read_count_max(device),
      .read_id_next = device->reads.id_next,
#endif
      .boot_id = device->boot_id,
      .firmware = {(const uint8_t *)settings->firmware, (uint16_t)strlen(settings->firmware)},
      .commands_max = LASTSPIN_COMMANDS_MAX,
      .boot_cause = device->boot_cause,
      .session_count = device->session_count,
  };
  lastspin_put_hello_response(to, &response);
}

/* A measured value must not look like one that is not. */
static uint16_t measured(const struct lastspin_device *device, uint16_t value) {
  return lastspin_can(device, LASTSPIN_CAN_SENSE) ? value : LASTSPIN_NO_RAIL;
}

static void put_status(const struct lastspin_device *device, struct lastspin_writer *to) {
  const struct lastspin_sample *sample = &device->sample;
  const struct lastspin_status_response response = {
      .power_state = device->power.state,
      .temperature = lastspin_can(device, LASTSPIN_CAN_TEMPERATURE) ? sample->temperature
                                                                    : LASTSPIN_NO_TEMPERATURE,
      .rail5_millivolts = measured(device, sample->millivolts[LASTSPIN_5V]),
      .rail5_milliamps = measured(device, sample->milliamps[LASTSPIN_5V]),
      .rail12_millivolts = measured(device, sample->millivolts[LASTSPIN_12V]),
      .rail12_milliamps = measured(device, sample->milliamps[LASTSPIN_12V]),
      .uptime_ms = device->uptime_ms,
#if LASTSPIN_WITH_READS
      .drive_busy = device->lane.busy != LASTSPIN_LANE_FREE,
      .read_id_next = device->reads.id_next,
      .read_id_done = device->reads.sent_below,
#endif
      .power_cycles = device->power.cycles,
      .frames_discarded = device->frames_discarded,
      .quiet_ms = lastspin_can(device, LASTSPIN_CAN_ACTIVITY) ? device->watch.quiet_ms
                                                              : LASTSPIN_NO_ACTIVITY,
  };
  lastspin_put_status_response(to, &response);
}

static const struct lastspin_command *remembered(const struct lastspin_session *session,
                                                 uint32_t id) {
  for (uint8_t at = 0; at < LASTSPIN_COMMANDS_MAX; at++) {
    const struct lastspin_command *command = &session->commands[at];
    if (command->stage != LASTSPIN_FREE && command->id == id) return command;
  }
  return NULL;
}

static void put_remembered(const struct lastspin_device *device, uint32_t id,
                           struct lastspin_writer *to) {
  const struct lastspin_command *command = remembered(&device->session, id);
  uint8_t *at = command ? lastspin_put(to, command->answer_bytes) : NULL;
  if (at) memcpy(at, command->answer, command->answer_bytes);
  /* Forgotten since: nobody can be waiting for it, and half an answer is none. */
  else to->failed = true;
}

static void put_response(const struct lastspin_device *device, const struct lastspin_reply *reply,
                         struct lastspin_writer *to) {
  if (reply->reply != LASTSPIN_REPLY_OK) {
    lastspin_put_refusal(to, reply->reply, reply->reason);
    return;
  }
#if LASTSPIN_WITH_READS
  if (reply->code == LASTSPIN_CODE_READ) {
    lastspin_put_read(device, reply->id, to);
    return;
  }
#endif
  lastspin_put_u8(to, LASTSPIN_REPLY_OK);
  if (reply->code == LASTSPIN_CODE_HELLO) put_hello(device, to);
  else if (reply->code == LASTSPIN_CODE_STATUS) put_status(device, to);
  else put_remembered(device, reply->id, to);
}

static void send_reply(struct lastspin_device *device, uint8_t link) {
  struct lastspin_link *from = &device->links[link];
  const struct lastspin_reply reply = from->replies[0];
  from->reply_count--;
  memmove(&from->replies[0], &from->replies[1], from->reply_count * sizeof from->replies[0]);
  const uint8_t code = (uint8_t)(reply.code | LASTSPIN_CODE_RESPONSE_BIT);
  struct lastspin_writer to = lastspin_sender_begin(&from->sender, code, reply.id);
  put_response(device, &reply, &to);
  lastspin_sender_finish(&from->sender, &to, NULL, 0);
}

static void send_event(struct lastspin_device *device, uint8_t link) {
  struct lastspin_session *session = &device->session;
  struct lastspin_sender *sender = &device->links[link].sender;
  const struct lastspin_event event = session->events[0];
  session->event_count--;
  memmove(&session->events[0], &session->events[1],
          session->event_count * sizeof session->events[0]);
  struct lastspin_writer to = lastspin_sender_begin(sender, event.code, session->event_id++);
  uint8_t *at = lastspin_put(&to, event.body_bytes);
  if (at) memcpy(at, event.body, event.body_bytes);
  lastspin_sender_finish(sender, &to, NULL, 0);
}

/* Begins the next message for a link whose sender is idle; false when there is none. */
static bool send_next(struct lastspin_device *device, uint8_t link) {
#if LASTSPIN_WITH_READS
  if (device->session.link == link) lastspin_reads_sent(device);
#endif
  if (device->links[link].reply_count > 0) {
    send_reply(device, link);
    return true;
  }
  if (device->session.link != link) return false;
  if (device->session.event_count > 0) {
    send_event(device, link);
    return true;
  }
#if LASTSPIN_WITH_READS
  return lastspin_reads_send(device, &device->links[link]);
#else
  return false;
#endif
}

static void pump(struct lastspin_device *device) {
  for (uint8_t link = 0; link < LASTSPIN_LINKS_MAX; link++) {
    if (!device->links[link].open) continue;
    while (lastspin_sender_pump(&device->links[link].sender, link)) {
      if (!send_next(device, link)) break;
    }
  }
}

/* ---- HELLO and sessions (H) --------------------------------------------------------------------- */

static void forget_session(struct lastspin_device *device) {
  struct lastspin_session *session = &device->session;
#if LASTSPIN_WITH_READS
  lastspin_reads_retire(device);
#endif
  memset(session, 0, sizeof *session);
  session->link = LASTSPIN_NO_LINK;
}

/* Why a HELLO is refused: a reply code, OK for not at all. */
static uint8_t judge_hello(const struct lastspin_device *device, uint8_t link,
                           const struct lastspin_hello_request *request, uint8_t *reason) {
  const struct lastspin_session *session = &device->session;
  *reason = LASTSPIN_BECAUSE_NOT_HELLO;
  if (request->magic != LASTSPIN_HELLO_MAGIC) return LASTSPIN_REPLY_MALFORMED;
  *reason = LASTSPIN_BECAUSE_VERSION;
  if (request->major != LASTSPIN_VERSION_MAJOR) return LASTSPIN_REPLY_VERSION;
  *reason = LASTSPIN_BECAUSE_FRAME_BYTES;
  if (request->frame_bytes_max < LASTSPIN_FRAME_BYTES_MIN) return LASTSPIN_REPLY_LIMIT;
  /* H-7: a second program must not disturb a job that is alive. */
  *reason = LASTSPIN_BECAUSE_OTHER_PROGRAM;
  const bool is_other = session->exists && session->number != request->session &&
                        session->link != LASTSPIN_NO_LINK && session->link != link;
  if (is_other && device->watch.silence_ms < LASTSPIN_SESSION_LIVE_MS) return LASTSPIN_REPLY_BUSY;
  return LASTSPIN_REPLY_OK;
}

/* The session of that number: the one there is (H-6), or a new one in its place (H-7). */
static void open_session(struct lastspin_device *device, uint8_t link,
                         const struct lastspin_hello_request *request) {
  struct lastspin_session *session = &device->session;
  const bool is_new = !session->exists || session->number != request->session;
  /* What waits there to be sent is nothing to whoever is served from now on. */
  if (session->link < LASTSPIN_LINKS_MAX && (is_new || session->link != link)) {
    device->links[session->link].reply_count = 0;
  }
  if (is_new) {
    device->session_count++;
    forget_session(device);
    session->exists = true;
    session->number = request->session;
  }
  if (session->link != link) {
    session->link = link;
    session->event_count = 0;
#if LASTSPIN_WITH_READS
    lastspin_reads_relinked(device);
#endif
  }
  session->frame_bytes_max = request->frame_bytes_max < LASTSPIN_FRAME_BYTES_MAX
                                 ? request->frame_bytes_max
                                 : LASTSPIN_FRAME_BYTES_MAX;
}

static void receive_hello(struct lastspin_device *device, uint8_t link, uint32_t id,
                          struct lastspin_cursor *body) {
  struct lastspin_hello_request request;
  if (!lastspin_take_hello_request(body, &request)) {
    refuse(device, link, LASTSPIN_CODE_HELLO, id, LASTSPIN_REPLY_MALFORMED,
           LASTSPIN_BECAUSE_CUT_SHORT);
    return;
  }
  uint8_t reason = LASTSPIN_BECAUSE_NONE;
  const uint8_t reply = judge_hello(device, link, &request, &reason);
  if (reply == LASTSPIN_REPLY_OK) {
    open_session(device, link, &request);
    lastspin_watch_heard(device);
    if (!device->watch.watched) {
      /* W-3: from now on, and also after a restart. */
      device->watch.watched = true;
      lastspin_save(device);
    }
  }
  refuse(device, link, LASTSPIN_CODE_HELLO, id, reply, reason);
}

/* ---- Control commands (C) ----------------------------------------------------------------------- */

static uint8_t need(const struct lastspin_device *device, uint32_t capability, uint8_t *reason) {
  if (lastspin_can(device, capability)) return LASTSPIN_REPLY_OK;
  *reason = LASTSPIN_BECAUSE_NOT_OFFERED;
  return LASTSPIN_REPLY_UNSUPPORTED;
}

static uint8_t malformed(uint8_t *reason, bool is_short) {
  *reason = is_short ? LASTSPIN_BECAUSE_CUT_SHORT : LASTSPIN_BECAUSE_NO_MEANING;
  return LASTSPIN_REPLY_MALFORMED;
}

static uint8_t do_power(struct lastspin_device *device, struct lastspin_command *command,
                        struct lastspin_cursor *body, struct lastspin_writer *answer,
                        uint8_t *reason) {
  struct lastspin_power_request request;
  if (!lastspin_take_power_request(body, &request)) return malformed(reason, true);
  if (request.action > LASTSPIN_POWER_CYCLE) return malformed(reason, false);
  uint8_t reply = need(device, LASTSPIN_CAN_POWER, reason);
  if (reply != LASTSPIN_REPLY_OK) return reply;
#if LASTSPIN_WITH_READS
  lastspin_cut_now(device);
  if (request.action != LASTSPIN_POWER_ON) {
    lastspin_reads_stop(device);
    if (request.standby_first && lastspin_park_before_cut(device, command, &request)) {
      return LASTSPIN_REPLY_PENDING;
    }
  }
#else
  (void)command;
#endif
  reply = lastspin_power_switch(device, request.action, request.off_ms, reason);
  lastspin_put_u8(answer, device->power.state);
  return reply;
}

static uint8_t do_throttle(struct lastspin_device *device, struct lastspin_cursor *body,
                           uint8_t *reason) {
  struct lastspin_throttle_request request;
  if (!lastspin_take_throttle_request(body, &request)) return malformed(reason, true);
  const uint8_t reply = need(device, LASTSPIN_CAN_THROTTLE, reason);
  if (reply == LASTSPIN_REPLY_OK) lastspin_throttle_set(device, &request);
  return reply;
}

static uint8_t do_watchdog(struct lastspin_device *device, struct lastspin_cursor *body,
                           uint8_t *reason) {
  struct lastspin_watchdog_request request;
  if (!lastspin_take_watchdog_request(body, &request)) return malformed(reason, true);
  const uint8_t reply = need(device, LASTSPIN_CAN_WATCHDOG, reason);
  if (reply == LASTSPIN_REPLY_OK) lastspin_watch_set(device, &request);
  return reply;
}

static uint8_t do_limits(struct lastspin_device *device, struct lastspin_cursor *body,
                         struct lastspin_writer *answer, uint8_t *reason) {
  struct lastspin_limits_request request;
  if (!lastspin_take_limits_request(body, &request)) return malformed(reason, true);
  uint8_t reply = need(device, LASTSPIN_CAN_LIMITS, reason);
  if (reply != LASTSPIN_REPLY_OK) return reply;
  reply = lastspin_power_limits(device, &request, reason);
  lastspin_put_limits_response(answer, &device->power.limits);
  return reply;
}

/* Does a command, or begins it: its reply code, and the answer's fields. */
static uint8_t perform(struct lastspin_device *device, struct lastspin_command *command,
                       struct lastspin_cursor *body, struct lastspin_writer *answer,
                       uint8_t *reason) {
  switch (command->code) {
    case LASTSPIN_CODE_POWER:
      return do_power(device, command, body, answer, reason);
    case LASTSPIN_CODE_THROTTLE:
      return do_throttle(device, body, reason);
    case LASTSPIN_CODE_WATCHDOG:
      return do_watchdog(device, body, reason);
    case LASTSPIN_CODE_LIMITS:
      return do_limits(device, body, answer, reason);
    default:
#if LASTSPIN_WITH_READS
      return lastspin_drive_command(device, command, body, reason);
#else
      *reason = LASTSPIN_BECAUSE_NOT_OFFERED;
      return LASTSPIN_REPLY_UNSUPPORTED;
#endif
  }
}

/* Room to remember a command: a free place, or that of the oldest that is done. NULL for an id not
 * above one that is forgotten, or would be by this. */
static struct lastspin_command *place_for_command(struct lastspin_session *session, uint32_t id) {
  struct lastspin_command *oldest = NULL;
  if (id < session->forgotten_below) return NULL;
  for (uint8_t at = 0; at < LASTSPIN_COMMANDS_MAX; at++) {
    struct lastspin_command *command = &session->commands[at];
    if (command->stage == LASTSPIN_FREE) return command;
    /* What is under way is not forgotten: a second copy would do it twice. */
    if (command->stage != LASTSPIN_DONE) continue;
    if (!oldest || command->id < oldest->id) oldest = command;
  }
  if (!oldest || id < oldest->id) return NULL;
  session->forgotten_below = oldest->id + 1;
  return oldest;
}

/* Does a command once, however often its message comes (C-3). */
static void receive_command(struct lastspin_device *device, uint8_t link, uint8_t code,
                            uint32_t id, struct lastspin_cursor *body) {
  struct lastspin_session *session = &device->session;
  const struct lastspin_command *known = remembered(session, id);
  if (known) {
    if (known->stage == LASTSPIN_DONE) {
      refuse(device, link, known->code, id, known->reply, known->reason);
    }
    return;
  }
  struct lastspin_command *command = place_for_command(session, id);
  if (!command) {
    device->violations++;
    return;
  }
  memset(command, 0, sizeof *command);
  command->id = id;
  command->code = code;
  command->stage = LASTSPIN_UNDER_WAY;
  struct lastspin_writer answer = {command->answer, sizeof command->answer, false};
  uint8_t reason = LASTSPIN_BECAUSE_NONE;
  const uint8_t reply = perform(device, command, body, &answer, &reason);
#if LASTSPIN_WITH_READS
  if (reply == LASTSPIN_REPLY_PENDING) return;
#endif
  command->answer_bytes = (uint16_t)(answer.at - command->answer);
  lastspin_answer(device, command, reply, reason);
}

/* ---- What comes in ------------------------------------------------------------------------------ */

static bool is_known(uint8_t code) {
  return code >= LASTSPIN_CODE_HELLO && code <= LASTSPIN_CODE_LIMITS;
}

static void receive_in_session(struct lastspin_device *device, uint8_t link, uint8_t code,
                               uint32_t id, struct lastspin_cursor *body) {
  lastspin_watch_heard(device);
  if (code == LASTSPIN_CODE_STATUS) {
    /* C-4: made anew when its turn comes. */
    refuse(device, link, code, id, LASTSPIN_REPLY_OK, LASTSPIN_BECAUSE_NONE);
  } else if (!is_known(code)) {
    refuse(device, link, code, id, LASTSPIN_REPLY_UNKNOWN_COMMAND, LASTSPIN_BECAUSE_UNKNOWN);
  } else if (code == LASTSPIN_CODE_READ) {
#if LASTSPIN_WITH_READS
    if (lastspin_can(device, LASTSPIN_CAN_READ)) {
      lastspin_reads_receive(device, id, body);
      return;
    }
#endif
    refuse(device, link, code, id, LASTSPIN_REPLY_UNSUPPORTED, LASTSPIN_BECAUSE_NOT_OFFERED);
  } else {
    receive_command(device, link, code, id, body);
  }
}

static void receive_message(struct lastspin_device *device, uint8_t link,
                            struct lastspin_cursor message) {
  const uint8_t code = lastspin_take_u8(&message);
  const uint32_t id = lastspin_take_u32(&message);
  /* M-2: responses and events are this end's to send; here they are an echo of it. */
  if (message.failed || code == 0 || code >= LASTSPIN_EVENT_DATA) {
    device->violations++;
  } else if (code == LASTSPIN_CODE_HELLO) {
    receive_hello(device, link, id, &message);
  } else if (device->session.link != link) {
    refuse(device, link, code, id, LASTSPIN_REPLY_HELLO_FIRST, LASTSPIN_BECAUSE_NO_SESSION);
  } else {
    receive_in_session(device, link, code, id, &message);
  }
}

static void advance(struct lastspin_device *device, uint32_t now_ms) {
  /* Unsigned, so that the clock may wrap. */
  const uint32_t by_ms = now_ms - device->now_ms;
  if (by_ms == 0) return;
  device->now_ms = now_ms;
  device->uptime_ms += by_ms;
  lastspin_power_advance(device, by_ms);
  lastspin_watch_advance(device, by_ms);
#if LASTSPIN_WITH_READS
  lastspin_reads_advance(device, by_ms);
#endif
}

void lastspin_receive(struct lastspin_device *device, uint8_t link, const uint8_t *bytes,
                      size_t count, uint32_t now_ms) {
  if (link >= LASTSPIN_LINKS_MAX || !device->links[link].open) return;
  struct lastspin_receiver *receiver = &device->links[link].receiver;
  advance(device, now_ms);
  for (; count > 0; count--) {
    switch (lastspin_receiver_take(receiver, *bytes++)) {
      case LASTSPIN_FRAME_UNFINISHED:
      case LASTSPIN_FRAME_EMPTY:
        break;
      case LASTSPIN_FRAME_MESSAGE:
        receive_message(device, link,
                        (struct lastspin_cursor){receiver->plain, receiver->plain_bytes, false});
        break;
      default:
        /* F-7: counted, and not a word about it. */
        device->frames_discarded++;
        break;
    }
  }
}

/* ---- Start, links, time ------------------------------------------------------------------------- */

static uint32_t record_crc(const struct lastspin_record *record) {
  return lastspin_crc32(0, (const uint8_t *)record, offsetof(struct lastspin_record, crc));
}

void lastspin_save(struct lastspin_device *device) {
  struct lastspin_record record;
  /* Padding counts in the checksum too. */
  memset(&record, 0, sizeof record);
  record.boot_id = device->boot_id;
  record.power_cycles = device->power.cycles;
  record.off_ms = device->power.off_ms;
  memcpy(record.watchdog_ms, device->watch.stage_ms, sizeof record.watchdog_ms);
  record.throttle = device->watch.throttle;
  record.limits = device->power.limits;
  record.power_state = device->power.state;
  record.wants_on = device->power.wants_on;
  record.watched = device->watch.watched;
  record.crc = record_crc(&record);
  lastspin_port_save(&record);
}

/* P-1: whether what was kept may be believed. An unknown cause is taken for a loss of power. */
static bool outlived(uint8_t boot_cause, const struct lastspin_record *saved) {
  if (boot_cause != LASTSPIN_BOOT_WATCHDOG && boot_cause != LASTSPIN_BOOT_RESET_LINE &&
      boot_cause != LASTSPIN_BOOT_SOFTWARE) {
    return false;
  }
  return saved && saved->crc == record_crc(saved) && saved->power_state < LASTSPIN_POWER_STATES;
}

void lastspin_init(struct lastspin_device *device, const struct lastspin_settings *settings,
                   uint8_t boot_cause, const struct lastspin_record *saved, uint32_t now_ms) {
  if (!outlived(boot_cause, saved)) saved = NULL;
  memset(device, 0, sizeof *device);
  device->settings = settings;
  device->boot_cause = boot_cause;
  device->boot_id = saved ? saved->boot_id + 1 : settings->boot_id;
  device->now_ms = now_ms;
  device->session.link = LASTSPIN_NO_LINK;
  device->sample = (struct lastspin_sample){
      {LASTSPIN_NO_RAIL, LASTSPIN_NO_RAIL},
      {LASTSPIN_NO_RAIL, LASTSPIN_NO_RAIL},
      LASTSPIN_NO_TEMPERATURE, LASTSPIN_ACTIVITY_NO_LINE, LASTSPIN_SWITCH_DONE};
  lastspin_power_start(device, saved);
  lastspin_watch_start(device, saved);
  lastspin_save(device);
}

void lastspin_open(struct lastspin_device *device, uint8_t link) {
  if (link >= LASTSPIN_LINKS_MAX) return;
  struct lastspin_link *opened = &device->links[link];
  opened->open = true;
  opened->reply_count = 0;
  lastspin_receiver_reset(&opened->receiver);
  /* F-8: what noise left in the other end's receiver ends here. */
  lastspin_sender_mark(&opened->sender);
}

void lastspin_close(struct lastspin_device *device, uint8_t link) {
  if (link >= LASTSPIN_LINKS_MAX) return;
  device->links[link].open = false;
  lastspin_sender_reset(&device->links[link].sender);
  /* H-9: and nothing else. */
  if (device->session.link != link) return;
  device->session.link = LASTSPIN_NO_LINK;
  device->session.event_count = 0;
#if LASTSPIN_WITH_READS
  lastspin_reads_relinked(device);
#endif
}

void lastspin_poll(struct lastspin_device *device, uint32_t now_ms) {
  advance(device, now_ms);
  lastspin_port_sample(&device->sample);
  lastspin_power_step(device);
  lastspin_watch_step(device);
#if LASTSPIN_WITH_READS
  lastspin_reads_step(device);
#endif
  pump(device);
}
