/** The one gate to a drive behind SCSI commands: whatever is sent passes the read-only list here, one command
 * at a time. Answers are parsed, and every way in which a command ends is a value. */

import { judgeReadOnly } from '../../../firmware-protocol/read-only.js';
import type { Clock } from '../../clock.js';
import { LastspinError } from '../../errors.js';
import type { Extent } from '../../map/extent.js';
import { describeFault } from '../fault.js';
import {
  type AtaIdentity,
  isSmartPassed,
  nativeCountOf,
  parseConfigurationCount,
  parseIdentify,
  parseSctCelsius,
  parseSmartData,
  powerModeOf,
  type SmartData,
} from './ata-data.js';
import * as cdb from './cdb.js';
import type { ScsiPath } from './path.js';
import {
  type Capacity,
  type InquiryData,
  parseCapacity10,
  parseCapacity16,
  parseInquiry,
} from './scsi-data.js';
import { type AtaRegisters, type SenseReport, senseKeys, senseOf } from './sense.js';

/** Why a command brought nothing.
 * - `fault`: the device said no, `report` says how.
 * - `nonsense`: it said yes and sent what cannot be.
 * - `busy`: it would not take the command within its time.
 * - `timeout`, `failed`, `gone`: as of the path. */
export type Failure =
  | { readonly kind: 'fault'; readonly report: SenseReport; readonly elapsedMs: number }
  | { readonly kind: 'failed'; readonly why: string; readonly elapsedMs: number }
  | { readonly kind: 'nonsense' | 'busy' | 'timeout' | 'gone'; readonly elapsedMs: number };

/** How a question ended. */
export type Answer<T> =
  | { readonly kind: 'good'; readonly value: T; readonly elapsedMs: number }
  | Failure;

/** What a command brought: data, and what the device said beside it. */
export interface Brought {
  readonly data: Uint8Array;
  readonly report?: SenseReport;
}

export interface Commander {
  readonly path: ScsiPath;
  /** Whether the device said since the last call that it was reset or powered on. */
  takeReset(): boolean;
  /** Which ATA PASS-THROUGH carries ATA commands; 16 at first. */
  ataForm: cdb.AtaForm;
  /** Sends one command. A device that was reset or is busy is asked again within the time. Throws
   * DEVICE_REFUSED, before anything reaches the path, for what is not on the read-only list; LINK_CLOSED
   * where the path is broken. */
  send(cdb: Uint8Array, dataBytes: number, timeoutMs: number): Promise<Answer<Brought>>;

  testUnitReady(timeoutMs?: number): Promise<Answer<Brought>>;
  requestSense(): Promise<Answer<SenseReport>>;
  inquiry(): Promise<Answer<InquiryData>>;
  /** A page of vital product data, header included. */
  page(page: number, bytes?: number): Promise<Answer<Uint8Array>>;
  modeSense(page: number): Promise<Answer<Uint8Array>>;
  /** `beyond` where READ CAPACITY (16) must tell. */
  capacity10(): Promise<Answer<Capacity | 'beyond'>>;
  capacity16(): Promise<Answer<Capacity>>;
  startStop(start: boolean): Promise<Answer<Brought>>;

  /** Any ATA command without data or from the drive, through the pass-through. COUNT pieces of `pieceBytes`
   * come, 512 unless told. */
  ata(command: cdb.AtaCommand, timeoutMs?: number, pieceBytes?: number): Promise<Answer<Brought>>;
  identifyDevice(): Promise<Answer<AtaIdentity>>;
  /** Undefined registers are `nonsense`. */
  smartStatus(): Promise<Answer<{ readonly passed: boolean }>>;
  smartData(timeoutMs?: number): Promise<Answer<SmartData>>;
  /** 512 bytes, as the vendor fills them. */
  smartThresholds(): Promise<Answer<Uint8Array>>;
  /** `count` pieces of 512 bytes. */
  smartLog(address: number, count?: number): Promise<Answer<Uint8Array>>;
  /** °C from the SCT status: cheap, the platters are not touched. */
  sctCelsius(timeoutMs?: number): Promise<Answer<number>>;
  /** Sectors that the drive could show, by READ NATIVE MAX ADDRESS. */
  nativeCount(extended: boolean): Promise<Answer<number>>;
  /** Sectors that DEVICE CONFIGURATION IDENTIFY names. */
  configurationCount(): Promise<Answer<number>>;
  powerMode(): Promise<Answer<'standby' | 'idle' | 'active'>>;
  standbyImmediate(): Promise<Answer<Brought>>;
  idleImmediate(unload: boolean): Promise<Answer<Brought>>;
  setLookAhead(on: boolean): Promise<Answer<Brought>>;

  /** READ (10), or (16) where it must be. */
  read(extent: Extent, sectorBytes: number, timeoutMs: number): Promise<Answer<Brought>>;
}

/** A drive may retry in its service area before it says who it is. */
const askTimeoutMs = 10_000;
/** Spinning up or down. */
const spinTimeoutMs = 30_000;
/** A busy device is asked again so often. */
const busyPollMs = 100;
/** Conditions that wait one behind the other: power on, reset, changed parameters. */
const attentionsMax = 4;
const pageBytesDefault = 252;
const ataPieceBytes = 512;

/** UNIT ATTENTION of another medium (SPC-4 table 53): what was known of it is void. */
const mediumChanged = 0x28;

/** UNIT ATTENTION after power-on or a reset. */
const powerOnOrReset = 0x29;

export function createCommander(path: ScsiPath, clock: Clock): Commander {
  const line = createLine();
  let wasReset = false;

  /** The gate. Nothing else calls `path.send`. */
  function sendOnce(bytes: Uint8Array, dataBytes: number, timeoutMs: number) {
    const verdict = judgeReadOnly(bytes);
    if (!verdict.allowed)
      throw new LastspinError('DEVICE_REFUSED', `not sent to ${path.name}: ${verdict.reason}`);
    return path.send({ cdb: bytes, dataBytes, timeoutMs });
  }

  async function attempt(bytes: Uint8Array, dataBytes: number, timeoutMs: number) {
    const answer = await sendOnce(bytes, dataBytes, timeoutMs);
    if (answer.kind !== 'done') return answer;
    const { status, data, elapsedMs } = answer;
    if (status === 'busy') return { kind: 'busy', elapsedMs } as const;
    if (status === 'good') return { kind: 'good', value: { data }, elapsedMs } as const;
    const report = senseOf(answer.sense, bytes[0] === 0x85 || bytes[0] === 0xa1);
    wasReset ||=
      report.sense.key === senseKeys.unitAttention && report.sense.asc === powerOnOrReset;
    // The command was carried out, with or without the drive's trouble.
    if (report.sense.key === senseKeys.recovered && !report.isDeferred)
      return { kind: 'good', value: { data, report }, elapsedMs } as const;
    return { kind: 'fault', report, elapsedMs } as const;
  }

  /** UNIT ATTENTION and deferred errors say that the command was not carried out, and then are gone. */
  function isWorthAgain({ sense, isDeferred }: SenseReport): boolean {
    return isDeferred || (sense.key === senseKeys.unitAttention && sense.asc !== mediumChanged);
  }

  async function send(
    bytes: Uint8Array,
    dataBytes: number,
    timeoutMs: number,
  ): Promise<Answer<Brought>> {
    const untilMs = clock.now() + timeoutMs;
    const leftMs = () => Math.ceil(untilMs - clock.now());
    for (let attentions = 0; ; ) {
      const answer = await attempt(bytes, dataBytes, Math.max(1, leftMs()));
      if (answer.kind === 'busy' && leftMs() > busyPollMs) {
        await clock.sleep(busyPollMs);
        continue;
      }
      const again = answer.kind === 'fault' && isWorthAgain(answer.report);
      if (!again || ++attentions > attentionsMax || leftMs() <= 0) return answer;
    }
  }

  const commander: Commander = {
    path,
    ataForm: 16,
    takeReset() {
      const was = wasReset;
      wasReset = false;
      return was;
    },
    send: (bytes, dataBytes, timeoutMs) => line(() => send(bytes, dataBytes, timeoutMs)),

    testUnitReady: (timeoutMs = askTimeoutMs) => commander.send(cdb.testUnitReady(), 0, timeoutMs),
    requestSense: () => ask(cdb.requestSense(), cdb.senseBytesMax, ({ data }) => senseOf(data)),
    inquiry: () => ask(cdb.inquiry(), cdb.inquiryBytes, ({ data }) => parseInquiry(data)),
    page: (page, bytes = pageBytesDefault) =>
      ask(cdb.inquiryPage(page, bytes), bytes, ({ data }) => data),
    modeSense: (page) => ask(cdb.modeSense10(page), cdb.modeSense10Bytes, ({ data }) => data),
    capacity10: () =>
      ask(cdb.readCapacity10(), cdb.readCapacity10Bytes, ({ data }) => parseCapacity10(data)),
    capacity16: () =>
      ask(cdb.readCapacity16(), cdb.readCapacity16Bytes, ({ data }) => parseCapacity16(data)),
    startStop: (start) => commander.send(cdb.startStopUnit(start), 0, spinTimeoutMs),

    ata(command, timeoutMs = askTimeoutMs, pieceBytes = ataPieceBytes) {
      const dataBytes = command.transfer === 'none' ? 0 : (command.count ?? 0) * pieceBytes;
      return commander.send(cdb.ataPassThrough(command, commander.ataForm), dataBytes, timeoutMs);
    },
    identifyDevice: () => askAta(cdb.ata.identifyDevice(), ({ data }) => parseIdentify(data)),
    smartStatus: () =>
      askAta(cdb.ata.smartReturnStatus(), ({ report }) => {
        const passed = fromRegisters(report, isSmartPassed);
        return passed === undefined ? undefined : { passed };
      }),
    smartData: (timeoutMs) =>
      askAta(cdb.ata.smartReadData(), ({ data }) => parseSmartData(data), timeoutMs),
    smartThresholds: () => askAta(cdb.ata.smartReadThresholds(), ({ data }) => whole(data, 1)),
    smartLog: (address, count = 1) =>
      askAta(cdb.ata.smartReadLog(address, count), ({ data }) => whole(data, count)),
    sctCelsius: (timeoutMs) =>
      askAta(cdb.ata.sctStatus(), ({ data }) => parseSctCelsius(data), timeoutMs),
    nativeCount: (extended) =>
      askAta(
        extended ? cdb.ata.readNativeMaxAddressExt() : cdb.ata.readNativeMaxAddress(),
        ({ report }) => fromRegisters(report, nativeCountOf),
      ),
    configurationCount: () =>
      askAta(cdb.ata.deviceConfigurationIdentify(), ({ data }) => parseConfigurationCount(data)),
    powerMode: () =>
      askAta(cdb.ata.checkPowerMode(), ({ report }) => fromRegisters(report, powerModeOf)),
    standbyImmediate: () => commander.ata(cdb.ata.standbyImmediate(), spinTimeoutMs),
    idleImmediate: (unload) => commander.ata(cdb.ata.idleImmediate(unload), spinTimeoutMs),
    setLookAhead: (on) => commander.ata(cdb.ata.setLookAhead(on)),

    read(extent, sectorBytes, timeoutMs) {
      const bytes = cdb.fitsRead10(extent) ? cdb.read10(extent) : cdb.read16(extent);
      return commander.send(bytes, extent.count * sectorBytes, timeoutMs);
    },
  };

  async function ask<T>(
    bytes: Uint8Array,
    dataBytes: number,
    parse: (brought: Brought) => T | undefined,
  ): Promise<Answer<T>> {
    return mapAnswer(await commander.send(bytes, dataBytes, askTimeoutMs), parse);
  }

  async function askAta<T>(
    command: cdb.AtaCommand,
    parse: (brought: Brought) => T | undefined,
    timeoutMs = askTimeoutMs,
  ): Promise<Answer<T>> {
    return mapAnswer(await commander.ata(command, timeoutMs), parse);
  }

  return commander;
}

function mapAnswer<T>(
  answer: Answer<Brought>,
  parse: (brought: Brought) => T | undefined,
): Answer<T> {
  if (answer.kind !== 'good') return answer;
  const { elapsedMs } = answer;
  const value = parse(answer.value);
  return value === undefined ? { kind: 'nonsense', elapsedMs } : { kind: 'good', value, elapsedMs };
}

function whole(data: Uint8Array, pieces: number): Uint8Array | undefined {
  return data.length === pieces * ataPieceBytes ? data : undefined;
}

function fromRegisters<T>(
  report: SenseReport | undefined,
  take: (registers: AtaRegisters) => T,
): T | undefined {
  return report?.ata && take(report.ata);
}

/** Lets one thing be done at a time, in the order of the calls. */
function createLine() {
  let last: Promise<unknown> = Promise.resolve();
  return <T>(act: () => Promise<T>): Promise<T> => {
    const mine = last.then(act);
    last = mine.catch(() => {});
    return mine;
  };
}

/** What was told, if anything. */
export function toldBy<T>(answer: Answer<T>): T | undefined {
  return answer.kind === 'good' ? answer.value : undefined;
}

/** Why nothing was told, in a few words. */
export function whyNot(answer: Failure): string {
  switch (answer.kind) {
    case 'fault':
      return `it refused the command: ${describeFault({ sense: answer.report.sense })}`;
    case 'failed':
      return answer.why;
    case 'gone':
      return 'it is not there';
    case 'nonsense':
      return 'its answer makes no sense';
    case 'busy':
    case 'timeout':
      return 'it gave no answer';
  }
}
