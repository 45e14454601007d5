/** SCSI to ATA translation: what ATA PASS-THROUGH (12) and (16) make of the simulated drive. */
import { answerQuestion } from './ata-questions.js';
import type { SimulatedDrive, SimulatedIdentity } from './drive.js';
import { identifyData } from './identify-data.js';
import {
  type AtaRegisters,
  ataSense,
  check,
  failed,
  good,
  nothing,
  quickMs,
  type ScsiAnswer,
} from './scsi-answer.js';

interface AtaTask {
  readonly command: number;
  readonly features: number;
  readonly lba: number;
  readonly count: number;
  readonly extend: boolean;
  /** CK_COND: the registers are wanted whatever they say. */
  readonly wantsRegisters: boolean;
}

interface AtaAnswer {
  readonly data?: Uint8Array;
  readonly elapsedMs: number;
  /** Absent where nothing beside success is to be told. */
  readonly registers?: Partial<AtaRegisters>;
}

/** DRDY and DSC; with ERR as well. */
const statusGood = 0x50;
const statusFailed = 0x51;
const errorAbort = 0x04;
const unknownCommand: AtaAnswer = {
  elapsedMs: quickMs,
  registers: { status: statusFailed, error: errorAbort },
};

/** Answers ATA PASS-THROUGH (12) or (16); the caller has checked that it only reads. */
export function answerSat(
  drive: SimulatedDrive,
  identity: SimulatedIdentity,
  cdb: Uint8Array,
  nowMs: number,
): ScsiAnswer {
  const task = cdb[0] === 0x85 ? taskOf16(cdb) : taskOf12(cdb);
  if (identity.removable) return failed(0x05, 0x20);
  const { data = nothing, elapsedMs, registers = {} } = answerAta(drive, identity, task, nowMs);
  const ata = {
    status: statusGood,
    error: 0,
    lba: task.lba,
    count: 0,
    extend: task.extend,
    ...registers,
  };
  const isGood = (ata.status & 1) === 0;
  if (isGood && !task.wantsRegisters) return good(data, elapsedMs);
  return check(ataSense(senseOf(ata), ata), elapsedMs, data);
}

/** SAT-3 table 11: the sense data of what the ATA registers say. */
function senseOf({ status, error }: AtaRegisters) {
  if ((status & 1) === 0) return { key: 1, asc: 0, ascq: 0x1d };
  if (error & 0x40) return { key: 3, asc: 0x11, ascq: 4 };
  if (error & 0x10) return { key: 3, asc: 0x14, ascq: 1 };
  return { key: 0xb, asc: 0, ascq: 0 };
}

function answerAta(
  drive: SimulatedDrive,
  identity: SimulatedIdentity,
  task: AtaTask,
  nowMs: number,
): AtaAnswer {
  switch (task.command) {
    case 0x20: // READ SECTORS
    case 0x21: // READ SECTORS without retry
    case 0x24: // READ SECTORS EXT
    case 0x25: // READ DMA EXT
    case 0xc8: // READ DMA
      return readSectors(drive, task, nowMs);
    case 0xe0: // STANDBY IMMEDIATE
      return { elapsedMs: drive.standby(nowMs) };
    case 0xe1: // IDLE IMMEDIATE
      return { elapsedMs: drive.unload(nowMs) };
    case 0xec: // IDENTIFY DEVICE
      return { data: identifyData(identity), elapsedMs: quickMs };
    case 0xef: // SET FEATURES: look-ahead on or off; the read-only list has no other
      drive.setLookAhead(task.features === 0xaa);
      return { elapsedMs: quickMs };
    default: {
      const told = answerQuestion(drive, identity, task, nowMs);
      return told ? { ...told, elapsedMs: quickMs } : unknownCommand;
    }
  }
}

function readSectors(drive: SimulatedDrive, task: AtaTask, nowMs: number): AtaAnswer {
  const count = task.count || (task.extend ? 65_536 : 256);
  const read = drive.read({ lba: task.lba, count }, nowMs);
  if (read.outcome === 'good') return { data: read.data, elapsedMs: read.elapsedMs };
  const { ata = { status: statusFailed, error: errorAbort }, failingLba = task.lba } = read;
  return { elapsedMs: read.elapsedMs, registers: { ...ata, lba: failingLba } };
}

/** ATA PASS-THROUGH (16) of SAT-3. */
function taskOf16(cdb: Uint8Array): AtaTask {
  const at = (index: number) => cdb[index] ?? 0;
  const extend = (at(1) & 1) === 1;
  const high = extend ? at(7) * 2 ** 24 + at(9) * 2 ** 32 + at(11) * 2 ** 40 : 0;
  return {
    command: at(14),
    features: at(4),
    lba: at(8) + at(10) * 2 ** 8 + at(12) * 2 ** 16 + (extend ? high : (at(13) & 0x0f) * 2 ** 24),
    count: at(6) + (extend ? at(5) * 2 ** 8 : 0),
    extend,
    wantsRegisters: (at(2) & 0x20) !== 0,
  };
}

/** ATA PASS-THROUGH (12) of SAT-3. */
function taskOf12(cdb: Uint8Array): AtaTask {
  const at = (index: number) => cdb[index] ?? 0;
  return {
    command: at(9),
    features: at(3),
    lba: at(5) + at(6) * 2 ** 8 + at(7) * 2 ** 16 + (at(8) & 0x0f) * 2 ** 24,
    count: at(4),
    extend: false,
    wantsRegisters: (at(2) & 0x20) !== 0,
  };
}
