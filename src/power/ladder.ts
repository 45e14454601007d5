import type { TroublePolicy } from './policy.js';

/** The escalation ladder as a fold and a pure step function. It is climbed after anything that is not a
 * medium error: a reference sector tells whether the place or the drive is to blame, and while the
 * drive is, each rung is stronger: abort, soft reset, hard reset, power cycle. */

export type Rung = 'none' | 'abort' | 'soft' | 'hard' | 'power';
const rungOrder: readonly Rung[] = ['none', 'abort', 'soft', 'hard', 'power'];

/** What the ladder sees of the events. */
export type TroubleEvent =
  | {
      readonly kind: 'trouble';
      readonly why: string;
      readonly from: Rung;
      /** Somebody asked for the power cycle: no budget holds it up. */
      readonly asked?: boolean;
    }
  | { readonly kind: 'reset'; readonly reset: 'abort' | 'soft' | 'hard'; readonly ok: boolean }
  | {
      readonly kind: 'power-cycled';
      readonly gained: boolean;
      /** Sectors that came since the last one. */
      readonly gainedCount?: number;
      /** By a switch that may have done no more than reset the port. */
      readonly unproven?: true;
    }
  /** The drive left its bus and nothing here brings it back: somebody is waited for, so long. */
  | { readonly kind: 'held'; readonly limitMs: number }
  | { readonly kind: 'ready'; readonly ok: boolean; readonly waitedMs: number }
  | { readonly kind: 'rested'; readonly restMs: number; readonly why: string }
  | {
      readonly kind: 'read';
      readonly role: 'pass' | 'reference' | 'compare';
      readonly outcome: string;
      readonly cause?: 'medium' | 'unexplained';
      readonly goodCount: number;
      readonly elapsedMs: number;
    }
  | { readonly kind: 'blamed'; readonly on: 'place' | 'hang' | 'drive' };

export type TroubleStep =
  | { readonly kind: 'reference'; readonly timeoutMs: number; readonly attempt: number }
  | { readonly kind: 'reset'; readonly reset: 'abort' | 'soft' | 'hard' }
  | { readonly kind: 'power-cycle'; readonly offMs: number; readonly why: string }
  | { readonly kind: 'await-ready'; readonly limitMs: number }
  /** Say that the drive must be plugged in again; what follows waits for it. */
  | { readonly kind: 'hold'; readonly limitMs: number }
  | {
      readonly kind: 'rest';
      readonly restMs: number;
      /** With the power off, where the switch can hold it off. */
      readonly powerOff: boolean;
      readonly why: string;
    }
  | { readonly kind: 'blame'; readonly on: 'place' | 'hang' | 'drive'; readonly why: string }
  /** `powerOff`: it must not go on turning. */
  | { readonly kind: 'give-up'; readonly why: string; readonly powerOff?: true };

/** What is wanted next while trouble lasts. */
type Stage = 'act' | 'await-ready' | 'settle' | 'reference' | 'stall' | 'spin-up-rest';

export interface Trouble {
  /** Undefined while the drive is taken to be well. */
  why: string | undefined;
  rung: Rung;
  stage: Stage;
  /** Somebody asked for a power cycle, and the drive is not back from it yet. */
  asked: boolean;
  /** References that answered with a medium error: the drive works, the sector has gone bad. */
  referencesBad: number;
  /** Reference reads ever made: each takes another place. */
  references: number;
  /** Crawling references in a row. One alone may have waited for the drive to finish an aborted command
   * or to spin up. */
  crawls: number;
  /** It answered, but late, beyond doubt. */
  crawled: boolean;
  /** It said that it was ready after the last reset or power cycle. */
  saysReady: boolean;
  /** The last read found nobody on the bus. */
  isGone: boolean;
  /** Somebody is waited for who plugs it in again, or was in vain. */
  hold: 'none' | 'waiting' | 'over';
  /** Nothing but a rest was done since it was last found unwell. */
  restedLast: boolean;
  /** How often in this trouble the drive was found to crawl. */
  stalls: number;
  /** The verdict, once a reference read went well. */
  verdict: 'place' | 'hang' | 'drive' | undefined;
  /** Power cycles of the job, their recent times, and those in a row that gained nothing. */
  cycles: number;
  cyclesAtMs: number[];
  cyclesGainless: number;
  spinUpsFailed: number;
  /** Reads that failed in a row, and those of them that failed faster than the platter turns. */
  faultsInRow: number;
  fastFaultsInRow: number;
  session: Session;
}

/** What was read since the last rest or power cycle, and what that was whenever the drive hung. */
interface Session {
  count: number;
  hungAt: number[];
  /** The same since power-on, and whether a rest lay in between. */
  sincePowerCount: number;
  rested: boolean;
  /** The most that it read from power-on to a hang when no rest had helped it. */
  longestCount: number;
  /** Hangs in a row that rests did not put off. */
  restsInVain: number;
}

export function createTrouble(): Trouble {
  return {
    why: undefined,
    rung: 'none',
    stage: 'reference',
    asked: false,
    referencesBad: 0,
    references: 0,
    crawls: 0,
    stalls: 0,
    verdict: undefined,
    cycles: 0,
    cyclesAtMs: [],
    cyclesGainless: 0,
    spinUpsFailed: 0,
    faultsInRow: 0,
    fastFaultsInRow: 0,
    crawled: false,
    saysReady: false,
    isGone: false,
    hold: 'none',
    restedLast: false,
    session: {
      count: 0,
      hungAt: [],
      sincePowerCount: 0,
      rested: false,
      longestCount: 0,
      restsInVain: 0,
    },
  };
}

/** A failing read this fast never looked at the platter: one turn at 15,000 rpm. */
const fastFaultMs = 4;
/** Fast medium errors in a row that make the drive itself suspect. */
const fastFaultsMax = 8;
/** Slow ones: bounds what a verdict against the drive would undo. */
const faultsMax = 64;
/** References that may turn out bad themselves before the drive is taken to work. */
const referencesBadMax = 3;
/** Crawling references in a row that are no coincidence. */
const crawlsMax = 2;
/** The first crawl gets a rest, the second a power cycle, all others a rest. */
const stallsBeforeCycle = 2;
/** A drive that still crawls after so many rests is given up for now. */
const stallsMax = 12;
/** Reads after a power cycle or a rest take longer: the drive spins up or recalibrates. */
const recalibrationFactor = 3;

/** Applies one event that happened at `atMs`. */
export function foldTrouble(
  trouble: Trouble,
  event: TroubleEvent,
  atMs: number,
  policy: TroublePolicy,
): void {
  switch (event.kind) {
    case 'trouble':
      if (event.from !== 'none') noteSession(trouble.session);
      Object.assign(trouble, {
        why: event.why,
        rung: event.from,
        stage: event.from === 'none' ? 'reference' : 'act',
        asked: event.asked ?? false,
        referencesBad: 0,
        crawls: 0,
        stalls: 0,
        crawled: false,
        saysReady: false,
        restedLast: false,
        hold: 'none',
        verdict: undefined,
      } satisfies Partial<Trouble>);
      return;
    case 'reset':
      trouble.rung = event.reset;
      trouble.saysReady = false;
      trouble.restedLast = false;
      trouble.stage = event.reset === 'abort' ? 'reference' : 'await-ready';
      if (!event.ok) climb(trouble);
      return;
    case 'power-cycled':
      trouble.cycles += 1;
      trouble.cyclesAtMs = [...trouble.cyclesAtMs, atMs].slice(-policy.coolDownCycles);
      if (event.gained) trouble.cyclesGainless = 0;
      else if (!trouble.asked) trouble.cyclesGainless += 1;
      trouble.rung = 'power';
      trouble.stage = 'await-ready';
      trouble.restedLast = false;
      Object.assign(trouble.session, { count: 0, sincePowerCount: 0, rested: false });
      return;
    case 'held':
      trouble.hold = 'waiting';
      // What was unplugged has most likely been without power.
      trouble.rung = 'power';
      trouble.stage = 'await-ready';
      return;
    case 'ready':
      foldReady(trouble, event.ok);
      return;
    case 'rested':
      if (trouble.stage === 'stall') trouble.restedLast = true;
      if (policy.sessionRestMs > 0 && event.restMs >= policy.sessionRestMs)
        Object.assign(trouble.session, { count: 0, rested: true });
      if (trouble.stage === 'spin-up-rest') trouble.stage = 'act';
      else if (trouble.stage === 'act' && trouble.stalls === 0) trouble.cyclesAtMs = [];
      else trouble.stage = 'reference';
      return;
    case 'read':
      if (event.outcome !== 'not-attempted') trouble.isGone = event.outcome === 'gone';
      if (event.role === 'reference' && trouble.why === undefined) trouble.references += 1;
      else if (event.role === 'reference') foldReference(trouble, event, policy);
      else foldPassRead(trouble, event);
      return;
    case 'blamed':
      trouble.why = undefined;
      trouble.verdict = undefined;
      trouble.faultsInRow = 0;
      trouble.fastFaultsInRow = 0;
      return;
  }
}

function climb(trouble: Trouble): void {
  trouble.rung = rungOrder[rungOrder.indexOf(trouble.rung) + 1] ?? 'power';
  trouble.stage = 'act';
}

function foldReady(trouble: Trouble, ok: boolean): void {
  trouble.asked = false;
  trouble.saysReady = ok;
  const wasHeld = trouble.hold === 'waiting';
  if (wasHeld) trouble.hold = ok ? 'none' : 'over';
  if (ok) {
    trouble.spinUpsFailed = 0;
    trouble.stage = trouble.rung === 'power' ? 'settle' : 'reference';
  } else if (wasHeld) {
    trouble.stage = 'act';
  } else if (trouble.rung === 'power') {
    trouble.spinUpsFailed += 1;
    trouble.stage = 'spin-up-rest';
  } else {
    climb(trouble);
  }
}

function foldPassRead(trouble: Trouble, event: Extract<TroubleEvent, { kind: 'read' }>): void {
  trouble.session.count += event.goodCount;
  trouble.session.sincePowerCount += event.goodCount;
  if (event.goodCount > 0) {
    trouble.faultsInRow = 0;
    trouble.fastFaultsInRow = 0;
  } else if (event.outcome === 'fault') {
    trouble.faultsInRow += 1;
    trouble.fastFaultsInRow = event.elapsedMs < fastFaultMs ? trouble.fastFaultsInRow + 1 : 0;
  }
}

function foldReference(
  trouble: Trouble,
  event: Extract<TroubleEvent, { kind: 'read' }>,
  policy: TroublePolicy,
): void {
  trouble.references += 1;
  const answered = event.outcome === 'good' || event.outcome === 'slow';
  if (answered && event.elapsedMs > policy.crawlMs) {
    foldCrawl(trouble);
  } else if (answered) {
    const revived = trouble.rung !== 'none' && trouble.rung !== 'abort';
    const wasBusy = trouble.crawled || trouble.restedLast;
    trouble.verdict = wasBusy ? 'drive' : revived ? 'hang' : 'place';
  } else if (
    event.outcome === 'fault' &&
    event.cause === 'medium' &&
    trouble.referencesBad < referencesBadMax
  ) {
    trouble.referencesBad += 1;
    trouble.stage = 'reference';
  } else if (event.outcome === 'timeout' && mayBeBusy(trouble)) {
    foldStall(trouble);
  } else {
    climb(trouble);
  }
}

/** Silent, but ready by its own word when there is nothing left to try but its power: it may be busy with
 * itself for a minute, which a rest tells. */
function mayBeBusy({ rung, saysReady }: Trouble): boolean {
  return saysReady && (rung === 'hard' || rung === 'power');
}

function foldCrawl(trouble: Trouble): void {
  trouble.crawls += 1;
  if (trouble.crawls < crawlsMax) return;
  trouble.crawled = true;
  foldStall(trouble);
}

/** A drive that is busy with itself rests, its power is cut once, and then it rests on. No reset helps it. */
function foldStall(trouble: Trouble): void {
  trouble.crawls = 0;
  trouble.stalls += 1;
  if (trouble.stalls === stallsBeforeCycle && trouble.rung !== 'power') {
    trouble.rung = 'power';
    trouble.stage = 'act';
  } else {
    trouble.stage = 'stall';
  }
}

/** Ready is not usable; but a recovery is to cost no more than a second from there to the next read, and until its
 * readiness is noticed some of that has passed. What a drive wants beyond that it has in the longer deadline of
 * its first read. */
const settleMostMs = 500;

/** Rest of a drive that became ready after a power cycle, before its first read. */
export function settleRestMs({ settleMs }: TroublePolicy): number {
  return Math.min(settleMs, settleMostMs);
}

/** Why the last reads call for a reference read although each was a medium error; undefined = nothing. */
export function suspicionOf(trouble: Trouble): string | undefined {
  if (trouble.fastFaultsInRow >= fastFaultsMax)
    return `${trouble.fastFaultsInRow} errors in a row came faster than the platter turns`;
  if (trouble.faultsInRow >= faultsMax) return `${trouble.faultsInRow} errors in a row`;
  return undefined;
}

/** Sessions remembered, those needed before anything is concluded, and the share of the shortest that is
 * taken for safe. */
const sessionsMax = 4;
const sessionsMin = 2;
const sessionShare = 0.75;
/** Hangs in spite of rests, in a row, that show that rests do not help. */
const restsInVainMax = 4;

/** Sectors that a session may read before the drive is likely to hang; Infinity while nobody knows. */
function sessionLimit({ hungAt, restsInVain }: Session): number {
  if (hungAt.length < sessionsMin || restsInVain >= restsInVainMax) return Number.POSITIVE_INFINITY;
  return Math.max(1, Math.floor(Math.min(...hungAt) * sessionShare));
}

/** The drive fell silent: the session is over. A hang before the first sector tells nothing of its length.
 * Rests help when a drive outlasts by far what it did without them. */
function noteSession(session: Session): void {
  const helped = session.rested && session.sincePowerCount > 2 * session.longestCount;
  if (session.rested) session.restsInVain = helped ? 0 : session.restsInVain + 1;
  if (!helped) session.longestCount = Math.max(session.longestCount, session.sincePowerCount);
  if (session.count > 0) session.hungAt = [...session.hungAt, session.count].slice(-sessionsMax);
  session.count = 0;
}

/** A rest that comes before the drive hangs, where its kind hangs from reading on and on; undefined while
 * none is due. `underWayCount`: sectors asked for and not yet answered. */
export function sessionRest(
  trouble: Trouble,
  policy: TroublePolicy,
  underWayCount: number,
): Extract<TroubleStep, { kind: 'rest' }> | undefined {
  const { session } = trouble;
  if (policy.sessionRestMs === 0) return undefined;
  if (session.count + underWayCount < sessionLimit(session)) return undefined;
  return {
    kind: 'rest',
    restMs: policy.sessionRestMs,
    powerOff: false,
    why: 'the drive has hung after about as much reading',
  };
}

/** Rungs that this drive's path has. */
export interface Reach {
  readonly resets: ReadonlySet<'abort' | 'soft' | 'hard'>;
  readonly power: boolean;
  /** The drive can be asked how hot it is. */
  readonly temperature?: boolean;
  /** Why the power may not be cycled although there is a switch; absent: there is none. */
  readonly powerRefused?: string;
}

/** What to do about the trouble; undefined while there is none. */
export function nextTroubleStep(
  trouble: Trouble,
  reach: Reach,
  policy: TroublePolicy,
  nowMs: number,
): TroubleStep | undefined {
  if (trouble.why === undefined) return undefined;
  if (trouble.verdict) return { kind: 'blame', on: trouble.verdict, why: trouble.why };
  switch (trouble.stage) {
    case 'reference': {
      const factor = trouble.rung === 'power' ? recalibrationFactor : 1;
      const patientMs = trouble.stalls > 0 ? policy.patientTimeoutMs : 0;
      return {
        kind: 'reference',
        timeoutMs: Math.max(policy.referenceTimeoutMs * factor, patientMs),
        attempt: trouble.references,
      };
    }
    case 'await-ready':
      return {
        kind: 'await-ready',
        limitMs: readyLimitMs(trouble, policy),
      };
    case 'settle':
      return {
        kind: 'rest',
        restMs: settleRestMs(policy),
        powerOff: false,
        why: 'the drive settles',
      };
    case 'stall':
      if (trouble.stalls > stallsMax)
        return { kind: 'give-up', why: 'the drive crawls everywhere, and rests do not help' };
      return stallRest(policy);
    case 'spin-up-rest':
      if (trouble.spinUpsFailed >= policy.failedSpinUpsMax)
        return {
          kind: 'give-up',
          why: `the drive did not become ready after ${trouble.spinUpsFailed} power cycles`,
          powerOff: true,
        };
      return {
        kind: 'rest',
        restMs: policy.spinUpRestMs,
        powerOff: true,
        why: 'the drive did not become ready',
      };
    case 'act':
      // Without a switch a drive that crawls can only rest.
      if (trouble.stalls > 0 && !reach.power) return stallRest(policy);
      return actStep(trouble, reach, policy, nowMs);
  }
}

function readyLimitMs({ hold, rung }: Trouble, policy: TroublePolicy): number {
  if (hold === 'waiting') return policy.returnLimitMs;
  return rung === 'power' ? policy.readyLimitMs : policy.resetLimitMs;
}

/** What is left when no rung is: a drive that is not on its bus may have been unplugged. */
function beyondResets(trouble: Trouble, reach: Reach, policy: TroublePolicy): TroubleStep {
  const limitMs = policy.returnLimitMs;
  if (trouble.hold === 'over')
    return {
      kind: 'give-up',
      why: `${trouble.why}; it was not plugged in again within ${limitMs / 60_000} min`,
    };
  // A budget that is spent is no reason to wait for somebody.
  if (trouble.isGone && reach.powerRefused === undefined) return { kind: 'hold', limitMs };
  const power = reach.powerRefused ?? 'no power switch is given (--power)';
  return { kind: 'give-up', why: `${trouble.why}; resets did not help and ${power}` };
}

function stallRest(policy: TroublePolicy): TroubleStep {
  const why = 'the drive crawls everywhere';
  return { kind: 'rest', restMs: policy.stallRestMs, powerOff: false, why };
}

function actStep(
  trouble: Trouble,
  reach: Reach,
  policy: TroublePolicy,
  nowMs: number,
): TroubleStep {
  if (trouble.asked) return { kind: 'power-cycle', offMs: policy.offMs, why: trouble.why ?? '' };
  for (const rung of rungOrder.slice(rungOrder.indexOf(trouble.rung))) {
    if (rung === 'none' || rung === 'power') continue;
    if (reach.resets.has(rung) && policy.resets.includes(rung))
      return { kind: 'reset', reset: rung };
  }
  if (!reach.power) return beyondResets(trouble, reach, policy);
  if (trouble.cycles >= policy.cyclesMax)
    return { kind: 'give-up', why: `the budget of ${policy.cyclesMax} power cycles is spent` };
  if (trouble.cyclesGainless >= policy.gainlessCyclesMax)
    return {
      kind: 'give-up',
      why: `${trouble.cyclesGainless} power cycles in a row gained nothing`,
    };
  const [oldestMs] = trouble.cyclesAtMs;
  const often = trouble.cyclesAtMs.length >= policy.coolDownCycles;
  if (
    often &&
    oldestMs !== undefined &&
    nowMs - oldestMs < policy.coolDownWindowMs &&
    policy.coolDownMs > 0
  ) {
    return {
      kind: 'rest',
      restMs: policy.coolDownMs,
      powerOff: true,
      why: `${policy.coolDownCycles} power cycles in a short time: the drive cools down`,
    };
  }
  return { kind: 'power-cycle', offMs: policy.offMs, why: trouble.why ?? '' };
}
