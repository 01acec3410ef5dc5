/**
 * `node wrapper.js <attempt folder>`: runs one attempt of an agent and records how it went. It is the only
 * process that lives as long as the agent, so it imports little, keeps no promise waiting between the spawn
 * and its record, and outlives every signal but SIGKILL until the agent has ended.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  openSync,
  readSync,
  statSync,
  writeSync,
} from 'node:fs';
import { constants as osConstants } from 'node:os';
import { join } from 'node:path';
import type { ExitRecord, StartRecord } from '../plan/observed.js';
import { processStart, selfIdentity } from '../tools/process.js';
import {
  claimAttempt,
  codeOf,
  END_OF_LOG,
  EXIT_FILE,
  LAUNCH_FILE,
  type LaunchRecord,
  openLog,
  readRecord,
  removeFile,
  STARTED_FILE,
  writeRecord,
} from './records.js';

/** Entries by which a process of this attempt can be known later; none of them is a secret. */
const MARK = ['METAWSM_RUN_ID', 'METAWSM_AGENT', 'METAWSM_ATTEMPT'];
/** How long the agent may take to end by a signal of its own before the wrapper's is passed on. */
const FORWARD_AFTER_MS = 100;

interface End {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly error: string | null;
}

function run(attemptDir: string): void {
  let agent: ChildProcess | undefined;
  // Ctrl-C and its like at the pane are for the agent, which is in the same foreground group.
  for (const name of ['SIGINT', 'SIGQUIT', 'SIGTSTP', 'SIGUSR2'] as const) process.on(name, () => {});
  for (const name of ['SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      // In a pane the agent may have got the same signal, as part of the group: often it is gone by then.
      setTimeout(() => {
        if (agent?.exitCode === null && agent.signalCode === null) agent.kill(name);
      }, FORWARD_AFTER_MS);
    });
  }

  if (claimAttempt(attemptDir, 'wrapper') === 'taken') {
    say(1, '[metawsm] this attempt was already claimed, nothing is started\n');
    return;
  }
  const startedAt = Date.now();
  const launch = takeLaunch(attemptDir);
  if (launch === null) {
    const error = `cannot start the agent: ${join(attemptDir, LAUNCH_FILE)} is missing or damaged`;
    say(2, `[metawsm] ${error}\n`);
    record(attemptDir, { exitCode: 126, signal: null, error }, startedAt);
    process.exit(126);
  }
  // A pane's output reaches the log by tmux; a descriptor of the log itself does not depend on any reader.
  const log = launch.session === 'process' ? openLog(launch.logFile) : null;
  const finish = (end: End): never => {
    const text = describe(end);
    if (log === null) {
      // The record first: a pane that is held by Ctrl-S takes no text.
      record(attemptDir, end, startedAt);
      say(1, `\n${text}`);
    } else {
      say(log, endsOpen(launch.logFile) ? `\n${text}` : text);
      record(attemptDir, end, startedAt);
    }
    process.exit(end.exitCode ?? 128 + (osConstants.signals[end.signal ?? 'SIGKILL'] ?? 0));
  };

  process.umask(launch.umask);
  try {
    const [program = '', ...args] = launch.argv;
    agent = spawn(program, args, {
      cwd: launch.cwd,
      env: agentEnv(launch),
      // Without a terminal a session of its own, so that a signal to its group spares the wrapper.
      detached: log !== null,
      stdio: log === null ? 'inherit' : ['ignore', log, log],
    });
  } catch (error) {
    finish(spawnProblem(error, launch));
    return;
  }
  const child = agent;
  child.once('exit', (exitCode, signal) => finish({ exitCode, signal, error: null }));
  child.on('error', (error) => {
    if (child.pid === undefined) finish(spawnProblem(error, launch));
  });
  if (child.pid === undefined) return;

  try {
    recordStart(attemptDir, child.pid, startedAt, launch);
  } catch (error) {
    // An agent that nobody knows of could be started a second time.
    child.removeAllListeners('exit');
    process.kill(log === null ? child.pid : -child.pid, 'SIGKILL');
    finish({
      exitCode: 126,
      signal: null,
      error: `the agent was ended at once, its start could not be recorded: ${(error as Error).message}`,
    });
  }
}

function takeLaunch(attemptDir: string): LaunchRecord | null {
  const value = readRecord(attemptDir, LAUNCH_FILE);
  removeFile(join(attemptDir, LAUNCH_FILE));
  if (value === null || !Array.isArray(value.argv) || typeof value.logFile !== 'string') return null;
  return value as unknown as LaunchRecord;
}

function agentEnv(launch: LaunchRecord): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = { ...launch.env };
  const pane = launch.session === 'tmux' ? process.env : {};
  // The caller's own terminal is not where this agent runs.
  const terminal = ['TMUX', 'TMUX_PANE', ...(launch.session === 'tmux' ? ['TERM'] : [])];
  for (const name of terminal) if (!launch.declared.includes(name)) setOrDrop(env, name, pane[name]);
  return env;
}

function setOrDrop(env: NodeJS.ProcessEnv, name: string, value: string | undefined): void {
  if (value === undefined) delete env[name];
  else env[name] = value;
}

function recordStart(attemptDir: string, pid: number, startedAt: number, launch: LaunchRecord): void {
  const self = selfIdentity();
  const start: StartRecord = {
    pid,
    // Not reaped yet, even if it has ended already: its entry is still there.
    pidStart: processStart(pid) ?? '',
    wrapperPid: self.pid,
    wrapperPidStart: self.pidStart,
    bootId: self.bootId,
    host: self.host,
    startedAt,
  };
  const mark = MARK.flatMap((name) =>
    launch.env[name] === undefined ? [] : [`${name}=${launch.env[name]}`],
  );
  // Not flushed: every moment counts until it is there, and after a power cut the agent is gone anyway.
  writeRecord(attemptDir, STARTED_FILE, { ...start, mark }, false);
}

function record(attemptDir: string, end: End, startedAt: number): void {
  const exit: ExitRecord = { ...end, startedAt, endedAt: Date.now() };
  try {
    writeRecord(attemptDir, EXIT_FILE, exit, true);
  } catch (error) {
    // Without a record the agent counts as dead, which is the best that can be said now.
    say(2, `[metawsm] the end of the agent could not be recorded: ${(error as Error).message}\n`);
  }
}

/** The shell's numbers: 127 where there is no such program, 126 where it is there and cannot be run. */
function spawnProblem(error: unknown, launch: LaunchRecord): End {
  const program = JSON.stringify(launch.argv[0] ?? '');
  const code = codeOf(error);
  const folder = folderProblem(launch.cwd);
  const end = (exitCode: number, text: string): End => ({ exitCode, signal: null, error: text });
  if (folder !== null) return end(126, `cannot start the agent in ${launch.cwd}: ${folder}`);
  if (code === 'ENOENT') {
    const scriptOnly = launch.argv[0]?.includes('/') && existsFrom(launch);
    return end(
      127,
      `cannot start ${program}: ${scriptOnly ? 'its #! interpreter is missing' : 'no such program'}`,
    );
  }
  if (code === 'EACCES') return end(126, `cannot start ${program}: permission denied`);
  return end(126, `cannot start ${program}: ${error instanceof Error ? error.message : String(error)}`);
}

function folderProblem(folder: string): string | null {
  try {
    if (!statSync(folder).isDirectory()) return 'not a folder';
    accessSync(folder, constants.X_OK);
    return null;
  } catch (error) {
    return codeOf(error) === 'EACCES' ? 'permission denied' : 'no such folder';
  }
}

function existsFrom(launch: LaunchRecord): boolean {
  const program = launch.argv[0] ?? '';
  try {
    statSync(program.startsWith('/') ? program : join(launch.cwd, program));
    return true;
  } catch {
    return false;
  }
}

function describe(end: End): string {
  const why = end.error === null ? '' : `[metawsm] ${end.error}\n`;
  const how = end.signal === null ? `with status ${end.exitCode}` : `by signal ${end.signal}`;
  return `${why}${END_OF_LOG} ${how}\n`;
}

/** Whether a log ends within a line. */
function endsOpen(file: string): boolean {
  try {
    const descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const { size } = fstatSync(descriptor);
      const last = Buffer.alloc(1);
      return size > 0 && readSync(descriptor, last, 0, 1, size - 1) === 1 && last[0] !== 0x0a;
    } finally {
      closeSync(descriptor);
    }
  } catch {
    return false;
  }
}

/** Written directly: a pane that is gone or a full disk must not keep the wrapper from its work. */
function say(descriptor: number, text: string): void {
  try {
    writeSync(descriptor, text);
  } catch {}
}

const folder = process.argv[2];
if (folder === undefined) {
  say(2, 'usage: wrapper.js <attempt folder>\n');
  process.exitCode = 64;
} else {
  run(folder);
}
