import type { Fault } from './drive.js';

/** Sense keys of SPC-4 table 28, by code. */
const senseKeyNames = [
  'no sense',
  'recovered error',
  'not ready',
  'medium error',
  'hardware error',
  'illegal request',
  'unit attention',
  'data protect',
  'blank check',
  'vendor specific',
  'copy aborted',
  'aborted command',
  'reserved',
  'volume overflow',
  'miscompare',
  'completed',
];

const hex = (value: number) => value.toString(16).padStart(2, '0');

/** A fault in one phrase for people: `medium error 03/11/00, ATA 51/40 at LBA 1234`. */
export function describeFault(fault: Fault): string {
  const parts: string[] = [];
  if (fault.sense) {
    const { key, asc, ascq } = fault.sense;
    parts.push(`${senseKeyNames[key & 15]} ${hex(key)}/${hex(asc)}/${hex(ascq)}`);
  }
  if (fault.ata) parts.push(`ATA ${hex(fault.ata.status)}/${hex(fault.ata.error)}`);
  if (fault.errno) parts.push(fault.errno);
  if (fault.path) parts.push(fault.path);
  const what = parts.join(', ') || 'error without details';
  return fault.lba === undefined ? what : `${what} at LBA ${fault.lba}`;
}
