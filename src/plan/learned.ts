import { type Extent, endOf } from '../map/extent.js';
import type { RunMap } from '../map/run-map.js';
import { statuses } from '../map/status.js';
import type { ReadEvent } from './events.js';
import { type GivenHeads, rankOf, weakOf } from './head-map.js';
import { type HeadMap, inferHeads, type PoorArea, type Seen } from './heads.js';
import { findPitches, type Pitch } from './pitch.js';
import {
  createTypical,
  foldTypical,
  healthySectorMs,
  type Typical,
  typicalLeastMs,
  typicalMs,
} from './typical.js';

/** What reads have told of the drive besides the map: how fast it is where, how often and how widely it is
 * damaged, what a failing read costs. Folded from read events; the same events give the same. Distances
 * `d` are physical sectors. */
export interface Learned {
  physicalCount: number;
  /** Sectors of one cell. */
  readonly cellCount: number;
  /** By cell, how many times longer than is typical the last reads took; 0 = none yet. */
  readonly cellSlow: Float32Array;
  /** Physical sectors read and spots hit, by cell, then by scale, each eight times as coarse as the one before. */
  readonly triedAt: readonly Float32Array[];
  readonly hitsAt: readonly Float32Array[];
  /** How long reads take where the drive is well. */
  readonly typical: Typical;
  /** By how many milliseconds nine reads in ten exceed their typical time at most, where nothing is wrong. */
  jitterMs: number;
  /** Milliseconds to get to another place. */
  seekMs: number;
  /** Where the last read that went well ended. */
  headLba: number;
  /** How many times longer than is typical reads take there, as far as that is believed. */
  headSlow: number;
  /** The slow reads in a row that ended there: sectors, and the least slowness among them. */
  slowRunCount: number;
  slowRunLeast: number;
  /** Milliseconds of a failing read. */
  failMs: number;
  /** Failing reads that named their LBA, and that did not. */
  named: number;
  unnamed: number;
  /** By cell, the chance that a bad sector there comes when it is tried again; 0 = as anywhere. Negative where
   * none ever came. */
  readonly cellHope: Float32Array;
  /** Bad physical sectors tried again, and those of them that came. */
  retried: number;
  retriedGood: number;
  /** Single sectors read beside damage and elsewhere, and those of them that nearly did not come. */
  nearReads: number;
  nearLong: number;
  farReads: number;
  farLong: number;
  /** Spots hit, and physical sectors read to find them. */
  hits: number;
  tried: number;
  /** Chance that a damaged area reaches at least `d` physical sectors, by quarter octaves of `d`. */
  readonly badSurvival: Float64Array;
  pitches: readonly Pitch[];
  heads: HeadMap | undefined;
  /** Which head reads what, where somebody said so: then only the weak ones among them are looked for. */
  given: GivenHeads | undefined;
  /** Hits and slow surprises when areas were last learned, and since. */
  news: number;
  newsLearned: number;
  /** Least yield, as a share of that of healthy reading, which is still read in this round. */
  price: number;
}

/** Cells of a drive: of 134 MB on 2 TB, few enough to keep in a checkpoint. */
const cellsMax = 16_384;
const cellCountMin = 256;
/** A quarter octave each: 2^48 physical sectors. */
const survivalSteps = 192;

export function createLearned(sectorCount: number, physicalCount: number): Learned {
  let cellCount = cellCountMin;
  while (sectorCount / cellCount > cellsMax) cellCount *= 2;
  const cells = Math.ceil(sectorCount / cellCount);
  return {
    physicalCount,
    cellCount,
    cellSlow: new Float32Array(cells),
    triedAt: levels(cells),
    hitsAt: levels(cells),
    cellHope: new Float32Array(cells),
    retried: 0,
    retriedGood: 0,
    nearReads: 0,
    nearLong: 0,
    farReads: 0,
    farLong: 0,
    typical: createTypical(),
    jitterMs: jitterLeastMs,
    seekMs: 8,
    headLba: 0,
    headSlow: 1,
    slowRunCount: 0,
    slowRunLeast: 1,
    failMs: 0,
    named: 0,
    unnamed: 0,
    hits: 0,
    tried: 0,
    badSurvival: survivalOf([], badPrior),
    pitches: [],
    heads: undefined,
    given: undefined,
    news: 0,
    newsLearned: 0,
    price: firstPrice,
  };
}

const levelShift = 3;

function levels(cells: number): Float32Array[] {
  const found = [new Float32Array(cells)];
  for (let size = cells; size > 8; ) {
    size = Math.ceil(size / 2 ** levelShift);
    found.push(new Float32Array(size));
  }
  return found;
}

function addAt(levels: readonly Float32Array[], cell: number, amount: number): void {
  for (let level = 0; level < levels.length; level++) {
    levels[level]![cell >> (levelShift * level)]! += amount;
  }
}

/** The first round takes what is this near to healthy reading. */
export const firstPrice = 0.25;

interface Prior {
  /** How many observed areas the prior is worth. */
  readonly weight: number;
  readonly scale: number;
  readonly slope: number;
}

/** Before anything is known an area may have any size: a power law. */
const badPrior: Prior = { weight: 1.5, scale: 2, slope: 0.7 };
const slowPrior: Prior = { weight: 1.5, scale: 256, slope: 0.7 };
/** How sharply survival falls behind the length of an observed area. */
const observedSlope = 3;

function survivalOf(lengths: readonly number[], prior: Prior): Float64Array {
  const table = new Float64Array(survivalSteps);
  for (let step = 0; step < survivalSteps; step++) {
    const d = 2 ** (step / 4);
    let sum = prior.weight * (1 + d / prior.scale) ** -prior.slope;
    for (const length of lengths) sum += d <= length ? 1 : (length / d) ** observedSlope;
    table[step] = sum / (prior.weight + lengths.length);
  }
  return table;
}

/** The same of slow areas, whose lengths are not learned: `cellSlow` tells where they end. */
export const slowSurvival: Float64Array = survivalOf([], slowPrior);

/** Chance that an area reaches at least `d` physical sectors. */
export function survival(table: Float64Array, d: number): number {
  if (d <= 1) return d <= 0 ? 1 : table[0]!;
  const at = Math.log2(d) * 4;
  const step = Math.floor(at);
  if (step >= survivalSteps - 1) return table[survivalSteps - 1]!;
  return table[step]! + (table[step + 1]! - table[step]!) * (at - step);
}

/** A read this long tells of its place even when the heads had to move, in sectors. */
const measuredMin = 64;
/** How much slower one read may make a place look. */
const surpriseMax = 3;
/** How fast estimates follow. */
const followRate = 0.2;

/** Takes in one read. `map` is the map before it. */
export function foldLearned(learned: Learned, event: ReadEvent, map: RunMap): void {
  if (event.role !== 'pass') return;
  const good = event.outcome === 'good' || event.outcome === 'slow';
  if (map.valueAt(event.lba) === statuses['bad-sector']) {
    foldRetry(learned, event.lba, event.goodCount > 0);
    return;
  }
  if (good) foldGood(learned, event, map);
  else if (event.outcome === 'fault' || event.outcome === 'timeout')
    foldFailure(learned, event, map);
}

function foldGood(learned: Learned, event: ReadEvent, map: RunMap): void {
  noteRecovery(learned, event, map);
  const { typical, physicalCount } = learned;
  const expectedMs = typicalMs(typical, event.count);
  const seeks = event.lba !== learned.headLba;
  learned.headLba = endOf(event);
  if (seeks) {
    const seekMs = clamp(event.elapsedMs - expectedMs, 0, 4 * learned.seekMs);
    learned.seekMs += (seekMs - learned.seekMs) * followRate;
    learned.headSlow = 1;
    learned.slowRunCount = 0;
  } else {
    foldTypical(typical, event.count, event.elapsedMs);
    foldJitter(learned, event.elapsedMs, expectedMs);
  }
  learned.tried += event.count / physicalCount;
  // A short read at another place tells of the way there, not of the place.
  if (seeks && event.count < measuredMin) countTried(learned, event);
  else foldSlowness(learned, event, event.elapsedMs - expectedMs - (seeks ? learned.seekMs : 0));
}

const jitterLeastMs = 0.05;
const jitterStep = 1.1;
/** What took longer than this many times the typical is no jitter. */
const jitterFactorMax = 4;

/** Follows the ninth decile of what reads take beyond their typical time: the command's way to the drive and back,
 * which says nothing of the place. */
function foldJitter(learned: Learned, elapsedMs: number, expectedMs: number): void {
  if (elapsedMs > jitterFactorMax * expectedMs) return;
  const isMore = elapsedMs - expectedMs > learned.jitterMs;
  learned.jitterMs *= isMore ? jitterStep : jitterStep ** (-1 / 9);
  learned.jitterMs = Math.max(jitterLeastMs, learned.jitterMs);
}

function countTried(learned: Learned, event: ReadEvent): void {
  forEachCell(learned, event, (cell, count) => {
    addAt(learned.triedAt, cell, count / learned.physicalCount);
  });
}

/** `excessMs`: by how much the read took longer than is typical. Reckoned by the sector, so that short reads, which
 * cost as much for the command as for the data, tell the same as long ones, if less surely. */
function foldSlowness(learned: Learned, event: ReadEvent, excessMs: number): void {
  countTried(learned, event);
  const beyondMs = excessMs < 0 ? excessMs : Math.max(0, excessMs - learned.jitterMs);
  const slowness = 1 + beyondMs / (event.count * healthySectorMs(learned.typical));
  // One slow read is a retry of the drive's, or the computer's doing; the next one tells whether the place is slow.
  const isConfirmed = extendSlowRun(learned, event.count, slowness);
  const weight = isConfirmed ? 1 : Math.min(1, event.count / measuredMin);
  const believed = isConfirmed ? learned.slowRunLeast : 0;
  forEachCell(learned, event, (cell) => {
    const former = learned.cellSlow[cell] || learned.headSlow;
    const most = Math.max(surpriseMax * former, believed);
    const measured = clamp(slowness, 2 - most, most);
    learned.headSlow = Math.max(1, former + (measured - former) * weight);
    learned.cellSlow[cell] = learned.headSlow;
    if (learned.headSlow > slowFactor && former <= slowFactor) learned.news += 1;
  });
}

/** Says whether slow reads in a row are more than one spot's retries. */
function extendSlowRun(learned: Learned, count: number, slowness: number): boolean {
  if (slowness <= slowFactor) {
    learned.slowRunCount = 0;
    return false;
  }
  const isFirst = learned.slowRunCount === 0;
  learned.slowRunCount += count;
  learned.slowRunLeast = isFirst ? slowness : Math.min(learned.slowRunLeast, slowness);
  return !isFirst && learned.slowRunCount >= measuredMin;
}

/** Whether the last read, which ended here, was slower than the place was known to be. */
export function isDoubtful(learned: Learned, lba: number): boolean {
  const { headLba, headSlow, slowRunCount, slowRunLeast } = learned;
  return headLba === lba && slowRunCount > 0 && slowRunLeast > 2 * headSlow;
}

function forEachCell(
  { cellCount }: Learned,
  extent: Extent,
  visit: (cell: number, count: number) => void,
): void {
  for (let at = extent.lba; at < endOf(extent); ) {
    const cell = Math.floor(at / cellCount);
    const end = Math.min(endOf(extent), (cell + 1) * cellCount);
    visit(cell, end - at);
    at = end;
  }
}

/** What came although it had failed: the last sectors of a failed group that all came singly. And what nearly did
 * not: single sectors that took a good part of the time in which the drive gives up. Where those lie beside
 * damage more often than elsewhere, damaged sectors are worth another try. */
function noteRecovery(learned: Learned, event: ReadEvent, map: RunMap): void {
  if (event.count > learned.physicalCount) return;
  const isTainted = map.valueAt(event.lba) === statuses['non-trimmed'];
  if (isTainted && map.runAt(event.lba).count <= event.count) foldRetry(learned, event.lba, true);
  if (learned.failMs === 0) return;
  const longMs = Math.max(learned.failMs / 3, slowFactor * typicalMs(learned.typical, event.count));
  const tookLong = event.elapsedMs > longMs;
  if (isNearDamage(learned, event, map)) {
    learned.nearReads += 1;
    if (tookLong) learned.nearLong += 1;
  } else {
    learned.farReads += 1;
    if (tookLong) learned.farLong += 1;
  }
}

function isNearDamage({ physicalCount }: Learned, { lba, count }: Extent, map: RunMap): boolean {
  const from = Math.max(0, lba - 4 * physicalCount);
  const limit = Math.min(map.size, lba + count + 4 * physicalCount);
  return (
    map.next(from, statuses['bad-sector'], limit) !== undefined ||
    map.next(from, statuses['non-trimmed'], limit) !== undefined
  );
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}

function foldFailure(learned: Learned, event: ReadEvent, map: RunMap): void {
  learned.failMs =
    learned.failMs === 0
      ? event.elapsedMs
      : learned.failMs +
        (Math.min(event.elapsedMs, 2 * learned.failMs) - learned.failMs) * followRate;
  if (event.faultLba !== undefined) learned.named += 1;
  else if (event.count > learned.physicalCount) learned.unnamed += 1;
  const at = event.faultLba ?? event.lba;
  if (event.count <= learned.physicalCount && map.valueAt(at) === statuses['non-trimmed']) {
    // It failed in its group, and now by itself.
    foldRetry(learned, at, false);
  }
  const before = at - 1;
  const isInside = before >= 0 && map.valueAt(before) === statuses['bad-sector'];
  const tainted = map.valueAt(Math.min(at, map.size - 1)) === statuses['non-trimmed'];
  if (isInside || tainted) return;
  learned.hits += 1;
  learned.news += 1;
  addAt(learned.hitsAt, Math.floor(at / learned.cellCount), 1);
}

/** Spots a physical sector on the whole drive. */
export function spotRate(learned: Learned): number {
  return (learned.hits + 0.5) / (learned.tried + 10_000);
}

/** Spots a physical sector around an LBA: from the drive down to the cell, each scale draws the
 * next finer one's rate to its own. */
export function localSpotRate(learned: Learned, lba: number): number {
  const { hitsAt, triedAt } = learned;
  let rate = spotRate(learned);
  for (let level = hitsAt.length - 1; level >= 0; level--) {
    const cell = Math.floor(lba / (learned.cellCount * 2 ** (levelShift * level)));
    const hits = hitsAt[level]![cell]!;
    const tried = triedAt[level]![cell]!;
    // No hits say little against a rate that expects few; one spot is no density, it is why one looks there.
    const stiff = Math.max(1, hits) / (tried + 1 / rate);
    const more = hits - 1;
    rate =
      more > 0 ? Math.max(stiff, (more + priorTried * rate) / (tried + more + priorTried)) : stiff;
  }
  return rate;
}

/** What the density of spots left of a gap makes of a place further in: the density in windows before the gap's
 * edge, falling off with the distance in units of each window. */
export function spotRateBeyond(learned: Learned, edge: number, lba: number): number {
  const { hitsAt, triedAt, cellCount } = learned;
  let rate = 0;
  for (let level = 0; level < hitsAt.length - 1; level++) {
    const size = cellCount * 2 ** (levelShift * level);
    const last = Math.floor(edge / size);
    let more = -1;
    let tried = priorTried;
    for (let cell = Math.max(0, last - windowCells + 1); cell <= last; cell++) {
      more += hitsAt[level]![cell]!;
      tried += triedAt[level]![cell]!;
    }
    if (more <= 0) continue;
    const beyond = Math.max(0, lba - (last + 1) * size);
    rate = Math.max(rate, more / (tried + more) / (1 + beyond / (windowCells * size)));
  }
  return rate;
}

/** Cells of a scale in such a window: two of the next coarser one's, as spots lie across the cells' bounds. */
const windowCells = 2 * 2 ** levelShift;

/** Physical sectors of evidence that a coarser scale's rate is worth in a finer one. */
const priorTried = 64;

/** Learns from the whole map how far areas reach and whether they come at regular distances. Done between
 * rounds. */
export function learnAreas(learned: Learned, map: RunMap): void {
  const lengths: number[] = [];
  const spots: number[] = [];
  // Damage this far apart is another spot, unread or not.
  const apart = apartCount * learned.physicalCount;
  let from = -1;
  let to = -1;
  const close = () => {
    if (from < 0) return;
    lengths.push((to - from) / learned.physicalCount);
    from = -1;
  };
  const damaged = (start: number, end: number) => {
    if (from < 0 || start - to > apart) spots.push(start);
    if (from < 0) from = start;
    to = end;
  };
  map.forEachRun((lba, count, value) => {
    if (value === statuses.finished) close();
    else if (value === statuses['bad-sector']) damaged(lba, lba + count);
    else if (value === statuses['non-trimmed']) {
      // Somewhere in there.
      const middle = lba + Math.floor(count / 2);
      damaged(middle, middle + learned.physicalCount);
    }
  });
  close();
  learned.badSurvival.set(survivalOf(thinned(lengths), badPrior));
  const pitches = findPitches(spots, map);
  const isTight = (pitch: Pitch) => Math.sqrt(12) * pitch.spread < looseMin * learned.physicalCount;
  learned.pitches = pitches.filter(isTight);
  const { given, physicalCount } = learned;
  const see = (extent: Extent) => seenExactly(learned, map, spots, extent);
  learned.heads = given
    ? weakOf(given, { map, physicalCount, spots, see })
    : inferHeads({
        sectorCount: map.size,
        physicalCount,
        cellCount: learned.cellCount,
        areas: poorAreas(learned, map),
        spots,
        pitches: pitches.filter((pitch) => !isTight(pitch)),
        former: learned.heads,
        see,
      });
  learned.newsLearned = learned.news;
}

/** Whether enough has happened since areas were last learned to look again in the middle of a round. */
export function isLearningDue({ news, newsLearned, heads }: Learned): boolean {
  // How long bands are is asked in one of them for all.
  if ((heads?.reaches?.length ?? 0) > 1) return news > newsLearned;
  return news - newsLearned >= Math.max(1, newsLearned * newsShare);
}

/** So much more must have happened, as a share of all: a failing read costs far more than learning, but learning
 * looks at the whole map. */
const newsShare = 1 / 8;

/** Slower than this many times the typical is a slow place; between well and slow lies what one slow read
 * alone has told. */
const slowFactor = 8;
const wellFactor = 2.5;

function isWell(learned: Learned, cell: number): boolean {
  const slowness = learned.cellSlow[cell]!;
  return slowness > 0 && slowness < wellFactor;
}

function isPoor(learned: Learned, cell: number): boolean {
  return learned.hitsAt[0]![cell]! > 0 || learned.cellSlow[cell]! > slowFactor;
}

/** Stretches of cells with damage or slowness between cells that read well. Single cells are spots. */
function poorAreas(learned: Learned, map: RunMap): PoorArea[] {
  const { cellCount, cellSlow } = learned;
  const areas: PoorArea[] = [];
  let [good, first, last] = [0, -1, -1];
  const close = (next: number) => {
    if (last > first || (last >= 0 && learned.hitsAt[0]![last]! > 0)) {
      const lba = edgeOf(map, first * cellCount, cellCount);
      const end = Math.min(map.size, (last + 1) * cellCount);
      const from = Math.min(lba, good * cellCount);
      areas.push({ lba, count: end - lba, from, to: Math.min(map.size, next * cellCount) });
    }
    first = last = -1;
  };
  for (let cell = 0; cell < cellSlow.length; cell++) {
    if (isPoor(learned, cell)) {
      if (first < 0) first = cell;
      last = cell;
    } else if (isWell(learned, cell)) {
      close(cell);
      good = cell + 1;
    }
  }
  close(cellSlow.length);
  return areas;
}

/** Where the damage in a cell begins: its first sector that was not read, nor skipped. */
function edgeOf(map: RunMap, lba: number, cellCount: number): number {
  const limit = Math.min(map.size, lba + cellCount);
  const bad = map.next(lba, statuses['bad-sector'], limit);
  const failed = map.next(lba, statuses['non-trimmed'], bad?.lba ?? limit);
  return failed?.lba ?? bad?.lba ?? lba;
}

const apartCount = 16;
/** Places of a scratch lie closer to where they should be than this, in physical sectors. */
const looseMin = 64;

/** What the cells show whose middle lies in an extent. */
export function seenIn(learned: Learned, extent: Extent): Seen {
  const { cellCount, cellSlow } = learned;
  let [poor, tried, slowness] = [0, 0, 1];
  const from = Math.ceil(extent.lba / cellCount - 0.5);
  const to = Math.min(cellSlow.length, Math.ceil(endOf(extent) / cellCount - 0.5));
  for (let cell = from; cell < to; cell++) {
    poor += learned.hitsAt[0]![cell]!;
    if (cellSlow[cell]! > slowFactor) poor += slowWeight;
    tried += learned.triedAt[0]![cell]!;
    slowness = Math.max(slowness, cellSlow[cell]!);
  }
  return { poor, tried, slowness };
}

/** The same, with what the map says of the parts of cells at both ends. */
function seenExactly(
  learned: Learned,
  map: RunMap,
  spots: readonly number[],
  extent: Extent,
): Seen {
  const { cellCount, physicalCount } = learned;
  const lba = Math.max(0, Math.round(extent.lba));
  const end = Math.min(map.size, Math.round(endOf(extent)));
  const first = Math.ceil(lba / cellCount) * cellCount;
  const last = Math.floor(end / cellCount) * cellCount;
  if (last - first < cellsExactMin * cellCount) return seenIn(learned, extent);
  const inner = seenIn(learned, { lba: first, count: last - first });
  let { poor, tried } = inner;
  for (const [from, to] of [
    [lba, first],
    [last, end],
  ] as const) {
    if (from >= to) continue;
    poor += rankOf(spots, to) - rankOf(spots, from);
    map.forEachRun(
      (_lba, count, value) => {
        if (value === statuses.finished) tried += count / physicalCount;
      },
      from,
      to,
    );
  }
  return { poor, tried, slowness: inner.slowness };
}

/** Extents of fewer cells are seen by their cells alone. */
const cellsExactMin = 4;

/** A slow cell is worth so many spots. */
const slowWeight = 2;

/** At most so many lengths say what there is to say. */
const lengthsMax = 200;
function thinned(lengths: readonly number[]): readonly number[] {
  const step = Math.ceil(lengths.length / lengthsMax);
  return step <= 1 ? lengths : lengths.filter((_, index) => index % step === 0);
}

/** How many times longer than is typical reads take at an LBA, or nothing where none was made. */
export function slownessAt(learned: Learned, lba: number): number | undefined {
  return learned.cellSlow[Math.floor(lba / learned.cellCount)] || undefined;
}

/** What a checkpoint keeps of it: numbers, and what every cell showed. The rest follows from them and the map. */
export interface LearnedData {
  readonly numbers: Readonly<Record<(typeof keptNumbers)[number], number>>;
  /** Slowness, physical sectors read and spots hit, for one cell after the other. */
  readonly cells: Float32Array;
  /** `cellHope`; absent in older checkpoints. */
  readonly hopes?: Float32Array | undefined;
  readonly typicalMs: readonly number[];
}

const keptNumbers = [
  'jitterMs',
  'seekMs',
  'headLba',
  'headSlow',
  'slowRunCount',
  'slowRunLeast',
  'failMs',
  'named',
  'retried',
  'retriedGood',
  'nearReads',
  'nearLong',
  'farReads',
  'farLong',
  'unnamed',
  'hits',
  'tried',
  'news',
  'newsLearned',
  'price',
] as const;

export function learnedData(learned: Learned): LearnedData {
  const { cellSlow } = learned;
  const cells = new Float32Array(3 * cellSlow.length);
  for (let cell = 0; cell < cellSlow.length; cell++) {
    cells.set([cellSlow[cell]!, learned.triedAt[0]![cell]!, learned.hitsAt[0]![cell]!], 3 * cell);
  }
  const numbers = Object.fromEntries(keptNumbers.map((name) => [name, learned[name]]));
  return {
    numbers: numbers as LearnedData['numbers'],
    cells,
    hopes: learned.cellHope.slice(),
    typicalMs: [...learned.typical.ms],
  };
}

/** Brings back what a checkpoint kept; says whether it could be: data of another drive or with impossible
 * numbers changes nothing. */
export function recallLearned(learned: Learned, data: LearnedData, map: RunMap): boolean {
  const { cellSlow } = learned;
  // Of larger numbers sums would be infinite, and shares of them no numbers: no price would ever be met.
  const isPossible = (value: unknown) =>
    Number.isFinite(value) && Number(value) >= 0 && Number(value) <= Number.MAX_SAFE_INTEGER;
  if (data.cells.length !== 3 * cellSlow.length || !data.cells.every(isPossible)) return false;
  if (!keptNumbers.every((name) => isPossible(data.numbers[name]))) return false;
  const { ms } = learned.typical;
  const isTypical = (value: number) =>
    isPossible(value) && (value === 0 || value >= typicalLeastMs);
  if (data.typicalMs.length !== ms.length || !data.typicalMs.every(isTypical)) return false;
  if (!(data.numbers.price > 0)) return false;
  const { hopes } = data;
  if (hopes && (hopes.length !== cellSlow.length || !hopes.every((hope) => Math.abs(hope) <= 1)))
    return false;
  ms.set(data.typicalMs);
  for (const name of keptNumbers) learned[name] = data.numbers[name];
  for (const levels of [learned.triedAt, learned.hitsAt]) {
    for (const level of levels) level.fill(0);
  }
  for (let cell = 0; cell < cellSlow.length; cell++) {
    cellSlow[cell] = data.cells[3 * cell]!;
    addAt(learned.triedAt, cell, data.cells[3 * cell + 1]!);
    addAt(learned.hitsAt, cell, data.cells[3 * cell + 2]!);
  }
  if (hopes) learned.cellHope.set(hopes);
  const { newsLearned } = learned;
  learnAreas(learned, map);
  learned.newsLearned = newsLearned;
  return true;
}

/** Tries again are worth this many tries of experience, one of which helped, before any was made. */
const hopePrior = 12;
/** How fast a cell's hope follows what its tries bring. */
const hopeRate = 0.08;
/** With less hope than this a sector is left as bad: once some came, and while none ever did. */
const hopeMin = 0.004;
export const sampleHopeMin = 0.06;

/** Whether a bad sector is worth another try: where some came, down to a small hope; elsewhere while the drive as
 * a whole gives reason to. */
export function isHopeful(learned: Learned, lba: number): boolean {
  const own = learned.cellHope[Math.floor(lba / learned.cellCount)]!;
  if (own > 0) return own >= hopeMin;
  return hope(learned) >= sampleHopeMin && (own === 0 || -own >= 2 * hopeMin);
}

/** The chance that a bad sector comes when it is tried again, on the whole drive. */
export function hope(learned: Learned): number {
  const experience = hasNearMisses(learned) ? nearMissPrior : 1;
  return (learned.retriedGood + experience) / (learned.retried + hopePrior);
}

/** Whether single sectors took long beside damage much more often than elsewhere, where it is the computer's or the
 * drive's usual noise. */
function hasNearMisses({ nearLong, nearReads, farLong, farReads }: Learned): boolean {
  if (nearLong < nearMissMin) return false;
  return nearLong / nearReads > nearMissFactor * ((farLong + 1) / (farReads + 1));
}

const nearMissMin = 4;
const nearMissFactor = 5;
/** Near misses are worth so many tries that helped. */
const nearMissPrior = 4;

/** Takes in what became of a bad sector that was tried again. */
function foldRetry(learned: Learned, lba: number, came: boolean): void {
  const cell = Math.floor(lba / learned.cellCount);
  const own = learned.cellHope[cell]!;
  const former = Math.abs(own) || hope(learned);
  const next = former + ((came ? 1 : 0) - former) * hopeRate;
  learned.cellHope[cell] = came || own > 0 ? next : -next;
  learned.retried += 1;
  if (came) learned.retriedGood += 1;
}
