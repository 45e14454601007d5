/** Whether log, map and journal of a case tell one story: which lines of the log the map has, which the journal has
 * besides, and what stands behind both. Line by line, in the memory of the journal. */

import { isDeepStrictEqual } from 'node:util';
import type { LogPosition } from '../image/event-log.js';
import type { LoadedJournal } from '../image/journal.js';
import type { FillRecord } from './events.js';
import { bodyOf, parseLogLine, type RecordedEvent } from './recorded.js';

/** What map and journal say of the log. */
export interface KnownOfLog {
  /** The checkpoint's number; undefined without a map of ours. */
  readonly number: number | undefined;
  /** The last line that the checkpoint has. */
  readonly anchor: LogPosition | undefined;
  readonly journal: LoadedJournal | undefined;
  /** As the checkpoint has them. */
  readonly fills: readonly FillRecord[];
}

/** How the journal stands to map and log.
 * - `current`: it goes on where the map ends.
 * - `earlier`: all that it has is in the map, as a crash leaves it or a fill that made no new one.
 * - `later`: it continues a map that is not there.
 * - `other`: what it has is not what the log has, or no crash leaves it beside this map.
 * - `lost`: there is none, though the log has events that the map has not. */
export type JournalStand = 'none' | 'damaged' | 'current' | 'earlier' | 'later' | 'other' | 'lost';

/** The last run as the lines tell it that the map or the journal knows of. */
export interface LastRun {
  /** How it ended; undefined where it did not end in order. */
  readonly how: string | undefined;
  /** Whether it was to list the hashes of what it read. */
  readonly isHashed: boolean;
}

export interface Agreement {
  readonly journal: JournalStand;
  /** Undefined where no line tells of a run. */
  readonly lastRun: LastRun | undefined;
  /** Whether there is more in the log than that runs were about to begin. */
  readonly hasEvents: boolean;
  /** What the last line that the map has tells of. */
  readonly anchorKind: string | undefined;
  /** Lines behind what map and journal have, where a crash explains them: a run or a fill was about to begin, or the
   * map was saved by a fill that could not tell them from others. */
  readonly begunLines: number;
  /** Other lines there, and the first of them. */
  readonly unknownLines: number;
  readonly firstUnknown: number | undefined;
  /** Whether the map was saved by a fill that left it knowing of no line since. */
  readonly isPastFill: boolean;
}

export interface AgreementCheck {
  /** Whether map or journal have what this line tells. */
  isKnown(n: number): boolean;
  /** The lines in order. */
  take(bytes: Buffer, position: LogPosition): void;
  finish(): Agreement;
}

/** What is written into the log before the map is saved with it. */
const openingKinds = new Set(['log', 'run', 'state', 'map']);
const beforeTheMap = new Set([...openingKinds, 'image-changed', 'noticed', 'filled']);
/** What the last checkpoint of a run that ended in order has last: its journal has it as well until the next begins. */
const endKinds = new Set(['ended', 'acted', 'hashed']);

export function createAgreementCheck(known: KnownOfLog): AgreementCheck {
  const { anchor, journal, number } = known;
  const records = (journal?.records ?? []) as RecordedEvent[];
  const isCurrent = journal !== undefined && journal.base === number;
  const byNumber = new Map(records.map((record) => [record.n, record]));
  const end = knownEnd(anchor, isCurrent ? records : []);
  const lastFill = known.fills.at(-1);
  let lastRun: LastRun | undefined;
  let hasEvents = false;
  let anchorKind: string | undefined;
  let isOther = false;
  let isPastFill = false;
  let knownFills = 0;
  let begunLines = 0;
  let unknownLines = 0;
  let firstUnknown: number | undefined;

  function takeKnown(bytes: Buffer, kind: string): void {
    if (kind === 'filled') knownFills += 1;
    if (kind !== 'run' && kind !== 'ended') return;
    const line = parseLogLine(bytes.toString('utf8'));
    const { options, how } = (line ?? {}) as { options?: { hash?: unknown }; how?: unknown };
    if (kind === 'run') lastRun = { how: undefined, isHashed: options?.hash !== false };
    else lastRun = { isHashed: lastRun?.isHashed ?? false, how: String(how) };
  }

  function takeUnknown(bytes: Buffer, n: number, kind: string): void {
    if (kind === 'filled' && lastFill && isCurrent && records.length === 0)
      isPastFill ||= knownFills < known.fills.length && isFill(bytes, lastFill);
    if (beforeTheMap.has(kind)) {
      begunLines += 1;
      return;
    }
    unknownLines += 1;
    firstUnknown ??= n;
  }

  /** Of a journal whose records have numbers: that they follow the map, or are in it. */
  function standOfNumbers(): JournalStand {
    const last = records.at(-1)?.n;
    if (isCurrent) {
      const first = records[0]?.n;
      return anchor && first !== undefined && first !== anchor.n + 1 ? 'other' : 'current';
    }
    if ((journal?.base ?? 0) > (number ?? 0)) return 'later';
    if (!anchor || anchorKind === undefined) return 'earlier';
    const isLeft = last !== undefined && last === anchor.n;
    const isBehind = last !== undefined && last > anchor.n;
    return isBehind || (endKinds.has(anchorKind) && !isLeft) ? 'other' : 'earlier';
  }

  function standOfJournal(): JournalStand {
    if (!journal) return unknownLines > 0 && number !== undefined ? 'lost' : 'none';
    if (journal.damage) return 'damaged';
    if (isOther) return 'other';
    const stand = standOfNumbers();
    // Then something has taken the place of the journal that had them.
    return stand === 'earlier' && unknownLines > 0 ? 'other' : stand;
  }

  return {
    isKnown: (n) => n <= end,
    take(bytes, { n }) {
      const kind = kindOf(bytes);
      hasEvents ||= !openingKinds.has(kind);
      if (n === anchor?.n) anchorKind = kind;
      const record = byNumber.get(n);
      if (record) isOther ||= !isOfLine(record, bytes);
      if (n <= end) takeKnown(bytes, kind);
      else takeUnknown(bytes, n, kind);
    },
    finish() {
      const found = { lastRun, hasEvents, anchorKind, isPastFill };
      if (!isPastFill)
        return { ...found, journal: standOfJournal(), begunLines, unknownLines, firstUnknown };
      const lines = { begunLines: begunLines + unknownLines, unknownLines: 0 };
      unknownLines = 0;
      return { ...found, journal: standOfJournal(), ...lines, firstUnknown: undefined };
    },
  };
}

/** The last line that map or journal have; without limit where nothing tells it. */
function knownEnd(anchor: LogPosition | undefined, records: readonly RecordedEvent[]): number {
  if (!anchor) return Number.POSITIVE_INFINITY;
  const last = records.at(-1);
  return last ? (last.n ?? Number.POSITIVE_INFINITY) : anchor.n;
}

function kindOf(bytes: Buffer): string {
  return /"kind":"([a-z-]+)"/.exec(bytes.toString('latin1', 0, 160))?.[1] ?? '';
}

/** Whether a record would be written as this line. */
function isOfLine(record: RecordedEvent, bytes: Buffer): boolean {
  const line = parseLogLine(bytes.toString('utf8'));
  if (!line) return false;
  const { n: _n, hash: _hash, ...body } = line;
  return isDeepStrictEqual(JSON.parse(JSON.stringify(bodyOf(record))), body);
}

function isFill(bytes: Buffer, { unread, unreadable }: FillRecord): boolean {
  const line = parseLogLine(bytes.toString('utf8')) as FillRecord | undefined;
  return line?.unread === unread && line?.unreadable === unreadable;
}
