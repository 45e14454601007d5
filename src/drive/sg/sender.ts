/** The sending process of an `sg:` path: the program that `path.ts` starts and, when a command
 * hangs, abandons. It is no library: importing it runs it.
 *
 * A plain loop of blocking calls: a request, an ioctl, a reply. SG_IO waits in the kernel for as long as
 * a device and the error handling take; nothing in a process can cut that short, so this one is killed.
 *
 * The node is opened for reading only. SG_IO then lets everybody but root send only what the kernel
 * knows to be harmless (block/scsi_ioctl's filter; ATA pass-through is not among that), root
 * everything; what goes out is judged here by the project's own list in any case, after the judgement
 * of whoever asked. */
import {
  constants,
  openSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { judgeReadOnly } from '../../../firmware-protocol/read-only.js';
import { reasonOf } from '../../errors.js';
import { repliesDescriptor, requestsDescriptor } from '../io-process.js';
import { type Ioctl, loadIoctl } from '../ioctl.js';
import { splitDeviceNumber } from './nodes.js';
import {
  decodeRecord,
  encodeReplyNumbers,
  type Hello,
  helloId,
  replyHeaderBytes,
  requestBytes,
  type SgRecord,
  type SgReplyKind,
  sgPartsOf,
  transferBytesMax,
} from './records.js';
import {
  cdbBytesMax,
  dataBytesOf,
  decodeHeader,
  encodeHeader,
  ioctlSgGetReservedSize,
  ioctlSgIo,
  ioctlSgScsiReset,
  ioctlSgSetReservedSize,
  sgMajor,
} from './sg-io.js';

/** The kernel takes no reset while its own error handling is at work; it is asked again this often. */
const recoveringPauseMs = 200;
/** Error numbers of Linux (include/uapi/asm-generic/errno-base.h). */
const errnoAgain = 11;
const errnoNoDevice = 19;
/** What SG takes without a word (SG_SCATTER_SZ). */
const transferBytesDefault = 32_768;
/** Bits of the capabilities that SG_SCSI_RESET asks for (include/uapi/linux/capability.h). */
const capabilitiesForReset = (1n << 17n) | (1n << 21n);

/** A reply is built in place: header, SG_IO's header and sense data, data. One write sends it. */
const reply = Buffer.alloc(replyHeaderBytes + transferBytesMax);
const { header, sense } = sgPartsOf(reply);
const data = reply.subarray(replyHeaderBytes);
const cdb = Buffer.alloc(cdbBytesMax);
/** For what ioctl reads or writes as an int. */
const number = Buffer.alloc(4);

/** The node, open, and the files of /sys that belong to its device. */
interface Node {
  readonly ioctl: Ioctl;
  readonly descriptor: number;
  readonly statePath: string;
  readonly scanPath: string;
}

function openNode(
  [path = '', statePath = '', scanPath = '']: readonly string[],
  greet: (hello: Hello) => void,
): Node | undefined {
  let ioctl: Ioctl;
  try {
    ioctl = loadIoctl();
  } catch (error) {
    greet({ state: 'no-library', why: reasonOf(error) });
    return undefined;
  }
  try {
    const found = statSync(path);
    if (!found.isCharacterDevice() || splitDeviceNumber(found.rdev).major !== sgMajor) {
      greet({ state: 'other-kind' });
      return undefined;
    }
    // Not to wait for the kernel's error handling, which has its own end.
    const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const transferBytes = reserve(ioctl, descriptor);
    greet({ state: 'open', transferBytes, mayReset: mayReset() });
    return { ioctl, descriptor, statePath, scanPath };
  } catch (error) {
    greet({ state: 'refused', errno: errnoOf(error) });
    return undefined;
  }
}

/** Asks for a buffer of the longest transfer. What is granted already respects the limit of the
 * device's queue (`max_sectors_kb`). */
function reserve(ioctl: Ioctl, descriptor: number): number {
  number.writeInt32LE(transferBytesMax);
  ioctl.call(descriptor, ioctlSgSetReservedSize, number);
  if (ioctl.call(descriptor, ioctlSgGetReservedSize, number) !== 0) return transferBytesDefault;
  return Math.min(number.readInt32LE(), transferBytesMax);
}

function mayReset(): boolean {
  const set = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
  return set !== undefined && (BigInt(`0x${set}`) & capabilitiesForReset) === capabilitiesForReset;
}

interface Outcome {
  readonly kind: SgReplyKind;
  readonly errno: number;
  readonly dataBytes: number;
}

const ended = (errno: number): Outcome => ({ kind: 'answer', errno, dataBytes: 0 });

function serve(node: Node, record: SgRecord): Outcome {
  switch (record.operation) {
    case 'command':
      return sendCommand(node, record);
    case 'reset':
      return ended(reset(node, record));
    case 'go-online':
      return ended(writeAttribute(node.statePath, 'running\n'));
    case 'scan-host':
      return ended(writeAttribute(node.scanPath, '- - -\n'));
  }
}

function sendCommand({ ioctl, descriptor }: Node, record: SgRecord): Outcome {
  const verdict = judgeReadOnly(record.payload);
  if (!verdict.allowed) return refuse(verdict.reason);
  if (record.dataBytes > transferBytesMax) return refuse(`a transfer of ${record.dataBytes} bytes`);
  cdb.set(record.payload);
  sense.fill(0);
  const request = {
    cdbBytes: record.payload.length,
    dataBytes: record.dataBytes,
    timeoutMs: record.timeoutMs,
    cdbAddress: ioctl.addressOf(cdb),
    dataAddress: ioctl.addressOf(data),
    senseAddress: ioctl.addressOf(sense),
  };
  encodeHeader(request, header);
  const errno = ioctl.call(descriptor, ioctlSgIo, header);
  if (errno !== 0) return ended(errno);
  const dataBytes = dataBytesOf(decodeHeader(header), record.dataBytes);
  return { kind: 'answer', errno: 0, dataBytes };
}

function refuse(reason: string): Outcome {
  return { kind: 'refused', errno: 0, dataBytes: data.write(reason) };
}

/** The kinds in turn, until one bears. While the kernel's own error handling is at work, which makes the
 * same resets, it is waited for. */
function reset({ ioctl, descriptor }: Node, { payload, timeoutMs }: SgRecord): number {
  const untilMs = nowMs() + timeoutMs;
  let errno = errnoNoDevice;
  for (let at = 0; at + 1 < payload.length; at += 2) {
    const kind = payload[at]! | (payload[at + 1]! << 8);
    for (;;) {
      number.writeInt32LE(kind);
      errno = ioctl.call(descriptor, ioctlSgScsiReset, number);
      if (errno !== errnoAgain || nowMs() > untilMs) break;
      pause(recoveringPauseMs);
    }
    if (errno === 0) break;
  }
  return errno;
}

function writeAttribute(path: string, text: string): number {
  try {
    writeFileSync(path, text);
    return 0;
  } catch (error) {
    return errnoOf(error);
  }
}

function nowMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

function pause(delayMs: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, delayMs);
}

/** The positive number of a system error. An error without one is a bug, and ends the process. */
function errnoOf(error: unknown): number {
  const { errno } = error as NodeJS.ErrnoException;
  if (errno === undefined) throw error;
  return Math.abs(errno);
}

/** Sends what was built in `reply`. */
function send(id: number, { kind, errno, dataBytes }: Outcome, elapsedMs: number): void {
  encodeReplyNumbers({ kind, id, errno, dataBytes, elapsedMs }, reply);
  const length = replyHeaderBytes + dataBytes;
  for (let sent = 0; sent < length; )
    sent += writeSync(repliesDescriptor, reply, sent, length - sent);
}

function greet(hello: Hello): void {
  send(helloId, { kind: 'hello', errno: 0, dataBytes: data.write(JSON.stringify(hello)) }, 0);
}

/** Serves requests in order until the pipe closes. */
function serveAll(node: Node): void {
  const bytes = Buffer.alloc(requestBytes);
  for (;;) {
    for (let filled = 0; filled < requestBytes; ) {
      const length = readSync(requestsDescriptor, bytes, filled, requestBytes - filled, null);
      if (length === 0) return;
      filled += length;
    }
    const record = decodeRecord(bytes);
    const startedMs = nowMs();
    const outcome = serve(node, record);
    send(record.id, outcome, nowMs() - startedMs);
  }
}

const opened = openNode(process.argv.slice(2), greet);
if (opened) serveAll(opened);
