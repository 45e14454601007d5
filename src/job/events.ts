import type { ResetKind } from '../drive/drive.js';
import type { Status } from '../map/status.js';
import type { PlanEvent } from '../plan/events.js';
import type { TroubleEvent } from '../power/ladder.js';
import type { LeftOff } from '../power/power.js';
import type { TemperatureEvent } from './heat.js';

/** Why a verdict was passed that nobody reached: what was suspected gets its former status back. */
export const endedBeforeVerdict = 'the job ended before the verdict';

/** What is written where nothing was read, as it was asked for: into what was not, into what could not be, and behind
 * the drive's last sector on a clone's target. */
export interface FillRecord {
  readonly unread?: string;
  readonly unreadable?: string;
  readonly excess?: string;
}

/** Everything that happens in a job, in order. State is folded from these, the journal holds them, and
 * terminal, page and report are made of them. Times are milliseconds of the job's clock. */
export type JobEvent = { readonly atMs: number } & (
  | PlanEvent
  | Exclude<TroubleEvent, { kind: 'read' | 'blamed' }>
  | {
      readonly kind: 'started';
      /** Whether an earlier run of the same job is continued. */
      readonly resumed: boolean;
      readonly drive: string;
      readonly image: string;
      /** What can be done about the drive besides reading. */
      readonly reach?: {
        readonly resets: readonly ResetKind[];
        readonly power: boolean;
        readonly temperature: boolean;
      };
    }
  /** As much is known of these sectors as reading again tells. */
  | { readonly kind: 'compared'; readonly lba: number; readonly count: number }
  /** Readings of these sectors differed; `agreeing` of them gave what the image now has. */
  | {
      readonly kind: 'varied';
      readonly lba: number;
      readonly count: number;
      readonly versions: number;
      readonly agreeing: number;
    }
  /** What these sectors were when they were read; their reads are on record before. Stretches below a MiB have none. */
  | {
      readonly kind: 'hashed';
      readonly lba: number;
      readonly count: number;
      readonly sha256: string;
    }
  /** What was not read, or could not be, is about to be filled in the image. No sector is finished by that. */
  | ({ readonly kind: 'filled' } & FillRecord)
  /** The job ends and leaves the drive without power. */
  | ({ readonly kind: 'powered-off' } & LeftOff)
  /** The drive's own count of power cycles told what a switch does: `resets` unproven ones before were power
   * cycles. */
  | {
      readonly kind: 'power-proven';
      readonly power: string;
      readonly cuts: boolean;
      readonly resets: number;
    }
  | { readonly kind: 'power-failed'; readonly power: string; readonly why: string }
  /** The disk that image, map and journal are on has no room for this file, which needs `neededBytes`. Nothing is
   * read until it has. */
  | {
      readonly kind: 'target-full';
      readonly path: string;
      readonly neededBytes: number;
      readonly freeBytes: number;
    }
  /** It has room again, and what waited is written. */
  | { readonly kind: 'target-again'; readonly waitedMs: number }
  /** Somebody wants the drive left alone, until `resumed` or the next run. */
  | { readonly kind: 'paused' }
  | { readonly kind: 'resumed' }
  /** One of the drive's own settings; where it is not to be had, why not. */
  | {
      readonly kind: 'drive-tuned';
      readonly setting: 'lookAhead' | 'driveRetries';
      readonly value: boolean;
      readonly ok: boolean;
      readonly why?: string;
    }
  | TemperatureEvent
  /** What the imager said unasked. */
  | { readonly kind: 'noticed'; readonly text: string }
  | { readonly kind: 'gave-up'; readonly why: string }
  /** What was wanted once the job had ended (`--then`); where it failed, why, else what it found or made. */
  | {
      readonly kind: 'acted';
      readonly action: string;
      readonly ok: boolean;
      readonly why?: string;
      readonly told?: string;
      readonly verdict?: 'unchanged' | 'changed' | 'cannot-tell';
    }
  | {
      readonly kind: 'ended';
      readonly how: 'finished' | 'gave-up' | 'interrupted' | 'failed';
      readonly why: string;
      /** Sectors of the whole drive by status. */
      readonly counts?: Readonly<Record<Status, number>>;
    }
);

/** One `JobEvent` without its time. */
export type JobEventBody = JobEvent extends infer E
  ? E extends JobEvent
    ? Omit<E, 'atMs'>
    : never
  : never;
