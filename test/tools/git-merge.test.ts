import { chmodSync, existsSync, lstatSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  createMerge,
  isDelivered,
  type MergePlan,
  planMerge,
  type ReadyMerge,
} from '../../src/tools/git-merge.js';
import { commit, newRepo, sh, temporaryFolder, write } from './git-rig.js';

const TICKET = 'MW-1';

interface Setting {
  readonly folder: string;
  readonly repo: string;
  /** The worktree of the branch `task`. */
  readonly task: string;
}

/** A clone on the branch `other`, so that `main` is checked out nowhere, and a worktree of the branch `task`. */
function setting(): Setting {
  const folder = temporaryFolder();
  const repo = newRepo(join(folder, 'repo'));
  sh(repo, 'checkout', '-q', '-b', 'other');
  const task = join(folder, 'task');
  sh(repo, 'worktree', 'add', '-q', '-b', 'task', task, 'main');
  return { folder, repo, task };
}

function onMain(repo: string, name: string, text: string): string {
  sh(repo, 'checkout', '-q', 'main');
  const id = commit(repo, name, text);
  sh(repo, 'checkout', '-q', 'other');
  return id;
}

function planned(repo: string, head?: string): Promise<MergePlan> {
  const commitId = head ?? sh(repo, 'rev-parse', 'task');
  return planMerge({ repo, base: 'main', branch: 'task', head: commitId, ticket: TICKET });
}

async function ready(repo: string): Promise<ReadyMerge> {
  const plan = await planned(repo);
  if (plan.kind !== 'ready') throw new Error(JSON.stringify(plan));
  return plan;
}

/** All that a look must leave alone: refs, objects, index, files. */
function trace(repo: string): string {
  return [
    sh(repo, 'for-each-ref'),
    sh(repo, 'count-objects', '-v'),
    sh(repo, '--no-optional-locks', 'status', '--porcelain=v2', '--branch'),
    String(lstatSync(join(repo, '.git', 'index')).mtimeMs),
  ].join('\n');
}

describe('planMerge', () => {
  test('fast-forwards where it can', async () => {
    const { repo, task } = setting();
    const from = sh(repo, 'rev-parse', 'main');
    const head = commit(task, 'b.txt', 'b\n');
    const plan = await ready(repo);
    expect(plan).toMatchObject({ from, onto: from, head, how: 'fast_forward', checkouts: [] });
    expect(await createMerge(repo, plan)).toBe(head);
  });

  test('makes a merge commit where both sides went on, and leaves no trace before', async () => {
    const { repo, task } = setting();
    const head = commit(task, 'b.txt', 'b\n');
    const from = onMain(repo, 'c.txt', 'c\n');
    const before = trace(repo);
    const plan = await ready(repo);
    expect(plan.how).toBe('merge');
    expect(trace(repo)).toBe(before);
    const to = await createMerge(repo, plan);
    expect(sh(repo, 'show', '-s', '--format=%P%n%s%n%an <%ae>', to).split('\n')).toEqual([
      `${from} ${head}`,
      'Merge task (MW-1)',
      'metawsm <metawsm@localhost>',
    ]);
    expect(sh(repo, 'ls-tree', '-r', '--name-only', to).split('\n')).toEqual(['a.txt', 'b.txt', 'c.txt']);
    expect(sh(repo, 'rev-parse', 'main')).toBe(from);
  });

  test('merges as the caller where git knows the name', async () => {
    const { repo, task } = setting();
    commit(task, 'b.txt', 'b\n');
    onMain(repo, 'c.txt', 'c\n');
    sh(repo, 'config', 'user.name', 'Eve');
    sh(repo, 'config', 'user.email', 'eve@example.org');
    const to = await createMerge(repo, await ready(repo));
    expect(sh(repo, 'show', '-s', '--format=%an %ce', to)).toBe('Eve eve@example.org');
  });

  test('a branch that is in the base needs nothing', async () => {
    const { repo } = setting();
    const tip = onMain(repo, 'c.txt', 'c\n');
    const plan = await ready(repo);
    expect(plan).toMatchObject({ how: 'nothing', from: tip, onto: tip });
    expect(await createMerge(repo, plan)).toBe(tip);
  });

  test('names every conflict, whatever the file is called', async () => {
    const { repo, task } = setting();
    const odd = 'line\nbreak "ünï" \t';
    write(task, odd, 'theirs\n');
    write(task, 'fine.txt', 'x\n');
    commit(task, 'a.txt', 'theirs\n');
    write(repo, odd, 'ours\n');
    sh(repo, 'checkout', '-q', 'main');
    commit(repo, 'a.txt', 'ours\n');
    sh(repo, 'checkout', '-q', 'other');
    const before = trace(repo);
    const plan = await planned(repo);
    expect(plan).toMatchObject({ kind: 'conflict', conflicts: ['a.txt', odd] });
    expect(trace(repo)).toBe(before);
  });

  test('deleted here and changed there is a conflict; a rename that was changed there is not', async () => {
    const { repo, task } = setting();
    const text = Array.from({ length: 20 }, (_, n) => `line ${n}\n`).join('');
    const start = onMain(repo, 'long.txt', text);
    sh(task, 'reset', '-q', '--hard', start);
    sh(task, 'mv', 'long.txt', 'moved.txt');
    sh(task, 'commit', '-qm', 'rename');
    onMain(repo, 'long.txt', text.replace('line 3\n', 'LINE 3\n'));
    const plan = await ready(repo);
    const to = await createMerge(repo, plan);
    expect(sh(repo, 'show', `${to}:moved.txt`)).toContain('LINE 3');
    sh(task, 'rm', '-q', 'a.txt');
    sh(task, 'commit', '-qm', 'delete');
    onMain(repo, 'a.txt', 'changed\n');
    expect(await planned(repo)).toMatchObject({ kind: 'conflict', conflicts: ['a.txt'] });
  });

  test('keeps executable bits and submodule pointers', async () => {
    const { folder, repo, task } = setting();
    const library = newRepo(join(folder, 'library'));
    sh(task, 'submodule', '--quiet', 'add', library, 'lib');
    write(task, 'run.sh', '#!/bin/sh\n', 0o755);
    chmodSync(join(task, 'a.txt'), 0o755);
    sh(task, 'add', '--all');
    sh(task, 'commit', '-qm', 'more');
    onMain(repo, 'c.txt', 'c\n');
    const to = await createMerge(repo, await ready(repo));
    const modes = sh(repo, 'ls-tree', '-r', '--format=%(objectmode) %(path)', to).split('\n');
    expect(modes).toEqual([
      '100644 .gitmodules',
      '100755 a.txt',
      '100644 c.txt',
      '160000 lib',
      '100755 run.sh',
    ]);
  });

  test('runs no merge driver, no filter and no hook of the configuration', async () => {
    const { folder, repo, task } = setting();
    const marker = join(folder, 'ran');
    write(task, '.gitattributes', '*.txt merge=a=b filter=f\n');
    commit(task, 'a.txt', 'theirs\n');
    onMain(repo, 'a.txt', 'ours\n');
    sh(repo, 'config', 'merge.a=b.driver', `touch '${marker}'; true`);
    sh(repo, 'config', 'merge.default', 'a=b');
    sh(repo, 'config', 'merge.renormalize', 'true');
    for (const kind of ['clean', 'smudge']) sh(repo, 'config', `filter.f.${kind}`, `touch '${marker}'; cat`);
    for (const hook of ['reference-transaction', 'post-merge', 'commit-msg', 'post-checkout']) {
      write(repo, `.git/hooks/${hook}`, `#!/bin/sh\ntouch '${marker}'\n`, 0o755);
    }
    const plan = await planned(repo);
    expect(plan).toMatchObject({ kind: 'conflict', conflicts: ['a.txt'] });
    expect(plan.kind === 'conflict' && plan.problem).toContain('a=b');
    expect(existsSync(marker)).toBe(false);
    // The driver is one that git by itself would run.
    sh(repo, 'merge-tree', '--write-tree', 'main', 'task');
    expect(existsSync(marker)).toBe(true);
  });

  test('the base on origin: behind is fast-forwarded, ahead stays, diverged and missing are problems', async () => {
    const { folder, repo, task } = setting();
    const origin = join(folder, 'origin.git');
    sh(folder, 'clone', '-q', '--bare', repo, origin);
    sh(repo, 'remote', 'add', 'origin', origin);
    sh(repo, 'fetch', '-q', 'origin');
    const from = sh(repo, 'rev-parse', 'main');
    const head = commit(task, 'b.txt', 'b\n');
    const theirs = join(folder, 'theirs');
    sh(folder, 'clone', '-q', origin, theirs, '-b', 'main');
    const onOrigin = commit(theirs, 'd.txt', 'd\n');
    sh(theirs, 'push', '-q', 'origin', 'main');
    sh(repo, 'fetch', '-q', 'origin');
    const behind = await ready(repo);
    expect(behind).toMatchObject({ from, onto: onOrigin, how: 'merge' });
    expect(sh(repo, 'show', '-s', '--format=%P', await createMerge(repo, behind))).toBe(
      `${onOrigin} ${head}`,
    );

    sh(theirs, 'pull', '-q', '--no-rebase', '--no-edit', repo, 'task');
    sh(theirs, 'push', '-q', 'origin', 'main');
    sh(repo, 'fetch', '-q', 'origin');
    expect(await ready(repo)).toMatchObject({ from, how: 'nothing', onto: sh(theirs, 'rev-parse', 'HEAD') });

    const own = onMain(repo, 'own.txt', 'x\n');
    const diverged = await planned(repo);
    expect(diverged).toMatchObject({ kind: 'problem' });
    expect(diverged.kind === 'problem' && diverged.problem).toMatch(/diverged \(1 and 3 commits/);
    sh(repo, 'remote', 'remove', 'origin');
    sh(repo, 'update-ref', 'refs/remotes/origin/main', onOrigin);
    expect(await ready(repo)).toMatchObject({ from: own, onto: own });

    sh(repo, 'remote', 'add', 'origin', origin);
    sh(repo, 'update-ref', '-d', 'refs/heads/main');
    expect(await ready(repo)).toMatchObject({ from: null, onto: onOrigin });
    sh(repo, 'update-ref', '-d', 'refs/remotes/origin/main');
    expect(await planned(repo)).toMatchObject({
      problem: expect.stringContaining('neither a local branch main nor origin/main'),
    });
  });

  test('a bare repository', async () => {
    const { folder, repo, task } = setting();
    commit(task, 'b.txt', 'b\n');
    onMain(repo, 'c.txt', 'c\n');
    const bare = join(folder, 'bare "x": y.git');
    sh(folder, 'clone', '-q', '--bare', repo, bare);
    sh(bare, 'symbolic-ref', 'HEAD', 'refs/heads/main');
    const plan = await ready(bare);
    expect(plan).toMatchObject({ how: 'merge', checkouts: [] });
    expect(sh(bare, 'cat-file', '-t', await createMerge(bare, plan))).toBe('commit');
  });

  test('no common history, a base that is only a name, a missing commit, a rebase of the base', async () => {
    const { repo, task } = setting();
    sh(task, 'checkout', '-q', '--orphan', 'fresh');
    const alone = commit(task, 'z.txt', 'z\n');
    expect(await planned(repo, alone)).toMatchObject({ problem: expect.stringContaining('unrelated') });
    expect(await planned(repo, '1'.repeat(40))).toMatchObject({
      problem: expect.stringContaining('no commit'),
    });
    onMain(repo, 'a.txt', 'main\n');
    sh(repo, 'checkout', '-q', 'other');
    commit(repo, 'a.txt', 'other\n');
    sh(repo, 'checkout', '-q', 'main');
    expect(() => sh(repo, 'rebase', 'other')).toThrow();
    expect(await planned(repo)).toMatchObject({ problem: expect.stringContaining('rebase of main') });
    sh(repo, 'rebase', '--abort');
    sh(repo, 'checkout', '-q', 'other');
    sh(repo, 'branch', '-m', 'main', 'trunk');
    sh(repo, 'symbolic-ref', 'refs/heads/main', 'refs/heads/trunk');
    expect(await planned(repo)).toMatchObject({ problem: expect.stringContaining('refs/heads/trunk') });
  });
});

describe('the checkouts of the base', () => {
  /** `main` is checked out in the clone; `task` changes, adds and deletes. */
  function checkedOut(): Setting {
    const at = setting();
    sh(at.repo, 'checkout', '-q', 'main');
    write(at.repo, '.gitignore', '*.log\n');
    write(at.repo, 'gone.txt', 'x\n');
    const start = commit(at.repo, 'beside.txt', 'x\n');
    sh(at.task, 'reset', '-q', '--hard', start);
    write(at.task, 'a.txt', 'changed\n');
    rmSync(join(at.task, 'gone.txt'));
    commit(at.task, 'deep/new.txt', 'new\n');
    return at;
  }

  const stage = (repo: string, name: string) => {
    write(repo, name, 'dirty\n');
    sh(repo, 'add', name);
  };
  const overlaps = async (repo: string) => (await ready(repo)).checkouts.flatMap((each) => each.overlaps);

  test('clean, and dirty beside the change', async () => {
    const { repo } = checkedOut();
    expect((await ready(repo)).checkouts).toEqual([{ path: repo, problem: null, overlaps: [] }]);
    write(repo, 'beside.txt', 'dirty\n');
    write(repo, 'deep/other.txt', 'untracked\n');
    sh(repo, 'add', 'beside.txt');
    const before = trace(repo);
    expect((await ready(repo)).checkouts).toEqual([{ path: repo, problem: null, overlaps: [] }]);
    expect(trace(repo)).toBe(before);
  });

  test.each<[string, readonly string[], (repo: string) => void]>([
    ['a changed file', ['a.txt'], (repo) => write(repo, 'a.txt', 'dirty\n')],
    ['a staged change', ['a.txt'], (repo) => stage(repo, 'a.txt')],
    ['a changed mode', ['a.txt'], (repo) => chmodSync(join(repo, 'a.txt'), 0o755)],
    ['a file deleted that is changed', ['a.txt'], (repo) => rmSync(join(repo, 'a.txt'))],
    ['a change to a deleted file', ['gone.txt'], (repo) => write(repo, 'gone.txt', 'dirty\n')],
    ['an untracked file', ['deep/new.txt'], (repo) => write(repo, 'deep/new.txt', 'mine\n')],
    ['a file where a folder goes', ['deep'], (repo) => write(repo, 'deep', 'mine\n')],
    ['a folder where a file goes', ['deep/new.txt/x'], (repo) => write(repo, 'deep/new.txt/x', 'mine\n')],
    ['a repository where a file goes', ['deep/new.txt'], (repo) => void newRepo(join(repo, 'deep/new.txt'))],
  ])('%s is in the way', async (_, files, change) => {
    const { repo } = checkedOut();
    change(repo);
    const before = trace(repo);
    expect(await overlaps(repo)).toEqual(files);
    expect(trace(repo)).toBe(before);
  });

  test('an ignored file is in the way, too', async () => {
    const { repo, task } = checkedOut();
    write(task, 'x.log', 'theirs\n');
    write(task, 'logs.log/inner', 'theirs\n');
    sh(task, 'add', '--force', 'x.log', 'logs.log');
    sh(task, 'commit', '-qm', 'logs');
    write(repo, 'x.log', 'mine\n');
    write(repo, 'logs.log', 'mine\n');
    expect(await overlaps(repo)).toEqual(['logs.log', 'x.log']);
  });

  test('what is already as the branch has it is in nobody’s way', async () => {
    const { repo } = checkedOut();
    write(repo, 'deep/new.txt', 'new\n');
    rmSync(join(repo, 'gone.txt'));
    expect((await ready(repo)).checkouts).toEqual([{ path: repo, problem: null, overlaps: [] }]);
  });

  test('an operation in progress, another git at work, a hidden change', async () => {
    const { repo } = checkedOut();
    const problem = async () => (await ready(repo)).checkouts[0]?.problem;
    writeFileSync(join(repo, '.git', 'MERGE_HEAD'), `${sh(repo, 'rev-parse', 'other')}\n`);
    expect(await problem()).toContain('a merge is in progress');
    rmSync(join(repo, '.git', 'MERGE_HEAD'));
    writeFileSync(join(repo, '.git', 'index.lock'), '');
    expect(await problem()).toContain('index.lock');
    rmSync(join(repo, '.git', 'index.lock'));
    sh(repo, 'update-index', '--assume-unchanged', 'a.txt');
    write(repo, 'a.txt', 'hidden\n');
    expect(await problem()).toContain("Entry 'a.txt' not uptodate");
    expect(readFileSync(join(repo, 'a.txt'), 'utf8')).toBe('hidden\n');
  });

  test('in another worktree, in a lost one, in a lost one that is locked', async () => {
    const { folder, repo } = checkedOut();
    sh(repo, 'checkout', '-q', 'other');
    const elsewhere = join(folder, 'else where');
    sh(repo, 'worktree', 'add', '-q', elsewhere, 'main');
    write(elsewhere, 'a.txt', 'dirty\n');
    expect((await ready(repo)).checkouts).toEqual([{ path: elsewhere, problem: null, overlaps: ['a.txt'] }]);
    rmSync(elsewhere, { recursive: true });
    expect((await ready(repo)).checkouts).toEqual([]);
    sh(repo, 'worktree', 'lock', elsewhere);
    expect((await ready(repo)).checkouts[0]?.problem).toContain('locked');
  });
});

describe('isDelivered', () => {
  test('by ancestry, in the base or on origin', async () => {
    const { repo, task } = setting();
    const head = commit(task, 'b.txt', 'b\n');
    expect(await isDelivered(repo, head, 'main')).toBeNull();
    sh(repo, 'update-ref', 'refs/remotes/origin/main', head);
    expect(await isDelivered(repo, head, 'main')).toEqual({
      ref: 'refs/remotes/origin/main',
      by: 'ancestor',
    });
    sh(repo, 'update-ref', 'refs/heads/main', head);
    expect(await isDelivered(repo, head, 'main')).toEqual({ ref: 'refs/heads/main', by: 'ancestor' });
  });

  test('squashed, also where the base went on; not where a part is missing, or was taken out again', async () => {
    const { repo, task } = setting();
    commit(task, 'a.txt', 'two\n');
    commit(task, 'b.txt', 'b\n');
    const head = commit(task, 'a.txt', 'three\n');
    onMain(repo, 'b.txt', 'b\n');
    expect(await isDelivered(repo, head, 'main')).toBeNull();
    onMain(repo, 'a.txt', 'three\n');
    onMain(repo, 'c.txt', 'c\n');
    const before = trace(repo);
    expect(await isDelivered(repo, head, 'main')).toEqual({ ref: 'refs/heads/main', by: 'same_changes' });
    expect(trace(repo)).toBe(before);
    onMain(repo, 'a.txt', 'one\n');
    expect(await isDelivered(repo, head, 'main')).toBeNull();
  });

  test('white space counts, and commits that cancel each other out are not delivered', async () => {
    const { repo, task } = setting();
    const head = commit(task, 'a.txt', 'one\n  two\n');
    onMain(repo, 'a.txt', 'one\ntwo\n');
    expect(await isDelivered(repo, head, 'main')).toBeNull();
    const reverted = commit(task, 'a.txt', 'one\n');
    expect(await isDelivered(repo, reverted, 'main')).toBeNull();
    expect(await isDelivered(repo, '1'.repeat(40), 'main')).toBeNull();
    expect(await isDelivered(repo, head, 'nowhere')).toBeNull();
  });
});
