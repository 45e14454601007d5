/** USB bridges that need to be treated unlike others, by vendor and product. Only what has a source: where
 * nothing is known of a bridge, it is asked and believed as far as its answers make sense. */

import type { ScsiPath } from './path.js';

export interface BridgeQuirks {
  /** It passes no ATA commands through, and hangs or lies when it is asked to. */
  readonly noAta?: true;
  /** ATA commands only in the shorter form. */
  readonly ataForm?: 12;
  /** Its READ CAPACITY names the number of sectors where the last one is meant. */
  readonly capacityIsCount?: true;
  /** More bytes in one transfer hang it. */
  readonly transferBytesMax?: number;
  /** Hangs when asked for vital product data. */
  readonly noPages?: true;
}

interface BridgeRow {
  readonly vendorId: number;
  readonly productId: number;
  readonly quirks: BridgeQuirks;
  /** Where it is known from. */
  readonly source: string;
}

const kernel = 'Linux, drivers/usb/storage';
const smart = 'smartmontools, drivedb.h, USB section';

const rows: readonly BridgeRow[] = [
  // Genesys Logic: a transfer of more than 64 sectors hangs them; two of their products are well.
  ...[0x0701, 0x0702].map((productId) => ({
    vendorId: 0x05e3,
    productId,
    quirks: { transferBytesMax: 64 * 512, noPages: true, noAta: true } as const,
    source: `${kernel}/unusual_devs.h: MAX_SECTORS_64; ${smart}: unsupported`,
  })),
  // Cypress AT2LP: its own vendor command instead of SAT.
  {
    vendorId: 0x04b4,
    productId: 0x6830,
    quirks: { noAta: true },
    source: `${smart}: type usbcypress`,
  },
  // JMicron's first ones: a vendor command of their own, or SAT in the shorter form only.
  {
    vendorId: 0x152d,
    productId: 0x2336,
    quirks: { noAta: true },
    source: `${smart}: type usbjmicron`,
  },
  {
    vendorId: 0x152d,
    productId: 0x2338,
    quirks: { noAta: true },
    source: `${smart}: type usbjmicron`,
  },
  {
    vendorId: 0x152d,
    productId: 0x2339,
    quirks: { noAta: true },
    source: `${smart}: type usbjmicron`,
  },
  // Sunplus: likewise.
  {
    vendorId: 0x04fc,
    productId: 0x0c15,
    quirks: { noAta: true },
    source: `${smart}: type usbsunplus`,
  },
  {
    vendorId: 0x04fc,
    productId: 0x0c25,
    quirks: { noAta: true },
    source: `${smart}: type usbsunplus`,
  },
  // Prolific PL2507 and PL3507.
  {
    vendorId: 0x067b,
    productId: 0x2507,
    quirks: { noAta: true, transferBytesMax: 64 * 512 },
    source: `${kernel}/unusual_devs.h: MAX_SECTORS_64; ${smart}: unsupported`,
  },
];

/** What to mind of a bridge; nothing of one that is not known. */
export function quirksOf(bridge: ScsiPath['bridge']): BridgeQuirks {
  if (!bridge) return {};
  const { vendorId, productId } = bridge;
  const row = rows.find((each) => each.vendorId === vendorId && each.productId === productId);
  return row?.quirks ?? {};
}
