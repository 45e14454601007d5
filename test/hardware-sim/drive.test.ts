import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createSimulatedDrive, type SimulatedDrive } from '../../hardware-sim/drive.js';
import { createMechanics } from '../../hardware-sim/mechanics.js';
import { createMedia, patternSector } from '../../hardware-sim/media.js';
import { defineScenario } from '../../hardware-sim/scenario.js';
import type { ScenarioInput } from '../../hardware-sim/schema.js';

/** Round numbers: 1 ms a sector of 512 bytes, no overhead, no seek, ready a second after power. */
const plain: ScenarioInput = {
  seed: 5,
  sectorCount: 8000,
  mechanics: {
    heads: 4,
    bandSectors: 1000,
    outerBytesPerSecond: 512_000,
    innerBytesPerSecond: 512_000,
    seekMinMs: 0,
    seekMaxMs: 0,
    rotationMs: 0,
    overheadMs: 0,
    spinUpMs: 1000,
    recalibrationMs: 0,
    standbyMs: 400,
    softResetMs: 50,
    hardResetMs: 500,
  },
};
type Faults = NonNullable<ScenarioInput['faults']>;

/** A drive that is powered and ready at 1000 ms. */
function readyDrive(faults: Faults = [], more: Partial<ScenarioInput> = {}): SimulatedDrive {
  const drive = createSimulatedDrive(defineScenario({ ...plain, faults, ...more }));
  drive.powerOn(0);
  return drive;
}

function cycle(drive: SimulatedDrive, nowMs: number): number {
  drive.powerOff(nowMs);
  drive.powerOn(nowMs);
  return nowMs + 1000;
}

test('a locked drive says who it is and aborts reads at once; a stuck motor goes on drawing', () => {
  const locked = readyDrive([], { identity: { locked: true } });
  expect(locked.identify(1000)).toMatchObject({ locked: true, sectorCount: 8000 });
  const answer = locked.read({ lba: 0, count: 8 }, 1000);
  expect(answer).toMatchObject({ outcome: 'fault', goodCount: 0, ata: { status: 0x51, error: 4 } });
  expect(answer.elapsedMs).toBeLessThan(5);
  expect(answer.data).toHaveLength(0);
  const drawn = (stuck: boolean) =>
    readyDrive([{ kind: 'spin-up', fails: 1, stuck }]).milliamps(30_000).rail12;
  expect([drawn(true), drawn(false)]).toEqual([1800, 450]);
});

test.each([
  'nativeSectorCount',
  'configurationSectorCount',
])('%s below the sectors shown is refused', (word) => {
  expect(() => defineScenario({ ...plain, identity: { [word]: 7999 } })).toThrow(
    /at least sectorCount/,
  );
});

describe('the media', () => {
  test('every sector of the pattern names its LBA and its seed', () => {
    const sector = patternSector(7, 1234, 512);
    expect(new TextDecoder().decode(sector.subarray(0, 46))).toBe(
      'LASTSPIN lba 0000000000001234 seed 0000000007\n',
    );
    expect(patternSector(7, 1235, 512).subarray(46)).not.toEqual(sector.subarray(46));
    expect(patternSector(8, 1234, 512).subarray(46)).not.toEqual(sector.subarray(46));
    expect(patternSector(7, 2 ** 40, 520)).toHaveLength(520);
  });

  test('a read brings the sectors that it names, whatever its place and size', () => {
    const drive = readyDrive();
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 7900 }),
        fc.integer({ min: 1, max: 100 }),
        (lba, count) => {
          const { data, goodCount } = drive.read({ lba, count }, 1e6);
          expect(goodCount).toBe(count);
          const last = data.subarray((count - 1) * 512);
          expect(Buffer.compare(last, patternSector(5, lba + count - 1, 512))).toBe(0);
        },
      ),
      { numRuns: 50 },
    );
  });

  test('a file that is shorter than the drive is followed by zeros, a longer one is cut', () => {
    const directory = mkdtempSync(join(tmpdir(), 'media-'));
    const file = join(directory, 'a.img');
    writeFileSync(file, new Uint8Array(1000).fill(7));
    const media = createMedia(defineScenario({ sectorCount: 4, contents: { file } }));
    const into = new Uint8Array(1536).fill(1);
    media.read(0, into);
    expect([into[0], into[999], into[1000], into[1535]]).toEqual([7, 7, 0, 0]);
    media.read(3, into.subarray(0, 512));
    expect(into[0]).toBe(0);
    media.close();
    const drive = createSimulatedDrive(defineScenario({ sectorCount: 1, contents: { file } }));
    drive.powerOn(0);
    expect(drive.read({ lba: 0, count: 1 }, 9e9).data).toEqual(new Uint8Array(512).fill(7));
    expect(drive.read({ lba: 1, count: 1 }, 9e9).outcome).toBe('fault');
    drive.close();
    rmSync(directory, { recursive: true });
  });
});

describe('the mechanics', () => {
  const mechanics = createMechanics(
    defineScenario({
      sectorCount: 1_000_000,
      mechanics: {
        heads: 3,
        bandSectors: 100,
        outerBytesPerSecond: 200e6,
        innerBytesPerSecond: 100e6,
        seekMinMs: 1,
        seekMaxMs: 17,
        rotationMs: 8,
        overheadMs: 0.5,
      },
    }),
  );

  test('heads take turns in bands', () => {
    expect([0, 99, 100, 250, 300].map(mechanics.headOf)).toEqual([0, 0, 1, 2, 0]);
  });
  test('the rate falls from the outer to the inner edge', () => {
    expect([0, 500_000, 1_000_000].map(mechanics.bytesPerSecondAt)).toEqual([200e6, 150e6, 100e6]);
    expect(mechanics.transferMs(0, 200)).toBeCloseTo(0.512, 9);
  });
  test('going on costs the overhead, elsewhere a seek by distance and half a turn', () => {
    expect(mechanics.approachMs(500, 500)).toBe(0.5);
    expect(mechanics.approachMs(0, 250_000)).toBe(0.5 + 1 + 16 * 0.5 + 4);
    expect(mechanics.approachMs(250_000, 0)).toBe(0.5 + 1 + 16 * 0.5 + 4);
  });
  test('without look-ahead, going on costs a whole turn', () => {
    const scenario = defineScenario({
      sectorCount: 100,
      mechanics: { lookAhead: false, rotationMs: 8, overheadMs: 0.5 },
    });
    expect(createMechanics(scenario).approachMs(5, 5)).toBe(8.5);
  });
});

describe('power, resets, parking', () => {
  test('it is off, spins up, is ready, is off', () => {
    const drive = createSimulatedDrive(defineScenario(plain));
    expect(drive.condition(0).kind).toBe('off');
    expect(drive.read({ lba: 0, count: 1 }, 0).outcome).toBe('gone');
    drive.powerOn(10);
    expect(drive.condition(10)).toEqual({ kind: 'spinning-up', untilMs: 1010 });
    expect(drive.identify(10)).toBeUndefined();
    expect(drive.condition(1010).kind).toBe('ready');
    expect(drive.identify(1010)?.sectorCount).toBe(8000);
    drive.powerOff(2000);
    expect(drive.condition(2000).kind).toBe('off');
  });

  test('a read sent to a busy drive waits; the first after spin-up finds its tracks', () => {
    const drive = readyDrive([], { mechanics: { ...plain.mechanics, recalibrationMs: 300 } });
    expect(drive.read({ lba: 0, count: 10 }, 400).elapsedMs).toBe(600 + 300 + 10);
    expect(drive.read({ lba: 10, count: 10 }, 1310).elapsedMs).toBe(10);
  });

  test('cutting the power of a spinning drive is counted, after standby it is not', () => {
    const drive = readyDrive();
    drive.powerOff(500);
    expect(drive.counters.emergencyUnloads).toBe(0);
    drive.powerOn(600);
    drive.powerOff(5000);
    expect(drive.counters.emergencyUnloads).toBe(1);
    drive.powerOn(6000);
    expect(drive.standby(8000)).toBe(400);
    drive.powerOff(8400);
    expect(drive.counters).toMatchObject({ emergencyUnloads: 1, powerOns: 3 });
  });

  test('a read after standby spins up first; a parked drive parks at once', () => {
    const drive = readyDrive();
    expect(drive.unload(1000)).toBe(400);
    expect(drive.standby(1100)).toBe(Number.POSITIVE_INFINITY);
    expect(drive.standby(1400)).toBe(400);
    expect(drive.standby(2000)).toBe(0);
    expect(drive.milliamps(2000).rail12).toBe(0);
    expect(drive.read({ lba: 0, count: 1 }, 2000).elapsedMs).toBe(1001);
    expect(drive.counters.spinUps).toBe(2);
  });

  test('a read after an unload loads the heads again', () => {
    const drive = readyDrive();
    drive.unload(1000);
    drive.read({ lba: 0, count: 1 }, 2000);
    drive.powerOff(3000);
    expect(drive.counters.emergencyUnloads).toBe(1);
  });

  test('a reset ends the command under way', () => {
    const drive = readyDrive([{ kind: 'bad', lba: 5, errorMs: 60_000 }]);
    drive.read({ lba: 0, count: 10 }, 1000);
    expect(drive.condition(2000).kind).toBe('busy');
    drive.softReset(2000);
    expect(drive.condition(2000)).toEqual({ kind: 'busy', untilMs: 2050 });
    drive.hardReset(2050);
    expect(drive.condition(2050)).toEqual({ kind: 'busy', untilMs: 2550 });
  });

  test('it warms as it works and cools when off', () => {
    const drive = readyDrive([], { temperature: { timeConstantMs: 1000 } });
    expect(drive.temperatureCelsius(0)).toBe(25);
    expect(drive.temperatureCelsius(60_000)).toBeCloseTo(33, 3);
    for (let at = 60_000; at < 70_000; at += 100) drive.read({ lba: 0, count: 100 }, at);
    expect(drive.temperatureCelsius(70_000)).toBeCloseTo(43, 2);
    drive.powerOff(70_000);
    expect(drive.temperatureCelsius(80_000)).toBeCloseTo(25, 2);
  });

  test('a failed spin-up never gets ready, whatever is tried, until the next cycle', () => {
    const drive = readyDrive([{ kind: 'spin-up', fails: 2 }]);
    expect(drive.condition(1e6).kind).toBe('spinning-up');
    drive.hardReset(1e6);
    expect(drive.read({ lba: 0, count: 1 }, 1e6).outcome).toBe('silent');
    expect(drive.condition(cycle(drive, 2e6)).kind).toBe('spinning-up');
    expect(drive.condition(cycle(drive, 3e6)).kind).toBe('ready');
    expect(drive.counters.emergencyUnloads).toBe(0);
  });

  test('failed firmware shows another drive', () => {
    const drive = readyDrive([
      { kind: 'alias', fromPowerOn: 2, lasts: 1, model: 'BOOTROM', sectorCount: 40 },
    ]);
    expect(drive.identify(1000)?.model).toBe('LASTSPIN SIMULATED');
    const at = cycle(drive, 2000);
    expect(drive.identify(at)).toMatchObject({
      model: 'BOOTROM',
      sectorCount: 40,
      serial: 'SIM0000001',
    });
    expect(drive.read({ lba: 39, count: 2 }, at)).toMatchObject({ sense: { key: 5, asc: 0x21 } });
    expect(drive.identify(cycle(drive, 9000))?.sectorCount).toBe(8000);
  });
});

describe('faults', () => {
  test('a bad sector: what lies before it is good, the drive names it', () => {
    const drive = readyDrive([{ kind: 'bad', lba: 105, count: 2, errorMs: 700 }]);
    const result = drive.read({ lba: 100, count: 10 }, 1000);
    expect(result).toMatchObject({
      outcome: 'fault',
      goodCount: 5,
      elapsedMs: 705,
      failingLba: 105,
      ata: { status: 0x51, error: 0x40 },
      sense: { key: 3, asc: 0x11, ascq: 0 },
    });
    expect(result.data).toHaveLength(5 * 512);
    expect(drive.read({ lba: 107, count: 3 }, 9000).outcome).toBe('good');
    expect(drive.counters).toMatchObject({ reads: 2, failingReads: 1 });
    expect([...drive.counters.sectorReads!.subarray(104, 108)]).toEqual([1, 1, 0, 1]);
  });

  test('faults take whole physical sectors', () => {
    const drive = readyDrive([{ kind: 'bad', lba: 1003 }], { physicalSectorBytes: 4096 });
    const at = (lba: number, count = 1) => drive.read({ lba, count }, 1e6);
    expect(at(999).outcome).toBe('good');
    expect(at(1000)).toMatchObject({ outcome: 'fault', goodCount: 0, failingLba: 1000 });
    expect(at(1002, 9)).toMatchObject({ goodCount: 0, failingLba: 1002 });
    expect(at(990, 20)).toMatchObject({ goodCount: 10, failingLba: 1000 });
    expect(at(1008).outcome).toBe('good');
  });

  test('a drive that does not name the sector, cannot find it, or aborts', () => {
    const drive = readyDrive([
      { kind: 'bad', lba: 10, reportsLba: false },
      { kind: 'bad', lba: 20, error: 'id-not-found' },
      { kind: 'bad', lba: 30, error: 'abort' },
    ]);
    const at = (lba: number) => drive.read({ lba: lba - 5, count: 9 }, 1e6);
    expect(at(10)).toMatchObject({ goodCount: 0, ata: { error: 0x40 } });
    expect(at(10).failingLba).toBeUndefined();
    expect(at(20)).toMatchObject({ goodCount: 5, failingLba: 20, ata: { error: 0x10 } });
    expect(at(30)).toMatchObject({ goodCount: 0, ata: { error: 0x04 }, sense: { key: 0xb } });
    expect(at(30).failingLba).toBeUndefined();
  });

  test('places: a scratch, a scatter, a head, a share of a head', () => {
    const badLbas = (fault: Faults[number]) => {
      const drive = readyDrive([fault]);
      const all = Array.from({ length: 8000 }, (_, lba) => lba);
      return all.filter((lba) => drive.read({ lba, count: 1 }, 1e6).outcome === 'fault');
    };
    expect(badLbas({ kind: 'bad', lba: 50, count: 2, pitch: 100, repeats: 3 })).toEqual([
      50, 51, 150, 151, 250, 251,
    ]);
    const scatter = badLbas({ kind: 'bad', scattered: 30 });
    expect(scatter.length).toBeGreaterThan(25);
    expect(scatter).toEqual(badLbas({ kind: 'bad', scattered: 30 }));
    const head = badLbas({ kind: 'bad', head: 1 });
    expect([head.length, head[0], head[1000], head[1999]]).toEqual([2000, 1000, 5000, 5999]);
    const share = badLbas({ kind: 'bad', head: 1, perMillion: 100_000 });
    expect(share.length).toBeGreaterThan(120);
    expect(share.length).toBeLessThan(280);
    expect(share.every((lba) => Math.floor(lba / 1000) % 4 === 1)).toBe(true);
  });

  test('a flaky sector reads once in a few tries, the same ones whatever is read between', () => {
    const triesOf = (between: boolean) => {
      const drive = readyDrive([{ kind: 'bad', lba: 0, count: 500, readChance: 0.25 }]);
      const outcomes = [];
      for (let round = 0; round < 200; round++) {
        outcomes.push(drive.read({ lba: 7, count: 1 }, 1e6).outcome);
        if (between) drive.read({ lba: round, count: 1 }, 1e6);
      }
      return outcomes;
    };
    const outcomes = triesOf(false);
    const goodCount = outcomes.filter((outcome) => outcome === 'good').length;
    expect(goodCount).toBeGreaterThan(30);
    expect(goodCount).toBeLessThan(70);
    // Round 7 reads the sector itself between: from then on the histories differ by one try.
    expect(triesOf(true).slice(0, 8)).toEqual(outcomes.slice(0, 8));
    expect(triesOf(true).slice(8, 100)).toEqual(outcomes.slice(9, 101));
  });

  test('a slow zone costs by the physical sector', () => {
    const drive = readyDrive([{ kind: 'slow', lba: 100, count: 16, extraMs: 30 }], {
      physicalSectorBytes: 4096,
    });
    // 96 to 119 are three physical sectors, all of which the range touches.
    expect(drive.read({ lba: 96, count: 24 }, 1000).elapsedMs).toBe(24 + 3 * 30);
    expect(drive.read({ lba: 120, count: 24 }, 9000).elapsedMs).toBe(24);
  });

  test.each([
    ['soft-reset', true, true],
    ['hard-reset', false, true],
    ['power-cycle', false, false],
  ] as const)('a hang until %s', (until, softCures, hardCures) => {
    const drive = readyDrive([{ kind: 'hang', lba: 50, until }]);
    expect(drive.read({ lba: 45, count: 10 }, 1000)).toMatchObject({
      outcome: 'silent',
      goodCount: 0,
      elapsedMs: Number.POSITIVE_INFINITY,
    });
    expect(drive.condition(1e6).kind).toBe('hung');
    expect(drive.read({ lba: 0, count: 1 }, 1e6).outcome).toBe('silent');
    expect(drive.standby(1e6)).toBe(Number.POSITIVE_INFINITY);
    drive.softReset(1e6);
    expect(drive.condition(2e6).kind).toBe(softCures ? 'ready' : 'hung');
    drive.hardReset(2e6);
    expect(drive.condition(3e6).kind).toBe(hardCures ? 'ready' : 'hung');
    const at = cycle(drive, 3e6);
    expect(drive.read({ lba: 0, count: 10 }, at).outcome).toBe('good');
    expect(drive.read({ lba: 50, count: 1 }, 4e6).outcome).toBe('silent');
  });

  test('a hung drive that answers says ABRT to everything at once', () => {
    const drive = readyDrive([
      { kind: 'hang', lba: 50, until: 'power-cycle', answering: 'error', errorMs: 900 },
    ]);
    const abort = { outcome: 'fault', goodCount: 0, ata: { status: 0x51, error: 0x04 } };
    expect(drive.read({ lba: 50, count: 1 }, 1000)).toMatchObject({ ...abort, elapsedMs: 900 });
    expect(drive.read({ lba: 0, count: 1 }, 5000)).toMatchObject({ ...abort, elapsedMs: 2 });
    expect(drive.identify(6000)).toBeUndefined();
    expect(drive.read({ lba: 0, count: 1 }, cycle(drive, 7000)).outcome).toBe('good');
  });

  test('a hang that fires twice, and one that comes after so many reads', () => {
    const twice = readyDrive([{ kind: 'hang', lba: 50, until: 'power-cycle', times: 2 }]);
    for (const expected of ['silent', 'silent', 'good']) {
      const at = cycle(twice, twice.counters.powerOns * 1e5);
      expect(twice.read({ lba: 50, count: 1 }, at).outcome).toBe(expected);
    }
    const later = readyDrive([
      { kind: 'hang', everywhere: true, until: 'power-cycle', afterReads: 3 },
    ]);
    const outcomes = (at: number) =>
      [0, 1, 2, 3].map((lba) => later.read({ lba, count: 1 }, at).outcome);
    expect(outcomes(1000)).toEqual(['good', 'good', 'good', 'silent']);
    expect(outcomes(cycle(later, 5000))).toEqual(['good', 'good', 'good', 'silent']);
  });

  test('a stall slows everything for a while, and ends', () => {
    const drive = readyDrive([
      { kind: 'stall', everywhere: true, afterMs: 5000, lastsMs: 10_000, readMs: 3000, times: 1 },
    ]);
    const ms = (nowMs: number, lba = 0) => drive.read({ lba, count: 1 }, nowMs).elapsedMs;
    expect(ms(1000)).toBe(1);
    expect(ms(5000)).toBe(3001);
    expect(ms(9000, 7000)).toBe(3001);
    expect(ms(15_000)).toBe(1);
    expect(ms(90_000)).toBe(1);
  });

  test('a stall that a power cycle ends, with times that the seed draws', () => {
    const drive = readyDrive([
      { kind: 'stall', lba: 9, lastsMs: 1e9, readMs: [1000, 9000], until: 'power-cycle', times: 1 },
    ]);
    drive.read({ lba: 9, count: 1 }, 1000);
    const times = [1, 2, 3].map((round) => drive.read({ lba: 0, count: 1 }, round * 1e5).elapsedMs);
    expect(times.every((ms) => ms >= 1000 && ms <= 9001)).toBe(true);
    expect(new Set(times).size).toBe(3);
    expect(drive.read({ lba: 0, count: 1 }, cycle(drive, 1e6)).elapsedMs).toBe(1);
  });

  test('damage spreads with every error', () => {
    const drive = readyDrive([{ kind: 'bad', lba: 100, spreadChance: 1 }]);
    const badAround = () =>
      [98, 99, 101, 102].filter((lba) => drive.read({ lba, count: 1 }, 1e6).outcome === 'fault');
    expect(badAround()).toEqual([]);
    for (let round = 0; round < 4; round++) drive.read({ lba: 100, count: 1 }, 1e6);
    expect(badAround().length).toBeGreaterThan(1);
  });

  test.each([
    ['power-cycle', 'good'],
    ['never', 'gone'],
  ] as const)('a drive that vanishes and returns by: %s', (returns, after) => {
    const drive = readyDrive([{ kind: 'vanish', lba: 50, returns }]);
    expect(drive.read({ lba: 40, count: 20 }, 1000).outcome).toBe('gone');
    expect(drive.condition(5000).kind).toBe('gone');
    drive.hardReset(5000);
    expect(drive.condition(9000).kind).toBe('gone');
    expect(drive.identify(9000)).toBeUndefined();
    expect(drive.read({ lba: 0, count: 1 }, cycle(drive, 9000)).outcome).toBe(after);
  });

  test('wrong data comes as good: zeros too fast, garbage that differs, a stale buffer', () => {
    const drive = readyDrive([
      { kind: 'wrong', lba: 10, count: 2, data: 'zeros' },
      { kind: 'wrong', lba: 20, data: 'garbage' },
      { kind: 'wrong', lba: 30, data: 'stale' },
    ]);
    const zeros = drive.read({ lba: 9, count: 4 }, 1000);
    expect(zeros).toMatchObject({ outcome: 'good', elapsedMs: 2 });
    expect(zeros.data.subarray(512, 1536).every((byte) => byte === 0)).toBe(true);
    expect(zeros.data.subarray(1536)).toEqual(patternSector(5, 12, 512));
    const first = drive.read({ lba: 20, count: 1 }, 2000).data;
    expect(drive.read({ lba: 20, count: 1 }, 3000).data).not.toEqual(first);
    drive.read({ lba: 77, count: 1 }, 4000);
    expect(drive.read({ lba: 30, count: 1 }, 5000).data).toEqual(patternSector(5, 77, 512));
  });

  test('wrong only now and then', () => {
    const drive = readyDrive([{ kind: 'wrong', lba: 10, data: 'zeros', wrongChance: 0.3 }]);
    let wrongCount = 0;
    for (let round = 0; round < 100; round++) {
      if (drive.read({ lba: 10, count: 1 }, 1e6).data[0] === 0) wrongCount++;
    }
    expect(wrongCount).toBeGreaterThan(15);
    expect(wrongCount).toBeLessThan(45);
  });

  test('reading past the end is no medium error', () => {
    expect(readyDrive().read({ lba: 7999, count: 2 }, 1000)).toMatchObject({
      outcome: 'fault',
      goodCount: 0,
      sense: { key: 5, asc: 0x21 },
      ata: { error: 0x10 },
    });
  });

  test('one seed, one history; another seed, another', () => {
    const history = (seed: number) => {
      const faults: Faults = [
        { kind: 'bad', everywhere: true, perMillion: 20_000, readChance: 0.3, spreadChance: 0.5 },
        { kind: 'hang', everywhere: true, afterReads: [10, 50], until: 'soft-reset' },
        { kind: 'wrong', scattered: 9, data: 'garbage', wrongChance: 0.5 },
      ];
      const drive = readyDrive(faults, { seed });
      const seen = [];
      for (let round = 0; round < 300; round++) {
        const { outcome, goodCount } = drive.read(
          { lba: (round * 37) % 7000, count: 20 },
          round * 1e5,
        );
        seen.push(`${outcome} ${goodCount}`);
        if (outcome === 'silent') drive.softReset(round * 1e5 + 1);
      }
      return seen;
    };
    expect(history(3)).toEqual(history(3));
    expect(history(3)).not.toEqual(history(4));
  });
});
