import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import {
  type Conflict,
  type MergeRule,
  type MergeSource,
  mergeImages,
} from '../../src/image/merge.js';
import { alignToSectors } from '../../src/map/algebra.js';
import { type Runs, runsBuilder } from '../../src/map/algebra-runs.js';
import { statuses } from '../../src/map/status.js';
import { randomOf } from './crashing-files.js';
import { memoryFiles } from './memory-files.js';

const sectorBytes = 512;
const finished = statuses.finished;

/** A drive, and attempts at it: each holds some sectors, some of them wrong. */
interface Attempts {
  readonly sizeBytes: number;
  readonly statuses: readonly Uint8Array[];
  readonly contents: readonly Uint8Array[];
}

function draw(seed: number): Attempts {
  const random = randomOf(seed);
  const sectorCount = 20 + Math.floor(random() * 200);
  const tail = random() < 0.3 ? 1 + Math.floor(random() * (sectorBytes - 1)) : 0;
  const sizeBytes = sectorCount * sectorBytes + tail;
  const sectors = Math.ceil(sizeBytes / sectorBytes);
  const truth = Uint8Array.from({ length: sizeBytes }, (_, at) =>
    // Some of a drive is zero, as on any.
    Math.floor(at / sectorBytes) % 5 === 0 ? 0 : Math.floor(random() * 256),
  );
  const count = 2 + Math.floor(random() * 4);
  const drawn = Array.from({ length: count }, () => {
    const codes = new Uint8Array(sectors);
    const content = new Uint8Array(sizeBytes);
    for (let at = 0; at < sectors; ) {
      const code = random() < 0.6 ? finished : Math.floor(random() * 4);
      const end = Math.min(sectors, at + 1 + Math.floor(random() * 30));
      codes.fill(code, at, end);
      at = end;
    }
    for (let sector = 0; sector < sectors; sector++) {
      const [from, to] = [sector * sectorBytes, Math.min(sizeBytes, (sector + 1) * sectorBytes)];
      // What is not finished may hold anything.
      if (codes[sector] !== finished) content.fill(0xee, from, to);
      else content.set(truth.subarray(from, to), from);
      if (codes[sector] === finished && random() < 0.1)
        content[from + Math.floor(random() * (to - from))]! ^= 1 + Math.floor(random() * 2);
    }
    return { codes, content };
  });
  return {
    sizeBytes,
    statuses: drawn.map(({ codes }) => codes),
    contents: drawn.map(({ content }) => content),
  };
}

/** What should come of it, sector by sector. */
function model({ sizeBytes, statuses: codes, contents }: Attempts, rule: MergeRule) {
  const image = new Uint8Array(sizeBytes);
  const map: number[] = [];
  const disputed = new Map<number, { versions: number[][]; by: string }>();
  for (let sector = 0; sector * sectorBytes < sizeBytes; sector++) {
    const bytes = (source: number) =>
      contents[source]!.subarray(
        sector * sectorBytes,
        Math.min(sizeBytes, (sector + 1) * sectorBytes),
      );
    const having = codes.flatMap((of, source) => (of[sector] === finished ? [source] : []));
    if (having.length === 0) {
      map.push(Math.max(...codes.map((of) => of[sector]!)));
      continue;
    }
    const groups = new Map<string, number[]>();
    for (const source of having) {
      const key = Buffer.from(bytes(source)).toString('hex');
      groups.set(key, [...(groups.get(key) ?? []), source]);
    }
    const versions = [...groups.values()];
    let chosen = versions.length === 1 ? versions[0] : undefined;
    let by = '';
    if (!chosen && rule.majority) {
      chosen = versions.find((of) => of.length * 2 > having.length);
      by = chosen ? 'majority' : '';
    }
    if (!chosen && rule.prefer !== undefined) {
      chosen = versions.find((of) => of.includes(rule.prefer!));
      by = chosen ? 'prefer' : '';
    }
    if (versions.length > 1) disputed.set(sector, { versions, by });
    if (chosen) image.set(bytes(chosen[0]!), sector * sectorBytes);
    map.push(chosen ? finished : statuses['non-tried']);
  }
  return { image, map, disputed };
}

function runsOf(codes: Uint8Array, sizeBytes: number): Runs {
  const builder = runsBuilder();
  codes.forEach((code, sector) => {
    builder.append(sector * sectorBytes, Math.min(sizeBytes, (sector + 1) * sectorBytes), code);
  });
  return builder.finish();
}

function codesOf({ starts, codes, end }: Runs): number[] {
  const found: number[] = [];
  codes.forEach((code, index) => {
    const to = starts[index + 1] ?? end;
    for (let at = starts[index]!; at < to; at += sectorBytes) found.push(code);
  });
  return found;
}

async function merged(attempts: Attempts, rule: MergeRule, windowBytes: number) {
  const files = memoryFiles();
  const sources: MergeSource[] = [];
  for (const [index, content] of attempts.contents.entries()) {
    const path = `${index}.img`;
    files.put(path, content);
    const map = runsOf(attempts.statuses[index]!, attempts.sizeBytes);
    sources.push({ path, file: await files.open(path, { readOnly: true }), map });
  }
  const target = await files.open('out', { create: true });
  await target.truncate(attempts.sizeBytes);
  const conflicts: Conflict[] = [];
  const result = await mergeImages({
    ...{ sources, sectorBytes, rule, target, windowBytes },
    sizeBytes: attempts.sizeBytes,
    onConflict: async (conflict) => {
      conflicts.push(conflict);
    },
  });
  return { result, conflicts, image: files.content('out') };
}

const rules = (count: number): MergeRule[] => [
  { majority: false },
  { majority: false, prefer: count - 1 },
  { majority: true },
  { majority: true, prefer: 0 },
];

describe('merging images', () => {
  test('over seeds: every sector is what a model says, in windows of any size', async () => {
    let disputes = 0;
    for (let seed = 0; seed < 120; seed++) {
      const attempts = draw(seed);
      const rule = rules(attempts.contents.length)[seed % 4]!;
      const expected = model(attempts, rule);
      const windowBytes = [512, 1536, 8192, 1 << 20][Math.floor(seed / 4) % 4]!;
      const { result, conflicts, image } = await merged(attempts, rule, windowBytes);
      expect(codesOf(result.map), `seed ${seed}`).toEqual(expected.map);
      expect(Buffer.compare(image, expected.image), `seed ${seed}`).toBe(0);
      const sectors = new Map<number, { versions: number[][]; by: string }>();
      for (const { from, to, versions, taken } of conflicts) {
        for (const { sources, sha256, firstBytes } of versions) {
          const held = attempts.contents[sources[0]!]!.subarray(from, to);
          expect(sha256).toBe(createHash('sha256').update(held).digest('hex'));
          expect(Buffer.compare(firstBytes, held.subarray(0, 16))).toBe(0);
        }
        for (let at = from; at < to; at += sectorBytes) {
          const grouping = versions.map(({ sources }) => [...sources]);
          sectors.set(at / sectorBytes, { versions: grouping, by: taken?.by ?? '' });
        }
      }
      expect(sectors, `seed ${seed}`).toEqual(expected.disputed);
      disputes += sectors.size;
      const held = expected.map.filter((code) => code === finished).length;
      const taken = result.takenBytes.reduce((sum, bytes) => sum + bytes, 0);
      expect(Math.ceil(taken / sectorBytes)).toBe(held);
    }
    expect(disputes).toBeGreaterThan(500);
  });

  test('neighbouring sectors in the same dispute are one conflict, over the edge of a window', async () => {
    const sizeBytes = 64 * sectorBytes;
    const all = new Uint8Array(64).fill(finished);
    const contents = [new Uint8Array(sizeBytes).fill(1), new Uint8Array(sizeBytes).fill(1)];
    contents[1]!.fill(2, 3 * sectorBytes, 50 * sectorBytes);
    const attempts = { sizeBytes, statuses: [all, all], contents };
    const { conflicts } = await merged(attempts, { majority: false }, 4096);
    expect(conflicts).toHaveLength(1);
    expect(conflicts[0]).toMatchObject({ from: 3 * sectorBytes, to: 50 * sectorBytes });
  });

  test('what is zero, and what nobody holds, stays a hole; a terabyte of it takes no time', async () => {
    const files = memoryFiles();
    const sizeBytes = 2 ** 40;
    files.put('a.img', new Uint8Array(1 << 20).fill(7));
    const a = await files.open('a.img');
    await a.truncate(sizeBytes);
    const builder = runsBuilder();
    builder.append(0, 3 << 20, finished);
    builder.append(3 << 20, sizeBytes, statuses['non-tried']);
    const map = builder.finish();
    const target = await files.open('out', { create: true });
    await target.truncate(sizeBytes);
    const sources = [a, a].map((file, index) => ({ path: `${index}`, file, map }));
    const rule = { majority: false };
    const onConflict = async () => {};
    const { readBytes, comparedBytes } = await mergeImages({
      ...{ sources, sectorBytes, sizeBytes, rule, target, onConflict },
    });
    expect(await target.allocatedBytes()).toBe(1 << 20);
    expect(comparedBytes).toBe(3 << 20);
    expect(readBytes).toBe(2 * (3 << 20));
  });

  test('a source that is shorter than its map says ends the merge', async () => {
    const attempts = {
      sizeBytes: 4096,
      statuses: [new Uint8Array(8).fill(finished), new Uint8Array(8)],
      contents: [new Uint8Array(4000), new Uint8Array(4096)],
    };
    await expect(merged(attempts, { majority: false }, 4096)).rejects.toThrow(/0\.img ends before/);
  });

  test('a map whose edges lie within sectors claims none of these', () => {
    const builder = runsBuilder();
    builder.append(0, 700, finished);
    builder.append(700, 2048, statuses['bad-sector']);
    const { starts, codes } = alignToSectors(builder.finish(), sectorBytes);
    expect([...starts]).toEqual([0, 512]);
    expect([...codes]).toEqual([finished, statuses['bad-sector']]);
  });

  test('an end that was asked for comes before the next window', async () => {
    const files = memoryFiles();
    files.put('a.img', new Uint8Array(1 << 16).fill(1));
    const file = await files.open('a.img');
    const builder = runsBuilder();
    builder.append(0, 1 << 16, finished);
    const map = builder.finish();
    const target = await files.open('out', { create: true });
    const stop = new AbortController();
    const steps: number[] = [];
    const merging = mergeImages({
      sources: [{ path: 'a.img', file, map }],
      ...{ sectorBytes, target },
      sizeBytes: 1 << 16,
      windowBytes: 4096,
      rule: { majority: false },
      onConflict: async () => {},
      onProgress: (bytes) => {
        steps.push(bytes);
        if (steps.length === 3) stop.abort(new Error('enough'));
      },
      signal: stop.signal,
    });
    await expect(merging).rejects.toThrow('enough');
    expect(steps).toEqual([4096, 8192, 12288]);
  });
});
