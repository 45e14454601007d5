import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, mkdtemp, rename, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Clock, realClock, sleepBy } from '../../src/clock.js';
import type { ReadRequest, StoreTarget } from '../../src/drive/drive.js';
import { type FileDrive, openFileDrive, spawnReader } from '../../src/drive/file.js';
import { openTimeoutMs } from '../../src/drive/file-line.js';
import { encodeReplyHeader, replyHeaderBytes } from '../../src/drive/file-records.js';
import { abandonedCountMax } from '../../src/drive/io-process.js';
import { execPower } from '../../src/power/exec.js';
import type { StretchHash } from '../../src/segment-hasher.js';
import { oracleScenario, oracleTest, startOracleDrive } from '../oracle-drive.js';
import { needsTool } from '../tools.js';

const sectorBytes = 512;
const sectorCount = 4096;
const dontStop = { fault: false, slow: false, timeout: false };
const stopOnAll = { fault: true, slow: true, timeout: true };

let directory: string;
let path: string;
const opened: FileDrive[] = [];
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'file-drive-'));
  path = join(directory, 'drive.img');
  await writeFile(path, sectors(0, sectorCount));
});
afterEach(async () => {
  for (const drive of opened.splice(0)) await drive.close();
  await rm(directory, { recursive: true, force: true });
});

/** Sectors in which every 8 bytes hold the sector's own LBA. */
function sectors(lba: number, count: number): Buffer {
  const words = new BigUint64Array((count * sectorBytes) / 8);
  const wordsPerSector = sectorBytes / 8;
  words.forEach((_, index) => {
    words[index] = BigInt(lba + Math.floor(index / wordsPerSector));
  });
  return Buffer.from(words.buffer);
}

async function open(options: Parameters<typeof openFileDrive>[2] & { clock?: Clock } = {}) {
  const drive = await openFileDrive(path, options.clock ?? realClock(), options);
  opened.push(drive);
  return drive;
}

function request(lba: number, count: number, rest: Partial<ReadRequest> = {}): ReadRequest {
  return {
    extent: { lba, count },
    timeoutMs: 20_000,
    slowMs: 0,
    stopOn: dontStop,
    batch: 1,
    ...rest,
  };
}

describe('a file as a drive', () => {
  test('gives what the file holds, several requests under way, in their order', async () => {
    const drive = await open();
    const { readCountMax, inFlightMax } = drive.capabilities;
    expect({ readCountMax, inFlightMax }).toEqual({ readCountMax: 8192, inFlightMax: 4 });
    const places = [0, 2048, 7, 4095].map((lba) => ({ lba, count: Math.min(2048, 4096 - lba) }));
    const order: number[] = [];
    const results = await Promise.all(
      places.map(async ({ lba, count }) => {
        const result = await drive.read(request(lba, count));
        order.push(lba);
        return result;
      }),
    );
    expect(order).toEqual([0, 2048, 7, 4095]);
    results.forEach((result, index) => {
      const { lba, count } = places[index]!;
      expect(result).toMatchObject({ kind: 'good', goodCount: count });
      expect(Buffer.from(result.data).equals(sectors(lba, count))).toBe(true);
    });
  });

  test('says who it is: its path, and its size in sectors', async () => {
    const drive = await open({ physicalSectorBytes: 4096 });
    expect(await drive.identify()).toEqual({
      model: 'file',
      serial: path,
      firmware: '',
      sectorCount,
      sectorBytes,
      physicalSectorBytes: 4096,
    });
    expect(await drive.readiness()).toBe('ready');
  });

  test('is never written: content and times of a read-only file stay', async () => {
    await utimes(path, 1_000_000, 1_000_000);
    await chmod(path, 0o444);
    const before = await stat(path);
    const drive = await open();
    await drive.identify();
    await drive.read(request(0, 2048));
    await drive.readiness();
    await drive.close();
    const after = await stat(path);
    expect([after.mtimeMs, after.ctimeMs, after.mode, after.size]).toEqual([
      before.mtimeMs,
      before.ctimeMs,
      before.mode,
      before.size,
    ]);
    expect(readFileSync(path).equals(sectors(0, sectorCount))).toBe(true);
  });

  test('a read that ends early tells how far it came, and where it failed', async () => {
    const drive = await open();
    await truncate(path, 100 * sectorBytes);
    const result = await drive.read(request(90, 20));
    expect(result).toMatchObject({
      kind: 'fault',
      goodCount: 10,
      fault: { errno: 'EIO', lba: 100 },
    });
    expect(Buffer.from(result.data).equals(sectors(90, 10))).toBe(true);
  });

  test('where nothing is left to read, the drive is gone', async () => {
    const drive = await open();
    await truncate(path, 0);
    expect(await drive.read(request(90, 20))).toMatchObject({ kind: 'gone', goodCount: 0 });
    expect(await drive.identify()).toBeUndefined();
    expect(await drive.readiness()).toBe('not-ready');
  });

  test('a path that comes back is found by identify, and read again', async () => {
    const drive = await open();
    await rename(path, `${path}.away`);
    expect(await drive.readiness()).toBe('gone');
    expect(await drive.identify()).toBeUndefined();
    expect(await drive.read(request(0, 1))).toMatchObject({ kind: 'gone' });
    await writeFile(path, sectors(1000, 16));
    expect(await drive.identify()).toMatchObject({ sectorCount: 16 });
    const { data } = await drive.read(request(3, 1));
    expect(Buffer.from(data).equals(sectors(1003, 1))).toBe(true);
  });

  test('a path that comes back under the other name that was given with it is read there', async () => {
    const other = join(directory, 'other.img');
    const drive = await open({ spawnReader: (at) => spawnReader(at, other) });
    expect((await drive.read(request(0, 8))).kind).toBe('good');
    await rename(path, `${path}.away`);
    expect(await drive.readiness()).toBe('gone');
    await rename(`${path}.away`, other);
    expect(await drive.readiness()).toBe('ready');
    expect(await drive.identify()).toMatchObject({ sectorCount });
    const again = await drive.read(request(100, 8, { batch: 2 }));
    expect(Buffer.from(again.data)).toEqual(sectors(100, 8));
  });

  test('where the alignment does not suit the device, it is read through the cache', async () => {
    await writeFile(path, sectors(0, 128));
    const drive = await open({ sectorBytes: 64 });
    const { kind, data } = await drive.read(request(9, 3));
    expect(kind).toBe('good');
    expect(Buffer.from(data).equals(sectors(0, 8).subarray(9 * 64, 12 * 64))).toBe(true);
    expect(drive.isDirect).toBe(false);
  });

  test('has no reset but abort', async () => {
    const drive = await open();
    await expect(drive.reset('hard')).rejects.toMatchObject({ code: 'DEVICE_REFUSED' });
  });
});

describe('reads that are put into the image', () => {
  const segmentBytes = 512 * 1024;
  let image: string;
  beforeEach(async () => {
    image = join(directory, 'image.img');
    await writeFile(image, '');
    await truncate(image, sectorCount * sectorBytes);
  });

  async function storing(drive: FileDrive, into = image, more: Partial<StoreTarget> = {}) {
    const { dev: device, ino: inode } = await stat(into, { bigint: true });
    const hashes: StretchHash[] = [];
    const onHash = (hash: StretchHash) => void hashes.push(hash);
    const target = { path: into, device, inode, segmentBytes, onHash, ...more };
    return { isTaken: await drive.storeInto?.(target), hashes };
  }

  const isStored = true;
  const sha256 = (data: Uint8Array) => createHash('sha256').update(data).digest('hex');

  test('bring no data; the file has it, and segments read in order have their hash', async () => {
    const drive = await open();
    const { isTaken, hashes } = await storing(drive);
    expect(isTaken).toBe(true);
    const results = await Promise.all(
      [0, 512, 1024, 2560, 2048, 3072, 3584].map((lba) =>
        drive.read(request(lba, 512, { isStored })),
      ),
    );
    for (const result of results) {
      expect(result).toMatchObject({ kind: 'good', goodCount: 512, isStored });
      expect(result.data).toHaveLength(0);
    }
    await drive.flushHashes?.();
    const found = hashes.map(({ offsetBytes, byteCount, sha256 }) => [
      offsetBytes / sectorBytes,
      byteCount / sectorBytes,
      Buffer.from(sha256).toString('hex'),
    ]);
    // Segment 1 was begun and never ended, segment 2 was read from its middle on.
    expect(found).toEqual([
      [0, 1024, sha256(sectors(0, 1024))],
      [1024, 512, sha256(sectors(1024, 512))],
      [2560, 512, sha256(sectors(2560, 512))],
      [2048, 512, sha256(sectors(2048, 512))],
      [3072, 1024, sha256(sectors(3072, 1024))],
    ]);
    // What is asked for again is told again, and no more than there is.
    await drive.read(request(1024, 8, { isStored }));
    await drive.flushHashes?.();
    await drive.read(request(1032, 8, { isStored }));
    await drive.flushHashes?.();
    expect(hashes.slice(5).map(({ offsetBytes, byteCount }) => [offsetBytes, byteCount])).toEqual([
      [1024 * sectorBytes, 8 * sectorBytes],
      [1024 * sectorBytes, 16 * sectorBytes],
    ]);
    const written = readFileSync(image);
    expect(written.subarray(0, 1536 * 512).equals(sectors(0, 1536))).toBe(true);
    expect(written.subarray(1536 * 512, 2048 * 512).every((byte) => byte === 0)).toBe(true);
    expect(written.subarray(2048 * 512).equals(sectors(2048, 2048))).toBe(true);
    expect(readFileSync(path).equals(sectors(0, sectorCount))).toBe(true);
  });

  test('bring their data where they did not ask for it, and after a part of them failed', async () => {
    const drive = await open();
    await storing(drive);
    await truncate(path, 100 * sectorBytes);
    const plain = await drive.read(request(0, 8));
    const cut = await drive.read(request(90, 20, { isStored }));
    expect(plain).toMatchObject({ kind: 'good', goodCount: 8 });
    expect(Buffer.from(plain.data).equals(sectors(0, 8))).toBe(true);
    expect(cut).toMatchObject({ kind: 'fault', goodCount: 10 });
    expect(cut.isStored).toBeUndefined();
    expect(Buffer.from(cut.data).equals(sectors(90, 10))).toBe(true);
    expect(readFileSync(image).every((byte) => byte === 0)).toBe(true);
  });

  test('go there also after a process that hung was replaced', async () => {
    const drive = await open();
    await storing(drive);
    await drive.reset('abort');
    const under = drive.read(request(0, 8, { isStored }));
    await drive.reset('abort');
    await under;
    expect(await drive.read(request(8, 8, { isStored }))).toMatchObject({ isStored });
    expect(readFileSync(image).subarray(4096, 8192).equals(sectors(8, 8))).toBe(true);
  });

  test('never go to the drive itself, nor to another file than the one that is open', async () => {
    const drive = await open();
    expect(await storing(drive, path)).toMatchObject({ isTaken: false });
    const { ino } = await stat(image, { bigint: true });
    expect(await storing(drive, image, { inode: ino + 1n })).toMatchObject({ isTaken: false });
    expect(await storing(drive, image, { path: join(directory, 'none') })).toMatchObject({
      isTaken: false,
    });
    expect((await drive.read(request(0, 8, { isStored }))).data).toHaveLength(8 * sectorBytes);
    expect(readFileSync(path).equals(sectors(0, sectorCount))).toBe(true);
  });

  test.skipIf(!existsSync('/dev/full'))(
    'bring their data where the file takes no more: the failure is the image’s',
    async () => {
      const drive = await open();
      const { isTaken } = await storing(drive, '/dev/full');
      expect(isTaken).toBe(true);
      const result = await drive.read(request(0, 8, { isStored }));
      expect(result).toMatchObject({ kind: 'good', goodCount: 8 });
      expect(result.isStored).toBeUndefined();
      expect(Buffer.from(result.data).equals(sectors(0, 8))).toBe(true);
    },
  );
});

describe('a stop', () => {
  test('ends its batch, and no other', async () => {
    const drive = await open();
    const slow = { stopOn: stopOnAll, slowMs: 1e-6 };
    const results = await Promise.all([
      drive.read(request(0, 8, { ...slow, batch: 1 })),
      drive.read(request(8, 8, { stopOn: stopOnAll, batch: 1 })),
      drive.read(request(16, 8, { stopOn: stopOnAll, batch: 2 })),
    ]);
    expect(results.map((result) => result.kind)).toEqual(['slow', 'not-attempted', 'good']);
    expect(results[0]!.data.length).toBe(8 * sectorBytes);
  });

  test('also holds for what is asked of the batch later', async () => {
    const drive = await open();
    await truncate(path, 100 * sectorBytes);
    await drive.read(request(99, 2, { stopOn: stopOnAll }));
    expect(await drive.read(request(0, 1, { stopOn: stopOnAll }))).toMatchObject({
      kind: 'not-attempted',
      goodCount: 0,
      elapsedMs: 0,
    });
  });

  test('is none where it is not asked for', async () => {
    const drive = await open();
    const kinds = await Promise.all(
      [0, 8].map(async (lba) => (await drive.read(request(lba, 8, { slowMs: 1e-6 }))).kind),
    );
    expect(kinds).toEqual(['slow', 'slow']);
  });
});

describe('a read that does not return', () => {
  test('times out at its deadline; its process is killed and replaced', async () => {
    const clock = manualClock();
    const readers = recordReaders();
    const drive = await open({ clock, spawnReader: readers.spawn });
    readers.children[0]!.kill('SIGSTOP');
    const hung = drive.read(request(0, 8, { timeoutMs: 700, stopOn: stopOnAll }));
    const sameBatch = drive.read(request(8, 8, { stopOn: stopOnAll }));
    const nextBatch = drive.read(request(16, 8, { batch: 2 }));
    clock.advance(700);
    expect(await hung).toMatchObject({ kind: 'timeout', goodCount: 0, elapsedMs: 700 });
    expect(await sameBatch).toMatchObject({ kind: 'not-attempted' });
    const { kind, data } = await nextBatch;
    expect(kind).toBe('good');
    expect(Buffer.from(data).equals(sectors(16, 8))).toBe(true);
    expect(readers.children.length).toBe(2);
    await expect.poll(() => readers.children[0]!.signalCode).toBe('SIGKILL');
  });

  test('is not waited for by an abort', async () => {
    const readers = recordReaders();
    const drive = await open({ spawnReader: readers.spawn });
    readers.children[0]!.kill('SIGSTOP');
    const reads = [drive.read(request(0, 8)), drive.read(request(8, 8, { batch: 2 }))];
    const identity = drive.identify();
    await drive.reset('abort');
    expect((await Promise.all(reads)).map((result) => result.kind)).toEqual([
      'not-attempted',
      'not-attempted',
    ]);
    expect(await identity).toMatchObject({ sectorCount });
    expect(await drive.read(request(0, 8))).toMatchObject({ kind: 'good' });
  });

  test('leaves no more than a bounded number of processes behind', async () => {
    const clock = manualClock();
    const readers = recordReaders();
    const drive = await open({ clock, spawnReader: readers.spawn });
    const kills: (() => void)[] = [];
    for (let count = 0; count < abandonedCountMax; count++) {
      await drive.identify(); // The process has opened the path: deadlines are the reads' own.
      const child = readers.children[count]!;
      child.kill('SIGSTOP');
      const kill = child.kill.bind(child);
      kills.push(() => kill('SIGKILL'));
      child.kill = () => true; // As for one in uninterruptible sleep.
      const read = drive.read(request(0, 8, { timeoutMs: 700, batch: count }));
      clock.advance(700);
      expect(await read).toMatchObject({ kind: 'timeout' });
    }
    expect(await drive.read(request(0, 8))).toMatchObject({ kind: 'gone' });
    expect(await drive.identify()).toBeUndefined();
    expect(await drive.readiness()).toBe('gone');
    expect(readers.children.length).toBe(abandonedCountMax);
    for (const kill of kills) kill();
    await expect.poll(() => drive.readiness()).toBe('ready');
  });

  test('nor does an open: identify finds no drive', async () => {
    const clock = manualClock();
    const readers = recordReaders();
    const drive = await open({ clock, spawnReader: readers.spawn });
    readers.children[0]!.kill('SIGSTOP');
    const identity = drive.identify();
    clock.advance(openTimeoutMs);
    expect(await identity).toBeUndefined();
  });
});

describe('the process that reads', () => {
  test('when it dies by itself, the link is broken; the next read has another', async () => {
    const readers = recordReaders();
    const drive = await open({ spawnReader: readers.spawn });
    readers.children[0]!.kill('SIGSTOP');
    const read = drive.read(request(0, 8));
    readers.children[0]!.kill('SIGKILL');
    await expect(read).rejects.toMatchObject({
      code: 'LINK_CLOSED',
      message: expect.stringContaining('killed by SIGKILL'),
    });
    expect(await drive.read(request(0, 8))).toMatchObject({ kind: 'good' });
  });

  test('does not keep a program running that forgot to close its drive', async () => {
    const built = join(import.meta.dirname, '../../dist/src');
    const program = `
      const { openFileDrive } = await import('${built}/drive/file.js');
      const { realClock } = await import('${built}/clock.js');
      const drive = await openFileDrive('${path}', realClock());
      console.log((await drive.identify()).sectorCount);`;
    const values = ['--input-type=module', '-e', program];
    const { stdout } = await promisify(execFile)(process.execPath, values, { timeout: 30_000 });
    expect(stdout).toBe(`${sectorCount}\n`);
  });
});

describe('what cannot be a drive is refused in one line', () => {
  const refused = (message: string) => ({ code: 'DRIVE_OPEN_FAILED', exitCode: 1, message });

  test('a path that is not there', async () => {
    await rm(path);
    await expect(open()).rejects.toMatchObject(
      refused(`cannot open ${path}: no such file or device`),
    );
  });

  test.skipIf(needsTool('mkfifo'))(
    'a directory, and a pipe, which is not even opened',
    async () => {
      await rm(path);
      execFileSync('mkfifo', [path]);
      const message = 'neither a regular file nor a block device';
      await expect(open()).rejects.toMatchObject(refused(`${path} is ${message}`));
      path = directory;
      await expect(open()).rejects.toMatchObject(refused(`${directory} is ${message}`));
    },
  );

  test('an empty file', async () => {
    await truncate(path, 0);
    await expect(open()).rejects.toThrow('is empty');
  });

  test('half a sector at the end, with what to do about it', async () => {
    await truncate(path, 1000);
    await expect(open()).rejects.toThrow(
      `${path} ends with 488 bytes of a sector of 512: copy it, fill the copy with zeros`,
    );
  });

  test('a missing permission', async () => {
    const spawnRefused = () => spawnSaying({ state: 'refused', errno: 13 });
    const hint = 'permission denied; use `sudo`, or join its group (`disk` for devices)';
    await expect(open({ spawnReader: spawnRefused })).rejects.toMatchObject(
      refused(`cannot open ${path}: ${hint}`),
    );
  });

  test('a physical sector that is no multiple of the logical one', async () => {
    await expect(open({ physicalSectorBytes: 700 })).rejects.toThrow('700 bytes is no multiple');
  });
});

describe('the oracle drive', () => {
  oracleTest('hangs until its power is cycled, and is read again', async () => {
    const oracle = await startOracleDrive(oracleScenario('p6-hang'), { scale: 200 });
    try {
      path = oracle.source;
      const drive = await open();
      expect(await drive.identify()).toMatchObject({ sectorCount: 1_048_576 });
      const before = await drive.read(request(202_000, 16));
      expect(before).toMatchObject({ kind: 'good', goodCount: 16 });
      expect(Buffer.from(before.data).readBigUInt64LE(15 * sectorBytes)).toBe(202_015n);
      const fault = { kind: 'fault', goodCount: 0, fault: { errno: 'EIO' } };
      const hanging = await drive.read(request(202_016, 8));
      expect(hanging).toMatchObject(fault);
      expect(hanging.fault).not.toHaveProperty('lba');
      const elsewhere = await drive.read(request(0, 8));
      expect(elsewhere).toMatchObject(fault);
      expect(elsewhere.elapsedMs).toBeLessThan(hanging.elapsedMs);
      await execPower(`touch ${oracle.powerFile}`, realClock()).cycle(0);
      expect(await drive.identify()).toMatchObject({ sectorCount: 1_048_576 });
      expect(await drive.read(request(0, 8))).toMatchObject({ kind: 'good' });
      await drive.close();
      expect(readsOf(oracle.readsCsv)).toEqual([
        '202000,16,OK',
        '202016,8,HANG',
        '0,8,HANG',
        '0,0,POWER',
        '0,8,OK',
      ]);
    } finally {
      await oracle.stop();
    }
  });

  oracleTest('is asked once per request, as much as a request can ask', async () => {
    const oracle = await startOracleDrive(oracleScenario('p0-healthy'), { scale: 10_000 });
    try {
      path = oracle.source;
      const drive = await open();
      const { readCountMax } = drive.capabilities;
      await drive.read(request(0, readCountMax));
      await drive.read(request(readCountMax, readCountMax));
      await drive.close();
      const count = readCountMax;
      expect(readsOf(oracle.readsCsv)).toEqual([`0,${count},OK`, `${count},${count},OK`]);
    } finally {
      await oracle.stop();
    }
  });
});

/** The oracle's log as LBA, count and result. */
function readsOf(csv: string): string[] {
  const lines = readFileSync(csv, 'utf8').trim().split('\n').slice(1);
  return lines.map((line) => line.split(',').slice(1, 4).join(','));
}

/** Time that passes when the test says so. */
function manualClock(): Clock & { advance(deltaMs: number): void } {
  let nowMs = 0;
  const timers = new Set<{ atMs: number; callback: () => void }>();
  const fireDue = () => {
    for (const timer of timers) {
      if (timer.atMs > nowMs) continue;
      timers.delete(timer);
      timer.callback();
    }
  };
  const after: Clock['after'] = (delayMs, callback) => {
    const timer = { atMs: nowMs + delayMs, callback };
    timers.add(timer);
    return () => void timers.delete(timer);
  };
  return {
    now: () => nowMs,
    after,
    sleep: (delayMs, signal) => sleepBy(after, delayMs, signal),
    advance(deltaMs) {
      nowMs += deltaMs;
      fireDue();
    },
  };
}

/** Starts real processes and keeps hold of them. */
function recordReaders() {
  const children: ChildProcess[] = [];
  return {
    children,
    spawn: (drivePath: string) => {
      const child = spawnReader(drivePath);
      children.push(child);
      return child;
    },
  };
}

/** A process that says one thing of its path, at the start and when asked first. */
function spawnSaying(inspection: object): ChildProcess {
  const data = Buffer.from(JSON.stringify(inspection));
  const replies = [0, 1].map((id) => {
    const header = Buffer.alloc(replyHeaderBytes);
    const rest = { dataBytes: data.length, errno: 0, direct: false, isStored: false, elapsedMs: 0 };
    encodeReplyHeader({ kind: 'inspection', id, ...rest }, header);
    return Buffer.concat([header, data]);
  });
  const program = `
    require('fs').writeSync(4, Buffer.from('${Buffer.concat(replies).toString('hex')}', 'hex'));
    require('fs').readSync(3, Buffer.alloc(64)); require('fs').readSync(3, Buffer.alloc(64));`;
  return spawn(process.execPath, ['-e', program], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
  });
}
