import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import type { Status, StatusCriterion } from '../support/documents.js';
import { isAlive } from '../support/processes.js';
import type { Repo } from '../support/repo.js';
import { agent, type Rig, test } from '../support/rig.js';

/** A workspace only, with these criteria: completed at once. */
async function workspaceWith(rig: Rig, criteria: unknown[]): Promise<{ status: Status; tree: Repo }> {
  await rig.repo('api');
  rig.manifest({ agents: [], done_criteria: criteria });
  await rig.run('apply run.yaml');
  const status = await rig.status();
  return { status, tree: rig.at(status.repos[0]?.path ?? '') };
}

const criteria = async (rig: Rig) => (await rig.status()).criteria;
const states = async (rig: Rig) => (await criteria(rig)).map(({ state }) => state);
const only = async (rig: Rig): Promise<StatusCriterion> => {
  const [first] = await criteria(rig);
  return first ?? expect.fail('no criterion');
};

interface Validation {
  readonly status: string;
  readonly done_criteria: readonly string[];
  readonly checks: readonly { readonly by?: string; readonly state?: string }[];
  readonly heads: Readonly<Record<string, string>>;
  readonly summary?: string;
}

function validationFile(status: Status): string {
  return path.join(status.run.workspace, '.metawsm/validation-result.json');
}

function validation(status: Status): Validation {
  return JSON.parse(readFileSync(validationFile(status), 'utf8')) as Validation;
}

describe('verify', () => {
  test('runs the commands at HEAD and records what it found', async ({ rig }) => {
    const { status, tree } = await workspaceWith(rig, [
      { run: 'pwd; env | grep ^METAWSM_; echo to-stderr >&2' },
      { run: ['test', '-f', 'README.md'] },
      'The README documents it',
    ]);
    expect(await states(rig)).toEqual(['unverified', 'unverified', 'unverified']);
    expect((await rig.run('status run.yaml')).stdout).toContain('next: metawsm verify ABC-1');

    const { lines, summary, result } = await rig.events('verify run.yaml');
    expect(lines.filter((line) => line.type === 'criterion')).toMatchObject([
      { run_id: status.run.id, state: 'passed' },
      { run_id: status.run.id, state: 'passed' },
    ]);
    expect(summary).toMatchObject({
      exit_code: 0,
      runs: [{ changed: true, criteria_passed: 2, criteria_total: 3 }],
    });
    expect(result.stderr).toBe('');

    const head = await tree.git('rev-parse', 'HEAD');
    const [first, second, third] = await criteria(rig);
    expect(first).toMatchObject({
      state: 'passed',
      repo: 'api',
      commit: head,
      exit_code: 0,
      void_reason: null,
    });
    expect(first?.duration_ms).toBeTypeOf('number');
    expect(second).toMatchObject({ text: 'test -f README.md', state: 'passed' });
    expect(third).toMatchObject({ state: 'unverified', commit: null, log: null });
    expect((await rig.runs())[0]).toMatchObject({ criteria_passed: 2, criteria_total: 3 });

    const output = readFileSync(first?.log ?? '', 'utf8');
    expect(first?.log?.startsWith(rig.stateFolder)).toBe(true);
    for (const line of [
      tree.path,
      'to-stderr',
      `METAWSM_RUN_ID=${status.run.id}`,
      'METAWSM_TICKET=ABC-1',
      `METAWSM_WORKSPACE=${status.run.workspace}`,
      `METAWSM_MANIFEST_DIR=${rig.project}`,
    ])
      expect(output.split('\n')).toContain(line);

    expect(validation(status)).toMatchObject({
      status: 'failed',
      done_criteria: ['pwd; env | grep ^METAWSM_; echo to-stderr >&2', 'test -f README.md'],
      heads: { api: head },
    });
    expect(validation(status).checks.map(({ state }) => state)).toEqual(['passed', 'passed']);
  });

  test('ends with 4 when one fails, with the end of its output, and runs the others', async ({ rig }) => {
    await workspaceWith(rig, [{ run: 'echo early; echo it broke; exit 3' }, { run: 'true' }]);
    const { text, stdout } = await rig.run('verify run.yaml', { code: 4 });
    expect(text).toContain('c1 (echo early; echo it broke; exit 3) exited with status 3');
    expect(text).toMatch(/^ +it broke$/m);
    expect(stdout).toContain('1 of 2 criteria passed');
    const [failed, passed] = await criteria(rig);
    expect(failed).toMatchObject({ state: 'failed', exit_code: 3 });
    expect(passed).toMatchObject({ state: 'passed' });
    expect(text).toContain(failed?.log);
    expect(await rig.state()).toBe('completed');
    const page = (await rig.run('status run.yaml')).stdout;
    expect(page).toMatch(/✖ c1 .*failed/);
    expect(page).toContain('exited with status 3');
  });

  test('without a terminal each criterion has one line', async ({ rig }) => {
    await workspaceWith(rig, [{ run: 'echo noise; echo noise' }, { run: 'exit 1' }]);
    const { stderr } = await rig.run('verify run.yaml', { code: 4 });
    const lines = stderr.split('\n').filter((line) => /^. c\d /.test(line));
    expect(lines.sort((a, b) => a.localeCompare(b))).toEqual([
      '✔ c1 echo noise; echo noise',
      '✖ c2 exit 1: exited with status 1',
    ]);
  });

  test('ends a command whose time is up, with all that it started', async ({ rig }) => {
    await workspaceWith(rig, [
      {
        run: 'sleep 1000 & echo $! > "$RIG_DIR/child"; (trap "" TERM; sleep 1001) & echo $! > "$RIG_DIR/deaf"; wait',
        // Time enough to begin, on a busy machine too.
        timeout: '3s',
      },
    ]);
    const { text } = await rig.run('verify run.yaml', { code: 4 });
    expect(text).toContain('timed out after 3.0s');
    for (const file of ['child', 'deaf']) expect(isAlive(Number(rig.read(file)))).toBe(false);
    expect(await only(rig)).toMatchObject({ state: 'failed', exit_code: null });
  });

  test('a command that cannot be started has failed', async ({ rig }) => {
    await workspaceWith(rig, [{ run: ['no-such-program-here'] }]);
    expect((await rig.run('verify run.yaml', { code: 4 })).text).toMatch(/could not be started \(ENOENT\)/);
  });

  test('runs as many at a time as it may', async ({ rig }) => {
    const meet = (own: string, other: string) =>
      `touch "$RIG_DIR/${own}"; for i in $(seq 200); do [ -e "$RIG_DIR/${other}" ] && exit 0; sleep 0.05; done; exit 1`;
    await workspaceWith(rig, [{ run: meet('one', 'two') }, { run: meet('two', 'one') }]);
    await rig.run('verify run.yaml --concurrency 2');

    const alone = 'mkdir "$RIG_DIR/alone" && sleep 0.1 && rmdir "$RIG_DIR/alone"';
    rig.manifest({ agents: [], done_criteria: [{ run: alone }, { run: `${alone} && true` }] });
    await rig.run('apply run.yaml');
    await rig.run('verify run.yaml --concurrency 1');
  });

  test('two at once harm nobody', async ({ rig }) => {
    await workspaceWith(rig, [{ run: 'cat README.md' }, { run: 'true' }]);
    await Promise.all([rig.run('verify run.yaml'), rig.run('verify run.yaml'), rig.run('verify run.yaml')]);
    expect(await states(rig)).toEqual(['passed', 'passed']);
  });

  test('holds nothing while a command runs', async ({ rig }) => {
    const { tree } = await workspaceWith(rig, [
      { run: 'touch "$RIG_DIR/runs"; until [ -e "$RIG_DIR/go" ]; do sleep 0.05; done' },
    ]);
    const verify = rig.spawn('verify run.yaml');
    await rig.untilFile('runs');
    expect(await rig.status()).toMatchObject({ recorded: true });
    // What changes meanwhile makes the evidence about neither commit.
    await tree.commit('Meanwhile', { 'new.txt': 'x' });
    rig.touch('go');
    expect(await verify.result).toMatchObject({ code: 4 });
    expect(await only(rig)).toMatchObject({ state: 'void' });
    await rig.run('verify run.yaml');
    expect(await only(rig)).toMatchObject({ state: 'passed' });
  });

  test('an interrupt ends the command and records nothing', async ({ rig }) => {
    await workspaceWith(rig, [{ run: 'echo $$ > "$RIG_DIR/pid"; sleep 1000' }]);
    const verify = rig.spawn('verify run.yaml');
    const pid = Number(await rig.until('pid', async () => (await rig.untilFile('pid')).trim()));
    verify.kill('SIGINT');
    expect(await verify.result).toMatchObject({ code: 130 });
    expect(isAlive(pid)).toBe(false);
    expect(await states(rig)).toEqual(['unverified']);
  });

  test('ends what a killed metawsm left running', async ({ rig }) => {
    await workspaceWith(rig, [
      {
        run: '[ -e "$RIG_DIR/pid" ] || { echo $$ > "$RIG_DIR/pid.new"; mv "$RIG_DIR/pid.new" "$RIG_DIR/pid"; sleep 1000; }',
      },
    ]);
    const verify = rig.spawn('verify run.yaml');
    const pid = Number(await rig.untilFile('pid'));
    const marks = path.join(
      rig.stateFolder,
      'runs',
      (await rig.status()).run.id,
      'criteria',
      `running-${pid}.json`,
    );
    await rig.until('its mark', () => existsSync(marks));
    verify.kill('SIGKILL');
    await verify.result;
    expect(isAlive(pid)).toBe(true);
    await rig.run('verify run.yaml');
    expect(isAlive(pid)).toBe(false);
  });

  test('refuses where nothing is left to check', async ({ rig }) => {
    const { tree } = await workspaceWith(rig, [{ run: 'true' }]);
    await rig
      .at(rig.dir)
      .git('-C', path.join(rig.dir, 'repos/api'), 'worktree', 'remove', '--force', tree.path);
    expect((await rig.run('verify run.yaml', { code: 4 })).text).toContain('the worktree of api');
    await rig.run('cleanup run.yaml');
    expect((await rig.run('verify run.yaml', { code: 4 })).text).toContain('closed (abandoned)');
  });

  test('writes a table for the job page', async ({ rig }) => {
    await workspaceWith(rig, [{ run: 'exit 1' }]);
    const file = path.join(rig.dir, 'summary.md');
    await rig.run('verify run.yaml', { code: 4, env: { GITHUB_STEP_SUMMARY: file } });
    expect(readFileSync(file, 'utf8')).toMatch(/ABC-1 \|.*0 of 1/);
  });
});

describe('evidence is void', () => {
  test('when HEAD moves, and counts again when it is back', async ({ rig }) => {
    const { tree } = await workspaceWith(rig, [{ run: 'true' }]);
    await rig.run('verify run.yaml');
    await tree.commit('More', { 'more.txt': 'x' });
    expect(await only(rig)).toMatchObject({
      state: 'void',
      void_reason: expect.stringMatching(/^HEAD of api moved/),
    });
    expect((await rig.runs())[0]).toMatchObject({ criteria_passed: 0 });
    expect((await rig.run('status run.yaml')).stdout).toMatch(/void[\s\S]*HEAD of api moved/);
    await tree.git('reset', '-q', '--hard', 'HEAD~1');
    expect(await states(rig)).toEqual(['passed']);
  });

  test('when the tree is changed, but not by what metawsm placed', async ({ rig }) => {
    const api = await rig.repo('api', { files: { 'README.md': 'x', '.gitignore': 'ignored\n' } });
    writeFileSync(path.join(api.path, '.env'), 'A=1\n');
    rig.manifest({
      repos: [{ name: 'api', path: '../repos/api', copy: ['.env'] }],
      agents: [],
      done_criteria: [{ run: 'touch ignored; cat .env' }],
    });
    await rig.run('apply run.yaml');
    await rig.run('verify run.yaml');
    expect(await states(rig)).toEqual(['passed']);

    const { repos } = await rig.status();
    writeFileSync(path.join(repos[0]?.path ?? '', 'stray.txt'), 'x');
    expect(await only(rig)).toMatchObject({
      state: 'void',
      void_reason: 'api has uncommitted changes: stray.txt',
    });
    // A pass among changes proves nothing about the commit.
    const { text } = await rig.run('verify run.yaml', { code: 4 });
    expect(text).toContain('which does not count: api has uncommitted changes: stray.txt');
    expect(await states(rig)).toEqual(['void']);
  });

  test('when the criterion changes', async ({ rig }) => {
    await workspaceWith(rig, [{ run: 'true' }, 'Words']);
    await rig.run('verify run.yaml');
    // Where it stands is nothing.
    rig.manifest({ agents: [], done_criteria: ['More', 'Words', { run: 'true' }] });
    await rig.run('apply run.yaml');
    expect(await states(rig)).toEqual(['unverified', 'unverified', 'passed']);
    rig.manifest({ agents: [], done_criteria: [{ run: 'false' }] });
    await rig.run('apply run.yaml');
    expect(await only(rig)).toMatchObject({ state: 'void', void_reason: 'the criterion changed since' });
  });
});

describe('words', () => {
  test('are attested by the agent, white space aside, and void in the same way', async ({ rig }) => {
    await rig.repo('api');
    const script = `. ${path.join(path.dirname(agent('lib')[1] ?? ''), 'lib.sh')}
commit work.txt x
metawsm signal validation --status passed --done 'The README   documents it' --done 'true' || exit 5
metawsm signal complete --summary done`;
    rig.manifest({
      done_criteria: ['The README documents it', 'It is fast', { run: 'true' }],
      agent: { command: ['sh', '-c', script] },
    });
    await rig.run('apply run.yaml');
    const done = await rig.untilState('completed');
    // A command that is listed there is no evidence.
    expect(done.criteria.map(({ state }) => state)).toEqual(['passed', 'unverified', 'unverified']);
    expect(done.criteria[0]?.commit).toBe(done.repos[0]?.head);

    const { text } = await rig.run('verify run.yaml');
    expect(text).toContain('not attested: c2');
    expect(await states(rig)).toEqual(['passed', 'unverified', 'passed']);
    expect(validation(done)).toMatchObject({
      status: 'failed',
      done_criteria: ['The README documents it', 'true'],
    });

    const tree = rig.at(done.repos[0]?.path ?? '');
    await tree.commit('More', { 'more.txt': 'x' });
    expect(await states(rig)).toEqual(['void', 'unverified', 'void']);
    // What verify writes binds nothing anew.
    await rig.run('verify run.yaml');
    expect(await states(rig)).toEqual(['void', 'unverified', 'passed']);
    expect(validation(done)).toMatchObject({ status: 'failed', done_criteria: ['true'] });
  });

  test('are attested by hand, and then everything has passed', async ({ rig }) => {
    const { status } = await workspaceWith(rig, ['One', 'Two', { run: 'true' }]);
    await rig.run('signal validation --status passed', { cwd: status.run.workspace });
    expect(await states(rig)).toEqual(['passed', 'passed', 'unverified']);
    await rig.run('verify run.yaml');
    expect(validation(status)).toMatchObject({ status: 'passed', done_criteria: ['One', 'Two', 'true'] });
    await rig.run('signal validation --status failed', { cwd: status.run.workspace });
    expect(await states(rig)).toEqual(['failed', 'failed', 'passed']);
  });

  test('a forged result is no evidence for a command', async ({ rig }) => {
    const { status } = await workspaceWith(rig, [{ run: 'false' }]);
    const head = status.repos[0]?.head ?? '';
    const forged = {
      status: 'passed',
      done_criteria: ['false'],
      checks: [{ by: 'metawsm verify', criterion: 'c1', state: 'passed', exit_code: 0 }, 'all is well'],
      heads: { api: head },
    };
    writeFileSync(validationFile(status), JSON.stringify(forged));
    expect(await states(rig)).toEqual(['unverified']);
    await rig.run('apply run.yaml --wait', { code: 4 });
    expect(await states(rig)).toEqual(['failed']);
    expect(validation(status)).toMatchObject({
      status: 'failed',
      done_criteria: [],
      checks: ['all is well', { by: 'metawsm verify', state: 'failed', exit_code: 1 }],
    });
  });

  test('a result that cannot be read is left as it is', async ({ rig }) => {
    const { status } = await workspaceWith(rig, [{ run: 'true' }]);
    writeFileSync(validationFile(status), 'not JSON');
    const { text } = await rig.run('verify run.yaml');
    expect(text).toMatch(/validation-result\.json.*was not written/);
    expect(readFileSync(validationFile(status), 'utf8')).toBe('not JSON');
  });
});

test('several repos: a command runs in its repo, or in the workspace bound to all', async ({ rig }) => {
  await rig.repo('api');
  await rig.repo('web', { files: { 'web.txt': 'x' } });
  rig.manifest({
    repos: [
      { name: 'api', path: '../repos/api' },
      { name: 'web', path: '../repos/web' },
    ],
    agents: [],
    done_criteria: [{ run: 'test -f web.txt', repo: 'web' }, { run: 'test -f web/web.txt && test -d api' }],
  });
  await rig.run('apply run.yaml --wait');
  const { repos, criteria: found } = await rig.status();
  expect(found).toMatchObject([
    { state: 'passed', repo: 'web', commit: repos[1]?.head },
    { state: 'passed', repo: null, commit: null },
  ]);
  await rig.at(repos[0]?.path ?? '').commit('In api', { 'new.txt': 'x' });
  expect(await states(rig)).toEqual(['passed', 'void']);
});

describe('apply --wait', () => {
  test('checks what the agent claims, once', async ({ rig }) => {
    await rig.repo('api');
    const counted = 'echo run >> "$RIG_DIR/checks"; test -f work-agent.txt';
    rig.manifest({ done_criteria: [{ run: counted }, 'Words'], agent: { command: agent('complete') } });
    const first = await rig.events('apply run.yaml --wait');
    expect(first.lines.filter((line) => line.type === 'criterion')).toMatchObject([
      { id: 'c1', state: 'passed' },
    ]);
    expect(first.summary.runs).toMatchObject([{ state: 'completed', criteria_passed: 1, criteria_total: 2 }]);

    // There is evidence at HEAD: it is not checked again.
    const second = await rig.events('apply run.yaml --wait');
    expect(second.summary.runs).toMatchObject([{ changed: false, criteria_passed: 1 }]);
    expect(rig.read('checks')).toBe('run\n');

    await rig.at((await rig.status()).repos[0]?.path ?? '').commit('More', { 'more.txt': 'x' });
    await rig.run('apply run.yaml --wait');
    expect(rig.read('checks')).toBe('run\nrun\n');
  });

  test('ends with 4 when one fails, and the run stays completed', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest({ done_criteria: [{ run: 'echo why; false' }], agent: { command: agent('complete') } });
    const { summary } = await rig.events('apply run.yaml --wait', { code: 4 });
    expect(summary.runs).toMatchObject([
      {
        state: 'completed',
        exit_code: 4,
        error: { code: 'criterion_failed', log_tail: ['why'] },
        next: { argv: ['metawsm', 'iterate', 'ABC-1', '--feedback', '…'] },
      },
    ]);
    expect(await rig.state()).toBe('completed');
    expect(rig.starts()).toBe(1);
  });

  test('work that is not committed does not pass', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest({
      done_criteria: [{ run: 'test -f new.txt' }],
      agent: { command: 'echo x > new.txt', complete_on: 'exit' },
    });
    const { text } = await rig.run('apply run.yaml --wait', { code: 4 });
    expect(text).toContain('api has uncommitted changes: new.txt');
  });

  test('hands a failed criterion back to the agent', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest({
      done_criteria: [{ run: 'echo looking for good; test -f good' }],
      agent: { command: agent('fix') },
      policy: { start_grace: '200ms', fix_attempts: 1, restart_budget: 0 },
    });
    await rig.run('apply run.yaml --wait');
    const { run, agents, criteria: found } = await rig.status();
    expect(run.state).toBe('completed');
    expect(agents).toMatchObject([{ attempt: 2, summary: 'attempt 2' }]);
    expect(found).toMatchObject([{ state: 'passed' }]);
    expect(existsSync(path.join(rig.dir, 'feedback-agent-1'))).toBe(false);
    const told = rig.read('feedback-agent-2');
    for (const words of [
      'Fix attempt 1 of 1',
      'c1 ',
      'test -f good',
      'exited with status 1',
      'looking for good',
    ])
      expect(told).toContain(words);
    expect(told.match(/<!-- feedback /g)).toHaveLength(1);
    expect(changelog(rig)).toContain('Fix attempt 1 of 1');
  });

  test('pauses when the attempts are used up, and goes on when an operator says what to do', async ({
    rig,
  }) => {
    await rig.repo('api');
    rig.manifest({
      done_criteria: [{ run: 'test -f good' }],
      agent: { command: agent('fix', '4') },
      policy: { start_grace: '200ms', fix_attempts: 2 },
    });
    const { summary } = await rig.events('apply run.yaml --wait', { code: 4 });
    expect(summary.runs).toMatchObject([
      { state: 'paused', reason: 'fix_attempts', error: { code: 'fix_attempts' } },
    ]);
    expect(rig.starts()).toBe(3);
    expect(rig.read('feedback-agent-3')).toContain('Fix attempt 2 of 2');
    expect(await rig.state()).toBe('paused (fix_attempts)');
    const again = await rig.run('apply run.yaml --wait', { code: 4 });
    expect(again.text).toContain('metawsm iterate ABC-1');
    expect(rig.starts()).toBe(3);

    await rig.run(['iterate', 'run.yaml', '--feedback', 'Commit a file named good']);
    await rig.run('apply run.yaml --wait');
    expect(await rig.state()).toBe('completed');
    expect(rig.starts()).toBe(4);
  });

  test('is completed again once somebody mended it by hand', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest({
      done_criteria: [{ run: 'test -f good' }],
      agent: { command: agent('fix', '9') },
      policy: { start_grace: '200ms', fix_attempts: 1 },
    });
    await rig.run('apply run.yaml --wait', { code: 4 });
    await rig.at((await rig.status()).repos[0]?.path ?? '').commit('Mend', { good: 'yes' });
    await rig.run('verify run.yaml');
    expect(await rig.state()).toBe('completed');
  });
});

describe('iterate', () => {
  test('hands feedback to the agent and starts it again', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest({ agent: { command: agent('fix') }, policy: { start_grace: '200ms', restart_budget: 0 } });
    await rig.run('apply run.yaml --wait');
    const before = rig.snapshot();
    const dry = await rig.run(['iterate', 'ABC-1', '--feedback', '- use tabs', '--dry-run']);
    expect(dry.stdout).toMatch(/agent\.start\/agent.*feedback/);
    expect(rig.snapshot()).toEqual(before);

    await rig.run(['iterate', 'ABC-1', '--feedback', '- use tabs']);
    await rig.run('apply run.yaml --wait');
    expect(await rig.agentNamed()).toMatchObject({ attempt: 2, summary: 'attempt 2' });
    expect(rig.read('feedback-agent-2')).toMatch(/^- use tabs$/m);
    expect(changelog(rig)).toContain('- use tabs');
    // The same words again are said again.
    await rig.run(['iterate', 'ABC-1', '--feedback', '- use tabs']);
    await rig.run('apply run.yaml --wait');
    expect(rig.read('feedback-agent-3').match(/- use tabs/g)).toHaveLength(2);
  });

  test('starts a living agent anew, and only the one that is named', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest({ agents: ['one', 'two'].map((name) => ({ name, command: agent('live') })) });
    await rig.run('apply run.yaml');
    await Promise.all([rig.untilFile('alive-one-1'), rig.untilFile('alive-two-1')]);
    const { pid } = await rig.agentNamed('one');
    await rig.run(['iterate', 'run.yaml', '--feedback', 'faster', '--agent', 'one']);
    await rig.untilFile('alive-one-2');
    expect(isAlive(pid ?? 0)).toBe(false);
    expect(await rig.agentNamed('two')).toMatchObject({ attempt: 1, state: 'running' });
    const { agents } = await rig.status();
    const feedback = agents.map((each) => path.join(each.sentinel_dir, 'operator-feedback.md'));
    expect(feedback.map((file) => existsSync(file))).toEqual([true, false]);
  });

  test('of what was said in a repo the old claim is set aside, too', async ({ rig }) => {
    await rig.repo('api');
    const script = `echo "$METAWSM_AGENT $METAWSM_ATTEMPT $$" >> "$RIG_DIR/starts"
[ "$METAWSM_ATTEMPT" = 1 ] || until [ -e "$RIG_DIR/go" ]; do sleep 0.05; done
mkdir -p .metawsm && echo "{\\"summary\\": \\"$METAWSM_ATTEMPT\\"}" > .metawsm/implementation-complete.json`;
    rig.manifest({ agent: { command: ['sh', '-c', script] } });
    await rig.run('apply run.yaml --wait');
    await rig.run(['iterate', 'run.yaml', '--feedback', 'again']);
    expect(await rig.state()).toBe('running');
    rig.touch('go');
    await rig.run('apply run.yaml --wait');
    expect(await rig.agentNamed()).toMatchObject({ attempt: 2, summary: '2' });
  });

  test('what was said is delivered after a crash, once', async ({ rig }) => {
    const api = await rig.repo('api');
    rig.manifest({
      repos: [
        {
          name: 'api',
          path: '../repos/api',
          setup: ['if [ -e "$RIG_DIR/hang" ]; then touch "$RIG_DIR/hangs"; sleep 1000; fi'],
        },
      ],
      agent: { command: agent('fix') },
    });
    await rig.run('apply run.yaml --wait');
    await api.git('worktree', 'remove', '--force', (await rig.status()).repos[0]?.path ?? '');
    rig.touch('hang');
    const iterate = rig.spawn(['iterate', 'run.yaml', '--feedback', 'use tabs']);
    await rig.untilFile('hangs');
    iterate.kill('SIGKILL');
    await iterate.result;
    rmSync(path.join(rig.dir, 'hang'));
    await rig.run('apply run.yaml --wait');
    expect(await rig.agentNamed()).toMatchObject({ attempt: 2, state: 'completed' });
    expect(rig.read('feedback-agent-2').match(/use tabs/g)).toHaveLength(1);
  });

  test('a paused run and a stopped one go on', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest({ agent: { command: 'echo "$METAWSM_AGENT 1 1" >> "$RIG_DIR/starts"' } });
    await rig.run('apply run.yaml --wait', { code: 4 });
    expect(await rig.state()).toBe('paused (exited_without_signal)');
    await rig.run(['iterate', 'run.yaml', '--feedback', 'say that you are done']);
    await rig.until('the second start', () => rig.starts() === 2);
    await rig.run('stop run.yaml');
    await rig.run(['iterate', 'run.yaml', '--feedback', 'again']);
    await rig.until('the third start', () => rig.starts() === 3);
  });

  test('refuses what makes no sense', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest({ agents: [] });
    await rig.run('apply run.yaml');
    await rig.run('iterate run.yaml', { code: 64 });
    await rig.run(['iterate', 'run.yaml', '--feedback', ' \n'], { code: 64 });
    await rig.run(['iterate', 'run.yaml', '--feedback', 'x', '--agent', 'nobody'], { code: 64 });
    expect((await rig.run(['iterate', 'run.yaml', '--feedback', 'x'], { code: 4 })).text).toContain(
      'no agent',
    );
    await rig.run('cleanup run.yaml');
    await rig.run(['iterate', 'run.yaml', '--feedback', 'x'], { code: 4 });
  });
});

function changelog(rig: Rig): string {
  const files = Object.keys(rig.snapshot()).filter((file) => file.endsWith('/changelog.md'));
  return files.map((file) => rig.read(file)).join('\n');
}
