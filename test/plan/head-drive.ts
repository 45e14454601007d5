import { createRandom } from '../../hardware-sim/random.js';
import { type Extent, endOf } from '../../src/map/extent.js';
import type { PlanEvent, ReadEvent } from '../../src/plan/events.js';
import { foldPlan } from '../../src/plan/fold.js';
import type { Pass } from '../../src/plan/pass.js';
import { plan } from '../../src/plan/planner.js';
import type { PlanState } from '../../src/plan/state.js';

/** A drive for planner tests that tells where it failed, and how long it took. */
export interface TimedDrive {
  readonly physicalCount: number;
  /** Bad physical sectors. */
  readonly bad: ReadonlySet<number>;
  /** How many times longer than elsewhere a read takes at an LBA. */
  slownessAt(lba: number): number;
}

export interface TimedRead extends Extent {
  readonly pass: Pass;
  readonly outcome: ReadEvent['outcome'];
}

const seekMs = 10;
const failMs = 300;
const sectorMs = 0.004;

/** Runs a plan on such a drive to its end, or until `isEnough`; `see` is shown each event before it is folded. */
export function runTimed(
  state: PlanState,
  drive: TimedDrive,
  see: (event: PlanEvent) => void = () => {},
  isEnough: (state: PlanState) => boolean = () => false,
): TimedRead[] {
  const log: TimedRead[] = [];
  let headAt = 0;
  for (let guard = 0; guard < 1_000_000; guard++) {
    const step = plan(state, []);
    let event: PlanEvent;
    if (step.kind === 'finished' || isEnough(state)) return log;
    if (step.kind === 'read') {
      event = answerOf(drive, step.extent, headAt);
      headAt = endOf(step.extent);
      log.push({ ...step.extent, pass: step.pass, outcome: event.outcome });
    } else if (step.kind === 'price') {
      event = { kind: 'priced', price: step.price, lba: step.lba };
    } else if (step.kind === 'start-pass') {
      event = { kind: 'pass-started', index: step.index, name: step.pass.name };
    } else if (step.kind === 'end-pass') {
      event = { kind: 'pass-ended', index: step.index };
    } else if (step.kind === 'go-back') {
      event = { kind: 'went-back', ...step.extent };
    } else if (step.kind === 'classify') {
      event = { kind: 'classified', ...step.extent, status: step.status };
    } else throw new Error(`stuck at ${step.kind}`);
    see(event);
    foldPlan(state, event);
  }
  throw new Error('the plan does not end');
}

function answerOf(drive: TimedDrive, { lba, count }: Extent, headAt: number): ReadEvent {
  const read = { kind: 'read', role: 'pass', lba, count } as const;
  const elapsedMs = (lba === headAt ? 0 : seekMs) + count * sectorMs * drive.slownessAt(lba);
  for (let at = lba; at < lba + count; at++) {
    if (!drive.bad.has(Math.floor(at / drive.physicalCount))) continue;
    const goodCount = at - lba;
    return {
      ...read,
      outcome: 'fault',
      cause: 'medium',
      faultLba: at,
      goodCount,
      elapsedMs: failMs,
    };
  }
  return { ...read, outcome: 'good', goodCount: count, elapsedMs };
}

/** A drive whose heads take turns, one of them weak. */
export interface WeakHeadDrive extends TimedDrive {
  readonly sectorCount: number;
  readonly heads: number;
  readonly weak: number;
  readonly bandSectors: number;
  isWeak(lba: number): boolean;
}

export interface WeakHeadOptions {
  readonly sectorCount: number;
  /** Share of the weak head's physical sectors that is bad. */
  readonly badShare: number;
  readonly slowness?: number;
  readonly heads?: number;
}

/** Heads, bands and the weak one among them by chance. */
export function weakHeadDrive(seed: number, options: WeakHeadOptions): WeakHeadDrive {
  const random = createRandom(seed);
  const { sectorCount, badShare, slowness = 1 } = options;
  const physicalCount = 8;
  const heads = options.heads ?? 2 + random.below(5);
  const weak = random.below(heads);
  const bandSectors = physicalCount * Math.round(sectorCount / heads / (5 + random.below(12)) / 8);
  const isWeak = (lba: number) => Math.floor(lba / bandSectors) % heads === weak;
  const bad = new Set<number>();
  for (let sector = 0; sector < sectorCount / physicalCount; sector++) {
    if (isWeak(sector * physicalCount) && random.next() < badShare) bad.add(sector);
  }
  const slownessAt = (lba: number) => (isWeak(lba) ? slowness : 1);
  return { sectorCount, physicalCount, heads, weak, bandSectors, bad, slownessAt, isWeak };
}
