/* What the board measures: volts and amps by two INA226, the thermistor, the drive's activity line.
 * Nothing here waits: the bus is worked by its interrupt, and one that stands still is given up. */
#ifndef LASTSPIN_AVR_SENSORS_H
#define LASTSPIN_AVR_SENSORS_H

#include <stdbool.h>
#include <stdint.h>

#define SENSOR_5 0
#define SENSOR_12 1
#define SENSOR_COUNT 2

struct rail_reading {
  /* Whether the sensor answers; the rest has no meaning where it does not. */
  bool measured;
  uint16_t millivolts;
  uint16_t milliamps;
};

void sensors_start(void);
/* Goes on with what is under way. */
void sensors_poll(uint32_t now_ms);
/* Whether `sensors_poll` has something to go on with before more time has passed. */
bool sensors_have(void);
struct rail_reading sensors_rail(uint8_t sensor);
/* Tenths of a degree Celsius, or INT16_MIN where no thermistor is. */
int16_t sensors_temperature(void);
/* Whether the activity line moved since this was asked last. */
bool sensors_activity(void);

#endif
