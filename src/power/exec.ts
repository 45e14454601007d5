/** A switch that is a command of the user's: a relay's own program, a smart plug's `curl`, a
 * script. */

import { type ChildProcess, spawn } from 'node:child_process';
import type { Clock } from '../clock.js';
import { LastspinError } from '../errors.js';
import type { Power } from './power.js';

/** What the command is told to do, in the environment variable LASTSPIN_POWER. */
type PowerAction = 'on' | 'off' | 'cycle';

export interface ExecPowerOptions {
  /** How long one call may take, over and above the off-time of a command that cycles by itself. */
  readonly timeoutMs?: number;
}

/** A relay answers within milliseconds, a plug in the network within seconds; a command that is
 * silent for a minute is not going to switch anything. */
const timeoutMsDefault = 60_000;
/** Of a command's output the end is kept, where errors stand. */
const outputCharactersMax = 200;
/** After its exit a command's last words may still be in the pipe, or a program that it left in the
 * background holds the pipe for ever. */
const outputWaitMs = 200;
const placeholder = '{action}';

/** A switch that runs `sh -c COMMAND`.
 * With `{action}` in it the command is called with `off` and with `on` in its place, and the
 * rail can be held off. Without, one call is one whole power cycle, whose off-time is the
 * command's own affair. Either way LASTSPIN_POWER says which; nothing else is expanded.
 * Throws USAGE when `command` is empty, and so does `set` without `{action}`. `cycle` and `set` throw POWER_FAILED; when their signal
 * aborts they throw its reason, kill the command and leave the rail as it is, which may be off:
 * a drive is nowhere safer. */
export function execPower(command: string, clock: Clock, options: ExecPowerOptions = {}): Power {
  if (command.trim() === '') throw new LastspinError('USAGE', '--power exec: needs a command');
  const { timeoutMs = timeoutMsDefault } = options;
  const canHold = command.includes(placeholder);
  const name = `exec: ${command}`;
  const run = async (action: PowerAction, callTimeoutMs: number, signal?: AbortSignal) => {
    const script = command.replaceAll(placeholder, action);
    const problem = await runScript({ script, action, timeoutMs: callTimeoutMs }, clock, signal);
    if (problem === undefined) return;
    throw new LastspinError('POWER_FAILED', `power ${action} by ${oneLine(name)}: ${problem}`);
  };

  return {
    name,
    canHold,
    async cycle(offMs, signal) {
      if (!canHold) return await run('cycle', timeoutMs + offMs, signal);
      await run('off', timeoutMs, signal);
      await clock.sleep(offMs, signal);
      await run('on', timeoutMs, signal);
    },
    async set(on, signal) {
      if (canHold) return await run(on ? 'on' : 'off', timeoutMs, signal);
      throw new LastspinError(
        'USAGE',
        `${oneLine(name)} can only cycle: put ${placeholder} where on or off belongs`,
      );
    },
    async close() {},
  };
}

interface Script {
  readonly script: string;
  readonly action: PowerAction;
  readonly timeoutMs: number;
}

/** Runs the script to its end. Resolves with what went wrong, if anything did. */
function runScript(
  { script, action, timeoutMs }: Script,
  clock: Clock,
  signal?: AbortSignal,
): Promise<string | undefined> {
  signal?.throwIfAborted();
  const child = spawn('sh', ['-c', script], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, LASTSPIN_POWER: action },
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

function oneLine(text: string): string {
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
