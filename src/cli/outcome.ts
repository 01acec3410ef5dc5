/** What a finished request means for the exit code, and how its failure is told. */

import { lastWords, secretsOf } from '../execute/agent-env.js';
import type { Converged } from '../execute/converge.js';
import { lookAt } from '../execute/look.js';
import { attemptFolder } from '../execute/paths.js';
import type { SeenThrough } from '../execute/see-through.js';
import type { Verified } from '../execute/verify.js';
import type { Waited } from '../execute/wait.js';
import { StepFailed, StepRefused, type World } from '../execute/world.js';
import type { Outcome } from '../plan/outcome.js';
import type { Plan } from '../plan/plan.js';
import type { RecordedRun } from '../plan/recorded.js';
import type { Reporter, RunSummary } from '../report/events.js';
import { CommandError, toCommandError } from './errors.js';
import { EXIT } from './exit-codes.js';
import type { Spelling } from './world.js';

/** How one run ended in this command. */
export interface Ended {
  readonly run: RecordedRun | null;
  readonly outcome: Outcome | null;
  readonly exitCode: number;
  readonly changed: boolean;
  readonly error: RunSummary['error'];
  /** What to do about the error, a line each. */
  readonly hints: readonly string[];
  /** Whether it is the manifest as it is now that apply may not follow: the same again would be refused again. */
  readonly refusedAsItIs?: boolean;
}

/** Translate the result of converging. */
export async function endOf(result: Converged, world: World): Promise<Ended> {
  const { run } = result;
  const known = result.kind === 'done' ? result.outcome : undefined;
  const outcome =
    run === null || run.state === 'closed'
      ? null
      : (known ??
        (await lookAt(run, { stateFolder: world.stateFolder, env: world.env, now: world.now })).outcome);
  const base = { run, outcome, error: null, hints: [] };
  switch (result.kind) {
    case 'nothing':
      return { ...base, exitCode: EXIT.done, changed: false };
    case 'done':
      return { ...base, exitCode: EXIT.done, changed: true };
    case 'refused': {
      const message = result.refusals.map((refusal) => refusal.message).join('\n');
      const [first] = result.refusals;
      const hints = [...new Set(result.refusals.map((refusal) => refusal.wayOut))];
      const error = { code: first?.code ?? 'refused', stepId: null, message, logTail: [] };
      const refusedAsItIs =
        result.plan !== null &&
        (first?.code === 'needs_yes' || result.plan.changes.some(({ effect }) => effect === 'refused'));
      return { ...base, exitCode: EXIT.refused, changed: false, error, hints, refusedAsItIs };
    }
    case 'impossible': {
      const { problems } = result.plan;
      const [first] = problems;
      const one = problems.length === 1;
      // Each with its own way out: several at once are the rule here.
      const list = problems.map((problem) => `  ${problem.message}\n    ${problem.hint}`);
      const all = [`${problems.length} problems, nothing was done:`, ...list].join('\n');
      const message = one ? (first?.message ?? '') : all;
      const hints = one && first !== undefined ? [first.hint] : [];
      const error = { code: first?.code ?? 'impossible', stepId: null, message, logTail: [] };
      return { ...base, exitCode: EXIT.failed, changed: false, error, hints };
    }
    case 'failed': {
      const { error, planned } = result.failure;
      const failed = error instanceof StepFailed || error instanceof StepRefused ? error : null;
      const shown = failed ?? toCommandError(error);
      return {
        ...base,
        exitCode: result.refused ? EXIT.refused : EXIT.failed,
        changed: true,
        error: {
          code: result.refused ? 'refused' : (result.run.reason ?? 'step_failed'),
          stepId: planned.id,
          message: shown.message,
          logTail: error instanceof StepFailed ? error.logTail : [],
        },
        hints: shown.hint === null ? [] : [shown.hint],
      };
    }
  }
}

/** Translate the result of seeing a run through. */
export async function endOfWait(seen: SeenThrough, world: World): Promise<Ended> {
  const { waited, verified, checked } = seen;
  if (verified !== null) {
    const end = endOfVerify(verified);
    return { ...end, changed: end.changed || checked };
  }
  const end = await endOfWaiting(waited, world);
  return { ...end, changed: end.changed || checked };
}

async function endOfWaiting(waited: Waited, world: World): Promise<Ended> {
  if (waited.kind === 'converged') {
    const end = await endOf(waited.result, world);
    // The wait that used the budget up has failed; only a later apply is refused.
    const spent = end.error?.code === 'restart_budget_used';
    return spent ? { ...end, exitCode: EXIT.failed, changed: true } : end;
  }
  const { run, outcome } = waited;
  const base = { run, outcome, changed: false, error: null, hints: [] };
  if (waited.kind === 'timeout') {
    const message = `the time is up and run ${run.id} is ${run.state}`;
    return {
      ...base,
      exitCode: EXIT.timedOut,
      error: { code: 'timeout', stepId: null, message, logTail: [] },
      hints: ['its agents go on'],
    };
  }
  const stopped = (message: string, exitCode: number): Ended => ({
    ...base,
    exitCode,
    error: { code: run.reason ?? run.state, stepId: null, message, logTail: [] },
  });
  switch (run.state) {
    case 'completed':
      return { ...base, exitCode: EXIT.done };
    case 'awaiting_guidance':
      return { ...base, exitCode: EXIT.guidance };
    case 'failed': {
      const end = stopped(run.detail ?? `run ${run.id} failed`, EXIT.failed);
      return end.error === null
        ? end
        : { ...end, error: { ...end.error, logTail: await lostLogTail(run, outcome, world) } };
    }
    case 'paused':
      return stopped(run.detail ?? `run ${run.id} is paused`, EXIT.refused);
    case 'closed':
      return run.outcome === 'delivered'
        ? { ...base, exitCode: EXIT.done }
        : stopped(`run ${run.id} was closed`, EXIT.refused);
    case 'running':
      return stopped(`an agent of run ${run.id} was stopped`, EXIT.refused);
    default:
      return stopped(`run ${run.id} is ${run.state}: someone stopped it`, EXIT.refused);
  }
}

/** Translate the result of checking the criteria. */
export function endOfVerify(verified: Verified): Ended {
  const { run, outcome } = verified;
  if (verified.kind === 'refused') {
    const { code, message, wayOut } = verified.refusal;
    const error = { code, stepId: null, message, logTail: [] };
    return { run, outcome, exitCode: EXIT.refused, changed: false, error, hints: [wayOut] };
  }
  const { open } = verified;
  const changed = verified.executed > 0;
  if (open.length === 0) return { run, outcome, exitCode: EXIT.done, changed, error: null, hints: [] };
  const logTail = open.flatMap((one) =>
    open.length === 1 || one.logTail.length === 0
      ? one.logTail
      : [`${one.criterion.id}:`, ...one.logTail.slice(-10)],
  );
  const usedUp = run.state === 'paused' && run.reason === 'fix_attempts';
  const message = open.map((one) => one.sentence).join('\n');
  const error = {
    code: usedUp ? 'fix_attempts' : 'criterion_failed',
    stepId: null,
    message: usedUp ? `the fix attempts are used up\n${message}` : message,
    logTail,
  };
  const failed = open.filter(({ criterion }) => criterion.state === 'failed');
  const logs = failed.flatMap(({ criterion }) => (criterion.log === null ? [] : [criterion.log]));
  const hints = logs.length === 0 ? [] : [`the whole output is in ${logs.join(', ')}`];
  if (failed.length < open.length)
    hints.push(`commit the work or move it away, then check again: metawsm verify ${run.selector}`);
  return { run, outcome, exitCode: EXIT.refused, changed, error, hints };
}

async function lostLogTail(run: RecordedRun, outcome: Outcome, world: World): Promise<readonly string[]> {
  const lost = outcome.agents.find((agent) => agent.verdict === 'failed' || agent.verdict === 'dead');
  const agent = run.agents.find((a) => a.name === lost?.name);
  if (agent === undefined) return [];
  const folder = attemptFolder(world.stateFolder, run.id, agent.name, agent.attempt);
  return lastWords(folder, 10, secretsOf(world.env, run));
}

/** An end with its commands as they are to be typed here. */
export function spelledEnd(end: Ended, spell: Spelling): Ended {
  const error = end.error === null ? null : { ...end.error, message: spell(end.error.message) };
  return { ...end, error, hints: end.hints.map(spell) };
}

/** A plan with its commands as they are to be typed here. */
export function spelledPlan(plan: Plan, spell: Spelling): Plan {
  return {
    ...plan,
    refused: plan.refused.map((refusal) => ({
      ...refusal,
      message: spell(refusal.message),
      wayOut: spell(refusal.wayOut),
    })),
    problems: plan.problems.map((problem) => ({ ...problem, hint: spell(problem.hint) })),
  };
}

/** Tell what made a run's part of the command fail. */
export function reportEnd(reporter: Reporter, end: Ended): void {
  if (end.error === null) return;
  reporter.emit({
    type: 'error',
    runId: end.run?.id ?? null,
    code: end.error.code,
    message: end.error.message,
    hint: end.hints.length === 0 ? null : end.hints.join('\n'),
    stepId: end.error.stepId,
    logTail: end.error.logTail,
  });
}

/** What makes plans impossible, all of it, as the failure of a command that only looks. */
export function impossible(plans: readonly Plan[]): CommandError {
  const problems = plans.flatMap((plan) =>
    plan.problems.map((problem) => ({ ...problem, file: plan.manifest })),
  );
  return new CommandError({
    exitCode: EXIT.failed,
    code: problems[0]?.code ?? 'impossible',
    message: `${problems.length} ${problems.length === 1 ? 'problem' : 'problems'} found before the first step`,
    problems,
  });
}
