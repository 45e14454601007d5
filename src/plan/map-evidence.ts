import type { RunMap } from '../map/run-map.js';
import { statuses } from '../map/status.js';
import { createLearned, type Learned, learnAreas } from './learned.js';

/** What can be learned from a map alone, as another program leaves it: where damage is, not how fast reads were.
 * `physicalCount` is sectors of one physical sector. */
export function learnedFromMap(map: RunMap, physicalCount: number): Learned {
  const learned = createLearned(map.size, physicalCount);
  const { cellCount, cellSlow } = learned;
  const tried = learned.triedAt[0]!;
  const hits = learned.hitsAt[0]!;
  map.forEachRun((lba, count, value) => {
    if (value === statuses['non-tried']) return;
    const end = lba + count;
    for (let at = lba; at < end; ) {
      const cell = Math.floor(at / cellCount);
      const next = Math.min(end, (cell + 1) * cellCount);
      if (value === statuses.finished) {
        tried[cell]! += (next - at) / physicalCount;
        cellSlow[cell] = 1;
      } else hits[cell]! += 1;
      at = next;
    }
  });
  learnAreas(learned, map);
  return learned;
}

/** Sectors of a physical one by the damage of a map: 8 where all of it comes in aligned eights. */
export function physicalCountIn(map: RunMap): number {
  let isInEights = map.size % 8 === 0 && map.countOf(statuses['bad-sector']) > 0;
  map.forEachRun((lba, count, value) => {
    if (value === statuses['bad-sector'] && (lba % 8 !== 0 || count % 8 !== 0)) isInEights = false;
  });
  return isInEights ? 8 : 1;
}
