/* An imager that switches, measures and rests a drive beside an ordinary adapter, on an Arduino Nano
 * or Uno. What it decides is in ../core; here are its pins, its time and its restarts. */
#include <avr/eeprom.h>
#include <avr/interrupt.h>
#include <avr/sleep.h>
#include <avr/wdt.h>

#include "board.h"
#include "lastspin.h"
#include "sensors.h"
#include "serial.h"

/* A loop that does not come round in this time is dead. */
#define WATCHDOG WDTO_120MS

/* Until a laptop says otherwise (S-7, S-8): what a 3.5" drive never takes but when it starts, and the
 * heat that drives are made for. The shunts measure up to 8.19 A. */
#define DEFAULT_5V_MILLIAMPS 2000
#define DEFAULT_12V_MILLIAMPS 2500
#define DEFAULT_BLANKING_MS 5000
#define MILLIAMPS_MAX 5000
#define DEFAULT_PARK_TENTHS 520
#define DEFAULT_OFF_TENTHS 580
/* P-3, for rails that are not measured: 4,700 uF behind a switch that is off, and a drive that sleeps. */
#ifndef DISCHARGE_MS
#define DISCHARGE_MS 2000
#endif

/* What the board has without any of its sensors. */
#define CAPABILITIES \
  (LASTSPIN_CAN_POWER | LASTSPIN_CAN_THROTTLE | LASTSPIN_CAN_WATCHDOG | LASTSPIN_CAN_ACTIVITY)

static struct lastspin_device device;
static struct lastspin_settings settings = {
    .firmware = "lastspin-avr 1.0",
    .capabilities = CAPABILITIES,
    .rails = LASTSPIN_RAILS,
    .discharge_ms = DISCHARGE_MS,
    .limits = {.rail5_milliamps_max = DEFAULT_5V_MILLIAMPS,
               .rail12_milliamps_max = DEFAULT_12V_MILLIAMPS,
               .blanking_ms = DEFAULT_BLANKING_MS,
               .park_temperature = DEFAULT_PARK_TENTHS,
               .off_temperature = DEFAULT_OFF_TENTHS},
    .milliamps_max = {MILLIAMPS_MAX, MILLIAMPS_MAX},
};

/* ---- Why the chip started (P-1) ----------------------------------------------------------------- */

/* The start-up code leaves .noinit alone, so this is what it was before a restart. */
static struct {
  struct lastspin_record records[2];
  /* Which of them holds. One store turns it over, so that a reset in the middle of a save finds the
   * one before. */
  volatile uint8_t current;
} kept __attribute__((section(".noinit")));
static uint8_t flags_of_chip __attribute__((section(".noinit")));
static uint8_t flags_of_loader __attribute__((section(".noinit"), used));

/* Optiboot clears the chip's flags and leaves them in r2. */
void keep_r2(void) __attribute__((naked, used, section(".init1")));
void keep_r2(void) { __asm__ volatile("sts %0, r2" : : "i"(&flags_of_loader)); }

/* First of all C: after a watchdog's restart the watchdog is on with its shortest time. */
void keep_flags(void) __attribute__((naked, used, section(".init3")));
void keep_flags(void) {
  flags_of_chip = MCUSR;
  MCUSR = 0;
  wdt_enable(WATCHDOG);
}

static uint8_t boot_cause(void) {
  uint8_t flags = flags_of_chip;
  const uint8_t known = _BV(PORF) | _BV(EXTRF) | _BV(BORF) | _BV(WDRF);
  /* A chip always has a reason: none means that a loader took it. */
  if (flags == 0 && (flags_of_loader & (uint8_t)~known) == 0) flags = flags_of_loader;
  if (flags & _BV(PORF)) return LASTSPIN_BOOT_POWER_ON;
  if (flags & _BV(BORF)) return LASTSPIN_BOOT_BROWN_OUT;
  /* Optiboot ends its wait with the watchdog: both bits are the reset line. */
  if (flags & _BV(EXTRF)) return LASTSPIN_BOOT_RESET_LINE;
  if (flags & _BV(WDRF)) return LASTSPIN_BOOT_WATCHDOG;
  return LASTSPIN_BOOT_UNKNOWN;
}

/* The rails come back only where the chip itself says that its supply never went: an unknown cause may
 * be a power-on, and RAM remembers for seconds. */
static const struct lastspin_record *record_after(uint8_t cause) {
  const bool is_warm = cause == LASTSPIN_BOOT_WATCHDOG || cause == LASTSPIN_BOOT_RESET_LINE;
  return is_warm && kept.current < 2 ? &kept.records[kept.current] : NULL;
}

/* Differs at every start that no record tells apart. Starts without power before are counted in EEPROM,
 * which takes 100,000 of them; the multiplier (2^32 over the golden ratio) sets them far apart, so that
 * restarts, which count on from there, stay apart too. After a restart whose record is broken, what is
 * broken in it makes the difference, since the EEPROM takes longer to write than the rails may (P-1). */
static uint32_t first_boot_id(bool is_cold) {
  static uint32_t EEMEM starts;
  uint32_t count = eeprom_read_dword(&starts);
  if (is_cold) {
    /* An empty EEPROM reads as all ones. */
    count += 2;
    eeprom_update_dword(&starts, count);
    return count * 2654435769UL;
  }
  uint32_t noise = 1;
  for (uint8_t at = 0; at < sizeof kept.records; at++) {
    noise = noise * 31 + ((const uint8_t *)kept.records)[at];
  }
  return count * 2654435769UL ^ noise;
}

/* ---- Time --------------------------------------------------------------------------------------- */

static volatile uint32_t elapsed_ms;

ISR(TIMER1_COMPA_vect) { elapsed_ms++; }

void clock_start(void) {
  OCR1A = (uint16_t)(F_CPU / 64 / 1000 - 1);
  TIMSK1 = _BV(OCIE1A);
  TCCR1A = 0;
  TCCR1B = _BV(WGM12) | _BV(CS11) | _BV(CS10);
}

uint32_t clock_ms(void) {
  const uint8_t interrupts = SREG;
  cli();
  const uint32_t ms = elapsed_ms;
  SREG = interrupts;
  return ms;
}

/* ---- What the core asks of a port --------------------------------------------------------------- */

size_t lastspin_port_room(uint8_t link) {
  (void)link;
  return serial_room();
}

void lastspin_port_send(uint8_t link, const uint8_t *bytes, size_t count) {
  (void)link;
  for (size_t i = 0; i < count; i++) serial_send(bytes[i]);
}

/* The level first and the direction then, so that a gate that was held through a restart sees no other
 * level in between. */
void lastspin_port_set_rails(uint8_t rails) {
  uint8_t gates = 0;
  if (rails & LASTSPIN_RAIL_5V) gates |= PIN_GATE_5;
  if (rails & LASTSPIN_RAIL_12V) gates |= PIN_GATE_12;
  PORTD = (uint8_t)((PORTD & ~(PIN_GATE_5 | PIN_GATE_12)) | gates);
  DDRD |= PIN_GATE_5 | PIN_GATE_12;
}

void lastspin_port_sample(struct lastspin_sample *sample) {
  for (uint8_t rail = 0; rail < SENSOR_COUNT; rail++) {
    const struct rail_reading reading = sensors_rail(rail);
    sample->millivolts[rail] = reading.measured ? reading.millivolts : LASTSPIN_NO_RAIL;
    sample->milliamps[rail] = reading.measured ? reading.milliamps : LASTSPIN_NO_RAIL;
  }
  sample->temperature = sensors_temperature();
  sample->activity = sensors_activity() ? LASTSPIN_ACTIVITY_MOVED : LASTSPIN_ACTIVITY_QUIET;
  sample->switched = LASTSPIN_SWITCH_DONE;
}

void lastspin_port_save(const struct lastspin_record *record) {
  const uint8_t next = kept.current == 0 ? 1 : 0;
  kept.records[next] = *record;
  /* All of it is in memory before it holds. */
  __asm__ volatile("" ::: "memory");
  kept.current = next;
}

void lastspin_port_hold(bool hold) {
  if (hold) {
    PORTD |= PIN_HOLD;
  } else {
    PORTD &= (uint8_t)~PIN_HOLD;
  }
}

/* ---- The loop ----------------------------------------------------------------------------------- */

/* C-6: what is not measured is not offered. */
static void tell_capabilities(void) {
  uint32_t can = CAPABILITIES;
  const bool amps = sensors_rail(SENSOR_5).measured || sensors_rail(SENSOR_12).measured;
  if (amps) can |= LASTSPIN_CAN_SENSE;
  const bool degrees = sensors_temperature() != LASTSPIN_NO_TEMPERATURE;
  if (degrees) can |= LASTSPIN_CAN_TEMPERATURE;
  if (amps || degrees) can |= LASTSPIN_CAN_LIMITS;
  settings.capabilities = can;
}

/* On while the drive has power; flashes after a trip. */
static void show_light(uint32_t now_ms) {
  const bool tripped = device.power.state == LASTSPIN_STATE_TRIPPED;
  const bool on = tripped ? (now_ms & 128U) != 0 : device.power.rails != 0;
  if (on) {
    PORTB |= PIN_LIGHT;
  } else {
    PORTB &= (uint8_t)~PIN_LIGHT;
  }
}

static void start_pins(void) {
  DDRB = PIN_LIGHT;
  DDRD |= PIN_HOLD;
}

/* Half a frame at a time, so that measuring and guarding go on under any flood. */
#define BYTES_A_ROUND 32

static void take_bytes(uint32_t now_ms) {
  for (uint8_t count = 0; count < BYTES_A_ROUND && serial_has(); count++) {
    const uint8_t byte = serial_take();
    lastspin_receive(&device, 0, &byte, 1, now_ms);
  }
}

/* An interrupt between the question and the sleep would be slept through; none is taken between
 * `sei` and the instruction behind it. */
static void sleep_until_something(uint32_t seen_ms) {
  cli();
  while (!serial_has() && !sensors_have() && elapsed_ms == seen_ms) {
    sei();
    sleep_cpu();
    /* simavr takes what waits one instruction later than silicon does: never, if that were `cli`. */
    __asm__ volatile("nop");
    cli();
  }
  sei();
}

int main(void) {
  const uint8_t cause = boot_cause();
  const struct lastspin_record *saved = record_after(cause);
  clock_start();
  sensors_start();
  start_pins();
  /* What a gate's capacitor held through a brown-out ends first of all. */
  if (saved == NULL) lastspin_port_set_rails(0);
  settings.boot_id = first_boot_id(saved == NULL);
  lastspin_init(&device, &settings, cause, saved, 0);
  serial_start();
  /* Idle: everything but the processor goes on. */
  SMCR = _BV(SE);
  sei();
  lastspin_open(&device, 0);
  uint32_t polled_ms = 0;
  for (;;) {
    const uint32_t now_ms = clock_ms();
    sensors_poll(now_ms);
    take_bytes(now_ms);
    if (now_ms != polled_ms) {
      polled_ms = now_ms;
      tell_capabilities();
      lastspin_poll(&device, now_ms);
      show_light(now_ms);
      /* Only here: time has passed, and the core has seen it. */
      wdt_reset();
    }
    sleep_until_something(now_ms);
  }
}
