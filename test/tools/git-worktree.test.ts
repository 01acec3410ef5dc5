import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { addWorktree, discardHalfMade } from '../../src/tools/git-add.js';
import { branchInfo } from '../../src/tools/git-read.js';
import { asideOf, removeBrokenEntries, removeWorktree } from '../../src/tools/git-remove.js';
import { halfMadeWorktree, listWorktrees, worktreeState } from '../../src/tools/git-worktree.js';
import { commit, newRepo, sh, temporaryFolder, write } from './git-rig.js';

function setting(): { folder: string; source: string; path: string; base: string } {
  const folder = temporaryFolder();
  const source = newRepo(join(folder, 'source'));
  return { folder, source, path: join(folder, 'ws', 'api'), base: sh(source, 'rev-parse', 'HEAD') };
}

const branchesOf = (repo: string) =>
  sh(repo, 'for-each-ref', '--format=%(refname:short)', 'refs/heads').split('\n');

describe('addWorktree', () => {
  test('makes the worktree on a new branch without upstream, and finds it made', async () => {
    const { source, path, base } = setting();
    sh(source, 'config', 'branch.autoSetupMerge', 'always');
    const wanted = { source, path, branch: 'task/one', commit: base, existing: false };
    expect(await addWorktree(wanted)).toEqual({ made: true, head: base, saved: null });
    expect(await worktreeState(source, path, 'task/one')).toMatchObject({
      state: 'ready',
      branch: 'task/one',
      head: base,
      onBranch: true,
    });
    expect(await halfMadeWorktree(source, path, 'task/one')).toBeNull();
    expect(await addWorktree(wanted)).toMatchObject({ made: false });
    expect(() => sh(path, 'rev-parse', '@{upstream}')).toThrow();
  });

  test('runs no hook of the source', async () => {
    const { folder, source, path, base } = setting();
    write(source, '.git/hooks/post-checkout', `#!/bin/sh\ntouch '${folder}/ran'\n`, 0o755);
    await addWorktree({ source, path, branch: 'b', commit: base, existing: false });
    expect(existsSync(join(folder, 'ran'))).toBe(false);
  });

  test.each(['bare', 'linked', 'shallow', 'detached'])('works from a %s source', async (kind) => {
    const { folder, source, path, base } = setting();
    const from = join(folder, 'from');
    if (kind === 'bare') sh(folder, 'clone', '-q', '--bare', source, from);
    if (kind === 'linked') sh(source, 'worktree', 'add', '-q', '-b', 'l', from);
    if (kind === 'shallow') sh(folder, 'clone', '-q', '--depth=1', `file://${source}`, from);
    if (kind === 'detached') sh(source, 'worktree', 'add', '-q', '--detach', from);
    const added = await addWorktree({ source: from, path, branch: 'b', commit: base, existing: false });
    expect(added.head).toBe(base);
    expect((await worktreeState(from, path, 'b')).state).toBe('ready');
    expect(await removeWorktree({ source: from, path, force: false })).toMatchObject({ removed: true });
  });

  test('sixteen at once on one repository', async () => {
    const { folder, source, base } = setting();
    const all = Array.from({ length: 16 }, (_, index) =>
      addWorktree({
        source,
        path: join(folder, `w${index}`),
        branch: `b${index}`,
        commit: base,
        existing: false,
      }),
    );
    expect((await Promise.all(all)).every((each) => each.made)).toBe(true);
    expect(await listWorktrees(source)).toHaveLength(17);
  });

  test('a worktree that another git is just making is waited for', async () => {
    const { folder, source } = setting();
    // As far as that git came: a file of the worktree is there and empty.
    const theirs = join(source, '.git/worktrees/theirs');
    write(theirs, 'gitdir', `${folder}/theirs/.git\n`);
    write(theirs, 'HEAD', 'ref: refs/heads/theirs\n');
    write(theirs, 'commondir', '');
    expect(() => sh(source, 'worktree', 'list')).toThrow(/failed to read .*commondir/);
    const second = `[ -e '${folder}/once' ] && echo ../.. > '${theirs}/commondir'`;
    const lines = [
      '#!/bin/sh',
      second,
      `touch '${folder}/once'`,
      `PATH='${process.env.PATH}'`,
      'exec git "$@"',
    ];
    write(join(folder, 'bin'), 'git', `${lines.join('\n')}\n`, 0o755);
    const { PATH } = process.env;
    process.env.PATH = `${folder}/bin:${PATH}`;
    try {
      expect(await listWorktrees(source)).toHaveLength(2);
      write(theirs, 'commondir', '');
      rmSync(join(folder, 'once'));
      expect(await branchInfo(source, 'main')).toMatchObject({ checkedOutAt: source });
    } finally {
      process.env.PATH = PATH;
    }
  });

  test('checks an existing branch of the run out again, also where the folder was deleted', async () => {
    const { source, path, base } = setting();
    await addWorktree({ source, path, branch: 'b', commit: base, existing: false });
    const done = commit(path, 'new.txt', 'work\n');
    rmSync(path, { recursive: true });
    expect(await worktreeState(source, path, 'b')).toMatchObject({ state: 'prunable', branch: 'b' });
    const again = await addWorktree({ source, path, branch: 'b', commit: base, existing: true });
    expect(again).toEqual({ made: true, head: done, saved: null });
  });

  test('keeps the commits of a deleted folder that was on no branch', async () => {
    const { source, path, base } = setting();
    await addWorktree({ source, path, branch: 'b', commit: base, existing: false });
    sh(path, 'checkout', '-q', '--detach');
    const lost = commit(path, 'new.txt', 'work\n');
    rmSync(path, { recursive: true });
    const again = await addWorktree({ source, path, branch: 'b', commit: base, existing: true });
    expect(again.saved).not.toBeNull();
    expect(sh(source, 'rev-parse', again.saved ?? '')).toBe(lost);
  });

  test('a branch that is there says whose it is, and stays', async () => {
    const { folder, source, path, base } = setting();
    sh(source, 'worktree', 'add', '-q', '-b', 'theirs', join(folder, 'their place'));
    const taken = addWorktree({ source, path, branch: 'theirs', commit: base, existing: false });
    await expect(taken).rejects.toThrow(/theirs exists already.*by Ada.*their place/);
    const elsewhere = addWorktree({ source, path, branch: 'theirs', commit: base, existing: true });
    await expect(elsewhere).rejects.toThrow(/checked out at .*their place/);
    const gone = addWorktree({ source, path, branch: 'nope', commit: base, existing: true });
    await expect(gone).rejects.toThrow(/the branch nope is gone/);
    expect(branchesOf(source)).toEqual(['main', 'theirs']);
    expect(existsSync(path)).toBe(false);
  });

  test('a path that is taken says by what, and stays', async () => {
    const { folder, source, path, base } = setting();
    const add = () => addWorktree({ source, path, branch: 'b', commit: base, existing: false });
    write(path, 'mine.txt', 'mine');
    await expect(add()).rejects.toThrow(/taken by a folder with 1 entries/);
    rmSync(path, { recursive: true });
    newRepo(path);
    await expect(add()).rejects.toThrow(/taken by a checkout of another repository/);
    await expect(removeWorktree({ source, path, force: true })).rejects.toThrow(/left alone/);
    rmSync(path, { recursive: true });
    symlinkSync(source, path);
    await expect(add()).rejects.toThrow(/taken by a symbolic link|taken by a checkout/);
    rmSync(path);
    sh(source, 'worktree', 'add', '-q', '-b', 'other', path);
    await expect(add()).rejects.toThrow(/worktree on the branch other, not on b/);
    expect(branchesOf(source)).toEqual(['main', 'other']);
    expect((await worktreeState(source, source, 'main')).state).toBe('foreign');
    expect(readdirSync(folder)).toContain('source');
  });

  test('an empty folder is no obstacle', async () => {
    const { source, path, base } = setting();
    mkdirSync(path, { recursive: true });
    expect((await worktreeState(source, path, 'b')).state).toBe('missing');
    expect(await addWorktree({ source, path, branch: 'b', commit: base, existing: false })).toMatchObject({
      made: true,
    });
  });

  test('what a failed try made is gone, what was there stays', async () => {
    const { source, path, base } = setting();
    write(source, '.gitattributes', '*.txt filter=broken\n');
    const withFilter = commit(source, 'c.txt', 'c\n');
    sh(source, 'config', 'filter.broken.smudge', 'false');
    sh(source, 'config', 'filter.broken.required', 'true');
    const add = (existing: boolean) =>
      addWorktree({ source, path, branch: 'b', commit: withFilter, existing });
    await expect(add(false)).rejects.toThrow(/smudge filter/);
    expect(branchesOf(source)).toEqual(['main']);
    expect(existsSync(path)).toBe(false);
    expect(await listWorktrees(source)).toHaveLength(1);
    sh(source, 'branch', 'b', base);
    sh(source, 'branch', '-f', 'b', withFilter);
    await expect(add(true)).rejects.toThrow(/smudge filter/);
    expect(branchesOf(source)).toEqual(['b', 'main']);
  });

  test('a lock that goes away is waited out', async () => {
    const { source, path, base } = setting();
    const lock = join(source, '.git/refs/heads/b.lock');
    write(source, '.git/refs/heads/b.lock', '');
    let tries = 0;
    const added = await addWorktree({
      source,
      path,
      branch: 'b',
      commit: base,
      existing: false,
      onSpawn: () => {
        tries += 1;
        if (tries === 2) rmSync(lock);
      },
    });
    expect(added.made).toBe(true);
    expect(tries).toBeGreaterThan(1);
  });

  test('submodules are checked out, and none of their hooks run', async () => {
    const { folder, source, path } = setting();
    const library = newRepo(join(folder, 'library'));
    sh(source, 'submodule', '--quiet', 'add', library, 'lib');
    sh(source, 'commit', '-qm', 'lib');
    const template = join(folder, 'template');
    write(template, 'hooks/post-checkout', `#!/bin/sh\ntouch '${folder}/ran'\n`, 0o755);
    const env = {
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'protocol.file.allow',
      GIT_CONFIG_VALUE_0: 'always',
    };
    Object.assign(process.env, env, { GIT_TEMPLATE_DIR: template });
    try {
      const base = sh(source, 'rev-parse', 'HEAD');
      await addWorktree({ source, path, branch: 'b', commit: base, existing: false });
      expect(readFileSync(join(path, 'lib', 'a.txt'), 'utf8')).toBe('one\n');
      expect(existsSync(join(folder, 'ran'))).toBe(false);
    } finally {
      for (const name of [...Object.keys(env), 'GIT_TEMPLATE_DIR']) delete process.env[name];
    }
    await expect(removeWorktree({ source, path, force: false })).rejects.toThrow(/submodules/);
    expect(await removeWorktree({ source, path, force: true })).toMatchObject({ removed: true });
    expect(existsSync(path)).toBe(false);
  });
});

describe('a worktree add that was killed', () => {
  test('is found, discarded and made again', async () => {
    const { folder, source, path } = setting();
    const killer = join(folder, 'killer');
    write(folder, 'killer', '#!/bin/sh\nkill -9 0\n', 0o755);
    write(source, '.gitattributes', 'z.txt filter=killer\n');
    const base = commit(source, 'z.txt', 'z\n');
    sh(source, 'config', 'filter.killer.smudge', killer);
    // A process group of its own, as the killer ends all of it.
    const git = spawn('git', ['worktree', 'add', '-b', 'b', path, base], {
      cwd: source,
      detached: true,
      stdio: 'ignore',
    });
    expect(await once(git, 'exit')).toEqual([null, 'SIGKILL']);
    sh(source, 'config', '--unset', 'filter.killer.smudge');
    expect(await halfMadeWorktree(source, path, 'b')).not.toBeNull();
    const wanted = { source, path, branch: 'b', commit: base, existing: false };
    await expect(addWorktree(wanted)).rejects.toThrow(/never finished/);
    await discardHalfMade({ source, path, branch: 'b', branchExisted: false, commit: base });
    expect((await worktreeState(source, path, 'b')).state).toBe('missing');
    expect(branchesOf(source)).toEqual(['main']);
    expect(await addWorktree(wanted)).toMatchObject({ made: true });
  });

  test('within our own call: an error that leaves nothing', async () => {
    const { folder, source, path } = setting();
    write(folder, 'killer', '#!/bin/sh\nkill -9 0\n', 0o755);
    write(source, '.gitattributes', 'z.txt filter=killer\n');
    const base = commit(source, 'z.txt', 'z\n');
    sh(source, 'config', 'filter.killer.smudge', join(folder, 'killer'));
    const add = addWorktree({ source, path, branch: 'b', commit: base, existing: false });
    await expect(add).rejects.toThrow(/was killed/);
    expect(existsSync(path)).toBe(false);
    expect(branchesOf(source)).toEqual(['main']);
  });

  test('before or after the folder: found and discarded too', async () => {
    const { source, path, base } = setting();
    await addWorktree({ source, path, branch: 'b', commit: base, existing: false });
    write(join(source, '.git/worktrees/api'), 'locked', 'initializing');
    rmSync(path, { recursive: true });
    expect(await halfMadeWorktree(source, path, 'b')).not.toBeNull();
    await discardHalfMade({ source, path, branch: 'b', branchExisted: false, commit: base });
    expect((await worktreeState(source, path, 'b')).state).toBe('missing');
    write(path, '.git', `gitdir: ${source}/.git/worktrees/api\n`);
    expect(await halfMadeWorktree(source, path, 'b')).not.toBeNull();
    await discardHalfMade({ source, path, branch: 'b', branchExisted: false, commit: base });
    expect(existsSync(path)).toBe(false);
  });

  test('an agent that is writing its index is no half-made worktree', async () => {
    const { source, path, base } = setting();
    await addWorktree({ source, path, branch: 'b', commit: base, existing: false });
    write(join(source, '.git/worktrees/api'), 'index.lock', '');
    expect(await halfMadeWorktree(source, path, 'b')).toBeNull();
  });

  test('the branch stays where it was there before, or has moved on', async () => {
    const { source, path, base } = setting();
    await addWorktree({ source, path, branch: 'b', commit: base, existing: false });
    write(join(source, '.git/worktrees/api'), 'locked', 'initializing');
    await discardHalfMade({ source, path, branch: 'b', branchExisted: true, commit: base });
    expect(branchesOf(source)).toEqual(['b', 'main']);
    const moved = commit(source, 'x.txt', 'x\n');
    sh(source, 'branch', '-f', 'b', moved);
    await discardHalfMade({ source, path, branch: 'b', branchExisted: false, commit: base });
    expect(branchesOf(source)).toEqual(['b', 'main']);
  });
});

describe('removeWorktree', () => {
  test('a lock keeps it only from being removed without force, also where the folder is gone', async () => {
    const { source, path } = setting();
    sh(source, 'worktree', 'add', '-q', '-b', 'b', path);
    sh(path, 'worktree', 'lock', '--reason', 'mine', path);
    await expect(removeWorktree({ source, path, force: false })).rejects.toThrow(/locked working tree/);
    expect(await removeWorktree({ source, path, force: true })).toEqual({ removed: true, saved: null });
    expect(existsSync(path)).toBe(false);

    sh(source, 'worktree', 'add', '-q', path, 'b');
    sh(path, 'worktree', 'lock', path);
    rmSync(path, { recursive: true });
    expect(await removeWorktree({ source, path, force: true })).toMatchObject({ removed: true });
    expect(await listWorktrees(source)).toHaveLength(1);
  });

  test('removes worktree and entry, keeps the branch; gone is fine', async () => {
    const { source, path, base } = setting();
    await addWorktree({ source, path, branch: 'b', commit: base, existing: false });
    write(path, 'untracked', 'x');
    await expect(removeWorktree({ source, path, force: false })).rejects.toThrow(/untracked/);
    expect(await removeWorktree({ source, path, force: true })).toEqual({ removed: true, saved: null });
    expect(await removeWorktree({ source, path, force: true })).toEqual({ removed: false, saved: null });
    expect(branchesOf(source)).toEqual(['b', 'main']);
  });

  test('a deleted folder: only its own entry goes', async () => {
    const { folder, source, path, base } = setting();
    await addWorktree({ source, path, branch: 'b', commit: base, existing: false });
    const theirs = join(folder, 'theirs');
    sh(source, 'worktree', 'add', '-q', '-b', 'theirs', theirs);
    rmSync(path, { recursive: true });
    rmSync(theirs, { recursive: true });
    expect(await removeWorktree({ source, path, force: false })).toMatchObject({ removed: true });
    expect((await listWorktrees(source)).map((each) => each.path)).toEqual([source, theirs]);
  });

  test('a removal that a crash cut off is finished, wherever that was', async () => {
    const { source, path, base } = setting();
    await addWorktree({ source, path, branch: 'b', commit: base, existing: false });
    renameSync(path, asideOf(path));
    expect(await removeWorktree({ source, path, force: true })).toMatchObject({ removed: true });
    expect(existsSync(asideOf(path))).toBe(false);
    expect(await listWorktrees(source)).toHaveLength(1);

    mkdirSync(asideOf(path));
    expect(await removeWorktree({ source, path, force: true })).toMatchObject({ removed: false });
    expect(existsSync(asideOf(path))).toBe(false);
  });

  test('entries that say no place are removed, where they are named after the worktree', async () => {
    const { source, path, base } = setting();
    await addWorktree({ source, path, branch: 'b', commit: base, existing: false });
    const entries = join(source, '.git/worktrees');
    const named = basename(path);
    for (const name of [`${named}1`, `${named}-other`]) mkdirSync(join(entries, name));
    write(entries, `${named}1/locked`, 'initializing');
    await removeBrokenEntries(source, path);
    expect(readdirSync(entries).sort()).toEqual([named, `${named}-other`]);
    expect(await listWorktrees(source)).toHaveLength(2);
  });

  test('read-only folders do not stop it', async () => {
    const { source, path, base } = setting();
    await addWorktree({ source, path, branch: 'b', commit: base, existing: false });
    write(path, 'cache/module/file', 'x');
    chmodSync(join(path, 'cache/module'), 0o555);
    await removeWorktree({ source, path, force: true });
    expect(existsSync(path)).toBe(false);
    expect(await listWorktrees(source)).toHaveLength(1);
  });
});
