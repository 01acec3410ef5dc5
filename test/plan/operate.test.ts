import { describe, expect, test } from 'vitest';
import type { RunReason, RunState } from '../../src/plan/lifecycle.js';
import { type CleanupOptions, compileCleanup, compileStop } from '../../src/plan/operate.js';
import { missingSteps, type Plan } from '../../src/plan/plan.js';
import { reconcile } from '../../src/sentinels/reconcile.js';
import {
  agentIntent,
  aliveAgent,
  deadAgent,
  exited,
  freshRepo,
  hash,
  type LookOverrides,
  look,
  type RunOverrides,
  readyRepo,
  recordedRun,
  repoIntent,
  sentinel,
  WORKSPACE,
} from '../support/run-builder.js';

const missing = (plan: Plan) => missingSteps(plan).map((step) => `${step.id} ${step.action}`);
const codes = (plan: Plan) => plan.refused.map((refusal) => refusal.code);
const two = { agents: [agentIntent('a'), agentIntent('b')], repos: [repoIntent('api'), repoIntent('web')] };
const completion = sentinel('implementation-complete');
const never = { attempt: 0, state: 'pending' as const, startedAt: null };
const unseen = aliveAgent({ claim: 'none', wrapper: 'dead', process: null, started: null });

function input(run: RunOverrides = {}, seen: LookOverrides = {}) {
  const recorded = recordedRun(run);
  const observed = look(recorded, seen);
  return { recorded, observed, outcome: reconcile(recorded, observed), hash };
}

describe('stop', () => {
  test.each<[string, RunOverrides, LookOverrides, string[]]>([
    ['a live agent is ended', {}, {}, ['agent.stop/agent delete']],
    [
      'one that may live, too',
      {},
      { agents: { agent: aliveAgent({ process: 'unknown' }) } },
      ['agent.stop/agent delete'],
    ],
    ['one whose start is on its way, too', {}, { agents: { agent: unseen } }, ['agent.stop/agent delete']],
    ['one that completed and lives, too', {}, { sentinels: [completion] }, ['agent.stop/agent delete']],
    ['one that ended is left', {}, { agents: { agent: exited(0) } }, []],
    ['one that is dead is left', {}, { agents: { agent: deadAgent() } }, []],
    ['one that never started is left', { agents: { agent: never } }, {}, []],
    [
      'a stop that was cut short is ended',
      { agents: { agent: { stoppedAttempt: 1 } } },
      {},
      ['agent.stop/agent delete'],
    ],
    [
      'a removed agent is none of the run',
      { intent: two, agents: { b: { removed: true } } },
      {},
      ['agent.stop/a delete'],
    ],
  ])('%s', (_, run, seen, steps) => {
    const plan = compileStop(input(run, seen), null);
    expect(missing(plan)).toEqual(steps);
    expect(plan).toMatchObject({ request: 'stop', refused: [], changes: [], isNew: false, resumeAt: null });
  });

  test('only the named agents', () => {
    const plan = compileStop(input({ intent: two }), ['b']);
    expect(plan.steps.map((step) => step.id)).toEqual(['agent.stop/b']);
  });

  test.each<[RunState, RunReason | null, string[]]>([
    ['planning', null, []],
    ['running', null, []],
    ['awaiting_guidance', null, []],
    ['paused', 'interrupted', []],
    ['failed', 'agent_failed', []],
    ['completed', null, []],
    ['stopping', null, []],
    ['stopped', null, []],
    ['closing', null, ['run_closing']],
    ['closed', null, ['run_closed']],
  ])('a run that is %s (%s): refused %j', (state, reason, refused) => {
    const plan = compileStop(input({ state, reason }), null);
    expect(codes(plan)).toEqual(refused);
    expect(plan.steps).toHaveLength(refused.length === 0 ? 1 : 0);
  });
});

describe('cleanup', () => {
  const cleanup = (run: RunOverrides, seen: LookOverrides, options: Partial<CleanupOptions> = {}) =>
    compileCleanup(input(run, seen), { force: false, keepWorkspaces: false, ...options });
  const dirty = readyRepo({ onlyHere: ['2 uncommitted files', '1 commit on no branch'] });
  const gone = { workspace: { exists: false, sentinelFolder: 'missing', gone: [] } } as const;

  test('ends the agents, then removes the worktrees, then the workspace', () => {
    expect(missing(cleanup({ intent: two }, {}))).toEqual([
      'agent.stop/a delete',
      'agent.stop/b delete',
      'worktree.remove/api delete',
      'worktree.remove/web delete',
      'workspace.remove delete',
    ]);
  });

  test.each<[string, RunOverrides, LookOverrides, Partial<CleanupOptions>, string[], string[]]>([
    [
      'the session of an agent that ended is closed',
      {},
      { agents: { agent: exited(0) } },
      {},
      ['agent.stop/agent delete', 'worktree.remove/api delete', 'workspace.remove delete'],
      [],
    ],
    [
      'an agent that never started has none',
      { agents: { agent: never } },
      {},
      {},
      ['worktree.remove/api delete', 'workspace.remove delete'],
      [],
    ],
    [
      '--keep-workspaces: the agents alone',
      {},
      {},
      { keepWorkspaces: true },
      ['agent.stop/agent delete'],
      [],
    ],
    [
      '--keep-workspaces: work is in no danger',
      {},
      { repos: { api: dirty } },
      { keepWorkspaces: true },
      ['agent.stop/agent delete'],
      [],
    ],
    [
      'work that exists nowhere else: nothing at all',
      {},
      { repos: { api: dirty } },
      {},
      [],
      ['work_would_be_lost'],
    ],
    [
      'one of two repos: nothing at all',
      { intent: two },
      { repos: { web: dirty } },
      {},
      [],
      ['work_would_be_lost'],
    ],
    [
      'each is listed',
      { intent: two },
      { repos: { api: dirty, web: dirty } },
      {},
      [],
      ['work_would_be_lost', 'work_would_be_lost'],
    ],
    [
      '--force: saved first',
      {},
      { repos: { api: dirty } },
      { force: true },
      ['agent.stop/agent delete', 'worktree.remove/api delete', 'workspace.remove delete'],
      [],
    ],
    [
      'a worktree whose folder is gone is told to git',
      {},
      { repos: { api: readyRepo({ state: 'prunable' }) } },
      {},
      ['agent.stop/agent delete', 'worktree.remove/api delete', 'workspace.remove delete'],
      [],
    ],
    [
      'a worktree that is gone is fine',
      {},
      { repos: { api: freshRepo() } },
      {},
      ['agent.stop/agent delete', 'workspace.remove delete'],
      [],
    ],
    [
      'a workspace that is gone is fine',
      {},
      { repos: { api: freshRepo() }, ...gone },
      {},
      ['agent.stop/agent delete'],
      [],
    ],
    [
      'something else in its place is nobody’s to remove',
      {},
      { repos: { api: readyRepo({ state: 'foreign' }) } },
      {},
      [],
      ['foreign_worktree'],
    ],
    [
      'not even by force',
      {},
      { repos: { api: readyRepo({ state: 'foreign' }) } },
      { force: true },
      [],
      ['foreign_worktree'],
    ],
    [
      'once more: nothing to do',
      { state: 'closed' },
      { agents: { agent: exited(143) }, repos: { api: freshRepo() }, ...gone },
      {},
      [],
      [],
    ],
    ['a run that is being closed', { state: 'closing' }, {}, {}, [], ['run_closing']],
  ])('%s', (_, run, seen, options, steps, refused) => {
    const plan = cleanup(run, seen, options);
    expect(missing(plan)).toEqual(steps);
    expect(codes(plan)).toEqual(refused);
    if (refused.length > 0) expect(plan.steps).toEqual([]);
  });

  test('what would be lost is listed, with how to keep it', () => {
    expect(cleanup({}, { repos: { api: dirty } }).refused).toEqual([
      {
        code: 'work_would_be_lost',
        message: `${WORKSPACE}/api holds what exists nowhere else: 2 uncommitted files; 1 commit on no branch`,
        wayOut:
          'commit or move it away, or metawsm cleanup T-1 --force, which saves it under refs/metawsm/backup/run-20260304-050607-abcd/api first',
      },
    ]);
  });

  test('what holds no work is removed without a backup, what does with one', () => {
    const steps = (seen: LookOverrides) =>
      cleanup({ intent: two }, seen, { force: true })
        .steps.filter((planned) => planned.step.kind === 'worktree.remove')
        .map(({ step }) => (step.kind === 'worktree.remove' ? step.backup : null));
    const refs = ['api', 'web'].map((name) => `refs/metawsm/backup/run-20260304-050607-abcd/${name}`);
    expect(steps({ agents: { a: exited(0), b: exited(0) }, repos: { web: dirty } })).toEqual([null, refs[1]]);
    // An agent that lives may still leave some.
    expect(steps({ repos: { web: dirty } })).toEqual(refs);
  });

  test('any state but closing can be cleaned up', () => {
    for (const state of [
      'planning',
      'running',
      'awaiting_guidance',
      'paused',
      'failed',
      'completed',
      'stopping',
      'stopped',
      'closed',
    ] as const) {
      expect([state, codes(cleanup({ state }, {}))]).toEqual([state, []]);
    }
  });
});
