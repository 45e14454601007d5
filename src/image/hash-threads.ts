/** Hashes ranges of an image at the speed of its disk, in threads that read by themselves. An image is a file, or the
 * files that it is one after the other (`storedPaths`). */

import { Worker } from 'node:worker_threads';
import { LastspinError } from '../errors.js';
import type { WholeAlgorithm } from '../segment-hasher.js';

/** From which byte on, and how many. */
export type HashRange = readonly [fromBytes: number, byteCount: number];

/** What a thread is asked: a hash of each range, or, of a stream, to go on with these ranges. */
export interface HashTask {
  readonly id: number;
  readonly algorithm: WholeAlgorithm;
  readonly ranges: readonly HashRange[];
  readonly stream?: number;
  readonly isLast?: boolean;
}

/** Hex digits, undefined where the file ends before. */
export interface HashAnswer {
  readonly id: number;
  readonly digests: readonly (string | undefined)[];
  readonly failure?: string;
}

/** What hashes a file. */
export interface Hashing {
  /** How many calls of `ranges` gain from being under way at once. */
  readonly width: number;
  /** SHA-256 of each of these; undefined for those that the file does not hold. Throws FILE_FAILED. */
  ranges(ranges: readonly HashRange[]): Promise<readonly (string | undefined)[]>;
  /** Begins a hash that goes on range after range. */
  stream(algorithm: WholeAlgorithm): HashStream;
  /** Ends what is under way. */
  close(): Promise<void>;
}

export interface HashStream {
  add(range: HashRange): Promise<void>;
  /** Undefined where the file did not hold all that was added. */
  digest(): Promise<string | undefined>;
}

interface Waiting {
  readonly resolve: (digests: HashAnswer['digests']) => void;
  readonly reject: (error: Error) => void;
}

/** Hashes the image in these files in two threads, and one more for each stream. */
export function createHashThreads(paths: readonly string[]): Hashing {
  const readers = [createThread(paths), createThread(paths)];
  const streaming: HashThread[] = [];
  let turn = 0;
  return {
    width: 2 * readers.length,
    ranges: (ranges) => readers[turn++ % readers.length]!.ask({ algorithm: 'sha256', ranges }),
    stream(algorithm) {
      const thread = createThread(paths);
      streaming.push(thread);
      let isShort = false;
      return {
        async add(range) {
          const ended = await thread.ask({ algorithm, ranges: [range], stream: 0 });
          isShort ||= ended.length > 0;
        },
        async digest() {
          const [digest] = await thread.ask({ algorithm, ranges: [], stream: 0, isLast: true });
          return isShort ? undefined : digest;
        },
      };
    },
    async close() {
      await Promise.all([...readers, ...streaming].map((thread) => thread.close()));
    },
  };
}

interface HashThread {
  ask(task: Omit<HashTask, 'id'>): Promise<HashAnswer['digests']>;
  close(): Promise<void>;
}

/** A thread that starts with its first task. */
function createThread(paths: readonly string[]): HashThread {
  const waiting = new Map<number, Waiting>();
  let worker: Worker | undefined;
  let lastId = 0;

  function failAll(why: string): void {
    for (const { reject } of waiting.values()) reject(failure(paths, why));
    waiting.clear();
  }

  function start(): Worker {
    const started = new Worker(new URL('./hash-thread.js', import.meta.url), { workerData: paths });
    started.on('message', ({ id, digests, failure: why }: HashAnswer) => {
      const asker = waiting.get(id);
      waiting.delete(id);
      if (why === undefined) asker?.resolve(digests);
      else asker?.reject(failure(paths, why));
    });
    started.on('error', (error) => failAll(error.message));
    started.on('exit', () => failAll('its reading was ended'));
    return started;
  }

  return {
    ask(task) {
      worker ??= start();
      const id = ++lastId;
      const answered = new Promise<HashAnswer['digests']>((resolve, reject) => {
        waiting.set(id, { resolve, reject });
      });
      worker.postMessage({ ...task, id } satisfies HashTask);
      return answered;
    },
    async close() {
      await worker?.terminate();
    },
  };
}

function failure([path, ...others]: readonly string[], why: string): LastspinError {
  const what = others.length > 0 ? `${path} and its other parts` : path;
  return new LastspinError('FILE_FAILED', `cannot read ${what}: ${why}`);
}

/** Bytes of a file that a stream takes at once. */
export const streamStepBytes = 64 << 20;

/** Hashes the first so many bytes of an image. Throws FILE_FAILED where it holds less, and the signal's reason. */
export async function hashWholeImage(
  paths: readonly string[],
  sizeBytes: number,
  algorithms: readonly WholeAlgorithm[],
  signal: AbortSignal,
): Promise<Map<WholeAlgorithm, string>> {
  const threads = createHashThreads(paths);
  try {
    const streams = algorithms.map((algorithm) => threads.stream(algorithm));
    for (let at = 0; at < sizeBytes; at += streamStepBytes) {
      signal.throwIfAborted();
      const range: HashRange = [at, Math.min(streamStepBytes, sizeBytes - at)];
      // Together, so that what one reads from the disk the others find in memory.
      await Promise.all(streams.map((stream) => stream.add(range)));
    }
    const digests = await Promise.all(streams.map((stream) => stream.digest()));
    if (digests.includes(undefined)) throw failure(paths, 'it became shorter just now');
    return new Map(algorithms.map((algorithm, index) => [algorithm, digests[index] as string]));
  } finally {
    await threads.close();
  }
}
