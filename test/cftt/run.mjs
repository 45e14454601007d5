// npm run cftt [-- --write]: the acceptance tests after NIST CFTT and their report; --write keeps it in docs/cftt.md.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

const root = join(import.meta.dirname, '../..');
const [word, ...rest] = process.argv.slice(2);
if (rest.length > 0 || (word !== undefined && word !== '--write')) {
  console.error('npm run cftt takes nothing but -- --write');
  process.exit(2);
}
const vitest = join(root, 'node_modules/vitest/vitest.mjs');
const words = ['run', '--config', 'test/cftt/vitest.config.ts'];
const env = { ...process.env, ...(word && { CFTT_WRITE: join(root, 'docs/cftt.md') }) };
const { status } = spawnSync(process.execPath, [vitest, ...words], {
  cwd: root,
  env,
  stdio: 'inherit',
});
process.exit(status ?? 1);
