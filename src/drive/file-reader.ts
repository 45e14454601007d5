/** The reading process of a `file:` drive: the program that `file-process.ts` starts and, when
 * the path hangs, abandons. It is no library: importing it runs it.
 *
 * Two threads, so that one read is under way while the last one's data goes to the parent:
 *   requests → reader (worker thread: one blocking pread after the other) → slots → writer (main
 * thread) Each is a plain loop of blocking calls. A thread cannot be abandoned alone when a
 * pread does not come back, which is why the pair has a process of its own and the parent no
 * thread like it. */

import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  readSync,
  realpathSync,
  statSync,
  writeSync,
} from 'node:fs';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { inspectDevice, type Sysfs } from './file-inspect.js';
import {
  decodeRequest,
  encodeReplyHeader,
  helloId,
  type Inspection,
  type ReplyHeader,
  type ReplyKind,
  type RequestRecord,
  readBytesMax,
  repliesDescriptor,
  replyHeaderBytes,
  requestBytes,
  requestsDescriptor,
} from './file-records.js';

/** The part of the WebAssembly interface that is used here, and that Node's types leave out. */
declare const WebAssembly: {
  Memory: new (size: {
    initial: number;
    maximum: number;
    shared: true;
  }) => { readonly buffer: SharedArrayBuffer };
};

/** One slot is read into, one goes to the parent, and one waits between them. */
const slotCount = 3;
/** WebAssembly memory is the one kind that Node aligns to pages, as O_DIRECT asks; this is its
 * unit. */
const memoryPageBytes = 65536;
/** A slot's data begins on a page of its own; its header stands right before, so that one write
 * sends both. */
const slotBytes = memoryPageBytes + readBytesMax;
/** Requests that are taken from the pipe at once. */
const requestsAtOnceMax = 64;

/** State of a slot: 0 while the reader may fill it, else the bytes to send, header included. */
const slotFree = 0;
/** Instead of a length: the parent has closed the pipe. */
const slotEnd = -1;

interface Slots {
  readonly states: Int32Array;
  /** Header and room for data of a slot. */
  at(slot: number): Uint8Array;
}

function slotsOf(memory: SharedArrayBuffer): Slots {
  return {
    states: new Int32Array(memory, 0, slotCount),
    at: (slot) => {
      const dataAt = memoryPageBytes + slot * slotBytes + memoryPageBytes;
      return new Uint8Array(memory, dataAt - replyHeaderBytes, replyHeaderBytes + readBytesMax);
    },
  };
}

/** Ends both threads now. `process.exit` would wait for a pread that may never return. */
function endProcess(): never {
  for (;;) process.kill(process.pid, 'SIGKILL');
}

/** Sends each filled slot in turn, until the parent has gone. */
function runWriter(path: string): void {
  const pages = 1 + (slotCount * slotBytes) / memoryPageBytes;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }).buffer;
  new Worker(new URL(import.meta.url), { workerData: { memory, path } });
  const { states, at } = slotsOf(memory);
  for (let slot = 0; ; slot = (slot + 1) % slotCount) {
    Atomics.wait(states, slot, slotFree);
    const length = Atomics.load(states, slot);
    if (length === slotEnd) endProcess();
    const bytes = at(slot);
    try {
      for (let sent = 0; sent < length; ) {
        sent += writeSync(repliesDescriptor, bytes, sent, length - sent);
      }
    } catch {
      endProcess(); // Nobody listens any more.
    }
    Atomics.store(states, slot, slotFree);
    Atomics.notify(states, slot);
  }
}

/** Serves requests in order until the pipe closes. */
function runReader(memory: SharedArrayBuffer, path: string): void {
  const { states, at } = slotsOf(memory);
  const source = createSource(path);
  let slot = 0;
  const answer = (fill: (data: Uint8Array) => ReplyHeader) => {
    const state = Atomics.load(states, slot);
    if (state !== slotFree) Atomics.wait(states, slot, state);
    const bytes = at(slot);
    const header = fill(bytes.subarray(replyHeaderBytes));
    encodeReplyHeader(header, bytes);
    Atomics.store(states, slot, replyHeaderBytes + header.dataBytes);
    Atomics.notify(states, slot);
    slot = (slot + 1) % slotCount;
  };
  answer((data) => source.hello(data));
  for (const request of requests()) {
    answer((data) =>
      request.operation === 'read' ? source.read(request, data) : source.ask(request, data),
    );
  }
  Atomics.store(states, slot, slotEnd);
  Atomics.notify(states, slot);
}

/** Requests as they come, until the parent closes its end. */
function* requests(): Generator<RequestRecord> {
  const buffer = Buffer.alloc(requestsAtOnceMax * requestBytes);
  let filled = 0;
  for (;;) {
    const length = readSync(requestsDescriptor, buffer, filled, buffer.length - filled, null);
    if (length === 0) return;
    filled += length;
    let taken = 0;
    for (; filled - taken >= requestBytes; taken += requestBytes) {
      yield decodeRequest(buffer.subarray(taken));
    }
    buffer.copyWithin(0, taken, filled);
    filled -= taken;
  }
}

/** A path that was opened for reading only. */
interface OpenPath {
  readonly descriptor: number;
  /** Past the page cache (O_DIRECT). */
  readonly direct: boolean;
}

/** Opens `path` strictly for reading; past the page cache where the file system can and
 * `buffered` is not asked for. Undefined for what is neither a regular file nor a block device,
 * unopened: opening a tape or a pipe does something to it. Throws the system's error. */
function openReadOnly(path: string, buffered: boolean): OpenPath | undefined {
  const found = statSync(path);
  if (!found.isFile() && !found.isBlockDevice()) return undefined;
  // Absent outside Linux, where reads are buffered then.
  const directFlag = buffered ? 0 : (constants.O_DIRECT ?? 0);
  if (directFlag !== 0) {
    try {
      return { descriptor: openSync(path, constants.O_RDONLY | directFlag), direct: true };
    } catch (error) {
      // Some file systems have no O_DIRECT, tmpfs before Linux 6.6 among them.
      if (errnoOf(error) !== errnoInvalid) throw error;
    }
  }
  return { descriptor: openSync(path, constants.O_RDONLY), direct: false };
}

const sysfs: Sysfs = {
  read: (path) => orUndefined(() => readFileSync(path, 'latin1')),
  realpath: (path) => orUndefined(() => realpathSync(path)),
};

function orUndefined<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}

/** Looks at an open path, here and not in the parent, for even `stat` waits on a mount that
 * hangs. */
function inspect(path: string, { descriptor, direct }: OpenPath): Inspection {
  const found = fstatSync(descriptor);
  if (found.isBlockDevice()) return inspectDevice(found.rdev, direct, sysfs);
  return {
    state: 'open',
    path: {
      isDirect: direct,
      model: 'file',
      // The path, since it alone survives what a rescue goes through: device numbers change with
      // every mount and boot, inodes with every copy, and on FUSE both are made up. A file that was
      // moved is asked about; another file put in its place is seen by its size only.
      serial: realpathSync(path),
      firmware: '',
      sizeBytes: found.size,
      readBytesMax,
    },
  };
}

/** The path, open or not. */
interface Source {
  /** Undefined while the path cannot be opened; then `openErrno` says why. */
  open: OpenPath | undefined;
  openErrno: number;
}

/** Answers requests about the path. */
function createSource(path: string) {
  const source: Source = { open: undefined, openErrno: 0 };
  /** The stop is applied here, so that the next request of a batch can already be waiting when
   * the one before ends well. */
  let stoppedBatch: number | undefined;
  const first = reopen(source, path, false);

  const reply = (id: number, rest: Partial<ReplyHeader> & Pick<ReplyHeader, 'kind'>) => ({
    id,
    dataBytes: 0,
    errno: 0,
    elapsedMs: 0,
    direct: source.open?.direct ?? false,
    ...rest,
  });
  const report = (id: number, inspection: Inspection, into: Uint8Array): ReplyHeader => {
    const bytes = Buffer.from(JSON.stringify(inspection));
    into.set(bytes);
    return reply(id, { kind: 'inspection', dataBytes: bytes.length });
  };

  return {
    /** What the opening at the start showed. */
    hello: (into: Uint8Array) => report(helloId, first, into),
    ask: ({ id, operation }: RequestRecord, into: Uint8Array) =>
      report(id, operation === 'probe' ? probe(path) : reopen(source, path, false), into),
    read(request: RequestRecord, into: Uint8Array): ReplyHeader {
      const { id, batch, stopOn } = request;
      if (batch === stoppedBatch) return reply(id, { kind: 'not-attempted' });
      if (!source.open) return reply(id, { kind: 'gone', errno: source.openErrno });
      const { dataBytes, errno, elapsedMs } = readAligned(source, path, request, into);
      const kind = kindOf({ dataBytes, errno, elapsedMs }, request);
      const failed = kind === 'fault' || kind === 'gone';
      if ((kind === 'slow' && stopOn.slow) || (failed && stopOn.fault)) stoppedBatch = batch;
      // A read that ended early says where, and not why.
      const why = kind === 'fault' && errno === 0 ? errnoInputOutput : errno;
      return reply(id, { kind, errno: why, dataBytes, elapsedMs });
    },
  };
}

/** Opens the path anew: behind it there may be the device as it came back. */
function reopen(source: Source, path: string, buffered: boolean): Inspection {
  if (source.open) closeQuietly(source.open);
  source.open = undefined;
  source.openErrno = 0;
  try {
    source.open = openReadOnly(path, buffered);
    return source.open ? inspect(path, source.open) : { state: 'other-kind' };
  } catch (error) {
    source.openErrno = errnoOf(error);
    return { state: 'refused', errno: source.openErrno };
  }
}

/** A mount that died answers even this with an error, and there is nothing to be done about it. */
function closeQuietly({ descriptor }: OpenPath): void {
  orUndefined(() => closeSync(descriptor));
}

/** Whether the path opens, beside the descriptor that is read from. */
function probe(path: string): Inspection {
  const beside: Source = { open: undefined, openErrno: 0 };
  const inspection = reopen(beside, path, false);
  if (beside.open) closeQuietly(beside.open);
  return inspection;
}

/** One read; buffered from now on where O_DIRECT refuses what is asked. */
function readAligned(
  source: Source,
  path: string,
  request: RequestRecord,
  into: Uint8Array,
): ReadOnce {
  const result = readOnce(source, request, into);
  if (result.errno !== errnoInvalid || !source.open?.direct) return result;
  // The kernel refuses the alignment before the device hears of it, so the next is the first
  // command.
  reopen(source, path, true);
  return source.open ? readOnce(source, request, into) : result;
}

interface ReadOnce {
  readonly dataBytes: number;
  readonly errno: number;
  readonly elapsedMs: number;
}

/** Exactly one system call. */
function readOnce({ open }: Source, request: RequestRecord, into: Uint8Array): ReadOnce {
  const { countBytes, offsetBytes } = request;
  const started = process.hrtime.bigint();
  let dataBytes = 0;
  let errno = 0;
  try {
    dataBytes = readSync(open!.descriptor, into, 0, countBytes, offsetBytes);
  } catch (error) {
    errno = errnoOf(error);
  }
  return { dataBytes, errno, elapsedMs: Number(process.hrtime.bigint() - started) / 1e6 };
}

/** Error numbers of Linux (include/uapi/asm-generic/errno.h); the first five are the same
 * elsewhere. */
const errnoInputOutput = 5;
const errnoInvalid = 22;
/** ENOENT, ENXIO, ENODEV, ENOTCONN (the server of a FUSE mount died), ENOMEDIUM. */
const errnosGone = new Set([2, 6, 19, 107, 123]);

function kindOf(result: ReadOnce, { countBytes, slowMs }: RequestRecord): ReplyKind {
  if (errnosGone.has(result.errno)) return 'gone';
  if (result.errno !== 0) return 'fault';
  // The end of the device where there was more before: it lost its size, and with it the drive.
  if (result.dataBytes === 0) return 'gone';
  if (result.dataBytes < countBytes) return 'fault';
  return slowMs > 0 && result.elapsedMs > slowMs ? 'slow' : 'good';
}

/** The positive number of a system error. An error without one is a bug, and ends the process. */
function errnoOf(error: unknown): number {
  const { errno } = error as NodeJS.ErrnoException;
  if (errno === undefined) throw error;
  return Math.abs(errno);
}

if (isMainThread) {
  runWriter(process.argv[2]!);
} else {
  const { memory, path } = workerData as { memory: SharedArrayBuffer; path: string };
  try {
    runReader(memory, path);
  } catch {
    // The main thread sleeps and would not hear of it; the parent sees the process end.
    endProcess();
  }
}
