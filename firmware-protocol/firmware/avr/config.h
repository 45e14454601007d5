/* The core's sizes on an ATmega328P: 2 KB of RAM, of which the stack wants a good part. */
#ifndef LASTSPIN_CONFIG_H
#define LASTSPIN_CONFIG_H

#include <avr/pgmspace.h>

#define LASTSPIN_WITH_READS 0
#define LASTSPIN_LINKS_MAX 1
#define LASTSPIN_FRAME_BYTES_MAX 256
#define LASTSPIN_COMMANDS_MAX 4
#define LASTSPIN_CRC_TABLE 16
#define LASTSPIN_FLASH PROGMEM
#define LASTSPIN_FLASH_BYTE(at) pgm_read_byte(at)

#endif
