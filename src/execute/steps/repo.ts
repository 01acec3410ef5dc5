/** Source clones: cloned once where the manifest gives a url, and their base fetched. */
import { lstat } from 'node:fs/promises';
import { ToolFailure } from '../../tools/failure.js';
import { cloneInto, fetchBase } from '../../tools/git-remote.js';
import { childOf, freeRefs, gitStillRuns } from '../child.js';
import { withRepoLock } from '../repo-lock.js';
import { StepFailed, type StepHandler } from '../world.js';

export const repoClone: StepHandler<'repo.clone'> = {
  async look(step, ctx) {
    await gitStillRuns(ctx);
    return (await lstat(step.path).catch(() => null)) !== null;
  },
  async do(step, ctx) {
    await withRepoLock(ctx, step.path, () => cloneInto(step.url, step.path, childOf(ctx)));
  },
};

export const repoFetch: StepHandler<'repo.fetch'> = {
  /** Fetching again gives the same or a newer base: there is nothing to look for. */
  async look(step, ctx) {
    await gitStillRuns(ctx);
    await freeRefs(ctx, step.source, [`refs/remotes/origin/${step.branch}`]);
    return false;
  },
  async do(step, ctx) {
    try {
      await fetchBase(step.source, step.branch, childOf(ctx));
    } catch (error) {
      if (!(error instanceof ToolFailure)) throw error;
      throw new StepFailed(
        error.message,
        'mend the connection to origin, or apply --offline, which uses what was last fetched',
      );
    }
  },
};
