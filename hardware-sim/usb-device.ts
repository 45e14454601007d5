/** An imager's USB device, played: one interface of vendor bulk endpoints (PROTOCOL.md T-3) and one
 * CDC-ACM serial port, each a link of its own. What carries its transfers is another file's
 * matter. */
import { Duplex } from 'node:stream';

/** How a transfer ended. */
export type TransferEnd = 'done' | 'stall' | 'cancelled';

/** Answers one IN transfer, with what came. */
export type AnswerIn = (end: TransferEnd, bytes: Buffer) => void;
export type AnswerOut = (end: TransferEnd) => void;

export interface UsbDevice {
  /** Vendor and product as they are written: `1209:0001`. */
  readonly name: string;
  readonly device: Buffer;
  readonly configuration: Buffer;
  /** A control request, its data stage included: the bytes of an IN stage, none for OUT. `sent`: those of an OUT
   * stage. */
  control(setup: Setup, length: number, sent?: Buffer): Buffer | 'stall';
  /** The host has room for `lengthMax` bytes from an endpoint. Returns what cancels it. */
  bulkIn(endpoint: number, lengthMax: number, answer: AnswerIn): () => void;
  bulkOut(endpoint: number, bytes: Buffer, answer: AnswerOut): void;
  /** A plug is pushed in, or pulled: what was on the lines is gone. */
  attach(): void;
  detach(): void;
  /** Makes the next transfer from this endpoint, and all until the host clears the halt, a stall. */
  stall(endpoint: number): void;
  /** How often the host cleared a halt. */
  readonly haltsCleared: number;
}

export interface Setup {
  readonly requestType: number;
  readonly request: number;
  readonly value: number;
  readonly index: number;
}

export interface UsbDeviceOptions {
  readonly vendorId?: number;
  readonly productId?: number;
  readonly serialNumber?: string;
}

/** Addresses of the bulk endpoints; the direction's bit is not in them. */
export const vendorEndpoint = 1;
export const serialEndpoint = 2;
const notifyEndpoint = 3;

const packetBytes = 512;
const directionIn = 0x80;
const idsDefault = { vendorId: 0x1209, productId: 0x0001, serialNumber: 'SIM0001' };

/** A device that hands each of its links to `serve` as often as it is plugged in. */
export function createUsbDevice(
  serve: (stream: Duplex) => void,
  options: UsbDeviceOptions = {},
): UsbDevice {
  const ids = { ...idsDefault, ...options };
  const lines = new Map([
    [vendorEndpoint, createLine()],
    [serialEndpoint, createLine()],
  ]);
  const strings = ['Lastspin', 'Simulated imager', ids.serialNumber];
  const device = deviceDescriptor(ids.vendorId, ids.productId);
  const configuration = configurationDescriptor();
  let haltsCleared = 0;
  let configured = 1;
  const lineCoding = Buffer.from([0x00, 0xc2, 0x01, 0x00, 0, 0, 8]);
  const lineOf = (endpoint: number) => lines.get(endpoint & 0x0f);

  function descriptorOf(value: number): Buffer | 'stall' {
    const [type, index] = [value >> 8, value & 0xff];
    if (type === 1) return device;
    if (type === 2) return configuration;
    if (type === 3) return stringDescriptor(strings, index);
    if (type === 6) return qualifierOf(device);
    return 'stall';
  }

  function feature(isSet: boolean, { requestType, index }: Setup): Buffer {
    // Of an endpoint there is one: its halt.
    if (requestType === 0x02 && isSet) lineOf(index)?.halt(index);
    if (requestType === 0x02 && !isSet) {
      haltsCleared++;
      lineOf(index)?.clearHalt(index);
    }
    return none;
  }

  const hex = (id: number) => id.toString(16).padStart(4, '0');
  return {
    name: `${hex(ids.vendorId)}:${hex(ids.productId)}`,
    device,
    configuration,
    control(setup, length) {
      const answer = answerControl(setup);
      return answer === 'stall' ? answer : answer.subarray(0, length);
    },
    bulkIn: (endpoint, lengthMax, answer) => {
      const line = lineOf(endpoint);
      if (line) return line.take(lengthMax, answer);
      answer('stall', none);
      return () => {};
    },
    bulkOut(endpoint, bytes, answer) {
      const line = lineOf(endpoint);
      if (line) line.give(bytes, answer);
      else answer('stall');
    },
    attach() {
      for (const line of lines.values()) serve(line.open());
    },
    detach() {
      for (const line of lines.values()) line.close();
    },
    stall: (endpoint) => lineOf(endpoint)?.halt(endpoint),
    get haltsCleared() {
      return haltsCleared;
    },
  };

  function answerControl(setup: Setup): Buffer | 'stall' {
    switch ((setup.requestType << 8) | setup.request) {
      case 0x8000: // GET_STATUS of device, interface, endpoint
      case 0x8100:
        return Buffer.from([0, 0]);
      case 0x8200:
        return Buffer.from([lineOf(setup.index)?.isHalted(setup.index) ? 1 : 0, 0]);
      case 0x0001: // CLEAR_FEATURE
      case 0x0201:
        return feature(false, setup);
      case 0x0003: // SET_FEATURE
      case 0x0203:
        return feature(true, setup);
      case 0x8006:
        return descriptorOf(setup.value);
      case 0x8008:
        return Buffer.from([configured]);
      case 0x0009:
        configured = setup.value;
        return none;
      case 0x810a: // GET_INTERFACE
        return Buffer.from([0]);
      case 0x010b: // SET_INTERFACE
      case 0x2120: // SET_LINE_CODING: a port over USB has no rate
      case 0x2122: // SET_CONTROL_LINE_STATE: T-2, DTR and RTS mean nothing
      case 0x2123: // SEND_BREAK
        return none;
      case 0xa121:
        return lineCoding;
      default:
        return 'stall';
    }
  }
}

const none = Buffer.alloc(0);

interface Line {
  /** A stream over a fresh pair of endpoints. */
  open(): Duplex;
  close(): void;
  take(lengthMax: number, answer: AnswerIn): () => void;
  give(bytes: Buffer, answer: AnswerOut): void;
  halt(endpoint: number): void;
  clearHalt(endpoint: number): void;
  isHalted(endpoint: number): boolean;
}

interface WaitingIn {
  readonly lengthMax: number;
  readonly answer: AnswerIn;
}

/** One pair of bulk endpoints, and the stream behind it. */
function createLine(): Line {
  const waiting: WaitingIn[] = [];
  const halted = new Set<number>();
  /** What the device sends: each entry is one transfer of T-3. */
  const sending: { bytes: Buffer; readonly done: () => void }[] = [];
  /** The host's last transfer, while the device has no room for more. */
  let held: AnswerOut | undefined;
  let stream: Duplex | undefined;

  function pump(): void {
    while (!halted.has(directionIn)) {
      const [entry, transfer] = [sending[0], waiting[0]];
      if (!entry || !transfer) return;
      const bytes = entry.bytes.subarray(0, transfer.lengthMax);
      entry.bytes = entry.bytes.subarray(bytes.length);
      waiting.shift();
      transfer.answer('done', bytes);
      // A transfer that came back full does not end what is sent: an empty one follows.
      if (entry.bytes.length > 0 || bytes.length === transfer.lengthMax) continue;
      sending.shift();
      entry.done();
    }
  }

  function release(): void {
    const answer = held;
    held = undefined;
    answer?.('done');
  }

  const line: Line = {
    open() {
      line.close();
      halted.clear();
      const opened: Duplex = new Duplex({
        read: release,
        write(bytes: Buffer, _encoding, done) {
          sending.push({ bytes, done });
          pump();
        },
        destroy(error, done) {
          sending.splice(0);
          done(error);
        },
      });
      stream = opened;
      return opened;
    },
    close() {
      const closing = stream;
      stream = undefined;
      held = undefined;
      waiting.splice(0);
      closing?.destroy();
    },
    take(lengthMax, answer) {
      if (halted.has(directionIn)) {
        answer('stall', none);
        return () => {};
      }
      const transfer: WaitingIn = { lengthMax, answer };
      waiting.push(transfer);
      pump();
      return () => {
        const at = waiting.indexOf(transfer);
        if (at === -1) return;
        waiting.splice(at, 1);
        answer('cancelled', none);
      };
    },
    give(bytes, answer) {
      if (halted.has(0)) answer('stall');
      else if (bytes.length === 0 || !stream || stream.push(bytes)) answer('done');
      else held = answer;
    },
    halt(endpoint) {
      halted.add(endpoint & directionIn);
      if ((endpoint & directionIn) !== 0) waiting.shift()?.answer('stall', none);
    },
    clearHalt(endpoint) {
      halted.delete(endpoint & directionIn);
      pump();
    },
    isHalted: (endpoint) => halted.has(endpoint & directionIn),
  };
  return line;
}

// Descriptors (USB 2.0, chapter 9; CDC 1.2)

function deviceDescriptor(vendorId: number, productId: number): Buffer {
  const bytes = Buffer.from([18, 1, 0, 2, 0xef, 2, 1, 64, 0, 0, 0, 0, 0, 1, 1, 2, 3, 1]);
  bytes.writeUInt16LE(vendorId, 8);
  bytes.writeUInt16LE(productId, 10);
  return bytes;
}

function qualifierOf(device: Buffer): Buffer {
  return Buffer.concat([Buffer.from([10, 6]), device.subarray(2, 8), Buffer.from([1, 0])]);
}

function stringDescriptor(strings: readonly string[], index: number): Buffer | 'stall' {
  if (index === 0) return Buffer.from([4, 3, 0x09, 0x04]);
  const text = strings[index - 1];
  if (text === undefined) return 'stall';
  const encoded = Buffer.from(text, 'utf16le');
  return Buffer.concat([Buffer.from([2 + encoded.length, 3]), encoded]);
}

function configurationDescriptor(): Buffer {
  const bulk = (address: number) => [7, 5, address, 2, packetBytes & 0xff, packetBytes >> 8, 0];
  const pair = (address: number) => [...bulk(address), ...bulk(address | directionIn)];
  const parts = [
    // T-3
    [9, 4, 0, 0, 2, 0xff, 0x4c, 0x01, 0, ...pair(vendorEndpoint)],
    // Interfaces 1 and 2 are one function: CDC-ACM, with line coding and BREAK.
    [8, 11, 1, 2, 2, 2, 1, 0],
    [9, 4, 1, 0, 1, 2, 2, 1, 0, 5, 0x24, 0, 0x10, 1, 5, 0x24, 1, 0, 2],
    [4, 0x24, 2, 6, 5, 0x24, 6, 1, 2, 7, 5, notifyEndpoint | directionIn, 3, 16, 0, 9],
    [9, 4, 2, 0, 2, 10, 0, 0, 0, ...pair(serialEndpoint)],
  ].flat();
  const length = 9 + parts.length;
  return Buffer.from([9, 2, length & 0xff, length >> 8, 3, 1, 0, 0x80, 50, ...parts]);
}
