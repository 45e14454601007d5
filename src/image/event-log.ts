/** The event log: what happened in a case, from its first run on, one JSON object a line, each bound to all lines
 * before it:
 *
 *     {"n":4,"at":"2026-11-22T02:54:55.123Z","ms":1042.5,"kind":"read",…,"hash":"<64 hex digits>"}
 *
 * `hash` is the SHA-256 of the hash of the line before (64 zeros before the first) followed by the line's bytes
 * without `,"hash":"…"`. The first line, number 0, is a header; what it says is thereby under every hash. A line
 * that was edited, removed or moved breaks the chain where it stood. A tail that was cut off breaks nothing: that
 * is found by the checkpoint, which keeps the number and the hash of the last line that was durable before it.
 *
 * The log is appended to and never rewritten. What a crash tore is cut off before anything is appended. */

import { createHash } from 'node:crypto';
import { LastspinError, reasonOf } from '../errors.js';
import type { FileLayer, OpenFile } from './file-layer.js';
import { touchOf, unmountedError } from './untouched.js';

/** A line of the log, by its number and its hash. */
export interface LogPosition {
  /** From 0, one more each line. */
  readonly n: number;
  /** 64 hex digits. */
  readonly hash: string;
}

/** One line to be: its number and everything else that it says. */
export interface LogRecord {
  readonly n: number;
  readonly body: object;
}

/** An open log. One caller at a time. */
export interface EventLog {
  readonly path: string;
  readonly last: LogPosition;
  readonly sizeBytes: number;
  /** Adds lines, in order and without a gap; those that the log has are passed over, so that what failed may be
   * tried again. Durable after the next `sync`. Where somebody removed, moved or replaced the file meanwhile, all of
   * it is written again first.
   * @throws LastspinError IMAGE_SPACE, IMAGE_WRITE_FAILED; none of the lines then counts. IMAGE_MISMATCH where
   * somebody cut the file: its lines are gone. */
  append(records: readonly LogRecord[]): Promise<void>;
  /** Every line appended before is durable when this resolves.
   * @throws LastspinError IMAGE_SPACE, IMAGE_WRITE_FAILED. */
  sync(): Promise<void>;
  /** Who is told when somebody touched the file while it was in use, one line for people. */
  onNotice(handler: (text: string) => void): void;
  close(): Promise<void>;
}

/** What is wrong with a log.
 * - `torn`: the file ends within a line.
 * - `not-a-line`: something else than a line of a log, or one of more than `logLineBytesMax`.
 * - `edited`: the hash is not that of the line and those before it.
 * - `removed`, `moved`: a line is missing here; if moved, it stands further down, or stood further up.
 * - `cut`: the log ends before the line that the checkpoint knows of.
 * - `replaced`: the chain holds, but it is another one than the checkpoint knows. */
export interface LogProblem {
  readonly kind: 'torn' | 'not-a-line' | 'edited' | 'removed' | 'moved' | 'cut' | 'replaced';
  /** Of the file, from 1. */
  readonly line: number;
  /** What is wrong, in one sentence without the file's name. */
  readonly text: string;
  /** Whether it is what a crash makes of a line that was not durable: its beginning, or bytes that were never
   * written, which read as zeros. */
  readonly isTear: boolean;
}

/** What was found in a log. */
export interface LogReport {
  /** The last line before the first problem; undefined where there is none. */
  readonly last: LogPosition | undefined;
  /** Bytes up to the end of that line. */
  readonly goodBytes: number;
  readonly sizeBytes: number;
  /** The first. */
  readonly problem?: LogProblem;
  /** Nothing stands behind the line with the problem. */
  readonly isAtEnd: boolean;
}

/** Told of each line before the first problem: its bytes without the line feed, valid only during the call. */
export type OnLogLine = (bytes: Buffer, position: LogPosition) => void;

export interface LogCheckOptions {
  /** The line that a checkpoint knows of. */
  readonly anchor?: LogPosition;
  readonly onLine?: OnLogLine;
}

/** The longest line that is written or believed, in bytes: what a check needs memory for. */
export const logLineBytesMax = 32 * 2 ** 20;

const noHash = '0'.repeat(64);
/** `,"hash":"…"}`, which ends every line. */
const tailLength = 75;
const tailPattern = /^,"hash":"([0-9a-f]{64})"\}$/;
const headPattern = /^\{"n":(0|[1-9][0-9]{0,14}),"/;
const headLength = 24;
const newline = 0x0a;
const closingBrace = Buffer.from('}');

function chainHash(former: string, covered: Uint8Array): string {
  return createHash('sha256').update(former).update(covered).update(closingBrace).digest('hex');
}

/** A line and its position, from what it says. The body's own `n` and `hash` would be taken for the line's: a bug. */
function lineOf({ n, body }: LogRecord, former: string): { line: Buffer; hash: string } {
  const json = JSON.stringify(body);
  if (json === '{}' || 'n' in body || 'hash' in body) throw new TypeError('no body of a log line');
  const covered = Buffer.from(`{"n":${n},${json.slice(1, -1)}`);
  const hash = chainHash(former, covered);
  const line = Buffer.concat([covered, Buffer.from(`,"hash":"${hash}"}\n`)]);
  if (line.length <= logLineBytesMax) return { line, hash };
  throw new LastspinError(
    'IMAGE_WRITE_FAILED',
    `line ${n} of the event log would have ${line.length} bytes, ${logLineBytesMax} are the most; give fewer ranges, or a coarser head map`,
  );
}

/** Starts a log with its header, which is durable before the file has its name.
 * @throws LastspinError IMAGE_SPACE, FILE_FAILED. */
export async function createEventLog(
  files: FileLayer,
  path: string,
  header: object,
): Promise<EventLog> {
  const temporaryPath = `${path}.tmp`;
  await files.remove(temporaryPath);
  const file = await files.open(temporaryPath, { create: true });
  try {
    const { line, hash } = lineOf({ n: 0, body: header }, noHash);
    await file.write(line, 0);
    await file.sync();
    await files.rename(temporaryPath, path);
    await files.syncDirectory(path);
    return appendable(files, file, path, { n: 0, hash }, line.length);
  } catch (error) {
    await file.close().catch(() => undefined);
    await files.remove(temporaryPath).catch(() => undefined);
    throw error;
  }
}

/** Opens a log to go on behind the last line that a check found in order; what stands behind that is cut off.
 * @throws LastspinError IMAGE_SPACE, FILE_FAILED. */
export async function openEventLog(
  files: FileLayer,
  path: string,
  { last, goodBytes, sizeBytes }: Pick<LogReport, 'last' | 'goodBytes' | 'sizeBytes'>,
): Promise<EventLog> {
  if (!last) throw new RangeError('a log without a header cannot be gone on with');
  const file = await files.open(path);
  try {
    if (sizeBytes > goodBytes) await file.truncate(goodBytes);
    return appendable(files, file, path, last, goodBytes);
  } catch (error) {
    await file.close().catch(() => undefined);
    throw error;
  }
}

function appendable(
  files: FileLayer,
  firstFile: OpenFile,
  path: string,
  firstLast: LogPosition,
  firstSizeBytes: number,
): EventLog {
  let file = firstFile;
  let last = firstLast;
  let sizeBytes = firstSizeBytes;
  /** A failed append may have left bytes behind `sizeBytes`. */
  let hasLeftovers = false;
  let failed: LastspinError | undefined;
  let notice: (text: string) => void = () => {};

  /** Sees to it that what was written so far stands under the log's name. */
  async function secure(): Promise<void> {
    const touch = await touchOf(file, path, sizeBytes);
    if (touch === undefined || (touch === 'longer' && hasLeftovers)) return;
    if (touch === 'unmounted') throw unmountedError(path);
    if (touch === 'longer') {
      await file.truncate(sizeBytes);
      notice(`something wrote to ${path} while it was in use: what it added is cut off`);
    } else {
      const copy = touch === 'moved' ? await writeAgain(files, file, path, last) : undefined;
      if (!copy) throw cutError(path);
      await file.close();
      file = copy;
      notice(`${path} was removed, moved or replaced while it was in use: it is written again`);
    }
    // That its name may be as it was and the file another one again is seen next time.
    await file.sync();
  }

  async function guarded(act: () => Promise<void>): Promise<void> {
    if (failed !== undefined) throw failed;
    try {
      await secure();
      await act();
    } catch (error) {
      throw writeFailure(error);
    }
  }

  return {
    path,
    get last() {
      return last;
    },
    get sizeBytes() {
      return sizeBytes;
    },
    async append(records) {
      const { bytes, end } = linesAfter(last, records);
      if (bytes.length === 0 && failed === undefined) return;
      await guarded(async () => {
        if (hasLeftovers) await file.truncate(sizeBytes);
        hasLeftovers = true;
        await file.write(bytes, sizeBytes);
      });
      hasLeftovers = false;
      sizeBytes += bytes.length;
      last = end;
    },
    async sync() {
      await guarded(async () => {
        try {
          await file.sync();
        } catch (error) {
          // What a failed sync left behind may not be believed; the next run looks at every line.
          failed = writeFailure(error);
          throw failed;
        }
      });
    },
    onNotice(handler) {
      notice = handler;
    },
    close: () => file.close(),
  };
}

function cutError(path: string): LastspinError {
  return new LastspinError(
    'IMAGE_MISMATCH',
    `something has cut or changed ${path} while it was in use; run the same command again: what is left of it is kept aside and a new log begins`,
  );
}

/** Writes a log whose name leads to it no more under that name again, durably; what stands there is kept as `.other`.
 * Undefined where the file does not hold what was written to it. */
async function writeAgain(
  files: FileLayer,
  from: OpenFile,
  path: string,
  last: LogPosition,
): Promise<OpenFile | undefined> {
  const temporaryPath = `${path}.tmp`;
  await files.remove(temporaryPath);
  const copy = await files.open(temporaryPath, { create: true });
  try {
    const report = await checkPieces(from, {}, (piece, position) => copy.write(piece, position));
    const isWhole = !report.problem && report.last?.hash === last.hash;
    if (isWhole) {
      await copy.sync();
      if (await files.exists(path)) await files.rename(path, `${path}.other`);
      await files.rename(temporaryPath, path);
      await files.syncDirectory(path);
      return copy;
    }
    await copy.close();
    await files.remove(temporaryPath);
    return undefined;
  } catch (error) {
    await copy.close().catch(() => undefined);
    await files.remove(temporaryPath).catch(() => undefined);
    throw error;
  }
}

function linesAfter(
  last: LogPosition,
  records: readonly LogRecord[],
): { bytes: Buffer; end: LogPosition } {
  const lines: Buffer[] = [];
  let end = last;
  for (const record of records) {
    if (record.n <= end.n) continue;
    if (record.n !== end.n + 1) throw new RangeError(`line ${record.n} behind line ${end.n}`);
    const { line, hash } = lineOf(record, end.hash);
    lines.push(line);
    end = { n: record.n, hash };
  }
  return { bytes: Buffer.concat(lines), end };
}

function writeFailure(error: unknown): LastspinError {
  if (error instanceof LastspinError && error.code !== 'FILE_FAILED') return error;
  return new LastspinError('IMAGE_WRITE_FAILED', reasonOf(error), { cause: error });
}

/** Checks a log piece by piece, in the memory of one line. */
export interface LogChecker {
  push(bytes: Uint8Array): void;
  finish(): LogReport;
}

export function createLogChecker({ anchor, onLine }: LogCheckOptions = {}): LogChecker {
  let last: LogPosition | undefined;
  let problem: LogProblem | undefined;
  let goodBytes = 0;
  let sizeBytes = 0;
  let lineNumber = 0;
  /** The line that has begun and not ended. */
  let begun: Buffer[] = [];
  let begunBytes = 0;

  function takeLine(line: Buffer): void {
    lineNumber += 1;
    if (problem) {
      if (problem.kind === 'removed' && numberOf(line) === (last?.n ?? -1) + 1)
        problem = { ...problem, kind: 'moved', text: movedText(problem.line, lineNumber) };
      return;
    }
    const found = checkLine(line, last);
    if ('kind' in found) {
      // What has its end and no zeros was written whole.
      const isWhole = tailPattern.test(tailOf(line)) && !line.includes(0);
      problem = { ...found, line: lineNumber, isTear: !isWhole && isTear(line, last) };
      return;
    }
    if (anchor?.n === found.n && anchor.hash !== found.hash) {
      const text = `the chain is another one than the map knows: line ${lineNumber} has another hash`;
      problem = { kind: 'replaced', line: lineNumber, text, isTear: false };
      return;
    }
    last = found;
    goodBytes += line.length + 1;
    onLine?.(line, last);
  }

  function begin(piece: Buffer): void {
    // Of a line that is too long only so much is kept that it is seen to be no line.
    if (begunBytes <= logLineBytesMax) begun.push(Buffer.from(piece));
    begunBytes += piece.length;
  }

  function endLine(piece: Buffer): void {
    if (begunBytes === 0) {
      takeLine(piece);
      return;
    }
    begin(piece);
    const line = Buffer.concat(begun);
    begun = [];
    begunBytes = 0;
    takeLine(line);
  }

  return {
    push(bytes) {
      const piece = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      sizeBytes += piece.length;
      for (let at = 0; at < piece.length; ) {
        const end = piece.indexOf(newline, at);
        if (end < 0) {
          begin(piece.subarray(at));
          return;
        }
        endLine(piece.subarray(at, end));
        at = end + 1;
      }
    },
    finish() {
      const isTorn = begunBytes > 0;
      if (isTorn && !problem) {
        lineNumber += 1;
        const text = `the file ends within this line, after ${begunBytes} bytes of it`;
        problem = { kind: 'torn', line: lineNumber, text, isTear: isTear(begun[0]!, last) };
      } else if (!problem && anchor && (last?.n ?? -1) < anchor.n) {
        const missing = anchor.n - (last?.n ?? -1);
        const text = `the log ends with line ${lineNumber}; the map knows of ${missing} more`;
        problem = { kind: 'cut', line: lineNumber + 1, text, isTear: false };
      }
      const isAtEnd = problem !== undefined && problem.line >= lineNumber;
      return { last, goodBytes, sizeBytes, ...(problem && { problem }), isAtEnd };
    },
  };
}

function movedText(line: number, foundLine: number): string {
  return `what belongs here stands in line ${foundLine}: lines ${line} to ${foundLine} are out of order`;
}

function numberOf(line: Buffer): number | undefined {
  const match = headPattern.exec(line.toString('latin1', 0, headLength));
  return match ? Number(match[1]) : undefined;
}

/** Whether a crash leaves this of the line that follows `last`, whose number is its beginning. */
function isTear(piece: Buffer, last: LogPosition | undefined): boolean {
  if (piece.includes(0)) return true;
  const head = `{"n":${(last?.n ?? -1) + 1},"`;
  const start = piece.toString('latin1', 0, head.length);
  return start !== '' && head.startsWith(start);
}

function tailOf(line: Buffer): string {
  return line.toString('latin1', Math.max(0, line.length - tailLength));
}

/** The position of a line that follows `last`, or what is wrong with it. */
function checkLine(
  line: Buffer,
  last: LogPosition | undefined,
): LogPosition | Pick<LogProblem, 'kind' | 'text'> {
  const n = numberOf(line);
  const isTooLong = line.length >= logLineBytesMax;
  const from = Math.max(0, line.length - tailLength);
  const tail = isTooLong ? null : tailPattern.exec(tailOf(line));
  if (n === undefined || !tail) {
    const what = isTooLong ? `longer than ${logLineBytesMax} bytes` : 'no line of an event log';
    return { kind: 'not-a-line', text: `it is ${what}` };
  }
  const expected = last ? last.n + 1 : 0;
  if (n > expected) {
    const what = n === expected + 1 ? `number ${expected} is` : `${expected} to ${n - 1} are`;
    return { kind: 'removed', text: `it has number ${n}; ${what} missing before it` };
  }
  if (n < expected)
    return { kind: 'moved', text: `it has number ${n}, where ${expected} belongs: out of order` };
  const hash = chainHash(last?.hash ?? noHash, line.subarray(0, from));
  if (hash === tail[1]) return { n, hash };
  return { kind: 'edited', text: 'it is not as it was written: its hash does not fit' };
}

/** Checks lines without their line feeds, as `createLogChecker` does a file. Pure. */
export function verifyEventLog(
  lines: Iterable<string | Uint8Array>,
  options: LogCheckOptions = {},
): LogReport {
  const checker = createLogChecker(options);
  for (const line of lines) {
    checker.push(typeof line === 'string' ? Buffer.from(line) : line);
    checker.push(Uint8Array.of(newline));
  }
  return checker.finish();
}

const readBytes = 1 << 20;

/** Checks the log at a path, as a stream; undefined when there is none. Nothing is written.
 * @throws LastspinError FILE_FAILED. */
export async function readEventLog(
  files: FileLayer,
  path: string,
  options: LogCheckOptions = {},
): Promise<LogReport | undefined> {
  if (!(await files.exists(path))) return undefined;
  const file = await files.open(path, { readOnly: true });
  try {
    return await checkPieces(file, options);
  } finally {
    await file.close();
  }
}

async function checkPieces(
  file: OpenFile,
  options: LogCheckOptions,
  onPiece?: (piece: Uint8Array, position: number) => Promise<void>,
): Promise<LogReport> {
  const checker = createLogChecker(options);
  const buffer = new Uint8Array(readBytes);
  for (let position = 0; ; ) {
    const byteCount = await file.read(buffer, position);
    if (byteCount === 0) break;
    const piece = buffer.subarray(0, byteCount);
    checker.push(piece);
    await onPiece?.(piece, position);
    position += byteCount;
  }
  return checker.finish();
}
