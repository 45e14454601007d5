import { isMediumError, type ReadRequest, type ReadResult } from '../drive/drive.js';
import { describeFault } from '../drive/fault.js';
import type { Extent } from '../map/extent.js';
import type { ReadEvent } from '../plan/events.js';
import { type Pass, slowLimitMs } from '../plan/pass.js';
import { type Comparison, createComparison, type Varying, versionsLine } from './compare.js';
import type { JobEventBody } from './events.js';
import type { JobParts, Note } from './parts.js';
import type { JobState } from './state.js';

/** The reads under way, oldest first. */
export interface Flight {
  /** What is under way, for the planner. */
  extents(): readonly Extent[];
  hasRoom(extent: Extent): boolean;
  submit(extent: Extent, pass: Pass): void;
  /** Waits for the oldest, writes what it brought to the image, and notes it. */
  settleOldest(): Promise<void>;
  /** Whether the drive still has something to answer, a probe included. */
  isBusy(): boolean;
  /** From now on nothing that still comes back is taken in. */
  abandon(): void;
  /** Reads one extent by itself, for its answer only. Nothing else may be under way. */
  probe(extent: Extent, timeoutMs: number): Promise<void>;
  /** Reads one extent once more, and settles what its sectors hold as soon as enough readings tell. Nothing
   * else may be under way. */
  compare(extent: Extent, timeoutMs: number): Promise<void>;
}

type DoubtedEvent = Extract<JobEventBody, { kind: 'doubted' }>;

interface UnderWay {
  readonly extent: Extent;
  readonly pass: Pass;
  readonly result: Promise<ReadResult>;
}

/** Reads at the start of a job, when the drive may just have spun up and recalibrates: they get this many
 * times their limits. After a power cycle in a job the reference read takes that upon itself. */
const firstReadsCount = 3;
const firstReadsFactor = 3;

/** A batch is what was submitted since nothing was under way: once a result stops it, nothing is added
 * until the rest has come back not attempted. */
export function createFlight(parts: JobParts, state: JobState, note: Note): Flight {
  const { drive, image } = parts;
  const underWay: UnderWay[] = [];
  let sectors = 0;
  let batch = 0;
  let stopped = false;
  let abandoned = false;
  let submitted = 0;
  let probing = false;
  let settling: Promise<void> | undefined;
  /** What was read again of one group so far. */
  let comparison: Comparison | undefined;

  function findDoubt(extent: Extent, result: ReadResult): DoubtedEvent | undefined {
    const doubt = parts.detector?.look(extent, result, parts.clock.now());
    if (!doubt) return undefined;
    const extents = doubt.extents.flatMap(({ lba, count }) => [lba, count]);
    return { kind: 'doubted', why: doubt.why, extents, mediaRate: doubt.bestRate };
  }

  async function readAlone(extent: Extent, timeoutMs: number): Promise<ReadResult> {
    batch += 1;
    const stopOn = { fault: true, slow: false, timeout: true };
    probing = true;
    const result = await drive.read({ extent, timeoutMs, slowMs: 0, stopOn, batch });
    probing = false;
    return result;
  }

  /** All versions are kept before one of them replaces another in the image. */
  async function settle(varying: readonly Varying[]): Promise<void> {
    for (const sector of varying) {
      const { lba, versions } = sector;
      await image.keepVersions(versionsLine(sector));
      const [chosen] = versions;
      if (!chosen) continue;
      await image.write(lba, chosen.data);
      const agreeing = chosen.readings;
      note({ kind: 'varied', lba, count: 1, versions: versions.length, agreeing });
    }
  }

  async function settleNow(): Promise<void> {
    const oldest = underWay[0];
    if (!oldest) return;
    const result = await oldest.result;
    if (abandoned) return;
    const doubt = state.doubt === undefined ? findDoubt(oldest.extent, result) : undefined;
    const isTaken = state.doubt === undefined && !doubt;
    if (isTaken && result.goodCount > 0) await image.write(oldest.extent.lba, result.data);
    if (abandoned) return;
    underWay.shift();
    sectors -= oldest.extent.count;
    if (doubt) note(doubt);
    // What was under way when the doubt came is as doubtful.
    if (!isTaken) return;
    const event = readEvent('pass', oldest.extent, result);
    if (endsBatch(event, oldest.pass)) stopped = true;
    note(event);
  }

  return {
    abandon: () => {
      abandoned = true;
    },
    extents: () => underWay.map((read) => read.extent),
    hasRoom(extent) {
      if (underWay.length === 0) return true;
      const { inFlightMax, inFlightBytesMax } = drive.capabilities;
      if (stopped || underWay.length >= inFlightMax) return false;
      return (sectors + extent.count) * state.plan.sectorBytes <= inFlightBytesMax;
    },
    submit(extent, pass) {
      if (underWay.length === 0) {
        batch += 1;
        stopped = false;
      }
      submitted += 1;
      const factor = submitted <= firstReadsCount ? firstReadsFactor : 1;
      const result = drive.read(passRequest(extent, pass, batch, factor, state.plan.sectorBytes));
      // It is awaited when its turn comes; until then a rejection must not count as unhandled.
      result.catch(() => {});
      underWay.push({ extent, pass, result });
      sectors += extent.count;
    },
    // Whoever gives up waiting leaves it going: the next call joins in.
    settleOldest() {
      settling ??= settleNow().finally(() => {
        settling = undefined;
      });
      return settling;
    },
    isBusy: () => probing || underWay.length > 0,
    async probe(extent, timeoutMs) {
      note(readEvent('reference', extent, await readAlone(extent, timeoutMs)));
    },
    async compare(extent, timeoutMs) {
      if (comparison?.extent.lba !== extent.lba || comparison.extent.count !== extent.count)
        comparison = createComparison(extent, await image.read(extent));
      const result = await readAlone(extent, timeoutMs);
      if (abandoned) return;
      note(readEvent('compare', extent, result));
      const isWhole = result.kind === 'good' || result.kind === 'slow';
      const varying = isWhole ? comparison.add(result.data) : undefined;
      if (!varying) return;
      await settle(varying);
      comparison = undefined;
      note({ kind: 'compared', ...extent });
    },
  };
}

function passRequest(
  extent: Extent,
  pass: Pass,
  batch: number,
  factor: number,
  sectorBytes: number,
): ReadRequest {
  return {
    extent,
    timeoutMs: pass.timeoutMs * factor,
    slowMs: factor * slowLimitMs(pass, extent.count, sectorBytes),
    stopOn: { fault: true, slow: pass.onSlow !== 'go-on', timeout: true },
    batch,
  };
}

function endsBatch(event: ReadEvent, pass: Pass): boolean {
  if (event.outcome === 'good') return false;
  return event.outcome !== 'slow' || pass.onSlow !== 'go-on';
}

/** What a result says, without its data. */
function readEvent(role: ReadEvent['role'], extent: Extent, result: ReadResult): ReadEvent {
  const { fault } = result;
  return {
    kind: 'read',
    role,
    lba: extent.lba,
    count: extent.count,
    outcome: result.kind,
    goodCount: result.goodCount,
    elapsedMs: result.elapsedMs,
    ...(fault && {
      cause: isMediumError(fault) ? ('medium' as const) : ('unexplained' as const),
      detail: describeFault(fault),
    }),
    ...(fault?.lba !== undefined && { faultLba: fault.lba }),
  };
}
