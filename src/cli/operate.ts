/** What stop, restart, resume and cleanup share: the run is selected, something is done to it, its end is told. */
import type { Converged } from '../execute/converge.js';
import type { Look } from '../execute/observe.js';
import type { World } from '../execute/world.js';
import { missingSteps, type Plan } from '../plan/plan.js';
import type { RecordedRun } from '../plan/recorded.js';
import { paint } from '../report/paint.js';
import { planDocument } from '../report/plan-json.js';
import { planText } from '../report/plan-text.js';
import type { CommandContext } from './context.js';
import { CommandError, interruptedBy } from './errors.js';
import { EXIT } from './exit-codes.js';
import { type CommandOptions, flag, text } from './options.js';
import { endOf, impossible, reportEnd, spelledEnd, spelledPlan } from './outcome.js';
import { endStream, noting, summaryOf, versionEvent } from './summary.js';
import {
  brokenManifest,
  refuseInsideWorkspace,
  reporterOf,
  type Selected,
  type Spelling,
  selectRun,
  spellingFor,
  warnOfBrokenManifest,
  worldOf,
} from './world.js';

export interface Operation {
  /** Do it. */
  perform(run: RecordedRun, world: World, spell: Spelling): Promise<Converged>;
  /** What would be done. */
  plan(run: RecordedRun, look: Look, spell: Spelling): Promise<Plan>;
}

/** Carry an operation out, or with --dry-run show it. Gives the exit code. */
export async function operateOn(
  ctx: CommandContext,
  positionals: readonly string[],
  options: CommandOptions,
  operation: Operation,
): Promise<number> {
  await refuseInsideWorkspace(ctx);
  const begun = ctx.now();
  const dryRun = flag(options, 'dryRun');
  const selected = await selectRun(ctx, positionals, options, dryRun ? 'read' : 'write');
  const { store, stateFolder, run } = selected;
  try {
    namedAgents(run, options);
    if (dryRun) {
      const broken = await brokenManifest(ctx, run);
      const spell = await spellingFor(ctx, run, selected);
      const look = { stateFolder, env: { ...ctx.env }, now: ctx.now };
      const plan = spelledPlan(await operation.plan(run, look, spell), spell);
      return showPlan(ctx, broken === null ? plan : { ...plan, warnings: [...plan.warnings, broken] });
    }
    return await carryOut(ctx, selected, operation, begun);
  } finally {
    await store.close();
  }
}

async function carryOut(
  ctx: CommandContext,
  { store, stateFolder, run }: Selected,
  operation: Operation,
  begun: number,
): Promise<number> {
  const reporter = noting(reporterOf(ctx));
  const world = worldOf(ctx, store, stateFolder, reporter);
  reporter.emit(versionEvent(ctx));
  try {
    await warnOfBrokenManifest(ctx, run, reporter);
    const spell = await spellingFor(ctx, run, world);
    const end = spelledEnd(await endOf(await operation.perform(run, world, spell), world), spell);
    reportEnd(reporter, end);
    const signal = interruptedBy(ctx.signal);
    const exitCode = signal === null ? end.exitCode : signal === 'SIGINT' ? EXIT.sigint : EXIT.sigterm;
    const summary = await summaryOf(ctx, {
      world,
      run: end.run,
      outcome: end.outcome,
      ticket: run.ticketId,
      manifest: run.intent.manifestPath,
      exitCode,
      changed: end.changed,
      error: end.error,
    });
    reporter.emit({ type: 'summary', exitCode, durationMs: ctx.now() - begun, runs: [summary] });
    return exitCode;
  } catch (error) {
    return await endStream(ctx, reporter, error, { run, world, begun });
  }
}

/** The agents that `--agent` names; null: all. Throws `CommandError` (64) for one the run does not have. */
export function namedAgents(run: RecordedRun, options: CommandOptions): readonly string[] | null {
  const name = text(options, 'agent');
  if (name === null) return null;
  const names = run.agents.filter((agent) => !agent.removed).map((agent) => agent.name);
  if (names.includes(name)) return [name];
  throw new CommandError({
    exitCode: EXIT.usage,
    code: 'unknown_agent',
    message: `run ${run.id} has no agent "${name}"`,
    hint: names.length === 0 ? 'it has none' : `its agents: ${names.join(', ')}`,
  });
}

function showPlan(ctx: CommandContext, plan: Plan): number {
  if (ctx.json && plan.problems.length > 0) throw impossible([plan]);
  if (ctx.json) ctx.stdout(`${JSON.stringify(planDocument(plan))}\n`);
  else {
    ctx.stdout(planText(plan, paint(ctx.color), { verbose: ctx.verbose }));
    if (missingSteps(plan).length > 0) ctx.stdout('This was a dry run: nothing was changed.\n');
  }
  if (plan.problems.length > 0) throw impossible([plan]);
  return plan.refused.length > 0 ? EXIT.refused : EXIT.done;
}
