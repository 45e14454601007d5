/** The one list of commands that may reach a source drive (PROTOCOL.md S-1 to S-6). Everything
 * else is refused on both ends of the wire. It goes by payload, not by opcode: what an ATA
 * PASS-THROUGH carries decides, and so does the subcommand of SMART, SET FEATURES and DEVICE
 * CONFIGURATION. */

export type ReadOnlyVerdict =
  | { readonly allowed: true }
  | { readonly allowed: false; readonly reason: string };

const allowed: ReadOnlyVerdict = { allowed: true };

function refused(reason: string): ReadOnlyVerdict {
  return { allowed: false, reason };
}

/** Length of a CDB by the group in the top three bits of its opcode (SPC-4); groups 3, 6
 * and 7 are of variable length or the vendor's. */
const cdbBytesByGroup: readonly (number | undefined)[] = [6, 10, 10, undefined, 16, 12];

type ScsiJudge = (cdb: Uint8Array) => ReadOnlyVerdict;

/** SCSI commands that only read, and what of their fields must not be set. */
const scsiCommands: ReadonlyMap<number, ScsiJudge> = new Map<number, ScsiJudge>([
  [0x00, () => allowed], // TEST UNIT READY
  [0x03, () => allowed], // REQUEST SENSE
  [0x08, () => allowed], // READ (6)
  [0x12, () => allowed], // INQUIRY
  [0x1a, () => allowed], // MODE SENSE (6)
  // START STOP UNIT: spinning is wanted, ejecting the medium is not.
  [0x1b, (cdb) => (cdb[4]! & 0x02 ? refused('START STOP UNIT that loads or ejects') : allowed)],
  [0x25, () => allowed], // READ CAPACITY (10)
  [0x28, () => allowed], // READ (10)
  // LOG SENSE: the SP bit writes the counters to the medium.
  [0x4d, (cdb) => (cdb[1]! & 0x01 ? refused('LOG SENSE that saves parameters') : allowed)],
  [0x5a, () => allowed], // MODE SENSE (10)
  [0x85, (cdb) => judgeAta(fromPassThrough16(cdb))],
  [0x88, () => allowed], // READ (16)
  // SERVICE ACTION IN (16): only READ CAPACITY (16).
  [
    0x9e,
    (cdb) =>
      (cdb[1]! & 0x1f) === 0x10 ? allowed : refused('SERVICE ACTION IN other than READ CAPACITY'),
  ],
  [0xa0, () => allowed], // REPORT LUNS
  [0xa1, (cdb) => judgeAta(fromPassThrough12(cdb))],
  [0xa8, () => allowed], // READ (12)
]);

interface AtaTask {
  readonly protocol: number;
  /** T_LENGTH: 0 = no data. */
  readonly dataLength: number;
  readonly fromDevice: boolean;
  readonly features: number;
  readonly lbaMid: number;
  readonly lbaHigh: number;
  readonly command: number;
}

/** SAT-3: ATA PASS-THROUGH (12). */
function fromPassThrough12(cdb: Uint8Array): AtaTask {
  return {
    ...transferOf(cdb),
    features: cdb[3]!,
    lbaMid: cdb[6]!,
    lbaHigh: cdb[7]!,
    command: cdb[9]!,
  };
}

/** SAT-3: ATA PASS-THROUGH (16). */
function fromPassThrough16(cdb: Uint8Array): AtaTask {
  return {
    ...transferOf(cdb),
    features: cdb[4]!,
    lbaMid: cdb[10]!,
    lbaHigh: cdb[12]!,
    command: cdb[14]!,
  };
}

function transferOf(cdb: Uint8Array): Pick<AtaTask, 'protocol' | 'dataLength' | 'fromDevice'> {
  return {
    protocol: (cdb[1]! >> 1) & 0x0f,
    dataLength: cdb[2]! & 0x03,
    fromDevice: (cdb[2]! & 0x08) !== 0,
  };
}

/** Values of the PROTOCOL field (SAT-3 table 138) that carry no data or only read it. Resets,
 * queued transfers and everything that writes have their own values, which are thereby refused. */
const protocolNonData = 3;
const protocolsIn: ReadonlySet<number> = new Set([4, 6, 10]); // PIO in, DMA, UDMA in

interface AtaRule {
  readonly data: 'none' | 'in';
  /** The subcommands that only read, where the command has some that do more. */
  readonly features?: ReadonlySet<number>;
}

/** ATA commands that only read (ACS-3 clause 7). */
const ataCommands: ReadonlyMap<number, AtaRule> = new Map<number, AtaRule>([
  [0x20, { data: 'in' }], // READ SECTORS
  [0x21, { data: 'in' }], // READ SECTORS without retry
  [0x22, { data: 'in' }], // READ LONG
  [0x23, { data: 'in' }], // READ LONG without retry
  [0x24, { data: 'in' }], // READ SECTORS EXT
  [0x25, { data: 'in' }], // READ DMA EXT
  [0x27, { data: 'none' }], // READ NATIVE MAX ADDRESS EXT
  [0x29, { data: 'in' }], // READ MULTIPLE EXT
  [0x2f, { data: 'in' }], // READ LOG EXT
  [0x40, { data: 'none' }], // READ VERIFY SECTORS
  [0x41, { data: 'none' }], // READ VERIFY SECTORS without retry
  [0x42, { data: 'none' }], // READ VERIFY SECTORS EXT
  [0x47, { data: 'in' }], // READ LOG DMA EXT
  [0xa1, { data: 'in' }], // IDENTIFY PACKET DEVICE
  [0xb1, { data: 'in', features: new Set([0xc2]) }], // DEVICE CONFIGURATION: IDENTIFY
  [0xc4, { data: 'in' }], // READ MULTIPLE
  [0xc8, { data: 'in' }], // READ DMA
  [0xc9, { data: 'in' }], // READ DMA without retry
  [0xe0, { data: 'none' }], // STANDBY IMMEDIATE
  [0xe1, { data: 'none' }], // IDLE IMMEDIATE
  [0xe4, { data: 'in' }], // READ BUFFER
  [0xe5, { data: 'none' }], // CHECK POWER MODE
  [0xec, { data: 'in' }], // IDENTIFY DEVICE
  // Look-ahead off and on. Volatile, and no user data is touched.
  [0xef, { data: 'none', features: new Set([0x55, 0xaa]) }], // SET FEATURES
  [0xf8, { data: 'none' }], // READ NATIVE MAX ADDRESS
]);

const ataSmart = 0xb0;
/** SMART subcommands. Its WRITE LOG carries the whole SCT command set, which can erase. */
const smartIn: ReadonlySet<number> = new Set([0xd0, 0xd1, 0xd5]); // READ DATA, THRESHOLDS, LOG
const smartNonData: ReadonlySet<number> = new Set([0xda]); // RETURN STATUS
const smartSignature = { lbaMid: 0x4f, lbaHigh: 0xc2 } as const;

function judgeAta(task: AtaTask): ReadOnlyVerdict {
  const name = `ATA command ${hex(task.command)}`;
  if (task.command === ataSmart) return judgeSmart(task);
  const rule = ataCommands.get(task.command);
  if (!rule) return refused(`${name} is not on the read-only list`);
  if (rule.features && !rule.features.has(task.features)) {
    return refused(`${name} with subcommand ${hex(task.features)} is not on the read-only list`);
  }
  return judgeTransfer(task, rule.data, name);
}

function judgeSmart(task: AtaTask): ReadOnlyVerdict {
  const name = `SMART subcommand ${hex(task.features)}`;
  if (task.lbaMid !== smartSignature.lbaMid || task.lbaHigh !== smartSignature.lbaHigh) {
    return refused('SMART without its signature');
  }
  if (smartIn.has(task.features)) return judgeTransfer(task, 'in', name);
  if (smartNonData.has(task.features)) return judgeTransfer(task, 'none', name);
  return refused(`${name} is not on the read-only list`);
}

function judgeTransfer(task: AtaTask, data: 'none' | 'in', name: string): ReadOnlyVerdict {
  const fits =
    data === 'none'
      ? task.protocol === protocolNonData && task.dataLength === 0
      : protocolsIn.has(task.protocol) && task.dataLength !== 0 && task.fromDevice;
  return fits ? allowed : refused(`${name} with a transfer that does not only read`);
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(2, '0')}`;
}

/** Whether the SCSI command in `cdb` may be sent to a source drive, and if not, why: one line
 * for the user. */
export function judgeReadOnly(cdb: Uint8Array): ReadOnlyVerdict {
  const opcode = cdb[0];
  if (opcode === undefined) return refused('an empty command');
  const judge = scsiCommands.get(opcode);
  if (!judge) return refused(`SCSI command ${hex(opcode)} is not on the read-only list`);
  if (cdb.length !== cdbBytesByGroup[opcode >> 5]) {
    return refused(`SCSI command ${hex(opcode)} of ${cdb.length} bytes`);
  }
  return judge(cdb);
}

/** Whether the SCSI command in `cdb` may be sent to a source drive (S-1). */
export function isReadOnly(cdb: Uint8Array): boolean {
  return judgeReadOnly(cdb).allowed;
}
