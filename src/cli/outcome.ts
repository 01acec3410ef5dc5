/** What a finished request means for the exit code, and how its failure is told. */

import { masked, secretsOf } from '../execute/agent-env.js';
import type { Converged } from '../execute/converge.js';
import { lookAt } from '../execute/look.js';
import { attemptFolder } from '../execute/paths.js';
import type { Waited } from '../execute/wait.js';
import { StepFailed, StepRefused, type World } from '../execute/world.js';
import type { Outcome } from '../plan/outcome.js';
import type { Plan } from '../plan/plan.js';
import type { RecordedRun } from '../plan/recorded.js';
import type { Reporter, RunSummary } from '../report/events.js';
import { logFileOf } from '../sessions/attempt.js';
import { tailLines } from '../tools/files.js';
import { CommandError, toCommandError } from './errors.js';
import { EXIT } from './exit-codes.js';

/** How one run ended in this command. */
export interface Ended {
  readonly run: RecordedRun | null;
  readonly outcome: Outcome | null;
  readonly exitCode: number;
  readonly changed: boolean;
  readonly error: RunSummary['error'];
  /** What to do about the error, a line each. */
  readonly hints: readonly string[];
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
      return { ...base, exitCode: EXIT.refused, changed: false, error, hints };
    }
    case 'impossible': {
      const { problems } = result.plan;
      // Each with its own way out: several at once are the rule here.
      const list = problems.map((problem) => `${problem.message}\n    ${problem.hint}`);
      const [only = ''] = list;
      const count = `${problems.length} problems, nothing was done:`;
      const message = problems.length === 1 ? only : [count, ...list.map((line) => `  ${line}`)].join('\n');
      const error = { code: problems[0]?.code ?? 'impossible', stepId: null, message, logTail: [] };
      return { ...base, exitCode: EXIT.failed, changed: false, error };
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

/** Translate the result of waiting. */
export async function endOfWait(waited: Waited, world: World): Promise<Ended> {
  if (waited.kind === 'converged') {
    const end = await endOf(waited.result, world);
    // The wait that used the budget up has failed; only a later apply is refused.
    const spent = end.error?.code === 'restart_budget_used';
    return spent ? { ...end, exitCode: EXIT.failed, changed: true } : end;
  }
  const { run, outcome } = waited;
  const base = { run, outcome, changed: false, error: null, hints: [] };
  if (waited.kind === 'timeout') {
    const message = `the time is up and run ${run.id} is ${run.state}; its agents go on`;
    return {
      ...base,
      exitCode: EXIT.timedOut,
      error: { code: 'timeout', stepId: null, message, logTail: [] },
    };
  }
  const stopped = (message: string, exitCode: number): Ended => ({
    ...base,
    exitCode,
    error: { code: run.reason ?? run.state, stepId: null, message, logTail: [] },
  });
  switch (run.state) {
    case 'completed':
      warnOfUncheckedCriteria(run, world);
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

/** Completion is a claim: as long as nothing checks the commands, say so. */
function warnOfUncheckedCriteria(run: RecordedRun, world: World): void {
  const commands = run.intent.criteria.filter((criterion) => criterion.kind === 'command').length;
  if (commands === 0) return;
  world.reporter.emit({
    type: 'warning',
    runId: run.id,
    code: 'criteria_unverified',
    message: `${commands === 1 ? 'one command criterion is' : `${commands} command criteria are`} unverified: this version does not run them, check them before you merge`,
    file: null,
  });
}

async function lostLogTail(run: RecordedRun, outcome: Outcome, world: World): Promise<readonly string[]> {
  const lost = outcome.agents.find((agent) => agent.verdict === 'failed' || agent.verdict === 'dead');
  const agent = run.agents.find((a) => a.name === lost?.name);
  if (agent === undefined) return [];
  const log = logFileOf(attemptFolder(world.stateFolder, run.id, agent.name, agent.attempt));
  return (await tailLines(log, 10)).map((line) => masked(line, secretsOf(world.env, run)));
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
