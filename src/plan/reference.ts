import { type Extent, endOf } from '../map/extent.js';
import { statuses } from '../map/status.js';
import { scopedAfter, scopedBefore } from './domain.js';
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
 * Inside the domain where something is finished there, else wherever something is. While nothing is finished
 * yet, places spread over the domain stand in. */
export function referenceExtent(state: PlanState, attempt: number): Extent {
  const domain = hullOf(state);
  return (
    finishedExtent(state, attempt, domain, true) ??
    finishedExtent(state, attempt, { lba: 0, count: state.sectorCount }, false) ??
    anywhere(state, attempt, domain)
  );
}

/** From the first to the last sector of the domain. */
function hullOf({ scope, sectorCount }: PlanState): Extent {
  const first = scopedAfter(scope, undefined, 0)?.lba ?? 0;
  const last = scopedBefore(scope, undefined, sectorCount);
  return { lba: first, count: (last ? endOf(last) : sectorCount) - first };
}

function finishedExtent(
  state: PlanState,
  attempt: number,
  within: Extent,
  inDomain: boolean,
): Extent | undefined {
  const farCount = Math.min(cacheCount, state.sectorCount * cacheShare);
  let best: Extent | undefined;
  let bestRank = -1;
  for (let place = 0; place < placesMax; place++) {
    const found = finishedNear(state, attempt * placesMax + place, within, inDomain);
    if (!found) break;
    const distance = Math.abs(found.lba - state.cursor);
    const isWhole = found.count === state.physicalCount;
    if (isWhole && distance > farCount) return found;
    // Wholeness first, then distance.
    const rank = distance + (isWhole ? state.sectorCount : 0);
    if (rank > bestRank) [best, bestRank] = [found, rank];
  }
  return best;
}

/** A finished sector at or after a place that `index` names; in a run where it falls, at the start of
 * the drive behind the last. */
function finishedNear(
  state: PlanState,
  index: number,
  within: Extent,
  inDomain: boolean,
): Extent | undefined {
  const wanted = within.lba + Math.floor(spread(index) * within.count);
  const behind = finishedAfter(state, wanted, inDomain);
  if (behind?.lba === wanted) return sectorAt(state, wanted, around(state, behind, inDomain));
  const run = behind ?? finishedAfter(state, 0, inDomain);
  if (!run) return undefined;
  return sectorAt(state, run.lba + Math.floor(spread(index * 7 + 3) * run.count), run);
}

/** The first finished extent at or after a place, inside the domain where that is asked for. */
function finishedAfter(state: PlanState, from: number, inDomain: boolean): Extent | undefined {
  for (let at = from; at < state.sectorCount; ) {
    const run = state.map.next(at, statuses.finished);
    if (!run || !inDomain) return run;
    const scoped = scopedAfter(state.scope, undefined, run.lba);
    if (!scoped) return undefined;
    const end = Math.min(endOf(run), endOf(scoped));
    if (scoped.lba < end) return { lba: scoped.lba, count: end - scoped.lba };
    at = scoped.lba;
  }
  return undefined;
}

/** An extent that may begin inside its run, with what of the run lies before it. */
function around(state: PlanState, extent: Extent, inDomain: boolean): Extent {
  const end = endOf(extent);
  let { lba } = state.map.runAt(extent.lba);
  if (inDomain) lba = Math.max(lba, scopedBefore(state.scope, undefined, end)?.lba ?? lba);
  return { lba, count: end - lba };
}

/** The physical sector around a finished LBA; where that is not finished whole, the next of its run that
 * is; where its run has none, what there is. */
function sectorAt(state: PlanState, lba: number, run: Extent): Extent {
  const size = state.physicalCount;
  const first = Math.ceil(run.lba / size) * size;
  const last = Math.floor(endOf(run) / size) * size - size;
  if (last < first) return { lba: run.lba, count: Math.min(size, run.count) };
  const aligned = Math.floor(lba / size) * size;
  return { lba: Math.min(Math.max(aligned, first), last), count: size };
}

function anywhere(state: PlanState, attempt: number, domain: Extent): Extent {
  const size = state.physicalCount;
  const wanted = Math.floor((domain.lba + spread(attempt) * domain.count) / size) * size;
  const scoped =
    scopedAfter(state.scope, undefined, wanted) ?? scopedAfter(state.scope, undefined, 0);
  const lba = scoped?.lba ?? wanted;
  const end = Math.min(scoped ? endOf(scoped) : state.sectorCount, lba - (lba % size) + size);
  return { lba, count: end - lba };
}

/** The golden-ratio sequence: evenly spread, no chance involved. */
function spread(index: number): number {
  return ((index + 1) * 0.6180339887498949) % 1;
}
