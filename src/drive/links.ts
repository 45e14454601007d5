/** Opens the links that have names on the command line: serial ports and TCP. One of the few
 * files that touch the operating system. */
import { readFileSync, realpathSync, statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { framedLink, type Link } from '../../firmware-protocol/link.js';
import type { Clock } from '../clock.js';
import { LastspinError, reasonOf } from '../errors.js';

export type LinkSpec =
  | { readonly kind: 'serial'; readonly path: string; readonly baudRate: number }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

/** What the reference firmware speaks; a port over USB does not care. */
const baudRateDefault = 115_200;
const baudRateMax = 12_000_000;
const connectTimeoutMs = 5000;
/** How often a port is asked whether it is still there. */
const guardMs = 500;

/** What `serial:PATH[?baud=N]` or `tcp:HOST:PORT` means. Throws DRIVE_UNKNOWN on anything else. */
export function parseLinkSpec(spec: string): LinkSpec {
  if (spec.startsWith('serial:')) return parseSerial(spec);
  if (spec.startsWith('tcp:')) return parseTcp(spec);
  throw unknown(spec, 'a link is serial:PATH or tcp:HOST:PORT');
}

function unknown(spec: string, why: string): LastspinError {
  return new LastspinError('DRIVE_UNKNOWN', `cannot make sense of '${spec}': ${why}`);
}

function parseSerial(spec: string): LinkSpec {
  const [path = '', query = ''] = spec.slice('serial:'.length).split('?', 2);
  if (path === '') throw unknown(spec, 'the port is missing, as in serial:/dev/ttyACM0');
  const parameters = new URLSearchParams(query);
  for (const name of parameters.keys()) {
    if (name !== 'baud') throw unknown(spec, `a serial port has no option '${name}', only 'baud'`);
  }
  const baud = parameters.get('baud') ?? String(baudRateDefault);
  const baudRate = Number(baud);
  if (!/^\d+$/.test(baud) || baudRate < 1 || baudRate > baudRateMax) {
    throw unknown(spec, `the baud rate is a number from 1 to ${baudRateMax}`);
  }
  return { kind: 'serial', path, baudRate };
}

function parseTcp(spec: string): LinkSpec {
  const match = /^tcp:(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(spec);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port < 1 || port > 65_535) {
    throw unknown(spec, 'as in tcp:192.168.1.20:7070 or tcp:[fe80::1]:7070');
  }
  return { kind: 'tcp', host, port };
}

/** Opens `serial:PATH[?baud=N]` or `tcp:HOST:PORT`. Throws DRIVE_UNKNOWN for another spelling and
 * DRIVE_OPEN_FAILED with one line that says what, where and what to do. */
export async function openLink(spec: string, clock: Clock): Promise<Link> {
  const parsed = parseLinkSpec(spec);
  return parsed.kind === 'serial'
    ? openSerial(spec, parsed.path, parsed.baudRate, clock)
    : openTcp(spec, parsed.host, parsed.port, clock);
}

// ---- serial -----------------------------------------------------------------------------------

/** What this file needs of serialport's port, so that its mock serves as well. */
export interface SerialStream extends Duplex {
  readonly isOpen: boolean;
  get(callback: (error: Error | null) => void): void;
  close(callback?: (error: Error | null) => void): void;
}

async function openSerial(
  spec: string,
  path: string,
  baudRate: number,
  clock: Clock,
): Promise<Link> {
  // Loaded on use: it brings a native part that other drives must not depend on.
  const { SerialPort } = await import('serialport');
  // Without hang-up on close a board that resets on DTR does not do so at the next opening.
  const port = new SerialPort({ path, baudRate, autoOpen: false, hupcl: false });
  await new Promise<void>((resolve, reject) => {
    port.open((error) => (error ? reject(openFailure(path, error)) : resolve()));
  });
  // What a terminal program or an earlier run left behind is nobody's answer.
  await new Promise<void>((resolve) => port.flush(() => resolve()));
  pollBothDirections(port.port);
  return serialLink(port, { name: spec, nodePath: realPathOf(path), clock });
}

/** The part of serialport's Linux and macOS binding that is mended below. */
interface PollingBinding {
  readonly poller?: {
    poll(events: number): void;
    listenerCount(event: 'readable' | 'writable'): number;
  };
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

function realPathOf(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/** A link over an open serial port. serialport sometimes never tells of an unplug while data flows,
 * and then reads in an endless loop: so the port is asked every half second whether it is there.
 * `nodePath`: its device node, asked instead where the port has no modem lines (a pty). */
export function serialLink(
  port: SerialStream,
  { name, nodePath, clock }: { name: string; nodePath: string; clock: Clock },
): Link {
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
  return framedLink(port, {
    name,
    close() {
      cancelGuard();
      // Its failure would tell only what is known: the port is closed, or gone.
      if (port.isOpen) port.close(() => {});
    },
  });
}

/** Whether what `port.get` said means that there is no port any more. */
async function isGone(error: Error | null, nodePath: string): Promise<boolean> {
  if (!error) return false;
  if (!/inappropriate ioctl/i.test(error.message)) return true;
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
    return why('there is no such port; is the imager plugged in?');
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
  if (group === undefined) return 'no permission';
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

// ---- TCP --------------------------------------------------------------------------------------

async function openTcp(spec: string, host: string, port: number, clock: Clock): Promise<Link> {
  const socket = await new Promise<Socket>((resolve, reject) => {
    const opening = connect({ host, port, noDelay: true, keepAlive: true });
    const cancel = clock.after(connectTimeoutMs, () => {
      opening.destroy(new Error(`no answer within ${connectTimeoutMs / 1000} s`));
    });
    const onError = (error: Error) => {
      cancel();
      reject(connectFailure(host, port, error));
    };
    opening.once('error', onError);
    opening.once('connect', () => {
      cancel();
      opening.off('error', onError);
      resolve(opening);
    });
  });
  return framedLink(socket, { name: spec });
}

function connectFailure(host: string, port: number, error: Error): LastspinError {
  const code = (error as NodeJS.ErrnoException).code;
  const why =
    code === 'ECONNREFUSED'
      ? 'nothing listens there; is the imager on?'
      : code === 'ENOTFOUND' || code === 'EAI_AGAIN'
        ? 'no such host'
        : reasonOf(error);
  return new LastspinError('DRIVE_OPEN_FAILED', `cannot connect to ${host} port ${port}: ${why}`, {
    cause: error,
  });
}
