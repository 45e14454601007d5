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
import type { UsbDevice, UsbPlug } from './usb-device.js';
import {
  createDock,
  createUsbDisk,
  type Dock,
  type UsbDisk,
  type UsbDiskOptions,
} from './usb-disk.js';

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

export interface DiskSimulator {
  readonly drive: SimulatedDrive;
  readonly disk: UsbDisk;
  readonly dock: Dock;
  close(): Promise<void>;
}

/** A scenario's drive behind a USB adapter in a real port: `(disk) => serveUsbip('3240', disk)`. It is off and
 * unseen until its dock is powered. Throws what the port throws, and SCENARIO_INVALID. */
export async function serveUsbDisk(
  scenario: Scenario,
  clock: Clock,
  plugInto: (disk: UsbDevice) => Promise<UsbPlug>,
  options: UsbDiskOptions = {},
): Promise<DiskSimulator> {
  const drive = createSimulatedDrive(scenario);
  const disk = createUsbDisk(drive, clock, options);
  const plug = await plugInto(disk);
  return {
    drive,
    disk,
    dock: createDock(drive, plug, clock),
    async close() {
      plug.close();
      drive.close();
    },
  };
}
