import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { stayAwake } from '../../src/cli/stay-awake.js';
import { realClock } from '../../src/clock.js';
import { temporaryFolder } from './cli.js';

const clock = realClock();
const path = process.env.PATH ?? '';
let folder: string;

/** A program of that name which writes down how it was called, and goes on as `script` says. */
function played(name: string, script: string): void {
  const file = join(folder, name);
  writeFileSync(file, `#!/bin/sh\necho "$@" >> '${folder}/calls'\n${script}\n`);
  chmodSync(file, 0o755);
}

const calls = () =>
  existsSync(join(folder, 'calls')) ? readFileSync(join(folder, 'calls'), 'utf8') : '';

async function until(what: () => boolean): Promise<void> {
  while (!what()) await clock.sleep(5);
}

describe.skipIf(process.platform === 'win32')('the computer stays awake', () => {
  beforeEach(() => {
    folder = temporaryFolder();
    process.env.PATH = `${folder}:${path}`;
  });
  afterEach(() => {
    process.env.PATH = path;
  });

  /** The options end where the command begins. */
  const runRest =
    'while [ "$1" != sh ]; do shift; done; "$@"; echo ended >> "$(dirname "$0")/calls"';

  test('by systemd, lid included, from the start to the end', async () => {
    played('systemd-inhibit', runRest);
    const said: string[] = [];
    const awake = stayAwake(clock, (line) => said.push(line), 'linux');
    await until(() => calls() !== '');
    expect(calls()).toMatch(/^--what=idle:sleep:handle-lid-switch --mode=block --who=lastspin/);
    await clock.sleep(50);
    expect(calls()).not.toContain('ended');
    awake.end();
    await until(() => calls().includes('ended'));
    expect(said).toEqual([]);
  });

  test('without the lid where that is not allowed', async () => {
    played('systemd-inhibit', `case "$1" in *lid*) exit 1;; esac; ${runRest}`);
    const said: string[] = [];
    const awake = stayAwake(clock, (line) => said.push(line), 'linux');
    await until(() => calls().includes('--what=idle:sleep --mode=block'));
    awake.end();
    await until(() => calls().includes('ended'));
    expect(said).toEqual([]);
  });

  test('by caffeinate', async () => {
    played('caffeinate', runRest);
    const awake = stayAwake(clock, () => {}, 'darwin');
    await until(() => calls().startsWith('-i -m -s sh'));
    awake.end();
    await until(() => calls().includes('ended'));
  });

  test.each([
    ['does not work', 'linux', 'exit 1', /systemd-inhibit: ended with status 1/],
    ['is not known', 'aix', 'exit 1', /nothing is known that keeps aix awake/],
  ] as const)('one that %s is told of in one line', async (_, platform, script, why) => {
    played('systemd-inhibit', script);
    const said: string[] = [];
    stayAwake(clock, (line) => said.push(line), platform);
    await until(() => said.length > 0);
    expect(said).toHaveLength(1);
    expect(said[0]).toMatch(why);
    expect(said[0]).toContain('may go to sleep');
  });

  test('one that is missing', async () => {
    process.env.PATH = folder;
    const said: string[] = [];
    stayAwake(clock, (line) => said.push(line), 'linux');
    await until(() => said.length > 0);
    expect(said).toEqual([expect.stringContaining('systemd-inhibit: not installed')]);
  });
});
