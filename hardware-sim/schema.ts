import { z } from 'zod';

/** The scenario file as a schema; README.md explains the words. Every row and section is strict: an
 * unknown word is an error, since a fault that silently does nothing would make a test a false
 * pass. */

const wholeNumber = z.int().nonnegative();
const positiveNumber = z.int().positive();
const milliseconds = z.number().nonnegative();
const chance = z.number().min(0).max(1);
/** One number, or [least, most] from which the seed draws. */
const range = z.union([milliseconds, z.tuple([milliseconds, milliseconds])]);

/** Where a fault is: exactly one of `lba`, `scattered`, `head` and `everywhere`. */
const place = {
  lba: wholeNumber.optional(),
  count: positiveNumber.optional(),
  pitch: positiveNumber.optional(),
  repeats: positiveNumber.optional(),
  scattered: positiveNumber.optional(),
  head: wholeNumber.optional(),
  everywhere: z.literal(true).optional(),
  /** Share of the physical sectors there that have the fault. */
  perMillion: z.number().positive().max(1_000_000).optional(),
};

/** From when on a fault is there. */
const when = {
  /** Reads since power-on. */
  afterReads: range.optional(),
  /** Since the first power-on. */
  afterMs: milliseconds.optional(),
  /** A pause of at least this long starts the count of `afterReads` anew. */
  pauseMs: milliseconds.optional(),
};

const cure = z.enum(['soft-reset', 'hard-reset', 'power-cycle']);
const times = positiveNumber.optional();

const bad = z.strictObject({
  kind: z.literal('bad'),
  ...place,
  ...when,
  errorMs: milliseconds.default(1000),
  readChance: chance.default(0),
  error: z.enum(['uncorrectable', 'id-not-found', 'abort']).default('uncorrectable'),
  reportsLba: z.boolean().default(true),
  spreadChance: chance.default(0),
});
const slow = z.strictObject({ kind: z.literal('slow'), ...place, ...when, extraMs: milliseconds });
const hang = z.strictObject({
  kind: z.literal('hang'),
  ...place,
  ...when,
  until: cure,
  answering: z.enum(['nothing', 'error']).default('nothing'),
  errorMs: milliseconds.default(1000),
  times,
});
const stall = z.strictObject({
  kind: z.literal('stall'),
  ...place,
  ...when,
  lastsMs: milliseconds,
  readMs: range,
  until: cure.optional(),
  times,
});
const vanish = z.strictObject({
  kind: z.literal('vanish'),
  ...place,
  ...when,
  returns: z.enum(['power-cycle', 'never']),
  times,
});
const wrong = z.strictObject({
  kind: z.literal('wrong'),
  ...place,
  ...when,
  data: z.enum(['garbage', 'zeros', 'stale']),
  wrongChance: chance.default(1),
});
const spinUp = z.strictObject({
  kind: z.literal('spin-up'),
  fromPowerOn: positiveNumber.default(1),
  fails: positiveNumber,
  /** The motor cannot turn: its current does not fall. */
  stuck: z.boolean().default(false),
});
const clicks = z.strictObject({
  kind: z.literal('clicks'),
  afterErrors: range,
  fails: positiveNumber.default(1),
  restMs: milliseconds.optional(),
  times,
});
const alias = z.strictObject({
  kind: z.literal('alias'),
  fromPowerOn: positiveNumber.default(1),
  lasts: positiveNumber.optional(),
  model: z.string().optional(),
  serial: z.string().optional(),
  firmware: z.string().optional(),
  sectorCount: positiveNumber.optional(),
});

export const faultSchema = z.discriminatedUnion('kind', [
  bad,
  slow,
  hang,
  stall,
  vanish,
  wrong,
  spinUp,
  clicks,
  alias,
]);

const identity = z.strictObject({
  model: z.string().max(40).default('LASTSPIN SIMULATED'),
  serial: z.string().max(20).default('SIM0000001'),
  firmware: z.string().max(8).default('1.0'),
  /** A stick or a card: it answers INQUIRY instead of ATA IDENTIFY. */
  removable: z.boolean().default(false),
  /** Locked by a password: it answers IDENTIFY and aborts reads. */
  locked: z.boolean().default(false),
  /** Sectors with the host protected area, and with the configuration overlay: more than `sectorCount`. */
  nativeSectorCount: positiveNumber.optional(),
  configurationSectorCount: positiveNumber.optional(),
});

const mechanics = z.strictObject({
  heads: positiveNumber.max(64).default(4),
  bandSectors: positiveNumber.default(4096),
  outerBytesPerSecond: z.number().positive().default(150e6),
  innerBytesPerSecond: z.number().positive().default(75e6),
  seekMinMs: milliseconds.default(1),
  seekMaxMs: milliseconds.default(16),
  rotationMs: milliseconds.default(8.33),
  overheadMs: milliseconds.default(0.1),
  spinUpMs: milliseconds.default(4000),
  recalibrationMs: milliseconds.default(300),
  softResetMs: milliseconds.default(50),
  hardResetMs: milliseconds.default(500),
  standbyMs: milliseconds.default(400),
  lookAhead: z.boolean().default(true),
});

function rail(spinUp: number, idle: number, read: number, limit: number) {
  return z
    .strictObject({
      spinUpMilliamps: wholeNumber.default(spinUp),
      idleMilliamps: wholeNumber.default(idle),
      readMilliamps: wholeNumber.default(read),
      limitMilliamps: positiveNumber.default(limit),
    })
    .prefault({});
}

const power = z.strictObject({
  rail5: rail(600, 350, 550, 1500),
  // Less than the motor draws at spin-up: the trip has to be blanked, as on a real bench.
  rail12: rail(1800, 350, 450, 1500),
  rampMs: milliseconds.default(20),
  dischargeMs: milliseconds.default(300),
  blankingMs: milliseconds.default(10_000),
});

const temperature = z.strictObject({
  ambientCelsius: z.number().default(25),
  idleRiseCelsius: z.number().nonnegative().default(8),
  readRiseCelsius: z.number().nonnegative().default(18),
  timeConstantMs: z.number().positive().default(900_000),
  /** From here on the imager parks the drive, and from there on it cuts its power. */
  parkCelsius: z.number().default(52),
  limitCelsius: z.number().default(58),
});

export const scenarioSchema = z.strictObject({
  seed: wholeNumber.max(0xffff_ffff).default(1),
  sectorCount: positiveNumber.optional(),
  sectorBytes: positiveNumber.min(512).max(4224).multipleOf(8).default(512),
  physicalSectorBytes: positiveNumber.optional(),
  identity: identity.prefault({}),
  contents: z
    .union([z.enum(['pattern', 'zeros']), z.strictObject({ file: z.string().min(1) })])
    .default('pattern'),
  mechanics: mechanics.prefault({}),
  power: power.prefault({}),
  temperature: temperature.prefault({}),
  linkBytesPerSecond: positiveNumber.optional(),
  faults: z.array(faultSchema).default([]),
});

/** A scenario as one writes it, with everything optional that has a default. */
export type ScenarioInput = z.input<typeof scenarioSchema>;
export type ScenarioFile = z.output<typeof scenarioSchema>;
export type FaultRow = z.output<typeof faultSchema>;
export type FaultOf<Kind extends FaultRow['kind']> = Extract<FaultRow, { kind: Kind }>;
/** A fault with a place, which a read may touch. */
export type PlacedFault = Exclude<FaultRow, { kind: 'spin-up' | 'clicks' | 'alias' }>;

export function isPlaced(fault: FaultRow): fault is PlacedFault {
  return fault.kind !== 'spin-up' && fault.kind !== 'clicks' && fault.kind !== 'alias';
}
export type Cure = z.output<typeof cure>;

/** The JSON schema of a scenario file, for editors. */
export function scenarioJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(scenarioSchema, { io: 'input' }) as Record<string, unknown>;
}
