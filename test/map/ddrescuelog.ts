/** GNU ddrescuelog as judge of map files. */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Whether ddrescuelog is there. With REQUIRE_TOOLS set its absence is a failure, not a skip. */
export function hasDdrescuelog(): boolean {
  const { error } = spawnSync('ddrescuelog', ['--version']);
  if (error === undefined) return true;
  if (process.env.REQUIRE_TOOLS) throw new Error('ddrescuelog is missing (package gddrescue)');
  return false;
}

/** What ddrescuelog says of a map file. Byte counts only where it prints them in full, which
 * it does below 10,000. */
export interface Verdict {
  readonly accepted: boolean;
  readonly text: string;
}

export interface Judge {
  statistics(content: Uint8Array | string): Verdict;
  dispose(): void;
}

/** Runs `ddrescuelog -t` on files in a folder of its own. */
export function createJudge(): Judge {
  const folder = mkdtempSync(join(tmpdir(), 'lastspin-map-'));
  const path = join(folder, 'case.map');
  return {
    statistics: (content) => {
      writeFileSync(path, content);
      const { status, stdout } = spawnSync('ddrescuelog', ['-t', path], { encoding: 'utf8' });
      return { accepted: status === 0, text: stdout };
    },
    dispose: () => rmSync(folder, { recursive: true, force: true }),
  };
}
