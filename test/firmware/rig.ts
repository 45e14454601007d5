/** Drives the C core on a clock of the test's (firmware/fuzz/rig.c): says what happens, and reads what the
 * device did and when. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Codec } from '../../firmware-protocol/codec.js';
import { commands, events, responseBit } from '../../firmware-protocol/commands.js';
import { createFrameDecoder, encodeFrame, noDiscards } from '../../firmware-protocol/frame.js';
import { decodeHeader, decodeReply, encodeMessage } from '../../firmware-protocol/message.js';

/** What the device did, at a time counted from the command that let it. */
export interface Act {
  readonly kind: string;
  readonly atMs: number;
  readonly numbers: readonly number[];
}

/** A message that the device sent. */
export interface Said {
  readonly atMs: number;
  readonly link: number;
  readonly name: string;
  readonly id: number;
  readonly reply?: string;
  // Fields of whatever message it is: the tests name them.
  readonly value: Readonly<Record<string, number | string | Uint8Array>>;
}

export interface Ran {
  readonly acts: readonly Act[];
  readonly said: readonly Said[];
}

type CommandName = keyof typeof commands;
type AnyCodec = Codec<Record<string, unknown>>;

const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

export class Rig {
  private readonly child: ChildProcess;
  private readonly waiting: ((lines: string[]) => void)[] = [];
  private readonly decoders = [0, 1].map(() => createCollector());
  private nextId = 0;

  constructor(program: string) {
    this.child = spawn(program, [], { stdio: ['pipe', 'pipe', 'inherit'] });
    let lines: string[] = [];
    createInterface({ input: this.child.stdout! }).on('line', (line) => {
      if (line !== '.') {
        lines.push(line);
        return;
      }
      this.waiting.shift()?.(lines);
      lines = [];
    });
  }

  close(): void {
    this.child.kill();
  }

  /** One command of rig.c; the lines of its answer. */
  raw(command: string): Promise<string[]> {
    this.child.stdin!.write(`${command}\n`);
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  /** One command that makes things happen. */
  async do(command: string): Promise<Ran> {
    const acts: Act[] = [];
    const said: Said[] = [];
    for (const line of await this.raw(command)) {
      const [kind = '', at, ...rest] = line.split(' ');
      const atMs = Number(at);
      if (kind === 'tx') {
        const link = Number(rest[0]);
        for (const message of this.decoders[link]!(rest[1]!)) {
          said.push({ atMs, link, ...readMessage(message) });
        }
      } else acts.push({ kind, atMs, numbers: rest.map(Number) });
    }
    return { acts, said };
  }

  run(ms: number): Promise<Ran> {
    return this.do(`run ${ms}`);
  }

  /** Starts the device, opens its first link and says HELLO on it. */
  async start(session = 1): Promise<void> {
    await this.do('boot 1');
    await this.do('open 0');
    await this.hello(session);
  }

  async hello(session: number, link = 0): Promise<Said> {
    const request = { magic: 0x4e50534c, major: 1, minor: 0, frameBytesMax: 256, session };
    return this.ask('hello', request, { link });
  }

  /** Sends a request without waiting for its answer; its id. */
  async say(
    name: CommandName,
    request: Readonly<Record<string, unknown>>,
    { link = 0, id = ++this.nextId }: { link?: number; id?: number } = {},
  ): Promise<number> {
    await this.tell(name, request, { link, id });
    return id;
  }

  /** Sends a request; what the device does while it takes it. */
  tell(
    name: CommandName,
    request: Readonly<Record<string, unknown>>,
    { link = 0, id = ++this.nextId }: { link?: number; id?: number } = {},
  ): Promise<Ran> {
    const { code, request: codec } = commands[name];
    const message = encodeMessage(code, id, codec as unknown as AnyCodec, request);
    return this.do(`rx ${link} ${hexOf(encodeFrame(message))}`);
  }

  /** Sends a request; what the device answers at once. */
  async ask(
    name: CommandName,
    request: Readonly<Record<string, unknown>> = {},
    options: { link?: number; id?: number } = {},
  ): Promise<Said> {
    const id = await this.say(name, request, options);
    const { said } = await this.run(0);
    const answer = said.find((one) => one.name === name && one.id === id);
    if (!answer) throw new Error(`no answer to ${name}: ${JSON.stringify(said)}`);
    return answer;
  }

  async status(): Promise<Readonly<Record<string, number>>> {
    return (await this.ask('status')).value as Record<string, number>;
  }

  /** Switches on and lets the drive become ready. */
  async powerOn(): Promise<void> {
    await this.ask('power', { action: 1, offMs: 0, standbyFirst: 0 });
    await this.run(20);
    await this.do('ready');
    await this.run(0);
  }
}

function createCollector(): (hex: string) => Uint8Array[] {
  let messages: Uint8Array[] = [];
  const decoder = createFrameDecoder({
    frameBytesMax: 32_768,
    discarded: noDiscards(),
    onMessage: (message) => messages.push(message.slice()),
  });
  return (hex) => {
    messages = [];
    decoder.push(Buffer.from(hex, 'hex'));
    return messages;
  };
}

function readMessage(message: Uint8Array): Pick<Said, 'name' | 'id' | 'reply' | 'value'> {
  const { code, id, body } = decodeHeader(message);
  const event = Object.values(events).find((one) => one.code === code);
  if (event) return { name: event.name, id, value: event.body.read(body) as Said['value'] };
  const found = Object.entries(commands).find(([, one]) => one.code === (code & ~responseBit));
  if (!found) return { name: `code ${code}`, id, value: {} };
  const reply = decodeReply(body, found[1].response as unknown as AnyCodec);
  const value = (reply.reply === 'ok' ? reply.value : { reason: reply.reason }) as Said['value'];
  return { name: found[0], id, reply: reply.reply, value };
}
