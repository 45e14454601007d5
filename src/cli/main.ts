import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { isLastspinError, reasonOf } from '../errors.js';
import { unitBytes } from '../map/size-units.js';
import { addExchangeCommands } from './exchange-commands.js';
import { addMapCommands } from './map-commands.js';
import { version } from './version.js';

/** Exit status of a bug, GNU ddrescue's. */
const exitBug = 3;

/** Runs the command line and returns the exit status. Commands are loaded when they are called, so that
 * `--help` stays fast. */
export async function main(argv: readonly string[]): Promise<number> {
  standGuard();
  let status = 0;
  const program = new Command('lastspin')
    .description('Images failing drives through a hardware imager, in several passes.')
    .version(version)
    .showHelpAfterError('(--help shows how)')
    .exitOverride();

  program
    .command('demo')
    .description('a simulated imager on a serial port, a failing drive, an image and a map')
    .argument('[FOLDER]', 'where image and map go', 'demo')
    .action(async (folder) => {
      status = await (await import('./demo.js')).demo(folder);
    });

  const imaging = program
    .command('image')
    .description('image DRIVE into IMAGE; run again to resume')
    .argument(
      '<DRIVE>',
      'serial:/dev/ttyACM0?baud=N, usb:VID:PID, tcp:HOST:PORT, stdio:COMMAND, sim:SCENARIO, sg:NODE, usb-bot:VID:PID, file:PATH or a path',
    )
    .argument('<IMAGE>', 'the image; IMAGE.map goes beside it as a ddrescue map')
    .option(
      '--power <POWER>',
      'imager, an imager of its own (serial:, tcp:, usb:, stdio:), hub:1-1.4, lcus:PORT:RELAY, hid:SERIAL:RELAY, exec:COMMAND, manual or none; repeatable, in order',
      collect,
      [],
    )
    .option(
      '--preset <NAME|FILE>',
      'the passes: a bundled preset or a file; by default what suits the kind of drive',
    )
    .option(
      '--physical-sector <BYTES>',
      'physical sector size where the drive does not tell',
      whole(65_536),
    )
    .option(
      '--read-timeout <MS>',
      'deadline of every read, instead of each pass’s own',
      whole(600_000),
    )
    .option('--min-rate <BYTES/S>', 'a group below this rate counts as slow', whole(1e12))
    .option('--max-rate <BYTES/S>', 'read no faster than this on average', whole(1e12))
    .option(
      '--domain <MAP>',
      'read only the finished blocks of a ddrescue map; repeatable, the first is read first',
      collect,
      [],
    )
    .option('--range <LBA-LBA>', 'read only this range, also as 1GB-2GB; repeatable', collect, [])
    .option(
      '--prioritize <MAP|RANGE>',
      'read this first, then the rest; repeatable, in order',
      collect,
      [],
    )
    .option(
      '--exclude <FILE|RANGE>',
      'never read this: a range, a list of ranges, or the finished blocks of a map; repeatable',
      collect,
      [],
    )
    .option(
      '--heads <FILE>',
      'a head map: which head reads which sectors; none forgets an earlier one',
    )
    .option(
      '--retries <N>',
      'passes over bad sectors at the end; by default what the kind of drive bears',
      whole(1000),
    )
    .addOption(
      new Option(
        '--kind <KIND>',
        'what policies go by; by default what the drive says of itself',
      ).choices(['hdd', 'ssd', 'flash']),
    )
    .option('--same-drive', 'go on although the drive has another name behind another adapter')
    .option(
      '--compare <PERCENT>',
      'share of what was read that is read again to find sectors that change; by default 100 on a stick',
      whole(100),
    )
    .option('--trust-data', 'go on although the drive seems to make data up')
    .option('--verify', 'before going on, look at all of the image that has a hash')
    .option(
      '--hash <LIST>',
      'hash the whole image: sha256, sha1, md5, comma-separated, into IMAGE.sha256 and so on',
    )
    .option(
      '--then <ACTION>',
      'when the job has ended: park, power-off, verify, report, exec:COMMAND, webhook:URL, desktop; finished:, stopped:, gave-up: or failed: before it says when; repeatable',
      collect,
      [],
    )
    .option('--sparse', 'keep no room on the disk for the image, and leave out zeros')
    .option('--no-hash', 'no hashes of segments (IMAGE.hashes.csv)')
    .option('--case <NUMBER>', 'case number, for map and event log')
    .option('--evidence <NUMBER>', 'evidence number, likewise')
    .option('--examiner <NAME>', 'who works on it, likewise')
    .option('--note <TEXT>', 'a note, likewise')
    .option('--os-may-touch', 'go on although the operating system may touch the source')
    .option('--no-setro', 'do not set a block device read-only for the time of the job')
    .option(
      '--split <SIZE>',
      'an image in parts of at most so much: IMAGE.001, IMAGE.002, …',
      bytes,
    )
    .option('--json', 'print one JSON object as the result')
    .option('--strict', 'exit with 4 when sectors of the domain remain unread')
    .option('--force', 'take an existing image that has no map; go on with little disk space')
    .action(async (drive, image, options) => {
      status = await (await import('./image.js')).image(drive, image, options);
    });

  program
    .command('verify')
    .description('is IMAGE still what was read, and are its records as they were written')
    .argument('<IMAGE>', 'the image; its map, hashes and journal lie beside it')
    .option('--map <MAP>', "the map, where it does not stand beside IMAGE: a clone's")
    .option('--full', 'all that has a hash, and the hashes of the whole; so unless told otherwise')
    .option('--quick', 'a sample of what has a hash')
    .option('--log-hash <HEX>', 'the hash of the event log that was noted when a job ended')
    .option('--json', 'print one JSON object as the result')
    .action(async (image, options) => {
      status = await (await import('./verify.js')).verify(image, options);
    });

  program
    .command('devices')
    .description('what is plugged in, what it is taken for, and what to type for it')
    .option('--probe', 'ask ports whether an imager answers; opening a port may reset its board')
    .option('--json', 'print one JSON object as the result')
    .action(async (options) => {
      status = await (await import('./devices.js')).devices(options);
    });

  program
    .command('doctor')
    .description('what stands in the way of DRIVE, or of all that is plugged in, and what mends it')
    .argument('[DRIVE]', 'as for image')
    .option('--json', 'print one JSON object as the result')
    .action(async (drive, options) => {
      status = await (await import('./doctor.js')).doctor(drive, options);
    });

  program
    .command('identify')
    .description('who DRIVE is: model, serial, capacity, security, SMART; with --triage what to do')
    .argument('<DRIVE>', 'as for image')
    .option('--power <POWER>', 'as for image; repeatable, in order', collect, [])
    .option('--triage', 'first contact: start it, read one place a zone, then a verdict')
    .option('--label <SIZE>', 'with --triage: the capacity on its label, as 500GB or 1TB', size)
    .addOption(
      new Option(
        '--kind <KIND>',
        'what policies go by; by default what the drive says of itself',
      ).choices(['hdd', 'ssd', 'flash']),
    )
    .option('--no-smart', 'do not ask for SMART: it has frozen drives')
    .option('--json', 'print one JSON object as the result')
    .action(async (drive, options) => {
      status = await (await import('./identify.js')).identify(drive, options);
    });

  program
    .command('sim')
    .description('play a failing drive behind an imager, for any program to connect to')
    .argument('<SCENARIO>', 'a scenario file, or the name of one that comes with lastspin')
    .option('--pty <PATH>', 'as a serial port: a link to a pseudo-terminal at PATH')
    .option('--tcp <ADDR>', 'on HOST:PORT or PORT; loopback unless a host is given')
    .option('--usbredir <PATH>', 'as a USB device: the socket of QEMU’s -device usb-redir')
    .option(
      '--usbip <ADDR>',
      'as a USB device: a USB/IP server, for usbip attach; usual is port 3240',
    )
    .addOption(
      new Option('--as <WHAT>', 'what the USB device is')
        .choices(['imager', 'disk'])
        .default('imager'),
    )
    .option(
      '--control <PATH>',
      'a Unix socket that takes: plug, unplug; of a disk also power on, power off',
    )
    .option('--scale <N>', 'times faster than life', positive, 1)
    .option('--until-eof', 'end when standard input ends, for whoever started it')
    .action(async (scenario, options) => {
      status = await (await import('./sim.js')).sim(scenario, options);
    });

  program
    .command('conformance')
    .description('does this imager keep the protocol? Every clause that can be seen from outside')
    .argument(
      '<IMAGER>',
      'serial:, usb:, tcp:, stdio:COMMAND or sim:SCENARIO, without a drive that matters',
    )
    .option('--clause <A,B,…>', 'only these clauses or chapters, as R-8,C; repeatable', collectList)
    .option('--force', 'go on although the rails are on')
    .option('--json', 'print one JSON object as the result')
    .action(async (imager, options) => {
      status = await (await import('./conformance.js')).conformance(imager, options);
    });

  program
    .command('agent')
    .description(
      'be the imager: serve a drive of this computer to a laptop, over a serial port or TCP',
    )
    .argument('<DRIVE>', 'file:PATH or a block device; sim:SCENARIO to try')
    .requiredOption(
      '--port <PATH>',
      'a serial device (a USB gadget port: /dev/ttyGS0), tcp:[HOST:]PORT, or - for standard input and output',
    )
    .option('--baud <N>', 'of a serial device', whole(12_000_000), 115_200)
    .option('--power <POWER>', "the drive's switch: exec:COMMAND with {action}")
    .option('--discharge <MS>', "until the drive's rails are down after that", whole(60_000), 2000)
    .option(
      '--state <FILE>',
      'keeps the power as it is over a restart of the agent; where it is lost with the power: /run/lastspin',
    )
    .action(async (drive, options) => {
      status = await (await import('./agent.js')).agent(drive, options);
    });

  program
    .command('power')
    .description('switch the power of a drive by hand, or ask for it')
    .argument(
      '<LINK>',
      'the link of an imager, or a switch: hub:1-1.4, lcus:PORT:RELAY, hid:SERIAL:RELAY, exec:COMMAND, manual',
    )
    .argument('<ACTION>', 'on, off, cycle or status')
    .option('--off-time <MS>', 'how long a cycle leaves it off', whole(3_600_000), 10_000)
    .option('--json', 'print one JSON object as the result')
    .action(async (link, action, options) => {
      status = await (await import('./power.js')).power(link, action, options);
    });

  const presets = program.command('presets').description('the passes, as files to edit');
  presets
    .command('list')
    .description('the presets that come with lastspin')
    .action(async () => {
      status = (await import('./presets.js')).presetsList();
    });
  presets
    .command('show')
    .description('the rows that a drive would get')
    .argument('<NAME|FILE>')
    .option('--sectors <N>', 'size of the drive', whole(2 ** 48), 1_953_525_168)
    .option('--sector-bytes <BYTES>', 'size of a sector', whole(65_536), 512)
    .option('--kind <KIND>', 'hdd, ssd, flash or file', oneOf('hdd', 'ssd', 'flash', 'file'), 'hdd')
    .option('--retries <N>', 'passes over bad sectors at the end', whole(1000))
    .option('--yaml', 'the file itself')
    .action(async (name, options) => {
      status = (await import('./presets.js')).presetsShow(name, options);
    });
  presets
    .command('check')
    .description('ok, or every mistake with line, column and field')
    .argument('<FILE...>')
    .action(async (files) => {
      status = (await import('./presets.js')).presetsCheck(files);
    });
  presets
    .command('new')
    .description('a commented file to edit')
    .argument('<FILE>')
    .option('--from <NAME|FILE>', 'what to begin with', 'standard')
    .option('--force', 'replace FILE')
    .action(async (file, options) => {
      status = (await import('./presets.js')).presetsNew(file, options);
    });

  program
    .command('rehearse')
    .description('what presets would do to such a drive, side by side, in virtual time')
    .argument(
      '<SCENARIO|MAP>',
      'a scenario file, a bundled scenario, or a ddrescue map (- reads it from standard input)',
    )
    .option(
      '--preset <A,B,…>',
      'bundled presets or files, comma-separated, repeatable [the default of the kind of drive,standard,ddrescue]',
      collectList,
    )
    .addOption(
      new Option(
        '--kind <KIND>',
        'what policies go by; by default what the scenario’s drive says, hdd on a map',
      ).choices(['hdd', 'ssd', 'flash']),
    )
    .option('--seed <N>', 'draw the scenario’s chances anew', whole(2 ** 32 - 1))
    .option(
      '--physical-sector <BYTES>',
      'physical sector size that the planner goes by; on a map also what damage comes in',
      whole(65_536),
    )
    .option('--retries <N>', 'passes over bad sectors at the end', whole(1000))
    .option(
      '--duration <TIME>',
      'end each run after so much of the drive’s time: 90min, 12h, 7d',
      duration,
    )
    .addOption(
      new Option(
        '--failing-lba <yes|no>',
        'whether errors name the LBA that failed; by default as the scenario says, yes on a map',
      ).choices(['yes', 'no']),
    )
    .addOption(
      new Option('--untried <good|bad>', 'on a map: what ? is taken for [good]').choices([
        'good',
        'bad',
      ]),
    )
    .option('--error-time <MS>', 'on a map: how long a failing read takes [700]', whole(600_000))
    .option('--svg <FILE>', 'also draw the plot into FILE')
    .option('--force', 'replace FILE where it is such a picture')
    .option('--json', 'print one JSON object as the result')
    .action(async (source, options) => {
      status = await (await import('./rehearse.js')).rehearse(source, options);
    });

  const cloning = program
    .command('clone')
    .description('image DRIVE straight onto TARGET, another drive; run again to resume')
    .argument('<DRIVE>', 'as for image')
    .argument(
      '<TARGET>',
      'a block device of this computer, or a file that is as large; all in it is overwritten',
    );
  for (const option of imaging.options) {
    if (!ofImagesOnly.has(option.long ?? '')) cloning.addOption(option);
  }
  addTargetOptions(cloning)
    .option('--fill <none|zero|marker|0xHEX>', 'goes where nothing was read, at the end [none]')
    .option(
      '--case-files <FILE.map>',
      'the map, beside which the other files stand [here, named by the target]',
    )
    .action(async (drive, target, options) => {
      status = await (await import('./clone.js')).clone(drive, target, options);
    });

  addTargetOptions(
    program
      .command('restore')
      .description('write IMAGE onto TARGET, a drive, and read it back')
      .argument('<IMAGE>', 'an image in one file or in parts')
      .argument(
        '<TARGET>',
        'a block device of this computer, or a file that is as large; all in it is overwritten',
      ),
  )
    .option('--fill <none|zero|marker|0xHEX>', 'goes where nothing was read [zero]')
    .option('--map <FILE>', 'the map of IMAGE, by default the one beside it')
    .option('--no-verify', 'do not read back what was written')
    .option('--json', 'print one JSON object as the result')
    .action(async (image, target, options) => {
      status = await (await import('./restore.js')).restore(image, target, options);
    });

  program
    .command('fill')
    .description('write into IMAGE where nothing was read; its map claims no more than before')
    .argument('<IMAGE>', 'an image in one file or in parts, with its map beside it')
    .option('--unread <zero|marker|0xHEX>', 'into sectors that no read succeeded on yet')
    .option('--unreadable <zero|marker|0xHEX>', 'into bad sectors')
    .option('--map <FILE>', 'the map of IMAGE, by default the one beside it')
    .option('--json', 'print one JSON object as the result')
    .action(async (image, options) => {
      status = await (await import('./fill.js')).fill(image, options);
    });

  program
    .command('merge')
    .description('several images of one drive become one; what they hold differently is listed')
    .argument('<OUT>', 'the image to make; its map goes beside it')
    .argument('<IMAGE...>', 'images with their maps beside them, or IMAGE:MAP; ddrescue’s too')
    .option('--prefer <IMAGE>', 'where images differ, take what this one has')
    .option('--majority', 'where images differ, take what more than half of them have')
    .option('--same-drive', 'their maps name several drives, or sizes differ, but it is one drive')
    .option('--sector <BYTES>', 'the size of a sector where no map tells [512]', whole(65_536))
    .option('--force', 'replace what an earlier merge made; go on with little disk space')
    .option('--json', 'print one JSON object as the result')
    .action(async (out, images, options) => {
      status = await (await import('./merge.js')).merge(out, images, options);
    });

  addMapCommands(program, (reported) => {
    status = reported;
  });
  addExchangeCommands(program, (reported) => {
    status = reported;
  });

  try {
    await program.parseAsync([...argv], { from: 'user' });
    return status;
  } catch (error) {
    return explain(error);
  }
}

/** Options of `image` that say what its image is made of. */
const ofImagesOnly = new Set(['--split', '--sparse', '--force']);

/** What goes onto a target, and the word that it may. */
function addTargetOptions(command: Command): Command {
  return command
    .option('--overwrite <SERIAL>', 'yes, overwrite the target with this serial number; do not ask')
    .option('--truncate', 'leave out what a target that is too small has no room for')
    .option(
      '--excess <keep|zero|0xHEX>',
      'what goes behind the last byte on a larger target [keep]',
    );
}

/** What no command catches: a reader of our output that has gone is no failure, anything else is a bug and
 * still gets one line. */
function standGuard(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') return;
      process.stderr.write(`lastspin: the output cannot be written: ${error.message}\n`);
      process.exit(1);
    });
  }
  process.on('uncaughtException', (error) => {
    process.exit(explain(error));
  });
}

/** One clear line for every failure, and its exit status. */
function explain(error: unknown): number {
  // Commander has already printed its own line; asking for help is no error.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (isLastspinError(error)) {
    process.stderr.write(`lastspin: ${error.message} (${error.code})\n`);
    return error.exitCode;
  }
  const hint = process.env.LASTSPIN_DEBUG ? '' : '; LASTSPIN_DEBUG=1 shows where';
  process.stderr.write(`lastspin: this is a bug: ${reasonOf(error)}${hint}\n`);
  if (process.env.LASTSPIN_DEBUG && error instanceof Error)
    process.stderr.write(`${error.stack}\n`);
  return exitBug;
}

function collect(value: string, previous: readonly string[]): string[] {
  return [...previous, value];
}

function collectList(value: string, previous: readonly string[] = []): string[] {
  const names = value.split(',').filter((name) => name !== '');
  if (names.length > 0) return [...previous, ...names];
  throw new InvalidArgumentError('names are needed, comma-separated.');
}

const timeUnitsMs: Readonly<Record<string, number>> = {
  s: 1000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** A time with its unit, in ms. */
function duration(value: string): number {
  const [, digits, unit = ''] = /^(\d+(?:\.\d+)?)(s|min|h|d)$/.exec(value) ?? [];
  const timeMs = Number(digits) * (timeUnitsMs[unit] ?? Number.NaN);
  if (timeMs > 0 && timeMs <= 1e13) return timeMs;
  throw new InvalidArgumentError('a time above 0 is needed, as 30s, 90min, 12h or 7d.');
}

/** A whole number from 0 to `most`. */
function whole(most: number): (value: string) => number {
  return (value) => {
    const number = Number(value);
    if (value.trim() !== '' && Number.isSafeInteger(number) && number >= 0 && number <= most)
      return number;
    throw new InvalidArgumentError(`a whole number from 0 to ${most} is needed.`);
  };
}

/** A size in bytes, with or without a unit. */
function bytes(value: string): number {
  return /^\d{1,15}$/.test(value) ? Number(value) : size(value);
}

/** A capacity with its unit, in bytes. */
function size(value: string): number {
  const [, digits, unit = ''] = /^(\d+(?:\.\d+)?) ?([kMGT]?i?B)$/.exec(value) ?? [];
  const bytes = Number(digits) * (unitBytes[unit] ?? Number.NaN);
  if (bytes >= 1 && bytes <= Number.MAX_SAFE_INTEGER) return Math.round(bytes);
  throw new InvalidArgumentError('a capacity with its unit is needed, as 500GB or 1.5TB.');
}

/** One of these words. */
function oneOf(...words: readonly string[]): (value: string) => string {
  return (value) => {
    if (words.includes(value)) return value;
    throw new InvalidArgumentError(`one of ${words.join(', ')} is needed.`);
  };
}

function positive(value: string): number {
  const number = Number(value);
  if (!(number > 0 && number <= 100_000))
    throw new InvalidArgumentError('a number above 0 is needed, at most 100000.');
  return number;
}
