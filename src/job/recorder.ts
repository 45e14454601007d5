import { type Clock, wallMs } from '../clock.js';
import type { JobEvent, JobEventBody } from './events.js';
import {
  type Attempts,
  behind,
  createAttempts,
  joinReads,
  type RecordedEvent,
  roundMs,
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
  /** Makes image and log durable, and finds out what the next checkpoint is to remember of the image. */
  settle(state: JobState): Promise<void>;
  /** Replaces map file and journal by a snapshot of the state, which it takes before it returns. */
  checkpoint(state: JobState): Promise<void>;
}

export interface Recorder {
  /** Takes an event whose data is already written to the image, and the state that it was just folded into. */
  record(event: JobEvent, state: JobState): void;
  /** Takes what became known by the way; says whether there was anything. */
  noteNews(state: JobState): boolean;
  /** Starts a commit when one is due. Throws what a commit under way met. */
  tick(): void;
  checkpointDue(): boolean;
  /** Makes everything recorded durable, and the map file current. One after the other; what is recorded meanwhile
   * belongs to the journal that follows. */
  checkpoint(state: JobState): Promise<void>;
}

/** At most this much reading is repeated after a crash. */
const commitIntervalMs = 1000;
/** So much reading is made durable without waiting for the second to be over: a disk that writes while more is
 * read is not waited for at the end. */
const commitBytes = 128 * 1024 * 1024;
/** How old the map file may be for those who watch it. */
const checkpointIntervalMs = 30_000;
/** Reading waits for a checkpoint, and the map of a drive with millions of bad spots takes seconds to save: so many
 * times as long passes until the next, which makes it 2 % of the time; but no more than this. */
const checkpointSpacing = 50;
const checkpointIntervalMaxMs = 600_000;
/** Bounds the replay after a crash: about 100,000 events. */
const journalBytesMax = 16 * 1024 * 1024;

export interface RecorderOptions {
  readonly sectorBytes?: number;
  /** Wall clock, ms since 1970. */
  readonly wallMs?: () => number;
  /** What became known by the way, and belongs on record behind the events that it is about. */
  readonly news?: (state: JobState) => readonly JobEventBody[];
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
  let saving: Promise<void> | undefined;
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

  async function save(state: JobState): Promise<void> {
    await underWay;
    const startedMs = clock.now();
    if (failure !== undefined) throw failure;
    try {
      // Nothing may be in the snapshot and in the journal that continues it.
      do {
        await commit();
        await files.settle(state);
      } while (pending.length > 0);
    } catch (error) {
      // What is lost was recorded: nothing that rests on it may be saved later.
      failure = error;
      throw error;
    }
    await files.checkpoint(state);
    const endedMs = clock.now();
    const pauseMs = Math.min(checkpointSpacing * (endedMs - startedMs), checkpointIntervalMaxMs);
    checkpointAtMs = endedMs + Math.max(checkpointIntervalMs, pauseMs);
  }

  function noteNews(state: JobState): boolean {
    const found = options.news?.(state) ?? [];
    const stamps = { atMs: roundMs(clock.now()), wallMs: wallNow() };
    for (const body of found) pending.push({ ...body, ...stamps } as RecordedEvent);
    return found.length > 0;
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
      noteNews(state);
    },
    noteNews,
    tick() {
      if (failure !== undefined) throw failure;
      const isDue = clock.now() >= commitAtMs || pendingCount * sectorBytes >= commitBytes;
      // A commit now would go into the journal that the checkpoint is about to replace.
      if (!underWay && !saving && pending.length > 0 && isDue) startCommit();
    },
    checkpointDue: () => clock.now() >= checkpointAtMs || files.journalBytes() >= journalBytesMax,
    checkpoint(state) {
      const before = saving ?? Promise.resolve();
      const mine = before
        .catch(() => undefined)
        .then(() => save(state))
        .finally(() => {
          if (saving === mine) saving = undefined;
        });
      saving = mine;
      return mine;
    },
  };
}
