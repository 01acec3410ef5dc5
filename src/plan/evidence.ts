/**
 * What the recorded evidence says about the done criteria, here and now: a pure function of the criteria, the
 * record, and the HEADs and changes of the worktrees. Evidence is never marked as void: it is about commits, and
 * counts whenever the worktrees are clean at those.
 */
import type { Criterion, Intent } from '../manifest/intent.js';
import { canonical } from './diff.js';
import type { ObservedRepo } from './observed.js';
import type { RecordedEvidence, RecordedRun } from './recorded.js';

/** A done criterion as it stands. */
export interface CriterionState {
  /** `c1`, `c2`, … in the manifest's order. */
  readonly id: string;
  /** What makes it this criterion, wherever it stands in the list. */
  readonly key: string;
  readonly kind: 'command' | 'worded';
  /** Its words, or its command on one line. */
  readonly text: string;
  /** Where a command runs; null: in the workspace, or words. */
  readonly repo: string | null;
  readonly state: 'unverified' | 'passed' | 'failed' | 'void';
  /** Why what was found does not count (any more), as a clause; null unless void. */
  readonly voidReason: string | null;
  /** The commit that the evidence is about; null: none, or several repos. */
  readonly commit: string | null;
  readonly exitCode: number | null;
  readonly durationMs: number | null;
  readonly checkedAt: number | null;
  readonly log: string | null;
  /** How the check ended, as a clause. */
  readonly detail: string | null;
}

/** A criterion with all that was left open decided. */
export interface DeclaredCriterion {
  readonly id: string;
  readonly key: string;
  readonly criterion: Criterion;
  readonly text: string;
  readonly repo: string | null;
  /** The repos whose HEADs its evidence is bound to. */
  readonly boundTo: readonly string[];
}

/** What evidence is held against: the worktree of one repo. */
export interface SeenHead {
  /** null: the worktree is not there. */
  readonly head: string | null;
  /** Changes that are in no commit; null: not looked at. */
  readonly dirtyFiles: readonly string[] | null;
}

/** By repo name. */
export type SeenHeads = Readonly<Record<string, SeenHead>>;

/** The HEADs of a look. */
export function seenHeads(repos: Readonly<Record<string, ObservedRepo>>): SeenHeads {
  return Object.fromEntries(
    Object.entries(repos).map(([name, { worktree }]) => {
      const ready = worktree.state === 'ready';
      return [name, { head: ready ? worktree.head : null, dirtyFiles: ready ? worktree.dirtyFiles : null }];
    }),
  );
}

/** A criterion's words for comparing: white space at the ends is nothing, and any inside is one space. */
export function normaliseCriterion(text: string): string {
  return text.trim().replace(/\s+/gu, ' ');
}

/** How a criterion is named in sentinels and to people: its words, or its command on one line. */
function criterionText(criterion: Criterion): string {
  if (criterion.kind === 'worded') return criterion.text;
  return typeof criterion.run === 'string' ? criterion.run : criterion.run.join(' ');
}

/**
 * Where the commands run that name no repo: in the only repo, else in the workspace. Decided when a command is
 * first seen and kept, as long as that repo is still there.
 */
export function decideCriterionRepos(
  known: RecordedRun['criterionRepos'],
  intent: Intent,
): RecordedRun['criterionRepos'] {
  const names = intent.repos.map((repo) => repo.name);
  const only = names.length === 1 ? (names[0] ?? null) : null;
  const decided: Record<string, string | null> = {};
  for (const criterion of intent.criteria) {
    if (criterion.kind !== 'command' || criterion.repo !== null) continue;
    const key = canonical(criterion.run);
    const before = known[key];
    decided[key] = before === undefined || (before !== null && !names.includes(before)) ? only : before;
  }
  return decided;
}

/** The done criteria of a run, in the manifest's order. */
export function declaredCriteria(
  run: Pick<RecordedRun, 'intent' | 'criterionRepos'>,
): readonly DeclaredCriterion[] {
  const { intent } = run;
  const all = intent.repos.map((repo) => repo.name);
  const decided = decideCriterionRepos(run.criterionRepos, intent);
  return intent.criteria.map((criterion, index) => {
    const repo =
      criterion.kind === 'worded' ? null : (criterion.repo ?? decided[canonical(criterion.run)] ?? null);
    const key =
      criterion.kind === 'worded'
        ? canonical(['worded', normaliseCriterion(criterion.text)])
        : canonical(['command', criterion.run, repo]);
    const boundTo = repo === null ? all : [repo];
    return { id: `c${index + 1}`, key, criterion, text: criterionText(criterion), repo, boundTo };
  });
}

/** How the criteria of a run stand. `heads` null: nobody looked, and what was recorded is told. */
export function criteriaStates(
  run: Pick<RecordedRun, 'intent' | 'criterionRepos' | 'evidence'>,
  heads: SeenHeads | null,
): readonly CriterionState[] {
  const declared = declaredCriteria(run);
  const keys = new Set(declared.map(({ key }) => key));
  return declared.map((one) => {
    const found = run.evidence.filter((each) => each.criterionId === one.key).reverse();
    for (const each of found) {
      const reason = voidReason(each, one, heads);
      if (reason === null) return stateOf(one, each, each.state, null);
    }
    const [newest] = found;
    if (newest !== undefined) return stateOf(one, newest, 'void', voidReason(newest, one, heads));
    // What was found under this name was about something else: the criterion is not the one it was.
    const other = run.evidence.findLast(
      (each) => each.label === one.id && each.kind === one.criterion.kind && !keys.has(each.criterionId),
    );
    if (other !== undefined) return stateOf(one, other, 'void', 'the criterion changed since');
    return stateOf(one, null, 'unverified', null);
  });
}

/** Why evidence does not count as things are now; null: it does. */
function voidReason(
  found: RecordedEvidence,
  { boundTo }: DeclaredCriterion,
  heads: SeenHeads | null,
): string | null {
  for (const repo of boundTo) {
    const at = found.heads[repo];
    if (at === undefined) return `it says nothing about repo ${repo}`;
    if (heads === null) continue;
    const seen = heads[repo];
    if (seen === undefined) return `repo ${repo} could not be looked at`;
    if (seen.head === null) return `the worktree of ${repo} is gone`;
    if (seen.head !== at) return `HEAD of ${repo} moved from ${short(at)} to ${short(seen.head)}`;
  }
  const changed = heads === null ? [] : boundTo.filter((repo) => (heads[repo]?.dirtyFiles ?? []).length > 0);
  // A failure among uncommitted changes is one as long as they are there.
  if (found.state === 'failed' && heads !== null && found.dirty === changed.length > 0) return null;
  if (changed.length > 0) {
    const files = changed.flatMap((repo) => heads?.[repo]?.dirtyFiles ?? []);
    return `${changed.join(', ')} ${changed.length === 1 ? 'has' : 'have'} uncommitted changes: ${some(files)}`;
  }
  return found.dirty && !(found.state === 'failed' && heads === null)
    ? 'it was checked with uncommitted changes'
    : null;
}

function stateOf(
  one: DeclaredCriterion,
  found: RecordedEvidence | null,
  state: CriterionState['state'],
  reason: string | null,
): CriterionState {
  const commits = Object.values(found?.heads ?? {});
  return {
    id: one.id,
    key: one.key,
    kind: one.criterion.kind,
    text: one.text,
    repo: one.repo,
    state,
    voidReason: reason,
    commit: commits.length === 1 ? (commits[0] ?? null) : null,
    exitCode: found?.exitCode ?? null,
    durationMs: found?.durationMs ?? null,
    checkedAt: found?.checkedAt ?? null,
    log: found?.log ?? null,
    detail: found?.detail ?? null,
  };
}

/** What an agent or the operator says about the criteria, in a `validation-result.json`. */
export interface Statement {
  /** The agent it is of; null: nobody's in particular. */
  readonly by: string | null;
  readonly status: string;
  /** The criteria that hold. A command's text among them is no evidence. */
  readonly done: readonly string[];
  /** null: about the HEADs at which it is first read. */
  readonly heads: Readonly<Record<string, string>> | null;
  /** Tells it from every other statement. */
  readonly source: string;
  /** When it was made. */
  readonly at: number;
}

/**
 * What the statements say that is not recorded yet. Each is bound to its HEADs for good when it is first read; an
 * older one never overrules a newer one. A statement that the work failed takes back what was said of these commits.
 */
export function attestations(
  run: Pick<RecordedRun, 'intent' | 'criterionRepos' | 'evidence'>,
  statements: readonly Statement[],
  heads: SeenHeads,
  now: number,
): readonly RecordedEvidence[] {
  const words = declaredCriteria(run).filter(({ criterion }) => criterion.kind === 'worded');
  const fresh: RecordedEvidence[] = [];
  for (const statement of [...statements].sort((a, b) => a.at - b.at)) {
    const checkedAt = Math.trunc(Math.min(statement.at, now));
    const done = new Set(statement.done.map(normaliseCriterion));
    for (const { id, key, text, boundTo } of words) {
      const bound = statement.heads ?? headsNow(boundTo, heads);
      if (bound === null) continue;
      const newest = [...run.evidence, ...fresh].findLast((each) => each.criterionId === key);
      if (newest !== undefined && (newest.source === statement.source || newest.checkedAt >= checkedAt))
        continue;
      const said = newest?.state === 'passed' && canonical(newest.heads) === canonical(bound);
      const holds = done.has(normaliseCriterion(text));
      if (holds ? said : !(said && statement.status === 'failed')) continue;
      fresh.push({
        criterionId: key,
        label: id,
        kind: 'worded',
        command: null,
        repo: null,
        heads: bound,
        dirty: false,
        exitCode: null,
        durationMs: null,
        checkedAt,
        log: null,
        state: holds ? 'passed' : 'failed',
        detail: `${holds ? 'attested' : 'taken back'}${statement.by === null ? '' : ` by ${statement.by}`}`,
        source: statement.source,
      });
    }
  }
  return fresh;
}

function headsNow(boundTo: readonly string[], heads: SeenHeads): Record<string, string> | null {
  const bound: Record<string, string> = {};
  for (const repo of boundTo) {
    const head = heads[repo]?.head ?? null;
    if (head === null) return null;
    bound[repo] = head;
  }
  return bound;
}

function short(commit: string): string {
  return commit.slice(0, 8);
}

function some(files: readonly string[]): string {
  const more = files.length > 3 ? `, and ${files.length - 3} more` : '';
  return `${files.slice(0, 3).join(', ')}${more}`;
}
