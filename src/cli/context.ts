/** What a command gets from the outside world. Only `main` makes one. */
import { writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { isCi, wantsColor } from '../report/stream.js';
import { Interrupted, type InterruptSignal } from './errors.js';

export interface CommandContext {
  /** The words after the program's name, as typed. */
  readonly argv: readonly string[];
  readonly version: string;
  readonly cwd: string;
  /** The environment as metawsm found it: what agents, setup commands and criteria inherit. */
  readonly env: Readonly<NodeJS.ProcessEnv>;
  /** Writes a text as it is; a newline is the caller's. Results only. */
  stdout(text: string): void;
  /** The same for progress and diagnostics. */
  stderr(text: string): void;
  readonly stdin: NodeJS.ReadStream;
  /** All false where `CI` is set: nothing prompts and nothing animates there. */
  readonly isTerminal: { readonly stdin: boolean; readonly stdout: boolean; readonly stderr: boolean };
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  /** Whether to colour stdout. */
  readonly color: boolean;
  /** Whether to colour stderr. */
  readonly colorStderr: boolean;
  /** Milliseconds since the epoch. */
  now(): number;
  /**
   * Aborted with an `Interrupted` by the first SIGINT or SIGTERM; a second one ends the process at once. A
   * command that never asks for it is ended at once by the first.
   */
  readonly signal: AbortSignal;
  /** Aborted when the reader of stdout is gone (`metawsm … | head`): reason to stop following something. */
  readonly outputClosed: AbortSignal;
  readonly globals: {
    /** `--state` as typed. */
    readonly state: string | null;
    readonly lockTimeoutMs: number;
  };
}

/** The options that every command takes, read from the command line. */
export interface Globals {
  readonly state: string | null;
  readonly lockTimeoutMs: number;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly noColor: boolean;
}

/** Makes the context of one command in this process. */
export function createContext(from: {
  readonly argv: readonly string[];
  readonly version: string;
  readonly env: Readonly<NodeJS.ProcessEnv>;
  readonly globals: Globals;
  readonly interrupts: Interrupts;
  readonly outputClosed: AbortSignal;
}): CommandContext {
  const { globals, env, interrupts } = from;
  const interactive = !isCi(env);
  return {
    argv: from.argv,
    version: from.version,
    cwd: process.cwd(),
    env,
    stdout: (text) => void process.stdout.write(text),
    stderr: (text) => void process.stderr.write(text),
    get stdin() {
      return process.stdin;
    },
    isTerminal: {
      stdin: interactive && isatty(0),
      stdout: interactive && isatty(1),
      stderr: interactive && isatty(2),
    },
    json: globals.json,
    quiet: globals.quiet,
    verbose: globals.verbose,
    color: !globals.json && wantsColor(env, globals.noColor, isatty(1)),
    colorStderr: wantsColor(env, globals.noColor, isatty(2)),
    now: () => Date.now(),
    get signal() {
      return interrupts.signal();
    },
    outputClosed: from.outputClosed,
    globals: { state: globals.state, lockTimeoutMs: globals.lockTimeoutMs },
  };
}

/** SIGINT and SIGTERM of this process. */
export interface Interrupts {
  /** From the first call on the first signal aborts this instead of ending the process. */
  signal(): AbortSignal;
  /** What `signal` was aborted with; null: it was not. */
  received(): Interrupted | null;
  /** Takes the listeners away. */
  dispose(): void;
}

/** Listens for SIGINT and SIGTERM until disposed. */
export function listenForInterrupts(): Interrupts {
  const controller = new AbortController();
  let asked = false;
  const onSignal = (name: NodeJS.Signals): void => {
    const interrupted = new Interrupted(name as InterruptSignal);
    if (asked && !controller.signal.aborted) {
      controller.abort(interrupted);
      return;
    }
    restoreCursor();
    process.exit(interrupted.exitCode);
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  return {
    signal: () => {
      asked = true;
      return controller.signal;
    },
    received: () => (controller.signal.aborted ? (controller.signal.reason as Interrupted) : null),
    dispose: () => {
      process.off('SIGINT', onSignal);
      process.off('SIGTERM', onSignal);
    },
  };
}

/**
 * Keeps the process going when the reader of its output is gone (`metawsm … | head`), which must not end a
 * run midway. The result is aborted when stdout's reader is gone.
 */
export function guardOutput(): AbortSignal {
  const controller = new AbortController();
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      // EIO: the terminal is gone.
      if (error.code !== 'EPIPE' && error.code !== 'EIO') throw error;
      if (stream === process.stdout) controller.abort(error);
    });
  }
  return controller.signal;
}

/** Shows the cursor again that a live view may have hidden. Must not fail: it is called on the way out. */
export function restoreCursor(): void {
  if (!isatty(2)) return;
  try {
    writeSync(2, '\u001b[?25h');
  } catch {
    // The terminal is gone.
  }
}
