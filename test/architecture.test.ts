import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, test } from 'vitest';

const root = join(import.meta.dirname, '..');

/** Which areas an area may import, itself aside. An area is the longest path listed here that a file's
 * path starts with; `*` is everything but `src/cli`. */
const allowed: Record<string, readonly string[]> = {
  'src/errors.ts': [],
  'src/clock.ts': [],
  'src/segment-hasher.ts': [],
  'src/yaml-input.ts': ['src/errors.ts'],
  'src/preset-files.ts': ['src/plan', 'src/errors.ts', 'src/yaml-input.ts'],
  'src/head-map-files.ts': ['src/plan', 'src/errors.ts', 'src/yaml-input.ts'],
  'src/map': ['src/errors.ts'],
  'src/plan': ['src/map'],
  'firmware-protocol': ['src/errors.ts', 'src/clock.ts'],
  'src/drive': [
    'src/map',
    'src/power/power.ts',
    'firmware-protocol',
    'src/errors.ts',
    'src/clock.ts',
    'src/segment-hasher.ts',
  ],
  'src/power': [
    'src/power/power.ts',
    'src/map',
    'firmware-protocol',
    'src/errors.ts',
    'src/clock.ts',
  ],
  'src/power/power.ts': [],
  'src/image': ['src/map', 'src/errors.ts', 'src/segment-hasher.ts'],
  'src/job': [
    'src/map',
    'src/plan',
    'src/drive',
    'src/power',
    'src/power/power.ts',
    'src/image',
    'src/errors.ts',
    'src/clock.ts',
    'src/segment-hasher.ts',
  ],
  // What the operating system does with devices; no drive is asked anything there.
  'src/host': ['src/errors.ts', 'src/clock.ts'],
  'src/show': ['*'],
  'src/index.ts': ['*'],
  'src/cli': ['*', 'hardware-sim'],
  'hardware-sim': ['firmware-protocol', 'src/errors.ts', 'src/clock.ts', 'src/yaml-input.ts'],
};

/** Ambient time, chance and disk, and the few files whose job they are. */
const ambient: { readonly pattern: RegExp; readonly files: readonly string[] }[] = [
  {
    pattern: /\bDate\.now\b|\bnew Date\(\)|\bperformance\.now\b/,
    files: ['src/clock.ts', 'src/image/lock.ts'],
  },
  { pattern: /\bset(Timeout|Interval)\b/, files: ['src/clock.ts'] },
  { pattern: /\bsetImmediate\b/, files: ['hardware-sim/virtual-clock.ts'] },
  { pattern: /\bMath\.random\b|\brandomBytes\b|\brandomInt\b/, files: ['src/cli/drives.ts'] },
  {
    pattern: /from 'node:fs/,
    files: [
      'src/image/node-files.ts',
      'src/image/lock.ts',
      'src/image/hash-thread.ts',
      'src/image/device-of.ts',
      'src/preset-files.ts',
      'src/head-map-files.ts',
      'src/drive/io-process.ts',
      'src/drive/file-reader.ts',
      'src/drive/file-image.ts',
      'src/drive/file-source.ts',
      'src/drive/file-image.ts',
      'src/drive/links',
      'src/host/host.ts',
      'src/host/keeper.ts',
      'src/host/holder.ts',
      'src/drive/sg',
      'hardware-sim/scenario.ts',
      'hardware-sim/media.ts',
      'hardware-sim/plug.ts',
      'src/cli',
    ],
  },
];

function sources(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(folder, name));
}

const files = ['src', 'firmware-protocol', 'hardware-sim'].flatMap(sources);

function areaOf(path: string): string {
  const areas = Object.keys(allowed).filter((area) => path === area || path.startsWith(`${area}/`));
  const area = areas.sort((a, b) => b.length - a.length)[0];
  if (!area) throw new Error(`${path} belongs to no area of the layout`);
  return area;
}

function importsOf(path: string): string[] {
  const text = readFileSync(join(root, path), 'utf8');
  const specifiers = [...text.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map(
    (match) => match[1]!,
  );
  return specifiers.map((specifier) =>
    relative(root, join(root, dirname(path), specifier)).replace(/\.js$/, '.ts'),
  );
}

describe('the layout', () => {
  test.each(files)('%s imports only what its area may', (path) => {
    const from = areaOf(path);
    for (const target of importsOf(path)) {
      const to = areaOf(target);
      const open = allowed[from]!.includes('*') && to !== 'src/cli' && to !== 'hardware-sim';
      const fine = to === from || open || allowed[from]!.includes(to);
      expect(fine, `${path} imports ${target}: ${from} may not import ${to}`).toBe(true);
    }
  });

  test.each(files)('%s has no ambient time, chance or disk unless that is its job', (path) => {
    const text = readFileSync(join(root, path), 'utf8');
    for (const { pattern, files: owners } of ambient) {
      if (owners.some((owner) => path === owner || path.startsWith(`${owner}/`))) continue;
      expect(
        text.match(pattern)?.[0],
        `${path} uses what only ${owners.join(', ')} may`,
      ).toBeUndefined();
    }
  });

  test('the test sees real imports', () => {
    expect(importsOf('src/job/flight.ts')).toContain('src/drive/drive.ts');
  });
});
