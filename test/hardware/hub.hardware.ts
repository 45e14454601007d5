import { execFileSync } from 'node:child_process';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openUsbredir, type UsbredirPlug } from '../../hardware-sim/usbredir.js';
import { realClock } from '../../src/clock.js';
import { temporaryFolder } from '../cli/cli.js';
import { createBoard } from '../power/lcus-board.js';
import { needsTool } from '../tools.js';
import { createRelayDevice } from './relay-device.js';
import { bootVm, needsVm, type Vm } from './vm.js';

const clock = realClock();
const lastspin = `'${process.execPath}' '${join(import.meta.dirname, '../../bin/lastspin.js')}'`;
const diskBytes = 4 * 1024 * 1024;
/** In QEMU's words port 2.3 of the controller. */
const hub = ['-device', 'usb-hub,bus=xhci.0,port=2,port-power=on'];
const place = '1-2.3';

let vm: Vm;
let plug: UsbredirPlug;
let relayLine: Socket;
const relays = createRelayDevice('BITFT');
const board = createBoard({ answers: 'text' });

/** A disk behind the hub, with a file system on it, and two boards of relays. */
async function setUp(): Promise<void> {
  const disk = join(temporaryFolder(), 'disk.img');
  writeFileSync(disk, '');
  truncateSync(disk, diskBytes);
  execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', disk]);
  vm = await bootVm(
    ['relay'],
    [
      ...hub,
      ...['-drive', `if=none,id=disk,format=raw,file=${disk}`],
      ...['-device', 'usb-storage,bus=xhci.0,port=2.3,drive=disk,serial=HUBDISK'],
      ...['-chardev', 'socket,id=lcus,path=$FOLDER/lcus.sock,server=on,wait=off'],
      ...['-device', 'usb-serial,bus=xhci.0,port=3,chardev=lcus,always-plugged=on'],
    ],
  );
  for (const module of ['sd_mod', 'usb-storage', 'ext4', 'ftdi_sio', 'usbhid', 'hid-generic'])
    await vm.load(module);
  plug = await openUsbredir(vm.socketOf('relay'), relays.device, clock);
  await plug.plugIn();
  relayLine = connect(vm.socketOf('lcus'));
  relayLine.on('data', (bytes) => {
    const answer = board.take(bytes);
    if (answer) relayLine.write(answer);
  });
  await untilThere('/dev/sda');
}

async function untilThere(path: string): Promise<void> {
  await vm.run(`for i in $(seq 200); do [ -e ${path} ] && exit 0; sleep 0.05; done; exit 1`);
}

/** Number that the kernel gave the device when it came. */
const numberOf = async (usb: string) =>
  Number(await vm.run(`cat /sys/bus/usb/devices/${usb}/devnum`));

async function refused(command: string): Promise<string> {
  const started = vm.start(`${lastspin} ${command}`);
  expect(await started.ended, started.output()).toBe(2);
  return started.output();
}

describe.skipIf(needsVm() || needsTool('mke2fs'))('power switches on a real USB stack', () => {
  beforeAll(setUp);
  afterAll(async () => {
    plug?.close();
    relayLine?.destroy();
    await vm?.stop();
  });

  test('a port of a hub goes off, and the disk behind it; who may tell only the hub brings it back', async () => {
    const first = await numberOf(place);
    expect(await vm.run(`${lastspin} power hub:${place} off`)).toContain('switched off');
    // The system was told too: nothing is left of the disk.
    await vm.run('[ ! -e /dev/sda ]');
    await vm.run(
      `chmod 666 $(printf '/dev/bus/usb/001/%03d' $(cat /sys/bus/usb/devices/1-2/devnum))`,
    );
    const someone = 'setpriv --reuid=65534 --regid=65534 --clear-groups';
    const cycle = `${someone} ${lastspin} power hub:${place} cycle --off-time 500`;
    expect(await vm.run(cycle)).toMatch(/port reset, off for 500 ms/);
    await untilThere('/dev/sda');
    expect(await numberOf(place)).toBeGreaterThan(first);
  });

  test('a port that the image or something mounted hangs below is left alone', async () => {
    await vm.run('mkdir -p /run/case && mount -o ro /dev/sda /run/case');
    writeFileSync(join(vm.folder, 'source.bin'), Buffer.alloc(4096));
    // The whole hub would take the disk with it.
    const [image, hubOff] = await Promise.all([
      refused(`image /vm/source.bin /run/case/case.img --power hub:${place}`),
      refused('power hub:1-2 off'),
    ]);
    expect(image).toContain('/run/case/case.img lies on a disk below that port');
    expect(hubOff).toContain('what is mounted at /run/case lies on a disk below that port');
    await vm.run('umount /run/case');
  });

  test('a job on that disk cycles it, and calls it a port reset', async () => {
    const preset = [
      'title: cycled',
      'rows:',
      '  - { name: all, phase: copy, before: power-cycle }',
    ];
    writeFileSync(join(vm.folder, 'cycled.yaml'), `${preset.join('\n')}\n`);
    const links = '/dev/disk/by-id/*HUBDISK*';
    await untilThere(links);
    const disk = (await vm.run(`ls ${links}`)).trim();
    const words = `--power hub:${place} --preset /vm/cycled.yaml --kind flash --json --strict`;
    const job = vm.start(`${lastspin} image '${disk}' /vm/case.img ${words}`);
    expect(await job.ended, job.output()).toBe(0);
    expect(job.output()).toContain('port reset (until the drive counts more)');
    const result = JSON.parse(
      job
        .output()
        .split('\n')
        .findLast((line) => line.startsWith('{')) ?? '',
    );
    expect(result).toMatchObject({ powerCycles: 0, portResets: 1 });
    expect(readFileSync(join(vm.folder, 'case.img')).length).toBe(diskBytes);
  });

  test('relays: a HID board whose driver stays, and an LCUS board behind a serial chip', async () => {
    await untilThere('/dev/ttyUSB0');
    const hid = vm.start(`${lastspin} power hid:BITFT:2 cycle --off-time 100`);
    const lcus = vm.start(`${lastspin} power lcus:/dev/ttyUSB0:1,2 cycle --off-time 100`);
    expect(await hid.ended, hid.output()).toBe(0);
    expect(relays.masks).toEqual([0, 2]);
    expect(await vm.run('ls /sys/bus/usb/drivers/usbhid | grep -c :1.0')).toBe('1\n');
    expect(await lcus.ended, lcus.output()).toBe(0);
    expect(board.moves).toEqual(['2 0', '1 0', '1 1', '2 1']);
  });
});
