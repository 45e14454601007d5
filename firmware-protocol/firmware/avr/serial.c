#include "serial.h"

#include <avr/interrupt.h>
#include <avr/io.h>

#include "board.h"

/* C-7: four commands and two status requests, sent without a pause, wait here while their answers
 * leave. 256 bytes each, so that a u8 wraps where the ring does. */
static volatile uint8_t received[256];
static volatile uint8_t received_head;
static volatile uint8_t received_tail;
static volatile uint8_t sending[256];
static volatile uint8_t sending_head;
static volatile uint8_t sending_tail;

#define DIVISOR ((F_CPU + LASTSPIN_BAUD * 4UL) / (LASTSPIN_BAUD * 8UL) - 1UL)

void serial_start(void) {
  UBRR0 = (uint16_t)DIVISOR;
  UCSR0A = _BV(U2X0);
  UCSR0C = _BV(UCSZ01) | _BV(UCSZ00);
  UCSR0B = _BV(RXEN0) | _BV(TXEN0) | _BV(RXCIE0);
}

/* A byte without a place is lost; the CRC of its frame says so (F-7). T-2: BREAK, which comes as a
 * zero with a frame error, means nothing. */
ISR(USART_RX_vect) {
  const uint8_t status = UCSR0A;
  const uint8_t byte = UDR0;
  const uint8_t head = received_head;
  const uint8_t next = (uint8_t)(head + 1);
  if (status & _BV(FE0)) return;
  if (next == received_tail) return;
  received[head] = byte;
  received_head = next;
}

bool serial_has(void) {
  return received_head != received_tail;
}

uint8_t serial_take(void) {
  const uint8_t tail = received_tail;
  const uint8_t byte = received[tail];
  received_tail = (uint8_t)(tail + 1);
  return byte;
}

/* Writes first and disables behind the last byte: the other way round (found empty, then disabled) an
 * emulator that clears the flag with the interrupt never asks again. */
ISR(USART_UDRE_vect) {
  const uint8_t tail = sending_tail;
  const uint8_t next = (uint8_t)(tail + 1);
  UDR0 = sending[tail];
  sending_tail = next;
  if (next == sending_head) UCSR0B = (uint8_t)(UCSR0B & ~_BV(UDRIE0));
}

uint8_t serial_room(void) {
  return (uint8_t)(sending_tail - sending_head - 1);
}

void serial_send(uint8_t byte) {
  const uint8_t head = sending_head;
  const uint8_t next = (uint8_t)(head + 1);
  if (next == sending_tail) return;
  const uint8_t interrupts = SREG;
  cli();
  sending[head] = byte;
  sending_head = next;
  UCSR0B |= _BV(UDRIE0);
  SREG = interrupts;
}
