import { expect, test } from 'vitest';
import { missingSteps, type Request } from '../../src/plan/plan.js';
import {
  agentIntent,
  aliveAgent,
  exited,
  type LookOverrides,
  planOf,
  type RunOverrides,
  recordedRun,
  SHARED,
  sentinel,
} from '../support/run-builder.js';

const iterate = (agents: readonly string[] | null = null): Request => ({
  kind: 'iterate',
  agents,
  feedback: 'use tabs',
  fixAttempt: null,
});

const DONE = {
  agents: { agent: exited(0) },
  sentinels: [sentinel('implementation-complete', { summary: 'x' }, { dir: SHARED })],
};

const starts = (plan: ReturnType<typeof planOf>) =>
  missingSteps(plan).map(({ id, step, reason, needsYes }) => {
    const { replace, budget } = step.kind === 'agent.start' ? step : { replace: null, budget: null };
    return [id, reason, replace, budget, needsYes];
  });

test.for<[state: string, run: RunOverrides, observed: LookOverrides, replace: boolean]>([
  ['completed', { state: 'completed' }, DONE, false],
  ['running', { state: 'running' }, { agents: { agent: aliveAgent() } }, true],
  ['failed', { state: 'failed', reason: 'agent_failed' }, { agents: { agent: exited(1) } }, false],
  ['paused', { state: 'paused', reason: 'fix_attempts' }, DONE, false],
  [
    'paused without a word',
    { state: 'paused', reason: 'exited_without_signal' },
    { agents: { agent: exited(0) } },
    false,
  ],
  ['stopped', { state: 'stopped' }, { agents: { agent: exited(0) } }, false],
])(
  'a %s run: the agent is started again, free of budget and without asking',
  ([, run, observed, replace]) => {
    const plan = planOf(recordedRun(run), { request: iterate(), observed });
    expect(plan).toMatchObject({ request: 'iterate', refused: [] });
    expect(starts(plan)).toEqual([['agent.start/agent', 'feedback', replace, 'none', false]]);
  },
);

test('only the named agent', () => {
  const intent = { agents: [agentIntent('one'), agentIntent('two')] };
  const plan = planOf(recordedRun({ intent }), { request: iterate(['two']) });
  expect(starts(plan).map(([id]) => id)).toEqual(['agent.start/two']);
});

test.for(['closing', 'closed'] as const)('a %s run is refused', (state) => {
  const plan = planOf(recordedRun({ state }), { request: iterate() });
  expect(plan.refused.map(({ code }) => code)).toEqual([`run_${state}`]);
  expect(plan.steps).toEqual([]);
});

test('without agents there is nobody to tell', () => {
  const plan = planOf(recordedRun({ intent: { agents: [] }, state: 'completed' }), { request: iterate() });
  expect(plan.refused.map(({ code }) => code)).toEqual(['no_agents']);
});

test('apply leaves a run alone whose fix attempts are used up, and names the ways out', () => {
  const run = recordedRun({ state: 'paused', reason: 'fix_attempts', detail: 'c1 (x) exited with status 1' });
  const [refusal] = planOf(run, { observed: DONE }).refused;
  expect(refusal?.message).toContain('c1 (x) exited with status 1');
  expect(refusal?.wayOut).toMatch(/iterate.*verify/);
});
