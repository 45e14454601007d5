/** USB bridges that need to be treated unlike others, by vendor and product. Only what has a source: where
 * nothing is known of a bridge, it is asked and believed as far as its answers make sense. */

import type { ScsiPath } from './path.js';

export interface BridgeQuirks {
  /** It passes ATA commands through only by commands of its vendor's, or not at all: it is not asked. */
  readonly noAta?: true;
  /** ATA commands in the shorter form only. */
  readonly ataForm?: 12;
  /** Some of its firmware names the number of sectors where the last one is meant. */
  readonly mayCountOneMore?: true;
  /** More bytes in one transfer hang it. */
  readonly transferBytesMax?: number;
  /** What it says it held back of a transfer is not to be believed (for the path: bulk-only residue). */
  readonly ignoreResidue?: true;
}

interface BridgeRow {
  readonly ids: readonly string[];
  readonly quirks: BridgeQuirks;
  /** Where it is known from. */
  readonly source: string;
}

const kernel = 'Linux, drivers/usb/storage/unusual_devs.h';
const smartmontools = 'smartmontools, drivedb.h, USB entries';

/** All rows that name a bridge hold. */
export const bridgeRows: readonly BridgeRow[] = [
  {
    ids: ['05e3:0702'], // Genesys Logic GL811/881
    quirks: { transferBytesMax: 64 * 512, ignoreResidue: true },
    source: `${kernel}: at most 64 sectors, residue`,
  },
  {
    ids: ['067b:2507', '067b:3507'], // Prolific PL2507, PL3507
    quirks: { mayCountOneMore: true },
    source: `${kernel}: capacity`,
  },
  {
    ids: ['152d:2329'], // JMicron JM20329
    quirks: { ignoreResidue: true },
    source: `${kernel}: residue`,
  },
  {
    ids: ['05e3:0702', '0402:5621', '04cf:8818', '040d:6204', '0928:0000', '0928:0002'],
    quirks: { noAta: true },
    source: `${smartmontools}: unsupported`,
  },
  {
    ids: ['152d:2329', '152d:2336', '152d:2337', '152d:2338', '152d:2339', '152d:2352'],
    quirks: { noAta: true },
    source: `${smartmontools}: JMicron's own command`,
  },
  {
    ids: ['067b:2507', '067b:3507', '067b:2571', '067b:2771', '067b:2773', '067b:2775'],
    quirks: { noAta: true },
    source: `${smartmontools}: Prolific's own command`,
  },
  {
    ids: ['04fc:0c05', '04fc:0c15', '04fc:0c25'],
    quirks: { noAta: true },
    source: `${smartmontools}: Sunplus's own command`,
  },
  {
    ids: ['04b4:6830', '05ab:0060', '0c0b:b001', '1058:0701'],
    quirks: { noAta: true },
    source: `${smartmontools}: Cypress's own command`,
  },
  {
    ids: ['0bc2:3008', '0bc2:5031', '0bc2:50a1', '13fd:1640', '13fd:1650', '07ab:fc73'],
    quirks: { ataForm: 12 },
    source: `${smartmontools}: sat,12`,
  },
  {
    ids: ['0939:0b13', '18a5:0237', '0350:0038'],
    quirks: { ataForm: 12 },
    source: `${smartmontools}: sat,12`,
  },
];

/** What to mind of a bridge; nothing of one that is not known. */
export function quirksOf(bridge: ScsiPath['bridge']): BridgeQuirks {
  if (!bridge) return {};
  const hex = (id: number) => id.toString(16).padStart(4, '0');
  const name = `${hex(bridge.vendorId)}:${hex(bridge.productId)}`;
  const quirks = bridgeRows.filter(({ ids }) => ids.includes(name)).map((row) => row.quirks);
  return Object.assign({}, ...quirks);
}
