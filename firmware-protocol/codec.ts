/** Little-endian field codecs and the `struct` that joins them: messages are tables of these,
 * and both ends' encoders follow from the tables. Decoding trusts nothing: every length is checked
 * against what is left, and a short message throws `MalformedMessage`, which both ends treat as a
 * discarded frame. */

export class MalformedMessage extends Error {
  override readonly name = 'MalformedMessage';
}

export interface Reader {
  readonly view: DataView;
  offset: number;
}

export interface Field<T> {
  readonly type: string;
  /** Bytes that `value` takes. */
  size(value: T): number;
  /** Writes at `offset` and returns the next offset. */
  write(view: DataView, offset: number, value: T): number;
  read(reader: Reader): T;
}

function take(reader: Reader, bytes: number): number {
  const at = reader.offset;
  if (at + bytes > reader.view.byteLength) throw new MalformedMessage('message too short');
  reader.offset = at + bytes;
  return at;
}

/** A value that does not fit its field is a bug of the sender, not something to send wrapped. */
function assertFits(value: number, min: number, max: number): void {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`${value} does not fit a field of ${min} to ${max}`);
  }
}

type Setter = (view: DataView, offset: number, value: number) => void;
type Getter = (view: DataView, offset: number) => number;

function fixed(type: string, bytes: number, set: Setter, get: Getter): Field<number> {
  const span = 2 ** (8 * bytes);
  const min = type.startsWith('i') ? -span / 2 : 0;
  const max = Math.min(min + span - 1, Number.MAX_SAFE_INTEGER);
  return {
    type,
    size: () => bytes,
    write(view, offset, value) {
      assertFits(value, min, max);
      set(view, offset, value);
      return offset + bytes;
    },
    read: (reader) => get(reader.view, take(reader, bytes)),
  };
}

export const u8 = fixed(
  'u8',
  1,
  (v, o, x) => v.setUint8(o, x),
  (v, o) => v.getUint8(o),
);
export const u16 = fixed(
  'u16',
  2,
  (v, o, x) => v.setUint16(o, x, true),
  (v, o) => v.getUint16(o, true),
);
export const i16 = fixed(
  'i16',
  2,
  (v, o, x) => v.setInt16(o, x, true),
  (v, o) => v.getInt16(o, true),
);
export const u32 = fixed(
  'u32',
  4,
  (v, o, x) => v.setUint32(o, x, true),
  (v, o) => v.getUint32(o, true),
);

/** 64 bits on the wire, a safe integer here: an LBA beyond 2^53 is malformed. */
export const u64 = fixed(
  'u64',
  8,
  (v, o, x) => {
    v.setUint32(o, x % 0x1_0000_0000, true);
    v.setUint32(o + 4, Math.floor(x / 0x1_0000_0000), true);
  },
  (v, o) => {
    const value = v.getUint32(o, true) + v.getUint32(o + 4, true) * 0x1_0000_0000;
    if (!Number.isSafeInteger(value)) throw new MalformedMessage('64-bit value beyond 2^53');
    return value;
  },
);

/** Longest `bytes` or `text` field: what its u16 length can say. */
export const bytesMax = 0xffff;

/** A byte string of up to 65,535 bytes behind its u16 length. Decoding gives a view, not a copy. */
export const bytes: Field<Uint8Array> = {
  type: 'bytes',
  size: (value) => 2 + value.length,
  write(view, offset, value) {
    assertFits(value.length, 0, bytesMax);
    view.setUint16(offset, value.length, true);
    new Uint8Array(view.buffer, view.byteOffset + offset + 2, value.length).set(value);
    return offset + 2 + value.length;
  },
  read(reader) {
    const length = reader.view.getUint16(take(reader, 2), true);
    const at = take(reader, length);
    return new Uint8Array(reader.view.buffer, reader.view.byteOffset + at, length);
  },
};

const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder();

/** UTF-8 text of up to 65,535 bytes behind its u16 length. Control characters are made visible,
 * since a device's words end up on a terminal. */
export const text: Field<string> = {
  type: 'text',
  size: (value) => 2 + utf8Encoder.encode(value).length,
  write: (view, offset, value) => bytes.write(view, offset, utf8Encoder.encode(value)),
  read: (reader) => utf8Decoder.decode(bytes.read(reader)).replace(/\p{Cc}/gu, '\ufffd'),
};

export type Fields = Readonly<
  Record<string, Field<never> | Field<number> | Field<string> | Field<Uint8Array>>
>;
export type ValueOf<F> = F extends Field<infer T> ? T : never;
export type ValuesOf<S extends Fields> = { readonly [K in keyof S]: ValueOf<S[K]> };

export interface Codec<T> {
  readonly fields: Fields;
  size(value: T): number;
  write(view: DataView, offset: number, value: T): number;
  /** Bytes after the last known field are ignored: that is how a minor version adds fields. */
  read(reader: Reader): T;
}

/** A message body from its table of fields, in wire order. */
export function struct<S extends Fields>(fields: S): Codec<ValuesOf<S>> {
  const entries = Object.entries(fields) as [string, Field<unknown>][];
  return {
    fields,
    size(value) {
      let sum = 0;
      for (const [name, field] of entries)
        sum += field.size((value as Record<string, unknown>)[name]);
      return sum;
    },
    write(view, offset, value) {
      let at = offset;
      for (const [name, field] of entries)
        at = field.write(view, at, (value as Record<string, unknown>)[name]);
      return at;
    },
    read(reader) {
      const value: Record<string, unknown> = {};
      for (const [name, field] of entries) value[name] = field.read(reader);
      return value as ValuesOf<S>;
    },
  };
}
