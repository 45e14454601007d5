import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { patternSector } from '../../hardware-sim/media.js';
import { loadScenario } from '../../hardware-sim/scenario.js';
import { type DiskSimulator, serveUsbDisk } from '../../hardware-sim/simulator.js';
import { openUsbredir } from '../../hardware-sim/usbredir.js';
import { realClock } from '../../src/clock.js';
import { parseMapFile, sectorMapOf } from '../../src/map/mapfile.js';
import { statuses } from '../../src/map/status.js';
import { bootVm, type GuestCommand, needsVm, type Vm } from './vm.js';

const clock = realClock();
const root = join(import.meta.dirname, '../..');
const node = `'${process.execPath}'`;
const lastspin = `${node} '${join(root, 'bin/lastspin.js')}'`;
const [sectorCount, sectorBytes, seed] = [8192, 512, 9];
const bad = { lba: 1500, count: 3 };
const isBad = (lba: number) => lba >= bad.lba && lba < bad.lba + bad.count;
/** In life's own time, but soon up to speed. */
const healthy = { seed, sectorCount, mechanics: { spinUpMs: 500 } };
const failing = {
  ...healthy,
  faults: [
    { kind: 'bad', ...bad, errorMs: 100 },
    { kind: 'slow', lba: 2500, count: 64, extraMs: 30 },
    { kind: 'hang', lba: 3500, until: 'hard-reset', times: 1 },
    { kind: 'hang', lba: 5000, until: 'power-cycle', times: 1 },
  ],
};
/** One rung below the power cycle: each costs a deadline of eight seconds. */
const preset = {
  title: 'quick rungs',
  defaults: { resets: ['hard'], onHang: 'retry' },
  rows: ['copy', 'trim', 'scrape'].map((phase) => ({ name: phase, phase })),
};
const quick = '--kind ssd --preset /vm/preset.yaml --retries 0';
/** A relay on the host, which the guest asks for through the folder that both see. */
const relay =
  "'exec:echo {action} > /vm/relay.draft; mv /vm/relay.draft /vm/relay; while [ -e /vm/relay ]; do sleep 0.05; done'";

let vm: Vm;
let simulator: DiskSimulator;
let server: GuestCommand;
let isOver = false;

async function setUp(): Promise<void> {
  vm = await bootVm(['disk']);
  for (const module of ['sd_mod', 'sg', 'usb-storage', 'vhci-hcd']) await vm.load(module);
  const write = (name: string, content: unknown) =>
    writeFileSync(join(vm.folder, name), JSON.stringify(content));
  write('failing.yaml', failing);
  write('healthy.yaml', healthy);
  write('preset.yaml', preset);
  simulator = await serveUsbDisk(loadScenario(join(vm.folder, 'failing.yaml')), clock, (disk) =>
    openUsbredir(vm.socketOf('disk'), disk, clock),
  );
  await simulator.dock.power(true);
  await vm.run('/bin/busybox ip link set lo up');
  // A program takes seconds to start there: it does so while the first job waits for its drive.
  server = vm.start(`exec ${lastspin} sim /vm/healthy.yaml --as disk --usbip 127.0.0.1:3240`);
  void serveRelay();
  await untilDisk();
}

async function serveRelay(): Promise<void> {
  const path = join(vm.folder, 'relay');
  while (!isOver) {
    await clock.sleep(50);
    if (!existsSync(path)) continue;
    await simulator.dock.power(readFileSync(path, 'utf8').trim() === 'on');
    rmSync(path);
  }
}

/** The kernel's driver has it, under its first name or, after a replug, another. */
const untilDisk = () =>
  vm.run('for n in $(seq 300); do ls /dev/sd? 2>/dev/null && exit 0; sleep 0.1; done; exit 1');

/** Pulls the plug once when this is read, and puts it back. The kernel looks at both ends of a disk. */
function pullAt(lba: number): void {
  const { drive, dock } = simulator;
  const { read } = drive;
  drive.read = (request, nowMs) => {
    if (request.lba <= lba && lba < request.lba + request.count) {
      drive.read = read;
      dock.pull();
      clock.after(1500, () => void dock.plugIn());
    }
    return read(request, nowMs);
  };
}

/** Images `spec` in the guest. The image holds what the drive does, and the map says what it does not. */
async function image(
  spec: string,
  name: string,
  { isLost = isBad, more = '' }: { isLost?: (lba: number) => boolean; more?: string } = {},
): Promise<string> {
  const job = vm.start(`${lastspin} image ${spec} /vm/${name}.img --json ${more}`);
  expect(await job.ended, job.output()).toBe(0);
  const held = readFileSync(join(vm.folder, `${name}.img`));
  const mapPath = join(vm.folder, `${name}.map`);
  const map = sectorMapOf(
    parseMapFile(readFileSync(mapPath), mapPath),
    { sectorBytes, sectorCount },
    mapPath,
  );
  const wrong: number[] = [];
  for (let lba = 0; lba < sectorCount; lba++) {
    const sector = held.subarray(lba * sectorBytes, (lba + 1) * sectorBytes);
    const isRight = isLost(lba)
      ? map.valueAt(lba) === statuses['bad-sector']
      : map.valueAt(lba) === statuses.finished &&
        Buffer.compare(sector, patternSector(seed, lba, sectorBytes)) === 0;
    if (!isRight) wrong.push(lba);
  }
  expect(wrong, job.output()).toEqual([]);
  return job.output();
}

describe.skipIf(needsVm())('a failing drive behind a USB adapter, on a real USB stack', () => {
  beforeAll(setUp);
  afterAll(async () => {
    isOver = true;
    await simulator?.close();
    await vm?.stop();
  });

  test('usb-bot: medium errors, hangs, a power cycle and an unplug; then the kernel has it back', async () => {
    pullAt(6656);
    const { drive, disk } = simulator;
    const output = await image('usb-bot:1209:0002', 'bot', {
      more: `${quick} --power ${relay}`,
    });
    expect(output).toContain('hard reset');
    expect(output).toContain('left the bus at LBA 6656');
    expect(output).not.toContain('unexplained error');
    expect(drive.counters.powerOns).toBe(2);
    expect(disk.counters.portResets).toBeGreaterThan(0);
    await untilDisk();
  });

  test('the kernel’s own driver reads it, and nothing was ever written', async () => {
    const name = (await untilDisk()).trim();
    // A name that somebody holds is not given out again: it comes back as another.
    await vm.run(`sleep 600 < ${name} & echo $! > /run/holder`);
    pullAt(4096);
    const output = await image(`file:${name}`, 'kernel', { more: `${quick} --os-may-touch` });
    expect(output).toContain('plug it in again');
    expect((await untilDisk()).trim()).not.toBe(name);
    await vm.run('kill $(cat /run/holder)');
    const generic = (await vm.run('ls /dev/sg?')).trim();
    if (existsSync(join(root, 'src/drive/sg/path.ts')))
      await image(`sg:${generic}`, 'generic', { more: `${quick} --os-may-touch` });
    expect(simulator.disk.counters.writesRefused).toBe(0);
  });

  test('over USB/IP, from the command line', async () => {
    while (!server.output().includes('usb-bot:')) await clock.sleep(100);
    simulator.dock.pull();
    await vm.run(`${node} '${join(import.meta.dirname, 'usbip-attach.mjs')}' 127.0.0.1 3240`);
    await untilDisk();
    await image('usb-bot:1209:0002', 'usbip', { isLost: () => false, more: quick });
  });
});
