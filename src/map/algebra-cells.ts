/** A map cut into equal cells, for pictures. */

import { outside, type Runs, walk } from './algebra-runs.js';
import { statuses, statusNames } from './status.js';

/** Equal parts of `[from, to)`. Bytes. */
export interface Cells {
  readonly count: number;
  /** Where a cell begins; `startOf(count)` is where the last one ends. */
  startOf(cell: number): number;
  /** The status that shows: the least hopeful that the cell holds, or `outside`. */
  readonly codes: Uint8Array;
}

/** Bad first, finished last: a lost sector must show, however large the cell. */
const rank: number[] = [];
rank[statuses['bad-sector']] = 0;
rank[statuses['non-scraped']] = 1;
rank[statuses['non-trimmed']] = 2;
rank[statuses['non-tried']] = 3;
rank[statuses.finished] = 4;
rank[outside] = statusNames.length;

/** Cuts `[from, to)` of a map into at most `countMax` cells of whole bytes. */
export function cellsOf(map: Runs, from: number, to: number, countMax: number): Cells {
  const size = to - from;
  const count = Math.max(1, Math.min(countMax, size));
  const startOf = (cell: number) => from + Math.floor((size / count) * cell);
  const codes = new Uint8Array(count).fill(outside);
  const cellAt = (position: number) => {
    let cell = Math.min(Math.floor((position - from) / (size / count)), count - 1);
    while (cell > 0 && startOf(cell) > position) cell -= 1;
    while (cell + 1 < count && startOf(cell + 1) <= position) cell += 1;
    return cell;
  };
  walk([map], (spanFrom, spanTo, [code]) => {
    if (spanFrom >= to) return false;
    if (spanTo <= from || code === outside) return undefined;
    const last = cellAt(Math.min(spanTo, to) - 1);
    for (let cell = cellAt(Math.max(spanFrom, from)); cell <= last; cell++) {
      if (rank[code!]! < rank[codes[cell]!]!) codes[cell] = code!;
    }
    return undefined;
  });
  return { count, startOf, codes };
}
