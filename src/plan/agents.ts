/** Which agents a request starts, replaces or ends. Pure. */
import type { AgentIntent } from '../manifest/intent.js';
import { canonical, type ManifestChange } from './diff.js';
import { type DraftStep, stepKey } from './identity.js';
import type { RunState } from './lifecycle.js';
import type { Warning } from './observed.js';
import type { AgentOutcome } from './outcome.js';
import type { PlanInput } from './plan.js';
import type { RecordedAgent, RecordedRun, RecordedStep } from './recorded.js';
import type { Change, Refusal, StepOf } from './steps.js';

/** A step for each agent, and what else follows from how the agents are. */
export interface AgentDecisions {
  readonly steps: readonly DraftStep[];
  readonly refused: readonly Refusal[];
  readonly warnings: readonly Warning[];
  readonly drift: readonly Change[];
}

/** Decide for every agent of the run what the request means for it. */
export function decideAgents(
  input: PlanInput,
  changes: readonly ManifestChange[],
  state: RunState | null,
): AgentDecisions {
  const { run, recorded, outcome } = input;
  const steps: DraftStep[] = [];
  const refused: Refusal[] = [];
  const warnings: Warning[] = [];
  const drift: Change[] = [];
  const reopened = state === 'completed' && changes.some(reopens);

  for (const agent of run.agents) {
    const seen = outcome?.agents.find((a) => a.name === agent.name);
    const before = recorded?.agents.find((a) => a.name === agent.name);
    if (agent.removed) {
      if (before !== undefined && !before.removed) steps.push(endRemoved(agent, seen));
      continue;
    }
    const intent = run.intent.agents.find((a) => a.name === agent.name);
    if (intent === undefined) continue;
    const decision = decide(input, agent, intent, seen, reopened);
    if (decision.refusal !== undefined) refused.push(decision.refusal);
    if (decision.warning !== undefined) warnings.push(decision.warning);
    if (decision.drift) {
      drift.push({
        source: 'world',
        path: `agent/${agent.name}`,
        effect: 'in_place',
        before: 'running',
        after: seen?.patch.healthReason ?? seen?.verdict ?? null,
        stepIds: [`agent.start/${agent.name}`],
      });
    }
    steps.push(decision.step);
  }
  return { steps, refused, warnings, drift };
}

/** Changes that give a completed run new work to do. */
function reopens(change: ManifestChange): boolean {
  const added = change.before === null && change.after !== null;
  return added && (change.path === '/done_criteria' || /^\/repos\/[^/]+$/.test(change.path));
}

function endRemoved(agent: RecordedAgent, seen: AgentOutcome | undefined): DraftStep {
  return {
    step: { kind: 'agent.stop', agent: agent.name, sessionName: agent.sessionName },
    action: 'delete',
    reason: 'no longer in the manifest',
    needsYes: seen?.live ?? false,
  };
}

interface Decision {
  readonly step: DraftStep;
  readonly refusal?: Refusal;
  readonly warning?: Warning;
  readonly drift?: boolean;
}

function decide(
  input: PlanInput,
  agent: RecordedAgent,
  intent: AgentIntent,
  seen: AgentOutcome | undefined,
  reopened: boolean,
): Decision {
  const { run, recorded, request } = input;
  const verdict = seen?.verdict ?? 'not_started';
  const row = recorded?.steps.find((step) => step.id === `agent.start/${agent.name}`);
  const plain = startStep(run, agent, intent);
  const changed = row !== undefined && row.inputHash !== input.hash(canonical(stepKey(plain, run)));
  const none: Decision = { step: { step: plain, action: 'none', reason: '' } };
  const start = (
    action: 'create' | 'replace',
    reason: string,
    more: Partial<StepOf<'agent.start'>> = {},
    needsYes = false,
  ): Decision => ({
    step: { step: { ...plain, ...more }, action, reason, needsYes },
  });
  const live = seen?.live ?? false;

  if (request.kind === 'restart' || request.kind === 'iterate') {
    const named = request.agents === null || request.agents.includes(agent.name);
    const why = request.kind === 'restart' ? 'restart' : 'feedback';
    if (named) return start(agent.attempt === 0 ? 'create' : 'replace', why, { replace: live });
    // The others are left as they are; only what was never started is missing.
    if (verdict !== 'not_started' && verdict !== 'starting') return none;
  }
  // Stopped, and it lives: a stop was cut off between its record and the agent's end.
  const ended = !live || verdict === 'stopped';
  if (request.kind === 'resume' && ended && verdict !== 'completed' && verdict !== 'starting') {
    return start(
      agent.attempt === 0 ? 'create' : 'replace',
      agent.attempt === 0 ? 'first start' : `resume: ${wordFor(seen)}`,
      { replace: live },
    );
  }

  switch (verdict) {
    case 'not_started':
      if (agent.attempt === 0) return start('create', 'first start');
      return start(
        'create',
        seen === undefined ? 'it is back in the manifest' : 'its last start never happened',
      );
    case 'starting':
      // Recorded, not yet seen: the step itself looks whether the start happened.
      return row?.state === 'done' ? none : start('create', 'its start was interrupted');
    case 'alive':
    case 'asking':
    case 'unknown': {
      if (awaits(row) && live && !changed) {
        return start('replace', 'a restart was interrupted', { replace: true });
      }
      // One that ended with its question pending is left: the changed declaration holds from its next start on.
      if (changed && live) return start('replace', 'its declaration changed', { replace: true }, true);
      if ((row?.state === 'running' || row?.state === 'failed') && live)
        return start('create', 'its start was interrupted');
      if (verdict === 'unknown') {
        return {
          ...none,
          warning: {
            code: 'agent_unknown',
            message: `agent ${agent.name} could not be looked at; it is left as it is`,
            file: null,
          },
        };
      }
      return none;
    }
    case 'completed':
      if (reopened) return start('replace', 'the completed run has new work', { replace: live }, true);
      if (awaits(row)) return start('replace', 'a restart was interrupted', { replace: live });
      return row?.state === 'running' ? start('create', 'its start was interrupted') : none;
    case 'stopped':
      // Ended by metawsm: only a restart that was cut short starts it here.
      return awaits(row) ? start('create', 'a restart was interrupted', { replace: live }) : none;
    case 'answer_unread': {
      const guidance = seen?.unreadAnswer ?? null;
      const free = guidance !== null && agent.freeStartFor !== guidance.id;
      if (free)
        return start('replace', `answer to ${guidance.id} is unread`, {
          budget: 'free',
          freeFor: guidance.id,
        });
      return counted(input, agent, seen, changed, start);
    }
    case 'silent':
      return none;
    case 'failed':
    case 'dead':
      return counted(input, agent, seen, changed, start);
  }
}

/**
 * Whether a start was asked for and not begun. One that an interrupt cut short waits, too, but its attempt runs:
 * such an agent is left alone.
 */
function awaits(row: RecordedStep | undefined): boolean {
  return row?.state === 'pending' && (row.startedAt === null || row.endedAt !== null);
}

/** A start that costs one of the restart budget, or the refusal when it is used up. */
function counted(
  input: PlanInput,
  agent: RecordedAgent,
  seen: AgentOutcome | undefined,
  /** Its declaration is another one than it was last started with. */
  changed: boolean,
  start: (action: 'create' | 'replace', reason: string, more: Partial<StepOf<'agent.start'>>) => Decision,
): Decision {
  const { run } = input;
  const budget = run.intent.policy.restartBudget;
  const why = wordFor(seen);
  if (agent.startsUsed >= budget) {
    const step = start('replace', why, {});
    const restart = `metawsm restart ${run.selector} starts afresh with a new budget`;
    // A restart does not read the manifest: mended there, the agent would be started as it was before.
    const raise = `raise policy.restart_budget in the manifest: apply then starts the agent as it is declared now`;
    return {
      ...step,
      refusal: {
        code: 'restart_budget_used',
        message: `${seen?.patch.healthReason ?? `agent ${agent.name} ended`}, and its restart budget is used up (${agent.startsUsed} of ${budget})`,
        wayOut: `look at metawsm logs ${run.selector}, then ${changed ? raise : restart}`,
      },
    };
  }
  const decision = start('replace', `${why}; restart ${agent.startsUsed + 1} of ${budget}`, {
    budget: 'counted',
    notBefore: notBefore(seen?.endedAt ?? 0, agent.startsUsed, input.observed.now),
  });
  return { ...decision, drift: true };
}

/** When an agent may start again. An end in the future: the clock was set back, and nothing can be counted from it. */
function notBefore(endedAt: number, startsUsed: number, now: number): number {
  return endedAt > now ? 0 : endedAt + backoffMs(startsUsed);
}

/** How long to wait after an agent's end before its next counted start: 1 s, 2 s, 4 s … at most 1 min. */
function backoffMs(startsUsed: number): number {
  return Math.min(1000 * 2 ** Math.min(startsUsed, 10), 60_000);
}

function wordFor(seen: AgentOutcome | undefined): string {
  if (seen === undefined) return 'not started';
  return seen.patch.healthReason ?? `it is ${seen.patch.state}`;
}

function startStep(run: RecordedRun, agent: RecordedAgent, intent: AgentIntent): StepOf<'agent.start'> {
  return {
    kind: 'agent.start',
    agent: agent.name,
    command: intent.command,
    cwd: agent.cwd,
    env: intent.env,
    session: run.session,
    sessionName: agent.sessionName,
    sentinelDir: agent.sentinelDir,
    startGraceMs: run.intent.policy.startGraceMs,
    budget: 'none',
    freeFor: null,
    notBefore: 0,
    replace: false,
  };
}
