import { z } from 'zod';
import type { JobEvent } from '../job/events.js';
import type { JobEnd } from '../job/job.js';
import type { JobState } from '../job/state.js';
import { statuses } from '../map/status.js';
import { type DriveKind, troublePolicies } from '../power/policy.js';
import { formatBytes, formatDuration, formatShare } from './format.js';

const count = z.number().int().nonnegative();
const milliseconds = z.number().nonnegative();

/** What `rehearse --json` prints. Times are the drive's own, from power-on. */
export const rehearsalResultSchema = z.object({
  schema: z.literal('lastspin/rehearsal-result/1'),
  drive: z.object({
    name: z.string(),
    source: z.enum(['scenario', 'map']),
    kind: z.enum(Object.keys(troublePolicies) as [DriveKind, ...DriveKind[]]),
    seed: count,
    sectorCount: count,
    sectorBytes: count,
    physicalSectorBytes: count,
    /** Sectors that some read gives; of chances by the hundred million estimated. */
    readableSectors: count,
  }),
  settings: z.object({
    /** Whether errors named the failing LBA. */
    failingLba: z.enum(['yes', 'no', 'as-scenario']),
    /** On a map: what `?` was taken for, and how long a failing read took; null on a scenario, which says so. */
    untried: z.enum(['good', 'bad']).nullable(),
    errorTimeMs: milliseconds.nullable(),
    /** What the planner went by at first; where nobody said it may learn another from the damage. */
    physicalSectorBytes: count,
    /** null = what the preset has for such a drive. */
    retries: count.nullable(),
    /** When the runs were ended; null = when they were done. */
    durationMs: milliseconds.nullable(),
  }),
  runs: z.array(
    z.object({
      preset: z.string(),
      ended: z.enum(['finished', 'gave-up', 'interrupted']),
      why: z.string(),
      elapsedMs: milliseconds,
      finishedSectors: count,
      badSectors: count,
      /** Finished, of what is readable: 0 to 1, and 1 where nothing is. */
      deliveredShare: z.number().min(0).max(1),
      reads: count,
      failingReads: count,
      resets: count,
      powerCycles: count,
      /** How far the heads travelled, in widths of the drive. */
      travelStrokes: z.number().nonnegative(),
      /** When so much of what is readable was finished; null = never. */
      until: z.array(
        z.object({
          percent: z.number(),
          atMs: milliseconds.nullable(),
          failingReads: count.nullable(),
        }),
      ),
      /** Milliseconds and sectors finished by then. */
      curve: z.array(z.tuple([milliseconds, count])),
    }),
  ),
});

export type RehearsalResult = z.infer<typeof rehearsalResultSchema>;
export type RehearsalRun = RehearsalResult['runs'][number];

/** Shares of what is readable whose time is told, in percent. */
export const untilPercents = [50, 90, 99, 99.9] as const;

/** A point of a curve for each of so many equal shares, and where time went on by this factor. */
const curveShares = 500;
const curveTimeFactor = 1.02;

export interface RehearsalRecord {
  readonly onEvent: (event: JobEvent, state: JobState) => void;
  /** The run, once it has ended. */
  finish(preset: string, end: JobEnd, state: JobState, travelStrokes: number): RehearsalRun;
}

/** Keeps of a run what tables and plots show: a thousand points, however many reads it had. */
export function createRecord(readableCount: number): RehearsalRecord {
  const curve: [number, number][] = [[0, 0]];
  const until: RehearsalRun['until'] = [];
  const marks = untilPercents.map((percent) => Math.ceil((readableCount * percent) / 100));
  let nextMs = 0;
  let nextCount = 0;
  let nextMark = marks[0]!;

  function notePoint(atMs: number, finished: number): void {
    curve.push([Math.round(atMs), finished]);
    nextMs = (atMs + 1) * curveTimeFactor;
    nextCount = finished + readableCount / curveShares;
  }

  function noteMarks(atMs: number, finished: number, failingReads: number): void {
    if (readableCount === 0) return; // There is nothing to be had, so no time by which it was in.
    for (; until.length < marks.length && finished >= marks[until.length]!; ) {
      until.push({ percent: untilPercents[until.length]!, atMs: Math.round(atMs), failingReads });
    }
    nextMark = marks[until.length] ?? Number.POSITIVE_INFINITY;
  }

  return {
    onEvent({ atMs }, { plan, totals }) {
      const finished = plan.map.countOf(statuses.finished);
      if (finished >= nextMark) noteMarks(atMs, finished, totals.failingReads);
      if (atMs >= nextMs || finished >= nextCount) notePoint(atMs, finished);
    },
    finish(preset, { how, why }, { plan, totals, atMs }, travelStrokes) {
      const finishedSectors = plan.map.countOf(statuses.finished);
      if (curve.at(-1)![0] < Math.round(atMs)) notePoint(atMs, finishedSectors);
      const missed = untilPercents.slice(until.length).map((percent) => ({
        percent,
        atMs: null,
        failingReads: null,
      }));
      return {
        preset,
        ended: how,
        why,
        elapsedMs: Math.round(atMs),
        finishedSectors,
        badSectors: plan.map.countOf(statuses['bad-sector']),
        deliveredShare: readableCount > 0 ? Math.min(1, finishedSectors / readableCount) : 1,
        reads: totals.reads,
        failingReads: totals.failingReads,
        powerCycles: totals.powerCycles,
        resets: totals.resets,
        travelStrokes,
        until: [...until, ...missed],
        curve,
      };
    },
  };
}

/** The runs side by side, for people, in two tables that fit a terminal. */
export function formatRehearsal({ drive, runs }: RehearsalResult): string {
  const { sectorCount, sectorBytes, readableSectors, physicalSectorBytes, seed } = drive;
  const lost = sectorCount - readableSectors;
  const size = formatBytes(sectorCount * sectorBytes);
  const facts = [drive.kind, size, `physical sectors of ${physicalSectorBytes} bytes`];
  if (drive.source === 'scenario') facts.push(`seed ${seed}`);
  const unread = `${lost} sectors unreadable (${formatBytes(lost * sectorBytes)})`;
  const whole = tableOf([
    ['preset', 'delivered', 'time', 'reads', 'failing', 'travel', 'power cycles'],
    ...runs.map((run) => wholeOf(run, readableSectors)),
  ]);
  const until = tableOf([
    ['preset', ...untilPercents.map((percent) => `${percent} %`)],
    ...runs.map((run) => [run.preset, ...run.until.map(untilOf)]),
  ]);
  const ends = runs
    .filter(({ ended }) => ended !== 'finished')
    .map(({ preset, ended, why }) => `${preset} ${endNames[ended]}: ${why}\n`);
  return [
    `${drive.name}: ${facts.join(', ')}; ${unread}\n\n`,
    `${whole}${ends.length > 0 ? '\n' : ''}${ends.join('')}`,
    `\ntime until so much of what is readable was in / failing reads until then\n${until}`,
  ].join('');
}

const endNames = { finished: 'finished', 'gave-up': 'gave up', interrupted: 'was stopped' };

function wholeOf(run: RehearsalRun, readable: number): string[] {
  return [
    run.preset,
    readable === 0 ? '-' : formatShare(Math.min(run.finishedSectors, readable), readable),
    formatDuration(run.elapsedMs),
    String(run.reads),
    String(run.failingReads),
    `${run.travelStrokes.toFixed(1)} widths`,
    String(run.powerCycles),
  ];
}

function untilOf({ atMs, failingReads }: RehearsalRun['until'][number]): string {
  return atMs === null ? '-' : `${formatDuration(atMs)} / ${failingReads}`;
}

/** The first column to the left, numbers to the right. */
function tableOf(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const lineOf = (row: readonly string[]) =>
    row
      .map((cell, n) => (n === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[n]!)))
      .join('  ');
  return rows.map((row) => `${lineOf(row)}\n`).join('');
}
