/**
 * A program that metawsm called failed, was killed, or could not be started.
 * Its message is one sentence that names the program, the folder, the exit code and the last lines of stderr.
 */
export class ToolFailure extends Error {
  override readonly name = 'ToolFailure';

  constructor(
    readonly program: string,
    readonly args: readonly string[],
    readonly cwd: string,
    /** null: killed by a signal, or never started (`cause` says which). */
    readonly exitCode: number | null,
    readonly stderr: string,
    options?: { readonly cause?: unknown; readonly summary?: string },
  ) {
    const how =
      options?.summary ?? (exitCode === null ? 'was killed or could not be started' : `exit ${exitCode}`);
    const tail = lastLines(stderr, 5);
    super(`${[program, ...args].join(' ')} (in ${cwd}): ${how}${tail ? `: ${tail}` : ''}`, {
      cause: options?.cause,
    });
  }
}

/** The last `count` non-empty lines of a text. */
export function lastLines(text: string, count: number): string {
  return text
    .split(/\r?\n/)
    .filter((line) => line.trim() !== '')
    .slice(-count)
    .join('\n');
}
