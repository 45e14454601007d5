/** A file layer in memory that loses power: what was not synced survives in part, in any order, the
 * way page caches and disks lose it. The code above it runs unmodified.
 *
 * What a crash may do: any subset of a file's writes since its last sync survives, each perhaps
 * only in some of its sectors, and the last one torn anywhere; any subset of a directory's changes
 * since its last sync survives. What it may not do: touch what was synced. A file whose name
 * survived without its content being synced may be empty, or as long as it was and all zeros.
 *
 * The disk may also be in trouble while it has power: full for a while, or failing. A sync that fails
 * has lost what it was about, though programs still see it and the next sync says that all is well
 * (as Linux does). */

import { LastspinError } from '../../src/errors.js';
import type { FileLayer, OpenFile } from '../../src/image/file-layer.js';
import {
  type Content,
  copyContent,
  emptyContent,
  missing,
  readContent,
  truncateContent,
  wholeOf,
  writeContent,
} from './memory-files.js';

const sectorBytes = 512;

type Change =
  | { readonly kind: 'write'; readonly data: Uint8Array; readonly position: number }
  | { readonly kind: 'truncate'; readonly size: number };

interface Inode {
  /** What programs see, and what a crash leaves at least. */
  readonly now: Content;
  durable: Content;
  unsynced: Change[];
}

type NameChange = { readonly name: string; readonly inode: Inode | undefined };

/** Power fails during this operation, which may still have its effect, in part or in full. */
export class CrashError extends Error {
  override readonly name = 'CrashError';
}

/** What befalls a disk that has power: so many of the next operations of a kind fail. */
export interface DiskTrouble {
  readonly kind: 'full' | 'write-error' | 'sync-error';
  /** After so many operations. */
  readonly after: number;
  readonly times: number;
}

/** A disk that crashes. */
export interface CrashingFiles extends FileLayer {
  /** Operations so far: every one that changes the disk or makes a change durable. */
  readonly operations: number;
  /** Whether the power is gone. Whatever the code above says then, it says to nobody. */
  readonly crashed: boolean;
  /** Every operation from the `n`-th on (from 1) fails with a CrashError. */
  crashAt(n: number): void;
  /** From now on this disk has this trouble, too. */
  trouble(row: DiskTrouble): void;
  /** The power goes, and comes back: a fresh layer over what survived. Works without a crash,
   * too. */
  reboot(): CrashingFiles;
  /** What programs see now, for the test's own look. */
  content(path: string): Uint8Array | undefined;
}

/** An empty disk. `random` gives numbers in [0, 1) and decides what survives. */
export function crashingFiles(random: () => number): CrashingFiles {
  return over(new Map(), random);
}

function over(durableNames: Map<string, Inode>, random: () => number): CrashingFiles {
  const names = new Map(durableNames);
  let unsyncedNames: NameChange[][] = [];
  let operations = 0;
  let crashesAt = Number.POSITIVE_INFINITY;

  const troubles: { kind: DiskTrouble['kind']; after: number; times: number }[] = [];
  /** Throws what a trouble that is due says of an operation. */
  const strike = (operation: 'write' | 'sync') => {
    const due = troubles.find(
      ({ kind, after, times }) =>
        times > 0 && operations >= after && (kind === 'sync-error') === (operation === 'sync'),
    );
    if (!due) return;
    due.times -= 1;
    if (due.kind === 'full')
      throw new LastspinError('IMAGE_SPACE', 'cannot write: no space is left there');
    throw new LastspinError('FILE_FAILED', `cannot ${operation}: input/output error`);
  };

  const refuseAfterCrash = () => {
    if (operations >= crashesAt) throw new CrashError('the power is gone');
  };
  /** One operation. At the crash its change is made, as unsynced as any, and then the power
   * goes. */
  const operate = async <T>(act: (crashes: boolean) => T): Promise<T> => {
    refuseAfterCrash();
    operations += 1;
    const result = act(operations >= crashesAt);
    refuseAfterCrash();
    return result;
  };
  const find = (path: string, verb: string) => {
    const inode = names.get(path);
    if (inode === undefined) throw missing(path, verb);
    return inode;
  };
  const changeNames = (...changes: NameChange[]) => {
    unsyncedNames.push(changes);
    applyNames(names, changes);
  };

  return {
    get operations() {
      return operations;
    },
    get crashed() {
      return operations >= crashesAt;
    },
    crashAt: (n) => {
      crashesAt = n;
    },
    trouble: (row) => {
      troubles.push({ ...row, after: operations + row.after });
    },
    open: async (path, { create = false, exclusive = false, readOnly = false } = {}) => {
      refuseAfterCrash();
      if (exclusive && names.has(path)) {
        throw new LastspinError('FILE_FAILED', `cannot open ${path}: it exists already`);
      }
      if (!names.has(path) && (create || exclusive) && !readOnly) {
        await operate(() => {
          const inode = { now: emptyContent(), durable: emptyContent(), unsynced: [] };
          changeNames({ name: path, inode });
        });
      }
      return openInode(find(path, 'open'), { operate, refuseAfterCrash, strike, random });
    },
    exists: async (path) => {
      refuseAfterCrash();
      return names.has(path);
    },
    readAll: async (path) => {
      refuseAfterCrash();
      return wholeOf(find(path, 'read').now);
    },
    rename: (from, to) =>
      operate(() => {
        const inode = find(from, 'replace');
        changeNames({ name: to, inode }, { name: from, inode: undefined });
      }),
    remove: async (path) => {
      refuseAfterCrash();
      if (names.has(path)) await operate(() => changeNames({ name: path, inode: undefined }));
    },
    syncDirectory: () =>
      operate((crashes) => {
        if (crashes) return;
        for (const changes of unsyncedNames) applyNames(durableNames, changes);
        unsyncedNames = [];
      }),
    freeBytes: async () => Number.MAX_SAFE_INTEGER,
    content: (path) => {
      const inode = names.get(path);
      return inode === undefined ? undefined : wholeOf(inode.now);
    },
    reboot: () => {
      crashesAt = 0;
      for (const changes of unsyncedNames) {
        if (random() < 0.5) applyNames(durableNames, changes);
      }
      const survivors = new Map<string, Inode>();
      for (const [name, inode] of durableNames) survivors.set(name, survivorOf(inode, random));
      return over(survivors, random);
    },
  };
}

/** A rename is one change of two names: atomic, as POSIX and every journaling file system has
 * it. */
function applyNames(names: Map<string, Inode>, changes: readonly NameChange[]): void {
  for (const { name, inode } of changes) {
    if (inode === undefined) names.delete(name);
    else names.set(name, inode);
  }
}

interface Power {
  operate<T>(act: (crashes: boolean) => T): Promise<T>;
  refuseAfterCrash(): void;
  strike(operation: 'write' | 'sync'): void;
  readonly random: () => number;
}

function openInode(inode: Inode, { operate, refuseAfterCrash, strike, random }: Power): OpenFile {
  /** Tells whether the next of these fails; one that fails may have done a part. */
  const beforeWrite = (data: Uint8Array, position: number) => {
    try {
      strike('write');
    } catch (error) {
      const part = new Uint8Array(data.subarray(0, Math.floor(random() * data.length)));
      if (part.length > 0) {
        inode.unsynced.push({ kind: 'write', data: part, position });
        writeContent(inode.now, part, position);
      }
      throw error;
    }
  };
  const beforeSync = () => {
    try {
      strike('sync');
    } catch (error) {
      inode.durable = survivorOf(inode, random).durable;
      inode.unsynced = [];
      throw error;
    }
  };
  return {
    read: async (into, position) => {
      refuseAfterCrash();
      return readContent(inode.now, into, position);
    },
    write: (data, position) =>
      operate(() => {
        beforeWrite(data, position);
        inode.unsynced.push({ kind: 'write', data: new Uint8Array(data), position });
        writeContent(inode.now, data, position);
      }),
    truncate: (size) =>
      operate(() => {
        inode.unsynced.push({ kind: 'truncate', size });
        truncateContent(inode.now, size);
      }),
    sync: () =>
      operate((crashes) => {
        if (crashes) return;
        beforeSync();
        for (const change of inode.unsynced) applyChange(inode.durable, change);
        inode.unsynced = [];
      }),
    size: async () => inode.now.size,
    allocatedBytes: async () => inode.now.size,
    close: async () => {},
  };
}

function applyChange(content: Content, change: Change): void {
  if (change.kind === 'truncate') truncateContent(content, change.size);
  else writeContent(content, change.data, change.position);
}

function survivorOf(inode: Inode, random: () => number): Inode {
  const content = copyContent(inode.durable);
  inode.unsynced.forEach((change, index) => {
    const fate = random();
    if (fate < 0.25) return;
    // Its size arrived, its data did not.
    if (fate < 0.35 && change.kind === 'write') {
      content.size = Math.max(content.size, change.position + change.data.length);
      return;
    }
    const isLast = index === inode.unsynced.length - 1;
    if (change.kind === 'truncate' || (fate < 0.7 && !isLast)) applyChange(content, change);
    else if (isLast && fate < 0.85) tear(content, change.data, change.position, random);
    else dropSectors(content, change.data, change.position, random);
  });
  return { now: content, durable: copyContent(content), unsynced: [] };
}

function tear(content: Content, data: Uint8Array, position: number, random: () => number): void {
  const count = Math.floor(random() * (data.length + 1));
  if (count > 0) writeContent(content, data.subarray(0, count), position);
}

/** Some sectors of a write arrive, others do not, as a disk reorders them. */
function dropSectors(
  content: Content,
  data: Uint8Array,
  position: number,
  random: () => number,
): void {
  for (let done = 0; done < data.length; ) {
    const length = Math.min(sectorBytes - ((position + done) % sectorBytes), data.length - done);
    if (random() < 0.6) writeContent(content, data.subarray(done, done + length), position + done);
    done += length;
  }
}

/** Numbers in [0, 1) from a seed (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed + 0x9e3779b9;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
