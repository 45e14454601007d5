import { Duplex } from 'node:stream';
import type { UsbLibrary } from '../../src/drive/links/usb.js';
import {
  transferStatus,
  type UsbEndpoint,
  type UsbError,
} from '../../src/drive/links/usb-stream.js';

const packetBytes = 512;

interface Pending {
  readonly buffer: Buffer;
  filled: number;
  readonly finish: (errno: number | undefined, length: number) => void;
}

function usbError(errno: number): UsbError {
  return Object.assign(new Error(`LIBUSB ${errno}`), { errno });
}

/** One bulk endpoint as libusb shows it: transfers wait in a queue, and end one after the other. */
function createEndpoint(direction: 'in' | 'out', isPlugged: () => boolean) {
  const pending: Pending[] = [];
  const state = { halted: false, halts: 0, clearedWhileBusy: 0, inFlightMost: 0 };
  let onSubmit = () => {};
  const endpoint: UsbEndpoint = {
    direction,
    transferType: 2,
    descriptor: { wMaxPacketSize: packetBytes },
    makeTransfer(_timeoutMs, callback) {
      let mine: Pending | undefined;
      return {
        submit(buffer) {
          if (!isPlugged()) throw usbError(-4);
          const item: Pending = {
            buffer,
            filled: 0,
            finish(errno, length) {
              pending.splice(pending.indexOf(item), 1);
              mine = undefined;
              const error = errno === undefined ? undefined : usbError(errno);
              queueMicrotask(() => callback(error, buffer, length));
            },
          };
          mine = item;
          pending.push(item);
          state.inFlightMost = Math.max(state.inFlightMost, pending.length);
          onSubmit();
        },
        cancel() {
          mine?.finish(transferStatus.cancelled, mine.filled);
          return true;
        },
      };
    },
    clearHalt(callback) {
      if (pending.length > 0) state.clearedWhileBusy++;
      state.halted = false;
      queueMicrotask(() => callback());
    },
  };
  return {
    endpoint,
    pending,
    state,
    onSubmit(handler: () => void) {
      onSubmit = handler;
    },
    /** Halts it; the transfer at its head ends with the stall, after what it brought so far. */
    stall() {
      state.halted = true;
      state.halts++;
      pending[0]?.finish(transferStatus.stall, pending[0].filled);
    },
  };
}

export interface FakeUsbDevice {
  readonly library: UsbLibrary;
  /** The device's own end of the two bulk endpoints. */
  readonly far: Duplex;
  readonly input: ReturnType<typeof createEndpoint>;
  readonly output: ReturnType<typeof createEndpoint>;
  /** Lengths of the transfers that the device got. */
  readonly outLengths: number[];
  openHandles(): number;
  unplug(): void;
}

export interface FakeUsbOptions {
  readonly serialNumber?: string;
  readonly interfaceClass?: number;
  readonly openError?: number;
  readonly portNumbers?: readonly number[];
  /** Stalls the device's endpoint once, after so many bytes. */
  readonly stallInAt?: number;
  readonly stallOutAt?: number;
}

/** An imager's USB device, as the `usb` package would show it. */
export function createFakeUsb(options: FakeUsbOptions = {}): FakeUsbDevice {
  let plugged = true;
  let handles = 0;
  const input = createEndpoint('in', () => plugged);
  const output = createEndpoint('out', () => plugged);
  const outLengths: number[] = [];
  /** What the device sends, a transfer an entry; `done` when the last byte has left. */
  const sending: { bytes: Buffer; done: () => void }[] = [];
  let sentBytes = 0;
  let takenBytes = 0;
  let stallInAt = options.stallInAt ?? Number.POSITIVE_INFINITY;
  let stallOutAt = options.stallOutAt ?? Number.POSITIVE_INFINITY;

  function pumpIn(): void {
    while (!input.state.halted && input.pending[0] && sending[0]) {
      const transfer = input.pending[0];
      const entry = sending[0];
      const room = Math.min(transfer.buffer.length - transfer.filled, stallInAt - sentBytes);
      const bytes = entry.bytes.subarray(0, room);
      transfer.buffer.set(bytes, transfer.filled);
      transfer.filled += bytes.length;
      sentBytes += bytes.length;
      entry.bytes = entry.bytes.subarray(bytes.length);
      if (sentBytes >= stallInAt) {
        stallInAt = Number.POSITIVE_INFINITY;
        input.stall();
        return;
      }
      const isFull = transfer.filled === transfer.buffer.length;
      if (entry.bytes.length > 0 && !isFull) continue;
      transfer.finish(undefined, transfer.filled);
      // A full transfer does not end what is sent: an empty packet follows in the next one.
      if (entry.bytes.length > 0 || isFull) continue;
      sending.shift();
      entry.done();
    }
  }

  function pumpOut(): void {
    const transfer = output.pending[0];
    if (!transfer || output.state.halted) return;
    const taken = transfer.buffer.subarray(0, Math.max(0, stallOutAt - takenBytes));
    takenBytes += taken.length;
    if (taken.length > 0) far.push(Buffer.from(taken));
    if (taken.length < transfer.buffer.length) {
      stallOutAt = Number.POSITIVE_INFINITY;
      transfer.filled = taken.length;
      output.stall();
      return;
    }
    outLengths.push(transfer.buffer.length);
    transfer.finish(undefined, transfer.buffer.length);
  }

  const far: Duplex = new Duplex({
    read() {},
    write(bytes: Buffer, _encoding, done) {
      sending.push({ bytes: Buffer.from(bytes), done });
      pumpIn();
    },
  });
  input.onSubmit(pumpIn);
  output.onSubmit(pumpOut);

  const device = {
    busNumber: 1,
    portNumbers: options.portNumbers ?? [4],
    deviceDescriptor: {
      idVendor: 0x1209,
      idProduct: 1,
      iSerialNumber: options.serialNumber === undefined ? 0 : 3,
    },
    configDescriptor: {
      interfaces: [
        [
          {
            bInterfaceNumber: 0,
            bInterfaceClass: options.interfaceClass ?? 0xff,
            bInterfaceSubClass: 0x4c,
            bInterfaceProtocol: 1,
          },
        ],
      ],
    },
    open() {
      if (options.openError !== undefined) throw usbError(options.openError);
      handles++;
    },
    close() {
      if (input.pending.length + output.pending.length > 0) {
        throw new Error("Can't close device with a pending request");
      }
      handles--;
    },
    interface: () => ({
      endpoints: [output.endpoint, input.endpoint],
      claim() {},
      release: (callback: (error?: UsbError) => void) => queueMicrotask(() => callback()),
    }),
    getStringDescriptor: (_index: number, callback: (error?: UsbError, text?: string) => void) =>
      queueMicrotask(() => callback(undefined, options.serialNumber)),
  };

  return {
    library: { getDeviceList: () => (plugged ? [device] : []) },
    far,
    input,
    output,
    outLengths,
    openHandles: () => handles,
    unplug() {
      plugged = false;
      for (const { pending } of [input, output]) {
        for (const transfer of [...pending]) transfer.finish(transferStatus.noDevice, 0);
      }
    },
  };
}
