import { mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { connectorAt, type KernelFolders, whyKeepPower } from '../../src/cli/hub-ports.js';
import { nameOfPort, type PortLocation, parsePowerSpec } from '../../src/power/spec.js';
import { temporaryFolder } from './cli.js';

/** A small copy of /sys and /proc: a hub at 1-1 whose port 4 is also 2-1.4, and what the test hangs there. */
function kernel() {
  const root = temporaryFolder();
  const folders: KernelFolders = { sys: join(root, 'sys'), proc: join(root, 'proc') };
  const file = (path: string, text = '') => {
    mkdirSync(join(root, path, '..'), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  const link = (path: string, target: string) => {
    mkdirSync(join(root, path, '..'), { recursive: true });
    symlinkSync(join(root, target), join(root, path));
  };
  const usb = 'sys/devices/pci0000:00/0000:00:14.0';
  file(`${usb}/usb1/1-1/1-1:1.0/1-1-port4/disable`, '0');
  file(`${usb}/usb2/2-1/2-1:1.0/2-1-port4/disable`, '0');
  file(`${usb}/usb1/1-0:1.0/usb1-port3/quirks`);
  link(`${usb}/usb1/1-1/1-1:1.0/1-1-port4/peer`, `${usb}/usb2/2-1/2-1:1.0/2-1-port4`);
  for (const [name, at] of [
    ['1-1:1.0', 'usb1/1-1/1-1:1.0'],
    ['2-1:1.0', 'usb2/2-1/2-1:1.0'],
    ['1-0:1.0', 'usb1/1-0:1.0'],
  ])
    link(`sys/bus/usb/devices/${name}`, `${usb}/${at}`);
  file('proc/self/mountinfo');
  return { folders, root, usb, file, link };
}

const at = (spec: string): PortLocation => {
  const parsed = parsePowerSpec(spec);
  if (parsed.kind !== 'hub') throw new Error(spec);
  return parsed.port;
};
const both = [at('hub:1-1.4'), at('hub:2-1.4')];
const nothing = { files: [], links: [] };

describe('a connector', () => {
  test('has two halves, whichever is named', () => {
    const { folders } = kernel();
    const names = (spec: string) =>
      connectorAt(at(spec), folders).map(({ location }) => nameOfPort(location));
    expect(names('hub:1-1.4')).toEqual(['1-1.4', '2-1.4']);
    expect(names('hub:2-1.4')).toEqual(['2-1.4']);
  });

  test('is switched through the system where it has a switch', async () => {
    const { folders, root, usb } = kernel();
    const [port] = connectorAt(at('hub:1-1.4'), folders);
    const path = join(root, `${usb}/usb1/1-1/1-1:1.0/1-1-port4/disable`);
    const { readFileSync } = await import('node:fs');
    await port?.tellSystem?.(true);
    expect(readFileSync(path, 'utf8')).toBe('1');
    await port?.tellSystem?.(false);
    expect(readFileSync(path, 'utf8')).toBe('0');
  });

  test('of a root hub', () => {
    const { folders } = kernel();
    expect(connectorAt(at('hub:1-3'), folders)).toEqual([{ location: at('hub:1-3') }]);
  });

  test('that is not there', () => {
    const { folders } = kernel();
    expect(connectorAt(at('hub:1-1.3'), folders)).toEqual([]);
  });
});

/** As the kernel names the device that a file of the test's lies on. */
function deviceOf(path: string): string {
  const bits = BigInt(statSync(path).dev);
  return `${(bits >> 8n) & 0xfffn}:${(bits & 0xffn) | ((bits >> 12n) & 0xffffff00n)}`;
}

describe('what must keep its power', () => {
  test('nothing hangs below: nothing in the way', () => {
    const { folders, root } = kernel();
    const stays = { files: [join(root, 'case.img')], links: ['serial:/dev/ttyUSB0'] };
    expect(whyKeepPower(both, stays, folders)).toBeUndefined();
  });

  test.each(['usb1/1-1/1-1.4', 'usb2/2-1/2-1.4'])('the disk of the image, at %s', (place) => {
    const { folders, root, usb, file, link } = kernel();
    const disk = `${usb}/${place}/host7/block/sdz`;
    const device = deviceOf(root);
    file(`${disk}/sdz1/dev`, device);
    // The folder that the image will be written to; by number where the file system has no disk of its own.
    if (device.startsWith('0:')) {
      file('proc/self/mountinfo', `1 0 8:250 / / rw - ext4 /dev/sdz1 rw\n`);
      link('sys/dev/block/8:250', `${disk}/sdz1`);
      expect(whyKeepPower(both, nothing, folders)).toMatch(/mounted at \/ lies on/);
      return;
    }
    link(`sys/dev/block/${device}`, `${disk}/sdz1`);
    const image = join(root, 'case.img');
    expect(whyKeepPower(both, { files: [image], links: [] }, folders)).toBe(
      `${image} lies on a disk below that port`,
    );
    expect(whyKeepPower([at('hub:1-1.3')], { files: [image], links: [] }, folders)).toBeUndefined();
  });

  test('what is mounted from there, also through device-mapper on a partition', () => {
    const { folders, usb, file, link } = kernel();
    const partition = `${usb}/usb1/1-1/1-1.4/1-1.4:1.0/host7/block/sdz/sdz1`;
    file(`${partition}/dev`, '8:1\n');
    file('sys/devices/virtual/block/dm-0/dm/name', 'vault');
    link('sys/devices/virtual/block/dm-0/slaves/sdz1', partition);
    link('sys/dev/block/8:1', partition);
    link('sys/dev/block/253:0', 'sys/devices/virtual/block/dm-0');
    file('proc/self/mountinfo', '30 1 253:0 / /mnt/my\\040disk rw - ext4 /dev/mapper/vault rw\n');
    expect(whyKeepPower(both, nothing, folders)).toBe(
      'what is mounted at /mnt/my disk lies on a disk below that port',
    );
  });

  test('a loop device on a loop device ends', () => {
    const { folders, file, link } = kernel();
    file('sys/devices/virtual/block/loop0/loop/backing_file', '/nowhere/a.img\n');
    link('sys/devices/virtual/block/loop0/slaves/loop0', 'sys/devices/virtual/block/loop0');
    file('sys/devices/virtual/block/loop0/dev', '7:0');
    link('sys/dev/block/7:0', 'sys/devices/virtual/block/loop0');
    file('proc/self/mountinfo', '30 1 7:0 / /mnt rw - ext4 /dev/loop0 rw\n');
    expect(whyKeepPower(both, nothing, folders)).toBeUndefined();
  });

  test.each([
    'serial:/dev/ttyUSB7?baud=9600',
    'lcus:/dev/ttyUSB7:1',
    'usb:1209:0001',
    'hid:BITFT:1',
  ])('the imager or the board of relays: %s', (name) => {
    const { folders, usb, file, link } = kernel();
    file(`${usb}/usb1/1-1/1-1.4/1-1.4.1/1-1.4.1:1.0/ttyUSB7/dev`, '');
    link('sys/class/tty/ttyUSB7/device', `${usb}/usb1/1-1/1-1.4/1-1.4.1/1-1.4.1:1.0/ttyUSB7`);
    for (const [place, vendor, product] of [
      ['1-1.4.2', '1209', '0001'],
      ['1-1.4.3', '16c0', '05df'],
    ] as const) {
      file(`${usb}/usb1/1-1/1-1.4/${place}/idVendor`, `${vendor}\n`);
      file(`${usb}/usb1/1-1/1-1.4/${place}/idProduct`, `${product}\n`);
      link(`sys/bus/usb/devices/${place}`, `${usb}/usb1/1-1/1-1.4/${place}`);
    }
    const stays = { files: [], links: [name] };
    expect(whyKeepPower(both, stays, folders)).toBe(`${name} hangs below that port`);
    expect(whyKeepPower([at('hub:1-1')], stays, folders)).toBe(`${name} hangs below that port`);
    expect(whyKeepPower([at('hub:1-2')], stays, folders)).toBeUndefined();
  });
});
