/** Where a scenario's faults are. Places are kept per row as sorted ranges of physical sectors, so
 * that asking costs a binary search a row and a healthy read next to nothing. */
import { fraction, hash } from './random.js';
import type { Scenario } from './scenario.js';
import { isPlaced, type PlacedFault } from './schema.js';

export interface PlacedRow {
  readonly fault: PlacedFault;
  /** Position in the scenario: part of what its chances are drawn from. */
  readonly index: number;
  /** Whether the place meets the physical sectors `from` to `end` (exclusive), at least roughly. */
  meets(from: number, end: number): boolean;
  /** Whether this physical sector has the fault. */
  covers(physical: number): boolean;
}

/** Topics of the hash, apart from those of other files. Each row has its own block of topics. */
const topicsPerRow = 16;
const firstTopic = 1000;

export type FaultTopic =
  | 'share'
  | 'place'
  | 'try'
  | 'threshold'
  | 'spread'
  | 'garbage'
  | 'duration';
const topicOffsets: Record<FaultTopic, number> = {
  share: 0,
  place: 1,
  try: 2,
  threshold: 3,
  spread: 4,
  garbage: 5,
  duration: 6,
};

/** The number that a row's chances of one sort are drawn by. */
export function faultTopic(rowIndex: number, topic: FaultTopic): number {
  return firstTopic + rowIndex * topicsPerRow + topicOffsets[topic];
}

/** Sectors per physical sector. */
export function physicalRatio(scenario: Scenario): number {
  return scenario.physicalSectorBytes / scenario.sectorBytes;
}

/** The rows of a scenario that have a place, in its order. Faults take whole physical sectors: a
 * range is widened to the ones it touches. */
export function placeFaults(scenario: Scenario, headOf: (lba: number) => number): PlacedRow[] {
  const rows: PlacedRow[] = [];
  for (const [index, fault] of scenario.faults.entries()) {
    if (!isPlaced(fault)) continue;
    const where = placeOf(fault, index, scenario, headOf);
    const share = (fault.perMillion ?? 1_000_000) / 1_000_000;
    const topic = faultTopic(index, 'share');
    const covers =
      share === 1
        ? where.covers
        : (physical: number) =>
            where.covers(physical) && fraction(scenario.seed, topic, physical) < share;
    rows.push({ fault, index, meets: where.meets, covers });
  }
  return rows;
}

type Where = Pick<PlacedRow, 'meets' | 'covers'>;

function placeOf(
  fault: PlacedFault,
  index: number,
  scenario: Scenario,
  headOf: (lba: number) => number,
): Where {
  if (fault.everywhere) return { meets: () => true, covers: () => true };
  const ratio = physicalRatio(scenario);
  if (fault.head !== undefined) return headPlace(fault.head, scenario, ratio, headOf);
  const count = fault.count ?? 1;
  const starts: number[] = [];
  if (fault.lba !== undefined) {
    for (let each = 0; each < (fault.repeats ?? 1); each++) {
      starts.push(fault.lba + each * (fault.pitch ?? 0));
    }
  } else {
    const topic = faultTopic(index, 'place');
    const room = Math.max(1, scenario.sectorCount - count + 1);
    for (let each = 0; each < (fault.scattered ?? 0); each++) {
      starts.push(Math.floor(fraction(scenario.seed, topic, each) * room));
    }
  }
  return rangesPlace(starts, count, ratio);
}

function headPlace(
  head: number,
  scenario: Scenario,
  ratio: number,
  headOf: (lba: number) => number,
): Where {
  const { bandSectors } = scenario.mechanics;
  return {
    meets(from, end) {
      const lastLba = end * ratio - 1;
      for (let lba = from * ratio; ; lba = Math.min(lastLba, lba + bandSectors)) {
        if (headOf(lba) === head) return true;
        if (lba >= lastLba) return false;
      }
    },
    covers: (physical) => headOf(physical * ratio) === head,
  };
}

/** Sorted, disjoint ranges of physical sectors from the starts of ranges of sectors. */
function rangesPlace(startLbas: number[], count: number, ratio: number): Where {
  startLbas.sort((a, b) => a - b);
  const froms: number[] = [];
  const ends: number[] = [];
  for (const lba of startLbas) {
    const from = Math.floor(lba / ratio);
    const end = Math.ceil((lba + count) / ratio);
    const last = ends.length - 1;
    if (last >= 0 && from <= (ends[last] as number)) {
      ends[last] = Math.max(ends[last] as number, end);
    } else {
      froms.push(from);
      ends.push(end);
    }
  }
  const sortedEnds = Float64Array.from(ends);
  const sortedFroms = Float64Array.from(froms);
  const lowest = froms[0] ?? 0;
  const highest = ends.at(-1) ?? 0;
  const meets = (from: number, end: number) => {
    if (end <= lowest || from >= highest) return false;
    // The first range that ends behind `from` is the only one that can decide.
    const at = firstAbove(sortedEnds, from);
    return at < sortedFroms.length && (sortedFroms[at] as number) < end;
  };
  return { meets, covers: (physical) => meets(physical, physical + 1) };
}

function firstAbove(sorted: Float64Array, value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] as number) > value) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** A value, or one drawn from [least, most] for the `drawn`-th time. */
export function drawFrom(
  range: number | readonly [number, number],
  seed: number,
  topic: number,
  drawn: number,
): number {
  if (typeof range === 'number') return range;
  const [least, most] = range;
  return least + (most - least) * fraction(seed, topic, drawn);
}

/** Fills a sector with bytes that follow from `seed`. */
export function fillGarbage(into: Uint8Array, seed: number): void {
  for (let at = 0; at < into.length; at++) into[at] = hash(seed, 0, at);
}
