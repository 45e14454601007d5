import { describe, expect, test } from 'vitest';
import {
  findAgain,
  findNode,
  type NamedFile,
  type SgSysfs,
  stateOf,
} from '../../src/drive/sg/nodes.js';
import { pci, sata, sysfsWith, usbBridge, usbDisk } from './sg-played.js';

const file = (path: string, kind: NamedFile['kind'], major = 0, minor = 0): NamedFile => ({
  path,
  kind,
  major,
  minor,
});
const refusal = (code: string, message: RegExp) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) });

describe('which node is meant', () => {
  test('a node itself, and what stands behind it', () => {
    expect(findNode(file('/dev/sg2', 'character', 21, 2), sysfsWith(sata))).toEqual({
      path: '/dev/sg2',
      device: sata.device,
      host: `${pci}/0000:00:1f.2/ata1/host2`,
      blockPath: '/dev/sdb',
      isAta: true,
      place: `${pci}/0000:00:1f.2/ata1/host/target:0:0/0:0:0`,
      uniqueId: 'naa.5000000000000001',
    });
  });

  test('the node beside a disk, whatever links led to it', () => {
    expect(findNode(file('/dev/sdb', 'block', 8, 16), sysfsWith(sata)).path).toBe('/dev/sg2');
  });

  test('a bridge is told by its USB device', () => {
    const sysfs = sysfsWith(usbDisk('1', 6, 'sg0'));
    expect(findNode(file('/dev/sg0', 'character', 21, 0), sysfs)).toMatchObject({
      isAta: false,
      usb: { vendorId: 0x174c, productId: 0x55aa, driver: 'usb-storage' },
      uniqueId: '174c:55aa 123456789 DOCK WDC 0',
    });
  });

  test('UAS is refused, with the line that switches it off', () => {
    const uas = { ...usbDisk('1', 6, 'sg0'), usb: { ...usbBridge, driver: 'uas' } };
    expect(() => findNode(file('/dev/sg0', 'character', 21, 0), sysfsWith(uas))).toThrow(
      refusal(
        'DRIVE_OPEN_FAILED',
        /echo 174c:55aa:u \| sudo tee \/sys\/module\/usb_storage\/parameters\/quirks/,
      ),
    );
  });

  test('a partition is refused, and its drive named', () => {
    const sysfs = sysfsWith(sata);
    const partition = `${sata.device}/block/sdb/sdb1`;
    const withPartition: SgSysfs = {
      ...sysfs,
      realpath: (path) => (path === '/sys/dev/block/8:17' ? partition : sysfs.realpath(path)),
      read: (path) => (path === `${partition}/partition` ? '1\n' : sysfs.read(path)),
    };
    expect(() => findNode(file('/dev/sdb1', 'block', 8, 17), withPartition)).toThrow(
      refusal('DRIVE_UNKNOWN', /is a partition; .*sg:\/dev\/sdb$/),
    );
  });

  test.each([
    ['/dev/nvme0n1', 'block', /speaks NVMe.*file:\/dev\/nvme0n1/],
    ['/dev/nvme0', 'character', /speaks NVMe/],
    ['/dev/loop0', 'block', /takes no SCSI commands.*file:\/dev\/loop0/],
    ['/dev/null', 'character', /takes no SCSI commands/],
    ['/tmp/case.img', 'other', /takes no SCSI commands/],
  ] as const)('%s is refused', (path, kind, message) => {
    expect(() => findNode(file(path, kind, 7, 0), sysfsWith(sata))).toThrow(
      refusal('DRIVE_UNKNOWN', message),
    );
  });

  test('a tape, a disk without the driver for nodes, a node without a device', () => {
    const tape = { ...sata, attributes: { type: '1\n' } };
    const character = file('/dev/sg2', 'character', 21, 2);
    expect(() => findNode(character, sysfsWith(tape))).toThrow(
      refusal('DRIVE_UNKNOWN', /holds no sectors/),
    );
    const sysfs = sysfsWith(sata);
    expect(() => findNode(file('/dev/sdb', 'block', 8, 16), { ...sysfs, list: () => [] })).toThrow(
      refusal('DRIVE_OPEN_FAILED', /sudo modprobe sg/),
    );
    expect(() => findNode(character, sysfsWith())).toThrow(
      refusal('DRIVE_OPEN_FAILED', /still plugged in/),
    );
  });
});

describe('a drive that comes back', () => {
  const before = findNode(file('/dev/sg0', 'character'), sysfsWith(usbDisk('1', 6, 'sg0')));

  test('at its port, under other names', () => {
    expect(findAgain(before, sysfsWith(sata, usbDisk('1', 9, 'sg5')))?.path).toBe('/dev/sg5');
  });

  test('at another port, by its identity', () => {
    expect(findAgain(before, sysfsWith(sata, usbDisk('4', 9, 'sg5')))?.path).toBe('/dev/sg5');
  });

  test('not when two answer to the description; the one at its own port is it', () => {
    const twins = [usbDisk('4', 9, 'sg5'), usbDisk('3', 8, 'sg4')];
    expect(findAgain(before, sysfsWith(...twins))).toBeUndefined();
    const third = usbDisk('1', 10, 'sg6');
    expect(findAgain(before, sysfsWith(...twins, third))?.path).toBe('/dev/sg6');
  });

  test('at its port with another name, as after its firmware failed; never elsewhere', () => {
    const alias = (port: string) => ({
      ...usbDisk(port, 9, 'sg5'),
      attributes: { vendor: 'DOCK\n', model: 'SATAFIRM S11\n' },
    });
    expect(findAgain(before, sysfsWith(alias('1')))?.path).toBe('/dev/sg5');
    expect(findAgain(before, sysfsWith(alias('2')))).toBeUndefined();
    expect(findAgain(before, sysfsWith(sata))).toBeUndefined();
  });

  test.each([
    ['running', 'online'],
    ['blocked', 'online'],
    ['offline', 'offline'],
    ['transport-offline', 'offline'],
    ['deleted', 'gone'],
  ])('a device that is %s is %s', (state, expected) => {
    const device = { ...sata, attributes: { ...sata.attributes, state: `${state}\n` } };
    const sysfs = sysfsWith(device);
    expect(stateOf(findNode(file('/dev/sg2', 'character'), sysfs), sysfs)).toBe(expected);
  });
});
