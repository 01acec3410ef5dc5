/** Moving the local base branch, with what is checked out of it; taking that back; deleting a delivered branch. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { lastLines, ToolFailure } from './failure.js';
import { type RunOptions, run } from './git.js';
import {
  type CheckoutLook,
  type IndexEntry,
  isAbsent,
  lookAtCheckouts,
  moveArgs,
  setEntries,
} from './git-checkouts.js';
import { inUse } from './git-in-use.js';
import { branchInfo, commitOf } from './git-read.js';
import { listWorktrees } from './git-worktree.js';
import { withScratchFolder } from './scratch.js';

export interface BaseMove {
  readonly repo: string;
  /** Short name of the local base branch. */
  readonly base: string;
  /** Where it is now; null: it is created. */
  readonly from: string | null;
  /** The commit it is to be at. */
  readonly to: string;
  /** For git's log of the branch, in a few words. */
  readonly why: string;
  readonly onSpawn?: RunOptions['onSpawn'];
}

export type MoveResult =
  | {
      /** `already`: the branch is there, and nothing was done. */
      readonly kind: 'moved' | 'already';
      /** The checkouts that were moved along. */
      readonly checkouts: readonly string[];
    }
  /** Nothing has changed. `overlaps`: the uncommitted files in the way, absolute. */
  | {
      readonly kind: 'refused';
      readonly problem: string;
      readonly overlaps: readonly string[];
    };

/**
 * Moves a base branch, only from where it is expected, with every checkout of it: files first, the branch last. Cut
 * off in between, it can be called again or taken back (`rollbackBase`). Uncommitted work stays as it is.
 * @throws {ToolFailure} where git fails; the checkouts are then as they were, as far as git lets them.
 */
export async function moveBase(move: BaseMove): Promise<MoveResult> {
  const { repo, base, from, to } = move;
  const ref = `refs/heads/${base}`;
  const now = await commitOf(repo, ref);
  if (now === to) return { kind: 'already', checkouts: [] };
  if (now !== from) return refused(movedAway(move, now));
  const user = await inUse(repo, base);
  if (user !== null) return refused(`${repo}: ${user}`);
  const looks = await lookAtCheckouts(repo, base, from, to);
  const objection = objectionOf(looks);
  if (objection !== null) return objection;

  const moved: CheckoutLook[] = [];
  try {
    for (const look of looks) {
      moved.push(look);
      if (from !== null) await moveFiles(look, from, to, move.onSpawn);
    }
    // In the checkout, so that its own log of HEAD tells the move, too.
    const where = looks[0]?.path ?? repo;
    // An empty old value: only if it does not exist yet.
    await run(where, ['update-ref', '-m', `metawsm: ${move.why}`, ref, to, from ?? ''], {
      onSpawn: move.onSpawn,
    });
  } catch (error) {
    const after = await commitOf(repo, ref);
    if (after === to) return { kind: 'moved', checkouts: looks.map((look) => look.path) };
    if (from !== null) await takeBack(move, from, moved, error);
    if (after !== from) return refused(movedAway(move, after));
    throw error;
  }
  return { kind: 'moved', checkouts: looks.map((look) => look.path) };
}

export type RollbackResult =
  /** `already`: the branch is where it was, and so is what is checked out of it. */
  | { readonly kind: 'rolled_back' | 'already' }
  | { readonly kind: 'refused'; readonly problem: string; readonly overlaps: readonly string[] };

/**
 * Takes a move back, also one that was cut off, where the branch is still ours: at `to`, or at `from` with a
 * checkout half way. Work that nobody committed stays as it is.
 * @throws {ToolFailure}
 */
export async function rollbackBase(move: BaseMove): Promise<RollbackResult> {
  const { repo, base, from, to } = move;
  const ref = `refs/heads/${base}`;
  const now = await commitOf(repo, ref);
  if (now === from) {
    if (from === null) return { kind: 'already' };
    let any = false;
    for (const look of await lookAtCheckouts(repo, base, to, from)) {
      if (!(await isHalfMoved(look.path, from, to))) continue;
      const objection = objectionOf([look]);
      if (objection !== null) return objection;
      await moveFiles(look, to, from, move.onSpawn);
      any = true;
    }
    return { kind: any ? 'rolled_back' : 'already' };
  }
  if (now !== to) {
    return refused(`${repo}: ${base} is at ${short(now)}, not where metawsm put it: it is left alone`);
  }
  if (from !== null) {
    const back = await moveBase({ ...move, from: to, to: from });
    return back.kind === 'refused' ? back : { kind: 'rolled_back' };
  }
  const users = await usersOf(repo, base);
  if (users !== null) return refused(`${repo}: ${users}`);
  await run(repo, ['update-ref', '--no-deref', '-d', ref, to], { onSpawn: move.onSpawn });
  return { kind: 'rolled_back' };
}

export type DeleteResult =
  /** `already`: there is no such branch. */
  { readonly kind: 'deleted' | 'already' } | { readonly kind: 'refused'; readonly problem: string };

/**
 * Deletes a branch that is still at a commit and checked out nowhere.
 * @throws {ToolFailure}
 */
export async function deleteBranch(repo: string, branch: string, expected: string): Promise<DeleteResult> {
  const { commit } = await branchInfo(repo, branch);
  if (commit === null) return { kind: 'already' };
  const problem = (text: string): DeleteResult => ({ kind: 'refused', problem: `${repo}: ${text}` });
  const moved = (now: string | null) =>
    problem(`${branch} is at ${short(now)}, not at ${short(expected)} any more, and is kept`);
  if (commit !== expected) return moved(commit);
  const users = await usersOf(repo, branch);
  if (users !== null) return problem(`${users}; the branch is kept`);
  try {
    // Never what the name stands for: an agent may have made it another name for the base.
    await run(repo, ['update-ref', '--no-deref', '-d', `refs/heads/${branch}`, expected]);
  } catch (error) {
    const now = await commitOf(repo, `refs/heads/${branch}`);
    if (now === null || now === expected) throw error;
    return moved(now);
  }
  // What git kept about it, such as its upstream. Nothing kept is fine.
  await run(repo, ['config', '--local', '--remove-section', `branch.${branch}`], { okCodes: [0, 1, 5, 128] });
  return { kind: 'deleted' };
}

/** Where a branch is checked out, or being rebased; null: nowhere. */
async function usersOf(repo: string, branch: string): Promise<string | null> {
  const at = (await listWorktrees(repo)).find((worktree) => !worktree.bare && worktree.branch === branch);
  if (at !== undefined) return `${branch} is checked out in ${at.path}`;
  return inUse(repo, branch);
}

function objectionOf(looks: readonly CheckoutLook[]) {
  const problems = looks.flatMap((look) => look.problem ?? []);
  const overlaps = looks.flatMap((look) => look.overlaps.map((name) => `${look.path}/${name}`));
  if (overlaps.length > 0) problems.push(`uncommitted work is in the way: ${overlaps.join(', ')}`);
  return problems.length === 0 ? null : refused(problems.join('; '), overlaps);
}

/** Brings the files and the index of a checkout from one commit to another. Refuses before it touches anything. */
async function moveFiles(
  look: CheckoutLook,
  from: string,
  to: string,
  onSpawn: RunOptions['onSpawn'],
): Promise<void> {
  await setEntries(look.path, look.settle);
  // Files whose times alone have changed would count as changed.
  await run(look.path, ['update-index', '-q', '--refresh'], { okCodes: [0, 1] });
  await run(look.path, [...moveArgs(), from, to], { onSpawn });
}

/** Brings checkouts back after a failure, also where only some of the files were written. */
async function takeBack(
  move: BaseMove,
  from: string,
  moved: readonly CheckoutLook[],
  cause: unknown,
): Promise<void> {
  const back = await lookAtCheckouts(move.repo, move.base, move.to, from);
  for (const { path, settle } of moved) {
    const look = back.find((each) => each.path === path);
    if (look === undefined) continue;
    const objection = objectionOf([look]);
    if (objection === null) {
      await moveFiles(look, move.to, from, move.onSpawn);
      // Files that were as the move wants them before it began are somebody's own work.
      await writeFiles(path, move.to, settle);
      continue;
    }
    const why = cause instanceof ToolFailure ? lastLines(cause.stderr, 3) : String(cause);
    throw new ToolFailure('git', ['update-ref', `refs/heads/${move.base}`, move.to], path, null, '', {
      cause,
      summary: `failed (${why}), and the files could not be put back: ${objection.problem}`,
    });
  }
}

/** Brings files to what a commit has, and leaves the index alone. */
async function writeFiles(path: string, commit: string, entries: readonly IndexEntry[]): Promise<void> {
  if (entries.length === 0) return;
  await withScratchFolder(async (folder) => {
    const env = { GIT_INDEX_FILE: join(folder, 'index') };
    await run(path, ['read-tree', commit], { env });
    const there = entries.filter((entry) => !isAbsent(entry));
    const input = there.map((entry) => `${entry.path}\0`).join('');
    await run(path, ['checkout-index', '--force', '-z', '--stdin'], { env, input });
    for (const entry of entries) if (isAbsent(entry)) await rm(join(path, entry.path), { force: true });
  });
}

/** Whether the files of a checkout were moved while the branch was not: git writes the index last. */
async function isHalfMoved(path: string, from: string, to: string): Promise<boolean> {
  const args = ['--name-only', '-z', '--no-renames', '--ignore-submodules=none'];
  const [change, unlike] = await Promise.all([
    run(path, ['diff-tree', '-r', ...args, from, to]),
    run(path, ['diff-index', '--cached', ...args, to]),
  ]);
  const missing = new Set(unlike.stdout.split('\0'));
  const touched = change.stdout.split('\0').filter((name) => name !== '');
  return touched.length > 0 && touched.every((name) => !missing.has(name));
}

function refused(problem: string, overlaps: readonly string[] = []) {
  return { kind: 'refused' as const, problem, overlaps };
}

function movedAway(move: BaseMove, now: string | null): string {
  return `${move.repo}: ${move.base} is at ${short(now)}, not at ${short(move.from)} any more: somebody moved it meanwhile`;
}

function short(commit: string | null): string {
  return commit === null ? 'no commit' : commit.slice(0, 12);
}
