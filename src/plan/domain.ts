import { type Extent, endOf } from '../map/extent.js';
import { createRunMap, type RunMap, runMapBuilder } from '../map/run-map.js';
import { headsAfter, headsBefore } from './head-rows.js';
import type { Pass } from './pass.js';
import type { PlanState } from './state.js';

/** The domain: which sectors the job acts on, and in which order. Held as a run map, the scope: 0 is
 * outside and never read by a pass, 1 is first priority, 2 second, and so on. */

export const outside = 0;
/** Most priorities: what one byte a sector leaves. */
export const prioritiesMax = 254;

/** What a user may say of the domain. A sector of a map counts as held where its value is not 0. */
export interface DomainRequest {
  readonly sectorCount: number;
  /** Nothing but what one of these holds is read; the first is read first. None: the whole drive. */
  readonly domains: readonly RunMap[];
  /** Read before everything else, in this order, as far as they lie inside the domain. */
  readonly priorities: readonly RunMap[];
  /** Nothing but what one of these holds is read. None: no such limit. */
  readonly ranges?: readonly RunMap[];
  /** Never read, whatever else is said. */
  readonly excluded?: readonly RunMap[];
}

/** The scope that a request describes; its priorities are 1, 2, … without gaps. */
export function createScope(request: DomainRequest): RunMap {
  const { sectorCount, domains, priorities, ranges = [], excluded = [] } = request;
  const within = domains.length === 0 ? createRunMap(sectorCount, 1) : unionOf(domains);
  if (ranges.length > 0) clear(within, unionOf(ranges), (value) => value === 0);
  for (const map of excluded) clear(within, map, (value) => value !== 0);
  const scope = createRunMap(sectorCount, outside);
  let level = 0;
  for (const wanted of [...priorities, ...domains, createRunMap(sectorCount, 1)]) {
    if (raise(scope, within, wanted, Math.min(level + 1, prioritiesMax))) level += 1;
  }
  return scope;
}

/** Gives `level` to what is wanted, inside the domain and of no level yet; says whether that is anything. */
function raise(scope: RunMap, within: RunMap, wanted: RunMap, level: number): boolean {
  const countBefore = scope.countOf(outside);
  wanted.forEachRun((lba, count, value) => {
    if (value === 0) return;
    const end = lba + count;
    for (let piece = within.next(lba, 1, end); piece; piece = within.next(endOf(piece), 1, end)) {
      scope.setWhere(piece, outside, level);
    }
  });
  return scope.countOf(outside) < countBefore;
}

function unionOf(maps: readonly RunMap[]): RunMap {
  const union = createRunMap(maps[0]!.size, 0);
  for (const map of maps) {
    map.forEachRun((lba, count, value) => {
      if (value !== 0) union.set({ lba, count }, 1);
    });
  }
  return union;
}

function clear(target: RunMap, by: RunMap, where: (value: number) => boolean): void {
  by.forEachRun((lba, count, value) => {
    if (where(value)) target.set({ lba, count }, 0);
  });
}

/** A map that holds 1 inside the extents, which must lie on the drive, and 0 elsewhere. */
export function mapOfExtents(sectorCount: number, extents: readonly Extent[]): RunMap {
  const map = createRunMap(sectorCount, 0);
  for (const extent of extents) map.set(extent, 1);
  return map;
}

/** How many priorities a scope has. */
export function levelsOf(scope: RunMap): number {
  let level = prioritiesMax;
  while (level > 0 && scope.countOf(level) === 0) level -= 1;
  return level;
}

/** Sectors that are to be read. */
export function domainCount(scope: RunMap): number {
  return scope.size - scope.countOf(outside);
}

/** Sectors of the domain by status, as an array with the status as its index. */
export function countsWithin(map: RunMap, scope: RunMap): number[] {
  const counts = [0, 0, 0, 0, 0];
  scope.forEachRun((from, length, level) => {
    if (level === outside) return;
    map.forEachRun(
      (_lba, count, status) => {
        counts[status] = (counts[status] ?? 0) + count;
      },
      from,
      from + length,
    );
  });
  return counts;
}

/** Rows for a domain of several priorities: the copy rows over the first priority, then over the second,
 * and so on; then the trimming rows likewise, scraping, hung spots, retries. A row that names its own
 * priority stays as it is. */
export function rowsForPriorities(rows: readonly Pass[], levels: number): readonly Pass[] {
  if (levels <= 1) return rows;
  const expanded: Pass[] = [];
  for (let from = 0; from < rows.length; ) {
    let end = from + 1;
    while (end < rows.length && stageOf(rows[end]!) === stageOf(rows[from]!)) end += 1;
    const stage = rows.slice(from, end);
    for (let priority = 1; priority <= levels; priority++) {
      for (const row of stage) {
        if (row.priority === undefined)
          expanded.push({ ...row, name: `${row.name}, priority ${priority}`, priority });
        else if (row.priority === priority) expanded.push(row);
      }
    }
    from = end;
  }
  return expanded;
}

function stageOf(row: Pass): string {
  return row.area === 'hung' ? 'hung' : row.phase;
}

/** Where a row may read at the first chance at or after `from`: inside the domain, its priority, its own
 * ranges, its heads, and what the cursor is bound to. */
export function permittedAfter(state: PlanState, pass: Pass, from: number): Extent | undefined {
  let at = Math.max(from, state.bounds.lba);
  while (at < endOf(state.bounds)) {
    const scoped = scopedAfter(state.scope, pass.priority, at);
    if (!scoped) return undefined;
    const ranged = rangeAfter(pass.ranges, scoped.lba, state.sectorCount);
    const headed = ranged && headsAfter(state, pass, ranged.lba);
    if (!headed) return undefined;
    const end = Math.min(endOf(scoped), endOf(ranged), endOf(headed), endOf(state.bounds));
    if (headed.lba < end) return { lba: headed.lba, count: end - headed.lba };
    at = Math.max(headed.lba, scoped.lba + 1);
  }
  return undefined;
}

/** The same for the last chance below `before`. */
export function permittedBefore(state: PlanState, pass: Pass, before: number): Extent | undefined {
  let at = Math.min(before, endOf(state.bounds));
  while (at > state.bounds.lba) {
    const scoped = scopedBefore(state.scope, pass.priority, at);
    if (!scoped) return undefined;
    const ranged = rangeBefore(pass.ranges, endOf(scoped), state.sectorCount);
    const headed = ranged && headsBefore(state, pass, endOf(ranged));
    if (!headed) return undefined;
    const lba = Math.max(scoped.lba, ranged.lba, headed.lba, state.bounds.lba);
    if (endOf(headed) > lba) return { lba, count: endOf(headed) - lba };
    at = Math.min(endOf(headed), endOf(scoped) - 1);
  }
  return undefined;
}

type Find = (state: PlanState, pass: Pass, from: number) => Extent | undefined;

/** The first extent at or after `from` that `find` finds and the row may read. */
export function firstPermitted(
  state: PlanState,
  pass: Pass,
  from: number,
  find: Find,
): Extent | undefined {
  for (let at = from; at < state.sectorCount; ) {
    const found = find(state, pass, at);
    if (!found) return undefined;
    const permitted = permittedAfter(state, pass, found.lba);
    if (!permitted) return undefined;
    const end = Math.min(endOf(found), endOf(permitted));
    if (permitted.lba < end) return { lba: permitted.lba, count: end - permitted.lba };
    at = permitted.lba;
  }
  return undefined;
}

/** The last extent below `before` that `find` finds and the row may read. */
export function lastPermitted(
  state: PlanState,
  pass: Pass,
  before: number,
  find: Find,
): Extent | undefined {
  for (let at = before; at > 0; ) {
    const found = find(state, pass, at);
    if (!found) return undefined;
    const permitted = permittedBefore(state, pass, endOf(found));
    if (!permitted) return undefined;
    const lba = Math.max(found.lba, permitted.lba);
    if (endOf(permitted) > lba) return { lba, count: endOf(permitted) - lba };
    at = endOf(permitted);
  }
  return undefined;
}

/** The part of the domain at or after `at`, clipped to begin there; of one priority, or of any. */
export function scopedAfter(
  scope: RunMap,
  priority: number | undefined,
  at: number,
): Extent | undefined {
  if (priority !== undefined) return scope.next(at, priority);
  const first = scope.next(at, outside);
  const lba = first?.lba === at ? endOf(first) : at;
  if (lba >= scope.size) return undefined;
  const next = first?.lba === at ? scope.next(lba, outside) : first;
  return { lba, count: (next?.lba ?? scope.size) - lba };
}

/** The part of the domain below `before`, clipped to end there. */
export function scopedBefore(
  scope: RunMap,
  priority: number | undefined,
  before: number,
): Extent | undefined {
  if (priority !== undefined) return scope.previous(before, priority);
  const first = scope.previous(before, outside);
  const touches = first !== undefined && endOf(first) === before;
  const end = touches ? first.lba : before;
  if (end <= 0) return undefined;
  const previous = touches ? scope.previous(end, outside) : first;
  const lba = previous ? endOf(previous) : 0;
  return { lba, count: end - lba };
}

function rangeAfter(
  ranges: readonly Extent[] | undefined,
  at: number,
  sectorCount: number,
): Extent | undefined {
  if (!ranges) return { lba: at, count: sectorCount - at };
  let best: Extent | undefined;
  for (const range of ranges) {
    const end = Math.min(endOf(range), sectorCount);
    const lba = Math.max(range.lba, at);
    if (lba < end && (!best || lba < best.lba)) best = { lba, count: end - lba };
  }
  return best;
}

function rangeBefore(
  ranges: readonly Extent[] | undefined,
  before: number,
  sectorCount: number,
): Extent | undefined {
  if (!ranges) return { lba: 0, count: before };
  let best: Extent | undefined;
  for (const range of ranges) {
    const end = Math.min(endOf(range), sectorCount, before);
    if (range.lba < end && (!best || end > endOf(best)))
      best = { lba: range.lba, count: end - range.lba };
  }
  return best;
}

/** A scope as plain data: count and level of every run. `undefined` for the whole drive at one level. */
export function packScope(scope: RunMap): number[] | undefined {
  if (scope.countOf(1) === scope.size) return undefined;
  const packed: number[] = [];
  scope.forEachRun((_lba, count, level) => {
    packed.push(count, level);
  });
  return packed;
}

/** The scope that was packed, or the whole drive where the data is none of this drive's. */
export function unpackScope(packed: readonly number[] | undefined, sectorCount: number): RunMap {
  const whole = () => createRunMap(sectorCount, 1);
  if (!packed || packed.length === 0 || packed.length % 2 !== 0) return whole();
  const builder = runMapBuilder(sectorCount);
  let at = 0;
  for (let index = 0; index < packed.length; index += 2) {
    const [count, level] = [packed[index]!, packed[index + 1]!];
    if (!(Number.isSafeInteger(count) && count > 0 && at + count <= sectorCount)) return whole();
    if (!(Number.isInteger(level) && level >= 0 && level <= 255)) return whole();
    builder.append(at, level);
    at += count;
  }
  return at === sectorCount ? builder.finish() : whole();
}
