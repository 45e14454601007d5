/** A look at an image before it is gone on with: is it the file that the last run left, and does it still hold what
 * was read? By size, times and identity, and by hashing some of the stretches whose hash is known. */

import { createHash } from 'node:crypto';
import { isLastspinError, LastspinError } from '../errors.js';
import { type Extent, endOf } from '../map/extent.js';
import type { FileLayer, FileStamp, OpenFile } from './file-layer.js';
import { readHashList } from './hash-list.js';
import { spread } from './segment-hashes.js';
import type { SplitFile } from './split-file.js';

/** What a checkpoint remembers of the image. */
export interface ImageRecord extends FileStamp {
  /** A few hashes, so that an image and a list that both belong to another case are told apart. */
  readonly samples: HashSample[];
}

export interface HashSample extends Extent {
  /** Hex digits. */
  readonly sha256: string;
}

export interface LookOptions {
  readonly files: FileLayer;
  readonly imagePath: string;
  /** Opens the image, whatever it is made of, to read it. */
  readonly open: () => Promise<SplitFile>;
  /** Which file each part of it was in the last run, where it is in parts. */
  readonly partIds?: readonly string[];
  readonly listPath: string;
  readonly sectorBytes: number;
  readonly sectorCount: number;
  /** Whether the map calls all of an extent finished. */
  readonly isFinished: (extent: Extent) => boolean;
  /** Where the last finished sector ends, in bytes. */
  readonly claimedBytes: number;
  readonly record: ImageRecord | undefined;
  /** A few places that should hold zeros, for nothing was ever written there. */
  readonly emptyPlaces: readonly Extent[];
  /** Whether the last run ended in order: after a crash times tell nothing. */
  readonly endedInOrder: boolean;
  /** Looks at all stretches instead of some. */
  readonly isFull: boolean;
  readonly say: (line: string) => void;
  readonly signal?: AbortSignal;
}

/** Bytes of the image from `fromBytes` up to `toBytes`. */
export interface ByteRange {
  readonly fromBytes: number;
  readonly toBytes: number;
}

export interface ImageLook {
  /** What the image no longer holds. */
  readonly changed: readonly ByteRange[];
  /** Why it is another image, where it is one. */
  readonly foreign: string | undefined;
  /** The list of hashes is not of this map. */
  readonly isListForeign: boolean;
  /** One line each for the user. */
  readonly notices: readonly string[];
}

/** Stretches of at most 64 MiB that are looked at: where the system says that nothing happened, and else. */
const usualCount = 4;
const doubtfulCount = 16;
/** File systems round times, FAT to two seconds, and some only once they are mounted again. */
const roundedNs = 2_000_000_000n;
const readBytes = 4 << 20;

interface Survey {
  readonly isUsable: boolean;
  /** Lines with a hash that end within the image. */
  readonly count: number;
  readonly agreeing: number;
  readonly disagreeing: number;
}

interface Tally {
  readonly lookedAt: number;
  /** As they were read, and not only zeros, which any image may have. */
  readonly telling: number;
  readonly changedCount: number;
  readonly changed: readonly Extent[];
}

/** Looks without writing anything. Throws FILE_FAILED, IMAGE_MISMATCH where the image shrinks meanwhile, and the
 * signal's reason. */
export async function lookAtImage(options: LookOptions): Promise<ImageLook> {
  const file = await options.open();
  try {
    return await look(options, file);
  } finally {
    await file.close();
  }
}

async function look(options: LookOptions, file: SplitFile): Promise<ImageLook> {
  const { record, claimedBytes, isFull } = options;
  const sizeBytes = await file.size();
  const stamp = await file.stamp?.();
  const survey = await surveyList(options, sizeBytes);
  const isListForeign = survey.disagreeing > 0 && survey.agreeing === 0;
  const useList = survey.isUsable && !isListForeign;
  const count = useList ? survey.count : (record?.samples.length ?? 0);
  const wanted = isFull ? count : isSameStamp(record, stamp) ? usualCount : doubtfulCount;
  const lines = (most: number) =>
    useList ? chosen(options, sizeBytes, count, most) : sampled(options, sizeBytes);
  let tally = await hashAll(options, file, lines(wanted));
  const isOther = isOtherFile(record, stamp) && !keepsPart(options.partIds, file.partIds);
  const isToSeeAll = useList && tally.changed.length > 0 && tally.lookedAt < count;
  if (isToSeeAll && !isOtherImage(tally, isOther)) {
    options.say(
      `${options.imagePath} is not as it was read at ${placeOf(tally.changed[0]!)}: all of it that has a hash is looked at now`,
    );
    tally = await hashAll(options, file, lines(count));
  }
  const isUnknown = isOther && isUnvouched(tally, record, stamp);
  const hasOther = isUnknown && (await holdsOther(options, file));
  const foreign = isOtherImage(tally, isOther)
    ? 'nothing in it is as it was read'
    : hasOther
      ? 'it is another file than in the last run, and holds data where nothing was read yet'
      : undefined;
  const wholeBytes = Math.max(sizeBytes, options.sectorCount * options.sectorBytes);
  const changed =
    foreign !== undefined || isUnknown
      ? [{ fromBytes: 0, toBytes: wholeBytes }]
      : tally.changed.map((extent) => bytesOf(extent, options.sectorBytes));
  if (sizeBytes < claimedBytes) changed.push({ fromBytes: sizeBytes, toBytes: claimedBytes });
  const seen = { sizeBytes, stamp, tally, isForeign: foreign !== undefined, isUnknown };
  return {
    changed,
    foreign,
    isListForeign,
    notices: noticesOf(options, { ...seen, isListForeign }),
  };
}

/** Whether nothing tells of a file that is another one than in the last run that it is a copy: no hash of anything but
 * zeros, nor size and time. */
function isUnvouched(
  { telling, changedCount }: Tally,
  record: ImageRecord | undefined,
  stamp: FileStamp | undefined,
): boolean {
  if (!record || !stamp) return false;
  if (telling > 0 || changedCount > 0) return false;
  return record.sizeBytes !== stamp.sizeBytes || !isSameTime(record, stamp);
}

/** Whether most of the places that should be empty are not; a read that was cut short may have left something in one. */
async function holdsOther(
  { emptyPlaces, sectorBytes }: LookOptions,
  file: OpenFile,
): Promise<boolean> {
  let filled = 0;
  for (const { lba, count } of emptyPlaces) {
    const found = await hashRange(file, lba * sectorBytes, count * sectorBytes);
    if (found && !found.isZero) filled += 1;
  }
  return filled > 1 && filled > emptyPlaces.length / 2;
}

/** Counts what can be looked at, and compares the list with the samples that the checkpoint kept. A list that
 * cannot be read is none: whoever takes it over says so. */
async function surveyList(options: LookOptions, sizeBytes: number): Promise<Survey> {
  const kept = new Map(options.record?.samples.map((sample) => [sample.lba, sample]));
  const survey = { isUsable: true, count: 0, agreeing: 0, disagreeing: 0 };
  const { files, listPath } = options;
  if (!(await files.exists(listPath))) return { ...survey, isUsable: false };
  try {
    for await (const line of usableLines(options, sizeBytes)) {
      survey.count += 1;
      const sample = kept.get(line.lba);
      if (sample?.count !== line.count) continue;
      if (sample.sha256 === line.sha256) survey.agreeing += 1;
      else survey.disagreeing += 1;
    }
    return survey;
  } catch (error) {
    if (!isLastspinError(error, 'HASHES_INVALID')) throw error;
    return { isUsable: false, count: 0, agreeing: 0, disagreeing: 0 };
  }
}

async function* usableLines(options: LookOptions, sizeBytes: number): AsyncGenerator<HashSample> {
  const { files, listPath, sectorBytes, sectorCount, isFinished } = options;
  for await (const { lba, count, sha256 } of readHashList(files, listPath, sectorCount)) {
    const isInside = (lba + count) * sectorBytes <= sizeBytes;
    if (sha256 !== undefined && isInside && isFinished({ lba, count }))
      yield { lba, count, sha256 };
  }
}

/** Lines spread over the image, its first and last among them: what mounts an image writes to its start. */
async function* chosen(
  options: LookOptions,
  sizeBytes: number,
  count: number,
  most: number,
): AsyncGenerator<HashSample> {
  const step = most > 1 && most < count ? (count - 1) / (most - 1) : 1;
  let number = 0;
  let taken = 0;
  for await (const line of usableLines(options, sizeBytes)) {
    if (number === Math.round(taken * step)) {
      taken += 1;
      yield line;
    }
    number += 1;
  }
}

async function* sampled(options: LookOptions, sizeBytes: number): AsyncGenerator<HashSample> {
  const { record, isFinished, sectorBytes } = options;
  for (const sample of spread(record?.samples ?? [], doubtfulCount)) {
    if (endOf(sample) * sectorBytes <= sizeBytes && isFinished(sample)) yield sample;
  }
}

async function hashAll(
  { sectorBytes, imagePath, signal }: LookOptions,
  file: OpenFile,
  lines: AsyncIterable<HashSample>,
): Promise<Tally> {
  const changed: Extent[] = [];
  let lookedAt = 0;
  let telling = 0;
  let changedCount = 0;
  for await (const { lba, count, sha256 } of lines) {
    signal?.throwIfAborted();
    const found = await hashRange(file, lba * sectorBytes, count * sectorBytes);
    if (!found) throw new LastspinError('IMAGE_MISMATCH', `${imagePath} became shorter just now`);
    lookedAt += 1;
    if (found.sha256 !== sha256) {
      changedCount += 1;
      join(changed, { lba, count });
    } else if (!found.isZero) {
      telling += 1;
    }
  }
  return { lookedAt, telling, changedCount, changed };
}

/** The SHA-256 of some bytes of a file, and whether they are all zero; undefined where it ends before. */
async function hashRange(
  file: OpenFile,
  fromBytes: number,
  byteCount: number,
): Promise<{ readonly sha256: string; readonly isZero: boolean } | undefined> {
  const hash = createHash('sha256');
  const room = Math.min(readBytes, byteCount);
  const buffer = Buffer.alloc(room);
  const zeros = Buffer.alloc(room);
  let isZero = true;
  for (let done = 0; done < byteCount; ) {
    const part = buffer.subarray(0, Math.min(room, byteCount - done));
    if ((await file.read(part, fromBytes + done)) < part.length) return undefined;
    hash.update(part);
    isZero &&= part.equals(zeros.subarray(0, part.length));
    done += part.length;
  }
  return { sha256: hash.digest('hex'), isZero };
}

/** Adds an extent to an ascending list; neighbours become one. */
export function join(extents: Extent[], extent: Extent): void {
  const last = extents.at(-1);
  if (last && endOf(last) === extent.lba)
    extents[extents.length - 1] = { lba: last.lba, count: last.count + extent.count };
  else extents.push(extent);
}

/** Whether nothing is as it was read. Only one such stretch is an edit, unless the file itself is another one. */
function isOtherImage({ changedCount, telling }: Tally, isOther: boolean): boolean {
  if (changedCount === 0 || telling > 0) return false;
  return changedCount > 1 || isOther;
}

/** Whether a part is the file that it was: who edits a part puts one file in its place, not all of them. */
function keepsPart(before: readonly string[] = [], now: readonly string[] = []): boolean {
  return now.some((identity, index) => identity === before[index]);
}

function isOtherFile(record: ImageRecord | undefined, stamp: FileStamp | undefined): boolean {
  return record !== undefined && stamp !== undefined && record.inode !== stamp.inode;
}

function isSameStamp(record: ImageRecord | undefined, stamp: FileStamp | undefined): boolean {
  if (!record || !stamp || isOtherFile(record, stamp)) return false;
  return record.sizeBytes === stamp.sizeBytes && isSameTime(record, stamp);
}

/** Whether the image's content was last written when the checkpoint says so, as far as file systems tell. */
export function isSameTime(record: FileStamp, stamp: FileStamp): boolean {
  const apartNs = BigInt(record.modifiedNs) - BigInt(stamp.modifiedNs);
  return apartNs <= roundedNs && -apartNs <= roundedNs;
}

interface Seen {
  readonly sizeBytes: number;
  readonly stamp: FileStamp | undefined;
  readonly tally: Tally;
  readonly isForeign: boolean;
  readonly isUnknown: boolean;
  readonly isListForeign: boolean;
}

function noticesOf(options: LookOptions, seen: Seen): string[] {
  const { imagePath, claimedBytes, record, listPath } = options;
  const { sizeBytes, stamp, tally, isForeign, isUnknown, isListForeign } = seen;
  const notices: string[] = [];
  const again = 'that is read again, and what is there stays until then';
  if (isListForeign) notices.push(`${listPath} is not of this map: it is put aside`);
  if (sizeBytes < claimedBytes)
    notices.push(
      `${imagePath} was cut at byte ${sizeBytes}: what it held behind that is read again`,
    );
  if (isForeign)
    notices.push(
      `${imagePath} holds nothing of what was read: all is read again into it (--force)`,
    );
  else if (isUnknown)
    notices.push(
      `${imagePath} is another file than in the last run, and no hash tells that it holds what was read: ${again}`,
    );
  else if (tally.changed.length > 0)
    notices.push(
      `${imagePath} was changed since it was read, at ${placesOf(tally.changed)}: ${again}`,
    );
  else if (record && stamp) notices.push(...suspicions(options, record, stamp, tally.lookedAt));
  return notices;
}

/** What is odd about a file whose content, as far as it was looked at, is as it was. */
function suspicions(
  { imagePath, endedInOrder }: LookOptions,
  record: ImageRecord,
  stamp: FileStamp,
  lookedAt: number,
): string[] {
  const isOther = isOtherFile(record, stamp);
  if (!isOther && (!endedInOrder || isSameTime(record, stamp))) return [];
  const what = isOther ? 'is another file than in the last run' : 'was touched since the last run';
  const found =
    lookedAt === 0
      ? 'there are no hashes to tell whether it holds the same'
      : `${lookedAt} stretches of it were looked at and are as they were read (lastspin verify looks at all)`;
  return [`${imagePath} ${what}: ${found}`];
}

const placesMax = 4;

function placesOf(extents: readonly Extent[]): string {
  const places = extents.slice(0, placesMax).map(placeOf).join(', ');
  const left = extents.length - placesMax;
  return left > 0 ? `${places} and ${left} other places` : places;
}

function placeOf({ lba, count }: Extent): string {
  return `LBA ${lba} to ${lba + count - 1}`;
}

function bytesOf({ lba, count }: Extent, sectorBytes: number): ByteRange {
  return { fromBytes: lba * sectorBytes, toBytes: (lba + count) * sectorBytes };
}
