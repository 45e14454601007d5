/** Starts the sending process of an `sg:` path. Why a process: see `../io-process.ts`. */
import type { ChildProcess } from 'node:child_process';
import { spawnIoProcess } from '../io-process.js';

/** The files that a sending process opens. */
export interface SenderPaths {
  readonly node: string;
  /** The device's `state` and the host adapter's `scan` in /sys. */
  readonly state: string;
  readonly scan: string;
}

/** Throws DRIVE_OPEN_FAILED where its program is not built. */
export function spawnSender({ node, state, scan }: SenderPaths): ChildProcess {
  return spawnIoProcess('sg/sender.js', [node, state, scan]);
}
