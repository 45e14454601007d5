// Draws failing drives, family by family, each from its own seed. The ranges are wider than any one drive's and come
// from what such drives are like: sizes are small, so that a drive rehearses in a moment, and heads, bands, tracks and
// damage are scaled with them.

import { createRandom, hash } from '../dist/hardware-sim/random.js';
import { defineScenario } from '../dist/hardware-sim/scenario.js';

/** What draws of one seed have in common. */
function dice(seed) {
  const { next } = createRandom(seed);
  const uniform = (least, most) => least + (most - least) * next();
  return {
    next,
    uniform,
    /** Each order of magnitude is as likely as the next. */
    spread: (least, most) => least * (most / least) ** next(),
    whole: (least, most) => Math.floor(uniform(least, most + 1)),
    one: (choices) => choices[Math.floor(next() * choices.length)],
    chance: (p) => next() < p,
  };
}

/** A drive without damage: size, heads, mechanics. */
function healthyDrive(random, physical = random.chance(0.85) ? 8 : 1) {
  const { uniform, spread, whole, one } = random;
  const sectorCount = Math.round(spread(2 ** 18, 2 ** 20.5) / 8) * 8;
  const heads = whole(2, 10);
  // From a few turns of the heads, as on the largest drives' shortest scans, to many.
  const turns = spread(4, 60);
  const bandSectors = Math.max(1024, Math.round(sectorCount / heads / turns / 8) * 8);
  const outer = uniform(60e6, 250e6);
  const seekMinMs = uniform(0.5, 2);
  return {
    physical,
    sectorCount,
    input: {
      sectorCount,
      physicalSectorBytes: 512 * physical,
      contents: 'zeros',
      mechanics: {
        heads,
        bandSectors,
        outerBytesPerSecond: outer,
        innerBytesPerSecond: outer * uniform(0.4, 0.65),
        seekMinMs,
        seekMaxMs: uniform(10, 28),
        rotationMs: one([60_000 / 4200, 60_000 / 5400, 60_000 / 5900, 60_000 / 7200]),
        overheadMs: spread(0.05, 0.5),
      },
    },
  };
}

/** Sorts damage and drops what would overlap or lie beyond the end. */
function apart(spots, drive) {
  spots.sort((a, b) => a.lba - b.lba);
  let end = 0;
  return spots.filter(({ lba, count }) => {
    const fits = lba >= end && lba + count <= drive.sectorCount;
    if (fits) end = lba + count + drive.physical;
    return fits;
  });
}

const aligned = (lba, { physical }) => Math.max(0, Math.floor(lba / physical) * physical);

/** Widths of spots: mostly one physical sector, some of them much wider. */
function widthDice(random) {
  const lone = random.uniform(0.3, 0.95);
  const most = random.spread(2, 32);
  return () => (random.chance(lone) ? 1 : Math.round(random.spread(1, most)));
}

function badRows(spots, extra) {
  return spots.map(({ lba, count, ...own }) => ({ kind: 'bad', lba, count, ...extra, ...own }));
}

function strewn(random, drive, howMany, width, from = 0, end = drive.sectorCount) {
  return Array.from({ length: howMany }, () => ({
    lba: aligned(random.uniform(from, end), drive),
    count: width() * drive.physical,
  }));
}

const errorDice = (random, most = 4000) => random.spread(80, most);

/** One head, rarely two, with a share of unreadable sectors, often slow as well. */
function weakHead(random) {
  const drive = healthyDrive(random);
  const { heads } = drive.input.mechanics;
  const errorMs = errorDice(random);
  // Above this many failing reads a rehearsal says nothing new.
  const densest = Math.min(150_000, (1e6 * 4000 * heads) / (drive.sectorCount / drive.physical));
  const perMillion = random.spread(1500, densest);
  const weak = [random.whole(0, heads - 1)];
  if (heads > 3 && random.chance(0.1)) weak.push((weak[0] + random.whole(1, heads - 1)) % heads);
  const slowness = random.chance(0.5)
    ? [{ kind: 'slow', head: weak[0], extraMs: (random.spread(0.5, 15) * drive.physical) / 8 }]
    : [];
  const stray = apart(
    strewn(random, drive, random.whole(0, 5), () => 1),
    drive,
  );
  const faults = [
    ...weak.map((head) => ({ kind: 'bad', head, perMillion: perMillion / weak.length, errorMs })),
    ...slowness,
    ...badRows(stray, { errorMs }),
  ];
  return { ...drive.input, faults };
}

/** A mark each time the track comes round; half of the scratches stay on one surface. */
function scratch(random) {
  const drive = healthyDrive(random);
  const { heads, bandSectors } = drive.input.mechanics;
  const errorMs = errorDice(random);
  const spots = [];
  for (let each = random.chance(0.2) ? 2 : 1; each > 0; each--) {
    const pitch = random.spread(250, 4000);
    const marks = random.whole(30, 120);
    const jitter = random.spread(0.003, 0.06) * pitch;
    const missing = random.uniform(0, 0.25);
    const width = widthDice(random);
    const head = random.chance(0.5) ? random.whole(0, heads - 1) : undefined;
    const at = random.uniform(0.02, 0.9) * drive.sectorCount;
    for (let mark = 0; mark < marks; mark++) {
      const lba = aligned(at + mark * pitch + random.uniform(-jitter, jitter), drive);
      const count =
        Math.min(width(), Math.max(1, Math.floor(pitch / drive.physical / 4))) * drive.physical;
      const isHere = head === undefined || Math.floor(lba / bandSectors) % heads === head;
      if (isHere && !random.chance(missing)) spots.push({ lba, count });
    }
  }
  if (spots.length < 5) spots.push(...strewn(random, drive, 5, () => 1));
  return { ...drive.input, faults: badRows(apart(spots, drive), { errorMs }) };
}

/** Spots anywhere; on half of the drives some of them lie near others. */
function scattered(random) {
  const drive = healthyDrive(random);
  const width = widthDice(random);
  const spots = strewn(random, drive, Math.round(random.spread(15, 130)), width);
  if (random.chance(0.5)) {
    const near = random.spread(100, 5000);
    for (const { lba } of spots.slice(0, random.whole(1, Math.ceil(spots.length / 3))))
      spots.push(
        ...strewn(
          random,
          drive,
          random.whole(1, 3),
          width,
          lba,
          Math.min(lba + near, drive.sectorCount - 1),
        ),
      );
  }
  return { ...drive.input, faults: badRows(apart(spots, drive), { errorMs: errorDice(random) }) };
}

/** Zones that take many tries of the drive's own for each sector, with spots that no try reads. */
function slowZone(random) {
  const drive = healthyDrive(random);
  const errorMs = errorDice(random, 3000);
  const zones = random.whole(1, 3);
  const faults = [];
  for (let zone = 0; zone < zones; zone++) {
    const size = Math.round((drive.sectorCount * random.spread(0.02, 0.15)) / 8) * 8;
    const room = drive.sectorCount / zones;
    const lba = aligned(zone * room + random.uniform(0, Math.max(1, room - size)), drive);
    const count = Math.min(size, drive.sectorCount - lba);
    const extraMs = (random.spread(3, 60) * drive.physical) / 8;
    faults.push({ kind: 'slow', lba, count, extraMs });
    if (random.chance(0.25)) continue;
    const howMany = Math.min(60, Math.ceil(count / random.spread(800, 10_000)));
    faults.push(
      ...badRows(
        apart(strewn(random, drive, howMany, widthDice(random), lba, lba + count), drive),
        { errorMs },
      ),
    );
  }
  return { ...drive.input, faults };
}

/** Spots of which most come at some try. */
function flaky(random) {
  const drive = healthyDrive(random);
  const errorMs = errorDice(random, 1500);
  const hopeless = random.uniform(0, 0.5);
  const [least, most] = [random.spread(0.03, 0.3), random.uniform(0.3, 0.8)];
  const spots = apart(
    strewn(random, drive, Math.round(random.spread(15, 110)), () => random.whole(1, 6)),
    drive,
  );
  const faults = spots.map((spot) => ({
    kind: 'bad',
    ...spot,
    errorMs,
    readChance: random.chance(hopeless) ? 0 : random.uniform(least, most),
  }));
  return { ...drive.input, faults };
}

/** Places that hang the drive until a reset or a power cycle, among ordinary damage. */
function hangSpots(random) {
  const drive = healthyDrive(random);
  const answering = random.one(['nothing', 'error']);
  const until = random.one(['hard-reset', 'power-cycle', 'power-cycle']);
  const errorMs = random.spread(3000, 40_000);
  const hangs = strewn(random, drive, random.whole(1, 6), () =>
    random.chance(0.7) ? 1 : random.whole(2, 12),
  );
  const wide = random.spread(4, 96);
  const bad = strewn(random, drive, random.whole(4, 30), () => Math.round(random.spread(1, wide)));
  const spots = apart([...hangs.map((spot) => ({ ...spot, hang: true })), ...bad], drive);
  const badMs = errorDice(random);
  return {
    ...drive.input,
    faults: spots.map(({ hang, ...spot }) =>
      hang
        ? { kind: 'hang', ...spot, until, answering, errorMs }
        : { kind: 'bad', ...spot, errorMs: badMs },
    ),
  };
}

/** Old drives with sectors of 512 bytes: lone sectors and wide clusters. */
function clusters(random) {
  const drive = healthyDrive(random, 1);
  const most = random.spread(60, 1200);
  const wide = () => Math.round(random.spread(20, most));
  const spots = [
    ...strewn(random, drive, random.whole(2, 9), wide),
    ...strewn(random, drive, random.whole(2, 30), () => random.whole(1, 4)),
  ];
  return {
    ...drive.input,
    faults: badRows(apart(spots, drive), { errorMs: errorDice(random, 2000) }),
  };
}

export const families = {
  'weak-head': weakHead,
  scratch,
  scattered,
  'slow-zone': slowZone,
  flaky,
  hang: hangSpots,
  '512n': clusters,
};

/** The drive of a family that a seed draws: the input of a scenario, as it can be written to a file. */
export function drawInput(family, seed) {
  const own = hash(seed, Object.keys(families).indexOf(family) + 1);
  return { seed: own % 1_000_000, ...families[family](dice(own)) };
}

export const drawScenario = (family, seed) =>
  defineScenario(drawInput(family, seed), `${family} ${seed}`);
