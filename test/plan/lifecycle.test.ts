import { describe, expect, test } from 'vitest';
import {
  type AgentState,
  isOpen,
  mayTransition,
  mayTransitionAgent,
  mayTransitionGuidance,
  mayTransitionStep,
  type RunState,
  type StepState,
} from '../../src/plan/lifecycle.js';
import type { GuidanceState } from '../../src/plan/recorded.js';

const RUN = Object.keys({
  created: 1,
  planning: 1,
  running: 1,
  awaiting_guidance: 1,
  paused: 1,
  failed: 1,
  completed: 1,
  stopping: 1,
  stopped: 1,
  closing: 1,
  closed: 1,
} satisfies Record<RunState, 1>) as RunState[];
const AGENT = Object.keys({
  pending: 1,
  starting: 1,
  running: 1,
  exited: 1,
  completed: 1,
  failed: 1,
  dead: 1,
  stopped: 1,
  unknown: 1,
} satisfies Record<AgentState, 1>) as AgentState[];
const STEP = Object.keys({
  pending: 1,
  running: 1,
  done: 1,
  failed: 1,
  skipped: 1,
} satisfies Record<StepState, 1>) as StepState[];
const GUIDANCE = Object.keys({
  pending: 1,
  answered: 1,
  delivered: 1,
  withdrawn: 1,
} satisfies Record<GuidanceState, 1>) as GuidanceState[];

/** Every state that can be come to from `first`. */
function reachable<S extends string>(states: readonly S[], first: S, may: (from: S, to: S) => boolean): S[] {
  const found = new Set<S>([first]);
  for (const from of found) for (const to of states) if (may(from, to)) found.add(to);
  return states.filter((state) => found.has(state));
}

test('every state is reachable, and staying is legal', () => {
  expect(reachable(RUN, 'created', mayTransition)).toEqual(RUN);
  expect(reachable(AGENT, 'pending', mayTransitionAgent)).toEqual(AGENT);
  expect(reachable(STEP, 'pending', mayTransitionStep)).toEqual(STEP);
  expect(reachable(GUIDANCE, 'pending', mayTransitionGuidance)).toEqual(GUIDANCE);
  for (const state of RUN) expect(mayTransition(state, state)).toBe(true);
  for (const state of AGENT) expect(mayTransitionAgent(state, state)).toBe(true);
  for (const state of STEP) expect(mayTransitionStep(state, state)).toBe(true);
  for (const state of GUIDANCE) expect(mayTransitionGuidance(state, state)).toBe(true);
});

test('closed is final and alone gives its ticket free; every other run can come to it', () => {
  for (const state of RUN) {
    expect(mayTransition('closed', state)).toBe(state === 'closed');
    expect(mayTransition(state, 'closed')).toBe(true);
    expect(isOpen(state)).toBe(state !== 'closed');
  }
});

describe('a run', () => {
  test.each<[string, RunState[], RunState]>([
    [
      'can be stopped whatever it does',
      ['planning', 'running', 'awaiting_guidance', 'paused', 'failed', 'completed', 'stopped'],
      'stopping',
    ],
    [
      'goes on by resume and restart, also where a stop did not end',
      ['planning', 'awaiting_guidance', 'paused', 'failed', 'completed', 'stopping', 'stopped'],
      'running',
    ],
    [
      'is closed from any state in which it rests',
      ['running', 'awaiting_guidance', 'paused', 'failed', 'completed', 'stopped'],
      'closing',
    ],
    [
      'can fail while steps are executed',
      ['created', 'planning', 'running', 'awaiting_guidance', 'paused', 'completed', 'stopping'],
      'failed',
    ],
  ])('%s', (_, from, to) => {
    for (const state of from) expect(`${state} ${mayTransition(state, to)}`).toBe(`${state} true`);
  });

  test.each<[string, RunState[], RunState[]]>([
    [
      'what was stopped is not taken up by a look',
      ['stopping', 'stopped'],
      ['awaiting_guidance', 'paused', 'completed'],
    ],
    [
      'a run that is being closed is not taken up by anything else',
      ['closing'],
      ['running', 'awaiting_guidance', 'paused', 'stopping', 'stopped'],
    ],
    ['nothing is made a draft again', RUN.filter((s) => s !== 'created'), ['created']],
  ])('%s', (_, from, to) => {
    for (const a of from)
      for (const b of to) expect(`${a} ${b} ${mayTransition(a, b)}`).toBe(`${a} ${b} false`);
  });
});

test('an agent that metawsm ended is not read as failed, dead or exited', () => {
  for (const state of ['failed', 'dead', 'exited'] as const) {
    expect(mayTransitionAgent('stopped', state)).toBe(false);
  }
  expect(mayTransitionAgent('stopped', 'starting')).toBe(true);
});

test('an answer that was delivered and a question that was withdrawn stay so', () => {
  for (const state of GUIDANCE) {
    expect(mayTransitionGuidance('delivered', state)).toBe(state === 'delivered');
    expect(mayTransitionGuidance('withdrawn', state)).toBe(state === 'withdrawn');
  }
  expect(mayTransitionGuidance('pending', 'delivered')).toBe(false);
});
