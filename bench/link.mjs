// What the link costs: payload over loopback TCP, over a pty beside raw serialport in the same run, decoding of
// hostile bytes, and worlds with a noisy line. npm run bench -- link [SECONDS [tcp|pty]]
import { spawn } from 'node:child_process';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SerialPort } from 'serialport';
import { createCaller } from '../dist/firmware-protocol/caller.js';
import { createFrameDecoder, encodeFrame, noDiscards } from '../dist/firmware-protocol/frame.js';
import { framedLink } from '../dist/firmware-protocol/link.js';
import { runLinkWorld } from '../dist/hardware-sim/link-world.js';
import { realClock } from '../dist/src/clock.js';
import { pollBothDirections, readOnTheSpot } from '../dist/src/drive/links/serial.js';
import { head, median, row, workFolder } from './tools.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const clock = realClock();
const sectorBytes = 512;

async function startServer(...words) {
  const child = spawn(process.execPath, [join(here, 'link-server.mjs'), ...words], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const address = await new Promise((resolve) =>
    child.stdout.once('data', (text) => resolve(String(text).trim())),
  );
  const gone = new Promise((resolve) => child.once('exit', resolve));
  return {
    address,
    cpuMs() {
      const answer = new Promise((resolve) => child.stdout.once('data', (text) => resolve(+text)));
      child.stdin.write('cpu\n');
      return answer;
    },
    async stop() {
      child.stdin.end();
      child.kill();
      await gone;
    },
  };
}

/** Payload of reads through a caller, in MB/s, and the CPU seconds of this end a second. */
async function readFor(server, duplex, seconds, countOfRead) {
  const link = framedLink(duplex, {
    name: 'bench',
    frameBytesMax: 65_536,
    close: closerOf(duplex),
  });
  const caller = await createCaller(link, clock, {
    session: 1 + process.pid,
    frameBytesMax: 65_536,
  });
  let bytes = 0;
  let lba = 0;
  const fromMs = performance.now();
  const cpuBefore = process.cpuUsage();
  const serverBefore = await server.cpuMs();
  const untilMs = fromMs + seconds * 1000;
  const one = async () => {
    while (performance.now() < untilMs) {
      lba += countOfRead;
      const { data } = await caller.read({
        sectorBytes,
        batch: 1,
        lba,
        count: countOfRead,
        timeoutMs: 10_000,
        slowMs: 0,
        stopOn: 0,
      });
      bytes += data.length;
    }
  };
  await Promise.all(Array.from({ length: 8 }, one));
  const ms = performance.now() - fromMs;
  const cpu = process.cpuUsage(cpuBefore);
  const imagerMs = (await server.cpuMs()) - serverBefore;
  caller.close();
  const kilobytes = bytes / 1000;
  const laptopMs = (cpu.user + cpu.system) / 1000;
  return { rate: kilobytes / ms, laptop: kilobytes / laptopMs, imager: kilobytes / imagerMs };
}

const closerOf = (duplex) =>
  duplex instanceof SerialPort ? () => duplex.close(() => {}) : undefined;

async function overTcp(contents, seconds, count) {
  const server = await startServer('tcp', '0', contents);
  const [host, port] = server.address.split(':');
  const socket = connect({ host, port: Number(port), noDelay: true });
  await new Promise((resolve) => socket.once('connect', resolve));
  const result = await readFor(server, socket, seconds, count);
  await server.stop();
  return result;
}

async function openPort(path, mend = () => {}) {
  const port = new SerialPort({
    path,
    baudRate: 3_000_000,
    autoOpen: false,
    highWaterMark: 65_536,
  });
  await new Promise((resolve, reject) => port.open((error) => (error ? reject(error) : resolve())));
  pollBothDirections(port.port);
  mend(port.port);
  return port;
}

async function rawOverPty(path, seconds) {
  const server = await startServer('pty', path, 'raw');
  const port = await openPort(path);
  let bytes = 0;
  port.on('data', (piece) => {
    bytes += piece.length;
  });
  const fromMs = performance.now();
  const cpuBefore = process.cpuUsage();
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  const ms = performance.now() - fromMs;
  const cpu = process.cpuUsage(cpuBefore);
  await new Promise((resolve) => port.close(resolve));
  await server.stop();
  return { rate: bytes / 1000 / ms, laptop: bytes / (cpu.user + cpu.system) };
}

async function framedOverPty(path, seconds, count) {
  const server = await startServer('pty', path, 'random');
  const port = await openPort(path, readOnTheSpot);
  const result = await readFor(server, port, seconds, count);
  await server.stop();
  return result;
}

const fixed = (value, digits = 0) => value.toFixed(digits);
function table(heads, rows) {
  console.log();
  head(...heads);
  for (const cells of rows) row(...cells);
}

async function tcpTable(seconds) {
  const rows = [];
  for (const [contents, count] of [
    ['random', 2048],
    ['random', 128],
    ['zeros', 2048],
    ['alternating', 2048],
  ]) {
    const runs = [];
    for (let run = 0; run < 5; run++) runs.push(await overTcp(contents, seconds, count));
    rows.push([
      contents,
      `${(count * sectorBytes) / 1024} KiB`,
      fixed(median(runs.map(({ rate }) => rate))),
      runs.map(({ rate }) => fixed(rate)).join(' '),
      fixed(median(runs.map(({ laptop }) => laptop))),
      fixed(median(runs.map(({ imager }) => imager))),
    ]);
  }
  table(['TCP, loopback', 'a read', 'MB/s', 'runs', 'a CPU second, laptop', 'imager'], rows);
}

/** Raw serialport and the link in turn, over the same kind of pty. */
async function ptyTable(seconds) {
  const folder = workFolder();
  const raw = [];
  const framed = [];
  for (let pair = 0; pair < 9; pair++) {
    raw.push(await rawOverPty(join(folder, `raw${pair}`), seconds));
    framed.push(await framedOverPty(join(folder, `imager${pair}`), seconds, 2048));
  }
  const ratesOf = (runs) => runs.map(({ rate }) => rate);
  const shares = framed.map(({ rate }, pair) => rate / raw[pair].rate);
  table(
    ['pty', 'MB/s', 'runs', 'a CPU second, laptop'],
    [
      ...[
        ['raw serialport', raw],
        ['imager', framed],
      ].map(([name, runs]) => [
        name,
        fixed(median(ratesOf(runs)), 1),
        ratesOf(runs)
          .map((rate) => fixed(rate, 1))
          .join(' '),
        fixed(median(runs.map(({ laptop }) => laptop)), 1),
      ]),
      [
        'share, by pairs',
        fixed(median(shares), 2),
        shares.map((share) => fixed(share, 2)).join(' '),
      ],
    ],
  );
}

/** Streams that a decoder might like least, at two lengths: time must grow as the length does. */
function decodeTable() {
  const frame = encodeFrame(new Uint8Array(60_000).fill(1));
  const kinds = {
    'one byte, no zero': (bytes) => new Uint8Array(bytes).fill(1),
    zeros: (bytes) => new Uint8Array(bytes),
    'zero every other byte': (bytes) => Uint8Array.from({ length: bytes }, (_, at) => at & 1),
    'runs of 254': (bytes) => Uint8Array.from({ length: bytes }, (_, at) => (at % 255 ? 1 : 255)),
    'good frames': (bytes) => {
      const copies = Math.ceil(bytes / frame.length);
      return Buffer.concat(Array.from({ length: copies }, () => frame)).subarray(0, bytes);
    },
  };
  const rows = Object.entries(kinds).flatMap(([name, make]) =>
    [1, 4096, 65_536].map((pieceBytes) => {
      const millions = pieceBytes === 1 ? 1 : 16;
      const times = [millions, 4 * millions].map((size) => decodeMs(make(size << 20), pieceBytes));
      const rate = ((4 * millions) << 20) / 1000 / times[1];
      return [name, pieceBytes, fixed(rate), fixed(times[1] / times[0], 2)];
    }),
  );
  table(['decoding', 'bytes a piece', 'MB/s', 'time of 4 × the input'], rows);
}

function decodeMs(stream, pieceBytes) {
  const runs = [1, 2, 3, 4, 5].map(() => {
    const decoder = createFrameDecoder({
      frameBytesMax: 65_536,
      onMessage() {},
      discarded: noDiscards(),
    });
    const fromMs = performance.now();
    for (let at = 0; at < stream.length; at += pieceBytes)
      decoder.push(stream.subarray(at, at + pieceBytes));
    return performance.now() - fromMs;
  });
  return Math.min(...runs);
}

async function worldsTable() {
  const sums = { reads: 0, wrongSectors: 0, falselyBad: 0, extraReads: 0, framesDiscarded: 0 };
  Object.assign(sums, { repetitions: 0, relinks: 0 });
  for (let seed = 1; seed <= 1000; seed++) {
    const world = await runLinkWorld(seed);
    for (const name of Object.keys(sums)) sums[name] += world[name];
  }
  table(Object.keys(sums), [Object.values(sums)]);
}

export async function link(seconds = '2', only = '') {
  if (only === 'tcp') return await tcpTable(Number(seconds));
  if (only === 'pty') return await ptyTable(Number(seconds));
  await tcpTable(Number(seconds));
  await ptyTable(Number(seconds) / 2);
  decodeTable();
  await worldsTable();
}
