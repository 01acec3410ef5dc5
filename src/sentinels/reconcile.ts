/**
 * What the world means for the record: a pure function of (recorded, observed, now). Whoever looks, and when,
 * the outcome is the same.
 */
import { attestations, criteriaStates, seenHeads } from '../plan/evidence.js';
import type { AgentState, Health, RunReason, RunState } from '../plan/lifecycle.js';
import type { Observed, ObservedAgent, Warning } from '../plan/observed.js';
import type { AgentOutcome, AgentVerdict, NewGuidance, Outcome } from '../plan/outcome.js';
import type { RecordedAgent, RecordedGuidance, RecordedRun } from '../plan/recorded.js';
import { assignSentinels, type OwnSentinel } from './assign.js';

/** Decide what `observed` means for `run`. */
export function reconcile(run: RecordedRun, observed: Observed): Outcome {
  const agents = run.agents.filter((agent) => !agent.removed);
  const assigned = assignSentinels(run, observed.sentinels);
  const warnings: Warning[] = [...observed.warnings, ...assigned.warnings];
  const newGuidance: NewGuidance[] = [];
  const withdrawn: string[] = [];
  const outcomes: AgentOutcome[] = [];

  for (const agent of agents) {
    const own = assigned.byAgent.get(agent.name) ?? new Map();
    const asked = questionOf(run, agent, own.get('guidance-request'), observed);
    newGuidance.push(...asked.fresh);
    withdrawn.push(...asked.withdrawn);
    const outcome = decideAgent(run, agent, observed, own, asked.pending);
    const exit = observed.agents[agent.name]?.exit ?? null;
    if (outcome.verdict === 'completed' && exit !== null && exit.exitCode !== 0) {
      warnings.push({
        code: 'exit_after_completion',
        message: `agent ${agent.name} signalled completion and then ${howItEnded(exit)}`,
        file: null,
      });
    }
    outcomes.push(outcome);
  }
  newGuidance.sort((a, b) => a.askedAt - b.askedAt);
  // Nobody is left to read an answer to what a removed agent asked.
  for (const { id, agent, state } of run.guidance) {
    if ((state === 'pending' || state === 'answered') && !agents.some((a) => a.name === agent))
      withdrawn.push(id);
  }

  const anyPending =
    newGuidance.length > 0 ||
    run.guidance.some((g) => (g.state === 'pending' || g.state === 'answered') && !withdrawn.includes(g.id));
  const heads = seenHeads(observed.repos);
  const statements = assigned.validations.map(({ by, found }) => ({
    by,
    status: found.value.status ?? '',
    done: found.value.done_criteria ?? [],
    heads: found.value.heads ?? null,
    source: `${found.digest} ${Math.trunc(found.mtime)}`,
    at: found.mtime,
  }));
  const attested = attestations(run, statements, heads, observed.now);
  return {
    run: decides(run) ? decideRun(run, outcomes, anyPending) : null,
    agents: outcomes,
    newGuidance,
    withdrawn,
    attested,
    criteria: criteriaStates({ ...run, evidence: [...run.evidence, ...attested] }, heads),
    warnings,
  };
}

/** Whether looking may change the run's state: an operator's or a step's word stands. */
function decides(run: RecordedRun): boolean {
  switch (run.state) {
    case 'running':
    case 'awaiting_guidance':
    case 'completed':
      return true;
    case 'failed':
      return run.reason === 'agent_failed' || run.reason === 'agent_dead' || run.reason === 'rebooted';
    case 'paused':
      return run.reason === 'exited_without_signal';
    default:
      return false;
  }
}

function decideRun(
  run: RecordedRun,
  agents: readonly AgentOutcome[],
  anyPending: boolean,
): { state: RunState; reason: RunReason | null; detail: string | null } {
  const lost = agents.find((agent) => agent.verdict === 'failed' || agent.verdict === 'dead');
  if (lost !== undefined) {
    const reason = lost.verdict === 'failed' ? 'agent_failed' : lost.rebooted ? 'rebooted' : 'agent_dead';
    return { state: 'failed', reason, detail: lost.patch.healthReason };
  }
  if (anyPending) return { state: 'awaiting_guidance', reason: null, detail: null };
  if (agents.length > 0 && agents.every((agent) => agent.verdict === 'completed')) {
    return { state: 'completed', reason: null, detail: null };
  }
  // Skipped: what a close that came to nothing left.
  const settled = run.steps.every((step) => step.state === 'done' || step.state === 'skipped');
  if (agents.length === 0 && run.steps.length > 0 && settled) {
    return { state: 'completed', reason: null, detail: null };
  }
  const silent = agents.find((agent) => agent.verdict === 'silent');
  if (silent !== undefined) {
    return { state: 'paused', reason: 'exited_without_signal', detail: silent.patch.healthReason };
  }
  return { state: 'running', reason: null, detail: null };
}

/** The pending question of an agent: known, new, or taken back. */
function questionOf(
  run: RecordedRun,
  agent: RecordedAgent,
  request: OwnSentinel | undefined,
  observed: Observed,
): { pending: boolean; fresh: NewGuidance[]; withdrawn: string[] } {
  const open = run.guidance.filter(
    (g) => g.agent === agent.name && (g.state === 'pending' || g.state === 'answered'),
  );
  if (request === undefined) {
    // A request that is there and cannot be read is being written anew: the question it held still stands.
    const unreadable = observed.sentinels.some(
      (s) =>
        s.kind === 'guidance-request' && s.content.kind === 'problem' && open.some((g) => g.file === s.file),
    );
    const gone = unreadable ? [] : open.filter((g) => g.state === 'pending').map((g) => g.id);
    return { pending: open.length > gone.length, fresh: [], withdrawn: gone };
  }
  const replaced = open.filter((g) => g.state === 'pending' && g.digest !== request.digest).map((g) => g.id);
  if (open.some((g) => g.digest === request.digest)) return { pending: true, fresh: [], withdrawn: replaced };
  return {
    pending: true,
    withdrawn: replaced,
    fresh: [
      {
        agent: agent.name,
        attempt: agent.attempt,
        requestId: request.value.request_id ?? null,
        question: request.value.question ?? '',
        context: request.value.context ?? null,
        digest: request.digest,
        file: request.file,
        askedAt: Math.min(request.mtime, observed.now),
      },
    ],
  };
}

/** The newest delivered answer that the agent has not removed and was not started after. */
function unreadAnswerOf(
  run: RecordedRun,
  agent: RecordedAgent,
  observed: Observed,
  response: OwnSentinel | undefined,
): RecordedGuidance | null {
  if (response === undefined) return null;
  const delivered = run.guidance.filter((g) => g.agent === agent.name && g.state === 'delivered');
  const id = response.value.guidance_id ?? null;
  const guidance = delivered.find((g) => g.id === id) ?? null;
  if (guidance === null || guidance.answeredAt === null) return null;
  // Asked from another folder it was answered there and in its own: with one of the two removed it is read.
  const asked = guidance.file.slice(0, guidance.file.lastIndexOf('/'));
  const lies = (dir: string) =>
    observed.sentinels.some(
      ({ kind, file, content }) =>
        kind === 'guidance-response' &&
        file === `${dir}/guidance-response.json` &&
        content.kind === 'valid' &&
        content.value.guidance_id === id,
    );
  if (!lies(asked) || !lies(agent.sentinelDir)) return null;
  const seen = observed.agents[agent.name];
  const startedAt = seen?.started?.startedAt ?? agent.startedAt ?? 0;
  return startedAt > guidance.answeredAt ? null : guidance;
}

function decideAgent(
  run: RecordedRun,
  agent: RecordedAgent,
  observed: Observed,
  own: ReadonlyMap<string, OwnSentinel>,
  pending: boolean,
): AgentOutcome {
  const seen = observed.agents[agent.name];
  const completion = own.get('implementation-complete');
  const unreadAnswer = unreadAnswerOf(run, agent, observed, own.get('guidance-response'));
  const completeOn = run.intent.agents.find((a) => a.name === agent.name)?.completeOn ?? 'signal';
  const startFailed = run.steps.some((s) => s.id === `agent.start/${agent.name}` && s.state === 'failed');
  // A run that is being closed, or is closed, has lost its workspace with what was claimed there.
  const keeps = run.state === 'closing' || run.state === 'closed';
  const { verdict, live } = judge(
    agent,
    seen,
    completion !== undefined || (keeps && agent.state === 'completed'),
    completeOn,
    pending,
    unreadAnswer !== null,
    startFailed,
  );

  const current = seen !== undefined && seen.attempt === agent.attempt ? seen : undefined;
  const exit = current?.exit ?? null;
  const startedAt = current?.started?.startedAt ?? exit?.startedAt ?? agent.startedAt;
  const lastOutputAt = current?.lastOutputAt ?? agent.lastOutputAt;
  const progressed = current !== undefined && current.progress !== agent.progress;
  // The first fingerprint of an attempt is a starting point, not progress made by being looked at.
  const lastProgressAt =
    agent.progress === null
      ? (agent.lastProgressAt ?? startedAt)
      : progressed
        ? observed.now
        : agent.lastProgressAt;
  const ended = verdict === 'dead' && agent.endedAt === null ? observed.now : agent.endedAt;
  const endedAt = exit?.endedAt ?? (live || verdict === 'starting' ? null : ended);
  const health = judgeHealth(
    run,
    agent,
    verdict,
    live,
    current,
    { startedAt, lastOutputAt, lastProgressAt },
    observed.now,
  );

  return {
    name: agent.name,
    verdict,
    live,
    unreadAnswer,
    rebooted: current?.rebooted ?? false,
    endedAt,
    patch: {
      state: stateOf(verdict, live, agent),
      health: health.health,
      healthReason: health.reason,
      pid: current?.started?.pid ?? agent.pid,
      exitCode: exit?.exitCode ?? null,
      signal: exit?.signal ?? null,
      startedAt,
      endedAt,
      lastOutputAt,
      lastProgressAt,
      progress: current === undefined ? agent.progress : current.progress,
      summary:
        completion === undefined
          ? verdict === 'completed'
            ? agent.summary
            : null
          : (completion.value.summary ?? null),
      completedAt:
        verdict === 'completed'
          ? (agent.completedAt ?? Math.min(completion?.mtime ?? endedAt ?? observed.now, observed.now))
          : null,
    },
  };
}

function judge(
  agent: RecordedAgent,
  seen: ObservedAgent | undefined,
  claimed: boolean,
  completeOn: 'signal' | 'exit',
  pending: boolean,
  answerUnread: boolean,
  startFailed: boolean,
): { verdict: AgentVerdict; live: boolean } {
  if (agent.attempt === 0) return { verdict: 'not_started', live: false };
  if (seen === undefined || seen.attempt !== agent.attempt) return { verdict: 'unknown', live: true };
  const exit = seen.exit;
  const live = exit === null && (seen.process === 'alive' || seen.process === 'unknown');
  if (agent.stoppedAttempt === agent.attempt) return { verdict: 'stopped', live };
  if (claimed) return { verdict: 'completed', live };
  if (exit !== null) {
    // Ended by a signal that was not metawsm's: killed or crashed, which is no verdict of the agent's own.
    if (exit.signal !== null) return { verdict: 'dead', live: false };
    if (exit.exitCode !== 0) return { verdict: 'failed', live: false };
    if (pending) return { verdict: 'asking', live: false };
    if (answerUnread) return { verdict: 'answer_unread', live: false };
    if (completeOn === 'exit') return { verdict: 'completed', live: false };
    return { verdict: 'silent', live: false };
  }
  if (seen.claim === 'none') return { verdict: seen.rebooted ? 'not_started' : 'starting', live: false };
  // Void: it can never run. Either nobody waited for it, or its start failed for that.
  if (seen.claim === 'void') return { verdict: startFailed ? 'dead' : 'not_started', live: false };
  if (seen.process === 'dead') {
    // The wrapper lives: the agent's end is about to be recorded.
    if (seen.wrapper === 'alive') return { verdict: pending ? 'asking' : 'alive', live: true };
    return { verdict: 'dead', live: false };
  }
  if (seen.process === null) {
    if (seen.wrapper === 'dead') return { verdict: 'dead', live: false };
    return { verdict: seen.wrapper === 'unknown' ? 'unknown' : 'starting', live: seen.wrapper === 'unknown' };
  }
  if (pending) return { verdict: 'asking', live };
  if (seen.process === 'unknown') return { verdict: 'unknown', live: true };
  return { verdict: 'alive', live: true };
}

function stateOf(verdict: AgentVerdict, live: boolean, agent: RecordedAgent): AgentState {
  switch (verdict) {
    case 'not_started':
      return agent.attempt === 0 ? 'pending' : 'starting';
    case 'starting':
      return 'starting';
    case 'alive':
      return 'running';
    case 'asking':
      return live ? 'running' : 'exited';
    case 'answer_unread':
    case 'silent':
      return 'exited';
    default:
      return verdict;
  }
}

function judgeHealth(
  run: RecordedRun,
  agent: RecordedAgent,
  verdict: AgentVerdict,
  live: boolean,
  seen: ObservedAgent | undefined,
  times: { startedAt: number | null; lastOutputAt: number | null; lastProgressAt: number | null },
  now: number,
): { health: Health; reason: string | null } {
  const exit = seen?.exit ?? null;
  switch (verdict) {
    case 'failed':
      return { health: 'failed', reason: `agent ${agent.name} ${howItEnded(exit)}` };
    case 'dead': {
      if (exit !== null) return { health: 'dead', reason: `agent ${agent.name} ${howItEnded(exit)}` };
      if (seen?.claim === 'void')
        return { health: 'dead', reason: `agent ${agent.name} was not started: its session did not begin` };
      const why = seen?.rebooted
        ? 'the machine was restarted'
        : 'its process is gone and left no exit record (killed?)';
      return { health: 'dead', reason: `agent ${agent.name} died: ${why}` };
    }
    case 'unknown':
      return { health: 'unknown', reason: 'its process could not be looked at' };
    case 'silent':
      return {
        health: 'none',
        reason: `agent ${agent.name} exited with status 0 without signalling completion`,
      };
    case 'asking':
    case 'alive':
      return live ? liveHealth(run, times, now) : { health: 'none', reason: null };
    default:
      return { health: 'none', reason: null };
  }
}

function liveHealth(
  run: RecordedRun,
  times: { startedAt: number | null; lastOutputAt: number | null; lastProgressAt: number | null },
  now: number,
): { health: Health; reason: string | null } {
  const limits = run.intent.policy.health;
  const quiet = now - Math.max(times.lastOutputAt ?? 0, times.startedAt ?? 0);
  const still = now - Math.max(times.lastProgressAt ?? 0, times.startedAt ?? 0);
  if (quiet >= limits.activityStalledMs)
    return { health: 'stalled', reason: `no output for ${inWords(quiet)}` };
  if (still >= limits.progressStalledMs)
    return { health: 'stalled', reason: `no progress for ${inWords(still)}` };
  if (quiet >= limits.idleMs) return { health: 'idle', reason: `no output for ${inWords(quiet)}` };
  return { health: 'healthy', reason: null };
}

function howItEnded(exit: ObservedAgent['exit']): string {
  if (exit === null) return 'ended';
  if (exit.error !== null) return `could not be started: ${exit.error}`;
  if (exit.signal !== null) return `was ended by ${exit.signal}`;
  return `exited with status ${exit.exitCode}`;
}

function inWords(ms: number): string {
  const minutes = Math.floor(ms / 60_000);
  return minutes >= 120
    ? `${Math.floor(minutes / 60)} h`
    : minutes >= 1
      ? `${minutes} min`
      : `${Math.floor(ms / 1000)} s`;
}
