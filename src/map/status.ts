/** What is known of a sector, ordered from less to more processed (GNU ddrescue's five). The
 * numbers are what the sector map stores. */
export const statuses = {
  'non-tried': 0,
  'non-trimmed': 1,
  'non-scraped': 2,
  'bad-sector': 3,
  finished: 4,
} as const;

export type Status = keyof typeof statuses;
export type StatusCode = (typeof statuses)[Status];

/** Names by code. */
export const statusNames = Object.keys(statuses) as readonly Status[];

/** ddrescue's map file letters by code: `?` `*` `/` `-` `+`. */
export const statusLetters = '?*/-+';
