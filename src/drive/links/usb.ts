/** USB vendor bulk endpoints through the optional package `usb` 2, which is libusb (PROTOCOL.md
 * T-3). */
import type { Clock } from '../../clock.js';
import { LastspinError, reasonOf } from '../../errors.js';
import { findAgain, hexId, nameOf, type UsbIdentity, type Wanted, wantAgain } from './identity.js';
import { type BulkPair, bulkStream, type UsbEndpoint, type UsbError } from './usb-stream.js';
import type { Transport, Wire } from './wire.js';

export interface UsbInterfaceDescriptor {
  readonly bInterfaceNumber: number;
  readonly bInterfaceClass: number;
  readonly bInterfaceSubClass: number;
  readonly bInterfaceProtocol: number;
}

export interface UsbInterface {
  readonly endpoints: readonly UsbEndpoint[];
  claim(): void;
  release(callback: (error?: UsbError) => void): void;
}

export interface UsbDevice {
  readonly busNumber: number;
  readonly portNumbers?: readonly number[] | undefined;
  readonly deviceDescriptor: {
    readonly idVendor: number;
    readonly idProduct: number;
    readonly iSerialNumber: number;
  };
  readonly configDescriptor?:
    | { readonly interfaces: readonly (readonly UsbInterfaceDescriptor[])[] }
    | undefined;
  open(): void;
  close(): void;
  interface(number: number): UsbInterface;
  getStringDescriptor(
    index: number,
    callback: (error?: UsbError, text?: string | undefined) => void,
  ): void;
}

interface DeviceIds {
  readonly deviceDescriptor: { readonly idVendor: number; readonly idProduct: number };
}

/** The parts of the `usb` package that are used here, so that tests can play its devices. */
export interface UsbLibrary {
  getDeviceList(): readonly UsbDevice[];
}

export interface UsbName {
  readonly vendorId: number;
  readonly productId: number;
  readonly serialNumber?: string;
}

/** One that is plugged in. */
export interface SeenDevice<T extends UsbDevice = UsbDevice> extends UsbIdentity {
  readonly device: T;
}

/** What is looked for, for messages. */
export interface UsbWords {
  /** How it is named on the command line, up to its ids: `usb:`. */
  readonly prefix: string;
  readonly what: string;
}

const imagerWords: UsbWords = { prefix: 'usb:', what: 'the imager' };

const imagerInterface = { class: 0xff, subClass: 0x4c, protocol: 0x01 };
const bulk = 2;
export const libusbErrors = { access: -3, noDevice: -4, busy: -6, notSupported: -12 } as const;

/** The imager of this vendor, product and serial number on vendor bulk endpoints; opened again it is
 * looked for wherever it is plugged in then. */
export function usbTransport(
  name: UsbName,
  clock: Clock,
  load: () => Promise<UsbLibrary> = loadUsb,
): Transport {
  let wanted: Wanted | undefined;
  let closing = Promise.resolve();
  return {
    canReopen: true,
    async open() {
      const library = await load();
      // Its handle is one for this process: the last wire must have let go of it.
      await closing;
      const seen = await seeDevices(library, name);
      const found = wanted ? again(seen, wanted) : theOne(seen, name, imagerWords);
      const wire = openDevice(found, clock);
      closing = new Promise((resolve) => wire.stream.once('close', resolve));
      wanted ??= wantAgain(found, seen);
      return wire;
    },
  };
}

/** The package as a whole. `what`: the kind of name that needs it. Throws TOOL_MISSING without it. */
export async function loadUsb(what = 'usb:'): Promise<UsbLibrary> {
  try {
    const { usb } = await import('usb');
    return usb as unknown as UsbLibrary;
  } catch (error) {
    const message = `${what} needs the optional package 'usb', 'npm install usb@2': ${reasonOf(error)}`;
    throw new LastspinError('TOOL_MISSING', message, { cause: error });
  }
}

export function openFailed(what: string, why: string, cause?: unknown): LastspinError {
  return new LastspinError('DRIVE_OPEN_FAILED', `cannot open USB device ${what}: ${why}`, {
    cause,
  });
}

/** The devices of that vendor and product, each asked for its serial number. */
export async function seeDevices<T extends UsbDevice>(
  library: { getDeviceList(): readonly T[] },
  name: UsbName,
  askSerial: (device: T) => Promise<string | undefined> = serialNumberOf,
): Promise<SeenDevice<T>[]> {
  const devices = library
    .getDeviceList()
    .filter(({ deviceDescriptor: { idVendor, idProduct } }) => {
      return idVendor === name.vendorId && idProduct === name.productId;
    });
  const seen: SeenDevice<T>[] = [];
  // One after the other: two open handles of one device would be in each other's way.
  for (const device of devices) {
    const serialNumber = await askSerial(device);
    const { busNumber, portNumbers = [] } = device;
    seen.push({
      device,
      vendorId: hexId(name.vendorId),
      productId: hexId(name.productId),
      ...(serialNumber && { serialNumber }),
      ...(portNumbers.length > 0 && { location: `${busNumber}-${portNumbers.join('.')}` }),
    });
  }
  return seen;
}

/** Undefined where the device has none. */
async function serialNumberOf(device: UsbDevice): Promise<string | undefined> {
  const index = device.deviceDescriptor.iSerialNumber;
  if (index === 0) return undefined;
  openHandle(device);
  try {
    return await new Promise((resolve) => {
      device.getStringDescriptor(index, (_error, text) => resolve(text));
    });
  } finally {
    device.close();
  }
}

/** Throws DRIVE_OPEN_FAILED where there is none, or more than one that fits. */
export function theOne<T extends UsbDevice>(
  seen: readonly SeenDevice<T>[],
  name: UsbName,
  { prefix, what }: UsbWords,
): SeenDevice<T> {
  const ids = `${hexId(name.vendorId)}:${hexId(name.productId)}`;
  const { serialNumber } = name;
  const fitting = seen.filter((each) => !serialNumber || each.serialNumber === serialNumber);
  const [found] = fitting;
  if (fitting.length === 1 && found) return found;
  if (fitting.length > 1) {
    const names = fitting.flatMap((each) => each.serialNumber ?? []);
    const choice = names.map((each) => `${prefix}${ids}:${each}`).join(' or ');
    throw openFailed(ids, `there are ${fitting.length} of them; ${choice || 'unplug the others'}`);
  }
  if (seen.length > 0) {
    const there = seen.map((each) => each.serialNumber ?? 'one without').join(', ');
    throw openFailed(ids, `none has serial number ${serialNumber}; there is ${there}`);
  }
  throw openFailed(ids, `there is none; is ${what} plugged in?`);
}

function again(seen: readonly SeenDevice[], wanted: Wanted): SeenDevice {
  const found = findAgain(seen, wanted);
  if (found) return found;
  throw openFailed(nameOf(wanted.identity), 'it is not there; is it plugged in?');
}

/** Opens the device itself. libusb's handle costs nothing; its interface is claimed later. */
export function openHandle(device: UsbDevice): void {
  try {
    device.open();
  } catch (error) {
    throw openFailed(idsOf(device), adviceOn(error as UsbError, device), error);
  }
}

export function idsOf({ deviceDescriptor: { idVendor, idProduct } }: UsbDevice): string {
  return `${hexId(idVendor)}:${hexId(idProduct)}`;
}

function openDevice({ device }: SeenDevice, clock: Clock): Wire {
  openHandle(device);
  try {
    const claimed = claimInterface(device);
    const stream = bulkStream(claimed.endpoints, clock, () => releaseDevice(device, claimed));
    return { stream, close: () => void stream.destroy() };
  } catch (error) {
    device.close();
    if (error instanceof LastspinError) throw error;
    throw openFailed(idsOf(device), adviceOn(error as UsbError, device), error);
  }
}

interface Claimed {
  readonly endpoints: BulkPair;
  readonly usbInterface: UsbInterface;
}

function claimInterface(device: UsbDevice): Claimed {
  const descriptor = device.configDescriptor?.interfaces
    .flatMap(([first]) => first ?? [])
    .find(
      (each) =>
        each.bInterfaceClass === imagerInterface.class &&
        each.bInterfaceSubClass === imagerInterface.subClass &&
        each.bInterfaceProtocol === imagerInterface.protocol,
    );
  if (!descriptor) {
    const why = 'it has no interface of an imager; if it is a serial port, name it serial:PATH';
    throw openFailed(idsOf(device), why);
  }
  const usbInterface = device.interface(descriptor.bInterfaceNumber);
  const ofBulk = usbInterface.endpoints.filter(({ transferType }) => transferType === bulk);
  const input = ofBulk.find(({ direction }) => direction === 'in');
  const output = ofBulk.find(({ direction }) => direction === 'out');
  if (!input || !output) {
    throw openFailed(idsOf(device), 'its interface lacks a bulk endpoint each way');
  }
  usbInterface.claim();
  return { usbInterface, endpoints: { input, output } };
}

/** After an unplug neither works, and neither matters. */
async function releaseDevice(device: UsbDevice, { usbInterface }: Claimed): Promise<void> {
  await new Promise<void>((resolve) => {
    try {
      usbInterface.release(() => resolve());
    } catch {
      resolve();
    }
  });
  try {
    device.close();
  } catch {
    // It is gone.
  }
}

/** What to do about a device that libusb does not open. */
export function adviceOn(error: UsbError, device: DeviceIds): string {
  switch (error.errno) {
    case libusbErrors.access:
      return process.platform === 'linux' ? udevAdvice(device) : 'no permission';
    case libusbErrors.busy:
      return 'another program has it open';
    case libusbErrors.noDevice:
      return 'it is not there; is it plugged in?';
    case libusbErrors.notSupported:
      return 'Windows needs the driver WinUSB for it; Zadig installs it';
    default:
      return reasonOf(error);
  }
}

function udevAdvice({ deviceDescriptor: { idVendor, idProduct } }: DeviceIds): string {
  const ids = `ATTR{idVendor}=="${hexId(idVendor)}", ATTR{idProduct}=="${hexId(idProduct)}"`;
  const rule = `SUBSYSTEM=="usb", ${ids}, TAG+="uaccess"`;
  return `no permission; put '${rule}' into /etc/udev/rules.d/70-lastspin.rules and plug it in again`;
}
