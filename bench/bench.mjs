// Measures side by side with GNU ddrescue, in one run: npm run bench [-- strategy|copy|map|start …]
// Prints Markdown tables for docs/benchmarks.md.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseMapFile, sectorMapOf } from '../dist/src/map/mapfile.js';
import { createRunMap } from '../dist/src/map/run-map.js';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const lastspin = [join(root, 'bin/lastspin.js')];
const oracle = join(root, '../shared/oracle-drive');
const work = mkdtempSync(join(tmpdir(), 'lastspin-bench-'));
process.on('exit', () => rmSync(work, { recursive: true, force: true }));

const has = (tool) => spawnSync('sh', ['-c', `command -v ${tool}`]).status === 0;
const run = (command, args, options = {}) =>
  spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 26, ...options });
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const seconds = (body) => {
  const from = performance.now();
  body();
  return (performance.now() - from) / 1000;
};
const row = (...cells) => console.log(`| ${cells.join(' | ')} |`);
const head = (...cells) => {
  row(...cells);
  row(...cells.map(() => '--'));
};

/** Model time and failing reads on the oracle drive, which counts both by itself. */
function strategy(scale = '50', ...names) {
  if (!existsSync(oracle) || !has('nbdkit') || !has('ddrescue'))
    return console.log(
      'strategy: skipped, it needs ../shared/oracle-drive, nbdkit, nbdfuse and ddrescue',
    );
  const all =
    names.length > 0
      ? names
      : [
          'p0-healthy',
          'p1-weakhead',
          'p2-scratch',
          'p3-scattered',
          'p4-slow',
          'p5-flaky',
          'p6-hang',
          'p7-512n',
        ];
  console.log(
    `\nOracle drive, ${scale} times faster than life; model seconds and failing reads by the drive's own count; ddrescue -d -b PHYSICAL.\n`,
  );
  head(
    'scenario',
    'tool',
    'delivered',
    'wrong',
    'failing reads',
    'model s',
    'until 50 %',
    'until 99 %',
    'failing until 99 %',
    'power cycles',
  );
  for (const name of all) {
    const scenario = join(oracle, 'scenarios', `${name}.scn`);
    const physical = 512 * Number(/^physical (\d+)/m.exec(readFileSync(scenario, 'utf8'))[1]);
    for (const tool of ['ddrescue', 'lastspin']) {
      const folder = join(work, `${name}-${tool}`);
      run(join(oracle, 'run-drive.sh'), [scenario, folder, scale]);
      const [source, image, map] = ['source', 'out.img', 'out.map'].map((file) =>
        join(folder, file),
      );
      const power = `exec:touch '${join(folder, 'power')}'`;
      if (tool === 'ddrescue')
        run('timeout', [
          '1500',
          'ddrescue',
          '-d',
          '-q',
          '-b',
          String(physical),
          source,
          image,
          map,
        ]);
      else
        run(process.execPath, [
          ...lastspin,
          'image',
          `file:${source}`,
          image,
          '--physical-sector',
          String(physical),
          '--retries',
          '0',
          '--power',
          power,
        ]);
      const score = JSON.parse(
        run(join(oracle, 'score.py'), [scenario, join(folder, 'reads.csv'), image, map]).stdout,
      );
      run(join(oracle, 'stop-drive.sh'), [folder]);
      const until = (share, what) => score.until[share]?.[what] ?? 'never';
      row(
        name,
        tool,
        `${score.delivered_pct} %`,
        score.wrong_sectors,
        score.failing_reads,
        score.model_s,
        until('50', 's'),
        until('99', 's'),
        until('99', 'failing'),
        score.power_cycles,
      );
      rmSync(folder, { recursive: true, force: true });
    }
  }
}

/** Wall time of a healthy file-to-file copy, map and final sync included, warm cache. */
function copy(pairs = '9') {
  if (!has('ddrescue'))
    return console.log('copy: skipped, ddrescue is not installed (apt-get install gddrescue)');
  const source = join(work, 'source.bin');
  run('sh', ['-c', `head -c 2147483648 /dev/urandom > '${source}'`]);
  const times = { ddrescue: [], 'ddrescue -d': [], lastspin: [] };
  for (let pair = 0; pair < Number(pairs); pair++) {
    for (const tool of Object.keys(times)) {
      const [image, map] = [join(work, 'copy.img'), join(work, 'copy.map')];
      for (const file of [image, map, join(work, 'copy.journal')]) rmSync(file, { force: true });
      const [command, ...args] =
        tool === 'lastspin'
          ? [process.execPath, ...lastspin, 'image', source, image]
          : [...tool.split(' '), '-q', source, image, map];
      times[tool].push(seconds(() => run(command, args)));
    }
  }
  console.log(
    `\n2 GiB file to file, warm cache, ${pairs} interleaved runs each, map and final sync included.\n`,
  );
  head('tool', 'median s', 'least', 'most', 'MB/s');
  for (const [tool, values] of Object.entries(times))
    row(
      tool,
      median(values).toFixed(2),
      Math.min(...values).toFixed(2),
      Math.max(...values).toFixed(2),
      Math.round(2147.48 / median(values)),
    );
}

/** The sector map at scale. */
function map() {
  console.log('\nSector map.\n');
  head('what', 'result');
  const runs = 4_000_000;
  const path = join(work, 'large.map');
  const file = openSync(path, 'w');
  writeSync(file, '0x0 ?\n');
  let piece = '';
  for (let n = 0; n < runs; n++) {
    piece += `0x${(n * 4096).toString(16).padStart(10, '0')}  0x00001000  ${n % 2 ? '?' : '+'}\n`;
    if (n % 50_000 === 49_999) {
      writeSync(file, piece);
      piece = '';
    }
  }
  closeSync(file);
  const loaded = seconds(() =>
    sectorMapOf(
      parseMapFile(readFileSync(path), path),
      { sectorBytes: 512, sectorCount: runs * 8 },
      path,
    ),
  );
  row('load a map file of 4 million runs', `${loaded.toFixed(2)} s`);
  if (has('ddrescuelog'))
    row(
      '`ddrescuelog -t` on the same file',
      `${seconds(() => run('ddrescuelog', ['-t', path])).toFixed(2)} s`,
    );
  const alternating = createRunMap(8_000_000);
  for (let n = 0; n < 1_000_000; n += 2) alternating.set({ lba: n * 8, count: 8 }, 4);
  const filled = seconds(() => {
    for (
      let at = alternating.next(0, 0, 8_000_000);
      at;
      at = alternating.next(at.lba, 0, 8_000_000)
    )
      alternating.set({ lba: at.lba, count: Math.min(8, at.count) }, 4);
  });
  row(
    'fill every `?` run of an alternating map of 1 million runs',
    `${Math.round(500_000 / filled).toLocaleString('en')} marks a second`,
  );
}

function start() {
  console.log('\nStart.\n');
  head('what', 'median of 9');
  const times = Array.from({ length: 9 }, () =>
    seconds(() => execFileSync(process.execPath, [...lastspin, '--help'])),
  );
  row('`lastspin --help`', `${Math.round(median(times) * 1000)} ms`);
}

const benches = { strategy, copy, map, start };
const [wanted, ...options] = process.argv.slice(2);
console.log(`${cpus().length} cores, ${cpus()[0].model}, Node ${process.version}`);
if (wanted && !benches[wanted])
  console.log(`no such benchmark: ${wanted}; there are ${Object.keys(benches).join(', ')}`);
for (const [name, bench] of Object.entries(benches))
  if (!wanted || wanted === name) bench(...options);
