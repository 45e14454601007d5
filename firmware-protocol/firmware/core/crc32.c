/* CRC-32 of IEEE 802.3 and zlib (F-2): as small or as fast as the board wants it. */
#include "internal.h"

#define POLYNOMIAL UINT32_C(0xedb88320)

#if LASTSPIN_CRC_TABLE == 0

static uint32_t update(uint32_t crc, const uint8_t *bytes, size_t count) {
  for (; count > 0; count--) {
    crc ^= *bytes++;
    for (uint8_t bit = 0; bit < 8; bit++) crc = crc & 1U ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
  }
  return crc;
}

#elif LASTSPIN_CRC_TABLE == 16

/* The remainders of the sixteen half bytes, least significant byte first, as flash is read by
 * bytes. */
#define BYTES(x) (x) & 0xff, (x) >> 8 & 0xff, (x) >> 16 & 0xff, (x) >> 24 & 0xff
static const uint8_t table[64] LASTSPIN_FLASH = {
    BYTES(0x00000000UL), BYTES(0x1db71064UL), BYTES(0x3b6e20c8UL), BYTES(0x26d930acUL),
    BYTES(0x76dc4190UL), BYTES(0x6b6b51f4UL), BYTES(0x4db26158UL), BYTES(0x5005713cUL),
    BYTES(0xedb88320UL), BYTES(0xf00f9344UL), BYTES(0xd6d6a3e8UL), BYTES(0xcb61b38cUL),
    BYTES(0x9b64c2b0UL), BYTES(0x86d3d2d4UL), BYTES(0xa00ae278UL), BYTES(0xbdbdf21cUL),
};

static uint32_t step(uint32_t crc, uint8_t half) {
  const uint8_t *at = &table[4 * ((crc ^ half) & 15U)];
  const uint32_t remainder = (uint32_t)LASTSPIN_FLASH_BYTE(at) |
                             (uint32_t)LASTSPIN_FLASH_BYTE(at + 1) << 8 |
                             (uint32_t)LASTSPIN_FLASH_BYTE(at + 2) << 16 |
                             (uint32_t)LASTSPIN_FLASH_BYTE(at + 3) << 24;
  return crc >> 4 ^ remainder;
}

static uint32_t update(uint32_t crc, const uint8_t *bytes, size_t count) {
  for (; count > 0; count--) {
    const uint8_t byte = *bytes++;
    crc = step(step(crc, byte), (uint8_t)(byte >> 4));
  }
  return crc;
}

#else

/* Eight bytes at a time, by eight tables that are made when first needed. */
static uint32_t tables[8][256];

static void make_tables(void) {
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; bit++) crc = crc & 1U ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
    tables[0][byte] = crc;
  }
  for (uint32_t byte = 0; byte < 256; byte++) {
    for (int at = 1; at < 8; at++) {
      const uint32_t before = tables[at - 1][byte];
      tables[at][byte] = before >> 8 ^ tables[0][before & 0xff];
    }
  }
}

static uint32_t update(uint32_t crc, const uint8_t *bytes, size_t count) {
  if (tables[0][1] == 0) make_tables();
  for (; count >= 8; count -= 8, bytes += 8) {
    const uint32_t low = crc ^ lastspin_load_u32(bytes);
    const uint32_t high = lastspin_load_u32(bytes + 4);
    crc = tables[7][low & 0xff] ^ tables[6][low >> 8 & 0xff] ^ tables[5][low >> 16 & 0xff] ^
          tables[4][low >> 24] ^ tables[3][high & 0xff] ^ tables[2][high >> 8 & 0xff] ^
          tables[1][high >> 16 & 0xff] ^ tables[0][high >> 24];
  }
  for (; count > 0; count--) crc = crc >> 8 ^ tables[0][(crc ^ *bytes++) & 0xff];
  return crc;
}

#endif

uint32_t lastspin_crc32(uint32_t crc, const uint8_t *bytes, size_t count) {
  return ~update(~crc, bytes, count);
}
