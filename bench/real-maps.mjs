// Damage of real drives, as people's ddrescue maps tell it, as drives of our own simulator.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { hash } from '../dist/hardware-sim/random.js';
import { defineScenario } from '../dist/hardware-sim/scenario.js';
import { parseMapFile } from '../dist/src/map/mapfile.js';
import { statuses } from '../dist/src/map/status.js';
import { paths, rehearseOn, truthOf } from './simulated.mjs';
import { head, parseWords, root, row } from './tools.mjs';

const sectorBytes = 512;
const groupBytes = 65_536;

/** Tried and not finished runs of a map, in bytes, and where what was tried ends: what nobody tried tells nothing. */
function damageOf(path) {
  const { starts, codes, end } = parseMapFile(readFileSync(path), path);
  const runs = [];
  let triedEnd = 0;
  for (let index = 0; index < starts.length; index++) {
    if (codes[index] === statuses['non-tried']) continue;
    const run = { from: starts[index], end: starts[index + 1] ?? end, code: codes[index] };
    triedEnd = run.end;
    if (run.code !== statuses.finished) runs.push(run);
  }
  return { runs, triedEnd };
}

/** The largest usual physical sector that no run of the map cuts through. */
function physicalBytesOf(runs) {
  const fits = (bytes) => runs.every(({ from, end }) => from % bytes === 0 && end % bytes === 0);
  return [4096, 2048].find(fits) ?? sectorBytes;
}

/** Bad areas as they are. What was left untrimmed or unscraped holds at least one bad sector somewhere: it is taken
 * for bad throughout (`all`), or for one bad physical sector, at a place that is drawn, in each 64 KiB (`one`). */
function badExtents(runs, unread, physical) {
  return runs.flatMap(({ from, end, code }) => {
    if (unread === 'all' || code === statuses['bad-sector'])
      return [{ lba: from / sectorBytes, count: (end - from) / sectorBytes }];
    const drawn = [];
    for (let at = from; at < end; at += groupBytes) {
      const places = Math.floor((Math.min(end, at + groupBytes) - at) / physical);
      const place = hash(at, places) % Math.max(1, places);
      drawn.push({ lba: (at + place * physical) / sectorBytes, count: physical / sectorBytes });
    }
    return drawn;
  });
}

/** A drive of the map's size, and its bad sectors by the thousand apart from it. */
function driveOf(path, unread, errorMs) {
  const { runs, triedEnd } = damageOf(path);
  const physical = physicalBytesOf(runs);
  const extents = badExtents(runs, unread, physical);
  const scenario = defineScenario({
    seed: 1,
    sectorCount: Math.ceil(triedEnd / sectorBytes),
    physicalSectorBytes: physical,
    contents: 'zeros',
    mechanics: { heads: 4, bandSectors: 200_000 },
    faults: [{ kind: 'bad', everywhere: true, errorMs }],
  });
  const [fault] = scenario.faults;
  const damage = {
    fault,
    froms: Float64Array.from(extents, ({ lba }) => lba),
    ends: Float64Array.from(extents, ({ lba, count }) => lba + count),
  };
  return { scenario: { ...scenario, faults: [] }, damage };
}

const unreadNames = { all: 'all of it bad', one: 'one bad sector in 64 KiB' };

/** real-maps [MAP…] [--path imager,device] [--error-ms 1000] [PRESETS by --preset A,B] */
export function realMaps(...words) {
  const { plain, options } = parseWords(words);
  const folder = join(root, '../shared/real-maps');
  const found = existsSync(folder) ? readdirSync(folder).filter((name) => /\.map$/.test(name)) : [];
  const maps = plain.length > 0 ? plain : found.map((name) => join(folder, name));
  if (maps.length === 0)
    return console.log('real-maps: skipped, there are none in ../shared/real-maps; name some');
  const errorMs = Number(options['error-ms'] ?? 1000);
  const presets = options.preset?.split(',') ?? ['adaptive', 'ddrescue'];
  const pathNames = options.path?.split(',') ?? Object.keys(paths);
  console.log(
    `\nDamage of real drives from their maps, as far as they were tried, rehearsed; ${errorMs} ms for an error, no retries. Areas that were given up untrimmed or unscraped: all of it bad, or one bad sector in 64 KiB.\n`,
  );
  head(
    ...['map', 'unread areas', 'unreadable', 'path', 'preset', 'delivered', 'failing reads', 's'],
    ...['until 99 %', 'failing', 'until 99.9 %', 'failing', 'until 99.99 %', 'failing', 'wall s'],
  );
  for (const map of maps)
    for (const unread of Object.keys(unreadNames)) {
      const drive = driveOf(map, unread, errorMs);
      for (const path of pathNames)
        for (const preset of presets) rehearseOne(map, unread, drive, path, preset);
    }
}

function rehearseOne(map, unread, { scenario, damage }, path, preset) {
  const truth = truthOf(scenario, damage);
  const from = performance.now();
  const rowFilter = ({ phase }) => phase !== 'retry';
  const score = rehearseOn(scenario, truth, preset, paths[path], { rowFilter, damage });
  const until = (share) => [
    score.until[share]?.seconds.toFixed(0) ?? 'never',
    score.until[share]?.failing ?? 'never',
  ];
  row(
    basename(map),
    unreadNames[unread],
    truth.lostPhysicals,
    path,
    preset,
    `${(100 * score.delivered).toFixed(4)} %`,
    score.failing,
    score.seconds.toFixed(0),
    ...until(0.99),
    ...until(0.999),
    ...until(0.9999),
    ((performance.now() - from) / 1000).toFixed(0),
  );
}
