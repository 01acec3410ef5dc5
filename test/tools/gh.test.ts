import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { authProblem, createPr, existingPr } from '../../src/tools/gh.js';
import { pushBranch } from '../../src/tools/git-push.js';
import { type FakePr, installFakeGh } from '../support/fake-gh.js';
import { commit, newRepo, sh, temporaryFolder, write } from './git-rig.js';

function setting() {
  const folder = temporaryFolder();
  const cwd = join(folder, 'api');
  mkdirSync(cwd);
  return { folder, cwd, gh: installFakeGh(folder) };
}

const NEW = {
  title: '- a "title" with `ticks`',
  body: '# Body\n\n$(touch x)\n',
  base: 'main',
  head: 'task/x',
};

describe('pull requests', () => {
  test('one is made, then found', async () => {
    const { cwd, gh } = setting();
    const env = gh.env({ GH_FORCE_TTY: '1', GIT_DIR: '/nowhere' });
    expect(await existingPr({ cwd, env, branch: 'task/x', base: 'main' })).toBeNull();
    const url = await createPr({ cwd, env, ...NEW });
    expect(url).toBe('https://github.com/example/api/pull/1');
    expect(gh.prs()).toMatchObject([
      { title: NEW.title, body: NEW.body, baseRefName: 'main', isDraft: false },
    ]);
    expect(await existingPr({ cwd, env, branch: 'task/x', base: 'main' })).toEqual({
      number: 1,
      url,
      state: 'OPEN',
      head: '0'.repeat(40),
    });
    expect(await existingPr({ cwd, env, branch: 'task/x', base: 'develop' })).toBeNull();
    const [, made] = gh.calls();
    expect(made?.argv).toEqual([
      ...['pr', 'create', '--title', NEW.title, '--body-file', '-', '--base', 'main', '--head', 'task/x'],
    ]);
    expect(made).toMatchObject({ cwd, stdin: NEW.body });
    expect(made?.env).toMatchObject({ GH_PROMPT_DISABLED: '1', GH_NO_UPDATE_NOTIFIER: '1', NO_COLOR: '1' });
    expect(made?.env).not.toHaveProperty('GH_FORCE_TTY');
    expect(made?.env).not.toHaveProperty('GIT_DIR');
  });

  test('of several the open one counts, else the newest; those of forks do not', async () => {
    const { cwd, gh } = setting();
    const env = gh.env();
    const pr = (number: number, state: FakePr['state'], isCrossRepository = false): FakePr => ({
      ...{ number, state, isCrossRepository, isDraft: false, title: '', body: '' },
      ...{ url: `https://x/pull/${number}`, headRefName: 'b', headRefOid: 'c', baseRefName: 'main' },
    });
    const found = async () => (await existingPr({ cwd, env, branch: 'b', base: 'main' }))?.number;
    gh.setPrs([pr(1, 'CLOSED'), pr(2, 'OPEN'), pr(3, 'MERGED'), pr(4, 'OPEN', true)]);
    expect(await found()).toBe(2);
    gh.setPrs([pr(1, 'CLOSED'), pr(3, 'MERGED'), pr(2, 'CLOSED')]);
    expect(await found()).toBe(3);
    gh.setPrs([pr(4, 'OPEN', true)]);
    expect(await found()).toBeUndefined();
  });

  test('what fails says program, folder, exit code and the last words', async () => {
    const { cwd, gh } = setting();
    await createPr({ cwd, env: gh.env(), ...NEW });
    await expect(createPr({ cwd, env: gh.env(), ...NEW })).rejects.toMatchObject({
      name: 'ToolFailure',
      program: 'gh',
      cwd,
      exitCode: 1,
      message: expect.stringContaining('already exists'),
    });
    const env = gh.env({ GH_STAND_IN_FAIL: 'HTTP 502 https://u:secret@host/' });
    await expect(existingPr({ cwd, env, branch: 'b', base: 'main' })).rejects.toThrow('https://***@host/');
    const signal = AbortSignal.abort();
    await expect(createPr({ cwd, env: gh.env(), ...NEW, signal })).rejects.toThrow('interrupted');
  });

  test('whether gh can be used', async () => {
    const { folder, cwd, gh } = setting();
    expect(await authProblem({ cwd, env: gh.env() })).toBeNull();
    const loggedOut = gh.env({ GH_STAND_IN_LOGGED_OUT: '1' });
    expect(await authProblem({ cwd, env: loggedOut })).toMatchObject({ code: 'gh_auth' });
    expect(await authProblem({ cwd, env: { PATH: folder } })).toMatchObject({ code: 'gh_missing' });
  });
});

describe('pushBranch', () => {
  function pushing() {
    const folder = temporaryFolder();
    const repo = newRepo(join(folder, 'repo'));
    const origin = join(folder, 'origin.git');
    sh(folder, 'clone', '-q', '--bare', repo, origin);
    sh(repo, 'remote', 'add', 'origin', origin);
    return { folder, repo, origin, head: commit(repo, 'b.txt', 'b\n') };
  }

  test('pushes the commit alone, runs no hook, and a second time does nothing', async () => {
    const { folder, repo, origin, head } = pushing();
    const marker = join(folder, 'ran');
    write(repo, '.git/hooks/pre-push', `#!/bin/sh\ntouch '${marker}'\n`, 0o755);
    sh(repo, 'tag', '-a', '-m', 'x', 'v1');
    sh(repo, 'config', 'push.followTags', 'true');
    expect(await pushBranch({ repo, branch: 'task/x', commit: head })).toBe('pushed');
    expect(sh(origin, 'rev-parse', 'refs/heads/task/x')).toBe(head);
    expect(sh(origin, 'tag')).toBe('');
    expect(existsSync(marker)).toBe(false);
    expect(await pushBranch({ repo, branch: 'task/x', commit: head })).toBe('already');
    const more = commit(repo, 'c.txt', 'c\n');
    expect(await pushBranch({ repo, branch: 'task/x', commit: more })).toBe('pushed');
  });

  test('what origin has is not overwritten, and named', async () => {
    const { repo, origin, head } = pushing();
    sh(repo, 'checkout', '-q', '-b', 'side', 'HEAD~1');
    const other = commit(repo, 'z.txt', 'z\n');
    sh(repo, 'push', '-q', 'origin', 'HEAD:refs/heads/task/x');
    await expect(pushBranch({ repo, branch: 'task/x', commit: head })).rejects.toThrow(
      `origin has task/x at ${other.slice(0, 12)}`,
    );
    expect(sh(origin, 'rev-parse', 'refs/heads/task/x')).toBe(other);
  });

  test('without an origin git says so', async () => {
    const { repo, head } = pushing();
    sh(repo, 'remote', 'remove', 'origin');
    await expect(pushBranch({ repo, branch: 'x', commit: head })).rejects.toThrow(/origin/);
  });
});
