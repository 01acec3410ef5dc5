/** The session drivers, and what is the same for all of them. */
import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { SessionKind } from '../manifest/intent.js';
import type { ExitRecord } from '../plan/observed.js';
import { findProgram, type ProcessIdentity, probe, terminateTree } from '../tools/process.js';
import { readAttempt, voidAttempt } from './attempt.js';
import { awaitExit, wrapperOf } from './observe.js';
import { processDriver } from './process.js';
import type { SessionDriver, SessionRef } from './session.js';
import { tmuxDriver } from './tmux.js';

export interface DriverOptions {
  /** The compiled wrapper. Default: the one beside this module. */
  readonly wrapper?: string;
  /** Where tmux is found, and its TMUX_TMPDIR; not what the agent gets. Default: this process's. */
  readonly env?: NodeJS.ProcessEnv;
}

const drivers = { tmux: tmuxDriver, process: processDriver } satisfies Record<SessionKind, unknown>;

export function sessionDriver(kind: SessionKind, options: DriverOptions = {}): SessionDriver {
  return drivers[kind](options.wrapper ?? compiledWrapper(), options.env ?? process.env);
}

/** What `session: auto` means: tmux where it is installed and CI is not set. Looks, but starts nothing. */
export function autoSession(env: NodeJS.ProcessEnv): SessionKind {
  const ci = env.CI !== undefined && !['', '0', 'false'].includes(env.CI.toLowerCase());
  return !ci && findProgram('tmux', env) !== null ? 'tmux' : 'process';
}

/** An agent that works on another host can only be ended there. */
class AgentElsewhere extends Error {
  override readonly name = 'AgentElsewhere';
  readonly hint: string;

  constructor(host: string, attemptDir: string) {
    super(`the agent was started on host ${host}, this is ${hostname()} (${attemptDir})`);
    this.hint = `run the same command on ${host}`;
  }
}

export interface Stopped {
  /** How the agent ended, if it ever ran and its wrapper could still record it. */
  readonly exit: ExitRecord | null;
  /** Processes that even SIGKILL did not end. */
  readonly survivors: readonly number[];
}

/** How long a wrapper may take from its claim to the start of its agent, and from the end to the record. */
const WRAPPER_WAIT_MS = 2_000;

/**
 * Ends an attempt for good: the agent with all that it started (SIGTERM, after `graceMs` SIGKILL), then its
 * wrapper, which gets time to record the end, then the session. An attempt that never began is made void.
 * Can be repeated. Throws `AgentElsewhere` for an agent on another host, and `ToolFailure` when tmux fails.
 */
export async function stopAgent(
  ref: SessionRef,
  attemptDir: string,
  kind: SessionKind,
  graceMs: number,
  options: StopOptions = {},
): Promise<Stopped> {
  const { mark = [] } = options;
  const stopped =
    voidAttempt(attemptDir) === 'voided'
      ? { exit: null, survivors: await terminateTree(NOBODY, { graceMs, mark }) }
      : await endProcesses(attemptDir, graceMs, mark);
  await sessionDriver(kind, options).close(ref);
  return stopped;
}

export interface StopOptions extends DriverOptions {
  /** Entries of the environment by which the agent is known where its start was not recorded, or the record is gone. */
  readonly mark?: readonly string[];
}

/** The root of a tree that is known by its mark alone. */
const NOBODY: ProcessIdentity = { pid: 0, pidStart: '' };

async function endProcesses(attemptDir: string, graceMs: number, mark: readonly string[]): Promise<Stopped> {
  const wrapper = wrapperOf(await settledAttempt(attemptDir));
  const attempt = readAttempt(attemptDir);
  if (wrapper === null) return { exit: attempt.exit, survivors: [] };
  if (wrapper.host !== hostname() && attempt.exit === null) {
    throw new AgentElsewhere(wrapper.host, attemptDir);
  }
  if (wrapper.host !== hostname()) return { exit: attempt.exit, survivors: [] };

  const agent: ProcessIdentity = attempt.started ?? wrapper;
  const survivors = await terminateTree(agent, {
    graceMs,
    // In a pane the agent shares the wrapper's session, otherwise it has its own.
    sessions: [wrapper],
    mark: attempt.mark.length > 0 ? attempt.mark : mark,
    // It is the one that records the end.
    spare: [wrapper.pid],
  });
  const exit = await awaitExit(attemptDir, wrapper, WRAPPER_WAIT_MS);
  survivors.push(...(await terminateTree(wrapper, { graceMs: exit === null ? 0 : WRAPPER_WAIT_MS })));
  return { exit: exit ?? readAttempt(attemptDir).exit, survivors };
}

/** A wrapper that has just claimed its attempt is about to start the agent: what it starts must be known. */
async function settledAttempt(attemptDir: string) {
  const end = performance.now() + WRAPPER_WAIT_MS;
  for (;;) {
    const attempt = readAttempt(attemptDir);
    const wrapper = wrapperOf(attempt);
    if (attempt.started !== null || attempt.exit !== null || wrapper === null) return attempt;
    if (probe(wrapper) !== 'alive' || performance.now() >= end) return attempt;
    await delay(5);
  }
}

function compiledWrapper(): string {
  const beside = fileURLToPath(new URL('../sessions/wrapper.js', import.meta.url));
  if (existsSync(beside)) return beside;
  // Run from the sources, as tests do: the wrapper is a program of its own and needs the build.
  return fileURLToPath(new URL('../../dist/sessions/wrapper.js', import.meta.url));
}
