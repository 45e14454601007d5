/* The core on a bench: a test says on standard input what happens, and reads on standard output what the
 * device did and when, in milliseconds of the test's own clock. One command a line; each is answered by
 * lines and a line `.`.
 *
 *   boot CAUSE [lost]       starts anew; `lost`: without what was kept, `spoilt`: with a broken record
 *   open L, close L         a link comes or goes
 *   rx L HEX                bytes come
 *   run MS                  time passes
 *   room BYTES              so much a line takes in a millisecond
 *   volts A B, amps A B, heat T, line N, switch N     what is measured; `volts -` follows the rails
 *   state N                 puts the power into a state of P-2
 *   can BITS                capabilities
 *   ready, gone             what the drive shows unasked
 *   done OUTCOME GOOD BYTE  the read under way ends; identified; parked 0|1
 *   encode HEX, stream HEX, fields HEX                frames and messages by themselves */
#include <stdio.h>
#include <stdlib.h>

#include "../core/internal.h"

#define BYTES_MAX 65536

static struct lastspin_device device;
static uint32_t clock_ms;
static uint32_t began_ms;

static uint32_t elapsed_ms(void) { return clock_ms - began_ms; }

static void print_hex(const uint8_t *bytes, size_t count) {
  for (; count > 0; count--) printf("%02x", *bytes++);
  printf("\n");
}

static size_t parse_hex(const char *text, uint8_t *into) {
  size_t count = 0;
  unsigned int byte;
  for (; count < BYTES_MAX && sscanf(text, "%2x", &byte) == 1; text += 2) {
    into[count++] = (uint8_t)byte;
  }
  return count;
}

/* ---- The port ------------------------------------------------------------------------------------- */

static uint8_t sent[LASTSPIN_LINKS_MAX][BYTES_MAX];
static size_t sent_bytes[LASTSPIN_LINKS_MAX];
static struct lastspin_record kept;
static bool follows = true;
static struct lastspin_sample measured = {
    {5000, 12000}, {700, 500}, 300, LASTSPIN_ACTIVITY_QUIET, LASTSPIN_SWITCH_DONE};
static uint32_t read_count;
static size_t room = BYTES_MAX;

size_t lastspin_port_room(uint8_t link) { return room - sent_bytes[link]; }

void lastspin_port_send(uint8_t link, const uint8_t *bytes, size_t count) {
  memcpy(&sent[link][sent_bytes[link]], bytes, count);
  sent_bytes[link] += count;
}

void lastspin_port_set_rails(uint8_t rails) {
  static const uint16_t volts[2] = {5000, 12000};
  printf("rails %u %u\n", elapsed_ms(), rails);
  for (int rail = 0; follows && rail < 2; rail++) {
    measured.millivolts[rail] = (rails >> rail & 1) != 0 ? volts[rail] : 0;
  }
}

void lastspin_port_sample(struct lastspin_sample *sample) { *sample = measured; }
void lastspin_port_save(const struct lastspin_record *record) { kept = *record; }
void lastspin_port_hold(bool hold) { printf("hold %u %d\n", elapsed_ms(), hold); }

void lastspin_port_start_read(uint64_t lba, uint32_t count, uint32_t timeout_ms) {
  printf("read %u %u %u %u\n", elapsed_ms(), (unsigned int)lba, count, timeout_ms);
  read_count = count;
}

void lastspin_port_start_identify(void) { printf("identify %u\n", elapsed_ms()); }
void lastspin_port_start_park(uint8_t kind) { printf("park %u %u\n", elapsed_ms(), kind); }
void lastspin_port_give_up(void) { printf("give-up %u\n", elapsed_ms()); }
void lastspin_port_reset(uint8_t kind) { printf("reset %u %u\n", elapsed_ms(), kind); }

/* ---- What happens --------------------------------------------------------------------------------- */

static struct lastspin_settings settings = {
    .firmware = "rig",
    .capabilities = 0x3fffU & ~(uint32_t)LASTSPIN_CAN_PASSTHROUGH,
    .boot_id = 100,
    .rails = LASTSPIN_RAILS,
    .discharge_ms = 1000,
    .limits = {1000, 2000, 3000, 500, 600},
    .milliamps_max = {3000, 4000},
    .sector_bytes = 512,
};

static void flush(void) {
  for (uint8_t link = 0; link < LASTSPIN_LINKS_MAX; link++) {
    if (sent_bytes[link] == 0) continue;
    printf("tx %u %u ", elapsed_ms(), link);
    print_hex(sent[link], sent_bytes[link]);
    sent_bytes[link] = 0;
  }
}

static void run(uint32_t for_ms) {
  lastspin_poll(&device, clock_ms);
  flush();
  for (; for_ms > 0; for_ms--) {
    clock_ms++;
    lastspin_poll(&device, clock_ms);
    flush();
  }
}

static void boot(const char *words) {
  unsigned int cause = LASTSPIN_BOOT_POWER_ON;
  char what[16] = "";
  sscanf(words, "%u %15s", &cause, what);
  struct lastspin_record record = kept;
  if (strcmp(what, "spoilt") == 0) record.power_cycles++;
  lastspin_init(&device, &settings, (uint8_t)cause, strcmp(what, "lost") == 0 ? NULL : &record,
                clock_ms);
}

static void end_read(const char *words) {
  static uint8_t data[LASTSPIN_READ_BYTES_MAX];
  unsigned int outcome = 0;
  unsigned int good = read_count;
  unsigned int byte = 0;
  sscanf(words, "%u %u %u", &outcome, &good, &byte);
  /* Every other sector is one byte over and over; the others begin as if they were. */
  for (size_t at = 0; at < sizeof data; at++) {
    data[at] = (uint8_t)(at / 512 % 2 == 0 || at % 512 < 300 ? byte : byte + at % 251);
  }
  const struct lastspin_read_result result = {
      .outcome = (uint8_t)outcome, .good_count = good, .elapsed_micros = 5000, .data = data};
  lastspin_read_done(&device, &result);
}

static void identified(void) {
  static const uint8_t model[] = "RIG";
  const struct lastspin_identify_response identity = {
      .model = {model, 3}, .sector_count = 1000, .sector_bytes = 512, .physical_sector_bytes = 512};
  lastspin_identify_done(&device, &identity);
}

/* ---- Frames and messages by themselves -------------------------------------------------------------- */

static void note_u8(uint8_t value) { printf("value %u\n", value); }
static void note_u16(uint16_t value) { printf("value %u\n", value); }
static void note_i16(int16_t value) { printf("value %d\n", value); }
static void note_u32(uint32_t value) { printf("value %lu\n", (unsigned long)value); }
static void note_u64(uint64_t value) { printf("value %llu\n", (unsigned long long)value); }
static void note_bytes(struct lastspin_bytes value) {
  printf("value x");
  print_hex(value.at, value.count);
}

#include "bodies.h"

static void encode(const uint8_t *message, size_t count) {
  static struct lastspin_sender sender;
  struct lastspin_writer to = {sender.head, sizeof sender.head, false};
  lastspin_sender_finish(&sender, &to, message, count);
  while (!lastspin_sender_pump(&sender, 0)) {
  }
  printf("frame ");
  print_hex(sent[0], sent_bytes[0]);
  sent_bytes[0] = 0;
}

static void take_stream(const uint8_t *bytes, size_t count) {
  static struct lastspin_receiver receiver;
  uint32_t discarded[4] = {0, 0, 0, 0};
  lastspin_receiver_reset(&receiver);
  for (; count > 0; count--) {
    const enum lastspin_verdict verdict = lastspin_receiver_take(&receiver, *bytes++);
    if (verdict == LASTSPIN_FRAME_MESSAGE) {
      printf("message ");
      print_hex(receiver.plain, receiver.plain_bytes);
    } else if (verdict >= LASTSPIN_FRAME_TOO_LONG) {
      discarded[verdict - LASTSPIN_FRAME_TOO_LONG]++;
    }
  }
  printf("discarded %u %u %u %u\n", discarded[0], discarded[1], discarded[2], discarded[3]);
}

/* A message's fields in wire order, and the message that they make. */
static void take_fields(const uint8_t *message, size_t count) {
  static uint8_t again[BYTES_MAX];
  struct lastspin_cursor from = {message, count, false};
  struct lastspin_writer to = {again, sizeof again, false};
  const uint8_t code = lastspin_take_u8(&from);
  lastspin_put_u8(&to, code);
  lastspin_put_u32(&to, lastspin_take_u32(&from));
  uint8_t reply = LASTSPIN_REPLY_OK;
  if ((code & LASTSPIN_CODE_RESPONSE_BIT) != 0) {
    reply = lastspin_take_u8(&from);
    lastspin_put_u8(&to, reply);
  }
  if (reply != LASTSPIN_REPLY_OK) {
    const struct lastspin_bytes reason = lastspin_take_bytes(&from);
    note_bytes(reason);
    lastspin_put_bytes(&to, reason);
  } else {
    for (size_t at = 0; at < BODIES; at++) {
      if (bodies[at].code == code && !bodies[at].judge(&from, &to)) printf("malformed\n");
    }
  }
  printf("again ");
  print_hex(again, (size_t)(to.at - again));
}

/* ---- Commands ------------------------------------------------------------------------------------- */

static void set_pair(const char *words, uint16_t pair[2]) {
  unsigned int first = 0;
  unsigned int second = 0;
  if (sscanf(words, "%u %u", &first, &second) != 2) return;
  pair[0] = (uint16_t)first;
  pair[1] = (uint16_t)second;
}

static void on_drive(const char *verb, const char *words) {
  if (strcmp(verb, "ready") == 0) lastspin_drive_ready(&device);
  else if (strcmp(verb, "gone") == 0) lastspin_drive_gone(&device);
  else if (strcmp(verb, "done") == 0) end_read(words);
  else if (strcmp(verb, "identified") == 0) identified();
  else if (strcmp(verb, "parked") == 0) lastspin_park_done(&device, atoi(words) != 0);
  else printf("unknown %s\n", verb);
}

static void on_sensor(const char *verb, const char *words) {
  if (strcmp(verb, "volts") == 0) {
    follows = words[0] == '-';
    if (!follows) set_pair(words, measured.millivolts);
  } else if (strcmp(verb, "amps") == 0) {
    set_pair(words, measured.milliamps);
  } else if (strcmp(verb, "heat") == 0) {
    measured.temperature = (int16_t)atoi(words);
  } else if (strcmp(verb, "line") == 0) {
    measured.activity = (uint8_t)atoi(words);
  } else if (strcmp(verb, "switch") == 0) {
    measured.switched = (uint8_t)atoi(words);
  } else {
    on_drive(verb, words);
  }
}

static void command(const char *verb, const char *words) {
  static uint8_t bytes[BYTES_MAX];
  began_ms = clock_ms;
  const uint8_t link = (uint8_t)(words[0] == '1');
  if (strcmp(verb, "boot") == 0) boot(words);
  else if (strcmp(verb, "open") == 0) lastspin_open(&device, link);
  else if (strcmp(verb, "close") == 0) lastspin_close(&device, link);
  else if (strcmp(verb, "rx") == 0) {
    lastspin_receive(&device, link, bytes, parse_hex(words + 2, bytes), clock_ms);
  } else if (strcmp(verb, "run") == 0) run((uint32_t)strtoul(words, NULL, 10));
  else if (strcmp(verb, "state") == 0) device.power.state = (uint8_t)atoi(words);
  else if (strcmp(verb, "room") == 0) room = strtoul(words, NULL, 10);
  else if (strcmp(verb, "can") == 0) settings.capabilities = (uint32_t)strtoul(words, NULL, 0);
  else if (strcmp(verb, "encode") == 0) encode(bytes, parse_hex(words, bytes));
  else if (strcmp(verb, "stream") == 0) take_stream(bytes, parse_hex(words, bytes));
  else if (strcmp(verb, "fields") == 0) take_fields(bytes, parse_hex(words, bytes));
  else on_sensor(verb, words);
}

int main(void) {
  static char line[2 * BYTES_MAX + 64];
  /* Close to where the clock wraps, so that every test passes over it. */
  clock_ms = UINT32_MAX - 5000;
  while (fgets(line, sizeof line, stdin)) {
    line[strcspn(line, "\n")] = 0;
    char *words = strchr(line, ' ');
    if (words) *words++ = 0;
    command(line, words ? words : "");
    printf(".\n");
    fflush(stdout);
  }
  return 0;
}
