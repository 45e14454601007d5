import { LastspinError } from '../errors.js';
import { type Fill, parseFill } from '../image/fill.js';

/** What `clone` and `restore` take about a target. */
export interface TargetOptions {
  /** The serial number of the target, by whoever cannot be asked. */
  readonly overwrite?: string;
  /** A target that is too small gets what fits. */
  readonly truncate?: boolean;
  /** What goes behind the drive's last byte: `keep`, or a fill. */
  readonly excess?: string;
  /** What goes where nothing was read: `none`, or a fill. */
  readonly fill?: string;
}

/** A fill, and the word that it was asked for by. */
export interface WantedFill {
  readonly text: string;
  readonly fill: Fill;
}

export interface Wanted {
  readonly fill?: WantedFill;
  readonly excess?: WantedFill;
}

/** The options as fills; absent where the target keeps what it has. Throws USAGE. */
export function wantedOf(options: TargetOptions, fillDefault: string): Wanted {
  const { excess = 'keep', fill = fillDefault } = options;
  if (excess === 'marker')
    throw new LastspinError(
      'USAGE',
      '--excess marker: there is no LBA of the drive; zero or 0xHEX',
    );
  return {
    ...(fill !== 'none' && { fill: { text: fill, fill: parseFill(fill, '--fill') } }),
    ...(excess !== 'keep' && { excess: { text: excess, fill: parseFill(excess, '--excess') } }),
  };
}
