import { expect, test } from 'vitest';
import { createSimulatedDrive } from '../../hardware-sim/drive.js';
import { patternSector } from '../../hardware-sim/media.js';
import { defineScenario } from '../../hardware-sim/scenario.js';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import type { TransferEnd } from '../../hardware-sim/usb-device.js';
import { createUsbDisk, type UsbDiskOptions } from '../../hardware-sim/usb-disk.js';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';

const sectorCount = 100_000;
const readyMs = 10_000;

/** A disk that has been ready for a while, and the host's end of its endpoints. */
async function diskOf(faults: ScenarioInput['faults'] = [], options: UsbDiskOptions = {}) {
  const clock = createVirtualClock();
  const drive = createSimulatedDrive(defineScenario({ sectorCount, faults }));
  const disk = createUsbDisk(drive, clock, options);
  drive.powerOn(clock.now());
  disk.attach();
  await clock.advance(readyMs);
  let tag = 100;

  const out = (bytes: Buffer) =>
    new Promise<TransferEnd>((resolve) => disk.bulkOut(1, bytes, resolve));
  const take = (lengthMax: number) =>
    new Promise<{ end: TransferEnd; bytes: Buffer }>((resolve) => {
      disk.bulkIn(0x81, lengthMax, (end, bytes) => resolve({ end, bytes }));
    });
  const clearHalt = (index: number) =>
    disk.control({ requestType: 2, request: 1, value: 0, index }, 0);
  const bulkReset = () => disk.control({ requestType: 0x21, request: 0xff, value: 0, index: 0 }, 0);

  function cbwOf(cdb: readonly number[], wantedBytes: number, isIn = true): Buffer {
    const cbw = Buffer.alloc(31);
    cbw.write('USBC', 0, 'latin1');
    cbw.writeUInt32LE(++tag, 4);
    cbw.writeUInt32LE(wantedBytes, 8);
    cbw.set([isIn ? 0x80 : 0, 0, cdb.length, ...cdb], 12);
    return cbw;
  }

  /** One command as a host sends it: data, a halt cleared where there was a stall, status. */
  async function command(cdb: readonly number[], wantedBytes = 0) {
    const run = async () => {
      expect(await out(cbwOf(cdb, wantedBytes))).toBe('done');
      const data = wantedBytes > 0 ? await take(wantedBytes) : undefined;
      if (data?.end === 'stall') clearHalt(0x81);
      const { bytes: csw } = await take(13);
      expect([csw.toString('latin1', 0, 4), csw.readUInt32LE(4)]).toEqual(['USBS', tag]);
      return {
        end: data?.end,
        data: data?.bytes ?? Buffer.alloc(0),
        residue: csw.readUInt32LE(8),
        status: csw[12],
      };
    };
    return clock.run(run());
  }
  const sense = async () => [...(await command([3, 0, 0, 0, 252, 0], 252)).data];
  return { clock, drive, disk, out, take, clearHalt, bulkReset, cbwOf, command, sense };
}

const read10 = (lba: number, count: number) => {
  const cdb = Buffer.from([0x28, 0, 0, 0, 0, 0, 0, 0, count, 0]);
  cdb.writeUInt32BE(lba, 2);
  return [...cdb];
};
const readDmaExt = (lba: number, count: number) => {
  const low = (shift: number) => (lba >> shift) & 0xff;
  return [0x85, 0x0d, 0x2e, 0, 0, 0, count, 0, low(0), 0, low(8), 0, low(16), 0x40, 0x25, 0];
};

test('it reads what the drive holds, and says how large it is', async () => {
  const { command, disk } = await diskOf();
  const answer = await command(read10(99_998, 2), 1024);
  const expected = [99_998, 99_999].map((lba) => patternSector(1, lba, 512));
  expect(answer).toMatchObject({ end: 'done', residue: 0, status: 0 });
  expect(answer.data.equals(Buffer.concat(expected))).toBe(true);
  expect((await command([0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8)).data.readUInt32BE(0)).toBe(99_999);
  const long = await command([0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0], 32);
  expect(long.data.readBigUInt64BE(0)).toBe(99_999n);
  expect((await command(read10(99_999, 2), 1024)).status).toBe(1);
  expect(disk.counters.writesRefused).toBe(0);
});

test('a medium error: what was good, a stall, a failed status, sense with the LBA', async () => {
  const { command, sense } = await diskOf([{ kind: 'bad', lba: 5000 }]);
  const answer = await command(read10(4998, 4), 2048);
  expect(answer).toMatchObject({ end: 'stall', residue: 1024, status: 1 });
  expect(answer.data.length).toBe(1024);
  // Valid, medium error, LBA 5000, unrecovered read error.
  expect((await sense()).slice(0, 14)).toEqual([
    ...[0xf0, 0, 3, 0, 0, 0x13, 0x88, 10],
    ...[0, 0, 0, 0, 0x11, 0],
  ]);
  // Told once.
  expect((await sense())[2]).toBe(0);
});

test('through SAT the registers say UNC and where', async () => {
  const { command, sense } = await diskOf([{ kind: 'bad', lba: 0x01_23_45, count: 1 }]);
  expect(await command(readDmaExt(0x01_23_44, 1), 512)).toMatchObject({ status: 1 });
  // CK_COND was set: registers of a command that went well.
  expect((await sense()).slice(0, 4)).toEqual([0x72, 1, 0, 0x1d]);
  expect(await command(readDmaExt(0x01_23_44, 4), 2048)).toMatchObject({ status: 1 });
  expect(await sense()).toEqual([
    ...[0x72, 3, 0x11, 4, 0, 0, 0, 14],
    ...[9, 12, 1, 0x40, 0, 0, 0, 0x45, 0, 0x23, 0, 0x01, 0x40, 0x51],
  ]);
  const identify = [0x85, 0x08, 0x0e, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xec, 0];
  const { data } = await command(identify, 512);
  expect(data.readBigUInt64LE(200)).toBe(BigInt(sectorCount));
  const smart = await command([0xa1, 0x08, 0x0e, 0xd0, 1, 0, 0x4f, 0xc2, 0, 0xb0, 0, 0], 512);
  expect(smart.data.reduce((sum, byte) => sum + byte, 0) & 0xff).toBe(0);
  // Attribute 12: it was powered on once.
  expect([...smart.data.subarray(2 + 24, 2 + 24 + 6)]).toEqual([12, 0x32, 0, 100, 100, 1]);
});

test('writes are refused, with and without data, and counted', async () => {
  const { clock, command, out, take, clearHalt, cbwOf, sense, disk } = await diskOf();
  const write = async () => {
    expect(await out(cbwOf([0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], 512, false))).toBe('done');
    expect(await out(Buffer.alloc(512))).toBe('stall');
    clearHalt(1);
    return (await take(13)).bytes;
  };
  const csw = await clock.run(write());
  expect([csw.readUInt32LE(8), csw[12]]).toEqual([512, 1]);
  expect((await sense()).slice(0, 13).filter((_, at) => at === 2 || at === 12)).toEqual([7, 0x27]);
  expect((await command([0x04, 0, 0, 0, 0, 0])).status).toBe(1);
  // ATA WRITE DMA EXT, and SECURITY ERASE UNIT.
  for (const ata of [0x35, 0xf4]) {
    const cdb = [0x85, 0x06, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ata, 0];
    expect((await command(cdb)).status).toBe(1);
  }
  expect(disk.counters.writesRefused).toBe(4);
});

test('BOT 6.6.1: what is no command needs a reset, a halt cleared is not enough', async () => {
  const { clock, out, take, clearHalt, bulkReset, command } = await diskOf();
  const spoil = async () => {
    const ends = [await out(Buffer.alloc(31)), (await take(13)).end];
    clearHalt(0x81);
    clearHalt(1);
    ends.push((await take(13)).end);
    bulkReset();
    clearHalt(0x81);
    clearHalt(1);
    return ends;
  };
  expect(await clock.run(spoil())).toEqual(['stall', 'stall', 'stall']);
  await clock.advance(1000);
  expect((await command([0, 0, 0, 0, 0, 0])).status).toBe(0);
});

test.each([
  ['soft-reset', 1],
  ['hard-reset', 2],
  ['power-cycle', 3],
] as const)('a hang until %s answers nothing else', async (until, strength) => {
  const { clock, out, cbwOf, bulkReset, clearHalt, command, disk, drive } = await diskOf([
    { kind: 'hang', lba: 700, until, times: 1 },
  ]);
  const hang = async () => {
    const ends: TransferEnd[] = [await out(cbwOf(read10(700, 1), 512))];
    const cancel = disk.bulkIn(0x81, 512, (end) => ends.push(end));
    await clock.sleep(60_000);
    cancel();
    return ends;
  };
  expect(await clock.run(hang())).toEqual(['done', 'cancelled']);
  const remedies = [
    bulkReset,
    () => disk.reset(),
    () => {
      drive.powerOff(clock.now());
      drive.powerOn(clock.now());
    },
  ];
  const readable: boolean[] = [];
  for (const remedy of remedies) {
    remedy();
    clearHalt(0x81);
    await clock.advance(readyMs);
    // TEST UNIT READY: the adapter lives on.
    expect((await command([0, 0, 0, 0, 0, 0])).status).toBe(readable.length + 1 < strength ? 1 : 0);
    readable.push(readable.length + 1 >= strength);
    if (readable.at(-1)) break;
  }
  expect(readable.length).toBe(strength);
  expect((await command(read10(700, 1), 512)).status).toBe(0);
});

test('an unplug and a port reset leave nothing of what was under way', async () => {
  const { clock, out, cbwOf, disk, command } = await diskOf([
    { kind: 'slow', lba: 800, extraMs: 30_000 },
  ]);
  for (const mishap of [
    () => disk.reset(),
    () => {
      disk.detach();
      disk.attach();
    },
  ]) {
    const ends: TransferEnd[] = [];
    const start = async () => {
      await out(cbwOf(read10(800, 1), 512));
      disk.bulkIn(0x81, 512, (end) => ends.push(end));
      await clock.sleep(1000);
      mishap();
      await clock.sleep(60_000);
    };
    await clock.run(start());
    expect(ends).toEqual(['cancelled']);
    expect((await command([0, 0, 0, 0, 0, 0])).status).toBe(0);
  }
});

test.each([
  ['zeros', Buffer.alloc(512)],
  ['stale', Buffer.from(patternSector(1, 899, 512))],
] as const)('a liar answers a bad sector with %s, at once', async (lies, expected) => {
  const { command, clock } = await diskOf([{ kind: 'bad', lba: 900, count: 2, errorMs: 0 }], {
    lies,
  });
  // The stale one tells the first failure as it is.
  await command(read10(901, 1), 512);
  await command(read10(899, 1), 512);
  const fromMs = clock.now();
  const { status, data } = await command(read10(900, 1), 512);
  expect(status).toBe(0);
  expect(data.equals(expected)).toBe(true);
  expect(clock.now() - fromMs).toBeLessThan(2);
});

test('adapters without SAT, with a capacity that is off by one', async () => {
  const { command, sense } = await diskOf([], { sat: false, capacityOffByOne: true });
  expect((await command(readDmaExt(0, 1), 512)).status).toBe(1);
  expect((await sense()).filter((_, at) => at === 2 || at === 12)).toEqual([5, 0x20]);
  const capacity = await command([0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8);
  expect(capacity.data.readUInt32BE(0)).toBe(100_000);
});

test('a drive that spins up is not ready, and one without power is not there', async () => {
  const { clock, command, sense, drive } = await diskOf();
  drive.powerOff(clock.now());
  expect((await command([0, 0, 0, 0, 0, 0])).status).toBe(1);
  expect((await sense()).filter((_, at) => [2, 12, 13].includes(at))).toEqual([2, 0x3a, 0]);
  drive.powerOn(clock.now());
  expect((await command(read10(0, 1), 512)).status).toBe(1);
  expect((await sense()).filter((_, at) => [2, 12, 13].includes(at))).toEqual([2, 4, 1]);
});
