/** A real codex as the agent. What it talks to is a scripted model on the loopback interface. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { type CodexServer, codexConfig, type Model, startCodexServer } from '../support/codex-server.js';
import type { Plan } from '../support/documents.js';
import { works } from '../support/processes.js';
import { checkout, hasTmux, type Rig, type RunOptions, test as withRig } from '../support/rig.js';

const test = withRig.extend<{ codex: Codex }>({
  codex: async ({ rig }, use) => {
    const codex = new Codex(rig);
    await use(codex);
    await codex.close();
  },
});

const ASK = '"Read $METAWSM_BRIEF and do what it says"';
const ANYTHING = `codex exec -s danger-full-access ${ASK}`;

describe.skipIf(!works('codex', '--version'))('a real codex', () => {
  const sessions = hasTmux ? ['process', 'tmux'] : ['process'];
  test.for(sessions)('works in the worktree of the only repo, as a %s', async (session, { rig, codex }) => {
    const api = await rig.repo('api');
    rig.manifest({ session, agent: { command: ANYTHING } });
    const options = await codex.thatDoes([
      'echo "Limited" > login.md',
      'git add .',
      'git commit -q -m "Limit"',
    ]);

    const plan = await rig.json<Plan>('plan run.yaml', options);
    expect(plan.steps.flatMap((step) => step.commands.map(({ shell }) => shell))).toContain(
      ANYTHING.replace('codex exec', 'codex exec --skip-git-repo-check'),
    );

    await rig.run('apply run.yaml --wait', options);
    const status = await rig.status();
    expect(status.run.state).toBe('completed');
    expect(status.agents).toMatchObject([
      { state: 'completed', attempt: 1, exit_code: 0, summary: 'It is done' },
    ]);
    expect(status.repos).toMatchObject([{ ahead: 1, clean: true }]);
    expect(await api.git('show', `${status.repos[0]?.branch}:login.md`)).toContain('Limited');

    const log = (await rig.run('logs run.yaml')).stdout;
    expect(log).toContain(`workdir: ${status.repos[0]?.path}`);
    expect(log).toContain('> Limit logins');
    expect(codex.server?.foreign).toEqual([]);
  });

  test('works in the workspace of two repos, which is no git repository', async ({ rig, codex }) => {
    await rig.repo('api');
    await rig.repo('web');
    rig.manifest({
      repos: [
        { name: 'api', path: '../repos/api' },
        { name: 'web', path: '../repos/web' },
      ],
      agent: { command: ['codex', 'exec', '-s', 'danger-full-access', 'Read $METAWSM_BRIEF'] },
    });
    const work = ['api', 'web'].flatMap((repo) => [
      `echo "Limited" > ${repo}/login.md`,
      `git -C ${repo} add .`,
      `git -C ${repo} commit -q -m "Limit"`,
    ]);
    await rig.run('apply run.yaml --wait', await codex.thatDoes(work));

    const status = await rig.status();
    expect(status.run.state).toBe('completed');
    expect(status.repos).toMatchObject([
      { ahead: 1, clean: true },
      { ahead: 1, clean: true },
    ]);
    expect((await rig.run('logs run.yaml')).stdout).toContain(`workdir: ${status.run.workspace}`);
    expect(codex.server?.foreign).toEqual([]);
  });

  // The sandbox needs a kernel, and a container, that let it be made.
  test.skipIf(!works('codex', 'sandbox', 'true'))(
    'commits and signals from its own sandbox, with the folders that the README adds',
    async ({ rig, codex }) => {
      const api = await rig.repo('api');
      const readme = readFileSync(path.join(checkout, 'README.md'), 'utf8');
      const flags = /^`codex exec (-s workspace-write .*) …`/m.exec(readme)?.[1];
      expect(flags).toBeDefined();
      // Otherwise all that lies in the temporary folder could be written, and this test lies there.
      const narrow = ['exclude_slash_tmp', 'exclude_tmpdir_env_var']
        .map((name) => `-c sandbox_workspace_write.${name}=true`)
        .join(' ');
      const command = `codex exec ${narrow} ${flags} ${ASK}`;
      rig.manifest({ agent: { command } });
      const outside = path.join(rig.dir, 'outside');
      await rig.run(
        'apply run.yaml --wait',
        await codex.thatDoes([
          `(touch ${outside} || echo kept out > login.md)`,
          'git add .',
          'git commit -q -m "Limit"',
        ]),
      );

      const status = await rig.status();
      expect(status.run.state).toBe('completed');
      expect(status.repos).toMatchObject([{ ahead: 1, clean: true }]);
      expect(await api.git('show', `${status.repos[0]?.branch}:login.md`)).toContain('kept out');
    },
  );
});

/** A codex of this test: its own settings, and a model that does what it is told. */
class Codex {
  server: CodexServer | null = null;

  constructor(private readonly rig: Rig) {}

  /** What a command of metawsm needs so that codex reads its brief, does the work, and says that it is done. */
  async thatDoes(work: readonly string[]): Promise<RunOptions> {
    this.server = await startCodexServer(modelThatDoes(work));
    // In the temporary folder codex only warns that it makes no helper programs there.
    const home = path.join(this.rig.home, 'codex');
    mkdirSync(home);
    writeFileSync(path.join(home, 'config.toml'), codexConfig(this.server.url));
    const proxy = { HTTP_PROXY: this.server.url, HTTPS_PROXY: this.server.url, NO_PROXY: '127.0.0.1' };
    return { env: { CODEX_HOME: home, ...proxy } };
  }

  async close(): Promise<void> {
    await this.server?.close();
  }
}

/** Reads its brief, does the work, and signals as the brief says; it knows nothing else about metawsm. */
function modelThatDoes(work: readonly string[]): Model {
  return (printed) => {
    const [brief, done, signalled, ...more] = printed;
    if (brief === undefined) return 'cat "$METAWSM_BRIEF"';
    const said = /^metawsm signal complete --summary /m.test(brief);
    if (done === undefined) return [...work, 'echo committed'].join(' && ');
    if (!said || !done.includes('committed')) return null;
    const complete = 'signal complete --summary "It is done"';
    if (signalled === undefined) return `metawsm ${complete}`;
    // Codex runs commands in a login shell, and those of many systems set PATH anew.
    const otherwise = /"\$METAWSM_STATE_DIR\/[a-z/]+"/.exec(brief)?.[0];
    const unknown = signalled.includes('command not found') && more.length === 0;
    return unknown && otherwise !== undefined ? `${otherwise} ${complete}` : null;
  };
}
