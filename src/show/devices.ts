/** What `devices` prints. */
import { z } from 'zod';
import { formatBytes } from './format.js';

const deviceSchema = z.object({
  kind: z.enum(['serial', 'usb', 'disk', 'scsi']),
  /** A node, or where a USB device is plugged in. */
  name: z.string(),
  /** What it is taken for. */
  takenFor: z.string(),
  model: z.string().nullable(),
  serial: z.string().nullable(),
  /** Vendor and product of the USB device that it is, or hangs on: `1209:0001`. */
  usbIds: z.string().nullable(),
  /** Where that is plugged in: `1-1.4`. */
  usbLocation: z.string().nullable(),
  sizeBytes: z.number().int().nonnegative().nullable(),
  sectorBytes: z.number().int().positive().nullable(),
  physicalSectorBytes: z.number().int().positive().nullable(),
  isReadOnly: z.boolean().nullable(),
  usedFor: z.array(z.string()),
  /** What to type for DRIVE. */
  drive: z.array(z.string()),
  /** What to type for POWER. */
  power: z.array(z.string()),
  notes: z.array(z.string()),
});

export type ListedDevice = z.infer<typeof deviceSchema>;

/** What `devices --json` prints. */
export const devicesResultSchema = z.object({
  schema: z.literal('lastspin/devices-result/1'),
  devices: z.array(deviceSchema),
  /** What this operating system does not let us list. */
  notListed: z.array(z.string()),
});

export type DevicesResult = z.infer<typeof devicesResultSchema>;

/** The list for people: a line each, then what to type. */
export function formatDevices({ devices, notListed }: DevicesResult): string {
  const width = Math.max(0, ...devices.map(({ name }) => name.length));
  const indent = ' '.repeat(width + 2);
  const lines = devices.flatMap((device) => [
    `${device.name.padEnd(width)}  ${describe(device)}`,
    ...device.drive.map((spec) => `${indent}DRIVE  ${spec}`),
    ...device.power.map((spec) => `${indent}POWER  ${spec}`),
    ...[...device.usedFor, ...device.notes].map((note) => `${indent}${note}`),
  ]);
  if (devices.length === 0) lines.push('nothing is plugged in that could be a drive or an imager');
  return `${[...lines, ...notListed].join('\n')}\n`;
}

function describe(device: ListedDevice): string {
  const { takenFor, model, serial, sizeBytes, usbIds, usbLocation } = device;
  const sectors = [device.sectorBytes, device.physicalSectorBytes].filter((size) => size !== null);
  return [
    takenFor,
    [model, serial].filter((part) => part).join(' '),
    ...(sizeBytes === null ? [] : [formatBytes(sizeBytes)]),
    ...(sectors.length > 0 ? [`sectors of ${[...new Set(sectors)].join('/')} bytes`] : []),
    ...(device.isReadOnly ? ['read-only'] : []),
    ...(usbIds ? [`USB ${usbIds} at ${usbLocation}`] : []),
  ]
    .filter((part) => part !== '')
    .join(', ');
}

const findingSchema = z.object({
  about: z.string(),
  what: z.string(),
  why: z.string(),
  mend: z.string(),
  /** Lines for a file. */
  rule: z.object({ path: z.string(), text: z.string() }).optional(),
});

/** What `doctor --json` prints. */
export const doctorResultSchema = z.object({
  schema: z.literal('lastspin/doctor-result/1'),
  /** What stands in the way. */
  findings: z.array(findingSchema),
  /** Keeps the operating system off DRIVE each time that it appears, and names it `link`. */
  keepAwayRule: z.object({ path: z.string(), text: z.string(), link: z.string() }).nullable(),
  /** What was looked at and is well. */
  well: z.array(z.string()),
  /** What this operating system does not let us look at. */
  notChecked: z.array(z.string()),
});

export type DoctorResult = z.infer<typeof doctorResultSchema>;

/** What stands in the way, for people. */
export function formatDoctor(result: DoctorResult): string {
  const { findings, keepAwayRule, well, notChecked } = result;
  const shown = new Set<string>();
  const lines = findings.flatMap(({ about, what, why, mend, rule }) => [
    `${about} ${what}`,
    `  why   ${why}`,
    `  mend  ${mend}`,
    ...(rule ? ruleLines(rule, shown) : []),
  ]);
  if (keepAwayRule && !shown.has(keepAwayRule.text)) {
    lines.push(`to keep the operating system off it whenever it appears, as ${keepAwayRule.link}:`);
    lines.push(...ruleLines(keepAwayRule, shown));
  }
  for (const line of well) lines.push(`well: ${line}`);
  for (const line of notChecked) lines.push(`not looked at: ${line}`);
  const count = findings.length;
  const end = count === 0 ? 'nothing stands in the way' : `${count} to mend`;
  return `${[...lines, end].join('\n')}\n`;
}

/** A rule, or that it stands above already. */
function ruleLines(
  { path, text }: { readonly path: string; readonly text: string },
  shown: Set<string>,
): string[] {
  if (shown.has(text)) return ['  the rule is the one above'];
  shown.add(text);
  return [
    `  put this into ${path}, run 'sudo udevadm control --reload', plug it in again:`,
    ...text.split('\n').map((line) => `    ${line}`),
  ];
}
