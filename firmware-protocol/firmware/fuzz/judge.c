/* One of two judges of the same frames; the other is bench/fuzz-frames.mjs. Both make the same bytes from
 * the same seed: valid frames of every message, which are then broken in all ways that a line breaks
 * them, and pushed in odd pieces. What each makes of them goes into a digest, batch by batch.
 *
 *   judge SEED FIRST_BATCH BATCHES [each]
 *
 * prints a line `BATCH DIGEST FRAMES MESSAGES MALFORMED TOO_LONG BAD_COBS BAD_CRC TOO_SHORT` for each batch,
 * or with `each` a line `CASE DIGEST` for each case of it. */
#include <stdio.h>
#include <stdlib.h>

#include "../core/internal.h"

#define CASES 4096
#define STREAM_BYTES_MAX 16384
#define MESSAGE_BYTES_MAX 1500

/* ---- Chance: the same sequence on both sides (xorshift, 32 bits) ------------------------------- */

static uint32_t state;

static uint32_t draw(void) {
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return state;
}

static uint32_t below(uint32_t limit) { return draw() % limit; }

/* Zeros are what frames are about. */
static uint8_t draw_byte(void) {
  const uint32_t drawn = draw();
  return (drawn & 0x300) == 0 ? 0 : (uint8_t)(drawn & 0xff);
}

/* ---- The digest ----------------------------------------------------------------------------------- */

static uint32_t digest;

static void note(uint32_t value) { digest = (digest ^ value) * UINT32_C(0x01000193); }
static void note_u8(uint8_t value) { note(value); }
static void note_u16(uint16_t value) { note(value); }
static void note_i16(int16_t value) { note((uint16_t)value); }
static void note_u32(uint32_t value) { note(value); }
static void note_u64(uint64_t value) {
  note((uint32_t)(value & 0xffffffffU));
  note((uint32_t)(value >> 32));
}
static void note_bytes(struct lastspin_bytes value) {
  note(value.count);
  note(value.count > 0 ? lastspin_crc32(0, value.at, value.count) : 0);
}

#include "bodies.h"

/* ---- Making frames -------------------------------------------------------------------------------- */

static uint8_t stream[STREAM_BYTES_MAX];
static size_t stream_bytes;
static uint8_t message[MESSAGE_BYTES_MAX];
static size_t message_bytes;

static void put_byte(uint8_t byte) { message[message_bytes++] = byte; }

static void put_number(uint32_t value, unsigned int bytes) {
  for (; bytes > 0; bytes--, value >>= 8) put_byte((uint8_t)(value & 0xff));
}

static void put_bytes(void) {
  const uint32_t count = below(16) == 0 ? below(300) : below(24);
  put_number(count, 2);
  for (uint32_t at = 0; at < count; at++) put_byte(draw_byte());
}

static void put_field(char letter) {
  switch (letter) {
    case '1': put_number(draw(), 1); break;
    case '2':
    case 'i': put_number(draw(), 2); break;
    case '4': put_number(draw(), 4); break;
    case '8':
      put_number(draw(), 4);
      /* Mostly a number that exists (M-1). */
      if (below(8) == 0) put_number(draw(), 4);
      else put_number(draw() & 0x1fffff, 4);
      break;
    default: put_bytes(); break;
  }
}

static void make_body(const struct body *body) {
  put_byte(body->code);
  put_number(draw(), 4);
  if ((body->code & LASTSPIN_CODE_RESPONSE_BIT) != 0) {
    if (below(8) == 0) {
      put_byte((uint8_t)(1 + below(12)));
      put_bytes();
      return;
    }
    put_byte(LASTSPIN_REPLY_OK);
  }
  for (const char *letter = body->letters; *letter; letter++) put_field(*letter);
}

static void make_message(void) {
  const uint32_t kind = below(16);
  message_bytes = 0;
  if (kind == 0) {
    for (uint32_t count = 1 + below(40); count > 0; count--) put_byte(draw_byte());
    return;
  }
  make_body(&bodies[below(BODIES)]);
  if (kind == 1) message_bytes = 1 + below((uint32_t)message_bytes);
  if (kind == 2) {
    for (uint32_t count = below(20); count > 0; count--) put_byte(draw_byte());
  }
}

/* The sender's line, here a buffer. */
size_t lastspin_port_room(uint8_t link) {
  (void)link;
  /* Now and then little, so that frames leave in pieces. */
  return 1 + stream_bytes % 7;
}

void lastspin_port_send(uint8_t link, const uint8_t *bytes, size_t count) {
  (void)link;
  memcpy(&stream[stream_bytes], bytes, count);
  stream_bytes += count;
}

static void add_frame(void) {
  static struct lastspin_sender sender;
  struct lastspin_writer to = {sender.head, sizeof sender.head, false};
  const size_t head_bytes = message_bytes < 5 ? message_bytes : 5;
  uint8_t *head = lastspin_put(&to, head_bytes);
  memcpy(head, message, head_bytes);
  lastspin_sender_finish(&sender, &to, &message[head_bytes], message_bytes - head_bytes);
  while (!lastspin_sender_pump(&sender, 0)) {
  }
}

/* ---- Breaking them -------------------------------------------------------------------------------- */

static void remove_bytes(size_t at, size_t count) {
  if (count > stream_bytes - at) count = stream_bytes - at;
  memmove(&stream[at], &stream[at + count], stream_bytes - at - count);
  stream_bytes -= count;
}

/* Makes room for `count` bytes at `at`. */
static void open_gap(size_t at, size_t count) {
  memmove(&stream[at + count], &stream[at], stream_bytes - at);
  stream_bytes += count;
}

static void flip(void) {
  const size_t at = below((uint32_t)stream_bytes);
  stream[at] = (uint8_t)(stream[at] ^ 1U << below(8));
}

static void rotate(size_t at) {
  static uint8_t moved[STREAM_BYTES_MAX];
  memcpy(moved, &stream[at], stream_bytes - at);
  memcpy(&moved[stream_bytes - at], stream, at);
  memcpy(stream, moved, stream_bytes);
}

static void insert_bytes(size_t at, uint32_t kind, size_t count) {
  open_gap(at, count);
  for (size_t to = at; to < at + count; to++) {
    if (kind == 5) stream[to] = draw_byte();
    else stream[to] = kind == 8 ? 0 : (uint8_t)(1 + below(255));
  }
}

static void break_stream(void) {
  const uint32_t kind = below(12);
  const size_t at = below((uint32_t)stream_bytes);
  size_t count;
  switch (kind) {
    case 3: flip(); break;
    case 4: remove_bytes(at, 1 + below(8)); break;
    case 5: insert_bytes(at, kind, 1 + below(8)); break;
    case 6:
      count = 1 + below(16);
      if (count > stream_bytes - at) count = stream_bytes - at;
      open_gap(at, count);
      memcpy(&stream[at], &stream[at + count], count);
      break;
    case 7: {
      const uint8_t *zero = memchr(&stream[at], 0, stream_bytes - at);
      if (zero) remove_bytes((size_t)(zero - stream), 1);
      break;
    }
    case 8: insert_bytes(at, kind, 1 + below(6)); break;
    case 9: insert_bytes(at, kind, below(700)); break;
    case 10: rotate(at); break;
    case 11: flip(); flip(); flip(); break;
    default: break;
  }
}

/* ---- Judging -------------------------------------------------------------------------------------- */

static struct lastspin_receiver receiver;
static uint32_t frames;
static uint32_t messages;
static uint32_t malformed;
static uint32_t discarded[4];

/* The rest of a message after its header, by its code; and whether what was taken is put back the same. */
static void judge_body(uint8_t code, struct lastspin_cursor *body) {
  static uint8_t again[MESSAGE_BYTES_MAX];
  struct lastspin_writer to = {again, sizeof again, false};
  const bool is_response = (code & LASTSPIN_CODE_RESPONSE_BIT) != 0;
  bool is_good = true;
  if (is_response) {
    const uint8_t reply = lastspin_take_u8(body);
    note(reply);
    is_good = !body->failed;
    if (is_good && reply != LASTSPIN_REPLY_OK) {
      note_bytes(lastspin_take_bytes(body));
      note(body->failed);
      malformed += body->failed;
      return;
    }
  }
  const uint8_t *from = body->at;
  for (size_t at = 0; is_good && at < BODIES; at++) {
    if (bodies[at].code != code) continue;
    is_good = bodies[at].judge(body, &to);
    if (is_good && memcmp(from, again, (size_t)(to.at - again)) != 0) abort();
  }
  note(!is_good);
  malformed += !is_good;
}

static void judge_message(void) {
  struct lastspin_cursor from = {receiver.plain, receiver.plain_bytes, false};
  messages++;
  note(1);
  note((uint32_t)receiver.plain_bytes);
  note(lastspin_crc32(0, receiver.plain, receiver.plain_bytes));
  const uint8_t code = lastspin_take_u8(&from);
  note(lastspin_take_u32(&from));
  note(from.failed);
  if (from.failed) malformed++;
  else judge_body(code, &from);
}

static void push(const uint8_t *bytes, size_t count) {
  for (; count > 0; count--) {
    const enum lastspin_verdict verdict = lastspin_receiver_take(&receiver, *bytes++);
    if (verdict == LASTSPIN_FRAME_MESSAGE) judge_message();
    else if (verdict >= LASTSPIN_FRAME_TOO_LONG) discarded[verdict - LASTSPIN_FRAME_TOO_LONG]++;
  }
}

/* After each piece both sides must have come equally far. */
static void push_in_pieces(void) {
  for (size_t at = 0; at < stream_bytes;) {
    size_t count = 1 + below(below(2) == 0 ? 8 : 200);
    if (count > stream_bytes - at) count = stream_bytes - at;
    push(&stream[at], count);
    at += count;
    note((uint32_t)at);
    note(messages);
    for (int why = 0; why < 4; why++) note(discarded[why]);
  }
}

static void judge_case(void) {
  stream_bytes = 0;
  for (uint32_t count = 1 + below(3); count > 0; count--) {
    make_message();
    add_frame();
    frames++;
  }
  break_stream();
  push_in_pieces();
}

int main(int count, char **words) {
  if (count < 4) return 2;
  const uint32_t seed = (uint32_t)strtoul(words[1], NULL, 10);
  const uint32_t first = (uint32_t)strtoul(words[2], NULL, 10);
  const uint32_t batches = (uint32_t)strtoul(words[3], NULL, 10);
  const bool each = count > 4;
  for (uint32_t batch = first; batch < first + batches; batch++) {
    state = seed ^ (batch + 1) * UINT32_C(0x9e3779b1);
    if (state == 0) state = 1;
    digest = UINT32_C(0x811c9dc5);
    frames = messages = malformed = 0;
    memset(discarded, 0, sizeof discarded);
    lastspin_receiver_reset(&receiver);
    for (uint32_t at = 0; at < CASES; at++) {
      judge_case();
      if (each) printf("%u %u\n", at, digest);
    }
    if (each) continue;
    printf("%u %u %u %u %u %u %u %u %u\n", batch, digest, frames, messages, malformed, discarded[0],
           discarded[1], discarded[2], discarded[3]);
  }
  return 0;
}
