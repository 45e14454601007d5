/* What the parts of the core know of each other. */
#ifndef LASTSPIN_INTERNAL_H
#define LASTSPIN_INTERNAL_H

#include "lastspin.h"
#include "power-table.h"

/* ---- Frames (frame.c, crc32.c) ---------------------------------------------------------------- */

enum lastspin_verdict {
  LASTSPIN_FRAME_UNFINISHED,
  LASTSPIN_FRAME_EMPTY,
  LASTSPIN_FRAME_MESSAGE,
  LASTSPIN_FRAME_TOO_LONG,
  LASTSPIN_FRAME_BAD_COBS,
  LASTSPIN_FRAME_BAD_CRC,
  LASTSPIN_FRAME_TOO_SHORT,
};

#define LASTSPIN_CRC_BYTES 4
#define LASTSPIN_HEADER_BYTES 5

/* CRC-32 of `count` more bytes after those that gave `crc`; 0 to begin with (F-2). */
uint32_t lastspin_crc32(uint32_t crc, const uint8_t *bytes, size_t count);

void lastspin_receiver_reset(struct lastspin_receiver *receiver);
/* The next byte of the line. After FRAME_MESSAGE the message stands in `plain` until the next call,
 * `plain_bytes` long. A frame that is too long is told of once, at the byte that is too many. */
enum lastspin_verdict lastspin_receiver_take(struct lastspin_receiver *receiver, uint8_t byte);

void lastspin_sender_reset(struct lastspin_sender *sender);
bool lastspin_sender_is_idle(const struct lastspin_sender *sender);
/* A message of `code` and `id` whose body the writer takes. */
struct lastspin_writer lastspin_sender_begin(struct lastspin_sender *sender, uint8_t code,
                                             uint32_t id);
/* The message is what was written, and then `count` bytes at `data`, which must stay there until the
 * sender is idle. A body that did not fit sends nothing. */
void lastspin_sender_finish(struct lastspin_sender *sender, const struct lastspin_writer *written,
                            const uint8_t *data, size_t count);
/* A zero byte alone (F-8). */
void lastspin_sender_mark(struct lastspin_sender *sender);
/* Sends what the line takes; true when the message is out. */
bool lastspin_sender_pump(struct lastspin_sender *sender, uint8_t link);

/* ---- Device (device.c) ------------------------------------------------------------------------ */

/* Hottest limit that may be asked for, in tenths of a degree (S-8). */
#define LASTSPIN_TEMPERATURE_MAX 850

/* Why something was refused (M-4). */
#define LASTSPIN_REASONS(REASON) \
  REASON(NONE, "") \
  REASON(NO_SESSION, "no session on this link") \
  REASON(CUT_SHORT, "the request is cut short") \
  REASON(NO_MEANING, "a value has no meaning here") \
  REASON(NOT_HELLO, "not a HELLO") \
  REASON(VERSION, "this imager speaks version 1.0") \
  REASON(FRAME_BYTES, "messages of 256 bytes must fit") \
  REASON(OTHER_PROGRAM, "another program uses this imager") \
  REASON(UNKNOWN, "unknown command") \
  REASON(NOT_OFFERED, "this imager does not offer that") \
  REASON(TRIPPED, "the rails were cut: switch off first") \
  REASON(HOT, "the drive is too hot") \
  REASON(NO_POWER, "the drive has no power") \
  REASON(MILLIAMPS, "more than this imager can take") \
  REASON(CELSIUS, "more than 85 degrees") \
  REASON(NO_ANSWER, "the drive does not answer") \
  REASON(HANGS, "the drive is busy") \
  REASON(NOT_HELD, "that read is not held") \
  REASON(NOT_SO_LONG, "that read is shorter") \
  REASON(COUNT, "a read has 1 to readCountMax sectors") \
  REASON(TOO_LONG, "the answer is too long for a message")

#define LASTSPIN_REASON_NAME(name, text) LASTSPIN_BECAUSE_##name,
enum { LASTSPIN_REASONS(LASTSPIN_REASON_NAME) };

enum { LASTSPIN_FREE, LASTSPIN_WAITING, LASTSPIN_UNDER_WAY, LASTSPIN_DONE };

static inline bool lastspin_can(const struct lastspin_device *device, uint32_t capability) {
  return (device->settings->capabilities & capability) != 0;
}

/* Milliseconds that only grow, up to where they stop. */
static inline uint32_t lastspin_later(uint32_t ms, uint32_t by_ms) {
  return ms > UINT32_MAX - by_ms ? UINT32_MAX : ms + by_ms;
}

static inline uint32_t lastspin_less(uint32_t ms, uint32_t by_ms) {
  return ms > by_ms ? ms - by_ms : 0;
}

/* Puts a reply code and why. */
void lastspin_put_refusal(struct lastspin_writer *to, uint8_t reply, uint8_t reason);
/* Queues a response; a copy of one that waits already is one. */
void lastspin_reply(struct lastspin_device *device, uint8_t link, struct lastspin_reply reply);
/* A command is done: its answer is remembered and sent. */
void lastspin_answer(struct lastspin_device *device, struct lastspin_command *command,
                     uint8_t reply, uint8_t reason);
/* Queues an event whose body is written next: at most 6 bytes. NULL without a session. */
struct lastspin_event *lastspin_event(struct lastspin_device *device, uint8_t code);
struct lastspin_writer lastspin_event_writer(struct lastspin_event *event);
void lastspin_event_written(struct lastspin_event *event, const struct lastspin_writer *written);
/* Keeps what must outlive a restart (P-1). */
void lastspin_save(struct lastspin_device *device);

/* ---- Power (power.c) -------------------------------------------------------------------------- */

/* The table's cell for an input in the present state (P-2). */
uint8_t lastspin_power_cell(const struct lastspin_device *device, uint8_t input);
/* Moves through the table: the cell. Where that is a state it has been entered and saved. */
uint8_t lastspin_power_apply(struct lastspin_device *device, uint8_t input);
void lastspin_power_start(struct lastspin_device *device, const struct lastspin_record *saved);
void lastspin_power_advance(struct lastspin_device *device, uint32_t by_ms);
void lastspin_power_step(struct lastspin_device *device);
/* Carries out `power`: a reply code, and why. */
uint8_t lastspin_power_switch(struct lastspin_device *device, uint8_t action, uint32_t off_ms,
                              uint8_t *reason);
/* W-1: off. */
void lastspin_power_silence(struct lastspin_device *device);
bool lastspin_power_is_on(const struct lastspin_device *device);
/* Spin-up: amps may be high for a while (S-7). */
void lastspin_power_blank(struct lastspin_device *device);
uint8_t lastspin_power_limits(struct lastspin_device *device,
                              const struct lastspin_limits_request *asked, uint8_t *reason);

/* ---- Guards (power.c): pure functions of a sample ---------------------------------------------- */

/* The rail that draws more than it may, LASTSPIN_5V or LASTSPIN_12V, or -1 (S-7). */
int8_t lastspin_over_current(const struct lastspin_sample *sample,
                             const struct lastspin_limits_response *limits,
                             const uint16_t milliamps_max[2], bool blanked);
/* Whether a measured temperature is at or above a limit, in tenths of a degree (S-8). */
bool lastspin_is_hot(int16_t temperature, int16_t limit);

/* ---- Silence and rests (watch.c) --------------------------------------------------------------- */

void lastspin_watch_start(struct lastspin_device *device, const struct lastspin_record *saved);
void lastspin_watch_advance(struct lastspin_device *device, uint32_t by_ms);
void lastspin_watch_step(struct lastspin_device *device);
/* Something valid came from the session. */
void lastspin_watch_heard(struct lastspin_device *device);
void lastspin_watch_set(struct lastspin_device *device,
                        const struct lastspin_watchdog_request *asked);
void lastspin_throttle_set(struct lastspin_device *device,
                           const struct lastspin_throttle_request *asked);
/* Begins a rest that is due; true while one runs. */
bool lastspin_rest(struct lastspin_device *device);

#if LASTSPIN_WITH_READS
/* A command that is answered later; never on the wire. */
#define LASTSPIN_REPLY_PENDING 0xff

/* ---- The drive (lane.c) ------------------------------------------------------------------------- */

/* Does or begins a command that concerns the drive or its reads. */
uint8_t lastspin_drive_command(struct lastspin_device *device, struct lastspin_command *command,
                               struct lastspin_cursor *body, uint8_t *reason);
/* P-4: true when the cut waits for the heads; the command is answered then. */
bool lastspin_park_before_cut(struct lastspin_device *device, struct lastspin_command *command,
                              const struct lastspin_power_request *request);
/* A cut that waits is made now. */
void lastspin_cut_now(struct lastspin_device *device);
/* The imager parks the drive without having been asked; false where it cannot. */
bool lastspin_park_by_itself(struct lastspin_device *device, uint8_t kind);
void lastspin_drive_lost_power(struct lastspin_device *device);
void lastspin_drive_got_power(struct lastspin_device *device);
/* Nobody waits any more for what the port is doing. */
void lastspin_lane_abandon(struct lastspin_device *device);
void lastspin_lane_began(struct lastspin_device *device, uint8_t what, uint32_t within_ms);
/* A deadline passed and the drive has not answered (P-7). */
void lastspin_lane_late(struct lastspin_device *device);
void lastspin_lane_advance(struct lastspin_device *device, uint32_t by_ms);
/* Gives the drive what comes before its reads; true when it may take a read. */
bool lastspin_lane_step(struct lastspin_device *device);

/* ---- Reads (reads.c) ---------------------------------------------------------------------------- */

uint32_t lastspin_read_count_max(const struct lastspin_device *device);
void lastspin_reads_receive(struct lastspin_device *device, uint32_t id,
                            struct lastspin_cursor *body);
/* `abort` and `resend`. */
void lastspin_reads_abort(struct lastspin_device *device, uint32_t below);
/* All reads that have arrived. */
void lastspin_reads_stop(struct lastspin_device *device);
/* Those of them that are not under way (W-2). */
void lastspin_reads_stop_waiting(struct lastspin_device *device);
/* The one that is under way ends so. */
void lastspin_reads_cut_short(struct lastspin_device *device, uint8_t outcome);
void lastspin_reads_finish(struct lastspin_device *device,
                           const struct lastspin_read_result *result);
/* The session is over: nothing of it is done or sent any more. */
void lastspin_reads_retire(struct lastspin_device *device);
/* Another link: what was cut off is sent whole. */
void lastspin_reads_relinked(struct lastspin_device *device);
void lastspin_reads_advance(struct lastspin_device *device, uint32_t by_ms);
void lastspin_reads_step(struct lastspin_device *device);
/* Puts the response of a held read: its reply code and what follows. */
void lastspin_put_read(const struct lastspin_device *device, uint32_t id,
                       struct lastspin_writer *to);
/* Begins the next piece or response; false when there is none. The last message is out. */
bool lastspin_reads_send(struct lastspin_device *device, struct lastspin_link *link);
/* The message before is out (R-10: before a status says so). */
void lastspin_reads_sent(struct lastspin_device *device);
#endif

#endif
