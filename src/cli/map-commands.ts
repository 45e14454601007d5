/** The words of `lastspin map`. What they do is loaded when one is called. */

import { type Command, InvalidArgumentError } from 'commander';
import { LastspinError } from '../errors.js';

/** Adds `map` and its commands.
 * @param report takes a command's exit status */
export function addMapCommands(program: Command, report: (status: number) => void): void {
  const map = program
    .command('map')
    .description('look at ddrescue map files, change, combine and compare them');

  map
    .command('show')
    .description('print the map, run by run, as lastspin reads it')
    .argument('<FILE>')
    .option('--heads', 'what is known of the heads instead: weak ones, their bands, what they cost')
    .option('--json', 'with --heads: print one JSON object')
    .option('--output <FILE>', 'with --heads: write a head map for `image --heads`')
    .option('--force', 'replace that FILE if it exists')
    .option('--sector <BYTES>', 'with --heads: the size of a sector where no case tells [512]')
    .action(async (file, options) => report(await show(file, options)));
  withDomain(map.command('stats'))
    .description('bytes and areas by status')
    .argument('<FILE...>')
    .option('--binary', 'units of 1024')
    .option('--json', 'print one JSON object a file')
    .action(async (files, options) =>
      report(await (await import('./map.js')).mapStats(files, options)),
    );
  addRender(map, report);
  addQuestions(map, report);
  addChanges(map, report);
  addSectors(map, report);
}

async function show(file: string, options: ShowOptions): Promise<number> {
  if (options.heads) return (await import('./map-heads.js')).mapHeads(file, options);
  const idle = (['json', 'output', 'force', 'sector'] as const).find((name) => options[name]);
  if (!idle) return (await import('./map.js')).mapShow(file);
  throw new LastspinError('USAGE', `--${idle} goes with --heads`);
}

interface ShowOptions {
  readonly heads?: boolean;
  readonly json?: boolean;
  readonly output?: string;
  readonly force?: boolean;
  readonly sector?: string;
}

function addRender(map: Command, report: (status: number) => void): void {
  withOutput(map.command('render'))
    .description('a picture of the map: letters, or SVG')
    .argument('<FILE>')
    .option('--svg', 'as SVG')
    .option('--columns <N>', 'cells a row', cells)
    .option('--rows <N>', 'rows', cells)
    .option('--heads', 'mark the bands of weak heads')
    .option('--from <BYTES>', 'show from here')
    .option('--size <BYTES>', 'show so much')
    .option('--sector <BYTES>', 'what `s` means in numbers [512]')
    .action(async (file, options) =>
      report(await (await import('./map-render.js')).mapRender(file, options)),
    );
}

function addQuestions(map: Command, report: (status: number) => void): void {
  withDomain(map.command('diff'))
    .description('where two maps differ; exit status 1 when they do')
    .argument('<FILE>')
    .argument('<OTHER>')
    .option('--as-domain', 'compare only what is finished and what is not')
    .option('--quiet', 'only the exit status')
    .option('--json', 'print one JSON object')
    .action(async (file, other, options) =>
      report(await (await import('./map-algebra.js')).mapDiff([file, other], options)),
    );
  withDomain(map.command('done'))
    .description('whether everything is finished; exit status 1 when not')
    .argument('<FILE>')
    .option('--delete', 'delete the map file if so')
    .option('--quiet', 'only the exit status')
    .action(async (file, options) =>
      report(await (await import('./map-algebra.js')).mapDone(file, options)),
    );
}

function addChanges(map: Command, report: (status: number) => void): void {
  withOutput(withDomain(map.command('merge')))
    .description('one map from several: and, or, xor of what is finished; union of what is known')
    .argument('<OPERATOR>', 'and, or, xor or union')
    .argument('<FILE...>')
    .option('--sources', 'with union: print which FILE holds each finished run instead')
    .action(async (operator, files, options) =>
      report(await (await import('./map-algebra.js')).mapMerge(operator, files, options)),
    );
  withOutput(withDomain(map.command('convert')))
    .description('change statuses, or fit the map to whole sectors')
    .argument('<FILE>')
    .option('--change <OLD,NEW>', "letter by letter, as '*/,-'")
    .option('--align', 'sectors of several statuses get the least processed of them')
    .action(async (file, options) =>
      report(await (await import('./map-algebra.js')).mapConvert(file, options)),
    );
  withOutput(withDomain(map.command('invert')))
    .description('finished becomes bad sector, everything else finished')
    .argument('<FILE>')
    .action(async (file, options) =>
      report(await (await import('./map-algebra.js')).mapInvert(file, options)),
    );
  withOutput(withDomain(map.command('shift')))
    .description('move everything up or down')
    .argument('<FILE>')
    .requiredOption('--by <BYTES>', 'how far; down with a minus, as --by=-1Mi')
    .action(async (file, options) =>
      report(await (await import('./map-algebra.js')).mapShift(file, options)),
    );
  withOutput(map.command('complete'))
    .description('fill the gaps of a map written by hand, whose runs may be in any order')
    .argument('<FILE>')
    .option('--fill <STATUS>', 'what to fill them with', '?')
    .option('--size <BYTES>', 'where the map is to end; by default where its last run ends')
    .option('--sector <BYTES>', 'what `s` means in numbers [512]')
    .action(async (file, options) =>
      report(await (await import('./map-algebra.js')).mapComplete(file, options)),
    );
  withOutput(withDomain(map.command('annotate')))
    .description('add positions and sizes to read as comments')
    .argument('<FILE>')
    .option('--binary', 'units of 1024')
    .action(async (file, options) =>
      report(await (await import('./map-algebra.js')).mapAnnotate(file, options)),
    );
}

function addSectors(map: Command, report: (status: number) => void): void {
  const format = 'list, bitmap, bitmap-le or bitmap-be';
  withDomain(map.command('list'))
    .description('numbers of the sectors that have a status, as badblocks and e2fsck use them')
    .argument('<FILE>')
    .option('--statuses <LETTERS>', 'which statuses', '-')
    .option('--to <BYTES>', 'where the domain begins in the image; by default as in the source')
    .option('--format <NAME>', format, 'list')
    .action(async (file, options) =>
      report(await (await import('./map-sectors.js')).mapList(file, options)),
    );
  withOutput(withDomain(map.command('create')))
    .description('a map from sector numbers, or from a bitmap')
    .argument('<LIST>')
    .option('--listed <STATUS>', 'of the sectors in LIST', '+')
    .option('--others <STATUS>', 'of all others', '-')
    .option('--to <BYTES>', 'where the domain begins in the image; by default as in the source')
    .option('--format <NAME>', format, 'list')
    .action(async (list, options) =>
      report(await (await import('./map-sectors.js')).mapCreate(list, options)),
    );
}

/** On what part to act. */
function withDomain(command: Command): Command {
  return command
    .option('--from <BYTES>', 'where the domain begins')
    .option('--size <BYTES>', 'how long it is at most')
    .option('--domain <FILE>', 'only what is finished in this map')
    .option('--loose', 'the domain map may have gaps and be unordered')
    .option('--sector <BYTES>', 'the size of a sector, and what `s` means in numbers [512]');
}

function withOutput(command: Command): Command {
  return command
    .option('--output <FILE>', 'write here instead of to standard output')
    .option('--force', 'replace FILE if it exists');
}

function cells(text: string): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number >= 1 && number <= 1024) return number;
  throw new InvalidArgumentError('a whole number from 1 to 1024 is needed.');
}
