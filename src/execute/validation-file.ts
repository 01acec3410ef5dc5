/** `<workspace>/.metawsm/validation-result.json`: what `verify` found, beside what was said there before. */
import { join } from 'node:path';
import { type CriterionState, declaredCriteria, normaliseCriterion } from '../plan/evidence.js';
import type { Observed, Warning } from '../plan/observed.js';
import type { RecordedRun } from '../plan/recorded.js';
import { SENTINEL_FOLDER } from '../sentinels/context.js';
import { sentinelFile, writeSentinel } from '../sentinels/sentinels.js';
import { PathRefused } from '../tools/files.js';

/** Tells the entries of `checks` that verify makes from those of an agent. */
const MADE_BY = 'metawsm verify';
/** As many as the schema allows. */
const MOST_CHECKS = 1_000;

/**
 * Merge what is recorded of the criteria into the file. It says `passed` when every one of them passed; that word is
 * for readers, nothing here ever counts as evidence. The answer is a warning where it could not be written: a
 * file that cannot be read is left as it is.
 */
export async function writeValidation(
  run: RecordedRun,
  observed: Observed,
  criteria: readonly CriterionState[],
): Promise<Warning | null> {
  const dir = join(run.workspace, SENTINEL_FOLDER);
  const file = sentinelFile(dir, 'validation-result');
  const there = observed.sentinels.find((sentinel) => sentinel.file === file);
  const problem = (message: string): Warning => ({ code: 'validation_not_written', message, file });
  if (there?.content.kind === 'problem')
    return problem(`${file} ${there.content.reason}; the result was not written there`);
  const before = there?.content.kind === 'valid' ? there.content.value : null;
  if (before?.run_id != null && before.run_id !== run.id)
    return problem(`${file} is of another run (${before.run_id}); the result was not written there`);

  const heads: Record<string, string> = {};
  for (const { name } of run.intent.repos) {
    const head = observed.repos[name]?.worktree.head ?? null;
    if (head !== null) heads[name] = head;
  }
  const keep = (before?.checks ?? []).filter((check) => (check as { by?: unknown } | null)?.by !== MADE_BY);
  const now = {
    ...before,
    run_id: run.id,
    status: criteria.every((criterion) => criterion.state === 'passed') ? 'passed' : 'failed',
    done_criteria: whatHolds(run, criteria, heads, before?.done_criteria ?? []),
    checks: [...keep, ...checksOf(criteria)].slice(-MOST_CHECKS),
    heads,
  };
  if (JSON.stringify(now) === JSON.stringify(before)) return null;
  try {
    await writeSentinel(run.workspace, dir, 'validation-result', now);
    return null;
  } catch (error) {
    if (error instanceof PathRefused) return problem(error.message);
    throw error;
  }
}

/**
 * The criteria that hold at these HEADs, and whatever else was named that is none of the run's. Words stay even
 * while uncommitted changes are in the way: leaving them out would take them back.
 */
function whatHolds(
  run: RecordedRun,
  criteria: readonly CriterionState[],
  heads: Readonly<Record<string, string>>,
  named: readonly string[],
): string[] {
  const own = new Set(criteria.map((criterion) => normaliseCriterion(criterion.text)));
  const declared = declaredCriteria(run);
  const holds = criteria.filter(({ key, kind, state }) => {
    if (kind === 'command') return state === 'passed';
    const newest = run.evidence.findLast((found) => found.criterionId === key);
    const boundTo = declared.find((one) => one.key === key)?.boundTo ?? [];
    return newest?.state === 'passed' && boundTo.every((repo) => newest.heads[repo] === heads[repo]);
  });
  const others = named.filter((text) => !own.has(normaliseCriterion(text)));
  return [...new Set([...others, ...holds.map((criterion) => criterion.text)])];
}

function checksOf(criteria: readonly CriterionState[]): object[] {
  return criteria
    .filter((criterion) => criterion.kind === 'command')
    .map((criterion) => ({
      by: MADE_BY,
      criterion: criterion.id,
      run: criterion.text,
      repo: criterion.repo,
      state: criterion.state,
      void_reason: criterion.voidReason,
      commit: criterion.commit,
      exit_code: criterion.exitCode,
      duration_ms: criterion.durationMs,
      checked_at: criterion.checkedAt === null ? null : new Date(criterion.checkedAt).toISOString(),
      log: criterion.log,
    }));
}
