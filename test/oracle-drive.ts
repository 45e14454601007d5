/** The oracle drive as a helper for tests: a failing drive that was written independently of this
 * project, in `../shared/oracle-drive` beside it. Where that folder is absent the project stands
 * alone, and these tests are skipped with one line. */

import { execFile, execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, stat, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { test } from 'vitest';

const run = promisify(execFile);
const folder = join(import.meta.dirname, '../../shared/oracle-drive');
/** Unmounting waits this long for a reader that is on its way out. */
const unmountTriesMax = 40;
const unmountPauseMs = 50;

/** Debian's package for each tool that the oracle drive needs. */
const tools: Readonly<Record<string, string>> = {
  nbdkit: 'nbdkit',
  nbdfuse: 'libnbd-bin',
  gcc: 'gcc',
  python3: 'python3',
};

export interface OracleDrive {
  /** The drive as a file. */
  readonly source: string;
  readonly workDirectory: string;
  /** Touched, it cycles the drive's power. */
  readonly powerFile: string;
  /** The drive's own log of what was asked of it. */
  readonly readsCsv: string;
  /** Unplugs the drive and removes its directory. */
  stop(): Promise<void>;
}

/** The parts of a score that tests look at; see `score.py`. Times are the drive's own. */
export interface OracleScore {
  readonly model_s: number;
  readonly reads: number;
  readonly failing_reads: number;
  readonly power_cycles: number;
  readonly delivered_pct: number;
  readonly readable_sectors: number;
  readonly lost_sectors: number;
  readonly reference: { readonly failing_reads: number; readonly model_s: number };
  readonly until: Readonly<Record<string, { readonly s: number; readonly failing: number }>>;
  /** Only where image and map were given. */
  readonly map_finished_pct?: number;
  readonly map_finished_sectors?: number;
  readonly wrong_sectors?: number;
}

/** A scenario by its name, for example `p6-hang`. */
export function oracleScenario(name: string): string {
  return join(folder, 'scenarios', `${name}.scn`);
}

/** Why the oracle drive cannot be used here, in one line. Throws where a tool is missing and
 * REQUIRE_TOOLS=1 forbids to skip; an absent folder is never held against anyone. */
export function oracleMissing(): string | undefined {
  if (!existsSync(folder)) return 'the oracle drive is not beside this project (../shared)';
  const reason = toolMissing();
  if (reason && process.env.REQUIRE_TOOLS === '1') throw new Error(reason);
  return reason;
}

function toolMissing(): string | undefined {
  for (const [tool, packageName] of Object.entries(tools)) {
    if (!hasTool(tool)) return `${tool} is not installed (apt-get install ${packageName})`;
  }
  if (!unmounter()) return 'fusermount is not installed (apt-get install fuse3)';
  if (!existsSync('/dev/fuse')) return 'there is no /dev/fuse to mount the oracle drive with';
  return compiles('#include <nbdkit-plugin.h>')
    ? undefined
    : 'nbdkit-plugin.h is not installed (apt-get install nbdkit-plugin-dev)';
}

/** A test on the oracle drive, or its skip with a reason. Where the folder is absent and skips
 * count as failures, nothing is registered but the reason is printed all the same. */
export function oracleTest(name: string, body: () => Promise<void>, timeoutMs?: number): void {
  const reason = oracleMissing();
  if (reason) console.warn(`skipped: ${name}: ${reason}`);
  if (reason && process.env.REQUIRE_TOOLS === '1') return;
  test.skipIf(reason !== undefined)(name, body, timeoutMs);
}

/** Plugs in a drive that plays `scenarioPath`, `scale` times faster than life. */
export async function startOracleDrive(
  scenarioPath: string,
  { scale }: { readonly scale: number },
): Promise<OracleDrive> {
  const workDirectory = await mkdtemp(join(tmpdir(), 'oracle-drive-'));
  const source = join(workDirectory, 'source');
  const environment = await environmentFor(workDirectory);
  const stop = async () => {
    await unmount(source);
    await run(join(folder, 'stop-drive.sh'), [workDirectory], { env: environment });
    await rm(workDirectory, { recursive: true, force: true });
  };
  try {
    await runScript('run-drive.sh', [scenarioPath, workDirectory, String(scale)], environment);
    if ((await stat(source)).size === 0) throw new Error('the oracle drive could not be mounted');
  } catch (error) {
    await stop();
    throw error;
  }
  const powerFile = join(workDirectory, 'power');
  return { source, workDirectory, powerFile, readsCsv: join(workDirectory, 'reads.csv'), stop };
}

/** What a tool got out of the drive, and what it cost the drive. */
export async function scoreOracle(what: {
  readonly scenarioPath: string;
  readonly readsCsv: string;
  /** Both or none: then the map's honesty is scored too. */
  readonly image?: string;
  readonly map?: string;
}): Promise<OracleScore> {
  const files = what.image && what.map ? [what.image, what.map] : [];
  const script = join(folder, 'score.py');
  const { stdout } = await run('python3', [script, what.scenarioPath, what.readsCsv, ...files]);
  return JSON.parse(stdout) as OracleScore;
}

/** The scripts build into TMPDIR, which two tests at once must not share, and call `fusermount`,
 * which fuse3 alone installs under another name. */
async function environmentFor(workDirectory: string): Promise<NodeJS.ProcessEnv> {
  const buildDirectory = join(workDirectory, 'build');
  await mkdir(buildDirectory);
  const path = process.env.PATH ?? '';
  const environment = { ...process.env, TMPDIR: buildDirectory };
  if (unmounter() !== 'fusermount3') return environment;
  const found = execFileSync('sh', ['-c', 'command -v fusermount3'], { encoding: 'utf8' }).trim();
  await symlink(found, join(buildDirectory, 'fusermount'));
  return { ...environment, PATH: `${buildDirectory}${delimiter}${path}` };
}

/** Runs a script whose daemons live on, so that its output cannot be waited for. */
async function runScript(name: string, values: string[], env: NodeJS.ProcessEnv): Promise<void> {
  const command = '"$0" "$@" >/dev/null 2>"$TMPDIR/errors"';
  try {
    await run('sh', ['-c', command, join(folder, name), ...values], { env });
  } catch (error) {
    const said = await run('cat', [join(env.TMPDIR ?? '', 'errors')]).catch(() => undefined);
    throw new Error(`${name} failed: ${said?.stdout.trim()}`, { cause: error });
  }
}

async function unmount(source: string): Promise<void> {
  const tool = unmounter()!;
  for (let tries = 0; tries < unmountTriesMax; tries++) {
    try {
      await run(tool, ['-u', source]);
      return;
    } catch (error) {
      const { stderr = '' } = error as { stderr?: string };
      if (!/busy/i.test(stderr)) return; // It was not mounted.
      await new Promise((resolve) => setTimeout(resolve, unmountPauseMs));
    }
  }
  await run(tool, ['-u', '-z', source]);
}

function unmounter(): 'fusermount' | 'fusermount3' | undefined {
  if (hasTool('fusermount')) return 'fusermount';
  return hasTool('fusermount3') ? 'fusermount3' : undefined;
}

function hasTool(tool: string): boolean {
  return succeeds('sh', ['-c', 'command -v -- "$1"', 'sh', tool]);
}

function compiles(source: string): boolean {
  const command = 'printf "%s\\n" "#define NBDKIT_API_VERSION 2" "$1" | gcc -fsyntax-only -xc -';
  return succeeds('sh', ['-c', command, 'sh', source]);
}

function succeeds(command: string, values: string[]): boolean {
  try {
    execFileSync(command, values, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
