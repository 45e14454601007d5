import { z } from 'zod';
import type { DriveIdentity } from '../drive/drive.js';
import { LastspinError } from '../errors.js';

const count = z.number().int().nonnegative();

/** A `DriveIdentity` that comes from a disk or goes to other programs. */
export const driveIdentitySchema = z.object({
  model: z.string(),
  serial: z.string(),
  firmware: z.string(),
  sectorCount: count,
  sectorBytes: count,
  physicalSectorBytes: count,
});

/** Throws DRIVE_CHANGED unless model, serial, capacity and sector size are the same. */
export function refuseOther(expected: DriveIdentity, found: DriveIdentity): void {
  const keys = ['model', 'serial', 'sectorCount', 'sectorBytes'] as const;
  const differs = keys.find((key) => expected[key] !== found[key]);
  if (!differs) return;
  throw new LastspinError(
    'DRIVE_CHANGED',
    `another drive answers: ${differs} is ${found[differs]}, expected ${expected[differs]}; connect ${expected.model} ${expected.serial} and run the same command again`,
  );
}
