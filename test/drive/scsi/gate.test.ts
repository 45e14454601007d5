/** What may reach a source drive through the commander, written out by hand: nothing here is taken from the
 * list that the product goes by. */
import { describe, expect, test } from 'vitest';
import { createVirtualClock } from '../../../hardware-sim/virtual-clock.js';
import { createCommander } from '../../../src/drive/scsi/commander.js';
import type { ScsiPath } from '../../../src/drive/scsi/path.js';
import { isLastspinError } from '../../../src/errors.js';

const lengths = [0, 1, 5, 6, 7, 9, 10, 11, 12, 13, 15, 16, 17, 32, 260];

/** Operation code and length of every command that passes with all other bytes zero. */
const plain = new Set([
  '00/6', // TEST UNIT READY
  '03/6', // REQUEST SENSE
  '08/6', // READ (6)
  '12/6', // INQUIRY
  '1a/6', // MODE SENSE (6)
  '1b/6', // START STOP UNIT
  '25/10', // READ CAPACITY (10)
  '28/10', // READ (10)
  '4d/10', // LOG SENSE
  '5a/10', // MODE SENSE (10)
  '88/16', // READ (16)
  'a0/12', // REPORT LUNS
  'a8/12', // READ (12)
]);

/** ATA commands that bring data: protocol PIO in, DMA or UDMA in, T_DIR from the drive, some T_LENGTH. */
const ataIn = new Set([
  0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x29, 0x2f, 0x47, 0xa1, 0xc4, 0xc8, 0xc9, 0xe4, 0xec,
]);
/** ATA commands without data: protocol 3, T_LENGTH 0. */
const ataPlain = new Set([0x27, 0x40, 0x41, 0x42, 0xe0, 0xe1, 0xe5, 0xf8]);
/** By subcommand in FEATURES. */
const smartIn = new Set([0xd0, 0xd1, 0xd5]);
const smartPlain = new Set([0xda]);
const setFeatures = new Set([0x55, 0xaa]);
const configurationIn = new Set([0xc2]);

interface Task {
  readonly command: number;
  readonly features?: number;
  readonly protocol: number;
  readonly flags: number;
  readonly signed?: boolean;
}

function wrap(form: 12 | 16, task: Task): Uint8Array {
  const cdb = new Uint8Array(form);
  cdb.set([form === 16 ? 0x85 : 0xa1, task.protocol << 1, task.flags]);
  cdb[form === 16 ? 4 : 3] = task.features ?? 0;
  cdb[form === 16 ? 14 : 9] = task.command;
  if (task.signed) {
    cdb[form === 16 ? 10 : 6] = 0x4f;
    cdb[form === 16 ? 12 : 7] = 0xc2;
  }
  return cdb;
}

function isExpected({ command, features = 0, protocol, flags, signed }: Task): boolean {
  const hasLength = (flags & 0x03) !== 0;
  const isIn = [4, 6, 10].includes(protocol) && hasLength && (flags & 0x08) !== 0;
  const isPlain = protocol === 3 && !hasLength;
  if (command === 0xb0)
    return (
      signed === true && ((isIn && smartIn.has(features)) || (isPlain && smartPlain.has(features)))
    );
  if (command === 0xb1) return isIn && configurationIn.has(features);
  if (command === 0xef) return isPlain && setFeatures.has(features);
  return (isIn && ataIn.has(command)) || (isPlain && ataPlain.has(command));
}

/** Sends through a commander, and tells what reached the path. */
async function reached(cdbs: readonly Uint8Array[]): Promise<ReadonlySet<Uint8Array>> {
  const sent = new Set<Uint8Array>();
  const path: ScsiPath = {
    name: 'played:0',
    transferBytesMax: 512,
    resets: new Set(),
    async send({ cdb }) {
      sent.add(cdb);
      const nothing = new Uint8Array();
      return { kind: 'done', status: 'good', data: nothing, sense: nothing, elapsedMs: 0 };
    },
    reset: async () => {},
    isThere: async () => true,
    close: async () => {},
  };
  const commander = createCommander(path, createVirtualClock());
  for (const cdb of cdbs) {
    const error = await commander.send(cdb, 512, 1000).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    if (error === undefined) continue;
    const isPlain =
      isLastspinError(error, 'DEVICE_REFUSED') &&
      /^not sent to played:0: [^\n]+$/.test(error.message) &&
      !sent.has(cdb);
    if (!isPlain) throw error;
  }
  return sent;
}

const hex = (cdb: Uint8Array) => Buffer.from(cdb).toString('hex');

async function expectExactly(tasks: readonly Task[]): Promise<void> {
  const forms = tasks.flatMap((task) => [12, 16].map((form) => [task, form] as const));
  const cdbs = forms.map(([task, form]) => wrap(form as 12 | 16, task));
  const sent = await reached(cdbs);
  const expected = cdbs.filter((_, index) => isExpected(forms[index]![0]));
  expect([...sent].map(hex)).toEqual(expected.map(hex));
}

const bytes = Array.from({ length: 256 }, (_, value) => value);

describe('what reaches the drive', () => {
  test('of 256 operation codes in every length', async () => {
    const cdbs = bytes.flatMap((opcode) =>
      lengths.map((length) => {
        const cdb = new Uint8Array(length);
        if (length > 0) cdb[0] = opcode;
        return cdb;
      }),
    );
    const sent = [...(await reached(cdbs))];
    const names = sent.map((cdb) => `${hex(cdb.subarray(0, 1))}/${cdb.length}`);
    expect(new Set(names)).toEqual(plain);
    expect(names).toHaveLength(plain.size);
  });

  test('of 256 ATA commands by every protocol, direction and length', async () => {
    const tasks: Task[] = [];
    for (let protocol = 0; protocol < 16; protocol++)
      for (const flags of [0x00, 0x08, 0x06, 0x0e, 0x0d, 0x2e, 0x3e, 0x05])
        for (const command of bytes) tasks.push({ command, protocol, flags });
    await expectExactly(tasks);
  });

  test.each([
    ['SMART', 0xb0, true],
    ['SMART without its signature', 0xb0, false],
    ['DEVICE CONFIGURATION', 0xb1, false],
    ['SET FEATURES', 0xef, false],
  ] as const)('of 256 subcommands of %s', async (_, command, signed) => {
    const tasks: Task[] = [];
    for (const [protocol, flags] of [
      [3, 0],
      [4, 0x0e],
      [5, 0x06],
      [6, 0x0e],
      [6, 0x06],
      [10, 0x0e],
      [11, 0x06],
    ] as const)
      for (const features of bytes) tasks.push({ command, features, protocol, flags, signed });
    await expectExactly(tasks);
  });

  test('of service actions only READ CAPACITY (16)', async () => {
    const cdbs = bytes.map((action) => {
      const cdb = new Uint8Array(16);
      cdb.set([0x9e, action]);
      return cdb;
    });
    const sent = [...(await reached(cdbs))].map((cdb) => cdb[1]! & 0x1f);
    expect(new Set(sent)).toEqual(new Set([0x10]));
  });

  test('nothing that loads, ejects or saves', async () => {
    const sent = await reached([
      ...bytes.map((flags) => Uint8Array.of(0x1b, 0, 0, 0, flags, 0)),
      ...bytes.map((flags) => Uint8Array.of(0x4d, flags, 0, 0, 0, 0, 0, 0, 0, 0)),
    ]);
    for (const cdb of sent) expect(cdb[0] === 0x1b ? cdb[4]! & 0x02 : cdb[1]! & 0x01).toBe(0);
    expect(sent.size).toBe(256);
  });
});
