/** One seed, one session of reads over a bad line: frames lost, doubled, reordered, cut, flipped, merged;
 * links that drop. What the laptop got is held against what the drive was asked, counted inside the
 * device. Shared by tests and benchmarks. */
import { type CallerReadResult, createCaller } from '../firmware-protocol/caller.js';
import { capabilityBits, stopBits } from '../firmware-protocol/commands.js';
import type { ImagerDevice } from '../firmware-protocol/device.js';
import type { Link } from '../firmware-protocol/link.js';
import { createResponder } from '../firmware-protocol/responder.js';
import { patternSector } from './media.js';
import { linkPair, type NoiseRow } from './noisy-link.js';
import { createRandom, hash, type Random } from './random.js';
import { createVirtualClock, type VirtualClock } from './virtual-clock.js';

export interface LinkWorldResult {
  /** Reads that were called, sectors with other bytes than the drive's, sectors called bad that are not. */
  readonly reads: number;
  readonly wrongSectors: number;
  readonly falselyBad: number;
  /** Commands to the drive beyond one a read. */
  readonly extraReads: number;
  /** What the line cost. */
  readonly framesDiscarded: number;
  readonly repetitions: number;
  readonly relinks: number;
}

export interface LinkWorldOptions {
  /** Stands between the imager and its line: an imager that holds less than it says, for example. */
  readonly wrap?: (link: Link) => Link;
}

const sectorBytes = 512;
const readsPerWorld = 60;
/** Every so many sectors one is bad, for good. */
const badEvery = 97;

/** What a line may do; each world draws how much of it. */
const noiseKinds: readonly NoiseRow[] = [
  { kind: 'drop', chance: 0.08 },
  { kind: 'duplicate', chance: 0.08 },
  { kind: 'flip', chance: 0.08 },
  { kind: 'truncate', chance: 0.06 },
  { kind: 'lose', chance: 0.06 },
  { kind: 'insert', chance: 0.06 },
  { kind: 'merge', chance: 0.06 },
  { kind: 'reorder', chance: 0.1, delayMs: 9 },
  { kind: 'delay', chance: 0.02, delayMs: 40 },
];

function isBad(lba: number): boolean {
  return lba % badEvery === 0;
}

/** A drive without physics that counts its commands by place. */
function createCountedDevice(clock: VirtualClock, seed: number, random: Random) {
  const commandsAt = new Map<number, number>();
  const never = async () => {
    throw new Error('not in this world');
  };
  const device: ImagerDevice = {
    firmware: 'counted',
    capabilities: capabilityBits.read | capabilityBits.failingLba,
    bootId: 1,
    bootCause: 'powerOn',
    commandsMax: 4,
    frameBytesMax: 256 + Math.floor(random.next() * 4000),
    bufferBytes: 64 * sectorBytes,
    requestsMax: 2 + Math.floor(random.next() * 14),
    readCountMax: 16,
    async read({ lba, count }) {
      commandsAt.set(lba, (commandsAt.get(lba) ?? 0) + 1);
      await clock.sleep(1 + random.next() * 4);
      const bad = Array.from({ length: count }, (_, at) => lba + at).find(isBad);
      const goodCount = bad === undefined ? count : bad - lba;
      const data = Buffer.concat(
        Array.from({ length: goodCount }, (_, at) => sectorOf(seed, lba + at)),
      );
      const elapsedMicros = 1000;
      if (bad === undefined) return { outcome: 'good', goodCount, data, elapsedMicros };
      const sense = { key: 3, asc: 0x11, ascq: 0 };
      return { outcome: 'fault', goodCount, data, elapsedMicros, failingLba: bad, sense };
    },
    abort: () => {},
    status: () => ({
      powerState: 'ready',
      driveBusy: false,
      uptimeMs: clock.now(),
      powerCycles: 1,
    }),
    identify: never,
    reset: never,
    power: never,
    park: never,
    throttle: never,
    passthrough: never,
    watchdog: never,
    limits: never,
    heard: () => {},
    onEvent: () => {},
  };
  return { device, commandsAt };
}

/** Sectors of one byte among others, so that fills are lost too. */
function sectorOf(seed: number, lba: number): Uint8Array {
  return lba % 5 === 0
    ? new Uint8Array(sectorBytes).fill(lba & 0xff)
    : patternSector(seed, lba, sectorBytes);
}

function judge(seed: number, lba: number, count: number, result: CallerReadResult) {
  const bad = Array.from({ length: count }, (_, at) => lba + at).find(isBad);
  const goodCount = bad === undefined ? count : bad - lba;
  let wrongSectors = 0;
  for (let at = 0; at < result.goodCount; at++) {
    const got = result.data.subarray(at * sectorBytes, (at + 1) * sectorBytes);
    if (at >= goodCount || Buffer.compare(got, sectorOf(seed, lba + at)) !== 0) wrongSectors++;
  }
  const isFault = result.outcome !== 'good';
  const falselyBad = isFault && (bad === undefined || result.goodCount < goodCount) ? 1 : 0;
  return { wrongSectors, falselyBad };
}

/** Runs the world of a seed to its end, in virtual time. Rejects with what ended the session. */
export async function runLinkWorld(
  seed: number,
  { wrap = (link) => link }: LinkWorldOptions = {},
): Promise<LinkWorldResult> {
  const clock = createVirtualClock();
  const random = createRandom(hash(seed, 77));
  const { device, commandsAt } = createCountedDevice(clock, seed, random);
  const responder = createResponder(device, clock);
  const level = random.next();
  const noise = noiseKinds.map((row) => ({ ...row, chance: row.chance * level * random.next() }));
  const bytesPerSecond = random.next() < 0.5 ? { bytesPerSecond: 1_000_000 } : {};
  let links = 0;
  let cut = () => {};
  const open = (): Link => {
    const [near, far] = linkPair(clock, {
      seed: hash(seed, ++links),
      noise,
      frameBytesMax: device.frameBytesMax,
      ...bytesPerSecond,
    });
    responder.attach(wrap(far));
    cut = () => far.close();
    return near;
  };
  const drops = Math.floor(random.next() * 3);

  async function session(): Promise<LinkWorldResult> {
    const caller = await createCaller(open(), clock, {
      session: hash(seed, 5),
      frameBytesMax: device.frameBytesMax,
      relink: async () => open(),
    });
    for (let drop = 0; drop < drops; drop++) clock.after(random.next() * 400, () => cut());
    try {
      const requests = Array.from({ length: readsPerWorld }, (_, index) => ({
        sectorBytes,
        batch: index,
        lba: index * 16,
        count: 1 + Math.floor(random.next() * 16),
        timeoutMs: 1000,
        slowMs: 0,
        stopOn: stopBits.fault,
      }));
      const results = await Promise.all(requests.map((request) => caller.read(request)));
      const judged = results.map((result, index) => {
        const { lba, count } = requests[index]!;
        return judge(seed, lba, count, result);
      });
      const commands = [...commandsAt.values()].reduce((sum, count) => sum + count, 0);
      return {
        reads: requests.length,
        wrongSectors: judged.reduce((sum, { wrongSectors }) => sum + wrongSectors, 0),
        falselyBad: judged.reduce((sum, { falselyBad }) => sum + falselyBad, 0),
        extraReads: commands - requests.length,
        framesDiscarded: caller.counters.framesDiscarded,
        repetitions: caller.counters.repetitions,
        relinks: caller.counters.relinks,
      };
    } finally {
      caller.close();
    }
  }
  return clock.run(session());
}
