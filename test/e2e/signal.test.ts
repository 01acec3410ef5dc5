import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import { agent, test } from '../support/rig.js';
import { snapshot } from '../support/snapshot.js';

test('outside a workspace there is nothing to signal', async ({ rig }) => {
  await rig.run(['signal', 'complete', '--summary', 'done'], { code: 64 });
  await rig.run(['signal', 'guidance', '--question', 'So?'], { code: 64 });
});

test('a person signals from within the worktree as the agent would', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const { run, repos } = await rig.applied();
  const cwd = path.join(repos[0]?.path ?? '');
  const database = (file: string) => !/metawsm\.db/.test(file) && file !== '.';
  const before = snapshot(rig.stateFolder, database);

  await rig.run(['signal', 'complete', '--summary', '- by hand: 007'], { cwd });
  // It never opens the database.
  expect(snapshot(rig.stateFolder, database)).toEqual(before);
  const file = path.join(run.workspace, '.metawsm/implementation-complete.json');
  expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ run_id: run.id, summary: '- by hand: 007' });
  expect(await rig.state()).toBe('completed');
});

test('asking the same again is the same question', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const { repos } = await rig.applied();
  const cwd = repos[0]?.path ?? '';
  const ask = (...flags: string[]) => ['signal', 'guidance', '--question', 'Which?', ...flags];

  await rig.run(ask(), { cwd });
  const first = (await rig.status()).guidance;
  await rig.run(ask(), { cwd });
  expect((await rig.status()).guidance).toEqual(first);

  // Nobody answers in time.
  await rig.run(ask('--wait', '--timeout', '300ms'), { cwd, code: 5 });
  expect((await rig.status()).guidance).toEqual(first);

  await rig.run(['guide', 'run.yaml', '--answer', 'This one']);
  // An answer that came meanwhile is not asked for again.
  const answered = await rig.run(ask('--wait', '--timeout', '20s'), { cwd });
  expect(answered.stdout).toBe('This one\n');
  expect((await rig.status()).guidance).toEqual([]);
});

test('a wait for an answer survives being killed', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const { repos } = await rig.applied();
  const cwd = repos[0]?.path ?? '';
  const ask = ['signal', 'guidance', '--question', 'Which?', '--wait'];
  const first = rig.spawn(ask, { cwd });
  await rig.untilState('awaiting_guidance');
  first.kill('SIGKILL');
  await first.result;
  await rig.run(['guide', 'run.yaml', '--answer', 'later']);
  expect((await rig.run(ask, { cwd })).stdout).toBe('later\n');
});

test('of several agents a signal is of the one that sends it', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({
    agents: [
      { name: 'one', cwd: 'api', command: agent('complete', 'from one') },
      { name: 'two', cwd: 'api', command: agent('live') },
    ],
  });
  await rig.run('apply run.yaml');
  await rig.until('completion of one', async () => (await rig.agentNamed('one')).summary === 'from one');
  expect((await rig.agentNamed('two')).state).toBe('running');
});

test('an operator attests the words of a run with several agents', async ({ rig }) => {
  await rig.repo('api');
  const command = agent('live');
  rig.manifest({ agents: ['one', 'two'].map((name) => ({ name, cwd: 'api', command })) });
  await rig.run('apply run.yaml');
  const { run } = await rig.status();
  const cwd = run.workspace;
  await rig.run('signal complete --summary done', { cwd, code: 64 });
  await rig.run('signal validation --status passed', { cwd });
  expect(existsSync(path.join(cwd, '.metawsm/validation-result.json'))).toBe(true);
  expect((await rig.status()).criteria).toMatchObject([{ kind: 'worded', state: 'passed' }]);
});

test('wrong signals are wrong usage and leave no file', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const { run, repos } = await rig.applied();
  const cwd = repos[0]?.path ?? '';
  for (const command of [
    ['signal', 'guidance'],
    ['signal', 'guidance', '--question', ''],
    ['signal', 'guidance', '--question', 'a', '--question', 'b'],
    ['signal', 'complete', '--question', 'So?'],
  ])
    await rig.run(command, { cwd, code: 64 });
  expect(existsSync(path.join(run.workspace, '.metawsm/guidance-request.json'))).toBe(false);
  expect(existsSync(path.join(run.workspace, '.metawsm/implementation-complete.json'))).toBe(false);
});

test('an agent cannot run its own run from within the workspace', async ({ rig }) => {
  await rig.repo('api');
  const manifest = rig.manifest();
  const { run, repos } = await rig.applied();
  for (const cwd of [run.workspace, repos[0]?.path ?? '']) {
    for (const command of [
      ['apply', manifest],
      ['plan', manifest],
      ['stop', run.id],
      ['restart', run.id],
      ['resume', run.id],
      ['cleanup', run.id, '--force'],
      ['guide', run.id, '--answer', 'x'],
      ['runs'],
    ])
      await rig.run(command, { cwd, code: 4 });
    for (const command of [
      ['status'],
      ['status', run.id],
      ['logs', run.id],
      ['validate', manifest],
      ['--help'],
    ])
      await rig.run(command, { cwd });
  }
  expect(await rig.agentNamed()).toMatchObject({ state: 'running', attempt: 1 });
});
