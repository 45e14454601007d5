import type { Clock } from '../clock.js';
import { isLastspinError, LastspinError, reasonOf } from '../errors.js';
import type { FileLayer, OpenFile } from '../image/file-layer.js';

/** The disk that the files of a case are on, when it is full: whoever writes waits for room, with the data in
 * hand. A write at a position can be made again, whatever of it was done. A failed sync cannot, for the system may
 * have dropped what it was about: it fails as it would without this. */
export interface Target {
  /** The files, whose operations wait for room while somebody attends. */
  readonly files: FileLayer;
  /** What is missing where; undefined while there is room. */
  full(): FullTarget | undefined;
  /** From now on operations wait for room rather than fail, until the returned function is called; `onChange` is
   * told when the disk is full, when there is room again, and when nobody waits for any (then neither). */
  attend(onChange: (what: 'full' | 'again' | 'given-up') => void): () => void;
  /** What waits fails at once, and so does whatever finds no room from now on. */
  giveUp(): void;
}

/** A full disk. */
export interface FullTarget {
  /** The file that could not be written, and what it needs: an image all that it does not hold yet. */
  readonly path: string;
  readonly neededBytes: number;
  readonly freeBytes: number;
}

/** How often it is tried whether there is room. */
const lookIntervalMs = 3000;

/** The files of a disk that may be full. */
export function createTarget(files: FileLayer, clock: Clock): Target {
  const end = new AbortController();
  let onChange: ((what: 'full' | 'again' | 'given-up') => void) | undefined;
  let full: FullTarget | undefined;
  let waiting = 0;

  /** Waits until the disk can be tried again, and makes it known at the first failure. */
  async function waitForRoom(isFirst: boolean, path: string, needed: Needed): Promise<void> {
    if (isFirst) {
      waiting += 1;
      if (waiting === 1) {
        full = await lookAt(files, path, needed);
        onChange?.('full');
      }
    }
    await clock.sleep(lookIntervalMs, end.signal);
  }

  function waitNoMore(why: 'again' | 'given-up'): void {
    waiting -= 1;
    if (waiting > 0) return;
    full = undefined;
    onChange?.(why);
  }

  async function patiently<T>(path: string, act: () => Promise<T>, needed: Needed): Promise<T> {
    let isWaiting = false;
    for (;;) {
      try {
        const done = await act();
        if (isWaiting) waitNoMore('again');
        return done;
      } catch (error) {
        const isHopeless = !onChange || end.signal.aborted || !isCuredByRoom(error);
        if (!isHopeless) await waitForRoom(!isWaiting, path, needed).catch(() => {});
        isWaiting ||= !isHopeless;
        if (!isHopeless && !end.signal.aborted) continue;
        if (isWaiting) waitNoMore('given-up');
        const isTold = onChange !== undefined || !isCuredByRoom(error);
        throw isTold ? error : withNeed(error, await lookAt(files, path, needed));
      }
    }
  }

  return {
    files: patientFiles(files, patiently),
    full: () => full,
    attend(callback) {
      onChange = callback;
      return () => {
        if (onChange === callback) onChange = undefined;
      };
    },
    giveUp: () => end.abort(new Error('nobody waits for room any more')),
  };
}

type Needed = () => Promise<number>;
type Patiently = <T>(path: string, act: () => Promise<T>, needed: Needed) => Promise<T>;

async function lookAt(files: FileLayer, path: string, needed: Needed): Promise<FullTarget> {
  return {
    // The name that it will have: a journal is written under the other all its life.
    path: path.replace(/\.tmp$/, ''),
    neededBytes: await needed().catch(() => 0),
    freeBytes: await files.freeBytes(path).catch(() => 0),
  };
}

/** A failure that nobody waits after, saying how much is missing. */
function withNeed(error: unknown, { neededBytes, freeBytes }: FullTarget): LastspinError {
  return new LastspinError(
    'IMAGE_SPACE',
    `${reasonOf(error)}; this needs ${neededBytes} bytes, ${freeBytes} are free`,
    { cause: error },
  );
}

/** A file system that holds no file that big has room, and never for this. */
function isCuredByRoom(error: unknown): boolean {
  if (!isLastspinError(error, 'IMAGE_SPACE')) return false;
  return (error.cause as { code?: unknown } | undefined)?.code !== 'EFBIG';
}

/** What a new name takes in a directory. */
const nameBytes = 4096;

function patientFiles(files: FileLayer, patiently: Patiently): FileLayer {
  const needsName = async () => nameBytes;
  return {
    ...files,
    open: async (path, options) => {
      const open = () => files.open(path, options);
      return patientFile(path, await patiently(path, open, needsName), patiently);
    },
    rename: (from, to) => patiently(to, () => files.rename(from, to), needsName),
  };
}

function patientFile(path: string, file: OpenFile, patiently: Patiently): OpenFile {
  const restBytes = async () => (await file.size()) - (await file.allocatedBytes());
  return {
    ...file,
    write: (data, position) => {
      const needed = async () => Math.max(data.length, await restBytes());
      return patiently(path, () => file.write(data, position), needed);
    },
    truncate: (size) => patiently(path, () => file.truncate(size), restBytes),
  };
}
