/** Which of the devices that are plugged in is the one from before. */

/** What tells USB devices apart. Ids in lower-case hex of four digits. */
export interface UsbIdentity {
  readonly vendorId: string;
  readonly productId: string;
  /** Cheap boards have none, or all the same. */
  readonly serialNumber?: string | undefined;
  /** Of a device with several ports: which one. */
  readonly interfaceNumber?: string | undefined;
  /** Where it is plugged in: `1-1.4`. */
  readonly location?: string | undefined;
}

/** A device to be found again, and where others like it were plugged in at that time. */
export interface Wanted {
  readonly identity: UsbIdentity;
  readonly twinsAt: ReadonlySet<string>;
}

function isAlike(one: UsbIdentity, other: UsbIdentity): boolean {
  return (
    one.vendorId === other.vendorId &&
    one.productId === other.productId &&
    one.serialNumber === other.serialNumber &&
    one.interfaceNumber === other.interfaceNumber
  );
}

/** Remembers `identity`, one of `seen`. */
export function wantAgain(identity: UsbIdentity, seen: readonly UsbIdentity[]): Wanted {
  const twins = seen.filter((each) => each !== identity && isAlike(each, identity));
  return { identity, twinsAt: new Set(twins.flatMap(({ location }) => location ?? [])) };
}

/** The wanted device among `seen`: at its old place, else the only one of its kind that is not where
 * a twin was. Undefined where there is none or no telling, since another imager has another
 * drive. */
export function findAgain<T extends UsbIdentity>(
  seen: readonly T[],
  { identity, twinsAt }: Wanted,
): T | undefined {
  const alike = seen.filter((each) => isAlike(each, identity));
  const samePlace = alike.find(
    ({ location }) => location !== undefined && location === identity.location,
  );
  if (samePlace) return samePlace;
  const elsewhere = alike.filter(({ location }) => !location || !twinsAt.has(location));
  return elsewhere.length === 1 ? elsewhere[0] : undefined;
}

/** For messages: `1209:0001, serial number SN1`. */
export function nameOf({ vendorId, productId, serialNumber }: UsbIdentity): string {
  const ids = `${vendorId}:${productId}`;
  return serialNumber === undefined ? ids : `${ids}, serial number ${serialNumber}`;
}

/** An id of 16 bits as it is written: `0x1209` is `1209`. */
export function hexId(id: number): string {
  return id.toString(16).padStart(4, '0');
}
