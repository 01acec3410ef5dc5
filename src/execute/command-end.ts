/** How a command of the manifest ended, as execa tells it with `reject: false`. */
export interface CommandEnd {
  readonly failed: boolean;
  /** undefined: it was ended by a signal, or could not be started. */
  readonly exitCode?: number | undefined;
  readonly signal?: string | undefined;
  /** Why it could not be started, such as ENOENT. */
  readonly code?: string | undefined;
}

/** The same as a clause; null: it ended with status 0. */
export function howItEnded(end: CommandEnd): string | null {
  if (!end.failed) return null;
  if (end.exitCode !== undefined) return `exited with status ${end.exitCode}`;
  if (end.signal !== undefined) return `was ended by ${end.signal}`;
  return `could not be started (${end.code ?? 'unknown error'})`;
}
