import { expect, test } from 'vitest';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import { loadCheckpoint } from '../../src/image/checkpoint.js';
import { loadJournal } from '../../src/image/journal.js';
import { crashingFiles, randomOf } from '../image/crashing-files.js';
import { memoryFiles } from '../image/memory-files.js';
import { falsehoods, imageInWorld } from './world.js';

const scenario: ScenarioInput = {
  seed: 3,
  sectorCount: 3000,
  mechanics: { overheadMs: 300, spinUpMs: 500 },
  faults: [{ kind: 'bad', lba: 1000, count: 8, errorMs: 900 }],
};
const lost = (lba: number) => lba >= 1000 && lba < 1008;

/** A case whose process was killed late, so that its journal holds much. */
async function killedCase() {
  const crashing = crashingFiles(randomOf(1));
  let operations = 0;
  await imageInWorld(scenario, { files: crashing });
  operations = crashing.operations;
  const files = crashingFiles(randomOf(1));
  files.crashAt(operations - 12);
  await expect(imageInWorld(scenario, { files })).rejects.toThrow();
  const after = files.reboot();
  const disk = memoryFiles();
  for (const name of ['case.img', 'case.map', 'case.journal']) disk.put(name, after.content(name)!);
  return disk;
}

/** Damages the line of this number, from 1, of the journal. */
function damage(bytes: Uint8Array, lineNumber: number): Uint8Array {
  const copy = Buffer.from(bytes);
  let at = 0;
  for (let line = 1; line < lineNumber; line++) at = copy.indexOf(0x0a, at) + 1;
  copy[at + 12] = copy[at + 12]! ^ 0x55;
  return copy;
}

test.each([
  1, 2, 4,
])('a journal whose line %i is damaged is said, kept, and what it held is read again', async (lineNumber) => {
  const disk = await killedCase();
  const whole = await loadJournal(disk, 'case.journal');
  expect(whole?.damage).toBeUndefined();
  expect(whole!.records.length).toBeGreaterThan(4);
  const damaged = damage(disk.content('case.journal'), lineNumber);
  disk.put('case.journal', damaged);
  let notices: readonly string[] = [];
  const outcome = await imageInWorld(scenario, {
    files: disk,
    opened: (rescue) => {
      notices = rescue.notices;
    },
  });
  expect(notices.join('\n')).toContain(`case.journal:${lineNumber}: the journal is damaged here`);
  expect(disk.content('case.journal.damaged')).toEqual(Uint8Array.from(damaged));
  expect(outcome.end.how).toBe('finished');
  expect(await falsehoods(outcome, lost)).toEqual([]);
  expect((await loadCheckpoint(disk, 'case.map'))?.damaged).toBe(false);
});
