/** Hashes of a whole image, as files that `sha256sum -c`, `sha1sum -c` and `md5sum -c` check. */

import { basename } from 'node:path';
import {
  createRunningHashes,
  type WholeAlgorithm,
  type WholeHashes,
  wholeAlgorithms,
} from '../segment-hasher.js';
import type { FileLayer } from './file-layer.js';
import type { ImageForm } from './image-form.js';
import { replaceFile } from './replace-file.js';

/** Where the hash of an image stands; `sums` is `CasePaths.sums`. */
export function sumPath(sums: string, algorithm: WholeAlgorithm): string {
  return `${sums}.${algorithm}`;
}

/** What a hash is of, by the name that `sha256sum -c` goes by: an image that is no file of its own comes by stdin. */
export function sumName(imagePath: string, form: ImageForm): string {
  return form.kind === 'file' ? basename(imagePath) : '-';
}

/** The command that gives the bytes of an image that is no file of its own, for people; undefined of a file. */
export function streamCommand(
  imagePath: string,
  sizeBytes: number,
  form: ImageForm,
): string | undefined {
  if (form.kind === 'file') return undefined;
  if (form.kind === 'split') return `cat ${quoted(basename(imagePath))}.[0-9][0-9][0-9]`;
  return `head -c ${sizeBytes} ${quoted(imagePath)}`;
}

/** One word for a shell, on one line. */
function quoted(path: string): string {
  const line = path.replaceAll(/[\r\n]/g, '?');
  return /^[\w./-]+$/.test(line) ? line : `'${line.replaceAll("'", "'\\''")}'`;
}

/** The file's text: one line as `sha256sum` makes it, and before it, as comments, what should be known of it. */
export function formatSum(digest: string, imageName: string, comments: readonly string[]): string {
  const isOdd = /[\\\n\r]/.test(imageName);
  const name = imageName.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('\r', '\\r');
  return [
    ...comments.map((comment) => `# ${comment}`),
    `${isOdd ? '\\' : ''}${digest}  ${name}`,
    '',
  ].join('\n');
}

const digestChars: Readonly<Record<WholeAlgorithm, number>> = { sha256: 64, sha1: 40, md5: 32 };

/** The digest that such a file has of an image of this name; undefined where it has none. */
export function parseSum(
  text: string,
  algorithm: WholeAlgorithm,
  imageName: string,
): string | undefined {
  for (const line of text.split('\n')) {
    const [, odd, digest = '', name = ''] =
      /^(\\?)([0-9a-fA-F]{32,64}) [ *](.*?)\r?$/.exec(line) ?? [];
    const plain = odd ? unescaped(name) : name;
    if (digest.length === digestChars[algorithm] && plain === imageName)
      return digest.toLowerCase();
  }
  return undefined;
}

function unescaped(name: string): string {
  return name.replaceAll(/\\([\\nr])/g, (_, letter: string) =>
    letter === 'n' ? '\n' : letter === 'r' ? '\r' : letter,
  );
}

/** A hash of the whole image, and the file that has it. */
export interface WholeSum {
  readonly algorithm: WholeAlgorithm;
  /** Hex digits. */
  readonly digest: string;
  readonly file: string;
}

/** The hashes of an image while a job writes to it. Those that an earlier run left are taken away before anything
 * is written, and made again in the end. */
export interface WholeKeeper {
  /** Something is about to be written. */
  touch(): Promise<void>;
  take(offsetBytes: number, data: Uint8Array): void;
  /** Something else than what was taken may be in the image. */
  spoil(): void;
  /** Hashes made where the drive was read, of everything from the first byte to the last. */
  takeDigest(algorithm: WholeAlgorithm, digest: string): void;
  /** What `finish` will make. */
  readonly algorithms: readonly WholeAlgorithm[];
  /** Writes the files that are wanted and not there: for free where the image was written in order, else by
   * reading it back. `commentsOf`, told which of both, goes before each hash. */
  finish(
    readBack: (algorithms: readonly WholeAlgorithm[]) => Promise<WholeHashes>,
    commentsOf: (isReadBack: boolean) => readonly string[],
  ): Promise<WholeSum[]>;
}

export interface WholeOptions {
  readonly files: FileLayer;
  readonly imagePath: string;
  /** `CasePaths.sums`. */
  readonly sums: string;
  readonly form: ImageForm;
  readonly sizeBytes: number;
  readonly asked: readonly WholeAlgorithm[];
  /** Whether hashes that are there are of what the image held when the last run ended. */
  readonly areOurs: boolean;
  /** Whether those are made again. */
  readonly areKept: boolean;
}

/** Takes over what is there. Throws FILE_FAILED. */
export async function keepWholeHashes(options: WholeOptions): Promise<WholeKeeper> {
  const { files, imagePath, sums, form, sizeBytes, asked, areOurs, areKept } = options;
  const present = new Set<WholeAlgorithm>();
  for (const algorithm of wholeAlgorithms)
    if (await files.exists(sumPath(sums, algorithm))) present.add(algorithm);
  const wanted = wholeAlgorithms.filter(
    (algorithm) => asked.includes(algorithm) || (areKept && areOurs && present.has(algorithm)),
  );
  const running = createRunningHashes(wanted, sizeBytes);
  const told = new Map<WholeAlgorithm, string>();
  /** Whether what was told is not, or no longer, what the image holds. */
  let isMixed = false;

  async function touch(): Promise<void> {
    if (present.size === 0) return;
    for (const algorithm of present) await files.remove(sumPath(sums, algorithm));
    await files.syncDirectory(sums);
    present.clear();
  }

  if (!areOurs) await touch();
  return {
    touch,
    take(offsetBytes, data) {
      isMixed = true;
      running.take(offsetBytes, data);
    },
    spoil() {
      isMixed = true;
      running.spoil();
    },
    takeDigest: (algorithm, digest) => void told.set(algorithm, digest),
    algorithms: wanted,
    async finish(readBack, commentsOf) {
      const missing = wanted.filter((algorithm) => !present.has(algorithm));
      if (missing.length === 0) return [];
      const isTold = !isMixed && missing.every((algorithm) => told.has(algorithm));
      const onTheWay = running.finish() ?? (isTold ? told : undefined);
      const digests = onTheWay ?? (await readBack(missing));
      const comments = commentsOf(onTheWay === undefined);
      const made = missing.map((algorithm) => ({
        algorithm,
        digest: digests.get(algorithm) ?? '',
        file: sumPath(sums, algorithm),
      }));
      const stream = streamCommand(imagePath, sizeBytes, form);
      for (const { algorithm, digest, file } of made) {
        const check = stream && `${stream} | ${algorithm}sum -c ${quoted(basename(file))}`;
        const told = check ? [...comments, `check: ${check}`] : comments;
        const text = Buffer.from(formatSum(digest, sumName(imagePath, form), told));
        await replaceFile(files, file, (opened) => opened.write(text, 0));
      }
      return made;
    },
  };
}
