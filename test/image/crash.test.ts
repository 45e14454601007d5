import { describe, expect, it } from 'vitest';
import { loadCheckpoint, saveCheckpoint } from '../../src/image/checkpoint.js';
import { type ImageFile, openImage } from '../../src/image/image-file.js';
import { createJournal, type Journal, loadJournal } from '../../src/image/journal.js';
import type { Extent } from '../../src/map/extent.js';
import { sectorMapOf } from '../../src/map/mapfile.js';
import { createRunMap, type RunMap } from '../../src/map/run-map.js';
import { statuses } from '../../src/map/status.js';
import { type CrashingFiles, crashingFiles, randomOf } from './crashing-files.js';

const drive = { sectorBytes: 512, sectorCount: 96 };
const paths = { image: 'case.img', map: 'case.map', journal: 'case.journal' };
const readCount = 5;
const roundsToCheckpoint = 4;

describe('a job whose power fails', () => {
  it('loses nothing synced and claims nothing else, at every operation', async () => {
    const total = await operationsOfAWholeJob();
    expect(total).toBeGreaterThan(100);
    for (let crashAt = 1; crashAt <= total; crashAt++) {
      for (let seed = 0; seed < 4; seed++) await crashAndRecover(crashAt, crashAt * 31 + seed);
    }
  });

  it('gets there although the power fails again and again', async () => {
    for (let seed = 0; seed < 40; seed++) {
      const random = randomOf(seed);
      let files = crashingFiles(random);
      const acknowledged: Extent[] = [];
      for (let crashes = 0; crashes < 200; crashes++) {
        files.crashAt(1 + Math.floor(random() * 40));
        const ended = await runUntilCrash(files, acknowledged);
        files = files.reboot();
        await expectHonest(files, acknowledged);
        if (ended) break;
      }
      files.crashAt(Number.POSITIVE_INFINITY);
      await runJob(files, acknowledged);
      await expectHonest(files, acknowledged);
      const { map } = await recover(files);
      expect(map.countOf(statuses.finished)).toBe(drive.sectorCount);
    }
  });

  it('would be seen here to claim too much if it did not sync the image first', async () => {
    await expect(sweepWith({ syncsImage: false })).rejects.toThrow(/claims LBA/);
  });

  it('would be seen here to lose reads if it did not sync the journal', async () => {
    await expect(sweepWith({ syncsJournal: false })).rejects.toThrow(/lost LBA/);
  });
});

interface Discipline {
  readonly syncsImage?: boolean;
  readonly syncsJournal?: boolean;
}

async function sweepWith(discipline: Discipline): Promise<void> {
  for (let crashAt = 1; crashAt <= 150; crashAt++) {
    await crashAndRecover(crashAt, crashAt, discipline);
  }
}

async function crashAndRecover(crashAt: number, seed: number, discipline?: Discipline) {
  const files = crashingFiles(randomOf(seed));
  files.crashAt(crashAt);
  const acknowledged: Extent[] = [];
  await runUntilCrash(files, acknowledged, discipline);
  await expectHonest(files.reboot(), acknowledged);
}

async function operationsOfAWholeJob(): Promise<number> {
  const files = crashingFiles(randomOf(1));
  await runJob(files, []);
  return files.operations;
}

async function runUntilCrash(
  files: CrashingFiles,
  acknowledged: Extent[],
  discipline?: Discipline,
): Promise<boolean> {
  try {
    await runJob(files, acknowledged, discipline);
    return true;
  } catch (error) {
    if (!files.crashed) throw error;
    return false;
  }
}

/** The contract in small: resume, then image, sync, journal, sync, and now and then a checkpoint.
 * The next read is already written while the last is made durable. `acknowledged` gets what
 * must survive. */
async function runJob(
  files: CrashingFiles,
  acknowledged: Extent[],
  { syncsImage = true, syncsJournal = true }: Discipline = {},
): Promise<void> {
  const { map, number } = await recover(files);
  let checkpoint = number + 1;
  await save(files, map, checkpoint);
  const image = await openImage(files, paths.image, {
    ...drive,
    mode: 'resume',
    claimedCount: claimedCountOf(map),
  });
  const journal = await createJournal(files, paths.journal, checkpoint);
  let pending: Extent | undefined = await readNext(image, map, 0);
  for (let round = 1; pending !== undefined; round++) {
    const done: Extent = pending;
    if (syncsImage) await image.sync();
    pending = await readNext(image, map, done.lba + done.count);
    await record(journal, done, syncsJournal);
    map.set(done, statuses.finished);
    acknowledged.push(done);
    if (round % roundsToCheckpoint === 0) {
      checkpoint += 1;
      await save(files, map, checkpoint);
      await journal.restart(checkpoint);
    }
  }
}

async function record(journal: Journal, done: Extent, syncs: boolean): Promise<void> {
  const middle = done.lba + 1;
  await journal.append([{ kind: 'note', text: 'ä'.repeat(200) }]);
  await journal.append([
    { lba: done.lba, count: 1 },
    { lba: middle, count: done.count - 1 },
  ]);
  if (syncs) await journal.sync();
}

async function readNext(image: ImageFile, map: RunMap, from: number): Promise<Extent | undefined> {
  const piece = map.next(from, statuses['non-tried']) ?? map.next(0, statuses['non-tried'], from);
  if (piece === undefined) return undefined;
  const extent = { lba: piece.lba, count: Math.min(piece.count, readCount) };
  await image.write(extent.lba, contentOf(extent));
  return extent;
}

function save(files: CrashingFiles, map: RunMap, number: number): Promise<number> {
  return saveCheckpoint(files, paths.map, {
    number,
    map,
    sectorBytes: drive.sectorBytes,
    version: '0.0.0',
    currentPosition: 0,
    currentStatus: '?',
    currentPass: 1,
    state: { number, filler: 'x'.repeat(3000) },
  });
}

/** What a job finds when it starts: the checkpoint, and the journal when it continues that. */
async function recover(files: CrashingFiles): Promise<{ map: RunMap; number: number }> {
  const loaded = await loadCheckpoint(files, paths.map);
  if (loaded === undefined) return { map: createRunMap(drive.sectorCount), number: 0 };
  expect(loaded.foreign).toBe(false);
  expect(loaded.state).toMatchObject({ number: loaded.number });
  const map = sectorMapOf(loaded.map, drive, paths.map);
  const journal = await loadJournal(files, paths.journal);
  expect(journal?.damage).toBeUndefined();
  if (journal !== undefined && journal.base === loaded.number) {
    for (const each of journal.records as Partial<Extent>[]) {
      if (each.lba === undefined || !each.count) continue;
      map.set({ lba: each.lba, count: each.count }, statuses.finished);
    }
  }
  return { map, number: loaded.number! };
}

async function expectHonest(files: CrashingFiles, acknowledged: readonly Extent[]) {
  const { map } = await recover(files);
  const image = files.content(paths.image) ?? new Uint8Array(0);
  for (let lba = 0; lba < drive.sectorCount; lba++) {
    if (map.valueAt(lba) !== statuses.finished) continue;
    const held = image.subarray(lba * drive.sectorBytes, (lba + 1) * drive.sectorBytes);
    if (Buffer.compare(held, contentOf({ lba, count: 1 })) !== 0) {
      throw new Error(`the map claims LBA ${lba}, which the image lacks`);
    }
  }
  for (const extent of acknowledged) {
    const missing = map.next(extent.lba, statuses['non-tried'], extent.lba + extent.count);
    if (missing !== undefined) throw new Error(`lost LBA ${missing.lba}`);
  }
}

function claimedCountOf(map: RunMap): number {
  const last = map.previous(map.size, statuses.finished);
  return last === undefined ? 0 : last.lba + last.count;
}

/** Every sector names itself, so that neither zeros nor a neighbour pass for it. */
function contentOf(extent: Extent): Uint8Array {
  const data = new Uint8Array(extent.count * drive.sectorBytes);
  for (let i = 0; i < extent.count; i++) {
    data.fill(extent.lba + i + 1, i * drive.sectorBytes, (i + 1) * drive.sectorBytes);
  }
  return data;
}
