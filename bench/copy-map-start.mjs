// What is measured by the clock of the machine: copying, the sector map, the start of the command line.
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadMap } from '../dist/src/cli/map-files.js';
import { sectorMapOf } from '../dist/src/map/mapfile.js';
import { createRunMap } from '../dist/src/map/run-map.js';
import {
  has,
  head,
  largeRuns,
  lastspin,
  median,
  row,
  run,
  seconds,
  sum,
  workFolder,
  writeLargeMap,
} from './tools.mjs';

/** Wall time and CPU time in s of one command with all its processes, as the kernel counts them. */
function measured(command, args) {
  const { status, stderr } = run('/usr/bin/time', ['-f', '\nmeasured %e %U %S', command, ...args]);
  const [, wall, user, system] = /measured (\S+) (\S+) (\S+)\s*$/.exec(stderr) ?? [];
  if (status !== 0) throw new Error(`${command} ended with ${status}: ${stderr.slice(-200)}`);
  return { wall: Number(wall), cpu: Number(user) + Number(system) };
}

/** Memory in MiB of a process and all below it, pages that several share counted once (Linux, Pss). */
function memoryOf(pid) {
  try {
    const kib = /^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1];
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    const below = children === '' ? [] : children.split(' ').map(memoryOf);
    return Number(kib) / 1024 + sum(below);
  } catch {
    return 0; // It ended just now.
  }
}

/** The most that a command and its processes held at once, looked at every 50 ms. */
async function peakOf(command, args) {
  const child = spawn(command, args, { stdio: 'ignore' });
  let peak = 0;
  const timer = setInterval(() => {
    peak = Math.max(peak, memoryOf(child.pid));
  }, 50);
  await new Promise((resolve) => child.once('exit', resolve));
  clearInterval(timer);
  return peak;
}

/** copy [PAIRS=9]: a healthy file-to-file copy, map and final sync included, warm cache: each way of ours beside
 * ddrescue in pairs. */
export async function copy(pairs = '9') {
  for (const [tool, where] of [
    ['ddrescue', 'gddrescue'],
    ['/usr/bin/time', 'time'],
  ])
    if (!has(tool))
      return console.log(`copy: skipped, ${tool} is not installed (apt-get install ${where})`);
  const work = workFolder();
  const source = join(work, 'source.bin');
  run('sh', [
    '-c',
    `head -c 2147483648 /dev/urandom > '${source}'; sync; cat '${source}' > /dev/null`,
  ]);
  const [image, map] = [join(work, 'copy.img'), join(work, 'copy.map')];
  const ours = [process.execPath, ...lastspin, 'image', source, image];
  const commands = {
    ddrescue: ['ddrescue', '-q', source, image, map],
    'ddrescue -d': ['ddrescue', '-d', '-q', source, image, map],
    'lastspin, hashes': ours,
    'lastspin --no-hash': [...ours, '--no-hash'],
  };
  const clear = () => {
    for (const suffix of ['img', 'map', 'journal', 'hashes.csv'])
      rmSync(join(work, `copy.${suffix}`), { force: true });
  };
  const runs = Object.fromEntries(Object.keys(commands).map((name) => [name, []]));
  for (let pair = 0; pair < Number(pairs); pair++) {
    for (const [name, [command, ...args]] of Object.entries(commands)) {
      clear();
      runs[name].push(measured(command, args));
    }
  }
  const peaks = {};
  for (const [name, [command, ...args]] of Object.entries(commands)) {
    clear();
    peaks[name] = await peakOf(command, args);
  }
  if (run('cmp', [source, image]).status !== 0)
    throw new Error('the image differs from its source');
  console.log(
    `\n2 GiB file to file, warm cache, ${pairs} interleaved runs each, map and final sync included.\n`,
  );
  head('tool', 'median s', 'least', 'most', 'CPU s', 'peak MiB', 'of ddrescue, by pairs');
  for (const [name, values] of Object.entries(runs)) {
    const walls = values.map(({ wall }) => wall);
    const ratios = walls.map((wall, pair) => wall / runs.ddrescue[pair].wall);
    row(
      name,
      ...[median(walls), Math.min(...walls), Math.max(...walls)].map((wall) => wall.toFixed(2)),
      median(values.map(({ cpu }) => cpu)).toFixed(2),
      Math.round(peaks[name]),
      `${median(ratios).toFixed(2)} (${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)})`,
    );
  }
}

const mapOptions = { sectorBytes: 512, sectorCount: largeRuns * 8 };

const rssMiB = () => process.resourceUsage().maxRSS / 1024;

/** In a process of its own: what loading a map takes above the bare process, at most and at the end. */
function loadLargeMap(path) {
  const bare = rssMiB();
  let map;
  const taken = seconds(() => {
    map = sectorMapOf(loadMap(path), mapOptions, path);
  });
  const most = rssMiB() - bare;
  global.gc();
  const left = process.memoryUsage.rss() / 2 ** 20 - bare;
  console.log(JSON.stringify({ taken, most, left, runs: map.runCount }));
}

/** map [REPEAT=5]: the sector map at scale. */
export function map(repeat = '5') {
  console.log('\nSector map.\n');
  head('what', 'result');
  const path = join(workFolder(), 'large.map');
  writeLargeMap(path);
  const own = fileURLToPath(import.meta.url);
  const loads = Array.from({ length: Number(repeat) }, () =>
    JSON.parse(run(process.execPath, ['--expose-gc', own, path]).stdout),
  );
  const middle = (key) => median(loads.map((load) => load[key]));
  const runs = '4 million runs';
  row(`load a map file of ${runs}, median of ${repeat}`, `${middle('taken').toFixed(2)} s`);
  row('memory above the bare process while it loads', `${Math.round(middle('most'))} MiB`);
  row('memory above the bare process afterwards', `${Math.round(middle('left'))} MiB`);
  if (has('ddrescuelog')) {
    const peer = Array.from({ length: Number(repeat) }, () =>
      seconds(() => run('ddrescuelog', ['-t', path])),
    );
    row('`ddrescuelog -t` on the same file', `${median(peer).toFixed(2)} s`);
  }
  row(
    'fill every `?` run of an alternating map of 1 million runs',
    `${Math.round(500_000 / fillSeconds()).toLocaleString('en')} marks a second`,
  );
}

function fillSeconds() {
  const alternating = createRunMap(8_000_000);
  for (let n = 0; n < 1_000_000; n += 2) alternating.set({ lba: n * 8, count: 8 }, 4);
  return seconds(() => {
    for (
      let at = alternating.next(0, 0, 8_000_000);
      at;
      at = alternating.next(at.lba, 0, 8_000_000)
    )
      alternating.set({ lba: at.lba, count: Math.min(8, at.count) }, 4);
  });
}

/** start: how long the command line takes to say something. */
export function start() {
  console.log('\nStart.\n');
  head('what', 'median of 9');
  const times = Array.from({ length: 9 }, () =>
    seconds(() => execFileSync(process.execPath, [...lastspin, '--help'])),
  );
  row('`lastspin --help`', `${Math.round(median(times) * 1000)} ms`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) loadLargeMap(process.argv[2]);
