import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import type { Plan } from '../support/documents.js';
import { commandLines } from '../support/processes.js';
import { agent, hasTmux, test } from '../support/rig.js';
import { filesBelow } from '../support/snapshot.js';

/** What tmux itself tells the program in a pane, and nothing else may differ. */
function ofThePane({ TERM, TMUX, TMUX_PANE }: Seen['env']): Seen['env'] {
  expect(TMUX).toBeDefined();
  return { TERM: TERM ?? '', TMUX: TMUX ?? '', TMUX_PANE: TMUX_PANE ?? '' };
}

interface Seen {
  readonly env: Record<string, string>;
  readonly cwd: string;
}

describe.each(['process', 'tmux'] as const)('with %s sessions', (session) => {
  const testHere = test.skipIf(session === 'tmux' && !hasTmux);

  testHere(
    'an agent gets the caller’s environment, the manifest’s, and where things are',
    async ({ rig }) => {
      await rig.repo('api');
      const manifest = rig.manifest({
        session,
        agent: {
          command: agent('environment.mjs'),
          env: {
            LOG_LEVEL: 'debug',
            FROM_CALLER: 'changed',
            TOKEN: '${SECRET}',
            PRICE: '5$$',
            EMPTY: '',
            // Metawsm's own come last; the others are anybody's.
            METAWSM_RUN_ID: 'forged',
            METAWSM_FLAVOUR: 'mine',
          },
        },
      });
      // git's own variables are the caller's, too: an agent pushes with them.
      const caller = {
        SECRET: 'a secret; with $signs "and" more\nlines',
        FROM_CALLER: 'original',
        GIT_AUTHOR_NAME: 'Somebody',
        EDITOR: 'vi',
        UNICODE: 'ä→',
      };
      await rig.run('apply run.yaml', { env: caller });
      const { env, cwd } = JSON.parse(await rig.untilFile('environment-agent.json')) as Seen;

      const { run, repos } = await rig.status();
      const sentinels = path.join(run.workspace, '.metawsm');
      const expected: Record<string, string> = {
        ...rig.env,
        ...caller,
        LOG_LEVEL: 'debug',
        FROM_CALLER: 'changed',
        TOKEN: caller.SECRET,
        PRICE: '5$',
        EMPTY: '',
        METAWSM_FLAVOUR: 'mine',
        METAWSM_RUN_ID: run.id,
        METAWSM_TICKET: 'ABC-1',
        METAWSM_AGENT: 'agent',
        METAWSM_ATTEMPT: '1',
        METAWSM_WORKSPACE: run.workspace,
        METAWSM_SENTINEL_DIR: sentinels,
        METAWSM_BRIEF: path.join(sentinels, 'brief.md'),
        METAWSM_MANIFEST_DIR: path.dirname(manifest),
        METAWSM_STATE_DIR: rig.stateFolder,
        // Where the agent is, not where its caller was.
        PWD: cwd,
        PATH: env.PATH ?? '',
        ...(session === 'tmux' ? ofThePane(env) : {}),
      };
      expect(env).toEqual(expected);
      expect(env.PATH?.endsWith(rig.env.PATH ?? '')).toBe(true);
      expect(cwd).toBe(repos[0]?.path);
    },
  );

  testHere('what the manifest declares holds also where a pane has its own', async ({ rig }) => {
    await rig.repo('api');
    const declared = { TERM: 'dumb', TMUX: 'mine', TMUX_PANE: '' };
    rig.manifest({ session, agent: { command: agent('environment.mjs'), env: declared } });
    await rig.run('apply run.yaml', { env: { TERM: 'xterm' } });
    const { env } = JSON.parse(await rig.untilFile('environment-agent.json')) as Seen;
    expect(env).toMatchObject(declared);
  });

  testHere('an agent started again gets the environment of who starts it', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest({
      session,
      agent: { command: 'printf %s "$WHO" > "$RIG_DIR/who-$METAWSM_ATTEMPT"; sleep 1000' },
    });
    await rig.run('apply run.yaml', { env: { WHO: 'first' } });
    await rig.run('restart run.yaml', { env: { WHO: 'second' } });
    expect(await rig.untilFile('who-1')).toBe('first');
    await rig.until('the second start', () => readdirSync(rig.dir).includes('who-2'));
    expect(rig.read('who-2')).toBe('second');
  });

  testHere('a secret of the environment is in no file, document or command line', async ({ rig }) => {
    const secret = 'hunter2-hunter2-hunter2';
    const env = { MY_SECRET: secret };
    await rig.repo('api');
    rig.manifest({
      session,
      repos: [{ name: 'api', path: '../repos/api', setup: ['true'] }],
      agent: { command: agent('live'), env: { TOKEN: '${MY_SECRET}', URL: 'https://x:${MY_SECRET}@y' } },
    });
    const plan = await rig.run('plan run.yaml --json', { env });
    const apply = await rig.run('apply run.yaml --json', { env });
    await rig.untilFile('alive-agent-1');
    const status = await rig.run('status run.yaml --json', { env });
    for (const { text } of [plan, apply, status]) expect(text).not.toContain(secret);

    for (const file of filesBelow(rig.stateFolder))
      expect(readFileSync(path.join(rig.stateFolder, file)).includes(secret), file).toBe(false);
    const { run } = await rig.status();
    for (const file of filesBelow(run.workspace))
      expect(readFileSync(path.join(run.workspace, file)).includes(secret), file).toBe(false);
    expect(commandLines().filter(([, argv]) => argv.join(' ').includes(secret))).toEqual([]);
  });
});

test('a secret that the agent prints is masked in what metawsm shows', async ({ rig }) => {
  const secret = 'hunter2-hunter2-hunter2';
  await rig.repo('api');
  rig.manifest({
    agent: {
      command: 'echo "token is $TOKEN, level is $LEVEL"; exit 3',
      env: { TOKEN: '${MY_SECRET}', LEVEL: 'production' },
    },
    policy: { start_grace: '20s' },
  });
  const env = { MY_SECRET: secret };
  const applied = await rig.run('apply run.yaml', { env, code: 1 });
  const logs = await rig.run('logs run.yaml', { env });
  const json = await rig.run('apply run.yaml --json', { env, code: 1 });
  for (const { text } of [applied, logs, json]) {
    expect(text).not.toContain(secret);
    // What the manifest itself says is no secret.
    expect(text).toContain('level is production');
  }
});

test('a secret of several lines is masked too, and in the last words of an agent that was killed', async ({
  rig,
}) => {
  const key = ['-----BEGIN KEY-----', 'c2VjcmV0', 'bW9yZQ==', '-----END KEY-----', ''].join('\n');
  const env = { MY_TOKEN: 'hunter2-hunter2', MY_OTHER: 'hunter2-hunter2-and-more', MY_KEY: key };
  await rig.repo('api');
  rig.manifest({
    session: hasTmux ? 'tmux' : 'process',
    repos: [{ name: 'api', path: '../repos/api', setup: ['echo "setup $MY_TOKEN"; [ -e "$RIG_DIR/good" ]'] }],
    agent: {
      // It goes once its log holds its last word.
      command:
        'echo "$TOKEN" "$OTHER" $MORE; echo "$KEY"; seq 8; ' +
        'until grep -q "^8" "$METAWSM_SENTINEL_DIR/agent.log"; do sleep 0.05; done; kill -9 $PPID $$',
      env: { TOKEN: '${MY_TOKEN}', OTHER: '${MY_OTHER}', KEY: '${MY_KEY}' },
    },
    policy: { start_grace: '20s', step_retries: 0 },
  });
  const failed = await rig.run('apply run.yaml', { env, code: 1 });
  expect(failed.text).toContain('setup ***');
  rig.touch('good');
  const died = await rig.run('apply run.yaml', { env, code: 1 });
  expect(died.text).toMatch(/died|SIGKILL/);
  const logs = await rig.run('logs run.yaml', { env });
  expect(logs.text).toContain('*** ***');
  const json = await rig.run('logs run.yaml --json', { env });
  for (const { text } of [failed, died, logs, json])
    expect(text).not.toMatch(/hunter2|and-more|c2VjcmV0|bW9y/);
});

test('another value behind a variable is no change of the manifest, another text is', async ({ rig }) => {
  await rig.repo('api');
  const command = agent('live');
  rig.manifest({ agent: { command, env: { TOKEN: '${MY_SECRET}' } } });
  await rig.run('apply run.yaml', { env: { MY_SECRET: 'the-first-secret' } });
  await rig.untilFile('alive-agent-1');
  const other = { MY_SECRET: 'the-other-secret', MY_OTHER: 'the-other-secret' };
  await rig.run('plan run.yaml --detailed-exitcode', { env: other });

  rig.manifest({ agent: { command, env: { TOKEN: '${MY_OTHER}' } } });
  const { changes } = await rig.json<Plan>('plan run.yaml --detailed-exitcode', { env: other, code: 2 });
  expect(changes).toMatchObject([{ path: '/agents/agent/env', effect: 'restart' }]);
});

test('commands run under bash, and find the manifest’s folder', async ({ rig }) => {
  await rig.repo('api');
  rig.write('tools/agent.sh', 'touch "$RIG_DIR/found"; metawsm signal complete --summary "${1^^}"\n');
  rig.manifest({ agent: { command: 'set -o pipefail; bash "$METAWSM_MANIFEST_DIR/tools/agent.sh" "yes"' } });
  await rig.run('apply run.yaml --wait');
  expect((await rig.agentNamed()).summary).toBe('YES');
});

test('an agent’s input is empty, not a terminal and not a pipe that hangs', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({
    agent: {
      command: 'cat > "$RIG_DIR/input" && metawsm signal complete --summary "$(wc -c < "$RIG_DIR/input")"',
    },
  });
  await rig.run('apply run.yaml --wait --timeout 20s', { stdin: 'open' });
  expect((await rig.agentNamed()).summary?.trim()).toBe('0');
});

test('the environment of who runs metawsm does not change what it does with git', async ({ rig }) => {
  const api = await rig.repo('api');
  const other = await rig.repo('other');
  rig.manifest({ agents: [] });
  await rig.run('apply run.yaml', {
    env: {
      GIT_DIR: path.join(other.path, '.git'),
      GIT_WORK_TREE: other.path,
      GIT_INDEX_FILE: path.join(rig.dir, 'nowhere'),
    },
  });
  expect(await api.worktrees()).toHaveLength(1);
  expect(await other.worktrees()).toEqual([]);
});
