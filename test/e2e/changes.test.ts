import { appendFileSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import type { Plan } from '../support/documents.js';
import { isAlive } from '../support/processes.js';
import { agent, hasTmux, type ManifestKeys, test } from '../support/rig.js';
import { filesBelow } from '../support/snapshot.js';

const intake = { goal: 'Limit logins', scope: 'The login endpoint', constraints: 'No new dependencies' };

test('a changed intake rewrites the brief and tells the agent, without a restart', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const { agents } = await rig.applied();
  const folder = agents[0]?.sentinel_dir ?? '';
  rig.manifest({ intake: { ...intake, goal: 'Limit logins per account' } });

  const plan = await rig.json<Plan>('plan run.yaml');
  expect(plan.changes).toMatchObject([{ source: 'manifest', path: '/intake/goal', effect: 'in_place' }]);
  expect(plan.steps.filter((step) => step.kind === 'agent.start' && step.action !== 'none')).toEqual([]);

  await rig.run('apply run.yaml');
  expect(readFileSync(path.join(folder, 'brief.md'), 'utf8')).toContain('Limit logins per account');
  const feedback = readFileSync(path.join(folder, 'operator-feedback.md'), 'utf8');
  expect(feedback).toContain('Limit logins per account');
  expect(await rig.agentNamed()).toMatchObject({ state: 'running', attempt: 1 });
  expect(rig.starts()).toBe(1);

  // Said once; what comes later is appended, newest last.
  await rig.run('apply run.yaml');
  expect(readFileSync(path.join(folder, 'operator-feedback.md'), 'utf8')).toBe(feedback);
  rig.manifest({ intake: { ...intake, goal: 'Limit logins per address' } });
  await rig.run('apply run.yaml');
  const appended = readFileSync(path.join(folder, 'operator-feedback.md'), 'utf8');
  expect(appended.startsWith(feedback)).toBe(true);
  expect(appended.slice(feedback.length)).toContain('Limit logins per address');
});

test('a changed agent command restarts the agent, and only with a yes', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  await rig.applied();
  const { pid } = await rig.agentNamed();
  rig.manifest({ agent: { command: agent('complete', 'by the new command') } });

  const plan = await rig.json<Plan>('plan run.yaml --detailed-exitcode', { code: 2 });
  expect(plan.changes).toMatchObject([{ effect: 'restart' }]);
  expect(plan.steps.find((step) => step.id === 'agent.start/agent')).toMatchObject({ needs_yes: true });

  const refused = await rig.run('apply run.yaml', { code: 4, stdin: 'open' });
  expect(refused.text).toContain('--yes');
  expect(isAlive(pid ?? 0)).toBe(true);

  await rig.run('apply run.yaml --yes --wait');
  expect(isAlive(pid ?? 0)).toBe(false);
  expect(await rig.agentNamed()).toMatchObject({ attempt: 2, summary: 'by the new command' });
});

test.skipIf(!hasTmux)(
  'a changed session moves the agent, and leaves none of the old ones',
  async ({ rig }) => {
    await rig.repo('api');
    rig.manifest({ session: 'tmux' });
    const { agents } = await rig.applied();
    const { pid, session_name: session } = await rig.agentNamed();
    expect(rig.tmuxSessions()).toEqual([session]);

    rig.manifest({ session: 'process' });
    await rig.run('apply run.yaml', { code: 4 });
    expect(isAlive(pid ?? 0)).toBe(true);
    await rig.run('apply run.yaml --yes');
    expect(isAlive(pid ?? 0)).toBe(false);
    expect(rig.tmuxSessions()).toEqual([]);
    expect(await rig.agentNamed()).toMatchObject({ state: 'running', attempt: 2 });
    expect((await rig.agentNamed()).sentinel_dir).toBe(agents[0]?.sentinel_dir);
  },
);

const refusedChanges: readonly (readonly [what: string, keys: ManifestKeys])[] = [
  ['ticket id', { ticket: 'ABC-2' }],
  ['base branch', { base_branch: 'develop' }],
  ['path of a repo', { repos: [{ name: 'api', path: '../repos/other' }] }],
  ['name of a repo', { repos: [{ name: 'renamed', path: '../repos/api' }] }],
  ['workspace root', { workspace: { root: '../elsewhere' } }],
  ['branch template', { workspace: { root: '../workspaces', branch: 'x/{workspace}' } }],
  ['tickets driver', { tickets: { driver: 'none' } }],
  ['name of the agent', { agent: { name: 'renamed', command: agent('live') } }],
];

test.for(refusedChanges)('a changed %s is refused, and nothing else is done', async ([, keys], { rig }) => {
  await rig.repo('api');
  await rig.repo('other');
  rig.manifest();
  const { run, agents } = await rig.applied();
  const brief = path.join(agents[0]?.sentinel_dir ?? '', 'brief.md');
  const before = readFileSync(brief, 'utf8');
  // A second change, harmless by itself, must wait with the refused one.
  rig.manifest({ ...keys, intake: { ...intake, goal: 'Something new' } });

  const { refused } = await rig.json<Plan>('plan run.yaml', { code: 4 });
  expect(refused.length).toBeGreaterThan(0);
  expect(refused[0]?.way_out).not.toBe('');
  for (const command of ['apply run.yaml', 'apply run.yaml --yes', 'apply run.yaml --wait'])
    await rig.run(command, { code: 4 });

  expect(readFileSync(brief, 'utf8')).toBe(before);
  const after = await rig.status(run.id);
  expect(after.run.state).toBe('running');
  expect(after.agents).toMatchObject([{ name: 'agent', attempt: 1 }]);
  expect(await rig.runs()).toHaveLength(1);
});

test('a new repo and a new agent join a live run', async ({ rig }) => {
  await rig.repo('api');
  const web = await rig.repo('web');
  rig.manifest();
  const before = await rig.applied();
  rig.manifest({
    repos: [
      { name: 'api', path: '../repos/api' },
      { name: 'web', path: '../repos/web' },
    ],
    agents: [
      { name: 'agent', command: agent('live') },
      { name: 'second', cwd: 'web', command: agent('live') },
    ],
  });
  await rig.run('apply run.yaml');
  await rig.untilFile('alive-second-1');
  const after = await rig.status();
  expect(await web.worktrees()).toEqual([path.join(after.run.workspace, 'web')]);
  expect(after.agents.map((each) => [each.name, each.attempt])).toEqual([
    ['agent', 1],
    ['second', 1],
  ]);
  // Decided when there was one agent, and kept.
  expect(after.agents[0]?.sentinel_dir).toBe(before.agents[0]?.sentinel_dir);
  expect(rig.starts('agent')).toBe(1);
});

test('an agent is removed from a live run only with a yes', async ({ rig }) => {
  await rig.repo('api');
  const command = agent('live');
  const both = [
    { name: 'one', cwd: 'api', command },
    { name: 'two', cwd: 'api', command },
  ];
  rig.manifest({ agents: both });
  await rig.run('apply run.yaml');
  await rig.untilFile('alive-two-1');
  const { pid } = await rig.agentNamed('two');
  rig.manifest({ agents: both.slice(0, 1) });
  await rig.run('apply run.yaml', { code: 4 });
  expect(isAlive(pid ?? 0)).toBe(true);
  await rig.run('apply run.yaml --yes');
  expect(isAlive(pid ?? 0)).toBe(false);
  rig.release('one');
  await rig.run('apply run.yaml --wait');
});

test('a dropped repo that is clean goes with a yes, one with work not at all', async ({ rig }) => {
  await rig.repo('api');
  const web = await rig.repo('web');
  const api = { name: 'api', path: '../repos/api' };
  rig.manifest({
    repos: [api, { name: 'web', path: '../repos/web' }],
    agents: [{ name: 'agent', cwd: 'api', command: agent('live') }],
  });
  await rig.applied();
  const { path: tree } = await rig.repoNamed('web');
  const dropped = { repos: [api], agents: [{ name: 'agent', cwd: 'api', command: agent('live') }] };
  rig.manifest(dropped);
  await rig.run('apply run.yaml', { code: 4 });
  rig.at(tree).write({ 'new.txt': 'x' });
  await rig.run('apply run.yaml --yes', { code: 4 });
  expect(await web.worktrees()).toHaveLength(1);
  await rig.at(tree).git('clean', '-fdq');
  await rig.run('apply run.yaml --yes');
  expect(await web.worktrees()).toEqual([]);
});

test('setup, copy and link of a repo in use are a warning, not done again', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  await rig.applied();
  rig.manifest({ repos: [{ name: 'api', path: '../repos/api', setup: ['touch "$RIG_DIR/late"'] }] });
  const { text } = await rig.run('apply run.yaml');
  expect(text).toMatch(/setup/);
  expect(rig.snapshot()).not.toHaveProperty('late');
});

test('a completed run with new criteria goes on with a yes; a new intake needs none', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agent: { command: agent('complete') } });
  await rig.run('apply run.yaml --wait');

  rig.manifest({ agent: { command: agent('complete') }, intake: { ...intake, goal: 'Reworded' } });
  await rig.run('apply run.yaml');
  expect(await rig.state()).toBe('completed');
  expect(rig.starts()).toBe(1);

  rig.manifest({
    agent: { command: agent('complete') },
    intake: { ...intake, goal: 'Reworded' },
    done_criteria: ['The README documents it', 'And the tests show it'],
  });
  await rig.run('apply run.yaml', { code: 4 });
  expect(rig.starts()).toBe(1);
  await rig.run('apply run.yaml --wait --yes');
  expect(rig.starts()).toBe(2);
  expect(await rig.state()).toBe('completed');
});

test('a brief that a person edited in the ticket is kept, with a warning', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  await rig.applied();
  const root = path.join(rig.stateFolder, 'ttmp');
  const brief = path.join(root, filesBelow(root).find((file) => file.includes('/reference/')) ?? '');
  appendFileSync(brief, '\nA note by a person\n');
  rig.manifest({ intake: { ...intake, goal: 'Reworded' } });
  const { text } = await rig.run('apply run.yaml');
  expect(readFileSync(brief, 'utf8')).toContain('A note by a person');
  expect(text).toContain(path.basename(brief));
});
