/** Builds the C firmware for this machine into a folder of its own, once for each set of options. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { needsTool } from '../tools.js';

export const firmwareFolder = join(import.meta.dirname, '../../firmware-protocol/firmware');

/** For `test.skipIf(...)`: true, with a line that says so, where the C cannot be built. */
export function lacksCompiler(): boolean {
  return needsTool('cc') || needsTool('make');
}

const folders: string[] = [];
process.on('exit', () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** A fresh folder that is gone when the process ends. */
export function scratchFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'lastspin-firmware-'));
  folders.push(folder);
  return folder;
}

/** Path of what `make` made of `target`; throws with the compiler's words where it failed. */
export function build(target: 'lastspin-imager' | 'judge', defines = '', optimise = '-O1'): string {
  const folder = scratchFolder();
  const options = [`OUT=${folder}`, `CFLAGS=${optimise}`, `DEFINES=${defines}`];
  execFileSync('make', ['-s', '-C', firmwareFolder, ...options, join(folder, target)], {
    stdio: 'pipe',
    encoding: 'utf8',
  });
  return join(folder, target);
}
