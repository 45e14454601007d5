/** What the two ends of a `file:` drive say to each other: fixed records of requests on one pipe,
 * replies of a header and raw bytes on the other. All numbers are little-endian. Both ends are
 * of one build, so there is no version. */

import type { StretchHash, WholeAlgorithm } from '../segment-hasher.js';
import type { StopOn } from './drive.js';

/** Most bytes of one read: what a kernel takes as one command on most paths (a page each of
 * Linux's 256 segments). */
export const deviceReadBytesMax = 1 << 20;
/** The same where there is no command but a cache: so much that the cost of a request no longer shows. */
export const readBytesMax = 4 << 20;

/** Bytes of a request record, with room to grow, a divisor of every pipe's capacity. */
export const requestBytes = 64;
/** Bytes of a reply's header. */
export const replyHeaderBytes = 80;

/** The id of the inspection that comes unasked once the path has been opened, or not. */
export const helloId = 0;

/** `identify` opens the path again and inspects it, `probe` only looks whether it opens. `store` names the file
 * that reads go to from now on; `countBytes` of a `StoreOrder` as JSON follow its record. `flush` is answered
 * behind the hashes of all that was read. */
const operations = ['read', 'identify', 'probe', 'store', 'flush'] as const;
export type Operation = (typeof operations)[number];

export interface RequestRecord {
  readonly operation: Operation;
  /** Of the asker's choosing; comes back with the reply. Above `helloId`, below 2^32. */
  readonly id: number;
  readonly offsetBytes: number;
  readonly countBytes: number;
  readonly slowMs: number;
  readonly batch: number;
  readonly stopOn: StopOn;
  /** A read that goes well is put into the file that `store` named, and brings no data. */
  readonly isStored?: boolean;
}

/** Where reads are put, and how they are hashed on the way. */
export interface StoreOrder {
  readonly path: string;
  /** Device and inode that the path must lead to. */
  readonly device: string;
  readonly inode: string;
  /** The source's bytes, and the size of a hashed segment; 0 = no hashes. */
  readonly sizeBytes: number;
  readonly segmentBytes: number;
  /** What the whole source is hashed with besides, where it is read in order. */
  readonly whole?: readonly WholeAlgorithm[];
  /** Zeros are not written where the file reads as zeros. */
  readonly isSparse?: boolean;
}

export function encodeRequest(record: RequestRecord): Uint8Array {
  const bytes = new Uint8Array(requestBytes);
  const view = new DataView(bytes.buffer);
  const { fault, slow, timeout } = record.stopOn;
  view.setUint32(0, operations.indexOf(record.operation), true);
  view.setUint32(4, record.id, true);
  view.setFloat64(8, record.offsetBytes, true);
  view.setFloat64(16, record.slowMs, true);
  view.setFloat64(24, record.batch, true);
  view.setUint32(32, record.countBytes, true);
  const stopBits = (fault ? 1 : 0) | (slow ? 2 : 0) | (timeout ? 4 : 0);
  view.setUint32(36, stopBits | (record.isStored ? 8 : 0), true);
  return bytes;
}

/** Reads the request record at the start of `bytes`. */
export function decodeRequest(bytes: Uint8Array): RequestRecord {
  const view = new DataView(bytes.buffer, bytes.byteOffset, requestBytes);
  const stopBits = view.getUint32(36, true);
  return {
    operation: operations[view.getUint32(0, true)]!,
    id: view.getUint32(4, true),
    offsetBytes: view.getFloat64(8, true),
    slowMs: view.getFloat64(16, true),
    batch: view.getFloat64(24, true),
    countBytes: view.getUint32(32, true),
    stopOn: {
      fault: (stopBits & 1) !== 0,
      slow: (stopBits & 2) !== 0,
      timeout: (stopBits & 4) !== 0,
    },
    isStored: (stopBits & 8) !== 0,
  };
}

/** `inspection`: the data is an `Inspection` as JSON. `begun`: the read is over, and what it brought is being put
 * into the image, which is no matter of the drive's; its reply follows. `hashed`: a hash that has become known, of
 * whatever read; a reply follows. `done` answers `store` and `flush`, with
 * the error number of what failed. The others are a read's ends (`drive.ts`). */
const replyKinds = [
  ...(['inspection', 'good', 'slow', 'fault', 'gone', 'not-attempted'] as const),
  ...(['begun', 'hashed', 'done'] as const),
] as const;
export type ReplyKind = (typeof replyKinds)[number];

export interface ReplyHeader {
  readonly kind: ReplyKind;
  readonly id: number;
  readonly dataBytes: number;
  /** The system's error number, positive; 0 where there was none. */
  readonly errno: number;
  /** The path is read past the page cache. */
  readonly direct: boolean;
  /** Time of the one system call that read. */
  readonly elapsedMs: number;
  /** The whole read was put into the image instead of being sent. */
  readonly isStored: boolean;
  /** Of `hashed`. */
  readonly hash?: StretchHash;
}

const sha256Bytes = 32;
const noHash = -1;

/** Writes the header into the first `replyHeaderBytes` of `into`. */
export function encodeReplyHeader(header: ReplyHeader, into: Uint8Array): void {
  const view = new DataView(into.buffer, into.byteOffset, replyHeaderBytes);
  view.setUint32(0, replyKinds.indexOf(header.kind), true);
  view.setUint32(4, header.id, true);
  view.setUint32(8, header.dataBytes, true);
  view.setUint32(12, header.errno, true);
  view.setFloat64(16, header.elapsedMs, true);
  view.setUint32(24, header.direct ? 1 : 0, true);
  view.setUint32(28, header.isStored ? 1 : 0, true);
  view.setFloat64(32, header.hash?.offsetBytes ?? noHash, true);
  view.setFloat64(72, header.hash?.byteCount ?? 0, true);
  if (header.hash) into.set(header.hash.sha256, 40);
}

/** Reads the header in the first `replyHeaderBytes` of `bytes`. */
export function decodeReplyHeader(bytes: Uint8Array): ReplyHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, replyHeaderBytes);
  const offsetBytes = view.getFloat64(32, true);
  const byteCount = view.getFloat64(72, true);
  return {
    kind: replyKinds[view.getUint32(0, true)]!,
    id: view.getUint32(4, true),
    dataBytes: view.getUint32(8, true),
    errno: view.getUint32(12, true),
    elapsedMs: view.getFloat64(16, true),
    direct: view.getUint32(24, true) !== 0,
    isStored: view.getUint32(28, true) !== 0,
    ...(offsetBytes !== noHash && {
      hash: {
        ...{ offsetBytes, byteCount },
        sha256: Uint8Array.from(bytes.subarray(40, 40 + sha256Bytes)),
      },
    }),
  };
}

/** What opening a path showed. */
export type Inspection =
  | { readonly state: 'open'; readonly path: PathIdentity }
  /** The error number of stat or open. */
  | { readonly state: 'refused'; readonly errno: number }
  /** Neither a regular file nor a block device. */
  | { readonly state: 'other-kind' }
  /** A block device whose size neither the device nor /sys tells. */
  | { readonly state: 'no-size' };

/** What the system knows of a path that is open, without reading from it. */
export interface PathIdentity {
  /** Opened past the page cache. */
  readonly isDirect: boolean;
  readonly model: string;
  readonly serial: string;
  readonly firmware: string;
  readonly sizeBytes: number;
  /** Sector sizes, where the system tells them. */
  readonly sectorBytes?: number;
  readonly physicalSectorBytes?: number;
  /** Most bytes that go to the device as one command. */
  readonly readBytesMax: number;
}
