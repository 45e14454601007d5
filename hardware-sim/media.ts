/** What is on the platters. Reading costs nothing here; time is the mechanics' business. */
import { Buffer } from 'node:buffer';
import { closeSync, openSync, readSync } from 'node:fs';
import { LastspinError, reasonOf } from '../src/errors.js';
import { hash } from './random.js';
import type { Scenario } from './scenario.js';

export interface Media {
  /** Fills `into` with the sectors from `lba` on, as many as fit. */
  read(lba: number, into: Uint8Array): void;
  close(): void;
}

/** Where the pattern's seeded bytes are taken from; a power of two, so that LBAs spread evenly. */
const tableBytes = 65_536;

/** The scenario's contents. A file shorter than the drive is followed by zeros; of a longer one the
 * rest is not on the drive. Throws SCENARIO_INVALID when the file cannot be opened or read. */
export function createMedia(scenario: Scenario): Media {
  const { contents, seed, sectorBytes } = scenario;
  if (contents === 'zeros') return { read: (_lba, into) => void into.fill(0), close() {} };
  if (contents === 'pattern') {
    const fill = createPattern(seed, sectorBytes);
    return {
      read(lba, into) {
        const count = into.length / sectorBytes;
        for (let index = 0; index < count; index++) fill(into, index * sectorBytes, lba + index);
      },
      close() {},
    };
  }
  return createFileMedia(contents, sectorBytes);
}

/** One sector of `contents: pattern`: a line of text that names the LBA and the seed, then bytes
 * that follow from both. No two sectors of a drive are alike. */
export function patternSector(seed: number, lba: number, sectorBytes: number): Uint8Array {
  const sector = new Uint8Array(sectorBytes);
  createPattern(seed, sectorBytes)(sector, 0, lba);
  return sector;
}

/** A pure function of the seed; the last table is kept, since tests ask sector by sector. */
let lastTable:
  | { readonly seed: number; readonly bytes: number; readonly table: Buffer }
  | undefined;

function patternTable(seed: number, sectorBytes: number): Buffer {
  if (lastTable?.seed === seed && lastTable.bytes >= sectorBytes) return lastTable.table;
  const table = Buffer.alloc(tableBytes + sectorBytes);
  for (let at = 0; at + 4 <= table.length; at += 4) table.writeUInt32LE(hash(seed, 1, at), at);
  lastTable = { seed, bytes: sectorBytes, table };
  return table;
}

function createPattern(seed: number, sectorBytes: number) {
  const table = patternTable(seed, sectorBytes);
  const lbaDigits = 16;
  const header = `LASTSPIN lba ${'0'.repeat(lbaDigits)} seed ${String(seed).padStart(10, '0')}\n`;
  const headerBytes = Buffer.from(header, 'ascii');
  const lastDigit = header.indexOf('lba ') + 'lba '.length + lbaDigits - 1;
  return (into: Uint8Array, offset: number, lba: number): void => {
    into.set(headerBytes, offset);
    for (let rest = lba, at = offset + lastDigit; rest > 0; at--) {
      const quotient = Math.floor(rest / 10);
      into[at] = 0x30 + rest - quotient * 10;
      rest = quotient;
    }
    // An odd factor: 65,536 neighbours all get different bytes.
    const from = Math.imul(lba | 0, 40_503) & (tableBytes - 1);
    const bodyBytes = sectorBytes - headerBytes.length;
    table.copy(into, offset + headerBytes.length, from, from + bodyBytes);
  };
}

function createFileMedia(
  contents: { readonly file: string; readonly bytes: number },
  sectorBytes: number,
): Media {
  let descriptor: number | undefined;
  const failed = (error: unknown) =>
    new LastspinError('SCENARIO_INVALID', `${contents.file}: ${reasonOf(error)}`, { cause: error });
  return {
    read(lba, into) {
      try {
        descriptor ??= openSync(contents.file, 'r');
        let filled = 0;
        while (filled < into.length) {
          const position = lba * sectorBytes + filled;
          const got = readSync(descriptor, into, filled, into.length - filled, position);
          if (got === 0) break;
          filled += got;
        }
        into.fill(0, filled);
      } catch (error) {
        throw failed(error);
      }
    },
    close() {
      if (descriptor !== undefined) closeSync(descriptor);
      descriptor = undefined;
    },
  };
}
