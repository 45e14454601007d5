/** The judgement of first contact: what was found of a drive, little by little, decides whether it is imaged, by
 * which preset, or left alone. Pure: what was measured comes in, a verdict with its reasons goes out. */

import { type DriveFacts, kindDefaults } from './presets.js';

/** What a rail drew while the drive started. */
export interface RailCurrent {
  readonly volts: 5 | 12;
  readonly peakMilliamps: number;
  /** When the drive was ready and had settled, or was given up. */
  readonly lastMilliamps: number;
}

export interface SpinUpFinding {
  readonly isReady: boolean;
  /** How often the power was switched on for it; 0 where it was on already. */
  readonly powerOns: number;
  /** Cycles by switches that may only reset a port. */
  readonly portResets?: number;
  /** From the last power-on until it was ready; absent where it was on already, or never became ready. */
  readonly readyAfterMs?: number;
  /** How long it was waited for after each power-on. */
  readonly limitMs: number;
  /** The imager cut the power because of over-current. */
  readonly isTripped: boolean;
  /** Empty where nothing measures. */
  readonly rails: readonly RailCurrent[];
  /** A switch that can hold the power off does so when the drive does not become ready. */
  readonly isLeftOff?: boolean;
  /** Rest that is due before another power-on; absent where the policy allows none. */
  readonly restMs?: number;
}

/** A capacity that was promised. */
export interface Label {
  readonly bytes: number;
  /** Who says so: the user, or the drive's model. */
  readonly from: 'user' | 'model';
}

export interface CapacityFinding {
  readonly bytes: number;
  readonly label?: Label;
  readonly isFirmwareFailed: boolean;
  /** With what a host protected area or a configuration overlay hides; absent where the drive does not tell. */
  readonly bytesWithHidden?: number;
}

/** One read. `refused`: the drive said no without blaming the place. */
export interface ZoneRead {
  readonly lba: number;
  readonly count: number;
  readonly outcome: 'good' | 'bad' | 'refused' | 'timeout' | 'gone';
  readonly elapsedMs: number;
  /** What the drive said where it failed. */
  readonly detail?: string;
  /** Nothing but zeros came. */
  readonly isBlank?: boolean;
}

export interface ZonesFinding {
  readonly reads: readonly ZoneRead[];
  /** Places that were left out because the drive hung, had left, or took too long. */
  readonly leftOut: number;
}

/** What was found, in the order of asking. What a stop kept from being asked is absent. */
export interface Findings {
  readonly kind: DriveFacts['kind'];
  readonly spinUp: SpinUpFinding;
  readonly isLocked?: boolean;
  readonly capacity?: CapacityFinding;
  readonly zones?: ZonesFinding;
  readonly isSmartPassed?: boolean;
}

export type Verdict =
  | {
      readonly decision: 'image';
      readonly preset: string;
      readonly reasons: readonly string[];
    }
  | {
      readonly decision: 'stop';
      /** `cleanroom`, or in a few words what is the matter. */
      readonly what: string;
      readonly reasons: readonly string[];
    };

type Stop = Extract<Verdict, { decision: 'stop' }>;

/** What is to be done about such a drive. The first thing found that forbids reading decides. */
export function judge(findings: Findings): Verdict {
  const stop = stopBySpinUp(findings) ?? stopByIdentity(findings) ?? stopByZones(findings);
  return stop ?? presetFor(findings);
}

/** What forbids reading before the first read. */
export function stopBeforeReading(findings: Findings): Stop | undefined {
  return stopBySpinUp(findings) ?? stopByIdentity(findings);
}

function stop(what: string, ...reasons: readonly string[]): Stop {
  return { decision: 'stop', what, reasons };
}

// ---- spin-up ----------------------------------------------------------------------------------

/** A motor that starts draws at least this; less is electronics. */
const motorMilliampsMin = 400;
/** A motor that turns draws far less than one that starts. */
const fallenShare = 0.8;

/** The rail whose current stays where the motor started it; undefined where it fell. Drives of 2.5 inches have
 * their motor on 5 V. */
export function heldRail({ rails }: SpinUpFinding): RailCurrent | undefined {
  const motor = [12, 5]
    .map((volts) => rails.find((rail) => rail.volts === volts))
    .find((rail) => rail !== undefined && rail.peakMilliamps >= motorMilliampsMin);
  return motor && motor.lastMilliamps >= fallenShare * motor.peakMilliamps ? motor : undefined;
}

function stopBySpinUp({ spinUp, kind }: Findings): Stop | undefined {
  const { isReady, isTripped, powerOns, portResets = 0, limitMs } = spinUp;
  if (isReady) return undefined;
  const held = heldRail(spinUp);
  if (isTripped) return stop('cleanroom', trippedReason(held));
  const turns = kind === 'hdd';
  if (held && turns)
    return stop(
      'cleanroom',
      `its current does not fall: ${held.lastMilliamps} mA on ${held.volts} V at the end, ${held.peakMilliamps} mA at most; the platters do not turn`,
    );
  const seconds = Math.round(limitMs / 1000);
  const missing = portResets > 0 ? 'is known to cut' : 'can switch';
  if (powerOns === 0)
    return stop(
      'it does not become ready',
      `no answer within ${seconds} s, and nothing here ${missing} its power; check power and cables, then try again with --power`,
    );
  const times = powerOns === 1 ? 'power-on' : `${powerOns} power-ons`;
  const after = spinUp.isLeftOff
    ? 'its power is off: leave it so'
    : 'it still has power: unplug it';
  const reason = `not ready within ${seconds} s of ${times}; ${after}`;
  return stop(turns ? 'cleanroom' : 'it does not become ready', reason, ...restReason(spinUp));
}

function trippedReason(held: RailCurrent | undefined): string {
  const how = held ? `: ${held.peakMilliamps} mA on ${held.volts} V, and it did not fall` : '';
  return `the imager cut its power because of over-current${how}; its board or motor is damaged`;
}

function restReason({ restMs }: SpinUpFinding): string[] {
  if (restMs === undefined) return [];
  return [`whoever tries once more lets it rest ${Math.ceil(restMs / 60_000)} min before`];
}

// ---- identity and capacity --------------------------------------------------------------------

/** Less than this share of its label is not the drive that it was: labels count in powers of ten, and sticks hold
 * back up to a tenth. */
const wholeShare = 0.85;
/** More than this is another drive's label. */
const excessShare = 1.2;

function stopByIdentity({ capacity, isLocked }: Findings): Stop | undefined {
  if (capacity?.isFirmwareFailed)
    return stop(
      'its firmware has failed',
      `its controller answers with ${megabytes(capacity.bytes)} and without its firmware; leave its power off for a while and try again; if it stays so, it needs a laboratory`,
    );
  if (isLocked)
    return stop(
      'it is locked',
      'a password locks it: nothing can be read, and nothing of that is bad; unlock it without cutting its power, then try again',
    );
  return capacity && stopByCapacity(capacity);
}

function stopByCapacity({ bytes, label, bytesWithHidden = 0 }: CapacityFinding): Stop | undefined {
  if (!label || bytes >= wholeShare * label.bytes) return undefined;
  // Hidden on purpose: what shows is whole.
  if (bytesWithHidden >= wholeShare * label.bytes) return undefined;
  return stop(
    'it is smaller than its label',
    `it shows ${megabytes(bytes)} of the ${megabytes(label.bytes)} that ${labelSource(label)} promises: an adapter may hide the rest, or its firmware is in trouble; try another adapter, and mind the label`,
  );
}

/** For sentences. */
export function labelSource({ from }: Label): string {
  return from === 'user' ? '--label' : 'its model';
}

function megabytes(bytes: number): string {
  return bytes < 1e9 ? `${Math.floor(bytes / 1e5) / 10} MB` : `${Math.floor(bytes / 1e8) / 10} GB`;
}

function capacityReasons({ bytes, label, bytesWithHidden = 0 }: CapacityFinding): string[] {
  const hidden = bytesWithHidden - bytes;
  return [
    ...(hidden > 0
      ? [`${hidden} bytes are hidden, and not imaged: they are left as they are`]
      : []),
    ...(label && bytes > excessShare * label.bytes
      ? [`it is larger than ${labelSource(label)} says: is it the right drive?`]
      : []),
  ];
}

/** Sizes in a model: `500GB`, `1 TB`. Small letters would be rates (`6Gb/s`). */
const sizeInModel = /(?<![\w.])(\d{1,4}(?:\.\d)?) ?(GB|TB)(?![A-Za-z0-9/])/g;
/** Seagate since 2009: capacity in GB, two letters of the family, then digits. */
const seagate = /^(?:SEAGATE )?ST(\d{2,5})[A-Z]{2}\d{3}/;

/** The capacity in a model's own words, in bytes; undefined where they are not certain. */
export function bytesInModel(model: string): number | undefined {
  const told = [...model.matchAll(sizeInModel)].map(
    ([, digits, unit]) => Number(digits) * (unit === 'TB' ? 1e12 : 1e9),
  );
  const gigabytes = seagate.exec(model.toUpperCase())?.[1];
  if (gigabytes !== undefined) told.push(Number(gigabytes) * 1e9);
  const [first] = told;
  return first !== undefined && first > 0 && told.every((each) => each === first)
    ? first
    : undefined;
}

// ---- zones ------------------------------------------------------------------------------------

function stopByZones({ zones, kind }: Findings): Stop | undefined {
  if (!zones) return undefined;
  const tally = tallyOf(zones);
  const { good, failing } = tally;
  const turns = kind === 'hdd';
  if (good > 0) {
    if (!turns || failing <= good) return undefined;
    return stop('cleanroom', `most places do not read: ${countsOf(tally)}`);
  }
  if (tally.refused > 0 && tally.refused === failing)
    return stop(
      'it refuses to read',
      `no read was carried out, and no place was blamed (${firstDetail(zones)}): a lock, its firmware or its adapter rather than bad sectors`,
    );
  if (tally.gone > 0 && failing === 1)
    return stop(
      'it leaves the bus when it is read',
      'the first read made it disappear; check power and cables',
    );
  const reason = `no place reads: ${countsOf(tally)}`;
  if (turns) return stop('cleanroom', reason);
  return stop('nothing can be read', `${reason}; cut its power for a minute and try once more`);
}

interface Tally {
  readonly good: number;
  readonly bad: number;
  readonly refused: number;
  readonly timeouts: number;
  readonly gone: number;
  /** What failed, where silence in a row counts once: a drive that hangs at one place is silent at the next. */
  readonly failing: number;
}

function tallyOf({ reads }: ZonesFinding): Tally {
  const count = (outcome: ZoneRead['outcome']) =>
    reads.filter((read) => read.outcome === outcome).length;
  const hangs = reads.filter(
    ({ outcome }, at) => outcome === 'timeout' && reads[at - 1]?.outcome !== 'timeout',
  ).length;
  const [bad, refused, gone] = [count('bad'), count('refused'), count('gone')];
  return {
    ...{ good: count('good'), bad, refused, timeouts: count('timeout'), gone },
    failing: bad + refused + gone + hangs,
  };
}

function countsOf({ good, bad, refused, timeouts, gone }: Tally): string {
  return [
    [good, 'read'],
    [bad, 'bad'],
    [refused, 'refused'],
    [timeouts, 'without an answer'],
    [gone, 'gone from the bus'],
  ]
    .filter(([count]) => count !== 0)
    .map(([count, what]) => `${count} ${what}`)
    .join(', ');
}

function firstDetail({ reads }: ZonesFinding): string {
  return reads.find(({ detail }) => detail !== undefined)?.detail ?? 'no reason given';
}

/** A read takes longer than this before it may be called slow. */
const slowMsMin = { hdd: 300, ssd: 500, flash: 2000, file: 300 } as const;
const slowFactor = 10;
/** The first read after power recalibrates. */
const firstFactor = 3;
/** So slow at the median, it is the drive and no place. */
const crawlMs = { hdd: 1000, ssd: 1000, flash: 2000, file: 1000 } as const;
/** Slow places that tell of a head: fewer are spots. */
const slowMin = 3;

export interface Latency {
  /** Of the reads that went well; 0 without any. */
  readonly medianMs: number;
  readonly slow: readonly ZoneRead[];
  readonly isCrawling: boolean;
}

/** How the places that read compare. */
export function latencyOf({ reads }: ZonesFinding, kind: Findings['kind']): Latency {
  const good = reads.filter(({ outcome }) => outcome === 'good');
  const sorted = good.map(({ elapsedMs }) => elapsedMs).sort((a, b) => a - b);
  const medianMs = sorted[Math.floor((sorted.length - 1) / 2)] ?? 0;
  const limitMs = Math.max(slowMsMin[kind], slowFactor * medianMs);
  const slow = good.filter(
    (read) => read.elapsedMs > limitMs * (read === reads[0] ? firstFactor : 1),
  );
  return { medianMs, slow, isCrawling: medianMs > crawlMs[kind] };
}

// ---- the preset -------------------------------------------------------------------------------

const kindReasons = {
  hdd: 'it is a hard drive',
  ssd: 'it is an SSD: read in its own way, with many power cycles where it needs them',
  flash: 'it is a stick or card: repowered and read again in place',
  file: 'it is a file',
} as const;

function presetFor(findings: Findings): Verdict {
  const { kind, capacity, zones, isSmartPassed } = findings;
  const tally = zones && tallyOf(zones);
  const latency = zones && latencyOf(zones, kind);
  const slow = latency?.slow.length ?? 0;
  const isUnwell = (tally?.failing ?? 0) > 0 || slow >= slowMin;
  const usual = kindDefaults[kind].preset;
  const preset = kind === 'hdd' && isUnwell ? 'gentle' : usual;
  const reasons = [
    ...(preset === usual ? [kindReasons[kind]] : ['some places are weak: short reads, long jumps']),
    ...(tally && tally.failing > 0 ? [`of ${zones.reads.length} places ${countsOf(tally)}`] : []),
    ...(slow > 0 ? [`${slow} of the places that read are slow`] : []),
    ...(latency?.isCrawling
      ? ['it crawls wherever it is read: the drive, not its places; the job lets it rest']
      : []),
    ...(capacity ? capacityReasons(capacity) : []),
    ...(isSmartPassed === false ? ['by its own SMART it is about to fail: do not wait'] : []),
  ];
  return { decision: 'image', preset, reasons };
}
