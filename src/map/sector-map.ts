/** The sector map: a run map that holds status codes. */

import type { RunMap } from './run-map.js';
import { statuses } from './status.js';

/** Sectors by status, and how fragmented the map is. */
export interface SectorStatistics {
  readonly nonTried: number;
  readonly nonTrimmed: number;
  readonly nonScraped: number;
  readonly bad: number;
  readonly finished: number;
  /** Runs of any status. */
  readonly runs: number;
  /** Runs of bad sectors, ddrescue's "bad areas". */
  readonly badAreas: number;
}

/** What a sector map adds up to; costs nothing, whatever the number of runs. */
export function statisticsOf(map: RunMap): SectorStatistics {
  return {
    nonTried: map.countOf(statuses['non-tried']),
    nonTrimmed: map.countOf(statuses['non-trimmed']),
    nonScraped: map.countOf(statuses['non-scraped']),
    bad: map.countOf(statuses['bad-sector']),
    finished: map.countOf(statuses.finished),
    runs: map.runCount,
    badAreas: map.runsOf(statuses['bad-sector']),
  };
}
