import { existsSync, lstatSync, mkdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import type { Repo } from '../support/repo.js';
import { agent, type Rig, test } from '../support/rig.js';

test('a worktree begins at the fetched origin, not at what is checked out', async ({ rig }) => {
  const api = await rig.repo('api', { origin: true });
  const newest = await pushedByColleague(rig, api);
  await api.git('checkout', '-q', '-b', 'feature');
  await api.commit('Half a feature', { 'feature.txt': 'x' });
  api.write({ 'dirty.txt': 'not committed' });
  rig.manifest({ agents: [] });

  await rig.run('apply run.yaml');
  expect(await rig.repoNamed()).toMatchObject({
    base_branch: 'main',
    base_commit: newest,
    head: newest,
    ahead: 0,
  });
  // The operator's own checkout is as it was.
  expect(await api.git('branch', '--show-current')).toBe('feature');
  expect(await api.git('status', '--porcelain')).toBe('?? dirty.txt');
  // The new branch does not track the base: a push must not go to main.
  const { branch } = await rig.repoNamed();
  expect(await api.git('for-each-ref', '--format=%(upstream)', `refs/heads/${branch}`)).toBe('');
});

test('without an origin the local base counts, and HEAD is the current commit', async ({ rig }) => {
  const api = await rig.repo('api');
  const web = await rig.repo('web');
  const main = await api.git('rev-parse', 'main');
  await api.git('checkout', '-q', '-b', 'feature');
  await api.commit('More', { 'more.txt': 'x' });
  await web.git('checkout', '-q', '--detach');
  const head = await web.commit('Detached', { 'more.txt': 'x' });
  rig.manifest({
    repos: [
      { name: 'api', path: '../repos/api' },
      { name: 'web', path: '../repos/web', base_branch: 'HEAD' },
    ],
    agents: [],
  });
  await rig.run('apply run.yaml');
  expect((await rig.repoNamed('api')).base_commit).toBe(main);
  expect((await rig.repoNamed('web')).base_commit).toBe(head);
});

test('each repo can have its own base branch', async ({ rig }) => {
  const api = await rig.repo('api');
  await api.git('branch', '-m', 'main', 'develop');
  await rig.repo('web');
  rig.manifest({
    repos: [
      { name: 'api', path: '../repos/api', base_branch: 'develop' },
      { name: 'web', path: '../repos/web' },
    ],
    agents: [],
  });
  await rig.run('apply run.yaml');
  expect((await rig.status()).repos.map((repo) => repo.base_branch)).toEqual(['develop', 'main']);
});

test('a fetch that fails is said, and --offline goes without it', async ({ rig }) => {
  const api = await rig.repo('api', { origin: true });
  const fetched = await api.git('rev-parse', 'origin/main');
  rmSync(api.origin ?? '', { recursive: true });
  rig.manifest({ agents: [] });

  const failed = await rig.run('apply run.yaml', { code: 1 });
  expect(failed.text).toContain('--offline');
  expect(await api.worktrees()).toEqual([]);
  await rig.run('apply run.yaml --offline');
  expect((await rig.repoNamed()).base_commit).toBe(fetched);
});

test('a base that is nowhere is named with both places', async ({ rig }) => {
  await rig.repo('api', { origin: true });
  rig.manifest({ base_branch: 'develop', agents: [] });
  const { text } = await rig.run('apply run.yaml', { code: 1 });
  expect(text).toMatch(/origin\/develop/);
  expect(text).toMatch(/develop\b(?!.*origin\/develop)/s);
});

test('a url is cloned once into the state folder', async ({ rig }) => {
  const api = await rig.repo('api', { origin: true });
  const repos = [{ name: 'api', url: '../origin/api.git' }];
  rig.manifest({ repos, agent: { command: agent('complete') } });
  await rig.run('apply run.yaml --wait');
  const first = await rig.repoNamed();
  expect(first.source.startsWith(path.join(rig.stateFolder, 'clones'))).toBe(true);
  expect(first).toMatchObject({ ahead: 1, base_commit: await api.git('rev-parse', 'main') });
  expect(await api.worktrees()).toEqual([]);

  // A second run uses the same clone and sees what is new.
  const newest = await pushedByColleague(rig, api);
  rig.manifest({ ticket: 'ABC-2', repos, agents: [] }, 'two.yaml');
  await rig.run('apply two.yaml');
  expect(await rig.repoNamed('api', 'two.yaml')).toMatchObject({ source: first.source, base_commit: newest });
});

test('a file:// url is cloned, too', async ({ rig }) => {
  const api = await rig.repo('api', { origin: true });
  rig.manifest({ repos: [{ name: 'api', url: `file://${api.origin}` }], agents: [] });
  await rig.run('apply run.yaml');
  expect(existsSync((await rig.repoNamed()).path)).toBe(true);
});

test('a name alone is looked up in the registry of wsm', async ({ rig }) => {
  const api = await rig.repo('api');
  const folder = path.join(rig.home, '.config/workspace-manager');
  mkdirSync(folder, { recursive: true });
  const entry = {
    name: 'api',
    path: api.path,
    remote_url: '',
    current_branch: 'main',
    branches: ['main'],
    tags: null,
  };
  writeFileSync(path.join(folder, 'registry.json'), JSON.stringify({ repositories: [entry], last_scan: '' }));
  rig.manifest({ repos: [{ name: 'api' }], agents: [] });
  await rig.run('apply run.yaml');
  expect((await rig.repoNamed()).source).toBe(api.path);

  writeFileSync(path.join(folder, 'registry.json'), '{"repositories": 5');
  rig.manifest({ ticket: 'ABC-2', repos: [{ name: 'api' }], agents: [] }, 'two.yaml');
  expect((await rig.run('apply two.yaml', { code: 1 })).text).toContain('registry.json');
});

test('files are copied and linked before the setup runs, and are no dirt', async ({ rig }) => {
  const api = await rig.repo('api', { files: { '.gitignore': 'node_modules\n', 'README.md': '# api\n' } });
  api.write({
    '.env': 'TOKEN=1\n',
    'config/a.local': 'a',
    'config/b.local': 'b',
    'config/c.other': 'c',
    'node_modules/x/index.js': 'x',
  });
  rig.manifest({
    repos: [
      {
        name: 'api',
        path: '../repos/api',
        copy: ['.env', 'config/*.local'],
        link: ['node_modules'],
        setup: ['grep -q TOKEN .env', ['test', '-e', 'node_modules/x/index.js']],
      },
    ],
    agents: [],
  });
  await rig.run('apply run.yaml');
  const repo = await rig.repoNamed();
  const inside = (name: string) => path.join(repo.path, name);
  expect(lstatSync(inside('.env')).isFile()).toBe(true);
  expect(existsSync(inside('config/b.local'))).toBe(true);
  expect(existsSync(inside('config/c.other'))).toBe(false);
  expect(readlinkSync(inside('node_modules'))).toBe(path.join(api.path, 'node_modules'));
  expect(repo).toMatchObject({ clean: true, dirty_files: [] });

  // Changed, it is the agent's work like any other.
  writeFileSync(inside('.env'), 'TOKEN=2\n');
  expect(await rig.repoNamed()).toMatchObject({ clean: false, dirty_files: ['.env'] });
  expect(rig.read('repos/api/.env')).toBe('TOKEN=1\n');
});

test('nothing outside the repo is copied or linked', async ({ rig }) => {
  const api = await rig.repo('api');
  writeFileSync(path.join(rig.dir, 'secret'), 'secret');
  for (const keys of [{ copy: ['../../secret'] }, { link: ['../../secret'] }, { copy: ['/etc/hostname'] }]) {
    rig.manifest({ repos: [{ name: 'api', path: '../repos/api', ...keys }], agents: [] });
    const { code } = await rig.run('apply run.yaml', { code: 'any' });
    expect([1, 65]).toContain(code);
  }
  expect((await api.worktrees()).filter((folder) => existsSync(path.join(folder, 'secret')))).toEqual([]);
});

test('submodules are there', async ({ rig }) => {
  const lib = await rig.repo('lib', { files: { 'lib.txt': 'from lib\n' } });
  const api = await rig.repo('api');
  await api.git('submodule', '--quiet', 'add', lib.path, 'vendor/lib');
  await api.git('commit', '-q', '-m', 'Add lib');
  rig.manifest({ agents: [] });
  await rig.run('apply run.yaml');
  const repo = await rig.repoNamed();
  expect(rig.read(path.relative(rig.dir, repo.path), 'vendor/lib/lib.txt')).toBe('from lib\n');
  expect(repo.clean).toBe(true);
});

test('hooks and helpers of a repo do not run', async ({ rig }) => {
  const api = await rig.repo('api', { origin: true });
  const spy = `#!/bin/sh\necho "$0" >> "${rig.dir}/hooks-ran"\n`;
  for (const hook of ['post-checkout', 'reference-transaction', 'post-index-change'])
    writeFileSync(path.join(api.path, '.git/hooks', hook), spy, { mode: 0o755 });
  writeFileSync(path.join(rig.dir, 'monitor'), spy, { mode: 0o755 });
  await api.git('config', 'core.fsmonitor', path.join(rig.dir, 'monitor'));
  rmSync(path.join(rig.dir, 'hooks-ran'), { force: true });
  rig.manifest({ agents: [] });
  await rig.run('apply run.yaml');
  await rig.status();
  await rig.run('cleanup run.yaml');
  expect(existsSync(path.join(rig.dir, 'hooks-ran'))).toBe(false);
});

test('a branch that exists already is not taken over', async ({ rig }) => {
  const api = await rig.repo('api');
  await api.git('branch', 'work/ABC-1');
  const before = await api.git('rev-parse', 'work/ABC-1');
  rig.manifest({ workspace: { root: '../workspaces', branch: 'work/{ticket}' }, agents: [] });
  const { text } = await rig.run('apply run.yaml', { code: 1 });
  expect(text).toContain('work/ABC-1');
  expect(await api.git('rev-parse', 'work/ABC-1')).toBe(before);
  expect(await api.worktrees()).toEqual([]);
});

test('many repos at once all get their worktrees', async ({ rig }) => {
  const names = Array.from({ length: 8 }, (_, i) => `r${i}`);
  for (const name of names) await rig.repo(name);
  rig.manifest({ repos: names.map((name) => ({ name, path: `../repos/${name}` })), agents: [] });
  await rig.run('apply run.yaml --concurrency 4');
  const { repos } = await rig.status();
  expect(repos.map((repo) => repo.name)).toEqual(names);
  expect(repos.every((repo) => existsSync(repo.path))).toBe(true);
});

test('the ticket folder is copied into the repo that holds the tickets, and is no dirt', async ({ rig }) => {
  const api = await rig.repo('api', { files: { 'ttmp/.gitkeep': '' } });
  rig.manifest({ tickets: { root: '../repos/api/ttmp' }, agents: [] });
  await rig.run('apply run.yaml');
  const repo = await rig.repoNamed();
  const found = await rig.at(repo.path).git('ls-files', '--others', 'ttmp');
  expect(found).toMatch(/ABC-1--rate-limit-the-login\/index\.md/);
  expect(repo).toMatchObject({ clean: true, dirty_files: [] });
  expect(existsSync(path.join(api.path, 'ttmp'))).toBe(true);
});

/** Pushes a commit to a repo's origin from another clone; returns it. */
async function pushedByColleague(rig: Rig, repo: Repo): Promise<string> {
  const folder = path.join(rig.dir, 'colleague');
  await rig.at(rig.dir).git('clone', '-q', repo.origin ?? '', folder);
  const commit = await rig.at(folder).commit('From a colleague', { 'colleague.txt': 'x' });
  await rig.at(folder).git('push', '-q', 'origin', 'main');
  return commit;
}
