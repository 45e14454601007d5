import { type Extent, endOf } from '../map/extent.js';
import { createRunMap, type RunMap } from '../map/run-map.js';
import { statuses } from '../map/status.js';
import type { HeadMapData, HeadMapProblem } from './head-map-schema.js';
import {
  evidenceMin,
  type HeadMap,
  isSpreadLikeHead,
  likelihoodOf,
  rateOf,
  type Seen,
  sumOf,
} from './heads.js';

/** A head map that somebody gave: which head reads which sectors. */
export interface GivenHeads {
  readonly data: HeadMapData;
  /** By sector, the number of its head plus one; 0 where nobody knows. */
  readonly map: RunMap;
  /** The bands of each head, ascending. */
  readonly bands: readonly (readonly Extent[])[];
}

/** Lays the bands of a head map out over a drive. Their edges are moved down to whole physical sectors, none of
 * which two heads share. What lies beyond the drive is left out. */
export function createGivenHeads(
  data: HeadMapData,
  sectorCount: number,
  physicalCount: number,
): GivenHeads {
  const map = createRunMap(sectorCount);
  const whole = (lba: number) =>
    lba >= sectorCount ? sectorCount : Math.floor(lba / physicalCount) * physicalCount;
  forEachBand(data, sectorCount, (head, from, to) => {
    const lba = whole(from);
    const count = whole(to) - lba;
    if (count > 0) map.set({ lba, count }, head + 1);
  });
  const bands = Array.from({ length: data.heads }, (): Extent[] => []);
  map.forEachRun((lba, count, value) => {
    if (value > 0) bands[value - 1]?.push({ lba, count });
  });
  return { data, map, bands };
}

/** Visits the bands of zones, then the single ones; `entry` is the index of the latter. */
function forEachBand(
  { zones, bands }: HeadMapData,
  sectorCount: number,
  visit: (head: number, from: number, to: number, entry?: number) => void,
): void {
  for (const { from, to, order, bandSectors } of zones) {
    const end = Math.min(to, sectorCount);
    let turn = 0;
    for (let at = from; at < end; turn = (turn + 1) % order.length) {
      const next = Math.min(end, at + bandSectors[turn]!);
      visit(order[turn]!, at, next);
      at = next;
    }
  }
  for (const [entry, { head, from, sectors, period, to }] of bands.entries()) {
    const end = Math.min(to, sectorCount);
    for (let at = from; at < end; at += period || sectorCount)
      visit(head, at, Math.min(end, at + sectors), entry);
  }
}

/** Single bands that claim the same sectors for two heads: each is told once, by the later of the two. */
export function overlapsOf(data: HeadMapData, sectorCount: number): HeadMapProblem[] {
  const taken = createRunMap(sectorCount);
  const problems: HeadMapProblem[] = [];
  let told = -1;
  forEachBand(data, sectorCount, (head, from, to, entry) => {
    if (entry === undefined) return;
    const clash = clashIn(taken, from, to, head + 1);
    if (clash !== undefined && entry !== told) {
      const message = `LBA ${clash} is a band of head ${taken.valueAt(clash) - 1} already`;
      problems.push({ path: ['bands', entry], message });
      told = entry;
    }
    taken.set({ lba: from, count: to - from }, head + 1);
  });
  return problems;
}

function clashIn(taken: RunMap, from: number, to: number, own: number): number | undefined {
  let clash: number | undefined;
  taken.forEachRun(
    (lba, _count, value) => {
      if (value === 0 || value === own) return;
      clash ??= lba;
    },
    from,
    to,
  );
  return clash;
}

/** What tells weak heads from good ones. */
export interface BandEvidence {
  readonly map: RunMap;
  readonly physicalCount: number;
  /** Where damage begins, ascending LBAs. */
  readonly spots: readonly number[];
  /** What the cells show whose middle lies in an extent. */
  see(extent: Extent): Seen;
}

/** The weak heads of a given map, by hand or by how they read, and what reading with them costs; undefined
 * where none is weak. */
export function weakOf(given: GivenHeads, evidence: BandEvidence): HeadMap | undefined {
  const { data, bands } = given;
  const seen = bands.map((each) => each.map((band) => seenInBand(band, evidence)));
  const numbers = (data.weak ?? suspects(seen, data.dead)).filter(
    (head) => !data.dead.includes(head),
  );
  if (numbers.length === 0) return undefined;
  const inside = sumOf(numbers.flatMap((head) => seen[head]!));
  return {
    weak: bandsOfHeads(given, numbers),
    heads: data.heads,
    numbers,
    slowness: Math.max(1, inside.slowness),
    // Who calls a head weak is believed until it has read well for a while.
    spotRate: (inside.poor + 1) / (inside.poor + inside.tried + namedWeight),
    ...(!data.weak && { evidence: likelihoodOf(inside, sumOf(seen.flat())) }),
  };
}

/** The word of a person is worth one spot in so many physical sectors. */
const namedWeight = 100;

/** Bands of these heads, ascending; those that touch are one. */
export function bandsOfHeads({ map }: GivenHeads, numbers: readonly number[]): Extent[] {
  const joined: { lba: number; count: number }[] = [];
  map.forEachRun((lba, count, value) => {
    if (!numbers.includes(value - 1)) return;
    const last = joined.at(-1);
    if (last && endOf(last) === lba) last.count += count;
    else joined.push({ lba, count });
  });
  return joined;
}

/** Cells remember failures that were read later on; the map has the edges that cells are too coarse for. */
function seenInBand(band: Extent, { map, physicalCount, spots, see }: BandEvidence): Seen {
  const cells = see(band);
  let finished = 0;
  map.forEachRun(
    (_lba, count, value) => {
      if (value === statuses.finished) finished += count;
    },
    band.lba,
    endOf(band),
  );
  return {
    poor: Math.max(cells.poor, rankOf(spots, endOf(band)) - rankOf(spots, band.lba)),
    tried: Math.max(cells.tried, finished / physicalCount),
    slowness: cells.slowness,
  };
}

/** How many of these lie below `lba`. */
export function rankOf(ascending: readonly number[], lba: number): number {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ascending[middle]! < lba) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** A weak head fails at least so many times as often as the good ones. */
const weakFactor = 4;
/** At most this share of the heads is weak: what most do is how the drive is. */
const weakShareMax = 0.5;

/** The heads that read so much worse than the rest that it is no chance, the worst first. */
function suspects(seen: readonly (readonly Seen[])[], dead: readonly number[]): number[] {
  const live = seen
    .map((bands, head) => ({ head, bands, all: sumOf(bands) }))
    .filter(({ head, all }) => !dead.includes(head) && all.tried + all.poor > 0)
    .sort((one, other) => rateOf(other.all) - rateOf(one.all));
  let rest = sumOf(live.map(({ all }) => all));
  const found: number[] = [];
  for (const { head, bands, all } of live) {
    if (found.length + 1 > live.length * weakShareMax) break;
    const others = { ...rest, poor: rest.poor - all.poor, tried: rest.tried - all.tried };
    const isWorse = rateOf(all) > weakFactor * rateOf(others);
    if (!isWorse || likelihoodOf(all, rest) <= evidenceMin) break;
    if (!isEverywhere(bands)) continue;
    found.push(head);
    rest = others;
  }
  return found;
}

/** A scratch is on one head too, but lies in a few of its bands. */
function isEverywhere(bands: readonly Seen[]): boolean {
  const met = bands.filter(({ poor }) => poor > 0).length;
  return met >= 2 && isSpreadLikeHead(bands, 0.5);
}
