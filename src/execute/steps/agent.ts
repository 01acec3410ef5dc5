/** Starting and ending agents: the attempt is recorded first, claimed by its wrapper, and watched past its grace. */
import { lstat, mkdir, readlink, symlink, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { SessionKind } from '../../manifest/intent.js';
import type { ExitRecord } from '../../plan/observed.js';
import type { RecordedAgent, RecordedRun } from '../../plan/recorded.js';
import type { StepOf } from '../../plan/steps.js';
import { assignSentinels, completionsOf } from '../../sentinels/assign.js';
import {
  appendFeedback,
  archiveClaims,
  FEEDBACK_FILE,
  readSentinels,
  setAside,
} from '../../sentinels/sentinels.js';
import { shellArgv } from '../../sessions/argv.js';
import { logFileOf, voidAttempt } from '../../sessions/attempt.js';
import { sessionDriver, stopAgent } from '../../sessions/index.js';
import { type AttemptView, observeAttempt } from '../../sessions/observe.js';
import type { SessionRef } from '../../sessions/session.js';
import { ticketDriver } from '../../tickets/index.js';
import { firstUnrealFolder, MAX_DOCUMENT_BYTES, readRegular } from '../../tools/files.js';
import { agentEnv, agentMark, lastWords, secretsOf, writeShim } from '../agent-env.js';
import { sentinelFolders } from '../observe.js';
import { attemptFolder } from '../paths.js';
import { type StepContext, StepFailed, type StepHandler } from '../world.js';
import { restoreBrief } from './brief.js';

/** How long an agent may take to end after SIGTERM, before SIGKILL. */
const STOP_GRACE_MS = 5_000;
/** How long a wrapper may take to claim its attempt: a loaded machine starts a process slowly. */
const CLAIM_WAIT_MS = 30_000;
const TAIL = 10;

async function agentOf(ctx: StepContext, name: string): Promise<{ run: RecordedRun; agent: RecordedAgent }> {
  const run = await ctx.run();
  const agent = run.agents.find((a) => a.name === name);
  if (agent === undefined) throw new Error(`run ${run.id} has no agent ${name}`);
  return { run, agent };
}

function folderOf(ctx: StepContext, run: RecordedRun, agent: RecordedAgent, attempt: number): string {
  return attemptFolder(ctx.world.stateFolder, run.id, agent.name, attempt);
}

/** Where its newest attempt was started, which need not be where its next one is to run. */
function sessionOf(agent: RecordedAgent): SessionKind {
  return agent.tmuxSocket === null ? agent.session : 'tmux';
}

export const agentStart: StepHandler<'agent.start'> = {
  /** After a crash: did the recorded attempt begin? If not, it is made void, so that it never can. */
  async look(step, ctx) {
    if (ctx.planned.recordedState !== 'running' || step.replace) return false;
    const { run, agent } = await agentOf(ctx, step.agent);
    if (agent.attempt === 0 || agent.stoppedAttempt === agent.attempt) return false;
    if (step.budget !== 'none') return false;
    const folder = folderOf(ctx, run, agent, agent.attempt);
    if (voidAttempt(folder) === 'voided') return false;
    // It began, and what comes after that may not have been done.
    const driver = sessionDriver(agent.session, { env: ctx.world.env });
    await recordSession(ctx, agent, folder, await driver.find(agent.sessionName));
    await awaitStart(step, ctx, run, agent, folder);
    return true;
  },

  /** The number of the attempt, and what its start costs, before anything is started. */
  async begin(step, ctx) {
    const { agent } = await agentOf(ctx, step.agent);
    await ctx.world.store.updateAgent(ctx.runId, step.agent, {
      state: 'starting',
      health: 'none',
      healthReason: null,
      attempt: agent.attempt + 1,
      session: step.session,
      sessionName: step.sessionName,
      cwd: step.cwd,
      stoppedAttempt: step.replace ? agent.attempt : agent.stoppedAttempt,
      startsUsed: agent.startsUsed + (step.budget === 'counted' ? 1 : 0),
      freeStartFor: step.freeFor ?? agent.freeStartFor,
      pid: null,
      pidStart: null,
      bootId: null,
      host: null,
      exitCode: null,
      signal: null,
      startedAt: null,
      endedAt: null,
      lastOutputAt: null,
      lastProgressAt: null,
      progress: null,
      summary: null,
      completedAt: null,
    });
  },

  async do(step, ctx) {
    const { world } = ctx;
    const { run, agent } = await agentOf(ctx, step.agent);
    await endEarlierAttempts(ctx, run, agent);
    await setClaimsAside(ctx, run, agent);
    await restoreBrief(run, world.stateFolder, agent);
    await deliverFeedback(ctx, run, agent);
    await writeShim(world);

    const folder = folderOf(ctx, run, agent, agent.attempt);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const driver = sessionDriver(step.session, { env: world.env });
    const agentsEnv = agentEnv(world, run, agent, step.env, agent.attempt);
    const ref = await driver.start({
      agent: agent.name,
      attempt: agent.attempt,
      sessionName: step.sessionName,
      attemptDir: folder,
      argv: shellArgv(step.command, agentsEnv),
      cwd: step.cwd,
      env: agentsEnv,
      declared: Object.keys(step.env),
    });
    await recordSession(ctx, agent, folder, ref);
    await awaitStart(step, ctx, run, agent, folder);
  },
};

async function recordSession(
  ctx: StepContext,
  agent: RecordedAgent,
  folder: string,
  { tmuxSocket }: SessionRef,
): Promise<void> {
  const { workspace } = await ctx.run();
  await linkLog(workspace, agent.sentinelDir, logFileOf(folder));
  await ctx.world.store.updateAgent(ctx.runId, agent.name, { tmuxSocket });
}

/** What the agent claimed before, wherever it left that: the next attempt has to claim it anew. */
async function setClaimsAside(ctx: StepContext, run: RecordedRun, agent: RecordedAgent): Promise<void> {
  const at = ctx.world.now();
  await archiveClaims(run.workspace, agent.sentinelDir, at);
  const found = await readSentinels(run.workspace, sentinelFolders(run), { retryMs: 0 });
  for (const { file } of completionsOf(run, agent.name, found)) await setAside(run.workspace, file, at);
}

/** What waits to be said to the agent, into its folder and into the ticket. Done again after a crash, it is there once. */
async function deliverFeedback(ctx: StepContext, run: RecordedRun, agent: RecordedAgent): Promise<void> {
  const { feedback } = agent;
  if (feedback === null) return;
  const { store, now } = ctx.world;
  const mark = `<!-- feedback ${feedback.mark} -->`;
  const file = await readRegular(join(agent.sentinelDir, FEEDBACK_FILE), MAX_DOCUMENT_BYTES);
  if (file.kind !== 'file' || !file.bytes.toString('utf8').includes(mark)) {
    await appendFeedback(run.workspace, agent.sentinelDir, `${feedback.text}\n\n${mark}`, now());
  }
  // By its mark, not by the attempt: one that a crash cut off is followed by another with the same feedback.
  await tellTicket(ctx, run, `Feedback to ${agent.name} (${feedback.mark}): ${feedback.text}`);
  await store.updateAgent(run.id, agent.name, { feedback: null });
}

/** The ticket is told, too; one that cannot be written is no reason not to start the agent. */
async function tellTicket(ctx: StepContext, run: RecordedRun, entry: string): Promise<void> {
  const { driver } = run.intent.tickets;
  if (driver === 'none' || run.ticketRoot === null) return;
  try {
    const tickets = ticketDriver(driver, run.ticketRoot, ctx.world.env);
    await tickets.addChangelog(run.ticketId, entry, new Date(ctx.world.now()));
  } catch (error) {
    const message = `the feedback could not be added to the ticket's changelog: ${(error as Error).message}`;
    ctx.world.reporter.emit({ type: 'warning', runId: run.id, code: 'ticket_not_told', message, file: null });
  }
}

/** No two attempts of an agent at once, whatever an interrupted start or restart left. */
async function endEarlierAttempts(ctx: StepContext, run: RecordedRun, agent: RecordedAgent): Promise<void> {
  for (let attempt = agent.attempt - 1; attempt > 0; attempt--) {
    const folder = folderOf(ctx, run, agent, attempt);
    const view = await observeAttempt(folder);
    if (view.claim === 'void') continue;
    if (view.exit === null && view.process !== null && view.process !== 'dead')
      ctx.output('ending the attempt before');
    await stopAgent(agent, folder, sessionOf(agent), STOP_GRACE_MS, {
      env: ctx.world.env,
      mark: agentMark(run, agent, attempt),
    });
    return;
  }
}

/**
 * Until the start counts: the agent lived past its grace, exited 0, or wrote a valid sentinel.
 * Throws `StepFailed` with the end of its output when it failed before.
 */
async function awaitStart(
  step: StepOf<'agent.start'>,
  ctx: StepContext,
  run: RecordedRun,
  agent: RecordedAgent,
  folder: string,
): Promise<void> {
  const { world } = ctx;
  const begun = performance.now();
  const ending = () => lastWords(folder, TAIL, secretsOf(world.env, run));
  /** When it was first seen to live: by a clock that nobody sets back. */
  let seenAt: number | null = null;
  // Grows slowly: most agents begin within some 50 ms, and this is what apply waits for.
  for (let wait = 5; ; wait = Math.min(wait * 1.2, 100)) {
    const view = await observeAttempt(folder);
    await recordView(ctx, agent, view);
    if (seenAt === null && view.started !== null && view.exit === null) {
      seenAt = performance.now();
      const { id: runId } = run;
      world.reporter.emit({ type: 'agent', runId, name: agent.name, state: 'running', exitCode: null });
    }
    if (view.exit !== null) {
      // One that outlived its grace or signalled was started, however it ended then and late as this look is.
      const { exitCode, startedAt, endedAt, error } = view.exit;
      const outlived = error === null && endedAt - startedAt >= step.startGraceMs;
      if (exitCode === 0 || outlived || (await hasSpoken(run, agent, startedAt))) return;
      const how =
        view.exit.error ??
        (view.exit.signal === null
          ? `exited with status ${view.exit.exitCode}`
          : `was ended by ${view.exit.signal}`);
      throw new StepFailed(
        `agent ${agent.name} ${how} within its start grace of ${step.startGraceMs} ms`,
        `its output is in ${logFileOf(folder)}`,
        await ending(),
        true,
      );
    }
    if (
      view.started !== null &&
      view.process !== 'dead' &&
      (world.now() - view.started.startedAt >= step.startGraceMs ||
        (seenAt !== null && performance.now() - seenAt >= step.startGraceMs))
    )
      return;
    if (view.started !== null && (await hasSpoken(run, agent, view.started.startedAt))) return;
    if (view.wrapper === 'dead' && (view.process === null || view.process === 'dead')) {
      throw new StepFailed(
        `agent ${agent.name} died at its start and left no exit record (killed?)`,
        `its output is in ${logFileOf(folder)}`,
        await ending(),
        true,
      );
    }
    if (
      view.claim === 'none' &&
      performance.now() - begun > CLAIM_WAIT_MS &&
      voidAttempt(folder) === 'voided'
    ) {
      throw new StepFailed(
        `the session of agent ${agent.name} did not begin within ${CLAIM_WAIT_MS / 1000} s`,
        `look at ${join(folder, 'wrapper.log')}`,
        [],
        true,
      );
    }
    await delay(wait, undefined, { signal: world.signal });
  }
}

async function recordView(ctx: StepContext, agent: RecordedAgent, view: AttemptView): Promise<void> {
  if (view.started === null) return;
  const { pid, pidStart, bootId, host, startedAt } = view.started;
  await ctx.world.store.updateAgent(ctx.runId, agent.name, {
    ...(view.exit === null ? { state: 'running' } : {}),
    pid,
    pidStart,
    bootId,
    host,
    startedAt,
    exitCode: view.exit?.exitCode ?? null,
    signal: view.exit?.signal ?? null,
    endedAt: view.exit?.endedAt ?? null,
  });
}

/** A valid question, completion or validation of this attempt is a sign of life. */
async function hasSpoken(run: RecordedRun, agent: RecordedAgent, startedAt: number): Promise<boolean> {
  const assigned = assignSentinels(
    run,
    await readSentinels(run.workspace, sentinelFolders(run), { retryMs: 0 }),
  );
  const own = assigned.byAgent.get(agent.name);
  if (own === undefined) return false;
  if (own.has('implementation-complete')) return true;
  // One that an attempt before asked is pending still.
  const question = own.get('guidance-request');
  if (question !== undefined && !run.guidance.some(({ digest }) => digest === question.digest)) return true;
  // One that lay elsewhere before was not set aside: what it says about a commit goes on to count.
  const validation = own.get('validation-result');
  return validation !== undefined && validation.mtime >= startedAt;
}

/** `agent.log` beside the sentinels leads to the log that the record keeps. */
async function linkLog(workspace: string, sentinelDir: string, log: string): Promise<void> {
  if ((await firstUnrealFolder(workspace, sentinelDir)) !== null) return;
  const link = join(sentinelDir, 'agent.log');
  const there = await lstat(link).catch(() => null);
  if (there?.isSymbolicLink() && (await readlink(link).catch(() => '')) === log) return;
  // Something else under this name is the agent's own: it stays.
  if (there !== null && !there.isSymbolicLink()) return;
  if (there !== null) await unlink(link).catch(() => undefined);
  await symlink(log, link).catch(() => undefined);
}

export const agentStop: StepHandler<'agent.stop'> = {
  async look() {
    return false;
  },
  /** Recorded before the first signal: how the agent ends from now on is metawsm's doing, no failure. */
  async begin(step, ctx) {
    const { run, agent } = await agentOf(ctx, step.agent);
    // A close that is refused after all must find the claim that it began with.
    if (run.state === 'closing' && agent.state === 'completed') return;
    if (await hasEnded(ctx, run, agent)) return;
    await ctx.world.store.updateAgent(ctx.runId, step.agent, { stoppedAttempt: agent.attempt });
  },
  async do(step, ctx) {
    const { run, agent } = await agentOf(ctx, step.agent);
    const stopped = agent.stoppedAttempt === agent.attempt;
    let ended: ExitRecord | null = null;
    if (agent.attempt > 0) {
      const folder = folderOf(ctx, run, agent, agent.attempt);
      const { survivors, exit } = await stopAgent(agent, folder, sessionOf(agent), STOP_GRACE_MS, {
        env: ctx.world.env,
        mark: agentMark(run, agent, agent.attempt),
      });
      if (survivors.length > 0) {
        throw new StepFailed(
          `agent ${agent.name} could not be ended: process ${survivors.join(', ')} is still there`,
          'end it by hand, then run the command again',
        );
      }
      ended = exit;
    }
    const wanted = run.intent.agents.some((a) => a.name === agent.name);
    await ctx.world.store.updateAgent(run.id, agent.name, {
      // One that had ended by itself is what it was.
      ...(stopped ? { state: 'stopped', health: 'none', healthReason: null } : {}),
      // Its session is closed, also one that was kept for reading.
      tmuxSocket: null,
      // How it ended, as a later look would find it.
      ...(ended === null ? {} : { exitCode: ended.exitCode, signal: ended.signal, endedAt: ended.endedAt }),
      ...(wanted ? {} : { removed: true }),
    });
  },
};

/** Whether nothing of the agent's newest attempt is left to be ended. */
async function hasEnded(ctx: StepContext, run: RecordedRun, agent: RecordedAgent): Promise<boolean> {
  if (agent.attempt === 0) return true;
  const view = await observeAttempt(folderOf(ctx, run, agent, agent.attempt));
  if (view.exit !== null) return true;
  const gone = view.process === null || view.process === 'dead';
  return view.claim === 'wrapper' && view.wrapper === 'dead' && gone;
}
