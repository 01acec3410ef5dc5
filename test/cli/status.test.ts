import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect, onTestFinished } from 'vitest';
import type { RunReason, RunState } from '../../src/plan/lifecycle.js';
import { Store } from '../../src/state/store.js';
import { probe, selfIdentity } from '../../src/tools/process.js';
import type { Runs, Status } from '../support/documents.js';
import { start } from '../support/processes.js';
import { agent, checkout, type Rig, test } from '../support/rig.js';

test('where nothing was ever applied there are no runs, and nothing is made', async ({ rig }) => {
  const before = rig.snapshot();
  expect((await rig.run('status')).stdout).toBe('no runs yet\n');
  expect(await rig.json('status')).toEqual({ format_version: 1, kind: 'runs', runs: [] });
  expect((await rig.run('status --watch')).stdout).toBe('no runs yet\n');
  await rig.run('status ABC-1', { code: 64 });
  expect(rig.snapshot()).toEqual(before);
});

test('the page says how a run stands, and what to type next', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ done_criteria: ['The README documents it', { run: 'npm test' }] });
  const { run, agents, repos } = await rig.applied();
  const tree = rig.at(repos[0]?.path ?? '');
  await tree.commit('Work', { 'work.txt': 'one\ntwo\n' });
  writeFileSync(path.join(tree.path, 'later.txt'), 'x');

  const { stdout, stderr } = await rig.run('status run.yaml');
  expect(stderr).toBe('');
  for (const words of [
    'ABC-1  Rate-limit the login',
    run.id,
    run.workspace,
    'run.yaml',
    `running, healthy, attempt 1, pid ${agents[0]?.pid}`,
    '3 restarts left',
    'c1  The README documents it',
    'c2  $ npm test',
    '1 ahead, 1 file +2 -0, 1 uncommitted',
    'later.txt',
    'next: metawsm apply run.yaml --wait',
  ])
    expect(stdout).toContain(words);
  // All steps are done: only --verbose lists them.
  expect(stdout).toMatch(/^ {2}steps +6 of 6 done$/m);
  expect(stdout).not.toContain('worktree.create/api');
  expect((await rig.run('status run.yaml --verbose')).stdout).toContain('✔ worktree.create/api');

  const status = await rig.json<Status>('status run.yaml');
  follows('status', status);
  expect(status).toMatchObject({
    recorded: true,
    run: { state: 'running', resume_at_step: null },
    agents: [{ state: 'running', health: 'healthy', restarts_left: 3 }],
    criteria: [
      { id: 'c1', kind: 'worded', repo: null, state: 'unverified' },
      { id: 'c2', kind: 'command', repo: 'api', state: 'unverified' },
    ],
    repos: [{ ahead: 1, behind: 0, clean: false, dirty_files: ['later.txt'], delivered: false }],
    gates: [],
    next: { argv: ['metawsm', 'apply', 'run.yaml', '--wait'] },
  });
  expect(readFileSync(status.agents[0]?.log ?? '', 'utf8')).toContain('alive as agent');
});

test('a step that failed is on the page, and where the run goes on', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ repos: [{ name: 'api', path: '../repos/api', setup: ['echo why; false'] }] });
  await rig.run('apply run.yaml', { code: 1 });
  const { stdout } = await rig.run('status run.yaml');
  expect(stdout).toMatch(/state +failed \(step_failed\)/);
  expect(stdout).toMatch(/✖ setup\.run\/api\/1/);
  expect(stdout).toMatch(/· agent\.start\/agent +pending/);
  const status = await rig.status();
  follows('status', status);
  expect(status.run.resume_at_step).toBe('setup.run/api/1');
  expect(stdout).toContain('agent  not started yet, 3 restarts left');
  // The states that the contract names, and no other.
  expect(status.agents).toMatchObject([{ state: 'starting', attempt: 0, pid: null, log: null }]);
});

test('a look is recorded, and starts nothing', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const { run, agents } = await rig.applied();
  process.kill(agents[0]?.pid ?? 0, 'SIGKILL');
  const { stdout } = await rig.run('status run.yaml --exit-code', { code: 1 });
  expect(stdout).toMatch(/state +failed \(agent_\w+\): agent agent was ended by SIGKILL/);
  expect(rig.starts()).toBe(1);
  const store = await storeOf(rig);
  expect(await store.loadRun(run.id)).toMatchObject({ state: 'failed' });
  expect(await rig.agentNamed()).toMatchObject({ pid: null, signal: 'SIGKILL' });
});

test('while another process is at work it shows what it sees, and records nothing', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const { run, agents } = await rig.applied();
  const store = await storeOf(rig);
  const lock = await store.acquireLock(`run:${run.id}`, { timeoutMs: 10_000 });
  const request = JSON.stringify({ question: 'Redis or memory?' });
  writeFileSync(path.join(agents[0]?.sentinel_dir ?? '', 'guidance-request.json'), request);
  const seen = await rig.status();
  follows('status', seen);
  expect(seen).toMatchObject({
    recorded: false,
    run: { state: 'awaiting_guidance' },
    guidance: [{ id: 'g1', question: 'Redis or memory?' }],
    next: { argv: ['metawsm', 'guide', 'ABC-1', '--answer', '…'] },
  });
  const page = await rig.run('status run.yaml --exit-code', { code: 3 });
  expect(page.stdout).toMatch(/not recorded: process \d+ on .* \(metawsm test\) is at work/);
  expect(await store.loadRun(run.id)).toMatchObject({ state: 'running', guidance: [] });

  await lock.release();
  // What was shown is what is then recorded.
  expect(await rig.status()).toMatchObject({ recorded: true, guidance: seen.guidance });
  expect(await store.loadRun(run.id)).toMatchObject({ state: 'awaiting_guidance' });
});

test.for<[RunState, RunReason | null, number]>([
  ['running', null, 0],
  ['failed', 'step_failed', 1],
  ['paused', 'interrupted', 4],
  ['stopped', null, 4],
  ['closed', null, 0],
])('--exit-code tells that a run is %s', async ([state, reason, code], { rig }) => {
  await rig.repo('api');
  rig.manifest();
  const { run } = await rig.applied();
  const store = await storeOf(rig);
  if (state === 'stopped') await store.transitionRun(run.id, 'stopping');
  await store.transitionRun(run.id, state, { reason });
  await rig.run('status run.yaml', { code: 0 });
  const { stdout } = await rig.run('status run.yaml --exit-code', { code });
  expect(stdout).toContain(state);
  follows('status', await rig.status());
  // Without a name it is the worst of all open runs.
  await rig.run('status --exit-code', { code: state === 'closed' ? 0 : code });
});

test('inside a workspace it means the run of that workspace', async ({ rig }) => {
  await rig.repo('api');
  await rig.repo('web');
  rig.manifest();
  const { run, repos } = await rig.applied();
  rig.manifest({ ticket: 'ABC-2', repos: [{ name: 'web', path: '../repos/web' }], agents: [] }, 'two.yaml');
  await rig.run('apply two.yaml');
  for (const cwd of [run.workspace, repos[0]?.path ?? '']) {
    expect((await rig.json<Status>('status', { cwd })).run.id).toBe(run.id);
    expect((await rig.json<Status>('status ABC-2', { cwd })).run.ticket).toBe('ABC-2');
    await rig.run('attach', { cwd, code: 64 });
    await rig.run('attach ABC-1', { cwd, code: 4 });
  }
  // What it says to type next works where it is typed.
  await rig.run('stop ABC-1');
  const { next } = await rig.json<Status>('status', { cwd: run.workspace });
  expect(next).toMatchObject({ argv: ['metawsm', 'resume', 'ABC-1'] });
  const env = { ...rig.env, PATH: `${rig.stateFolder}/bin:${rig.env.PATH}` };
  const shell = ['-c', next?.text ?? 'false'];
  await start('sh', shell, { cwd: run.workspace, env, timeout: 30_000 }).result;
  expect(await rig.state('ABC-1')).toBe('running');
  writeFileSync(
    path.join(run.workspace, '.metawsm/context.json'),
    JSON.stringify({ state_dir: rig.stateFolder }),
  );
  const { stderr } = await rig.run('status', { cwd: run.workspace, code: 64 });
  expect(stderr).toContain('context.json');
});

test('a manifest that broke since is a warning, one that is gone a note', async ({ rig }) => {
  await rig.repo('api');
  const manifest = rig.manifest({ agents: [] });
  await rig.run('apply run.yaml');
  expect((await rig.status()).warnings).toEqual([]);
  rig.write('run.yaml', 'version: [');
  const broken = await rig.status();
  follows('status', broken);
  expect(broken.warnings).toMatchObject([{ code: 'manifest_broken', file: manifest }]);
  expect((await rig.run('status ABC-1')).stdout).toMatch(/warning: .*run\.yaml.*the recorded run counts/);
  rmSync(manifest);
  expect((await rig.status()).warnings).toEqual([]);
  expect((await rig.run('status ABC-1')).stdout).toContain('run.yaml (not there any more)');
});

test('a worktree that git cannot read hides nothing else', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const { run, repos } = await rig.applied();
  const gitDir = await rig.at(repos[0]?.path ?? '').git('rev-parse', '--absolute-git-dir');
  writeFileSync(path.join(gitDir, 'index'), 'no index');
  const status = await rig.status();
  follows('status', status);
  expect(status).toMatchObject({ recorded: false, agents: [{ state: 'running' }] });
  expect(status.warnings.map((warning) => warning.code)).toEqual(['repo_unreadable']);
  expect((await rig.run('status run.yaml')).stdout).toContain('warning: ');
  expect((await rig.json<Runs>('runs')).runs).toMatchObject([{ id: run.id, agents_alive: 1 }]);
});

test('what an agent wrote reaches the terminal only as text', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({
    agents: [
      { name: 'one', command: agent('live') },
      { name: 'two', command: agent('live') },
    ],
  });
  await rig.run('apply run.yaml');
  for (const name of ['one', 'two']) await rig.untilFile(`alive-${name}-1`);
  const { agents, repos } = await rig.status();
  const evil = '\u001b]0;owned\u0007\u001b[2J\u009b31m\u202e\r';
  const [one, two] = agents.map((each) => each.sentinel_dir);
  const request = { question: `First${evil}\nsecond`, context: { [`key${evil}`]: evil } };
  writeFileSync(path.join(one ?? '', 'guidance-request.json'), JSON.stringify(request));
  writeFileSync(
    path.join(two ?? '', 'implementation-complete.json'),
    JSON.stringify({ summary: `Done${evil}` }),
  );
  writeFileSync(path.join(repos[0]?.path ?? '', `file${evil}`), 'x');
  writeFileSync(path.join(one ?? '', 'validation-result.json'), `{"status": "${'\u0007'}`);
  const { stdout, stderr } = await rig.run('status run.yaml');
  expect(stderr).toBe('');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  expect(stdout).not.toMatch(/[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]/);
  expect(stdout).toMatch(/\? g1 of one/);
  expect(stdout).toMatch(/^ {4}First.*\n(.*\n)? {4}second$/m);
  expect(stdout).toContain('"Done');
  const status = await rig.status();
  expect(status.guidance).toMatchObject([request]);
  follows('status', status);
});

test('watching ends when the run waits for its operator, and holds no lock meanwhile', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  await rig.applied();
  const watching = rig.spawn('status run.yaml --watch --exit-code --json');
  const documents = (): Status[] =>
    watching
      .stdout()
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Status);
  await rig.until('the first look', () => documents().length > 0);
  expect(await rig.until('a look of one’s own', async () => (await rig.status()).recorded)).toBe(true);
  rig.release();
  expect((await watching.result).code).toBe(0);
  const seen = documents();
  for (const each of seen) follows('status', each);
  expect(seen[0]?.run.state).toBe('running');
  expect(seen.at(-1)?.run.state).toBe('completed');
  // A line is news: the same is never told twice.
  const told = seen.map(({ run, agents, repos }) => JSON.stringify([run.state, agents[0]?.state, repos[0]]));
  expect(new Set(told).size).toBe(told.length);
});

test('watching ends with 130 on Ctrl-C, and without a terminal nothing is drawn', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  await rig.applied();
  const watching = rig.spawn('status --watch', { env: { FORCE_COLOR: '0' } });
  await rig.until('the table', () => watching.stdout().includes('ABC-1'));
  watching.interrupt();
  expect((await watching.result).code).toBe(130);
  const one = rig.spawn('status ABC-1 --watch');
  await rig.until('the page', () => one.stdout().includes('next: '));
  one.interrupt();
  const result = await one.result;
  expect(result.code).toBe(130);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  expect(result.text).not.toMatch(/[\x00-\x08\x0b-\x1f]/);
});

test('what fails before any work follows its schema', async ({ rig }) => {
  for (const command of ['status nowhere.yaml', 'status --nonsense', 'logs', 'attach ABC-1'])
    follows('error', await rig.json(command, { code: 64 }));
  await rig.repo('api');
  rig.manifest();
  follows('plan', await rig.json('plan run.yaml'));
});

/** The record of a rig, as another process has it open. */
async function storeOf(rig: Rig): Promise<Store> {
  const owner = { ...selfIdentity(), command: 'test' };
  const store = await Store.open(rig.stateFolder, { version: '0', owner, probe });
  if (store === null) throw new Error('there is no record');
  onTestFinished(() => store.close());
  return store;
}

function follows(name: string, document: unknown): void {
  const schema = JSON.parse(
    readFileSync(path.join(checkout, `schemas/${name}.schema.json`), 'utf8'),
  ) as object;
  const ajv = new Ajv2020({ allErrors: true, strict: true, allowUnionTypes: true });
  const validate = ajv.compile(schema);
  validate(document);
  expect(validate.errors ?? [], JSON.stringify(document).slice(0, 500)).toEqual([]);
}
