import { expect, test } from 'vitest';
import { createSimulatedDrive } from '../../hardware-sim/drive.js';
import { defineScenario } from '../../hardware-sim/scenario.js';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import { powerOnRehearsed, rehearsedDrive } from '../../src/cli/rehearsed-drive.js';
import type { JobEvent } from '../../src/job/events.js';
import { rehearse } from '../../src/job/rehearsal.js';
import { createJobState, type JobState } from '../../src/job/state.js';
import { statuses } from '../../src/map/status.js';
import { createPlanState } from '../../src/plan/state.js';
import { troublePolicies } from '../../src/power/policy.js';
import { presetRows } from '../presets.js';

type Read = JobEvent & { kind: 'read' };

interface Moment {
  readonly read: Read;
  readonly finished: number;
  readonly failing: number;
  readonly atMs: number;
}

/** The reads that `adaptive` makes on a simulated drive, until `isEnough`, with what was reached by then. */
function readsOn(
  input: ScenarioInput,
  preset = 'adaptive',
  isEnough: (state: JobState) => boolean = () => false,
): { readonly moments: Moment[]; readonly state: JobState } {
  const scenario = defineScenario(input);
  const { sectorCount, sectorBytes, physicalSectorBytes } = scenario;
  const physicalCount = physicalSectorBytes / sectorBytes;
  const passes = presetRows(preset, { sectorCount, sectorBytes, physicalCount });
  const plan = createPlanState({ sectorCount, sectorBytes, physicalCount, passes });
  const state = createJobState(plan, troublePolicies.hdd);
  const drive = createSimulatedDrive(scenario, { media: 'none' });
  state.atMs = powerOnRehearsed(drive, state.policy).readyMs!;
  const startMs = state.atMs;
  const moments: Moment[] = [];
  const enough = new Error('enough');
  try {
    rehearse(state, {
      drive: rehearsedDrive(drive),
      identity: drive.identify(state.atMs)!,
      reach: { resets: new Set(['abort', 'soft', 'hard']), power: true },
      onEvent: (event, { plan: now, totals, atMs }) => {
        if (event.kind !== 'read' || event.role !== 'pass') return;
        const finished = now.map.countOf(statuses.finished);
        moments.push({ read: event, finished, failing: totals.failingReads, atMs: atMs - startMs });
        if (isEnough(state)) throw enough;
      },
    });
  } catch (error) {
    if (error !== enough) throw error;
  }
  return { moments, state };
}

const sectorCount = 2 ** 20;
const mechanics = {
  heads: 4,
  bandSectors: 16_384,
  outerBytesPerSecond: 170e6,
  innerBytesPerSecond: 85e6,
};
const base = { seed: 5, sectorCount, physicalSectorBytes: 4096, mechanics };

test('one dead head of four: the good heads are in after less than two failing reads a dead band', () => {
  const faults: ScenarioInput['faults'] = [{ kind: 'bad', head: 2, errorMs: 1000 }];
  const good = (3 / 4) * sectorCount;
  const isEnough = ({ plan }: JobState) => plan.map.countOf(statuses.finished) >= good;
  const { moments } = readsOn({ ...base, faults }, 'adaptive', isEnough);
  const bands = sectorCount / mechanics.bandSectors / mechanics.heads;
  expect(moments.at(-1)!.finished).toBe(good);
  expect(moments.at(-1)!.failing).toBeLessThan(2 * bands);
  const peer = readsOn({ ...base, faults }, 'ddrescue', isEnough);
  expect(moments.at(-1)!.failing).toBeLessThan(peer.moments.at(-1)!.failing / 3);
});

test('a weak, slow head: half of the drive in a fraction of the time that ddrescue’s passes need', () => {
  const faults: ScenarioInput['faults'] = [
    { kind: 'bad', head: 1, perMillion: 40_000, errorMs: 700 },
    { kind: 'slow', head: 1, extraMs: 5 },
  ];
  const isHalf = ({ plan }: JobState) => plan.map.countOf(statuses.finished) >= sectorCount / 2;
  const [ours, peer] = ['adaptive', 'ddrescue'].map(
    (preset) => readsOn({ ...base, faults }, preset, isHalf).moments.at(-1)!.atMs,
  );
  expect(ours! / peer!).toBeLessThan(0.3);
});

test('a scratch is left for later once it is known: most marks ahead are not run into', () => {
  const marks = Array.from({ length: 200 }, (_, n) => ({
    kind: 'bad' as const,
    lba: 400_000 + 8 * Math.round((n * 2003) / 8),
    count: 8,
    errorMs: 700,
  }));
  const { moments } = readsOn({ ...base, faults: marks }, 'adaptive', ({ plan }) => {
    return plan.map.countOf(statuses.finished) >= 0.99 * sectorCount;
  });
  expect(moments.at(-1)!.failing).toBeLessThan(100);
});

test('a spot that hung the drive is not touched again until everything else was', () => {
  const hang = { lba: 300_000, count: 8 };
  const faults: ScenarioInput['faults'] = [
    { kind: 'hang', ...hang, until: 'power-cycle' },
    { kind: 'bad', lba: 700_000, count: 80, errorMs: 700 },
  ];
  const { moments, state } = readsOn({ ...base, faults });
  const touches = moments.flatMap(({ read }, index) =>
    read.lba <= hang.lba && read.lba + read.count > hang.lba ? [index] : [],
  );
  expect(touches).toHaveLength(2);
  const between = moments.slice(touches[0]! + 1, touches[1]!);
  // What lies in the group of the spot is all that is left then.
  expect(between.at(-1)!.finished).toBeGreaterThan(sectorCount - 8 - 80 - 256);
  expect(state.totals.powerCycles).toBe(2);
});

test('where the drive names the bad sector, no spot costs more failing reads than it has physical sectors', () => {
  const lbas = [8000, 60_000, 300_008, 700_000, 900_000];
  const faults = lbas.map((lba) => ({ kind: 'bad' as const, lba, count: 24, errorMs: 700 }));
  const { moments } = readsOn({ ...base, faults });
  expect(moments.at(-1)!.failing).toBe(3 * lbas.length);
});
