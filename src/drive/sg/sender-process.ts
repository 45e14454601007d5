/** The parent's end of the sending process of an `sg:` path: starting it, asking it, hearing it,
 * leaving it behind. Why a process: see `../file-process.ts`. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { LastspinError } from '../../errors.js';
import {
  decodeReplyHeader,
  encodeRecord,
  repliesDescriptor,
  replyHeaderBytes,
  requestsDescriptor,
  type SgRecord,
  type SgReply,
  type SgReplyHeader,
} from './records.js';

export interface SenderEvents {
  /** A reply has begun to arrive: its command is over, whatever its data still takes. */
  header(): void;
  reply(reply: SgReply): void;
  /** The process ended without having been abandoned. `reason` is a phrase for people. */
  ended(reason: string): void;
}

export interface SenderProcess {
  send(record: SgRecord): void;
  /** While in use, the process keeps this program running; otherwise it does not. */
  setInUse(inUse: boolean): void;
  /** Kills it and forgets it at once: no event follows. `onExit` is called when it has really gone,
   * which a process in uninterruptible sleep may never do. */
  abandon(onExit: () => void): void;
}

/** The files that a sending process opens. */
export interface SenderPaths {
  readonly node: string;
  /** The device's `state` and the host adapter's `scan` in /sys. */
  readonly state: string;
  readonly scan: string;
}

/** Starts the sending process. Throws DRIVE_OPEN_FAILED where its program is not built. */
export function spawnSender({ node, state, scan }: SenderPaths): ChildProcess {
  return spawn(process.execPath, [senderScript(), node, state, scan], {
    // Descriptors 0 to 2 are not passed on, or an abandoned process would hold the terminal.
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    // A session of its own: Ctrl-C is for this program, which still wants what is being read.
    detached: true,
    // What was asked of this Node (an inspector, a loader) is not meant for that one.
    env: { ...process.env, NODE_OPTIONS: '' },
  });
}

/** Beside this file when compiled; the last build's when tests run the sources as they are. */
function senderScript(): string {
  const here = import.meta.url.endsWith('.ts')
    ? '../../../dist/src/drive/sg/sender.js'
    : './sender.js';
  const script = fileURLToPath(new URL(here, import.meta.url));
  if (existsSync(script)) return script;
  throw new LastspinError(
    'DRIVE_OPEN_FAILED',
    `the program that sends commands is missing (${script}): run \`npm run build\``,
  );
}

/** Connects to a process that `spawnSender` started. Throws LINK_CLOSED where none could be. */
export function connectSender(child: ChildProcess, events: SenderEvents): SenderProcess {
  // Without descriptors to spare, Node returns a child without pipes, whatever the types say.
  const requests = child.stdio?.[requestsDescriptor] as Socket | undefined;
  const replies = child.stdio?.[repliesDescriptor] as Socket | undefined;
  if (!requests || !replies) {
    child.on('error', () => {});
    throw new LastspinError(
      'LINK_CLOSED',
      'the sending process could not be started: too many open files (see `ulimit -n`)',
    );
  }
  const pipes = [requests, replies];
  let isOver = false;
  const end = (reason: string) => {
    if (isOver) return;
    isOver = true;
    events.ended(reason);
  };
  const feed = createReplyParser(events);
  replies.on('data', (bytes: Buffer) => {
    if (!isOver) feed(bytes);
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
    send: (record) => void requests.write(encodeRecord(record)),
    setInUse,
    abandon(onExit) {
      isOver = true;
      if (child.exitCode !== null || child.signalCode !== null) return onExit();
      child.on('exit', onExit);
      child.kill('SIGKILL');
      for (const pipe of pipes) pipe.destroy();
    },
  };
}

/** Cuts the stream into replies. Data is copied once, from the piece that arrived into the reply's own
 * array, which is never used again. */
function createReplyParser(events: Pick<SenderEvents, 'header' | 'reply'>) {
  const headerBuffer = Buffer.alloc(replyHeaderBytes);
  let headerFilled = 0;
  let header: SgReplyHeader | undefined;
  let data = Buffer.alloc(0);
  let dataFilled = 0;

  return (piece: Buffer) => {
    let at = 0;
    while (at < piece.length) {
      if (!header) {
        const count = piece.copy(headerBuffer, headerFilled, at);
        at += count;
        headerFilled += count;
        if (headerFilled < replyHeaderBytes) return;
        header = decodeReplyHeader(headerBuffer);
        data = Buffer.allocUnsafeSlow(header.dataBytes);
        dataFilled = 0;
        events.header();
      } else {
        const count = piece.copy(data, dataFilled, at);
        at += count;
        dataFilled += count;
      }
      if (dataFilled < header.dataBytes) continue;
      const reply = { ...header, data };
      header = undefined;
      headerFilled = 0;
      events.reply(reply);
    }
  };
}
