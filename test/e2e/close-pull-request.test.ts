import { existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { named, type Ready, ready } from '../support/closing.js';
import type { EventLine, Plan } from '../support/documents.js';
import { type FakeGh, installFakeGh } from '../support/fake-gh.js';
import { isAlive, withEnvironment } from '../support/processes.js';
import { type Rig, test } from '../support/rig.js';

interface Asked extends Ready {
  readonly gh: FakeGh;
  readonly env: Readonly<Record<string, string>>;
}

/** A run that may close with pull requests, and a gh that keeps them in a file. */
async function asked(rig: Rig, names: readonly string[] = ['api'], origin = true): Promise<Asked> {
  const gh = installFakeGh(rig.dir);
  const intake = {
    goal: 'Limit logins',
    scope: 'The login endpoint',
    constraints: 'No new dependencies',
    merge_intent: 'pull_request',
  };
  const keys = { intake, done_criteria: [{ run: 'test -f README.md || true' }] };
  const begun = await ready(rig, { names, origin, keys });
  const PATH = [gh.bin, path.dirname(process.execPath), rig.env.PATH].join(':');
  return { ...begun, gh, env: { PATH, GH_STAND_IN: gh.bin } };
}

/** A PATH with the programs that metawsm needs, and no gh. */
function withoutGh(rig: Rig): string {
  const bin = path.join(rig.dir, 'no-gh');
  mkdirSync(bin);
  for (const program of ['git', 'sh', 'bash', 'env', 'cat', 'ps', 'getconf']) {
    const found = (rig.env.PATH ?? '')
      .split(':')
      .map((folder) => path.join(folder, program))
      .find(existsSync);
    if (found !== undefined) symlinkSync(found, path.join(bin, program));
  }
  return bin;
}

describe('close with pull requests', () => {
  test('pushes each branch and opens one for each repo', async ({ rig }) => {
    const { gh, env, repos, status, trees } = await asked(rig, ['api', 'web']);
    const heads = await Promise.all(
      [named(trees), named(trees, 'web')].map((tree) => tree.git('rev-parse', 'HEAD')),
    );
    const plan = await rig.json<Plan>('close run.yaml --dry-run', { env });
    expect(plan.steps.map(({ id }) => id)).toEqual([
      'close.check',
      'deliver.push/api',
      'deliver.pull-request/api',
      'deliver.push/web',
      'deliver.pull-request/web',
      'ticket.close',
      'worktree.remove/api',
      'worktree.remove/web',
      'workspace.remove',
    ]);
    expect(gh.prs()).toEqual([]);

    const { text } = await rig.run('close run.yaml', { env });
    const branch = status.repos[0]?.branch ?? '';
    const prs = gh.prs();
    expect(prs.map((pr) => pr.url.split('/').at(4)).sort()).toEqual(['api', 'web']);
    for (const pr of prs) {
      expect(pr).toMatchObject({
        headRefName: branch,
        baseRefName: 'main',
        title: 'ABC-1: Rate-limit the login',
      });
      expect(pr.body).toContain('> Limit logins');
      expect(pr.body).toContain('> No new dependencies');
      expect(pr.body).toMatch(/\| `test -f README\.md \\\|\\\| true` \| command \| passed/);
      expect(pr.body).toContain(status.run.id);
      expect(text).toContain(pr.url);
    }
    for (const [index, name] of ['api', 'web'].entries()) {
      const repo = named(repos, name);
      expect(await rig.at(repo.origin ?? '').git('rev-parse', branch)).toBe(heads[index]);
      expect(await repo.git('log', '-1', '--format=%s', 'main')).toBe('Begin');
      expect(await repo.branches()).toContain(branch);
    }
    const after = await rig.status();
    expect(after.run).toMatchObject({ state: 'closed', outcome: 'delivered' });
    for (const { name, delivered, pull_request: url } of after.repos) {
      expect(delivered).toBe(true);
      expect(url).toMatch(new RegExp(`/${name}/pull/\\d$`));
      expect((await rig.run('status run.yaml')).stdout).toContain(url);
    }

    // Again: nothing to do, and gh is not even asked.
    const calls = gh.calls().length;
    await rig.run('close run.yaml', { env });
    expect(gh.calls()).toHaveLength(calls);
  });

  for (const id of ['deliver.push/api', 'deliver.pull-request/api', 'ticket.close']) {
    for (const state of ['running', 'done']) {
      test(`killed when ${id} is ${state}: there is one in the end`, async ({ rig }) => {
        const { gh, env, status } = await asked(rig);
        const running = rig.spawn('close run.yaml --json', { env });
        running.onLine((line) => {
          const event = JSON.parse(line) as EventLine;
          if (event.type === 'step' && event.id === id && event.state === state) running.kill('SIGKILL');
        });
        await running.result;
        // A gh that was left at work by the killed one.
        await rig.until(
          'end of gh',
          () => withEnvironment(`GH_STAND_IN=${gh.bin}`).filter(isAlive).length === 0,
        );
        await rig.run('close run.yaml', { env });
        expect(gh.prs().map((pr) => pr.headRefName)).toEqual([status.repos[0]?.branch]);
        const [repo] = (await rig.status()).repos;
        expect(repo).toMatchObject({ delivered: true, pull_request: gh.prs()[0]?.url });
      });
    }
  }

  test('a gh that fails after the push: the run stays closing, and close goes on', async ({ rig }) => {
    const { gh, env, repos, status } = await asked(rig);
    const original = path.join(gh.bin, 'gh');
    const wrapper = path.join(rig.dir, 'flaky');
    mkdirSync(wrapper);
    writeFileSync(
      path.join(wrapper, 'gh'),
      `#!/bin/sh\ncase "$1 $2" in 'pr create') echo 'HTTP 502' >&2; exit 1;; esac\nexec '${original}' "$@"\n`,
      { mode: 0o755 },
    );
    const { text } = await rig.run('close run.yaml', {
      code: 1,
      env: { ...env, PATH: `${wrapper}:${env.PATH}` },
    });
    expect(text).toContain('HTTP 502');
    expect(await rig.state()).toBe('closing');
    expect((await rig.run('status run.yaml')).stdout).toContain('next: metawsm close ABC-1');
    expect(await rig.at(named(repos).origin ?? '').branches()).toContain(status.repos[0]?.branch);
    await rig.run('close run.yaml', { env });
    expect(gh.prs()).toHaveLength(1);
  });

  test('a repo in which nothing was committed has none, and is in nobody’s way', async ({ rig }) => {
    const { gh, env, trees } = await asked(rig, ['api', 'web']);
    await named(trees, 'web').git('reset', '-q', '--hard', 'HEAD~1');
    await rig.run('verify run.yaml');
    const { text } = await rig.run('close run.yaml', { env: { ...env, GH_STAND_IN_EMPTY: 'web' } });
    expect(text).toMatch(
      /web: there is no pull request, because main of origin holds all of task\/\S+ already/,
    );
    expect(gh.prs().map(({ url }) => url)).toEqual(['https://github.com/example/api/pull/1']);
    expect((await rig.status()).run).toMatchObject({ state: 'closed', outcome: 'delivered' });
    expect((await rig.run('report run.yaml')).stdout).toContain('Delivery: nothing for a pull request');
  });

  test('one that somebody closed is no delivery, one that was merged is', async ({ rig }) => {
    const { gh, env, status } = await asked(rig);
    const branch = status.repos[0]?.branch ?? '';
    const known = {
      number: 1,
      url: 'https://github.com/example/api/pull/1',
      state: 'CLOSED' as const,
      headRefName: branch,
      headRefOid: '0'.repeat(40),
      baseRefName: 'main',
      isCrossRepository: false,
      isDraft: false,
      title: 'x',
      body: 'x',
    };
    gh.setPrs([known]);
    await rig.run('close run.yaml', { env });
    expect((await rig.status()).repos).toMatchObject([
      { pull_request: 'https://github.com/example/api/pull/2' },
    ]);
  });
});

describe('what pull requests need is asked for before anything is pushed', () => {
  test.for([
    ['no gh', (rig: Rig) => ({ PATH: withoutGh(rig) }), 'gh is not on PATH'],
    ['no login', () => ({ GH_STAND_IN_LOGGED_OUT: '1' }), 'gh auth login'],
  ] as const)('%s', async ([, change, words], { rig }) => {
    const { gh, env, repos } = await asked(rig);
    const bad = { ...env, ...change(rig) };
    for (const command of ['close run.yaml', 'close run.yaml --dry-run']) {
      expect((await rig.run(command, { code: 1, env: bad })).text).toContain(words);
    }
    expect(gh.prs()).toEqual([]);
    expect(await rig.at(named(repos).origin ?? '').branches()).toEqual(['main']);
    expect(await rig.state()).toBe('completed');
    await rig.run('close run.yaml', { env });
  });

  test('no origin', async ({ rig }) => {
    const { env, gh } = await asked(rig, ['api'], false);
    const { text } = await rig.run('close run.yaml', { code: 1, env });
    expect(text).toContain('has no remote origin to push to');
    expect(gh.prs()).toEqual([]);
    expect(await rig.state()).toBe('completed');
  });

  test('an origin that does not take it: nothing is delivered, and the run is completed', async ({ rig }) => {
    const { env, gh, repos } = await asked(rig);
    const origin = named(repos).origin ?? '';
    writeFileSync(path.join(origin, 'hooks/pre-receive'), '#!/bin/sh\necho protected >&2\nexit 1\n', {
      mode: 0o755,
    });
    const { text } = await rig.run('close run.yaml', { code: 1, env });
    expect(text).toContain('protected');
    expect(await rig.state()).toBe('completed');
    expect(gh.prs()).toEqual([]);
    rmSync(path.join(origin, 'hooks/pre-receive'));
    await rig.run('close run.yaml', { env });
    expect(gh.prs()).toHaveLength(1);
  });
});
