import { isMediumError, type ReadRequest, type ReadResult } from '../drive/drive.js';
import { describeFault } from '../drive/fault.js';
import { type Extent, endOf } from '../map/extent.js';
import { statuses } from '../map/status.js';
import type { ReadEvent } from '../plan/events.js';
import { isBlind, type Pass, slowLimitMs } from '../plan/pass.js';
import type { PlanState } from '../plan/state.js';
import { type Comparison, createComparison, type Varying, versionsLine } from './compare.js';
import type { JobEventBody } from './events.js';
import type { JobParts, Note } from './parts.js';
import { roundMs } from './recorded.js';
import type { JobState } from './state.js';

/** The reads under way, oldest first. */
export interface Flight {
  /** What is under way, for the planner. */
  extents(): readonly Extent[];
  hasRoom(extent: Extent): boolean;
  submit(extent: Extent, pass: Pass): void;
  /** How long to wait before the next read, so that the row's cap on the rate is kept. */
  paceMs(pass: Pass): number;
  /** Waits for the oldest, writes what it brought to the image, and notes it. */
  settleOldest(): Promise<void>;
  /** Whether the drive still has something to answer, a probe included. */
  isBusy(): boolean;
  /** Settles everything that is under way, a probe included. */
  settleAll(): Promise<void>;
  /** Resolves when the drive has answered all reads under way, whether or not that was taken in. Never rejects. */
  answered(): Promise<void>;
  /** Nothing that is under way is waited for or taken in any more. */
  abandon(): void;
  /** Reads one extent by itself, for its answer only. Nothing else may be under way. */
  probe(extent: Extent, timeoutMs: number): Promise<void>;
  /** Reads one extent once more, and settles what its sectors hold as soon as enough readings tell. Nothing
   * else may be under way. */
  compare(extent: Extent, timeoutMs: number, pass?: Pass): Promise<void>;
}

type DoubtedEvent = Extract<JobEventBody, { kind: 'doubted' }>;

interface UnderWay {
  readonly extent: Extent;
  readonly request: ReadRequest;
  readonly pass: Pass;
  /** Reads that were under way when it was sent. */
  readonly ahead: number;
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
  /** Counts what was abandoned. */
  let age = 0;
  let submitted = 0;
  /** When the reads so far would be done at the capped rate. */
  let pacedUntilMs = 0;
  let probing: Promise<void> | undefined;
  let settling: Promise<void> | undefined;
  /** What was read again of one group so far. */
  let comparison: Comparison | undefined;

  function findDoubt(extent: Extent, result: ReadResult): DoubtedEvent | undefined {
    const doubt = parts.detector?.look(extent, result, parts.clock.now());
    if (!doubt) return undefined;
    const extents = doubt.extents.flatMap(({ lba, count }) => [lba, count]);
    return { kind: 'doubted', why: doubt.why, extents, mediaRate: doubt.bestRate };
  }

  /** Does something with nothing else under way, and counts as busy until it is done. What it brings is not
   * wanted any more once it was abandoned. */
  function alone(act: (isWanted: () => boolean) => Promise<void>): Promise<void> {
    const born = age;
    const mine = act(() => age === born).finally(() => {
      if (probing === mine) probing = undefined;
    });
    probing = mine;
    return mine;
  }

  function requestFor(extent: Extent, timeoutMs: number): ReadRequest {
    batch += 1;
    const stopOn = { fault: true, slow: false, timeout: true };
    return { extent, timeoutMs, slowMs: 0, stopOn, batch };
  }

  async function compareOnce(
    extent: Extent,
    timeoutMs: number,
    isWanted: () => boolean,
  ): Promise<void> {
    const { lba, count } = comparison?.extent ?? { lba: -1, count: 0 };
    if (!comparison || lba !== extent.lba || count !== extent.count)
      comparison = createComparison(extent, await image.read(extent));
    const request = requestFor(extent, timeoutMs);
    const result = await drive.read(request);
    if (!isWanted()) return;
    note(readEvent('compare', request, result));
    const isWhole = result.kind === 'good' || result.kind === 'slow';
    const varying = isWhole ? comparison.add(result.data) : undefined;
    if (!varying) return;
    comparison = undefined;
    await settleVarying(varying);
    if (isWanted()) note({ kind: 'compared', ...extent });
  }

  /** All versions are kept before one of them replaces another in the image. */
  async function settleVarying(varying: readonly Varying[]): Promise<void> {
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
    const born = age;
    const result = await oldest.result;
    if (age !== born) return;
    const doubt = state.doubt === undefined ? findDoubt(oldest.extent, result) : undefined;
    const isTaken = state.doubt === undefined && !doubt;
    const isToWrite = isTaken && result.goodCount > 0 && !result.isStored;
    if (isToWrite) await image.write(oldest.extent.lba, result.data);
    if (age !== born) return;
    underWay.shift();
    sectors -= oldest.extent.count;
    if (doubt) note(doubt);
    // What was under way when the doubt came is as doubtful.
    if (!isTaken) return;
    const { ahead } = oldest;
    const sent = isBlind(oldest.pass) ? undefined : { ahead };
    const event = { ...readEvent('pass', oldest.request, result), ...sent };
    if (endsBatch(event, oldest.pass)) stopped = true;
    note(event);
  }

  /** A read may begin when the ones before it would have ended; time that was lost is not caught up. */
  function pace({ bytesPerSecondMax = 0 }: Pass, bytes: number): void {
    if (bytesPerSecondMax <= 0) return;
    const fromMs = Math.max(pacedUntilMs, parts.clock.now());
    pacedUntilMs = fromMs + (bytes * 1000) / bytesPerSecondMax;
  }

  /** Whoever gives up waiting leaves it going: the next call joins in. */
  function settle(): Promise<void> {
    if (settling) return settling;
    const mine = settleNow().finally(() => {
      if (settling === mine) settling = undefined;
    });
    settling = mine;
    return mine;
  }

  return {
    async settleAll() {
      const born = age;
      while (underWay.length > 0 && age === born) await settle();
      await probing;
    },
    async answered() {
      await Promise.allSettled(underWay.map(({ result }) => result));
    },
    abandon() {
      age += 1;
      for (const { extent } of underWay) image.forget(extent);
      underWay.length = 0;
      sectors = 0;
      probing = undefined;
      settling = undefined;
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
      const request = passRequest(extent, pass, batch, factor, state.plan);
      const result = drive.read(request);
      // It is awaited when its turn comes; until then a rejection must not count as unhandled.
      result.catch(() => {});
      underWay.push({ extent, request, pass, ahead: underWay.length, result });
      sectors += extent.count;
      pace(pass, extent.count * state.plan.sectorBytes);
    },
    paceMs: ({ bytesPerSecondMax = 0 }) =>
      bytesPerSecondMax > 0 ? pacedUntilMs - parts.clock.now() : 0,
    settleOldest: settle,
    isBusy: () => probing !== undefined || underWay.length > 0,
    async probe(extent, timeoutMs) {
      await alone(async (isWanted) => {
        const request = requestFor(extent, timeoutMs);
        const result = await drive.read(request);
        if (isWanted()) note(readEvent('reference', request, result));
      });
    },
    async compare(extent, timeoutMs, pass) {
      if (pass) pace(pass, extent.count * state.plan.sectorBytes);
      await alone((isWanted) => compareOnce(extent, timeoutMs, isWanted));
    },
  };
}

function passRequest(
  extent: Extent,
  pass: Pass,
  batch: number,
  factor: number,
  { map, sectorBytes }: PlanState,
): ReadRequest {
  return {
    extent,
    timeoutMs: pass.timeoutMs * factor,
    slowMs: factor * slowLimitMs(pass, extent.count, sectorBytes),
    stopOn: { fault: true, slow: pass.onSlow !== 'go-on', timeout: true },
    batch,
    // What is finished is not written again behind the back of those who know its hashes.
    isStored: map.next(extent.lba, statuses.finished, endOf(extent)) === undefined,
  };
}

function endsBatch(event: ReadEvent, pass: Pass): boolean {
  if (event.outcome === 'good') return false;
  return event.outcome !== 'slow' || pass.onSlow !== 'go-on';
}

/** What a result says, without its data. */
function readEvent(role: ReadEvent['role'], request: ReadRequest, result: ReadResult): ReadEvent {
  const { extent, timeoutMs, slowMs } = request;
  const { fault, kind } = result;
  return {
    kind: 'read',
    role,
    lba: extent.lba,
    count: extent.count,
    outcome: kind,
    goodCount: result.goodCount,
    elapsedMs: roundMs(result.elapsedMs),
    ...(fault && {
      cause: isMediumError(fault) ? ('medium' as const) : ('unexplained' as const),
      detail: describeFault(fault),
    }),
    ...(fault?.lba !== undefined && { faultLba: fault.lba }),
    ...(fault?.sense && { sense: fault.sense }),
    ...(kind === 'timeout' && { timeoutMs }),
    ...(kind === 'slow' && { slowMs }),
  };
}
