import { framedLink, type Link } from '../firmware-protocol/link.js';
import { createResponder, type Responder } from '../firmware-protocol/responder.js';
import type { Clock } from '../src/clock.js';
import { createSimulatedDrive, type SimulatedDrive } from './drive.js';
import {
  createSimulatedImager,
  type SimulatedImager,
  type SimulatedImagerOptions,
} from './imager.js';
import { pacedLink } from './noisy-link.js';
import type { Plug, Serve } from './plug.js';
import type { Scenario } from './scenario.js';

export interface Simulator {
  readonly drive: SimulatedDrive;
  readonly imager: SimulatedImager;
  readonly responder: Responder;
  /** What a client opens. */
  readonly address: string;
  close(): Promise<void>;
}

/** A scenario's drive and imager behind a real plug: `(serve) => plugIntoPty(path, serve)`. Drive
 * and imager keep their state from client to client. `clock` may be scaled (`realClock(20)`).
 * Throws what the plug throws, and SCENARIO_INVALID when the contents cannot be read. */
export async function serveSimulator(
  scenario: Scenario,
  clock: Clock,
  plugInto: (serve: Serve) => Promise<Plug>,
  options: SimulatedImagerOptions = {},
): Promise<Simulator> {
  const drive = createSimulatedDrive(scenario);
  const imager = createSimulatedImager(drive, clock, options);
  const responder = createResponder(imager, clock);
  const plug = await plugInto((duplex) => {
    const link: Link = framedLink(duplex);
    const { linkBytesPerSecond } = scenario;
    responder.attach(
      linkBytesPerSecond === undefined ? link : pacedLink(link, clock, linkBytesPerSecond),
    );
  });
  return {
    drive,
    imager,
    responder,
    address: plug.address,
    async close() {
      await plug.close();
      imager.close();
    },
  };
}
