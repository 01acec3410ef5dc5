import { describe, expect, test } from 'vitest';
import type { RunReason, RunState } from '../../src/plan/lifecycle.js';
import { nextFor } from '../../src/plan/next.js';
import { reconcile } from '../../src/sentinels/reconcile.js';
import {
  agentIntent,
  aliveAgent,
  applied,
  deliveredAnswer,
  exited,
  type LookOverrides,
  look,
  type RunOverrides,
  recordedQuestion,
  recordedRun,
  response,
  SHARED,
  sentinel,
} from '../support/run-builder.js';

/** The next command as one would type it, after a look that was recorded. */
function next(run: RunOverrides, seen: LookOverrides = {}): string | null {
  const recorded = recordedRun(run);
  const outcome = reconcile(recorded, look(recorded, seen));
  return nextFor(applied(recorded, outcome), outcome, 'run.yaml')?.argv.join(' ') ?? null;
}

const wait = 'metawsm apply run.yaml --wait';
const request = sentinel('guidance-request', { question: '?' });
const completion = sentinel('implementation-complete');

describe('the next command, by state', () => {
  test.each<[RunState, RunReason | null, RunOverrides, LookOverrides, string | null]>([
    ['created', null, {}, {}, wait],
    ['planning', null, {}, {}, wait],
    ['running', null, {}, {}, wait],
    [
      'running',
      null,
      { guidance: [deliveredAnswer()] },
      { agents: { agent: exited(0) }, sentinels: [response()] },
      wait,
    ],
    ['awaiting_guidance', null, {}, { sentinels: [request] }, 'metawsm guide T-1 --answer …'],
    ['paused', 'interrupted', {}, {}, wait],
    ['paused', 'exited_without_signal', {}, { agents: { agent: exited(0) } }, 'metawsm resume T-1'],
    ['paused', 'fix_attempts', {}, {}, 'metawsm iterate T-1 --feedback …'],
    ['failed', 'step_failed', {}, {}, wait],
    ['failed', 'agent_failed', {}, { agents: { agent: exited(3) } }, wait],
    [
      'failed',
      'agent_failed',
      { agents: { agent: { startsUsed: 3 } } },
      { agents: { agent: exited(3) } },
      'metawsm restart T-1',
    ],
    ['stopping', null, {}, {}, 'metawsm stop T-1'],
    ['stopped', null, {}, {}, 'metawsm resume T-1'],
    ['closing', null, {}, {}, 'metawsm close T-1'],
    ['closed', null, {}, {}, null],
  ])('%s (%s) %j', (state, reason, run, seen, expected) => {
    expect(next({ state, reason, ...run }, seen)).toBe(expected);
  });

  test('the question that is open is named, not one that was answered before', () => {
    const recorded = recordedRun({
      state: 'awaiting_guidance',
      guidance: [deliveredAnswer(), recordedQuestion({ id: 'g2', state: 'answered', answeredAt: 1 })],
    });
    expect(nextFor(recorded, reconcile(recorded, look(recorded)), 'run.yaml')?.why).toBe('answer g2');
  });

  test.each<[string, RunOverrides, LookOverrides, string]>([
    ['lives', {}, {}, 'wait until the agent is done or asks'],
    [
      'has an unread answer',
      { guidance: [deliveredAnswer()] },
      {
        agents: { agent: exited(0) },
        sentinels: [response(), response('g1', { dir: `${SHARED}/agents/agent` })],
      },
      'start the agent, and wait for it',
    ],
    [
      'never began',
      {},
      { agents: { agent: aliveAgent({ claim: 'void', process: null }) } },
      'start the agent, and wait for it',
    ],
  ])('why: one agent lives, the other %s', (_, run, seen, why) => {
    const intent = { agents: [agentIntent('agent'), agentIntent('b')] };
    const recorded = recordedRun({ intent, ...run });
    const outcome = reconcile(recorded, look(recorded, seen));
    expect(nextFor(recorded, outcome, 'run.yaml')?.why).toBe(why);
  });

  test('it follows the look, not the record', () => {
    expect(next({ state: 'running' }, { agents: { agent: exited(3) } })).toBe(wait);
    expect(next({ state: 'running' }, { agents: { agent: exited(0) } })).toBe('metawsm resume T-1');
    expect(next({ state: 'completed' }, { sentinels: [request] })).toBe('metawsm guide T-1 --answer …');
  });

  test('of several agents the one that asks is named', () => {
    const intent = { agents: [agentIntent('a'), agentIntent('b')] };
    const guidance = [recordedQuestion({ agent: 'b', state: 'answered', answeredAt: 1 })];
    expect(next({ intent, guidance })).toBe('metawsm guide T-1 --agent b --answer …');
  });

  test('the budget of an agent that lives is no reason to restart another', () => {
    const intent = { agents: [agentIntent('a'), agentIntent('b')] };
    const run: RunOverrides = {
      state: 'failed',
      reason: 'agent_failed',
      intent,
      agents: { b: { startsUsed: 3 } },
    };
    expect(next(run, { agents: { a: exited(3), b: aliveAgent() } })).toBe(wait);
  });

  test('a completed run names a command that exists, and says what it is for', () => {
    const recorded = recordedRun({ state: 'completed' });
    const outcome = reconcile(recorded, look(recorded, { sentinels: [completion] }));
    const found = nextFor(recorded, outcome, 'run.yaml');
    expect(found?.argv.length).toBeGreaterThan(0);
    expect(found?.why).not.toBe('');
  });

  test('without a look the record counts', () => {
    expect(nextFor(recordedRun({ state: 'stopped' }), null, 'run.yaml')?.argv).toEqual([
      'metawsm',
      'resume',
      'T-1',
    ]);
  });
});
