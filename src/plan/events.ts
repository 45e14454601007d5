import type { Extent } from '../map/extent.js';
import type { Status } from '../map/status.js';
import type { HeadMapData } from './head-map-schema.js';
import type { Pass } from './pass.js';

/** What a read turned out to be, without its data. `lba` and `count` are what was asked. */
export interface ReadEvent {
  readonly kind: 'read';
  /** `reference` reads probe the drive's health, `compare` reads look whether a sector changes; neither
   * changes the map. */
  readonly role: 'pass' | 'reference' | 'compare';
  readonly lba: number;
  readonly count: number;
  readonly outcome: 'good' | 'slow' | 'fault' | 'timeout' | 'not-attempted' | 'gone';
  /** Sectors from the front that are in the image. */
  readonly goodCount: number;
  readonly elapsedMs: number;
  /** For faults: a medium error, or anything else. */
  readonly cause?: 'medium' | 'unexplained';
  /** First LBA that failed, where the drive told it. */
  readonly faultLba?: number;
  /** The drive's own words (sense, registers, errno), for people. */
  readonly detail?: string;
  /** The same as numbers (SPC-4 clause 4.5), where the drive gave sense data. */
  readonly sense?: { readonly key: number; readonly asc: number; readonly ascq: number };
  /** Of a row that goes by what it learns: how many reads were under way when this one was sent. */
  readonly ahead?: number;
  /** The limits that a read did not keep: its deadline, and what it was called slow by. */
  readonly timeoutMs?: number;
  readonly slowMs?: number;
}

/** The verdict after something else than a medium error.
 * - `place`: the drive is well; the read's own place is to blame.
 * - `hang`: the drive had to be brought back; that read is the likely trigger.
 * - `drive`: the drive was unwell everywhere; nothing is to blame but it. */
export interface BlamedEvent {
  readonly kind: 'blamed';
  readonly on: 'place' | 'hang' | 'drive';
  readonly why: string;
  /** The read that it is about. */
  readonly of?: Extent;
}

/** What somebody changed while the job ran. */
export type ChangeEvent =
  /** `what` says the change in words. */
  | { readonly kind: 'rows-changed'; readonly passes: readonly Pass[]; readonly what: string }
  /** The next read of the pass is at or (backwards) below this LBA. */
  | { readonly kind: 'jumped'; readonly lba: number }
  | { readonly kind: 'excluded'; readonly ranges: readonly Extent[] }
  /** The pass ends as soon as nothing is under way. */
  | { readonly kind: 'stepped-on'; readonly index: number };

export type PlanEvent =
  | ReadEvent
  | BlamedEvent
  | ChangeEvent
  /** Data that the drive seems to have made up, as pairs of LBA and count: it is not claimed any more. */
  | {
      readonly kind: 'doubted';
      readonly why: string;
      readonly extents: readonly number[];
      /** Bytes a second that the media was seen to give; 0 = unknown. */
      readonly mediaRate: number;
    }
  /** What the image no longer holds, as pairs of LBA and count: it was cut, edited or replaced between two runs. It
   * is not claimed any more, and the passes begin anew for it. */
  | { readonly kind: 'image-changed'; readonly why: string; readonly extents: readonly number[] }
  /** Which head reads what, as somebody said; `null` forgets it. Where it is news the passes begin anew, on the
   * same map. */
  | { readonly kind: 'heads-given'; readonly heads: HeadMapData | null }
  | { readonly kind: 'pass-started'; readonly index: number; readonly name: string }
  | { readonly kind: 'pass-ended'; readonly index: number; readonly why?: string }
  /** A new round of a best-first pass: the least yield worth reading, as a share of healthy reading's. */
  | {
      readonly kind: 'priced';
      readonly price: number;
      readonly lba: number;
      readonly why?: string;
    }
  /** The damage tells that a physical sector has so many logical ones. */
  | { readonly kind: 'physical-learned'; readonly count: number; readonly why?: string }
  /** The pass turns to what a jump had left behind. */
  | {
      readonly kind: 'went-back';
      readonly lba: number;
      readonly count: number;
      readonly why?: string;
    }
  /** A conclusion without a read: both edges of a trimmed run are known. */
  | {
      readonly kind: 'classified';
      readonly lba: number;
      readonly count: number;
      readonly status: Status;
      readonly why?: string;
    };
