import { type Extent, endOf } from '../../src/map/extent.js';
import type { PlanEvent, ReadEvent } from '../../src/plan/events.js';
import { foldPlan } from '../../src/plan/fold.js';
import type { Pass } from '../../src/plan/pass.js';
import { type PlanStep, plan } from '../../src/plan/planner.js';
import { createPlanState, type PlanState } from '../../src/plan/state.js';
import { presetRows } from '../presets.js';

/** Damage for planner tests: what is bad or slow, by physical sector, and whether errors name an LBA. */
export interface Damage {
  readonly bad: ReadonlySet<number>;
  readonly slow?: ReadonlySet<number>;
  readonly namesLba?: boolean;
  /** The true size, where the plan may be wrong about it. */
  readonly physicalCount?: number;
}

export interface LoggedRead extends Extent {
  readonly pass: Pass;
  readonly outcome: ReadEvent['outcome'];
}

export function standardState(sectorCount: number, physicalCount = 1, retries = 0): PlanState {
  const passes = presetRows('standard', { sectorCount, physicalCount, retries });
  return createPlanState({ sectorCount, sectorBytes: 512, physicalCount, passes });
}

/** How the damage answers a read, without time. */
export function answer(state: PlanState, damage: Damage, extent: Extent, pass: Pass): ReadEvent {
  const size = damage.physicalCount ?? state.physicalCount;
  const read: ReadEvent = {
    kind: 'read',
    role: 'pass',
    ...extent,
    outcome: 'good',
    goodCount: extent.count,
    elapsedMs: 1,
  };
  let slow = false;
  for (let lba = extent.lba; lba < endOf(extent); lba++) {
    if (damage.bad.has(Math.floor(lba / size))) {
      const named = damage.namesLba
        ? { faultLba: lba, goodCount: lba - extent.lba }
        : { goodCount: 0 };
      return { ...read, outcome: 'fault', cause: 'medium', ...named };
    }
    if (damage.slow?.has(Math.floor(lba / size))) slow = true;
  }
  return slow && pass.slowMs > 0 ? { ...read, outcome: 'slow', elapsedMs: 1000 } : read;
}

/** Runs a plan to its end on such damage, with `windowMax` reads under way, and returns every read. */
export function runPlan(
  state: PlanState,
  damage: Damage,
  windowMax = 1,
  see: (event: PlanEvent) => void = () => {},
): LoggedRead[] {
  const fold = (event: PlanEvent) => {
    see(event);
    foldPlan(state, event);
  };
  const log: LoggedRead[] = [];
  const flight: { extent: Extent; pass: Pass }[] = [];
  let stopped = false;
  for (let guard = 0; guard < 10_000_000; guard++) {
    const step: PlanStep = plan(
      state,
      flight.map((read) => read.extent),
    );
    if (step.kind === 'read' && flight.length < windowMax && !(stopped && flight.length > 0)) {
      if (flight.length === 0) stopped = false;
      flight.push({ extent: step.extent, pass: step.pass });
    } else if (flight.length > 0) {
      const { extent, pass } = flight.shift()!;
      const event = answer(state, damage, extent, pass);
      const skipped = stopped;
      if (event.outcome === 'fault' || (event.outcome === 'slow' && pass.onSlow !== 'go-on'))
        stopped = true;
      if (!skipped) log.push({ ...extent, pass, outcome: event.outcome });
      fold(skipped ? { ...event, outcome: 'not-attempted', goodCount: 0 } : event);
    } else if (step.kind === 'start-pass') {
      fold({ kind: 'pass-started', index: step.index, name: step.pass.name });
    } else if (step.kind === 'end-pass') {
      fold({ kind: 'pass-ended', index: step.index });
    } else if (step.kind === 'go-back') {
      fold({ kind: 'went-back', ...step.extent });
    } else if (step.kind === 'price') {
      fold({ kind: 'priced', price: step.price, lba: step.lba });
    } else if (step.kind === 'learn-physical') {
      fold({ kind: 'physical-learned', count: step.count });
    } else if (step.kind === 'classify') {
      fold({ kind: 'classified', ...step.extent, status: step.status });
    } else {
      if (step.kind !== 'finished') throw new Error(`stuck at ${step.kind}`);
      return log;
    }
  }
  throw new Error('the plan does not end');
}
