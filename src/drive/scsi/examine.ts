/** What a drive is asked beyond reading. Only on purpose, and each thing by itself: for an ill drive every
 * question may be one too many. */

import type { AtaIdentity, SmartData } from './ata-data.js';
import { type Commander, toldBy } from './commander.js';

/** What a drive said of itself when it was identified, and the way to ask it more. */
export interface Questions {
  /** Its own IDENTIFY data, where there is any. */
  readonly ata?: AtaIdentity;
  /** Absent where no ATA commands pass through. Nothing else may be under way. */
  readonly commander?: Commander;
}

/** Capacity that the drive has and does not show. Reported; nothing changes it. */
export interface HiddenCapacity {
  /** Sectors by READ NATIVE MAX ADDRESS: more than there are hides some behind a protected area. */
  readonly nativeSectorCount?: number;
  /** Sectors by DEVICE CONFIGURATION IDENTIFY: more than the native ones hides some behind an overlay. */
  readonly configurationSectorCount?: number;
}

export interface SmartReport {
  /** Within its thresholds, by its own word. */
  readonly isSmartPassed?: boolean;
  readonly smart?: SmartData;
}

/** What the drive does not have or does not answer is left out; fewer sectors than it shows cannot be. */
export async function askHidden(commander: Commander, own: AtaIdentity): Promise<HiddenCapacity> {
  const native = own.hasHostProtectedArea
    ? toldBy(await commander.nativeCount(own.hasLba48))
    : undefined;
  const configured = own.hasConfigurationOverlay
    ? toldBy(await commander.configurationCount())
    : undefined;
  const isPossible = (count: number | undefined): count is number =>
    count !== undefined && count >= own.sectorCount;
  return {
    ...(isPossible(native) && { nativeSectorCount: native }),
    ...(isPossible(configured) && { configurationSectorCount: configured }),
  };
}

/** SMART RETURN STATUS and READ DATA, which have frozen ill drives: the last thing to ask. A drive that does not
 * answer the first is not asked the second. */
export async function askSmart(commander: Commander, own: AtaIdentity): Promise<SmartReport> {
  if (!own.hasSmart) return {};
  const status = await commander.smartStatus();
  const passed = toldBy(status)?.passed;
  const isSilent = status.kind === 'timeout' || status.kind === 'gone';
  const smart = isSilent ? undefined : toldBy(await commander.smartData());
  return {
    ...(passed !== undefined && { isSmartPassed: passed }),
    ...(smart && { smart }),
  };
}
