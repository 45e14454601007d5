import { describe, expect, test } from 'vitest';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import { isLastspinError } from '../../src/errors.js';
import { loadJournal } from '../../src/image/journal.js';
import type { JobEvent } from '../../src/job/events.js';
import { replayEventLog } from '../../src/job/replay.js';
import type { Pass } from '../../src/plan/pass.js';
import { type MemoryFiles, memoryFiles } from '../image/memory-files.js';
import { falsehoods, imageInWorld, type Outcome } from './world.js';

/** Slow enough for some commits between two checkpoints. */
const scenario: ScenarioInput = {
  seed: 7,
  sectorCount: 2048,
  mechanics: { overheadMs: 300, spinUpMs: 500 },
};
const edit = (rows: readonly Pass[]) =>
  rows.map((row) => ({ ...row, readCount: Math.min(row.readCount, 32), slowMs: 0 }));
const journalPath = 'case.journal';
const logPath = 'case.events.ndjson';

/** A whole job; after so many reads something befalls its files. */
async function disturbed(act: (files: MemoryFiles) => unknown, afterReads = 20) {
  const files = memoryFiles();
  let isDone = false;
  const job = imageInWorld(scenario, {
    files,
    edit,
    onEvent(_event, { totals }) {
      if (isDone || totals.reads < afterReads) return;
      isDone = true;
      act(files);
    },
  });
  return { files, job };
}

function noticesOf({ events }: Outcome): string[] {
  return events.flatMap((event: JobEvent) => (event.kind === 'noticed' ? [event.text] : []));
}

async function expectWhole(outcome: Outcome): Promise<void> {
  expect(outcome.end.how).toBe('finished');
  expect(await falsehoods(outcome, () => false)).toEqual([]);
  const found = await replayEventLog(outcome.files, logPath);
  expect(found?.report.problem).toBeUndefined();
  expect(found?.replay.problem).toBeUndefined();
  expect(found?.replay.departures).toEqual([]);
  expect([...found!.replay.state!.plan.map.runs()]).toEqual([...outcome.state.plan.map.runs()]);
}

describe('while a job runs', () => {
  test.each([
    ['removed', (files: MemoryFiles) => files.remove(logPath)],
    ['replaced', (files: MemoryFiles) => files.put(logPath, 'something else\n')],
    ['moved', (files: MemoryFiles) => files.rename(logPath, 'elsewhere')],
  ])('a log that is %s is written again, whole and on record', async (how, act) => {
    const { files, job } = await disturbed(act);
    const outcome = await job;
    await expectWhole(outcome);
    const notices = noticesOf(outcome);
    expect(notices).toEqual([expect.stringContaining(`${logPath} was removed, moved or replaced`)]);
    expect(Buffer.from(files.content(logPath)).toString()).toContain('it is written again');
    if (how === 'replaced')
      expect(Buffer.from(files.content(`${logPath}.other`)).toString()).toBe('something else\n');
  });

  test('what somebody adds to the log is cut off', async () => {
    const { job } = await disturbed(async (files) => {
      const file = await files.open(logPath);
      await file.write(Buffer.from('{"n":1}\n'), await file.size());
    });
    const outcome = await job;
    await expectWhole(outcome);
    expect(noticesOf(outcome)).toEqual([expect.stringContaining('something wrote to')]);
  });

  test('a log that is emptied ends the job; the next run loses nothing of what was read', async () => {
    const { files, job } = await disturbed(async (all) => (await all.open(logPath)).truncate(0));
    await expect(job).rejects.toSatisfy((error) => isLastspinError(error, 'IMAGE_MISMATCH'));
    const kept = (await loadJournal(files, journalPath))?.records.length;
    expect(kept).toBeGreaterThan(3);
    const next = await imageInWorld(scenario, { files, edit });
    await expectWhole(next);
    const reads = next.events.filter(({ kind }) => kind === 'read').length;
    expect(reads).toBeLessThan(50);
    expect(files.paths()).toContain('case.events.1.ndjson');
  });

  test.each([
    ['removed', (files: MemoryFiles) => files.remove(journalPath)],
    ['replaced', (files: MemoryFiles) => files.put(journalPath, '')],
    [
      'emptied',
      async (files: MemoryFiles) => {
        await (await files.open(journalPath)).truncate(0);
      },
    ],
  ])('a journal that is %s makes the map be saved at once', async (_how, act) => {
    const files = memoryFiles();
    let isDone = false;
    let savedAtMs: number | undefined;
    let lostAtMs = 0;
    const outcome = await imageInWorld(scenario, {
      files,
      edit,
      onEvent(event, { totals }) {
        const saved = Buffer.from(files.content('case.map')).toString();
        if (isDone && /[+]\n/.test(saved)) savedAtMs ??= event.atMs;
        if (isDone || totals.reads < 20) return;
        expect(saved).not.toMatch(/[+]\n/);
        isDone = true;
        lostAtMs = event.atMs;
        void act(files);
      },
    });
    await expectWhole(outcome);
    expect(savedAtMs! - lostAtMs).toBeLessThan(4000);
    expect(noticesOf(outcome)).toEqual([expect.stringContaining(`changed ${journalPath}`)]);
    const journal = await loadJournal(files, journalPath);
    expect(journal?.damage).toBeUndefined();
    expect(journal?.records).toEqual([]);
  });
});

describe('between two runs', () => {
  async function killed(files: MemoryFiles) {
    const atKill: { map?: Uint8Array; journal?: Uint8Array; log?: Uint8Array } = {};
    await imageInWorld(scenario, {
      files,
      edit,
      onEvent(_event, { totals }) {
        if (totals.reads !== 20) return;
        atKill.map = files.content('case.map');
        atKill.log = files.content(logPath);
      },
    });
    files.put('case.map', atKill.map!);
    files.put(logPath, atKill.log!);
  }

  test.each([
    ['is missing', 'is not there', (files: MemoryFiles) => files.remove(journalPath)],
    ['is of a later map', 'is of a later map', () => undefined],
  ])('a journal that %s is told of, on record, and its reads are made again', async (_, what, act) => {
    const files = memoryFiles();
    await killed(files);
    await act(files);
    let told: readonly string[] = [];
    const outcome = await imageInWorld(scenario, {
      files,
      edit,
      opened: ({ notices }) => {
        told = [...notices];
      },
    });
    await expectWhole(outcome);
    expect(told).toEqual([expect.stringMatching(`${journalPath} ${what}.*lines that the map`)]);
    const lines = Buffer.from(files.content(logPath)).toString().split('\n');
    expect(lines.filter((line) => line.includes(told[0]!))).toEqual([
      expect.stringContaining('"kind":"noticed"'),
    ]);
  });

  test('a case that began and got no further is no reason for alarm', async () => {
    const files = memoryFiles();
    await imageInWorld(scenario, { files, edit, interruptAfter: 1 });
    const first = await imageInWorld(scenario, {
      files,
      edit,
      opened: ({ notices }) => expect(notices).toEqual([]),
    });
    await expectWhole(first);
  });
});

describe('an image without a hash that is another file than in the last run', () => {
  /** Half a job without hashes; then the image is replaced by what `content` makes of it. */
  async function replaced(
    content: (image: Uint8Array) => Uint8Array,
    modifiedNs = '9000000000000',
  ) {
    const inner = memoryFiles();
    let stamp = { modifiedNs: '1000000000000', device: '1', inode: '11' };
    const files: MemoryFiles = {
      ...inner,
      open: async (path, options) => {
        const file = await inner.open(path, options);
        return { ...file, stamp: async () => ({ ...stamp, sizeBytes: await file.size() }) };
      },
    };
    await imageInWorld(scenario, { files, edit, interruptAfter: 20 });
    inner.put('case.img', content(inner.content('case.img')));
    stamp = { ...stamp, inode: '12', modifiedNs };
    return { files, job: imageInWorld(scenario, { files, edit }) };
  }
  const readsOf = ({ events }: Outcome) => events.filter(({ kind }) => kind === 'read').length;
  const allReads = 2048 / 32;

  test('is read again where it was claimed, with a word on record', async () => {
    const { files, job } = await replaced((image) => new Uint8Array(image.length));
    const outcome = await job;
    await expectWhole(outcome);
    expect(readsOf(outcome)).toBeGreaterThanOrEqual(allReads);
    const log = Buffer.from(files.content(logPath)).toString();
    expect(log).toMatch(/"noticed".*case\.img is another file than in the last run, and no hash/);
    expect(log).toContain('"kind":"image-changed"');
  });

  test('is refused where it holds data that nobody read yet', async () => {
    const { job } = await replaced((image) => new Uint8Array(image.length).fill(0x5a));
    await expect(job).rejects.toMatchObject({
      code: 'IMAGE_MISMATCH',
      message: expect.stringContaining('holds data where nothing was read yet'),
    });
  });

  test('is gone on with where size and time are those of the last run: a copy', async () => {
    const { job } = await replaced((image) => image, '1000000000000');
    const outcome = await job;
    await expectWhole(outcome);
    expect(readsOf(outcome)).toBeLessThan(allReads);
  });
});
