// One dead head of four on a disk of 1 TB: what a band costs before trimming, once two of them were met.
import { defineScenario } from '../dist/hardware-sim/scenario.js';
import { statuses } from '../dist/src/map/status.js';
import { paths, rehearseOn, truthOf } from './simulated.mjs';
import { head, parseWords, row, sum } from './tools.mjs';

const heads = 4;
const dead = 2;
const physical = 8;
/** Bands that are met before the planner may be expected to know better. */
const learningBands = 2;

function diskOf(sectorCount, bandSectors) {
  return defineScenario({
    seed: 1,
    sectorCount,
    physicalSectorBytes: 512 * physical,
    contents: 'zeros',
    mechanics: {
      heads,
      bandSectors,
      outerBytesPerSecond: 200e6,
      innerBytesPerSecond: 95e6,
      seekMaxMs: 16,
    },
    faults: [{ kind: 'bad', head: dead, errorMs: 1000 }],
  });
}

/** Shares of the good heads at which the failing reads are counted. Where the copying phase of others ends, and
 * trimming begins, they have between the last two of these. */
const shares = [0.9, 0.99, 0.999, 0.9999];

/** Rehearses until nearly all of the good heads is in, or until trimming. Failing reads by dead band, in the order
 * in which the bands were first met, at each of `shares`. */
function countByBand(disk, truth, preset, path) {
  const { bandSectors } = disk.mechanics;
  const byBand = new Map();
  const atShares = [];
  let failing = 0;
  const score = rehearseOn(disk, truth, preset, path, {
    onEvent(event, { plan }, count) {
      if (count.failing > failing && event.kind === 'read') {
        failing = count.failing;
        const met = Math.floor((event.faultLba ?? event.lba) / bandSectors);
        // A read that began before the dead band ran into it.
        const band = met % heads === dead ? met : met + 1;
        byBand.set(band, (byBand.get(band) ?? 0) + 1);
      }
      const finished = plan.map.countOf(statuses.finished);
      while (
        atShares.length < shares.length &&
        finished >= shares[atShares.length] * truth.readable
      )
        atShares.push([...byBand.values()]);
      const isTrimming = plan.passes[plan.passIndex]?.phase !== 'copy';
      return atShares.length === shares.length || isTrimming;
    },
  });
  return { score, atShares: [...atShares, [...byBand.values()]].slice(0, shares.length) };
}

/** Failing reads of a dead band behind the first ones, mean and most; bands that were never touched count. */
function ofBand(perBand, bands) {
  const learned = perBand.slice(learningBands);
  const others = bands - learningBands;
  return others > 0 ? `${(sum(learned) / others).toFixed(2)} (${Math.max(0, ...learned)})` : '–';
}

/** dead-head [--gb 1000] [--band-mb 800] [--path imager,device] [PRESET…] */
export function deadHead(...words) {
  const { plain, options } = parseWords(words);
  const sectorCount = Math.floor((Number(options.gb ?? 1000) * 1e9) / 512 / physical) * physical;
  const bandSectors = Math.round((Number(options['band-mb'] ?? 800) * 1e6) / 512);
  const presets = plain.length > 0 ? plain : ['adaptive', 'ddrescue'];
  const pathNames = options.path?.split(',') ?? Object.keys(paths);
  const disk = diskOf(sectorCount, bandSectors);
  const truth = truthOf(disk);
  const bands = Math.floor((Math.ceil(sectorCount / bandSectors) + heads - 1 - dead) / heads);
  console.log(
    `\nOne dead head of four, ${(sectorCount * 512) / 1e9} GB, bands of ${(bandSectors * 512) / 1e6} MB, ${bands} of them dead. Failing reads of a dead band, mean (most) of all but the first ${learningBands} that were met, when so much of the good heads was in; target: ≤ 2 before trimming.\n`,
  );
  head(
    ...['preset', 'path', 'failing reads', 'dead bands met'],
    ...shares.map((share) => `at ${100 * share} %`),
    ...['model h', 'wall s'],
  );
  for (const path of pathNames)
    for (const preset of presets) {
      const from = performance.now();
      const { score, atShares } = countByBand(disk, truth, preset, paths[path]);
      row(
        preset,
        path,
        score.failing,
        atShares.at(-1)?.length ?? 0,
        ...shares.map((share, at) => {
          const cell = at < atShares.length ? ofBand(atShares[at], bands) : '–';
          return score.delivered >= share
            ? cell
            : `${cell} at ${(100 * score.delivered).toFixed(3)} %`;
        }),
        (score.seconds / 3600).toFixed(1),
        ((performance.now() - from) / 1000).toFixed(0),
      );
    }
}
