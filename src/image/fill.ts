/** What goes where nothing was read: never a claim, and never over what was. */

import { LastspinError } from '../errors.js';
import type { RunMap } from '../map/run-map.js';
import { statuses } from '../map/status.js';
import type { OpenFile } from './file-layer.js';

export type Fill =
  | { readonly kind: 'zero' }
  /** Repeated from the start of each sector. */
  | { readonly kind: 'pattern'; readonly bytes: Uint8Array }
  /** A text with the sector's LBA, and why it is there. */
  | { readonly kind: 'marker' };

/** Sectors that no read succeeded on yet, and sectors that no read could get. */
export type GapKind = 'unread' | 'unreadable';

export type Fills = Readonly<Partial<Record<GapKind, Fill>>>;

/** Longest pattern in bytes: the smallest sector. */
const patternBytesMax = 512;

/** The fill that a word names: `zero`, `marker`, or bytes in hex as `0xBAADF00D`. Throws USAGE. */
export function parseFill(text: string, option: string): Fill {
  if (text === 'zero' || text === 'marker') return { kind: text };
  const digits = /^0x([0-9a-f]+)$/i.exec(text)?.[1] ?? '';
  if (digits.length > 0 && digits.length % 2 === 0 && digits.length <= 2 * patternBytesMax)
    return { kind: 'pattern', bytes: Buffer.from(digits, 'hex') };
  throw new LastspinError(
    'USAGE',
    `${option} ${text}: zero, marker, or 1 to ${patternBytesMax} bytes in hex as 0xBAADF00D`,
  );
}

/** What of a status a gap is; undefined for what was read. */
export function gapKindOf(status: number): GapKind | undefined {
  if (status === statuses.finished) return undefined;
  return status === statuses['bad-sector'] ? 'unreadable' : 'unread';
}

const markerWords: Readonly<Record<GapKind, string>> = {
  unread: 'was not read',
  unreadable: 'could not be read',
};

/** The text that a marked sector repeats. */
export function markerText(lba: number, gap: GapKind): string {
  return `lastspin: sector ${lba} ${markerWords[gap]}\n`;
}

/** Fills `into` as it stands at a byte of the image. */
export function fillBytes(
  into: Uint8Array,
  position: number,
  fill: Fill,
  { sectorBytes, gap }: { readonly sectorBytes: number; readonly gap: GapKind },
): void {
  if (fill.kind === 'zero') {
    into.fill(0);
    return;
  }
  for (let done = 0; done < into.length; ) {
    const lba = Math.floor((position + done) / sectorBytes);
    const within = position + done - lba * sectorBytes;
    const piece = into.subarray(done, done + sectorBytes - within);
    const text = fill.kind === 'marker' ? Buffer.from(markerText(lba, gap)) : fill.bytes;
    repeat(piece, text, within);
    done += piece.length;
  }
}

/** `text` over and over, as if the first byte of `into` were its `from`-th. */
function repeat(into: Uint8Array, text: Uint8Array, from: number): void {
  for (let at = 0; at < into.length; ) {
    const start = (from + at) % text.length;
    const part = text.subarray(start, start + into.length - at);
    into.set(part, at);
    at += part.length;
  }
}

export interface FillOptions {
  readonly fills: Fills;
  readonly sectorBytes: number;
  readonly signal?: AbortSignal;
  /** Told the byte that was reached. */
  readonly onProgress?: (position: number) => void;
}

/** Bytes that were filled. */
export type FilledBytes = Record<GapKind, number>;

const pieceBytes = 1 << 20;

/** Writes into the gaps of an image and nowhere else, and syncs it. `map`: status by byte, as long as the image.
 * Zeros are not written where there are zeros already, so that holes stay holes. Done again it does the same.
 * Throws the signal's reason, FILE_FAILED, IMAGE_SPACE. */
export async function fillGaps(
  file: Pick<OpenFile, 'read' | 'write' | 'sync'>,
  map: RunMap,
  { fills, sectorBytes, signal, onProgress }: FillOptions,
): Promise<FilledBytes> {
  const filled = { unread: 0, unreadable: 0 };
  const buffer = new Uint8Array(pieceBytes);
  for (const run of map.runs()) {
    const gap = gapKindOf(run.value);
    const fill = gap && fills[gap];
    if (!fill) continue;
    const end = run.lba + run.count;
    for (let at = run.lba; at < end; at += pieceBytes) {
      signal?.throwIfAborted();
      const piece = buffer.subarray(0, Math.min(pieceBytes, end - at));
      const isThere = fill.kind === 'zero' && (await isZero(file, piece, at));
      if (!isThere) {
        fillBytes(piece, at, fill, { sectorBytes, gap });
        await file.write(piece, at);
      }
      filled[gap] += piece.length;
      onProgress?.(at + piece.length);
    }
  }
  await file.sync();
  return filled;
}

async function isZero(file: Pick<OpenFile, 'read'>, into: Uint8Array, at: number) {
  const byteCount = await file.read(into, at);
  return byteCount === into.length && isAllZero(into);
}

const zeros = Buffer.alloc(pieceBytes);

function isAllZero(bytes: Uint8Array): boolean {
  return zeros.compare(bytes, 0, bytes.length, 0, bytes.length) === 0;
}
