// Checking an image: lastspin verify beside sha256sum.
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { has, head, lastspin, median, row, run, workFolder } from './tools.mjs';

/** verify [RUNS=5] [GIB=2]: an image in the page cache, by the hashes of its segments, with a hash of the whole
 * besides, and by sha256sum. */
export async function verify(runs = '5', gib = '2') {
  for (const tool of ['sha256sum', '/usr/bin/time'])
    if (!has(tool)) return console.log(`verify: skipped, ${tool} is not installed`);
  const bytes = Number(gib) * 2 ** 30;
  const work = workFolder();
  const [source, image] = [join(work, 'source.bin'), join(work, 'case.img')];
  run('sh', ['-c', `head -c ${bytes} /dev/urandom > '${source}'`]);
  run(process.execPath, [...lastspin, 'image', source, image]);
  rmSync(source);
  run('sh', ['-c', `cat '${image}' > /dev/null`]);
  const sums = join(work, 'sums');
  writeFileSync(sums, run('sha256sum', [image]).stdout);
  const own = (...words) => [process.execPath, ...lastspin, 'verify', image, ...words];
  const ways = {
    'sha256sum -c': ['sha256sum', '--quiet', '-c', sums],
    'lastspin verify': own(),
    'lastspin verify, hash of the whole besides': own(),
    'lastspin verify --quick': own('--quick'),
  };
  const whole = `${image}.sha256`;
  const times = Object.fromEntries(Object.keys(ways).map((name) => [name, []]));
  for (let nth = 0; nth < Number(runs); nth++) {
    for (const [name, [command, ...args]] of Object.entries(ways)) {
      rmSync(whole, { force: true });
      if (name.includes('whole'))
        run('sh', ['-c', `cp '${sums}' '${whole}'; sed -i 's|${work}/||' '${whole}'`]);
      times[name].push(measured(command, args));
    }
  }
  console.log(
    `\n${gib} GiB in the page cache, ${runs} interleaved runs, start of the program included.\n`,
  );
  head('by', 'median s', 'least', 'most', 'CPU s', 'GB/s', 'GB per CPU s');
  for (const [name, values] of Object.entries(times)) {
    const walls = values.map(({ wall }) => wall);
    const cpu = median(values.map((value) => value.cpu));
    const middle = median(walls);
    const shown = [middle, Math.min(...walls), Math.max(...walls), cpu];
    const rates = [bytes / middle, bytes / cpu].map((rate) => (rate / 1e9).toFixed(2));
    row(
      name,
      ...shown.map((value) => value.toFixed(2)),
      ...(name.includes('--quick') ? ['', ''] : rates),
    );
  }
}

/** Wall and CPU time in s of a command that must end well. */
function measured(command, args) {
  const { status, stderr } = run('/usr/bin/time', ['-f', '\nmeasured %e %U %S', command, ...args]);
  if (status !== 0) throw new Error(`${command} ended with ${status}: ${stderr.slice(-200)}`);
  const [, wall, user, system] = /measured (\S+) (\S+) (\S+)\s*$/.exec(stderr);
  return { wall: Number(wall), cpu: Number(user) + Number(system) };
}
