/** A file some of whose sectors cannot be read or written, or that does not keep what it is given: nbdkit and nbdfuse,
 * which know nothing of the tool. */

import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, statSync, writeFileSync } from 'node:fs';
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

export interface Failings {
  /** Reads that touch these end with EIO. */
  readonly unreadable?: readonly Hole[];
  /** Writes that touch these end with EIO. */
  readonly unwritable?: readonly Hole[];
  /** Writes that touch these succeed, and something else is stored. */
  readonly altering?: readonly Hole[];
  /** What was written is in `backing` only once it was synced. */
  readonly forgets?: boolean;
}

/** A command of the shell, for each request that touches a hole; $3 is how many bytes, $4 is from where. */
const where = (holes: readonly Hole[], command: string) =>
  holes
    .map(({ lba, count }) => {
      const [from, to] = [lba * 512, (lba + count) * 512];
      return `if [ $4 -lt ${to} ] && [ $(($4 + $3)) -gt ${from} ]; then ${command}; fi; `;
    })
    .join('');

/** Shows what `backing` holds under another name. */
export async function failingFile(
  folder: string,
  backing: string,
  { unreadable = [], unwritable = [], altering = [], forgets = false }: Failings,
): Promise<string> {
  const path = join(folder, 'failing');
  writeFileSync(path, '');
  mounted.push(path);
  const held = forgets ? join(folder, 'unsynced') : backing;
  if (forgets) copyFileSync(backing, held);
  const give = `dd if='${held}' iflag=skip_bytes,count_bytes skip=$4 count=$3 bs=1M 2>/dev/null`;
  const take = `dd of='${held}' conv=notrunc oflag=seek_bytes seek=$4 bs=1M iflag=fullblock 2>/dev/null`;
  const other = `LC_ALL=C tr '\\000-\\377' '\\001-\\377\\000' | ${take}; exit`;
  const eio = 'echo EIO medium >&2; exit 1';
  startTool('nbdfuse', [
    ...[path, '--command', 'nbdkit', '-s', 'eval', `get_size=echo ${statSync(backing).size}`],
    ...[
      `pread=${where(unreadable, eio)}${give}`,
      `pwrite=${where(unwritable, `cat >/dev/null; ${eio}`)}${where(altering, other)}${take}`,
      forgets
        ? `flush=dd if='${held}' of='${backing}' conv=notrunc bs=1M 2>/dev/null`
        : 'flush=true',
    ],
  ]);
  while (statSync(path).size === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  return path;
}
