/** Something that stands in the way. */
export interface Finding {
  /** The device or part of the system: `/dev/sdb`, `udisks`. */
  readonly about: string;
  /** What there is, as the rest of a sentence about it. */
  readonly what: string;
  /** Why it matters. */
  readonly why: string;
  /** What mends it: commands, or what to do in a few words. */
  readonly mend: string;
  /** Lines for a file that mend it, where there are such; udev's rules come into force by
   * `udevadm control --reload` and plugging in again. */
  readonly rule?: { readonly path: string; readonly text: string };
}

/** The finding as a sentence for a log, without its file. `spec`: the DRIVE that `doctor` takes. */
export function sentenceOf({ about, what, why, mend, rule }: Finding, spec: string): string {
  const file = rule ? ` 'lastspin doctor ${spec}' prints the rule.` : '';
  return `${about} ${what}: ${why}. To mend it: ${mend}.${file}`;
}
