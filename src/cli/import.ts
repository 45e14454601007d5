/** `lastspin import PROJECT IMAGE`: goes on with what another program has begun. */

import { statSync } from 'node:fs';
import { LastspinError } from '../errors.js';
import { type LoadedCheckpoint, loadCheckpoint } from '../image/checkpoint.js';
import type { FileLayer } from '../image/file-layer.js';
import { takeLock } from '../image/lock.js';
import { nodeFiles } from '../image/node-files.js';
import { replaceFile } from '../image/replace-file.js';
import { openStored, storedPaths, wholeName } from '../image/split-file.js';
import { casePaths } from '../job/case.js';
import { formatByteMap } from '../map/algebra-writer.js';
import { byteStatistics, type ParsedMap } from '../map/mapfile.js';
import { createOscLogParser, isOscLog } from '../map/osc-log.js';
import { statuses, statusNames } from '../map/status.js';
import { countsOf, formatImport, type ImportResult } from '../show/exchange.js';
import { isChangedCase } from './export.js';
import { exact, print, usage } from './map-files.js';
import { version } from './version.js';

export interface ImportOptions {
  readonly json?: boolean;
  readonly force?: boolean;
}

/** `lastspin import PROJECT IMAGE`: returns the exit status. */
export async function importProject(
  project: string,
  image: string,
  options: ImportOptions,
): Promise<number> {
  const files = nodeFiles();
  const paths = casePaths(wholeName(image));
  const [first = image] = await storedPaths(files, image);
  requireImage(first);
  requireElsewhere(project, paths.map, image);
  const lock = await takeLock(paths.lock);
  try {
    await requireNoMap(files, paths.map, options);
    const found = await readProject(files, project);
    const imageBytes = await storedBytes(files, image);
    requireHeld({ project, image, imageBytes }, found.map, options);
    await writeImported(files, paths.map, project, found.map);
    const result = resultOf({ project, image, imageBytes, map: paths.map }, found);
    await print(options.json ? `${JSON.stringify(result)}\n` : formatImport(result));
    return 0;
  } finally {
    await lock.release();
  }
}

async function storedBytes(files: FileLayer, image: string): Promise<number> {
  const stored = await openStored(files, image, { readOnly: true });
  try {
    return await stored.size();
  } finally {
    await stored.close();
  }
}

function requireImage(image: string): void {
  const found = statSync(image, { throwIfNoEntry: false });
  if (!found) throw usage(`${image} does not exist; name the image that the project wrote`);
  if (!found.isFile()) throw usage(`${image} is no file; only images in files are gone on with`);
}

/** A map that stands where the case looks for it needs no import. */
function requireElsewhere(project: string, map: string, image: string): void {
  const from = statSync(project, { throwIfNoEntry: false });
  if (!from) throw usage(`${project} does not exist; name a map file or a progress log`);
  if (!from.isFile()) throw usage(`${project} is no file; name a map file or a progress log`);
  const to = statSync(map, { throwIfNoEntry: false });
  if (to?.dev !== from.dev || to.ino !== from.ino) return;
  throw usage(
    `${project} is already where ${image} has its map: npx lastspin image DRIVE ${image} goes on with it`,
  );
}

async function requireNoMap(
  files: FileLayer,
  map: string,
  { force }: ImportOptions,
): Promise<void> {
  if (!force && (await files.exists(map)))
    throw usage(`${map} exists: the image is a case already; --force replaces its map`);
}

/** A project of another program. */
interface Project {
  readonly from: ImportResult['from'];
  readonly map: Omit<ParsedMap, 'comments'>;
  readonly drive: ImportResult['drive'];
  readonly unknownBlocks: number;
}

async function readProject(files: FileLayer, path: string): Promise<Project> {
  const beginning = await beginningOf(files, path);
  if (isOscLog(beginning)) return await readOscLog(files, path);
  const saved = await loadCheckpoint(files, path);
  if (!saved) throw usage(`${path} does not exist`);
  refuseOwn(saved, path);
  refuseMoved(saved.map, path);
  if (saved.map.starts.length === 0) {
    throw new LastspinError('MAP_INVALID', `${path}: no block; name a map file or a progress log`);
  }
  return { from: 'ddrescue', map: exact(saved.map, path), drive: null, unknownBlocks: 0 };
}

/** Comments of a log come to some ten thousand characters. */
const beginningBytes = 1 << 20;

async function beginningOf(files: FileLayer, path: string): Promise<string> {
  const file = await files.open(path, { readOnly: true });
  try {
    const bytes = new Uint8Array(Math.min(beginningBytes, await file.size()));
    return Buffer.from(bytes.subarray(0, await file.read(bytes, 0))).toString('latin1');
  } finally {
    await file.close();
  }
}

async function readOscLog(files: FileLayer, path: string): Promise<Project> {
  const parser = createOscLogParser(path);
  const file = await files.open(path, { readOnly: true });
  try {
    const buffer = new Uint8Array(1 << 20);
    for (let position = 0; ; ) {
      const byteCount = await file.read(buffer, position);
      if (byteCount === 0) break;
      parser.push(buffer.subarray(0, byteCount));
      position += byteCount;
    }
  } finally {
    await file.close();
  }
  const { model, serial, unknownCount, ...map } = parser.finish();
  const drive = model === '' && serial === '' ? null : { model, serial };
  return {
    from: 'opensuperclone',
    map: { ...map, currentPass: 1 },
    drive,
    unknownBlocks: unknownCount,
  };
}

/** Our own map would lose what it knows of its drive: whose it is, and why areas were left. */
function refuseOwn(saved: LoadedCheckpoint, path: string): void {
  if (saved.foreign && !isChangedCase(saved)) return;
  throw usage(
    `${path} is a map of lastspin's own; rename it, with its .journal, to stand beside the image`,
  );
}

/** ddrescue writes an image elsewhere than it reads when told so (-o); then no sector is where the map says. */
function refuseMoved(map: ParsedMap, path: string): void {
  const command = map.comments.find((comment) => /^ Command line: \S*ddrescue /.test(comment));
  const words = command?.split(/\s+/) ?? [];
  const option = (short: string, long: RegExp): string | undefined => {
    const at = words.findIndex((word) => word.startsWith(short) || long.test(word));
    if (at < 0) return undefined;
    const word = words[at]!;
    if (word === short || (word.startsWith('--') && !word.includes('='))) return words[at + 1];
    return word.startsWith('--') ? word.slice(word.indexOf('=') + 1) : word.slice(short.length);
  };
  const output = option('-o', /^--outp/);
  if (output === undefined || output === (option('-i', /^--inp/) ?? '0')) return;
  throw new LastspinError(
    'MAP_MISMATCH',
    `${path}: its image was written at another offset (-o ${output}): what it holds is not where the drive has it`,
  );
}

interface Places {
  readonly project: string;
  readonly image: string;
  readonly imageBytes: number;
}

/** The map must not claim what the image does not hold. An image may be shorter than the drive, as far as it was read. */
function requireHeld(
  { project, image, imageBytes }: Places,
  map: Project['map'],
  { force }: ImportOptions,
): void {
  const last = map.codes.lastIndexOf(statuses.finished);
  const claimedBytes = last < 0 ? 0 : (map.starts[last + 1] ?? map.end);
  if (claimedBytes > imageBytes) {
    throw new LastspinError(
      'IMAGE_MISMATCH',
      `${project} says that bytes up to ${claimedBytes} are finished, but ${image} ends at ${imageBytes}: it is another project's image, or it was cut`,
    );
  }
  if (imageBytes <= map.end || force) return;
  throw new LastspinError(
    'IMAGE_MISMATCH',
    `${image} has ${imageBytes} bytes, but ${project} is about ${map.end}: it is another project's image; --force if you know better`,
  );
}

async function writeImported(
  files: FileLayer,
  path: string,
  project: string,
  map: Project['map'],
): Promise<void> {
  const content = {
    ...map,
    version,
    madeBy: 'Imported by',
    comments: [`Taken over from ${project}`],
  };
  await replaceFile(files, path, async (file) => {
    let position = 0;
    for (const piece of formatByteMap(content)) {
      await file.write(piece, position);
      position += piece.length;
    }
  });
}

function resultOf(
  places: Places & { readonly map: string },
  { from, map, drive, unknownBlocks }: Project,
): ImportResult {
  // ddrescue leaves the end open where it could not learn the drive's size.
  const isOpen = map.end > Number.MAX_SAFE_INTEGER;
  const end = isOpen ? Math.max(places.imageBytes, map.starts.at(-1) ?? 0) : map.end;
  const statistics = byteStatistics({ ...map, end, comments: [] });
  return {
    schema: 'lastspin/import-result/1',
    from,
    ...places,
    drive,
    bytes: countsOf(statusNames.map((name) => statistics[name].bytes)),
    areas: map.starts.length,
    unknownBlocks,
  };
}
