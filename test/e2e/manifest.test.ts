import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import { ready } from '../support/closing.js';
import type { EventLine, Plan, Validation } from '../support/documents.js';
import { agent, test } from '../support/rig.js';

const valid = `version: 1
ticket: ABC-1
repos:
  - name: api
    path: ../repos/api
workspace:
  root: ../workspaces
intake:
  goal: Limit logins
  scope: The endpoint
  constraints: None
done_criteria:
  - It works
agent:
  command: 'true'
`;

/** What is wrong, how the valid manifest is changed to be so, and a word that the message must have. */
const invalid: readonly (readonly [what: string, text: string | Buffer, word: RegExp])[] = [
  ['an unknown key', `${valid}done_criterion: [x]\n`, /done_criterion.*done_criteria/s],
  ['a misspelt key in a repo', valid.replace('path:', 'pth:'), /pth.*path/s],
  ['a duplicate key', `${valid}version: 1\n`, /version|duplicate|unique/i],
  ['a missing goal', valid.replace('  goal: Limit logins\n', ''), /goal/],
  ['a blank goal', valid.replace('Limit logins', '"  "'), /goal|blank|empty/],
  ['no done criteria', valid.replace('\n  - It works', ' []'), /done_criteria/],
  ['no repos', valid.replace(/repos:[\s\S]*?workspace/, 'repos: []\nworkspace'), /repos/],
  ['a later version', valid.replace('version: 1', 'version: 2'), /version/],
  ['a ticket with a slash', valid.replace('ABC-1', 'ABC/1'), /ticket/],
  ['a ticket that ends like a lock', valid.replace('ABC-1', 'ABC.lock'), /ticket/],
  ['a ticket with two dots', valid.replace('ABC-1', 'A..B'), /ticket/],
  ['a repo named like a path', valid.replace('name: api', 'name: ../x'), /name/],
  ['two repos of one name', valid.replace('workspace:', '  - {name: api, path: ../b}\nworkspace:'), /api/],
  ['a branch that git refuses', `${valid}base_branch: 'a..b'\n`, /base_branch|branch/],
  ['an agent in no repo', `${valid.trimEnd()}\n  cwd: web\n`, /web/],
  ['a criterion of no repo', valid.replace('- It works', '- {run: x, repo: web}'), /web/],
  ['an unknown session', `${valid}session: screen\n`, /session|tmux/],
  ['a duration without a unit', `${valid}policy: {start_grace: 2}\n`, /start_grace/],
  [
    'a merge of a clone from a url',
    valid.replace('path:', 'url:').replace('  goal', '  merge_intent: merge\n  goal'),
    /merge/,
  ],
  [
    'an undefined variable in a path',
    valid.replace('../repos/api', '${NOWHERE_AT_ALL}/api'),
    /NOWHERE_AT_ALL/,
  ],
  [
    'an undefined variable in env',
    `${valid.trimEnd()}\n  env: {A: '\${NOWHERE_AT_ALL}'}\n`,
    /NOWHERE_AT_ALL/,
  ],
  ['two documents', `${valid}---\n${valid}`, /document/i],
  ['no YAML at all', 'version: [1\n', /./],
  ['an empty file', '', /./],
  ['an alias bomb', aliasBomb(), /./],
  ['a tag', `${valid}policy: !!js/function 'x'\n`, /./],
  [
    'bytes that are no text',
    Buffer.concat([Buffer.from(valid), Buffer.from([0xff, 0xfe, 0x0a])]),
    /UTF-8|text|encod/i,
  ],
  ['over 1 MiB', `${valid}# ${'x'.repeat(1024 * 1024)}\n`, /MiB|large|big|size/i],
  ['nested without end', `${valid}x: ${'['.repeat(5000)}${']'.repeat(5000)}\n`, /./],
];

test.for(invalid)('%s is invalid input, and nothing is written', async ([, text, word], { rig }) => {
  await rig.repo('api');
  rig.write('run.yaml', text);
  const before = rig.snapshot();
  for (const command of ['validate', 'plan', 'apply']) {
    const { stderr, stdout } = await rig.run([command, 'run.yaml'], { code: 65 });
    expect(stderr + stdout).toMatch(/run\.yaml:\d+:\d+: /);
    expect(stderr + stdout).toMatch(word);
    // No stack of the program's own.
    expect(stderr + stdout).not.toMatch(/\n\s+at .*\.js:\d+/);
  }
  expect(rig.snapshot()).toEqual(before);
});

test('every problem is reported at once, at its place', async ({ rig }) => {
  rig.write(
    'run.yaml',
    valid.replace('  goal: Limit logins\n', '').replace('name: api', 'name: a/b').concat('sesion: tmux\n'),
  );
  const { text } = await rig.run('validate run.yaml', { code: 65 });
  expect(text).toMatch(/run\.yaml:4:\d+: .*/);
  expect(text).toMatch(/run\.yaml:8:\d+: .*goal/);
  expect(text).toMatch(/run\.yaml:15:1: .*sesion.*session/s);

  const { valid: isValid, files } = await rig.json<Validation>('validate run.yaml', { code: 65 });
  expect(isValid).toBe(false);
  expect(files[0]?.problems.map((problem) => problem.line).sort((a, b) => a - b)).toEqual([4, 8, 15]);
});

test('a valid manifest is valid, in every way to write it', async ({ rig }) => {
  rig.write('run.yaml', valid);
  await rig.run('validate run.yaml');
  for (const text of [
    `\ufeff${valid}`,
    valid.replaceAll('\n', '\r\n'),
    `# yaml-language-server: $schema=x\n---\n${valid}`,
    // A ticket that looks like a number is still text.
    valid.replace('ABC-1', '0123'),
    valid.replace("command: 'true'", "command: ['true', 'a b']"),
    valid.replace('agent:', 'agents:').replace("  command: 'true'", "  - {name: a, command: 'true'}"),
  ]) {
    rig.write('run.yaml', text);
    await rig.run('validate run.yaml');
  }
});

test('a ticket that looks like a number keeps its zeros', async ({ rig }) => {
  await rig.repo('api');
  rig.write('run.yaml', valid.replace('ABC-1', '0123').replace("agent:\n  command: 'true'", 'agents: []'));
  await rig.run('apply run.yaml');
  expect((await rig.status('0123')).run.ticket).toBe('0123');
});

test('a manifest that is not there is invalid input', async ({ rig }) => {
  for (const command of ['validate', 'plan', 'apply'])
    expect((await rig.run([command, 'nowhere.yaml'], { code: 65 })).text).toContain('nowhere.yaml');
  expect(readdirSync(rig.project).sort()).toEqual(['.git', 'README.md']);
});

test('missing repos, branches and programs are named all at once, before anything is made', async ({
  rig,
}) => {
  await rig.repo('api');
  await rig.repo('web');
  mkdirSync(path.join(rig.dir, 'repos/plain'));
  rig.manifest({
    repos: [
      { name: 'api', path: '../repos/api', base_branch: 'no-such-branch' },
      { name: 'web', path: '../repos/web' },
      { name: 'gone', path: '../repos/gone' },
      { name: 'plain', path: '../repos/plain' },
      { name: 'unregistered' },
    ],
    agents: [{ name: 'agent', cwd: 'web', command: ['no-such-program', '--now'] }],
  });
  const before = rig.snapshot();
  const planned = await rig.run('plan run.yaml', { code: 1 });
  expect(rig.snapshot()).toEqual(before);
  const applied = await rig.run('apply run.yaml', { code: 1 });
  // What is wrong is no result: it is not on stdout.
  for (const { stderr } of [planned, applied])
    for (const word of ['no-such-branch', 'repos/gone', 'repos/plain', 'unregistered', 'no-such-program'])
      expect(stderr).toContain(word);
  expect(await rig.at(path.join(rig.dir, 'repos/web')).worktrees()).toEqual([]);
  expect(await rig.at(path.join(rig.dir, 'repos/web')).branches()).toEqual(['main']);
});

test('a program gets the whole path of an invalid manifest', async ({ rig }) => {
  rig.write('many/bad.yaml', valid.replace('version: 1', 'version: 2'));
  for (const command of ['validate many', 'plan many', 'apply many/bad.yaml']) {
    const { stdout } = await rig.run(`${command} --json`, { code: 65 });
    const document = JSON.parse(stdout) as { problems?: object[]; files?: { problems: object[] }[] };
    const problems = document.problems ?? document.files?.[0]?.problems;
    expect(problems).toMatchObject([{ file: path.join(rig.project, 'many/bad.yaml'), line: 1, column: 10 }]);
  }
});

test('of two manifests of one ticket the second is refused, naming both, as plan said', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agents: [] }, 'many/one.yaml');
  rig.manifest({ agents: [] }, 'many/two.yaml');
  for (const name of ['one', 'two'])
    rig.write(`many/${name}.yaml`, rig.read('project/many', `${name}.yaml`).replaceAll('../', '../../'));
  const before = rig.snapshot();
  const planned = await rig.run('plan many', { code: 4 });
  expect(rig.snapshot()).toEqual(before);
  for (const { text } of [planned, await rig.run('apply many', { code: 4 })])
    expect(text).toMatch(/ticket ABC-1 .* open run .*many\/one\.yaml/);
  expect(await rig.runs()).toMatchObject([{ manifest: path.join(rig.project, 'many/one.yaml') }]);
  await rig.run('plan many/one.yaml');
  expect((await rig.run('plan many/two.yaml', { code: 4 })).text).toContain('one.yaml');
  // The same ticket under another state folder is another one.
  const other = await rig.repo('other');
  writeFileSync(path.join(other.path, 'run.yaml'), rig.read('project/many/one.yaml'));
  await rig.run(['plan', 'many/one.yaml', path.join(other.path, 'run.yaml')]);
});

test('what is delivered and says the same stays done beside a follow-up for its ticket', async ({ rig }) => {
  await ready(rig);
  await rig.run('close run.yaml');
  rig.manifest({ agents: [] }, 'again.yaml');
  await rig.run('plan run.yaml again.yaml');
  await rig.run('apply run.yaml again.yaml');
  expect(await rig.runs()).toHaveLength(2);
  for (const command of ['plan run.yaml again.yaml --detailed-exitcode', 'apply again.yaml run.yaml'])
    expect((await rig.run(command)).text).toMatch(/no changes/i);
  expect(await rig.runs()).toHaveLength(2);
});

test('a broken or missing manifest of a recorded run is a warning', async ({ rig }) => {
  await rig.repo('api');
  const manifest = rig.manifest();
  await rig.applied();
  const commands: readonly (readonly [command: string, code: number])[] = [
    ['status', 0],
    ['logs', 0],
    ['attach', 4],
    ['report', 0],
    ['guide run.yaml --answer x', 4],
    ['verify', 0],
    ['stop run.yaml --dry-run', 0],
    ['close run.yaml --dry-run', 4],
    ['cleanup run.yaml --dry-run', 0],
    ['restart run.yaml --dry-run', 0],
    ['stop', 0],
    ['resume', 0],
  ];
  rig.write('run.yaml', 'version: [\n');
  const typed = (command: string) => (command.includes(' ') ? command : `${command} run.yaml`);
  for (const [command, code] of commands) {
    const { text } = await rig.run(typed(command), { code });
    expect(text, command).toMatch(/warning: .*the manifest cannot be used as it is now/);
  }
  const { warnings } = await rig.json<Plan>('stop run.yaml --dry-run');
  expect(warnings).toMatchObject([{ code: 'manifest_broken', file: manifest }]);
  rmSync(manifest);
  for (const [command, code] of commands) await rig.run(typed(command), { code });
});

test('what a valid manifest is warned of is told to people and to programs', async ({ rig }) => {
  await rig.repo('api');
  const file = rig.manifest({ tickets: { driver: 'none', root: 'x' }, agents: [] });
  const { stdout, stderr } = await rig.run('plan run.yaml');
  expect(stderr).toMatch(/^run\.yaml:\d+:\d+: warning: .*root/);
  expect(stdout).not.toContain('warning');
  const told = [{ code: 'manifest', message: expect.stringMatching(/^run\.yaml:\d+:\d+: .*root/), file }];
  expect((await rig.json<Plan>('plan run.yaml')).warnings).toEqual(told);
  const lines = (await rig.run('apply run.yaml --json')).stdout.trim().split('\n');
  const warned = lines.map((line) => JSON.parse(line) as EventLine).filter(({ type }) => type === 'warning');
  expect(warned).toEqual([expect.objectContaining({ run_id: null, ...told[0] })]);
});

test('a file in place of the state folder is said by every command', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  rig.write('not-a-folder', '');
  for (const command of ['status', 'runs', 'logs run.yaml', 'plan run.yaml', 'apply run.yaml']) {
    const { text } = await rig.run(`${command} --state not-a-folder`, { code: 1 });
    expect(text).toMatch(/not-a-folder is not a folder.*\n.*--state/);
  }
});

test('two repos in the same git repository are refused', async ({ rig }) => {
  const api = await rig.repo('api', { files: { 'sub/a.txt': 'a' } });
  rig.manifest({
    repos: [
      { name: 'one', path: '../repos/api' },
      { name: 'two', path: '../repos/api/sub' },
    ],
    agents: [],
  });
  const { code, text } = await rig.run('apply run.yaml', { code: 'any' });
  expect([1, 65]).toContain(code);
  expect(text).toMatch(/one[\s\S]*two/);
  expect(await api.worktrees()).toEqual([]);
});

test.for([
  'aply run.yaml',
  'aply --version',
  'help aply',
  'help apply status',
  'apply --wiat run.yaml',
  'apply run.yaml --timeout',
  'apply run.yaml --timeout soon',
  'apply run.yaml --on-exit maybe',
  'apply run.yaml --concurrency none',
  'apply run.yaml --session tmux --session process',
  'apply run.yaml --timeout 1s --timeout 2s',
  'apply',
  'guide run.yaml --answer a --answer b',
  'status run.yaml other.yaml',
  'stop',
  'schema nonsense',
  'signal',
  'signal nonsense',
])('metawsm %s is wrong usage', async (command, { rig }) => {
  const { text } = await rig.run(command, { code: 64 });
  expect(text.trim()).not.toBe('');
  expect(text).not.toMatch(/\n\s+at .*\.js:\d+/);
  expect(readdirSync(rig.project).sort()).toEqual(['.git', 'README.md']);
});

test('no command is wrong usage and shows what there is', async ({ rig }) => {
  const { text } = await rig.run([], { code: 64 });
  expect(text).toContain('apply');
});

test('help and version are on stdout, for every command', async ({ rig }) => {
  expect((await rig.run('--version')).stdout).toMatch(/\d+\.\d+\.\d+/);
  expect((await rig.run('--help')).stdout).toContain('apply');
  for (const command of [
    'plan',
    'apply',
    'status',
    'guide',
    'stop',
    'resume',
    'restart',
    'cleanup',
    'signal',
  ]) {
    const { stdout } = await rig.run([command, '--help']);
    expect(stdout).toContain(command);
    expect(stdout, `an example of ${command}`).toMatch(new RegExp(`metawsm ${command} \\S+`));
  }
});

test('schemas are printed for editors', async ({ rig }) => {
  const schema = await rig.run('schema manifest');
  expect(JSON.parse(schema.stdout)).toMatchObject({ properties: { done_criteria: {} } });
  expect((await rig.run('schema')).stdout).toContain('done_criteria');
});

test('~ and variables expand in paths, and only there', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({
    repos: [{ name: 'api', path: '${RIG_DIR}/repos/api' }],
    workspace: { root: '~/work' },
    intake: { goal: 'Keep ${HOME} as it is', scope: '~', constraints: '$$' },
    agent: { command: agent('complete') },
  });
  await rig.run('apply run.yaml --wait');
  expect((await rig.status()).run.workspace).toContain(path.join(rig.home, 'work'));
  expect(rig.read('brief-seen-agent')).toContain('Keep ${HOME} as it is');
});

function aliasBomb(): string {
  const levels = Array.from({ length: 12 }, (_, i) => `a${i + 1}: &a${i + 1} [${`*a${i}, `.repeat(10)}]`);
  return `a0: &a0 [x]\n${levels.join('\n')}\n${valid}`;
}
