/** Where the state folder is (PRODUCT: State), found by reading the file system alone. */
import { lstat, mkdir, readdir, readFile, realpath, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, resolve } from 'node:path';
import { MAX_DOCUMENT_BYTES, makeFolders, readRegular, writeAtomic } from '../tools/files.js';
import { codeOf, fileProblem, StateProblem } from './problem.js';

export interface StateFolderQuery {
  /** `--state`, as given. */
  readonly flag: string | null;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Absolute. */
  readonly cwd: string;
  /** Absolute path of the manifest that was named; it and its folder need not exist. */
  readonly manifestPath: string | null;
}

export interface StateFolder {
  /** Absolute. */
  readonly path: string;
  readonly exists: boolean;
}

const NAME = '.metawsm';

/** Decides which folder is the state folder. Writes nothing. Throws `StateProblem`, also where no folder is at its place. */
export async function resolveStateFolder(query: StateFolderQuery): Promise<StateFolder> {
  const path = await decide(query);
  const exists = await isFolder(path);
  if (!exists && (await lstat(path).catch(() => null)) !== null) throw await notAFolder(path);
  return { path, exists };
}

async function notAFolder(path: string): Promise<StateProblem> {
  const what = (await stat(path).catch(() => null)) === null ? 'a link to nowhere' : 'not a folder';
  return new StateProblem(
    'state_path',
    `${path} is ${what}, so the state cannot be kept there`,
    'Move it away, or name another state folder with --state.',
  );
}

async function decide({ flag, env, cwd, manifestPath }: StateFolderQuery): Promise<string> {
  if (flag === '') {
    throw new StateProblem('state_path', '--state is empty', 'Name a folder, such as --state ~/.metawsm.');
  }
  if (flag !== null) return resolve(cwd, flag);
  const fromEnv = env.METAWSM_STATE_DIR;
  if (fromEnv !== undefined && fromEnv !== '') return resolve(cwd, fromEnv);
  const workspace = await insideWorkspace(cwd);
  if (workspace !== null) return stateDirOf(join(workspace, NAME, 'context.json'));
  const start = await nearestFolder(manifestPath === null ? cwd : dirname(manifestPath));
  return join((await mainWorktree(start)) ?? start, NAME);
}

/** The workspace that a folder lies in: the nearest one upward with a `.metawsm/context.json`, or null. */
export async function insideWorkspace(cwd: string): Promise<string | null> {
  for (const folder of upward(resolve(cwd))) {
    // A link could lead an operator's command into a record that somebody else prepared.
    const sentinels = await lstat(join(folder, NAME)).catch(() => null);
    if (sentinels?.isDirectory() !== true) continue;
    const context = await lstat(join(folder, NAME, 'context.json')).catch(() => null);
    if (context?.isFile() === true) return folder;
  }
  return null;
}

async function stateDirOf(file: string): Promise<string> {
  const unusable = (reason: string) =>
    new StateProblem(
      'workspace_context',
      `${file} ${reason}`,
      'Name the state folder with --state, or go to a folder outside the workspace.',
    );
  const read = await readRegular(file, MAX_DOCUMENT_BYTES);
  if (read.kind === 'absent') throw unusable('is gone');
  if (read.kind === 'problem') throw unusable(read.reason);
  let context: unknown;
  try {
    context = JSON.parse(read.bytes.toString('utf8'));
  } catch {
    throw unusable('is not JSON');
  }
  const dir =
    typeof context === 'object' && context !== null && 'state_dir' in context ? context.state_dir : null;
  if (typeof dir !== 'string' || !isAbsolute(dir)) throw unusable('names no absolute state_dir');
  return resolve(dir);
}

/**
 * Makes the state folder where it is missing: mode 0700, ignored in git by its own `.gitignore`.
 * Several processes may do it at once. Throws `StateProblem`.
 */
export async function createStateFolder(path: string): Promise<void> {
  try {
    await makeFolders(dirname(path));
    await mkdir(path, { mode: 0o700 }).catch((error: unknown) => {
      if (codeOf(error) !== 'EEXIST') throw error;
    });
  } catch (error) {
    throw fileProblem(error, path);
  }
  // Its real place: the folder may be reached through a link, which is the operator's choice.
  const real = await realpath(path).catch(() => null);
  if (real === null || !(await isFolder(real))) throw await notAFolder(path);
  const ignore = join(real, '.gitignore');
  try {
    const there = await lstat(ignore).catch(() => null);
    if (there === null && (await isOwnFolder(real))) await writeAtomic(ignore, '*\n', { mode: 0o644 });
  } catch (error) {
    throw fileProblem(error, ignore);
  }
}

/** Whether nothing but metawsm's own files lie in a folder: one that holds others must not ignore them in git. */
async function isOwnFolder(path: string): Promise<boolean> {
  // Also the `.gitignore` of somebody who died while writing it.
  const own = /^(\.{1,2}gitignore.*|metawsm\.db.*|runs|clones|bin|ttmp)$/;
  return (await readdir(path)).every((name) => own.test(name));
}

/**
 * The top of the main worktree of the git repo that a folder lies in; null: no repo, or one without a main
 * worktree (bare).
 */
async function mainWorktree(start: string): Promise<string | null> {
  for (const folder of upward(start)) {
    const dotGit = join(folder, '.git');
    const stats = await stat(dotGit).catch(() => null);
    if (stats?.isDirectory() === true && (await isGitDir(dotGit))) {
      return (await isBare(dotGit)) ? null : folder;
    }
    if (stats?.isFile() === true) return await worktreeOfLinkFile(folder, dotGit);
    if (await isGitDir(folder)) return null;
  }
  return null;
}

/** Follows a `.git` file: of a linked worktree to the main one, of a submodule to its own. */
async function worktreeOfLinkFile(folder: string, dotGit: string): Promise<string | null> {
  const target = /^gitdir: (.+?)\r?\n*$/s.exec(await textOf(dotGit))?.[1];
  if (target === undefined) return null;
  const gitDir = resolve(folder, target);
  const common = (await textOf(join(gitDir, 'commondir'))).trim();
  if (common === '') return (await isGitDir(gitDir)) ? folder : null;
  const commonDir = resolve(gitDir, common);
  if (!(await isGitDir(commonDir)) || (await isBare(commonDir))) return null;
  const configured = await coreSetting(commonDir, 'worktree');
  if (configured !== null) return resolve(commonDir, configured);
  return basename(commonDir) === '.git' ? dirname(commonDir) : null;
}

async function isGitDir(path: string): Promise<boolean> {
  const [head, objects, refs] = await Promise.all([
    lstat(join(path, 'HEAD')).catch(() => null),
    isFolder(join(path, 'objects')),
    isFolder(join(path, 'refs')),
  ]);
  return head !== null && objects && refs;
}

async function isBare(gitDir: string): Promise<boolean> {
  const bare = (await coreSetting(gitDir, 'bare'))?.toLowerCase();
  return bare === 'true' || bare === 'yes' || bare === 'on' || bare === '1';
}

/** The last value of `core.<key>` in a repo's own configuration, or null. */
async function coreSetting(gitDir: string, key: string): Promise<string | null> {
  // With extensions.worktreeConfig these two keys live in the second file.
  const text = `${await textOf(join(gitDir, 'config'))}\n${await textOf(join(gitDir, 'config.worktree'))}`;
  let section = '';
  let value: string | null = null;
  for (const line of text.split(/\r?\n/)) {
    const header = /^\s*\[([^\]]*)\]/.exec(line);
    if (header !== null) section = (header[1] ?? '').trim().toLowerCase();
    const setting = /^\s*(?:\[[^\]]*\]\s*)?([A-Za-z][A-Za-z0-9-]*)\s*(?:=\s*(.*?))?\s*$/.exec(line);
    if (section !== 'core' || setting?.[1]?.toLowerCase() !== key) continue;
    // A key without a value is true.
    value = setting[2] === undefined ? 'true' : setting[2].replace(/^"(.*)"$/, '$1');
  }
  return value;
}

/** The nearest folder at or above a path that exists, by its real name. */
async function nearestFolder(path: string): Promise<string> {
  for (const folder of upward(resolve(path))) {
    if (await isFolder(folder)) return realpath(folder).catch(() => folder);
  }
  return resolve(path);
}

function* upward(path: string): Generator<string> {
  for (let folder = path; ; folder = dirname(folder)) {
    yield folder;
    if (dirname(folder) === folder) return;
  }
}

async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null))?.isDirectory() === true;
}

async function textOf(file: string): Promise<string> {
  return readFile(file, 'utf8').catch(() => '');
}
