/** One command over bulk-only transport: command, data, status (BOT 5.3). */
import type { Adapter } from './adapter.js';
import { cswBytes, decodeCsw, encodeCbw, isCswOf } from './bulk-only.js';
import type { TransferEnd } from './transfer.js';

/** How one command ended, before its sense data is asked for. `broken`: nothing but a reset helps. */
export type Exchange =
  | { readonly kind: 'good' | 'failed'; readonly data: Uint8Array }
  | { readonly kind: 'timeout' }
  | { readonly kind: 'gone' }
  | { readonly kind: 'broken'; readonly why: string };

/** What one command is sent over. Its transfers have a deadline in common. */
export interface Lane {
  readonly packetBytes: number;
  transfer(direction: 'in' | 'out', buffer: Buffer): Promise<TransferEnd>;
  clearHalt: Adapter['clearHalt'];
}

const unclear: Exchange = { kind: 'broken', why: 'the adapter stays halted' };
const nothing = new Uint8Array(0);

/** Sends a command that may bring `dataBytes`. Whatever the adapter answers, the end is a value. */
export async function exchange(
  lane: Lane,
  tag: number,
  cdb: Uint8Array,
  dataBytes: number,
): Promise<Exchange> {
  const sent = await lane.transfer('out', encodeCbw(tag, cdb, dataBytes));
  if (sent.kind === 'stall') return { kind: 'broken', why: 'the adapter refused a command' };
  if (sent.kind !== 'done') return unfinished(sent);
  let data: Uint8Array = nothing;
  if (dataBytes > 0) {
    const room = roomFor(dataBytes, lane);
    const came = await lane.transfer('in', room);
    if (came.kind !== 'done' && came.kind !== 'stall') return unfinished(came);
    if (came.bytes > dataBytes) return { kind: 'broken', why: 'more data than was asked for' };
    const brought = room.subarray(0, came.bytes);
    if (came.kind === 'stall' && !(await lane.clearHalt('in'))) return unclear;
    if (came.kind === 'done' && isCswOf(brought, tag)) {
      return concluded(brought, tag, nothing, dataBytes);
    }
    data = brought;
  }
  const status = await readStatus(lane);
  return 'bytes' in status ? concluded(status.bytes, tag, data, dataBytes) : status;
}

/** BOT figure 2: a stall or an empty transfer in place of the status is answered by a second try. */
async function readStatus(lane: Lane): Promise<{ readonly bytes: Buffer } | Exchange> {
  const room = roomFor(cswBytes, lane);
  for (let attempt = 0; attempt < 2; attempt++) {
    const came = await lane.transfer('in', room);
    if (came.kind === 'stall') {
      if (!(await lane.clearHalt('in'))) return unclear;
    } else if (came.kind !== 'done') {
      return unfinished(came);
    } else if (came.bytes > 0) {
      return { bytes: room.subarray(0, came.bytes) };
    }
  }
  return { kind: 'broken', why: 'the adapter gives no status' };
}

function concluded(bytes: Buffer, tag: number, data: Uint8Array, dataBytes: number): Exchange {
  const csw = decodeCsw(bytes, tag, dataBytes);
  if (csw.kind === 'broken') return { kind: 'broken', why: `the adapter answered ${csw.why}` };
  // What the adapter does not vouch for is not data.
  return { kind: csw.kind, data: data.subarray(0, dataBytes - csw.residueBytes) };
}

/** A transfer that did not end as the protocol wants. */
function unfinished(end: { readonly kind: string; readonly why?: string }): Exchange {
  if (end.kind === 'timeout') return { kind: 'timeout' };
  if (end.kind === 'cancelled') return { kind: 'broken', why: 'aborted' };
  if (end.kind === 'gone') return { kind: 'gone' };
  return { kind: 'broken', why: end.why ?? 'a transfer failed' };
}

/** Whole packets: a device that sends more than it should must not break the bus. */
function roomFor(bytes: number, { packetBytes }: Lane): Buffer {
  return Buffer.alloc(Math.ceil(bytes / packetBytes) * packetBytes);
}
