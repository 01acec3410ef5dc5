import { describe, expect, test } from 'vitest';
import type { Intent } from '../../src/manifest/intent.js';
import type { RunReason, RunState } from '../../src/plan/lifecycle.js';
import {
  hasChanges,
  missingSteps,
  type Plan,
  type Request,
  sameIntent,
  summarize,
} from '../../src/plan/plan.js';
import type { PlannedStep } from '../../src/plan/steps.js';
import {
  agentIntent,
  aliveAgent,
  exited,
  freshRepo,
  type LookOverrides,
  makeIntent,
  NOW,
  newPlan,
  planOf,
  type RunOverrides,
  readyRepo,
  recordedRun,
  repoIntent,
  SHARED,
  sentinel,
  WORKSPACE,
} from '../support/run-builder.js';

/** `id action`, with `!` where an operator's word is needed. */
const line = (step: PlannedStep) => `${step.id} ${step.action}${step.needsYes ? '!' : ''}`;
const missing = (plan: Plan) => missingSteps(plan).map(line);
const codes = (plan: Plan) => plan.refused.map((refusal) => refusal.code);

describe('a new run', () => {
  test('plain: every step in order', () => {
    const plan = newPlan();
    expect(plan.steps.map(line)).toEqual([
      'workspace.create create',
      'ticket.create create',
      'ticket.brief create',
      'worktree.create/api create',
      'brief.write create',
      'agent.start/agent create',
    ]);
    expect(plan).toMatchObject({ isNew: true, runState: null, resumeAt: null, changes: [], refused: [] });
    expect(hasChanges(plan)).toBe(true);
    expect(summarize(plan)).toEqual({ create: 6, update: 0, replace: 0, delete: 0, run: 0, refused: 0 });
    expect(plan.steps.every((step) => step.recordedState === null)).toBe(true);
  });

  test('with everything a manifest can ask for', () => {
    const intent = makeIntent({
      repos: [
        repoIntent('api', { copy: ['.env'], link: ['node_modules'], setup: ['npm ci', ['make', 'all']] }),
        repoIntent('web', { source: { kind: 'url', url: 'https://x/web.git' } }),
      ],
      agents: [agentIntent('a'), agentIntent('b')],
    });
    const repos = {
      api: freshRepo('api', { base: { from: 'origin', ref: 'refs/remotes/origin/main', commit: null } }),
      web: freshRepo('web', { source: null }),
    };
    expect(newPlan(intent, { repos }).steps.map(line)).toEqual([
      'workspace.create create',
      'ticket.create create',
      'ticket.brief create',
      'repo.fetch/api run',
      'worktree.create/api create',
      'worktree.copy/api create',
      'worktree.link/api create',
      'setup.run/api/1 run',
      'setup.run/api/2 run',
      'repo.clone/web create',
      'worktree.create/web create',
      'brief.write create',
      'agent.start/a create',
      'agent.start/b create',
    ]);
  });

  test('the brief is written before any agent starts', () => {
    const ids = newPlan(makeIntent({ agents: [agentIntent('a'), agentIntent('b')] })).steps.map((s) => s.id);
    const starts = ids.filter((id) => id.startsWith('agent.start'));
    expect(Math.max(ids.indexOf('ticket.brief'), ids.indexOf('brief.write'))).toBeLessThan(
      Math.min(...starts.map((id) => ids.indexOf(id))),
    );
  });

  test.each<[string, Partial<Intent>, LookOverrides, string[], string[]]>([
    ['agents: []: a workspace only', { agents: [] }, {}, [], ['agent.start/agent create']],
    [
      'driver none: no ticket',
      { tickets: { driver: 'none', root: null } },
      {},
      [],
      ['ticket.create create', 'ticket.brief create'],
    ],
    [
      'the ticket exists: it is not made again',
      {},
      { ticket: { folder: '/t', brief: null } },
      ['ticket.create none', 'ticket.brief create'],
      ['ticket.create create'],
    ],
    ['a base that is local needs no fetch', {}, {}, ['worktree.create/api create'], ['repo.fetch/api run']],
    [
      'a url that is cloned already',
      { repos: [repoIntent('api', { source: { kind: 'url', url: 'u' } })] },
      {},
      ['repo.clone/api none'],
      [],
    ],
  ])('%s', (_, intent, observed, there, absent) => {
    const lines = newPlan(makeIntent(intent), observed).steps.map(line);
    for (const each of there) expect(lines).toContain(each);
    for (const each of absent) expect(lines).not.toContain(each);
  });

  test('the ticket’s folder is copied into the first repo where that holds the tickets', () => {
    const inRepo = (root: string) =>
      recordedRun({ ticketRoot: root }).steps.filter((step) => step.kind === 'ticket.copy').length;
    expect(inRepo('/src/api/ttmp')).toBe(1);
    expect(inRepo('/src/api-docs/ttmp')).toBe(0);
    expect(inRepo('/src/api/.metawsm/ttmp')).toBe(0);
    const none = recordedRun({
      ticketRoot: '/src/api/ttmp',
      intent: { tickets: { driver: 'none', root: null } },
    });
    expect(none.steps.filter((step) => step.kind === 'ticket.copy')).toEqual([]);
  });

  test('what makes a plan impossible is told, the steps as well', () => {
    const problem = { code: 'repo_missing', message: 'm', hint: 'h' };
    const plan = newPlan(makeIntent(), { problems: [problem] });
    expect(plan.problems).toEqual([problem]);
    expect(plan.steps).toHaveLength(6);
  });

  test('a sentinel folder that is none is refused', () => {
    const plan = newPlan(makeIntent(), { workspace: { exists: true, sentinelFolder: 'foreign', gone: [] } });
    expect(codes(plan)).toEqual(['sentinel_folder_swapped']);
    expect(plan.steps).toEqual([]);
  });

  test('the exact commands are shown, of env the names alone', () => {
    const agents = [agentIntent('agent', { command: ['./a', '--b c'], env: { B: 'secret', A: 'x' } })];
    const plan = newPlan(makeIntent({ agents, repos: [repoIntent('api', { setup: ['npm ci'] })] }));
    const commands = (id: string) => plan.steps.find((step) => step.id === id)?.commands;
    const worktree = `${WORKSPACE}/api`;
    expect(commands('worktree.create/api')).toEqual([
      {
        argv: ['git', 'worktree', 'add', '--no-track', '-b', 'task/t-1-abcd1234', worktree, 'b'.repeat(40)],
        shell: null,
        cwd: '/src/api',
        envNames: [],
      },
    ]);
    expect(commands('setup.run/api/1')).toEqual([
      { argv: null, shell: 'npm ci', cwd: worktree, envNames: [] },
    ]);
    expect(commands('agent.start/agent')).toEqual([
      { argv: ['./a', '--b c'], shell: null, cwd: worktree, envNames: ['A', 'B'] },
    ]);
    expect(JSON.stringify(plan.steps.map((step) => step.commands))).not.toContain('secret');
  });
});

describe('ids and hashes', () => {
  const full = makeIntent({
    repos: [repoIntent('api', { copy: ['a'], link: ['b'], setup: ['c', 'd'] }), repoIntent('web')],
    agents: [agentIntent('a', { env: { A: '1', B: '2' } }), agentIntent('b')],
  });

  test('ids are unique, and compiling again gives the same plan', () => {
    const plan = newPlan(full);
    const ids = plan.steps.map((step) => step.id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(newPlan(full)).toEqual(plan);
  });

  test('the order of keys in the manifest changes no hash', () => {
    const turned = { ...full, agents: [agentIntent('a', { env: { B: '2', A: '1' } }), agentIntent('b')] };
    const hashes = (intent: Intent) => newPlan(intent).steps.map((step) => step.inputHash);
    expect(hashes(turned)).toEqual(hashes(full));
    expect(sameIntent(full, turned)).toBe(true);
  });

  test('a step that was done has the hash under which it was planned', () => {
    const recorded = recordedRun({ intent: full });
    const again = planOf(recorded);
    for (const step of again.steps) {
      expect([step.id, step.inputHash]).toEqual([
        step.id,
        recorded.steps.find((row) => row.id === step.id)?.inputHash,
      ]);
    }
  });

  test.each<[string, Partial<Intent>, string[]]>([
    ['a command', { agents: [agentIntent('agent', { command: 'x' })] }, ['agent.start/agent']],
    ['env', { agents: [agentIntent('agent', { env: { A: 'x' } })] }, ['agent.start/agent']],
    ['the session', { session: 'tmux' }, ['agent.start/agent']],
    ['a goal', { intake: { ...makeIntent().intake, goal: 'x' } }, ['brief.write', 'ticket.brief']],
    ['criteria', { criteria: [{ kind: 'worded', text: 'x' }] }, ['brief.write', 'ticket.brief']],
    ['the title', { ticket: { id: 'T-1', title: 'x', topics: [] } }, ['brief.write', 'ticket.brief']],
    ['merge_intent', { intake: { ...makeIntent().intake, mergeIntent: 'none' } }, []],
    ['policy', { policy: { ...makeIntent().policy, restartBudget: 9, startGraceMs: 1 } }, []],
    ['the base branch', { repos: [repoIntent('api', { baseBranch: 'x' })] }, ['worktree.create/api']],
  ])('%s determines the steps it is in, and no other', (_, more, ids) => {
    const plain = newPlan().steps;
    const changed = newPlan(makeIntent(more)).steps.filter(
      (step) => plain.find((other) => other.id === step.id)?.inputHash !== step.inputHash,
    );
    expect(changed.map((step) => step.id).sort()).toEqual(ids);
  });
});

test('nothing is missing: no changes', () => {
  const plan = planOf(recordedRun());
  expect(missing(plan)).toEqual([]);
  expect(plan).toMatchObject({ changes: [], refused: [], problems: [], warnings: [], resumeAt: null });
  expect(plan.steps.map((step) => step.recordedState)).toEqual(Array(6).fill('done'));
  expect(hasChanges(plan)).toBe(false);
});

const goal = makeIntent({ intake: { ...makeIntent().intake, goal: 'another' } });
const criteria = makeIntent({
  criteria: [...makeIntent().criteria, { kind: 'command', run: 'npm test', repo: null, timeoutMs: 1 }],
});
const fewer = makeIntent({ criteria: [{ kind: 'worded', text: 'x' }] });
const twoRepos = makeIntent({ repos: [repoIntent(), repoIntent('web')] });
const newRepo = { web: freshRepo('web') };
const brief = ['ticket.brief update', 'brief.write update'];

interface StateRow {
  state: RunState;
  reason?: RunReason;
  the: string;
  run?: RunOverrides;
  observed?: LookOverrides;
  intent?: Intent;
  missing?: string[];
  refused?: string;
  /** The way out that is named. */
  wayOut?: RegExp;
}

describe('the run is, the manifest is, apply does', () => {
  const done = { sentinels: [sentinel('implementation-complete')] };
  const failed = { agents: { agent: exited(3) } };
  const used = { agents: { agent: { startsUsed: 3 } } };
  const rows: StateRow[] = [
    ...(['created', 'planning', 'running', 'awaiting_guidance'] as const).flatMap((state): StateRow[] => [
      { state, the: 'unchanged, nothing missing: no changes' },
      {
        state,
        the: 'unchanged, a step missing: execute it',
        run: { steps: { 'brief.write': { state: 'pending' } } },
        missing: ['brief.write create'],
      },
      { state, the: 'changed: each change is a plan row', intent: goal, missing: brief },
    ]),
    {
      state: 'failed',
      reason: 'agent_failed',
      the: 'any, within the restart budget: continue',
      observed: failed,
      missing: ['agent.start/agent replace'],
    },
    {
      state: 'failed',
      reason: 'agent_failed',
      the: 'changed, within the restart budget: both',
      observed: failed,
      intent: goal,
      missing: [...brief, 'agent.start/agent replace'],
    },
    {
      state: 'failed',
      reason: 'agent_failed',
      the: 'the budget is used up: restart resets it',
      run: used,
      observed: failed,
      refused: 'restart_budget_used',
      wayOut: /metawsm restart T-1/,
    },
    {
      state: 'failed',
      reason: 'agent_failed',
      the: 'the budget is used up, and the manifest is changed: nothing is executed',
      run: used,
      observed: failed,
      intent: goal,
      refused: 'restart_budget_used',
    },
    {
      state: 'failed',
      reason: 'agent_failed',
      the: 'the budget was used up and the manifest gives more',
      run: used,
      observed: failed,
      intent: makeIntent({ policy: { ...makeIntent().policy, restartBudget: 4 } }),
      missing: ['agent.start/agent replace'],
    },
    {
      state: 'failed',
      reason: 'step_failed',
      the: 'a step failed: continue from it',
      run: { steps: { 'worktree.create/api': { state: 'failed' } } },
      missing: ['worktree.create/api create', 'brief.write update'],
    },
    {
      state: 'paused',
      reason: 'interrupted',
      the: 'interrupted: continue',
      run: { steps: { 'brief.write': { state: 'pending' } } },
      missing: ['brief.write create'],
    },
    {
      state: 'paused',
      reason: 'interrupted',
      the: 'interrupted, changed: continue with the changes',
      intent: goal,
      missing: brief,
    },
    {
      state: 'paused',
      reason: 'exited_without_signal',
      the: 'an agent said nothing',
      observed: { agents: { agent: exited(0) } },
      refused: 'run_paused',
      wayOut: /metawsm logs T-1.*metawsm resume T-1.*metawsm restart T-1/,
    },
    {
      state: 'paused',
      reason: 'exited_without_signal',
      the: 'changed all the same',
      observed: { agents: { agent: exited(0) } },
      intent: goal,
      refused: 'run_paused',
    },
    {
      state: 'running',
      the: 'unchanged, and this look finds an agent that said nothing',
      observed: { agents: { agent: exited(0) } },
      refused: 'run_paused',
    },
    {
      state: 'paused',
      reason: 'exited_without_signal',
      the: 'meanwhile it did say something: it is completed',
      observed: { agents: { agent: exited(0) }, ...done },
    },
    {
      state: 'paused',
      reason: 'fix_attempts',
      the: 'fix attempts used up',
      refused: 'run_paused',
      wayOut: /metawsm iterate T-1 --feedback/,
    },
    {
      state: 'stopped',
      the: 'unchanged: a timer must not start what someone just stopped',
      run: { agents: { agent: { stoppedAttempt: 1 } } },
      observed: { agents: { agent: exited(143) } },
      refused: 'run_stopped',
      wayOut: /metawsm resume T-1.*metawsm restart T-1/,
    },
    { state: 'stopped', the: 'changed all the same', intent: goal, refused: 'run_stopped' },
    {
      state: 'stopping',
      the: 'a stop that did not end',
      refused: 'run_stopping',
      wayOut: /metawsm stop T-1.*metawsm resume T-1/,
    },
    { state: 'completed', the: 'unchanged: nothing to do', observed: done },
    { state: 'running', the: 'unchanged, and this look finds it completed: nothing to do', observed: done },
    {
      state: 'completed',
      the: 'unchanged, and a worktree is gone: nothing to do',
      observed: { ...done, repos: { api: freshRepo() } },
    },
    {
      state: 'completed',
      the: 'intake changed: the brief only',
      observed: done,
      intent: goal,
      missing: brief,
    },
    {
      state: 'completed',
      the: 'new criteria: agents started with a yes',
      observed: done,
      intent: criteria,
      missing: [...brief, 'agent.start/agent replace!'],
    },
    {
      state: 'completed',
      the: 'other criteria in place of the old: the new ones are new',
      observed: done,
      intent: fewer,
      missing: [...brief, 'agent.start/agent replace!'],
    },
    {
      state: 'completed',
      the: 'fewer criteria: the brief only',
      run: { intent: { criteria: criteria.criteria } },
      observed: done,
      intent: makeIntent(),
      missing: brief,
    },
    {
      state: 'completed',
      the: 'a new repo: made, and agents started with a yes',
      observed: { ...done, repos: newRepo },
      intent: twoRepos,
      missing: ['worktree.create/web create', 'brief.write update', 'agent.start/agent replace!'],
    },
    {
      state: 'completed',
      the: 'policy changed: nothing starts',
      observed: done,
      intent: makeIntent({ policy: { ...makeIntent().policy, restartBudget: 9 } }),
    },
    { state: 'closing', the: 'unchanged', refused: 'run_closing', wayOut: /metawsm close T-1/ },
    { state: 'closing', the: 'changed', intent: goal, refused: 'run_closing' },
  ];
  test.each(rows)('$state ($reason), $the', (row) => {
    const { state, reason = null, run = {}, observed = {}, intent } = row;
    const recorded = recordedRun({ state, reason, ...run });
    const plan = planOf(recorded, { observed, ...(intent === undefined ? {} : { intent }) });
    expect(codes(plan)).toEqual(row.refused === undefined ? [] : [row.refused]);
    expect(missing(plan)).toEqual(row.missing ?? []);
    if (row.refused !== undefined) {
      expect(plan.steps).toEqual([]);
      expect(plan.resumeAt).toBeNull();
      expect(plan.refused[0]?.wayOut).toMatch(row.wayOut ?? /./);
      expect(plan.refused[0]?.message).toMatch(/run-20260304-050607-abcd|agent agent/);
    }
  });

  test.each<[RunOverrides, LookOverrides, string]>([
    [
      { state: 'paused', reason: 'exited_without_signal' },
      { agents: { agent: exited(0) } },
      'is paused: agent agent exited with status 0 without signalling completion',
    ],
    [{ state: 'paused', reason: 'fix_attempts' }, {}, 'is paused: its fix attempts are used up'],
    [{ state: 'stopped' }, {}, 'was stopped by an operator'],
    [{ state: 'closing' }, {}, 'is being closed'],
  ])('a refusal says what the run is: %j', (run, observed, words) => {
    expect(planOf(recordedRun(run), { observed }).refused[0]?.message).toBe(
      `run run-20260304-050607-abcd ${words}`,
    );
  });

  test('a closed run says how it ended', () => {
    const request = { kind: 'resume' } as const;
    const message = (outcome: 'delivered' | 'abandoned' | null) =>
      planOf(recordedRun({ state: 'closed', outcome }), { request }).refused[0]?.message;
    expect(message('abandoned')).toMatch(/is closed \(abandoned\)$/);
    expect(message(null)).toMatch(/is closed \(ended\)$/);
  });

  test('changes of a run that is refused are shown, and touch no step', () => {
    const plan = planOf(recordedRun({ state: 'stopped' }), { intent: goal });
    expect(plan.changes).toEqual([
      {
        source: 'manifest',
        path: '/intake/goal',
        effect: 'in_place',
        before: 'g',
        after: 'another',
        stepIds: [],
      },
    ]);
  });

  test('a completed run that was given new work and interrupted before its agents started goes on', () => {
    // The new criteria are recorded, the yes was said, the start is still to come.
    const waiting = { state: 'pending' as const, endedAt: NOW - 1 };
    const recorded = recordedRun({ state: 'running', steps: { 'agent.start/agent': waiting } });
    expect(missing(planOf(recorded, { observed: done }))).toEqual(['agent.start/agent replace']);
  });
});

const iterate: Request = { kind: 'iterate', agents: null, feedback: 'mend it', fixAttempt: null };

describe('resume, restart and iterate, by state', () => {
  const gone = { agents: { agent: exited(143) } };
  const stopped = { agents: { agent: { stoppedAttempt: 1 } } };
  test.each<[RunState, RunReason | null, string | null]>([
    ['created', null, null],
    ['planning', null, null],
    ['running', null, null],
    ['awaiting_guidance', null, null],
    ['paused', 'interrupted', null],
    ['paused', 'exited_without_signal', null],
    ['paused', 'fix_attempts', null],
    ['failed', 'agent_failed', null],
    ['failed', 'step_failed', null],
    ['completed', null, null],
    ['stopping', null, null],
    ['stopped', null, null],
    ['closing', null, 'run_closing'],
    ['closed', null, 'run_closed'],
  ])('%s (%s)', (state, reason, refused) => {
    for (const request of [{ kind: 'resume' }, { kind: 'restart', agents: null }, iterate] as const) {
      const plan = planOf(recordedRun({ state, reason, ...stopped }), { observed: gone, request });
      expect(codes(plan)).toEqual(refused === null ? [] : [refused]);
      expect(missing(plan)).toEqual(refused === null ? ['agent.start/agent replace'] : []);
    }
  });

  test('all do missing steps first', () => {
    const run = recordedRun({ state: 'stopped', steps: { 'brief.write': { state: 'pending' } }, ...stopped });
    for (const request of [{ kind: 'resume' }, { kind: 'restart', agents: null }, iterate] as const) {
      expect(missing(planOf(run, { observed: gone, request }))).toEqual([
        'brief.write create',
        'agent.start/agent replace',
      ]);
    }
  });
});

test('feedback wants an agent to hand it to', () => {
  const plan = planOf(recordedRun({ intent: { agents: [] } }), { request: iterate });
  expect(codes(plan)).toEqual(['no_agents']);
  expect(plan.steps).toEqual([]);
});

describe('a run that was cut off goes on at the first step that is not done', () => {
  const intent = makeIntent({ repos: [repoIntent('api', { copy: ['.env'], setup: ['npm ci'] })] });
  const ids = recordedRun({ intent }).steps.map((row) => row.id);
  const never = { attempt: 0, state: 'pending' as const, startedAt: null, progress: null, pid: null };

  test.each(
    ids.flatMap((id, index) =>
      (['pending', 'running', 'failed'] as const).map((state) => [id, state, index] as const),
    ),
  )('at %s, %s', (id, state, index) => {
    const later = Object.fromEntries(
      ids.slice(index + 1).map((other) => [other, { state: 'pending' as const }]),
    );
    const recorded = recordedRun({
      intent,
      state: 'paused',
      reason: 'interrupted',
      steps: { ...later, [id]: { state } },
      agents: { agent: never },
      ...(index <= ids.indexOf('worktree.create/api')
        ? { repos: { api: { baseRef: null, baseCommit: null } } }
        : {}),
    });
    const made = index > ids.indexOf('worktree.create/api');
    const plan = planOf(recorded, {
      observed: {
        workspace:
          index === 0
            ? { exists: false, sentinelFolder: 'missing', gone: [] }
            : { exists: true, sentinelFolder: 'folder', gone: [] },
        repos: { api: made ? readyRepo() : freshRepo() },
        agents: { agent: aliveAgent({ attempt: 0, claim: 'none', process: null, started: null }) },
      },
    });
    expect(plan.resumeAt).toEqual({ id, position: index + 1, of: ids.length });
    // Everything from there on is executed, nothing before it is.
    expect(missingSteps(plan).map((step) => step.id)).toEqual(ids.slice(index));
    expect(plan.changes).toEqual([]);
  });

  test('a new run and a run with nothing open resume nowhere', () => {
    expect(newPlan(intent).resumeAt).toBeNull();
    expect(planOf(recordedRun({ intent })).resumeAt).toBeNull();
  });

  test('drift is no resuming', () => {
    const plan = planOf(recordedRun(), { observed: { repos: { api: freshRepo() } } });
    expect(missing(plan)).toContain('worktree.create/api create');
    expect(plan.resumeAt).toBeNull();
  });

  test('a base that was not recorded yet is chosen again; a branch that the step made is its own', () => {
    const step = (branchCommit: string | null, baseCommit: string | null) => {
      const recorded = recordedRun({
        repos: { api: { baseRef: null, baseCommit } },
        steps: { 'worktree.create/api': { state: 'running' } },
      });
      const made = planOf(recorded, { observed: { repos: { api: freshRepo('api', { branchCommit }) } } });
      const planned = made.steps.find((each) => each.id === 'worktree.create/api')?.step;
      return planned?.kind === 'worktree.create' ? planned : null;
    };
    const base = 'b'.repeat(40);
    expect(step(null, null)).toMatchObject({
      existing: false,
      base: { ref: 'refs/heads/main', commit: base },
    });
    expect(step(base, base)).toMatchObject({ existing: true });
    expect(step('c'.repeat(40), base)).toMatchObject({ existing: false });
  });

  test('what a manifest adds to a setup that never ended belongs to it', () => {
    const recorded = recordedRun({
      intent,
      state: 'failed',
      reason: 'step_failed',
      steps: { 'setup.run/api/1': { state: 'failed' }, 'agent.start/agent': { state: 'pending' } },
      agents: { agent: never },
    });
    const mended = makeIntent({
      repos: [repoIntent('api', { copy: ['.env'], setup: ['corepack enable', 'npm ci'] })],
    });
    const agents = { agent: aliveAgent({ attempt: 0, claim: 'none', process: null, started: null }) };
    const plan = planOf(recorded, { intent: mended, observed: { agents } });
    expect(missing(plan)).toEqual(['setup.run/api/1 run', 'setup.run/api/2 run', 'agent.start/agent create']);
    expect(plan.warnings).toEqual([]);
  });

  test('so does what it edits there, also where that part was done', () => {
    const before = makeIntent({ repos: [repoIntent('api', { copy: ['.env'], setup: ['npm ci', 'make'] })] });
    const recorded = recordedRun({
      intent: before,
      state: 'failed',
      reason: 'step_failed',
      steps: { 'setup.run/api/2': { state: 'failed' }, 'agent.start/agent': { state: 'pending' } },
      agents: { agent: never },
    });
    const agents = { agent: aliveAgent({ attempt: 0, claim: 'none', process: null, started: null }) };
    const mended = makeIntent({
      repos: [repoIntent('api', { copy: ['.env', 'key'], setup: ['corepack enable', 'npm ci', 'make'] })],
    });
    const plan = planOf(recorded, { intent: mended, observed: { agents } });
    expect(missing(plan)).toEqual([
      'worktree.copy/api create',
      'setup.run/api/1 run',
      'setup.run/api/2 run',
      'setup.run/api/3 run',
      'agent.start/agent create',
    ]);
    expect(plan.resumeAt?.id).toBe('worktree.copy/api');
    expect(plan.warnings).toEqual([]);
  });
});

describe('drift: a step that is done and whose effect is gone', () => {
  const intent = makeIntent({
    repos: [repoIntent('api', { copy: ['.env'], link: ['node_modules'], setup: ['npm ci'] })],
  });
  const recorded = recordedRun({ intent });
  const worktree = [
    'worktree.create/api create',
    'worktree.copy/api create',
    'worktree.link/api create',
    'setup.run/api/1 run',
    'brief.write update',
  ];
  const gone = (more: Parameters<typeof freshRepo>[1] = {}) =>
    freshRepo('api', { base: null, branchCommit: 'c'.repeat(40), ...more });

  test.each<[string, LookOverrides, string[], string[]]>([
    [
      'a worktree: made again, with copy, link and setup',
      { repos: { api: gone() } },
      ['worktree/api'],
      worktree,
    ],
    [
      'a worktree that only git remembers',
      { repos: { api: readyRepo({ state: 'prunable', branch: null, head: null }) } },
      ['worktree/api'],
      worktree,
    ],
    [
      'the whole workspace',
      { repos: { api: gone() }, workspace: { exists: false, sentinelFolder: 'missing', gone: [] } },
      ['workspace', 'worktree/api'],
      ['workspace.create create', ...worktree],
    ],
    [
      'the sentinel folder alone',
      { workspace: { exists: true, sentinelFolder: 'missing', gone: [] } },
      ['.metawsm'],
      ['workspace.create create', 'brief.write update'],
    ],
    [
      'a file that the agents read',
      { workspace: { exists: true, sentinelFolder: 'folder', gone: [`${SHARED}/context.json`] } },
      ['.metawsm/context.json'],
      ['brief.write create'],
    ],
    [
      'the ticket',
      { ticket: { folder: null, brief: null } },
      ['ticket'],
      ['ticket.create create', 'ticket.brief create'],
    ],
    [
      'the brief among the ticket’s documents',
      { ticket: { folder: '/t', brief: null } },
      ['ticket/brief'],
      ['ticket.brief create'],
    ],
    ['a dead agent', { agents: { agent: exited(3) } }, ['agent/agent'], ['agent.start/agent replace']],
  ])('%s', (_, observed, paths, steps) => {
    const plan = planOf(recorded, { observed });
    expect(plan.changes.map((change) => change.path)).toEqual(paths);
    expect(plan.changes.every((change) => change.source === 'world')).toBe(true);
    expect(missing(plan)).toEqual(steps);
    expect(hasChanges(plan)).toBe(true);
    const ids = plan.steps.map((step) => step.id);
    for (const change of plan.changes) for (const id of change.stepIds) expect(ids).toContain(id);
  });

  test('a worktree is made again on its recorded branch, and nothing is fetched', () => {
    const plan = planOf(recorded, { observed: { repos: { api: gone() } } });
    const step = plan.steps.find((each) => each.id === 'worktree.create/api');
    expect(step?.step).toMatchObject({ existing: true, branch: 'task/t-1-abcd1234' });
    expect(step?.commands[0]?.argv).toEqual([
      'git',
      'worktree',
      'add',
      `${WORKSPACE}/api`,
      'task/t-1-abcd1234',
    ]);
    expect(plan.warnings).toEqual([]);
  });

  test('a branch that is gone too is made again from the recorded base, with a warning', () => {
    const plan = planOf(recorded, { observed: { repos: { api: gone({ branchCommit: null }) } } });
    const step = plan.steps.find((each) => each.id === 'worktree.create/api')?.step;
    expect(step).toMatchObject({ existing: false, base: { from: 'local', commit: 'b'.repeat(40) } });
    expect(plan.warnings.map((w) => w.code)).toEqual(['branch_gone']);
  });

  test('another branch in the worktree is the agent’s business, and worth a word', () => {
    const plan = planOf(recorded, { observed: { repos: { api: readyRepo({ branch: 'other' }) } } });
    expect(missing(plan)).toEqual([]);
    expect(plan.warnings.map((w) => w.code)).toEqual(['branch_changed']);
  });
});

test('a plan says what the look found: the state as reconciled, and its warnings', () => {
  const observed = { sentinels: [sentinel('guidance-request', { question: '?' })] };
  const plan = planOf(recordedRun(), { observed });
  expect(plan.runState).toBe('awaiting_guidance');
  const strange = sentinel('implementation-complete', { run_id: 'run-x' });
  expect(planOf(recordedRun(), { observed: { sentinels: [strange] } }).warnings).toEqual([
    {
      code: 'sentinel_foreign',
      message: `${SHARED}/implementation-complete.json is of another run (run-x); it is ignored`,
      file: `${SHARED}/implementation-complete.json`,
    },
  ]);
});
