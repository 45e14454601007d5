// One dead head of four on a disk of 1 TB: what a band costs before trimming, once two of them were met.
import { defineScenario } from '../dist/hardware-sim/scenario.js';
import { statuses } from '../dist/src/map/status.js';
import { paths, rehearseOn } from './simulated.mjs';
import { head, mean, parseWords, row } from './tools.mjs';

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
    mechanics: { heads, bandSectors, outerBytesPerSecond: 200e6, innerBytesPerSecond: 95e6, seekMaxMs: 16 },
    faults: [{ kind: 'bad', head: dead, errorMs: 1000 }],
  });
}

/** Sectors of the good heads: a fault takes the physical sectors that begin in a band of its head. */
function readableOf(sectorCount, bandSectors) {
  const up = (lba) => Math.min(sectorCount, Math.ceil(lba / physical) * physical);
  let lost = 0;
  for (let at = dead * bandSectors; at < sectorCount; at += heads * bandSectors)
    lost += up(at + bandSectors) - up(at);
  return sectorCount - lost;
}

/** Rehearses until every sector of the good heads is in, or until trimming. Failing reads by dead band, in the
 * order in which the bands were first met. */
function countByBand(disk, readable, preset, path) {
  const { bandSectors } = disk.mechanics;
  const byBand = new Map();
  let failing = 0;
  const score = rehearseOn(disk, { readable }, preset, path, {
    onEvent(event, state, count) {
      if (count.failing > failing && event.kind === 'read') {
        failing = count.failing;
        const band = Math.floor((event.faultLba ?? event.lba) / bandSectors);
        byBand.set(band, (byBand.get(band) ?? 0) + 1);
      }
      const { plan } = state;
      return (
        plan.map.countOf(statuses.finished) >= readable ||
        plan.passes[plan.passIndex]?.phase !== 'copy'
      );
    },
  });
  return { score, perBand: [...byBand.values()] };
}

/** dead-head [--gb 1000] [--band-mb 800] [--path imager|device] [PRESET…] */
export function deadHead(...words) {
  const { plain, options } = parseWords(words);
  const sectorCount = Math.floor((Number(options.gb ?? 1000) * 1e9) / 512 / physical) * physical;
  const bandSectors = Math.round((Number(options['band-mb'] ?? 800) * 1e6) / 512);
  const presets = plain.length > 0 ? plain : ['adaptive', 'standard'];
  const pathNames = options.path ? [options.path] : Object.keys(paths);
  const disk = diskOf(sectorCount, bandSectors);
  const readable = readableOf(sectorCount, bandSectors);
  const bands = Math.floor((Math.ceil(sectorCount / bandSectors) + heads - 1 - dead) / heads);
  console.log(
    `\nOne dead head of four, ${(sectorCount * 512) / 1e9} GB, bands of ${(bandSectors * 512) / 1e6} MB, ${bands} of them dead; failing reads until the good heads are in, or until trimming.\n`,
  );
  head('preset', 'path', 'delivered', 'failing reads', 'dead bands met', 'mean of a band', 'most', `mean behind the first ${learningBands}`, 'most', 'model h', 'wall s');
  for (const path of pathNames)
    for (const preset of presets) {
      const from = performance.now();
      const { score, perBand } = countByBand(disk, readable, preset, paths[path]);
      const learned = perBand.slice(learningBands);
      row(
        preset,
        path,
        `${(100 * score.delivered).toFixed(4)} %`,
        score.failing,
        perBand.length,
        perBand.length > 0 ? mean(perBand).toFixed(2) : '–',
        Math.max(0, ...perBand),
        learned.length > 0 ? mean(learned).toFixed(2) : '–',
        Math.max(0, ...learned),
        (score.seconds / 3600).toFixed(1),
        ((performance.now() - from) / 1000).toFixed(0),
      );
    }
}
