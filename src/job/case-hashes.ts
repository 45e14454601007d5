/** The hashes of a case while it is open: of segments, of the whole image, and what the checkpoint keeps of both. */

import { basename } from 'node:path';
import type { DriveIdentity } from '../drive/drive.js';
import type { FileLayer } from '../image/file-layer.js';
import { keepHashes } from '../image/hash-keeper.js';
import type { HashedLine, HashLine } from '../image/hash-list.js';
import type { ImageFile } from '../image/image-file.js';
import type { ImageRecord } from '../image/image-look.js';
import { createSegmentHashes, isFinished, type SegmentHashes } from '../image/segment-hashes.js';
import { keepWholeHashes, type WholeSum } from '../image/whole-hashes.js';
import type { Extent } from '../map/extent.js';
import type { RunMap } from '../map/run-map.js';
import { statuses } from '../map/status.js';
import {
  type StretchHash,
  type WholeAlgorithm,
  type WholeHashes,
  wholeIn,
} from '../segment-hasher.js';
import type { CasePaths } from './case-files.js';
import type { JobEventBody } from './events.js';
import { recordOf } from './image-check.js';
import { eventsOf, type RecordedEvent } from './recorded.js';
import type { JobState } from './state.js';

/** What a case offers of its hashes. */
export interface HashParts {
  /** Absent where nothing is hashed. */
  readonly hashes?: SegmentHashes;
  /** Writes the list of the hashes, of what is known so far or of all that is finished. Returns what of the image
   * turned out to be otherwise than it was read; the list still has the hashes of what was read. */
  listHashes(isWhole: boolean): Promise<readonly Extent[]>;
  /** What the whole image will be hashed with. */
  readonly whole: readonly WholeAlgorithm[];
  /** The path to the drive is about to write into the image by itself. */
  beforeStoring(): Promise<void>;
  /** Takes a hash that was made where the drive is read. */
  takeHash(hash: StretchHash): void;
  /** Writes the hashes of the whole image, as far as they are wanted and not there; `readBack` makes them where
   * they did not come by the way. */
  hashWhole(
    readBack: (algorithms: readonly WholeAlgorithm[]) => Promise<WholeHashes>,
  ): Promise<WholeSum[]>;
}

export interface CaseHashes {
  /** Before these sectors are written: what vouches for what they were is withdrawn, durably. */
  beforeWrite(lba: number, data: Uint8Array): Promise<void>;
  /** Nobody knows any more what these sectors of the image are. */
  forget(extent: Extent): void;
  readonly segmentBytes: number;
  /** Finished segments whose hash is known, up to so many, the first among them. */
  samples(most: number): HashLine[];
  /** Nothing vouches any more for what these sectors of the image are; durable when it resolves. */
  takeBack(extents: readonly Extent[]): Promise<void>;
  /** What became known of sectors that this map calls finished, as events, each once. */
  news(map: RunMap): JobEventBody[];
  /** What a checkpoint of this map remembers of the image, which is synced. */
  record(map: RunMap): Promise<ImageRecord | undefined>;
  /** Lists what became known of a map that is saved. */
  saveNews(map: RunMap): Promise<void>;
  /** Reads with `read`, which has everything that was written. */
  parts(read: (extent: Extent) => Promise<Uint8Array>): HashParts;
}

export interface CaseHashesOptions {
  readonly files: FileLayer;
  readonly paths: Pick<CasePaths, 'image' | 'map' | 'hashes' | 'sums'>;
  readonly drive: DriveIdentity;
  readonly state: JobState;
  readonly image: ImageFile;
  /** Whether what lies beside the image is of what it held when the last run ended. */
  readonly areOurs: boolean;
  readonly hashed?: boolean;
  readonly whole?: readonly WholeAlgorithm[];
  readonly segmentCount?: number;
  /** What the journal had. */
  readonly journal: readonly RecordedEvent[];
  readonly notices: string[];
}

/** Shorter stretches are not put on record: there may be one for every read. */
const recordedBytesMin = 1 << 20;
/** Hashes that wait for their reads to be on record. */
const freshMax = 1000;
const isSha256 = /^[0-9a-f]{64}$/;

/** Takes over what lies beside the image. Throws IMAGE_SPACE, FILE_FAILED. */
export async function openCaseHashes(options: CaseHashesOptions): Promise<CaseHashes> {
  const { files, paths, drive, state, image, notices } = options;
  const { sectorCount, sectorBytes } = drive;
  /** Hashes that are not on record yet. */
  let fresh: HashedLine[] = [];
  const known = createSegmentHashes(sectorCount, sectorBytes, options.segmentCount, (line) => {
    if (line.count * sectorBytes >= Math.min(recordedBytesMin, known.segmentBytes))
      fresh = [...fresh.slice(-freshMax), line];
  });
  const keeper = await keepHashes(files, paths.hashes, known, state.plan.map, notices);
  takeRecorded(known, options.journal, state.plan.map);
  const hashes = options.hashed ? known : undefined;
  const whole = await keepWholeHashes({
    files,
    imagePath: paths.image,
    sums: paths.sums,
    form: image.form,
    sizeBytes: image.sizeBytes,
    asked: options.whole ?? [],
    areOurs: options.areOurs,
    areKept: options.hashed ?? false,
  });

  function parts(read: (extent: Extent) => Promise<Uint8Array>): HashParts {
    return {
      ...(hashes && { hashes }),
      whole: whole.algorithms,
      async listHashes(isWhole) {
        const changed: Extent[] = [];
        const back = { read, tell: (extent: Extent) => void changed.push(extent) };
        if (hashes) await keeper.save(state.plan.map, { hasGaps: true, ...(isWhole && { back }) });
        return changed;
      },
      async beforeStoring() {
        if (state.plan.map.countOf(statuses.finished) < sectorCount) await whole.touch();
      },
      takeHash(hash) {
        const told = wholeIn(hash);
        if (told) whole.takeDigest(told.algorithm, told.digest);
        else hashes?.takeHash(hash);
      },
      async hashWhole(readBack) {
        // Who had to read a place twice does not know what is in the image by the way.
        if (state.totals.failingReads > 0) whole.spoil();
        return whole.finish(readBack, (isReadBack) => [
          ...unreadComments(state, paths.map),
          ...(isReadBack ? ofImageComments(hashes ? keeper.ofImageCount : sectorCount) : []),
        ]);
      },
    };
  }

  return {
    async beforeWrite(lba, data) {
      await keeper.withdraw({ lba, count: data.length / sectorBytes });
      await whole.touch();
      whole.take(lba * sectorBytes, data);
      hashes?.take(lba, data);
    },
    forget(extent) {
      whole.spoil();
      hashes?.forget(extent);
    },
    segmentBytes: known.segmentBytes,
    samples: (most) => known.samples(state.plan.map, most),
    async takeBack(extents) {
      whole.spoil();
      for (const extent of extents) known.forget(extent);
      await keeper.withdraw(...extents);
    },
    news(map) {
      if (fresh.length === 0) return [];
      // What came again since, or with more behind it, was told of anew.
      const current = fresh.filter(known.holds);
      const due = current.filter((line) => isFinished(map, line));
      fresh = current.filter((line) => !due.includes(line));
      return due.map(({ lba, count, sha256 }) => ({ kind: 'hashed', lba, count, sha256 }));
    },
    record: (map) => recordOf(image, known, map),
    async saveNews(map) {
      if (hashes?.hasNews) await keeper.save(map);
    },
    parts,
  };
}

/** Takes over the hashes that are only in the journal: of what is finished still, and was not read again since. */
function takeRecorded(known: SegmentHashes, journal: readonly RecordedEvent[], map: RunMap): void {
  for (const event of journal.flatMap(eventsOf)) {
    if (event.kind === 'hashed') {
      const { lba, count, sha256 } = event;
      const isSense = count > 0 && lba >= 0 && lba + count <= map.size && isSha256.test(sha256);
      if (isSense && isFinished(map, event))
        known.takeLine({ lba, count, sha256, status: 'finished' }, true);
    } else if (event.kind === 'varied') known.forget(event);
    else if (event.kind === 'read' && event.role === 'pass' && event.goodCount > 0)
      known.forget({ lba: event.lba, count: event.goodCount });
  }
}

/** What is said beside the hash of an image that is not whole. */
function unreadComments({ plan: { map, sectorBytes } }: JobState, mapPath: string): string[] {
  const bad = map.countOf(statuses['bad-sector']);
  const unread = map.size - map.countOf(statuses.finished) - bad;
  if (bad + unread === 0) return [];
  const what = `${bad} of ${map.size} sectors of ${sectorBytes} bytes could not be read, ${unread} were not read yet`;
  const holds = 'this is the hash of the image with what it holds in their place';
  return [`${what}: ${holds}; ${basename(mapPath)} says which`];
}

/** What is said beside a hash that was made of the image when the job had ended, where nobody has hashes of what was
 * read of so many sectors. */
function ofImageComments(count: number): string[] {
  if (count === 0) return [];
  return [`the image was read back for this; ${count} sectors were not hashed when they were read`];
}
