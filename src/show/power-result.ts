import { z } from 'zod';
import { formatDuration } from './format.js';

const count = z.number().int().nonnegative();
const rail = z.object({ millivolts: z.number(), milliamps: z.number() });

export const powerActions = ['on', 'off', 'cycle', 'status'] as const;
export type PowerAction = (typeof powerActions)[number];

/** What `power --json` prints. */
export const powerResultSchema = z.object({
  schema: z.literal('lastspin/power-result/1'),
  link: z.string(),
  action: z.enum(powerActions),
  /** Afterwards, as the switch itself tells; null where it tells nothing. */
  power: z.enum(['on', 'off']).nullable(),
  /** Of a cycle: how long it was off; null where that is the switch's own affair. */
  offMs: count.nullable(),
  /** Whether what looks like a power cycle may be a reset of the port alone. */
  mayOnlyReset: z.boolean(),
  /** What an imager says of itself and of the rails, as far as it measures. */
  imager: z
    .object({
      firmware: z.string(),
      state: z.string(),
      driveBusy: z.boolean(),
      rail5: rail.exactOptional(),
      rail12: rail.exactOptional(),
      temperatureCelsius: z.number().exactOptional(),
      powerCycles: count,
      uptimeMs: count,
    })
    .exactOptional(),
});

export type PowerResult = z.infer<typeof powerResultSchema>;

/** One line for people. */
export function formatPower(result: PowerResult): string {
  return `${[saidOf(result), ...measuredWords(result)].join('  ')}\n`;
}

function saidOf({ link, action, power, offMs, mayOnlyReset, imager }: PowerResult): string {
  if (action === 'status')
    return `${link}: ${imager?.state ?? power ?? 'the switch does not tell'}`;
  const now = imager ? `, now ${imager.state}` : '';
  if (action !== 'cycle')
    return `${link}: switched ${action}${power === null ? '; it does not tell whether it did' : now}`;
  const offFor = offMs === null ? '' : `, off for ${formatDuration(offMs)}`;
  return mayOnlyReset
    ? `${link}: port reset${offFor}; a power cycle only if the drive's own count of them rose`
    : `${link}: power cycled${offFor}${now}`;
}

function measuredWords({ imager }: PowerResult): string[] {
  if (!imager) return [];
  const { rail5, rail12, temperatureCelsius, powerCycles } = imager;
  const words = (name: string, measured: typeof rail5) =>
    measured
      ? [`${name} ${(measured.millivolts / 1000).toFixed(2)} V ${measured.milliamps} mA`]
      : [];
  return [
    ...words('5 V:', rail5),
    ...words('12 V:', rail12),
    ...(temperatureCelsius === undefined ? [] : [`${temperatureCelsius.toFixed(1)} °C`]),
    `${powerCycles} power cycles`,
    imager.firmware,
  ];
}
