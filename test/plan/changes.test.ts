import { describe, expect, test } from 'vitest';
import type { Intent } from '../../src/manifest/intent.js';
import { diffIntents } from '../../src/plan/diff.js';
import { hasChanges, missingSteps, type Plan } from '../../src/plan/plan.js';
import type { PlannedStep } from '../../src/plan/steps.js';
import { reconcile } from '../../src/sentinels/reconcile.js';
import {
  agentIntent,
  aliveAgent,
  applied,
  deadAgent,
  exited,
  freshRepo,
  type LookOverrides,
  look,
  makeIntent,
  planOf,
  type RunOverrides,
  readyRepo,
  recordedRun,
  repoIntent,
  SHARED,
  sentinel,
  wanted,
} from '../support/run-builder.js';

const line = (step: PlannedStep) => `${step.id} ${step.action}${step.needsYes ? '!' : ''}`;
const missing = (plan: Plan) => missingSteps(plan).map(line);
const plain = makeIntent();
const intake = plain.intake;

interface Row {
  changed: string;
  before?: Partial<Intent>;
  after: Partial<Intent>;
  path: string;
  /** What it was and is; where left out, not compared. */
  from?: string | null;
  to?: string | null;
  steps?: string[];
  observed?: LookOverrides;
}

describe('in place', () => {
  const brief = ['ticket.brief update', 'brief.write update'];
  const rows: Row[] = [
    {
      changed: 'goal',
      after: { intake: { ...intake, goal: 'x' } },
      path: '/intake/goal',
      from: 'g',
      to: 'x',
      steps: brief,
    },
    {
      changed: 'scope',
      after: { intake: { ...intake, scope: 'x' } },
      path: '/intake/scope',
      from: 's',
      to: 'x',
      steps: brief,
    },
    {
      changed: 'constraints',
      after: { intake: { ...intake, constraints: 'x' } },
      path: '/intake/constraints',
      from: 'c',
      to: 'x',
      steps: brief,
    },
    {
      changed: 'answers',
      after: { intake: { ...intake, answers: [{ question: 'q', answer: 'a' }] } },
      path: '/intake/answers',
      from: '[]',
      to: '[{"answer":"a","question":"q"}]',
      steps: brief,
    },
    {
      changed: 'title',
      after: { ticket: { ...plain.ticket, title: 'x' } },
      path: '/ticket/title',
      from: 'A title',
      to: 'x',
      steps: brief,
    },
    {
      changed: 'topics',
      after: { ticket: { ...plain.ticket, topics: [] } },
      path: '/ticket/topics',
      from: '["api"]',
      to: '[]',
      steps: brief,
    },
    {
      changed: 'merge_intent',
      after: { intake: { ...intake, mergeIntent: 'none' } },
      path: '/intake/merge_intent',
      from: 'default',
      to: 'none',
      steps: [],
    },
    {
      changed: 'complete_on',
      after: { agents: [agentIntent('agent', { completeOn: 'exit' })] },
      path: '/agents/agent/complete_on',
      from: 'signal',
      to: 'exit',
      steps: [],
    },
    {
      changed: 'policy',
      after: {
        policy: { ...plain.policy, stepRetries: 2, health: { ...plain.policy.health, idleMs: 1_500 } },
      },
      path: '/policy',
      from: `step_retries: ${plain.policy.stepRetries}, idle: 5m`,
      to: 'step_retries: 2, idle: 1500ms',
      steps: [],
    },
    {
      changed: 'a new criterion',
      after: { criteria: [...plain.criteria, { kind: 'worded', text: 'x' }] },
      path: '/done_criteria',
      from: null,
      to: 'x',
      steps: brief,
    },
    {
      changed: 'a new command as criterion',
      after: {
        criteria: [
          ...plain.criteria,
          { kind: 'command', run: ['npm', 'test'], repo: 'api', timeoutMs: 600_000 },
        ],
      },
      path: '/done_criteria',
      from: null,
      to: 'run: ["npm","test"], repo: api, timeout: 10m',
      steps: brief,
    },
    {
      changed: 'a criterion less',
      before: { criteria: [...plain.criteria, { kind: 'worded', text: 'x' }] },
      after: {},
      path: '/done_criteria',
      from: 'x',
      to: null,
      steps: brief,
    },
    {
      changed: 'a new repo',
      after: { repos: [repoIntent(), repoIntent('web', { setup: ['x'] })] },
      path: '/repos/web',
      from: null,
      to: 'web',
      observed: { repos: { web: freshRepo('web') } },
      steps: ['worktree.create/web create', 'setup.run/web/1 run', 'brief.write update'],
    },
    {
      changed: 'a new agent',
      after: { agents: [agentIntent(), agentIntent('b')] },
      path: '/agents/b',
      from: null,
      to: 'b',
      steps: ['workspace.create update', 'brief.write update', 'agent.start/b create'],
    },
    {
      changed: 'setup',
      before: { repos: [repoIntent('api', { setup: ['a'] })] },
      after: { repos: [repoIntent('api', { setup: ['b'] })] },
      path: '/repos/api/setup',
      from: '["a"]',
      to: '["b"]',
      steps: [],
    },
    {
      changed: 'copy',
      after: { repos: [repoIntent('api', { copy: ['b'] })] },
      path: '/repos/api/copy',
      from: '[]',
      to: '["b"]',
      steps: [],
    },
    {
      changed: 'link',
      after: { repos: [repoIntent('api', { link: ['b'] })] },
      path: '/repos/api/link',
      from: '[]',
      to: '["b"]',
      steps: [],
    },
    {
      changed: 'the session, to what it is already',
      after: { session: 'process' },
      path: '/session',
      from: 'auto',
      to: 'process',
      steps: [],
    },
  ];
  test.each(rows)('$changed', ({ before = {}, after, path, from, to, steps = [], observed = {} }) => {
    const plan = planOf(recordedRun({ intent: before }), { intent: makeIntent(after), observed });
    expect(plan.refused).toEqual([]);
    const [change, ...others] = plan.changes;
    expect(others).toEqual([]);
    expect(change).toMatchObject({
      source: 'manifest',
      path,
      ...(from === undefined ? {} : { before: from }),
      ...(to === undefined ? {} : { after: to }),
    });
    expect(change?.effect).toBe(path === '/session' ? 'restart' : 'in_place');
    // Also where no step follows from it: it is recorded.
    expect(hasChanges(plan)).toBe(true);
    expect(missing(plan)).toEqual(steps);
    for (const id of change?.stepIds ?? []) expect(steps.some((step) => step.startsWith(id))).toBe(true);
  });

  test('setup, copy and link of an existing repo are a warning, not done again', () => {
    const before = { repos: [repoIntent('api', { setup: ['a'], copy: ['a'] })] };
    const after = makeIntent({ repos: [repoIntent('api', { setup: ['b', 'c'], copy: ['b'], link: ['b'] })] });
    const plan = planOf(recordedRun({ intent: before }), { intent: after });
    expect(plan.warnings.map((w) => w.code)).toEqual(Array(4).fill('not_redone'));
    expect(missing(plan)).toEqual([]);
  });

  test('what was said of the brief reaches the agent', () => {
    const plan = planOf(recordedRun(), { intent: makeIntent({ intake: { ...intake, goal: 'another' } }) });
    const step = plan.steps.find((each) => each.id === 'brief.write')?.step;
    expect(step).toMatchObject({ changed: ['/intake/goal: another'] });
    expect(plan.changes[0]?.stepIds).toEqual(['ticket.brief', 'brief.write']);
  });

  test('the ticket’s copy in the repo follows', () => {
    const run = recordedRun({ ticketRoot: '/src/api/ttmp' });
    expect(missing(planOf(run))).toEqual([]);
    const after = makeIntent({ intake: { ...intake, goal: 'another' } });
    expect(missing(planOf(run, { intent: after }))).toContain('ticket.copy/api update');
  });
});

describe('by restart', () => {
  const rows: Row[] = [
    {
      changed: 'command',
      after: { agents: [agentIntent('agent', { command: ['x', 'y'] })] },
      path: '/agents/agent/command',
      from: './agent.sh',
      to: '["x","y"]',
    },
    {
      changed: 'env',
      after: { agents: [agentIntent('agent', { env: { KEY: 'secret' } })] },
      path: '/agents/agent/env',
      from: '',
      to: 'KEY',
    },
    {
      changed: 'cwd',
      before: { repos: [repoIntent(), repoIntent('web')], agents: [agentIntent('agent', { cwd: 'api' })] },
      after: { repos: [repoIntent(), repoIntent('web')], agents: [agentIntent('agent', { cwd: 'web' })] },
      path: '/agents/agent/cwd',
      from: 'api',
      to: 'web',
    },
    { changed: 'session', after: { session: 'tmux' }, path: '/session', from: 'auto', to: 'tmux' },
  ];
  test.each(rows)('$changed of a live agent needs a yes', ({ before = {}, after, path, from, to }) => {
    const plan = planOf(recordedRun({ intent: before }), { intent: makeIntent(after) });
    expect(plan.changes).toEqual([
      {
        source: 'manifest',
        path,
        effect: 'restart',
        before: from,
        after: to,
        stepIds: ['agent.start/agent'],
      },
    ]);
    expect(missing(plan)).toEqual(['agent.start/agent replace!']);
    expect(plan.steps.at(-1)?.step).toMatchObject({ replace: true, budget: 'none' });
  });

  test('an agent that works in its default place is left there when that is said', () => {
    const after = makeIntent({ agents: [agentIntent('agent', { cwd: 'api' })] });
    expect(missing(planOf(recordedRun(), { intent: after }))).toEqual([]);
  });

  const changed = makeIntent({ agents: [agentIntent('agent', { command: 'other' })] });
  const request = sentinel('guidance-request', { question: '?' });
  const completion = sentinel('implementation-complete');
  test.each<[string, RunOverrides, LookOverrides, string[]]>([
    ['asking, and live', {}, { sentinels: [request] }, ['agent.start/agent replace!']],
    [
      'asking, and ended: from its next start on',
      {},
      { sentinels: [request], agents: { agent: exited(0) } },
      [],
    ],
    [
      'failed: with the start that is due, no yes',
      {},
      { agents: { agent: exited(3) } },
      ['agent.start/agent replace'],
    ],
    [
      'dead: with the start that is due, no yes',
      {},
      { agents: { agent: deadAgent() } },
      ['agent.start/agent replace'],
    ],
    ['completed: from its next start on', {}, { sentinels: [completion] }, []],
    [
      'stopped: from its next start on',
      { agents: { agent: { stoppedAttempt: 1 } } },
      { agents: { agent: exited(143) } },
      [],
    ],
    [
      'unknown: it may live, so with a yes',
      {},
      { agents: { agent: aliveAgent({ process: 'unknown' }) } },
      ['agent.start/agent replace!'],
    ],
    [
      'never started: its first start',
      { agents: { agent: { attempt: 0 } }, steps: { 'agent.start/agent': { state: 'pending' } } },
      {},
      ['agent.start/agent create'],
    ],
  ])('an agent that is %s', (_, run, observed, steps) => {
    const plan = planOf(recordedRun(run), { intent: changed, observed });
    expect(missing(plan)).toEqual(steps);
    expect(plan.refused).toEqual([]);
    const start = plan.steps.at(-1)?.step;
    expect(start).toMatchObject({ command: 'other' });
  });

  test('a step that is left as it is keeps the hash of what was done, so that the change is not forgotten', () => {
    const recorded = recordedRun({ agents: { agent: { stoppedAttempt: 1 } } });
    const observed = { agents: { agent: exited(143) } };
    const first = planOf(recorded, { intent: changed, observed });
    const row = recorded.steps.find((step) => step.id === 'agent.start/agent');
    expect(first.steps.at(-1)?.inputHash).toBe(row?.inputHash);
    // The intent is recorded now, and nothing was started: nor does the next apply start it.
    const later = { ...recorded, intent: changed };
    expect(missing(planOf(later, { observed }))).toEqual([]);
    // Once it lives again with the old command, the change is due.
    const alive = { ...later, agents: later.agents.map((agent) => ({ ...agent, stoppedAttempt: null })) };
    expect(missing(planOf(alive))).toEqual(['agent.start/agent replace!']);
  });
});

describe('refused, and then nothing is executed', () => {
  const two = { repos: [repoIntent(), repoIntent('web')] };
  const url = { kind: 'url', url: 'https://x/api' } as const;
  const rows: (Row & { code: string })[] = [
    {
      changed: 'ticket id',
      after: { ticket: { ...plain.ticket, id: 'T-2' } },
      path: '/ticket/id',
      code: 'ticket_changed',
    },
    {
      changed: 'base branch of a repo in use',
      after: { repos: [repoIntent('api', { baseBranch: 'x' })] },
      path: '/repos/api/base_branch',
      code: 'base_branch_changed',
    },
    {
      changed: 'path of a repo in use',
      after: { repos: [repoIntent('api', { source: { kind: 'path', path: '/else' } })] },
      path: '/repos/api/path',
      code: 'repo_moved',
    },
    {
      changed: 'path to url',
      after: { repos: [repoIntent('api', { source: url })] },
      path: '/repos/api/path',
      code: 'repo_moved',
    },
    {
      changed: 'workspace.root',
      after: { workspace: { ...plain.workspace, root: '/else' } },
      path: '/workspace/root',
      code: 'workspace_changed',
    },
    {
      changed: 'workspace.branch',
      after: { workspace: { ...plain.workspace, branch: 'x' } },
      path: '/workspace/branch',
      code: 'workspace_changed',
    },
    {
      changed: 'tickets.driver',
      after: { tickets: { driver: 'none', root: null } },
      path: '/tickets/driver',
      code: 'tickets_changed',
    },
    {
      changed: 'tickets.root',
      after: { tickets: { driver: 'files', root: '/else' } },
      path: '/tickets/root',
      code: 'tickets_changed',
    },
    {
      changed: 'a renamed repo',
      before: two,
      after: { repos: [repoIntent(), repoIntent('ui', { source: { kind: 'path', path: '/src/web' } })] },
      path: '/repos/web',
      code: 'repo_renamed',
    },
    {
      changed: 'a renamed agent',
      after: { agents: [agentIntent('other')] },
      path: '/agents/agent',
      code: 'agent_renamed',
    },
    {
      changed: 'a dropped repo that has uncommitted work',
      before: two,
      after: {},
      path: '/repos/web',
      code: 'dropped_repo_has_work',
      observed: { repos: { web: readyRepo({ onlyHere: ['1 uncommitted file'] }) } },
    },
    {
      changed: 'a dropped repo that has commits',
      before: two,
      after: {},
      path: '/repos/web',
      code: 'dropped_repo_has_work',
      observed: { repos: { web: readyRepo({ ahead: 2 }) } },
    },
  ];
  test.each(rows)('$changed', ({ before = {}, after, path, code, observed = {} }) => {
    // With a change that could be made, and steps that are missing.
    const run = recordedRun({ intent: before, steps: { 'brief.write': { state: 'pending' } } });
    const intent = makeIntent({ intake: { ...intake, goal: 'another' }, ...after });
    const plan = planOf(run, { intent, observed });
    expect(plan.refused.map((refusal) => refusal.code)).toEqual([code]);
    expect(plan.steps).toEqual([]);
    expect(plan.resumeAt).toBeNull();
    expect(plan.changes.map((change) => change.path)).toContain(path);
    const effect = code === 'dropped_repo_has_work' ? 'in_place' : 'refused';
    expect(plan.changes.find((change) => change.path === path)?.effect).toBe(effect);
    // The way out is named.
    expect(plan.refused[0]?.wayOut).toMatch(
      code === 'dropped_repo_has_work'
        ? /put it back into the manifest, or end the run with metawsm cleanup T-1/
        : /put the old value back.*metawsm cleanup.*--new-run/,
    );
    expect(plan.refused[0]?.message).toContain(path.split('/').at(path.split('/')[1] === 'repos' ? 2 : -1));
  });

  test('all of them at once', () => {
    const after = makeIntent({
      ticket: { ...plain.ticket, id: 'T-2' },
      repos: [repoIntent('api', { baseBranch: 'x' })],
      workspace: { root: '/else', branch: 'x' },
    });
    expect(planOf(recordedRun(), { intent: after }).refused.map((r) => r.code)).toEqual([
      'ticket_changed',
      'base_branch_changed',
      'workspace_changed',
      'workspace_changed',
    ]);
  });

  test('a repo of another source is no renamed one, nor is an agent with another command', () => {
    const repos = makeIntent({ repos: [repoIntent(), repoIntent('ui')] });
    const dropped = planOf(recordedRun({ intent: two }), {
      intent: repos,
      observed: { repos: { ui: freshRepo('ui') } },
    });
    expect(dropped.refused).toEqual([]);
    expect(dropped.changes.map((change) => [change.path, change.after])).toEqual([
      ['/repos/web', null],
      ['/repos/ui', 'ui'],
    ]);
    const agents = makeIntent({ agents: [agentIntent('other', { command: 'x' })] });
    expect(planOf(recordedRun(), { intent: agents }).refused).toEqual([]);
  });
});

describe('a dropped repo', () => {
  const run = recordedRun({ intent: { repos: [repoIntent(), repoIntent('web')] } });
  const removal = (observed: LookOverrides) =>
    missing(planOf(run, { intent: plain, observed })).filter((step) => step.startsWith('worktree'));
  test.each<[string, LookOverrides, string[]]>([
    ['clean: its worktree goes with a yes', {}, ['worktree.remove/web delete!']],
    [
      'its worktree is gone already: nothing to lose',
      { repos: { web: readyRepo({ state: 'missing' }) } },
      ['worktree.remove/web delete'],
    ],
  ])('%s', (_, observed, steps) => {
    expect(removal(observed)).toEqual(steps);
  });

  test('once removed it is no step any more, and it can come back on its branch', () => {
    const without = wanted(run, plain);
    const gone = { ...without, steps: run.steps.filter((step) => !step.id.endsWith('/web')) };
    expect(missing(planOf(gone, { intent: plain })).filter((step) => step.includes('web'))).toEqual([]);
    const back = planOf(gone, {
      intent: run.intent,
      observed: { repos: { web: freshRepo('web', { branchCommit: 'c'.repeat(40) }) } },
    });
    const step = back.steps.find((each) => each.id === 'worktree.create/web')?.step;
    expect(step).toMatchObject({ existing: true });
  });
});

describe('a removed agent', () => {
  const run = recordedRun({ intent: { agents: [agentIntent(), agentIntent('b', { command: 'x' })] } });
  test.each<[string, LookOverrides, string]>([
    ['that lives needs a yes', {}, 'agent.stop/b delete!'],
    [
      'that may live needs a yes',
      { agents: { b: aliveAgent({ process: 'unknown' }) } },
      'agent.stop/b delete!',
    ],
    ['that failed does not', { agents: { b: exited(3) } }, 'agent.stop/b delete'],
    ['that is dead does not', { agents: { b: deadAgent() } }, 'agent.stop/b delete'],
  ])('%s', (_, observed, step) => {
    const plan = planOf(run, { intent: plain, observed });
    expect(plan.refused).toEqual([]);
    expect(missing(plan)).toContain(step);
    expect(missing(plan).filter((each) => each.startsWith('agent.start'))).toEqual([]);
    expect(plan.changes).toMatchObject([{ path: '/agents/b', before: 'b', after: null, effect: 'in_place' }]);
  });

  test('once removed it is no step any more; back in the manifest it is started', () => {
    const gone = {
      ...wanted(run, plain),
      steps: run.steps.filter((step) => step.id !== 'agent.start/b'),
    };
    expect(missing(planOf(gone, { intent: plain })).filter((step) => step.includes('/b'))).toEqual([]);
    const back = planOf(gone, { intent: run.intent, observed: { agents: { b: exited(143) } } });
    expect(missing(back)).toContain('agent.start/b create');
    expect(back.steps.at(-1)?.reason).toBe('it is back in the manifest');
  });
});

test('values of env are never shown, only whose value is another one', () => {
  const before = makeIntent({ agents: [agentIntent('agent', { env: { TOKEN: 'old-secret' } })] });
  const after = makeIntent({ agents: [agentIntent('agent', { env: { TOKEN: 'new-secret', B: 'x' } })] });
  const changes = diffIntents(before, after);
  expect(changes).toMatchObject([{ path: '/agents/agent/env', before: 'TOKEN', after: 'B TOKEN (changed)' }]);
  expect(JSON.stringify(changes)).not.toMatch(/secret/);
});

test('after the changes are recorded nothing is left to do', () => {
  const after = makeIntent({
    intake: { ...intake, goal: 'another' },
    repos: [repoIntent(), repoIntent('web')],
    agents: [agentIntent(), agentIntent('b')],
  });
  const recorded = recordedRun();
  const plan = planOf(recorded, { intent: after, observed: { repos: { web: freshRepo('web') } } });
  // What the execution of these steps leaves behind.
  const done = {
    ...plan.run,
    repos: plan.run.repos.map((repo) => ({
      ...repo,
      baseRef: 'refs/heads/main',
      baseCommit: 'b'.repeat(40),
    })),
    agents: plan.run.agents.map((agent) => ({
      ...agent,
      attempt: 1,
      state: 'running' as const,
      startedAt: 1,
    })),
    steps: plan.steps.map((planned, index) => ({
      ...(recorded.steps[0] as (typeof recorded.steps)[number]),
      id: planned.id,
      kind: planned.step.kind,
      ordinal: index + 1,
      inputHash: planned.inputHash,
    })),
  };
  const again = planOf(applied(done, reconcile(done, look(done))));
  expect(missing(again)).toEqual([]);
  expect(again.changes).toEqual([]);
  expect(again.run.agents.map((agent) => agent.sentinelDir)).toEqual([SHARED, `${SHARED}/agents/b`]);
});
