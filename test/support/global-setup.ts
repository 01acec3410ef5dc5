import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const main = path.join(root, 'dist/main.js');
const lock = path.join(root, 'node_modules/.cache/metawsm-build.lock');

/** What all tests begin with, and an up-to-date `dist/`. */
export default async function setup(): Promise<void> {
  settle();
  await build();
}

/**
 * Test processes inherit from this one: the settings of who runs them change nothing, and a hook of git that runs
 * them does not lead their git calls into its own repository.
 */
function settle(): void {
  for (const name of Object.keys(process.env)) if (name.startsWith('GIT_')) delete process.env[name];
  Object.assign(process.env, {
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
  });
  // Modes of files are compared.
  process.umask(0o022);
  const inRepository = parents(realpathSync(tmpdir())).find((folder) =>
    existsSync(path.join(folder, '.git')),
  );
  if (inRepository !== undefined) {
    throw new Error(
      `the temporary folder ${tmpdir()} lies in the git repository ${inRepository}, and many tests need a ` +
        'folder that lies in none: set TMPDIR to another one',
    );
  }
}

function parents(folder: string): string[] {
  const parent = path.dirname(folder);
  return parent === folder ? [folder] : [folder, ...parents(parent)];
}

/** Builds `dist/` when a source is newer, so that the tests never judge an old build. One builder at a time. */
async function build(): Promise<void> {
  if (!isStale()) return;
  await acquire();
  try {
    // Somebody else may have built while this process waited.
    if (isStale()) execFileSync('npm', ['run', '--silent', 'build'], { cwd: root, stdio: 'inherit' });
  } finally {
    rmSync(lock, { force: true });
  }
}

function isStale(): boolean {
  const built = statSync(main, { throwIfNoEntry: false });
  if (built === undefined) return true;
  const sources = readdirSync(path.join(root, 'src'), { recursive: true, withFileTypes: true });
  return sources
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
    .concat(path.join(root, 'tsconfig.json'), path.join(root, '.build.mjs'))
    .some((file) => (statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0) > built.mtimeMs);
}

async function acquire(): Promise<void> {
  mkdirSync(path.dirname(lock), { recursive: true });
  for (;;) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' });
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    if (ownerIsGone()) rmSync(lock, { force: true });
    else await delay(100);
  }
}

function ownerIsGone(): boolean {
  try {
    const pid = Number(readFileSync(lock, 'utf8'));
    // Written a moment after it was created: an empty file is a living owner.
    if (pid > 0) process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}
