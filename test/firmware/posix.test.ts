import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Caller, createCaller } from '../../firmware-protocol/caller.js';
import { commands, powerActions, powerStates } from '../../firmware-protocol/commands.js';
import { framedLink, type Link } from '../../firmware-protocol/link.js';
import { createRandom } from '../../hardware-sim/random.js';
import { realClock } from '../../src/clock.js';
import { type ImagerDrive, openImager } from '../../src/drive/imager.js';
import { openLink } from '../../src/drive/links.js';
import { type Noise, type NoiseCounts, noisyDuplex } from './noisy-stream.js';
import { build, buildSlowPread, lacksCompiler, scratchFolder } from './posix-build.js';

const sectorBytes = 512;
/** The caller's beats come four times as often as in life; the imager keeps real time. */
const clock = realClock(4);

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
  options: {
    readonly program?: string;
    readonly noise?: Noise;
    readonly env?: Readonly<Record<string, string>>;
  } = {},
): Promise<Running> {
  const countPath = join(scratchFolder(), 'count');
  const child = spawn(options.program ?? imagerProgram, ['--count', countPath, ...words], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, ...options.env },
  });
  children.push(child);
  // F-8: it is there. A busy machine may take its time to start it, and the caller's runs fast.
  await once(child.stdout!, 'readable');
  const noise = { flipped: 0, dropped: 0, doubled: 0, inserted: 0, merged: 0 };
  const ends = { readable: child.stdout!, writable: child.stdin! };
  const stream = options.noise ? noisyDuplex(ends, options.noise, noise) : Duplex.from(ends);
  const link = framedLink(stream, { name: 'lastspin-imager' });
  const drive = await openImager(link, clock, { session: 77 });
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
async function imageAll(
  drive: ImagerDrive,
  sectorCount: number,
  onRead: (readsDone: number) => void = () => {},
): Promise<Imaged> {
  const count = 64;
  let readsDone = 0;
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
      onRead(++readsDone);
    });
    reads.push(done);
  }
  await Promise.all(reads);
  return { image, requests };
}

/** The port that a server says it listens on. */
async function listeningPort(child: ChildProcess): Promise<number> {
  let said = '';
  for await (const bytes of child.stderr!) {
    said += String(bytes);
    const found = /port (\d+)/.exec(said);
    if (found) return Number(found[1]);
  }
  throw new Error(`it never listened: ${said}`);
}

describe.skipIf(lacksCompiler())('the POSIX imager', () => {
  beforeAll(() => {
    imagerProgram = build('lastspin-imager', { sanitize: true });
  });

  describe('over standard input and output', () => {
    test('images a file whole, each sector read once', async () => {
      const sectorCount = 8192;
      const data = contents(sectorCount, 1);
      const running = await start([driveFile(data)]);
      const identity = await running.drive.identify();
      expect(identity).toMatchObject({ model: 'drive.bin', sectorCount, sectorBytes });
      const { image, requests } = await imageAll(running.drive, sectorCount);
      expect(image.equals(data)).toBe(true);
      expect(await finish(running)).toBe(requests);
    });

    const noise = { seed: 5, everyBytes: 50_000 };
    test('a noisy line costs no wrong byte and no read of the drive', async () => {
      const sectorCount = 8192;
      const data = contents(sectorCount, 2);
      const running = await start([driveFile(data)], { noise });
      await running.drive.identify();
      const { image, requests } = await imageAll(running.drive, sectorCount);
      expect(image.equals(data)).toBe(true);
      const { flipped, dropped, doubled, inserted, merged } = running.noise;
      expect(flipped + dropped + doubled + inserted + merged).toBeGreaterThan(50);
      expect(running.drive.counters.repetitions).toBeGreaterThan(0);
      expect(await finish(running)).toBe(requests);
    });

    test('a buffer smaller than was offered is noticed by that test', async () => {
      const sectorCount = 8192;
      const data = contents(sectorCount, 2);
      // Room for two reads, where 4 MiB are offered.
      const bytes = '-DLASTSPIN_READ_BYTES_MAX=65536UL -DLASTSPIN_ARENA_BYTES=65536UL';
      const defines = `-DLASTSPIN_ARENA_TOO_SMALL ${bytes}`;
      const program = build('lastspin-imager', { defines });
      const running = await start([driveFile(data)], { noise, program });
      await running.drive.identify();
      // What it cannot send again has to be read again, or comes back as nothing good.
      const imaged = await imageAll(running.drive, sectorCount).catch(() => undefined);
      const count = await finish(running);
      const isPerfect = imaged?.image.equals(data) && count === imaged.requests;
      expect(isPerfect ?? false).toBe(false);
    });
  });

  describe('a drive that fails', () => {
    let library: string;
    beforeAll(() => {
      library = buildSlowPread();
    });
    // The sanitizer wants to be loaded first, and need not be.
    const preload = () => ({ LD_PRELOAD: library, ASAN_OPTIONS: 'verify_asan_link_order=0' });
    const stopOn = { fault: false, slow: false, timeout: false };
    const readAt = (lba: number, timeoutMs: number) => ({
      extent: { lba, count: 8 },
      timeoutMs,
      slowMs: 0,
      stopOn,
      batch: lba,
    });

    test('R-2: a read that the kernel keeps is a timeout, and the next waits for the drive', async () => {
      const env = { ...preload(), SLOW_LBA: '64', SLOW_MS: '900' };
      const running = await start([driveFile(contents(256, 3))], { env });
      await running.drive.identify();
      const results = await Promise.all([
        running.drive.read(readAt(64, 200)),
        running.drive.read(readAt(128, 200)),
        running.drive.read(readAt(192, 20_000)),
      ]);
      expect(results.map(({ kind }) => kind)).toEqual(['timeout', 'timeout', 'good']);
      // The second never reached the drive.
      expect(await finish(running)).toBe(2);
    });

    test('says what the kernel told: where it ended, a medium error, a drive that left', async () => {
      const env = { ...preload(), SHORT_LBA: '16', BAD_LBA: '32', GONE_LBA: '48' };
      const data = contents(256, 4);
      const running = await start([driveFile(data)], { env });
      await running.drive.identify();
      const short = await running.drive.read(readAt(16, 5000));
      expect(short).toMatchObject({ kind: 'fault', goodCount: 4, fault: { lba: 20 } });
      expect(data.subarray(16 * 512, 20 * 512).equals(short.data)).toBe(true);
      const bad = await running.drive.read(readAt(32, 5000));
      expect(bad).toMatchObject({ kind: 'fault', goodCount: 0, fault: { sense: { key: 3 } } });
      expect((await running.drive.read(readAt(48, 5000))).kind).toBe('gone');
      // It is looked for, and back.
      expect((await running.drive.read(readAt(64, 5000))).kind).toBe('good');
      expect(await finish(running)).toBe(4);
    });
  });

  test('TCP: a connection that drops costs no read, and a second program has to wait', async () => {
    const sectorCount = 8192;
    const data = contents(sectorCount, 6);
    const countPath = join(scratchFolder(), 'count');
    const words = ['--tcp', '0', '--count', countPath, driveFile(data)];
    const child = spawn(imagerProgram, words, { stdio: ['ignore', 'ignore', 'pipe'] });
    children.push(child);
    const port = await listeningPort(child);
    const sockets: Socket[] = [];
    const relink = async (): Promise<Link> => {
      const socket = connect(port, '127.0.0.1');
      sockets.push(socket);
      await once(socket, 'connect');
      return framedLink(socket);
    };
    const drive = await openImager(await relink(), clock, { session: 9, name: 'C', relink });
    await drive.identify();
    // Busy; and what came on another connection is no business of the first.
    await expect(openImager(await relink(), clock, { session: 10, name: 'D' })).rejects.toThrow(
      /another program/,
    );
    const { image, requests } = await imageAll(drive, sectorCount, (readsDone) => {
      if (readsDone === 10) sockets[0]!.destroy();
    });
    expect(image.equals(data)).toBe(true);
    expect(drive.counters.relinks).toBe(1);
    await drive.close();
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
    expect(Number(readFileSync(countPath, 'utf8'))).toBe(requests);
  });

  test('pty: read through serialport, closed, and opened again by another program', async () => {
    const sectorCount = 512;
    const data = contents(sectorCount, 8);
    const path = join(scratchFolder(), 'pty');
    const child = spawn(imagerProgram, ['--pty', path, driveFile(data)], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    children.push(child);
    await once(child.stderr, 'readable');
    for (const session of [1, 2]) {
      const link = await openLink(`serial:${path}`, clock);
      const drive = await openImager(link, clock, { session, name: 'C' });
      await drive.identify();
      const { image } = await imageAll(drive, sectorCount);
      expect(image.equals(data)).toBe(true);
      await drive.close();
    }
    child.kill('SIGTERM');
    await once(child, 'exit');
    expect(existsSync(path)).toBe(false);
  });

  describe('power by a command', () => {
    const on = { action: powerActions.on, offMs: 0, standbyFirst: 0 };

    async function startPowered(words: readonly string[] = []) {
      const log = join(scratchFolder(), 'log');
      const command = `echo {action} >> ${log}`;
      const child = spawn(imagerProgram, ['--power', command, '--discharge', '50', ...words], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      children.push(child);
      await once(child.stdout, 'readable');
      const link = framedLink(Duplex.from({ readable: child.stdout, writable: child.stdin }));
      const caller = await createCaller(link, clock, { session: 3, name: 'C' });
      return { child, caller, said: () => readFileSync(log, 'utf8').trim().split('\n') };
    }

    async function until(caller: Caller, state: keyof typeof powerStates): Promise<void> {
      for (let tries = 0; tries < 500; tries++) {
        const { powerState } = await caller.call(commands.status, {});
        if (powerState === powerStates[state]) return;
        await clock.sleep(100);
      }
      throw new Error(`never ${state}`);
    }

    test('off first, then as it is told; reads find a drive that has no power gone', async () => {
      const { child, caller, said } = await startPowered([driveFile(contents(64, 7))]);
      await until(caller, 'off');
      const request = { batch: 1, lba: 0, count: 8, timeoutMs: 3000, slowMs: 0, sectorBytes: 512 };
      const read = () => caller.read({ ...request, stopOn: 0 });
      expect((await read()).outcome).toBe('gone');
      await caller.call(commands.power, on);
      await until(caller, 'ready');
      expect(await caller.read({ ...request, batch: 2, stopOn: 0 })).toMatchObject({
        goodCount: 8,
      });
      const cycle = { action: powerActions.cycle, offMs: 100, standbyFirst: 0 };
      await caller.call(commands.power, cycle);
      await until(caller, 'ready');
      expect(await caller.call(commands.status, {})).toMatchObject({ powerCycles: 2 });
      caller.close();
      child.kill('SIGTERM');
      await once(child, 'exit');
      expect(said()).toEqual(['off', 'on', 'off', 'on', 'off']);
    });

    test('T-5: the end of its input switches off, whatever record there is', async () => {
      for (const more of [[], ['--state', join(scratchFolder(), 'state')]]) {
        const { child, caller, said } = await startPowered(more);
        await caller.call(commands.power, on);
        await until(caller, 'on-not-ready');
        const ended = once(child, 'exit');
        child.stdin.end();
        caller.close();
        expect(await ended).toEqual([0, null]);
        expect(said()).toEqual(['off', 'on', 'off']);
      }
    });

    test('P-1: a restart with --state leaves the power as it is', async () => {
      const state = join(scratchFolder(), 'state');
      const first = await startPowered(['--state', state]);
      await first.caller.call(commands.power, on);
      await until(first.caller, 'on-not-ready');
      first.child.kill('SIGTERM');
      await once(first.child, 'exit');
      expect(first.said()).toEqual(['off', 'on']);
      const second = await startPowered(['--state', state]);
      await until(second.caller, 'on-not-ready');
      expect(second.caller.agreed.bootCause).toBe(5);
      second.child.kill('SIGTERM');
      await once(second.child, 'exit');
      expect(second.said()).toEqual(['on']);
    });
  });

  test('refuses what it cannot serve with one line', () => {
    const folder = scratchFolder();
    const file = driveFile(contents(8, 1));
    const refused = (words: readonly string[]) => {
      const { status, stderr } = spawnSync(imagerProgram, words, { encoding: 'utf8', input: '' });
      expect(stderr.trim().split('\n')).toHaveLength(1);
      return `${status} ${stderr.trim()}`;
    };
    expect(refused([join(folder, 'none')])).toMatch(/^2 .*cannot open .*none: No such file/);
    expect(refused([folder])).toMatch(/^2 .*neither a regular file nor a block device/);
    writeFileSync(join(folder, 'empty'), '');
    expect(refused([join(folder, 'empty')])).toMatch(/^1 .*it is empty/);
    expect(refused([])).toMatch(/^2 .*give a FILE or DEVICE/);
    expect(refused([file, '--power', 'switch it'])).toMatch(/^2 .*has no \{action\}/);
    expect(refused([file, '--sector-bytes', 'x'])).toMatch(/^2 .*takes a number from/);
    expect(refused(['--pty', '/none/pty', file])).toMatch(/^2 .*cannot make \/none\/pty/);
    expect(existsSync('/none')).toBe(false);
  });
});
