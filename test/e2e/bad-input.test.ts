import { execFileSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import type { Status } from '../support/documents.js';
import { hasTmux, type Rig, test } from '../support/rig.js';
import { filesBelow, snapshot } from '../support/snapshot.js';

const STACK = /\n\s+at .*(\.js|node:)|internal error|bug in metawsm/;

const valid = `version: 1
ticket: ABC-1
repos:
  - name: api
    path: ../repos/api
intake: {goal: g, scope: s, constraints: c}
done_criteria: [It works]
agent: {command: 'true'}
`;

describe('a manifest that is', () => {
  const hostile: readonly (readonly [what: string, put: (file: string) => void])[] = [
    ['of 100 MB', (file) => truncateSync(write(file, valid), 100 * 1024 * 1024)],
    ['a FIFO', (file) => execFileSync('mkfifo', [file])],
    ['a folder', (file) => mkdirSync(file)],
    ['a device', (file) => symlinkSync('/dev/zero', file)],
    ['a link to itself', (file) => symlinkSync(file, file)],
    ['full of NUL bytes', (file) => write(file, '\0'.repeat(5000))],
    ['text with a NUL byte', (file) => write(file, valid.replace('goal: g', 'goal: "g\0"'))],
    ['text with an escaped NUL', (file) => write(file, valid.replace('goal: g', 'goal: "g\\0"'))],
    ['indented with tabs', (file) => write(file, valid.replaceAll('  ', '\t'))],
    ['with a key twice', (file) => write(file, valid.replace('scope: s', 'goal: h, scope: s'))],
    ['with __proto__', (file) => write(file, `${valid}__proto__: {version: 1}\n`)],
    ['with __proto__ in a repo', (file) => write(file, valid.replace('name: api', '__proto__: {name: api}'))],
    ['with constructor', (file) => write(file, `${valid}constructor: {prototype: {x: 1}}\n`)],
    ['with an absolute name', (file) => write(file, valid.replace('name: api', 'name: /etc/passwd'))],
    ['with a name that climbs', (file) => write(file, valid.replace('name: api', 'name: ../../api'))],
    [
      'with a name that is a flag',
      (file) => write(file, valid.replace('name: api', 'name: --upload-pack=x')),
    ],
    ['with a ticket that is a flag', (file) => write(file, valid.replace('ABC-1', '--force'))],
    ['with a branch that is a flag', (file) => write(file, `${valid}base_branch: --force\n`)],
    [
      'with a url that is a flag',
      (file) => write(file, valid.replace('path: ../repos/api', 'url: --upload-pack=x')),
    ],
    [
      'with a url that is a program',
      (file) => write(file, valid.replace('path: ../repos/api', 'url: "ext::sh -c x"')),
    ],
    [
      'nested deep',
      (file) => write(file, valid.replace('scope: s', `scope: ${'['.repeat(900)}${']'.repeat(900)}`)),
    ],
    ['an alias bomb', (file) => write(file, bomb())],
    ['UTF-16', (file) => writeFileSync(file, Buffer.from(`\ufeff${valid}`, 'utf16le'))],
  ];

  test.for(hostile)('%s is refused with a place, and nothing is written', async ([, put], { rig }) => {
    const file = path.join(rig.project, 'run.yaml');
    put(file);
    const before = readdirSync(rig.project).sort();
    for (const command of ['validate', 'plan', 'apply']) {
      const { text } = await rig.run([command, 'run.yaml'], { code: 65, timeout: 20_000 });
      expect(text).toMatch(/run\.yaml(:\d+:\d+)?:? /);
      expect(text).not.toMatch(STACK);
      expect(text.length).toBeLessThan(20_000);
    }
    expect(readdirSync(rig.project).sort()).toEqual(before);
    expect(({} as { version?: unknown }).version).toBeUndefined();
  });

  test('with a byte order mark and CRLF is as good as any', async ({ rig }) => {
    await rig.repo('api');
    rig.write('run.yaml', `\ufeff${valid.replaceAll('\n', '\r\n')}`);
    await rig.run('validate run.yaml');
    await rig.run('plan run.yaml');
  });
});

function write(file: string, text: string): string {
  writeFileSync(file, text);
  return file;
}

function bomb(): string {
  const levels = Array.from({ length: 12 }, (_, i) => `a${i + 1}: &a${i + 1} [${`*a${i}, `.repeat(10)}]`);
  return `a0: &a0 [x]\n${levels.join('\n')}\n${valid}`;
}

describe.each(['process', 'tmux'] as const)('with %s sessions', (session) => {
  test.skipIf(session === 'tmux' && !hasTmux)(
    'what a shell would run is run nowhere and arrives as it was written',
    async ({ rig }) => {
      let count = 0;
      /** A text that leaves a file behind where any shell reads it. */
      const trap = (word: string): string => {
        const mark = `${rig.dir}/pwned-${count++}`;
        return `${word} $(touch ${mark}) \`touch ${mark}\` "; touch ${mark}; ' & | > \${HOME} %H #{pane_id} \\ *`;
      };
      const branch = 'x$(id)`id`;&|/{workspace}';
      const repoName = 'api';
      const source = path.join(rig.dir, "repos/$(touch pwned) `id` ; 'q' #{pid} %H");
      const api = await rig.repo('api', { files: { 'README.md': 'x\n' } });
      renameSync(api.path, source);
      const yaml = (text: string): string => text.replaceAll('$', '$$$$');
      const title = trap('title');
      const goal = `${trap('goal')}\n${trap('second line')}`;
      const answer = trap('intake answer');
      const words = trap('criterion');
      const value = trap('env');
      writeFileSync(path.join(source, '$(touch pwned) `id`.env'), 'A=1\n');
      rig.manifest({
        session,
        ticket: { id: 'ABC-1', title, topics: ['a$(touch pwned)', '`id`'] },
        repos: [
          {
            name: repoName,
            path: yaml(source),
            copy: ['$(touch pwned) `id`.env'],
            link: ['$(touch pwned)'],
          },
        ],
        workspace: { root: yaml('../ws $(touch pwned) `id` #{pid} %H'), branch },
        intake: {
          goal,
          scope: trap('scope'),
          constraints: trap('c'),
          answers: [{ question: trap('q'), answer }],
        },
        done_criteria: [words],
        agent: {
          command: [
            process.execPath,
            '-e',
            `require('fs').writeFileSync(process.env.RIG_DIR + '/seen.json', JSON.stringify({
               value: process.env.VALUE, argv: process.argv.slice(1), brief: process.env.METAWSM_BRIEF, cwd: process.cwd() }));
             setTimeout(() => {}, 1e6)`,
            '--',
            trap('argument'),
          ],
          env: { VALUE: yaml(value) },
        },
      });
      const state = path.join(rig.dir, "state $(touch pwned) `id` ; 'q' #{pane_id} %H");
      const flag = ['--state', state];
      await rig.run(['plan', 'run.yaml', ...flag]);
      await rig.run(['apply', 'run.yaml', ...flag]);
      const seen = JSON.parse(await rig.untilText('seen.json', '}')) as {
        value: string;
        argv: string[];
        brief: string;
      };
      expect(seen.value).toBe(value);
      expect(seen.argv[0]).toBe(
        `argument${value.slice('env'.length).replaceAll(/pwned-\d+/g, /pwned-\d+/.exec(seen.argv[0] ?? '')?.[0] ?? '')}`,
      );

      const status = await rig.json<Status>(['status', 'run.yaml', ...flag]);
      const [repo] = status.repos;
      expect(repo?.branch.startsWith('x$(id)`id`;&|/')).toBe(true);
      expect(existsSync(path.join(repo?.path ?? '', '$(touch pwned) `id`.env'))).toBe(true);
      expect(status.run.title).toBe(title);
      expect(status.criteria[0]?.text).toBe(words);
      const brief = readFileSync(seen.brief, 'utf8');
      for (const text of [title, ...goal.split('\n'), answer, words]) expect(brief).toContain(text);

      const question = trap('question');
      const folder = path.dirname(seen.brief);
      writeFileSync(path.join(folder, 'guidance-request.json'), JSON.stringify({ question }));
      const reply = `${trap('reply')}\n--force`;
      const guided = await rig.run(['guide', 'run.yaml', '--answer', reply, ...flag]);
      expect(guided.stdout).toContain(question);
      const response = JSON.parse(readFileSync(path.join(folder, 'guidance-response.json'), 'utf8'));
      expect(response).toMatchObject({ question, answer: reply });

      const feedback = trap('feedback');
      await rig.run(['iterate', 'run.yaml', '--feedback', feedback, ...flag]);
      expect(readFileSync(path.join(folder, 'operator-feedback.md'), 'utf8')).toContain(feedback);
      writeFileSync(
        path.join(folder, 'implementation-complete.json'),
        JSON.stringify({ summary: trap('summary') }),
      );
      await rig.run(['verify', 'run.yaml', ...flag], { code: 'any' });
      await rig.run(['logs', 'run.yaml', ...flag]);
      await rig.run(['cleanup', 'run.yaml', '--force', ...flag]);
      const left = filesBelow(rig.dir).filter((file) => /(^|\/)pwned(-\d+)?$/.test(file));
      expect(left).toEqual([]);
    },
  );
});

/** A run with a live agent, and what lies outside of its workspace and must stay as it is. */
async function live(rig: Rig): Promise<{ status: Status; folder: string; outside: string; file: string }> {
  await rig.repo('api');
  rig.manifest();
  const status = await rig.applied();
  const outside = path.join(rig.dir, 'outside');
  mkdirSync(outside);
  const file = path.join(outside, 'precious');
  writeFileSync(file, '{"question": "from outside"}\n');
  return { status, folder: status.agents[0]?.sentinel_dir ?? '', outside, file };
}

const intake = { goal: 'Something else', scope: 'The login endpoint', constraints: 'No new dependencies' };

/** What has metawsm write into the folder of an agent. */
const writing: readonly (readonly [what: string, act: (rig: Rig) => Promise<{ text: string }>])[] = [
  [
    'a changed intake',
    (rig) => {
      rig.manifest({ intake });
      return rig.run('apply run.yaml', { code: 'any' });
    },
  ],
  ['an answer', (rig) => rig.run(['guide', 'run.yaml', '--answer', 'yes'], { code: 'any' })],
  ['feedback', (rig) => rig.run(['iterate', 'run.yaml', '--feedback', 'More'], { code: 'any' })],
  ['a restart', (rig) => rig.run('restart run.yaml', { code: 'any' })],
  ['verify', (rig) => rig.run('verify run.yaml', { code: 'any' })],
  ['status', (rig) => rig.run('status run.yaml', { code: 'any' })],
];

describe('the folder of an agent that became a link', () => {
  test.for(writing)('%s neither reads nor writes through it', async ([, act], { rig }) => {
    const { folder, outside } = await live(rig);
    writeFileSync(path.join(folder, 'guidance-request.json'), '{"question": "Which?"}');
    await rig.untilState('awaiting_guidance');
    // All of it moves, so that whoever follows the link finds what he looks for.
    const elsewhere = path.join(outside, 'sentinels');
    renameSync(folder, elsewhere);
    symlinkSync(elsewhere, folder);
    mkdirSync(path.join(elsewhere, 'archive'), { recursive: true });
    const before = snapshot(outside);

    const { text } = await act(rig);
    expect(text).not.toMatch(STACK);
    expect(snapshot(outside)).toEqual(before);
    expect(lstatSync(folder).isSymbolicLink()).toBe(true);
    expect(text).toMatch(/\.metawsm.* (symbolic link|link)/s);
  });

  test('cleanup removes the link and not what it leads to', async ({ rig }) => {
    const { folder, outside, status } = await live(rig);
    const elsewhere = path.join(outside, 'sentinels');
    renameSync(folder, elsewhere);
    symlinkSync(elsewhere, folder);
    const before = snapshot(outside);
    await rig.run('cleanup run.yaml --force');
    expect(snapshot(outside)).toEqual(before);
    expect(existsSync(status.run.workspace)).toBe(false);
  });
});

describe('links and FIFOs in place of files', () => {
  const names = [
    'brief.md',
    'context.json',
    'operator-feedback.md',
    'guidance-response.json',
    'validation-result.json',
    'implementation-complete.json',
    'agent.log',
  ] as const;
  const things: readonly (readonly [what: string, put: (file: string, outside: string) => void])[] = [
    ['a link to a file outside', (file, outside) => symlinkSync(outside, file)],
    ['a FIFO', (file) => execFileSync('mkfifo', [file])],
  ];
  const cases = names.flatMap((name) => things.map(([what, put]) => [name, what, put] as const));

  test.for(cases)('%s: %s is neither followed nor waited for', async ([name, , put], { rig }) => {
    const { folder, outside, file } = await live(rig);
    writeFileSync(path.join(folder, 'guidance-request.json'), '{"question": "Which?"}');
    await rig.untilState('awaiting_guidance');
    rmSync(path.join(folder, name), { force: true });
    put(path.join(folder, name), file);
    const before = snapshot(outside);
    for (const [, act] of writing) {
      const { text } = await act(rig);
      expect(text).not.toMatch(STACK);
      expect(snapshot(outside)).toEqual(before);
    }
    await rig.run('logs run.yaml');
    await rig.run('signal complete --summary x', {
      cwd: path.dirname(folder),
      env: { METAWSM_SENTINEL_DIR: folder },
      code: 'any',
    });
    expect(snapshot(outside)).toEqual(before);
    await rig.run('cleanup run.yaml --force');
    expect(snapshot(outside)).toEqual(before);
  });

  test('the archive as a link', async ({ rig }) => {
    const { folder, outside } = await live(rig);
    writeFileSync(path.join(folder, 'guidance-request.json'), '{"question": "Which?"}');
    await rig.untilState('awaiting_guidance');
    symlinkSync(outside, path.join(folder, 'archive'));
    const before = snapshot(outside);
    for (const [, act] of writing) expect((await act(rig)).text).not.toMatch(STACK);
    expect(snapshot(outside)).toEqual(before);
    // The question was not lost over it.
    rmSync(path.join(folder, 'archive'));
    expect(existsSync(path.join(folder, 'guidance-request.json'))).toBe(true);
  });

  const records = ['agent.log', 'launch.json', 'started.json', 'exit.json', 'claim', 'wrapper.log'];
  const inRecords = records.flatMap((name) => things.map(([what, put]) => [name, what, put] as const));

  test.for(inRecords)('in the records of the next attempt, %s: %s', async ([name, , put], { rig }) => {
    const { status, outside, file } = await live(rig);
    const next = path.join(rig.stateFolder, 'runs', status.run.id, 'agents/agent/attempt-2');
    mkdirSync(next);
    put(path.join(next, name), file);
    const before = snapshot(outside);
    const { text } = await rig.run('restart run.yaml', { code: 'any' });
    expect(text).not.toMatch(STACK);
    for (const command of ['status run.yaml', 'logs run.yaml', 'runs', 'stop run.yaml'])
      expect((await rig.run(command, { code: 'any' })).text).not.toMatch(STACK);
    expect(snapshot(outside)).toEqual(before);
    // The next one has a folder of its own.
    await rig.run('restart run.yaml');
    expect(await rig.state()).toBe('running');
  });

  test('a workspace that became a link is not gone into', async ({ rig }) => {
    const { status, outside } = await live(rig);
    const elsewhere = path.join(outside, 'ws');
    renameSync(status.run.workspace, elsewhere);
    symlinkSync(elsewhere, status.run.workspace);
    const before = snapshot(path.join(elsewhere, '.metawsm'));
    for (const command of [
      'status run.yaml',
      'plan run.yaml',
      'apply run.yaml',
      'cleanup run.yaml --force',
    ]) {
      const { text } = await rig.run(command, { code: 'any' });
      expect(text).not.toMatch(STACK);
    }
    expect(snapshot(path.join(elsewhere, '.metawsm'))).toEqual(before);
    expect(existsSync(path.join(elsewhere, 'api/README.md'))).toBe(true);
  });
});
