/** Clauses S-1 to S-6: what an imager must not let through to a drive.
 *
 * The suite never sends a command that could write where an imager, a bridge or a drive were wrong. So
 * everything here is harmless even when it is carried out: writes of no sectors beyond the end of any
 * drive, commands that only read or seek but are not on the list, and right commands with a transfer that
 * does not fit them. `notDared` says what that leaves out. */
import { replyCodes, scsiOutcomes } from '../commands.js';
import type { Bench } from './bench.js';
import type { Check } from './check.js';
import { replyName } from './messages.js';
import { must, notSeen } from './verdict.js';

/** Off the list, and never sent: what they would do if they came through. */
export const notDared: readonly { readonly opcodes: string; readonly why: string }[] = [
  { opcodes: '04 FORMAT UNIT, 48 SANITIZE, 19 and 2C and 93 and AC ERASE', why: 'they erase' },
  { opcodes: '41 and 93 WRITE SAME', why: 'a length of 0 means up to the end' },
  { opcodes: '0A WRITE (6)', why: 'a length of 0 means 256 sectors' },
  {
    opcodes: '07 REASSIGN, 3D UPDATE, 3F WRITE LONG, 9F and A9 SERVICE ACTION OUT',
    why: 'they write',
  },
  {
    opcodes: '4C LOG SELECT, 40 CHANGE DEFINITION, A4 and 87 and B5 and BB to BF',
    why: 'they set what stays',
  },
  { opcodes: '3B WRITE BUFFER', why: 'it carries firmware' },
  { opcodes: '94 ZBC OUT, 5B CLOSE TRACK, 54 SEND OPC', why: 'they end zones or write tracks' },
  { opcodes: '4D LOG SENSE with SP, 1B START STOP UNIT with LOEJ', why: 'they save, they eject' },
  {
    opcodes: '02 05 06 09 0C to 11 13 14 18 1F to 22 24 26 27 and C0 to FF',
    why: "makers' own: nobody knows",
  },
  {
    opcodes: 'ATA writes, SECURITY, SET MAX, DCO but IDENTIFY, SMART that sets, DOWNLOAD',
    why: 'they write or set',
  },
];

const lba10 = [0xff, 0xff, 0xff, 0xff];
const lba16 = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

/** A CDB of `length` bytes that begins so. */
function cdb(length: number, ...head: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(length);
  bytes.set(head);
  return bytes;
}

interface Probe {
  readonly what: string;
  readonly cdb: Uint8Array;
}

/** Writes of no sectors, at the last address that the CDB can name. */
const emptyWrites: readonly Probe[] = [
  ...[0x2a, 0x2e, 0x51].map((code) => ({ code, bytes: cdb(10, code, 0, ...lba10) })),
  ...[0xaa, 0xae].map((code) => ({ code, bytes: cdb(12, code, 0, ...lba10) })),
  ...[0x8a, 0x8b, 0x8e, 0x89, 0x9c].map((code) => ({ code, bytes: cdb(16, code, 0, ...lba16) })),
  ...[0x42, 0x15, 0x55].map((code) => ({ code, bytes: cdb(code === 0x15 ? 6 : 10, code) })),
].map(({ code, bytes }) => ({ what: `opcode ${code.toString(16)} of no length`, cdb: bytes }));

/** Commands that read, seek or test, or that nobody ever defined, but that are not on the list. */
const harmless: readonly Probe[] = [
  ...[0x01, 0x0b, 0x17, 0x1c, 0x1d, 0x1e].map((code) => ({ code, length: 6 })),
  ...[0x23, 0x29, 0x2b, 0x2d, 0x2f, 0x34, 0x35, 0x37, 0x3c, 0x3e].map((code) => ({
    code,
    length: 10,
  })),
  ...[0x43, 0x44, 0x45, 0x46, 0x4a, 0x52, 0x57, 0x5e].map((code) => ({ code, length: 10 })),
  ...Array.from({ length: 31 }, (_, at) => ({ code: 0x60 + at, length: 10 })),
  ...[0x7f].map((code) => ({ code, length: 32 })),
  ...[0x84, 0x86, 0x8c, 0x8f, 0x90, 0x91, 0x95, 0x9b].map((code) => ({ code, length: 16 })),
  ...[0xa2, 0xa3, 0xab, 0xad, 0xaf, 0xb4, 0xb7].map((code) => ({ code, length: 12 })),
]
  .map(({ code, length }) => ({ what: `opcode ${code.toString(16)}`, cdb: cdb(length, code) }))
  .concat([{ what: 'GET LBA STATUS', cdb: cdb(16, 0x9e, 0x12) }]);

interface Ata {
  readonly protocol: number;
  /** The byte with T_LENGTH, BYT_BLOK and T_DIR. */
  readonly transfer: number;
  readonly features?: number;
  readonly lbaMid?: number;
  readonly lbaHigh?: number;
  readonly count?: number;
  readonly command: number;
}

const intoHost = 0x0e;
const outOfHost = 0x06;
const identify = 0xec;

function pass16(task: Ata): Uint8Array {
  const bytes = cdb(16, 0x85, task.protocol << 1, task.transfer);
  bytes[4] = task.features ?? 0;
  bytes[6] = task.count ?? 0;
  bytes[10] = task.lbaMid ?? 0;
  bytes[12] = task.lbaHigh ?? 0;
  bytes[14] = task.command;
  return bytes;
}

function pass12(task: Ata): Uint8Array {
  const bytes = cdb(
    12,
    0xa1,
    task.protocol << 1,
    task.transfer,
    task.features ?? 0,
    task.count ?? 0,
  );
  bytes[6] = task.lbaMid ?? 0;
  bytes[7] = task.lbaHigh ?? 0;
  bytes[9] = task.command;
  return bytes;
}

/** Both forms of ATA PASS-THROUGH. */
function ata(what: string, task: Ata): readonly Probe[] {
  return [
    { what: `${what} (16)`, cdb: pass16(task) },
    { what: `${what} (12)`, cdb: pass12(task) },
  ];
}

const none = { protocol: 3, transfer: 0 };
const pioIn = { protocol: 4, transfer: intoHost, count: 1 };

const ataWithoutData: readonly Probe[] = [
  ...ata('FLUSH CACHE', { ...none, command: 0xe7 }),
  ...ata('FLUSH CACHE EXT', { ...none, command: 0xea }),
  ...ata('NOP', { ...none, command: 0x00 }),
  ...ata('RECALIBRATE', { ...none, command: 0x10 }),
  ...ata('SEEK', { ...none, command: 0x70 }),
  ...ata('SET FEATURES with a subcommand that is reserved', {
    ...none,
    command: 0xef,
    features: 0,
  }),
  ...ata('CHECK POWER MODE that claims data', { ...none, transfer: intoHost, command: 0xe5 }),
];
const ataWithData: readonly Probe[] = [
  ...ata('TRUSTED RECEIVE', { ...pioIn, command: 0x5c }),
  ...ata('IDENTIFY DEVICE without data', { ...none, command: identify }),
  ...ata('READ LOG EXT without data', { ...none, command: 0x2f }),
];
const smart: readonly Probe[] = [
  ...ata('SMART READ DATA without its signature', { ...pioIn, command: 0xb0, features: 0xd0 }),
  ...ata('SMART READ LOG with half a signature', {
    ...pioIn,
    command: 0xb0,
    features: 0xd5,
    lbaMid: 0x4f,
  }),
];
const transfers: readonly Probe[] = [
  ...ata('IDENTIFY DEVICE towards the drive', {
    protocol: 5,
    transfer: outOfHost,
    count: 1,
    command: identify,
  }),
  ...ata('IDENTIFY DEVICE in with the direction out', {
    ...pioIn,
    transfer: outOfHost,
    command: identify,
  }),
  ...ata('IDENTIFY DEVICE as UDMA out', {
    protocol: 11,
    transfer: outOfHost,
    count: 1,
    command: identify,
  }),
  ...ata('IDENTIFY DEVICE queued', { ...pioIn, protocol: 7, command: identify }),
  ...ata('IDENTIFY DEVICE by FPDMA', { ...pioIn, protocol: 12, command: identify }),
  ...ata('a software reset', { protocol: 1, transfer: 0, command: 0 }),
  { what: 'an empty CDB', cdb: new Uint8Array(0) },
  { what: 'TEST UNIT READY of 10 bytes', cdb: cdb(10, 0x00) },
  { what: 'READ (10) of 6 bytes', cdb: cdb(6, 0x28) },
  { what: 'READ CAPACITY (10) of 12 bytes', cdb: cdb(12, 0x25) },
];

const onTheList: readonly Probe[] = [
  { what: 'TEST UNIT READY', cdb: cdb(6, 0x00) },
  { what: 'REQUEST SENSE', cdb: cdb(6, 0x03, 0, 0, 0, 18) },
  { what: 'INQUIRY', cdb: cdb(6, 0x12, 0, 0, 0, 36) },
  { what: 'MODE SENSE (6)', cdb: cdb(6, 0x1a, 0, 0x3f, 0, 64) },
  { what: 'READ CAPACITY (10)', cdb: cdb(10, 0x25) },
  { what: 'READ CAPACITY (16)', cdb: cdb(16, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32) },
  { what: 'READ (10) of no sectors', cdb: cdb(10, 0x28) },
  { what: 'REPORT LUNS', cdb: cdb(12, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16) },
  { what: 'LOG SENSE', cdb: cdb(10, 0x4d, 0, 0x40, 0, 0, 0, 0, 0, 64) },
];
const ataOnTheList: readonly Probe[] = [
  ...ata('CHECK POWER MODE', { ...none, command: 0xe5 }),
  ...ata('READ NATIVE MAX ADDRESS EXT', { ...none, command: 0x27 }),
];
const ataInOnTheList: readonly Probe[] = [
  ...ata('IDENTIFY DEVICE', { ...pioIn, command: identify }),
  ...ata('READ LOG EXT', { ...pioIn, command: 0x2f }),
];
const smartOnTheList: readonly Probe[] = [
  ...ata('SMART READ DATA', {
    ...pioIn,
    command: 0xb0,
    features: 0xd0,
    lbaMid: 0x4f,
    lbaHigh: 0xc2,
  }),
];

/** Asks for all; what is off the list must be refused, what is on it must not be. Where the imager switches
 * the rails they are off, so that nothing can reach a drive whatever it lets through. */
async function judged(
  bench: Bench,
  off: readonly Probe[],
  on: readonly Probe[],
): Promise<undefined> {
  const { talk } = bench;
  const ask = async ({ cdb: bytes }: Probe) =>
    talk.ask('passthrough', { timeoutMs: 2000, cdb: bytes, lengthMax: 0 }, { withinMs: 15_000 });
  for (const probe of on) {
    const answer = await ask(probe);
    const wants = `${probe.what} is on the list and not refused`;
    must(answer.reply !== replyCodes.refused, wants, `refused '${answer.reason}'`);
    const isOk = answer.reply === replyCodes.ok || answer.reply === replyCodes.noDrive;
    must(isOk, `${probe.what} is done, or there is no drive`, replyName(answer.reply));
  }
  const hidden: Probe[] = [];
  const mustRefuse = async (probe: Probe) => {
    const answer = await ask(probe);
    // With the rails off that may be said first, whatever is done with the command.
    if (answer.reply === replyCodes.noDrive) hidden.push(probe);
    else
      must(
        answer.reply === replyCodes.refused,
        `${probe.what} is refused`,
        replyName(answer.reply),
      );
  };
  for (const probe of off) await mustRefuse(probe);
  if (hidden.length === 0) return;
  if (!(await bench.findDrive())) notSeen('without a drive it answers noDrive');
  await bench.rails('on');
  const again = hidden.splice(0);
  for (const probe of again) await mustRefuse(probe);
  const came = `noDrive, ${hidden.length} times`;
  must(hidden.length === 0, 'what is off the list is refused, not passed on', came);
}

async function offAndOn(bench: Bench): Promise<undefined> {
  const { talk } = bench;
  if (!bench.drive()) notSeen('no drive answers');
  const inquiry = await talk.ok('passthrough', {
    timeoutMs: 5000,
    cdb: cdb(6, 0x12, 0, 0, 0, 36),
    lengthMax: 36,
  });
  const came = `outcome ${inquiry.outcome}, ${inquiry.data.length} bytes`;
  const good = inquiry.outcome === scsiOutcomes.good && inquiry.data.length <= 36;
  must(good && inquiry.data.length >= 5, 'INQUIRY is passed on to the drive', came);
}

const needs = ['passthrough'] as const;
const row = (
  clause: string,
  title: string,
  off: readonly Probe[],
  on: readonly Probe[],
): Check => ({
  clauses: [clause],
  title,
  needs,
  rails: 'off',
  how: `${off.length} commands off the list, harmless even if they came through; ${on.length} on it`,
  run: (bench) => judged(bench, off, on),
});

export const safetyChecks: readonly Check[] = [
  row('S-1', 'Writes are refused', emptyWrites, []),
  row('S-2', 'Of SCSI only what is on the list is let through', harmless, onTheList),
  row(
    'S-3',
    'Of ATA without data only what is on the list is let through',
    ataWithoutData,
    ataOnTheList,
  ),
  row(
    'S-4',
    'Of ATA with data only what is on the list is let through',
    ataWithData,
    ataInOnTheList,
  ),
  row('S-5', 'SMART only with its signature', smart, smartOnTheList),
  row(
    'S-6',
    'Transfers to the drive, queued ones, resets and wrong lengths are refused',
    transfers,
    [],
  ),
  {
    clauses: ['S-2'],
    title: 'What is on the list reaches the drive',
    needs: ['passthrough', 'drive'],
    rails: 'on',
    how: 'an INQUIRY',
    run: offAndOn,
  },
];

/** Every command that is sent, for the test that holds them against the list. */
export const probes = {
  off: [...emptyWrites, ...harmless, ...ataWithoutData, ...ataWithData, ...smart, ...transfers],
  on: [...onTheList, ...ataOnTheList, ...ataInOnTheList, ...smartOnTheList],
};
