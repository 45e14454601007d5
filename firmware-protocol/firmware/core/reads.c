/* Reads (PROTOCOL.md R): taken in the order of their ids, done one at a time, their results held until
 * they are released. Compiled with LASTSPIN_WITH_READS. */
#include "internal.h"

#if LASTSPIN_WITH_READS

#if LASTSPIN_ARENA_BYTES < LASTSPIN_READ_BYTES_MAX
#error "the arena must hold the longest read"
#endif
/* A test lets the arena be smaller than what is offered, to see that it is needed. */
#if LASTSPIN_ARENA_BYTES < LASTSPIN_BUFFER_BYTES + LASTSPIN_READ_BYTES_MAX && \
    !defined(LASTSPIN_ARENA_TOO_SMALL)
#error "the arena must hold what HELLO offers, and one read more"
#endif

/* what was told once is told again, since the telling may be lost too. */
#define GAP_REPEAT_MS 200
/* Header and fields of a `data` event that are not data. */
#define PIECE_HEADER_BYTES (LASTSPIN_HEADER_BYTES + 4 + 2)

static struct lastspin_read *slot_of(struct lastspin_reads *reads, uint32_t id) {
  return &reads->slots[id % LASTSPIN_REQUESTS_MAX];
}

uint32_t lastspin_read_count_max(const struct lastspin_device *device) {
  if (!lastspin_can(device, LASTSPIN_CAN_READ)) return 0;
  return (uint32_t)(LASTSPIN_READ_BYTES_MAX / device->settings->sector_bytes);
}

/* Bytes that a read asks for; a refused one asks for none. */
static uint32_t bytes_of(const struct lastspin_device *device, const struct lastspin_read *read) {
  if (read->reply != LASTSPIN_REPLY_OK) return 0;
  return read->asked.count * device->settings->sector_bytes;
}

/* A result that was sent and not released, or NULL. */
static struct lastspin_read *held(struct lastspin_reads *reads, uint32_t id) {
  if (id < reads->released_below || id >= reads->sent_below) return NULL;
  struct lastspin_read *read = slot_of(reads, id);
  return read->forgotten ? NULL : read;
}

/* ---- The arena: results one behind the other, each in one piece --------------------------------- */

/* Where the oldest data that is held begins; false when there is none. */
static bool arena_tail(struct lastspin_reads *reads, uint32_t *tail) {
  for (uint32_t id = reads->released_below; id != reads->done_below; id++) {
    const struct lastspin_read *read = slot_of(reads, id);
    if (read->forgotten || read->result.data_bytes == 0) continue;
    *tail = read->arena_at;
    return true;
  }
  return false;
}

static bool find_room(struct lastspin_reads *reads, uint32_t bytes) {
  uint32_t tail;
  if (!arena_tail(reads, &tail)) {
    reads->arena_head = 0;
    return true;
  }
  if (reads->arena_head < tail) return bytes < tail - reads->arena_head;
  if (bytes <= LASTSPIN_ARENA_BYTES - reads->arena_head) return true;
  if (bytes >= tail) return false;
  reads->arena_head = 0;
  return true;
}

/* Room for a read's data at `arena_head`. R-4 bounds what is unreleased, so that there always is some;
 * in an arena smaller than was offered the oldest results go. */
static void make_room(struct lastspin_reads *reads, uint32_t bytes) {
  for (uint32_t id = reads->released_below; !find_room(reads, bytes); id++) {
    slot_of(reads, id)->forgotten = true;
  }
}

/* ---- Taking reads (R-1, R-4, R-8) --------------------------------------------------------------- */

static bool release(struct lastspin_device *device, uint32_t below) {
  struct lastspin_reads *reads = &device->reads;
  if (below > reads->sent_below) return false;
  for (; reads->released_below < below; reads->released_below++) {
    reads->asked_bytes -= bytes_of(device, slot_of(reads, reads->released_below));
  }
  return true;
}

static void say_gap(struct lastspin_device *device) {
  struct lastspin_reads *reads = &device->reads;
  const bool was_said = reads->gap_said && reads->gap_id == reads->id_next;
  if (was_said && reads->since_gap_ms < GAP_REPEAT_MS) return;
  reads->gap_said = true;
  reads->gap_id = reads->id_next;
  reads->since_gap_ms = 0;
  struct lastspin_event *event = lastspin_event(device, LASTSPIN_EVENT_GAP);
  if (!event) return;
  const struct lastspin_gap body = {reads->id_next};
  struct lastspin_writer to = lastspin_event_writer(event);
  lastspin_put_gap(&to, &body);
  lastspin_event_written(event, &to);
}

/* the response alone; the laptop asks for the pieces that it lacks. */
static void answer_again(struct lastspin_device *device, uint32_t id) {
  if (!held(&device->reads, id)) return;
  const struct lastspin_reply reply = {id, LASTSPIN_CODE_READ, LASTSPIN_REPLY_OK,
                                       LASTSPIN_BECAUSE_NONE};
  lastspin_reply(device, device->session.link, reply);
}

static void enqueue(struct lastspin_device *device, uint32_t id,
                    const struct lastspin_read *read) {
  struct lastspin_reads *reads = &device->reads;
  const uint32_t bytes = bytes_of(device, read);
  if (id > reads->id_next) {
    say_gap(device);
  } else if (id < reads->id_next) {
    answer_again(device, id);
  } else if (reads->id_next - reads->released_below >= LASTSPIN_REQUESTS_MAX ||
             reads->asked_bytes + bytes > LASTSPIN_BUFFER_BYTES) {
    /* the laptop knows the limits; what is dropped here uses up no id. */
    device->violations++;
  } else {
    reads->asked_bytes += bytes;
    *slot_of(reads, id) = *read;
    reads->id_next++;
  }
}

void lastspin_reads_receive(struct lastspin_device *device, uint32_t id,
                            struct lastspin_cursor *body) {
  struct lastspin_read read;
  memset(&read, 0, sizeof read);
  if (!lastspin_take_read_request(body, &read.asked)) {
    memset(&read.asked, 0, sizeof read.asked);
    read.reply = LASTSPIN_REPLY_MALFORMED;
    read.reason = LASTSPIN_BECAUSE_CUT_SHORT;
  } else if (!release(device, read.asked.release_below)) {
    /* M-5: it releases what was never sent, so that nothing in it is believed. */
    device->violations++;
    return;
  } else if (read.asked.count == 0 || read.asked.count > lastspin_read_count_max(device)) {
    read.reply = LASTSPIN_REPLY_LIMIT;
    read.reason = LASTSPIN_BECAUSE_COUNT;
  }
  enqueue(device, id, &read);
}

/* ---- Ending reads (R-5, R-6, R-7) --------------------------------------------------------------- */

static bool is_batch_stopped(const struct lastspin_reads *reads, uint32_t batch) {
  for (uint16_t at = 0; at < reads->stopped_count; at++) {
    if (reads->stopped[at] == batch) return true;
  }
  return false;
}

/* A drive that is gone ends its batch whatever was asked: it must not be read unwatched when it
 * comes back. */
static bool stops_batch(uint8_t outcome, uint8_t stop_on) {
  switch (outcome) {
    case LASTSPIN_OUTCOME_GONE:
      return true;
    case LASTSPIN_OUTCOME_FAULT:
      return (stop_on & LASTSPIN_STOP_ON_FAULT) != 0;
    case LASTSPIN_OUTCOME_SLOW:
      return (stop_on & LASTSPIN_STOP_ON_SLOW) != 0;
    case LASTSPIN_OUTCOME_TIMEOUT:
      return (stop_on & LASTSPIN_STOP_ON_TIMEOUT) != 0;
    default:
      return false;
  }
}

static void stop_batch(struct lastspin_reads *reads, uint32_t batch) {
  if (is_batch_stopped(reads, batch)) return;
  reads->stopped[reads->stopped_at] = batch;
  reads->stopped_at = (uint16_t)((reads->stopped_at + 1U) % LASTSPIN_REQUESTS_MAX);
  if (reads->stopped_count < LASTSPIN_REQUESTS_MAX) reads->stopped_count++;
}

static uint8_t outcome_of(const struct lastspin_read_request *asked,
                          const struct lastspin_read_result *result) {
  const bool is_good = result->outcome == LASTSPIN_OUTCOME_GOOD;
  const bool is_late =
      asked->slow_ms > 0 && result->elapsed_micros > (uint64_t)asked->slow_ms * 1000;
  return is_good && is_late ? LASTSPIN_OUTCOME_SLOW : result->outcome;
}

/* Keeps the data of a result. */
static void keep(struct lastspin_device *device, struct lastspin_read *read, const uint8_t *data) {
  struct lastspin_reads *reads = &device->reads;
  const uint32_t bytes = read->result.good_count * device->settings->sector_bytes;
  if (bytes == 0 || !data) {
    read->result.good_count = 0;
    return;
  }
  make_room(reads, bytes);
  read->arena_at = reads->arena_head;
  memcpy(&reads->arena[read->arena_at], data, bytes);
  reads->arena_head += bytes;
  read->result.data_bytes = bytes;
  read->result.data_crc = lastspin_crc32(0, data, bytes);
}

void lastspin_reads_finish(struct lastspin_device *device,
                           const struct lastspin_read_result *result) {
  struct lastspin_reads *reads = &device->reads;
  struct lastspin_read *read = slot_of(reads, reads->done_below);
  const uint32_t count = read->asked.count;
  const uint8_t outcome = outcome_of(&read->asked, result);
  const bool is_whole = outcome == LASTSPIN_OUTCOME_GOOD || outcome == LASTSPIN_OUTCOME_SLOW;
  read->result = (struct lastspin_read_response){
      .outcome = outcome,
      /* what is not good has less than all. */
      .good_count = is_whole ? count
                             : (result->good_count < count ? result->good_count : count - 1),
      .known = result->known,
      .failing_lba = result->failing_lba,
      .ata_status = result->ata_status,
      .ata_error = result->ata_error,
      .sense_key = result->sense_key,
      .asc = result->asc,
      .ascq = result->ascq,
      .elapsed_micros = result->elapsed_micros,
      .lba = read->asked.lba,
  };
  keep(device, read, result->data);
  if (stops_batch(outcome, read->asked.stop_on)) stop_batch(reads, read->asked.batch);
  reads->has_turn = false;
  reads->is_started = false;
  reads->done_below++;
}

/* A read that ends without an answer of the drive. */
static void finish_without_data(struct lastspin_device *device, uint8_t outcome,
                                uint32_t elapsed_ms) {
  const struct lastspin_read_result result = {.outcome = outcome,
                                              .elapsed_micros = (uint64_t)elapsed_ms * 1000};
  lastspin_reads_finish(device, &result);
}

void lastspin_reads_cut_short(struct lastspin_device *device, uint8_t outcome) {
  struct lastspin_reads *reads = &device->reads;
  if (!reads->is_started) return;
  const uint32_t timeout_ms = slot_of(reads, reads->done_below)->asked.timeout_ms;
  const uint32_t waited_ms = reads->waited_ms;
  finish_without_data(device, outcome, waited_ms < timeout_ms ? waited_ms : timeout_ms);
  lastspin_lane_abandon(device);
}

void lastspin_reads_abort(struct lastspin_device *device, uint32_t below) {
  struct lastspin_reads *reads = &device->reads;
  if (below > reads->aborted_below) reads->aborted_below = below;
  if (reads->done_below < below) lastspin_reads_cut_short(device, LASTSPIN_OUTCOME_TIMEOUT);
}

void lastspin_reads_stop_waiting(struct lastspin_device *device) {
  struct lastspin_reads *reads = &device->reads;
  if (reads->id_next > reads->aborted_below) reads->aborted_below = reads->id_next;
}

void lastspin_reads_stop(struct lastspin_device *device) {
  lastspin_reads_abort(device, device->reads.id_next);
}

void lastspin_reads_retire(struct lastspin_device *device) {
  /* H-7: the wait for a read under way ends. What the imager does by itself goes on. */
  if (device->reads.is_started || device->lane.command) lastspin_lane_abandon(device);
  device->lane.cut.command = NULL;
  memset(&device->reads, 0, offsetof(struct lastspin_reads, arena));
}

void lastspin_reads_relinked(struct lastspin_device *device) {
  struct lastspin_reads *reads = &device->reads;
  /* what was cut off is sent from its start. */
  reads->piece_at = 0;
  reads->is_closing = false;
  if (reads->resending) reads->resending->stage = LASTSPIN_WAITING;
  reads->resending = NULL;
}

/* ---- Doing reads (R-2, R-3) --------------------------------------------------------------------- */

/* The drive's own deadline runs from here on: rests and the rate are not its fault. */
static bool take_turn(struct lastspin_device *device) {
  struct lastspin_reads *reads = &device->reads;
  if (reads->has_turn) return true;
  if (lastspin_rest(device) || reads->early_micros > 0) return false;
  reads->has_turn = true;
  reads->waited_ms = 0;
  return true;
}

static void start_read(struct lastspin_device *device, const struct lastspin_read *read) {
  struct lastspin_reads *reads = &device->reads;
  const struct lastspin_throttle_request *throttle = &device->watch.throttle;
  const uint32_t left_ms = read->asked.timeout_ms - reads->waited_ms;
  reads->is_started = true;
  if (throttle->bytes_per_second_max > 0) {
    reads->early_micros =
        (uint64_t)bytes_of(device, read) * 1000000 / throttle->bytes_per_second_max;
  }
  if (device->lane.parked) lastspin_power_blank(device);
  device->lane.parked = false;
  lastspin_lane_began(device, LASTSPIN_LANE_READ, left_ms);
  lastspin_port_start_read(read->asked.lba, read->asked.count, left_ms);
}

/* The read whose turn it is, by the table (P-2); false when it has to wait. */
static bool do_read(struct lastspin_device *device, const struct lastspin_read *read) {
  struct lastspin_reads *reads = &device->reads;
  const uint8_t cell = lastspin_power_cell(device, LASTSPIN_INPUT_READ);
  if (cell == LASTSPIN_TO_GONE) {
    finish_without_data(device, LASTSPIN_OUTCOME_GONE, reads->waited_ms);
    return true;
  }
  if (reads->waited_ms >= read->asked.timeout_ms) {
    /* It never reached the drive, which is busy with something else. */
    lastspin_lane_late(device);
    finish_without_data(device, LASTSPIN_OUTCOME_TIMEOUT, read->asked.timeout_ms);
    return true;
  }
  if (cell != LASTSPIN_TO_DONE || device->lane.busy != LASTSPIN_LANE_FREE) return false;
  start_read(device, read);
  return false;
}

/* The oldest read that is not done; false when it has to wait, or there is none. */
static bool step(struct lastspin_device *device) {
  struct lastspin_reads *reads = &device->reads;
  const uint32_t id = reads->done_below;
  if (id == reads->id_next) return false;
  const struct lastspin_read *read = slot_of(reads, id);
  if (reads->is_started) {
    if (reads->waited_ms < read->asked.timeout_ms) return false;
    lastspin_lane_late(device);
    lastspin_reads_cut_short(device, LASTSPIN_OUTCOME_TIMEOUT);
    return true;
  }
  if (read->reply != LASTSPIN_REPLY_OK) {
    /* it uses up its id, and is answered in its turn. */
    reads->has_turn = false;
    reads->done_below++;
    return true;
  }
  if (id < reads->aborted_below || is_batch_stopped(reads, read->asked.batch)) {
    finish_without_data(device, LASTSPIN_OUTCOME_NOT_ATTEMPTED, 0);
    return true;
  }
  return lastspin_lane_step(device) && take_turn(device) && do_read(device, read);
}

void lastspin_reads_step(struct lastspin_device *device) {
  lastspin_lane_step(device);
  while (step(device)) {
  }
}

void lastspin_reads_advance(struct lastspin_device *device, uint32_t by_ms) {
  struct lastspin_reads *reads = &device->reads;
  const uint64_t by_micros = (uint64_t)by_ms * 1000;
  lastspin_lane_advance(device, by_ms);
  reads->waited_ms = lastspin_later(reads->waited_ms, by_ms);
  reads->since_gap_ms = lastspin_later(reads->since_gap_ms, by_ms);
  reads->early_micros = reads->early_micros > by_micros ? reads->early_micros - by_micros : 0;
}

/* ---- Sending results (R-3, R-9, R-13) ----------------------------------------------------------- */

void lastspin_put_read(const struct lastspin_device *device, uint32_t id,
                       struct lastspin_writer *to) {
  const struct lastspin_reads *reads = &device->reads;
  const struct lastspin_read *read = &reads->slots[id % LASTSPIN_REQUESTS_MAX];
  if (id < reads->released_below || id >= reads->done_below) {
    /* Released since it was asked for. */
    to->failed = true;
  } else if (read->reply != LASTSPIN_REPLY_OK) {
    lastspin_put_refusal(to, read->reply, read->reason);
  } else {
    lastspin_put_u8(to, LASTSPIN_REPLY_OK);
    lastspin_put_read_response(to, &read->result);
  }
}

static bool is_one_byte(const uint8_t *at, uint32_t bytes) {
  return memcmp(at, at + 1, bytes - 1) == 0;
}

/* Bytes from `from` on, up to `end`, in whole sectors that all repeat one byte. */
static uint32_t fill_ahead(const uint8_t *data, uint32_t from, uint32_t end, uint32_t sector_bytes) {
  uint32_t at = from;
  while (end - at >= sector_bytes && data[at] == data[from] &&
         is_one_byte(&data[at], sector_bytes)) {
    at += sector_bytes;
  }
  return at - from;
}

/* Bytes from `from` on that travel as they are: up to a sector that does not, or `most`. */
static uint32_t plain_ahead(const uint8_t *data, uint32_t from, uint32_t end,
                            uint32_t sector_bytes, uint32_t most) {
  const uint32_t limit = end - from < most ? end : from + most;
  uint32_t at = from - from % sector_bytes + sector_bytes;
  while (at < limit && (end - at < sector_bytes || !is_one_byte(&data[at], sector_bytes))) {
    at += sector_bytes;
  }
  return (at < limit ? at : limit) - from;
}

/* The piece at `from`: its length. */
static uint32_t send_piece(struct lastspin_device *device, struct lastspin_link *link,
                           uint32_t id, uint32_t from, uint32_t end) {
  const struct lastspin_read *read = slot_of(&device->reads, id);
  const uint8_t *data = &device->reads.arena[read->arena_at];
  const uint32_t sector_bytes = device->settings->sector_bytes;
  const uint32_t fill_bytes =
      from % sector_bytes == 0 ? fill_ahead(data, from, end, sector_bytes) : 0;
  if (fill_bytes > 0) {
    const struct lastspin_fill body = {from, fill_bytes, data[from]};
    struct lastspin_writer to = lastspin_sender_begin(&link->sender, LASTSPIN_EVENT_FILL, id);
    lastspin_put_fill(&to, &body);
    lastspin_sender_finish(&link->sender, &to, NULL, 0);
    return fill_bytes;
  }
  uint32_t most = device->session.frame_bytes_max - PIECE_HEADER_BYTES;
  if (most > UINT16_MAX) most = UINT16_MAX;
  const uint32_t bytes = plain_ahead(data, from, end, sector_bytes, most);
  struct lastspin_writer to = lastspin_sender_begin(&link->sender, LASTSPIN_EVENT_DATA, id);
  lastspin_put_u32(&to, from);
  lastspin_put_u16(&to, (uint16_t)bytes);
  memcpy(link->piece, &data[from], bytes);
  lastspin_sender_finish(&link->sender, &to, link->piece, bytes);
  return bytes;
}

static void send_response(struct lastspin_device *device, struct lastspin_link *link,
                          uint32_t id) {
  const uint8_t code = LASTSPIN_CODE_READ | LASTSPIN_CODE_RESPONSE_BIT;
  struct lastspin_writer to = lastspin_sender_begin(&link->sender, code, id);
  lastspin_put_read(device, id, &to);
  lastspin_sender_finish(&link->sender, &to, NULL, 0);
}

/* The oldest `resend` that waits. */
static struct lastspin_command *next_resend(struct lastspin_session *session) {
  struct lastspin_command *oldest = NULL;
  for (uint8_t at = 0; at < LASTSPIN_COMMANDS_MAX; at++) {
    struct lastspin_command *command = &session->commands[at];
    if (command->stage != LASTSPIN_WAITING || command->code != LASTSPIN_CODE_RESEND) continue;
    if (!oldest || command->id < oldest->id) oldest = command;
  }
  return oldest;
}

/* Begins or goes on with a `resend`; true when something was sent or answered. */
static bool send_again(struct lastspin_device *device, struct lastspin_link *link) {
  struct lastspin_reads *reads = &device->reads;
  if (!reads->resending) {
    reads->resending = next_resend(&device->session);
    if (!reads->resending) return false;
    reads->resending->stage = LASTSPIN_UNDER_WAY;
    reads->resend_at = reads->resending->asked[1];
  }
  struct lastspin_command *command = reads->resending;
  const uint32_t id = command->asked[0];
  const uint64_t end = (uint64_t)command->asked[1] + command->asked[2];
  const struct lastspin_read *read = held(reads, id);
  if (!read || end > read->result.data_bytes) {
    reads->resending = NULL;
    lastspin_answer(device, command, read ? LASTSPIN_REPLY_LIMIT : LASTSPIN_REPLY_UNKNOWN_READ,
                    read ? LASTSPIN_BECAUSE_NOT_SO_LONG : LASTSPIN_BECAUSE_NOT_HELD);
  } else if (reads->resend_at < end) {
    reads->resend_at += send_piece(device, link, id, reads->resend_at, (uint32_t)end);
  } else {
    reads->resending = NULL;
    send_response(device, link, id);
    lastspin_answer(device, command, LASTSPIN_REPLY_OK, LASTSPIN_BECAUSE_NONE);
  }
  return true;
}

void lastspin_reads_sent(struct lastspin_device *device) {
  struct lastspin_reads *reads = &device->reads;
  if (!reads->is_closing) return;
  reads->is_closing = false;
  reads->piece_at = 0;
  reads->sent_below++;
}

bool lastspin_reads_send(struct lastspin_device *device, struct lastspin_link *link) {
  struct lastspin_reads *reads = &device->reads;
  if (send_again(device, link)) return true;
  const uint32_t id = reads->sent_below;
  if (id == reads->done_below) return false;
  const struct lastspin_read *read = slot_of(reads, id);
  if (reads->piece_at < read->result.data_bytes && !read->forgotten) {
    reads->piece_at += send_piece(device, link, id, reads->piece_at, read->result.data_bytes);
  } else {
    send_response(device, link, id);
    reads->is_closing = true;
  }
  return true;
}

#else
/* C wants something in every file. */
typedef int lastspin_no_reads;
#endif
