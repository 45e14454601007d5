/** Hashes of a source that is read piece by piece: one for each segment, so that they are of use in whatever order
 * it is read, and tell where two images differ; and of the whole, where it is read in order. */

import { createHash, type Hash } from 'node:crypto';

/** SHA-256 of one segment of the source, from its first byte to its last. */
export interface SegmentHash {
  /** Counts segments from the start of the source. */
  readonly index: number;
  readonly sha256: Uint8Array;
}

/** Sectors of a segment: 64 MiB, in which a difference is found soon, and which come to 16,000 lines a terabyte. */
export function segmentCountOf(sectorBytes: number): number {
  return Math.max(1, Math.floor((64 * 1024 * 1024) / sectorBytes));
}

export interface SegmentHasher {
  /** Takes what was read at an offset of the source, in bytes. Segments that were not read in order, from their
   * first byte on, have no hash. */
  take(offsetBytes: number, data: Uint8Array): void;
}

/** Hashes segments of `segmentBytes`, of which the last one may be shorter; `tell` gets each that is whole. */
export function createSegmentHasher(
  { segmentBytes, sizeBytes }: { readonly segmentBytes: number; readonly sizeBytes: number },
  tell: (hash: SegmentHash) => void,
): SegmentHasher {
  let hash: Hash | undefined;
  let nextBytes = 0;

  function takeWithin(offsetBytes: number, data: Uint8Array): void {
    const index = Math.floor(offsetBytes / segmentBytes);
    if (offsetBytes === index * segmentBytes) hash = createHash('sha256');
    else if (offsetBytes !== nextBytes) hash = undefined;
    nextBytes = offsetBytes + data.length;
    hash?.update(data);
    if (!hash || nextBytes < Math.min(sizeBytes, (index + 1) * segmentBytes)) return;
    tell({ index, sha256: new Uint8Array(hash.digest()) });
    hash = undefined;
  }

  return {
    take(offsetBytes, data) {
      for (let at = 0; at < data.length; ) {
        const from = offsetBytes + at;
        const left = segmentBytes - (from % segmentBytes);
        const piece = data.subarray(at, at + left);
        takeWithin(from, piece);
        at += piece.length;
      }
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

/** A hash of the whole goes the way of a segment's, under a number that no segment has; -1 is none. */
const wholeIndexMax = -2;
const digestBytes: Readonly<Record<WholeAlgorithm, number>> = { sha256: 32, sha1: 20, md5: 16 };

/** The whole's hash as a letter of a segment's size. */
export function asSegmentHash(algorithm: WholeAlgorithm, digest: string): SegmentHash {
  const sha256 = new Uint8Array(digestBytes.sha256);
  sha256.set(Buffer.from(digest, 'hex'));
  return { index: wholeIndexMax - wholeAlgorithms.indexOf(algorithm), sha256 };
}

/** The whole's hash that such a letter has; undefined where it is a segment's. */
export function wholeIn({
  index,
  sha256,
}: SegmentHash): { readonly algorithm: WholeAlgorithm; readonly digest: string } | undefined {
  const algorithm = wholeAlgorithms[wholeIndexMax - index];
  if (!algorithm) return undefined;
  return {
    algorithm,
    digest: Buffer.from(sha256.subarray(0, digestBytes[algorithm])).toString('hex'),
  };
}
