/** Hashes of a source that is read piece by piece: of each stretch that was read in order, within segments, so that
 * they are of what was read in whatever order, and tell where two images differ; and of the whole, where it is read
 * in order. */

import { createHash, type Hash } from 'node:crypto';

/** SHA-256 of a stretch of the source that was read in order, within one segment. */
export interface StretchHash {
  /** From the start of the source. */
  readonly offsetBytes: number;
  readonly byteCount: number;
  readonly sha256: Uint8Array;
}

/** Sectors of a segment: 64 MiB, in which a difference is found soon, and which come to 16,000 lines a terabyte. */
export function segmentCountOf(sectorBytes: number): number {
  return Math.max(1, Math.floor((64 * 1024 * 1024) / sectorBytes));
}

export interface SegmentHasher {
  /** Takes what was read at an offset of the source, in bytes. What does not follow what was taken last begins a
   * stretch; where it comes a second time, the stretch that has it is dropped. */
  take(offsetBytes: number, data: Uint8Array): void;
  /** Nobody knows any more what these bytes are. */
  drop(offsetBytes: number, byteCount: number): void;
  /** Tells of the stretch that has begun, as far as it goes; it is told of again, with more, when it has ended. */
  tellBegun(): void;
}

/** Hashes stretches, which end with a segment of `segmentBytes`; `tell` gets each that has ended. */
export function createSegmentHasher(
  { segmentBytes, sizeBytes }: { readonly segmentBytes: number; readonly sizeBytes: number },
  tell: (hash: StretchHash) => void,
): SegmentHasher {
  let begun: Hash | undefined;
  let fromBytes = 0;
  let nextBytes = 0;

  function tellOf(hash: Hash): void {
    const sha256 = new Uint8Array(hash.digest());
    tell({ offsetBytes: fromBytes, byteCount: nextBytes - fromBytes, sha256 });
  }

  function end(): void {
    if (begun) tellOf(begun);
    begun = undefined;
  }

  function takeWithin(offsetBytes: number, data: Uint8Array): void {
    if (offsetBytes !== nextBytes) end();
    if (!begun) fromBytes = offsetBytes;
    begun ??= createHash('sha256');
    begun.update(data);
    nextBytes = offsetBytes + data.length;
    const segmentEnd = (Math.floor(offsetBytes / segmentBytes) + 1) * segmentBytes;
    if (nextBytes >= Math.min(sizeBytes, segmentEnd)) end();
  }

  function drop(offsetBytes: number, byteCount: number): void {
    if (offsetBytes < nextBytes && offsetBytes + byteCount > fromBytes) begun = undefined;
  }

  return {
    take(offsetBytes, data) {
      drop(offsetBytes, data.length);
      for (let at = 0; at < data.length; ) {
        const from = offsetBytes + at;
        const left = segmentBytes - (from % segmentBytes);
        const piece = data.subarray(at, at + left);
        takeWithin(from, piece);
        at += piece.length;
      }
    },
    drop,
    tellBegun() {
      if (begun) tellOf(begun.copy());
    },
  };
}

/** What a whole image may be hashed with, best first. */
export const wholeAlgorithms = ['sha256', 'sha1', 'md5'] as const;
export type WholeAlgorithm = (typeof wholeAlgorithms)[number];

/** Hex digits by algorithm. */
export type WholeHashes = ReadonlyMap<WholeAlgorithm, string>;

export interface RunningHashes {
  /** Takes what goes into the image at an offset in bytes. Anything but the next bytes spoils it for good. */
  take(offsetBytes: number, data: Uint8Array): void;
  /** Something else than what was taken may be in the image. */
  spoil(): void;
  /** What was taken from the image's first byte to its last; undefined where that was not so. */
  finish(): WholeHashes | undefined;
}

/** Hashes an image of so many bytes that is written in order, from its first byte on. */
export function createRunningHashes(
  algorithms: readonly WholeAlgorithm[],
  sizeBytes: number,
): RunningHashes {
  let hashes: Map<WholeAlgorithm, Hash> | undefined = new Map(
    algorithms.map((algorithm) => [algorithm, createHash(algorithm)]),
  );
  let nextBytes = 0;
  return {
    take(offsetBytes, data) {
      if (offsetBytes !== nextBytes) hashes = undefined;
      nextBytes = offsetBytes + data.length;
      for (const hash of hashes?.values() ?? []) hash.update(data);
    },
    spoil() {
      hashes = undefined;
    },
    finish() {
      if (!hashes || nextBytes !== sizeBytes) return undefined;
      return new Map(
        [...hashes].map(([algorithm, hash]) => [algorithm, hash.copy().digest('hex')]),
      );
    },
  };
}

/** A hash of the whole goes the way of a stretch's, at an offset that no stretch has; -1 is none. */
const wholeOffsetMax = -2;
const digestBytes: Readonly<Record<WholeAlgorithm, number>> = { sha256: 32, sha1: 20, md5: 16 };

/** The whole's hash as a letter of a stretch's size. */
export function asStretchHash(algorithm: WholeAlgorithm, digest: string): StretchHash {
  const sha256 = new Uint8Array(digestBytes.sha256);
  sha256.set(Buffer.from(digest, 'hex'));
  const offsetBytes = wholeOffsetMax - wholeAlgorithms.indexOf(algorithm);
  return { offsetBytes, byteCount: 0, sha256 };
}

/** The whole's hash that such a letter has; undefined where it is a stretch's. */
export function wholeIn({
  offsetBytes,
  sha256,
}: StretchHash): { readonly algorithm: WholeAlgorithm; readonly digest: string } | undefined {
  const algorithm = wholeAlgorithms[wholeOffsetMax - offsetBytes];
  if (!algorithm) return undefined;
  return {
    algorithm,
    digest: Buffer.from(sha256.subarray(0, digestBytes[algorithm])).toString('hex'),
  };
}
