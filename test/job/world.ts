import { createResponder } from '../../firmware-protocol/responder.js';
import { createSimulatedDrive, type SimulatedDrive } from '../../hardware-sim/drive.js';
import { createSimulatedImager } from '../../hardware-sim/imager.js';
import { patternSector } from '../../hardware-sim/media.js';
import { linkPair, type NoiseRow } from '../../hardware-sim/noisy-link.js';
import { defineScenario } from '../../hardware-sim/scenario.js';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import { createVirtualClock, type VirtualClock } from '../../hardware-sim/virtual-clock.js';
import type { Drive } from '../../src/drive/drive.js';
import { openImager } from '../../src/drive/imager.js';
import type { FileLayer } from '../../src/image/file-layer.js';
import type { ImageForm } from '../../src/image/image-form.js';
import { bringUp } from '../../src/job/bring-up.js';
import { type Case, openCase } from '../../src/job/case.js';
import type { CaseData } from '../../src/job/case-data.js';
import { casePaths, findCase } from '../../src/job/case-files.js';
import type { JobControl } from '../../src/job/control.js';
import type { JobEvent } from '../../src/job/events.js';
import { type JobEnd, runJob } from '../../src/job/job.js';
import type { JobState } from '../../src/job/state.js';
import type { RunMap } from '../../src/map/run-map.js';
import { statuses } from '../../src/map/status.js';
import type { HeadMapData } from '../../src/plan/head-map-schema.js';
import type { Pass } from '../../src/plan/pass.js';
import { troublePolicies } from '../../src/power/policy.js';
import type { Power } from '../../src/power/power.js';
import { memoryFiles } from '../image/memory-files.js';
import { presetRows } from '../presets.js';

/** When a world's clock stands at 0. */
const wallStartMs = Date.UTC(2026, 0, 1);

export interface WorldOptions {
  readonly files?: FileLayer;
  /** A drive that has already lived, for a second run on it. */
  readonly drive?: SimulatedDrive;
  /** When this run begins: such a drive remembers times. */
  readonly startMs?: number;
  readonly noise?: readonly NoiseRow[];
  readonly retries?: number;
  /** Interrupts the job after so many reads. */
  readonly interruptAfter?: number;
  /** Changes the preset's rows. */
  readonly edit?: (rows: readonly Pass[]) => readonly Pass[];
  /** Stands between job and imager. */
  readonly wrap?: (drive: Drive) => Drive;
  /** Leaves the imager's own switch unused. */
  readonly noPower?: boolean;
  /** Switches of the job, in order; may be made of the imager's own. */
  readonly powers?: readonly Power[] | ((own: readonly Power[]) => readonly Power[]);
  /** The head map that this run is given. */
  readonly heads?: HeadMapData | null;
  /** Hashes what is read, in segments of so many sectors. */
  readonly segmentCount?: number;
  /** Percent that is read again in the end. */
  readonly comparePercent?: number;
  /** The domain of this run. */
  readonly scope?: RunMap;
  /** By which the job is changed while it runs. */
  readonly control?: JobControl;
  readonly onEvent?: (event: JobEvent, state: JobState) => void;
  /** What befalls line and imager once the drive was asked for so many reads: the plug is pulled and put
   * back, or the imager starts again, from its watchdog or after it was without power. */
  readonly troubles?: readonly {
    readonly afterReads: number;
    readonly kind: 'unplug' | 'watchdog' | 'powerOn';
  }[];
  /** Hands out what interrupts the job. */
  readonly interruptible?: (interrupt: () => void) => void;
  /** What the image is made of. */
  readonly form?: ImageForm;
  /** Hands out the world's clock. */
  readonly clocked?: (clock: VirtualClock) => void;
  /** What the command line would say of the case. */
  readonly caseData?: CaseData;
  /** A look at the case right after it was opened, before the first read of its own. */
  readonly opened?: (rescue: Case) => void;
}

export interface Outcome {
  readonly end: JobEnd;
  readonly state: JobState;
  readonly events: readonly JobEvent[];
  readonly drive: SimulatedDrive;
  readonly files: FileLayer;
  readonly elapsedMs: number;
}

/** Images a simulated drive through the protocol, over a link in memory, in virtual time: the production
 * job, case files, caller and responder, with only disk and time exchanged. */
export async function imageInWorld(
  input: ScenarioInput,
  options: WorldOptions = {},
): Promise<Outcome> {
  const clock = createVirtualClock(options.startMs ?? 0);
  options.clocked?.(clock);
  const files = options.files ?? memoryFiles();
  const drive = options.drive ?? createSimulatedDrive(defineScenario(input));
  drive.powerOff(clock.now());
  const device = createSimulatedImager(drive, clock);
  const responder = createResponder(device, clock);
  let links = 0;
  const open = () => {
    const seed = (input.seed ?? 1) + 7919 * links++;
    const [near, far] = linkPair(clock, { seed, noise: options.noise ?? [] });
    responder.attach(far);
    return near;
  };
  let near = open();
  const troubles = [...(options.troubles ?? [])];
  const strikeDue = () => {
    const next = troubles[0];
    if (!next || drive.counters.reads < next.afterReads) return;
    troubles.shift();
    if (next.kind === 'unplug') {
      near.close();
      return;
    }
    device.restart(next.kind);
    responder.forget();
  };
  const events: JobEvent[] = [];
  const interrupt = new AbortController();
  options.interruptible?.(() => interrupt.abort(new Error('interrupted')));
  const policy = troublePolicies.hdd;
  const powers = options.powers ?? ((own: readonly Power[]) => own);

  async function session(): Promise<Outcome> {
    const imager = await openImager(near, clock, {
      session: 7,
      relink: async () => {
        near = open();
        return near;
      },
    });
    const wrapped = options.wrap?.(imager) ?? imager;
    const own = imager.power && !options.noPower ? [imager.power] : [];
    const identity = await bringUp(
      wrapped,
      imager.power ? [imager.power] : [],
      policy,
      clock,
      interrupt.signal,
    );
    const rescue = await openCase({
      found: await findCase(
        files,
        casePaths('case.img'),
        false,
        {},
        options.form?.kind === 'target' ? 'target' : 'image',
      ),
      drive: identity,
      driveKind: 'hdd',
      passes: (options.edit ?? ((rows) => rows))(
        presetRows('standard', {
          sectorCount: identity.sectorCount,
          sectorBytes: identity.sectorBytes,
          retries: options.retries ?? 0,
        }),
      ),
      ...(options.scope && { scope: options.scope }),
      ...(options.form && { form: options.form }),
      ...(options.heads !== undefined && { heads: options.heads }),
      ...(options.caseData && { caseData: options.caseData }),
      ...(options.comparePercent !== undefined && { comparePercent: options.comparePercent }),
      ...(options.segmentCount && { hashed: true, segmentCount: options.segmentCount }),
      force: false,
      version: 'test',
      clock,
      wallMs: () => wallStartMs + clock.now(),
    });
    options.opened?.(rescue);
    const end = await runJob(
      {
        drive: wrapped,
        powers: typeof powers === 'function' ? powers(own) : powers,
        image: rescue.image,
        recorder: rescue.recorder,
        files: rescue,
        target: rescue.target,
        clock,
        identity,
        resumed: rescue.resumed,
        ...(options.heads !== undefined && { heads: options.heads }),
        names: { drive: 'simulated', image: 'case.img' },
        ...(options.control && { control: options.control }),
        onEvent: (event, state) => {
          events.push(event);
          strikeDue();
          options.onEvent?.(event, state);
          if (options.interruptAfter && state.totals.reads >= options.interruptAfter) {
            interrupt.abort(new Error('interrupted'));
          }
        },
      },
      rescue.state,
      interrupt.signal,
    );
    if (options.segmentCount) await rescue.listHashes(end.how === 'finished');
    await rescue.close();
    await imager.close();
    return { end, state: rescue.state, events, drive, files, elapsedMs: clock.now() };
  }

  return clock.run(session());
}

/** LBAs whose status or bytes are not what they must be: `lost` are the LBAs that no read can give. */
export async function falsehoods(
  outcome: Outcome,
  lost: (lba: number) => boolean,
): Promise<number[]> {
  const { state, files, drive } = outcome;
  const { seed, sectorBytes, sectorCount } = drive.scenario;
  const file = await files.open('case.img', { readOnly: true });
  const wrong: number[] = [];
  const sector = new Uint8Array(sectorBytes);
  for (let lba = 0; lba < sectorCount; lba++) {
    const status = state.plan.map.valueAt(lba);
    if (status !== (lost(lba) ? statuses['bad-sector'] : statuses.finished)) wrong.push(lba);
    if (status !== statuses.finished) continue;
    await file.read(sector, lba * sectorBytes);
    if (Buffer.compare(sector, patternSector(seed, lba, sectorBytes)) !== 0) wrong.push(lba);
  }
  await file.close();
  return wrong;
}

/** Kinds of the events that are decisions, in order. */
export function decisions(events: readonly JobEvent[]): string[] {
  return events
    .filter(
      (event) =>
        !['read', 'pass-started', 'pass-ended', 'classified', 'noticed'].includes(event.kind),
    )
    .map((event) => {
      if (event.kind === 'reset') return event.reset;
      if (event.kind === 'blamed') return `blamed ${event.on}`;
      return event.kind;
    });
}
