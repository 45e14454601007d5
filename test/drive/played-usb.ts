/** The `usb` package, played: what is plugged in is a simulated device. */
import type { UsbDevice, UsbPlug } from '../../hardware-sim/usb-device.js';
import {
  transferStatus,
  type UsbEndpoint,
  type UsbError,
} from '../../src/drive/links/usb-stream.js';
import type { StorageDevice, StorageLibrary } from '../../src/drive/usb-bot/adapter.js';
import type { Callback } from '../../src/drive/usb-bot/transfer.js';

const notFound = -4;

export interface PlayedUsb {
  readonly library: StorageLibrary;
  /** Plugs at one port; each plugging in is a new device to the system. */
  plug(device: UsbDevice, options?: PlayedOptions): PlayedPlug;
}

export interface PlayedPlug extends UsbPlug {
  /** Whether the kernel's driver is bound to what is plugged in. */
  isKernels(): boolean;
  openHandles(): number;
  /** Transfers under way. */
  pending(): number;
  readonly portResets: number;
  /** Alternate settings that were chosen. */
  readonly settings: readonly number[];
}

export interface PlayedOptions {
  readonly portNumbers?: readonly number[];
  /** Protocols of its alternate settings, in order. */
  readonly protocols?: readonly number[];
  readonly openError?: number;
  /** A port reset ends with this error. */
  readonly resetError?: number;
}

function usbError(errno: number): UsbError {
  return Object.assign(new Error(`LIBUSB ${errno}`), { errno });
}

const errors = { cancelled: transferStatus.cancelled, stall: transferStatus.stall } as const;

export function createPlayedUsb(): PlayedUsb {
  const listed = new Map<StorageDevice, Port>();

  class Transfer {
    private readonly run: (buffer: Buffer) => () => void;
    private cancelIt = () => {};
    constructor(
      device: StorageDevice,
      endpoint: number,
      _type: number,
      _timeoutMs: number,
      callback: Callback,
    ) {
      this.run = (buffer) => {
        const port = listed.get(device);
        if (!port) throw usbError(notFound);
        return port.transfer(endpoint, buffer, callback);
      };
    }
    submit(buffer: Buffer) {
      this.cancelIt = this.run(buffer);
    }
    cancel() {
      this.cancelIt();
      return true;
    }
  }

  return {
    library: { getDeviceList: () => [...listed.keys()], Transfer },
    plug(device, options = {}) {
      let current: { port: Port; shown: StorageDevice } | undefined;
      let portResets = 0;
      let handles = 0;
      const settings: number[] = [];
      return {
        async plugIn() {
          device.attach();
          const port = createPort(device);
          const shown = show(device, port, options, Transfer, {
            handles: (change) => {
              handles += change;
            },
            wasReset: () => portResets++,
            set: (setting) => settings.push(setting),
          });
          current = { port, shown };
          listed.set(shown, port);
        },
        pull() {
          if (current) listed.delete(current.shown);
          current?.port.unplug();
          device.detach();
          current = undefined;
        },
        close() {},
        isKernels: () => current?.port.kernels ?? false,
        openHandles: () => handles,
        pending: () => current?.port.pending() ?? 0,
        get portResets() {
          return portResets;
        },
        settings,
      };
    },
  };
}

type Port = ReturnType<typeof createPort>;

/** One device on the bus, until it is unplugged. */
function createPort(device: UsbDevice) {
  const ends = new Set<() => void>();
  let plugged = true;
  const port = {
    /** Bound as soon as it is plugged in, as usb-storage is. */
    kernels: true,
    isPlugged: () => plugged,
    pending: () => ends.size,
    transfer(endpoint: number, buffer: Buffer, callback: Callback): () => void {
      let isOver = false;
      const end = (errno: number | undefined, bytes: number) => {
        if (isOver) return;
        isOver = true;
        ends.delete(unplugged);
        queueMicrotask(() =>
          callback(errno === undefined ? undefined : usbError(errno), buffer, bytes),
        );
      };
      const unplugged = () => end(transferStatus.noDevice, 0);
      ends.add(unplugged);
      if (endpoint === 0) {
        const length = buffer.readUInt16LE(6);
        const [requestType = 0, request = 0] = buffer;
        const setup = { value: buffer.readUInt16LE(2), index: buffer.readUInt16LE(4) };
        const answer = device.control({ requestType, request, ...setup }, length);
        if (answer === 'stall') end(errors.stall, 0);
        else end(undefined, answer.copy(buffer, 8));
        return () => {};
      }
      if ((endpoint & 0x80) !== 0) {
        return device.bulkIn(endpoint, buffer.length, (how, bytes) => {
          const isTooMuch = bytes.length > buffer.length;
          bytes.copy(buffer);
          end(how === 'done' ? (isTooMuch ? 6 : undefined) : errors[how], bytes.length);
        });
      }
      device.bulkOut(endpoint, Buffer.from(buffer), (how) => {
        end(how === 'done' ? undefined : errors[how], how === 'done' ? buffer.length : 0);
      });
      return () => end(errors.cancelled, 0);
    },
    unplug() {
      plugged = false;
      for (const end of [...ends]) end();
    },
  };
  return port;
}

interface Watch {
  handles(change: number): void;
  wasReset(): void;
  set(setting: number): void;
}

function show(
  device: UsbDevice,
  port: Port,
  options: PlayedOptions,
  Transfer: StorageLibrary['Transfer'],
  watch: Watch,
): StorageDevice {
  type Done = (error?: UsbError) => void;
  const later = (done: Done, error?: UsbError) => queueMicrotask(() => done(error));
  const lack = () => (port.isPlugged() ? undefined : usbError(notFound));
  const endpoint = (direction: 'in' | 'out'): UsbEndpoint => {
    const address = direction === 'in' ? 0x81 : 0x01;
    return {
      direction,
      transferType: 2,
      descriptor: { wMaxPacketSize: 512 },
      makeTransfer: (timeoutMs, callback) => new Transfer(shown, address, 2, timeoutMs, callback),
      clearHalt(done) {
        const setup = { requestType: 2, request: 1, value: 0, index: address };
        const answer = port.isPlugged() ? device.control(setup, 0) : 'stall';
        later(done, lack() ?? (answer === 'stall' ? usbError(-9) : undefined));
      },
    };
  };
  const storageInterface = {
    endpoints: [endpoint('in'), endpoint('out')],
    claim() {
      if (port.kernels) throw usbError(-6);
    },
    release: (done: Done) => later(done, lack()),
    isKernelDriverActive: () => port.kernels,
    detachKernelDriver() {
      port.kernels = false;
    },
    attachKernelDriver() {
      const error = lack();
      if (error) throw error;
      port.kernels = true;
    },
    setAltSetting(setting: number, done: Done) {
      watch.set(setting);
      later(done, lack());
    },
  };
  const { protocols = [0x50], portNumbers = [4] } = options;
  const shown: StorageDevice = {
    busNumber: 1,
    portNumbers,
    deviceDescriptor: {
      idVendor: device.device.readUInt16LE(8),
      idProduct: device.device.readUInt16LE(10),
      iSerialNumber: device.device[16] ?? 0,
      bcdUSB: device.device.readUInt16LE(2),
    },
    configDescriptor: {
      interfaces: [
        protocols.map((bInterfaceProtocol, bAlternateSetting) => ({
          bInterfaceNumber: 0,
          bAlternateSetting,
          bInterfaceClass: 8,
          bInterfaceSubClass: 6,
          bInterfaceProtocol,
        })),
      ],
    },
    open() {
      const error =
        lack() ?? (options.openError === undefined ? undefined : usbError(options.openError));
      if (error) throw error;
      watch.handles(1);
    },
    close() {
      if (port.pending() > 0) throw new Error("Can't close device with a pending request");
      watch.handles(-1);
    },
    interface: () => storageInterface,
    reset(done) {
      watch.wasReset();
      const error =
        lack() ?? (options.resetError === undefined ? undefined : usbError(options.resetError));
      if (!error) device.reset();
      later(done, error);
    },
    getStringDescriptor: () => {
      throw new Error('its answer cannot be cancelled');
    },
  };
  return shown;
}
