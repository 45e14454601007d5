/** The bytes of an EWF-E01 file, section by section, as EnCase 6 lays them out. Layout and meaning: Joachim Metz,
 * "Expert Witness Compression Format specification" (libewf's documentation), the clause's name stands at each
 * function. All numbers are little-endian, all checksums Adler-32. */

import { deflateSync } from 'node:zlib';

/** What every file of a set begins with. */
export const ewfSignature = Uint8Array.of(0x45, 0x56, 0x46, 0x09, 0x0d, 0x0a, 0xff, 0x00);

/** Sectors of a chunk, the unit that is compressed and checked. */
export const chunkSectorCount = 64;

export const descriptorBytes = 76;
/** Of the volume and the data section, without descriptor. */
const volumeBytes = 1052;
const tableHeaderBytes = 24;
const error2HeaderBytes = 520;
const error2EntryBytes = 8;

/** Adler-32 (RFC 1950), going on from `sum`. */
export function adler32(bytes: Uint8Array, sum = 1): number {
  let low = sum & 0xffff;
  let high = sum >>> 16;
  // 5552 is the most that 32 bits hold without a remainder in between.
  for (let at = 0; at < bytes.length; ) {
    const end = Math.min(bytes.length, at + 5552);
    for (; at < end; at++) {
      low += bytes[at]!;
      high += low;
    }
    low %= 65_521;
    high %= 65_521;
  }
  return ((high << 16) | low) >>> 0;
}

/** The name of the `number`-th file (from 1) of a set whose first is `path`, which ends in `.E01` or `.e01`; undefined
 * beyond the last name there is, `.ZZZ`. "Segment file extensions". */
export function segmentPath(path: string, number: number): string | undefined {
  const letter = path.at(-3)!;
  const stem = path.slice(0, -3);
  if (number <= 99) return `${stem}${letter}${String(number).padStart(2, '0')}`;
  const beyond = number - 100;
  const first = letter.toUpperCase().charCodeAt(0) + Math.floor(beyond / 676);
  if (first > 'Z'.charCodeAt(0)) return undefined;
  const a = 'A'.charCodeAt(0);
  const codes = [first, a + (Math.floor(beyond / 26) % 26), a + (beyond % 26)];
  const letters = String.fromCharCode(...codes);
  return stem + (letter === letter.toUpperCase() ? letters : letters.toLowerCase());
}

/** "File header": signature and number of the file within its set, from 1. */
export function fileHeader(number: number): Uint8Array {
  const bytes = Buffer.alloc(13);
  bytes.set(ewfSignature);
  bytes[8] = 1;
  bytes.writeUInt16LE(number, 9);
  return bytes;
}

/** "Section descriptor" of a section that begins at `start` and has `dataBytes` behind its descriptor. `next` and
 * `done`, which end a file, point at themselves and have no size. */
export function descriptor(type: string, start: number, dataBytes: number): Uint8Array {
  const bytes = Buffer.alloc(descriptorBytes);
  const isEnd = type === 'next' || type === 'done';
  const sizeBytes = isEnd ? 0 : descriptorBytes + dataBytes;
  bytes.write(type, 'latin1');
  bytes.writeBigUInt64LE(BigInt(start + sizeBytes), 16);
  bytes.writeBigUInt64LE(BigInt(sizeBytes), 24);
  return sealed(bytes);
}

/** What an image is about, as people wrote it. */
export interface EwfCase {
  readonly caseNumber?: string;
  readonly evidenceNumber?: string;
  readonly examiner?: string;
  readonly description?: string;
  readonly notes?: string;
  readonly model?: string;
  readonly serial?: string;
  /** Of this program. */
  readonly version: string;
  /** As `uname -s` says it. */
  readonly platform: string;
  readonly acquiredAt: Date;
  readonly systemAt: Date;
}

/** EnCase takes no longer values ("Header2 values"). */
export const fieldCharsMax = 2999;
const versionCharsMax = 11;
const platformCharsMax = 23;

/** Tabs and line ends are what fields are told apart by. */
function field(text = '', charsMax = fieldCharsMax): string {
  const oneLine = [...text].map((character) => (character < ' ' ? ' ' : character)).join('');
  return oneLine.slice(0, charsMax);
}

/** "Header2 section", EnCase 6: the case in UTF-16, compressed. */
export function header2Data(about: EwfCase): Uint8Array {
  const seconds = (date: Date) => String(Math.floor(date.getTime() / 1000));
  const fields: readonly (readonly [string, string])[] = [
    ['a', field(about.description)],
    ['c', field(about.caseNumber)],
    ['n', field(about.evidenceNumber)],
    ['e', field(about.examiner)],
    ['t', field(about.notes)],
    ['md', field(about.model)],
    ['sn', field(about.serial)],
    ['av', field(about.version, versionCharsMax)],
    ['ov', field(about.platform, platformCharsMax)],
    ['m', seconds(about.acquiredAt)],
    ['u', seconds(about.systemAt)],
    ['p', '0'],
    ['dc', ''],
  ];
  const lines = [
    ...['3', 'main', joined(fields, 0), joined(fields, 1), ''],
    // Sources and subjects: none, with the values that EnCase gives those.
    ...[
      'srce',
      '0\t1',
      'p\tn\tid\tev\ttb\tlo\tpo\tah\tgu\taq',
      '0\t0',
      '\t\t\t\t\t-1\t-1\t\t\t',
      '',
    ],
    ...['sub', '0\t1', 'p\tn\tid\tnu\tco\tgu', '0\t0', '\t\t\t\t1\t', '', ''],
  ];
  return deflateSync(Buffer.from(`\ufeff${lines.join('\n')}`, 'utf16le'));
}

/** "Header section", the same in ASCII for older programs; other characters become `?`. */
export function headerData(about: EwfCase): Uint8Array {
  const clock = (date: Date) =>
    [
      ...[date.getFullYear(), date.getMonth() + 1, date.getDate()],
      ...[date.getHours(), date.getMinutes(), date.getSeconds()],
    ].join(' ');
  const fields: readonly (readonly [string, string])[] = [
    ['c', field(about.caseNumber)],
    ['n', field(about.evidenceNumber)],
    ['a', field(about.description)],
    ['e', field(about.examiner)],
    ['t', field(about.notes)],
    ['av', field(about.version, versionCharsMax)],
    ['ov', field(about.platform, platformCharsMax)],
    ['m', clock(about.acquiredAt)],
    ['u', clock(about.systemAt)],
    ['p', '0'],
  ];
  const lines = ['1', 'main', joined(fields, 0), joined(fields, 1), '', ''].join('\r\n');
  return deflateSync(Buffer.from(lines.replaceAll(/[^\t\r\n -~]/gu, '?'), 'latin1'));
}

function joined(fields: readonly (readonly [string, string])[], part: 0 | 1): string {
  return fields.map((pair) => pair[part]).join('\t');
}

/** How hard chunks are compressed. */
export type EwfCompression = 'none' | 'fast' | 'best';

const compressionCodes: Readonly<Record<EwfCompression, number>> = { none: 0, fast: 1, best: 2 };

/** The medium in numbers. */
export interface EwfVolume {
  readonly sectorCount: number;
  readonly sectorBytes: number;
  readonly compression: EwfCompression;
  /** 16 bytes by which the files of a set know each other. */
  readonly setId: Uint8Array;
}

/** "Volume section", and the data section that repeats it. */
export function volumeData({
  sectorCount,
  sectorBytes,
  compression,
  setId,
}: EwfVolume): Uint8Array {
  const bytes = Buffer.alloc(volumeBytes);
  bytes[0] = 1; // A fixed disk.
  bytes.writeUInt32LE(Math.ceil(sectorCount / chunkSectorCount), 4);
  bytes.writeUInt32LE(chunkSectorCount, 8);
  bytes.writeUInt32LE(sectorBytes, 12);
  bytes.writeBigUInt64LE(BigInt(sectorCount), 16);
  bytes[36] = 3; // An image, of a whole physical medium.
  bytes[52] = compressionCodes[compression];
  bytes.writeUInt32LE(1, 56); // What is listed as unread is exact to the sector.
  bytes.set(setId.subarray(0, 16), 64);
  return sealed(bytes);
}

/** Set in a table's entry where the chunk is compressed. */
export const compressedFlag = 2 ** 31;

/** Bytes of a table section of so many chunks, descriptor included. */
export function tableSectionBytes(chunkCount: number): number {
  return descriptorBytes + tableHeaderBytes + 4 * chunkCount + 4;
}

/** "Table section": where chunks begin, counted from `base`, a place in the file. */
export function tableData(base: number, entries: readonly number[]): Uint8Array {
  const bytes = Buffer.alloc(tableHeaderBytes + 4 * entries.length + 4);
  bytes.writeUInt32LE(entries.length, 0);
  bytes.writeBigUInt64LE(BigInt(base), 8);
  sealed(bytes.subarray(0, tableHeaderBytes));
  entries.forEach((entry, index) => {
    bytes.writeUInt32LE(entry, tableHeaderBytes + 4 * index);
  });
  sealed(bytes.subarray(tableHeaderBytes));
  return bytes;
}

/** Bytes of the list of so many unread areas, without descriptor. */
export function error2Bytes(areaCount: number): number {
  return error2HeaderBytes + error2EntryBytes * areaCount + 4;
}

/** "Error2 section" in pieces: sectors that the source did not give, as pairs of first sector and count. */
export function* error2Data(
  areaCount: number,
  areas: Iterable<readonly [number, number]>,
): Generator<Uint8Array, void, undefined> {
  const header = Buffer.alloc(error2HeaderBytes);
  header.writeUInt32LE(areaCount, 0);
  yield sealed(header);
  let sum = 1;
  const piece = Buffer.alloc(1 << 16);
  let at = 0;
  for (const [lba, count] of areas) {
    piece.writeUInt32LE(lba, at);
    piece.writeUInt32LE(count, at + 4);
    at += error2EntryBytes;
    if (at < piece.length) continue;
    sum = adler32(piece, sum);
    yield Buffer.from(piece);
    at = 0;
  }
  const rest = Buffer.from(piece.subarray(0, at));
  yield rest;
  const footer = Buffer.alloc(4);
  footer.writeUInt32LE(adler32(rest, sum), 0);
  yield footer;
}

/** "Digest section": MD5 and SHA-1 of the medium. */
export function digestData(md5: Uint8Array, sha1: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(80);
  bytes.set(md5, 0);
  bytes.set(sha1, 16);
  return sealed(bytes);
}

/** "Hash section": MD5 of the medium, for older programs. */
export function hashData(md5: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(36);
  bytes.set(md5, 0);
  return sealed(bytes);
}

/** Puts the checksum of everything before it into the last four bytes. */
function sealed(bytes: Buffer): Buffer {
  bytes.writeUInt32LE(adler32(bytes.subarray(0, -4)), bytes.length - 4);
  return bytes;
}
