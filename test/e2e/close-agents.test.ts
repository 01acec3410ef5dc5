import { existsSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { named, refused } from '../support/closing.js';
import type { EventLine } from '../support/documents.js';
import { isAlive, withEnvironment } from '../support/processes.js';
import { agent, hasTmux, type Rig, test } from '../support/rig.js';

/** An agent that says it is done and stays; on SIGTERM it does something, and ends. */
function lingering(onTerm = ''): string {
  return [
    'echo done > work.txt; git add work.txt; git commit -q -m Work',
    `trap '${onTerm}; exit 0' TERM`,
    'metawsm signal complete --summary finished',
    'touch "$RIG_DIR/lingering"',
    'while :; do sleep 0.1; done',
  ].join('\n');
}

/** Applies, waits until the run is completed, and checks its criterion. */
async function completed(rig: Rig, command: unknown, keys: Record<string, unknown> = {}) {
  const api = await rig.repo('api');
  rig.manifest({ agent: { command }, done_criteria: [{ run: 'true' }], ...keys });
  await rig.run('apply run.yaml');
  await rig.untilState('completed');
  await rig.run('verify run.yaml');
  return { api, status: await rig.status() };
}

describe.each(['process', 'tmux'] as const)('with %s sessions', (session) => {
  test.skipIf(session === 'tmux' && !hasTmux)('an agent that still lives is ended', async ({ rig }) => {
    const { api, status } = await completed(rig, lingering(), { session });
    await rig.untilFile('lingering');
    expect(withEnvironment(`METAWSM_RUN_ID=${status.run.id}`).filter(isAlive)).not.toEqual([]);
    await rig.run('close run.yaml');
    expect(withEnvironment(`METAWSM_RUN_ID=${status.run.id}`).filter(isAlive)).toEqual([]);
    expect(rig.tmuxSessions()).toEqual([]);
    expect(await api.git('show', 'main:work.txt')).toBe('done');
    expect(existsSync(status.run.workspace)).toBe(false);
    expect(await rig.agentNamed()).toMatchObject({ state: 'completed', pid: null, summary: 'finished' });
  });

  test.skipIf(session === 'tmux' && !hasTmux)('one that ended keeps how it ended', async ({ rig }) => {
    await completed(rig, agent('complete'), { session });
    await rig.until('its end', async () => (await rig.agentNamed()).exit_code === 0);
    await rig.run('close run.yaml');
    expect(rig.tmuxSessions()).toEqual([]);
    expect(await rig.agentNamed()).toMatchObject({ state: 'completed', exit_code: 0, signal: null });
  });
});

test.for([
  ['a commit', 'echo late > late.txt; git add late.txt; git commit -q -m Late', 'HEAD of repo api moved'],
  ['a change', 'echo late >> work.txt', 'uncommitted changes again: work.txt'],
] as const)('%s made while it was stopped is not delivered unseen', async ([, late, words], { rig }) => {
  const { api, status } = await completed(rig, lingering(late));
  await rig.untilFile('lingering');
  const main = await api.git('rev-parse', 'main');
  const { summary, lines } = await rig.events('close run.yaml', { code: 4 });
  expect(String(lines.find((line) => line.type === 'error')?.message)).toContain(words);
  expect(summary.runs).toMatchObject([{ state: 'completed', error: { step_id: 'close.check' } }]);
  expect(await api.git('rev-parse', 'main')).toBe(main);
  expect(existsSync(status.run.workspace)).toBe(true);

  // And so it stays, whoever looks; what it claimed still stands, and nobody starts it again.
  const after = await rig.status();
  expect(after.run).toMatchObject({ state: 'completed', reason: null, resume_at_step: null });
  expect(await rig.agentNamed()).toMatchObject({ state: 'completed', pid: null });
  expect((await rig.events('apply run.yaml')).summary.runs).toMatchObject([
    { changed: false, state: 'completed' },
  ]);
  expect(Object.keys(await refused(rig))).toContain('command_evidence');

  const tree = rig.at(after.repos[0]?.path ?? '');
  if ((await tree.git('status', '--porcelain')) !== '') await tree.commit('Seen', {});
  await rig.run('verify run.yaml');
  await rig.run('close run.yaml');
  expect(await api.git('log', '-1', '--format=%s', 'main')).toMatch(/Late|Seen/);
});

test('a filter that was configured while it was stopped runs nowhere', async ({ rig }) => {
  const late =
    'git config filter.late.smudge "touch $RIG_DIR/ran; cat"; ' +
    'echo "* filter=late" >"$(git rev-parse --git-common-dir)/info/attributes"';
  const { api } = await completed(rig, lingering(late));
  await rig.untilFile('lingering');
  const main = await api.git('rev-parse', 'main');
  const { text } = await rig.run('close run.yaml', { code: 4 });
  expect(text).toContain('filter.late.smudge of the git configuration of repo api was added');
  expect(existsSync(path.join(rig.dir, 'ran'))).toBe(false);
  expect(await api.git('rev-parse', 'main')).toBe(main);
  expect(Object.keys(await refused(rig))).toContain('git_config_unchanged');
});

test('a workspace without agents is completed again, too', async ({ rig }) => {
  const api = await rig.repo('api');
  rig.manifest({ agents: [], done_criteria: [{ run: 'true' }] });
  await rig.run('apply run.yaml');
  const tree = rig.at((await rig.status()).repos[0]?.path ?? '');
  await tree.commit('Work', { 'work.txt': 'x' });
  await rig.run('verify run.yaml');
  const running = rig.spawn('close run.yaml --json');
  running.onLine((line) => {
    const event = JSON.parse(line) as EventLine;
    if (event.type === 'run' && event.state === 'closing') running.kill('SIGKILL');
  });
  await running.result;
  if ((await rig.status()).run.state !== 'closing') return;
  await tree.commit('Late', { 'late.txt': 'x' });
  await rig.run('close run.yaml', { code: 4 });
  for (let look = 0; look < 2; look++) {
    expect((await rig.status()).run).toMatchObject({ state: 'completed', resume_at_step: null });
  }
  await rig.run('verify run.yaml');
  await rig.run('close run.yaml');
  expect(await api.git('log', '-1', '--format=%s', 'main')).toBe('Late');
});

test('cleanup leaves an agent that had completed as completed', async ({ rig }) => {
  await completed(rig, agent('complete'));
  await rig.until('its end', async () => (await rig.agentNamed()).exit_code === 0);
  await rig.run('cleanup run.yaml');
  expect(await rig.agentNamed()).toMatchObject({ state: 'completed', exit_code: 0 });
});

test('a repo that was dropped from the manifest is not delivered', async ({ rig }) => {
  const [api, web] = [await rig.repo('api'), await rig.repo('web')];
  const both = [
    { name: 'api', path: '../repos/api' },
    { name: 'web', path: '../repos/web' },
  ];
  const keys = { agents: [], done_criteria: [{ run: 'true', repo: 'api' }] };
  rig.manifest({ ...keys, repos: both });
  await rig.run('apply run.yaml');
  rig.manifest({ ...keys, repos: both.slice(0, 1) });
  await rig.run('apply run.yaml --yes');
  const trees = Object.fromEntries(
    (await rig.status()).repos.map(({ name, path: at }) => [name, rig.at(at)]),
  );
  await named(trees).commit('Work', { 'work.txt': 'x' });
  await rig.run('verify run.yaml');
  const running = rig.spawn('close run.yaml --json');
  running.onLine((line) => {
    const event = JSON.parse(line) as EventLine;
    if (event.type === 'step' && event.id === 'deliver.merge' && event.state === 'done')
      running.kill('SIGKILL');
  });
  await running.result;
  await rig.run('close run.yaml');
  expect(await api.git('log', '-1', '--format=%s', 'main')).toBe('Work');
  expect(await web.git('log', '-1', '--format=%s', 'main')).toBe('Begin');
  expect(existsSync(path.join(rig.workspaces))).toBe(true);
});
