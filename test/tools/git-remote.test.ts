import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { cloneInto, fetchBase, resolveBase, resolveBaseOfUrl } from '../../src/tools/git-remote.js';
import { commit, newRepo, sh, temporaryFolder, write } from './git-rig.js';

function clone(): { folder: string; origin: string; repo: string; first: string } {
  const folder = temporaryFolder();
  const origin = newRepo(join(folder, 'origin'));
  sh(folder, 'clone', '-q', origin, 'repo');
  return { folder, origin, repo: join(folder, 'repo'), first: sh(origin, 'rev-parse', 'HEAD') };
}

const refsOf = (repo: string) => sh(repo, 'for-each-ref', '--format=%(refname) %(objectname)');

describe('resolveBase', () => {
  test('asks origin without fetching; offline takes what was fetched', async () => {
    const { origin, repo, first } = clone();
    const second = commit(origin, 'b.txt', 'two\n');
    const before = refsOf(repo);
    const ref = 'refs/remotes/origin/main';
    expect(await resolveBase(repo, 'main', { offline: false })).toEqual({
      from: 'origin',
      ref,
      commit: second,
    });
    expect(await resolveBase(repo, 'main', { offline: true })).toEqual({
      from: 'origin',
      ref,
      commit: first,
    });
    expect(refsOf(repo)).toBe(before);
    expect(existsSync(join(repo, '.git/FETCH_HEAD'))).toBe(false);
  });

  test('the local branch where origin lacks it, or there is no origin', async () => {
    const { origin, repo, first } = clone();
    sh(repo, 'branch', 'own');
    // ls-remote matches ends of names: this must not be taken for it.
    sh(origin, 'update-ref', 'refs/heads/x/refs/heads/own', commit(origin, 'c.txt', 'c\n'));
    const local = { from: 'local', ref: 'refs/heads/own', commit: first };
    expect(await resolveBase(repo, 'own', { offline: false })).toEqual(local);
    expect(await resolveBase(repo, 'own', { offline: true })).toEqual(local);
    expect(await resolveBase(origin, 'main', { offline: false })).toMatchObject({ from: 'local' });
  });

  test('a branch that is nowhere: a sentence that names both', async () => {
    const { repo, origin } = clone();
    const base = await resolveBase(repo, 'nope', { offline: false });
    expect(base).toEqual({ problem: expect.stringMatching(/origin\/nope.* branch nope/) });
    expect(await resolveBase(origin, 'nope', { offline: false })).toEqual({
      problem: expect.stringMatching(/branch nope.*origin\/nope/),
    });
  });

  test('HEAD is the current commit; an empty repository has none', async () => {
    const { folder, repo, first } = clone();
    expect(await resolveBase(repo, 'HEAD', { offline: false })).toEqual({
      from: 'local',
      ref: 'HEAD',
      commit: first,
    });
    sh(folder, 'init', '-q', 'empty');
    const empty = join(folder, 'empty');
    expect(await resolveBase(empty, 'HEAD', { offline: false })).toHaveProperty('problem');
    expect(await resolveBase(empty, 'main', { offline: false })).toHaveProperty('problem');
  });

  test('an unreachable origin is said, and offline does without it', async () => {
    const { repo, folder, first } = clone();
    sh(repo, 'remote', 'set-url', 'origin', join(folder, 'gone'));
    expect(await resolveBase(repo, 'main', { offline: false })).toEqual({
      unreachable: expect.stringContaining('gone'),
    });
    expect(await resolveBase(repo, 'main', { offline: true })).toMatchObject({ commit: first });
  });

  test('ssh is told never to ask, unless the user chose an own command', async () => {
    const { repo, folder } = clone();
    const bin = join(folder, 'bin');
    write(bin, 'ssh', `#!/bin/sh\necho "ssh $*" >&2\nexit 255\n`, 0o755);
    write(bin, 'mine', `#!/bin/sh\necho "mine $*" >&2\nexit 255\n`, 0o755);
    sh(repo, 'remote', 'set-url', 'origin', 'ssh://git@example.org/x');
    const path = process.env.PATH;
    process.env.PATH = `${bin}:${path}`;
    try {
      const ask = () => resolveBase(repo, 'main', { offline: false });
      expect(await ask()).toEqual({ unreachable: expect.stringContaining('-oBatchMode=yes') });
      sh(repo, 'config', 'core.sshCommand', 'mine');
      expect(await ask()).toEqual({ unreachable: expect.stringContaining('mine ') });
    } finally {
      process.env.PATH = path;
    }
  });

  test('the base of a url that is not cloned', async () => {
    const { folder, origin, first } = clone();
    const base = { from: 'origin', ref: 'refs/remotes/origin/main' };
    const ask = (branch: string, offline = false) => resolveBaseOfUrl(folder, origin, branch, { offline });
    expect(await ask('main')).toEqual({ ...base, commit: first });
    expect(await ask('main', true)).toEqual({ ...base, commit: null });
    expect(await ask('HEAD')).toEqual({ from: 'local', ref: 'HEAD', commit: first });
    expect(await ask('nope')).toHaveProperty('problem');
    expect(await resolveBaseOfUrl(folder, join(folder, 'gone'), 'main', { offline: false })).toHaveProperty(
      'unreachable',
    );
  });
});

describe('fetchBase', () => {
  test('fetches that branch and nothing else', async () => {
    const { origin, repo } = clone();
    const second = commit(origin, 'b.txt', 'two\n');
    sh(origin, 'tag', 'v1');
    sh(origin, 'branch', 'other');
    const fetched = await fetchBase(repo, 'main');
    expect(fetched).toEqual({ ref: 'refs/remotes/origin/main', commit: second });
    expect(sh(repo, 'tag')).toBe('');
    expect(refsOf(repo)).not.toContain('other');
    expect(await fetchBase(repo, 'main')).toEqual(fetched);
  });

  test('follows a rewritten base, works on a bare clone, and says why it fails', async () => {
    const { folder, origin, repo } = clone();
    sh(origin, 'commit', '-q', '--amend', '-m', 'rewritten');
    expect((await fetchBase(repo, 'main')).commit).toBe(sh(origin, 'rev-parse', 'HEAD'));
    sh(folder, 'clone', '-q', '--bare', origin, 'bare');
    expect((await fetchBase(join(folder, 'bare'), 'main')).commit).toBe(sh(origin, 'rev-parse', 'HEAD'));
    await expect(fetchBase(repo, 'nope')).rejects.toThrow(/couldn't find remote ref/);
  });
});

describe('cloneInto', () => {
  test('clones once, whole or not at all', async () => {
    const { folder, origin } = clone();
    const path = join(folder, 'clones', 'x');
    expect(await cloneInto(origin, path)).toEqual({ made: true, commonDir: join(path, '.git') });
    expect(await cloneInto(origin, path)).toEqual({ made: false, commonDir: join(path, '.git') });
    await expect(cloneInto(join(folder, 'other'), path)).rejects.toThrow(/has the origin .*origin/);
    await expect(cloneInto(join(folder, 'gone'), join(folder, 'clones', 'y'))).rejects.toThrow(/gone/);
    expect(readdirSync(join(folder, 'clones'))).toEqual(['x']);
    mkdirSync(join(folder, 'clones', 'empty'));
    expect(await cloneInto(origin, join(folder, 'clones', 'empty'))).toMatchObject({ made: true });
  });

  test('something else at the path stays; what a dead clone left is removed', async () => {
    const { folder, origin } = clone();
    const clones = join(folder, 'clones');
    write(join(clones, 'x'), 'file', '');
    await expect(cloneInto(origin, join(clones, 'x'))).rejects.toThrow(/is no clone/);
    write(join(clones, '.y.cloning-999999999-0a0b'), 'file', '');
    write(join(clones, `.y.cloning-${process.pid}-0a0b`), 'file', '');
    await cloneInto(origin, join(clones, 'y'));
    expect(readdirSync(clones).sort()).toEqual([`.y.cloning-${process.pid}-0a0b`, 'x', 'y']);
  });
});
