import { describe, expect, test } from 'vitest';
import { createRandom } from '../../hardware-sim/random.js';
import { createRunMap } from '../../src/map/run-map.js';
import { statuses } from '../../src/map/status.js';
import type { ReadEvent } from '../../src/plan/events.js';
import {
  createLearned,
  foldLearned,
  hope,
  isDoubtful,
  isHopeful,
  type Learned,
  learnAreas,
  learnedData,
  localSpotRate,
  recallLearned,
  slownessAt,
  spotRate,
  spotRateBeyond,
  survival,
} from '../../src/plan/learned.js';

const sectorCount = 2 ** 20;

/** A drive that reads a sector in 0.01 ms and needs 0.5 ms for a command, and what is known of it. */
function world(physicalCount = 8) {
  const learned = createLearned(sectorCount, physicalCount);
  const map = createRunMap(sectorCount);
  const fold = (event: Partial<ReadEvent> & { lba: number; count: number }, failed: boolean) => {
    const read: ReadEvent = {
      kind: 'read',
      role: 'pass',
      outcome: failed ? 'fault' : 'good',
      goodCount: failed ? 0 : event.count,
      elapsedMs: failed ? 700 : 0.5 + 0.01 * event.count,
      ...(failed && { cause: 'medium' as const }),
      ...event,
    };
    foldLearned(learned, read, map);
    if (!failed) map.set(read, statuses.finished);
    else if (event.count <= physicalCount) map.set(read, statuses['bad-sector']);
    else map.set(read, statuses['non-trimmed']);
  };
  return {
    learned,
    map,
    good: (lba: number, count: number, extraMs = 0) =>
      fold({ lba, count, elapsedMs: 0.5 + 0.01 * count + extraMs }, false),
    bad: (lba: number, count = physicalCount) => fold({ lba, count }, true),
  };
}

type World = ReturnType<typeof world>;

function readThrough({ good }: World, from: number, to: number, size = 128): void {
  for (let lba = from; lba < to; lba += size) good(lba, size);
}

describe('slow places', () => {
  test('one slow read is the drive’s or the computer’s; two in a row are the place’s', () => {
    const on = world();
    readThrough(on, 0, 12_800);
    on.good(12_800, 128, 100);
    expect(slownessAt(on.learned, 12_800)).toBeLessThan(4);
    expect(isDoubtful(on.learned, 12_928)).toBe(true);
    on.good(12_928, 16, 12);
    expect(slownessAt(on.learned, 12_928)).toBeGreaterThan(20);
    expect(isDoubtful(on.learned, 12_944)).toBe(false);
  });

  test('a spot that the drive retried is no slow place', () => {
    const on = world();
    readThrough(on, 0, 12_800);
    on.good(12_800, 8, 300);
    on.good(12_808, 8, 300);
    for (let lba = 12_816; lba < 13_200; lba += 8) on.good(lba, 8);
    expect(slownessAt(on.learned, 13_000)).toBeLessThan(2.5);
  });

  test('a computer that answers late now and then makes no place slow', () => {
    const on = world();
    const random = createRandom(3);
    for (let lba = 0; lba < 128_000; lba += 128) on.good(lba, 128, 3 * random.next() ** 3);
    const cells = Array.from({ length: 400 }, (_, n) => slownessAt(on.learned, 25_600 + 256 * n)!);
    expect(cells.filter((slowness) => slowness > 2.2)).toEqual([]);
  });

  test('short reads tell what long ones tell', () => {
    const perSectorMs = 0.5;
    const [short, long] = [8, 128].map((size) => {
      const on = world();
      readThrough(on, 0, 12_800);
      readThrough(on, 12_800, 13_440, 8);
      for (let lba = 13_440; lba < 16_000; lba += size) on.good(lba, size, size * perSectorMs);
      return slownessAt(on.learned, 15_900)!;
    });
    expect(short! / long!).toBeGreaterThan(0.5);
    expect(short! / long!).toBeLessThan(2);
  });
});

describe('density of spots', () => {
  test('high where they were met, and not all over the drive', () => {
    const on = world();
    readThrough(on, 0, 102_400);
    for (let lba = 102_400; lba < 104_448; lba += 64) {
      on.good(lba, 56);
      on.bad(lba + 56);
    }
    readThrough(on, 104_448, 204_800);
    expect(localSpotRate(on.learned, 103_000)).toBeGreaterThan(0.05);
    expect(localSpotRate(on.learned, 180_000)).toBeLessThan(0.01);
    expect(spotRate(on.learned)).toBeLessThan(0.01);
  });

  test('two spots tell of what lies behind them, wherever the cells are cut', () => {
    // The windows are four sizes of cells, 256 sectors and eight times as much each.
    const rates = [0, 96, 2048 - 96, 16_384 - 96, 16_384 - 1024].map((shift) => {
      const on = world();
      const first = 4 * 16_384 + shift;
      readThrough(on, 0, first, 8);
      on.bad(first);
      on.good(first + 8, 88);
      on.bad(first + 1064);
      return spotRateBeyond(on.learned, first + 1071, first + 2000);
    });
    expect(Math.min(...rates)).toBeGreaterThan(0.0015);
  });

  test('what lies inside a bad area is no spot of its own', () => {
    const on = world();
    readThrough(on, 0, 12_800);
    on.bad(12_800);
    const { hits } = on.learned;
    on.bad(12_808);
    on.bad(12_816);
    expect(on.learned.hits).toBe(hits);
  });
});

describe('how far damage reaches', () => {
  test('as far as what was seen, and hardly beyond', () => {
    const on = world();
    readThrough(on, 0, sectorCount);
    for (let spot = 0; spot < 40; spot++)
      on.map.set({ lba: 20_000 * spot + 800, count: 80 }, statuses['bad-sector']);
    learnAreas(on.learned, on.map);
    const { badSurvival } = on.learned;
    expect(survival(badSurvival, 8)).toBeGreaterThan(0.9);
    expect(survival(badSurvival, 40)).toBeLessThan(0.1);
    for (let d = 1; d < 1000; d++)
      expect(survival(badSurvival, d + 1)).toBeLessThanOrEqual(survival(badSurvival, d));
  });
});

describe('a weak head', () => {
  const period = 86_016;
  const front = 57_400;
  const fronts = [0, 1, 2, 3].map((turn) => front + period * turn);

  /** Reads up to each front, lets `meet` run into the damage there, and goes on behind the band. */
  function readBands(on: World, meet: (from: number) => void): void {
    fronts.forEach((from, turn) => {
      readThrough(on, turn === 0 ? 0 : fronts[turn - 1]! + 20_000, from, 8);
      meet(from);
    });
    learnAreas(on.learned, on.map);
  }

  /** Where the bands that were found begin, against where they do. */
  const offsets = ({ learned }: World) =>
    fronts.map((from) =>
      Math.min(...(learned.heads?.weak ?? []).map(({ lba }) => Math.abs(lba - from))),
    );

  test('its bands begin where a group failed first, although a sector within was found since', () => {
    const on = world();
    readBands(on, (from) => {
      on.bad(from, 128);
      on.bad(from + 128);
    });
    expect(Math.max(...offsets(on))).toBeLessThanOrEqual(8);
  });

  test('its bands begin at their fronts also where reads within them went well', () => {
    const on = world();
    readBands(on, (from) => {
      on.bad(from, 128);
      on.good(from + 4000, 1024);
      on.bad(from + 5024, 128);
      on.good(from + 9000, 1024);
      on.bad(from + 10_024, 128);
    });
    expect(Math.max(...offsets(on))).toBeLessThanOrEqual(8);
  });

  test('is known by one failing read in each of its bands', () => {
    const on = world();
    readBands(on, (from) => on.bad(from));
    expect(Math.max(...offsets(on))).toBeLessThanOrEqual(8);
  });

  test('is not made up where single spots lie at distances that are only about regular', () => {
    const on = world();
    let readTo = 0;
    for (const turn of [0, 1.06, 1.95, 3.04]) {
      const spot = 8 * Math.round((front + period * turn) / 8);
      readThrough(on, readTo, spot, 8);
      on.bad(spot);
      readTo = spot + 20_000;
    }
    learnAreas(on.learned, on.map);
    expect(on.learned.heads).toBeUndefined();
  });
});

describe('hope for bad sectors', () => {
  test('falls with each try that fails, rises where one came', () => {
    const on = world();
    readThrough(on, 0, 12_800);
    for (let n = 0; n < 40; n++) on.bad(12_800 + 800 * n);
    const before = hope(on.learned);
    for (let n = 0; n < 20; n++) on.bad(12_800 + 800 * n);
    expect(hope(on.learned)).toBeLessThan(before);
    expect(isHopeful(on.learned, 12_800)).toBe(false);
    on.good(12_800 + 800 * 30, 8);
    expect(isHopeful(on.learned, 12_800 + 800 * 30)).toBe(true);
  });

  test('single sectors that nearly failed, beside damage and not elsewhere, give reason to try', () => {
    const near = world();
    const everywhere = world();
    for (const on of [near, everywhere]) {
      readThrough(on, 0, 12_800);
      readThrough(on, 12_800, 14_080, 8);
      on.bad(16_000);
      for (let n = 0; n < 6; n++) on.good(16_008 + 8 * (n % 3), 8, 400);
      for (let n = 0; n < 300; n++)
        on.good(40_000 + 8 * n, 8, on === everywhere && n % 2 === 0 ? 400 : 0);
    }
    expect(hope(near.learned)).toBeGreaterThan(2 * hope(everywhere.learned));
  });
});

describe('in a checkpoint', () => {
  const withDamage = () => {
    const on = world();
    readThrough(on, 0, 102_400);
    for (let n = 0; n < 30; n++) on.bad(110_000 + 800 * n);
    on.good(200_000, 128, 90);
    on.good(200_128, 128, 90);
    on.bad(110_000);
    on.good(110_800, 8);
    learnAreas(on.learned, on.map);
    return on;
  };
  const seen = (learned: Learned) => ({
    data: learnedData(learned),
    rates: [0, 111_000, 500_000].map((lba) => localSpotRate(learned, lba)),
    slow: slownessAt(learned, 200_200),
    hope: [110_000, 110_800, 120_000].map((lba) => isHopeful(learned, lba)),
    survival: [...learned.badSurvival],
    pitches: learned.pitches,
  });

  test('nothing of it is lost', () => {
    const on = withDamage();
    const again = createLearned(sectorCount, 8);
    expect(recallLearned(again, learnedData(on.learned), on.map)).toBe(true);
    expect(seen(again)).toEqual(seen(on.learned));
  });

  test('of another drive, or with impossible numbers, it changes nothing', () => {
    const on = withDamage();
    const data = learnedData(on.learned);
    const cells = data.cells.slice();
    cells[5] = Number.NaN;
    const vastCells = data.cells.map(() => 3e38);
    const hopes = Float32Array.from(data.hopes!).fill(2);
    for (const wrong of [
      { ...data, cells: data.cells.slice(3) },
      { ...data, cells },
      { ...data, cells: vastCells },
      { ...data, hopes },
      { ...data, hopes: hopes.slice(1) },
      { ...data, numbers: { ...data.numbers, failMs: -1 } },
      { ...data, numbers: { ...data.numbers, price: 0 } },
      { ...data, typicalMs: [1] },
      { ...data, typicalMs: data.typicalMs.map(() => 1e-320) },
    ]) {
      const again = createLearned(sectorCount, 8);
      expect(recallLearned(again, wrong, on.map)).toBe(false);
      expect(seen(again)).toEqual(seen(createLearned(sectorCount, 8)));
    }
  });
});
