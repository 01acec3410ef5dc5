/** The one command to type next, for a run in its state. Pure. */
import { criteriaStates } from './evidence.js';
import type { Outcome } from './outcome.js';
import type { RecordedRun } from './recorded.js';

/** A command to type, argument by argument. */
export interface Next {
  readonly argv: readonly string[];
  /** What it is for, in a few words. */
  readonly why: string;
}

/**
 * What an operator does next. `manifest` is the manifest's path as one would type it; null: it is gone, or apply would
 * continue another run. `busy`: another process holds it right now. The answer is null when nothing is left to do.
 */
export function nextFor(
  run: RecordedRun,
  outcome: Outcome | null,
  manifest: string | null,
  busy = false,
): Next | null {
  const name = run.selector;
  const next = (why: string, ...argv: string[]): Next => ({ argv: ['metawsm', ...argv], why });
  const apply = (why: string): Next =>
    manifest === null ? next(why, 'resume', name) : next(why, 'apply', manifest, '--wait');
  const state = outcome?.run?.state ?? run.state;
  const reason = outcome?.run == null ? run.reason : outcome.run.reason;
  // Whoever else would go on waits for that one, and then has nothing to do.
  if (busy && run.steps.some((step) => step.state === 'running')) {
    return next('another metawsm is at work on it', 'status', name, '--watch');
  }
  switch (state) {
    case 'created':
    case 'planning':
      return apply('go on where it stopped');
    case 'running': {
      const ended = outcome?.agents.some(
        (agent) => agent.verdict === 'answer_unread' || agent.verdict === 'not_started',
      );
      if (ended) return apply(manifest === null ? 'start the agent' : 'start the agent, and wait for it');
      return manifest === null
        ? next('watch it until the agent is done or asks', 'status', name, '--watch')
        : apply('wait until the agent is done or asks');
    }
    case 'awaiting_guidance': {
      const pending = run.guidance.find((g) => g.state === 'pending' || g.state === 'answered');
      const several = run.agents.filter((agent) => !agent.removed).length > 1 && pending !== undefined;
      const who = several ? ['--agent', pending.agent] : [];
      return next(`answer ${pending?.id ?? 'the question'}`, 'guide', name, ...who, '--answer', '…');
    }
    case 'paused':
      if (reason === 'interrupted') return apply('go on where it stopped');
      if (reason === 'fix_attempts')
        return next('tell the agent what to do about it', 'iterate', name, '--feedback', '…');
      return next('start the agent again', 'resume', name);
    case 'failed': {
      if (reason === 'step_failed') return apply('try the failed step again');
      const budget = run.intent.policy.restartBudget;
      const used = run.agents.some(
        (agent) => !agent.removed && agent.startsUsed >= budget && isLost(outcome, agent.name),
      );
      return used
        ? next('start afresh with a new budget', 'restart', name)
        : apply('start the agent again, within its budget');
    }
    case 'completed': {
      const open = (outcome?.criteria ?? criteriaStates(run, null)).filter(
        (criterion) => criterion.kind === 'command' && criterion.state !== 'passed',
      );
      if (open.some((criterion) => criterion.state === 'failed')) {
        const agents = run.agents.some((agent) => !agent.removed);
        return agents
          ? next('tell the agent what to do about the failed criterion', 'iterate', name, '--feedback', '…')
          : next('check the criteria again, once they are mended', 'verify', name);
      }
      if (open.length > 0) return next('check the criteria, with all work committed', 'verify', name);
      return next('review it, then deliver it: close first shows its gates', 'close', name, '--dry-run');
    }
    case 'stopping':
      return next('end what was begun', 'stop', name);
    case 'stopped':
      return next('go on', 'resume', name);
    case 'closing':
      return next('end what was begun', 'close', name);
    case 'closed':
      return null;
  }
}

function isLost(outcome: Outcome | null, name: string): boolean {
  const verdict = outcome?.agents.find((agent) => agent.name === name)?.verdict;
  return verdict === 'failed' || verdict === 'dead';
}
