/** Lends a played USB device to another computer, or to a virtual machine: a USB/IP server, to which Linux's
 * `usbip attach` connects (the kernel's Documentation/usb/usbip_protocol.rst; numbers are big-endian).
 * A port reset does not travel over USB/IP: the device takes a second choice of its configuration for
 * one, since the host makes it anew after each. */
import type { Duplex } from 'node:stream';
import { plugIntoTcp } from './plug.js';
import type { Setup, TransferEnd, UsbDevice, UsbPlug } from './usb-device.js';

const version = 0x0111;
const operations = { devices: 0x8005, devicesReply: 5, import: 0x8003, importReply: 3 } as const;
const commands = { submit: 1, unlink: 2, submitted: 3, unlinked: 4 } as const;
const operationBytes = 8;
const busIdBytes = 32;
const headerBytes = 48;
const speedHigh = 3;
const directionIn = 0x80;
/** errno of Linux, as a URB ends with it. */
const statuses: Readonly<Record<TransferEnd, number>> = { done: 0, stall: -32, cancelled: -104 };
/** The only device of this server. */
const busId = '1-1';
const place = { bus: 1, device: 2 } as const;
/** More than any host asks for at once; what claims more is no USB/IP. */
const transferBytesMax = 16 * 1024 * 1024;
const noBytes: Buffer = Buffer.alloc(0);

export interface UsbipServer extends UsbPlug {
  /** `HOST:PORT` */
  readonly address: string;
}

/** Listens on `address` (`PORT`, `HOST:PORT`; usual is 3240). The device is there for hosts to attach while
 * it is plugged in; pulled, it leaves the host that has it. Throws as `plugIntoTcp`. */
export async function serveUsbip(address: string, device: UsbDevice): Promise<UsbipServer> {
  let isPlugged = false;
  let attached: Duplex | undefined;
  const leave = () => {
    attached?.destroy();
    attached = undefined;
  };

  function greet(stream: Duplex, request: Buffer): number {
    const operation = request.readUInt16BE(2);
    if (operation === operations.devices) {
      stream.write(deviceList(isPlugged ? device : undefined));
      return operationBytes;
    }
    if (operation !== operations.import) {
      stream.destroy();
      return request.length;
    }
    if (request.length < operationBytes + busIdBytes) return 0;
    const wanted = request.toString('latin1', operationBytes, operationBytes + busIdBytes);
    const isOurs = isPlugged && wanted.split('\0', 1)[0] === busId;
    if (!isOurs || attached) {
      stream.end(reply(operations.importReply, 1));
      return request.length;
    }
    stream.write(Buffer.concat([reply(operations.importReply, 0), describe(device)]));
    attached = stream;
    return operationBytes + busIdBytes;
  }

  const listening = await plugIntoTcp(address, (stream) => {
    let held: Buffer = noBytes;
    let take: ((bytes: Buffer) => number) | undefined;
    stream.on('error', () => {});
    stream.once('close', () => {
      if (attached !== stream) return;
      attached = undefined;
      device.detach();
      if (isPlugged) device.attach();
    });
    stream.on('data', (bytes: Buffer) => {
      held = held.length === 0 ? bytes : Buffer.concat([held, bytes]);
      for (;;) {
        if (held.length < operationBytes || stream.destroyed) return;
        const taken = take ? take(held) : greet(stream, held);
        if (taken === 0) return;
        held = held.subarray(taken);
        if (attached === stream) take ??= serveRequests(stream, device);
      }
    });
  });
  return {
    address: listening.address,
    async plugIn() {
      if (isPlugged) return;
      isPlugged = true;
      device.attach();
    },
    pull() {
      isPlugged = false;
      leave();
      device.detach();
    },
    close() {
      isPlugged = false;
      leave();
      device.detach();
      void listening.close();
    },
  };
}

function reply(operation: number, status: number): Buffer {
  const bytes = Buffer.alloc(operationBytes);
  bytes.writeUInt16BE(version, 0);
  bytes.writeUInt16BE(operation, 2);
  bytes.writeUInt32BE(status, 4);
  return bytes;
}

function deviceList(device: UsbDevice | undefined): Buffer {
  const count = Buffer.alloc(4);
  count.writeUInt32BE(device ? 1 : 0);
  const parts = [reply(operations.devicesReply, 0), count];
  if (device) parts.push(describe(device), ...interfacesOf(device));
  return Buffer.concat(parts);
}

/** Where a device is, how fast, and the ids from its descriptors: 312 bytes. */
function describe({ device, configuration }: UsbDevice): Buffer {
  const bytes = Buffer.alloc(312);
  bytes.write(`/sys/devices/lastspin/${busId}`, 0, 'latin1');
  bytes.write(busId, 256, 'latin1');
  bytes.writeUInt32BE(place.bus, 288);
  bytes.writeUInt32BE(place.device, 292);
  bytes.writeUInt32BE(speedHigh, 296);
  for (const [index, from] of [8, 10, 12].entries()) {
    bytes.writeUInt16BE(device.readUInt16LE(from), 300 + 2 * index);
  }
  bytes.set(device.subarray(4, 7), 306);
  bytes.set([1, device[17] ?? 1, configuration[4] ?? 0], 309);
  return bytes;
}

/** Class, subclass and protocol of each interface. */
function interfacesOf({ configuration }: UsbDevice): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at < configuration.length; at += configuration[at] ?? 1) {
    if (configuration[at + 1] !== 4 || configuration[at + 3] !== 0) continue;
    found.push(Buffer.from([...configuration.subarray(at + 5, at + 8), 0]));
  }
  return found;
}

/** A request of the host's kernel, which it calls URB. */
interface Request {
  readonly id: number;
  readonly isIn: boolean;
  readonly endpoint: number;
  readonly length: number;
  readonly setup: Buffer;
  readonly data: Buffer;
}

/** Serves one host. What it returns takes the front of what came, and says how many bytes that was. */
function serveRequests(stream: Duplex, device: UsbDevice): (bytes: Buffer) => number {
  /** What cancels the transfers under way, by id. */
  const underWay = new Map<number, () => void>();
  let configured = 0;

  function send(command: number, id: number, status: number, length = 0, data = noBytes): void {
    if (stream.destroyed) return;
    const header = Buffer.alloc(headerBytes);
    header.writeUInt32BE(command, 0);
    header.writeUInt32BE(id, 4);
    header.writeInt32BE(status, 20);
    header.writeUInt32BE(length, 24);
    stream.write(data.length > 0 ? Buffer.concat([header, data]) : header);
  }
  const submitted = ({ id }: Request, end: TransferEnd, length: number, data = noBytes) => {
    if (!underWay.delete(id)) return;
    send(commands.submitted, id, statuses[end], length, data);
  };

  function submit(request: Request): void {
    underWay.set(request.id, () => {});
    if (request.endpoint === 0) {
      control(request);
      return;
    }
    const address = request.endpoint | (request.isIn ? directionIn : 0);
    if (!request.isIn) {
      device.bulkOut(address, request.data, (end) =>
        submitted(request, end, end === 'done' ? request.length : 0),
      );
      return;
    }
    const cancel = device.bulkIn(address, request.length, (end, bytes) =>
      submitted(request, end, bytes.length, bytes),
    );
    if (underWay.has(request.id)) underWay.set(request.id, cancel);
  }

  function control(request: Request): void {
    const [requestType = 0, code = 0] = request.setup;
    const setup: Setup = {
      requestType,
      request: code,
      value: request.setup.readUInt16LE(2),
      index: request.setup.readUInt16LE(4),
    };
    const isConfiguration = requestType === 0 && code === 9;
    if (isConfiguration && configured++ > 0) device.reset();
    const answer = device.control(setup, request.length);
    if (answer === 'stall') submitted(request, 'stall', 0);
    else if (request.isIn) submitted(request, 'done', answer.length, answer);
    else submitted(request, 'done', request.length);
  }

  /** The answer to an unlink is the only one: none follows for what it ended. */
  function unlink(id: number, target: number): void {
    const cancel = underWay.get(target);
    underWay.delete(target);
    cancel?.();
    send(commands.unlinked, id, cancel ? statuses.cancelled : 0);
  }

  return (bytes) => {
    if (bytes.length < headerBytes) return 0;
    const command = bytes.readUInt32BE(0);
    const id = bytes.readUInt32BE(4);
    if (command === commands.unlink) {
      unlink(id, bytes.readUInt32BE(20));
      return headerBytes;
    }
    const isIn = bytes.readUInt32BE(12) === 1;
    const length = bytes.readUInt32BE(24);
    if (command !== commands.submit || length > transferBytesMax) {
      stream.destroy();
      return bytes.length;
    }
    const end = headerBytes + (isIn ? 0 : length);
    if (bytes.length < end) return 0;
    const setup = Buffer.from(bytes.subarray(40, 48));
    const data = Buffer.from(bytes.subarray(headerBytes, end));
    submit({ id, isIn, endpoint: bytes.readUInt32BE(16), length, setup, data });
    return end;
  };
}
