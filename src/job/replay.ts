/** The event log folded again: the state that its lines give, and whether the planner, given the state before each
 * decision, proposes what was decided. Reads only. */

import { isDeepStrictEqual } from 'node:util';
import { inflateSync } from 'node:zlib';
import { z } from 'zod';
import type { DriveIdentity } from '../drive/drive.js';
import { isLastspinError, reasonOf } from '../errors.js';
import { type LoadedCheckpoint, loadCheckpoint } from '../image/checkpoint.js';
import { type LogPosition, type LogReport, readEventLog } from '../image/event-log.js';
import type { FileLayer } from '../image/file-layer.js';
import { loadJournal } from '../image/journal.js';
import type { Extent } from '../map/extent.js';
import { createRunMap, type RunMap } from '../map/run-map.js';
import type { ReadEvent } from '../plan/events.js';
import { plan } from '../plan/planner.js';
import { referenceExtent } from '../plan/reference.js';
import type { Reach } from '../power/ladder.js';
import { type DriveKind, troublePolicies } from '../power/policy.js';
import { type CaseData, caseDataSchema } from './case-data.js';
import { type CasePaths, recallState } from './case-files.js';
import { mergedText } from './case-log.js';
import { decide, eventOf } from './decide.js';
import { endedBeforeVerdict, type JobEvent } from './events.js';
import { driveIdentitySchema } from './identity.js';
import { type Agreement, createAgreementCheck } from './log-agreement.js';
import {
  consequenceOf,
  eventsOf,
  parseLogLine,
  type RecordedEvent,
  recordOfLine,
} from './recorded.js';
import { parseSnapshot, restoreState, type Snapshot, settle } from './snapshot.js';
import { foldJob, type JobState } from './state.js';

/** A decision that the planner would not take in the state that the lines before give. */
export interface Departure {
  /** The line's number. */
  readonly n: number;
  readonly recorded: string;
  readonly proposed: string;
}

export interface Replay {
  /** As the last line leaves it; undefined where no run began. */
  readonly state: JobState | undefined;
  readonly drive: DriveIdentity | undefined;
  readonly caseData: CaseData;
  readonly runCount: number;
  readonly eventCount: number;
  /** The first hundred. */
  readonly departures: readonly Departure[];
  /** The first line that makes no sense in its place; nothing behind it was folded. */
  readonly problem?: { readonly n: number; readonly text: string };
}

/** Takes the lines of a log, in order. */
export interface Replayer {
  /** One line without its line feed. */
  take(text: string): void;
  /** A record that is in no line yet. */
  takeRecord(record: RecordedEvent): void;
  /** As the lines so far leave it, where they were all folded. Not a copy. */
  mapSoFar(): RunMap | undefined;
  finish(): Replay;
}

const count = z.int().nonnegative();
const runLine = z.looseObject({
  drive: driveIdentitySchema,
  driveKind: z.enum(Object.keys(troublePolicies) as [DriveKind, ...DriveKind[]]),
  case: caseDataSchema,
  comparePercent: z.number().min(0).max(100),
  state: z.string(),
});
const stateLine = z.looseObject({ part: count.min(1), parts: count.min(1), packed: z.string() });
const mapLine = z.looseObject({ lba: count, packed: z.string() });

/** Most bytes of a snapshot, and of the runs in one line, once unpacked. */
const snapshotBytesMax = 64 * 2 ** 20;
const runsBytesMax = 4 * 2 ** 20;
const departuresMax = 100;

type Run = z.infer<typeof runLine>;

export function createReplayer(): Replayer {
  let state: JobState | undefined;
  let run: Run | undefined;
  let reach: Reach = { resets: new Set(), power: false };
  /** The snapshot that a run begins with, as far as it was read. */
  let packed = '';
  let map: RunMap | undefined;
  let isAwaitingState = false;
  let runCount = 0;
  let eventCount = 0;
  let problem: { n: number; text: string } | undefined;
  /** The last event that was no read: what some others follow from. */
  let former: JobEvent | undefined;
  const departures: Departure[] = [];
  /** Events that are not folded yet, oldest first, and how many reads of rows there were. */
  const waiting: Waiting[] = [];
  let readCount = 0;

  function beginRun(line: object): void {
    foldWaiting(true);
    const next = runLine.parse(line);
    const isImplied = next.state.startsWith('as the lines before');
    // A run that ended before its first event leaves what it began with.
    if (isImplied && run && isAwaitingState) state = completeState(run);
    run = next;
    runCount += 1;
    packed = '';
    map = undefined;
    isAwaitingState = !isImplied;
    if (!isImplied) return;
    if (!state) throw new Error('it goes on with a state that no line before it gives');
    state = settle(state, run.drive, run.driveKind, true);
    state.compare.percent = run.comparePercent;
  }

  function takeMap(line: object): void {
    if (!run) throw new Error('no run has begun');
    const { lba, packed: text } = mapLine.parse(line);
    const runs = z.array(count).parse(unpacked(text, runsBytesMax));
    map ??= createRunMap(run.drive.sectorCount);
    let at = lba;
    for (let index = 0; index + 1 < runs.length; index += 2) {
      map.set({ lba: at, count: runs[index]! }, runs[index + 1]!);
      at += runs[index]!;
    }
  }

  /** The run's first event: what it begins with is complete. */
  function completeState({ drive, driveKind, comparePercent }: Run): JobState {
    const snapshot = parseSnapshot(unpacked(packed, snapshotBytesMax));
    if (!snapshot) throw new Error('the state that the run begins with is not there');
    isAwaitingState = false;
    map ??= createRunMap(drive.sectorCount);
    const complete = restoreState(snapshot, { map, driveKind });
    complete.compare.percent = comparePercent;
    return complete;
  }

  function takeEvent(record: RecordedEvent): void {
    if (!run) throw new Error('no run has begun');
    if (isAwaitingState) state = completeState(run);
    eventCount += 1;
    if (record.kind === 'started') reach = reachOf(record);
    for (const event of eventsOf(record)) {
      const index = isPassRead(event) ? readCount++ : undefined;
      waiting.push({ record, event, index });
    }
    foldWaiting(false);
  }

  /** Folds what waits, as far as is known what was sent before it came back; in the end all of it. */
  function foldWaiting(isEnd: boolean): void {
    for (let head = waiting[0]; head && state; head = waiting[0]) {
      if (!isEnd && isLookedFor(head, waiting)) return;
      foldOne(head, state);
      waiting.shift();
    }
  }

  function foldOne(head: Waiting, current: JobState): void {
    const { record, event } = head;
    if (isPassRead(event) && event.ahead !== undefined) {
      for (const { sent, inFlight } of sentBefore(head, waiting)) {
        const extent = { lba: sent.event.lba, count: sent.event.count };
        const other = otherStep(plan(current.plan, inFlight), { kind: 'read', extent });
        if (other !== undefined) depart(sent.record, other);
      }
    } else {
      const other = departureOf(event, { state: current, reach, former });
      if (other !== undefined) depart(record, other);
    }
    foldJob(current, event);
    if (event.kind !== 'read') former = event;
    const other = otherConsequence(record, event, current);
    if (other !== undefined) depart(record, other);
  }

  function depart(record: RecordedEvent, proposed: string): void {
    if (departures.length >= departuresMax) return;
    const { n = 0, wallMs, atMs, each, ...told } = record;
    departures.push({ n, recorded: JSON.stringify(told), proposed });
  }

  function takeLine(line: NonNullable<ReturnType<typeof parseLogLine>>): void {
    switch (line.kind) {
      case 'log':
        return;
      case 'run':
        beginRun(line);
        return;
      case 'state':
        packed += stateLine.parse(line).packed;
        if (packed.length > snapshotBytesMax) throw new Error('a state of that size is none');
        return;
      case 'map':
        takeMap(line);
        return;
      default:
        takeEvent(recordOfLine(line));
    }
  }

  /** A log is anybody's file: what cannot be folded is said, not thrown. */
  function guarded(n: number | undefined, act: () => void): void {
    if (problem) return;
    try {
      act();
    } catch (error) {
      problem = { n: n ?? 0, text: reasonOf(error) };
    }
  }

  return {
    take(text) {
      const line = parseLogLine(text);
      guarded(line?.n, () => {
        if (!line) throw new Error('it is no line of an event log');
        takeLine(line);
      });
    },
    takeRecord: (record) => guarded(record.n, () => takeEvent(record)),
    mapSoFar: () => (waiting.length === 0 && !isAwaitingState ? state?.plan.map : undefined),
    finish() {
      guarded(undefined, () => foldWaiting(true));
      const begun = run;
      // A run that was about to begin when the power went.
      if (begun && isAwaitingState && packed !== '')
        guarded(undefined, () => {
          state = completeState(begun);
        });
      const drive = run?.drive as DriveIdentity | undefined;
      const beside = { runCount, eventCount, departures, ...(problem && { problem }) };
      return { state, drive, caseData: run?.case ?? {}, ...beside };
    },
  };
}

type PassRead = Extract<JobEvent, { kind: 'read' }>;

interface Waiting {
  readonly record: RecordedEvent;
  readonly event: JobEvent;
  /** Of reads for a row: how many there were before. */
  readonly index: number | undefined;
}

/** No path has so many reads under way. */
const waitingMax = 1024;

function isPassRead(event: JobEvent): event is PassRead {
  return event.kind === 'read' && event.role === 'pass';
}

/** Whether reads may follow that were sent before this one came back. */
function isLookedFor(head: Waiting, waiting: readonly Waiting[]): boolean {
  if (!isPassRead(head.event) || head.event.ahead === undefined) return false;
  const { event, index = 0 } = waiting.at(-1) as Waiting;
  if (waiting.length >= waitingMax) return false;
  if (event.kind === 'noticed') return true;
  return isPassRead(event) && index - (event.ahead ?? 0) <= (head.index ?? 0);
}

/** The reads that were sent when all before `head` had come back, each with those that were under way then. */
function sentBefore(
  head: Waiting,
  waiting: readonly Waiting[],
): { sent: Waiting & { readonly event: PassRead }; inFlight: Extent[] }[] {
  const reads = waiting.filter((each): each is Waiting & { readonly event: PassRead } =>
    isPassRead(each.event),
  );
  return reads.flatMap((sent, place) => {
    if ((sent.index ?? 0) - (sent.event.ahead ?? 0) !== head.index) return [];
    const inFlight = reads
      .slice(0, place)
      .map(({ event: { lba, count: size } }) => ({ lba, count: size }));
    return [{ sent, inFlight }];
  });
}

function unpacked(text: string, maxOutputLength: number): unknown {
  return JSON.parse(inflateSync(Buffer.from(text, 'base64'), { maxOutputLength }).toString('utf8'));
}

function reachOf({ reach }: Extract<JobEvent, { kind: 'started' }>): Reach {
  return { ...reach, resets: new Set(reach?.resets), power: reach?.power ?? false };
}

interface Before {
  readonly state: JobState;
  readonly reach: Reach;
  readonly former: JobEvent | undefined;
}

/** What the planner proposes in this state where that is not what was recorded; undefined where it agrees, or where
 * the event is no decision of its. */
function departureOf(event: JobEvent, before: Before): string | undefined {
  const { state, reach, former } = before;
  switch (event.kind) {
    case 'read':
      return event.outcome === 'not-attempted' ? undefined : otherRead(event, before);
    case 'pass-started':
      return otherStep(plan(state.plan, []), { kind: 'start-pass', index: event.index });
    case 'trouble':
      if (event.asked || former?.kind === 'rested' || former?.kind === 'ready') return undefined;
      return otherEvent(event, before);
    case 'pass-ended':
      // A drive that hung beyond policy ends the row as well.
      return event.why?.endsWith('go on with the next') ? undefined : otherEvent(event, before);
    case 'classified':
    case 'priced':
    case 'physical-learned':
    case 'went-back':
      return otherEvent(event, before);
    case 'blamed':
      if (event.why === endedBeforeVerdict || former?.kind === 'gave-up') return undefined;
      return otherStep(decide(state, [], reach), { kind: 'blame', on: event.on, why: event.why });
    case 'gave-up': {
      const step = decide(state, [], reach);
      const isEnd = step.kind === 'give-up' || step.kind === 'stop';
      return isEnd && step.why !== event.why ? JSON.stringify(step) : undefined;
    }
    case 'reset':
      return inTrouble(before, { kind: 'reset', reset: event.reset });
    case 'power-cycled':
      return inTrouble(before, { kind: 'power-cycle' });
    case 'rested':
      return inTrouble(before, { kind: 'rest', restMs: event.restMs, why: event.why });
    case 'held':
      return inTrouble(before, { kind: 'hold', limitMs: event.limitMs });
    case 'ready':
      return inTrouble(before, { kind: 'await-ready' });
    case 'temperature':
      return otherStep(decide(state, [], reach), { kind: 'take-temperature' });
    default:
      return undefined;
  }
}

/** Steps of the ladder follow from the state only while there is trouble; a row's own come before it. */
function inTrouble({ state, reach }: Before, wanted: object): string | undefined {
  if (state.trouble.why === undefined) return undefined;
  return otherStep(decide(state, [], reach), wanted);
}

function otherStep(step: object, wanted: object): string | undefined {
  const same = Object.entries(wanted).every(([name, value]) =>
    isDeepStrictEqual((step as Record<string, unknown>)[name], value),
  );
  return same ? undefined : JSON.stringify(step);
}

function otherEvent(event: JobEvent, { state, reach }: Before): string | undefined {
  const step = decide(state, [], reach);
  switch (step.kind) {
    case 'end-pass':
    case 'learn-physical':
    case 'price':
    case 'go-back':
    case 'classify':
    case 'trouble': {
      const { atMs, ...recorded } = event;
      const proposed = eventOf(step, state);
      return isDeepStrictEqual(recorded, proposed) ? undefined : JSON.stringify(proposed);
    }
    default:
      return JSON.stringify(step);
  }
}

function otherRead(event: ReadEvent, { state, reach }: Before): string | undefined {
  const extent = { lba: event.lba, count: event.count };
  if (event.role === 'pass') return otherStep(plan(state.plan, []), { kind: 'read', extent });
  const step = decide(state, [], reach);
  if (event.role === 'compare') return otherStep(step, { kind: 'compare', extent });
  // Without trouble it fetches parked heads.
  const attempt = step.kind === 'reference' ? step.attempt : state.trouble.references;
  return otherStep({ extent: referenceExtent(state.plan, attempt) }, { extent });
}

/** What folding a failing read makes of it where the record says something else. */
function otherConsequence(
  { rule, left, next }: RecordedEvent,
  event: JobEvent,
  state: JobState,
): string | undefined {
  if (event.kind !== 'read' || rule === undefined) return undefined;
  const made = consequenceOf(event, state);
  return isDeepStrictEqual(made, { rule, left, next }) ? undefined : JSON.stringify(made);
}

/** Folds the log at a path again, as a stream, up to the first line that the chain does not hold; undefined when there
 * is none. Throws FILE_FAILED. */
export async function replayEventLog(
  files: FileLayer,
  path: string,
): Promise<{ readonly report: LogReport; readonly replay: Replay } | undefined> {
  const replayer = createReplayer();
  const onLine = (bytes: Buffer) => replayer.take(bytes.toString('utf8'));
  const report = await readEventLog(files, path, { onLine });
  return report && { report, replay: replayer.finish() };
}

/** One thing that is wrong with a log, or worth knowing about it.
 * - `missing`, `chain`: there is none, or a line is not as it was written.
 * - `unfoldable`, `map-differs`: its lines make no sense, or give another map than the case has.
 * - `departed`: another decision was taken than this version would take.
 * - `unknown`: a line stands behind what map and journal have, and no crash leaves it there.
 * - `begun`: lines stand there that a crash explains.
 * - `torn`: a crash left a piece of a line, which the next run takes away.
 * - `no-anchor`: no checkpoint tells how long it must be.
 * - `follows`: what happened before it began is in another file, or in none.
 * - `known-hash`, `unknown-hash`: a line has the hash that somebody noted, or none has. */
export interface LogFinding {
  readonly kind:
    | 'missing'
    | 'chain'
    | 'unfoldable'
    | 'map-differs'
    | 'departed'
    | 'unknown'
    | 'begun'
    | 'torn'
    | 'no-anchor'
    | 'follows'
    | 'known-hash'
    | 'unknown-hash';
  /** Whether the record does not stand up. */
  readonly isBad: boolean;
  /** Line of the file from 1, where it is about one. */
  readonly line?: number;
  readonly text: string;
}

/** What a log was found to be. */
export interface LogCheck {
  /** The last line that is in order. */
  readonly last: LogPosition | undefined;
  readonly runCount: number;
  readonly eventCount: number;
  readonly caseData: CaseData;
  readonly findings: readonly LogFinding[];
  /** How it stands to map and journal, as far as its chain holds. */
  readonly agreement: Agreement;
  /** Whether every line that was ever durable is in order. */
  readonly isIntact: boolean;
  /** What its lines and the journal's records give: absent where they were not folded, or make no sense. */
  readonly map?: RunMap;
  /** As its last run says. */
  readonly drive?: DriveIdentity;
  /** The maps with which earlier runs came to the end of their rows: the last few. */
  readonly earlierMaps: readonly RunMap[];
}

export interface LogWish {
  /** The hash of a line as it was noted when a job ended, or how that begins: lower-case hex digits. */
  readonly notedHash?: string;
  /** Leaves out what the lines give once they are folded: only the chain. */
  readonly isQuick?: boolean;
  readonly signal?: AbortSignal;
}

/** Checks the event log of a case: its chain, that it reaches as far as the checkpoint says, that it folds into the
 * map beside it, and that the planner would decide the same again. Reads only, in bounded memory beside the map's.
 * Throws FILE_FAILED and the signal's reason. */
export async function checkEventLog(
  files: FileLayer,
  paths: Pick<CasePaths, 'events' | 'map' | 'journal'>,
  { notedHash, isQuick = false, signal }: LogWish = {},
): Promise<LogCheck> {
  const saved = await loadReadable(files, paths.map);
  const snapshot = saved && parseSnapshot(saved.state);
  const anchor = snapshot?.log;
  const findings: LogFinding[] = [];
  const say: Say = (kind, isBad, text, line) =>
    findings.push({ kind, isBad, text, ...(line !== undefined && { line }) });
  const journal = await loadJournal(files, paths.journal);
  const { fills = [] } = snapshot ?? {};
  const check = createAgreementCheck({ number: saved?.number, anchor, journal, fills });
  const replayer = createReplayer();
  const ends = keepEnds();
  let noted: LogPosition | undefined;
  const report = await readEventLog(files, paths.events, {
    ...(anchor && { anchor }),
    onLine(bytes, position) {
      signal?.throwIfAborted();
      if (notedHash !== undefined && position.hash.startsWith(notedHash)) noted = position;
      check.take(bytes, position);
      const isFirst = position.n === 0;
      if ((isQuick && !isFirst) || !check.isKnown(position.n)) return;
      const text = bytes.toString('utf8');
      if (isFirst) sayWhatItFollows(text, say);
      replayer.take(text);
      if (isFullEnd(bytes)) ends.take(replayer.mapSoFar());
    },
  });
  const agreement = check.finish();
  const nothing = { ...{ runCount: 0, eventCount: 0, caseData: {} }, earlierMaps: [], agreement };
  if (!report) {
    sayMissing(paths.events, snapshot, notedHash, say);
    return { ...nothing, last: undefined, findings, isIntact: false };
  }
  if (!anchor) say('no-anchor', false, 'no checkpoint tells how long the log must be');
  const isIntact = sayOfChain(report, anchor, say);
  if (isIntact) sayWhatIsBehind(agreement, say);
  if (notedHash !== undefined) sayOfNoted(notedHash, noted, report, say);
  if (isQuick) return { ...nothing, last: report.last, findings, isIntact };
  const current = isIntact && saved ? await recallState(files, paths.map) : undefined;
  for (const record of (saved?.foreign ? journal?.records : current?.journal) ?? [])
    takeMissing(record as RecordedEvent, report, replayer);
  const replay = replayer.finish();
  const isComparable = isIntact && !agreement.isPastFill && agreement.journal !== 'other';
  sayOfReplay(replay, current?.state, isComparable, say);
  const { runCount, eventCount, caseData, state, problem, drive } = replay;
  const map = problem ? undefined : state?.plan.map;
  const earlierMaps = ends.maps().slice(0, agreement.lastRun?.how === fullEnd ? -1 : undefined);
  const told = {
    runCount,
    eventCount,
    caseData,
    ...(map && { map }),
    ...(drive && { drive }),
    earlierMaps,
  };
  return { ...told, last: report.last, findings, agreement, isIntact };
}

/** What only the journal has. */
function takeMissing(record: RecordedEvent, { last }: LogReport, replayer: Replayer): void {
  if ((record.n ?? 0) > (last?.n ?? 0)) replayer.takeRecord(record);
}

/** How a run ends that came to the end of its rows. */
const fullEnd = 'finished';
const endsMax = 8;

function isFullEnd(bytes: Buffer): boolean {
  return bytes.includes('"kind":"ended"') && bytes.includes(`"how":"${fullEnd}"`);
}

/** Keeps the last few maps. */
function keepEnds() {
  const maps: RunMap[] = [];
  return {
    take(map: RunMap | undefined): void {
      if (map) maps.push(map.clone());
      if (maps.length > endsMax) maps.shift();
    },
    maps: () => maps,
  };
}

function sayMissing(
  path: string,
  snapshot: Snapshot | undefined,
  notedHash: string | undefined,
  say: Say,
): void {
  const none = snapshot?.merged
    ? `there is no event log yet: ${mergedText(snapshot.merged)}, and no job has gone on with it`
    : 'the case has no event log';
  const isKnown = snapshot?.log !== undefined || notedHash !== undefined;
  say('missing', isKnown, isKnown ? `${path} is missing` : none);
}

/** What stands behind the lines that map and journal have. Where the journal is to blame, it is said of that. */
function sayWhatIsBehind({ journal, unknownLines, firstUnknown, begunLines }: Agreement, say: Say) {
  if (firstUnknown !== undefined) {
    const isBad = journal === 'current';
    const rest = unknownLines > 1 ? `, and ${unknownLines - 1} more` : '';
    const why = isBad ? ': no crash leaves that, it was added, or the journal cut' : '';
    const text = `neither map nor journal has what this line tells${rest}${why}`;
    say('unknown', isBad, text, firstUnknown + 1);
  }
  if (begunLines === 0) return;
  const text = `its last ${begunLines} lines are of a run or a fill that was about to begin when the program ended`;
  if (firstUnknown === undefined) say('begun', false, text);
}

/** A map that is none tells nothing of the log. */
async function loadReadable(files: FileLayer, path: string): Promise<LoadedCheckpoint | undefined> {
  try {
    return await loadCheckpoint(files, path);
  } catch (error) {
    if (isLastspinError(error, 'MAP_INVALID')) return undefined;
    throw error;
  }
}

/** Whoever can rewrite log and map cannot rewrite what somebody noted elsewhere. */
function sayOfNoted(
  notedHash: string,
  noted: LogPosition | undefined,
  { last }: LogReport,
  say: Say,
): void {
  if (!noted) {
    const text = `no line has the hash ${notedHash}: lines were taken away and the rest bound together anew, or it is of another log`;
    say('unknown-hash', true, text);
    return;
  }
  const since = (last?.n ?? noted.n) - noted.n;
  const later = since === 0 ? 'the last one' : `${since} lines came after it`;
  say('known-hash', false, `this line has the hash that was noted, ${later}`, noted.n + 1);
}

type Say = (kind: LogFinding['kind'], isBad: boolean, text: string, line?: number) => void;

function sayWhatItFollows(text: string, say: Say): void {
  const header = parseLogLine(text);
  const { follows, merged, why } = (header ?? {}) as Record<string, unknown>;
  if (typeof why !== 'string') return;
  if (merged !== undefined) {
    const text = `${why}: the log begins with what was merged; how that was read is in the logs of those images`;
    say('follows', false, text, 1);
    return;
  }
  const where = typeof follows === 'string' ? `; what came before is in ${follows}` : '';
  say('follows', false, `the log began anew: ${why}${where}`, 1);
}

/** Says whether every line that ever was durable is in order. */
function sayOfChain(
  { problem, last }: LogReport,
  anchor: LogPosition | undefined,
  say: Say,
): boolean {
  if (!problem) return true;
  const { line, text, isTear } = problem;
  const isTorn = isTear && anchor && (last?.n ?? -1) >= anchor.n;
  say(isTorn ? 'torn' : 'chain', !isTorn, text, line);
  return Boolean(isTorn);
}

function sayOfReplay(
  { problem, departures, state }: Replay,
  current: JobState | undefined,
  isIntact: boolean,
  say: Say,
): void {
  if (problem) {
    say('unfoldable', true, `what it says makes no sense: ${problem.text}`, problem.n + 1);
    return;
  }
  for (const { n, recorded, proposed } of departures.slice(0, 1)) {
    const more = departures.length > 1 ? ` (and ${departures.length - 1} more)` : '';
    const text = `recorded ${recorded}, proposed ${proposed}${more}`;
    say('departed', false, `this version would have decided otherwise: ${text}`, n + 1);
  }
  if (!isIntact || !current || !state) return;
  const lba = firstDifference(state.plan.map, current.plan.map);
  if (lba === undefined) return;
  say('map-differs', true, `its events give another map than the case has, first at LBA ${lba}`);
}

/** The first sector that two maps call by different names. */
function firstDifference(one: RunMap, other: RunMap): number | undefined {
  // Runs are maximal: equal maps have the same ones.
  const theirs = other.runs();
  for (const run of one.runs()) {
    const { value: same } = theirs.next();
    if (!same || same.value !== run.value) return run.lba;
    if (same.count !== run.count) return run.lba + Math.min(run.count, same.count);
  }
  return one.size < other.size ? one.size : undefined;
}
