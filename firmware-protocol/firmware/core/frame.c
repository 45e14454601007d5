/* Frames (PROTOCOL.md F): a message and its CRC-32, COBS-stuffed, ended by a zero. */
#include "internal.h"

#define RUN_BYTES_MAX 254

/* ---- Receiving -------------------------------------------------------------------------------- */

void lastspin_receiver_reset(struct lastspin_receiver *receiver) {
  receiver->stuffed_bytes = 0;
  receiver->plain_bytes = 0;
  receiver->run_left = 0;
  receiver->zero_due = false;
  receiver->skipping = false;
}

/* What the bytes up to a zero are. */
static enum lastspin_verdict judge(struct lastspin_receiver *receiver) {
  if (receiver->stuffed_bytes == 0) return LASTSPIN_FRAME_EMPTY;
  if (receiver->run_left > 0) return LASTSPIN_FRAME_BAD_COBS;
  if (receiver->plain_bytes < 1 + LASTSPIN_CRC_BYTES) return LASTSPIN_FRAME_TOO_SHORT;
  const size_t message_bytes = receiver->plain_bytes - LASTSPIN_CRC_BYTES;
  const uint32_t crc = lastspin_load_u32(&receiver->plain[message_bytes]);
  if (lastspin_crc32(0, receiver->plain, message_bytes) != crc) return LASTSPIN_FRAME_BAD_CRC;
  return LASTSPIN_FRAME_MESSAGE;
}

static enum lastspin_verdict end_frame(struct lastspin_receiver *receiver) {
  const bool skipped = receiver->skipping;
  const enum lastspin_verdict verdict = skipped ? LASTSPIN_FRAME_EMPTY : judge(receiver);
  const size_t message_bytes =
      verdict == LASTSPIN_FRAME_MESSAGE ? receiver->plain_bytes - LASTSPIN_CRC_BYTES : 0;
  lastspin_receiver_reset(receiver);
  receiver->plain_bytes = message_bytes;
  return verdict;
}

/* One byte of a frame, unstuffed (F-3). Each run loses its code byte, so `plain` always has room. */
static void unstuff(struct lastspin_receiver *receiver, uint8_t byte) {
  if (receiver->run_left > 0) {
    receiver->plain[receiver->plain_bytes++] = byte;
    receiver->run_left--;
    return;
  }
  if (receiver->zero_due) receiver->plain[receiver->plain_bytes++] = 0;
  receiver->run_left = (uint8_t)(byte - 1);
  receiver->zero_due = byte <= RUN_BYTES_MAX;
}

enum lastspin_verdict lastspin_receiver_take(struct lastspin_receiver *receiver, uint8_t byte) {
  if (byte == 0) return end_frame(receiver);
  if (receiver->skipping) return LASTSPIN_FRAME_UNFINISHED;
  /* A message that was handed out stood here until now. */
  if (receiver->stuffed_bytes == 0) receiver->plain_bytes = 0;
  if (receiver->stuffed_bytes == LASTSPIN_STUFFED_BYTES_MAX) {
    /* F-6: at once, and nothing of it is kept. */
    receiver->skipping = true;
    return LASTSPIN_FRAME_TOO_LONG;
  }
  receiver->stuffed_bytes++;
  unstuff(receiver, byte);
  return LASTSPIN_FRAME_UNFINISHED;
}

/* ---- Sending ---------------------------------------------------------------------------------- */

enum { IDLE, CODE, RUN, END };
#define PARTS 3

void lastspin_sender_reset(struct lastspin_sender *sender) { sender->stage = IDLE; }

bool lastspin_sender_is_idle(const struct lastspin_sender *sender) { return sender->stage == IDLE; }

struct lastspin_writer lastspin_sender_begin(struct lastspin_sender *sender, uint8_t code,
                                             uint32_t id) {
  struct lastspin_writer to = {sender->head, sizeof sender->head, false};
  lastspin_put_u8(&to, code);
  lastspin_put_u32(&to, id);
  return to;
}

/* Past parts that are at their end. */
static void skip_empty_parts(struct lastspin_sender *sender) {
  while (sender->part_at < PARTS && sender->part_bytes[sender->part_at] == 0) sender->part_at++;
}

void lastspin_sender_finish(struct lastspin_sender *sender, const struct lastspin_writer *written,
                            const uint8_t *data, size_t count) {
  if (written->failed) return;
  const size_t head_bytes = (size_t)(written->at - sender->head);
  uint32_t crc = lastspin_crc32(0, sender->head, head_bytes);
  if (count > 0) crc = lastspin_crc32(crc, data, count);
  lastspin_store_u32(sender->crc, crc);
  sender->part[0] = sender->head;
  sender->part_bytes[0] = head_bytes;
  sender->part[1] = data;
  sender->part_bytes[1] = count;
  sender->part[2] = sender->crc;
  sender->part_bytes[2] = sizeof sender->crc;
  sender->part_at = 0;
  sender->stage = CODE;
}

void lastspin_sender_mark(struct lastspin_sender *sender) { sender->stage = END; }

/* Bytes up to the next zero, the end of the message, or the longest run. */
static uint8_t run_ahead(const struct lastspin_sender *sender) {
  size_t run = 0;
  for (uint8_t part = sender->part_at; part < PARTS && run < RUN_BYTES_MAX; part++) {
    const size_t bytes = sender->part_bytes[part];
    const size_t room = RUN_BYTES_MAX - run;
    const size_t look = bytes < room ? bytes : room;
    if (look == 0) continue;
    const uint8_t *at = sender->part[part];
    const uint8_t *zero = memchr(at, 0, look);
    if (zero) return (uint8_t)(run + (size_t)(zero - at));
    run += look;
  }
  return (uint8_t)run;
}

static void advance(struct lastspin_sender *sender, size_t bytes) {
  sender->part[sender->part_at] += bytes;
  sender->part_bytes[sender->part_at] -= bytes;
  skip_empty_parts(sender);
}

/* The code byte of the next run. After a run that a zero ended, that zero is passed here: the code
 * stands for it, also where nothing follows it (F-3). */
static void send_code(struct lastspin_sender *sender, uint8_t link) {
  skip_empty_parts(sender);
  sender->run_left = run_ahead(sender);
  const uint8_t code = (uint8_t)(sender->run_left + 1);
  lastspin_port_send(link, &code, 1);
  sender->stage = RUN;
}

/* As much of the run as there is room for, from one part. */
static void send_run(struct lastspin_sender *sender, uint8_t link, size_t room) {
  const size_t here = sender->part_bytes[sender->part_at];
  size_t bytes = sender->run_left < here ? sender->run_left : here;
  if (bytes > room) bytes = room;
  lastspin_port_send(link, sender->part[sender->part_at], bytes);
  sender->run_left = (uint8_t)(sender->run_left - bytes);
  advance(sender, bytes);
}

/* A run is out: the frame ends, or a zero is passed over and another run follows. */
static void end_run(struct lastspin_sender *sender, bool was_full) {
  if (sender->part_at == PARTS) {
    sender->stage = END;
    return;
  }
  sender->stage = CODE;
  if (!was_full) advance(sender, 1);
}

bool lastspin_sender_pump(struct lastspin_sender *sender, uint8_t link) {
  while (sender->stage != IDLE) {
    const size_t room = lastspin_port_room(link);
    if (room == 0) return false;
    if (sender->stage == END) {
      const uint8_t zero = 0;
      lastspin_port_send(link, &zero, 1);
      sender->stage = IDLE;
    } else if (sender->stage == CODE) {
      send_code(sender, link);
      sender->run_full = sender->run_left == RUN_BYTES_MAX;
    } else if (sender->run_left > 0) {
      send_run(sender, link, room);
    } else {
      end_run(sender, sender->run_full);
    }
  }
  return true;
}
