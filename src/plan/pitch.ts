import type { RunMap } from '../map/run-map.js';
import { statuses } from '../map/status.js';

/** Damage that comes back at a regular distance: a scratch crosses the same tracks again and again. Positions
 * and distances are sectors. */
export interface Pitch {
  /** Where it was seen, and a little beyond. */
  readonly from: number;
  readonly to: number;
  readonly pitch: number;
  /** One of the places. */
  readonly phase: number;
  /** Root mean square distance of the places from where they should be. */
  readonly spread: number;
}

/** A place where damage is to be expected and has not been met yet. */
export interface Expected {
  /** Where it will most likely begin, and between what. */
  readonly lba: number;
  readonly from: number;
  readonly to: number;
}

/** Spots that are fitted together, and the fewest that say anything. */
const spotsMax = 24;
const spotsMin = 10;
/** Fits made at most, so that a round on a drive with a million spots is no longer than on any. */
const windowsMax = 64;
/** Shortest pitch looked for, as a share of the span of the spots. */
const periodsMax = 200;
const periodsMin = 4;
/** How much better than chance a fit must be, in units of its logarithm (Rayleigh's test, corrected for the
 * number of pitches tried). */
const significance = 4;
/** Share of the expected places looked at that must be damaged. */
const hitShareMin = 0.6;
/** A pitch looser than this says too little of where the next place is. */
const spreadShareMax = 1 / 12;
/** How many spreads around a place it may lie. */
const reachSpreads = 2;

/** Looks for regular distances among spots (ascending LBAs where damage begins). */
export function findPitches(spots: readonly number[], map: RunMap): Pitch[] {
  const found: Pitch[] = [];
  const step = Math.max(spotsMax / 2, Math.ceil(spots.length / windowsMax));
  for (let at = 0; at < spots.length; at += step) {
    const near = spots.slice(Math.max(0, Math.min(at, spots.length - spotsMax)), at + spotsMax);
    const pitch = near.length >= spotsMin ? fitPitch(near, map) : undefined;
    if (pitch) found.push(pitch);
    if (at + spotsMax >= spots.length) break;
  }
  return found;
}

function fitPitch(spots: readonly number[], map: RunMap): Pitch | undefined {
  const first = spots[0]!;
  const span = spots.at(-1)! - first;
  const step = 1 / (6 * span);
  const tries = periodsMax * 6;
  const needed = (Math.log(tries) + significance) / spots.length;
  if (needed >= 1) return undefined;
  let best = 0;
  const squares = new Float64Array(tries);
  for (let index = periodsMin * 6; index < tries; index++) {
    squares[index] = coherence(spots, first, index * step);
    best = Math.max(best, squares[index]!);
  }
  if (best < needed) return undefined;
  // Half a pitch fits as well as the whole one: the longest that fits is meant.
  for (let index = periodsMin * 6; index < tries; index++) {
    const here = squares[index]!;
    if (here < needed || here < 0.9 * best) continue;
    if (here < squares[index - 1]! || here < (squares[index + 1] ?? 0)) continue;
    const pitch = refine(spots, 1 / (index * step), map);
    if (pitch) return pitch;
  }
  return undefined;
}

/** Squared length of the mean of the spots' directions on a circle of one pitch: 1 = all in step. */
function coherence(spots: readonly number[], origin: number, frequency: number): number {
  let x = 0;
  let y = 0;
  for (const spot of spots) {
    const angle = 2 * Math.PI * (((spot - origin) * frequency) % 1);
    x += Math.cos(angle);
    y += Math.sin(angle);
  }
  return (x * x + y * y) / (spots.length * spots.length);
}

/** Least squares over the spots' numbers, and a look whether places between are damaged too. */
function refine(spots: readonly number[], rough: number, map: RunMap): Pitch | undefined {
  const first = spots[0]!;
  let pitch = rough;
  let phase = first;
  for (let round = 0; round < 3; round++) {
    let [n, k1, k2, s1, ks] = [0, 0, 0, 0, 0];
    for (const spot of spots) {
      const k = Math.round((spot - phase) / pitch);
      n += 1;
      k1 += k;
      k2 += k * k;
      s1 += spot;
      ks += k * spot;
    }
    const determinant = n * k2 - k1 * k1;
    if (determinant === 0) return undefined;
    pitch = (n * ks - k1 * s1) / determinant;
    phase = (s1 - pitch * k1) / n;
  }
  if (!(pitch > 0)) return undefined;
  let squares = 0;
  for (const spot of spots)
    squares += (spot - phase - pitch * Math.round((spot - phase) / pitch)) ** 2;
  const spread = Math.sqrt(squares / spots.length);
  if (spread > pitch * spreadShareMax) return undefined;
  const last = spots.at(-1)!;
  let hits = 0;
  let misses = 0;
  for (let place = first; place <= last; place += pitch) {
    const nearest = phase + pitch * Math.round((place - phase) / pitch);
    const from = Math.max(0, Math.floor(nearest - reachSpreads * spread));
    const to = Math.min(map.size, Math.ceil(nearest + reachSpreads * spread) + 1);
    if (isDamaged(map, from, to)) hits += 1;
    else if (isRead(map, from, to)) misses += 1;
  }
  if (hits < hitShareMin * (hits + misses)) return undefined;
  const margin = 8 * pitch;
  return { from: first - margin, to: last + margin, pitch, phase, spread };
}

function isDamaged(map: RunMap, from: number, to: number): boolean {
  return (
    map.next(from, statuses['bad-sector'], to) !== undefined ||
    map.next(from, statuses['non-trimmed'], to) !== undefined
  );
}

function isRead(map: RunMap, from: number, to: number): boolean {
  const run = map.runAt(from);
  return run.value === statuses.finished && run.lba + run.count >= to;
}

/** The first place at or behind `lba` and before `limit` where damage is expected and was not met. */
export function nextExpected(
  pitches: readonly Pitch[],
  map: RunMap,
  lba: number,
  limit: number,
): Expected | undefined {
  for (const { from, to, pitch, phase, spread } of pitches) {
    if (limit <= from || lba >= to) continue;
    const reach = reachSpreads * spread;
    const firstAt = Math.max(lba, from);
    const lastAt = Math.min(limit, to);
    let place = phase + pitch * Math.ceil((firstAt - reach - phase) / pitch);
    for (; place - reach < lastAt; place += pitch) {
      const window = {
        lba: Math.round(place),
        from: Math.max(0, Math.floor(place - reach)),
        to: Math.min(map.size, Math.ceil(place + reach) + 1),
      };
      if (window.to <= lba || window.from >= window.to) continue;
      if (!isDamaged(map, window.from, window.to)) return window;
    }
    return undefined;
  }
  return undefined;
}
