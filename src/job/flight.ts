import { isMediumError, type ReadRequest, type ReadResult } from '../drive/drive.js';
import { describeFault } from '../drive/fault.js';
import type { Extent } from '../map/extent.js';
import type { ReadEvent } from '../plan/events.js';
import { type Pass, slowLimitMs } from '../plan/pass.js';
import type { JobParts, Note } from './parts.js';
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
  /** Nothing that is under way is waited for or taken in any more. */
  abandon(): void;
  /** Reads one extent by itself, for its answer only. Nothing else may be under way. */
  probe(extent: Extent, timeoutMs: number): Promise<void>;
}

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
  /** Counts what was abandoned. */
  let age = 0;
  let submitted = 0;
  /** When the reads so far would be done at the capped rate. */
  let pacedUntilMs = 0;
  let probing: Promise<ReadResult> | undefined;
  let settling: Promise<void> | undefined;

  async function settleNow(): Promise<void> {
    const oldest = underWay[0];
    if (!oldest) return;
    const born = age;
    const result = await oldest.result;
    if (age !== born) return;
    if (result.goodCount > 0) await image.write(oldest.extent.lba, result.data);
    if (age !== born) return;
    underWay.shift();
    sectors -= oldest.extent.count;
    const event = readEvent('pass', oldest.extent, result);
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
      // What it says is noted by who asked for it.
      await probing?.then(() => {});
    },
    abandon() {
      age += 1;
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
      const result = drive.read(passRequest(extent, pass, batch, factor, state.plan.sectorBytes));
      // It is awaited when its turn comes; until then a rejection must not count as unhandled.
      result.catch(() => {});
      underWay.push({ extent, pass, result });
      sectors += extent.count;
      pace(pass, extent.count * state.plan.sectorBytes);
    },
    paceMs: ({ bytesPerSecondMax = 0 }) =>
      bytesPerSecondMax > 0 ? pacedUntilMs - parts.clock.now() : 0,
    settleOldest: settle,
    isBusy: () => probing !== undefined || underWay.length > 0,
    async probe(extent, timeoutMs) {
      batch += 1;
      const stopOn = { fault: true, slow: false, timeout: true };
      const born = age;
      probing = drive.read({ extent, timeoutMs, slowMs: 0, stopOn, batch });
      const result = await probing;
      if (age !== born) return;
      probing = undefined;
      note(readEvent('reference', extent, result));
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
