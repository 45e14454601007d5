/* A whole device for libFuzzer: what comes on its links, when, and what its sensors and its drive say is
 * the input. Half of the steps push raw bytes; the other half frame them with a right CRC, so that commands
 * and reads are reached. Whatever happens, the rails keep to P-5, and what is sent is whole frames that are
 * no longer than agreed. */
#include <assert.h>
#include <stdlib.h>

#include "../core/internal.h"

static struct lastspin_device device;

/* ---- The input, byte by byte ---------------------------------------------------------------------- */

static const uint8_t *input;
static size_t input_left;

static uint8_t next_byte(void) {
  if (input_left == 0) return 0;
  input_left--;
  return *input++;
}

static uint32_t next_number(void) {
  const uint8_t low = next_byte();
  return (uint32_t)(low | next_byte() << 8);
}

/* ---- The port ------------------------------------------------------------------------------------- */

static struct lastspin_settings settings;
static struct lastspin_record kept;
static bool is_kept;
static uint8_t rails;
static bool is_stuck;
static struct lastspin_receiver laptops[LASTSPIN_LINKS_MAX];

size_t lastspin_port_room(uint8_t link) { return is_stuck ? 0 : (size_t)(3 + link); }

/* What is sent must be whole frames of messages that a laptop takes. */
void lastspin_port_send(uint8_t link, const uint8_t *bytes, size_t count) {
  assert(count <= lastspin_port_room(link));
  for (; count > 0; count--) {
    const enum lastspin_verdict verdict = lastspin_receiver_take(&laptops[link], *bytes++);
    assert(verdict <= LASTSPIN_FRAME_MESSAGE);
    if (verdict != LASTSPIN_FRAME_MESSAGE) continue;
    const uint8_t code = laptops[link].plain[0];
    assert(laptops[link].plain_bytes >= LASTSPIN_HEADER_BYTES);
    assert((code & LASTSPIN_CODE_RESPONSE_BIT) != 0 || code >= LASTSPIN_EVENT_DATA);
    const bool is_served = device.session.link == link;
    assert(!is_served || laptops[link].plain_bytes <= LASTSPIN_FRAME_BYTES_MAX);
  }
}

void lastspin_port_set_rails(uint8_t to) {
  /* P-5: never 12 V alone. */
  assert(to != LASTSPIN_RAIL_12V);
  rails = to;
}

void lastspin_port_sample(struct lastspin_sample *sample) {
  const uint8_t kind = next_byte();
  const uint16_t five = rails & LASTSPIN_RAIL_5V ? 5000 : 100;
  const uint16_t twelve = rails & LASTSPIN_RAIL_12V ? 12000 : 100;
  *sample = (struct lastspin_sample){{five, twelve}, {700, 500}, 300, LASTSPIN_ACTIVITY_QUIET, 0};
  if (kind < 200) return;
  sample->millivolts[kind & 1] = (uint16_t)next_number();
  sample->milliamps[kind >> 1 & 1] = (uint16_t)next_number();
  sample->temperature = (int16_t)(next_byte() * 4);
  sample->activity = next_byte() % 3;
  sample->switched = next_byte() % 3;
}

void lastspin_port_save(const struct lastspin_record *record) {
  kept = *record;
  is_kept = true;
}

void lastspin_port_hold(bool hold) { (void)hold; }

#if LASTSPIN_WITH_READS
enum { NOTHING, READ, IDENTIFY, PARK };
static int doing;
static uint32_t read_count;

void lastspin_port_start_read(uint64_t lba, uint32_t count, uint32_t timeout_ms) {
  (void)lba;
  (void)timeout_ms;
  /* C-5: one command at a time, and only to a drive that has power. */
  assert(doing == NOTHING && rails == LASTSPIN_RAILS);
  assert(count > 0 && count * settings.sector_bytes <= LASTSPIN_READ_BYTES_MAX);
  doing = READ;
  read_count = count;
}

void lastspin_port_start_identify(void) {
  assert(doing == NOTHING);
  doing = IDENTIFY;
}

void lastspin_port_start_park(uint8_t kind) {
  assert(doing == NOTHING && (kind == LASTSPIN_PARK_UNLOAD || kind == LASTSPIN_PARK_STANDBY));
  doing = PARK;
}

void lastspin_port_give_up(void) { assert(doing != NOTHING); }
void lastspin_port_reset(uint8_t kind) { (void)kind; }

static void end_read(void) {
  static uint8_t data[LASTSPIN_READ_BYTES_MAX];
  const uint8_t kind = next_byte();
  const uint8_t outcome = kind % 6 == LASTSPIN_OUTCOME_NOT_ATTEMPTED ? 0 : kind % 6;
  struct lastspin_read_result result = {.outcome = outcome, .data = data};
  result.elapsed_micros = next_number() * 100U;
  result.good_count = outcome == LASTSPIN_OUTCOME_GOOD ? read_count : next_byte() % (read_count + 1);
  memset(data, kind, sizeof data);
  for (int times = kind >> 6; times > 0; times--) data[next_number() % sizeof data] = next_byte();
  if (outcome == LASTSPIN_OUTCOME_SLOW) result.outcome = LASTSPIN_OUTCOME_FAULT;
  lastspin_read_done(&device, &result);
}

static void end_command(void) {
  static const uint8_t raw[512] = {1};
  const int done = doing;
  doing = NOTHING;
  if (done == READ) {
    end_read();
  } else if (done == PARK) {
    lastspin_park_done(&device, (next_byte() & 1) != 0);
  } else if (done == IDENTIFY) {
    struct lastspin_identify_response identity;
    memset(&identity, 0, sizeof identity);
    identity.raw = (struct lastspin_bytes){raw, (uint16_t)(next_number() % sizeof raw)};
    lastspin_identify_done(&device, (next_byte() & 1) != 0 ? &identity : NULL);
  } else if ((next_byte() & 3) != 0) {
    lastspin_drive_ready(&device);
  } else {
    lastspin_drive_gone(&device);
  }
}
#else
static void end_command(void) {}
#endif

/* ---- Steps ---------------------------------------------------------------------------------------- */

static uint32_t clock_ms;

static void check(void) {
  const uint8_t state = device.power.state;
  const bool may_be_up = state == LASTSPIN_STATE_RAMPING || lastspin_power_is_on(&device);
  assert(rails == device.power.rails);
  /* 5 V goes down a moment after 12 V, within the off-time. */
  assert(may_be_up || rails == 0 || (state == LASTSPIN_STATE_COOLING && rails == LASTSPIN_RAIL_5V));
  assert(!lastspin_power_is_on(&device) || rails == LASTSPIN_RAILS);
#if LASTSPIN_WITH_READS
  const struct lastspin_reads *reads = &device.reads;
  assert(reads->released_below <= reads->sent_below && reads->sent_below <= reads->done_below);
  assert(reads->done_below <= reads->id_next);
  assert(reads->id_next - reads->released_below <= LASTSPIN_REQUESTS_MAX);
  assert(reads->asked_bytes <= LASTSPIN_BUFFER_BYTES);
  for (uint32_t id = reads->released_below; id != reads->id_next; id++) {
    /* what was offered is held. */
    assert(!reads->slots[id % LASTSPIN_REQUESTS_MAX].forgotten);
  }
#endif
}

static uint8_t line[2048];
static size_t line_bytes;

static void to_line(uint8_t byte) {
  if (line_bytes < sizeof line) line[line_bytes++] = byte;
}

/* A frame of what stands at `message`, runs of 254 not among them: COBS in its simplest form. */
static void frame(uint8_t *message, size_t count) {
  lastspin_store_u32(&message[count], lastspin_crc32(0, message, count));
  count += LASTSPIN_CRC_BYTES;
  for (size_t at = 0; at <= count; at++) {
    size_t run = 0;
    while (at + run < count && message[at + run] != 0 && run < 253) run++;
    to_line((uint8_t)(run + 1));
    for (size_t from = 0; from < run; from++) to_line(message[at + from]);
    at += run;
    if (at < count && message[at] != 0) break;
  }
  to_line(0);
}

static void push_framed(uint8_t link) {
  uint8_t message[LASTSPIN_HEADER_BYTES + 255 + LASTSPIN_CRC_BYTES];
  const uint8_t body_bytes = next_byte();
  size_t count = 0;
  message[count++] = next_byte() % 0x12;
  message[count++] = next_byte() % 32;
  for (int zeros = 0; zeros < 3; zeros++) message[count++] = 0;
  for (uint8_t at = 0; at < body_bytes % 40; at++) message[count++] = next_byte();
  line_bytes = 0;
  frame(message, count);
  lastspin_receive(&device, link, line, line_bytes, clock_ms);
}

/* What a right laptop would say next, so that the input is not spent on counting. */
static void push_likely(uint8_t link) {
  static uint32_t next_id;
  uint8_t message[64];
  struct lastspin_writer to = {message, sizeof message - LASTSPIN_CRC_BYTES, false};
  uint8_t code = next_byte() % 0x10;
#if LASTSPIN_WITH_READS
  const struct lastspin_reads *reads = &device.reads;
  if (code >= LASTSPIN_CODE_LIMITS || code == LASTSPIN_CODE_READ) {
    const struct lastspin_read_request read = {.batch = next_byte() % 4,
                                               .lba = next_byte(),
                                               .count = next_byte() % 18,
                                               .timeout_ms = next_number(),
                                               .slow_ms = next_byte(),
                                               .stop_on = next_byte() % 8,
                                               .release_below = reads->sent_below - next_byte() % 3};
    lastspin_put_u8(&to, LASTSPIN_CODE_READ);
    lastspin_put_u32(&to, reads->id_next + next_byte() % 3 - next_byte() % 3);
    lastspin_put_read_request(&to, &read);
    code = 0;
  } else if (code == LASTSPIN_CODE_RESEND) {
    const struct lastspin_resend_request resend = {reads->sent_below - next_byte() % 3,
                                                   next_number(), next_number()};
    lastspin_put_u8(&to, code);
    lastspin_put_u32(&to, ++next_id);
    lastspin_put_resend_request(&to, &resend);
    code = 0;
  }
#endif
  if (code != 0) {
    lastspin_put_u8(&to, code);
    lastspin_put_u32(&to, ++next_id);
    for (uint8_t count = next_byte() % 20; count > 0; count--) lastspin_put_u8(&to, next_byte());
  }
  line_bytes = 0;
  frame(message, (size_t)(to.at - message));
  lastspin_receive(&device, link, line, line_bytes, clock_ms);
}

static void push_raw(uint8_t link) {
  line_bytes = 0;
  for (uint8_t count = next_byte(); count > 0; count--) to_line(next_byte());
  lastspin_receive(&device, link, line, line_bytes, clock_ms);
}

static void say_hello(uint8_t link) {
  uint8_t message[64];
  struct lastspin_writer to = {message, sizeof message - LASTSPIN_CRC_BYTES, false};
  const struct lastspin_hello_request hello = {LASTSPIN_HELLO_MAGIC, LASTSPIN_VERSION_MAJOR, 0,
                                               256U + next_byte() * 4U, next_byte() % 4};
  lastspin_put_u8(&to, LASTSPIN_CODE_HELLO);
  lastspin_put_u32(&to, 1);
  lastspin_put_hello_request(&to, &hello);
  line_bytes = 0;
  frame(message, (size_t)(to.at - message));
  lastspin_receive(&device, link, line, line_bytes, clock_ms);
}

static void open_links(void) {
  for (uint8_t link = 0; link < LASTSPIN_LINKS_MAX; link++) {
    lastspin_receiver_reset(&laptops[link]);
    lastspin_open(&device, link);
  }
}

static void reopen(uint8_t link) {
  lastspin_close(&device, link);
  lastspin_receiver_reset(&laptops[link]);
  lastspin_open(&device, link);
}

static void restart(uint8_t cause) {
  struct lastspin_record record = kept;
  if (cause == 6) record.power_state ^= 1;
  lastspin_init(&device, &settings, cause % 6, is_kept ? &record : NULL, clock_ms);
#if LASTSPIN_WITH_READS
  doing = NOTHING;
#endif
  open_links();
}

static void step(void) {
  const uint8_t kind = next_byte();
  const uint8_t link = (uint8_t)(kind >> 4) % LASTSPIN_LINKS_MAX;
  switch (kind & 15) {
    case 0: push_raw(link); break;
    case 1: say_hello(link); break;
    case 2: reopen(link); break;
    case 3: is_stuck = !is_stuck; break;
    case 4: clock_ms += next_number() * 64U; break;
    case 5: end_command(); break;
    case 6: restart(next_byte() % 7); break;
    case 7:
    case 8: clock_ms += next_byte(); break;
    case 9:
    case 10: push_framed(link); break;
    default: push_likely(link); break;
  }
  lastspin_poll(&device, clock_ms);
  check();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  input = data;
  input_left = size;
  clock_ms = UINT32_MAX - 1000;
  is_stuck = false;
  is_kept = false;
  settings = (struct lastspin_settings){
      .firmware = "fuzz",
      .capabilities = 0x3fffU & ~(uint32_t)LASTSPIN_CAN_PASSTHROUGH,
      .boot_id = 1,
      .rails = LASTSPIN_RAILS,
      .discharge_ms = 100,
      .limits = {1000, 2000, 500, 500, 600},
      .milliamps_max = {4000, 4000},
#if LASTSPIN_WITH_READS
      .sector_bytes = 512,
#endif
  };
#if !LASTSPIN_WITH_READS
  settings.capabilities &= ~(uint32_t)(LASTSPIN_CAN_READ | LASTSPIN_CAN_IDENTIFY | LASTSPIN_CAN_PARK);
#endif
  restart(LASTSPIN_BOOT_POWER_ON);
  while (input_left > 0) step();
  return 0;
}
