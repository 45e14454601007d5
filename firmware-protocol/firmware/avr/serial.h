/* The serial line: two rings between the interrupts and the main loop. */
#ifndef LASTSPIN_AVR_SERIAL_H
#define LASTSPIN_AVR_SERIAL_H

#include <stdbool.h>
#include <stdint.h>

void serial_start(void);
/* Whether a byte has come. */
bool serial_has(void);
/* The next byte; only after `serial_has`. */
uint8_t serial_take(void);
/* How many bytes `serial_send` takes at once. */
uint8_t serial_room(void);
/* Queues a byte; without room it is lost, and its frame with it (F-7). Never waits. */
void serial_send(uint8_t byte);

#endif
