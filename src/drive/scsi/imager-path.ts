/** SCSI commands to a drive behind an imager, through the protocol's passthrough. The drive's reads go another
 * way there; this is for the questions beyond them. */

import type { Caller } from '../../../firmware-protocol/caller.js';
import { capabilityBits, commands, scsiOutcomes } from '../../../firmware-protocol/commands.js';
import { ReplyError } from '../../../firmware-protocol/device.js';
import { LastspinError, reasonOf } from '../../errors.js';
import type { ScsiAnswer, ScsiCommand, ScsiPath } from './path.js';

/** Beyond the drive's own deadline, for the line. */
const linkMs = 15_000;
/** SAM-5 table 48: CHECK CONDITION. */
const checkCondition = 0x02;
const busyStatuses: ReadonlySet<number> = new Set([0x08, 0x28]);
/** Most bytes that are asked for: pages and logs. */
const transferBytesMax = 64 * 1024;

/** A path through `caller`, which stays whose it is: closing the path closes nothing. Undefined where the
 * imager passes no commands through. */
export function imagerPath(
  caller: Pick<Caller, 'agreed' | 'call'>,
  name: string,
): ScsiPath | undefined {
  if ((caller.agreed.capabilities & capabilityBits.passthrough) === 0) return undefined;
  return {
    name,
    transferBytesMax: Math.min(transferBytesMax, caller.agreed.bufferBytes),
    // The imager's own resets are the drive's; commands have none.
    resets: new Set(),
    send: (command) => sendThrough(caller, command),
    async reset() {
      throw new LastspinError('DEVICE_REFUSED', 'commands through an imager have no resets');
    },
    isThere: async () => false,
    close: async () => {},
  };
}

async function sendThrough(
  caller: Pick<Caller, 'call'>,
  { cdb, dataBytes, timeoutMs }: ScsiCommand,
): Promise<ScsiAnswer> {
  try {
    const request = { timeoutMs: Math.round(timeoutMs), cdb, lengthMax: dataBytes };
    const answer = await caller.call(commands.passthrough, request, {
      timeoutMs: timeoutMs + linkMs,
    });
    const { outcome, scsiStatus, sense, data, elapsedMicros } = answer;
    const elapsedMs = elapsedMicros / 1000;
    if (outcome === scsiOutcomes.timeout) return { kind: 'timeout', elapsedMs };
    if (outcome === scsiOutcomes.gone) return { kind: 'gone', elapsedMs };
    const isBusy = busyStatuses.has(scsiStatus);
    const isGood = outcome === scsiOutcomes.good && scsiStatus !== checkCondition;
    const status = isBusy ? 'busy' : isGood ? 'good' : 'check';
    return { kind: 'done', status, data: data.subarray(0, dataBytes), sense, elapsedMs };
  } catch (error) {
    if (!(error instanceof Error && error.cause instanceof ReplyError)) throw error;
    if (error.cause.reply === 'noDrive') return { kind: 'gone', elapsedMs: 0 };
    return { kind: 'failed', why: reasonOf(error), elapsedMs: 0 };
  }
}
