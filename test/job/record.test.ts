import { expect, test } from 'vitest';
import { createRandom } from '../../hardware-sim/random.js';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import { replayEventLog } from '../../src/job/replay.js';
import { snapshotOf } from '../../src/job/snapshot.js';
import { memoryFiles } from '../image/memory-files.js';
import { presetRows } from '../presets.js';
import { imageInWorld, type Outcome, type WorldOptions } from './world.js';

type Faults = NonNullable<ScenarioInput['faults']>;

/** A failing drive drawn from a seed, and how often its job is interrupted. */
function drawWorld(seed: number) {
  const random = createRandom(seed);
  const pick = <T>(choices: readonly T[]): T => choices[random.below(choices.length)]!;
  const sectorCount = pick([3000, 8000, 4097]);
  const place = (count: number) => ({ lba: random.below(sectorCount - count), count });
  const draw: (() => Faults[number])[] = [
    () => ({ kind: 'bad', ...place(pick([1, 8, 60])), errorMs: pick([2, 400, 2500]) }),
    () => ({ kind: 'bad', ...place(20), errorMs: 50, reportsLba: false }),
    () => ({ kind: 'bad', ...place(3), errorMs: 50, error: 'abort' }),
    () => ({ kind: 'slow', ...place(pick([20, 300])), extraMs: pick([60, 400, 1500]) }),
    () => ({ kind: 'hang', ...place(1), until: pick(['soft-reset', 'hard-reset', 'power-cycle']) }),
    () => ({ kind: 'stall', ...place(1), lastsMs: 45_000, readMs: 1500, times: 1 }),
  ];
  const faults = Array.from({ length: 1 + random.below(4) }, () => pick(draw)());
  const interrupts = pick([[], [20 + random.below(60)], [10, 40 + random.below(60)]]);
  const physicalSectorBytes = pick([512, 4096]);
  const preset = pick(['standard', 'adaptive', 'gentle', 'ddrescue'] as const);
  const input: ScenarioInput = { seed, sectorCount, physicalSectorBytes, faults };
  const rows = presetRows(preset, { sectorCount, retries: pick([0, 1]) });
  const edit = () => rows;
  return { input, interrupts, edit };
}

/** The log alone gives the state that the job ended with, and every decision is the planner's own. */
async function expectReplay(outcome: Outcome, told: string): Promise<void> {
  const { files, state } = outcome;
  const found = await replayEventLog(files, 'case.events.ndjson');
  expect(found?.report.problem, told).toBeUndefined();
  const replay = found!.replay;
  expect(replay.problem, told).toBeUndefined();
  expect(replay.departures, told).toEqual([]);
  const replayed = replay.state!;
  expect([...replayed.plan.map.runs()], told).toEqual([...state.plan.map.runs()]);
  const plain = (value: unknown) => JSON.parse(JSON.stringify(value));
  const drive = replay.drive!;
  expect(plain(snapshotOf(replayed, drive, 'hdd')), told).toEqual(
    plain(snapshotOf(state, drive, 'hdd')),
  );
}

const seeds = process.env.SEED
  ? [Number(process.env.SEED)]
  : Array.from({ length: Number(process.env.SEEDS ?? 12) }, (_, n) => n + 1);

test.each(seeds)('world %i: the log folds into the same state and the same plan', async (seed) => {
  const { input, interrupts, edit } = drawWorld(seed);
  const files = memoryFiles();
  const told = `SEED=${seed} npx vitest run test/job/record: ${JSON.stringify(input)}`;
  let last: Outcome | undefined;
  for (const interruptAfter of [...interrupts, 0]) {
    const options: WorldOptions = last ? { drive: last.drive, startMs: last.elapsedMs } : {};
    last = await imageInWorld(input, { files, interruptAfter, edit, ...options });
    await expectReplay(last, told);
  }
});
