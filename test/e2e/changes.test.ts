import { appendFileSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import type { Plan } from '../support/documents.js';
import { isAlive } from '../support/processes.js';
import { agent, hasTmux, type ManifestKeys, type Rig, test } from '../support/rig.js';
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

test('base and path of a repo may be mended until a branch was made in it', async ({ rig }) => {
  const api = await rig.repo('api', { origin: true });
  const other = await rig.repo('other');
  const [base, develop] = [
    await other.git('rev-parse', 'main'),
    await other.commit('Next', { 'b.txt': 'b' }),
  ];
  await other.git('branch', 'develop');
  await other.git('reset', '-q', '--hard', base);
  renameSync(api.origin ?? '', `${api.origin}-away`);
  rig.manifest({ agents: [] });
  await rig.run('apply run.yaml', { code: 1 });

  rig.manifest({ agents: [], repos: [{ name: 'api', path: '../repos/other' }], base_branch: 'develop' });
  const { stdout } = await rig.run('plan run.yaml --detailed-exitcode', { code: 2 });
  expect(stdout).toMatch(/^ {2}~ \/repos\/api\/base_branch \(in place\) {2}main -> develop$/m);
  await rig.run('apply run.yaml');
  expect(await rig.repoNamed()).toMatchObject({
    source: other.path,
    base_branch: 'develop',
    base_commit: develop,
  });
  expect(await api.worktrees()).toEqual([]);
  expect(await rig.runs()).toHaveLength(1);
  await rig.run('plan run.yaml --detailed-exitcode');

  rig.manifest({ agents: [], repos: [{ name: 'api', path: '../repos/other' }] });
  await rig.run('apply run.yaml', { code: 4 });
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

test('a wait that began before a change does not undo it', async ({ rig }) => {
  await rig.repo('api');
  const keys = { agent: { command: agent('die-first', '3') } };
  rig.manifest(keys);
  const waiting = rig.spawn('apply run.yaml --wait');
  await rig.until('the start', () => rig.starts() === 1);
  await rig.untilDone('agent.start/agent');
  rig.manifest({ ...keys, intake: { ...intake, goal: 'Reworded' } });
  await rig.run('apply run.yaml');
  rig.touch('die');
  expect((await waiting.result).code).toBe(0);
  expect(await rig.agentNamed()).toMatchObject({ attempt: 2, state: 'completed' });
  const folder = (await rig.agentNamed()).sentinel_dir;
  expect(readFileSync(path.join(folder, 'brief.md'), 'utf8')).toContain('Reworded');
  await rig.run('plan run.yaml --detailed-exitcode');
});

test('an apply that waits out a backoff does not undo what another applied meanwhile', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  await rig.applied();
  process.kill((await rig.agentNamed()).pid ?? 0, 'SIGKILL');
  await rig.untilState('failed');
  const first = rig.spawn('apply run.yaml');
  await rig.until('its wait', () => first.stderr().includes('before an agent is started again'));
  // It sleeps for longer than it wanted to.
  first.kill('SIGSTOP');
  rig.manifest({ intake: { ...intake, goal: 'Reworded' } });
  await rig.run('apply run.yaml');
  await rig.untilFile('alive-agent-2');
  first.kill('SIGCONT');
  const { code, stderr } = await first.result;
  expect(code, stderr).toBe(0);
  expect(stderr).toContain('another apply changed the run meanwhile');
  const { sentinel_dir: folder, attempt } = await rig.agentNamed();
  expect(attempt).toBe(2);
  expect(readFileSync(path.join(folder, 'brief.md'), 'utf8')).toContain('Reworded');
  await rig.run('plan run.yaml --detailed-exitcode');
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

test('an agent that completed leaves the manifest, and its run stays completed', async ({ rig }) => {
  await rig.repo('api');
  const command = 'metawsm signal complete --summary done';
  const both = ['one', 'two'].map((name) => ({ name, cwd: 'api', command }));
  rig.manifest({ agents: both });
  await rig.run('apply run.yaml --wait');
  rig.manifest({ agents: both.slice(0, 1) });
  const { stdout } = await rig.run('plan run.yaml --detailed-exitcode', { code: 2 });
  expect(stdout).toMatch(/^ {2}- {3}agent\.stop\/two/m);
  await rig.run('apply run.yaml');
  expect(await rig.state()).toBe('completed');
  expect((await rig.status()).agents.map((each) => each.name)).toEqual(['one']);
  await rig.run('plan run.yaml --detailed-exitcode');
});

test('the question of an agent stands until its removal is agreed to', async ({ rig }) => {
  await rig.repo('api');
  const both = [
    { name: 'one', cwd: 'api', command: agent('live') },
    { name: 'two', cwd: 'api', command: agent('ask', 'Why?') },
  ];
  rig.manifest({ agents: both });
  await rig.run('apply run.yaml --wait', { code: 3 });
  rig.manifest({ agents: both.slice(0, 1) });
  await rig.run('apply run.yaml', { code: 4 });
  expect((await rig.json<Plan>('plan run.yaml')).run_state).toBe('awaiting_guidance');
  expect((await rig.status()).guidance).toMatchObject([{ id: 'g1', agent: 'two' }]);
  await rig.run('apply run.yaml --yes');
  expect(await rig.status()).toMatchObject({ run: { state: 'running' }, guidance: [] });
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

test('an agent whose worktree goes with its repo moves to the one that is left', async ({ rig }) => {
  await rig.repo('api');
  await rig.repo('web');
  rig.manifest();
  await rig.applied();
  const { pid } = await rig.agentNamed();
  rig.manifest({ repos: [{ name: 'web', path: '../repos/web' }] });
  expect((await rig.run('plan run.yaml')).stdout).toMatch(/^ {2}-\/\+ agent\.start\/agent .*needs --yes/m);
  await rig.run('apply run.yaml', { code: 4 });
  expect(isAlive(pid ?? 0)).toBe(true);
  await rig.run('apply run.yaml --yes');
  expect(isAlive(pid ?? 0)).toBe(false);
  rig.release();
  await rig.run('apply run.yaml --wait');
  // Where it worked.
  expect(await rig.repoNamed('web')).toMatchObject({ ahead: 1 });
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

test('what is put back as it was done is no change any more', async ({ rig }) => {
  const api = await rig.repo('api');
  api.write({ '.env': 'A=1\n', '.key': 'k\n' });
  const repos = (...copy: string[]) => ({ repos: [{ name: 'api', path: '../repos/api', copy }] });
  rig.manifest(repos('.env'));
  await rig.applied();
  rig.manifest(repos('.env', '.key'));
  expect((await rig.run('apply run.yaml')).text).toMatch(/copy of repo api changed/);
  rig.manifest(repos('.env'));
  expect((await rig.run('apply run.yaml')).text).not.toMatch(/copy of repo api changed/);
});

test('what agents read and write in, removed by somebody, is drift and comes back', async ({ rig }) => {
  await rig.repo('api');
  const command = agent('live');
  rig.manifest({
    agents: [
      { name: 'one', cwd: 'api', command },
      { name: 'two', cwd: 'api', command },
    ],
  });
  await rig.run('apply run.yaml');
  const { run, agents } = await rig.status();
  const [one = '', two = ''] = agents.map((each) => each.sentinel_dir);
  const rows: readonly (readonly [gone: string, step: RegExp, back: string])[] = [
    [two, /^ {2}\+ {3}workspace\.create/m, path.join(two, 'brief.md')],
    [path.join(one, 'brief.md'), /^ {2}\+ {3}brief\.write/m, path.join(one, 'brief.md')],
    [path.join(one, 'context.json'), /^ {2}\+ {3}brief\.write/m, path.join(one, 'context.json')],
    [path.join(run.workspace, '.metawsm'), /^ {2}\+ {3}workspace\.create/m, path.join(one, 'brief.md')],
  ];
  for (const [gone, step, back] of rows) {
    rmSync(gone, { recursive: true });
    const { stdout } = await rig.run('plan run.yaml --detailed-exitcode', { code: 2 });
    expect.soft(stdout).toContain(`  - ${path.relative(run.workspace, gone)} (drift)`);
    expect.soft(stdout).toMatch(step);
    await rig.run('apply run.yaml');
    expect.soft(existsSync(back), gone).toBe(true);
    await rig.run('plan run.yaml --detailed-exitcode');
  }
  expect(rig.starts()).toBe(2);
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
  // Said by plan, too; nothing is to be done about it.
  const kept = `warning: ${brief} was edited by hand and is kept as it is`;
  expect((await rig.run('plan run.yaml --detailed-exitcode')).stdout).toContain(kept);
  rig.manifest({ intake: { ...intake, goal: 'Reworded' } });
  const planned = await rig.run('plan run.yaml');
  expect(planned.stdout).toContain(kept);
  expect(planned.stdout).not.toMatch(/^ +\S+ +ticket\.brief/m);
  const { text } = await rig.run('apply run.yaml');
  expect(readFileSync(brief, 'utf8')).toContain('A note by a person');
  expect(text).toContain(path.basename(brief));
  await rig.run('plan run.yaml --detailed-exitcode');
});

/** Laid over each other in this order: what changes, the line that plan shows for it, and whether it needs a yes. */
const rows: readonly (readonly [what: string, keys: ManifestKeys, line: RegExp, exit?: 'yes'])[] = [
  ['title', { ticket: { id: 'ABC-1', title: 'Another title' } }, /^ {2}~ \/ticket\/title \(in place\)/m],
  [
    'topics',
    { ticket: { id: 'ABC-1', title: 'Another title', topics: ['a'] } },
    /^ {2}~ \/ticket\/topics \(in place\)/m,
  ],
  ['goal', { intake: { ...intake, goal: 'Reworded' } }, /^ {2}~ \/intake\/goal \(in place\)/m],
  [
    'an answer',
    { intake: { ...intake, goal: 'Reworded', answers: [{ question: 'a', answer: 'b' }] } },
    /^ {2}~ \/intake\/answers \(in place\)/m,
  ],
  [
    'merge_intent',
    { intake: { ...intake, goal: 'Reworded', merge_intent: 'none' } },
    /^ {2}~ \/intake\/merge_intent \(in place\)/m,
  ],
  [
    'a new criterion',
    { done_criteria: ['The README documents it', { run: 'true' }] },
    /^ {2}\+ \/done_criteria \(in place\)/m,
  ],
  [
    'a dropped criterion',
    { done_criteria: ['The README documents it'] },
    /^ {2}- \/done_criteria \(in place\)/m,
  ],
  ['policy', { policy: { start_grace: '200ms', restart_budget: 1 } }, /^ {2}~ \/policy \(in place\)/m],
  [
    'complete_on',
    { agent: { command: agent('live'), complete_on: 'exit' } },
    /^ {2}~ \/agents\/agent\/complete_on \(in place\)/m,
  ],
  [
    'env',
    { agent: { command: agent('live'), complete_on: 'exit', env: { A: 'secret' } } },
    /^ {2}-\/\+ \/agents\/agent\/env \(by restart\) {2}\(none\) -> A$|^ {2}-\/\+ \/agents\/agent\/env \(by restart\)/m,
    'yes',
  ],
  [
    'cwd',
    { agent: { command: agent('live'), complete_on: 'exit', env: { A: 'secret' }, cwd: 'web' } },
    /^ {2}-\/\+ \/agents\/agent\/cwd \(by restart\)/m,
    'yes',
  ],
];

test('each change is a row of the plan, apply does it, and then there is none', { timeout: 300_000 }, async ({
  rig,
}) => {
  await rig.repo('api');
  await rig.repo('web');
  const repos = ['api', 'web'].map((name) => ({ name, path: `../repos/${name}` }));
  let keys: ManifestKeys = { repos, agent: { command: agent('live'), cwd: 'api' } };
  rig.manifest(keys);
  await rig.applied();
  keys = { ...keys, agent: { command: agent('live'), cwd: 'api' } };
  for (const [what, change, line, yes] of rows) {
    // The cwd stays as it was recorded until its own row.
    keys = { ...keys, ...change };
    const asked = keys.agent as ManifestKeys;
    rig.manifest({ ...keys, agent: { cwd: 'api', ...asked } });
    const plan = await rig.run('plan run.yaml --detailed-exitcode', { code: 2 });
    expect.soft(plan.stdout, what).toMatch(line);
    expect
      .soft(plan.stdout, what)
      .toContain('+ create   ~ update   - delete   -/+ replace   > run   ! refused');
    expect.soft(plan.stdout, what).not.toContain('secret');
    if (yes === 'yes') {
      expect.soft(plan.stdout, what).toMatch(/^ {2}-\/\+ agent\.start\/agent .*needs --yes/m);
      await rig.run('apply run.yaml', { code: 4 });
      await rig.run('apply run.yaml --yes');
    } else await rig.run('apply run.yaml');
    expect.soft((await rig.run('plan run.yaml --detailed-exitcode')).stdout, what).toMatch(/^No changes/m);
  }
  // Two restarts, each with a yes.
  expect(await rig.agentNamed()).toMatchObject({ state: 'running', attempt: 3 });
});

test('a refused row is marked, with its way out, and nothing of the plan would be executed', async ({
  rig,
}) => {
  await rig.repo('api');
  rig.manifest();
  await rig.applied();
  rig.manifest({ ticket: 'ABC-2', intake: { ...intake, goal: 'Something new' } });
  const { stdout } = await rig.run('plan run.yaml', { code: 4 });
  expect(stdout).toMatch(/^ {2}! \/ticket\/id \(refused\) {2}ABC-1 -> ABC-2$/m);
  expect(stdout).toMatch(/^Refused:\n {2}! .*\n {6}.*--new-run/m);
  expect(stdout).not.toMatch(/^Steps:/m);
  expect(stdout).toMatch(/^This plan is refused/m);
});

test('dropped and added repos and agents are rows of their own', async ({ rig }) => {
  await rig.repo('api');
  await rig.repo('web');
  const [api, web] = ['api', 'web'].map((name) => ({ name, path: `../repos/${name}` }));
  const one = { name: 'agent', cwd: 'api', command: agent('live') };
  rig.manifest({ repos: [api], agents: [one] });
  await rig.applied();
  rig.manifest({ repos: [api, web], agents: [one, { ...one, name: 'two' }] });
  const more = (await rig.run('plan run.yaml')).stdout;
  expect(more).toMatch(/^ {2}\+ \/repos\/web \(in place\)/m);
  expect(more).toMatch(/^ {2}\+ \/agents\/two \(in place\)/m);
  expect(more).toMatch(/^ {2}\+ {3}worktree\.create\/web/m);
  expect(more).toMatch(/^ {2}\+ {3}agent\.start\/two/m);
  await rig.run('apply run.yaml');
  rig.manifest({ repos: [api], agents: [one] });
  const less = (await rig.run('plan run.yaml')).stdout;
  expect(less).toMatch(/^ {2}- \/repos\/web \(in place\)/m);
  expect(less).toMatch(/^ {2}- {3}worktree\.remove\/web .*needs --yes/m);
  expect(less).toMatch(/^ {2}- {3}agent\.stop\/two .*needs --yes/m);
});

/** The run as a row of the table says, and what apply then does: its exit code and a word. */
const states: readonly (readonly [
  state: string,
  reach: (rig: Rig) => Promise<void>,
  code: number,
  word: RegExp,
])[] = [
  ['stopped', async (rig) => void (await rig.run('stop run.yaml')), 4, /resume|restart/],
  [
    'completed',
    async (rig) => {
      rig.release();
      await rig.run('apply run.yaml --wait');
    },
    0,
    /No changes|nothing to do/i,
  ],
  ['closed (abandoned)', async (rig) => void (await rig.run('cleanup run.yaml --force')), 0, /creating run-/],
];

test.for(states)('a run that is %s: plan and apply agree', async ([, reach, code, word], { rig }) => {
  await rig.repo('api');
  rig.manifest();
  await rig.applied();
  await reach(rig);
  const planned = await rig.run('plan run.yaml', { code: 'any' });
  expect(planned.code).toBe(code);
  const applied = await rig.run('apply run.yaml', { code });
  expect(applied.text).toMatch(word);
});

test('a paused run (exited_without_signal) is left alone until somebody says so', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agent: { command: 'true' } });
  await rig.run('apply run.yaml --wait', { code: 4 });
  expect(await rig.state()).toBe('paused (exited_without_signal)');
  expect((await rig.run('plan run.yaml', { code: 4 })).stdout).toMatch(/resume|restart/);
  expect((await rig.run('apply run.yaml --yes', { code: 4 })).text).toMatch(/resume|restart/);
  await rig.run('resume run.yaml', { code: 'any' });
  expect(await rig.agentNamed()).toMatchObject({ attempt: 2 });
});

test('after a reboot the agent is started again within its budget, and plan says why', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const { run } = await rig.applied();
  await rig.endAgents(run.id);
  // What the next boot finds: records of processes of another one.
  const folder = path.join(rig.stateFolder, 'runs', run.id, 'agents/agent/attempt-1');
  for (const name of ['claim', 'started.json']) {
    const record = JSON.parse(readFileSync(path.join(folder, name), 'utf8'));
    writeFileSync(path.join(folder, name), JSON.stringify({ ...record, bootId: 'an-earlier-boot' }));
  }
  rmSync(path.join(folder, 'exit.json'), { force: true });
  const { stdout } = await rig.run('plan run.yaml --detailed-exitcode', { code: 2 });
  expect(stdout).toMatch(/^ {2}~ agent\/agent \(drift\)/m);
  expect(stdout).toMatch(/^ {2}-\/\+ agent\.start\/agent .*(restarted|reboot)/m);
  expect(await rig.state()).toBe('failed (rebooted)');
  await rig.run('apply run.yaml');
  await rig.untilFile('alive-agent-2');
  expect(await rig.state()).toBe('running');
});

test.skipIf(!hasTmux)('a session that is gone with its server is drift, too', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ session: 'tmux' });
  const { run } = await rig.applied();
  await rig.killTmux();
  await rig.endAgents(run.id);
  await rig.untilState('failed');
  expect((await rig.run('plan run.yaml')).stdout).toMatch(/^ {2}-\/\+ agent\.start\/agent/m);
  await rig.run('apply run.yaml');
  await rig.untilFile('alive-agent-2');
  expect(await rig.state()).toBe('running');
});

test('a worktree on another branch is a warning; nothing is done to it', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const { repos } = await rig.applied();
  const tree = rig.at(repos[0]?.path ?? '');
  await tree.git('checkout', '-q', '-b', 'elsewhere');
  const planned = await rig.run('plan run.yaml --detailed-exitcode');
  expect(planned.text).toMatch(/is on branch elsewhere, the run's branch is task\//);
  await rig.run('apply run.yaml');
  expect(await tree.git('branch', '--show-current')).toBe('elsewhere');
});

test('a lost worktree whose branch was checked out elsewhere is not made again over it', async ({ rig }) => {
  const api = await rig.repo('api');
  rig.manifest();
  const { repos, run } = await rig.applied();
  await rig.endAgents(run.id);
  await rig.untilState('failed');
  rmSync(repos[0]?.path ?? '', { recursive: true });
  await api.git('worktree', 'prune');
  await api.git('checkout', '-q', repos[0]?.branch ?? '');
  const { stdout } = await rig.run('plan run.yaml', { code: 'any' });
  expect(stdout).toMatch(/^ {2}- worktree\/api \(drift\)/m);
  const { text } = await rig.run('apply run.yaml', { code: 1 });
  expect(text).toMatch(/is checked out at .*repos\/api/);
  await api.git('checkout', '-q', 'main');
  await rig.run('apply run.yaml');
  expect((await rig.repoNamed()).branch).toBe(repos[0]?.branch);
});

test('a branch that was deleted with its worktree is made again from the recorded base', async ({ rig }) => {
  const api = await rig.repo('api');
  const base = await api.git('rev-parse', 'main');
  rig.manifest();
  const { repos, run } = await rig.applied();
  await rig.endAgents(run.id);
  await rig.untilState('failed');
  rmSync(repos[0]?.path ?? '', { recursive: true });
  await api.git('worktree', 'prune');
  await api.git('branch', '-D', repos[0]?.branch ?? '');
  await api.commit('Later', { 'later.txt': 'x' });
  expect((await rig.run('plan run.yaml')).stdout).toMatch(/is gone too; it is made again from/);
  await rig.run('apply run.yaml');
  expect((await rig.repoNamed()).head).toBe(base);
});

test('a base that moved on changes nothing of a run', async ({ rig }) => {
  const api = await rig.repo('api', { origin: true });
  rig.manifest();
  const before = await rig.applied();
  await api.commit('Later', { 'later.txt': 'x' });
  await api.git('push', '-q', 'origin', 'main');
  expect((await rig.run('plan run.yaml --detailed-exitcode')).stdout).toMatch(/^No changes/m);
  await rig.run('apply run.yaml');
  expect((await rig.repoNamed()).base_commit).toBe(before.repos[0]?.base_commit);
});
