import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CommandError } from '../../src/cli/errors.js';
import { signalCommand } from '../../src/cli/signal.js';
import { type WorkspaceContext, writeContext } from '../../src/sentinels/context.js';
import { archiveRequest, readSentinels, writeGuidanceResponse } from '../../src/sentinels/sentinels.js';

let root: string;
let workspace: string;
let dir: string;
let head: string;
beforeEach(async () => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'metawsm-signal-')));
  workspace = join(root, 'workspace');
  dir = join(workspace, '.metawsm');
  mkdirSync(join(workspace, 'api', 'src'), { recursive: true });
  const git = (...args: string[]) =>
    execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@localhost', ...args], {
      cwd: join(workspace, 'api'),
      encoding: 'utf8',
    }).trim();
  git('init', '-q');
  git('commit', '-q', '--allow-empty', '-m', 'start');
  head = git('rev-parse', 'HEAD');
  await context(['agent']);
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** Writes the workspace's context as a run with these agents has it. */
async function context(names: readonly string[]): Promise<WorkspaceContext> {
  const folderOf = (name: string) => (names.length === 1 ? dir : join(dir, 'agents', name));
  const value: WorkspaceContext = {
    format_version: 1,
    run_id: 'run-1',
    ticket: 'T-1',
    agent: names.length === 1 ? (names[0] ?? null) : null,
    attempt: null,
    workspace,
    sentinel_dir: dir,
    brief: join(dir, 'brief.md'),
    manifest: join(root, 'run.yaml'),
    manifest_dir: root,
    state_dir: join(root, 'state'),
    repos: [
      {
        name: 'api',
        path: join(workspace, 'api'),
        branch: 'task/t-1',
        base_branch: 'main',
        base_commit: null,
      },
    ],
    agents: names.map((name) => ({ name, sentinel_dir: folderOf(name) })),
    done_criteria: [
      { kind: 'worded', text: 'The README names it', repo: null },
      { kind: 'command', text: 'npm test', repo: null },
      { kind: 'worded', text: 'It is fast', repo: null },
    ],
    signal: { complete: 'complete', guidance: 'guidance', validation: 'validation' },
  };
  await writeContext(workspace, dir, value);
  return value;
}

interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `signal` as an agent in the worktree would; a refusal is its exit code and message. */
async function signal(
  kind: string,
  options: Parameters<typeof signalCommand>[1],
  more: { cwd?: string; env?: Record<string, string>; json?: boolean; onStderr?: () => void } = {},
): Promise<Result> {
  const out: string[] = [];
  const err: string[] = [];
  try {
    const code = await signalCommand(kind, options, {
      cwd: more.cwd ?? join(workspace, 'api', 'src'),
      env: { PATH: process.env.PATH, ...more.env },
      stdout: (text) => void out.push(text),
      stderr: (text) => {
        err.push(text);
        more.onStderr?.();
      },
      json: more.json ?? false,
      quiet: false,
      now: () => Date.now(),
    });
    return { code, stdout: out.join(''), stderr: err.join('') };
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const { exitCode, message, hint } = error;
    return { code: exitCode, stdout: out.join(''), stderr: `${message}\n${hint}` };
  }
}

const json = (name: string, folder = dir) => JSON.parse(readFileSync(join(folder, name), 'utf8'));
const has = (name: string, folder = dir) => existsSync(join(folder, name));
const archive = () => (has('archive') ? readdirSync(join(dir, 'archive')) : []);

/** Answers the pending request as `guide` does. */
async function guide(answer: string, folder = dir): Promise<void> {
  const file = join(folder, 'guidance-request.json');
  const request = json('guidance-request.json', folder);
  await archiveRequest(workspace, file, Date.now());
  await writeGuidanceResponse(workspace, folder, {
    guidance_id: 'g1',
    request_id: request.request_id ?? null,
    run_id: 'run-1',
    agent: request.agent ?? 'agent',
    question: request.question,
    answer,
    answered_at: new Date().toISOString(),
  });
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}

describe('where it speaks', () => {
  it('is found upward from the working directory', async () => {
    expect(await signal('complete', { summary: '007' })).toMatchObject({ code: 0 });
    expect(json('implementation-complete.json')).toEqual({
      run_id: 'run-1',
      agent: 'agent',
      attempt: null,
      summary: '007',
    });
  });

  it('is what the environment says', async () => {
    await context(['one', 'two']);
    const own = join(dir, 'agents', 'two');
    const env = {
      METAWSM_SENTINEL_DIR: own,
      METAWSM_WORKSPACE: workspace,
      METAWSM_RUN_ID: 'run-1',
      METAWSM_AGENT: 'two',
      METAWSM_ATTEMPT: '3',
    };
    expect(await signal('complete', {}, { cwd: root, env })).toMatchObject({ code: 0 });
    expect(json('implementation-complete.json', own)).toEqual({
      run_id: 'run-1',
      agent: 'two',
      attempt: 3,
      summary: null,
    });
    // Somebody else is not in this attempt.
    expect(await signal('complete', { agent: 'one' }, { cwd: root, env })).toMatchObject({ code: 0 });
    expect(json('implementation-complete.json', join(dir, 'agents', 'one'))).toMatchObject({
      agent: 'one',
      attempt: null,
    });
  });

  it('is nowhere outside a workspace', async () => {
    const result = await signal('complete', {}, { cwd: root });
    expect(result).toMatchObject({ code: 64, stdout: '' });
    expect(result.stderr).toContain('not inside a workspace');
    const env = { METAWSM_SENTINEL_DIR: join(root, 'gone', '.metawsm') };
    expect(await signal('complete', {}, { cwd: root, env })).toMatchObject({ code: 64 });
    const outside = { METAWSM_SENTINEL_DIR: root, METAWSM_WORKSPACE: workspace };
    expect(await signal('complete', {}, { env: outside })).toMatchObject({ code: 64 });
    expect(has('implementation-complete.json')).toBe(false);
  });

  it('has to be told which of several agents speaks', async () => {
    await context(['one', 'two']);
    const result = await signal('guidance', { question: 'x' });
    expect(result.code).toBe(64);
    expect(result.stderr).toContain('one, two');
    expect((await signal('guidance', { question: 'x', agent: 'three' })).stderr).toContain('one, two');
    expect(await signal('guidance', { question: 'x', agent: 'two' })).toMatchObject({ code: 0 });
    expect(json('guidance-request.json', join(dir, 'agents', 'two'))).toMatchObject({ agent: 'two' });
  });

  it('moves along with a workspace that is seen elsewhere', async () => {
    const moved = join(root, 'moved');
    renameSync(workspace, moved);
    expect(await signal('complete', {}, { cwd: join(moved, 'api') })).toMatchObject({ code: 0 });
    expect(existsSync(join(moved, '.metawsm', 'implementation-complete.json'))).toBe(true);
  });

  it('is never behind a link', async () => {
    await context(['one', 'two']);
    const away = join(root, 'away');
    mkdirSync(away);
    symlinkSync(away, join(dir, 'agents'));
    await expect(signal('complete', { agent: 'one' })).rejects.toThrow('is a symbolic link, not a folder');
    await expect(signal('guidance', { agent: 'one', question: 'x' })).rejects.toThrow('is a symbolic link');
    expect(readdirSync(away)).toEqual([]);
  });

  it('says what is wrong with its context', async () => {
    writeFileSync(join(dir, 'context.json'), '{"format_version": 2}');
    expect((await signal('complete', {})).stderr).toContain('is not as its schema says');
  });
});

describe('guidance', () => {
  it('asks once, however often it is said', async () => {
    expect(await signal('guidance', { question: 'Which cache?', context: '{"a": 1}' })).toMatchObject({
      code: 0,
    });
    const first = readFileSync(join(dir, 'guidance-request.json'), 'utf8');
    const request = json('guidance-request.json');
    expect(request).toMatchObject({
      run_id: 'run-1',
      agent: 'agent',
      question: 'Which cache?',
      context: { a: 1 },
      request_id: expect.stringMatching(/^q-[0-9a-f]{12}$/),
    });
    const again = await signal('guidance', { question: ' Which  cache?' }, { json: true });
    expect(JSON.parse(again.stdout)).toMatchObject({
      format_version: 1,
      kind: 'signal',
      signal: 'guidance',
      state: 'pending',
      request_id: request.request_id,
      answer: null,
    });
    expect(readFileSync(join(dir, 'guidance-request.json'), 'utf8')).toBe(first);
  });

  it('is one request when two ask the same at once', async () => {
    const options = { question: 'Which?' };
    const results = await Promise.all([1, 2, 3, 4].map(() => signal('guidance', options, { json: true })));
    const ids = new Set(results.map(({ stdout }) => JSON.parse(stdout).request_id));
    expect([...ids]).toEqual([json('guidance-request.json').request_id]);
  });

  it('takes values to the letter', async () => {
    for (const question of ['007', '- x', '--wait', '$(id)', 'a\nb']) {
      await signal('guidance', { question, context: 'plain words', requestId: '0012' });
      expect(json('guidance-request.json')).toMatchObject({
        question,
        context: 'plain words',
        request_id: '0012',
      });
    }
  });

  it.each([
    ['no question', {}],
    ['a blank question', { question: ' \n' }],
    ['a question too long', { question: 'x'.repeat(70_000) }],
    ['a context too large', { question: 'x', context: JSON.stringify('x'.repeat(1024 * 1024)) }],
    ['a request id with spaces', { question: 'x', requestId: 'a b' }],
    ['an empty request id', { question: 'x', requestId: '' }],
    ['a timeout without --wait', { question: 'x', timeout: 5 }],
  ])('refuses %s', async (_, options) => {
    expect(await signal('guidance', options)).toMatchObject({ code: 64, stdout: '' });
    expect(has('guidance-request.json')).toBe(false);
  });

  it('prints an unread answer to the same question, once', async () => {
    await signal('guidance', { question: 'Which?' });
    await guide('that');
    const answered = await signal('guidance', { question: 'Which?' });
    expect(answered).toEqual({ code: 0, stdout: 'that\n', stderr: '' });
    expect(has('guidance-response.json')).toBe(false);
    // Read is read: the same words are a new question now.
    await signal('guidance', { question: 'Which?' });
    expect(json('guidance-request.json')).toMatchObject({ question: 'Which?' });
  });

  it('sets an old answer aside before it asks something else', async () => {
    await signal('guidance', { question: 'One?' });
    await guide('old');
    await signal('guidance', { question: 'Two?' });
    expect(has('guidance-response.json')).toBe(false);
    expect(json('guidance-request.json').question).toBe('Two?');
    expect(archive().some((name) => name.endsWith('guidance-response.json'))).toBe(true);
  });

  it('does not take the answer of another run for its own', async () => {
    await signal('guidance', { question: 'Which?' });
    await guide('stale');
    writeFileSync(
      join(dir, 'guidance-response.json'),
      JSON.stringify({ ...json('guidance-response.json'), run_id: 'run-0' }),
    );
    const asked = await signal('guidance', { question: 'Which?' }, { json: true });
    expect(JSON.parse(asked.stdout)).toMatchObject({ state: 'pending' });
  });

  it('replaces another pending question', async () => {
    await signal('guidance', { question: 'One?' });
    await signal('guidance', { question: 'Two?' });
    expect(json('guidance-request.json').question).toBe('Two?');
  });

  it('keeps a question of an earlier attempt alive', async () => {
    const env = (attempt: string) => ({ METAWSM_WORKSPACE: workspace, METAWSM_ATTEMPT: attempt });
    await signal('guidance', { question: 'One?' }, { env: env('1') });
    const before = json('guidance-request.json');
    await signal('guidance', { question: 'One?' }, { env: env('2') });
    expect(json('guidance-request.json')).toEqual({ ...before, attempt: 2 });
  });

  it('puts a link or a broken file in its place aside', async () => {
    writeFileSync(join(root, 'victim'), 'mine');
    symlinkSync(join(root, 'victim'), join(dir, 'guidance-request.json'));
    await signal('guidance', { question: 'One?' });
    expect(readFileSync(join(root, 'victim'), 'utf8')).toBe('mine');
    expect(json('guidance-request.json').question).toBe('One?');
  });

  it('waits for the answer, prints it, and has then read it', async () => {
    const waiting = signal('guidance', { question: 'Which?', wait: true });
    await until(() => has('guidance-request.json'));
    await guide('- use \u001b[31mtabs');
    expect(await waiting).toMatchObject({ code: 0, stdout: '- use tabs\n' });
    expect(has('guidance-response.json')).toBe(false);
    expect((await readSentinels(workspace, [{ place: { kind: 'workspace' }, dir }])).length).toBe(0);
  });

  it('prints the answer as it is in JSON', async () => {
    const waiting = signal('guidance', { question: 'Which?', wait: true }, { json: true });
    await until(() => has('guidance-request.json'));
    const { request_id } = json('guidance-request.json');
    await guide('\u001b[31m');
    expect(JSON.parse((await waiting).stdout)).toMatchObject({
      state: 'answered',
      request_id,
      guidance_id: 'g1',
      answer: '\u001b[31m',
    });
  });

  it('tells everybody who waits for the same question', async () => {
    let asked = 0;
    const onStderr = () => {
      asked += 1;
    };
    const waiting = [1, 2].map(() => signal('guidance', { question: 'Which?', wait: true }, { onStderr }));
    await until(() => asked === 2);
    await guide('that');
    for (const result of await Promise.all(waiting))
      expect(result).toMatchObject({ code: 0, stdout: 'that\n' });
  });

  it('gives up after its time, and the question stays', async () => {
    expect(await signal('guidance', { question: 'Which?', wait: true, timeout: 20 })).toMatchObject({
      code: 5,
    });
    const request = json('guidance-request.json');
    await guide('late');
    expect(request.question).toBe('Which?');
    expect(await signal('guidance', { question: 'Which?', wait: true })).toMatchObject({
      code: 0,
      stdout: 'late\n',
    });
  });

  it('does not take the answer to another request', async () => {
    const waiting = signal('guidance', { question: 'Which?', wait: true, timeout: 400 });
    await until(() => has('guidance-request.json'));
    await writeGuidanceResponse(workspace, dir, {
      guidance_id: 'g7',
      request_id: 'other',
      run_id: 'run-1',
      agent: 'agent',
      question: 'Which?',
      answer: 'wrong',
      answered_at: new Date().toISOString(),
    });
    expect(await waiting).toMatchObject({ code: 5, stdout: '' });
  });

  it('ends when its question is replaced or the workspace is gone', async () => {
    const waiting = signal('guidance', { question: 'One?', wait: true });
    await until(() => has('guidance-request.json'));
    await signal('guidance', { question: 'Two?' });
    expect(await waiting).toMatchObject({ code: 4 });

    const move = () => renameSync(dir, join(root, 'away'));
    const second = await signal('guidance', { question: 'Two?', wait: true }, { onStderr: move });
    expect(second).toMatchObject({ code: 1 });
    expect(second.stderr).toContain('.metawsm is gone');
  });
});

describe('validation', () => {
  it('attests all worded criteria at the HEADs', async () => {
    const result = await signal('validation', { status: 'passed' });
    expect(result.code).toBe(0);
    expect(result.stdout).toContain(head.slice(0, 8));
    expect(json('validation-result.json')).toEqual({
      run_id: 'run-1',
      agent: 'agent',
      attempt: null,
      status: 'passed',
      done_criteria: ['The README names it', 'It is fast'],
      checks: [],
      heads: { api: head },
    });
  });

  it('attests what it is told, and names what is no criterion', async () => {
    const result = await signal('validation', {
      status: 'passed',
      done: ['It  is fast', 'It is red'],
      check: ['looked'],
    });
    expect(result.stderr).toContain('no criterion of this run: It is red');
    expect(json('validation-result.json')).toMatchObject({
      done_criteria: ['It  is fast', 'It is red'],
      checks: ['looked'],
    });
  });

  it('attests nothing when it failed', async () => {
    await signal('validation', { status: 'failed' });
    expect(json('validation-result.json')).toMatchObject({ status: 'failed', done_criteria: [] });
  });

  it('takes the HEAD of the worktree only', async () => {
    execFileSync('git', ['init', '-q'], { cwd: workspace });
    rmSync(join(workspace, 'api', '.git'), { recursive: true });
    await expect(signal('validation', { status: 'passed' })).rejects.toThrow('not a git repository');
    expect(has('validation-result.json')).toBe(false);
  });

  it('names a file at which git would wait for ever', async () => {
    const file = join(workspace, 'api', '.git', 'config');
    rmSync(file);
    execFileSync('mkfifo', [file]);
    await expect(signal('validation', { status: 'passed' })).rejects.toThrow(`wait for ever at ${file}`);
    expect(has('validation-result.json')).toBe(false);
  });

  it.each([[{}], [{ status: 'good' }], [{ status: 'passed', done: [' '] }]])(
    'refuses %j',
    async (options) => {
      expect(await signal('validation', options)).toMatchObject({ code: 64 });
      expect(has('validation-result.json')).toBe(false);
    },
  );
});

it('knows no other kind', async () => {
  expect(await signal('done', {})).toMatchObject({ code: 64 });
});
