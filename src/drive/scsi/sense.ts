/** Sense data: what a device says of a command that did not simply end well. It comes from failing drives
 * through cheap bridges: any bytes are taken, and only what is whole is believed. */

import type { Extent } from '../../map/extent.js';
import { ataErrorsAtPlace, type Fault, type Sense } from '../drive.js';

/** Sense keys of SPC-4 table 28 that something here turns on. */
export const senseKeys = {
  none: 0x00,
  recovered: 0x01,
  notReady: 0x02,
  medium: 0x03,
  hardware: 0x04,
  illegalRequest: 0x05,
  unitAttention: 0x06,
  dataProtect: 0x07,
  aborted: 0x0b,
} as const;

/** The drive's registers after an ATA command (ACS-3, SAT-3). */
export interface AtaRegisters {
  readonly status: number;
  readonly error: number;
  /** COUNT; its lower eight bits only where `isPartial`. */
  readonly count: number;
  /** LBA: 48 bits of an extended command, else 28. Only its lower 24 bits where `isPartial`. */
  readonly lba: number;
  /** The fixed format has no room for more, and says that there was more. */
  readonly isPartial: boolean;
}

export interface SenseReport {
  readonly sense: Sense;
  /** It speaks of an earlier command; the one that it came with was not carried out (SPC-4). */
  readonly isDeferred: boolean;
  /** INFORMATION, where it is marked as valid: for a read, the LBA that failed (SBC-3). */
  readonly information?: number;
  readonly ata?: AtaRegisters;
}

const nothing: SenseReport = { sense: { key: 0, asc: 0, ascq: 0 }, isDeferred: false };

/** Reads sense data in fixed or descriptor format (SPC-4); undefined where it is neither. What is cut
 * short says less. `isAta`: it answers an ATA PASS-THROUGH, so that the fixed format carries registers
 * (SAT-3). */
export function parseSense(bytes: Uint8Array, isAta = false): SenseReport | undefined {
  switch ((bytes[0] ?? 0) & 0x7f) {
    case 0x70:
    case 0x71:
      return parseFixed(bytes, isAta);
    case 0x72:
    case 0x73:
      return parseDescriptors(bytes);
    default:
      return undefined;
  }
}

/** As `parseSense`; what cannot be understood is no sense. */
export function senseOf(bytes: Uint8Array, isAta = false): SenseReport {
  return parseSense(bytes, isAta) ?? nothing;
}

/** Fixed format (SPC-4). */
function parseFixed(whole: Uint8Array, isAta: boolean): SenseReport | undefined {
  if (whole.length < 3) return undefined;
  const bytes = whole.subarray(0, whole.length > 7 ? 8 + whole[7]! : whole.length);
  const byte = (index: number) => bytes[index] ?? 0;
  const sense = { key: byte(2) & 0x0f, asc: byte(12), ascq: byte(13) };
  const isDeferred = (byte(0) & 0x7f) === 0x71;
  const isValid = (byte(0) & 0x80) !== 0 && bytes.length >= 7;
  // Registers stand where INFORMATION would, unmarked. A STATUS of zero is no drive's.
  const hasRegisters = isAta && !isValid && bytes.length >= 12 && byte(4) !== 0;
  return {
    sense,
    isDeferred,
    ...(isValid && { information: wordAt(bytes, 3) }),
    ...(hasRegisters && { ata: registersInFixed(bytes) }),
  };
}

const lbaUpperNonzero = 0x20;

/** What SAT-3 puts into fixed format: ERROR, STATUS, DEVICE, COUNT in INFORMATION, then flags and LBA. */
function registersInFixed(bytes: Uint8Array): AtaRegisters {
  const byte = (index: number) => bytes[index] ?? 0;
  const isExtended = (byte(8) & 0x80) !== 0;
  const lba24 = byte(9) | (byte(10) << 8) | (byte(11) << 16);
  return {
    error: byte(3),
    status: byte(4),
    count: byte(6),
    lba: lba24 + (isExtended ? 0 : (byte(5) & 0x0f) * 2 ** 24),
    isPartial: isExtended && (byte(8) & lbaUpperNonzero) !== 0,
  };
}

const descriptorsAt = 8;
const informationType = 0x00;
const ataType = 0x09;

/** Descriptor format (SPC-4). */
function parseDescriptors(whole: Uint8Array): SenseReport | undefined {
  if (whole.length < 4) return undefined;
  const end = Math.min(whole.length, descriptorsAt + (whole[7] ?? 0));
  let report: SenseReport = {
    sense: { key: whole[1]! & 0x0f, asc: whole[2]!, ascq: whole[3]! },
    isDeferred: (whole[0]! & 0x7f) === 0x73,
  };
  for (let at = descriptorsAt; at + 2 <= end; at += 2 + whole[at + 1]!) {
    const descriptor = whole.subarray(at, Math.min(end, at + 2 + whole[at + 1]!));
    report = { ...report, ...fromDescriptor(descriptor) };
  }
  return report;
}

function fromDescriptor(bytes: Uint8Array): Partial<SenseReport> {
  if (bytes[0] === informationType && bytes.length >= 12 && (bytes[2]! & 0x80) !== 0) {
    const information = wordAt(bytes, 4) * 2 ** 32 + wordAt(bytes, 8);
    return Number.isSafeInteger(information) ? { information } : {};
  }
  if (bytes[0] === ataType && bytes.length >= 14) return { ata: registersInDescriptor(bytes) };
  return {};
}

/** The ATA Status Return descriptor (SAT-3). */
function registersInDescriptor(bytes: Uint8Array): AtaRegisters {
  const byte = (index: number) => bytes[index] ?? 0;
  const isExtended = (byte(2) & 0x01) !== 0;
  const lba24 = byte(7) | (byte(9) << 8) | (byte(11) << 16);
  const upper = isExtended ? byte(6) | (byte(8) << 8) | (byte(10) << 16) : byte(12) & 0x0f;
  return {
    error: byte(3),
    count: isExtended ? (byte(4) << 8) | byte(5) : byte(5),
    lba: lba24 + upper * 2 ** 24,
    status: byte(13),
    isPartial: false,
  };
}

function wordAt(bytes: Uint8Array, at: number): number {
  return bytes[at]! * 2 ** 24 + ((bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!);
}

/** STATUS: the command ended with an error (ACS-3). */
const ataStatusError = 0x01;

/** ABORTED COMMAND: what came did not fit its protection information (SPC-4 annex D, 10h). */
const protectionFailed = 0x10;

/** Whether INFORMATION is the sector that failed (SBC-3 4.18.1). Translators pass on as INFORMATION what the
 * registers held after an abort, too. */
export function namesPlace({ key, asc }: Sense): boolean {
  if (key === senseKeys.aborted) return asc === protectionFailed;
  return key === senseKeys.medium || key === senseKeys.hardware;
}

/** What a failed read says, for the job. A failing LBA is believed only inside the request, and only of an
 * error that has a place. Where the drive's own registers tell of an error, a bridge's `aborted command` without
 * reasons adds nothing and would hide it. */
export function faultOf({ sense, information, ata }: SenseReport, extent: Extent): Fault {
  const failed = ata && (ata.status & ataStatusError) !== 0 ? ata : undefined;
  const placed = failed && (failed.error & ataErrorsAtPlace) !== 0 ? failed : undefined;
  const named = namesPlace(sense) ? information : undefined;
  const lba = [named, placed && lbaOf(placed, extent)].find(
    (each) => each !== undefined && each >= extent.lba && each < extent.lba + extent.count,
  );
  const isMute = sense.key === senseKeys.aborted && sense.asc === 0;
  return {
    ...(lba !== undefined && { lba }),
    ...(failed && { ata: { status: failed.status, error: failed.error } }),
    ...(!(failed && isMute) && { sense }),
  };
}

/** The address in the registers, completed from the request where only its lower 24 bits came. */
function lbaOf({ lba, isPartial }: AtaRegisters, extent: Extent): number {
  if (!isPartial) return lba;
  const span = 2 ** 24;
  const guess = Math.floor(extent.lba / span) * span + (lba % span);
  return guess < extent.lba ? guess + span : guess;
}
