import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect } from 'vitest';
import type { EventLine } from '../support/documents.js';
import { start } from '../support/processes.js';
import { agent, checkout, main, test } from '../support/rig.js';

/** Every field of every document, as the contract lists them. Programs that read them rely on each. */
const fields = {
  plan:
    'format_version kind manifest ticket run_id run_state resume_at_step has_changes steps changes refused ' +
    'warnings summary',
  'plan.steps': 'id kind action recorded_state repo agent reason needs_yes commands',
  'plan.steps.commands': 'argv shell cwd env_names',
  'plan.changes': 'source path effect before after step_ids',
  'plan.refused': 'code message way_out',
  'plan.summary': 'create update replace delete run refused',
  status:
    'format_version kind observed_at recorded run steps agents guidance criteria repos gates warnings next',
  run: 'id ticket title state reason outcome manifest workspace session created_at updated_at resume_at_step',
  'status.steps': 'id kind state attempts started_at ended_at error',
  'status.agents':
    'name state health health_reason pid session_name attempt restarts_left exit_code signal started_at ' +
    'ended_at last_output_at last_progress_at sentinel_dir log summary',
  'status.guidance': 'id request_id agent question context asked_at',
  'status.criteria': 'id kind text repo state void_reason commit exit_code duration_ms checked_at log',
  'status.repos':
    'name path source branch base_branch base_commit head ahead behind clean dirty_files files_changed ' +
    'insertions deletions delivered',
  'status.next': 'argv text why',
  runs:
    'id ticket title state reason outcome manifest workspace session created_at updated_at resume_at_step ' +
    'agents_alive guidance_pending criteria_passed criteria_total',
  warning: 'code message file',
  step: 'type at run_id id state attempt duration_ms error',
  'run line': 'type at run_id state reason',
  agent: 'type at run_id name state exit_code',
  'guidance line': 'type at run_id id agent question',
  summary: 'type at exit_code duration_ms runs',
  'summary.runs':
    'run_id ticket manifest state reason exit_code changed steps_done steps_failed guidance_pending ' +
    'criteria_passed criteria_total workspace next error',
  'summary.runs.error': 'code step_id message log_tail',
  validate: 'format_version kind valid files',
  'validate.files': 'file valid problems',
  'validate.files.problems': 'file line column path message suggestion',
  error: 'format_version kind exit_code code message hint problems',
} as const;

test('plan, status and runs have every field, and follow their schemas', async ({ rig }) => {
  await rig.repo('api', { origin: true });
  rig.manifest({ agent: { command: agent('ask', 'So?') }, done_criteria: ['Words', { run: 'true' }] });
  const planned = await rig.json<Doc>('plan run.yaml');
  has('plan', planned);
  has('plan.summary', planned.summary);
  for (const step of list(planned.steps)) {
    has('plan.steps', step);
    for (const command of list(step.commands)) has('plan.steps.commands', command);
  }
  follows('plan', planned);

  await rig.run('apply run.yaml --wait', { code: 3 });
  const status = await rig.json<Doc>('status run.yaml');
  has('status', status);
  has('run', status.run);
  for (const name of ['steps', 'agents', 'guidance', 'criteria', 'repos'] as const) {
    expect(list(status[name]).length, name).toBeGreaterThan(0);
    for (const each of list(status[name])) has(`status.${name}`, each);
  }
  has('status.next', status.next);
  follows('status', status);

  for (const command of ['runs', 'status']) {
    const runs = await rig.json<Doc>(command);
    expect(runs).toMatchObject({ format_version: 1, kind: 'runs' });
    for (const run of list(runs.runs)) has('runs', run);
    follows('runs', runs);
  }

  rig.manifest({ agent: { command: agent('live') }, base_branch: 'other' });
  const refused = await rig.json<Doc>('plan run.yaml', { code: 4 });
  for (const each of list(refused.refused)) has('plan.refused', each);
  for (const each of list(refused.changes)) has('plan.changes', each);
  follows('plan', refused);
});

test('a stream begins with the version, ends with the summary, and has all in between', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agent: { command: agent('ask', 'So?') } });
  const { lines, summary, result } = await rig.events('apply run.yaml --wait', { code: 3 });
  expect(lines[0]).toMatchObject({
    type: 'version',
    format_version: 1,
    metawsm: expect.stringMatching(/^\d/),
  });
  has('summary', summary);
  for (const run of summary.runs) has('summary.runs', run);
  expect(summary).toMatchObject({
    exit_code: 3,
    runs: [{ exit_code: 3, changed: true, guidance_pending: 1 }],
  });

  const types = { step: 'step', run: 'run line', agent: 'agent', guidance: 'guidance line' } as const;
  for (const [type, name] of Object.entries(types)) {
    const found = lines.filter((line) => line.type === type);
    expect(found.length, type).toBeGreaterThan(0);
    for (const line of found) has(name as keyof typeof fields, line);
  }
  for (const line of lines) {
    expect(line.at).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    follows('event', line);
  }
  // Nothing but the stream is on stdout, and the version and summary are there once.
  expect(lines.filter((line) => line.type === 'version' || line.type === 'summary')).toHaveLength(2);
  expect(result.stdout.endsWith('\n')).toBe(true);
});

test.for([
  ['guide', ['guide', 'run.yaml', '--answer', 'x']],
  ['stop', ['stop', 'run.yaml']],
  ['restart', ['restart', 'run.yaml']],
  ['resume', ['resume', 'run.yaml']],
  ['cleanup', ['cleanup', 'run.yaml']],
] as const)('%s prints the same kind of stream', async ([, command], { rig }) => {
  await rig.repo('api');
  rig.manifest({ agent: { command: agent('ask', 'So?') } });
  await rig.run('apply run.yaml --wait', { code: 3 });
  const { lines, summary } = await rig.events(command);
  expect(lines[0]?.type).toBe('version');
  expect(summary.runs).toHaveLength(1);
  for (const line of lines) follows('event', line);
});

test('a failed step is in the summary with its log', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ repos: [{ name: 'api', path: '../repos/api', setup: ['echo why; false'] }], agents: [] });
  const { lines, summary } = await rig.events('apply run.yaml', { code: 1 });
  const error = summary.runs[0]?.error;
  has('summary.runs.error', error);
  expect(error).toMatchObject({ step_id: 'setup.run/api/1', log_tail: expect.arrayContaining(['why']) });
  expect(lines.filter((line) => line.type === 'step' && line.state === 'failed')).not.toEqual([]);
});

test('a failure before any work is one document', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ repos: [{ name: 'api', path: '../repos/nowhere' }], agents: [] });
  const failures: readonly (readonly [command: string, code: number])[] = [
    ['status nowhere.yaml', 64],
    ['apply --nonsense', 64],
    ['nonsense', 64],
    ['plan run.yaml', 1],
    ['apply run.yaml', 1],
    ['apply nowhere.yaml', 65],
  ];
  for (const [command, code] of failures) {
    const { stdout } = await rig.run(`${command} --json`, { code });
    const last = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Doc;
    // A stream that has begun ends as a stream.
    if (last.type === 'summary') expect(last, command).toMatchObject({ exit_code: code });
    else {
      has('error', last, command);
      expect(last, command).toMatchObject({ kind: 'error', exit_code: code });
      follows('error', last);
    }
  }
});

test.for([
  ['guide', '--answer x'],
  ['stop', ''],
  ['resume', ''],
  ['restart', ''],
  ['iterate', '--feedback x'],
  ['verify', ''],
  ['close', ''],
  ['cleanup', ''],
  ['apply', ''],
] as const)(
  '%s ends its stream also when another process holds the run',
  async ([command, flags], { rig }) => {
    await rig.repo('api');
    const setup = 'touch "$RIG_DIR/held"; until [ -e "$RIG_DIR/go" ]; do sleep 0.05; done';
    rig.manifest({ repos: [{ name: 'api', path: '../repos/api', setup: [setup] }], agents: [] });
    const holder = rig.spawn('apply run.yaml');
    await rig.untilFile('held');
    const line = `${command} run.yaml ${flags} --lock-timeout 10ms`.replace(/ +/g, ' ');
    const { lines, summary } = await rig.events(line, { code: 75 });
    for (const each of lines) follows('event', each);
    expect(lines.map(({ type }) => type)).toEqual(['version', 'error', 'summary']);
    expect(lines[1]).toMatchObject({
      code: 'locked',
      message: expect.stringContaining('is held by process'),
    });
    expect(summary).toMatchObject({
      exit_code: 75,
      runs: [{ ticket: 'ABC-1', state: 'running', exit_code: 75, changed: false, error: { code: 'locked' } }],
    });
    rig.touch('go');
    await holder.result;
  },
);

test('an interrupted stream ends with what was done until then', async ({ rig }) => {
  await rig.repo('api');
  const setup = 'touch "$RIG_DIR/in-setup"; exec sleep 60';
  rig.manifest({ repos: [{ name: 'api', path: '../repos/api', setup: [setup] }] });
  const running = rig.spawn('apply run.yaml --wait --json');
  await rig.untilFile('in-setup');
  running.interrupt();
  const { code, stdout } = await running.result;
  expect(code).toBe(130);
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Doc);
  for (const line of lines) follows('event', line);
  expect(lines.at(-1)).toMatchObject({
    type: 'summary',
    exit_code: 130,
    runs: [{ state: 'paused', reason: 'interrupted', changed: true, steps_done: 4, steps_failed: 0 }],
  });
});

test('what makes one step impossible is told apart from its way out', async ({ rig }) => {
  rig.manifest({ agents: [] });
  const { lines, summary } = await rig.events('apply run.yaml', { code: 1 });
  const message = expect.stringMatching(/^repo api: .*repos\/api does not exist$/);
  expect(lines.at(-2)).toMatchObject({ type: 'error', code: 'repo_missing', message });
  expect(lines.at(-2)?.hint).toContain('mend the path in the manifest');
  expect(summary.runs[0]?.error).toMatchObject({ code: 'repo_missing', message });
});

test('every line of close and of logs follows its schema', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agent: { command: agent('complete') }, done_criteria: [{ run: 'true' }, 'Words'] });
  await rig.run('apply run.yaml --wait');
  const refused = await rig.events('close run.yaml', { code: 4 });
  const { run } = await rig.status();
  await rig.run('signal validation --status passed', { cwd: run.workspace });
  const closed = await rig.events('close run.yaml');
  for (const { lines } of [refused, closed]) {
    expect(lines.filter((line) => line.type === 'gate').length).toBeGreaterThan(5);
    for (const line of lines) follows('event', line);
  }
  const logs = (await rig.run('logs run.yaml --json')).stdout.trim().split('\n');
  for (const line of logs) follows('event', JSON.parse(line));
});

test('paths in a failure before any work are absolute, as everywhere', async ({ rig }) => {
  const bad = rig.write('bad.yaml', 'version: 1\n');
  for (const command of ['plan', 'apply']) {
    const { problems } = await rig.json<Doc>(`${command} bad.yaml`, { code: 65 });
    for (const problem of list(problems)) expect(problem.file).toBe(bad);
    // A person reads what they typed.
    expect((await rig.run(`${command} bad.yaml`, { code: 65 })).stderr).toMatch(/^bad\.yaml:1:1: /m);
  }
});

test('validate has every field', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const good = await rig.json<Doc>('validate run.yaml');
  expect(good).toMatchObject({ kind: 'validate', valid: true });
  rig.write('bad.yaml', 'version: 1\n');
  const bad = await rig.json<Doc>('validate run.yaml bad.yaml', { code: 65 });
  for (const doc of [good, bad]) {
    has('validate', doc);
    for (const file of list(doc.files)) {
      has('validate.files', file);
      for (const problem of list(file.problems)) has('validate.files.problems', problem);
    }
    follows('validate', doc);
  }
});

test('several plans are one document', async ({ rig }) => {
  await rig.repo('api');
  await rig.repo('web');
  rig.manifest({ agents: [] }, 'one.yaml');
  rig.manifest({ ticket: 'ABC-2', repos: [{ name: 'web', path: '../repos/web' }], agents: [] }, 'two.yaml');
  const doc = await rig.json<Doc>('plan one.yaml two.yaml');
  expect(doc).toMatchObject({
    format_version: 1,
    kind: 'plans',
    plans: [{ kind: 'plan' }, { kind: 'plan' }],
  });
});

test('what a person reads and what a program reads do not mix', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agents: [] });
  const { stdout } = await rig.run('apply run.yaml --json');
  for (const line of stdout.trim().split('\n')) expect(() => JSON.parse(line) as EventLine).not.toThrow();
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  const control = /[\x00-\x08\x0b-\x1f]/;
  const human = await rig.run('status run.yaml', { env: { CI: 'true' } });
  expect(human.text).not.toMatch(control);
  const noColour = await rig.run('status run.yaml', { env: { NO_COLOR: '1' } });
  expect(noColour.text).not.toMatch(control);
  expect((await rig.run('status run.yaml', { env: { FORCE_COLOR: '1' } })).stdout).toMatch(control);
});

test('output that is cut off by head does not cut off the work', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({
    repos: [{ name: 'api', path: '../repos/api', setup: ['true', 'true', 'true'] }],
    agents: [],
  });
  const shell = `"${process.execPath}" "${main}" apply run.yaml --json 2>&1 | head -n 1`;
  await start('sh', ['-c', shell], { cwd: rig.project, env: rig.env, timeout: 30_000 }).result;
  await rig.untilState('completed');
});

test('a summary of the run is added to the page of a CI job', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agent: { command: agent('complete') } });
  const page = path.join(rig.dir, 'summary.md');
  await rig.run('apply run.yaml --wait', {
    env: { CI: 'true', GITHUB_ACTIONS: 'true', GITHUB_STEP_SUMMARY: page },
  });
  expect(readFileSync(page, 'utf8')).toMatch(/\|.*ABC-1.*\|/);
});

type Doc = Record<string, unknown> & { readonly [name: string]: unknown };

function list(value: unknown): Doc[] {
  expect(value).toBeInstanceOf(Array);
  return value as Doc[];
}

/** Every field is there: null, not absent. */
function has(name: keyof typeof fields, value: unknown, note = ''): void {
  expect(value, `${name} ${note}`).toBeTypeOf('object');
  expect(Object.keys(value as object), `${name} ${note}`).toEqual(
    expect.arrayContaining(fields[name].split(' ')),
  );
}

/** The document follows the schema of its name in `schemas/`. */
function follows(name: string, document: unknown): void {
  const folder = path.join(checkout, 'schemas');
  const file = readdirSync(folder).find(
    (each) => each.replace(/s?\.schema\.json$/, '') === name.replace(/s$/, ''),
  );
  expect(file, `a schema of ${name}`).toBeDefined();
  const ajv = new Ajv2020({ allErrors: true, strict: false });
  const validate = ajv.compile(JSON.parse(readFileSync(path.join(folder, file ?? ''), 'utf8')) as object);
  validate(document);
  expect(validate.errors ?? [], `${name}: ${JSON.stringify(document).slice(0, 500)}`).toEqual([]);
}
