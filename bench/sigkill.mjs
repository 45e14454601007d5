// The real thing: the built command line, killed without warning at random instants while it images a failing drive,
// and GNU ddrescue killed the same way.
import { spawn } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  existsSync,
  ftruncateSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { createRandom } from '../dist/hardware-sim/random.js';
import { nodeFiles } from '../dist/src/image/node-files.js';
import { recallState } from '../dist/src/job/case-files.js';
import { parseMapFile } from '../dist/src/map/mapfile.js';
import { has, head, lastspin, median, row, run, workFolder, writeLargeMap } from './tools.mjs';

const sectorBytes = 512;
const driveBytes = 48 * 2 ** 20;
/** Of every read: about 12 MB/s, so that a job takes as long as several kills. */
const readDelayMs = 5;
/** Bytes from, bytes. */
const badAreas = [
  [5_000_192, 4096],
  [20_000_256, 65_536],
  [40_000_000, 512],
];
const codes = { finished: 4 };
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A file that fails in places and takes its time, served by a process that outlives the imager: its log says what
 * was read and how long that took (nbdkit's filters, mounted by nbdfuse). */
async function mountDrive(folder) {
  const [contents, damage, log, mount] = ['contents.bin', 'damage.map', 'reads.log', 'drive'].map(
    (name) => join(folder, name),
  );
  run('sh', ['-c', `head -c ${driveBytes} /dev/urandom > '${contents}'`]);
  let at = 0;
  const lines = ['0x0 + 1'];
  for (const [from, bytes] of [...badAreas, [driveBytes, 0]]) {
    lines.push(`${at} ${from - at} +`);
    if (bytes > 0) lines.push(`${from} ${bytes} -`);
    at = from + bytes;
  }
  writeFileSync(damage, `${lines.join('\n')}\n`);
  writeFileSync(mount, '');
  const filters = ['log', 'delay', 'ddrescue'].map((name) => `--filter=${name}`);
  const values = [`ddrescue-mapfile=${damage}`, `rdelay=${readDelayMs}ms`, `logfile=${log}`];
  const server = spawn(
    'nbdfuse',
    [mount, '--command', 'nbdkit', '-s', ...filters, 'file', contents, ...values],
    { stdio: 'ignore' },
  );
  for (let tries = 0; statSync(mount).size === 0; tries++) {
    if (tries > 100) throw new Error('the failing drive could not be mounted (nbdfuse)');
    await pause(50);
  }
  const stop = () => {
    run('fusermount3', ['-u', '-z', mount]);
    server.kill('SIGTERM');
  };
  return { contents: readFileSync(contents), log, mount, stop };
}

/** Reads in a log of nbdkit's from a byte of it on: where, how long, whether well. */
function readsIn(log, fromByte) {
  const text = readFileSync(log).subarray(fromByte).toString('latin1');
  const open = new Map();
  const reads = [];
  for (const line of text.split('\n')) {
    const begun = /^\S+ (\S+) .* Read id=(\d+) offset=(0x\w+) count=(0x\w+)/.exec(line);
    const ended = /^\S+ (\S+) .*\.\.\.Read id=(\d+) return=(-?\d+)/.exec(line);
    if (begun)
      open.set(begun[2], {
        at: secondsOf(begun[1]),
        from: Number(begun[3]),
        bytes: Number(begun[4]),
      });
    const read = ended && open.get(ended[2]);
    if (read)
      reads.push({ ...read, seconds: secondsOf(ended[1]) - read.at, good: ended[3] === '0' });
  }
  return reads;
}

const secondsOf = (time) => time.split(':').reduce((sum, part) => sum * 60 + Number(part), 0);

/** Drive time, in ms, of reads of which every byte had come before: what is read to see whether the drive is well is
 * one sector, and does not count. Adds what came now. */
function repeatedMs(delivered, reads) {
  let taken = 0;
  for (const { from, bytes, good, seconds } of reads) {
    if (!good) continue;
    const sectors = delivered.subarray(from / sectorBytes, (from + bytes) / sectorBytes);
    if (bytes > sectorBytes && sectors.every((known) => known === 1)) taken += seconds * 1000;
    sectors.fill(1);
  }
  return taken;
}

/** Starts a command, kills it after so long, and resolves to whether it had ended by itself. */
async function killAfter(command, args, delayMs) {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (text) => {
    said += text;
  });
  const ended = new Promise((resolve) => child.once('close', (status) => resolve(status)));
  const timer = setTimeout(() => child.kill('SIGKILL'), delayMs);
  const status = await ended;
  clearTimeout(timer);
  if (status !== null && status !== 0)
    throw new Error(`${command} ended with ${status}: ${said.slice(-300)}`);
  return status === 0;
}

/** Finished bytes that the image does not hold as the drive does. */
function falseBytes(map, image, contents) {
  let wrong = 0;
  map.forEachRun((lba, count, value) => {
    if (value !== codes.finished) return;
    const [from, to] = [lba * sectorBytes, (lba + count) * sectorBytes];
    if (image.subarray(from, to).equals(contents.subarray(from, to))) return;
    for (let at = from; at < to; at++) if (image[at] !== contents[at]) wrong += 1;
  });
  return wrong;
}

/** The kills of one tool on one drive. `finishedMap` tells what it would claim on resume. */
async function killed(tool, drive, folder, kills, random) {
  const file = (suffix) => join(folder, `${tool.name}.${suffix}`);
  const clear = () => {
    for (const suffix of [
      'img',
      'map',
      'map.bak',
      'journal',
      'hashes.csv',
      'events.ndjson',
      'lock',
    ])
      rmSync(file(suffix), { force: true });
  };
  const counts = { kills: 0, jobs: 0, torn: 0, wrong: 0, repeated: [] };
  let delivered = new Uint8Array(driveBytes / sectorBytes);
  let isResumed = false;
  clear();
  while (counts.kills < kills) {
    const from = statSync(drive.log).size;
    const [command, ...args] = tool.command(drive.mount, file);
    const hasEnded = await killAfter(command, args, tool.startMs + random.next() * 2500);
    // Requests that were under way come back.
    await pause(30);
    if (!hasEnded) counts.kills += 1;
    const reads = readsIn(drive.log, from);
    const taken = repeatedMs(delivered, reads);
    if (existsSync(file('map'))) {
      if (run('ddrescuelog', ['-t', file('map')]).status !== 0) counts.torn += 1;
      else counts.wrong += await tool.wrongBytes(file, drive.contents);
    }
    // One that was killed before it read repeated nothing, and says nothing.
    if (isResumed && reads.length > 0) counts.repeated.push(taken);
    isResumed = !hasEnded;
    if (!hasEnded && !isTorn(file('map'))) continue;
    counts.jobs += 1;
    isResumed = false;
    clear();
    delivered = new Uint8Array(driveBytes / sectorBytes);
  }
  return counts;
}

const isTorn = (map) => existsSync(map) && run('ddrescuelog', ['-t', map]).status !== 0;

const ours = {
  name: 'lastspin',
  startMs: 300,
  command: (drive, file) => [
    process.execPath,
    ...lastspin,
    ...['image', drive, file('img'), '--preset', 'standard', '--retries', '0'],
  ],
  async wrongBytes(file, contents) {
    const recalled = await recallState(nodeFiles(), file('map'));
    if (!recalled || !existsSync(file('img'))) return 0;
    return falseBytes(recalled.state.plan.map, readFileSync(file('img')), contents);
  },
};

const peer = {
  name: 'ddrescue',
  startMs: 0,
  command: (drive, file) => [
    ...['ddrescue', '-q', '-d', '-r0', '--mapfile-interval=1', drive],
    ...[file('img'), file('map')],
  ],
  async wrongBytes(file, contents) {
    const { starts, codes: found, end } = parseMapFile(readFileSync(file('map')), 'map');
    const forEachRun = (take) =>
      starts.forEach((from, i) => {
        const to = starts[i + 1] ?? end;
        take(from / sectorBytes, (to - from) / sectorBytes, found[i]);
      });
    return falseBytes({ forEachRun }, readFileSync(file('img')), contents);
  },
};

/** Kills with a map of four million runs, in which a save takes seconds. */
async function killedLarge(tool, folder, kills, random) {
  const file = (suffix) => join(folder, `${tool.name}-large.${suffix}`);
  const [source, given] = [join(folder, 'large.bin'), join(folder, 'given.map')];
  if (!existsSync(source)) {
    const sizeBytes = writeLargeMap(given);
    const descriptor = openSync(source, 'w');
    ftruncateSync(descriptor, sizeBytes);
    // Not all zeros, or it would be no drive to anyone.
    writeSync(descriptor, Buffer.alloc(4096, 7), 0, 4096, 4096);
    closeSync(descriptor);
  }
  let torn = 0;
  for (let kill = 0; kill < kills; kill++) {
    for (const suffix of ['img', 'map', 'map.bak', 'journal', 'hashes.csv', 'lock'])
      rmSync(file(suffix), { force: true });
    copyFileSync(given, file('map'));
    const image = openSync(file('img'), 'w');
    ftruncateSync(image, statSync(source).size);
    closeSync(image);
    const [command, ...args] = tool.large(source, file);
    await killAfter(command, args, 3000 + random.next() * 9000);
    if (isTorn(file('map'))) torn += 1;
  }
  for (const suffix of ['img', 'map', 'map.bak']) rmSync(file(suffix), { force: true });
  return torn;
}

ours.large = (source, file) => [
  ...[process.execPath, ...lastspin, 'image', source, file('img')],
  ...['--force', '--sparse', '--no-hash'],
];
peer.large = (source, file) => [
  ...['ddrescue', '-q', '-S', '--mapfile-interval=1', source, file('img'), file('map')],
];

/** sigkill [KILLS=200] [LARGE=10] [SEED=1]: both tools killed at random instants (seeded), on a drive that fails, and with a
 * map of four million runs. */
export async function sigkill(kills = '200', large = '10', seed = '1') {
  for (const [tool, where] of [
    ['ddrescue', 'gddrescue'],
    ['nbdkit', 'nbdkit'],
    ['nbdfuse', 'libnbd-bin'],
  ])
    if (!has(tool))
      return console.log(`sigkill: skipped, ${tool} is not installed (apt-get install ${where})`);
  const folder = workFolder();
  const drive = await mountDrive(folder);
  console.log(
    `\nA file of ${driveBytes / 2 ** 20} MiB with bad sectors, ${readDelayMs} ms a read; killed with SIGKILL at random instants.\n`,
  );
  head(
    'tool',
    'kills',
    'torn maps',
    'false bytes',
    'repeated, median ms',
    'most ms',
    'torn of large',
  );
  try {
    for (const tool of [ours, peer]) {
      const counts = await killed(tool, drive, folder, Number(kills), createRandom(Number(seed)));
      const torn = await killedLarge(tool, folder, Number(large), createRandom(Number(seed)));
      row(
        tool.name,
        counts.kills,
        counts.torn,
        counts.wrong,
        Math.round(median(counts.repeated)),
        Math.round(Math.max(...counts.repeated)),
        counts.repeated.filter((taken) => taken > 1000).length,
        `${torn} of ${large}`,
      );
    }
  } finally {
    drive.stop();
  }
}
