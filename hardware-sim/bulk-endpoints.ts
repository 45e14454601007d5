/** One pair of bulk endpoints of a device that is played: the host's IN transfers that wait for something to be
 * sent, and the halts (USB 2.0, 5.8). */
import type { AnswerIn } from './usb-device.js';
import { directionIn, noBytes } from './usb-standard.js';

/** Room that the host has for what the device sends. */
export interface WaitingIn {
  readonly lengthMax: number;
  readonly answer: AnswerIn;
}

/** `pump` sends what can be sent, whenever that may have become possible. */
export function createBulkEndpoints(pump: () => void) {
  const waiting: WaitingIn[] = [];
  const halted = new Set<number>();
  const directionOf = (endpoint: number) => endpoint & directionIn;

  return {
    /** Takes room from the host. Returns what cancels it. */
    take(lengthMax: number, answer: AnswerIn): () => void {
      if (halted.has(directionIn)) {
        answer('stall', noBytes);
        return () => {};
      }
      const transfer: WaitingIn = { lengthMax, answer };
      waiting.push(transfer);
      pump();
      return () => {
        const at = waiting.indexOf(transfer);
        if (at === -1) return;
        waiting.splice(at, 1);
        answer('cancelled', noBytes);
      };
    },
    /** The oldest room there is, which is taken; undefined without any, and while IN is halted. */
    next: (): WaitingIn | undefined => (halted.has(directionIn) ? undefined : waiting.shift()),
    /** The host forgot what it asked for: nothing is answered. */
    forget(): void {
      waiting.splice(0);
    },
    /** All that waits is cancelled, no endpoint is halted any more. */
    startAnew(): void {
      halted.clear();
      for (const { answer } of waiting.splice(0)) answer('cancelled', noBytes);
    },
    /** Lifts all halts, without sending. */
    clearHalts(): void {
      halted.clear();
    },
    /** All transfers from now on are stalled until the host clears it. */
    halt(endpoint: number): void {
      halted.add(directionOf(endpoint));
    },
    /** The same, beginning with the one that waits. */
    stall(endpoint: number): void {
      halted.add(directionOf(endpoint));
      if (directionOf(endpoint) === directionIn) waiting.shift()?.answer('stall', noBytes);
    },
    clearHalt(endpoint: number): void {
      halted.delete(directionOf(endpoint));
      pump();
    },
    isHalted: (endpoint: number): boolean => halted.has(directionOf(endpoint)),
  };
}
