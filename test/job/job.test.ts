import { describe, expect, test } from 'vitest';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import type { Drive } from '../../src/drive/drive.js';
import { isLastspinError, LastspinError } from '../../src/errors.js';
import { parseMapFile } from '../../src/map/mapfile.js';
import { statuses } from '../../src/map/status.js';
import { notes, type Pass } from '../../src/plan/pass.js';
import type { Power } from '../../src/power/power.js';
import { memoryFiles } from '../image/memory-files.js';
import { decisions, falsehoods, imageInWorld } from './world.js';

const base: ScenarioInput = { seed: 3, sectorCount: 40_000, physicalSectorBytes: 4096 };
const none = () => false;
const within = (lba: number, count: number) => (at: number) => at >= lba && at < lba + count;

describe('a job through the protocol, in virtual time', () => {
  test('a healthy drive is imaged once, and its power is left as it was', async () => {
    const outcome = await imageInWorld(base);
    expect(outcome.end.how).toBe('finished');
    expect(await falsehoods(outcome, none)).toEqual([]);
    expect(outcome.drive.counters.reads).toBe(Math.ceil(40_000 / 128));
    expect(outcome.state.totals).toMatchObject({ failingReads: 0, powerCycles: 0, resets: 0 });
  });

  test('a bad physical sector costs one failing read: the drive names it, and everything else is read', async () => {
    const outcome = await imageInWorld({
      ...base,
      faults: [{ kind: 'bad', lba: 10_000, count: 8, errorMs: 300 }],
    });
    expect(await falsehoods(outcome, within(10_000, 8))).toEqual([]);
    expect(outcome.drive.counters.failingReads).toBe(1);
  });

  test('errors slower than the deadline are no verdict: abort, reset, reference, then the place is to blame', async () => {
    const outcome = await imageInWorld({
      ...base,
      faults: [{ kind: 'bad', lba: 10_000, count: 8, errorMs: 2500 }],
    });
    expect(await falsehoods(outcome, within(10_000, 8))).toEqual([]);
    expect(decisions(outcome.events)).toContain('blamed place');
    expect(outcome.state.totals.powerCycles).toBe(0);
  });

  test('a spot that hangs the drive until a power cycle costs two cycles and only its own sectors', async () => {
    const outcome = await imageInWorld({
      ...base,
      faults: [{ kind: 'hang', lba: 20_000, count: 8, until: 'power-cycle' }],
    });
    expect(outcome.end.how).toBe('finished');
    expect(await falsehoods(outcome, within(20_000, 8))).toEqual([]);
    expect(outcome.state.totals.powerCycles).toBe(2);
    expect(decisions(outcome.events).filter((kind) => kind === 'blamed hang')).toHaveLength(2);
  });

  test.each([
    300, 1400, 6000,
  ])('a power cycle costs the off-time, a spin-up of %i ms and less than a second to the next read', async (spinUpMs) => {
    const { events, state } = await imageInWorld({
      ...base,
      mechanics: { spinUpMs },
      // Until the rails are down the off-time has not begun.
      power: { dischargeMs: 0 },
      faults: [{ kind: 'hang', lba: 20_000, count: 8, until: 'power-cycle' }],
    });
    const cycles = events.flatMap(({ kind }, at) => (kind === 'power-cycled' ? [at] : []));
    expect(cycles).toHaveLength(2);
    for (const at of cycles) {
      const next = events.slice(at).find((event) => event.kind === 'read');
      const begunMs = next!.atMs - next!.elapsedMs;
      const costMs = begunMs - events[at - 1]!.atMs;
      expect(costMs).toBeGreaterThanOrEqual(state.policy.offMs + spinUpMs);
      expect(costMs).toBeLessThan(state.policy.offMs + spinUpMs + 1000);
    }
  });

  test.each([
    2, 3,
  ])('%i spots of one group that hang the drive cost only their own sectors', async (repeats) => {
    const outcome = await imageInWorld({
      ...base,
      faults: [{ kind: 'hang', lba: 20_000, count: 8, pitch: 32, repeats, until: 'power-cycle' }],
    });
    const hangs = (at: number) => at < 20_000 + repeats * 32 && (at - 20_000) % 32 < 8;
    expect(outcome.end.how).toBe('finished');
    expect(await falsehoods(outcome, (at) => at >= 20_000 && hangs(at))).toEqual([]);
  });

  test('a hung drive that answers every read with an error at once marks nothing bad', async () => {
    const outcome = await imageInWorld({
      ...base,
      faults: [
        {
          kind: 'hang',
          lba: 20_000,
          count: 8,
          until: 'power-cycle',
          answering: 'error',
          errorMs: 5,
        },
      ],
    });
    expect(await falsehoods(outcome, within(20_000, 8))).toEqual([]);
    expect(outcome.state.totals.powerCycles).toBe(2);
  });

  test('a hang that a hard reset ends costs no power cycle', async () => {
    const outcome = await imageInWorld({
      ...base,
      faults: [{ kind: 'hang', lba: 20_000, count: 8, until: 'hard-reset' }],
    });
    expect(await falsehoods(outcome, within(20_000, 8))).toEqual([]);
    expect(outcome.state.totals.powerCycles).toBe(0);
  });

  test('a reset that the imager refuses is a rung that does not bear: the next one is taken', async () => {
    const wrap = (drive: Drive): Drive => ({
      ...drive,
      reset: async (kind) => {
        if (kind !== 'abort') throw new LastspinError('DEVICE_REFUSED', `no ${kind} reset now`);
        await drive.reset(kind);
      },
    });
    const outcome = await imageInWorld(
      { ...base, faults: [{ kind: 'hang', lba: 20_000, count: 8, until: 'hard-reset' }] },
      { wrap },
    );
    expect(outcome.end.how).toBe('finished');
    expect(await falsehoods(outcome, within(20_000, 8))).toEqual([]);
    expect(outcome.state.totals.powerCycles).toBe(2);
  });

  test('a drive that vanishes from the bus once is brought back and loses nothing', async () => {
    const outcome = await imageInWorld({
      ...base,
      faults: [{ kind: 'vanish', lba: 15_000, count: 8, returns: 'power-cycle', times: 1 }],
    });
    expect(outcome.end.how).toBe('finished');
    expect(await falsehoods(outcome, none)).toEqual([]);
    expect(outcome.state.totals.powerCycles).toBe(1);
  });

  test('a drive that stalls everywhere for a while has no sector marked', async () => {
    const outcome = await imageInWorld({
      ...base,
      faults: [{ kind: 'stall', lba: 12_000, count: 8, lastsMs: 45_000, readMs: 4000, times: 1 }],
    });
    expect(outcome.end.how).toBe('finished');
    expect(await falsehoods(outcome, none)).toEqual([]);
    expect(outcome.state.totals.powerCycles).toBeLessThanOrEqual(1);
  });

  test('sectors that read once in a few tries come in with retries', async () => {
    const flaky: ScenarioInput = {
      ...base,
      faults: [{ kind: 'bad', lba: 10_000, count: 80, errorMs: 200, readChance: 0.4 }],
    };
    const outcome = await imageInWorld(flaky, { retries: 20 });
    expect(await falsehoods(outcome, none)).toEqual([]);
  });

  test('a drive whose first spin-up fails rests ten minutes before the second, and is imaged', async () => {
    const outcome = await imageInWorld({ ...base, faults: [{ kind: 'spin-up', fails: 1 }] });
    expect(outcome.end.how).toBe('finished');
    expect(outcome.elapsedMs).toBeGreaterThan(600_000);
  });

  test('a drive that never spins up is given up after two tries', async () => {
    const clicking = imageInWorld({ ...base, faults: [{ kind: 'spin-up', fails: 100 }] });
    await expect(clicking).rejects.toSatisfy((error) => isLastspinError(error, 'DRIVE_HUNG'));
  });

  test('a drive that no reset and no power cycle revives ends the job, and marks nothing', async () => {
    const outcome = await imageInWorld({
      ...base,
      faults: [{ kind: 'vanish', lba: 15_000, count: 8, returns: 'never' }],
    });
    expect(outcome.end.how).toBe('gave-up');
    expect(outcome.state.plan.map.countOf(statuses['bad-sector'])).toBe(0);
    expect(outcome.state.plan.map.countOf(statuses['non-trimmed'])).toBe(0);
  });

  test('without a power switch a hang ends the job and says so', async () => {
    const outcome = await imageInWorld(
      { ...base, faults: [{ kind: 'hang', lba: 20_000, count: 8, until: 'power-cycle' }] },
      { noPower: true },
    );
    expect(outcome.end).toMatchObject({ how: 'gave-up', why: expect.stringContaining('--power') });
    expect(outcome.state.plan.map.countOf(statuses['bad-sector'])).toBe(0);
  });

  test('weak head, slow zone, scratch and a hang together: all that can be read is read', async () => {
    const outcome = await imageInWorld({
      ...base,
      faults: [
        { kind: 'bad', lba: 5000, count: 16, pitch: 800, repeats: 6, errorMs: 400 },
        { kind: 'slow', lba: 12_000, count: 3000, extraMs: 60 },
        { kind: 'bad', lba: 13_000, count: 40, errorMs: 700, reportsLba: false },
        { kind: 'hang', lba: 30_000, count: 8, until: 'power-cycle' },
      ],
    });
    const lost = (at: number) =>
      within(13_000, 40)(at) ||
      within(30_000, 8)(at) ||
      [0, 1, 2, 3, 4, 5].some((n) => within(5000 + n * 800, 16)(at));
    expect(await falsehoods(outcome, lost)).toEqual([]);
  });

  test('a noisy link costs no sector, no wrong byte and no read of the drive', async () => {
    const faults: ScenarioInput['faults'] = [{ kind: 'bad', lba: 10_000, count: 16, errorMs: 300 }];
    const quiet = await imageInWorld({ ...base, faults });
    const noisy = await imageInWorld(
      { ...base, faults },
      {
        noise: [
          { kind: 'flip', chance: 0.01 },
          { kind: 'drop', chance: 0.01 },
        ],
      },
    );
    expect(await falsehoods(noisy, within(10_000, 16))).toEqual([]);
    expect(noisy.drive.counters.reads).toBe(quiet.drive.counters.reads);
  });
});

describe('between passes', () => {
  const onRow = (name: string, change: Partial<Pass>) => (rows: readonly Pass[]) =>
    rows.map((row) => (row.name === name ? { ...row, ...change } : row));

  /** A drive that leaves trimming something to do. */
  const trimmed: ScenarioInput = {
    ...base,
    faults: [{ kind: 'bad', lba: 10_000, count: 8, errorMs: 100, reportsLba: false }],
  };

  test('a row may cycle the power before it starts: STANDBY first, then off, ready, settled', async () => {
    const edit = onRow('trim', { before: { kind: 'power-cycle' } });
    const outcome = await imageInWorld(trimmed, { edit });
    expect(outcome.state.totals.powerCycles).toBe(1);
    expect(outcome.drive.counters.emergencyUnloads).toBe(0);
    const decided = decisions(outcome.events);
    expect(decided).toEqual(['started', 'temperature', 'power-cycled', 'ready', 'rested', 'ended']);
    expect(await falsehoods(outcome, within(10_000, 8))).toEqual([]);
  });

  test('a row that finds nothing to read costs no power cycle', async () => {
    const edit = onRow('trim', { before: { kind: 'power-cycle' } });
    const outcome = await imageInWorld(base, { edit });
    expect(outcome.state.totals.powerCycles).toBe(0);
  });

  test('a row may rest before it starts, and a long rest parks', async () => {
    const edit = onRow('trim', { before: { kind: 'rest', restMs: 600_000 } });
    const outcome = await imageInWorld(trimmed, { edit });
    expect(outcome.elapsedMs).toBeGreaterThan(600_000);
    expect(outcome.events.find((event) => event.kind === 'rested')).toMatchObject({
      restMs: 600_000,
    });
    expect(outcome.drive.counters.powerOns).toBe(1);
  });

  describe('a pass in which the drive cannot be brought back', () => {
    // With nothing but an abort, a drive that is silent for a while is beyond help.
    const wrap = (drive: Drive): Drive => ({
      ...drive,
      capabilities: { ...drive.capabilities, resets: new Set(['abort'] as const) },
    });
    const helpless = { noPower: true, wrap };
    const silent = (lastsMs: number): ScenarioInput => ({
      ...base,
      faults: [{ kind: 'stall', lba: 20_000, count: 8, lastsMs, readMs: 9000, times: 1 }],
    });
    const endedPasses = (outcome: Awaited<ReturnType<typeof imageInWorld>>) =>
      outcome.events.filter((event) => event.kind === 'pass-ended').length;

    test('ends the job', async () => {
      const outcome = await imageInWorld(silent(20_000), helpless);
      expect(outcome.end.how).toBe('gave-up');
      expect(endedPasses(outcome)).toBe(0);
    });

    test('ends only itself where its row says so and the drive comes back', async () => {
      const edit = onRow('good areas', { ifHung: 'next' });
      const outcome = await imageInWorld(silent(20_000), { ...helpless, edit });
      expect(endedPasses(outcome)).toBeGreaterThan(1);
      expect(outcome.state.plan.map.countOf(statuses['bad-sector'])).toBe(0);
    });

    test('ends the job all the same where the drive does not come back', async () => {
      const edit = (rows: readonly Pass[]) =>
        rows.map((row) => ({ ...row, ifHung: 'next' as const }));
      const dead: ScenarioInput = {
        ...base,
        faults: [{ kind: 'vanish', lba: 15_000, count: 8, returns: 'never' }],
      };
      const outcome = await imageInWorld(dead, { edit });
      expect(outcome.end.how).toBe('gave-up');
      expect(outcome.state.plan.map.countOf(statuses['bad-sector'])).toBe(0);
    });
  });

  test('another drive after a power cycle is refused, and the map is saved', async () => {
    const swapped = imageInWorld({
      ...base,
      faults: [
        { kind: 'hang', lba: 20_000, count: 8, until: 'power-cycle' },
        { kind: 'alias', fromPowerOn: 2, serial: 'ANOTHER' },
      ],
    });
    await expect(swapped).rejects.toSatisfy((error) => isLastspinError(error, 'DRIVE_CHANGED'));
  });
});

describe('power switches', () => {
  const hang: ScenarioInput = {
    ...base,
    faults: [{ kind: 'hang', lba: 20_000, count: 8, until: 'power-cycle' }],
  };
  const broken: Power = {
    name: 'broken',
    canHold: false,
    cycle: async () => {
      throw new LastspinError('POWER_FAILED', 'the relay sticks');
    },
    set: async () => {},
    close: async () => {},
  };

  test('one that fails is noted, the next one is used, and the same drive is read on', async () => {
    const outcome = await imageInWorld(hang, { powers: (own) => [broken, ...own] });
    expect(await falsehoods(outcome, within(20_000, 8))).toEqual([]);
    expect(outcome.drive.counters.powerOns).toBe(1 + 2);
    const failed = outcome.events.filter((event) => event.kind === 'power-failed');
    expect(failed).toHaveLength(2);
    expect(failed[0]).toMatchObject({
      power: 'broken',
      why: expect.stringContaining('the relay sticks'),
    });
  });

  test('one that works is used alone, whatever stands behind it', async () => {
    const outcome = await imageInWorld(hang, { powers: (own) => [...own, broken] });
    expect(outcome.end.how).toBe('finished');
    expect(decisions(outcome.events)).not.toContain('power-failed');
  });

  test('when all of them fail the job fails, and what was read is in the map', async () => {
    const files = memoryFiles();
    const failed = imageInWorld(hang, { files, powers: [broken, broken] });
    await expect(failed).rejects.toSatisfy((error) => isLastspinError(error, 'POWER_FAILED'));
    const second = await imageInWorld({ ...base, faults: [] }, { files });
    expect(await falsehoods(second, none)).toEqual([]);
    // 156 groups lie before the one that hung.
    expect(second.drive.counters.reads).toBe(Math.ceil(40_000 / 128) - 156);
  });
});

describe('an interrupted job', () => {
  test('takes in what came back meanwhile: none of it is read again', async () => {
    const files = memoryFiles();
    const burst = inOneGo(4);
    const first = await imageInWorld(base, { files, wrap: burst.wrap, interruptAfter: 1 });
    expect(first.end.how).toBe('interrupted');
    const second = await imageInWorld(base, { files });
    expect(second.drive.counters.reads).toBe(Math.ceil(40_000 / 128) - 4);
    expect(await falsehoods(second, none)).toEqual([]);
  });

  test('marks nothing for the read that it cut short', async () => {
    const burst = inOneGo(4);
    const { state } = await imageInWorld(base, { wrap: burst.wrap, interruptAfter: 1 });
    expect(state.plan.map.countOf(statuses.finished)).toBe(burst.goodCount());
    expect(state.plan.map.countOf(statuses['non-tried'])).toBe(40_000 - burst.goodCount());
  });

  test('does not wait for ever for a read that never comes back', async () => {
    let reads = 0;
    const wrap = (drive: Drive): Drive => ({
      ...drive,
      read: (request) => (++reads === 1 ? drive.read(request) : new Promise(() => {})),
    });
    const outcome = await imageInWorld(base, { wrap, interruptAfter: 1 });
    expect(outcome.end.how).toBe('interrupted');
  });
});

/** The first results come all at once, as after a hiccup of the laptop. */
function inOneGo(resultCount: number) {
  let results = 0;
  let goodCount = 0;
  let release = () => {};
  const allThere = new Promise<void>((resolve) => {
    release = resolve;
  });
  return {
    /** Sectors that came good. */
    goodCount: () => goodCount,
    wrap: (drive: Drive): Drive => ({
      ...drive,
      async read(request) {
        const result = await drive.read(request);
        goodCount += result.goodCount;
        results += 1;
        if (results === resultCount) release();
        await allThere;
        return result;
      },
    }),
  };
}

describe('resume', () => {
  const faults: ScenarioInput['faults'] = [
    { kind: 'bad', lba: 10_000, count: 16, errorMs: 300 },
    { kind: 'hang', lba: 20_000, count: 8, until: 'power-cycle' },
  ];
  const lost = (at: number) => within(10_000, 16)(at) || within(20_000, 8)(at);

  test.each([
    1, 50, 90, 170, 260,
  ])('interrupted after %i reads and run again: the same final map', async (interruptAfter) => {
    const files = memoryFiles();
    const first = await imageInWorld({ ...base, faults }, { files, interruptAfter });
    expect(first.end.how).toBe('interrupted');
    const second = await imageInWorld({ ...base, faults }, { files });
    expect(second.events[0]).toMatchObject({ kind: 'started', resumed: true });
    expect(await falsehoods(second, lost)).toEqual([]);
    expect(second.drive.counters.reads + first.drive.counters.reads).toBeLessThan(450);
  });

  test('another drive is refused, and the map stays as it was', async () => {
    const files = memoryFiles();
    await imageInWorld(base, { files, interruptAfter: 50 });
    const before = Buffer.from(await files.readAll('case.map'));
    const other = imageInWorld({ ...base, identity: { serial: 'OTHER' } }, { files });
    await expect(other).rejects.toSatisfy((error) => isLastspinError(error, 'DRIVE_CHANGED'));
    expect(Buffer.compare(before, await files.readAll('case.map'))).toBe(0);
  });

  test('the map of a foreign program is gone on from', async () => {
    const files = memoryFiles();
    const half = 20_480_000 / 2;
    const text = `0x0 ?\n0x0 ${half} +\n${half} ${half} ?\n`;
    await write(files, 'case.map', text);
    const image = await files.open('case.img', { create: true });
    await image.truncate(20_480_000);
    await image.close();
    const outcome = await imageInWorld(base, { files });
    expect(outcome.drive.counters.reads).toBe(157);
    const map = parseMapFile(await files.readAll('case.map'), 'case.map');
    expect(map.starts).toHaveLength(1);
  });

  test('a map of a larger drive is refused', async () => {
    const files = memoryFiles();
    await write(files, 'case.map', '0x0 ?\n0x0 999999488 +\n');
    const image = await files.open('case.img', { create: true });
    await image.close();
    await expect(imageInWorld(base, { files })).rejects.toSatisfy((error) =>
      isLastspinError(error, 'MAP_MISMATCH'),
    );
  });

  test('an image without its map is not touched', async () => {
    const files = memoryFiles();
    await write(files, 'case.img', 'precious');
    await expect(imageInWorld(base, { files })).rejects.toSatisfy((error) =>
      isLastspinError(error, 'IMAGE_EXISTS'),
    );
    expect(Buffer.from(await files.readAll('case.img')).toString()).toBe('precious');
  });

  test('why areas were skipped and what hung survives the checkpoint', async () => {
    const files = memoryFiles();
    const hang: ScenarioInput['faults'] = [
      { kind: 'hang', lba: 20_000, count: 8, until: 'power-cycle' },
    ];
    const first = await imageInWorld({ ...base, faults: hang }, { files, interruptAfter: 200 });
    expect(first.state.plan.notes.countOf(notes.hung)).toBe(128);
    const second = await imageInWorld({ ...base, faults: hang }, { files });
    expect(second.state.totals.powerCycles).toBe(2);
  });
});

async function write(
  files: ReturnType<typeof memoryFiles>,
  path: string,
  text: string,
): Promise<void> {
  const file = await files.open(path, { create: true });
  await file.write(Buffer.from(text), 0);
  await file.close();
}
