/* Made from the protocol's tables by `npm run generate`: do not edit. */
#ifndef LASTSPIN_MESSAGES_H
#define LASTSPIN_MESSAGES_H

#include "wire.h"

/* Requests; a response has bit 7 set (M-2). */
enum {
  LASTSPIN_CODE_HELLO = 1,
  LASTSPIN_CODE_IDENTIFY = 2,
  LASTSPIN_CODE_READ = 3,
  LASTSPIN_CODE_RESEND = 4,
  LASTSPIN_CODE_ABORT = 5,
  LASTSPIN_CODE_RESET = 6,
  LASTSPIN_CODE_POWER = 7,
  LASTSPIN_CODE_PARK = 8,
  LASTSPIN_CODE_THROTTLE = 9,
  LASTSPIN_CODE_STATUS = 0xa,
  LASTSPIN_CODE_PASSTHROUGH = 0xb,
  LASTSPIN_CODE_WATCHDOG = 0xc,
  LASTSPIN_CODE_LIMITS = 0xd,
  LASTSPIN_CODE_RESPONSE_BIT = 0x80,
};

/* Events (M-2). */
enum {
  LASTSPIN_EVENT_DATA = 0x40,
  LASTSPIN_EVENT_GAP = 0x41,
  LASTSPIN_EVENT_HUNG = 0x42,
  LASTSPIN_EVENT_READY = 0x43,
  LASTSPIN_EVENT_GONE = 0x44,
  LASTSPIN_EVENT_RAIL_FAULT = 0x45,
  LASTSPIN_EVENT_OVER_TEMPERATURE = 0x46,
  LASTSPIN_EVENT_STEPPED_DOWN = 0x47,
  LASTSPIN_EVENT_FILL = 0x48,
  LASTSPIN_EVENT_RESTING = 0x49,
};

/* The protocol. */
enum {
  LASTSPIN_VERSION_MAJOR = 1,
  LASTSPIN_VERSION_MINOR = 0,
  LASTSPIN_FRAME_BYTES_MIN = 0x100,
  LASTSPIN_COMMANDS_MAX_MAX = 0x10,
  LASTSPIN_SESSION_LIVE_MS = 0x1388,
};
#define LASTSPIN_HELLO_MAGIC 0x4e50534cUL

/* First byte of every response (M-3). */
enum {
  LASTSPIN_REPLY_OK = 0,
  LASTSPIN_REPLY_UNKNOWN_COMMAND = 1,
  LASTSPIN_REPLY_MALFORMED = 2,
  LASTSPIN_REPLY_UNSUPPORTED = 3,
  LASTSPIN_REPLY_REFUSED = 4,
  LASTSPIN_REPLY_NO_DRIVE = 5,
  LASTSPIN_REPLY_BUSY = 6,
  LASTSPIN_REPLY_LIMIT = 7,
  LASTSPIN_REPLY_VERSION = 8,
  LASTSPIN_REPLY_UNKNOWN_READ = 9,
  LASTSPIN_REPLY_HELLO_FIRST = 0xa,
};

/* How a read ended. */
enum {
  LASTSPIN_OUTCOME_GOOD = 0,
  LASTSPIN_OUTCOME_SLOW = 1,
  LASTSPIN_OUTCOME_FAULT = 2,
  LASTSPIN_OUTCOME_TIMEOUT = 3,
  LASTSPIN_OUTCOME_NOT_ATTEMPTED = 4,
  LASTSPIN_OUTCOME_GONE = 5,
};

/* Power states (P-2). */
enum {
  LASTSPIN_STATE_UNKNOWN = 0,
  LASTSPIN_STATE_OFF = 1,
  LASTSPIN_STATE_RAMPING = 2,
  LASTSPIN_STATE_ON_NOT_READY = 3,
  LASTSPIN_STATE_READY = 4,
  LASTSPIN_STATE_HUNG = 5,
  LASTSPIN_STATE_COOLING = 6,
  LASTSPIN_STATE_TRIPPED = 7,
};

/* What an imager can do (C-6). */
enum {
  LASTSPIN_CAN_IDENTIFY = 1,
  LASTSPIN_CAN_READ = 2,
  LASTSPIN_CAN_SOFT_RESET = 4,
  LASTSPIN_CAN_HARD_RESET = 8,
  LASTSPIN_CAN_POWER = 0x10,
  LASTSPIN_CAN_PARK = 0x20,
  LASTSPIN_CAN_THROTTLE = 0x40,
  LASTSPIN_CAN_SENSE = 0x80,
  LASTSPIN_CAN_TEMPERATURE = 0x100,
  LASTSPIN_CAN_PASSTHROUGH = 0x200,
  LASTSPIN_CAN_WATCHDOG = 0x400,
  LASTSPIN_CAN_FAILING_LBA = 0x800,
  LASTSPIN_CAN_ACTIVITY = 0x1000,
  LASTSPIN_CAN_LIMITS = 0x2000,
};

/* What an imager started from (P-1). */
enum {
  LASTSPIN_BOOT_UNKNOWN = 0,
  LASTSPIN_BOOT_POWER_ON = 1,
  LASTSPIN_BOOT_BROWN_OUT = 2,
  LASTSPIN_BOOT_WATCHDOG = 3,
  LASTSPIN_BOOT_RESET_LINE = 4,
  LASTSPIN_BOOT_SOFTWARE = 5,
};

/* What is wrong with a rail. */
enum {
  LASTSPIN_RAIL_OVER_CURRENT = 1,
  LASTSPIN_RAIL_NO_RISE = 2,
  LASTSPIN_RAIL_NO_FALL = 3,
};

/* What an imager did about the heat. */
enum {
  LASTSPIN_HEAT_TOLD = 0,
  LASTSPIN_HEAT_STANDBY = 1,
  LASTSPIN_HEAT_OFF = 2,
};

/* What stops a batch. */
enum {
  LASTSPIN_STOP_ON_FAULT = 1,
  LASTSPIN_STOP_ON_SLOW = 2,
  LASTSPIN_STOP_ON_TIMEOUT = 4,
};

/* What is known of a fault. */
enum {
  LASTSPIN_KNOWN_FAILING_LBA = 1,
  LASTSPIN_KNOWN_ATA = 2,
  LASTSPIN_KNOWN_SENSE = 4,
};

/* Resets. */
enum {
  LASTSPIN_RESET_SOFT = 1,
  LASTSPIN_RESET_HARD = 2,
};

/* Power. */
enum {
  LASTSPIN_POWER_OFF = 0,
  LASTSPIN_POWER_ON = 1,
  LASTSPIN_POWER_CYCLE = 2,
};

/* Parking. */
enum {
  LASTSPIN_PARK_UNLOAD = 1,
  LASTSPIN_PARK_STANDBY = 2,
};

/* What is not measured. */
#define LASTSPIN_NO_TEMPERATURE (-32767 - 1)
#define LASTSPIN_NO_RAIL 0xffffU
#define LASTSPIN_NO_ACTIVITY 0xffffffffUL

struct lastspin_hello_request {
  uint32_t magic;
  uint8_t major;
  uint8_t minor;
  uint32_t frame_bytes_max;
  uint32_t session;
};

static inline bool lastspin_take_hello_request(
    struct lastspin_cursor *from, struct lastspin_hello_request *value) {
  value->magic = lastspin_take_u32(from);
  value->major = lastspin_take_u8(from);
  value->minor = lastspin_take_u8(from);
  value->frame_bytes_max = lastspin_take_u32(from);
  value->session = lastspin_take_u32(from);
  return !from->failed;
}

static inline bool lastspin_put_hello_request(
    struct lastspin_writer *to, const struct lastspin_hello_request *value) {
  lastspin_put_u32(to, value->magic);
  lastspin_put_u8(to, value->major);
  lastspin_put_u8(to, value->minor);
  lastspin_put_u32(to, value->frame_bytes_max);
  lastspin_put_u32(to, value->session);
  return !to->failed;
}

struct lastspin_hello_response {
  uint8_t major;
  uint8_t minor;
  uint32_t capabilities;
  uint32_t frame_bytes_max;
  uint32_t buffer_bytes;
  uint16_t requests_max;
  uint32_t read_count_max;
  uint32_t read_id_next;
  uint32_t boot_id;
  struct lastspin_bytes firmware;
  uint8_t commands_max;
  uint8_t boot_cause;
  uint32_t session_count;
};

static inline bool lastspin_take_hello_response(
    struct lastspin_cursor *from, struct lastspin_hello_response *value) {
  value->major = lastspin_take_u8(from);
  value->minor = lastspin_take_u8(from);
  value->capabilities = lastspin_take_u32(from);
  value->frame_bytes_max = lastspin_take_u32(from);
  value->buffer_bytes = lastspin_take_u32(from);
  value->requests_max = lastspin_take_u16(from);
  value->read_count_max = lastspin_take_u32(from);
  value->read_id_next = lastspin_take_u32(from);
  value->boot_id = lastspin_take_u32(from);
  value->firmware = lastspin_take_bytes(from);
  value->commands_max = lastspin_take_u8(from);
  value->boot_cause = lastspin_take_u8(from);
  value->session_count = lastspin_take_u32(from);
  return !from->failed;
}

static inline bool lastspin_put_hello_response(
    struct lastspin_writer *to, const struct lastspin_hello_response *value) {
  lastspin_put_u8(to, value->major);
  lastspin_put_u8(to, value->minor);
  lastspin_put_u32(to, value->capabilities);
  lastspin_put_u32(to, value->frame_bytes_max);
  lastspin_put_u32(to, value->buffer_bytes);
  lastspin_put_u16(to, value->requests_max);
  lastspin_put_u32(to, value->read_count_max);
  lastspin_put_u32(to, value->read_id_next);
  lastspin_put_u32(to, value->boot_id);
  lastspin_put_bytes(to, value->firmware);
  lastspin_put_u8(to, value->commands_max);
  lastspin_put_u8(to, value->boot_cause);
  lastspin_put_u32(to, value->session_count);
  return !to->failed;
}

struct lastspin_identify_response {
  struct lastspin_bytes model;
  struct lastspin_bytes serial;
  struct lastspin_bytes firmware;
  uint64_t sector_count;
  uint32_t sector_bytes;
  uint32_t physical_sector_bytes;
  struct lastspin_bytes raw;
};

static inline bool lastspin_take_identify_response(
    struct lastspin_cursor *from, struct lastspin_identify_response *value) {
  value->model = lastspin_take_bytes(from);
  value->serial = lastspin_take_bytes(from);
  value->firmware = lastspin_take_bytes(from);
  value->sector_count = lastspin_take_u64(from);
  value->sector_bytes = lastspin_take_u32(from);
  value->physical_sector_bytes = lastspin_take_u32(from);
  value->raw = lastspin_take_bytes(from);
  return !from->failed;
}

static inline bool lastspin_put_identify_response(
    struct lastspin_writer *to, const struct lastspin_identify_response *value) {
  lastspin_put_bytes(to, value->model);
  lastspin_put_bytes(to, value->serial);
  lastspin_put_bytes(to, value->firmware);
  lastspin_put_u64(to, value->sector_count);
  lastspin_put_u32(to, value->sector_bytes);
  lastspin_put_u32(to, value->physical_sector_bytes);
  lastspin_put_bytes(to, value->raw);
  return !to->failed;
}

struct lastspin_read_request {
  uint32_t batch;
  uint64_t lba;
  uint32_t count;
  uint32_t timeout_ms;
  uint32_t slow_ms;
  uint8_t stop_on;
  uint32_t release_below;
};

static inline bool lastspin_take_read_request(
    struct lastspin_cursor *from, struct lastspin_read_request *value) {
  value->batch = lastspin_take_u32(from);
  value->lba = lastspin_take_u64(from);
  value->count = lastspin_take_u32(from);
  value->timeout_ms = lastspin_take_u32(from);
  value->slow_ms = lastspin_take_u32(from);
  value->stop_on = lastspin_take_u8(from);
  value->release_below = lastspin_take_u32(from);
  return !from->failed;
}

static inline bool lastspin_put_read_request(
    struct lastspin_writer *to, const struct lastspin_read_request *value) {
  lastspin_put_u32(to, value->batch);
  lastspin_put_u64(to, value->lba);
  lastspin_put_u32(to, value->count);
  lastspin_put_u32(to, value->timeout_ms);
  lastspin_put_u32(to, value->slow_ms);
  lastspin_put_u8(to, value->stop_on);
  lastspin_put_u32(to, value->release_below);
  return !to->failed;
}

struct lastspin_read_response {
  uint8_t outcome;
  uint32_t good_count;
  uint8_t known;
  uint64_t failing_lba;
  uint8_t ata_status;
  uint8_t ata_error;
  uint8_t sense_key;
  uint8_t asc;
  uint8_t ascq;
  uint64_t elapsed_micros;
  uint32_t data_bytes;
  uint32_t data_crc;
  uint64_t lba;
};

static inline bool lastspin_take_read_response(
    struct lastspin_cursor *from, struct lastspin_read_response *value) {
  value->outcome = lastspin_take_u8(from);
  value->good_count = lastspin_take_u32(from);
  value->known = lastspin_take_u8(from);
  value->failing_lba = lastspin_take_u64(from);
  value->ata_status = lastspin_take_u8(from);
  value->ata_error = lastspin_take_u8(from);
  value->sense_key = lastspin_take_u8(from);
  value->asc = lastspin_take_u8(from);
  value->ascq = lastspin_take_u8(from);
  value->elapsed_micros = lastspin_take_u64(from);
  value->data_bytes = lastspin_take_u32(from);
  value->data_crc = lastspin_take_u32(from);
  value->lba = lastspin_take_u64(from);
  return !from->failed;
}

static inline bool lastspin_put_read_response(
    struct lastspin_writer *to, const struct lastspin_read_response *value) {
  lastspin_put_u8(to, value->outcome);
  lastspin_put_u32(to, value->good_count);
  lastspin_put_u8(to, value->known);
  lastspin_put_u64(to, value->failing_lba);
  lastspin_put_u8(to, value->ata_status);
  lastspin_put_u8(to, value->ata_error);
  lastspin_put_u8(to, value->sense_key);
  lastspin_put_u8(to, value->asc);
  lastspin_put_u8(to, value->ascq);
  lastspin_put_u64(to, value->elapsed_micros);
  lastspin_put_u32(to, value->data_bytes);
  lastspin_put_u32(to, value->data_crc);
  lastspin_put_u64(to, value->lba);
  return !to->failed;
}

struct lastspin_resend_request {
  uint32_t read_id;
  uint32_t offset;
  uint32_t length;
};

static inline bool lastspin_take_resend_request(
    struct lastspin_cursor *from, struct lastspin_resend_request *value) {
  value->read_id = lastspin_take_u32(from);
  value->offset = lastspin_take_u32(from);
  value->length = lastspin_take_u32(from);
  return !from->failed;
}

static inline bool lastspin_put_resend_request(
    struct lastspin_writer *to, const struct lastspin_resend_request *value) {
  lastspin_put_u32(to, value->read_id);
  lastspin_put_u32(to, value->offset);
  lastspin_put_u32(to, value->length);
  return !to->failed;
}

struct lastspin_abort_request {
  uint32_t read_id_below;
};

static inline bool lastspin_take_abort_request(
    struct lastspin_cursor *from, struct lastspin_abort_request *value) {
  value->read_id_below = lastspin_take_u32(from);
  return !from->failed;
}

static inline bool lastspin_put_abort_request(
    struct lastspin_writer *to, const struct lastspin_abort_request *value) {
  lastspin_put_u32(to, value->read_id_below);
  return !to->failed;
}

struct lastspin_reset_request {
  uint8_t kind;
};

static inline bool lastspin_take_reset_request(
    struct lastspin_cursor *from, struct lastspin_reset_request *value) {
  value->kind = lastspin_take_u8(from);
  return !from->failed;
}

static inline bool lastspin_put_reset_request(
    struct lastspin_writer *to, const struct lastspin_reset_request *value) {
  lastspin_put_u8(to, value->kind);
  return !to->failed;
}

struct lastspin_power_request {
  uint8_t action;
  uint32_t off_ms;
  uint8_t standby_first;
};

static inline bool lastspin_take_power_request(
    struct lastspin_cursor *from, struct lastspin_power_request *value) {
  value->action = lastspin_take_u8(from);
  value->off_ms = lastspin_take_u32(from);
  value->standby_first = lastspin_take_u8(from);
  return !from->failed;
}

static inline bool lastspin_put_power_request(
    struct lastspin_writer *to, const struct lastspin_power_request *value) {
  lastspin_put_u8(to, value->action);
  lastspin_put_u32(to, value->off_ms);
  lastspin_put_u8(to, value->standby_first);
  return !to->failed;
}

struct lastspin_power_response {
  uint8_t power_state;
};

static inline bool lastspin_take_power_response(
    struct lastspin_cursor *from, struct lastspin_power_response *value) {
  value->power_state = lastspin_take_u8(from);
  return !from->failed;
}

static inline bool lastspin_put_power_response(
    struct lastspin_writer *to, const struct lastspin_power_response *value) {
  lastspin_put_u8(to, value->power_state);
  return !to->failed;
}

struct lastspin_park_request {
  uint8_t kind;
};

static inline bool lastspin_take_park_request(
    struct lastspin_cursor *from, struct lastspin_park_request *value) {
  value->kind = lastspin_take_u8(from);
  return !from->failed;
}

static inline bool lastspin_put_park_request(
    struct lastspin_writer *to, const struct lastspin_park_request *value) {
  lastspin_put_u8(to, value->kind);
  return !to->failed;
}

struct lastspin_throttle_request {
  uint32_t bytes_per_second_max;
  uint32_t rest_every_ms;
  uint32_t rest_ms;
};

static inline bool lastspin_take_throttle_request(
    struct lastspin_cursor *from, struct lastspin_throttle_request *value) {
  value->bytes_per_second_max = lastspin_take_u32(from);
  value->rest_every_ms = lastspin_take_u32(from);
  value->rest_ms = lastspin_take_u32(from);
  return !from->failed;
}

static inline bool lastspin_put_throttle_request(
    struct lastspin_writer *to, const struct lastspin_throttle_request *value) {
  lastspin_put_u32(to, value->bytes_per_second_max);
  lastspin_put_u32(to, value->rest_every_ms);
  lastspin_put_u32(to, value->rest_ms);
  return !to->failed;
}

struct lastspin_status_response {
  uint8_t power_state;
  uint8_t drive_busy;
  int16_t temperature;
  uint16_t rail5_millivolts;
  uint16_t rail5_milliamps;
  uint16_t rail12_millivolts;
  uint16_t rail12_milliamps;
  uint64_t uptime_ms;
  uint32_t read_id_next;
  uint32_t read_id_done;
  uint32_t power_cycles;
  uint32_t frames_discarded;
  uint32_t quiet_ms;
};

static inline bool lastspin_take_status_response(
    struct lastspin_cursor *from, struct lastspin_status_response *value) {
  value->power_state = lastspin_take_u8(from);
  value->drive_busy = lastspin_take_u8(from);
  value->temperature = lastspin_take_i16(from);
  value->rail5_millivolts = lastspin_take_u16(from);
  value->rail5_milliamps = lastspin_take_u16(from);
  value->rail12_millivolts = lastspin_take_u16(from);
  value->rail12_milliamps = lastspin_take_u16(from);
  value->uptime_ms = lastspin_take_u64(from);
  value->read_id_next = lastspin_take_u32(from);
  value->read_id_done = lastspin_take_u32(from);
  value->power_cycles = lastspin_take_u32(from);
  value->frames_discarded = lastspin_take_u32(from);
  value->quiet_ms = lastspin_take_u32(from);
  return !from->failed;
}

static inline bool lastspin_put_status_response(
    struct lastspin_writer *to, const struct lastspin_status_response *value) {
  lastspin_put_u8(to, value->power_state);
  lastspin_put_u8(to, value->drive_busy);
  lastspin_put_i16(to, value->temperature);
  lastspin_put_u16(to, value->rail5_millivolts);
  lastspin_put_u16(to, value->rail5_milliamps);
  lastspin_put_u16(to, value->rail12_millivolts);
  lastspin_put_u16(to, value->rail12_milliamps);
  lastspin_put_u64(to, value->uptime_ms);
  lastspin_put_u32(to, value->read_id_next);
  lastspin_put_u32(to, value->read_id_done);
  lastspin_put_u32(to, value->power_cycles);
  lastspin_put_u32(to, value->frames_discarded);
  lastspin_put_u32(to, value->quiet_ms);
  return !to->failed;
}

struct lastspin_passthrough_request {
  uint32_t timeout_ms;
  struct lastspin_bytes cdb;
  uint32_t length_max;
};

static inline bool lastspin_take_passthrough_request(
    struct lastspin_cursor *from, struct lastspin_passthrough_request *value) {
  value->timeout_ms = lastspin_take_u32(from);
  value->cdb = lastspin_take_bytes(from);
  value->length_max = lastspin_take_u32(from);
  return !from->failed;
}

static inline bool lastspin_put_passthrough_request(
    struct lastspin_writer *to, const struct lastspin_passthrough_request *value) {
  lastspin_put_u32(to, value->timeout_ms);
  lastspin_put_bytes(to, value->cdb);
  lastspin_put_u32(to, value->length_max);
  return !to->failed;
}

struct lastspin_passthrough_response {
  uint8_t outcome;
  uint8_t scsi_status;
  struct lastspin_bytes sense;
  struct lastspin_bytes data;
  uint64_t elapsed_micros;
};

static inline bool lastspin_take_passthrough_response(
    struct lastspin_cursor *from, struct lastspin_passthrough_response *value) {
  value->outcome = lastspin_take_u8(from);
  value->scsi_status = lastspin_take_u8(from);
  value->sense = lastspin_take_bytes(from);
  value->data = lastspin_take_bytes(from);
  value->elapsed_micros = lastspin_take_u64(from);
  return !from->failed;
}

static inline bool lastspin_put_passthrough_response(
    struct lastspin_writer *to, const struct lastspin_passthrough_response *value) {
  lastspin_put_u8(to, value->outcome);
  lastspin_put_u8(to, value->scsi_status);
  lastspin_put_bytes(to, value->sense);
  lastspin_put_bytes(to, value->data);
  lastspin_put_u64(to, value->elapsed_micros);
  return !to->failed;
}

struct lastspin_watchdog_request {
  uint32_t stop_reads_ms;
  uint32_t unload_ms;
  uint32_t standby_ms;
  uint32_t off_ms;
};

static inline bool lastspin_take_watchdog_request(
    struct lastspin_cursor *from, struct lastspin_watchdog_request *value) {
  value->stop_reads_ms = lastspin_take_u32(from);
  value->unload_ms = lastspin_take_u32(from);
  value->standby_ms = lastspin_take_u32(from);
  value->off_ms = lastspin_take_u32(from);
  return !from->failed;
}

static inline bool lastspin_put_watchdog_request(
    struct lastspin_writer *to, const struct lastspin_watchdog_request *value) {
  lastspin_put_u32(to, value->stop_reads_ms);
  lastspin_put_u32(to, value->unload_ms);
  lastspin_put_u32(to, value->standby_ms);
  lastspin_put_u32(to, value->off_ms);
  return !to->failed;
}

struct lastspin_limits_request {
  uint16_t rail5_milliamps_max;
  uint16_t rail12_milliamps_max;
  uint16_t blanking_ms;
  int16_t park_temperature;
  int16_t off_temperature;
};

static inline bool lastspin_take_limits_request(
    struct lastspin_cursor *from, struct lastspin_limits_request *value) {
  value->rail5_milliamps_max = lastspin_take_u16(from);
  value->rail12_milliamps_max = lastspin_take_u16(from);
  value->blanking_ms = lastspin_take_u16(from);
  value->park_temperature = lastspin_take_i16(from);
  value->off_temperature = lastspin_take_i16(from);
  return !from->failed;
}

static inline bool lastspin_put_limits_request(
    struct lastspin_writer *to, const struct lastspin_limits_request *value) {
  lastspin_put_u16(to, value->rail5_milliamps_max);
  lastspin_put_u16(to, value->rail12_milliamps_max);
  lastspin_put_u16(to, value->blanking_ms);
  lastspin_put_i16(to, value->park_temperature);
  lastspin_put_i16(to, value->off_temperature);
  return !to->failed;
}

struct lastspin_limits_response {
  uint16_t rail5_milliamps_max;
  uint16_t rail12_milliamps_max;
  uint16_t blanking_ms;
  int16_t park_temperature;
  int16_t off_temperature;
};

static inline bool lastspin_take_limits_response(
    struct lastspin_cursor *from, struct lastspin_limits_response *value) {
  value->rail5_milliamps_max = lastspin_take_u16(from);
  value->rail12_milliamps_max = lastspin_take_u16(from);
  value->blanking_ms = lastspin_take_u16(from);
  value->park_temperature = lastspin_take_i16(from);
  value->off_temperature = lastspin_take_i16(from);
  return !from->failed;
}

static inline bool lastspin_put_limits_response(
    struct lastspin_writer *to, const struct lastspin_limits_response *value) {
  lastspin_put_u16(to, value->rail5_milliamps_max);
  lastspin_put_u16(to, value->rail12_milliamps_max);
  lastspin_put_u16(to, value->blanking_ms);
  lastspin_put_i16(to, value->park_temperature);
  lastspin_put_i16(to, value->off_temperature);
  return !to->failed;
}

struct lastspin_data {
  uint32_t offset;
  struct lastspin_bytes bytes;
};

static inline bool lastspin_take_data(
    struct lastspin_cursor *from, struct lastspin_data *value) {
  value->offset = lastspin_take_u32(from);
  value->bytes = lastspin_take_bytes(from);
  return !from->failed;
}

static inline bool lastspin_put_data(
    struct lastspin_writer *to, const struct lastspin_data *value) {
  lastspin_put_u32(to, value->offset);
  lastspin_put_bytes(to, value->bytes);
  return !to->failed;
}

struct lastspin_gap {
  uint32_t read_id_next;
};

static inline bool lastspin_take_gap(
    struct lastspin_cursor *from, struct lastspin_gap *value) {
  value->read_id_next = lastspin_take_u32(from);
  return !from->failed;
}

static inline bool lastspin_put_gap(
    struct lastspin_writer *to, const struct lastspin_gap *value) {
  lastspin_put_u32(to, value->read_id_next);
  return !to->failed;
}

struct lastspin_ready {
  uint32_t after_ms;
};

static inline bool lastspin_take_ready(
    struct lastspin_cursor *from, struct lastspin_ready *value) {
  value->after_ms = lastspin_take_u32(from);
  return !from->failed;
}

static inline bool lastspin_put_ready(
    struct lastspin_writer *to, const struct lastspin_ready *value) {
  lastspin_put_u32(to, value->after_ms);
  return !to->failed;
}

struct lastspin_rail_fault {
  uint8_t rail;
  uint16_t milliamps;
  uint16_t millivolts;
  uint8_t fault;
};

static inline bool lastspin_take_rail_fault(
    struct lastspin_cursor *from, struct lastspin_rail_fault *value) {
  value->rail = lastspin_take_u8(from);
  value->milliamps = lastspin_take_u16(from);
  value->millivolts = lastspin_take_u16(from);
  value->fault = lastspin_take_u8(from);
  return !from->failed;
}

static inline bool lastspin_put_rail_fault(
    struct lastspin_writer *to, const struct lastspin_rail_fault *value) {
  lastspin_put_u8(to, value->rail);
  lastspin_put_u16(to, value->milliamps);
  lastspin_put_u16(to, value->millivolts);
  lastspin_put_u8(to, value->fault);
  return !to->failed;
}

struct lastspin_over_temperature {
  int16_t temperature;
  uint8_t action;
};

static inline bool lastspin_take_over_temperature(
    struct lastspin_cursor *from, struct lastspin_over_temperature *value) {
  value->temperature = lastspin_take_i16(from);
  value->action = lastspin_take_u8(from);
  return !from->failed;
}

static inline bool lastspin_put_over_temperature(
    struct lastspin_writer *to, const struct lastspin_over_temperature *value) {
  lastspin_put_i16(to, value->temperature);
  lastspin_put_u8(to, value->action);
  return !to->failed;
}

struct lastspin_stepped_down {
  uint8_t stage;
};

static inline bool lastspin_take_stepped_down(
    struct lastspin_cursor *from, struct lastspin_stepped_down *value) {
  value->stage = lastspin_take_u8(from);
  return !from->failed;
}

static inline bool lastspin_put_stepped_down(
    struct lastspin_writer *to, const struct lastspin_stepped_down *value) {
  lastspin_put_u8(to, value->stage);
  return !to->failed;
}

struct lastspin_fill {
  uint32_t offset;
  uint32_t length;
  uint8_t byte;
};

static inline bool lastspin_take_fill(
    struct lastspin_cursor *from, struct lastspin_fill *value) {
  value->offset = lastspin_take_u32(from);
  value->length = lastspin_take_u32(from);
  value->byte = lastspin_take_u8(from);
  return !from->failed;
}

static inline bool lastspin_put_fill(
    struct lastspin_writer *to, const struct lastspin_fill *value) {
  lastspin_put_u32(to, value->offset);
  lastspin_put_u32(to, value->length);
  lastspin_put_u8(to, value->byte);
  return !to->failed;
}

struct lastspin_resting {
  uint32_t rest_ms;
};

static inline bool lastspin_take_resting(
    struct lastspin_cursor *from, struct lastspin_resting *value) {
  value->rest_ms = lastspin_take_u32(from);
  return !from->failed;
}

static inline bool lastspin_put_resting(
    struct lastspin_writer *to, const struct lastspin_resting *value) {
  lastspin_put_u32(to, value->rest_ms);
  return !to->failed;
}

#endif
