/** How a command fails: one error type, and the two ways it is shown. */
import { resolve } from 'node:path';
import { isatty } from 'node:tty';
import { paint } from '../report/paint.js';
import { wantsColor } from '../report/stream.js';
import { safeText } from '../tools/files.js';
import { EXIT } from './exit-codes.js';

/** One of several reasons; the fields that do not apply are left out. `line` and `column` count from 1. */
export interface ErrorProblem {
  readonly message: string;
  readonly code?: string | null;
  readonly hint?: string | null;
  readonly file?: string | null;
  readonly line?: number | null;
  readonly column?: number | null;
  readonly path?: string | null;
  readonly suggestion?: string | null;
}

/** An expected failure of a command. Only `main` shows it; everybody else throws it on. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  readonly exitCode: number;
  /** One word for programs, such as `usage`, `invalid_manifest`, `locked`. */
  readonly code: string;
  /** What to do next; may have several lines. */
  readonly hint: string | null;
  readonly problems: readonly ErrorProblem[];

  constructor(fields: {
    readonly exitCode: number;
    readonly code: string;
    /** One sentence without a full stop. */
    readonly message: string;
    readonly hint?: string | null | undefined;
    readonly problems?: readonly ErrorProblem[];
    readonly cause?: unknown;
  }) {
    super(fields.message, { cause: fields.cause });
    this.exitCode = fields.exitCode;
    this.code = fields.code;
    this.hint = fields.hint ?? null;
    this.problems = fields.problems ?? [];
  }
}

/** What a command finds wrong with its own arguments: exit code 64. `message` is one sentence without a full stop. */
export function wrongUsage(command: string, message: string): CommandError {
  return new CommandError({
    exitCode: EXIT.usage,
    code: 'usage',
    message: `${command}: ${message}`,
    hint: `more: metawsm ${command} --help`,
  });
}

export type InterruptSignal = 'SIGINT' | 'SIGTERM';

/** The reason that `CommandContext.signal` is aborted with. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  readonly exitCode: number;

  constructor(readonly signal: InterruptSignal) {
    super(`interrupted by ${signal}`);
    this.exitCode = signal === 'SIGINT' ? EXIT.sigint : EXIT.sigterm;
  }
}

/** Which signal a context's `signal` was aborted by; null: it was not. */
export function interruptedBy(signal: AbortSignal): InterruptSignal | null {
  return signal.aborted && signal.reason instanceof Interrupted ? signal.reason.signal : null;
}

/**
 * Errors of other parts that mean something to an operator, told by their `name` so that nothing has to be
 * loaded to know them. Everything else is a bug.
 */
const EXPECTED: Readonly<Record<string, { readonly exitCode: number; readonly code: string }>> = {
  StateProblem: { exitCode: EXIT.failed, code: 'state_problem' },
  LockHeld: { exitCode: EXIT.busy, code: 'locked' },
  ToolFailure: { exitCode: EXIT.failed, code: 'tool_failed' },
  AttemptRefused: { exitCode: EXIT.failed, code: 'attempt_refused' },
  AgentElsewhere: { exitCode: EXIT.failed, code: 'agent_elsewhere' },
  PathRefused: { exitCode: EXIT.failed, code: 'path_refused' },
};

/** Turns whatever was thrown into the error that is shown. Never throws. */
export function toCommandError(error: unknown): CommandError {
  if (error instanceof CommandError) return error;
  if (error instanceof Interrupted) {
    return new CommandError({
      exitCode: error.exitCode,
      code: 'interrupted',
      message: error.message,
      cause: error,
    });
  }
  const expected = error instanceof Error ? EXPECTED[error.name] : undefined;
  if (error instanceof Error && expected) {
    const { code, hint } = error as { code?: unknown; hint?: unknown };
    return new CommandError({
      exitCode: expected.exitCode,
      code: typeof code === 'string' ? code : expected.code,
      message: error.message,
      hint: typeof hint === 'string' ? hint : null,
      cause: error,
    });
  }
  const system = systemProblem(error);
  if (system !== null) {
    return new CommandError({
      exitCode: EXIT.failed,
      code: 'system',
      message: system,
      hint: 'mend that, then run the same command again',
      cause: error,
    });
  }
  return new CommandError({
    exitCode: EXIT.failed,
    code: 'internal',
    message: `internal error: ${sentence(error)}`,
    hint: 'this is a bug in metawsm; run the same command with --verbose to see where it happened',
    cause: error,
  });
}

/** What the system refuses without being asked for something wrong. */
const SYSTEM: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'not permitted',
  EROFS: 'the file system is read-only',
  ENOSPC: 'no space is left',
  EDQUOT: 'the disk quota is used up',
  EFBIG: 'the file would become larger than allowed (ulimit -f)',
  EIO: 'the disk could not be read or written',
  ENOENT: 'there is no such file or folder',
  ENOTDIR: 'a part of the path is no folder',
  ENAMETOOLONG: 'the name is too long',
  EMFILE: 'too many files are open (ulimit -n)',
  ENFILE: 'too many files are open on this machine',
  ENOMEM: 'no memory is left',
  EAGAIN: 'no more processes can be started (ulimit -u)',
};

/** A sentence about an error of the system that names what it was about; null: it is another error. */
function systemProblem(error: unknown): string | null {
  if (!(error instanceof Error)) return null;
  const { code, syscall, path, dest } = error as NodeJS.ErrnoException & { readonly dest?: string };
  const words = code === undefined ? undefined : SYSTEM[code];
  if (words === undefined || syscall === undefined) return null;
  const where = [path, dest].filter((each) => typeof each === 'string').join(' -> ');
  return `${where === '' ? '' : `${where}: `}${words} (${syscall})`;
}

/** Prints what was thrown, as a document on stdout or for a person on stderr, and gives the exit code. */
export function showError(
  thrown: unknown,
  options: {
    readonly words: readonly string[];
    readonly env: Readonly<NodeJS.ProcessEnv>;
    readonly json: boolean;
  },
): number {
  const { words, env, json } = options;
  const error = toCommandError(thrown);
  const verbose = words.includes('--verbose');
  if (json) process.stdout.write(errorDocument(error));
  if (!json || verbose) {
    const color = wantsColor(env, words.includes('--no-color'), isatty(2));
    process.stderr.write(renderError(error, { verbose, color }));
  }
  return error.exitCode;
}

/** How an error looks on stderr, with a newline at the end. `verbose` adds the stack of what is behind it. */
export function renderError(
  error: CommandError,
  options: { readonly verbose: boolean; readonly color: boolean },
): string {
  const lines = [`${paint(options.color).red('metawsm:')} ${safeText(error.message)}`];
  for (const problem of error.problems) lines.push(safeText(problemText(problem)));
  if (error.hint !== null) lines.push(safeText(error.hint));
  if (options.verbose && error.cause instanceof Error) {
    lines.push(safeText(error.cause.stack ?? String(error.cause)));
  }
  return `${lines.join('\n')}\n`;
}

/** The error document of `--json`: one line, with a newline at the end. */
export function errorDocument(error: CommandError): string {
  const document = {
    format_version: 1,
    kind: 'error',
    exit_code: error.exitCode,
    code: error.code,
    message: error.message,
    hint: error.hint,
    problems: error.problems.map((problem) => ({
      code: problem.code ?? null,
      message: problem.message,
      hint: problem.hint ?? null,
      // As typed it stands in what a person reads; programs get absolute paths.
      file: problem.file == null ? null : resolve(problem.file),
      line: problem.line ?? null,
      column: problem.column ?? null,
      path: problem.path ?? null,
      suggestion: problem.suggestion ?? null,
    })),
  };
  return `${JSON.stringify(document)}\n`;
}

/** `file:line:col: what is wrong; what would be right`, or an indented line where it has no place in a file. */
function problemText(problem: ErrorProblem): string {
  const advice = problem.suggestion ?? problem.hint ?? null;
  const text = advice === null ? problem.message : `${problem.message}; ${advice}`;
  if (problem.file === undefined || problem.file === null) return `  ${text}`;
  const place = [problem.file, problem.line, problem.column].filter(
    (part) => part !== undefined && part !== null,
  );
  return `${place.join(':')}: ${text}`;
}

function sentence(error: unknown): string {
  const text = error instanceof Error ? error.message || error.name : String(error);
  return text.split('\n', 1)[0] ?? '';
}
