/** The committed HEX file is what the sources make: the same compiler gives the same bytes, wherever. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { needsTool } from '../tools.js';

const folder = join(import.meta.dirname, '../../firmware-protocol/firmware/avr');
/** Debian's; another one makes other bytes, as good as these. */
const compilerVersion = '5.4.0';

function cannotCompare(): boolean {
  if (needsTool('avr-gcc') || needsTool('make')) return true;
  const version = execFileSync('avr-gcc', ['-dumpversion'], { encoding: 'utf8' }).trim();
  if (version !== compilerVersion) {
    console.warn(
      `skipped: the firmware is compared with avr-gcc ${compilerVersion}, not ${version}`,
    );
  }
  return version !== compilerVersion;
}

test.skipIf(cannotCompare())('the firmware builds to the committed bytes and fits its chip', () => {
  const out = mkdtempSync(join(tmpdir(), 'lastspin-avr-'));
  try {
    const words = ['-s', '-C', folder, '-f', 'avr.mk', 'avr-check', `AVR_OUT=${out}`];
    const said = execFileSync('make', words, { encoding: 'utf8' });
    expect(said).toMatch(/^flash \d+ of at most \d+ bytes, RAM \d+ of at most \d+ and the stack/);
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
});
