/** The reading process of a `file:` drive: the program that `io-process.ts` starts and, when
 * the path hangs, abandons. It is no library: importing it runs it.
 *
 * Threads, so that one read is under way while the last one's data goes to the parent, or into the image:
 *   requests → reader (one blocking pread after the other) → slots → writer (the main thread), hasher
 * Each is a plain loop of blocking calls. A thread cannot be abandoned alone when a pread does not come back,
 * which is why they have a process of their own and the parent no thread like them. */

import { readSync, writeSync } from 'node:fs';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import {
  asStretchHash,
  createRunningHashes,
  createSegmentHasher,
  type StretchHash,
} from '../segment-hasher.js';
import { closeImage, openImage, writeImage } from './file-image.js';
import {
  decodeReplyHeader,
  decodeRequest,
  encodeReplyHeader,
  type ReplyHeader,
  type RequestRecord,
  replyHeaderBytes,
  requestBytes,
  type StoreOrder,
} from './file-records.js';
import {
  allocateSlots,
  createSlots,
  type ImageDescriptors,
  type Slots,
  slotCount,
  slotEnd,
} from './file-slots.js';
import { createSource, errnoOf, type Source } from './file-source.js';
import { repliesDescriptor, requestsDescriptor } from './io-process.js';

/** Requests that are taken from the pipe at once. */
const requestsAtOnceMax = 64;
/** A path and two numbers. */
const orderBytesMax = 64 * 1024;

/** What a thread is told at its start. */
type Role =
  | {
      readonly kind: 'reader';
      readonly memory: SharedArrayBuffer;
      /** The path, and other names of the same device. */
      readonly names: readonly string[];
    }
  | {
      readonly kind: 'hasher';
      readonly memory: SharedArrayBuffer;
      readonly firstSlot: number;
      readonly order: StoreOrder;
    };

function startThread(role: Role): void {
  new Worker(new URL(import.meta.url), { workerData: role });
}

/** Ends all threads now. `process.exit` would wait for a pread that may never return. */
function endProcess(): never {
  for (;;) process.kill(process.pid, 'SIGKILL');
}

// ---- The writer: sends each filled slot in turn, or puts it into the image, until the parent has gone.

function runWriter(names: readonly string[]): void {
  const memory = allocateSlots();
  startThread({ kind: 'reader', memory, names });
  const slots = createSlots(memory);
  for (let slot = 0; ; slot = (slot + 1) % slotCount) {
    const length = slots.awaitFilled(slot);
    if (length === slotEnd) endProcess();
    const bytes = slots.at(slot);
    const header = decodeReplyHeader(bytes);
    const image = header.isStored ? slots.image : undefined;
    const isStored = image !== undefined && store(image, header, bytes, slots.placeOf(slot));
    for (let hash = slots.collect(); hash; hash = slots.collect()) sendHash(hash);
    if (isStored || header.isStored) {
      const dataBytes = isStored ? 0 : header.dataBytes;
      encodeReplyHeader({ ...header, dataBytes, isStored }, bytes);
    }
    send(bytes.subarray(0, isStored ? replyHeaderBytes : length));
    slots.wasSent(slot);
  }
}

/** Puts a slot's data into the image. Where that fails the parent gets the data, and makes of the failure what it
 * makes of its own. */
function store(
  image: ImageDescriptors,
  header: ReplyHeader,
  bytes: Uint8Array,
  placeBytes: number,
): boolean {
  const begun = new Uint8Array(replyHeaderBytes);
  encodeReplyHeader({ ...header, kind: 'begun', dataBytes: 0 }, begun);
  send(begun);
  return writeImage(
    image,
    bytes.subarray(replyHeaderBytes, replyHeaderBytes + header.dataBytes),
    placeBytes,
  );
}

function sendHash(hash: StretchHash): void {
  const notice = new Uint8Array(replyHeaderBytes);
  const nothing = { id: 0, dataBytes: 0, errno: 0, direct: false, elapsedMs: 0, isStored: false };
  encodeReplyHeader({ kind: 'hashed', ...nothing, hash }, notice);
  send(notice);
}

function send(bytes: Uint8Array): void {
  try {
    for (let sent = 0; sent < bytes.length; ) {
      sent += writeSync(repliesDescriptor, bytes, sent, bytes.length - sent);
    }
  } catch {
    endProcess(); // Nobody listens any more.
  }
}

// ---- The reader: serves requests in order until the pipe closes.

function runReader(memory: SharedArrayBuffer, names: readonly string[]): void {
  const slots = createSlots(memory);
  const source = createSource(names);
  let slot = 0;
  let hasHasher = false;
  const answer = (
    fill: (data: Uint8Array) => ReplyHeader,
    { operation, offsetBytes = 0, isStored = false }: Partial<RequestRecord> = {},
  ) => {
    slots.takeFree(slot);
    const isFlushed = operation === 'flush' && hasHasher;
    if (isFlushed) slots.flushHasher(slot);
    const bytes = slots.at(slot);
    const filled = fill(bytes.subarray(replyHeaderBytes));
    const isWhole = filled.kind === 'good' || filled.kind === 'slow';
    const header = { ...filled, isStored: isStored && isWhole && slots.image !== undefined };
    encodeReplyHeader(header, bytes);
    const hashBytes = header.isStored ? header.dataBytes : 0;
    const sendBytes = replyHeaderBytes + header.dataBytes;
    // The hasher's turn with a flushed slot is over.
    const toHash = hasHasher && !isFlushed ? hashBytes : undefined;
    slots.fill(slot, sendBytes, offsetBytes, toHash);
    slot = (slot + 1) % slotCount;
  };
  answer((data) => source.hello(data));
  const pipe = createPipe();
  for (let record = pipe.next(); record; record = pipe.next()) {
    const request = record;
    if (request.operation === 'store') {
      const order = orderIn(pipe.take(request.countBytes));
      const errno = takeImage(slots, source, order);
      const { segmentBytes = 0 } = order ?? {};
      if (order && errno === 0 && segmentBytes > 0 && !hasHasher) {
        startThread({ kind: 'hasher', memory, firstSlot: slot, order });
        hasHasher = true;
      }
      answer(() => source.done(request.id, errno));
    } else if (request.operation === 'flush') {
      answer(() => source.done(request.id, 0), request);
    } else if (request.operation === 'read') {
      answer((data) => source.read(request, data), request);
    } else {
      answer((data) => source.ask(request, data));
    }
  }
  slots.end(slot);
}

/** The parent's requests, as they come. */
function createPipe() {
  const buffer = Buffer.alloc(requestsAtOnceMax * requestBytes + orderBytesMax);
  let filled = 0;
  /** The next bytes, valid until the next call; undefined where the parent has closed its end. */
  function take(bytes: number): Buffer | undefined {
    while (filled < bytes) {
      const length = readSync(requestsDescriptor, buffer, filled, buffer.length - filled, null);
      if (length === 0) return undefined;
      filled += length;
    }
    const taken = Buffer.from(buffer.subarray(0, bytes));
    buffer.copyWithin(0, bytes, filled);
    filled -= bytes;
    return taken;
  }
  return {
    take,
    next(): RequestRecord | undefined {
      const bytes = take(requestBytes);
      return bytes && decodeRequest(bytes);
    },
  };
}

function orderIn(bytes: Buffer | undefined): StoreOrder | undefined {
  return bytes && (JSON.parse(bytes.toString()) as StoreOrder);
}

/** Opens the image for the writer. Returns the error number of what failed. */
function takeImage(slots: Slots, source: Source, order: StoreOrder | undefined): number {
  if (!order) return errnoInvalid;
  try {
    const opened = openImage(order, (found) => source.isSame(found));
    if (!opened) return errnoInvalid;
    if (slots.image) closeImage(slots.image);
    slots.image = opened;
    return 0;
  } catch (error) {
    return errnoOf(error);
  }
}

const errnoInvalid = 22;

// ---- The hasher: hashes what goes into the image.

function runHasher({ memory, firstSlot, order }: Extract<Role, { kind: 'hasher' }>): void {
  const slots = createSlots(memory);
  const hasher = createSegmentHasher(order, slots.post);
  const running = createRunningHashes(order.whole ?? [], order.sizeBytes);
  for (let slot = firstSlot; ; slot = (slot + 1) % slotCount) {
    const unhashed = slots.awaitUnhashed(slot);
    if (unhashed === 'tell-begun') hasher.tellBegun();
    else if (unhashed) {
      hasher.take(unhashed.offsetBytes, unhashed.data);
      running.take(unhashed.offsetBytes, unhashed.data);
      for (const [algorithm, digest] of running.finish() ?? [])
        slots.post(asStretchHash(algorithm, digest));
    }
    slots.wasHashed(slot);
  }
}

if (isMainThread) {
  runWriter(process.argv.slice(2));
} else {
  const role = workerData as Role;
  try {
    if (role.kind === 'hasher') runHasher(role);
    else runReader(role.memory, role.names);
  } catch {
    // The main thread sleeps and would not hear of it; the parent sees the process end.
    endProcess();
  }
}
