/** Delivering a branch into its local base branch: what would happen, and the commit for it. No ref moves here. */
import { run } from './git.js';
import { type BaseCheckout, checkoutsOf } from './git-checkouts.js';
import { commitIdentity } from './git-identity.js';
import { inUse } from './git-in-use.js';
import { type GitEnv, isAncestor, mergeTrees, withScratchObjects } from './git-merge-tree.js';
import { commitOf } from './git-read.js';

export interface MergeWanted {
  /** The source clone. */
  readonly repo: string;
  /** Short name of the local base branch. */
  readonly base: string;
  /** Short name of the branch to deliver; for the messages. */
  readonly branch: string;
  /** The commit to deliver. */
  readonly head: string;
  /** For the message of the merge commit. */
  readonly ticket: string;
}

/** A merge that can be made. */
export interface ReadyMerge {
  readonly kind: 'ready';
  /** Where the local base is now; null: it exists on origin only and is created. */
  readonly from: string | null;
  /** Where it is after it was fast-forwarded to `origin/<base>`; the same as `from` where there was nothing to do. */
  readonly onto: string;
  readonly head: string;
  /**
   * `nothing`: the base holds the branch already; `fast_forward`: the base moves to the branch's commit; `merge`: a
   * merge commit is made (`createMerge`).
   */
  readonly how: 'nothing' | 'fast_forward' | 'merge';
  /** Tree of the result. */
  readonly tree: string;
  readonly message: string;
  /** The worktrees in which the base is checked out, and whether they can be moved along. */
  readonly checkouts: readonly BaseCheckout[];
}

export type MergePlan =
  | ReadyMerge
  /** The files that both sides changed in ways that do not go together. */
  | {
      readonly kind: 'conflict';
      readonly conflicts: readonly string[];
      /** Short name of the ref that it conflicts with: the base, or `origin/<base>` where that is ahead of it. */
      readonly with: string;
      /** A sentence for a person. */
      readonly problem: string;
    }
  /** Why there can be no merge, for a person: base missing or diverged, histories unrelated, base being rebased. */
  | { readonly kind: 'problem'; readonly problem: string };

/**
 * What delivering a branch into its base would do, with `origin/<base>` as last fetched (`fetchBase` is the way to
 * fetch it first). Writes nothing, not even objects.
 * @throws {ToolFailure}
 */
export async function planMerge(wanted: MergeWanted): Promise<MergePlan> {
  const { repo, base, branch, head } = wanted;
  const problem = (text: string): MergePlan => ({ kind: 'problem', problem: `${repo}: ${text}` });
  if ((await commitOf(repo, head)) === null) return problem(`there is no commit ${head} to deliver`);
  const found = await baseAndOrigin(repo, base);
  if ('problem' in found) return problem(found.problem);
  const { from, onto } = found;
  const user = await inUse(repo, base);
  if (user !== null) return problem(user);

  return withScratchObjects(repo, async (env) => {
    const merged = await resultOf(repo, onto, head, env);
    switch (merged.kind) {
      case 'impossible':
        return problem(`${branch} cannot be merged into ${base}: ${merged.reason}`);
      case 'conflict': {
        const drivers =
          merged.drivers.length === 0
            ? ''
            : `; the merge drivers of git's configuration (${merged.drivers.join(', ')}) are not run`;
        return {
          kind: 'conflict',
          conflicts: merged.files,
          with: from === onto ? base : `origin/${base}`,
          problem: `${repo}: ${branch} conflicts with ${base}${drivers}`,
        };
      }
      case 'ready':
        return {
          kind: 'ready',
          from,
          onto,
          head,
          how: merged.how,
          tree: merged.tree,
          message: `Merge ${branch} (${wanted.ticket})`,
          checkouts: await checkoutsOf(repo, base, from, merged.tree, env),
        };
    }
  });
}

/**
 * The commit that the base is to move to, for a merge that was planned. A merge commit is written, by the caller or
 * else by metawsm, and belongs to no ref yet: record it before anything moves.
 * @throws {ToolFailure}
 */
export async function createMerge(repo: string, plan: ReadyMerge): Promise<string> {
  if (plan.how === 'nothing') return plan.onto;
  if (plan.how === 'fast_forward') return plan.head;
  const merged = await mergeTrees(repo, plan.onto, plan.head);
  // The same two commits: only a changed configuration can give something else than planned.
  if (merged.kind !== 'clean' || merged.tree !== plan.tree) {
    throw new Error(`${repo}: merging ${plan.head} into ${plan.onto} gives another result than a moment ago`);
  }
  const args = ['-c', 'i18n.commitEncoding=UTF-8', 'commit-tree', merged.tree];
  const parents = ['-p', plan.onto, '-p', plan.head];
  const env = await commitIdentity(repo);
  const { stdout } = await run(repo, [...args, ...parents, '-m', plan.message], { env });
  return stdout.trim();
}

/** How it is known that a commit was delivered, and to which ref. */
export interface Delivered {
  readonly ref: string;
  /** `ancestor`: the base holds the commit; `same_changes`: it holds all its changes (squashed or rebased). */
  readonly by: 'ancestor' | 'same_changes';
}

/**
 * Whether a commit is provably in the local base or in `origin/<base>` as last fetched: the base holds it, or merging
 * it would change nothing. null: not provable, so that its branch is kept. Writes nothing.
 * @throws {ToolFailure}
 */
export async function isDelivered(repo: string, head: string, base: string): Promise<Delivered | null> {
  const refs = [`refs/heads/${base}`, `refs/remotes/origin/${base}`];
  const targets: { readonly ref: string; readonly commit: string }[] = [];
  for (const ref of refs) {
    const commit = await commitOf(repo, ref);
    if (commit !== null) targets.push({ ref, commit });
  }
  if ((await commitOf(repo, head)) === null) return null;
  for (const { ref, commit } of targets) {
    if (await isAncestor(repo, head, commit)) return { ref, by: 'ancestor' };
  }
  for (const { ref, commit } of targets) {
    if (await holdsChanges(repo, head, commit)) return { ref, by: 'same_changes' };
  }
  return null;
}

async function holdsChanges(repo: string, head: string, base: string): Promise<boolean> {
  const { exitCode, stdout } = await run(repo, ['merge-base', head, base], { okCodes: [0, 1] });
  const parting = stdout.trim();
  if (exitCode !== 0 || parting === '') return false;
  const [before, after, target] = await Promise.all([parting, head, base].map((each) => treeOf(repo, each)));
  // Commits that cancel each other out leave no change that the base could hold: they are only here.
  if (before === after) return false;
  const merged = await withScratchObjects(repo, (env) => mergeTrees(repo, base, head, env));
  return merged.kind === 'clean' && merged.tree === target;
}

/** Where the local base is, and where it is once fast-forwarded to origin. */
async function baseAndOrigin(
  repo: string,
  base: string,
): Promise<{ readonly from: string | null; readonly onto: string } | { readonly problem: string }> {
  const ref = `refs/heads/${base}`;
  const [from, tracked, hasOrigin, link] = await Promise.all([
    commitOf(repo, ref),
    commitOf(repo, `refs/remotes/origin/${base}`),
    run(repo, ['config', '--get', 'remote.origin.url'], { okCodes: [0, 1] }),
    run(repo, ['symbolic-ref', '--quiet', ref], { okCodes: [0, 1] }),
  ]);
  if (link.exitCode === 0) {
    return { problem: `${base} is only another name for ${link.stdout.trim()}; name that as base_branch` };
  }
  // A tracking ref that no remote keeps up to date any more says nothing.
  const origin = hasOrigin.exitCode === 0 ? tracked : null;
  if (from === null) {
    return origin === null
      ? { problem: `there is neither a local branch ${base} nor origin/${base}` }
      : { from, onto: origin };
  }
  if (origin === null || (await isAncestor(repo, origin, from))) return { from, onto: from };
  if (await isAncestor(repo, from, origin)) return { from, onto: origin };
  const counts = await run(repo, ['rev-list', '--left-right', '--count', `${from}...${origin}`]);
  const [mine = '?', theirs = '?'] = counts.stdout.trim().split('\t');
  return {
    problem: `${base} and origin/${base} have diverged (${mine} and ${theirs} commits of their own); bring them together first, such as with git pull`,
  };
}

async function resultOf(repo: string, onto: string, head: string, env: GitEnv) {
  const ready = (how: ReadyMerge['how'], tree: string) => ({ kind: 'ready' as const, how, tree });
  if (await isAncestor(repo, head, onto)) return ready('nothing', await treeOf(repo, onto));
  if (await isAncestor(repo, onto, head)) return ready('fast_forward', await treeOf(repo, head));
  const merged = await mergeTrees(repo, onto, head, env);
  return merged.kind === 'clean' ? ready('merge', merged.tree) : merged;
}

async function treeOf(repo: string, commit: string): Promise<string> {
  return (await run(repo, ['rev-parse', '--verify', `${commit}^{tree}`])).stdout.trim();
}
