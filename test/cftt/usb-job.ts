/** A whole job over the production USB path, in virtual time, with everything that is sent to the drive written down
 * on the wire. */
import { createSimulatedDrive, type SimulatedDrive } from '../../hardware-sim/drive.js';
import { defineScenario } from '../../hardware-sim/scenario.js';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import { createDock, createUsbDisk, type UsbDisk } from '../../hardware-sim/usb-disk.js';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';
import { createScsiDrive } from '../../src/drive/scsi/drive.js';
import { openUsbBot } from '../../src/drive/usb-bot/path.js';
import { bringUp } from '../../src/job/bring-up.js';
import { casePaths, findCase, openCase } from '../../src/job/case.js';
import type { JobEvent } from '../../src/job/events.js';
import { type JobEnd, runJob } from '../../src/job/job.js';
import type { JobState } from '../../src/job/state.js';
import { troublePolicies } from '../../src/power/policy.js';
import type { Power } from '../../src/power/power.js';
import { createPlayedUsb } from '../drive/played-usb.js';
import { memoryFiles } from '../image/memory-files.js';
import { presetRows } from '../presets.js';

export interface UsbJob {
  readonly drive: SimulatedDrive;
  readonly disk: UsbDisk;
  /** Commands, as they came out of the plug. */
  readonly sent: readonly Uint8Array[];
  /** Bytes that came out of the plug and were no command: data for the drive. */
  readonly dataOut: readonly Uint8Array[];
  readonly events: readonly JobEvent[];
  readonly state: JobState;
  readonly end: JobEnd;
  readonly image: Buffer;
  /** As the drive told it. */
  readonly serial: string;
}

const wrapperBytes = 31;

/** The disk, and what is sent to it (Bulk-Only Transport 5.1: a command's wrapper is `USBC` and 31 bytes long). */
function watched(disk: UsbDisk, sent: Uint8Array[], dataOut: Uint8Array[]): UsbDisk {
  const own = Object.create(disk) as UsbDisk;
  own.bulkOut = (endpoint, bytes, answer) => {
    const isCommand = bytes.length === wrapperBytes && bytes.toString('latin1', 0, 4) === 'USBC';
    if (isCommand) sent.push(Uint8Array.from(bytes.subarray(15, 15 + bytes[14]!)));
    else dataOut.push(Uint8Array.from(bytes));
    disk.bulkOut(endpoint, bytes, answer);
  };
  return own;
}

export async function usbJob(input: ScenarioInput): Promise<UsbJob> {
  const clock = createVirtualClock();
  const drive = createSimulatedDrive(defineScenario(input));
  const disk = createUsbDisk(drive, clock);
  const usb = createPlayedUsb();
  const files = memoryFiles();
  const sent: Uint8Array[] = [];
  const dataOut: Uint8Array[] = [];
  const dock = createDock(drive, usb.plug(watched(disk, sent, dataOut)), clock);
  const events: JobEvent[] = [];
  const relay: Power = {
    name: 'relay',
    canHold: true,
    set: (on) => dock.power(on),
    async cycle(offMs) {
      await dock.power(false);
      await clock.sleep(offMs);
      await dock.power(true);
    },
    async close() {},
  };

  async function session() {
    await dock.power(true);
    const name = { vendorId: 0x1209, productId: 2 };
    const path = await openUsbBot(name, clock, async () => usb.library);
    const target = createScsiDrive(path, clock, { timeoutMsMin: 8000 });
    const { signal } = new AbortController();
    const identity = await bringUp(target, [relay], troublePolicies.hdd, clock, signal);
    const rescue = await openCase({
      found: await findCase(files, casePaths('case.img'), false),
      drive: identity,
      driveKind: 'hdd',
      passes: presetRows('standard', { ...identity, retries: 1 }),
      force: false,
      version: 'test',
      clock,
    });
    const end = await runJob(
      {
        drive: target,
        powers: [relay],
        image: rescue.image,
        recorder: rescue.recorder,
        clock,
        identity,
        resumed: false,
        names: { drive: 'usb-bot', image: 'case.img' },
        onEvent: (event) => events.push(event),
      },
      rescue.state,
      signal,
    );
    await rescue.close();
    await target.close();
    const file = await files.open('case.img', { readOnly: true });
    const image = Buffer.alloc(identity.sectorCount * identity.sectorBytes);
    await file.read(image, 0);
    return { end, state: rescue.state, image, serial: identity.serial };
  }

  return { drive, disk, sent, dataOut, events, ...(await clock.run(session())) };
}
