import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { parseLba, parseTuning } from '../../src/cli/keys.js';
import { loadCheckpoint } from '../../src/image/checkpoint.js';
import { nodeFiles } from '../../src/image/node-files.js';
import { parseSnapshot } from '../../src/job/snapshot.js';
import { needsTool } from '../tools.js';
import { mainPath, temporaryFolder } from './cli.js';
import { falseClaims } from './false-claims.js';

const stdioImager = join(import.meta.dirname, '../drive/stdio-imager.mjs');

const terminals = new Set<ChildProcess>();
afterAll(() => {
  for (const child of terminals) child.kill('SIGKILL');
});

/** A command in a terminal of its own, with what stood in the terminal's settings before and after. */
function inTerminal(folder: string, args: readonly string[]) {
  const script = join(folder, 'run.sh');
  const quoted = [process.execPath, mainPath, ...args].map((word) => `'${word}'`).join(' ');
  const settings = (name: string) => `stty -g > '${join(folder, name)}'`;
  writeFileSync(
    script,
    `stty cols 150\n${settings('before')}\n${quoted} > '${join(folder, 'out')}'\necho "status $?"\n${settings('after')}\necho ended\n`,
  );
  const socat = spawn('socat', ['STDIO', `EXEC:sh ${script},pty,setsid,ctty,stderr`], {
    env: { ...process.env, NO_COLOR: '1', TERM: 'xterm' },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  terminals.add(socat);
  let screen = '';
  let watch = () => {};
  socat.stdout.setEncoding('utf8').on('data', (text: string) => {
    screen += text;
    watch();
  });
  return {
    type: (text: string) => socat.stdin.write(text),
    /** Waits for what was not seen before, and forgets what came up to it. */
    saw: (pattern: RegExp) =>
      new Promise<string>((resolve) => {
        watch = () => {
          const match = pattern.exec(screen);
          if (!match) return;
          screen = screen.slice(match.index + match[0].length);
          watch = () => {};
          resolve(match[0]);
        };
        watch();
      }),
    isRestored: () =>
      readFileSync(join(folder, 'before'), 'utf8') === readFileSync(join(folder, 'after'), 'utf8'),
    leave: () => socat.stdin.end(),
  };
}

/** 400 reads of 50 ms. */
function slowScenario(folder: string): string {
  const path = join(folder, 'slow.yaml');
  const mechanics = { overheadMs: 50, spinUpMs: 100 };
  writeFileSync(path, JSON.stringify({ seed: 5, sectorCount: 51_200, mechanics }));
  return path;
}

describe.skipIf(needsTool('socat'))('keys in a terminal', () => {
  test('pause, resume, tune, jump, exclude, step on, help, stop; and the terminal is as it was', async () => {
    const folder = temporaryFolder();
    const scenario = slowScenario(folder);
    const image = join(folder, 'case.img');
    const job = inTerminal(
      folder,
      ['image', `sim:${scenario}?scale=5`, image].concat(['--preset', 'standard']),
    );
    await job.saw(/p pause {2}n next step/);
    job.type('p');
    await job.saw(/paused/);
    job.type('p');
    await job.saw(/resumed/);
    job.type('trow 2 timeoutMs=4322\x7f1\r');
    await job.saw(/changed: row 2 .*timeoutMs 1000 → 4321/);
    job.type('x45000-46000\r');
    await job.saw(/excluded: LBA 45000-46000/);
    job.type('j');
    await job.saw(/jump to LBA: /);
    job.type('nonsense\r');
    await job.saw(/'nonsense' is no LBA/);
    job.type('j1\x1b');
    job.type('j40000\r');
    await job.saw(/jumped to LBA 40000/);
    job.type('?');
    await job.saw(/q {2}stop, as Ctrl-C/);
    job.type('c');
    await job.saw(/power cycled/);
    job.type('n');
    await job.saw(/pass 1 is ended/);
    job.type('q');
    await job.saw(/status 130[\s\S]*ended/);
    expect(job.isRestored()).toBe(true);
    const saved = parseSnapshot(
      (await loadCheckpoint(nodeFiles(), join(folder, 'case.map')))?.state,
    );
    expect(saved?.scope).toEqual([45_000, 1, 1001, 0, 5199, 1]);
    expect(saved?.passes[1]).toMatchObject({ timeoutMs: 4321 });
    expect(falseClaims(image, scenario)).toEqual([]);
  });

  test('Ctrl-C stops in order, and a job that fails leaves the terminal as it was', async () => {
    const folder = temporaryFolder();
    const scenario = slowScenario(folder);
    const first = inTerminal(folder, ['image', `sim:${scenario}?scale=5`, join(folder, 'a.img')]);
    await first.saw(/p pause/);
    first.type('\x03');
    await first.saw(/status 130[\s\S]*ended/);
    expect(first.isRestored()).toBe(true);
    // A process that died cannot come back, as a plug can.
    const pid = join(folder, 'pid');
    const command = `echo $$ > ${pid}; exec ${process.execPath} ${stdioImager} ${scenario}`;
    const second = inTerminal(folder, ['image', `stdio:${command}`, join(folder, 'b.img')]);
    await second.saw(/p pause/);
    process.kill(Number(readFileSync(pid, 'utf8')), 'SIGKILL');
    await second.saw(/LINK_CLOSED[\s\S]*status 1[\s\S]*ended/);
    expect(second.isRestored()).toBe(true);
  });
});

describe('what is typed', () => {
  test('is a row and its changes', () => {
    expect(parseTuning('timeoutMs=500 onSlow=leave lookAhead=false')).toEqual({
      kind: 'tune',
      changes: { timeoutMs: 500, onSlow: 'leave', lookAhead: false },
    });
    expect(parseTuning('row 3 skip.growth=1.5 resets=soft,hard rest=none ranges=5-9')).toEqual({
      kind: 'tune',
      row: 3,
      changes: {
        'skip.growth': 1.5,
        resets: ['soft', 'hard'],
        rest: null,
        ranges: [{ lba: 5, count: 5 }],
      },
    });
  });

  test('or one line that says why it is not', () => {
    expect(() => parseTuning('faster')).toThrow(/'faster' is no NAME=VALUE/);
    expect(() => parseLba('-1')).toThrow(/no LBA/);
    expect(parseLba('0x10')).toBe(16);
  });
});
