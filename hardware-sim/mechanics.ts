/** How long the healthy part of a command takes. Deterministic: rotation costs its mean, so that
 * two runs differ only where the scenario's seed makes them differ. */
import type { Scenario } from './scenario.js';

export interface Mechanics {
  /** The head that reads an LBA, from 0: heads take turns in bands of `bandSectors`. */
  headOf(lba: number): number;
  /** Media rate at an LBA: falls linearly from the outer to the inner edge. */
  bytesPerSecondAt(lba: number): number;
  /** Overhead, seek and rotation of a command at `lba` with the head behind `fromLba`; look-ahead as the
   * scenario has it unless told. */
  approachMs(fromLba: number, lba: number, lookAhead?: boolean): number;
  /** Time that `count` sectors from `lba` on take to pass below the head. */
  transferMs(lba: number, count: number): number;
}

/** Mechanics by the scenario's numbers. Going on where the last command ended costs only the
 * overhead with look-ahead, and a whole revolution without; any other place a seek (its share of
 * `seekMinMs` to `seekMaxMs` grows with the root of the distance) and half a revolution. */
export function createMechanics(scenario: Scenario): Mechanics {
  const { sectorCount, sectorBytes, mechanics } = scenario;
  const { heads, bandSectors, outerBytesPerSecond, innerBytesPerSecond } = mechanics;
  const { seekMinMs, seekMaxMs, rotationMs, overheadMs } = mechanics;
  const bytesPerSecondAt = (lba: number) =>
    outerBytesPerSecond + (innerBytesPerSecond - outerBytesPerSecond) * (lba / sectorCount);
  return {
    headOf: (lba) => Math.floor(lba / bandSectors) % heads,
    bytesPerSecondAt,
    approachMs(fromLba, lba, lookAhead = mechanics.lookAhead) {
      if (fromLba === lba) return overheadMs + (lookAhead ? 0 : rotationMs);
      const distance = Math.sqrt(Math.abs(lba - fromLba) / sectorCount);
      return overheadMs + seekMinMs + (seekMaxMs - seekMinMs) * distance + rotationMs / 2;
    },
    transferMs: (lba, count) => (count * sectorBytes * 1000) / bytesPerSecondAt(lba),
  };
}
