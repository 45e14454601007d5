import { capabilityBits, commands, responseBit } from '../../firmware-protocol/commands.js';
import type {
  DeviceRead,
  DeviceReadResult,
  DeviceStatus,
  ImagerDevice,
} from '../../firmware-protocol/device.js';
import { noDiscards } from '../../firmware-protocol/frame.js';
import type { Link } from '../../firmware-protocol/link.js';
import { decodeHeader } from '../../firmware-protocol/message.js';
import type { Clock } from '../../src/clock.js';

export const sectorBytes = 512;

/** What sector `lba` holds: its own number, over and over. */
export function sectorsAt(lba: number, count: number): Uint8Array {
  const data = new Uint8Array(count * sectorBytes);
  const view = new DataView(data.buffer);
  for (let at = 0; at < data.length; at += 8) {
    view.setUint32(at, lba + Math.floor(at / sectorBytes), true);
    view.setUint32(at + 4, at, true);
  }
  return data;
}

export interface FakeImager extends ImagerDevice {
  /** Every command that reached the drive. */
  readonly reads: DeviceRead[];
  readonly done: string[];
  /** Set by a test: how the read of an LBA ends, where not good. */
  outcomes: Map<number, Partial<DeviceReadResult> & Pick<DeviceReadResult, 'outcome'>>;
  /** LBAs whose read ends only by `abort`. */
  hangs: Set<number>;
  status(): DeviceStatus;
}

const allCapabilities = Object.values(capabilityBits).reduce((sum, bit) => sum | bit, 0);

/** An imager without a drive's physics: each read takes `readMs`. */
export function createFakeImager(
  clock: Clock,
  options: Partial<ImagerDevice> & { readonly readMs?: number } = {},
): FakeImager {
  let abortRead = () => {};
  let powerState: DeviceStatus['powerState'] = 'ready';
  let powerCycles = 0;
  let underWay = 0;

  async function read(request: DeviceRead): Promise<DeviceReadResult> {
    imager.reads.push(request);
    if (underWay > 0) throw new Error('two commands at once');
    underWay++;
    const { lba, count } = request;
    const ended = imager.hangs.has(lba)
      ? await new Promise<boolean>((resolve) => {
          abortRead = () => resolve(true);
        })
      : await clock.sleep(options.readMs ?? 2).then(() => false);
    underWay--;
    const outcome = ended ? { outcome: 'timeout' as const } : imager.outcomes.get(lba);
    const isWhole = !outcome || outcome.outcome === 'slow';
    const goodCount = outcome?.goodCount ?? (isWhole ? count : 0);
    return {
      outcome: 'good',
      elapsedMicros: 1234,
      ...outcome,
      goodCount,
      data: sectorsAt(lba, goodCount),
    };
  }

  const did = async (what: string) => void imager.done.push(what);
  const imager: FakeImager = {
    firmware: 'fake 1.0',
    capabilities: allCapabilities,
    bootId: 7,
    bootCause: 'powerOn',
    commandsMax: 16,
    frameBytesMax: 1024,
    bufferBytes: 64 * 1024,
    requestsMax: 8,
    readCountMax: 128,
    reads: [],
    done: [],
    outcomes: new Map(),
    hangs: new Set(),
    identify: async () => ({
      model: 'FAKE',
      serial: 'S1',
      firmware: 'F1',
      sectorCount: 1_000_000,
      sectorBytes,
      physicalSectorBytes: 4096,
      raw: new Uint8Array(),
    }),
    read,
    abort: () => abortRead(),
    reset: (kind) => did(`reset ${kind}`),
    async power(action, offMs, standbyFirst) {
      await did(`power ${action} ${offMs}${standbyFirst ? ' standby' : ''}`);
      powerState = action === 'on' ? 'ramping' : 'off';
      if (action !== 'off') {
        if (action === 'cycle') powerCycles++;
        clock.after(offMs + 50, () => {
          powerState = 'on-not-ready';
          imager.onEvent({ kind: 'ready', afterMs: 50 });
        });
      }
      return powerState;
    },
    park: (kind) => did(`park ${kind}`),
    throttle: (limits) => did(`throttle ${limits.bytesPerSecondMax}`),
    watchdog: (stages) => did(`watchdog ${stages.stopReadsMs}`),
    limits: async (wanted) => wanted,
    status: () => ({ powerState, driveBusy: underWay > 0, uptimeMs: clock.now(), powerCycles }),
    async passthrough(request) {
      await did(`passthrough ${request.cdb[0]}`);
      const none = new Uint8Array();
      return { outcome: 'good', scsiStatus: 0, sense: none, data: none, elapsedMicros: 1 };
    },
    heard: () => {},
    onEvent: () => {},
    ...options,
  };
  return imager;
}

export type Direction = 'to-device' | 'to-laptop';

/** Both ends of an in-memory line that keeps its order. `passes` decides over each message, by the
 * count of those before it in either direction; what it gives is what arrives. */
export function createLine(
  clock: Clock,
  passes: (message: Uint8Array, index: number, to: Direction) => Uint8Array | undefined = (
    message,
  ) => message,
  latencyMs = 1,
): { readonly laptop: Link; readonly device: Link; cut(): void; readonly count: () => number } {
  let index = 0;
  const ends = [createEnd(), createEnd()] as const;

  function createEnd() {
    return {
      receive: (_message: Uint8Array) => {},
      onClose: (_error?: Error) => {},
      open: true,
    };
  }
  function close(error?: Error): void {
    for (const end of ends) {
      if (!end.open) continue;
      end.open = false;
      end.onClose(error);
    }
  }
  function linkFor(own: number, to: Direction): Link {
    const end = ends[own]!;
    const other = ends[1 - own]!;
    return {
      send(message) {
        const arriving = end.open ? passes(message, index++, to) : undefined;
        if (!arriving) return;
        // What arrives is in memory of its own, as from a frame.
        const copy = Uint8Array.from(arriving);
        clock.after(latencyMs, () => {
          if (other.open) other.receive(copy);
        });
      },
      drained: () => clock.sleep(0),
      onMessage(handler) {
        end.receive = handler;
      },
      onClose(handler) {
        end.onClose = handler;
      },
      close: () => close(),
      discarded: noDiscards(),
    };
  }
  return {
    laptop: linkFor(0, 'to-device'),
    device: linkFor(1, 'to-laptop'),
    cut: () => close(new Error('cable pulled')),
    count: () => index,
  };
}

const names = new Map(Object.values(commands).map(({ code, name }) => [code, name]));

/** What a message is, for a test that picks one: `power`, `read response`, `event 64`. */
export function kindOf(message: Uint8Array): string {
  const { code } = decodeHeader(message);
  if (code & responseBit) return `${names.get(code & ~responseBit)} response`;
  return names.get(code) ?? `event ${code}`;
}
