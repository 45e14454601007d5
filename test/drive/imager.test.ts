import { expect, test } from 'vitest';
import { ReplyError } from '../../firmware-protocol/device.js';
import { serveImager } from '../../firmware-protocol/responder.js';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';
import type { ReadRequest } from '../../src/drive/drive.js';
import { openImager } from '../../src/drive/imager.js';
import { createFakeImager, createLine, sectorsAt } from '../firmware-protocol/fake-imager.js';

function setup(options: Parameters<typeof createFakeImager>[1] = {}) {
  const clock = createVirtualClock();
  const device = createFakeImager(clock, options);
  const line = createLine(clock);
  serveImager(line.device, device, clock);
  const open = () => openImager(line.laptop, clock, { session: 11 });
  return { clock, device, line, open };
}

function requestOf(lba: number, count: number): ReadRequest {
  return {
    extent: { lba, count },
    timeoutMs: 1000,
    slowMs: 0,
    stopOn: { fault: true, slow: true, timeout: true },
    batch: 1,
  };
}

test('a drive behind an imager says who it is, what it can, and reads', async () => {
  const { clock, open } = setup();
  await clock.run(
    (async () => {
      const drive = await open();
      expect(drive.firmware).toBe('fake 1.0');
      expect(await drive.identify()).toEqual({
        model: 'FAKE',
        serial: 'S1',
        firmware: 'F1',
        sectorCount: 1_000_000,
        sectorBytes: 512,
        physicalSectorBytes: 4096,
      });
      expect(drive.capabilities).toEqual({
        resets: new Set(['abort', 'soft', 'hard']),
        power: true,
        park: true,
        readCountMax: 128,
        inFlightMax: 8,
        inFlightBytesMax: 65_536,
      });
      expect(await drive.read(requestOf(16, 8))).toEqual({
        kind: 'good',
        goodCount: 8,
        data: sectorsAt(16, 8),
        elapsedMs: 1.234,
      });
      await drive.close();
    })(),
  );
});

test('a fault carries its sense, its registers and its LBA, and the sectors before it', async () => {
  const { clock, device, open } = setup();
  device.outcomes.set(16, {
    outcome: 'fault',
    goodCount: 5,
    failingLba: 21,
    ata: { status: 0x51, error: 0x40 },
    sense: { key: 3, asc: 0x11, ascq: 4 },
  });
  await clock.run(
    (async () => {
      const drive = await open();
      expect(await drive.read(requestOf(16, 8))).toEqual({
        kind: 'fault',
        goodCount: 5,
        data: sectorsAt(16, 5),
        elapsedMs: 1.234,
        fault: {
          lba: 21,
          ata: { status: 0x51, error: 0x40 },
          sense: { key: 3, asc: 0x11, ascq: 4 },
        },
      });
      await drive.close();
    })(),
  );
});

test('an abort has no place, whatever the firmware found in the registers', async () => {
  const { clock, device, open } = setup();
  const aborted = { outcome: 'fault', goodCount: 0, failingLba: 16 } as const;
  device.outcomes.set(16, { ...aborted, ata: { status: 0x51, error: 0x04 } });
  device.outcomes.set(32, { ...aborted, failingLba: 32, sense: { key: 0x0b, asc: 0, ascq: 0 } });
  await clock.run(
    (async () => {
      const drive = await open();
      for (const lba of [16, 32]) {
        const { fault } = await drive.read({ ...requestOf(lba, 8), batch: lba });
        expect(fault).not.toHaveProperty('lba');
        expect(fault?.ata ?? fault?.sense).toBeDefined();
      }
      await drive.close();
    })(),
  );
});

test('a drive that does not answer has no identity', async () => {
  const { clock, device, open } = setup();
  device.identify = async () => {
    throw new ReplyError('noDrive', 'nothing on the bus');
  };
  await clock.run(
    (async () => {
      const drive = await open();
      expect(await drive.identify()).toBeUndefined();
      await drive.close();
    })(),
  );
});

test('a power cycle returns once the rail is back on, and was asked for once', async () => {
  const { clock, device, open } = setup();
  await clock.run(
    (async () => {
      const drive = await open();
      const startMs = clock.now();
      await drive.power?.cycle(5000);
      expect(clock.now() - startMs).toBeGreaterThanOrEqual(5000);
      expect(await drive.readiness()).toBe('not-ready');
      await drive.power?.cycle(100, undefined, true);
      expect(device.done).toEqual(['power cycle 5000', 'power cycle 100 standby']);
      await drive.power?.set(false);
      expect(await drive.readiness()).toBe('gone');
      await drive.power?.set(true);
      await drive.close();
    })(),
  );
});

test('a rail that does not come back is POWER_FAILED', async () => {
  const { clock, device, open } = setup();
  const status = device.status();
  device.status = () => ({ ...status, powerState: 'tripped' });
  await clock.run(
    (async () => {
      const drive = await open();
      await expect(drive.power?.cycle(100)).rejects.toMatchObject({ code: 'POWER_FAILED' });
      device.status = () => ({ ...status, powerState: 'cooling' });
      await expect(drive.power?.cycle(100)).rejects.toMatchObject({ code: 'POWER_FAILED' });
      device.power = async () => {
        throw new ReplyError('busy', 'switching');
      };
      await expect(drive.power?.set(true)).rejects.toMatchObject({ code: 'POWER_FAILED' });
      await drive.close();
    })(),
  );
});

test('a hard reset first takes back the reads on their way', async () => {
  const { clock, device, open } = setup();
  device.hangs.add(0);
  await clock.run(
    (async () => {
      const drive = await open();
      const reads = [0, 8, 16].map((lba) => drive.read(requestOf(lba, 8)));
      await clock.sleep(10);
      await drive.reset('hard');
      const kinds = (await Promise.all(reads)).map(({ kind }) => kind);
      expect(kinds).toEqual(['timeout', 'not-attempted', 'not-attempted']);
      expect(device.reads).toHaveLength(1);
      expect(device.done).toEqual(['reset hard']);
      await drive.close();
    })(),
  );
});

test('an imager without a switch has no power, and one that measures shows what it does', async () => {
  const { clock, device, open } = setup({ capabilities: 0b11 });
  device.status = () => ({
    powerState: 'ready',
    driveBusy: true,
    temperatureCelsius: -3.5,
    rail5: { millivolts: 5010, milliamps: 700 },
    uptimeMs: 99,
    powerCycles: 4,
  });
  await clock.run(
    (async () => {
      const drive = await open();
      expect(drive.power).toBeUndefined();
      expect(drive.capabilities).toMatchObject({ resets: new Set(['abort']), power: false });
      expect(await drive.status()).toEqual({
        powerState: 'ready',
        driveBusy: true,
        temperatureCelsius: -3.5,
        rail5: { millivolts: 5010, milliamps: 700 },
        uptimeMs: 99,
        powerCycles: 4,
        framesDiscarded: 0,
      });
      await drive.close();
    })(),
  );
});

test('after close, reads reject and nothing keeps time running', async () => {
  const { clock, open } = setup();
  const drive = await clock.run(open());
  await drive.close();
  await expect(drive.read(requestOf(0, 8))).rejects.toMatchObject({ code: 'LINK_CLOSED' });
  expect(clock.pending()).toBe(0);
});
