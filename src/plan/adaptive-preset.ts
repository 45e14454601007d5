import type { Pass } from './pass.js';
import { type PresetOptions, standardPreset } from './presets.js';
export function adaptivePreset(options: PresetOptions): readonly Pass[] {
  const rows = standardPreset(options);
  const first: Pass = {
    ...rows[0]!,
    name: 'best first',
    direction: 'best-first',
    onFault: 'go-on',
    onSlow: 'go-on',
    slowMs: 0,
    readCount: 128,
  };
  return [first, ...rows.filter((r) => r.area === 'hung' || r.phase === 'retry')];
}
