import { realpathSync, type Stats, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { LastspinError } from '../errors.js';
import type { CasePaths } from '../job/case.js';

/** The source is never written, not even by a slip of the pen: throws USAGE when a file of the case is the
 * source, or would be written into a file system that is on it. */
export function refuseToTouchSource(source: string, paths: CasePaths): void {
  const found = statSync(source);
  const { image, map, journal, lock, versions, hashes } = paths;
  const temporary = [map, journal, hashes].map((path) => `${path}.tmp`);
  for (const path of [image, map, journal, lock, versions, hashes, ...temporary]) {
    const target = statSync(path, { throwIfNoEntry: false });
    if (target && isSame(found, target)) {
      throw new LastspinError('USAGE', `${path} is the drive itself; give another image path`);
    }
  }
  if (!found.isBlockDevice()) return;
  const holds = [image, dirname(image)].some((path) => {
    const target = statSync(path, { throwIfNoEntry: false });
    return (
      target !== undefined && isOn(target.isBlockDevice() ? target.rdev : target.dev, found.rdev)
    );
  });
  if (!holds) return;
  throw new LastspinError(
    'USAGE',
    `${image} would be written to the drive ${source} itself; name an image on another drive`,
  );
}

function isSame(a: Stats, b: Stats): boolean {
  if (a.isBlockDevice() || b.isBlockDevice()) {
    return a.isBlockDevice() && b.isBlockDevice() && a.rdev === b.rdev;
  }
  return a.dev === b.dev && a.ino === b.ino;
}

/** Whether block device `part` is `whole` or one of its partitions, as Linux's /sys tells it. */
function isOn(part: number, whole: number): boolean {
  if (part === whole) return true;
  const [partPath, wholePath] = [sysPath(part), sysPath(whole)];
  return partPath !== undefined && wholePath !== undefined && partPath.startsWith(`${wholePath}/`);
}

/** Major and minor number as glibc packs them into a dev_t. */
function sysPath(device: number): string | undefined {
  const bits = BigInt(device);
  const major = ((bits >> 8n) & 0xfffn) | ((bits >> 32n) & 0xfffff000n);
  const minor = (bits & 0xffn) | ((bits >> 12n) & 0xffffff00n);
  try {
    return realpathSync(`/sys/dev/block/${major}:${minor}`);
  } catch {
    return undefined; // No /sys here, or a file system without a device.
  }
}
