/** Plugs a played USB device into a virtual machine: QEMU's `-device usb-redir`, over the socket of
 * its chardev. The guest's own kernel then drives it, as it would real hardware. The protocol is
 * usbredir 0.7 (spice-space.org); numbers are little-endian. */
import { connect, type Socket } from 'node:net';
import type { Clock } from '../src/clock.js';
import { LastspinError, reasonOf } from '../src/errors.js';
import type { Setup, TransferEnd, UsbDevice, UsbPlug } from './usb-device.js';

const types = {
  hello: 0,
  deviceConnect: 1,
  deviceDisconnect: 2,
  reset: 3,
  interfaceInfo: 4,
  endpointInfo: 5,
  setConfiguration: 6,
  getConfiguration: 7,
  configurationStatus: 8,
  setAlternate: 9,
  getAlternate: 10,
  alternateStatus: 11,
  startInterrupt: 15,
  stopInterrupt: 16,
  interruptStatus: 17,
  cancel: 21,
  control: 100,
  bulk: 101,
  interrupt: 103,
} as const;

const statuses: Readonly<Record<TransferEnd, number>> = { done: 0, cancelled: 1, stall: 4 };
/** connect_device_version, ep_info_max_packet_size, 64bits_ids, 32bits_bulk_length: what QEMU's xHCI
 * asks for. */
const capabilities = (1 << 1) | (1 << 4) | (1 << 5) | (1 << 6);
const speedHigh = 2;
const endpointsMax = 32;
const typeNone = 255;
const retryMs = 100;

export type UsbredirPlug = UsbPlug;

interface Message {
  readonly type: number;
  readonly id: bigint;
  readonly body: Buffer;
}

/** A device at the socket on which QEMU listens at `path`; it is waited for. Not plugged in yet. */
export async function openUsbredir(
  path: string,
  device: UsbDevice,
  clock: Clock,
  signal?: AbortSignal,
): Promise<UsbredirPlug> {
  const socket = await connectWhenThere(path, clock, signal);
  const port = createPort(socket, device);
  await port.greeted;
  return {
    async plugIn() {
      device.attach();
      port.announce();
      await port.configured();
    },
    pull() {
      port.send(types.deviceDisconnect, 0n);
      port.forget();
      device.detach();
    },
    close() {
      device.detach();
      socket.destroy();
    },
  };
}

async function connectWhenThere(
  path: string,
  clock: Clock,
  signal: AbortSignal | undefined,
): Promise<Socket> {
  for (;;) {
    const socket = await new Promise<Socket | undefined>((resolve, reject) => {
      const opening = connect(path);
      opening.once('connect', () => resolve(opening));
      opening.once('error', (error: NodeJS.ErrnoException) => {
        // QEMU makes the socket when it starts, or has left an old one behind.
        if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') resolve(undefined);
        else reject(cannotConnect(path, error));
      });
    });
    if (socket) return socket;
    await clock.sleep(retryMs, signal);
  }
}

function cannotConnect(path: string, error: NodeJS.ErrnoException): LastspinError {
  const why =
    error.code === 'EACCES' || error.code === 'EPERM'
      ? 'you may not connect to it; run this as the user that QEMU runs as'
      : `it is no socket of QEMU's (${reasonOf(error)})`;
  return new LastspinError('FILE_FAILED', `cannot connect to ${path}: ${why}`, { cause: error });
}

function createPort(socket: Socket, device: UsbDevice) {
  /** What cancels the transfers under way, by id. */
  const underWay = new Map<bigint, () => void>();
  let configuration = 1;
  let onGreeted = () => {};
  let onConfigured = () => {};
  const greeted = new Promise<void>((resolve) => {
    onGreeted = resolve;
  });

  function send(type: number, id: bigint, ...parts: readonly Buffer[]): void {
    if (socket.destroyed) return;
    const header = Buffer.alloc(type === types.hello ? 12 : 16);
    header.writeUInt32LE(type, 0);
    header.writeUInt32LE(
      parts.reduce((sum, part) => sum + part.length, 0),
      4,
    );
    if (type === types.hello) header.writeUInt32LE(Number(id), 8);
    else header.writeBigUInt64LE(id, 8);
    socket.cork();
    for (const part of [header, ...parts]) socket.write(part);
    socket.uncork();
  }

  function receive({ type, id, body }: Message): void {
    switch (type) {
      case types.hello:
        send(types.hello, 0n, hello());
        onGreeted();
        return;
      case types.reset:
        device.reset();
        return;
      case types.setConfiguration:
        configuration = body[0] ?? 0;
        device.control({ requestType: 0, request: 9, value: configuration, index: 0 }, 0);
        send(types.configurationStatus, id, Buffer.from([0, configuration]));
        onConfigured();
        return;
      case types.getConfiguration:
        send(types.configurationStatus, id, Buffer.from([0, configuration]));
        return;
      case types.setAlternate:
      case types.getAlternate:
        send(types.alternateStatus, id, Buffer.from([0, body[0] ?? 0, 0]));
        return;
      case types.startInterrupt:
      case types.stopInterrupt:
        // The port's notifications never come.
        send(types.interruptStatus, id, Buffer.from([0, body[0] ?? 0]));
        return;
      case types.cancel:
        underWay.get(id)?.();
        return;
      case types.control:
        send(types.control, id, ...answerControl(device, body));
        return;
      case types.bulk:
        if (((body[0] ?? 0) & 0x80) !== 0) bulkIn(id, body);
        else bulkOut(id, body);
    }
  }

  function bulkIn(id: bigint, body: Buffer): void {
    let isOver = false;
    const cancel = device.bulkIn(body[0] ?? 0, bulkLength(body), (end, bytes) => {
      isOver = true;
      underWay.delete(id);
      send(types.bulk, id, bulkHeader(body, end, bytes.length), bytes);
    });
    if (!isOver) underWay.set(id, cancel);
  }

  function bulkOut(id: bigint, body: Buffer): void {
    const answer = (end: TransferEnd) => {
      if (!underWay.delete(id)) return;
      send(types.bulk, id, bulkHeader(body, end, end === 'done' ? bulkLength(body) : 0));
    };
    underWay.set(id, () => answer('cancelled'));
    device.bulkOut(body[0] ?? 0, Buffer.from(body.subarray(10)), answer);
  }

  receiveMessages(socket, receive);
  socket.on('error', () => {});
  return {
    greeted,
    send,
    announce() {
      for (const [type, body] of announcement(device)) send(type, 0n, body);
    },
    configured: () =>
      new Promise<void>((resolve) => {
        onConfigured = resolve;
      }),
    forget: () => underWay.clear(),
  };
}

/** Cuts the stream into messages. Ids have 32 bits in `hello`, and 64 behind it. */
function receiveMessages(socket: Socket, receive: (message: Message) => void): void {
  let held: Buffer = Buffer.alloc(0);
  let headerBytes = 12;
  socket.on('data', (bytes: Buffer) => {
    held = held.length === 0 ? bytes : Buffer.concat([held, bytes]);
    while (held.length >= headerBytes) {
      const end = headerBytes + held.readUInt32LE(4);
      if (held.length < end) return;
      const type = held.readUInt32LE(0);
      const id = headerBytes === 12 ? BigInt(held.readUInt32LE(8)) : held.readBigUInt64LE(8);
      const body = held.subarray(headerBytes, end);
      held = held.subarray(end);
      headerBytes = 16;
      receive({ type, id, body });
    }
  });
}

function hello(): Buffer {
  const body = Buffer.alloc(68);
  body.write('lastspin', 0);
  body.writeUInt32LE(capabilities, 64);
  return body;
}

/** Length of a bulk packet: 16 bits, and 16 more behind the stream's number. */
function bulkLength(body: Buffer): number {
  return body.readUInt16LE(2) + body.readUInt16LE(8) * 0x1_0000;
}

function bulkHeader(request: Buffer, end: TransferEnd, length: number): Buffer {
  const header = Buffer.from(request.subarray(0, 10));
  header[1] = statuses[end];
  header.writeUInt16LE(length % 0x1_0000, 2);
  header.writeUInt16LE(Math.floor(length / 0x1_0000), 8);
  return header;
}

function answerControl(device: UsbDevice, body: Buffer): Buffer[] {
  const setup: Setup = {
    requestType: body[2] ?? 0,
    request: body[1] ?? 0,
    value: body.readUInt16LE(4),
    index: body.readUInt16LE(6),
  };
  const length = body.readUInt16LE(8);
  const answer = device.control(setup, length, body.subarray(10));
  const header = Buffer.from(body.subarray(0, 10));
  header[3] = statuses[answer === 'stall' ? 'stall' : 'done'];
  const isIn = (setup.requestType & 0x80) !== 0;
  const data = answer === 'stall' || !isIn ? Buffer.alloc(0) : answer;
  header.writeUInt16LE(isIn ? data.length : length, 8);
  return [header, data];
}

/** What a host is told before it sees the device: interfaces, endpoints, speed and ids. */
function announcement({ device, configuration }: UsbDevice): [type: number, body: Buffer][] {
  const interfaces = Buffer.alloc(4 + 4 * endpointsMax);
  const endpoints = Buffer.alloc(5 * endpointsMax);
  endpoints.fill(typeNone, 0, endpointsMax);
  for (const control of [0, 16]) {
    endpoints[control] = 0;
    endpoints.writeUInt16LE(64, 3 * endpointsMax + 2 * control);
  }
  let interfaceCount = 0;
  let interfaceNumber = 0;
  for (let at = 0; at < configuration.length; at += configuration[at] ?? 1) {
    const field = (offset: number) => configuration[at + offset] ?? 0;
    if (field(1) === 4) {
      interfaceNumber = field(2);
      [2, 5, 6, 7].forEach((offset, column) => {
        interfaces[4 + column * endpointsMax + interfaceCount] = field(offset);
      });
      interfaceCount++;
    }
    if (field(1) !== 5) continue;
    const slot = ((field(2) & 0x80) >> 3) | (field(2) & 0x0f);
    endpoints[slot] = field(3) & 3;
    endpoints[endpointsMax + slot] = field(6);
    endpoints[2 * endpointsMax + slot] = interfaceNumber;
    endpoints.writeUInt16LE(field(4) | (field(5) << 8), 3 * endpointsMax + 2 * slot);
  }
  interfaces.writeUInt32LE(interfaceCount, 0);
  const connected = Buffer.from([speedHigh, ...device.subarray(4, 7), ...device.subarray(8, 14)]);
  return [
    [types.interfaceInfo, interfaces],
    [types.endpointInfo, endpoints],
    [types.deviceConnect, connected],
  ];
}
