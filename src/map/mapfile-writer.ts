/** GNU ddrescue's map files, written as ddrescue writes them, in pieces. */

import type { CurrentStatus } from './mapfile.js';
import type { RunMap } from './run-map.js';
import { statusLetters } from './status.js';

/** What goes into a map file. Positions are bytes. */
export interface MapFileContent {
  /** Status codes by sector. Must not change while the file is being written: pass a `clone()`. */
  readonly map: RunMap;
  readonly sectorBytes: number;
  /** Of this program, for the first line. */
  readonly version: string;
  /** Further comment lines, without the `# `. */
  readonly comments?: readonly string[];
  readonly currentPosition: number;
  readonly currentStatus: CurrentStatus;
  /** From 1. */
  readonly currentPass: number;
}

const pieceBytes = 1 << 17;
/** Two numbers of at most 16 digits each, a letter, and what stands between. */
const runLineBytesMax = 48;

/** The map file's bytes in pieces of about 128 KiB. Each piece is a new array. */
export function* formatMapFile(content: MapFileContent): Generator<Uint8Array, void, undefined> {
  const { map, sectorBytes } = content;
  yield new TextEncoder().encode(headerOf(content));
  const letters = Uint8Array.from(statusLetters, (letter) => letter.charCodeAt(0));
  for (let lba = 0; lba < map.size; ) {
    const piece = new Uint8Array(pieceBytes);
    let at = 0;
    map.forEachRun((runLba, count, code) => {
      at = putHex(piece, at, runLba * sectorBytes);
      piece[at++] = space;
      piece[at++] = space;
      at = putHex(piece, at, count * sectorBytes);
      piece[at++] = space;
      piece[at++] = space;
      piece[at++] = letters[code]!;
      piece[at++] = newline;
      lba = runLba + count;
      return at + runLineBytesMax <= pieceBytes ? undefined : false;
    }, lba);
    yield piece.subarray(0, at);
  }
}

const space = 0x20;
const newline = 0x0a;

/** Everything above the first block line. */
export function headerOf(
  content: Pick<
    MapFileContent,
    'version' | 'comments' | 'currentPosition' | 'currentStatus' | 'currentPass'
  >,
  madeBy = 'Created by',
): string {
  const { currentPosition, currentStatus, currentPass } = content;
  const comments = (content.comments ?? []).map((text) => `# ${text.replaceAll(/[\r\n]/g, ' ')}`);
  const position = currentPosition.toString(16).toUpperCase().padStart(8, '0');
  return [
    `# Mapfile. ${madeBy} lastspin ${content.version}`,
    ...comments,
    '# current_pos  current_status  current_pass',
    `0x${position}     ${currentStatus}               ${currentPass}`,
    '#      pos        size  status',
    '',
  ].join('\n');
}

const digits = Uint8Array.from('0123456789ABCDEF', (digit) => digit.charCodeAt(0));

/** C's `0x%08llX` for numbers up to 2^53 - 1. Returns the place behind it. */
export function putHex(into: Uint8Array, at: number, value: number): number {
  into[at++] = 0x30;
  into[at++] = 0x78;
  const high = Math.floor(value / 2 ** 32);
  const low = value >>> 0;
  if (high > 0) {
    let shift = 28;
    while (high >>> shift === 0) shift -= 4;
    for (; shift >= 0; shift -= 4) into[at++] = digits[(high >>> shift) & 15]!;
  }
  for (let shift = 28; shift >= 0; shift -= 4) into[at++] = digits[(low >>> shift) & 15]!;
  return at;
}
