/** One read command: what the platters, the faults and the mechanics make of it. */
import { aliasOf, type DriveState, spinUp, warm } from './drive-state.js';
import { drawFrom, faultTopic, fillGarbage, type PlacedRow } from './faults.js';
import { fraction, hash } from './random.js';
import type { FaultOf } from './schema.js';

export interface DriveRead {
  /** `silent`: no answer ever comes (`elapsedMs` is Infinity) until a reset or a power cycle.
   * `gone`: the drive is off or not on the bus. */
  readonly outcome: 'good' | 'fault' | 'silent' | 'gone';
  /** Sectors that came good, from the front; `data` holds exactly these. */
  readonly goodCount: number;
  readonly data: Uint8Array;
  /** From the call to the answer, waiting for an earlier command included. */
  readonly elapsedMs: number;
  readonly failingLba?: number;
  readonly ata?: { readonly status: number; readonly error: number };
  readonly sense?: { readonly key: number; readonly asc: number; readonly ascq: number };
}

interface Request {
  readonly lba: number;
  readonly count: number;
}

const faultCodes = {
  // ACS-3 clause 6: status DRDY | DSC | ERR with UNC, IDNF or ABRT; sense as a bridge gives it.
  uncorrectable: { ata: { status: 0x51, error: 0x40 }, sense: { key: 3, asc: 0x11, ascq: 0 } },
  'id-not-found': { ata: { status: 0x51, error: 0x10 }, sense: { key: 3, asc: 0x14, ascq: 1 } },
  abort: { ata: { status: 0x51, error: 0x04 }, sense: { key: 0xb, asc: 0, ascq: 0 } },
  'beyond-capacity': {
    ata: { status: 0x51, error: 0x10 },
    sense: { key: 5, asc: 0x21, ascq: 0 },
  },
} as const;

/** Why a read ended before its last sector. */
type Stop =
  | { readonly kind: 'silent' }
  | { readonly kind: 'gone' }
  | {
      readonly kind: 'fault';
      readonly codes: (typeof faultCodes)[keyof typeof faultCodes];
      readonly reportsLba: boolean;
    };

/** What the faults on the way did to a read. */
interface Walk {
  goodCount: number;
  extraMs: number;
  stop: Stop | undefined;
  /** Created when the first is found: most reads have none. */
  wrong: WrongSector[] | undefined;
}

interface WrongSector {
  readonly physical: number;
  readonly row: PlacedRow;
  readonly fault: FaultOf<'wrong'>;
  readonly attempt: number;
}

/** A hung drive that answers at all does so at once. */
const hungReplyMs = 2;
/** It does not even try. */
const lockedReplyMs = 1;
/** Until the loss of the link shows. */
const vanishMs = 100;
/** How far damage looks for a sector that is not bad yet. */
const spreadSearchMax = 64;
const nothing = new Uint8Array(0);

/** Carries out one READ DMA EXT. A command that is sent while the drive is busy starts when it is
 * free. */
export function read(state: DriveState, request: Request, nowMs: number): DriveRead {
  if (!state.poweredOn || state.gone) return ended('gone', 0);
  state.counters.reads++;
  if (state.hang || state.spinUpFailed) return hungReply(state);
  if (state.scenario.identity.locked) return lockedReply(state);
  warm(state, nowMs, 'idle');
  if (state.heads === 'standby') spinUp(state, Math.max(nowMs, state.busyUntilMs));
  state.heads = 'loaded';
  const startMs = Math.max(nowMs, state.busyUntilMs);
  const { lba, count } = request;
  const capacity = aliasOf(state)?.sectorCount ?? state.scenario.sectorCount;
  if (lba + count > capacity) {
    return finish(state, request, nowMs, startMs, {
      goodCount: 0,
      extraMs: 0,
      stop: { kind: 'fault', codes: faultCodes['beyond-capacity'], reportsLba: false },
      wrong: undefined,
    });
  }
  if (state.stall && startMs >= state.stall.untilMs) state.stall = undefined;
  noticePause(state, startMs);
  const walk = walkPlatters(state, request, startMs);
  if (state.stall) {
    const topic = faultTopic(state.stall.index, 'duration');
    const { readMs } = state.stall.fault;
    walk.extraMs += drawFrom(readMs, state.scenario.seed, topic, state.counters.reads);
  }
  state.readsSincePowerOn++;
  countSectors(state, request, walk);
  return finish(state, request, nowMs, startMs, walk);
}

/** Reads that follow each other through an extent. */
export interface Stride {
  readonly lba: number;
  /** Whole reads of `size`. */
  readonly count: number;
  /** Sectors of each read. */
  readonly size: number;
  readonly forward: boolean;
  /** No read takes longer than this. */
  readonly readMsMax: number;
  /** None begins at or after this time. */
  readonly endMs: number;
}

/** What became of a stride: so many reads, all good. */
export interface StrideResult {
  readonly readCount: number;
  readonly elapsedMs: number;
}

const noStride: StrideResult = { readCount: 0, elapsedMs: 0 };

/** Carries out as many reads of a stride as go well, exactly as `read` would one by one, but in a fraction of
 * the time. Only where no fault is near and nothing but the reads counts; else none, and `read` is the way. */
export function readStride(state: DriveState, stride: Stride, nowMs: number): StrideResult {
  if (!isPlain(state, nowMs) || isNearFault(state, stride)) return noStride;
  const { mechanics, lookAhead, counters } = state;
  const { size, forward, readMsMax, endMs } = stride;
  const total = stride.count / size;
  const step = forward ? size : -size;
  let lba = forward ? stride.lba : stride.lba + stride.count - size;
  let atMs = Math.max(nowMs, state.busyUntilMs);
  let readCount = 0;
  for (; readCount < total && atMs < endMs; readCount++) {
    const serviceMs =
      mechanics.approachMs(state.positionLba, lba, lookAhead) + mechanics.transferMs(lba, size);
    if (atMs + serviceMs - atMs > readMsMax) break;
    counters.travelSectors += Math.abs(lba - state.positionLba) + size;
    state.positionLba = lba + size;
    // As the caller adds it up, to the last bit.
    atMs += atMs + serviceMs - atMs;
    lba += step;
  }
  counters.reads += readCount;
  state.readsSincePowerOn += readCount;
  if (readCount === 0) return noStride;
  state.busyUntilMs = atMs;
  warm(state, atMs, 'read');
  return { readCount, elapsedMs: atMs - nowMs };
}

/** A drive that is ready and well, and whose reads leave nothing behind but that they happened. */
function isPlain(state: DriveState, nowMs: number): boolean {
  const { gone, hang, stall, media, heads, calibrated, grown, aliases, rows } = state;
  if (!state.poweredOn || state.spinUpFailed || gone || hang || stall) return false;
  if (state.scenario.identity.locked) return false;
  if (media || heads !== 'loaded' || !calibrated) return false;
  // A sum of times may miss by its last bit.
  if (state.busyUntilMs - nowMs > 1e-3) return false;
  return (
    grown.size === 0 &&
    aliases.length === 0 &&
    rows.every(({ fault }) => fault.pauseMs === undefined)
  );
}

function isNearFault({ rows, ratio, scenario }: DriveState, { lba, count }: Stride): boolean {
  if (lba + count > scenario.sectorCount) return true;
  const from = Math.floor(lba / ratio);
  const end = Math.ceil((lba + count) / ratio);
  return rows.some((row) => row.meets(from, end));
}

function ended(outcome: 'silent' | 'gone', elapsedMs: number): DriveRead {
  return { outcome, goodCount: 0, data: nothing, elapsedMs };
}

function hungReply(state: DriveState): DriveRead {
  state.counters.failingReads++;
  if (state.hang?.answering !== 'error') return ended('silent', Number.POSITIVE_INFINITY);
  const { ata, sense } = faultCodes.abort;
  return { outcome: 'fault', goodCount: 0, data: nothing, elapsedMs: hungReplyMs, ata, sense };
}

/** A drive with a password aborts reads at once (ACS-3, Security feature set). */
function lockedReply(state: DriveState): DriveRead {
  state.counters.failingReads++;
  const { ata, sense } = faultCodes.abort;
  return { outcome: 'fault', goodCount: 0, data: nothing, elapsedMs: lockedReplyMs, ata, sense };
}

/** Passes over the physical sectors of a request until a fault stops it. */
function walkPlatters(state: DriveState, { lba, count }: Request, startMs: number): Walk {
  const walk: Walk = { goodCount: count, extraMs: 0, stop: undefined, wrong: undefined };
  const from = Math.floor(lba / state.ratio);
  const end = Math.ceil((lba + count) / state.ratio);
  const rows = rowsMet(state, from, end, startMs);
  if (rows.length === 0 && state.grown.size === 0) return walk;
  for (let physical = from; physical < end; physical++) {
    for (const row of rows) {
      if (row.covers(physical)) touch(state, row, physical, startMs, walk);
      if (walk.stop) break;
    }
    const grown = walk.stop ? undefined : state.grown.get(physical);
    if (grown) touch(state, grown, physical, startMs, walk);
    if (walk.stop) {
      walk.goodCount = Math.max(0, physical * state.ratio - lba);
      break;
    }
  }
  return walk;
}

const noRows: readonly PlacedRow[] = [];

function rowsMet(
  state: DriveState,
  from: number,
  end: number,
  startMs: number,
): readonly PlacedRow[] {
  let met: PlacedRow[] | undefined;
  for (const row of state.rows) {
    if (!row.meets(from, end) || !isArmed(state, row, startMs)) continue;
    met ??= [];
    met.push(row);
  }
  return met ?? noRows;
}

function isArmed(state: DriveState, { fault, index }: PlacedRow, nowMs: number): boolean {
  if (state.readsSincePowerOn < (state.armedAtReads[index] as number)) return false;
  if (nowMs < (state.armedAtMs[index] as number)) return false;
  const timesMax = 'times' in fault ? fault.times : undefined;
  return timesMax === undefined || (state.firings[index] as number) < timesMax;
}

/** Notes that a row has struck, and when it may again. */
function fire(state: DriveState, { fault, index }: PlacedRow, nowMs: number): void {
  const firing = (state.firings[index] as number) + 1;
  state.firings[index] = firing;
  const drawn = state.counters.powerOns * 65_536 + firing;
  const topic = faultTopic(index, 'threshold');
  const pauseReads = drawFrom(fault.afterReads ?? 0, state.scenario.seed, topic, drawn);
  state.armedAtReads[index] = state.readsSincePowerOn + pauseReads;
  state.armedAtMs[index] = nowMs + (fault.afterMs ?? 0);
}

function touch(
  state: DriveState,
  row: PlacedRow,
  physical: number,
  nowMs: number,
  walk: Walk,
): void {
  const { fault } = row;
  switch (fault.kind) {
    case 'slow':
      walk.extraMs += fault.extraMs;
      return;
    case 'bad':
      touchBad(state, row, fault, physical, walk);
      return;
    case 'wrong':
      touchWrong(state, row, fault, physical, walk);
      return;
    case 'stall':
      if (state.stall) return;
      fire(state, row, nowMs);
      state.stall = { fault, index: row.index, untilMs: nowMs + fault.lastsMs };
      return;
    case 'hang':
      fire(state, row, nowMs);
      state.hang = fault;
      if (fault.answering === 'nothing') walk.stop = { kind: 'silent' };
      else walk.stop = { kind: 'fault', codes: faultCodes.abort, reportsLba: false };
      walk.extraMs += fault.answering === 'nothing' ? 0 : fault.errorMs;
      return;
    case 'vanish':
      fire(state, row, nowMs);
      state.gone = fault.returns;
      walk.stop = { kind: 'gone' };
      walk.extraMs += vanishMs;
      return;
  }
}

function touchBad(
  state: DriveState,
  row: PlacedRow,
  fault: FaultOf<'bad'>,
  physical: number,
  walk: Walk,
): void {
  const { seed } = state.scenario;
  const attempt =
    fault.readChance > 0 || fault.spreadChance > 0 ? nextTry(state, row, physical) : 0;
  if (fraction(seed, faultTopic(row.index, 'try'), physical, attempt) < fault.readChance) {
    // The drive's own retries got it: dear, but not as dear as giving up.
    walk.extraMs += fault.errorMs / 2;
    return;
  }
  walk.extraMs += fault.errorMs;
  walk.stop = {
    kind: 'fault',
    codes: faultCodes[fault.error],
    reportsLba: fault.reportsLba && fault.error !== 'abort',
  };
  const topic = faultTopic(row.index, 'spread');
  if (fraction(seed, topic, physical, attempt) < fault.spreadChance) {
    spread(state, row, physical, hash(seed, topic, physical, -attempt) & 1 ? 1 : -1);
  }
}

/** The nearest physical sector on one side that is still good goes bad as well. */
function spread(state: DriveState, row: PlacedRow, physical: number, step: 1 | -1): void {
  const { sectorCount } = state.scenario;
  for (let distance = 1; distance <= spreadSearchMax; distance++) {
    const neighbour = physical + step * distance;
    if (neighbour < 0 || neighbour * state.ratio >= sectorCount) return;
    if (row.covers(neighbour) || state.grown.has(neighbour)) continue;
    state.grown.set(neighbour, row);
    return;
  }
}

function touchWrong(
  state: DriveState,
  row: PlacedRow,
  fault: FaultOf<'wrong'>,
  physical: number,
  walk: Walk,
): void {
  const attempt = nextTry(state, row, physical);
  const drawn = fraction(state.scenario.seed, faultTopic(row.index, 'try'), physical, attempt);
  if (drawn >= fault.wrongChance) return;
  walk.wrong ??= [];
  walk.wrong.push({ physical, row, fault, attempt });
  // Zeros do not come from the platters: faster than media is how they give themselves away.
  if (fault.data === 'zeros') {
    walk.extraMs -= state.mechanics.transferMs(physical * state.ratio, state.ratio);
  }
}

function nextTry(state: DriveState, row: PlacedRow, physical: number): number {
  const key = physical * state.scenario.faults.length + row.index;
  const attempt = (state.tries.get(key) ?? 0) + 1;
  state.tries.set(key, attempt);
  return attempt;
}

function countSectors(state: DriveState, { lba, count }: Request, walk: Walk): void {
  const { sectorReads } = state.counters;
  if (!sectorReads) return;
  const triedCount = walk.stop ? Math.min(count, walk.goodCount + state.ratio) : count;
  for (let at = lba; at < lba + triedCount; at++) {
    const reads = sectorReads[at] as number;
    if (reads < 0xffff) sectorReads[at] = reads + 1;
  }
}

/** A pause lets some drives come to themselves: what counts reads starts anew. */
function noticePause(state: DriveState, startMs: number): void {
  const pausedMs = startMs - state.busyUntilMs;
  for (const { fault, index } of state.rows) {
    if (fault.pauseMs === undefined || pausedMs < fault.pauseMs) continue;
    const drawn = state.counters.powerOns * 65_536 + 32_768 + ++state.pauses;
    const topic = faultTopic(index, 'threshold');
    const moreReads = drawFrom(fault.afterReads ?? 0, state.scenario.seed, topic, drawn);
    state.armedAtReads[index] = state.readsSincePowerOn + moreReads;
  }
}

/** Never answers, until its power is cut. */
const clicking: FaultOf<'hang'> = {
  kind: 'hang',
  until: 'power-cycle',
  answering: 'nothing',
  errorMs: 0,
};

/** After so many errors the heads no longer find their tracks. */
function countTowardsClicks(state: DriveState): void {
  const { faults, seed } = state.scenario;
  const index = faults.findIndex(({ kind }) => kind === 'clicks');
  const row = faults[index];
  if (row?.kind !== 'clicks' || state.clicked >= (row.times ?? Number.POSITIVE_INFINITY)) return;
  state.errorsSinceClicks++;
  const topic = faultTopic(index, 'threshold');
  if (state.errorsSinceClicks < drawFrom(row.afterErrors, seed, topic, state.clicked)) return;
  state.clicked++;
  state.errorsSinceClicks = 0;
  state.clicksLeft = row.fails;
  state.clicksRestMs = row.restMs;
  state.hang = clicking;
}

/** The time that a read took and what it brings. */
function finish(
  state: DriveState,
  request: Request,
  nowMs: number,
  startMs: number,
  walk: Walk,
): DriveRead {
  const { mechanics, scenario, counters } = state;
  const { lba } = request;
  const { stop } = walk;
  if (stop) counters.failingReads++;
  if (stop?.kind === 'fault') countTowardsClicks(state);
  const serviceMs =
    mechanics.approachMs(state.positionLba, lba, state.lookAhead) +
    Math.max(0, mechanics.transferMs(lba, walk.goodCount) + walk.extraMs) +
    (state.calibrated ? 0 : scenario.mechanics.recalibrationMs);
  state.calibrated = true;
  counters.travelSectors += Math.abs(lba - state.positionLba) + walk.goodCount;
  state.positionLba = lba + walk.goodCount;
  state.busyUntilMs = startMs + serviceMs;
  warm(state, state.busyUntilMs, 'read');
  const elapsedMs = state.busyUntilMs - nowMs;
  if (!stop) {
    const data = dataOf(state, request.lba, walk);
    return { outcome: 'good', goodCount: walk.goodCount, data, elapsedMs };
  }
  if (stop.kind === 'gone') return ended('gone', elapsedMs);
  if (stop.kind === 'silent') return ended('silent', Number.POSITIVE_INFINITY);
  const { ata, sense } = stop.codes;
  const told = { outcome: 'fault', elapsedMs, ata, sense } as const;
  if (!stop.reportsLba) return { ...told, goodCount: 0, data: nothing };
  const data = dataOf(state, lba, walk);
  return { ...told, goodCount: walk.goodCount, data, failingLba: lba + walk.goodCount };
}

function dataOf(state: DriveState, lba: number, walk: Walk): Uint8Array {
  const { seed, sectorBytes } = state.scenario;
  if (walk.goodCount === 0 || !state.media) return nothing;
  const data = new Uint8Array(walk.goodCount * sectorBytes);
  state.media.read(lba, data);
  for (const { physical, row, fault, attempt } of walk.wrong ?? []) {
    const from = Math.max(0, physical * state.ratio - lba);
    const end = Math.min(walk.goodCount, (physical + 1) * state.ratio - lba);
    for (let index = from; index < end; index++) {
      const sector = data.subarray(index * sectorBytes, (index + 1) * sectorBytes);
      if (fault.data === 'zeros') sector.fill(0);
      else if (fault.data === 'stale') sector.set(state.lastSector);
      else fillGarbage(sector, hash(seed, faultTopic(row.index, 'garbage'), lba + index, attempt));
    }
  }
  state.lastSector.set(data.subarray(data.length - sectorBytes));
  return data;
}
