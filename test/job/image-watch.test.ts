import { expect, test } from 'vitest';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import type { FileLayer } from '../../src/image/file-layer.js';
import { readHashList } from '../../src/image/hash-list.js';
import { casePaths } from '../../src/job/case.js';
import type { JobEvent } from '../../src/job/events.js';
import { checkEventLog } from '../../src/job/replay.js';
import { statuses } from '../../src/map/status.js';
import type { Pass } from '../../src/plan/pass.js';
import { type MemoryFiles, memoryFiles } from '../image/memory-files.js';
import { falsehoods, imageInWorld, type Outcome, type WorldOptions } from './world.js';

const sectorBytes = 512;
const segmentCount = 512;
const sectorCount = 8 * segmentCount;
const bad = { kind: 'bad', lba: 1030, count: 3, errorMs: 50 } as const;
const scenario: ScenarioInput = {
  seed: 7,
  sectorCount,
  // A second holds a few reads: what is done to the image lies between many syncs.
  mechanics: { overheadMs: 300, spinUpMs: 500 },
  faults: [bad],
};
const isBad = (lba: number) => lba >= bad.lba && lba < bad.lba + bad.count;
const edit = (rows: readonly Pass[]) =>
  rows.map((row) => ({ ...row, readCount: Math.min(row.readCount, 64), slowMs: 0 }));

const inImage = async (
  files: FileLayer,
  act: (file: Awaited<ReturnType<FileLayer['open']>>) => unknown,
) => act(await files.open('case.img'));

/** Cut to little more than so many sectors, and as long as before. */
const cutAndRegrow = (files: FileLayer, lba: number) =>
  inImage(files, async (file) => {
    // Within a sector: a part of it stays.
    void file.truncate(lba * sectorBytes + 100);
    await file.truncate(sectorCount * sectorBytes);
  });

const overwrite = (files: FileLayer, lba: number) =>
  inImage(files, (file) => file.write(Buffer.alloc(sectorBytes, 0x5a), lba * sectorBytes));

/** Images while somebody does that, once so many sectors are finished. */
async function imageWhile(
  act: (files: FileLayer) => Promise<unknown>,
  options: WorldOptions & { readonly files?: MemoryFiles } = {},
  atSectors = 3000,
): Promise<Outcome & { readonly changed: readonly JobEvent[] }> {
  const files = options.files ?? memoryFiles();
  let isDone = false;
  const outcome = await imageInWorld(scenario, {
    ...{ files, edit, segmentCount },
    ...options,
    onEvent(event, state) {
      options.onEvent?.(event, state);
      if (isDone || state.plan.map.countOf(statuses.finished) < atSectors) return;
      isDone = true;
      void act(files);
    },
  });
  const changed = outcome.events.filter(({ kind }) => kind === 'image-changed');
  return { ...outcome, changed };
}

async function expectWhole(outcome: Outcome): Promise<void> {
  expect(outcome.end.how).toBe('finished');
  expect(await falsehoods(outcome, isBad)).toEqual([]);
  expect((await checkEventLog(outcome.files, casePaths('case.img'))).findings).toEqual([]);
}

test('an image that nobody touches is not read again', async () => {
  const outcome = await imageWhile(async () => {});
  expect(outcome.changed).toEqual([]);
  await expectWhole(outcome);
});

test.each([
  ['with hashes', segmentCount],
  ['without a hash', undefined],
])('cut and made as long again while the job ran: what was lost is read again, %s', async (_how, count) => {
  for (const fromLba of [0, 700, 2000]) {
    const files = memoryFiles();
    const options = { files, ...(count ? { segmentCount: count } : { segmentCount: 0 }) };
    const outcome = await imageWhile((image) => cutAndRegrow(image, fromLba), options);
    expect(outcome.changed, `from ${fromLba}`).toHaveLength(1);
    await expectWhole(outcome);
    // What was not lost is not read again, but for the sectors that were bad.
    const again = outcome.events
      .slice(outcome.events.indexOf(outcome.changed[0]!))
      .filter((event) => event.kind === 'read' && event.role === 'pass');
    const kept = again.filter(
      (event) => 'lba' in event && event.lba < fromLba - segmentCount && !isBad(event.lba),
    );
    expect(kept).toEqual([]);
    expect(again.length).toBeGreaterThan(0);
  }
});

test('edited at its start, as by who mounts it: noticed by the sample', async () => {
  const outcome = await imageWhile((files) => overwrite(files, 3));
  expect(outcome.changed).toMatchObject([{ extents: [0, segmentCount] }]);
  await expectWhole(outcome);
  for await (const line of readHashList(outcome.files, 'case.hashes.csv'))
    if (line.status === 'finished') expect(line.sha256).toMatch(/^[0-9a-f]{64}$/);
});

test('what cannot be read again is not claimed, and its old bytes stay', async () => {
  const files = memoryFiles();
  let isLost = false;
  const outcome = await imageWhile((image) => overwrite(image, 3), {
    files,
    onEvent(event) {
      isLost ||= event.kind === 'image-changed';
    },
    wrap: (drive) => ({
      ...drive,
      async read(request) {
        const { lba, count } = request.extent;
        const result = await drive.read(request);
        if (!isLost || lba + count <= 3 || lba > 3 || result.kind !== 'good') return result;
        const fault = { kind: 'medium', lba: 3, sense: { key: 3, asc: 17, ascq: 0 } } as const;
        const goodCount = 3 - lba;
        const data = result.data.subarray(0, goodCount * sectorBytes);
        return { ...result, kind: 'fault', fault, goodCount, data } as never;
      },
    }),
  });
  expect(outcome.changed).toHaveLength(1);
  expect(outcome.state.plan.map.valueAt(3)).not.toBe(statuses.finished);
  expect(files.content('case.img')[3 * sectorBytes]).toBe(0x5a);
});

test('who interrupts does not wait for a look; that bytes were lost is known', async () => {
  let lostBytes = () => 0;
  const outcome = await imageWhile((files) => cutAndRegrow(files, 0), {
    opened: (rescue) => {
      lostBytes = rescue.lostBytes;
    },
    interruptAfter: 60,
  });
  expect(outcome.end.how).toBe('interrupted');
  expect(outcome.changed).toEqual([]);
  expect(lostBytes()).toBeGreaterThan(2500 * sectorBytes);
});

test('somebody who goes on changing it ends the job, with nothing claimed that was seen changed', async () => {
  const files = memoryFiles();
  const finished: number[] = [];
  const job = imageWhile((image) => overwrite(image, 3), {
    files,
    onEvent(event, state) {
      if (event.kind === 'pass-ended') void overwrite(files, 3);
      if (event.kind === 'ended') finished.push(state.plan.map.valueAt(3));
    },
  });
  await expect(job).rejects.toMatchObject({ code: 'IMAGE_MISMATCH' });
  expect(finished).toEqual([statuses['non-tried']]);
});
