/** `metawsm apply`: create the run or continue it, execute what is missing, and with --wait see it through. */
import { resolve } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { applyIntent, type ConvergeOptions } from '../execute/converge.js';
import { Warner } from '../execute/look.js';
import { manifestSeal, readSavedPlan, type SavedPlan } from '../execute/saved-plan.js';
import { seeThrough } from '../execute/see-through.js';
import { stopAgents } from '../execute/stop.js';
import type { World } from '../execute/world.js';
import type { Intent } from '../manifest/intent.js';
import type { Plan } from '../plan/plan.js';
import type { RecordedRun } from '../plan/recorded.js';
import type { PlannedStep } from '../plan/steps.js';
import type { Reporter, RunSummary } from '../report/events.js';
import { appendStepSummary } from '../report/github.js';
import { Store } from '../state/store.js';
import type { CommandModule } from './commands.js';
import type { CommandContext } from './context.js';
import { CommandError, interruptedBy, toCommandError, wrongUsage } from './errors.js';
import { EXIT, worst } from './exit-codes.js';
import { loadManifests, type ValidManifest } from './manifests.js';
import { type CommandOptions, flag, number, text } from './options.js';
import { type Ended, endOf, endOfWait, reportEnd, spelledEnd } from './outcome.js';
import { renderingOf } from './rendering.js';
import { type NotingReporter, noting, summaryOf, versionEvent } from './summary.js';
import {
  planCommand,
  refuseInsideWorkspace,
  reporterOf,
  spellingFor,
  stateFolderOf,
  storeOptions,
  worldOf,
} from './world.js';

export const run: CommandModule['run'] = async (ctx, files, options) => {
  await refuseInsideWorkspace(ctx);
  const saved = await savedPlan(ctx, files, options);
  const manifests = saved === null ? await loadManifests(ctx, files) : await loadSaved(ctx, saved);
  const begun = ctx.now();
  const reporter = noting(reporterOf(ctx));
  const stores = new Map<string, Store>();
  reporter.emit(versionEvent(ctx));
  for (const warning of manifests.flatMap(({ warnings }) => warnings)) {
    reporter.emit({ type: 'warning', runId: null, ...warning });
  }
  try {
    const ends: Applied[] = [];
    // One after the other: their steps may need the same repositories, and a reader can follow.
    for (const { intent } of manifests) {
      ends.push(await applyOne(ctx, intent, options, reporter, stores, saved));
    }
    const waited = flag(options, 'wait')
      ? await Promise.all(ends.map((end) => waitFor(ctx, end, options, reporter)))
      : ends;
    const summaries = await Promise.all(waited.map((end) => finish(ctx, end, options, reporter)));
    return await sumUp(ctx, reporter, summaries, ctx.now() - begun);
  } finally {
    for (const store of stores.values()) await store.close();
  }
};

/** The saved plan that the command line names in place of a manifest; null: it names manifests. */
async function savedPlan(
  ctx: CommandContext,
  files: readonly string[],
  options: CommandOptions,
): Promise<SavedPlan | null> {
  for (const file of files) {
    if (/\.ya?ml$/.test(file)) continue;
    const saved = await readSavedPlan(resolve(ctx.cwd, file));
    if (saved === null) continue;
    if (files.length > 1) {
      throw wrongUsage(
        'apply',
        `${file} is a saved plan, which is applied by itself: name nothing beside it`,
      );
    }
    if (flag(options, 'newRun')) {
      throw wrongUsage('apply', 'a saved plan is executed as it is: --new-run does not go with it');
    }
    return saved;
  }
  return null;
}

/** The manifest of a saved plan. One that cannot be used any more was edited since: the plan is refused. */
async function loadSaved(ctx: CommandContext, saved: SavedPlan): Promise<readonly ValidManifest[]> {
  try {
    return await loadManifests(ctx, [saved.manifest]);
  } catch (error) {
    if ((await manifestSeal(saved.manifest)) === saved.seals.manifest) throw error;
    const what = error instanceof CommandError ? ` (${error.problems[0]?.message ?? error.message})` : '';
    throw stale(
      `the manifest ${saved.manifest} was edited and cannot be used now${what}`,
      'mend the manifest, make a new plan with metawsm plan --out, look at it, and apply that',
    );
  }
}

function stale(why: string, hint: string): CommandError {
  const message = `this plan is out of date: ${why}`;
  return new CommandError({ exitCode: EXIT.refused, code: 'plan_stale', message, hint });
}

/** One manifest on its way through the command. */
interface Applied {
  readonly intent: Intent;
  readonly world: World | null;
  readonly options: ConvergeOptions | null;
  readonly end: Ended;
}

async function applyOne(
  ctx: CommandContext,
  intent: Intent,
  options: CommandOptions,
  reporter: NotingReporter,
  stores: Map<string, Store>,
  saved: SavedPlan | null,
): Promise<Applied> {
  let world: World | null = null;
  let converge: ConvergeOptions | null = null;
  try {
    const folder = await stateFolderOf(ctx, intent.manifestPath);
    if (saved !== null && saved.state !== folder.path) {
      throw new CommandError({
        exitCode: EXIT.refused,
        code: 'plan_elsewhere',
        message: `this plan was made for the state folder ${saved.state}, and the one here is ${folder.path}`,
        hint: `say --state ${saved.state}, or make a new plan here`,
      });
    }
    const store = stores.get(folder.path) ?? (await Store.create(folder.path, storeOptions(ctx)));
    stores.set(folder.path, store);
    world = worldOf(ctx, store, folder.path, reporter);
    converge = convergeOptions(ctx, options, reporter);
    const result = await applyIntent(intent, world, {
      ...converge,
      ...(saved === null ? {} : { saved, offline: saved.offline }),
      newRun: flag(options, 'newRun'),
      confirmNewRun: (other) => confirmNewRun(ctx, options, other),
    });
    return { intent, world, options: converge, end: await endOf(result, world) };
  } catch (error) {
    return { intent, world, options: converge, end: await thrown(ctx, intent, world, error, reporter) };
  }
}

/** How converging is done on behalf of this command line. */
function convergeOptions(ctx: CommandContext, options: CommandOptions, reporter: Reporter): ConvergeOptions {
  return {
    offline: flag(options, 'offline'),
    concurrency: number(options, 'concurrency'),
    rendering: renderingOf(ctx),
    lockTimeoutMs: ctx.globals.lockTimeoutMs,
    warner: new Warner(reporter),
    confirm: (plan, steps) => confirmSteps(ctx, options, plan, steps),
    announce: (plan) => announce(reporter, plan),
  };
}

function announce(reporter: Reporter, plan: Plan): void {
  const { run } = plan;
  const text =
    plan.resumeAt === null
      ? `${plan.isNew ? 'creating' : 'continuing'} ${run.id} in ${run.workspace}`
      : `resuming ${run.id} at ${plan.resumeAt.id} (${plan.resumeAt.position} of ${plan.resumeAt.of})`;
  reporter.emit({ type: 'note', runId: run.id, text });
}

async function waitFor(
  ctx: CommandContext,
  applied: Applied,
  options: CommandOptions,
  reporter: NotingReporter,
): Promise<Applied> {
  const { world, end } = applied;
  if (world === null || applied.options === null || end.run === null || end.exitCode !== EXIT.done)
    return applied;
  try {
    const seen = await seeThrough(end.run.id, world, {
      ...applied.options,
      timeoutMs: number(options, 'timeout'),
    });
    const ended = await endOfWait(seen, world);
    return { ...applied, end: { ...ended, changed: end.changed || ended.changed } };
  } catch (error) {
    return { ...applied, end: await thrown(ctx, applied.intent, world, error, reporter) };
  }
}

/** `--on-exit stop`: what still works is ended; then the summary of the run. */
async function finish(
  ctx: CommandContext,
  applied: Applied,
  options: CommandOptions,
  reporter: NotingReporter,
): Promise<[Applied, RunSummary]> {
  const { world, intent } = applied;
  let { end } = applied;
  if (text(options, 'onExit') === 'stop' && world !== null && end.run !== null && mayBeStopped(end.run)) {
    // The operator's interrupt is what asked for this: it must not cut it short.
    const calm = { ...world, signal: new AbortController().signal };
    try {
      const stopped = await stopAgents(end.run.id, null, calm, {
        rendering: renderingOf(ctx),
        lockTimeoutMs: ctx.globals.lockTimeoutMs,
      });
      // What was seen of the agents before, and said of them, holds no more.
      const hints = end.error?.code === 'timeout' ? ['its agents were stopped'] : end.hints;
      if (stopped.run !== null) end = { ...end, run: stopped.run, outcome: null, hints };
    } catch (error) {
      end = await thrown(ctx, intent, world, error, reporter);
    }
  }
  if (world !== null && end.run !== null) end = spelledEnd(end, await spellingFor(ctx, end.run, world));
  const summary = await summaryOf(ctx, {
    world,
    run: end.run,
    outcome: end.outcome,
    // The manifest may name another ticket by now.
    ticket: end.run?.ticketId ?? intent.ticket.id,
    manifest: intent.manifestPath,
    exitCode: end.exitCode,
    changed: end.changed,
    error: end.error,
  });
  if (world === null || end.refusedAsItIs !== true) return [{ ...applied, end }, summary];
  return [
    { ...applied, end },
    { ...summary, next: await planCommand(ctx, intent.manifestPath, world) },
  ];
}

/** What is done or stopped stays what it is. */
function mayBeStopped(run: RecordedRun): boolean {
  return !['completed', 'stopped', 'closing', 'closed'].includes(run.state);
}

async function sumUp(
  ctx: CommandContext,
  reporter: Reporter,
  finished: readonly (readonly [Applied, RunSummary])[],
  durationMs: number,
): Promise<number> {
  const runs = finished.map(([, summary]) => summary);
  for (const [{ end }, { ticket }] of finished) {
    const { error } = end;
    // A program finds the run's id in the event.
    const named = error !== null && finished.length > 1 && !ctx.json;
    reportEnd(
      reporter,
      named ? { ...end, error: { ...error, stepId: null, message: `${ticket}: ${told(error)}` } } : end,
    );
  }
  const exitCode = worst(runs.map((summary) => summary.exitCode));
  const problem = await appendStepSummary(ctx.env, runs);
  if (problem !== null) {
    reporter.emit({ type: 'warning', runId: null, code: 'step_summary', message: problem, file: null });
  }
  reporter.emit({ type: 'summary', exitCode, durationMs, runs });
  return exitCode;
}

function told({ stepId, message }: RunSummary['error'] & {}): string {
  return stepId === null ? message : `${stepId}: ${message}`;
}

/** What ended one manifest unexpectedly; the others go on. */
async function thrown(
  ctx: CommandContext,
  intent: Intent,
  world: World | null,
  error: unknown,
  reporter: NotingReporter,
): Promise<Ended> {
  const interrupted = interruptedBy(ctx.signal);
  const shown = toCommandError(interrupted === null ? error : ctx.signal.reason);
  const run = world === null ? null : await recordedRun(world, intent).catch(() => null);
  return {
    run,
    outcome: null,
    exitCode: shown.exitCode,
    changed: run !== null && reporter.executed.has(run.id),
    error: { code: shown.code, stepId: null, message: shown.message, logTail: [] },
    hints: shown.hint === null ? [] : [shown.hint],
  };
}

async function recordedRun(world: World, intent: Intent): Promise<RecordedRun | null> {
  const [newest] = await world.store.findRuns({ manifestPath: intent.manifestPath, limit: 1 });
  return newest ?? null;
}

async function confirmSteps(
  ctx: CommandContext,
  options: CommandOptions,
  plan: Plan,
  steps: readonly PlannedStep[],
): Promise<boolean> {
  if (flag(options, 'yes')) return true;
  const list = steps.map((step) => `  ${step.id}: ${step.reason}`).join('\n');
  return ask(ctx, `Run ${plan.run.id}:\n${list}\nGo on?`);
}

async function confirmNewRun(
  ctx: CommandContext,
  options: CommandOptions,
  run: RecordedRun,
): Promise<boolean> {
  if (flag(options, 'yes')) return true;
  return ask(ctx, `Run ${run.id} of ${run.ticketId} is ${run.state}. Start another beside it?`);
}

/** Ask at a terminal; without one the answer is no. Ctrl-C is no answer, but ends the command. */
async function ask(ctx: CommandContext, question: string): Promise<boolean> {
  if (!ctx.isTerminal.stdin || !ctx.isTerminal.stderr || ctx.json) return false;
  const lines = createInterface({ input: ctx.stdin, output: process.stderr });
  // Here the terminal hands on the key itself and sends no signal.
  lines.on('SIGINT', () => process.kill(process.pid, 'SIGINT'));
  try {
    const answer = await lines.question(`${question} Only 'yes' is taken as agreement: `, {
      signal: ctx.signal,
    });
    return answer.trim() === 'yes';
  } catch {
    ctx.stderr('\n');
    ctx.signal.throwIfAborted();
    return false;
  } finally {
    lines.close();
  }
}
