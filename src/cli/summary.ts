/** How a run stands at the end of a command, for people, for programs and for a job's summary page. */

import type { World } from '../execute/world.js';
import { criteriaStates } from '../plan/evidence.js';
import type { Outcome } from '../plan/outcome.js';
import type { RecordedRun } from '../plan/recorded.js';
import type { Event, Reporter, RunSummary } from '../report/events.js';
import type { CommandContext } from './context.js';
import { CommandError, interruptedBy, renderError, toCommandError } from './errors.js';
import { nextCommand } from './world.js';

export interface SummaryInput {
  /** Where the run is recorded; null: that could not be opened. */
  readonly world: Pick<World, 'store' | 'stateFolder'> | null;
  readonly run: RecordedRun | null;
  readonly outcome: Outcome | null;
  readonly ticket: string;
  readonly manifest: string;
  readonly exitCode: number;
  readonly changed: boolean;
  readonly error: RunSummary['error'];
}

/** The summary of one run. */
export async function summaryOf(ctx: CommandContext, input: SummaryInput): Promise<RunSummary> {
  const { run, world } = input;
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
    next: run === null || world === null ? null : await nextCommand(ctx, run, input.outcome, world),
    error: input.error,
  };
}

/** Passes events on, and notes of which runs something was executed: what is thrown later does not tell. */
export interface NotingReporter extends Reporter {
  readonly executed: ReadonlySet<string>;
}

export function noting(reporter: Reporter): NotingReporter {
  const executed = new Set<string>();
  return {
    executed,
    emit(event) {
      if (event.type === 'step') executed.add(event.runId);
      reporter.emit(event);
    },
  };
}

/**
 * What was thrown once a stream had begun, such as that another process holds the run. With `--json` the stream ends as
 * every other; to a person `main` shows it.
 */
export async function endStream(
  ctx: CommandContext,
  reporter: NotingReporter,
  thrown: unknown,
  at: { readonly run: RecordedRun; readonly world: SummaryInput['world'] & {}; readonly begun: number },
): Promise<number> {
  // A command line that is wrong is found out before the first line.
  if (!ctx.json || thrown instanceof CommandError) throw thrown;
  const interrupted = interruptedBy(ctx.signal) !== null;
  const error = toCommandError(interrupted ? ctx.signal.reason : thrown);
  if (ctx.verbose) ctx.stderr(renderError(error, { verbose: true, color: ctx.colorStderr }));
  const { exitCode, code, message, hint } = error;
  const run = await at.world.store.loadRun(at.run.id).catch(() => null);
  reporter.emit({ type: 'error', runId: at.run.id, code, message, hint, stepId: null, logTail: [] });
  const summary = await summaryOf(ctx, {
    world: run === null ? null : at.world,
    run: run ?? at.run,
    outcome: null,
    ticket: at.run.ticketId,
    manifest: at.run.intent.manifestPath,
    exitCode,
    changed: reporter.executed.has(at.run.id),
    error: { code, stepId: null, message, logTail: [] },
  });
  reporter.emit({ type: 'summary', exitCode, durationMs: ctx.now() - at.begun, runs: [summary] });
  return exitCode;
}

/** First line of a JSON stream. */
export function versionEvent(ctx: CommandContext): Event {
  return { type: 'version', formatVersion: 1, metawsm: ctx.version };
}
