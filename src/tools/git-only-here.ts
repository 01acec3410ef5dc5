/** What of a worktree exists nowhere else, and would be lost with it. */
import { copyFile, readdir, realpath, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './git.js';
import { gitDirOf, isThere, readGitFile } from './git-folder.js';
import { commitOf } from './git-read.js';
import { isOwn, type StatusOptions, submodules, untrustedOff, worktreeStatus } from './git-status.js';
import { listWorktrees } from './git-worktree.js';
import { withScratchFolder } from './scratch.js';

/**
 * What would be lost with the worktree, one sentence each; empty: nothing. Branches, tags and stashes stay in the
 * repository, and ignored files do not count.
 * @throws {ToolFailure} where the path is no worktree.
 */
export async function onlyHere(path: string, options: StatusOptions = {}): Promise<readonly string[]> {
  const [status, hidden, lost, submodules, inner] = await Promise.all([
    worktreeStatus(path, options),
    hiddenChanges(path, options),
    lostCommits(path),
    submoduleWork(path),
    innerWorktrees(path, options),
  ]);
  const sentences: string[] = [];
  if (status.operation !== null) sentences.push(`a ${status.operation} is in progress`);
  const list = (names: readonly string[], one: string, many: string) => {
    if (names.length > 0)
      sentences.push(`${names.length} ${names.length === 1 ? one : many}: ${some(names)}`);
  };
  list(status.changed, 'uncommitted change', 'uncommitted changes');
  list(status.conflicted, 'unresolved conflict', 'unresolved conflicts');
  list(status.untracked, 'untracked file', 'untracked files');
  list(status.nested, 'repository of its own', 'repositories of their own');
  list(hidden, 'change that git was told to overlook', 'changes that git was told to overlook');
  if (lost > 0) {
    sentences.push(
      `${lost} ${lost === 1 ? 'commit' : 'commits'} on no branch (HEAD is ${status.head?.slice(0, 12)})`,
    );
  }
  const worktrees = inner
    .filter((each) => !status.nested.includes(each.name))
    .map(({ name, work }) => `a worktree of its own, ${shown(name)}: ${work.join('; ')}`);
  return [...sentences, ...submodules, ...worktrees];
}

/** Commits that only this worktree's HEAD, its own refs and its operation in progress hold. */
async function lostCommits(path: string): Promise<number> {
  const head = await commitOf(path, 'HEAD');
  const held = [...(head === null ? [] : [head]), ...(await ownCommits(path))];
  if (held.length === 0) return 0;
  const { stdout } = await run(path, ['rev-list', '--count', ...held, '--not', ...ELSEWHERE]);
  return Number(stdout.trim());
}

/** What holds commits when a worktree is gone, as words for `git rev-list`. */
const ELSEWHERE = ['--branches', '--tags', '--remotes', '--glob=refs/metawsm'];

/** Where git notes commits of an operation in progress that need be nowhere else. */
const NOTED_IN = [
  'MERGE_AUTOSTASH',
  join('rebase-merge', 'autostash'),
  join('rebase-merge', 'orig-head'),
  join('rebase-apply', 'autostash'),
  join('rebase-apply', 'orig-head'),
];

/** Commits that a worktree holds beside its HEAD: by refs of its own, and by an operation in progress. */
async function ownCommits(path: string): Promise<readonly string[]> {
  const gitDir = await gitDirOf(path);
  if (gitDir === null) return [];
  const { stdout } = await run(path, ['rev-parse', '--glob=refs/worktree', '--glob=refs/rewritten']);
  const noted = await Promise.all(NOTED_IN.map((file) => readGitFile(join(gitDir, file))));
  const ids: string[] = [stdout, ...noted].join('\n').match(/^[0-9a-f]{40,64}$/gm) ?? [];
  if ((await commitOf(path, 'HEAD')) === null) ids.push(...(await lastHead(gitDir)));
  const there = await Promise.all([...new Set(ids)].map((id) => commitOf(path, id)));
  return there.filter((id) => id !== null);
}

/** Where HEAD was, when its branch has no commit any more. */
async function lastHead(gitDir: string): Promise<readonly string[]> {
  const log = (await readGitFile(join(gitDir, 'logs', 'HEAD')))?.toString('utf8') ?? '';
  const ids = [...log.matchAll(/^[0-9a-f]+ ([0-9a-f]+) /gm)].map(([, id = '']) => id);
  return ids.filter((id) => !/^0*$/.test(id)).slice(-1);
}

/** Of these commits those that would be lost with the worktree and with its HEAD. */
export async function unsavedCommits(path: string): Promise<readonly string[]> {
  const own = await ownCommits(path);
  const lost = await Promise.all(
    own.map(async (commit) => {
      const { stdout } = await run(path, ['rev-list', '--max-count=1', commit, '--not', ...ELSEWHERE]);
      return stdout.trim() === '' ? [] : [commit];
    }),
  );
  return lost.flat();
}

export interface InnerWorktree {
  /** Relative to the worktree that it lies in. */
  readonly name: string;
  /** As `onlyHere` says it. */
  readonly work: readonly string[];
}

/** Worktrees of the same repository inside of this one, also in ignored folders, with what only they hold. */
export async function innerWorktrees(
  path: string,
  options: StatusOptions = {},
): Promise<readonly InnerWorktree[]> {
  const top = `${await realpath(path)}/`;
  const found: InnerWorktree[] = [];
  for (const { path: at, bare } of await listWorktrees(path)) {
    if (bare || !at.startsWith(top) || (await gitDirOf(at)) === null) continue;
    // What metawsm put into the outer one is not in here.
    const work = await onlyHere(at, { ...options, placed: {} });
    if (work.length > 0) found.push({ name: at.slice(top.length), work });
  }
  return found;
}

/** Changed files with `assume-unchanged` or `skip-worktree` set: `git status` does not name them. */
export async function hiddenChanges(path: string, options: StatusOptions): Promise<readonly string[]> {
  const flagged = await flaggedFiles(path);
  if (flagged.length === 0) return [];
  const off = await untrustedOff(path, options);
  return withIndexCopy(path, async (index) => {
    const env = { ...off.env, ...index };
    await clearFlags(path, flagged, off.args, env);
    const { bytes } = await run(path, [...off.args, 'diff', '--name-only', '-z', '--no-ext-diff'], { env });
    const wanted = new Set(flagged.map(String));
    return splitNul(bytes)
      .map(String)
      .filter((name) => wanted.has(name) && !isOwn(name));
  });
}

/**
 * Files on disk that git was told to take as unchanged. In a sparse checkout the absent ones do not count. To the
 * byte: names need not be UTF-8.
 */
export async function flaggedFiles(path: string): Promise<readonly Buffer[]> {
  const { bytes } = await run(path, ['ls-files', '-v', '-z']);
  const flagged = splitNul(bytes)
    .filter((record) => /^[a-zS] /.test(record.toString('latin1')))
    .map((record) => record.subarray(2));
  const there = await Promise.all(
    flagged.map((name) => isThere(Buffer.concat([Buffer.from(`${path}/`), name]))),
  );
  return flagged.filter((_, index) => there[index]);
}

/** The fields of an output with `-z`, to the byte. */
export function splitNul(bytes: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  for (let from = 0; from < bytes.length; ) {
    const to = bytes.indexOf(0, from);
    const end = to < 0 ? bytes.length : to;
    parts.push(bytes.subarray(from, end));
    from = end + 1;
  }
  return parts;
}

/** Takes both flags from files, in the index that `env` names. `settings` go before git's command. */
export async function clearFlags(
  path: string,
  files: readonly Buffer[],
  settings: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<void> {
  for (const flag of ['--no-assume-unchanged', '--no-skip-worktree']) {
    const input = Buffer.concat(files.flatMap((name) => [name, Buffer.of(0)]));
    await run(path, [...settings, 'update-index', flag, '-z', '--stdin'], { env, input });
  }
}

/** Calls `work` with the environment of a copy of the worktree's index, which is then removed. */
export async function withIndexCopy<T>(
  path: string,
  work: (env: Readonly<Record<string, string>>) => Promise<T>,
): Promise<T> {
  return withScratchFolder(async (folder) => {
    const index = join(folder, 'index');
    const gitDir = await gitDirOf(path);
    const env = { GIT_INDEX_FILE: index };
    if (gitDir !== null && (await isThere(join(gitDir, 'index')))) {
      await copyFile(join(gitDir, 'index'), index);
      // An index older than all files makes git compare their contents instead of trusting their times.
      await utimes(index, 1, 1);
    } else {
      await run(path, ['read-tree', 'HEAD'], { env });
    }
    return await work(env);
  });
}

/** Commits in submodules that no remote of theirs has: their repositories go with the worktree. */
async function submoduleWork(path: string): Promise<readonly string[]> {
  const sentences: string[] = [];
  for (const name of await submodules(path)) {
    const count = await unpushedCommits(join(path, name));
    if (count > 0) {
      sentences.push(`${count} ${count === 1 ? 'commit' : 'commits'} in the submodule ${shown(name)} only`);
    }
    const hidden = await hiddenChanges(join(path, name), { config: null });
    if (hidden.length > 0)
      sentences.push(
        `changes in the submodule ${shown(name)} that git was told to overlook: ${some(hidden)}`,
      );
  }
  for (const { name, commits } of await strayModules(path)) {
    sentences.push(
      `${commits} ${commits === 1 ? 'commit' : 'commits'} of the submodule ${shown(name)} only, which is checked out no more`,
    );
  }
  return sentences;
}

export interface StrayModule {
  readonly name: string;
  readonly gitDir: string;
  /** How many no remote of it has. */
  readonly commits: number;
}

/** Submodules that are checked out no more, and of which git still keeps commits with the worktree's own data. */
export async function strayModules(path: string): Promise<readonly StrayModule[]> {
  const gitDir = await gitDirOf(path);
  // Those of the main worktree stay.
  if (gitDir === null || !(await isThere(join(gitDir, 'commondir')))) return [];
  const modules = await modulesIn(join(gitDir, 'modules'), '');
  if (modules.length === 0) return [];
  const used = await Promise.all(
    (await submodules(path)).map(async (name) => realpath((await gitDirOf(join(path, name))) ?? path)),
  );
  const found: StrayModule[] = [];
  for (const module of modules) {
    if (used.includes(await realpath(module.gitDir))) continue;
    const commits = await unpushedCommits(module.gitDir, BY_ITSELF);
    if (commits > 0) found.push({ ...module, commits });
  }
  return found;
}

/** For a git folder whose worktree is gone: git would look for that. */
const BY_ITSELF = ['--git-dir=.', '--work-tree=.'];

/** Git folders below a folder of submodules: a name may hold slashes, and a submodule have some of its own. */
async function modulesIn(folder: string, prefix: string): Promise<{ name: string; gitDir: string }[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  const found: { name: string; gitDir: string }[] = [];
  for (const entry of entries) {
    if (!entry.isDirectory()) continue;
    const gitDir = join(folder, entry.name);
    const name = `${prefix}${entry.name}`;
    if (!(await isThere(join(gitDir, 'HEAD')))) found.push(...(await modulesIn(gitDir, `${name}/`)));
    else found.push({ name, gitDir }, ...(await modulesIn(join(gitDir, 'modules'), `${name}/`)));
  }
  return found;
}

/** How many commits of a repository, stashed ones too, no remote of it has. */
export async function unpushedCommits(repo: string, settings: readonly string[] = []): Promise<number> {
  // A pattern: without one git would look for refs below that name.
  const refs = ['HEAD', '--branches', '--tags', '--glob=refs/stas[h]', '--not', '--remotes'];
  const args = [...settings, 'rev-list', '--count', ...refs, '--'];
  const { exitCode, stdout } = await run(repo, args, { okCodes: [0, 128] });
  return exitCode === 0 ? Number(stdout.trim()) : 0;
}

function some(names: readonly string[]): string {
  const more = names.length > 20 ? `, and ${names.length - 20} more` : '';
  return names.slice(0, 20).map(shown).join(', ') + more;
}

/** A file name as a person can read it, also one with line breaks or quotes. */
function shown(name: string): string {
  return /[\p{C}"]/u.test(name) ? JSON.stringify(name) : name;
}
