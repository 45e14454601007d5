import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LastspinError } from '../../src/errors.js';
import { createJournal, loadJournal, parseJournal } from '../../src/image/journal.js';
import { memoryFiles } from './memory-files.js';

const path = 'case.journal';

async function journalOf(groups: readonly (readonly unknown[])[], base = 7) {
  const files = memoryFiles();
  const journal = await createJournal(files, path, base);
  for (const records of groups) {
    await journal.append(records);
    await journal.sync();
  }
  return { files, journal, bytes: files.content(path) };
}

describe('a journal', () => {
  it('gives back what was appended', async () => {
    const { files, journal } = await journalOf([[{ a: 1 }, 'ä\n'], [], [[null, 2 ** 50]]]);
    expect(await loadJournal(files, path)).toEqual({
      base: 7,
      records: [{ a: 1 }, 'ä\n', [null, 2 ** 50]],
      tornBytes: 0,
    });
    expect(journal.sizeBytes).toBe(files.content(path).length);
  });

  it('refuses what is no JSON', async () => {
    const { journal } = await journalOf([]);
    await expect(journal.append([undefined])).rejects.toThrow(TypeError);
  });

  it('is nothing where there is no file', async () => {
    expect(await loadJournal(memoryFiles(), path)).toBeUndefined();
  });

  it('starts anew for the next checkpoint', async () => {
    const { files, journal } = await journalOf([[1, 2, 3]]);
    await journal.restart(8);
    await journal.append([4]);
    await journal.sync();
    expect(await loadJournal(files, path)).toEqual({ base: 8, records: [4], tornBytes: 0 });
    expect(journal.base).toBe(8);
    expect(files.paths()).toEqual([path]);
  });

  it('is not mixed with what an earlier attempt left behind', async () => {
    const files = memoryFiles();
    files.put(`${path}.tmp`, 'x'.repeat(500));
    await createJournal(files, path, 1);
    expect(await loadJournal(files, path)).toEqual({ base: 1, records: [], tornBytes: 0 });
  });

  it('drops a torn tail of what was not synced, wherever it is torn', async () => {
    const { files, journal } = await journalOf([['synced']]);
    const syncedBytes = journal.sizeBytes;
    await journal.append(['one', 'two', 'three']);
    const bytes = files.content(path);
    for (let end = syncedBytes; end <= bytes.length; end++) {
      const { records, tornBytes, damage } = parseJournal(bytes.subarray(0, end), path);
      expect(damage).toBeUndefined();
      expect(['synced', 'one', 'two', 'three'].slice(0, records.length)).toEqual(records);
      expect(tornBytes).toBeLessThan(40);
    }
  });

  it('drops a hole in what was not synced, and what follows it', async () => {
    const { files, journal } = await journalOf([['synced']]);
    const holeAt = journal.sizeBytes;
    await journal.append(['lost', 'kept', 'kept']);
    const bytes = files.content(path);
    bytes.fill(0, holeAt, holeAt + 15);
    expect(parseJournal(bytes, path)).toEqual({
      base: 7,
      records: ['synced'],
      tornBytes: bytes.length - holeAt,
    });
  });

  it('reports every change to what was synced before the last group', async () => {
    const { bytes, journal } = await journalOf([['a', 'b'], ['c'], ['d']]);
    const lastAt = journal.sizeBytes - new TextEncoder().encode('00000000 000 "d"\n').length;
    fc.assert(
      fc.property(fc.nat(lastAt - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const changed = bytes.slice();
        changed[at]! ^= flip;
        const { damage, records } = parseJournal(changed, path);
        expect(damage?.code).toBe('JOURNAL_DAMAGED');
        expect(damage?.message).toMatch(/^case\.journal:[1-5]: /);
        expect(['a', 'b', 'c'].slice(0, records.length)).toEqual(records);
      }),
    );
  });

  it('reports a file without a header', () => {
    for (const text of ['', 'nonsense', '\0\0\0\n']) {
      const loaded = parseJournal(new TextEncoder().encode(text), path);
      expect(loaded).toMatchObject({ base: undefined, records: [] });
      expect(loaded.damage?.code).toBe('JOURNAL_DAMAGED');
    }
  });

  it('forgets a failed append, whatever it left on the disk', async () => {
    const { files, journal } = await journalOf([['a']]);
    files.setCapacity(4096);
    await expect(journal.append(['x'.repeat(5000), 'stale'])).rejects.toMatchObject({
      code: 'IMAGE_SPACE',
    });
    files.setCapacity(2 ** 20);
    await journal.append(['b']);
    await journal.sync();
    expect((await loadJournal(files, path))?.records).toEqual(['a', 'b']);
  });

  it('believes nothing after a failed sync, until it is restarted', async () => {
    const { files, journal } = await journalOf([['a']]);
    files.failNext('sync', new LastspinError('FILE_FAILED', 'cannot sync case.journal: EIO'));
    await journal.append(['b']);
    await expect(journal.sync()).rejects.toMatchObject({ code: 'IMAGE_WRITE_FAILED' });
    await expect(journal.append(['c'])).rejects.toThrow('EIO');
    await expect(journal.sync()).rejects.toThrow('EIO');
    await journal.restart(8);
    await journal.append(['d']);
    await journal.sync();
    expect(await loadJournal(files, path)).toEqual({ base: 8, records: ['d'], tornBytes: 0 });
  });
});
