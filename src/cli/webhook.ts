/** A POST of JSON to an address that may be a secret: its path is shown nowhere. */

import { LastspinError } from '../errors.js';
import { version } from './version.js';

/** Redirects that are followed; a POST stays one. */
const redirectsMax = 3;

/** What may be shown of an address: who is asked, not with which words. Throws USAGE. */
export function webhookName(text: string): string {
  const { protocol, host, pathname, search } = urlOf(text);
  return `${protocol}//${host}${pathname.length > 1 || search !== '' ? '/…' : '/'}`;
}

function urlOf(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url && /^https?:$/.test(url.protocol)) return url;
  throw new LastspinError('USAGE', '--then webhook: needs an http or https address');
}

/** Posts, and throws what went wrong: no answer, or another one than 2xx. A redirect is followed a few times, but
 * never from https to http, and what the address holds for logging in goes to nobody else. */
export async function postJson(
  address: string,
  content: unknown,
  signal: AbortSignal,
): Promise<void> {
  let url = urlOf(address);
  const login = loginOf(url);
  const { origin } = url;
  const body = JSON.stringify(content);
  for (let redirects = 0; ; redirects++) {
    const headers = {
      'content-type': 'application/json',
      'user-agent': `lastspin/${version}`,
      ...(login !== undefined && url.origin === origin && { authorization: login }),
    };
    const plain = new URL(url);
    [plain.username, plain.password] = ['', ''];
    const answer = await fetch(plain, {
      method: 'POST',
      headers,
      body,
      signal,
      redirect: 'manual',
    }).catch((error: unknown) => {
      throw signal.aborted ? signal.reason : new Error(whyNot(error));
    });
    await answer.body?.cancel();
    if (answer.ok) return;
    const to = answer.headers.get('location');
    if (answer.status < 300 || answer.status > 399 || to === null)
      throw new Error(`answered by HTTP ${answer.status}`);
    if (redirects >= redirectsMax) throw new Error(`redirected more than ${redirectsMax} times`);
    url = redirected(url, to);
  }
}

function redirected(from: URL, to: string): URL {
  const url = URL.canParse(to, from.href) ? new URL(to, from) : undefined;
  const isSafe =
    url?.protocol === 'https:' || (url?.protocol === 'http:' && from.protocol === 'http:');
  if (url && isSafe) return url;
  throw new Error('redirected to an address that is not followed');
}

/** Login data in an address, as a header: fetch takes none in addresses. */
function loginOf({ username, password }: URL): string | undefined {
  if (username === '' && password === '') return undefined;
  const words = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return `Basic ${Buffer.from(words).toString('base64')}`;
}

/** What the network says; fetch's own words may hold the address. */
function whyNot(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  const code = (cause as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' ? `no answer (${code})` : 'no answer';
}
