import { execFileSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CloneOptions, clone } from '../../src/cli/clone.js';
import { exportImage } from '../../src/cli/export.js';
import { type FillOptions, fill } from '../../src/cli/fill.js';
import { type RestoreOptions, restore } from '../../src/cli/restore.js';
import { takeLock } from '../../src/image/lock.js';
import {
  cloneResultSchema,
  fillResultSchema,
  restoreResultSchema,
} from '../../src/show/copy-result.js';
import { needsTool } from '../tools.js';
import { run, start, temporaryFolder } from './cli.js';

const driveBytes = 512 * 6000;
const content = randomFillSync(Buffer.alloc(driveBytes));
const old = (bytes: number) => Buffer.alloc(bytes, 'what was on the target before');
const needsDdrescue = needsTool('ddrescue');

/** A folder with a drive, `source`, and a target of some size. */
function bench(targetBytes = driveBytes) {
  const folder = temporaryFolder();
  const at = (name: string) => join(folder, name);
  writeFileSync(at('source'), content);
  writeFileSync(at('target'), old(targetBytes));
  const files = ['--case-files', at('case.map')];
  const go = ['--overwrite', at('target')];
  const cloned = (...args: string[]) =>
    run(['clone', at('source'), at('target'), ...files, ...args]);
  return { at, go, cloned, target: () => readFileSync(at('target')) };
}

describe('an image in parts', () => {
  test('is what cat makes of them, and is resumed without being told', async () => {
    const { at } = bench();
    const image = ['image', at('source'), at('case.img')];
    expect(await run([...image, '--split', '1MB', '--range', '0-2500'])).toMatchObject({
      status: 0,
    });
    expect(await run([...image, '--range', '0-5999'])).toMatchObject({ status: 0 });
    const parts = execFileSync('sh', ['-c', 'cat "$0".0*', at('case.img')], { maxBuffer: 1 << 24 });
    expect(parts.equals(content)).toBe(true);
    expect(statSync(at('case.img.001')).size).toBe(999_936);
    expect(existsSync(at('case.img'))).toBe(false);
    const other = await run([...image, '--split', '2MB']);
    expect(other).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('in parts of 999936'),
    });
    rmSync(at('case.img.002'));
    const missing = await run(image);
    expect(missing).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('case.img.002 is missing'),
    });
  });

  test('of which the first was edited into another file is read again, and is no other image', async () => {
    const { at } = bench();
    const image = ['image', at('source'), at('case.img')];
    expect(await run([...image, '--split', '1MB'])).toMatchObject({ status: 0 });
    const part = readFileSync(at('case.img.001'));
    part.write('edited', 5000);
    writeFileSync(at('edited'), part);
    renameSync(at('edited'), at('case.img.001'));
    const again = await run(image);
    expect(again.status, again.stderr).toBe(0);
    expect(again.stderr).toContain('case.img was changed since it was read, at LBA 0 to 5999');
    const parts = execFileSync('sh', ['-c', 'cat "$0".0*', at('case.img')], { maxBuffer: 1 << 24 });
    expect(parts.equals(content)).toBe(true);
    for (const number of [1, 2, 3, 4]) {
      copyFileSync(at('target'), at('other'));
      truncateSync(at('other'), statSync(at(`case.img.00${number}`)).size);
      renameSync(at('other'), at(`case.img.00${number}`));
    }
    const other = await run(image);
    expect(other).toMatchObject({ status: 2, stderr: expect.stringContaining('is not the image') });
  });

  test('refuses too many parts before anything is made', async () => {
    const { at } = bench();
    const { status, stderr } = await run(['image', at('source'), at('a.img'), '--split', '1000']);
    expect(status).toBe(2);
    expect(stderr).toContain('999 are the most');
    expect(existsSync(at('a.map'))).toBe(false);
  });
});

describe('a clone', () => {
  test.each<[string, (own: string) => Partial<CloneOptions>, RegExp]>([
    ['nobody said yes', () => ({}), /with --overwrite \S+target/],
    ['the word is another', () => ({ overwrite: 'yes' }), /not --overwrite yes/],
    ['an excess cannot be marked', (overwrite) => ({ overwrite, excess: 'marker' }), /no LBA/],
    ['a fill is none', (overwrite) => ({ overwrite, fill: 'holes' }), /--fill holes/],
  ])('is not made when %s', async (_what, options, why) => {
    const { at, target } = bench();
    const act = clone(at('source'), at('target'), {
      power: [],
      caseFiles: at('case.map'),
      ...options(at('target')),
    });
    await expect(act).rejects.toMatchObject({
      code: 'USAGE',
      message: expect.stringMatching(why),
    });
    expect(target().equals(old(driveBytes))).toBe(true);
    expect(existsSync(at('case.map'))).toBe(false);
  });

  test('is not made onto the drive, a folder, or nothing', async () => {
    const { at } = bench();
    const files = ['--case-files', at('case.map')];
    const self = ['clone', at('source'), at('source'), '--overwrite', at('source'), ...files];
    expect(await run(self)).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('the drive itself'),
    });
    for (const target of [at('.'), at('missing')]) {
      const act = clone(at('source'), target, { power: [], overwrite: target });
      await expect(act).rejects.toMatchObject({ code: 'USAGE' });
    }
    const device = clone(at('source'), '/dev/null', { power: [], overwrite: '/dev/null' });
    await expect(device).rejects.toThrow(/neither a block device nor a file/);
    expect(readFileSync(at('source')).equals(content)).toBe(true);
  });

  test('too small a target is refused, or gets what fits and the result says so', async () => {
    const targetBytes = 512 * 4000 + 512;
    const { at, go, cloned, target } = bench(targetBytes);
    const refused = await cloned(...go);
    expect(refused).toMatchObject({ status: 2, stderr: expect.stringContaining('--truncate') });
    expect(target().equals(old(targetBytes))).toBe(true);
    const { status, stdout, stderr } = await cloned(...go, '--truncate', '--json');
    expect(status, stderr).toBe(0);
    expect(stderr).toContain(
      `truncated: the last ${driveBytes - targetBytes} of ${driveBytes} bytes`,
    );
    const result = cloneResultSchema.parse(JSON.parse(stdout));
    expect(result.target).toMatchObject({ truncatedBytes: driveBytes - targetBytes });
    expect(result.sectors).toMatchObject({ finished: 4001, nonTried: 1999 });
    expect(target().equals(content.subarray(0, targetBytes))).toBe(true);
    const map = readFileSync(at('case.map'), 'latin1').trim().split('\n').slice(-2);
    expect(map.map((line) => line.split(/\s+/)[2])).toEqual(['+', '?']);
  });

  test('leaves what is behind it on a larger target, or fills it', async () => {
    const targetBytes = driveBytes + 512 * 700;
    const { go, cloned, target } = bench(targetBytes);
    const { stdout } = await cloned(...go, '--json');
    const { excess } = cloneResultSchema.parse(JSON.parse(stdout)).target;
    expect(excess).toEqual({ bytes: 512 * 700, content: 'untouched' });
    expect(target().subarray(0, driveBytes).equals(content)).toBe(true);
    expect(target().subarray(driveBytes).equals(old(targetBytes).subarray(driveBytes))).toBe(true);
    const again = await cloned(...go, '--excess', '0xA5', '--json');
    expect(cloneResultSchema.parse(JSON.parse(again.stdout)).target.excess.content).toBe('0xA5');
    expect(target().subarray(0, driveBytes).equals(content)).toBe(true);
    expect(
      target()
        .subarray(driveBytes)
        .every((byte) => byte === 0xa5),
    ).toBe(true);
  });

  test('goes on, without being asked again, on its own target alone', async () => {
    const { at, go, cloned, target } = bench();
    expect(await cloned(...go, '--range', '0-999')).toMatchObject({ status: 0 });
    writeFileSync(at('other'), old(driveBytes));
    const files = ['--case-files', at('case.map')];
    const other = ['clone', at('source'), at('other'), ...files, '--overwrite', at('other')];
    const refused = await run(other);
    expect(refused).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('belongs to the target'),
    });
    expect(readFileSync(at('other')).equals(old(driveBytes))).toBe(true);
    expect(await cloned('--range', '0-5999')).toMatchObject({ status: 0 });
    expect(target().equals(content)).toBe(true);
  });

  test('fills what was left out when asked to, and claims none of it', async () => {
    const { at, go, cloned, target } = bench();
    const { stdout } = await cloned(...go, '--range', '1000-4999', '--fill', 'marker', '--json');
    const result = cloneResultSchema.parse(JSON.parse(stdout));
    expect(result.target.gaps).toEqual({ bytes: 2000 * 512, content: 'marker' });
    expect(result.sectors.finished).toBe(4000);
    const now = target();
    expect(now.subarray(512_000, 2_560_000).equals(content.subarray(512_000, 2_560_000))).toBe(
      true,
    );
    expect(now.toString('latin1', 999 * 512, 999 * 512 + 33)).toBe(
      'lastspin: sector 999 was not read',
    );
    expect(readFileSync(at('case.map'), 'latin1')).toMatch(/\?\n.*\+\n.*\?\n$/);
  });

  test('tells what an earlier run filled, and that it was not this one', async () => {
    const { at, go, cloned } = bench(driveBytes + 1024);
    const targetOf = ({ stdout }: { stdout: string }) =>
      cloneResultSchema.parse(JSON.parse(stdout)).target;
    const part = ['--range', '0-2999', '--json'];
    const first = await cloned(...go, ...part, '--fill', 'marker', '--excess', '0xA5');
    expect(targetOf(first)).toMatchObject({
      ...{ gaps: { bytes: 3000 * 512, content: 'marker' }, excess: { content: '0xA5' } },
    });
    const map = readFileSync(at('case.map'), 'latin1');
    expect(map).toContain("# filled, not read: behind the drive's end with 0xA5");
    const earlier = 'by an earlier run as far as that came';
    expect(targetOf(await cloned(...part))).toMatchObject({
      gaps: { bytes: 3000 * 512, content: `marker, ${earlier}` },
      excess: { bytes: 1024, content: `0xA5, ${earlier}` },
    });
    const again = await cloned('--range', '3000-3999', '--fill', 'zero', '--json');
    expect(targetOf(again)).toMatchObject({
      ...{ gaps: { bytes: 2000 * 512, content: 'zero' }, excess: { content: `0xA5, ${earlier}` } },
    });
  });

  test.skipIf(needsDdrescue)('is what ddrescue makes', async () => {
    const { at, go, cloned, target } = bench(driveBytes + 4096);
    writeFileSync(at('theirs'), old(driveBytes + 4096));
    execFileSync('ddrescue', ['-q', '-f', at('source'), at('theirs'), at('theirs.map')]);
    expect(await cloned(...go)).toMatchObject({ status: 0 });
    expect(target().equals(readFileSync(at('theirs')))).toBe(true);
  });
});

const letters = ['?', '*', '/', '-', '+'];

/** An image with a map of every status, in sectors. */
function gappy(at: (name: string) => string): Buffer {
  const wanted = Buffer.from(content);
  const lines = ['0x0 ? 1'];
  for (let run = 0; run < 30; run++) {
    lines.push(`${run * 200 * 512} ${200 * 512} ${letters[(run * 7) % 5]}`);
    if (letters[(run * 7) % 5] !== '+') wanted.fill(0, run * 200 * 512, (run + 1) * 200 * 512);
  }
  writeFileSync(at('case.img'), content);
  writeFileSync(at('case.map'), `${lines.join('\n')}\n`);
  return wanted;
}

describe('a fill', () => {
  test.skipIf(needsDdrescue)('is what ddrescue makes for the same letters', async () => {
    const { at } = bench();
    gappy(at);
    copyFileSync(at('case.img'), at('theirs.img'));
    const theirs = (types: string, bytes: Buffer) => {
      copyFileSync(at('case.map'), at('theirs.map'));
      writeFileSync(at('data'), bytes);
      const files = [at('data'), at('theirs.img'), at('theirs.map')];
      execFileSync('ddrescue', ['-q', '-f', `--fill-mode=${types}`, ...files]);
    };
    theirs('?*/', Buffer.from('BAADF00D', 'hex'));
    theirs('-', Buffer.alloc(512));
    const before = readFileSync(at('case.map'), 'latin1');
    const options = ['--unread', '0xBAADF00D', '--unreadable', 'zero', '--json'];
    const { status, stdout } = await run(['fill', at('case.img'), ...options]);
    expect(status).toBe(0);
    expect(fillResultSchema.parse(JSON.parse(stdout))).toMatchObject({
      bytes: { unread: 18 * 200 * 512, unreadable: 6 * 200 * 512 },
      isRecorded: false,
    });
    expect(readFileSync(at('case.img')).equals(readFileSync(at('theirs.img')))).toBe(true);
    expect(readFileSync(at('case.map'), 'latin1')).toBe(before);
  });

  test('waits for no job, and needs a map, an image and something to fill', async () => {
    const { at } = bench();
    gappy(at);
    const lock = await takeLock(at('case.lock'));
    const refused = (name: string, options: FillOptions) => expect(fill(at(name), options)).rejects;
    await refused('case.img', { unread: 'zero' }).toThrow(/is working on/);
    await lock.release();
    expect(readFileSync(at('case.img')).equals(content)).toBe(true);
    await refused('case.img', {}).toThrow(/--unread, --unreadable or both/);
    await refused('none.img', { unread: 'zero' }).toThrow(/there is no \S+none\.img; name/);
    await refused('.', { unread: 'zero' }).toThrow(/is no image; a clone's gaps/);
    await refused('source', { unread: 'zero' }).toThrow(/nothing tells/);
    truncateSync(at('case.img'), 512 * 200);
    await refused('case.img', { unread: 'zero' }).toMatchObject({ code: 'IMAGE_MISMATCH' });
  });

  test('of parts is recorded, and what is read later takes its place', async () => {
    const { at } = bench();
    const image = ['image', at('source'), at('case.img')];
    await run([...image, '--split', '1MB', '--range', '1500-2500']);
    const filled = await run(['fill', at('case.img.001'), '--unread', 'marker']);
    expect(filled).toMatchObject({
      status: 0,
      stdout: expect.stringContaining('says that it was filled'),
    });
    const mark = 'lastspin: sector 5999 was not read\n';
    expect(readFileSync(at('case.img.004'), 'latin1')).toContain(mark);
    expect(readFileSync(at('case.map'), 'latin1')).toContain(
      '# filled, not read: unread with marker',
    );
    const list = readFileSync(at('case.hashes.csv'), 'latin1');
    expect(list).toContain('non-tried');
    const again = await run([...image, '--range', '0-5999']);
    expect(again.stderr).toContain('gaps of this image were filled (unread with marker)');
    const parts = [1, 2, 3, 4].map((number) => readFileSync(at(`case.img.00${number}`)));
    expect(Buffer.concat(parts).equals(content)).toBe(true);
  });
});

describe('a restore', () => {
  test('puts what was read where it was, fills the gaps, and reads it back', async () => {
    const { at, go, target } = bench(driveBytes + 512 * 10);
    const wanted = gappy(at);
    const restored = (...args: string[]) =>
      run(['restore', at('case.img'), at('target'), ...go, '--json', ...args]);
    const { stdout, status } = await restored('--excess', '0x00FF');
    expect(status).toBe(0);
    expect(restoreResultSchema.parse(JSON.parse(stdout))).toMatchObject({
      bytes: { copied: 6 * 200 * 512, filled: 24 * 200 * 512, untouched: 0 },
      verified: 'same',
      map: at('case.map'),
      target: { excess: { bytes: 5120, content: '0x00FF' }, gaps: { content: 'zero' } },
    });
    expect(target().subarray(0, driveBytes).equals(wanted)).toBe(true);
    expect(
      target()
        .subarray(driveBytes)
        .equals(Buffer.alloc(5120, Buffer.from([0, 255]))),
    ).toBe(true);
    writeFileSync(at('target'), old(driveBytes + 5120));
    expect(await restored('--fill', 'none')).toMatchObject({ status: 0 });
    const kept = old(driveBytes + 5120);
    for (let run = 0; run < 30; run++) {
      const [from, to] = [run * 102_400, (run + 1) * 102_400];
      if (letters[(run * 7) % 5] === '+') content.copy(kept, from, from, to);
    }
    expect(target().equals(kept)).toBe(true);
  });

  test('of parts, without a map, onto less room than it needs', async () => {
    const { at, go, target } = bench(512 * 5000);
    for (const number of [1, 2, 3])
      writeFileSync(
        at(`raw.00${number}`),
        content.subarray((number - 1) * 1_200_000, number * 1_200_000),
      );
    const refused = (options: RestoreOptions) =>
      expect(restore(at('raw.001'), at('target'), { overwrite: at('target'), ...options })).rejects;
    await refused({}).toThrow(/--truncate/);
    await refused({ truncate: true, map: at('none.map') }).toThrow(/there is no map/);
    const args = ['restore', at('raw.001'), at('target'), ...go, '--truncate'];
    const { status, stdout, stderr } = await run(args);
    expect(status, stderr).toBe(0);
    expect(stderr).toContain(
      `all of ${at('raw.001')} is taken as read: 3 parts, 3072000 bytes, and nothing tells whether there were more`,
    );
    expect(stdout).toContain('truncated    the last 512000 bytes');
    expect(target().equals(content.subarray(0, 512 * 5000))).toBe(true);
  });

  test('says how far it came when it is interrupted', async () => {
    const { at } = bench();
    for (const name of ['huge.img', 'huge']) {
      writeFileSync(at(name), '');
      truncateSync(at(name), 2 ** 31);
    }
    const job = start(['restore', at('huge.img'), at('huge'), '--overwrite', at('huge')]);
    await job.saw(/onto/);
    job.process.kill('SIGINT');
    const { status, stderr } = await job.finished;
    expect(status).toBe(130);
    expect(stderr).toMatch(/the first \d+ of 2147483648 bytes are on .* for certain/);
    rmSync(at('huge'));
  });
});

describe('a map that is named for an image', () => {
  /** The image of a drive, all of it read, and maps that are not its own. */
  async function images() {
    const own = bench();
    const { at } = own;
    const identity = (model: string) => `identity: { model: ${model}, serial: S-${model} }`;
    for (const [name, range] of [
      ['case', '0-5999'],
      ['other', '0-9'],
    ] as const) {
      const lines = ['sectorCount: 6000', `contents: { file: ${at('source')} }`, identity(name)];
      writeFileSync(at(`${name}.yaml`), lines.join('\n'));
      const job = ['image', `sim:${at(`${name}.yaml`)}?scale=100`, at(`${name}.img`)];
      expect(await run([...job, '--range', range])).toMatchObject({ status: 0 });
    }
    writeFileSync(at('unread.map'), `0x0 ? 1\n0 ${driveBytes} ?\n`);
    writeFileSync(at('read.map'), `0x0 + 1\n0 ${driveBytes} +\n`);
    writeFileSync(at('short.map'), `0x0 + 1\n0 ${driveBytes - 512} +\n`);
    copyFileSync(at('case.img'), at('lonely.img'));
    return own;
  }

  test('is believed where it is of the same drive and as long, and claims no less', async () => {
    const { at, go, target } = await images();
    const commands = (image: string, map: string) => [
      () => fill(at(image), { unread: 'marker', map: at(map) }),
      () => restore(at(image), at('target'), { overwrite: at('target'), map: at(map) }),
      () => exportImage(at(image), at('x.E01'), { map: at(map), force: true }),
    ];
    for (const [image, map, why] of [
      ['case.img', 'other.map', /is of the drive other S-other, .*case\.map of .*leave --map out/],
      ['case.img', 'unread.map', /does not claim what was read at byte 0 of .*leave --map out/],
      ['case.img', 'short.map', /is about 3071488 bytes|its map is about 3071488/],
      ['lonely.img', 'short.map', /is about 3071488 bytes|its map is about 3071488/],
    ] as const)
      for (const command of commands(image, map))
        await expect(command(), `${command}`).rejects.toMatchObject({
          code: 'IMAGE_MISMATCH',
          message: expect.stringMatching(why),
        });
    expect(readFileSync(at('case.img')).equals(content)).toBe(true);
    expect(readFileSync(at('lonely.img')).equals(content)).toBe(true);
    expect(target().equals(old(driveBytes))).toBe(true);
    expect(existsSync(at('x.E01'))).toBe(false);
    copyFileSync(at('case.map'), at('copy.map'));
    for (const map of ['read.map', 'copy.map']) {
      const args = ['restore', at('case.img'), at('target'), ...go, '--map', at(map)];
      expect(await run(args)).toMatchObject({ status: 0 });
      expect(target().equals(content)).toBe(true);
    }
  });

  test('of the same drive that claims less is no map to fill by', async () => {
    const { at } = await images();
    const job = ['image', `sim:${at('case.yaml')}?scale=100`, at('half.img')];
    expect(await run([...job, '--range', '0-2999'])).toMatchObject({ status: 0 });
    const filled = fill(at('case.img'), { unread: 'zero', map: at('half.map') });
    await expect(filled).rejects.toThrow(/half\.map does not claim what was read at byte 1536000/);
    expect(readFileSync(at('case.img')).equals(content)).toBe(true);
  });
});

/** Real block devices, where this machine lets us make them. */
function needsLoop(): boolean {
  if (process.platform !== 'linux' || needsTool('losetup') || needsTool('mke2fs')) return true;
  try {
    const probe = join(temporaryFolder(), 'probe');
    writeFileSync(probe, Buffer.alloc(1 << 20));
    losetup('--detach', attach(probe));
    return false;
  } catch {
    console.warn('skipped: no loop device is to be had (root only)');
    return true;
  }
}

function losetup(...args: string[]): string {
  return execFileSync('losetup', args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  }).trim();
}

function attach(file: string): string {
  return losetup('--find', '--show', file);
}

describe.skipIf(needsLoop())('a real block device as a target', () => {
  const { at } = bench(driveBytes + (1 << 20));
  let device: string;
  let drive: string;
  const files = ['--case-files', at('loop.map'), '--os-may-touch'];

  beforeAll(() => {
    device = attach(at('target'));
    drive = attach(at('source'));
    mkdirSync(at('mnt'));
  });
  afterAll(() => losetup('--detach', device, drive));

  test('is refused while it is mounted', async () => {
    execFileSync('mke2fs', ['-q', '-F', device]);
    execFileSync('mount', [device, at('mnt')]);
    try {
      for (const command of [
        ['clone', at('source'), device, ...files],
        ['restore', at('source'), device],
      ]) {
        const { status, stderr } = await run([...command, '--overwrite', at('target')]);
        expect(status).toBe(2);
        expect(stderr).toContain(`${device} is mounted at ${at('mnt')}; free it first: umount`);
      }
    } finally {
      execFileSync('umount', [at('mnt')]);
    }
  });

  test('is refused by way of its file as well, and made of what is to be written', async () => {
    execFileSync('mke2fs', ['-q', '-F', device]);
    execFileSync('mount', [device, at('mnt')]);
    const second = attach(at('target'));
    try {
      const before = readFileSync(at('target'));
      for (const target of [at('target'), second])
        for (const command of [
          ['clone', at('source'), target, ...files],
          ['restore', at('source'), target],
        ]) {
          const { status, stderr } = await run([...command, '--overwrite', at('target')]);
          expect(status).toBe(2);
          expect(stderr).toContain(
            `${target} is not overwritten: ${device} shows it, and ${device} is mounted at ${at('mnt')}; free it first: umount`,
          );
        }
      expect(readFileSync(at('target')).equals(before)).toBe(true);
    } finally {
      losetup('--detach', second);
      execFileSync('umount', [at('mnt')]);
    }
    const onto = await run(['restore', at('source'), drive, '--overwrite', at('source')]);
    expect(onto.status).toBe(2);
    expect(onto.stderr).toContain(`${drive} is not overwritten: its bytes are ${at('source')}`);
    expect(readFileSync(at('source')).equals(content)).toBe(true);
  });

  test('is cloned onto, held meanwhile, and resumed', async () => {
    const args = ['clone', drive, device, ...files, '--overwrite', at('target')];
    // So slowly that it is still at it however slow this machine is.
    const job = start([...args, '--max-rate', '10000']);
    await job.saw(/pass 1/);
    expect(() => execFileSync('mount', [device, at('mnt')], { stdio: 'pipe' })).toThrow();
    const second = await run(['restore', at('source'), device, '--overwrite', at('target')]);
    expect(second).toMatchObject({ status: 1, stderr: expect.stringContaining('it is in use') });
    job.process.kill('SIGINT');
    expect((await job.finished).status).toBe(130);
    const { status, stdout, stderr } = await run([...args, '--json']);
    expect(status, stderr).toBe(0);
    const { target } = cloneResultSchema.parse(JSON.parse(stdout));
    expect(target).toMatchObject({
      path: device,
      serial: at('target'),
      excess: { bytes: 1 << 20 },
    });
    expect(readFileSync(at('target')).subarray(0, driveBytes).equals(content)).toBe(true);
  });

  test('is restored to, and read back past the cache', async () => {
    const wanted = gappy(at);
    // By its own path as well as by its file's.
    const args = ['restore', at('case.img'), device, '--overwrite', device, '--json'];
    const { status, stdout, stderr } = await run(args);
    expect(status, stderr).toBe(0);
    const result = restoreResultSchema.parse(JSON.parse(stdout));
    expect(result).toMatchObject({ verified: 'same', isFromDevice: true });
    expect(readFileSync(at('target')).subarray(0, driveBytes).equals(wanted)).toBe(true);
  });

  test('is not a target for what is on its own file', async () => {
    const { status, stderr } = await run([
      'clone',
      at('target'),
      device,
      ...files,
      '--overwrite',
      at('target'),
    ]);
    expect(status).toBe(2);
    expect(stderr).toMatch(/the drive itself/);
  });
});
