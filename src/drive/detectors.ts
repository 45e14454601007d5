/** Made-up data: what a drive returns as good although it never came from its media.
 *
 * Content alone proves nothing: drives are full of zeros, of 0xFF, of one repeated pattern. So a stretch of
 * such reads is doubted only for how it came:
 * - *faster than media*: on a drive that turns, for longer than its cache can explain. What turns cannot
 *   deliver zeros faster than anything else, nor faster than any platters; other data may have come slowly
 *   because the drive is weak there. A link slower than the media hides that from the laptop's clock,
 *   and shows zeros as fast as it likes where they travel as fills; then the times that the drive took tell,
 *   if no cache and no bus is as quick either. Solid-state drives
 *   answer zeros for trimmed sectors at once, and are not judged by this.
 * - *late*: a bridge that calls failing reads good has its data from nowhere: it comes as late as a failure
 *   would, and is blank or the same as the read before, between data that is neither. One such read is
 *   chance; a row of them is not, where reads that came in time were hardly ever like that.
 * - *stuck*: reads that bring, byte for byte, what the read before them brought, though no two sectors of it need
 *   be alike. One such pair is a copy beside its original; several among reads that are all different are a
 *   buffer that nobody filled.
 * - *stale*: reads that follow a failed one and repeat, byte for byte, what other places held, on a drive
 *   that did not repeat itself before.
 *
 * Limits: zeros at the pace of the fastest platters, which a bridge on USB 2 cannot exceed, or that come in
 * stretches shorter than the window, or between failures that are told, at the bus's
 * pace through a link slower than the media, or at the media's own pace pass unseen; so does a buffer that is
 * stuck with no more than a page of 16 KiB, and a stale buffer that comes in time in reads of a few sectors
 * without a failed read before it, and made-up data between slow reads that bring what is there. A shingled
 * drive that honours TRIM answers zeros for trimmed zones as fast as one that lost its translator: that is
 * the user's to decide. */

import type { Extent } from '../map/extent.js';
import type { ReadResult } from './drive.js';

/** Reads that are not to be believed. */
export interface Doubt {
  readonly why: string;
  /** What came during the doubtful stretch, oldest first, the read that raised it included. */
  readonly extents: readonly Extent[];
  /** Best rate of ordinary data so far, in bytes a second, for a detector that goes on later; 0 = unknown. */
  readonly bestRate: number;
}

export interface DataDetector {
  /** Looks at a read that ended at `atMs`, in the order of the results. */
  look(extent: Extent, result: ReadResult, atMs: number): Doubt | undefined;
}

export interface DetectorOptions {
  /** The drive has platters. */
  readonly turns: boolean;
  readonly sectorBytes: number;
  readonly sectorCount: number;
  /** `bestRate` of an earlier doubt. */
  readonly bestRate?: number;
}

/** More than a cache holds of one stretch: 128 MiB, or a sixteenth of a smaller drive. */
const windowBytesMax = 128 * 1024 * 1024;
const windowShare = 1 / 16;
/** Times the best rate of ordinary data that is beyond any zone of the platters: rates fall to about half
 * from the outer edge to the inner one. */
const rateFactor = 2.5;
/** Bytes a second that one stretch of platters may give, however slow other data came: that may lie where the
 * drive is weak. The fastest drives give 300e6. */
const mediaRateMax = 330e6;
/** Bytes a second that no platter gives, where no ordinary data has been seen: two actuators reach 550e6. */
const rateMax = 620e6;
/** Bytes a second that no bus of a drive with platters carries: SATA at 6 Gbit/s, 8b/10b encoded. */
const busRateMax = 600e6;
/** Times faster by the drive's own clock than by the laptop's: then the link sets the pace. */
const linkLagFactor = 2;
/** A read is late from here on, if it also took so many times as long as reads do. */
const lateMs = 300;
const lateFactor = 10;
/** Reads in time that must have been seen before anybody can say what is usual. */
const usualMin = 64;
/** How likely it may be that a row of late reads is blank or repeated by chance. */
const chanceMax = 1e-9;
/** A failed read casts doubt on so many reads behind it. */
const staleReads = 16;
/** So many of them that repeat other places raise the alarm. */
const staleHits = 3;
/** Reads whose data is kept to compare with. */
const keptMax = 8;
/** Reads that must have been all different before anybody can say that the drive did not repeat itself. */
const differentMin = 64;
/** What file systems and databases call a page, at most. */
const pageBytesMax = 16 * 1024;

/** A detector for one drive. Give it the reads of the passes only: a place read again repeats itself. */
export function createDataDetector(options: DetectorOptions): DataDetector {
  const speed = options.turns ? createSpeedDetector(options) : undefined;
  const late = createLateDetector();
  const stale = createStaleDetector(options.sectorBytes);
  const stuck = createStuckDetector(options.sectorBytes);
  return {
    look: (extent, result, atMs) =>
      speed?.look(extent, result, atMs) ??
      late.look(extent, result, atMs) ??
      stale.look(extent, result, atMs) ??
      stuck.look(extent, result, atMs),
  };
}

/** Whether all sectors are alike, which zeros and every repeated pattern are. */
function isRepeated(data: Uint8Array, sectorBytes: number): boolean {
  return isPeriodic(data, Math.min(sectorBytes, data.length));
}

/** Whether it is one byte over and over. */
const isUniform = (data: Uint8Array) => isPeriodic(data, 1);

function isPeriodic(data: Uint8Array, period: number): boolean {
  return sameBytes(data.subarray(period), data.subarray(0, data.length - period));
}

const sameBytes = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;

/** A stretch of reads of one sort, ordinary or repeated, and the time it took. */
interface Stretch {
  repeated: boolean;
  bytes: number;
  fromMs: number;
  /** What the reads took on the drive, in all. */
  driveMs: number;
  extents: Extent[];
}

function createSpeedDetector({
  sectorBytes,
  sectorCount,
  bestRate: earlierRate = 0,
}: DetectorOptions): DataDetector {
  const windowBytes = Math.min(windowBytesMax, sectorCount * sectorBytes * windowShare);
  let bestRate = earlierRate;
  /** The same by the drive's own times; 0 = no ordinary data yet. */
  let bestDriveRate = 0;
  let lastMs: number | undefined;
  let stretch: Stretch | undefined;
  /** The windows before that were faster than the media, and the one before those: a made-up stretch may begin
   * in it. */
  let before: Extent[] = [];
  return {
    look(extent, { kind, goodCount, data, elapsedMs }, atMs) {
      const fromMs = lastMs ?? atMs;
      lastMs = atMs;
      if ((kind !== 'good' && kind !== 'slow') || goodCount === 0) {
        // What follows a failure waited for the drive, not for its media.
        stretch = undefined;
        before = [];
        return undefined;
      }
      const repeated = isRepeated(data, sectorBytes);
      if (stretch?.repeated !== repeated) {
        stretch = { repeated, bytes: 0, fromMs, driveMs: 0, extents: [] };
        before = [];
      }
      stretch.bytes += data.length;
      stretch.driveMs += elapsedMs;
      if (repeated) addExtent(stretch.extents, extent);
      if (stretch.bytes < windowBytes) return undefined;
      const { bytes, extents } = stretch;
      const rate = rateOf(bytes, atMs - stretch.fromMs);
      const driveRate = rateOf(bytes, stretch.driveMs);
      stretch = { repeated, bytes: 0, fromMs: atMs, driveMs: 0, extents: [] };
      if (!repeated) {
        bestRate = Math.max(bestRate, rate);
        bestDriveRate = Math.max(bestDriveRate, driveRate);
      }
      // Ordinary data that the drive had ready much sooner waited for the link.
      const linkLags = bestDriveRate > bestRate * linkLagFactor;
      const mediaLimit = bestRate > 0 ? Math.max(mediaRateMax, bestRate * rateFactor) : rateMax;
      const limit = linkLags ? Infinity : mediaLimit;
      const driveLimit = Math.max(busRateMax, bestDriveRate * rateFactor);
      const why =
        rate > limit
          ? tooFast(data, rate, bestRate)
          : bestDriveRate > 0 && driveRate > driveLimit
            ? tooFast(data, driveRate, bestDriveRate)
            : undefined;
      const isCached = bestDriveRate > 0 && driveRate > bestDriveRate * rateFactor;
      const doubtful = [...before];
      for (const each of extents) addExtent(doubtful, each);
      before = isCached ? doubtful : extents;
      return repeated && why ? { why, extents: doubtful, bestRate } : undefined;
    },
  };
}

function rateOf(bytes: number, ms: number): number {
  return (bytes * 1000) / Math.max(1e-3, ms);
}

function tooFast(data: Uint8Array, rate: number, bestRate: number): string {
  const what = isUniform(data) && data[0] === 0 ? 'zeros' : 'one and the same sector';
  const megabytes = (value: number) => `${Math.round(value / 1e6)} MB/s`;
  const than = bestRate > 0 ? `at most ${megabytes(bestRate)} for other data` : 'no platter can';
  return `the drive returns ${what} at ${megabytes(rate)}, ${than}`;
}

/** Joins neighbours, so that a stretch read in order is one extent. */
function addExtent(extents: Extent[], extent: Extent): void {
  const last = extents.at(-1);
  if (last && last.lba + last.count === extent.lba)
    extents[extents.length - 1] = { lba: last.lba, count: last.count + extent.count };
  else extents.push(extent);
}

/** Only reads next to one that held something are judged: what is slow in a blank stretch is blank. */
function createLateDetector(): DataDetector {
  let last: Kept | undefined;
  /** Judged reads in time: how many, how many of them empty, and the time they took. */
  let usual = { count: 0, empty: 0, ms: 0 };
  /** Late and empty reads since a late one held something. */
  let row: Extent[] = [];

  function judge(extent: Extent, isEmpty: boolean, elapsedMs: number): Doubt | undefined {
    const { count, empty, ms } = usual;
    const isLate = elapsedMs >= Math.max(lateMs, (lateFactor * ms) / Math.max(1, count));
    if (!isLate) {
      usual = { count: count + 1, empty: empty + (isEmpty ? 1 : 0), ms: ms + elapsedMs };
      return undefined;
    }
    row = isEmpty ? [...row, extent] : [];
    const chance = ((empty + 1) / (count + 2)) ** row.length;
    if (count < usualMin || chance > chanceMax) return undefined;
    const why = `late reads bring nothing of their own: ${row.length} in a row were blank or what the read before held, the last at LBA ${extent.lba}`;
    return { why, extents: row, bestRate: 0 };
  }

  return {
    look(extent, { kind, data, elapsedMs }) {
      const before = last;
      const isWhole = (kind === 'good' || kind === 'slow') && data.length > 0;
      const isBlank = isWhole && isUniform(data);
      last = isWhole && !isBlank ? { extent, data } : undefined;
      if (!isWhole || !before || !areNeighbours(before.extent, extent)) return undefined;
      const isEmpty = isBlank || startsAlike(before.data, data);
      // What may be made up is no measure for what follows.
      if (isEmpty) last = undefined;
      return judge(extent, isEmpty, elapsedMs);
    },
  };
}

/** Whether it is one page over and over, as lies in files that were made to test a disk, or to have their room
 * in a database: such files go on through many reads. */
function isPages(data: Uint8Array, sectorBytes: number): boolean {
  for (let bytes = sectorBytes; bytes <= pageBytesMax && bytes < data.length; bytes *= 2)
    if (isPeriodic(data, bytes)) return true;
  return false;
}

/** Sectors that a read must have for its content to be its own. */
const stuckCountMin = 8;
/** Pairs of reads alike that are no chance, and how many different reads each must stand among. */
const stuckPairs = 4;
const stuckShare = 16;
/** Pairs further apart, in different reads, are copies here and there. */
const stuckWindow = 1024;

/** Keeps the read that a buffer may be stuck with; what repeats it does not replace it. */
function createStuckDetector(sectorBytes: number): DataDetector {
  let last: Uint8Array | undefined;
  let different = 0;
  let alike: { readonly extent: Extent; readonly after: number }[] = [];
  return {
    look(extent, { kind, data }) {
      const isWhole = kind === 'good' || kind === 'slow';
      if (!isWhole || data.length < stuckCountMin * sectorBytes) return undefined;
      if (isPages(data, sectorBytes)) return undefined;
      if (!last || !startsAlike(last, data)) {
        last = data;
        different += 1;
        return undefined;
      }
      alike = alike.filter(({ after }) => different - after < stuckWindow);
      alike.push({ extent, after: different });
      if (alike.length < stuckPairs || different < stuckShare * alike.length) return undefined;
      const why = `${alike.length} reads brought what the read before each had brought, the last at LBA ${extent.lba}`;
      return { why, extents: alike.map((pair) => pair.extent), bestRate: 0 };
    },
  };
}

const areNeighbours = (a: Extent, b: Extent) =>
  a.lba + a.count === b.lba || b.lba + b.count === a.lba;

function startsAlike(a: Uint8Array, b: Uint8Array): boolean {
  const length = Math.min(a.length, b.length);
  return sameBytes(a.subarray(0, length), b.subarray(0, length));
}

interface Kept {
  readonly extent: Extent;
  readonly data: Uint8Array;
}

function createStaleDetector(sectorBytes: number): DataDetector {
  const kept: Kept[] = [];
  /** Reads in a row that held something and repeated nothing, before the last failure. */
  let different = 0;
  /** Reads since the last failure, and those of them that repeated others. */
  let since: Extent[] | undefined;
  let hits = 0;

  function look(extent: Extent, data: Uint8Array): Doubt | undefined {
    const repeats = repeatsOther(kept, data, sectorBytes);
    kept.push({ extent, data });
    if (kept.length > keptMax) kept.shift();
    if (since && since.length < staleReads) {
      since.push(extent);
      if (repeats) hits += 1;
      if (hits < staleHits || different < differentMin) return undefined;
      const why = `after a failed read the drive returns at LBA ${extent.lba} what other places held`;
      return { why, extents: since, bestRate: 0 };
    }
    since = undefined;
    different = repeats ? 0 : different + (isUniform(data) ? 0 : 1);
    return undefined;
  }

  return {
    look(extent, { kind, data, goodCount }) {
      const isWhole = kind === 'good' || kind === 'slow';
      if (isWhole && goodCount > 0) return look(extent, data);
      if (!isWhole && kind !== 'not-attempted') {
        since = [];
        hits = 0;
      }
      return undefined;
    },
  };
}

/** Whether the data, unless it is a single byte over and over, is what another place held: all of it, or the
 * last sector of the read before in every place. */
function repeatsOther(kept: readonly Kept[], data: Uint8Array, sectorBytes: number): boolean {
  const first = data.subarray(0, sectorBytes);
  if (isUniform(first)) return false;
  if (kept.some((other) => sameBytes(other.data, data))) return true;
  const last = kept.at(-1)?.data;
  if (!last || last.length < sectorBytes) return false;
  return isRepeated(data, sectorBytes) && sameBytes(last.subarray(-sectorBytes), first);
}
