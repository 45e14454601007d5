/** What ATA drives say of themselves, made sense of: IDENTIFY DEVICE, SMART, SCT, capacities that are hidden.
 * All of it comes from failing drives: what is not whole or not possible is undefined, and nothing throws. */

import { textOf } from './scsi-data.js';
import type { AtaRegisters } from './sense.js';

/** The ATA password (ACS-3, IDENTIFY DEVICE word 128). */
export interface AtaSecurity {
  readonly isSupported: boolean;
  readonly isEnabled: boolean;
  /** Nothing can be read until the password is given. */
  readonly isLocked: boolean;
  readonly isFrozen: boolean;
  /** No more passwords are taken before a power cycle. */
  readonly isCountExpired: boolean;
  readonly isMaximumLevel: boolean;
}

export interface AtaIdentity {
  readonly model: string;
  readonly serial: string;
  readonly firmware: string;
  readonly sectorCount: number;
  readonly sectorBytes: number;
  readonly physicalSectorBytes: number;
  /** Turns a minute, 1 for what does not turn; undefined where it is not told. */
  readonly rotation?: number;
  readonly hasLba48: boolean;
  readonly hasSmart: boolean;
  readonly hasSct: boolean;
  readonly hasLookAhead: boolean;
  readonly isLookAheadOn: boolean;
  readonly hasUnload: boolean;
  readonly hasTrim: boolean;
  readonly hasHostProtectedArea: boolean;
  readonly hasConfigurationOverlay: boolean;
  readonly security: AtaSecurity;
  /** World-wide name in hex. */
  readonly worldWideName?: string;
  /** A checksum says that the data is whole; false where the drive gives none. */
  readonly isChecked: boolean;
  readonly raw: Uint8Array;
}

const pageBytes = 512;

type Words = (index: number) => number;

function wordsOf(data: Uint8Array): Words {
  return (index) => data[index * 2]! | (data[index * 2 + 1]! << 8);
}

const sumsToZero = (data: Uint8Array) => (data.reduce((sum, byte) => sum + byte, 0) & 0xff) === 0;

/** Word 255: this in its low byte says that all bytes add up to zero. */
const checksumSignature = 0xa5;
/** Words 83, 84, 87, 106 and others hold something where bit 15 is 0 and bit 14 is 1. */
const isValidWord = (word: number) => word >> 14 === 1;
const bit = (word: number, index: number) => ((word >> index) & 1) !== 0;

/** IDENTIFY DEVICE data (ACS-3). Undefined where it is cut, fails its checksum, is not of an ATA
 * device, or names no model or no sectors. */
export function parseIdentify(data: Uint8Array): AtaIdentity | undefined {
  if (data.length !== pageBytes) return undefined;
  const isChecked = data[510] === checksumSignature;
  if (isChecked && !sumsToZero(data)) return undefined;
  const word = wordsOf(data);
  const isCard = word(0) === compactFlash;
  if (bit(word(0), 15) && !isCard) return undefined;
  const model = ataText(data, 27, 20);
  const hasLba48 = isValidWord(word(83)) && bit(word(83), 10);
  const sectorCount = sectorCountOf(word, hasLba48);
  if (model === '' || sectorCount === undefined) return undefined;
  return {
    model,
    serial: ataText(data, 10, 10),
    firmware: ataText(data, 23, 4),
    sectorCount,
    ...sectorSizesOf(word),
    ...rotationOf(word(217)),
    hasLba48,
    ...featuresOf(word),
    security: securityOf(word(128)),
    ...worldWideNameOf(word),
    isChecked,
    raw: data,
  };
}

/** CompactFlash in word 0. */
const compactFlash = 0x848a;

/** Strings hold two characters a word, the first in the high byte. */
function ataText(data: Uint8Array, firstWord: number, wordCount: number): string {
  const bytes = data.slice(firstWord * 2, (firstWord + wordCount) * 2);
  for (let at = 0; at < bytes.length; at += 2) bytes.subarray(at, at + 2).reverse();
  return textOf(bytes);
}

/** Words 60–61, 100–103, and 230–233 of drives that outgrew the first where they say so (word 69 bit 3). */
function sectorCountOf(word: Words, hasLba48: boolean): number | undefined {
  const wide = (first: number) =>
    word(first) + word(first + 1) * 2 ** 16 + word(first + 2) * 2 ** 32 + word(first + 3) * 2 ** 48;
  const lba28 = word(60) + word(61) * 2 ** 16;
  const isExtended = bit(word(69), 3) && wide(230) > 0;
  const lba48 = isExtended ? wide(230) : wide(100);
  const count = hasLba48 && lba48 > 0 ? lba48 : lba28;
  return count > 0 && count < 2 ** 48 ? count : undefined;
}

/** Words 106, 117–118: sector sizes. */
function sectorSizesOf(word: Words): Pick<AtaIdentity, 'sectorBytes' | 'physicalSectorBytes'> {
  const sizes = word(106);
  const hasSizes = isValidWord(sizes);
  const told = (word(117) + word(118) * 2 ** 16) * 2;
  const isLong = hasSizes && bit(sizes, 12) && told >= 512 && told <= 4096 + 128;
  const sectorBytes = isLong ? told : 512;
  const log = hasSizes && bit(sizes, 13) ? sizes & 0x0f : 0;
  return { sectorBytes, physicalSectorBytes: sectorBytes * (log <= 6 ? 2 ** log : 1) };
}

/** Word 217. */
function rotationOf(word: number): Pick<AtaIdentity, 'rotation'> {
  const isTold = word === 1 || (word >= 0x0401 && word <= 0xfffe);
  return isTold ? { rotation: word } : {};
}

function featuresOf(word: Words) {
  const has82 = word(82) !== 0 && word(82) !== 0xffff;
  const supported = (index: number) => has82 && bit(word(82), index);
  return {
    hasSmart: supported(0),
    hasLookAhead: supported(6),
    isLookAheadOn: supported(6) && bit(word(85), 6),
    hasHostProtectedArea: supported(10),
    hasConfigurationOverlay: isValidWord(word(83)) && bit(word(83), 11),
    hasUnload: isValidWord(word(84)) && bit(word(84), 13),
    hasSct: word(206) !== 0xffff && bit(word(206), 0),
    hasTrim: word(169) !== 0xffff && bit(word(169), 0),
  };
}

function securityOf(word: number): AtaSecurity {
  const isTold = word !== 0xffff;
  const flag = (index: number) => isTold && bit(word, index);
  return {
    isSupported: flag(0),
    isEnabled: flag(1),
    isLocked: flag(0) && flag(2),
    isFrozen: flag(3),
    isCountExpired: flag(4),
    isMaximumLevel: flag(8),
  };
}

/** Words 108–111, where word 87 bit 8 says so. */
function worldWideNameOf(word: Words): Pick<AtaIdentity, 'worldWideName'> {
  if (!isValidWord(word(87)) || !bit(word(87), 8)) return {};
  const words = [108, 109, 110, 111].map((index) => word(index).toString(16).padStart(4, '0'));
  return /[^0]/.test(words.join('')) ? { worldWideName: words.join('') } : {};
}

export interface SmartAttribute {
  readonly id: number;
  /** Normalised, vendor's scale: higher is better. */
  readonly value: number;
  readonly worst: number;
  /** 48 bits; many a vendor packs several numbers into them. */
  readonly raw: number;
}

export interface SmartData {
  readonly attributes: readonly SmartAttribute[];
  readonly reallocatedCount?: number;
  readonly powerOnHours?: number;
  readonly powerCycles?: number;
  readonly temperatureCelsius?: number;
  readonly pendingCount?: number;
  readonly uncorrectableCount?: number;
  readonly crcErrors?: number;
}

const attributeCount = 30;
const attributeBytes = 12;

/** SMART READ DATA (ACS-3; the table of attributes is the vendors' and alike with all of them).
 * Undefined where it is cut or fails its checksum. */
export function parseSmartData(data: Uint8Array): SmartData | undefined {
  if (data.length !== pageBytes || !sumsToZero(data) || data.every((byte) => byte === 0))
    return undefined;
  const attributes: SmartAttribute[] = [];
  for (let index = 0; index < attributeCount; index++) {
    const entry = data.subarray(2 + index * attributeBytes, 2 + (index + 1) * attributeBytes);
    if (entry[0]! === 0) continue;
    const raw = [5, 6, 7, 8, 9, 10].reduce(
      (sum, at, power) => sum + entry[at]! * 2 ** (8 * power),
      0,
    );
    attributes.push({ id: entry[0]!, value: entry[3]!, worst: entry[4]!, raw });
  }
  const rawOf = (id: number) => attributes.find((each) => each.id === id)?.raw;
  return { attributes, ...named(rawOf) };
}

function named(rawOf: (id: number) => number | undefined): Omit<SmartData, 'attributes'> {
  const low32 = (value: number | undefined) => (value === undefined ? undefined : value % 2 ** 32);
  const celsius = [194, 190]
    .map((id) => rawOf(id))
    .map((raw) => (raw === undefined ? undefined : celsiusOf(raw & 0xff)))
    .find((each) => each !== undefined);
  const all = {
    reallocatedCount: low32(rawOf(5)),
    powerOnHours: low32(rawOf(9)),
    powerCycles: low32(rawOf(12)),
    temperatureCelsius: celsius,
    pendingCount: low32(rawOf(197)),
    uncorrectableCount: low32(rawOf(198)),
    crcErrors: low32(rawOf(199)),
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

/** A byte of two's complement. −128 and 0 stand for "unknown", and no drive is hotter than 125 °C. */
function celsiusOf(byte: number): number | undefined {
  const celsius = (byte << 24) >> 24;
  return celsius === 0 || celsius < -60 || celsius > 125 ? undefined : celsius;
}

/** Whether SMART RETURN STATUS says that the drive is within its thresholds (ACS-3): LBA mid and high
 * are as they were sent, or 2CF4h. */
export function isSmartPassed({ lba }: AtaRegisters): boolean | undefined {
  const signature = Math.floor(lba / 256) % 2 ** 16;
  if (signature === 0xc24f) return true;
  return signature === 0x2cf4 ? false : undefined;
}

/** Temperature in the SCT status (ACS-3 clause 8, byte 200), in °C. */
export function parseSctCelsius(data: Uint8Array): number | undefined {
  if (data.length !== pageBytes) return undefined;
  const version = data[0]! | (data[1]! << 8);
  return version === 2 || version === 3 ? celsiusOf(data[200]!) : undefined;
}

/** Sectors that DEVICE CONFIGURATION IDENTIFY allows at most (ACS-2, words 3–6). */
export function parseConfigurationCount(data: Uint8Array): number | undefined {
  if (data.length !== pageBytes || (data[510] === checksumSignature && !sumsToZero(data)))
    return undefined;
  const word = wordsOf(data);
  const last = word(3) + word(4) * 2 ** 16 + word(5) * 2 ** 32 + word(6) * 2 ** 48;
  return last > 0 && last < 2 ** 48 ? last + 1 : undefined;
}

/** Sectors by what READ NATIVE MAX ADDRESS left in the registers. */
export function nativeCountOf({ lba, isPartial }: AtaRegisters): number | undefined {
  return isPartial || lba === 0 ? undefined : lba + 1;
}

/** CHECK POWER MODE, by COUNT (ACS-3). */
export function powerModeOf({ count }: AtaRegisters): 'standby' | 'idle' | 'active' | undefined {
  const mode = count & 0xff;
  if (mode === 0x00 || mode === 0x01) return 'standby';
  if (mode >= 0x80 && mode <= 0x83) return 'idle';
  return mode === 0xff || mode === 0x40 || mode === 0x41 ? 'active' : undefined;
}
