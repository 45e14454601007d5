/** The journal: what happened since the last checkpoint, one self-checking line for each record.
 *
 *     <crc32 of the rest, 8 hex digits> <bytes durable when this line was written> <JSON>
 *
 * The first line is the header and names the checkpoint that the journal continues. A crash may
 * lose or tear what was not synced, in any order of pages; every line tells how much of the file
 * was synced before it, so that damage below that mark is damage, and damage above it is only a
 * torn tail. A journal is never appended to after a crash: the job loads it, saves a checkpoint,
 * and starts a new one. */

import { crc32 } from 'node:zlib';
import { LastspinError, reasonOf } from '../errors.js';
import type { FileLayer, OpenFile } from './file-layer.js';
import { type Touch, touchOf } from './untouched.js';

/** An open journal. One caller at a time; `append` may overlap a `sync`. */
export interface Journal {
  readonly path: string;
  /** Of the file. The job saves a checkpoint and restarts the journal above a limit of its own. */
  readonly sizeBytes: number;
  /** The checkpoint that the journal continues. */
  readonly base: number;
  /** Adds records, anything that JSON holds. Durable after the next `sync`.
   * @throws LastspinError IMAGE_SPACE, IMAGE_WRITE_FAILED; none of the records then counts. */
  append(records: readonly unknown[]): Promise<void>;
  /** Every record appended before the call is durable when this resolves. After a failure only
   * `restart` helps: what a failed sync left behind may not be believed.
   * @throws LastspinError IMAGE_SPACE, IMAGE_WRITE_FAILED. */
  sync(): Promise<void>;
  /** An empty journal that continues checkpoint `base`, in place of the old one: a crash leaves
   * either. Call it after that checkpoint is durable. */
  restart(base: number): Promise<void>;
  /** What somebody else did to the file: then only `restart` helps. */
  touched(): Promise<Touch | undefined>;
  close(): Promise<void>;
}

/** What a journal says. */
export interface LoadedJournal {
  /** The checkpoint it continues. A journal of another checkpoint than the one at hand is stale: a
   * crash came between saving that and starting the next journal. Ignore its records, all of them
   * are in the checkpoint. Undefined when the header is damaged. */
  readonly base: number | undefined;
  readonly records: unknown[];
  /** Bytes at the end that a crash tore; they were never durable. */
  readonly tornBytes: number;
  /** JOURNAL_DAMAGED when bytes that had been durable are no longer right, naming the line.
   * `records` are those before it. */
  readonly damage?: LastspinError;
}

interface OpenedJournal {
  readonly file: OpenFile;
  readonly base: number;
  sizeBytes: number;
  durableBytes: number;
  /** A failed append may have left bytes behind `sizeBytes`. */
  hasLeftovers: boolean;
  failed: LastspinError | undefined;
}

/** Starts an empty journal that continues checkpoint `base`, replacing any at this path.
 * @throws LastspinError IMAGE_SPACE, FILE_FAILED. */
export async function createJournal(
  files: FileLayer,
  path: string,
  base: number,
): Promise<Journal> {
  let journal = await startFile(files, path, base);
  return {
    path,
    get sizeBytes() {
      return journal.sizeBytes;
    },
    get base() {
      return journal.base;
    },
    append: (records) => append(journal, records),
    sync: () => sync(journal),
    touched: async () => {
      // What a failed append left behind is its own.
      const touch = await touchOf(journal.file, path, journal.sizeBytes);
      return touch === 'longer' && journal.hasLeftovers ? undefined : touch;
    },
    restart: async (newBase) => {
      const old = journal;
      journal = await startFile(files, path, newBase);
      await old.file.close();
    },
    close: () => journal.file.close(),
  };
}

async function startFile(files: FileLayer, path: string, base: number): Promise<OpenedJournal> {
  const temporaryPath = `${path}.tmp`;
  await files.remove(temporaryPath);
  const file = await files.open(temporaryPath, { create: true });
  try {
    const header = new TextEncoder().encode(lineOf(0, { journal: 1, base }));
    await file.write(header, 0);
    await file.sync();
    await files.rename(temporaryPath, path);
    await files.syncDirectory(path);
    const sizeBytes = header.length;
    return {
      file,
      base,
      sizeBytes,
      durableBytes: sizeBytes,
      hasLeftovers: false,
      failed: undefined,
    };
  } catch (error) {
    await file.close().catch(() => undefined);
    await files.remove(temporaryPath).catch(() => undefined);
    throw error;
  }
}

async function append(journal: OpenedJournal, records: readonly unknown[]): Promise<void> {
  if (journal.failed !== undefined) throw journal.failed;
  if (records.length === 0) return;
  const lines = records.map((record) => lineOf(journal.durableBytes, record));
  const bytes = new TextEncoder().encode(lines.join(''));
  const position = journal.sizeBytes;
  try {
    if (journal.hasLeftovers) await journal.file.truncate(position);
    journal.hasLeftovers = true;
    await journal.file.write(bytes, position);
  } catch (error) {
    throw writeFailure(error);
  }
  journal.hasLeftovers = false;
  journal.sizeBytes = position + bytes.length;
}

async function sync(journal: OpenedJournal): Promise<void> {
  if (journal.failed !== undefined) throw journal.failed;
  const reachedBytes = journal.sizeBytes;
  try {
    await journal.file.sync();
  } catch (error) {
    journal.failed = writeFailure(error);
    throw journal.failed;
  }
  journal.durableBytes = Math.max(journal.durableBytes, reachedBytes);
}

function writeFailure(error: unknown): LastspinError {
  if (error instanceof LastspinError && error.code !== 'FILE_FAILED') return error;
  return new LastspinError('IMAGE_WRITE_FAILED', reasonOf(error), { cause: error });
}

function lineOf(durableBytes: number, record: unknown): string {
  const json = JSON.stringify(record) as string | undefined;
  // It would be written as a line that reads as torn, and hide all that follows.
  if (json === undefined) throw new TypeError('a journal record must be JSON');
  const text = `${durableBytes} ${json}`;
  return `${crc32(text).toString(16).padStart(8, '0')} ${text}\n`;
}

/** Reads a journal. Undefined when there is none. Never fails on what a crash can leave behind.
 * @throws LastspinError FILE_FAILED. */
export async function loadJournal(
  files: FileLayer,
  path: string,
): Promise<LoadedJournal | undefined> {
  if (!(await files.exists(path))) return undefined;
  return parseJournal(await files.readAll(path), path);
}

interface Line {
  readonly durableBytes: number;
  readonly record: unknown;
}

/** The journal in these bytes.
 * @param name how error messages call the file */
export function parseJournal(bytes: Uint8Array, name: string): LoadedJournal {
  const records: unknown[] = [];
  let base: number | undefined;
  let firstBad: { at: number; lineNumber: number } | undefined;
  let durableBytes = 0;
  let lineNumber = 0;
  for (let at = 0; at < bytes.length; ) {
    lineNumber += 1;
    const lineEnd = bytes.indexOf(newline, at);
    const end = lineEnd < 0 ? bytes.length : lineEnd;
    const line = lineEnd < 0 ? undefined : parseLine(bytes.subarray(at, end));
    if (line !== undefined) durableBytes = Math.max(durableBytes, line.durableBytes);
    const isHeader = lineNumber === 1;
    if (isHeader) base = baseOf(line?.record);
    if (line === undefined || (isHeader && base === undefined)) firstBad ??= { at, lineNumber };
    else if (firstBad === undefined && !isHeader) records.push(line.record);
    at = end + 1;
  }
  // The header is durable before the file has its name.
  if (base === undefined) return damaged(name, 1, { base, records: [], tornBytes: 0 });
  if (firstBad === undefined) {
    // A sync can promise more than the file now has only if its end was cut off.
    const loaded = { base, records, tornBytes: 0 };
    return durableBytes > bytes.length ? damaged(name, lineNumber + 1, loaded) : loaded;
  }
  if (firstBad.at < durableBytes) {
    return damaged(name, firstBad.lineNumber, { base, records, tornBytes: 0 });
  }
  return { base, records, tornBytes: bytes.length - firstBad.at };
}

const newline = 0x0a;

function damaged(name: string, lineNumber: number, loaded: LoadedJournal): LoadedJournal {
  const damage = new LastspinError(
    'JOURNAL_DAMAGED',
    `${name}:${lineNumber}: the journal is damaged here, which no crash does: check the disk it is on; ` +
      'what it held from this line on is read again',
  );
  return { ...loaded, damage };
}

function parseLine(line: Uint8Array): Line | undefined {
  const text = new TextDecoder().decode(line);
  const match = /^([0-9a-f]{8}) ([0-9]{1,15}) (.*)$/s.exec(text);
  if (match === null || crc32(line.subarray(9)) !== Number.parseInt(match[1]!, 16)) {
    return undefined;
  }
  try {
    return { durableBytes: Number(match[2]), record: JSON.parse(match[3]!) };
  } catch {
    return undefined;
  }
}

function baseOf(header: unknown): number | undefined {
  const { journal, base } = (header ?? {}) as { journal?: unknown; base?: unknown };
  return journal === 1 && typeof base === 'number' ? base : undefined;
}
