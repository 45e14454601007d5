/** The compiled firmware for an Arduino Nano on an emulated board, spoken to by the production client.
 * What counts is the level of its gates, and when. `avr-mutants.mjs` has for each test a change of the
 * C that it must notice. */
import { describe, expect, test } from 'vitest';
import type { Caller } from '../../firmware-protocol/caller.js';
import {
  bootCauses,
  capabilityBits,
  commands,
  helloMagic,
  notMeasured,
  powerActions,
  powerStates,
  protocolVersion,
} from '../../firmware-protocol/commands.js';
import { encodeFrame } from '../../firmware-protocol/frame.js';
import { encodeMessage } from '../../firmware-protocol/message.js';
import { type Bench, createBench, type TimedEvent } from './avr-bench.js';
import type { AvrBoard, AvrBoardOptions } from './avr-board.js';
import { cyclesPerMs } from './avr-chip.js';
import type { Edge, Gate } from './avr-rails.js';

const never = { stopReadsMs: 0, unloadMs: 0, standbyMs: 0, offMs: 0 };
/** Ask for the imager's own. */
const ownLimits = {
  rail5MilliampsMax: 0,
  rail12MilliampsMax: 0,
  blankingMs: 0,
  parkTemperature: notMeasured.temperature,
  offTemperature: notMeasured.temperature,
};
/** P-5. */
const railGapMs = 10;
/** Behind a pin that changed: the gate's capacitor. */
const gateMs = 2;
/** The chip's start-up time after any reset, in which it runs nothing. */
const startUpMs = 65;
const watchdogMs = 128;

const power = (caller: Caller, action: keyof typeof powerActions, offMs = 0) =>
  caller.call(commands.power, { action: powerActions[action], offMs, standbyFirst: 0 });

const statusOf = (bench: Bench, caller: Caller) => bench.run(caller.call(commands.status, {}));

const isOn = ({ gate5, gate12 }: AvrBoard) => gate5.isOn && gate12.isOn;
const isOff = ({ gate5, gate12 }: AvrBoard) => !gate5.isOn && !gate12.isOn;

/** When a gate changed first after a moment; it must have. */
function changeAfter(gate: Gate, atMs: number): Edge<boolean> {
  const edge = gate.conducts.find((candidate) => candidate.atMs > atMs);
  if (!edge) throw new Error(`no change after ${atMs} ms`);
  return edge;
}

/** P-5, over everything that ever happened: 12 V is never on without 5 V. */
function expectNever12Alone({ gate5, gate12 }: AvrBoard): void {
  for (const { atMs } of [...gate5.conducts, ...gate12.conducts]) {
    const at = (gate: Gate) => gate.conducts.findLast((edge) => edge.atMs <= atMs)!.level;
    expect(at(gate12) && !at(gate5), `12 V alone at ${atMs} ms`).toBe(false);
  }
}

function eventsOf<K extends TimedEvent['kind']>(bench: Bench, kind: K) {
  return bench.events.filter((event) => event.kind === kind) as Extract<TimedEvent, { kind: K }>[];
}

/** HELLO of a program that does not wait for answers, many times. */
function hellos(count: number): Uint8Array {
  const { code, request } = commands.hello;
  const value = { magic: helloMagic, ...protocolVersion, frameBytesMax: 256, session: 7 };
  const frame = encodeFrame(encodeMessage(code, 0, request, value));
  return Buffer.concat(Array.from({ length: count }, () => frame));
}

/** Bytes of a line that nobody drives. */
function noise(seed: number, count: number): Uint8Array {
  let state = seed + 1;
  return Uint8Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 24;
  });
}

async function start(options: AvrBoardOptions = {}): Promise<Bench> {
  const bench = createBench(options);
  // Its sensors are found and the thermistor is measured.
  await bench.advance(250);
  return bench;
}

/** A board whose drive has power. */
async function startOn(options: AvrBoardOptions = {}) {
  const bench = await start(options);
  const caller = await bench.call();
  await bench.run(power(caller, 'on'));
  await bench.advance(150);
  expect(isOn(bench.board)).toBe(true);
  return { bench, caller, board: bench.board };
}

describe('what it is', () => {
  test('a power-only imager with all that its board measures', async () => {
    const bench = await start();
    const drive = await bench.open();
    expect(drive.firmware).toBe('lastspin-avr 1.0');
    expect(drive.capabilities).toMatchObject({ power: true, park: false });
    expect(await bench.run(drive.status())).toMatchObject({
      powerState: 'off',
      temperatureCelsius: 30,
      rail5: { millivolts: 0, milliamps: 0 },
      rail12: { millivolts: 0, milliamps: 0 },
      powerCycles: 0,
      framesDiscarded: 0,
    });
    await bench.run(drive.close());
    const { agreed } = await bench.call(2);
    const has = capabilityBits;
    expect(agreed).toMatchObject({
      capabilities:
        has.power |
        has.throttle |
        has.sense |
        has.temperature |
        has.watchdog |
        has.activity |
        has.limits,
      frameBytesMax: 256,
      commandsMax: 4,
      requestsMax: 0,
      bootCause: bootCauses.powerOn,
    });
  });

  test.each([
    { what: 'no sensor', sensor5: 'missing', sensor12: 'missing' },
    { what: 'one that holds the bus', sensor5: 'stuck', sensor12: 'stuck' },
  ] as const)('with $what it switches all the same, and does not claim to measure', async (board) => {
    const { bench, caller } = await startOn({ ...board, celsius: 'open' });
    const { capabilities } = caller.agreed;
    const { sense, temperature, limits } = capabilityBits;
    expect(capabilities & (sense | temperature | limits)).toBe(0);
    expect(await statusOf(bench, caller)).toMatchObject({
      powerState: powerStates['on-not-ready'],
      temperature: notMeasured.temperature,
      rail5Millivolts: notMeasured.rail,
      rail12Milliamps: notMeasured.rail,
    });
    expect(bench.board.chip.restarts).toBe(0);
  });

  test.each([
    'missing',
    'stuck',
    'stuck-at-stop',
  ] as const)('a sensor that goes (%s) is not measured within moments, and is found again', async (how) => {
    const { bench, caller, board } = await startOn();
    const rails = async () => {
      const { rail5Millivolts, rail12Millivolts } = await statusOf(bench, caller);
      return [rail5Millivolts, rail12Millivolts];
    };
    expect(await rails()).toEqual([5000, 12_000]);
    board.sensor5.state = how;
    await bench.advance(30);
    expect(await rails()).toEqual([notMeasured.rail, 12_000]);
    board.sensor5.state = 'fitted';
    await bench.advance(1100);
    expect(await rails()).toEqual([5000, 12_000]);
    expect(board.sensor5.configuration).toBe(board.sensor12.configuration);
    expect(board.chip.restarts).toBe(0);
    expect(isOn(board)).toBe(true);
  });

  test.each([-10, 5, 25, 43, 60, 85])('%d degrees are measured to one', async (celsius) => {
    const bench = await start({ celsius });
    const { temperature } = await statusOf(bench, await bench.call());
    expect(Math.abs(temperature / 10 - celsius)).toBeLessThanOrEqual(1);
  });

  test('a thermistor whose wire is shorted is not measured', async () => {
    const bench = await start({ celsius: 'shorted' });
    const { temperature } = await statusOf(bench, await bench.call());
    expect(temperature).toBe(notMeasured.temperature);
  });

  test('the activity line is heard', async () => {
    const bench = await start();
    const caller = await bench.call();
    await bench.advance(500);
    expect((await statusOf(bench, caller)).quietMs).toBeGreaterThan(500);
    bench.board.blink();
    const blinkedMs = bench.board.nowMs;
    const { quietMs } = await statusOf(bench, caller);
    expect(quietMs).toBeLessThanOrEqual(bench.board.nowMs - blinkedMs);
  });
});

describe('power', () => {
  test('on: 5 V, then 12 V 10 ms later; off: 12 V, then 5 V', async () => {
    const bench = await start();
    const { board } = bench;
    const drive = await bench.open();
    const askedMs = board.nowMs;
    await bench.run(drive.power!.set(true));
    const on5 = changeAfter(board.gate5, askedMs);
    const on12 = changeAfter(board.gate12, askedMs);
    // Its request is on the line for two milliseconds.
    expect(on5).toMatchObject({ level: true });
    expect(on5.atMs - askedMs).toBeLessThan(5);
    expect(on12.atMs - on5.atMs).toBeGreaterThan(railGapMs - 2);
    expect(on12.atMs - on5.atMs).toBeLessThan(railGapMs + 2);
    expect(await bench.run(drive.status())).toMatchObject({
      powerState: 'on-not-ready',
      powerCycles: 1,
      rail5: { millivolts: 5000, milliamps: 900 },
      rail12: { millivolts: 12_000, milliamps: 2000 },
    });
    expect(board.light).toBe('high');

    const offMs = board.nowMs;
    await bench.run(drive.power!.set(false));
    await bench.advance(20);
    const off12 = changeAfter(board.gate12, offMs);
    const off5 = changeAfter(board.gate5, offMs);
    expect(off12.atMs - offMs).toBeLessThan(5);
    expect(off5.atMs - off12.atMs).toBeGreaterThan(railGapMs - 2);
    expect(off5.atMs - off12.atMs).toBeLessThan(railGapMs + 2);
    expect(board.light).toBe('low');
    expectNever12Alone(board);
  });

  test('a cycle counts its off-time from rails that are really down', async () => {
    const { bench, caller, board } = await startOn();
    const askedMs = board.nowMs;
    await bench.run(power(caller, 'cycle', 1000));
    await bench.advance(1500);
    const [off, on] = board.gate5.conducts.filter((edge) => edge.atMs > askedMs);
    // 12 V takes 190 ms to empty, with nobody to tell but the sensor.
    const downMs = off!.atMs + 190;
    expect(on!.atMs - downMs).toBeGreaterThan(980);
    expect(on!.atMs - downMs).toBeLessThan(1020);
    expect(isOn(board)).toBe(true);
    expect((await statusOf(bench, caller)).powerCycles).toBe(2);
  });

  test('without sensors it counts from the discharge time that was built in', async () => {
    const { bench, caller, board } = await startOn({ sensor5: 'missing', sensor12: 'missing' });
    const askedMs = board.nowMs;
    await bench.run(power(caller, 'cycle', 500));
    await bench.advance(3000);
    const [off, on] = board.gate12.conducts.filter((edge) => edge.atMs > askedMs);
    expect(on!.atMs - off!.atMs).toBeGreaterThan(2500);
    expect(on!.atMs - off!.atMs).toBeLessThan(2500 + 2 * railGapMs);
  });

  test('a rail that does not rise cuts both', async () => {
    const bench = await start();
    const { board } = bench;
    board.rail12.load.supply = 0;
    const caller = await bench.call();
    const askedMs = board.nowMs;
    await bench.run(power(caller, 'on'));
    await bench.advance(100);
    const on12 = changeAfter(board.gate12, askedMs);
    for (const gate of [board.gate5, board.gate12]) {
      const off = changeAfter(gate, on12.atMs + gateMs);
      expect(off.level).toBe(false);
      expect(off.atMs - on12.atMs).toBeGreaterThan(45);
      expect(off.atMs - on12.atMs).toBeLessThan(55);
    }
    expect(eventsOf(bench, 'rail-fault')).toMatchObject([{ rail: 12, fault: 'noRise' }]);
    expect((await statusOf(bench, caller)).powerState).toBe(powerStates.tripped);
    await expect(bench.run(power(caller, 'on'))).rejects.toThrow('limit');
    expect(isOff(board)).toBe(true);
  });

  test('a board for 5 V alone needs no 12 V', async () => {
    const bench = await start({ sensor12: 'missing' });
    bench.board.rail12.load.supply = 0;
    const caller = await bench.call();
    await bench.run(power(caller, 'on'));
    await bench.advance(200);
    expect(await statusOf(bench, caller)).toMatchObject({
      powerState: powerStates['on-not-ready'],
      rail5Millivolts: 5000,
      rail12Millivolts: notMeasured.rail,
    });
    expect(bench.board.gate5.isOn).toBe(true);
  });

  test('a rail that does not fall is told of, and its off-time does not begin', async () => {
    const { bench, caller, board } = await startOn();
    board.rail5.load.stuckOn = true;
    const askedMs = board.nowMs;
    await bench.run(power(caller, 'cycle', 100));
    await bench.advance(5500);
    const [fault] = eventsOf(bench, 'rail-fault');
    expect(fault).toMatchObject({ rail: 5, fault: 'noFall' });
    expect(fault!.atMs - askedMs).toBeGreaterThan(4900);
    expect((await statusOf(bench, caller)).powerState).toBe(powerStates.cooling);
    board.rail5.load.stuckOn = false;
    await bench.until(() => isOn(board), 1000);
  });
});

describe('guards', () => {
  test.each([
    { rail: 12, milliamps: 3500 },
    { rail: 5, milliamps: 2500 },
  ] as const)('over-current on $rail V is cut within 10 ms', async ({ rail, milliamps }) => {
    const { bench, caller, board } = await startOn();
    await bench.run(caller.call(commands.limits, { ...ownLimits, blankingMs: 500 }));
    await bench.run(power(caller, 'cycle', 0));
    await bench.advance(1500);
    expect(isOn(board)).toBe(true);
    // Whatever the moment between two looks at the sensors.
    const fromMs = board.nowMs + 0.3;
    board[`rail${rail}`].load.overload = { milliamps, fromMs };
    await bench.advance(15);
    for (const gate of [board.gate5, board.gate12]) {
      const off = changeAfter(gate, fromMs);
      expect(off.level).toBe(false);
      expect(off.atMs - fromMs).toBeLessThan(10);
    }
    expect(eventsOf(bench, 'rail-fault')).toMatchObject([{ rail, fault: 'overCurrent' }]);
    expect((await statusOf(bench, caller)).powerState).toBe(powerStates.tripped);
    await expect(bench.run(power(caller, 'on'))).rejects.toThrow('limit');

    board[`rail${rail}`].load.overload = undefined;
    await bench.run(power(caller, 'off'));
    await bench.until(() => board.rail12.downSinceMs !== undefined, 500);
    await bench.advance(10);
    await bench.run(power(caller, 'on'));
    await bench.until(() => isOn(board), 100);
    expectNever12Alone(board);
  });

  test('a motor that starts is let through, but not above what the board can take', async () => {
    const { bench, caller, board } = await startOn();
    await bench.run(caller.call(commands.limits, { ...ownLimits, rail12MilliampsMax: 1000 }));
    await bench.advance(2000);
    expect(isOn(board)).toBe(true);
    const fromMs = board.nowMs;
    board.rail12.load.overload = { milliamps: 3500, fromMs };
    await bench.advance(15);
    expect(changeAfter(board.gate12, fromMs).atMs - fromMs).toBeLessThan(10);
  });

  test('the trip is as quick under a flood of requests', async () => {
    const { bench, caller, board } = await startOn();
    await bench.run(caller.call(commands.limits, { ...ownLimits, blankingMs: 1 }));
    await bench.run(power(caller, 'cycle', 0));
    board.rail12.load.spinUpMs = 0;
    board.rail5.load.spinUpMs = 0;
    await bench.advance(600);
    board.send(hellos(40));
    await bench.advance(30);
    const fromMs = board.nowMs;
    board.rail12.load.overload = { milliamps: 3500, fromMs };
    await bench.advance(15);
    expect(changeAfter(board.gate12, fromMs).atMs - fromMs).toBeLessThan(10);
    expect(isOff(board)).toBe(true);
  });

  test('heat is told of, then cut, and keeps the drive off until it has passed', async () => {
    const { bench, caller, board } = await startOn();
    await bench.run(caller.call(commands.limits, ownLimits));
    board.celsius = 54;
    await bench.advance(1500);
    expect(eventsOf(bench, 'over-temperature')).toMatchObject([{ action: 'told' }]);
    expect(isOn(board)).toBe(true);
    const hotMs = board.nowMs;
    board.celsius = 61;
    await bench.until(() => isOff(board), 10_000);
    expect(board.nowMs - hotMs).toBeLessThan(2000);
    await bench.advance(20);
    expect(eventsOf(bench, 'over-temperature')).toMatchObject([{}, { action: 'off' }]);
    await bench.run(power(caller, 'off'));
    await bench.advance(500);
    await expect(bench.run(power(caller, 'on'))).rejects.toThrow('limit');
    board.celsius = 40;
    await bench.advance(1500);
    await bench.run(power(caller, 'on'));
    await bench.until(() => isOn(board), 100);
  });
});

describe('a laptop that falls silent', () => {
  test('the rails go at the time that it was told, counted from the last word', async () => {
    const { bench, caller, board } = await startOn();
    await bench.run(caller.call(commands.watchdog, { ...never, offMs: 2500 }));
    await bench.advance(4500);
    expect(isOn(board)).toBe(true);
    await statusOf(bench, caller);
    const lastMs = board.nowMs;
    caller.close();
    await bench.advance(2600);
    // The last word came in before its answer went out.
    const off = changeAfter(board.gate12, lastMs);
    expect(off.atMs - lastMs).toBeGreaterThan(2500 - 10);
    expect(off.atMs - lastMs).toBeLessThan(2500 + 5);
    expect(isOff(board)).toBe(true);
    expectNever12Alone(board);
  });

  test('garbage is no word, and 12 V is not cut before 5 V knows', async () => {
    const { bench, caller, board } = await startOn();
    await bench.run(caller.call(commands.watchdog, { ...never, offMs: 1000 }));
    const lastMs = board.nowMs;
    caller.close();
    for (let count = 0; count < 12; count++) {
      board.send(noise(count, 200));
      await bench.advance(100);
    }
    expect(changeAfter(board.gate5, lastMs).atMs - lastMs).toBeLessThan(1000 + 2 * railGapMs);
  });

  test('until it is told, a hard drive has an hour', async () => {
    const { bench, caller, board } = await startOn();
    caller.close();
    bench.skip(3600_000 - 1000);
    await bench.advance(500);
    expect(isOn(board)).toBe(true);
    await bench.advance(700);
    expect(isOff(board)).toBe(true);
  });

  test('a restart keeps the time and starts the silence anew', async () => {
    const { bench, caller, board } = await startOn();
    await bench.run(caller.call(commands.watchdog, { ...never, offMs: 1000 }));
    caller.close();
    await bench.advance(600);
    board.restart('resetLine');
    const againMs = board.nowMs + startUpMs;
    await bench.advance(2000);
    const off = changeAfter(board.gate12, againMs);
    expect(off.atMs - againMs).toBeGreaterThan(990);
    expect(off.atMs - againMs).toBeLessThan(1030);
  });
});

describe('restarts', () => {
  test('with its first power the pins are low and stay so, whatever the RAM holds', async () => {
    const bench = await start();
    const { board } = bench;
    const levels = (gate: Gate) => gate.pin.map((edge) => edge.level);
    expect(levels(board.gate5)).toEqual(['floating', 'low']);
    expect(levels(board.gate12)).toEqual(['floating', 'low']);
    // As soon as it runs at all.
    expect(board.gate5.pin[1]!.atMs).toBeLessThan(startUpMs + 5);
  });

  test.each(['powerOn', 'brownOut'] as const)('after %s the rails are off', async (cause) => {
    const { bench, board } = await startOn();
    // Too short a loss for the RAM to forget what it held.
    board.restart(cause, { ram: 'kept' });
    const againMs = board.nowMs + startUpMs;
    await bench.advance(500);
    expect(changeAfter(board.gate5, againMs).atMs - againMs).toBeLessThan(5);
    expect(isOff(board)).toBe(true);
    const caller = await bench.call(2);
    expect(caller.agreed.bootCause).toBe(bootCauses[cause]);
    expect((await statusOf(bench, caller)).powerState).toBe(powerStates.off);
  });

  test.each([
    { what: 'the reset line', bootloader: 'none' },
    { what: 'the reset line, behind Optiboot', bootloader: 'optiboot' },
  ] as const)('$what drops no rail', async ({ bootloader }) => {
    const { bench, caller, board } = await startOn({ bootloader });
    const { bootId } = caller.agreed;
    caller.close();
    const resetMs = board.nowMs;
    board.restart('resetLine', { heldMs: 20 });
    await bench.advance(bootloader === 'none' ? 200 : 1200);
    const startedMs = board.chip.startedAtCycle / cyclesPerMs;
    expect(startedMs - resetMs).toBeGreaterThan(startUpMs);
    for (const gate of [board.gate5, board.gate12]) {
      expect(gate.conducts.filter((edge) => edge.atMs > resetMs)).toEqual([]);
      // Let go by the reset, and driven again without a level in between.
      const pins = gate.pin.filter((edge) => edge.atMs >= resetMs);
      expect(pins.map(({ level }) => level)).toEqual(['floating', 'high']);
      const driven = pins[1]!;
      expect(driven.atMs - startedMs).toBeLessThan(20);
    }
    const again = await bench.call(2);
    expect(again.agreed.bootCause).toBe(bootCauses.resetLine);
    expect(again.agreed.bootId).not.toBe(bootId);
    expect((await statusOf(bench, again)).powerState).toBe(powerStates['on-not-ready']);
    expect((await statusOf(bench, again)).powerCycles).toBe(1);
    expect(board.rail12.millivolts).toBe(12_000);
  });

  test('a loader that hides why the chip started leaves the rails off', async () => {
    const { bench, board } = await startOn({ bootloader: 'old' });
    board.restart('watchdog');
    await bench.advance(200);
    expect(isOff(board)).toBe(true);
    expect((await bench.call(2)).agreed.bootCause).toBe(bootCauses.unknown);
  });

  test('without hold capacitors the rails drop, and are back 20 ms after the start', async () => {
    const { bench, board } = await startOn({ holdCapacitor: false });
    const resetMs = board.nowMs;
    board.restart('resetLine');
    await bench.advance(200);
    const [off, on] = board.gate12.conducts.filter((edge) => edge.atMs > resetMs);
    expect(off!.level).toBe(false);
    expect(on!.atMs - board.chip.startedAtCycle / cyclesPerMs).toBeLessThan(20);
    expectNever12Alone(board);
  });

  test('a program that hangs is restarted by the watchdog, and no rail drops', async () => {
    const { bench, caller, board } = await startOn();
    const hungMs = board.nowMs;
    board.chip.hang();
    await bench.until(() => board.chip.restarts === 1, 500);
    expect(board.nowMs - hungMs).toBeLessThan(watchdogMs + 5);
    await bench.advance(200);
    expect(board.gate5.conducts.filter((edge) => edge.atMs > hungMs)).toEqual([]);
    expect(board.gate5.pin.at(-1)!.level).toBe('high');
    caller.close();
    const again = await bench.call(2);
    expect(again.agreed.bootCause).toBe(bootCauses.watchdog);
    expect((await statusOf(bench, again)).powerState).toBe(powerStates['on-not-ready']);
    // And it is off again on request.
    await bench.run(power(again, 'off'));
    await bench.advance(20);
    expect(isOff(board)).toBe(true);
  });

  test('a watchdog restart of a board that was off, cooling or tripped switches nothing on', async () => {
    const { bench, caller, board } = await startOn();
    board.rail12.load.overload = { milliamps: 6000, fromMs: board.nowMs };
    await bench.advance(20);
    expect(isOff(board)).toBe(true);
    caller.close();
    const hungMs = board.nowMs;
    board.chip.hang();
    await bench.advance(watchdogMs + startUpMs + 100);
    expect(board.gate5.conducts.filter((edge) => edge.atMs > hungMs)).toEqual([]);
    const again = await bench.call(2);
    expect((await statusOf(bench, again)).powerState).toBe(powerStates.tripped);
    board.rail12.load.overload = undefined;
    await bench.run(power(again, 'cycle', 700));
    again.close();
    await bench.advance(300);
    board.restart('resetLine');
    const againMs = board.nowMs + startUpMs;
    await bench.until(() => isOn(board), 2000);
    // The off-time that had begun begins again: it is never cut short.
    expect(board.nowMs - againMs).toBeGreaterThan(690);
  });

  test('a record that does not hold leaves the rails off', async () => {
    const { bench, board } = await startOn();
    const at = board.addressOf('kept');
    // In both places a time of the watchdog: nothing but the checksum can know.
    for (const offset of [12, 46 + 12]) board.chip.data[at + offset]! ^= 0x10;
    board.restart('watchdog');
    await bench.advance(200);
    expect(isOff(board)).toBe(true);
    const caller = await bench.call(2);
    expect(caller.agreed.bootCause).toBe(bootCauses.watchdog);
    expect((await statusOf(bench, caller)).powerState).toBe(powerStates.off);
  });

  test('a reset in the middle of a save finds the record before it', async () => {
    const { bench, caller, board } = await startOn();
    const at = board.addressOf('kept');
    const record = () => Buffer.from(board.chip.data.subarray(at, at + 93)).toString('hex');
    const before = record();
    void caller.call(commands.watchdog, { ...never, offMs: 123_456 }).catch(() => {});
    while (record() === before) {
      board.run(board.nowMs + 0.0005);
      if (board.nowMs > 10_000) throw new Error('nothing was saved');
      await bench.advance(0);
    }
    const resetMs = board.nowMs;
    board.restart('resetLine');
    await bench.advance(200);
    expect(board.gate5.conducts.filter((edge) => edge.atMs > resetMs)).toEqual([]);
    expect(board.gate5.pin.at(-1)!.level).toBe('high');
  });

  test('every start has a number of its own', async () => {
    const bench = await start();
    const seen = new Set<number>();
    const causes = ['powerOn', 'watchdog', 'resetLine', 'brownOut', 'powerOn'] as const;
    for (const [count, cause] of causes.entries()) {
      bench.board.restart(cause);
      await bench.advance(200);
      const caller = await bench.call(count + 1);
      seen.add(caller.agreed.bootId);
      caller.close();
    }
    expect(seen.size).toBe(causes.length);
  });
});

describe('the line', () => {
  test('garbage does no harm: no pin moves, and the next HELLO is answered', async () => {
    const { bench, caller, board } = await startOn();
    caller.close();
    const beforeMs = board.nowMs;
    for (let count = 0; count < 20; count++) {
      board.send(noise(count, 1000));
      await bench.advance(90);
    }
    const again = await bench.call(2);
    const { framesDiscarded, powerState } = await statusOf(bench, again);
    expect(framesDiscarded).toBeGreaterThan(20);
    expect(powerState).toBe(powerStates['on-not-ready']);
    expect(board.gate5.pin.filter((edge) => edge.atMs > beforeMs)).toEqual([]);
    expect(board.gate12.pin.filter((edge) => edge.atMs > beforeMs)).toEqual([]);
    expect(board.chip.restarts).toBe(0);
  });

  test('a program that never waits for an answer does no harm', async () => {
    const { bench, caller, board } = await startOn();
    board.send(hellos(100));
    await bench.advance(300);
    caller.close();
    const again = await bench.call(2);
    expect((await statusOf(bench, again)).powerState).toBe(powerStates['on-not-ready']);
    expect(isOn(board)).toBe(true);
    expect(board.chip.restarts).toBe(0);
  });

  test('bytes that the chip was too slow for cost their frame', async () => {
    const { bench, caller, board } = await startOn();
    const before = await statusOf(bench, caller);
    board.chip.receive(hellos(50), 1_000_000);
    await bench.advance(50);
    caller.close();
    const again = await bench.call(2);
    expect((await statusOf(bench, again)).framesDiscarded).toBeGreaterThan(before.framesDiscarded);
    expect(isOn(board)).toBe(true);
  });

  test('four commands and two status requests without a pause are all answered', async () => {
    const { bench, caller } = await startOn();
    const four = [1, 2, 3, 4].map((offMs) =>
      caller.call(commands.watchdog, { ...never, offMs: offMs * 100_000 }),
    );
    const two = [1, 2].map(() => caller.call(commands.status, {}));
    await bench.run(Promise.all([...four, ...two]));
    expect(caller.counters.repetitions).toBe(0);
  });

  test('a second session takes the line over, and the laptop restarting moves no rail', async () => {
    const { bench, board } = await startOn();
    const beforeMs = board.nowMs;
    // The first program is gone without a word; its port was closed and is opened again.
    const drive = await bench.open(77);
    expect(await bench.run(drive.status())).toMatchObject({
      powerState: 'on-not-ready',
      powerCycles: 1,
    });
    expect(await bench.run(drive.readiness())).toBe('not-ready');
    expect(board.gate5.pin.filter((edge) => edge.atMs > beforeMs)).toEqual([]);
    expect(board.chip.restarts).toBe(0);
  });
});

describe('time', () => {
  test('milliseconds are milliseconds', async () => {
    const bench = await start();
    const caller = await bench.call();
    const first = await statusOf(bench, caller);
    const firstMs = bench.board.nowMs;
    await bench.advance(3000);
    const second = await statusOf(bench, caller);
    const passedMs = bench.board.nowMs - firstMs;
    expect(Math.abs(second.uptimeMs - first.uptimeMs - passedMs)).toBeLessThanOrEqual(2);
  });

  test('after 49.7 days the clock wraps, and nothing happens early or late', async () => {
    const { bench, caller, board } = await startOn();
    await bench.run(caller.call(commands.watchdog, never));
    const before = (await statusOf(bench, caller)).uptimeMs;
    bench.skip(2 ** 32 - before - 1500);
    await bench.advance(1000);
    await bench.run(caller.call(commands.watchdog, { ...never, offMs: 3000 }));
    await bench.run(power(caller, 'cycle', 1000));
    const cycledMs = board.nowMs;
    await bench.advance(1500);
    const [off, on] = board.gate5.conducts.filter((edge) => edge.atMs > cycledMs);
    expect(on!.atMs - off!.atMs).toBeGreaterThan(1000);
    expect(on!.atMs - off!.atMs).toBeLessThan(1300);
    const { uptimeMs } = await statusOf(bench, caller);
    expect(uptimeMs).toBeGreaterThan(2 ** 32);
    const lastMs = board.nowMs;
    caller.close();
    await bench.advance(3200);
    const gone = changeAfter(board.gate12, lastMs);
    expect(gone.atMs - lastMs).toBeGreaterThan(2990);
    expect(gone.atMs - lastMs).toBeLessThan(3010);
    expect(board.chip.restarts).toBe(0);
  });

  test('rests come by the drive’s work, for an hour, without drift', async () => {
    const { bench, caller, board } = await startOn({ sensor5: 'missing', sensor12: 'missing' });
    await bench.run(caller.call(commands.watchdog, never));
    const rests: { readonly hold: boolean; readonly ms: number }[] = [];
    let skippedMs = 0;
    board.onHold = (hold, atMs) => rests.push({ hold, ms: atMs + skippedMs });
    const restEveryMs = 230_000;
    const restMs = 10_000;
    const throttle = { bytesPerSecondMax: 0, restEveryMs, restMs };
    board.blink();
    await bench.run(caller.call(commands.throttle, throttle));
    const skip = (byMs: number) => {
      board.blink();
      bench.skip(byMs);
      skippedMs += byMs;
    };
    // The drive works without a pause: it blinks four times a second, and in what is skipped.
    const work = async (count: number) => {
      for (let blinks = 0; blinks < count; blinks++) {
        board.blink();
        await bench.advance(250);
      }
    };
    await work(1);
    for (let count = 0; count < 15; count++) {
      skip(restEveryMs - 500);
      await work(2);
      expect(board.hold).toBe('high');
      skip(restMs - 500);
      await work(2);
      expect(board.hold).toBe('low');
    }
    const begun = rests.filter(({ hold }) => hold).map(({ ms }) => ms);
    expect(begun.length).toBe(15);
    expect(begun.at(-1)! - begun[0]!).toBeGreaterThan(14 * (restEveryMs + restMs) - 5);
    expect(begun.at(-1)! - begun[0]!).toBeLessThan(14 * (restEveryMs + restMs) + 5);
    const ended = rests.filter(({ hold }) => !hold).map(({ ms }) => ms);
    for (const [at, ms] of ended.entries())
      expect(Math.abs(ms - begun[at]! - restMs)).toBeLessThan(3);
    expect(eventsOf(bench, 'resting').length).toBe(15);
  });
});

test('the stack has room: RAM that nothing ever touched', async () => {
  const bench = await start({ ram: 'painted' });
  const { board } = bench;
  const caller = await bench.call();
  await bench.run(power(caller, 'on'));
  board.send(hellos(30));
  board.send(noise(1, 600));
  await bench.advance(300);
  const again = await bench.call(2);
  await bench.run(again.call(commands.limits, ownLimits));
  await bench.run(
    again.call(commands.throttle, { bytesPerSecondMax: 0, restEveryMs: 100, restMs: 50 }),
  );
  for (let count = 0; count < 10; count++) {
    board.blink();
    await bench.advance(50);
  }
  board.rail12.load.overload = { milliamps: 7000, fromMs: board.nowMs };
  await bench.advance(20);
  board.celsius = 70;
  await bench.advance(1000);
  await expect(bench.run(power(again, 'on'))).rejects.toThrow();
  expect(board.untouchedBytes()).toBeGreaterThan(256);
});
