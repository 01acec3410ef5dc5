/** How a run stands at the end of a command, for people, for programs and for a job's summary page. */
import { criteriaStates } from '../plan/evidence.js';
import type { Outcome } from '../plan/outcome.js';
import type { RecordedRun } from '../plan/recorded.js';
import type { Event, RunSummary } from '../report/events.js';
import type { CommandContext } from './context.js';
import { nextCommand } from './world.js';

export interface SummaryInput {
  readonly run: RecordedRun | null;
  readonly outcome: Outcome | null;
  readonly ticket: string;
  readonly manifest: string;
  readonly exitCode: number;
  readonly changed: boolean;
  readonly error: RunSummary['error'];
}

/** The summary of one run. */
export function summaryOf(ctx: CommandContext, input: SummaryInput): RunSummary {
  const { run } = input;
  const count = (state: string): number => run?.steps.filter((step) => step.state === state).length ?? 0;
  const criteria = input.outcome?.criteria ?? (run === null ? [] : criteriaStates(run, null));
  return {
    runId: run?.id ?? null,
    ticket: input.ticket,
    manifest: input.manifest,
    state: run?.state ?? null,
    reason: run?.reason ?? null,
    exitCode: input.exitCode,
    changed: input.changed,
    stepsDone: count('done'),
    stepsFailed: count('failed'),
    guidancePending: run?.guidance.filter((g) => g.state === 'pending' || g.state === 'answered').length ?? 0,
    criteriaPassed: criteria.filter((criterion) => criterion.state === 'passed').length,
    criteriaTotal: run?.intent.criteria.length ?? 0,
    // A closed run's workspace is gone.
    workspace: run === null || run.state === 'closed' ? null : run.workspace,
    next: run === null ? null : nextCommand(ctx, run, input.outcome),
    error: input.error,
  };
}

/** First line of a JSON stream. */
export function versionEvent(ctx: CommandContext): Event {
  return { type: 'version', formatVersion: 1, metawsm: ctx.version };
}
