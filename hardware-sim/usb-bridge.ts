/** The SCSI side of an adapter from USB to ATA: what it answers itself, and what it asks the drive for.
 * Stateless but for its sense data; like the drive it is told the time with every call. */
import { judgeReadOnly } from '../firmware-protocol/read-only.js';
import type { DriveRead, SimulatedDrive } from './drive.js';
import { answerScsi, inquiryData } from './passthrough.js';
import {
  check,
  failed,
  fixedSense,
  good,
  nothing,
  quickMs,
  type ScsiAnswer,
} from './scsi-answer.js';

export interface BridgeOptions {
  /** Whether it passes ATA commands through (SAT). */
  readonly sat?: boolean;
  /** Answers failing reads as good: at once with zeros, or, when the drive has given up on them, with what the last
   * good read brought. */
  readonly lies?: 'zeros' | 'stale';
  /** Of so many failing reads one is told as what it is; 0 or absent: none. */
  readonly tellsOneIn?: number;
  /** Reports the number of sectors where the last sector's LBA belongs. */
  readonly capacityOffByOne?: boolean;
  /** Of its VPD page 80h; the drive's own is another. */
  readonly serialNumber?: string;
}

export interface Bridge {
  /** Answers one command; of data that failed in the middle what came before it. */
  execute(cdb: Uint8Array, nowMs: number): ScsiAnswer;
  /** The device was reset. */
  reset(): void;
  /** Commands that would have written, had it let them. */
  readonly writesRefused: number;
}

/** SCSI commands that write, erase or move the medium without sending data, or with it. */
const writers = new Set([
  ...[0x04, 0x07, 0x0a, 0x15, 0x19, 0x2a, 0x2e, 0x2f, 0x3b, 0x3f, 0x41, 0x42, 0x48, 0x53, 0x55],
  ...[0x83, 0x89, 0x8a, 0x8b, 0x8e, 0x93, 0x9b, 0x9c, 0xaa, 0xae],
]);
const passThroughs = new Set([0x85, 0xa1]);
const noSense = fixedSense({ key: 0, asc: 0, ascq: 0 });
/** Faster than any media. */
const lieMs = 0.02;
/** The answer of a hung drive. */
const never = Number.POSITIVE_INFINITY;

export function createBridge(drive: SimulatedDrive, options: BridgeOptions = {}): Bridge {
  let sense: Uint8Array = noSense;
  let stale: Uint8Array = nothing;
  let writesRefused = 0;
  let failures = 0;

  function execute(cdb: Uint8Array, nowMs: number): ScsiAnswer {
    const answer = cdb[0] === 0x03 ? requestSense(cdb) : answerTo(cdb, nowMs);
    if (answer.scsiStatus !== 0) sense = answer.sense;
    return answer;
  }

  /** Sense data is told once. */
  function requestSense(cdb: Uint8Array): ScsiAnswer {
    const data = sense;
    sense = noSense;
    return good(data.subarray(0, cdb[4] ?? 0), 0);
  }

  function answerTo(cdb: Uint8Array, nowMs: number): ScsiAnswer {
    const operation = cdb[0] ?? 0;
    const isAta = passThroughs.has(operation);
    if (writers.has(operation) || (isAta && !judgeReadOnly(cdb).allowed)) {
      writesRefused++;
      return failed(0x07, 0x27);
    }
    if (isAta && options.sat === false) return failed(0x05, 0x20);
    if (operation === 0x12) return inquiry(drive, cdb, nowMs, options.serialNumber);
    if (operation === 0x1a) return good(Uint8Array.of(3, 0, 0x80, 0)); // MODE SENSE (6): protected
    if (operation === 0x5a) return good(Uint8Array.of(0, 6, 0, 0x80, 0, 0, 0, 0));
    return driveAnswer(cdb, nowMs);
  }

  function driveAnswer(cdb: Uint8Array, nowMs: number): ScsiAnswer {
    const { kind, untilMs } = drive.condition(nowMs);
    if (kind === 'off' || kind === 'gone') return failed(0x02, 0x3a);
    if (kind === 'spinning-up') return failed(0x02, 0x04, 0x01);
    const isWaiting = kind === 'busy';
    switch (cdb[0]) {
      case 0x00: // TEST UNIT READY
        return kind === 'hung' ? failed(0x02, 0x04) : good(nothing);
      case 0x1b: // START STOP UNIT
        return { ...good(nothing), elapsedMs: startOrStop(drive, cdb, nowMs) };
      case 0x25: // READ CAPACITY (10)
      case 0x9e:
        return capacity(cdb, nowMs);
      case 0x28: // READ (10)
      case 0x88: // READ (16)
        return read(cdb, nowMs);
      case 0x85:
      case 0xa1: {
        if (kind === 'hung') return { ...good(nothing), elapsedMs: never };
        const startMs = isWaiting ? untilMs : nowMs;
        const answer = answerScsi(drive, cdb, startMs);
        return { ...answer, elapsedMs: answer.elapsedMs + startMs - nowMs };
      }
      default:
        return failed(0x05, 0x20);
    }
  }

  function capacity(cdb: Uint8Array, nowMs: number): ScsiAnswer {
    const { sectorCount, sectorBytes } = drive.scenario;
    // It learnt the capacity at power-on, and needs no drive to tell it.
    const identity = drive.identify(nowMs) ?? { sectorCount, sectorBytes };
    const last = identity.sectorCount - 1 + (options.capacityOffByOne ? 1 : 0);
    if (cdb[0] === 0x25) return good(capacity10(last, identity.sectorBytes));
    const ratio = drive.scenario.physicalSectorBytes / drive.scenario.sectorBytes;
    return good(capacity16(last, identity.sectorBytes, Math.floor(Math.log2(ratio))));
  }

  function read(cdb: Uint8Array, nowMs: number): ScsiAnswer {
    const view = new DataView(cdb.buffer, cdb.byteOffset, cdb.length);
    const isLong = cdb[0] === 0x88;
    const lba = isLong ? Number(view.getBigUint64(2)) : view.getUint32(2);
    const count = isLong ? view.getUint32(10) : view.getUint16(7);
    if (count === 0) return good(nothing);
    if (lba + count > drive.scenario.sectorCount) return failed(0x05, 0x21);
    return told(drive.read({ lba, count }, nowMs), count);
  }

  /** What the host is told of a read. */
  function told(read: DriveRead, count: number): ScsiAnswer {
    const { outcome, data, elapsedMs } = read;
    if (outcome === 'silent') return { ...good(nothing), elapsedMs };
    if (outcome === 'good') {
      if (options.lies === 'stale') stale = data;
      return good(data, elapsedMs);
    }
    const { lies, tellsOneIn = 0 } = options;
    const isTold = tellsOneIn > 0 && failures++ % tellsOneIn === 0;
    if (lies && !isTold)
      return good(
        madeUp(count * drive.scenario.sectorBytes),
        lies === 'zeros' ? lieMs : Math.max(lieMs, elapsedMs),
      );
    if (outcome === 'gone') return { ...failed(0x02, 0x3a), elapsedMs };
    const codes = read.sense ?? { key: 0xb, asc: 0, ascq: 0 };
    return check(fixedSense(codes, read.failingLba), elapsedMs, data);
  }

  function madeUp(bytes: number): Uint8Array {
    const data = new Uint8Array(bytes);
    for (let at = 0; at < bytes && stale.length > 0; at += stale.length) {
      data.set(stale.subarray(0, bytes - at), at);
    }
    return data;
  }

  return {
    execute,
    reset() {
      sense = noSense;
    },
    get writesRefused() {
      return writesRefused;
    },
  };
}

/** Its own name, as adapters have it; a stick has no other. */
function inquiry(
  drive: SimulatedDrive,
  cdb: Uint8Array,
  nowMs: number,
  serialNumber = 'BRIDGE01',
): ScsiAnswer {
  const { identity } = drive.scenario;
  const stick = identity.removable ? drive.identify(nowMs) : undefined;
  if (((cdb[1] ?? 0) & 1) === 0) return good(stick ? inquiryData(stick) : bridgeInquiry());
  const page = (code: number, body: Uint8Array) => {
    return good(Uint8Array.from([0, code, body.length >> 8, body.length & 0xff, ...body]));
  };
  if (cdb[2] === 0x00) return page(0x00, Uint8Array.of(0x00, 0x80));
  if (cdb[2] === 0x80) return page(0x80, Buffer.from(stick?.serial ?? serialNumber, 'latin1'));
  return failed(0x05, 0x24);
}

function bridgeInquiry(): Uint8Array {
  const data = Buffer.alloc(36, ' ');
  data.set([0, 0, 6, 2, data.length - 5, 0, 0, 0]);
  data.write('LASTSPIN', 8, 'latin1');
  data.write('USB to ATA', 16, 'latin1');
  data.write('0001', 32, 'latin1');
  return data;
}

function startOrStop(drive: SimulatedDrive, cdb: Uint8Array, nowMs: number): number {
  const isStart = ((cdb[4] ?? 0) & 1) === 1;
  return isStart ? quickMs : drive.standby(nowMs);
}

function capacity10(last: number, sectorBytes: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(8));
  view.setUint32(0, Math.min(last, 0xffff_ffff));
  view.setUint32(4, sectorBytes);
  return new Uint8Array(view.buffer);
}

function capacity16(last: number, sectorBytes: number, physicalPower: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(32));
  view.setBigUint64(0, BigInt(last));
  view.setUint32(8, sectorBytes);
  view.setUint8(13, physicalPower);
  return new Uint8Array(view.buffer);
}
