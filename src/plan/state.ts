import type { Extent } from '../map/extent.js';
import { createRunMap, type RunMap } from '../map/run-map.js';
import type { StatusCode } from '../map/status.js';
import type { ReadEvent } from './events.js';
import { createLearned, type Learned } from './learned.js';
import type { Pass } from './pass.js';

/** What the planner knows. Folded from events and nothing else: the same events give the same state.
 * The two run maps are large, so `fold` changes them in place: a state has one owner. */
export interface PlanState {
  readonly sectorCount: number;
  readonly sectorBytes: number;
  /** Logical sectors of one physical sector, at least 1. */
  physicalCount: number;
  /** Whether that is certain: the drive says so, or the user. Else the damage may tell better. */
  physicalKnown: boolean;
  /** What the damage told of it last, if anything. */
  physicalSeen: number | undefined;
  /** The rows in force; a change while the job runs replaces them. */
  passes: readonly Pass[];
  /** The domain: priority by sector, 0 = never read (`domain.ts`). */
  scope: RunMap;
  /** Status by sector. */
  readonly map: RunMap;
  /** Why areas were left (`Note` by sector). */
  readonly notes: RunMap;
  /** Row of `passes`; `passes.length` when all are done. */
  passIndex: number;
  passStarted: boolean;
  /** Next LBA to look at going forwards; first LBA not to look at any more going backwards. */
  cursor: number;
  /** What the cursor is bound to: the whole drive, or what a jump had left behind. */
  bounds: Extent;
  /** What jumps went over in this pass: it comes back to these before it ends. */
  jumpedOver: readonly Extent[];
  /** Where the user asked a row that chooses by itself to read, whatever it brings. */
  jumpedTo: number | undefined;
  /** Whether the pass is to end before its time. */
  endWanted: boolean;
  /** Next jump in sectors; 0 = the last read went well. */
  skipCount: number;
  /** Where the run of failing landings began, while `skipCount` > 0. */
  skipOrigin: number;
  /** What was marked since the last good read, oldest first, to be undone if the drive is to blame. */
  blamed: { lba: number; count: number; former: StatusCode }[];
  /** A read whose failure nobody has been blamed for yet. Nothing is planned until that is settled. */
  suspect: ReadEvent | undefined;
  /** What the row under way has had: failing reads, and reading in ms. */
  readonly spent: { faults: number; readMs: number };
  /** Hangs in a row at one place that is read again. */
  hangs: { lba: number; count: number };
  /** Verdicts against places in a row, and failures believed since without a new one. */
  placeVerdicts: number;
  unproven: number;
  /** Verdicts against the drive in a row over one and the same read. */
  acquittals: { lba: number; count: number };
  /** What reads told of the drive besides the map. */
  readonly learned: Learned;
}

/** A state before the first event. `map` may come from a map file; without a scope the domain is the whole
 * drive. */
export function createPlanState(
  options: Pick<PlanState, 'sectorCount' | 'sectorBytes' | 'physicalCount' | 'passes'> & {
    readonly map?: RunMap;
    readonly scope?: RunMap;
    readonly physicalKnown?: boolean;
  },
): PlanState {
  return {
    sectorCount: options.sectorCount,
    sectorBytes: options.sectorBytes,
    physicalCount: options.physicalCount,
    physicalKnown: options.physicalKnown ?? true,
    physicalSeen: undefined,
    passes: options.passes,
    scope: options.scope ?? createRunMap(options.sectorCount, 1),
    map: options.map ?? createRunMap(options.sectorCount),
    notes: createRunMap(options.sectorCount),
    passIndex: 0,
    passStarted: false,
    cursor: 0,
    bounds: { lba: 0, count: options.sectorCount },
    jumpedOver: [],
    jumpedTo: undefined,
    endWanted: false,
    skipCount: 0,
    skipOrigin: 0,
    blamed: [],
    suspect: undefined,
    spent: { faults: 0, readMs: 0 },
    hangs: { lba: 0, count: 0 },
    placeVerdicts: 0,
    unproven: 0,
    acquittals: { lba: 0, count: 0 },
    learned: createLearned(options.sectorCount, options.physicalCount),
  };
}

/** Begins with the first of these rows over this domain; map and notes stay. */
export function restartPlan(state: PlanState, passes: readonly Pass[], scope: RunMap): void {
  const fresh = createPlanState({ ...state, passes, scope });
  const { passIndex, passStarted, cursor, bounds, jumpedOver, endWanted } = fresh;
  const { jumpedTo, skipCount, skipOrigin } = fresh;
  Object.assign(state, { passes, scope, passIndex, passStarted, cursor, bounds, jumpedOver });
  Object.assign(state, { jumpedTo, endWanted, skipCount, skipOrigin });
  Object.assign(state.spent, fresh.spent);
}

/** Widens an extent to whole physical sectors, within the drive. */
export function toPhysical(state: PlanState, extent: Extent): Extent {
  const size = state.physicalCount;
  const lba = Math.floor(extent.lba / size) * size;
  const end = Math.min(state.sectorCount, Math.ceil((extent.lba + extent.count) / size) * size);
  return { lba, count: end - lba };
}
