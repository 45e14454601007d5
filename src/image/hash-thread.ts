/** A thread that reads and hashes ranges of one file: the program that `hash-threads.ts` starts. It is no library:
 * importing it in a thread runs it. It opens the file for reading only. */

import { createHash, type Hash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import type { HashAnswer, HashTask } from './hash-threads.js';

const readBytes = 4 << 20;

function run(path: string): void {
  const file = openSync(path, 'r');
  const buffer = Buffer.alloc(readBytes);
  const streams = new Map<number, Hash>();

  /** False where the file ends before. */
  function update(hash: Hash, fromBytes: number, byteCount: number): boolean {
    for (let done = 0; done < byteCount; ) {
      const length = readSync(
        file,
        buffer,
        0,
        Math.min(readBytes, byteCount - done),
        fromBytes + done,
      );
      if (length === 0) return false;
      hash.update(buffer.subarray(0, length));
      done += length;
    }
    return true;
  }

  function answer({ id, algorithm, ranges, stream, isLast }: HashTask): HashAnswer {
    if (stream === undefined) {
      const digests = ranges.map(([fromBytes, byteCount]) => {
        const hash = createHash(algorithm);
        return update(hash, fromBytes, byteCount) ? hash.digest('hex') : undefined;
      });
      return { id, digests };
    }
    const hash = streams.get(stream) ?? createHash(algorithm);
    streams.set(stream, hash);
    const isWhole = ranges.every(([fromBytes, byteCount]) => update(hash, fromBytes, byteCount));
    if (isWhole && !isLast) return { id, digests: [] };
    streams.delete(stream);
    return { id, digests: [isWhole ? hash.digest('hex') : undefined] };
  }

  parentPort?.on('message', (task: HashTask | 'end') => {
    if (task === 'end') {
      closeSync(file);
      parentPort?.close();
      return;
    }
    try {
      parentPort?.postMessage(answer(task));
    } catch (error) {
      const failure = error instanceof Error ? error.message : String(error);
      parentPort?.postMessage({ id: task.id, digests: [], failure } satisfies HashAnswer);
    }
  });
}

if (!isMainThread) run(workerData as string);
