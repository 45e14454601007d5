// Writes the C headers that follow from the protocol's tables: npm run generate.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { messagesHeader, powerTableHeader } from '../dist/firmware-protocol/c-header.js';

const folder = join(import.meta.dirname, 'firmware/core');
mkdirSync(folder, { recursive: true });
writeFileSync(join(folder, 'messages.h'), messagesHeader());
writeFileSync(join(folder, 'power-table.h'), powerTableHeader());
