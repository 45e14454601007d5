/* The board of docs/building-an-imager.md: an ATmega328P at 16 MHz (Arduino Nano or Uno). */
#ifndef LASTSPIN_AVR_BOARD_H
#define LASTSPIN_AVR_BOARD_H

#include <avr/io.h>
#include <stdbool.h>
#include <stdint.h>

/* The rate where the board is not told another: T-2. 250000, 500000 and 1000000 are exact at 16 MHz,
 * this one is 2.1 % fast, which is within what a receiver takes. */
#ifndef LASTSPIN_BAUD
#define LASTSPIN_BAUD 115200UL
#endif

/* Port D: D2 activity in, low while the drive works; D4 and D5 the gates of 5 V and 12 V, high is on;
 * D6 high while the drive is to rest. The gates have pull-downs on the board: a floating pin is off. */
#define PIN_ACTIVITY _BV(2)
#define PIN_GATE_5 _BV(4)
#define PIN_GATE_12 _BV(5)
#define PIN_HOLD _BV(6)
/* Port B: D13, the board's own light. */
#define PIN_LIGHT _BV(5)
/* Port C: A4 and A5 are the I2C bus; the thermistor is at A0. */
#define PIN_DATA _BV(4)
#define PIN_CLOCK _BV(5)
#define ADC_THERMISTOR 0

/* INA226 of each rail, both over 10 mOhm: 2.5 uV of its shunt register are a quarter of a milliampere. */
#define ADDRESS_5 0x40
#define ADDRESS_12 0x41

/* Milliseconds since the start; wraps after 49.7 days. */
uint32_t clock_ms(void);
void clock_start(void);

#endif
