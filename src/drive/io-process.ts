/** A process that reads for this one: starting it, asking it, hearing it, leaving it behind.
 *
 * A process, since a blocking read of a device that hangs cannot be cancelled: a thread that sits in it (a
 * worker, or one of Node's own pool) would keep this program from ending. Data comes over a socket pair as raw
 * bytes: measured against a shared file in memory, the second way known to Node of handing over bytes without
 * encoding them, it is as fast, and it needs no place to put the file. */

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { LastspinError } from '../errors.js';

/** File descriptors of the process. Not 0 to 2: Node sets those non-blocking behind one's back. */
export const requestsDescriptor = 3;
export const repliesDescriptor = 4;

/** Processes that were killed and have not ended, since what they asked of the kernel never returned. Each holds
 * some 50 MB and one more reference to the device; a path that has swallowed this many without giving one back
 * needs its power cut, not a ninth. */
export const abandonedCountMax = 8;

/** Replies: a header of fixed length, and as much data behind it as it says. */
export interface ReplyFormat<Header extends { readonly dataBytes: number }> {
  /** What the process does, for messages: `reading`. */
  readonly doing: string;
  readonly headerBytes: number;
  /** Reads the header at the start of `bytes`, of which it keeps no part. */
  readonly decode: (bytes: Uint8Array) => Header;
  /** A header that comes before a reply, without data, and tells of it or of something else. */
  readonly isNotice?: (header: Header) => boolean;
}

export interface IoProcessEvents<Header> {
  /** A reply has begun to arrive, or a notice: what was asked is over, whatever its data still takes. */
  header(): void;
  notice?(header: Header): void;
  reply(reply: Header & { readonly data: Uint8Array }): void;
  /** The process ended without having been abandoned. `reason` is a phrase for people. */
  ended(reason: string): void;
}

export interface IoProcess {
  send(...pieces: readonly Uint8Array[]): void;
  /** While in use, the process keeps this program running; otherwise it does not. */
  setInUse(inUse: boolean): void;
  /** Kills it and forgets it at once: no event follows. `onExit` is called when it has really gone,
   * which a process in uninterruptible sleep may never do. */
  abandon(onExit: () => void): void;
}

/** Starts the program `script`, named from this folder (`file-reader.js`), with these arguments. Throws
 * DRIVE_OPEN_FAILED where it is not built. */
export function spawnIoProcess(script: string, args: readonly string[]): ChildProcess {
  return spawn(process.execPath, [builtAt(script), ...args], {
    // Descriptors 0 to 2 are not passed on, or an abandoned process would hold the terminal, or the
    // pipe that somebody waits on.
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    // A session of its own: Ctrl-C is for this program, which still wants what is being read.
    detached: true,
    // What was asked of this Node (an inspector, a loader) is not meant for that one.
    env: { ...process.env, NODE_OPTIONS: '' },
  });
}

/** Beside this file when compiled. When tests run the sources as they are, Node 20 cannot run a
 * TypeScript program, so that the last build's is taken. */
function builtAt(script: string): string {
  const folder = import.meta.url.endsWith('.ts') ? '../../dist/src/drive/' : './';
  const path = fileURLToPath(new URL(folder + script, import.meta.url));
  if (existsSync(path)) return path;
  const what = `the program that reads drives is missing (${path})`;
  throw new LastspinError('DRIVE_OPEN_FAILED', `${what}: run \`npm run build\``);
}

/** Connects to a process that `spawnIoProcess` started. Throws LINK_CLOSED where none could be. */
export function connectIoProcess<Header extends { readonly dataBytes: number }>(
  child: ChildProcess,
  format: ReplyFormat<Header>,
  events: IoProcessEvents<Header>,
): IoProcess {
  // Without descriptors to spare, Node returns a child without pipes, whatever the types say.
  const requests = child.stdio?.[requestsDescriptor] as Socket | undefined;
  const replies = child.stdio?.[repliesDescriptor] as Socket | undefined;
  if (!requests || !replies) {
    child.on('error', () => {});
    throw new LastspinError(
      'LINK_CLOSED',
      `the ${format.doing} process could not be started: too many open files (see \`ulimit -n\`)`,
    );
  }
  const pipes = [requests, replies];
  let isOver = false;
  const end = (reason: string) => {
    if (isOver) return;
    isOver = true;
    events.ended(reason);
  };
  const feed = createReplyParser(format, events);
  // What was said before the end still counts; what comes after it was left behind does not.
  let isAbandoned = false;
  replies.on('data', (bytes: Buffer) => {
    if (!isAbandoned) feed(bytes);
  });
  // The end of a process shows on its pipes as well; its exit says more.
  for (const pipe of pipes) pipe.on('error', () => {});
  child.on('error', (error) => end(error.message));
  child.on('close', (code, signal) => end(signal ? `killed by ${signal}` : `exit code ${code}`));
  child.unref();

  let isInUse = true;
  const setInUse = (inUse: boolean) => {
    if (inUse === isInUse) return;
    isInUse = inUse;
    for (const pipe of pipes) inUse ? pipe.ref() : pipe.unref();
  };
  setInUse(false);

  return {
    send(...pieces) {
      for (const piece of pieces) requests.write(piece);
    },
    setInUse,
    abandon(onExit) {
      isOver = true;
      isAbandoned = true;
      if (child.exitCode !== null || child.signalCode !== null) return onExit();
      child.on('exit', onExit);
      child.kill('SIGKILL');
      for (const pipe of pipes) pipe.destroy();
    },
  };
}

/** Cuts the stream into replies. Data is copied once, from the piece that arrived into the
 * reply's own array, which is never used again. */
function createReplyParser<Header extends { readonly dataBytes: number }>(
  { headerBytes, decode, isNotice = () => false }: ReplyFormat<Header>,
  events: Pick<IoProcessEvents<Header>, 'header' | 'notice' | 'reply'>,
) {
  const headerBuffer = Buffer.alloc(headerBytes);
  let headerFilled = 0;
  let header: Header | undefined;
  let data = Buffer.alloc(0);
  let dataFilled = 0;

  function takeHeader(): void {
    header = decode(headerBuffer);
    headerFilled = 0;
    data = Buffer.allocUnsafeSlow(header.dataBytes);
    dataFilled = 0;
    events.header();
    if (!isNotice(header)) return;
    events.notice?.(header);
    header = undefined;
  }

  return (piece: Buffer) => {
    let at = 0;
    while (at < piece.length) {
      if (header) {
        const count = piece.copy(data, dataFilled, at);
        at += count;
        dataFilled += count;
      } else {
        const count = piece.copy(headerBuffer, headerFilled, at);
        at += count;
        headerFilled += count;
        if (headerFilled < headerBytes) return;
        takeHeader();
      }
      if (!header || dataFilled < header.dataBytes) continue;
      const reply = { ...header, data };
      header = undefined;
      events.reply(reply);
    }
  };
}
