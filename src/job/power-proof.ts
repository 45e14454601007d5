/** Whether a switch that may only reset a port cuts the drive's power: its own count of power cycles tells. */

import { isLastspinError } from '../errors.js';
import type { Power } from '../power/power.js';
import type { JobParts, Note } from './parts.js';

export interface PowerProof {
  /** Whether a cycle by this switch counts as a port reset. */
  isOpenFor(power: Power): boolean;
  cycled(power: Power): void;
  /** Asks the drive where that is of use. It must be well: reading SMART data has hung drives in trouble. */
  count(): Promise<void>;
}

/** `onRefuted` is told of a switch that does not cut the power. At most two questions to the drive for each such switch: one before its first cycle, one after. Where the
 * drive does not tell, its cycles stay port resets. */
export function createProof(
  { drive, powers }: JobParts,
  note: Note,
  onRefuted: (power: Power) => void,
): PowerProof {
  const proven = new Set<Power>();
  const refuted = new Set<Power>();
  let before: number | undefined;
  let isMute = drive.powerCycleCount === undefined;
  /** Cycles by each switch since the count was taken. */
  const cycles = new Map<Power, number>();

  const isOpenFor = (power: Power) => power.mayOnlyReset === true && !proven.has(power);

  async function ask(): Promise<number | undefined> {
    try {
      const found = await drive.powerCycleCount?.();
      isMute = found === undefined;
      return found;
    } catch (error) {
      if (!isLastspinError(error, 'DEVICE_REFUSED')) throw error;
      isMute = true;
      return undefined;
    }
  }

  function settle(power: Power, now: number): void {
    const resets = cycles.get(power) ?? 0;
    const counted = Math.min(resets, Math.max(0, now - (before ?? now)));
    const cuts = counted > 0;
    (cuts ? proven : refuted).add(power);
    note({ kind: 'power-proven', power: power.name, cuts, resets: counted });
    if (!cuts) onRefuted(power);
  }

  return {
    isOpenFor,
    cycled(power) {
      cycles.set(power, (cycles.get(power) ?? 0) + 1);
    },
    async count() {
      const open = powers.filter((power) => isOpenFor(power) && !refuted.has(power));
      if (isMute || open.length === 0) return;
      if (before !== undefined && cycles.size === 0) return;
      const now = await ask();
      if (now === undefined) return;
      // Several switches at work since then: which of them did it?
      const [used, ...others] = cycles.keys();
      if (before !== undefined && used && others.length === 0 && open.includes(used))
        settle(used, now);
      before = now;
      cycles.clear();
    },
  };
}
