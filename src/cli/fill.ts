import { existsSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { realClock, wallMs } from '../clock.js';
import { LastspinError } from '../errors.js';
import { statusByByte } from '../image/byte-map.js';
import type { FileLayer } from '../image/file-layer.js';
import { type Fills, fillGaps, gapKindOf, parseFill } from '../image/fill.js';
import { takeLock } from '../image/lock.js';
import { nodeFiles } from '../image/node-files.js';
import { openStored, partPath, wholeName } from '../image/split-file.js';
import { type CasePaths, casePaths, noteFill } from '../job/case-files.js';
import { wholeAlgorithms } from '../segment-hasher.js';
import { createCopyProgress } from '../show/copy-progress.js';
import { type FillResult, formatFill } from '../show/copy-result.js';
import { loadCaseMap, requireMapOf } from './case-map.js';
import { onInterrupt } from './interrupt.js';
import { terminalOf } from './terminal.js';
import { version } from './version.js';

export interface FillOptions {
  readonly unread?: string;
  readonly unreadable?: string;
  /** By default the one beside the image. */
  readonly map?: string;
  readonly json?: boolean;
}

/** `lastspin fill IMAGE`: returns the exit status. */
export async function fill(path: string, options: FillOptions): Promise<number> {
  const fills = fillsOf(options);
  const whole = wholeName(path);
  const beside = casePaths(whole);
  // The lock is the image's, all else the map's.
  const paths = options.map
    ? { ...casePaths(whole, options.map), lock: beside.lock, map: options.map }
    : beside;
  requireImage(path, whole);
  const lock = await takeLock(paths.lock);
  try {
    const result = await fillImage(path, paths, fills, options);
    process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : formatFill(result));
    return 0;
  } finally {
    await lock.release();
  }
}

function fillsOf({ unread, unreadable }: FillOptions): Fills {
  if (unread === undefined && unreadable === undefined)
    throw new LastspinError('USAGE', 'fill what, and with what? --unread, --unreadable or both');
  return {
    ...(unread !== undefined && { unread: parseFill(unread, '--unread') }),
    ...(unreadable !== undefined && { unreadable: parseFill(unreadable, '--unreadable') }),
  };
}

function requireImage(path: string, whole: string): void {
  if (!existsSync(path)) {
    if (existsSync(partPath(whole, 1))) return;
    throw new LastspinError('USAGE', `there is no ${path}; name an image`);
  }
  if (!statSync(path).isFile()) {
    throw new LastspinError(
      'USAGE',
      `${path} is no image; a clone's gaps are filled by clone --fill`,
    );
  }
}

async function fillImage(
  path: string,
  paths: CasePaths,
  fills: Fills,
  { unread, unreadable }: FillOptions,
): Promise<FillResult> {
  const files = nodeFiles();
  const interrupt = onInterrupt('lastspin: stopping (again: leave at once)');
  const progress = createCopyProgress(terminalOf(process.stderr), realClock());
  const { signal } = interrupt;
  const image = await openStored(files, path, { readOnly: false });
  try {
    const sizeBytes = await image.size();
    const found = await loadCaseMap(files, paths.map, { path, sizeBytes });
    if (!found)
      throw new LastspinError('USAGE', `there is no ${paths.map}, so nothing tells what was read`);
    await requireMapOf(files, paths.map, { path, sizeBytes }, 'filling');
    // Said before it is so: a crash in between leaves a record of too much, not of too little.
    const asked = { ...(unread && { unread }), ...(unreadable && { unreadable }) };
    const now = { version, nowMs: realClock().now(), wallMs: wallMs() };
    const isRecorded = await noteFill(files, paths, asked, now);
    const map = statusByByte(found.parsed, sizeBytes);
    const isToChange = [...map.runs()].some(({ value }) => {
      const gap = gapKindOf(value);
      return gap !== undefined && fills[gap] !== undefined;
    });
    if (isToChange) await setSumsAside(files, paths.sums, (line) => progress.say(line));
    progress.begin('filling', sizeBytes);
    const { sectorBytes } = found;
    const onProgress = (position: number) => progress.at(position);
    const bytes = await fillGaps(image, map, { fills, sectorBytes, signal, onProgress });
    return {
      schema: 'lastspin/fill-result/1',
      image: path,
      map: paths.map,
      unread: unread ?? null,
      unreadable: unreadable ?? null,
      bytes,
      isRecorded,
    };
  } catch (error) {
    if (error !== signal.reason) throw error;
    throw new LastspinError('INTERRUPTED', `${path} is filled in part; run the same command again`);
  } finally {
    progress.end();
    interrupt.dispose();
    await image.close();
  }
}

/** Hashes of the whole image are of what it held before: they stay, under names that claim nothing of what it holds
 * now. */
async function setSumsAside(
  files: FileLayer,
  sums: string,
  say: (line: string) => void,
): Promise<void> {
  for (const algorithm of [...wholeAlgorithms, 'sha512']) {
    const path = `${sums}.${algorithm}`;
    if (!(await files.exists(path))) continue;
    let aside = `${path}.before-fill`;
    for (let number = 2; await files.exists(aside); number++)
      aside = `${path}.before-fill.${number}`;
    await files.rename(path, aside);
    await files.syncDirectory(path);
    say(
      `${basename(path)} is the hash of the image without its fill: it is now ${basename(aside)}`,
    );
  }
}
