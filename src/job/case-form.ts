/** What the image of a case is made of: as it began, whatever a later run is told. */

import type { DriveIdentity } from '../drive/drive.js';
import { LastspinError } from '../errors.js';
import { type ImageForm, plainFile, type TargetIdentity } from '../image/image-form.js';
import { hasParts, partPath } from '../image/split-file.js';
import { createRunMap } from '../map/run-map.js';
import { domainCount, outside } from '../plan/domain.js';
import type { FoundCase } from './case-files.js';
import type { CaseOptions } from './case-state.js';
import { parseSnapshot } from './snapshot.js';

/** The form that a case has, or is to get. Throws USAGE where it has another than the one asked for. */
export async function formOf({ found, form, drive }: CaseOptions): Promise<ImageForm> {
  const snapshot = parseSnapshot(found.saved?.state);
  const had = snapshot?.form ?? (await formOnDisk(found));
  if (!had) return form ?? plainFile;
  if (!form && had.kind !== 'target') return had;
  const isSame =
    had.kind === form?.kind &&
    (had.kind !== 'split' || form.kind !== 'split' || had.partBytes === form.partBytes) &&
    (had.kind !== 'target' || form.kind !== 'target' || isSameTarget(had.target, form.target));
  if (isSame) return had;
  const [is, wanted] = [had, form ?? plainFile].map((each) => formText(each, drive));
  throw new LastspinError(
    'USAGE',
    `${found.paths.map} belongs to ${is}, not to ${wanted}; go on as it began, or name other files`,
  );
}

/** Of a case whose map another program has written, or none. */
async function formOnDisk({ files, paths }: FoundCase): Promise<ImageForm | undefined> {
  if (await files.exists(paths.image)) return undefined;
  if (!(await hasParts(files, paths.image))) return undefined;
  const first = await files.open(partPath(paths.image, 1), { readOnly: true });
  try {
    const partBytes = await first.size();
    return partBytes > 0 ? { kind: 'split', partBytes } : undefined;
  } finally {
    await first.close();
  }
}

function isSameTarget(one: TargetIdentity, other: TargetIdentity): boolean {
  const keys = ['model', 'serial', 'sizeBytes', 'sectorBytes'] as const;
  return keys.every((key) => one[key] === other[key]);
}

function formText(form: ImageForm, { sectorBytes }: DriveIdentity): string {
  switch (form.kind) {
    case 'file':
      return 'an image in one file';
    case 'split':
      return `an image in parts of ${form.partBytes} bytes (${form.partBytes / sectorBytes} sectors)`;
    case 'target': {
      const { model, serial, sizeBytes } = form.target;
      return `the target ${[model, serial].filter(Boolean).join(' ')} of ${sizeBytes} bytes`;
    }
  }
}

/** What a target has no room for is outside the domain: it is not read, and the map says so of it. */
export function withinTarget(options: CaseOptions, heldSectors: number): CaseOptions {
  const { drive, found } = options;
  if (heldSectors === drive.sectorCount) return options;
  // An earlier run of ours left its domain, which is within the target.
  if (!options.scope && parseSnapshot(found.saved?.state)) return options;
  const scope = options.scope?.clone() ?? createRunMap(drive.sectorCount, 1);
  scope.set({ lba: heldSectors, count: drive.sectorCount - heldSectors }, outside);
  if (domainCount(scope) > 0) return { ...options, scope };
  throw new LastspinError('USAGE', `nothing of the domain lies on ${found.paths.image}`);
}
