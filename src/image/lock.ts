/** A lock beside the image, so that two jobs never write one image. It names the process that holds
 * it; a lock whose process is gone (or belongs to an earlier boot) is taken over. */

import { link, open, readFile, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { LastspinError, reasonOf } from '../errors.js';

/** A lock that is held. */
export interface ImageLock {
  /** Gives it up. Harmless the second time. */
  release(): Promise<void>;
}

interface Holder {
  readonly pid: number;
  readonly host: string;
  /** When that process started, as the system counts; a number of this boot only. A pid alone may
   * have gone to another process since. */
  readonly startedAt: string | undefined;
  readonly bootId: string | undefined;
}

const attemptsMax = 20;

/** Two locks taken at once in one process must not share a temporary file. */
let temporaryCount = 0;

/** Takes the lock at `path`.
 * @throws LastspinError IMAGE_LOCKED naming the process that holds it; FILE_FAILED when the lock
 *   can not be written. */
export async function takeLock(path: string): Promise<ImageLock> {
  const self = await describe(process.pid);
  const content = `${JSON.stringify(self)}\n`;
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    if (await createLock(path, content)) return { release: () => release(path, content) };
    const found = await readText(path);
    if (found === undefined) continue;
    const holder = parseHolder(found);
    if (holder === undefined || !(await isGone(holder, self))) throw locked(path, holder);
    await removeStale(path, found, self);
  }
  throw locked(path, undefined);
}

/** Whether a process that runs, or one of another computer, holds the lock at `path`. Nothing is touched. Throws
 * IMAGE_LOCKED naming it. */
export async function refuseLocked(path: string): Promise<void> {
  const found = await readText(path);
  if (found === undefined) return;
  const holder = parseHolder(found);
  if (!holder || !(await isGone(holder, await describe(process.pid)))) throw locked(path, holder);
}

function locked(path: string, holder: Holder | undefined): LastspinError {
  const who =
    holder === undefined ? 'another job' : `process ${holder.pid} on ${holder.host || 'this host'}`;
  return new LastspinError(
    'IMAGE_LOCKED',
    `${path}: ${who} is working on this image; stop that job first, or remove the lock if ` +
      'there is none',
  );
}

/** Creates the lock with its content at once, so that nobody sees it empty: a file of another name,
 * linked. Where the file system has no links (FAT, exFAT), an exclusive create. False when the lock
 * exists. */
async function createLock(path: string, content: string): Promise<boolean> {
  const temporaryPath = `${path}.${process.pid}.${temporaryCount++}`;
  try {
    await writeSynced(temporaryPath, content, 'w');
    try {
      await link(temporaryPath, path);
    } catch (error) {
      if (codeOf(error) === 'EEXIST') return false;
      await writeSynced(path, content, 'wx');
    }
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw new LastspinError('FILE_FAILED', `${path} cannot be written: ${whyNot(path, error)}`, {
      cause: error,
    });
  } finally {
    // What is in the way of this was in the way of writing it.
    await rm(temporaryPath, { force: true }).catch(() => {});
  }
}

/** What stands in the way of a file in this folder, and what to do. */
function whyNot(path: string, error: unknown): string {
  const folder = dirname(path);
  switch (codeOf(error)) {
    case 'ENOENT':
      return `the folder ${folder} does not exist; make it, or name another image`;
    case 'ENOTDIR':
      return `${folder} is not a folder; name another image`;
    case 'EACCES':
    case 'EPERM':
      return `no permission to write in ${folder}; name another image`;
    case 'EROFS':
      return `${folder} is mounted read-only; name another image`;
    default:
      return reasonOf(error);
  }
}

async function writeSynced(path: string, content: string, flags: string): Promise<void> {
  const handle = await open(path, flags);
  try {
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Removes a stale lock. Of several that found it stale, a slow one must not remove the fresh lock of
 * a quick one: whoever removes holds a second lock meanwhile, and looks again. That one goes stale
 * only by a crash within these few lines. */
async function removeStale(path: string, staleContent: string, self: Holder): Promise<void> {
  const guardPath = `${path}.takeover`;
  const guardContent = `${JSON.stringify(self)}\n`;
  if (!(await createLock(guardPath, guardContent))) {
    const found = await readText(guardPath);
    const holder = found === undefined ? undefined : parseHolder(found);
    if (holder !== undefined && (await isGone(holder, self))) await rm(guardPath, { force: true });
    return;
  }
  try {
    if ((await readText(path)) === staleContent) await rm(path, { force: true });
  } catch (error) {
    throw new LastspinError('FILE_FAILED', `cannot remove ${path}: ${reasonOf(error)}`, {
      cause: error,
    });
  } finally {
    await release(guardPath, guardContent);
  }
}

async function release(path: string, content: string): Promise<void> {
  if ((await readText(path)) === content) await rm(path, { force: true });
}

/** Whether the process that wrote a lock no longer runs. On another host nobody can tell. */
async function isGone(holder: Holder, self: Holder): Promise<boolean> {
  if (holder.host !== self.host) return false;
  if (holder.bootId !== self.bootId) return true;
  if (!isAlive(holder.pid) || (await isZombie(holder.pid))) return true;
  const now = await describe(holder.pid);
  return holder.startedAt !== now.startedAt;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) !== 'ESRCH';
  }
}

/** Whether a process has ended, with all its threads, and only its parent has not asked how: in a container
 * without an init that may stay so. */
async function isZombie(pid: number): Promise<boolean> {
  const fields = await statOf(pid);
  return fields?.[0] === 'Z' && Number(fields[17]) <= 1;
}

/** What proc(5) says of a process, from its state on. */
async function statOf(pid: number): Promise<string[] | undefined> {
  const status = await readText(`/proc/${pid}/stat`);
  // Fields count from behind the command's name, which may itself hold spaces and brackets.
  return status?.slice(status.lastIndexOf(')') + 2).split(' ');
}

async function describe(pid: number): Promise<Holder> {
  const fields = await statOf(pid);
  const bootId = await readText('/proc/sys/kernel/random/boot_id');
  return { pid, host: hostname(), startedAt: fields?.[19], bootId: bootId?.trim() };
}

function parseHolder(text: string): Holder | undefined {
  try {
    const { pid, host, startedAt, bootId } = JSON.parse(text) as Partial<Holder>;
    if (!Number.isSafeInteger(pid) || pid! < 1 || typeof host !== 'string') return undefined;
    return { pid: pid!, host, startedAt, bootId };
  } catch {
    return undefined;
  }
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return undefined;
  }
}

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' ? code : '';
}
