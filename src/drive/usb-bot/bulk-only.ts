/** The wrappers of USB Mass Storage Class, Bulk-Only Transport 1.0 (cited as BOT): a command goes out in a
 * CBW, its status comes back in a CSW. */

export const cswBytes = 13;
const cbwBytes = 31;
const cbwSignature = 0x4342_5355;
const cswSignature = 0x5342_5355;
const directionIn = 0x80;

/** BOT 5.1, for logical unit 0. Data only ever comes in. */
export function encodeCbw(tag: number, cdb: Uint8Array, dataBytes: number): Buffer {
  const cbw = Buffer.alloc(cbwBytes);
  cbw.writeUInt32LE(cbwSignature, 0);
  cbw.writeUInt32LE(tag, 4);
  cbw.writeUInt32LE(dataBytes, 8);
  cbw[12] = directionIn;
  cbw[14] = cdb.length;
  cbw.set(cdb, 15);
  return cbw;
}

export type Csw =
  | { readonly kind: 'good' | 'failed'; readonly residueBytes: number }
  /** Not valid or not meaningful (BOT 6.3), or a phase error: only a reset helps. `why`: for people. */
  | { readonly kind: 'broken'; readonly why: string };

/** What a status transfer brought, for the command of this tag that asked for `dataBytes`. */
export function decodeCsw(bytes: Buffer, tag: number, dataBytes: number): Csw {
  const broken = (why: string): Csw => ({ kind: 'broken', why });
  if (bytes.length !== cswBytes) return broken(`a status of ${bytes.length} bytes`);
  if (bytes.readUInt32LE(0) !== cswSignature) return broken('a status without its signature');
  if (bytes.readUInt32LE(4) !== tag) return broken('the status of another command');
  const residueBytes = bytes.readUInt32LE(8);
  const status = bytes[12];
  if (status === 2) return broken('a phase error');
  if (status !== 0 && status !== 1) return broken(`status ${status}`);
  if (residueBytes > dataBytes) return broken('a residue larger than the transfer');
  return { kind: status === 0 ? 'good' : 'failed', residueBytes };
}

/** Whether data is the status of this command: some adapters leave out the data of a command that fails. */
export function isCswOf(bytes: Buffer, tag: number): boolean {
  if (bytes.length !== cswBytes) return false;
  return bytes.readUInt32LE(0) === cswSignature && bytes.readUInt32LE(4) === tag;
}
