import { type Extent, endOf } from '../map/extent.js';
import type { GivenHeads } from './head-map.js';
import { weaknessAt } from './heads.js';
import type { Pass } from './pass.js';
import type { PlanState } from './state.js';

/** Rows by head: what a row may read of which head, and how. A row knows heads as `good` and `weak`, by what was
 * learned or said, and by number where a head map was given. */

/** Sectors of one head, as far as heads are known. */
interface Stretch extends Extent {
  readonly head: number | undefined;
  readonly isWeak: boolean;
}

function stretchAt({ learned, sectorCount }: PlanState, lba: number): Stretch {
  const { isWeak, ...around } = weaknessAt(learned.heads, lba, sectorCount);
  const run = learned.given?.map.runAt(lba);
  if (!run) return { ...around, head: undefined, isWeak };
  const from = Math.max(around.lba, run.lba);
  const end = Math.min(endOf(around), endOf(run));
  const head = run.value > 0 ? run.value - 1 : undefined;
  return { lba: from, count: end - from, head, isWeak };
}

/** Where heads let a row read at the first chance at or after `at`, to the end of that band. Dead heads are left
 * alone by every row that does not name them by number. */
export function headsAfter(state: PlanState, pass: Pass, at: number): Extent | undefined {
  const { sectorCount } = state;
  if (!dependsOnHeads(state, pass)) return { lba: at, count: sectorCount - at };
  if (isHopeless(state, pass)) return undefined;
  for (let lba = at; lba < sectorCount; ) {
    const stretch = stretchAt(state, lba);
    if (isWanted(state, pass, stretch)) return { lba, count: endOf(stretch) - lba };
    lba = endOf(stretch);
  }
  return undefined;
}

/** The same for the last chance below `before`. */
export function headsBefore(state: PlanState, pass: Pass, before: number): Extent | undefined {
  if (!dependsOnHeads(state, pass)) return { lba: 0, count: before };
  if (isHopeless(state, pass)) return undefined;
  for (let end = before; end > 0; ) {
    const stretch = stretchAt(state, end - 1);
    if (isWanted(state, pass, stretch)) return { lba: stretch.lba, count: end - stretch.lba };
    end = stretch.lba;
  }
  return undefined;
}

function dependsOnHeads({ learned }: PlanState, { heads, perHead }: Pass): boolean {
  return Boolean(heads || perHead || learned.given?.data.dead.length);
}

/** Without a weak head, or a band of the heads it names, a row has nothing to look for. */
function isHopeless({ learned }: PlanState, { heads }: Pass): boolean {
  if (heads === 'weak') return !learned.heads;
  if (heads === undefined || heads === 'good') return false;
  return !heads.some((head) => learned.given?.bands[head]?.length);
}

function isWanted({ learned }: PlanState, { heads }: Pass, { head, isWeak }: Stretch): boolean {
  if (typeof heads === 'object') return head !== undefined && heads.includes(head);
  if (head !== undefined && learned.given?.data.dead.includes(head)) return false;
  return heads === undefined || (heads === 'weak') === isWeak;
}

/** The row as it is for the head at an LBA: what it says of `good` or `weak` heads, and before that of this
 * one by number. */
export function passAt(state: PlanState, pass: Pass, lba: number): Pass {
  if (!pass.perHead) return pass;
  const { head, isWeak } = stretchAt(state, lba);
  const kind = isWeak ? 'weak' : 'good';
  let row = pass;
  for (const who of [kind, head]) {
    const own = pass.perHead.find((each) => each.head === who);
    if (!own) continue;
    const { head: _head, ...changes } = own;
    row = { ...row, ...changes };
  }
  return row;
}

/** Whether a row goes by what was learned of heads. */
export function asksForWeakness({ heads, perHead }: Pass): boolean {
  return (
    typeof heads === 'string' || perHead?.some(({ head }) => typeof head === 'string') === true
  );
}

/** Why these rows cannot go by heads, in one line for the user: they name numbers that no head map has. */
export function headProblem(
  rows: readonly Pass[],
  given: Pick<GivenHeads, 'data'> | undefined,
): string | undefined {
  for (const [index, row] of rows.entries()) {
    const listed = typeof row.heads === 'object' ? row.heads : [];
    const numbers = [...listed, ...(row.perHead ?? []).map(({ head }) => head)].filter(
      (head) => typeof head === 'number',
    );
    if (numbers.length === 0) continue;
    const where = `row ${index + 1} (${row.name}) goes by head ${[...new Set(numbers)].join(', ')}`;
    if (!given)
      return `${where}, but no head map says where its bands are: give one with --heads FILE, or let the row say good or weak`;
    const wrong = numbers.find((head) => head >= given.data.heads);
    if (wrong !== undefined)
      return `${where}, but the head map has ${given.data.heads} heads, numbered from 0`;
  }
  return undefined;
}
