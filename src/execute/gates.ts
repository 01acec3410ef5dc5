/** What the gates of close are judged by, looked at in one place. Changes nothing. */
import { deliveryKind } from '../plan/delivery.js';
import { criteriaStates, seenHeads } from '../plan/evidence.js';
import { type Gate, type GateMerge, type GateRepo, gatesOf } from '../plan/gates.js';
import type { RecordedRepo, RecordedRun } from '../plan/recorded.js';
import { ToolFailure } from '../tools/failure.js';
import { look } from '../tools/git.js';
import { gitDirOf } from '../tools/git-folder.js';
import { planMerge } from '../tools/git-merge.js';
import type { Looked } from './look.js';
import { changedConfig } from './trust.js';

/** Gates as they were judged, and the commits that they were judged at. */
export interface GatesSeen {
  readonly gates: readonly Gate[];
  /** The HEADs at which the gates were judged: repo name → commit. */
  readonly heads: Readonly<Record<string, string>>;
}

/** The gates where they still count, which is not so for a delivery that is under way. Looks with `onlyHere: 'all'`. */
export async function judgeGates(looked: Looked): Promise<GatesSeen> {
  const { recorded } = looked;
  const checked =
    recorded.state === 'closing' &&
    recorded.steps.some((step) => step.id === 'close.check' && step.state === 'done');
  if (!checked) return lookAtGates(looked);
  return { gates: [], heads: Object.fromEntries(recorded.deliveries.map(({ repo, head }) => [repo, head])) };
}

/** Judge every gate of a run that was just looked at. */
export async function lookAtGates(looked: Looked): Promise<GatesSeen> {
  const { recorded: run, observed, outcome } = looked;
  const repos = run.repos.filter((repo) => !repo.removed);
  const kind = deliveryKind(run.intent);
  const seen = await Promise.all(repos.map((repo) => gateRepo(run, repo, looked, kind === 'merge')));
  const criteria = criteriaStates(
    { ...run, evidence: [...run.evidence, ...outcome.attested] },
    seenHeads(observed.repos),
  );
  const gates = gatesOf({
    selector: run.selector,
    run: {
      state: outcome.run?.state ?? run.state,
      detail: outcome.run === null ? run.detail : outcome.run.detail,
    },
    hasBrief: run.steps.some((step) => step.id === 'brief.write' && step.state === 'done'),
    pendingGuidance: [
      ...run.guidance
        .filter((g) => (g.state === 'pending' || g.state === 'answered') && !outcome.withdrawn.includes(g.id))
        .map(({ id, agent, question }) => ({ id, agent, question })),
      ...outcome.newGuidance.map(({ agent, question }) => ({ id: 'new', agent, question })),
    ],
    criteria: criteria.map(({ id, kind: what, text, state, voidReason, detail }) => ({
      id,
      kind: what,
      text,
      state: state === 'unverified' ? 'missing' : state,
      voidReason: voidReason ?? (state === 'failed' ? detail : null),
    })),
    repos: seen,
    mergeIntent: kind,
  });
  const heads = Object.fromEntries(
    repos.flatMap(({ name }) => {
      const head = observed.repos[name]?.worktree.head ?? null;
      return head === null ? [] : [[name, head]];
    }),
  );
  return { gates, heads };
}

async function gateRepo(
  run: RecordedRun,
  repo: RecordedRepo,
  looked: Looked,
  merges: boolean,
): Promise<GateRepo> {
  const worktree = looked.observed.repos[repo.name]?.worktree;
  const head = worktree?.state === 'ready' ? worktree.head : null;
  const base = { name: repo.name, path: repo.path, baseBranch: repo.baseBranch };
  // Also where the worktree cannot be looked at: a changed configuration may be why.
  const config = await configChanges(repo);
  if (head === null) {
    return {
      ...base,
      dirtyFiles: null,
      onlyHere: [],
      metawsmCommitted: null,
      ...config,
      merge: merges ? NOT_SEEN : { kind: 'skipped' },
    };
  }
  const changed = config.configChanges.length > 0 || config.configProblem !== null;
  return {
    ...base,
    dirtyFiles: worktree?.dirtyFiles ?? null,
    onlyHere: worktree?.onlyHere ?? [],
    metawsmCommitted: await committed(repo),
    ...config,
    merge: !merges ? { kind: 'skipped' } : changed ? NOT_TRIED : await mergeOf(run, repo, head),
  };
}

const NOT_SEEN: GateMerge = { kind: 'problem', problem: 'its worktree cannot be looked at' };

/** Trying looks at the operator's checkout, and the changed configuration would have its programs run there. */
const NOT_TRIED: GateMerge = {
  kind: 'problem',
  problem: 'it was not tried, because the git configuration was changed',
};

/** Files below `.metawsm/` that the branch holds now. */
async function committed(repo: RecordedRepo): Promise<readonly string[]> {
  const out = await look(repo.path, ['ls-tree', '-r', '-z', '--name-only', 'HEAD', '--', '.metawsm']);
  return out.split('\0').filter((name) => name !== '');
}

async function configChanges(repo: RecordedRepo): Promise<Pick<GateRepo, 'configChanges' | 'configProblem'>> {
  const at = (await gitDirOf(repo.path)) === null ? repo.source : repo.path;
  try {
    const changes = await changedConfig(repo, at);
    const shown = changes.map(({ key, change, restore, note }) => ({
      key,
      change,
      restore: restore.map(({ text }) => text),
      note,
    }));
    return { configChanges: shown, configProblem: null };
  } catch (error) {
    if (!(error instanceof ToolFailure)) throw error;
    return { configChanges: [], configProblem: error.message };
  }
}

async function mergeOf(run: RecordedRun, repo: RecordedRepo, head: string): Promise<GateMerge> {
  const { source, baseBranch, branch } = repo;
  const plan = await planMerge({ repo: source, base: baseBranch, branch, head, ticket: run.ticketId });
  switch (plan.kind) {
    case 'ready':
      return {
        kind: 'mergeable',
        overlaps: plan.checkouts.flatMap((checkout) => checkout.overlaps),
        problems: plan.checkouts.flatMap(({ problem }) => (problem === null ? [] : [problem])),
      };
    case 'conflict':
      return { kind: 'conflict', files: plan.conflicts, with: plan.with };
    case 'problem':
      return { kind: 'problem', problem: plan.problem };
  }
}
