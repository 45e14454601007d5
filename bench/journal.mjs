// What it costs that nothing is lost: journal and checkpoint beside a source that is paced.
import { rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { realClock } from '../dist/src/clock.js';
import { nodeFiles } from '../dist/src/image/node-files.js';
import { openCase } from '../dist/src/job/case.js';
import { casePaths, findCase } from '../dist/src/job/case-files.js';
import { runJob } from '../dist/src/job/job.js';
import { createRunMap } from '../dist/src/map/run-map.js';
import { rowsOf } from '../dist/src/plan/presets.js';
import { loadPreset } from '../dist/src/preset-files.js';
import { head, largeRuns, median, row, workFolder, writeLargeMap } from './tools.mjs';

const sectorBytes = 512;
const pacedBytesPerSecond = 250e6;
const readBytes = 2 ** 20;

/** A drive that gives so many bytes a second and no more; time that somebody else lost is not caught up. */
function pacedDrive(clock, identity) {
  const data = Buffer.alloc(readBytes, 0x5a);
  let freeAtMs = 0;
  return {
    capabilities: {
      ...{ resets: new Set(), power: false, park: false, inFlightMax: 4 },
      ...{ readCountMax: readBytes / sectorBytes, inFlightBytesMax: 4 * readBytes },
    },
    identify: async () => identity,
    async read({ extent }) {
      const bytes = extent.count * sectorBytes;
      const nowMs = clock.now();
      // A few reads wait in the drive's own queue: its pace does not depend on the timers here.
      freeAtMs = Math.max(freeAtMs, nowMs - 20) + (bytes * 1000) / pacedBytesPerSecond;
      const elapsedMs = freeAtMs - nowMs;
      if (elapsedMs > 1) await clock.sleep(elapsedMs);
      return { kind: 'good', goodCount: extent.count, data: data.subarray(0, bytes), elapsedMs };
    },
    reset: async () => {},
    readiness: async () => 'ready',
    park: async () => {},
    close: async () => {},
  };
}

/** One job over the last `readCount` sectors of a drive. Returns the seconds until the last of them was taken in, and
 * the milliseconds of each checkpoint. */
async function once({ isRecorded, lead, seconds, folder }) {
  const paths = casePaths(join(folder, 'journal.img'));
  for (const path of Object.values(paths)) rmSync(path, { force: true });
  const readCount =
    Math.round((seconds * pacedBytesPerSecond) / readBytes) * (readBytes / sectorBytes);
  const leadCount = lead === 'large' ? largeRuns * 8 : 0;
  const sectorCount = leadCount + readCount;
  if (leadCount > 0) writeLargeMap(paths.map);
  const clock = realClock();
  const identity = {
    ...{ model: 'paced', serial: '1', firmware: '', sectorCount, sectorBytes },
    physicalSectorBytes: sectorBytes,
  };
  const scope = createRunMap(sectorCount);
  scope.set({ lba: leadCount, count: readCount }, 1);
  const kind = {
    sectorCount,
    sectorBytes,
    readCountMax: readBytes / sectorBytes,
    physicalCount: 1,
    kind: 'ssd',
  };
  const drive = pacedDrive(clock, identity);
  const files = nodeFiles();
  if (leadCount > 0) {
    const image = await files.open(paths.image, { create: true });
    await image.truncate(leadCount * sectorBytes);
    await image.close();
  }
  const rescue = await openCase({
    found: await findCase(files, paths, true),
    ...{ drive: identity, driveKind: 'ssd', scope, force: true, version: 'bench', clock },
    passes: rowsOf(loadPreset('standard'), kind).map((each) => ({
      ...each,
      readCount: readBytes / sectorBytes,
      slowMs: 0,
      bytesPerSecondMin: 0,
    })),
  });
  const nothing = {
    ...{ record() {}, tick() {}, checkpointDue: () => false },
    checkpoint: async () => {},
  };
  const checkpointsMs = [];
  const timed = {
    ...rescue.recorder,
    async checkpoint(state) {
      const fromMs = performance.now();
      await rescue.recorder.checkpoint(state);
      checkpointsMs.push(performance.now() - fromMs);
    },
  };
  const fromMs = performance.now();
  let toMs = fromMs;
  await runJob(
    {
      ...{ drive, powers: [], image: rescue.image, clock, identity, resumed: false },
      recorder: isRecorded ? timed : nothing,
      names: { drive: 'paced', image: paths.image },
      onEvent: (event) => {
        if (event.kind === 'ended') toMs = performance.now();
      },
    },
    rescue.state,
    new AbortController().signal,
  );
  await rescue.close();
  for (const path of Object.values(paths)) rmSync(path, { force: true });
  return { seconds: (toMs - fromMs) / 1000, checkpointsMs };
}

/** journal [PAIRS=9] [SECONDS=6]: jobs from a source of 250 MB/s, with the recorder that the command line has and with
 * one that records nothing, by turns; with an empty map, and with four million runs beside what is read. */
export async function journal(pairs = '9', seconds = '6') {
  const folder = workFolder();
  const { bavail, bsize } = statfsSync(folder);
  if (bavail * bsize < 8e9)
    return console.log('journal: skipped, it needs 8 GB in the temporary folder');
  console.log(`\nA source paced at 250 MB/s, ${seconds} s each, ${pairs} interleaved pairs.\n`);
  head(
    'map',
    'nothing recorded, MB/s',
    'recorded, MB/s',
    'cost, median of pairs',
    'checkpoint, median s',
    'share of time at its spacing',
  );
  for (const [name, lead] of [
    ['one run', 'none'],
    ['4 million runs', 'large'],
  ]) {
    const rates = { bare: [], recorded: [] };
    const costs = [];
    const checkpoints = [];
    const bytes = Number(seconds) * pacedBytesPerSecond;
    for (let pair = 0; pair < Number(pairs); pair++) {
      const options = { lead, seconds: Number(seconds), folder };
      const recordedFirst = pair % 2 === 1;
      const first = await once({ ...options, isRecorded: recordedFirst });
      const second = await once({ ...options, isRecorded: !recordedFirst });
      const [recorded, bare] = recordedFirst ? [first, second] : [second, first];
      rates.bare.push(bytes / bare.seconds / 1e6);
      rates.recorded.push(bytes / recorded.seconds / 1e6);
      costs.push(recorded.seconds / bare.seconds - 1);
      checkpoints.push(...recorded.checkpointsMs);
    }
    const percent = (share) => `${(share * 100).toFixed(1)} %`;
    const checkpointMs = median(checkpoints);
    row(
      name,
      median(rates.bare).toFixed(0),
      median(rates.recorded).toFixed(0),
      `${percent(median(costs))} (${percent(Math.min(...costs))}–${percent(Math.max(...costs))})`,
      (checkpointMs / 1000).toFixed(3),
      percent(checkpointMs / (checkpointMs + Math.max(30_000, 50 * checkpointMs))),
    );
  }
}
