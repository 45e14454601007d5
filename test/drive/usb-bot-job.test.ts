/** Whole jobs over USB bulk-only transport, in virtual time: the production job, drive and path above the
 * simulated adapter. */
import { describe, expect, test } from 'vitest';
import { createSimulatedDrive } from '../../hardware-sim/drive.js';
import { defineScenario } from '../../hardware-sim/scenario.js';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import {
  createDock,
  createUsbDisk,
  type Dock,
  type UsbDiskOptions,
} from '../../hardware-sim/usb-disk.js';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';
import type { Clock } from '../../src/clock.js';
import { createScsiDrive } from '../../src/drive/scsi/drive.js';
import { openUsbBot } from '../../src/drive/usb-bot/path.js';
import { bringUp } from '../../src/job/bring-up.js';
import { openCase } from '../../src/job/case.js';
import { casePaths, findCase } from '../../src/job/case-files.js';
import type { JobEvent } from '../../src/job/events.js';
import { runJob } from '../../src/job/job.js';
import { detectorFor } from '../../src/job/kind.js';
import { statuses } from '../../src/map/status.js';
import { troublePolicies } from '../../src/power/policy.js';
import type { Power } from '../../src/power/power.js';
import { memoryFiles } from '../image/memory-files.js';
import { decisions, falsehoods } from '../job/world.js';
import { presetRows } from '../presets.js';
import { createPlayedUsb } from './played-usb.js';

const sectorCount = 20_000;

/** What a command of the user's would do: the rail, nothing else. */
function switchOf(dock: Dock, clock: Clock): Power {
  const set = (on: boolean) => dock.power(on);
  return {
    name: 'relay',
    canHold: true,
    set,
    async cycle(offMs) {
      await set(false);
      await clock.sleep(offMs);
      await set(true);
    },
    async close() {},
  };
}

interface Mishap {
  readonly afterReads: number;
  readonly strike: (dock: Dock, clock: Clock) => void;
}

/** Images a disk, and returns what became of it. */
async function imageOf(
  faults: ScenarioInput['faults'],
  options: UsbDiskOptions & { readonly mishap?: Mishap; readonly noPower?: true } = {},
) {
  const { mishap, noPower, ...bridge } = options;
  const clock = createVirtualClock();
  const drive = createSimulatedDrive(defineScenario({ sectorCount, faults }));
  const disk = createUsbDisk(drive, clock, bridge);
  const usb = createPlayedUsb();
  const plug = usb.plug(disk);
  const dock = createDock(drive, plug, clock);
  const events: { readonly event: JobEvent; readonly atMs: number }[] = [];
  let isDue = mishap !== undefined;
  const files = memoryFiles();
  const interrupt = new AbortController();

  async function run() {
    await dock.power(true);
    const name = { vendorId: 0x1209, productId: 2 };
    const path = await openUsbBot(name, clock, async () => usb.library);
    const target = createScsiDrive(path, clock, { timeoutMsMin: 8000 });
    const powers = noPower ? [] : [switchOf(dock, clock)];
    const identity = await bringUp(target, powers, troublePolicies.hdd, clock, interrupt.signal);
    const size = { sectorCount: identity.sectorCount, sectorBytes: identity.sectorBytes };
    const rescue = await openCase({
      found: await findCase(files, casePaths('case.img'), false),
      drive: identity,
      driveKind: 'hdd',
      passes: presetRows('standard', { ...size, retries: 0 }),
      force: false,
      version: 'test',
      clock,
    });
    const detector = detectorFor('hdd', identity, true, rescue.state.mediaRate);
    const end = await runJob(
      {
        drive: target,
        powers,
        image: rescue.image,
        recorder: rescue.recorder,
        clock,
        identity,
        resumed: rescue.resumed,
        isTrusted: false,
        ...(detector && { detector }),
        names: { drive: 'usb-bot', image: 'case.img' },
        onEvent: (event) => {
          events.push({ event, atMs: clock.now() });
          if (!isDue || drive.counters.reads < (mishap?.afterReads ?? 0)) return;
          isDue = false;
          mishap?.strike(dock, clock);
        },
      },
      rescue.state,
      interrupt.signal,
    );
    await rescue.close();
    await target.close();
    // Whoever left the plug out puts it back.
    await dock.plugIn();
    return { end, identity, state: rescue.state };
  }
  const { end, identity, state } = await clock.run(run());
  expect(disk.counters.writesRefused).toBe(0);
  // What was taken from the kernel is given back.
  expect([plug.isKernels(), plug.openHandles(), plug.pending()]).toEqual([true, 0, 0]);
  const all = events.map(({ event }) => event);
  const outcome = { end, state, events: all, drive, files, elapsedMs: clock.now() };
  return { ...outcome, identity, timed: events, disk, plug };
}

const none = () => false;

test('a healthy drive is read once, sector by sector, and known by its own name', async () => {
  const job = await imageOf([]);
  expect(job.identity).toMatchObject({ model: 'LASTSPIN SIMULATED', serial: 'SIM0000001' });
  expect(await falsehoods(job, none)).toEqual([]);
  expect([...(job.drive.counters.sectorReads ?? [])].every((count) => count <= 2)).toBe(true);
  expect(decisions(job.events)).toEqual(['started', 'temperature', 'ended']);
});

test.each([
  ['with SAT', {}],
  ['without SAT', { sat: false }],
] as const)('bad sectors are marked, and no others: %s', async (_what, bridge) => {
  const faults = [
    { kind: 'bad', lba: 3000, count: 5, errorMs: 200 },
    { kind: 'bad', lba: 9001, errorMs: 200 },
  ] as const;
  const job = await imageOf([...faults], bridge);
  const isLost = (lba: number) => (lba >= 3000 && lba < 3005) || lba === 9001;
  expect(await falsehoods(job, isLost)).toEqual([]);
  expect(job.end).toMatchObject({ how: 'finished' });
  expect(job.drive.counters.powerOns).toBe(1);
});

test.each([
  ['soft-reset', 0, 1],
  ['hard-reset', 1, 1],
  ['power-cycle', 1, 2],
] as const)('a hang until %s: the weakest remedy that helps, nothing lost', async (until, portResets, powerOns) => {
  const job = await imageOf([{ kind: 'hang', lba: 6000, until, times: 1 }]);
  expect(await falsehoods(job, none)).toEqual([]);
  expect(job.end).toMatchObject({ how: 'finished' });
  expect(job.plug.portResets).toBe(portResets);
  expect(job.drive.counters.powerOns).toBe(powerOns);
});

test('slow reads, a stall and an unplug in the middle', async () => {
  const faults = [
    { kind: 'slow', lba: 2000, count: 300, extraMs: 40 },
    { kind: 'stall', lba: 9000, lastsMs: 60_000, readMs: [3000, 5000], times: 1 },
  ] as const;
  const unplug = (dock: Dock, clock: Clock) => {
    dock.pull();
    // Somebody notices, and puts it back.
    clock.after(3000, () => void dock.plugIn());
  };
  const job = await imageOf([{ ...faults[0] }, { ...faults[1], readMs: [3000, 5000] }], {
    mishap: { afterReads: 60, strike: unplug },
  });
  expect(await falsehoods(job, none)).toEqual([]);
  // It is waited for: nothing needed its power cut.
  expect(job.drive.counters.powerOns).toBe(1);
  expect(job.end).toMatchObject({ how: 'finished' });
});

/** Nobody can cut its power, and somebody takes an hour or a minute to see that the plug is out. */
const pulledFor = (ms: number): Mishap => ({
  afterReads: 60,
  strike(dock, clock) {
    dock.pull();
    clock.after(ms, () => void dock.plugIn());
  },
});

test('a drive that is unplugged for minutes is waited for, and goes on where it was', async () => {
  const job = await imageOf([], { noPower: true, mishap: pulledFor(300_000) });
  expect(job.end).toMatchObject({ how: 'finished' });
  expect(await falsehoods(job, none)).toEqual([]);
  expect(decisions(job.events).filter((kind) => kind === 'held')).toHaveLength(1);
  expect(job.drive.counters.powerOns).toBe(1);
});

test('one that is not plugged in again ends the job with its map saved, and nothing is marked', async () => {
  const job = await imageOf([], { noPower: true, mishap: pulledFor(3_600_000) });
  const why = expect.stringContaining('was not plugged in again within 10 min');
  expect(job.end).toMatchObject({ how: 'gave-up', why });
  const { map } = job.state.plan;
  expect(map.countOf(statuses.finished)).toBeGreaterThan(0);
  expect(map.countOf(statuses.finished) + map.countOf(statuses['non-tried'])).toBe(sectorCount);
});

interface Liar {
  readonly lie: 'zeros' | 'stale';
  readonly errorMs: number;
  readonly tellsOneIn: number;
}

describe('an adapter that answers bad sectors with data of its own stops the job', () => {
  /** Every failure called good; all but the first of ten thousand; all but every eighth, every second. */
  const telling = [0, 10_000, 8, 2];
  const cases = [
    { lie: 'stale', errorMs: 0 },
    { lie: 'stale', errorMs: 1500 },
  ].flatMap((liar) => telling.map((tellsOneIn) => ({ ...liar, tellsOneIn })));
  // Zeros between failures that it tells pass unseen (detectors.ts, limits).
  const zeros = [0, 10_000].map((tellsOneIn) => ({ lie: 'zeros', errorMs: 0, tellsOneIn }));
  test.each([
    ...cases,
    ...zeros,
  ] as Liar[])('$lie after $errorMs ms, telling one in $tellsOneIn', async ({
    lie,
    errorMs,
    tellsOneIn,
  }) => {
    const faults = [{ kind: 'bad', lba: 10_000, count: 10_000, errorMs }] as const;
    const job = await imageOf([...faults], { lies: lie, tellsOneIn });
    expect(job.end).toMatchObject({ how: 'gave-up', why: expect.stringContaining('made up') });
    expect(decisions(job.events)).toContain('doubted');
    expect(await falseClaimsOf(job)).toEqual([]);
  });
});

/** Of what the map calls finished, what the drive does not hold there. */
async function falseClaimsOf(job: Awaited<ReturnType<typeof imageOf>>): Promise<number[]> {
  const { map } = job.state.plan;
  const isFinished = (lba: number) => map.valueAt(lba) === statuses.finished;
  const wrong = await falsehoods(job, (lba) => !isFinished(lba));
  return wrong.filter(isFinished);
}

/** The off-time, the drive's own spin-up, and at most a second from ready to the next read, which waits for the
 * drive's own recalibration. */
test('a full recovery costs the off-time, the spin-up and little more', async () => {
  const job = await imageOf([{ kind: 'hang', lba: 6000, until: 'power-cycle', times: 1 }]);
  const { offMs } = troublePolicies.hdd;
  const { spinUpMs, recalibrationMs } = job.drive.scenario.mechanics;
  const timeOf = (isIt: (event: JobEvent, atMs: number) => boolean) => {
    const found = job.timed.find(({ event, atMs }) => isIt(event, atMs));
    if (!found) throw new Error('it did not happen');
    return found.atMs;
  };
  const cycledMs = timeOf(({ kind }) => kind === 'power-cycled');
  const cutMs = job.timed.findLast(({ atMs }) => atMs < cycledMs)?.atMs ?? 0;
  const readyMs = timeOf((event) => event.kind === 'ready' && event.ok);
  const readMs = timeOf(
    (event, atMs) => event.kind === 'read' && event.outcome === 'good' && atMs > readyMs,
  );
  const spunUpMs = cutMs + offMs + spinUpMs;
  expect(readyMs - spunUpMs).toBeLessThanOrEqual(500);
  expect(readMs - spunUpMs).toBeLessThanOrEqual(1000 + recalibrationMs);
});
