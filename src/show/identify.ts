import { z } from 'zod';
import type { DriveIdentity } from '../drive/drive.js';
import type { AtaIdentity, SmartData } from '../drive/scsi/ata-data.js';
import type { HiddenCapacity } from '../drive/scsi/examine.js';
import { driveIdentitySchema } from '../job/identity.js';
import { heldRail, labelSource, latencyOf, type Verdict } from '../plan/first-contact.js';
import { kindDefaults } from '../plan/presets.js';
import { type DriveKind, troublePolicies } from '../power/policy.js';
import { formatBytes, formatDuration } from './format.js';

const count = z.number().int().nonnegative();

const securitySchema = z.object({
  supported: z.boolean(),
  /** A password is set. */
  enabled: z.boolean(),
  /** Nothing can be read until it is given. */
  locked: z.boolean(),
  frozen: z.boolean(),
  /** No more passwords are taken before a power cycle. */
  countExpired: z.boolean(),
  maximumLevel: z.boolean(),
});

const smartSchema = z.object({
  /** Within its thresholds, by its own word. */
  passed: z.boolean().exactOptional(),
  reallocatedCount: count.exactOptional(),
  pendingCount: count.exactOptional(),
  uncorrectableCount: count.exactOptional(),
  crcErrors: count.exactOptional(),
  powerCycles: count.exactOptional(),
  powerOnHours: count.exactOptional(),
});

const spinUpSchema = z.object({
  isReady: z.boolean(),
  /** How often the power was switched on for it; 0 where it was on already. */
  powerOns: count,
  /** Cycles by switches that may only reset a port. */
  portResets: count.exactOptional(),
  /** From power-on until it was ready. */
  readyAfterMs: z.number().nonnegative().exactOptional(),
  limitMs: z.number(),
  /** The imager cut the power because of over-current. */
  isTripped: z.boolean(),
  rails: z.array(
    z.object({
      volts: z.union([z.literal(5), z.literal(12)]),
      peakMilliamps: z.number(),
      /** When the drive had settled, or was given up. */
      lastMilliamps: z.number(),
    }),
  ),
  /** A switch that can hold the power off does so when the drive does not become ready. */
  isLeftOff: z.boolean().exactOptional(),
  /** Rest that is due before another power-on. */
  restMs: z.number().exactOptional(),
});

const zoneSchema = z.object({
  lba: count,
  count,
  outcome: z.enum(['good', 'bad', 'refused', 'timeout', 'gone']),
  elapsedMs: z.number(),
  detail: z.string().exactOptional(),
  /** Nothing but zeros came. */
  isBlank: z.boolean().exactOptional(),
});

const verdictSchema = z.discriminatedUnion('decision', [
  z.object({
    decision: z.literal('image'),
    preset: z.string(),
    reasons: z.array(z.string()).readonly(),
  }),
  z.object({
    decision: z.literal('stop'),
    /** `cleanroom`, or in a few words what is the matter. */
    what: z.string(),
    reasons: z.array(z.string()).readonly(),
  }),
]);

const triageSchema = z.object({
  spinUp: spinUpSchema.readonly(),
  capacity: z
    .object({
      bytes: count,
      label: z.object({ bytes: z.number(), from: z.enum(['user', 'model']) }).exactOptional(),
      isFirmwareFailed: z.boolean(),
      bytesWithHidden: count.exactOptional(),
    })
    .exactOptional(),
  /** One read a zone, in the order of the drive. */
  zones: z.object({ reads: z.array(zoneSchema).readonly(), leftOut: count }).exactOptional(),
  verdict: verdictSchema,
  /** The command to type next; absent where there is none. */
  next: z.string().exactOptional(),
  elapsedMs: z.number(),
});

/** What `identify --json` prints. What the drive or the path to it does not tell is absent. */
export const identifyResultSchema = z.object({
  schema: z.literal('lastspin/identify-result/1'),
  /** DRIVE as it was given. */
  source: z.string(),
  /** Absent where it never said who it is. */
  drive: driveIdentitySchema.exactOptional(),
  /** What its policies go by. */
  kind: z.enum(Object.keys(troublePolicies) as [DriveKind, ...DriveKind[]]),
  capacityBytes: count.exactOptional(),
  /** Turns a minute, 1 for what does not turn. */
  rotation: count.exactOptional(),
  security: securitySchema.exactOptional(),
  /** Sectors that the drive could show; more than there are hides some. */
  nativeSectorCount: count.exactOptional(),
  configurationSectorCount: count.exactOptional(),
  temperatureCelsius: z.number().exactOptional(),
  smart: smartSchema.exactOptional(),
  /** Why so little is told, where the path to the drive is to blame. */
  untold: z.string().exactOptional(),
  triage: triageSchema.exactOptional(),
});

export type IdentifyResult = z.infer<typeof identifyResultSchema>;
type TriageResult = NonNullable<IdentifyResult['triage']>;

/** What was asked of a drive, as far as it was. */
export interface Identified {
  readonly source: string;
  readonly kind: DriveKind;
  readonly identity?: DriveIdentity;
  readonly ata?: AtaIdentity;
  readonly hidden: HiddenCapacity;
  readonly temperatureCelsius?: number;
  readonly isSmartPassed?: boolean;
  readonly smart?: SmartData;
  readonly untold?: string;
  readonly triage?: TriageResult;
}

/** What was found as plain data. */
export function identifyResult(found: Identified): IdentifyResult {
  const { identity, ata, temperatureCelsius, untold } = found;
  const smart = smartOf(found);
  return {
    schema: 'lastspin/identify-result/1',
    source: found.source,
    ...(identity && { drive: identity }),
    kind: found.kind,
    ...(identity && { capacityBytes: identity.sectorCount * identity.sectorBytes }),
    ...(ata?.rotation !== undefined && { rotation: ata.rotation }),
    ...(ata && { security: securityOf(ata) }),
    ...found.hidden,
    ...(temperatureCelsius !== undefined && { temperatureCelsius }),
    ...(smart && { smart }),
    ...(untold !== undefined && { untold }),
    ...(found.triage && { triage: found.triage }),
  };
}

function securityOf({ security }: AtaIdentity): NonNullable<IdentifyResult['security']> {
  return {
    supported: security.isSupported,
    enabled: security.isEnabled,
    locked: security.isLocked,
    frozen: security.isFrozen,
    countExpired: security.isCountExpired,
    maximumLevel: security.isMaximumLevel,
  };
}

function smartOf({ isSmartPassed, smart }: Identified): IdentifyResult['smart'] {
  if (isSmartPassed === undefined && !smart) return undefined;
  const { attributes: _attributes, temperatureCelsius: _celsius, ...numbers } = smart ?? {};
  return { ...(isSmartPassed !== undefined && { passed: isSmartPassed }), ...numbers };
}

// ---- for people -------------------------------------------------------------------------------

type Line = readonly [label: string, text: string];

/** The result for people: what is not told has no line. */
export function formatIdentify(result: IdentifyResult): string {
  const lines = [...driveLines(result), ...(result.triage ? triageLines(result) : [])];
  return lines.map(([label, text]) => `${label.padEnd(13)}${text}\n`).join('');
}

function driveLines(result: IdentifyResult): Line[] {
  const { drive, security, smart, temperatureCelsius, untold } = result;
  if (!drive) return [];
  const { sectorCount, sectorBytes, physicalSectorBytes } = drive;
  const lines: (Line | undefined)[] = [
    told('model', drive.model),
    told('serial', drive.serial),
    told('firmware', drive.firmware),
    ['kind', `${result.kind}${rotationText(result.rotation)}`],
    [
      'capacity',
      `${formatBytes(sectorCount * sectorBytes)} (${sectorCount * sectorBytes} bytes, ${sectorCount} sectors)`,
    ],
    ['sectors', `${sectorBytes} bytes logical, ${physicalSectorBytes} physical`],
    security && ['security', securityText(security)],
    hiddenLine(result),
    temperatureCelsius === undefined
      ? undefined
      : ['temperature', `${Math.round(temperatureCelsius)} °C`],
    smart && ['SMART', smartText(smart)],
    untold === undefined ? undefined : ['not told', untold],
  ];
  return lines.filter((line) => line !== undefined);
}

function told(label: string, text: string): Line | undefined {
  return text === '' ? undefined : [label, text];
}

function rotationText(rotation: number | undefined): string {
  return rotation === undefined || rotation === 1 ? '' : `, ${rotation} turns a minute`;
}

function securityText(security: NonNullable<IdentifyResult['security']>): string {
  if (security.locked) {
    const level = security.maximumLevel ? ', maximum level' : '';
    const expired = security.countExpired ? ', takes no more passwords before a power cycle' : '';
    return `locked by a password${level}${expired}: nothing can be read`;
  }
  if (!security.supported) return 'the drive has no password feature';
  const password = security.enabled ? 'a password is set, and it is unlocked' : 'no password';
  return `${password}${security.frozen ? '; frozen' : ''}`;
}

function hiddenLine(result: IdentifyResult): Line | undefined {
  const { drive, nativeSectorCount, configurationSectorCount } = result;
  const shown = drive?.sectorCount ?? 0;
  const parts = [
    ...(nativeSectorCount === undefined
      ? []
      : [`${nativeSectorCount - shown} sectors by a protected area`]),
    ...(configurationSectorCount === undefined
      ? []
      : [
          `${configurationSectorCount - Math.max(shown, nativeSectorCount ?? 0)} by a configuration overlay`,
        ]),
  ];
  if (parts.length === 0) return undefined;
  const most = Math.max(nativeSectorCount ?? 0, configurationSectorCount ?? 0);
  return ['hidden', most > shown ? `${parts.join(', ')}; left as they are` : 'no sectors'];
}

function smartText(smart: NonNullable<IdentifyResult['smart']>): string {
  const verdict = smart.passed === undefined ? [] : [smart.passed ? 'passed' : 'FAILING'];
  const numbers = (
    [
      ['reallocatedCount', 'reallocated'],
      ['pendingCount', 'pending'],
      ['uncorrectableCount', 'uncorrectable'],
      ['crcErrors', 'CRC errors'],
      ['powerCycles', 'power cycles'],
      ['powerOnHours', 'hours'],
    ] as const
  ).flatMap(([key, what]) => (smart[key] === undefined ? [] : [`${smart[key]} ${what}`]));
  return [...verdict, ...numbers].join(', ');
}

function triageLines(result: IdentifyResult): Line[] {
  const { triage, kind } = result;
  if (!triage) return [];
  const { capacity, zones, verdict, next } = triage;
  const lines: (Line | undefined)[] = [
    ['spin-up', spinUpText(triage.spinUp)],
    capacity && ['label', labelText(capacity)],
    zones && ['zones', zonesText(zones, kind)],
    ...(zones?.reads ?? []).map((read): Line => ['', zoneText(read)]),
    ['took', formatDuration(triage.elapsedMs)],
    ['verdict', verdictWord(verdict)],
    ...verdict.reasons.map((reason): Line => ['', reason]),
    next === undefined ? undefined : ['next', next],
  ];
  return lines.filter((line) => line !== undefined);
}

function spinUpText(spinUp: TriageResult['spinUp']): string {
  const { isReady, powerOns, portResets, readyAfterMs, rails, limitMs } = spinUp;
  const times = powerOns > 1 ? ` (power-on ${powerOns})` : '';
  const ready =
    readyAfterMs !== undefined
      ? `ready ${formatDuration(readyAfterMs)} after power-on${times}`
      : isReady
        ? portResets || powerOns
          ? 'not measured: the switch may only have reset the port'
          : 'was on already'
        : spinUp.isTripped
          ? 'over-current'
          : `not ready within ${formatDuration(limitMs)}${times}`;
  const current = rails.map(
    ({ volts, peakMilliamps, lastMilliamps }) =>
      `${volts} V: ${peakMilliamps} mA at most, ${lastMilliamps} mA at the end`,
  );
  const held = !isReady && heldRail(spinUp) ? ['it did not fall'] : [];
  return [ready, ...current, ...held].join('; ');
}

function labelText({ bytes, label }: NonNullable<TriageResult['capacity']>): string {
  if (!label) return 'not known; --label SIZE compares';
  const share = Math.round((100 * bytes) / label.bytes);
  return `${formatBytes(label.bytes)} by ${labelSource(label)}; the drive shows ${share} % of it`;
}

function zonesText(zones: NonNullable<TriageResult['zones']>, kind: DriveKind): string {
  const { reads, leftOut } = zones;
  const good = reads.filter(({ outcome }) => outcome === 'good');
  const blank = good.filter(({ isBlank }) => isBlank).length;
  const { medianMs, slow } = latencyOf(zones, kind);
  return [
    `${good.length} of ${reads.length} places read`,
    ...(good.length > 0 ? [`${milliseconds(medianMs)} at the median`] : []),
    ...(slow.length > 0 ? [`${slow.length} slow`] : []),
    ...(blank > 0 ? [`${blank} hold only zeros`] : []),
    ...(leftOut > 0 ? [`${leftOut} left out`] : []),
  ].join(', ');
}

const outcomeWords = {
  good: '',
  bad: 'bad',
  refused: 'refused',
  timeout: 'no answer',
  gone: 'left the bus',
} as const;

function zoneText({ lba, outcome, elapsedMs, detail, isBlank }: z.infer<typeof zoneSchema>) {
  const notes = [outcomeWords[outcome], detail ?? '', isBlank ? 'zeros' : ''].filter(Boolean);
  const text = `LBA ${String(lba).padEnd(12)} ${milliseconds(elapsedMs).padStart(9)}`;
  return notes.length > 0 ? `${text}  ${notes.join(': ')}` : text;
}

/** `0.4 ms`, `12 ms`, `9800 ms`: to be compared at a glance. */
function milliseconds(timeMs: number): string {
  return `${timeMs < 10 ? timeMs.toFixed(1) : Math.round(timeMs)} ms`;
}

/** `image`, `image with preset gentle`, `stop: cleanroom`. */
export function verdictWord(verdict: Verdict): string {
  if (verdict.decision === 'stop') return `stop: ${verdict.what}`;
  return isUsual(verdict) ? 'image' : `image with preset ${verdict.preset}`;
}

/** The preset that nobody needs to name, whatever the drive is taken for. */
export function isUsual({ preset }: Extract<Verdict, { decision: 'image' }>): boolean {
  return preset === kindDefaults.hdd.preset;
}
