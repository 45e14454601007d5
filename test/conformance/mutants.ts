/** Imagers that are wrong in one thing each: a filter between the suite and the right simulated imager. */
import { crc32 } from 'node:zlib';
import {
  commands,
  events,
  powerStates,
  readOutcomes,
  replyCodes,
  responseBit,
} from '../../firmware-protocol/commands.js';
import {
  createFrameDecoder,
  decodeFrame,
  encodeFrame,
  noDiscards,
} from '../../firmware-protocol/frame.js';
import { encodeMessage, encodeRefusal } from '../../firmware-protocol/message.js';
import type { Filter, RigOptions } from './rig.js';

export interface Mutant extends Omit<RigOptions, 'filter'> {
  readonly clause: string;
  /** What else is seen of it while its clause is looked at. */
  readonly also?: readonly string[];
  /** What it does wrong. */
  readonly does: string;
  /** Made anew for each run: it may remember things. */
  readonly filter?: () => Filter;
}

// What messages are, and messages that differ from them in a field

type Message = Uint8Array;
type Name = keyof typeof commands;

const viewOf = (message: Message) =>
  new DataView(message.buffer, message.byteOffset, message.byteLength);
const idOf = (message: Message) => viewOf(message).getUint32(1, true);
const isRequest = (message: Message, name: Name) => message[0] === commands[name].code;
const isAnswer = (message: Message, name: Name) =>
  message[0] === (commands[name].code | responseBit);
const isOk = (message: Message, name: Name) =>
  isAnswer(message, name) && message[5] === replyCodes.ok;
const isEvent = (message: Message, name: keyof typeof events) => message[0] === events[name].code;
const isRefusal = (message: Message, reply: keyof typeof replyCodes) =>
  message[0]! >= responseBit && message[5] === replyCodes[reply];

/** Where the fields of these messages begin. */
const at = {
  hello: { major: 9, minor: 10, magic: 5, frameBytesMax: 11, session: 15 },
  welcome: { capabilities: 8, frameBytesMax: 12 },
  read: { batch: 5, lba: 9, count: 17, timeoutMs: 21, slowMs: 25, stopOn: 29, releaseBelow: 30 },
  result: { outcome: 6, goodCount: 7, elapsedMicros: 25, dataCrc: 37, lba: 41 },
  status: {
    powerState: 6,
    rail5Millivolts: 10,
    rail12Millivolts: 14,
    uptimeMs: 18,
    readIdDone: 30,
    powerCycles: 34,
    framesDiscarded: 38,
  },
  power: { action: 5, offMs: 6, standbyFirst: 10 },
  piece: { offset: 5 },
} as const;

function edited(message: Message, edit: (view: DataView) => void): Message {
  const copy = Uint8Array.from(message);
  edit(viewOf(copy));
  return copy;
}
const withU8 = (message: Message, offset: number, value: number) =>
  edited(message, (view) => view.setUint8(offset, value));
const withU32 = (message: Message, offset: number, value: number) =>
  edited(message, (view) => view.setUint32(offset, value >>> 0, true));
const withId = (message: Message, id: number) => withU32(message, 1, id);
const u32 = (message: Message, offset: number) => viewOf(message).getUint32(offset, true);

/** A filter of single messages: what `change` gives, or nothing at all. */
const towardsLaptop =
  (change: (message: Message) => Message | undefined): (() => Filter) =>
  () => ({ toLaptop: (message) => list(change(message)) });
const towardsDevice =
  (change: (message: Message) => Message | undefined): (() => Filter) =>
  () => ({ toDevice: (message) => list(change(message)) });
const list = (message: Message | undefined) => (message ? [message] : []);

/** The same, but once only, when the suite has begun. */
function once(is: (message: Message) => boolean, change: (message: Message) => Message) {
  return (): Filter => {
    let seen = 0;
    return {
      toLaptop: (message) => [is(message) && ++seen === 6 ? change(message) : message],
    };
  };
}

/** Bytes as a frame, right or wrong. */
function stuffed(bytes: Uint8Array): Uint8Array {
  const frame: number[] = [0];
  let codeAt = 0;
  for (const byte of bytes) {
    if (byte !== 0) frame.push(byte);
    else {
      frame[codeAt] = frame.length - codeAt;
      codeAt = frame.push(0) - 1;
    }
  }
  frame[codeAt] = frame.length - codeAt;
  return Uint8Array.from([...frame, 0]);
}

const unknownRefusal = (message: Message) => isRefusal(message, 'unknownCommand');
/** Wrong frames only for refusals of unknown requests, so that the rest can be seen. */
const framesOfRefusals =
  (frame: (message: Message) => Uint8Array): (() => Filter) =>
  () => ({
    frameToLaptop: (message) => (unknownRefusal(message) ? frame(message) : encodeFrame(message)),
  });

/** Sees every bad frame that goes to the device. */
function onBadFrame(act: (line: Parameters<NonNullable<Filter['toDevice']>>[1]) => void) {
  return (): Filter => {
    const discarded = noDiscards();
    const decoder = createFrameDecoder({ frameBytesMax: 4096, discarded, onMessage: () => {} });
    let before = 0;
    return {
      bytesToDevice(bytes, line) {
        decoder.push(bytes);
        const count = Object.values(discarded).reduce((sum, each) => sum + each, 0);
        if (count > before) act(line);
        before = count;
        return bytes;
      },
      toLaptop: (message) => (idOf(message) === ownId ? [] : [message]),
    };
  };
}

/** The id of what a mutant says to the device on its own account. */
const ownId = 0x7fff_ff01;
const powerRequest = (action: number, id = ownId) =>
  encodeMessage(commands.power.code, id, commands.power.request, {
    action,
    offMs: 0,
    standbyFirst: 0,
  });
const statusRequest = encodeMessage(commands.status.code, ownId, commands.status.request, {});

// Frames

const frames: readonly Mutant[] = [
  {
    clause: 'F-1',
    does: 'puts its zeros in front of frames instead of behind them',
    also: ['F-2'],
    filter: framesOfRefusals((message) => encodeFrame(message).subarray(0, -1)),
  },
  {
    clause: 'F-2',
    does: 'sends its CRC most significant byte first',
    filter: framesOfRefusals((message) => {
      const crc = new Uint8Array(4);
      new DataView(crc.buffer).setUint32(0, crc32(message));
      return stuffed(Uint8Array.from([...message, ...crc]));
    }),
  },
  {
    clause: 'F-3',
    does: 'takes no empty run behind a full one',
    filter: () => ({
      bytesToDevice: (bytes) =>
        bytes.length === 257 && bytes.at(-2) === 1 ? new Uint8Array() : bytes,
    }),
  },
  {
    clause: 'F-4',
    does: 'lets a zero through within a frame',
    filter: framesOfRefusals((message) => {
      const frame = encodeFrame(message);
      frame[12] = 0;
      return frame;
    }),
  },
  {
    clause: 'F-5',
    does: 'counts empty frames',
    filter: () => {
      let empty = 0;
      return {
        bytesToDevice(bytes) {
          if (bytes.length > 50 && bytes.every((byte) => byte === 0)) empty += bytes.length;
          return bytes;
        },
        toLaptop: (message) => [
          isOk(message, 'status')
            ? withU32(
                message,
                at.status.framesDiscarded,
                u32(message, at.status.framesDiscarded) + empty,
              )
            : message,
        ],
      };
    },
  },
  {
    clause: 'F-6',
    does: 'begins a new frame where its buffer was full',
    also: ['M-2'],
    filter: () => ({
      bytesToDevice: (bytes) =>
        bytes.length > 4100 && bytes[0] === 0x55 ? bytes.subarray(-11) : bytes,
    }),
  },
  {
    clause: 'F-7',
    does: 'counts no discarded frames',
    filter: towardsLaptop((message) =>
      isOk(message, 'status') ? withU32(message, at.status.framesDiscarded, 0) : message,
    ),
  },
  {
    clause: 'F-7',
    does: 'answers bad frames',
    also: ['M-2'],
    filter: onBadFrame((line) =>
      line.say(encodeRefusal(commands.status.code, 0, 'malformed', 'bad')),
    ),
  },
  {
    clause: 'F-7',
    does: 'does not look at the CRC',
    also: ['M-2'],
    filter: () => ({
      bytesToDevice(bytes) {
        const isStatus = bytes.at(-1) === 0 && bytes[1] === commands.status.code;
        const isWrong = decodeFrame(bytes.subarray(0, -1)) === 'badCrc';
        return isStatus && isWrong ? encodeFrame(withId(statusRequest, 0x5eed_0001)) : bytes;
      },
    }),
  },
  {
    clause: 'F-8',
    does: 'sends no zero when a line opens',
    filter: () => {
      const opened = new Set<number>();
      return {
        bytesToLaptop(bytes, line) {
          const first = !opened.has(line.number);
          opened.add(line.number);
          return first && bytes[0] === 0 ? bytes.subarray(1) : bytes;
        },
      };
    },
  },
  {
    clause: 'T-1',
    does: 'takes one write for one frame',
    filter: () => ({
      bytesToDevice(bytes) {
        const end = bytes.indexOf(0, 1);
        return bytes.at(-1) === 0 && end !== -1 ? bytes.subarray(0, end + 1) : bytes.subarray(0, 1);
      },
    }),
  },
];

// Messages and versions

const messages: readonly Mutant[] = [
  {
    clause: 'M-1',
    does: 'sends a number above 2^53',
    filter: once(
      (message) => isOk(message, 'status'),
      (message) => withU32(message, at.status.uptimeMs + 4, 0xffff_ffff),
    ),
  },
  {
    clause: 'M-2',
    does: 'answers with the next id',
    filter: towardsLaptop((message) =>
      isAnswer(message, 'status') && idOf(message) === 7 ? withId(message, 8) : message,
    ),
  },
  {
    clause: 'M-3',
    does: 'leaves out the last field of a response',
    filter: once(
      (message) => isOk(message, 'status'),
      (message) => message.subarray(0, -4),
    ),
  },
  {
    clause: 'M-4',
    does: 'says why at length',
    filter: towardsLaptop((message) => {
      if (!unknownRefusal(message)) return message;
      const text = new Uint8Array(100).fill(0x61);
      return Uint8Array.from([...message.subarray(0, 6), text.length, 0, ...text]);
    }),
  },
  {
    clause: 'M-4',
    does: 'switches on for an action that does not exist',
    filter: towardsDevice((message) =>
      isRequest(message, 'power') && message[at.power.action] === 3
        ? withU8(message, at.power.action, 1)
        : message,
    ),
  },
  {
    clause: 'M-5',
    does: 'takes missing fields for zeros',
    also: ['M-2'],
    filter: towardsDevice((message) => {
      const command = Object.values(commands).find(({ code }) => code === message[0]);
      if (!command || command.code === commands.hello.code) return message;
      const missing = command === commands.power ? 11 - message.length : 1;
      return Uint8Array.from([...message, ...new Uint8Array(Math.max(0, missing))]);
    }),
  },
  {
    clause: 'M-5',
    does: 'answers a message that is too short for a header',
    filter: () => ({
      toDevice(message, line) {
        if (message.length >= 5) return [message];
        line.say(encodeRefusal(commands.status.code, 0x5eed_0002, 'malformed', 'short'));
        return [];
      },
    }),
  },
  {
    clause: 'V-1',
    does: 'refuses later minor versions',
    filter: () => ({
      toDevice(message, line) {
        if (!isRequest(message, 'hello') || message[at.hello.minor] === 0) return [message];
        line.say(encodeRefusal(commands.hello.code, idOf(message), 'version', 'only 1.0'));
        return [];
      },
    }),
  },
  {
    clause: 'V-2',
    does: 'refuses what is longer than it knows',
    filter: () => ({
      toDevice(message, line) {
        if (!isRequest(message, 'status') || message.length === 5) return [message];
        line.say(encodeRefusal(commands.status.code, idOf(message), 'malformed', 'too long'));
        return [];
      },
    }),
  },
  {
    clause: 'V-3',
    does: 'calls unknown requests unsupported',
    filter: towardsLaptop((message) =>
      unknownRefusal(message) ? withU8(message, 5, replyCodes.unsupported) : message,
    ),
  },
  {
    clause: 'V-4',
    does: 'believes the fields of another version',
    filter: () => ({
      toDevice(message, line) {
        if (!isRequest(message, 'hello') || u32(message, at.hello.frameBytesMax) >= 256) {
          return [message];
        }
        line.say(encodeRefusal(commands.hello.code, idOf(message), 'limit', 'too short'));
        return [];
      },
    }),
  },
  {
    clause: 'V-5',
    does: 'sets a capability bit that has no meaning',
    filter: towardsLaptop((message) =>
      isOk(message, 'hello')
        ? withU32(
            message,
            at.welcome.capabilities,
            u32(message, at.welcome.capabilities) | (1 << 20),
          )
        : message,
    ),
  },
];

// Sessions and control commands

/** Tells a HELLO that repeats its session from one that begins one. */
function helloRepeats() {
  let session: number | undefined;
  return (message: Message) => {
    const next = u32(message, at.hello.session);
    const repeats = next === session;
    session = next;
    return repeats;
  };
}

const sessions: readonly Mutant[] = [
  {
    clause: 'H-1',
    does: 'takes more than three seconds for a repeated HELLO',
    filter: () => {
      const repeats = helloRepeats();
      return {
        toDevice(message, line) {
          if (!isRequest(message, 'hello') || !repeats(message)) return [message];
          line.clock.after(3300, () => line.tell(message));
          return [];
        },
      };
    },
  },
  {
    clause: 'H-2',
    does: 'does not look at the magic',
    filter: towardsDevice((message) =>
      isRequest(message, 'hello') ? withU32(message, at.hello.magic, 0x4e50_534c) : message,
    ),
  },
  {
    clause: 'H-3',
    does: 'does not name its version',
    filter: towardsLaptop((message) =>
      isRefusal(message, 'version') ? message.subarray(0, 6) : message,
    ),
  },
  {
    clause: 'H-4',
    does: 'answers with its own limit instead of the smaller one',
    filter: towardsLaptop((message) =>
      isOk(message, 'hello') ? withU32(message, at.welcome.frameBytesMax, 4096) : message,
    ),
  },
  {
    clause: 'H-4',
    does: 'sends longer messages than it agreed to',
    also: ['R-3'],
    filter: () => {
      let agreed = 0;
      return {
        toDevice(message) {
          const offered = isRequest(message, 'hello') ? u32(message, at.hello.frameBytesMax) : 0;
          if (offered < 256) return [message];
          agreed = Math.min(4096, offered);
          return [withU32(message, at.hello.frameBytesMax, 4096)];
        },
        toLaptop: (message) => [
          isOk(message, 'hello') ? withU32(message, at.welcome.frameBytesMax, agreed) : message,
        ],
      };
    },
  },
  {
    clause: 'H-5',
    does: 'remembers responses from one session to the next',
    filter: () => {
      const answers = new Map<number, Message>();
      return {
        toDevice(message, line) {
          const known = isRequest(message, 'power') ? answers.get(idOf(message)) : undefined;
          if (!known) return [message];
          line.say(known);
          return [];
        },
        toLaptop(message) {
          if (isAnswer(message, 'power')) answers.set(idOf(message), message);
          return [message];
        },
      };
    },
  },
  {
    clause: 'H-6',
    does: 'begins a new session with every HELLO',
    filter: () => {
      let drawn = 0x4000_0000;
      return {
        toDevice: (message) => [
          isRequest(message, 'hello') ? withU32(message, at.hello.session, drawn++) : message,
        ],
      };
    },
  },
  {
    clause: 'H-7',
    does: 'serves whoever came last',
    filter: () => {
      const lines = new Map<number, () => void>();
      return {
        toDevice(message, line) {
          if (isRequest(message, 'hello')) {
            for (const [number, cut] of lines) if (number !== line.number) cut();
            lines.clear();
            lines.set(line.number, line.cutDevice);
          }
          return [message];
        },
      };
    },
  },
  {
    clause: 'H-7',
    does: 'never gives a second client its turn',
    filter: () => {
      const open = new Set<number>();
      return {
        onClose: (line) => void open.delete(line.number),
        toDevice(message, line) {
          const isFirst = [...open].every((number) => number >= line.number);
          open.add(line.number);
          if (isFirst || !isRequest(message, 'hello')) return [message];
          line.say(encodeRefusal(commands.hello.code, idOf(message), 'busy', 'another program'));
          return [];
        },
      };
    },
  },
  {
    clause: 'H-7',
    does: 'lets a new session wait for the last one',
    device: (device) => {
      device.abort = () => {};
    },
  },
  {
    clause: 'H-8',
    does: 'opens a session by itself',
    filter: () => {
      const greeted = new Set<number>();
      const hello = encodeMessage(commands.hello.code, ownId, commands.hello.request, {
        magic: 0x4e50_534c,
        major: 1,
        minor: 0,
        frameBytesMax: 4096,
        session: 99,
      });
      return {
        toDevice(message, line) {
          const first = !greeted.has(line.number) && !isRequest(message, 'hello');
          greeted.add(line.number);
          return first ? [hello, message] : [message];
        },
        toLaptop: (message) => (idOf(message) === ownId ? [] : [message]),
      };
    },
  },
  {
    clause: 'H-9',
    does: 'switches off at HELLO',
    filter: () => ({
      toDevice: (message) => (isRequest(message, 'hello') ? [message, powerRequest(0)] : [message]),
      toLaptop: (message) => (idOf(message) === ownId ? [] : [message]),
    }),
  },
  {
    clause: 'H-9',
    does: 'switches on at HELLO',
    filter: () => {
      const repeats = helloRepeats();
      return {
        toDevice: (message) =>
          isRequest(message, 'hello') && repeats(message) ? [message, powerRequest(1)] : [message],
        toLaptop: (message) => (idOf(message) === ownId ? [] : [message]),
      };
    },
  },
  {
    clause: 'C-1',
    does: 'takes only the next id',
    filter: () => {
      let last: number | undefined;
      return {
        toDevice(message) {
          if (isRequest(message, 'hello')) last = undefined;
          if (!isRequest(message, 'power')) return [message];
          const fits = last === undefined || idOf(message) === last + 1;
          last = idOf(message);
          return fits ? [message] : [];
        },
      };
    },
  },
  {
    clause: 'C-3',
    does: 'does a command as often as it comes',
    filter: () => {
      const asked = new Map<number, number>();
      let next = 1;
      return {
        toDevice(message) {
          if (!isRequest(message, 'power')) return [message];
          asked.set(next, idOf(message));
          return [withId(message, next++)];
        },
        toLaptop: (message) => [
          isAnswer(message, 'power')
            ? withId(message, asked.get(idOf(message)) ?? idOf(message))
            : message,
        ],
      };
    },
  },
  {
    clause: 'C-3',
    does: 'drops a copy of what it could repeat',
    filter: () => {
      const asked = new Set<number>();
      return {
        toDevice(message) {
          if (isRequest(message, 'hello')) asked.clear();
          if (!isRequest(message, 'power')) return [message];
          const copy = asked.has(idOf(message));
          asked.add(idOf(message));
          return copy ? [] : [message];
        },
      };
    },
  },
  {
    clause: 'C-3',
    does: 'answers a copy by what is now',
    filter: () => {
      const answered = new Set<number>();
      return {
        toLaptop(message) {
          if (!isOk(message, 'power')) return [message];
          const copy = answered.has(idOf(message));
          answered.add(idOf(message));
          return [copy ? withU8(message, 6, powerStates.cooling) : message];
        },
      };
    },
  },
  {
    clause: 'C-4',
    does: 'repeats a status by its id',
    filter: () => {
      const answers = new Map<number, Message>();
      return {
        toDevice(message, line) {
          const known = isRequest(message, 'status') ? answers.get(idOf(message)) : undefined;
          if (!known || idOf(message) !== 77) return [message];
          line.say(known);
          return [];
        },
        toLaptop(message) {
          if (isAnswer(message, 'status')) answers.set(idOf(message), message);
          return [message];
        },
      };
    },
  },
  {
    clause: 'C-5',
    does: 'identifies when all reads are done',
    filter: () => {
      let reads = 0;
      const held: Message[] = [];
      return {
        toDevice(message) {
          if (isRequest(message, 'read')) reads++;
          return [message];
        },
        toLaptop(message) {
          if (isAnswer(message, 'read')) reads--;
          if (isAnswer(message, 'identify') && reads > 0) {
            held.push(message);
            return [];
          }
          return reads > 0 ? [message] : [message, ...held.splice(0)];
        },
      };
    },
  },
  {
    clause: 'C-6',
    does: 'answers what it has not by refused',
    kind: 'power-only',
    filter: towardsLaptop((message) =>
      isRefusal(message, 'unsupported') ? withU8(message, 5, replyCodes.refused) : message,
    ),
  },
  {
    clause: 'C-7',
    does: 'has room for five frames only',
    filter: () => ({
      bytesToDevice(bytes) {
        let end = 0;
        for (let count = 0; count < 5; count++) end = bytes.indexOf(0, end) + 1 || bytes.length;
        return bytes.length > 100 ? bytes.subarray(0, end) : bytes;
      },
    }),
  },
  {
    clause: 'E-1',
    does: 'sends events twice',
    filter: () => ({
      toLaptop: (message) => (isEvent(message, 'gap') ? [message, message] : [message]),
    }),
  },
];

// Reads

/** Follows which read a session expects next. */
function nextRead() {
  let next = 0;
  return {
    /** Whether a message is a read that comes in its turn, and counts it. */
    isNext(message: Message) {
      if (isRequest(message, 'hello')) next = 0;
      if (!isRequest(message, 'read') || idOf(message) !== next) return false;
      next++;
      return true;
    },
    get id() {
      return next;
    },
    count: () => next++,
  };
}

const isPiece = (message: Message) => isEvent(message, 'data') || isEvent(message, 'fill');

const reads: readonly Mutant[] = [
  {
    clause: 'R-1',
    does: 'takes whatever id comes for the next one',
    filter: () => {
      const next = nextRead();
      const asked = new Map<number, number>();
      return {
        toDevice(message) {
          if (next.isNext(message) || !isRequest(message, 'read')) return [message];
          asked.set(next.id, idOf(message));
          return [withId(message, next.count())];
        },
        toLaptop: (message) => [
          isAnswer(message, 'read') && asked.has(idOf(message))
            ? withId(message, asked.get(idOf(message))!)
            : message,
        ],
      };
    },
  },
  {
    clause: 'R-2',
    does: 'never calls a read slow',
    filter: towardsLaptop((message) =>
      isOk(message, 'read') && message[at.result.outcome] === readOutcomes.slow
        ? withU8(message, at.result.outcome, readOutcomes.good)
        : message,
    ),
  },
  {
    clause: 'R-2',
    does: 'waits longer than timeoutMs',
    filter: towardsDevice((message) =>
      isRequest(message, 'read') ? withU32(message, at.read.timeoutMs, 20_000) : message,
    ),
  },
  {
    clause: 'R-3',
    does: 'sends pieces out of order',
    filter: () => {
      let held: Message | undefined;
      return {
        toLaptop(message) {
          if (isEvent(message, 'data') && u32(message, at.piece.offset) === 0) {
            held = message;
            return [];
          }
          const before = held;
          held = undefined;
          return before ? [message, before] : [message];
        },
      };
    },
  },
  {
    clause: 'R-4',
    does: 'forgets results before they are released',
    filter: towardsDevice((message) =>
      isRequest(message, 'read') ? withU32(message, at.read.releaseBelow, idOf(message)) : message,
    ),
  },
  {
    clause: 'R-5',
    does: 'sends a wrong checksum',
    filter: towardsLaptop((message) =>
      isOk(message, 'read')
        ? withU32(message, at.result.dataCrc, u32(message, at.result.dataCrc) ^ 1)
        : message,
    ),
  },
  {
    clause: 'R-5',
    does: 'names another LBA',
    filter: towardsLaptop((message) =>
      isOk(message, 'read') ? withU32(message, at.result.lba, 12_345) : message,
    ),
  },
  {
    clause: 'R-5',
    does: 'calls a read good that is short of a sector',
    filter: towardsLaptop((message) =>
      isOk(message, 'read') && message[at.result.outcome] === readOutcomes.good
        ? withU32(message, at.result.goodCount, u32(message, at.result.goodCount) - 1)
        : message,
    ),
  },
  {
    clause: 'R-6',
    does: 'stops no batch',
    filter: () => {
      let batch = 0x1000;
      return {
        toDevice: (message) => [
          isRequest(message, 'read') ? withU32(message, at.read.batch, batch++) : message,
        ],
      };
    },
  },
  {
    clause: 'R-6',
    does: 'stops on an outcome that was not named',
    filter: towardsDevice((message) =>
      isRequest(message, 'read') && message[at.read.stopOn] !== 0
        ? withU8(message, at.read.stopOn, 7)
        : message,
    ),
  },
  {
    clause: 'R-7',
    does: 'aborts only what has arrived',
    filter: towardsDevice((message) =>
      isRequest(message, 'abort') ? withU32(message, 5, 0) : message,
    ),
  },
  {
    clause: 'R-7',
    does: 'waits for the read under way to end by itself',
    device: (device) => {
      device.abort = () => {};
    },
  },
  {
    clause: 'R-8',
    does: 'asks for no lost read',
    filter: towardsLaptop((message) => (isEvent(message, 'gap') ? undefined : message)),
  },
  {
    clause: 'R-8',
    does: 'asks for a lost read with each that follows',
    filter: () => {
      const next = nextRead();
      let event = 0x100;
      return {
        toDevice(message, line) {
          const inTurn = next.isNext(message);
          if (isRequest(message, 'read') && !inTurn && idOf(message) > next.id) {
            line.say(
              encodeMessage(events.gap.code, event++, events.gap.body, { readIdNext: next.id }),
            );
            return [];
          }
          return [message];
        },
      };
    },
  },
  {
    clause: 'R-8',
    does: 'asks for a lost read once and never again',
    filter: () => {
      let told = false;
      return {
        toLaptop(message) {
          if (!isEvent(message, 'gap')) return [message];
          const first = !told;
          told = true;
          return first ? [message] : [];
        },
      };
    },
  },
  {
    clause: 'R-9',
    does: 'answers a copy with data once more',
    filter: () => {
      const next = nextRead();
      return {
        toDevice(message, line) {
          const inTurn = next.isNext(message);
          if (isRequest(message, 'read') && !inTurn && idOf(message) < next.id) {
            const piece = { offset: 0, bytes: new Uint8Array(512) };
            line.say(encodeMessage(events.data.code, idOf(message), events.data.body, piece));
          }
          return [message];
        },
      };
    },
  },
  {
    clause: 'R-9',
    does: 'reads again what is asked for again',
    filter: () => {
      const answered = new Set<number>();
      return {
        toDevice(message) {
          if (isRequest(message, 'hello')) answered.clear();
          return [message];
        },
        toLaptop(message) {
          if (!isOk(message, 'read')) return [message];
          const again = answered.has(idOf(message));
          answered.add(idOf(message));
          return [again ? withU32(message, at.result.elapsedMicros, 4321) : message];
        },
      };
    },
  },
  {
    clause: 'R-9',
    does: 'says nothing to a copy',
    filter: () => {
      const next = nextRead();
      return {
        toDevice(message) {
          const inTurn = next.isNext(message);
          return isRequest(message, 'read') && !inTurn && idOf(message) < next.id ? [] : [message];
        },
      };
    },
  },
  {
    clause: 'R-9',
    does: 'sends the whole read for a part of it',
    filter: towardsDevice((message) =>
      isRequest(message, 'resend') && u32(message, 13) > 0 ? withU32(message, 9, 0) : message,
    ),
  },
  {
    clause: 'R-10',
    does: 'counts a result when the next one goes',
    filter: towardsLaptop((message) => {
      if (!isOk(message, 'status')) return message;
      const done = u32(message, at.status.readIdDone);
      return withU32(message, at.status.readIdDone, Math.max(0, done - 1));
    }),
  },
  {
    clause: 'R-11',
    does: 'goes on where its link was cut',
    filter: () => ({
      toLaptop: (message, line) => {
        const first = isPiece(message) && u32(message, at.piece.offset) === 0;
        return line.number > 0 && first ? [] : [message];
      },
    }),
  },
  {
    clause: 'R-12',
    does: 'drops a read of no sectors',
    filter: towardsDevice((message) =>
      isRequest(message, 'read') && message.length > 21 && u32(message, at.read.count) === 0
        ? undefined
        : message,
    ),
  },
  {
    clause: 'R-13',
    does: 'sends every sector as data',
    filter: () => ({
      toLaptop(message) {
        if (!isEvent(message, 'fill')) return [message];
        const [offset, length, byte] = [u32(message, 5), u32(message, 9), message[13]!];
        const bytes = new Uint8Array(512).fill(byte);
        return Array.from({ length: length / 512 }, (_, index) =>
          encodeMessage(events.data.code, idOf(message), events.data.body, {
            offset: offset + index * 512,
            bytes,
          }),
        );
      },
    }),
  },
  {
    clause: 'R-13',
    does: 'sends a fill for each sector',
    filter: () => ({
      toLaptop(message) {
        if (!isEvent(message, 'fill')) return [message];
        const [offset, length, byte] = [u32(message, 5), u32(message, 9), message[13]!];
        return Array.from({ length: length / 512 }, (_, index) =>
          encodeMessage(events.fill.code, idOf(message), events.fill.body, {
            offset: offset + index * 512,
            length: 512,
            byte,
          }),
        );
      },
    }),
  },
];

// Power, silence and guards

const editStatus = (edit: (message: Message) => Message) =>
  towardsLaptop((message) => (isOk(message, 'status') ? edit(message) : message));
/** Every request `limits` with some of its fields set so. */
const editLimits = (edit: (view: DataView) => void) =>
  towardsDevice((message) => (isRequest(message, 'limits') ? edited(message, edit) : message));
const editWatchdog = (edit: (view: DataView) => void) =>
  towardsDevice((message) => (isRequest(message, 'watchdog') ? edited(message, edit) : message));

const power: readonly Mutant[] = [
  {
    clause: 'P-2',
    does: 'says off while it cools',
    filter: towardsLaptop((message) =>
      isOk(message, 'power') && message[6] === powerStates.cooling
        ? withU8(message, 6, powerStates.off)
        : message,
    ),
  },
  {
    clause: 'P-2',
    does: 'lets reads time out that find no power',
    filter: towardsLaptop((message) =>
      isOk(message, 'read') && message[at.result.outcome] === readOutcomes.gone
        ? withU8(message, at.result.outcome, readOutcomes.timeout)
        : message,
    ),
  },
  {
    clause: 'P-2',
    does: 'forgets what was asked in an off-time',
    filter: () => {
      let state: number | undefined;
      return {
        toLaptop(message) {
          if (isOk(message, 'power') || isOk(message, 'status')) state = message[6];
          return [message];
        },
        toDevice(message, line) {
          const ignored =
            isRequest(message, 'power') &&
            state === powerStates.cooling &&
            message[at.power.action] === 1;
          if (!ignored) return [message];
          const value = { powerState: powerStates.cooling };
          const response = encodeMessage(
            commands.power.code | responseBit,
            idOf(message),
            commands.power.response,
            value,
          );
          line.say(Uint8Array.from([...response.subarray(0, 5), 0, ...response.subarray(5)]));
          return [];
        },
      };
    },
  },
  {
    clause: 'P-2',
    does: 'calls the drive ready that it does not know',
    kind: 'power-only',
    filter: editStatus((message) =>
      message[at.status.powerState] === powerStates['on-not-ready']
        ? withU8(message, at.status.powerState, powerStates.ready)
        : message,
    ),
  },
  {
    clause: 'P-3',
    does: 'keeps half of the off-time',
    filter: towardsDevice((message) =>
      isRequest(message, 'power')
        ? withU32(message, at.power.offMs, u32(message, at.power.offMs) / 2)
        : message,
    ),
  },
  {
    clause: 'P-3',
    does: 'counts no power cycles',
    filter: editStatus((message) => withU32(message, at.status.powerCycles, 1)),
  },
  {
    clause: 'P-3',
    does: 'answers when the off-time is over',
    filter: () => ({
      toLaptop(message, line) {
        if (!isAnswer(message, 'power') || message[6] !== powerStates.cooling) return [message];
        line.clock.after(1500, () => line.say(message));
        return [];
      },
    }),
  },
  {
    clause: 'P-4',
    does: 'switches off only what parks',
    filter: () => ({
      toDevice(message, line) {
        if (!isRequest(message, 'power') || message[at.power.standbyFirst] === 0) return [message];
        line.say(encodeRefusal(commands.power.code, idOf(message), 'busy', 'the drive hangs'));
        return [];
      },
    }),
  },
  {
    clause: 'P-5',
    does: 'has 12 V alone',
    filter: editStatus((message) =>
      edited(message, (view) => view.setUint16(at.status.rail5Millivolts, 0, true)),
    ),
  },
  {
    clause: 'P-5',
    does: 'leaves a rail up',
    filter: editStatus((message) =>
      edited(message, (view) => view.setUint16(at.status.rail5Millivolts, 5000, true)),
    ),
  },
  {
    clause: 'P-6',
    does: 'switches by a request of its own',
    filter: () => ({
      toDevice: (message) =>
        message[0] === 0x2e && message.length > 5
          ? [message, powerRequest(message[5]!)]
          : [message],
      toLaptop: (message) => (idOf(message) === ownId ? [] : [message]),
    }),
  },
  {
    clause: 'P-7',
    does: 'never says ready',
    filter: editStatus((message) =>
      message[at.status.powerState] === powerStates.ready
        ? withU8(message, at.status.powerState, powerStates['on-not-ready'])
        : message,
    ),
  },
  {
    clause: 'W-1',
    does: 'leaves the power on however long it is quiet',
    filter: editWatchdog((view) => view.setUint32(17, 0, true)),
  },
  {
    clause: 'W-1',
    does: 'takes half again as long',
    filter: editWatchdog((view) => {
      for (const offset of [5, 9, 13, 17]) {
        view.setUint32(offset, view.getUint32(offset, true) * 1.5, true);
      }
    }),
  },
  {
    clause: 'W-1',
    does: 'takes noise for a sign of life',
    filter: onBadFrame((line) => line.tell(statusRequest)),
  },
  {
    clause: 'W-1',
    does: 'switches off although the laptop talks',
    filter: () => ({
      toDevice(message, line) {
        if (isRequest(message, 'watchdog') && u32(message, 17) === 1200) {
          line.clock.after(1200, () => line.tell(powerRequest(0)));
        }
        return [message];
      },
      toLaptop: (message) => (idOf(message) === ownId ? [] : [message]),
    }),
  },
  {
    clause: 'W-1',
    does: 'takes 0 for at once',
    filter: editWatchdog((view) => {
      if (view.getUint32(5, true) === 0) view.setUint32(5, 500, true);
    }),
  },
  {
    clause: 'W-2',
    does: 'does not tell of its stages',
    filter: towardsLaptop((message) => (isEvent(message, 'steppedDown') ? undefined : message)),
  },
  {
    clause: 'W-2',
    does: 'goes on reading for a silent laptop',
    filter: editWatchdog((view) => {
      if (view.getUint32(5, true) === 500) view.setUint32(5, 0, true);
    }),
  },
  {
    clause: 'W-3',
    does: 'does nothing for a silent laptop until it is told to',
    imager: { watchdog: { stopReadsMs: 0, unloadMs: 0, standbyMs: 0, offMs: 0 } },
  },
  {
    clause: 'S-7',
    does: 'has limits that hold for nobody',
    filter: editLimits((view) => {
      if (view.getUint16(9, true) !== 1) return;
      view.setUint32(5, 0, true);
      view.setUint16(9, 0, true);
    }),
  },
  {
    clause: 'S-7',
    does: 'lets a laptop set any limit',
    filter: editLimits((view) => {
      if (view.getUint16(5, true) === 0xffff) view.setUint32(5, 0, true);
    }),
  },
  {
    clause: 'S-8',
    does: 'does not look at offTemperature',
    filter: editLimits((view) => view.setInt16(13, -32768, true)),
  },
  {
    clause: 'S-8',
    does: 'cuts a hot drive without a word',
    filter: towardsLaptop((message) => (isEvent(message, 'overTemperature') ? undefined : message)),
  },
];

// The read-only list

/** An imager that lets commands through which a right one refuses: in their place the drive gets TEST UNIT
 * READY. */
function letsThrough(clause: string, does: string, is: (cdb: Uint8Array) => boolean): Mutant {
  const harmless = (id: number) =>
    encodeMessage(commands.passthrough.code, id, commands.passthrough.request, {
      timeoutMs: 1000,
      cdb: new Uint8Array(6),
      lengthMax: 0,
    });
  return {
    clause,
    does,
    filter: () => ({
      toDevice: (message) => [
        isRequest(message, 'passthrough') && is(message.subarray(11, -4))
          ? harmless(idOf(message))
          : message,
      ],
    }),
  };
}

const ataOf = (cdb: Uint8Array) =>
  cdb[0] === 0x85 ? cdb[14] : cdb[0] === 0xa1 ? cdb[9] : undefined;

const safety: readonly Mutant[] = [
  letsThrough('S-1', 'lets WRITE (16) through', (cdb) => cdb[0] === 0x8a),
  letsThrough('S-1', 'lets UNMAP through', (cdb) => cdb[0] === 0x42),
  letsThrough('S-2', 'lets SYNCHRONIZE CACHE through', (cdb) => cdb[0] === 0x35),
  letsThrough(
    'S-2',
    'goes by the opcode where the service action counts',
    (cdb) => cdb[0] === 0x9e,
  ),
  {
    clause: 'S-2',
    does: 'refuses what is on the list',
    filter: () => ({
      toDevice(message, line) {
        if (!isRequest(message, 'passthrough') || message[11] !== 0x12) return [message];
        line.say(encodeRefusal(commands.passthrough.code, idOf(message), 'refused', 'no INQUIRY'));
        return [];
      },
    }),
  },
  letsThrough('S-3', 'lets FLUSH CACHE through', (cdb) => ataOf(cdb) === 0xe7),
  letsThrough('S-3', 'lets every SET FEATURES through', (cdb) => ataOf(cdb) === 0xef),
  letsThrough('S-4', 'lets TRUSTED RECEIVE through', (cdb) => ataOf(cdb) === 0x5c),
  letsThrough('S-5', 'does not look at the signature of SMART', (cdb) => ataOf(cdb) === 0xb0),
  letsThrough('S-6', 'does not look at the direction', (cdb) => ataOf(cdb) === 0xec),
  letsThrough('S-6', 'does not look at the length', (cdb) => cdb[0] === 0x28 && cdb.length === 6),
];

const process: readonly Mutant[] = [
  {
    clause: 'T-5',
    does: 'runs on when its input has ended',
    target: { exited: () => new Promise<void>(() => {}) },
  },
];

export const mutants: readonly Mutant[] = [
  ...frames,
  ...messages,
  ...sessions,
  ...reads,
  ...power,
  ...safety,
  ...process,
];
