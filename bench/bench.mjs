// Measures side by side with GNU ddrescue, in one run: npm run bench [-- NAME options].
// Prints Markdown tables for docs/benchmarks.md. What a benchmark takes stands above its function.
import { cpus } from 'node:os';
import { copy, map, start } from './copy-map-start.mjs';
import { crashes } from './crashes.mjs';
import { deadHead } from './dead-head.mjs';
import { exportImage } from './export.mjs';
import { families, limit } from './families.mjs';
import { fuzzFrames } from './fuzz-frames.mjs';
import { journal } from './journal.mjs';
import { link } from './link.mjs';
import { realMaps } from './real-maps.mjs';
import { sigkill } from './sigkill.mjs';
import { strategy } from './strategy.mjs';
import { verify } from './verify.mjs';

const benches = {
  strategy,
  families,
  limit,
  'dead-head': deadHead,
  'real-maps': realMaps,
  map,
  copy,
  start,
  link,
  'fuzz-frames': fuzzFrames,
  verify,
  export: exportImage,
  journal,
  crashes,
  sigkill,
};
const [wanted, ...words] = process.argv.slice(2);
console.log(`${cpus().length} cores, ${cpus()[0].model}, Node ${process.version}`);
if (wanted && !benches[wanted]) {
  console.error(`no such benchmark: ${wanted}; there are ${Object.keys(benches).join(', ')}`);
  process.exitCode = 2;
}
for (const [name, bench] of Object.entries(benches)) {
  if (wanted && wanted !== name) continue;
  const from = performance.now();
  try {
    await bench(...words);
  } catch (error) {
    console.error(`${name}: ${error.message}`);
    process.exitCode = 1;
  }
  console.log(`\n(${name}: ${Math.round((performance.now() - from) / 1000)} s)`);
}
