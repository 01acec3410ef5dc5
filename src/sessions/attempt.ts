/** The folder of one attempt as metawsm sees it: prepared, made void, read. */
import { closeSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { SessionKind } from '../manifest/intent.js';
import type { ExitRecord, StartRecord } from '../plan/observed.js';
import type { ProcessIdentity } from '../tools/process.js';
import { removeLeftovers } from '../tools/temporary.js';
import {
  AttemptRefused,
  CLAIM_FILE,
  claimAttempt,
  EXIT_FILE,
  LAUNCH_FILE,
  type LaunchRecord,
  LOG_FILE,
  openLog,
  readRecord,
  removeFile,
  STARTED_FILE,
  writeRecord,
} from './records.js';
import type { Launch } from './session.js';

export interface Attempt {
  readonly claim: 'wrapper' | 'void' | 'none';
  /** The process that made the claim; null without a claim, or where it cannot be read. */
  readonly claimIdentity: Required<ProcessIdentity> | null;
  readonly started: StartRecord | null;
  /** `NAME=value` entries that are in the environment of the agent and of whatever it started. */
  readonly mark: readonly string[];
  readonly exit: ExitRecord | null;
  /** `mtime` in milliseconds since the epoch. */
  readonly log: { readonly size: number; readonly mtime: number } | null;
}

/** Where the output of an attempt is, with both drivers. */
export function logFileOf(attemptDir: string): string {
  return join(attemptDir, LOG_FILE);
}

/**
 * Writes what the wrapper is to run, readable by the operator alone. Throws when the attempt was claimed
 * already: it has run, or never will.
 */
export function prepareAttempt(launch: Launch, kind: SessionKind): void {
  const { attemptDir } = launch;
  mkdirSync(attemptDir, { recursive: true, mode: 0o700 });
  const { claim } = readAttempt(attemptDir);
  if (claim !== 'none') {
    throw new AttemptRefused(
      `attempt ${launch.attempt} of agent ${launch.agent} cannot be started: ${
        claim === 'void' ? 'it was given up' : 'it was started already'
      } (${attemptDir})`,
    );
  }
  const record: LaunchRecord = {
    argv: launch.argv,
    cwd: launch.cwd,
    env: launch.env,
    declared: launch.declared,
    session: kind,
    logFile: logFileOf(attemptDir),
    umask: process.umask(),
  };
  // The log exists from the start, so that its mode does not depend on who writes first.
  closeSync(openLog(record.logFile));
  // Replaces what a start that was cut short left; whichever wrapper comes first runs it, once.
  writeRecord(attemptDir, LAUNCH_FILE, record, false);
}

/**
 * Takes the attempt itself, so that no wrapper, however late, can run it. `already-claimed`: a wrapper was
 * first. Can be repeated.
 */
export function voidAttempt(attemptDir: string): 'voided' | 'already-claimed' {
  mkdirSync(attemptDir, { recursive: true, mode: 0o700 });
  // What an earlier call did not live to remove; a half-written launch record holds the agent's environment.
  removeLeftovers(attemptDir);
  if (readAttempt(attemptDir).claim === 'wrapper') return 'already-claimed';
  if (claimAttempt(attemptDir, 'void') === 'taken' && readAttempt(attemptDir).claim !== 'void') {
    return 'already-claimed';
  }
  removeFile(join(attemptDir, LAUNCH_FILE));
  return 'voided';
}

/** What the folder says now. Missing, damaged and oversized files read as null. */
export function readAttempt(attemptDir: string): Attempt {
  const started = readRecord(attemptDir, STARTED_FILE);
  const claim = readRecord(attemptDir, CLAIM_FILE);
  const claimed = claim !== null || sizeAndTime(join(attemptDir, CLAIM_FILE)) !== null;
  return {
    // A claim that cannot be read is somebody's, all the same.
    claim: !claimed ? 'none' : claim?.by === 'void' ? 'void' : 'wrapper',
    claimIdentity: asIdentity(claim),
    started: asStart(started),
    mark: Array.isArray(started?.mark) ? started.mark.filter((entry) => typeof entry === 'string') : [],
    exit: readExit(attemptDir),
    log: sizeAndTime(logFileOf(attemptDir)),
  };
}

/** How the attempt ended; null: it has not, or nobody recorded it. */
export function readExit(attemptDir: string): ExitRecord | null {
  const record = readRecord(attemptDir, EXIT_FILE);
  if (record === null || typeof record.startedAt !== 'number' || typeof record.endedAt !== 'number')
    return null;
  return {
    exitCode: typeof record.exitCode === 'number' ? record.exitCode : null,
    signal: typeof record.signal === 'string' ? record.signal : null,
    startedAt: record.startedAt,
    endedAt: record.endedAt,
    error: typeof record.error === 'string' ? record.error : null,
  };
}

function asIdentity(record: Record<string, unknown> | null): Required<ProcessIdentity> | null {
  if (record === null) return null;
  const { pid, pidStart, host, bootId } = record;
  if (typeof pid !== 'number' || typeof pidStart !== 'string') return null;
  if (typeof host !== 'string' || typeof bootId !== 'string') return null;
  return { pid, pidStart, host, bootId };
}

function asStart(record: Record<string, unknown> | null): StartRecord | null {
  const identity = asIdentity(record);
  if (record === null || identity === null) return null;
  const { wrapperPid, wrapperPidStart, startedAt } = record;
  if (typeof wrapperPid !== 'number' || typeof wrapperPidStart !== 'string') return null;
  if (typeof startedAt !== 'number') return null;
  return { ...identity, wrapperPid, wrapperPidStart, startedAt };
}

function sizeAndTime(file: string): { size: number; mtime: number } | null {
  const stats = statSync(file, { throwIfNoEntry: false });
  return stats === undefined ? null : { size: stats.size, mtime: Math.trunc(stats.mtimeMs) };
}
