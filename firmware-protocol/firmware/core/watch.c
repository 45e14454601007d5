/* What happens when the laptop falls silent (PROTOCOL.md W), and the rests of `throttle`. An imager
 * that does not read goes by the drive's activity line, and tells the laptop to rest. */
#include "internal.h"

#define STAGES 4

/* A drive whose activity line has been still for this long is not at work. */
#define IDLE_MS 1000

/* W-3: those of a hard drive. */
static const uint32_t hard_drive_ms[STAGES] = {5000, 10000, 600000, 3600000};

/* ---- Silence ------------------------------------------------------------------------------------ */

void lastspin_watch_heard(struct lastspin_device *device) {
  device->watch.silence_ms = 0;
  device->watch.taken = 0;
}

void lastspin_watch_set(struct lastspin_device *device,
                        const struct lastspin_watchdog_request *asked) {
  uint32_t *stage_ms = device->watch.stage_ms;
  stage_ms[0] = asked->stop_reads_ms;
  stage_ms[1] = asked->unload_ms;
  stage_ms[2] = asked->standby_ms;
  stage_ms[3] = asked->off_ms;
  lastspin_save(device);
}

/* W-1: a stage for which there is no capability is left out. */
static bool has_stage(const struct lastspin_device *device, uint8_t stage) {
  static const uint8_t needs[STAGES] = {LASTSPIN_CAN_READ, LASTSPIN_CAN_PARK, LASTSPIN_CAN_PARK,
                                        LASTSPIN_CAN_POWER};
  return lastspin_can(device, needs[stage]);
}

static void say_stage(struct lastspin_device *device, uint8_t stage) {
  struct lastspin_event *event = lastspin_event(device, LASTSPIN_EVENT_STEPPED_DOWN);
  if (!event) return;
  const struct lastspin_stepped_down body = {(uint8_t)(stage + 1)};
  struct lastspin_writer to = lastspin_event_writer(event);
  lastspin_put_stepped_down(&to, &body);
  lastspin_event_written(event, &to);
}

static void take_stage(struct lastspin_device *device, uint8_t stage) {
#if LASTSPIN_WITH_READS
  /* W-2: a laptop that comes back finds its reads stopped, not done; one under way keeps its deadline. */
  lastspin_reads_stop_waiting(device);
  if (stage == 1) lastspin_park_by_itself(device, LASTSPIN_PARK_UNLOAD);
  if (stage == 2) lastspin_park_by_itself(device, LASTSPIN_PARK_STANDBY);
#endif
  if (stage == 3) lastspin_power_silence(device);
  say_stage(device, stage);
}

static void watch_silence(struct lastspin_device *device) {
  struct lastspin_watch *watch = &device->watch;
  if (!watch->watched || !lastspin_can(device, LASTSPIN_CAN_WATCHDOG)) return;
  for (uint8_t stage = 0; stage < STAGES; stage++) {
    const uint32_t after_ms = watch->stage_ms[stage];
    const uint8_t bit = (uint8_t)(1U << stage);
    if (after_ms == 0 || watch->silence_ms < after_ms || (watch->taken & bit) != 0) continue;
    watch->taken |= bit;
    if (has_stage(device, stage)) take_stage(device, stage);
  }
}

/* ---- Rests -------------------------------------------------------------------------------------- */

void lastspin_throttle_set(struct lastspin_device *device,
                           const struct lastspin_throttle_request *asked) {
  struct lastspin_watch *watch = &device->watch;
  watch->throttle = *asked;
  watch->worked_ms = 0;
#if LASTSPIN_WITH_READS
  device->reads.early_micros = 0;
#endif
  if (watch->resting) lastspin_port_hold(false);
  watch->resting = false;
  lastspin_save(device);
}

static void begin_rest(struct lastspin_device *device) {
  struct lastspin_watch *watch = &device->watch;
  /* What a late call added to the work is taken off the rest, so that rests do not drift. Before a read
   * (reads.c) it is no lateness: nothing was read meanwhile. */
  const uint32_t late_ms = lastspin_can(device, LASTSPIN_CAN_READ)
                               ? 0
                               : watch->worked_ms - watch->throttle.rest_every_ms;
  watch->resting = true;
  watch->rest_left_ms = lastspin_less(watch->throttle.rest_ms, late_ms);
  watch->worked_ms = 0;
  lastspin_port_hold(true);
#if LASTSPIN_WITH_READS
  lastspin_park_by_itself(device, LASTSPIN_PARK_UNLOAD);
#endif
  struct lastspin_event *event = lastspin_event(device, LASTSPIN_EVENT_RESTING);
  if (!event) return;
  const struct lastspin_resting body = {watch->throttle.rest_ms};
  struct lastspin_writer to = lastspin_event_writer(event);
  lastspin_put_resting(&to, &body);
  lastspin_event_written(event, &to);
}

static void end_rest(struct lastspin_device *device) {
  device->watch.resting = false;
  lastspin_port_hold(false);
}

static bool rests_due(const struct lastspin_device *device) {
  const struct lastspin_throttle_request *throttle = &device->watch.throttle;
  return throttle->rest_every_ms > 0 && throttle->rest_ms > 0 &&
         device->watch.worked_ms >= throttle->rest_every_ms;
}

bool lastspin_rest(struct lastspin_device *device) {
  if (!device->watch.resting && rests_due(device)) begin_rest(device);
  return device->watch.resting;
}

static void watch_rests(struct lastspin_device *device) {
  struct lastspin_watch *watch = &device->watch;
  if (device->sample.activity == LASTSPIN_ACTIVITY_MOVED) watch->quiet_ms = 0;
  if (watch->resting && watch->rest_left_ms == 0) end_rest(device);
  /* An imager that reads rests before a read (reads.c). */
  if (watch->resting || lastspin_can(device, LASTSPIN_CAN_READ)) return;
  if (watch->throttle.rest_ms > 0 && watch->quiet_ms >= watch->throttle.rest_ms) {
    /* It rested by itself. */
    if (device->sample.activity != LASTSPIN_ACTIVITY_NO_LINE) watch->worked_ms = 0;
  }
  lastspin_rest(device);
}

/* ---- Start and time ----------------------------------------------------------------------------- */

void lastspin_watch_start(struct lastspin_device *device, const struct lastspin_record *saved) {
  struct lastspin_watch *watch = &device->watch;
  memcpy(watch->stage_ms, saved ? saved->watchdog_ms : hard_drive_ms, sizeof watch->stage_ms);
  if (saved) watch->throttle = saved->throttle;
  /* W-3: a restart starts the silence anew. */
  watch->watched = saved && saved->watched;
}

static bool is_at_work(const struct lastspin_device *device) {
  if (lastspin_can(device, LASTSPIN_CAN_READ)) return true;
  if (!lastspin_power_is_on(device)) return false;
  return device->sample.activity == LASTSPIN_ACTIVITY_NO_LINE ||
         device->watch.quiet_ms < IDLE_MS;
}

/* The part of `by_ms` that is left when a rest ends is work again. */
static void advance_rest(struct lastspin_device *device, uint32_t by_ms) {
  struct lastspin_watch *watch = &device->watch;
  const uint32_t rest_ms = watch->resting ? watch->rest_left_ms : 0;
  const uint32_t rested_ms = by_ms < rest_ms ? by_ms : rest_ms;
  watch->rest_left_ms -= rested_ms;
  const bool works = watch->throttle.rest_every_ms > 0 && is_at_work(device);
  if (works) watch->worked_ms = lastspin_later(watch->worked_ms, by_ms - rested_ms);
}

void lastspin_watch_advance(struct lastspin_device *device, uint32_t by_ms) {
  struct lastspin_watch *watch = &device->watch;
  watch->silence_ms = lastspin_later(watch->silence_ms, by_ms);
  advance_rest(device, by_ms);
  /* One less than the value that means that there is no line. */
  watch->quiet_ms = lastspin_later(watch->quiet_ms, by_ms);
  if (watch->quiet_ms == LASTSPIN_NO_ACTIVITY) watch->quiet_ms--;
}

void lastspin_watch_step(struct lastspin_device *device) {
  watch_silence(device);
  watch_rests(device);
}
