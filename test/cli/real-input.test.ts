import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { expect, test } from 'vitest';
import { byteStatistics, parseMapFile, sectorMapOf } from '../../src/map/mapfile.js';
import { statuses } from '../../src/map/status.js';
import { needsTool } from '../tools.js';
import { run, startImager, temporaryFolder } from './cli.js';

const root = join(import.meta.dirname, '../..');
const sectorBytes = 512;
const diskBytes = 24 * 1024 * 1024;
const blockSectors = 8;
const missing = ['mke2fs', 'debugfs', 'ddrescuelog'].map(needsTool).some(Boolean);

/** An ext4 file system made from a real tree of files: this project's own sources and a package. */
function makeDisk(folder: string): { disk: string; tree: string } {
  const tree = join(folder, 'tree');
  mkdirSync(tree);
  for (const name of [
    'src',
    'firmware-protocol',
    'hardware-sim',
    'docs',
    'node_modules/commander',
  ]) {
    cpSync(join(root, name), join(tree, name), { recursive: true });
  }
  const disk = join(folder, 'disk.ext4');
  const options = [
    '-q',
    '-F',
    '-t',
    'ext4',
    '-b',
    '4096',
    '-d',
    tree,
    disk,
    `${diskBytes / 1024}k`,
  ];
  execFileSync('mke2fs', options, { stdio: 'pipe' });
  return { disk, tree };
}

function filesBelow(tree: string): string[] {
  return readdirSync(tree, { recursive: true, encoding: 'utf8' })
    .map((name) => join(tree, name))
    .filter((path) => statSync(path).isFile())
    .map((path) => relative(tree, path))
    .sort();
}

/** Runs debugfs commands on a file system and returns what each printed. */
function debugfs(disk: string, commands: readonly string[]): string[] {
  const input = commands.map((command) => `${command}\n`).join('');
  const said = execFileSync('debugfs', ['-f', '-', disk], {
    input,
    encoding: 'utf8',
    stdio: 'pipe',
  });
  return said.split(/^debugfs: .*\n/m).slice(1);
}

function blocksOf(disk: string, files: readonly string[]): number[][] {
  return debugfs(
    disk,
    files.map((file) => `blocks "/${file}"`),
  ).map((line) => line.trim().split(/\s+/).filter(Boolean).map(Number));
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

test.skipIf(missing)(
  'an ext4 file system on a failing drive, imaged over a real port: every file whose sectors survived is whole',
  async () => {
    const folder = temporaryFolder();
    const { disk, tree } = makeDisk(folder);
    const files = filesBelow(tree);
    const blocks = blocksOf(disk, files);
    expect(blocks).toHaveLength(files.length);
    // Damage in the data of some files, so that the directory tree itself survives.
    const hit = files.map((_, n) => n).filter((n) => n % 9 === 4 && blocks[n]!.length > 0);
    const [slow, hang, ...bad] = hit.map((n) => blocks[n]![0]! * blockSectors);
    const scenario = {
      seed: 11,
      physicalSectorBytes: 4096,
      contents: { file: disk },
      faults: [
        ...bad.map((lba) => ({ kind: 'bad', lba, count: blockSectors, errorMs: 800 })),
        { kind: 'slow', lba: slow, count: 512, extraMs: 30 },
        { kind: 'hang', lba: hang, count: blockSectors, until: 'power-cycle' },
      ],
    };
    const scenarioPath = join(folder, 'scenario.yaml');
    writeFileSync(scenarioPath, JSON.stringify(scenario));
    const drive = await startImager(scenarioPath, folder, 20);
    const image = join(folder, 'case.img');
    const finished = await run(['image', drive, image, '--json']);
    expect(finished.status, finished.stderr).toBe(0);
    const result = JSON.parse(finished.stdout);
    expect(result.powerCycles).toBeGreaterThan(0);

    // Every sector that the drive can give is there byte for byte, every `+` is true, nothing lost is +.
    const lost = new Set(
      [hang!, ...bad].flatMap((lba) => Array.from({ length: 8 }, (_, n) => lba + n)),
    );
    const original = readFileSync(disk);
    const copy = readFileSync(image);
    expect(copy.length).toBe(original.length);
    const parsed = parseMapFile(readFileSync(join(folder, 'case.map')), 'case.map');
    const map = sectorMapOf(
      parsed,
      { sectorBytes, sectorCount: diskBytes / sectorBytes },
      'case.map',
    );
    for (let lba = 0; lba < map.size; lba++) {
      const at = lba * sectorBytes;
      const same = copy.compare(original, at, at + sectorBytes, at, at + sectorBytes) === 0;
      const status = map.valueAt(lba);
      if (lost.has(lba)) expect(status, `LBA ${lba}`).toBe(statuses['bad-sector']);
      else if (!same || status !== statuses.finished)
        expect.fail(`LBA ${lba}: same ${same}, ${status}`);
    }

    // ddrescuelog agrees with our statistics.
    const oracle = execFileSync('ddrescuelog', ['-t', join(folder, 'case.map')], {
      encoding: 'utf8',
    });
    const statistics = byteStatistics(parsed);
    expect(statistics.finished.bytes).toBe(result.sectors.finished * sectorBytes);
    const { bytes, areas } = statistics['bad-sector'];
    expect(oracle).toMatch(new RegExp(`bad-sector: +${bytes} B, +in +${areas} area`));
    expect(oracle).toMatch(new RegExp(`rescued: .* in +${statistics.finished.areas} area`));

    // Every file whose sectors survived hashes as before, read through the file system of the image.
    const dumped = join(folder, 'dumped');
    mkdirSync(dumped);
    debugfs(
      image,
      files.map((file, n) => `dump "/${file}" ${join(dumped, String(n))}`),
    );
    let whole = 0;
    files.forEach((file, n) => {
      if (blocks[n]!.some((block) => lost.has(block * blockSectors))) return;
      expect(sha256(readFileSync(join(dumped, String(n)))), file).toBe(
        sha256(readFileSync(join(tree, file))),
      );
      whole += 1;
    });
    expect(whole).toBe(files.length - hit.length + 1);
  },
);
