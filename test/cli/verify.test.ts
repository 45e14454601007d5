import { spawnSync } from 'node:child_process';
import { createHash, randomFillSync } from 'node:crypto';
import {
  closeSync,
  copyFileSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { needsTool } from '../tools.js';
import { run, start, temporaryFolder } from './cli.js';

const segmentBytes = 64 * 1024 * 1024;
const segmentCount = segmentBytes / 512;
const sourceBytes = 2 * segmentBytes + 512 * 1000;
const sectorCount = sourceBytes / 512;

let folder: string;
let source: string;
/** A drive of two segments and a bit, imaged with a hash of the whole. */
let master: string;
beforeAll(async () => {
  folder = temporaryFolder();
  source = join(folder, 'source.bin');
  writeFileSync(source, randomFillSync(Buffer.alloc(sourceBytes)));
  master = join(folder, 'master.img');
  expect(await run(['image', source, master, '--hash', 'sha256'])).toMatchObject({ status: 0 });
}, 60_000);

/** A case of its own, as `cp` would make it. */
function copyOf(extensions = ['img', 'map', 'journal', 'events.ndjson', 'hashes.csv']): string {
  const own = temporaryFolder();
  for (const extension of extensions)
    copyFileSync(join(folder, `master.${extension}`), join(own, `case.${extension}`));
  return join(own, 'case.img');
}

const besides = (image: string, extension: string) => image.replace(/img$/, extension);

function flip(path: string, atByte: number): void {
  const file = openSync(path, 'r+');
  const byte = Buffer.alloc(1);
  readSync(file, byte, 0, 1, atByte);
  byte[0]! ^= 0x40;
  writeSync(file, byte, 0, 1, atByte);
  closeSync(file);
}

async function verified(image: string, ...words: string[]) {
  const { status, stdout, stderr } = await run(['verify', image, '--json', ...words]);
  return { status, stderr, ...(JSON.parse(stdout) as VerifyResult) };
}

interface VerifyResult {
  verdict: string;
  findings: { check: string; result: string; text: string }[];
  changed: { lba: number; count: number; fromByte: number; byteCount: number; what: string }[];
  changedSectors: number;
  heldSectors: number;
}

const findingOf = ({ findings }: VerifyResult, check: string, result: string) =>
  findings.find((finding) => finding.check === check && finding.result === result)?.text;

const resume = (image: string, ...words: string[]) => run(['image', source, image, ...words]);

function runTool(command: string, words: readonly string[], cwd: string) {
  const { status, stdout } = spawnSync(command, words, { cwd, encoding: 'utf8' });
  return { status, stdout };
}

const isWhole = (image: string) => readFileSync(image).equals(readFileSync(source));

describe('what nobody touched', () => {
  test('is unchanged, and stays so: verify writes nothing', async () => {
    const seen = () =>
      readdirSync(folder).map((name) => {
        const { mtimeMs, size, ino } = statSync(join(folder, name));
        return [name, mtimeMs, size, ino];
      });
    const before = seen();
    const found = await verified(master);
    expect(found).toMatchObject({ status: 0, verdict: 'unchanged', changed: [] });
    expect(found.heldSectors).toBe(sectorCount);
    expect(findingOf(found, 'sha256', 'unchanged')).toContain('is the hash of the image');
    expect(findingOf(found, 'drive', 'told')).toContain(`${sectorCount} sectors of 512 bytes`);
    expect(seen()).toEqual(before);
    const quick = await run(['verify', master, '--quick']);
    expect(quick).toMatchObject({ status: 0 });
    expect(quick.stdout).toMatch(/^unchanged, as far as a sample tells\n/);
  });

  test('is unchanged although its time is another; a resume says so and reads nothing', async () => {
    const image = copyOf();
    expect((await resume(image)).stderr).toMatch(/is another file than in the last run: 3 str/);
    utimesSync(image, 1e9, 1e9);
    const found = await verified(image);
    expect(found).toMatchObject({ status: 0, verdict: 'unchanged' });
    expect(findingOf(found, 'image', 'told')).toContain('was touched since the last run');
    const again = await resume(image, '--json');
    expect(again.stderr).toMatch(/touched since the last run: 3 stretches .* as they were read/);
    const { reads } = JSON.parse(again.stdout);
    expect(reads).toBe(JSON.parse((await resume(image, '--json')).stdout).reads);
  });

  test('can be told by who has only the image and its list', async () => {
    const image = copyOf(['img', 'hashes.csv']);
    expect(await verified(image)).toMatchObject({ status: 0, verdict: 'unchanged' });
    flip(image, segmentBytes + 5);
    expect(await verified(image)).toMatchObject({
      ...{ status: 4, verdict: 'changed' },
      changed: [{ lba: segmentCount, count: segmentCount, what: 'differs' }],
    });
  });
});

describe('an image that was changed', () => {
  test('a flipped bit: its stretch is named, read again, and the list has what was read', async () => {
    const image = copyOf();
    const list = readFileSync(besides(image, 'hashes.csv'), 'latin1');
    flip(image, 100_000_000);
    const found = await verified(image);
    expect(found).toMatchObject({ status: 4, verdict: 'changed', changedSectors: segmentCount });
    expect(found.changed).toEqual([
      {
        ...{ lba: segmentCount, count: segmentCount, what: 'differs', status: 'finished' },
        ...{ fromByte: segmentBytes, byteCount: segmentBytes },
      },
    ]);
    const resumed = await resume(image);
    expect(resumed).toMatchObject({ status: 0 });
    expect(resumed.stderr).toMatch(
      /was changed since it was read, at LBA 131072 to 262143: that is read again/,
    );
    expect(isWhole(image)).toBe(true);
    expect(readFileSync(besides(image, 'hashes.csv'), 'latin1')).toBe(list);
    expect(await verified(image)).toMatchObject({ status: 0 });
  });

  test('cut: what is missing is named and read again', async () => {
    const image = copyOf();
    truncateSync(image, segmentBytes + 700);
    const found = await verified(image);
    expect(found).toMatchObject({ status: 4, changedSectors: sectorCount - segmentCount });
    expect(found.changed).toMatchObject([{ lba: segmentCount, what: 'missing' }]);
    expect(findingOf(found, 'image', 'changed')).toContain('was cut or is not this one');
    const resumed = await resume(image);
    expect(resumed).toMatchObject({ status: 0 });
    expect(resumed.stderr).toMatch(
      /was cut at byte 67109564: what it held behind that is read again/,
    );
    expect(isWhole(image)).toBe(true);
    truncateSync(image, 0);
    expect(await resume(image)).toMatchObject({ status: 0 });
    expect(isWhole(image)).toBe(true);
  });

  test('two stretches exchanged: both are named', async () => {
    const image = copyOf();
    const content = readFileSync(source);
    const file = openSync(image, 'r+');
    writeSync(file, content, segmentBytes, segmentBytes, 0);
    writeSync(file, content, 0, segmentBytes, segmentBytes);
    closeSync(file);
    expect(await verified(image)).toMatchObject({
      ...{ status: 4, changed: [{ lba: 0, count: 2 * segmentCount, what: 'differs' }] },
    });
    expect(await resume(image)).toMatchObject({ status: 0 });
    expect(isWhole(image)).toBe(true);
  });

  test('another image under its name is not written to unless told', async () => {
    const image = copyOf();
    const other = randomFillSync(Buffer.alloc(sourceBytes));
    writeFileSync(image, other);
    expect(await verified(image)).toMatchObject({ status: 4, changedSectors: sectorCount });
    const refused = await resume(image);
    expect(refused).toMatchObject({ status: 2 });
    expect(refused.stderr).toMatch(/is not the image that .*case\.map is about/);
    expect(readFileSync(image).equals(other)).toBe(true);
    expect(await resume(image, '--force')).toMatchObject({ status: 0 });
    expect(isWhole(image)).toBe(true);
    expect(await verified(image)).toMatchObject({ status: 0 });
  });

  test("another case's image with its own list is no less another one", async () => {
    const image = copyOf();
    const other = join(folder, 'other.bin');
    writeFileSync(other, randomFillSync(Buffer.alloc(sourceBytes)));
    const image2 = join(folder, 'other.img');
    expect(await run(['image', other, image2])).toMatchObject({ status: 0 });
    copyFileSync(image2, image);
    copyFileSync(besides(image2, 'hashes.csv'), besides(image, 'hashes.csv'));
    const refused = await resume(image);
    expect(refused).toMatchObject({ status: 2 });
    expect(refused.stderr).toContain('IMAGE_MISMATCH');
    // The right image with the other list is gone on with; that list is put aside.
    copyFileSync(master, image);
    const resumed = await resume(image);
    expect(resumed).toMatchObject({ status: 0 });
    expect(resumed.stderr).toMatch(/hashes\.csv is not of this map: it is put aside/);
    expect(existsSync(`${besides(image, 'hashes.csv')}.other`)).toBe(true);
    expect(await verified(image)).toMatchObject({ status: 0, verdict: 'unchanged' });
  });
});

describe('records that were changed', () => {
  test('a list that was cut is refused by line, and put aside by the next run', async () => {
    const image = copyOf();
    const path = besides(image, 'hashes.csv');
    const list = readFileSync(path, 'latin1');
    writeFileSync(path, list.slice(0, -5));
    const found = await verified(image);
    expect(found).toMatchObject({ status: 4, verdict: 'changed', changedSectors: 0 });
    expect(findingOf(found, 'hashes', 'changed')).toContain(
      'case.hashes.csv:4: it ends within a line',
    );
    const lines = list.split('\n');
    writeFileSync(path, `${lines.slice(0, 3).join('\n')}\n`);
    const shorter = await verified(image);
    expect(shorter).toMatchObject({ status: 1, verdict: 'cannot-tell' });
    expect(findingOf(shorter, 'hashes', 'cannot-tell')).toContain('no hash of 1000 sectors');
    writeFileSync(path, `${lines[0]}\n${lines[2]}\n${lines[1]}\n`);
    expect(findingOf(await verified(image), 'hashes', 'changed')).toContain(':3: LBA 0 does not');
    expect((await resume(image)).stderr).toContain('case.hashes.csv:3: LBA 0 does not follow');
    expect(existsSync(`${path}.damaged`)).toBe(true);
    expect(await verified(image)).toMatchObject({ status: 0 });
  });

  test('a map that was edited, and one that is not there', async () => {
    const image = copyOf();
    const map = besides(image, 'map');
    writeFileSync(map, readFileSync(map, 'latin1').replace('  +', '  -'));
    const found = await verified(image);
    expect(found).toMatchObject({ status: 4, changedSectors: 0 });
    expect(findingOf(found, 'map', 'changed')).toContain('is not as lastspin wrote it');
  });

  test('a hash of the whole that is of something else', async () => {
    const image = copyOf();
    writeFileSync(`${image}.md5`, `${'0'.repeat(32)}  case.img\n`);
    const found = await verified(image);
    expect(found).toMatchObject({ status: 4, changedSectors: 0, heldSectors: sectorCount });
    expect(findingOf(found, 'md5', 'changed')).toContain('is not the hash of the image');
  });

  test('no image, and none of anything', async () => {
    const image = copyOf(['map', 'hashes.csv']);
    expect(await verified(image)).toMatchObject({ status: 4 });
    const nothing = await run(['verify', join(temporaryFolder(), 'case.img')]);
    expect(nothing).toMatchObject({ status: 2 });
    expect(nothing.stderr).toContain('there is no image');
  });
});

describe('while something happens', () => {
  test('a run that is killed loses no hash of what it did not touch', async () => {
    const own = temporaryFolder();
    const image = join(own, 'case.img');
    const first = ['--range', `0-${segmentCount - 1}`];
    expect(await resume(image, ...first)).toMatchObject({ status: 0 });
    const list = readFileSync(besides(image, 'hashes.csv'), 'latin1').split('\n');
    const killed = start([
      ...['image', source, image, '--range', `0-${sectorCount - 1}`, '--max-rate', '20000000'],
    ]);
    await killed.saw(/pass 1/);
    const locked = await run(['verify', image]);
    expect(locked).toMatchObject({ status: 1 });
    expect(locked.stderr).toContain('IMAGE_LOCKED');
    killed.process.kill('SIGKILL');
    await killed.finished;
    expect(readFileSync(besides(image, 'hashes.csv'), 'latin1')).toContain(list[1]);
    const found = await verified(image);
    expect(found).toMatchObject({ changedSectors: 0 });
    expect(found.heldSectors).toBe(segmentCount);
    // What is edited now would go unnoticed if the hash had been lost.
    flip(image, 4096);
    const resumed = await resume(image, '--range', `0-${sectorCount - 1}`);
    expect(resumed.stderr).toMatch(/was changed since it was read, at LBA 0 to 131071/);
    expect(isWhole(image)).toBe(true);
    expect(await verified(image)).toMatchObject({ status: 0 });
  });

  test.skipIf(process.platform !== 'linux')(
    'Ctrl-C ends a verification with nothing changed',
    async () => {
      const image = join(temporaryFolder(), 'case.img');
      writeFileSync(image, '');
      truncateSync(image, 2 ** 38);
      writeFileSync(`${image}.sha256`, `${'0'.repeat(64)}  case.img\n`);
      const running = start(['verify', image]);
      const descriptors = `/proc/${running.process.pid}/fd`;
      const reads = () => {
        try {
          return readdirSync(descriptors).some(
            (name) => basename(readlinkSync(join(descriptors, name))) === 'case.img',
          );
        } catch {
          return false;
        }
      };
      while (!reads()) await new Promise((resolve) => setImmediate(resolve));
      running.process.kill('SIGINT');
      expect(await running.finished).toMatchObject({ status: 130, stdout: '' });
    },
  );
});

describe('hashes of the whole', () => {
  test.skipIf(needsTool('sha256sum'))(
    'are what sha256sum, sha1sum and md5sum check, whether made on the way or read back',
    async () => {
      const own = temporaryFolder();
      const image = join(own, 'case.img');
      const check = (algorithm: string) =>
        runTool(`${algorithm}sum`, ['--strict', '-c', `case.img.${algorithm}`], own);
      const all = ['--hash', 'sha256,sha1,md5'];
      const first = await resume(image, ...all);
      expect(first.stderr).not.toContain('once more');
      for (const algorithm of ['sha256', 'sha1', 'md5'])
        expect(check(algorithm)).toMatchObject({ status: 0, stdout: 'case.img: OK\n' });
      const made = readFileSync(`${image}.sha256`, 'latin1');
      // An image that is not written to keeps them; one that is has them made again.
      expect((await resume(image)).stderr).not.toContain('once more');
      flip(image, 3);
      expect((await resume(image)).stderr).toContain('once more for its sha256 and sha1 and md5');
      expect(readFileSync(`${image}.sha256`, 'latin1')).toBe(made);
      expect(check('md5')).toMatchObject({ status: 0 });
    },
  );

  test.skipIf(needsTool('sha256sum'))('say what was not read, and still check', async () => {
    const own = temporaryFolder();
    const image = join(own, 'case.img');
    const { stdout } = await resume(image, '--range', '0-999', '--hash', 'sha256', '--json');
    const text = readFileSync(`${image}.sha256`, 'latin1');
    expect(text).toMatch(
      /^# \d+ of \d+ sectors of 512 bytes could not be read, \d+ were not read yet: .*case\.map says which\n/,
    );
    const digest = createHash('sha256').update(readFileSync(image)).digest('hex');
    expect(text).toContain(`${digest}  case.img\n`);
    expect(JSON.parse(stdout).wholeHashes).toMatchObject([{ algorithm: 'sha256', digest }]);
    expect(runTool('sha256sum', ['--strict', '-c', 'case.img.sha256'], own)).toMatchObject({
      status: 0,
    });
    expect(await verified(image)).toMatchObject({ status: 0, verdict: 'unchanged' });
  });

  test('a word that is no hash is refused before anything is opened', async () => {
    const { status, stderr } = await run([
      'image',
      source,
      join(folder, 'no.img'),
      '--hash',
      'crc',
    ]);
    expect(status).toBe(2);
    expect(stderr).toContain("'crc' is no hash; there are sha256, sha1, md5");
  });
});
