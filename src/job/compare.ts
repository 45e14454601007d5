/** Reading again what was read, on drives whose sectors change from read to read. What differs is read more
 * often, every version is kept, and the one that most reads agree on goes into the image. */

import { type Extent, endOf } from '../map/extent.js';
import { createRunMap, type RunMap } from '../map/run-map.js';
import { statuses } from '../map/status.js';
import { outside } from '../plan/domain.js';
import type { BlamedEvent, ReadEvent } from '../plan/events.js';
import type { PlanState } from '../plan/state.js';

export interface CompareState {
  /** Share of the groups that is read again, 0 to 100. */
  percent: number;
  /** Next LBA to look at. */
  cursor: number;
  /** Sectors of this sample that were read again, as often as it took. */
  comparedCount: number;
  /** A read whose failure nobody has been blamed for yet. */
  suspect: ReadEvent | undefined;
  /** Verdicts other than a good read over one and the same group. */
  failures: number;
  /** 1 where reads of a sector differed. */
  readonly unstable: RunMap;
}

export function createCompareState(sectorCount: number, percent: number): CompareState {
  return {
    percent,
    cursor: 0,
    comparedCount: 0,
    suspect: undefined,
    failures: 0,
    unstable: createRunMap(sectorCount),
  };
}

/** Sectors of a group that is read again. */
const groupCount = 128;
/** A group that fails so often is left as it is. */
const failuresMax = 3;

/** The next group to read again, of the domain; undefined when all that was asked for was. Groups of a share
 * are spread evenly. */
export function nextToCompare(compare: CompareState, plan: PlanState): Extent | undefined {
  if (compare.percent <= 0) return undefined;
  for (let at = compare.cursor; at < plan.sectorCount; ) {
    const run = plan.map.next(at, statuses.finished);
    if (!run || run.count === 0) return undefined;
    const area = plan.scope.runAt(run.lba);
    const group = Math.floor(run.lba / groupCount);
    const groupEnd = (group + 1) * groupCount;
    const isWanted = area.value !== outside;
    if (isWanted && isSampled(group, compare.percent))
      return { lba: run.lba, count: Math.min(endOf(run), groupEnd, endOf(area)) - run.lba };
    at = isWanted ? groupEnd : endOf(area);
  }
  return undefined;
}

/** Takes a share that somebody asks for: a sample under way goes on, one that is complete is taken anew. */
export function askToCompare(compare: CompareState, plan: PlanState, percent: number): void {
  // By the former share: a larger one would find something behind the end of a sample that is complete.
  const isUnderWay = nextToCompare(compare, plan) !== undefined;
  compare.percent = percent;
  if (isUnderWay && nextToCompare(compare, plan)) return;
  compare.cursor = 0;
  compare.comparedCount = 0;
}

function isSampled(group: number, percent: number): boolean {
  return Math.floor(((group + 1) * percent) / 100) > Math.floor((group * percent) / 100);
}

/** A further reading: what failed for another reason than the medium waits for a verdict. */
export function foldCompareRead(compare: CompareState, event: ReadEvent): void {
  const isRead = event.outcome === 'good' || event.outcome === 'slow';
  if (isRead) compare.failures = 0;
  else if (event.cause === 'medium') moveOn(compare, event);
  else if (event.outcome !== 'not-attempted') compare.suspect = event;
}

/** Nothing is marked for a second reading that fails: the first one is in the image. */
export function foldCompareBlame(compare: CompareState, { on }: BlamedEvent): void {
  const { suspect } = compare;
  if (!suspect) return;
  compare.suspect = undefined;
  compare.failures += 1;
  if (on === 'place' || compare.failures >= failuresMax) moveOn(compare, suspect);
}

/** As much is known of the group as reading again tells. */
export function foldCompared(compare: CompareState, extent: Extent): void {
  compare.comparedCount += extent.count;
  moveOn(compare, extent);
}

/** What the group holds is known, or will not be. */
export function moveOn(compare: CompareState, extent: Extent): void {
  compare.cursor = endOf(extent);
  compare.failures = 0;
}

/** Readings of a group that varies: at least five, and more while no three of them agree. */
const readingsMin = 5;
const readingsMax = 15;
const agreeingMin = 3;

/** One sector whose readings differ. */
export interface Varying {
  readonly lba: number;
  /** Different contents, the one that most readings agree on first; of equals the one read first. */
  readonly versions: readonly { readonly data: Uint8Array; readonly readings: number }[];
}

/** A group that is being read again. */
export interface Comparison {
  readonly extent: Extent;
  /** Takes one more reading. Returns the sectors that vary as soon as enough readings tell, none if all
   * agree; undefined while more are needed. */
  add(data: Uint8Array): readonly Varying[] | undefined;
}

/** `first` is what the image has. */
export function createComparison(extent: Extent, first: Uint8Array): Comparison {
  const sectorBytes = first.length / extent.count;
  const readings = [first];
  return {
    extent,
    add(data) {
      readings.push(data);
      const varying = varyingSectors(extent, readings, sectorBytes);
      const isClear = varying.every(({ versions }) => (versions[0]?.readings ?? 0) >= agreeingMin);
      const isEnough = readings.length >= readingsMin && isClear;
      const isOver = varying.length === 0 || isEnough || readings.length >= readingsMax;
      return isOver ? varying : undefined;
    },
  };
}

function varyingSectors(
  extent: Extent,
  readings: readonly Uint8Array[],
  sectorBytes: number,
): Varying[] {
  const [first] = readings;
  if (readings.every((reading) => Buffer.compare(reading, first!) === 0)) return [];
  const found: Varying[] = [];
  for (let index = 0; index < extent.count; index++) {
    const versions: { data: Uint8Array; readings: number }[] = [];
    for (const reading of readings) {
      const data = reading.subarray(index * sectorBytes, (index + 1) * sectorBytes);
      const same = versions.find((version) => Buffer.compare(version.data, data) === 0);
      if (same) same.readings += 1;
      else versions.push({ data, readings: 1 });
    }
    if (versions.length < 2) continue;
    // Stable: of equals the one read first stays first.
    versions.sort((a, b) => b.readings - a.readings);
    found.push({ lba: extent.lba + index, versions });
  }
  return found;
}

/** A line of the file of versions: every content that a sector was read with, the chosen one first. */
export function versionsLine({ lba, versions }: Varying): string {
  const listed = versions.map(({ data, readings }) => ({
    readings,
    base64: Buffer.from(data).toString('base64'),
  }));
  return `${JSON.stringify({ lba, versions: listed })}\n`;
}
