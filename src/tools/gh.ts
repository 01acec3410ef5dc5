/**
 * The gh program (GitHub's), for pull requests. It never asks, pages or colours; the git that it starts runs no hooks
 * and no fsmonitor. Tokens stay where gh keeps them.
 */
import { spawn } from 'node:child_process';
import { ToolFailure } from './failure.js';
import { withoutSecret } from './git.js';

const TIMEOUT_MS = 120_000;
const KILL_GRACE_MS = 500;

export interface GhCall {
  /** A worktree or clone of the repository: gh chooses among its remotes. */
  readonly cwd: string;
  /** Default: `process.env`. */
  readonly env?: NodeJS.ProcessEnv | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface PullRequest {
  readonly number: number;
  readonly url: string;
  readonly state: 'OPEN' | 'CLOSED' | 'MERGED';
  /** The commit that its branch is at, as GitHub has it. */
  readonly head: string;
}

/**
 * The pull request from a branch of the same repository into a base: the open one, else the newest; null: there is
 * none.
 * @throws {ToolFailure}
 */
export async function existingPr(
  wanted: GhCall & { readonly branch: string; readonly base: string },
): Promise<PullRequest | null> {
  const args = [
    ...['pr', 'list', '--head', wanted.branch, '--base', wanted.base, '--state', 'all', '--limit', '100'],
    ...['--json', 'number,url,state,headRefOid,isCrossRepository'],
  ];
  const stdout = await gh(wanted, args);
  const found = parsePrs(stdout);
  if (found === null) {
    const summary = `printed something else than a list of pull requests: ${stdout.slice(0, 200).trim()}`;
    throw new ToolFailure('gh', args, wanted.cwd, 0, '', { summary });
  }
  const newestFirst = [...found].sort((a, b) => b.number - a.number);
  return newestFirst.find((pr) => pr.state === 'OPEN') ?? newestFirst[0] ?? null;
}

export interface NewPr extends GhCall {
  readonly title: string;
  /** Markdown. */
  readonly body: string;
  readonly base: string;
  /** A branch that was pushed. */
  readonly head: string;
}

/**
 * Creates a pull request and gives its url; null: there is nothing to ask for, because the base holds all commits of
 * the branch. Look for an existing one first: gh refuses a second.
 * @throws {ToolFailure}
 */
export async function createPr(wanted: NewPr): Promise<string | null> {
  const { title, base, head } = wanted;
  // The body by stdin: it may be longer than an argument may be, and no list of processes shows it.
  const args = ['pr', 'create', '--title', title, '--body-file', '-', '--base', base, '--head', head];
  const stdout = await gh(wanted, args, wanted.body).catch((error: unknown) => {
    if (error instanceof ToolFailure && /\bno commits between\b/i.test(error.stderr)) return null;
    throw error;
  });
  if (stdout === null) return null;
  const url = stdout.match(/https?:\/\/\S+\/pull\/\d+/g)?.at(-1);
  if (url === undefined) {
    const summary = `did not say where the pull request is: ${stdout.slice(0, 200).trim()}`;
    throw new ToolFailure('gh', args, wanted.cwd, 0, '', { summary });
  }
  return url;
}

/** Why gh cannot be used here, or null. Asks GitHub. */
export async function authProblem(
  wanted: GhCall,
): Promise<{ readonly code: string; readonly message: string; readonly hint: string } | null> {
  try {
    await gh(wanted, ['auth', 'status']);
    return null;
  } catch (error) {
    if (!(error instanceof ToolFailure) || wanted.signal?.aborted) throw error;
    if (isMissing(error)) {
      return {
        code: 'gh_missing',
        message: 'gh is not on PATH, and pull requests are made with it',
        hint: 'install it from https://cli.github.com, or set intake.merge_intent to merge or none',
      };
    }
    if (error.exitCode === null) throw error;
    return {
      code: 'gh_auth',
      message: `gh is not logged in: ${error.message}`,
      hint: 'run gh auth login, or set GH_TOKEN',
    };
  }
}

/** null: this is no list of pull requests. Those from forks are left out: they only share the branch's name. */
function parsePrs(stdout: string): readonly PullRequest[] | null {
  let rows: unknown;
  try {
    rows = JSON.parse(stdout);
  } catch {
    return null;
  }
  if (!Array.isArray(rows)) return null;
  const found: PullRequest[] = [];
  for (const row of rows as readonly Record<string, unknown>[]) {
    const { number, url, state, headRefOid } = row ?? {};
    if (typeof number !== 'number' || typeof url !== 'string' || typeof headRefOid !== 'string') return null;
    if (state !== 'OPEN' && state !== 'CLOSED' && state !== 'MERGED') return null;
    if (row.isCrossRepository !== true) found.push({ number, url, state, head: headRefOid });
  }
  return found;
}

/** Where git would be pointed at another repository, and where gh would take itself to be at a terminal. */
const DROPPED = [
  'CLICOLOR_FORCE',
  'FORCE_COLOR',
  'GH_DEBUG',
  'GH_FORCE_TTY',
  'GIT_COMMON_DIR',
  'GIT_DIR',
  'GIT_INDEX_FILE',
  'GIT_PREFIX',
  'GIT_WORK_TREE',
] as const;

function environment(from: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const env = { ...from };
  for (const name of DROPPED) delete env[name];
  // After the caller's own settings of this kind.
  const count = Number(env.GIT_CONFIG_COUNT ?? '0') || 0;
  return {
    ...env,
    GH_PROMPT_DISABLED: '1',
    GH_NO_UPDATE_NOTIFIER: '1',
    GH_NO_EXTENSION_UPDATE_NOTIFIER: '1',
    NO_COLOR: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_OPTIONAL_LOCKS: '0',
    GIT_CONFIG_COUNT: String(count + 2),
    [`GIT_CONFIG_KEY_${count}`]: 'core.hooksPath',
    [`GIT_CONFIG_VALUE_${count}`]: '/dev/null',
    [`GIT_CONFIG_KEY_${count + 1}`]: 'core.fsmonitor',
    [`GIT_CONFIG_VALUE_${count + 1}`]: 'false',
  };
}

function isMissing(error: ToolFailure): boolean {
  return (error.cause as { code?: unknown } | undefined)?.code === 'ENOENT';
}

/** Runs gh in a session of its own: it has no terminal to ask on. Gives its standard output. */
function gh(call: GhCall, args: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (exitCode: number | null, stderr: string, more: { cause?: unknown; summary?: string }) =>
      reject(new ToolFailure('gh', args, call.cwd, exitCode, withoutSecret(stderr), more));
    if (call.signal?.aborted) return fail(null, '', { summary: 'not started: interrupted' });
    const child = spawn('gh', args, {
      cwd: call.cwd,
      env: environment(call.env ?? process.env),
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
    // One that does not read its input ends with an exit code that says more than EPIPE.
    child.stdin.on('error', () => {});
    child.stdin.end(input);
    let ended: string | undefined;
    const end = (why: string) => {
      ended ??= why;
      killGroup(child.pid, 'SIGTERM');
      setTimeout(() => killGroup(child.pid, 'SIGKILL'), KILL_GRACE_MS).unref();
    };
    const onAbort = () => end('interrupted');
    call.signal?.addEventListener('abort', onAbort, { once: true });
    const timer = setTimeout(end, TIMEOUT_MS, `no answer within ${TIMEOUT_MS / 1000} s`);
    const done = () => {
      clearTimeout(timer);
      call.signal?.removeEventListener('abort', onAbort);
    };
    child.once('error', (cause: NodeJS.ErrnoException) => {
      done();
      const missing =
        cause.code === 'ENOENT' ? 'gh is not installed, or the folder does not exist' : undefined;
      fail(null, '', { cause, summary: missing ?? `could not be started (${cause.message})` });
    });
    child.once('close', (code) => {
      done();
      const stderr = Buffer.concat(err).toString('utf8');
      if (code === 0 && ended === undefined) return resolve(Buffer.concat(out).toString('utf8'));
      const summary = ended ?? (code === null ? 'was killed before it had finished' : undefined);
      fail(code, stderr, summary === undefined ? {} : { summary });
    });
  });
}

function killGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // Gone already.
  }
}
