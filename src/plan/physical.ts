import type { Extent } from '../map/extent.js';
import type { RunMap } from '../map/run-map.js';
import { statuses } from '../map/status.js';
import type { ReadEvent } from './events.js';
import { notes } from './pass.js';
import type { PlanState } from './state.js';

/** Drives with physical sectors of 4,096 bytes lose eight sectors of 512 bytes at once (ACS-4, IDENTIFY DEVICE
 * word 106). Bridges often do not pass that word on; the damage tells it. */
export const eight = 8;

/** Edges between bad and finished sectors that must lie on multiples of eight, all of them: by chance one in
 * eight does. */
const edgesMin = 8;

/** What the damage says of the physical sector, in logical ones: eight, or undefined while it says nothing. */
export function physicalCountSeen(map: RunMap): number | undefined {
  let edges = 0;
  let isAligned = true;
  let former: number = statuses['non-tried'];
  map.forEachRun((lba, _count, value) => {
    const [low, high] = former < value ? [former, value] : [value, former];
    former = value;
    if (low !== statuses['bad-sector'] || high !== statuses.finished) return;
    edges += 1;
    if (lba % eight !== 0) isAligned = false;
  });
  return isAligned && edges >= edgesMin ? eight : undefined;
}

/** Whether a failing read shows that sectors of one aligned eight fail by themselves: the drive gave one and named
 * the next. */
export function splitsAnEight({ lba, goodCount, faultLba }: ReadEvent): boolean {
  return goodCount > 0 && faultLba === lba + goodCount && faultLba % eight !== 0;
}

/** Notes at a pause between reads what the damage says, unless somebody who knows has said it. */
export function lookForPhysical(state: PlanState): void {
  if (state.physicalKnown || state.physicalCount !== 1) return;
  state.physicalSeen = physicalCountSeen(state.map) ?? state.physicalSeen;
}

/** From here on reads are planned by such physical sectors. Back to one: what was called bad by eights is
 * tried again, all of it. */
export function adoptPhysical(state: PlanState, count: number): void {
  const { learned, map } = state;
  const ratio = state.physicalCount / count;
  state.physicalCount = count;
  state.physicalSeen = count;
  learned.physicalCount = count;
  learned.tried *= ratio;
  for (const level of learned.triedAt) {
    for (let cell = 0; cell < level.length; cell++) level[cell]! *= ratio;
  }
  if (count > 1) return;
  state.physicalKnown = true;
  for (const spot of runsWithout(state, notes.hung))
    map.setWhere(spot, statuses['bad-sector'], statuses['non-tried']);
}

/** What lies between the areas of a note. */
function runsWithout({ notes: noted }: PlanState, note: number): Extent[] {
  const found: Extent[] = [];
  noted.forEachRun((lba, count, value) => {
    if (value !== note) found.push({ lba, count });
  });
  return found;
}
