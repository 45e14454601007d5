/** What the two ends of an `sg:` path say to each other: fixed records of requests on one pipe,
 * replies of a header and raw bytes on the other. All numbers are little-endian. Both ends are of
 * one build, so there is no version. */
import { cdbBytesMax, headerBytes, senseBytesMax } from './sg-io.js';

/** Most bytes of one transfer: more costs a failing drive more than it saves. */
export const transferBytesMax = 1 << 20;

export const requestBytes = 64;
/** Room for a header of SG_IO and sense data behind a few numbers. */
export const replyHeaderBytes = 32 + headerBytes + senseBytesMax;

/** The id of the greeting that comes unasked once the node was opened, or not. */
export const helloId = 0;

/** - `command`: SG_IO.
 * - `reset`: SG_SCSI_RESET with each kind in turn until one bears.
 * - `scan-host`: the kernel looks at the host adapter's port again; libata resets the link for that.
 * - `go-online`: the kernel takes the device back that it has set offline. */
const operations = ['command', 'reset', 'go-online', 'scan-host'] as const;
export type SgOperation = (typeof operations)[number];

export interface SgRecord {
  readonly operation: SgOperation;
  /** Comes back with the reply. Above `helloId`, below 2^32. */
  readonly id: number;
  /** A command's descriptor block; a reset's kinds, each in two bytes. */
  readonly payload: Uint8Array;
  readonly dataBytes: number;
  readonly timeoutMs: number;
}

const payloadAt = 24;

export function encodeRecord(record: SgRecord): Uint8Array {
  const bytes = new Uint8Array(requestBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, operations.indexOf(record.operation), true);
  view.setUint32(4, record.id, true);
  view.setUint32(8, record.dataBytes, true);
  view.setFloat64(12, record.timeoutMs, true);
  view.setUint32(20, record.payload.length, true);
  bytes.set(record.payload.subarray(0, cdbBytesMax), payloadAt);
  return bytes;
}

/** Reads the record at the start of `bytes`. */
export function decodeRecord(bytes: Uint8Array): SgRecord {
  const view = new DataView(bytes.buffer, bytes.byteOffset, requestBytes);
  const length = Math.min(view.getUint32(20, true), cdbBytesMax);
  return {
    operation: operations[view.getUint32(0, true)]!,
    id: view.getUint32(4, true),
    dataBytes: view.getUint32(8, true),
    timeoutMs: view.getFloat64(12, true),
    payload: new Uint8Array(bytes.subarray(payloadAt, payloadAt + length)),
  };
}

/** `hello`: the data is a `Hello` as JSON. `answer`: an ioctl or a write ended, with `errno`. `refused`:
 * the read-only list; nothing was done. */
const replyKinds = ['hello', 'answer', 'refused'] as const;
export type SgReplyKind = (typeof replyKinds)[number];

export interface SgReply {
  readonly kind: SgReplyKind;
  readonly id: number;
  /** The system's error number; 0 where there was none. */
  readonly errno: number;
  readonly elapsedMs: number;
  /** The header of SG_IO as the kernel left it. */
  readonly header: Uint8Array;
  readonly sense: Uint8Array;
  readonly data: Uint8Array;
}

export interface SgReplyHeader extends Omit<SgReply, 'data'> {
  readonly dataBytes: number;
}

const headerAt = 32;
const senseAt = headerAt + headerBytes;

/** Writes the numbers into `into`; header and sense data of SG_IO lie there already, at `sgPartsOf`. */
export function encodeReplyNumbers(
  reply: Pick<SgReplyHeader, 'kind' | 'id' | 'errno' | 'elapsedMs' | 'dataBytes'>,
  into: Uint8Array,
): void {
  const view = new DataView(into.buffer, into.byteOffset, replyHeaderBytes);
  view.setUint32(0, replyKinds.indexOf(reply.kind), true);
  view.setUint32(4, reply.id, true);
  view.setUint32(8, reply.errno, true);
  view.setUint32(12, reply.dataBytes, true);
  view.setFloat64(16, reply.elapsedMs, true);
}

/** Where a reply carries SG_IO's header and sense data. */
export function sgPartsOf(reply: Uint8Array): { header: Uint8Array; sense: Uint8Array } {
  return {
    header: reply.subarray(headerAt, senseAt),
    sense: reply.subarray(senseAt, senseAt + senseBytesMax),
  };
}

/** Reads the header of a reply at the start of `bytes`, which it keeps no part of. */
export function decodeReplyHeader(bytes: Uint8Array): SgReplyHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, replyHeaderBytes);
  const { header, sense } = sgPartsOf(bytes);
  return {
    kind: replyKinds[view.getUint32(0, true)]!,
    id: view.getUint32(4, true),
    errno: view.getUint32(8, true),
    dataBytes: view.getUint32(12, true),
    elapsedMs: view.getFloat64(16, true),
    // Copies, also of a Buffer, whose `slice` is none.
    header: new Uint8Array(header),
    sense: new Uint8Array(sense),
  };
}

/** How the sending process came up. */
export type Hello =
  | {
      readonly state: 'open';
      /** Most bytes that the kernel takes as one transfer. */
      readonly transferBytes: number;
      /** The process has the capabilities that resets ask for. */
      readonly mayReset: boolean;
    }
  /** The error number of stat or open. */
  | { readonly state: 'refused'; readonly errno: number }
  /** No /dev/sg node: unopened, for opening a tape or a pipe does something to it. */
  | { readonly state: 'other-kind' }
  /** The library that calls ioctl cannot be loaded; why, in a phrase. */
  | { readonly state: 'no-library'; readonly why: string };
