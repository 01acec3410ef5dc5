import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** How one command line ended. */
export interface Result {
  readonly argv: readonly string[];
  /** null: it was ended by `signal`. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** stdout and stderr together, for words that may stand in either. */
  readonly text: string;
}

/** A command line that was started and may still run. */
export interface Running {
  readonly pid: number;
  /** What it printed to stdout so far. */
  stdout(): string;
  stderr(): string;
  /** What Ctrl-C does at a terminal: SIGINT for the whole process group. */
  interrupt(): void;
  kill(signal: NodeJS.Signals): void;
  /** Called with every line of stdout as it comes. */
  onLine(listener: (line: string) => void): void;
  /** The end. Rejects when it takes longer than the limit, after killing it. */
  readonly result: Promise<Result>;
}

export interface StartOptions {
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** Text for stdin; `open`: a pipe that never says anything; default: no stdin at all. */
  readonly stdin?: string;
  readonly timeout: number;
}

/** Starts a program in a session of its own: it has no terminal, whoever runs the tests. */
export function start(file: string, args: readonly string[], options: StartOptions): Running {
  const child = spawn(file, args, {
    cwd: options.cwd,
    env: { ...options.env },
    detached: true,
    stdio: [options.stdin === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  });
  if (options.stdin !== undefined && options.stdin !== 'open') child.stdin?.end(options.stdin);
  child.stdin?.on('error', () => {});

  let stdout = '';
  let stderr = '';
  let pending = '';
  const listeners: ((line: string) => void)[] = [];
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk;
    const lines = (pending + chunk).split('\n');
    pending = lines.pop() ?? '';
    for (const line of lines) for (const listener of listeners) listener(line);
  });
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk;
  });

  const group = (signal: NodeJS.Signals): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, signal);
    } catch {
      // It is gone.
    }
  };
  const result = new Promise<Result>((resolve, reject) => {
    const said = (): string => `\nstdout: ${stdout}\nstderr: ${stderr}`;
    const timer = setTimeout(() => {
      group('SIGKILL');
      reject(new Error(`${args.join(' ')}: no end after ${options.timeout} ms${said()}`));
    }, options.timeout);
    child.once('error', reject);
    child.once('exit', () => {
      // A process that outlives the command must not hold its output: a script that pipes it would hang.
      const leak = setTimeout(() => {
        clearTimeout(timer);
        reject(new Error(`${args.join(' ')}: ended, but something holds its output open${said()}`));
      }, 5000);
      child.once('close', () => clearTimeout(leak));
    });
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ argv: args, code, signal, stdout, stderr, text: `${stdout}\n${stderr}` });
    });
  });
  // A test that fails earlier never looks at the result.
  result.catch(() => {});

  return {
    pid: child.pid ?? -1,
    stdout: () => stdout,
    stderr: () => stderr,
    interrupt: () => group('SIGINT'),
    kill: (signal) => child.kill(signal),
    onLine: (listener) => listeners.push(listener),
    result,
  };
}

/** Whether a process runs. A zombie does not. */
export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    if (process.platform === 'linux') return false;
  }
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Processes that have this `NAME=value` in their environment. Linux only: elsewhere none are found. */
export function withEnvironment(entry: string): number[] {
  return eachProcess('environ').flatMap(([pid, environ]) => (environ.includes(entry) ? [pid] : []));
}

/** Command lines of all processes, arguments as a list. */
export function commandLines(): (readonly [pid: number, argv: readonly string[]])[] {
  return eachProcess('cmdline');
}

function eachProcess(file: 'environ' | 'cmdline'): [number, string[]][] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid): [number, string[]][] => {
      try {
        return [[Number(pid), readFileSync(`/proc/${pid}/${file}`, 'utf8').split('\0')]];
      } catch {
        return [];
      }
    });
}

/** Ends all processes with that environment, however many they start meanwhile. */
export async function endAll(entry: string): Promise<void> {
  for (let round = 0; round < 100; round++) {
    const pids = withEnvironment(entry).filter(isAlive);
    if (pids.length === 0) return;
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It is gone.
      }
    }
    await delay(20);
  }
}

/** Whether a program is there and runs. */
export function works(program: string, ...args: readonly string[]): boolean {
  // It makes files of its own, which must not stay.
  const folder = mkdtempSync(path.join(tmpdir(), 'mw-'));
  try {
    const env = { ...process.env, HOME: folder, CODEX_HOME: folder, TMPDIR: folder };
    execFileSync(program, args, { stdio: 'ignore', env });
    return true;
  } catch {
    return false;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
