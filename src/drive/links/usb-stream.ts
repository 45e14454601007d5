/** A byte stream over a pair of USB bulk endpoints (PROTOCOL.md T-3). */
import { Duplex } from 'node:stream';
import type { Clock } from '../../clock.js';
import { reasonOf } from '../../errors.js';

/** What a transfer ended with, as libusb numbers it. */
export interface UsbError extends Error {
  readonly errno?: number;
}

/** The parts of the `usb` package's endpoints that are used here. */
export interface UsbTransfer {
  submit(buffer: Buffer): unknown;
  cancel(): boolean;
}

export interface UsbEndpoint {
  readonly direction: 'in' | 'out';
  readonly transferType: number;
  readonly descriptor: { readonly wMaxPacketSize: number };
  /** `timeoutMs` is 0 here: libusb's own timeouts come up to a minute late. */
  makeTransfer(
    timeoutMs: number,
    callback: (error: UsbError | undefined, buffer: Buffer, actualLength: number) => void,
  ): UsbTransfer;
  clearHalt(callback: (error?: UsbError) => void): void;
}

export const transferStatus = { cancelled: 3, stall: 4, noDevice: 5 } as const;
/** What `submit` throws for a device that is gone. */
const errorNoDevice = -4;

/** So many, so that the bus has work while Node handles what came. */
const inFlightCount = 4;
/** A multiple of every packet size, and far above a message. */
const inBytes = 128 * 1024;
const outBytesMax = 128 * 1024;
/** Less than this is copied, so that its buffer can be used again. */
const smallBytesMax = 4096;
/** Transfers may fail this often in a row, this far apart, before the device is given up. */
const failuresMax = 10;
const failurePauseMs = 100;

export interface BulkPair {
  readonly input: UsbEndpoint;
  readonly output: UsbEndpoint;
}

/** A stream over two claimed endpoints. A stall ends nothing: the halt is cleared and the stream goes
 * on. Destroying it cancels what is under way, and then calls `release`. */
export function bulkStream(
  { input, output }: BulkPair,
  clock: Clock,
  release: () => Promise<void>,
): Duplex {
  const fail = (error: Error) => void stream.destroy(error);
  const sender = createSender(output, clock);
  const stream: Duplex = new Duplex({
    readableHighWaterMark: 2 * inBytes,
    read: () => receiver.resume(),
    write(bytes: Buffer, _encoding, done) {
      sender.send(bytes).then(() => done(), done);
    },
    writev(writes, done) {
      sender.send(Buffer.concat(writes.map(({ chunk }) => chunk as Buffer))).then(
        () => done(),
        (error) => done(error),
      );
    },
    destroy(error, done) {
      Promise.all([receiver.stop(), sender.stop()])
        .then(release)
        .then(
          () => done(error),
          (problem) => done(error ?? problem),
        );
    },
  });
  const receiver = createReceiver(input, clock, { push: (bytes) => stream.push(bytes), fail });
  receiver.resume();
  return stream;
}

function isGone(error: UsbError): boolean {
  return error.errno === transferStatus.noDevice || error.errno === errorNoDevice;
}

function failureOf(error: UsbError): Error {
  return isGone(error)
    ? new Error('the device is gone; was it unplugged?')
    : new Error(`the device answers no transfers (${reasonOf(error)})`, { cause: error });
}

/** Makes an endpoint work again after a failed transfer, a bounded number of times in a row. */
function createMender(endpoint: UsbEndpoint, clock: Clock) {
  let failures = 0;
  return {
    fine() {
      failures = 0;
    },
    /** Resolves when transfers may be sent again; rejects where that is no use. */
    async mend(error: UsbError): Promise<void> {
      failures++;
      if (isGone(error) || failures > failuresMax) throw failureOf(error);
      if (failures > 1) await clock.sleep(failurePauseMs);
      await new Promise<void>((resolve, reject) => {
        endpoint.clearHalt((problem) => {
          if (problem && isGone(problem)) reject(failureOf(problem));
          // Any other failure to clear it shows in the next transfer.
          else resolve();
        });
      });
    },
  };
}

interface Slot {
  readonly transfer: UsbTransfer;
  buffer: Buffer;
}

/** Keeps transfers under way as long as somebody takes what they bring. */
function createReceiver(
  endpoint: UsbEndpoint,
  clock: Clock,
  { push, fail }: { push: (bytes: Buffer) => boolean; fail: (error: Error) => void },
) {
  const mender = createMender(endpoint, clock);
  const idle: Slot[] = [];
  const flying = new Set<Slot>();
  let isWanted = false;
  let stopped = false;
  /** The error that is being mended: no transfers meanwhile. */
  let trouble: UsbError | undefined;
  let onLanded = () => {};

  function createSlot(): Slot {
    const transfer = endpoint.makeTransfer(0, (error, _buffer, length) => {
      flying.delete(slot);
      take(slot, length);
      idle.push(slot);
      if (error && error.errno !== transferStatus.cancelled) halt(error);
      else if (!error) mender.fine();
      if (flying.size === 0) landed();
      submitAll();
    });
    const slot: Slot = { transfer, buffer: Buffer.allocUnsafeSlow(inBytes) };
    return slot;
  }

  /** Hands on what came; also of a transfer that failed or was cancelled half-way. */
  function take(slot: Slot, length: number): void {
    if (length === 0 || stopped) return;
    const bytes = slot.buffer.subarray(0, length);
    if (length < smallBytesMax) {
      if (!push(Buffer.from(bytes))) isWanted = false;
      return;
    }
    slot.buffer = Buffer.allocUnsafeSlow(inBytes);
    if (!push(bytes)) isWanted = false;
  }

  /** A halt may be cleared only when nothing is under way on the endpoint. */
  function halt(error: UsbError): void {
    if (trouble || stopped) return;
    trouble = error;
    cancelAll();
  }

  function landed(): void {
    onLanded();
    const error = trouble;
    if (!error || stopped) return;
    const goOn = () => {
      trouble = undefined;
      submitAll();
    };
    mender.mend(error).then(goOn, fail);
  }

  function cancelAll(): void {
    // What came to its end meanwhile cannot be cancelled, and its callback comes all the same.
    for (const { transfer } of flying) transfer.cancel();
  }

  function submitAll(): void {
    while (isWanted && !trouble && !stopped) {
      const slot = idle.shift();
      if (!slot) return;
      try {
        slot.transfer.submit(slot.buffer);
        flying.add(slot);
      } catch (error) {
        idle.push(slot);
        fail(failureOf(error as UsbError));
        return;
      }
    }
  }

  for (let count = 0; count < inFlightCount; count++) idle.push(createSlot());
  return {
    resume() {
      isWanted = true;
      submitAll();
    },
    /** Resolves when nothing is under way any more. */
    stop(): Promise<void> {
      stopped = true;
      const stopping = new Promise<void>((resolve) => {
        onLanded = resolve;
        if (flying.size === 0) resolve();
      });
      cancelAll();
      return stopping;
    },
  };
}

interface Sent {
  readonly error: UsbError | undefined;
  /** Bytes. */
  readonly sent: number;
}

/** Sends what it is given in one transfer after the other. */
function createSender(endpoint: UsbEndpoint, clock: Clock) {
  const mender = createMender(endpoint, clock);
  let stopped = false;
  let underWay: { readonly transfer: UsbTransfer; readonly landed: Promise<Sent> } | undefined;

  /** Resolves with the bytes that the device took, and why not all. */
  function transferOf(bytes: Buffer): Promise<Sent> {
    let settle: (sent: Sent) => void = () => {};
    const landed = new Promise<Sent>((resolve) => {
      settle = resolve;
    });
    const transfer = endpoint.makeTransfer(0, (error, _buffer, sent) => settle({ error, sent }));
    try {
      transfer.submit(bytes);
    } catch (error) {
      return Promise.reject(failureOf(error as UsbError));
    }
    underWay = { transfer, landed };
    return landed;
  }

  /** One transfer; after a stall its rest. */
  async function sendPart(bytes: Buffer): Promise<void> {
    let left = bytes;
    do {
      if (stopped) return;
      const { error, sent } = await transferOf(left);
      left = left.subarray(sent);
      if (!error) {
        mender.fine();
        return;
      }
      if (stopped) return;
      await mender.mend(error);
    } while (left.length > 0);
  }

  return {
    async send(bytes: Buffer): Promise<void> {
      for (let at = 0; at < bytes.length; at += outBytesMax) {
        await sendPart(bytes.subarray(at, at + outBytesMax));
      }
      // T-3: a transfer ends with a short packet, of no bytes where the last one was full.
      if (bytes.length % endpoint.descriptor.wMaxPacketSize === 0) await sendPart(Buffer.alloc(0));
    },
    async stop(): Promise<void> {
      stopped = true;
      underWay?.transfer.cancel();
      await underWay?.landed;
    },
  };
}
