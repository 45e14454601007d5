// Rehearses presets on our own simulated drive and scores them by what the drive really was.
import { createSimulatedDrive } from '../dist/hardware-sim/drive.js';
import { physicalRatio, placeFaults } from '../dist/hardware-sim/faults.js';
import { createMechanics } from '../dist/hardware-sim/mechanics.js';
import { rehearse } from '../dist/src/job/rehearsal.js';
import { createJobState } from '../dist/src/job/state.js';
import { statuses } from '../dist/src/map/status.js';
import { rowsOf } from '../dist/src/plan/presets.js';
import { createPlanState } from '../dist/src/plan/state.js';
import { troublePolicies } from '../dist/src/power/policy.js';
import { loadPreset } from '../dist/src/preset-files.js';

const noData = { read() {}, close() {} };
const shares = [0.5, 0.9, 0.99, 0.999, 0.9999];

/** The physical sectors that no try can read, one byte each, and how many sectors the others hold. */
export function truthOf(scenario) {
  const { headOf } = createMechanics(scenario);
  const ratio = physicalRatio(scenario);
  const physicals = Math.ceil(scenario.sectorCount / ratio);
  const lost = new Uint8Array(physicals);
  const rows = placeFaults(scenario, headOf);
  for (const { fault, covers } of rows) {
    const never = fault.kind === 'hang' || (fault.kind === 'bad' && fault.readChance === 0);
    if (!never) continue;
    const [from, end] =
      fault.lba === undefined || fault.repeats
        ? [0, physicals]
        : [Math.floor(fault.lba / ratio), Math.ceil((fault.lba + fault.count) / ratio)];
    for (let physical = from; physical < end; physical++)
      if (!lost[physical] && covers(physical)) lost[physical] = 1;
  }
  let lostPhysicals = 0;
  let readable = scenario.sectorCount;
  for (let physical = 0; physical < physicals; physical++) {
    if (!lost[physical]) continue;
    lostPhysicals++;
    readable -= Math.min(ratio, scenario.sectorCount - physical * ratio);
  }
  return { lost, lostPhysicals, readable };
}

/** How a drive is reached. `imager`: it names the failing LBA, resets and power are at hand. `device`: as a file
 * or block device, an error is an error, nothing more. */
export const paths = {
  imager: {
    names: true,
    kind: 'hdd',
    reach: { resets: new Set(['abort', 'soft', 'hard']), power: true },
  },
  device: { names: false, kind: 'file', reach: { resets: new Set(), power: true } },
};

/** What a read of the simulated drive looks like to a job. ddrescue never asks why a read failed: for its rows
 * every error is the medium's (`asksWhy` false), so that no reference read is added to what it would do. */
function rehearsedDrive(drive, { names }, asksWhy, count) {
  return {
    read(extent, timeoutMs, nowMs) {
      const result = drive.read(extent, nowMs);
      const { outcome, elapsedMs, failingLba, sense } = result;
      if (outcome === 'good' && elapsedMs <= timeoutMs)
        return { outcome, goodCount: extent.count, elapsedMs };
      count.failing++;
      if (outcome === 'gone') return { outcome, goodCount: 0, elapsedMs };
      if (elapsedMs > timeoutMs) return { outcome: 'timeout', goodCount: 0, elapsedMs: timeoutMs };
      const isMedium = names ? sense?.key === 3 : !asksWhy;
      return {
        outcome,
        goodCount: names ? result.goodCount : 0,
        elapsedMs,
        cause: isMedium ? 'medium' : 'unexplained',
        ...(names && failingLba !== undefined && { faultLba: failingLba }),
      };
    },
    reset(kind, nowMs) {
      if (kind === 'soft') drive.softReset(nowMs);
      else if (kind === 'hard') drive.hardReset(nowMs);
    },
    powerCycle(offMs, nowMs) {
      count.powerCycles++;
      drive.powerOff(nowMs);
      drive.powerOn(nowMs + offMs);
    },
    powerOff: (nowMs) => drive.powerOff(nowMs),
    park(nowMs, kind = 'standby') {
      if (kind === 'standby') drive.standby(nowMs);
      else drive.unload(nowMs);
    },
    identify: (nowMs) => drive.identify(nowMs),
    readyAtMs(nowMs) {
      const { kind, untilMs } = drive.condition(nowMs);
      if (kind === 'ready') return nowMs;
      return kind === 'spinning-up' || kind === 'busy' ? untilMs : Number.POSITIVE_INFINITY;
    },
  };
}

/** What a Linux kernel gives one command of a disk; ddrescue has no limit of its own. */
const kernelLimitMs = 30_000;

/** Runs one preset over one simulated drive. Times are in seconds from the first moment that the drive is ready.
 * `onEvent(event, state, soFar)` returning true ends it. `rowFilter` leaves rows of the preset out. `peerAsksWhy`: also for
 * ddrescue's rows the cause of an error is found out, and the power cycled where the drive hangs. */
export function rehearseOn(scenario, truth, presetName, path, options = {}) {
  const { onEvent, rowFilter = () => true, durationMaxMs, peerAsksWhy = false } = options;
  const drive = createSimulatedDrive(scenario, { media: noData });
  drive.powerOn(0);
  const startMs = drive.condition(0).untilMs;
  const physicalCount = physicalRatio(scenario);
  const { sectorCount, sectorBytes } = scenario;
  const isPeer = presetName === 'ddrescue';
  const facts = { sectorCount, sectorBytes, physicalCount, kind: path.kind };
  const limits = isPeer ? { readTimeoutMs: kernelLimitMs } : {};
  const passes = rowsOf(loadPreset(presetName), { ...facts, ...limits }).filter(rowFilter);
  const state = createJobState(
    createPlanState({ sectorCount, sectorBytes, physicalCount, passes }),
    troublePolicies[path.kind],
  );
  state.atMs = startMs;
  const count = { reads: 0, failing: 0, powerCycles: 0 };
  const until = {};
  const secondsAt = (atMs) => (atMs - startMs) / 1000;
  const parts = {
    drive: rehearsedDrive(drive, path, !isPeer || peerAsksWhy, count),
    identity: drive.identify(startMs),
    reach: path.reach,
    durationMaxMs: durationMaxMs === undefined ? undefined : startMs + durationMaxMs,
    onEvent(event, after) {
      if (event.kind === 'read') {
        count.reads++;
        const finished = after.plan.map.countOf(statuses.finished);
        for (const share of shares)
          if (!until[share] && finished >= share * truth.readable)
            until[share] = { seconds: secondsAt(event.atMs), failing: count.failing };
      }
      if (onEvent?.(event, after, count)) parts.durationMaxMs = 0;
    },
  };
  const end = rehearse(state, parts);
  return {
    how: end.how,
    why: end.why,
    ...count,
    seconds: secondsAt(state.atMs),
    delivered: state.plan.map.countOf(statuses.finished) / truth.readable,
    badPhysicals: state.plan.map.countOf(statuses['bad-sector']) / physicalCount,
    leftCount:
      sectorCount -
      state.plan.map.countOf(statuses.finished) -
      state.plan.map.countOf(statuses['bad-sector']),
    until,
    state,
  };
}
