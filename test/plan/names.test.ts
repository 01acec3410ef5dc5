import { describe, expect, test } from 'vitest';
import { draftRun } from '../../src/plan/draft.js';
import { branchName, briefTitle, sessionName, workspaceName } from '../../src/plan/names.js';
import {
  agentIntent,
  draft,
  IDENTITY,
  makeIntent,
  recordedRun,
  repoIntent,
  SHARED,
  WORKSPACE,
  wanted,
} from '../support/run-builder.js';

describe('names of a new run', () => {
  test.each([
    // <ticket in lower case, other than [a-z0-9-] → ->-<token>
    ['METAWSM-003', 'metawsm-003-abcd1234'],
    ['t', 't-abcd1234'],
    ['A.b_C', 'a-b-c-abcd1234'],
    ['Élan', '-lan-abcd1234'],
  ])('workspace of ticket %s: %s', (ticket, name) => {
    expect(workspaceName(ticket, 'abcd1234')).toBe(name);
    const intent = makeIntent({ ticket: { id: ticket, title: ticket, topics: [] } });
    expect(draft(intent).workspace).toBe(`/workspaces/2026-03-04/${name}`);
  });

  test.each([
    ['task/{workspace}', 'task/t-1-abcd1234'],
    ['{ticket}', 'T.1'],
    ['wip/{repo}-{token}', 'wip/api-abcd1234'],
    ['{workspace}/{workspace}', 't-1-abcd1234/t-1-abcd1234'],
    ['{other}', '{other}'],
  ])('branch %s: %s', (template, branch) => {
    const values = { workspace: 't-1-abcd1234', ticket: 'T.1', token: 'abcd1234', repo: 'api' };
    expect(branchName(template, values)).toBe(branch);
  });

  test('a value that looks like a placeholder is no placeholder', () => {
    const values = { workspace: '{repo}', ticket: 't', token: 'x', repo: 'api' };
    expect(branchName('{workspace}', values)).toBe('{repo}');
  });

  test.each(['T-1', 'A.b:c_D', 'ÄÖ.-x'])(
    'session names of %s are [a-z0-9_-] and differ by agent',
    (ticket) => {
      const agents = [agentIntent('a'), agentIntent('a-2')];
      const run = draft(makeIntent({ ticket: { id: ticket, title: '', topics: [] }, agents }));
      const names = run.agents.map((agent) => agent.sessionName);
      for (const name of names) expect(name).toMatch(/^[a-z0-9_-]+$/);
      expect(new Set(names).size).toBe(2);
    },
  );

  test('a session is named by workspace and agent, a brief by its run', () => {
    expect(sessionName('t-1-abcd1234', 'agent')).toBe('t-1-abcd1234-agent');
    expect(briefTitle('run-1')).toBe('Run brief run-1');
  });

  test.each([
    ['/workspaces', WORKSPACE],
    ['/workspaces/', WORKSPACE],
    ['/', '/2026-03-04/t-1-abcd1234'],
  ])('a workspace below %s', (root, path) => {
    expect(draft(makeIntent({ workspace: { root, branch: 'x' } })).workspace).toBe(path);
  });
});

describe('what a new run decides', () => {
  test('a worktree at <workspace>/<repo name>, also for one repo', () => {
    expect(draft().repos).toMatchObject([
      {
        name: 'api',
        source: '/src/api',
        path: `${WORKSPACE}/api`,
        branch: 'task/t-1-abcd1234',
        baseBranch: 'main',
        baseRef: null,
        baseCommit: null,
        placed: {},
        removed: false,
      },
    ]);
  });

  const two = [repoIntent('api'), repoIntent('web')];
  test.each([
    ['the only repo’s worktree', [repoIntent('api')], null, `${WORKSPACE}/api`],
    ['else the workspace', two, null, WORKSPACE],
    ['the named repo’s', two, 'web', `${WORKSPACE}/web`],
  ])('an agent works in %s', (_, repos, cwd, expected) => {
    const run = draft(makeIntent({ repos, agents: [agentIntent('agent', { cwd })] }));
    expect(run.agents[0]?.cwd).toBe(expected);
  });

  test('a single agent has the workspace’s folder for its sentinels, several have their own', () => {
    const folders = (...names: string[]) =>
      draft(makeIntent({ agents: names.map((name) => agentIntent(name)) })).agents.map((a) => a.sentinelDir);
    expect(folders('agent')).toEqual([SHARED]);
    expect(folders('a', 'b')).toEqual([`${SHARED}/agents/a`, `${SHARED}/agents/b`]);
  });

  test.each(['tmux', 'process', 'auto'] as const)('session: %s', (session) => {
    const around = { autoSession: 'tmux' as const, ticketRoot: null, sources: { api: '/src/api' } };
    const run = draftRun(makeIntent({ session }), IDENTITY, around);
    expect(run.session).toBe(session === 'auto' ? 'tmux' : session);
    expect(run.agents[0]?.session).toBe(run.session);
  });
});

describe('what was decided is kept', () => {
  const recorded = recordedRun();
  const now = (more: Parameters<typeof makeIntent>[0]) => wanted(recorded, makeIntent(more));

  test('the same manifest gives the same run', () => {
    expect(wanted(recorded, recorded.intent)).toEqual(recorded);
  });

  test('a second repo does not move the agent that had the only one', () => {
    const run = now({ repos: [repoIntent('api'), repoIntent('web')] });
    expect(run.agents[0]?.cwd).toBe(`${WORKSPACE}/api`);
    expect(run.repos[1]).toMatchObject({
      name: 'web',
      path: `${WORKSPACE}/web`,
      branch: 'task/t-1-abcd1234',
    });
  });

  test('a second agent does not move the sentinels of the first', () => {
    const run = now({ agents: [agentIntent('agent'), agentIntent('later')] });
    expect(run.agents.map((a) => a.sentinelDir)).toEqual([SHARED, `${SHARED}/agents/later`]);
  });

  test('a manifest that says otherwise moves neither workspace, branch nor session', () => {
    const run = now({
      workspace: { root: '/else', branch: 'else/{repo}' },
      ticket: { id: 'OTHER', title: 'x', topics: [] },
    });
    expect(run).toMatchObject({ id: recorded.id, workspace: WORKSPACE, token: 'abcd1234', ticketId: 'T-1' });
    expect(run.repos[0]).toEqual(recorded.repos[0]);
    expect(run.agents[0]?.sessionName).toBe(recorded.agents[0]?.sessionName);
  });

  test('session: auto keeps what it once meant', () => {
    expect(wanted({ ...recorded, session: 'tmux' }, makeIntent()).session).toBe('tmux');
  });

  test('what is no longer in the manifest is marked, what comes back is not', () => {
    const without = now({ repos: [repoIntent('web')], agents: [] });
    expect(without.repos.map((r) => [r.name, r.removed])).toEqual([
      ['api', true],
      ['web', false],
    ]);
    expect(without.agents.map((a) => [a.name, a.removed])).toEqual([['agent', true]]);
    const back = wanted(without, makeIntent());
    expect(back.repos.find((r) => r.name === 'api')).toEqual(recorded.repos[0]);
    expect(back.agents).toEqual(recorded.agents);
  });
});
