/** The steps that make workspace, worktrees, ticket and brief as the run wants them. Pure. */
import type { RepoIntent } from '../manifest/intent.js';
import { canonical, type ManifestChange } from './diff.js';
import { type DraftStep, stepId, stepKey } from './identity.js';
import { briefTitle } from './names.js';
import type { ObservedRepo, Warning } from './observed.js';
import type { PlanInput } from './plan.js';
import type { RecordedRepo, RecordedRun, RecordedStep } from './recorded.js';
import type { Change, Refusal, Step } from './steps.js';

export interface DesiredSteps {
  readonly steps: readonly DraftStep[];
  readonly refused: readonly Refusal[];
}

/** Compile everything before the agents. Adds what the world has lost to `drift`, and to `warnings`. */
export function desiredSteps(
  input: PlanInput,
  changes: readonly ManifestChange[],
  drift: Change[],
  warnings: Warning[],
): DesiredSteps {
  const { run, observed } = input;
  const refused: Refusal[] = [];
  const steps: DraftStep[] = [];

  if (observed.workspace.sentinelFolder === 'foreign') {
    refused.push({
      code: 'sentinel_folder_swapped',
      message: `${run.workspace}/.metawsm is not the folder that metawsm made (a link or a file is there)`,
      wayOut: `look who put it there, move it away, and apply again`,
    });
  }
  steps.push(workspaceStep(input, drift));
  steps.push(...ticketSteps(input, drift, warnings));
  let remade = false;
  for (const repo of run.repos.filter((r) => !r.removed)) {
    const made = repoSteps(input, repo, drift, warnings);
    remade ||= made.some((draft) => draft.step.kind === 'worktree.create' && draft.action !== 'none');
    steps.push(...made);
  }
  const copy = ticketCopyStep(input, remade);
  if (copy !== null) steps.push(copy);
  for (const repo of run.repos.filter((r) => r.removed)) {
    const before = input.recorded?.repos.find((r) => r.name === repo.name);
    if (before === undefined || before.removed) continue;
    const dropped = dropRepo(run, before, observed.repos[repo.name]);
    if ('code' in dropped) refused.push(dropped);
    else steps.push(dropped);
  }
  steps.push(briefStep(input, changes, drift, remade || steps[0]?.action !== 'none'));
  return { steps, refused };
}

function rowOf(input: PlanInput, step: Step): RecordedStep | undefined {
  const id = stepId(step);
  return input.recorded?.steps.find((row) => row.id === id);
}

function unchanged(input: PlanInput, step: Step, row: RecordedStep): boolean {
  return row.inputHash === input.hash(canonical(stepKey(step, input.run)));
}

function workspaceStep(input: PlanInput, drift: Change[]): DraftStep {
  const { run, observed } = input;
  const step: Step = {
    kind: 'workspace.create',
    path: run.workspace,
    sentinelDirs: run.agents.filter((agent) => !agent.removed).map((agent) => agent.sentinelDir),
  };
  const row = rowOf(input, step);
  const there = observed.workspace.exists && observed.workspace.sentinelFolder !== 'missing';
  if (row?.state === 'done' && there) {
    const made = input.recorded?.agents.filter((agent) => !agent.removed).map((agent) => agent.sentinelDir);
    const gone = made?.filter((dir) => observed.workspace.gone.includes(dir)) ?? [];
    for (const dir of gone) drift.push(lost(within(run, dir), dir, [step.kind]));
    if (gone.length > 0) return { step, action: 'create', reason: 'a folder in it is gone' };
    return unchanged(input, step, row)
      ? { step, action: 'none', reason: '' }
      : { step, action: 'update', reason: 'its agents changed' };
  }
  if (row?.state === 'done') {
    const what = observed.workspace.exists ? `${run.workspace}/.metawsm` : run.workspace;
    drift.push(lost(within(run, what), what, [step.kind]));
    return { step, action: 'create', reason: 'the folder is gone' };
  }
  return { step, action: 'create', reason: reasonFor(row) };
}

function ticketSteps(input: PlanInput, drift: Change[], warnings: Warning[]): DraftStep[] {
  const { run, observed } = input;
  if (run.intent.tickets.driver === 'none') return [];
  const { id, title, topics } = run.intent.ticket;
  const create: Step = { kind: 'ticket.create', ticket: id, title, topics };
  const brief: Step = { kind: 'ticket.brief', ticket: id, title: briefTitle(run.id) };
  const exists = observed.ticket.folder !== null;
  const createRow = rowOf(input, create);
  const briefRow = rowOf(input, brief);
  if (createRow?.state === 'done' && !exists)
    drift.push(lost('ticket', id, ['ticket.create', 'ticket.brief']));
  const steps: DraftStep[] = [
    exists && (createRow === undefined || createRow.state === 'done')
      ? { step: create, action: 'none', reason: 'the ticket exists' }
      : {
          step: create,
          action: 'create',
          reason: createRow?.state === 'done' ? 'the ticket is gone' : reasonFor(createRow),
        },
  ];
  const document = observed.ticket.brief;
  const written = input.recorded?.brief?.ticketDocumentHash ?? null;
  if (briefRow?.state === 'done' && document !== null && written !== null && document.hash !== written) {
    const file = document.path;
    const message = `${file} was edited by hand and is kept as it is; the agents read the brief in their workspace`;
    warnings.push({ code: 'brief_edited', message, file });
    steps.push({ step: brief, action: 'none', reason: 'edited by hand: it is kept' });
  } else if (briefRow?.state === 'done') {
    if (!unchanged(input, brief, briefRow))
      steps.push({ step: brief, action: 'update', reason: 'the intake changed' });
    else if (document === null) {
      if (exists) drift.push(lost('ticket/brief', briefTitle(run.id), ['ticket.brief']));
      steps.push({ step: brief, action: 'create', reason: 'the document is gone' });
    } else steps.push({ step: brief, action: 'none', reason: '' });
  } else steps.push({ step: brief, action: 'create', reason: reasonFor(briefRow) });
  return steps;
}

function repoSteps(input: PlanInput, repo: RecordedRepo, drift: Change[], warnings: Warning[]): DraftStep[] {
  const intent = input.run.intent.repos.find((r) => r.name === repo.name);
  const seen = input.observed.repos[repo.name];
  if (intent === undefined || seen === undefined) return [];
  const steps: DraftStep[] = [];
  const { name, source, path, branch, baseBranch } = repo;

  if (intent.source.kind === 'url') {
    const clone: Step = { kind: 'repo.clone', repo: name, url: intent.source.url, path: source };
    const row = rowOf(input, clone);
    // A step that was cut off looks itself whether its clone is there, and is recorded as done then.
    const cut = row !== undefined && row.state !== 'done';
    steps.push(
      seen.source === null || cut
        ? {
            step: clone,
            action: 'create',
            reason: cut ? reasonFor(row) : 'cloned once into the state folder',
          }
        : { step: clone, action: 'none', reason: 'cloned already' },
    );
  }

  const worktree = worktreeStep(input, repo, seen, drift, warnings);
  const making = worktree.action !== 'none';
  const fetch: Step = { kind: 'repo.fetch', repo: name, source, branch: baseBranch };
  const fetchRow = rowOf(input, fetch);
  if (
    making &&
    fetchRow?.state !== 'done' &&
    seen.base?.from === 'origin' &&
    worktree.step.kind === 'worktree.create' &&
    !worktree.step.existing
  ) {
    steps.push({ step: fetch, action: 'run', reason: reasonFor(fetchRow) });
  } else if (fetchRow?.state === 'done') steps.push({ step: fetch, action: 'none', reason: '' });
  steps.push(worktree);

  // Until all of it was done once, the worktree is still being made: what was added or edited meanwhile belongs to it.
  const unfinished = (input.recorded?.steps ?? []).some(
    (row) => row.state !== 'done' && MAKING.some((kind) => `${row.id}/`.startsWith(`${kind}/${name}/`)),
  );
  const follow = (step: Step, what: string): void => {
    const row = rowOf(input, step);
    if (making)
      steps.push({
        step,
        action: step.kind === 'setup.run' ? 'run' : 'create',
        reason: reasonFor(row, 'fresh worktree'),
      });
    else if (!unfinished && (row === undefined || !unchanged(input, step, row))) {
      warnings.push({
        code: 'not_redone',
        message: `${what} of repo ${name} changed; its worktree exists already, so that is not done again`,
        file: null,
      });
      // Kept as it was done: with the old words back in the manifest nothing differs.
      if (row !== undefined) steps.push({ step, action: 'none', reason: `${what} changed: not done again` });
    } else if (row?.state === 'done' && unchanged(input, step, row)) {
      steps.push({ step, action: 'none', reason: '' });
    } else {
      const reason = row?.state === 'done' ? `${what} changed before the worktree was ready` : reasonFor(row);
      steps.push({ step, action: step.kind === 'setup.run' ? 'run' : 'create', reason });
    }
  };
  if (intent.copy.length > 0)
    follow({ kind: 'worktree.copy', repo: name, source, path, globs: intent.copy }, 'copy');
  if (intent.link.length > 0)
    follow({ kind: 'worktree.link', repo: name, source, path, paths: intent.link }, 'link');
  for (const [index, command] of setupOf(intent)) {
    follow({ kind: 'setup.run', repo: name, index, command, cwd: path }, 'setup');
  }
  // Which branch a worktree is on is its agent's business; that it is another one is worth a word.
  if (!making && seen.worktree.branch !== null && seen.worktree.branch !== branch) {
    warnings.push({
      code: 'branch_changed',
      message: `worktree ${path} is on branch ${seen.worktree.branch}, the run's branch is ${branch}`,
      file: null,
    });
  }
  return steps;
}

/** The steps that make a worktree ready after it was checked out. */
const MAKING = ['worktree.copy', 'worktree.link', 'setup.run'] as const;

function* setupOf(intent: RepoIntent): Generator<readonly [number, RepoIntent['setup'][number]]> {
  for (const [index, command] of intent.setup.entries()) yield [index + 1, command];
}

function worktreeStep(
  input: PlanInput,
  repo: RecordedRepo,
  seen: ObservedRepo,
  drift: Change[],
  warnings: Warning[],
): DraftStep {
  const { name, source, path, branch, baseBranch } = repo;
  // The ref is recorded last: without it the worktree was never whole, and its base may still be chosen.
  const known =
    repo.baseRef === null ? null : { from: 'local' as const, ref: repo.baseRef, commit: repo.baseCommit };
  const own = seen.branchCommit !== null && (known !== null || seen.branchCommit === repo.baseCommit);
  const step: Step = {
    kind: 'worktree.create',
    repo: name,
    source,
    path,
    branch,
    baseBranch,
    base: known ?? seen.base,
    existing: own,
  };
  const row = rowOf(input, step);
  const done = row?.state === 'done';
  if (done && seen.worktree.state === 'ready') return { step, action: 'none', reason: '' };
  if (done) {
    drift.push(lost(`worktree/${name}`, path, [stepId(step)]));
    if (!step.existing) {
      warnings.push({
        code: 'branch_gone',
        message: `branch ${branch} of repo ${name} is gone too; it is made again from ${repo.baseCommit?.slice(0, 12)}`,
        file: null,
      });
    }
    return { step, action: 'create', reason: 'the worktree is gone' };
  }
  return { step, action: 'create', reason: reasonFor(row) };
}

function ticketCopyStep(input: PlanInput, remade: boolean): DraftStep | null {
  const { run } = input;
  const first = run.repos.find((repo) => !repo.removed);
  if (run.intent.tickets.driver === 'none' || run.ticketRoot === null || first === undefined) return null;
  if (!run.ticketRoot.startsWith(`${first.source}/`)) return null;
  const relative = run.ticketRoot.slice(first.source.length + 1);
  // A root inside `.metawsm` is the state folder's own: it is no part of the repo.
  if (relative.split('/').includes('.metawsm')) return null;
  const step: Step = { kind: 'ticket.copy', repo: first.name, path: first.path, relative };
  const row = rowOf(input, step);
  if (row?.state === 'done' && !remade) {
    return unchanged(input, step, row)
      ? { step, action: 'none', reason: '' }
      : { step, action: 'update', reason: 'the brief changed' };
  }
  return { step, action: 'create', reason: reasonFor(row) };
}

function briefStep(
  input: PlanInput,
  changes: readonly ManifestChange[],
  drift: Change[],
  remade: boolean,
): DraftStep {
  const told = changes.filter((change) => /^\/(intake|done_criteria|ticket|repos)/.test(change.path));
  const step: Step = { kind: 'brief.write', changed: told.map(inWords) };
  const row = rowOf(input, step);
  if (row?.state !== 'done') return { step, action: 'create', reason: reasonFor(row) };
  if (!unchanged(input, step, row)) return { step, action: 'update', reason: 'what it says changed' };
  if (remade) return { step, action: 'update', reason: 'the workspace was made again' };
  const files = input.observed.workspace.gone;
  for (const file of files) drift.push(lost(within(input.run, file), file, [step.kind]));
  return files.length > 0
    ? { step, action: 'create', reason: 'a file of it is gone' }
    : { step, action: 'none', reason: '' };
}

/** A change as an agent is told of it. */
function inWords({ path, after }: ManifestChange): string {
  return after === null ? `${path}: no longer there` : `${path}: ${after}`;
}

/** Remove the worktree of a repo that the manifest dropped; refused while it holds work. */
function dropRepo(run: RecordedRun, repo: RecordedRepo, seen: ObservedRepo | undefined): DraftStep | Refusal {
  const worktree = seen?.worktree;
  const work = [
    ...(worktree?.onlyHere ?? []),
    ...((worktree?.ahead ?? 0) > 0 ? [`${worktree?.ahead} commits on ${repo.branch}`] : []),
  ];
  if (worktree?.state === 'ready' && work.length > 0) {
    return {
      code: 'dropped_repo_has_work',
      message: `repo ${repo.name} was dropped from the manifest, and its worktree ${repo.path} holds work: ${work.join('; ')}`,
      wayOut: `put it back into the manifest, or end the run with metawsm cleanup ${run.selector}`,
    };
  }
  return {
    step: {
      kind: 'worktree.remove',
      repo: repo.name,
      source: repo.source,
      path: repo.path,
      branch: repo.branch,
      backup: null,
    },
    action: 'delete',
    reason: 'no longer in the manifest; its branch stays',
    needsYes: worktree?.state === 'ready',
  };
}

/** What lies in the workspace, as a change names it. */
function within(run: RecordedRun, place: string): string {
  return place === run.workspace ? 'workspace' : place.slice(run.workspace.length + 1);
}

function lost(path: string, what: string, stepIds: readonly string[]): Change {
  return { source: 'world', path, effect: 'in_place', before: what, after: null, stepIds };
}

function reasonFor(row: RecordedStep | undefined, fresh = ''): string {
  switch (row?.state) {
    case 'running':
      return 'interrupted';
    case 'failed':
      return 'failed before';
    default:
      return fresh;
  }
}
