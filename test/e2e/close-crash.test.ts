import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { named, ready } from '../support/closing.js';
import type { EventLine } from '../support/documents.js';
import { killingGit } from '../support/killing-git.js';
import type { Repo } from '../support/repo.js';
import { type Rig, test } from '../support/rig.js';
import { filesBelow } from '../support/snapshot.js';

/** What a close leaves behind, without what differs from run to run. */
async function left(rig: Rig, names: readonly string[]) {
  const repos = [];
  for (const name of names) {
    const repo = rig.at(path.join(rig.dir, 'repos', name));
    repos.push({
      name,
      branches: await repo.branches(),
      worktrees: await repo.worktrees(),
      status: await repo.git('status', '--porcelain'),
      main: await repo.git('log', '--first-parent', '--format=%s', 'main'),
      tree: await repo.git('rev-parse', 'main^{tree}'),
      files: filesBelow(repo.path).filter((file) => !file.startsWith('.git/')),
    });
  }
  const { run, repos: shown } = await rig.status();
  const file = filesBelow(rig.stateFolder).find((name) => /ttmp\/.*\/changelog\.md$/.test(name)) ?? '';
  const changelog = readFileSync(path.join(rig.stateFolder, file), 'utf8');
  return {
    repos: JSON.parse(JSON.stringify(repos).replaceAll(run.workspace.slice(-8), '<token>')) as unknown,
    state: [run.state, run.outcome],
    delivered: shown.map((repo) => repo.delivered),
    entries: changelog.split(`Run ${run.id} delivered`).length - 1,
    workspace: existsSync(run.workspace),
  };
}

/** Closes, and kills that as soon as a step is in a state; whether it came that far. */
async function killedAt(rig: Rig, id: string, state: string): Promise<boolean> {
  const running = rig.spawn('close run.yaml --json');
  let reached = false;
  running.onLine((line) => {
    const event = JSON.parse(line) as EventLine;
    if (reached || event.type !== 'step' || event.id !== id || event.state !== state) return;
    reached = true;
    running.kill('SIGKILL');
  });
  await running.result;
  return reached;
}

/** Kills close when it moves main of a repository: before, after, or as the git that holds the lock is killed, too. */
function killedMove(rig: Rig, name: string, when: 'before' | 'after' | 'locked') {
  const first = { before: [], after: ['git "$@"'], locked: [': > .git/refs/heads/main.lock'] };
  const cwd = path.join(rig.dir, 'repos', name);
  return killingGit(rig, { words: '*" update-ref "*" refs/heads/main "*', cwd, first: first[when] });
}

const ONE = [
  'close.check',
  'deliver.merge',
  'ticket.close',
  'worktree.remove/api',
  'branch.delete/api',
  'workspace.remove',
];
const TWO = [...ONE.slice(0, 5), 'worktree.remove/web', 'branch.delete/web', 'workspace.remove'];

describe.each([
  ['one repo', ['api'], ONE],
  ['two repos', ['api', 'web'], TWO],
] as const)('close of %s, killed', (_, names, steps) => {
  /** The base went on, so that a merge commit is needed: two of them would be seen. */
  const begin = async (rig: Rig) => {
    const { repos } = await ready(rig, { names });
    for (const repo of Object.values(repos)) await repo.commit('Meanwhile', { 'meanwhile.txt': 'x\n' });
  };
  const END = (token: string) => ({
    repos: names.map((name) => ({
      name,
      branches: ['main'],
      worktrees: [],
      status: '',
      main: `Merge task/abc-1-${token} (ABC-1)\nMeanwhile\nBegin`,
      tree: expect.any(String),
      files: ['README.md', 'meanwhile.txt', 'shared.txt', 'work.txt'],
    })),
    state: ['closed', 'delivered'],
    delivered: names.map(() => true),
    entries: 1,
    workspace: false,
  });

  for (const id of steps) {
    for (const state of ['running', 'done']) {
      test(`when ${id} is ${state}, and continued`, async ({ rig }) => {
        await begin(rig);
        await killedAt(rig, id, state);
        await rig.run('close run.yaml');
        expect(await left(rig, names)).toEqual(END('<token>'));
      });
    }
  }
});

describe('killed between the moves of two bases', () => {
  test.for([
    ['before the first', 'api', 'before'],
    ['after the first', 'api', 'after'],
    ['before the second', 'web', 'before'],
    ['after the second', 'web', 'after'],
    ['with the git that locked the second', 'web', 'locked'],
  ] as const)('%s', async ([, name, when], { rig }) => {
    const { repos } = await ready(rig, { names: ['api', 'web'] });
    const [api, web] = [named(repos), named(repos, 'web')];
    // What is dirty beside the change stays so, whatever happens.
    for (const repo of [api, web]) repo.write({ 'README.md': 'mine\n' });
    const env = killedMove(rig, name, when);
    expect((await rig.run('close run.yaml', { code: 'any', env })).signal).toBe('SIGKILL');
    const main = async (repo: Repo) => (await repo.git('log', '-1', '--format=%s', 'main')) === 'Work';
    const moved = [name === 'web' || when === 'after', name === 'web' && when === 'after'];
    expect([await main(api), await main(web)]).toEqual(moved);
    expect(await rig.state()).toBe('closing');
    await rig.run('close run.yaml');
    for (const repo of [api, web]) {
      expect(await main(repo)).toBe(true);
      expect(await repo.git('status', '--porcelain')).toBe('M README.md');
      expect(await repo.git('log', '--format=%s', 'main')).toBe('Work\nBegin');
    }
  });

  test('and the second base moved meanwhile: the first goes back', async ({ rig }) => {
    const { repos } = await ready(rig, { names: ['api', 'web'] });
    const [api, web] = [named(repos), named(repos, 'web')];
    await rig.run('close run.yaml', { code: 'any', env: killedMove(rig, 'api', 'after') });
    const theirs = await web.commit('Meanwhile', { 'meanwhile.txt': 'x\n' });
    const { text } = await rig.run('close run.yaml', { code: 4 });
    expect(text).toContain('api went back');
    expect(await api.git('log', '-1', '--format=%s', 'main')).toBe('Begin');
    expect(await api.git('status', '--porcelain')).toBe('');
    expect(await web.git('rev-parse', 'main')).toBe(theirs);
    expect(await rig.state()).toBe('completed');
    await rig.run('close run.yaml');
    for (const repo of [api, web]) expect(await repo.git('show', 'main:work.txt')).toBe('done');
  });
});

test('killed with the git that deletes the branch', async ({ rig }) => {
  const api = named((await ready(rig)).repos);
  const branch = (await api.branches()).find((name) => name !== 'main') ?? '';
  const locks = ['packed-refs.lock', `refs/heads/${branch}.lock`];
  const words = '*" update-ref --no-deref -d refs/heads/task/"*';
  const env = killingGit(rig, { words, first: locks.map((file) => `: > '${api.path}/.git/${file}'`) });
  expect((await rig.run('close run.yaml', { code: 'any', env })).signal).toBe('SIGKILL');
  await rig.run('close run.yaml');
  expect(await api.branches()).toEqual(['main']);
  for (const file of locks) expect(existsSync(path.join(api.path, '.git', file))).toBe(false);
});

test('killed again and again, each time a step later', async ({ rig }) => {
  const { repos } = await ready(rig, { names: ['api', 'web'] });
  for (const id of TWO) await killedAt(rig, id, 'running');
  await rig.run('close run.yaml');
  expect((await rig.status()).run).toMatchObject({ state: 'closed', outcome: 'delivered' });
  for (const repo of Object.values(repos)) expect(await repo.git('show', 'main:work.txt')).toBe('done');
});

test('a base that moved while a killed close lay there is not moved back', async ({ rig }) => {
  const { repos, trees } = await ready(rig);
  expect(await killedAt(rig, 'deliver.merge', 'running')).toBe(true);
  const api = named(repos);
  const theirs = await api.commit('Meanwhile', { 'meanwhile.txt': 'x\n' });
  await rig.run('close run.yaml', { code: 'any' });
  if ((await rig.state()) === 'completed') await rig.run('close run.yaml');
  expect(await rig.state()).toBe('closed');
  await api.git('merge-base', '--is-ancestor', theirs, 'main');
  expect(await api.git('show', 'main:work.txt')).toBe('done');
  expect(existsSync(named(trees).path)).toBe(false);
});

test('Ctrl-C ends it after the step at hand, and close goes on', async ({ rig }) => {
  const { repos } = await ready(rig);
  // The move of main waits until the signal is there.
  const wait = 'touch "$RIG_DIR/moving"; until [ -e "$RIG_DIR/go" ]; do sleep 0.05; done';
  const words = '*" update-ref "*" refs/heads/main "*';
  const env = killingGit(rig, { words, first: [wait, 'exec git "$@"'] });
  const running = rig.spawn('close run.yaml', { env });
  await rig.untilFile('moving');
  running.interrupt();
  rig.touch('go');
  expect((await running.result).code).toBe(130);
  expect((await rig.status()).run.state).toBe('closing');
  await rig.run('close run.yaml');
  expect(await named(repos).git('show', 'main:work.txt')).toBe('done');
});
