import { LastspinError } from '../errors.js';
import type { OpenFile } from './file-layer.js';

/** What somebody else did to a file that is open: made it longer or cut it, or its name leads to it no more, because
 * it was removed, moved or replaced, or because its disk was unmounted. */
export type Touch = 'longer' | 'cut' | 'moved' | 'unmounted';

/** What befell an open file that should have this size and this name; undefined where it has. */
export async function touchOf(
  file: OpenFile,
  path: string,
  sizeBytes: number,
): Promise<Touch | undefined> {
  const isElsewhere = (await file.isAt?.(path)) === false;
  if (isElsewhere && (await file.isUnmounted?.())) return 'unmounted';
  const foundBytes = await file.size();
  if (foundBytes > sizeBytes) return 'longer';
  if (foundBytes < sizeBytes) return 'cut';
  return isElsewhere ? 'moved' : undefined;
}

/** The disk of a file went away under its name. */
export function unmountedError(path: string): LastspinError {
  return new LastspinError(
    'FILE_FAILED',
    `the disk that ${path} is on was unmounted while it was in use; mount it again and run the same command again`,
  );
}

/** That an open file has its size and its name still. @throws LastspinError IMAGE_MISMATCH: something cut, moved or
 * replaced it, and no map may go on claiming what its name holds; FILE_FAILED where its disk was unmounted. */
export async function requireUntouched(
  file: OpenFile,
  path: string,
  sizeBytes: number,
): Promise<void> {
  switch (await touchOf(file, path, sizeBytes)) {
    case 'longer':
      throw new LastspinError(
        'IMAGE_MISMATCH',
        `something has made ${path} longer while it was in use; cut it back (truncate -s ${sizeBytes}) and run the same command again`,
      );
    case 'cut':
      throw new LastspinError(
        'IMAGE_MISMATCH',
        `something has cut ${path} while it was in use: what its map claims is lost; move both away and begin anew`,
      );
    case 'moved':
      throw new LastspinError(
        'IMAGE_MISMATCH',
        `${path} was moved or replaced while it was in use; put back the file that was there, and run the same command again`,
      );
    case 'unmounted':
      throw unmountedError(path);
  }
}
