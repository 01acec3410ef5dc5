/**
 * tmux, on a server of its own: the operator's sessions and configuration stay out of it. It is started with
 * a small environment, for a server keeps that of whoever started it. No secret passes through here.
 */
import { spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { ToolFailure } from './failure.js';

/** A session by its exact name; `socket` null: the server that metawsm would start here and now. */
export interface TmuxTarget {
  readonly name: string;
  readonly socket: string | null;
}

export interface NewSession {
  /** [a-z0-9_-] only. A session of that name is ended first. */
  readonly name: string;
  /** Run directly, without a shell. */
  readonly argv: readonly string[];
  /** Everything that is printed in the pane is appended to it. Absolute, and no newline at its end. */
  readonly logFile: string;
}

const SERVER = 'metawsm';
const TIMEOUT_MS = 10_000;
const HISTORY_LINES = 50_000;
/** What tmux, cat and node need to start. TMUX_TMPDIR decides where the socket lies. */
const PASSED_ON = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'LC_CTYPE', 'TMUX_TMPDIR', 'LD_LIBRARY_PATH'];

/**
 * Starts a session with one large pane that stays readable after its program's end. Gives the server's
 * socket. Throws `ToolFailure`.
 */
export async function newSession(session: NewSession, env: NodeJS.ProcessEnv): Promise<string> {
  const target = `=${requireName(session.name)}`;
  const commands = (replace: boolean): string[][] => [
    ['start-server'],
    // Only counts for panes that are made after it.
    ['set-option', '-g', 'history-limit', String(HISTORY_LINES)],
    ...(replace ? [['kill-session', '-t', target]] : []),
    [
      'new-session',
      '-d',
      '-P',
      '-F',
      '#{socket_path}',
      '-s',
      session.name,
      '-x',
      '200',
      '-y',
      '50',
      ...session.argv,
    ],
    ['set-option', '-w', '-t', `${target}:`, 'remain-on-exit', 'on'],
    ['pipe-pane', '-t', `${target}:`, logCommand(session.logFile)],
  ];
  // All in one call: the server reads no output of the pane before it knows where it goes. In the same call
  // the old session ends, for with its last session the server would end, too.
  for (let attempt = 1; ; attempt += 1) {
    const replace = (await sessionState({ name: session.name, socket: null }, env)) === 'open';
    const args = [...server(null), ...joined(commands(replace))];
    const result = await call(args, env);
    if (result.exitCode === 0) return result.stdout.trim();
    // A server whose last session has just been closed still answers, but is about to end.
    const ending = /server exited|lost server|no server running|error connecting/.test(result.stderr);
    if (!ending || attempt === 5) throw failure(args, result);
    await delay(20 * attempt);
  }
}

/** Whether a session of exactly this name exists. Anything but a clear answer is `unknown`; never throws. */
export async function sessionState(
  target: TmuxTarget,
  env: NodeJS.ProcessEnv,
): Promise<'open' | 'gone' | 'unknown'> {
  try {
    const args = [...server(target.socket), 'has-session', '-t', `=${requireName(target.name)}`];
    const result = await call(args, env);
    if (result.exitCode === 0) return 'open';
    return saysGone(result.stderr) ? 'gone' : 'unknown';
  } catch {
    return 'unknown';
  }
}

/** The server's socket of a session that exists; null where that cannot be found out. */
export async function socketOf(name: string, env: NodeJS.ProcessEnv): Promise<string | null> {
  const target = `=${requireName(name)}:`;
  const result = await call([...server(null), 'display-message', '-p', '-t', target, '#{socket_path}'], env);
  return result.exitCode === 0 ? result.stdout.trim() || null : null;
}

/** Ends a session with its pane. Fine when it is gone. Throws `ToolFailure`. */
export async function killSession(target: TmuxTarget, env: NodeJS.ProcessEnv): Promise<void> {
  const args = [...server(target.socket), 'kill-session', '-t', `=${requireName(target.name)}`];
  const result = await call(args, env);
  if (result.exitCode !== 0 && !saysGone(result.stderr)) throw failure(args, result);
}

/** argv with which a person looks into a session. */
export function attachSessionArgv(target: TmuxTarget): string[] {
  return ['tmux', ...server(target.socket), 'attach-session', '-t', `=${requireName(target.name)}`];
}

/**
 * The shell command that tmux feeds with a pane's output. tmux expands formats and strftime in it before the
 * shell reads it, so the path is written with nothing in it that means something to one of the three.
 */
function logCommand(file: string): string {
  let path = '';
  for (const byte of Buffer.from(file)) {
    const character = String.fromCharCode(byte);
    path += /[A-Za-z0-9/._-]/.test(character) ? character : `\\${byte.toString(8).padStart(3, '0')}`;
  }
  return `exec cat >> "$(printf '${path}')"`;
}

function server(socket: string | null): string[] {
  return [...(socket === null ? ['-L', SERVER] : ['-S', socket]), '-f', '/dev/null'];
}

/** tmux takes a word that ends in `;` for the end of a command. */
function joined(commands: readonly string[][]): string[] {
  const words = (command: readonly string[]) => command.map((word) => word.replace(/;$/, '\\;'));
  return commands.flatMap((command, index) => (index === 0 ? words(command) : [';', ...words(command)]));
}

function requireName(name: string): string {
  if (!/^[a-z0-9_-]+$/.test(name)) throw new Error(`not a session name: ${JSON.stringify(name)}`);
  return name;
}

/** "Permission denied" and the like are no answer to the question whether a session exists. */
function saysGone(stderr: string): boolean {
  return /can't find session|no server running|error connecting to .*\((No such file or directory|Connection refused|Not a directory)\)/.test(
    stderr,
  );
}

interface Result {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function call(args: readonly string[], env: NodeJS.ProcessEnv): Promise<Result> {
  const small = Object.fromEntries(PASSED_ON.flatMap((name) => (env[name] ? [[name, env[name]]] : [])));
  return new Promise((resolve, reject) => {
    // Detached: a Ctrl-C at metawsm's terminal must not cut a call in two. In /, which nobody deletes.
    const child = spawn('tmux', args, {
      cwd: '/',
      env: small,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const output = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (text: string) => {
        output[name] += text;
      });
    }
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
    }, TIMEOUT_MS);
    child.once('error', (cause) => {
      clearTimeout(timer);
      const summary =
        (cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'tmux is not installed' : cause.message;
      reject(new ToolFailure('tmux', args, '/', null, '', { cause, summary }));
    });
    child.once('close', (exitCode) => {
      clearTimeout(timer);
      if (late) {
        const summary = `no answer within ${TIMEOUT_MS / 1000} s`;
        reject(new ToolFailure('tmux', args, '/', null, output.stderr, { summary }));
      } else {
        resolve({ exitCode, ...output });
      }
    });
  });
}

function failure(args: readonly string[], result: Result): ToolFailure {
  return new ToolFailure('tmux', args, '/', result.exitCode, result.stderr);
}
