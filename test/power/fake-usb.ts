import type { UsbAccess, UsbControlDevice } from '../../src/power/usb.js';

export interface FakeDevice {
  readonly bus?: number;
  readonly ports?: readonly number[];
  readonly ids?: readonly [vendor: number, product: number];
  readonly isHub?: boolean;
  readonly bcdUSB?: number;
  readonly product?: string;
  /** Answers a control transfer: bytes for IN, nothing for OUT; throws for a stall; undefined never answers. */
  control(setup: {
    readonly requestType: number;
    readonly request: number;
    readonly value: number;
    readonly index: number;
    readonly data: Buffer;
  }): Buffer | undefined;
  readonly openError?: number;
}

/** Devices as the `usb` package would show them. */
export function fakeUsb(devices: () => readonly FakeDevice[]) {
  let handles = 0;
  const made = new Map<FakeDevice, UsbControlDevice>();
  const make = (device: FakeDevice): UsbControlDevice => {
    let isOpen = false;
    const [idVendor, idProduct] = device.ids ?? [0x0409, 0x55aa];
    return {
      busNumber: device.bus ?? 1,
      portNumbers: device.ports,
      deviceDescriptor: {
        idVendor,
        idProduct,
        iProduct: device.product === undefined ? 0 : 2,
        bDeviceClass: device.isHub ? 9 : 0,
        bcdUSB: device.bcdUSB ?? 0x0200,
      },
      open() {
        if (device.openError !== undefined)
          throw Object.assign(new Error('LIBUSB'), { errno: device.openError });
        if (isOpen) throw new Error('opened twice');
        isOpen = true;
        handles++;
      },
      close() {
        if (!isOpen) throw new Error('not open');
        isOpen = false;
        handles--;
      },
      getStringDescriptor: (_index, callback) =>
        queueMicrotask(() => callback(undefined, device.product)),
      controlTransfer(requestType, request, value, index, dataOrLength, callback) {
        if (!isOpen) throw new Error('not open');
        const data = Buffer.isBuffer(dataOrLength) ? dataOrLength : Buffer.alloc(0);
        let answer: Buffer | undefined;
        try {
          answer = device.control({ requestType, request, value, index, data });
        } catch (error) {
          queueMicrotask(() => callback(error as Error));
          return;
        }
        if (answer) queueMicrotask(() => callback(undefined, answer));
      },
    };
  };
  const usb: UsbAccess = {
    getDeviceList: () =>
      devices().map((device) => {
        const there = made.get(device) ?? make(device);
        made.set(device, there);
        return there;
      }),
    adviceOn: (error) => `no permission (${(error as { errno?: number }).errno})`,
  };
  return { usb, openHandles: () => handles };
}
