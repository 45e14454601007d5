import { randomFillSync } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { type Contents, copyOnto, differencesOn, fillExcess } from '../../src/image/copy-back.js';
import { createRunMap } from '../../src/map/run-map.js';
import { statuses } from '../../src/map/status.js';
import { copyContent, emptyContent, readContent, writeContent } from './memory-files.js';

const mib = 1 << 20;

/** A target that holds for certain what was in it when it was synced last. */
function forgetful() {
  const written = emptyContent();
  const kept = { content: emptyContent(), syncs: 0 };
  return {
    kept,
    written,
    write: async (data: Uint8Array, position: number) => writeContent(written, data, position),
    sync: async () => {
      kept.content = copyContent(written);
      kept.syncs += 1;
    },
  };
}

const piece = randomFillSync(Buffer.alloc(mib + 512));

/** Contents in which each mebibyte is like the first, but for its beginning. */
function contentsOf(sizeBytes: number): Contents {
  const map = createRunMap(sizeBytes, statuses.finished);
  map.set({ lba: 5 * 512, count: 512 }, statuses['bad-sector']);
  const read = async (into: Uint8Array, position: number) => {
    const within = position % mib;
    into.set(piece.subarray(within, within + into.length));
    if (within === 0) new DataView(into.buffer, into.byteOffset).setUint32(0, position / mib);
    return into.length;
  };
  const image = { read };
  return { image, imagePath: 'x', map, sectorBytes: 512, fills: {}, endBytes: sizeBytes };
}

const nothing = () => ({ copied: 0, filled: 0, untouched: 0, synced: 0 });
const readFrom =
  (content: ReturnType<typeof emptyContent>) => async (at: number, bytes: number) => {
    const into = new Uint8Array(bytes);
    readContent(content, into, at);
    return into;
  };

describe('a copy onto a target', () => {
  test('holds at any time what it says is on it for certain, and in the end everything', async () => {
    const sizeBytes = 300 * mib + 700;
    const [target, contents, done] = [forgetful(), contentsOf(sizeBytes), nothing()];
    let syncedBytes = 0;
    const onProgress = () => {
      if (done.synced === syncedBytes) return;
      syncedBytes = done.synced;
      expect(target.kept.content.size).toBe(syncedBytes);
    };
    await copyOnto(target, contents, { onProgress }, done);
    expect(syncedBytes).toBe(256 * mib);
    expect(done).toEqual({ copied: sizeBytes - 512, filled: 0, untouched: 512, synced: sizeBytes });
    expect(await differencesOn(readFrom(target.kept.content), contents, {})).toEqual([]);
    await fillExcess(target, { from: sizeBytes, to: sizeBytes + 9, fill: { kind: 'zero' } }, {});
    expect(target.kept.content.size).toBe(sizeBytes + 9);
  });

  test('that stores something else is found out, sector by sector', async () => {
    const contents = contentsOf(3 * mib);
    const target = forgetful();
    await copyOnto(target, contents, {}, nothing());
    // What was not written to it may be anything.
    for (const at of [0, 511, 512, 5 * 512, 2 * mib + 700, 3 * mib - 1]) {
      const byte = new Uint8Array(1);
      readContent(target.written, byte, at);
      writeContent(
        target.written,
        byte.map((value) => value ^ 1),
        at,
      );
    }
    expect(await differencesOn(readFrom(target.written), contents, {})).toEqual([
      { from: 0, to: 1024 },
      { from: 2 * mib + 512, to: 2 * mib + 1024 },
      { from: 3 * mib - 512, to: 3 * mib },
    ]);
  });
});
