import path from 'node:path';
import { describe, expect, onTestFinished } from 'vitest';
import {
  type AgentState,
  mayTransition,
  mayTransitionAgent,
  mayTransitionGuidance,
  mayTransitionStep,
  type RunState,
  type StepState,
} from '../../src/plan/lifecycle.js';
import type { GuidanceState, RecordedRun } from '../../src/plan/recorded.js';
import type { StoredEvent } from '../../src/state/journal.js';
import { Store } from '../../src/state/store.js';
import { probe, selfIdentity } from '../../src/tools/process.js';
import type { Runs, Status } from '../support/documents.js';
import { isAlive, type Result } from '../support/processes.js';
import { agent, type Rig, test } from '../support/rig.js';

/** Several at once, each as patient as a loaded machine asks for. */
const PATIENT = ['--lock-timeout', '60s'];

test('eight applies of one manifest make one run and start one agent', async ({ rig }) => {
  const api = await rig.repo('api', { origin: true });
  rig.manifest();
  const applies = Array.from({ length: 8 }, () =>
    rig.run(['apply', 'run.yaml', ...PATIENT], { timeout: 90_000 }),
  );
  await Promise.all(applies);
  expect(await rig.runs()).toHaveLength(1);
  await rig.untilFile('alive-agent-1');
  expect(rig.starts()).toBe(1);
  const { run } = await rig.status();
  expect(await api.worktrees()).toEqual([path.join(run.workspace, 'api')]);
  expect((await api.branches()).sort()).toEqual(['main', `task/${path.basename(run.workspace)}`]);
});

test('eight applies for eight tickets on one repository all succeed', async ({ rig }) => {
  const api = await rig.repo('api', { origin: true });
  const manifests = Array.from({ length: 8 }, (_, n) =>
    path.basename(rig.manifest({ ticket: `ABC-${n + 1}` }, `run-${n + 1}.yaml`)),
  );
  await Promise.all(
    manifests.map((manifest) => rig.run(['apply', manifest, ...PATIENT], { timeout: 90_000 })),
  );
  const runs = await rig.runs();
  expect(runs.map((run) => run.ticket).sort()).toEqual(manifests.map((_, n) => `ABC-${n + 1}`));
  expect(runs.map((run) => run.state)).toEqual(manifests.map(() => 'running'));
  expect(await api.worktrees()).toHaveLength(8);
  expect(await api.branches()).toHaveLength(9);
});

test('status, runs and logs answer while a step holds the run', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({
    repos: [
      {
        name: 'api',
        path: '../repos/api',
        setup: ['touch "$RIG_DIR/in"; until [ -e "$RIG_DIR/go" ]; do sleep 0.05; done'],
      },
    ],
  });
  const applying = rig.spawn('apply run.yaml');
  await rig.untilFile('in');

  const status = await rig.json<Status>('status run.yaml');
  expect(status).toMatchObject({ recorded: false, run: { state: 'running' } });
  expect(status.steps.find(({ id }) => id === 'setup.run/api/1')?.state).toBe('running');
  expect((await rig.json<Runs>('runs')).runs).toHaveLength(1);
  await rig.run('logs run.yaml', { code: 'any' });
  // Those who want to change it are told who holds it.
  const stop = await rig.run('stop run.yaml --lock-timeout 0s', { code: 75 });
  expect(stop.text).toContain(String(applying.pid));

  rig.touch('go');
  expect((await applying.result).code).toBe(0);
});

test('apply --wait holds nothing: another terminal watches, answers and stops', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({
    agents: [
      { name: 'asker', command: agent('ask', 'Which colour?'), cwd: 'api' },
      { name: 'worker', command: agent('live'), cwd: 'api' },
    ],
  });
  await rig.run('apply run.yaml');
  await rig.untilState('awaiting_guidance');
  const watching = rig.spawn('status run.yaml --watch');
  await rig.run(['guide', 'run.yaml', '--answer', 'blue']);
  await rig.untilText('answers-asker', 'Which colour? => blue');

  const waiting = rig.spawn('apply run.yaml --wait');
  // Both are at it: what follows must not wait for either to end.
  await rig.until('a look of the wait', () => waiting.stdout() + waiting.stderr() !== '');
  await rig.run('stop run.yaml', { timeout: 30_000 });
  expect((await waiting.result).code).toBe(4);
  expect(await rig.state()).toBe('stopped');
  watching.interrupt();
  await watching.result;
});

describe.each(seeds())('commands at random, seed %i', (seed) => {
  test('from four processes leave a legal run, and a journal that tells how it came', {
    timeout: 300_000,
  }, async ({ rig }) => {
    await rig.repo('api');
    rig.manifest({
      agents: [
        { name: 'asker', command: agent('ask', 'one?', 'two?', 'three?'), cwd: 'api' },
        { name: 'worker', command: agent('live'), cwd: 'api' },
      ],
      policy: { start_grace: '50ms', restart_budget: 50 },
    });
    await rig.run('apply run.yaml');
    const random = generator(seed);
    const results = (await Promise.all(Array.from({ length: 4 }, () => operate(rig, random)))).flat();
    const bad = results.filter(({ argv, code }) => !allowed(argv[0] ?? '', code));
    expect(bad.map(({ argv, code, text }) => `${argv.join(' ')} → ${code}\n${text}`)).toEqual([]);

    // What the agents did last is seen by a last look.
    const { run } = await rig.status();
    const { record, events } = await recordOf(rig, run.id);
    expect(replay(record, events)).toEqual([]);
    for (const { name, state, attempt, pid } of record.agents) {
      const lives = pid !== null && isAlive(pid);
      if (state === 'running') expect([name, state, lives]).toEqual([name, state, true]);
      if (['stopped', 'dead', 'failed', 'exited'].includes(state) || record.state === 'stopped') {
        expect([name, state, lives]).toEqual([name, state, false]);
      }
      expect(rig.starts(name)).toBeLessThanOrEqual(attempt);
    }
    // No attempt ran twice, and none of an earlier one lives.
    const starts = rig.read('starts').trim().split('\n');
    expect(new Set(starts.map(startOf)).size).toBe(starts.length);
    const living = starts.filter((line) => isAlive(Number(line.split(' ')[2])));
    expect(new Set(living.map((line) => line.split(' ')[0])).size).toBe(living.length);

    await rig.run(['cleanup', 'run.yaml', '--force', ...PATIENT]);
    const end = await recordOf(rig, run.id);
    expect(end.record.state).toBe('closed');
    expect(replay(end.record, end.events)).toEqual([]);
    expect(starts.filter((line) => isAlive(Number(line.split(' ')[2])))).toEqual([]);
  });
});

const COMMANDS = [
  ['apply', 'run.yaml', '--yes'],
  ['guide', 'run.yaml', '--answer', 'yes'],
  ['guide', 'run.yaml', '--answer', 'no'],
  ['stop', 'run.yaml'],
  ['stop', 'run.yaml', '--agent', 'worker'],
  ['resume', 'run.yaml'],
  ['resume', 'run.yaml'],
  ['restart', 'run.yaml'],
  ['restart', 'run.yaml', '--agent', 'asker'],
  ['status', 'run.yaml'],
  ['runs'],
  ['cleanup', 'run.yaml', '--keep-workspaces'],
] as const;

/** One operator's commands, one after the other. */
async function operate(rig: Rig, random: () => number): Promise<Result[]> {
  const results: Result[] = [];
  for (let n = 0; n < 5; n++) {
    const command = COMMANDS[Math.floor(random() * COMMANDS.length)] ?? COMMANDS[0];
    results.push(await rig.run([...command, ...PATIENT], { code: 'any', timeout: 120_000 }));
  }
  return results;
}

/** Done, or refused for the state that another command brought about. */
function allowed(command: string, code: number | null): boolean {
  return command === 'status' || command === 'runs' ? code === 0 : code === 0 || code === 4;
}

function startOf(line: string): string {
  return line.split(' ').slice(0, 2).join(' ');
}

async function recordOf(rig: Rig, runId: string): Promise<{ record: RecordedRun; events: StoredEvent[] }> {
  const owner = { ...selfIdentity(), command: 'test' };
  const store = await Store.openReadOnly(rig.stateFolder, { version: '0', owner, probe });
  if (store === null) throw new Error('nothing is recorded');
  onTestFinished(() => store.close());
  return { record: await store.loadRun(runId), events: await store.events(runId) };
}

/** What the journal tells that the tables of transitions do not allow, and where it ends elsewhere than the record. */
function replay(run: RecordedRun, events: readonly StoredEvent[]): string[] {
  const problems: string[] = [];
  const states = new Map<string, string>();
  const move = (key: string, to: string, may: (from: string) => boolean): void => {
    const from = states.get(key);
    if (from !== undefined && !may(from)) problems.push(`${key}: ${from} → ${to}`);
    states.set(key, to);
  };
  for (const { type, data } of events) {
    const to = String(data.state);
    if (type === 'run') move('run', to, (from) => mayTransition(from as RunState, to as RunState));
    if (type === 'agent') {
      move(`agent ${data.name}`, to, (from) => mayTransitionAgent(from as AgentState, to as AgentState));
    }
    if (type === 'guidance') {
      move(`guidance ${data.id}`, to, (from) =>
        mayTransitionGuidance(from as GuidanceState, to as GuidanceState),
      );
    }
    if (type === 'step') move(`step ${data.id}`, to, (from) => maySteps(from as StepState, to as StepState));
    if (type === 'plan') {
      for (const id of [...(data.added as string[]), ...(data.replaced as string[])]) {
        states.set(`step ${id}`, 'pending');
      }
    }
  }
  const check = (key: string, state: string): void => {
    if (states.get(key) !== state) problems.push(`${key} is ${state}, last told ${states.get(key)}`);
  };
  check('run', run.state);
  for (const { name, state } of run.agents) check(`agent ${name}`, state);
  for (const { id, state } of run.guidance) check(`guidance ${id}`, state);
  // A step that is to be done again waits without a word.
  for (const { id, state } of run.steps) if (state !== 'pending') check(`step ${id}`, state);
  return problems;
}

/** Directly, or after it was planned again. */
function maySteps(from: StepState, to: StepState): boolean {
  return (
    mayTransitionStep(from, to) || (mayTransitionStep(from, 'pending') && mayTransitionStep('pending', to))
  );
}

/** `METAWSM_SEEDS=4,5,6` tries others. */
function seeds(): number[] {
  return (process.env.METAWSM_SEEDS ?? '1,2').split(',').map(Number);
}

/** mulberry32: the same numbers for the same seed. */
function generator(start: number): () => number {
  let state = start >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
