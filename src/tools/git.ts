/**
 * How metawsm calls git. There are two ways, with the same safety:
 *
 * - `look` goes through simple-git. For reading, where git prints something.
 * - `run` starts git directly. For what simple-git does badly: commands that print nothing (50 ms extra there),
 *   answers by exit code, an index file or an input of their own, the network, and changes, which must not die
 *   half way when Ctrl-C hits the terminal's process group. And for what plan and status ask: loading simple-git
 *   would take them longer than their answer.
 *
 * Both: no hooks, no fsmonitor, no replaced objects, no optional locks, no password prompt, and none of the
 * variables by which a calling git (an alias, a hook) would point us at another repository. A git that ends
 * otherwise than with exit 0, also by a signal, is a `ToolFailure`.
 *
 * `look` passes `process.env` on, so the composition root sets `GIT_TERMINAL_PROMPT=0` there.
 */
import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { ToolFailure } from './failure.js';
import { watchBlocked } from './git-blocked.js';
import { gated } from './process.js';

/** Settings that hold in every call, whatever the repository's own configuration says. */
const SAFE_CONFIG = [
  'core.hooksPath=/dev/null',
  'core.fsmonitor=false',
  // An agent could make the base seem to hold its branch.
  'core.useReplaceRefs=false',
  // A change whose time was put back would be none.
  'core.trustctime=true',
  'core.checkStat=default',
] as const;

/** Variables that say where the repository is, or what a path or a diff means: never inherited. */
const MISLEADING: ReadonlySet<string> = new Set([
  'GIT_ALTERNATE_OBJECT_DIRECTORIES',
  'GIT_COMMON_DIR',
  'GIT_CONFIG',
  'GIT_DIFF_OPTS',
  'GIT_DIR',
  'GIT_EXTERNAL_DIFF',
  'GIT_GLOB_PATHSPECS',
  'GIT_GRAFT_FILE',
  'GIT_ICASE_PATHSPECS',
  'GIT_IMPLICIT_WORK_TREE',
  'GIT_INDEX_FILE',
  'GIT_INTERNAL_SUPER_PREFIX',
  'GIT_LITERAL_PATHSPECS',
  'GIT_NAMESPACE',
  'GIT_NOGLOB_PATHSPECS',
  'GIT_NO_REPLACE_OBJECTS',
  'GIT_OBJECT_DIRECTORY',
  'GIT_PREFIX',
  'GIT_QUARANTINE_PATH',
  'GIT_REPLACE_REF_BASE',
  'GIT_SHALLOW_FILE',
  'GIT_WORK_TREE',
]);

/** How long a background process that keeps git's pipes open is waited for after git's end, in ms. */
const PIPE_GRACE_MS = 300;
/** From SIGTERM to SIGKILL when a call is aborted or out of time, in ms. */
const KILL_GRACE_MS = 500;

export interface RunOptions {
  /** Added to the environment, such as GIT_INDEX_FILE. */
  readonly env?: Readonly<Record<string, string>>;
  /** Written to git's standard input; without it the input is empty. */
  readonly input?: string | Uint8Array;
  /** Exit codes that are an answer and no failure. Default: 0 alone. */
  readonly okCodes?: readonly number[];
  /** Ends git and what it started; the call then rejects. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds after which git and what it started are ended; the call then rejects. Default: no limit. */
  readonly timeoutMs?: number;
  /**
   * Told the process id before git does anything: git begins when this resolves, and never if its caller dies
   * before. So no git can be at work that nobody has recorded.
   */
  readonly onSpawn?: ((pid: number) => void | Promise<void>) | undefined;
}

export interface RunResult {
  readonly exitCode: number;
  readonly stdout: string;
  /** Standard output to the byte: file names need not be UTF-8. */
  readonly bytes: Buffer;
  readonly stderr: string;
}

/**
 * Reads with git through simple-git and gives its output, untrimmed.
 * @throws {ToolFailure} for every other end than exit 0, a missing folder and a missing git.
 */
export function look(cwd: string, args: readonly string[]): Promise<string> {
  return patiently(() => lookOnce(cwd, args));
}

/** Tries of a call that met a worktree which another git was just making, and the first pause between them. */
const TRIES = 6;
const FIRST_PAUSE_MS = 20;

/**
 * git makes the files of a new worktree one by one, and every git that lists the worktrees meanwhile fails. Only for
 * calls that change nothing.
 */
export async function patiently<T>(call: () => Promise<T>): Promise<T> {
  for (let tried = 1; ; tried += 1) {
    try {
      return await call();
    } catch (error) {
      const meets = error instanceof ToolFailure && /failed to read .*commondir/.test(error.stderr);
      if (!meets || tried === TRIES) throw error;
      await pause(FIRST_PAUSE_MS * 2 ** (tried - 1));
    }
  }
}

async function lookOnce(cwd: string, args: readonly string[]): Promise<string> {
  const { GitError, GitPluginError, simpleGit } = await import('simple-git');
  let failed: { readonly exitCode: number | null; readonly stderr: string } | undefined;
  const blocked = new AbortController();
  const unwatch = watchBlocked(cwd, (why) => blocked.abort(why));
  try {
    return await simpleGit({
      baseDir: cwd,
      abort: blocked.signal,
      config: [...SAFE_CONFIG],
      unsafe: { allowUnsafeHooksPath: true, allowUnsafeFsMonitor: true },
      // Its timer after git's exit would keep this process 50 ms longer than there is something to do.
      completion: { onExit: false },
      allowEnvironment: Object.keys(process.env).filter((name) => isGitVariable(name) && !isMisleading(name)),
      errors: (error, result) => {
        if (error instanceof GitPluginError) return error;
        if (result.exitCode === 0) return undefined;
        failed = { exitCode: result.exitCode, stderr: Buffer.concat(result.stdErr).toString('utf8') };
        // Any error that is no GitError would be flattened to its text.
        return new GitError(undefined, failed.stderr);
      },
    }).raw(['--no-optional-locks', ...args]);
  } catch (error) {
    // simple-git gives a negative number where git could not be started, null where it was killed.
    const exitCode = failed?.exitCode ?? null;
    const started = failed !== undefined && (exitCode === null || exitCode >= 0);
    const why = blocked.signal.aborted ? String(blocked.signal.reason) : undefined;
    throw await failure(cwd, args, started ? exitCode : null, failed?.stderr ?? '', error, started, why);
  } finally {
    unwatch();
  }
}

/**
 * Runs git directly, in a session of its own: it has no terminal to ask on, and Ctrl-C does not reach it.
 * @throws {ToolFailure} for an exit code that is not in `okCodes`, a signal, a missing folder, a missing git.
 */
export async function run(
  cwd: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  if (options.signal?.aborted) {
    throw new ToolFailure('git', shownArgs(args), cwd, null, '', { summary: 'not started: interrupted' });
  }
  const child = await start(cwd, args, options);
  // A git that does not read all of its input ends with an exit code that says more than EPIPE.
  child.stdin.on('error', () => {});
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => err.push(chunk));

  let ended: string | undefined;
  const end = (why: string) => {
    ended ??= why;
    killGroup(child, 'SIGTERM');
    setTimeout(() => killGroup(child, 'SIGKILL'), KILL_GRACE_MS).unref();
  };
  const onAbort = () => end('interrupted');
  options.signal?.addEventListener('abort', onAbort, { once: true });
  const timer =
    options.timeoutMs === undefined
      ? undefined
      : setTimeout(end, options.timeoutMs, `no answer within ${options.timeoutMs / 1000} s`);
  const unwatch = watchBlocked(cwd, end);
  const exited = exitOf(child);
  let exit: { readonly code: number | null; readonly error?: unknown };
  try {
    if (options.onSpawn !== undefined && child.pid !== undefined) {
      await options.onSpawn(child.pid);
      child.stdin.write('go\n');
    }
    child.stdin.end(options.input ?? '');
    exit = await exited;
  } finally {
    // Where it was not told to begin, this tells it that it never will be.
    child.stdin.end();
    clearTimeout(timer);
    unwatch();
    options.signal?.removeEventListener('abort', onAbort);
  }

  const bytes = Buffer.concat(out);
  const stderr = Buffer.concat(err).toString('utf8');
  if (exit.code !== null && ended === undefined && (options.okCodes ?? [0]).includes(exit.code)) {
    return { exitCode: exit.code, stdout: bytes.toString('utf8'), bytes, stderr };
  }
  throw await failure(cwd, args, exit.code, stderr, exit.error, exit.error === undefined, ended);
}

/**
 * The installed git's version, such as `2.39.5`.
 * @throws {ToolFailure} where git is missing.
 */
export async function gitVersion(): Promise<string> {
  const { stdout } = await run('/', ['--version']);
  return /\d+(\.\d+)+/.exec(stdout)?.[0] ?? stdout.trim();
}

/** Whether a version is the same as or newer than another, number by number. */
export function isAtLeast(version: string, minimum: string): boolean {
  const have = version.split('.').map(Number);
  for (const [index, wanted] of minimum.split('.').map(Number).entries()) {
    const part = have[index] ?? 0;
    if (part !== wanted) return part > wanted;
  }
  return true;
}

/** What the network may need: ssh that never asks, unless the user chose an own ssh command. */
export async function networkEnvironment(cwd: string): Promise<Record<string, string>> {
  if (process.env.GIT_SSH_COMMAND || process.env.GIT_SSH) return {};
  // The variable would outrank core.sshCommand, so look for that first.
  const configured = await run(cwd, ['config', '--get', 'core.sshCommand'], { okCodes: [0, 1] });
  return configured.stdout.trim() === '' ? { GIT_SSH_COMMAND: 'ssh -oBatchMode=yes' } : {};
}

/** A url without its password or token. */
export function withoutSecret(text: string): string {
  return text.replace(/([a-z][a-z0-9+.-]*:\/\/)[^/@\s]+@/gi, '$1***@');
}

function isGitVariable(name: string): boolean {
  return name.toUpperCase().startsWith('GIT_');
}

function isMisleading(name: string): boolean {
  return MISLEADING.has(name.toUpperCase());
}

function directEnvironment(from: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const env = Object.fromEntries(Object.entries(from).filter(([name]) => !isMisleading(name)));
  // git would open its window for an https password.
  delete env.SSH_ASKPASS;
  return {
    ...env,
    SSH_ASKPASS_REQUIRE: 'never',
    GIT_TERMINAL_PROMPT: '0',
    // What .git/info/grafts says of a commit's parents, anybody may have written.
    GIT_GRAFT_FILE: '/dev/null',
    // Texts of git are matched in a few places, so they are always the untranslated ones.
    LC_ALL: 'C',
  };
}

async function start(
  cwd: string,
  args: readonly string[],
  options: RunOptions,
): Promise<ChildProcessWithoutNullStreams> {
  const git = ['git', '--no-optional-locks', ...SAFE_CONFIG.flatMap((pair) => ['-c', pair]), ...args];
  const [file = '', ...rest] = options.onSpawn === undefined ? git : gated(git);
  try {
    return spawn(file, rest, {
      cwd,
      env: { ...directEnvironment(process.env), ...options.env },
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    });
  } catch (error) {
    // Some errors (ENOTDIR, E2BIG) are thrown at once, the others are told by the child.
    throw await failure(cwd, args, null, '', error, false);
  }
}

/** The end of a child: its output is complete, or git has ended and only a background process holds a pipe. */
function exitOf(child: ChildProcess): Promise<{ readonly code: number | null; readonly error?: unknown }> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve({ code: null, error }));
    child.once('close', (code) => resolve({ code }));
    child.once('exit', (code) => {
      setTimeout(() => {
        child.stdout?.destroy();
        child.stderr?.destroy();
        resolve({ code });
      }, PIPE_GRACE_MS).unref();
    });
  });
}

function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // Gone already.
  }
}

function shownArgs(args: readonly string[]): string[] {
  return args.map(withoutSecret);
}

async function failure(
  cwd: string,
  args: readonly string[],
  exitCode: number | null,
  stderr: string,
  cause: unknown,
  started: boolean,
  summary?: string,
): Promise<ToolFailure> {
  return new ToolFailure('git', shownArgs(args), cwd, exitCode, withoutSecret(stderr), {
    cause,
    ...(await summaryOf(cwd, exitCode, started, cause, summary)),
  });
}

async function summaryOf(
  cwd: string,
  exitCode: number | null,
  started: boolean,
  cause: unknown,
  summary: string | undefined,
): Promise<{ readonly summary?: string }> {
  if (summary !== undefined) return { summary };
  if (started) return exitCode === null ? { summary: 'was killed before it had finished' } : {};
  const folder = await stat(cwd).catch(() => null);
  if (folder === null) return { summary: 'the folder does not exist' };
  if (!folder.isDirectory()) return { summary: 'this is not a folder' };
  const code = (cause as { code?: unknown } | null)?.code;
  const text = cause instanceof Error ? cause.message : '';
  if (code === 'ENOENT' || /ENOENT/.test(text))
    return { summary: 'git is not installed, or not on the PATH' };
  return { summary: `could not be started${text === '' ? '' : ` (${text})`}` };
}
