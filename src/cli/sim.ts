import { type Plug, plugIntoPty, plugIntoTcp, type Serve } from '../../hardware-sim/plug.js';
import { loadScenario } from '../../hardware-sim/scenario.js';
import { serveSimulator } from '../../hardware-sim/simulator.js';
import { plugIntoUsbredir } from '../../hardware-sim/usbredir.js';
import { realClock } from '../clock.js';
import { LastspinError } from '../errors.js';
import { newSession } from './drives.js';
import { onInterrupt } from './interrupt.js';

export interface SimOptions {
  readonly pty?: string;
  readonly tcp?: string;
  readonly usbredir?: string;
  readonly scale: number;
  readonly untilEof?: boolean;
}

/** `lastspin sim SCENARIO --pty PATH | --tcp ADDR | --usbredir PATH`: serves until interrupted. One line on stdout says
 * where, once it can be opened. */
export async function sim(scenario: string, options: SimOptions): Promise<number> {
  const { plugInto, prefix } = plugOf(options);
  const loaded = loadScenario(scenario);
  const interrupt = onInterrupt('lastspin: unplugged');
  const simulator = await serveSimulator(loaded, realClock(options.scale), plugInto, {
    bootId: newSession(),
  });
  process.stdout.write(`${prefix}${simulator.address}\n`);
  await new Promise((resolve) => {
    interrupt.signal.addEventListener('abort', resolve);
    if (options.untilEof) process.stdin.on('end', resolve).resume();
  });
  process.stdin.pause();
  await simulator.close();
  interrupt.dispose();
  return 0;
}

type PlugInto = (serve: Serve) => Promise<Plug>;

function plugOf({ pty, tcp, usbredir }: SimOptions): { plugInto: PlugInto; prefix: string } {
  const plugs: { plugInto: PlugInto; prefix: string }[] = [];
  if (pty !== undefined)
    plugs.push({ plugInto: (serve) => plugIntoPty(pty, serve), prefix: 'serial:' });
  if (tcp !== undefined)
    plugs.push({ plugInto: (serve) => plugIntoTcp(tcp, serve), prefix: 'tcp:' });
  if (usbredir !== undefined)
    plugs.push({ plugInto: (serve) => plugIntoUsbredir(usbredir, serve), prefix: 'usb:' });
  const [plug, ...more] = plugs;
  if (plug && more.length === 0) return plug;
  throw new LastspinError('USAGE', 'sim needs one of --pty PATH, --tcp ADDR and --usbredir PATH');
}
