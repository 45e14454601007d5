/** What a drive has lost for good. */
import { type PlacedRow, physicalRatio } from './faults.js';
import type { Scenario } from './scenario.js';

/** Physical sectors whose chance is looked up one by one, about a second's worth; what lies beyond is estimated
 * by its share. */
const drawnMax = 50_000_000;

/** Sectors that no read ever gives: bad ones that never come, and places that hang the drive or make it vanish
 * every time, from the start. */
export function countLost(scenario: Scenario, rows: readonly PlacedRow[]): number {
  const lost = rows.filter(isForGood);
  const ratio = physicalRatio(scenario);
  const total = Math.ceil(scenario.sectorCount / ratio);
  let count = 0;
  let drawn = 0;
  for (let at = 0; at < total; ) {
    const from = Math.min(...lost.map((row) => row.placeFrom(at)));
    if (!(from < total)) break;
    const here = lost.filter((row) => row.placeFrom(from) === from);
    const changes = lost.map((row) => (here.includes(row) ? row.placeEnd : row.placeFrom)(from));
    const end = Math.min(total, ...changes);
    if (here.some((row) => row.share === 1)) {
      count += Math.min(scenario.sectorCount, end * ratio) - from * ratio;
    } else if (drawn + end - from > drawnMax) {
      const spared = here.reduce((chance, row) => chance * (1 - row.share), 1);
      count += Math.round((end - from) * (1 - spared)) * ratio;
    } else {
      drawn += end - from;
      for (let physical = from; physical < end; physical++) {
        if (here.some((row) => row.covers(physical))) count += ratio;
      }
    }
    at = end;
  }
  return Math.min(scenario.sectorCount, count);
}

function isForGood({ fault }: PlacedRow): boolean {
  if (fault.afterReads !== undefined || fault.afterMs !== undefined) return false;
  if (fault.kind === 'bad') return fault.readChance === 0;
  return (fault.kind === 'hang' || fault.kind === 'vanish') && fault.times === undefined;
}
