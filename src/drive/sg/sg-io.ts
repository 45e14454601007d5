/** Linux's SG_IO in bytes: what is put into its header, and what the header says afterwards
 * (include/scsi/sg.h, struct sg_io_hdr of version 3, where pointers have 64 bits and numbers are
 * little-endian). */
import type { ScsiAnswer } from '../scsi/path.js';

/** Requests of ioctl (include/scsi/sg.h). */
export const ioctlSgIo = 0x2285;
export const ioctlSgScsiReset = 0x2284;
export const ioctlSgSetReservedSize = 0x2275;
export const ioctlSgGetReservedSize = 0x2272;

/** Major number of the /dev/sg nodes (Documentation/admin-guide/devices.txt). */
export const sgMajor = 21;

/** What SG_SCSI_RESET resets. With `noEscalate` the kernel does not go on to the next by itself. */
export const sgReset = { device: 1, bus: 2, host: 3, target: 4, noEscalate: 0x100 } as const;

export const headerBytes = 88;
/** The longest sense data of SPC-4 (clause 4.5.1). */
export const senseBytesMax = 252;
/** The longest CDB that the header takes to here. */
export const cdbBytesMax = 16;

const interfaceId = 'S'.charCodeAt(0);
/** No data, or data from the device. The third direction does not exist here. */
const directionNone = -1;
const directionFromDevice = -3;

export interface SgRequest {
  readonly cdbBytes: number;
  readonly dataBytes: number;
  /** The kernel's own deadline, at least 1. */
  readonly timeoutMs: number;
  /** Where CDB, data and sense data lie in memory. */
  readonly cdbAddress: bigint;
  readonly dataAddress: bigint;
  readonly senseAddress: bigint;
}

/** Writes the header of a command that reads, or moves no data, into the first `headerBytes` of
 * `into`. */
export function encodeHeader(request: SgRequest, into: Uint8Array): void {
  const view = new DataView(into.buffer, into.byteOffset, headerBytes);
  into.fill(0, 0, headerBytes);
  view.setInt32(0, interfaceId, true);
  view.setInt32(4, request.dataBytes > 0 ? directionFromDevice : directionNone, true);
  view.setUint8(8, request.cdbBytes);
  view.setUint8(9, senseBytesMax);
  view.setUint32(12, request.dataBytes, true);
  view.setBigUint64(16, request.dataAddress, true);
  view.setBigUint64(24, request.cdbAddress, true);
  view.setBigUint64(32, request.senseAddress, true);
  // Zero would be the kernel's default of a minute.
  view.setUint32(40, Math.max(1, Math.ceil(request.timeoutMs)), true);
}

/** What the kernel wrote into the header. */
export interface SgResult {
  /** The device's status byte (SAM-5 clause 5.3). */
  readonly status: number;
  /** What the host adapter's driver says (`DID_…` of include/scsi/scsi_status.h). */
  readonly hostStatus: number;
  readonly driverStatus: number;
  readonly senseBytes: number;
  /** Bytes that did not come of those asked for; some drivers count wrongly. */
  readonly residueBytes: number;
  readonly durationMs: number;
}

/** Reads what the kernel wrote into the header in `bytes`. */
export function decodeHeader(bytes: Uint8Array): SgResult {
  const view = new DataView(bytes.buffer, bytes.byteOffset, headerBytes);
  return {
    status: view.getUint8(64),
    senseBytes: Math.min(view.getUint8(67), senseBytesMax),
    hostStatus: view.getUint16(68, true),
    driverStatus: view.getUint16(70, true),
    residueBytes: view.getInt32(72, true),
    durationMs: view.getUint32(76, true),
  };
}

/** Bytes of data that really came. */
export function dataBytesOf(result: SgResult, askedBytes: number): number {
  return Math.min(askedBytes, Math.max(0, askedBytes - result.residueBytes));
}

/** Host status codes that are told apart (`DID_…`), and those that only repeat in the kernel's words
 * what status and sense data say. */
const hostOk = 0x00;
const hostNoConnect = 0x01;
const hostTimeOut = 0x03;
const hostBadTarget = 0x04;
const hostRepeatsStatus: ReadonlySet<number> = new Set([0x10, 0x11, 0x12, 0x13]);
const hostNames = new Map([
  [0x02, 'the bus stayed busy'],
  [0x05, 'the command was aborted'],
  [0x06, 'parity error on the bus'],
  [0x07, 'error of the host adapter or of the transfer'],
  [0x08, 'the bus was reset'],
  [0x0e, 'the transport was disrupted'],
]);

/** Driver status, low half: 8 says that sense data is there, 6 that the time was up. */
const driverOk: ReadonlySet<number> = new Set([0, 8]);
const driverTimeOut = 6;

const statusNames = new Map<number, 'good' | 'check' | 'busy'>([
  [0x00, 'good'],
  [0x02, 'check'],
  [0x04, 'good'], // CONDITION MET
  [0x08, 'busy'],
  [0x28, 'busy'], // TASK SET FULL
]);

/** The kernel counts time in ticks of up to this long. */
const tickMs = 10;

/** How a command ended whose ioctl returned. `elapsedMs`: as measured around it, which holds what
 * the kernel waited before the command went out; that is left out of the answer. */
export function answerOf(
  result: SgResult,
  timeoutMs: number,
  elapsedMs: number,
  data: Uint8Array,
  sense: Uint8Array,
): ScsiAnswer {
  const ownMs = Math.min(elapsedMs, result.durationMs + tickMs);
  const { hostStatus, status } = result;
  const driver = result.driverStatus & 0x0f;
  if (hostStatus === hostNoConnect || hostStatus === hostBadTarget)
    return { kind: 'gone', elapsedMs: ownMs };
  const hasHostError = hostStatus !== hostOk && !hostRepeatsStatus.has(hostStatus);
  const isLate = hasHostError && result.durationMs >= timeoutMs;
  if (hostStatus === hostTimeOut || driver === driverTimeOut || isLate)
    return { kind: 'timeout', elapsedMs: ownMs };
  const failed = (why: string): ScsiAnswer => ({ kind: 'failed', why, elapsedMs: ownMs });
  if (hasHostError)
    return failed(hostNames.get(hostStatus) ?? `host adapter status ${hex(hostStatus)}`);
  if (!driverOk.has(driver)) return failed(`driver status ${hex(driver)}`);
  const name = statusNames.get(status);
  if (!name) return failed(`SCSI status ${hex(status)}`);
  // A host error that goes with a good status does not make it better.
  if (hostStatus !== hostOk && name === 'good') return failed(`host status ${hex(hostStatus)}`);
  return { kind: 'done', status: name, data, sense, elapsedMs: ownMs };
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(2, '0')}`;
}
