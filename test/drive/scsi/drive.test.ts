import { expect, test } from 'vitest';
import { createVirtualClock } from '../../../hardware-sim/virtual-clock.js';
import { createScsiDrive } from '../../../src/drive/scsi/drive.js';
import { playedPath, sectorsOf } from './played-path.js';

test('a drive behind a bridge with SAT is named by its own words', async () => {
  const drive = createScsiDrive(playedPath(), createVirtualClock());
  expect(await drive.readiness()).toBe('ready');
  expect(await drive.identify()).toEqual({
    model: 'PLAYED DISK 1',
    serial: 'PD0001',
    firmware: 'F1',
    sectorCount: 100_000,
    sectorBytes: 512,
    physicalSectorBytes: 4096,
    kind: 'hdd',
  });
  const stopOn = { fault: true, slow: false, timeout: true };
  const request = { extent: { lba: 70, count: 16 }, timeoutMs: 1000, slowMs: 0, stopOn, batch: 1 };
  expect(await drive.read(request)).toEqual({
    kind: 'good',
    goodCount: 16,
    data: sectorsOf(70, 16),
    elapsedMs: 3,
  });
});
