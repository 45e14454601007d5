/** Images of drives: by interface (DA-06), by kind of source (DA-07), with hidden and faulty sectors (DA-08, DA-09),
 * in other formats (DA-10). The built command line, over real files, loop devices and simulated imagers. */
import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { identifyResultSchema } from '../../src/show/identify.js';
import { type ImageResult, imageResultSchema } from '../../src/show/result.js';
import { type Finished, run, start, startImager, temporaryFolder } from '../cli/cli.js';
import { needsTool } from '../tools.js';
import { claimsIn } from './claim.js';
import {
  cmp,
  ext2Disk,
  loopDevice,
  mib,
  needsLoop,
  platters,
  scenarioOf,
  sha256OfSectors,
  sha256sum,
  tool,
} from './drives.js';
import { failingFile, type Hole, needsFailingFile } from './failing-file.js';
import { chainBreaks, linesOf, runsOfMap } from './records.js';

const noLoop = needsLoop();

interface Imaged {
  readonly source: string;
  readonly image: string;
  readonly drive: string;
  readonly result: ImageResult;
  readonly finished: Finished;
  readonly startedMs: number;
  readonly endedMs: number;
}

const besides = (image: string, extension: string) => image.replace(/img$/, extension);

/** Images a drive by the command line, and says what it printed. */
async function imageOf(
  drive: string,
  source: string,
  words: readonly string[] = [],
  image = join(temporaryFolder(), 'case.img'),
): Promise<Imaged> {
  const startedMs = Date.now();
  const finished = await run(['image', drive, image, '--json', ...words]);
  expect(finished.status, finished.stderr).toBe(0);
  const result = imageResultSchema.parse(JSON.parse(finished.stdout));
  return { source, image, drive, result, finished, startedMs, endedMs: Date.now() };
}

/** What every whole image of a readable source owes. */
function claimWhole(claim: ReturnType<typeof claimsIn>, job: () => Imaged, ids: readonly string[]) {
  const has = (id: string) => ids.includes(id);
  if (has('DA-AM-06'))
    claim('DA-AM-06', ({ said }) => {
      const { result, source, image } = job();
      const sectorCount = statSync(source).size / result.drive.sectorBytes;
      expect(result.sectors).toMatchObject({ total: sectorCount, finished: sectorCount, bad: 0 });
      expect(statSync(image).size).toBe(statSync(source).size);
      tool('ddrescuelog', '--done-status', besides(image, 'map'));
      const sizes = `${sectorCount} sectors of ${result.drive.sectorBytes} bytes`;
      said.push(`${sizes}, all of them finished (ddrescuelog --done-status)`);
    });
  if (has('DA-AM-08'))
    claim('DA-AM-08', ({ said }) => {
      const { source, image } = job();
      expect(cmp(source, image)).toBe('');
      said.push('cmp finds no difference');
    });
  if (has('DA-AO-01'))
    claim('DA-AO-01', ({ said }) => {
      const { source, image } = job();
      expect(sha256sum(image)).toBe(sha256sum(source));
      said.push(`SHA-256 of source and image: ${sha256sum(source)}`);
    });
}

describe.skipIf(noLoop)('DA-06: a block device', () => {
  const claim = claimsIn('DA-06', 'BLOCK');
  const sizeBytes = 64 * mib + 512 * 1000;
  let job: Imaged;
  let before: string;
  let disk: string;
  const words = ['--case', '2026-17', '--evidence', 'E/3', '--examiner', 'Ada', '--hash', 'sha256'];
  beforeAll(async () => {
    const folder = temporaryFolder();
    const source = platters(join(folder, 'platters'), 1, sizeBytes);
    disk = ext2Disk(folder, 96 * mib);
    before = sha256sum(source);
    const device = loopDevice(source);
    job = await imageOf(device, source, words, join(disk, 'case.img'));
  });

  claim('DA-AM-01', ({ said }) => {
    expect(job.result.hostAttached).toMatchObject({ device: job.drive });
    said.push('the kernel’s block layer: the block device that was named');
  });
  claim('DA-AM-02', ({ said }) => {
    const { drive } = job.result;
    expect(drive.sectorCount * drive.sectorBytes).toBe(
      Number(tool('blockdev', '--getsize64', job.drive)),
    );
    expect(sha256sum(job.image)).toBe(before);
    said.push(`${drive.sectorCount} sectors, as blockdev says`);
  });
  claim('DA-AM-03', async ({ said }) => {
    const { stdout } = await run(['--version']);
    const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
    expect(stdout.trim()).toContain(version);
    expect(linesOf(job.image).find(({ kind }) => kind === 'run')?.version).toBe(version);
    said.push('the built command line runs on this Node.js and kernel (see environment)');
  });
  claim('DA-AM-05', ({ said }) => {
    expect(tool('stat', '--file-system', '--format', '%T', job.image)).toMatch(/ext2/);
    expect(statSync(job.image).dev).toBe(statSync(disk).dev);
    said.push('ext2, by stat --file-system');
  });
  claimWhole(claim, () => job, ['DA-AM-06', 'DA-AM-08', 'DA-AO-01']);
  claim('DA-AO-22', (finding) => {
    const rows = readFileSync(besides(job.image, 'hashes.csv'), 'latin1').trim().split('\n');
    const spans = rows.slice(1).map((row) => {
      const [hash, first, last, status] = row.split(',');
      const count = Number(last) - Number(first) + 1;
      expect(status).toBe('finished');
      expect(hash).toBe(sha256OfSectors(job.source, Number(first), count));
      return count;
    });
    expect(spans).toEqual([131_072, 1000]);
    finding.said.push(
      `segments of ${spans.join(' and ')} sectors, as dd | sha256sum of the source`,
    );
    finding.qualified = 'segments have 64 MiB; another size cannot be asked for';
  });
  claim('DA-AO-23', ({ said }) => {
    const lines = linesOf(job.image);
    expect(chainBreaks(job.image)).toEqual([]);
    const told = lines.find(({ kind }) => kind === 'run');
    const sectorCount = sizeBytes / 512;
    expect(told).toMatchObject({
      source: job.drive,
      image: job.image,
      case: { number: '2026-17', evidence: 'E/3', examiner: 'Ada' },
      drive: { sectorCount, sectorBytes: 512 },
      counts: { 'non-tried': sectorCount, finished: 0 },
    });
    const ended = lines.at(-1);
    expect(ended).toMatchObject({ kind: 'ended', counts: { finished: sectorCount } });
    for (const { at } of lines) {
      expect(Date.parse(at)).toBeGreaterThanOrEqual(job.startedMs);
      expect(Date.parse(at)).toBeLessThanOrEqual(job.endedMs);
    }
    tool('sh', '-c', 'cd "$(dirname "$0")" && sha256sum --strict -c case.img.sha256', job.image);
    said.push('source, sizes, case data, times and counts as they were; chain of hashes whole');
    said.push('sha256sum -c accepts the hash of the whole image');
  });
  claim('DA-AO-24', async ({ said }) => {
    const used = await everyCommandOn(job.drive, job.image);
    expect(sha256sum(job.source)).toBe(before);
    expect(sha256sum(job.drive)).toBe(before);
    said.push(`after image, ${used.join(', ')}: SHA-256 ${before} before and after`);
  });
});

/** Runs every command that takes a drive or an image on these, and returns their names. Which those are, the command
 * line says itself: one that is new fails here until it is added. */
async function everyCommandOn(drive: string, image: string): Promise<string[]> {
  const folder = temporaryFolder();
  const commands: Record<string, () => Promise<unknown>> = {
    doctor: () => run(['doctor', drive]),
    devices: () => run(['devices', '--json']),
    identify: async () => {
      expect(await run(['identify', drive])).toMatchObject({ status: 0 });
      expect(await run(['identify', drive, '--triage'])).toMatchObject({ status: 0 });
    },
    image: async () => {
      const again = ['image', drive, image, '--compare', '10'];
      expect(await run(again)).toMatchObject({ status: 0 });
    },
    agent: async () => {
      const agent = start(['agent', drive, '--port', 'tcp:0']);
      const [, address] = await agent.saw(/serving on (tcp:\S+)/);
      const words = ['--kind', 'hdd', '--range', '0-4999'];
      const imaged = await run(['image', address!, join(folder, 'agent.img'), ...words]);
      expect(imaged.status, imaged.stderr).toBe(0);
      agent.process.kill('SIGINT');
      await agent.finished;
    },
    clone: async () => {
      const target = join(folder, 'target');
      writeFileSync(target, '');
      truncateSync(target, statSync(image).size);
      const words = ['--case-files', join(folder, 'clone.map'), '--range', '0-4999'];
      const cloned = await run(['clone', drive, target, '--overwrite', target, ...words]);
      expect(cloned.status, cloned.stderr).toBe(0);
    },
    verify: () => run(['verify', image, '--quick']),
    export: async () => {
      expect(await run(['export', image, join(folder, 'x.dfxml')])).toMatchObject({ status: 0 });
    },
  };
  const { stdout } = await run(['--help']);
  const offered = [...stdout.matchAll(/^ {2}([a-z]+) .*?[<[]DRIVE[>\]]/gm)].map(
    ([, name]) => name!,
  );
  expect(offered.length).toBeGreaterThan(2);
  for (const name of offered) expect(Object.keys(commands)).toContain(name);
  const used = Object.keys(commands).filter((name) => stdout.includes(`\n  ${name} `));
  for (const name of used) await commands[name]!();
  return used;
}

const needsLog = needsTool('ddrescuelog');

describe.skipIf(needsLog)('DA-06: an imager on a serial port', () => {
  const claim = claimsIn('DA-06', 'SERIAL');
  let job: Imaged;
  beforeAll(async () => {
    const folder = temporaryFolder();
    const source = platters(join(folder, 'platters'), 2, 4 * mib);
    const words = 'identity: { model: ACME SERIAL, serial: S-2, firmware: "2.1" }';
    const drive = await startImager(scenarioOf(folder, source, words), folder, 1000);
    job = await imageOf(drive, source);
  });
  claim('DA-AM-01', ({ said }) => {
    expect(job.drive).toMatch(/^serial:/);
    expect(job.result.hostAttached).toBeNull();
    said.push('Lastspin’s imager protocol on a serial port (pseudo-terminal)');
  });
  claim('DA-AM-02', ({ said }) => {
    expect(job.result.drive).toMatchObject({
      ...{ model: 'ACME SERIAL', serial: 'S-2', firmware: '2.1' },
    });
    said.push('ACME SERIAL S-2, the drive behind that port');
  });
  claimWhole(claim, () => job, ['DA-AM-06', 'DA-AM-08', 'DA-AO-01']);
});

describe.skipIf(noLoop || needsLog)('DA-06: another computer that is the imager', () => {
  const claim = claimsIn('DA-06', 'AGENT');
  let job: Imaged;
  let before: string;
  beforeAll(async () => {
    const source = platters(join(temporaryFolder(), 'platters'), 3, 4 * mib);
    before = sha256sum(source);
    const agent = start(['agent', loopDevice(source), '--port', 'tcp:0']);
    const [, address] = await agent.saw(/serving on (tcp:\S+)/);
    job = await imageOf(address!, source, ['--kind', 'hdd']);
    agent.process.kill('SIGINT');
    await agent.finished;
  });
  claim('DA-AM-01', ({ said }) => {
    expect(job.drive).toMatch(/^tcp:/);
    said.push('Lastspin’s imager protocol over TCP, from a computer that has the drive');
  });
  claimWhole(claim, () => job, ['DA-AM-06', 'DA-AM-08', 'DA-AO-01']);
  claim('DA-AO-24', ({ said }) => {
    expect(sha256sum(job.source)).toBe(before);
    said.push('SHA-256 of the source before and after the agent served it: the same');
  });
});

describe.skipIf(noLoop)('DA-07: a part of a disk', () => {
  const claim = claimsIn('DA-07', 'PART');
  let job: Imaged;
  let part: string;
  beforeAll(async () => {
    const folder = temporaryFolder();
    const source = platters(join(folder, 'platters'), 4, 4 * mib);
    part = join(folder, 'part');
    tool('dd', `if=${source}`, `of=${part}`, 'skip=2048', 'count=5000', 'status=none');
    const area = ['--offset', String(2048 * 512), '--sizelimit', String(5000 * 512)];
    job = await imageOf(loopDevice(source, ...area), part);
  });
  claim('DA-AM-02', ({ said }) => {
    expect(job.result.drive.sectorCount).toBe(5000);
    said.push('5000 sectors from LBA 2048 of a disk, and no others');
  });
  claimWhole(claim, () => job, ['DA-AM-06', 'DA-AM-08', 'DA-AO-01']);
});

describe.skipIf(noLoop)('DA-07: a device of 4096-byte sectors', () => {
  const claim = claimsIn('DA-07', '4KN');
  let job: Imaged;
  beforeAll(async () => {
    const source = platters(join(temporaryFolder(), 'platters'), 5, 4 * mib);
    job = await imageOf(loopDevice(source, '--sector-size', '4096'), source);
  });
  claim('DA-AM-02', ({ said }) => {
    expect(job.result.drive).toMatchObject({ sectorBytes: 4096, sectorCount: 1024 });
    said.push('1024 sectors of 4096 bytes');
  });
  claimWhole(claim, () => job, ['DA-AM-06', 'DA-AM-08', 'DA-AO-01']);
});

const kinds = [
  ['HDD', 'hdd', 'identity: { model: ACME DISK, serial: K-1 }'],
  [
    'SSD',
    'ssd',
    'identity: { model: ACME SSD, serial: K-2 }\nmechanics: { heads: 1, outerBytesPerSecond: 400e6, innerBytesPerSecond: 400e6, seekMinMs: 0, seekMaxMs: 0, rotationMs: 0, spinUpMs: 500, recalibrationMs: 0 }\npower: { rail12: { spinUpMilliamps: 0, idleMilliamps: 0, readMilliamps: 0 } }',
  ],
  [
    'STICK',
    'flash',
    'identity: { model: ACME STICK, serial: K-3, removable: true }\nmechanics: { heads: 1, outerBytesPerSecond: 25e6, innerBytesPerSecond: 25e6, seekMinMs: 0, seekMaxMs: 0, rotationMs: 0, spinUpMs: 500, recalibrationMs: 0 }',
  ],
] as const;

describe.skipIf(needsLog).each(kinds)('DA-07: %s', (name, kind, words) => {
  const claim = claimsIn('DA-07', name);
  let job: Imaged;
  beforeAll(async () => {
    const folder = temporaryFolder();
    const source = platters(join(folder, 'platters'), 6, 2 * mib);
    job = await imageOf(`sim:${scenarioOf(folder, source, words)}?scale=100`, source);
  });
  claim('DA-AM-02', ({ said }) => {
    expect(job.result.kind).toBe(kind);
    expect(words).toContain(job.result.drive.serial);
    said.push(`${job.result.drive.model} ${job.result.drive.serial}, told to be ${kind} by itself`);
  });
  claimWhole(claim, () => job, ['DA-AM-06', 'DA-AM-08', 'DA-AO-01']);
});

const hiding = [
  ['HPA', 'nativeSectorCount: 9000', 'hidden by a protected area', 808],
  ['DCO', 'configurationSectorCount: 9100', 'hidden by a configuration overlay', 908],
] as const;

describe.skipIf(needsLog).each(hiding)('DA-08: sectors behind %s', (name, words, how, count) => {
  const claim = claimsIn('DA-08', name);
  let job: Imaged;
  let drive: string;
  beforeAll(async () => {
    const folder = temporaryFolder();
    const source = platters(join(folder, 'platters'), 7, 8192 * 512);
    drive = `sim:${scenarioOf(folder, source, `identity: { serial: H-1, ${words} }`)}?scale=100`;
    job = await imageOf(drive, source);
  });
  claimWhole(claim, () => job, ['DA-AM-06', 'DA-AM-08']);
  claim('DA-AM-07', async (finding) => {
    const { stdout } = await run(['identify', drive, '--no-smart', '--json']);
    const found = identifyResultSchema.parse(JSON.parse(stdout));
    const all = Math.max(found.nativeSectorCount ?? 0, found.configurationSectorCount ?? 0);
    expect(all - 8192).toBe(count);
    expect(job.result.sectors.total).toBe(8192);
    finding.notMet = `${count} sectors ${how} are not acquired: unhiding them needs commands that are not on the read-only list`;
    finding.said.push(`identify tells of all ${count} of them; image does not mention them`);
    expect(job.finished.stderr + job.finished.stdout).not.toMatch(/hidden/);
  });
});

/** Sectors of a list as one line: 100-107, 4000. */
const rangesText = (holes: readonly Hole[]) =>
  holes.map(({ lba, count }) => (count === 1 ? `${lba}` : `${lba}-${lba + count - 1}`)).join(', ');

const holes: readonly Hole[] = [
  { lba: 100, count: 1 },
  { lba: 4000, count: 8 },
  { lba: 8184, count: 8 },
];
const lostCount = holes.reduce((sum, { count }) => sum + count, 0);

/** What every image of a drive with these holes owes. */
function claimFaulty(claim: ReturnType<typeof claimsIn>, job: () => Imaged, type: string) {
  const where = `${lostCount} of 8192 sectors could not be read, LBA ${rangesText(holes)}`;
  claim('DA-AM-06', (finding) => {
    const { result, image } = job();
    expect(result.sectors).toMatchObject({ finished: 8192 - lostCount, bad: lostCount });
    expect(runsOfMap(besides(image, 'map'), '-')).toEqual(holes);
    const listed = tool('ddrescuelog', '-b512', '--list-blocks=-', besides(image, 'map'));
    const lost = holes.flatMap(({ lba, count }) =>
      Array.from({ length: count }, (_, n) => lba + n),
    );
    expect(listed.split('\n').map(Number)).toEqual(lost);
    finding.qualified = where;
  });
  claim('DA-AM-08', (finding) => {
    const { source, image } = job();
    let from = 0;
    for (const { lba, count } of [...holes, { lba: 8192, count: 0 }]) {
      const stretch = { from: [from * 512, from * 512] as const, byteCount: (lba - from) * 512 };
      expect(cmp(source, image, stretch)).toBe('');
      from = lba + count;
    }
    finding.said.push('cmp finds no difference in any sector called finished');
    finding.qualified = where;
  });
  claim('DA-AM-09', ({ said }) => {
    const { result, image } = job();
    expect(result.sectors).toMatchObject({ bad: lostCount, badAreas: holes.length });
    const failed = linesOf(image).filter(({ outcome }) => outcome === 'fault');
    for (const { lba, count } of holes)
      for (let at = lba; at < lba + count; at++) {
        const own = failed.find((line) => line.lba === at && line.count === 1);
        expect(`${own?.cause}: ${own?.detail}`.replace(/ at LBA \d+$/, ''), `LBA ${at}`).toBe(type);
      }
    said.push(`result and map name ${lostCount} sectors in ${holes.length} areas`);
    said.push(`the event log has a line for each, with its type and LBA: ${type}`);
  });
  claim('DA-AM-10', ({ said }) => {
    const { image } = job();
    for (const { lba, count } of holes) {
      const stretch = { from: [lba * 512, 0] as const, byteCount: count * 512 };
      expect(cmp(image, '/dev/zero', stretch)).toBe('');
    }
    said.push('zeros, by cmp with /dev/zero, in an image that was new');
  });
  claim('DA-AO-22', ({ said }) => {
    const { source, image } = job();
    const rows = readFileSync(besides(image, 'hashes.csv'), 'latin1').trim().split('\n').slice(1);
    const lost = rows.map((row) => row.split(',')).filter(([hash]) => hash === '');
    const spans = lost.map(([, first, last]) => ({
      ...{ lba: Number(first), count: Number(last) - Number(first) + 1 },
    }));
    expect(spans).toEqual(holes);
    for (const row of rows) {
      const [hash, first, last] = row.split(',');
      const count = Number(last) - Number(first) + 1;
      if (hash !== '') expect(hash).toBe(sha256OfSectors(source, Number(first), count));
    }
    said.push('hashes of what was read, bad sectors listed without one; as dd | sha256sum');
  });
  claim('DA-AO-23', ({ said }) => {
    const { image } = job();
    expect(chainBreaks(image)).toEqual([]);
    const counts = { 'bad-sector': lostCount, 'non-tried': 0, finished: 8192 - lostCount };
    expect(linesOf(image).at(-1)).toMatchObject({ kind: 'ended', counts });
    said.push('unreadable and never read are counted apart; chain of hashes whole');
  });
}

describe.skipIf(needsLog)('DA-09: a drive that tells its errors', () => {
  const claim = claimsIn('DA-09', 'MEDIUM');
  let job: Imaged;
  beforeAll(async () => {
    const folder = temporaryFolder();
    const source = platters(join(folder, 'platters'), 8, 8192 * 512);
    const rows = holes.map(({ lba, count }) => `{ kind: bad, lba: ${lba}, count: ${count} }`);
    const drive = scenarioOf(folder, source, `identity: { serial: F-1 }\nfaults: [${rows}]`);
    job = await imageOf(`sim:${drive}?scale=100`, source, ['--preset', 'standard']);
  });
  claimFaulty(claim, () => job, 'medium: medium error 03/11/00, ATA 51/40');
});

describe.skipIf(needsLog || needsFailingFile())('DA-09: a file that fails to read', () => {
  const claim = claimsIn('DA-09', 'EIO');
  let job: Imaged;
  beforeAll(async () => {
    const folder = temporaryFolder();
    const source = platters(join(folder, 'platters'), 9, 8192 * 512);
    const failing = await failingFile(folder, source, { unreadable: holes });
    job = await imageOf(failing, source);
  });
  claimFaulty(claim, () => job, 'unexplained: EIO');
});

describe('DA-10: raw', () => {
  const claim = claimsIn('DA-10', 'RAW');
  claim('DA-AO-02', async ({ said }) => {
    const source = platters(join(temporaryFolder(), 'platters'), 10, mib);
    const { image } = await imageOf(source, source);
    expect(readFileSync(image).equals(readFileSync(source))).toBe(true);
    expect(readdirSync(join(image, '..')).filter((name) => name.includes('.img'))).toEqual([
      'case.img',
    ]);
    said.push('one file of the drive’s bytes and no others');
  });
});
