#include "sensors.h"

#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/pgmspace.h>
#include <util/delay.h>
#include <util/twi.h>

#include "board.h"

/* INA226 (SBOS547). Continuous, no average, 332 us each for shunt and bus: a new pair in two thirds of
 * a millisecond, well below what the trip has (S-7). */
#define REGISTER_CONFIGURATION 0x00
#define REGISTER_SHUNT 0x01
#define REGISTER_BUS 0x02
#define REGISTER_MAKER 0xfe
#define CONFIGURATION 0x4097U
#define MAKER 0x5449U

/* Both rails are read this often, and a sensor that is not there is looked for this often. */
#define ROUND_MS 2
#define SEARCH_MS 1000
/* Five bytes at 400 kHz take an eighth of a millisecond. */
#define TRANSFER_MS_MAX 2
/* Errors in a row after which a sensor counts as not there. */
#define FAILURES_MAX 3

/* ---- one transfer ------------------------------------------------------------------------------- */

#define GO (uint8_t)(_BV(TWINT) | _BV(TWEN) | _BV(TWIE))
#define STOP (uint8_t)(_BV(TWINT) | _BV(TWEN) | _BV(TWSTO))

enum transfer_state { TRANSFER_NONE, TRANSFER_RUNS, TRANSFER_DONE, TRANSFER_FAILED };

static struct {
  volatile uint8_t state;
  uint8_t address;
  uint8_t reg;
  bool is_write;
  /* Bytes of `value` that are over. */
  uint8_t count;
  volatile uint16_t value;
  uint32_t begun_ms;
} transfer;

/* 400 kHz. */
static void bus_start(void) {
  TWSR = 0;
  TWBR = (uint8_t)((F_CPU / 400000UL - 16UL) / 2UL);
  TWCR = _BV(TWEN);
}

static void transfer_end(enum transfer_state state) {
  TWCR = STOP;
  transfer.state = (uint8_t)state;
}

/* The register's address, then for a write its two bytes. */
static void transfer_write_next(void) {
  if (!transfer.is_write) {
    TWCR = (uint8_t)(GO | _BV(TWSTA));
  } else if (transfer.count == 2) {
    transfer_end(TRANSFER_DONE);
  } else {
    const uint8_t shift = transfer.count++ == 0 ? 8 : 0;
    TWDR = (uint8_t)(transfer.value >> shift);
    TWCR = GO;
  }
}

ISR(TWI_vect) {
  switch (TW_STATUS) {
    case TW_START:
      TWDR = (uint8_t)(transfer.address << 1);
      TWCR = GO;
      break;
    case TW_REP_START:
      TWDR = (uint8_t)(transfer.address << 1 | 1);
      TWCR = GO;
      break;
    case TW_MT_SLA_ACK:
      TWDR = transfer.reg;
      TWCR = GO;
      break;
    case TW_MT_DATA_ACK:
      transfer_write_next();
      break;
    case TW_MR_SLA_ACK:
      TWCR = (uint8_t)(GO | _BV(TWEA));
      break;
    case TW_MR_DATA_ACK:
      transfer.value = (uint16_t)((uint16_t)TWDR << 8);
      TWCR = GO;
      break;
    case TW_MR_DATA_NACK:
      transfer.value |= TWDR;
      transfer_end(TRANSFER_DONE);
      break;
    default:
      transfer_end(TRANSFER_FAILED);
      break;
  }
}

/* Not while the stop of the one before is still on the bus. */
static void transfer_begin(uint8_t address, uint8_t reg, bool is_write, uint16_t value) {
  transfer.address = address;
  transfer.reg = reg;
  transfer.is_write = is_write;
  transfer.count = 0;
  transfer.value = value;
  transfer.state = TRANSFER_RUNS;
  TWCR = (uint8_t)(GO | _BV(TWSTA));
}

/* A slave that was cut off in a byte holds the data line; up to nine clocks let it finish. A line is
 * driven low or let go, never driven high. */
static void bus_free(void) {
  TWCR = 0;
  for (uint8_t clocks = 0; clocks < 9 && !(PINC & PIN_DATA); clocks++) {
    PORTC &= (uint8_t)~PIN_CLOCK;
    DDRC |= PIN_CLOCK;
    _delay_us(5);
    DDRC &= (uint8_t)~PIN_CLOCK;
    PORTC |= PIN_CLOCK;
    _delay_us(5);
  }
  bus_start();
}

/* ---- two sensors in turn ------------------------------------------------------------------------ */

/* What is asked of a sensor: the first two to find it and set it, the others in each round. */
enum step { STEP_MAKER, STEP_CONFIGURE, STEP_SHUNT, STEP_BUS, STEP_COUNT };

static struct {
  bool present;
  uint8_t failures;
  struct rail_reading reading;
  uint16_t milliamps;
} sensors[SENSOR_COUNT];

static struct {
  bool running;
  bool searches;
  uint8_t sensor;
  uint8_t step;
  uint32_t begun_ms;
  uint32_t searched_ms;
} round_of;

static void sensor_failed(uint8_t sensor) {
  if (++sensors[sensor].failures < FAILURES_MAX && sensors[sensor].present) return;
  sensors[sensor].present = false;
  sensors[sensor].reading.measured = false;
}

/* A quarter of a milliampere a count; what flows backwards is none. */
static uint16_t milliamps_of(uint16_t counts) {
  return counts & 0x8000U ? 0 : (uint16_t)(counts / 4U);
}

/* 1.25 mV a count, the highest bit always 0. */
static uint16_t millivolts_of(uint16_t counts) {
  return (uint16_t)((uint32_t)(counts & 0x7fffU) * 5U / 4U);
}

/* The next sensor, or the end of the round. */
static void sensor_next(void) {
  round_of.step = STEP_MAKER;
  if (++round_of.sensor == SENSOR_COUNT) round_of.running = false;
}

static void step_done(uint16_t value) {
  const uint8_t sensor = round_of.sensor;
  if (round_of.step == STEP_SHUNT) sensors[sensor].milliamps = milliamps_of(value);
  if (round_of.step == STEP_BUS) {
    sensors[sensor].reading.milliamps = sensors[sensor].milliamps;
    sensors[sensor].reading.millivolts = millivolts_of(value);
    sensors[sensor].reading.measured = true;
    sensors[sensor].present = true;
    sensors[sensor].failures = 0;
  }
  if (round_of.step == STEP_MAKER && value != MAKER) {
    sensor_failed(sensor);
    sensor_next();
  } else if (++round_of.step == STEP_COUNT) {
    sensor_next();
  }
}

/* Once a second every sensor is looked for and set anew, since one that lost its supply for a moment
 * has lost its settings; in between only those that are there are read. */
static void step_begin(uint32_t now_ms) {
  const uint8_t sensor = round_of.sensor;
  if (!round_of.searches && round_of.step < STEP_SHUNT) {
    if (!sensors[sensor].present) {
      sensor_next();
      return;
    }
    round_of.step = STEP_SHUNT;
  }
  static const uint8_t registers[STEP_COUNT] = {REGISTER_MAKER, REGISTER_CONFIGURATION,
                                                REGISTER_SHUNT, REGISTER_BUS};
  const uint8_t step = round_of.step;
  const uint8_t address = sensor == SENSOR_5 ? ADDRESS_5 : ADDRESS_12;
  transfer.begun_ms = now_ms;
  transfer_begin(address, registers[step], step == STEP_CONFIGURE, CONFIGURATION);
}

static void round_begin(uint32_t now_ms) {
  round_of.running = true;
  round_of.searches = now_ms - round_of.searched_ms >= SEARCH_MS;
  if (round_of.searches) round_of.searched_ms = now_ms;
  round_of.sensor = 0;
  round_of.step = STEP_MAKER;
  round_of.begun_ms = now_ms;
}

bool sensors_have(void) {
  return transfer.state == TRANSFER_DONE || transfer.state == TRANSFER_FAILED;
}

/* The bus stands still: the sensor that was spoken to is passed over. */
static void give_up(void) {
  bus_free();
  transfer.state = TRANSFER_NONE;
  sensor_failed(round_of.sensor);
  sensor_next();
}

static void transfer_finish(uint32_t now_ms) {
  if (transfer.state == TRANSFER_DONE) {
    transfer.state = TRANSFER_NONE;
    step_done(transfer.value);
  } else if (transfer.state == TRANSFER_FAILED) {
    transfer.state = TRANSFER_NONE;
    sensor_failed(round_of.sensor);
    sensor_next();
  } else if (transfer.state == TRANSFER_RUNS && now_ms - transfer.begun_ms >= TRANSFER_MS_MAX) {
    give_up();
  }
}

static void rails_poll(uint32_t now_ms) {
  if (!round_of.running) {
    if (now_ms - round_of.begun_ms < ROUND_MS) return;
    round_begin(now_ms);
  }
  transfer_finish(now_ms);
  while (round_of.running && transfer.state == TRANSFER_NONE) {
    /* A stop takes microseconds, and never ends on a line that is held. */
    if (!(TWCR & _BV(TWSTO))) {
      step_begin(now_ms);
    } else if (now_ms - transfer.begun_ms >= TRANSFER_MS_MAX) {
      give_up();
    } else {
      return;
    }
  }
}

struct rail_reading sensors_rail(uint8_t sensor) {
  return sensors[sensor].reading;
}

/* ---- the thermistor ----------------------------------------------------------------------------- */

/* 10 kOhm at 25 degrees, B = 3950, to ground, and 10 kOhm to 5 V, which is the converter's reference
 * too: counts at -20, -10 ... 120 degrees, 1024 R / (R + 10k), R = 10k e^(B (1/T - 1/298.15)). Straight
 * lines between them are less than a degree off. */
static const uint16_t counts_at[] PROGMEM = {935, 874, 789, 685, 570, 456, 355, 270,
                                             204, 153, 115, 87,  67,  51,  40};
#define COUNTS_AT_COUNT (sizeof counts_at / sizeof counts_at[0])
#define LOWEST_TENTHS (-200)
#define STEP_TENTHS 100
/* Beyond these the wire is open or shorted. */
#define COUNTS_OPEN 1000
#define COUNTS_SHORTED 20
#define CONVERSION_EVERY_MS 50

static struct {
  uint32_t begun_ms;
  /* Sixteen times the counts, smoothed; 0 = not measured. */
  uint16_t smoothed;
} thermistor;

static int16_t tenths_of(uint16_t counts) {
  uint16_t above = pgm_read_word(&counts_at[0]);
  if (counts >= above) return LOWEST_TENTHS;
  int16_t tenths = LOWEST_TENTHS;
  for (uint8_t i = 1; i < COUNTS_AT_COUNT; i++) {
    const uint16_t below = pgm_read_word(&counts_at[i]);
    if (counts >= below) {
      const uint16_t part = (uint16_t)((above - counts) * STEP_TENTHS / (above - below));
      return (int16_t)(tenths + (int16_t)part);
    }
    above = below;
    tenths = (int16_t)(tenths + STEP_TENTHS);
  }
  return tenths;
}

static void thermistor_take(uint16_t counts) {
  if (counts >= COUNTS_OPEN || counts <= COUNTS_SHORTED) {
    thermistor.smoothed = 0;
  } else if (thermistor.smoothed == 0) {
    thermistor.smoothed = (uint16_t)(counts * 16U);
  } else {
    const uint16_t slow = (uint16_t)(thermistor.smoothed - thermistor.smoothed / 4U);
    thermistor.smoothed = (uint16_t)(slow + counts * 4U);
  }
}

static void thermistor_poll(uint32_t now_ms) {
  if (now_ms - thermistor.begun_ms < CONVERSION_EVERY_MS || ADCSRA & _BV(ADSC)) return;
  /* What was begun the last time has long ended. */
  if (ADCSRA & _BV(ADIF)) thermistor_take(ADC);
  thermistor.begun_ms = now_ms;
  ADCSRA |= _BV(ADSC) | _BV(ADIF);
}

int16_t sensors_temperature(void) {
  if (thermistor.smoothed == 0) return INT16_MIN;
  return tenths_of((uint16_t)((thermistor.smoothed + 8U) / 16U));
}

/* ---- the drive's activity ----------------------------------------------------------------------- */

static volatile bool activity_seen;

/* Off until it is asked for: a line that toggles fast costs one interrupt a question. */
ISR(INT0_vect) {
  activity_seen = true;
  EIMSK = 0;
}

bool sensors_activity(void) {
  if (!activity_seen) return false;
  activity_seen = false;
  EIFR = _BV(INTF0);
  EIMSK = _BV(INT0);
  return true;
}

/* ------------------------------------------------------------------------------------------------- */

void sensors_start(void) {
  /* The bus has 4.7 kOhm on the sensors' boards; the chip's own pull-ups keep it defined without. */
  PORTC |= PIN_DATA | PIN_CLOCK;
  bus_start();
  ADMUX = (uint8_t)(_BV(REFS0) | ADC_THERMISTOR);
  DIDR0 = _BV(ADC_THERMISTOR);
  ADCSRA = _BV(ADEN) | _BV(ADPS2) | _BV(ADPS1) | _BV(ADPS0) | _BV(ADSC);
  PORTD |= PIN_ACTIVITY;
  EICRA = _BV(ISC00);
  EIFR = _BV(INTF0);
  EIMSK = _BV(INT0);
  /* At the first poll. */
  round_of.begun_ms = (uint32_t)-ROUND_MS;
  round_of.searched_ms = (uint32_t)-SEARCH_MS;
  thermistor.begun_ms = 0;
}

void sensors_poll(uint32_t now_ms) {
  thermistor_poll(now_ms);
  rails_poll(now_ms);
}
