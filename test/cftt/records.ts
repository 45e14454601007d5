/** What the tool wrote beside an image, read without its own code. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

export interface LogLine extends Record<string, unknown> {
  readonly n: number;
  readonly at: string;
  readonly kind: string;
}

const logOf = (image: string) =>
  readFileSync(image.replace(/img$/, 'events.ndjson'), 'utf8').trimEnd().split('\n');

/** The event log of an image, line by line. */
export function linesOf(image: string): LogLine[] {
  return logOf(image).map((line) => JSON.parse(line));
}

/** Numbers of the lines that are not bound to those before them, by the rule in docs/record.md. */
export function chainBreaks(image: string): number[] {
  let former = '0'.repeat(64);
  const broken: number[] = [];
  logOf(image).forEach((line, index) => {
    const [, body, hash] = /^(.*),"hash":"([0-9a-f]{64})"\}$/.exec(line) ?? [];
    const own = createHash('sha256').update(`${former}${body}}`).digest('hex');
    if (own !== hash) broken.push(index);
    former = hash ?? '';
  });
  return broken;
}

/** Areas of one status in a ddrescue map, in sectors of 512 bytes. */
export function runsOfMap(path: string, status: string): { lba: number; count: number }[] {
  const found = readFileSync(path, 'latin1').matchAll(/^(0x[0-9A-F]+) +(0x[0-9A-F]+) +(.)$/gm);
  return [...found]
    .filter(([, , , letter]) => letter === status)
    .map(([, at, size]) => ({ lba: Number(at) / 512, count: Number(size) / 512 }));
}
