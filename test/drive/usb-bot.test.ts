import { expect, test } from 'vitest';
import { createSimulatedDrive } from '../../hardware-sim/drive.js';
import { patternSector } from '../../hardware-sim/media.js';
import { createRandom } from '../../hardware-sim/random.js';
import { defineScenario } from '../../hardware-sim/scenario.js';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import type { AnswerIn, UsbDevice } from '../../hardware-sim/usb-device.js';
import { createDock, createUsbDisk, type UsbDiskOptions } from '../../hardware-sim/usb-disk.js';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';
import { openUsbBot } from '../../src/drive/usb-bot/path.js';
import { createPlayedUsb, type PlayedOptions } from './played-usb.js';

const name = { vendorId: 0x1209, productId: 2 };
const sectorCount = 4096;

interface WorldOptions extends UsbDiskOptions {
  readonly faults?: ScenarioInput['faults'];
  readonly played?: PlayedOptions;
  /** Stands between host and disk. */
  readonly wrap?: (device: UsbDevice) => UsbDevice;
}

/** A disk that is plugged in and ready. */
async function worldOf({ faults = [], played = {}, wrap, ...bridge }: WorldOptions = {}) {
  const clock = createVirtualClock();
  const drive = createSimulatedDrive(defineScenario({ sectorCount, faults }));
  const disk = createUsbDisk(drive, clock, bridge);
  const usb = createPlayedUsb();
  const plug = usb.plug(wrap?.(disk) ?? disk, played);
  const dock = createDock(drive, plug, clock);
  await clock.run(dock.power(true));
  await clock.advance(10_000);
  const open = () => openUsbBot(name, clock, async () => usb.library);
  return { clock, drive, disk, usb, plug, dock, open };
}

const testUnitReady = { cdb: Uint8Array.of(0, 0, 0, 0, 0, 0), dataBytes: 0, timeoutMs: 5000 };

function read(lba: number, count: number, timeoutMs = 8000) {
  const cdb = new Uint8Array(10);
  cdb[0] = 0x28;
  new DataView(cdb.buffer).setUint32(2, lba);
  cdb[8] = count;
  return { cdb, dataBytes: count * 512, timeoutMs };
}

function held(lba: number, count: number): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, at) => patternSector(1, lba + at, 512)));
}

test('it reads what the drive holds, and gives the device back', async () => {
  const { clock, open, plug } = await worldOf();
  const path = await clock.run(open());
  expect(plug.isKernels()).toBe(false);
  expect(path.name).toBe('usb-bot:1209:0002');
  expect(path.transferBytesMax).toBe(240 * 512);
  const answer = await clock.run(path.send(read(100, 240)));
  if (answer.kind !== 'done') throw new Error(answer.kind);
  expect(Buffer.from(answer.data).equals(held(100, 240))).toBe(true);
  await clock.run(path.close());
  expect([plug.isKernels(), plug.openHandles(), plug.pending()]).toEqual([true, 0, 0]);
  await expect(path.send(testUnitReady)).rejects.toMatchObject({ code: 'LINK_CLOSED' });
});

test('sense data comes with the failure: fixed, and whole descriptors', async () => {
  const { clock, open } = await worldOf({ faults: [{ kind: 'bad', lba: 300 }] });
  const path = await clock.run(open());
  const fixed = await clock.run(path.send(read(298, 4)));
  expect(fixed).toMatchObject({ kind: 'done', status: 'check' });
  if (fixed.kind !== 'done') return;
  expect(fixed.data.length).toBe(1024);
  expect([...fixed.sense.subarray(0, 7)]).toEqual([0xf0, 0, 3, 0, 0, 1, 44]);
  const cdb = Uint8Array.of(0x85, 0x0d, 0x2e, 0, 0, 0, 4, 0, 42, 0, 1, 0, 0, 0x40, 0x25, 0);
  const ata = await clock.run(path.send({ cdb, dataBytes: 2048, timeoutMs: 8000 }));
  if (ata.kind !== 'done') throw new Error(ata.kind);
  expect([ata.sense[0], ata.sense.length, ata.sense[15], ata.sense[17]]).toEqual([0x72, 22, 44, 1]);
  expect(await clock.run(path.send(testUnitReady))).toMatchObject({ status: 'good' });
});

test('a timeout comes in time, and the next command finds the adapter in step again', async () => {
  const { clock, open, disk } = await worldOf({
    faults: [{ kind: 'slow', lba: 50, extraMs: 20_000 }],
  });
  const path = await clock.run(open());
  expect(await clock.run(path.send(read(50, 1)))).toEqual({ kind: 'timeout', elapsedMs: 8000 });
  const again = await clock.run(path.send(read(60, 8, 30_000)));
  expect(again).toMatchObject({ kind: 'done', status: 'good' });
  if (again.kind === 'done') expect(Buffer.from(again.data).equals(held(60, 8))).toBe(true);
  expect(disk.counters.bulkResets).toBe(1);
});

test('BOT 5.3.4: a reset is followed by clearing the halts of both endpoints', async () => {
  const { clock, open, disk } = await worldOf();
  const path = await clock.run(open());
  disk.stall(0x01);
  const refused = { kind: 'failed', why: 'the adapter refused a command' };
  expect(await clock.run(path.send(read(5, 1)))).toMatchObject(refused);
  expect(await clock.run(path.send(read(5, 1)))).toMatchObject({ kind: 'done', status: 'good' });
  expect([disk.counters.bulkResets, disk.haltsCleared]).toEqual([1, 2]);
});

test('an abort ends the command under way, at once', async () => {
  const { clock, open } = await worldOf({ faults: [{ kind: 'slow', lba: 50, extraMs: 20_000 }] });
  const path = await clock.run(open());
  const reading = path.send(read(50, 1, 60_000));
  const aborting = clock.sleep(1000).then(() => path.reset('abort'));
  expect(await clock.run(reading)).toMatchObject({
    kind: 'failed',
    why: 'aborted',
    elapsedMs: 1000,
  });
  await clock.run(aborting);
  expect(await clock.run(path.send(read(51, 1)))).toMatchObject({ status: 'good' });
});

test.each([
  ['soft-reset', 'soft'],
  ['hard-reset', 'hard'],
] as const)('a hang until a %s ends with the rung `%s`, and not before', async (until, rung) => {
  const { clock, open, plug } = await worldOf({
    faults: [{ kind: 'hang', lba: 70, until, times: 1 }],
    played: { protocols: [0x50] },
  });
  const path = await clock.run(open());
  expect(await clock.run(path.send(read(70, 1)))).toMatchObject({ kind: 'timeout' });
  for (const each of ['soft', 'hard'] as const) {
    await clock.run(path.reset(each));
    const ready = await clock.run(path.send(testUnitReady));
    const isHealed = ready.kind === 'done' && ready.status === 'good';
    expect(isHealed).toBe(each === rung);
    if (isHealed) break;
  }
  expect(await clock.run(path.send(read(70, 1)))).toMatchObject({ status: 'good' });
  expect(plug.portResets).toBe(rung === 'hard' ? 1 : 0);
});

test('an unplug in the middle, and the same adapter at another port', async () => {
  const { clock, open, plug, dock, disk, usb } = await worldOf({
    faults: [{ kind: 'slow', lba: 50, extraMs: 5000 }],
  });
  const path = await clock.run(open());
  const notices: string[] = [];
  path.onNotice?.((notice) => notices.push(notice));
  const reading = path.send(read(50, 1));
  const pulling = clock.sleep(1000).then(() => dock.pull());
  expect(await clock.run(reading)).toEqual({ kind: 'gone', elapsedMs: 1000 });
  await pulling;
  expect(plug.openHandles()).toBe(0);
  expect(await clock.run(path.send(testUnitReady))).toMatchObject({ kind: 'gone' });
  expect(await clock.run(path.isThere())).toBe(false);
  await expect(clock.run(path.reset('hard'))).rejects.toMatchObject({ code: 'DEVICE_REFUSED' });
  const elsewhere = usb.plug(disk, { portNumbers: [2, 1] });
  await elsewhere.plugIn();
  expect(await clock.run(path.isThere())).toBe(true);
  expect(notices).toEqual(['usb-bot:1209:0002 is back at USB port 1-2.1']);
  expect(elsewhere.isKernels()).toBe(false);
  expect(await clock.run(path.send(read(51, 1)))).toMatchObject({ status: 'good' });
  await clock.run(path.close());
  expect(elsewhere.isKernels()).toBe(true);
});

test('a port reset that fails is a rung that did not bear', async () => {
  const { clock, open } = await worldOf({ played: { resetError: -99 } });
  const path = await clock.run(open());
  await expect(clock.run(path.reset('hard'))).rejects.toMatchObject({ code: 'DEVICE_REFUSED' });
  expect(await clock.run(path.send(testUnitReady))).toMatchObject({ status: 'good' });
});

test('beside UAS the bulk-only setting is chosen, also after a port reset', async () => {
  const { clock, open, plug } = await worldOf({ played: { protocols: [0x62, 0x50] } });
  const path = await clock.run(open());
  await clock.run(path.reset('hard'));
  expect(plug.settings).toEqual([1, 1]);
  expect(await clock.run(path.send(testUnitReady))).toMatchObject({ status: 'good' });
});

test.each([
  [{ played: { protocols: [0x62] } }, 'it speaks only UAS'],
  [{ played: { protocols: [0x01] } }, 'no USB storage with bulk-only transport'],
  [{ played: { openError: -3 } }, 'TAG+="uaccess"'],
  [{ played: { openError: -6 } }, 'another program has it open'],
])('what cannot be opened says why, and stays as it was %#', async (options, why) => {
  const { clock, open, plug } = await worldOf(options);
  await expect(clock.run(open())).rejects.toMatchObject({
    code: 'DRIVE_OPEN_FAILED',
    message: expect.stringContaining(why),
  });
  expect([plug.isKernels(), plug.openHandles()]).toEqual([true, 0]);
});

test('two alike must be told apart', async () => {
  const { clock, usb, open } = await worldOf({ serialNumber: 'A' });
  const other = createUsbDisk(createSimulatedDrive(defineScenario({ sectorCount })), clock, {
    serialNumber: 'B',
  });
  await usb.plug(other, { portNumbers: [7] }).plugIn();
  await expect(clock.run(open())).rejects.toMatchObject({
    message: expect.stringContaining('usb-bot:1209:0002:A or usb-bot:1209:0002:B'),
  });
  const named = openUsbBot({ ...name, serialNumber: 'B' }, clock, async () => usb.library);
  expect((await clock.run(named)).name).toBe('usb-bot:1209:0002:B');
});

// Hostile adapters

/** Replaces what the device says in its next IN transfers. */
function saying(...answers: readonly (Buffer | 'stall' | 'silence')[]) {
  const left = [...answers];
  return (device: UsbDevice): UsbDevice => ({
    ...device,
    bulkIn(endpoint, lengthMax, answer) {
      const next = left.shift();
      if (next === undefined) return device.bulkIn(endpoint, lengthMax, answer);
      if (next === 'silence') return () => answer('cancelled', Buffer.alloc(0));
      queueMicrotask(() =>
        answer(next === 'stall' ? 'stall' : 'done', next === 'stall' ? Buffer.alloc(0) : next),
      );
      return () => {};
    },
  });
}

function csw(tag: number, residue = 0, status = 0, signature = 'USBS'): Buffer {
  const bytes = Buffer.alloc(13);
  bytes.write(signature, 0, 'latin1');
  bytes.writeUInt32LE(tag, 4);
  bytes.writeUInt32LE(residue, 8);
  bytes[12] = status;
  return bytes;
}

const sector = Buffer.alloc(512, 7);

test.each([
  ['a status of another command', [sector, csw(99)], 'the status of another command'],
  ['no signature', [sector, csw(1, 0, 0, 'USBC')], 'a status without its signature'],
  ['a phase error', [sector, csw(1, 0, 2)], 'a phase error'],
  ['a status that does not exist', [sector, csw(1, 0, 7)], 'status 7'],
  ['a residue beyond the transfer', [sector, csw(1, 513)], 'a residue larger than the transfer'],
  ['a status too long', [sector, Buffer.alloc(31)], 'a status of 31 bytes'],
  ['stall after stall', [sector, 'stall', 'stall'], 'the adapter gives no status'],
  ['empty transfers', [sector, Buffer.alloc(0), Buffer.alloc(0)], 'the adapter gives no status'],
  ['more data than asked for', [Buffer.alloc(600)], 'transfer failed'],
] as const)('%s is a failure, and the next command works', async (_what, answers, why) => {
  const { clock, open } = await worldOf({ wrap: saying(...answers) });
  const path = await clock.run(open());
  const answer = await clock.run(path.send(read(5, 1)));
  expect(answer).toMatchObject({ kind: 'failed', why: expect.stringContaining(why) });
  const next = await clock.run(path.send(read(6, 1)));
  if (next.kind !== 'done') throw new Error(next.kind);
  expect(Buffer.from(next.data).equals(held(6, 1))).toBe(true);
});

test('a status in place of the data brings no data', async () => {
  const { clock, open } = await worldOf({ wrap: saying(csw(1, 512, 0)) });
  const path = await clock.run(open());
  const answer = await clock.run(path.send(read(5, 1)));
  expect(answer).toMatchObject({ kind: 'done', status: 'good', data: new Uint8Array(0) });
});

test('what the adapter does not vouch for is no data', async () => {
  const { clock, open } = await worldOf({ wrap: saying(sector, csw(1, 500, 0)) });
  const path = await clock.run(open());
  expect(await clock.run(path.send(read(5, 1)))).toMatchObject({ data: sector.subarray(0, 12) });
});

/** An adapter that answers whatever comes to its mind. */
function lunatic(seed: number): UsbDevice {
  const { below: pick } = createRandom(seed);
  const waiting = new Set<AnswerIn>();
  let tag = 0;
  const disk = createUsbDisk(
    createSimulatedDrive(defineScenario({ sectorCount })),
    createVirtualClock(),
  );
  const say = (lengthMax: number, answer: AnswerIn): void => {
    const kinds = [
      () => answer('stall', Buffer.alloc(pick(lengthMax))),
      () => answer('done', Buffer.alloc(pick(lengthMax + 1), pick(256))),
      () => answer('done', Buffer.alloc(lengthMax)),
      () => answer('done', Buffer.alloc(lengthMax + 512)),
      () => answer('done', csw(tag - pick(2), pick(2) * pick(600), pick(4))),
      () => answer('done', csw(tag, 0, pick(2))),
      () => waiting.add(answer),
    ];
    kinds[pick(kinds.length)]?.();
  };
  return {
    ...disk,
    control: (setup, length) =>
      setup.request !== 6 && pick(3) === 0 ? 'stall' : disk.control(setup, length),
    bulkIn(_endpoint, lengthMax, answer) {
      queueMicrotask(() => say(lengthMax, answer));
      return () => {
        if (waiting.delete(answer)) answer('cancelled', Buffer.alloc(0));
      };
    },
    bulkOut(_endpoint, bytes, answer) {
      if (bytes.length === 31) tag = bytes.readUInt32LE(4);
      if (pick(20) > 1) queueMicrotask(() => answer(pick(20) === 0 ? 'stall' : 'done'));
    },
  };
}

test.each(
  Array.from({ length: 40 }, (_, seed) => seed),
)('whatever an adapter does, seed %i, each command ends in time with a value', async (seed) => {
  const clock = createVirtualClock();
  const usb = createPlayedUsb();
  const plug = usb.plug(lunatic(seed));
  await plug.plugIn();
  const path = await clock.run(openUsbBot(name, clock, async () => usb.library));
  for (let count = 0; count < 50; count++) {
    const fromMs = clock.now();
    const answer = await clock.run(path.send(read(count, 1)));
    expect(['done', 'timeout', 'failed', 'gone']).toContain(answer.kind);
    if (answer.kind === 'done') {
      expect(answer.data.length).toBeLessThanOrEqual(512);
      expect(answer.sense.length).toBeLessThanOrEqual(252);
    }
    // The command, what its sense data may take, a reset before it.
    expect(clock.now() - fromMs).toBeLessThanOrEqual(8000 + 5000 + 4000);
    const reset = path.reset((['abort', 'soft', 'hard'] as const)[count % 3] ?? 'abort');
    await clock.run(
      reset.catch((error) => expect(error).toMatchObject({ code: 'DEVICE_REFUSED' })),
    );
  }
  await clock.run(path.close());
  expect([plug.isKernels(), plug.openHandles(), plug.pending()]).toEqual([true, 0, 0]);
});
