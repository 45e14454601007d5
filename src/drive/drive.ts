import type { Extent } from '../map/extent.js';
import type { StretchHash, WholeAlgorithm } from '../segment-hasher.js';
import type { KindHint } from './kind.js';

/** What a drive says of itself. Checked again after every reset and power cycle. */
export interface DriveIdentity {
  readonly model: string;
  readonly serial: string;
  readonly firmware: string;
  readonly sectorCount: number;
  /** Logical sector size in bytes. */
  readonly sectorBytes: number;
  /** Physical sector size in bytes; equal to `sectorBytes` where unknown. */
  readonly physicalSectorBytes: number;
  /** What it says it is, where it says so. */
  readonly kind?: KindHint;
}

/** Which outcomes end a batch. What follows in the same batch then comes back `not-attempted`. */
export interface StopOn {
  readonly fault: boolean;
  readonly slow: boolean;
  readonly timeout: boolean;
}

/** One request is exactly one command to the drive; only the planner narrows. */
export interface ReadRequest {
  readonly extent: Extent;
  /** The drive's deadline; the device enforces it and reports a timeout. */
  readonly timeoutMs: number;
  /** A read that completes later than this is `slow`; 0 = no limit. */
  readonly slowMs: number;
  readonly stopOn: StopOn;
  /** Requests of one batch share a stop: the first stop ends the batch. */
  readonly batch: number;
  /** The whole read is wanted in the image: a drive that stores (`storeInto`) may put it there. */
  readonly isStored?: boolean;
}

/** Sense data of SPC-4 clause 4.5, reduced to its three codes. */
export interface Sense {
  readonly key: number;
  readonly asc: number;
  readonly ascq: number;
}

/** Why a read failed, as far as the drive or its bridge told. */
export interface Fault {
  /** First LBA that failed, where the drive told it. */
  readonly lba?: number;
  /** ATA status and error registers (ACS-3 clause 6). */
  readonly ata?: { readonly status: number; readonly error: number };
  readonly sense?: Sense;
  /** An operating system's error name (`EIO`, `ENODATA`), where that is all there is. */
  readonly errno?: string;
  /** What the path to the drive says, in a few words, where the drive itself said nothing. */
  readonly path?: string;
}

/** How a read ended. Values, not exceptions: a broken link throws, a bug asserts.
 * - `good`, `slow`: all of `extent` was read; `data` holds it.
 * - `fault`: the drive said no; the first `goodCount` sectors are in `data`.
 * - `timeout`: no answer within the request's deadline; the drive may still be busy.
 * - `not-attempted`: an earlier request of the batch stopped it, or the read was aborted.
 * - `gone`: the drive is not on the bus. */
export interface ReadResult {
  readonly kind: 'good' | 'slow' | 'fault' | 'timeout' | 'not-attempted' | 'gone';
  readonly goodCount: number;
  readonly data: Uint8Array;
  /** The drive's own time for the command. */
  readonly elapsedMs: number;
  readonly fault?: Fault;
  /** The drive's path has put all of it into the image itself: `data` is empty. */
  readonly isStored?: boolean;
}

/** Where a drive's path may put what it reads by itself. */
export interface StoreTarget {
  /** The image, open elsewhere and of its full size; device and inode say that it is the same file. */
  readonly path: string;
  readonly device: bigint;
  readonly inode: bigint;
  /** Bytes of a segment to hash, whole sectors; 0 = no hashes. */
  readonly segmentBytes: number;
  /** Zeros are not written where the image reads as zeros. */
  readonly isSparse?: boolean;
  /** What the whole drive is hashed with besides, where it is read in order from end to end. */
  readonly whole?: readonly WholeAlgorithm[];
  /** Told of each stretch that was read in order, and of the whole (`wholeIn`). */
  readonly onHash: (hash: StretchHash) => void;
}

/** What a drive does by itself: read on into its buffer, and try again what failed. */
export interface DriveSettings {
  readonly lookAhead?: boolean;
  readonly driveRetries?: boolean;
}

export type ParkKind = 'unload' | 'standby';

export type ResetKind = 'abort' | 'soft' | 'hard';

export interface DriveCapabilities {
  /** Rungs of the ladder that this drive's path has. */
  readonly resets: ReadonlySet<ResetKind>;
  /** The device can cut the drive's power itself. */
  readonly power: boolean;
  readonly park: boolean;
  /** Most sectors of one request. */
  readonly readCountMax: number;
  /** Copying gains from reads this long, and nothing is strained by them; absent: as the preset says. */
  readonly readCountBest?: number;
  /** Most requests under way at once. */
  readonly inFlightMax: number;
  /** Most bytes that requests under way may ask for together. */
  readonly inFlightBytesMax: number;
}

/** How the drive is, without making it read. `unknown` where the path cannot tell. */
export type DriveReadiness = 'ready' | 'not-ready' | 'gone' | 'unknown';

/** A thing that reads sectors. Results of `read` resolve in the order of the calls. */
export interface Drive {
  readonly capabilities: DriveCapabilities;
  /** Asks the drive who it is. Undefined when it does not answer. Throws on a broken link. */
  identify(signal?: AbortSignal): Promise<DriveIdentity | undefined>;
  read(request: ReadRequest): Promise<ReadResult>;
  /** `abort`: reads under way come back `not-attempted` or with what they became. */
  reset(kind: ResetKind): Promise<void>;
  readiness(): Promise<DriveReadiness>;
  /** The drive's temperature in degrees Celsius, by the gentlest way that the path has; undefined where it does
   * not say. Throws on a broken link. */
  temperature?(): Promise<number | undefined>;
  /** Sets what the drive does by itself, where the path has commands for that; they are volatile. Undefined
   * when that was done, else why not, in a few words. Throws on a broken link. */
  tune?(settings: DriveSettings): Promise<string | undefined>;
  /** Where the path to the drive can write a file by itself: reads that ask for it go there without passing
   * through this program. Says whether they will. Nothing is durable until the image is synced. */
  storeInto?(target: StoreTarget): Promise<boolean>;
  /** Resolves when everything that was read is told of, as far as it was hashed. */
  flushHashes?(): Promise<void>;
  /** The drive's own count of power cycles (SMART attribute 12), where the path can ask for it; undefined where
   * the drive does not tell. Asking may take a second: not for a drive in trouble. Throws on a broken link. */
  powerCycleCount?(): Promise<number | undefined>;
  /** Heads off the platters; `standby`, unless told, lets the spindle down as well (STANDBY IMMEDIATE), `unload`
   * keeps it turning (IDLE IMMEDIATE). */
  park(kind?: ParkKind): Promise<void>;
  /** Where the device says things unasked: told of each, in one line for people. */
  onNotice?(handler: (notice: string) => void): void;
  close(): Promise<void>;
}

/** Sense key of SPC-4 table 28. */
const senseKeyMedium = 0x03;
/** Bits of the ATA error register (ACS-3 clause 6.3) with which the LBA registers hold the first sector that
 * failed: uncorrectable data (UNC), ID not found (IDNF). After an abort they hold nothing in particular, often
 * where the command began. */
export const ataErrorsAtPlace = 0x50;

/** Only a medium error marks a sector; anything else asks for a reference read first. ENODATA is what
 * Linux makes of sense 03/11 (sd, `blk_errors`); EIO says nothing. */
export function isMediumError(fault: Fault): boolean {
  if (fault.sense && fault.sense.key !== 0) return fault.sense.key === senseKeyMedium;
  if (fault.ata) return (fault.ata.error & ataErrorsAtPlace) !== 0;
  return fault.errno === 'ENODATA';
}
