import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LastspinError } from '../../src/errors.js';
import {
  type CheckpointContent,
  loadCheckpoint,
  saveCheckpoint,
  stateBytesMax,
} from '../../src/image/checkpoint.js';
import { sectorMapOf } from '../../src/map/mapfile.js';
import { createRunMap } from '../../src/map/run-map.js';
import { memoryFiles } from './memory-files.js';

const drive = { sectorBytes: 512, sectorCount: 1000 };
const path = 'case.map';

function content(change: Partial<CheckpointContent> = {}): CheckpointContent {
  const map = createRunMap(drive.sectorCount);
  map.set({ lba: 10, count: 90 }, 4);
  return {
    number: 12,
    map,
    sectorBytes: drive.sectorBytes,
    version: '1.2.3',
    currentPosition: 512,
    currentStatus: '*',
    currentPass: 2,
    state: { why: 'a test' },
    ...change,
  };
}

describe('a checkpoint', () => {
  it('is loaded as it was saved', async () => {
    const files = memoryFiles();
    const saved = content();
    await saveCheckpoint(files, path, saved);
    const loaded = await loadCheckpoint(files, path);
    expect(loaded).toMatchObject({ foreign: false, number: 12, state: { why: 'a test' } });
    expect(loaded?.map).toMatchObject({ currentPosition: 512, currentStatus: '*', currentPass: 2 });
    const map = sectorMapOf(loaded!.map, drive, path);
    expect([...map.runs()]).toEqual([...saved.map.runs()]);
    expect(files.paths()).toEqual([path]);
  });

  it('is not looked for in a plain map of ours, and missed in one that was edited', async () => {
    const files = memoryFiles();
    files.put(
      path,
      '# Mapfile. Created by lastspin 1.2.3\n# Command line: x\n0x0 ? 1\n0x0 0x200 +\n',
    );
    expect(await loadCheckpoint(files, path)).toMatchObject({ foreign: true, damaged: false });
    await saveCheckpoint(files, path, content());
    const lines = Buffer.from(files.content(path)).toString().split('\n');
    for (const cut of [1, 2, 3]) {
      files.put(path, lines.toSpliced(cut, 1).join('\n'));
      expect(await loadCheckpoint(files, path)).toMatchObject({ foreign: true, damaged: true });
    }
  });

  it('takes any state that JSON holds', async () => {
    const files = memoryFiles();
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), async (value) => {
        const state = JSON.parse(JSON.stringify(value));
        await saveCheckpoint(files, path, content({ state }));
        expect((await loadCheckpoint(files, path))?.state).toEqual(state);
      }),
    );
  });

  it('takes a long state, and refuses one without bound', async () => {
    const files = memoryFiles();
    const state = Array.from({ length: 50_000 }, (_, index) => `${index} ü\n# 😀 `);
    await saveCheckpoint(files, path, content({ state }));
    expect((await loadCheckpoint(files, path))?.state).toEqual(state);
    const endless = 'x'.repeat(stateBytesMax + 1);
    await expect(saveCheckpoint(files, path, content({ state: endless }))).rejects.toThrow(
      RangeError,
    );
  });

  it('spans many pieces of reading and writing', async () => {
    const files = memoryFiles();
    const map = createRunMap(100_000);
    for (let lba = 0; lba < map.size; lba += 2) map.set({ lba, count: 1 }, 4);
    const sizeBytes = await saveCheckpoint(files, path, content({ map }));
    expect(sizeBytes).toBeGreaterThan(2 ** 21);
    const loaded = await loadCheckpoint(files, path);
    expect(loaded).toMatchObject({ foreign: false, number: 12 });
    expect(loaded?.map.starts.length).toBe(100_000);
  });

  it('keeps the map as it was when saving began', async () => {
    const files = memoryFiles();
    const saved = content();
    const before = [...saved.map.runs()];
    const saving = saveCheckpoint(files, path, saved);
    saved.map.set({ lba: 0, count: 1000 }, 4);
    await saving;
    const loaded = await loadCheckpoint(files, path);
    expect([...sectorMapOf(loaded!.map, drive, path).runs()]).toEqual(before);
  });

  it('is nothing where there is no map', async () => {
    expect(await loadCheckpoint(memoryFiles(), path)).toBeUndefined();
  });

  it('is only a map when another program wrote it', async () => {
    const files = memoryFiles();
    files.put(path, '# Mapfile. Created by GNU ddrescue\n0 + 1\n0 512 +\n');
    const loaded = await loadCheckpoint(files, path);
    expect(loaded?.foreign).toBe(true);
    expect(loaded).not.toHaveProperty('state');
    expect(loaded?.map.end).toBe(512);
  });

  it('is only a map when a line of ours was changed', async () => {
    const files = memoryFiles();
    await saveCheckpoint(files, path, content());
    const text = Buffer.from(files.content(path)).toString();
    files.put(path, text.replace('0x00001400  0x0000B400  +', '0x00001400  0x0000B400  -'));
    const loaded = await loadCheckpoint(files, path);
    expect(loaded?.foreign).toBe(true);
    expect(sectorMapOf(loaded!.map, drive, path).countOf(3)).toBe(90);
  });

  it('refuses a damaged file, naming the line', async () => {
    const files = memoryFiles();
    await saveCheckpoint(files, path, content());
    files.put(path, files.content(path).subarray(0, -5));
    await expect(loadCheckpoint(files, path)).rejects.toThrow(/^case\.map:9: /);
  });

  it('leaves the old one when the disk is full, and no half of the new', async () => {
    const files = memoryFiles();
    await saveCheckpoint(files, path, content());
    const old = files.content(path);
    files.setCapacity(4096);
    const act = saveCheckpoint(files, path, content({ number: 13 }));
    await expect(act).rejects.toMatchObject({ code: 'IMAGE_SPACE' });
    expect(files.content(path)).toEqual(old);
    expect(files.paths()).toEqual([path]);
  });

  it('leaves the old one when the rename fails', async () => {
    const files = memoryFiles();
    await saveCheckpoint(files, path, content());
    files.failNext('rename', new LastspinError('FILE_FAILED', 'cannot replace case.map: gone'));
    await expect(saveCheckpoint(files, path, content({ number: 13 }))).rejects.toThrow('gone');
    expect(await loadCheckpoint(files, path)).toMatchObject({ number: 12 });
  });

  it('is not mixed with what an earlier attempt left behind', async () => {
    const files = memoryFiles();
    files.put(`${path}.tmp`, '#\n'.repeat(10_000));
    await saveCheckpoint(files, path, content());
    expect(await loadCheckpoint(files, path)).toMatchObject({ foreign: false, number: 12 });
  });
});
