import { type Extent, endOf } from '../map/extent.js';
import { statuses } from '../map/status.js';
import type { PlanState } from './state.js';

/** How far from the last reads a reference must lie, in sectors, so that the drive cannot answer it
 * from its cache: 128 MiB at 512 bytes, the largest buffer of a desktop drive is 256 MiB of which reads
 * get a part. */
const cacheCount = 262_144;
/** The same on a drive too small for that. */
const cacheShare = 1 / 16;
/** Places looked at before the best of them is taken. */
const placesMax = 32;

/** A sector that tells whether the drive is well: one that was read before, somewhere else; whole
 * physical where there is one. Different for each `attempt`, the same for the same state and attempt.
 * While nothing is finished yet, places spread over the drive stand in. */
export function referenceExtent(state: PlanState, attempt: number): Extent {
  const farCount = Math.min(cacheCount, state.sectorCount * cacheShare);
  let best: Extent | undefined;
  let bestRank = -1;
  for (let place = 0; place < placesMax; place++) {
    const found = finishedNear(state, attempt * placesMax + place);
    if (!found) break;
    const distance = Math.abs(found.lba - state.cursor);
    const isWhole = found.count === state.physicalCount;
    if (isWhole && distance > farCount) return found;
    // Wholeness first, then distance.
    const rank = distance + (isWhole ? state.sectorCount : 0);
    if (rank > bestRank) [best, bestRank] = [found, rank];
  }
  return best ?? anywhere(state, attempt);
}

/** A finished sector at or after a place that `index` names; in a run where it falls, at the start of
 * the drive behind the last. */
function finishedNear(state: PlanState, index: number): Extent | undefined {
  const wanted = Math.floor(spread(index) * state.sectorCount);
  const behind = state.map.next(wanted, statuses.finished);
  if (behind?.lba === wanted) return sectorAt(state, wanted);
  const run = behind ?? state.map.next(0, statuses.finished);
  if (!run) return undefined;
  return sectorAt(state, run.lba + Math.floor(spread(index * 7 + 3) * run.count));
}

/** The physical sector around a finished LBA; where that is not finished whole, the next of its run that
 * is; where its run has none, what there is. */
function sectorAt(state: PlanState, lba: number): Extent {
  const size = state.physicalCount;
  const run = state.map.runAt(lba);
  const first = Math.ceil(run.lba / size) * size;
  const last = Math.floor(endOf(run) / size) * size - size;
  if (last < first) return { lba: run.lba, count: Math.min(size, run.count) };
  const aligned = Math.floor(lba / size) * size;
  return { lba: Math.min(Math.max(aligned, first), last), count: size };
}

function anywhere(state: PlanState, attempt: number): Extent {
  const size = state.physicalCount;
  const lba = Math.floor((spread(attempt) * state.sectorCount) / size) * size;
  return { lba, count: Math.min(size, state.sectorCount - lba) };
}

/** The golden-ratio sequence: evenly spread, no chance involved. */
function spread(index: number): number {
  return ((index + 1) * 0.6180339887498949) % 1;
}
