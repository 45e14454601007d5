import { readFileSync } from 'node:fs';

/** The package's version, from the nearest package.json: sources and dist lie at different depths. */
export const version: string = readVersion();

function readVersion(): string {
  for (const up of ['../../package.json', '../../../package.json']) {
    try {
      const found = JSON.parse(readFileSync(new URL(up, import.meta.url), 'utf8'));
      if (found.name === 'lastspin') return String(found.version);
    } catch {
      // Not at this depth.
    }
  }
  return '0.0.0';
}
