/** A drive's way through Linux's SCSI generic driver: commands by SG_IO on a /dev/sg node, in a process
 * that is left behind when one does not come back. Below it stands the kernel's own error handling,
 * which nothing here can shorten: after a timeout it aborts the command and, where that fails, resets
 * what it can, step by step, and meanwhile takes no other command for that host adapter. */
import type { ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync, realpathSync, type Stats, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { getSystemErrorName } from 'node:util';
import type { Clock } from '../../clock.js';
import { LastspinError } from '../../errors.js';
import type { ResetKind } from '../drive.js';
import type { ScsiAnswer, ScsiCommand, ScsiPath } from '../scsi/path.js';
import { createSgLine, openTimeoutMs, type SgLine, type SgOutcome } from './line.js';
import {
  findAgain,
  findNode,
  type NamedFile,
  type SgNode,
  type SgSysfs,
  splitDeviceNumber,
  stateOf,
} from './nodes.js';
import type { Hello } from './records.js';
import { type SenderPaths, spawnSender } from './sender-process.js';
import { answerOf, decodeHeader, sgReset } from './sg-io.js';

export interface SgPath extends ScsiPath {
  /** The block device that the kernel made of the drive, as `/dev/sdb`, where it did. */
  readonly blockPath?: string;
  /** Serial number of the USB device in front, where it has one. */
  readonly serial?: string;
}

export interface SgPathOptions {
  /** Starts the sending process; for tests. */
  readonly spawn?: (paths: SenderPaths) => ChildProcess;
  readonly sysfs?: SgSysfs;
  /** What the user's path is; for tests. */
  readonly lookUp?: (path: string) => NamedFile;
}

/** How long the kernel may take beyond a command's own timeout before the process is left behind. usb-storage
 * takes 0.5 s (measured: an abort and a port reset), libata's first link reset up to 10 s; of the
 * longer waits that may follow (35 s) nothing is to be gained. */
export const kernelRecoveryMs = 15_000;
/** A reset waits for the kernel's own error handling, which makes the same ones, and for its drivers. */
export const resetTimeoutMs = 20_000;
/** Taking a device back makes the kernel send it commands, which may hang; and not too often. */
const onlineTimeoutMs = 20_000;
const onlinePauseMs = 10_000;

/** Opens `path`: a /dev/sg node, a disk, or a link to one of them. Of the rungs it has `abort` and, for
 * root, those of the driver below: SG_SCSI_RESET of the device, then of its target or bus, never of a host
 * adapter, on which other drives hang; with usb-storage that of the port alone; with libata, which has
 * no SG_SCSI_RESET, a reset of the link.
 * Throws DRIVE_UNKNOWN for what takes no SCSI commands, DRIVE_OPEN_FAILED, TOOL_MISSING without koffi. */
export async function openSgPath(
  path: string,
  clock: Clock,
  options: SgPathOptions = {},
): Promise<SgPath> {
  const sysfs = options.sysfs ?? systemSysfs;
  if (path === '')
    throw new LastspinError('DRIVE_UNKNOWN', 'sg: wants a node or disk: sg:/dev/sg2');
  const node = findNode((options.lookUp ?? lookUp)(path), sysfs);
  const spawn = options.spawn ?? spawnSender;
  const at: Whereabouts = {
    node,
    isLost: false,
    isFiltered: false,
    askedOnlineMs: Number.NEGATIVE_INFINITY,
  };
  const line = createSgLine(() => spawn(pathsOf(at.node)), clock);
  try {
    const hello = requireOpen(path, await line.greet());
    return createSgPath({ name: `sg:${path}`, at, line, sysfs, clock, hello });
  } catch (error) {
    line.close();
    throw error;
  }
}

/** Where the drive is now. */
interface Whereabouts {
  node: SgNode;
  /** It went away: the open node may be that of a device that is no more. */
  isLost: boolean;
  /** The kernel does not let every command through. */
  isFiltered: boolean;
  /** When the kernel was last asked to take it back. */
  askedOnlineMs: number;
}

/** The parts that the functions below share. */
interface Parts {
  readonly name: string;
  readonly at: Whereabouts;
  readonly clock: Clock;
  readonly line: SgLine;
  readonly sysfs: SgSysfs;
  readonly hello: Extract<Hello, { readonly state: 'open' }>;
  readonly notify: (notice: string) => void;
}

function createSgPath(given: Omit<Parts, 'notify'>): SgPath {
  // What is said before anybody listens is kept.
  const unheard: string[] = [];
  let tell = (notice: string): void => void unheard.push(notice);
  const parts: Parts = { ...given, notify: (notice) => tell(notice) };
  const { name, line, hello } = parts;
  const { blockPath, usb, isAta } = parts.at.node;
  // usb-storage resets the port by itself after each timeout, and then waits 6 s after the milder reset.
  const ownResets: ResetKind[] = isAta || usb ? ['hard'] : ['soft', 'hard'];
  return {
    name,
    transferBytesMax: hello.transferBytes,
    resets: new Set<ResetKind>(['abort', ...(hello.mayReset ? ownResets : [])]),
    ...(blockPath && { blockPath }),
    ...(usb?.serial && { serial: usb.serial }),
    ...(usb && { bridge: { vendorId: usb.vendorId, productId: usb.productId } }),
    async send(command) {
      const answer = await send(parts, command);
      if (answer.kind === 'gone') parts.at.isLost = true;
      return answer;
    },
    async reset(kind) {
      line.abort();
      if (kind !== 'abort') await reset(parts, kind);
    },
    isThere: () => isThere(parts),
    onNotice(handler) {
      tell = handler;
      unheard.splice(0).forEach(handler);
    },
    async close() {
      line.close();
    },
  };
}

async function send(parts: Parts, command: ScsiCommand): Promise<ScsiAnswer> {
  const { line } = parts;
  const { cdb, dataBytes, timeoutMs } = command;
  const outcome = await line.ask(
    { operation: 'command', payload: cdb, dataBytes, timeoutMs },
    timeoutMs + kernelRecoveryMs,
  );
  switch (outcome.kind) {
    case 'timeout':
      return outcome;
    case 'aborted':
      return { kind: 'failed', why: 'the command was given up', elapsedMs: outcome.elapsedMs };
    case 'stuck':
      return { kind: 'gone', elapsedMs: 0 };
    case 'hello':
      return unopenedAnswer(outcome.hello);
    case 'reply': {
      const { kind, errno, elapsedMs, header, sense, data } = outcome.reply;
      if (kind === 'refused')
        throw new LastspinError('DEVICE_REFUSED', Buffer.from(data).toString());
      if (errnosForbidden.has(errno)) return forbiddenAnswer(parts, elapsedMs);
      if (errno !== 0) return failedAnswer(errno, elapsedMs);
      const result = decodeHeader(header);
      return answerOf(result, timeoutMs, elapsedMs, data, sense.subarray(0, result.senseBytes));
    }
  }
}

/** ENOENT, ENXIO (also: set offline), ENODEV. */
const errnosGone: ReadonlySet<number> = new Set([2, 6, 19]);
/** EPERM, EACCES. */
const errnosForbidden: ReadonlySet<number> = new Set([1, 13]);

function failedAnswer(errno: number, elapsedMs: number): ScsiAnswer {
  if (errnosGone.has(errno)) return { kind: 'gone', elapsedMs };
  const why = `the kernel does not take the command (${nameOf(errno)})`;
  return { kind: 'failed', why, elapsedMs };
}

/** ILLEGAL REQUEST, invalid command operation code. */
const senseUnknownCommand = Uint8Array.of(
  0x70,
  0,
  5,
  0,
  0,
  0,
  0,
  10,
  0,
  0,
  0,
  0,
  0x20,
  0,
  0,
  0,
  0,
  0,
);

/** The kernel keeps ATA commands for root: whoever is not has a device that knows none of them. */
function forbiddenAnswer(parts: Parts, elapsedMs: number): ScsiAnswer {
  if (!parts.at.isFiltered)
    parts.notify(
      `${parts.name}: ATA commands are for root; without them the drive's own words and state stay hidden (use sudo)`,
    );
  parts.at.isFiltered = true;
  const data = new Uint8Array(0);
  return { kind: 'done', status: 'check', data, sense: senseUnknownCommand, elapsedMs };
}

/** A node that opened once and does not now. */
function unopenedAnswer(hello: Hello): ScsiAnswer {
  return hello.state === 'refused' ? failedAnswer(hello.errno, 0) : { kind: 'gone', elapsedMs: 0 };
}

function nameOf(errno: number): string {
  return getSystemErrorName(-errno);
}

/** Kinds of SG_SCSI_RESET in the order in which they are tried. Not every driver has each. */
const kindsOf = {
  soft: [sgReset.device],
  hard: [sgReset.target, sgReset.bus],
} as const;

/** The kernel answers EAGAIN while its own error handling is at work. */
const errnoAgain = 11;

async function reset({ at, line, name }: Parts, kind: 'soft' | 'hard'): Promise<void> {
  const kinds = kindsOf[kind].map((one) => one | sgReset.noEscalate);
  const isScan = at.node.isAta && kind === 'hard';
  const outcome = await line.ask(
    {
      operation: isScan ? 'scan-host' : 'reset',
      payload: isScan ? new Uint8Array(0) : new Uint8Array(new Uint16Array(kinds).buffer),
      dataBytes: 0,
      timeoutMs: resetTimeoutMs,
    },
    resetTimeoutMs + kernelRecoveryMs,
  );
  const why = whyNot(outcome);
  if (why)
    throw new LastspinError('DEVICE_REFUSED', `${name}: the ${kind} reset did not bear: ${why}`);
  // libata may have found the drive anew, under the name that it had.
  if (isScan) line.reopen();
}

/** Why an operation without data did not do what it should; undefined when it did. */
function whyNot(outcome: SgOutcome): string | undefined {
  switch (outcome.kind) {
    case 'timeout':
      return 'it does not end';
    case 'aborted':
      return 'it was given up';
    case 'stuck':
      return 'too many commands hang in the kernel';
    case 'hello':
      return 'the device cannot be opened';
    case 'reply': {
      const { errno } = outcome.reply;
      if (errno === errnoAgain) return 'the kernel is still at its own error handling';
      return errno === 0 ? undefined : nameOf(errno);
    }
  }
}

async function isThere({ at, line, sysfs, name, clock, notify }: Parts): Promise<boolean> {
  const found = findAgain(at.node, sysfs);
  if (!found) return false;
  if (found.path !== at.node.path) notify(`${name} is ${found.path} now`);
  if (at.isLost || found.device !== at.node.device) line.reopen();
  at.node = found;
  at.isLost = false;
  if (stateOf(found, sysfs) !== 'offline') return stateOf(found, sysfs) === 'online';
  if (clock.now() - at.askedOnlineMs < onlinePauseMs) return false;
  at.askedOnlineMs = clock.now();
  notify(`the kernel has set ${found.path} offline; it is asked to take the drive back`);
  const asked = { payload: new Uint8Array(0), dataBytes: 0, timeoutMs: 0 };
  await line.ask({ operation: 'go-online', ...asked }, onlineTimeoutMs);
  return stateOf(found, sysfs) === 'online';
}

function pathsOf({ path, device, host }: SgNode): SenderPaths {
  return {
    node: path,
    state: join(device, 'state'),
    scan: join(host, 'scsi_host', basename(host), 'scan'),
  };
}

function requireOpen(path: string, outcome: SgOutcome): Extract<Hello, { state: 'open' }> {
  const failed = (why: string) => new LastspinError('DRIVE_OPEN_FAILED', `${path} ${why}`);
  if (outcome.kind !== 'hello')
    throw failed(`does not answer within ${openTimeoutMs / 1000} s; cycle its power and try again`);
  const { hello } = outcome;
  switch (hello.state) {
    case 'open':
      return hello;
    case 'no-library':
      throw new LastspinError(
        'TOOL_MISSING',
        `sg: needs the optional package koffi (npm install koffi): ${hello.why}`,
      );
    case 'other-kind':
      throw failed('has no /dev/sg node');
    case 'refused':
      throw failed(
        errnosForbidden.has(hello.errno)
          ? 'may not be opened: use `sudo`, or join its group (`disk`)'
          : `cannot be opened (${nameOf(hello.errno)})`,
      );
  }
}

/** What `path` is, behind its links. Throws DRIVE_OPEN_FAILED where there is nothing. */
function lookUp(path: string): NamedFile {
  try {
    const found = statSync(path);
    return { path: realpathSync(path), kind: kindOf(found), ...splitDeviceNumber(found.rdev) };
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new LastspinError(
      'DRIVE_OPEN_FAILED',
      why === 'ENOENT' ? `there is no ${path}` : `${path} cannot be looked at (${why})`,
      { cause: error },
    );
  }
}

function kindOf(found: Stats): NamedFile['kind'] {
  if (found.isBlockDevice()) return 'block';
  return found.isCharacterDevice() ? 'character' : 'other';
}

const systemSysfs: SgSysfs = {
  read: (path) => orUndefined(() => readFileSync(path, 'latin1')),
  realpath: (path) => orUndefined(() => realpathSync(path)),
  list: (path) => orUndefined(() => readdirSync(path).sort()) ?? [],
};

function orUndefined<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
