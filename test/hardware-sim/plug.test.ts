/** Real ptys and sockets: few, and none of these asserts on time. */
import { existsSync, lstatSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { SerialPort } from 'serialport';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  commands,
  helloMagic,
  protocolVersion,
  responseBit,
} from '../../firmware-protocol/commands.js';
import { framedLink } from '../../firmware-protocol/link.js';
import { decodeHeader, encodeMessage } from '../../firmware-protocol/message.js';
import { plugIntoPty, plugIntoTcp } from '../../hardware-sim/plug.js';
import { defineScenario } from '../../hardware-sim/scenario.js';
import { serveSimulator } from '../../hardware-sim/simulator.js';
import { realClock } from '../../src/clock.js';

const hasKoffi = await import('koffi').then(
  () => process.platform !== 'win32',
  () => false,
);
const mayHavePty = hasKoffi || process.env.REQUIRE_TOOLS === '1';
if (!mayHavePty) console.warn('skipped: a pty needs the optional package koffi');

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'plug-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

const echo = (duplex: Duplex) => void duplex.on('data', (bytes) => duplex.write(bytes));

function openPort(path: string): Promise<SerialPort> {
  return new Promise((resolve, reject) => {
    const port = new SerialPort({ path, baudRate: 115_200 }, (error) =>
      error ? reject(error) : resolve(port),
    );
  });
}
const closePort = (port: SerialPort) => new Promise((resolve) => port.close(resolve));

/** Sends bytes and waits until as many have come back. */
function roundTrip(stream: Duplex, sent: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    let received = 0;
    stream.on('error', reject);
    stream.on('data', function take(bytes: Buffer) {
      pieces.push(bytes);
      received += bytes.length;
      if (received < sent.length) return;
      stream.off('data', take);
      resolve(Buffer.concat(pieces));
    });
    stream.write(sent);
  });
}

describe.runIf(mayHavePty)('a pty', () => {
  test('is a serial port of raw bytes that clients open, close and open again', async () => {
    const path = join(directory, 'port');
    const plug = await plugIntoPty(path, echo);
    const every = Buffer.from(Array.from({ length: 100_000 }, (_, index) => index & 0xff));
    for (let client = 0; client < 2; client++) {
      const port = await openPort(path);
      expect(Buffer.compare(await roundTrip(port, every), every)).toBe(0);
      await closePort(port);
    }
    await plug.close();
    expect(existsSync(path)).toBe(false);
  });

  test('a stream that breaks is replaced; the pty stays', async () => {
    const path = join(directory, 'port');
    let served = 0;
    const plug = await plugIntoPty(path, (duplex) => {
      served++;
      duplex.on('data', (bytes: Buffer) => {
        if (bytes.includes(0x58)) duplex.destroy();
        else duplex.write(bytes);
      });
    });
    const port = await openPort(path);
    await roundTrip(port, Buffer.from('a'));
    port.write('X');
    // What is written while the stream changes may be lost, so it is asked until it answers.
    const asking = realClock();
    let answered = false;
    const answer = roundTrip(port, Buffer.from('b')).then(() => {
      answered = true;
    });
    while (!answered) {
      await asking.sleep(20);
      port.write('b');
    }
    await answer;
    expect(served).toBe(2);
    await closePort(port);
    await plug.close();
  });

  test('takes the place of a link that points nowhere, but of nothing else', async () => {
    const stale = join(directory, 'stale');
    symlinkSync(join(directory, 'nowhere'), stale);
    const plug = await plugIntoPty(stale, echo);
    await expect(plugIntoPty(stale, echo)).rejects.toMatchObject({ code: 'FILE_FAILED' });
    await plug.close();
    const file = join(directory, 'file');
    writeFileSync(file, 'mine');
    await expect(plugIntoPty(file, echo)).rejects.toMatchObject({ code: 'FILE_FAILED' });
    expect(lstatSync(file).isFile()).toBe(true);
    await expect(plugIntoPty(join(directory, 'no', 'way'), echo)).rejects.toThrow(
      /cannot serve at .*way: the folder is missing/,
    );
  });
});

describe('TCP', () => {
  const open = (address: string): Promise<Socket> =>
    new Promise((resolve, reject) => {
      const socket = connect(Number(address.split(':').at(-1)), '127.0.0.1', () => resolve(socket));
      socket.on('error', reject);
    });

  test('listens on loopback, to any number of clients', async () => {
    const plug = await plugIntoTcp('0', echo);
    expect(plug.address).toMatch(/^127\.0\.0\.1:\d+$/);
    const first = await open(plug.address);
    expect((await roundTrip(first, Buffer.from('one'))).toString()).toBe('one');
    const second = await open(plug.address);
    expect((await roundTrip(second, Buffer.from('two'))).toString()).toBe('two');
    expect((await roundTrip(first, Buffer.from('three'))).toString()).toBe('three');
    const ended = [first, second].map(
      (end) => new Promise((resolve) => end.once('close', resolve)),
    );
    await plug.close();
    await Promise.all(ended);
  });

  test('an address that is none, and one that is taken', async () => {
    await expect(plugIntoTcp('here', echo)).rejects.toMatchObject({ code: 'USAGE' });
    await expect(plugIntoTcp('1.2.3.4:70000', echo)).rejects.toMatchObject({ code: 'USAGE' });
    const plug = await plugIntoTcp('127.0.0.1:0', echo);
    await expect(plugIntoTcp(plug.address, echo)).rejects.toMatchObject({
      code: 'FILE_FAILED',
      message: `cannot serve at ${plug.address}: another program listens there; give another port, or 0 for any`,
    });
    await expect(plugIntoTcp('192.0.2.1:7117', echo)).rejects.toThrow(/has no such address; give/);
    await plug.close();
  });

  test('a simulator answers HELLO, and keeps its state from client to client', async () => {
    const simulator = await serveSimulator(
      defineScenario({ sectorCount: 64, mechanics: { spinUpMs: 0 } }),
      realClock(1000),
      (serve) => plugIntoTcp('0', serve),
      { bootId: 77 },
    );
    const states: string[] = [];
    for (let client = 0; client < 2; client++) {
      const link = framedLink(await open(simulator.address));
      const welcome = await new Promise<{ bootId: number; firmware: string }>((resolve) => {
        // Events of the drive may follow.
        link.onMessage((message) => {
          if (decodeHeader(message).code === (commands.hello.code | responseBit))
            resolve(helloOf(message));
        });
        link.send(
          encodeMessage(commands.hello.code, 1, commands.hello.request, {
            magic: helloMagic,
            ...protocolVersion,
            frameBytesMax: 32_768,
            session: 9,
          }),
        );
      });
      expect(welcome).toMatchObject({ bootId: 77, firmware: 'lastspin-sim 1.0' });
      states.push(simulator.imager.status().powerState);
      await simulator.imager.power('on', 0, false);
      link.close();
    }
    expect(states[0]).toBe('off');
    expect(states[1]).not.toBe('off');
    await simulator.close();
  });
});

function helloOf(message: Uint8Array) {
  const { body } = decodeHeader(message);
  body.offset += 1; // the reply code: ok
  return commands.hello.response.read(body);
}
