/** A real gh opens the pull requests. What it talks to is a stand-in for GitHub on a socket of the test. */
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { type GitHubServer, startGitHubServer } from '../support/github-server.js';
import { start, works } from '../support/processes.js';
import type { Repo } from '../support/repo.js';
import { type Rig, test as withRig } from '../support/rig.js';

interface GitHub {
  readonly server: GitHubServer;
  /** An environment in which gh is logged in there. */
  readonly env: Readonly<Record<string, string>>;
}

const test = withRig.extend<{ github: GitHub }>({
  github: async ({ rig }, use) => {
    const server = await startGitHubServer(rig.dir);
    const config = path.join(rig.dir, 'gh');
    mkdirSync(config);
    writeFileSync(path.join(config, 'config.yml'), `http_unix_socket: ${server.socket}\n`);
    await use({ server, env: { GH_CONFIG_DIR: config, GH_TOKEN: 'token-of-a-test' } });
    await server.close();
  },
});

const intake = { goal: 'Limit logins', scope: 'All', constraints: 'None', merge_intent: 'pull_request' };

interface Ready {
  readonly branch: string;
  /** The bare repository that is pushed to. */
  readonly origin: Repo;
}

/** A run that may close; its repo has a path as its origin. `prepare` is called with it before the run begins. */
async function ready(rig: Rig, prepare: (api: Repo) => Promise<void> = async () => {}): Promise<Ready> {
  const api = await rig.repo('api', { origin: true });
  await prepare(api);
  rig.manifest({ agents: [], intake, done_criteria: [{ run: 'true' }] });
  await rig.run('apply run.yaml --offline');
  const [repo] = (await rig.status()).repos;
  await rig.at(repo?.path ?? '').commit('Work', { 'work.txt': 'done\n' });
  await rig.run('verify run.yaml');
  return { branch: repo?.branch ?? '', origin: rig.at(api.origin ?? '') };
}

/** The same with a repo of GitHub's. Its pushes go to that bare repository. */
function hosted(rig: Rig): Promise<Ready> {
  const url = 'https://github.com/acme/api.git';
  return ready(rig, async (api) => {
    await api.git('remote', 'set-url', 'origin', url);
    // What is fetched is not redirected: gh would no longer know the repository.
    appendFileSync(path.join(rig.home, '.gitconfig'), `[url "${api.origin}"]\n\tpushInsteadOf = ${url}\n`);
  });
}

describe.skipIf(!works('gh', '--version'))('a real gh', () => {
  test('opens one, with the body that close wrote', async ({ rig, github }) => {
    const { branch, origin } = await hosted(rig);
    const { text } = await rig.run('close run.yaml', { env: github.env });
    const url = 'https://github.com/acme/api/pull/1';
    expect(text).toContain(url);
    expect(text).not.toContain('token-of-a-test');
    expect(github.server.prs).toMatchObject([
      { url, headRefName: branch, baseRefName: 'main', title: 'ABC-1: Rate-limit the login', state: 'OPEN' },
    ]);
    expect(github.server.prs[0]?.body).toContain('> Limit logins');
    expect(await origin.branches()).toContain(branch);
    const { run, repos } = await rig.status();
    expect(run).toMatchObject({ state: 'closed', outcome: 'delivered' });
    expect(repos).toMatchObject([{ delivered: true, pull_request: url }]);
    expect(github.server.foreign).toEqual([]);
  });

  test('finds the one that is open already', async ({ rig, github }) => {
    const { branch, origin } = await hosted(rig);
    await origin.git('fetch', '-q', path.join(rig.dir, 'repos/api'), `${branch}:${branch}`);
    const create = ['pr', 'create', '--title', 'By hand', '--body', 'x', '--base', 'main', '--head', branch];
    const env = { ...rig.env, ...github.env };
    // Its server is this very process, which must not wait for it.
    const { stdout } = await start('gh', create, {
      cwd: path.join(rig.dir, 'repos/api'),
      env,
      timeout: 20_000,
    }).result;
    expect(stdout).toContain('/pull/1');
    await rig.run('close run.yaml', { env: github.env });
    expect(github.server.prs).toMatchObject([{ title: 'By hand' }]);
    expect((await rig.status()).repos).toMatchObject([{ pull_request: github.server.prs[0]?.url }]);
  });

  test('that does not know the repository is named before anything is begun', async ({ rig, github }) => {
    const { origin } = await ready(rig);
    for (const command of ['close run.yaml', 'close run.yaml --dry-run']) {
      const { text } = await rig.run(command, { env: github.env, code: 1 });
      expect(text).toMatch(/repo api: .*known GitHub host/);
      expect(text).toContain('gh pr list');
    }
    expect(await rig.state()).toBe('completed');
    expect(await origin.branches()).toEqual(['main']);
  });

  test('that is not logged in is named before anything is begun', async ({ rig, github }) => {
    await hosted(rig);
    const { text } = await rig.run('close run.yaml', { env: { ...github.env, GH_TOKEN: '' }, code: 1 });
    expect(text).toMatch(/gh is not logged in/);
    expect(text).toContain('gh auth login');
    expect(await rig.state()).toBe('completed');
    expect(github.server.prs).toEqual([]);
  });
});
