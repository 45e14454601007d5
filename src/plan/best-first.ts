import { type Extent, endOf } from '../map/extent.js';
import { statuses } from '../map/status.js';
import { firstPermitted, permittedAfter } from './domain.js';
import { passAt } from './head-rows.js';
import { weakBandFrom, weakChanceAt, weakEndsFrom } from './heads.js';
import {
  hope,
  isDoubtful,
  isHopeful,
  isLearningDue,
  type Learned,
  localSpotRate,
  sampleHopeMin,
  slownessAt,
  slowSurvival,
  spotRate,
  spotRateBeyond,
  survival,
} from './learned.js';
import { notes, type Pass } from './pass.js';
import { type Expected, nextExpected } from './pitch.js';
import type { PlanStep } from './planner.js';
import type { PlanState } from './state.js';
import { healthySectorMs, typicalMs } from './typical.js';

/** Unread sectors between two things that are known. */
interface Gap extends Extent {
  /** A failed group somewhere in which a sector is bad. */
  readonly tainted: boolean;
  /** Whether the sector next to it was read. */
  readonly leftGood: boolean;
  readonly rightGood: boolean;
  /** Where the nearest damage on either side is thought to end and begin, in LBAs. */
  readonly leftBad: number;
  /** Where the damage on the left begins, as far as it is known. */
  readonly leftFrom: number;
  readonly rightBad: number;
  /** Damage that is expected inside and was not met yet. */
  readonly expected: Expected | undefined;
}

export function bestStep(
  state: PlanState,
  pass: Pass,
  inFlight: readonly Extent[],
): PlanStep | undefined {
  if (pass.phase === 'retry') return retryStep(state, pass, inFlight);
  const last = inFlight.at(-1);
  const from = last ? endOf(last) : state.cursor;
  if (isLearningDue(state.learned)) {
    return last ? { kind: 'wait' } : { kind: 'price', price: state.learned.price, lba: from };
  }
  for (let at = from; ; ) {
    const gap = gapFrom(state, pass, at, last && at === from);
    if (!gap) break;
    const isWanted = at === from && state.jumpedTo === from;
    const extent = choose(
      state,
      passAt(state, pass, gap.lba),
      gap,
      isWanted ? 0 : state.learned.price,
    );
    if (extent) return { kind: 'read', extent, pass };
    at = endOf(gap);
  }
  if (last) return { kind: 'wait' };
  const price = nextPrice(state, pass);
  return price === undefined ? undefined : { kind: 'price', price, lba: 0 };
}

/** The next gap that reaches beyond `from`, cut at it. */
export function gapFrom(
  state: PlanState,
  pass: Pass,
  from: number,
  assumeGood: boolean | undefined,
): Gap | undefined {
  const { map, sectorCount } = state;
  for (let at = from; at < sectorCount; ) {
    const permitted = permittedAfter(state, pass, at);
    if (!permitted) return undefined;
    at = permitted.lba;
    const run = map.runAt(at);
    if (run.value >= statuses['bad-sector']) {
      at = endOf(run);
      continue;
    }
    const hung = state.notes.valueAt(at) === notes.hung ? state.notes.runAt(at) : undefined;
    if (hung) {
      at = endOf(hung);
      continue;
    }
    const tainted = run.value === statuses['non-trimmed'];
    let end = endOf(run);
    if (!tainted) {
      while (end < sectorCount && isOpen(map.valueAt(end))) end = endOf(map.runAt(end));
    }
    const spot = state.notes.next(at, notes.hung, end);
    if (spot) end = spot.lba;
    end = Math.min(end, endOf(permitted));
    return describe(state, at, end, tainted, assumeGood === true && at === from);
  }
  return undefined;
}

/** Whether nothing speaks against the neighbours of a sector: it was read, or it is not for this pass. */
function isHarmless(state: PlanState, lba: number): boolean {
  const value = state.map.valueAt(lba);
  return value === statuses.finished || (isOpen(value) && state.notes.valueAt(lba) !== notes.hung);
}

function isOpen(value: number): boolean {
  return value === statuses['non-tried'] || value === statuses['non-scraped'];
}

function describe(
  state: PlanState,
  lba: number,
  end: number,
  tainted: boolean,
  assumeGood: boolean,
): Gap {
  const { map, sectorCount } = state;
  const leftGood = assumeGood || lba === 0 || isHarmless(state, lba - 1);
  const rightGood = end === sectorCount || isHarmless(state, end);
  let leftBad = lba;
  if (!leftGood && map.valueAt(lba - 1) === statuses['non-trimmed']) {
    leftBad = lba - map.runAt(lba - 1).count / 2;
  }
  let rightBad = end;
  if (!rightGood && map.valueAt(end) === statuses['non-trimmed']) {
    rightBad = end + map.runAt(end).count / 2;
  }
  const expected = nextExpected(state.learned.pitches, map, lba, end);
  let leftFrom = leftBad;
  if (!leftGood) {
    const before = map.previous(lba, statuses.finished);
    leftFrom = Math.min(leftBad, before ? endOf(before) : 0);
  }
  return {
    lba,
    count: end - lba,
    tainted,
    leftGood,
    rightGood,
    leftBad,
    leftFrom,
    rightBad,
    expected,
  };
}

/** How much further each candidate lies from the damage than the one before. */
const stride = 1.4;

/** The read that a gap offers at this price: the nearest to its damaged side that is worth it. */
function choose(state: PlanState, pass: Pass, gap: Gap, price: number): Extent | undefined {
  for (const offer of offersOf(state, gap)) {
    if (offer.worth >= price) return sized(state, pass, gap, offer.lba);
  }
  return undefined;
}

interface Offer {
  readonly lba: number;
  /** Yield as a share of healthy reading's. */
  readonly worth: number;
}

/** What may be read in a gap, from its left end on; made one by one, as most of the time the first is taken. */
function* offersOf(state: PlanState, gap: Gap): Generator<Offer, void, undefined> {
  const { learned } = state;
  const failMs = Math.max(learned.failMs, 100 * typicalMs(learned.typical, 64));
  if (gap.tainted) {
    yield { lba: gap.lba, worth: taintedWorth(state, gap, failMs) };
    return;
  }
  if (gap.leftGood) yield { lba: gap.lba, worth: contiguousWorth(state, gap, failMs) };
  // A landing inside: from the left outwards, each compared with the next one further out.
  const healthyMs = healthySectorMs(learned.typical);
  let here: Landing | undefined;
  for (const lba of landingsOf(state, gap)) {
    const next = landing(state, gap, lba, failMs);
    if (here) yield { lba: here.lba, worth: Math.min(average(here), marginal(here, next)) };
    here = next;
  }
  if (here) yield { lba: here.lba, worth: average(here) };

  function average({ risk, gain, ms }: Landing): number {
    return ((1 - risk) * gain * healthyMs) / ms;
  }

  // What it brings more than the next one does, for what it costs more: if it fails, the next one is to be tried
  // all the same.
  function marginal({ lba, risk, sectorMs }: Landing, next: Landing): number {
    const gain = (1 - risk) * (next.lba - lba);
    const ms = risk * failMs + gain * sectorMs;
    return (gain * healthyMs) / Math.max(ms, gain * healthyMs);
  }
}

/** The bad sector of a failed group is yet to be found; what lies before it comes. */
function taintedWorth({ learned, physicalCount }: PlanState, gap: Gap, failMs: number): number {
  const gain = gap.leftGood ? gap.count / 2 : gap.count / 4;
  const ms = failMs + gain * contiguousMs(learned, gap.lba);
  const isLast = gap.count < 2 * physicalCount;
  return ((isLast ? 0.05 : 1) * gain * healthySectorMs(learned.typical)) / ms;
}

/** LBAs inside a gap, ascending, each further from its left end by a factor. */
function* landingsOf(state: PlanState, gap: Gap): Generator<number, void, undefined> {
  const { learned, physicalCount } = state;
  let last = -1;
  let d = gap.leftGood && !isExpectedHere(state, gap) ? 16 * physicalCount : 0;
  for (; d < gap.count; d = Math.max(d + physicalCount, d * stride)) {
    // A gap may begin inside a physical sector, and lie all in one.
    const aligned = Math.ceil((gap.lba + Math.floor(d)) / physicalCount) * physicalCount;
    const at = d === 0 ? gap.lba : aligned;
    if (at >= endOf(gap)) return;
    if (at <= last) continue;
    yield at;
    last = at;
    // Where a weak band may end is a place of its own.
    for (const end of weakEndsFrom(learned.heads, at)) {
      const behind = Math.ceil(end / physicalCount) * physicalCount;
      if (behind - gap.lba >= d * stride || behind >= endOf(gap)) break;
      if (behind <= last) continue;
      yield behind;
      last = behind;
    }
  }
}

/** Whether expected damage may begin with the next sector. */
function isExpectedHere(state: PlanState, { lba, expected }: Gap): boolean {
  return expected !== undefined && expected.from < lba + state.physicalCount;
}

/** Going on where the last read ended. */
function contiguousWorth(state: PlanState, gap: Gap, failMs: number): number {
  const { learned, physicalCount } = state;
  const rate = excessRate(learned, gap.lba);
  const edge = gap.rightGood ? 0 : edgeRate(state, (gap.rightBad - gap.lba) / physicalCount);
  const expected =
    gap.expected && isExpectedHere(state, gap)
      ? physicalCount / Math.max(physicalCount, gap.expected.to - gap.lba)
      : 0;
  const sectorMs = contiguousMs(learned, gap.lba);
  const healthyMs = healthySectorMs(learned.typical);
  return healthyMs / (sectorMs + ((rate + edge + expected) * failMs) / physicalCount);
}

/** Spots a physical sector beyond what is usual on this drive. */
function excessRate(learned: Learned, lba: number): number {
  const weak = weakAt(learned, lba);
  const rate = localSpotRate(learned, lba);
  return Math.max(weak ? weak.spotRate : 0, rate - 4 * spotRate(learned));
}

/** Chance that the next physical sector is the rim of damage `d` ahead. */
function edgeRate({ learned }: PlanState, d: number): number {
  const here = survival(learned.badSurvival, d);
  return (survival(learned.badSurvival, d - 1) - here) / Math.max(1e-6, 1 - here);
}

/** A read further in: the chance that it fails, the sectors that it opens if it does not, and the time of both. */
interface Landing {
  readonly lba: number;
  readonly risk: number;
  readonly gain: number;
  readonly ms: number;
  readonly sectorMs: number;
}

function landing(state: PlanState, gap: Gap, lba: number, failMs: number): Landing {
  const { learned, physicalCount } = state;
  const here = isExpectedHere(state, gap) ? gap.expected : undefined;
  const leftBad = here ? Math.max(gap.lba, here.lba) : gap.leftFrom;
  const left =
    gap.leftGood && !here
      ? 0
      : lba < leftBad
        ? 1
        : reach(
            learned,
            lba - leftBad,
            here ? 0 : gap.leftBad - gap.leftFrom,
            gap.rightGood ? endOf(gap) - leftBad : 0,
          );
  const right = gap.rightGood
    ? 0
    : reach(learned, gap.rightBad - lba, 0, gap.leftGood ? gap.rightBad - gap.lba : 0);
  const weak = weakAt(learned, lba);
  const beyond = gap.lba > 0 ? spotRateBeyond(learned, gap.lba - 1, lba) : 0;
  const rate = Math.max(localSpotRate(learned, lba), weak ? weak.spotRate : 0, beyond);
  const risk = 1 - (1 - left) * (1 - right) * (1 - (weak ? weak.spotRate : 0));
  const whole = endOf(gap) - lba;
  const run = Math.min(gap.rightGood ? whole : whole / 2, physicalCount / rate);
  const sectorMs = landingMs(learned, gap, lba);
  // Dense damage ends the run with a failing read; what is usual on this drive is no reason to go elsewhere.
  const excess = Math.max(weak ? weak.spotRate : 0, rate - 4 * spotRate(learned));
  const hits = (run * excess) / physicalCount;
  const ms = (risk + (1 - risk) * hits) * failMs + (1 - risk) * run * sectorMs + learned.seekMs;
  return { lba, risk, gain: run, ms, sectorMs };
}

/** Chance that damage reaches `count` sectors, when it is known to reach `least` and to end before `limit`
 * (0 = not known). */
function reach(learned: Learned, count: number, least: number, limit: number): number {
  const { physicalCount, badSurvival } = learned;
  const beyond = limit > 0 ? survival(badSurvival, limit / physicalCount) : 0;
  const p = survival(badSurvival, count / physicalCount) - beyond;
  const known = (least > 0 ? survival(badSurvival, least / physicalCount) : 1) - beyond;
  return Math.min(1, Math.max(0, p) / Math.max(1e-6, known));
}

/** Milliseconds a sector where the last read ended. */
function contiguousMs(learned: Learned, lba: number): number {
  const known = slownessAt(learned, lba) ?? slownessAt(learned, Math.max(0, lba - 1)) ?? 1;
  return Math.max(known, weakAt(learned, lba)?.slowness ?? 1) * healthySectorMs(learned.typical);
}

/** What a weak head makes of an LBA, where it is or may be in one of its bands. */
function weakAt(
  { heads }: Learned,
  lba: number,
): { readonly spotRate: number; readonly slowness: number } | undefined {
  const chance = weakChanceAt(heads, lba);
  if (!heads || chance === 0) return undefined;
  return { spotRate: chance * heads.spotRate, slowness: 1 + chance * (heads.slowness - 1) };
}

/** Milliseconds a sector at a place further in, as far as the sides of the gap tell. */
function landingMs(learned: Learned, gap: Gap, lba: number): number {
  return landingSlowness(learned, gap, lba) * healthySectorMs(learned.typical);
}

function landingSlowness(learned: Learned, gap: Gap, lba: number): number {
  const known = slownessAt(learned, lba) ?? weakAt(learned, lba)?.slowness;
  if (known !== undefined) return known;
  const { physicalCount } = learned;
  const from = Math.max(0, gap.lba - 1);
  const excess = (at: number) => Math.max(0, (slownessAt(learned, at) ?? 1) - 2);
  const still = (count: number) => survival(slowSurvival, count / physicalCount);
  const left = excess(from) * still(lba - from);
  const right = excess(endOf(gap)) * still(endOf(gap) - lba);
  return 1 + Math.max(left, right);
}

/** A failing read wears the drive like so many good ones. */
const strainReads = 4000;
/** ... and is worth so many times its own time. */
const strainTimes = 4;
const groupMin = 16;
/** Sectors of a group once groups have failed without a word where: what is lost in one is read singly. */
const cautiousCount = 128;
/** Sectors of a read that is to tell whether a place is slow. */
const doubtCount = 16;

function sized(state: PlanState, pass: Pass, gap: Gap, lba: number): Extent {
  const { physicalCount } = state;
  // What is left of a failed group is read one by one: no sector fails in two groups.
  const left = state.map.next(lba, statuses['non-scraped'], endOf(gap));
  const isLeft = left !== undefined && left.lba < lba + physicalCount;
  const size = (isLeft ? 1 : readPhysicals(state, pass, gap, lba)) * physicalCount;
  const stop = Math.min(stopBefore(state, gap, lba), left && !isLeft ? left.lba : endOf(gap));
  const end = Math.min(stop, (Math.floor(lba / size) + 1) * size);
  return { lba, count: end - lba };
}

/** Where a read must end so that it does not run into expected damage. */
function stopBefore(state: PlanState, gap: Gap, lba: number): number {
  const { physicalCount } = state;
  const ahead = nextExpected(state.learned.pitches, state.map, lba + physicalCount, endOf(gap));
  const band = weakBandFrom(state.learned.heads, lba);
  if (band && band.lba > lba && band.lba < Math.min(endOf(gap), ahead ? ahead.from : endOf(gap))) {
    return Math.max(lba + physicalCount, Math.floor(band.lba / physicalCount) * physicalCount);
  }
  if (!ahead) return endOf(gap);
  const edge = Math.floor(ahead.from / physicalCount) * physicalCount;
  return edge > lba ? Math.min(edge, endOf(gap)) : Math.min(lba + physicalCount, endOf(gap));
}

/** Physical sectors of a read: one by one where damage is to be expected and the drive does not say where in
 * a group it is. */
function readPhysicals(state: PlanState, pass: Pass, gap: Gap, lba: number): number {
  const { learned, physicalCount } = state;
  const most = Math.max(1, Math.floor(pass.readCount / physicalCount));
  const namesLba = learned.named >= learned.unnamed;
  if (gap.tainted) return 1;
  if (namesLba) return most;
  const edge = gap.rightGood ? 0 : edgeRate(state, (gap.rightBad - lba) / physicalCount);
  const landed = lba > gap.lba || !gap.leftGood ? 1 / groupMin : 0;
  const density = Math.max(localSpotRate(learned, lba), weakAt(learned, lba)?.spotRate ?? 0);
  const rate = density + edge + landed;
  // Short reads take their time, too.
  const singleMs = typicalMs(learned.typical, physicalCount);
  const overheadMs = singleMs - physicalCount * healthySectorMs(learned.typical);
  if (rate * strainReads > 1 && rate * strainTimes * learned.failMs > overheadMs) return 1;
  // A place that may be slow: a short read tells.
  if (isDoubtful(learned, lba)) return Math.max(1, Math.min(most, doubtCount / physicalCount));
  return Math.max(1, Math.min(most, Math.floor(cautiousCount / physicalCount)));
}

/** Each round takes what is worth less than in the one before by a factor, or what there is. */
function nextPrice(state: PlanState, pass: Pass): number | undefined {
  let best = -1;
  for (let at = 0; ; ) {
    const gap = gapFrom(state, pass, at, false);
    if (!gap) break;
    for (const { worth } of offersOf(state, gap)) best = Math.max(best, worth);
    at = endOf(gap);
  }
  if (best < 0) return undefined;
  return Math.min(state.learned.price / Math.SQRT2, best * 0.9);
}

/** So many must have come at another try before the others are tried in turn. */
const cameMin = 2;

/** Bad sectors again, round by round over those with hope left. While none has ever come, tries are spread over
 * the drive: a few that fail everywhere say more than many in one place. */
function retryStep(
  state: PlanState,
  pass: Pass,
  inFlight: readonly Extent[],
): PlanStep | undefined {
  const { learned } = state;
  const last = inFlight.at(-1);
  if (learned.retriedGood < cameMin) return last ? { kind: 'wait' } : sampleStep(state, pass);
  const from = last ? endOf(last) : state.cursor;
  const extent = hopefulFrom(state, pass, from);
  if (extent) return { kind: 'read', extent, pass };
  if (last) return { kind: 'wait' };
  const again = from > 0 && hopefulFrom(state, pass, 0) !== undefined;
  return again ? { kind: 'price', price: learned.price, lba: 0 } : undefined;
}

function sampleStep(state: PlanState, pass: Pass): PlanStep | undefined {
  if (hope(state.learned) < sampleHopeMin) return undefined;
  const place = Math.floor(((state.learned.retried * 0.6180339887498949) % 1) * state.sectorCount);
  const extent = badFrom(state, pass, place) ?? badFrom(state, pass, 0);
  return extent && { kind: 'read', extent, pass };
}

/** The first bad physical sector at or after `from` that there is hope for. */
function hopefulFrom(state: PlanState, pass: Pass, from: number): Extent | undefined {
  const { cellCount } = state.learned;
  for (let at = from; ; ) {
    const extent = badFrom(state, pass, at);
    if (!extent || isHopeful(state.learned, extent.lba)) return extent;
    at = (Math.floor(extent.lba / cellCount) + 1) * cellCount;
  }
}

function badFrom(state: PlanState, pass: Pass, from: number): Extent | undefined {
  const found = firstPermitted(state, pass, from, (_state, _pass, at) => badNotHung(state, at));
  if (!found) return undefined;
  const { physicalCount } = state;
  const end = (Math.floor(found.lba / physicalCount) + 1) * physicalCount;
  return { lba: found.lba, count: Math.min(endOf(found), end) - found.lba };
}

function badNotHung({ map, notes: noted }: PlanState, from: number): Extent | undefined {
  for (let at = from; ; ) {
    const bad = map.next(at, statuses['bad-sector']);
    if (!bad) return undefined;
    if (noted.valueAt(bad.lba) !== notes.hung) {
      const spot = noted.next(bad.lba, notes.hung, endOf(bad));
      return spot ? { lba: bad.lba, count: spot.lba - bad.lba } : bad;
    }
    at = Math.min(endOf(bad), endOf(noted.runAt(bad.lba)));
  }
}
