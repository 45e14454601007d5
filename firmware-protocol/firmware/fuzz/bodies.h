/* Made from the protocol's tables by `npm run generate`: do not edit. */
#ifndef LASTSPIN_BODIES_H
#define LASTSPIN_BODIES_H

static bool judge_hello_request(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_hello_request value;
  if (!lastspin_take_hello_request(from, &value)) return false;
  note_u32(value.magic);
  note_u8(value.major);
  note_u8(value.minor);
  note_u32(value.frame_bytes_max);
  note_u32(value.session);
  return lastspin_put_hello_request(to, &value);
}

static bool judge_hello_response(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_hello_response value;
  if (!lastspin_take_hello_response(from, &value)) return false;
  note_u8(value.major);
  note_u8(value.minor);
  note_u32(value.capabilities);
  note_u32(value.frame_bytes_max);
  note_u32(value.buffer_bytes);
  note_u16(value.requests_max);
  note_u32(value.read_count_max);
  note_u32(value.read_id_next);
  note_u32(value.boot_id);
  note_bytes(value.firmware);
  note_u8(value.commands_max);
  note_u8(value.boot_cause);
  note_u32(value.session_count);
  return lastspin_put_hello_response(to, &value);
}

static bool judge_identify_response(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_identify_response value;
  if (!lastspin_take_identify_response(from, &value)) return false;
  note_bytes(value.model);
  note_bytes(value.serial);
  note_bytes(value.firmware);
  note_u64(value.sector_count);
  note_u32(value.sector_bytes);
  note_u32(value.physical_sector_bytes);
  note_bytes(value.raw);
  return lastspin_put_identify_response(to, &value);
}

static bool judge_read_request(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_read_request value;
  if (!lastspin_take_read_request(from, &value)) return false;
  note_u32(value.batch);
  note_u64(value.lba);
  note_u32(value.count);
  note_u32(value.timeout_ms);
  note_u32(value.slow_ms);
  note_u8(value.stop_on);
  note_u32(value.release_below);
  return lastspin_put_read_request(to, &value);
}

static bool judge_read_response(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_read_response value;
  if (!lastspin_take_read_response(from, &value)) return false;
  note_u8(value.outcome);
  note_u32(value.good_count);
  note_u8(value.known);
  note_u64(value.failing_lba);
  note_u8(value.ata_status);
  note_u8(value.ata_error);
  note_u8(value.sense_key);
  note_u8(value.asc);
  note_u8(value.ascq);
  note_u64(value.elapsed_micros);
  note_u32(value.data_bytes);
  note_u32(value.data_crc);
  note_u64(value.lba);
  return lastspin_put_read_response(to, &value);
}

static bool judge_resend_request(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_resend_request value;
  if (!lastspin_take_resend_request(from, &value)) return false;
  note_u32(value.read_id);
  note_u32(value.offset);
  note_u32(value.length);
  return lastspin_put_resend_request(to, &value);
}

static bool judge_abort_request(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_abort_request value;
  if (!lastspin_take_abort_request(from, &value)) return false;
  note_u32(value.read_id_below);
  return lastspin_put_abort_request(to, &value);
}

static bool judge_reset_request(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_reset_request value;
  if (!lastspin_take_reset_request(from, &value)) return false;
  note_u8(value.kind);
  return lastspin_put_reset_request(to, &value);
}

static bool judge_power_request(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_power_request value;
  if (!lastspin_take_power_request(from, &value)) return false;
  note_u8(value.action);
  note_u32(value.off_ms);
  note_u8(value.standby_first);
  return lastspin_put_power_request(to, &value);
}

static bool judge_power_response(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_power_response value;
  if (!lastspin_take_power_response(from, &value)) return false;
  note_u8(value.power_state);
  return lastspin_put_power_response(to, &value);
}

static bool judge_park_request(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_park_request value;
  if (!lastspin_take_park_request(from, &value)) return false;
  note_u8(value.kind);
  return lastspin_put_park_request(to, &value);
}

static bool judge_throttle_request(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_throttle_request value;
  if (!lastspin_take_throttle_request(from, &value)) return false;
  note_u32(value.bytes_per_second_max);
  note_u32(value.rest_every_ms);
  note_u32(value.rest_ms);
  return lastspin_put_throttle_request(to, &value);
}

static bool judge_status_response(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_status_response value;
  if (!lastspin_take_status_response(from, &value)) return false;
  note_u8(value.power_state);
  note_u8(value.drive_busy);
  note_i16(value.temperature);
  note_u16(value.rail5_millivolts);
  note_u16(value.rail5_milliamps);
  note_u16(value.rail12_millivolts);
  note_u16(value.rail12_milliamps);
  note_u64(value.uptime_ms);
  note_u32(value.read_id_next);
  note_u32(value.read_id_done);
  note_u32(value.power_cycles);
  note_u32(value.frames_discarded);
  note_u32(value.quiet_ms);
  return lastspin_put_status_response(to, &value);
}

static bool judge_passthrough_request(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_passthrough_request value;
  if (!lastspin_take_passthrough_request(from, &value)) return false;
  note_u32(value.timeout_ms);
  note_bytes(value.cdb);
  note_u32(value.length_max);
  return lastspin_put_passthrough_request(to, &value);
}

static bool judge_passthrough_response(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_passthrough_response value;
  if (!lastspin_take_passthrough_response(from, &value)) return false;
  note_u8(value.outcome);
  note_u8(value.scsi_status);
  note_bytes(value.sense);
  note_bytes(value.data);
  note_u64(value.elapsed_micros);
  return lastspin_put_passthrough_response(to, &value);
}

static bool judge_watchdog_request(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_watchdog_request value;
  if (!lastspin_take_watchdog_request(from, &value)) return false;
  note_u32(value.stop_reads_ms);
  note_u32(value.unload_ms);
  note_u32(value.standby_ms);
  note_u32(value.off_ms);
  return lastspin_put_watchdog_request(to, &value);
}

static bool judge_limits_request(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_limits_request value;
  if (!lastspin_take_limits_request(from, &value)) return false;
  note_u16(value.rail5_milliamps_max);
  note_u16(value.rail12_milliamps_max);
  note_u16(value.blanking_ms);
  note_i16(value.park_temperature);
  note_i16(value.off_temperature);
  return lastspin_put_limits_request(to, &value);
}

static bool judge_limits_response(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_limits_response value;
  if (!lastspin_take_limits_response(from, &value)) return false;
  note_u16(value.rail5_milliamps_max);
  note_u16(value.rail12_milliamps_max);
  note_u16(value.blanking_ms);
  note_i16(value.park_temperature);
  note_i16(value.off_temperature);
  return lastspin_put_limits_response(to, &value);
}

static bool judge_data(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_data value;
  if (!lastspin_take_data(from, &value)) return false;
  note_u32(value.offset);
  note_bytes(value.bytes);
  return lastspin_put_data(to, &value);
}

static bool judge_gap(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_gap value;
  if (!lastspin_take_gap(from, &value)) return false;
  note_u32(value.read_id_next);
  return lastspin_put_gap(to, &value);
}

static bool judge_ready(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_ready value;
  if (!lastspin_take_ready(from, &value)) return false;
  note_u32(value.after_ms);
  return lastspin_put_ready(to, &value);
}

static bool judge_rail_fault(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_rail_fault value;
  if (!lastspin_take_rail_fault(from, &value)) return false;
  note_u8(value.rail);
  note_u16(value.milliamps);
  note_u16(value.millivolts);
  note_u8(value.fault);
  return lastspin_put_rail_fault(to, &value);
}

static bool judge_over_temperature(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_over_temperature value;
  if (!lastspin_take_over_temperature(from, &value)) return false;
  note_i16(value.temperature);
  note_u8(value.action);
  return lastspin_put_over_temperature(to, &value);
}

static bool judge_stepped_down(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_stepped_down value;
  if (!lastspin_take_stepped_down(from, &value)) return false;
  note_u8(value.stage);
  return lastspin_put_stepped_down(to, &value);
}

static bool judge_fill(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_fill value;
  if (!lastspin_take_fill(from, &value)) return false;
  note_u32(value.offset);
  note_u32(value.length);
  note_u8(value.byte);
  return lastspin_put_fill(to, &value);
}

static bool judge_resting(struct lastspin_cursor *from, struct lastspin_writer *to) {
  struct lastspin_resting value;
  if (!lastspin_take_resting(from, &value)) return false;
  note_u32(value.rest_ms);
  return lastspin_put_resting(to, &value);
}

static bool judge_nothing(struct lastspin_cursor *from, struct lastspin_writer *to) {
  return !from->failed && !to->failed;
}

struct body {
  uint8_t code;
  const char *letters;
  bool (*judge)(struct lastspin_cursor *from, struct lastspin_writer *to);
};

static const struct body bodies[] = {
    {0x1, "41144", judge_hello_request},
    {0x81, "114442444b114", judge_hello_response},
    {0x2, "", judge_nothing},
    {0x82, "bbb844b", judge_identify_response},
    {0x3, "4844414", judge_read_request},
    {0x83, "1418111118448", judge_read_response},
    {0x4, "444", judge_resend_request},
    {0x84, "", judge_nothing},
    {0x5, "4", judge_abort_request},
    {0x85, "", judge_nothing},
    {0x6, "1", judge_reset_request},
    {0x86, "", judge_nothing},
    {0x7, "141", judge_power_request},
    {0x87, "1", judge_power_response},
    {0x8, "1", judge_park_request},
    {0x88, "", judge_nothing},
    {0x9, "444", judge_throttle_request},
    {0x89, "", judge_nothing},
    {0xa, "", judge_nothing},
    {0x8a, "11i2222844444", judge_status_response},
    {0xb, "4b4", judge_passthrough_request},
    {0x8b, "11bb8", judge_passthrough_response},
    {0xc, "4444", judge_watchdog_request},
    {0x8c, "", judge_nothing},
    {0xd, "222ii", judge_limits_request},
    {0x8d, "222ii", judge_limits_response},
    {0x40, "4b", judge_data},
    {0x41, "4", judge_gap},
    {0x42, "", judge_nothing},
    {0x43, "4", judge_ready},
    {0x44, "", judge_nothing},
    {0x45, "1221", judge_rail_fault},
    {0x46, "i1", judge_over_temperature},
    {0x47, "1", judge_stepped_down},
    {0x48, "441", judge_fill},
    {0x49, "4", judge_resting},
};
#define BODIES 36

#endif
