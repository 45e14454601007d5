/* Little-endian fields in memory of any byte order (PROTOCOL.md M-1). Taking trusts nothing: every
 * length is checked against what is left, and after the first field that does not fit everything
 * is zero and `failed` stands. */
#ifndef LASTSPIN_WIRE_H
#define LASTSPIN_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A `bytes` or `text` field: a view of memory that somebody else keeps. */
struct lastspin_bytes {
  const uint8_t *at;
  uint16_t count;
};

/* A place in a message that came. */
struct lastspin_cursor {
  const uint8_t *at;
  size_t left;
  bool failed;
};

/* A place in a message that is being made. */
struct lastspin_writer {
  uint8_t *at;
  size_t left;
  bool failed;
};

/* M-1: no number exceeds 2^53 - 1. */
#define LASTSPIN_NUMBER_MAX ((UINT64_C(1) << 53) - 1)

/* The next `count` bytes of the message, or NULL where there are fewer. */
static inline const uint8_t *lastspin_take(struct lastspin_cursor *from, size_t count) {
  const uint8_t *at = from->at;
  if (from->failed || count > from->left) {
    from->failed = true;
    return NULL;
  }
  from->at += count;
  from->left -= count;
  return at;
}

static inline uint8_t lastspin_take_u8(struct lastspin_cursor *from) {
  const uint8_t *at = lastspin_take(from, 1);
  return at ? *at : 0;
}

static inline uint16_t lastspin_take_u16(struct lastspin_cursor *from) {
  const uint8_t *at = lastspin_take(from, 2);
  return at ? (uint16_t)((unsigned int)at[1] << 8 | at[0]) : 0;
}

static inline int16_t lastspin_take_i16(struct lastspin_cursor *from) {
  const uint16_t bits = lastspin_take_u16(from);
  /* Two's complement by hand: C leaves the conversion to the compiler. */
  return (int16_t)(bits < 0x8000U ? (int32_t)bits : (int32_t)bits - 0x10000L);
}

static inline uint32_t lastspin_load_u32(const uint8_t *at) {
  return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static inline uint32_t lastspin_take_u32(struct lastspin_cursor *from) {
  const uint8_t *at = lastspin_take(from, 4);
  return at ? lastspin_load_u32(at) : 0;
}

static inline uint64_t lastspin_take_u64(struct lastspin_cursor *from) {
  const uint64_t low = lastspin_take_u32(from);
  const uint64_t value = low | (uint64_t)lastspin_take_u32(from) << 32;
  if (value <= LASTSPIN_NUMBER_MAX) return value;
  from->failed = true;
  return 0;
}

static inline struct lastspin_bytes lastspin_take_bytes(struct lastspin_cursor *from) {
  struct lastspin_bytes value = {NULL, 0};
  value.count = lastspin_take_u16(from);
  value.at = lastspin_take(from, value.count);
  if (value.at == NULL) value.count = 0;
  return value;
}

/* Room for `count` bytes of the message, or NULL where there is none. */
static inline uint8_t *lastspin_put(struct lastspin_writer *to, size_t count) {
  uint8_t *at = to->at;
  if (to->failed || count > to->left) {
    to->failed = true;
    return NULL;
  }
  to->at += count;
  to->left -= count;
  return at;
}

static inline void lastspin_put_u8(struct lastspin_writer *to, uint8_t value) {
  uint8_t *at = lastspin_put(to, 1);
  if (at) *at = value;
}

static inline void lastspin_put_u16(struct lastspin_writer *to, uint16_t value) {
  uint8_t *at = lastspin_put(to, 2);
  if (!at) return;
  at[0] = (uint8_t)(value & 0xffU);
  at[1] = (uint8_t)(value >> 8);
}

static inline void lastspin_put_i16(struct lastspin_writer *to, int16_t value) {
  lastspin_put_u16(to, (uint16_t)value);
}

static inline void lastspin_store_u32(uint8_t *at, uint32_t value) {
  at[0] = (uint8_t)(value & 0xffU);
  at[1] = (uint8_t)(value >> 8 & 0xffU);
  at[2] = (uint8_t)(value >> 16 & 0xffU);
  at[3] = (uint8_t)(value >> 24);
}

static inline void lastspin_put_u32(struct lastspin_writer *to, uint32_t value) {
  uint8_t *at = lastspin_put(to, 4);
  if (at) lastspin_store_u32(at, value);
}

static inline void lastspin_put_u64(struct lastspin_writer *to, uint64_t value) {
  lastspin_put_u32(to, (uint32_t)(value & 0xffffffffU));
  lastspin_put_u32(to, (uint32_t)(value >> 32));
}

static inline void lastspin_put_bytes(struct lastspin_writer *to, struct lastspin_bytes value) {
  lastspin_put_u16(to, value.count);
  uint8_t *at = lastspin_put(to, value.count);
  if (at && value.count > 0) memcpy(at, value.at, value.count);
}

#endif
