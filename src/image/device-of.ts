/** Which disk a file is on, for messages about that disk. */

import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';

/** ` (/dev/sdb1, mounted on /mnt/target)`, or nothing where the system does not tell (Linux does). By the mount
 * table: the disk itself may answer nothing any more. Never fails. */
export async function deviceOf(path: string): Promise<string> {
  try {
    const mount = mountOf(resolve(path), await readFile('/proc/self/mountinfo', 'utf8'));
    return mount ? ` (${mount.source}, mounted on ${mount.point})` : '';
  } catch {
    return '';
  }
}

/** The mount that a path is in, by a table as proc(5) has it: the longest mount point above it, of several the
 * last. */
export function mountOf(
  path: string,
  mountInfo: string,
): { readonly source: string; readonly point: string } | undefined {
  let found: { source: string; point: string } | undefined;
  for (const line of mountInfo.split('\n')) {
    const [before = '', after = ''] = line.split(' - ');
    const point = plain(before.split(' ')[4] ?? '');
    if (!point.startsWith('/')) continue;
    const isAbove = path === point || path.startsWith(point === '/' ? '/' : `${point}/`);
    if (isAbove && point.length >= (found?.point.length ?? 0))
      found = { source: plain(after.split(' ')[1] ?? ''), point };
  }
  return found;
}

/** Spaces and the like are octal there. */
function plain(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}
