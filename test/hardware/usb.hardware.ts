import { readFileSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { framedLink } from '../../firmware-protocol/link.js';
import { loadScenario } from '../../hardware-sim/scenario.js';
import { type Simulator, serveSimulator } from '../../hardware-sim/simulator.js';
import { createUsbDevice, type UsbDevice, vendorEndpoint } from '../../hardware-sim/usb-device.js';
import { openUsbredir, type UsbredirPlug } from '../../hardware-sim/usbredir.js';
import { realClock } from '../../src/clock.js';
import { falseClaims } from '../cli/false-claims.js';
import { bootVm, needsVm, type Vm } from './vm.js';

const clock = realClock();
const sectorCount = 10_240;
/** An adapter from USB to serial, as boards have it, with the imager at its other end. */
const ftdi = 'usb-serial,id=ftdi,chardev=ftdi,bus=xhci.0,serial=FT1,always-plugged=on';
const lastspin = `'${process.execPath}' '${join(import.meta.dirname, '../../bin/lastspin.js')}'`;

let vm: Vm;
let scenario: string;
let simulator: Simulator;
let device: UsbDevice;
let plug: UsbredirPlug;
let line: Socket;

async function setUp(): Promise<void> {
  vm = await bootVm(
    ['imager'],
    ['-chardev', 'socket,id=ftdi,path=$FOLDER/ftdi.sock,server=on,wait=off', '-device', ftdi],
  );
  await vm.load('ftdi_sio');
  scenario = join(vm.folder, 'small.yaml');
  // In life's own time, so that no stage of the watchdog comes sooner; but soon up to speed.
  const mechanics = { spinUpMs: 500 };
  writeFileSync(scenario, JSON.stringify({ seed: 7, sectorCount, mechanics }));
  simulator = await serveSimulator(loadScenario(scenario), clock, async (serve) => {
    device = createUsbDevice(serve);
    return { address: '', close: async () => {} };
  });
  plug = await openUsbredir(vm.socketOf('imager'), device, clock);
  await plug.plugIn();
  line = connect(vm.socketOf('ftdi'));
  simulator.responder.attach(framedLink(line));
}

/** Lets `mishap` happen once, when this share of the drive was read. */
function whenRead(share: number, mishap: () => void): void {
  const { drive } = simulator;
  const read = drive.read;
  drive.read = (request, nowMs) => {
    if (request.lba > sectorCount * share) {
      drive.read = read;
      mishap();
    }
    return read(request, nowMs);
  };
}

/** Images `spec` in the guest; `mishaps` happen on the way. Nothing may be lost, and nothing read
 * twice: what the drive itself counted. */
async function image(spec: string, name: string): Promise<string> {
  const { sectorReads = new Uint16Array(sectorCount) } = simulator.drive.counters;
  const before = Uint16Array.from(sectorReads);
  const job = vm.start(`${lastspin} image ${spec} /vm/${name}.img --json --strict`);
  const status = await job.ended;
  expect(status, job.output()).toBe(0);
  expect(falseClaims(join(vm.folder, `${name}.img`), scenario)).toEqual([]);
  expect(readFileSync(join(vm.folder, `${name}.img`)).length).toBe(sectorCount * 512);
  const counts = [...sectorReads].map((count, lba) => count - (before[lba] ?? 0));
  expect(counts.filter((count) => count !== 1)).toEqual([]);
  return job.output();
}

async function pullAndPlugIn(): Promise<void> {
  plug.pull();
  await clock.sleep(1500);
  await plug.plugIn();
}

async function replugAdapter(): Promise<void> {
  await vm.monitor('device_del ftdi');
  await clock.sleep(1500);
  await vm.monitor(`device_add ${ftdi}`);
}

/** The pull comes as soon as the stall was mended, while most of the drive is still to be sent. */
async function stallAndPull(): Promise<void> {
  device.stall(vendorEndpoint | 0x80);
  while (device.haltsCleared === 0) await clock.sleep(1);
  await pullAndPlugIn();
}

describe.skipIf(needsVm())('an imager on a real USB stack', () => {
  beforeAll(setUp);
  afterAll(async () => {
    plug?.close();
    line?.destroy();
    await simulator?.close();
    await vm?.stop();
  });

  test('vendor bulk endpoints: a stall, and a pull in the middle', async () => {
    whenRead(0.2, () => void stallAndPull());
    const output = await image('usb:1209:0001', 'bulk');
    expect(device.haltsCleared).toBe(1);
    expect(output).toContain('went away: the device is gone; was it unplugged?');
    expect(output).toContain('the imager is back');
  });

  test('CDC-ACM: a port that comes back under another name', async () => {
    // As long as somebody holds the old node its name is taken.
    vm.start('exec sleep 600 < /dev/ttyACM0');
    whenRead(0.5, () => void pullAndPlugIn());
    const output = await image("'serial:/dev/ttyACM0?baud=3000000'", 'serial');
    expect(output).toContain('the imager is back');
    expect(await vm.run('ls /dev/ttyACM*')).toBe('/dev/ttyACM1\n');
  });

  test('an FTDI adapter that is pulled and pushed in again in the middle', async () => {
    whenRead(0.5, () => void replugAdapter());
    const output = await image("'serial:/dev/ttyUSB0?baud=3000000'", 'ftdi');
    expect(output).toContain('the imager is back');
  });

  test('what is not there, or not allowed, says why', async () => {
    const someone = 'setpriv --reuid=65534 --regid=65534 --clear-groups';
    const absent = vm.start(`${lastspin} image usb:1209:0002 /vm/none.img`);
    const refused = vm.start(`${someone} ${lastspin} image usb:1209:0001 /tmp/none.img`);
    expect([await absent.ended, await refused.ended]).toEqual([1, 1]);
    expect(absent.output()).toContain('1209:0002: there is none; is the imager plugged in?');
    expect(refused.output()).toContain('TAG+="uaccess"');
  });
});
