/** What an image is made of. Decided when a case begins, and kept with its map. */

/** Whom a target says it is: another one of the same name is another target. */
export interface TargetIdentity {
  readonly model: string;
  readonly serial: string;
  readonly sizeBytes: number;
  readonly sectorBytes: number;
}

export type ImageForm =
  | { readonly kind: 'file' }
  /** `IMAGE.001`, `IMAGE.002`, …, which one after the other are the raw image. `partIds`: which file each part was,
   * where the file system tells them apart. */
  | { readonly kind: 'split'; readonly partBytes: number; readonly partIds?: readonly string[] }
  /** A device or a file that is as large as it is, whatever the drive needs. */
  | { readonly kind: 'target'; readonly target: TargetIdentity };

/** Sectors of the drive that the image has room for. */
export function heldCount(
  form: ImageForm,
  { sectorCount, sectorBytes }: { readonly sectorCount: number; readonly sectorBytes: number },
): number {
  if (form.kind !== 'target') return sectorCount;
  return Math.min(sectorCount, Math.floor(form.target.sizeBytes / sectorBytes));
}

export const plainFile: ImageForm = { kind: 'file' };
