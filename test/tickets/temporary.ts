import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test as base } from 'vitest';

/** `folder`: a fresh temporary folder, gone after the test. */
export const test = base.extend<{ folder: string }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the names of the fixtures from the pattern.
  folder: async ({}, use) => {
    const folder = realpathSync(mkdtempSync(path.join(os.tmpdir(), 'metawsm-tickets-')));
    await use(folder);
    rmSync(folder, { recursive: true, force: true });
  },
});
