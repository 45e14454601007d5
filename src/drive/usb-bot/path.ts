/** The way to a drive behind a USB adapter with bulk-only transport, without the kernel's block layer: its
 * timeouts and resets are ours. */
import type { Clock } from '../../clock.js';
import { isLastspinError, LastspinError } from '../../errors.js';
import type { ResetKind } from '../drive.js';
import { hexId, type Wanted, wantAgain } from '../links/identity.js';
import type { UsbName } from '../links/usb.js';
import type { ScsiAnswer, ScsiCommand, ScsiPath } from '../scsi/path.js';
import {
  type Adapter,
  chooseAdapter,
  loadStorageLibrary,
  openAdapter,
  type StorageLibrary,
  seeAdapters,
} from './adapter.js';
import { type Exchange, exchange, type Lane } from './exchange.js';

/** After a reset an adapter and its drive need a moment before they take commands. */
const resetPauseMs = 500;
/** An adapter that lost its footing, or its plug, is back within seconds: that is cheaper than its power. */
const returnLimitMs = 5000;
const returnPollMs = 250;
/** The adapter has the sense data itself. */
const senseTimeoutMs = 5000;
const requestSense = 0x03;
/** Old adapters break on more; descriptors need more (SPC-4, SAT-3). */
const senseBytes = { fixed: 18, descriptors: 252 };
const descriptorFormat = 0x72;
const passThroughs: ReadonlySet<number> = new Set([0x85, 0xa1]);
const resets: ReadonlySet<ResetKind> = new Set(['abort', 'soft', 'hard']);
const nothing = new Uint8Array(0);

export interface UsbBotPath extends ScsiPath {
  /** The adapter's own, where it has one; many of a kind have the same. */
  readonly serialNumber?: string;
}

/** Opens the adapter of this vendor, product and serial number. It is taken from the kernel's driver, and
 * given back by `close`. After it left the bus the same one is looked for wherever it is plugged in.
 * Throws TOOL_MISSING, and DRIVE_OPEN_FAILED with one line that says what, where and what to do. */
export async function openUsbBot(
  name: UsbName,
  clock: Clock,
  load: () => Promise<StorageLibrary> = loadStorageLibrary,
): Promise<UsbBotPath> {
  const library = await load();
  const seen = await seeAdapters(library, name, clock);
  const found = chooseAdapter(seen, name);
  const adapter = await openAdapter(library, found, clock);
  const path = createPath(library, name, clock, adapter, wantAgain(found, seen));
  const { serialNumber } = found;
  return { ...path, ...(serialNumber !== undefined && { serialNumber }) };
}

function createPath(
  library: StorageLibrary,
  name: UsbName,
  clock: Clock,
  first: Adapter,
  wanted: Wanted,
): ScsiPath {
  const spec = specOf(name);
  const { transferBytesMax } = first;
  /** Undefined while it is off the bus. */
  let adapter: Adapter | undefined = first;
  /** Commands got out of step: after a timeout, or an answer that made no sense. */
  let mustReset = false;
  let isClosed = false;
  let isAborting = false;
  let tag = 0;
  let senseBytesNow = senseBytes.fixed;
  let last: Promise<unknown> = Promise.resolve();
  let say: (notice: string) => void = () => {};

  /** One thing at a time, in the order of the calls. */
  function inTurn<T>(act: () => Promise<T>): Promise<T> {
    const turn = last.then(() => {
      if (isClosed) throw new LastspinError('LINK_CLOSED', `${spec} is closed`);
      return act();
    });
    last = turn.catch(() => {});
    return turn;
  }

  async function drop(): Promise<void> {
    const leaving = adapter;
    adapter = undefined;
    mustReset = false;
    await leaving?.close();
  }

  /** BOT 5.3.4, reset recovery. */
  async function recover(current: Adapter): Promise<boolean> {
    if (!(await current.bulkReset())) return false;
    await clock.sleep(resetPauseMs);
    const isClear = (await current.clearHalt('in')) && (await current.clearHalt('out'));
    if (isClear) mustReset = false;
    return isClear;
  }

  /** Sends one command. An abort ends it, also between two of its transfers. */
  function command(current: Adapter, { cdb, dataBytes, timeoutMs }: ScsiCommand) {
    const endMs = clock.now() + timeoutMs;
    tag = (tag + 1) >>> 0;
    const lane: Lane = {
      packetBytes: current.packetBytes,
      clearHalt: current.clearHalt,
      async transfer(direction, buffer) {
        if (isAborting) return { kind: 'cancelled', bytes: 0 };
        return current.transfer(direction, buffer, Math.max(1, endMs - clock.now()));
      },
    };
    return exchange(lane, tag, cdb, dataBytes);
  }

  async function send(request: ScsiCommand): Promise<ScsiAnswer> {
    const fromMs = clock.now();
    const elapsed = () => ({ elapsedMs: clock.now() - fromMs });
    const current = adapter;
    if (!current) return { kind: 'gone', ...elapsed() };
    if (mustReset && !(await recover(current))) {
      if (!current.isListed()) await drop();
      if (!adapter) return { kind: 'gone', ...elapsed() };
      return { kind: 'failed', why: 'the adapter does not answer a reset', ...elapsed() };
    }
    const ended = await command(current, request);
    const answered = elapsed();
    switch (ended.kind) {
      case 'good':
        return { kind: 'done', status: 'good', data: ended.data, sense: nothing, ...answered };
      case 'failed': {
        const sense = await askSense(current, request.cdb);
        if (sense) return { kind: 'done', status: 'check', data: ended.data, sense, ...answered };
        return { kind: 'failed', why: 'the adapter gives no sense data', ...answered };
      }
      default:
        return lost(ended, current, answered);
    }
  }

  async function lost(
    ended: Extract<Exchange, { kind: 'timeout' | 'gone' | 'broken' }>,
    current: Adapter,
    answered: { readonly elapsedMs: number },
  ): Promise<ScsiAnswer> {
    mustReset = true;
    if (ended.kind === 'timeout') return { kind: 'timeout', ...answered };
    // A device that leaves shows itself as a broken transfer first.
    if (ended.kind === 'gone' || !current.isListed()) {
      await drop();
      return { kind: 'gone', ...answered };
    }
    return { kind: 'failed', why: ended.why, ...answered };
  }

  /** Undefined where there is none to be had; then only a reset helps. */
  async function askSense(current: Adapter, cdb: Uint8Array): Promise<Uint8Array | undefined> {
    if (cdb[0] === requestSense) return nothing;
    const isAta = passThroughs.has(cdb[0] ?? 0);
    const bytes = isAta ? senseBytes.descriptors : senseBytesNow;
    const ended = await command(current, {
      cdb: Uint8Array.of(requestSense, 0, 0, 0, bytes, 0),
      dataBytes: bytes,
      timeoutMs: senseTimeoutMs,
    });
    if (ended.kind === 'good') {
      const isDescriptor = ((ended.data[0] ?? 0) & 0x7e) === descriptorFormat;
      if (isDescriptor) senseBytesNow = senseBytes.descriptors;
      return ended.data;
    }
    if (ended.kind === 'failed') return nothing;
    mustReset = true;
    return undefined;
  }

  function presentAdapter(): Adapter {
    if (adapter) return adapter;
    throw new LastspinError('DEVICE_REFUSED', `${spec} is not there; is it plugged in?`);
  }

  async function reset(kind: ResetKind): Promise<void> {
    isAborting = false;
    // Nothing resets more than leaving the bus does.
    if (kind === 'hard' && !adapter && (await comesBack())) return;
    const current = presentAdapter();
    if (kind === 'hard') return resetPort(current);
    // Nothing is under way that could be aborted.
    if (kind === 'abort' && !mustReset) return;
    if (await recover(current)) return;
    mustReset = true;
    throw new LastspinError('DEVICE_REFUSED', `${spec} does not answer a bulk-only reset`);
  }

  async function resetPort(current: Adapter): Promise<void> {
    const end = await current.portReset();
    if (end === 'done') {
      await clock.sleep(resetPauseMs);
      mustReset = false;
      return;
    }
    mustReset = true;
    if (end === 'gone') await drop();
    throw new LastspinError('DEVICE_REFUSED', `${spec}: the reset of its USB port failed`);
  }

  async function comesBack(): Promise<boolean> {
    for (const endMs = clock.now() + returnLimitMs; clock.now() < endMs; ) {
      if (await isThere()) return true;
      await clock.sleep(returnPollMs);
    }
    return false;
  }

  async function isThere(): Promise<boolean> {
    if (adapter?.isListed()) return true;
    await drop();
    try {
      const found = chooseAdapter(await seeAdapters(library, name, clock), name, wanted);
      adapter = await openAdapter(library, found, clock);
      say(`${spec} is back${found.location ? ` at USB port ${found.location}` : ''}`);
      return true;
    } catch (error) {
      // It is not there yet, or the system has not yet let go of it.
      if (isLastspinError(error, 'DRIVE_OPEN_FAILED')) return false;
      throw error;
    }
  }

  return {
    name: spec,
    transferBytesMax,
    resets,
    bridge: { vendorId: name.vendorId, productId: name.productId },
    send: (request) => inTurn(() => send(request)),
    reset(kind) {
      // What is under way ends first.
      isAborting = true;
      adapter?.cancel();
      return inTurn(() => reset(kind));
    },
    isThere: () => inTurn(isThere),
    onNotice(handler) {
      say = handler;
    },
    async close() {
      isAborting = true;
      adapter?.cancel();
      await last;
      isClosed = true;
      await drop();
    },
  };
}

function specOf({ vendorId, productId, serialNumber }: UsbName): string {
  const ids = `usb-bot:${hexId(vendorId)}:${hexId(productId)}`;
  return serialNumber === undefined ? ids : `${ids}:${serialNumber}`;
}
