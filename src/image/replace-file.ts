/** A file that is replaced as a whole: whoever reads it, at whatever moment, finds the old one or the new one. */

import type { FileLayer, OpenFile } from './file-layer.js';

/** Writes a file beside `path`, syncs it, and renames it over `path`. @throws LastspinError IMAGE_SPACE,
 * FILE_FAILED, and what `write` throws; the old file is then still there. */
export async function replaceFile(
  files: FileLayer,
  path: string,
  write: (file: OpenFile) => Promise<void>,
): Promise<void> {
  const temporaryPath = `${path}.tmp`;
  await files.remove(temporaryPath);
  const file = await files.open(temporaryPath, { create: true });
  try {
    try {
      await write(file);
      await file.sync();
    } finally {
      await file.close();
    }
    await files.rename(temporaryPath, path);
  } catch (error) {
    // On a full disk half a file would take the room that the image needs.
    await files.remove(temporaryPath).catch(() => undefined);
    throw error;
  }
  await files.syncDirectory(path);
}
