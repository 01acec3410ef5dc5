/** One step: look whether its effect is there, record its start, do it, record its end. */
import type { PlannedStep, StepKind } from '../plan/steps.js';
import { agentStart, agentStop } from './steps/agent.js';
import { briefWrite } from './steps/brief.js';
import { branchDelete, closeCheck, ticketClose } from './steps/close.js';
import { deliverMerge, deliverPullRequest, deliverPush } from './steps/deliver.js';
import { repoClone, repoFetch } from './steps/repo.js';
import { setupRun } from './steps/setup.js';
import { ticketBrief, ticketCopy, ticketCreate } from './steps/ticket.js';
import { workspaceCreate, workspaceRemove } from './steps/workspace.js';
import { worktreeCopy, worktreeCreate, worktreeLink, worktreeRemove } from './steps/worktree.js';
import { type StepContext, StepFailed, type StepHandler, type World } from './world.js';

/** Every kind of step has its handler; a new kind does not compile without one. */
const HANDLERS = {
  'workspace.create': workspaceCreate,
  'workspace.remove': workspaceRemove,
  'ticket.create': ticketCreate,
  'ticket.brief': ticketBrief,
  'ticket.copy': ticketCopy,
  'repo.clone': repoClone,
  'repo.fetch': repoFetch,
  'worktree.create': worktreeCreate,
  'worktree.copy': worktreeCopy,
  'worktree.link': worktreeLink,
  'worktree.remove': worktreeRemove,
  'setup.run': setupRun,
  'brief.write': briefWrite,
  'agent.start': agentStart,
  'agent.stop': agentStop,
  'close.check': closeCheck,
  'deliver.merge': deliverMerge,
  'deliver.push': deliverPush,
  'deliver.pull-request': deliverPullRequest,
  'ticket.close': ticketClose,
  'branch.delete': branchDelete,
} satisfies { [K in StepKind]: StepHandler<K> };

/**
 * Carry out one step of a recorded run.
 * Throws what made it fail, after recording it; an interrupt leaves the step waiting, to be done again.
 */
export async function perform(
  planned: PlannedStep,
  world: World,
  runId: string,
  output: (line: string) => void,
): Promise<'done' | 'found'> {
  const { store, reporter } = world;
  const { id, step } = planned;
  // The table above pairs each kind with its own handler; TypeScript cannot follow that through the lookup.
  const handler = HANDLERS[step.kind] as unknown as StepHandler<StepKind>;
  const ctx: StepContext = { world, runId, planned, run: () => store.loadRun(runId), output };
  let attempt = 0;
  const start = async (there: boolean): Promise<void> => {
    attempt = await store.transaction(async () => {
      const number = await store.stepStarted(runId, id);
      if (!there) await handler.begin?.(step, ctx);
      return number;
    });
    reporter.emit({ type: 'step', runId, id, state: 'running', attempt, durationMs: null, error: null });
  };
  try {
    world.signal.throwIfAborted();
    const there = await handler.look(step, ctx);
    await start(there);
    if (!there) await handler.do(step, ctx);
    const { durationMs } = await store.stepEnded(runId, id, { state: 'done' });
    reporter.emit({ type: 'step', runId, id, state: 'done', attempt, durationMs, error: null });
    return there ? 'found' : 'done';
  } catch (thrown) {
    const interrupted = world.signal.aborted;
    // What Node throws where it was waiting does not say why.
    const error = interrupted && (thrown as Error).name === 'AbortError' ? world.signal.reason : thrown;
    if (attempt === 0 && interrupted) throw error;
    // An attempt that is on its way stays so: whoever comes next looks whether it began.
    if (interrupted && step.kind === 'agent.start') throw error;
    if (attempt === 0) await start(true);
    const message = error instanceof Error && error.message !== '' ? error.message : String(error);
    const log = error instanceof StepFailed && error.logTail.length > 0 ? error.logTail.join('\n') : null;
    const state = interrupted ? 'pending' : 'failed';
    const { durationMs } = await store.stepEnded(runId, id, { state, error: message, log });
    reporter.emit({ type: 'step', runId, id, state, attempt, durationMs, error: message });
    throw error;
  }
}
