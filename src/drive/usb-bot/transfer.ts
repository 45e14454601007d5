/** One USB transfer with a deadline of our own: libusb's come up to a minute late. */
import type { Clock } from '../../clock.js';
import { reasonOf } from '../../errors.js';
import { transferStatus, type UsbError, type UsbTransfer } from '../links/usb-stream.js';

/** How a transfer ended; `bytes` came or went before that.
 * - `cancelled`: on request.
 * - `gone`: the device is not there.
 * - `failed`: the bus or the device did what it must not; `why` is a phrase for people.
 * - `stuck`: it came to no end even when it was cancelled. */
export type TransferEnd =
  | { readonly kind: 'done' | 'stall' | 'timeout' | 'cancelled' | 'gone'; readonly bytes: number }
  | { readonly kind: 'failed' | 'stuck'; readonly bytes: number; readonly why: string };

export type Callback = (error: UsbError | undefined, buffer: Buffer, actualLength: number) => void;

export interface RunningTransfer {
  readonly ended: Promise<TransferEnd>;
  cancel(): void;
}

/** How long a cancelled transfer may take to come back. */
const cancelLimitMs = 2000;
/** What libusb's functions throw, in contrast to what transfers end with. */
const errorNoDevice = -4;
const errorNotFound = -5;

/** Whether an error of libusb says that the device has left the bus. */
export function isGone({ errno }: UsbError): boolean {
  return errno === transferStatus.noDevice || errno === errorNoDevice || errno === errorNotFound;
}

/** Submits a transfer. Never throws, and ends by `timeoutMs` and what a cancellation takes. */
export function runTransfer(
  make: (callback: Callback) => UsbTransfer,
  buffer: Buffer,
  timeoutMs: number,
  clock: Clock,
): RunningTransfer {
  let cause: 'timeout' | 'cancelled' | undefined;
  let stop = (_cause: 'timeout' | 'cancelled') => {};
  const ended = new Promise<TransferEnd>((resolve) => {
    let cancelTimer = () => {};
    const end = (how: TransferEnd) => {
      cancelTimer();
      stop = () => {};
      resolve(how);
    };
    stop = (why) => {
      if (cause) return;
      cause = why;
      cancelTimer();
      const isStuck = 'a transfer does not end';
      cancelTimer = clock.after(cancelLimitMs, () =>
        end({ kind: 'stuck', bytes: 0, why: isStuck }),
      );
      transfer?.cancel();
    };
    let transfer: UsbTransfer | undefined;
    cancelTimer = clock.after(timeoutMs, () => stop('timeout'));
    try {
      transfer = make((error, _buffer, bytes) => end(endOf(error, bytes, cause)));
      transfer.submit(buffer);
    } catch (error) {
      end(endOf(error as UsbError, 0, cause));
    }
  });
  return { ended, cancel: () => stop('cancelled') };
}

function endOf(
  error: UsbError | undefined,
  bytes: number,
  cause: 'timeout' | 'cancelled' | undefined,
): TransferEnd {
  if (!error) return { kind: 'done', bytes };
  if (isGone(error)) return { kind: 'gone', bytes };
  if (error.errno === transferStatus.stall) return { kind: 'stall', bytes };
  if (error.errno === transferStatus.cancelled && cause) return { kind: cause, bytes };
  return { kind: 'failed', bytes, why: `a transfer failed (${reasonOf(error)})` };
}

/** Waits for a function of the package with a callback, which nothing can cancel. `late`: no end within
 * `limitMs`. */
export async function callUsb(
  call: (callback: (error?: UsbError) => void) => void,
  limitMs: number,
  clock: Clock,
): Promise<'done' | 'gone' | 'late' | 'failed'> {
  return new Promise((resolve) => {
    const cancelTimer = clock.after(limitMs, () => resolve('late'));
    const end = (error?: UsbError) => {
      cancelTimer();
      resolve(!error ? 'done' : isGone(error) ? 'gone' : 'failed');
    };
    try {
      call(end);
    } catch (error) {
      end(error as UsbError);
    }
  });
}
