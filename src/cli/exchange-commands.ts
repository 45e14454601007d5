/** The words of `lastspin export` and `import`. What they do is loaded when one is called. */

import { type Command, Option } from 'commander';

/** Adds the commands that exchange images and projects with other programs.
 * @param report takes a command's exit status */
export function addExchangeCommands(program: Command, report: (status: number) => void): void {
  program
    .command('export')
    .description(
      'an image for other programs: E01 with its unread sectors, or DFXML of what was read',
    )
    .argument('<IMAGE>')
    .argument('<FILE>', 'FILE.E01, or FILE.dfxml')
    .option('--map <MAP>', 'the map, where it does not stand beside the image')
    .option('--sector <BYTES>', 'the size of a sector, where another program wrote the map [512]')
    .option('--segment-size <BYTES>', 'E01: the most bytes of one file, as 2000Mi [1500Mi]')
    .addOption(
      new Option('--compress <HOW>', 'E01: how hard [fast]').choices(['none', 'fast', 'best']),
    )
    .option('--case <NUMBER>', 'the case')
    .option('--evidence <NUMBER>', 'the piece of evidence')
    .option('--examiner <NAME>', 'who examines it')
    .option('--description <TEXT>', 'what it is')
    .option('--notes <TEXT>', 'anything else')
    .option('--json', 'print one JSON object as the result')
    .option('--force', 'replace FILE if it is such a file')
    .action(async (image, file, options) =>
      report(await (await import('./export.js')).exportImage(image, file, options)),
    );

  program
    .command('import')
    .description('go on with a project of ddrescue, OpenSuperClone or HDDSuperClone')
    .argument('<PROJECT>', 'its map file or progress log')
    .argument('<IMAGE>', 'its image, which is not touched; IMAGE.map goes beside it')
    .option('--json', 'print one JSON object as the result')
    .option('--force', 'replace a map that is there; take an image that is longer than the project')
    .action(async (project, image, options) =>
      report(await (await import('./import.js')).importProject(project, image, options)),
    );
}
