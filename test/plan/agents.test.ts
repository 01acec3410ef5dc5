import { describe, expect, test } from 'vitest';
import { missingSteps, type Plan, type Request } from '../../src/plan/plan.js';
import type { RecordedStep } from '../../src/plan/recorded.js';
import {
  agentIntent,
  aliveAgent,
  deadAgent,
  deliveredAnswer,
  exited,
  type LookOverrides,
  NOW,
  newPlan,
  planOf,
  QUESTION,
  type RunOverrides,
  recordedRun,
  response,
  sentinel,
} from '../support/run-builder.js';

const START = 'agent.start/agent';
/** The planned start of the agent: what apply does and what that costs. */
function start(plan: Plan, id = START) {
  const planned = plan.steps.find((step) => step.id === id);
  if (planned?.step.kind !== 'agent.start') throw new Error(`no ${id}: ${JSON.stringify(plan.refused)}`);
  const { replace, budget, freeFor, notBefore } = planned.step;
  return {
    does: `${planned.action}${planned.needsYes ? '!' : ''}`,
    why: planned.reason,
    replace,
    budget,
    freeFor,
    notBefore,
  };
}

/** Rows of the start step as a crash, an interrupt or a request leaves them. */
const rows = {
  /** Planned for the first time. */
  planned: { state: 'pending', attempts: 0, startedAt: null, endedAt: null },
  /** Begun, and metawsm was killed. */
  running: { state: 'running', endedAt: null },
  /** Begun, and metawsm was interrupted while it waited for the agent's start grace. */
  interrupted: { state: 'pending', endedAt: null },
  /** Done once, and asked for again. */
  again: { state: 'pending' },
  failed: { state: 'failed' },
} satisfies Record<string, Partial<RecordedStep>>;

const never = { attempt: 0, state: 'pending' as const, startedAt: null, progress: null, pid: null };
const unseen = (more = {}) =>
  aliveAgent({ claim: 'none', wrapper: 'dead', process: null, started: null, ...more });
const stopped = { agent: { stoppedAttempt: 1 } };
const completion = sentinel('implementation-complete');
const request = sentinel('guidance-request', QUESTION);

interface Row {
  the: string;
  row?: Partial<RecordedStep>;
  agent?: RunOverrides['agents'];
  observed?: LookOverrides;
  does: string;
  replace?: boolean;
  why?: string | RegExp;
}

describe('apply', () => {
  const cases: Row[] = [
    {
      the: 'never started: first',
      row: rows.planned,
      agent: { agent: never },
      observed: { agents: { agent: unseen({ attempt: 0 }) } },
      does: 'create',
      why: 'first start',
    },
    { the: 'alive, all done', does: 'none' },
    {
      the: 'attempt recorded, unclaimed, step cut off: the step looks itself',
      row: rows.running,
      observed: { agents: { agent: unseen() } },
      does: 'create',
      why: 'its start was interrupted',
    },
    {
      the: 'attempt void',
      row: rows.running,
      observed: { agents: { agent: unseen({ claim: 'void' }) } },
      does: 'create',
      why: 'its last start never happened',
    },
    {
      the: 'alive, metawsm killed in the start: found there',
      row: rows.running,
      does: 'create',
      why: 'its start was interrupted',
    },
    {
      the: 'asking, metawsm killed in the start: found there',
      row: rows.running,
      observed: { sentinels: [request] },
      does: 'create',
      why: 'its start was interrupted',
    },
    {
      the: 'completed, metawsm killed in the start: found there',
      row: rows.running,
      observed: { sentinels: [completion], agents: { agent: exited(0) } },
      does: 'create',
      why: 'its start was interrupted',
    },
    { the: 'alive, metawsm interrupted in the start grace: left alone', row: rows.interrupted, does: 'none' },
    {
      the: 'completed, metawsm interrupted in the start grace: left alone',
      row: rows.interrupted,
      observed: { sentinels: [completion] },
      does: 'none',
    },
    {
      the: 'alive, a restart that did not begin',
      row: rows.again,
      does: 'replace',
      replace: true,
      why: 'a restart was interrupted',
    },
    {
      the: 'alive, a restart with another declaration that did not begin',
      row: rows.planned,
      does: 'replace',
      replace: true,
      why: 'a restart was interrupted',
    },
    {
      the: 'completed, a restart that did not begin',
      row: rows.again,
      observed: { sentinels: [completion], agents: { agent: exited(0) } },
      does: 'replace',
      why: 'a restart was interrupted',
    },
    {
      the: 'stopped, a restart that did not begin',
      row: rows.again,
      agent: stopped,
      observed: { agents: { agent: exited(143) } },
      does: 'create',
      why: 'a restart was interrupted',
    },
    {
      the: 'half stopped, a restart that did not begin',
      row: rows.again,
      agent: stopped,
      does: 'create',
      replace: true,
      why: 'a restart was interrupted',
    },
    {
      the: 'stopped alone, among others',
      agent: stopped,
      observed: { agents: { agent: exited(143) } },
      does: 'none',
    },
    {
      the: 'stopped alone, after a start that failed',
      row: rows.failed,
      agent: stopped,
      observed: { agents: { agent: exited(143) } },
      does: 'none',
    },
    {
      the: 'stopped alone, after a start that was interrupted',
      row: rows.interrupted,
      agent: stopped,
      observed: { agents: { agent: exited(143) } },
      does: 'none',
    },
    { the: 'asking and alive', observed: { sentinels: [request] }, does: 'none' },
    {
      the: 'asking and ended',
      observed: { sentinels: [request], agents: { agent: exited(0) } },
      does: 'none',
    },
    {
      the: 'unknown: left as it is',
      observed: { agents: { agent: aliveAgent({ process: 'unknown' }) } },
      does: 'none',
    },
  ];
  test.each(cases)('$the', ({ row, agent = {}, observed = {}, does, replace = false, why = '' }) => {
    const steps = row === undefined ? {} : { [START]: row };
    const plan = planOf(recordedRun({ steps, agents: agent }), { observed });
    expect(start(plan)).toMatchObject({ does, replace, budget: 'none', freeFor: null, notBefore: 0 });
    expect(start(plan).why).toBe(why);
    expect(plan.refused).toEqual([]);
    expect(plan.steps.find((step) => step.id === START)?.needsYes).toBe(false);
  });

  test('an agent that cannot be looked at is a warning', () => {
    const observed = { agents: { agent: aliveAgent({ process: 'unknown' }) } };
    expect(planOf(recordedRun(), { observed }).warnings.map((w) => w.code)).toEqual(['agent_unknown']);
  });

  test('the start is what the manifest and the record say', () => {
    expect(newPlan().steps.at(-1)?.step).toMatchObject({
      command: './agent.sh',
      session: 'process',
      sessionName: 't-1-abcd1234-agent',
      startGraceMs: 2_000,
    });
  });
});

describe('the restart budget', () => {
  test.each<[string, LookOverrides['agents']]>([
    ['failed', { agent: exited(3) }],
    ['killed', { agent: exited(null, { signal: 'SIGKILL' }) }],
    ['dead', { agent: deadAgent() }],
    ['rebooted', { agent: deadAgent({ rebooted: true }) }],
  ])('an agent that is %s is started again, counted, and shown as drift', (_, agents) => {
    const plan = planOf(recordedRun(), { observed: { agents: agents ?? {} } });
    expect(start(plan)).toMatchObject({ does: 'replace', budget: 'counted', freeFor: null, replace: false });
    expect(start(plan).why).toMatch(/^agent agent .*; restart 1 of 3$/);
    expect(plan.changes).toMatchObject([
      { source: 'world', path: 'agent/agent', before: 'running', stepIds: [START] },
    ]);
  });

  const seconds: [number, number][] = [
    [0, 1],
    [1, 2],
    [2, 4],
    [3, 8],
    [5, 32],
    [6, 60],
    [20, 60],
    [5_000, 60],
  ];
  test.each(seconds)('after %d starts it waits %d s since the last end', (startsUsed, wait) => {
    const intent = { policy: { ...recordedRun().intent.policy, restartBudget: 10_000 } };
    const run = recordedRun({ intent, agents: { agent: { startsUsed } } });
    const failed = { agents: { agent: exited(3, { endedAt: NOW - 100 }) } };
    expect(start(planOf(run, { observed: failed })).notBefore).toBe(NOW - 100 + wait * 1_000);
    // One without a record of its end counts from when it was first seen dead.
    const seen = recordedRun({ intent, agents: { agent: { startsUsed, endedAt: NOW - 700 } } });
    const dead = { agents: { agent: deadAgent() } };
    expect(start(planOf(seen, { observed: dead })).notBefore).toBe(NOW - 700 + wait * 1_000);
  });

  test.each<[number, number, boolean]>([
    [0, 0, true],
    [0, 1, false],
    [2, 3, false],
    [3, 3, true],
    [4, 3, true],
  ])('%d starts used of %d: refused %s', (startsUsed, restartBudget, refused) => {
    const intent = { policy: { ...recordedRun().intent.policy, restartBudget } };
    const run = recordedRun({ intent, agents: { agent: { startsUsed } } });
    const plan = planOf(run, { observed: { agents: { agent: exited(3) } } });
    expect(plan.refused.map((r) => r.code)).toEqual(refused ? ['restart_budget_used'] : []);
    expect(missingSteps(plan)).toHaveLength(refused ? 0 : 1);
    if (refused) {
      expect(plan.refused[0]?.message).toBe(
        `agent agent exited with status 3, and its restart budget is used up (${startsUsed} of ${restartBudget})`,
      );
    }
  });

  test('one agent’s budget is not another’s', () => {
    const intent = { agents: [agentIntent('agent'), agentIntent('b')] };
    const run = recordedRun({ intent, agents: { b: { startsUsed: 3 } } });
    const plan = planOf(run, { observed: { agents: { agent: exited(3) } } });
    expect(plan.refused).toEqual([]);
    expect(missingSteps(plan).map((step) => step.id)).toEqual([START]);
  });
});

describe('an unread answer', () => {
  const ended = { agents: { agent: exited(0) }, sentinels: [response()] };
  test('buys one start that is free of budget, also when the budget is used up', () => {
    const run = recordedRun({ guidance: [deliveredAnswer()], agents: { agent: { startsUsed: 3 } } });
    const plan = planOf(run, { observed: ended });
    expect(plan.refused).toEqual([]);
    expect(start(plan)).toEqual({
      does: 'replace',
      why: 'answer to g1 is unread',
      replace: false,
      budget: 'free',
      freeFor: 'g1',
      notBefore: 0,
    });
  });

  test('no more than one: the next is counted', () => {
    const run = recordedRun({ guidance: [deliveredAnswer()], agents: { agent: { freeStartFor: 'g1' } } });
    expect(start(planOf(run, { observed: ended }))).toMatchObject({
      does: 'replace',
      budget: 'counted',
      freeFor: null,
      notBefore: NOW - 500 + 1_000,
    });
    const used = recordedRun({
      guidance: [deliveredAnswer()],
      agents: { agent: { freeStartFor: 'g1', startsUsed: 3 } },
    });
    expect(planOf(used, { observed: ended }).refused.map((r) => r.code)).toEqual(['restart_budget_used']);
  });

  test('each answer buys its own', () => {
    const run = recordedRun({
      guidance: [deliveredAnswer(), deliveredAnswer({ id: 'g2' })],
      agents: { agent: { freeStartFor: 'g1' } },
    });
    const plan = planOf(run, { observed: { agents: { agent: exited(0) }, sentinels: [response('g2')] } });
    expect(start(plan)).toMatchObject({ budget: 'free', freeFor: 'g2' });
  });

  test('an agent that lives reads it itself', () => {
    const run = recordedRun({ guidance: [deliveredAnswer()] });
    expect(start(planOf(run, { observed: { sentinels: [response()] } })).does).toBe('none');
  });
});

describe('resume starts the agents that neither live nor completed, budget as it is', () => {
  const resume: Request = { kind: 'resume' };
  test.each<[string, RunOverrides['agents'], LookOverrides, string, string]>([
    ['stopped', stopped, { agents: { agent: exited(143) } }, 'replace', 'resume: it is stopped'],
    [
      'silent',
      {},
      { agents: { agent: exited(0) } },
      'replace',
      'resume: agent agent exited with status 0 without signalling completion',
    ],
    [
      'failed, its budget used up',
      { agent: { startsUsed: 3 } },
      { agents: { agent: exited(3) } },
      'replace',
      'resume: agent agent exited with status 3',
    ],
    [
      'dead',
      {},
      { agents: { agent: deadAgent() } },
      'replace',
      'resume: agent agent died: its process is gone and left no exit record (killed?)',
    ],
    [
      'never started',
      { agent: never },
      { agents: { agent: unseen({ attempt: 0 }) } },
      'create',
      'first start',
    ],
    [
      'ended with a question',
      {},
      { agents: { agent: exited(0) }, sentinels: [request] },
      'replace',
      'resume: it is exited',
    ],
    ['alive', {}, {}, 'none', ''],
    ['asking and alive', {}, { sentinels: [request] }, 'none', ''],
    ['completed', {}, { agents: { agent: exited(0) }, sentinels: [completion] }, 'none', ''],
    ['completed and alive', {}, { sentinels: [completion] }, 'none', ''],
    ['unknown', {}, { agents: { agent: aliveAgent({ process: 'unknown' }) } }, 'none', ''],
    ['starting', {}, { agents: { agent: unseen() } }, 'none', ''],
  ])('%s', (_, agents = {}, observed, does, why) => {
    const plan = planOf(recordedRun({ agents }), { observed, request: resume });
    expect(start(plan)).toMatchObject({ does, why, budget: 'none', notBefore: 0 });
    expect(plan.refused).toEqual([]);
  });
});

describe.each<[string, string, (agents: string[] | null) => Request]>([
  ['restart', 'restart', (agents) => ({ kind: 'restart', agents })],
  ['iterate', 'feedback', (agents) => ({ kind: 'iterate', agents, feedback: 'mend it', fixAttempt: null })],
])('%s starts agents afresh', (_, why, request) => {
  test.each<[string, RunOverrides['agents'], LookOverrides, string, boolean]>([
    ['alive', {}, {}, 'replace', true],
    ['completed', {}, { agents: { agent: exited(0) }, sentinels: [completion] }, 'replace', false],
    ['completed and alive', {}, { sentinels: [completion] }, 'replace', true],
    [
      'failed, its budget used up',
      { agent: { startsUsed: 3 } },
      { agents: { agent: exited(3) } },
      'replace',
      false,
    ],
    ['stopped', stopped, { agents: { agent: exited(143) } }, 'replace', false],
    ['unknown: it may live', {}, { agents: { agent: aliveAgent({ process: 'unknown' }) } }, 'replace', true],
    ['never started', { agent: never }, { agents: { agent: unseen({ attempt: 0 }) } }, 'create', false],
  ])('%s', (_, agents = {}, observed, does, replace) => {
    const plan = planOf(recordedRun({ agents }), { observed, request: request(null) });
    expect(start(plan)).toEqual({
      does,
      why,
      replace,
      budget: 'none',
      freeFor: null,
      notBefore: 0,
    });
  });

  test.each<[string, RunOverrides['agents'], LookOverrides['agents'], string]>([
    ['alive', {}, {}, 'none'],
    ['dead', {}, { b: deadAgent() }, 'none'],
    ['failed, its budget used up', { b: { startsUsed: 3 } }, { b: exited(3) }, 'none'],
    ['stopped', { b: { stoppedAttempt: 1 } }, { b: exited(143) }, 'none'],
    ['never started', { b: never }, { b: unseen({ attempt: 0 }) }, 'create'],
  ])('of one agent: the other, %s, is left as it is', (_, agents = {}, seen = {}, does) => {
    const intent = { agents: [agentIntent('agent'), agentIntent('b')] };
    const observed = { agents: seen };
    const plan = planOf(recordedRun({ intent, agents }), { observed, request: request(['agent']) });
    expect(plan.refused).toEqual([]);
    expect(start(plan)).toMatchObject({ does: 'replace', replace: true });
    expect(start(plan, 'agent.start/b').does).toBe(does);
  });
});
