/** The event log of a case: found, mended after a crash, gone on with, and what it says at the start of a run. */

import { deflateSync } from 'node:zlib';
import type { DriveIdentity } from '../drive/drive.js';
import {
  createEventLog,
  type EventLog,
  type LogPosition,
  type LogProblem,
  type LogReport,
  openEventLog,
  readEventLog,
} from '../image/event-log.js';
import type { FileLayer } from '../image/file-layer.js';
import type { RunMap } from '../map/run-map.js';
import { statuses } from '../map/status.js';
import { domainCount } from '../plan/domain.js';
import type { DriveKind } from '../power/policy.js';
import type { CaseData } from './case-data.js';
import {
  type Attempts,
  bodyOf,
  countsOfStatus,
  createAttempts,
  isoTime,
  parseLogLine,
  type RecordedEvent,
  roundMs,
} from './recorded.js';
import { snapshotOf } from './snapshot.js';
import type { JobState, MergeNote } from './state.js';

/** What lies at a log's path before the job begins. */
export interface FoundLog {
  readonly report: LogReport;
  /** How often what was tried, as far as the log holds. */
  readonly attempts: Attempts | undefined;
  /** Whether it tells of more than that runs were about to begin. */
  readonly hasEvents: boolean;
}

/** What a log says at the start, before anything happens: also what was found then. */
const openingKinds = new Set(['log', 'run', 'state', 'map', 'noticed']);

/** Looks at the whole log, without touching it; undefined when there is none. Throws FILE_FAILED. */
export async function findLog(
  files: FileLayer,
  path: string,
  anchor: LogPosition | undefined,
): Promise<FoundLog | undefined> {
  let attempts: Attempts | undefined;
  let sectorBytes: unknown;
  let hasEvents = false;
  const onLine = (bytes: Buffer) => {
    const kind = kindOf(bytes);
    hasEvents ||= !openingKinds.has(kind);
    if (kind !== 'read' && kind !== 'run') return;
    if (kind === 'read' && bytes.includes('"outcome":"good"')) return;
    const line = parseLogLine(bytes.toString('utf8'));
    if (line?.kind === 'read') attempts?.take(line as unknown as Parameters<Attempts['take']>[0]);
    const drive = line?.drive as Partial<DriveIdentity> | undefined;
    if (line?.kind !== 'run' || !drive || !(Number(drive.sectorCount) >= 1)) return;
    // Another adapter may count in other sectors.
    if (drive.sectorBytes !== sectorBytes) attempts = createAttempts(Number(drive.sectorCount));
    sectorBytes = drive.sectorBytes;
  };
  const report = await readEventLog(files, path, { ...(anchor && { anchor }), onLine });
  return report && { report, attempts, hasEvents };
}

/** When the last read of the case came back, by the wall clock of its computer; undefined where there is no log that
 * reaches as far as the checkpoint says, or no read in it. Throws FILE_FAILED. */
export async function lastReadAt(
  files: FileLayer,
  path: string,
  anchor: LogPosition | undefined,
): Promise<Date | undefined> {
  let line: Buffer | undefined;
  const onLine = (bytes: Buffer) => {
    if (kindOf(bytes) === 'read') line = Buffer.from(bytes);
  };
  const report = await readEventLog(files, path, { ...(anchor && { anchor }), onLine });
  const isWhole = !report?.problem || (report.last?.n ?? -1) >= (anchor?.n ?? 0);
  const read = line && isWhole ? parseLogLine(line.toString('utf8')) : undefined;
  return read && new Date(read.at);
}

/** The kind stands near the beginning of every line. */
function kindOf(bytes: Buffer): string {
  return /"kind":"([a-z-]+)"/.exec(bytes.toString('latin1', 0, 160))?.[1] ?? '';
}

export interface CaseLogOptions {
  readonly files: FileLayer;
  readonly path: string;
  readonly found: FoundLog | undefined;
  readonly anchor: LogPosition | undefined;
  /** Whether the case has a map already. */
  readonly isCase: boolean;
  /** What the case was merged from, where it began so. */
  readonly merged?: MergeNote | undefined;
  /** What the journal has since the checkpoint. */
  readonly journal: readonly RecordedEvent[];
  /** What a new log says in its first line. */
  readonly header: object;
  readonly nowMs: number;
  readonly wallMs: number;
}

export interface OpenedLog {
  readonly log: EventLog;
  /** Whether the log's last event is the last one of checkpoint and journal: its state follows from its lines. */
  readonly isCurrent: boolean;
  readonly notices: readonly string[];
}

/** Opens the log to go on with it: cuts off what a crash tore and brings in what only the journal has; a log that is
 * damaged or not of this case is kept under another name, and a new one begins.
 * Throws IMAGE_SPACE, IMAGE_WRITE_FAILED, FILE_FAILED. */
export async function openCaseLog(options: CaseLogOptions): Promise<OpenedLog> {
  const { files, path, found, anchor, journal } = options;
  const why = found ? whyAside(options, found) : undefined;
  if (!found || why !== undefined) return beginLog(options, why);
  const notices = tornNotices(path, found.report);
  return { ...(await goOn(files, path, found, anchor, journal)), notices };
}

/** Adds an event that came between two runs, and before it what only the journal has, durably. Returns what the
 * checkpoint that has all of it shall know as the log's last line; undefined where the log, if there is one, does not
 * give that checkpoint's state: the next run sees to that, and begins with the whole state.
 * Throws IMAGE_SPACE, IMAGE_WRITE_FAILED, FILE_FAILED. */
export async function appendBetweenRuns(
  files: FileLayer,
  path: string,
  anchor: LogPosition | undefined,
  journal: readonly RecordedEvent[],
  event: RecordedEvent,
): Promise<LogPosition | undefined> {
  const found = await findLog(files, path, anchor);
  if (!found || !anchor || whyAside({ anchor, isCase: true, path }, found)) return undefined;
  const { log, isCurrent } = await goOn(files, path, found, anchor, journal);
  try {
    await log.append([{ n: log.last.n + 1, body: bodyOf(event) }]);
    await log.sync();
    return isCurrent ? log.last : undefined;
  } finally {
    await log.close();
  }
}

/** Opens a log that is in order, cuts off what a crash tore, and brings in what only the journal has. */
async function goOn(
  files: FileLayer,
  path: string,
  found: FoundLog,
  anchor: LogPosition | undefined,
  journal: readonly RecordedEvent[],
): Promise<Pick<OpenedLog, 'log' | 'isCurrent'>> {
  const log = await openEventLog(files, path, found.report);
  const missing = missingOf(log.last.n, journal);
  await log.append(missing.map((event) => ({ n: event.n as number, body: bodyOf(event) })));
  const lastKnown = journal.at(-1)?.n ?? (journal.length === 0 ? anchor?.n : undefined);
  return { log, isCurrent: lastKnown === log.last.n };
}

/** Why a log cannot be gone on with; undefined where it can. */
function whyAside(
  { anchor, isCase, path }: Pick<CaseLogOptions, 'anchor' | 'isCase' | 'path'>,
  found: FoundLog,
): string | undefined {
  const { report, hasEvents } = found;
  const { problem, last } = report;
  if (!isCase && hasEvents) return `${path} is there, but no map: it is of another case`;
  // Nothing but a beginning, of a run that never began: nothing of it was ever relied upon.
  if (!problem || (!anchor && !hasEvents && last)) return undefined;
  const isTorn = problem.kind === 'torn' || problem.kind === 'not-a-line';
  // What the checkpoint knows of was durable: only what comes behind it may be torn. Without its word, the end.
  const isTail = anchor ? (last?.n ?? -1) >= anchor.n : isTorn && report.isAtEnd;
  return isTail && last ? undefined : problemText(path, problem);
}

/** One line for people. */
export function problemText(path: string, { line, text }: LogProblem): string {
  return `${path}:${line}: ${text}`;
}

function tornNotices(path: string, { goodBytes, sizeBytes }: LogReport): string[] {
  const tornBytes = sizeBytes - goodBytes;
  if (tornBytes === 0) return [];
  return [`the last ${tornBytes} bytes of ${path} were torn and are cut off`];
}

/** What follows line `n` without a gap. */
function missingOf(n: number, journal: readonly RecordedEvent[]): RecordedEvent[] {
  const missing: RecordedEvent[] = [];
  for (const event of journal) {
    if (event.n === n + missing.length + 1) missing.push(event);
  }
  return missing;
}

async function beginLog(options: CaseLogOptions, why: string | undefined): Promise<OpenedLog> {
  const { files, path, anchor, isCase, merged, header, nowMs, wallMs } = options;
  if (why !== undefined) {
    const aside = asideName(path, (await asideCount(files, path)) + 1);
    await files.rename(path, aside);
    await files.syncDirectory(path);
  }
  const count = await asideCount(files, path);
  const follows = count > 0 ? asideName(path, count) : undefined;
  // With an anchor there was a log.
  const origin = why === undefined && isCase && !anchor ? merged : undefined;
  const none = origin ? mergedText(origin) : 'the case had no event log';
  const reason = why ?? (isCase ? none : undefined);
  const log = await createEventLog(files, path, {
    at: isoTime(wallMs),
    ms: roundMs(nowMs),
    kind: 'log',
    format: 1,
    ...header,
    ...(reason !== undefined && { why: reason }),
    ...(origin && { merged: origin }),
    ...(follows !== undefined && { follows }),
  });
  const notices = why === undefined ? [] : [`${why}; it is kept as ${follows}, a new log begins`];
  return { log, isCurrent: false, notices };
}

/** How a case began that is a merge, for people. */
export function mergedText({ images }: MergeNote): string {
  return `the case began as a merge of ${images.map(({ image }) => image).join(', ')}`;
}

function asideName(path: string, number: number): string {
  return path.replace(/\.ndjson$/, `.${number}.ndjson`);
}

/** How many logs were put aside. */
async function asideCount(files: FileLayer, path: string): Promise<number> {
  let count = 0;
  while (await files.exists(asideName(path, count + 1))) count += 1;
  return count;
}

/** What a run begins with. */
export interface RunStart {
  readonly state: JobState;
  readonly drive: DriveIdentity;
  readonly driveKind: DriveKind;
  readonly resumed: boolean;
  readonly caseData: CaseData;
  /** Where this run was told other case data than the one before. */
  readonly formerCaseData?: CaseData;
  readonly version: string;
  /** Command line and names, for people. */
  readonly told: object;
  /** Whether the state follows from the lines before; else all of it is written. */
  readonly isImplied: boolean;
  readonly nowMs: number;
  readonly wallMs: number;
}

/** Writes the start of a run, durably. */
export async function logRunStart(log: EventLog, start: RunStart): Promise<void> {
  const clocks = { at: isoTime(start.wallMs), ms: roundMs(start.nowMs) };
  const append = (body: object) =>
    log.append([{ n: log.last.n + 1, body: { ...clocks, ...body } }]);
  await append(runBody(start));
  if (!start.isImplied) for (const body of stateBodies(start)) await append(body);
  await log.sync();
}

function runBody({ state, drive, driveKind, resumed, ...start }: RunStart): object {
  const { plan, compare } = state;
  return {
    kind: 'run',
    resumed,
    version: start.version,
    case: start.caseData,
    ...(start.formerCaseData && { caseBefore: start.formerCaseData }),
    ...start.told,
    drive,
    driveKind,
    physicalCount: plan.physicalCount,
    domain: { sectors: domainCount(plan.scope), of: plan.sectorCount },
    comparePercent: compare.percent,
    counts: countsOfStatus(plan.map),
    rows: plan.passes,
    state: start.isImplied ? 'as the lines before leave it' : 'as the next lines say',
  };
}

/** Characters of packed state in a line. */
const packedChars = 1 << 20;
const runsInLine = 20_000;

/** The whole state: the snapshot in parts, then the runs of the map. */
function* stateBodies({ state, drive, driveKind }: RunStart): Generator<object> {
  const packed = pack(snapshotOf(state, drive, driveKind));
  const parts = Math.ceil(packed.length / packedChars);
  for (let part = 0; part < parts; part++) {
    const text = packed.slice(part * packedChars, (part + 1) * packedChars);
    yield { kind: 'state', part: part + 1, parts, packed: text };
  }
  yield* mapBodies(state.plan.map);
}

function* mapBodies(map: RunMap): Generator<object> {
  let lba = 0;
  let runs: number[] = [];
  for (const run of map.runs()) {
    // A map that says nothing needs no line.
    if (run.count === map.size && run.value === statuses['non-tried']) return;
    if (runs.length === 0) lba = run.lba;
    runs.push(run.count, run.value);
    if (runs.length < 2 * runsInLine) continue;
    yield { kind: 'map', lba, packed: pack(runs) };
    runs = [];
  }
  if (runs.length > 0) yield { kind: 'map', lba, packed: pack(runs) };
}

function pack(data: unknown): string {
  return deflateSync(JSON.stringify(data)).toString('base64');
}
