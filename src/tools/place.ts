/**
 * Puts untracked files of the source clone into a worktree: copies, or symlinks to them. Nothing that is there is
 * overwritten, nothing is read or written outside the two folders, and done twice is done once.
 */
import {
  chmod,
  constants,
  copyFile,
  link,
  lstat,
  mkdir,
  readlink,
  realpath,
  stat,
  symlink,
  unlink,
} from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, sep } from 'node:path';
import { run } from './git.js';
import { COPY_SUFFIX, fingerprintOf, isOwn } from './git-status.js';

export interface PlaceResult {
  /** Path relative to the worktree → sha256 of the content, or `link:<target>`. */
  readonly placed: Readonly<Record<string, string>>;
  /** What was wanted and could not be placed, or is not there: one sentence each. */
  readonly warnings: readonly string[];
}

/**
 * Copies the untracked files, ignored ones too, that match the globs: `*`, `?`, `[a-z]` within a folder, `**` across
 * folders, `{a,b}`; a folder's name means everything below it. Modes are kept; tracked files are never taken.
 * @throws {ToolFailure} where `source` is no repository.
 */
export async function copyInto(
  source: string,
  worktree: string,
  globs: readonly string[],
): Promise<PlaceResult> {
  const [from, to] = await Promise.all([realpath(source), realpath(worktree)]);
  const placed: Record<string, string> = {};
  const warnings: string[] = [];
  for (const glob of globs) {
    const wanted = insidePath(glob);
    if (wanted === null) {
      warnings.push(`copy ${glob}: this is outside the repo`);
      continue;
    }
    const names = await untracked(from, wanted);
    if (names.length === 0) warnings.push(`copy ${glob}: no untracked file of ${source} matches`);
    for (const name of names) {
      if (Object.hasOwn(placed, name)) continue;
      const problem = await copyOne(from, to, name);
      if (problem !== null) {
        warnings.push(`copy ${name}: ${problem}`);
        continue;
      }
      const print = await fingerprintOf(join(to, name));
      if (print !== null) placed[name] = print;
    }
  }
  return { placed, warnings };
}

/** Makes symlinks, with absolute targets, to paths of the source clone. A path that is not there is a warning. */
export async function linkInto(
  source: string,
  worktree: string,
  paths: readonly string[],
): Promise<PlaceResult> {
  const [from, to] = await Promise.all([realpath(source), realpath(worktree)]);
  const placed: Record<string, string> = {};
  const warnings: string[] = [];
  for (const path of paths) {
    const wanted = insidePath(path);
    const problem =
      wanted === null ? 'this is outside the repo' : await linkOne(join(from, wanted), to, wanted);
    if (problem === null && wanted !== null) placed[wanted] = `link:${join(from, wanted)}`;
    else warnings.push(`link ${path}: ${problem}`);
  }
  return { placed, warnings };
}

/** A relative path or glob without `.` and empty parts; null where it leads out of the repo, or into `.git`. */
function insidePath(path: string): string | null {
  if (isAbsolute(path)) return null;
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.length === 0 || parts.includes('..') || parts[0]?.toLowerCase() === '.git') return null;
  return parts.join('/');
}

/** Untracked files below `repo` that match, relative to it. In a bare repository there are none. */
async function untracked(repo: string, glob: string): Promise<readonly string[]> {
  const pathspecs = braceless(glob).map((each) => `:(glob)${each}`);
  const { exitCode, stdout } = await run(repo, ['ls-files', '--others', '-z', '--', ...pathspecs], {
    okCodes: [0, 128],
  });
  if (exitCode !== 0) return [];
  return stdout.split('\0').filter((name) => name !== '' && !isOwn(name));
}

/** A glob with `{a,b}` as the globs without; braces that are not closed are plain characters. */
export function braceless(glob: string): readonly string[] {
  const open = glob.indexOf('{');
  if (open < 0) return [glob];
  const parts: string[] = [];
  let depth = 0;
  let from = open + 1;
  for (let at = open; at < glob.length; at += 1) {
    const character = glob[at];
    if (character === '{') depth += 1;
    if (character === '}') depth -= 1;
    if ((character === ',' && depth === 1) || depth === 0) {
      parts.push(glob.slice(from, at));
      from = at + 1;
    }
    if (depth > 0) continue;
    const before = glob.slice(0, open);
    return parts.flatMap((part) => braceless(`${part}${glob.slice(at + 1)}`).map((rest) => before + rest));
  }
  return [glob];
}

/** Copies one file; null or what is wrong. */
async function copyOne(from: string, to: string, name: string): Promise<string | null> {
  if (name.endsWith('/')) return 'this is a repository of its own';
  const origin = join(from, name);
  const target = join(to, name);
  const found = await lstat(origin).catch(() => null);
  if (found === null) return 'it is gone';
  if (found.isSymbolicLink()) return copyLink(from, origin, to, name);
  if (!found.isFile()) return 'this is no regular file';
  if (!isInside(from, await realpath(origin))) return 'this is outside the repo';
  const problem = await makeParents(to, name);
  if (problem !== null) return problem;
  // A fixed name: what a killed copy left is removed by the next one.
  const temporary = join(dirname(target), `.${basename(target)}${COPY_SUFFIX}`);
  await unlink(temporary).catch(() => {});
  if ((await fingerprintOf(target)) !== null) return keepExisting(origin, target);
  try {
    await copyFile(origin, temporary, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    await chmod(temporary, found.mode & 0o7777);
    // A link fails where the name is taken; a rename would overwrite.
    await link(temporary, target).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') throw error;
      // Not every file system has hard links.
      return copyFile(temporary, target, constants.COPYFILE_EXCL);
    });
    return null;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === 'EEXIST' ? keepExisting(origin, target) : message;
  } finally {
    await unlink(temporary).catch(() => {});
  }
}

async function copyLink(from: string, origin: string, to: string, name: string): Promise<string | null> {
  const text = await readlink(origin);
  const real = await realpath(origin).catch(() => null);
  if (isAbsolute(text) || real === null || !isInside(from, real)) {
    return 'this is a link that leads out of the repo; use link for it';
  }
  const problem = await makeParents(to, name);
  return problem ?? makeLink(text, join(to, name));
}

async function keepExisting(origin: string, target: string): Promise<string | null> {
  const [wanted, there] = await Promise.all([fingerprintOf(origin), fingerprintOf(target)]);
  return wanted !== null && wanted === there ? null : 'something else is there, which is kept';
}

async function linkOne(origin: string, to: string, name: string): Promise<string | null> {
  if ((await stat(origin).catch(() => null)) === null) return `there is no ${origin}`;
  return (await makeParents(to, name)) ?? makeLink(origin, join(to, name));
}

async function makeLink(text: string, target: string): Promise<string | null> {
  try {
    await symlink(text, target);
    return null;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== 'EEXIST') return message;
    return (await readlink(target).catch(() => null)) === text
      ? null
      : 'something else is there, which is kept';
  }
}

/** Makes the folders above a name, each a real one: a linked one would lead elsewhere. null or what is wrong. */
async function makeParents(root: string, name: string): Promise<string | null> {
  let folder = root;
  for (const part of name.split('/').slice(0, -1)) {
    folder = join(folder, part);
    await mkdir(folder).catch(() => {});
    const found = await lstat(folder).catch(() => null);
    if (!found?.isDirectory()) return `${relative(root, folder)} is no folder in the worktree`;
  }
  return null;
}

function isInside(root: string, path: string): boolean {
  return path.startsWith(root.endsWith(sep) ? root : root + sep);
}
