/** What an operating system tells of itself in /proc, /sys, /run and /etc. These are files: nothing here opens a
 * device, since a drive that is dying must not be woken by a listing. */
import { accessSync, constants, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';

/** Where the system is looked at; a tree of a test's can stand for it. No method throws. */
export interface HostFiles {
  /** A file's text, Latin-1, as some are binary; undefined where it is absent or unreadable. */
  read(path: string): string | undefined;
  /** Sorted names in a folder; none where there is no folder. */
  list(path: string): readonly string[];
  /** The path without links; undefined where there is nothing. */
  realpath(path: string): string | undefined;
  /** `8:16` of a block device's node; undefined for anything else. */
  blockNumber(path: string): string | undefined;
  /** `8:17` of the file system that a path lies on; major 0 where that has no device of its own. */
  fileSystemNumber(path: string): string | undefined;
  /** Whether this user may open a node: undefined where there is none. */
  mayOpen(path: string, how: 'read' | 'read-write'): boolean | undefined;
  /** The number of the group that owns a node. */
  groupOf(path: string): number | undefined;
}

/** The system that this program runs on. */
export const thisHost: HostFiles = {
  read: (path) => orUndefined(() => readFileSync(path, 'latin1')),
  list: (path) => orUndefined(() => readdirSync(path).sort()) ?? [],
  realpath: (path) => orUndefined(() => realpathSync(path)),
  blockNumber(path) {
    const found = orUndefined(() => statSync(path));
    return found?.isBlockDevice() ? numberOf(found.rdev) : undefined;
  },
  fileSystemNumber(path) {
    const found = orUndefined(() => statSync(path));
    return found && numberOf(found.dev);
  },
  mayOpen(path, how) {
    if (!orUndefined(() => statSync(path))) return undefined;
    const mode = how === 'read' ? constants.R_OK : constants.R_OK | constants.W_OK;
    return (
      orUndefined(() => {
        accessSync(path, mode);
        return true;
      }) ?? false
    );
  },
  groupOf: (path) => orUndefined(() => statSync(path).gid),
};

/** A line of an attribute; undefined where it is absent or empty. */
export function lineOf(host: HostFiles, path: string): string | undefined {
  return host.read(path)?.trim() || undefined;
}

/** Major and minor number as glibc packs them into a dev_t. */
function numberOf(device: number): string {
  const bits = BigInt(device);
  const major = ((bits >> 8n) & 0xfffn) | ((bits >> 32n) & 0xfffff000n);
  const minor = (bits & 0xffn) | ((bits >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
}

function orUndefined<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
