/* The device end of the imager protocol (PROTOCOL.md), for boards without an operating system and for
 * ones with: no malloc, no clock, no threads. One `struct lastspin_device` holds everything; a port
 * gives it time, bytes and measurements, and implements the functions `lastspin_port_...` below.
 *
 * A port's `config.h` sets the sizes. Compiled with LASTSPIN_WITH_READS=1 it also speaks to a drive:
 * reads, identify, park, reset. Without, it is an imager that switches and measures power. */
#ifndef LASTSPIN_H
#define LASTSPIN_H

#include "config.h"
#include "messages.h"

/* ---- Sizes and times that config.h may set ---------------------------------------------------- */

#ifndef LASTSPIN_WITH_READS
#define LASTSPIN_WITH_READS 0
#endif
/* Links served at the same time. One holds the session; the others are told so (H-7, H-8). */
#ifndef LASTSPIN_LINKS_MAX
#define LASTSPIN_LINKS_MAX 1
#endif
/* Longest message taken and sent (H-4). Each link holds one that comes. */
#ifndef LASTSPIN_FRAME_BYTES_MAX
#define LASTSPIN_FRAME_BYTES_MAX 256
#endif
/* Control commands that are remembered (C-3), 1 to 16. */
#ifndef LASTSPIN_COMMANDS_MAX
#define LASTSPIN_COMMANDS_MAX 4
#endif
/* Longest response that is remembered, without its header and reply code: that of `limits`, and
 * with a drive that of `identify`. */
#ifndef LASTSPIN_ANSWER_BYTES_MAX
#define LASTSPIN_ANSWER_BYTES_MAX (LASTSPIN_WITH_READS ? 1024 : 10)
#endif
/* Events that may wait for the line; the oldest make room (E-1). */
#ifndef LASTSPIN_EVENTS_MAX
#define LASTSPIN_EVENTS_MAX 4
#endif
/* CRC-32 with a table of 0 (bit by bit), 16 or 2048 entries of 4 bytes. */
#ifndef LASTSPIN_CRC_TABLE
#define LASTSPIN_CRC_TABLE (LASTSPIN_WITH_READS ? 2048 : 16)
#endif
/* Where constants live, and how a byte of them is read (Harvard machines). */
#ifndef LASTSPIN_FLASH
#define LASTSPIN_FLASH
#define LASTSPIN_FLASH_BYTE(at) (*(at))
#endif
/* P-5: between the 5 V and the 12 V rail, going up and going down. */
#ifndef LASTSPIN_RAIL_GAP_MS
#define LASTSPIN_RAIL_GAP_MS 10
#endif
/* P-5: a rail has so long to rise, from both being switched on. Where no volts are measured it is
 * taken to be up after this. */
#ifndef LASTSPIN_RISE_MS
#define LASTSPIN_RISE_MS 50
#endif
/* A rail that is still up so long after it was switched off is told of (noFall). */
#ifndef LASTSPIN_FALL_MS
#define LASTSPIN_FALL_MS 5000
#endif

#if LASTSPIN_WITH_READS
/* Reads that may be unreleased. */
#ifndef LASTSPIN_REQUESTS_MAX
#define LASTSPIN_REQUESTS_MAX 64
#endif
/* Unreleased data that is offered in HELLO. */
#ifndef LASTSPIN_BUFFER_BYTES
#define LASTSPIN_BUFFER_BYTES (4UL * 1024 * 1024)
#endif
/* Longest read, in bytes: `readCountMax` follows from it. */
#ifndef LASTSPIN_READ_BYTES_MAX
#define LASTSPIN_READ_BYTES_MAX (1024UL * 1024)
#endif
/* What is really held: each read lies in one piece, so that up to one read is lost at the end. */
#ifndef LASTSPIN_ARENA_BYTES
#define LASTSPIN_ARENA_BYTES (LASTSPIN_BUFFER_BYTES + LASTSPIN_READ_BYTES_MAX)
#endif
/* How long a drive may take to park before its power is cut (P-4). */
#ifndef LASTSPIN_PARK_MS
#define LASTSPIN_PARK_MS 5000
#endif
#endif

/* ---- What a port tells the core --------------------------------------------------------------- */

/* Indices and bits of the rails. */
enum { LASTSPIN_5V = 0, LASTSPIN_12V = 1 };
enum { LASTSPIN_RAIL_5V = 1, LASTSPIN_RAIL_12V = 2, LASTSPIN_RAILS = 3 };

/* The drive's activity line since the last sample. */
enum { LASTSPIN_ACTIVITY_NO_LINE, LASTSPIN_ACTIVITY_QUIET, LASTSPIN_ACTIVITY_MOVED };

/* What the rails were last set to: done (as it always is where a pin switches them), still under
 * way, or failed (where a command does). */
enum { LASTSPIN_SWITCH_DONE, LASTSPIN_SWITCH_MOVING, LASTSPIN_SWITCH_FAILED };

/* What is measured; LASTSPIN_NO_RAIL and LASTSPIN_NO_TEMPERATURE where it is not. */
struct lastspin_sample {
  uint16_t millivolts[2];
  uint16_t milliamps[2];
  /* Tenths of a degree Celsius. */
  int16_t temperature;
  uint8_t activity;
  uint8_t switched;
};

/* What the imager is. The core reads it whenever it needs it: a port may change capabilities, as
 * when a sensor is missing. */
struct lastspin_settings {
  /* Name and version, at most 40 characters. */
  const char *firmware;
  /* LASTSPIN_CAN_..., or-ed (C-6). */
  uint32_t capabilities;
  /* Differs from that of earlier starts as well as can be; used where no record tells more. */
  uint32_t boot_id;
  /* The rails that the board switches. */
  uint8_t rails;
  /* P-3: until a rail that is not measured is below 0.5 V, as its builder measured it. */
  uint16_t discharge_ms;
  /* S-7, S-8: until a laptop says otherwise; and what it cannot exceed, which trips at any time. */
  struct lastspin_limits_response limits;
  uint16_t milliamps_max[2];
#if LASTSPIN_WITH_READS
  /* Logical sector of the drive. */
  uint32_t sector_bytes;
#endif
};

/* What outlives a restart (P-1), behind a checksum. The core makes it, the port keeps it. */
struct lastspin_record {
  uint32_t boot_id;
  uint32_t power_cycles;
  uint32_t off_ms;
  uint32_t watchdog_ms[4];
  struct lastspin_throttle_request throttle;
  struct lastspin_limits_response limits;
  uint8_t power_state;
  bool wants_on;
  bool watched;
  uint8_t spare;
  uint32_t crc;
};

/* ---- What a port implements ------------------------------------------------------------------- */

/* Bytes that `lastspin_port_send` takes for this link now. A port that can take 0 for ever must
 * close the link. */
size_t lastspin_port_room(uint8_t link);
/* Queues bytes, never more than there is room for. */
void lastspin_port_send(uint8_t link, const uint8_t *bytes, size_t count);
/* Switches the rails of LASTSPIN_RAIL_... on and all others off, at once and together. */
void lastspin_port_set_rails(uint8_t rails);
/* The newest measurements. Called by every `lastspin_poll`; must not wait. */
void lastspin_port_sample(struct lastspin_sample *sample);
/* Keeps the record where it outlives a restart but not a loss of power; may do nothing. */
void lastspin_port_save(const struct lastspin_record *record);
/* A rest of `throttle` begins or ends: an output that others may watch; may do nothing. */
void lastspin_port_hold(bool hold);

#if LASTSPIN_WITH_READS
/* One command to the drive at a time; none waits here. Each start is ended by exactly one call of
 * `lastspin_..._done`, also long after the core has stopped waiting for it. */
void lastspin_port_start_read(uint64_t lba, uint32_t count, uint32_t timeout_ms);
void lastspin_port_start_identify(void);
void lastspin_port_start_park(uint8_t kind);
/* Nobody waits any more for what is under way: end it if you can. */
void lastspin_port_give_up(void);
/* Issues a reset; its kinds are as the capabilities say. */
void lastspin_port_reset(uint8_t kind);
#endif

/* ---- The device ------------------------------------------------------------------------------- */

/* F-6: the longest frame, stuffed, without its zero. A frame of many zeros unstuffs to all but one
 * byte of that, so as much is kept. */
#define LASTSPIN_STUFFED_BYTES_MAX \
  (LASTSPIN_FRAME_BYTES_MAX + 4UL + (LASTSPIN_FRAME_BYTES_MAX + 4UL) / 254 + 1)

/* Cuts and unstuffs frames as their bytes come. */
struct lastspin_receiver {
  size_t stuffed_bytes;
  size_t plain_bytes;
  /* Bytes to come of the run; 0: a code byte comes. */
  uint8_t run_left;
  /* A zero stands between the last run and the next, if there is a next. */
  bool zero_due;
  bool skipping;
  uint8_t plain[LASTSPIN_STUFFED_BYTES_MAX];
};

/* Header and reply code, and a refusal's text or a response. */
#define LASTSPIN_HEAD_BYTES_MAX \
  (6 + (LASTSPIN_ANSWER_BYTES_MAX > 82 ? LASTSPIN_ANSWER_BYTES_MAX : 82))

/* Stuffs one message as the line takes it: a head of its own, data that lies elsewhere, the CRC. */
struct lastspin_sender {
  const uint8_t *part[3];
  size_t part_bytes[3];
  uint8_t part_at;
  uint8_t stage;
  uint8_t run_left;
  /* A full run has no zero behind it. */
  bool run_full;
  uint8_t crc[4];
  uint8_t head[LASTSPIN_HEAD_BYTES_MAX];
};

/* A response that waits for the line. What it says is looked up when its turn comes. */
struct lastspin_reply {
  uint32_t id;
  uint8_t code;
  uint8_t reply;
  uint8_t reason;
};

#if LASTSPIN_WITH_READS
#define LASTSPIN_REPLIES_MAX (LASTSPIN_COMMANDS_MAX + 4 + LASTSPIN_REQUESTS_MAX)
#else
#define LASTSPIN_REPLIES_MAX (LASTSPIN_COMMANDS_MAX + 4)
#endif

struct lastspin_link {
  bool open;
  uint8_t reply_count;
  struct lastspin_reply replies[LASTSPIN_REPLIES_MAX];
  struct lastspin_receiver receiver;
  struct lastspin_sender sender;
#if LASTSPIN_WITH_READS
  /* The data of the piece that is being sent: what it came from may be released meanwhile. */
  uint8_t piece[LASTSPIN_FRAME_BYTES_MAX];
#endif
};

/* A control command that is remembered (C-3). */
struct lastspin_command {
  uint32_t id;
  uint8_t code;
  uint8_t stage;
  uint8_t reply;
  uint8_t reason;
  uint16_t answer_bytes;
  uint8_t answer[LASTSPIN_ANSWER_BYTES_MAX];
#if LASTSPIN_WITH_READS
  /* What a command that has to wait was asked for, and for how long it has waited. */
  uint32_t asked[3];
  uint32_t waited_ms;
#endif
};

struct lastspin_event {
  uint8_t code;
  uint8_t body_bytes;
  uint8_t body[6];
};

struct lastspin_session {
  bool exists;
  /* LASTSPIN_NO_LINK while it has none. */
  uint8_t link;
  uint32_t number;
  uint32_t frame_bytes_max;
  uint32_t event_id;
  /* Control ids below this one have been forgotten. */
  uint32_t forgotten_below;
  struct lastspin_command commands[LASTSPIN_COMMANDS_MAX];
  uint8_t event_count;
  struct lastspin_event events[LASTSPIN_EVENTS_MAX];
};

#define LASTSPIN_NO_LINK 0xff

struct lastspin_power {
  uint8_t state;
  /* As last set. */
  uint8_t rails;
  /* Where a running off-time leads. */
  bool wants_on;
  /* The rails were switched on and have not been seen up yet. */
  bool rising;
  /* The rails are below 0.5 V, or have had their time. */
  bool is_down;
  bool fall_told;
  bool park_heat_told;
  bool off_heat_told;
  uint32_t off_ms;
  uint32_t since_on_ms;
  uint32_t since_cut_ms;
  uint32_t since_down_ms;
  uint32_t blank_left_ms;
  uint32_t cycles;
  struct lastspin_limits_response limits;
};

/* What happens without a laptop: silence (W), rests (throttle). */
struct lastspin_watch {
  /* From the first HELLO on (W-3). */
  bool watched;
  /* Bits of the stages taken in this silence. */
  uint8_t taken;
  uint32_t stage_ms[4];
  uint32_t silence_ms;
  struct lastspin_throttle_request throttle;
  bool resting;
  uint32_t worked_ms;
  uint32_t rest_left_ms;
  uint32_t quiet_ms;
};

#if LASTSPIN_WITH_READS
#include "reads.h"
#endif

struct lastspin_device {
  const struct lastspin_settings *settings;
  uint8_t boot_cause;
  uint32_t boot_id;
  uint32_t now_ms;
  uint64_t uptime_ms;
  uint32_t frames_discarded;
  /* Whole messages that no right laptop sends. */
  uint32_t violations;
  struct lastspin_sample sample;
  struct lastspin_power power;
  struct lastspin_watch watch;
  /* Opened since the start (H-6). */
  uint32_t session_count;
  struct lastspin_session session;
  struct lastspin_link links[LASTSPIN_LINKS_MAX];
#if LASTSPIN_WITH_READS
  struct lastspin_lane lane;
  struct lastspin_reads reads;
#endif
};

/* ---- What a port calls ------------------------------------------------------------------------ */

/* Starts the device, first of all: sets the rails before it returns (P-1). `boot_cause` is one of
 * LASTSPIN_BOOT_...; `saved` is the record as the port kept it, or NULL. Its checksum decides. */
void lastspin_init(struct lastspin_device *device, const struct lastspin_settings *settings,
                   uint8_t boot_cause, const struct lastspin_record *saved, uint32_t now_ms);
/* A link is there; on a board with one UART once, after init. */
void lastspin_open(struct lastspin_device *device, uint8_t link);
/* It is gone: a port may open another under this number. */
void lastspin_close(struct lastspin_device *device, uint8_t link);
/* Bytes came. */
void lastspin_receive(struct lastspin_device *device, uint8_t link, const uint8_t *bytes,
                      size_t count, uint32_t now_ms);
/* Lets time pass: measures, guards, steps, sends. To be called every few milliseconds: what must
 * happen within a time happens at the first call after it. `now_ms` may wrap. */
void lastspin_poll(struct lastspin_device *device, uint32_t now_ms);

#endif
