export interface BoardOptions {
  readonly relays?: number;
  readonly answers?: 'bytes' | 'text' | 'nothing';
  /** A relay that is welded shut or has lost its coil. */
  readonly stuck?: number;
}

/** A board's end of the line: takes whole commands of four bytes, as the plainest firmware does. */
export function createBoard({ relays = 2, answers = 'bytes', stuck = 0 }: BoardOptions = {}) {
  const states = Array.from({ length: relays }, () => false);
  const moves: string[] = [];
  const pending: number[] = [];
  function take(received: Uint8Array): Buffer | undefined {
    pending.push(...received);
    let answer: Buffer | undefined;
    while (pending.length >= 4) {
      const [start, relay = 0, action, sum] = pending.splice(0, 4);
      if (start === 0xff && answers === 'bytes') answer = Buffer.from(states.map(Number));
      if (start === 0xff && answers === 'text')
        answer = Buffer.from(
          states.map((on, at) => `CH${at + 1}:${on ? 'ON' : 'OFF'} \r\n`).join(''),
        );
      if (start !== 0xa0 || sum !== ((0xa0 + relay + action!) & 0xff)) continue;
      moves.push(`${relay} ${action}`);
      if (relay !== stuck && relay <= relays) states[relay - 1] = action === 1;
    }
    return answer;
  }
  return { states, moves, take };
}
