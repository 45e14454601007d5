import { createDataDetector, type DataDetector } from '../drive/detectors.js';
import type { DriveIdentity } from '../drive/drive.js';
import { isLastspinError } from '../errors.js';
import { type DriveKind, troublePolicies } from '../power/policy.js';

/** What is known of a drive's kind, best first. */
export interface KindSources {
  /** The user's word. */
  readonly asked?: DriveKind | undefined;
  /** What an earlier run of the job went by. */
  readonly saved?: DriveKind | undefined;
  /** What the path to the drive knows (a plain file, a block device that turns). */
  readonly opened?: DriveKind | undefined;
  readonly identity: DriveIdentity;
}

/** The kind of drive that policies follow: the user's word, an earlier run's, the path's, the drive's
 * own. Where nobody knows it is a hard drive, whose defaults are the gentlest. A plain file stays one. */
export function chooseKind({ asked, saved, opened, identity }: KindSources): DriveKind {
  if (asked) return asked;
  if (opened === 'file') return 'file';
  if (saved && saved !== 'file') return saved;
  return opened ?? identity.kind ?? 'hdd';
}

/** What looks for made-up data on such a drive; undefined where nobody can tell: behind an operating system
 * stand caches and virtual disks. */
export function detectorFor(
  kind: DriveKind,
  drive: DriveIdentity,
  isDirect: boolean,
  bestRate: number,
): DataDetector | undefined {
  if (!isDirect || kind === 'file') return undefined;
  const { sectorBytes, sectorCount } = drive;
  return createDataDetector({ turns: kind === 'hdd', sectorBytes, sectorCount, bestRate });
}

/** Whatever can look after the drive when the laptop falls silent. */
export interface Guard {
  watchdog(stages: {
    readonly stopReadsMs: number;
    readonly unloadMs: number;
    readonly standbyMs: number;
    readonly offMs: number;
  }): Promise<void>;
}

/** Tells an imager what to do when nobody is heard any more: a good moment of a hard drive must not be cut
 * short, flash must not hang. */
export async function guardSilence(guard: Guard, kind: DriveKind): Promise<void> {
  await guard.watchdog(troublePolicies[kind].silent).catch((error: unknown) => {
    // An imager without a watchdog cannot look after the drive by itself; that is no reason to stop.
    if (!isLastspinError(error, 'DEVICE_REFUSED')) throw error;
  });
}
