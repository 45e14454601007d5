/** Control transfers to USB devices, by the optional package `usb` 2. */

import type { Clock } from '../clock.js';
import { LastspinError, reasonOf } from '../errors.js';

/** The parts of the `usb` package's devices that are used here, so that tests can play them. */
export interface UsbControlDevice {
  readonly busNumber: number;
  readonly portNumbers?: readonly number[] | undefined;
  readonly deviceDescriptor: {
    readonly idVendor: number;
    readonly idProduct: number;
    readonly iProduct: number;
    readonly bDeviceClass: number;
    /** As 0x0300 for 3.0. */
    readonly bcdUSB: number;
  };
  open(): void;
  close(): void;
  getStringDescriptor(
    index: number,
    callback: (error?: Error, text?: string | undefined) => void,
  ): void;
  /** `dataOrLength`: what is sent, or how much is asked for. */
  controlTransfer(
    requestType: number,
    request: number,
    value: number,
    index: number,
    dataOrLength: number | Buffer,
    callback: (error?: Error, data?: Buffer | number) => void,
  ): unknown;
}

/** USB as this computer has it. */
export interface UsbAccess {
  getDeviceList(): readonly UsbControlDevice[];
  /** What to do about a device that libusb does not open, in a few words. */
  adviceOn(error: Error, device: UsbControlDevice): string;
}

/** The setup stage of a control transfer (USB 2.0, table 9-2). */
export interface Setup {
  readonly requestType: number;
  readonly request: number;
  readonly value: number;
  readonly index: number;
}

/** An open device. Its methods throw POWER_FAILED. */
export interface ControlPipe {
  read(setup: Setup, lengthMax: number): Promise<Buffer>;
  write(setup: Setup, bytes: Uint8Array): Promise<void>;
  /** What it calls itself; empty where it has no name. */
  productName(): Promise<string>;
  close(): void;
}

/** libusb's own deadlines may come a minute late. */
const transferMs = 5000;

/** Opens a device for control transfers alone: no interface is claimed, and its driver stays. `name`: for
 * messages. Throws POWER_FAILED. */
export function openPipe(
  name: string,
  device: UsbControlDevice,
  usb: UsbAccess,
  clock: Clock,
): ControlPipe {
  const failed = (why: string, cause?: unknown) =>
    new LastspinError('POWER_FAILED', `${name}: ${why}`, { cause });
  try {
    device.open();
  } catch (error) {
    throw failed(usb.adviceOn(error as Error, device), error);
  }
  const inTime = <T>(begin: (done: (error?: Error, value?: T) => void) => void) =>
    new Promise<T | undefined>((resolve, reject) => {
      const cancel = clock.after(transferMs, () => reject(failed('it does not answer')));
      begin((error, value) => {
        cancel();
        if (error) reject(failed(`it refused (${reasonOf(error)})`, error));
        else resolve(value);
      });
    });
  return {
    async read({ requestType, request, value, index }, lengthMax) {
      const data = await inTime<Buffer | number>((done) =>
        device.controlTransfer(requestType, request, value, index, lengthMax, done),
      );
      return Buffer.isBuffer(data) ? data : Buffer.alloc(0);
    },
    async write({ requestType, request, value, index }, bytes) {
      await inTime<Buffer | number>((done) =>
        device.controlTransfer(requestType, request, value, index, Buffer.from(bytes), done),
      );
    },
    async productName() {
      const { iProduct } = device.deviceDescriptor;
      if (iProduct === 0) return '';
      return (await inTime<string>((done) => device.getStringDescriptor(iProduct, done))) ?? '';
    },
    close() {
      try {
        device.close();
      } catch {
        // It is gone, or a transfer that nobody waits for is under way.
      }
    },
  };
}
