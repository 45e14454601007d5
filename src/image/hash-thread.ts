/** A thread that reads and hashes ranges of an image, which is one file or several, one after the other: the program that `hash-threads.ts` starts. It is no library:
 * importing it in a thread runs it. It opens files for reading only. */

import { createHash, type Hash } from 'node:crypto';
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import type { HashAnswer, HashTask } from './hash-threads.js';

const readBytes = 4 << 20;

/** Reads at most so many bytes of an image; 0 at its end. */
type Read = (into: Buffer, length: number, fromBytes: number) => number;

/** One file is open at a time: of parts there may be hundreds. The last has no end: a device does not say its size. */
function readerOf(paths: readonly string[]): { read: Read; close(): void } {
  const ends: number[] = [];
  for (const path of paths.slice(0, -1)) ends.push((ends.at(-1) ?? 0) + statSync(path).size);
  ends.push(Number.MAX_SAFE_INTEGER);
  let open: { readonly index: number; readonly file: number } | undefined;
  const close = () => {
    if (open) closeSync(open.file);
    open = undefined;
  };
  return {
    read(into, length, fromBytes) {
      const index = ends.findIndex((end) => fromBytes < end);
      if (open?.index !== index) {
        close();
        open = { index, file: openSync(paths[index]!, 'r') };
      }
      const most = Math.min(length, ends[index]! - fromBytes);
      return readSync(open.file, into, 0, most, fromBytes - (ends[index - 1] ?? 0));
    },
    close,
  };
}

function run(paths: readonly string[]): void {
  const image = readerOf(paths);
  const buffer = Buffer.alloc(readBytes);
  const streams = new Map<number, Hash>();

  /** False where the file ends before. */
  function update(hash: Hash, fromBytes: number, byteCount: number): boolean {
    for (let done = 0; done < byteCount; ) {
      const wanted = Math.min(readBytes, byteCount - done);
      const length = image.read(buffer, wanted, fromBytes + done);
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
      image.close();
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

if (!isMainThread) run(workerData as readonly string[]);
