import type { Pass } from '../src/plan/pass.js';
import { type DriveFacts, rowsOf } from '../src/plan/presets.js';
import { loadPreset } from '../src/preset-files.js';

/** The rows of a bundled preset, for a hard drive without retries unless told otherwise. */
export function presetRows(
  name: string,
  facts: Partial<DriveFacts> & Pick<DriveFacts, 'sectorCount'>,
): Pass[] {
  const preset = loadPreset(name);
  return rowsOf(preset, { sectorBytes: 512, physicalCount: 1, kind: 'hdd', retries: 0, ...facts });
}
