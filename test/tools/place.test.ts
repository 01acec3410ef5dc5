import { existsSync, lstatSync, mkdirSync, readFileSync, readlinkSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { worktreeStatus } from '../../src/tools/git-status.js';
import { braceless, copyInto, linkInto } from '../../src/tools/place.js';
import { commit, newRepo, sh, temporaryFolder, write } from './git-rig.js';

function setting(): { folder: string; source: string; path: string } {
  const folder = temporaryFolder();
  const source = newRepo(join(folder, 'source'));
  commit(source, '.gitignore', 'ignored/\n.env\n');
  const path = join(folder, 'ws', 'api');
  sh(source, 'worktree', 'add', '-q', '-b', 'task', path);
  return { folder, source, path };
}

test('braces are written out', () => {
  expect(braceless('a{b,c}d')).toEqual(['abd', 'acd']);
  expect(braceless('{a,b/{c,d}}/{e,f}')).toEqual(['a/e', 'a/f', 'b/c/e', 'b/c/f', 'b/d/e', 'b/d/f']);
  expect(braceless('a{b')).toEqual(['a{b']);
});

describe('copyInto', () => {
  test('copies untracked and ignored files with their modes, never tracked ones', async () => {
    const { source, path } = setting();
    write(source, '.env', 'SECRET\n', 0o600);
    write(source, 'ignored/deep/run', '#!/bin/sh\n', 0o755);
    write(source, 'ignored/with space', 'x');
    write(source, 'config/one.local', '1');
    write(source, 'config/two.local', '2');
    write(source, 'config/three.txt', '3');
    write(source, 'a.txt', 'changed but tracked\n');
    const globs = ['.env', 'ignored', './config/{one,two}.local', '*.txt'];
    const result = await copyInto(source, path, globs);
    expect(Object.keys(result.placed).sort()).toEqual([
      '.env',
      'config/one.local',
      'config/two.local',
      'ignored/deep/run',
      'ignored/with space',
    ]);
    expect(result.warnings).toEqual([expect.stringMatching(/^copy \*\.txt: no untracked file/)]);
    expect(lstatSync(join(path, '.env')).mode & 0o777).toBe(0o600);
    expect(lstatSync(join(path, 'ignored/deep/run')).mode & 0o777).toBe(0o755);
    expect(readFileSync(join(path, 'a.txt'), 'utf8')).toBe('one\n');
    expect((await worktreeStatus(path, { placed: result.placed })).dirtyFiles).toEqual([]);
    expect((await copyInto(source, path, globs)).placed).toEqual(result.placed);
  });

  test('two stars cross folders, one does not', async () => {
    const { source, path } = setting();
    for (const name of ['x.key', 'a/x.key', 'a/b/x.key']) write(source, name, name);
    expect(Object.keys((await copyInto(source, path, ['*.key'])).placed)).toEqual(['x.key']);
    expect(Object.keys((await copyInto(source, path, ['**/*.key'])).placed)).toHaveLength(3);
  });

  test('nothing different is overwritten', async () => {
    const { source, path } = setting();
    write(source, '.env', 'theirs');
    write(path, '.env', 'mine');
    const result = await copyInto(source, path, ['.env']);
    expect(result).toEqual({ placed: {}, warnings: ['copy .env: something else is there, which is kept'] });
    expect(readFileSync(join(path, '.env'), 'utf8')).toBe('mine');
  });

  test('nothing outside is read or written', async () => {
    const { folder, source, path } = setting();
    write(folder, 'secret', 'x');
    symlinkSync('../secret', join(source, 'out'));
    symlinkSync('ignored/in', join(source, 'within'));
    write(source, 'ignored/in', 'x');
    write(source, 'dir/file', 'x');
    const outside = join(folder, 'outside');
    mkdirSync(outside);
    symlinkSync(outside, join(path, 'dir'));
    const result = await copyInto(source, path, [
      '../secret',
      '/etc/hostname',
      '.git/config',
      'out',
      'within',
      'dir',
    ]);
    expect(Object.keys(result.placed)).toEqual(['within']);
    expect(readlinkSync(join(path, 'within'))).toBe('ignored/in');
    expect(result.warnings).toHaveLength(5);
    expect(existsSync(join(outside, 'file'))).toBe(false);
  });

  test('the state folder and repositories inside stay out; a bare source has nothing', async () => {
    const { folder, source, path } = setting();
    write(source, '.metawsm/metawsm.db', 'x');
    newRepo(join(source, 'inner'));
    const result = await copyInto(source, path, ['**']);
    expect(result).toEqual({ placed: {}, warnings: ['copy inner/: this is a repository of its own'] });
    sh(folder, 'clone', '-q', '--bare', source, 'bare');
    expect((await copyInto(join(folder, 'bare'), path, ['.env'])).warnings).toHaveLength(1);
  });
});

describe('linkInto', () => {
  test('links with absolute targets, once', async () => {
    const { source, path } = setting();
    write(source, 'ignored/x', 'x');
    write(source, 'web/node_modules/x', 'x');
    const result = await linkInto(source, path, ['ignored', 'web/node_modules/']);
    const expected = {
      ignored: `link:${join(source, 'ignored')}`,
      'web/node_modules': `link:${join(source, 'web/node_modules')}`,
    };
    expect(result).toEqual({ placed: expected, warnings: [] });
    expect(readlinkSync(join(path, 'ignored'))).toBe(join(source, 'ignored'));
    expect(await linkInto(source, path, ['ignored', 'web/node_modules'])).toEqual(result);
    expect((await worktreeStatus(path, result)).dirtyFiles).toEqual([]);
  });

  test('what is missing, taken or outside is a warning', async () => {
    const { source, path } = setting();
    write(source, 'taken', 'x');
    write(path, 'taken', 'y');
    const result = await linkInto(source, path, ['gone', 'taken', '../x', 'a.txt/x']);
    expect(result.placed).toEqual({});
    expect(result.warnings).toHaveLength(4);
    expect(readFileSync(join(path, 'taken'), 'utf8')).toBe('y');
  });
});
