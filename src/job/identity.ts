import { z } from 'zod';
import type { DriveIdentity } from '../drive/drive.js';
import { kindHints } from '../drive/kind.js';
import { LastspinError } from '../errors.js';

const count = z.number().int().nonnegative();

/** Most logical sectors of a physical one that is believed: 32 KiB flash pages. */
export const physicalCountMax = 64;

/** A `DriveIdentity` that comes from a disk or goes to other programs. */
export const driveIdentitySchema = z.object({
  model: z.string(),
  serial: z.string(),
  firmware: z.string(),
  sectorCount: count,
  sectorBytes: count,
  physicalSectorBytes: count,
  kind: z.enum(kindHints).exactOptional(),
});

/** What some controllers call themselves once they cannot load their firmware: Phison S11, SandForce,
 * Intel 320. */
const failedNames = [/^SATAFIRM/i, /^SandForce\{/i, /BAD_CTX/];
/** A drive that comes back smaller than this is its controller's own memory: 0, 8, 20.9 and 32 MB are
 * known. */
const failedBytesMax = 32 * 1024 ** 2;

/** Whether what answers is the drive's controller without its firmware. It can be told by its name, by having no
 * capacity, and, where it is known to have had more bytes, by a tiny one. */
export function isFirmwareFailed(found: DriveIdentity, expectedBytes = 0): boolean {
  const bytes = found.sectorCount * found.sectorBytes;
  const isShrunk = bytes <= failedBytesMax && bytes < expectedBytes;
  const isNamed = failedNames.some((name) => name.test(found.model) || name.test(found.serial));
  return isShrunk || isNamed || bytes === 0;
}

/** Throws FIRMWARE_FAILED when what answers is the drive's controller without its firmware. */
export function refuseFailedFirmware(found: DriveIdentity, expected?: DriveIdentity): void {
  const bytes = found.sectorCount * found.sectorBytes;
  if (!isFirmwareFailed(found, expected && expected.sectorCount * expected.sectorBytes)) return;
  throw new LastspinError(
    'FIRMWARE_FAILED',
    `the drive's firmware has failed: it answers as ${found.model} ${found.serial} with ${Math.floor(bytes / 1e5) / 10} MB; leave its power off for a while and run the same command again; if it stays so, it needs a laboratory`,
  );
}

/** Throws FIRMWARE_FAILED, or DRIVE_CHANGED unless model, serial, capacity and sector size are the same. */
export function refuseOther(expected: DriveIdentity, found: DriveIdentity): void {
  const keys = ['model', 'serial', 'sectorCount', 'sectorBytes'] as const;
  const differs = keys.find((key) => expected[key] !== found[key]);
  if (!differs) return;
  refuseFailedFirmware(found, expected);
  throw new LastspinError(
    'DRIVE_CHANGED',
    `another drive answers: ${differs} is ${found[differs]}, expected ${expected[differs]}; connect ${expected.model} ${expected.serial} and run the same command again, or --same-drive if it is the same behind another adapter`,
  );
}

/** Whether the user's word is needed that this is the same drive. Even that does not make up for another
 * capacity: throws DRIVE_CHANGED, or FIRMWARE_FAILED. */
export function isOtherIdentity(expected: DriveIdentity, found: DriveIdentity): boolean {
  const keys = ['model', 'serial', 'sectorCount', 'sectorBytes'] as const;
  if (keys.every((key) => expected[key] === found[key])) return false;
  refuseFailedFirmware(found, expected);
  const bytesOf = (drive: DriveIdentity) => drive.sectorCount * drive.sectorBytes;
  if (bytesOf(expected) === bytesOf(found)) return true;
  throw new LastspinError(
    'DRIVE_CHANGED',
    `--same-drive: ${found.model} ${found.serial} has ${bytesOf(found)} bytes, ${expected.model} ${expected.serial} had ${bytesOf(expected)}; an adapter may hide some: use the one the job began with`,
  );
}
