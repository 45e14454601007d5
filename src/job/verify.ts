/** Is an image still what was read, and are its records as they were written? Nothing is changed for it. */

import type { DriveIdentity } from '../drive/drive.js';
import { isLastspinError, LastspinError, reasonOf } from '../errors.js';
import { type LoadedCheckpoint, loadCheckpoint } from '../image/checkpoint.js';
import type { FileLayer, FileStamp } from '../image/file-layer.js';
import { type HashLine, readHashList } from '../image/hash-list.js';
import type { Hashing, HashRange, HashStream } from '../image/hash-threads.js';
import { openImageToRead } from '../image/image-file.js';
import { heldCount, type ImageForm, plainFile } from '../image/image-form.js';
import { isSameTime } from '../image/image-look.js';
import { type LoadedJournal, loadJournal } from '../image/journal.js';
import { isFinished } from '../image/segment-hashes.js';
import { hasParts, openStored } from '../image/split-file.js';
import { parseSum, sumName, sumPath } from '../image/whole-hashes.js';
import { type Extent, endOf } from '../map/extent.js';
import { sectorMapOf } from '../map/mapfile.js';
import type { RunMap } from '../map/run-map.js';
import { statuses, statusNames } from '../map/status.js';
import { type WholeAlgorithm, wholeAlgorithms } from '../segment-hasher.js';
import { type CasePaths, fillText } from './case-files.js';
import { createListAgreementCheck, type ListAgreement } from './list-agreement.js';
import type { Agreement } from './log-agreement.js';
import { foldRecorded, type RecordedEvent } from './recorded.js';
import { checkEventLog, type LogCheck } from './replay.js';
import { parseSnapshot, restoreState, type Snapshot } from './snapshot.js';

export type Verdict = 'unchanged' | 'changed' | 'cannot-tell';

/** What one check found. `told` is for people and weighs nothing. */
export interface Finding {
  readonly check: 'image' | 'map' | 'journal' | 'log' | 'hashes' | WholeAlgorithm | 'drive';
  readonly result: Verdict | 'told';
  readonly text: string;
}

/** A stretch of finished sectors that is no longer what was read: other bytes, or none. */
export interface ChangedPlace extends Extent {
  readonly fromByte: number;
  readonly byteCount: number;
  readonly what: 'differs' | 'missing';
}

export interface Verification {
  readonly verdict: Verdict;
  readonly findings: readonly Finding[];
  readonly drive: DriveIdentity | undefined;
  /** The first thousand, in ascending order. */
  readonly changed: readonly ChangedPlace[];
  readonly changedSectors: number;
  /** Of the finished sectors, those with a hash that the image bears out. */
  readonly heldSectors: number;
  readonly finishedSectors: number;
  /** Bytes that were read from the image. */
  readonly readBytes: number;
}

export interface VerifyOptions {
  readonly files: FileLayer;
  readonly paths: CasePaths;
  readonly hashing: Hashing;
  /** Looks at a sample of the stretches, at no hash of the whole, and does not fold the event log again. */
  readonly isQuick: boolean;
  /** A hash of the event log as somebody noted it, or how it begins. */
  readonly notedHash?: string;
  readonly signal: AbortSignal;
  /** Told now and then how far it is. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

const quickCount = 16;
const placesMax = 1000;
/** So much is hashed as one task, unless it is one stretch: fewer would wait for their turns, more for their end. */
const batchBytes = 64 << 20;
const batchLinesMax = 4096;
const sectorBytesMin = 512;
const sectorBytesMax = 65_536;

/** Everything that the checks go by. */
interface Facts {
  readonly paths: CasePaths;
  readonly isQuick: boolean;
  readonly form: ImageForm;
  readonly imageBytes: number | undefined;
  /** Why its parts are not one image. */
  readonly imageProblem: string | undefined;
  readonly stamp: FileStamp | undefined;
  readonly saved: LoadedCheckpoint | undefined;
  /** Why the map is none. */
  readonly mapProblem: string | undefined;
  readonly snapshot: Snapshot | undefined;
  /** By sector, with what the journal adds; only of a map that we wrote. */
  readonly map: RunMap | undefined;
  readonly journal: LoadedJournal | undefined;
  readonly log: LogCheck;
  readonly list: ListFacts | undefined;
  readonly sums: readonly SumFacts[];
}

interface ListFacts {
  /** Why it was not read to its end. */
  readonly problem: string | undefined;
  /** Why it cannot be compared with the image. */
  readonly obstacle: string | undefined;
  readonly comparedLines: number;
  readonly heldSectors: number;
  readonly heldBytes: number;
  readonly changedSectors: number;
  readonly changed: readonly ChangedPlace[];
  readonly hashedLines: number;
  /** How it stands to the map; only where that is ours. */
  readonly agreement: ListAgreement | undefined;
  /** Sectors whose hash was made of the image later. */
  readonly ofImageSectors: number;
}

interface SumFacts {
  readonly algorithm: WholeAlgorithm;
  /** Undefined where the file has none of this image. */
  readonly expected: string | undefined;
  readonly found: string | undefined;
}

/** The checks, in the order in which they are told. */
const checks: readonly ((facts: Facts) => Finding[])[] = [
  checkImageFile,
  tellFills,
  checkMap,
  checkJournal,
  checkLog,
  checkList,
  checkSums,
  tellDrive,
];

/** Throws IMAGE_MISMATCH where there is neither image nor map, FILE_FAILED where something cannot be read, and the
 * signal's reason. */
export async function verifyImage(options: VerifyOptions): Promise<Verification> {
  const facts = await gather(options);
  const findings = checks.flatMap((check) => check(facts));
  const { list, map, sums, imageBytes = 0, snapshot } = facts;
  const finishedSectors = map?.countOf(statuses.finished) ?? list?.heldSectors ?? 0;
  const cut = cutPlaces(facts);
  const wholeBytes = sums.filter(({ found }) => found).length > 0 ? imageBytes : 0;
  return {
    verdict: verdictOf(facts, findings, finishedSectors),
    findings,
    drive: snapshot?.drive,
    changed: [...(list?.changed ?? []), ...cut].slice(0, placesMax),
    changedSectors: (list?.changedSectors ?? 0) + cut.reduce((sum, { count }) => sum + count, 0),
    heldSectors: list?.heldSectors ?? 0,
    finishedSectors,
    readBytes: Math.max(wholeBytes, list?.heldBytes ?? 0),
  };
}

function verdictOf(facts: Facts, findings: readonly Finding[], finishedSectors: number): Verdict {
  const { list, map, isQuick } = facts;
  if (findings.some(({ result }) => result === 'changed')) return 'changed';
  if (contradictionOf(facts) !== undefined || listDoubtOf(facts)?.result === 'cannot-tell')
    return 'cannot-tell';
  if (isSumTrue(facts)) return 'unchanged';
  const held = list?.heldSectors ?? 0;
  if (isQuick) return held > 0 ? 'unchanged' : 'cannot-tell';
  const isKnown = map !== undefined || held > 0;
  return isKnown && held >= finishedSectors ? 'unchanged' : 'cannot-tell';
}

function isSumTrue({ sums }: Facts): boolean {
  return sums.some(({ expected, found }) => expected !== undefined && expected === found);
}

// ---- What there is to check

async function gather(options: VerifyOptions): Promise<Facts> {
  const { files, paths, isQuick, signal, notedHash } = options;
  const read = await readMap(files, paths.map);
  const form = await formOf(files, paths.image, read.saved);
  const { file, imageProblem } = await statImage(files, paths.image, read.saved, form);
  if (!file && imageProblem === undefined && !read.saved && read.mapProblem === undefined)
    throw new LastspinError('IMAGE_MISMATCH', `there is no image ${paths.image}; check the name`);
  const { saved } = read;
  const journal = await loadJournal(files, paths.journal);
  const snapshot = saved && !saved.foreign ? parseSnapshot(saved.state) : undefined;
  const map = saved && snapshot && mapWith(saved, snapshot, journal, paths.map);
  const log = await checkEventLog(files, paths, {
    ...{ isQuick, signal },
    ...(notedHash !== undefined && { notedHash }),
  });
  const known = { ...read, form, imageProblem, paths, isQuick, snapshot, map, journal, log };
  const imageBytes = file?.sizeBytes;
  if (imageBytes === undefined)
    return { ...known, imageBytes, stamp: undefined, list: undefined, sums: [] };
  const content = await readContent(options, { imageBytes, saved, snapshot, map, form, log });
  return { ...known, imageBytes, stamp: file?.stamp, ...content };
}

/** What a map of ours says that the image is made of; else what lies there. */
async function formOf(
  files: FileLayer,
  path: string,
  saved: LoadedCheckpoint | undefined,
): Promise<ImageForm> {
  const snapshot = saved && !saved.foreign ? parseSnapshot(saved.state) : undefined;
  if (snapshot) return snapshot.form;
  if ((await files.exists(path)) || !(await hasParts(files, path))) return plainFile;
  return { kind: 'split', partBytes: 0 };
}

interface Stat {
  readonly file?: { readonly sizeBytes: number; readonly stamp: FileStamp | undefined };
  readonly imageProblem: string | undefined;
}

/** How large the image is, whatever it is made of, and what the system says of it. */
async function statImage(
  files: FileLayer,
  path: string,
  saved: LoadedCheckpoint | undefined,
  form: ImageForm,
): Promise<Stat> {
  const isThere = form.kind === 'split' ? hasParts(files, path) : files.exists(path);
  if (!(await isThere)) return { imageProblem: undefined };
  const snapshot = saved && !saved.foreign ? parseSnapshot(saved.state) : undefined;
  try {
    // Before anything is claimed, a crash may have left parts that are not there yet.
    const isBegun = saved?.map.codes.includes(statuses.finished) ?? false;
    const claimed = isBegun ? {} : { claimedCount: 0 };
    const file =
      snapshot && form.kind !== 'file'
        ? await openImageToRead(files, path, { ...snapshot.drive, ...claimed, form })
        : await openStored(files, path, { readOnly: true });
    try {
      return {
        file: { sizeBytes: await file.size(), stamp: await file.stamp?.() },
        imageProblem: undefined,
      };
    } finally {
      await file.close();
    }
  } catch (error) {
    if (!isLastspinError(error, 'IMAGE_MISMATCH')) throw error;
    return { imageProblem: reasonOf(error) };
  }
}

async function readMap(
  files: FileLayer,
  path: string,
): Promise<Pick<Facts, 'saved' | 'mapProblem'>> {
  try {
    return { saved: await loadCheckpoint(files, path), mapProblem: undefined };
  } catch (error) {
    if (!isLastspinError(error, 'MAP_INVALID')) throw error;
    return { saved: undefined, mapProblem: reasonOf(error) };
  }
}

function mapWith(
  saved: LoadedCheckpoint,
  snapshot: Snapshot,
  journal: LoadedJournal | undefined,
  path: string,
): RunMap {
  const { drive, driveKind } = snapshot;
  const state = restoreState(snapshot, { map: sectorMapOf(saved.map, drive, path), driveKind });
  if (journal && journal.base === saved.number)
    for (const event of journal.records as RecordedEvent[]) foldRecorded(state, event);
  return state.plan.map;
}

// ---- Reading the image

interface Known {
  readonly imageBytes: number;
  readonly saved: LoadedCheckpoint | undefined;
  readonly snapshot: Snapshot | undefined;
  readonly map: RunMap | undefined;
  readonly form: ImageForm;
  readonly log: LogCheck;
}

/** Reads the image once, for the stretches of the list and for the whole at the same time. */
async function readContent(
  options: VerifyOptions,
  known: Known,
): Promise<Pick<Facts, 'list' | 'sums'>> {
  const { hashing, signal } = options;
  const onAbort = () => void hashing.close();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    signal.throwIfAborted();
    const whole = await beginSums(options, known);
    const list = await compareList(options, known, whole.advance);
    await whole.advance(known.imageBytes);
    return { list, sums: await whole.finish() };
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** Hashes of the whole that go along with what else is read. */
async function beginSums(
  { files, paths, hashing, isQuick, onProgress }: VerifyOptions,
  { imageBytes, form }: Known,
) {
  const sums: { algorithm: WholeAlgorithm; expected: string | undefined; stream: HashStream }[] =
    [];
  for (const algorithm of isQuick ? [] : wholeAlgorithms) {
    const path = sumPath(paths.sums, algorithm);
    if (!(await files.exists(path))) continue;
    const text = await readStart(files, path);
    const expected = parseSum(text, algorithm, sumName(paths.image, form));
    sums.push({ algorithm, expected, stream: hashing.stream(algorithm) });
  }
  let atBytes = 0;
  return {
    async advance(toBytes: number): Promise<void> {
      const end = Math.min(toBytes, imageBytes);
      for (; sums.length > 0 && atBytes < end; onProgress?.(atBytes, imageBytes)) {
        const range: HashRange = [atBytes, Math.min(batchBytes, end - atBytes)];
        await Promise.all(sums.map(({ stream }) => stream.add(range)));
        atBytes += range[1];
      }
    },
    finish: () =>
      Promise.all(
        sums.map(async ({ algorithm, expected, stream }) => ({
          algorithm,
          expected,
          found: await stream.digest(),
        })),
      ),
  };
}

const sumBytesMax = 1 << 20;

async function readStart(files: FileLayer, path: string): Promise<string> {
  const file = await files.open(path, { readOnly: true });
  try {
    const buffer = Buffer.alloc(Math.min(sumBytesMax, await file.size()));
    return buffer.subarray(0, await file.read(buffer, 0)).toString();
  } finally {
    await file.close();
  }
}

/** What is known of a list before anything is hashed for it. */
interface Survey {
  readonly problem: string | undefined;
  readonly hashed: number;
  /** Where its last line ends. */
  readonly end: number;
  readonly agreement: ListAgreement | undefined;
  /** Sectors whose hash was made of the image later. */
  readonly ofImageSectors: number;
}

async function compareList(
  options: VerifyOptions,
  known: Known,
  alongside: (toBytes: number) => Promise<void>,
): Promise<ListFacts | undefined> {
  const { files, paths, isQuick } = options;
  if (!(await files.exists(paths.hashes))) return undefined;
  const survey = await surveyList(files, paths.hashes, known);
  const comparison = createComparison(options, known.imageBytes);
  const facts = () => ({
    problem: survey.problem,
    hashedLines: survey.hashed,
    agreement: survey.agreement,
    ofImageSectors: survey.ofImageSectors,
    ...comparison.result(),
  });
  const sectorBytes = known.snapshot?.drive.sectorBytes ?? sectorBytesBy(known, survey);
  if (sectorBytes === undefined)
    return { ...facts(), obstacle: 'it is not known how large a sector is' };
  if (known.saved?.foreign === true && !known.saved.damaged)
    return { ...facts(), obstacle: 'another program has written the map since it was made' };
  const step = isQuick ? Math.max(1, (survey.hashed - 1) / (quickCount - 1)) : 1;
  let number = 0;
  let taken = 0;
  let lines: HashLine[] = [];
  let bytes = 0;
  const flush = async () => {
    if (lines.length === 0) return;
    await comparison.add(lines, sectorBytes);
    await alongside(endOf(lines.at(-1)!) * sectorBytes);
    lines = [];
    bytes = 0;
  };
  for await (const line of goodLines(files, paths.hashes, known.map?.size)) {
    if (line.sha256 === undefined || number++ !== Math.round(taken * step)) continue;
    taken += 1;
    if (known.map && !isFinished(known.map, line)) continue;
    lines.push(line);
    bytes += line.count * sectorBytes;
    if (bytes >= batchBytes || lines.length >= batchLinesMax) await flush();
  }
  await flush();
  await comparison.settle();
  return { ...facts(), obstacle: undefined };
}

/** The lines of a list up to the first that is none. */
async function* goodLines(
  files: FileLayer,
  path: string,
  sectorCount: number | undefined,
): AsyncGenerator<HashLine> {
  try {
    yield* readHashList(files, path, sectorCount);
  } catch (error) {
    if (!isLastspinError(error, 'HASHES_INVALID')) throw error;
  }
}

async function surveyList(files: FileLayer, path: string, { map, log }: Known): Promise<Survey> {
  const check = map && createListAgreementCheck(map, log.earlierMaps);
  let hashed = 0;
  let end = 0;
  let ofImageSectors = 0;
  try {
    for await (const line of readHashList(files, path, map?.size)) {
      if (line.sha256 !== undefined) hashed += 1;
      if (line.isOfImage) ofImageSectors += line.count;
      end = endOf(line);
      check?.take(line);
    }
    return { problem: undefined, hashed, end, ofImageSectors, agreement: check?.finish() };
  } catch (error) {
    if (!isLastspinError(error, 'HASHES_INVALID')) throw error;
    const problem = reasonOf(error);
    return { problem, hashed, end, ofImageSectors, agreement: undefined };
  }
}

/** Without a map of ours a list that reaches to the image's end tells it. */
function sectorBytesBy({ imageBytes }: Known, { end, problem }: Survey): number | undefined {
  const sectorBytes = imageBytes / end;
  const isFit = sectorBytes >= sectorBytesMin && sectorBytes <= sectorBytesMax;
  return problem === undefined && Number.isInteger(sectorBytes) && isFit ? sectorBytes : undefined;
}

/** Compares lines with the image, several batches at once, and notes what came of them in their order. */
function createComparison({ hashing, signal, onProgress }: VerifyOptions, imageBytes: number) {
  const pending: (() => Promise<void>)[] = [];
  const changed: ChangedPlace[] = [];
  const counts = { comparedLines: 0, heldSectors: 0, heldBytes: 0, changedSectors: 0 };

  function take(line: HashLine, digest: string | undefined, sectorBytes: number): void {
    counts.comparedLines += 1;
    if (digest === line.sha256) {
      counts.heldSectors += line.count;
      counts.heldBytes += line.count * sectorBytes;
      return;
    }
    counts.changedSectors += line.count;
    addPlace(changed, placeOf(line, sectorBytes, digest === undefined ? 'missing' : 'differs'));
  }

  return {
    async add(lines: readonly HashLine[], sectorBytes: number): Promise<void> {
      const digests = hashing.ranges(
        lines.map(({ lba, count }) => [lba * sectorBytes, count * sectorBytes]),
      );
      digests.catch(() => undefined);
      pending.push(async () => {
        const found = await digests;
        for (const [index, line] of lines.entries()) take(line, found[index], sectorBytes);
        onProgress?.(endOf(lines.at(-1)!) * sectorBytes, imageBytes);
      });
      if (pending.length >= hashing.width) await pending.shift()?.();
      signal.throwIfAborted();
    },
    async settle(): Promise<void> {
      for (const one of pending.splice(0)) await one();
    },
    result: () => ({ ...counts, changed }),
  };
}

function placeOf({ lba, count }: Extent, sectorBytes: number, what: ChangedPlace['what']) {
  return { lba, count, fromByte: lba * sectorBytes, byteCount: count * sectorBytes, what };
}

/** Neighbours become one, and there is an end to them. */
function addPlace(places: ChangedPlace[], place: ChangedPlace): void {
  const last = places.at(-1);
  if (last && endOf(last) === place.lba && last.what === place.what) {
    places[places.length - 1] = {
      ...last,
      count: last.count + place.count,
      byteCount: last.byteCount + place.byteCount,
    };
  } else if (places.length < placesMax) {
    places.push(place);
  }
}

// ---- The checks

/** Finished sectors behind the end of an image that was cut, where no list of hashes tells of them. */
function cutPlaces({ map, imageBytes = 0, imageProblem, snapshot, list }: Facts): ChangedPlace[] {
  if (!map || !snapshot || imageProblem !== undefined) return [];
  if (list?.changed.some(({ what }) => what === 'missing')) return [];
  const { sectorBytes } = snapshot.drive;
  const places: ChangedPlace[] = [];
  for (const run of map.runs(Math.min(Math.floor(imageBytes / sectorBytes), map.size))) {
    if (run.value === statuses.finished) addPlace(places, placeOf(run, sectorBytes, 'missing'));
  }
  return places;
}

function checkImageFile(facts: Facts): Finding[] {
  const { paths, form, imageBytes, imageProblem, saved, snapshot, journal, stamp } = facts;
  const finding = (result: Finding['result'], text: string): Finding => ({
    check: 'image',
    result,
    text: `${paths.image} ${text}`,
  });
  if (imageProblem !== undefined)
    return [{ check: 'image', result: 'changed', text: imageProblem }];
  if (imageBytes === undefined)
    return [
      finding(
        'changed',
        form.kind === 'split' ? 'is not there, or not its first part' : 'is not there',
      ),
    ];
  const expected = snapshot
    ? heldCount(form, snapshot.drive) * snapshot.drive.sectorBytes
    : saved?.map.end;
  const differs =
    expected !== undefined &&
    imageBytes !== expected &&
    (snapshot !== undefined || imageBytes > expected);
  if (differs) {
    const how = imageBytes < expected ? 'was cut or is not this one' : 'is too long';
    return [finding('changed', `${how}: ${imageBytes} bytes, the map says ${expected}`)];
  }
  const found = [
    finding(
      'unchanged',
      `has ${imageBytes} bytes${expected === undefined ? '' : ', as the map says'}`,
    ),
  ];
  const record = snapshot?.image;
  if (!record || !stamp) return found;
  const endedInOrder = journal?.records.length === 0;
  if (record.inode !== stamp.inode)
    found.push(finding('told', 'is another file than in the last run: a copy, perhaps'));
  else if (endedInOrder && !isSameTime(record, stamp))
    found.push(finding('told', 'was touched since the last run'));
  return found;
}

function tellFills({ paths, snapshot }: Facts): Finding[] {
  return (snapshot?.fills ?? []).map((fill) => ({
    check: 'image',
    result: 'told',
    text: `${paths.image} was filled where it was not read (${fillText(fill)}): nothing is finished by that, and no stretch with a hash has any of it`,
  }));
}

function checkMap(facts: Facts): Finding[] {
  const { paths, saved, mapProblem, snapshot, log, journal } = facts;
  const finding = (result: Finding['result'], text: string): Finding[] => [
    { check: 'map', result, text },
  ];
  if (mapProblem !== undefined) return finding('changed', mapProblem);
  if (!saved && (log.agreement.hasEvents || journal))
    return finding(
      'changed',
      `${paths.map} is missing: ${journal ? paths.journal : paths.events} goes with it`,
    );
  if (!saved) return finding('told', `there is no map ${paths.map}`);
  if (saved.damaged) return finding('changed', `${paths.map} is not as lastspin wrote it`);
  if (saved.foreign || !snapshot) {
    const contradiction = contradictionOf(facts);
    const but =
      contradiction === undefined ? '' : `, and says otherwise than the log: ${contradiction}`;
    return finding('cannot-tell', `${paths.map} was written by another program${but}`);
  }
  return finding('unchanged', `${paths.map} is as it was written`);
}

/** Where a map that another program wrote says otherwise than the lines of an intact log give. */
function contradictionOf({ paths, saved, log, snapshot }: Facts): string | undefined {
  if (!saved?.foreign || snapshot || !log.map || !log.drive || !log.isIntact) return undefined;
  try {
    const map = sectorMapOf(saved.map, log.drive, paths.map);
    for (const { lba, count, value } of map.runs()) {
      const other = [...log.map.runs(lba, lba + count)].find((run) => run.value !== value);
      if (other)
        return `first at LBA ${other.lba}, ${statusNames[value]} in the map, ${statusNames[other.value]} by the log`;
    }
    return undefined;
  } catch (error) {
    if (!isLastspinError(error)) throw error;
    return reasonOf(error);
  }
}

function checkJournal(facts: Facts): Finding[] {
  const { paths, saved, snapshot, log, journal } = facts;
  if (!saved || !snapshot) return [];
  const { result, text } = journalFinding(log, journal);
  return [{ check: 'journal', result, text: `${paths.journal} ${text}` }];
}

type Found = Pick<Finding, 'result' | 'text'>;

function journalFinding({ agreement }: LogCheck, journal: LoadedJournal | undefined): Found {
  const { anchorKind, unknownLines, firstUnknown = 0 } = agreement;
  switch (agreement.journal) {
    case 'none':
      return { result: 'told', text: 'is not there' };
    case 'lost': {
      const lines = unknownLines === 1 ? 'a line' : `${unknownLines} lines`;
      const text = `is missing, and with it what the map lacks: the log has ${lines} of it, from line ${firstUnknown + 1} on`;
      return { result: 'changed', text };
    }
    case 'damaged':
      return { result: 'changed', text: `is damaged: ${journal?.damage?.message}` };
    case 'later':
      return {
        result: 'changed',
        text: 'is of a later map: this one is another, or an older copy',
      };
    case 'other':
      return {
        result: 'changed',
        text: 'is not the one of this map and log: it is of another case, or an older copy',
      };
    case 'earlier': {
      const why =
        anchorKind === 'filled'
          ? 'that was saved once more when the image was filled'
          : 'a crash came before the next one began';
      return { result: 'told', text: `is of an earlier map, and all of it is in this one: ${why}` };
    }
    case 'current':
      return currentJournal(agreement, journal as LoadedJournal);
  }
}

function currentJournal({ lastRun, anchorKind }: Agreement, journal: LoadedJournal): Found {
  const { records, tornBytes } = journal;
  if (records.length > 0 || tornBytes > 0) {
    const text = `has ${records.length} events that the map has not: the last run did not end in order`;
    return { result: 'told', text };
  }
  if (!lastRun) return { result: 'unchanged', text: 'is as it was written' };
  if (lastRun.how !== undefined)
    return { result: 'unchanged', text: 'is as it was written: the last run ended in order' };
  const since =
    anchorKind === 'filled' ? 'the map has it, saved when the image was filled' : 'the map has it';
  return {
    result: 'unchanged',
    text: `is as it was written, with nothing in it: the last run did not end in order, and all that was kept of it, ${since}`,
  };
}

function checkLog({ paths, log }: Facts): Finding[] {
  const found = log.findings.map(({ kind, isBad, line, text }): Finding => {
    const place = line === undefined ? `${paths.events}: ` : `${paths.events}:${line}: `;
    return {
      check: 'log',
      result: isBad ? 'changed' : 'told',
      text: kind === 'missing' ? text : place + text,
    };
  });
  if (!log.last || found.some(({ result }) => result === 'changed')) return found;
  const { n, hash } = log.last;
  const lines = n === 0 ? 'its line is' : `its ${n + 1} lines are`;
  const text = `${paths.events}: ${lines} as written, the last one's hash is ${hash}`;
  return [{ check: 'log', result: 'unchanged', text }, ...found];
}

/** What is odd about a list beside the map, and whether a crash may have left it so. */
function listDoubtOf(facts: Facts): Found | undefined {
  const { list, log, journal, isQuick } = facts;
  if (!list?.agreement) return undefined;
  const { isWhole, differences, first, isEarlier } = list.agreement;
  const { journal: stand, lastRun } = log.agreement;
  // A run that listed nothing, or did not come so far, leaves the list of an earlier one.
  const isListed = lastRun?.isHashed === true && lastRun.how !== undefined;
  const isOrderly =
    isListed && log.isIntact && stand === 'current' && journal?.records.length === 0;
  if (first !== undefined) {
    const more = differences > 1 ? ` (and ${differences - 1} more lines)` : '';
    if (!isOrderly || isEarlier)
      return { result: 'told', text: `is older than the map: ${first}${more}` };
    return {
      result: isQuick ? 'cannot-tell' : 'changed',
      text: `says otherwise than the map: ${first}${more}`,
    };
  }
  if (isWhole || !isOrderly || lastRun.how !== 'finished') return undefined;
  // The hash of the whole comes after the list.
  const result = isSumTrue(facts) ? 'changed' : 'cannot-tell';
  const text =
    'has no line for some sectors, though the last run came to its end: lines were taken out, or it was killed before it wrote them';
  return { result, text };
}

function checkList(facts: Facts): Finding[] {
  const { paths, list, imageProblem, isQuick, map } = facts;
  const finding = (result: Finding['result'], text: string): Finding => ({
    check: 'hashes',
    result,
    text: `${paths.hashes} ${text}`,
  });
  if (imageProblem !== undefined) return [finding('cannot-tell', 'was compared with nothing')];
  if (!list) return [finding('cannot-tell', 'is not there')];
  const found: Finding[] = [];
  if (list.problem !== undefined)
    found.push({ check: 'hashes', result: 'changed', text: `refused: ${list.problem}` });
  if (list.obstacle !== undefined)
    return [...found, finding('cannot-tell', `cannot be compared: ${list.obstacle}`)];
  const of = isQuick ? `${list.comparedLines} of ${list.hashedLines}` : `${list.comparedLines}`;
  if (list.changedSectors > 0)
    found.push(
      finding(
        'changed',
        `${list.changedSectors} sectors of ${of} stretches are not as they were read`,
      ),
    );
  else if (list.comparedLines > 0)
    found.push(finding('unchanged', `${of} stretches are as they were read`));
  const open = (map?.countOf(statuses.finished) ?? 0) - list.heldSectors - list.changedSectors;
  if (!isQuick && map && open > 0)
    found.push(finding('cannot-tell', `has no hash of ${open} sectors that were read`));
  if (list.ofImageSectors > 0)
    found.push(
      finding(
        'told',
        `has hashes of ${list.ofImageSectors} sectors that were made of the image later: of what was read there nobody has one`,
      ),
    );
  const doubt = listDoubtOf(facts);
  if (doubt) found.push(finding(doubt.result, doubt.text));
  return found;
}

function checkSums({ paths, sums }: Facts): Finding[] {
  return sums.map(({ algorithm, expected, found }) => {
    const file = sumPath(paths.sums, algorithm);
    if (expected === undefined)
      return { check: algorithm, result: 'changed', text: `${file} has no hash of this image` };
    return expected === found
      ? { check: algorithm, result: 'unchanged', text: `${file} is the hash of the image` }
      : { check: algorithm, result: 'changed', text: `${file} is not the hash of the image` };
  });
}

function tellDrive({ snapshot }: Facts): Finding[] {
  if (!snapshot) return [];
  const { model, serial, sectorCount, sectorBytes } = snapshot.drive;
  const former = snapshot.formerDrives.map((drive) => `, before as ${drive.model} ${drive.serial}`);
  const text = `${model} ${serial}, ${sectorCount} sectors of ${sectorBytes} bytes${former.join('')}`;
  return [{ check: 'drive', result: 'told', text }];
}
