import { describe, expect, test } from 'vitest';
import { createSimulatedDrive } from '../../hardware-sim/drive.js';
import { patternSector } from '../../hardware-sim/media.js';
import { defineScenario } from '../../hardware-sim/scenario.js';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import type { Drive } from '../../src/drive/drive.js';
import type { FileLayer } from '../../src/image/file-layer.js';
import type { Case } from '../../src/job/case.js';
import { statuses } from '../../src/map/status.js';
import type { Pass } from '../../src/plan/pass.js';
import { type CrashingFiles, crashingFiles, randomOf } from '../image/crashing-files.js';
import { falsehoods, imageInWorld, type Outcome } from './world.js';

const readMs = 250;
const readCount = 16;
/** A drive so slow that a second holds four reads, and the 30 s between two checkpoints more than a
 * hundred: what the journal keeps stands out. */
const scenario: ScenarioInput = {
  seed: 5,
  sectorCount: 300 * readCount,
  physicalSectorBytes: 4096,
  mechanics: { overheadMs: readMs, spinUpMs: 500 },
  faults: [
    { kind: 'bad', lba: 1000, count: 24, errorMs: 300, reportsLba: false },
    { kind: 'hang', lba: 2504, count: 8, until: 'power-cycle' },
    { kind: 'bad', lba: 4000, count: 8, errorMs: 300 },
  ],
};
const lostExtents = [
  [1000, 24],
  [2504, 8],
  [4000, 8],
] as const;
const lost = (lba: number) =>
  lostExtents.some(([from, count]) => lba >= from && lba < from + count);

const windowMax = 4;
/** What a crash may cost in reads: a second of them, the one that ends it, and those under way. */
const readsLostMax = 1000 / readMs + 1 + windowMax;

const edit = (rows: readonly Pass[]) =>
  rows.map((row) => ({ ...row, readCount: Math.min(row.readCount, readCount), slowMs: 0 }));
interface Life {
  /** Commands that the drive got. */
  readonly reads: number;
  /** Reads of which the job learned what became of them. */
  readonly answers: number;
  /** Absent when the power failed before the end. */
  readonly outcome?: Outcome;
}

interface LifeOptions {
  /** Answers to the lives before this one. */
  readonly answersBefore?: number;
  readonly interruptAfter?: number;
  /** Stands before the files. */
  readonly layer?: FileLayer;
}

/** One run of the job on these files, until it ends or the power fails. What it finds is checked before
 * it reads. */
async function live(
  files: CrashingFiles,
  { answersBefore = 0, interruptAfter = 0, layer = files }: LifeOptions = {},
): Promise<Life> {
  const drive = createSimulatedDrive(defineScenario(scenario));
  const opened = (rescue: Case) => {
    refuseFalseClaims(rescue, files);
    expect(rescue.state.totals.reads).toBeLessThanOrEqual(answersBefore);
  };
  let answers = 0;
  const wrap = (imager: Drive): Drive => ({
    ...imager,
    capabilities: { ...imager.capabilities, inFlightMax: windowMax },
    async read(request) {
      const result = await imager.read(request);
      if (result.kind !== 'not-attempted') answers += 1;
      return result;
    },
  });
  try {
    const outcome = await imageInWorld(scenario, {
      files: layer,
      drive,
      edit,
      wrap,
      opened,
      interruptAfter,
    });
    return { reads: drive.counters.reads, answers, outcome };
  } catch (error) {
    if (!files.crashed) throw error;
    return { reads: drive.counters.reads, answers };
  }
}

/** Everything that map and journal call finished must be in the image, and a crash is no damage. */
function refuseFalseClaims({ state, notices }: Case, files: CrashingFiles): void {
  const { map, sectorBytes } = state.plan;
  const image = files.content('case.img') ?? new Uint8Array(0);
  for (const run of map.runs()) {
    if (run.value !== statuses.finished) continue;
    for (let lba = run.lba; lba < run.lba + run.count; lba++) {
      const held = image.subarray(lba * sectorBytes, (lba + 1) * sectorBytes);
      if (Buffer.compare(held, patternSector(scenario.seed!, lba, sectorBytes)) !== 0) {
        throw new Error(`LBA ${lba} is called finished, which the image lacks`);
      }
    }
  }
  const damage = notices.filter((notice) => notice.includes('damaged'));
  if (damage.length > 0) throw new Error(`a crash reads as damage: ${damage[0]}`);
}

/** A job that nothing disturbs: its reads, its file operations, and those of them that replaced the map. */
async function undisturbed() {
  const files = crashingFiles(randomOf(0));
  const checkpoints: number[] = [];
  const layer: FileLayer = {
    ...files,
    async rename(from, to) {
      await files.rename(from, to);
      if (to === 'case.map') checkpoints.push(files.operations);
    },
  };
  const { reads, outcome } = await live(files, { layer });
  expect(outcome?.end.how).toBe('finished');
  return { reads, operations: files.operations, checkpoints };
}

describe('a job whose power fails', () => {
  test('goes on where it was a second before, and its final map is true', async () => {
    const { reads, operations } = await undisturbed();
    const crashes = 24;
    for (let n = 1; n <= crashes; n++) {
      const crashAt = Math.floor((n * operations) / (crashes + 1));
      const replay = `seed ${n}, crash at operation ${crashAt} of ${operations}`;
      const files = crashingFiles(randomOf(n));
      files.crashAt(crashAt);
      const first = await live(files);
      expect(first.outcome, replay).toBeUndefined();
      const second = await live(files.reboot(), { answersBefore: first.answers });
      expect(second.outcome?.end.how, replay).toBe('finished');
      expect(await falsehoods(second.outcome!, lost), replay).toEqual([]);
      expect(first.reads + second.reads - reads, replay).toBeLessThanOrEqual(readsLostMax);
    }
  });

  test('loses no more each time when it fails again and again', async () => {
    const { reads, operations } = await undisturbed();
    for (let seed = 100; seed < 108; seed++) {
      const random = randomOf(seed);
      let files = crashingFiles(random);
      let crashes = 0;
      let readsInAll = 0;
      let answersBefore = 0;
      for (let ended = false; !ended; ) {
        // Six times a job or so, some of them while the case is opened.
        files.crashAt(1 + Math.floor((random() * operations) / 4));
        const { reads: readsNow, answers, outcome } = await live(files, { answersBefore });
        readsInAll += readsNow;
        answersBefore += answers;
        ended = outcome !== undefined;
        if (outcome) expect(await falsehoods(outcome, lost), `seed ${seed}`).toEqual([]);
        else crashes += 1;
        files = files.reboot();
      }
      expect(readsInAll - reads, `seed ${seed}`).toBeLessThanOrEqual(crashes * readsLostMax);
    }
  });

  test('counts nothing twice when it fails between a checkpoint and the next journal', async () => {
    const { checkpoints } = await undisturbed();
    // The first belongs to the opening of the case, the last to its end.
    const between = checkpoints.slice(1, -1);
    expect(between.length).toBeGreaterThan(1);
    for (const checkpoint of between) {
      // Up to the sync of the directory that has the new journal's name.
      for (let crashAt = checkpoint; crashAt <= checkpoint + 6; crashAt++) {
        const files = crashingFiles(randomOf(crashAt));
        files.crashAt(crashAt);
        const { answers } = await live(files);
        await live(files.reboot(), { answersBefore: answers, interruptAfter: 1 });
      }
    }
  });

  test('finds a case that it can go on with although it was still being opened', async () => {
    const opening = crashingFiles(randomOf(0));
    await live(opening, { interruptAfter: 1 });
    for (let crashAt = 1; crashAt <= opening.operations; crashAt++) {
      for (let seed = 0; seed < 3; seed++) {
        const files = crashingFiles(randomOf(crashAt * 3 + seed));
        files.crashAt(crashAt);
        const { answers } = await live(files, { interruptAfter: 1 });
        const { outcome } = await live(files.reboot(), {
          answersBefore: answers,
          interruptAfter: 3,
        });
        expect(outcome?.end.how, `seed ${seed}, crash at ${crashAt}`).toBe('interrupted');
      }
    }
  });
});
