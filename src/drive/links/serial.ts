/** Serial ports: CDC-ACM, FTDI and the like, on-board UARTs, ptys (PROTOCOL.md T-2, L-4). */
import { readFileSync, readSync, statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Duplex } from 'node:stream';
import type { Clock } from '../../clock.js';
import { LastspinError, reasonOf } from '../../errors.js';
import { findAgain, nameOf, type Wanted, wantAgain } from './identity.js';
import { lastingName, listSerialPorts, realPath, type SeenPort } from './serial-ports.js';
import type { Transport, Wire } from './wire.js';

/** How often a port is asked whether it is still there. */
const guardMs = 500;

/** What this file needs of serialport's port, so that its mock serves as well. */
export interface SerialStream extends Duplex {
  readonly isOpen: boolean;
  get(callback: (error: Error | null) => void): void;
  close(callback?: (error: Error | null) => void): void;
}

/** The system's serial ports; a test's own in tests. */
export interface SerialSystem {
  list(): Promise<readonly SeenPort[]>;
  /** Rejects with what serialport says. */
  open(path: string, baudRate: number): Promise<SerialStream>;
}

export const realSerialSystem: SerialSystem = { list: listSerialPorts, open: openPort };

/** The port at `path`. Opened again it is looked for by its USB identity, since it may come back under
 * another name; where it has none (a UART on the board, a pty) the name is all there is. */
export function serialTransport(
  { path, baudRate }: { readonly path: string; readonly baudRate: number },
  clock: Clock,
  system: SerialSystem = realSerialSystem,
): Transport {
  let opened: { readonly name: string; readonly wanted: Wanted | undefined } | undefined;

  async function wherever(): Promise<string> {
    if (!opened?.wanted) return opened?.name ?? path;
    const found = findAgain(await system.list(), opened.wanted);
    if (found) return inStyleOf(path, found.path);
    const what = nameOf(opened.wanted.identity);
    throw new LastspinError('DRIVE_OPEN_FAILED', `no port of ${what} is there; is it plugged in?`);
  }

  return {
    canReopen: true,
    async open() {
      const at = await wherever();
      const known = opened ?? (await remember(at, system));
      const port = await system.open(at, baudRate).catch((error) => {
        throw openFailure(at, error);
      });
      opened = known;
      const { port: binding } = port as { readonly port?: unknown };
      pollBothDirections(binding);
      readOnTheSpot(binding);
      return serialWire(port, { nodePath: realPath(at) ?? at, clock });
    },
  };
}

async function remember(path: string, system: SerialSystem) {
  const seen = await system.list();
  const target = plainName(realPath(path) ?? path);
  const own = seen.find((each) => plainName(each.path) === target);
  return { name: lastingName(path) ?? path, wanted: own && wantAgain(own, seen) };
}

/** macOS gives each port two names and lists one; Windows does not care for case. */
function plainName(path: string): string {
  return path
    .replace(/^\/dev\/cu\./, '/dev/tty.')
    .replace(/^\\\\\.\\/, '')
    .replace(/^com\d+$/i, (name) => name.toUpperCase());
}

/** `found`, by the one of its two names on macOS that does not wait for a modem. */
function inStyleOf(path: string, found: string): string {
  return path.startsWith('/dev/cu.') ? found.replace(/^\/dev\/tty\./, '/dev/cu.') : found;
}

async function openPort(path: string, baudRate: number): Promise<SerialStream> {
  // Loaded on use: it brings a native part that other drives must not depend on.
  const { SerialPort } = await import('serialport');
  // Without hang-up on close a board that resets on DTR does not do so at the next opening.
  const port = new SerialPort({ path, baudRate, autoOpen: false, hupcl: false });
  await new Promise<void>((resolve, reject) => {
    port.open((error) => (error ? reject(error) : resolve()));
  });
  // What a terminal program or an earlier run left behind is nobody's answer.
  await new Promise<void>((resolve) => port.flush(() => resolve()));
  return port;
}

/** The parts of serialport's Linux and macOS binding that are mended below. */
interface PollingBinding {
  readonly poller?: {
    poll(events: number): void;
    listenerCount(event: 'readable' | 'writable'): number;
  };
}
interface ReadingBinding {
  /** Null once the port is closed. */
  readonly fd?: number | null;
  readonly poller?: { once(event: 'readable', callback: (error: Error | null) => void): unknown };
  read(
    buffer: Buffer,
    offset: number,
    length: number,
  ): Promise<{ buffer: Buffer; bytesRead: number }>;
}
const pollReadable = 1;
const pollWritable = 2;

/** bindings-cpp 13 asks the kernel only for the direction that was asked for last: waiting to
 * read forgets that a write is waiting, and the other way round, until something else happens on
 * the port. With bulk data one way and little the other that is a stall of up to a beat. So both
 * are asked for as long as both are waited for. */
export function pollBothDirections(binding: unknown): void {
  const poller = (binding as PollingBinding | undefined)?.poller;
  if (typeof poller?.poll !== 'function') return;
  const poll = poller.poll.bind(poller);
  poller.poll = (events) => {
    const forRead = poller.listenerCount('readable') > 0 ? pollReadable : 0;
    const forWrite = poller.listenerCount('writable') > 0 ? pollWritable : 0;
    poll(events | forRead | forWrite);
  };
}

const hungUp = 'the port hung up; was it unplugged?';

/** bindings-cpp 13 reads by a turn through the thread pool, which costs several times the read itself
 * (docs/benchmarks.md), though its ports never make a reader wait; and it reads on without end where
 * a port that hung up gives nothing. So a port that can be polled is read when the kernel says that
 * it has something, on the spot, and nothing is the end. Each read waits for the kernel first: a line
 * that always has more does not keep timers and writes from their turn. */
export function readOnTheSpot(binding: unknown): void {
  const port = binding as ReadingBinding | undefined;
  const poller = port?.poller;
  if (typeof port?.fd !== 'number' || typeof poller?.once !== 'function') return;
  const readable = () =>
    new Promise<void>((resolve, reject) => {
      poller.once('readable', (error) => (error ? reject(pollFailure(error)) : resolve()));
    });
  port.read = async (buffer, offset, length) => {
    for (;;) {
      await readable();
      const bytesRead = readNow(port.fd ?? null, buffer, offset, length);
      if (bytesRead === 0) throw new Error(hungUp);
      if (bytesRead !== undefined) return { buffer, bytesRead };
    }
  };
}

/** What the poller says of a port that went away is a descriptor that it may not poll any more. */
function pollFailure(error: Error): Error {
  const { canceled } = error as { readonly canceled?: boolean };
  return canceled ? error : new Error(hungUp, { cause: error });
}

/** Undefined: there was nothing to read after all. */
function readNow(
  fd: number | null,
  buffer: Buffer,
  offset: number,
  length: number,
): number | undefined {
  if (fd === null) throw Object.assign(new Error('the port is closed'), { canceled: true });
  try {
    return readSync(fd, buffer, offset, length, null);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EAGAIN' || code === 'EINTR') return undefined;
    throw error;
  }
}

/** A wire over an open serial port. serialport sometimes never tells of an unplug while data flows,
 * and then reads in an endless loop: so the port is asked every half second whether it is there.
 * `nodePath`: its device node, asked instead where the port has no modem lines (a pty). */
export function serialWire(
  port: SerialStream,
  { nodePath, clock }: { readonly nodePath: string; readonly clock: Clock },
): Wire {
  let cancelGuard = () => {};
  const guard = () => {
    cancelGuard = clock.after(guardMs, () => {
      if (!port.isOpen) return;
      port.get((error) => {
        void isGone(error, nodePath).then((gone) => {
          if (!port.isOpen) return;
          if (gone) port.destroy(new Error('the port is gone; was it unplugged?'));
          else guard();
        });
      });
    });
  };
  guard();
  return {
    stream: port,
    close() {
      cancelGuard();
      // Its failure would tell only what is known: the port is closed, or gone.
      if (port.isOpen) port.close(() => {});
    },
  };
}

/** Whether what `port.get` said means that there is no port any more. */
async function isGone(error: Error | null, nodePath: string): Promise<boolean> {
  if (!error) return false;
  // ENOTTY, EINVAL by old drivers: the port has no modem lines.
  if (!/inappropriate ioctl|invalid argument/i.test(error.message)) return true;
  return stat(nodePath).then(
    () => false,
    () => true,
  );
}

function openFailure(path: string, error: Error): LastspinError {
  const { message } = error;
  const why = (text: string) =>
    new LastspinError('DRIVE_OPEN_FAILED', `cannot open ${path}: ${text}`, { cause: error });
  if (/no such file|file not found/i.test(message)) {
    return why('there is no such port; is it plugged in?');
  }
  if (/permission denied|access denied/i.test(message)) return why(permissionAdvice(path));
  if (/cannot lock|resource (temporarily unavailable|busy)|busy/i.test(message)) {
    return why(`another program has it open; 'fuser ${path}' tells which`);
  }
  if (/inappropriate ioctl|not a tty|is a directory/i.test(message)) {
    return why('it is no serial port');
  }
  return why(reasonOf(error));
}

function permissionAdvice(path: string): string {
  const group = groupOf(path);
  // The group root is nobody's to join.
  if (group === undefined || group === 'root') return 'no permission; run as root';
  const how = `sudo usermod -aG ${group} $USER`;
  return `no permission; it belongs to group ${group}: '${how}', then log in again`;
}

/** Name of the group that a file belongs to, where the system keeps it in a file. */
function groupOf(path: string): string | undefined {
  try {
    const { gid } = statSync(path);
    const lines = readFileSync('/etc/group', 'utf8').split('\n');
    return lines.map((line) => line.split(':')).find((fields) => fields[2] === String(gid))?.[0];
  } catch {
    return undefined;
  }
}
