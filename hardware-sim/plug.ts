/** Ways to plug a simulator in for real: a pty that any program opens as a serial port, and TCP. */
import {
  closeSync,
  existsSync,
  constants as fileConstants,
  lstatSync,
  openSync,
  readlinkSync,
  symlinkSync,
  unlinkSync,
  write,
} from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { ReadStream } from 'node:tty';
import { realClock } from '../src/clock.js';
import { LastspinError, reasonOf } from '../src/errors.js';

export interface Plug {
  /** What a client opens: the path of the link, or `HOST:PORT`. */
  readonly address: string;
  close(): Promise<void>;
}

/** Serves one connection. When the stream is destroyed, by either side, the next one may come. */
export type Serve = (duplex: Duplex) => void;

/** A full pty is tried again after this long; waits double up to the longest. */
const retryMsMin = 1;
const retryMsMax = 20;
const oCloexecLinux = 0o2000000;
/** More than any system's struct termios. */
const termiosBytes = 128;

interface OpenPty {
  readonly masterDescriptor: number;
  /** Held open: while a slave is open the master sees no end between two clients. */
  readonly slaveDescriptor: number;
  readonly slavePath: string;
}

/** Makes a pty in raw mode and a link at `path` to its slave, removed by `close`. Clients may come
 * and go; a pty does not tell. Throws TOOL_MISSING without koffi or ptys, FILE_FAILED when `path`
 * is taken or cannot be made. */
export async function plugIntoPty(path: string, serve: Serve): Promise<Plug> {
  removeStaleLink(path);
  const pty = await openPty();
  try {
    symlinkSync(pty.slavePath, path);
  } catch (error) {
    closeSync(pty.slaveDescriptor);
    closeSync(pty.masterDescriptor);
    throw cannotServe(path, error);
  }
  const master = createMaster(pty.masterDescriptor);
  let closed = false;
  const serveNext = () => {
    // A stream that broke does not take the pty with it: its state is the simulator's to keep.
    if (!closed) serve(master.attach(serveNext));
  };
  serveNext();
  return {
    address: path,
    async close() {
      if (closed) return;
      closed = true;
      if (isLinkTo(path, pty.slavePath)) unlinkSync(path);
      await master.close();
      closeSync(pty.slaveDescriptor);
    },
  };
}

/** Listens on `PORT`, `HOST:PORT` or `[HOST]:PORT`, on loopback unless a host is given. Each
 * client is a link of its own: who is served is decided by HELLO (PROTOCOL.md H-7). Throws USAGE
 * for an address that is none, FILE_FAILED when it cannot be listened on. */
export async function plugIntoTcp(address: string, serve: Serve): Promise<Plug> {
  const match = /^(?:(?:\[([^\]]+)\]|([^:[\]]*)):)?(\d{1,5})$/.exec(address);
  const port = Number(match?.[3]);
  if (!match || port > 0xffff) {
    throw new LastspinError('USAGE', `'${address}' is not HOST:PORT`);
  }
  const host = match[1] ?? (match[2] || '127.0.0.1');
  const clients = new Set<Socket>();
  const server = createServer({ noDelay: true }, (socket) => {
    clients.add(socket);
    socket.once('close', () => clients.delete(socket));
    // Whoever serves the stream sees its errors; this keeps one that came before from being fatal.
    socket.on('error', () => {});
    serve(socket);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(cannotServe(address, error)));
    server.listen(port, host, resolve);
  });
  const bound = server.address();
  const boundPort = typeof bound === 'object' && bound ? bound.port : port;
  return {
    address: host.includes(':') ? `[${host}]:${boundPort}` : `${host}:${boundPort}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const client of clients) client.destroy();
      }),
  };
}

/** Why nothing can be served at a host and port or at a path, and what to do about it. */
export function cannotServe(address: string, error: unknown): LastspinError {
  const { code = '' } = error as NodeJS.ErrnoException;
  const isPath = address.includes('/');
  const advice = isPath ? pathAdvice[code] : portAdvice[code];
  const why = advice ?? reasonOf(error);
  return new LastspinError('FILE_FAILED', `cannot serve at ${address}: ${why}`, { cause: error });
}

const portAdvice: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program listens there; give another port, or 0 for any',
  EADDRNOTAVAIL: 'this computer has no such address; give one of its own, or the port alone',
  EACCES: 'you may not listen there; give a port above 1023',
  ENOTFOUND: 'no such host; give an address of this computer, or the port alone',
  EAI_AGAIN: 'no such host; give an address of this computer, or the port alone',
};

const noFolder = 'the folder is missing or not yours to write to; give a path elsewhere';
const pathAdvice: Readonly<Record<string, string>> = {
  EADDRINUSE: 'something is there already; remove it if nothing uses it',
  // What Node makes of a socket in a folder that is missing.
  EACCES: noFolder,
  ENOENT: noFolder,
  EPERM: noFolder,
  EROFS: noFolder,
};

/** A link that a killed simulator left behind points nowhere; anything else is somebody's. */
function removeStaleLink(path: string): void {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (!stat) return;
  if (stat.isSymbolicLink() && !existsSync(path)) {
    unlinkSync(path);
    return;
  }
  throw new LastspinError('FILE_FAILED', `${path} exists; remove it first if nothing uses it`);
}

function isLinkTo(path: string, target: string): boolean {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return stat?.isSymbolicLink() === true && readlinkSync(path) === target;
}

async function openPty(): Promise<OpenPty> {
  const call = await loadPtyCalls();
  const { O_RDWR, O_NOCTTY } = fileConstants;
  const cloexec = process.platform === 'linux' ? oCloexecLinux : 0;
  const masterDescriptor = call.posixOpenpt(O_RDWR | O_NOCTTY | cloexec);
  if (masterDescriptor < 0) throw new LastspinError('FILE_FAILED', 'no pty is to be had');
  if (call.grantpt(masterDescriptor) !== 0 || call.unlockpt(masterDescriptor) !== 0) {
    closeSync(masterDescriptor);
    throw new LastspinError('FILE_FAILED', 'the pty cannot be unlocked');
  }
  const slavePath = call.ptsname(masterDescriptor);
  const slaveDescriptor = openSync(slavePath, O_RDWR | O_NOCTTY);
  const termios = new Uint8Array(termiosBytes);
  call.tcgetattr(slaveDescriptor, termios);
  call.cfmakeraw(termios);
  call.tcsetattr(slaveDescriptor, 0, termios);
  return { masterDescriptor, slaveDescriptor, slavePath };
}

async function loadPtyCalls() {
  try {
    const { default: koffi } = await import('koffi');
    // The C library that node itself runs on: glibc, musl or libSystem.
    const library = koffi.load(null);
    return {
      posixOpenpt: library.func('int posix_openpt(int)') as (flags: number) => number,
      grantpt: library.func('int grantpt(int)') as (descriptor: number) => number,
      unlockpt: library.func('int unlockpt(int)') as (descriptor: number) => number,
      ptsname: library.func('const char *ptsname(int)') as (descriptor: number) => string,
      cfmakeraw: library.func('void cfmakeraw(_Inout_ uint8_t *)') as (termios: Uint8Array) => void,
      tcgetattr: library.func('int tcgetattr(int, _Inout_ uint8_t *)') as (
        descriptor: number,
        termios: Uint8Array,
      ) => number,
      tcsetattr: library.func('int tcsetattr(int, int, uint8_t *)') as (
        descriptor: number,
        actions: number,
        termios: Uint8Array,
      ) => number,
    };
  } catch (error) {
    throw new LastspinError(
      'TOOL_MISSING',
      `a pty needs the optional package koffi, on Linux or macOS: ${reasonOf(error)}`,
      { cause: error },
    );
  }
}

/** The master side of a pty. libuv reads it, as a tty; but two libuv handles on one descriptor
 * starve each other, so writing goes through the file system calls. */
function createMaster(descriptor: number) {
  const clock = realClock();
  const reader = new ReadStream(descriptor);
  let current: Duplex | undefined;
  let writing: Promise<void> = Promise.resolve();
  let closed = false;
  reader.on('data', (bytes: Buffer) => {
    if (current && !current.push(bytes)) reader.pause();
  });
  reader.on('error', (error) => current?.destroy(error));

  const writeOnce = (bytes: Uint8Array) =>
    new Promise<number>((resolve, reject) => {
      write(descriptor, bytes, 0, bytes.length, null, (error, written) => {
        if (!error) resolve(written);
        else if (error.code === 'EAGAIN') resolve(0);
        else reject(error);
      });
    });
  const writeAll = async (bytes: Uint8Array, of: Duplex) => {
    let left = bytes;
    let retryMs = retryMsMin;
    while (left.length > 0 && !closed && !of.destroyed) {
      const written = await writeOnce(left);
      left = left.subarray(written);
      if (written > 0) retryMs = retryMsMin;
      else await clock.sleep(retryMs);
      if (written === 0) retryMs = Math.min(retryMsMax, retryMs * 2);
    }
  };
  return {
    /** A stream over the pty, in place of the last one. */
    attach(onDestroyed: () => void): Duplex {
      const duplex: Duplex = new Duplex({
        read: () => void reader.resume(),
        write(bytes: Uint8Array, _encoding, done) {
          writing = writeAll(bytes, duplex);
          writing.then(() => done(), done);
        },
        // One call of the system for all that waits.
        writev(pieces, done) {
          writing = writeAll(Buffer.concat(pieces.map(({ chunk }) => chunk)), duplex);
          writing.then(() => done(), done);
        },
        destroy(error, done) {
          if (current === duplex) current = undefined;
          done(error);
          if (!closed) queueMicrotask(onDestroyed);
        },
      });
      current = duplex;
      return duplex;
    },
    async close() {
      closed = true;
      current?.destroy();
      // A write under way must not meet a descriptor that is somebody else's by then.
      await writing.catch(() => {});
      await new Promise<void>((resolve) => {
        reader.once('close', resolve);
        reader.destroy();
      });
    },
  };
}
