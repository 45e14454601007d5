import { existsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { imagerDefaults } from '../../hardware-sim/imager.js';
import { isPhysicalTold } from '../job/case-state.js';
import type { JobEnd } from '../job/job.js';
import { rehearse as rehearseJob } from '../job/rehearsal.js';
import { createJobState, type JobState } from '../job/state.js';
import type { Preset } from '../plan/preset-schema.js';
import { kindDefaults, rowsOf } from '../plan/presets.js';
import { createPlanState } from '../plan/state.js';
import { troublePolicies } from '../power/policy.js';
import { loadPreset } from '../preset-files.js';
import {
  createRecord,
  formatRehearsal,
  type RehearsalResult,
  type RehearsalRun,
} from '../show/rehearsal.js';
import { plotAsSvg, plotInLetters, svgStart } from '../show/rehearsal-plot.js';
import { print, requireReplaceable, startOf, usage, writeOut } from './map-files.js';
import { loadSource, type RehearsalSource, type SourceOptions } from './rehearsal-source.js';
import { powerOnRehearsed, rehearsedDrive } from './rehearsed-drive.js';

export interface RehearseOptions extends SourceOptions {
  /** Names and paths; absent: the default of the kind of drive, and `presetsBeside`. */
  readonly preset?: readonly string[];
  readonly retries?: number;
  /** Milliseconds of the drive's time. */
  readonly duration?: number;
  readonly svg?: string;
  readonly json?: boolean;
  readonly force?: boolean;
}

const presetsBeside = ['standard', 'ddrescue'];
const columnsMax = 120;

/** `lastspin rehearse SCENARIO|MAP`: what each preset would do to such a drive. Returns the exit status; how
 * the runs end is their result. Throws what is wrong with scenario, map, presets or SVG file, before
 * anything is run. */
export async function rehearse(spec: string, options: RehearseOptions): Promise<number> {
  if (options.svg !== undefined) requireWritable(options.svg, options.force === true);
  for (const name of options.preset ?? []) loadPreset(name);
  const source = loadSource(spec, options);
  const names = options.preset ?? [kindDefaults[source.kind].preset, ...presetsBeside];
  const presets = [...new Set(names)].map((name) => [name, loadPreset(name)] as const);
  const physicalCount = physicalCountFor(source, options.physicalSector);
  for (const notice of source.notices) say(notice);
  const physicalKnown = options.physicalSector !== undefined || isPhysicalTold(source.scenario);
  const readable = source.scenario.sectorCount - source.createDrive().lostCount();
  const runs = presets.map(([name, preset]) => {
    if (process.stderr.isTTY) say(`rehearsing ${name}`);
    return runPreset({ name, preset, source, physicalCount, physicalKnown, readable }, options);
  });
  const result = resultOf({ source, physicalCount, readable }, options, runs);
  if (options.svg !== undefined) {
    const target = { output: options.svg, ...(options.force && { force: true }) };
    await writeOut([plotAsSvg(result)], target, isOurPicture);
  }
  const columns = Math.min(process.stdout.columns ?? 80, columnsMax);
  await print(
    options.json
      ? `${JSON.stringify(result)}\n`
      : `${formatRehearsal(result)}\n${plotInLetters(result, columns)}`,
  );
  return 0;
}

function say(line: string): void {
  process.stderr.write(`lastspin: ${line}\n`);
}

/** Before anything is run: a rehearsal may take a while. */
function requireWritable(path: string, force: boolean): void {
  const folder = dirname(path);
  if (!existsSync(folder) || !statSync(folder).isDirectory())
    throw usage(`--svg ${path}: there is no folder ${folder}`);
  requireReplaceable(path, force, isOurPicture);
}

function isOurPicture(path: string): boolean {
  return new TextDecoder().decode(startOf(path)).startsWith(svgStart);
}

/** What the planner goes by: the option, or what the drive says. */
function physicalCountFor({ scenario }: RehearsalSource, physicalSector?: number): number {
  const { sectorBytes, physicalSectorBytes } = scenario;
  const count = (physicalSector ?? physicalSectorBytes) / sectorBytes;
  if (Number.isInteger(count) && count >= 1 && count <= 64) return count;
  throw usage(
    `--physical-sector ${physicalSector} is not 1 to 64 times the drive's ${sectorBytes}-byte sectors`,
  );
}

/** A preset on a drive. */
interface Take {
  readonly name: string;
  readonly preset: Preset;
  readonly source: RehearsalSource;
  readonly physicalCount: number;
  /** Whether that is certain, so that the planner does not learn another from the damage. */
  readonly physicalKnown: boolean;
  /** Sectors of the drive that some read gives. */
  readonly readable: number;
}

function runPreset(take: Take, { retries, duration }: RehearseOptions): RehearsalRun {
  const { name, source, readable } = take;
  const drive = source.createDrive();
  const state = freshState(take, retries);
  const record = createRecord(readable);
  const finish = (end: JobEnd) =>
    record.finish(name, end, state, drive.counters.travelSectors / source.scenario.sectorCount);
  const { readyMs, triedMs } = powerOnRehearsed(drive, state.policy);
  state.atMs = readyMs ?? triedMs;
  const identity = readyMs === undefined ? undefined : drive.identify(readyMs);
  if (!identity) return finish({ how: 'gave-up', why: 'the drive does not become ready' });
  // It may be another one's already: a dock's, a controller's without its firmware.
  if (identity.sectorCount !== source.scenario.sectorCount)
    return finish({ how: 'gave-up', why: `it answers as ${identity.model}, of another capacity` });
  return finish(
    rehearseJob(state, {
      drive: rehearsedDrive(drive),
      identity,
      reach: { resets: new Set(['abort', 'soft', 'hard']), power: true },
      inStrides: true,
      onEvent: record.onEvent,
      ...(duration !== undefined && { durationMaxMs: duration }),
    }),
  );
}

function freshState(
  { preset, source, physicalCount, physicalKnown }: Take,
  retries?: number,
): JobState {
  const { scenario, kind } = source;
  const { sectorCount, sectorBytes } = scenario;
  const { readCountMax, bufferBytes } = imagerDefaults;
  const passes = rowsOf(preset, {
    sectorCount,
    sectorBytes,
    physicalCount,
    kind,
    readCountMax: Math.min(readCountMax, Math.floor(bufferBytes / sectorBytes)),
    ...(retries !== undefined && { retries }),
  });
  const plan = createPlanState({ sectorCount, sectorBytes, physicalCount, physicalKnown, passes });
  return createJobState(plan, troublePolicies[kind]);
}

function resultOf(
  { source, physicalCount, readable }: Pick<Take, 'source' | 'physicalCount' | 'readable'>,
  { retries, duration }: RehearseOptions,
  runs: RehearsalRun[],
): RehearsalResult {
  const { name, from, kind, scenario, failingLba, decided } = source;
  const { seed, sectorCount, sectorBytes, physicalSectorBytes } = scenario;
  const size = { sectorCount, sectorBytes, physicalSectorBytes, readableSectors: readable };
  return {
    schema: 'lastspin/rehearsal-result/1',
    drive: { name, source: from, kind, seed, ...size },
    settings: {
      failingLba,
      untried: decided?.untried ?? null,
      errorTimeMs: decided?.errorTimeMs ?? null,
      physicalSectorBytes: physicalCount * sectorBytes,
      retries: retries ?? null,
      durationMs: duration ?? null,
    },
    runs,
  };
}
