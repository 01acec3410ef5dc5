/** What needs the remote: the base branch as it is on origin, fetching it, and cloning. Nothing here ever prompts. */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { lastLines, ToolFailure } from './failure.js';
import { networkEnvironment, type RunOptions, run, withoutSecret } from './git.js';
import { commitOf, describeRepo } from './git-read.js';

/** How long a remote is given to say where its branches are, in milliseconds. */
const LS_REMOTE_TIMEOUT_MS = 60_000;

/** Where a worktree starts from, or why that cannot be said. */
export type BaseLookup =
  | {
      /** `origin`: fetch it; `local`: the branch or HEAD of the clone. */
      readonly from: 'origin' | 'local';
      readonly ref: string;
      /** null: only known after the clone or the fetch. */
      readonly commit: string | null;
    }
  /** Neither origin nor the clone has the branch: a sentence that names both. */
  | { readonly problem: string }
  /** origin could not be asked: git's own words. */
  | { readonly unreachable: string };

export interface BaseOptions {
  /** Ask no remote: `origin/<base>` as last fetched, else the local branch. */
  readonly offline: boolean;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Finds the base without changing anything: `HEAD` is the clone's current commit; else the branch on origin as
 * `git ls-remote` says, or the local branch where origin lacks it.
 * @throws {ToolFailure} where `repo` is no repository.
 */
export async function resolveBase(
  repo: string,
  baseBranch: string,
  options: BaseOptions,
): Promise<BaseLookup> {
  if (baseBranch === 'HEAD') {
    const commit = await commitOf(repo, 'HEAD');
    if (commit === null) return { problem: `${repo} has no commit yet, so HEAD is no base` };
    return { from: 'local', ref: 'HEAD', commit };
  }
  const origin = await run(repo, ['config', '--get', 'remote.origin.url'], { okCodes: [0, 1] });
  const hasOrigin = origin.exitCode === 0;
  const tracking = `refs/remotes/origin/${baseBranch}`;
  if (hasOrigin) {
    if (options.offline) {
      const commit = await commitOf(repo, tracking);
      if (commit !== null) return { from: 'origin', ref: tracking, commit };
    } else {
      const asked = await askRemote(repo, 'origin', `refs/heads/${baseBranch}`, options.signal);
      if ('unreachable' in asked) return asked;
      if (asked.commit !== null) return { from: 'origin', ref: tracking, commit: asked.commit };
    }
  }
  const ref = `refs/heads/${baseBranch}`;
  const commit = await commitOf(repo, ref);
  if (commit !== null) return { from: 'local', ref, commit };
  const missing = hasOrigin
    ? `there is neither origin/${baseBranch} nor a local branch ${baseBranch}`
    : `there is no local branch ${baseBranch}, and no origin that could have origin/${baseBranch}`;
  return { problem: `${repo}: ${missing}` };
}

/** The base of a url that is not cloned yet. `cwd` is any folder that exists. */
export async function resolveBaseOfUrl(
  cwd: string,
  url: string,
  baseBranch: string,
  options: BaseOptions,
): Promise<BaseLookup> {
  const ref = baseBranch === 'HEAD' ? 'HEAD' : `refs/heads/${baseBranch}`;
  const found = {
    from: baseBranch === 'HEAD' ? 'local' : 'origin',
    ref: baseBranch === 'HEAD' ? 'HEAD' : `refs/remotes/origin/${baseBranch}`,
  } as const;
  if (options.offline) return { ...found, commit: null };
  const asked = await askRemote(cwd, url, ref, options.signal);
  if ('unreachable' in asked) return asked;
  if (asked.commit === null) return { problem: `${withoutSecret(url)} has no branch ${baseBranch}` };
  return { ...found, commit: asked.commit };
}

async function askRemote(
  cwd: string,
  remote: string,
  ref: string,
  signal: AbortSignal | undefined,
): Promise<{ readonly commit: string | null } | { readonly unreachable: string }> {
  try {
    const { stdout } = await run(cwd, ['ls-remote', '--', remote, ref], {
      env: await networkEnvironment(cwd),
      timeoutMs: LS_REMOTE_TIMEOUT_MS,
      signal,
    });
    // The pattern also matches longer names that end in it.
    const line = stdout.split('\n').find((each) => each.split('\t')[1] === ref);
    return { commit: line?.split('\t')[0] ?? null };
  } catch (error) {
    if (!(error instanceof ToolFailure) || signal?.aborted) throw error;
    return { unreachable: error.stderr.trim() === '' ? error.message : lastLines(error.stderr, 5) };
  }
}

export interface FetchOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onSpawn?: RunOptions['onSpawn'];
}

/**
 * Fetches one branch of origin into `refs/remotes/origin/<base>` and gives its commit. Nothing else of the clone
 * changes: no tags, no FETCH_HEAD, no pruning, no submodules, no garbage collection.
 * @throws {ToolFailure}
 */
export async function fetchBase(
  repo: string,
  baseBranch: string,
  options: FetchOptions = {},
): Promise<{ readonly ref: string; readonly commit: string }> {
  const ref = `refs/remotes/origin/${baseBranch}`;
  const args = [
    'fetch',
    '--no-tags',
    '--no-write-fetch-head',
    '--no-prune',
    '--no-recurse-submodules',
    '--no-auto-maintenance',
    'origin',
    `+refs/heads/${baseBranch}:${ref}`,
  ];
  const { stderr } = await run(repo, args, { env: await networkEnvironment(repo), ...options });
  const commit = await commitOf(repo, ref);
  if (commit === null) {
    throw new ToolFailure('git', args, repo, 0, stderr, { summary: `left no ${ref}` });
  }
  return { ref, commit };
}

export interface CloneResult {
  readonly made: boolean;
  readonly commonDir: string;
}

/**
 * Clones a url once, without a checkout: the clone only serves as source of worktrees. A clone of the same url
 * that is there counts as done. It appears at `path` whole or not at all.
 * @throws {ToolFailure} also where something else is at the path.
 */
export async function cloneInto(url: string, path: string, options: FetchOptions = {}): Promise<CloneResult> {
  const there = await existingClone(url, path);
  if (there !== null) return { made: false, commonDir: there };
  const parent = dirname(path);
  await mkdir(parent, { recursive: true });
  await removeDeadClones(parent, basename(path));
  const temporary = join(parent, `${temporaryPrefix(path)}${process.pid}-${randomBytes(4).toString('hex')}`);
  try {
    await run(parent, ['clone', '--no-checkout', '--origin', 'origin', '--', url, temporary], {
      env: await networkEnvironment(parent),
      ...options,
    });
    await rename(temporary, path).catch(async (error: unknown) => {
      // Somebody else may have been faster with the same clone.
      if ((await existingClone(url, path)) === null) throw error;
    });
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
  const { commonDir } = await describeRepo(path);
  if (commonDir === null) throw cloneFailure(url, path, 'left no repository');
  return { made: true, commonDir };
}

/** The common git folder of a clone of this url at the path, null where nothing is there. @throws {ToolFailure} */
async function existingClone(url: string, path: string): Promise<string | null> {
  const there = await describeRepo(path);
  if (!there.exists) return null;
  if (there.commonDir === null || !there.isTop) {
    const entries = await readdir(path).catch(() => ['']);
    if (entries.length === 0) return null;
    throw cloneFailure(url, path, `${path} exists and is no clone; move it away`);
  }
  if (there.originUrl !== url) {
    const other = there.originUrl === null ? 'no origin' : `the origin ${withoutSecret(there.originUrl)}`;
    throw cloneFailure(url, path, `${path} exists and has ${other}; move it away`);
  }
  return there.commonDir;
}

function cloneFailure(url: string, path: string, summary: string): ToolFailure {
  return new ToolFailure('git', ['clone', withoutSecret(url), path], dirname(path), null, '', { summary });
}

function temporaryPrefix(path: string): string {
  return `.${basename(path)}.cloning-`;
}

/** Removes what a killed clone left behind; its name holds the process that made it. */
async function removeDeadClones(parent: string, name: string): Promise<void> {
  const prefix = temporaryPrefix(name);
  for (const entry of await readdir(parent)) {
    if (!entry.startsWith(prefix)) continue;
    const pid = Number(/^(\d+)-[0-9a-f]+$/.exec(entry.slice(prefix.length))?.[1] ?? Number.NaN);
    if (pid > 0 && !mayLive(pid)) await rm(join(parent, entry), { recursive: true, force: true });
  }
}

function mayLive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}
