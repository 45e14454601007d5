import { type Extent, endOf } from '../map/extent.js';
import type { Pitch } from './pitch.js';

/** What is known of a weak head: the bands it reads, and what reading there costs. A drive lays its LBAs on one
 * head for a band, then on the next, so that a head's bands come back at a regular distance. */
export interface HeadMap {
  /** Bands of the weak head, ascending, seen or expected. */
  readonly weak: readonly Extent[];
  /** Lengths that a band may have, ascending, where that is not settled; `weak` has the likeliest. */
  readonly reaches?: readonly number[];
  /** How many heads take turns, as far as the distances tell. */
  readonly heads: number;
  /** How many times longer than is typical reads take in there, and bad spots a physical sector. */
  readonly slowness: number;
  readonly spotRate: number;
  /** How much more likely what was seen is with these bands than by chance, as a natural logarithm; absent where
   * somebody said which head is weak. */
  readonly evidence?: number;
  /** The weak heads, where a given head map numbers them. */
  readonly numbers?: readonly number[];
}

/** A stretch in which reading went badly: surely `[lba, lba + count)`, at most from `from` to `to`, where reading
 * went well. */
export interface PoorArea extends Extent {
  readonly from: number;
  readonly to: number;
}

/** What was seen in an extent: spots hit and slow cells, physical sectors read, and the slowest of it. */
export interface Seen {
  readonly poor: number;
  readonly tried: number;
  readonly slowness: number;
}

/** How a weak head might lie: where bands begin, how far apart, and how long they are, in sectors. */
interface Hypothesis {
  readonly fronts: readonly number[];
  readonly period: number;
  readonly length: number;
  /** Lengths that explain what was seen about as well, ascending. */
  readonly reaches?: readonly number[];
}

/** What heads are inferred from. */
export interface HeadEvidence {
  readonly sectorCount: number;
  /** Sectors of a physical one: heads change between two of them. */
  readonly physicalCount: number;
  /** Sectors of a cell: slowness is not known finer than that. */
  readonly cellCount: number;
  /** Ascending. */
  readonly areas: readonly PoorArea[];
  /** Where damage begins, ascending LBAs. */
  readonly spots: readonly number[];
  /** Regular damage that is too loose for a scratch. */
  readonly pitches: readonly Pitch[];
  readonly former: HeadMap | undefined;
  see(extent: Extent): Seen;
}

/** An edge is known when what is unsure is at most this share of the area, or a cell. */
const edgeTolerance = 0.15;
/** How far the distances of bands may differ. */
const distanceTolerance = 0.1;
const loneTolerance = 0.02;
/** A head's bands take at most this share of the drive. */
const shareMax = 0.55;
/** How much more likely what was seen must be with the weak head than without, as a logarithm. */
export const evidenceMin = 6;

interface Candidate {
  readonly weak: readonly Extent[];
  readonly reaches?: readonly number[] | undefined;
  /** Evidence that it needs. */
  readonly least: number;
}

/** What was chosen because it fits best, of some hundreds, needs so much more: a distance; of two areas, which are
 * at a regular distance wherever they lie, both places. */
const choiceEvidence = 6;

/** The weak head that explains best what was seen, or nothing. */
export function inferHeads(evidence: HeadEvidence): HeadMap | undefined {
  const { areas, spots, pitches, former } = evidence;
  const withBands = (hypothesis: Hypothesis, least: number): Candidate[] => {
    const weak = bandsOf(hypothesis, evidence);
    return areAsNearAsHeads(weak) ? [{ weak, reaches: hypothesis.reaches, least }] : [];
  };
  const sharp = areaSets(areas, evidence.cellCount).flatMap((set) => ofAreas(set, evidence));
  const loose = [ofClusters(spots), ...pitches.map(ofPitch)].filter((each) => each !== undefined);
  const both = (each: Hypothesis) => [each, refined(each, spots)];
  const sharpLeast = evidenceMin + 2 * choiceEvidence;
  // Edges that were met come before edges that were reckoned, and what was found before new ones.
  const candidates: Candidate[] = [
    ...sharp.filter(({ reaches }) => reaches).flatMap((each) => withBands(each, sharpLeast)),
    ...(former && !former.numbers ? [{ ...former, least: evidenceMin }] : []),
    ...sharp.flatMap(both).flatMap((each) => withBands(each, sharpLeast)),
    ...loose.flatMap(both).flatMap((each) => withBands(each, evidenceMin + choiceEvidence)),
  ];
  let best: HeadMap | undefined;
  let bestEvidence = 0;
  const whole = evidence.see({ lba: 0, count: evidence.sectorCount });
  for (const { weak, reaches, least } of candidates) {
    const seen = weak.map(evidence.see);
    const inside = sumOf(seen);
    const likelihood = likelihoodOf(inside, whole);
    if (likelihood <= Math.max(bestEvidence, least)) continue;
    if (seen.filter(({ poor }) => poor > 0).length < bandsMin) continue;
    if (restLikelihood(seen, whole) < evidenceMin) continue;
    if (!isSpreadLikeHead(weak.map(coreOf).map(evidence.see), metShareMin)) continue;
    bestEvidence = likelihood * betterFactor;
    best = {
      weak,
      ...(reaches && { reaches }),
      heads: Math.max(2, Math.round((weak[1]!.lba - weak[0]!.lba) / weak[1]!.count)),
      slowness: Math.max(1, inside.slowness),
      spotRate: inside.poor / (inside.poor + inside.tried + 1),
      evidence: likelihood,
    };
  }
  return best;
}

/** How much more evidence a candidate needs than one that comes before it. */
const betterFactor = 1.15;
/** Two places are at a regular distance wherever they lie. */
const bandsMin = 3;
/** Most heads that a drive has had so far, and room for two platters more. */
const headsMax = 24;
/** Of the bands that should have shown damage by now so many did, at least. */
const metShareMin = 0.6;
/** So many spots that should have been met outside the stretch where they were are no chance any more. */
const missedMin = 6;

/** The middle half of a band: where its edges lie is only known in the end. */
function coreOf({ lba, count }: Extent): Extent {
  return { lba: lba + count / 4, count: count / 2 };
}

/** Whether bands that were seen in their whole length are as near to each other as heads can put them. */
function areAsNearAsHeads([first, second]: readonly Extent[]): boolean {
  return !first || !second || second.lba - first.lba <= headsMax * second.count;
}

/** Whether damage lies in bands as a head's does. It is in at least this share of them that it would be in if it
 * were as dense in each as in all together: clusters that lie at like distances by chance leave bands between them
 * that read well. And it does not keep to one stretch of the drive, as a scratch does. */
export function isSpreadLikeHead(bands: readonly Seen[], share: number): boolean {
  const densityOf = ({ poor, tried }: Seen) => poor / Math.max(1, poor + tried);
  const all = sumOf(bands);
  const density = densityOf(all);
  let expected = 0;
  for (const { poor, tried } of bands) expected += 1 - Math.exp(-density * (poor + tried));
  if (bands.filter(({ poor }) => poor > 0).length < share * expected) return false;
  const isMet = ({ poor }: Seen) => poor > 0;
  const stretch = bands.slice(bands.findIndex(isMet), bands.findLastIndex(isMet) + 1);
  const triedElsewhere = all.tried - sumOf(stretch).tried;
  return densityOf(sumOf(stretch)) * triedElsewhere <= Math.max(missedMin, all.poor / 2);
}

/** Everything that was seen in several extents. */
export function sumOf(seen: readonly Seen[]): Seen {
  return seen.reduce(
    (sum, each) => ({
      poor: sum.poor + each.poor,
      tried: sum.tried + each.tried,
      slowness: Math.max(sum.slowness, each.slowness),
    }),
    { poor: 0, tried: 0, slowness: 1 },
  );
}

type Tally = Pick<Seen, 'poor' | 'tried'>;

/** Spots a physical sector. */
export function rateOf({ poor, tried }: Tally): number {
  return (poor + 0.5) / (tried + poor + 1);
}

/** Logarithm of the likelihood ratio of two Poisson rates, inside and outside the bands, against one. */
export function likelihoodOf(inside: Tally, whole: Tally): number {
  const outside = { poor: whole.poor - inside.poor, tried: whole.tried - inside.tried };
  if (rateOf(inside) < rateOf(outside)) return 0;
  const gain = (part: Tally) =>
    part.poor === 0 ? 0 : part.poor * Math.log(rateOf(part) / rateOf(whole));
  return gain(inside) + gain(outside);
}

/** What speaks for the bands besides the one that does most: a slow zone or a cluster in one place is no head. */
function restLikelihood(bands: readonly Seen[], whole: Tally): number {
  const most = bands.reduce((best, band) => (band.poor > best.poor ? band : best));
  const without = (all: Tally) => ({ poor: all.poor - most.poor, tried: all.tried - most.tried });
  return likelihoodOf(without(sumOf(bands)), without(whole));
}

/** Areas that may be bands, and how far their distances may differ. */
interface AreaSet {
  readonly areas: readonly PoorArea[];
  readonly tolerance: number;
}

/** The areas, and what is left of them without the longest ones: two bands with nothing read between them look like
 * one. Where most are single cells, spots may lie like that by chance: their distances must fit better. */
function areaSets(areas: readonly PoorArea[], cellCount: number): AreaSet[] {
  const isLong = ({ count }: PoorArea) => count > cellCount;
  const long = areas.filter(isLong);
  const lengths = [...new Set(long.map((area) => area.count))].sort((a, b) => b - a);
  const merged = mergedAreas(areas);
  const areMostLong = merged.filter(isLong).length * 2 >= merged.length;
  return [
    { areas: merged, tolerance: areMostLong ? distanceTolerance : loneTolerance },
    ...lengths.slice(0, areaSetsMax).map((most) => ({
      areas: long.filter((area) => area.count <= most),
      tolerance: distanceTolerance,
    })),
  ];
}

/** Areas that lie several times nearer to each other than others do are one: a read in a band may succeed. */
function mergedAreas(areas: readonly PoorArea[]): readonly PoorArea[] {
  const gaps = areas.slice(1).map((area, index) => area.lba - endOf(areas[index]!));
  const limit = widestStep(gaps);
  if (limit === undefined) return areas;
  const merged: PoorArea[] = [];
  for (const [index, area] of areas.entries()) {
    const last = merged.at(-1);
    if (!last || gaps[index - 1]! >= limit) merged.push(area);
    else merged[merged.length - 1] = { ...last, count: endOf(area) - last.lba, to: area.to };
  }
  return merged;
}

/** The least of the greater ones of some distances that fall in two kinds, several times apart. */
function widestStep(distances: readonly number[]): number | undefined {
  const sorted = [...distances].sort((a, b) => a - b);
  let limit: number | undefined;
  let widest = clusterRatioMin;
  for (let index = 1; index < sorted.length; index++) {
    const ratio = sorted[index]! / Math.max(1, sorted[index - 1]!);
    if (ratio > widest) [widest, limit] = [ratio, sorted[index]!];
  }
  return limit;
}

const areaSetsMax = 8;

/** Poor areas with a sharp front, at a regular distance. */
function ofAreas({ areas, tolerance }: AreaSet, evidence: HeadEvidence): Hypothesis[] {
  const { cellCount } = evidence;
  const longest = Math.max(0, ...areas.map((area) => area.count));
  const bands = areas.filter((area) => area.to - area.from > longest * 0.75);
  const edgeMost = Math.max(cellCount, edgeTolerance * longest);
  const sharp = bands.filter((area) => area.lba - area.from <= edgeMost);
  // Where reading came to the front from before, the front is known to the sector.
  const exact = sharp.filter((area) => area.lba - area.from <= cellCount);
  const rough = periodOf(
    sharp.map((area) => area.lba),
    tolerance,
  );
  if (rough === undefined) return [];
  const fronts = (exact.length >= 2 ? exact : sharp).map((area) => area.lba);
  const turns = Math.round((fronts.at(-1)! - fronts[0]!) / rough);
  const period = (fronts.at(-1)! - fronts[0]!) / turns;
  const mostCount = Math.max(0, ...bands.map((area) => area.to - area.from));
  if (period > headsMax * mostCount) return [];
  const found: Hypothesis[] = [];
  if (exact.length >= 2) found.push(ofTurns(fronts, period, evidence));
  if (longest > period * shareMax) return found;
  const least = Math.min(...bands.map((area) => area.to - area.from));
  const length = least <= longest * 1.5 ? Math.max(least, longest) : longest;
  return [...found, { fronts, period, length }];
}

/** Heads take turns of like length, so that a band is a whole part of the period: the parts that explain what was
 * seen. */
function ofTurns(fronts: readonly number[], period: number, evidence: HeadEvidence): Hypothesis {
  const whole = evidence.see({ lba: 0, count: evidence.sectorCount });
  const turns: { length: number; likelihood: number }[] = [];
  for (let heads = headsMax; heads >= 2; heads--) {
    const length = period / heads;
    const bands = bandsOf({ fronts, period, length }, evidence);
    turns.push({ length, likelihood: likelihoodOf(sumOf(bands.map(evidence.see)), whole) });
  }
  const best = Math.max(...turns.map(({ likelihood }) => likelihood));
  const reaches = turns
    .filter(({ likelihood }) => likelihood >= best - doubtMax)
    .map(({ length }) => length);
  const length = turns.findLast(({ likelihood }) => likelihood >= best)!.length;
  return { fronts, period, length, reaches };
}

/** Lengths are possible while they are no less likely than this factor, as a logarithm. */
const doubtMax = 2;

/** Clusters of spots: distances within them are several times shorter than between them. */
function ofClusters(spots: readonly number[]): Hypothesis | undefined {
  const distances = spots.slice(1).map((spot, index) => spot - spots[index]!);
  const limit = widestStep(distances);
  if (limit === undefined) return undefined;
  const clusters: number[][] = [];
  for (const [index, spot] of spots.entries()) {
    if (index > 0 && distances[index - 1]! < limit) clusters.at(-1)!.push(spot);
    else clusters.push([spot]);
  }
  const real = clusters.filter((cluster) => cluster.length >= 2);
  if (real.length < 2 || real.length * 2 < clusters.length) return undefined;
  // Of n spots anywhere in a band, the outermost two lie (n - 1) / (n + 1) of its length apart, on average.
  const lengths = real.map((c) => ((c.at(-1)! - c[0]!) * (c.length + 1)) / (c.length - 1));
  const length = Math.max(...real.map((c) => c.at(-1)! - c[0]!), median(lengths));
  const fronts = real.map((c) => Math.max(0, (c[0]! + c.at(-1)!) / 2 - length / 2));
  const period = periodOf(fronts);
  if (period === undefined || length > period * shareMax) return undefined;
  return { fronts, period, length };
}

const clusterRatioMin = 2.5;

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

/** Spots that lie anywhere in a head's bands: a band is √12 times as long as they spread (uniform distribution). */
function ofPitch({ phase, pitch, spread }: Pitch): Hypothesis | undefined {
  const length = Math.min(pitch * shareMax, Math.sqrt(12) * spread);
  const front = phase - length / 2;
  return { fronts: [front], period: pitch, length };
}

/** The same with the edges that all spots in bands together tell: of n spots anywhere in a band, the outermost lie
 * (n - 1) / (n + 1) of its length apart, on average. */
function refined(hypothesis: Hypothesis, spots: readonly number[]): Hypothesis {
  const { fronts, period, length } = hypothesis;
  const margin = length * refineMargin;
  const offsets: number[] = [];
  let seen = 0;
  for (const spot of spots) {
    while (seen + 1 < fronts.length && isNearer(fronts, seen, spot - length / 2)) seen += 1;
    const offset = spot - fronts[seen]!;
    const turned = offset - period * Math.round((offset - length / 2) / period);
    if (turned > -margin && turned < length + margin) offsets.push(turned);
  }
  const n = offsets.length;
  if (n < refineMin) return hypothesis;
  const least = Math.min(...offsets);
  const span = Math.max(...offsets) - least;
  const whole = Math.min(period * shareMax, (span * (n + 1)) / (n - 1));
  const shift = least - (whole - span) / 2;
  return { fronts: fronts.map((front) => front + shift), period, length: whole };
}

const refineMargin = 0.25;
const refineMin = 6;

/** Bands over the whole drive; each lies where the nearest front that was seen says. */
function bandsOf(
  { fronts, period, length }: Hypothesis,
  { sectorCount, physicalCount }: HeadEvidence,
): Extent[] {
  const weak: Extent[] = [];
  const whole = (lba: number) => Math.round(lba / physicalCount) * physicalCount;
  let seen = 0;
  let end = 0;
  const first = fronts[0]! - period * Math.ceil(fronts[0]! / period);
  for (let wanted = first; wanted < sectorCount; wanted += period) {
    while (seen + 1 < fronts.length && isNearer(fronts, seen, wanted)) seen += 1;
    const near = fronts[seen]!;
    const at = whole(near + period * Math.round((wanted - near) / period));
    const lba = Math.max(end, at);
    const bandEnd = Math.min(sectorCount, whole(at + length));
    // A rest at the start of the drive is what the length is too long by.
    const isRest = lba === 0 && bandEnd < length * restShareMax;
    if (bandEnd > lba && !isRest) weak.push({ lba, count: bandEnd - lba });
    end = Math.max(end, bandEnd);
  }
  return weak;
}

const restShareMax = 0.25;

function isNearer(fronts: readonly number[], seen: number, wanted: number): boolean {
  return Math.abs(fronts[seen + 1]! - wanted) < Math.abs(fronts[seen]! - wanted);
}

/** The distance that all distances between neighbouring fronts are multiples of: the least of them, as far as
 * the others agree. */
function periodOf(fronts: readonly number[], tolerance = distanceTolerance): number | undefined {
  if (fronts.length < 2) return undefined;
  const distances = fronts.slice(1).map((front, index) => front - fronts[index]!);
  const least = Math.min(...distances);
  let sum = 0;
  let turns = 0;
  for (const distance of distances) {
    const k = Math.round(distance / least);
    if (Math.abs(distance / least - k) > tolerance * k) return undefined;
    sum += distance;
    turns += k;
  }
  return least > 0 ? sum / turns : undefined;
}

/** The weak band that holds `lba`, or the next behind it. */
export function weakBandFrom(heads: HeadMap | undefined, lba: number): Extent | undefined {
  return heads?.weak[bandIndexFrom(heads.weak, lba)];
}

/** How likely `lba` is in a weak band: 0 to 1. */
export function weakChanceAt(heads: HeadMap | undefined, lba: number): number {
  const band = heads && bandBehind(heads, lba);
  if (!heads || !band) return 0;
  if (!heads.reaches) return lba < endOf(band) ? 1 : 0;
  const offset = lba - band.lba;
  return heads.reaches.filter((reach) => reach > offset).length / heads.reaches.length;
}

/** Where the weak band that `lba` may be in may end, ascending. */
export function weakEndsFrom(heads: HeadMap | undefined, lba: number): number[] {
  const band = heads && bandBehind(heads, lba);
  if (!heads || !band) return [];
  const ends = heads.reaches?.map((reach) => Math.round(band.lba + reach)) ?? [endOf(band)];
  return ends.filter((end) => end > lba);
}

/** The last band that begins at or before `lba`. */
function bandBehind({ weak }: HeadMap, lba: number): Extent | undefined {
  const index = bandIndexFrom(weak, lba);
  const band = weak[index];
  return band && band.lba <= lba ? band : weak[index - 1];
}

/** The stretch around `lba`, on a drive of `sectorCount` sectors, that is weak throughout, or good. */
export function weaknessAt(
  heads: HeadMap | undefined,
  lba: number,
  sectorCount: number,
): Extent & { readonly isWeak: boolean } {
  const index = heads ? bandIndexFrom(heads.weak, lba) : 0;
  const band = heads?.weak[index];
  if (band && band.lba <= lba) return { ...band, isWeak: true };
  const before = heads?.weak[index - 1];
  const from = before ? endOf(before) : 0;
  return { lba: from, count: (band?.lba ?? sectorCount) - from, isWeak: false };
}

/** Index of the first band that ends behind `lba`. */
function bandIndexFrom(bands: readonly Extent[], lba: number): number {
  let low = 0;
  let high = bands.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (endOf(bands[middle]!) > lba) high = middle;
    else low = middle + 1;
  }
  return low;
}
