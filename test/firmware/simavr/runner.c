/* The AVR firmware in simavr, in real time: its serial line on standard input and output, its gates as
 * lines on standard error. A program of its own, since simavr is under the GPL; nothing of it ships.
 *
 *     runner lastspin-avr.hex
 *
 * SIGUSR1: the program goes round on the spot until the watchdog bites. SIGUSR2: the reset line.
 * SIGTERM, or the end of standard input: the end. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <simavr/avr_uart.h>
#include <simavr/sim_avr.h>
#include <simavr/sim_hex.h>
#include <simavr/sim_io.h>
#include <simavr/sim_regbit.h>

/* Data addresses of port D; its bits 4 and 5 are the gates. */
enum { DDRD = 0x2a, PORTD = 0x2b, GATE_5 = 4, GATE_12 = 5 };
enum { CYCLES_A_LOOK = 8000, LOOP_LOW = 0xff, LOOP_HIGH = 0xcf };

static volatile sig_atomic_t asked_hang, asked_reset, asked_end;
static avr_irq_t *uart_input;
static bool uart_takes = true;
static unsigned char waiting[4096];
static size_t waiting_from, waiting_to;

static void on_signal(int number) {
  if (number == SIGUSR1) asked_hang = 1;
  if (number == SIGUSR2) asked_reset = 1;
  if (number == SIGTERM) asked_end = 1;
}

static void on_byte(struct avr_irq_t *irq, uint32_t value, void *param) {
  (void)irq;
  (void)param;
  const unsigned char byte = (unsigned char)value;
  if (write(STDOUT_FILENO, &byte, 1) != 1) asked_end = 1;
}

static void on_ready(struct avr_irq_t *irq, uint32_t value, void *param) {
  (void)irq;
  (void)value;
  (void)param;
  uart_takes = true;
}

static void on_full(struct avr_irq_t *irq, uint32_t value, void *param) {
  (void)irq;
  (void)value;
  (void)param;
  uart_takes = false;
}

static void connect_uart(avr_t *avr) {
  uint32_t flags = 0;
  avr_ioctl(avr, AVR_IOCTL_UART_GET_FLAGS('0'), &flags);
  flags &= ~(uint32_t)(AVR_UART_FLAG_STDIO | AVR_UART_FLAG_POLL_SLEEP);
  avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS('0'), &flags);
  uart_input = avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT);
  avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT), on_byte, NULL);
  avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XON), on_ready, NULL);
  avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XOFF), on_full, NULL);
}

static void take_input(void) {
  if (waiting_from == waiting_to) {
    const ssize_t count = read(STDIN_FILENO, waiting, sizeof waiting);
    if (count == 0) asked_end = 1;
    if (count < 0 && errno != EAGAIN && errno != EINTR) asked_end = 1;
    waiting_from = 0;
    waiting_to = count > 0 ? (size_t)count : 0;
  }
  while (uart_takes && waiting_from < waiting_to) avr_raise_irq(uart_input, waiting[waiting_from++]);
}

static const char *level_of(const avr_t *avr, int bit) {
  if ((avr->data[DDRD] >> bit & 1) == 0) return "floating";
  return (avr->data[PORTD] >> bit & 1) != 0 ? "high" : "low";
}

static void tell_gates(const avr_t *avr) {
  static const char *told[2] = {"", ""};
  const char *now[2] = {level_of(avr, GATE_5), level_of(avr, GATE_12)};
  if (strcmp(told[0], now[0]) == 0 && strcmp(told[1], now[1]) == 0) return;
  told[0] = now[0];
  told[1] = now[1];
  fprintf(stderr, "gates %s %s\n", now[0], now[1]);
}

/* What stood in flash where the program was made to hang. */
static struct {
  bool is;
  avr_flashaddr_t at;
  uint8_t was[2];
} hung;

static void hang(avr_t *avr) {
  hung.is = true;
  hung.at = avr->pc;
  memcpy(hung.was, &avr->flash[avr->pc], 2);
  avr->flash[avr->pc] = LOOP_LOW;
  avr->flash[avr->pc + 1] = LOOP_HIGH;
  avr->state = cpu_Running;
}

static void heal(avr_t *avr) {
  memcpy(&avr->flash[hung.at], hung.was, 2);
  hung.is = false;
  fprintf(stderr, "restarted\n");
}

static void carry_out(avr_t *avr) {
  if (asked_hang) hang(avr);
  if (asked_reset) {
    avr_reset(avr);
    avr_regbit_set(avr, avr->reset_flags.extrf);
    fprintf(stderr, "restarted\n");
  }
  asked_hang = asked_reset = 0;
}

static avr_t *make_chip(const char *path) {
  uint32_t bytes = 0;
  uint32_t start = 0;
  uint8_t *program = read_ihex_file(path, &bytes, &start);
  avr_t *avr = program ? avr_make_mcu_by_name("atmega328p") : NULL;
  if (!avr) return NULL;
  avr_init(avr);
  avr->frequency = 16000000;
  avr_loadcode(avr, program, bytes, start);
  avr->codeend = avr->flashend;
  avr->log = LOG_NONE;
  free(program);
  return avr;
}

int main(int argc, char **argv) {
  avr_t *avr = argc == 2 ? make_chip(argv[1]) : NULL;
  if (!avr) {
    fprintf(stderr, "runner: no HEX file, or no ATmega328P\n");
    return 2;
  }
  signal(SIGUSR1, on_signal);
  signal(SIGUSR2, on_signal);
  signal(SIGTERM, on_signal);
  fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK);
  connect_uart(avr);
  avr_cycle_count_t looked = 0;
  while (!asked_end) {
    const int state = avr_run(avr);
    if (state == cpu_Done || state == cpu_Crashed) return 3;
    if (hung.is && avr->pc == 0) heal(avr);
    tell_gates(avr);
    /* A restart sets the cycles back. */
    if (avr->cycle >= looked && avr->cycle - looked < CYCLES_A_LOOK) continue;
    looked = avr->cycle;
    take_input();
    carry_out(avr);
  }
  return 0;
}
