import { describe, expect, test } from 'vitest';
import type { Criterion } from '../../src/manifest/intent.js';
import {
  attestations,
  type CriterionState,
  criteriaStates,
  decideCriterionRepos,
  declaredCriteria,
  normaliseCriterion,
  type SeenHeads,
  type Statement,
} from '../../src/plan/evidence.js';
import type { RecordedEvidence, RecordedRun } from '../../src/plan/recorded.js';
import { reconcile } from '../../src/sentinels/reconcile.js';
import {
  agentIntent,
  draft,
  look,
  makeIntent,
  NOW,
  readyRepo,
  recordedRun,
  repoIntent,
  sentinel,
  wanted,
} from '../support/run-builder.js';

const A = 'a'.repeat(40);
const B = 'b'.repeat(40);
const C = 'c'.repeat(40);

const command = (run: string | string[], repo: string | null = null): Criterion => ({
  kind: 'command',
  run,
  repo,
  timeoutMs: 600_000,
});
const words = (text: string): Criterion => ({ kind: 'worded', text });

/** A run with these criteria and repos, nothing checked. */
function runWith(criteria: Criterion[], repos: string[] = ['api']): RecordedRun {
  return recordedRun({ intent: { criteria, repos: repos.map((name) => repoIntent(name)) } });
}

/** Evidence for the criterion at a place of the run. */
function found(run: RecordedRun, index: number, more: Partial<RecordedEvidence> = {}): RecordedEvidence {
  const { key, id, criterion, repo, boundTo } = declaredCriteria(run)[index] ?? expect.fail('no criterion');
  return {
    criterionId: key,
    label: id,
    kind: criterion.kind,
    command: criterion.kind === 'command' ? criterion.run : null,
    repo,
    heads: Object.fromEntries(boundTo.map((name) => [name, A])),
    dirty: false,
    exitCode: criterion.kind === 'command' ? 0 : null,
    durationMs: 5,
    checkedAt: NOW - 1_000,
    log: null,
    state: 'passed',
    detail: null,
    source: null,
    ...more,
  };
}

const clean = (head: string) => ({ head, dirtyFiles: [] });
const changed = (head: string, ...files: string[]) => ({ head, dirtyFiles: files });

/** `state` or `void: reason` of each criterion. */
const told = (states: readonly CriterionState[]) =>
  states.map(({ state, voidReason }) => (voidReason === null ? state : `${state}: ${voidReason}`));

const FAILED = { state: 'failed', exitCode: 1 } as const;

describe('a command', () => {
  const run = runWith([command('npm test')]);
  test.for<[what: string, evidence: Partial<RecordedEvidence>[], heads: SeenHeads | null, expected: string]>([
    ['nothing found', [], { api: clean(A) }, 'unverified'],
    ['passed here', [{}], { api: clean(A) }, 'passed'],
    ['failed here', [FAILED], { api: clean(A) }, 'failed'],
    ['the newest counts', [{}, FAILED], { api: clean(A) }, 'failed'],
    ['also when it is the better one', [FAILED, {}], { api: clean(A) }, 'passed'],
    ['HEAD moved', [{}], { api: clean(B) }, 'void: HEAD of api moved from aaaaaaaa to bbbbbbbb'],
    [
      'HEAD moved after a failure',
      [FAILED],
      { api: clean(B) },
      'void: HEAD of api moved from aaaaaaaa to bbbbbbbb',
    ],
    ['HEAD came back', [{}, { heads: { api: B }, ...FAILED }], { api: clean(A) }, 'passed'],
    [
      'what ended late is not the newest of this HEAD',
      [{ heads: { api: B } }, {}],
      { api: clean(B) },
      'passed',
    ],
    ['changed since', [{}], { api: changed(A, 'x.txt') }, 'void: api has uncommitted changes: x.txt'],
    [
      'changed since, in many places',
      [{}],
      { api: changed(A, '1', '2', '3', '4', '5') },
      'void: api has uncommitted changes: 1, 2, 3, and 2 more',
    ],
    [
      'passed among changes',
      [{ dirty: true }],
      { api: changed(A, 'x') },
      'void: api has uncommitted changes: x',
    ],
    ['which are gone', [{ dirty: true }], { api: clean(A) }, 'void: it was checked with uncommitted changes'],
    ['failed among changes', [{ dirty: true, ...FAILED }], { api: changed(A, 'x') }, 'failed'],
    [
      'failed among changes that are gone',
      [{ dirty: true, ...FAILED }],
      { api: clean(A) },
      'void: it was checked with uncommitted changes',
    ],
    ['an older clean pass outlives a dirty one', [{}, { dirty: true }], { api: clean(A) }, 'passed'],
    ['no worktree', [{}], { api: { head: null, dirtyFiles: null } }, 'void: the worktree of api is gone'],
    ['not looked at', [{}], {}, 'void: repo api could not be looked at'],
    ['nobody looked', [{}], null, 'passed'],
    ['nobody looked, it failed', [FAILED], null, 'failed'],
    ['nobody looked, it was dirty', [{ dirty: true }], null, 'void: it was checked with uncommitted changes'],
  ])('%s', ([, evidence, heads, expected]) => {
    const all = evidence.map((more) => found(run, 0, more));
    expect(told(criteriaStates({ ...run, evidence: all }, heads))).toEqual([expected]);
  });

  test('tells what was found', () => {
    const evidence = [found(run, 0, { ...FAILED, log: '/log', detail: 'exited with status 1' })];
    expect(criteriaStates({ ...run, evidence }, { api: clean(A) })).toEqual([
      {
        id: 'c1',
        key: evidence[0]?.criterionId,
        kind: 'command',
        text: 'npm test',
        repo: 'api',
        state: 'failed',
        voidReason: null,
        commit: A,
        exitCode: 1,
        durationMs: 5,
        checkedAt: NOW - 1_000,
        log: '/log',
        detail: 'exited with status 1',
      },
    ]);
  });
});

describe('which criterion it is about', () => {
  const before = runWith([command('one'), command('two'), words('three')]);
  const evidence = [found(before, 0), found(before, 1), found(before, 2)];
  const heads = { api: clean(A) };
  const states = (criteria: Criterion[]) => told(criteriaStates({ ...runWith(criteria), evidence }, heads));

  test('another order changes nothing', () => {
    expect(states([words('three'), command('two'), command('one')])).toEqual(['passed', 'passed', 'passed']);
  });

  test('a new one among them is unverified', () => {
    expect(states([command('zero'), command('one'), command('two'), words('three')])).toEqual([
      'unverified',
      'passed',
      'passed',
      'passed',
    ]);
  });

  test('a changed one is void', () => {
    expect(states([command('ONE'), command('two'), words('four')])).toEqual([
      'void: the criterion changed since',
      'passed',
      'void: the criterion changed since',
    ]);
  });

  test('argv and shell text are two commands, another timeout is not', () => {
    expect(states([command(['one']), { ...command('two'), timeoutMs: 1 } as Criterion])).toEqual([
      'void: the criterion changed since',
      'passed',
    ]);
  });

  test('white space in words is nothing', () => {
    expect(states([command('one'), command('two'), words('  three\n')])[2]).toBe('passed');
    expect(normaliseCriterion('  The  README\n names it ')).toBe('The README names it');
  });

  test('a command in another repo is another one', () => {
    const two = runWith([command('one', 'api')], ['api', 'web']);
    const moved = runWith([command('one', 'web')], ['api', 'web']);
    const both = { api: clean(A), web: clean(A) };
    expect(told(criteriaStates({ ...moved, evidence: [found(two, 0)] }, both))).toEqual([
      'void: the criterion changed since',
    ]);
  });
});

describe('several repos', () => {
  const run = runWith([command('all'), command('one', 'web'), words('said')], ['api', 'web']);
  const evidence = [0, 1, 2].map((index) => found(run, index));
  test.for<[string, SeenHeads, string[]]>([
    ['as they were', { api: clean(A), web: clean(A) }, ['passed', 'passed', 'passed']],
    [
      'one moved: what is bound to all is void',
      { api: clean(B), web: clean(A) },
      [
        'void: HEAD of api moved from aaaaaaaa to bbbbbbbb',
        'passed',
        'void: HEAD of api moved from aaaaaaaa to bbbbbbbb',
      ],
    ],
    [
      'one changed',
      { api: clean(A), web: changed(A, 'x') },
      Array(3).fill('void: web has uncommitted changes: x') as string[],
    ],
  ])('%s', ([, heads, expected]) => {
    expect(told(criteriaStates({ ...run, evidence }, heads))).toEqual(expected);
  });

  test('a repo that came later was not looked at', () => {
    const intent = makeIntent({
      criteria: [words('said')],
      repos: ['api', 'web', 'new'].map((name) => repoIntent(name)),
    });
    const more = { ...wanted(run, intent), evidence: [found(run, 2)] };
    const heads = { api: clean(A), web: clean(A), new: clean(A) };
    expect(told(criteriaStates(more, heads))).toEqual(['void: it says nothing about repo new']);
  });

  test('where a command runs that names no repo is decided once', () => {
    const alone = draft(makeIntent({ criteria: [command('one')] }));
    expect(alone.criterionRepos).toEqual({ '"one"': 'api' });
    const both = makeIntent({
      criteria: [command('one'), command('two')],
      repos: [repoIntent('api'), repoIntent('web')],
    });
    const grown = wanted(alone, both);
    expect(declaredCriteria(grown).map(({ repo }) => repo)).toEqual(['api', null]);
    const dropped = makeIntent({ criteria: [command('one')], repos: [repoIntent('web')] });
    expect(decideCriterionRepos(grown.criterionRepos, dropped)).toEqual({ '"one"': 'web' });
  });
});

describe('words', () => {
  const run = runWith([words('It is documented'), words('It is fast'), command('npm test')]);
  const statement = (more: Partial<Statement> = {}): Statement => ({
    by: 'agent',
    status: 'passed',
    done: ['It is  documented', 'npm test'],
    heads: null,
    source: 's1',
    at: NOW - 2_000,
    ...more,
  });
  const heads = { api: clean(B) };
  const said = (evidence: readonly RecordedEvidence[], statements: Statement[], at: SeenHeads = heads) =>
    attestations({ ...run, evidence }, statements, at, NOW);

  test('are bound to the HEADs at which they are first read, and a command is never attested', () => {
    expect(said([], [statement()])).toMatchObject([
      {
        label: 'c1',
        kind: 'worded',
        heads: { api: B },
        state: 'passed',
        checkedAt: NOW - 2_000,
        source: 's1',
      },
    ]);
  });

  test('keep the HEADs that they name', () => {
    const fresh = said([], [statement({ heads: { api: A } })]);
    expect(fresh).toMatchObject([{ heads: { api: A } }]);
    expect(told(criteriaStates({ ...run, evidence: fresh }, heads))[0]).toBe(
      'void: HEAD of api moved from aaaaaaaa to bbbbbbbb',
    );
  });

  test('are not bound anew when HEAD moves', () => {
    const first = said([], [statement()]);
    expect(said(first, [statement()], { api: clean(C) })).toEqual([]);
  });

  test('are not bound while HEAD cannot be seen', () => {
    expect(said([], [statement()], { api: { head: null, dirtyFiles: null } })).toEqual([]);
  });

  test('are bound anew when they are said anew', () => {
    const first = said([], [statement()]);
    const again = statement({ source: 's2', at: NOW - 1_000 });
    expect(said(first, [again], { api: clean(C) })).toMatchObject([{ heads: { api: C } }]);
    expect(said(first, [again])).toEqual([]);
  });

  test('an older statement overrules nothing', () => {
    const first = said([], [statement()]);
    const older = statement({ source: 's0', at: NOW - 9_000, status: 'failed', done: [] });
    expect(said(first, [older])).toEqual([]);
  });

  test('a later one takes back what was said of these commits, and nothing else', () => {
    const first = said([], [statement()]);
    const back = statement({ by: 'other', source: 's2', at: NOW - 1_000, status: 'failed', done: [] });
    const taken = said(first, [back]);
    expect(taken).toMatchObject([{ label: 'c1', state: 'failed', detail: 'taken back by other' }]);
    expect(told(criteriaStates({ ...run, evidence: [...first, ...taken] }, heads))).toEqual([
      'failed',
      'unverified',
      'unverified',
    ]);
    expect(said([...first, ...taken], [statement(), back])).toEqual([]);
    expect(said(first, [back], { api: clean(C) })).toEqual([]);
  });

  test('a time in the future is now, and counts once', () => {
    const later = statement({ at: NOW + 60_000 });
    const first = said([], [later]);
    expect(first).toMatchObject([{ checkedAt: NOW }]);
    expect(attestations({ ...run, evidence: first }, [later], { api: clean(C) }, NOW + 1)).toEqual([]);
  });
});

describe('a look', () => {
  const criteria = [words('said')];
  test('reads what the agent attests', () => {
    const run = recordedRun({ intent: { criteria } });
    const file = sentinel('validation-result', { status: 'passed', done_criteria: ['said'] });
    const outcome = reconcile(run, look(run, { sentinels: [file] }));
    expect(outcome.attested).toMatchObject([{ label: 'c1', heads: { api: B }, detail: 'attested by agent' }]);
    expect(outcome.criteria).toMatchObject([{ state: 'passed', commit: B }]);
  });

  test('reads what is said in a workspace without agents, or with several', () => {
    for (const agents of [[], [agentIntent('a'), agentIntent('b')]]) {
      const run = recordedRun({ intent: { criteria, agents } });
      const value = { status: 'passed', done_criteria: ['said'], run_id: run.id };
      const place = { place: { kind: 'workspace' } } as const;
      const own = reconcile(run, look(run, { sentinels: [sentinel('validation-result', value, place)] }));
      expect(own.warnings).toEqual([]);
      expect(own.criteria).toMatchObject([{ state: 'passed' }]);

      const foreign = sentinel('validation-result', { ...value, run_id: 'run-other' }, place);
      const other = reconcile(run, look(run, { sentinels: [foreign] }));
      expect(other.warnings).toMatchObject([{ code: 'sentinel_foreign' }]);
      expect(other.criteria).toMatchObject([{ state: 'unverified' }]);
    }
  });

  test('holds evidence against the worktrees', () => {
    const run = runWith([command('npm test')]);
    const evidence = [found(run, 0)];
    const seen = look(run, { repos: { api: readyRepo({ head: A, dirtyFiles: ['x'] }) } });
    expect(told(reconcile({ ...run, evidence }, seen).criteria)).toEqual([
      'void: api has uncommitted changes: x',
    ]);
  });
});
