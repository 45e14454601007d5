/** A simulated drive behind a USB mass storage adapter: bulk-only transport (USB Mass Storage Class,
 * Bulk-Only Transport 1.0; clauses of it are cited as BOT). Answers come when the clock says so, and until
 * then the device can be reset, unplugged, or lose its power. */
import type { Clock } from '../src/clock.js';
import { createBulkEndpoints, type WaitingIn } from './bulk-endpoints.js';
import type { SimulatedDrive } from './drive.js';
import type { ScsiAnswer } from './scsi-answer.js';
import { type BridgeOptions, createBridge } from './usb-bridge.js';
import type { AnswerOut, Setup, UsbDevice, UsbPlug } from './usb-device.js';
import {
  bulkPair,
  configurationDescriptor,
  createStandardRequests,
  deviceDescriptor,
  directionIn,
  idsOf,
  noBytes,
  packetBytes,
} from './usb-standard.js';

export interface UsbDiskOptions extends BridgeOptions {
  readonly vendorId?: number;
  readonly productId?: number;
}

export interface UsbDiskCounters {
  commands: number;
  bulkResets: number;
  portResets: number;
  /** Commands that would have written. */
  readonly writesRefused: number;
}

export interface UsbDisk extends UsbDevice {
  readonly counters: Readonly<UsbDiskCounters>;
}

export const diskEndpoint = 1;
/** For simulations (pid.codes). */
const idsDefault = { vendorId: 0x1209, productId: 0x0002 };
const cbwBytes = 31;
const cbwSignature = 0x4342_5355;
const cswSignature = 0x5342_5355;
const statuses = { good: 0, failed: 1, phaseError: 2 } as const;

/** BOT 5.1: a command that the host sent. */
interface Cbw {
  readonly tag: number;
  readonly wantedBytes: number;
  readonly isIn: boolean;
  readonly cdb: Uint8Array;
}

/** What is on its way to the host: data, then the status. */
interface Reply {
  readonly data: Uint8Array;
  readonly csw: Buffer;
  readonly wantedBytes: number;
  sentBytes: number;
  isDataOver: boolean;
}

/** The drive stays the caller's. */
export function createUsbDisk(
  drive: SimulatedDrive,
  clock: Clock,
  options: UsbDiskOptions = {},
): UsbDisk {
  const ids = { ...idsDefault, ...options };
  const { serialNumber = 'BRIDGE01' } = options;
  const bridge = createBridge(drive, { ...options, serialNumber });
  const counters = {
    commands: 0,
    bulkResets: 0,
    portResets: 0,
    get writesRefused() {
      return bridge.writesRefused;
    },
  };
  const device = deviceDescriptor(ids, [0, 0, 0]);
  const bulkOnly = [9, 4, 0, 0, 2, 8, 6, 0x50, 0];
  const configuration = configurationDescriptor(1, [bulkOnly, bulkPair(diskEndpoint)]);
  let haltsCleared = 0;
  let isPlugged = false;
  const transport = createTransport(clock, {
    execute(cdb) {
      counters.commands++;
      return bridge.execute(cdb, clock.now());
    },
    refusesData: (cdb) => void bridge.execute(cdb, clock.now()),
  });
  const standard = createStandardRequests({
    device,
    configuration,
    strings: ['Lastspin', 'Simulated adapter', serialNumber],
    isHalted: transport.isHalted,
    halt: transport.halt,
    clearHalt(endpoint) {
      haltsCleared++;
      transport.clearHalt(endpoint);
    },
  });

  function classRequest(setup: Setup): Buffer | 'stall' {
    if (setup.requestType === 0xa1 && setup.request === 0xfe) return Buffer.from([0]); // one LUN
    if (setup.requestType !== 0x21 || setup.request !== 0xff) return 'stall';
    counters.bulkResets++;
    transport.reset();
    bridge.reset();
    drive.softReset(clock.now());
    return noBytes;
  }

  function startAnew(): void {
    transport.startAnew();
    bridge.reset();
  }

  return {
    name: idsOf(ids),
    device,
    configuration,
    counters,
    control(setup, length) {
      const answer = standard(setup) ?? classRequest(setup);
      return answer === 'stall' ? answer : answer.subarray(0, length);
    },
    bulkIn: (_endpoint, lengthMax, answer) => transport.take(lengthMax, answer),
    bulkOut: (_endpoint, bytes, answer) => transport.give(bytes, answer),
    attach() {
      isPlugged = true;
      startAnew();
    },
    detach() {
      isPlugged = false;
      startAnew();
    },
    reset() {
      if (!isPlugged) return;
      counters.portResets++;
      startAnew();
      drive.hardReset(clock.now());
    },
    stall: transport.halt,
    get haltsCleared() {
      return haltsCleared;
    },
  };
}

interface Commands {
  execute(cdb: Uint8Array): ScsiAnswer;
  /** A command with data for the device, which takes none. */
  refusesData(cdb: Uint8Array): void;
}

/** The two bulk endpoints: commands in, data and status out. */
function createTransport(clock: Clock, { execute, refusesData }: Commands) {
  const endpoints = createBulkEndpoints(pump);
  let reply: Reply | undefined;
  /** Ends the command under way without an answer. */
  let cancelWork: (() => void) | undefined;
  /** A command that came while another is under way: the device has no room for it yet. */
  let held: (() => void) | undefined;
  /** BOT 6.6.1: after a command that was none, nothing helps but a reset. */
  let isWedged = false;

  function pump(): void {
    while (reply) {
      const transfer = endpoints.next();
      if (!transfer) return;
      if (reply.isDataOver) sendStatus(reply, transfer);
      else sendData(reply, transfer);
    }
  }

  /** BOT 6.7.2: what is less than the host wanted ends with a short packet, or with a stall where there is
   * none. */
  function sendData(current: Reply, { lengthMax, answer }: WaitingIn): void {
    const { data, sentBytes, wantedBytes } = current;
    const piece = Buffer.from(data.subarray(sentBytes, sentBytes + lengthMax));
    current.sentBytes += piece.length;
    current.isDataOver = current.sentBytes === data.length && current.sentBytes === wantedBytes;
    if (piece.length === lengthMax) {
      answer('done', piece);
      return;
    }
    current.isDataOver = true;
    if (piece.length % packetBytes !== 0 || current.sentBytes === wantedBytes) {
      answer('done', piece);
      return;
    }
    endpoints.halt(directionIn);
    answer('stall', piece);
  }

  function sendStatus({ csw }: Reply, { lengthMax, answer }: WaitingIn): void {
    reply = undefined;
    answer('done', csw.subarray(0, lengthMax));
    release();
  }

  function release(): void {
    const next = held;
    held = undefined;
    next?.();
  }

  function begin(cbw: Cbw): void {
    if (!cbw.isIn && cbw.wantedBytes > 0) {
      refusesData(cbw.cdb);
      endpoints.halt(0);
      respond(cbw, new Uint8Array(0), statuses.failed);
      return;
    }
    const { scsiStatus, data, elapsedMs } = execute(cbw.cdb);
    if (elapsedMs === Number.POSITIVE_INFINITY) {
      cancelWork = () => {};
      return;
    }
    cancelWork = clock.after(elapsedMs, () => {
      cancelWork = undefined;
      const isUnwanted = data.length > 0 && cbw.wantedBytes === 0;
      const status = scsiStatus === 0 ? statuses.good : statuses.failed;
      respond(cbw, data.subarray(0, cbw.wantedBytes), isUnwanted ? statuses.phaseError : status);
    });
  }

  function respond({ tag, wantedBytes, isIn }: Cbw, data: Uint8Array, status: number): void {
    const csw = Buffer.alloc(13);
    csw.writeUInt32LE(cswSignature, 0);
    csw.writeUInt32LE(tag, 4);
    csw.writeUInt32LE(wantedBytes - data.length, 8);
    csw[12] = status;
    reply = { data, csw, wantedBytes, sentBytes: 0, isDataOver: !isIn || wantedBytes === 0 };
    pump();
  }

  function wedge(): void {
    isWedged = true;
    endpoints.halt(0);
    endpoints.stall(directionIn);
  }

  function reset(): void {
    cancelWork?.();
    cancelWork = undefined;
    reply = undefined;
    held = undefined;
    isWedged = false;
  }

  return {
    take: endpoints.take,
    give(bytes: Buffer, answer: AnswerOut): void {
      if (endpoints.isHalted(0)) {
        answer('stall');
        return;
      }
      if (cancelWork || reply) {
        held = () => this.give(bytes, answer);
        return;
      }
      const cbw = parseCbw(bytes);
      if (!cbw) wedge();
      answer(cbw ? 'done' : 'stall');
      if (cbw) begin(cbw);
    },
    /** Bulk-only mass storage reset (BOT 3.1): what was under way is forgotten, halts stay. */
    reset,
    startAnew() {
      reset();
      endpoints.startAnew();
    },
    halt: endpoints.stall,
    clearHalt(endpoint: number) {
      if (!isWedged) endpoints.clearHalt(endpoint);
    },
    isHalted: endpoints.isHalted,
  };
}

/** BOT 6.2: undefined for what is not a valid and meaningful command. */
function parseCbw(bytes: Buffer): Cbw | undefined {
  if (bytes.length !== cbwBytes || bytes.readUInt32LE(0) !== cbwSignature) return undefined;
  const [flags = 0, lun = 0, cdbBytes = 0] = bytes.subarray(12, 15);
  if (lun !== 0 || cdbBytes < 1 || cdbBytes > 16 || (flags & 0x7f) !== 0) return undefined;
  return {
    tag: bytes.readUInt32LE(4),
    wantedBytes: bytes.readUInt32LE(8),
    isIn: (flags & 0x80) !== 0,
    cdb: Uint8Array.from(bytes.subarray(15, 15 + cdbBytes)),
  };
}

/** A drive and its adapter on one power supply, with a plug. */
export interface Dock {
  /** Both come and go with the power: the device leaves the bus. */
  power(on: boolean): Promise<void>;
  plugIn(): Promise<void>;
  pull(): void;
}

/** From power-on until the adapter shows itself on the bus. */
const adapterStartMs = 300;

export function createDock(drive: SimulatedDrive, plug: UsbPlug, clock: Clock): Dock {
  let isPowered = false;
  let isPlugged = true;
  const show = async () => {
    if (isPowered && isPlugged) await plug.plugIn();
  };
  return {
    async power(on) {
      if (on === isPowered) return;
      isPowered = on;
      if (on) {
        drive.powerOn(clock.now());
        await clock.sleep(adapterStartMs);
        await show();
      } else {
        drive.powerOff(clock.now());
        if (isPlugged) plug.pull();
      }
    },
    async plugIn() {
      if (isPlugged) return;
      isPlugged = true;
      await show();
    },
    pull() {
      if (!isPlugged) return;
      isPlugged = false;
      if (isPowered) plug.pull();
    },
  };
}
