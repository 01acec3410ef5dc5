import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { backupWorktree } from '../../src/tools/git-backup.js';
import { onlyHere } from '../../src/tools/git-only-here.js';
import { diffStat, worktreeStatus } from '../../src/tools/git-status.js';
import { commit, newRepo, sh, temporaryFolder, write } from './git-rig.js';

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

function setting(): { folder: string; source: string; path: string } {
  const folder = temporaryFolder();
  const source = newRepo(join(folder, 'source'));
  const path = join(folder, 'ws', 'api');
  sh(source, 'worktree', 'add', '-q', '-b', 'task', path);
  return { folder, source, path };
}

describe('worktreeStatus', () => {
  test('a clean one', async () => {
    const { path } = setting();
    expect(await worktreeStatus(path)).toMatchObject({
      head: sh(path, 'rev-parse', 'HEAD'),
      branch: 'task',
      operation: null,
      dirtyFiles: [],
    });
  });

  test('every kind of change, with the strangest names', async () => {
    const { path } = setting();
    const names = [' lead', 'two  spaces', 'line\nbreak', 'ünï', '"quoted"', '-dash', ':(top)x'];
    for (const name of names) write(path, name, 'x');
    write(path, 'a.txt', 'changed\n');
    write(path, 'staged.txt', 'x');
    sh(path, 'add', 'staged.txt');
    const status = await worktreeStatus(path);
    expect([...status.untracked].sort()).toEqual([...names].sort());
    expect([...status.changed].sort()).toEqual(['a.txt', 'staged.txt']);
    expect(status.dirtyFiles).toHaveLength(names.length + 2);
    sh(path, 'mv', 'a.txt', 'moved name.txt');
    expect((await worktreeStatus(path)).changed).toEqual(['a.txt', 'moved name.txt', 'staged.txt']);
  });

  test('what metawsm placed is no change as long as it is the same', async () => {
    const { folder, path } = setting();
    write(path, '.env', 'SECRET=1\n');
    write(path, 'ttmp/ticket.md', 'text\n');
    write(path, '.metawsm/guidance-request.json', '{}');
    symlinkSync(join(folder, 'modules'), join(path, 'node_modules'));
    const placed = {
      '.env': sha256('SECRET=1\n'),
      'ttmp/ticket.md': sha256('text\n'),
      node_modules: `link:${join(folder, 'modules')}`,
      'a.txt': sha256('placed over a tracked file\n'),
    };
    expect((await worktreeStatus(path, { placed })).dirtyFiles).toEqual([]);
    write(path, 'a.txt', 'placed over a tracked file\n');
    expect((await worktreeStatus(path, { placed })).dirtyFiles).toEqual([]);
    sh(path, 'add', 'a.txt');
    write(path, '.env', 'SECRET=2\n');
    rmSync(join(path, 'node_modules'));
    symlinkSync('/elsewhere', join(path, 'node_modules'));
    rmSync(join(path, 'ttmp/ticket.md'));
    symlinkSync('/etc/hostname', join(path, 'ttmp/ticket.md'));
    const status = await worktreeStatus(path, { placed });
    expect([...status.dirtyFiles].sort()).toEqual(['.env', 'a.txt', 'node_modules', 'ttmp/ticket.md']);
  });

  test('a repository inside is named, its files are not', async () => {
    const { path } = setting();
    newRepo(join(path, 'inner'));
    expect(await worktreeStatus(path)).toMatchObject({ nested: ['inner'], untracked: [] });
  });

  test('unborn, detached, and a folder that is no worktree', async () => {
    const { path } = setting();
    sh(path, 'checkout', '-q', '--detach');
    expect(await worktreeStatus(path)).toMatchObject({ branch: null });
    sh(path, 'checkout', '-q', '--orphan', 'fresh');
    expect(await worktreeStatus(path)).toMatchObject({ head: null, branch: 'fresh', changed: ['a.txt'] });
    mkdirSync(join(path, 'sub'));
    await expect(worktreeStatus(join(path, 'sub'))).rejects.toThrow(/no worktree/);
  });

  test('the fingerprint moves with HEAD and with changes', async () => {
    const { path } = setting();
    const clean = (await worktreeStatus(path)).fingerprint;
    expect((await worktreeStatus(path)).fingerprint).toBe(clean);
    write(path, 'new', 'x');
    const dirty = (await worktreeStatus(path)).fingerprint;
    expect(dirty).not.toBe(clean);
    commit(path, 'new', 'x');
    expect([clean, dirty]).not.toContain((await worktreeStatus(path)).fingerprint);
  });
});

describe('diffStat', () => {
  test('counts commits and lines since the base', async () => {
    const { source, path } = setting();
    const base = sh(source, 'rev-parse', 'main');
    expect(await diffStat(path, base)).toEqual({
      ahead: 0,
      behind: 0,
      filesChanged: 0,
      insertions: 0,
      deletions: 0,
    });
    commit(path, 'a.txt', 'two\nthree\n');
    commit(path, 'b.txt', 'x\n');
    const moved = commit(source, 'other.txt', 'x\n');
    expect(await diffStat(path, moved)).toEqual({
      ahead: 2,
      behind: 1,
      filesChanged: 2,
      insertions: 3,
      deletions: 1,
    });
  });

  test('runs no external diff, and bears histories without a common commit', async () => {
    const { folder, source, path } = setting();
    sh(source, 'config', 'diff.external', join(folder, 'nope'));
    const base = sh(source, 'rev-parse', 'main');
    sh(path, 'checkout', '-q', '--orphan', 'fresh');
    commit(path, 'b.txt', 'x\n');
    expect(await diffStat(path, base)).toMatchObject({ ahead: 1, behind: 1, filesChanged: 1 });
  });
});

describe('onlyHere', () => {
  test('nothing where all is committed on a branch, stashed or ignored', async () => {
    const { path } = setting();
    commit(path, 'b.txt', 'x\n');
    commit(path, '.gitignore', 'ignored\n');
    write(path, 'ignored', 'x');
    write(path, 'b.txt', 'stashed\n');
    sh(path, 'stash');
    expect(await onlyHere(path)).toEqual([]);
  });

  test('each kind of what would be lost', async () => {
    const { path } = setting();
    sh(path, 'checkout', '-q', '--detach');
    commit(path, 'c.txt', 'x\n');
    commit(path, 'd.txt', 'x\n');
    write(path, 'a.txt', 'changed\n');
    write(path, 'new\nname', 'x');
    newRepo(join(path, 'inner'));
    const found = await onlyHere(path);
    expect(found).toEqual([
      '1 uncommitted change: a.txt',
      '1 untracked file: "new\\nname"',
      '1 repository of its own: inner',
      expect.stringMatching(/^2 commits on no branch \(HEAD is [0-9a-f]{12}\)$/),
    ]);
    sh(path, 'branch', 'kept');
    expect(await onlyHere(path)).toHaveLength(3);
  });

  test('an operation in progress', async () => {
    const { source, path } = setting();
    commit(path, 'a.txt', 'task\n');
    commit(source, 'a.txt', 'main\n');
    expect(() => sh(path, 'rebase', 'main')).toThrow();
    expect((await onlyHere(path)).slice(0, 2)).toEqual([
      'a rebase is in progress',
      '1 unresolved conflict: a.txt',
    ]);
  });

  test('changes that git was told to overlook', async () => {
    const { path } = setting();
    commit(path, 'b.txt', 'same\n');
    sh(path, 'update-index', '--assume-unchanged', 'a.txt', 'b.txt');
    write(path, 'a.txt', 'hidden\n');
    expect((await worktreeStatus(path)).dirtyFiles).toEqual([]);
    expect(await onlyHere(path)).toEqual(['1 change that git was told to overlook: a.txt']);
    sh(path, 'update-index', '--no-assume-unchanged', '--skip-worktree', 'a.txt');
    sh(path, 'update-index', '--skip-worktree', 'a.txt');
    expect(await onlyHere(path)).toEqual(['1 change that git was told to overlook: a.txt']);
    expect(readFileSync(join(path, 'a.txt'), 'utf8')).toBe('hidden\n');
  });

  test('commits in a submodule', async () => {
    const { folder, path } = setting();
    const library = newRepo(join(folder, 'library'));
    sh(path, 'submodule', '--quiet', 'add', library, 'lib');
    sh(path, 'commit', '-qm', 'lib');
    expect(await onlyHere(path)).toEqual([]);
    commit(join(path, 'lib'), 'b.txt', 'x\n');
    expect(await onlyHere(path)).toEqual(['1 uncommitted change: lib', '1 commit in the submodule lib only']);
    sh(path, 'commit', '-qam', 'move lib');
    expect(await onlyHere(path)).toEqual(['1 commit in the submodule lib only']);
  });

  test('an overlooked change of a file whose name is no UTF-8', async () => {
    const { path } = setting();
    const name = Buffer.concat([Buffer.from(join(path, 'f')), Buffer.of(0xff)]);
    writeFileSync(name, 'x');
    sh(path, 'add', '.');
    sh(path, 'commit', '-qm', 'more');
    execFileSync('sh', ['-c', 'git update-index --skip-worktree f*'], { cwd: path });
    writeFileSync(name, 'y');
    expect(await onlyHere(path)).toHaveLength(1);
    const ref = 'refs/metawsm/backup/run/api';
    await backupWorktree({ source: path, path, ref });
    expect(execFileSync('sh', ['-c', `git show ${ref}`], { cwd: path, encoding: 'latin1' })).toContain('+y');
  });

  test('a change whose time and size are those of before', async () => {
    const { path } = setting();
    sh(path, 'config', 'core.checkStat', 'minimal');
    sh(path, 'config', 'core.trustctime', 'false');
    const old = new Date(0);
    utimesSync(join(path, 'a.txt'), old, old);
    sh(path, 'update-index', '--refresh');
    // git compares whole seconds.
    await pause(1_100);
    write(path, 'a.txt', readFileSync(join(path, 'a.txt'), 'utf8').replace(/./, '!'));
    utimesSync(join(path, 'a.txt'), old, old);
    expect(sh(path, 'status', '--porcelain')).toBe('');
    expect(await onlyHere(path)).toEqual(['1 uncommitted change: a.txt']);
  });

  test('modes count where git counts them', async () => {
    const { path } = setting();
    chmodSync(join(path, 'a.txt'), 0o755);
    expect(await onlyHere(path)).toEqual(['1 uncommitted change: a.txt']);
  });
});
