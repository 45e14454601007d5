/** Where a scenario's faults are. Places are kept per row as sorted ranges of physical sectors, so
 * that asking costs a binary search a row and a healthy read next to nothing. */
import { fraction, hash } from './random.js';
import type { Scenario } from './scenario.js';
import { type FaultOf, isPlaced, type PlacedFault } from './schema.js';

export interface PlacedRow {
  readonly fault: PlacedFault;
  /** Position in the scenario: part of what its chances are drawn from. */
  readonly index: number;
  /** Whether the place meets the physical sectors `from` to `end` (exclusive), at least roughly. */
  meets(from: number, end: number): boolean;
  /** Whether this physical sector has the fault. */
  covers(physical: number): boolean;
  /** The first physical sector of the place at or after this one, whatever share of the place has the
   * fault; Infinity = none. */
  placeFrom(physical: number): number;
  /** Where the part of the place ends that a physical sector is in. */
  placeEnd(physical: number): number;
  /** Share of the physical sectors of the place that have the fault. */
  readonly share: number;
}

/** Bad sectors by the million: sorted, disjoint ranges of sectors [from, end) that have one fault. */
export interface Damage {
  /** Its place is the ranges, not what it says itself. */
  readonly fault: FaultOf<'bad'>;
  readonly froms: Float64Array;
  readonly ends: Float64Array;
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
 * range is widened to the ones it touches. `damage` says where its fault, which is one of the rows, is. */
export function placeFaults(
  scenario: Scenario,
  headOf: (lba: number) => number,
  damage?: Damage,
): PlacedRow[] {
  const rows: PlacedRow[] = [];
  for (const [index, fault] of scenario.faults.entries()) {
    if (!isPlaced(fault)) continue;
    const where =
      fault === damage?.fault
        ? rangesPlace(damage.froms, damage.ends, physicalRatio(scenario))
        : placeOf(fault, index, scenario, headOf);
    const share = (fault.perMillion ?? 1_000_000) / 1_000_000;
    const topic = faultTopic(index, 'share');
    const covers =
      share === 1
        ? where.covers
        : (physical: number) =>
            where.covers(physical) && fraction(scenario.seed, topic, physical) < share;
    rows.push({ ...where, fault, index, covers, share });
  }
  return rows;
}

type Where = Pick<PlacedRow, 'meets' | 'covers' | 'placeFrom' | 'placeEnd'>;

function placeOf(
  fault: PlacedFault,
  index: number,
  scenario: Scenario,
  headOf: (lba: number) => number,
): Where {
  if (fault.everywhere) return everywhere;
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
  const froms = Float64Array.from(starts).sort();
  return rangesPlace(
    froms,
    froms.map((from) => from + count),
    ratio,
  );
}

const everywhere: Where = {
  meets: () => true,
  covers: () => true,
  placeFrom: (physical) => physical,
  placeEnd: () => Number.POSITIVE_INFINITY,
};

function headPlace(
  head: number,
  scenario: Scenario,
  ratio: number,
  headOf: (lba: number) => number,
): Where {
  const { bandSectors } = scenario.mechanics;
  const bandEnd = (physical: number) =>
    Math.ceil(((Math.floor((physical * ratio) / bandSectors) + 1) * bandSectors) / ratio);
  return {
    meets(from, end) {
      const lastLba = end * ratio - 1;
      for (let lba = from * ratio; ; lba = Math.min(lastLba, lba + bandSectors)) {
        if (headOf(lba) === head) return true;
        if (lba >= lastLba) return false;
      }
    },
    covers: (physical) => headOf(physical * ratio) === head,
    placeFrom(physical) {
      let at = physical;
      while (headOf(at * ratio) !== head) at = bandEnd(at);
      return at;
    },
    placeEnd(physical) {
      let at = physical;
      while (headOf(at * ratio) === head) {
        at = bandEnd(at);
        if (at * ratio >= scenario.sectorCount) return Number.POSITIVE_INFINITY;
      }
      return at;
    },
  };
}

/** Sorted, disjoint ranges of physical sectors from sorted ranges of sectors, which may overlap. */
function rangesPlace(fromLbas: Float64Array, endLbas: Float64Array, ratio: number): Where {
  const froms = new Float64Array(fromLbas.length);
  const ends = new Float64Array(fromLbas.length);
  let length = 0;
  for (let each = 0; each < fromLbas.length; each++) {
    const from = Math.floor((fromLbas[each] as number) / ratio);
    const end = Math.ceil((endLbas[each] as number) / ratio);
    const last = length - 1;
    if (last >= 0 && from <= (ends[last] as number)) {
      ends[last] = Math.max(ends[last] as number, end);
    } else {
      froms[length] = from;
      ends[length] = end;
      length += 1;
    }
  }
  return sortedPlace(froms.subarray(0, length), ends.subarray(0, length));
}

function sortedPlace(froms: Float64Array, ends: Float64Array): Where {
  const lowest = froms[0] ?? 0;
  const highest = ends.at(-1) ?? 0;
  const meets = (from: number, end: number) => {
    if (end <= lowest || from >= highest) return false;
    // The first range that ends behind `from` is the only one that can decide.
    const at = firstAbove(ends, from);
    return at < froms.length && (froms[at] as number) < end;
  };
  return {
    meets,
    covers: (physical) => meets(physical, physical + 1),
    placeFrom: (physical) =>
      Math.max(physical, froms[firstAbove(ends, physical)] ?? Number.POSITIVE_INFINITY),
    placeEnd: (physical) => ends[firstAbove(ends, physical)] ?? Number.POSITIVE_INFINITY,
  };
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
