/** Keeps `case.hashes.csv` true while a job writes to the image: what the list says of sectors is taken out, durably,
 * before they are written again. So at every instant, and after any crash, each of its hashes is that of bytes that
 * nobody of ours has touched since, and nothing that was known of other sectors is lost. */

import { isLastspinError, type LastspinError } from '../errors.js';
import { type Extent, endOf } from '../map/extent.js';
import { createRunMap, type RunMap } from '../map/run-map.js';
import type { FileLayer } from './file-layer.js';
import { type HashLine, readHashList, writeHashList } from './hash-list.js';
import { isFinished, isHashed, type ListWish, type SegmentHashes } from './segment-hashes.js';

export interface HashKeeper {
  /** Whether the list on disk has a hash of one of these sectors. */
  vouchesFor(extent: Extent): boolean;
  /** Takes every line out of the list that has one of these sectors; durable when it resolves. Cheap where there is
   * none. */
  withdraw(...extents: readonly Extent[]): Promise<void>;
  /** Sectors of the list whose hash is of the image, not of what was read. */
  readonly ofImageCount: number;
  /** Writes what is known of what this map calls finished, and with `back` all of it. All that must be in the
   * image already, and synced. */
  save(finished: RunMap, wish?: ListWish): Promise<void>;
}

/** Takes over the list at `path`, as far as it is about what the map calls finished, and tells what is wrong with
 * one that cannot be used: that is put aside as `….damaged`. Throws IMAGE_SPACE, FILE_FAILED. */
export async function keepHashes(
  files: FileLayer,
  path: string,
  hashes: SegmentHashes,
  map: RunMap,
  notices: string[],
): Promise<HashKeeper> {
  /** Sectors that the list on disk has a hash of. */
  let vouched = createRunMap(map.size);
  let ofImageCount = 0;
  let underWay: Promise<void> = Promise.resolve();

  const isVouched = (extent: Extent) => {
    const run = vouched.runAt(extent.lba);
    return run.value === 1 && endOf(run) >= endOf(extent);
  };

  function isListed(extent: Extent): boolean {
    return vouched.next(extent.lba, 1, endOf(extent)) !== undefined;
  }

  async function* stillTrue(): AsyncGenerator<HashLine> {
    if (vouched.countOf(1) === 0) return;
    for await (const line of readHashList(files, path, map.size)) {
      if (line.sha256 !== undefined && isVouched(line) && isFinished(map, line)) yield line;
    }
  }

  async function* noted(lines: AsyncIterable<HashLine>, into: RunMap): AsyncGenerator<HashLine> {
    ofImageCount = 0;
    for await (const line of lines) {
      if (line.sha256 !== undefined) into.set(line, 1);
      if (line.isOfImage) ofImageCount += line.count;
      yield line;
    }
  }

  async function write(lines: AsyncIterable<HashLine>): Promise<void> {
    const next = createRunMap(map.size);
    await writeHashList(files, path, noted(lines, next));
    vouched = next;
  }

  /** One after the other: each goes on from the list of the one before. */
  function inTurn(act: () => Promise<void>): Promise<void> {
    const mine = underWay.then(act);
    underWay = mine.catch(() => undefined);
    return mine;
  }

  async function load(): Promise<void> {
    let isStale = false;
    for await (const line of readHashList(files, path, map.size)) {
      // What is not finished yet will be, and no line may say otherwise then.
      isStale ||= !isHashed(line);
      if (!isHashed(line)) continue;
      isStale ||= !isFinished(map, line);
      if (!isFinished(map, line)) continue;
      vouched.set(line, 1);
      hashes.takeLine(line);
    }
    if (isStale) await write(stillTrue());
  }

  async function putAside(why: LastspinError): Promise<void> {
    vouched = createRunMap(map.size);
    hashes.forget({ lba: 0, count: map.size });
    await files.rename(path, `${path}.damaged`);
    await files.syncDirectory(path);
    notices.push(`${why.message}; it is kept as ${path}.damaged`);
  }

  if (await files.exists(path)) {
    await load().catch((error: unknown) => {
      if (!isLastspinError(error, 'HASHES_INVALID')) throw error;
      return putAside(error);
    });
  }
  return {
    vouchesFor: isListed,
    withdraw(...extents) {
      const listed = extents.filter(isListed);
      if (listed.length === 0) return Promise.resolve();
      return inTurn(async () => {
        for (const extent of listed) {
          vouched.set(extent, 0);
          hashes.forget(extent);
        }
        // Nothing new: it may not be synced yet.
        await write(stillTrue());
      });
    },
    get ofImageCount() {
      return ofImageCount;
    },
    save: (finished, wish) => inTurn(() => write(hashes.lines(finished, stillTrue(), wish))),
  };
}
