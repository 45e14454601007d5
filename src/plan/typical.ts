/** How long a read takes where the drive is well, by its size: the median of reads that went on where the last one
 * ended. Medians, because one read in a hundred waits for something else: the computer, a retry, heat. */
export interface Typical {
  /** Milliseconds by the size's logarithm (base 2, sectors); 0 = none yet. */
  readonly ms: Float64Array;
}

const sizes = 24;
/** Each read moves the median by this much. */
const step = 1.05;
/** Before anything was read: as a hard drive behind a quick link. */
const firstOverheadMs = 0.2;
const firstSectorMs = 0.005;
/** No read is quicker: what is worth reading is a share of this, and must not come to nothing by nothing. */
export const typicalLeastMs = 0.001;
/** What took longer than this many times the typical is no typical read. */
const outlierFactor = 4;

export function createTypical(): Typical {
  return { ms: new Float64Array(sizes) };
}

function sizeOf(count: number): number {
  return Math.min(sizes - 1, Math.max(0, Math.floor(Math.log2(count))));
}

/** Milliseconds that `count` sectors typically take. Where no read of about this size was seen: no longer than a
 * longer read, and in proportion to a shorter one. */
export function typicalMs({ ms }: Typical, count: number): number {
  const size = sizeOf(count);
  if (ms[size]! > 0) return ms[size]!;
  for (let longer = size + 1; longer < sizes; longer++) if (ms[longer]! > 0) return ms[longer]!;
  for (let shorter = size - 1; shorter >= 0; shorter--) {
    if (ms[shorter]! > 0) return ms[shorter]! * 2 ** (size - shorter);
  }
  return firstOverheadMs + count * firstSectorMs;
}

/** Takes in a good read that went on where the last one ended. */
export function foldTypical(typical: Typical, count: number, elapsedMs: number): void {
  const size = sizeOf(count);
  const { ms } = typical;
  if (ms[size] === 0) {
    const isKnown = ms.some((each) => each > 0);
    const most = isKnown ? typicalMs(typical, count) : elapsedMs;
    ms[size] = Math.max(typicalLeastMs, Math.min(elapsedMs, most));
  } else if (elapsedMs < outlierFactor * ms[size]!) {
    const next = ms[size]! * (elapsedMs > ms[size]! ? step : 1 / step);
    ms[size] = Math.max(typicalLeastMs, next);
  }
}

/** Milliseconds of one sector in the longest reads made. */
export function healthySectorMs(typical: Typical): number {
  for (let size = sizes - 1; size >= 0; size--) {
    if (typical.ms[size]! > 0) return typical.ms[size]! / 2 ** size;
  }
  return firstSectorMs;
}
