import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'rolldown';
import { afterAll } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

/**
 * Modules of `src/` (`cli/errors`) as JavaScript, for scripts that a test runs as processes of their own. Gives
 * the URL of each; they share what they import. To be called at the top of a test file, for as long as that runs.
 */
export async function compiled<const Names extends readonly string[]>(
  ...modules: Names
): Promise<{ [K in keyof Names]: string }> {
  // Below node_modules, so that the packages are found.
  const cache = path.join(root, 'node_modules/.cache');
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(path.join(cache, 'compiled-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  await build({
    cwd: root,
    input: Object.fromEntries(modules.map((name) => [name, `src/${name}.ts`])),
    platform: 'node',
    tsconfig: 'tsconfig.json',
    external: (id) => !id.startsWith('.') && !path.isAbsolute(id) && !id.startsWith('src/'),
    output: { dir: folder, format: 'esm', entryFileNames: '[name].mjs', chunkFileNames: '[name]-[hash].mjs' },
    logLevel: 'warn',
  });
  return modules.map((name) => pathToFileURL(path.join(folder, `${name}.mjs`)).href) as {
    [K in keyof Names]: string;
  };
}
