/** Whole jobs over a played path: what ends up in map and image, and what the drive was sent. */
import { expect, test } from 'vitest';
import { createVirtualClock } from '../../../hardware-sim/virtual-clock.js';
import { createScsiDrive } from '../../../src/drive/scsi/drive.js';
import type { ScsiAnswer, ScsiCommand } from '../../../src/drive/scsi/path.js';
import { bringUp } from '../../../src/job/bring-up.js';
import { openCase } from '../../../src/job/case.js';
import { casePaths, findCase } from '../../../src/job/case-files.js';
import type { JobEvent } from '../../../src/job/events.js';
import { type JobEnd, runJob } from '../../../src/job/job.js';
import { detectorFor } from '../../../src/job/kind.js';
import type { JobState } from '../../../src/job/state.js';
import { statuses } from '../../../src/map/status.js';
import { troublePolicies } from '../../../src/power/policy.js';
import { memoryFiles } from '../../image/memory-files.js';
import { presetRows } from '../../presets.js';
import { check, fixedSense, good, type PlayedDrive, playedPath, sectorsOf } from './played-path.js';

const sectorCount = 20_000;

/** A READ (10): its extent, and how long it takes on platters. */
function readOf({ cdb }: ScsiCommand) {
  if (cdb[0] !== 0x28) return undefined;
  const view = new DataView(cdb.buffer, cdb.byteOffset);
  const [lba, count] = [view.getUint32(2), view.getUint16(7)];
  return { lba, count, elapsedMs: 1 + (count * 512) / 130_000 };
}

type Play = (read: { lba: number; count: number; elapsedMs: number }) => ScsiAnswer | undefined;

interface Outcome {
  readonly end: JobEnd | undefined;
  readonly error: unknown;
  readonly state: JobState;
  readonly events: readonly JobEvent[];
  readonly sent: readonly ScsiCommand[];
  /** Sectors claimed as finished that do not hold what the drive holds. */
  readonly falseLbas: readonly number[];
  readonly bad: readonly number[];
}

async function image(play: Play, changes: Partial<PlayedDrive> = {}): Promise<Outcome> {
  const clock = createVirtualClock();
  const files = memoryFiles();
  const path = playedPath(
    {
      sectorCount,
      physicalSectorBytes: 512,
      intercept(command) {
        const read = readOf(command);
        if (!read) return undefined;
        return play(read) ?? good(sectorsOf(read.lba, read.count), read.elapsedMs);
      },
      ...changes,
    },
    {},
    clock,
  );
  const drive = createScsiDrive(path, clock);
  const events: JobEvent[] = [];

  async function session(): Promise<Outcome> {
    const { signal } = new AbortController();
    const identity = await bringUp(drive, [], troublePolicies.hdd, clock, signal);
    const rescue = await openCase({
      found: await findCase(files, casePaths('case.img'), false),
      drive: identity,
      driveKind: 'hdd',
      passes: presetRows('standard', { sectorCount, sectorBytes: 512, retries: 0 }),
      force: false,
      version: 'test',
      clock,
    });
    const { state } = rescue;
    const detector = detectorFor('hdd', identity, true, 0)!;
    let end: JobEnd | undefined;
    let error: unknown;
    try {
      end = await runJob(
        {
          drive,
          powers: [],
          image: rescue.image,
          recorder: rescue.recorder,
          clock,
          identity,
          resumed: false,
          names: { drive: 'played', image: 'case.img' },
          detector,
          onEvent: (event) => events.push(event),
        },
        state,
        signal,
      );
    } catch (thrown) {
      error = thrown;
    }
    await rescue.close();
    const file = await files.open('case.img', { readOnly: true });
    const sector = new Uint8Array(512);
    const falseLbas: number[] = [];
    const bad: number[] = [];
    for (let lba = 0; lba < sectorCount; lba++) {
      const status = state.plan.map.valueAt(lba);
      if (status === statuses['bad-sector']) bad.push(lba);
      if (status !== statuses.finished) continue;
      await file.read(sector, lba * 512);
      if (Buffer.compare(sector, sectorsOf(lba, 1)) !== 0) falseLbas.push(lba);
    }
    await file.close();
    return { end, error, state, events, sent: path.sent, falseLbas, bad };
  }
  return clock.run(session());
}

const holds = (read: { lba: number; count: number }, lba: number) =>
  lba >= read.lba && lba < read.lba + read.count;

test('exactly the failing sectors are bad, the image holds the rest, and only reads were sent', async () => {
  const damaged = [77, 78, 5000, 12_345, 19_999];
  const outcome = await image((read) => {
    const lba = damaged.find((each) => holds(read, each));
    return lba === undefined
      ? undefined
      : check(fixedSense(3, 0x11, 0, lba), sectorsOf(read.lba, read.count));
  });
  expect(outcome.error).toBeUndefined();
  expect(outcome.bad).toEqual(damaged);
  expect(outcome.falseLbas).toEqual([]);
  expect(outcome.state.plan.map.valueAt(0)).toBe(statuses.finished);
  const commands = new Set(
    outcome.sent.map(({ cdb }) => (cdb[0] === 0x85 ? `ata ${cdb[14]}` : cdb[0])),
  );
  // B0h: the temperature, by the SCT status.
  const ata = [0xec, 0xef, 0xb0].map((command) => `ata ${command}`);
  const expected = new Set<unknown>([0x00, 0x12, 0x25, 0x28, ...ata]);
  expect([...commands].filter((each) => !expected.has(each))).toEqual([]);
});

test('a bridge that aborts for a while is the drive’s trouble, not its sectors’', async () => {
  let ill = -1;
  const outcome = await image((read) => {
    if (holds(read, 9000) && ill === -1) ill = 3;
    return ill > 0 && ill-- > 0 ? check(fixedSense(0x0b, 0x47)) : undefined;
  });
  expect(outcome.bad).toEqual([]);
  expect(outcome.falseLbas).toEqual([]);
  expect(outcome.state.plan.map.valueAt(9000)).toBe(statuses.finished);
});

test('a locked drive ends the job with nothing marked', async () => {
  const outcome = await image(() => check(fixedSense(3, 0x11)), {
    editIdentify: (data) => data.set([0x07, 0], 256),
  });
  expect(String(outcome.error)).toMatch(/is locked by a password/);
  expect(outcome.bad).toEqual([]);
  expect(outcome.state.plan.map.valueAt(0)).toBe(statuses['non-tried']);
});

test.each([
  'the buffer of the read before',
  'zeros',
] as const)('a bridge that answers failing reads with %s stops the job, and none of that is claimed', async (lie) => {
  const damaged = [4100, 6300, 9500, 11_700, 14_900, 17_100];
  let before: Uint8Array = new Uint8Array(0);
  const outcome = await image((read) => {
    const isFailing = damaged.some((lba) => holds(read, lba));
    const bytes = read.count * 512;
    if (!isFailing) {
      before = sectorsOf(read.lba, read.count);
      return undefined;
    }
    const made = new Uint8Array(bytes);
    if (lie === 'the buffer of the read before') made.set(before.subarray(0, bytes));
    return good(made, 900);
  });
  expect(outcome.end).toMatchObject({
    why: expect.stringMatching(/late reads bring nothing|what the read before each had brought/),
  });
  expect(outcome.falseLbas).toEqual([]);
  expect(outcome.bad).toEqual([]);
});

test('zeros faster than platters turn stop the job, and none of them is claimed', async () => {
  const outcome = await image((read) =>
    read.lba >= 8000 ? good(new Uint8Array(read.count * 512), 0.05) : undefined,
  );
  expect(outcome.end).toMatchObject({ why: expect.stringMatching(/the drive returns zeros at/) });
  expect(outcome.falseLbas).toEqual([]);
});

test('a buffer that stays after a failed read stops the job', async () => {
  let stale: Uint8Array | undefined;
  const outcome = await image((read) => {
    if (holds(read, 10_000)) {
      stale = sectorsOf(read.lba - 128, 128);
      return check(fixedSense(3, 0x11));
    }
    const bytes = read.count * 512;
    return stale && bytes <= stale.length
      ? good(stale.subarray(0, bytes), read.elapsedMs)
      : undefined;
  });
  expect(outcome.end).toMatchObject({ why: expect.stringMatching(/what other places held/) });
  expect(outcome.falseLbas).toEqual([]);
});
