/** The device end's reads: taken in id order, done one at a time, their results held until released
 * (PROTOCOL.md clauses R). One queue lives as long as a session, over any number of links. */
import { crc32 } from 'node:zlib';
import { bytesMax } from './codec.js';
import { commands, events, faultBits, readOutcomes, stopBits } from './commands.js';
import { type DeviceReadResult, type ImagerDevice, ReplyError } from './device.js';
import type { Link } from './link.js';
import {
  encodeMessage,
  encodeMessageInto,
  encodeOk,
  encodeRefusal,
  headerBytes,
  toUnsigned,
} from './message.js';

type CodecValue<C> = C extends { read(reader: never): infer T } ? T : never;
export type WireRead = CodecValue<typeof commands.read.request>;
type WireReadResponse = CodecValue<typeof commands.read.response>;

/** Runs work one at a time, in the order of the calls: the drive takes one command at once. */
export type Lane = <T>(work: () => Promise<T>) => Promise<T>;

export function createLane(): Lane {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const result = last.then(work);
    last = result.catch(() => undefined);
    return result;
  };
}

export interface ReadQueue {
  /** Takes a read, or asks for the ones that are missing before it. */
  accept(id: number, request: WireRead): void;
  /** Takes a read that could not be understood: it uses up its id and is refused. */
  acceptMalformed(id: number): void;
  /** Sends pieces of a held result again, then its response. Throws ReplyError. */
  resend(request: { readId: number; offset: number; length: number }): Promise<void>;
  /** Reads below the id are not attempted any more; ends the wait for one under way. Resolves when
   * none of them is under way. */
  abort(readIdBelow: number): Promise<void>;
  /** Reads that have arrived and not begun are not attempted any more. */
  stopWaiting(): void;
  /** Where results go from now on; undefined while there is no link. */
  sendTo(link: Link | undefined): void;
  /** Another session took over: nothing of this one is done or sent any more. */
  retire(): void;
  readonly idNext: number;
  /** Results below this id were sent at least once. */
  readonly sentBelow: number;
}

/** Bytes of a `data` message that are not data. */
const pieceHeaderBytes =
  headerBytes + events.data.body.size({ offset: 0, bytes: new Uint8Array() });

/** What the laptop has missed for this long it is told of once more: the telling may be lost
 * too. */
const gapRepeatMs = 200;

interface QueuedRead {
  readonly id: number;
  /** Undefined: refused already when it came. */
  readonly request?: WireRead;
  readonly refusal?: ReplyError;
}

interface HeldResult {
  /** The response, encoded. */
  readonly response: Uint8Array;
  readonly data: Uint8Array;
  readonly sectorBytes: number;
}

const noData = new Uint8Array();

function refusedResult(id: number, refusal: ReplyError): HeldResult {
  const response = encodeRefusal(commands.read.code, id, refusal.reply, refusal.message);
  return { response, data: noData, sectorBytes: 0 };
}

function heldResult(
  { id, lba }: { readonly id: number; readonly lba: number },
  result: Omit<DeviceReadResult, 'outcome'> & { outcome: keyof typeof readOutcomes },
): HeldResult {
  const { data, failingLba, ata, sense } = result;
  const value: WireReadResponse = {
    outcome: readOutcomes[result.outcome],
    goodCount: result.goodCount,
    known:
      (failingLba === undefined ? 0 : faultBits.failingLba) |
      (ata ? faultBits.ata : 0) |
      (sense ? faultBits.sense : 0),
    failingLba: failingLba ?? 0,
    ataStatus: ata?.status ?? 0,
    ataError: ata?.error ?? 0,
    senseKey: sense?.key ?? 0,
    asc: sense?.asc ?? 0,
    ascq: sense?.ascq ?? 0,
    elapsedMicros: toUnsigned(result.elapsedMicros, 53),
    dataBytes: data.length,
    dataCrc: crc32(data),
    lba,
  };
  return {
    data,
    sectorBytes: result.goodCount > 0 ? data.length / result.goodCount : 0,
    response: encodeOk(commands.read.code, id, commands.read.response, value),
  };
}

function notAttempted(read: { readonly id: number; readonly lba: number }): HeldResult {
  const outcome = 'not-attempted';
  return heldResult(read, { outcome, goodCount: 0, data: noData, elapsedMicros: 0 });
}

/** Whether an outcome ends its batch. A drive that is gone ends it whatever the request
 * says: it must not be read unwatched when it comes back. */
function stopsBatch(outcome: keyof typeof readOutcomes, stopOn: number): boolean {
  if (outcome === 'gone') return true;
  if (outcome === 'good' || outcome === 'not-attempted') return false;
  return (stopOn & stopBits[outcome]) !== 0;
}

interface QueueOptions {
  readonly device: ImagerDevice;
  readonly lane: Lane;
  /** Longest message agreed for the session. */
  readonly frameBytesMax: number;
  readonly now: () => number;
  /** Counts what a right laptop never sends. */
  readonly violation: () => void;
  /** Tells the laptop which read is missing. */
  readonly sayGap: (readIdNext: number) => void;
}

interface Queue extends QueueOptions {
  readonly waiting: QueuedRead[];
  readonly held: Map<number, HeldResult>;
  heldBytes: number;
  /** releasedBelow <= sentBelow <= ids of `waiting` < idNext. */
  idNext: number;
  sentBelow: number;
  releasedBelow: number;
  abortedBelow: number;
  /** Batches that ended early; as many as there can be reads that do not know it yet. */
  readonly stoppedBatches: number[];
  underWay: QueuedRead | undefined;
  link: Link | undefined;
  retired: boolean;
  gapSaid: { readonly idNext: number; readonly atMs: number };
  /** Pieces that may wait to leave behind the one that leaves. */
  piecesAhead: number;
  /** In which each piece is put together. */
  readonly pieceRoom: Uint8Array;
  /** Resolved and emptied at every change that the two loops below may wait for. */
  readonly changeWaiters: Set<() => void>;
}

function changed(queue: Queue): void {
  const waiters = [...queue.changeWaiters];
  queue.changeWaiters.clear();
  for (const resolve of waiters) resolve();
}

function change(queue: Queue): Promise<void> {
  return new Promise((resolve) => queue.changeWaiters.add(resolve));
}

/** Forgets results that the laptop has; false where it cannot have them (M-5). */
function release(queue: Queue, below: number): boolean {
  if (below > queue.sentBelow) {
    queue.violation();
    return false;
  }
  for (; queue.releasedBelow < below; queue.releasedBelow++) {
    queue.heldBytes -= queue.held.get(queue.releasedBelow)?.data.length ?? 0;
    queue.held.delete(queue.releasedBelow);
  }
  changed(queue);
  return true;
}

function enqueue(queue: Queue, read: QueuedRead): void {
  if (read.id > queue.idNext) sayGap(queue);
  else if (read.id < queue.idNext) answerAgain(queue, read.id);
  // the laptop knows the limit; what is discarded here does not use up an id.
  else if (queue.idNext - queue.releasedBelow >= queue.device.requestsMax) queue.violation();
  else {
    queue.idNext++;
    queue.waiting.push(read);
    changed(queue);
  }
}

function sayGap(queue: Queue): void {
  const { idNext, gapSaid } = queue;
  const atMs = queue.now();
  // once for a gap, not once for each read behind it.
  if (gapSaid.idNext === idNext && atMs - gapSaid.atMs < gapRepeatMs) return;
  queue.gapSaid = { idNext, atMs };
  queue.sayGap(idNext);
}

function answerAgain(queue: Queue, id: number): void {
  // the response alone; the laptop asks for the pieces it lacks.
  const result = id < queue.sentBelow ? queue.held.get(id) : undefined;
  if (result) queue.link?.send(result.response);
}

function isStopped(queue: Queue, read: QueuedRead): boolean {
  const batch = read.request?.batch;
  if (queue.retired || read.id < queue.abortedBelow) return true;
  return batch !== undefined && queue.stoppedBatches.includes(batch);
}

async function perform(queue: Queue, read: QueuedRead): Promise<HeldResult> {
  const { id, request } = read;
  if (!request) return refusedResult(id, read.refusal!);
  const { lba, count, timeoutMs, slowMs } = request;
  if (isStopped(queue, read)) return notAttempted({ id, lba });
  queue.underWay = read;
  try {
    const result = await queue.device.read({ lba, count, timeoutMs, slowMs });
    if (stopsBatch(result.outcome, request.stopOn)) {
      queue.stoppedBatches.push(request.batch);
      if (queue.stoppedBatches.length > queue.device.requestsMax) queue.stoppedBatches.shift();
    }
    return heldResult({ id, lba }, result);
  } catch (error) {
    if (error instanceof ReplyError) return refusedResult(id, error);
    throw error;
  } finally {
    queue.underWay = undefined;
  }
}

async function performAll(queue: Queue): Promise<void> {
  while (!queue.retired) {
    const read = queue.waiting[0];
    // a laptop that keeps to the buffer's size never has to wait for room.
    const isFull = queue.heldBytes >= queue.device.bufferBytes;
    if (!read || (isFull && !isStopped(queue, read))) {
      await change(queue);
      continue;
    }
    const result = await queue.lane(() => perform(queue, read));
    queue.waiting.shift();
    queue.held.set(read.id, result);
    queue.heldBytes += result.data.length;
    changed(queue);
  }
}

/** Sends `held` from `from` to `end`; false when the link or the session went meanwhile. */
async function sendPieces(
  queue: Queue,
  { to, id, held, from, end }: PiecesToSend,
): Promise<boolean> {
  const { data } = held;
  const pieceBytes = Math.min(queue.frameBytesMax - pieceHeaderBytes, bytesMax);
  const underWay: Promise<void>[] = [];
  for (let offset = from; offset < end; ) {
    const piece = nextPiece(held, { offset, end, pieceBytes });
    if (piece.isFill) {
      const fill = { offset, length: piece.length, byte: data[offset]! };
      to.send(encodeMessage(events.fill.code, id, events.fill.body, fill));
    } else {
      const bytes = data.subarray(offset, offset + piece.length);
      const { code, body } = events.data;
      to.send(encodeMessageInto(queue.pieceRoom, code, id, body, { offset, bytes }));
    }
    offset += piece.length;
    underWay.push(leaving(queue, to));
    while (underWay.length > queue.piecesAhead) await underWay.shift();
    if (to !== queue.link) return false;
  }
  return true;
}

/** On a fast line the system takes several pieces at once; on a slow one a status must not wait behind
 * more than two. */
const piecesAheadMax = 6;
const fastPieceMs = 10;

/** Resolves when the piece just sent has left, and notes how long such a piece takes. */
async function leaving(queue: Queue, to: Link): Promise<void> {
  const sentAtMs = queue.now();
  await to.drained();
  queue.piecesAhead = queue.now() - sentAtMs < fastPieceMs ? piecesAheadMax : 1;
}

interface PiecesToSend {
  readonly to: Link;
  readonly id: number;
  readonly held: HeldResult;
  readonly from: number;
  readonly end: number;
}

/** What can go as one event from `offset` on: as many whole sectors of one repeated byte as follow each
 * other, else data up to the next such sector. */
function nextPiece(
  { data, sectorBytes }: HeldResult,
  { offset, end, pieceBytes }: { offset: number; end: number; pieceBytes: number },
): { readonly isFill: boolean; readonly length: number } {
  const dataEnd = Math.min(end, offset + pieceBytes);
  if (sectorBytes === 0) return { isFill: false, length: dataEnd - offset };
  let at = Math.ceil(offset / sectorBytes) * sectorBytes;
  if (at === offset) {
    const byte = data[offset];
    while (at + sectorBytes <= end && data[at] === byte && isUniform(data, at, sectorBytes)) {
      at += sectorBytes;
    }
    if (at > offset) return { isFill: true, length: at - offset };
  }
  while (at < dataEnd && (at === offset || !isUniform(data, at, sectorBytes))) at += sectorBytes;
  return { isFill: false, length: Math.min(at, dataEnd) - offset };
}

/** Whether a sector is one byte over and over: it then equals itself moved by one. */
function isUniform(data: Uint8Array, at: number, sectorBytes: number): boolean {
  const last = at + sectorBytes - 1;
  if (last >= data.length || data[at] !== data[at + 1] || data[at] !== data[last]) return false;
  return Buffer.compare(data.subarray(at, last), data.subarray(at + 1, last + 1)) === 0;
}

async function sendAll(queue: Queue): Promise<void> {
  while (!queue.retired) {
    const { link, sentBelow } = queue;
    const result = queue.held.get(sentBelow);
    if (!link || !result) {
      await change(queue);
      continue;
    }
    const { data, response } = result;
    const pieces = { to: link, id: sentBelow, held: result, from: 0, end: data.length };
    // A result cut off by the end of its link is sent whole on the next one.
    if (!(await sendPieces(queue, pieces))) continue;
    link.send(response);
    queue.sentBelow++;
  }
}

async function resend(
  queue: Queue,
  { readId, offset, length }: { readId: number; offset: number; length: number },
): Promise<void> {
  const result = readId < queue.sentBelow ? queue.held.get(readId) : undefined;
  if (!result) throw new ReplyError('unknownRead', `read ${readId} is not held`);
  const { data, response } = result;
  const end = offset + length;
  if (end > data.length) throw new ReplyError('limit', `read ${readId} has ${data.length} bytes`);
  const to = queue.link;
  if (to && (await sendPieces(queue, { to, id: readId, held: result, from: offset, end }))) {
    to.send(response);
  }
}

async function abort(queue: Queue, readIdBelow: number): Promise<void> {
  queue.abortedBelow = Math.max(queue.abortedBelow, readIdBelow);
  const isUnderWay = () => queue.underWay !== undefined && queue.underWay.id < readIdBelow;
  if (isUnderWay()) queue.device.abort();
  changed(queue);
  while (isUnderWay()) await change(queue);
}

function accept(queue: Queue, id: number, request: WireRead): void {
  if (!release(queue, request.releaseBelow)) return;
  const { readCountMax } = queue.device;
  if (request.count > 0 && request.count <= readCountMax) {
    enqueue(queue, { id, request });
    return;
  }
  enqueue(queue, {
    id,
    refusal: new ReplyError('limit', `a read is 1 to ${readCountMax} sectors`),
  });
}

/** The queue of one session. */
export function createReadQueue(options: QueueOptions): ReadQueue {
  const queue: Queue = {
    ...options,
    waiting: [],
    held: new Map(),
    heldBytes: 0,
    idNext: 0,
    sentBelow: 0,
    releasedBelow: 0,
    abortedBelow: 0,
    stoppedBatches: [],
    underWay: undefined,
    link: undefined,
    retired: false,
    gapSaid: { idNext: -1, atMs: 0 },
    piecesAhead: 1,
    pieceRoom: new Uint8Array(options.frameBytesMax),
    changeWaiters: new Set(),
  };
  void performAll(queue);
  void sendAll(queue);
  return {
    accept: (id, request) => accept(queue, id, request),
    acceptMalformed: (id) =>
      enqueue(queue, { id, refusal: new ReplyError('malformed', 'the read cannot be understood') }),
    resend: (request) => resend(queue, request),
    abort: (readIdBelow) => abort(queue, readIdBelow),
    stopWaiting() {
      queue.abortedBelow = Math.max(queue.abortedBelow, queue.idNext);
      changed(queue);
    },
    sendTo(link) {
      queue.link = link;
      changed(queue);
    },
    retire() {
      queue.retired = true;
      queue.link = undefined;
      if (queue.underWay) queue.device.abort();
      changed(queue);
    },
    get idNext() {
      return queue.idNext;
    },
    get sentBelow() {
      return queue.sentBelow;
    },
  };
}
