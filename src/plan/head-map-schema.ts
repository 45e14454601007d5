import { z } from 'zod';

/** The head map as a file says it, and as a job keeps it. */

/** `800 MB`, `4096 sectors`. */
const sizePattern = /^(\d+(?:\.\d+)?)\s*(sectors?|B|[kMGT]B|[KMGT]iB)$/;

const count = z.int().nonnegative();
const positive = z.int().positive();
/** What one byte a sector has room for, with 0 for what nobody knows. */
const headsMax = 254;
const head = count.max(headsMax - 1);
const size = z.union([
  count,
  z.string().regex(sizePattern, 'expected sectors, or a size such as 800 MB'),
]);

export const headMapSchema = z.strictObject({
  title: z
    .string()
    .exactOptional()
    .describe('What it is about, for people: model, where it is from.'),
  heads: positive.max(headsMax).describe('How many heads; they are numbered from 0.'),
  sectorCount: positive
    .exactOptional()
    .describe('Sectors of the drive. A drive of another size is refused.'),
  sectorBytes: positive
    .exactOptional()
    .describe('Bytes of a sector as counted here. A drive with others is refused.'),
  weak: z
    .array(head)
    .exactOptional()
    .describe(
      'Heads that read badly; [] when all are well. Unless told, found from the share of failing and slow reads of each head.',
    ),
  dead: z
    .array(head)
    .exactOptional()
    .describe('Heads that nothing is read with, but by rows that name them by number.'),
  zones: z
    .array(
      z.strictObject({
        from: size
          .default(0)
          .describe('Where the first band begins: an LBA, or a size from LBA 0.'),
        to: size
          .exactOptional()
          .describe(
            'Where the zone ends, exclusive; unless told, where the next begins, or the drive ends.',
          ),
        bandSectors: z
          .union([size, z.array(size).min(1)])
          .describe('Sectors of a band, or a list of them, one for each of `order`.'),
        order: z
          .array(head)
          .min(1)
          .exactOptional()
          .describe('Which head reads which band in turn; unless told 0, 1, 2 and so on.'),
      }),
    )
    .exactOptional()
    .describe('Stretches in which heads take turns, in ascending order.'),
  bands: z
    .array(
      z.strictObject({
        head: head.describe('Whose band it is.'),
        from: size.describe('Where the first band begins.'),
        sectors: size
          .exactOptional()
          .describe('How long it is; needed where there is no `to`, or a `period`.'),
        period: size
          .exactOptional()
          .describe(
            'How far from there the next one begins, and so on; unless told there is one only.',
          ),
        to: size
          .exactOptional()
          .describe(
            'Where it ends, exclusive; with a period, where the last one ends; unless told, the end of the drive.',
          ),
      }),
    )
    .exactOptional()
    .describe('Bands of single heads. They prevail over zones.'),
});

/** A head map as its file says it. */
export type HeadMapFile = z.output<typeof headMapSchema>;

/** The JSON schema of a head map file, for editors. */
export function headMapJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(headMapSchema, { io: 'input' }) as Record<string, unknown>;
}

/** The same for one drive, in sectors, nothing left to be guessed: what the job keeps. */
export const headMapDataSchema = z.strictObject({
  title: z.string().exactOptional(),
  heads: positive.max(headsMax),
  /** Absent: to be found out. */
  weak: z.array(head).exactOptional(),
  dead: z.array(head),
  zones: z.array(
    z.strictObject({
      from: count,
      to: positive,
      order: z.array(head).min(1),
      bandSectors: z.array(positive).min(1),
    }),
  ),
  /** `period` 0: one band only, from `from` to `to`. */
  bands: z.array(
    z.strictObject({ head, from: count, sectors: positive, period: count, to: positive }),
  ),
});

export type HeadMapData = z.output<typeof headMapDataSchema>;

export interface HeadMapProblem {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

/** What is wrong with a file whatever the drive. */
export function headMapProblems(file: HeadMapFile): HeadMapProblem[] {
  const problems: HeadMapProblem[] = [];
  const last = file.heads - 1;
  const check = (head: number, path: readonly PropertyKey[]) => {
    if (head > last) problems.push({ path, message: `the heads are 0 to ${last}` });
  };
  for (const [n, head] of (file.weak ?? []).entries()) check(head, ['weak', n]);
  for (const [n, head] of (file.dead ?? []).entries()) {
    check(head, ['dead', n]);
    if (file.weak?.includes(head))
      problems.push({ path: ['dead', n], message: `head ${head} is said to be weak too` });
  }
  for (const [n, { order, bandSectors }] of (file.zones ?? []).entries()) {
    for (const [turn, head] of (order ?? []).entries()) check(head, ['zones', n, 'order', turn]);
    const turns = order?.length ?? file.heads;
    if (Array.isArray(bandSectors) && bandSectors.length !== turns)
      problems.push({
        path: ['zones', n, 'bandSectors'],
        message: `has ${bandSectors.length} sizes for ${turns} bands in turn`,
      });
  }
  for (const [n, { head, sectors, period, to }] of (file.bands ?? []).entries()) {
    check(head, ['bands', n, 'head']);
    if (sectors === undefined && (to === undefined || period !== undefined))
      problems.push({ path: ['bands', n], message: 'sectors: is missing' });
  }
  if (!file.zones?.length && !file.bands?.length)
    problems.push({
      path: [],
      message: 'zones or bands are needed: nothing says where the heads are',
    });
  return problems;
}

/** Most bands of a map: many more than any drive has, few enough to look through. */
const bandsMax = 500_000;

/** The head map for a drive, or what in the file does not fit it. */
export function headMapOf(
  file: HeadMapFile,
  drive: { readonly sectorCount: number; readonly sectorBytes: number },
): { readonly value: HeadMapData } | { readonly problems: readonly HeadMapProblem[] } {
  const problems = [...headMapProblems(file), ...driveProblems(file, drive)];
  if (problems.length > 0) return { problems };
  const { sectorCount } = drive;
  const sectors = (text: number | string) => sectorsOf(text, drive.sectorBytes);
  const { heads, title, weak } = file;
  const zones = (file.zones ?? []).map((zone, n) => {
    const next = file.zones![n + 1]?.from;
    const order = zone.order ?? Array.from({ length: heads }, (_, head) => head);
    const { bandSectors } = zone;
    return {
      from: sectors(zone.from),
      to: sectors(zone.to ?? next ?? sectorCount),
      order,
      bandSectors: Array.isArray(bandSectors)
        ? bandSectors.map(sectors)
        : order.map(() => sectors(bandSectors)),
    };
  });
  const bands = (file.bands ?? []).map((band) => {
    const from = sectors(band.from);
    const period = sectors(band.period ?? 0);
    const length = band.sectors === undefined ? sectors(band.to!) - from : sectors(band.sectors);
    const to = band.to !== undefined ? sectors(band.to) : period > 0 ? sectorCount : from + length;
    return { head: band.head, from, sectors: length, period, to };
  });
  const data: HeadMapData = {
    ...(title !== undefined && { title }),
    heads,
    ...(weak && { weak }),
    dead: file.dead ?? [],
    zones,
    bands,
  };
  const wrong = placeProblems(data, sectorCount);
  return wrong.length > 0 ? { problems: wrong } : { value: data };
}

function driveProblems(
  { sectorCount, sectorBytes }: HeadMapFile,
  drive: { readonly sectorCount: number; readonly sectorBytes: number },
): HeadMapProblem[] {
  const problems: HeadMapProblem[] = [];
  const differ = (name: string, here: number | undefined, there: number) => {
    if (here !== undefined && here !== there)
      problems.push({ path: [name], message: `is ${here}, but the drive has ${there}` });
  };
  differ('sectorCount', sectorCount, drive.sectorCount);
  differ('sectorBytes', sectorBytes, drive.sectorBytes);
  return problems;
}

function placeProblems({ zones, bands }: HeadMapData, sectorCount: number): HeadMapProblem[] {
  const problems: HeadMapProblem[] = [];
  const say = (message: string, ...path: PropertyKey[]) => problems.push({ path, message });
  const end = `the drive has ${sectorCount} sectors`;
  let bandCount = 0;
  zones.forEach(({ from, to, bandSectors }, n) => {
    const turn = bandSectors.reduce((sum, each) => sum + each, 0);
    bandCount += turn > 0 ? ((to - from) / turn) * bandSectors.length : 0;
    if (bandSectors.includes(0)) say('a band of no sectors', 'zones', n, 'bandSectors');
    if (to > sectorCount) say(`ends at LBA ${to}, but ${end}`, 'zones', n);
    else if (from >= to) say(`begins at LBA ${from} and ends at ${to}`, 'zones', n);
    const before = zones[n - 1];
    if (before && before.to > from) say(`overlaps the zone before it at LBA ${from}`, 'zones', n);
  });
  bands.forEach(({ from, sectors, period, to }, n) => {
    bandCount += period > 0 ? (to - from) / period : 1;
    if (sectors <= 0) say('a band of no sectors', 'bands', n);
    else if (to > sectorCount) say(`ends at LBA ${to}, but ${end}`, 'bands', n);
    else if (from >= to) say(`begins at LBA ${from} and ends at ${to}`, 'bands', n);
    else if (period === 0 && from + sectors !== to)
      say(`${sectors} sectors from LBA ${from} do not end at ${to}`, 'bands', n);
    else if (period > 0 && sectors > period)
      say('a band is longer than the way to the next one', 'bands', n, 'period');
  });
  if (bandCount > bandsMax)
    problems.unshift({
      path: [],
      message: `${Math.round(bandCount)} bands, ${bandsMax} are the most; are the sizes in sectors?`,
    });
  return problems;
}

const unitBytes: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

function sectorsOf(text: number | string, sectorBytes: number): number {
  if (typeof text === 'number') return text;
  const [, digits, unit = ''] = sizePattern.exec(text)!;
  if (unit.startsWith('sector')) return Math.round(Number(digits));
  return Math.round((Number(digits) * unitBytes[unit]!) / sectorBytes);
}
