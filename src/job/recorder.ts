import { type Clock, wallMs } from '../clock.js';
import type { JobEvent } from './events.js';
import {
  type Attempts,
  behind,
  createAttempts,
  joinReads,
  type RecordedEvent,
} from './recorded.js';
import type { JobState } from './state.js';

/** What makes a job's progress durable, in the only safe order: image synced, then the journal says so, then the
 * event log; and now and then a checkpoint replaces the journal. */
export interface DurableFiles {
  syncImage(): Promise<void>;
  /** To the journal, durably. The same events again are passed over. */
  appendJournal(events: readonly RecordedEvent[]): Promise<void>;
  /** To the event log, after the journal has them. The same events again are passed over. */
  appendLog(events: readonly RecordedEvent[]): Promise<void>;
  /** Bytes of the journal since the last checkpoint. */
  journalBytes(): number;
  /** Replaces map file and journal by a snapshot of the state. */
  checkpoint(state: JobState): Promise<void>;
}

export interface Recorder {
  /** Takes an event whose data is already written to the image, and the state that it was just folded into. */
  record(event: JobEvent, state: JobState): void;
  /** Starts a commit when one is due. Throws what a commit under way met. */
  tick(): void;
  checkpointDue(): boolean;
  /** Makes everything recorded durable, and the map file current. */
  checkpoint(state: JobState): Promise<void>;
}

/** At most this much reading is repeated after a crash. */
const commitIntervalMs = 1000;
/** So much reading is made durable without waiting for the second to be over: a disk that writes while more is
 * read is not waited for at the end. */
const commitBytes = 128 * 1024 * 1024;
/** How old the map file may be for those who watch it. */
const checkpointIntervalMs = 30_000;
/** Bounds the replay after a crash: about 100,000 events. */
const journalBytesMax = 16 * 1024 * 1024;

export interface RecorderOptions {
  readonly sectorBytes?: number;
  /** Wall clock, ms since 1970. */
  readonly wallMs?: () => number;
  /** What earlier runs tried; absent: nothing. */
  readonly attempts?: Attempts;
}

export function createRecorder(
  files: DurableFiles,
  clock: Clock,
  options: RecorderOptions = {},
): Recorder {
  const { sectorBytes = 512 } = options;
  const wallNow = options.wallMs ?? wallMs;
  let attempts = options.attempts;
  let pending: RecordedEvent[] = [];
  let commitAtMs = clock.now() + commitIntervalMs;
  let checkpointAtMs = clock.now() + checkpointIntervalMs;
  let underWay: Promise<void> | undefined;
  let failure: unknown;
  let pendingCount = 0;

  async function commit(): Promise<void> {
    const events = pending;
    pending = [];
    pendingCount = 0;
    if (events.length === 0) return;
    await files.syncImage();
    await files.appendJournal(events);
    await files.appendLog(events);
  }

  function startCommit(): void {
    commitAtMs = clock.now() + commitIntervalMs;
    underWay = commit()
      .catch((error: unknown) => {
        failure ??= error;
      })
      .finally(() => {
        underWay = undefined;
      });
  }

  return {
    record(event, state) {
      attempts ??= createAttempts(state.plan.sectorCount);
      const record = { ...event, ...behind(event, state, attempts), wallMs: wallNow() };
      if (event.kind === 'read') {
        pendingCount += event.goodCount;
        if (event.role !== 'reference') attempts.take(event);
      }
      const last = pending.at(-1);
      const joined = last && joinReads(last, record);
      if (joined) pending[pending.length - 1] = joined;
      else pending.push(record);
    },
    tick() {
      if (failure !== undefined) throw failure;
      const isDue = clock.now() >= commitAtMs || pendingCount * sectorBytes >= commitBytes;
      if (!underWay && pending.length > 0 && isDue) startCommit();
    },
    checkpointDue: () => clock.now() >= checkpointAtMs || files.journalBytes() >= journalBytesMax,
    async checkpoint(state) {
      await underWay;
      if (failure !== undefined) throw failure;
      await commit();
      await files.checkpoint(state);
      checkpointAtMs = clock.now() + checkpointIntervalMs;
    },
  };
}
