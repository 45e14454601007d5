import { expect, test } from 'vitest';
import { patternSector } from '../../hardware-sim/media.js';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';
import type { Clock } from '../../src/clock.js';
import type { Drive, DriveIdentity, ReadRequest, ReadResult } from '../../src/drive/drive.js';
import { readEventLog } from '../../src/image/event-log.js';
import { type Case, casePaths, findCase, openCase } from '../../src/job/case.js';
import type { JobEvent } from '../../src/job/events.js';
import { type JobEnd, runJob } from '../../src/job/job.js';
import { statuses } from '../../src/map/status.js';
import { type CrashingFiles, crashingFiles, randomOf } from '../image/crashing-files.js';
import { presetRows } from '../presets.js';

/** The production job, recorder, journal, checkpoint and image over a disk that loses its power at every operation
 * there is, and over a drive without a line, which costs the least. `CRASHES=100000` goes on for longer. */
const crashesWanted = Number(process.env.CRASHES ?? 1000);

const seed = 11;
const sectorBytes = 512;
const sectorCount = 640;
/** So slow that a second holds three reads, and a job has a checkpoint of its own. */
const readMs = 350;
const isBad = (lba: number) => (lba >= 300 && lba < 303) || (lba >= 500 && lba < 504);

const identity: DriveIdentity = {
  model: 'crash',
  serial: '1',
  firmware: '',
  sectorCount,
  sectorBytes,
  physicalSectorBytes: sectorBytes,
};

const contents = Array.from({ length: sectorCount }, (_, lba) =>
  patternSector(seed, lba, sectorBytes),
);

/** A drive that takes the same time for every read, and says where it failed. */
function plainDrive(clock: Clock): Drive {
  let last: Promise<unknown> = Promise.resolve();
  let stoppedBatch = -1;
  async function answer({ extent, batch }: ReadRequest): Promise<ReadResult> {
    const none = { goodCount: 0, data: new Uint8Array(0), elapsedMs: 0 };
    if (batch === stoppedBatch) return { kind: 'not-attempted', ...none };
    await clock.sleep(readMs);
    const data: Uint8Array[] = [];
    for (let lba = extent.lba; lba < extent.lba + extent.count && !isBad(lba); lba++)
      data.push(contents[lba]!);
    const good = { goodCount: data.length, data: Buffer.concat(data), elapsedMs: readMs };
    if (data.length === extent.count) return { kind: 'good', ...good };
    stoppedBatch = batch;
    const fault = { lba: extent.lba + data.length, sense: { key: 3, asc: 0x11, ascq: 0 } };
    return { kind: 'fault', ...good, fault };
  }
  return {
    capabilities: {
      ...{ resets: new Set(), power: false, park: false, readCountMax: 64 },
      ...{ inFlightMax: 3, inFlightBytesMax: 2 ** 20 },
    },
    identify: async () => identity,
    read(request) {
      const mine = last.then(() => answer(request));
      last = mine;
      return mine;
    },
    reset: async () => {},
    readiness: async () => 'ready',
    park: async () => {},
    close: async () => {},
  };
}

interface Life {
  readonly end: JobEnd | undefined;
  /** What was read well, and when. */
  readonly good: readonly { readonly lba: number; readonly count: number; readonly atMs: number }[];
  readonly endedAtMs: number;
}

/** One run on these files, until it ends or the power goes. `opened` looks at what it finds. */
async function live(files: CrashingFiles, opened: (rescue: Case) => void): Promise<Life> {
  const clock = createVirtualClock(0);
  const good: { lba: number; count: number; atMs: number }[] = [];
  const onEvent = (event: JobEvent) => {
    if (event.kind !== 'read' || event.role !== 'pass' || event.goodCount === 0) return;
    good.push({ lba: event.lba, count: event.goodCount, atMs: event.atMs });
  };
  async function session(): Promise<JobEnd> {
    const rescue = await openCase({
      found: await findCase(files, casePaths('case.img'), false),
      drive: identity,
      driveKind: 'hdd',
      passes: presetRows('standard', { sectorCount, sectorBytes, retries: 0 }).map((row) => ({
        ...row,
        readCount: Math.min(row.readCount, 8),
        slowMs: 0,
      })),
      force: false,
      hashed: true,
      segmentCount: 64,
      version: 'test',
      clock,
    });
    opened(rescue);
    const drive = plainDrive(clock);
    const end = await runJob(
      {
        ...{ drive, powers: [], image: rescue.image, recorder: rescue.recorder, clock, identity },
        ...{ target: rescue.target, resumed: rescue.resumed, onEvent },
        names: { drive: 'crash', image: 'case.img' },
      },
      rescue.state,
      new AbortController().signal,
    );
    await rescue.listHashes(true);
    await rescue.close();
    return end;
  }
  try {
    const end = await clock.run(session());
    return { end, good, endedAtMs: clock.now() };
  } catch (error) {
    if (!files.crashed) throw error;
    return { end: undefined, good, endedAtMs: clock.now() };
  }
}

/** Nothing is called finished that the image lacks, and a crash is no damage. */
function refuseFalseClaims({ state, notices }: Case, files: CrashingFiles): void {
  const image = files.content('case.img') ?? new Uint8Array(0);
  for (const run of state.plan.map.runs()) {
    if (run.value !== statuses.finished) continue;
    for (let { lba } = run; lba < run.lba + run.count; lba++) {
      const held = image.subarray(lba * sectorBytes, (lba + 1) * sectorBytes);
      if (Buffer.compare(held, contents[lba]!) !== 0)
        throw new Error(`LBA ${lba} is called finished, which the image lacks`);
    }
  }
  // Neither of journal, log, list of hashes nor image is anything else said.
  const damage = notices.find(
    (notice) => !/^the last \d+ bytes of .* were torn and are/.test(notice),
  );
  if (damage) throw new Error(`a crash reads as damage: ${damage}`);
}

/** What was read more than a second, and the reads under way, before the end is still known. */
function refuseLosses({ state }: Case, { good, endedAtMs }: Life): void {
  const mapOf = state.plan.map;
  for (const { lba, count, atMs } of good) {
    if (atMs > endedAtMs - 1000 - 4 * readMs) continue;
    for (let at = lba; at < lba + count; at++) {
      if (mapOf.valueAt(at) !== statuses.finished) throw new Error(`LBA ${at} was lost`);
    }
  }
}

async function operationsOfAWholeJob(): Promise<number> {
  const files = crashingFiles(randomOf(0));
  const { end } = await live(files, () => {});
  expect(end?.how).toBe('finished');
  return files.operations;
}

test(`${crashesWanted} crash points: nothing false, at most a second of reading lost`, async () => {
  const operations = await operationsOfAWholeJob();
  expect(operations).toBeGreaterThan(80);
  let crashes = 0;
  for (let job = 1; crashes < crashesWanted; job++) {
    const random = randomOf(job);
    let files = crashingFiles(random);
    let before: Life | undefined;
    for (let life = 0; ; life++) {
      // The first life of each job dies at the next operation of all there are; the others early, often while
      // the case is being opened.
      files.crashAt(life === 0 ? 1 + (job % operations) : 1 + Math.floor(random() ** 2 * 120));
      const replay = `job ${job}, life ${life}`;
      const now = await live(files, (rescue) => {
        refuseFalseClaims(rescue, files);
        if (before) refuseLosses(rescue, before);
      }).catch((error: unknown) => {
        throw new Error(`${replay}: ${error}`, { cause: error });
      });
      if (now.end) {
        expect(now.end.how, replay).toBe('finished');
        break;
      }
      crashes += 1;
      // One that was ended while it was being opened lost nothing of the one before.
      before = now.good.length > 0 || !before ? now : before;
      files = files.reboot();
    }
    const log = await readEventLog(files, 'case.events.ndjson');
    expect(log?.problem, `job ${job}`).toBeUndefined();
    const image = files.content('case.img')!;
    for (let lba = 0; lba < sectorCount; lba++) {
      if (isBad(lba)) continue;
      const held = image.subarray(lba * sectorBytes, (lba + 1) * sectorBytes);
      expect(Buffer.compare(held, contents[lba]!), `job ${job}, LBA ${lba}`).toBe(0);
    }
  }
}, 3_600_000);
