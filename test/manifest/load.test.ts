import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { formatDiagnostic } from '../../src/manifest/diagnostic.js';
import type { Intent } from '../../src/manifest/intent.js';
import { loadManifest } from '../../src/manifest/load.js';
import { minimal } from './minimal.js';

let folder: string;
const env = { HOME: '/home/me', CODE: '/code', LEVEL: 'debug' };

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'metawsm-manifest-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function load(text: string | Buffer) {
  await writeFile(join(folder, 'm.yaml'), text);
  return loadManifest('m.yaml', env, folder);
}

async function intent(text: string | Buffer): Promise<Intent> {
  const loaded = await load(text);
  if (!loaded.ok) throw new Error(loaded.problems.map(formatDiagnostic).join('\n'));
  return loaded.intent;
}

async function problems(text: string | Buffer): Promise<string[]> {
  const loaded = await load(text);
  return loaded.ok ? [] : loaded.problems.map(formatDiagnostic);
}

describe('a good manifest', () => {
  test('with everything in it', async () => {
    const text = `# yaml-language-server: $schema=../schemas/manifest.schema.json
version: 1
ticket:
  id: METAWSM-003
  title: Rate-limit the login endpoint
  topics: [api, security]
base_branch: main
repos:
  - name: api
    path: ../api
    base_branch: develop
    copy: [.env, "config/*.local"]
    link: [node_modules]
    setup: [npm ci, [make, "a b"]]
  - name: web
    path: \${CODE}/web
  - name: docs
    url: ../docs.git
  - name: remote
    url: git@example.org:team/remote.git
  - listed
workspace:
  root: ~/work
  branch: task/{ticket}/{token}
intake:
  goal: |
    Limit it.
    To 5 a minute.
  scope: the endpoint
  constraints: no new service
  answers: [{question: Where?, answer: In the proxy}]
  merge_intent: pull_request
done_criteria:
  - The README documents the new header
  - run: npm test
    repo: api
    timeout: 90s
  - run: [make, check]
agents:
  - name: coder
    command: cd . && codex exec - < "$METAWSM_BRIEF"
    env: { LOG_LEVEL: "\${LEVEL}", PORT: 8080, PRICE: $$5, ON: yes, HOME2: ~ }
    cwd: api
    complete_on: exit
  - name: reviewer-2
    command: [codex, exec, "-"]
session: process
tickets:
  driver: docmgr
  root: ../ttmp
policy:
  step_retries: 0
  start_grace: 500ms
  restart_budget: 7
  fix_attempts: 2
  health: { idle: 1m, activity_stalled: 2h, progress_stalled: 3s }
`;
    const parent = join(folder, '..');
    expect(await intent(text)).toStrictEqual({
      intentVersion: 1,
      manifestPath: join(folder, 'm.yaml'),
      ticket: { id: 'METAWSM-003', title: 'Rate-limit the login endpoint', topics: ['api', 'security'] },
      repos: [
        {
          name: 'api',
          source: { kind: 'path', path: join(parent, 'api') },
          baseBranch: 'develop',
          copy: ['.env', 'config/*.local'],
          link: ['node_modules'],
          setup: ['npm ci', ['make', 'a b']],
        },
        repo('web', { kind: 'path', path: '/code/web' }),
        repo('docs', { kind: 'url', url: join(parent, 'docs.git') }),
        repo('remote', { kind: 'url', url: 'git@example.org:team/remote.git' }),
        repo('listed', { kind: 'registry' }),
      ],
      workspace: { root: '/home/me/work', branch: 'task/{ticket}/{token}' },
      intake: {
        goal: 'Limit it.\nTo 5 a minute.\n',
        scope: 'the endpoint',
        constraints: 'no new service',
        answers: [{ question: 'Where?', answer: 'In the proxy' }],
        mergeIntent: 'pull_request',
      },
      criteria: [
        { kind: 'worded', text: 'The README documents the new header' },
        { kind: 'command', run: 'npm test', repo: 'api', timeoutMs: 90_000 },
        { kind: 'command', run: ['make', 'check'], repo: null, timeoutMs: 600_000 },
      ],
      agents: [
        {
          name: 'coder',
          command: 'cd . && codex exec --skip-git-repo-check - < "$METAWSM_BRIEF"',
          env: { LOG_LEVEL: '${LEVEL}', PORT: '8080', PRICE: '$$5', ON: 'yes', HOME2: '~' },
          cwd: 'api',
          completeOn: 'exit',
        },
        {
          name: 'reviewer-2',
          command: ['codex', 'exec', '--skip-git-repo-check', '-'],
          env: {},
          cwd: null,
          completeOn: 'signal',
        },
      ],
      session: 'process',
      tickets: { driver: 'docmgr', root: join(parent, 'ttmp') },
      policy: {
        stepRetries: 0,
        startGraceMs: 500,
        restartBudget: 7,
        fixAttempts: 2,
        health: { idleMs: 60_000, activityStalledMs: 7_200_000, progressStalledMs: 3000 },
      },
    } satisfies Intent);
  });

  test('with as little as possible has the defaults', async () => {
    expect(await intent(minimal())).toStrictEqual({
      intentVersion: 1,
      manifestPath: join(folder, 'm.yaml'),
      ticket: { id: 'T-1', title: 'T-1', topics: [] },
      repos: [repo('api', { kind: 'path', path: join(folder, '..', 'api') })],
      workspace: { root: '/home/me/workspaces', branch: 'task/{workspace}' },
      intake: { goal: 'g', scope: 's', constraints: 'c', answers: [], mergeIntent: 'default' },
      criteria: [{ kind: 'worded', text: 'it works' }],
      agents: [{ name: 'agent', command: './agent.sh', env: {}, cwd: null, completeOn: 'signal' }],
      session: 'auto',
      tickets: { driver: 'files', root: null },
      policy: {
        stepRetries: 1,
        startGraceMs: 2000,
        restartBudget: 3,
        fixAttempts: 0,
        health: { idleMs: 300_000, activityStalledMs: 900_000, progressStalledMs: 1_200_000 },
      },
    } satisfies Intent);
  });

  test.each([
    ['007', '007'],
    ['123', '123'],
    ['0x10', '0x10'],
    ['1e5', '1e5'],
    ['3.10', '3.10'],
    ['12345678901234567890', '12345678901234567890'],
    ['yes', 'yes'],
    ['true', 'true'],
    ['2024-01-01', '2024-01-01'],
    ['"007"', '007'],
  ])('takes the ticket id %s as written', async (written, id) => {
    expect((await intent(minimal({ ticket: `ticket: ${written}` }))).ticket.id).toBe(id);
    expect((await intent(minimal({ ticket: `ticket: {id: ${written}}` }))).ticket.id).toBe(id);
  });

  test('may have a byte order mark and CRLF', async () => {
    const text = `\ufeff${minimal().replaceAll('\n', '\r\n')}`;
    expect((await intent(text)).ticket.id).toBe('T-1');
    expect(await problems(text.replace('version: 1', 'version: 2'))).toEqual([
      'm.yaml:1:10: version is 2, which is not known; write version: 1 (a plain number)',
    ]);
  });

  test('may have no agents, anchors, a document mark and a key called __proto__ in env', async () => {
    expect((await intent(minimal({ agent: 'agents: []' }))).agents).toEqual([]);
    const loaded = await intent(
      `---\n${minimal({ agent: 'agents: [{name: a, command: &c [x, y], env: {__proto__: p}}, {name: b, command: *c}]' })}`,
    );
    expect(loaded.agents.map(({ command }) => command)).toEqual([
      ['x', 'y'],
      ['x', 'y'],
    ]);
    expect(Object.entries(loaded.agents[0]?.env ?? {})).toEqual([['__proto__', 'p']]);
  });

  test('may name the home folder with a plain ~', async () => {
    const loaded = await intent(minimal({ workspace: 'workspace: {root: ~}\n' }));
    expect(loaded.workspace.root).toBe('/home/me');
  });

  test('is warned about a password in a url and a tickets root that is not used', async () => {
    const loaded = await load(
      minimal({
        repos: 'repos: [{name: api, url: "https://me:secret@example.org/x"}]',
        tickets: 'tickets: {driver: none, root: x}\n',
      }),
    );
    expect(loaded.ok && loaded.warnings.map(formatDiagnostic)).toEqual([
      "m.yaml:3:26: repos[0].url holds a password, which is stored with the run; use git's credential helper",
      'm.yaml:12:31: tickets.root is not used with driver none; remove it',
    ]);
  });

  test('is warned about a variable that metawsm sets itself', async () => {
    const agent = 'agent: {command: x, env: {METAWSM_BRIEF: x, METAWSM_OTHER: x}}';
    const loaded = await load(minimal({ agent }));
    expect(loaded.ok && loaded.warnings.map(formatDiagnostic)).toEqual([
      expect.stringMatching(
        /^m\.yaml:10:27: the environment variable METAWSM_BRIEF is metawsm's own: .*; remove it$/,
      ),
    ]);
  });

  function repo(name: string, source: Intent['repos'][number]['source']) {
    return { name, source, baseBranch: 'main', copy: [], link: [], setup: [] };
  }
});

describe('a file that cannot be read', () => {
  const said = async (file: string) => {
    const loaded = await loadManifest(file, env, folder);
    return loaded.ok ? null : loaded.problems.map(formatDiagnostic);
  };

  test('is missing', async () => {
    const advice = 'check the path';
    expect(await said('no.yaml')).toEqual([`no.yaml:1:1: no such file; ${advice}`]);
    const absolute = join(folder, 'no.yaml');
    expect(await said(absolute)).toEqual([`${absolute}:1:1: no such file; ${advice}`]);
    await writeFile(join(folder, 'file'), '');
    expect(await said('file/m.yaml')).toEqual([
      'file/m.yaml:1:1: no such file: a part of its path is not a folder; check the path',
    ]);
    expect(await said('a\0b')).toEqual(['a\\u0000b:1:1: is no file name']);
  });

  test('is a folder, a FIFO, a device or a circle of links', async () => {
    await mkdir(join(folder, 'd.yaml'));
    expect(await said('d.yaml')).toEqual(['d.yaml:1:1: is a folder; name a manifest file']);
    execFileSync('sh', ['-c', 'mkfifo fifo.yaml'], { cwd: folder });
    expect(await said('fifo.yaml')).toEqual(['fifo.yaml:1:1: is not a regular file; name a manifest file']);
    expect(await said('/dev/zero')).toEqual(['/dev/zero:1:1: is not a regular file; name a manifest file']);
    await symlink('loop.yaml', join(folder, 'loop.yaml'));
    expect(await said('loop.yaml')).toEqual([
      'loop.yaml:1:1: cannot be read: its symbolic links lead in a circle; name the file itself',
    ]);
  });

  test('is a link to a manifest, which is fine', async () => {
    await writeFile(join(folder, 'real.yaml'), minimal());
    await symlink('real.yaml', join(folder, 'link.yaml'));
    expect((await loadManifest('link.yaml', env, folder)).ok).toBe(true);
  });

  test('is larger than 1 MiB', async () => {
    const limit = 1024 * 1024;
    const text = minimal();
    const fill = (size: number) => `${text}#${'x'.repeat(size - text.length - 1)}`;
    expect(await problems(fill(limit))).toEqual([]);
    expect(await problems(fill(limit + 1))).toEqual([
      'm.yaml:1:1: is larger than 1 MiB; keep long texts in files of their own',
    ]);
  });

  test('has a replacement character that was meant, and a broken byte after it', async () => {
    expect(await problems(minimal({ agent: 'agent: {command: "\ufffd"}' }))).toEqual([]);
    const broken = Buffer.concat([Buffer.from('# \ufffd \ufffd\n# é '), Buffer.from([0xc3, 0x28])]);
    expect(await problems(broken)).toEqual(['m.yaml:2:5: is not UTF-8 text; save it as UTF-8']);
  });

  test('has a carriage return in the middle of a line', async () => {
    expect(await problems(minimal().replace('it works', 'it\rworks'))).toEqual([
      'm.yaml:9:7: control character U+000D; remove it: a manifest is plain text',
    ]);
  });
});

describe('hostile YAML', () => {
  const mib = 1024 * 1024;
  test.each([
    ['brackets', '['.repeat(mib)],
    ['quotes', '"'.repeat(mib)],
    ['commas', ','.repeat(mib)],
    ['tags', '!a '.repeat(mib / 3)],
    ['aliases', '*a '.repeat(mib / 3)],
    ['anchors', '- &a x\n'.repeat(mib / 7)],
    ['keys', Array.from({ length: 60_000 }, (_, index) => `k${index}: v`).join('\n')],
    ['nested lists', '- '.repeat(mib / 2)],
    ['deep indentation', Array.from({ length: 1400 }, (_, depth) => `${' '.repeat(depth)}a:`).join('\n')],
    ['two deep documents', `${'{a: '.repeat(1000)}\n---\n${'{a: '.repeat(1000)}`],
    ['question marks', '? '.repeat(mib / 2)],
    ['percent', '%'.repeat(mib)],
    ['line breaks', '\n'.repeat(mib)],
    ['spaces', ' '.repeat(mib)],
    ['pipes', '|'.repeat(mib)],
    ['comments', '# x\n'.repeat(mib / 4)],
    ['one word', 'x'.repeat(mib)],
    ['escapes', `"${'\\n'.repeat(mib / 2 - 2)}"`],
  ])('%s of 1 MiB are refused', async (_, text) => {
    expect((await problems(text)).length).toBeGreaterThan(0);
  });
});
