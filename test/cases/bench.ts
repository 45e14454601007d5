import { createResponder } from '../../firmware-protocol/responder.js';
import { createSimulatedDrive, type SimulatedDrive } from '../../hardware-sim/drive.js';
import { placeFaults } from '../../hardware-sim/faults.js';
import { createSimulatedImager, type SimulatedImager } from '../../hardware-sim/imager.js';
import { patternSector } from '../../hardware-sim/media.js';
import { linkPair } from '../../hardware-sim/noisy-link.js';
import { loadScenario, type Scenario } from '../../hardware-sim/scenario.js';
import { createVirtualClock, type VirtualClock } from '../../hardware-sim/virtual-clock.js';
import { openImager } from '../../src/drive/imager.js';
import { bringUp } from '../../src/job/bring-up.js';
import { type Case, openCase } from '../../src/job/case.js';
import { casePaths, findCase } from '../../src/job/case-files.js';
import { physicalCountOf } from '../../src/job/case-state.js';
import type { JobEvent } from '../../src/job/events.js';
import { type JobEnd, runJob } from '../../src/job/job.js';
import { chooseKind, detectorFor, guardSilence } from '../../src/job/kind.js';
import { parseSnapshot } from '../../src/job/snapshot.js';
import type { JobState } from '../../src/job/state.js';
import { statuses } from '../../src/map/status.js';
import type { Pass } from '../../src/plan/pass.js';
import { kindDefaults, rowsOf } from '../../src/plan/presets.js';
import { type DriveKind, troublePolicies } from '../../src/power/policy.js';
import { loadPreset } from '../../src/preset-files.js';
import { memoryFiles } from '../image/memory-files.js';

/** Changes the rows of a job's preset. */
export type Rows = (rows: readonly Pass[]) => readonly Pass[];

export interface RunOptions {
  readonly kind?: DriveKind;
  /** Else the one for the kind of drive. */
  readonly preset?: string;
  readonly rows?: Rows;
  readonly retries?: number;
  readonly sameDrive?: boolean;
  readonly trustData?: boolean;
  /** Percent of what was read that is read again in the end; else what the kind asks for. */
  readonly comparePercent?: number;
  /** From so many reads on nothing passes the link any more, in either direction. */
  readonly mutedAfter?: number;
  readonly interruptAfter?: number;
}

export interface RunOutcome {
  readonly end: JobEnd;
  readonly state: JobState;
  readonly events: readonly JobEvent[];
  readonly kind: DriveKind;
  readonly notices: readonly string[];
}

/** A drive on an imager on a table: it stays there while jobs come and go. */
export interface Bench {
  readonly drive: SimulatedDrive;
  readonly imager: SimulatedImager;
  readonly clock: VirtualClock;
  readonly files: ReturnType<typeof memoryFiles>;
  /** One run of the command, by the code that the command line calls. */
  run(options?: RunOptions): Promise<RunOutcome>;
  /** What the job had noted when its last run threw. */
  lastEvents(): readonly JobEvent[];
}

/** Puts a bundled scenario, or one made of it, on a bench of its own. */
export function benchWith(scenario: string | Scenario): Bench {
  const clock = createVirtualClock();
  const files = memoryFiles();
  const drive = createSimulatedDrive(
    typeof scenario === 'string' ? loadScenario(scenario) : scenario,
  );
  const imager = createSimulatedImager(drive, clock);
  const responder = createResponder(imager, clock);
  const bench = { drive, imager, clock, files };
  let events: JobEvent[] = [];
  let session = 0;
  return {
    ...bench,
    lastEvents: () => events,
    run(options = {}) {
      events = [];
      const [near, far] = linkPair(clock, { seed: 1, noise: [] });
      responder.attach(far);
      return clock
        .run(runOnce(bench, near, ++session, options, events))
        .finally(() => near.close());
    },
  };
}

async function runOnce(
  { clock, files, drive }: Pick<Bench, 'clock' | 'files' | 'drive'>,
  link: Parameters<typeof openImager>[0],
  session: number,
  options: RunOptions,
  events: JobEvent[],
): Promise<RunOutcome> {
  const interrupt = new AbortController();
  const mutable = muteable(link);
  const imager = await openImager(mutable.link, clock, { session });
  const powers = imager.power ? [imager.power] : [];
  const policy = troublePolicies[options.kind ?? 'hdd'];
  await guardSilence(imager, options.kind ?? 'hdd');
  const found = await findCase(files, casePaths('case.img'), false);
  const identity = await bringUp(imager, powers, policy, clock, interrupt.signal);
  const saved = parseSnapshot(found.saved?.state)?.driveKind;
  const kind = chooseKind({ asked: options.kind, saved, identity });
  await guardSilence(imager, kind);
  const rows = rowsOf(loadPreset(options.preset ?? kindDefaults[kind].preset), {
    sectorCount: identity.sectorCount,
    sectorBytes: identity.sectorBytes,
    physicalCount: physicalCountOf(identity),
    kind,
    retries: options.retries ?? 0,
  });
  const rescue: Case = await openCase({
    found,
    drive: identity,
    driveKind: kind,
    passes: (options.rows ?? ((given) => given))(rows),
    sameDrive: options.sameDrive ?? false,
    force: false,
    version: 'test',
    clock,
  });
  const { compare } = rescue.state;
  compare.percent = options.comparePercent ?? compare.percent;
  const detector = detectorFor(kind, identity, true, rescue.state.mediaRate);
  try {
    const end = await runJob(
      {
        drive: imager,
        powers,
        image: rescue.image,
        recorder: rescue.recorder,
        clock,
        identity,
        resumed: rescue.resumed,
        isTrusted: options.trustData ?? false,
        ...(detector && !options.trustData && { detector }),
        names: { drive: 'simulated', image: 'case.img' },
        onEvent(event) {
          events.push(event);
          const { reads } = drive.counters;
          if (options.mutedAfter && reads >= options.mutedAfter) mutable.mute();
          if (options.interruptAfter && reads >= options.interruptAfter)
            interrupt.abort(new Error('interrupted'));
        },
      },
      rescue.state,
      interrupt.signal,
    );
    return { end, state: rescue.state, events, kind, notices: rescue.notices };
  } finally {
    await rescue.close();
    mutable.link.close();
  }
}

/** A link that can fall silent without closing, like a laptop whose lid is shut. */
function muteable(link: Parameters<typeof openImager>[0]) {
  let muted = false;
  return {
    mute: () => {
      muted = true;
    },
    link: {
      ...link,
      send: (bytes: Uint8Array) => {
        if (!muted) link.send(bytes);
      },
      onMessage: (handler: (message: Uint8Array) => void) =>
        link.onMessage((message) => {
          if (!muted) handler(message);
        }),
    },
  };
}

/** What the map claims and the image does not hold: `finished` with other bytes than the drive's, and `bad`
 * on a sector that `lost` does not name. */
export async function falseClaims(
  { drive, files }: Pick<Bench, 'drive' | 'files'>,
  { state }: RunOutcome,
  lost: (lba: number) => boolean,
): Promise<{ wrong: number[]; falselyBad: number[] }> {
  const { seed, sectorBytes, sectorCount } = drive.scenario;
  const file = await files.open('case.img', { readOnly: true });
  const sector = new Uint8Array(sectorBytes);
  const wrong: number[] = [];
  const falselyBad: number[] = [];
  for (let lba = 0; lba < sectorCount; lba++) {
    const status = state.plan.map.valueAt(lba);
    if (status === statuses['bad-sector'] && !lost(lba)) falselyBad.push(lba);
    if (status !== statuses.finished) continue;
    await file.read(sector, lba * sectorBytes);
    if (Buffer.compare(sector, patternSector(seed, lba, sectorBytes)) !== 0) wrong.push(lba);
  }
  await file.close();
  return { wrong, falselyBad };
}

/** Sectors that a scenario's rows of bad sectors cover: those that no read can give. */
export function deadSectors(drive: SimulatedDrive): (lba: number) => boolean {
  const rows = placeFaults(
    { ...drive.scenario, faults: drive.scenario.faults },
    drive.mechanics.headOf,
  ).filter(({ fault }) => fault.kind === 'bad' || fault.kind === 'vanish');
  const ratio = drive.scenario.physicalSectorBytes / drive.scenario.sectorBytes;
  return (lba) => rows.some((row) => row.covers(Math.floor(lba / ratio)));
}

export const count = (outcome: RunOutcome, status: keyof typeof statuses): number =>
  outcome.state.plan.map.countOf(statuses[status]);

export const eventsOf = <Kind extends JobEvent['kind']>(
  events: readonly JobEvent[],
  kind: Kind,
): Extract<JobEvent, { kind: Kind }>[] =>
  events.filter((event): event is Extract<JobEvent, { kind: Kind }> => event.kind === kind);

/** Whether the drive is without power now. */
export const isOff = ({ drive, clock }: Bench): boolean =>
  drive.condition(clock.now()).kind === 'off';
