/** A USB mass storage adapter as libusb shows it: found, taken from the kernel's driver, claimed, and given
 * back. */
import type { Clock } from '../../clock.js';
import { LastspinError } from '../../errors.js';
import { findAgain, type Wanted } from '../links/identity.js';
import {
  adviceOn,
  idsOf,
  libusbErrors,
  loadUsb,
  openFailed,
  openHandle,
  type SeenDevice,
  seeDevices,
  theOne,
  type UsbDevice,
  type UsbInterface,
  type UsbInterfaceDescriptor,
  type UsbName,
} from '../links/usb.js';
import type { UsbEndpoint, UsbError, UsbTransfer } from '../links/usb-stream.js';
import { type Callback, callUsb, runTransfer, type TransferEnd } from './transfer.js';

interface StorageDescriptor extends UsbInterfaceDescriptor {
  readonly bAlternateSetting: number;
}

interface StorageInterface extends UsbInterface {
  isKernelDriverActive(): boolean;
  detachKernelDriver(): void;
  attachKernelDriver(): void;
  setAltSetting(setting: number, callback: (error?: UsbError) => void): void;
}

export interface StorageDevice extends UsbDevice {
  readonly deviceDescriptor: UsbDevice['deviceDescriptor'] & { readonly bcdUSB: number };
  readonly configDescriptor?:
    | { readonly interfaces: readonly (readonly StorageDescriptor[])[] }
    | undefined;
  interface(number: number): StorageInterface;
  reset(callback: (error?: UsbError) => void): void;
}

/** The parts of the `usb` package that are used here, so that tests can play its devices. */
export interface StorageLibrary {
  getDeviceList(): readonly StorageDevice[];
  readonly Transfer: new (
    device: StorageDevice,
    endpoint: number,
    type: number,
    timeoutMs: number,
    callback: Callback,
  ) => UsbTransfer;
}

export type SeenAdapter = SeenDevice<StorageDevice>;

/** An adapter that was claimed. Nothing here throws but what is said to. */
export interface Adapter {
  /** Most bytes of one transfer that adapters are known to bear. */
  readonly transferBytesMax: number;
  /** Of its IN endpoint. */
  readonly packetBytes: number;
  /** A transfer to or from a bulk endpoint, or by a control request; one at a time. */
  transfer(direction: 'in' | 'out', buffer: Buffer, timeoutMs: number): Promise<TransferEnd>;
  /** Ends the transfer under way as `cancelled`. */
  cancel(): void;
  clearHalt(direction: 'in' | 'out'): Promise<boolean>;
  /** Bulk-only mass storage reset (BOT 3.1). */
  bulkReset(): Promise<boolean>;
  portReset(): Promise<'done' | 'gone' | 'failed'>;
  isListed(): boolean;
  /** Gives the device back to the kernel's driver where it was taken from one. */
  close(): Promise<void>;
}

/** Class, subclass and protocol of a bulk-only SCSI interface; UAS is the same with another protocol. */
const storage = { class: 8, subClass: 6, bulkOnly: 0x50, uas: 0x62 };
const bulk = 2;
const control = 0;
const setupBytes = 8;
/** What Linux grants adapters that it does not know: 240 sectors at high speed, 2048 at SuperSpeed. */
const transferBytesMax = { high: 240 * 512, super: 2048 * 512 };
const bcdSuperSpeed = 0x0300;
/** A control request that takes longer gets no answer any more. The kernel bounds a clear halt at 5 s. */
const controlLimitMs = 3000;
const callLimitMs = 6000;
const portResetLimitMs = 20_000;
/** Of a string descriptor in a control request. */
const stringBytesMax = 255;
const languageEnglish = 0x0409;
const words = { prefix: 'usb-bot:', what: 'the adapter' };

/** Throws TOOL_MISSING without the optional package. */
export async function loadStorageLibrary(): Promise<StorageLibrary> {
  return (await loadUsb()) as unknown as StorageLibrary;
}

/** The adapters of that vendor and product that are plugged in. Throws DRIVE_OPEN_FAILED where one may not
 * be opened. */
export function seeAdapters(
  library: StorageLibrary,
  name: UsbName,
  clock: Clock,
): Promise<SeenAdapter[]> {
  return seeDevices(library, name, (device) => askSerial(library, device, clock));
}

/** The one that was named, or the one from before. Throws DRIVE_OPEN_FAILED where it cannot be told. */
export function chooseAdapter(
  seen: readonly SeenAdapter[],
  name: UsbName,
  wanted?: Wanted,
): SeenAdapter {
  const found = wanted ? findAgain(seen, wanted) : undefined;
  return found ?? theOne(wanted ? [] : seen, name, words);
}

/** A device that hangs answers no request for its name: it must not take more than its own time. */
async function askSerial(
  library: StorageLibrary,
  device: StorageDevice,
  clock: Clock,
): Promise<string | undefined> {
  const index = device.deviceDescriptor.iSerialNumber;
  if (index === 0) return undefined;
  openHandle(device);
  try {
    const setup = setupOf(0x80, 0x06, 0x0300 | index, languageEnglish, stringBytesMax);
    const buffer = Buffer.concat([setup, Buffer.alloc(stringBytesMax)]);
    const end = await sendControl(library, device, buffer, clock);
    if (end.kind !== 'done') return undefined;
    return buffer.toString('utf16le', setupBytes + 2, setupBytes + Math.max(2, end.bytes));
  } finally {
    closeHandle(device);
  }
}

function setupOf(requestType: number, request: number, value: number, index: number, bytes = 0) {
  const setup = Buffer.from([requestType, request, 0, 0, 0, 0, 0, 0]);
  setup.writeUInt16LE(value, 2);
  setup.writeUInt16LE(index, 4);
  setup.writeUInt16LE(bytes, 6);
  return setup;
}

function sendControl(
  { Transfer }: StorageLibrary,
  device: StorageDevice,
  buffer: Buffer,
  clock: Clock,
): Promise<TransferEnd> {
  const make = (callback: Callback) => new Transfer(device, 0, control, 0, callback);
  return runTransfer(make, buffer, controlLimitMs, clock).ended;
}

/** A transfer that never came back keeps its handle open; a device that is gone closes by itself. */
function closeHandle(device: StorageDevice): void {
  try {
    device.close();
  } catch {
    // Nothing is left to be done about it.
  }
}

/** Throws DRIVE_OPEN_FAILED with one line that says why, and leaves the device as it was. */
export async function openAdapter(
  library: StorageLibrary,
  { device }: SeenAdapter,
  clock: Clock,
): Promise<Adapter> {
  openHandle(device);
  try {
    const chosen = chooseSetting(device);
    const port = device.interface(chosen.bInterfaceNumber);
    const hadDriver = takeFromKernel(port);
    try {
      port.claim();
      const claimed = await setUp(device, port, chosen, clock);
      return createAdapter(library, device, { ...claimed, hadDriver }, clock);
    } catch (error) {
      await giveBack(port, hadDriver, clock);
      throw error;
    }
  } catch (error) {
    closeHandle(device);
    if (error instanceof LastspinError) throw error;
    throw openFailed(idsOf(device), adviceOn(error as UsbError, device), error);
  }
}

/** The bulk-only setting of a storage interface, which on many adapters stands beside one for UAS. */
function chooseSetting(device: StorageDevice): StorageDescriptor {
  const settings = device.configDescriptor?.interfaces.flat() ?? [];
  const ofStorage = settings.filter(
    (each) =>
      each.bInterfaceClass === storage.class && each.bInterfaceSubClass === storage.subClass,
  );
  const found = ofStorage.find((each) => each.bInterfaceProtocol === storage.bulkOnly);
  if (found) return found;
  const isUas = ofStorage.some((each) => each.bInterfaceProtocol === storage.uas);
  const why = isUas
    ? 'it speaks only UAS, which takes drives away when they hang; use another adapter'
    : 'it is no USB storage with bulk-only transport; use sg: or file:';
  throw openFailed(idsOf(device), why);
}

/** Says whether a driver of the kernel had it. Elsewhere than on Linux none can be taken away. */
function takeFromKernel(port: StorageInterface): boolean {
  try {
    if (!port.isKernelDriverActive()) return false;
  } catch (error) {
    if ((error as UsbError).errno === libusbErrors.notSupported) return false;
    throw error;
  }
  port.detachKernelDriver();
  return true;
}

async function giveBack(port: StorageInterface, hadDriver: boolean, clock: Clock): Promise<void> {
  await callUsb((done) => port.release(done), callLimitMs, clock);
  if (!hadDriver) return;
  try {
    port.attachKernelDriver();
  } catch {
    // It is gone, or the kernel has bound a driver by itself.
  }
}

interface Claimed {
  readonly port: StorageInterface;
  readonly chosen: StorageDescriptor;
  /** Whether the interface has other settings than the one that is used. */
  readonly hasSettings: boolean;
  readonly input: UsbEndpoint;
  readonly output: UsbEndpoint;
}

async function setUp(
  device: StorageDevice,
  port: StorageInterface,
  chosen: StorageDescriptor,
  clock: Clock,
): Promise<Claimed> {
  const settings = device.configDescriptor?.interfaces.flat() ?? [];
  const { bInterfaceNumber } = chosen;
  const hasSettings =
    settings.filter((each) => each.bInterfaceNumber === bInterfaceNumber).length > 1;
  if (hasSettings) await choose(port, chosen, clock);
  const endpoints = port.endpoints.filter(({ transferType }) => transferType === bulk);
  const input = endpoints.find(({ direction }) => direction === 'in');
  const output = endpoints.find(({ direction }) => direction === 'out');
  if (input && output) return { port, chosen, hasSettings, input, output };
  throw openFailed(idsOf(device), 'its interface lacks a bulk endpoint each way');
}

/** The kernel's driver may have left it at its setting for UAS. */
async function choose(port: StorageInterface, chosen: StorageDescriptor, clock: Clock) {
  const set = (done: (error?: UsbError) => void) =>
    port.setAltSetting(chosen.bAlternateSetting, done);
  return callUsb(set, callLimitMs, clock);
}

function createAdapter(
  library: StorageLibrary,
  device: StorageDevice,
  claimed: Claimed & { readonly hadDriver: boolean },
  clock: Clock,
): Adapter {
  const { port, chosen, hasSettings, hadDriver } = claimed;
  const endpoints = { in: claimed.input, out: claimed.output };
  const isSuper = device.deviceDescriptor.bcdUSB >= bcdSuperSpeed;
  let cancel = () => {};
  return {
    transferBytesMax: isSuper ? transferBytesMax.super : transferBytesMax.high,
    packetBytes: claimed.input.descriptor.wMaxPacketSize,
    async transfer(direction, buffer, timeoutMs) {
      const make = (callback: Callback) => endpoints[direction].makeTransfer(0, callback);
      const running = runTransfer(make, buffer, timeoutMs, clock);
      cancel = running.cancel;
      return running.ended;
    },
    cancel: () => cancel(),
    async clearHalt(direction) {
      const clear = (done: (error?: UsbError) => void) => endpoints[direction].clearHalt(done);
      return (await callUsb(clear, callLimitMs, clock)) === 'done';
    },
    async bulkReset() {
      const setup = setupOf(0x21, 0xff, 0, chosen.bInterfaceNumber);
      return (await sendControl(library, device, setup, clock)).kind === 'done';
    },
    async portReset() {
      const end = await callUsb((done) => device.reset(done), portResetLimitMs, clock);
      if (end === 'gone') return 'gone';
      if (end !== 'done') return 'failed';
      // libusb has claimed it again by itself.
      if (hasSettings) await choose(port, chosen, clock);
      return 'done';
    },
    isListed: () => library.getDeviceList().includes(device),
    async close() {
      cancel();
      await giveBack(port, hadDriver, clock);
      closeHandle(device);
    },
  };
}
