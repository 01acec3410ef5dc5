/** What can be expected to go wrong with the state folder and its database, in words for a person. */
import type { Problem } from '../plan/observed.js';

/** `code` of every {@link StateProblem}. */
export type StateProblemCode =
  | 'state_path'
  | 'state_denied'
  | 'state_readonly'
  | 'state_full'
  | 'state_io'
  | 'state_busy'
  | 'state_corrupt'
  | 'state_foreign'
  | 'state_newer'
  | 'state_no_wal'
  | 'workspace_context';

/** The state folder or its database cannot be used. Nothing was changed; `hint` names the way out. */
export class StateProblem extends Error implements Problem {
  override readonly name = 'StateProblem';

  constructor(
    readonly code: StateProblemCode,
    message: string,
    readonly hint: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Somebody asked for a change of state that the table of transitions does not allow. Nothing was written. */
export class IllegalTransition extends Error {
  override readonly name = 'IllegalTransition';

  constructor(
    /** Such as `run run-…` or `step setup.run/api/1 of run-…`. */
    readonly subject: string,
    readonly from: string,
    readonly to: string,
  ) {
    super(`${subject} is ${from} and cannot become ${to}`);
  }
}

/** The `code` of an error of the system or of SQLite, or an empty string. */
export function codeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : '';
}

/** Words for an error of SQLite that says something about the file; any other error comes back as it is. */
export function databaseProblem(error: unknown, file: string): unknown {
  if (error instanceof StateProblem) return error;
  const problem = (code: StateProblemCode, message: string, hint: string) =>
    new StateProblem(code, message, hint, { cause: error });
  switch (codeOf(error)) {
    case 'SQLITE_NOTADB':
      return problem(
        'state_corrupt',
        `${file} is not a SQLite database`,
        'The file was left as it is. Restore it from a backup, or move it away to begin with an empty record.',
      );
    case 'SQLITE_CORRUPT':
      return problem(
        'state_corrupt',
        `${file} is damaged (${messageOf(error)})`,
        'The file was left as it is. Restore it from a backup, or move it away with its -wal and -shm to begin with an empty record.',
      );
    case 'SQLITE_FULL':
      return problem(
        'state_full',
        `no space left for ${file}`,
        'Free some space and run the same command again.',
      );
    case 'SQLITE_IOERR':
      return problem(
        'state_io',
        `${file} could not be read or written (${messageOf(error)})`,
        'Look at the disk, its quota and the file size limit (ulimit -f), then run the same command again.',
      );
    case 'SQLITE_READONLY':
      return problem(
        'state_readonly',
        `${file} cannot be written`,
        'Make it and its folder writable for you, or name another state folder with --state.',
      );
    case 'SQLITE_CANTOPEN':
    case 'SQLITE_PERM':
    case 'SQLITE_AUTH':
      return problem(
        'state_denied',
        `${file} cannot be opened`,
        'Look at the owner and mode of the file and its folder, or name another state folder with --state.',
      );
    case 'SQLITE_BUSY':
    case 'SQLITE_LOCKED':
      return problem(
        'state_busy',
        `another program keeps ${file} locked`,
        'Try again; if it stays so, look which program has the file open.',
      );
    default:
      return error;
  }
}

/** Words for an error of the file system at a path of the state folder. */
export function fileProblem(error: unknown, path: string): unknown {
  const problem = (code: StateProblemCode, message: string, hint: string) =>
    new StateProblem(code, message, hint, { cause: error });
  switch (codeOf(error)) {
    case 'EACCES':
    case 'EPERM':
      return problem(
        'state_denied',
        `${path}: permission denied`,
        'Make it writable for you, or name another state folder with --state.',
      );
    case 'EROFS':
      return problem(
        'state_readonly',
        `${path} is on a read-only file system`,
        'Name another state folder with --state or METAWSM_STATE_DIR.',
      );
    case 'ENOSPC':
    case 'EDQUOT':
      return problem(
        'state_full',
        `no space left for ${path}`,
        'Free some space and run the same command again.',
      );
    case 'EIO':
      return problem('state_io', `${path} could not be read or written`, 'Look at the disk.');
    case 'ENOTDIR':
    case 'EEXIST':
    case 'ELOOP':
    case 'ENOENT':
    case 'ENAMETOOLONG':
      return problem(
        'state_path',
        `${path} cannot be a folder (${codeOf(error)})`,
        'Move away what is in its place, or name another state folder with --state.',
      );
    default:
      return error;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
