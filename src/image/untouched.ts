import { LastspinError } from '../errors.js';
import type { OpenFile } from './file-layer.js';

/** That an open file has its size and its name still. @throws LastspinError IMAGE_MISMATCH: something cut, moved or
 * replaced it, and no map may go on claiming what its name holds. */
export async function requireUntouched(
  file: OpenFile,
  path: string,
  sizeBytes: number,
): Promise<void> {
  const foundBytes = await file.size();
  if (foundBytes > sizeBytes) {
    throw new LastspinError(
      'IMAGE_MISMATCH',
      `something has made ${path} longer while it was in use; cut it back (truncate -s ${sizeBytes}) and run the same command again`,
    );
  }
  if (foundBytes < sizeBytes) {
    throw new LastspinError(
      'IMAGE_MISMATCH',
      `something has cut ${path} while it was in use: what its map claims is lost; move both away and begin anew`,
    );
  }
  if ((await file.isAt?.(path)) === false) {
    throw new LastspinError(
      'IMAGE_MISMATCH',
      `${path} was moved or replaced, or its disk was unmounted, while it was in use; put back the file that was there, and run the same command again`,
    );
  }
}
