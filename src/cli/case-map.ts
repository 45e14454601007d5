import { isLastspinError, LastspinError } from '../errors.js';
import { claimedBytes } from '../image/byte-map.js';
import { loadCheckpoint } from '../image/checkpoint.js';
import type { FileLayer } from '../image/file-layer.js';
import { type ImageLock, takeLock } from '../image/lock.js';
import { recallState } from '../job/case.js';
import { byteMapOf, type ParsedMap } from '../map/mapfile.js';

/** What is known of an image, from its map and the journal beside that. */
export interface CaseMap {
  readonly parsed: ParsedMap;
  /** 512 where another program wrote the map: its files do not tell. */
  readonly sectorBytes: number;
  readonly isForeign: boolean;
}

const sectorBytesDefault = 512;

/** Reads an image's map; undefined where there is none. Throws IMAGE_MISMATCH where it claims more than the image has,
 * MAP_INVALID, also for one of ours that was changed, FILE_FAILED. */
export async function loadCaseMap(
  files: FileLayer,
  mapPath: string,
  image: { readonly path: string; readonly sizeBytes: number },
): Promise<CaseMap | undefined> {
  const saved = await loadCheckpoint(files, mapPath);
  if (!saved) return undefined;
  if (saved.damaged) {
    throw new LastspinError(
      'MAP_INVALID',
      `${mapPath} is not as lastspin wrote it; bring back a copy, or give another with --map`,
    );
  }
  const recalled = await recallState(files, mapPath);
  const sectorBytes = recalled?.drive.sectorBytes ?? sectorBytesDefault;
  const parsed = recalled ? byteMapOf(recalled.state.plan.map, sectorBytes) : saved.map;
  const claimed = claimedBytes(parsed);
  if (claimed > image.sizeBytes) {
    throw new LastspinError(
      'IMAGE_MISMATCH',
      `${image.path} has ${image.sizeBytes} bytes, but ${mapPath} calls sectors finished up to byte ${claimed}: it is not this image's map, or the image was cut`,
    );
  }
  return { parsed, sectorBytes, isForeign: saved.foreign };
}

/** Keeps jobs off an image that is only read here. On a disk that cannot be written there is no job to keep off. */
export async function lockToRead(path: string): Promise<ImageLock> {
  try {
    return await takeLock(path);
  } catch (error) {
    if (!isLastspinError(error, 'FILE_FAILED')) throw error;
    return { release: async () => {} };
  }
}
