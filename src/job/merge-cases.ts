/** Images of one drive, with their maps, merged into one that a job can go on with. */

import type { Clock } from '../clock.js';
import type { DriveIdentity } from '../drive/drive.js';
import { LastspinError } from '../errors.js';
import { loadCheckpoint, saveCheckpoint } from '../image/checkpoint.js';
import type { FileLayer, OpenFile } from '../image/file-layer.js';
import { type Conflict, type MergedImage, type MergeSource, mergeImages } from '../image/merge.js';
import { replaceFile } from '../image/replace-file.js';
import { alignToSectors } from '../map/algebra.js';
import { openEnd, type Runs, runsBuilder, walk } from '../map/algebra-runs.js';
import { formatByteMap } from '../map/algebra-writer.js';
import { endOf } from '../map/extent.js';
import { layersMax } from '../map/layers.js';
import { byteMapOf, sectorMapOf } from '../map/mapfile.js';
import { statuses } from '../map/status.js';
import { createPlanState } from '../plan/state.js';
import { type DriveKind, troublePolicies } from '../power/policy.js';
import { type CasePaths, recallState } from './case-files.js';
import { settleTrouble, snapshotOf } from './snapshot.js';
import { createJobState, type JobState, type MergeNote } from './state.js';

/** An image and the map that belongs to it. */
export interface MergePaths {
  readonly image: string;
  readonly map: string;
}

export interface MergeCasesOptions {
  readonly inputs: readonly MergePaths[];
  readonly out: CasePaths;
  /** Take the version that more than half of the images have. */
  readonly majority: boolean;
  /** Index of the input whose version is taken where no majority decides. */
  readonly prefer?: number;
  /** The user's word that the images are of one drive, although their maps name several, or sizes differ. */
  readonly sameDrive: boolean;
  /** Replace what an earlier merge left, believe a map that is not as it was written, and do not insist on disk
   * space. */
  readonly force: boolean;
  /** What counts as a sector where no map tells. */
  readonly sectorBytes: number;
  readonly version: string;
  readonly clock: Clock;
  readonly onProgress?: (bytes: number, sizeBytes: number) => void;
  readonly onConflict?: (conflict: Conflict, sectorBytes: number) => void;
  readonly signal?: AbortSignal;
}

/** One of the images, as it was found. */
export interface MergeInput extends MergePaths {
  /** Absent where another program wrote the map. */
  readonly drive?: DriveIdentity;
  readonly kind?: DriveKind;
  readonly state?: JobState;
  /** In bytes. */
  readonly runs: Runs;
  readonly sizeBytes: number;
}

export interface MergedCase {
  readonly inputs: readonly MergeInput[];
  /** Who the result says that it is of; undefined where nobody knows. */
  readonly drive: DriveIdentity | undefined;
  readonly sectorBytes: number;
  readonly sizeBytes: number;
  readonly merged: MergedImage;
  readonly conflicts: ConflictCounts;
  readonly elapsedMs: number;
}

/** Sectors in dispute. */
export interface ConflictCounts {
  /** How many stretches the sectors are in. */
  extents: number;
  sectors: number;
  byMajority: number;
  byPreference: number;
  unresolved: number;
}

/** What the comments of a merged map begin with. */
const mergeComment = 'lastspin-merge: ';
const commentCharactersMax = 1000;

/** Merges the images into `out.image`, and writes its map last: what it claims is in the image by then. While the
 * merge runs, and when it fails, the image has another name (`mergingPath`).
 * Throws USAGE, IMAGE_EXISTS, IMAGE_MISMATCH, IMAGE_SPACE, MAP_INVALID, MAP_MISMATCH, DRIVE_CHANGED, FILE_FAILED, and the
 * signal's reason. */
export async function mergeCases(
  files: FileLayer,
  options: MergeCasesOptions,
): Promise<MergedCase> {
  const { out, clock, force } = options;
  const startedAtMs = clock.now();
  requireFew(options.inputs);
  const inputs: MergeInput[] = [];
  for (const paths of options.inputs) inputs.push(await loadInput(files, paths, force));
  const alike = requireAlike(inputs, options);
  await requireFree(files, out, force);
  await requireRoom(files, out.image, inputs, alike.sizeBytes, force);
  const temporary = mergingPath(out.image);
  const counts = noConflicts();
  try {
    const merged = await mergeInto(files, temporary, inputs, alike, options, counts);
    await putInPlace(files, temporary, out, () =>
      saveMerged(files, inputs, alike, merged, counts, options),
    );
    const elapsedMs = clock.now() - startedAtMs;
    return { inputs, ...alike, merged, conflicts: counts, elapsedMs };
  } catch (error) {
    for (const path of [temporary, listPath(out)]) await files.remove(path).catch(() => {});
    throw error;
  }
}

/** What the image is called until it is whole. */
export function mergingPath(image: string): string {
  return `${image}.merging`;
}

/** What the list of conflicts is called until then. */
function listPath({ conflicts }: CasePaths): string {
  return `${conflicts}.tmp`;
}

function noConflicts(): ConflictCounts {
  return { extents: 0, sectors: 0, byMajority: 0, byPreference: 0, unresolved: 0 };
}

function requireFew(inputs: readonly MergePaths[]): void {
  if (inputs.length >= 2 && inputs.length <= layersMax) return;
  throw new LastspinError('USAGE', `2 to ${layersMax} images can be merged, not ${inputs.length}`);
}

async function loadInput(
  files: FileLayer,
  { image, map }: MergePaths,
  force: boolean,
): Promise<MergeInput> {
  const saved = await loadCheckpoint(files, map);
  if (!saved) {
    throw new LastspinError('MAP_INVALID', `${image} has no map ${map}; name it as ${image}:MAP`);
  }
  if (saved.damaged && !force) {
    throw new LastspinError(
      'MAP_INVALID',
      `${map} is not as lastspin wrote it; bring back a copy, or --force to believe what it says now`,
    );
  }
  const imageBytes = await sizeOf(files, image);
  const recalled = await recallState(files, map);
  if (!recalled) {
    const runs = exactRuns(saved.map, map);
    requireHeld({ image, map }, runs, imageBytes);
    return { image, map, runs, sizeBytes: runs.end === openEnd ? imageBytes : runs.end };
  }
  const { state, drive, driveKind } = recalled;
  settleTrouble(state);
  const runs = byteMapOf(state.plan.map, drive.sectorBytes);
  requireHeld({ image, map }, runs, imageBytes);
  return { image, map, runs, sizeBytes: runs.end, drive, kind: driveKind, state };
}

async function sizeOf(files: FileLayer, path: string): Promise<number> {
  const file = await files.open(path, { readOnly: true });
  try {
    return await file.size();
  } finally {
    await file.close();
  }
}

/** Refuses what a double cannot compute with: anything above 2^53 but ddrescue's open end. */
function exactRuns({ starts, codes, end }: Runs, map: string): Runs {
  const isEndExact = end <= Number.MAX_SAFE_INTEGER || end === openEnd;
  if (isEndExact && (starts.at(-1) ?? 0) <= Number.MAX_SAFE_INTEGER) return { starts, codes, end };
  throw new LastspinError(
    'MAP_INVALID',
    `${map}: a position above 2^53 bytes, no drive is that large`,
  );
}

/** A map that claims what its image cannot hold is another image's. */
function requireHeld({ image, map }: MergePaths, runs: Runs, imageBytes: number): void {
  const last = runs.codes.lastIndexOf(statuses.finished);
  if (last < 0) return;
  const end = last + 1 < runs.starts.length ? runs.starts[last + 1]! : runs.end;
  if (end <= imageBytes) return;
  throw new LastspinError(
    'IMAGE_MISMATCH',
    `${map} calls bytes up to ${end} finished, but ${image} has ${imageBytes}: it was cut, or is not this map's image`,
  );
}

/** What all inputs have in common. */
interface Alike {
  readonly drive: DriveIdentity | undefined;
  readonly sectorBytes: number;
  readonly sizeBytes: number;
}

/** The drive that all are images of. Where sectors have different sizes the smaller ones count: nothing that one
 * image holds is lost for being half a sector of another. */
function requireAlike(inputs: readonly MergeInput[], options: MergeCasesOptions): Alike {
  const { sameDrive } = options;
  const known = inputs.filter((input) => input.drive !== undefined);
  const sizeBytes = Math.max(...inputs.map((input) => input.sizeBytes));
  if (sizeBytes === 0)
    throw new LastspinError('USAGE', 'the maps speak of nothing: nothing to merge');
  if (!sameDrive) {
    for (const input of known) refuseOtherDrive(known[0]!, input);
    for (const input of inputs) refuseOtherSize(inputs[0]!, input);
  }
  const sectorSizes = known.map(({ drive }) => drive!.sectorBytes);
  const sectorBytes = known.length > 0 ? Math.min(...sectorSizes) : options.sectorBytes;
  const odd = sectorSizes.find((bytes) => bytes % sectorBytes !== 0);
  if (odd !== undefined) {
    throw new LastspinError(
      'MAP_MISMATCH',
      `sectors of ${odd} and of ${sectorBytes} bytes do not divide: images of such drives cannot be merged`,
    );
  }
  // Who knows only a smaller drive does not name the whole one.
  const named = known.find(
    ({ drive, sizeBytes: own }) => drive!.sectorBytes === sectorBytes && own === sizeBytes,
  );
  return { drive: named?.drive, sectorBytes, sizeBytes };
}

function refuseOtherDrive(one: MergeInput, other: MergeInput): void {
  const [first, second] = [one.drive!, other.drive!];
  if (first.model === second.model && first.serial === second.serial) return;
  const nameOf = ({ model, serial }: DriveIdentity) => `${model} ${serial}`.trim();
  throw new LastspinError(
    'DRIVE_CHANGED',
    `${one.image} is of ${nameOf(first)}, ${other.image} of ${nameOf(second)}; add --same-drive if that is one drive behind two adapters`,
  );
}

function refuseOtherSize(one: MergeInput, other: MergeInput): void {
  if (one.sizeBytes === other.sizeBytes) return;
  throw new LastspinError(
    'MAP_MISMATCH',
    `${one.map} is about ${one.sizeBytes} bytes, ${other.map} about ${other.sizeBytes}; add --same-drive if the smaller is the beginning of the same drive`,
  );
}

/** Refuses to touch a case, but for one that a merge made and nothing has gone on with. */
async function requireFree(files: FileLayer, out: CasePaths, force: boolean): Promise<void> {
  const { image, map, journal, events, hashes, versions, conflicts, report } = out;
  const found: string[] = [];
  for (const path of [image, map, journal, events, versions, hashes, conflicts, report]) {
    if (await files.exists(path)) found.push(path);
  }
  if (found.length === 0) return;
  const advice = `give another name${force ? '' : ', or --force if a merge made it'}`;
  const isGoneOnWith = [journal, events, versions, report].some((path) => found.includes(path));
  const isMerged = force && !isGoneOnWith;
  if (isMerged && (await isMergeMap(files, map))) return;
  const what = force ? 'is not what a merge left: it is not replaced' : 'exists';
  throw new LastspinError('IMAGE_EXISTS', `${found[0]} ${what}; ${advice}`);
}

async function isMergeMap(files: FileLayer, map: string): Promise<boolean> {
  const saved = await loadCheckpoint(files, map);
  return saved?.map.comments.some((line) => line.startsWith(` ${mergeComment}`)) ?? false;
}

/** Refuses a disk that cannot hold what the images hold together. */
async function requireRoom(
  files: FileLayer,
  path: string,
  inputs: readonly MergeInput[],
  sizeBytes: number,
  force: boolean,
): Promise<void> {
  if (force) return;
  let allocatedBytes = 0;
  for (const { image } of inputs) allocatedBytes += await allocatedOf(files, image);
  const neededBytes = Math.min(heldBytes(inputs), allocatedBytes, sizeBytes);
  const freeBytes = await files.freeBytes(path);
  if (freeBytes >= neededBytes) return;
  throw new LastspinError(
    'IMAGE_SPACE',
    `no room for ${path}: it needs up to ${neededBytes} bytes, ${freeBytes} are free; free some, put it on a larger disk, or --force to try`,
  );
}

async function allocatedOf(files: FileLayer, path: string): Promise<number> {
  const file = await files.open(path, { readOnly: true });
  try {
    return await file.allocatedBytes();
  } finally {
    await file.close();
  }
}

/** Bytes that at least one image holds. */
function heldBytes(inputs: readonly MergeInput[]): number {
  let bytes = 0;
  walk(
    inputs.map(({ runs }) => runs),
    (from, to, codes) => {
      if (codes.includes(statuses.finished)) bytes += to - from;
    },
  );
  return bytes;
}

/** Writes the image, and the list of conflicts where there are any, under their temporary names; both durable. */
async function mergeInto(
  files: FileLayer,
  temporary: string,
  inputs: readonly MergeInput[],
  { sectorBytes, sizeBytes }: Alike,
  options: MergeCasesOptions,
  counts: ConflictCounts,
): Promise<MergedImage> {
  const { majority, prefer, out, onProgress, signal } = options;
  // A merge that was killed left them; the lock says that none is under way.
  for (const path of [temporary, listPath(out)]) await files.remove(path);
  const list = conflictList(files, listPath(out), inputs, sectorBytes);
  const opened: Pick<OpenFile, 'close'>[] = [list];
  const open = async (path: string, how: Parameters<FileLayer['open']>[1]) => {
    const file = await files.open(path, how);
    opened.push(file);
    return file;
  };
  try {
    const target = await open(temporary, { create: true, exclusive: true });
    await target.truncate(sizeBytes);
    const sources: MergeSource[] = [];
    for (const { image: path, runs } of inputs) {
      const file = await open(path, { readOnly: true });
      const map = alignToSectors(clipped(runs, sizeBytes), sectorBytes);
      sources.push({ path, file, map });
    }
    const merged = await mergeImages({
      ...{ sources, sectorBytes, sizeBytes, target },
      rule: { majority, ...(prefer !== undefined && { prefer }) },
      async onConflict(conflict) {
        countConflict(counts, conflict, sectorBytes);
        options.onConflict?.(conflict, sectorBytes);
        await list.add(conflict);
      },
      ...(onProgress && { onProgress: (bytes) => onProgress(bytes, sizeBytes) }),
      ...(signal && { signal }),
    });
    await list.keep();
    await target.sync();
    signal?.throwIfAborted();
    return merged;
  } finally {
    for (const file of opened) await file.close();
  }
}

/** A map without what it says beyond the end of the drive. */
function clipped(runs: Runs, sizeBytes: number): Runs {
  if (runs.end <= sizeBytes) return runs;
  const builder = runsBuilder(runs.starts.length);
  walk([runs], (from, to, [code]) => builder.append(from, Math.min(to, sizeBytes), code!));
  return builder.finish();
}

function countConflict(counts: ConflictCounts, conflict: Conflict, sectorBytes: number): void {
  const sectors = Math.ceil((conflict.to - conflict.from) / sectorBytes);
  counts.extents += 1;
  counts.sectors += sectors;
  if (!conflict.taken) counts.unresolved += sectors;
  else if (conflict.taken.by === 'majority') counts.byMajority += sectors;
  else counts.byPreference += sectors;
}

const listHead = 'first_lba,last_lba,image,sha256,first_bytes,taken\n';
const listPieceBytes = 64 * 1024;

/** The list of conflicts, a line for each image and conflict. Without conflicts there is no file. */
function conflictList(
  files: FileLayer,
  path: string,
  inputs: readonly MergeInput[],
  sectorBytes: number,
) {
  let file: OpenFile | undefined;
  let text = '';
  let sizeBytes = 0;
  const flush = async () => {
    file ??= await files.open(path, { create: true, exclusive: true });
    const bytes = Buffer.from(text);
    text = '';
    await file.write(bytes, sizeBytes);
    sizeBytes += bytes.length;
  };
  return {
    async add(conflict: Conflict): Promise<void> {
      if (!file && text === '') text = listHead;
      text += linesOf(conflict, inputs, sectorBytes);
      if (text.length > listPieceBytes) await flush();
    },
    async keep(): Promise<void> {
      if (text !== '') await flush();
      await file?.sync();
    },
    close: async () => file?.close(),
  };
}

function linesOf(
  { from, to, versions, taken }: Conflict,
  inputs: readonly MergeInput[],
  sectorBytes: number,
): string {
  const first = Math.floor(from / sectorBytes);
  const last = Math.ceil(to / sectorBytes) - 1;
  return versions
    .flatMap(({ sources, sha256, firstBytes }, index) => {
      const bytes = Buffer.from(firstBytes).toString('hex');
      const outcome = taken?.version === index ? taken.by : '';
      return sources.map(
        (source) =>
          `${first},${last},${csvField(inputs[source]!.image)},${sha256},${bytes},${outcome}\n`,
      );
    })
    .join('');
}

/** Quoted where it must be (RFC 4180); control characters would break the line. */
function csvField(text: string): string {
  const plain = text.replaceAll(/\p{Cc}/gu, '\ufffd');
  return /[",]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

/** The old map goes first and the new one comes last: at no moment does a map speak of another image. */
async function putInPlace(
  files: FileLayer,
  temporary: string,
  out: CasePaths,
  saveMap: () => Promise<void>,
): Promise<void> {
  for (const path of [out.map, out.hashes, out.conflicts]) await files.remove(path);
  await files.syncDirectory(out.map);
  const list = `${out.conflicts}.tmp`;
  if (await files.exists(list)) await files.rename(list, out.conflicts);
  await files.rename(temporary, out.image);
  await files.syncDirectory(out.image);
  await saveMap();
}

/** A map that `image` goes on with and that knows its drive; where nobody does, a plain one. */
async function saveMerged(
  files: FileLayer,
  inputs: readonly MergeInput[],
  { drive, sectorBytes, sizeBytes }: Alike,
  { map: runs }: MergedImage,
  counts: ConflictCounts,
  options: MergeCasesOptions,
): Promise<void> {
  const { out, version } = options;
  const note = noteOf(inputs, counts, options);
  const comments = commentsOf(note);
  const isFinished = runs.codes.every((code) => code === statuses.finished);
  const line = {
    currentPosition: 0,
    currentStatus: isFinished ? '+' : '?',
    currentPass: 1,
  } as const;
  if (!drive) {
    const pieces = formatByteMap({ ...runs, ...line, version, comments });
    await replaceFile(files, out.map, async (file) => {
      let position = 0;
      for (const piece of pieces) {
        await file.write(piece, position);
        position += piece.length;
      }
    });
    return;
  }
  const map = sectorMapOf({ ...runs, ...line, comments: [] }, drive, out.map);
  const base = inputs.find((input) => input.drive === drive)!;
  const state = createJobState(
    createPlanState({
      sectorCount: sizeBytes / sectorBytes,
      sectorBytes,
      physicalCount: base.state!.plan.physicalCount,
      physicalKnown: base.state!.plan.physicalKnown,
      passes: [],
      map,
    }),
    troublePolicies[base.kind!],
  );
  adoptRecord(state, base, inputs);
  state.merged = note;
  const snapshot = snapshotOf(state, drive, base.kind!);
  await saveCheckpoint(files, out.map, {
    number: 1,
    map,
    sectorBytes,
    version,
    ...line,
    state: snapshot,
    comments,
  });
}

/** For people, and for a later merge to know its own. */
function commentsOf({ images, conflicts, unresolved }: MergeNote): string[] {
  const plain = (text: string) =>
    text.replaceAll(/\p{Cc}/gu, '\ufffd').slice(0, commentCharactersMax);
  return [
    `${mergeComment}${images.length} images, ${conflicts} sectors in conflict, ${unresolved} of them left unread`,
    ...images.map(({ image }) => `${mergeComment}from ${plain(image)}`),
  ];
}

function noteOf(
  inputs: readonly MergeInput[],
  counts: ConflictCounts,
  { majority, prefer }: MergeCasesOptions,
): MergeNote {
  return {
    images: inputs.map(({ image, drive }) => ({
      image,
      ...(drive && { model: drive.model, serial: drive.serial }),
    })),
    majority,
    ...(prefer !== undefined && { prefer: inputs[prefer]!.image }),
    conflicts: counts.sectors,
    unresolved: counts.unresolved,
  };
}

/** What the inputs knew of the drive and what was done to it, together. */
function adoptRecord(state: JobState, base: MergeInput, inputs: readonly MergeInput[]): void {
  const { sectorBytes, sectorCount } = state.plan;
  const former = new Map<string, DriveIdentity>();
  for (const input of inputs) {
    if (!input.state || !input.drive) continue;
    for (const each of [...input.state.formerDrives, input.drive])
      former.set(JSON.stringify(each), each);
    for (const name of Object.keys(state.totals) as (keyof typeof state.totals)[])
      state.totals[name] += input.state.totals[name];
    const scale = input.drive.sectorBytes / sectorBytes;
    input.state.compare.unstable.forEachRun((lba, count, value) => {
      const area = { lba: lba * scale, count: count * scale };
      if (value !== 0 && endOf(area) <= sectorCount) state.compare.unstable.set(area, value);
    });
    state.mediaRate = Math.max(state.mediaRate, input.state.mediaRate);
  }
  former.delete(JSON.stringify(base.drive));
  state.formerDrives = [...former.values()];
  const { given } = base.state!.plan.learned;
  if (given) state.plan.learned.given = given;
}
