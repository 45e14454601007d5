import { describe, expect, test } from 'vitest';
import type { DeviceEvent } from '../../firmware-protocol/device.js';
import { createSimulatedDrive } from '../../hardware-sim/drive.js';
import { createSimulatedImager } from '../../hardware-sim/imager.js';
import { patternSector } from '../../hardware-sim/media.js';
import { defineScenario } from '../../hardware-sim/scenario.js';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';

/** A bench with a drive that takes 1 ms a sector, powered and ready at 1020 ms. */
async function readyBench(faults: ScenarioInput['faults'] = [], more: Partial<ScenarioInput> = {}) {
  const scenario = defineScenario({
    seed: 5,
    sectorCount: 8000,
    mechanics: {
      outerBytesPerSecond: 512_000,
      innerBytesPerSecond: 512_000,
      seekMinMs: 0,
      seekMaxMs: 0,
      rotationMs: 0,
      overheadMs: 0,
      spinUpMs: 1000,
      recalibrationMs: 0,
    },
    power: { blankingMs: 5000 },
    faults,
    ...more,
  });
  const clock = createVirtualClock();
  const drive = createSimulatedDrive(scenario);
  const imager = createSimulatedImager(drive, clock);
  const events: (DeviceEvent & { atMs: number })[] = [];
  imager.onEvent = (event) => events.push({ ...event, atMs: clock.now() });
  await imager.power('on', 0, false);
  await clock.advance(1020);
  const read = (lba: number, count = 1, timeoutMs = 1000, slowMs = 0) =>
    imager.read({ lba, count, timeoutMs, slowMs });
  return { clock, drive, imager, events, read };
}

describe('reading', () => {
  test('a good read brings the data and the time of the drive', async () => {
    const { clock, read } = await readyBench();
    const result = await clock.run(read(40, 3));
    expect(result).toMatchObject({ outcome: 'good', goodCount: 3, elapsedMicros: 3000 });
    expect(result.data.subarray(1024)).toEqual(patternSector(5, 42, 512));
    expect(clock.now()).toBe(1023);
  });

  test('a read that takes longer than its limit is slow, and good all the same', async () => {
    const { clock, read } = await readyBench();
    const result = await clock.run(read(0, 100, 1000, 99));
    expect(result).toMatchObject({ outcome: 'slow', goodCount: 100 });
    expect((await clock.run(read(0, 99, 1000, 99))).outcome).toBe('good');
  });

  test('a fault says what the drive said', async () => {
    const { clock, read } = await readyBench([{ kind: 'bad', lba: 4, errorMs: 200 }]);
    expect(await clock.run(read(0, 9))).toMatchObject({
      outcome: 'fault',
      goodCount: 4,
      failingLba: 4,
      ata: { status: 0x51, error: 0x40 },
      sense: { key: 3, asc: 0x11, ascq: 0 },
      elapsedMicros: 204_000,
    });
  });

  test('a deadline ends the wait, not the drive: the next read waits within its own', async () => {
    const { clock, read } = await readyBench([{ kind: 'bad', lba: 4, errorMs: 2500 }]);
    const first = await clock.run(read(4));
    expect(first).toMatchObject({ outcome: 'timeout', goodCount: 0, elapsedMicros: 1_000_000 });
    expect(clock.now()).toBe(2020);
    expect((await clock.run(read(100))).outcome).toBe('timeout');
    expect(clock.now()).toBe(3020);
    // The drive gives up on the first one at 3520 ms and then takes the third.
    expect(await clock.run(read(100))).toMatchObject({ outcome: 'good', elapsedMicros: 501_000 });
  });

  test('a drive that is off or vanished is gone, and said to be gone once', async () => {
    const { clock, imager, events, read } = await readyBench([
      { kind: 'vanish', lba: 4, returns: 'power-cycle' },
    ]);
    expect((await clock.run(read(4))).outcome).toBe('gone');
    expect((await clock.run(read(0))).outcome).toBe('gone');
    expect(imager.status().powerState).toBe('on-not-ready');
    expect(events.filter(({ kind }) => kind === 'gone')).toHaveLength(1);
    await imager.power('off', 1000, false);
    expect((await clock.run(read(0))).outcome).toBe('gone');
    await expect(clock.run(imager.identify())).rejects.toThrow('does not answer');
  });

  test('a read waits for a drive that spins up', async () => {
    const { clock, imager, read } = await readyBench();
    await imager.power('cycle', 1000, false);
    await clock.advance(1400);
    expect(imager.status().powerState).toBe('on-not-ready');
    expect((await clock.run(read(0, 1, 100))).outcome).toBe('timeout');
    expect((await clock.run(read(0, 1, 5000))).outcome).toBe('good');
  });

  test('abort and reset end a read under way as a timeout, a power cut as gone', async () => {
    const { clock, drive, imager, read } = await readyBench([
      { kind: 'slow', lba: 9, extraMs: 900 },
    ]);
    const interrupted = async (by: () => unknown) => {
      const reading = read(9);
      clock.after(100, by);
      return (await clock.run(reading)).outcome;
    };
    expect(await interrupted(imager.abort)).toBe('timeout');
    await clock.advance(1000);
    expect(await interrupted(() => imager.reset('soft'))).toBe('timeout');
    expect(drive.counters.softResets).toBe(1);
    await clock.advance(1000);
    expect(await interrupted(() => imager.power('off', 0, false))).toBe('gone');
  });
});

describe('hanging', () => {
  test('a drive still busy after a deadline is called hung, and ready after the cure', async () => {
    const { clock, imager, events, read } = await readyBench([
      { kind: 'hang', lba: 9, until: 'hard-reset' },
    ]);
    await clock.run(read(9));
    expect(imager.status()).toMatchObject({ powerState: 'ready', driveBusy: true });
    await clock.advance(2000);
    expect(imager.status().powerState).toBe('hung');
    await imager.reset('soft');
    await clock.advance(2000);
    await imager.reset('hard');
    await clock.advance(1000);
    expect(imager.status()).toMatchObject({ powerState: 'ready', driveBusy: false });
    expect(events).toEqual([
      { kind: 'ready', afterMs: 1000, atMs: 1020 },
      { kind: 'hung', atMs: 4020 },
      { kind: 'hung', atMs: 6020 },
      { kind: 'ready', afterMs: 500, atMs: 6520 },
    ]);
  });

  test('a drive that is only slow comes back from hung by itself', async () => {
    const { clock, imager, events, read } = await readyBench([
      { kind: 'bad', lba: 9, errorMs: 20_000 },
    ]);
    await clock.run(read(9));
    await clock.advance(30_000);
    expect(imager.status().powerState).toBe('ready');
    expect(events.map(({ kind, atMs }) => [kind, atMs])).toEqual([
      ['ready', 1020],
      ['hung', 4020],
      ['ready', 21_020],
    ]);
  });

  test('the next read being slow is not the last one hanging', async () => {
    const { clock, events, read } = await readyBench([{ kind: 'slow', lba: 9, extraMs: 1500 }]);
    await clock.run(read(9));
    await clock.run(read(9, 1, 5000));
    await clock.advance(10_000);
    expect(events.map(({ kind }) => kind)).toEqual(['ready']);
  });
});

describe('power', () => {
  test('the off-time counts from the rail being down', async () => {
    const { clock, drive, imager } = await readyBench();
    await imager.power('cycle', 5000, false);
    await clock.advance(300 + 5000 + 19);
    expect(drive.condition(clock.now()).kind).toBe('off');
    await clock.advance(1);
    expect(drive.condition(clock.now()).kind).toBe('spinning-up');
    expect(imager.status()).toMatchObject({ powerState: 'on-not-ready', powerCycles: 2 });
  });

  test('standby comes first when the drive answers, and is left out when it does not', async () => {
    const { clock, drive, imager, read } = await readyBench([
      { kind: 'hang', lba: 9, until: 'power-cycle' },
    ]);
    await clock.run(imager.power('cycle', 0, true));
    expect(clock.now()).toBe(1420);
    expect(drive.counters.emergencyUnloads).toBe(0);
    await clock.advance(5000);
    await clock.run(read(9));
    await clock.run(imager.power('cycle', 0, true));
    expect(clock.now()).toBe(7420);
    expect(drive.counters.emergencyUnloads).toBe(1);
  });

  test('over-current is blanked while the motor starts, then trips', async () => {
    const tooMuch = { rail12: { spinUpMilliamps: 1800, idleMilliamps: 900, limitMilliamps: 800 } };
    const { clock, drive, imager, events } = await readyBench([], {
      power: { ...tooMuch, blankingMs: 5000 },
    });
    await clock.advance(3000);
    expect(imager.status().powerState).toBe('ready');
    await clock.advance(2000);
    expect(imager.status()).toMatchObject({ powerState: 'tripped', rail12: { milliamps: 0 } });
    expect(drive.condition(clock.now()).kind).toBe('off');
    expect(events.at(-1)).toEqual({
      kind: 'rail-fault',
      rail: 12,
      milliamps: 900,
      millivolts: 11_955,
      fault: 'overCurrent',
      atMs: 5020,
    });
    await expect(imager.power('on', 0, false)).rejects.toThrow('switch off first');
    await imager.power('off', 100, false);
    await clock.advance(400);
    expect(await imager.power('on', 0, false)).toBe('ramping');
  });

  test('a read that draws too much loses the drive', async () => {
    const { clock, imager, read } = await readyBench([], {
      power: { rail5: { readMilliamps: 2000 }, blankingMs: 1000 },
    });
    await clock.advance(2000);
    expect((await clock.run(read(0, 9))).outcome).toBe('gone');
    expect(imager.status().powerState).toBe('tripped');
  });

  test('status measures the rails', async () => {
    const { imager } = await readyBench();
    expect(imager.status()).toMatchObject({
      rail5: { milliamps: 350, millivolts: 4982 },
      rail12: { milliamps: 350, millivolts: 11_982 },
      uptimeMs: 1020,
      powerCycles: 1,
    });
  });

  test('a drive that is too warm is parked, one that is too hot is cut, by the imager itself', async () => {
    const { clock, drive, imager, events, read } = await readyBench([], {
      temperature: { timeConstantMs: 20_000, parkCelsius: 30, limitCelsius: 33 },
    });
    // Nobody asks: an idle drive warms up to 8 degrees above its surroundings.
    await clock.advance(30_000);
    expect(events.at(-1)).toMatchObject({ kind: 'over-temperature', action: 'standby' });
    expect(imager.status().powerState).toBe('ready');
    for (let round = 0; round < 40; round++) await clock.run(read(0, 100));
    await clock.advance(5000);
    expect(events.at(-1)).toMatchObject({ kind: 'over-temperature', action: 'off' });
    expect(imager.status().powerState).toBe('tripped');
    expect(drive.condition(clock.now()).kind).toBe('off');
    await imager.limits({ offCelsius: 20 });
    await imager.power('off', 0, false);
    await clock.advance(500);
    await expect(imager.power('on', 0, false)).rejects.toThrow('too hot');
    await imager.limits({});
    await clock.advance(120_000);
    expect(await imager.power('on', 0, false)).toBe('ramping');
  });

  test('limits are set, held by what is safe, and defaults come back', async () => {
    const { clock, imager, events } = await readyBench();
    const defaults = await imager.limits({});
    expect(defaults).toEqual({
      rail5MilliampsMax: 1500,
      rail12MilliampsMax: 1500,
      blankingMs: 5000,
      parkCelsius: 52,
      offCelsius: 58,
    });
    await expect(imager.limits({ rail12MilliampsMax: 9000 })).rejects.toThrow('at most 8000 mA');
    expect(await imager.limits({ rail12MilliampsMax: 300 })).toEqual({
      ...defaults,
      rail12MilliampsMax: 300,
    });
    await clock.advance(10_000);
    expect(events.at(-1)).toMatchObject({ kind: 'rail-fault', rail: 12, fault: 'overCurrent' });
  });

  test('far too much current trips also while the motor starts', async () => {
    const { imager, events } = await readyBench([], {
      power: { rail12: { spinUpMilliamps: 9000, limitMilliamps: 1500 }, blankingMs: 60_000 },
    });
    expect(imager.status().powerState).toBe('tripped');
    expect(events).toMatchObject([{ kind: 'rail-fault', rail: 12, milliamps: 9000 }]);
  });

  test('a drive that gets too hot is said to be, once', async () => {
    const { clock, events, read } = await readyBench([], {
      temperature: { timeConstantMs: 100, limitCelsius: 40 },
    });
    for (let round = 0; round < 20; round++) await clock.run(read(0, 100));
    expect(events.filter(({ kind }) => kind === 'over-temperature')).toHaveLength(1);
  });
});

describe('throttle', () => {
  test('a cap on the rate spaces the reads', async () => {
    const { clock, imager, read } = await readyBench();
    await imager.throttle({ bytesPerSecondMax: 51_200, restEveryMs: 0, restMs: 0 });
    const beganMs = clock.now();
    for (let round = 0; round < 5; round++) await clock.run(read(round * 10, 10));
    // Four times 100 ms for 5120 bytes, and the last read itself.
    expect(clock.now() - beganMs).toBe(410);
  });

  test('a rest parks the heads', async () => {
    const { clock, drive, imager, read } = await readyBench();
    await imager.throttle({ bytesPerSecondMax: 0, restEveryMs: 1000, restMs: 120_000 });
    for (let round = 0; round < 11; round++) await clock.run(read(0, 100));
    expect(imager.counters.rests).toBe(1);
    expect(clock.now()).toBe(1020 + 1100 + 120_000);
    drive.powerOff(clock.now());
    await imager.throttle({ bytesPerSecondMax: 0, restEveryMs: 0, restMs: 0 });
  });
});

describe('the watchdog', () => {
  const stages = { stopReadsMs: 1000, unloadMs: 2000, standbyMs: 5000, offMs: 9000 };

  test('a silent laptop: reads stop, heads unload, standby, off', async () => {
    const { clock, drive, imager, events } = await readyBench();
    await imager.watchdog(stages);
    await clock.advance(20_000);
    const steps = events.filter(({ kind }) => kind === 'stepped-down');
    expect(steps.map((step) => [step, step.atMs - 1020])).toMatchObject([
      [{ stage: 1 }, 1000],
      [{ stage: 2 }, 2000],
      [{ stage: 3 }, 5000],
      [{ stage: 4 }, 9000],
    ]);
    expect(imager.status().powerState).toBe('off');
    expect(drive.counters.emergencyUnloads).toBe(0);
  });

  test('a word from the laptop puts all stages ahead again; 0 is never', async () => {
    const { clock, imager, events } = await readyBench();
    await imager.watchdog({ ...stages, standbyMs: 0, offMs: 0 });
    for (let round = 0; round < 10; round++) {
      await clock.advance(900);
      imager.heard();
    }
    expect(events.map(({ kind }) => kind)).toEqual(['ready']);
    await clock.advance(100_000);
    imager.heard();
    await clock.advance(1000);
    const taken = events.flatMap((event) => (event.kind === 'stepped-down' ? [event.stage] : []));
    expect(taken).toEqual([1, 2, 1]);
  });

  test("until it is told, it keeps a hard drive's times", async () => {
    const { clock, imager, events } = await readyBench();
    imager.heard();
    await clock.advance(3_700_000);
    const taken = events.flatMap((event) => (event.kind === 'stepped-down' ? [event.stage] : []));
    expect(taken).toEqual([1, 2, 3, 4]);
    expect(imager.status().powerState).toBe('off');
  });

  test('without stages there is no timer but the look at the temperature', async () => {
    const { clock, imager } = await readyBench();
    await imager.watchdog({ stopReadsMs: 0, unloadMs: 0, standbyMs: 0, offMs: 0 });
    await clock.advance(100_000);
    imager.heard();
    expect(clock.pending()).toBe(1);
  });
});

describe('parking and pass-through', () => {
  test('parking takes its time and is refused without a drive', async () => {
    const { clock, drive, imager, read } = await readyBench();
    await clock.run(imager.park('standby'));
    expect(clock.now()).toBe(1420);
    expect((await clock.run(read(0, 1, 5000))).outcome).toBe('good');
    expect(drive.counters.spinUps).toBe(2);
    await imager.power('off', 0, false);
    await expect(imager.park('unload')).rejects.toThrow('no power');
  });

  const cdb = (...bytes: number[]) => Uint8Array.from(bytes);
  const ask = async (bytes: Uint8Array, faults: ScenarioInput['faults'] = []) => {
    const { clock, imager } = await readyBench(faults, { physicalSectorBytes: 4096 });
    return clock.run(imager.passthrough({ timeoutMs: 1000, cdb: bytes, lengthMax: 512 }));
  };
  const text = (data: Uint8Array, from: number, to: number) =>
    new TextDecoder().decode(data.subarray(from, to)).trim();

  test('INQUIRY and READ CAPACITY (16)', async () => {
    const inquiry = await ask(cdb(0x12, 0, 0, 0, 96, 0));
    expect(inquiry).toMatchObject({ outcome: 'good', scsiStatus: 0 });
    expect(text(inquiry.data, 16, 32)).toBe('LASTSPIN SIMULAT');
    const serial = await ask(cdb(0x12, 1, 0x80, 0, 96, 0));
    expect(text(serial.data, 4, 24)).toBe('SIM0000001');
    const capacity = await ask(cdb(0x9e, 0x10, ...new Array(14).fill(0)));
    const view = new DataView(capacity.data.buffer);
    expect([view.getBigUint64(0), view.getUint32(8), view.getUint8(13)]).toEqual([7999n, 512, 3]);
  });

  test('IDENTIFY DEVICE through ATA PASS-THROUGH (16)', async () => {
    const { data } = await ask(cdb(0x85, 4 << 1, 0x0e, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xec, 0));
    const view = new DataView(data.buffer);
    expect(view.getBigUint64(200, true)).toBe(8000n);
    expect(view.getUint16(212, true)).toBe(0x6003);
    expect(data.reduce((sum, byte) => (sum + byte) & 0xff, 0)).toBe(0);
    expect(String.fromCharCode(data[55]!, data[54]!, data[57]!, data[56]!)).toBe('LAST');
  });

  test('what writes is refused; what is not simulated is an invalid command', async () => {
    await expect(ask(cdb(0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0))).rejects.toMatchObject({
      reply: 'refused',
    });
    const unknown = await ask(cdb(0x1a, 0, 0x3f, 0, 192, 0));
    expect(unknown).toMatchObject({ outcome: 'fault', scsiStatus: 2 });
    expect([unknown.sense[2], unknown.sense[12]]).toEqual([5, 0x20]);
  });

  test('a hung drive does not answer in time', async () => {
    const { clock, imager, read } = await readyBench([
      { kind: 'hang', lba: 9, until: 'soft-reset' },
    ]);
    await clock.run(read(9));
    const asked = imager.passthrough({ timeoutMs: 500, cdb: cdb(0, 0, 0, 0, 0, 0), lengthMax: 0 });
    expect(await clock.run(asked)).toMatchObject({ outcome: 'timeout', elapsedMicros: 500_000 });
  });
});
