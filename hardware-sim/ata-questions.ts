/** ATA commands that ask the simulated drive about itself and touch no platter: SMART, the SCT status, capacity
 * that is hidden, the power mode (by the clauses of ACS-3 unless another is named). */
import type { SimulatedDrive, SimulatedIdentity } from './drive.js';

export interface AtaQuestion {
  readonly command: number;
  readonly features: number;
  /** As far as it went into the CDB's LBA fields: for SMART the log in its low byte. */
  readonly lba: number;
}

/** What comes back: a page, or what the registers hold afterwards. */
export type AtaTold =
  | { readonly data: Uint8Array }
  | { readonly registers: { readonly lba?: number; readonly count?: number } };

const pageBytes = 512;
/** LBA mid and high of every SMART command; they come back so from a drive within its thresholds. */
const smartFine = 0xc2_4f_00;
const activeOrIdle = 0xff;

/** Undefined for what is no such question, or not simulated. */
export function answerQuestion(
  drive: SimulatedDrive,
  identity: SimulatedIdentity,
  question: AtaQuestion,
  nowMs: number,
): AtaTold | undefined {
  const { nativeSectorCount, configurationSectorCount } = hiddenCounts(identity);
  switch (question.command) {
    case 0x27: // READ NATIVE MAX ADDRESS EXT (ACS-2)
      return { registers: { lba: nativeSectorCount - 1 } };
    case 0xf8: // READ NATIVE MAX ADDRESS (ACS-2): 28 bits
      return { registers: { lba: Math.min(nativeSectorCount, 2 ** 28) - 1 } };
    case 0xb1: // DEVICE CONFIGURATION IDENTIFY (ACS-2); the read-only list has no other
      return { data: configurationPage(configurationSectorCount) };
    case 0xe5: // CHECK POWER MODE
      return { registers: { count: activeOrIdle } };
    case 0xb0:
      return answerSmart(drive, question, nowMs);
    default:
      return undefined;
  }
}

function answerSmart(
  drive: SimulatedDrive,
  { features, lba }: AtaQuestion,
  nowMs: number,
): AtaTold | undefined {
  switch (features) {
    case 0xd0: // READ DATA
      return { data: attributesPage(drive, nowMs) };
    case 0xd1: // READ THRESHOLDS: none that an attribute could fall below
      return { data: withChecksum(smartPage()) };
    case 0xd5: // READ LOG: the SCT status
      return (lba & 0xff) === 0xe0 ? { data: sctStatusPage(drive, nowMs) } : undefined;
    case 0xda: // RETURN STATUS
      return { registers: { lba: smartFine } };
    default:
      return undefined;
  }
}

/** A drive that hides nothing names what it shows. */
function hiddenCounts(identity: SimulatedIdentity) {
  const { nativeSectorCount = identity.sectorCount } = identity;
  return {
    nativeSectorCount,
    configurationSectorCount: identity.configurationSectorCount ?? nativeSectorCount,
  };
}

/** SMART data: a table of attributes as vendors keep to since SFF-8035i. */
function attributesPage(drive: SimulatedDrive, nowMs: number): Uint8Array {
  const { failingReads, powerOns, emergencyUnloads } = drive.counters;
  const celsius = Math.round(drive.temperatureCelsius(nowMs));
  const rows: readonly (readonly [id: number, value: number, raw: number])[] = [
    [5, 100, 0], // reallocated sectors
    [9, 100, Math.floor(nowMs / 3_600_000)], // hours with power
    [12, 100, powerOns], // power cycles
    [192, 100, emergencyUnloads],
    [194, 100 - celsius, celsius],
    [197, 100, failingReads], // pending sectors
    [198, 100, failingReads], // uncorrectable sectors
    [199, 200, 0], // errors of the cable
  ];
  const data = smartPage();
  rows.forEach(([id, value, raw], index) => {
    const entry = new DataView(data.buffer, 2 + 12 * index, 12);
    entry.setUint8(0, id);
    entry.setUint16(1, 0x0032, true); // kept up to date, counts events
    entry.setUint8(3, value);
    entry.setUint8(4, value);
    entry.setUint32(5, raw, true);
  });
  return withChecksum(data);
}

function smartPage(): Uint8Array {
  const data = new Uint8Array(pageBytes);
  data[0] = 0x10; // revision
  return data;
}

/** Clause 8.2: version 3, the temperature in byte 200. */
function sctStatusPage(drive: SimulatedDrive, nowMs: number): Uint8Array {
  const data = new Uint8Array(pageBytes);
  data[0] = 3;
  data[200] = Math.round(drive.temperatureCelsius(nowMs)) & 0xff;
  return data;
}

/** DEVICE CONFIGURATION IDENTIFY (ACS-2): words 3 to 6 hold the last LBA; checked as IDENTIFY data is. */
function configurationPage(sectorCount: number): Uint8Array {
  const data = new Uint8Array(pageBytes);
  const view = new DataView(data.buffer);
  view.setUint16(0, 2, true);
  view.setBigUint64(3 * 2, BigInt(sectorCount - 1), true);
  data[510] = 0xa5;
  return withChecksum(data);
}

/** All bytes add up to zero. */
function withChecksum(data: Uint8Array): Uint8Array {
  data[511] = -data.reduce((sum, byte) => sum + byte, 0) & 0xff;
  return data;
}
