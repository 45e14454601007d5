/* What an imager keeps that reads a drive: included by lastspin.h where LASTSPIN_WITH_READS is 1. */
#ifndef LASTSPIN_READS_H
#define LASTSPIN_READS_H

/* How a read ended at the drive. `data` holds `good_count` sectors and is copied. */
struct lastspin_read_result {
  uint8_t outcome;
  uint8_t known;
  uint8_t ata_status;
  uint8_t ata_error;
  uint8_t sense_key;
  uint8_t asc;
  uint8_t ascq;
  uint32_t good_count;
  uint64_t failing_lba;
  uint64_t elapsed_micros;
  const uint8_t *data;
};

/* What the port is doing with the drive (C-5). */
enum {
  LASTSPIN_LANE_FREE,
  LASTSPIN_LANE_READ,
  LASTSPIN_LANE_IDENTIFY,
  LASTSPIN_LANE_PARK,
};

/* A cut that waits for the heads (P-4). */
struct lastspin_cut {
  bool pending;
  uint8_t action;
  uint32_t off_ms;
  uint32_t left_ms;
  /* NULL when nobody waits for the answer any more. */
  struct lastspin_command *command;
};

struct lastspin_lane {
  uint8_t busy;
  /* Nobody waits for what the port is doing. */
  bool abandoned;
  /* A deadline passed, and the drive has not answered since (P-7). */
  bool late;
  /* In standby: the next read spins it up. */
  bool parked;
  /* A kind of parking that the imager wants by itself; 0 for none. */
  uint8_t own_park;
  uint32_t left_ms;
  uint32_t late_ms;
  uint32_t not_ready_ms;
  struct lastspin_command *command;
  struct lastspin_cut cut;
};

/* A read from its arrival to its release. */
struct lastspin_read {
  /* A reply code other than OK: refused when it came. */
  uint8_t reply;
  uint8_t reason;
  /* Its data had to make room, which only too small an arena can bring about. */
  bool forgotten;
  uint32_t arena_at;
  struct lastspin_read_request asked;
  struct lastspin_read_response result;
};

struct lastspin_reads {
  /* released_below <= sent_below <= done_below <= id_next. */
  uint32_t id_next;
  uint32_t done_below;
  uint32_t sent_below;
  uint32_t released_below;
  uint32_t aborted_below;
  struct lastspin_read slots[LASTSPIN_REQUESTS_MAX];
  /* What the unreleased reads asked for together. */
  uint64_t asked_bytes;
  uint32_t arena_head;
  /* Batches that ended early, the oldest overwritten first. */
  uint32_t stopped[LASTSPIN_REQUESTS_MAX];
  uint16_t stopped_count;
  uint16_t stopped_at;
  /* The read at done_below has its turn, has been started, has waited for so long. */
  bool has_turn;
  bool is_started;
  uint32_t waited_ms;
  /* Until the rate allows the next read. */
  uint64_t early_micros;
  bool gap_said;
  uint32_t gap_id;
  uint32_t since_gap_ms;
  /* The result at sent_below: sent up to here; its response is on its way. */
  uint32_t piece_at;
  bool is_closing;
  struct lastspin_command *resending;
  uint32_t resend_at;
  uint8_t arena[LASTSPIN_ARENA_BYTES];
};

struct lastspin_device;

/* The port is done with what it was told to start. */
void lastspin_read_done(struct lastspin_device *device, const struct lastspin_read_result *result);
/* NULL: the drive did not say. */
void lastspin_identify_done(struct lastspin_device *device,
                            const struct lastspin_identify_response *identity);
void lastspin_park_done(struct lastspin_device *device, bool is_parked);
/* The drive was seen to answer, or to have left the bus, without having been asked. */
void lastspin_drive_ready(struct lastspin_device *device);
void lastspin_drive_gone(struct lastspin_device *device);

#endif
