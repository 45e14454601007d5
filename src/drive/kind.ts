/** What kind of drive it is, from what it says of itself. */

/** Kinds that a drive can be told apart by. */
export const kindHints = ['hdd', 'ssd', 'flash'] as const;
export type KindHint = (typeof kindHints)[number];

const identifyBytes = 512;
/** Standard INQUIRY data (SPC-4 clause 6.6.2): the shortest that names vendor, product and revision. */
const inquiryBytesMin = 36;
const inquiryBytesMax = 260;

/** The kind that IDENTIFY DEVICE or standard INQUIRY data speaks of; undefined where it says nothing, or
 * nothing that makes sense. The data comes from a failing drive and is believed only where it is whole.
 * - IDENTIFY: word 217 (ACS-3 clause 7.12.7.83) is 1 for what does not turn, else its turns a minute.
 * - INQUIRY: removable direct-access media behind no ATA identity are sticks and cards. */
export function kindFromIdentify(raw: Uint8Array): KindHint | undefined {
  if (raw.length === identifyBytes) return isWhole(raw) ? kindByRotation(raw) : undefined;
  if (raw.length < inquiryBytesMin || raw.length > inquiryBytesMax) return undefined;
  const isDirectAccess = raw[0] === 0;
  const isRemovable = ((raw[1] ?? 0) & 0x80) !== 0;
  return isDirectAccess && isRemovable ? 'flash' : undefined;
}

/** Word 255: a signature says that all bytes add up to zero; without it there is nothing to check. */
function isWhole(raw: Uint8Array): boolean {
  if (raw[510] !== 0xa5) return true;
  return (raw.reduce((sum, byte) => sum + byte, 0) & 0xff) === 0;
}

/** CompactFlash cards say so in word 0 (CFA). */
const compactFlash = 0x848a;
const rotationMin = 0x0401;
const rotationMax = 0xfffe;

function kindByRotation(raw: Uint8Array): KindHint | undefined {
  const word = (index: number) => (raw[index * 2] ?? 0) | ((raw[index * 2 + 1] ?? 0) << 8);
  if (word(0) === compactFlash) return 'flash';
  const rotation = word(217);
  if (rotation === 1) return 'ssd';
  return rotation >= rotationMin && rotation <= rotationMax ? 'hdd' : undefined;
}
