import { existsSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { agent, hasTmux, test } from '../support/rig.js';
import { filesBelow } from '../support/snapshot.js';

describe.each(['process', 'tmux'] as const)('with %s sessions, apply', (session) => {
  const testHere = test.skipIf(session === 'tmux' && !hasTmux);

  testHere('brings a run from its manifest to completed', async ({ rig }) => {
    const api = await rig.repo('api');
    const base = await api.git('rev-parse', 'main');
    rig.manifest({ session, agent: { command: agent('complete', 'Header added') } });

    await rig.run('apply run.yaml --wait');

    const status = await rig.status();
    expect(status.run).toMatchObject({ state: 'completed', reason: null, ticket: 'ABC-1', session });
    expect(status.agents).toMatchObject([
      { name: 'agent', state: 'completed', attempt: 1, summary: 'Header added' },
    ]);
    expect(status.repos).toMatchObject([
      { name: 'api', base_branch: 'main', base_commit: base, ahead: 1, behind: 0, clean: true },
    ]);
    expect(rig.starts()).toBe(1);
  });

  testHere('starts an agent that lives on after it, and the same agent only once', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest({ session });

    await rig.run('apply run.yaml');
    expect(await rig.agentNamed()).toMatchObject({ state: 'running', health: 'healthy', attempt: 1 });

    const again = await rig.events('apply run.yaml');
    expect(again.summary.runs).toMatchObject([{ changed: false, state: 'running', exit_code: 0 }]);
    expect((await rig.run('apply run.yaml')).text).toMatch(/no changes/i);
    expect(rig.starts()).toBe(1);

    rig.release();
    await rig.run('apply run.yaml --wait');
    expect(await rig.state()).toBe('completed');
    expect((await rig.run('apply run.yaml')).text).toMatch(/no changes|nothing to do/i);
    expect(rig.starts()).toBe(1);
  });

  testHere('copes with spaces and quotes in every path', async ({ rig }) => {
    await rig.repo("the 'api' $HOME");
    rig.manifest(
      {
        session,
        repos: [{ name: 'api', path: "../../repos/the 'api' $$HOME" }],
        workspace: { root: '../../work "spaces" é' },
        agent: { command: agent('complete') },
      },
      'my runs/it\'s "one".yaml',
    );
    await rig.run(['apply', 'my runs/it\'s "one".yaml', '--wait']);
    const { run, repos } = await rig.status('my runs/it\'s "one".yaml');
    expect(run.state).toBe('completed');
    expect(repos[0]?.ahead).toBe(1);
  });
});

test('names the workspace, its worktree and its branch after the ticket', async ({ rig }) => {
  const api = await rig.repo('api');
  rig.manifest({ ticket: 'Abc_1.2', agents: [] });
  await rig.run('apply run.yaml');

  const { run, repos } = await rig.status();
  const name = path.basename(run.workspace);
  expect(name).toMatch(/^abc-1-2-[a-z0-9]{8}$/);
  expect(path.basename(path.dirname(run.workspace))).toMatch(/^\d{4}-\d{2}-\d{2}$/);
  expect(path.dirname(path.dirname(run.workspace))).toBe(rig.workspaces);
  expect(repos[0]).toMatchObject({ path: path.join(run.workspace, 'api'), branch: `task/${name}` });
  expect(await api.worktrees()).toEqual([path.join(run.workspace, 'api')]);
  expect(run.id).toMatch(/^run-\d{8}-\d{6}-[a-z0-9]{4}$/);
});

test('follows the declared branch template', async ({ rig }) => {
  const api = await rig.repo('api');
  rig.manifest({ workspace: { root: '../workspaces', branch: 'work/{ticket}/{repo}-{token}' }, agents: [] });
  await rig.run('apply run.yaml');
  const token = path.basename((await rig.status()).run.workspace).slice(-8);
  expect(await api.branches()).toContain(`work/ABC-1/api-${token}`);
});

test('tells the agent everything before it starts', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({
    intake: {
      goal: 'Limit the logins to five a minute',
      scope: 'Only src/login',
      constraints: 'Keep the public API',
      answers: [{ question: 'Which store?', answer: 'The one in memory' }],
    },
    done_criteria: ['The README documents the header', { run: 'true' }],
    agent: { command: agent('complete') },
  });
  await rig.run('apply run.yaml --wait');

  const seen = rig.read('brief-seen-agent');
  for (const text of [
    'Limit the logins to five a minute',
    'Only src/login',
    'Keep the public API',
    'Which store?',
    'The one in memory',
    'The README documents the header',
  ])
    expect(seen).toContain(text);

  const { run, agents } = await rig.status();
  const context = readFileSync(path.join(agents[0]?.sentinel_dir ?? '', 'context.json'), 'utf8');
  expect(JSON.parse(context)).toBeTypeOf('object');
  expect(context).toContain(run.id);
});

test('writes a ticket folder with the brief of the run', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agents: [] });
  await rig.run('apply run.yaml');

  const { run } = await rig.status();
  const tickets = path.join(rig.stateFolder, 'ttmp');
  const files = filesBelow(tickets);
  const folder = files.find((file) => file.endsWith('/index.md'))?.replace('/index.md', '') ?? 'none';
  expect(folder).toMatch(/^\d{4}\/\d{2}\/\d{2}\/ABC-1--rate-limit-the-login$/);
  expect(rig.read(path.relative(rig.dir, tickets), folder, 'index.md')).toMatch(
    /^---\n[\s\S]*Ticket: ABC-1\n/,
  );
  const briefs = files.filter((file) => file.startsWith(`${folder}/reference/`) && file.endsWith('.md'));
  expect(briefs).toHaveLength(1);
  const brief = rig.read(path.relative(rig.dir, tickets), briefs[0] ?? 'none');
  expect(brief).toContain(`Run brief ${run.id}`);
  expect(brief).toContain('Limit logins');
});

test('keeps its state to itself: private, and invisible to git', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agents: [] });
  await rig.run('apply run.yaml');
  expect(statSync(rig.stateFolder).mode & 0o777).toBe(0o700);
  expect(existsSync(path.join(rig.stateFolder, 'metawsm.db'))).toBe(true);
  expect(await rig.at(rig.project).git('status', '--porcelain')).toBe('?? run.yaml');
});

test('runs two agents in two repos, each with its own sentinels', async ({ rig }) => {
  await rig.repo('api');
  await rig.repo('web');
  rig.manifest({
    repos: [
      { name: 'api', path: '../repos/api' },
      { name: 'web', path: '../repos/web' },
    ],
    agents: [
      { name: 'back', cwd: 'api', command: agent('complete', 'back is done') },
      { name: 'front', cwd: 'web', command: agent('live') },
    ],
  });
  await rig.run('apply run.yaml');
  await rig.until('completion of back', async () => (await rig.agentNamed('back')).state === 'completed');

  // One of two is done: the run is not.
  const half = await rig.status();
  expect(half.run.state).toBe('running');
  expect(half.agents.map((each) => each.sentinel_dir)).toEqual([
    path.join(half.run.workspace, '.metawsm/agents/back'),
    path.join(half.run.workspace, '.metawsm/agents/front'),
  ]);

  rig.release('front');
  await rig.run('apply run.yaml --wait');
  const whole = await rig.status();
  expect(whole.run.state).toBe('completed');
  expect(whole.agents.map((each) => each.summary)).toEqual(['back is done', 'released']);
  expect(whole.repos.map((repo) => [repo.name, repo.ahead, repo.clean])).toEqual([
    ['api', 1, true],
    ['web', 1, true],
  ]);
});

test('counts exit 0 as completion where the manifest says so', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agent: { command: 'echo hello', complete_on: 'exit' } });
  await rig.run('apply run.yaml --wait');
  expect(await rig.state()).toBe('completed');
  expect(await rig.agentNamed()).toMatchObject({ state: 'completed', exit_code: 0 });
});

test('completes a run without agents once its setup is done', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ repos: [{ name: 'api', path: '../repos/api', setup: ['touch .git-ignored'] }], agents: [] });
  await rig.run('apply run.yaml');
  expect(await rig.state()).toBe('completed');
});

test('passes no command criterion unchecked', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ done_criteria: [{ run: 'true' }], agent: { command: agent('complete') } });
  await rig.run('apply run.yaml --wait');
  const { run, criteria } = await rig.status();
  expect(run.state).toBe('completed');
  expect(criteria).toMatchObject([{ kind: 'command', state: 'passed' }]);
});

test('applies a folder of manifests, without those that start with an underscore', async ({ rig }) => {
  await rig.repo('api');
  await rig.repo('web');
  const repo = (name: string) => ({ repos: [{ name, path: `../../repos/${name}` }], agents: [] });
  rig.manifest({ ...repo('api'), ticket: 'ABC-1' }, 'runs/one.yaml');
  rig.manifest({ ...repo('web'), ticket: 'ABC-2' }, 'runs/two.yml');
  rig.write('runs/_shared.yaml', 'not: a manifest\n');
  rig.write('runs/deeper/three.yaml', 'not: a manifest\n');
  rig.write('runs/notes.md', 'not a manifest\n');

  const { summary } = await rig.events(['apply', 'runs/']);
  expect(summary.runs.map((run) => [run.ticket, run.state])).toEqual([
    ['ABC-1', 'completed'],
    ['ABC-2', 'completed'],
  ]);
  expect(new Set((await rig.runs()).map((run) => run.id)).size).toBe(2);
});

test('applies nothing when one manifest of a folder is invalid', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ repos: [{ name: 'api', path: '../../repos/api' }], agents: [] }, 'runs/one.yaml');
  rig.write('runs/two.yaml', 'version: 1\n');
  const before = rig.snapshot();
  await rig.run(['apply', 'runs/'], { code: 65 });
  expect(rig.snapshot()).toEqual(before);
});

test('of several manifests each failure is told with its ticket', async ({ rig }) => {
  await rig.repo('api');
  const failing = { agent: { command: 'exit 3' }, policy: { start_grace: '20s' } };
  rig.manifest({ ...failing, ticket: 'ABC-1' }, 'runs-one.yaml');
  rig.manifest({ ...failing, ticket: 'ABC-2' }, 'runs-two.yaml');
  const { stderr } = await rig.run('apply runs-one.yaml runs-two.yaml', { code: 1 });
  for (const ticket of ['ABC-1', 'ABC-2'])
    expect(stderr).toContain(`metawsm: ${ticket}: agent.start/agent: agent agent exited with status 3`);
});
