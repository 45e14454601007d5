import { describe, expect, test } from 'vitest';
import { createSimulatedDrive } from '../../hardware-sim/drive.js';
import { patternSector } from '../../hardware-sim/media.js';
import { defineScenario } from '../../hardware-sim/scenario.js';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import type { VirtualClock } from '../../hardware-sim/virtual-clock.js';
import type { Drive } from '../../src/drive/drive.js';
import { type ErrorCode, LastspinError } from '../../src/errors.js';
import { loadCheckpoint } from '../../src/image/checkpoint.js';
import type { FileLayer, OpenFile } from '../../src/image/file-layer.js';
import { createControl } from '../../src/job/control.js';
import type { JobEvent } from '../../src/job/events.js';
import type { RunMap } from '../../src/map/run-map.js';
import { statuses } from '../../src/map/status.js';
import { memoryFiles } from '../image/memory-files.js';
import { falsehoods, imageInWorld, type WorldOptions } from './world.js';

const scenario: ScenarioInput = {
  seed: 9,
  sectorCount: 6000,
  faults: [{ kind: 'bad', lba: 3000, count: 8, errorMs: 300 }],
};
const lost = (lba: number) => lba >= 3000 && lba < 3008;
const imageBytes = 6000 * 512;
const hourMs = 3_600_000;
const everythingBytes = 100 * imageBytes;

/** A disk that others fill once the job has begun, all but so many bytes. */
function fillingDisk(capacityBytes: number) {
  const files = memoryFiles();
  return { files, opened: () => files.setCapacity(capacityBytes) };
}

/** A world whose drive tells when it was parked, and how. */
function watchedWorld() {
  const drive = createSimulatedDrive(defineScenario(scenario));
  const parks: { readonly kind: string; readonly atMs: number }[] = [];
  let clock: VirtualClock | undefined;
  const options: WorldOptions = {
    drive,
    clocked: (made) => {
      clock = made;
    },
    wrap: (inner: Drive) => ({
      ...inner,
      async park(kind) {
        parks.push({ kind: kind ?? 'standby', atMs: clock?.now() ?? 0 });
        await inner.park(kind);
      },
    }),
  };
  const later = (delayMs: number, act: () => void) => void clock?.after(delayMs, act);
  return { drive, parks, options, later };
}

function of<K extends JobEvent['kind']>(events: readonly JobEvent[], kind: K) {
  return events.filter((event): event is JobEvent & { kind: K } => event.kind === kind);
}

describe('a full disk', () => {
  test('is waited for with the drive parked, and nothing is asked of the drive twice', async () => {
    const calm = watchedWorld();
    await imageInWorld(scenario, calm.options);
    const { drive, parks, options, later } = watchedWorld();
    const { files, opened } = fillingDisk(imageBytes / 3);
    const outcome = await imageInWorld(scenario, {
      ...options,
      files,
      opened,
      onEvent: ({ kind }) => {
        if (kind === 'target-full') later(hourMs, () => files.setCapacity(everythingBytes));
      },
    });
    expect(outcome.end.how).toBe('finished');
    expect(await falsehoods(outcome, lost)).toEqual([]);
    const [full, ...more] = of(outcome.events, 'target-full');
    const [again] = of(outcome.events, 'target-again');
    expect(more).toEqual([]);
    expect(full).toMatchObject({ path: 'case.img' });
    expect(full!.neededBytes).toBeGreaterThan(imageBytes / 2);
    expect(full!.freeBytes).toBeLessThan(2 ** 20);
    // A look every few seconds.
    expect(again!.waitedMs).toBeGreaterThan(hourMs - 1);
    expect(again!.waitedMs).toBeLessThan(hourMs + 5000);
    expect(parks.map(({ kind }) => kind)).toEqual(['unload', 'standby']);
    expect(parks.every(({ atMs }) => atMs > full!.atMs && atMs < again!.atMs)).toBe(true);
    // The one more is that which fetches the heads back.
    expect(drive.counters.reads).toBe(calm.drive.counters.reads + 1);
  });

  const eachFile = [
    ['case.img', 3],
    ['case.journal.tmp', 2],
    ['case.journal.tmp', 3],
    ['case.map.tmp', 4],
  ] as const;

  test.each(eachFile)('is waited for by %s, write %i', async (path, n) => {
    const { files, layer } = failingFiles(path, 'write', n, 'IMAGE_SPACE', n + 2);
    const outcome = await imageInWorld(scenario, { files: layer });
    expect(outcome.end.how).toBe('finished');
    expect(of(outcome.events, 'target-full').map((event) => event.path)).toEqual([
      path.replace('.tmp', ''),
    ]);
    expect(of(outcome.events, 'target-again').map(({ waitedMs }) => waitedMs)).toEqual([9000]);
    expect(await falsehoods({ ...outcome, files }, lost)).toEqual([]);
    expect((await loadCheckpoint(files, 'case.map'))?.damaged).toBe(false);
  });

  test('leaves the keys alive, and begins no power cycle', async () => {
    const { options, later } = watchedWorld();
    const { files, opened } = fillingDisk(imageBytes / 3);
    const control = createControl();
    const answers: string[] = [];
    const press = async () => {
      for (const kind of ['pause', 'resume', 'power-cycle'] as const)
        answers.push((await control.request({ kind })).text);
      files.setCapacity(everythingBytes);
    };
    const outcome = await imageInWorld(scenario, {
      ...options,
      files,
      opened,
      control,
      onEvent: ({ kind }) => {
        if (kind === 'target-full') later(60_000, () => void press());
      },
    });
    expect(answers).toEqual([
      'paused',
      'resumed',
      "the image's disk is full, the drive rests; make room first",
    ]);
    expect(outcome.state.totals.powerCycles).toBe(0);
    expect(await falsehoods(outcome, lost)).toEqual([]);
  });

  test('is no reason not to end: map and journal then have what was durable', async () => {
    const { drive, options, later } = watchedWorld();
    const { files, opened } = fillingDisk(imageBytes / 3);
    const control = createControl();
    const kinds: string[] = [];
    const ending = imageInWorld(scenario, {
      ...options,
      files,
      opened,
      control,
      onEvent: ({ kind }) => {
        kinds.push(kind);
        if (kind === 'target-full') later(5000, () => void control.request({ kind: 'stop' }));
      },
    });
    await expect(ending).rejects.toMatchObject({
      code: 'INTERRUPTED',
      message: expect.stringMatching(
        /no room for case\.img: .* bytes more.*the map is as it was last saved.*keep both/,
      ),
    });
    // Nobody made room.
    expect(kinds).not.toContain('target-again');
    const readsBefore = drive.counters.reads;
    expect(readsBefore).toBeGreaterThan(10);
    files.setCapacity(everythingBytes);
    const outcome = await imageInWorld(scenario, { files, drive, startMs: hourMs });
    expect(outcome.end.how).toBe('finished');
    expect(await falsehoods(outcome, lost)).toEqual([]);
  });
});

type Operation = 'write' | 'sync';

/** Memory of which one file fails: from the `n`-th operation of this kind to the `last`. */
function failingFiles(
  name: string,
  operation: Operation,
  n: number,
  code: ErrorCode,
  last: number,
) {
  const files = memoryFiles();
  let count = 0;
  const strike = () => {
    count += 1;
    if (count < n || count > last) return;
    throw new LastspinError(code, `cannot ${operation} ${name}: for a test`);
  };
  const failing = (file: OpenFile): OpenFile => ({
    ...file,
    [operation]: (...given: never[]) => {
      strike();
      return (file[operation] as (...values: never[]) => Promise<void>)(...given);
    },
  });
  const layer: FileLayer = {
    ...files,
    open: async (path, options) => {
      const file = await files.open(path, options);
      return path === name && !options?.readOnly ? failing(file) : file;
    },
  };
  return { files, layer };
}

describe('a disk of the image that fails', () => {
  const cases: readonly [string, Operation, number][] = [
    ['case.img', 'write', 3],
    ['case.img', 'sync', 2],
    ['case.journal.tmp', 'write', 2],
    ['case.journal.tmp', 'sync', 2],
    ['case.map.tmp', 'write', 4],
    ['case.map.tmp', 'sync', 2],
  ];
  // For good, or once, as a system tells of lost pages.
  const each = cases.flatMap((one) => [Infinity, one[2]].map((last) => [...one, last] as const));

  test.each(each)('%s, %s %i to %d', async (name, operation, n, last) => {
    const { parks, options } = watchedWorld();
    const { files, layer } = failingFiles(name, operation, n, 'FILE_FAILED', last);
    const told: JobEvent[] = [];
    const ending = imageInWorld(scenario, {
      ...options,
      files: layer,
      onEvent: (event) => told.push(event),
    });
    await expect(ending).rejects.toMatchObject({
      exitCode: 1,
      message: expect.stringContaining(`cannot ${operation} ${name}`),
    });
    // The source is not blamed for it, and nothing is tried to bring it back.
    expect([...of(told, 'reset'), ...of(told, 'power-cycled')]).toEqual([]);
    expect(of(told, 'ended')).toHaveLength(1);
    // A map that fails in the end is told of after the drive was let go.
    if (name !== 'case.map.tmp') expect(parks.map(({ kind }) => kind)).toEqual(['standby']);
    const outcome = await imageInWorld(scenario, {
      files,
      opened: ({ state }) => expect(claims(state.plan.map, files.content('case.img'))).toEqual([]),
    });
    expect(outcome.end.how).toBe('finished');
    expect(await falsehoods(outcome, lost)).toEqual([]);
  });
});

/** LBAs that a map calls finished and that the image does not hold. */
function claims(map: RunMap, image: Uint8Array): number[] {
  const wrong: number[] = [];
  for (let lba = 0; lba < map.size; lba++) {
    if (map.valueAt(lba) !== statuses.finished) continue;
    const held = image.subarray(lba * 512, (lba + 1) * 512);
    if (Buffer.compare(held, patternSector(scenario.seed!, lba, 512)) !== 0) wrong.push(lba);
  }
  return wrong;
}

test('a start on a full disk says how much is missing', async () => {
  const files = memoryFiles();
  await imageInWorld(scenario, { files, interruptAfter: 5 });
  files.setCapacity(0);
  await expect(imageInWorld({ ...scenario }, { files })).rejects.toMatchObject({
    code: 'IMAGE_SPACE',
    message: expect.stringMatching(
      /this needs [1-9]\d* bytes, 0 are free$|needs [1-9]\d* bytes more, 0 are free/,
    ),
  });
});
