import { existsSync, type Stats, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { realClock, wallMs } from '../clock.js';
import type { Drive, DriveIdentity } from '../drive/drive.js';
import { askHidden } from '../drive/scsi/examine.js';
import { LastspinError } from '../errors.js';
import { loadHeadMap } from '../head-map-files.js';
import { thisHost } from '../host/host.js';
import { hashWholeImage } from '../image/hash-threads.js';
import { heldCount, type ImageForm } from '../image/image-form.js';
import { takeLock } from '../image/lock.js';
import { nodeFiles } from '../image/node-files.js';
import { splitSize, storedPaths } from '../image/split-file.js';
import type { WholeSum } from '../image/whole-hashes.js';
import { bringUp } from '../job/bring-up.js';
import { type Case, openCase } from '../job/case.js';
import { type CaseData, caseDataFrom } from '../job/case-data.js';
import { type CasePaths, casePaths, type FoundCase, findCase } from '../job/case-files.js';
import { physicalCountOf } from '../job/case-state.js';
import { createControl, type JobControl } from '../job/control.js';
import type { FillRecord } from '../job/events.js';
import { type JobEnd, runJob } from '../job/job.js';
import { chooseKind, detectorFor, guardSilence } from '../job/kind.js';
import { parseSnapshot } from '../job/snapshot.js';
import { foldJob, type JobState } from '../job/state.js';
import { type Extent, endOf } from '../map/extent.js';
import type { HeadMapData } from '../plan/head-map-schema.js';
import type { Pass, PerHead } from '../plan/pass.js';
import type { Preset } from '../plan/preset-schema.js';
import { type DriveFacts, kindDefaults, rowsOf } from '../plan/presets.js';
import { type DriveKind, troublePolicies } from '../power/policy.js';
import { loadPreset } from '../preset-files.js';
import { type WholeAlgorithm, wholeAlgorithms } from '../segment-hasher.js';
import { formatBytes } from '../show/format.js';
import { formatResult, type ImageResult, imageResult } from '../show/result.js';
import { createProgress, describeFull, type Progress } from '../show/terminal.js';
import { createActions, failureOf } from './actions.js';
import { type Afterwards, createAfterwards } from './afterwards.js';
import { type DomainOptions, type Part, readDomain } from './domain.js';
import { type Interrupt, onInterrupt } from './interrupt.js';
import { attendKeys } from './keys.js';
import { openPowered, type PoweredDrive } from './powers.js';
import {
  askOnTerminal,
  guardSource,
  hostPathOf,
  refuseInUse,
  refuseToTouchSource,
  type SourceGuard,
} from './source-guard.js';
import { stayAwake } from './stay-awake.js';
import { terminalOf } from './terminal.js';
import { version } from './version.js';

export interface ImageOptions extends DomainOptions {
  readonly power: readonly string[];
  readonly preset?: string;
  readonly physicalSector?: number;
  readonly readTimeout?: number;
  readonly minRate?: number;
  readonly maxRate?: number;
  /** A head map file, or `none` to forget the one that an earlier run was given. */
  readonly heads?: string;
  readonly retries?: number;
  readonly json?: boolean;
  readonly strict?: boolean;
  readonly force?: boolean;
  /** Instead of what the drive says of itself. */
  readonly kind?: DriveKind;
  readonly sameDrive?: boolean;
  /** Percent of what was read that is read again in the end. */
  readonly compare?: number;
  /** Looks for no made-up data. */
  readonly trustData?: boolean;
  /** Whose case it is: case number, evidence number, who works on it, and a note. */
  readonly case?: string;
  readonly evidence?: string;
  readonly examiner?: string;
  readonly note?: string;
  /** Keeps no room for the image, and leaves zeros out. */
  readonly sparse?: boolean;
  /** False: nothing is hashed; or what the whole image is hashed with, comma-separated. */
  readonly hash?: string | boolean;
  /** Looks at everything in the image that has a hash before going on. */
  readonly verify?: boolean;
  /** What to do once the job has ended. */
  readonly then?: readonly string[];
  /** Goes on although the operating system may touch the source. */
  readonly osMayTouch?: boolean;
  /** False: the source is not set read-only for the operating system. */
  readonly setro?: boolean;
  /** Most bytes of one part of the image; absent: one file, or as the case began. */
  readonly split?: number;
}

/** Where a job writes to that makes no image of its own: `clone`. */
export interface Onto {
  readonly paths: CasePaths;
  /** Told who the drive is, before anything is written. Throws USAGE when that must not be. */
  form(drive: DriveIdentity, found: FoundCase, interrupt: Interrupt): Promise<ImageForm>;
  /** Once every pass is done. `note` puts on record, durably, what is about to be written into gaps. */
  finish(
    state: JobState,
    drive: DriveIdentity,
    signal: AbortSignal,
    note: (fill: FillRecord) => Promise<void>,
  ): Promise<void>;
}

/** Sectors remain unread, with `--strict`; or the image was changed. */
const exitNotAsItShould = 4;
/** What hashes may take that came with the last reads before an interruption. */
const flushWaitMs = 1000;
const exitHung = 32;
const exitInterrupted = 130;

/** `lastspin image DRIVE IMAGE`: returns the exit status. */
export async function image(spec: string, path: string, options: ImageOptions): Promise<number> {
  const result = await imageDrive(spec, path, options);
  process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : formatResult(result));
  return exitStatusWith(result, options.strict ?? false);
}

/** How the process ends with such a result: the job's own end, then what `--then verify` found, which is no failure
 * of an action, for the image is not what was read; then, where it is asked for, whether all of the domain was read. */
export function exitStatusWith(
  result: Pick<ImageResult, 'ended' | 'domain'> & {
    readonly actions: readonly Pick<ImageResult['actions'][number], 'verdict'>[];
  },
  isStrict: boolean,
): number {
  const { ended, domain, actions } = result;
  const isChanged = actions.some(({ verdict }) => verdict === 'changed');
  const isWhole = domain.finished === domain.total;
  return exitStatusOf(ended) || (isChanged || (isStrict && !isWhole) ? exitNotAsItShould : 0);
}

/** How the process ends when the job ended so. */
export function exitStatusOf(ended: ImageResult['ended']): number {
  switch (ended) {
    case 'finished':
      return 0;
    case 'interrupted':
      return exitInterrupted;
    case 'gave-up':
      return exitHung;
  }
}

/** Images the drive, or goes on doing so, and says what came of it. Throws a LastspinError for everything
 * that is not the drive's fault; the map is saved by then. */
export async function imageDrive(
  spec: string,
  path: string,
  options: ImageOptions,
  onto?: Onto,
): Promise<ImageResult> {
  // Before anything is opened: a mistyped row should not cost the drive a start.
  const chosen = options.preset === undefined ? undefined : loadPreset(options.preset);
  const domain = readDomain(options);
  const heads = headsFor(options.heads);
  const { case: number, evidence, examiner, note } = options;
  const caseData = caseDataFrom({ number, evidence, examiner, note });
  const whole = wholeAlgorithmsIn(options.hash);
  const actions = createActions(options.then ?? [], realClock(), say);
  if (!onto) refuseNoFile(spec, path);
  refuseInUse(spec);
  const interrupt = onInterrupt(
    'lastspin: stopping, the map is being saved (again: leave at once)',
  );
  const progress = createProgress(terminalOf(process.stderr), realClock());
  // A simulated drive sleeps with the computer.
  const isSimulated = spec.startsWith('sim:') || /[?&]scale=/.test(spec);
  const awake = isSimulated
    ? undefined
    : stayAwake(realClock(), (line) => progress.say(`lastspin: ${line}`));
  const after = createAfterwards(actions, onto?.paths ?? casePaths(path), interrupt, progress);
  try {
    const opened = await openPowered(spec, options.power, {
      ...(options.physicalSector && { physicalSectorBytes: options.physicalSector }),
      files: onto ? [path, onto.paths.map] : [path],
      say: (line) => progress.say(`lastspin: ${line}`),
      signal: interrupt.signal,
    });
    let result: ImageResult;
    try {
      actions.checkPowers(opened.powers);
      result = await imageOpened(
        spec,
        opened,
        path,
        {
          ...options,
          actions: actions.names,
          part: domain,
          headsOf: heads,
          caseData,
          whole,
          ...(onto && { onto }),
        },
        chosen,
        interrupt,
        progress,
        after,
      );
    } finally {
      await opened.close();
    }
    return await after.ended(result);
  } catch (error) {
    await after.failed(error);
    // A job that has begun ends in order by itself; this came before.
    if (error !== interrupt.signal.reason) throw error;
    throw new LastspinError('INTERRUPTED', 'interrupted before the first read');
  } finally {
    progress.end();
    awake?.end();
    interrupt.dispose();
  }
}

/** Throws USAGE for an IMAGE that can be no file, first of all for one that is the drive itself. */
function refuseNoFile(spec: string, path: string): void {
  if (path === '') throw new LastspinError('USAGE', 'IMAGE is empty: name the file to image into');
  let found: Stats;
  try {
    found = statSync(path);
  } catch {
    return; // Whoever makes it says what is in the way.
  }
  if (found.isFile() || found.isDirectory()) return;
  const source = hostPathOf(spec, thisHost);
  if (source !== undefined && existsSync(source)) refuseToTouchSource(source, casePaths(path));
  throw new LastspinError('USAGE', `${path} is no file; name a file to image into`);
}

async function imageOpened(
  spec: string,
  opened: PoweredDrive,
  path: string,
  options: ImageOptions & {
    readonly part: Part | undefined;
    /** What `--then` asked for, as it may be kept on record. */
    readonly actions: readonly string[];
    readonly headsOf: HeadsOf;
    readonly caseData: CaseData;
    readonly whole: readonly WholeAlgorithm[];
    readonly onto?: Onto;
  },
  chosen: Preset | undefined,
  interrupt: Interrupt,
  progress: Progress,
  after: Afterwards,
): Promise<ImageResult> {
  const { drive, clock, powers } = opened;
  const { onto } = options;
  const paths = onto?.paths ?? casePaths(path);
  if (opened.path !== undefined) refuseToTouchSource(opened.path, paths);
  const lock = await takeLock(paths.lock);
  let guard: SourceGuard | undefined;
  try {
    guard = await guardSource(opened.path, {
      osMayTouch: options.osMayTouch ?? false,
      setReadOnly: options.setro ?? true,
      say: (line) => progress.say(`lastspin: ${line}`),
      ask: askOnTerminal(interrupt.signal),
    });
    const force = options.force ?? false;
    // Before the drive is powered: it may not survive a start for nothing.
    const wish = { isFull: options.verify ?? false, say, signal: interrupt.signal };
    const found = await findCase(nodeFiles(), paths, force, wish, onto ? 'target' : 'image');
    // Until the job tells of it.
    let hasBegun = false;
    opened.onLineNotice?.((notice) => (hasBegun ? undefined : say(notice)));
    const atFirst = troublePolicies[options.kind ?? opened.kind ?? 'hdd'];
    const identity = await bringUp(drive, powers, atFirst, clock, interrupt.signal, say);
    const hiddenSectors = await countHidden(opened, identity);
    const kind = chooseKind({
      asked: options.kind,
      saved: parseSnapshot(found.saved?.state)?.driveKind,
      opened: opened.kind,
      identity,
    });
    for (const guard of opened.guards) await guardSilence(guard, kind);
    const heads = options.headsOf(identity);
    const form = await (onto?.form(identity, found, interrupt) ?? splitForm(identity, options));
    const preset = chosen ?? loadPreset(kindDefaults[kind].preset);
    const rescue = await openCase({
      found,
      drive: identity,
      driveKind: kind,
      passes: cappedRows(
        rowsOf(preset, driveFactsOf(drive, identity, kind, options)),
        options.maxRate,
      ),
      ...(options.part && { scope: options.part(identity) }),
      ...(heads !== undefined && { heads }),
      ...physicalCountFor(identity, options),
      ...(form && { form }),
      force,
      hashed: options.hash !== false,
      whole: options.whole,
      space: options.sparse ? 'sparse' : 'reserved',
      sameDrive: options.sameDrive ?? false,
      ...(options.compare !== undefined && { comparePercent: options.compare }),
      caseData: options.caseData,
      told: {
        source: spec,
        image: resolve(path),
        preset: preset.title,
        ...(hiddenSectors !== null && { hiddenSectors }),
        options: optionsTyped(options),
      },
      version,
      clock,
    });
    rescue.notices.forEach(say);
    const { state } = rescue;
    // An imager that passes on nothing of the drive's own words reads through an operating system.
    const isDirect = opened.isDirect ?? (opened.guard !== undefined && identity.kind !== undefined);
    const detector = detectorFor(kind, identity, isDirect, state.mediaRate);
    const startedAtMs = clock.now();
    const begunAtMs = wallMs();
    let elapsedMs = 0;
    const resultOf = (end: JobEnd, sums: readonly WholeSum[] = []) =>
      imageResult(end, state, {
        ...{ drive: identity, kind, paths, elapsedMs, hiddenSectors },
        hostAttached: guard?.attached() ?? null,
        wholeHashes: sums,
        logEnd: rescue.logEnd(),
      });
    const isOneFile = rescue.form.kind !== 'split';
    if (isOneFile && (!detector || options.trustData))
      await storeDirectly(drive, rescue, paths.image, options.sparse ?? false);
    const control = createControl();
    hasBegun = true;
    const releaseKeys = takeKeys(control, identity, state, interrupt, progress);
    try {
      const end = await runJob(
        {
          drive,
          powers,
          image: rescue.image,
          recorder: rescue.recorder,
          files: rescue,
          target: rescue.target,
          clock,
          identity,
          resumed: rescue.resumed,
          ...(heads !== undefined && { heads }),
          isTrusted: options.trustData ?? false,
          ...(detector && !options.trustData && { detector }),
          names: { drive: `${identity.model} ${identity.serial} (${spec})`, image: path },
          control,
          onEvent: (event, current) => {
            after.take(event);
            progress.onEvent(event, current);
          },
        },
        state,
        interrupt.signal,
      ).catch(async (error: unknown) => {
        await after.atDrive({ how: 'failed', why: failureOf(error) }, { drive, powers }, rescue);
        throw error;
      });
      if (drive.capabilities.park) await drive.park().catch(() => {});
      const leftOff = await after.atDrive(end, { drive, powers }, rescue);
      elapsedMs = clock.now() - startedAtMs;
      const isFinished = end.how === 'finished';
      // Whoever interrupts does not wait for a drive that may hang.
      const flushing = drive.flushHashes?.();
      await (isFinished ? flushing : Promise.race([flushing, clock.sleep(flushWaitMs)]));
      sayLost(path, rescue.lostBytes());
      const sums = await waitingForRoom(rescue, interrupt.signal, async () => {
        await rescue.noteHashes();
        sayChanged(path, await rescue.listHashes(isFinished));
        const note = (fill: FillRecord) => recordFill(rescue, fill, clock.now());
        if (isFinished) await onto?.finish(state, identity, interrupt.signal, note);
        return isFinished ? await hashWhole(rescue, path, identity, interrupt.signal) : [];
      });
      const known = { ...end, ...(leftOff && { leftOff }) };
      await after.atImage(resultOf(known, sums), rescue, begunAtMs);
      // The log has grown by what was done.
      return resultOf(known, sums);
    } catch (error) {
      elapsedMs ||= clock.now() - startedAtMs;
      const why = failureOf(error);
      await after.atImage(resultOf({ how: 'interrupted', why }), rescue, begunAtMs, error);
      throw error;
    } finally {
      releaseKeys();
      await rescue.close();
    }
  } finally {
    await guard?.close();
    await lock.release();
  }
}

async function recordFill({ state, recorder }: Case, fill: FillRecord, atMs: number) {
  const event = { kind: 'filled' as const, ...fill, atMs };
  foldJob(state, event);
  recorder.record(event, state);
  await recorder.checkpoint(state);
}

/** The options as they were typed, for the record: what others were made of them is left out, and for `then`, which
 * may hold secrets, stands `actions`. */
function optionsTyped(options: ImageOptions): object {
  const made = new Set([
    'then',
    'part',
    'headsOf',
    'caseData',
    'whole',
    'onto',
    'case',
    'evidence',
    'examiner',
    'note',
  ]);
  const isTyped = (value: unknown) => !Array.isArray(value) || value.length > 0;
  return Object.fromEntries(
    Object.entries(options).filter(([name, value]) => !made.has(name) && isTyped(value)),
  );
}

/** Sectors that the drive has and does not show, which no image will hold; null where it cannot be asked. */
async function countHidden(
  { questions }: PoweredDrive,
  { sectorCount }: DriveIdentity,
): Promise<number | null> {
  const { ata, commander } = questions?.() ?? {};
  if (!ata || !commander) return null;
  // What goes wrong with that goes wrong with a read soon, and is dealt with there.
  const told = await askHidden(commander, ata).catch(() => undefined);
  if (!told) return null;
  const { nativeSectorCount = 0, configurationSectorCount = 0 } = told;
  const hidden = Math.max(nativeSectorCount, configurationSectorCount) - sectorCount;
  if (hidden <= 0) return 0;
  say(`the drive hides ${hidden} sectors, which are not imaged and left as they are`);
  return hidden;
}

/** Does what is left to write when the job is over; a full disk is waited for as during the job. */
async function waitingForRoom<T>(
  { target }: Case,
  signal: AbortSignal,
  act: () => Promise<T>,
): Promise<T> {
  if (signal.aborted) target.giveUp();
  signal.addEventListener('abort', target.giveUp, { once: true });
  const leave = target.attend(() => {
    const full = target.full();
    if (full) say(describeFull(full));
  });
  try {
    return await act();
  } finally {
    leave();
    signal.removeEventListener('abort', target.giveUp);
  }
}

/** Parts, where they are asked for. */
function splitForm(
  { sectorBytes, sectorCount }: DriveIdentity,
  { split }: ImageOptions,
): ImageForm | undefined {
  if (split === undefined) return undefined;
  return { kind: 'split', partBytes: splitSize(split, sectorBytes, sectorCount * sectorBytes) };
}

/** Lets the path to the drive write the image where it can: data that nobody here looks at need not pass through. */
async function storeDirectly(
  drive: Drive,
  rescue: Case,
  path: string,
  isSparse: boolean,
): Promise<void> {
  if (!drive.storeInto) return;
  await rescue.beforeStoring();
  const { dev: device, ino: inode } = statSync(path, { bigint: true });
  await drive.storeInto({
    path: resolve(path),
    device,
    inode,
    segmentBytes: rescue.hashes?.segmentBytes ?? 0,
    isSparse,
    whole: rescue.whole,
    onHash: rescue.takeHash,
  });
}

/** The hashes of the whole image that are wanted. Whoever does not wait for the image to be read back has none. */
async function hashWhole(
  rescue: Case,
  path: string,
  drive: DriveIdentity,
  signal: AbortSignal,
): Promise<WholeSum[]> {
  const parts = await storedPaths(nodeFiles(), path);
  try {
    return await rescue.hashWhole((algorithms) => {
      say(`reading ${path} once more for its ${algorithms.join(' and ')}`);
      return hashWholeImage(
        parts,
        heldCount(rescue.form, drive) * drive.sectorBytes,
        algorithms,
        signal,
      );
    });
  } catch (error) {
    if (error !== signal.reason) throw error;
    say(`the whole image is not hashed; run the same command again for that`);
    return [];
  }
}

/** `sha256,md5` of `--hash`. Throws USAGE. */
function wholeAlgorithmsIn(words: string | boolean | undefined): WholeAlgorithm[] {
  if (typeof words !== 'string') return [];
  return words.split(',').map((word) => {
    const found = wholeAlgorithms.find((algorithm) => algorithm === word.trim().toLowerCase());
    if (found) return found;
    throw new LastspinError(
      'USAGE',
      `--hash ${words}: '${word}' is no hash; there are ${wholeAlgorithms.join(', ')}, comma-separated`,
    );
  });
}

/** Keys change the job where somebody sits before it. */
function takeKeys(
  control: JobControl,
  drive: DriveIdentity,
  state: JobState,
  { interrupt }: Interrupt,
  progress: Progress,
): () => void {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return () => {};
  const { footer, say: sayAbove } = progress;
  const isPaused = () => state.paused;
  return attendKeys(process.stdin, { control, drive, isPaused, footer, say: sayAbove, interrupt });
}

/** The head map for a drive; null for none any more, undefined where nothing is said of it. */
type HeadsOf = (drive: DriveIdentity) => HeadMapData | null | undefined;

function headsFor(path: string | undefined): HeadsOf {
  if (path === undefined) return () => undefined;
  return path === 'none' ? () => null : loadHeadMap(path);
}

/** The rows with a cap on their rate, where one is given. */
function cappedRows(rows: readonly Pass[], bytesPerSecondMax = 0): readonly Pass[] {
  if (bytesPerSecondMax === 0) return rows;
  const capped = <Row extends { readonly bytesPerSecondMax?: number }>(row: Row): Row => ({
    ...row,
    bytesPerSecondMax: Math.min(row.bytesPerSecondMax || Infinity, bytesPerSecondMax),
  });
  // A head without a cap of its own has the row's.
  const cappedHead = (head: PerHead) =>
    head.bytesPerSecondMax === undefined ? head : capped(head);
  return rows.map((row) => ({
    ...capped(row),
    ...(row.perHead && { perHead: row.perHead.map(cappedHead) }),
  }));
}

/** A line for the user that is no error. */
function say(line: string): void {
  process.stderr.write(`lastspin: ${line}\n`);
}

/** Whoever interrupted did not wait for the image to be looked at. */
function sayLost(path: string, lostBytes: number): void {
  if (lostBytes === 0) return;
  say(
    `something took ${formatBytes(lostBytes)} out of ${path} while this job ran; run the same command again with --verify to read that again`,
  );
}

/** What the hashes were read back for told of the image. */
function sayChanged(path: string, changed: readonly Extent[]): void {
  const [first] = changed;
  if (!first) return;
  say(
    `${path} was changed while this job ran, at LBA ${first.lba} to ${endOf(first) - 1}${changed.length > 1 ? ` and ${changed.length - 1} other places` : ''}; run the same command again with --verify to read that again`,
  );
}

/** What the rows of a preset depend on, for this drive and these options. */
function driveFactsOf(
  drive: Drive,
  identity: DriveIdentity,
  kind: DriveKind,
  options: ImageOptions,
): DriveFacts {
  const { sectorCount, sectorBytes } = identity;
  return {
    sectorCount,
    sectorBytes,
    readCountMax: drive.capabilities.readCountMax,
    ...(drive.capabilities.readCountBest && { readCountBest: drive.capabilities.readCountBest }),
    physicalCount: physicalCountFor(identity, options).physicalCount ?? physicalCountOf(identity),
    kind,
    ...(options.retries !== undefined && { retries: options.retries }),
    ...(options.readTimeout !== undefined && { readTimeoutMs: options.readTimeout }),
    ...(options.minRate !== undefined && { bytesPerSecondMin: options.minRate }),
  };
}

function physicalCountFor(
  drive: DriveIdentity,
  { physicalSector }: ImageOptions,
): { physicalCount?: number } {
  if (physicalSector === undefined) return {};
  const physicalCount = physicalSector / drive.sectorBytes;
  if (Number.isInteger(physicalCount) && physicalCount >= 1 && physicalCount <= 64)
    return { physicalCount };
  throw new LastspinError(
    'USAGE',
    `--physical-sector ${physicalSector} is not 1 to 64 times the drive's ${drive.sectorBytes}-byte sectors`,
  );
}
