import { execFileSync } from 'node:child_process';
import { existsSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { look, run } from '../../src/tools/git.js';
import { configSnapshot } from '../../src/tools/git-config.js';
import { inUse } from '../../src/tools/git-in-use.js';
import { worktreeStatus } from '../../src/tools/git-status.js';
import { worktreeState } from '../../src/tools/git-worktree.js';
import { commit, newRepo, sh, temporaryFolder, write } from './git-rig.js';

function setting() {
  const folder = temporaryFolder();
  const source = newRepo(join(folder, 'source'));
  const path = join(folder, 'ws', 'api');
  sh(source, 'worktree', 'add', '-q', '-b', 'task', path);
  const own = sh(path, 'rev-parse', '--absolute-git-dir');
  return { folder, source, path, own };
}

function fifo(file: string): string {
  rmSync(file, { force: true });
  execFileSync('mkfifo', [file]);
  return file;
}

describe('a git that would wait for ever at a FIFO is ended, and the file is named', () => {
  test.each<[string, (at: ReturnType<typeof setting>) => string]>([
    ['.gitignore', ({ path }) => fifo(join(path, '.gitignore'))],
    [
      '.gitignore of a folder in it',
      ({ path }) => {
        write(path, 'sub/new.txt', 'x');
        return fifo(join(path, 'sub/.gitignore'));
      },
    ],
    ['its index', ({ own }) => fifo(join(own, 'index'))],
    ['the configuration', ({ source }) => fifo(join(source, '.git/config'))],
    [
      'a link to one',
      ({ folder, source }) => {
        const link = join(source, '.git/info/exclude');
        rmSync(link);
        symlinkSync(fifo(join(folder, 'pipe')), link);
        return link;
      },
    ],
    [
      'a file that the configuration includes',
      ({ folder, source }) => {
        sh(source, 'config', 'include.path', '../../pipe');
        return fifo(join(folder, 'pipe'));
      },
    ],
    [
      'a submodule',
      ({ folder, path }) => {
        const lib = newRepo(join(folder, 'lib'));
        sh(path, 'submodule', '--quiet', 'add', lib, 'lib');
        sh(path, 'commit', '-q', '-m', 'Add lib');
        return fifo(join(path, 'lib/.gitignore'));
      },
    ],
  ])('%s', async (_, prepare) => {
    const at = setting();
    const config = await configSnapshot(at.path);
    const file = prepare(at);
    await expect(worktreeStatus(at.path, { config })).rejects.toThrow(`would wait for ever at ${file}`);
  });

  test('also where git is only asked something small', async () => {
    const { source } = setting();
    const file = fifo(join(source, '.git/config'));
    await expect(look(source, ['rev-parse', '--git-dir'])).rejects.toThrow(file);
    await expect(run(source, ['rev-parse', '--git-dir'])).rejects.toThrow(file);
  });

  test('a bare repository', async () => {
    const { folder, source } = setting();
    const bare = join(folder, 'bare.git');
    sh(source, 'clone', '-q', '--bare', source, bare);
    const file = fifo(join(bare, 'HEAD'));
    await expect(run(bare, ['log'])).rejects.toThrow(file);
  });
});

test('files that are read without git are no trap either', async () => {
  const { source, path, own } = setting();
  fifo(join(own, 'BISECT_START'));
  expect(await inUse(source, 'main')).toBeNull();
  expect((await worktreeState(source, path, 'task')).state).toBe('ready');
});

test('a git that takes its time is let alone, FIFOs of other names and links to /dev/null beside', async () => {
  const { path, source } = setting();
  fifo(join(path, 'pipe'));
  rmSync(join(source, '.git/info/exclude'));
  symlinkSync('/dev/null', join(source, '.git/info/exclude'));
  const slow = ['-c', 'alias.slow=!sleep 1.5; touch done', 'slow'];
  await run(path, slow);
  expect(existsSync(join(path, 'done'))).toBe(true);
  expect((await worktreeStatus(path)).untracked).toEqual(['done']);
  commit(path, 'more.txt', 'x');
});
