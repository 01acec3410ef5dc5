/** The plan as a listr2 task tree: groups per repo and per agent side by side, everything else in order. */
import { Listr, type ListrRendererFactory, type ListrTask } from 'listr2';
import { missingSteps, type Plan } from '../plan/plan.js';
import type { PlannedStep } from '../plan/steps.js';
import { Hopeless } from '../report/terminal.js';
import { safeText } from '../tools/files.js';
import { perform } from './perform.js';
import { StepRefused, StepStuck, type World } from './world.js';

/** A step that failed for good, after its retries, and what it threw. */
export interface Failure {
  readonly planned: PlannedStep;
  readonly error: unknown;
}

/** What the steps of one tree have in common; SQLite is the memory, this is thrown away. */
export interface TreeContext {
  readonly failures: Failure[];
}

/** How the tree is shown, chosen by whoever knows the terminal. */
export interface Rendering {
  readonly renderer: ListrRendererFactory;
  readonly rendererOptions: Record<string, unknown>;
}

export interface TreeOptions {
  /** How many repos, and how many agents, at a time; null: all. */
  readonly concurrency: number | null;
  readonly rendering: Rendering;
}

/** Carry out the missing steps of a plan. Resolves to what failed; nothing is started after a failure. */
export async function runPlan(plan: Plan, world: World, options: TreeOptions): Promise<readonly Failure[]> {
  const context: TreeContext = { failures: [] };
  const tree = new Listr<TreeContext, ListrRendererFactory>(tasksOf(plan, world, options.concurrency), {
    ctx: context,
    concurrent: false,
    // Siblings of a failed group end in peace, and each later step sees the failure and is not started.
    exitOnError: false,
    registerSignalListeners: false,
    renderer: options.rendering.renderer,
    rendererOptions: options.rendering.rendererOptions,
  } as never);
  await tree.run();
  return context.failures;
}

type Task = ListrTask<TreeContext, ListrRendererFactory>;

/** A task for each missing step; neighbours that concern repos, or agents, become one group with a lane for each. */
function tasksOf(plan: Plan, world: World, concurrency: number | null): Task[] {
  const retries = plan.run.intent.policy.stepRetries;
  const leaf = (planned: PlannedStep, inLane = false): Task =>
    stepTask(planned, inLane, plan, world, retries);
  const tasks: Task[] = [];
  let open: { lane: string; lanes: Map<string, PlannedStep[]> } | null = null;
  const close = (): void => {
    if (open === null) return;
    const lanes = [...open.lanes];
    open = null;
    const only = lanes.length === 1 ? lanes[0] : undefined;
    if (only !== undefined) {
      tasks.push(...only[1].map((planned) => leaf(planned)));
      return;
    }
    tasks.push({
      title: lanes.map(([name]) => name).join(', '),
      skip: (context) => context.failures.length > 0 && notStarted(world),
      task: (_context, task) =>
        task.newListr(
          lanes.map(([name, steps]) => ({
            title: name,
            task: (_: TreeContext, inner) =>
              inner.newListr(
                steps.map((planned) => leaf(planned, true)),
                { concurrent: false, exitOnError: false },
              ),
          })),
          { concurrent: concurrency ?? true, exitOnError: false },
        ),
    });
  };
  for (const planned of missingSteps(plan)) {
    const lane = laneOf(planned);
    if (lane === null) {
      close();
      tasks.push(leaf(planned));
      continue;
    }
    if (open !== null && open.lane !== lane.kind) close();
    open ??= { lane: lane.kind, lanes: new Map() };
    open.lanes.set(lane.name, [...(open.lanes.get(lane.name) ?? []), planned]);
  }
  close();
  return tasks;
}

/** Steps of one repo, or of one agent, follow each other; those of others run beside them. */
function laneOf(planned: PlannedStep): { kind: 'repo' | 'agent'; name: string } | null {
  if (planned.agent !== null) return { kind: 'agent', name: planned.agent };
  if (planned.repo !== null && planned.step.kind !== 'ticket.copy')
    return { kind: 'repo', name: planned.repo };
  return null;
}

function notStarted(world: World): string {
  return world.signal.aborted ? 'not started: interrupted' : 'not started: an earlier step failed';
}

function stepTask(
  planned: PlannedStep,
  inLane: boolean,
  plan: Plan,
  world: World,
  stepRetries: number,
): Task {
  // An agent's start is paid from its own budget, and a refusal stays one.
  const retries = planned.step.kind === 'agent.start' ? 0 : stepRetries;
  let final: Hopeless | null = null;
  let tries = 0;
  return {
    title: safeText(planned.id),
    // Beside other lanes each goes on until it fails itself; what comes after the group waits for all of them.
    skip: (context) => {
      const failed = inLane
        ? context.failures.some((failure) => laneKey(failure.planned) === laneKey(planned))
        : context.failures.length > 0;
      return failed && notStarted(world);
    },
    retry: { tries: retries },
    task: async (context, task) => {
      if (final !== null) throw final;
      tries += 1;
      try {
        const how = await perform(planned, world, plan.run.id, (line) => {
          task.output = safeText(line);
        });
        if (how === 'found') task.title = `${safeText(planned.id)} (was there already)`;
      } catch (error) {
        const hopeless = error instanceof StepRefused || error instanceof StepStuck;
        const last = tries > retries || hopeless || world.signal.aborted;
        const shown =
          error instanceof Error && error.message !== '' ? error : new Error(String(error) || 'failed');
        if (!last) throw shown;
        context.failures.push({ planned, error });
        final = new Hopeless(shown.message, { cause: error });
        throw final;
      }
    },
  };
}

function laneKey(planned: PlannedStep): string {
  const lane = laneOf(planned);
  return lane === null ? planned.id : `${lane.kind}/${lane.name}`;
}
