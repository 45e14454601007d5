import type { Clock } from '../clock.js';
import type { DataDetector } from '../drive/detectors.js';
import type { Drive, DriveIdentity } from '../drive/drive.js';
import type { Extent } from '../map/extent.js';
import type { HeadMapData } from '../plan/head-map-schema.js';
import type { Power } from '../power/power.js';
import type { JobControl } from './control.js';
import type { JobEvent, JobEventBody } from './events.js';
import type { Recorder } from './recorder.js';
import type { JobState } from './state.js';
import type { Target } from './target.js';

/** Everything with effects that a job needs. */
export interface JobParts {
  readonly drive: Drive;
  /** Switches in order of preference; the next is tried when one fails. */
  readonly powers: readonly Power[];
  readonly image: {
    write(lba: number, data: Uint8Array): Promise<void>;
    /** Reads of these sectors were given up while the path to the drive may have been writing them here itself. */
    forget(extent: Extent): void;
    /** What was written before. */
    read(extent: Extent): Promise<Uint8Array>;
    /** Whether it still holds what was read: looks at a part of it, and at all where that is odd. Returns the event
     * that says what is to be read again. */
    lookBack?(signal: AbortSignal): Promise<JobEventBody | undefined>;
    /** Keeps what the readings of a sector were, one line each. */
    keepVersions(line: string): Promise<void>;
  };
  readonly recorder: Recorder;
  /** The files beside the image: who is told when somebody touched them. */
  readonly files?: { onNotice(handler: (text: string) => void): void };
  /** The disk that all that is written to; absent: a full one ends the job. */
  readonly target?: Target;
  readonly clock: Clock;
  /** The drive that this job is about; another one is refused. */
  readonly identity: DriveIdentity;
  /** Looks for data that the drive made up; absent where nobody can tell. */
  readonly detector?: DataDetector;
  /** The user's word that the drive's data is to be taken as it comes. */
  readonly isTrusted?: boolean;
  /** The head map that this run was given, on record before its first read; null forgets an earlier one, absent
   * keeps it. */
  readonly heads?: HeadMapData | null;
  /** Whether an earlier run is continued. */
  readonly resumed: boolean;
  /** What drive and image are called, for people. */
  readonly names: { readonly drive: string; readonly image: string };
  /** By which the job can be changed while it runs. */
  readonly control?: JobControl;
  /** Told of every event after it was folded. Must not throw. */
  readonly onEvent: (event: JobEvent, state: JobState) => void;
}

/** Folds, records and shows one event. */
export type Note = (event: JobEventBody) => void;
