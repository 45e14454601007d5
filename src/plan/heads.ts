import { type Extent, endOf } from '../map/extent.js';
import type { Pitch } from './pitch.js';

/** What is known of a weak head: the bands it reads, and what reading there costs. A drive lays its LBAs on one
 * head for a band, then on the next, so that a head's bands come back at a regular distance. */
export interface HeadMap {
  /** Bands of the weak head, ascending, seen or expected. */
  readonly weak: readonly Extent[];
  /** How many heads take turns, as far as the distances tell. */
  readonly heads: number;
  /** How many times longer than is typical reads take in there, and bad spots a physical sector. */
  readonly slowness: number;
  readonly spotRate: number;
}

/** A stretch in which reading went badly: surely `[lba, lba + count)`, at most from `from` to `to`, where reading
 * went well. */
export interface PoorArea extends Extent {
  readonly from: number;
  readonly to: number;
  readonly hits: number;
  readonly tried: number;
  readonly slowness: number;
}

/** An edge is known when what is unsure is at most this share of the area. */
const edgeTolerance = 0.15;
/** How far the distances of bands may differ. */
const distanceTolerance = 0.1;
/** A head's bands take at most this share of the drive. */
const shareMax = 0.55;
/** Share of the expected bands, of those looked into, that must be poor. */
const poorShareMin = 0.75;

/** Infers a weak head from poor areas (ascending), or nothing when they do not look like one: at least two of
 * about a length, at a regular distance, and wherever else a band should be reading is poor too. `isGood` says
 * whether reading went well in most of an extent; undefined where nothing was read. */
export function inferHeads(
  areas: readonly PoorArea[],
  sectorCount: number,
  isGood: (extent: Extent) => boolean | undefined,
): HeadMap | undefined {
  const longest = Math.max(0, ...areas.map((area) => area.count));
  const bands = areas.filter((area) => area.to - area.from > longest * 0.75);
  const fronts = bands.filter((area) => area.lba - area.from <= edgeTolerance * longest);
  if (fronts.length < 2) return undefined;
  const period = periodOf(fronts);
  const count = Math.min(...bands.map((area) => area.to - area.from));
  if (period === undefined || longest > period * shareMax) return undefined;
  const length = count <= longest * 1.5 ? Math.max(count, longest) : longest;
  const weak = bandsOf(fronts, period, length, sectorCount);
  if (!areMostlyPoor(weak, isGood)) return undefined;
  const sum = (pick: (area: PoorArea) => number) =>
    bands.reduce((total, area) => total + pick(area), 0);
  return {
    weak,
    heads: Math.max(2, Math.round(period / length)),
    slowness: Math.max(1, ...bands.map((area) => area.slowness)),
    spotRate:
      sum((area) => area.hits) /
      Math.max(
        1,
        sum((area) => area.hits + area.tried),
      ),
  };
}

/** Regular damage that is too loose for a scratch is a head: its spots lie anywhere in its bands, so a band is
 * √12 times as long as the spots spread (uniform distribution). `read` gives the spots hit and the physical
 * sectors read in an extent. */
export function headsOfPitches(
  pitches: readonly Pitch[],
  sectorCount: number,
  read: (extent: Extent) => { readonly hits: number; readonly tried: number },
): HeadMap | undefined {
  const weak: Extent[] = [];
  let heads = 2;
  let [hits, tried] = [0, 0];
  for (const { from, to, pitch, phase, spread } of pitches) {
    const count = Math.min(pitch * shareMax, Math.sqrt(12) * spread);
    heads = Math.max(heads, Math.round(pitch / count));
    let place = phase + pitch * Math.ceil((Math.max(from, 0) - phase) / pitch);
    for (; place < Math.min(to, sectorCount); place += pitch) {
      const lba = Math.max(0, Math.floor(place - count / 2));
      const end = Math.min(sectorCount, Math.ceil(place + count / 2));
      if (end <= lba || lba < (weak.length > 0 ? endOf(weak.at(-1)!) : 0)) continue;
      const band = { lba, count: end - lba };
      weak.push(band);
      const seen = read(band);
      hits += seen.hits;
      tried += seen.tried;
    }
  }
  if (weak.length === 0) return undefined;
  return { weak, heads, slowness: 1, spotRate: hits / Math.max(1, hits + tried) };
}

/** Whether the bands of a head map are still poor wherever they were read. */
export function areMostlyPoor(
  weak: readonly Extent[],
  isGood: (extent: Extent) => boolean | undefined,
): boolean {
  let poor = 0;
  let looked = 0;
  for (const { lba, count } of weak) {
    const inner = Math.floor(count / 8);
    const good = isGood({ lba: lba + inner, count: Math.max(1, count - 3 * inner) });
    if (good === undefined) continue;
    looked += 1;
    if (!good) poor += 1;
  }
  return poor >= poorShareMin * looked;
}

/** Bands over the whole drive; each lies where the nearest one that was seen says. */
function bandsOf(
  fronts: readonly PoorArea[],
  period: number,
  length: number,
  sectorCount: number,
): Extent[] {
  const weak: Extent[] = [];
  let seen = 0;
  let end = 0;
  for (let wanted = (fronts[0]!.lba % period) - period; wanted < sectorCount; wanted += period) {
    while (seen + 1 < fronts.length && nearer(fronts, seen, wanted)) seen += 1;
    const near = fronts[seen]!.lba;
    const at = Math.round(near + period * Math.round((wanted - near) / period));
    const lba = Math.max(end, at);
    end = Math.min(sectorCount, at + length);
    if (end > lba) weak.push({ lba, count: end - lba });
    end = Math.max(end, lba);
  }
  return weak;
}

function nearer(bands: readonly PoorArea[], seen: number, wanted: number): boolean {
  return Math.abs(bands[seen + 1]!.lba - wanted) < Math.abs(bands[seen]!.lba - wanted);
}

/** The distance that all distances between neighbouring bands are multiples of: the least of them, as far as
 * the others agree. */
function periodOf(bands: readonly PoorArea[]): number | undefined {
  const distances = bands.slice(1).map((area, index) => area.lba - bands[index]!.lba);
  const least = Math.min(...distances);
  let sum = 0;
  let turns = 0;
  for (const distance of distances) {
    const k = Math.round(distance / least);
    if (Math.abs(distance / least - k) > distanceTolerance * k) return undefined;
    sum += distance;
    turns += k;
  }
  return sum / turns;
}

/** The weak band that holds `lba`, or the next behind it. */
export function weakBandFrom(heads: HeadMap | undefined, lba: number): Extent | undefined {
  if (!heads) return undefined;
  const { weak } = heads;
  let low = 0;
  let high = weak.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (endOf(weak[middle]!) > lba) high = middle;
    else low = middle + 1;
  }
  return weak[low];
}
