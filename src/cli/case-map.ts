import type { DriveIdentity } from '../drive/drive.js';
import { isLastspinError, LastspinError } from '../errors.js';
import { claimedBytes, statusByByte } from '../image/byte-map.js';
import { loadCheckpoint } from '../image/checkpoint.js';
import type { FileLayer } from '../image/file-layer.js';
import type { ImageForm } from '../image/image-form.js';
import { type ImageLock, takeLock } from '../image/lock.js';
import { wholeName } from '../image/split-file.js';
import { casePaths, recallState } from '../job/case-files.js';
import { parseSnapshot } from '../job/snapshot.js';
import { byteMapOf, type ParsedMap } from '../map/mapfile.js';
import { statuses } from '../map/status.js';

/** What is known of an image, from its map and the journal beside that. */
export interface CaseMap {
  readonly parsed: ParsedMap;
  /** 512 where another program wrote the map: its files do not tell. */
  readonly sectorBytes: number;
  readonly isForeign: boolean;
}

const sectorBytesDefault = 512;

/** Reads an image's map; undefined where there is none. Throws IMAGE_MISMATCH where it claims more than the image has,
 * MAP_INVALID, also for one of ours that was changed, FILE_FAILED. */
export async function loadCaseMap(
  files: FileLayer,
  mapPath: string,
  image: { readonly path: string; readonly sizeBytes: number },
): Promise<CaseMap | undefined> {
  const saved = await loadCheckpoint(files, mapPath);
  if (!saved) return undefined;
  if (saved.damaged) {
    throw new LastspinError(
      'MAP_INVALID',
      `${mapPath} is not as lastspin wrote it; bring back a copy, or give another with --map`,
    );
  }
  const recalled = await recallState(files, mapPath);
  const sectorBytes = recalled?.drive.sectorBytes ?? sectorBytesDefault;
  const parsed = recalled ? byteMapOf(recalled.state.plan.map, sectorBytes) : saved.map;
  const claimed = claimedBytes(parsed);
  if (claimed > image.sizeBytes) {
    throw new LastspinError(
      'IMAGE_MISMATCH',
      `${image.path} has ${image.sizeBytes} bytes, but ${mapPath} calls sectors finished up to byte ${claimed}: it is not this image's map, or the image was cut`,
    );
  }
  return { parsed, sectorBytes, isForeign: saved.foreign };
}

/** Keeps jobs off an image that is only read here. On a disk that cannot be written there is no job to keep off. */
export async function lockToRead(path: string): Promise<ImageLock> {
  try {
    return await takeLock(path);
  } catch (error) {
    if (!isLastspinError(error, 'FILE_FAILED')) throw error;
    return { release: async () => {} };
  }
}

/** What a map is wanted for. `filling` writes wherever the map does not claim what was read. */
export type MapUse = 'reading' | 'filling';

/** Whether the map that somebody names for an image may be believed: it is as long as the image, and where another map
 * stands beside the image under the name that a case's has, it is of the same drive. What is written into the image by
 * it, and a map that says nothing of its drive, must call finished all that the one beside the image calls so.
 * Throws IMAGE_MISMATCH, saying what to do; FILE_FAILED. */
export async function requireMapOf(
  files: FileLayer,
  mapPath: string,
  image: { readonly path: string; readonly sizeBytes: number },
  use: MapUse,
): Promise<void> {
  const named = await knownMap(files, mapPath);
  if (!named) return;
  const besidePath = casePaths(wholeName(image.path)).map;
  const isNamed = !(await isSameFile(files, mapPath, besidePath));
  requireSameSize(named, { ...image, mapPath, isNamed, use });
  const beside = isNamed ? await knownMap(files, besidePath).catch(ignoreInvalid) : undefined;
  if (!beside) return;
  const advice = `leave --map out, or move ${besidePath} away if it is not this image's`;
  if (named.drives && beside.drives && !haveCommon(named.drives, beside.drives)) {
    throw new LastspinError(
      'IMAGE_MISMATCH',
      `${mapPath} is of ${driveText(named.drives)}, ${besidePath} of ${driveText(beside.drives)}: ${advice}`,
    );
  }
  const mustClaim = use === 'filling' || (beside.drives && !named.drives);
  const lost = mustClaim ? firstUnclaimed(named, beside, image.sizeBytes) : undefined;
  if (lost !== undefined) {
    throw new LastspinError(
      'IMAGE_MISMATCH',
      `${mapPath} does not claim what was read at byte ${lost} of ${image.path}, as ${besidePath} tells: ${advice}`,
    );
  }
}

interface KnownMap {
  readonly parsed: ParsedMap;
  /** The drive, under every name that it answered by; absent where the map does not tell. */
  readonly drives?: readonly DriveIdentity[];
  readonly form?: ImageForm;
}

async function knownMap(files: FileLayer, path: string): Promise<KnownMap | undefined> {
  const saved = await loadCheckpoint(files, path);
  if (!saved) return undefined;
  const recalled = await recallState(files, path);
  if (!recalled) return { parsed: saved.map };
  const { state, drive } = recalled;
  const parsed = byteMapOf(state.plan.map, drive.sectorBytes);
  const { form } = parseSnapshot(saved.state)!;
  return { parsed, drives: [drive, ...state.formerDrives], form };
}

/** A map that nobody can read tells nothing of its image. */
function ignoreInvalid(error: unknown): undefined {
  if (!isLastspinError(error, 'MAP_INVALID')) throw error;
}

async function isSameFile(files: FileLayer, one: string, other: string): Promise<boolean> {
  if (one === other) return true;
  const identityOf = async (path: string) => {
    if (!(await files.exists(path))) return undefined;
    const file = await files.open(path, { readOnly: true });
    return (async () => file.identity?.())().finally(() => file.close());
  };
  const found = await identityOf(one);
  return found !== undefined && found === (await identityOf(other));
}

/** An image may be shorter than the map of another program, since it grows as it is read, and one in parts may lack what
 * nothing was read of. A clone's target is as long as it is. */
function requireSameSize(
  { parsed, form }: KnownMap,
  image: {
    readonly path: string;
    readonly sizeBytes: number;
    readonly mapPath: string;
    readonly isNamed: boolean;
    readonly use: MapUse;
  },
): void {
  const { path, sizeBytes, mapPath, isNamed, use } = image;
  const isTarget = form?.kind === 'target' && form.target.sizeBytes === sizeBytes;
  if (isTarget && use === 'reading') return;
  const mayBeShorter = !isNamed || form?.kind !== 'file';
  if (mayBeShorter ? parsed.end >= sizeBytes : parsed.end === sizeBytes) return;
  throw new LastspinError(
    'IMAGE_MISMATCH',
    `${mapPath} is about ${parsed.end} bytes, ${path} has ${sizeBytes}: it is not this image's map; give that with --map`,
  );
}

function haveCommon(some: readonly DriveIdentity[], others: readonly DriveIdentity[]): boolean {
  const nameOf = ({ model, serial, sectorCount, sectorBytes }: DriveIdentity) =>
    JSON.stringify([model, serial, sectorCount * sectorBytes]);
  const names = new Set(some.map(nameOf));
  return others.some((drive) => names.has(nameOf(drive)));
}

function driveText([drive]: readonly DriveIdentity[]): string {
  return `the drive ${[drive?.model, drive?.serial].filter(Boolean).join(' ')}`;
}

/** The first byte of the image that one map calls finished and the named one does not. */
function firstUnclaimed(named: KnownMap, beside: KnownMap, sizeBytes: number): number | undefined {
  const [map, other] = [named, beside].map(({ parsed }) => statusByByte(parsed, sizeBytes));
  for (const run of other!.runs()) {
    if (run.value !== statuses.finished) continue;
    for (const part of map!.runs(run.lba, run.lba + run.count))
      if (part.value !== statuses.finished) return part.lba;
  }
  return undefined;
}
