import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import type { Status } from '../support/documents.js';
import { isAlive, start, withEnvironment } from '../support/processes.js';
import type { Repo } from '../support/repo.js';
import { agent, hasTmux, type Rig, test } from '../support/rig.js';
import { filesBelow } from '../support/snapshot.js';

describe.each(['process', 'tmux'] as const)('with %s sessions', (session) => {
  test.skipIf(session === 'tmux' && !hasTmux)(
    'cleanup ends the agents, removes the workspace and keeps the branch',
    async ({ rig }) => {
      const { api, status } = await live(rig, { session });
      const work = await rig.at(status.repos[0]?.path ?? '').commit('Work', { 'work.txt': 'x' });

      await rig.run('cleanup run.yaml');
      expect(withEnvironment(`METAWSM_RUN_ID=${status.run.id}`).filter(isAlive)).toEqual([]);
      expect(existsSync(status.run.workspace)).toBe(false);
      expect(await api.worktrees()).toEqual([]);
      expect(await api.git('rev-parse', status.repos[0]?.branch ?? '')).toBe(work);
      expect((await rig.status()).run).toMatchObject({ state: 'closed', outcome: 'abandoned' });

      // Once more: nothing to do.
      await rig.run('cleanup run.yaml');
      expect(await api.git('rev-parse', status.repos[0]?.branch ?? '')).toBe(work);
    },
  );
});

test('cleanup refuses to lose work, lists it, and leaves the agent at it', async ({ rig }) => {
  const { status } = await live(rig);
  dirty(status);
  const { text } = await rig.run('cleanup run.yaml', { code: 4 });
  expect(text).toContain('new.txt');
  expect(text).toContain('README.md');
  expect(text).toContain('--force');
  expect(await rig.agentNamed()).toMatchObject({ state: 'running', attempt: 1 });
  expect(existsSync(status.run.workspace)).toBe(true);
  expect(await rig.state()).toBe('running');
});

test('cleanup --force first saves everything under a ref, and says how to get it back', async ({ rig }) => {
  const { api, status } = await live(rig);
  dirty(status);
  const head = status.repos[0]?.head;
  const ref = `refs/metawsm/backup/${status.run.id}/api`;

  const { text } = await rig.run('cleanup run.yaml --force');
  expect(text).toContain(ref);
  expect(existsSync(status.run.workspace)).toBe(false);
  expect(await api.git('rev-parse', `${ref}^`)).toBe(head);
  expect(await api.git('show', `${ref}:README.md`)).toBe('changed');
  expect(await api.git('show', `${ref}:sub/new.txt`)).toBe('new');
  expect(await api.git('ls-tree', '-r', '--name-only', ref)).toBe('README.md\nsub/new.txt');
});

test('a backup never replaces another', async ({ rig }) => {
  const { api, status } = await live(rig);
  dirty(status);
  const ref = `refs/metawsm/backup/${status.run.id}/api`;
  const older = await api.git('rev-parse', 'main');
  await api.git('update-ref', ref, older);
  await rig.run('cleanup run.yaml --force');
  expect(await api.git('rev-parse', ref)).toBe(older);
  expect(await api.git('show', `${ref}-2:README.md`)).toBe('changed');
});

test('staged and deleted files are saved, too', async ({ rig }) => {
  const { api, status } = await live(rig);
  const tree = rig.at(status.repos[0]?.path ?? '');
  tree.write({ 'staged.txt': 'staged' });
  await tree.git('add', 'staged.txt');
  rmSync(path.join(tree.path, 'README.md'));
  await rig.run('cleanup run.yaml', { code: 4 });
  await rig.run('cleanup run.yaml --force');
  const ref = `refs/metawsm/backup/${status.run.id}/api`;
  expect(await api.git('ls-tree', '-r', '--name-only', ref)).toBe('staged.txt');
});

test('commits on no branch exist nowhere else', async ({ rig }) => {
  const { api, status } = await live(rig);
  const tree = rig.at(status.repos[0]?.path ?? '');
  await tree.git('checkout', '-q', '--detach');
  const lost = await tree.commit('Lost', { 'lost.txt': 'x' });
  const { text } = await rig.run('cleanup run.yaml', { code: 4 });
  expect(text).toContain(lost.slice(0, 7));
  await rig.run('cleanup run.yaml --force');
  const ref = `refs/metawsm/backup/${status.run.id}/api`;
  await api.git('merge-base', '--is-ancestor', lost, ref);
});

test('a repository inside the worktree is not lost', async ({ rig }) => {
  const { status } = await live(rig);
  const nested = path.join(status.repos[0]?.path ?? '', 'nested');
  mkdirSync(nested);
  await rig.at(nested).git('init', '-q');
  await rig.at(nested).commit('Inside', { 'inside.txt': 'x' });
  expect((await rig.run('cleanup run.yaml', { code: 4 })).text).toContain('nested');
  await rig.run('cleanup run.yaml --force');
  expect(existsSync(status.run.workspace)).toBe(false);
  expect(filesBelow(rig.stateFolder).filter((file) => /nested|archive|backup/.test(file))).not.toEqual([]);
});

test('a submodule with commits that nobody else has is not lost', async ({ rig }) => {
  const lib = await rig.repo('lib', { files: { 'lib.txt': 'from lib\n' } });
  const api = await rig.repo('api');
  await api.git('submodule', '--quiet', 'add', lib.path, 'vendor/lib');
  await api.git('commit', '-q', '-m', 'Add lib');
  rig.manifest();
  const { run, repos } = await rig.applied();
  const inner = rig.at(path.join(repos[0]?.path ?? '', 'vendor/lib'));
  const commit = await inner.commit('Only here', { 'lib.txt': 'better\n' });
  await rig.at(repos[0]?.path ?? '').git('commit', '-q', '-a', '-m', 'Use it');

  expect((await rig.run('cleanup run.yaml', { code: 4 })).text).toContain('vendor/lib');
  await rig.run('cleanup run.yaml --force');
  expect(existsSync(run.workspace)).toBe(false);
  const kept = path.join(rig.stateFolder, 'runs', run.id, 'nested/api/vendor__lib');
  expect(await rig.at(kept).git('rev-parse', 'HEAD')).toBe(commit);
  expect(await rig.at(kept).git('status', '--porcelain')).toBe('');
});

test('what metawsm put there itself and what git ignores is in nobody’s way', async ({ rig }) => {
  const api = await rig.repo('api', { files: { '.gitignore': 'build/\n', 'README.md': '# api\n' } });
  api.write({ '.env': 'A=1\n' });
  rig.manifest({
    repos: [{ name: 'api', path: '../repos/api', copy: ['.env'], setup: ['mkdir build && touch build/x'] }],
  });
  const { run } = await rig.applied();
  await rig.run('cleanup run.yaml');
  expect(existsSync(run.workspace)).toBe(false);
});

test('cleanup --keep-workspaces only stops', async ({ rig }) => {
  const { api, status } = await live(rig);
  dirty(status);
  await rig.run('cleanup run.yaml --keep-workspaces');
  expect(await rig.state()).toBe('stopped');
  expect((await rig.agentNamed()).state).toBe('stopped');
  expect(await api.worktrees()).toHaveLength(1);
  expect(existsSync(path.join(status.repos[0]?.path ?? '', 'sub/new.txt'))).toBe(true);
});

test.for([
  ['an agent that has completed', { command: agent('complete') }],
  ['no agent', null],
] as const)(
  'a run with %s goes on to be closed after cleanup --keep-workspaces',
  async ([, command], { rig }) => {
    await rig.repo('api');
    rig.manifest({
      ...(command === null ? { agents: [] } : { agent: command }),
      done_criteria: [{ run: 'true' }],
    });
    await rig.run('apply run.yaml --wait');
    const attempts = (await rig.status()).agents.map(({ attempt }) => attempt);
    await rig.run('cleanup run.yaml --keep-workspaces');
    expect(await rig.state()).toBe('stopped');
    await rig.run('apply run.yaml', { code: 4 });
    await rig.run('resume run.yaml');
    expect(await rig.state()).toBe('completed');
    expect((await rig.status()).agents.map(({ attempt }) => attempt)).toEqual(attempts);
    await rig.run('close run.yaml');
  },
);

test('cleanup copes with a workspace that is gone already', async ({ rig }) => {
  const { api, status } = await live(rig);
  await rig.run('stop run.yaml');
  rmSync(status.run.workspace, { recursive: true });
  await rig.run('cleanup run.yaml');
  expect(await api.worktrees()).toEqual([]);
  expect((await rig.status()).run.state).toBe('closed');
});

test('cleanup touches nothing where the source clone is gone, and goes on when it is back', async ({
  rig,
}) => {
  const { api, status } = await live(rig);
  const away = path.join(rig.dir, 'away');
  renameSync(api.path, away);
  for (const command of ['cleanup run.yaml', 'cleanup run.yaml --force']) {
    const { text } = await rig.run(command, { code: 4 });
    expect(text).toContain(api.path);
    expect(text).toContain('put the clone back');
  }
  expect(await rig.state()).toBe('running');
  expect(await rig.agentNamed()).toMatchObject({ state: 'running', attempt: 1 });

  renameSync(away, api.path);
  await rig.run('cleanup run.yaml');
  expect(existsSync(status.run.workspace)).toBe(false);
});

test('what is saved comes back as said, and a later cleanup leaves it alone', async ({ rig }) => {
  const { api, status } = await live(rig);
  dirty(status);
  const { text } = await rig.run('cleanup run.yaml --force');
  const command = /get it back with: (.*)/.exec(text)?.[1] ?? '';
  await start('sh', ['-c', command], { cwd: rig.project, env: rig.env, timeout: 10_000 }).result;
  const tree = status.repos[0]?.path ?? '';
  expect(readFileSync(path.join(tree, 'sub/new.txt'), 'utf8')).toBe('new');

  await rig.run('cleanup run.yaml');
  expect(await api.worktrees()).toEqual([tree]);
  expect(existsSync(path.join(tree, 'sub/new.txt'))).toBe(true);
});

test('cleanup is all or nothing about refusing: one dirty repo keeps them all', async ({ rig }) => {
  const api = await rig.repo('api');
  const web = await rig.repo('web');
  rig.manifest({
    repos: [
      { name: 'api', path: '../repos/api' },
      { name: 'web', path: '../repos/web' },
    ],
    agents: [],
  });
  await rig.run('apply run.yaml');
  const { path: tree } = await rig.repoNamed('web');
  writeFileSync(path.join(tree, 'new.txt'), 'x');
  expect((await rig.run('cleanup run.yaml', { code: 4 })).text).toContain('web');
  expect(await api.worktrees()).toHaveLength(1);
  expect(await web.worktrees()).toHaveLength(1);
});

test('apply after a cleanup begins a new run', async ({ rig }) => {
  const { status } = await live(rig);
  await rig.run('cleanup run.yaml');
  rig.release();
  await rig.run('apply run.yaml --wait');
  const after = await rig.status();
  expect(after.run.id).not.toBe(status.run.id);
  expect(after.run.state).toBe('completed');
  expect(await rig.runs()).toHaveLength(2);
});

test('cleanup runs where the session folder or the tmux server is gone', async ({ rig }) => {
  const { status } = await live(rig, { session: hasTmux ? 'tmux' : 'process' });
  await rig.killTmux();
  await rig.endAgents(status.run.id);
  await rig.run('cleanup run.yaml');
  expect((await rig.status()).run.state).toBe('closed');
});

/** Everything below a folder but git's own: kind, whether it is executable, content. */
function contentOf(folder: string): Record<string, string> {
  return Object.fromEntries(
    filesBelow(folder)
      .filter((name) => name !== '.git')
      .map((name) => {
        const file = path.join(folder, name);
        const stats = lstatSync(file);
        if (stats.isSymbolicLink()) return [name, `link ${readlinkSync(file)}`];
        return [name, `${stats.mode & 0o100 ? 'x' : '-'} ${readFileSync(file, 'base64')}`];
      }),
  );
}

test('whatever the work is, it comes back to the byte with the command that cleanup names', async ({
  rig,
}) => {
  const { status } = await live(rig);
  const tree = rig.at(status.repos[0]?.path ?? '');
  await tree.commit('Work', { 'gone.txt': 'x', 'becomes/a-file': 'x', 'mode.sh': 'x' });
  rmSync(path.join(tree.path, 'gone.txt'));
  rmSync(path.join(tree.path, 'becomes'), { recursive: true });
  tree.write({
    becomes: 'a file now',
    empty: '',
    'sub/empty': '',
    'line\nbreak \u001b[31m "quoted" ä': 'x',
    '-rf': 'x',
    ' lead and trail ': 'x',
    'README.md': 'no newline at the end',
    'crlf.txt': 'a\r\nb\r\n',
  });
  writeFileSync(path.join(tree.path, 'binary'), Buffer.from([0, 255, 10, 13, 10, 0]));
  chmodSync(path.join(tree.path, 'mode.sh'), 0o755);
  symlinkSync('nowhere/at/all', path.join(tree.path, 'dangling'));
  symlinkSync('sub', path.join(tree.path, 'to-a-folder'));
  tree.write({ 'staged.txt': 'as staged' });
  await tree.git('add', 'staged.txt');
  tree.write({ 'staged.txt': 'as it is on the disk' });
  const before = contentOf(tree.path);

  const refused = await rig.run('cleanup run.yaml', { code: 4 });
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a name must not act on the terminal.
  expect(refused.text).not.toMatch(/\u001b/);
  const { text } = await rig.run('cleanup run.yaml --force');
  expect(existsSync(status.run.workspace)).toBe(false);
  const ref = `refs/metawsm/backup/${status.run.id}/api`;
  expect(text).toContain(ref);
  expect(await rig.at(path.join(rig.dir, 'repos/api')).git('show', `${ref}^2:staged.txt`)).toBe('as staged');
  const command = /get it back with: (.*)/.exec(text)?.[1] ?? '';
  await start('sh', ['-c', command], { cwd: rig.project, env: rig.env, timeout: 10_000 }).result;
  expect(contentOf(tree.path)).toEqual(before);
});

test('commits that were never pushed, and a squash of them that was merged: the branch keeps them', async ({
  rig,
}) => {
  const api = await rig.repo('api', { origin: true });
  rig.manifest();
  const { repos, run } = await rig.applied();
  const tree = rig.at(repos[0]?.path ?? '');
  await tree.commit('One', { 'one.txt': '1' });
  const head = await tree.commit('Two', { 'two.txt': '2' });
  const branch = repos[0]?.branch ?? '';
  await api.git('merge', '-q', '--squash', branch);
  await api.git('commit', '-q', '-m', 'Squashed');
  await rig.run('cleanup run.yaml');
  expect(existsSync(run.workspace)).toBe(false);
  expect(await api.git('rev-parse', branch)).toBe(head);
});

test('what was stashed stays in the repository', async ({ rig }) => {
  const { api, status } = await live(rig);
  const tree = rig.at(status.repos[0]?.path ?? '');
  tree.write({ 'README.md': 'stashed' });
  await tree.git('stash', 'push', '-q', '-m', 'for later');
  await rig.run('cleanup run.yaml');
  expect(await api.git('show', 'stash@{0}:README.md')).toBe('stashed');
});

test('a rebase in progress is work: refused, and saved as it stands', async ({ rig }) => {
  const { api, status } = await live(rig);
  const tree = rig.at(status.repos[0]?.path ?? '');
  const original = await tree.commit('Work', { 'README.md': 'mine\n' });
  await tree.commit('More', { 'more.txt': 'more\n' });
  await api.commit('Meanwhile', { 'README.md': 'theirs\n' });
  await tree.git('rebase', '-q', 'main').catch(() => undefined);
  const { text } = await rig.run('cleanup run.yaml', { code: 4 });
  expect(text).toMatch(/rebase is in progress/);
  const conflicted = readFileSync(path.join(tree.path, 'README.md'), 'utf8');
  expect(conflicted).toContain('<<<<<<<');
  await rig.run('cleanup run.yaml --force');
  const ref = `refs/metawsm/backup/${status.run.id}/api`;
  expect(`${await api.git('show', `${ref}:README.md`)}\n`).toBe(conflicted);
  // The branch is where the rebase found it: with both commits.
  await api.git('merge-base', '--is-ancestor', original, status.repos[0]?.branch ?? '');
  expect(await api.git('show', `${status.repos[0]?.branch}:more.txt`)).toBe('more');
});

test('changes that git was told to overlook are work', async ({ rig }) => {
  const { api, status } = await live(rig);
  const tree = rig.at(status.repos[0]?.path ?? '');
  await tree.git('update-index', '--skip-worktree', 'README.md');
  tree.write({ 'README.md': 'overlooked' });
  expect((await rig.run('cleanup run.yaml', { code: 4 })).text).toMatch(/told to overlook: README\.md/);
  await rig.run('cleanup run.yaml --force');
  expect(await api.git('show', `refs/metawsm/backup/${status.run.id}/api:README.md`)).toBe('overlooked');
});

test('what cannot be saved is not removed, and the agent has been stopped only', async ({ rig }) => {
  const { status } = await live(rig);
  const tree = status.repos[0]?.path ?? '';
  dirty(status);
  // A repository inside that is none, and that no copy can be made of.
  const nested = path.join(tree, 'nested');
  mkdirSync(nested);
  await rig.at(nested).git('init', '-q');
  await rig.at(nested).commit('Inside', { 'inside.txt': 'x' });
  execFileSync('mkfifo', [path.join(nested, 'pipe')]);
  const { text, code } = await rig.run('cleanup run.yaml --force', { code: 'any' });
  if (code === 0) {
    expect(filesBelow(rig.stateFolder).some((file) => file.endsWith('nested/inside.txt'))).toBe(true);
    return;
  }
  expect(text).toContain('nested');
  expect(existsSync(path.join(nested, 'inside.txt'))).toBe(true);
  expect(existsSync(path.join(tree, 'sub/new.txt'))).toBe(true);
  rmSync(path.join(nested, 'pipe'));
  await rig.run('cleanup run.yaml --force');
  expect(existsSync(status.run.workspace)).toBe(false);
});

test('cleanup --force saves also what an agent writes while it is stopped; without it that is refused', async ({
  rig,
}) => {
  const api = await rig.repo('api');
  const late =
    'trap "echo late > late.txt; exit 0" TERM; touch ready; git add ready; git commit -qm Ready; while :; do sleep 0.1; done';
  rig.manifest({ agent: { command: late } });
  await rig.run('apply run.yaml');
  const { run, repos } = await rig.status();
  const tree = repos[0]?.path ?? '';
  await rig.until('the trap', async () => (await rig.at(tree).git('log', '-1', '--format=%s')) === 'Ready');
  await rig.run('cleanup run.yaml --force');
  expect(await api.git('show', `refs/metawsm/backup/${run.id}/api:late.txt`)).toBe('late');
  expect(existsSync(run.workspace)).toBe(false);

  rig.manifest({ agent: { command: late }, ticket: 'ABC-2' }, 'two.yaml');
  await rig.run('apply two.yaml');
  const second = await rig.status('two.yaml');
  const at = second.repos[0]?.path ?? '';
  await rig.until('the trap', async () => (await rig.at(at).git('log', '-1', '--format=%s')) === 'Ready');
  expect((await rig.run('cleanup two.yaml', { code: 4 })).text).toContain('late.txt');
  expect(existsSync(path.join(at, 'late.txt'))).toBe(true);
});

// The second as git itself locks a worktree that it has not finished.
test.for(['do not touch', 'initializing'])(
  'a worktree that its agent locked (%s) is removed, once nothing is lost with it',
  async (reason, { rig }) => {
    const { api, status } = await live(rig);
    const tree = status.repos[0]?.path ?? '';
    await rig.at(tree).git('worktree', 'lock', '--reason', reason, tree);
    dirty(status);
    expect((await rig.status()).repos[0]?.clean).toBe(false);
    await rig.run('cleanup run.yaml', { code: 4 });
    await rig.run('cleanup run.yaml --force');
    expect(await api.git('show', `refs/metawsm/backup/${status.run.id}/api:sub/new.txt`)).toBe('new');
    expect(await api.worktrees()).toEqual([]);
    expect(existsSync(status.run.workspace)).toBe(false);
  },
);

test('a FIFO where git looks for a file hangs no command: it is named, and all goes on without it', async ({
  rig,
}) => {
  const { status } = await live(rig);
  const trap = path.join(status.repos[0]?.path ?? '', '.gitignore');
  execFileSync('mkfifo', [trap]);
  const words = `would wait for ever at ${trap}`;
  expect((await rig.run('status run.yaml')).text).toContain(words);
  for (const command of ['plan run.yaml', 'apply run.yaml', 'verify run.yaml', 'close run.yaml']) {
    expect((await rig.run(command, { code: 1 })).text).toContain(words);
  }
  expect((await rig.run('cleanup run.yaml --force', { code: 1 })).text).toContain(words);
  expect(await rig.agentNamed()).toMatchObject({ state: 'running', attempt: 1 });
  rmSync(trap);
  await rig.run('cleanup run.yaml');
  expect(existsSync(status.run.workspace)).toBe(false);
});

async function live(rig: Rig, keys: Record<string, unknown> = {}): Promise<{ api: Repo; status: Status }> {
  const api = await rig.repo('api');
  rig.manifest({ agent: { command: agent('live') }, ...keys });
  return { api, status: await rig.applied() };
}

/** A changed and a new file in the worktree. */
function dirty(status: Status): void {
  const tree = status.repos[0]?.path ?? '';
  writeFileSync(path.join(tree, 'README.md'), 'changed');
  mkdirSync(path.join(tree, 'sub'));
  writeFileSync(path.join(tree, 'sub/new.txt'), 'new');
}

describe('what git keeps with a worktree’s own data', () => {
  async function withLibrary(rig: Rig) {
    const lib = await rig.repo('lib', { files: { 'lib.txt': 'from lib\n' } });
    const api = await rig.repo('api');
    await api.git('submodule', '--quiet', 'add', lib.path, 'lib');
    await api.git('commit', '-q', '-m', 'Add lib');
    rig.manifest();
    const status = await rig.applied();
    const tree = rig.at(status.repos[0]?.path ?? '');
    const nested = path.join(rig.stateFolder, 'runs', status.run.id, 'nested/api');
    return { tree, inner: rig.at(path.join(tree.path, 'lib')), nested };
  }

  test('the commits of a submodule that is checked out no more', async ({ rig }) => {
    const { tree, inner, nested } = await withLibrary(rig);
    await inner.git('switch', '-q', '-c', 'feature');
    const commit = await inner.commit('Only here', { 'lib.txt': 'better\n' });
    await inner.git('switch', '-q', '--detach', 'HEAD^');
    await tree.git('submodule', '--quiet', 'deinit', '-f', 'lib');
    expect(await tree.git('status', '--porcelain')).toBe('');
    expect((await rig.run('cleanup run.yaml', { code: 4 })).text).toContain('1 commit of the submodule lib');
    await rig.run('cleanup run.yaml --force');
    expect(await rig.at(path.join(nested, 'lib.git')).git('rev-parse', 'feature')).toBe(commit);
  });

  test('what is stashed or overlooked in a submodule', async ({ rig }) => {
    const { inner, nested } = await withLibrary(rig);
    inner.write({ 'lib.txt': 'stashed\n' });
    await inner.git('stash', 'push', '-q');
    await inner.git('update-index', '--assume-unchanged', 'lib.txt');
    inner.write({ 'lib.txt': 'overlooked\n' });
    const { text } = await rig.run('cleanup run.yaml', { code: 4 });
    expect(text).toContain('in the submodule lib only');
    expect(text).toContain('changes in the submodule lib that git was told to overlook: lib.txt');
    await rig.run('cleanup run.yaml --force');
    const kept = path.join(nested, 'lib');
    expect(await rig.at(kept).git('show', 'stash@{0}:lib.txt')).toBe('stashed');
    expect(readFileSync(path.join(kept, 'lib.txt'), 'utf8')).toBe('overlooked\n');
  });

  test('what a rebase set aside, and where it began', async ({ rig }) => {
    const { api, status } = await live(rig);
    const tree = rig.at(status.repos[0]?.path ?? '');
    await tree.git('switch', '-q', '--detach');
    const began = await tree.commit('Work', { 'README.md': 'mine\n', 'more.txt': 'committed\n' });
    tree.write({ 'more.txt': 'set aside\n' });
    await api.commit('Meanwhile', { 'README.md': 'theirs\n' });
    await tree.git('rebase', '-q', '--autostash', 'main').catch(() => undefined);
    await rig.run('cleanup run.yaml --force');
    const kept = (await api.git('for-each-ref', '--format=%(objectname)', 'refs/metawsm/lost')).split('\n');
    expect(kept).toContain(began);
    const contents = await Promise.all(kept.map((commit) => api.git('show', `${commit}:more.txt`)));
    expect(contents).toContain('set aside');
  });
});

test.for(['deleted', 'new'])(
  'a branch without a commit (%s) keeps no command from its work',
  async (how, { rig }) => {
    const { api, status } = await live(rig);
    const tree = rig.at(status.repos[0]?.path ?? '');
    const commit = await tree.commit('Work', { 'work.txt': 'x\n' });
    if (how === 'deleted') await tree.git('update-ref', '-d', `refs/heads/${status.repos[0]?.branch}`);
    else await tree.git('checkout', '-q', '--orphan', 'fresh');
    expect((await rig.status()).repos[0]).toMatchObject({ clean: false, head: null });
    await rig.run('close run.yaml --dry-run', { code: 4 });
    expect((await rig.run('cleanup run.yaml', { code: 4 })).text).toContain('work.txt');
    await rig.run('cleanup run.yaml --force');
    expect(await api.git('show', `refs/metawsm/backup/${status.run.id}/api:work.txt`)).toBe('x');
    await api.git('reflog', 'expire', '--expire=now', '--all');
    await api.git('gc', '-q', '--prune=now');
    expect(await api.git('show', '-s', '--format=%s', commit)).toBe('Work');
  },
);

test('a worktree that an agent made in an ignored folder is not lost', async ({ rig }) => {
  const api = await rig.repo('api', { files: { '.gitignore': '.worktrees/\n' } });
  rig.manifest();
  const { run, repos } = await rig.applied();
  const tree = rig.at(repos[0]?.path ?? '');
  await tree.git('worktree', 'add', '-q', '--detach', '.worktrees/idea');
  const idea = rig.at(path.join(tree.path, '.worktrees/idea'));
  const commit = await idea.commit('Only here', { 'idea.txt': 'x\n' });
  idea.write({ 'draft.txt': 'not committed\n' });
  const { text } = await rig.run('cleanup run.yaml', { code: 4 });
  expect(text).toContain('.worktrees/idea: 1 untracked file: draft.txt; 1 commit on no branch');
  await rig.run('cleanup run.yaml --force');
  await api.git('gc', '-q', '--prune=now');
  const kept = path.join(rig.stateFolder, 'runs', run.id, 'nested/api/.worktrees__idea');
  expect(await rig.at(kept).git('rev-parse', 'HEAD')).toBe(commit);
  expect(readFileSync(path.join(kept, 'draft.txt'), 'utf8')).toBe('not committed\n');
});

test('a worktree that an agent made beside its own moves, and git knows where to', async ({ rig }) => {
  const { api, status } = await live(rig);
  const tree = rig.at(status.repos[0]?.path ?? '');
  await tree.git('worktree', 'add', '-q', '--detach', '../idea');
  const idea = rig.at(path.join(status.run.workspace, 'idea'));
  const commit = await idea.commit('Only here', { 'idea.txt': 'x\n' });
  await rig.run('cleanup run.yaml');
  await api.git('worktree', 'prune');
  const kept = path.join(rig.stateFolder, 'runs', status.run.id, 'workspace/idea');
  expect(await rig.at(kept).git('rev-parse', 'HEAD')).toBe(commit);
});

test('what an agent left in the .metawsm of a worktree is kept', async ({ rig }) => {
  const { status } = await live(rig);
  rig.at(status.repos[0]?.path ?? '').write({ '.metawsm/notes.md': 'remember' });
  await rig.run('cleanup run.yaml');
  const kept = path.join(rig.stateFolder, 'runs', status.run.id, 'workspace/api/.metawsm/notes.md');
  expect(readFileSync(kept, 'utf8')).toBe('remember');
});
