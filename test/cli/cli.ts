import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

const root = join(import.meta.dirname, '../..');
/** What a user's shell would find as `lastspin`. */
export const mainPath = join(root, 'bin/lastspin.js');

/** What tests of this file started or made; concurrent tests cannot each clean up after themselves. */
const processes = new Set<ChildProcess>();
const folders = new Set<string>();
afterAll(async () => {
  for (const child of processes) child.kill('SIGKILL');
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

export interface Finished {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running {
  readonly process: ChildProcess;
  readonly finished: Promise<Finished>;
  /** Resolves when stdout or stderr has matched. */
  saw(pattern: RegExp): Promise<RegExpMatchArray>;
}

/** Starts the built command line, as a user would. It ends with the test file at the latest. */
export function start(args: readonly string[], env: NodeJS.ProcessEnv = {}): Running {
  if (!existsSync(join(root, 'dist/src/cli/main.js')))
    throw new Error('build first: npm run build');
  const child = spawn(process.execPath, [mainPath, ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  const watchers = new Set<() => void>();
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
      for (const watch of [...watchers]) watch();
    });
  }
  const finished = new Promise<Finished>((resolve) => {
    child.on('close', (status) => resolve({ status, ...output }));
  });
  processes.add(child);
  child.on('close', () => processes.delete(child));
  return {
    process: child,
    finished,
    saw: (pattern) =>
      new Promise((resolve, reject) => {
        const watch = () => {
          const match = pattern.exec(output.stdout + output.stderr);
          if (!match) return;
          watchers.delete(watch);
          resolve(match);
        };
        watchers.add(watch);
        watch();
        void finished.then((end) => reject(new Error(`ended without ${pattern}: ${end.stderr}`)));
      }),
  };
}

export function run(args: readonly string[], env?: NodeJS.ProcessEnv): Promise<Finished> {
  return start(args, env).finished;
}

/** Starts another program; it ends with the test file at the latest. */
export function startTool(command: string, args: readonly string[]): ChildProcess {
  const child = spawn(command, args, { stdio: 'ignore' });
  processes.add(child);
  return child;
}

/** A folder of the test's own, removed in the end. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'lastspin-test-'));
  folders.add(folder);
  return folder;
}

/** Starts a simulated imager on a pseudo-terminal and returns the DRIVE that names it. */
export async function startImager(
  scenario: string,
  folder: string,
  scale: number,
): Promise<string> {
  const pty = join(folder, 'imager');
  const simulator = start(['sim', scenario, '--pty', pty, '--scale', String(scale)]);
  await simulator.saw(/^serial:/m);
  return `serial:${pty}?scale=${scale}`;
}
