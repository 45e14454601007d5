import type { Extent } from '../map/extent.js';
import { createRunMap, type RunMap } from '../map/run-map.js';
import type { StatusCode } from '../map/status.js';
import type { ReadEvent } from './events.js';
import type { Pass } from './pass.js';

/** What the planner knows. Folded from events and nothing else: the same events give the same state.
 * The two run maps are large, so `fold` changes them in place: a state has one owner. */
export interface PlanState {
  readonly sectorCount: number;
  readonly sectorBytes: number;
  /** Logical sectors of one physical sector, at least 1. */
  readonly physicalCount: number;
  readonly passes: readonly Pass[];
  /** Status by sector. */
  readonly map: RunMap;
  /** Why areas were left (`Note` by sector). */
  readonly notes: RunMap;
  /** Row of `passes`; `passes.length` when all are done. */
  passIndex: number;
  passStarted: boolean;
  /** Next LBA to look at going forwards; first LBA not to look at any more going backwards. */
  cursor: number;
  /** Next jump in sectors; 0 = the last read went well. */
  skipCount: number;
  /** Where the run of failing landings began, while `skipCount` > 0. */
  skipOrigin: number;
  /** What was marked since the last good read, oldest first, to be undone if the drive is to blame. */
  blamed: { lba: number; count: number; former: StatusCode }[];
  /** A read whose failure nobody has been blamed for yet. Nothing is planned until that is settled. */
  suspect: ReadEvent | undefined;
  /** Verdicts against the drive in a row over one and the same read. */
  acquittals: { lba: number; count: number };
  /** Hangs in a row at one and the same LBA. */
  hangs: { lba: number; count: number };
}

/** A state before the first event. `map` may come from a map file. */
export function createPlanState(
  options: Pick<PlanState, 'sectorCount' | 'sectorBytes' | 'physicalCount' | 'passes'> & {
    readonly map?: RunMap;
  },
): PlanState {
  return {
    sectorCount: options.sectorCount,
    sectorBytes: options.sectorBytes,
    physicalCount: options.physicalCount,
    passes: options.passes,
    map: options.map ?? createRunMap(options.sectorCount),
    notes: createRunMap(options.sectorCount),
    passIndex: 0,
    passStarted: false,
    cursor: 0,
    skipCount: 0,
    skipOrigin: 0,
    blamed: [],
    suspect: undefined,
    acquittals: { lba: 0, count: 0 },
    hangs: { lba: 0, count: 0 },
  };
}

/** Widens an extent to whole physical sectors, within the drive. */
export function toPhysical(state: PlanState, extent: Extent): Extent {
  const size = state.physicalCount;
  const lba = Math.floor(extent.lba / size) * size;
  const end = Math.min(state.sectorCount, Math.ceil((extent.lba + extent.count) / size) * size);
  return { lba, count: end - lba };
}
