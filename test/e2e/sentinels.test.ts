import { execFileSync } from 'node:child_process';
import { lstatSync, mkdirSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import type { Status } from '../support/documents.js';
import { agent, type Rig, test } from '../support/rig.js';

const claim = 'implementation-complete.json';

/** What may lie in place of a sentinel, and must change nothing. `run` is the run's real id. */
const hostile: readonly (readonly [what: string, put: (file: string, run: string) => void])[] = [
  ['a half-written file', (file) => writeFileSync(file, '{"summary": "al')],
  ['an empty file', (file) => writeFileSync(file, '')],
  ['bytes that are no text', (file) => writeFileSync(file, Buffer.from([0xff, 0xfe, 0x00, 0x80]))],
  ['a list', (file) => writeFileSync(file, '[]')],
  ['null', (file) => writeFileSync(file, 'null')],
  ['fields of the wrong type', (file) => writeFileSync(file, '{"summary": {"a": 1}}')],
  ['another run', (file) => writeFileSync(file, '{"run_id": "run-20200101-000000-abcd"}')],
  ['another attempt', (file) => writeFileSync(file, '{"attempt": 7}')],
  ['another agent', (file) => writeFileSync(file, '{"agent": "somebody-else"}')],
  ['over 1 MiB', (file) => writeFileSync(file, `{"summary": "${'x'.repeat(1024 * 1024)}"}`)],
  ['nested without end', (file) => writeFileSync(file, '['.repeat(200_000))],
  [
    'a link to a valid file',
    (file, run) => {
      writeFileSync(`${file}.target`, JSON.stringify({ run_id: run }));
      symlinkSync(`${file}.target`, file);
    },
  ],
  ['a dangling link', (file) => symlinkSync('nowhere', file)],
  ['a link to a device', (file) => symlinkSync('/dev/zero', file)],
  ['a FIFO', (file) => execFileSync('mkfifo', [file])],
  ['a folder', (file) => mkdirSync(file)],
];

test('what is no valid completion changes nothing, and is named', async ({ rig }) => {
  const { file, status } = await live(rig);
  for (const [what, put] of hostile) {
    put(file, status.run.id);
    const seen = lstatSync(file).mtimeMs;

    const after = await rig.status();
    expect.soft(after.run.state, what).toBe('running');
    expect.soft(after.agents[0]?.state, what).toBe('running');
    const files = after.warnings.map((warning) => `${warning.file} ${warning.message}`).join('\n');
    expect.soft(files, what).toContain(claim);
    // Left where it is.
    expect.soft(lstatSync(file).mtimeMs, what).toBe(seen);

    rmSync(file, { recursive: true, force: true });
  }
  expect((await rig.status()).warnings.filter((warning) => warning.file?.includes(claim))).toEqual([]);
  expect(rig.starts()).toBe(1);
});

test('what is no valid question changes nothing, and apply does not hang on it', async ({ rig }) => {
  const { folder } = await live(rig);
  const file = path.join(folder, 'guidance-request.json');
  for (const content of ['{"question": ""', '{"question": 5}', '{}', '{"question": "Old?", "attempt": 9}']) {
    writeFileSync(file, content);
    const { text } = await rig.run('apply run.yaml');
    expect.soft(text, content).toContain('guidance-request.json');
    expect.soft(await rig.state(), content).toBe('running');
    expect.soft((await rig.status()).guidance, content).toEqual([]);
  }
  rmSync(file);
  execFileSync('mkfifo', [file]);
  await rig.run('apply run.yaml --wait --timeout 500ms', { code: 5 });
  await rig.run('guide run.yaml --answer yes', { code: 4 });
});

test('a file that is finished a moment later counts', async ({ rig }) => {
  const { file } = await live(rig);
  writeFileSync(file, '{"summary": "al');
  const waiting = rig.spawn('apply run.yaml --wait');
  await rig.until('a look at the half', () => waiting.stderr().includes(claim));
  writeFileSync(file, '{"summary": "all of it"}');
  expect((await waiting.result).code).toBe(0);
  expect((await rig.agentNamed()).summary).toBe('all of it');
});

test('a completion without any field counts for the only agent', async ({ rig }) => {
  const { file } = await live(rig);
  writeFileSync(file, '{}');
  expect(await rig.state()).toBe('completed');
});

test('a file of up to 1 MiB counts, whatever fills it', async ({ rig }) => {
  const { file } = await live(rig);
  const frame = JSON.stringify({ summary: '' }).length;
  writeFileSync(file, JSON.stringify({ summary: 'x'.repeat(1024 * 1024 - frame + 1) }));
  expect(await rig.state()).toBe('running');
  writeFileSync(file, JSON.stringify({ summary: 'x'.repeat(1024 * 1024 - frame) }));
  expect(await rig.state()).toBe('completed');
});

test('a byte order mark and unknown fields do no harm', async ({ rig }) => {
  const { folder } = await live(rig);
  writeFileSync(
    path.join(folder, 'guidance-request.json'),
    JSON.stringify({ question: 'So?', context: 'text', mood: 'fine' }),
  );
  expect(await rig.state()).toBe('awaiting_guidance');
});

test('a completion left in the repo’s own .metawsm counts', async ({ rig }) => {
  const { status } = await live(rig);
  const own = path.join(status.repos[0]?.path ?? '', '.metawsm');
  mkdirSync(own);
  writeFileSync(path.join(own, claim), JSON.stringify({ run_id: status.run.id, summary: 'from the repo' }));
  const after = await rig.status();
  expect(after.run.state).toBe('completed');
  // It is a sentinel, not work that lies around.
  expect(after.repos[0]).toMatchObject({ clean: true, dirty_files: [] });
});

test('a completion in the workspace’s .metawsm belongs to the agent that it names', async ({ rig }) => {
  await rig.repo('api');
  const command = agent('live');
  rig.manifest({
    agents: [
      { name: 'one', cwd: 'api', command },
      { name: 'two', cwd: 'api', command },
    ],
  });
  await rig.run('apply run.yaml');
  const { run } = await rig.status();
  const file = path.join(run.workspace, '.metawsm', claim);

  writeFileSync(file, JSON.stringify({ agent: 'two' }));
  expect((await rig.status()).agents.map((each) => each.state)).toEqual(['running', 'completed']);

  // Of two agents in one repo nobody can say whose this is.
  writeFileSync(file, '{}');
  const { warnings } = await rig.status();
  expect(warnings.map((warning) => warning.file).join('\n')).toContain(file);
});

test('a sentinel folder that became a link is not followed', async ({ rig }) => {
  const { folder, status } = await live(rig);
  const elsewhere = path.join(rig.dir, 'elsewhere');
  renameSync(folder, elsewhere);
  writeFileSync(path.join(elsewhere, claim), JSON.stringify({ run_id: status.run.id }));
  symlinkSync(elsewhere, folder);

  const after = await rig.status();
  expect(after.run.state).toBe('running');
  expect(after.warnings.map((warning) => `${warning.file} ${warning.message}`).join('\n')).toContain(
    '.metawsm',
  );
  await rig.run('guide run.yaml --answer yes', { code: 4 });
});

test('names in sentinels reach no terminal as control characters or as lines', async ({ rig }) => {
  const { file, status } = await live(rig);
  const evil = '\x1b]0;owned\x07\x1b[31m\x9b31m\u202e\nforged line';
  writeFileSync(file, JSON.stringify({ run_id: `run-0${evil}` }));
  const elsewhere = path.join(status.repos[0]?.path ?? '', '.metawsm');
  mkdirSync(elsewhere);
  writeFileSync(path.join(elsewhere, claim), JSON.stringify({ agent: `nobody${evil}` }));
  const commands = ['status', 'plan', 'apply', 'verify'].map((name) => `${name} run.yaml`);
  const operations = ['restart', 'stop', 'resume', 'cleanup', 'close', 'iterate --feedback more'];
  const dryRuns = operations.map((name) => `${name} --dry-run run.yaml`);
  for (const command of [...commands, ...dryRuns]) {
    const { text } = await rig.run(command, { code: 'any' });
    expect.soft(text, command).toContain('another run');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
    expect.soft(text, command).not.toMatch(/[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]|^\s*forged/m);
  }
});

test('completions that lie in several places all end with their attempt', async ({ rig }) => {
  await rig.repo('api');
  await rig.repo('web');
  const repos = ['api', 'web'].map((name) => ({ name, path: `../repos/${name}` }));
  rig.manifest({ repos });
  const before = await rig.applied();
  const leave = () => {
    for (const { path: worktree } of before.repos) {
      mkdirSync(path.join(worktree, '.metawsm'), { recursive: true });
      writeFileSync(path.join(worktree, '.metawsm', claim), '{}');
    }
  };
  leave();
  expect(await rig.state()).toBe('completed');
  await rig.run('restart run.yaml');
  await rig.untilFile('alive-agent-2');
  expect(await rig.state()).toBe('running');

  // The same for a question that is younger than they are.
  leave();
  const request = path.join(before.agents[0]?.sentinel_dir ?? '', 'guidance-request.json');
  writeFileSync(request, JSON.stringify({ question: 'Really?' }));
  const later = new Date(Date.now() + 1000);
  utimesSync(request, later, later);
  expect(await rig.state()).toBe('awaiting_guidance');
  for (const { path: worktree } of before.repos) {
    const old = new Date(Date.now() - 60_000);
    utimesSync(path.join(worktree, '.metawsm', claim), old, old);
  }
  await rig.run('guide run.yaml --answer no');
  expect(await rig.state()).toBe('running');
});

test('a claim of completion outlives the agent, and its pending question wins over its end', async ({
  rig,
}) => {
  await rig.repo('api');
  rig.manifest({
    agent: {
      complete_on: 'exit',
      command: 'echo \'{"question": "Sure?"}\' > "$METAWSM_SENTINEL_DIR/guidance-request.json"',
    },
  });
  await rig.run('apply run.yaml --wait', { code: 3 });
  expect(await rig.state()).toBe('awaiting_guidance');
});

/** A run with a live agent: its sentinel folder, and where its completion would lie. */
async function live(rig: Rig): Promise<{ folder: string; file: string; status: Status }> {
  await rig.repo('api');
  rig.manifest();
  const status = await rig.applied();
  const folder = status.agents[0]?.sentinel_dir ?? '';
  return { folder, file: path.join(folder, claim), status };
}
