import { type Extent, endOf } from '../map/extent.js';
import { statuses } from '../map/status.js';
import { gapFrom } from './best-first.js';
import { outside } from './domain.js';
import type { BlamedEvent, ChangeEvent, PlanEvent, ReadEvent } from './events.js';
import { createGivenHeads } from './head-map.js';
import type { HeadMapData } from './head-map-schema.js';
import { asksForWeakness, headsAfter, passAt } from './head-rows.js';
import { firstPrice, foldLearned, isLearningDue, learnAreas } from './learned.js';
import { actsOn, isForward, noteOf, notes, type Pass, type Reaction } from './pass.js';
import { adoptPhysical, lookForPhysical, splitsAnEight } from './physical.js';
import { type PlanState, toPhysical } from './state.js';

/** Applies one event. No I/O, no clock, no chance. */
export function foldPlan(state: PlanState, event: PlanEvent): void {
  switch (event.kind) {
    case 'read':
      if (event.role !== 'pass') return;
      foldRead(state, event);
      learnForRow(state, false);
      return;
    case 'blamed':
      foldBlame(state, event);
      return;
    case 'doubted':
    case 'image-changed':
      foldDoubt(state, event.extents);
      return;
    case 'heads-given':
      foldHeads(state, event.heads);
      return;
    case 'pass-started':
      state.passIndex = event.index;
      state.passStarted = true;
      resetCursor(state);
      lookForPhysical(state);
      return;
    case 'pass-ended':
      state.passIndex = event.index + 1;
      state.passStarted = false;
      state.endWanted = false;
      resetCursor(state);
      learnForRow(state, true);
      return;
    case 'priced':
      state.learned.price = event.price;
      learnAreas(state.learned, state.map);
      lookForPhysical(state);
      state.cursor = event.lba;
      return;
    case 'physical-learned':
      adoptPhysical(state, event.count);
      if (event.count === 1) restartRows(state);
      return;
    case 'went-back':
      goBack(state, event);
      return;
    case 'rows-changed':
    case 'jumped':
    case 'excluded':
    case 'stepped-on':
      foldChange(state, event);
      return;
    case 'classified':
      state.map.set(event, statuses[event.status]);
      return;
  }
}

/** What was made up or is lost is as if it had never been read, and the passes begin anew for it. */
function foldDoubt(state: PlanState, extents: readonly number[]): void {
  for (let at = 0; at + 1 < extents.length; at += 2) {
    const extent = { lba: extents[at] as number, count: extents[at + 1] as number };
    state.map.setWhere(extent, statuses.finished, statuses['non-tried']);
  }
  restartRows(state);
}

function restartRows(state: PlanState): void {
  state.passIndex = 0;
  state.passStarted = false;
  resetCursor(state);
}

function foldHeads(state: PlanState, data: HeadMapData | null): void {
  const { learned } = state;
  if (JSON.stringify(learned.given?.data ?? null) === JSON.stringify(data)) return;
  learned.given = data ? createGivenHeads(data, state.sectorCount, state.physicalCount) : undefined;
  learnAreas(learned, state.map);
  state.passIndex = 0;
  state.passStarted = false;
  resetCursor(state);
}

/** Rows that go by weak heads, and choose no price by which it would be learned, learn where those are. */
function learnForRow(state: PlanState, isNew: boolean): void {
  const pass = state.passes[state.passIndex];
  if (!pass || !asksForWeakness(pass)) return;
  if (isNew || (pass.direction !== 'best-first' && isLearningDue(state.learned)))
    learnAreas(state.learned, state.map);
}

function resetCursor(state: PlanState): void {
  const pass = state.passes[state.passIndex];
  state.cursor = pass && !isForward(pass) ? state.sectorCount : 0;
  state.learned.price = firstPrice;
  state.bounds = { lba: 0, count: state.sectorCount };
  state.jumpedOver = [];
  state.jumpedTo = undefined;
  state.skipCount = 0;
  Object.assign(state.spent, { faults: 0, readMs: 0 });
}

function foldChange(state: PlanState, event: ChangeEvent): void {
  switch (event.kind) {
    case 'rows-changed':
      state.passes = event.passes;
      return;
    case 'jumped':
      jump(state, event.lba);
      return;
    case 'excluded':
      for (const range of event.ranges) state.scope.set(range, outside);
      return;
    case 'stepped-on':
      state.endWanted = true;
      return;
  }
}

/** Moves the cursor. What it passes over on its way is kept for the end of the pass; a jump out of what the
 * pass had come back to keeps the rest of that. */
function jump(state: PlanState, lba: number): void {
  const pass = state.passes[state.passIndex];
  if (pass?.direction === 'best-first') {
    // What is known there is not read again: the next unread sector is meant.
    const gap = pass.phase === 'retry' ? undefined : gapFrom(state, pass, lba, false);
    state.cursor = gap?.lba ?? lba;
    state.jumpedTo = gap?.lba;
    return;
  }
  const forward = goesForward(state);
  const { bounds, cursor } = state;
  const target = forward ? lba : lba + 1;
  const within = target >= bounds.lba && target <= endOf(bounds);
  const stop = within ? target : forward ? endOf(bounds) : bounds.lba;
  const left = forward
    ? { lba: cursor, count: stop - cursor }
    : { lba: stop, count: cursor - stop };
  if (left.count > 0) state.jumpedOver = [...state.jumpedOver, left];
  if (!within) state.bounds = { lba: 0, count: state.sectorCount };
  state.cursor = target;
  state.skipCount = 0;
}

function goBack(state: PlanState, { lba, count }: Extent): void {
  state.jumpedOver = state.jumpedOver.slice(1);
  state.bounds = { lba, count };
  state.cursor = goesForward(state) ? lba : lba + count;
  state.skipCount = 0;
}

function goesForward({ passes, passIndex }: PlanState): boolean {
  return isForward(passes[passIndex] ?? { direction: 'forward' });
}

function foldRead(state: PlanState, event: ReadEvent): void {
  const pass = state.passes[state.passIndex];
  if (!pass || event.outcome === 'not-attempted') return;
  foldLearned(state.learned, event, state.map);
  if (!state.physicalKnown && state.physicalCount > 1 && splitsAnEight(event))
    state.physicalSeen = 1;
  state.spent.readMs += event.elapsedMs;
  if (event.outcome !== 'good' && event.outcome !== 'slow') state.spent.faults += 1;
  if (event.goodCount > 0) {
    state.map.set({ lba: event.lba, count: event.goodCount }, statuses.finished);
    state.blamed = [];
    state.unproven = 0;
  }
  if (event.outcome === 'good' || (event.outcome === 'slow' && pass.onSlow === 'go-on')) {
    state.skipCount = 0;
    moveCursor(state, pass, event);
  } else if (event.outcome === 'slow') {
    react(state, pass, event, pass.onSlow, notes['skipped-slow']);
  } else if (event.outcome === 'fault' && event.cause === 'medium') {
    applyFailure(state, pass, event);
  } else if (isFamiliar(state, event)) {
    state.unproven += 1;
    applyFailure(state, pass, event);
  } else {
    state.suspect = event;
  }
}

/** Verdicts of one kind that make the next failure like it believable, and how many are believed before the
 * drive has to show again that it is well. */
const verdictsMin = 3;
const unprovenMax = 8;
/** How much longer or shorter than usual such a failure may have taken. */
const familiarFactor = 4;

/** Whether an error that names no cause (a file's EIO) is one more of those that were the place's fault: the drive
 * was well after each of the last ones, this one took as long as they did, and a good read or a reference
 * will follow soon. Until then it can be undone, like every blame. */
function isFamiliar(state: PlanState, event: ReadEvent): boolean {
  const { learned, unproven, placeVerdicts } = state;
  if (event.outcome !== 'fault' || placeVerdicts < verdictsMin || unproven >= unprovenMax)
    return false;
  const ratio = event.elapsedMs / learned.failMs;
  return ratio < familiarFactor && ratio > 1 / familiarFactor;
}

/** Trimming has no cursor: it takes the first run whose edges are not known. */
function moveCursor(state: PlanState, pass: Pass, extent: Extent): void {
  if (pass.phase === 'trim') return;
  // A verdict on what was read before a jump does not undo the jump.
  if (state.jumpedTo === state.cursor && extent.lba !== state.cursor) return;
  state.cursor = isForward(pass) ? endOf(extent) : extent.lba;
}

/** Marks what a failed read left unread, and moves on as the pass says. */
function applyFailure(state: PlanState, pass: Pass, event: ReadEvent): void {
  const rest = { lba: event.lba + event.goodCount, count: event.count - event.goodCount };
  const failed = failedWithin(state, rest, event);
  if (pass.direction === 'best-first') {
    failBestFirst(state, pass, event, rest, failed);
    return;
  }
  if (failed.lba > rest.lba)
    blame(state, { lba: rest.lba, count: failed.lba - rest.lba }, statuses['non-trimmed']);
  const behind = { lba: endOf(failed), count: endOf(rest) - endOf(failed) };
  if (behind.count > 0) blame(state, behind, statuses['non-trimmed']);
  const single = rest.count <= state.physicalCount || failed.count < rest.count;
  blame(state, failed, single ? verdictOnSingle(state, event) : statuses['non-trimmed']);
  react(state, pass, event, pass.onFault, notes['skipped-bad']);
}

/** What is not known to be bad stays what it was; where the drive named no LBA the group has a bad sector
 * somewhere, until one is found. */
function failBestFirst(
  state: PlanState,
  pass: Pass,
  event: ReadEvent,
  rest: Extent,
  failed: Extent,
): void {
  const single = rest.count <= state.physicalCount || failed.count < rest.count;
  if (!single) {
    blame(state, failed, statuses['non-trimmed']);
  } else {
    blame(state, failed, statuses['bad-sector']);
    for (const lba of [failed.lba - 1, endOf(failed)]) {
      if (lba < 0 || lba >= state.sectorCount) continue;
      const run = state.map.runAt(lba);
      if (run.value === statuses['non-trimmed']) blame(state, run, statuses['non-scraped']);
    }
  }
  moveCursor(state, pass, failed.count < rest.count ? failed : event);
}

/** A sector that a read by itself did not bring is bad; but one that only ran out of time is left for the
 * next row that gives it longer. */
function verdictOnSingle(state: PlanState, event: ReadEvent): Blamable {
  const pass = state.passes[state.passIndex];
  if (event.outcome !== 'timeout' || !pass) return statuses['bad-sector'];
  const later = state.passes.slice(state.passIndex + 1);
  const longer = (phase: Pass['phase']) =>
    later.some(
      (row) =>
        row.phase === phase &&
        row.area === 'any' &&
        headsAfter(state, row, event.lba)?.lba === event.lba &&
        passAt(state, row, event.lba).timeoutMs > passAt(state, pass, event.lba).timeoutMs,
    );
  if (pass.phase === 'copy' && longer('trim')) return statuses['non-trimmed'];
  if (pass.phase !== 'scrape' && longer('scrape')) return statuses['non-scraped'];
  return statuses['bad-sector'];
}

/** The physical sector that the drive named, or all of the rest where it named none. */
function failedWithin(state: PlanState, rest: Extent, event: ReadEvent): Extent {
  const lba = event.faultLba;
  if (lba === undefined || lba < rest.lba || lba >= endOf(rest)) return rest;
  const physical = toPhysical(state, { lba, count: 1 });
  const from = Math.max(physical.lba, rest.lba);
  return { lba: from, count: Math.min(endOf(physical), endOf(rest)) - from };
}

type Blamable = (typeof statuses)['non-trimmed' | 'non-scraped' | 'bad-sector'];

/** Sets a status that a later verdict may undo. Finished sectors are never blamed. */
function blame(state: PlanState, extent: Extent, status: Blamable): void {
  for (let at = extent.lba; at < endOf(extent); ) {
    const run = state.map.runAt(at);
    const count = Math.min(run.lba + run.count, endOf(extent)) - at;
    const former = run.value as (typeof statuses)[keyof typeof statuses];
    if (former !== statuses.finished && former < status) {
      state.blamed.push({ lba: at, count, former });
    }
    at += count;
  }
  for (const former of [statuses['non-tried'], statuses['non-trimmed'], statuses['non-scraped']]) {
    if (former < status) state.map.setWhere(extent, former, status);
  }
}

function react(state: PlanState, pass: Pass, extent: Extent, how: Reaction, note: number): void {
  const forward = isForward(pass);
  if (how === 'skip') {
    skip(state, pass, extent, note);
  } else if (how === 'leave') {
    const area = areaAround(state, pass, extent);
    if (pass.leaveAs && note === notes['skipped-bad']) {
      const left = forward
        ? { lba: extent.lba, count: endOf(area) - extent.lba }
        : { lba: area.lba, count: endOf(extent) - area.lba };
      state.notes.set(left, notes[pass.leaveAs]);
    }
    state.cursor = forward ? endOf(area) : area.lba;
  } else {
    moveCursor(state, pass, extent);
  }
}

/** Jumps ahead, further than last time, and notes what the run of jumps leaves behind. */
function skip(state: PlanState, pass: Pass, extent: Extent, note: number): void {
  const forward = isForward(pass);
  const isNewRun = state.cursor !== (forward ? extent.lba : endOf(extent));
  if (state.skipCount === 0 || (pass.skip.withinRun && isNewRun)) {
    state.skipCount = Math.min(pass.skip.startCount, pass.skip.maxCount);
    state.skipOrigin = forward ? extent.lba : endOf(extent);
  }
  const landing = landingOf(state, pass, extent);
  const area = forward
    ? { lba: state.skipOrigin, count: landing - state.skipOrigin }
    : { lba: landing, count: state.skipOrigin - landing };
  noteLeft(state, area, note);
  state.cursor = landing;
  const grown = Math.ceil(state.skipCount * (pass.skip.growth ?? 2));
  state.skipCount = Math.min(grown, pass.skip.maxCount);
  state.skipOrigin = landing;
}

/** Where the next jump from a read ends. */
function landingOf(state: PlanState, pass: Pass, extent: Extent): number {
  const run = pass.skip.withinRun ? areaAround(state, pass, extent) : undefined;
  if (!isForward(pass)) return Math.max(run?.lba ?? 0, extent.lba - state.skipCount);
  return Math.min(run ? endOf(run) : state.sectorCount, endOf(extent) + state.skipCount);
}

/** A hung spot stays noted as one, whatever is skipped around it. */
function noteLeft(state: PlanState, area: Extent, note: number): void {
  for (let at = area.lba; at < endOf(area); ) {
    const spot = state.notes.next(at, notes.hung, endOf(area));
    const end = spot ? spot.lba : endOf(area);
    if (end > at) state.notes.set({ lba: at, count: end - at }, note);
    at = spot ? endOf(spot) : end;
  }
}

/** The area that a pass leaves: the noted one, or the run that it acts on where no note says. */
function areaAround(state: PlanState, pass: Pass, extent: Extent): Extent {
  if (noteOf(pass) !== undefined) return state.notes.runAt(extent.lba);
  const forward = isForward(pass);
  const status = actsOn(pass)[0]!;
  const run = forward
    ? state.map.next(endOf(extent), status)
    : state.map.previous(extent.lba, status);
  const touches = run && (forward ? run.lba === endOf(extent) : endOf(run) === extent.lba);
  if (!run || !touches) return extent;
  const lba = Math.min(run.lba, extent.lba);
  return { lba, count: Math.max(endOf(run), endOf(extent)) - lba };
}

/** A place acquitted this often in a row, with trouble at every read of it, is left for last after all. */
const acquittalsMax = 2;

function foldBlame(state: PlanState, event: BlamedEvent): void {
  const pass = state.passes[state.passIndex];
  const suspect = state.suspect;
  state.suspect = undefined;
  const on =
    suspect && event.on === 'drive' && acquittedTooOften(state, suspect) ? 'hang' : event.on;
  state.unproven = 0;
  state.placeVerdicts = on === 'place' ? state.placeVerdicts + 1 : 0;
  const isLifted = on !== 'place' && liftBlame(state, pass);
  const liftedTo = state.cursor;
  if (pass && suspect) {
    if (on === 'place') applyFailure(state, pass, suspect);
    else if (on === 'hang') applyHang(state, pass, suspect);
  }
  // What was lifted is read again, also where the pass goes on behind a spot that hung the drive. Among hung
  // spots it is left to the next row: going back would lead into the spots that were just left.
  if (isLifted && pass?.area !== 'hung') {
    state.cursor = liftedTo;
    state.skipCount = 0;
  }
  state.blamed = [];
}

function acquittedTooOften(state: PlanState, suspect: ReadEvent): boolean {
  const { lba, count } = state.acquittals;
  state.acquittals = { lba: suspect.lba, count: lba === suspect.lba ? count + 1 : 1 };
  return state.acquittals.count >= acquittalsMax;
}

/** The drive was to blame: everything since the last good read gets its former status back, and the
 * pass takes it again in place. Says whether there was any. */
function liftBlame(state: PlanState, pass: Pass | undefined): boolean {
  for (const { lba, count, former } of state.blamed.reverse()) {
    state.map.set({ lba, count }, former);
    if (!pass) continue;
    state.cursor = isForward(pass)
      ? Math.min(state.cursor, lba)
      : Math.max(state.cursor, lba + count);
  }
  const isLifted = state.blamed.length > 0;
  if (isLifted) state.skipCount = 0;
  state.blamed = [];
  return isLifted;
}

/** A read that hung the drive. The first time its spot is only noted, keeps its status, and is left for
 * the last passes; a pass over hung spots has read it singly, so there it is bad. */
function applyHang(state: PlanState, pass: Pass, suspect: ReadEvent): void {
  const rest = {
    lba: suspect.lba + suspect.goodCount,
    count: suspect.count - suspect.goodCount,
  };
  switch (reactionToHang(state, pass, suspect)) {
    case 'retry':
      return;
    case 'defer':
      defer(state, pass, suspect, rest);
      return;
    case 'leave':
      blame(state, rest, statuses['bad-sector']);
      react(state, pass, suspect, 'leave', notes.hung);
      return;
    case 'go-on-while-gaining':
      react(state, pass, suspect, hasGained(state, pass, rest) ? 'go-on' : 'leave', notes.hung);
      blame(state, rest, statuses['bad-sector']);
      return;
  }
}

/** Notes a spot that hung the drive, and goes on behind it as after any failing read. */
function defer(state: PlanState, pass: Pass, suspect: ReadEvent, rest: Extent): void {
  react(state, pass, suspect, pass.onFault, notes['skipped-bad']);
  state.notes.set(rest, notes.hung);
}

/** Hangs at one LBA that `retry` bears where the row does not say: on first touch, and where the spot is pinned
 * down sector by sector. */
const hangRetriesDefault = 2;
const hungRetriesDefault = 1;

/** What the row says; a spot that `retry` has read often enough is deferred, and where it was deferred before,
 * given up. */
function reactionToHang(state: PlanState, pass: Pass, { lba }: ReadEvent): Pass['onHang'] {
  if (pass.onHang !== 'retry') return pass.onHang;
  const isHung = pass.area === 'hung';
  const retriesMax = pass.hangRetries ?? (isHung ? hungRetriesDefault : hangRetriesDefault);
  const count = state.hangs.lba === lba ? state.hangs.count + 1 : 1;
  const isOver = count > retriesMax;
  state.hangs = { lba, count: isOver ? 0 : count };
  if (!isOver) return 'retry';
  return isHung ? 'leave' : 'defer';
}

/** Whether what the pass read just before this was there to be had. */
function hasGained(state: PlanState, pass: Pass, extent: Extent): boolean {
  const before = isForward(pass) ? extent.lba - 1 : endOf(extent);
  if (before < 0 || before >= state.sectorCount) return false;
  return state.map.valueAt(before) === statuses.finished;
}
