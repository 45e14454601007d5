import { expect, test } from 'vitest';
import { createSimulatedDrive } from '../../hardware-sim/drive.js';
import { patternSector } from '../../hardware-sim/media.js';
import { createRandom } from '../../hardware-sim/random.js';
import { defineScenario } from '../../hardware-sim/scenario.js';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import { isLastspinError } from '../../src/errors.js';
import type { Case } from '../../src/job/case.js';
import { statuses } from '../../src/map/status.js';
import { type CrashingFiles, crashingFiles, type DiskTrouble } from '../image/crashing-files.js';
import { falsehoods, imageInWorld, type WorldOptions } from './world.js';

/** Worlds in which everything fails: laptop, line, drive, and the disk that the image is on. The production code runs
 * unmodified. Few here; `SEEDS=1000 npx vitest run test/job/storms` draws more, `SEED=17` replays one. */
const seeds = process.env.SEED
  ? [Number(process.env.SEED)]
  : Array.from({ length: Number(process.env.SEEDS ?? 8) }, (_, n) => n + 1);

type Faults = NonNullable<ScenarioInput['faults']>;
type Random = ReturnType<typeof createRandom>;

const sectorCount = 1600;
const livesMax = 60;

function pick<T>(random: Random, choices: readonly T[]): T {
  return choices[random.below(choices.length)]!;
}

/** A failing drive, a place for each fault, and what of it is dead. */
function drawDrive(random: Random, seed: number) {
  const dead = new Set<number>();
  const faults: Faults = [];
  const place = (n: number) => 100 + n * 400 + random.below(200);
  const count = pick(random, [1, 8, 40]);
  const bad = place(0);
  faults.push({ kind: 'bad', lba: bad, count, errorMs: pick(random, [50, 900]) });
  for (let lba = bad; lba < bad + count; lba++) dead.add(lba);
  const hang = place(1);
  const until = pick(random, ['soft-reset', 'hard-reset', 'power-cycle'] as const);
  faults.push({ kind: 'hang', lba: hang, count: 1, until });
  dead.add(hang);
  if (random.below(2)) {
    const lba = place(2);
    faults.push({ kind: 'vanish', lba, count: 1, returns: 'power-cycle', times: 1 });
  }
  const input: ScenarioInput = { seed, sectorCount, mechanics: { spinUpMs: 500 }, faults };
  return { input, dead };
}

function drawTroubles(random: Random): DiskTrouble[] {
  const kinds = ['full', 'full', 'write-error', 'sync-error'] as const;
  return Array.from({ length: random.below(3) }, () => ({
    kind: pick(random, kinds),
    after: random.below(60),
    times: 1 + random.below(4),
  }));
}

function refuseFalseClaims({ state }: Case, files: CrashingFiles, seed: number): void {
  const { map, sectorBytes } = state.plan;
  const image = files.content('case.img') ?? new Uint8Array(0);
  for (let lba = 0; lba < sectorCount; lba++) {
    if (map.valueAt(lba) !== statuses.finished) continue;
    const held = image.subarray(lba * sectorBytes, (lba + 1) * sectorBytes);
    if (Buffer.compare(held, patternSector(seed, lba, sectorBytes)) !== 0)
      throw new Error(`LBA ${lba} is called finished, which the image lacks`);
  }
}

test.each(
  seeds,
)('world %i: whatever fails, nothing false is claimed, and all comes in the end', async (seed) => {
  const random = createRandom(seed);
  const { input, dead } = drawDrive(random, seed);
  const noise = pick<NonNullable<WorldOptions['noise']>>(random, [
    [],
    [{ kind: 'flip', chance: 0.005 }],
    [{ kind: 'drop', chance: 0.005 }],
  ]);
  const drive = createSimulatedDrive(defineScenario(input));
  let files = crashingFiles(() => random.below(2 ** 30) / 2 ** 30);
  let startMs = 0;
  for (let life = 0; ; life++) {
    const replay = `SEED=${seed} npx vitest run test/job/storms (life ${life})`;
    expect(life, replay).toBeLessThan(livesMax);
    // From a certain age on the world lets the job be.
    const isCalm = life > 12;
    if (!isCalm) {
      files.crashAt(1 + random.below(90));
      for (const row of drawTroubles(random)) files.trouble(row);
    }
    const opened = (rescue: Case) => refuseFalseClaims(rescue, files, seed);
    const outcome = await imageInWorld(input, { files, drive, noise, startMs, opened }).catch(
      (error: unknown) => {
        // The power is gone, or the disk has said what it has to say.
        const isOfDisk = isLastspinError(error) && error.exitCode === 1;
        if (!files.crashed && !isOfDisk) throw new Error(`${replay}: ${error}`, { cause: error });
      },
    );
    startMs += 3_600_000;
    if (outcome) {
      expect(outcome.end.how, replay).toBe('finished');
      expect(await falsehoods(outcome, (lba) => dead.has(lba)), replay).toEqual([]);
      return;
    }
    // A disk that failed is looked at again with its laptop on, or after a reboot: what it lost shows then.
    if (files.crashed || random.below(2)) files = files.reboot();
  }
});
