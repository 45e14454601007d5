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
export function build(
  target: 'lastspin-imager' | 'judge' | 'rig',
  {
    defines = '',
    sanitize = false,
  }: { readonly defines?: string; readonly sanitize?: boolean } = {},
): string {
  const folder = scratchFolder();
  const options = [`OUT=${folder}`, 'CFLAGS=-O0 -g', `DEFINES=${defines}`];
  if (sanitize) options.push('SANITIZE=-fsanitize=address,undefined -fno-sanitize-recover=all');
  execFileSync('make', ['-s', '-C', firmwareFolder, ...options, join(folder, target)], {
    stdio: 'pipe',
    encoding: 'utf8',
  });
  return join(folder, target);
}

/** A library for LD_PRELOAD that makes reads of a file slow, short or bad (slow-pread.c). */
export function buildSlowPread(): string {
  const library = join(scratchFolder(), 'slow-pread.so');
  const source = join(import.meta.dirname, 'slow-pread.c');
  execFileSync('cc', ['-shared', '-fPIC', '-O1', source, '-o', library, '-ldl'], { stdio: 'pipe' });
  return library;
}
