import type {
  bootCauses,
  heatActions,
  PowerState,
  ReplyCode,
  railFaults,
  readOutcomes,
} from './commands.js';

/** What stands behind a responder: the simulated imager, or an agent on a board with a real
 * drive. The responder owns the wire (framing, ids, queue, batches, held data, resends); the device
 * owns the drive and its power. */
export interface ImagerDevice {
  readonly firmware: string;
  /** `capabilityBits`, or-ed. */
  readonly capabilities: number;
  /** Changes with every restart. */
  readonly bootId: number;
  readonly bootCause: keyof typeof bootCauses;
  /** Control commands that may be unanswered at once, 1 to 16 (C-3). */
  readonly commandsMax: number;
  readonly frameBytesMax: number;
  readonly bufferBytes: number;
  readonly requestsMax: number;
  readonly readCountMax: number;

  identify(): Promise<DeviceIdentity>;
  /** One command to the drive; the responder never lets two overlap. The device enforces
   * `timeoutMs`. */
  read(request: DeviceRead): Promise<DeviceReadResult>;
  /** Ends the wait for a read under way as soon as possible; it then resolves as a timeout. */
  abort(): void;
  /** Resolves when the reset was issued, not when the drive is ready again. */
  reset(kind: 'soft' | 'hard'): Promise<void>;
  /** Resolves when the action was begun; progress shows in `status` and in events. */
  power(action: 'off' | 'on' | 'cycle', offMs: number, standbyFirst: boolean): Promise<PowerState>;
  park(kind: 'unload' | 'standby'): Promise<void>;
  throttle(limits: {
    bytesPerSecondMax: number;
    restEveryMs: number;
    restMs: number;
  }): Promise<void>;
  status(): DeviceStatus;
  passthrough(request: {
    timeoutMs: number;
    cdb: Uint8Array;
    lengthMax: number;
  }): Promise<DevicePassthroughResult>;
  watchdog(stages: {
    stopReadsMs: number;
    unloadMs: number;
    standbyMs: number;
    offMs: number;
  }): Promise<void>;
  /** Sets where the device acts by itself; undefined asks for its own default. Gives what holds. */
  limits(wanted: Partial<DeviceLimits>): Promise<DeviceLimits>;
  /** Told of every valid message: the laptop is not silent. */
  heard(): void;
  /** Set by the responder; the device calls it for everything nobody asked for. */
  onEvent: (event: DeviceEvent) => void;
}

/** Where a device acts by itself (S-7, S-8). Undefined: it does not measure that. */
export interface DeviceLimits {
  readonly rail5MilliampsMax?: number | undefined;
  readonly rail12MilliampsMax?: number | undefined;
  readonly blankingMs?: number | undefined;
  readonly parkCelsius?: number | undefined;
  readonly offCelsius?: number | undefined;
}

export interface DeviceRead {
  readonly lba: number;
  readonly count: number;
  readonly timeoutMs: number;
  readonly slowMs: number;
}

export interface DeviceReadResult {
  readonly outcome: Exclude<keyof typeof readOutcomes, 'not-attempted'>;
  /** Sectors that came good, from the front; `data` holds exactly these. */
  readonly goodCount: number;
  readonly data: Uint8Array;
  readonly elapsedMicros: number;
  readonly failingLba?: number;
  readonly ata?: { readonly status: number; readonly error: number };
  readonly sense?: { readonly key: number; readonly asc: number; readonly ascq: number };
}

export interface DeviceIdentity {
  readonly model: string;
  readonly serial: string;
  readonly firmware: string;
  readonly sectorCount: number;
  readonly sectorBytes: number;
  readonly physicalSectorBytes: number;
  readonly raw: Uint8Array;
}

export interface DeviceStatus {
  readonly powerState: PowerState;
  readonly driveBusy: boolean;
  readonly temperatureCelsius?: number;
  readonly rail5?: { readonly millivolts: number; readonly milliamps: number };
  readonly rail12?: { readonly millivolts: number; readonly milliamps: number };
  readonly uptimeMs: number;
  readonly powerCycles: number;
  /** Since the drive's activity line last moved. */
  readonly quietMs?: number;
}

export interface DevicePassthroughResult {
  readonly outcome: 'good' | 'fault' | 'timeout' | 'gone';
  readonly scsiStatus: number;
  readonly sense: Uint8Array;
  readonly data: Uint8Array;
  readonly elapsedMicros: number;
}

export type DeviceEvent =
  | { readonly kind: 'hung' }
  | { readonly kind: 'ready'; readonly afterMs: number }
  | { readonly kind: 'gone' }
  | {
      readonly kind: 'rail-fault';
      readonly rail: 5 | 12;
      readonly milliamps: number;
      readonly millivolts: number;
      readonly fault: keyof typeof railFaults;
    }
  | {
      readonly kind: 'over-temperature';
      readonly celsius: number;
      readonly action: keyof typeof heatActions;
    }
  /** A rest of `throttle` begins. */
  | { readonly kind: 'resting'; readonly restMs: number }
  | { readonly kind: 'stepped-down'; readonly stage: 1 | 2 | 3 | 4 };

/** A device's refusal of a request, carried to the laptop as a reply code and one line of text. */
export class ReplyError extends Error {
  override readonly name = 'ReplyError';
  readonly reply: Exclude<ReplyCode, 'ok'>;

  constructor(reply: Exclude<ReplyCode, 'ok'>, message: string) {
    super(message);
    this.reply = reply;
  }
}
