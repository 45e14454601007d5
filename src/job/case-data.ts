import { z } from 'zod';
import { LastspinError } from '../errors.js';

/** Longest case data that is taken, in characters: a line each, but for the note. */
const textMax = 200;
const noteMax = 10_000;

/** Whose case it is, in the words of those who work on it. Kept in checkpoint and event log; nothing is decided by
 * it. */
export const caseDataSchema = z.object({
  number: z.string().max(textMax).exactOptional(),
  evidence: z.string().max(textMax).exactOptional(),
  examiner: z.string().max(textMax).exactOptional(),
  note: z.string().max(noteMax).exactOptional(),
});

export type CaseData = z.infer<typeof caseDataSchema>;

const fields = ['number', 'evidence', 'examiner', 'note'] as const;
const optionNames = { number: 'case', evidence: 'evidence', examiner: 'examiner', note: 'note' };

/** Case data from what was typed. Throws USAGE for what is too long or would not be one line. */
export function caseDataFrom(given: { readonly [Field in keyof CaseData]?: string | undefined }) {
  const data: { [Field in keyof CaseData]: string } = {};
  for (const field of fields) {
    const text = given[field];
    if (text === undefined) continue;
    const longest = field === 'note' ? noteMax : textMax;
    const option = `--${optionNames[field]}`;
    if (text.length > longest) throw usage(`${option} has ${text.length} characters`, longest);
    // Tabs and line feeds have their place in a note.
    const isClean = !/\p{Cc}/u.test(field === 'note' ? text.replaceAll(/[\t\n]/g, '') : text);
    if (!isClean) throw new LastspinError('USAGE', `${option} has control characters in it`);
    data[field] = text;
  }
  return data as CaseData;
}

function usage(what: string, longest: number): LastspinError {
  return new LastspinError('USAGE', `${what}, ${longest} are the most`);
}

/** What an earlier run was told, and what this one is told instead. */
export function mergeCaseData(former: CaseData | undefined, given: CaseData | undefined): CaseData {
  return { ...former, ...given };
}
