/** `lastspin merge`: several images of one drive become one. */

import { existsSync, type Stats, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { type Clock, realClock } from '../clock.js';
import { LastspinError } from '../errors.js';
import { takeLock } from '../image/lock.js';
import type { Conflict } from '../image/merge.js';
import { nodeFiles } from '../image/node-files.js';
import { type CasePaths, casePaths } from '../job/case-files.js';
import {
  type MergeCasesOptions,
  type MergedCase,
  type MergePaths,
  mergeCases,
  mergingPath,
} from '../job/merge-cases.js';
import { domainRuns, type Runs, statisticsWithin } from '../map/algebra.js';
import { formatShare } from '../show/format.js';
import { formatMergeResult, type ListedConflict, type MergeResult } from '../show/merge-result.js';
import { onInterrupt } from './interrupt.js';
import { version } from './version.js';

export interface MergeOptions {
  readonly prefer?: string;
  readonly majority?: boolean;
  readonly sameDrive?: boolean;
  readonly sector?: number;
  readonly force?: boolean;
  readonly json?: boolean;
}

/** Exit status of a merge that left conflicts. */
const exitConflicts = 4;
const listedMax = 1000;
const progressIntervalMs = 10_000;

/** `lastspin merge OUT IMAGE…`: returns the exit status. */
export async function merge(
  out: string,
  names: readonly string[],
  options: MergeOptions,
): Promise<number> {
  if (/\.map$/i.test(out)) {
    throw new LastspinError(
      'USAGE',
      `${out} is the name of a map; OUT is an image, as ${out.slice(0, -'.map'.length)}.img`,
    );
  }
  const inputs = names.map(pathsOf);
  const paths = casePaths(out);
  refuseTwice(inputs);
  refuseToTouchInputs(paths, inputs);
  const prefer = preferred(inputs, names, options.prefer);
  if (options.majority && inputs.length < 3) {
    throw new LastspinError('USAGE', '--majority needs three images or more: of two none has one');
  }
  if (options.sector === 0) throw new LastspinError('USAGE', '--sector 0: from 1 to 65536 bytes');
  await refuseInUse(inputs);
  const interrupt = onInterrupt(
    'lastspin: stopping (again: leave at once; the next merge removes what is left)',
  );
  const lock = await takeLock(paths.lock);
  const listed: ListedConflict[] = [];
  try {
    const merged = await mergeCases(nodeFiles(), {
      inputs,
      out: paths,
      majority: options.majority ?? false,
      ...(prefer !== undefined && { prefer }),
      sameDrive: options.sameDrive ?? false,
      force: options.force ?? false,
      sectorBytes: options.sector ?? 512,
      version,
      clock: realClock(),
      onProgress: sayProgress(realClock()),
      onConflict: (conflict, sectorBytes) => {
        if (listed.length < listedMax) listed.push(listedOf(conflict, sectorBytes, inputs));
      },
      signal: interrupt.signal,
    });
    const result = resultOf(merged, paths, listed, options, inputs[prefer ?? -1]?.image);
    process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : formatMergeResult(result));
    return result.conflicts.unresolved > 0 ? exitConflicts : 0;
  } catch (error) {
    if (error !== interrupt.signal.reason) throw error;
    throw new LastspinError('INTERRUPTED', `interrupted; ${out} was not made`);
  } finally {
    await lock.release();
    interrupt.dispose();
  }
}

/** `IMAGE`, with its map beside it, or `IMAGE:MAP`. A name with a colon that exists is an image's. */
function pathsOf(name: string): MergePaths {
  if (existsSync(name)) return { image: requireFile(name), map: casePaths(name).map };
  for (let at = name.lastIndexOf(':'); at > 0; at = name.lastIndexOf(':', at - 1)) {
    const [image, map] = [name.slice(0, at), name.slice(at + 1)];
    if (map !== '' && existsSync(image)) return { image: requireFile(image), map };
  }
  throw new LastspinError('FILE_FAILED', `${name}: no such image; name it as IMAGE or IMAGE:MAP`);
}

function requireFile(path: string): string {
  if (statSync(path).isFile()) return path;
  throw new LastspinError(
    'USAGE',
    `${path} is not a file: an image is needed, not a drive or a folder`,
  );
}

/** An image that is given twice would agree with itself. */
function refuseTwice(inputs: readonly MergePaths[]): void {
  inputs.forEach(({ image }, index) => {
    if (inputs.slice(0, index).some((other) => isSameFile(image, other.image)))
      throw new LastspinError('USAGE', `${image} is given twice`);
  });
}

/** No file that this command writes is one that it reads. */
function refuseToTouchInputs(out: CasePaths, inputs: readonly MergePaths[]): void {
  const { image, map, journal, events, lock, versions, hashes, conflicts, report } = out;
  const temporary = [mergingPath(image), `${map}.tmp`, `${conflicts}.tmp`];
  const beside = [journal, events, lock, versions, hashes, conflicts, report];
  const written = [image, map, ...beside, ...temporary];
  for (const input of inputs.flatMap(({ image: read, map: readMap }) => [read, readMap])) {
    const touched = written.find((path) => isSameFile(path, input));
    if (touched !== undefined)
      throw new LastspinError(
        'USAGE',
        `${touched} is one of the images or maps to merge; give another OUT`,
      );
  }
  const found = statSync(image, { throwIfNoEntry: false });
  if (found && !found.isFile())
    throw new LastspinError('USAGE', `${image} is not a file; images are merged into a file`);
}

function isSameFile(one: string, other: string): boolean {
  if (resolve(one) === resolve(other)) return true;
  const found: (Stats | undefined)[] = [one, other].map((path) =>
    statSync(path, { throwIfNoEntry: false }),
  );
  return found[0] !== undefined && found[0].dev === found[1]?.dev && found[0].ino === found[1].ino;
}

/** A job that still writes to an image may change its mind about a sector. */
async function refuseInUse(inputs: readonly MergePaths[]): Promise<void> {
  for (const { image } of inputs) {
    const { lock } = casePaths(image);
    // An image on a disk that cannot be written has none, and can be read all the same.
    if (existsSync(lock)) await (await takeLock(lock)).release();
  }
}

function preferred(
  inputs: readonly MergePaths[],
  names: readonly string[],
  name: string | undefined,
): number | undefined {
  if (name === undefined) return undefined;
  const byName = names.indexOf(name);
  const index = byName >= 0 ? byName : inputs.findIndex(({ image }) => isSameFile(image, name));
  if (index >= 0) return index;
  throw new LastspinError('USAGE', `--prefer ${name}: that is none of the images to merge`);
}

function sayProgress(clock: Clock): NonNullable<MergeCasesOptions['onProgress']> {
  let saidAtMs = clock.now();
  return (bytes, sizeBytes) => {
    if (clock.now() - saidAtMs < progressIntervalMs) return;
    saidAtMs = clock.now();
    process.stderr.write(`lastspin: merging, ${formatShare(bytes, sizeBytes)}\n`);
  };
}

function listedOf(
  { from, to, versions, taken }: Conflict,
  sectorBytes: number,
  inputs: readonly MergePaths[],
): ListedConflict {
  return {
    firstLba: Math.floor(from / sectorBytes),
    lastLba: Math.ceil(to / sectorBytes) - 1,
    versions: versions.map(({ sources, sha256, firstBytes }) => ({
      images: sources.map((source) => inputs[source]!.image),
      sha256,
      firstBytes: Buffer.from(firstBytes).toString('hex'),
    })),
    taken: taken ?? null,
  };
}

function resultOf(
  { inputs, drive, sectorBytes, sizeBytes, merged, conflicts, elapsedMs }: MergedCase,
  paths: CasePaths,
  list: readonly ListedConflict[],
  options: MergeOptions,
  prefer: string | undefined,
): MergeResult {
  const bytesOf = (map: Runs) => statisticsWithin(map, domainRuns(0, sizeBytes)).statuses;
  const all = bytesOf(merged.map);
  return {
    schema: 'lastspin/merge-result/1',
    image: paths.image,
    map: paths.map,
    conflictsFile: conflicts.extents > 0 ? paths.conflicts : null,
    drive: drive ?? null,
    sameDrive: options.sameDrive ?? false,
    sectorBytes,
    sizeBytes,
    inputs: inputs.map(({ image, map, drive: own, runs }, index) => ({
      image,
      map,
      drive: own ?? null,
      finishedBytes: bytesOf(runs).finished.bytes,
      takenBytes: merged.takenBytes[index]!,
    })),
    bytes: {
      finished: all.finished.bytes,
      nonTried: all['non-tried'].bytes,
      nonTrimmed: all['non-trimmed'].bytes,
      nonScraped: all['non-scraped'].bytes,
      bad: all['bad-sector'].bytes,
    },
    comparedBytes: merged.comparedBytes,
    rule: { majority: options.majority ?? false, prefer: prefer ?? null },
    conflicts: { ...conflicts, list: [...list] },
    readBytes: merged.readBytes,
    elapsedMs: Math.round(elapsedMs),
  };
}
