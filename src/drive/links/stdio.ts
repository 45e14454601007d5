/** The standard input and output of a process (PROTOCOL.md T-5). */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { Duplex, finished, type Readable, type Writable } from 'node:stream';
import type { Clock } from '../../clock.js';
import { LastspinError, reasonOf } from '../../errors.js';
import type { Transport, Wire } from './wire.js';

/** How long a process that has closed its output may take to end, before its status is given up. */
const exitWaitMs = 1000;
/** What a process says before somebody listens is kept up to here. */
const noticesMax = 100;

/** The process that the shell makes of `command`. It cannot be opened again: another process is
 * another imager. */
export function stdioTransport({ command }: { readonly command: string }, clock: Clock): Transport {
  return { canReopen: false, open: () => openProcess(command, clock) };
}

async function openProcess(command: string, clock: Clock): Promise<Wire> {
  // A group of its own: Ctrl-C must not end the imager before the job has saved and parked.
  const detached = process.platform !== 'win32';
  const child = spawn(command, { shell: true, stdio: 'pipe', detached, windowsHide: true });
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (error) => {
      const message = `cannot start '${command}': ${reasonOf(error)}`;
      reject(new LastspinError('DRIVE_OPEN_FAILED', message, { cause: error }));
    });
  });
  return wireTo(child, clock);
}

function wireTo(child: ChildProcessWithoutNullStreams, clock: Clock): Wire {
  const speech = listenTo(child);
  const stream = streamOver(child);
  let hasSpoken = false;
  let closed = false;
  child.stdout.once('data', () => {
    hasSpoken = true;
  });
  // Its output is the link; its end as a process only tells why.
  child.stdout.once('close', () => {
    if (closed) return;
    const finish = () => {
      cancel();
      stream.destroy(new Error(endOf(child, speech.lastLine())));
    };
    const cancel = clock.after(exitWaitMs, finish);
    child.once('close', finish);
  });
  return {
    stream,
    onNotice: speech.onLine,
    close() {
      if (closed) return;
      closed = true;
      stream.destroy();
      letEnd(child, hasSpoken);
    },
  };
}

/** T-5: the end of its input tells an imager that the link ended, and it ends when it has left its
 * drive safe; that may be after us. What never said a word is no imager, and is told to end. */
function letEnd(child: ChildProcessWithoutNullStreams, hasSpoken: boolean): void {
  child.stdin.end();
  // What it still says is lost, but must not stop it.
  child.stdout.resume();
  for (const pipe of [child.stdin, child.stdout, child.stderr] as unknown as Socket[]) pipe.unref();
  child.unref();
  if (!hasSpoken && child.pid !== undefined) endGroup(child.pid);
}

function endGroup(pid: number): void {
  try {
    process.kill(process.platform === 'win32' ? pid : -pid, 'SIGTERM');
  } catch {
    // It has ended by itself.
  }
}

function endOf({ exitCode, signalCode }: ChildProcessWithoutNullStreams, lastLine: string): string {
  const how =
    signalCode !== null
      ? `was ended by ${signalCode}`
      : exitCode !== null
        ? `ended with status ${exitCode}`
        : 'closed its output';
  const said = lastLine === '' ? '' : `, last saying '${lastLine}'`;
  return `its process ${how}${said}; a new one would be another imager, so run the same command again`;
}

/** What a process says to people, line by line. */
function listenTo({ stderr }: ChildProcessWithoutNullStreams) {
  let begun = '';
  let lastLine = '';
  const early: string[] = [];
  let tell = (line: string) => {
    if (early.length < noticesMax) early.push(line);
  };
  const take = (line: string) => {
    if (line.trim() === '') return;
    lastLine = line.trim();
    tell(lastLine);
  };
  stderr.setEncoding('utf8').on('data', (text: string) => {
    const lines = (begun + text).split(/\r?\n/);
    begun = (lines.pop() ?? '').slice(-1000);
    lines.forEach(take);
  });
  stderr.once('end', () => take(begun));
  return {
    lastLine: () => lastLine,
    onLine(handler: (line: string) => void) {
      tell = handler;
      for (const line of early.splice(0)) handler(line);
    },
  };
}

/** Bytes as they come: no stream stands between. */
function streamOver({ stdin, stdout }: ChildProcessWithoutNullStreams): Duplex {
  const stream: Duplex = new Duplex({
    read: () => void stdout.resume(),
    // A process that takes no more has ended, or is about to; its end says more than EPIPE.
    write: (bytes: Uint8Array, _encoding, done) => void stdin.write(bytes, () => done()),
  });
  stdout.on('data', (bytes: Buffer) => {
    if (!stream.destroyed && !stream.push(bytes)) stdout.pause();
  });
  stdout.pause();
  stdin.on('error', () => {});
  return stream;
}

/** One stream of the two that a process has: its standard input and output. `Duplex.from` would call bytes
 * written that still wait in `output`, and a link uses their memory again. */
export function streamOf(input: Readable, output: Writable): Duplex {
  const stream: Duplex = new Duplex({
    read: () => void input.resume(),
    write: (bytes: Uint8Array, _encoding, done) => void output.write(bytes, done),
  });
  input.on('data', (bytes: Buffer) => {
    if (stream.destroyed || !stream.push(bytes)) input.pause();
  });
  input.pause();
  finished(input, { writable: false }, (error) => {
    if (error) stream.destroy(error);
    else if (!stream.destroyed) stream.push(null);
  });
  output.on('error', (error) => stream.destroy(error));
  return stream;
}
