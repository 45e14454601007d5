import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { framedLink } from '../../firmware-protocol/link.js';
import { createRandom } from '../../hardware-sim/random.js';
import { realClock } from '../../src/clock.js';
import { type ImagerDrive, openImager } from '../../src/drive/imager.js';
import { type Noise, type NoiseCounts, noisyDuplex } from './noisy-stream.js';
import { build, lacksCompiler, scratchFolder } from './posix-build.js';

const sectorBytes = 512;
/** The caller's beats come ten times as often as in life; the imager keeps real time. */
const clock = realClock(10);
const sanitize = '-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all';

let imagerProgram: string;
const children: ChildProcess[] = [];

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

/** What a drive holds: random sectors, runs of zeros and of other bytes, and sectors full of zeros
 * but for one byte. */
function contents(sectorCount: number, seed: number): Buffer {
  const random = createRandom(seed);
  const data = Buffer.alloc(sectorCount * sectorBytes);
  for (let sector = 0; sector < sectorCount; ) {
    const count = Math.min(sectorCount - sector, 1 + random.below(64));
    const part = data.subarray(sector * sectorBytes, (sector + count) * sectorBytes);
    const kind = random.below(4);
    if (kind === 0) part.fill(random.below(256));
    else if (kind === 1) part[random.below(part.length)] = 1;
    else for (let at = 0; at < part.length; at++) part[at] = random.below(256);
    sector += count;
  }
  return data;
}

function driveFile(data: Uint8Array): string {
  const path = join(scratchFolder(), 'drive.bin');
  writeFileSync(path, data);
  return path;
}

interface Running {
  readonly drive: ImagerDrive;
  readonly child: ChildProcess;
  readonly countPath: string;
  readonly noise: NoiseCounts;
}

async function start(
  words: readonly string[],
  options: { readonly program?: string; readonly noise?: Noise; readonly session?: number } = {},
): Promise<Running> {
  const countPath = join(scratchFolder(), 'count');
  const child = spawn(options.program ?? imagerProgram, ['--count', countPath, ...words], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  children.push(child);
  const noise = { flipped: 0, dropped: 0, doubled: 0, inserted: 0, merged: 0 };
  const ends = { readable: child.stdout!, writable: child.stdin! };
  const stream = options.noise ? noisyDuplex(ends, options.noise, noise) : Duplex.from(ends);
  const link = framedLink(stream, { name: 'lastspin-imager' });
  const drive = await openImager(link, clock, { session: options.session ?? 77 });
  return { drive, child, countPath, noise };
}

/** Ends the imager by the end of its input, and tells how many reads reached its drive. */
async function finish({ drive, child, countPath }: Running): Promise<number> {
  const ended = once(child, 'exit');
  drive.close();
  child.stdin!.end();
  expect(await ended).toEqual([0, null]);
  return Number(readFileSync(countPath, 'utf8'));
}

interface Imaged {
  readonly image: Buffer;
  readonly requests: number;
}

/** Reads everything, a window at a time, as a job does; each request is one command to the drive. */
async function imageAll(drive: ImagerDrive, sectorCount: number, count = 64): Promise<Imaged> {
  const image = Buffer.alloc(sectorCount * sectorBytes, 0xee);
  let requests = 0;
  const reads: Promise<void>[] = [];
  for (let lba = 0; lba < sectorCount; lba += count) {
    const extent = { lba, count: Math.min(count, sectorCount - lba) };
    requests++;
    const stopOn = { fault: false, slow: false, timeout: false };
    const request = { extent, timeoutMs: 20_000, slowMs: 0, stopOn, batch: requests };
    const done = drive.read(request).then((result) => {
      expect(result.kind).toBe('good');
      expect(result.goodCount).toBe(extent.count);
      image.set(result.data, lba * sectorBytes);
    });
    reads.push(done);
  }
  await Promise.all(reads);
  return { image, requests };
}

describe.skipIf(lacksCompiler())('the POSIX imager', () => {
  beforeAll(() => {
    imagerProgram = build('lastspin-imager', '', sanitize);
  });

  test('images a file whole over a clean line, each sector read once', async () => {
    const sectorCount = 8192;
    const data = contents(sectorCount, 1);
    const running = await start([driveFile(data)]);
    const identity = await running.drive.identify();
    expect(identity).toMatchObject({ model: 'drive.bin', sectorCount, sectorBytes });
    const { image, requests } = await imageAll(running.drive, sectorCount);
    expect(image.equals(data)).toBe(true);
    expect(await finish(running)).toBe(requests);
  });

  test('a noisy line costs no wrong byte and no read of the drive', async () => {
    const sectorCount = 8192;
    const data = contents(sectorCount, 2);
    const noise = { seed: 5, everyBytes: 50_000 };
    const running = await start([driveFile(data)], { noise });
    await running.drive.identify();
    const { image, requests } = await imageAll(running.drive, sectorCount);
    expect(image.equals(data)).toBe(true);
    const troubles = Object.values(running.noise).reduce((sum, count) => sum + count, 0);
    expect(troubles).toBeGreaterThan(50);
    expect(running.drive.counters.repetitions).toBeGreaterThan(0);
    expect(await finish(running)).toBe(requests);
  });
});
