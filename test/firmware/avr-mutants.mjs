/** Whether the tests of the AVR firmware notice: builds it with one thing broken at a time and expects
 * the test that guards that thing to fail. Needs gcc-avr and avr-libc; a few minutes.
 *
 *     node test/firmware/avr-mutants.mjs [WORD in the mutant's name] */
import { execFile, execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const root = join(import.meta.dirname, '../..');
const firmware = join(root, 'firmware-protocol/firmware');
const run = promisify(execFile);
/** The tests are one thread each. */
const atOnce = 2;

/** name · file · what stands there · what stands there instead · the test that fails. */
const mutants = [
  // The board's own part: restarts.
  [
    'a power-on counts as the reset line',
    'avr/main.c',
    'return LASTSPIN_BOOT_POWER_ON;',
    'return LASTSPIN_BOOT_RESET_LINE;',
    'after powerOn the rails are off',
  ],
  [
    'a brown-out counts as the watchdog',
    'avr/main.c',
    'return LASTSPIN_BOOT_BROWN_OUT;',
    'return LASTSPIN_BOOT_WATCHDOG;',
    'after brownOut the rails are off',
  ],
  [
    'what Optiboot says is not read',
    'avr/main.c',
    'flags = flags_of_loader;',
    ';',
    'behind Optiboot',
  ],
  ['no watchdog', 'avr/main.c', 'wdt_enable(WATCHDOG);', 'wdt_disable();', 'a program that hangs'],
  [
    'the watchdog is fed by an interrupt',
    'avr/main.c',
    '{ elapsed_ms++; }',
    '{ elapsed_ms++; wdt_reset(); }',
    'a program that hangs',
  ],
  [
    'the record is not kept',
    'avr/main.c',
    'kept.records[next] = *record;',
    '(void)record;',
    'the reset line',
  ],
  [
    'the record has one place',
    'avr/main.c',
    'const uint8_t next = kept.current == 0 ? 1 : 0;',
    'const uint8_t next = 0;',
    'a reset in the middle of a save',
  ],
  [
    'cold starts have one number',
    'avr/main.c',
    'return count * 2654435769UL;',
    'return count != 0;',
    'every start has a number',
  ],
  [
    'the pins are left floating',
    'avr/main.c',
    'DDRD |= PIN_GATE_5 | PIN_GATE_12;',
    '',
    'with its first power',
  ],
  [
    'the EEPROM before the pins',
    'avr/main.c',
    'if (saved == NULL) lastspin_port_set_rails(0);',
    '',
    'with its first power',
  ],
  [
    'direction first, level then',
    'avr/main.c',
    '  uint8_t gates = 0;',
    '  DDRD |= PIN_GATE_5 | PIN_GATE_12;\n  uint8_t gates = 0;',
    'the reset line',
  ],
  // Its pins and its time.
  [
    'the gates are swapped',
    'avr/board.h',
    '#define PIN_GATE_5 _BV(4)\n#define PIN_GATE_12 _BV(5)',
    '#define PIN_GATE_5 _BV(5)\n#define PIN_GATE_12 _BV(4)',
    'on: 5 V, then 12 V',
  ],
  [
    'the 12 V gate is not switched',
    'avr/main.c',
    'gates |= PIN_GATE_12;',
    ';',
    'on: 5 V, then 12 V',
  ],
  ['no light', 'avr/main.c', 'show_light(now_ms);\n      /*', '/*', 'on: 5 V, then 12 V'],
  ['no hold output', 'avr/main.c', 'PORTD |= PIN_HOLD;', ';', 'rests come by'],
  [
    'a slow clock',
    'avr/main.c',
    '(F_CPU / 64 / 1000 - 1)',
    '(F_CPU / 64 / 1000)',
    'milliseconds are milliseconds',
  ],
  [
    'the transmitter is disabled late',
    'avr/serial.c',
    'if (next == sending_head) UCSR0B',
    'if (next != sending_head) UCSR0B',
    'a power-only imager',
  ],
  // What it measures.
  [
    'all is claimed',
    'avr/main.c',
    'settings.capabilities = can;',
    'settings.capabilities = can | 0x2180;',
    'with .no sensor',
  ],
  [
    'a bus that stands still is waited for',
    'avr/sensors.c',
    'now_ms - transfer.begun_ms >= TRANSFER_MS_MAX',
    'false',
    'a sensor that goes',
  ],
  [
    'a stop that does not end is waited for',
    'avr/sensors.c',
    '} else if (now_ms - transfer.begun_ms >= TRANSFER_MS_MAX) {\n      give_up();',
    '} else if (false) {\n      give_up();',
    'stuck-at-stop',
  ],
  [
    'any word of a loader is believed',
    'avr/main.c',
    '(flags_of_loader & (uint8_t)~known) == 0',
    'true',
    'a loader that hides',
  ],
  [
    'a lost sensor keeps its last word',
    'avr/sensors.c',
    'sensors[sensor].reading.measured = false;',
    '',
    'a sensor that goes',
  ],
  [
    'a sensor is set only once',
    'avr/sensors.c',
    'if (!round_of.searches && round_of.step',
    'if (round_of.step',
    'a power-only imager',
  ],
  [
    'amps doubled',
    'avr/sensors.c',
    '(uint16_t)(counts / 4U)',
    '(uint16_t)(counts / 2U)',
    'on: 5 V, then 12 V',
  ],
  ['volts wrong', 'avr/sensors.c', '* 5U / 4U', '* 5U / 3U', 'on: 5 V, then 12 V'],
  [
    'sensors are read seldom',
    'avr/sensors.c',
    '#define ROUND_MS 2',
    '#define ROUND_MS 20',
    'over-current on',
  ],
  [
    'a broken wire is a temperature',
    'avr/sensors.c',
    '#define COUNTS_OPEN 1000',
    '#define COUNTS_OPEN 2000',
    'with .no sensor',
  ],
  [
    'a short is a temperature',
    'avr/sensors.c',
    'counts >= COUNTS_OPEN || counts <= COUNTS_SHORTED',
    'counts >= COUNTS_OPEN',
    'a thermistor whose wire is shorted',
  ],
  [
    'no degrees between the table’s',
    'avr/sensors.c',
    'tenths + (int16_t)part',
    'tenths',
    'degrees are measured',
  ],
  [
    'the activity line is not heard',
    'avr/sensors.c',
    'activity_seen = true;',
    '',
    'the activity line is heard',
  ],
  // The gates and guards of the core.
  [
    '12 V first',
    'core/power.c',
    'gap_ms > 0 ? LASTSPIN_RAIL_5V : LASTSPIN_RAILS',
    'LASTSPIN_RAIL_12V',
    'on: 5 V, then 12 V',
  ],
  [
    '5 V goes first',
    'core/power.c',
    'set_rails(device, power->rails & LASTSPIN_RAIL_5V);',
    'set_rails(device, power->rails & LASTSPIN_RAIL_12V);',
    'on: 5 V, then 12 V',
  ],
  [
    'a rail may stay low',
    'core/power.c',
    'else if (low >= 0 && is_late) fail_rise(device, (uint8_t)low);',
    'else if (is_late) rail_is_up(device);',
    'a rail that does not rise',
  ],
  [
    'the off-time counts from the cut',
    'core/power.c',
    ': millivolts >= DOWN_MILLIVOLTS;',
    ': false;',
    'a cycle counts',
  ],
  [
    'no discharge time',
    'core/power.c',
    'device->power.since_cut_ms < device->settings->discharge_ms',
    'false',
    'without sensors it counts',
  ],
  [
    'a rail that stays up is not told of',
    'core/power.c',
    'say_rail_fault(device, (uint8_t)up, LASTSPIN_RAIL_NO_FALL);',
    '(void)up;',
    'a rail that does not fall',
  ],
  [
    'no over-current trip',
    'core/power.c',
    '  guard_current(device);\n',
    '  (void)guard_current;\n',
    'over-current on',
  ],
  [
    'the trip is not blanked',
    'core/power.c',
    '(!blanked && milliamps > asked[rail])',
    '(milliamps > asked[rail])',
    'a motor that starts',
  ],
  [
    'the blanked trip has no maximum',
    'core/power.c',
    'milliamps > milliamps_max[rail] ||',
    'milliamps == 0xfffe ||',
    'a motor that starts',
  ],
  [
    'no heat trip',
    'core/power.c',
    '  guard_heat(device);\n',
    '  (void)guard_heat;\n',
    'heat is told of',
  ],
  [
    'hot drives are switched on',
    'core/power.c',
    'if (action == LASTSPIN_POWER_ON && is_too_hot(device)) return',
    'if (false) return',
    'heat is told of',
  ],
  [
    'tripped rails come back on request',
    'core/power.c',
    'if (cell == LASTSPIN_TO_LIMIT) return LASTSPIN_REPLY_LIMIT;',
    'if (cell == LASTSPIN_TO_LIMIT) switch_on(device);',
    'over-current on',
  ],
  [
    'rails are not restored',
    'core/power.c',
    'saved ? LASTSPIN_INPUT_RESTART : LASTSPIN_INPUT_BOOT',
    'LASTSPIN_INPUT_BOOT',
    'a program that hangs',
  ],
  [
    'any record is believed',
    'core/device.c',
    'saved->crc == record_crc(saved) &&',
    '',
    'a record that does not hold',
  ],
  [
    'the trip does not outlive a restart',
    'core/power.c',
    'lastspin_power_apply(device, LASTSPIN_INPUT_OVER_CURRENT);',
    'device->power.state = LASTSPIN_STATE_TRIPPED;',
    'switches nothing on',
  ],
  // Silence, rests, the line.
  [
    'no dead-man',
    'core/watch.c',
    '  watch_silence(device);\n',
    '  (void)watch_silence;\n',
    'the rails go at the time',
  ],
  [
    'garbage counts as a word',
    'core/device.c',
    'device->frames_discarded++;',
    'device->frames_discarded++;\n        lastspin_watch_heard(device);',
    'garbage is no word',
  ],
  ['another default', 'core/watch.c', '3600000}', '3000000}', 'a hard drive has an hour'],
  [
    'a restart forgets the times',
    'core/watch.c',
    'saved ? saved->watchdog_ms : hard_drive_ms',
    'hard_drive_ms',
    'a restart keeps the time',
  ],
  [
    'the clock may not wrap',
    'core/device.c',
    'if (by_ms == 0) return;',
    'if (by_ms == 0 || now_ms < device->now_ms) return;',
    'after 49.7 days',
  ],
  [
    'rests drift',
    'core/watch.c',
    '  watch->worked_ms = 0;\n  lastspin_port_hold(true);',
    '  watch->worked_ms = 0;\n  watch->rest_left_ms += 2;\n  lastspin_port_hold(true);',
    'rests come by',
  ],
  [
    'frames have no end',
    'core/frame.c',
    'if (receiver->stuffed_bytes == LASTSPIN_STUFFED_BYTES_MAX) {',
    'if (receiver->stuffed_bytes == 60000) {',
    'garbage does no harm',
  ],
];

function build(folder, [name, file, from, to]) {
  for (const part of ['avr', 'core']) {
    cpSync(join(firmware, part), join(folder, part), { recursive: true });
  }
  const path = join(folder, file);
  const text = readFileSync(path, 'utf8');
  const mutated = text.replace(from, () => to);
  if (mutated === text) throw new Error(`${name}: ${file} does not say “${from}”`);
  writeFileSync(path, mutated);
  // A mutant may leave things unused.
  execFileSync('make', ['-s', '-C', join(folder, 'avr'), '-f', 'avr.mk', 'mutant'], {
    stdio: 'pipe',
  });
  return join(folder, 'avr/build');
}

/** Whether the mutant's test fails; throws when no such test ran. */
async function isNoticed(folder, test) {
  const vitest = join(root, 'node_modules/vitest/vitest.mjs');
  const words = ['run', 'test/firmware/avr.test.ts', '-t', test, '--testTimeout', '60000'];
  const env = { ...process.env, LASTSPIN_AVR_FOLDER: folder };
  try {
    const { stdout } = await run(process.execPath, [vitest, ...words], { cwd: root, env });
    if (/Tests .*passed/.test(stdout)) return false;
    throw new Error(`no test is called “${test}”`);
  } catch (error) {
    if (/Tests .*failed/.test(error.stdout ?? '')) return true;
    throw error;
  }
}

async function judge(mutant) {
  const folder = mkdtempSync(join(tmpdir(), 'lastspin-mutant-'));
  try {
    return await isNoticed(build(folder, mutant), mutant[4]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const word = process.argv[2] ?? '';
const chosen = mutants.filter(([name]) => name.includes(word));
let missed = 0;

async function work() {
  for (let mutant = chosen.shift(); mutant; mutant = chosen.shift()) {
    const [name, , , , test] = mutant;
    const verdict = await judge(mutant).then(
      (noticed) => (noticed ? 'noticed' : 'MISSED'),
      (error) => `BROKEN: ${error.stderr?.toString() || error.message}`,
    );
    if (verdict !== 'noticed') missed++;
    console.log(`${verdict}: ${name} (${test})`);
  }
}

const count = chosen.length;
await Promise.all(Array.from({ length: atOnce }, work));
console.log(`${count - missed} of ${count} mutants noticed`);
process.exitCode = missed > 0 || count === 0 ? 1 : 0;
