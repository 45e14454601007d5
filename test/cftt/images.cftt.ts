/** Images of drives: by interface (DA-06), by kind of source (DA-07), with hidden and faulty sectors (DA-08, DA-09),
 * in other formats (DA-10). The built command line, over real files, loop devices and simulated imagers. */
import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { statuses } from '../../src/map/status.js';
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
  smallDisk,
  tool,
} from './drives.js';
import { failingFile, type Hole, needsFailingFile } from './failing-file.js';
import { chainBreaks, linesOf, runsOfMap } from './records.js';
import { type UsbJob, usbJob } from './usb-job.js';

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

describe('DA-06: a USB adapter', () => {
  const claim = claimsIn('DA-06', 'USB');
  let job: UsbJob;
  let source: string;
  let image: string;
  beforeAll(async () => {
    const folder = temporaryFolder();
    source = platters(join(folder, 'platters'), 16, 4 * mib);
    const identity = { model: 'ACME USB', serial: 'U-1' };
    job = await usbJob({ sectorCount: 8192, contents: { file: source }, identity });
    image = join(folder, 'case.img');
    writeFileSync(image, job.image);
  });
  claim('DA-AM-01', ({ said }) => {
    expect(job.disk.counters.commands).toBe(job.sent.length);
    said.push('bulk-only transport: the production USB code over a simulated adapter');
  });
  claim('DA-AM-02', ({ said }) => {
    expect(job.events[0]).toMatchObject({ kind: 'started' });
    expect(job.serial).toBe('U-1');
    said.push('ACME USB U-1, by the drive’s own words behind the adapter');
  });
  claim('DA-AM-06', ({ said }) => {
    expect(job.state.plan.map.countOf(statuses.finished)).toBe(8192);
    said.push('8192 sectors of 512 bytes, all of them finished');
  });
  claim('DA-AM-08', ({ said }) => {
    expect(cmp(source, image)).toBe('');
    said.push('cmp finds no difference');
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
    const isMentioned = /hidden/.test(job.finished.stderr + job.finished.stdout);
    const image = isMentioned ? 'image mentions them' : 'image does not mention them';
    finding.said.push(`identify tells of all ${count} of them; ${image}`);
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
function claimFaulty(
  claim: ReturnType<typeof claimsIn>,
  job: () => Imaged,
  { type, sense }: { readonly type: string; readonly sense?: Readonly<Record<string, number>> },
) {
  claim('DA-AM-06', (finding) => {
    const { result, image } = job();
    expect(result.sectors).toMatchObject({ finished: 8192 - lostCount, bad: lostCount });
    expect(runsOfMap(besides(image, 'map'), '-')).toEqual(holes);
    const listed = tool('ddrescuelog', '-b512', '--list-blocks=-', besides(image, 'map'));
    const lost = holes.flatMap(({ lba, count }) =>
      Array.from({ length: count }, (_, n) => lba + n),
    );
    expect(listed.split('\n').map(Number)).toEqual(lost);
    finding.qualified = `${lostCount} of 8192 sectors could not be read, LBA ${rangesText(holes)}`;
  });
  claim('DA-AM-08', ({ said }) => {
    const { source, image } = job();
    let from = 0;
    for (const { lba, count } of [...holes, { lba: 8192, count: 0 }]) {
      const stretch = { from: [from * 512, from * 512] as const, byteCount: (lba - from) * 512 };
      expect(cmp(source, image, stretch)).toBe('');
      from = lba + count;
    }
    said.push('cmp finds no difference in any sector called finished');
  });
  claim('DA-AM-09', ({ said }) => {
    const { result, image } = job();
    expect(result.sectors).toMatchObject({ bad: lostCount, badAreas: holes.length });
    const failed = linesOf(image).filter(({ outcome }) => outcome === 'fault');
    for (const { lba, count } of holes)
      for (let at = lba; at < lba + count; at++) {
        const own = failed.find((line) => line.lba === at && line.count === 1);
        expect(`${own?.cause}: ${own?.detail}`.replace(/ at LBA \d+$/, ''), `LBA ${at}`).toBe(type);
        expect(own?.sense, `LBA ${at}`).toEqual(sense);
      }
    said.push(`result and map name ${lostCount} sectors in ${holes.length} areas`);
    said.push(`the event log has a line for each, with its type and LBA: ${type}`);
    if (sense) said.push('sense key, ASC and ASCQ of each as the drive sent them');
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
  claimFaulty(claim, () => job, {
    type: 'medium: medium error 03/11/00, ATA 51/40',
    sense: { key: 3, asc: 0x11, ascq: 0 },
  });
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
  claimFaulty(claim, () => job, { type: 'unexplained: EIO' });
});

describe.skipIf(needsLog)('DA-09: gaps that are filled afterwards', () => {
  claimsIn('DA-09', 'FILL')('DA-AM-10', async ({ said }) => {
    const folder = temporaryFolder();
    const image = platters(join(folder, 'case.img'), 15, mib);
    const before = platters(join(folder, 'before'), 15, mib);
    writeFileSync(join(folder, 'case.map'), '0 ? 1\n0 51200 +\n51200 512 -\n51712 996864 +\n');
    const filled = await run(['fill', image, '--unreadable', 'marker']);
    expect(filled.status, filled.stderr).toBe(0);
    const sector = tool('dd', `if=${image}`, 'bs=512', 'skip=100', 'count=1', 'status=none');
    expect(sector).toMatch(/^lastspin: sector 100 could not be read\n/);
    expect(cmp(image, before, { byteCount: 51_200 })).toBe('');
    expect(cmp(image, before, { from: [51_712, 51_712] })).toBe('');
    tool('ddrescuelog', '-b512', '--list-blocks=-', join(folder, 'case.map'));
    said.push(
      'with fill --unreadable marker: a text with the LBA (dd); nothing else is touched (cmp)',
    );
  });
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

describe('DA-10: raw, in parts', () => {
  const claim = claimsIn('DA-10', 'SPLIT');
  let parts: string[];
  let source: string;
  let image: string;
  beforeAll(async () => {
    source = platters(join(temporaryFolder(), 'platters'), 11, 5 * mib);
    ({ image } = await imageOf(source, source, ['--split', '2MB']));
    const own = join(image, '..');
    parts = readdirSync(own).filter((name) => /img\.\d+$/.test(name));
    parts = parts.sort().map((name) => join(own, name));
  });
  claim('DA-AO-01', ({ said }) => {
    tool('sh', '-c', 'cat "$@" > "$0"', image, ...parts);
    expect(cmp(source, image)).toBe('');
    said.push('cat of the parts, by cmp the source');
  });
  claim('DA-AO-02', ({ said }) => {
    expect(parts.map((part) => part.slice(-4))).toEqual(['.001', '.002', '.003']);
    said.push('raw in parts: .001, .002, .003');
  });
  claim('DA-AO-05', ({ said }) => {
    const sizes = parts.map((part) => statSync(part).size);
    for (const size of sizes) expect(size).toBeLessThanOrEqual(2_000_000);
    expect(sizes.reduce((sum, size) => sum + size)).toBe(5 * mib);
    said.push(`asked for 2000000 bytes: parts of ${sizes.join(', ')}`);
  });
});

describe.skipIf(needsTool('ewfinfo'))('DA-10: E01', () => {
  const claim = claimsIn('DA-10', 'E01');
  let source: string;
  let out: string;
  beforeAll(async () => {
    source = platters(join(temporaryFolder(), 'platters'), 12, 5 * mib);
    const { image } = await imageOf(source, source);
    out = join(temporaryFolder(), 'x');
    const words = ['--segment-size', '2Mi', '--compress', 'none'];
    expect(await run(['export', image, `${out}.E01`, ...words])).toMatchObject({ status: 0 });
  });
  claim('DA-AO-01', ({ said }) => {
    tool('ewfexport', '-q', '-u', '-f', 'raw', '-t', out, `${out}.E01`);
    expect(cmp(source, `${out}.raw`)).toBe('');
    said.push('ewfexport gives the source back, by cmp');
  });
  claim('DA-AO-02', (finding) => {
    expect(tool('ewfinfo', `${out}.E01`)).toMatch(/File format:\s+EnCase 6/);
    expect(tool('ewfverify', '-q', `${out}.E01`)).toMatch(/SUCCESS/);
    finding.said.push('EnCase 6, by ewfinfo; ewfverify accepts it');
    finding.qualified =
      'E01 is made from a raw image afterwards (export), not while the source is read';
  });
  claim('DA-AO-05', ({ said }) => {
    const own = join(out, '..');
    const sizes = readdirSync(own)
      .filter((name) => /\.E\d\d$/.test(name))
      .sort();
    const bytes = sizes.map((name) => statSync(join(own, name)).size);
    expect(bytes.length).toBeGreaterThan(2);
    for (const size of bytes) expect(size).toBeLessThanOrEqual(2 * mib);
    said.push(`asked for ${2 * mib} bytes: ${bytes.length} files, none larger`);
  });
});

describe.skipIf(needsFailingFile())('DA-11: an image whose writing fails', () => {
  claimsIn('DA-11', 'EIO')('DA-AO-03', async ({ said }) => {
    const folder = temporaryFolder();
    const source = platters(join(folder, 'platters'), 13, 4 * mib);
    const backing = join(folder, 'backing');
    writeFileSync(backing, Buffer.alloc(4 * mib));
    const target = await failingFile(folder, backing, { unwritable: [{ lba: 4000, count: 8 }] });
    const finished = await run(['image', source, target, '--force']);
    expect(finished.status, finished.stderr).toBe(1);
    expect(finished.stderr).toContain(target);
    // The source reads well, and is not blamed.
    expect(finished.stderr).not.toMatch(/trouble|blame/);
    for (const { lba, count } of runsOfMap(join(folder, 'failing.map'), '+')) {
      const stretch = { from: [lba * 512, lba * 512] as const, byteCount: count * 512 };
      expect(cmp(source, backing, stretch)).toBe('');
    }
    said.push('exit status 1, the image named; the map claims nothing that is not in it');
  });
});

describe('DA-12: no room', () => {
  const claim = claimsIn('DA-12', 'BEFORE');
  claim('DA-AO-04', async ({ said }) => {
    const folder = temporaryFolder();
    const source = join(folder, 'huge');
    writeFileSync(source, '');
    truncateSync(source, 2 ** 43);
    const image = join(folder, 'case.img');
    const finished = await run(['image', source, image]);
    expect(finished).toMatchObject({ status: 1, stdout: '' });
    expect(finished.stderr).toMatch(/IMAGE_SPACE/);
    expect(readdirSync(folder).filter((name) => name.endsWith('.map'))).toEqual([]);
    said.push('8 TiB onto a smaller disk: refused before the first read');
    truncateSync(source, 0);
  });

  const full = claimsIn('DA-12', 'MEANWHILE');
  describe.skipIf(noLoop)('while it is made', () => {
    full('DA-AO-04', async ({ said }) => {
      const folder = temporaryFolder();
      const source = platters(join(folder, 'platters'), 14, 8 * mib);
      const image = join(smallDisk(join(folder, 'disk'), 3 * mib), 'case.img');
      const job = start(['image', source, image, '--force']);
      const [told] = await job.saw(/no room for .*/);
      if (told.includes('rests')) job.process.kill('SIGINT');
      const { status, stderr } = await job.finished;
      expect(status, stderr).toBe(1);
      expect(stderr).toContain('case.');
      said.push('a disk that is full is told by the file for which there is no room');
    });
  });
});
