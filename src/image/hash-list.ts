/** The file `case.hashes.csv`: a line for each stretch of sectors, in ascending order.
 *
 *     sha256,first_lba,last_lba,status,hash_of
 *     <64 hex digits>,0,131071,finished,drive
 *     ,131072,131079,bad-sector,
 *     <64 hex digits>,131080,131087,finished,image
 *
 * A finished stretch has the SHA-256 of what was read there (`drive`), or, where nobody has that, of what lay in the
 * image when the list was made (`image`); any other has none and says why. Older lists have no last column. It comes back from a
 * disk, perhaps from another hand, so it is read as a stream, in bounded memory, and refused by line. */

import { LastspinError } from '../errors.js';
import { type Extent, endOf } from '../map/extent.js';
import { type Status, statusNames } from '../map/status.js';
import type { FileLayer } from './file-layer.js';
import { replaceFile } from './replace-file.js';

/** One line: a stretch of sectors, hashed where it is finished. */
export interface HashLine extends Extent {
  /** Hex digits; present where the status is `finished`. */
  readonly sha256?: string;
  readonly status: Status;
  /** The hash is of what lay in the image later, not of what was read. */
  readonly isOfImage?: boolean;
}

export type HashedLine = HashLine & { readonly sha256: string };

const headLine = 'sha256,first_lba,last_lba,status,hash_of';
const olderHeadLine = 'sha256,first_lba,last_lba,status';
const linePattern = /^([0-9a-f]{64})?,(\d{1,15}),(\d{1,15}),([a-z-]+)(?:,(drive|image)?)?$/;
/** Longer than any line can be. */
const lineBytesMax = 128;
const readBytes = 1 << 18;
/** So much is written at once. */
const writeBytes = 1 << 20;

/** Reads a list line by line, of a drive of so many sectors. Throws HASHES_INVALID naming the line: no such list,
 * cut in the middle of a line, out of order, overlapping, beyond the drive. Throws FILE_FAILED. */
export async function* readHashList(
  files: FileLayer,
  path: string,
  sectorCount = Number.MAX_SAFE_INTEGER,
): AsyncGenerator<HashLine> {
  let number = 0;
  let next = 0;
  for await (const text of textLines(files, path)) {
    number += 1;
    if (number === 1) {
      if (text !== headLine && text !== olderHeadLine)
        throw invalid(path, 1, `it does not begin with '${headLine}'`);
      continue;
    }
    const line = parseLine(text);
    if (!line) throw invalid(path, number, 'this is not hash,first,last,status');
    if (line.lba < next) throw invalid(path, number, `LBA ${line.lba} does not follow`);
    next = endOf(line);
    if (next > sectorCount) throw invalid(path, number, `the drive has ${sectorCount} sectors`);
    yield line;
  }
  if (number === 0) throw invalid(path, 1, 'it is empty');
}

/** Replaces the list as a whole. Throws IMAGE_SPACE, FILE_FAILED, and what `lines` throws; the old list is then
 * still there. */
export function writeHashList(
  files: FileLayer,
  path: string,
  lines: AsyncIterable<HashLine>,
): Promise<void> {
  return replaceFile(files, path, async (file) => {
    let text = `${headLine}\n`;
    let position = 0;
    const flush = async () => {
      const bytes = Buffer.from(text, 'latin1');
      await file.write(bytes, position);
      position += bytes.length;
      text = '';
    };
    for await (const { sha256 = '', lba, count, status, isOfImage } of lines) {
      const hashOf = sha256 === '' ? '' : isOfImage ? 'image' : 'drive';
      text += `${sha256},${lba},${lba + count - 1},${status},${hashOf}\n`;
      if (text.length >= writeBytes) await flush();
    }
    if (text !== '') await flush();
  });
}

function parseLine(text: string): HashLine | undefined {
  const [, sha256, first, last, name, hashOf] = linePattern.exec(text) ?? [];
  const status = statusNames.find((each) => each === name);
  const lba = Number(first);
  const count = Number(last) - lba + 1;
  if (!status || !(count > 0) || (sha256 !== undefined) !== (status === 'finished'))
    return undefined;
  const isOfImage = hashOf === 'image';
  return {
    ...{ lba, count, status },
    ...(sha256 !== undefined && { sha256 }),
    ...(isOfImage && { isOfImage }),
  };
}

function invalid(path: string, line: number, why: string): LastspinError {
  return new LastspinError('HASHES_INVALID', `${path}:${line}: ${why}; the list is not used`);
}

/** The lines of a file without their ends; a line that is longer than any of ours ends the reading. */
async function* textLines(files: FileLayer, path: string): AsyncGenerator<string> {
  const file = await files.open(path, { readOnly: true });
  try {
    const buffer = new Uint8Array(readBytes);
    let rest = '';
    let number = 0;
    for (let position = 0; ; ) {
      const byteCount = await file.read(buffer, position);
      if (byteCount === 0) break;
      position += byteCount;
      const lines = (rest + Buffer.from(buffer.subarray(0, byteCount)).toString('latin1')).split(
        '\n',
      );
      rest = lines.pop() ?? '';
      for (const line of [...lines, ...(rest.length > lineBytesMax ? [rest] : [])]) {
        number += 1;
        if (line.length > lineBytesMax) throw invalid(path, number, 'the line is too long');
        yield line;
      }
    }
    if (rest !== '') throw invalid(path, number + 1, 'it ends within a line: it was cut');
  } finally {
    await file.close();
  }
}
