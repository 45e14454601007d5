import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createFrameDecoder, encodeFrame } from '../../firmware-protocol/frame.js';
import { mainPath, run, start, temporaryFolder } from './cli.js';

/** Every complaint is one line that names its code, whatever the drive said before. */
async function complains(args: readonly string[], status: number, line: RegExp) {
  const finished = await run(args);
  const lines = finished.stderr.trimEnd().split('\n');
  const last = lines.at(-1) ?? '';
  expect(last, finished.stderr).toMatch(line);
  expect(last).toMatch(/^lastspin: .*\([A-Z_]+\)$/);
  expect(finished.stderr).not.toMatch(/\n\s+at /);
  expect(finished.stdout).toBe('');
  expect(finished.status).toBe(status);
}

function drive(folder: string, bytes = 1 << 20): string {
  return truncated(join(folder, 'source.bin'), bytes);
}

function truncated(path: string, bytes: number): string {
  closeSync(openSync(path, 'w'));
  truncateSync(path, bytes);
  return path;
}

describe.concurrent('bad input: one clear line, the right exit status, and nothing lost', () => {
  test('an unknown kind of drive', () =>
    complains(['image', 'floppy:0', 'x.img'], 2, /unknown kind of drive 'floppy:'/));

  test.each(['', 'file:', 'sim:', 'sg:'])('a DRIVE without a name: %j', async (spec) => {
    await complains(['identify', spec], 2, /names no drive/);
    await complains(['image', spec, 'x.img'], 2, /names no drive/);
  });

  test('an IMAGE that is no file because it is the drive', () =>
    complains(['image', 'file:/dev/null', '/dev/null'], 2, /is the drive itself/));

  test.each([
    ['', 2, /IMAGE is empty/],
    ['/dev/null', 2, /is no file/],
    ['source.bin/x.img', 1, /is not a folder/],
    ['loop/x.img', 1, /ELOOP|too many|symbolic/i],
    [`${'long'.repeat(80)}.img`, 1, /ENAMETOOLONG|too long/i],
  ])('an IMAGE that can be no file: %j', async (image, status, line) => {
    const folder = temporaryFolder();
    const source = drive(folder);
    symlinkSync('loop', join(folder, 'loop'));
    const path = image === '' || image.startsWith('/') ? image : join(folder, image);
    for (const spec of [source, 'sim:healthy'])
      await complains(['image', spec, path], status, line);
  });

  test('a device that is not there', () =>
    complains(['image', 'serial:/dev/ttyNOPE', 'x.img'], 1, /\/dev\/ttyNOPE/));

  test('a path that is not there', () =>
    complains(['image', 'file:/nowhere/drive', 'x.img'], 1, /\/nowhere\/drive/));

  test('a folder as a drive', () =>
    complains(
      ['image', temporaryFolder(), 'x.img'],
      1,
      /neither a regular file nor a block device/,
    ));

  test('a scenario with a typo: its line and its field', async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'typo.yaml');
    writeFileSync(path, 'sectorCount: 4096\nfaults:\n  - { kind: bad, lba: 5, cuont: 8 }\n');
    await complains(['image', `sim:${path}`, join(folder, 'x.img')], 2, /typo\.yaml:3: .*cuont/);
    expect(existsSync(join(folder, 'x.img'))).toBe(false);
  });

  test('a scenario that does not exist', () =>
    complains(['sim', 'no-such-scenario', '--tcp', '0'], 2, /no-such-scenario/));

  test('sim without a plug', () =>
    complains(['sim', 'healthy'], 2, /--pty PATH, --tcp ADDR, --usbredir PATH and --usbip ADDR/));

  test('an image path in a folder that is not there', async () => {
    const folder = temporaryFolder();
    await complains(['image', drive(folder), join(folder, 'no/case.img')], 1, /no\/case/);
  });

  test('an existing image without its map is not touched', async () => {
    const folder = temporaryFolder();
    const image = join(folder, 'case.img');
    writeFileSync(image, 'precious');
    await complains(['image', drive(folder), image], 2, /case\.img exists but its map/);
    expect(readFileSync(image, 'utf8')).toBe('precious');
  });

  test.each([
    ['--force', 'larger', (folder: string) => truncated(join(folder, 'case.img'), 2 << 20)],
    ['--force', 'a folder', (folder: string) => mkdirSync(join(folder, 'case.img'))],
    [
      '--json',
      'a journal that is a folder',
      (folder: string) => mkdirSync(join(folder, 'case.journal')),
    ],
  ])('a refused image leaves nothing behind (%s, %s)', async (option, _what, prepare) => {
    const folder = temporaryFolder();
    const source = drive(folder);
    prepare(folder);
    const before = readdirSync(folder);
    const { status, stderr } = await run(['image', source, join(folder, 'case.img'), option]);
    expect(stderr).toMatch(/\((IMAGE_MISMATCH|FILE_FAILED)\)\n$/);
    expect(status).toBeGreaterThan(0);
    expect(readdirSync(folder)).toEqual(before);
  });

  test('the drive itself as the image', async () => {
    const folder = temporaryFolder();
    const source = drive(folder);
    await complains(['image', source, source, '--force'], 2, /is the drive itself/);
  });

  test('a damaged map file: its line, and the map stays', async () => {
    const folder = temporaryFolder();
    const map = join(folder, 'case.map');
    writeFileSync(join(folder, 'case.img'), '');
    writeFileSync(map, '0x0 ?\n0x0 0x1000 +\n0x9000 0x1000 ?\n');
    await complains(['image', drive(folder), join(folder, 'case.img')], 2, /case\.map:3/);
    expect(readFileSync(map, 'utf8')).toContain('0x9000');
  });

  test('a map of a larger drive', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'case.img'), '');
    writeFileSync(join(folder, 'case.map'), '0x0 ?\n0x0 0x80000000 +\n');
    await complains(['image', drive(folder), join(folder, 'case.img')], 2, /case\.map/);
  });

  test('a map that was cut or changed since it was written is not believed', async () => {
    const folder = temporaryFolder();
    const [source, image, map] = [
      drive(folder),
      join(folder, 'case.img'),
      join(folder, 'case.map'),
    ];
    expect((await run(['image', source, image])).status).toBe(0);
    const whole = readFileSync(map, 'utf8');
    writeFileSync(map, whole.replace('  +', '  ?'));
    await complains(['image', source, image], 2, /case\.map is not as lastspin wrote it/);
    writeFileSync(map, whole.slice(0, 100));
    await complains(['image', source, image], 2, /case\.map is not as lastspin wrote it/);
    writeFileSync(map, '');
    await complains(['image', source, image], 2, /case\.map is about 0 bytes/);
    expect((await run(['image', source, image, '--force'])).status).toBe(0);
  });

  test('a map of a smaller drive', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'case.img'), '');
    writeFileSync(join(folder, 'case.map'), '0x0 ?\n0x0 0x80000 +\n');
    await complains(['image', drive(folder), join(folder, 'case.img')], 2, /another drive's map/);
  });

  test.each([
    'case.map',
    'case.journal',
    'case.lock',
    'case.versions',
    'case.events.ndjson',
    'case.report.txt',
    'case.report.txt.tmp',
    'case.map.tmp',
    'case.journal.tmp',
  ])('a drive that bears the name of %s survives', async (name) => {
    const folder = temporaryFolder();
    const source = join(folder, name);
    writeFileSync(source, Buffer.alloc(4096, 7));
    await complains(
      ['image', `file:${source}`, join(folder, 'case.img')],
      2,
      /is the drive itself/,
    );
    expect(readFileSync(source).equals(Buffer.alloc(4096, 7))).toBe(true);
  });

  test('numbers beyond reason', async () => {
    for (const option of [
      ['--retries', '1000000000'],
      ['--read-timeout', '99999999999'],
      ['--physical-sector', '-1'],
    ]) {
      const finished = await run(['image', 'sim:healthy', 'x.img', ...option]);
      expect(finished.status).toBe(2);
      expect(finished.stderr).toContain('a whole number from 0 to');
    }
  });

  test('a demo does not replace an image that no demo made', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'demo.img'), 'precious');
    await complains(['demo', folder], 2, /demo\.img is not a demo's/);
    expect(readFileSync(join(folder, 'demo.img'), 'utf8')).toBe('precious');
  });

  test('a result that cannot be written is a failure', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'x.map'), '0x0 +\n0x0 0x1000 +\n');
    const full = spawnSync(
      'sh',
      [
        '-c',
        '"$0" "$1" map stats "$2" >/dev/full',
        process.execPath,
        mainPath,
        join(folder, 'x.map'),
      ],
      { encoding: 'utf8' },
    );
    expect(full.status).toBe(1);
    expect(full.stderr).toMatch(/^lastspin: the output cannot be written/);
  });

  test('a map whose image is gone', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'case.map'), '0x0 ?\n0x0 0x100000 +\n');
    await complains(
      ['image', drive(folder), join(folder, 'case.img')],
      2,
      /case\.img does not exist/,
    );
  });

  test('too small a disk', async () => {
    const folder = temporaryFolder();
    // A sparse drive of an exabyte: no disk has room.
    const source = drive(folder, 2 ** 43);
    await complains(['image', source, join(folder, 'case.img')], 1, /room|space|free/);
    expect(existsSync(join(folder, 'case.img'))).toBe(false);
  });

  test('a case that another process works on', async () => {
    const folder = temporaryFolder();
    const first = start(['image', 'sim:slow', join(folder, 'case.img')]);
    await first.saw(/pass 1/);
    await complains(
      ['image', 'sim:slow', join(folder, 'case.img')],
      1,
      new RegExp(`${first.process.pid}`),
    );
  });

  test('another drive than the map is about', async () => {
    const folder = temporaryFolder();
    const image = join(folder, 'case.img');
    const first = start(['image', 'sim:slow', image]);
    await first.saw(/pass 1/);
    first.process.kill('SIGINT');
    expect((await first.finished).status).toBe(130);
    const before = readFileSync(join(folder, 'case.map'));
    await complains(['image', 'sim:healthy?scale=100', image], 2, /another drive/);
    expect(readFileSync(join(folder, 'case.map')).equals(before)).toBe(true);
  });

  test('a power switch of no known kind', () =>
    complains(['image', drive(temporaryFolder()), 'x.img', '--power', 'magic:1'], 2, /magic:1/));

  test('an option that is no number', async () => {
    const finished = await run(['image', 'sim:healthy', 'x.img', '--retries', 'many']);
    expect(finished.status).toBe(2);
    expect(finished.stderr).toContain('--retries');
  });

  test('a command that does not exist', async () => {
    expect((await run(['imagine'])).status).toBe(2);
  });

  test('a map that is none', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'x.map'), '\ufeffnonsense\n');
    await complains(['map', 'stats', join(folder, 'x.map')], 2, /x\.map:1/);
    await complains(['map', 'show', join(folder, 'missing.map')], 1, /missing\.map/);
  });
});

describe.concurrent('ports that are not our imager', () => {
  /** A TCP port that answers every connection by `serve`. */
  async function port(
    serve: (socket: import('node:net').Socket) => void,
  ): Promise<[string, () => void]> {
    const server = createServer(serve);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    return [`tcp:127.0.0.1:${address.port}`, () => server.close()];
  }

  test.each([
    ['silent', () => {}],
    ['echoing', (socket: import('node:net').Socket) => void socket.pipe(socket)],
    [
      'chattering',
      (socket: import('node:net').Socket) => void socket.write('login: '.repeat(100_000)),
    ],
  ])('a %s port is no imager', async (_, serve) => {
    const [spec, close] = await port((socket) => {
      socket.on('error', () => {});
      serve(socket);
    });
    await complains(['image', spec, 'x.img'], 1, /imager/);
    close();
  });

  test('an imager that speaks another major version', async () => {
    const [spec, close] = await port((socket) => {
      socket.on('error', () => {});
      const { push } = createFrameDecoder({
        frameBytesMax: 65_536,
        discarded: { tooLong: 0, badCobs: 0, badCrc: 0, tooShort: 0 },
        // The response to HELLO, same id, reply code 8: version.
        onMessage: (hello) => {
          const why = Buffer.from('this imager speaks 2.0');
          const id = hello.subarray(1, 5);
          socket.write(encodeFrame(Buffer.from([0x81, ...id, 8, why.length, 0, ...why])));
        },
      });
      socket.on('data', push);
    });
    await complains(['image', spec, 'x.img'], 1, /speaks 2\.0.*update/);
    close();
  });

  test('nobody listens', () =>
    complains(['image', 'tcp:127.0.0.1:1', 'x.img'], 1, /127\.0\.0\.1 port 1/));
});

test('a mistyped imager starts no drive', async () => {
  const folder = temporaryFolder();
  const switched = join(folder, 'switched');
  const power = `exec:echo {action} >> ${switched}`;
  const args = ['image', 'serial:/dev/nope', join(folder, 'case.img'), '--power', power];
  const { status, stderr } = await run(args);
  expect(status).toBe(1);
  expect(stderr).toContain('there is no such port');
  expect(existsSync(switched)).toBe(false);
});

test.concurrent.each([
  ['image', 'case.img'],
  ['identify'],
])('a device that does not come with its power: %s says what it waits for, and Ctrl-C ends that', async (command, ...rest) => {
  const folder = temporaryFolder();
  const switched = join(folder, 'switched');
  const power = `exec:echo {action} >> ${switched}`;
  const paths = rest.map((name) => join(folder, name));
  const job = start([command, `file:${folder}/absent`, ...paths, '--power', power]);
  await job.saw(/absent is not there: its power is switched on .*given 60 s/);
  job.process.kill('SIGINT');
  const { status, stderr } = await job.finished;
  expect(stderr).toMatch(/interrupted.*\(INTERRUPTED\)\n$/);
  expect(status).toBe(130);
  // Killed in the middle of switching on, it may not have come that far.
  expect(readFileSync(switched, 'utf8')).toMatch(/^(on\n)?off\n$/);
});

test('a finished case is left alone when run again', async () => {
  const folder = temporaryFolder();
  const args = ['image', drive(folder), join(folder, 'case.img'), '--json'];
  const first = JSON.parse((await run(args)).stdout);
  const writtenAt = statSync(join(folder, 'case.img')).mtimeMs;
  const second = JSON.parse((await run(args)).stdout);
  expect(second.reads).toBe(first.reads);
  expect(second.sectors.finished).toBe(2048);
  expect(statSync(join(folder, 'case.img')).mtimeMs).toBe(writtenAt);
});
