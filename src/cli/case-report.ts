/** The report of a job that has ended, beside its image. */

import { resolve } from 'node:path';
import { wallMs } from '../clock.js';
import { isLastspinError } from '../errors.js';
import { readHashList } from '../image/hash-list.js';
import type { ImageForm } from '../image/image-form.js';
import { nodeFiles } from '../image/node-files.js';
import { replaceFile } from '../image/replace-file.js';
import { storedPaths } from '../image/split-file.js';
import { parseSum, sumName, sumPath, type WholeSum } from '../image/whole-hashes.js';
import type { CasePaths } from '../job/case.js';
import { parseLogLine } from '../job/recorded.js';
import { wholeAlgorithms } from '../segment-hasher.js';
import { formatReport } from '../show/report.js';
import type { ActionOutcome, EndedImage, EndedJob } from './actions.js';
import { version } from './version.js';

/** Writes the report of a job, in the place of an older one. `before`: what was done since the job ended.
 * Throws IMAGE_SPACE, FILE_FAILED. */
export async function writeReport(
  { ending, why, paths }: EndedJob,
  { facts, rescue, begunAtMs, notices }: EndedImage,
  before: readonly ActionOutcome[],
): Promise<void> {
  const text = formatReport({
    ...{ version, ending, why, begunAtMs, notices },
    result: { ...facts, actions: [...before] },
    map: rescue.state.plan.map,
    caseData: rescue.caseData,
    endedAtMs: wallMs(),
    onRecordSince: await beginOf(paths.events),
    lastLine: rescue.logEnd(),
    hashed: await hashedIn(paths.hashes),
    sums: await sumsOf(paths, rescue.form),
    files: await filesOf(paths),
  });
  const bytes = Buffer.from(text);
  await replaceFile(nodeFiles(), paths.report, (file) => file.write(bytes, 0));
}

const startBytes = 64 * 1024;

async function startOf(path: string): Promise<string | undefined> {
  if (!(await nodeFiles().exists(path))) return undefined;
  const file = await nodeFiles().open(path, { readOnly: true });
  try {
    const start = Buffer.alloc(startBytes);
    return start.subarray(0, await file.read(start, 0)).toString();
  } finally {
    await file.close();
  }
}

/** When the event log began. */
async function beginOf(events: string): Promise<string | undefined> {
  return parseLogLine((await startOf(events))?.split('\n', 1)[0] ?? '')?.at;
}

async function hashedIn(path: string) {
  if (!(await nodeFiles().exists(path))) return undefined;
  const hashed = { stretches: 0, sectors: 0 };
  try {
    for await (const { sha256, count } of readHashList(nodeFiles(), path)) {
      hashed.stretches += sha256 === undefined ? 0 : 1;
      hashed.sectors += sha256 === undefined ? 0 : count;
    }
    return hashed;
  } catch (error) {
    if (isLastspinError(error, 'HASHES_INVALID')) return undefined;
    throw error;
  }
}

/** Hashes of the whole image, by whatever run. */
async function sumsOf({ image, sums: beside }: CasePaths, form: ImageForm): Promise<WholeSum[]> {
  const sums: WholeSum[] = [];
  for (const algorithm of wholeAlgorithms) {
    const file = sumPath(beside, algorithm);
    const digest = parseSum((await startOf(file)) ?? '', algorithm, sumName(image, form));
    if (digest !== undefined) sums.push({ algorithm, digest, file });
  }
  return sums;
}

async function filesOf(paths: CasePaths): Promise<string[]> {
  const { image, map, journal, events, hashes, versions, conflicts } = paths;
  const found = [...(await storedPaths(nodeFiles(), image)), map];
  for (const path of [journal, events, hashes, versions, conflicts])
    if (await nodeFiles().exists(path)) found.push(path);
  return found.map((path) => resolve(path));
}
