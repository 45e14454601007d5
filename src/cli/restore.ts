import { statSync } from 'node:fs';
import { realClock } from '../clock.js';
import type { Drive } from '../drive/drive.js';
import { openFileDrive } from '../drive/file.js';
import { LastspinError } from '../errors.js';
import { statusByByte } from '../image/byte-map.js';
import {
  type Contents,
  copyOnto,
  type Difference,
  differencesOn,
  fillExcess,
} from '../image/copy-back.js';
import type { OpenFile } from '../image/file-layer.js';
import { nodeFiles } from '../image/node-files.js';
import { openStored, storedPaths, wholeName } from '../image/split-file.js';
import { casePaths } from '../job/case-files.js';
import { createRunMap } from '../map/run-map.js';
import { statuses } from '../map/status.js';
import { type CopyProgress, createCopyProgress } from '../show/copy-progress.js';
import { formatRestore, type RestoreResult, untouched } from '../show/copy-result.js';
import { formatBytes } from '../show/format.js';
import { loadCaseMap, lockToRead, requireMapOf } from './case-map.js';
import { type Interrupt, onInterrupt } from './interrupt.js';
import { askOnTerminal } from './source-guard.js';
import {
  asTargetError,
  fittingBytes,
  lookAtTarget,
  refuseTarget,
  refuseWithoutWord,
  remarksOn,
  requireOverwrite,
  requireSameTarget,
  requireTarget,
  type Target,
} from './target-guard.js';
import { type TargetOptions, type Wanted, wantedOf } from './target-options.js';
import { terminalOf } from './terminal.js';

export interface RestoreOptions extends TargetOptions {
  /** By default the one beside the image. */
  readonly map?: string;
  /** False: what was written is not read back. */
  readonly verify?: boolean;
  readonly json?: boolean;
}

const exitDiffers = 1;

/** `lastspin restore IMAGE TARGET`: returns the exit status. */
export async function restore(
  path: string,
  targetPath: string,
  options: RestoreOptions,
): Promise<number> {
  const wanted = wantedOf(options, 'zero');
  const paths = casePaths(wholeName(path));
  const mapPath = options.map ?? paths.map;
  requireTarget(targetPath);
  const parts = await storedPaths(nodeFiles(), path);
  refuseTarget(targetPath, { files: [...parts, mapPath] });
  const target = await lookAtTarget(targetPath);
  const interrupt = onInterrupt('lastspin: stopping (again: leave at once)');
  const progress = createCopyProgress(terminalOf(process.stderr), realClock());
  try {
    refuseWithoutWord(target, goAheadOf(options, interrupt));
    const lock = await lockToRead(paths.lock);
    try {
      const restoring = { path, mapPath, target, wanted, options, interrupt, progress };
      const result = await restoreOnto(restoring);
      progress.end();
      process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : formatRestore(result));
      return result.verified === 'differs' ? exitDiffers : 0;
    } finally {
      await lock.release();
    }
  } finally {
    progress.end();
    interrupt.dispose();
  }
}

/** What a restore goes by. */
interface Restoring {
  readonly path: string;
  readonly mapPath: string;
  readonly target: Target;
  readonly wanted: Wanted;
  readonly options: RestoreOptions;
  readonly interrupt: Interrupt;
  readonly progress: CopyProgress;
}

function goAheadOf({ overwrite }: RestoreOptions, { signal }: Interrupt) {
  return { ...(overwrite !== undefined && { overwrite }), ask: askOnTerminal(signal) };
}

async function restoreOnto(restoring: Restoring): Promise<RestoreResult> {
  const { path, options } = restoring;
  const found = statSync(path, { throwIfNoEntry: false });
  if (found && !found.isFile())
    throw new LastspinError('USAGE', `${path} is no file; IMAGE is one, or parts of one`);
  const image = await openStored(nodeFiles(), path, { readOnly: true });
  try {
    const sizeBytes = await image.size();
    if (sizeBytes === 0) throw new LastspinError('IMAGE_MISMATCH', `${path} is empty`);
    const { contents, hasMap } = await contentsOf(restoring, image, sizeBytes);
    await agree(restoring, contents, sizeBytes);
    const bytes = { copied: 0, filled: 0, untouched: 0, synced: 0 };
    await write(restoring, contents, bytes);
    const read = options.verify === false ? undefined : await readBack(restoring, contents);
    return resultOf(restoring, { bytes, read, endBytes: contents.endBytes, sizeBytes, hasMap });
  } finally {
    await image.close();
  }
}

/** What belongs on the target. Without a map all of the image was read. */
async function contentsOf(
  { path, mapPath, target, wanted, options, progress }: Restoring,
  image: OpenFile,
  sizeBytes: number,
): Promise<{ contents: Contents; hasMap: boolean }> {
  const endBytes = fittingBytes(target, sizeBytes, options.truncate ?? false);
  const found = await loadCaseMap(nodeFiles(), mapPath, { path, sizeBytes });
  if (!found && options.map !== undefined)
    throw new LastspinError('USAGE', `there is no map ${options.map}`);
  await requireMapOf(nodeFiles(), mapPath, { path, sizeBytes }, 'reading');
  if (!found) {
    const parts = await storedPaths(nodeFiles(), path);
    const isSplit = parts[0] !== wholeName(path);
    const few = isSplit
      ? `: ${parts.length} part${parts.length === 1 ? '' : 's'}, ${sizeBytes} bytes, and nothing tells whether there were more`
      : '';
    progress.say(`there is no ${mapPath}: all of ${path} is taken as read${few}`);
  }
  const map = found
    ? statusByByte(found.parsed, sizeBytes)
    : createRunMap(sizeBytes, statuses.finished);
  const { fill } = wanted;
  const fills = fill ? { unread: fill.fill, unreadable: fill.fill } : {};
  const sectorBytes = found?.sectorBytes ?? 512;
  const contents = { image, imagePath: path, map, sectorBytes, fills, endBytes };
  return { contents, hasMap: found !== undefined };
}

async function agree(
  { path, target, options, interrupt, progress }: Restoring,
  { sectorBytes }: Contents,
  sizeBytes: number,
): Promise<void> {
  const say = (line: string) => progress.say(line);
  remarksOn(target, { sizeBytes, sectorBytes }).forEach(say);
  const source = `${path}, ${formatBytes(sizeBytes)} (${sizeBytes} bytes)`;
  await requireOverwrite(target, source, { ...goAheadOf(options, interrupt), say });
  await requireSameTarget(target);
}

async function write(
  { target, wanted, interrupt, progress }: Restoring,
  contents: Contents,
  done: Parameters<typeof copyOnto>[3],
): Promise<void> {
  const { signal } = interrupt;
  const { endBytes } = contents;
  const { sizeBytes } = target.identity;
  const onProgress = (position: number) => progress.at(position);
  const file = await nodeFiles().open(target.path, { held: true });
  try {
    progress.begin('writing', endBytes);
    await copyOnto(file, contents, { signal, onProgress }, done);
    if (!wanted.excess || endBytes >= sizeBytes) return;
    progress.begin('filling behind it', sizeBytes);
    const behind = { from: endBytes, to: sizeBytes, fill: wanted.excess.fill };
    await fillExcess(file, behind, { signal, onProgress });
  } catch (error) {
    if (error !== signal.reason) throw asTargetError(error, target.path, done.synced);
    throw new LastspinError(
      'INTERRUPTED',
      `interrupted: the first ${done.synced} of ${endBytes} bytes are on ${target.path} for certain; the same command begins anew`,
    );
  } finally {
    await file.close();
  }
}

interface ReadBack {
  readonly differences: readonly Difference[];
  readonly isFromDevice: boolean;
}

/** Reads what was written by the path that sources are read by: past the cache where that can be. */
async function readBack(
  { target, interrupt, progress }: Restoring,
  contents: Contents,
): Promise<ReadBack> {
  const drive = await openFileDrive(target.path, realClock());
  const { signal } = interrupt;
  try {
    progress.begin('reading back', contents.endBytes);
    const differences = await differencesOn(
      (position, bytes) => readBytes(drive, target, position, bytes),
      contents,
      { signal, onProgress: (position) => progress.at(position) },
    );
    return { differences, isFromDevice: drive.isDirect };
  } catch (error) {
    if (error !== signal.reason) throw error;
    throw new LastspinError(
      'INTERRUPTED',
      `interrupted: all is written to ${target.path}, and was not read back to its end`,
    );
  } finally {
    await drive.close();
  }
}

const readTimeoutMs = 60_000;

/** Bytes of the target from a piece's start on, read in whole sectors. */
async function readBytes(
  drive: Drive,
  { path, identity }: Target,
  position: number,
  bytes: number,
): Promise<Uint8Array> {
  const { sectorBytes } = identity;
  const first = Math.floor(position / sectorBytes);
  const end = Math.ceil((position + bytes) / sectorBytes);
  const whole = new Uint8Array((end - first) * sectorBytes);
  const { readCountMax, inFlightMax } = drive.capabilities;
  const counts: { lba: number; count: number }[] = [];
  for (let lba = first; lba < end; lba += readCountMax)
    counts.push({ lba, count: Math.min(readCountMax, end - lba) });
  const readOne = async (extent: { lba: number; count: number }) => {
    const stopOn = { fault: false, slow: false, timeout: false };
    const result = await drive.read({
      extent,
      timeoutMs: readTimeoutMs,
      slowMs: 0,
      stopOn,
      batch: 0,
    });
    if (result.kind !== 'good') {
      throw new LastspinError(
        'FILE_FAILED',
        `${path} cannot be read back from byte ${extent.lba * sectorBytes} on (${result.fault?.errno ?? result.kind}): it fails; take another`,
      );
    }
    whole.set(result.data, (extent.lba - first) * sectorBytes);
  };
  for (let at = 0; at < counts.length; at += inFlightMax)
    await Promise.all(counts.slice(at, at + inFlightMax).map(readOne));
  const from = position - first * sectorBytes;
  return whole.subarray(from, from + bytes);
}

function resultOf(
  { path, mapPath, target, wanted }: Restoring,
  outcome: {
    readonly bytes: { copied: number; filled: number; untouched: number };
    readonly read: ReadBack | undefined;
    readonly endBytes: number;
    readonly sizeBytes: number;
    readonly hasMap: boolean;
  },
): RestoreResult {
  const { bytes, read, endBytes, sizeBytes, hasMap } = outcome;
  const { copied, filled } = bytes;
  const excessBytes = target.identity.sizeBytes - endBytes;
  return {
    schema: 'lastspin/restore-result/1',
    image: path,
    map: hasMap ? mapPath : null,
    target: {
      path: target.path,
      ...target.identity,
      truncatedBytes: sizeBytes - endBytes,
      excess: { bytes: excessBytes, content: wanted.excess?.text ?? untouched },
      gaps: { bytes: filled + bytes.untouched, content: wanted.fill?.text ?? untouched },
    },
    bytes: { copied, filled, untouched: bytes.untouched },
    verified: !read ? 'not-asked' : read.differences.length > 0 ? 'differs' : 'same',
    isFromDevice: read?.isFromDevice ?? false,
    differences: [...(read?.differences ?? [])],
  };
}
