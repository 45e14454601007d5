import { readFileSync } from 'node:fs';
import { LastspinError, reasonOf } from '../errors.js';
import { byteStatistics, type ParsedMap, parseMapFile } from '../map/mapfile.js';
import { statusLetters, statusNames } from '../map/status.js';
import { formatBytes, formatShare } from '../show/format.js';

function load(path: string): ParsedMap {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw new LastspinError('FILE_FAILED', `cannot read ${path}: ${reasonOf(error)}`, {
      cause: error,
    });
  }
  return parseMapFile(bytes, path);
}

/** Bytes written at once; a map may have millions of runs. */
const pieceLength = 1 << 16;

/** `lastspin map show FILE`: position, size and status by run, in bytes. */
export async function mapShow(path: string): Promise<number> {
  const parsed = load(path);
  let piece = `current ${parsed.currentPosition} ${parsed.currentStatus} pass ${parsed.currentPass}\n`;
  for (let index = 0; index < parsed.starts.length; index++) {
    const start = parsed.starts[index]!;
    const size = (parsed.starts[index + 1] ?? parsed.end) - start;
    const code = parsed.codes[index]!;
    piece += `${start}\t${size}\t${statusLetters[code]} ${statusNames[code]}\n`;
    if (piece.length >= pieceLength) {
      await print(piece);
      piece = '';
    }
  }
  await print(piece);
  return 0;
}

function print(text: string): Promise<void> {
  return new Promise((resolve) => process.stdout.write(text, () => resolve()));
}

/** `lastspin map stats FILE`: bytes and areas by status. */
export async function mapStats(
  path: string,
  options: { readonly json?: boolean },
): Promise<number> {
  const parsed = load(path);
  const statistics = byteStatistics(parsed);
  const total = parsed.end - (parsed.starts[0] ?? parsed.end);
  if (options.json) {
    await print(
      `${JSON.stringify({ schema: 'lastspin/map-stats/1', total, statuses: statistics })}\n`,
    );
    return 0;
  }
  const rows = [...statusNames].reverse().map((name) => {
    const { bytes, areas } = statistics[name];
    const letter = statusLetters[statusNames.indexOf(name)];
    return `${letter} ${name.padEnd(12)} ${formatBytes(bytes).padStart(9)} ${formatShare(bytes, total).padStart(9)}  ${bytes} bytes in ${areas} areas\n`;
  });
  await print(`  ${'total'.padEnd(12)} ${formatBytes(total).padStart(9)}\n${rows.join('')}`);
  return 0;
}
