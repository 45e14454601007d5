import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { patternSector } from '../../hardware-sim/media.js';
import { loadScenario } from '../../hardware-sim/scenario.js';
import { parseMapFile, sectorMapOf } from '../../src/map/mapfile.js';
import { statuses } from '../../src/map/status.js';

/** LBAs that the map calls finished although the image holds something else. */
export function falseClaims(image: string, scenarioName: string): number[] {
  const { seed, sectorBytes, sectorCount } = loadScenario(scenarioName);
  const mapPath = image.replace(/\.img$/, '.map');
  const map = sectorMapOf(
    parseMapFile(readFileSync(mapPath), mapPath),
    { sectorBytes, sectorCount },
    mapPath,
  );
  const file = openSync(image, 'r');
  const sector = Buffer.alloc(sectorBytes);
  const wrong: number[] = [];
  for (let lba = 0; lba < sectorCount; lba++) {
    if (map.valueAt(lba) !== statuses.finished) continue;
    readSync(file, sector, 0, sectorBytes, lba * sectorBytes);
    if (!sector.equals(patternSector(seed, lba, sectorBytes))) wrong.push(lba);
  }
  closeSync(file);
  return wrong;
}
