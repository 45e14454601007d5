import { execFileSync } from 'node:child_process';

/** The Debian package that brings a tool, where it is not called the same. */
const packageOf: Readonly<Record<string, string>> = {
  ddrescue: 'gddrescue',
  ddrescuelog: 'gddrescue',
  mke2fs: 'e2fsprogs',
  debugfs: 'e2fsprogs',
  mkfifo: 'coreutils',
  sha256sum: 'coreutils',
  'avr-gcc': 'gcc-avr avr-libc',
  cc: 'gcc',
  ewfinfo: 'ewf-tools',
  xmllint: 'libxml2-utils',
};

/** For `test.skipIf(...)`: true where `tool` is not installed, and says so. Under
 * `REQUIRE_TOOLS=1` a missing tool is a failure, so that CI cannot skip what it is there for. */
export function needsTool(tool: string): boolean {
  try {
    execFileSync('sh', ['-c', 'command -v -- "$1"', 'sh', tool], { stdio: 'ignore' });
    return false;
  } catch {
    const reason = `${tool} is not installed (apt-get install ${packageOf[tool] ?? tool})`;
    if (process.env.REQUIRE_TOOLS === '1') throw new Error(reason);
    console.warn(`skipped: ${reason}`);
    return true;
  }
}

/** The same for what a C program includes: `header`, from the Debian package `name`. */
export function needsHeader(header: string, name: string): boolean {
  try {
    const input = `#include <${header}>\n`;
    execFileSync('gcc', ['-E', '-'], { input, stdio: ['pipe', 'ignore', 'ignore'] });
    return false;
  } catch {
    const reason = `${header} is not installed (apt-get install ${name})`;
    if (process.env.REQUIRE_TOOLS === '1') throw new Error(reason);
    console.warn(`skipped: ${reason}`);
    return true;
  }
}
