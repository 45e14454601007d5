import { expect, test } from 'vitest';
import type { JobEvent } from '../../src/job/events.js';
import { createJobState, foldJob } from '../../src/job/state.js';
import { troublePolicies } from '../../src/power/policy.js';
import {
  createRecord,
  formatRehearsal,
  type RehearsalResult,
  type RehearsalRun,
  rehearsalResultSchema,
} from '../../src/show/rehearsal.js';
import { standardState } from '../plan/bench-drive.js';

const end = { how: 'finished', why: 'every pass is done' } as const;

/** A drive of 1000 sectors that is read ten at a time, 100 ms a read; 500 to 509 are not there. */
function recordOf(readable: number): RehearsalRun {
  const state = createJobState(standardState(1000), troublePolicies.hdd);
  const record = createRecord(readable);
  const happen = (event: JobEvent) => {
    foldJob(state, event);
    record.onEvent(event, state);
  };
  happen({ kind: 'pass-started', index: 0, name: 'good areas', atMs: 0 });
  for (let n = 0; n < 100; n++) {
    const isBad = n === 50;
    happen({
      kind: 'read',
      role: 'pass',
      lba: n * 10,
      count: 10,
      outcome: isBad ? 'fault' : 'good',
      ...(isBad && { cause: 'medium' as const, faultLba: 500 }),
      goodCount: isBad ? 0 : 10,
      elapsedMs: 100,
      atMs: (n + 1) * 100,
    });
  }
  return record.finish('standard', end, state, 1.25);
}

const until = (run: RehearsalRun, percent: number) =>
  run.until.find((each) => each.percent === percent);

test('marks are told by when so much of what is readable was in, with the failing reads until then', () => {
  const run = recordOf(990);
  expect(until(run, 50)).toEqual({ percent: 50, atMs: 5000, failingReads: 0 });
  // 891 sectors: 90 reads, of which one failed.
  expect(until(run, 90)).toEqual({ percent: 90, atMs: 9100, failingReads: 1 });
  expect(until(run, 99.9)).toEqual({ percent: 99.9, atMs: 10_000, failingReads: 1 });
  expect(run.deliveredShare).toBe(1);
  expect(run).toMatchObject({ finishedSectors: 990, reads: 100, failingReads: 1 });
});

test('a mark that was not reached has no time', () => {
  const run = recordOf(1000);
  expect(until(run, 99)).toEqual({ percent: 99, atMs: 10_000, failingReads: 1 });
  expect(until(run, 99.9)).toEqual({ percent: 99.9, atMs: null, failingReads: null });
  expect(run.deliveredShare).toBe(0.99);
});

test('the curve rises from nothing to the end, and stays small', () => {
  const { curve, elapsedMs, finishedSectors } = recordOf(990);
  expect(curve[0]).toEqual([0, 0]);
  expect(curve.at(-1)).toEqual([elapsedMs, finishedSectors]);
  const steps = curve
    .slice(1)
    .map(([ms, sectors], n) => [ms - curve[n]![0], sectors - curve[n]![1]]);
  expect(steps.flat().every((step) => step >= 0)).toBe(true);
  expect(curve.length).toBeLessThan(120);
});

function resultOf(...runs: RehearsalRun[]): RehearsalResult {
  const drive = { name: 'mine', source: 'scenario', kind: 'hdd', seed: 7 } as const;
  const size = { sectorCount: 1000, sectorBytes: 512, physicalSectorBytes: 512 };
  return {
    schema: 'lastspin/rehearsal-result/1',
    drive: { ...drive, ...size, readableSectors: 990 },
    settings: {
      failingLba: 'as-scenario',
      untried: null,
      errorTimeMs: null,
      physicalSectorBytes: 512,
      retries: null,
      durationMs: null,
    },
    runs,
  };
}

test('the tables fit a terminal and name what did not end by itself', () => {
  const late = { ...recordOf(990), elapsedMs: 650_000_000, reads: 123_456_789, powerCycles: 12 };
  const result = resultOf(
    { ...late, preset: 'ddrescue' },
    { ...late, preset: 'gentle', ended: 'gave-up', why: 'the budget of 30 power cycles is spent' },
  );
  expect(rehearsalResultSchema.parse(result)).toEqual(result);
  const text = formatRehearsal(result);
  const lines = text.split('\n').slice(1);
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80);
  expect(text).toContain('gentle gave up: the budget of 30 power cycles is spent\n');
  expect(text).not.toContain('ddrescue gave up');
  expect(text).toMatch(/^ddrescue +100 % +180 h 33 min +123456789 +1 +1\.3 widths +12$/m);
  expect(text).toMatch(/^ddrescue +5\.0 s \/ 0 +9\.1 s \/ 1 /m);
});

test('of a drive that gives nothing no share is claimed', () => {
  const none = resultOf({ ...recordOf(990), finishedSectors: 0 });
  const text = formatRehearsal({ ...none, drive: { ...none.drive, readableSectors: 0 } });
  expect(text).toMatch(/^standard +- /m);
});
