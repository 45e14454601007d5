// A simulated imager on standard input and output: node stdio-imager.mjs SCENARIO. Needs the build, as
// the command line does.
import { loadScenario } from '../../dist/hardware-sim/scenario.js';
import { serveSimulator } from '../../dist/hardware-sim/simulator.js';
import { realClock } from '../../dist/src/clock.js';
import { streamOf } from '../../dist/src/drive/links/stdio.js';

const scenario = loadScenario(process.argv[2]);
process.stderr.write('a simulated imager\n');
const simulator = await serveSimulator(scenario, realClock(), async (serve) => {
  serve(streamOf(process.stdin, process.stdout));
  return { address: 'stdio', close: async () => {} };
});
process.on('SIGUSR2', () => {
  process.stderr.write('out of memory\n', () => process.exit(7));
});
process.stdin.on('close', () => simulator.close());
