/** Whether an image is still what was read (DA-24, DA-25), and what a conversion makes of it (DA-26): the built
 * command line, judged by dd and libewf's tools. */
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { verifyResultSchema } from '../../src/show/verify-result.js';
import { run, temporaryFolder } from '../cli/cli.js';
import { needsTool } from '../tools.js';
import { claimsIn } from './claim.js';
import { cmp, contentsOf, mib, platters, sha256sum, tool } from './drives.js';

const segmentSectors = 131_072;
const sectorCount = segmentSectors + 4000;

let folder: string;
const at = (name: string) => join(folder, name);

async function verified(image: string) {
  const { status, stdout, stderr } = await run(['verify', image, '--json']);
  return { status, stderr, result: verifyResultSchema.parse(JSON.parse(stdout)) };
}

/** One byte of a file becomes another, by dd. */
function changeByte(path: string, position: number): void {
  const was = tool('dd', `if=${path}`, 'bs=1', `skip=${position}`, 'count=1', 'status=none');
  const now = was === 'x' ? 'y' : 'x';
  const where = ['bs=1', `seek=${position}`, 'count=1', 'conv=notrunc', 'status=none'];
  tool('sh', '-c', `printf ${now} | dd of="$0" ${where.join(' ')}`, path);
}

beforeAll(async () => {
  folder = temporaryFolder();
  platters(at('source'), 31, sectorCount * 512);
  const imaged = await run(['image', at('source'), at('case.img'), '--hash', 'sha256']);
  expect(imaged.status, imaged.stderr).toBe(0);
});

describe('DA-24: an image that is as it was', () => {
  claimsIn('DA-24', 'RAW')('DA-AO-06', async ({ said }) => {
    const before = sha256sum(at('case.img'));
    const { status, result } = await verified(at('case.img'));
    expect(status).toBe(0);
    expect(result).toMatchObject({ verdict: 'unchanged', changed: [], heldSectors: sectorCount });
    expect([sha256sum(at('case.img')), sha256sum(at('source'))]).toEqual([before, before]);
    said.push(`unchanged, exit status 0; sha256sum of image and source agree: ${before}`);
  });
});

describe('DA-25: an image that was changed', () => {
  const claim = claimsIn('DA-25', 'BYTE');
  const position = segmentSectors * 512 + 700_000;
  let found: Awaited<ReturnType<typeof verified>>;
  beforeAll(async () => {
    const own = temporaryFolder();
    for (const extension of ['img', 'map', 'hashes.csv', 'events.ndjson', 'img.sha256'])
      copyFileSync(at(`case.${extension}`), join(own, `case.${extension}`));
    changeByte(join(own, 'case.img'), position);
    expect(cmp(at('source'), join(own, 'case.img'))).toContain(`byte ${position + 1}`);
    found = await verified(join(own, 'case.img'));
  });
  claim('DA-AO-07', ({ said }) => {
    expect(found).toMatchObject({ status: 4, result: { verdict: 'changed' } });
    said.push('one byte changed by dd: changed, exit status 4');
  });
  claim('DA-AO-08', (finding) => {
    const [only, ...others] = found.result.changed;
    expect(others).toEqual([]);
    expect(only).toMatchObject({ lba: segmentSectors, count: 4000 });
    const end = only!.fromByte + only!.byteCount;
    expect(only!.fromByte <= position && position < end).toBe(true);
    finding.said.push(`LBA ${only!.lba}-${only!.lba + only!.count - 1}, which holds it; no other`);
    finding.qualified = 'the place is told to the segment, at most 64 MiB';
  });
});

/** Sizes so small that the change lies in a part that is neither the first nor the last. */
const partBytes = 16_000_000;

describe('an image in parts', () => {
  let own: string;
  const inOwn = (name: string) => join(own, name);
  const position = 2 * partBytes + 700_000;
  let changed: Awaited<ReturnType<typeof verified>>;
  beforeAll(async () => {
    own = temporaryFolder();
    const words = ['--split', `${partBytes}B`, '--hash', 'sha256'];
    const imaged = await run(['image', at('source'), inOwn('case.img'), ...words]);
    expect(imaged.status, imaged.stderr).toBe(0);
  });
  const whole = (into: string) => tool('sh', '-c', 'cat "$0".0* > "$1"', inOwn('case.img'), into);

  claimsIn('DA-24', 'SPLIT')('DA-AO-06', async ({ said }) => {
    const { status, result } = await verified(inOwn('case.img'));
    expect(status).toBe(0);
    expect(result).toMatchObject({ verdict: 'unchanged', changed: [], heldSectors: sectorCount });
    whole(inOwn('joined'));
    expect(cmp(at('source'), inOwn('joined'))).toBe('');
    said.push('five parts: unchanged, exit status 0; cat of them is the source (cmp)');
  });
  claimsIn('DA-06', 'SPLIT')('DA-AO-23', ({ said }) => {
    const [, hash] =
      /^([0-9a-f]{64}) /m.exec(readFileSync(inOwn('case.img.sha256'), 'latin1')) ?? [];
    const piped = tool('sh', '-c', 'cat "$0".0* | sha256sum', inOwn('case.img'));
    expect(hash).toBe(piped.slice(0, 64));
    expect(hash).toBe(sha256sum(at('source')));
    said.push('the hash of the whole is that of cat of the parts, by sha256sum');
  });
  describe.skipIf(needsTool('ewfverify'))('converted', () => {
    claimsIn('DA-26', 'SPLIT')('DA-AO-09', async ({ said }) => {
      const exported = await run(['export', inOwn('case.img.001'), inOwn('x.E01')]);
      expect(exported.status, exported.stderr).toBe(0);
      expect(tool('ewfverify', '-q', inOwn('x.E01'))).toMatch(/SUCCESS/);
      tool('ewfexport', '-q', '-u', '-f', 'raw', '-t', inOwn('back'), inOwn('x.E01'));
      expect(cmp(at('source'), inOwn('back.raw'))).toBe('');
      said.push('parts to E01: ewfverify accepts it, ewfexport gives the source back (cmp)');
    });
  });
  describe('one byte of whose third part was changed', () => {
    const claim = claimsIn('DA-25', 'SPLIT');
    beforeAll(async () => {
      changeByte(inOwn('case.img.003'), position - 2 * partBytes);
      changed = await verified(inOwn('case.img'));
    });
    claim('DA-AO-07', ({ said }) => {
      expect(changed).toMatchObject({ status: 4, result: { verdict: 'changed' } });
      said.push('one byte of the third part changed by dd: changed, exit status 4');
    });
    claim('DA-AO-08', (finding) => {
      const [only, ...others] = changed.result.changed;
      expect(others).toEqual([]);
      expect(only).toMatchObject({ lba: 0, count: segmentSectors });
      const end = only!.fromByte + only!.byteCount;
      expect(only!.fromByte <= position && position < end).toBe(true);
      finding.said.push(`LBA 0-${segmentSectors - 1}, which holds it; no other`);
      finding.qualified = 'the place is told to the segment, at most 64 MiB';
    });
  });
});

describe.skipIf(needsTool('ewfverify'))('DA-26: converted to E01', () => {
  const claim = claimsIn('DA-26', 'E01');
  claim('DA-AO-09', async ({ said }) => {
    const words = ['--segment-size', '16Mi', '--compress', 'none'];
    const exported = await run(['export', at('case.img'), at('x.E01'), ...words]);
    expect(exported.status, exported.stderr).toBe(0);
    expect(tool('ewfverify', '-q', at('x.E01'))).toMatch(/SUCCESS/);
    tool('ewfexport', '-q', '-u', '-f', 'raw', '-t', at('back'), at('x.E01'));
    expect(cmp(at('source'), at('back.raw'))).toBe('');
    said.push('a set of E01 files: ewfverify accepts it, ewfexport gives the source back (cmp)');
  });
  claimsIn('DA-26', 'FAULTY')('DA-AO-09', async (finding) => {
    const image = at('holes.img');
    writeFileSync(image, contentsOf(32, mib));
    writeFileSync(at('holes.map'), '0 ? 1\n0 524288 +\n524288 4096 -\n528384 520192 +\n');
    const exported = await run(['export', image, at('holes.E01')]);
    expect(exported.status, exported.stderr).toBe(0);
    tool('ewfexport', '-q', '-u', '-f', 'raw', '-t', at('holes'), at('holes.E01'));
    const medium = contentsOf(32, mib).fill(0, 524_288, 528_384);
    writeFileSync(at('medium'), medium);
    expect(cmp(at('medium'), at('holes.raw'))).toBe('');
    expect(tool('ewfinfo', at('holes.E01'))).toMatch(/sector\(s\): 1024 - 1031 number: 8/);
    finding.qualified =
      '8 sectors that were not read, LBA 1024-1031, are zeros and listed as errors';
  });
});
