/** A span of sectors: `[lba, lba + count)`. LBAs and counts are sectors, never bytes. */
export interface Extent {
  readonly lba: number;
  readonly count: number;
}

/** First LBA after the extent. */
export function endOf(extent: Extent): number {
  return extent.lba + extent.count;
}
