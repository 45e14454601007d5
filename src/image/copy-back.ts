/** An image onto a target: what was read, and what is to stand where nothing was. */

import { LastspinError } from '../errors.js';
import type { RunMap } from '../map/run-map.js';
import { statuses } from '../map/status.js';
import type { OpenFile } from './file-layer.js';
import { type Fill, type Fills, fillBytes, gapKindOf } from './fill.js';

/** What is to be on the target. */
export interface Contents {
  readonly image: Pick<OpenFile, 'read'>;
  /** For messages. */
  readonly imagePath: string;
  /** Status by byte of the image. */
  readonly map: RunMap;
  readonly sectorBytes: number;
  /** Gaps that have none keep what the target has there. */
  readonly fills: Fills;
  /** Bytes of the image that go onto the target. */
  readonly endBytes: number;
}

export interface CopyOptions {
  readonly signal?: AbortSignal;
  /** Told the byte that was reached. */
  readonly onProgress?: (position: number) => void;
}

/** What became of the target's bytes. */
export interface CopiedBytes {
  copied: number;
  filled: number;
  untouched: number;
}

const pieceBytes = 1 << 20;
/** So much is made durable at a time: a target that fails is noticed not too late. */
const syncBytes = 256 << 20;

/** A stretch of a piece, in bytes from its start. */
interface Stretch {
  readonly from: number;
  readonly to: number;
  readonly what: keyof CopiedBytes;
}

interface Piece {
  readonly position: number;
  readonly data: Uint8Array;
  readonly stretches: readonly Stretch[];
}

/** What belongs at a stretch of the target. Throws IMAGE_MISMATCH when the image ends before its map. */
async function pieceAt(contents: Contents, position: number, bytes: number): Promise<Piece> {
  const { image, imagePath, map, sectorBytes, fills } = contents;
  const data = new Uint8Array(bytes);
  const stretches: Stretch[] = [];
  for (const run of map.runs(position, position + bytes)) {
    const from = run.lba - position;
    const to = from + run.count;
    const part = data.subarray(from, to);
    const gap = gapKindOf(run.value);
    const fill = gap && fills[gap];
    if (run.value === statuses.finished) {
      if ((await image.read(part, run.lba)) < part.length)
        throw new LastspinError(
          'IMAGE_MISMATCH',
          `${imagePath} ends before byte ${run.lba + run.count}, which its map calls finished`,
        );
      stretches.push({ from, to, what: 'copied' });
    } else if (fill) {
      fillBytes(part, run.lba, fill, { sectorBytes, gap });
      stretches.push({ from, to, what: 'filled' });
    } else stretches.push({ from, to, what: 'untouched' });
  }
  return { position, data, stretches };
}

/** The pieces in order; the next is made while one is worked on. */
async function* piecesOf(contents: Contents): AsyncGenerator<Piece> {
  const { endBytes } = contents;
  const start = (at: number) => {
    const piece =
      at < endBytes ? pieceAt(contents, at, Math.min(pieceBytes, endBytes - at)) : undefined;
    piece?.catch(() => {});
    return piece;
  };
  let next = start(0);
  for (let at = 0; next; at += pieceBytes) {
    const piece: Piece = await next;
    next = start(at + pieceBytes);
    yield piece;
  }
}

/** Writes everything onto the target and syncs it. Throws the signal's reason, IMAGE_MISMATCH, FILE_FAILED,
 * IMAGE_SPACE; `done` tells how far it came. */
export async function copyOnto(
  target: Pick<OpenFile, 'write' | 'sync'>,
  contents: Contents,
  { signal, onProgress }: CopyOptions,
  done: CopiedBytes & { synced: number },
): Promise<void> {
  let syncedTo = 0;
  const sync = async (position: number) => {
    await target.sync();
    syncedTo = position;
    done.synced = position;
  };
  for await (const { position, data, stretches } of piecesOf(contents)) {
    signal?.throwIfAborted();
    for (const { from, to, what } of stretches) {
      if (what !== 'untouched') await target.write(data.subarray(from, to), position + from);
      done[what] += to - from;
    }
    const reached = position + data.length;
    if (reached - syncedTo >= syncBytes) await sync(reached);
    onProgress?.(reached);
  }
  await sync(contents.endBytes);
}

/** Where a target holds something else than it should, in bytes of it. */
export interface Difference {
  readonly from: number;
  readonly to: number;
}

/** Compares the target with what belongs on it: what was written to it and nothing else. `readBack` gives bytes of the
 * target, past every cache where it can. Throws the signal's reason and what reading throws. */
export async function differencesOn(
  readBack: (position: number, bytes: number) => Promise<Uint8Array>,
  contents: Contents,
  { signal, onProgress }: CopyOptions,
): Promise<Difference[]> {
  const found: Difference[] = [];
  for await (const { position, data, stretches } of piecesOf(contents)) {
    signal?.throwIfAborted();
    const isWanted = stretches.some(({ what }) => what !== 'untouched');
    const back = isWanted ? await readBack(position, data.length) : data;
    for (const { from, to, what } of stretches) {
      if (what === 'untouched') continue;
      for (const part of differing(
        data.subarray(from, to),
        back.subarray(from, to),
        position + from,
      ))
        join(found, part);
    }
    onProgress?.(position + data.length);
  }
  return found;
}

/** Sectors or what there is of them, from the position on, that differ. */
function* differing(data: Uint8Array, back: Uint8Array, position: number): Generator<Difference> {
  if (Buffer.compare(data, back) === 0) return;
  const stepBytes = 512;
  for (let at = 0; at < data.length; at += stepBytes) {
    const end = Math.min(data.length, at + stepBytes);
    if (Buffer.compare(data.subarray(at, end), back.subarray(at, end)) !== 0)
      yield { from: position + at, to: position + end };
  }
}

/** A target that holds nothing right has many differences, but few runs of them. */
function join(found: Difference[], part: Difference): void {
  const last = found.at(-1);
  if (last?.to === part.from) found[found.length - 1] = { from: last.from, to: part.to };
  else if (found.length < differencesMax) found.push(part);
}

/** Most that are listed. */
export const differencesMax = 1000;

/** Fills a target behind what went onto it. Throws the signal's reason, FILE_FAILED. */
export async function fillExcess(
  target: Pick<OpenFile, 'write' | 'sync'>,
  { from, to, fill }: { readonly from: number; readonly to: number; readonly fill: Fill },
  { signal, onProgress }: CopyOptions,
): Promise<void> {
  const buffer = new Uint8Array(pieceBytes);
  for (let at = from; at < to; at += pieceBytes) {
    signal?.throwIfAborted();
    const piece = buffer.subarray(0, Math.min(pieceBytes, to - at));
    fillBytes(piece, at, fill, { sectorBytes: 512, gap: 'unread' });
    await target.write(piece, at);
    onProgress?.(at + piece.length);
  }
  await target.sync();
}
