/** Who is behind a path: the drive's own words through SAT where the bridge passes them on, else what the
 * device in front says. Sector size and count are always as the path reads them. */

import { LastspinError } from '../../errors.js';
import type { DriveIdentity } from '../drive.js';
import { type KindHint, kindFromIdentify } from '../kind.js';
import { type AtaIdentity, parseIdentify } from './ata-data.js';
import type { BridgeQuirks } from './bridges.js';
import { type Answer, type Commander, toldBy } from './commander.js';
import type { ScsiPath } from './path.js';
import {
  type Capacity,
  type InquiryData,
  parseAtaInformation,
  parsePages,
  parseReadCountMax,
  parseRotation,
  parseSerial,
  parseWorldWideName,
} from './scsi-data.js';
import { senseKeys } from './sense.js';

/** What was found behind a path. */
export interface Profile {
  readonly identity: DriveIdentity;
  readonly inquiry: InquiryData;
  /** The drive's own IDENTIFY data, where there is any. */
  readonly ata?: AtaIdentity;
  /** ATA commands pass through. */
  readonly passesAta: boolean;
  /** A sector of the path is a sector of the drive. */
  readonly isOneToOne: boolean;
  /** Most sectors of one command by the device's own word. */
  readonly readCountMax?: number;
  /** The path names more sectors than the drive has. */
  readonly surplusCount: number;
}

/** What was learned of a path, and holds over resets and power cycles: an ill drive must not pass for
 * another one because it did not answer one question of several. */
export interface Knowledge {
  passesAta: boolean | undefined;
  ataFailures: number;
  /** Pages of vital product data; undefined before they were asked for. */
  pages: ReadonlySet<number> | undefined;
}

export interface ProfileOptions {
  readonly quirks: BridgeQuirks;
  /** Serial number of what the path ends at, for devices that name none themselves. */
  readonly serial?: string;
}

/** Sector sizes that drives have: 512 to 4,096 with up to 128 bytes of protection. */
const sectorBytesMin = 512;
const sectorBytesMax = 4096 + 128;

/** Peripheral device types that READ (10) reads: disk, write-once, CD, optical memory, simple disk. */
const readableTypes: ReadonlySet<number> = new Set([0x00, 0x04, 0x05, 0x07, 0x0e]);
/** Types whose A1h is an ATA PASS-THROUGH: in others it is BLANK, which blanks a disc (MMC-6). */
const ataTypes: ReadonlySet<number> = new Set([0x00, 0x0e]);
/** VERSION of SPC-3: from here on pages of vital product data can be asked for through a USB bridge. */
const versionOfSpc3 = 5;
/** Failed questions after which a bridge is taken for one that passes no ATA commands. */
const ataFailuresMax = 2;

/** Asks who is there. Undefined where nobody answers, or not yet, or less than before. Throws DEVICE_REFUSED
 * for what is not a drive or names a size of sectors that cannot be, LINK_CLOSED. */
export async function findProfile(
  commander: Commander,
  knowledge: Knowledge,
  options: ProfileOptions,
): Promise<Profile | undefined> {
  let asked = await commander.inquiry();
  if (asked.kind === 'gone' && (await commander.path.isThere())) asked = await commander.inquiry();
  if (asked.kind !== 'good' || !asked.value.isConnected) return undefined;
  const inquiry = asked.value;
  if (!readableTypes.has(inquiry.deviceType))
    throw new LastspinError(
      'DEVICE_REFUSED',
      `${commander.path.name} is no drive: ${nameOf(inquiry)} is a device of type ${inquiry.deviceType}`,
    );
  const capacity = await askCapacity(commander);
  if (!capacity) return undefined;
  requireSectorSize(commander.path, inquiry, capacity);
  const ata = ataTypes.has(inquiry.deviceType)
    ? await askAta(commander, knowledge, options.quirks)
    : 'none';
  if (!ata) return undefined;
  if (ata !== 'none') return profileOf(inquiry, capacity, options, { ata, passesAta: true });
  const told = await askPages(commander, knowledge, inquiry, options);
  return told && profileOf(inquiry, told.capacity ?? capacity, options, told);
}

/** READ CAPACITY (16) only where (10) is not enough: some devices hang on it. */
async function askCapacity(commander: Commander): Promise<Capacity | undefined> {
  const ten = toldBy(await commander.capacity10());
  return ten === 'beyond' ? toldBy(await commander.capacity16()) : ten;
}

function requireSectorSize(path: ScsiPath, inquiry: InquiryData, { sectorBytes }: Capacity): void {
  if (sectorBytes >= sectorBytesMin && sectorBytes <= sectorBytesMax) return;
  const what = `${path.name} names a sector size of ${sectorBytes} bytes for ${nameOf(inquiry)}`;
  throw new LastspinError('DEVICE_REFUSED', `${what}; power-cycle the drive and try again`);
}

/** IDENTIFY DEVICE through the pass-through: undefined where a drive that would answer does not now. */
async function askAta(
  commander: Commander,
  knowledge: Knowledge,
  quirks: BridgeQuirks,
): Promise<AtaIdentity | 'none' | undefined> {
  if (quirks.noAta || knowledge.passesAta === false) return 'none';
  const answer = await identifyDevice(commander, knowledge, quirks);
  if (answer.kind === 'good') {
    knowledge.passesAta = true;
    return answer.value;
  }
  if (answer.kind === 'timeout') await unblock(commander.path);
  if (knowledge.passesAta || answer.kind === 'gone' || answer.kind === 'busy') return undefined;
  knowledge.ataFailures += isRefusal(answer) ? ataFailuresMax : 1;
  if (knowledge.ataFailures < ataFailuresMax) return undefined;
  knowledge.passesAta = false;
  return 'none';
}

/** Tries the shorter form where a bridge refuses the longer one. */
async function identifyDevice(
  commander: Commander,
  knowledge: Knowledge,
  quirks: BridgeQuirks,
): Promise<Answer<AtaIdentity>> {
  if (quirks.ataForm) commander.ataForm = quirks.ataForm;
  const answer = await commander.identifyDevice();
  if (knowledge.passesAta || quirks.ataForm || !isRefusal(answer)) return answer;
  commander.ataForm = 12;
  const shorter = await commander.identifyDevice();
  if (shorter.kind !== 'good') commander.ataForm = 16;
  return shorter;
}

/** The bridge says that it knows no such command. */
function isRefusal(answer: Answer<unknown>): boolean {
  return answer.kind === 'fault' && answer.report.sense.key === senseKeys.illegalRequest;
}

/** A path takes nothing after a timeout until a reset; the mildest that bears will do. */
async function unblock(path: ScsiPath): Promise<void> {
  for (const kind of ['abort', 'soft', 'hard'] as const) {
    if (!path.resets.has(kind)) continue;
    try {
      return await path.reset(kind);
    } catch (error) {
      if (!(error instanceof LastspinError && error.code === 'DEVICE_REFUSED')) throw error;
    }
  }
}

/** What pages of vital product data tell of a device without ATA commands. */
interface Told {
  readonly ata?: AtaIdentity;
  readonly serial?: string;
  readonly rotation?: number;
  readonly readCountMax?: number;
  readonly capacity?: Capacity;
}

/** Undefined where a page that is there is not answered. Sticks and cards that the path can name are not
 * asked: many hang on it. */
async function askPages(
  commander: Commander,
  knowledge: Knowledge,
  inquiry: InquiryData,
  { serial }: ProfileOptions,
): Promise<Told | undefined> {
  const isUsb = commander.path.bridge !== undefined;
  const isNamed = inquiry.isRemovable && serial !== undefined;
  if (isUsb && (isNamed || inquiry.version < versionOfSpc3)) return {};
  if (!knowledge.pages) {
    const answer = await commander.page(0x00);
    if (answer.kind === 'timeout') await unblock(commander.path);
    knowledge.pages = answer.kind === 'good' ? parsePages(answer.value) : new Set();
  }
  const { pages } = knowledge;
  const read = async (page: number, bytes?: number) =>
    pages.has(page) ? toldBy(await commander.page(page, bytes)) : noPage;
  const names = [await read(0x80), await read(0x83)] as const;
  const ata = await read(0x89, 572);
  const limits = isUsb ? noPage : await read(0xb0);
  const rotation = isUsb ? noPage : await read(0xb1);
  if (!names[0] || !names[1] || !ata || !limits || !rotation) return undefined;
  // The physical sector's size. Through USB some devices hang on it.
  const capacity = isUsb ? undefined : toldBy(await commander.capacity16());
  const identify = parseAtaInformation(ata);
  return withoutUndefined({
    ata: identify && parseIdentify(identify),
    serial: parseSerial(names[0]) ?? parseWorldWideName(names[1]),
    rotation: parseRotation(rotation),
    readCountMax: parseReadCountMax(limits),
    capacity,
  });
}

const noPage = new Uint8Array();

function profileOf(
  inquiry: InquiryData,
  capacity: Capacity,
  options: ProfileOptions,
  told: Told & { readonly passesAta?: boolean },
): Profile {
  const { ata } = told;
  const { sectorBytes } = capacity;
  const sectorCount = Math.min(
    countByBridge(capacity, options.quirks),
    countByDrive(ata, sectorBytes),
  );
  const kind = kindOf(inquiry, told);
  const names = ata ?? {
    model: nameOf(inquiry),
    serial: told.serial ?? options.serial ?? '',
    firmware: inquiry.revision,
  };
  return {
    identity: {
      model: names.model,
      serial: names.serial,
      firmware: names.firmware,
      sectorCount,
      sectorBytes,
      physicalSectorBytes: physicalBytesOf(capacity, ata),
      ...(kind && { kind }),
    },
    inquiry,
    ...(ata && { ata }),
    passesAta: told.passesAta ?? false,
    isOneToOne: ata?.sectorBytes === sectorBytes,
    surplusCount: capacity.sectorCount - sectorCount,
    ...(told.readCountMax !== undefined && { readCountMax: told.readCountMax }),
  };
}

/** Drives have an even number of sectors: where a bridge is known to count one more, an odd number is. */
function countByBridge({ sectorCount }: Capacity, { mayCountOneMore }: BridgeQuirks): number {
  return mayCountOneMore && sectorCount % 2 === 1 ? sectorCount - 1 : sectorCount;
}

/** Sectors of the path that the drive has by its own word. Without 48-bit addresses the word ends at 128 GiB,
 * and says nothing of a larger drive. */
function countByDrive(ata: AtaIdentity | undefined, sectorBytes: number): number {
  if (!ata || (!ata.hasLba48 && ata.sectorCount >= 2 ** 28 - 1)) return Infinity;
  return Math.floor((ata.sectorCount * ata.sectorBytes) / sectorBytes);
}

function physicalBytesOf(capacity: Capacity, ata: AtaIdentity | undefined): number {
  const { sectorBytes } = capacity;
  const told = ata?.physicalSectorBytes ?? capacity.physicalSectorBytes ?? sectorBytes;
  return told > sectorBytes && told % sectorBytes === 0 ? told : sectorBytes;
}

function kindOf(inquiry: InquiryData, { ata, rotation }: Told): KindHint | undefined {
  if (ata) return kindFromIdentify(ata.raw);
  if (inquiry.isRemovable) return inquiry.deviceType === 0 ? 'flash' : undefined;
  if (rotation === 1) return 'ssd';
  return rotation !== undefined && rotation >= 0x0401 && rotation < 0xffff ? 'hdd' : undefined;
}

/** Vendor and product. A translator calls itself `ATA` and the drive by its own model. */
function nameOf({ vendor, product }: InquiryData): string {
  return vendor === 'ATA' ? product : `${vendor} ${product}`.trim();
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

function withoutUndefined<T extends object>(fields: T): Defined<T> {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as Defined<T>;
}
