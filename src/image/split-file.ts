/** A raw image in parts, `IMAGE.001`, `IMAGE.002`, …, as one file: byte `n` of the image is byte `n % partBytes` of
 * part `n / partBytes`. One after the other (`cat IMAGE.0*`) they are the raw image. */

import { LastspinError } from '../errors.js';
import type { FileLayer, FileStamp, OpenFile } from './file-layer.js';
import { requireUntouched } from './untouched.js';

/** Three digits: with more, a listing by name would no longer be in order. */
export const partsMax = 999;

/** The path of a part, from 1. */
export function partPath(path: string, number: number): string {
  return `${path}.${String(number).padStart(3, '0')}`;
}

/** Parts of `partBytes` at most, in whole sectors. @throws LastspinError USAGE when SIZE is less than a sector, or when
 * the image would have more parts than can be numbered. */
export function splitSize(wantedBytes: number, sectorBytes: number, sizeBytes: number): number {
  const partBytes = wantedBytes - (wantedBytes % sectorBytes);
  if (partBytes === 0) {
    throw new LastspinError(
      'USAGE',
      `--split ${wantedBytes}B is less than one of the drive's sectors of ${sectorBytes} bytes`,
    );
  }
  const count = Math.ceil(sizeBytes / partBytes);
  if (count <= partsMax) return partBytes;
  const least = Math.ceil(sizeBytes / partsMax / sectorBytes) * sectorBytes;
  throw new LastspinError(
    'USAGE',
    `--split ${wantedBytes}B makes ${count} parts and ${partsMax} are the most; ${least}B is the least for this drive`,
  );
}

/** What there is to know of a split image before it is opened. */
export interface SplitLayout {
  readonly sizeBytes: number;
  readonly partBytes: number;
}

/** Whether any part of such an image is there. */
export async function hasParts(
  files: FileLayer,
  path: string,
  layout?: SplitLayout,
): Promise<boolean> {
  const last = layout ? countOf(layout) : 1;
  for (let number = 1; number <= last; number++) {
    if (await files.exists(partPath(path, number))) return true;
  }
  return false;
}

/** Removes the parts that an image has, as far as they hold nothing: those of one that could not begin. */
export async function removeEmptyParts(files: FileLayer, path: string): Promise<void> {
  for (let number = 1; await files.exists(partPath(path, number)); number++) {
    const part = await files.open(partPath(path, number), { readOnly: true });
    const bytes = await part.allocatedBytes().finally(() => part.close());
    if (bytes === 0) await files.remove(partPath(path, number));
  }
}

/** Bytes that the parts of an image have allocated. */
export async function allocatedInParts(files: FileLayer, path: string): Promise<number> {
  let bytes = 0;
  for (let number = 1; await files.exists(partPath(path, number)); number++) {
    const file = await files.open(partPath(path, number), { readOnly: true });
    bytes += await file.allocatedBytes().finally(() => file.close());
  }
  return bytes;
}

export interface SplitOptions extends SplitLayout {
  readonly mode: 'new' | 'resume';
  /** Where the last byte that the map claims ends. */
  readonly claimedBytes: number;
  /** Which file each part was when the map was saved. */
  readonly partIds?: readonly string[];
}

/** A split image that is open, as one file. */
export interface SplitFile extends OpenFile {
  /** Which file each part is; absent where nobody can tell. */
  readonly partIds?: readonly string[];
}

/** Opens the parts of an image and gives each its size, without allocating it.
 * @throws LastspinError IMAGE_MISMATCH naming the part that is missing, cut, too large, or in the place of another;
 *   IMAGE_EXISTS, IMAGE_SPACE, FILE_FAILED. */
export async function openSplit(
  files: FileLayer,
  path: string,
  options: SplitOptions,
): Promise<SplitFile> {
  const count = countOf(options);
  await refuseSurplus(files, path, count);
  const parts: OpenFile[] = [];
  try {
    for (let number = 1; number <= count; number++) {
      parts.push(await openPart(files, path, number, options));
    }
    const partIds = await identities(parts);
    if (options.claimedBytes > 0) refuseSwapped(path, options.partIds, partIds);
    await files.syncDirectory(path);
    return splitOver(parts, path, options, partIds);
  } catch (error) {
    for (const part of parts) await part.close().catch(() => undefined);
    throw error;
  }
}

async function openPart(
  files: FileLayer,
  path: string,
  number: number,
  options: SplitOptions,
): Promise<OpenFile> {
  const at = partPath(path, number);
  const { sizeBytes } = rangeOf(options, number);
  const exists = await files.exists(at);
  if (exists && options.mode === 'new')
    throw new LastspinError('IMAGE_EXISTS', `${at} exists: name another image`);
  if (!exists) refuseMissing(path, number, options);
  const part = await files.open(at, { create: true, exclusive: options.mode === 'new' });
  try {
    const foundBytes = await part.size();
    refuseSize(path, number, options, foundBytes);
    if (foundBytes < sizeBytes) {
      await part.truncate(sizeBytes);
      await part.sync();
    }
    return part;
  } catch (error) {
    await part.close().catch(() => undefined);
    throw error;
  }
}

/** What is known of a split image whose map is known. */
type ClaimedLayout = Pick<SplitOptions, 'sizeBytes' | 'partBytes' | 'claimedBytes'>;

/** Bytes of a part, from its start, that the map claims something of. */
function claimedOf(options: ClaimedLayout, number: number): number {
  const { from, sizeBytes } = rangeOf(options, number);
  return Math.max(0, Math.min(sizeBytes, options.claimedBytes - from));
}

function refuseMissing(path: string, number: number, options: ClaimedLayout): void {
  if (claimedOf(options, number) === 0) return;
  throw mismatch(
    `${partPath(path, number)} is missing, but the map says that sectors are in it: put it back`,
  );
}

function refuseSize(
  path: string,
  number: number,
  options: ClaimedLayout,
  foundBytes: number,
): void {
  const { sizeBytes } = rangeOf(options, number);
  const claimedBytes = claimedOf(options, number);
  if (foundBytes <= sizeBytes && foundBytes >= claimedBytes) return;
  const expected = foundBytes > sizeBytes ? `${sizeBytes}` : `at least ${claimedBytes}`;
  throw mismatch(
    `${partPath(path, number)} has ${foundBytes} bytes, but the map asks for ${expected}: it is another part, another image's, or it was cut`,
  );
}

/** Opens the parts of an image whose map is known, only to read them; what the map claims nothing of may be missing.
 * @throws LastspinError IMAGE_MISMATCH naming the part that is missing, cut or too large; FILE_FAILED. */
export async function openPartsToRead(
  files: FileLayer,
  path: string,
  options: ClaimedLayout,
): Promise<SplitFile> {
  await refuseSurplus(files, path, countOf(options));
  const parts: OpenFile[] = [];
  try {
    for (let number = 1; number <= countOf(options); number++) {
      if (!(await files.exists(partPath(path, number)))) {
        refuseMissing(path, number, options);
        break;
      }
      parts.push(await files.open(partPath(path, number), { readOnly: true }));
      refuseSize(path, number, options, await parts.at(-1)!.size());
    }
    return splitOver(parts, path, options, await identities(parts));
  } catch (error) {
    for (const part of parts) await part.close().catch(() => undefined);
    throw error;
  }
}

/** A part too many would be in what `cat` makes of them. */
async function refuseSurplus(files: FileLayer, path: string, count: number): Promise<void> {
  const next = partPath(path, count + 1);
  if (count < partsMax && (await files.exists(next)))
    throw mismatch(`${next} is no part of this image, which has ${count}: move it away`);
}

async function identities(parts: readonly OpenFile[]): Promise<readonly string[] | undefined> {
  const found: string[] = [];
  for (const part of parts) {
    const identity = await part.identity?.();
    if (identity === undefined) return undefined;
    found.push(identity);
  }
  return found;
}

/** The same files in another order were renamed. Other files are a copy: only their content can tell. */
function refuseSwapped(
  path: string,
  before: readonly string[] | undefined,
  now: readonly string[] | undefined,
): void {
  if (!before || !now || before.length !== now.length) return;
  const isSameSet = [...before].sort().join() === [...now].sort().join();
  const wrong = now.findIndex((identity, index) => identity !== before[index]);
  if (!isSameSet || wrong < 0) return;
  const was = partPath(path, before.indexOf(now[wrong]!) + 1);
  throw mismatch(
    `${partPath(path, wrong + 1)} is the file that was ${was}: give them their names back`,
  );
}

function splitOver(
  parts: readonly OpenFile[],
  path: string,
  layout: SplitLayout,
  partIds: readonly string[] | undefined,
): SplitFile {
  const dirty = new Set<number>();
  const sum = async (of: (part: OpenFile) => Promise<number>) => {
    let total = 0;
    for (const part of parts) total += await of(part);
    return total;
  };
  return {
    ...(partIds && { partIds }),
    async read(into, position) {
      let done = 0;
      for (const piece of piecesOf(layout, position, into.length)) {
        const part = into.subarray(done, done + piece.bytes);
        const byteCount = (await parts[piece.index]?.read(part, piece.at)) ?? 0;
        done += byteCount;
        if (byteCount < piece.bytes) break;
      }
      return done;
    },
    async write(data, position) {
      let done = 0;
      for (const piece of piecesOf(layout, position, data.length)) {
        dirty.add(piece.index);
        await parts[piece.index]!.write(data.subarray(done, done + piece.bytes), piece.at);
        done += piece.bytes;
      }
      if (done < data.length) throw new RangeError(`write past the last part of ${path}`);
    },
    async sync() {
      const syncing = [...dirty];
      dirty.clear();
      try {
        await Promise.all(syncing.map((index) => parts[index]!.sync()));
      } catch (error) {
        for (const index of syncing) dirty.add(index);
        throw error;
      }
      for (const [index, part] of parts.entries()) {
        const { sizeBytes } = rangeOf(layout, index + 1);
        await requireUntouched(part, partPath(path, index + 1), sizeBytes);
      }
    },
    size: () => sum((part) => part.size()),
    stamp: () => stampOf(parts),
    allocatedBytes: () => sum((part) => part.allocatedBytes()),
    async truncate() {
      throw new RangeError('a split image keeps its size');
    },
    async close() {
      for (const part of parts) await part.close();
    },
  };
}

/** Of all parts together: changed when one was, and another file when the first is. */
async function stampOf(parts: readonly OpenFile[]): Promise<FileStamp | undefined> {
  let stamp: FileStamp | undefined;
  for (const part of parts) {
    const next = await part.stamp?.();
    if (!next) return undefined;
    const { sizeBytes = 0, modifiedNs = next.modifiedNs } = stamp ?? {};
    const isNewer = BigInt(next.modifiedNs) > BigInt(modifiedNs);
    stamp = {
      ...(stamp ?? next),
      sizeBytes: sizeBytes + next.sizeBytes,
      modifiedNs: isNewer ? next.modifiedNs : modifiedNs,
    };
  }
  return stamp;
}

function countOf({ sizeBytes, partBytes }: SplitLayout): number {
  return Math.max(1, Math.ceil(sizeBytes / partBytes));
}

/** Where a part (from 1) begins in the image, and how long it is. */
function rangeOf(
  { sizeBytes, partBytes }: SplitLayout,
  number: number,
): { from: number; sizeBytes: number } {
  const from = (number - 1) * partBytes;
  return { from, sizeBytes: Math.min(partBytes, sizeBytes - from) };
}

interface Piece {
  readonly index: number;
  /** Within the part. */
  readonly at: number;
  readonly bytes: number;
}

/** What a stretch of the image is in its parts; nothing of it lies past the image's end. */
function* piecesOf(
  { sizeBytes, partBytes }: SplitLayout,
  position: number,
  bytes: number,
): Generator<Piece> {
  const end = Math.min(sizeBytes, position + bytes);
  for (let from = position; from < end; ) {
    const index = Math.floor(from / partBytes);
    const to = Math.min(end, (index + 1) * partBytes);
    yield { index, at: from - index * partBytes, bytes: to - from };
    from = to;
  }
}

function mismatch(message: string): LastspinError {
  return new LastspinError('IMAGE_MISMATCH', message);
}

/** Opens an image that is there, raw or in parts, by its name or by that of its first part; its size is what is there.
 * @throws LastspinError IMAGE_MISMATCH when a part is missing or not as long as the first; FILE_FAILED. */
export async function openStored(
  files: FileLayer,
  path: string,
  options: { readonly readOnly: boolean },
): Promise<OpenFile> {
  const whole = wholeName(path);
  const paths = await storedPaths(files, path);
  if (paths[0] === path && whole === path) return files.open(path, options);
  const parts: OpenFile[] = [];
  try {
    for (const part of paths) parts.push(await files.open(part, options));
    await refuseGap(files, whole, parts.length);
    const sizes = await Promise.all(parts.map((part) => part.size()));
    const layout = { partBytes: sizes[0]!, sizeBytes: sizes.reduce((sum, size) => sum + size, 0) };
    const wrong = sizes.findIndex((size, index) =>
      index + 1 < sizes.length ? size !== layout.partBytes : size > layout.partBytes,
    );
    if (wrong >= 0) {
      throw mismatch(
        `${partPath(whole, wrong + 1)} has ${sizes[wrong]} bytes, the first part ${layout.partBytes}: it was cut, or is no part of this image`,
      );
    }
    return splitOver(parts, whole, layout, undefined);
  } catch (error) {
    for (const part of parts) await part.close().catch(() => undefined);
    throw error;
  }
}

/** The files that an image is, one after the other: itself, or its parts. */
export async function storedPaths(files: FileLayer, path: string): Promise<readonly string[]> {
  const whole = wholeName(path);
  const isWhole = whole === path && (await files.exists(path));
  if (isWhole || !(await files.exists(partPath(whole, 1)))) return [path];
  const parts: string[] = [];
  while (await files.exists(partPath(whole, parts.length + 1)))
    parts.push(partPath(whole, parts.length + 1));
  return parts;
}

/** The image's own name where that of its first part is given. */
export function wholeName(path: string): string {
  return path.endsWith('.001') ? path.slice(0, -'.001'.length) : path;
}

async function refuseGap(files: FileLayer, path: string, found: number): Promise<void> {
  for (let number = found + 2; number <= partsMax; number++) {
    if (await files.exists(partPath(path, number)))
      throw mismatch(
        `${partPath(path, found + 1)} is missing, and ${partPath(path, number)} is there`,
      );
  }
}
