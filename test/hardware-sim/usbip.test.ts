import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { defineScenario } from '../../hardware-sim/scenario.js';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import { openControl } from '../../hardware-sim/sim-control.js';
import { type DiskSimulator, serveUsbDisk } from '../../hardware-sim/simulator.js';
import { serveUsbip } from '../../hardware-sim/usbip.js';
import { realClock } from '../../src/clock.js';

const [inDirection, outDirection] = [1, 0];
const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function served(faults: ScenarioInput['faults'] = []) {
  let address = '';
  const scenario = defineScenario({ sectorCount: 100, faults, mechanics: { spinUpMs: 0 } });
  const simulator = await serveUsbDisk(scenario, realClock(100), async (disk) => {
    const server = await serveUsbip('127.0.0.1:0', disk);
    address = server.address;
    return server;
  });
  cleanups.push(() => simulator.close());
  await simulator.dock.power(true);
  return { simulator, address };
}

/** A host: sends bytes, and takes what comes in pieces of known length. */
async function hostOf(address: string) {
  const [host = '', port = ''] = address.split(':');
  const socket: Socket = connect(Number(port), host);
  cleanups.push(() => void socket.destroy());
  let held: Buffer = Buffer.alloc(0);
  let isClosed = false;
  let wake = () => {};
  socket.on('data', (bytes: Buffer) => {
    held = Buffer.concat([held, bytes]);
    wake();
  });
  socket.on('close', () => {
    isClosed = true;
    wake();
  });
  const take = async (length: number): Promise<Buffer | undefined> => {
    while (held.length < length) {
      if (isClosed) return undefined;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    const taken = held.subarray(0, length);
    held = held.subarray(length);
    return taken;
  };
  let id = 0;
  function submit(
    direction: number,
    endpoint: number,
    length: number,
    data: Buffer = Buffer.alloc(0),
    setup = '',
  ) {
    const header = Buffer.alloc(48);
    [1, ++id, 0x1_0002, direction, endpoint, 0, length].forEach((value, at) => {
      header.writeUInt32BE(value, 4 * at);
    });
    Buffer.from(setup, 'hex').copy(header, 40);
    socket.write(Buffer.concat([header, data]));
    return id;
  }
  async function answer() {
    const header = await take(48);
    if (!header) return undefined;
    const [command, of, , , , status, length] = Array.from({ length: 7 }, (_, at) =>
      header.readInt32BE(4 * at),
    );
    return { command, of, status, length };
  }
  async function attach(): Promise<Buffer | undefined> {
    const request = Buffer.alloc(40);
    request.writeUInt32BE(0x0111_8003, 0);
    request.write('1-1', 8);
    socket.write(request);
    const head = await take(8);
    return head?.readUInt32BE(4) === 0 ? take(312) : undefined;
  }
  return { socket, take, submit, answer, attach };
}

function cbw(cdb: readonly number[], wantedBytes: number): Buffer {
  const bytes = Buffer.alloc(31);
  bytes.write('USBC');
  bytes.writeUInt32LE(wantedBytes, 8);
  bytes.set([0x80, 0, cdb.length, ...cdb], 12);
  return bytes;
}

test('it lists its device, lends it, and answers as it does', async () => {
  const { address } = await served();
  const asking = await hostOf(address);
  asking.socket.write(Buffer.from('0111800500000000', 'hex'));
  const list = (await asking.take(12 + 312 + 4)) ?? Buffer.alloc(0);
  expect(list.readUInt32BE(8)).toBe(1);
  expect(list.toString('hex', 12 + 300, 12 + 304)).toBe('12090002');
  expect([...list.subarray(-4)]).toEqual([8, 6, 0x50, 0]);

  const host = await hostOf(address);
  expect((await host.attach())?.readUInt32BE(296)).toBe(3);
  host.submit(inDirection, 0, 18, undefined, '8006000100001200');
  expect(await host.answer()).toMatchObject({ command: 3, of: 1, status: 0, length: 18 });
  expect((await host.take(18))?.readUInt16LE(8)).toBe(0x1209);
  host.submit(outDirection, 1, 31, cbw([0x12, 0, 0, 0, 36, 0], 36));
  host.submit(inDirection, 1, 36);
  expect(await host.answer()).toMatchObject({ of: 2, status: 0, length: 31 });
  expect(await host.answer()).toMatchObject({ of: 3, length: 36 });
  expect((await host.take(36))?.toString('latin1', 8, 26)).toBe('LASTSPINUSB to ATA');
});

test('a stall is EPIPE, and what hangs can be taken back', async () => {
  const { address } = await served([{ kind: 'hang', lba: 5, until: 'power-cycle' }]);
  const host = await hostOf(address);
  await host.attach();
  host.submit(outDirection, 1, 31, Buffer.alloc(31));
  expect(await host.answer()).toMatchObject({ of: 1, status: -32 });
  host.submit(outDirection, 0, 0, undefined, '21ff000000000000');
  host.submit(outDirection, 0, 0, undefined, '0201000081000000');
  host.submit(outDirection, 0, 0, undefined, '0201000001000000');
  for (const of of [2, 3, 4]) expect(await host.answer()).toMatchObject({ of, status: 0 });
  host.submit(outDirection, 1, 31, cbw([0x28, 0, 0, 0, 0, 5, 0, 0, 1, 0], 512));
  expect(await host.answer()).toMatchObject({ of: 5, status: 0 });
  const hung = host.submit(inDirection, 1, 512);
  const unlink = Buffer.alloc(48);
  [2, 99, 0, 0, 0, hung].forEach((value, at) => {
    unlink.writeUInt32BE(value, 4 * at);
  });
  host.socket.write(unlink);
  expect(await host.answer()).toMatchObject({ command: 4, of: 99, status: -104 });
});

test('its power takes it from the host, and only one host has it', async () => {
  const { address, simulator } = await served();
  const host = await hostOf(address);
  await host.attach();
  expect(await (await hostOf(address)).attach()).toBeUndefined();
  await simulator.dock.power(false);
  expect(await host.take(1)).toBeUndefined();
  expect(await (await hostOf(address)).attach()).toBeUndefined();
  await simulator.dock.power(true);
  expect(await (await hostOf(address)).attach()).toBeDefined();
});

test('what is no USB/IP ends the connection, and nothing else', async () => {
  const { address } = await served();
  for (const garbage of ['47455420 2f204854 5450', '0111800100000000', '00000000 00000000']) {
    const host = await hostOf(address);
    host.socket.write(Buffer.from(garbage.replaceAll(' ', ''), 'hex'));
    expect(await host.take(1)).toBeUndefined();
  }
  const host = await hostOf(address);
  await host.attach();
  host.submit(outDirection, 1, 0xffff_ffff);
  expect(await host.take(1)).toBeUndefined();
  expect(await (await hostOf(address)).attach()).toBeDefined();
});

test('the control socket does what it is told, in order', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'lastspin-control-'));
  cleanups.push(() => rmSync(folder, { recursive: true }));
  const { simulator } = await served();
  const powers = (sim: DiskSimulator) => sim.drive.counters.powerOns;
  const path = join(folder, 'control');
  const control = await openControl(path, {
    'power on': () => simulator.dock.power(true),
    'power off': () => simulator.dock.power(false),
    fail: () => {
      throw new Error('it burns');
    },
  });
  const socket = connect(path);
  let said = '';
  socket.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  socket.write('power off\npower on\nfail\nsing\n');
  while (said.split('\n').length < 5) await realClock().sleep(5);
  expect(said.split('\n')).toEqual([
    'ok',
    'ok',
    'error: it burns',
    "error: 'sing' is none of power on, power off, fail",
    '',
  ]);
  expect(powers(simulator)).toBe(2);
  socket.destroy();
  await control.close();
});
