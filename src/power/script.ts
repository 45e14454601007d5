/** Commands of the user's, run by `sh -c` for a bounded time. */

import { type ChildProcess, spawn } from 'node:child_process';
import type { Clock } from '../clock.js';

/** Of a command's output the end is kept, where errors stand. */
const outputCharactersMax = 200;
/** After its exit a command's last words may still be in the pipe, or a program that it left in the
 * background holds the pipe for ever. */
const outputWaitMs = 200;

export interface Script {
  readonly script: string;
  /** What it finds in its environment besides ours. */
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
}

/** Runs the script to its end. Resolves with what went wrong, if anything did; rejects with the signal's reason,
 * the script and all that it started being killed. */
export function runScript(
  { script, env, timeoutMs }: Script,
  clock: Clock,
  signal?: AbortSignal,
): Promise<string | undefined> {
  signal?.throwIfAborted();
  const child = spawn('sh', ['-c', script], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
    // A process group of its own: what the script starts is killed with it, and Ctrl-C is not for
    // it, lest a rail be left half switched.
    detached: true,
  });
  const output = keepEnd(child);
  return new Promise((resolve, reject) => {
    const cleanups: (() => void)[] = [];
    const end = (settle: () => void) => {
      for (const cleanup of cleanups.splice(0)) cleanup();
      child.stdout?.destroy();
      child.stderr?.destroy();
      child.unref();
      settle();
    };
    const onAbort = () => {
      killGroup(child);
      end(() => reject(signal?.reason));
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    cleanups.push(() => signal?.removeEventListener('abort', onAbort));
    cleanups.push(
      clock.after(timeoutMs, () => {
        killGroup(child);
        end(() => resolve(`no end within ${timeoutMs / 1000} s${output()}`));
      }),
    );
    const onEnd = () => end(() => resolve(problemOf(child, output())));
    child.on('error', (error) => end(() => resolve(error.message)));
    child.on('close', onEnd);
    child.on('exit', () => cleanups.push(clock.after(outputWaitMs, onEnd)));
  });
}

function problemOf(child: ChildProcess, output: string): string | undefined {
  if (child.exitCode === 0) return undefined;
  if (child.signalCode) return `killed by ${child.signalCode}${output}`;
  return `exit code ${child.exitCode}${output}`;
}

/** Collects the end of what the child says on stdout and stderr, for use behind a message. */
function keepEnd(child: ChildProcess): () => string {
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (piece: string) => {
      text = (text + piece).slice(-outputCharactersMax);
    });
  }
  return () => (text.trim() === '' ? '' : `, saying: ${oneLine(text)}`);
}

export function oneLine(text: string): string {
  return text
    .trim()
    .replaceAll(/\s+/g, ' ')
    .replaceAll(/\p{Cc}/gu, '\ufffd');
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // It ended just now.
  }
}
