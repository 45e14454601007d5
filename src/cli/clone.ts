import type { DriveIdentity } from '../drive/drive.js';
import { LastspinError } from '../errors.js';
import { thisHost } from '../host/host.js';
import { statusByByte } from '../image/byte-map.js';
import { loadCheckpoint } from '../image/checkpoint.js';
import { fillExcess } from '../image/copy-back.js';
import { fillGaps } from '../image/fill.js';
import { nodeFiles } from '../image/node-files.js';
import { type CasePaths, casePaths } from '../job/case-files.js';
import type { FillRecord } from '../job/events.js';
import { parseSnapshot } from '../job/snapshot.js';
import type { JobState } from '../job/state.js';
import { byteMapOf } from '../map/mapfile.js';
import { statuses } from '../map/status.js';
import {
  type CloneResult,
  formatClone,
  type TargetResult,
  untouched,
} from '../show/copy-result.js';
import { formatBytes } from '../show/format.js';
import { exitStatusWith, type ImageOptions, imageDrive, type Onto } from './image.js';
import { askOnTerminal, disksOf } from './source-guard.js';
import {
  caseNameOf,
  fittingBytes,
  lookAtTarget,
  refuseOwnSerial,
  refuseTarget,
  refuseWithoutWord,
  remarksOn,
  requireOverwrite,
  requireSameTarget,
  requireTarget,
  type Target,
} from './target-guard.js';
import { type TargetOptions, type Wanted, wantedOf } from './target-options.js';

export interface CloneOptions extends ImageOptions, TargetOptions {
  /** Beside which the case's files stand; by default in this folder, named by the target. */
  readonly caseFiles?: string;
}

/** `lastspin clone DRIVE TARGET`: returns the exit status. */
export async function clone(spec: string, path: string, options: CloneOptions): Promise<number> {
  const wanted = wantedOf(options, 'none');
  requireTarget(path);
  const sources = disksOf(spec, thisHost);
  refuseTarget(path, { sources, files: options.caseFiles ? [options.caseFiles] : ['.'] });
  const target = await lookAtTarget(path);
  const paths = casePaths(path, options.caseFiles ?? `${caseNameOf(target)}.map`);
  const isKnown = await isOwnMap(paths, target);
  // Before a drive is powered for nothing.
  if (!isKnown) refuseWithoutWord(target, goAheadOf(options, new AbortController().signal));
  const cloning: Cloning = { spec, target, paths, isKnown, wanted, options, done: nothingDone() };
  const { schema, ...result } = await imageDrive(spec, path, options, ontoTarget(cloning));
  const whole = { schema: 'lastspin/clone-result/1' as const, ...result };
  const cloned: CloneResult = { ...whole, target: targetResult(cloning, result) };
  process.stdout.write(options.json ? `${JSON.stringify(cloned)}\n` : formatClone(cloned));
  return exitStatusWith(result, options.strict ?? false);
}

/** A clone, from the look at its target to its end. */
interface Cloning {
  readonly spec: string;
  readonly target: Target;
  readonly paths: CasePaths;
  /** An earlier run overwrote this very target. */
  readonly isKnown: boolean;
  readonly wanted: Wanted;
  readonly options: CloneOptions;
  readonly done: Done;
}

/** What the target's bytes are that hold nothing of the drive's. */
interface Done {
  gaps: string;
  excess: string;
}

const nothingDone = (): Done => ({ gaps: untouched, excess: untouched });

/** What earlier runs were told to write there is on record before it is written, so it may not be all there. */
function takeEarlier(done: Done, fills: readonly FillRecord[]): void {
  const earlier = (text: string) => `${text}, by an earlier run as far as that came`;
  for (const { unread, excess } of fills) {
    if (unread !== undefined) done.gaps = earlier(unread);
    if (excess !== undefined) done.excess = earlier(excess);
  }
}

/** Whether the map is that of a clone onto this target, which can be told from others of its kind. */
async function isOwnMap(paths: CasePaths, { identity }: Target): Promise<boolean> {
  const saved = await loadCheckpoint(nodeFiles(), paths.map);
  const form = parseSnapshot(saved?.state)?.form;
  if (form?.kind !== 'target' || identity.serial === '') return false;
  const { model, serial, sizeBytes } = form.target;
  const isSame = model === identity.model && serial === identity.serial;
  return isSame && sizeBytes === identity.sizeBytes;
}

function goAheadOf({ overwrite }: CloneOptions, signal: AbortSignal) {
  return { ...(overwrite !== undefined && { overwrite }), ask: askOnTerminal(signal) };
}

function ontoTarget(cloning: Cloning): Onto {
  const { spec, target, paths, options } = cloning;
  return {
    paths,
    async form(drive, { saved }, interrupt) {
      refuseOwnSerial(target, drive);
      // Something may have taken hold of it since.
      refuseTarget(target.path, { sources: disksOf(spec, thisHost), files: [paths.map] });
      const { sectorBytes } = drive;
      const sizeBytes = drive.sectorCount * sectorBytes;
      fittingBytes(target, sizeBytes, options.truncate ?? false);
      for (const remark of remarksOn(target, { sizeBytes, sectorBytes })) say(remark);
      if (!cloning.isKnown) {
        const source = `${spec}, ${drive.model} ${drive.serial}, ${formatBytes(sizeBytes)} (${sizeBytes} bytes)`;
        const asking = goAheadOf(options, interrupt.signal);
        await requireOverwrite(target, source, { ...asking, say });
      }
      await requireSameTarget(target);
      takeEarlier(cloning.done, parseSnapshot(saved?.state)?.fills ?? []);
      return { kind: 'target', target: target.identity };
    },
    finish: (state, drive, signal, note) => finish(cloning, state, drive, { signal, note }),
  };
}

/** What goes onto the target besides what was read. */
async function finish(
  { target, wanted, done }: Cloning,
  { plan }: JobState,
  drive: DriveIdentity,
  { signal, note }: { signal: AbortSignal; note: (fill: FillRecord) => Promise<void> },
): Promise<void> {
  const { sectorBytes } = drive;
  const endBytes = heldBytes(target, drive);
  const map = statusByByte(byteMapOf(plan.map, sectorBytes), endBytes);
  const gapBytes = endBytes - map.countOf(statuses.finished);
  const { fill, excess } = wanted;
  const { sizeBytes } = target.identity;
  const file = await nodeFiles().open(target.path);
  try {
    if (fill && gapBytes > 0) {
      await note({ unread: fill.text, unreadable: fill.text });
      const fills = { unread: fill.fill, unreadable: fill.fill };
      await fillGaps(file, map, { fills, sectorBytes, signal });
      done.gaps = fill.text;
    }
    if (excess && endBytes < sizeBytes) {
      await note({ excess: excess.text });
      say(`filling the ${formatBytes(sizeBytes - endBytes)} behind the drive's last sector`);
      await fillExcess(file, { from: endBytes, to: sizeBytes, fill: excess.fill }, { signal });
      done.excess = excess.text;
    }
  } catch (error) {
    if (error !== signal.reason) throw error;
    throw new LastspinError(
      'INTERRUPTED',
      `the drive is cloned; ${target.path} was being filled: run the same command again`,
    );
  } finally {
    await file.close();
  }
}

/** Bytes of the drive that are on the target, in whole sectors. */
function heldBytes({ identity }: Target, { sectorCount, sectorBytes }: DriveIdentity): number {
  return Math.min(sectorCount, Math.floor(identity.sizeBytes / sectorBytes)) * sectorBytes;
}

function targetResult(
  { target, done }: Cloning,
  { drive, sectors }: Pick<CloneResult, 'drive' | 'sectors'>,
): TargetResult {
  const endBytes = heldBytes(target, drive);
  return {
    path: target.path,
    ...target.identity,
    truncatedBytes: drive.sectorCount * drive.sectorBytes - endBytes,
    excess: { bytes: target.identity.sizeBytes - endBytes, content: done.excess },
    gaps: { bytes: endBytes - sectors.finished * drive.sectorBytes, content: done.gaps },
  };
}

function say(line: string): void {
  process.stderr.write(`lastspin: ${line}\n`);
}
