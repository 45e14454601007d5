/** The messages of the imager protocol as data. Codecs of both ends follow from these tables, and a
 * test holds the tables of PROTOCOL.md against them. */
import {
  bytes,
  type Codec,
  type Fields,
  i16,
  struct,
  text,
  u8,
  u16,
  u32,
  u64,
  type ValuesOf,
} from './codec.js';

export const protocolVersion = { major: 1, minor: 0 } as const;
/** 'LSPN': the first field of HELLO, so that a port that is no imager is known at once. */
export const helloMagic = 0x4e50534c;

export interface Command<Req, Res> {
  readonly code: number;
  readonly name: string;
  readonly request: Codec<Req>;
  readonly response: Codec<Res>;
}

export interface EventKind<T> {
  readonly code: number;
  readonly name: string;
  readonly body: Codec<T>;
}

function command<Q extends Fields, R extends Fields>(
  code: number,
  name: string,
  request: Q,
  response: R,
): Command<ValuesOf<Q>, ValuesOf<R>> {
  return { code, name, request: struct(request), response: struct(response) };
}

function event<F extends Fields>(code: number, name: string, body: F): EventKind<ValuesOf<F>> {
  return { code, name, body: struct(body) };
}

/** No end may ask for less: every message but identify, passthrough and data fits in. */
export const frameBytesMin = 256;

/** Most control commands that may be unanswered, whatever an imager offers (C-3). */
export const commandsMaxMax = 16;

/** A session from which nothing valid came for this long may be taken over from another link, in
 * ms (H-7). */
export const sessionLiveMs = 5000;

/** Request codes 0x01–0x3f; the response to a request carries the same code with `responseBit`. */
export const responseBit = 0x80;

const limitFields = {
  rail5MilliampsMax: u16,
  rail12MilliampsMax: u16,
  /** After power-on and spin-up, in which those two do not trip. */
  blankingMs: u16,
  /** Tenths of a degree Celsius: standby from here on. */
  parkTemperature: i16,
  /** Tenths of a degree Celsius: power off. */
  offTemperature: i16,
} as const;

export const commands = {
  hello: command(
    0x01,
    'hello',
    {
      magic: u32,
      major: u8,
      minor: u8,
      /** Longest message that the laptop takes. */
      frameBytesMax: u32,
      /** Drawn by the laptop; the same number again reclaims what the imager still holds. */
      session: u32,
    },
    {
      major: u8,
      minor: u8,
      capabilities: u32,
      /** Longest message from now on, both ways: the smaller of both ends' limits. */
      frameBytesMax: u32,
      /** Unreleased read data that the imager can hold. */
      bufferBytes: u32,
      /** Reads that may be unreleased at once. */
      requestsMax: u16,
      /** Most sectors of one read. */
      readCountMax: u32,
      /** Next read id that the imager expects; 0 in a new session. */
      readIdNext: u32,
      /** Changes with every restart of the imager. */
      bootId: u32,
      firmware: text,
      /** Control commands that may be unanswered at once, and that the imager remembers. */
      commandsMax: u8,
      /** What the imager started from: `bootCauses`. */
      bootCause: u8,
      /** Sessions opened since the start, this one included: another number is another session. */
      sessionCount: u32,
    },
  ),
  identify: command(
    0x02,
    'identify',
    {},
    {
      model: text,
      serial: text,
      firmware: text,
      sectorCount: u64,
      sectorBytes: u32,
      physicalSectorBytes: u32,
      /** IDENTIFY DEVICE data or standard INQUIRY data as the drive gave it; may be empty. */
      raw: bytes,
    },
  ),
  /** The request id of reads counts by itself, from 0 in a session, without gaps. */
  read: command(
    0x03,
    'read',
    {
      batch: u32,
      lba: u64,
      count: u32,
      timeoutMs: u32,
      /** 0 = no limit. */
      slowMs: u32,
      stopOn: u8,
      /** All reads with an id below this are released: their data may be forgotten. */
      releaseBelow: u32,
    },
    {
      outcome: u8,
      goodCount: u32,
      /** Which of the following hold: `faultBits`. */
      known: u8,
      failingLba: u64,
      ataStatus: u8,
      ataError: u8,
      senseKey: u8,
      asc: u8,
      ascq: u8,
      /** The drive's own time. */
      elapsedMicros: u64,
      /** Bytes that were sent in pieces, and their CRC-32. */
      dataBytes: u32,
      dataCrc: u32,
      /** As requested: an answer to another session's read of the same id is known by it. */
      lba: u64,
    },
  ),
  /** Pieces of a held read again, then its response; `length` 0 asks for the response alone. */
  resend: command(0x04, 'resend', { readId: u32, offset: u32, length: u32 }, {}),
  /** Reads with an id below this are not attempted any more, also those still to arrive. */
  abort: command(0x05, 'abort', { readIdBelow: u32 }, {}),
  reset: command(0x06, 'reset', { kind: u8 }, {}),
  power: command(0x07, 'power', { action: u8, offMs: u32, standbyFirst: u8 }, { powerState: u8 }),
  park: command(0x08, 'park', { kind: u8 }, {}),
  /** 0 lifts a limit. */
  throttle: command(
    0x09,
    'throttle',
    { bytesPerSecondMax: u32, restEveryMs: u32, restMs: u32 },
    {},
  ),
  status: command(
    0x0a,
    'status',
    {},
    {
      powerState: u8,
      driveBusy: u8,
      /** Tenths of a degree Celsius; `notMeasured` = none. */
      temperature: i16,
      rail5Millivolts: u16,
      rail5Milliamps: u16,
      rail12Millivolts: u16,
      rail12Milliamps: u16,
      uptimeMs: u64,
      /** Next read id that the imager expects: a smaller one than the laptop's means a lost
       * request. */
      readIdNext: u32,
      /** Results below this id were sent before this status: one that has not arrived was lost. */
      readIdDone: u32,
      powerCycles: u32,
      /** Frames that the imager had to discard. */
      framesDiscarded: u32,
      /** Since the drive's activity line last moved; `notMeasured.quietMs` = no such line. */
      quietMs: u32,
    },
  ),
  passthrough: command(
    0x0b,
    'passthrough',
    { timeoutMs: u32, cdb: bytes, lengthMax: u32 },
    { outcome: u8, scsiStatus: u8, sense: bytes, data: bytes, elapsedMicros: u64 },
  ),
  /** Stages after the laptop fell silent; 0 = never. */
  watchdog: command(
    0x0c,
    'watchdog',
    { stopReadsMs: u32, unloadMs: u32, standbyMs: u32, offMs: u32 },
    {},
  ),
  /** Where the imager acts by itself. 0, and for temperatures `notMeasured`, asks for its own
   * default; the response says what holds. */
  limits: command(0x0d, 'limits', limitFields, limitFields),
} as const;

/** Events, 0x40–0x7f: unasked-for, device to laptop; the id counts events. */
export const events = {
  /** A piece of read `readId`, sent before its response. Not counted: its id is the read's. */
  data: event(0x40, 'data', { offset: u32, bytes }),
  /** A read came out of order; the laptop goes on sending from `readIdNext`. */
  gap: event(0x41, 'gap', { readIdNext: u32 }),
  hung: event(0x42, 'hung', {}),
  ready: event(0x43, 'ready', { afterMs: u32 }),
  gone: event(0x44, 'gone', {}),
  railFault: event(0x45, 'rail-fault', {
    rail: u8,
    milliamps: u16,
    millivolts: u16,
    /** `railFaults`. */
    fault: u8,
  }),
  overTemperature: event(0x46, 'over-temperature', {
    temperature: i16,
    /** What the imager did: `heatActions`. */
    action: u8,
  }),
  /** A stage of the silent-laptop answer was taken: 1 reads stopped, 2 unloaded, 3 standby, 4
   * off. */
  steppedDown: event(0x47, 'stepped-down', { stage: u8 }),
  /** A piece of read `readId` that is one byte over and over. Its id is the read's. */
  fill: event(0x48, 'fill', { offset: u32, length: u32, byte: u8 }),
  /** A rest of `throttle` begins. */
  resting: event(0x49, 'resting', { restMs: u32 }),
} as const;

export const capabilityBits = {
  identify: 1 << 0,
  read: 1 << 1,
  softReset: 1 << 2,
  hardReset: 1 << 3,
  power: 1 << 4,
  park: 1 << 5,
  throttle: 1 << 6,
  /** Volts and amps are measured. */
  sense: 1 << 7,
  temperature: 1 << 8,
  passthrough: 1 << 9,
  watchdog: 1 << 10,
  failingLba: 1 << 11,
  /** The drive's activity line is watched. */
  activity: 1 << 12,
  /** `limits` can be set. */
  limits: 1 << 13,
} as const;

/** Hottest limit that may be asked for, in degrees Celsius (S-8): no drive is made for more. */
export const limitCelsiusMax = 85;

/** What an imager started from (P-1). */
export const bootCauses = {
  unknown: 0,
  powerOn: 1,
  brownOut: 2,
  watchdog: 3,
  resetLine: 4,
  software: 5,
} as const;

export const railFaults = { overCurrent: 1, noRise: 2, noFall: 3 } as const;
export const heatActions = { told: 0, standby: 1, off: 2 } as const;

export type Capability = keyof typeof capabilityBits;

/** What an imager must be capable of to do a request (C-6); undefined for what every one does. */
export function capabilityFor(
  name: keyof typeof commands,
  request: unknown,
): Capability | undefined {
  switch (name) {
    case 'hello':
    case 'status':
      return undefined;
    case 'reset':
      return (request as { kind: number }).kind === resetKinds.hard ? 'hardReset' : 'softReset';
    case 'resend':
    case 'abort':
      return 'read';
    default:
      return name;
  }
}

export const readOutcomes = {
  good: 0,
  slow: 1,
  fault: 2,
  timeout: 3,
  'not-attempted': 4,
  gone: 5,
} as const;

/** Outcomes of `passthrough`. */
export const scsiOutcomes = { good: 0, fault: 2, timeout: 3, gone: 5 } as const;

export const stopBits = { fault: 1, slow: 2, timeout: 4 } as const;
export const faultBits = { failingLba: 1, ata: 2, sense: 4 } as const;
export const resetKinds = { soft: 1, hard: 2 } as const;
export const powerActions = { off: 0, on: 1, cycle: 2 } as const;
export const parkKinds = { unload: 1, standby: 2 } as const;

/** The power state table's states. */
export const powerStates = {
  unknown: 0,
  off: 1,
  ramping: 2,
  'on-not-ready': 3,
  ready: 4,
  hung: 5,
  cooling: 6,
  tripped: 7,
} as const;
export type PowerState = keyof typeof powerStates;

/** First byte of every response body. Anything but `ok` is followed by a `text` that says why. */
export const replyCodes = {
  ok: 0,
  unknownCommand: 1,
  malformed: 2,
  unsupported: 3,
  /** Not on the read-only list. */
  refused: 4,
  /** No drive answers. */
  noDrive: 5,
  busy: 6,
  limit: 7,
  version: 8,
  unknownRead: 9,
  helloFirst: 10,
} as const;
export type ReplyCode = keyof typeof replyCodes;

export const notMeasured = { temperature: -32768, rail: 0xffff, quietMs: 0xffff_ffff } as const;
