/**
 * `npm run build`: the sources and the pure-JavaScript libraries become a few files in dist/, because loading
 * many small modules is most of what a short command would take. What src/ imports lazily stays apart.
 *
 * Every chunk lies one folder deep, like the modules of src/ that find files relative to themselves
 * (`../main.js`, `../sessions/wrapper.js`, `../../schemas/`).
 */
import { chmodSync, existsSync, renameSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'rolldown';

process.chdir(fileURLToPath(new URL('.', import.meta.url)));
const next = 'node_modules/.cache/metawsm/next';
const last = 'node_modules/.cache/metawsm/last';

await build({
  input: {
    main: 'src/main.ts',
    // A program of its own, which metawsm starts beside an agent.
    'sessions/wrapper': 'src/sessions/wrapper.ts',
  },
  platform: 'node',
  tsconfig: 'tsconfig.json',
  // The same code as ES modules: without 70 CommonJS wrappers it loads in half the time.
  resolve: {
    alias: { yaml: fileURLToPath(new URL('node_modules/yaml/browser/dist/index.js', import.meta.url)) },
  },
  // It finds its compiled part relative to itself.
  external: ['sqlite3'],
  output: {
    dir: next,
    cleanDir: true,
    format: 'esm',
    entryFileNames: '[name].js',
    // The hash: a metawsm that was started before must not load a chunk of another build.
    chunkFileNames: 'chunks/[name]-[hash].js',
  },
});
chmodSync(`${next}/main.js`, 0o755);

// Moved into place as a whole: whoever starts metawsm meanwhile gets the old build or the new one.
rmSync(last, { recursive: true, force: true });
if (existsSync('dist')) renameSync('dist', last);
renameSync(next, 'dist');
