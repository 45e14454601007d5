import { type Duplex, duplexPair } from 'node:stream';
import { capabilityBits } from '../../firmware-protocol/commands.js';
import type { Target } from '../../firmware-protocol/conformance/bench.js';
import {
  type RunOptions,
  type RunResult,
  runConformance,
} from '../../firmware-protocol/conformance/run.js';
import { type ImagerDevice, ReplyError } from '../../firmware-protocol/device.js';
import { createFrameDecoder, encodeFrame, noDiscards } from '../../firmware-protocol/frame.js';
import { framedLink } from '../../firmware-protocol/link.js';
import { createResponder } from '../../firmware-protocol/responder.js';
import { createSimulatedDrive } from '../../hardware-sim/drive.js';
import { createSimulatedImager, type SimulatedImagerOptions } from '../../hardware-sim/imager.js';
import { pacedLink } from '../../hardware-sim/noisy-link.js';
import { defineScenario, type Scenario } from '../../hardware-sim/scenario.js';
import { createVirtualClock, type VirtualClock } from '../../hardware-sim/virtual-clock.js';

/** What stands between the suite and an imager that is right. Each function gets one message (or some
 * bytes) and gives what arrives in its place; absent, everything passes. */
export interface Filter {
  toDevice?(message: Uint8Array, line: Line): readonly Uint8Array[];
  toLaptop?(message: Uint8Array, line: Line): readonly Uint8Array[];
  bytesToDevice?(bytes: Uint8Array, line: Line): Uint8Array;
  bytesToLaptop?(bytes: Uint8Array, line: Line): Uint8Array;
  /** Bytes of a frame, instead of the right ones. */
  frameToLaptop?(message: Uint8Array): Uint8Array;
  onClose?(line: Line): void;
}

/** One link as a filter sees it. */
export interface Line {
  /** Counts links from 0. */
  readonly number: number;
  readonly clock: VirtualClock;
  /** Says something of its own. */
  say(message: Uint8Array): void;
  tell(message: Uint8Array): void;
  /** Ends the link as the laptop sees it. */
  cutLaptop(): void;
  /** Ends the device's side alone. */
  cutDevice(): void;
}

export interface RigOptions {
  readonly filter?: Filter;
  readonly kind?: 'full' | 'power-only' | 'no-drive';
  readonly imager?: SimulatedImagerOptions;
  readonly scenario?: Scenario;
  /** Speed of the line from the imager. */
  readonly bytesPerSecond?: number;
  readonly device?: (device: ImagerDevice) => void;
  readonly target?: Partial<Target>;
}

const bit = capabilityBits;
const powerOnly =
  bit.power | bit.sense | bit.temperature | bit.watchdog | bit.limits | bit.activity;

/** Drives with a stretch of zeros, so that fills are seen. */
const scenario = defineScenario({
  seed: 11,
  sectorCount: 65_536,
  faults: [{ kind: 'wrong', lba: 256, count: 40, data: 'zeros' }],
});

/** Nothing hangs on it. */
function empty(device: ImagerDevice): void {
  const { status, power } = device;
  device.status = () => {
    const { powerState, ...rest } = status();
    return { ...rest, powerState: powerState === 'ready' ? 'on-not-ready' : powerState };
  };
  device.power = async (...args) => {
    const state = await power(...args);
    return state === 'ready' ? 'on-not-ready' : state;
  };
  device.identify = async () => {
    throw new ReplyError('noDrive', 'nothing is plugged in');
  };
  device.read = async () => ({
    outcome: 'gone',
    goodCount: 0,
    data: new Uint8Array(),
    elapsedMicros: 0,
  });
}

/** An imager, and the line to it. */
export function createRig(options: RigOptions = {}): {
  readonly clock: VirtualClock;
  readonly target: Target;
  readonly close: () => void;
} {
  const clock = createVirtualClock();
  const { kind = 'full' } = options;
  const imager = createSimulatedImager(createSimulatedDrive(options.scenario ?? scenario), clock, {
    requestsMax: 8,
    bufferBytes: 256 * 1024,
    readCountMax: 256,
    frameBytesMax: 4096,
    ...(kind === 'power-only' && { capabilities: powerOnly, frameBytesMax: 256, commandsMax: 4 }),
    ...options.imager,
  });
  if (kind === 'no-drive') empty(imager);
  options.device?.(imager);
  const responder = createResponder(imager, clock);
  let links = 0;
  const target: Target = {
    name: `sim:${kind}`,
    linksMax: 2,
    reopens: true,
    tellsEnd: true,
    async open() {
      const [near, far] = plugged();
      const number = links++;
      const device = options.filter ? filtered(options.filter, far, clock, number) : far;
      const link = framedLink(device, { frameBytesMax: imager.frameBytesMax });
      const { bytesPerSecond } = options;
      responder.attach(bytesPerSecond ? pacedLink(link, clock, bytesPerSecond) : link);
      return { stream: near, close: () => void near.destroy() };
    },
    ...options.target,
  };
  return { clock, target, close: () => imager.close() };
}

/** Two ends of a cable: whoever pulls one pulls the other. */
function plugged(): [Duplex, Duplex] {
  const [near, far] = duplexPair();
  near.on('close', () => far.destroy());
  far.on('close', () => near.destroy());
  for (const end of [near, far]) end.on('error', () => {});
  return [near, far];
}

/** The device's end of a line with a filter in it. */
function filtered(filter: Filter, laptop: Duplex, clock: VirtualClock, number: number): Duplex {
  const [middle, device] = plugged();
  const frame = (message: Uint8Array) => filter.frameToLaptop?.(message) ?? encodeFrame(message);
  const line: Line = {
    number,
    clock,
    say: (message) => void laptop.write(frame(message)),
    tell: (message) => void middle.write(encodeFrame(message)),
    cutLaptop: () => void laptop.destroy(),
    cutDevice: () => void device.destroy(),
  };
  laptop.on('close', () => {
    middle.destroy();
    filter.onClose?.(line);
  });
  // A cut at the device's end alone is part of a mutant, so it does not reach the laptop.
  pass(laptop, middle, (bytes) => filter.bytesToDevice?.(bytes, line) ?? bytes, {
    message: filter.toDevice && ((message) => filter.toDevice!(message, line)),
    frame: encodeFrame,
  });
  pass(middle, laptop, (bytes) => filter.bytesToLaptop?.(bytes, line) ?? bytes, {
    message:
      (filter.toLaptop ?? filter.frameToLaptop) &&
      ((message) => filter.toLaptop?.(message, line) ?? [message]),
    frame,
  });
  return device;
}

/** Carries bytes one way, with back pressure. */
function pass(
  from: Duplex,
  to: Duplex,
  bytesOf: (bytes: Uint8Array) => Uint8Array,
  each: {
    readonly message: ((message: Uint8Array) => readonly Uint8Array[]) | undefined;
    readonly frame: (message: Uint8Array) => Uint8Array;
  },
): void {
  const put = (bytes: Uint8Array) => {
    if (to.destroyed || to.write(bytes) || from.isPaused()) return;
    from.pause();
    to.once('drain', () => from.resume());
  };
  // What opens a line is no message and passes all the same (F-8).
  let opened = false;
  const decoder = createFrameDecoder({
    frameBytesMax: 1 << 20,
    discarded: noDiscards(),
    onMessage: (message) => {
      for (const out of each.message!(Uint8Array.from(message))) put(each.frame(out));
    },
  });
  from.on('data', (bytes: Buffer) => {
    const changed = bytesOf(bytes);
    if (!each.message) return put(changed);
    if (!opened && changed[0] === 0) put(Uint8Array.of(0));
    opened = true;
    decoder.push(changed);
  });
}

/** Runs the suite against a rig in virtual time. */
export async function examine(
  rig: ReturnType<typeof createRig>,
  options: Partial<RunOptions> = {},
): Promise<RunResult> {
  const { clock, target, close } = rig;
  try {
    return await clock.run(runConformance({ target, clock, session: 1000, ...options }));
  } finally {
    close();
  }
}

/** An imager that is none: `answer` is told every message of the suite and says what it likes. */
export function createStranger(
  answer: (message: Uint8Array, say: (bytes: Uint8Array) => void) => void,
): ReturnType<typeof createRig> {
  const clock = createVirtualClock();
  const target: Target = {
    name: 'sim:stranger',
    linksMax: 1,
    reopens: true,
    tellsEnd: false,
    async open() {
      const [near, far] = plugged();
      const decoder = createFrameDecoder({
        frameBytesMax: 1 << 16,
        discarded: noDiscards(),
        onMessage: (message) => answer(message, (bytes) => void far.write(bytes)),
      });
      far.on('data', (bytes: Buffer) => decoder.push(bytes));
      return { stream: near, close: () => void near.destroy() };
    },
  };
  return { clock, target, close: () => {} };
}
