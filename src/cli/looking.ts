/** What the commands that only look have in common; nothing here loads what it takes to look at a run. */
import { attemptFolder } from '../execute/paths.js';
import { criteriaStates, type SeenHeads } from '../plan/evidence.js';
import type { RunState } from '../plan/lifecycle.js';
import type { RecordedRun } from '../plan/recorded.js';
import type { RunLine } from '../report/status-view.js';
import { readAttempt } from '../sessions/attempt.js';
import { insideWorkspace } from '../state/folder.js';
import { probe } from '../tools/process.js';
import type { CommandContext } from './context.js';
import { CommandError } from './errors.js';
import { EXIT } from './exit-codes.js';
import { type CommandOptions, selectorOf } from './options.js';
import { type Selected, selectRun } from './world.js';

/**
 * The run that a command line names; without a name the one whose workspace one stands in; null: neither. The
 * caller closes its store. Throws `CommandError` (64) for a run that is not there.
 */
export async function selectOrHere(
  ctx: CommandContext,
  positionals: readonly string[],
  options: CommandOptions,
): Promise<Selected | null> {
  if (selectorOf(positionals, options) !== null) return selectRun(ctx, positionals, options, 'look');
  if ((await insideWorkspace(ctx.cwd)) === null) return null;
  const { findContext } = await import('../sentinels/context.js');
  const found = await findContext(ctx.cwd);
  if (found.kind === 'absent') return null;
  if (found.kind === 'problem') {
    throw new CommandError({
      exitCode: EXIT.usage,
      code: 'workspace_context',
      message: `which run this workspace belongs to cannot be read: ${found.file} ${found.reason}`,
      hint: 'name the run: metawsm runs, typed outside of the workspace, lists them',
    });
  }
  return selectRun(ctx, [], { runId: found.context.run_id }, 'look');
}

/** A run for the list of runs: as recorded, but which agents live and which evidence still counts is looked at. */
export async function runLine(run: RecordedRun, stateFolder: string): Promise<RunLine> {
  const agents = run.state === 'closed' ? [] : run.agents.filter((agent) => agent.attempt > 0);
  const alive = agents.filter((agent) => {
    const { started, exit } = readAttempt(attemptFolder(stateFolder, run.id, agent.name, agent.attempt));
    return started !== null && exit === null && probe(started) !== 'dead';
  });
  const criteria = criteriaStates(run, await headsOf(run));
  const passed = criteria.filter((criterion) => criterion.state === 'passed');
  return { run, agentsAlive: alive.length, criteriaPassed: passed.length };
}

/** The HEADs that a run's evidence is held against; null where there is nothing to hold. */
async function headsOf(run: RecordedRun): Promise<SeenHeads | null> {
  if (run.state === 'closed' || run.evidence.every((found) => found.state !== 'passed')) return null;
  const [{ worktreeStatus }, { lookOptions }] = await Promise.all([
    import('../tools/git-status.js'),
    import('../execute/trust.js'),
  ]);
  const heads = await Promise.all(
    run.repos
      .filter((repo) => !repo.removed)
      .map(async (repo) => {
        const seen = await worktreeStatus(repo.path, lookOptions(repo)).catch(() => NOT_SEEN);
        return [repo.name, seen] as const;
      }),
  );
  return Object.fromEntries(heads);
}

const NOT_SEEN = { head: null, dirtyFiles: null };

/** What `--exit-code` makes of a run's state. */
export function exitCodeOf(state: RunState): number {
  switch (state) {
    case 'failed':
      return EXIT.failed;
    case 'awaiting_guidance':
      return EXIT.guidance;
    case 'paused':
    case 'stopped':
      return EXIT.refused;
    default:
      return EXIT.done;
  }
}
