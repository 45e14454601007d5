import type { Extent } from '../map/extent.js';
import { statuses } from '../map/status.js';
import type { PlanState } from './state.js';

/** How far from the last reads a reference must lie, in sectors, so that the drive cannot answer it
 * from its cache: 128 MiB at 512 bytes, the largest buffer of a desktop drive is 256 MiB of which reads
 * get a part. */
const cacheCount = 262_144;
/** Places tried before the distance rule is given up: on a small drive no place satisfies it. */
const placesMax = 8;

/** A sector that tells whether the drive is well: one that was read before, somewhere else. Different
 * for each `attempt`, the same for the same state and attempt. While nothing is finished yet, places
 * spread over the drive stand in. */
export function referenceExtent(state: PlanState, attempt: number): Extent {
  const size = state.physicalCount;
  for (let place = 0; place < placesMax; place++) {
    const wanted = Math.floor(spread(attempt * placesMax + place) * state.sectorCount);
    const run =
      state.map.next(wanted, statuses.finished) ?? state.map.next(0, statuses.finished, wanted);
    if (!run) break;
    const lba = Math.floor(run.lba / size) * size;
    const far = Math.abs(lba - state.cursor) > Math.min(cacheCount, state.sectorCount / 16);
    const whole = lba >= run.lba && lba + size <= run.lba + run.count;
    if ((far && whole) || place === placesMax - 1) {
      return { lba: run.lba, count: Math.min(size, run.count) };
    }
  }
  const lba = Math.floor((spread(attempt) * state.sectorCount) / size) * size;
  return { lba, count: Math.min(size, state.sectorCount - lba) };
}

/** The golden-ratio sequence: evenly spread, no chance involved. */
function spread(index: number): number {
  return ((index + 1) * 0.6180339887498949) % 1;
}
