/** A file some of whose sectors cannot be read or written: nbdkit and nbdfuse, which know nothing of the tool. */

import { spawnSync } from 'node:child_process';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { startTool } from '../cli/cli.js';
import { needsTool } from '../tools.js';

export interface Hole {
  readonly lba: number;
  readonly count: number;
}

const mounted: string[] = [];
afterAll(() => {
  for (const path of mounted) spawnSync('umount', ['-l', path]);
});

/** Whether such a file cannot be made here. */
export function needsFailingFile(): boolean {
  if (['nbdkit', 'nbdfuse'].some(needsTool)) return true;
  if (existsSync('/dev/fuse') && process.getuid?.() === 0) return false;
  console.warn('skipped: no file system in user space can be mounted here (root only)');
  return true;
}

/** Shows what `backing` holds under another name. Reads that touch `unreadable` and writes that touch `unwritable`
 * end with EIO. */
export async function failingFile(
  folder: string,
  backing: string,
  {
    unreadable = [],
    unwritable = [],
  }: { readonly unreadable?: readonly Hole[]; readonly unwritable?: readonly Hole[] },
): Promise<string> {
  const path = join(folder, 'failing');
  writeFileSync(path, '');
  mounted.push(path);
  const fails = (holes: readonly Hole[]) =>
    holes
      .map(({ lba, count }) => {
        const [from, to] = [lba * 512, (lba + count) * 512];
        return `if [ $4 -lt ${to} ] && [ $(($4 + $3)) -gt ${from} ]; then echo EIO medium >&2; exit 1; fi; `;
      })
      .join('');
  const give = `dd if='${backing}' iflag=skip_bytes,count_bytes skip=$4 count=$3 bs=1M 2>/dev/null`;
  const take = `dd of='${backing}' conv=notrunc oflag=seek_bytes seek=$4 bs=1M iflag=fullblock 2>/dev/null`;
  startTool('nbdfuse', [
    ...[path, '--command', 'nbdkit', '-s', 'eval', `get_size=echo ${statSync(backing).size}`],
    ...[
      `pread=${fails(unreadable)}${give}`,
      `pwrite=${fails(unwritable).replaceAll('exit 1', 'cat >/dev/null; exit 1')}${take}`,
      'flush=true',
    ],
  ]);
  while (statSync(path).size === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  return path;
}
