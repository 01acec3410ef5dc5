/** A repo's worktree: made from the base, filled with untracked files of the source clone, removed. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { RecordedRepo } from '../../plan/recorded.js';
import type { StepOf } from '../../plan/steps.js';
import { ToolFailure } from '../../tools/failure.js';
import { safeText } from '../../tools/files.js';
import { addWorktree, discardHalfMade } from '../../tools/git-add.js';
import {
  archiveModule,
  archiveNested,
  backupWorktree,
  keepOwnCommits,
  repositoriesInside,
} from '../../tools/git-backup.js';
import { configSnapshot } from '../../tools/git-config.js';
import { onlyHere, strayModules } from '../../tools/git-only-here.js';
import { commitOf } from '../../tools/git-read.js';
import { removeBrokenEntries, removeWorktree } from '../../tools/git-remove.js';
import type { StatusOptions } from '../../tools/git-status.js';
import { halfMadeWorktree, worktreeState } from '../../tools/git-worktree.js';
import { copyInto, linkInto, type PlaceResult } from '../../tools/place.js';
import { childOf, freeRefs, gitStillRuns } from '../child.js';
import { nestedFolder, runFolder } from '../paths.js';
import { withRepoLock } from '../repo-lock.js';
import { changedConfig, lookOptions } from '../trust.js';
import { type StepContext, StepFailed, type StepHandler, StepRefused } from '../world.js';
import { moveInto } from './workspace.js';

export const worktreeCreate: StepHandler<'worktree.create'> = {
  async look(step, ctx) {
    const repo = await repoOf(ctx, step.repo);
    const row = (await ctx.run()).steps.find((r) => r.id === ctx.planned.id);
    if (row === undefined || row.attempts === 0) return false;
    await gitStillRuns(ctx);
    await freeRefs(ctx, step.source, [`refs/heads/${step.branch}`]);
    const half = await halfMadeWorktree(step.source, step.path, step.branch);
    if (half !== null) {
      ctx.output(`${half.reason}: it is made again`);
      const { source, path, branch, existing } = step;
      const commit = repo.baseCommit ?? (await baseCommit(step));
      await discardHalfMade({ source, path, branch, branchExisted: existing, commit });
      return false;
    }
    const { source, path, branch } = step;
    const state = await worktreeState(source, path, branch);
    if (state.state === 'missing') await withRepoLock(ctx, source, () => removeBrokenEntries(source, path));
    if (state.state !== 'ready' || !state.onBranch || state.head === null) return false;
    // Checked out whole by an earlier try that did not live to record it; its submodules may still be missing.
    const { head: commit } = state;
    await withRepoLock(ctx, source, (commonDir) =>
      addWorktree({ source, commonDir, path, branch, commit, existing: true, ...childOf(ctx) }),
    );
    await recordMade(step, ctx);
    return true;
  },
  async do(step, ctx) {
    const repo = await repoOf(ctx, step.repo);
    // One that was whole once starts where it did, as the plan says, also where its branch went with it.
    const known = step.existing || repo.baseRef !== null ? repo.baseCommit : null;
    const isThere = known !== null && (step.existing || (await commitOf(step.source, known)) !== null);
    const commit = known !== null && isThere ? known : await baseCommit(step);
    // Recorded before the branch exists: after a crash it tells this run's own branch from somebody else's.
    if (repo.baseCommit === null || !step.existing) {
      await ctx.world.store.updateRepo(ctx.runId, step.repo, { baseCommit: commit });
    }
    const { source, path, branch, existing } = step;
    await refuseChangedConfig(repo, source);
    await withRepoLock(ctx, source, (commonDir) =>
      addWorktree({ source, commonDir, path, branch, commit, existing, ...childOf(ctx) }),
    );
    await recordMade(step, ctx);
  },
};

/** A checkout runs filters, and may fetch submodules: not with what an agent configured. */
async function refuseChangedConfig(repo: RecordedRepo, source: string): Promise<void> {
  const changes = await changedConfig(repo, source);
  if (changes.length === 0) return;
  const keys = changes.map(({ key }) => safeText(key)).join(', ');
  const undo = changes.flatMap(({ restore }) => restore.map(({ text }) => safeText(text)));
  throw new StepRefused(
    `the git configuration of ${source} was changed since the worktree of ${repo.name} was made, so that making it again would run programs or go elsewhere: ${keys}`,
    `put it back, then try again: ${undo.join('; ')}`,
  );
}

async function repoOf(ctx: StepContext, name: string): Promise<RecordedRepo> {
  const repo = (await ctx.run()).repos.find((r) => r.name === name);
  if (repo === undefined) throw new Error(`run ${ctx.runId} has no repo ${name}`);
  return repo;
}

/** The ref of the base is recorded last: it says that the worktree was once whole. */
async function recordMade(step: StepOf<'worktree.create'>, ctx: StepContext): Promise<void> {
  const repo = await repoOf(ctx, step.repo);
  const baseRef = repo.baseRef ?? step.base?.ref ?? `refs/heads/${step.baseBranch}`;
  // As it was before an agent could change it: close compares.
  const configAtCreation = repo.configAtCreation ?? (await configSnapshot(step.path));
  await ctx.world.store.updateRepo(ctx.runId, step.repo, {
    baseRef,
    placed: {},
    configAtCreation,
    removed: false,
  });
}

/** The commit to branch from: what the base's ref says now, after the fetch. */
async function baseCommit(step: StepOf<'worktree.create'>): Promise<string> {
  const ref = step.base?.ref ?? (step.baseBranch === 'HEAD' ? 'HEAD' : `refs/heads/${step.baseBranch}`);
  const found = (await commitOf(step.source, ref)) ?? step.base?.commit ?? null;
  if (found !== null) return found;
  throw new StepFailed(
    `repo ${step.repo}: neither origin/${step.baseBranch} nor ${step.baseBranch} is there to branch from (${ref} in ${step.source})`,
    'mend base_branch in the manifest, or push or create that branch',
  );
}

export const worktreeCopy: StepHandler<'worktree.copy'> = {
  async look() {
    return false;
  },
  async do(step, ctx) {
    await place(ctx, step.repo, 'copy', await copyInto(step.source, step.path, step.globs));
  },
};

export const worktreeLink: StepHandler<'worktree.link'> = {
  async look() {
    return false;
  },
  async do(step, ctx) {
    await place(ctx, step.repo, 'link', await linkInto(step.source, step.path, step.paths));
  },
};

async function place(ctx: StepContext, name: string, what: string, result: PlaceResult): Promise<void> {
  const repo = await repoOf(ctx, name);
  await ctx.world.store.updateRepo(ctx.runId, name, { placed: { ...repo.placed, ...result.placed } });
  for (const message of result.warnings) {
    ctx.world.reporter.emit({
      type: 'warning',
      runId: ctx.runId,
      code: `not_${what === 'copy' ? 'copied' : 'linked'}`,
      message: `repo ${name}: ${message}`,
      file: null,
    });
  }
}

export const worktreeRemove: StepHandler<'worktree.remove'> = {
  async look(step, ctx) {
    const state = await worktreeState(step.source, step.path, step.branch).catch((error: unknown) => {
      // A source clone that is gone took its worktrees' history with it: nothing of git's is left to remove.
      if (error instanceof ToolFailure) return null;
      throw error;
    });
    if (state === null || state.state !== 'missing') return false;
    const { source, path } = step;
    await withRepoLock(ctx, source, async () => {
      await removeWorktree({ source, path, force: true });
      await removeBrokenEntries(source, path);
    });
    await ctx.world.store.updateRepo(ctx.runId, step.repo, { removed: true });
    return true;
  },
  async do(step, ctx) {
    const looking = lookOptions(await repoOf(ctx, step.repo));
    const { source, path } = step;
    const made = (await ctx.run()).steps.find((row) => row.id === `worktree.create/${step.repo}`);
    const half = made?.state === 'done' ? null : await halfMadeWorktree(source, path, step.branch);
    if (half !== null) {
      // Killed over its making: no agent was ever in it. The branch stays, as all branches do.
      ctx.output(`${half.reason}: it is removed`);
      const { branch } = step;
      await withRepoLock(ctx, source, () =>
        discardHalfMade({ source, path, branch, branchExisted: true, commit: '' }),
      );
    }
    const { state } = await worktreeState(source, path, step.branch);
    if (state === 'ready') {
      // Looked at again: the agents may have worked until they were stopped.
      const work = await onlyHere(path, looking);
      if (work.length > 0 && step.backup === null) {
        throw new StepRefused(
          `${path} holds what exists nowhere else: ${work.join('; ')}`,
          `commit or move it away, or run cleanup --force, which saves it first`,
        );
      }
      if (work.length > 0 && step.backup !== null) await saveWork(step, step.backup, looking, ctx);
      await keepOwnFolder(step, ctx);
    }
    const removed = await withRepoLock(ctx, source, () => removeWorktree({ source, path, force: true }));
    if (removed.saved !== null)
      note(ctx, `commits that only the lost worktree ${path} held are kept at ${removed.saved}`);
    await ctx.world.store.updateRepo(ctx.runId, step.repo, { removed: true });
  },
};

async function saveWork(
  step: StepOf<'worktree.remove'>,
  ref: string,
  looking: StatusOptions,
  ctx: StepContext,
): Promise<void> {
  const { source, path } = step;
  const folder = nestedFolder(ctx.world.stateFolder, ctx.runId, step.repo);
  for (const inner of await repositoriesInside(path, looking)) {
    const kept = await archiveNested(path, inner, folder);
    note(ctx, `the repository ${inner} inside ${path} is kept at ${kept}`);
  }
  for (const module of await strayModules(path)) {
    const kept = await archiveModule(module, folder);
    note(ctx, `the submodule ${module.name}, which ${path} has checked out no more, is kept at ${kept}`);
  }
  for (const ref of await keepOwnCommits(path)) {
    note(ctx, `a commit that only ${path} held (${ref.slice(-12)}) is kept at ${ref}`);
  }
  const backup = await backupWorktree({ source, path, ref, ...looking });
  note(
    ctx,
    `work of ${path} is saved at ${backup.ref} (${backup.commit.slice(0, 12)}); get it back with: ${backup.restore}`,
  );
}

/** Git is told to overlook the worktree's `.metawsm/`, so whatever an agent left in it moves, as that of the workspace does. */
async function keepOwnFolder(step: StepOf<'worktree.remove'>, ctx: StepContext): Promise<void> {
  const folder = join(step.path, '.metawsm');
  if ((await readdir(folder).catch(() => [])).length === 0) return;
  const keep = join(runFolder(ctx.world.stateFolder, ctx.runId), 'workspace', step.repo);
  await moveInto(folder, keep);
  note(ctx, `what lay in ${folder} is kept in ${keep}`);
}

function note(ctx: StepContext, text: string): void {
  ctx.world.reporter.emit({ type: 'note', runId: ctx.runId, text });
}
