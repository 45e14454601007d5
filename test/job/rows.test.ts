import { describe, expect, test } from 'vitest';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import type { Drive, DriveSettings } from '../../src/drive/drive.js';
import type { JobEvent } from '../../src/job/events.js';
import type { Pass } from '../../src/plan/pass.js';
import { decisions, falsehoods, imageInWorld, type Outcome } from './world.js';

const base: ScenarioInput = { seed: 3, sectorCount: 40_000, physicalSectorBytes: 4096 };
const bytes = 40_000 * 512;
const none = () => false;
const every = (change: Partial<Pass>) => (rows: readonly Pass[]) =>
  rows.map((row) => ({ ...row, ...change }));
const readsOf = ({ events }: Outcome) =>
  events.filter((event): event is JobEvent & { kind: 'read' } => event.kind === 'read');

describe('a cap on the rate', () => {
  test.each([
    200_000, 2_000_000,
  ])('of %i bytes a second is kept, pipelined as reads are', async (cap) => {
    const outcome = await imageInWorld(base, { edit: every({ bytesPerSecondMax: cap }) });
    const reads = readsOf(outcome);
    const tookMs = reads.at(-1)!.atMs - reads[0]!.atMs;
    expect(bytes / (tookMs / 1000)).toBeGreaterThan(cap * 0.95);
    expect(bytes / (tookMs / 1000)).toBeLessThan(cap * 1.02);
    expect(await falsehoods(outcome, none)).toEqual([]);
  });

  test('is no reason to catch up after a rest', async () => {
    const cap = 1_000_000;
    const edit = every({
      bytesPerSecondMax: cap,
      rest: { afterMs: 100, afterFaults: 0, restMs: 20_000 },
    });
    const reads = readsOf(await imageInWorld(base, { edit }));
    const fullest = reads.map(({ atMs }) => {
      const within = reads.filter((read) => read.atMs >= atMs && read.atMs < atMs + 5000);
      return within.reduce((sum, read) => sum + read.count * 512, 0);
    });
    expect(Math.max(...fullest)).toBeLessThan(5 * cap * 1.05);
  });
});

describe('rests of a row', () => {
  const rested = ({ events }: Outcome) =>
    events.flatMap((event) => (event.kind === 'rested' && event.restMs > 0 ? [event.why] : []));

  test('come after so much reading, heads unloaded, spindle on', async () => {
    const edit = every({ rest: { afterMs: 200, afterFaults: 0, restMs: 5000 } });
    const plain = await imageInWorld(base);
    const outcome = await imageInWorld(base, { edit });
    const readingMs = readsOf(plain).reduce((sum, read) => sum + read.elapsedMs, 0);
    const rests = rested(outcome).length;
    expect(rests).toBeGreaterThan(readingMs / 200 / 4);
    expect(rests).toBeLessThanOrEqual(readingMs / 200 + 1);
    expect(outcome.elapsedMs - plain.elapsedMs).toBeGreaterThan(rests * 5000);
    expect(outcome.drive.counters.spinUps).toBe(1);
    expect(outcome.state.totals.failingReads).toBe(0);
    expect(await falsehoods(outcome, none)).toEqual([]);
  });

  test('come after so many failing reads', async () => {
    const scratch: ScenarioInput = {
      ...base,
      faults: [{ kind: 'bad', lba: 8000, count: 8, pitch: 2000, repeats: 9, errorMs: 50 }],
    };
    const edit = every({ rest: { afterMs: 0, afterFaults: 3, restMs: 2000 } });
    const why = rested(await imageInWorld(scratch, { edit }));
    expect(why.length).toBeGreaterThanOrEqual(2);
    expect(new Set(why)).toEqual(new Set(['after 3 failing reads']));
  });
});

describe('what the ladder may do during a row', () => {
  const hang: ScenarioInput = {
    ...base,
    faults: [{ kind: 'hang', lba: 20_000, count: 8, until: 'power-cycle' }],
  };

  test('only the resets that the row names', async () => {
    const outcome = await imageInWorld(hang, { edit: every({ resets: ['hard'] }) });
    const decided = decisions(outcome.events);
    expect(decided).toContain('hard');
    expect(decided).not.toContain('abort');
    expect(decided).not.toContain('soft');
    expect(await falsehoods(outcome, (lba) => lba >= 20_000 && lba < 20_008)).toEqual([]);
  });

  test('no more power cycles than its own', async () => {
    const spent = await imageInWorld(hang, { edit: every({ powerCyclesMax: 0 }) });
    expect(spent.end).toMatchObject({ how: 'gave-up' });
    expect(spent.end.why).toContain("this row's budget of 0 power cycles is spent");
    expect(spent.state.totals.powerCycles).toBe(0);
    const one = await imageInWorld(hang, { edit: every({ powerCyclesMax: 1 }) });
    expect(one.end.how).toBe('finished');
    expect(one.state.totals.powerCycles).toBe(2);
  });

  test('and its count outlives a run', async () => {
    const files = (await import('../image/memory-files.js')).memoryFiles();
    const twice: ScenarioInput = {
      ...base,
      faults: [
        { kind: 'hang', lba: 10_000, count: 8, pitch: 10_000, repeats: 2, until: 'power-cycle' },
      ],
    };
    const edit = every({ powerCyclesMax: 1 });
    const first = await imageInWorld(twice, { files, edit, interruptAfter: 110 });
    expect(first.state.row.powerCycles).toBe(1);
    const second = await imageInWorld(twice, { files, edit });
    expect(second.end.how).toBe('gave-up');
  });
});

describe("the drive's own settings", () => {
  test('look-ahead is switched off for a row, again after a power cycle, and on for the next row', async () => {
    const asked: DriveSettings[] = [];
    const wrap = (drive: Drive): Drive => ({
      ...drive,
      get capabilities() {
        return drive.capabilities;
      },
      tune: (settings) => {
        asked.push(settings);
        return drive.tune!(settings);
      },
    });
    const edit = (rows: readonly Pass[]) =>
      rows.map((row, n) => (n === 0 ? { ...row, lookAhead: false } : row));
    const hang: ScenarioInput = {
      ...base,
      faults: [{ kind: 'hang', lba: 20_000, count: 8, until: 'power-cycle' }],
    };
    const outcome = await imageInWorld(hang, { wrap, edit });
    expect(asked).toEqual([{ lookAhead: false }, { lookAhead: false }, { lookAhead: true }]);
    // A whole revolution for every group that follows another.
    const quick = await imageInWorld(hang);
    const readingMs = (each: Outcome) =>
      readsOf(each).reduce((sum, read) => sum + (read.outcome === 'good' ? read.elapsedMs : 0), 0);
    const { rotationMs } = outcome.drive.scenario.mechanics;
    expect(readingMs(outcome) - readingMs(quick)).toBeGreaterThan(250 * rotationMs);
  });

  test('what cannot be set is said once', async () => {
    const outcome = await imageInWorld(base, { edit: every({ driveRetries: false }) });
    const said = outcome.events.filter((event) => event.kind === 'drive-tuned');
    expect(said).toMatchObject([{ setting: 'driveRetries', ok: false }]);
    expect(await falsehoods(outcome, none)).toEqual([]);
  });
});
