/** The laptop end's reads: sent within the imager's limits, put together from their pieces,
 * asked for again where something was lost, resolved in the order of the calls (PROTOCOL.md clauses
 * R). Everything that comes in is judged before it is believed. */
import { crc32 } from 'node:zlib';
import { LastspinError, reasonOf } from '../src/errors.js';
import type { Codec } from './codec.js';
import { commands, faultBits, readOutcomes } from './commands.js';
import { type DeviceReadResult, ReplyError } from './device.js';
import { encodeMessage, type Reply } from './message.js';

type ValueIn<C> = C extends Codec<infer T> ? T : never;
type WireRead = ValueIn<typeof commands.read.request>;
type WireReadResponse = ValueIn<typeof commands.read.response>;

export interface CallerRead extends Omit<WireRead, 'releaseBelow'> {
  readonly sectorBytes: number;
}

export type ReadOutcomeName = keyof typeof readOutcomes;

/** What the device made of a read, or `not-attempted`. */
export interface CallerReadResult extends Omit<DeviceReadResult, 'outcome'> {
  readonly outcome: ReadOutcomeName;
}

/** Asking this often without getting anything new is a dead or a lying link, not noise. */
const fruitlessMax = 32;
/** Most that is asked for again at once, so that a slow line answers within `resendTimeoutMs`; halved
 * with each try that brought nothing, since what a line with many faults spares is short. */
const resendBytesMax = 32_768;
const resendBytesMin = 256;
/** A checksum that is wrong over frames that were right is a broken imager, not noise. */
const crcFailuresMax = 3;
/** Islands of data that a read may be in; pieces beyond that are dropped and asked for again. */
const coveredMax = 256;
/** Calls that may wait for room in the window: a planner has far fewer requests under way. */
const waitingMax = 4096;

interface Span {
  readonly from: number;
  readonly end: number;
}

interface PendingRead {
  /** -1 while it waits for room. */
  id: number;
  readonly request: CallerRead;
  /** `count * sectorBytes`: what it may bring at most. */
  readonly bytes: number;
  readonly resolve: (result: CallerReadResult) => void;
  readonly reject: (error: unknown) => void;
  data: Uint8Array | undefined;
  /** What of `data` has come: ascending, apart from each other. */
  covered: readonly Span[];
  /** CRC of the data up to `crcEnd`, as far as it came in order. */
  crc: number;
  crcEnd: number;
  response: WireReadResponse | undefined;
  settled: (() => void) | undefined;
  repairing: boolean;
  crcFailures: number;
  /** What was last wrong with a message about this read: for the user, should it never come
   * right. */
  complaint: string;
}

export interface ReadWindow {
  /** Resolves in the order of the calls. */
  read(request: CallerRead): Promise<CallerReadResult>;
  onPiece(readId: number, piece: { readonly offset: number; readonly bytes: Uint8Array }): void;
  /** A piece that is one byte over and over. */
  onFill(
    readId: number,
    piece: { readonly offset: number; readonly length: number; readonly byte: number },
  ): void;
  onResponse(readId: number, reply: Reply<WireReadResponse>): void;
  /** Sends all reads from `readIdNext` on again. */
  onGap(readIdNext: number): void;
  /** What the imager's status says of requests and results; `sentBelow`: `idNext` when it was
   * asked. */
  onStatus(at: { readIdNext: number; readIdDone: number; sentBelow: number }): void;
  /** Reads that wait for room come back not attempted. */
  abortWaiting(): void;
  /** The imager lost the session: what was called comes back not attempted, and ids begin at 0. Nothing is
   * sent until `go`. */
  restart(limits: WindowLimits): void;
  go(): void;
  /** Rejects everything, and every later read. */
  fail(error: LastspinError): void;
  readonly idNext: number;
  /** Reads below this id have come back. */
  readonly resolvedBelow: number;
  /** Reads that were called and have not come back. */
  readonly outstanding: number;
  /** Reads that came back with something to tell. */
  readonly returned: number;
  /** Grows whenever a read is sent first, brings something, or comes back. */
  readonly progress: number;
  /** The drive's deadline of the oldest read that was sent; 0 while none is. */
  readonly oldestTimeoutMs: number;
}

/** What HELLO agreed. */
interface WindowLimits {
  readonly requestsMax: number;
  readonly bufferBytes: number;
}

interface WindowOptions {
  readonly send: (message: Uint8Array) => void;
  readonly resend: (request: {
    readId: number;
    offset: number;
    length: number;
  }) => Promise<unknown>;
  /** The link cannot be used any more. */
  readonly fail: (error: LastspinError) => void;
  /** Counts what a right imager never sends. */
  readonly violation: () => void;
}

interface Window extends WindowOptions {
  requestsMax: number;
  bufferBytes: number;
  paused: boolean;
  returned: number;
  /** Sent and not resolved: ascending ids without a gap. */
  readonly sent: PendingRead[];
  sentBytes: number;
  readonly waiting: PendingRead[];
  idNext: number;
  failure: LastspinError | undefined;
  /** Rounds of sending again since the imager last took a read. */
  fruitlessRounds: number;
  takenBelow: number;
  progress: number;
}

/** `covered` with `span` joined in. */
export function coverWith(covered: readonly Span[], span: Span): readonly Span[] {
  if (span.from >= span.end) return covered;
  const before = covered.filter((other) => other.end < span.from);
  const after = covered.filter((other) => other.from > span.end);
  const touching = covered.slice(before.length, covered.length - after.length);
  const from = Math.min(span.from, touching[0]?.from ?? span.from);
  const end = Math.max(span.end, touching.at(-1)?.end ?? span.end);
  return [...before, { from, end }, ...after];
}

/** First part of [0, bytes) that is not covered, or undefined. */
export function firstMissing(covered: readonly Span[], bytes: number): Span | undefined {
  let from = 0;
  for (const span of covered) {
    if (span.from > from) break;
    from = span.end;
  }
  if (from >= bytes) return undefined;
  const next = covered.find((span) => span.from > from);
  return { from, end: Math.min(bytes, next?.from ?? bytes) };
}

function bytesIn(covered: readonly Span[]): number {
  return covered.reduce((sum, span) => sum + span.end - span.from, 0);
}

const outcomeNames = new Map<number, ReadOutcomeName>(
  Object.entries(readOutcomes).map(([name, code]) => [code, name as ReadOutcomeName]),
);

/** What is impossible about a response to `request`, or undefined. */
function contradictionIn(response: WireReadResponse, request: CallerRead): string | undefined {
  const { goodCount, dataBytes } = response;
  const outcome = outcomeNames.get(response.outcome);
  const { count, sectorBytes } = request;
  if (outcome === undefined) return `outcome ${response.outcome}`;
  const isWhole = outcome === 'good' || outcome === 'slow';
  if (isWhole && goodCount !== count) return `${goodCount} of ${count} sectors called ${outcome}`;
  if (!isWhole && goodCount >= count) return `${goodCount} of ${count} sectors after a ${outcome}`;
  if (outcome === 'not-attempted' && goodCount !== 0) return 'sectors that were not attempted';
  if (response.lba !== request.lba) return `an answer for LBA ${response.lba}`;
  if (dataBytes !== goodCount * sectorBytes) {
    return `${dataBytes} bytes for ${goodCount} sectors of ${sectorBytes}`;
  }
  return undefined;
}

function resultOf(response: WireReadResponse, data: Uint8Array): CallerReadResult {
  const { known } = response;
  return {
    outcome: outcomeNames.get(response.outcome)!,
    goodCount: response.goodCount,
    data,
    elapsedMicros: response.elapsedMicros,
    ...(known & faultBits.failingLba && { failingLba: response.failingLba }),
    ...(known & faultBits.ata && {
      ata: { status: response.ataStatus, error: response.ataError },
    }),
    ...(known & faultBits.sense && {
      sense: { key: response.senseKey, asc: response.asc, ascq: response.ascq },
    }),
  };
}

function pendingOf(window: Window, readId: number): PendingRead | undefined {
  const first = window.sent[0];
  return first && window.sent[readId - first.id];
}

function transmit(window: Window, read: PendingRead): void {
  const { sectorBytes: _, ...request } = read.request;
  // Whatever lies before the first unresolved read has been received and checked.
  const releaseBelow = window.sent[0]!.id;
  window.send(
    encodeMessage(commands.read.code, read.id, commands.read.request, { ...request, releaseBelow }),
  );
}

function sendMore(window: Window): void {
  for (;;) {
    const read = window.waiting[0];
    if (!read || window.paused || read.settled) return;
    if (window.sent.length >= window.requestsMax) return;
    if (window.sentBytes + read.bytes > window.bufferBytes) return;
    window.waiting.shift();
    read.id = window.idNext++;
    window.sent.push(read);
    window.sentBytes += read.bytes;
    if (window.sent.length === 1) window.progress++;
    transmit(window, read);
  }
}

/** Resolves what is next in order, as far as it has come, and sends what then has room. */
function settle(window: Window): void {
  while (window.sent[0]?.settled) {
    const read = window.sent.shift()!;
    window.sentBytes -= read.bytes;
    window.progress++;
    window.returned++;
    read.settled!();
  }
  while (window.sent.length === 0 && window.waiting[0]?.settled) {
    window.waiting.shift()!.settled!();
  }
  sendMore(window);
}

function spoil(window: Window, read: PendingRead, complaint: string): void {
  read.complaint = complaint;
  window.violation();
}

/** Takes `length` bytes at `offset` of a read's data; `put` writes them. */
function onPiece(
  window: Window,
  readId: number,
  { offset, length, put }: { offset: number; length: number; put: (data: Uint8Array) => void },
): void {
  const read = pendingOf(window, readId);
  if (!read) {
    // A copy of what has been resolved is what resending makes; an id never sent is not.
    if (readId >= window.idNext) window.violation();
    return;
  }
  if (read.settled) return;
  const end = offset + length;
  if (end > (read.response?.dataBytes ?? read.bytes)) {
    spoil(window, read, `data up to byte ${end}`);
    return;
  }
  const covered = coverWith(read.covered, { from: offset, end });
  if (covered.length > coveredMax) {
    spoil(window, read, 'data in too many pieces');
    return;
  }
  // A copy of what is in the sum already; it must not change bytes that nobody adds up again.
  if (end <= read.crcEnd) return;
  if (offset < read.crcEnd) Object.assign(read, { crc: 0, crcEnd: 0 });
  if (bytesIn(covered) > bytesIn(read.covered)) window.progress++;
  // Not cleared: what is handed out has all come.
  read.data ??= Buffer.allocUnsafeSlow(read.bytes);
  put(read.data);
  read.covered = covered;
  if (offset === read.crcEnd) {
    // While the bytes are still near.
    read.crc = crc32(read.data.subarray(offset, end), read.crc);
    read.crcEnd = end;
  }
  finishIfWhole(window, read);
}

/** Settles a read of which everything is there and right. */
function finishIfWhole(window: Window, read: PendingRead): void {
  const { response } = read;
  if (!response || firstMissing(read.covered, response.dataBytes)) return;
  const data = new Uint8Array(read.data?.buffer ?? new ArrayBuffer(0), 0, response.dataBytes);
  const crc = crc32(data.subarray(read.crcEnd), read.crc);
  if (crc === response.dataCrc) {
    read.settled = () => read.resolve(resultOf(response, data));
    settle(window);
    return;
  }
  read.crcFailures++;
  spoil(window, read, 'data that does not match its checksum');
  startAnew(read);
  if (read.crcFailures >= crcFailuresMax) giveUp(window, read);
  else void repair(window, read);
}

/** Nothing of what came is believed any more. */
function startAnew(read: PendingRead): void {
  Object.assign(read, { covered: [], crc: 0, crcEnd: 0 });
}

function giveUp(window: Window, read: PendingRead): void {
  const complaint = read.complaint ? `, and last sent ${read.complaint}` : '';
  const what = `the imager does not bring the result of read ${read.id}${complaint}`;
  window.fail(new LastspinError('LINK_TIMEOUT', `${what}; check cable and baud rate`));
}

/** Asks again, one part at a time, for what is missing of a result that the imager holds. The
 * drive is not touched. */
async function repair(window: Window, read: PendingRead): Promise<void> {
  if (read.repairing) return;
  read.repairing = true;
  let fruitless = 0;
  let mostBytes = resendBytesMax;
  while (!read.settled && !window.failure) {
    const { covered, response } = read;
    const missing = response && firstMissing(covered, response.dataBytes);
    const offset = missing?.from ?? 0;
    const length = Math.min(mostBytes, missing ? missing.end - missing.from : 0);
    try {
      await window.resend({ readId: read.id, offset, length });
    } catch (error) {
      // Settled, or of a session that is lost: nobody waits for it any more.
      if (!read.settled) window.fail(asFailure(error));
      return;
    }
    const isFruitless = read.response === response && bytesIn(read.covered) === bytesIn(covered);
    fruitless = isFruitless ? fruitless + 1 : 0;
    mostBytes = isFruitless
      ? Math.max(resendBytesMin, mostBytes / 2)
      : Math.min(resendBytesMax, mostBytes * 2);
    if (fruitless >= fruitlessMax) giveUp(window, read);
  }
  read.repairing = false;
}

function asFailure(error: unknown): LastspinError {
  if (error instanceof LastspinError && error.code !== 'DEVICE_REFUSED') return error;
  const message = `the imager no longer holds what it read: ${reasonOf(error)}`;
  return new LastspinError('LINK_CLOSED', message, { cause: error });
}

function onResponse(window: Window, readId: number, reply: Reply<WireReadResponse>): void {
  const read = pendingOf(window, readId);
  if (!read) {
    if (readId >= window.idNext) window.violation();
    return;
  }
  if (read.settled || read.response) return;
  if (reply.reply !== 'ok') {
    const cause = new ReplyError(reply.reply, reply.reason);
    const message = `the imager refused a read: ${reply.reply} (${reply.reason})`;
    read.settled = () => read.reject(new LastspinError('DEVICE_REFUSED', message, { cause }));
    settle(window);
    return;
  }
  const contradiction = contradictionIn(reply.value, read.request);
  if (contradiction !== undefined) {
    spoil(window, read, contradiction);
    return;
  }
  const { dataBytes } = reply.value;
  read.response = reply.value;
  if ((read.covered.at(-1)?.end ?? 0) > dataBytes) {
    spoil(window, read, `data beyond byte ${dataBytes}`);
    startAnew(read);
  }
  finishIfWhole(window, read);
  if (!read.settled) void repair(window, read);
}

function sendAgainFrom(window: Window, readIdNext: number): void {
  if (readIdNext > window.takenBelow) {
    window.takenBelow = readIdNext;
    window.fruitlessRounds = 0;
  } else if (++window.fruitlessRounds > fruitlessMax) {
    const what = `read ${readIdNext} does not reach the imager; check cable and baud rate`;
    window.fail(new LastspinError('LINK_TIMEOUT', what));
    return;
  }
  for (const read of window.sent) {
    if (read.id >= readIdNext && !read.response && !read.settled) transmit(window, read);
  }
}

function onGap(window: Window, readIdNext: number): void {
  if (readIdNext > window.idNext) window.violation();
  else if (pendingOf(window, readIdNext)) sendAgainFrom(window, readIdNext);
}

function onStatus(
  window: Window,
  {
    readIdNext,
    readIdDone,
    sentBelow,
  }: { readIdNext: number; readIdDone: number; sentBelow: number },
): void {
  if (readIdDone > readIdNext || readIdNext > window.idNext) {
    window.violation();
    return;
  }
  // The line keeps its order: what was sent before the question has arrived or never will.
  if (readIdNext < sentBelow) sendAgainFrom(window, readIdNext);
  for (const read of window.sent) {
    if (read.id < readIdDone && !read.response) void repair(window, read);
  }
}

function restart(window: Window, limits: WindowLimits): void {
  window.requestsMax = limits.requestsMax;
  window.bufferBytes = limits.bufferBytes;
  const out = [...window.sent.splice(0), ...window.waiting.splice(0)];
  Object.assign(window, { sentBytes: 0, idNext: 0, takenBelow: 0, fruitlessRounds: 0 });
  window.paused = true;
  window.progress++;
  for (const read of out) {
    // What has come whole is as good as before.
    read.settled ??= () => read.resolve(neverSent);
    read.settled();
  }
}

function fail(window: Window, error: LastspinError): void {
  if (window.failure) return;
  window.failure = error;
  for (const read of [...window.sent.splice(0), ...window.waiting.splice(0)]) read.reject(error);
}

function call(window: Window, request: CallerRead): Promise<CallerReadResult> {
  const bytes = request.count * request.sectorBytes;
  if (window.failure) return Promise.reject(window.failure);
  if (bytes > window.bufferBytes || window.waiting.length >= waitingMax) {
    const message = `a read of ${bytes} bytes, ${window.waiting.length} more waiting, is too much`;
    return Promise.reject(new LastspinError('DEVICE_REFUSED', message));
  }
  return new Promise((resolve, reject) => {
    window.waiting.push({
      id: -1,
      request,
      bytes,
      resolve,
      reject,
      data: undefined,
      covered: [],
      crc: 0,
      crcEnd: 0,
      response: undefined,
      settled: undefined,
      repairing: false,
      crcFailures: 0,
      complaint: '',
    });
    sendMore(window);
  });
}

const neverSent: CallerReadResult = {
  outcome: 'not-attempted',
  goodCount: 0,
  data: new Uint8Array(),
  elapsedMicros: 0,
};

/** The reads of one session. */
export function createReadWindow(limits: WindowLimits, options: WindowOptions): ReadWindow {
  const window: Window = {
    ...options,
    requestsMax: limits.requestsMax,
    bufferBytes: limits.bufferBytes,
    paused: false,
    returned: 0,
    sent: [],
    sentBytes: 0,
    waiting: [],
    idNext: 0,
    failure: undefined,
    fruitlessRounds: 0,
    takenBelow: 0,
    progress: 0,
  };
  return {
    read: (request) => call(window, request),
    onPiece: (readId, { offset, bytes }) =>
      onPiece(window, readId, {
        offset,
        length: bytes.length,
        put: (data) => data.set(bytes, offset),
      }),
    onFill: (readId, { offset, length, byte }) =>
      onPiece(window, readId, {
        offset,
        length,
        put: (data) => data.fill(byte, offset, offset + length),
      }),
    onResponse: (readId, reply) => onResponse(window, readId, reply),
    onGap: (readIdNext) => onGap(window, readIdNext),
    onStatus: (at) => onStatus(window, at),
    abortWaiting() {
      for (const read of window.waiting) read.settled ??= () => read.resolve(neverSent);
      settle(window);
    },
    restart: (next) => restart(window, next),
    go() {
      window.paused = false;
      sendMore(window);
    },
    fail: (error) => fail(window, error),
    get idNext() {
      return window.idNext;
    },
    get resolvedBelow() {
      return window.sent[0]?.id ?? window.idNext;
    },
    get outstanding() {
      return window.sent.length + window.waiting.length;
    },
    get returned() {
      return window.returned;
    },
    get progress() {
      return window.progress;
    },
    get oldestTimeoutMs() {
      return window.sent[0]?.request.timeoutMs ?? 0;
    },
  };
}
