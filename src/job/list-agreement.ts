/** Whether the list of hashes says of each sector what the map says of it, line by line, by LBAs: a line may be any part
 * of a run. */

import type { HashLine } from '../image/hash-list.js';
import { endOf } from '../map/extent.js';
import type { RunMap } from '../map/run-map.js';
import { type StatusCode, statuses, statusNames } from '../map/status.js';

export interface ListAgreement {
  /** Whether every sector has a line: only a list that was written out in the end has that. */
  readonly isWhole: boolean;
  /** Lines that say otherwise than the map, or leave sectors out that such a list has. */
  readonly differences: number;
  /** The first of them, in words that begin with its line. */
  readonly first: string | undefined;
  /** Whether it is the list of an earlier run: it says what the map said then. */
  readonly isEarlier: boolean;
}

export interface ListAgreementCheck {
  /** The lines in order. */
  take(line: HashLine): void;
  finish(): ListAgreement;
}

/** `earlier` has the maps with which runs before the last one ended. */
export function createListAgreementCheck(
  map: RunMap,
  earlier: readonly RunMap[],
): ListAgreementCheck {
  let number = 1;
  let at = 0;
  let gap: string | undefined;
  let hasOthers = false;
  let differences = 0;
  let first: string | undefined;
  let then = earlier.filter(({ size }) => size === map.size);

  function differ(text: string): void {
    differences += 1;
    first ??= text;
  }

  function noteGap(to: number): void {
    if (to > at) gap ??= `line ${number}: LBA ${at} to ${to - 1} have no line before it`;
  }

  return {
    take(line) {
      number += 1;
      noteGap(line.lba);
      at = endOf(line);
      hasOthers ||= line.status !== 'finished';
      const other = otherCode(map, line);
      then = then.filter((each) => otherCode(each, line) === undefined);
      if (other === undefined) return;
      const where = `LBA ${line.lba} to ${endOf(line) - 1}`;
      differ(`line ${number}: ${where} are not all ${line.status}, the map has ${other} there`);
    },
    finish() {
      number += 1;
      noteGap(map.size);
      if (gap !== undefined && hasOthers) differ(gap);
      const isEarlier = then.length > 0 && !(gap !== undefined && hasOthers);
      return { isWhole: gap === undefined, differences, first, isEarlier };
    },
  };
}

/** What a map says of a part of these sectors instead. */
function otherCode(map: RunMap, line: HashLine): string | undefined {
  const code: StatusCode = statuses[line.status];
  for (const { value } of map.runs(line.lba, endOf(line)))
    if (value !== code) return statusNames[value];
  return undefined;
}
