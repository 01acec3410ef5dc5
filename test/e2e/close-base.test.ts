import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { named, ready, refused } from '../support/closing.js';
import type { Repo } from '../support/repo.js';
import { type Rig, test } from '../support/rig.js';

/** All refs of a repository, and what its checkout has that no commit has. */
async function standing(repo: Repo): Promise<string> {
  return `${await repo.git('for-each-ref')}\n${await repo.git('status', '--porcelain')}`;
}

/** A second worktree of a repository with main checked out; the source clone is on another branch then. */
async function elsewhere(rig: Rig, api: Repo): Promise<Repo> {
  await api.git('switch', '-q', '-c', 'aside');
  const folder = path.join(rig.dir, 'main-here');
  await api.git('worktree', 'add', '-q', folder, 'main');
  return rig.at(folder);
}

/** A clone of the bare origin, as a colleague has it. */
async function colleague(rig: Rig, api: Repo): Promise<Repo> {
  const folder = path.join(rig.dir, 'colleague');
  await rig.at(rig.dir).git('clone', '-q', api.origin ?? '', folder);
  return rig.at(folder);
}

describe('where the base is checked out', () => {
  test('a clean checkout moves along, in whichever worktree it is', async ({ rig }) => {
    const { repos, trees } = await ready(rig);
    const api = named(repos);
    const main = await elsewhere(rig, api);
    const head = await named(trees).git('rev-parse', 'HEAD');
    expect((await rig.run('close run.yaml')).text).toContain(main.path);
    expect(await main.git('rev-parse', 'HEAD')).toBe(head);
    expect(await main.git('status', '--porcelain')).toBe('');
    expect(existsSync(path.join(main.path, 'work.txt'))).toBe(true);
    expect(existsSync(path.join(api.path, 'work.txt'))).toBe(false);
  });

  test('nowhere: only the branch moves', async ({ rig }) => {
    const { repos, trees } = await ready(rig);
    const api = named(repos);
    await api.git('switch', '-q', '-c', 'aside');
    const head = await named(trees).git('rev-parse', 'HEAD');
    await rig.run('close run.yaml');
    expect(await api.git('rev-parse', 'main')).toBe(head);
    expect(await api.git('status', '--porcelain', '--branch')).toBe('## aside');
  });

  test('work beside the change stays as it is', async ({ rig }) => {
    const { repos } = await ready(rig);
    const api = named(repos);
    api.write({ 'README.md': 'mine\n', 'untracked.txt': 'mine\n', 'staged.txt': 'mine\n' });
    await api.git('add', 'staged.txt');
    await rig.run('close run.yaml');
    expect((await api.git('status', '--porcelain')).split('\n').map((line) => line.trim())).toEqual([
      'M README.md',
      'A  staged.txt',
      '?? untracked.txt',
    ]);
    expect(readFileSync(path.join(api.path, 'README.md'), 'utf8')).toBe('mine\n');
    expect(readFileSync(path.join(api.path, 'work.txt'), 'utf8')).toBe('done\n');
  });

  test.for([
    ['a changed file', { 'shared.txt': 'mine\n' }, 'shared.txt'],
    ['an untracked file', { 'work.txt': 'mine\n' }, 'work.txt'],
  ] as const)(
    '%s in the way is a gate that names it, and opens it once it is gone',
    async ([, mine, file], { rig }) => {
      const { repos } = await ready(rig, { work: { 'work.txt': 'done\n', 'shared.txt': 'theirs\n' } });
      const api = named(repos);
      api.write(mine);
      const before = await standing(api);
      expect((await refused(rig)).base_mergeable).toContain(file);
      expect(await standing(api)).toBe(before);
      expect(readFileSync(path.join(api.path, file), 'utf8')).toBe('mine\n');
      await api.git('stash', '-q', '--include-untracked');
      await rig.run('close run.yaml');
      expect(await api.git('status', '--porcelain')).toBe('');
    },
  );

  test('a merge in progress there is a gate', async ({ rig }) => {
    const { repos } = await ready(rig);
    const api = named(repos);
    await api.git('switch', '-q', '-c', 'other');
    await api.commit('Other', { 'shared.txt': 'other\n' });
    await api.git('switch', '-q', 'main');
    await api.commit('Main', { 'shared.txt': 'main\n' });
    await api.git('merge', 'other').catch(() => '');
    expect((await refused(rig)).base_mergeable).toMatch(/a merge is in progress/);
  });
});

describe('a base with an origin', () => {
  test('that is ahead of it: the base is first fast-forwarded', async ({ rig }) => {
    const { repos, trees } = await ready(rig, { origin: true });
    const api = named(repos);
    const theirs = await colleague(rig, api);
    const pushed = await theirs.commit('Pushed', { 'pushed.txt': 'x\n' });
    await theirs.git('push', '-q', 'origin', 'main');
    const head = await named(trees).git('rev-parse', 'HEAD');
    await rig.run('close run.yaml');
    expect(await api.git('log', '-1', '--format=%P', 'main')).toBe(`${pushed} ${head}`);
    expect(existsSync(path.join(api.path, 'pushed.txt'))).toBe(true);
    expect(await rig.at(api.origin ?? '').git('rev-parse', 'main')).toBe(pushed);
  });

  test('that went another way is a gate', async ({ rig }) => {
    const { repos } = await ready(rig, { origin: true });
    const api = named(repos);
    const theirs = await colleague(rig, api);
    await theirs.commit('Pushed', { 'pushed.txt': 'x\n' });
    await theirs.git('push', '-q', 'origin', 'main');
    const mine = await api.commit('Local', { 'local.txt': 'x\n' });
    expect((await refused(rig)).base_mergeable).toContain('main and origin/main have diverged');
    expect(await api.git('rev-parse', 'main')).toBe(mine);
  });

  test('that cannot be reached: what was last fetched counts, and that is said', async ({ rig }) => {
    const { repos } = await ready(rig, { origin: true });
    rmSync(named(repos).origin ?? '', { recursive: true });
    expect((await rig.run('close run.yaml')).stderr).toMatch(/warning: .*could not be fetched/);
    expect(await rig.state()).toBe('closed');
  });

  test('that does not have it: there is nothing to fetch, and nothing to say', async ({ rig }) => {
    const { repos } = await ready(rig, { origin: true, keys: { base_branch: 'local' }, local: 'local' });
    const { lines } = await rig.events('close run.yaml');
    expect(lines.filter((line) => line.type === 'warning')).toEqual([]);
    expect(await named(repos).git('show', 'local:work.txt')).toBe('done');
    expect(await rig.at(named(repos).origin ?? '').branches()).toEqual(['main']);
  });

  test('that conflicts: the gate says what to merge', async ({ rig }) => {
    const { repos, trees } = await ready(rig, { origin: true, work: { 'shared.txt': 'ours\n' } });
    const theirs = await colleague(rig, named(repos));
    await theirs.commit('Pushed', { 'shared.txt': 'theirs\n' });
    await theirs.git('push', '-q', 'origin', 'main');
    const { base_mergeable: reason = '' } = await refused(rig);
    expect(reason).toContain('api conflicts with origin/main in shared.txt');
    expect(reason).toContain(`git -C ${named(trees).path} merge origin/main`);
  });
});

test('a conflict in the second repo: nothing moves anywhere', async ({ rig }) => {
  const { repos, trees } = await ready(rig, { names: ['api', 'web'], work: { 'shared.txt': 'ours\n' } });
  const [api, web] = [named(repos), named(repos, 'web')];
  await web.commit('Meanwhile', { 'shared.txt': 'theirs\n' });
  const before = [await standing(api), await standing(web)];
  const { base_mergeable: reason = '' } = await refused(rig);
  expect(reason).toContain('web conflicts with main in shared.txt');
  expect(reason).not.toContain('api');
  expect([await standing(api), await standing(web)]).toEqual(before);
  expect(await rig.state()).toBe('completed');

  const tree = named(trees, 'web');
  await tree.git('merge', 'main').catch(() => '');
  await tree.commit('Resolve', { 'shared.txt': 'both\n' });
  await rig.run('verify run.yaml');
  await rig.run('close run.yaml');
  expect(await web.git('show', 'main:shared.txt')).toBe('both');
  expect(await api.git('show', 'main:shared.txt')).toBe('ours');
});

/**
 * A git on PATH that is git, but first does something, once, when it is called to move main in a repository.
 */
function racingGit(rig: Rig, repo: Repo, script: string): Readonly<Record<string, string>> {
  const bin = path.join(rig.dir, 'racing-bin');
  mkdirSync(bin, { recursive: true });
  const lines = [
    '#!/bin/sh',
    `PATH='${rig.env.PATH}'; export PATH`,
    'case "$* " in',
    '  *" update-ref "*" refs/heads/main "*)',
    `    if [ "$(git rev-parse --git-common-dir | xargs realpath)" = '${repo.path}/.git' ] && mkdir '${bin}/raced' 2>/dev/null; then`,
    `      ${script}`,
    '    fi ;;',
    'esac',
    'exec git "$@"',
  ];
  writeFileSync(path.join(bin, 'git'), `${lines.join('\n')}\n`, { mode: 0o755 });
  return { PATH: `${bin}:${rig.env.PATH}` };
}

describe('somebody moves the base between the look and the move', () => {
  test('of the second repo: the first goes back, and the run is completed again', async ({ rig }) => {
    const { repos } = await ready(rig, { names: ['api', 'web'] });
    const [api, web] = [named(repos), named(repos, 'web')];
    const theirs = await web.git('commit-tree', 'main^{tree}', '-p', 'main', '-m', 'Somebody else');
    const before = await standing(api);
    const env = racingGit(rig, web, `git -C '${web.path}' update-ref refs/heads/main ${theirs}`);
    const { summary, lines } = await rig.events('close run.yaml', { code: 4, env });
    const said = String(lines.find((line) => line.type === 'error')?.message);
    expect(said).toContain('nothing was delivered');
    expect(said).toContain('somebody moved it meanwhile');
    expect(said).toContain('api went back');
    expect(summary.runs).toMatchObject([{ state: 'completed', exit_code: 4 }]);
    expect(await standing(api)).toBe(before);
    expect(await web.git('rev-parse', 'main')).toBe(theirs);
    expect(existsSync(path.join(api.path, 'work.txt'))).toBe(false);
    const after = await rig.status();
    expect(after.run).toMatchObject({ state: 'completed', resume_at_step: null });
    expect(after.repos.map((repo) => repo.delivered)).toEqual([false, false]);
    // Nothing is to be done for the manifest, and nobody starts anything.
    expect((await rig.events('apply run.yaml')).summary.runs).toMatchObject([{ changed: false }]);

    await web.git('reset', '-q', '--hard');
    await rig.run('close run.yaml');
    for (const repo of [api, web]) expect(await repo.git('show', 'main:work.txt')).toBe('done');
    await web.git('merge-base', '--is-ancestor', theirs, 'main');
  });

  test('of both: the run stays closing, and each repo that is stuck is named', async ({ rig }) => {
    const { repos } = await ready(rig, { names: ['api', 'web'] });
    const [api, web] = [named(repos), named(repos, 'web')];
    const moved = await api.git('commit-tree', 'main^{tree}', '-p', 'main', '-m', 'In api');
    const theirs = await web.git('commit-tree', 'main^{tree}', '-p', 'main', '-m', 'In web');
    const env = racingGit(
      rig,
      web,
      `git -C '${web.path}' update-ref refs/heads/main ${theirs}; git -C '${api.path}' update-ref refs/heads/main ${moved}`,
    );
    const { lines, summary } = await rig.events('close run.yaml', { code: 'any', env });
    const said = String(lines.find((line) => line.type === 'error')?.message);
    expect(said).toContain('could not be taken back');
    expect(said).toContain('api');
    expect(said).toContain('web');
    expect(summary.runs).toMatchObject([{ state: 'closing' }]);
    for (const command of ['apply', 'cleanup', 'stop', 'restart']) {
      expect((await rig.run(`${command} run.yaml`, { code: 4 })).text).toContain('metawsm close ABC-1');
    }
    await api.git('reset', '-q', '--hard');
    await web.git('reset', '-q', '--hard');
    await rig.run('close run.yaml');
    for (const repo of [api, web]) expect(await repo.git('show', 'main:work.txt')).toBe('done');
    await api.git('merge-base', '--is-ancestor', moved, 'main');
  });

  test('git fails in the second repo: the first goes back', async ({ rig }) => {
    const { repos } = await ready(rig, { names: ['api', 'web'] });
    const [api, web] = [named(repos), named(repos, 'web')];
    const before = await standing(api);
    const lock = path.join(web.path, '.git/refs/heads/main.lock');
    const env = racingGit(rig, web, `touch '${lock}'`);
    const { lines, summary } = await rig.events('close run.yaml', { code: 1, env });
    expect(String(lines.find((line) => line.type === 'error')?.message)).toContain('Another git process');
    expect(summary.runs).toMatchObject([{ state: 'completed' }]);
    expect(await standing(api)).toBe(before);
    expect(await web.git('status', '--porcelain')).toBe('');
    rmSync(lock);
    await rig.run('close run.yaml');
    for (const repo of [api, web]) expect(await repo.git('show', 'main:work.txt')).toBe('done');
  });
});
