import { realClock } from '../clock.js';
import { LastspinError } from '../errors.js';
import { createHashThreads } from '../image/hash-threads.js';
import { refuseLocked } from '../image/lock.js';
import { nodeFiles } from '../image/node-files.js';
import { storedPaths } from '../image/split-file.js';
import { type CasePaths, casePaths, imageNamed } from '../job/case.js';
import { type Verdict, type VerifyOptions, verifyImage } from '../job/verify.js';
import { formatBytes, formatShare } from '../show/format.js';
import { formatVerification, type VerifyResult, verifyResult } from '../show/verify-result.js';
import { onInterrupt } from './interrupt.js';

export interface VerifyCliOptions {
  /** By default the one beside the image; of a clone it stands elsewhere. */
  readonly map?: string;
  readonly full?: boolean;
  readonly quick?: boolean;
  /** What a job printed of its event log when it ended, or how that begins. */
  readonly logHash?: string;
  readonly json?: boolean;
}

const exitStatuses: Readonly<Record<Verdict, number>> = {
  unchanged: 0,
  'cannot-tell': 1,
  changed: 4,
};

/** `lastspin verify IMAGE`: returns the exit status. Only reads. */
export async function verify(path: string, options: VerifyCliOptions): Promise<number> {
  const isQuick = options.quick ?? false;
  if (isQuick && options.full) throw new LastspinError('USAGE', 'either --full or --quick');
  const notedHash = notedHashIn(options.logHash);
  const files = nodeFiles();
  const image = await imageNamed(files, path);
  const { map } = options;
  const paths = { ...casePaths(image, map), ...(map !== undefined && { map }) };
  await refuseLocked(paths.lock);
  await refuseLocked(casePaths(image).lock);
  const interrupt = onInterrupt('lastspin: stopping; nothing is changed');
  const progress = createMeter(realClock().now);
  try {
    const result = await verifyCase(paths, {
      ...{ isQuick, signal: interrupt.signal, onProgress: progress.show },
      ...(notedHash !== undefined && { notedHash }),
    });
    progress.end();
    process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : formatVerification(result));
    return exitStatuses[result.verdict];
  } catch (error) {
    progress.end();
    if (error !== interrupt.signal.reason) throw error;
    throw new LastspinError('INTERRUPTED', `interrupted; ${path} was not read to its end`);
  } finally {
    interrupt.dispose();
  }
}

/** So many digits nobody makes another line to fit. */
const notedDigitsMin = 16;

/** A noted hash, blanks within it left out. Throws USAGE. */
function notedHashIn(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const digits = text.replaceAll(/\s/g, '').toLowerCase();
  if (/^[0-9a-f]*$/.test(digits) && digits.length >= notedDigitsMin && digits.length <= 64)
    return digits;
  throw new LastspinError(
    'USAGE',
    `--log-hash '${text}' is no hash of a line: ${notedDigitsMin} to 64 of its digits from the first on, 0-9 and a-f`,
  );
}

/** What `verify` finds; whoever calls it has the image to himself, or has made sure that nobody writes to it.
 * Throws as `verifyImage` does. */
export async function verifyCase(
  paths: CasePaths,
  options: Pick<VerifyOptions, 'signal' | 'onProgress' | 'notedHash'> & {
    readonly isQuick?: boolean;
  },
): Promise<VerifyResult> {
  const { isQuick = false } = options;
  const { now } = realClock();
  const startedAtMs = now();
  const files = nodeFiles();
  const hashing = createHashThreads(await storedPaths(files, paths.image));
  try {
    const found = await verifyImage({ ...options, files, paths, hashing, isQuick });
    return verifyResult(paths.image, found, isQuick, now() - startedAtMs);
  } finally {
    await hashing.close();
  }
}

const meterMs = 200;

/** One line on a terminal that says how far it is; none elsewhere. */
function createMeter(now: () => number) {
  const { stderr } = process;
  const startedAtMs = now();
  let shownAtMs = startedAtMs;
  let isShown = false;
  return {
    show(doneBytes: number, totalBytes: number): void {
      const atMs = now();
      if (!stderr.isTTY || atMs - shownAtMs < meterMs) return;
      shownAtMs = atMs;
      isShown = true;
      const rate = formatBytes((doneBytes * 1000) / (atMs - startedAtMs));
      stderr.write(
        `\r\u001b[Kverifying ${formatShare(doneBytes, totalBytes)} of ${formatBytes(totalBytes)}, ${rate}/s`,
      );
    },
    end(): void {
      if (isShown) stderr.write('\r\u001b[K');
      isShown = false;
    },
  };
}
