import { type Extent, endOf } from '../map/extent.js';
import { type Status, type StatusCode, statuses } from '../map/status.js';
import { bestStep } from './best-first.js';
import { firstPermitted, lastPermitted } from './domain.js';
import { passAt } from './head-rows.js';
import { actsOn, isForward, noteOf, notes, type Pass } from './pass.js';
import type { PlanState } from './state.js';

/** What to do next. `wait`: nothing more can be said before a read under way has come back. */
export type PlanStep =
  | { readonly kind: 'read'; readonly extent: Extent; readonly pass: Pass }
  | { readonly kind: 'wait' }
  | { readonly kind: 'start-pass'; readonly index: number; readonly pass: Pass }
  | { readonly kind: 'end-pass'; readonly index: number }
  | { readonly kind: 'go-back'; readonly extent: Extent }
  | { readonly kind: 'classify'; readonly extent: Extent; readonly status: Status }
  /** What the damage tells of the physical sector is believed from here on. */
  | { readonly kind: 'learn-physical'; readonly count: number }
  /** Best first: nothing is left that is worth the price; this is the next. */
  | { readonly kind: 'price'; readonly price: number; readonly lba: number }
  | { readonly kind: 'finished' };

/** The planner: pure, no clock, no I/O. `inFlight` are reads under way, oldest first, which it takes
 * to go well: a batch's stop condition undoes the rest when one does not. */
export function plan(state: PlanState, inFlight: readonly Extent[]): PlanStep {
  if (state.suspect) return { kind: 'wait' };
  const index = state.passIndex;
  const pass = state.passes[index];
  if (!pass) return { kind: 'finished' };
  const { physicalSeen, physicalCount } = state;
  if (physicalSeen !== undefined && physicalSeen !== physicalCount)
    return inFlight.length > 0 ? { kind: 'wait' } : { kind: 'learn-physical', count: physicalSeen };
  if (state.endWanted) return inFlight.length > 0 ? { kind: 'wait' } : { kind: 'end-pass', index };
  if (!state.passStarted) return startStep(state, index, pass);
  const step = hasReachedLimit(state, pass) ? undefined : nextStep(state, pass, inFlight);
  if (step?.kind === 'read') return { ...step, pass: passAt(state, pass, step.extent.lba) };
  if (step) return step;
  if (inFlight.length > 0) return { kind: 'wait' };
  const [left] = state.jumpedOver;
  return left ? { kind: 'go-back', extent: left } : { kind: 'end-pass', index };
}

/** A row that finds nothing to read ends before it began: no power is cycled for it, and nobody rests. */
function startStep(state: PlanState, index: number, pass: Pass): PlanStep {
  const hasWork = permittedCandidate(state, pass, 0, false) !== undefined;
  return hasWork ? { kind: 'start-pass', index, pass } : { kind: 'end-pass', index };
}

/** Whether the row has had all the failing reads or all the time that it may have. */
function hasReachedLimit({ spent }: PlanState, { faultsMax, durationMaxMs }: Pass): boolean {
  if (faultsMax && spent.faults >= faultsMax) return true;
  return Boolean(durationMaxMs && spent.readMs >= durationMaxMs);
}

function nextStep(state: PlanState, pass: Pass, inFlight: readonly Extent[]): PlanStep | undefined {
  if (pass.direction === 'best-first') return bestStep(state, pass, inFlight);
  return pass.phase === 'trim' ? trimStep(state, pass, inFlight) : sweepStep(state, pass, inFlight);
}

/** Sectors of one read of this pass. */
export function readCountOf(state: PlanState, pass: Pass): number {
  return Math.ceil(pass.readCount / state.physicalCount) * state.physicalCount;
}

function sweepStep(
  state: PlanState,
  pass: Pass,
  inFlight: readonly Extent[],
): PlanStep | undefined {
  const last = inFlight.at(-1);
  const forward = isForward(pass);
  const cursor = last ? (forward ? endOf(last) : last.lba) : state.cursor;
  const found = sweepRun(state, pass, cursor, last !== undefined);
  if (!found) return undefined;
  const size = readCountOf(state, passAt(state, pass, found.lba));
  if (pass.joinsRemainder && found.count <= size) return { kind: 'read', extent: found, pass };
  if (forward) {
    const end = Math.min(endOf(found), (Math.floor(found.lba / size) + 1) * size);
    return { kind: 'read', extent: { lba: found.lba, count: end - found.lba }, pass };
  }
  const end = endOf(found);
  const lba = Math.max(found.lba, (Math.ceil(end / size) - 1) * size);
  return { kind: 'read', extent: { lba, count: end - lba }, pass };
}

/** What a sweep goes on with while every read goes well: it takes this read by read, in its direction, each at a
 * boundary of its read size, and comes to no other decision before it reaches the end. Undefined where a
 * good read may lead to another: the row learns from it, counts it, or there is nothing left. */
export function sweepAhead(state: PlanState, pass: Pass): Extent | undefined {
  const isSweep = pass.direction !== 'best-first' && pass.phase !== 'trim';
  const isCounted = pass.durationMaxMs || pass.ranges || hasReachedLimit(state, pass);
  const isByHead = pass.heads !== undefined || pass.perHead !== undefined;
  if (!isSweep || isCounted || isByHead || state.suspect || state.endWanted || !state.passStarted)
    return undefined;
  return sweepRun(state, pass, state.cursor, false);
}

/** The run that a sweep takes its next read from. */
function sweepRun(
  state: PlanState,
  pass: Pass,
  cursor: number,
  goesOn: boolean,
): Extent | undefined {
  if (isForward(pass)) return permittedCandidate(state, pass, cursor, goesOn);
  return lastPermitted(state, pass, cursor, (_state, _pass, before) =>
    candidateBefore(state, pass, before, goesOn && before === cursor),
  );
}

/** The first candidate inside the domain. */
function permittedCandidate(
  state: PlanState,
  pass: Pass,
  from: number,
  goesOn: boolean,
): Extent | undefined {
  return firstPermitted(state, pass, from, (_state, _pass, at) =>
    candidateAfter(state, pass, at, goesOn && at === from),
  );
}

/** First run at or after `from` that the pass acts on, inside the areas it is for. `goesOn`: reads under
 * way, taken to go well, end at `from`. */
function candidateAfter(
  state: PlanState,
  pass: Pass,
  from: number,
  goesOn: boolean,
): Extent | undefined {
  const wanted = actsOn(pass);
  let at = from;
  while (at < state.sectorCount) {
    const note = noteOf(pass);
    if (note === undefined) {
      const run = nextOf(state, wanted, at, state.sectorCount);
      if (!run) return undefined;
      if (!hasNeighbour(state, pass, run) && !(goesOn && run.lba === from)) {
        at = endOf(run);
        continue;
      }
      const spot = state.notes.next(run.lba, notes.hung, endOf(run));
      if (!spot) return run;
      if (spot.lba > run.lba) return { lba: run.lba, count: spot.lba - run.lba };
      at = endOf(spot);
    } else {
      const area = state.notes.next(at, note);
      if (!area) return undefined;
      const run = nextOf(state, wanted, area.lba, endOf(area));
      const clear = run && awayFromHung(state, pass, run);
      if (clear) return clear;
      at = run ? endOf(run) : endOf(area);
    }
  }
  return undefined;
}

/** Last run below `before` that the pass acts on, inside the areas it is for. */
function candidateBefore(
  state: PlanState,
  pass: Pass,
  before: number,
  goesOn: boolean,
): Extent | undefined {
  const wanted = actsOn(pass);
  let at = before;
  while (at > 0) {
    const note = noteOf(pass);
    if (note === undefined) {
      const run = previousOf(state, wanted, at, 0);
      if (!run) return undefined;
      if (!hasNeighbour(state, pass, run) && !(goesOn && endOf(run) === before)) {
        at = run.lba;
        continue;
      }
      const spot = state.notes.previous(endOf(run), notes.hung, run.lba);
      if (!spot) return run;
      if (endOf(spot) < endOf(run)) return { lba: endOf(spot), count: endOf(run) - endOf(spot) };
      at = spot.lba;
    } else {
      const area = state.notes.previous(at, note);
      if (!area) return undefined;
      const run = previousOf(state, wanted, endOf(area), area.lba);
      const clear = run && awayFromHung(state, pass, run);
      if (clear) return clear;
      at = run ? run.lba : area.lba;
    }
  }
  return undefined;
}

/** A run without what lies too near to a spot that hung the drive by itself. */
function awayFromHung(state: PlanState, pass: Pass, run: Extent): Extent | undefined {
  const size = state.physicalCount;
  const away = Math.ceil((pass.keepAwayCount ?? 0) / size) * size;
  if (away === 0) return run;
  const lba = run.lba + (isHungSpot(state, run.lba - 1) ? away : 0);
  const end = endOf(run) - (isHungSpot(state, endOf(run)) ? away : 0);
  return end > lba ? { lba, count: end - lba } : undefined;
}

function isHungSpot(state: PlanState, lba: number): boolean {
  if (lba < 0 || lba >= state.sectorCount) return false;
  return (
    state.map.valueAt(lba) === statuses['bad-sector'] && state.notes.valueAt(lba) === notes.hung
  );
}

/** Whether a run has the finished neighbour that the pass asks for. */
function hasNeighbour(state: PlanState, { area }: Pass, run: Extent): boolean {
  if (area !== 'after-finished' && area !== 'before-finished') return true;
  const lba = area === 'after-finished' ? run.lba - 1 : endOf(run);
  return lba >= 0 && lba < state.sectorCount && state.map.valueAt(lba) === statuses.finished;
}

function nextOf(
  state: PlanState,
  wanted: readonly StatusCode[],
  from: number,
  limit: number,
): Extent | undefined {
  let best: Extent | undefined;
  for (const status of wanted) {
    const run = state.map.next(from, status, best ? best.lba : limit);
    if (run && run.count > 0) best = run;
  }
  // The search above is cut short at the best start so far; the run's true end is found again here.
  return best && state.map.next(best.lba, state.map.valueAt(best.lba), limit);
}

function previousOf(
  state: PlanState,
  wanted: readonly StatusCode[],
  before: number,
  limit: number,
): Extent | undefined {
  let best: Extent | undefined;
  for (const status of wanted) {
    const run = state.map.previous(before, status, best ? endOf(best) : limit);
    if (run && run.count > 0) best = run;
  }
  return best && state.map.previous(endOf(best), state.map.valueAt(endOf(best) - 1), limit);
}

/** Trimming derives, it remembers nothing: while what lies before the run is not bad, read its first
 * sector; else while what lies behind is not bad, its last; else its edges are known. */
function trimStep(state: PlanState, pass: Pass, inFlight: readonly Extent[]): PlanStep | undefined {
  const run = permittedCandidate(state, pass, state.cursor, false);
  if (!run) return undefined;
  const count = readCountOf(state, passAt(state, pass, run.lba));
  const last = inFlight.at(-1);
  if (!isEdge(state, run.lba - 1)) {
    const lba = last ? endOf(last) : run.lba;
    if (lba >= endOf(run)) return undefined;
    const end = Math.min(endOf(run), (Math.floor(lba / count) + 1) * count);
    return { kind: 'read', extent: { lba, count: end - lba }, pass };
  }
  if (!isEdge(state, endOf(run))) {
    const end = last ? last.lba : endOf(run);
    if (end <= run.lba) return undefined;
    const lba = Math.max(run.lba, (Math.ceil(end / count) - 1) * count);
    return { kind: 'read', extent: { lba, count: end - lba }, pass };
  }
  if (last) return undefined;
  return { kind: 'classify', extent: run, status: 'non-scraped' };
}

/** Whether trimming stops at this sector: it is bad, or within bad sectors, or a hung spot. */
function isEdge(state: PlanState, lba: number): boolean {
  if (lba < 0 || lba >= state.sectorCount) return false;
  const status = state.map.valueAt(lba);
  if (status === statuses['bad-sector'] || status === statuses['non-scraped']) return true;
  return status !== statuses.finished && state.notes.valueAt(lba) === notes.hung;
}
