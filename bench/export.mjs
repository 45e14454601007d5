// An image to E01, beside libewf's tools: npm run bench -- export [PAIRS=5] [MEBIBYTES=1024].

import { randomFillSync } from 'node:crypto';
import {
  closeSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { has, head, lastspin, median, row, run, seconds, sum, workFolder } from './tools.mjs';

/** A third noise, a third text, a third hole, in areas of 4 MiB. */
function writeImage(path, mebibytes) {
  const file = openSync(path, 'w');
  const area = Buffer.alloc(4 << 20);
  for (let at = 0, n = 0; at < mebibytes << 20; at += area.length, n++) {
    if (n % 3 === 0) randomFillSync(area);
    if (n % 3 === 1)
      for (let k = 0; k < area.length; k += 64)
        area.write(`line ${n} ${k * 7919} of a log file, as they are\n`, k);
    if (n % 3 < 2) writeSync(file, area, 0, area.length, at);
  }
  closeSync(file);
  truncateSync(path, mebibytes * 2 ** 20);
}

/** export [PAIRS=5] [MEBIBYTES=1024]: time and size of the same image as E01, warm cache, MD5 and SHA-1, interleaved
 * with ewfacquire and ewfacquirestream. */
export function exportImage(pairs = '5', mebibytes = '1024') {
  if (!has('ewfacquire'))
    return console.log('export: skipped, ewfacquire is not installed (apt-get install ewf-tools)');
  const work = workFolder();
  const image = join(work, 'export.img');
  const sizeBytes = Number(mebibytes) * 2 ** 20;
  writeImage(image, Number(mebibytes));
  writeFileSync(join(work, 'export.map'), `0x0 + 1\n0x0 ${sizeBytes} +\n`);
  run('sh', ['-c', `cat '${image}' > /dev/null`]);
  const target = join(work, 'target');
  const common = ['-f', 'encase6', '-d', 'sha1', '-S', '1500MiB', '-t', target];
  const acquire = ['-q', '-u', ...common];
  const ways = {};
  for (const how of ['none', 'fast', 'best']) {
    // libewf stores areas of zeros whole unless told; ours never does.
    const level = how === 'none' ? 'empty-block' : how;
    ways[`lastspin export, ${how}`] = [
      process.execPath,
      [...lastspin, 'export', image, `${target}.E01`, '--compress', how],
    ];
    ways[`ewfacquire, ${level}`] = ['ewfacquire', [...acquire, '-c', level, image]];
    ways[`ewfacquirestream, ${level}`] = [
      'sh',
      ['-c', `ewfacquirestream -q ${common.join(' ')} -c ${level} < '${image}'`],
    ];
  }
  const clear = () => {
    for (const name of readdirSync(work)) if (name.startsWith('target')) rmSync(join(work, name));
  };
  const times = Object.fromEntries(Object.keys(ways).map((name) => [name, []]));
  const sizes = {};
  for (let pair = 0; pair < Number(pairs); pair++) {
    for (const [name, [command, args]] of Object.entries(ways)) {
      clear();
      let ended;
      times[name].push(
        seconds(() => {
          ended = run(command, args);
        }),
      );
      if (ended.status !== 0)
        throw new Error(`${name} ended with ${ended.status}: ${ended.stderr.slice(-300)}`);
      const files = readdirSync(work).filter((file) => file.startsWith('target.'));
      sizes[name] = sum(files.map((file) => statSync(join(work, file)).size));
      if (pair > 0) continue;
      const verified = run('ewfverify', ['-q', `${target}.E01`]);
      if (verified.status !== 0) throw new Error(`${name}: ewfverify refuses what it wrote`);
    }
  }
  clear();
  console.log(
    `\n${mebibytes} MiB to E01: a third noise, a third text, a third hole; MD5 and SHA-1; warm cache; ${pairs} interleaved runs each.\n`,
  );
  head('tool', 'median s', 'least', 'most', 'MB/s', 'size, MB');
  for (const [name, values] of Object.entries(times)) {
    const middle = median(values);
    row(
      name,
      ...[middle, Math.min(...values), Math.max(...values)].map((time) => time.toFixed(2)),
      Math.round(sizeBytes / middle / 1e6),
      Math.round(sizes[name] / 1e6),
    );
  }
}
