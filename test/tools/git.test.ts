import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ToolFailure } from '../../src/tools/failure.js';
import { gitVersion, isAtLeast, look, run } from '../../src/tools/git.js';
import { branchInfo, describeRepo } from '../../src/tools/git-read.js';
import { worktreeStatus } from '../../src/tools/git-status.js';
import { commit, newRepo, sh, temporaryFolder, write } from './git-rig.js';

async function failureOf(promise: Promise<unknown>): Promise<ToolFailure> {
  const error = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ToolFailure);
  return error as ToolFailure;
}

/** A folder with a program called git, to be put first on the PATH. */
function fakeGit(script: string): string {
  const bin = join(temporaryFolder(), 'bin');
  mkdirSync(bin);
  writeFileSync(join(bin, 'git'), `#!/bin/sh\n${script}\n`);
  chmodSync(join(bin, 'git'), 0o755);
  return bin;
}

async function withEnv<T>(values: Record<string, string>, work: () => Promise<T>): Promise<T> {
  const before = { ...process.env };
  Object.assign(process.env, values);
  try {
    return await work();
  } finally {
    for (const name of Object.keys(values)) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
  }
}

describe('running git', () => {
  test('versions compare number by number', async () => {
    expect(isAtLeast('2.39.5', '2.38')).toBe(true);
    expect(isAtLeast('2.38', '2.38.0')).toBe(true);
    expect(isAtLeast('2.9.1', '2.38')).toBe(false);
    expect(isAtLeast('3.0', '2.38')).toBe(true);
    expect(await gitVersion()).toMatch(/^\d+\.\d+/);
  });

  for (const [name, call] of [
    ['look', look],
    ['run', run],
  ] as const) {
    test(`${name}: a failing git says program, arguments, folder, code and stderr`, async () => {
      const repo = newRepo(temporaryFolder());
      const failure = await failureOf(call(repo, ['rev-parse', '--verify', 'refs/heads/nope']));
      expect(failure).toMatchObject({ program: 'git', cwd: repo, exitCode: 128 });
      expect(failure.stderr).toContain('Needed a single revision');
    });

    test(`${name}: a silent non-zero exit is a failure too`, async () => {
      const repo = newRepo(temporaryFolder());
      const failure = await failureOf(call(repo, ['rev-parse', '--quiet', '--verify', 'refs/heads/nope']));
      expect(failure.exitCode).toBe(1);
    });

    test(`${name}: a killed git is a failure`, async () => {
      const folder = temporaryFolder();
      const bin = fakeGit('echo half; kill -9 $$');
      const failure = await withEnv({ PATH: `${bin}:${process.env.PATH}` }, () =>
        failureOf(call(folder, ['status'])),
      );
      expect(failure.exitCode).toBeNull();
      expect(failure.message).toContain('killed');
    });

    test(`${name}: a missing folder and a missing git are told apart`, async () => {
      const folder = temporaryFolder();
      const gone = await failureOf(call(join(folder, 'gone'), ['status']));
      expect(gone.message).toContain('the folder does not exist');
      write(folder, 'file', '');
      const file = await failureOf(call(join(folder, 'file'), ['status']));
      expect(file.message).toMatch(/not a folder|does not exist/);
      const missing = await withEnv({ PATH: '/nonexistent' }, () => failureOf(call(folder, ['status'])));
      expect(missing.message).toContain('git is not installed');
    });

    test(`${name}: GIT_DIR and the like do not mislead, other GIT variables arrive`, async () => {
      const folder = temporaryFolder();
      const repo = newRepo(join(folder, 'repo'));
      const other = newRepo(join(folder, 'other'));
      const env = {
        GIT_DIR: join(other, '.git'),
        GIT_WORK_TREE: other,
        GIT_INDEX_FILE: join(folder, 'nope'),
        GIT_CONFIG_COUNT: '1',
        GIT_CONFIG_KEY_0: 'metawsm.test',
        GIT_CONFIG_VALUE_0: 'arrived',
        GIT_SSH_COMMAND: 'ssh -oSomething',
        EDITOR: 'vi',
      };
      await withEnv(env, async () => {
        const asText = (result: unknown) =>
          typeof result === 'string' ? result : (result as { stdout: string }).stdout;
        expect(asText(await call(repo, ['rev-parse', '--show-toplevel'])).trim()).toBe(repo);
        expect(asText(await call(repo, ['config', 'metawsm.test'])).trim()).toBe('arrived');
      });
    });
  }

  test('a call can be aborted and timed out, with all that git started', async () => {
    const folder = temporaryFolder();
    const bin = fakeGit('sleep 60 & wait');
    await withEnv({ PATH: `${bin}:${process.env.PATH}` }, async () => {
      const late = await failureOf(run(folder, ['fetch'], { timeoutMs: 50 }));
      expect(late.message).toContain('no answer within 0.05 s');
      const controller = new AbortController();
      const aborted = failureOf(
        run(folder, ['fetch'], { signal: controller.signal, onSpawn: () => controller.abort() }),
      );
      expect((await aborted).message).toContain('interrupted');
    });
  });

  test('a background process that keeps the pipes does not hold the call up', async () => {
    const folder = temporaryFolder();
    const bin = fakeGit('sleep 60 & echo $!');
    const { stdout } = await withEnv({ PATH: `${bin}:${process.env.PATH}` }, () => run(folder, ['fetch']));
    process.kill(Number(stdout));
  });

  test('passwords in urls are not shown', async () => {
    const folder = temporaryFolder();
    const failure = await failureOf(run(folder, ['ls-remote', 'nope://user:hunter2@example.org/x']));
    expect(failure.message).not.toContain('hunter2');
  });

  test('hooks and fsmonitor of the repository never run, and looking leaves the index as it is', async () => {
    const folder = temporaryFolder();
    const repo = newRepo(join(folder, 'repo'));
    const ran = join(folder, 'ran');
    const program = join(folder, 'program');
    write(folder, 'program', `#!/bin/sh\necho "$0" >> '${ran}'\n`, 0o755);
    sh(repo, 'config', 'core.fsmonitor', program);
    for (const hook of ['post-index-change', 'reference-transaction', 'post-checkout']) {
      write(repo, `.git/hooks/${hook}`, `#!/bin/sh\necho "$0" >> '${ran}'\n`, 0o755);
    }
    write(repo, 'a.txt', 'one\n');
    await worktreeStatus(repo);
    await run(repo, ['update-ref', 'refs/heads/x', 'HEAD']);
    expect(existsSync(ran)).toBe(false);
    write(repo, '.git/index.lock', '');
    expect((await worktreeStatus(repo)).dirtyFiles).toEqual([]);
  });
});

describe('describeRepo', () => {
  test('a missing path, a file, a plain folder', async () => {
    const folder = temporaryFolder();
    write(folder, 'file', '');
    expect(await describeRepo(join(folder, 'gone'))).toMatchObject({ exists: false, isRepo: false });
    expect(await describeRepo(join(folder, 'file'))).toMatchObject({ exists: true, isRepo: false });
    expect(await describeRepo(folder)).toMatchObject({ exists: true, isRepo: false, problem: null });
  });

  test('a clone, a folder in it, its linked worktree, a bare clone, a shallow clone', async () => {
    const folder = temporaryFolder();
    const origin = newRepo(join(folder, 'origin'));
    commit(origin, 'sub/b.txt', 'two\n');
    sh(folder, 'clone', '-q', origin, 'clone');
    const clone = join(folder, 'clone');
    const commonDir = join(clone, '.git');
    const head = sh(clone, 'rev-parse', 'HEAD');
    const plain = { isRepo: true, bare: false, topLevel: clone, commonDir, head, shallow: false };
    expect(await describeRepo(clone)).toMatchObject({
      ...plain,
      isTop: true,
      hasOrigin: true,
      originUrl: origin,
    });
    expect(await describeRepo(join(clone, 'sub'))).toMatchObject({ ...plain, isTop: false });
    sh(clone, 'worktree', 'add', '-q', '../linked', '-b', 'x');
    const linked = join(folder, 'linked');
    expect(await describeRepo(linked)).toMatchObject({ commonDir, topLevel: linked, isTop: true });
    sh(folder, 'clone', '-q', '--bare', origin, 'bare.git');
    const bare = { bare: true, topLevel: null, isTop: true, commonDir: join(folder, 'bare.git') };
    expect(await describeRepo(join(folder, 'bare.git'))).toMatchObject(bare);
    sh(folder, 'clone', '-q', '--depth=1', `file://${origin}`, 'shallow');
    expect(await describeRepo(join(folder, 'shallow'))).toMatchObject({ shallow: true });
  });

  test('an empty repository, a broken one, operations in progress', async () => {
    const folder = temporaryFolder();
    sh(folder, 'init', '-q', '-b', 'main', 'empty');
    const empty = { isRepo: true, head: null, hasOrigin: false, operation: null };
    expect(await describeRepo(join(folder, 'empty'))).toMatchObject(empty);
    const repo = newRepo(join(folder, 'repo'));
    sh(repo, 'checkout', '-qb', 'side');
    commit(repo, 'a.txt', 'side\n');
    sh(repo, 'checkout', '-q', 'main');
    commit(repo, 'a.txt', 'main\n');
    expect(() => sh(repo, 'merge', 'side')).toThrow();
    expect(await describeRepo(repo)).toMatchObject({ operation: 'merge' });
    sh(repo, 'merge', '--abort');
    expect(() => sh(repo, 'rebase', 'side')).toThrow();
    expect(await describeRepo(repo)).toMatchObject({ operation: 'rebase' });
    expect(await worktreeStatus(repo)).toMatchObject({
      branch: null,
      operation: 'rebase',
      conflicted: ['a.txt'],
    });
    sh(repo, 'rebase', '--abort');
    write(repo, '.git/config', '[core\n');
    const broken = await describeRepo(repo);
    expect(broken.isRepo).toBe(false);
    expect(broken.problem).toContain('bad config');
  });
});

describe('branchInfo', () => {
  test('says commit and place, and mixes up no longer names', async () => {
    const folder = temporaryFolder();
    const repo = newRepo(join(folder, 'repo'));
    sh(repo, 'branch', 'task/one/more');
    sh(repo, 'worktree', 'add', '-q', '../with space', '-b', 'other');
    expect(await branchInfo(repo, 'task/one')).toMatchObject({ commit: null, checkedOutAt: null });
    expect(await branchInfo(repo, 'task/one/more')).toMatchObject({
      commit: sh(repo, 'rev-parse', 'HEAD'),
      checkedOutAt: null,
      lastAuthor: 'Ada',
    });
    expect(await branchInfo(repo, 'other')).toMatchObject({ checkedOutAt: join(folder, 'with space') });
  });
});
