// Rehearses presets on our own simulated drive and scores them by what the drive really was.
import { createSimulatedDrive } from '../dist/hardware-sim/drive.js';
import { physicalRatio } from '../dist/hardware-sim/faults.js';
import { rehearsedDrive } from '../dist/src/cli/rehearsed-drive.js';
import { rehearse } from '../dist/src/job/rehearsal.js';
import { createJobState } from '../dist/src/job/state.js';
import { statuses } from '../dist/src/map/status.js';
import { rowsOf } from '../dist/src/plan/presets.js';
import { createPlanState } from '../dist/src/plan/state.js';
import { troublePolicies } from '../dist/src/power/policy.js';
import { loadPreset } from '../dist/src/preset-files.js';

const shares = [0.5, 0.9, 0.99, 0.999, 0.9999];

/** What a drive has lost for good, in physical sectors, and how many sectors the others hold. */
export function truthOf(scenario, damage) {
  const lostCount = createSimulatedDrive(scenario, { media: 'none', damage }).lostCount();
  return {
    lostPhysicals: Math.ceil(lostCount / physicalRatio(scenario)),
    readable: scenario.sectorCount - lostCount,
  };
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

/** The drive as a path shows it. ddrescue never asks why a read failed: for its rows every error is the medium's
 * (`asksWhy` false), so that no reference read is added to what it would do. */
function seenThrough({ names }, asksWhy, drive, count) {
  const behindImager = rehearsedDrive(drive);
  return {
    ...behindImager,
    read(extent, timeoutMs, nowMs) {
      const result = behindImager.read(extent, timeoutMs, nowMs);
      if (result.outcome === 'good') return result;
      count.failing++;
      if (result.outcome !== 'fault') return result;
      const cause = asksWhy ? 'unexplained' : 'medium';
      if (!names) return { outcome: 'fault', goodCount: 0, elapsedMs: result.elapsedMs, cause };
      return asksWhy ? result : { ...result, cause };
    },
    powerCycle(offMs, nowMs) {
      count.powerCycles++;
      behindImager.powerCycle(offMs, nowMs);
    },
  };
}

/** Thrown out of a rehearsal that was long enough. */
const enough = new Error('enough');

function rehearsedUntilEnough(state, parts) {
  try {
    return rehearse(state, parts);
  } catch (error) {
    if (error !== enough) throw error;
    return { how: 'ended', why: 'long enough' };
  }
}

/** What a Linux kernel gives one command of a disk; ddrescue has no limit of its own. */
const kernelLimitMs = 30_000;

/** Runs one preset over one simulated drive. Times are in seconds from the first moment that the drive is ready.
 * `onEvent(event, state, soFar)` returning true ends it. `rowFilter` leaves rows of the preset out. `peerAsksWhy`: also for
 * ddrescue's rows the cause of an error is found out, and the power cycled where the drive hangs. */
export function rehearseOn(scenario, truth, presetName, path, options = {}) {
  const { onEvent, rowFilter = () => true, durationMaxMs, peerAsksWhy = false, damage } = options;
  const drive = createSimulatedDrive(scenario, { media: 'none', damage });
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
    drive: seenThrough(path, !isPeer || peerAsksWhy, drive, count),
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
      if (onEvent?.(event, after, count)) throw enough;
    },
  };
  const end = rehearsedUntilEnough(state, parts);
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
