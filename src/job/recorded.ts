/** Events as journal and event log keep them: numbered, by the wall clock as well, and each read with what stands
 * behind it. Pure. */

import { z } from 'zod';
import { type Extent, endOf } from '../map/extent.js';
import { createRunMap, type RunMap } from '../map/run-map.js';
import { type Status, statuses, statusNames } from '../map/status.js';
import type { ReadEvent } from '../plan/events.js';
import type { JobEvent } from './events.js';
import { foldJob, type JobState } from './state.js';

/** What a record says beside the event. Nothing of it is folded. */
export interface Behind {
  /** Its line in the event log; absent in journals of older versions. */
  n?: number;
  /** Wall clock, ms since 1970, UTC; of joined reads, of the last one. */
  readonly wallMs?: number;
  /** Of a read: the row it was made for, from 1. */
  readonly row?: number;
  /** 1 and how often a read of these sectors failed before, since the log began. */
  readonly attempt?: number;
  /** What of the row was applied to a read that did not go well, as `onFault: skip`. */
  readonly rule?: string;
  /** What the first sector that such a read did not bring is called from then on. */
  readonly left?: Status;
  /** Where the row goes on behind such a read. */
  readonly next?: number;
  readonly each?: Each;
}

/** The reads of which one record was made, oldest first: they fold one by one, as they did. */
export interface Each {
  /** Pairs of a count of sectors and how many reads in a row had it. */
  readonly counts: number[];
  readonly ms: number[];
  /** Pairs of `ahead` and how many reads in a row had it, where they have one. */
  readonly ahead?: number[];
  /** Each lies before the one before it. */
  readonly backward?: true;
}

export type RecordedEvent = JobEvent & Behind;

/** A record of more reads would be a long line for nothing. */
const joinedMax = 4096;

/** Takes `next` into `last` where two reads that touch went well, or were not made: a healthy stretch is a record
 * a second. Changes `last`; undefined where they cannot be one. */
export function joinReads(last: RecordedEvent, next: RecordedEvent): RecordedEvent | undefined {
  if (last.kind !== 'read' || next.kind !== 'read' || last.outcome !== next.outcome) return;
  if (last.role !== next.role || last.role === 'reference') return;
  if (last.row !== next.row || last.attempt !== next.attempt) return;
  if (last.outcome !== 'good' && last.outcome !== 'not-attempted') return;
  if ((last.ahead === undefined) !== (next.ahead === undefined)) return;
  const backward = endOf(next) === last.lba;
  if (next.lba !== endOf(last) && !backward) return;
  const former = last.each;
  if (former && ((former.backward ?? false) !== backward || former.ms.length >= joinedMax)) return;
  const each = former ?? {
    counts: [last.count, 1],
    ms: [last.elapsedMs],
    ...(last.ahead !== undefined && { ahead: [last.ahead, 1] }),
    ...(backward && { backward }),
  };
  each.ms.push(next.elapsedMs);
  pushPair(each.counts, next.count);
  if (each.ahead && next.ahead !== undefined) pushPair(each.ahead, next.ahead);
  return {
    ...next,
    lba: Math.min(last.lba, next.lba),
    count: last.count + next.count,
    goodCount: last.goodCount + next.goodCount,
    elapsedMs: roundMs(last.elapsedMs + next.elapsedMs),
    each,
  };
}

/** Adds one more of a value to pairs of a value and how often it comes in a row. */
function pushPair(pairs: number[], value: number): void {
  if (pairs.at(-2) === value) pairs[pairs.length - 1]! += 1;
  else pairs.push(value, 1);
}

/** Milliseconds to the microsecond: what a clock says beyond that is noise, and seventeen digits of it. */
export function roundMs(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

/** The events of a record, as they were folded when they happened. */
export function eventsOf(record: RecordedEvent): JobEvent[] {
  const { n, wallMs, row, attempt, rule, left, next, each, ...event } = record;
  if (!each || event.kind !== 'read') return [event as JobEvent];
  const counts = unpaired(each.counts, each.ms.length);
  const aheads = each.ahead && unpaired(each.ahead, each.ms.length);
  const isWhole = counts.reduce((sum, count) => sum + count, 0) === event.count;
  // A record that contradicts itself is one read.
  if (!isWhole || counts.length !== each.ms.length) return [event];
  let at = each.backward ? endOf(event) : event.lba;
  return counts.map((count, index) => {
    const lba = each.backward ? at - count : at;
    at = each.backward ? lba : lba + count;
    const goodCount = event.outcome === 'good' ? count : 0;
    const elapsedMs = each.ms[index]!;
    const ahead = aheads?.[index];
    return { ...event, lba, count, goodCount, elapsedMs, ...(ahead !== undefined && { ahead }) };
  });
}

/** The values of pairs, up to so many. */
function unpaired(pairs: readonly number[], most: number): number[] {
  const all: number[] = [];
  for (let at = 0; at + 1 < pairs.length; at += 2) {
    const [value, times] = pairs.slice(at, at + 2) as [number, number];
    for (let n = 0; n < times && all.length < most; n++) all.push(value);
  }
  return all;
}

export function foldRecorded(state: JobState, record: RecordedEvent): void {
  for (const event of eventsOf(record)) foldJob(state, event);
}

/** How often reads of a sector failed, by sector. */
export interface Attempts {
  /** 1 and how often a read of one of these sectors failed before. */
  next(extent: Extent): number;
  /** Takes in a read; what makes no sense for this drive is passed over. */
  take(event: Pick<ReadEvent, 'lba' | 'count' | 'goodCount' | 'outcome'>): void;
}

/** More are not told apart. */
const attemptsMax = 255;
const failing = new Set<string>(['fault', 'timeout', 'gone']);

export function createAttempts(sectorCount: number): Attempts {
  const failures: RunMap = createRunMap(sectorCount);
  return {
    next({ lba, count }) {
      let most = 0;
      failures.forEachRun(
        (_lba, _count, value) => {
          most = Math.max(most, value);
        },
        lba,
        lba + count,
      );
      return 1 + most;
    },
    take({ lba, count, goodCount, outcome }) {
      const isSense = [lba, count, goodCount].every((value) => Number.isSafeInteger(value));
      const from = lba + goodCount;
      if (!failing.has(outcome) || !isSense || lba < 0 || from < lba) return;
      if (lba + count <= from || lba + count > sectorCount) return;
      for (const run of [...failures.runs(from, lba + count)])
        failures.set(run, Math.min(attemptsMax, run.value + 1));
    },
  };
}

/** Sectors by status: unread ones and unreadable ones are never one number. */
export function countsOfStatus(map: RunMap): Record<Status, number> {
  const counted = statusNames.map((name) => [name, map.countOf(statuses[name])]);
  return Object.fromEntries(counted) as Record<Status, number>;
}

/** What stands behind an event that was just folded into this state. */
export function behind(event: JobEvent, state: JobState, attempts: Attempts): Behind {
  if (event.kind !== 'read' || event.role === 'reference') return {};
  const attempt = event.outcome === 'not-attempted' ? undefined : attempts.next(event);
  const counted = attempt === undefined ? {} : { attempt };
  if (event.role === 'compare') return counted;
  const row = state.plan.passIndex + 1;
  if (event.outcome === 'good' || event.outcome === 'not-attempted') return { row, ...counted };
  return { row, ...counted, ...consequenceOf(event, state) };
}

/** What was made of a read that did not go well. */
export function consequenceOf(
  event: ReadEvent,
  { plan }: JobState,
): Pick<Behind, 'rule' | 'left' | 'next'> {
  const pass = plan.passes[plan.passIndex];
  const lba = Math.min(event.lba + event.goodCount, endOf(event) - 1);
  const left = statusNames[plan.map.valueAt(lba)]!;
  const isSuspect = plan.suspect?.lba === event.lba && plan.suspect.count === event.count;
  const rule = isSuspect
    ? 'not a medium error: a reference read tells whether the place or the drive is to blame'
    : pass?.direction === 'best-first'
      ? 'best-first'
      : event.outcome === 'slow'
        ? `onSlow: ${pass?.onSlow}`
        : `onFault: ${pass?.onFault}`;
  return { rule, left, next: plan.cursor };
}

/** A record as a line of the event log: everything but its number and its hash. */
export function bodyOf(record: RecordedEvent): object {
  const { n, wallMs, atMs, ...event } = record;
  return { at: isoTime(wallMs ?? 0), ms: atMs, ...event };
}

/** Wall clock as the event log writes it. What no calendar has is its beginning. */
export function isoTime(wallMs: number): string {
  const isPossible = Math.abs(wallMs) <= 8.64e15;
  return new Date(isPossible ? wallMs : 0).toISOString();
}

const eventLine = z.looseObject({
  n: z.int().nonnegative(),
  at: z.iso.datetime(),
  ms: z.number(),
  kind: z.string(),
});

/** Any line of a log but for its event, which is only known to have a kind; undefined where it is no such line. */
export function parseLogLine(text: string): z.infer<typeof eventLine> | undefined {
  try {
    const parsed = eventLine.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}

/** The record that a line was made of. */
export function recordOfLine(line: z.infer<typeof eventLine>): RecordedEvent {
  const { n, at, ms, hash: _hash, ...event } = line;
  return { ...event, n, atMs: ms, wallMs: Date.parse(at) } as unknown as RecordedEvent;
}

/** An event with a field that every line has would be written as something else than it is. */
type Clashing = Extract<
  JobEvent,
  { n: unknown } | { at: unknown } | { ms: unknown } | { hash: unknown } | { wallMs: unknown }
>;
const clashing: Clashing extends never ? true : false = true;
void clashing;
