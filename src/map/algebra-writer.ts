/** Map files from runs in bytes. `mapfile-writer.ts` writes those of a drive's sectors, which begin
 * at 0. */

import { type Domain, isInside, openEnd, outside, type Runs, walk } from './algebra-runs.js';
import type { ParsedMap } from './mapfile.js';
import { headerOf, putHex } from './mapfile-writer.js';
import { statusLetters } from './status.js';

export interface ByteMapContent
  extends Runs,
    Pick<ParsedMap, 'currentPosition' | 'currentStatus' | 'currentPass'> {
  /** Of this program, for the first line. */
  readonly version: string;
  /** Further comment lines, without the `# `. */
  readonly comments?: readonly string[];
  /** What this program did, in the first line: `Created by` is what a case's own map says. */
  readonly madeBy?: string;
}

/** Adds a comment to each block of the domain, which is cut where the domain is. */
export interface Annotation {
  readonly domain: Domain;
  /** The comment, without the `# `. Arguments are bytes. */
  describe(position: number, size: number): string;
}

const pieceBytes = 1 << 17;
/** Two numbers of at most 18 characters, a letter, what stands between, and a comment. */
const lineBytesMax = 120;

/** The map file's bytes in pieces of about 128 KiB, with the blocks as ddrescuelog writes them. */
export function formatByteMap(content: ByteMapContent, annotation?: Annotation): Uint8Array[] {
  const encoder = new TextEncoder();
  const maps: Runs[] = annotation ? [content, annotation.domain] : [content];
  const pieces = [encoder.encode(headerOf(content, content.madeBy))];
  let piece = new Uint8Array(pieceBytes);
  let at = 0;
  walk(maps, (from, to, [code, inDomain]) => {
    if (code === outside) return;
    at = putLine(piece, at, from, to, statusLetters.charCodeAt(code!));
    if (annotation && isInside(inDomain)) {
      const comment = `  # ${annotation.describe(from, to - from)}`;
      at += encoder.encodeInto(comment, piece.subarray(at)).written;
    }
    piece[at++] = 0x0a;
    if (at + lineBytesMax <= pieceBytes) return;
    pieces.push(piece.subarray(0, at));
    piece = new Uint8Array(pieceBytes);
    at = 0;
  });
  pieces.push(piece.subarray(0, at));
  return pieces;
}

function putLine(
  piece: Uint8Array,
  start: number,
  from: number,
  to: number,
  letter: number,
): number {
  let at = putHex(piece, start, from);
  piece[at++] = 0x20;
  piece[at++] = 0x20;
  at = to === openEnd ? putOpenSize(piece, at, from) : putHex(piece, at, to - from);
  piece[at++] = 0x20;
  piece[at++] = 0x20;
  piece[at++] = letter;
  return at;
}

/** The size of a block that reaches to ddrescue's largest position, which no double holds. */
function putOpenSize(piece: Uint8Array, at: number, from: number): number {
  const size = 2n ** 63n - 1n - BigInt(from);
  const text = `0x${size.toString(16).toUpperCase().padStart(8, '0')}`;
  return at + new TextEncoder().encodeInto(text, piece.subarray(at)).written;
}
