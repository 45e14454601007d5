/** An image as a set of EWF-E01 files, which forensic programs read: written front to back, in bounded memory. The
 * set has its names only when it is whole; until then each file ends in `.part`. */

import { createHash } from 'node:crypto';
import { constants, deflate } from 'node:zlib';
import { LastspinError } from '../errors.js';
import { endOf } from '../map/extent.js';
import type { RunMap } from '../map/run-map.js';
import { statuses } from '../map/status.js';
import {
  adler32,
  chunkSectorCount,
  compressedFlag,
  descriptor,
  descriptorBytes,
  digestData,
  type EwfCase,
  type EwfCompression,
  error2Bytes,
  error2Data,
  ewfSignature,
  fileHeader,
  hashData,
  header2Data,
  headerData,
  segmentPath,
  tableData,
  tableSectionBytes,
  volumeData,
} from './ewf-sections.js';
import type { FileLayer, OpenFile } from './file-layer.js';

export type { EwfCase, EwfCompression } from './ewf-sections.js';

/** What is written: sectors that the map calls finished as they are read, all others as zeros. */
export interface EwfSource {
  readonly map: RunMap;
  readonly sectorBytes: number;
  /** Fills `into` with what the image holds from a byte on. */
  read(into: Uint8Array, position: number): Promise<void>;
}

export interface EwfOptions {
  readonly about: EwfCase;
  readonly compression: EwfCompression;
  /** The most bytes of one file. The last one may be longer by the list of its unread sectors. */
  readonly segmentBytes: number;
  /** 16 bytes, another for each set. */
  readonly setId: Uint8Array;
  /** Replace a set of this name. */
  readonly force: boolean;
  readonly signal?: AbortSignal;
  /** Told of the bytes of the medium that are done. */
  onProgress?(doneBytes: number): void;
}

/** What was written. */
export interface EwfWritten {
  /** The set's files, in order. */
  readonly paths: readonly string[];
  /** Of all of them together. */
  readonly writtenBytes: number;
  /** Of the medium, with zeros for what was not read, in hex. */
  readonly md5: string;
  readonly sha1: string;
  /** Areas of the list of unread sectors. */
  readonly listedAreas: number;
  /** Sectors that were not read and are not in that list, whose numbers end at 2^32 - 1. */
  readonly unlistedSectors: number;
}

/** A file holds at least this much, as for libewf. */
export const segmentBytesMin = 1 << 20;
/** EnCase's limit of chunks in one table. */
const tableChunksMax = 16_375;
/** Offsets of chunks have 31 bits. */
const tableReachMax = 2 ** 31 - 1;
const volumeSectionBytes = descriptorBytes + 1052;
/** What ends the last file, its list of unread sectors aside: data, digest, hash, done. */
const closingBytes =
  volumeSectionBytes + descriptorBytes + 80 + descriptorBytes + 36 + descriptorBytes;
const listedLbaMax = 2 ** 32 - 1;

/** Writes the set whose first file is `path`, which ends in `.E01`.
 * @throws LastspinError USAGE for sizes that the format does not hold, IMAGE_EXISTS without `force`, IMAGE_SPACE,
 *   FILE_FAILED, and what `source.read` and the signal throw. Then nothing of the set is left. */
export async function writeEwf(
  files: FileLayer,
  path: string,
  source: EwfSource,
  options: EwfOptions,
): Promise<EwfWritten> {
  const segmentCountMax = requireFit(path, source, options.segmentBytes);
  const former = await formerSegments(files, path, segmentCountMax, options);
  const set = createSet(files, path, source, options);
  try {
    const hashes = await writeChunks(source, options, set);
    const areas = listedAreas(source.map);
    await set.finish(hashes, areas);
    await publish(files, set.paths, former);
    return {
      paths: set.paths,
      writtenBytes: set.writtenBytes(),
      md5: hashes.md5.toString('hex'),
      sha1: hashes.sha1.toString('hex'),
      listedAreas: areas,
      unlistedSectors: unlistedSectors(source.map),
    };
  } catch (error) {
    await set.abandon();
    throw error;
  }
}

/** The most files that it can come to. */
function requireFit(path: string, { map, sectorBytes }: EwfSource, segmentBytes: number): number {
  const chunkBytes = chunkSectorCount * sectorBytes;
  const leastBytes = Math.max(segmentBytesMin, 2 * chunkBytes);
  if (segmentBytes < leastBytes) {
    throw new LastspinError('USAGE', `files of ${segmentBytes} bytes: ${leastBytes} are the least`);
  }
  // Names and chunk numbers end somewhere; where nothing compresses, the image must still fit.
  const segmentCount = Math.ceil((map.size * (sectorBytes + 1)) / segmentBytes) + 1;
  const isNamed = segmentPath(path, segmentCount) !== undefined;
  if (isNamed && map.size / chunkSectorCount < 2 ** 32) return segmentCount;
  throw new LastspinError(
    'USAGE',
    `${map.size} sectors do not fit into a set of files of ${segmentBytes} bytes each; allow larger ones`,
  );
}

/** Files that stand where those of the set will: none may, or with `force` those of another set.
 * @throws LastspinError IMAGE_EXISTS */
async function formerSegments(
  files: FileLayer,
  path: string,
  segmentCountMax: number,
  { force }: EwfOptions,
): Promise<string[]> {
  const found: string[] = [];
  for (let number = 1; ; number++) {
    const name = segmentPath(path, number);
    if (name === undefined) return found;
    if (!(await files.exists(name))) {
      // A longer set may stand there, a few of its files missing.
      if (number > Math.max(segmentCountMax, found.length + 100)) return found;
      continue;
    }
    if (!force) throw new LastspinError('IMAGE_EXISTS', `${name} exists; --force replaces the set`);
    if (!(await isEwf(files, name))) {
      throw new LastspinError('IMAGE_EXISTS', `${name} is no E01 file; it is not replaced`);
    }
    found.push(name);
  }
}

async function isEwf(files: FileLayer, path: string): Promise<boolean> {
  const file = await files.open(path, { readOnly: true });
  try {
    const start = new Uint8Array(ewfSignature.length);
    const byteCount = await file.read(start, 0);
    return byteCount === start.length && start.every((byte, at) => byte === ewfSignature[at]);
  } finally {
    await file.close();
  }
}

function partOf(path: string): string {
  return `${path}.part`;
}

/** Gives the files their names, the first one last: a set without it is none. */
async function publish(
  files: FileLayer,
  paths: readonly string[],
  former: readonly string[],
): Promise<void> {
  for (const path of former) await files.remove(path);
  for (const path of [...paths].reverse()) await files.rename(partOf(path), path);
  await files.syncDirectory(paths[0]!);
}

/** A chunk as it is stored: compressed, or as it is with a checksum. */
interface Chunk {
  readonly bytes: Uint8Array;
  /** Behind `bytes`, where they do not end in one. */
  readonly checksum?: Uint8Array;
}

/** The files of a set while they are written. */
interface EwfSet {
  readonly paths: string[];
  writtenBytes(): number;
  addChunk(chunk: Chunk): Promise<void>;
  /** Writes what ends the last file, and makes all of them durable. */
  finish(hashes: MediumHashes, areaCount: number): Promise<void>;
  /** Closes and removes what is there. */
  abandon(): Promise<void>;
}

interface MediumHashes {
  readonly md5: Buffer;
  readonly sha1: Buffer;
}

function createSet(
  files: FileLayer,
  path: string,
  { map, sectorBytes }: EwfSource,
  { about, compression, segmentBytes, setId }: EwfOptions,
): EwfSet {
  const paths: string[] = [];
  const volume = volumeData({ sectorCount: map.size, sectorBytes, compression, setId });
  let out: Appender | undefined;
  let closedBytes = 0;
  /** Where the sectors section that is being written begins, and the chunks in it. */
  let sectorsAt = 0;
  let entries: number[] = [];

  async function section(type: string, data: Uint8Array): Promise<void> {
    await out!.append(descriptor(type, out!.position(), data.length));
    await out!.append(data);
  }

  async function openSegment(): Promise<void> {
    const name = segmentPath(path, paths.length + 1)!;
    await files.remove(partOf(name));
    const file = await files.open(partOf(name), { create: true, exclusive: true });
    paths.push(name);
    out = createAppender(file);
    await out.append(fileHeader(paths.length));
    if (paths.length > 1) return await section('data', volume);
    const header2 = header2Data(about);
    await section('header2', header2);
    await section('header2', header2);
    await section('header', headerData(about));
    await section('volume', volume);
  }

  async function endSectors(): Promise<void> {
    if (entries.length === 0) return;
    const dataBytes = out!.position() - sectorsAt - descriptorBytes;
    await out!.patch(descriptor('sectors', sectorsAt, dataBytes), sectorsAt);
    const table = tableData(sectorsAt, entries);
    await section('table', table);
    await section('table2', table);
    entries = [];
  }

  async function closeSegment(): Promise<void> {
    const file = out!;
    await file.finish();
    out = undefined;
    closedBytes += file.position();
  }

  /** Whether the file, with this chunk and everything that must follow it, keeps to its size. */
  function hasRoom(chunkBytes: number): boolean {
    const tables = 2 * tableSectionBytes(entries.length + 1);
    return out!.position() + descriptorBytes + chunkBytes + tables + closingBytes <= segmentBytes;
  }

  /** Whether an offset from the section's start still reaches a chunk behind the last one. */
  function isInReach(chunkBytes: number): boolean {
    return out!.position() + chunkBytes - sectorsAt <= tableReachMax;
  }

  return {
    paths,
    writtenBytes: () => closedBytes,
    async addChunk({ bytes, checksum }) {
      const storedBytes = bytes.length + (checksum?.length ?? 0);
      if (!out) await openSegment();
      if (!hasRoom(storedBytes)) {
        await endSectors();
        await section('next', new Uint8Array());
        await closeSegment();
        await openSegment();
      }
      if (entries.length === tableChunksMax || !isInReach(storedBytes)) await endSectors();
      if (entries.length === 0) {
        sectorsAt = out!.position();
        await out!.append(descriptor('sectors', sectorsAt, 0)); // Its size is known later.
      }
      entries.push(out!.position() - sectorsAt + (checksum ? 0 : compressedFlag));
      await out!.append(bytes);
      if (checksum) await out!.append(checksum);
    },
    async finish({ md5, sha1 }, areaCount) {
      await endSectors();
      if (paths.length === 1) await section('data', volume);
      if (areaCount > 0) {
        await out!.append(descriptor('error2', out!.position(), error2Bytes(areaCount)));
        for (const piece of error2Data(areaCount, unreadAreas(map))) await out!.append(piece);
      }
      await section('digest', digestData(md5, sha1));
      await section('hash', hashData(md5));
      await section('done', new Uint8Array());
      await closeSegment();
    },
    async abandon() {
      await out?.abandon();
      for (const name of paths) await files.remove(partOf(name)).catch(() => undefined);
    },
  };
}

/** A file that grows at its end, in large pieces. */
interface Appender {
  position(): number;
  append(bytes: Uint8Array): Promise<void>;
  /** Writes over what was appended before. */
  patch(bytes: Uint8Array, position: number): Promise<void>;
  /** Everything is durable, and the file closed, when this resolves. */
  finish(): Promise<void>;
  abandon(): Promise<void>;
}

const appendBytes = 1 << 20;

function createAppender(file: OpenFile): Appender {
  const buffer = new Uint8Array(appendBytes);
  let filled = 0;
  let writtenBytes = 0;
  let isOpen = true;
  async function flush(): Promise<void> {
    if (filled > 0) await file.write(buffer.subarray(0, filled), writtenBytes);
    writtenBytes += filled;
    filled = 0;
  }
  async function close(): Promise<void> {
    if (isOpen) await file.close();
    isOpen = false;
  }
  return {
    position: () => writtenBytes + filled,
    async append(bytes) {
      for (let at = 0; at < bytes.length; ) {
        const piece = bytes.subarray(at, at + buffer.length - filled);
        buffer.set(piece, filled);
        filled += piece.length;
        at += piece.length;
        if (filled === buffer.length) await flush();
      }
    },
    async patch(bytes, position) {
      await flush();
      await file.write(bytes, position);
    },
    async finish() {
      await flush();
      await file.sync();
      await close();
    },
    abandon: () => close().catch(() => undefined),
  };
}

/** Read and hashed at once. */
const batchBytes = 1 << 20;
/** Batches that are compressed while the next one is read and hashed. */
const batchesAhead = 3;

/** Reads, hashes and compresses the medium, and adds its chunks to the set in order. */
async function writeChunks(
  source: EwfSource,
  { compression, signal, onProgress }: EwfOptions,
  set: EwfSet,
): Promise<MediumHashes> {
  const { map, sectorBytes } = source;
  const pack = createPacker(chunkSectorCount * sectorBytes, compression);
  const md5 = createHash('md5');
  const sha1 = createHash('sha1');
  const ahead: { endLba: number; readonly buffer: Buffer; readonly chunks: Promise<Chunk>[] }[] =
    [];
  /** Buffers of batches that are stored. */
  const free: Buffer[] = [];
  const storeFirst = async () => {
    signal?.throwIfAborted();
    const { endLba, buffer, chunks } = ahead.shift()!;
    for (const chunk of chunks) await set.addChunk(await chunk);
    free.push(buffer);
    onProgress?.(endLba * sectorBytes);
  };
  try {
    const chunkBytes = chunkSectorCount * sectorBytes;
    const batchCount = chunkSectorCount * Math.max(1, Math.floor(batchBytes / chunkBytes));
    for (let lba = 0; lba < map.size; lba += batchCount) {
      const endLba = Math.min(map.size, lba + batchCount);
      const buffer = free.pop() ?? Buffer.alloc(batchCount * sectorBytes);
      const data = buffer.subarray(0, (endLba - lba) * sectorBytes);
      await readBatch(source, lba, endLba, data);
      ahead.push({ endLba, buffer, chunks: pack(data) });
      md5.update(data);
      sha1.update(data);
      if (ahead.length > batchesAhead) await storeFirst();
    }
    while (ahead.length > 0) await storeFirst();
  } finally {
    await Promise.allSettled(ahead.flatMap(({ chunks }) => chunks));
  }
  return { md5: md5.digest(), sha1: sha1.digest() };
}

/** Fills `data` with the sectors from `lba` up to `endLba`; zeros where the map does not call them finished, whatever
 * the image holds. */
async function readBatch(
  { map, sectorBytes, read }: EwfSource,
  lba: number,
  endLba: number,
  data: Buffer,
): Promise<void> {
  const at = (sector: number) => (sector - lba) * sectorBytes;
  // Between the first and the last finished sector at once: the image may end behind the last.
  const first = map.next(lba, statuses.finished, endLba);
  const last = map.previous(endLba, statuses.finished, lba);
  if (first && last)
    await read(data.subarray(at(first.lba), at(endOf(last))), first.lba * sectorBytes);
  map.forEachRun(
    (runLba, count, value) => {
      if (value !== statuses.finished) data.fill(0, at(runLba), at(runLba + count));
    },
    lba,
    endLba,
  );
}

const levels: Readonly<Record<Exclude<EwfCompression, 'none'>, number>> = {
  fast: constants.Z_BEST_SPEED,
  best: constants.Z_BEST_COMPRESSION,
};

/** Cuts data into chunks and compresses each, beside this thread. A chunk of zeros is compressed once, also where
 * nothing else is: most of a large drive may be that. */
function createPacker(
  chunkBytes: number,
  compression: EwfCompression,
): (data: Uint8Array) => Promise<Chunk>[] {
  const zeros = new Uint8Array(chunkBytes);
  let packedZeros: Promise<Chunk> | undefined;
  const packZeros = () => {
    packedZeros ??= packed(zeros, levels.best);
    return packedZeros;
  };
  return (data) => {
    const chunks: Promise<Chunk>[] = [];
    for (let at = 0; at < data.length; at += chunkBytes) {
      const piece = data.subarray(at, at + chunkBytes);
      const isZeros = Buffer.compare(piece, zeros) === 0;
      if (isZeros) chunks.push(packZeros());
      else chunks.push(compression === 'none' ? plain(piece) : packed(piece, levels[compression]));
    }
    // One that fails while another is waited for must not end the process.
    for (const chunk of chunks) chunk.catch(() => undefined);
    return chunks;
  };
}

/** "Data chunk", uncompressed. */
async function plain(data: Uint8Array): Promise<Chunk> {
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32LE(adler32(data));
  return { bytes: data, checksum };
}

/** "Data chunk": zlib's stream where that is shorter than the data, else the data and its checksum, which zlib has
 * put at its stream's end the other way round. */
function packed(data: Uint8Array, level: number): Promise<Chunk> {
  return new Promise((resolve, reject) => {
    // One piece of output, or each chunk would go to the thread pool and back several times.
    const chunkSize = Math.max(64, data.length + 64);
    deflate(data, { level, chunkSize }, (error, stream) => {
      if (error) return reject(error);
      if (stream.length < data.length) return resolve({ bytes: stream });
      const checksum = Buffer.from(stream.subarray(-4)).reverse();
      resolve({ bytes: data, checksum });
    });
  });
}

/** Areas that are not finished, as first sector and count, as far as the format's numbers reach. */
function* unreadAreas(map: RunMap): Generator<readonly [number, number], void, undefined> {
  let from = -1;
  const end = Math.min(map.size, listedLbaMax + 1);
  for (const run of map.runs(0, end)) {
    const isFinished = run.value === statuses.finished;
    if (!isFinished && from < 0) from = run.lba;
    if (!isFinished || from < 0) continue;
    yield [from, run.lba - from];
    from = -1;
  }
  // All of 2^32 sectors would be one more than a count holds.
  if (from >= 0) yield [from, Math.min(end - from, listedLbaMax)];
}

function listedAreas(map: RunMap): number {
  let areas = 0;
  for (const _ of unreadAreas(map)) areas += 1;
  return areas;
}

function unlistedSectors(map: RunMap): number {
  let listed = 0;
  for (const [, count] of unreadAreas(map)) listed += count;
  return map.size - map.countOf(statuses.finished) - listed;
}
