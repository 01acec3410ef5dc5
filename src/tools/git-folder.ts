/** Where git keeps what it knows, found without asking git. */
import { lstat, readFile, stat } from 'node:fs/promises';
import { isAbsolute, join, resolve } from 'node:path';

/** The git folder that `<path>/.git` is or names; null where there is none. */
export async function gitDirOf(path: string): Promise<string | null> {
  const dotGit = join(path, '.git');
  const found = await lstat(dotGit).catch(() => null);
  if (found === null) return null;
  if (found.isDirectory()) return dotGit;
  if (!found.isFile() || found.size > 65_536) return null;
  const named = /^gitdir: ([^\n]+)/.exec(await readFile(dotGit, 'utf8').catch(() => ''))?.[1];
  if (named === undefined) return null;
  return isAbsolute(named) ? named : resolve(path, named);
}

/** The git folder that the worktrees of a repository share, named by the folder of one of them. */
export async function sharedDirOf(gitDir: string): Promise<string> {
  const shared = await readGitFile(join(gitDir, 'commondir'));
  return shared === null ? gitDir : resolve(gitDir, shared.toString('utf8').trim());
}

/** A file of git's own; null where there is none that can be read, or something that is no file lies there. */
export async function readGitFile(path: string): Promise<Buffer | null> {
  try {
    // A FIFO would be waited at for ever.
    return (await stat(path)).isFile() ? await readFile(path) : null;
  } catch {
    return null;
  }
}

/** Whether something is at a path, a broken link too. */
export async function isThere(path: string | Buffer): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}
