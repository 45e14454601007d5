/* Power: the state table (P-2), the order of the rails (P-5), off-times (P-3), and the guards that act
 * without being asked (S-7, S-8). */
#include "internal.h"

/* P-3: below this a rail is down. */
#define DOWN_MILLIVOLTS 500
/* S-8: cooler than a limit by this, it is told of anew. In tenths of a degree. */
#define COOLED_BY 30

/* A variable, as a gap of 0 makes comparisons with a constant that compilers complain of. */
static const uint32_t gap_ms = LASTSPIN_RAIL_GAP_MS;

#define TO(cell) LASTSPIN_TO_##cell
static const uint8_t table[LASTSPIN_POWER_INPUTS][LASTSPIN_POWER_STATES] LASTSPIN_FLASH = {
    LASTSPIN_POWER_TABLE};
#undef TO

uint8_t lastspin_power_cell(const struct lastspin_device *device, uint8_t input) {
  return (uint8_t)LASTSPIN_FLASH_BYTE(&table[input][device->power.state]);
}

uint8_t lastspin_power_apply(struct lastspin_device *device, uint8_t input) {
  const uint8_t cell = lastspin_power_cell(device, input);
  if (cell < LASTSPIN_POWER_STATES) {
    device->power.state = cell;
    lastspin_save(device);
  }
  return cell;
}

bool lastspin_power_is_on(const struct lastspin_device *device) {
  const uint8_t state = device->power.state;
  return state == LASTSPIN_STATE_ON_NOT_READY || state == LASTSPIN_STATE_READY ||
         state == LASTSPIN_STATE_HUNG;
}

/* ---- Guards: pure functions of a sample ------------------------------------------------------- */

int8_t lastspin_over_current(const struct lastspin_sample *sample,
                             const struct lastspin_limits_response *limits,
                             const uint16_t milliamps_max[2], bool blanked) {
  const uint16_t asked[2] = {limits->rail5_milliamps_max, limits->rail12_milliamps_max};
  for (int8_t rail = LASTSPIN_5V; rail <= LASTSPIN_12V; rail++) {
    const uint16_t milliamps = sample->milliamps[rail];
    if (milliamps == LASTSPIN_NO_RAIL) continue;
    if (milliamps > milliamps_max[rail] || (!blanked && milliamps > asked[rail])) return rail;
  }
  return -1;
}

bool lastspin_is_hot(int16_t temperature, int16_t limit) {
  if (temperature == LASTSPIN_NO_TEMPERATURE || limit == LASTSPIN_NO_TEMPERATURE) return false;
  return temperature >= limit;
}

static bool has_cooled(int16_t temperature, int16_t limit) {
  return temperature != LASTSPIN_NO_TEMPERATURE &&
         (int32_t)temperature <= (int32_t)limit - COOLED_BY;
}

/* ---- Rails -------------------------------------------------------------------------------------- */

static void set_rails(struct lastspin_device *device, uint8_t rails) {
  rails &= device->settings->rails;
  device->power.rails = rails;
  lastspin_port_set_rails(rails);
}

/* P-5: 5 V first; 12 V follows in `rise`. */
static void switch_on(struct lastspin_device *device) {
  struct lastspin_power *power = &device->power;
  power->rising = true;
  power->is_down = false;
  power->since_on_ms = 0;
  set_rails(device, gap_ms > 0 ? LASTSPIN_RAIL_5V : LASTSPIN_RAILS);
}

/* P-5: 12 V first, 5 V follows in `fall`; or both together where it has to be quick. */
static void switch_off(struct lastspin_device *device, bool at_once) {
  struct lastspin_power *power = &device->power;
  const bool was_on = power->rails != 0;
  power->rising = false;
  if (at_once || gap_ms == 0) set_rails(device, 0);
  else set_rails(device, power->rails & LASTSPIN_RAIL_5V);
  if (!was_on) return;
  power->is_down = false;
  power->fall_told = false;
  power->since_cut_ms = 0;
  power->since_down_ms = 0;
#if LASTSPIN_WITH_READS
  lastspin_drive_lost_power(device);
#endif
}

static uint16_t nominal_millivolts(uint8_t rail) { return rail == LASTSPIN_5V ? 5000 : 12000; }

static bool is_switched(const struct lastspin_device *device, uint8_t rail) {
  return (device->settings->rails >> rail & 1) != 0;
}

static void say_rail_fault(struct lastspin_device *device, uint8_t rail, uint8_t fault) {
  struct lastspin_event *event = lastspin_event(device, LASTSPIN_EVENT_RAIL_FAULT);
  if (!event) return;
  const struct lastspin_rail_fault body = {
      .rail = rail == LASTSPIN_5V ? 5 : 12,
      .milliamps = device->sample.milliamps[rail],
      .millivolts = device->sample.millivolts[rail],
      .fault = fault,
  };
  struct lastspin_writer to = lastspin_event_writer(event);
  lastspin_put_rail_fault(&to, &body);
  lastspin_event_written(event, &to);
}

static void fail_rise(struct lastspin_device *device, uint8_t rail) {
  switch_off(device, true);
  lastspin_power_apply(device, LASTSPIN_INPUT_RAIL_FAILED);
  say_rail_fault(device, rail, LASTSPIN_RAIL_NO_RISE);
}

static void rail_is_up(struct lastspin_device *device) {
  device->power.rising = false;
  if (lastspin_power_cell(device, LASTSPIN_INPUT_RAIL_UP) >= LASTSPIN_POWER_STATES) return;
  device->power.cycles++;
  lastspin_power_blank(device);
  lastspin_power_apply(device, LASTSPIN_INPUT_RAIL_UP);
#if LASTSPIN_WITH_READS
  lastspin_drive_got_power(device);
#endif
}

/* The first rail that is measured and below 90 %, or -1; `unmeasured`: there is one that is not. */
static int8_t low_rail(const struct lastspin_device *device, bool *unmeasured) {
  *unmeasured = false;
  for (uint8_t rail = LASTSPIN_5V; rail <= LASTSPIN_12V; rail++) {
    if (!is_switched(device, rail)) continue;
    const uint16_t millivolts = device->sample.millivolts[rail];
    if (millivolts == LASTSPIN_NO_RAIL) *unmeasured = true;
    else if (millivolts < nominal_millivolts(rail) / 10 * 9) return (int8_t)rail;
  }
  return -1;
}

/* The rails were switched on: 12 V follows 5 V, and both have to arrive (P-5). */
static void rise(struct lastspin_device *device) {
  struct lastspin_power *power = &device->power;
  if (device->sample.switched == LASTSPIN_SWITCH_FAILED) {
    fail_rise(device, LASTSPIN_5V);
    return;
  }
  if (power->since_on_ms < gap_ms) return;
  if (power->rails != device->settings->rails) {
    set_rails(device, LASTSPIN_RAILS);
    /* From here on, whatever kept this from being called in time. */
    power->since_on_ms = gap_ms;
    return;
  }
  if (device->sample.switched == LASTSPIN_SWITCH_MOVING) return;
  bool unmeasured;
  const int8_t low = low_rail(device, &unmeasured);
  const bool is_late = power->since_on_ms >= gap_ms + LASTSPIN_RISE_MS;
  if (low < 0 && (!unmeasured || is_late)) rail_is_up(device);
  else if (low >= 0 && is_late) fail_rise(device, (uint8_t)low);
}

/* The rail that is not down yet, or -1 (P-3). */
static int8_t rail_still_up(const struct lastspin_device *device) {
  for (uint8_t rail = LASTSPIN_5V; rail <= LASTSPIN_12V; rail++) {
    if (!is_switched(device, rail)) continue;
    const uint16_t millivolts = device->sample.millivolts[rail];
    const bool is_up = millivolts == LASTSPIN_NO_RAIL
                           ? device->power.since_cut_ms < device->settings->discharge_ms
                           : millivolts >= DOWN_MILLIVOLTS;
    if (is_up) return (int8_t)rail;
  }
  return -1;
}

/* The rails were switched off: 5 V follows 12 V, and the off-time counts from both being down. */
static void fall(struct lastspin_device *device) {
  struct lastspin_power *power = &device->power;
  if (power->rails != 0) {
    if (power->since_cut_ms >= gap_ms) set_rails(device, 0);
    return;
  }
  if (device->sample.switched != LASTSPIN_SWITCH_DONE) return;
  const int8_t up = rail_still_up(device);
  const bool was_down = power->is_down;
  power->is_down = up < 0;
  /* Something else feeds the rail again: a bridge, a charged capacitor. */
  if (!power->is_down) power->since_down_ms = 0;
  else if (!was_down) power->since_down_ms = 0;
  if (power->is_down || power->fall_told || power->since_cut_ms < LASTSPIN_FALL_MS) return;
  if (device->sample.millivolts[up] == LASTSPIN_NO_RAIL) return;
  power->fall_told = true;
  say_rail_fault(device, (uint8_t)up, LASTSPIN_RAIL_NO_FALL);
}

/* The off-time: over, and on again where that was asked for (P-2). */
static void cool(struct lastspin_device *device) {
  struct lastspin_power *power = &device->power;
  if (!power->is_down || power->since_down_ms < power->off_ms) return;
  const bool wants_on = power->wants_on;
  power->wants_on = false;
  lastspin_power_apply(device, LASTSPIN_INPUT_OFF_TIME_OVER);
  uint8_t reason;
  if (wants_on) lastspin_power_switch(device, LASTSPIN_POWER_ON, 0, &reason);
}

/* ---- Commands ----------------------------------------------------------------------------------- */

static bool is_too_hot(const struct lastspin_device *device) {
  return lastspin_is_hot(device->sample.temperature, device->power.limits.off_temperature);
}

/* What a request says of an off-time that runs (P-2). */
static void amend(struct lastspin_device *device, uint8_t action, uint32_t off_ms) {
  device->power.wants_on = action != LASTSPIN_POWER_OFF;
  if (action != LASTSPIN_POWER_ON) device->power.off_ms = off_ms;
  lastspin_save(device);
}

uint8_t lastspin_power_switch(struct lastspin_device *device, uint8_t action, uint32_t off_ms,
                              uint8_t *reason) {
  static const uint8_t inputs[3] = {LASTSPIN_INPUT_POWER_OFF, LASTSPIN_INPUT_POWER_ON,
                                    LASTSPIN_INPUT_POWER_CYCLE};
  *reason = LASTSPIN_BECAUSE_HOT;
  if (action == LASTSPIN_POWER_ON && is_too_hot(device)) return LASTSPIN_REPLY_LIMIT;
  const uint8_t cell = lastspin_power_apply(device, inputs[action]);
  *reason = LASTSPIN_BECAUSE_TRIPPED;
  if (cell == LASTSPIN_TO_LIMIT) return LASTSPIN_REPLY_LIMIT;
  if (cell == LASTSPIN_TO_RAMPING) {
    switch_on(device);
  } else if (cell == LASTSPIN_TO_COOLING) {
    switch_off(device, false);
    device->power.off_ms = 0;
    amend(device, action, off_ms);
  } else if (device->power.state == LASTSPIN_STATE_COOLING) {
    amend(device, action, off_ms);
  }
  return LASTSPIN_REPLY_OK;
}

void lastspin_power_silence(struct lastspin_device *device) {
  struct lastspin_power *power = &device->power;
  /* Nobody is there to watch what a remembered `on` would switch on. */
  power->wants_on = false;
  if (lastspin_power_cell(device, LASTSPIN_INPUT_SILENCE) < LASTSPIN_POWER_STATES) {
    switch_off(device, false);
    power->off_ms = 0;
    lastspin_power_apply(device, LASTSPIN_INPUT_SILENCE);
  } else {
    lastspin_save(device);
  }
}

uint8_t lastspin_power_limits(struct lastspin_device *device,
                              const struct lastspin_limits_request *asked, uint8_t *reason) {
  const struct lastspin_settings *settings = device->settings;
  struct lastspin_limits_response limits = settings->limits;
  *reason = LASTSPIN_BECAUSE_MILLIAMPS;
  if (asked->rail5_milliamps_max > settings->milliamps_max[LASTSPIN_5V] ||
      asked->rail12_milliamps_max > settings->milliamps_max[LASTSPIN_12V]) {
    return LASTSPIN_REPLY_LIMIT;
  }
  *reason = LASTSPIN_BECAUSE_CELSIUS;
  if (asked->park_temperature > LASTSPIN_TEMPERATURE_MAX ||
      asked->off_temperature > LASTSPIN_TEMPERATURE_MAX) {
    return LASTSPIN_REPLY_LIMIT;
  }
  if (asked->rail5_milliamps_max) limits.rail5_milliamps_max = asked->rail5_milliamps_max;
  if (asked->rail12_milliamps_max) limits.rail12_milliamps_max = asked->rail12_milliamps_max;
  if (asked->blanking_ms) limits.blanking_ms = asked->blanking_ms;
  if (asked->park_temperature != LASTSPIN_NO_TEMPERATURE) {
    limits.park_temperature = asked->park_temperature;
  }
  if (asked->off_temperature != LASTSPIN_NO_TEMPERATURE) {
    limits.off_temperature = asked->off_temperature;
  }
  device->power.limits = limits;
  lastspin_save(device);
  return LASTSPIN_REPLY_OK;
}

/* ---- The imager acts by itself ------------------------------------------------------------------ */

static void guard_current(struct lastspin_device *device) {
  if (lastspin_power_cell(device, LASTSPIN_INPUT_OVER_CURRENT) >= LASTSPIN_POWER_STATES) return;
  const bool blanked = device->power.rising || device->power.blank_left_ms > 0;
  const int8_t rail = lastspin_over_current(&device->sample, &device->power.limits,
                                            device->settings->milliamps_max, blanked);
  if (rail < 0) return;
  switch_off(device, true);
  lastspin_power_apply(device, LASTSPIN_INPUT_OVER_CURRENT);
  say_rail_fault(device, (uint8_t)rail, LASTSPIN_RAIL_OVER_CURRENT);
}

static void say_heat(struct lastspin_device *device, uint8_t action) {
  struct lastspin_event *event = lastspin_event(device, LASTSPIN_EVENT_OVER_TEMPERATURE);
  if (!event) return;
  const struct lastspin_over_temperature body = {device->sample.temperature, action};
  struct lastspin_writer to = lastspin_event_writer(event);
  lastspin_put_over_temperature(&to, &body);
  lastspin_event_written(event, &to);
}

static void guard_heat(struct lastspin_device *device) {
  struct lastspin_power *power = &device->power;
  const int16_t temperature = device->sample.temperature;
  if (has_cooled(temperature, power->limits.off_temperature)) power->off_heat_told = false;
  if (has_cooled(temperature, power->limits.park_temperature)) power->park_heat_told = false;
  if (is_too_hot(device)) {
    const bool is_on =
        lastspin_can(device, LASTSPIN_CAN_POWER) &&
        lastspin_power_cell(device, LASTSPIN_INPUT_OVER_HEAT) < LASTSPIN_POWER_STATES;
    if (is_on) {
      switch_off(device, true);
      lastspin_power_apply(device, LASTSPIN_INPUT_OVER_HEAT);
    }
    /* Told once, but cut whenever it is on. */
    if (is_on || !power->off_heat_told) {
      say_heat(device, is_on ? LASTSPIN_HEAT_OFF : LASTSPIN_HEAT_TOLD);
    }
    power->off_heat_told = true;
    power->park_heat_told = true;
  } else if (!power->park_heat_told &&
             lastspin_is_hot(temperature, power->limits.park_temperature)) {
    power->park_heat_told = true;
    uint8_t action = LASTSPIN_HEAT_TOLD;
#if LASTSPIN_WITH_READS
    if (lastspin_park_by_itself(device, LASTSPIN_PARK_STANDBY)) action = LASTSPIN_HEAT_STANDBY;
#endif
    say_heat(device, action);
  }
}

void lastspin_power_blank(struct lastspin_device *device) {
  device->power.blank_left_ms = device->power.limits.blanking_ms;
}

void lastspin_power_start(struct lastspin_device *device, const struct lastspin_record *saved) {
  struct lastspin_power *power = &device->power;
  power->fall_told = true;
  power->limits = saved ? saved->limits : device->settings->limits;
  power->cycles = saved ? saved->power_cycles : 0;
  power->off_ms = saved ? saved->off_ms : 0;
  power->state = saved ? saved->power_state : LASTSPIN_STATE_UNKNOWN;
  /* Rails that were coming up when it ended were asked for. */
  power->wants_on = saved && (saved->wants_on || saved->power_state == LASTSPIN_STATE_RAMPING);
  power->state = lastspin_power_cell(device, saved ? LASTSPIN_INPUT_RESTART : LASTSPIN_INPUT_BOOT);
  if (!lastspin_can(device, LASTSPIN_CAN_POWER)) {
    /* The drive has power of its own. */
    power->state = LASTSPIN_STATE_ON_NOT_READY;
    return;
  }
  if (!lastspin_power_is_on(device)) {
    set_rails(device, 0);
    return;
  }
  /* P-1: as they were, both together, before anything else. They have to arrive, and a motor that
   * lost its power for a moment spins up again. */
  power->rising = true;
  power->since_on_ms = gap_ms;
  lastspin_power_blank(device);
  set_rails(device, LASTSPIN_RAILS);
}

void lastspin_power_advance(struct lastspin_device *device, uint32_t by_ms) {
  struct lastspin_power *power = &device->power;
  power->since_on_ms = lastspin_later(power->since_on_ms, by_ms);
  power->since_cut_ms = lastspin_later(power->since_cut_ms, by_ms);
  if (power->is_down) power->since_down_ms = lastspin_later(power->since_down_ms, by_ms);
  power->blank_left_ms = lastspin_less(power->blank_left_ms, by_ms);
}

void lastspin_power_step(struct lastspin_device *device) {
  struct lastspin_power *power = &device->power;
  guard_heat(device);
  if (!lastspin_can(device, LASTSPIN_CAN_POWER)) return;
  guard_current(device);
  if (power->rising) {
    rise(device);
  } else if (power->state == LASTSPIN_STATE_OFF || power->state == LASTSPIN_STATE_COOLING ||
             power->state == LASTSPIN_STATE_TRIPPED) {
    fall(device);
  }
  if (power->state == LASTSPIN_STATE_COOLING) cool(device);
}
