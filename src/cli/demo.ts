import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, openSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { patternSector } from '../../hardware-sim/media.js';
import { loadScenario } from '../../hardware-sim/scenario.js';
import { LastspinError } from '../errors.js';
import { loadCheckpoint } from '../image/checkpoint.js';
import { nodeFiles } from '../image/node-files.js';
import { parseSnapshot } from '../job/snapshot.js';
import { endOf } from '../map/extent.js';
import { sectorMapOf } from '../map/mapfile.js';
import { statuses } from '../map/status.js';
import { formatResult } from '../show/result.js';
import { exitStatusOf, imageDrive } from './image.js';

const scenarioName = 'demo';
/** The simulated drive lives this many times faster than a real one. */
const scale = 10;

/** `lastspin demo`: a simulated imager in a process of its own, on a real port; its failing drive imaged
 * by the same code as any other; and, since a simulated drive's contents are known, the image checked
 * against them. */
export async function demo(folder: string): Promise<number> {
  mkdirSync(folder, { recursive: true });
  const image = join(folder, 'demo.img');
  const map = join(folder, 'demo.map');
  if (existsSync(image)) await refuseForeignImage(image, map);
  for (const path of [image, map, join(folder, 'demo.journal')]) rmSync(path, { force: true });
  const imager = await startImager(folder);
  process.stderr.write(
    `a simulated imager is on ${imager.spec}; time runs ${scale} times faster\n`,
  );
  try {
    const result = await imageDrive(`${imager.spec}?scale=${scale}`, image, {
      power: [],
      retries: 1,
    });
    process.stdout.write(formatResult(result));
    const checked = await check(image, map);
    process.stdout.write(`checked      all ${checked} finished sectors hold what the drive held\n`);
    return exitStatusOf(result.ended);
  } finally {
    imager.process.kill('SIGTERM');
  }
}

/** Only what an earlier demo left may be replaced. */
async function refuseForeignImage(image: string, map: string): Promise<void> {
  const saved = await loadCheckpoint(nodeFiles(), map);
  const made = parseSnapshot(saved?.state)?.drive.serial;
  if (made === loadScenario(scenarioName).identity.serial) return;
  throw new LastspinError('IMAGE_EXISTS', `${image} is not a demo's; give another folder`);
}

interface RunningImager {
  readonly spec: string;
  readonly process: ChildProcess;
}

/** On a pseudo-terminal where one can be made, else on loopback TCP. */
async function startImager(folder: string): Promise<RunningImager> {
  try {
    return await startOn(['--pty', join(folder, 'imager')]);
  } catch (error) {
    process.stderr.write(`no pseudo-terminal here (${String(error)}); using loopback TCP\n`);
    return startOn(['--tcp', '127.0.0.1:0']);
  }
}

function startOn(plug: readonly string[]): Promise<RunningImager> {
  const main = process.argv[1] ?? '';
  const child = spawn(
    process.execPath,
    [main, 'sim', scenarioName, '--scale', String(scale), '--until-eof', ...plug],
    // A process group of its own: Ctrl-C is for the job, which still needs the imager to stop in order.
    // Its standard input ends with this process, however that ends.
    { stdio: ['pipe', 'pipe', 'pipe'], detached: true },
  );
  return new Promise((resolve, reject) => {
    let said = '';
    let complaint = '';
    child.stdout.on('data', (bytes) => {
      said += bytes;
      const line = said.indexOf('\n');
      if (line >= 0) resolve({ spec: said.slice(0, line), process: child });
    });
    child.stderr.on('data', (bytes) => {
      complaint += bytes;
    });
    child.on('error', reject);
    child.on('exit', () => reject(complaint.trim().split('\n')[0] ?? 'it ended at once'));
  });
}

/** Compares every finished sector with what the simulated drive holds; returns how many there are. */
async function check(imagePath: string, mapPath: string): Promise<number> {
  const { seed, sectorBytes, sectorCount } = loadScenario(scenarioName);
  const saved = await loadCheckpoint(nodeFiles(), mapPath);
  if (!saved) throw new LastspinError('FILE_FAILED', `${mapPath} is missing`);
  const map = sectorMapOf(saved.map, { sectorBytes, sectorCount }, mapPath);
  const file = openSync(imagePath, 'r');
  const sector = Buffer.alloc(sectorBytes);
  for (const run of map.runs()) {
    if (run.value !== statuses.finished) continue;
    for (let lba = run.lba; lba < endOf(run); lba++) {
      readSync(file, sector, 0, sectorBytes, lba * sectorBytes);
      if (sector.equals(patternSector(seed, lba, sectorBytes))) continue;
      throw new Error(`sector ${lba} is finished in the map but wrong in the image`);
    }
  }
  return map.countOf(statuses.finished);
}
