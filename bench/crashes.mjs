// Simulated crashes, more of them than the suite has time for.
import { head, root, row, run } from './tools.mjs';

/** Runs one of the suite's files with more of what it draws. Returns the seconds. */
function more(file, env) {
  const from = performance.now();
  const { status, stdout } = run('npx', ['vitest', 'run', file], {
    cwd: root,
    env: { ...process.env, ...env },
  });
  if (status !== 0) throw new Error(`${file}: ${stdout.slice(-2000)}`);
  return ((performance.now() - from) / 1000).toFixed(0);
}

/** crashes [POINTS=20000] [WORLDS=300]: crash points of the production job over a disk that forgets, tears and
 * reorders what was not synced; and worlds in which laptop, line, drive and that disk all fail. It fails at the first
 * false claim, at the first sector lost of more than a second ago, and at a world that does not get there. */
export function crashes(points = '20000', worlds = '300') {
  console.log('\nNothing false, at most a second of reading lost.\n');
  head('what', 'count', 's');
  row('crash points', points, more('test/job/crash-points.test.ts', { CRASHES: points }));
  row('worlds', worlds, more('test/job/storms.test.ts', { SEEDS: worlds }));
}
