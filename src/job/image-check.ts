/** Whether the image of a case still is what its map says: looked at before the drive gets power, and what is lost
 * taken out of the map before it is read again. */

import { LastspinError } from '../errors.js';
import type { LoadedCheckpoint } from '../image/checkpoint.js';
import type { FileLayer } from '../image/file-layer.js';
import { type ImageFile, openImageToRead } from '../image/image-file.js';
import {
  type ByteRange,
  type ImageLook,
  type ImageRecord,
  join,
  lookAtImage,
} from '../image/image-look.js';
import { loadJournal } from '../image/journal.js';
import { isFinished, type SegmentHashes } from '../image/segment-hashes.js';
import { type Extent, endOf } from '../map/extent.js';
import { sectorMapOf } from '../map/mapfile.js';
import type { RunMap } from '../map/run-map.js';
import { statuses } from '../map/status.js';
import type { JobEventBody } from './events.js';
import { imageSamplesMax, parseSnapshot } from './snapshot.js';

/** How closely an image is looked at. */
export interface LookWish {
  /** All that has a hash, instead of a sample. */
  readonly isFull?: boolean;
  /** Told of what takes long. */
  readonly say?: (line: string) => void;
  readonly signal?: AbortSignal;
}

interface CaseFiles {
  readonly image: string;
  readonly map: string;
  readonly journal: string;
  readonly hashes: string;
}

/** Most pieces of the event that says what is lost. */
const extentsMax = 1000;

/** Looks at the image of a map that we wrote; undefined where another program did, which knows no hashes of it.
 * Throws IMAGE_MISMATCH where it is another image, unless `force` takes it to read into. */
export async function checkImage(
  files: FileLayer,
  paths: CaseFiles,
  saved: LoadedCheckpoint,
  force: boolean,
  { isFull = false, say = () => {}, signal }: LookWish,
): Promise<ImageLook | undefined> {
  const snapshot = parseSnapshot(saved.state);
  if (saved.foreign || !snapshot) return undefined;
  const { drive, image: record } = snapshot;
  const map = sectorMapOf(saved.map, drive, paths.map);
  const last = map.previous(map.size, statuses.finished);
  const { form } = snapshot;
  // Nothing of ours is in it: what a target has in it, and what a crash left of parts, is nobody's loss.
  if (!last && form.kind !== 'file') return undefined;
  const claimedCount = last ? endOf(last) : 0;
  const journal = await loadJournal(files, paths.journal);
  const endedInOrder = journal?.base === saved.number && journal?.records.length === 0;
  const look = await lookAtImage({
    files,
    imagePath: paths.image,
    open: () => openImageToRead(files, paths.image, { ...drive, claimedCount, form }),
    ...(form.kind === 'split' && form.partIds && { partIds: form.partIds }),
    listPath: paths.hashes,
    sectorBytes: drive.sectorBytes,
    sectorCount: drive.sectorCount,
    isFinished: (extent) => isFinished(map, extent),
    claimedBytes: claimedCount * drive.sectorBytes,
    record,
    emptyPlaces: endedInOrder && !snapshot.fills?.length ? emptyPlaces(map) : [],
    endedInOrder,
    isFull,
    say,
    ...(signal && { signal }),
  });
  if (look.foreign !== undefined && !force) {
    throw new LastspinError(
      'IMAGE_MISMATCH',
      `${paths.image} is not the image that ${paths.map} is about: ${look.foreign}; ${form.kind === 'target' ? 'clone anew, with other --case-files' : 'bring that image back, or --force to read everything again into this one'}`,
    );
  }
  return look;
}

const emptyPlacesMax = 16;
const emptyPlaceCount = 64;

/** Some places, spread over what was never tried. */
function emptyPlaces(map: RunMap): Extent[] {
  const total = map.countOf(statuses['non-tried']);
  const step = Math.max(emptyPlaceCount, Math.ceil(total / emptyPlacesMax));
  const places: Extent[] = [];
  let passed = 0;
  map.forEachRun((lba, count, status) => {
    if (status !== statuses['non-tried']) return;
    for (let at = places.length * step - passed; at < count; at += step)
      places.push({ lba: lba + at, count: Math.min(emptyPlaceCount, count - at) });
    passed += count;
  });
  return places;
}

/** The event that says what of the map's finished sectors the image no longer holds: whole segments, since nobody
 * knows where in them. Undefined where there is none. */
export function lossOf(
  map: RunMap,
  ranges: readonly ByteRange[],
  sectorBytes: number,
): JobEventBody | undefined {
  let extents: Extent[] = [];
  for (const { fromBytes, toBytes } of ranges) {
    const lba = Math.min(map.size, Math.floor(fromBytes / sectorBytes));
    const count = Math.min(map.size, Math.ceil(toBytes / sectorBytes)) - lba;
    if (count > 0 && map.next(lba, statuses.finished, lba + count)) join(extents, { lba, count });
  }
  for (let gap = 1; extents.length > extentsMax; gap *= 2) extents = closer(extents, gap);
  if (extents.length === 0) return undefined;
  return {
    kind: 'image-changed',
    why: 'the image does not hold it as it was read',
    extents: extents.flatMap(({ lba, count }) => [lba, count]),
  };
}

/** Extents with gaps of at most so many sectors made one. */
function closer(extents: readonly Extent[], gap: number): Extent[] {
  const joined: Extent[] = [];
  for (const extent of extents) {
    const last = joined.at(-1);
    if (last && extent.lba - endOf(last) <= gap)
      joined[joined.length - 1] = { lba: last.lba, count: endOf(extent) - last.lba };
    else joined.push(extent);
  }
  return joined;
}

/** What a checkpoint remembers of the image as it is now; call it when the image is synced. */
export async function recordOf(
  image: ImageFile,
  hashes: SegmentHashes,
  map: RunMap,
): Promise<ImageRecord | undefined> {
  const stamp = await image.stamp();
  return (
    stamp && {
      ...stamp,
      samples: hashes
        .samples(map, imageSamplesMax)
        .map(({ lba, count, sha256 = '' }) => ({ lba, count, sha256 })),
    }
  );
}
