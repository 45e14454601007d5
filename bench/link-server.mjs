// The device end of `npm run bench -- link`, in a process of its own: an imager whose drive takes no time.
// Arguments: tcp|pty PATH, contents (random|zeros|alternating). Prints its address, serves until stdin ends.

import { capabilityBits } from '../dist/firmware-protocol/commands.js';
import { frameBytesMaxDefault, framedLink } from '../dist/firmware-protocol/link.js';
import { createResponder } from '../dist/firmware-protocol/responder.js';
import { plugIntoPty, plugIntoTcp } from '../dist/hardware-sim/plug.js';
import { createRandom } from '../dist/hardware-sim/random.js';
import { realClock } from '../dist/src/clock.js';

const [plug, address, contents] = process.argv.slice(2);
const sectorBytes = 512;
const readCountMax = 2048;

/** One drive's worth of data that every read is cut from. */
function dataOf(kind) {
  const data = Buffer.alloc(readCountMax * sectorBytes + 4096);
  if (kind === 'zeros') return data;
  const random = createRandom(7);
  for (let at = 0; at < data.length; at++)
    data[at] = kind === 'alternating' ? at & 1 : Math.floor(random.next() * 256);
  return data;
}

const data = dataOf(contents);
const nothing = async () => {};
const device = {
  firmware: 'bench',
  capabilities: capabilityBits.read | capabilityBits.identify,
  bootId: 1,
  bootCause: 'powerOn',
  commandsMax: 16,
  frameBytesMax: frameBytesMaxDefault,
  bufferBytes: 16 * 1024 * 1024,
  requestsMax: 32,
  readCountMax,
  read: async ({ lba, count }) => ({
    outcome: 'good',
    goodCount: count,
    data: data.subarray(lba % 4096, (lba % 4096) + count * sectorBytes),
    elapsedMicros: 1,
  }),
  abort() {},
  status: () => ({ powerState: 'ready', driveBusy: false, uptimeMs: 1, powerCycles: 1 }),
  identify: nothing,
  reset: nothing,
  power: nothing,
  park: nothing,
  throttle: nothing,
  passthrough: nothing,
  watchdog: nothing,
  limits: nothing,
  heard() {},
  onEvent() {},
};

/** Raw bytes as fast as the other end takes them, for what the line itself can do. */
function pour(duplex) {
  const piece = data.subarray(0, 65_536);
  const more = () => {
    while (!duplex.destroyed && duplex.write(piece));
  };
  duplex.on('drain', more).on('error', () => {});
  more();
}

const responder = createResponder(device, realClock());
const serve = contents === 'raw' ? pour : (duplex) => responder.attach(framedLink(duplex));
const plugged = await (plug === 'tcp' ? plugIntoTcp(address, serve) : plugIntoPty(address, serve));
process.stdout.write(`${plugged.address}\n`);
// A line on stdin is answered with the CPU milliseconds that this end has used so far.
process.stdin
  .on('data', () => {
    const { user, system } = process.cpuUsage();
    process.stdout.write(`${(user + system) / 1000}\n`);
  })
  .on('end', () => plugged.close());
