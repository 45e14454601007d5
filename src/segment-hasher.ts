/** Hashes of segments of a source that is read piece by piece: one for each, so that they are of use in whatever
 * order it is read, and tell where two images differ. */

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
