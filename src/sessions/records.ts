/**
 * The files of one attempt, read and written whole. Metawsm and the wrapper share this; everything here is
 * synchronous, because the wrapper must not give way between starting the agent and recording it.
 */
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { SessionKind } from '../manifest/intent.js';
import { selfIdentity } from '../tools/process.js';
import { temporaryName } from '../tools/temporary.js';

export const CLAIM_FILE = 'claim';
export const LAUNCH_FILE = 'launch.json';
export const STARTED_FILE = 'started.json';
export const EXIT_FILE = 'exit.json';
export const LOG_FILE = 'agent.log';
export const WRAPPER_LOG_FILE = 'wrapper.log';

/** How the last line begins that the wrapper writes below what the agent printed. */
export const END_OF_LOG = '[metawsm] agent exited';

/** An attempt that cannot be started, because its folder is not as metawsm left it. */
export class AttemptRefused extends Error {
  override readonly name = 'AttemptRefused';
  readonly hint = 'look at what made that; metawsm restart takes the next attempt';
}

/** Who took an attempt: the one wrapper that runs it, or metawsm itself, so that it never runs. */
export interface Claim {
  readonly by: 'wrapper' | 'void';
  readonly pid: number;
  readonly pidStart: string;
  readonly host: string;
  readonly bootId: string;
  readonly at: number;
}

/** `launch.json`: what the wrapper is to run. It holds secrets, so the wrapper removes it as it reads it. */
export interface LaunchRecord {
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly declared: readonly string[];
  readonly session: SessionKind;
  readonly logFile: string;
  /** The operator's, for a tmux server keeps that of whoever started it. */
  readonly umask: number;
}

/** An environment is at most a few MiB, whatever the system's limit. */
const MAX_RECORD_BYTES = 16 * 1024 * 1024;

/**
 * Takes an attempt for this process, once and for all: of any number of callers one gets `claimed`. A reader
 * sees the claim whole or not at all.
 */
export function claimAttempt(attemptDir: string, by: Claim['by']): 'claimed' | 'taken' {
  const claim: Claim = { by, ...selfIdentity(), at: Date.now() };
  const text = `${JSON.stringify(claim)}\n`;
  const file = join(attemptDir, CLAIM_FILE);
  const temporary = temporaryName(file);
  writeNew(temporary, text, true);
  try {
    linkSync(temporary, file);
    return 'claimed';
  } catch (error) {
    const code = codeOf(error);
    if (code === 'EEXIST') return 'taken';
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'].includes(code)) throw error;
    // No hard links on this file system: still exclusive, only not whole at every moment.
    try {
      writeNew(file, text, true);
      return 'claimed';
    } catch (again) {
      if (codeOf(again) === 'EEXIST') return 'taken';
      throw again;
    }
  } finally {
    unlinkSync(temporary);
  }
}

/** Replaces a record in one step; mode 0600. `flush`: it is to survive a power cut, which takes milliseconds. */
export function writeRecord(attemptDir: string, name: string, value: object, flush: boolean): void {
  const file = join(attemptDir, name);
  const temporary = temporaryName(file);
  try {
    writeNew(temporary, `${JSON.stringify(value)}\n`, flush);
    renameSync(temporary, file);
  } catch (error) {
    removeFile(temporary);
    throw error;
  }
  if (flush) syncFolder(attemptDir);
}

/** The JSON object in a record, or null where there is none, or none that can be understood. */
export function readRecord(attemptDir: string, name: string): Record<string, unknown> | null {
  let descriptor: number;
  try {
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    descriptor = openSync(join(attemptDir, name), flags);
  } catch {
    return null;
  }
  try {
    const stats = fstatSync(descriptor);
    if (!stats.isFile() || stats.size > MAX_RECORD_BYTES) return null;
    const buffer = Buffer.alloc(stats.size);
    let length = 0;
    while (length < buffer.length) {
      const count = readSync(descriptor, buffer, length, buffer.length - length, null);
      if (count === 0) break;
      length += count;
    }
    const value: unknown = JSON.parse(buffer.toString('utf8', 0, length));
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null;
  } catch {
    return null;
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Opens a log for appending, 0600 where it is new. Throws where something else than a regular file lies there:
 * a FIFO would keep its opener waiting for ever, and a link would lead elsewhere.
 */
export function openLog(file: string): number {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  let descriptor: number;
  try {
    descriptor = openSync(file, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
  } catch (error) {
    // ENXIO: a FIFO that nobody reads, or a socket.
    if (!['ENXIO', 'ELOOP', 'EISDIR'].includes(codeOf(error))) throw error;
    throw new AttemptRefused(`${file} is in the way: it is no regular file`, { cause: error });
  }
  if (fstatSync(descriptor).isFile()) return descriptor;
  closeSync(descriptor);
  throw new AttemptRefused(`${file} is in the way: it is no regular file`);
}

/** Whether the file was there. */
export function removeFile(file: string): boolean {
  try {
    unlinkSync(file);
    return true;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw error;
  }
}

export function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? '';
}

function writeNew(file: string, text: string, flush: boolean): void {
  const descriptor = openSync(file, 'wx', 0o600);
  try {
    writeFileSync(descriptor, text);
    if (flush) fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Not every file system can flush a folder, and then there is nothing more to do. */
function syncFolder(folder: string): void {
  try {
    const descriptor = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  } catch {}
}
