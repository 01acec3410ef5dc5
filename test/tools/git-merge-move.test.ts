import {
  chmodSync,
  existsSync,
  lstatSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createMerge, planMerge } from '../../src/tools/git-merge.js';
import { type BaseMove, deleteBranch, moveBase, rollbackBase } from '../../src/tools/git-move.js';
import { commit, newRepo, sh, temporaryFolder, write } from './git-rig.js';

interface Setting {
  readonly folder: string;
  readonly repo: string;
  readonly task: string;
}

/** `main` is checked out in the clone; `task` changes, adds, deletes, renames, and makes something executable. */
function setting(): Setting {
  const folder = temporaryFolder();
  const repo = newRepo(join(folder, 'repo'));
  write(repo, '.gitignore', '*.log\n');
  write(repo, 'gone.txt', 'x\n');
  write(repo, 'run.sh', '#!/bin/sh\n');
  write(repo, 'old.txt', 'to be renamed\n');
  commit(repo, 'beside.txt', 'x\n');
  const task = join(folder, 'task');
  sh(repo, 'worktree', 'add', '-q', '-b', 'task', task, 'main');
  write(task, 'a.txt', 'changed\n');
  rmSync(join(task, 'gone.txt'));
  chmodSync(join(task, 'run.sh'), 0o755);
  sh(task, 'mv', 'old.txt', 'new.txt');
  write(task, 'line\nbreak "ü"', 'x\n');
  commit(task, 'deep/new.txt', 'new\n');
  return { folder, repo, task };
}

/** A second commit on `main`, so that a merge commit is needed. */
function goOn(repo: string): void {
  commit(repo, 'main.txt', 'x\n');
}

async function moveOf(repo: string): Promise<BaseMove> {
  const head = sh(repo, 'rev-parse', 'task');
  const plan = await planMerge({ repo, base: 'main', branch: 'task', head, ticket: 'MW-1' });
  if (plan.kind !== 'ready') throw new Error(JSON.stringify(plan));
  return { repo, base: 'main', from: plan.from, to: await createMerge(repo, plan), why: 'merge of task' };
}

const at = (repo: string, ref = 'refs/heads/main') => sh(repo, 'rev-parse', ref);
/** What `git status` names, after its header. */
const status = (path: string) =>
  sh(path, '--no-optional-locks', 'status', '--porcelain', '--branch', '-uall', '-z')
    .split('\0')
    .slice(1, -1);

describe('moveBase', () => {
  test('moves a clean checkout by a merge commit', async () => {
    const { repo } = setting();
    goOn(repo);
    const move = await moveOf(repo);
    expect(await moveBase(move)).toEqual({ kind: 'moved', checkouts: [repo] });
    expect(at(repo)).toBe(move.to);
    expect(sh(repo, 'symbolic-ref', 'HEAD')).toBe('refs/heads/main');
    expect(status(repo)).toEqual([]);
    expect(readFileSync(join(repo, 'deep/new.txt'), 'utf8')).toBe('new\n');
    expect(statSync(join(repo, 'run.sh')).mode & 0o100).toBe(0o100);
    for (const name of ['gone.txt', 'old.txt']) expect(existsSync(join(repo, name))).toBe(false);
    expect(sh(repo, 'log', '-g', '--format=%gs', '-1', 'main')).toBe('metawsm: merge of task');
    expect(sh(repo, 'log', '-g', '--format=%gs', '-1', 'HEAD')).toBe('metawsm: merge of task');
    expect(await moveBase(move)).toEqual({ kind: 'already', checkouts: [] });
  });

  test('leaves the work beside the change as it is, staged or not', async () => {
    const { repo } = setting();
    write(repo, 'beside.txt', 'staged\n');
    write(repo, 'fresh.txt', 'staged\n');
    sh(repo, 'add', '.');
    write(repo, 'beside.txt', 'and changed again\n');
    write(repo, 'deep/untracked.txt', 'mine\n');
    write(repo, 'x.log', 'ignored\n');
    const before = status(repo);
    expect((await moveBase(await moveOf(repo))).kind).toBe('moved');
    expect(status(repo)).toEqual(before);
    expect(sh(repo, 'show', ':beside.txt')).toBe('staged');
    expect(readFileSync(join(repo, 'x.log'), 'utf8')).toBe('ignored\n');
  });

  test.each([
    ['a changed file', 'a.txt'],
    ['an untracked file', 'deep/new.txt'],
    ['an untracked file with an odd name', 'line\nbreak "ü"'],
  ])('%s in the way: nothing changes, and it is named', async (_, name) => {
    const { repo } = setting();
    write(repo, name, 'mine\n');
    write(repo, 'beside.txt', 'mine\n');
    const move = await moveOf(repo);
    const before = [at(repo), ...status(repo)];
    expect(await moveBase(move)).toEqual({
      kind: 'refused',
      problem: expect.stringContaining(name),
      overlaps: [join(repo, name)],
    });
    expect([at(repo), ...status(repo)]).toEqual(before);
    expect(readFileSync(join(repo, name), 'utf8')).toBe('mine\n');
    expect(await rollbackBase(move)).toEqual({ kind: 'already' });
    expect(readFileSync(join(repo, name), 'utf8')).toBe('mine\n');
  });

  test('moves a checkout in another worktree, and one whose files only look changed', async () => {
    const { folder, repo } = setting();
    sh(repo, 'checkout', '-q', '-b', 'other');
    const elsewhere = join(folder, 'else where');
    sh(repo, 'worktree', 'add', '-q', elsewhere, 'main');
    writeFileSync(join(elsewhere, 'a.txt'), readFileSync(join(elsewhere, 'a.txt')));
    expect(await moveBase(await moveOf(repo))).toEqual({ kind: 'moved', checkouts: [elsewhere] });
    expect(status(elsewhere)).toEqual([]);
    expect(status(repo)).toEqual([]);
    expect(sh(repo, 'symbolic-ref', 'HEAD')).toBe('refs/heads/other');
  });

  test('moves a branch that is checked out nowhere, makes one that is missing, in a bare repository', async () => {
    const { folder, repo, task } = setting();
    const bare = join(folder, 'bare.git');
    sh(folder, 'clone', '-q', '--bare', repo, bare);
    expect(await moveBase(await moveOf(bare))).toEqual({ kind: 'moved', checkouts: [] });
    expect(at(bare)).toBe(at(task, 'HEAD'));

    sh(repo, 'checkout', '-q', '-b', 'other');
    sh(repo, 'remote', 'add', 'origin', bare);
    sh(repo, 'fetch', '-q', 'origin');
    sh(repo, 'branch', '-q', '-D', 'main');
    const move = await moveOf(repo);
    expect(move.from).toBeNull();
    expect((await moveBase(move)).kind).toBe('moved');
    expect(at(repo)).toBe(move.to);
    expect(await rollbackBase(move)).toEqual({ kind: 'rolled_back' });
    expect(await rollbackBase(move)).toEqual({ kind: 'already' });
    expect(sh(repo, 'branch', '--list', 'main')).toBe('');
    sh(repo, 'branch', 'main', 'other');
    expect(await moveBase(move)).toMatchObject({ kind: 'refused' });
    expect(at(repo)).toBe(at(repo, 'other'));
  });

  test('a base that moved meanwhile stays where it is', async () => {
    const { repo } = setting();
    const move = await moveOf(repo);
    goOn(repo);
    const before = [at(repo), ...status(repo)];
    expect(await moveBase(move)).toMatchObject({
      kind: 'refused',
      problem: expect.stringContaining('meanwhile'),
    });
    expect(await rollbackBase(move)).toMatchObject({ kind: 'refused' });
    expect([at(repo), ...status(repo)]).toEqual(before);
  });

  test('a branch that cannot be written leaves the files as they were', async () => {
    const { repo } = setting();
    write(repo, 'beside.txt', 'mine\n');
    // One that is there already as the branch has it is somebody's, and stays.
    write(repo, 'deep/new.txt', 'new\n');
    write(repo, 'a.txt', 'changed\n');
    rmSync(join(repo, 'gone.txt'));
    const move = await moveOf(repo);
    const before = [at(repo), ...status(repo)];
    writeFileSync(join(repo, '.git/refs/heads/main.lock'), '');
    await expect(moveBase(move)).rejects.toThrow(/update-ref .*refs\/heads\/main/);
    expect([at(repo), ...status(repo)]).toEqual(before);
    expect(readFileSync(join(repo, 'deep/new.txt'), 'utf8')).toBe('new\n');
    rmSync(join(repo, '.git/refs/heads/main.lock'));
    expect((await moveBase(move)).kind).toBe('moved');
  });

  test('runs no hook and no driver of the configuration', async () => {
    const { folder, repo } = setting();
    goOn(repo);
    const marker = join(folder, 'ran');
    for (const hook of ['reference-transaction', 'post-merge', 'post-checkout', 'post-index-change']) {
      write(repo, `.git/hooks/${hook}`, `#!/bin/sh\ntouch '${marker}'\n`, 0o755);
    }
    sh(repo, 'config', 'core.fsmonitor', `touch '${marker}'; false`);
    const move = await moveOf(repo);
    expect((await moveBase(move)).kind).toBe('moved');
    expect((await rollbackBase(move)).kind).toBe('rolled_back');
    expect(existsSync(marker)).toBe(false);
  });

  test('a submodule’s pointer moves, its checkout stays', async () => {
    const { folder, repo, task } = setting();
    const library = newRepo(join(folder, 'library'));
    sh(repo, 'submodule', '--quiet', 'add', library, 'lib');
    sh(repo, 'commit', '-qm', 'library');
    sh(task, 'reset', '-q', '--hard', 'main');
    sh(task, 'submodule', '--quiet', 'update', '--init');
    const newer = commit(join(task, 'lib'), 'b.txt', 'b\n');
    commit(task, 'c.txt', 'c\n');
    const before = at(join(repo, 'lib'), 'HEAD');
    expect((await moveBase(await moveOf(repo))).kind).toBe('moved');
    expect(sh(repo, 'rev-parse', 'HEAD:lib')).toBe(newer);
    expect(at(join(repo, 'lib'), 'HEAD')).toBe(before);
  });
});

describe('unusual checkouts', () => {
  test('two checkouts of the base move together, or not at all', async () => {
    const { folder, repo } = setting();
    const second = join(folder, 'second');
    sh(repo, 'worktree', 'add', '-q', '--force', second, 'main');
    const move = await moveOf(repo);
    write(second, 'a.txt', 'mine\n');
    expect(await moveBase(move)).toMatchObject({ kind: 'refused', overlaps: [join(second, 'a.txt')] });
    expect(status(repo)).toEqual([]);
    sh(second, 'checkout', '-q', 'a.txt');
    expect(await moveBase(move)).toEqual({ kind: 'moved', checkouts: [repo, second] });
    expect([...status(repo), ...status(second)]).toEqual([]);
    expect(await rollbackBase(move)).toEqual({ kind: 'rolled_back' });
    expect([...status(repo), ...status(second)]).toEqual([]);
  });

  test('a sparse one stays sparse', async () => {
    const { repo } = setting();
    sh(repo, 'sparse-checkout', 'set', 'elsewhere');
    const move = await moveOf(repo);
    expect((await moveBase(move)).kind).toBe('moved');
    expect(existsSync(join(repo, 'deep'))).toBe(false);
    expect(readFileSync(join(repo, 'a.txt'), 'utf8')).toBe('changed\n');
    expect(status(repo)).toEqual([]);
  });

  test('files become folders and links, and back', async () => {
    const { repo, task } = setting();
    sh(task, 'rm', '-q', 'beside.txt', 'a.txt');
    write(task, 'beside.txt/inner', 'x\n');
    symlinkSync('run.sh', join(task, 'a.txt'));
    sh(task, 'add', '--all');
    sh(task, 'commit', '-qm', 'kinds');
    const move = await moveOf(repo);
    expect((await moveBase(move)).kind).toBe('moved');
    expect([status(repo), lstatSync(join(repo, 'a.txt')).isSymbolicLink()]).toEqual([[], true]);
    expect(await rollbackBase(move)).toEqual({ kind: 'rolled_back' });
    expect(status(repo)).toEqual([]);
    expect(readFileSync(join(repo, 'beside.txt'), 'utf8')).toBe('x\n');
  });

  test('files that a filter keeps in another form are written in that form', async () => {
    const { repo } = setting();
    write(repo, '.gitattributes', '*.txt filter=caps\n');
    sh(repo, 'config', 'filter.caps.clean', 'tr A-Z a-z');
    sh(repo, 'config', 'filter.caps.smudge', 'tr a-z A-Z');
    sh(repo, 'add', '.');
    sh(repo, 'commit', '-qm', 'caps');
    const move = await moveOf(repo);
    expect((await moveBase(move)).kind).toBe('moved');
    expect(readFileSync(join(repo, 'deep/new.txt'), 'utf8')).toBe('NEW\n');
    expect(status(repo)).toEqual([]);
  });

  test('a repository with long ids, cut off among the files', async () => {
    const folder = temporaryFolder();
    const repo = join(folder, 'repo');
    sh(folder, 'init', '-q', '-b', 'main', '--object-format=sha256', 'repo');
    commit(repo, 'a.txt', 'one\n');
    sh(repo, 'checkout', '-q', '-b', 'task');
    sh(repo, 'rm', '-q', 'a.txt');
    commit(repo, 'b.txt', 'b\n');
    sh(repo, 'checkout', '-q', 'main');
    rmSync(join(repo, 'a.txt'));
    write(repo, 'b.txt', 'b\n');
    expect((await moveBase(await moveOf(repo))).kind).toBe('moved');
    expect(status(repo)).toEqual([]);
  });
});

describe('a move that was cut off', () => {
  /** The files and the index are moved, the branch is not. */
  function cutBeforeTheBranch(repo: string, move: BaseMove): void {
    sh(repo, 'read-tree', '-m', '-u', String(move.from), move.to);
  }

  /** Git itself was killed: some files are written, the index is not. */
  function cutAmongTheFiles(repo: string): void {
    write(repo, 'a.txt', 'changed\n');
    write(repo, 'deep/new.txt', 'new\n');
    rmSync(join(repo, 'gone.txt'));
    chmodSync(join(repo, 'run.sh'), 0o755);
  }

  test('goes on', async () => {
    const { repo } = setting();
    write(repo, 'beside.txt', 'mine\n');
    const move = await moveOf(repo);
    cutBeforeTheBranch(repo, move);
    expect((await moveBase(move)).kind).toBe('moved');
    expect(status(repo)).toEqual([' M beside.txt']);
  });

  test('goes on among the files', async () => {
    const { repo } = setting();
    write(repo, 'beside.txt', 'mine\n');
    const move = await moveOf(repo);
    cutAmongTheFiles(repo);
    expect((await moveBase(move)).kind).toBe('moved');
    expect(status(repo)).toEqual([' M beside.txt']);
    expect(lstatSync(join(repo, 'run.sh')).mode & 0o100).toBe(0o100);
  });

  test('is taken back', async () => {
    const { repo } = setting();
    write(repo, 'beside.txt', 'mine\n');
    const move = await moveOf(repo);
    cutBeforeTheBranch(repo, move);
    expect(await rollbackBase(move)).toEqual({ kind: 'rolled_back' });
    expect([at(repo), ...status(repo)]).toEqual([move.from, ' M beside.txt']);
    expect(await rollbackBase(move)).toEqual({ kind: 'already' });
  });
});

describe('rollbackBase', () => {
  test('puts the branch and its checkout back, and keeps uncommitted work', async () => {
    const { repo } = setting();
    goOn(repo);
    write(repo, 'beside.txt', 'mine\n');
    const move = await moveOf(repo);
    await moveBase(move);
    write(repo, 'later.txt', 'mine\n');
    expect(await rollbackBase(move)).toEqual({ kind: 'rolled_back' });
    expect([at(repo), ...status(repo)]).toEqual([move.from, ' M beside.txt', '?? later.txt']);
    expect(existsSync(join(repo, 'deep'))).toBe(false);
    expect(statSync(join(repo, 'run.sh')).mode & 0o100).toBe(0);
  });

  test('leaves a branch that somebody moved on, and work in the way', async () => {
    const { repo } = setting();
    const move = await moveOf(repo);
    await moveBase(move);
    write(repo, 'a.txt', 'work on top\n');
    expect(await rollbackBase(move)).toMatchObject({ kind: 'refused', overlaps: [join(repo, 'a.txt')] });
    expect(at(repo)).toBe(move.to);
    const later = commit(repo, 'a.txt', 'work on top\n');
    expect(await rollbackBase(move)).toMatchObject({
      kind: 'refused',
      problem: expect.stringContaining('left alone'),
    });
    expect(at(repo)).toBe(later);
  });
});

describe('deleteBranch', () => {
  test('only at its commit, and where it is checked out nowhere', async () => {
    const { repo, task } = setting();
    const head = at(task, 'HEAD');
    const refusal = async () => {
      const result = await deleteBranch(repo, 'task', head);
      return result.kind === 'refused' ? result.problem : result.kind;
    };
    expect(await refusal()).toContain(`checked out in ${task}`);
    commit(task, 'more.txt', 'x\n');
    sh(repo, 'worktree', 'remove', task);
    expect(await refusal()).toContain('is kept');
    sh(repo, 'update-ref', 'refs/heads/task', head);
    sh(repo, 'branch', 'task2', head);
    sh(repo, 'config', 'branch.task.remote', 'origin');
    sh(repo, 'config', 'branch.task2.remote', 'origin');
    expect(await refusal()).toBe('deleted');
    expect(sh(repo, 'config', '--get-regexp', '^branch\\.')).toBe('branch.task2.remote origin');
    expect(await refusal()).toBe('already');
    expect(at(repo, 'task2')).toBe(head);
  });
});
