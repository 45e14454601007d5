import type { Extent } from '../map/extent.js';
import { type StatusCode, statuses } from '../map/status.js';

/** A pass is a row, not code: what to read, in which order, and what to do when a read goes wrong. */

/** What an area that an earlier pass left behind was left for. The numbers are what the notes store. */
export const notes = {
  none: 0,
  'skipped-bad': 1,
  'skipped-slow': 2,
  'bad-in-slow': 3,
  /** A read here hung the drive until a hard reset or a power cycle. */
  hung: 4,
} as const;

export type Note = keyof typeof notes;

/** `skip`: jump ahead, further each time, until a read goes well. `leave`: leave the rest of the area
 * for a later pass. `go-on`: take the next read. */
export type Reaction = 'skip' | 'leave' | 'go-on';

/** How the read of one head differs from the row's. */
export interface PerHead {
  /** By number where a head map was given; or those that are good or weak, by what was learned or said. */
  readonly head: number | 'good' | 'weak';
  readonly readCount?: number;
  readonly timeoutMs?: number;
  readonly bytesPerSecondMax?: number;
}

export interface Pass {
  /** Its purpose, for people. */
  readonly name: string;
  /** Which sectors it acts on: copy `?`, trim `*`, scrape `/`, retry `-`. With area `hung`: whatever is
   * neither finished nor bad. */
  readonly phase: 'copy' | 'trim' | 'scrape' | 'retry';
  /** `best-first`: where a read is expected to bring most for its time and strain, by what was learned. */
  readonly direction: 'forward' | 'backward' | 'best-first';
  /** Only areas left for this reason; `any` is everything but hung spots; `after-finished` and
   * `before-finished` are areas that follow or precede a finished sector. */
  readonly area: 'any' | 'after-finished' | 'before-finished' | Exclude<Note, 'none'>;
  /** Only these parts of the drive; absent: all of the job's domain. */
  readonly ranges?: readonly Extent[];
  /** Only sectors of this priority of the job's domain (1 is first); absent: all of the domain. */
  readonly priority?: number;
  /** Only bands of these heads, by number where a head map was given; `weak` is what was learned or said to be
   * weak, `good` everything else. */
  readonly heads?: 'good' | 'weak' | readonly number[];
  readonly perHead?: readonly PerHead[];
  /** Sectors of one read, rounded up to whole physical sectors; reads are aligned to it. */
  readonly readCount: number;
  /** Where no more than `readCount` sectors are left of a run, they are one read, though it crosses a
   * boundary; absent: a read ends at every boundary. */
  readonly joinsRemainder?: boolean;
  readonly onFault: Reaction;
  readonly onSlow: Reaction;
  /** A read that hung the drive: `defer` notes the spot and goes on behind it; `leave` gives the spot up
   * as bad and leaves the area; `go-on-while-gaining` gives it up too, and leaves the area only when the
   * sector before it was none that could be read; `retry` reads it again in place, `hangRetries` times. */
  readonly onHang: 'defer' | 'leave' | 'go-on-while-gaining' | 'retry';
  /** With `retry`: how often a place that hung the drive is read again before it is deferred, or, in rows of
   * hung spots, given up; absent: twice, and once in rows of hung spots. */
  readonly hangRetries?: number;
  /** Sectors next to a spot that hung the drive by itself, rounded up to whole physical sectors, that are not
   * read: a spot is often wider than one. They stay unread. */
  readonly keepAwayCount?: number;
  /** What an area left on a fault is left for. Absent: as it was. */
  readonly leaveAs?: Exclude<Note, 'none'>;
  /** Jumps of `skip`, in sectors: the first, the limit, and by what each grows (2 when absent).
   * `withinRun`: no jump leads beyond the run that the read was in, and each run begins with the first. */
  readonly skip: {
    readonly startCount: number;
    readonly maxCount: number;
    readonly growth?: number;
    readonly withinRun?: boolean;
  };
  readonly timeoutMs: number;
  /** A read that completes later than this is slow; 0 = no limit. */
  readonly slowMs: number;
  /** A read below this rate is slow too; 0 = no limit. */
  readonly bytesPerSecondMin: number;
  /** The row ends after so many failing reads, or so much reading; 0 or absent = no limit. What it did not
   * reach stays as it is. */
  readonly faultsMax?: number;
  readonly durationMaxMs?: number;
  /** No faster than this on average; 0 or absent = no cap. */
  readonly bytesPerSecondMax?: number;
  /** Heads parked for `restMs` after so much reading or so many failing reads (0 = never). */
  readonly rest?: {
    readonly afterMs: number;
    readonly afterFaults: number;
    readonly restMs: number;
  };
  /** Resets that the ladder may use during this row; absent: all that the path has. */
  readonly resets?: readonly ('abort' | 'soft' | 'hard')[];
  /** Power cycles during this row, within the drive kind's budget; absent: only that. */
  readonly powerCyclesMax?: number;
  /** The drive's own look-ahead and retries, where it lets us set them; absent: as the drive likes. */
  readonly lookAhead?: boolean;
  readonly driveRetries?: boolean;
  readonly before:
    | { readonly kind: 'none' }
    | { readonly kind: 'power-cycle' }
    | { readonly kind: 'rest'; readonly restMs: number };
  /** When the drive cannot be brought back during this pass: `stop` ends the job (exit 32); `next` cuts
   * the power once more and, if the drive comes back, goes on with the next pass. */
  readonly ifHung: 'stop' | 'next';
}

/** Limit in ms beyond which a read of `count` sectors counts as slow; 0 = none. */
export function slowLimitMs(pass: Pass, count: number, sectorBytes: number): number {
  const byRate =
    pass.bytesPerSecondMin > 0 ? (count * sectorBytes * 1000) / pass.bytesPerSecondMin : 0;
  if (pass.slowMs === 0 || byRate === 0) return Math.ceil(pass.slowMs + byRate);
  return Math.ceil(Math.min(pass.slowMs, byRate));
}

/** Whether a row goes from low to high LBAs; `best-first` does where it has nothing better to go by. */
export function isForward(pass: Pick<Pass, 'direction'>): boolean {
  return pass.direction !== 'backward';
}

/** Statuses that a pass acts on. */
export function actsOn(pass: Pass): readonly StatusCode[] {
  if (pass.area === 'hung' || (pass.direction === 'best-first' && pass.phase !== 'retry'))
    return [statuses['non-tried'], statuses['non-trimmed'], statuses['non-scraped']];
  switch (pass.phase) {
    case 'copy':
      return [statuses['non-tried']];
    case 'trim':
      return [statuses['non-trimmed']];
    case 'scrape':
      return [statuses['non-scraped']];
    case 'retry':
      return [statuses['bad-sector']];
  }
}

/** The note of the areas that a pass is for; undefined where no note says what it takes. */
export function noteOf({ area }: Pass): number | undefined {
  if (area === 'any' || area === 'after-finished' || area === 'before-finished') return undefined;
  return notes[area];
}

/** Whether what a row reads does not depend on how long good reads took. */
export function isBlind({ direction, heads, perHead }: Pass): boolean {
  return direction !== 'best-first' && heads === undefined && perHead === undefined;
}
