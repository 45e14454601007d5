import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { expect, test } from 'vitest';
import {
  commands,
  helloMagic,
  protocolVersion,
  responseBit,
} from '../../firmware-protocol/commands.js';
import { framedLink } from '../../firmware-protocol/link.js';
import { encodeMessage } from '../../firmware-protocol/message.js';
import { createRandom } from '../../hardware-sim/random.js';
import { needsTool } from '../tools.js';
import { mainPath, run, start, startTool, temporaryFolder } from './cli.js';

function makeDisk(folder: string): { disk: string; contents: Buffer } {
  const random = createRandom(4);
  const contents = Buffer.alloc(3 << 20);
  // Half of it is zeros: they travel as fills.
  for (let at = 0; at < contents.length / 2; at++) contents[at] = Math.floor(random.next() * 256);
  const disk = join(folder, 'disk.bin');
  writeFileSync(disk, contents);
  return { disk, contents };
}

test.concurrent('a drive of one computer is imaged by another over TCP: one runs the agent', async () => {
  const folder = temporaryFolder();
  const { disk, contents } = makeDisk(folder);
  const agent = start(['agent', disk, '--port', 'tcp:0']);
  const [, address] = await agent.saw(/serving on (tcp:\S+)/);
  const image = join(folder, 'case.img');
  const finished = await run(['image', address!, image, '--json', '--kind', 'hdd']);
  expect(finished.status, finished.stderr).toBe(0);
  expect(readFileSync(image).equals(contents)).toBe(true);
  agent.process.kill('SIGINT');
  expect((await agent.finished).status).toBe(0);
});

const withoutSocat = needsTool('socat');
test.skipIf(withoutSocat)(
  'the agent on a serial device serves one laptop after the other',
  async () => {
    const folder = temporaryFolder();
    const { disk, contents } = makeDisk(folder);
    const [board, laptop] = [join(folder, 'ttyGS0'), join(folder, 'ttyACM0')];
    const ends = [board, laptop].map((path) => `pty,raw,echo=0,link=${path}`);
    startTool('socat', ends);
    const agent = start(['agent', disk, '--port', board, '--baud', '3000000']);
    await agent.saw(/serving on serial:/);
    const image = join(folder, 'case.img');
    const part = await run(['image', `serial:${laptop}`, image, '--range', '0-999']);
    expect(part.status, part.stderr).toBe(0);
    const rest = await run(['image', `serial:${laptop}`, image, '--range', '0-6143']);
    expect(rest.status, rest.stderr).toBe(0);
    expect(readFileSync(image).equals(contents)).toBe(true);
    agent.process.kill('SIGTERM');
    expect((await agent.finished).status).toBe(0);
  },
);

test.concurrent('what an agent cannot serve, or serve on, is one line', async () => {
  const folder = temporaryFolder();
  const { disk } = makeDisk(folder);
  for (const [words, message] of [
    [[join(folder, 'none'), '--port', 'tcp:0'], /none/],
    [[disk, '--port', join(folder, 'no-port')], /cannot open .*no-port: there is no such port/],
    [[disk, '--port', 'tcp:0', '--power', 'exec:true'], /exec:COMMAND with \{action\}/],
  ] as const) {
    const { status, stderr } = await run(['agent', ...words]);
    expect(status, stderr).toBeGreaterThan(0);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(stderr).toMatch(message);
  }
});

test.concurrent('an agent on standard input and output leaves no drive with power behind', async () => {
  const folder = temporaryFolder();
  const { disk } = makeDisk(folder);
  const log = join(folder, 'power.log');
  const command = `exec:echo {action} >> ${log}`;
  const words = ['agent', disk, '--port', '-', '--power', command, '--discharge', '0'];
  const agent = spawn(process.execPath, [mainPath, ...words], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const ended = new Promise((resolve) => agent.once('exit', resolve));
  const link = framedLink(Duplex.from({ readable: agent.stdout, writable: agent.stdin }));
  const identified = new Promise<void>((resolve) => {
    link.onMessage((message) => {
      if (message[0] === (commands.identify.code | responseBit)) resolve();
    });
  });
  const hello = { ...protocolVersion, magic: helloMagic, frameBytesMax: 1024, session: 7 };
  const stages = { stopReadsMs: 0, unloadMs: 0, standbyMs: 0, offMs: 300 };
  link.send(encodeMessage(commands.hello.code, 1, commands.hello.request, hello));
  link.send(encodeMessage(commands.watchdog.code, 2, commands.watchdog.request, stages));
  link.send(encodeMessage(commands.identify.code, 3, commands.identify.request, {}));
  await identified;
  link.close();
  expect(await ended).toBe(0);
  expect(readFileSync(log, 'utf8')).toBe('off\n');
});
