/** An imager's USB device, played: one interface of vendor bulk endpoints (PROTOCOL.md T-3) and one
 * CDC-ACM serial port, each a link of its own. What carries its transfers is another file's
 * matter. */
import { Duplex } from 'node:stream';
import { createBulkEndpoints } from './bulk-endpoints.js';
import {
  bulkPair,
  configurationDescriptor,
  createStandardRequests,
  deviceDescriptor,
  directionIn,
  idsOf,
  noBytes,
} from './usb-standard.js';

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
  /** The host reset the port: the device starts anew, still plugged in. */
  reset(): void;
  /** Makes the next transfer from this endpoint, and all until the host clears the halt, a stall. */
  stall(endpoint: number): void;
  /** How often the host cleared a halt. */
  readonly haltsCleared: number;
}

/** A device's plug in a host. */
export interface UsbPlug {
  /** Resolves when the host has taken the device; a device that is plugged in already stays so. */
  plugIn(): Promise<void>;
  pull(): void;
  /** Ends the connection too. */
  close(): void;
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
  const device = deviceDescriptor(ids, [0xef, 2, 1]);
  const configuration = imagerConfiguration();
  let haltsCleared = 0;
  const lineCoding = Buffer.from([0x00, 0xc2, 0x01, 0x00, 0, 0, 8]);
  const lineOf = (endpoint: number) => lines.get(endpoint & 0x0f);
  const standard = createStandardRequests({
    device,
    configuration,
    strings: ['Lastspin', 'Simulated imager', ids.serialNumber],
    isHalted: (endpoint) => lineOf(endpoint)?.isHalted(endpoint) ?? false,
    halt: (endpoint) => lineOf(endpoint)?.halt(endpoint),
    clearHalt(endpoint) {
      haltsCleared++;
      lineOf(endpoint)?.clearHalt(endpoint);
    },
  });

  return {
    name: idsOf(ids),
    device,
    configuration,
    control(setup, length) {
      const answer = standard(setup) ?? answerClass(setup);
      return answer === 'stall' ? answer : answer.subarray(0, length);
    },
    bulkIn: (endpoint, lengthMax, answer) => {
      const line = lineOf(endpoint);
      if (line) return line.take(lengthMax, answer);
      answer('stall', noBytes);
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
    // The port of an imager is reset when it is plugged in; its links begin then.
    reset() {},
    stall: (endpoint) => lineOf(endpoint)?.halt(endpoint),
    get haltsCleared() {
      return haltsCleared;
    },
  };

  function answerClass(setup: Setup): Buffer | 'stall' {
    switch ((setup.requestType << 8) | setup.request) {
      case 0x2120: // SET_LINE_CODING: a port over USB has no rate
      case 0x2122: // SET_CONTROL_LINE_STATE: T-2, DTR and RTS mean nothing
      case 0x2123: // SEND_BREAK
        return noBytes;
      case 0xa121:
        return lineCoding;
      default:
        return 'stall';
    }
  }
}

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

/** One pair of bulk endpoints, and the stream behind it. */
function createLine(): Line {
  const endpoints = createBulkEndpoints(pump);
  /** What the device sends: each entry is one transfer of T-3. */
  const sending: { bytes: Buffer; readonly done: () => void }[] = [];
  /** The host's last transfer, while the device has no room for more. */
  let held: AnswerOut | undefined;
  let stream: Duplex | undefined;

  function pump(): void {
    for (let entry = sending[0]; entry; entry = sending[0]) {
      const transfer = endpoints.next();
      if (!transfer) return;
      const bytes = entry.bytes.subarray(0, transfer.lengthMax);
      entry.bytes = entry.bytes.subarray(bytes.length);
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
      endpoints.clearHalts();
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
      endpoints.forget();
      closing?.destroy();
    },
    take: endpoints.take,
    give(bytes, answer) {
      if (endpoints.isHalted(0)) answer('stall');
      else if (bytes.length === 0 || !stream || stream.push(bytes)) answer('done');
      else held = answer;
    },
    halt: endpoints.stall,
    clearHalt: endpoints.clearHalt,
    isHalted: endpoints.isHalted,
  };
  return line;
}

/** CDC 1.2, and PROTOCOL.md T-3. */
function imagerConfiguration(): Buffer {
  return configurationDescriptor(3, [
    [9, 4, 0, 0, 2, 0xff, 0x4c, 0x01, 0, ...bulkPair(vendorEndpoint)],
    // Interfaces 1 and 2 are one function: CDC-ACM, with line coding and BREAK.
    [8, 11, 1, 2, 2, 2, 1, 0],
    [9, 4, 1, 0, 1, 2, 2, 1, 0, 5, 0x24, 0, 0x10, 1, 5, 0x24, 1, 0, 2],
    [4, 0x24, 2, 6, 5, 0x24, 6, 1, 2, 7, 5, notifyEndpoint | directionIn, 3, 16, 0, 9],
    [9, 4, 2, 0, 2, 10, 0, 0, 0, ...bulkPair(serialEndpoint)],
  ]);
}
