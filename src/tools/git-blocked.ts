/**
 * A git that will never end: it waits at a FIFO, or reads from a device, that somebody put where it looks for a file
 * of its own (`.git/config`, `.gitignore`). An agent can do that, and must not hang metawsm with it. Only a git that
 * takes long is looked into, so this costs nothing where git answers.
 */
import type { Dirent, Stats } from 'node:fs';
import { readdir, realpath, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { gitDirOf, isThere, readGitFile, sharedDirOf } from './git-folder.js';

/** When a git that has not ended is looked into for the first time, and how often after that, in ms. */
const FIRST_MS = 1_000;
const AGAIN_MS = 10_000;

/** Tells, once, what the git that was started in `cwd` waits for. To be ended with the git. */
export function watchBlocked(cwd: string, blocked: (why: string) => void): () => void {
  let timer = setTimeout(look, FIRST_MS);
  let ended = false;
  async function look(): Promise<void> {
    const file = await endlessFile(cwd).catch(() => null);
    if (ended) return;
    if (file === null) timer = setTimeout(look, AGAIN_MS);
    else
      blocked(`would wait for ever at ${file}, which is no regular file; remove that, or put the file back`);
  }
  return () => {
    ended = true;
    clearTimeout(timer);
  };
}

/** Files that git reads wherever they lie in a worktree. */
const IN_WORKTREE: ReadonlySet<string> = new Set([
  '.git',
  '.gitattributes',
  '.gitignore',
  '.gitmodules',
  '.mailmap',
]);
/** More entries are not looked at. */
const MOST_ENTRIES = 300_000;

/** The first file that git would never come to the end of, in the repository that it finds from a folder. */
async function endlessFile(cwd: string): Promise<string | null> {
  const top = await topOf(cwd);
  if (top === null) return null;
  const own = (await gitDirOf(top)) ?? top;
  const shared = await sharedDirOf(own);
  const left = { entries: MOST_ENTRIES };
  for (const folder of new Set([own, shared])) {
    const found = (await endlessNamedIn(folder)) ?? (await endlessBelow(folder, true, left));
    if (found !== null) return found;
  }
  return own === top ? null : endlessBelow(top, false, left);
}

/** The worktree or bare repository that a folder is in. */
async function topOf(cwd: string): Promise<string | null> {
  for (let folder = resolve(cwd); ; folder = dirname(folder)) {
    if (await isThere(join(folder, '.git'))) return folder;
    if ((await isThere(join(folder, 'HEAD'))) && (await isThere(join(folder, 'objects')))) return folder;
    if (folder === dirname(folder)) return null;
  }
}

async function endlessBelow(
  folder: string,
  inGit: boolean,
  left: { entries: number },
): Promise<string | null> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((): Dirent[] => []);
  left.entries -= entries.length;
  if (left.entries < 0) return null;
  const folders: Dirent[] = [];
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) folders.push(entry);
    else if (!entry.isFile() && (inGit || IN_WORKTREE.has(entry.name)) && (await isEndless(path)))
      return path;
  }
  for (const { name } of folders) {
    // Nobody waits at an object: git opens those it knows by their names.
    if (inGit && /^[0-9a-f]{2}$/.test(name)) continue;
    const found = await endlessBelow(join(folder, name), inGit || name === '.git', left);
    if (found !== null) return found;
  }
  return null;
}

/** What the configuration in a git folder names for git to read. */
async function endlessNamedIn(gitDir: string): Promise<string | null> {
  for (const name of ['config', 'config.worktree']) {
    const text = (await readGitFile(join(gitDir, name)))?.toString('utf8') ?? '';
    for (const [, value = ''] of text.matchAll(
      /^\s*(?:path|excludesfile|attributesfile)\s*=\s*"?([^"\n]+)/gim,
    )) {
      const path = value.trim().replace(/^~(?=\/)/, process.env.HOME || homedir());
      const file = isAbsolute(path) ? path : resolve(gitDir, path);
      if (await isEndless(file)) return file;
    }
  }
  return null;
}

/** Links are followed, as git does in its own folder. */
async function isEndless(path: string): Promise<boolean> {
  const found: Stats | null = await stat(path).catch(() => null);
  if (found === null) return false;
  if (found.isFIFO()) return true;
  return found.isCharacterDevice() && (await realpath(path)) !== '/dev/null';
}
