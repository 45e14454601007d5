/** What a way to a drive that takes SCSI commands must do: SG_IO, USB bulk-only. What the commands mean is
 * the matter of the drive above it (drive.ts). */
import type { ResetKind } from '../drive.js';

export interface ScsiCommand {
  /** The command descriptor block, of the length that its operation code asks for. It has passed the
   * read-only list. */
  readonly cdb: Uint8Array;
  /** Most bytes that the drive may send. Nothing is ever sent to it beside the command. */
  readonly dataBytes: number;
  /** From when the command goes out until the path gives up on it. */
  readonly timeoutMs: number;
}

/** How a command ended. A broken path throws LINK_CLOSED instead; all else is a value.
 * - `done`: the device gave a status (SAM-5): `good`, `check` with sense data, `busy` (also TASK SET FULL).
 *   `data` holds what came, which may be less than was asked for.
 * - `timeout`: no answer in time. The device may be busy still; it takes no command until a reset.
 * - `failed`: the path lost the command or could not send it (a phase error, an aborted transfer, a host
 *   adapter's error): nobody knows what the drive did. `why` is a phrase for people.
 * - `gone`: the device is not there. */
export type ScsiAnswer =
  | {
      readonly kind: 'done';
      readonly status: 'good' | 'check' | 'busy';
      readonly data: Uint8Array;
      readonly sense: Uint8Array;
      readonly elapsedMs: number;
    }
  | { readonly kind: 'timeout'; readonly elapsedMs: number }
  | { readonly kind: 'failed'; readonly why: string; readonly elapsedMs: number }
  | { readonly kind: 'gone'; readonly elapsedMs: number };

/** One command at a time, in the order of the calls. */
export interface ScsiPath {
  /** For messages: `sg:/dev/sg2`, `usb-bot:174c:55aa`. */
  readonly name: string;
  /** Most bytes of one transfer. */
  readonly transferBytesMax: number;
  /** Rungs of the ladder that this path has. `abort` ends the command under way, `soft` is the mildest reset of
   * the device (a logical unit or bulk-only reset), `hard` the strongest (a bus or port reset). */
  readonly resets: ReadonlySet<ResetKind>;
  /** Vendor and product of a USB bridge in front of the drive, where one is known. */
  readonly bridge?: { readonly vendorId: number; readonly productId: number };
  send(command: ScsiCommand): Promise<ScsiAnswer>;
  /** Throws DEVICE_REFUSED where the rung did not bear, LINK_CLOSED where the path is broken. */
  reset(kind: ResetKind): Promise<void>;
  /** Looks for the device once more where it went away and may be back under another name, until the next
   * command. Says whether it is there. */
  isThere(): Promise<boolean>;
  onNotice?(handler: (notice: string) => void): void;
  close(): Promise<void>;
}
