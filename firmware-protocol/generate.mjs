// Writes the C headers that follow from the protocol's tables: npm run generate.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { headers } from '../dist/firmware-protocol/c-header.js';

for (const [name, text] of Object.entries(headers())) {
  const path = join(import.meta.dirname, 'firmware', name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}
