import { type Extent, endOf } from '../map/extent.js';
import { statuses } from '../map/status.js';
import type { BlamedEvent, PlanEvent, ReadEvent } from './events.js';
import { notes, type Pass, type Reaction } from './pass.js';
import { type PlanState, toPhysical } from './state.js';

/** Applies one event. No I/O, no clock, no chance. */
export function foldPlan(state: PlanState, event: PlanEvent): void {
  switch (event.kind) {
    case 'read':
      if (event.role === 'pass') foldRead(state, event);
      return;
    case 'blamed':
      foldBlame(state, event);
      return;
    case 'doubted':
      foldDoubt(state, event.extents);
      return;
    case 'pass-started':
      state.passIndex = event.index;
      state.passStarted = true;
      resetCursor(state);
      return;
    case 'pass-ended':
      state.passIndex = event.index + 1;
      state.passStarted = false;
      resetCursor(state);
      return;
    case 'classified':
      state.map.set(event, statuses[event.status]);
      return;
  }
}

/** What was made up is as if it had never been read, and the passes begin anew for it. */
function foldDoubt(state: PlanState, extents: readonly number[]): void {
  for (let at = 0; at + 1 < extents.length; at += 2) {
    const extent = { lba: extents[at] as number, count: extents[at + 1] as number };
    state.map.setWhere(extent, statuses.finished, statuses['non-tried']);
  }
  state.passIndex = 0;
  state.passStarted = false;
  resetCursor(state);
}

function resetCursor(state: PlanState): void {
  const direction = state.passes[state.passIndex]?.direction ?? 'forward';
  state.cursor = direction === 'forward' ? 0 : state.sectorCount;
  state.skipCount = 0;
}

function foldRead(state: PlanState, event: ReadEvent): void {
  const pass = state.passes[state.passIndex];
  if (!pass || event.outcome === 'not-attempted') return;
  if (event.goodCount > 0) {
    state.map.set({ lba: event.lba, count: event.goodCount }, statuses.finished);
    state.blamed = [];
  }
  if (event.outcome === 'good' || (event.outcome === 'slow' && pass.onSlow === 'go-on')) {
    state.skipCount = 0;
    moveCursor(state, pass, event);
  } else if (event.outcome === 'slow') {
    react(state, pass, event, pass.onSlow, notes['skipped-slow']);
  } else if (event.outcome === 'fault' && event.cause === 'medium') {
    applyFailure(state, pass, event);
  } else {
    state.suspect = event;
  }
}

/** Trimming has no cursor: it takes the first run whose edges are not known. */
function moveCursor(state: PlanState, pass: Pass, extent: Extent): void {
  if (pass.phase === 'trim') return;
  state.cursor = pass.direction === 'forward' ? endOf(extent) : extent.lba;
}

/** Marks what a failed read left unread, and moves on as the pass says. */
function applyFailure(state: PlanState, pass: Pass, event: ReadEvent): void {
  const rest = { lba: event.lba + event.goodCount, count: event.count - event.goodCount };
  const failed = failedWithin(state, rest, event);
  if (failed.lba > rest.lba)
    blame(state, { lba: rest.lba, count: failed.lba - rest.lba }, statuses['non-trimmed']);
  const behind = { lba: endOf(failed), count: endOf(rest) - endOf(failed) };
  if (behind.count > 0) blame(state, behind, statuses['non-trimmed']);
  const single = rest.count <= state.physicalCount || failed.count < rest.count;
  blame(state, failed, single ? verdictOnSingle(state, event) : statuses['non-trimmed']);
  react(state, pass, event, pass.onFault, notes['skipped-bad']);
}

/** A sector that a read by itself did not bring is bad; but one that only ran out of time is left for the
 * next row that gives it longer. */
function verdictOnSingle(state: PlanState, event: ReadEvent): Blamable {
  const pass = state.passes[state.passIndex];
  if (event.outcome !== 'timeout' || !pass) return statuses['bad-sector'];
  const later = state.passes.slice(state.passIndex + 1);
  const longer = (phase: Pass['phase']) =>
    later.some(
      (row) => row.phase === phase && row.area === 'any' && row.timeoutMs > pass.timeoutMs,
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
  const forward = pass.direction === 'forward';
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

/** Jumps ahead, twice as far as last time, and notes what the run of jumps leaves behind. */
function skip(state: PlanState, pass: Pass, extent: Extent, note: number): void {
  const forward = pass.direction === 'forward';
  if (state.skipCount === 0) {
    state.skipCount = pass.skip.startCount;
    state.skipOrigin = forward ? extent.lba : endOf(extent);
  }
  const landing = forward
    ? Math.min(state.sectorCount, endOf(extent) + state.skipCount)
    : Math.max(0, extent.lba - state.skipCount);
  const area = forward
    ? { lba: state.skipOrigin, count: landing - state.skipOrigin }
    : { lba: landing, count: state.skipOrigin - landing };
  noteLeft(state, area, note);
  state.cursor = landing;
  state.skipCount = Math.min(state.skipCount * 2, pass.skip.maxCount);
  state.skipOrigin = landing;
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

/** The area that a pass leaves: the noted one, or the untouched run where the pass takes any. */
function areaAround(state: PlanState, pass: Pass, extent: Extent): Extent {
  if (pass.area !== 'any') return state.notes.runAt(extent.lba);
  const forward = pass.direction === 'forward';
  const run = forward
    ? state.map.next(endOf(extent), statuses['non-tried'])
    : state.map.previous(extent.lba, statuses['non-tried']);
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
  if (on !== 'place') liftBlame(state, pass);
  if (pass && suspect) {
    if (on === 'place') applyFailure(state, pass, suspect);
    else if (on === 'hang') applyHang(state, pass, suspect);
  }
  state.blamed = [];
}

function acquittedTooOften(state: PlanState, suspect: ReadEvent): boolean {
  const { lba, count } = state.acquittals;
  state.acquittals = { lba: suspect.lba, count: lba === suspect.lba ? count + 1 : 1 };
  return state.acquittals.count >= acquittalsMax;
}

/** The drive was to blame: everything since the last good read gets its former status back, and the
 * pass takes it again in place. */
function liftBlame(state: PlanState, pass: Pass | undefined): void {
  for (const { lba, count, former } of state.blamed.reverse()) {
    state.map.set({ lba, count }, former);
    if (!pass) continue;
    state.cursor =
      pass.direction === 'forward'
        ? Math.min(state.cursor, lba)
        : Math.max(state.cursor, lba + count);
  }
  if (state.blamed.length > 0) state.skipCount = 0;
  state.blamed = [];
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
      react(state, pass, suspect, pass.onFault, notes['skipped-bad']);
      state.notes.set(rest, notes.hung);
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

/** Hangs at one LBA that `retry` bears: on first touch, and where the spot is pinned down sector by sector. */
const hangRetriesMax = 2;
const hungRetriesMax = 1;

/** What the row says; a spot that `retry` has read often enough is deferred, and where it was deferred before,
 * given up. */
function reactionToHang(state: PlanState, pass: Pass, { lba }: ReadEvent): Pass['onHang'] {
  state.hangs = { lba, count: state.hangs.lba === lba ? state.hangs.count + 1 : 1 };
  if (pass.onHang !== 'retry') return pass.onHang;
  const isHung = pass.area === 'hung';
  if (state.hangs.count <= (isHung ? hungRetriesMax : hangRetriesMax)) return 'retry';
  state.hangs = { lba, count: 0 };
  return isHung ? 'leave' : 'defer';
}

/** Whether what the pass read just before this was there to be had. */
function hasGained(state: PlanState, pass: Pass, extent: Extent): boolean {
  const before = pass.direction === 'forward' ? extent.lba - 1 : endOf(extent);
  if (before < 0 || before >= state.sectorCount) return false;
  return state.map.valueAt(before) === statuses.finished;
}
