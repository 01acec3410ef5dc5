import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  mayTransition,
  mayTransitionAgent,
  type RunReason,
  type RunState,
} from '../../src/plan/lifecycle.js';
import type { FoundSentinel, Observed, ObservedAgent } from '../../src/plan/observed.js';
import type { AgentVerdict } from '../../src/plan/outcome.js';
import type { RecordedGuidance, RecordedRun } from '../../src/plan/recorded.js';
import { reconcile } from '../../src/sentinels/reconcile.js';
import { fuzz } from '../support/fuzz.js';
import {
  agentIntent,
  aliveAgent,
  applied,
  deadAgent,
  deliveredAnswer,
  exited,
  type LookOverrides,
  look,
  MINUTE,
  NOW,
  QUESTION,
  RUN,
  type RunOverrides,
  recordedQuestion,
  recordedRun,
  repoIntent,
  response,
  SHARED,
  STARTED,
  sentinel,
  startedAt,
  unreadable,
  WORKSPACE,
} from '../support/run-builder.js';

const completion = sentinel('implementation-complete', { summary: 'all done' });
const request = sentinel('guidance-request', QUESTION);
const onExit = { agents: [agentIntent('agent', { completeOn: 'exit' })] };

function outcomeOf(run: RunOverrides = {}, seen: LookOverrides = {}) {
  const recorded = recordedRun(run);
  return reconcile(recorded, look(recorded, seen));
}

/** State and reason of the run as one word, as status shows it. */
function word(run: { state: RunState; reason: RunReason | null } | null): string | null {
  return run === null ? null : run.reason === null ? run.state : `${run.state} (${run.reason})`;
}

interface Row {
  /** The rule it comes from. */
  rule: string;
  run?: RunOverrides;
  agent?: ObservedAgent;
  sentinels?: FoundSentinel[];
  verdict: AgentVerdict;
  live?: boolean;
  runState?: string;
}

const rows: Row[] = [
  {
    rule: 'stopped by metawsm > a valid completion',
    run: { agents: { agent: { stoppedAttempt: 1 } } },
    agent: exited(null, { signal: 'SIGTERM' }),
    sentinels: [completion],
    verdict: 'stopped',
    runState: 'running',
  },
  {
    rule: 'stopped by metawsm > a non-zero exit',
    run: { agents: { agent: { stoppedAttempt: 1 } } },
    agent: exited(143),
    verdict: 'stopped',
    runState: 'running',
  },
  {
    rule: 'stopped by metawsm, and it lives still: a stop that was cut short',
    run: { agents: { agent: { stoppedAttempt: 1 } } },
    verdict: 'stopped',
    live: true,
    runState: 'running',
  },
  {
    rule: 'an earlier attempt was stopped: that says nothing about this one',
    run: { agents: { agent: { stoppedAttempt: 1, attempt: 2 } } },
    agent: aliveAgent({ attempt: 2 }),
    verdict: 'alive',
    live: true,
    runState: 'running',
  },
  {
    rule: 'a valid completion > non-zero exit',
    agent: exited(7),
    sentinels: [completion],
    verdict: 'completed',
    runState: 'completed',
  },
  {
    rule: 'a valid completion > dead',
    agent: deadAgent(),
    sentinels: [completion],
    verdict: 'completed',
    runState: 'completed',
  },
  {
    rule: 'a valid completion > a pending request: of the agent, not of the run',
    sentinels: [completion, request],
    verdict: 'completed',
    live: true,
    runState: 'awaiting_guidance',
  },
  {
    rule: 'a valid completion > alive',
    sentinels: [completion],
    verdict: 'completed',
    live: true,
    runState: 'completed',
  },
  {
    rule: 'a completion that cannot be read changes no state',
    sentinels: [unreadable('implementation-complete')],
    verdict: 'alive',
    live: true,
    runState: 'running',
  },
  {
    rule: 'complete_on: exit also exit 0',
    run: { intent: onExit },
    agent: exited(0),
    verdict: 'completed',
    runState: 'completed',
  },
  {
    rule: 'complete_on: exit, unless a request is pending',
    run: { intent: onExit },
    agent: exited(0),
    sentinels: [request],
    verdict: 'asking',
    runState: 'awaiting_guidance',
  },
  {
    rule: 'complete_on: exit, or an answer unread',
    run: { intent: onExit, guidance: [deliveredAnswer()] },
    agent: exited(0),
    sentinels: [response()],
    verdict: 'answer_unread',
    runState: 'running',
  },
  {
    rule: 'complete_on: exit is about exit 0 alone',
    run: { intent: onExit },
    agent: exited(3),
    verdict: 'failed',
    runState: 'failed (agent_failed)',
  },
  {
    rule: 'complete_on: exit, while it lives',
    run: { intent: onExit },
    verdict: 'alive',
    live: true,
    runState: 'running',
  },
  {
    rule: 'non-zero exit > a pending request',
    agent: exited(3),
    sentinels: [request],
    verdict: 'failed',
    runState: 'failed (agent_failed)',
  },
  {
    rule: 'ended by a signal that was not metawsm’s is dead',
    agent: exited(null, { signal: 'SIGKILL' }),
    verdict: 'dead',
    runState: 'failed (agent_dead)',
  },
  {
    rule: 'ended by a signal, and the machine was started anew: rebooted',
    agent: exited(null, { signal: 'SIGTERM' }, { rebooted: true }),
    verdict: 'dead',
    runState: 'failed (rebooted)',
  },
  {
    rule: 'complete_on: exit, and a signal ended it',
    run: { intent: onExit },
    agent: exited(null, { signal: 'SIGTERM' }),
    verdict: 'dead',
    runState: 'failed (agent_dead)',
  },
  {
    rule: 'could not be started at all',
    agent: exited(126, { error: 'no such program' }, { process: null, started: null }),
    verdict: 'failed',
    runState: 'failed (agent_failed)',
  },
  {
    rule: 'non-zero exit > an unread answer',
    run: { guidance: [deliveredAnswer()] },
    agent: exited(3),
    sentinels: [response()],
    verdict: 'failed',
    runState: 'failed (agent_failed)',
  },
  {
    rule: 'dead > a pending request',
    agent: deadAgent(),
    sentinels: [request],
    verdict: 'dead',
    runState: 'failed (agent_dead)',
  },
  {
    rule: 'dead after a start of the machine is rebooted',
    agent: deadAgent({ rebooted: true }),
    verdict: 'dead',
    runState: 'failed (rebooted)',
  },
  {
    rule: 'a wrapper that died before it started the agent is dead',
    agent: aliveAgent({ wrapper: 'dead', process: null, started: null }),
    verdict: 'dead',
    runState: 'failed (agent_dead)',
  },
  {
    rule: 'its process is gone and its wrapper lives: how it ended is about to be recorded',
    agent: aliveAgent({ process: 'dead' }),
    verdict: 'alive',
    live: true,
    runState: 'running',
  },
  {
    rule: 'the same with a question',
    agent: aliveAgent({ process: 'dead' }),
    sentinels: [request],
    verdict: 'asking',
    live: true,
    runState: 'awaiting_guidance',
  },
  {
    rule: 'a pending request > alive',
    sentinels: [request],
    verdict: 'asking',
    live: true,
    runState: 'awaiting_guidance',
  },
  {
    rule: 'a pending request > an unread answer',
    run: { guidance: [deliveredAnswer()] },
    agent: exited(0),
    sentinels: [response(), sentinel('guidance-request', { question: 'And then?' })],
    verdict: 'asking',
    runState: 'awaiting_guidance',
  },
  {
    rule: 'a pending request > silent exit 0',
    agent: exited(0),
    sentinels: [request],
    verdict: 'asking',
    runState: 'awaiting_guidance',
  },
  {
    rule: 'alive > an unread answer',
    run: { guidance: [deliveredAnswer()] },
    sentinels: [response()],
    verdict: 'alive',
    live: true,
    runState: 'running',
  },
  {
    rule: 'an unread answer counts as running',
    run: { guidance: [deliveredAnswer()] },
    agent: exited(0),
    sentinels: [response()],
    verdict: 'answer_unread',
    runState: 'running',
  },
  { rule: 'silent exit 0', agent: exited(0), verdict: 'silent', runState: 'paused (exited_without_signal)' },
  {
    rule: 'a probe that could not be made is unknown, not dead',
    agent: aliveAgent({ process: 'unknown', wrapper: 'unknown' }),
    verdict: 'unknown',
    live: true,
    runState: 'running',
  },
  {
    rule: 'a probe that could not be made, and a pending request',
    agent: aliveAgent({ process: 'unknown', wrapper: 'unknown' }),
    sentinels: [request],
    verdict: 'asking',
    live: true,
    runState: 'awaiting_guidance',
  },
  {
    rule: 'a probe that could not be made, and a completion',
    agent: aliveAgent({ process: 'unknown', wrapper: 'unknown' }),
    sentinels: [completion],
    verdict: 'completed',
    live: true,
    runState: 'completed',
  },
  {
    rule: 'a probe of the wrapper that could not be made, before the agent was seen',
    agent: aliveAgent({ process: null, started: null, wrapper: 'unknown' }),
    verdict: 'unknown',
    live: true,
    runState: 'running',
  },
  {
    rule: 'a look at another attempt than the recorded one is no look',
    run: { agents: { agent: { attempt: 2 } } },
    agent: deadAgent({ attempt: 1 }),
    verdict: 'unknown',
    live: true,
    runState: 'running',
  },
  {
    rule: 'an attempt that is recorded and not claimed yet is starting',
    agent: aliveAgent({ claim: 'none', wrapper: 'dead', process: null, started: null }),
    verdict: 'starting',
    runState: 'running',
  },
  {
    rule: 'a claimed attempt whose agent is not seen yet is starting',
    agent: aliveAgent({ process: null, started: null }),
    verdict: 'starting',
    runState: 'running',
  },
  {
    rule: 'an attempt that nobody claimed before the machine was started anew never begins',
    agent: aliveAgent({ claim: 'none', wrapper: 'dead', process: null, started: null, rebooted: true }),
    verdict: 'not_started',
    runState: 'running',
  },
  {
    rule: 'a void attempt never begins',
    agent: aliveAgent({ claim: 'void', wrapper: 'dead', process: null, started: null }),
    verdict: 'not_started',
    runState: 'running',
  },
  {
    rule: 'a void attempt whose start failed for that is lost',
    run: { steps: { 'agent.start/agent': { state: 'failed' } } },
    agent: aliveAgent({ claim: 'void', wrapper: 'dead', process: null, started: null }),
    verdict: 'dead',
    runState: 'failed (agent_dead)',
  },
  {
    rule: 'never started',
    run: { agents: { agent: { attempt: 0, state: 'pending', startedAt: null, progress: null } } },
    agent: aliveAgent({ attempt: 0, claim: 'none', process: null, started: null }),
    verdict: 'not_started',
    runState: 'running',
  },
];

describe('per agent, the first that holds', () => {
  test.each(rows)('$rule', ({ run, agent, sentinels = [], verdict, live = false, runState }) => {
    const outcome = outcomeOf(run, { sentinels, ...(agent === undefined ? {} : { agents: { agent } }) });
    expect(outcome.agents[0]).toMatchObject({ name: 'agent', verdict, live });
    expect(word(outcome.run)).toBe(runState);
  });
});

describe('what an agent is recorded as', () => {
  test.each<[string, Pick<Row, 'run' | 'agent' | 'sentinels'>, object]>([
    ['alive', {}, { state: 'running', health: 'healthy', healthReason: null, pid: 100, endedAt: null }],
    [
      'asking and alive',
      { sentinels: [request] },
      { state: 'running', health: 'healthy', healthReason: null },
    ],
    [
      'asking and ended',
      { agent: exited(0), sentinels: [request] },
      { state: 'exited', health: 'none', exitCode: 0, endedAt: NOW - 500 },
    ],
    [
      'failed',
      { agent: exited(3) },
      { state: 'failed', health: 'failed', healthReason: 'agent agent exited with status 3', exitCode: 3 },
    ],
    [
      'ended by a signal',
      { agent: exited(null, { signal: 'SIGKILL' }) },
      {
        state: 'dead',
        health: 'dead',
        healthReason: 'agent agent was ended by SIGKILL',
        exitCode: null,
        signal: 'SIGKILL',
      },
    ],
    [
      'could not be started',
      { agent: exited(126, { error: 'no such program' }) },
      { state: 'failed', healthReason: 'agent agent could not be started: no such program' },
    ],
    [
      'dead',
      { agent: deadAgent() },
      {
        state: 'dead',
        health: 'dead',
        healthReason: 'agent agent died: its process is gone and left no exit record (killed?)',
        exitCode: null,
        endedAt: NOW,
      },
    ],
    [
      'not begun',
      {
        run: { steps: { 'agent.start/agent': { state: 'failed' } } },
        agent: aliveAgent({ claim: 'void', wrapper: 'dead', process: null, started: null }),
      },
      { state: 'dead', healthReason: 'agent agent was not started: its session did not begin' },
    ],
    [
      'rebooted',
      { agent: deadAgent({ rebooted: true }) },
      { state: 'dead', healthReason: 'agent agent died: the machine was restarted' },
    ],
    [
      'unknown',
      { agent: aliveAgent({ process: 'unknown' }) },
      { state: 'unknown', health: 'unknown', healthReason: 'its process could not be looked at' },
    ],
    [
      'silent',
      { agent: exited(0) },
      {
        state: 'exited',
        health: 'none',
        healthReason: 'agent agent exited with status 0 without signalling completion',
      },
    ],
    [
      'with an unread answer',
      { run: { guidance: [deliveredAnswer()] }, agent: exited(0), sentinels: [response()] },
      { state: 'exited', health: 'none' },
    ],
    [
      'completed',
      { sentinels: [completion] },
      { state: 'completed', health: 'none', summary: 'all done', completedAt: NOW - 2_000 },
    ],
    [
      'completed by its exit',
      { run: { intent: onExit }, agent: exited(0) },
      { state: 'completed', summary: null, completedAt: NOW - 500 },
    ],
    [
      'completed in the future, by its clock',
      { sentinels: [sentinel('implementation-complete', {}, { mtime: NOW + MINUTE })] },
      { state: 'completed', summary: null, completedAt: NOW },
    ],
    [
      'not completed any more',
      { run: { agents: { agent: { state: 'completed', summary: 'x', completedAt: NOW - MINUTE } } } },
      { state: 'running', summary: null, completedAt: null },
    ],
    [
      'stopped',
      { run: { agents: { agent: { stoppedAttempt: 1 } } }, agent: exited(143) },
      { state: 'stopped', health: 'none', healthReason: null },
    ],
    [
      'starting',
      { agent: aliveAgent({ claim: 'none', process: null, started: null }) },
      { state: 'starting', health: 'none' },
    ],
  ])('%s', (_, { run, agent, sentinels = [] }, patch) => {
    const outcome = outcomeOf(run, { sentinels, ...(agent === undefined ? {} : { agents: { agent } }) });
    expect(outcome.agents[0]?.patch).toMatchObject(patch);
  });

  test('how an earlier attempt ended is not taken for this one', () => {
    const { agents } = outcomeOf(
      { agents: { agent: { attempt: 2, exitCode: null, startedAt: null, pid: null } } },
      { agents: { agent: exited(3) } },
    );
    expect(agents[0]?.patch).toMatchObject({ exitCode: null, startedAt: null, endedAt: null, pid: null });
  });
});

describe('a non-zero exit after completion is a warning', () => {
  test.each<[string, ObservedAgent, string[]]>([
    ['status 3', exited(3), ['exit_after_completion']],
    ['a signal', exited(null, { signal: 'SIGKILL' }), ['exit_after_completion']],
    ['status 0', exited(0), []],
    ['still alive', aliveAgent(), []],
  ])('%s', (_, agent, codes) => {
    const outcome = outcomeOf({}, { sentinels: [completion], agents: { agent } });
    expect(outcome.warnings.map((w) => w.code)).toEqual(codes);
    expect(word(outcome.run)).toBe('completed');
  });

  test('the warning names the agent and how it ended', () => {
    const { warnings } = outcomeOf({}, { sentinels: [completion], agents: { agent: exited(3) } });
    expect(warnings[0]?.message).toBe('agent agent signalled completion and then exited with status 3');
  });
});

describe('per run', () => {
  const two = { agents: [agentIntent('a'), agentIntent('b')] };
  const done = (agent: string) => inFolder('implementation-complete', agent, {});
  const asks = (agent: string) => inFolder('guidance-request', agent, { question: `${agent}?` });
  test.each<[string, Record<string, ObservedAgent>, FoundSentinel[], string]>([
    ['one failed, one asks: failed', { a: exited(3) }, [asks('b')], 'failed (agent_failed)'],
    ['one completed, one failed: failed', { b: exited(3) }, [done('a')], 'failed (agent_failed)'],
    ['one died, one is silent: failed', { a: exited(0), b: deadAgent() }, [], 'failed (agent_dead)'],
    ['both lost with the machine: rebooted', { a: deadAgent({ rebooted: true }) }, [], 'failed (rebooted)'],
    ['one completed, one asks: awaiting_guidance', {}, [done('a'), asks('b')], 'awaiting_guidance'],
    ['one asks, one is silent: awaiting_guidance', { b: exited(0) }, [asks('a')], 'awaiting_guidance'],
    [
      'all complete, one still asks: awaiting_guidance',
      {},
      [done('a'), done('b'), asks('b')],
      'awaiting_guidance',
    ],
    ['all complete: completed', {}, [done('a'), done('b')], 'completed'],
    ['one complete, one alive: running', {}, [done('a')], 'running'],
    ['one complete, one silent: paused', { b: exited(0) }, [done('a')], 'paused (exited_without_signal)'],
    ['one silent, one alive: paused', { a: exited(0) }, [], 'paused (exited_without_signal)'],
    ['both alive: running', {}, [], 'running'],
    [
      'one unknown, one complete: running',
      { a: aliveAgent({ process: 'unknown', wrapper: 'unknown' }) },
      [done('b')],
      'running',
    ],
  ])('%s', (_, agents, sentinels, expected) => {
    expect(word(outcomeOf({ intent: two }, { agents, sentinels }).run)).toBe(expected);
  });

  test('one stopped, one complete: running, because nobody may take that for completed', () => {
    const run = { intent: two, agents: { a: { stoppedAttempt: 1 } } };
    const outcome = outcomeOf(run, { agents: { a: exited(143) }, sentinels: [done('b')] });
    expect(word(outcome.run)).toBe('running');
  });

  test('the state says why, in the words of the agent that is to blame', () => {
    const { run } = outcomeOf({ intent: two }, { agents: { b: exited(3) }, sentinels: [done('a')] });
    expect(run?.detail).toBe('agent b exited with status 3');
  });

  test('a removed agent has no say: neither its end nor its question', () => {
    const question = recordedQuestion({ agent: 'b', file: `${SHARED}/agents/b/guidance-request.json` });
    const run = { intent: two, agents: { b: { removed: true } }, guidance: [question] };
    const outcome = outcomeOf(run, { agents: { b: exited(3) }, sentinels: [done('a')] });
    expect(outcome.agents.map((agent) => agent.name)).toEqual(['a']);
    expect(outcome.withdrawn).toEqual(['g1']);
    expect(word(outcome.run)).toBe('completed');
  });

  test('agents: [] is completed after setup, not before', () => {
    const intent = { agents: [] };
    expect(word(outcomeOf({ intent }).run)).toBe('completed');
    expect(word(outcomeOf({ intent, steps: { 'brief.write': { state: 'pending' } } }).run)).toBe('running');
    expect(word(outcomeOf({ intent, steps: { 'brief.write': { state: 'failed' } } }).run)).toBe('running');
    const empty = { ...recordedRun({ intent }), steps: [] };
    expect(word(reconcile(empty, look(empty)).run)).toBe('running');
  });
});

describe('which states a look decides', () => {
  test.each<[RunState, RunReason | null, boolean]>([
    ['created', null, false],
    ['planning', null, false],
    ['running', null, true],
    ['awaiting_guidance', null, true],
    ['paused', 'exited_without_signal', true],
    ['paused', 'interrupted', false],
    ['paused', 'fix_attempts', false],
    ['failed', 'agent_failed', true],
    ['failed', 'agent_dead', true],
    ['failed', 'rebooted', true],
    ['failed', 'step_failed', false],
    ['completed', null, true],
    ['stopping', null, false],
    ['stopped', null, false],
    ['closing', null, false],
    ['closed', null, false],
  ])('%s (%s): %s', (state, reason, decided) => {
    const alive = outcomeOf({ state, reason });
    expect(word(alive.run)).toBe(decided ? 'running' : null);
    // Nor does anything else that is seen.
    const failed = outcomeOf({ state, reason }, { agents: { agent: exited(3) } });
    expect(word(failed.run)).toBe(decided ? 'failed (agent_failed)' : null);
    const asking = outcomeOf({ state, reason }, { sentinels: [request] });
    expect(word(asking.run)).toBe(decided ? 'awaiting_guidance' : null);
    // What is seen of the agents is recorded in any state.
    expect(failed.agents[0]?.patch.state).toBe('failed');
    expect(asking.newGuidance).toHaveLength(1);
  });
});

describe('questions', () => {
  test('a request is recorded with everything it says', () => {
    const value = { ...QUESTION, request_id: 'r1', context: { a: [1] } };
    const outcome = outcomeOf({}, { sentinels: [sentinel('guidance-request', value, { digest: 'd' })] });
    expect(outcome.newGuidance).toEqual([
      {
        agent: 'agent',
        attempt: 1,
        requestId: 'r1',
        question: 'Which?',
        context: { a: [1] },
        digest: 'd',
        file: `${SHARED}/guidance-request.json`,
        askedAt: NOW - 2_000,
      },
    ]);
  });

  test.each<
    [string, RecordedGuidance[], FoundSentinel[], { fresh: number; withdrawn: string[]; run: string }]
  >([
    [
      'once, however often it is read',
      [recordedQuestion()],
      [request],
      { fresh: 0, withdrawn: [], run: 'awaiting_guidance' },
    ],
    [
      'another one in its place: the old is withdrawn, the new is recorded',
      [recordedQuestion({ digest: 'old' })],
      [request],
      { fresh: 1, withdrawn: ['g1'], run: 'awaiting_guidance' },
    ],
    ['taken back', [recordedQuestion()], [], { fresh: 0, withdrawn: ['g1'], run: 'running' }],
    [
      'unreadable meanwhile: it is being written anew, the question stands',
      [recordedQuestion()],
      [unreadable('guidance-request')],
      { fresh: 0, withdrawn: [], run: 'awaiting_guidance' },
    ],
    [
      'another file is unreadable: that says nothing about this one',
      [recordedQuestion()],
      [unreadable('guidance-request', '/elsewhere'), unreadable('implementation-complete')],
      { fresh: 0, withdrawn: ['g1'], run: 'running' },
    ],
    [
      'unreadable and never recorded',
      [],
      [unreadable('guidance-request')],
      { fresh: 0, withdrawn: [], run: 'running' },
    ],
    [
      'answered and not delivered, the request already in the archive: stays pending',
      [recordedQuestion({ state: 'answered', answer: 'that', answeredAt: NOW - 1 })],
      [],
      { fresh: 0, withdrawn: [], run: 'awaiting_guidance' },
    ],
    [
      'answered and not delivered, the request still there: stays pending',
      [recordedQuestion({ state: 'answered', answer: 'that', answeredAt: NOW - 1 })],
      [request],
      { fresh: 0, withdrawn: [], run: 'awaiting_guidance' },
    ],
    [
      'answered, and meanwhile it asks something else: both are open',
      [recordedQuestion({ state: 'answered', answer: 'that', answeredAt: NOW - 1, digest: 'old' })],
      [request],
      { fresh: 1, withdrawn: [], run: 'awaiting_guidance' },
    ],
    [
      'the same words again after the answer are a new question',
      [deliveredAnswer()],
      [request],
      { fresh: 1, withdrawn: [], run: 'awaiting_guidance' },
    ],
    [
      'the same words again after they were withdrawn are a new question',
      [recordedQuestion({ state: 'withdrawn' })],
      [request],
      { fresh: 1, withdrawn: [], run: 'awaiting_guidance' },
    ],
    [
      'delivered, and the request is gone: nothing is open',
      [deliveredAnswer()],
      [],
      { fresh: 0, withdrawn: [], run: 'running' },
    ],
  ])('%s', (_, guidance, sentinels, expected) => {
    const outcome = outcomeOf({ guidance }, { sentinels });
    expect({
      fresh: outcome.newGuidance.length,
      withdrawn: outcome.withdrawn,
      run: word(outcome.run),
    }).toEqual(expected);
  });

  test('a question of an agent that ended and is started anew stays open', () => {
    const sentinels = [sentinel('guidance-request', { ...QUESTION, attempt: 1 }, { digest: 'd' })];
    const run = { agents: { agent: { attempt: 2 } }, guidance: [recordedQuestion({ digest: 'd' })] };
    const outcome = outcomeOf(run, { agents: { agent: aliveAgent({ attempt: 2 }) }, sentinels });
    expect(outcome).toMatchObject({ newGuidance: [], withdrawn: [], warnings: [] });
    expect(word(outcome.run)).toBe('awaiting_guidance');
  });

  test('among other open questions, too; but a claim of another attempt is no question', () => {
    const run: RunOverrides = {
      agents: { agent: { attempt: 2 } },
      guidance: [
        recordedQuestion({ digest: 'other', state: 'answered', answeredAt: NOW - 1 }),
        recordedQuestion({ id: 'g2', digest: 'd' }),
      ],
    };
    const sentinels = [
      sentinel('guidance-request', { ...QUESTION, attempt: 1 }, { digest: 'd' }),
      sentinel('implementation-complete', { attempt: 1 }, { digest: 'd' }),
    ];
    const outcome = outcomeOf(run, { agents: { agent: aliveAgent({ attempt: 2 }) }, sentinels });
    expect(outcome).toMatchObject({ newGuidance: [], withdrawn: [] });
    expect(outcome.warnings.map((w) => w.file)).toEqual([`${SHARED}/implementation-complete.json`]);
    expect(outcome.agents[0]?.verdict).toBe('asking');
  });

  test('of two open questions the one whose file is unreadable stands', () => {
    const elsewhere = `${WORKSPACE}/api/.metawsm/guidance-request.json`;
    const guidance = [
      recordedQuestion({ digest: 'old', state: 'answered', answeredAt: NOW - 1, file: elsewhere }),
      recordedQuestion({ id: 'g2' }),
    ];
    expect(outcomeOf({ guidance }, { sentinels: [unreadable('guidance-request')] }).withdrawn).toEqual([]);
  });

  test('a question from the future is asked now', () => {
    const sentinels = [sentinel('guidance-request', QUESTION, { mtime: NOW + MINUTE })];
    expect(outcomeOf({}, { sentinels }).newGuidance[0]?.askedAt).toBe(NOW);
  });
});

const IN_REPO = `${WORKSPACE}/api/.metawsm`;

describe('an answer is unread until its file is removed or the agent was started after it', () => {
  const ended = (at: number) => exited(0, {}, { started: startedAt(at) });
  const answeredAt = NOW - 1_000;
  test.each<[string, RecordedGuidance[], FoundSentinel[], number, string]>([
    ['started before it', [deliveredAnswer()], [response()], STARTED, 'answer_unread'],
    ['started in the same moment', [deliveredAnswer()], [response()], answeredAt, 'answer_unread'],
    ['started after it: read', [deliveredAnswer()], [response()], answeredAt + 1, 'silent'],
    ['its file was removed: read', [deliveredAnswer()], [], STARTED, 'silent'],
    [
      'asked from a repo, it lies in both folders',
      [deliveredAnswer({ file: `${IN_REPO}/guidance-request.json` })],
      [response(), response('g1', { dir: IN_REPO, place: { kind: 'repo', repo: 'api' } })],
      STARTED,
      'answer_unread',
    ],
    [
      'asked from a repo, the one there was removed: read',
      [deliveredAnswer({ file: `${IN_REPO}/guidance-request.json` })],
      [response()],
      STARTED,
      'silent',
    ],
    [
      'asked from a repo, the one in its own folder was removed: read',
      [deliveredAnswer({ file: `${IN_REPO}/guidance-request.json` })],
      [response('g1', { dir: IN_REPO, place: { kind: 'repo', repo: 'api' } })],
      STARTED,
      'silent',
    ],
    ['a response nobody gave', [], [response()], STARTED, 'silent'],
    ['a response to another question', [deliveredAnswer()], [response('g7')], STARTED, 'silent'],
    [
      'a response with another name for the question',
      [recordedQuestion({ state: 'withdrawn' })],
      [response()],
      STARTED,
      'silent',
    ],
    [
      'the newest of two',
      [deliveredAnswer(), deliveredAnswer({ id: 'g2' })],
      [response('g2')],
      STARTED,
      'answer_unread',
    ],
    ['of another agent', [deliveredAnswer({ agent: 'other' })], [response()], STARTED, 'silent'],
  ])('%s', (_, guidance, sentinels, started, verdict) => {
    const outcome = outcomeOf({ guidance }, { sentinels, agents: { agent: ended(started) } });
    expect(outcome.agents[0]?.verdict).toBe(verdict);
    expect(outcome.agents[0]?.unreadAnswer?.id ?? null).toBe(
      verdict === 'answer_unread' ? (guidance.at(-1)?.id ?? '') : null,
    );
  });
});

/** A file in the own folder of one of several agents. */
function inFolder(
  kind: FoundSentinel['kind'],
  agent: string,
  value: Parameters<typeof sentinel>[1],
): FoundSentinel {
  return sentinel(kind, value, { place: { kind: 'agent', agent }, dir: `${SHARED}/agents/${agent}` });
}

describe('whose a file is', () => {
  const done = 'implementation-complete' as const;
  const inRepo = (repo: string, value = {}) =>
    sentinel(done, value, { place: { kind: 'repo', repo }, dir: `${WORKSPACE}/${repo}/.metawsm` });
  const inWorkspace = (value = {}) => sentinel(done, value, { place: { kind: 'workspace' } });
  const one = {};
  const repos = [repoIntent('api'), repoIntent('web')];
  /** One works in the workspace, one in each repo. */
  const several = {
    intent: {
      repos,
      agents: [agentIntent('top'), agentIntent('api', { cwd: 'api' }), agentIntent('web', { cwd: 'web' })],
    },
  };
  const crowded = {
    intent: {
      repos,
      agents: [
        agentIntent('a'),
        agentIntent('b'),
        agentIntent('c', { cwd: 'api' }),
        agentIntent('d', { cwd: 'api' }),
      ],
    },
  };
  /** The second agent came later: the first still has the workspace's folder for its own. */
  const joined: RunOverrides = {
    intent: { agents: [agentIntent('agent'), agentIntent('later')] },
    agents: { agent: { sentinelDir: SHARED } },
  };
  const mine = (value = {}) => sentinel(done, value);

  test.each<[string, RunOverrides, FoundSentinel[], string[], string[]]>([
    ['its own folder', several, [inFolder(done, 'api', {})], ['api'], []],
    ['its own folder and its own name', several, [inFolder(done, 'api', { agent: 'api' })], ['api'], []],
    [
      'the folder of one and the name of another',
      several,
      [inFolder(done, 'api', { agent: 'web' })],
      [],
      ['sentinel_foreign'],
    ],
    ['in the workspace: the only agent', one, [inWorkspace()], ['agent'], []],
    ['in a repo: the only agent', one, [inRepo('api')], ['agent'], []],
    ['in the workspace: its agent field', several, [inWorkspace({ agent: 'web' })], ['web'], []],
    [
      'in a repo: its agent field, wherever it works',
      several,
      [inRepo('api', { agent: 'web' })],
      ['web'],
      [],
    ],
    ['in a repo: the only one with that cwd', several, [inRepo('web')], ['web'], []],
    ['in the workspace: the only one with that cwd', several, [inWorkspace()], ['top'], []],
    ['in the workspace: it could be of two', crowded, [inWorkspace()], [], ['sentinel_foreign']],
    ['in a repo: it could be of two', crowded, [inRepo('api')], [], ['sentinel_foreign']],
    ['in a repo where nobody works', crowded, [inRepo('web')], [], ['sentinel_foreign']],
    [
      'an agent that the run does not have',
      several,
      [inRepo('api', { agent: 'x' })],
      [],
      ['sentinel_foreign'],
    ],
    ['a single agent, and another name', one, [inWorkspace({ agent: 'x' })], [], ['sentinel_foreign']],
    [
      'a single agent in its own folder, and another name',
      one,
      [mine({ agent: 'x' })],
      [],
      ['sentinel_foreign'],
    ],
    ['the shared folder of the first of several: no name', joined, [mine()], ['agent'], []],
    [
      'the shared folder of the first of several: the field decides',
      joined,
      [mine({ agent: 'later' })],
      ['later'],
      [],
    ],
    ['of this run', one, [mine({ run_id: RUN })], ['agent'], []],
    ['of another run', one, [mine({ run_id: 'run-other' })], [], ['sentinel_foreign']],
    ['of this attempt', one, [mine({ attempt: 1 })], ['agent'], []],
    ['of another attempt', one, [mine({ attempt: 2 })], [], ['sentinel_foreign']],
    [
      'fields that are null say nothing',
      one,
      [mine({ run_id: null, attempt: null, agent: null })],
      ['agent'],
      [],
    ],
    ['its own folder before the repo', one, [inRepo('api'), mine()], ['agent'], ['sentinel_duplicate']],
    [
      'its own folder before the shared one',
      joined,
      [mine({ agent: 'later' }), inFolder(done, 'later', {})],
      ['later'],
      ['sentinel_duplicate'],
    ],
    ['unreadable', one, [unreadable(done)], [], ['sentinel_problem']],
  ])('%s', (_, run, sentinels, completed, codes) => {
    const outcome = outcomeOf(run, { sentinels });
    const names = outcome.agents.filter((a) => a.verdict === 'completed').map((a) => a.name);
    expect(names).toEqual(completed);
    expect(outcome.warnings.map((w) => w.code)).toEqual(codes);
    // Each is reported by name and reason.
    for (const warning of outcome.warnings) {
      expect(warning.file).toMatch(/implementation-complete\.json$/);
      expect(warning.message).toContain(`${warning.file} `);
    }
  });

  test('of two files the own folder’s counts, the other is the one that is named', () => {
    const sentinels = [inRepo('api', { summary: 'repo' }), mine({ summary: 'own' })];
    const outcome = outcomeOf(one, { sentinels });
    expect(outcome.agents[0]?.patch.summary).toBe('own');
    expect(outcome.warnings[0]?.file).toBe(`${WORKSPACE}/api/.metawsm/implementation-complete.json`);
  });

  test('what lay there before the agent was started counts for nothing', () => {
    const never = { agents: { agent: { attempt: 0, state: 'pending' as const } } };
    const agent = aliveAgent({ attempt: 0, claim: 'none', process: null, started: null });
    const outcome = outcomeOf(never, { sentinels: [mine(), request], agents: { agent } });
    expect(outcome.agents[0]?.verdict).toBe('not_started');
    expect(outcome.newGuidance).toEqual([]);
    expect(outcome.warnings.map((w) => w.code)).toEqual(['sentinel_foreign', 'sentinel_foreign']);
  });

  test('an answer outlives the attempt that asked', () => {
    const value = { guidance_id: 'g1', run_id: RUN, agent: 'agent', attempt: 1 };
    const run = { agents: { agent: { attempt: 2 } }, guidance: [deliveredAnswer()] };
    const agents = { agent: exited(0, {}, { attempt: 2 }) };
    const outcome = outcomeOf(run, { agents, sentinels: [sentinel('guidance-response', value)] });
    expect(outcome.agents[0]?.verdict).toBe('answer_unread');
  });
});

describe('health', () => {
  const seenAt = (minutes: number, output: number, more: RunOverrides['agents'] = {}, progress = 'p1') =>
    outcomeOf(
      { agents: { agent: { lastOutputAt: null, ...more.agent } } },
      {
        now: STARTED + minutes * MINUTE,
        agents: { agent: aliveAgent({ lastOutputAt: STARTED + output * MINUTE, progress }) },
      },
    ).agents[0]?.patch;
  test.each<[string, number, number, number, string, string | null]>([
    // minutes since the start, of the last output, of the last progress
    ['output and progress a moment ago', 30, 30, 30, 'healthy', null],
    ['just before idle', 5 - 1 / 60, 0, 4, 'healthy', null],
    ['no output for `idle`', 5, 0, 4, 'idle', 'no output for 5 min'],
    ['just before stalled', 15 - 1 / 60, 0, 14, 'idle', 'no output for 14 min'],
    ['no output for `activity_stalled`', 15, 0, 14, 'stalled', 'no output for 15 min'],
    ['output and no progress for `progress_stalled`', 20, 20, 0, 'stalled', 'no progress for 20 min'],
    ['just before: output and no progress', 20 - 1 / 60, 19, 0, 'healthy', null],
    ['no output for hours', 180, 0, 180, 'stalled', 'no output for 3 h'],
  ])('%s', (_, minutes, output, progress, health, reason) => {
    const agent = { lastProgressAt: STARTED + progress * MINUTE };
    expect(seenAt(minutes, output, { agent })).toMatchObject({ health, healthReason: reason });
  });

  test('nothing printed at all counts from the start', () => {
    const silent = (minutes: number) =>
      outcomeOf(
        { agents: { agent: { lastOutputAt: null } } },
        { now: STARTED + minutes * MINUTE, agents: { agent: aliveAgent({ lastOutputAt: null }) } },
      ).agents[0]?.patch.health;
    expect([silent(4), silent(5), silent(15)]).toEqual(['healthy', 'idle', 'stalled']);
  });

  test('progress is a change of what was seen; a look without one is none', () => {
    const agent = { lastProgressAt: STARTED, progress: 'p1' };
    expect(seenAt(25, 25, { agent }, 'p1')).toMatchObject({ health: 'stalled', lastProgressAt: STARTED });
    expect(seenAt(25, 25, { agent }, 'p2')).toMatchObject({
      health: 'healthy',
      lastProgressAt: STARTED + 25 * MINUTE,
      progress: 'p2',
    });
  });

  test('the first look at an attempt is no progress', () => {
    const agent = { lastProgressAt: null, progress: null };
    expect(seenAt(25, 25, { agent })).toMatchObject({
      health: 'stalled',
      lastProgressAt: STARTED,
      progress: 'p1',
    });
  });
});

// Properties

const agentArb: fc.Arbitrary<ObservedAgent> = fc.oneof(
  fc.record({
    attempt: fc.constantFrom(0, 1, 2),
    claim: fc.constantFrom('wrapper', 'void', 'none'),
    wrapper: fc.constantFrom('alive', 'dead', 'unknown'),
    process: fc.constantFrom('alive', 'dead', 'unknown', null),
    started: fc.constantFrom(null, startedAt(STARTED), startedAt(NOW)),
    exit: fc.constant(null),
    rebooted: fc.boolean(),
    lastOutputAt: fc.constantFrom(null, STARTED, NOW - 1),
    progress: fc.constantFrom('p1', 'p2'),
  }),
  fc.constantFrom(exited(0), exited(3), exited(null, { signal: 'SIGTERM' }), exited(0, {}, { attempt: 2 })),
);

const sentinelsArb: fc.Arbitrary<FoundSentinel[]> = fc.subarray([
  completion,
  request,
  response(),
  response('g2', { place: { kind: 'repo', repo: 'api' }, dir: `${WORKSPACE}/api/.metawsm` }),
  sentinel('guidance-request', { question: 'Else?', agent: 'b' }, { place: { kind: 'workspace' } }),
  inFolder('implementation-complete', 'b', { attempt: 2 }),
  inFolder('guidance-request', 'b', { question: 'b?' }),
  unreadable('guidance-request'),
  sentinel('validation-result', { status: 'passed', done_criteria: [] }),
]);

const guidanceArb: fc.Arbitrary<RecordedGuidance[]> = fc
  .array(
    fc.record({
      agent: fc.constantFrom('agent', 'b'),
      state: fc.constantFrom('pending', 'answered', 'delivered', 'withdrawn'),
      digest: fc.constantFrom(recordedQuestion().digest, 'other'),
      answeredAt: fc.constantFrom(STARTED - 1, NOW - 1_000),
    }),
    { maxLength: 3 },
  )
  .map((all) =>
    all.map(({ answeredAt, ...more }, index) =>
      recordedQuestion({
        id: `g${index + 1}`,
        answeredAt: more.state === 'pending' ? null : answeredAt,
        ...more,
      }),
    ),
  );

const stateArb = fc.constantFrom<[RunState, RunReason | null]>(
  ['planning', null],
  ['running', null],
  ['awaiting_guidance', null],
  ['paused', 'exited_without_signal'],
  ['paused', 'interrupted'],
  ['failed', 'agent_failed'],
  ['failed', 'step_failed'],
  ['completed', null],
  ['stopping', null],
  ['stopped', null],
  ['closing', null],
  ['closed', null],
);

const sceneArb: fc.Arbitrary<{ run: RecordedRun; observed: Observed }> = fc
  .record({
    state: stateArb,
    completeOn: fc.constantFrom('signal', 'exit'),
    attempts: fc.tuple(fc.constantFrom(0, 1, 2), fc.constantFrom(0, 1)),
    stopped: fc.constantFrom(null, 1),
    removed: fc.boolean(),
    agents: fc.tuple(agentArb, agentArb),
    sentinels: sentinelsArb,
    guidance: guidanceArb,
    now: fc.constantFrom(NOW, NOW + 6 * MINUTE, NOW + 30 * MINUTE),
  })
  .map(({ state, completeOn, attempts, stopped, removed, agents, sentinels, guidance, now }) => {
    const run = recordedRun({
      intent: { agents: [agentIntent('agent', { completeOn }), agentIntent('b')] },
      state: state[0],
      reason: state[1],
      guidance,
      agents: {
        agent: { attempt: attempts[0], stoppedAttempt: stopped, sentinelDir: SHARED },
        b: { attempt: attempts[1], removed },
      },
    });
    return { run, observed: look(run, { now, sentinels, agents: { agent: agents[0], b: agents[1] } }) };
  });

describe('the outcome does not depend on who looked when', () => {
  test('looking once more at the same changes nothing', () => {
    fc.assert(
      fc.property(sceneArb, ({ run, observed }) => {
        const first = reconcile(run, observed);
        const recorded = applied(run, first);
        const second = reconcile(recorded, observed);
        expect(second.newGuidance).toEqual([]);
        expect(second.withdrawn).toEqual([]);
        expect(applied(recorded, second)).toEqual(recorded);
        expect(second.warnings).toEqual(first.warnings);
      }),
      fuzz(600),
    );
  });

  test('a look in between, at other things, changes no state', () => {
    fc.assert(
      fc.property(sceneArb, agentArb, agentArb, ({ run, observed }, a, b) => {
        // Only what a look may see and a later one may see differently: agents that come, live and go. How one
        // ended is written once and for all: a look that saw it saw what every later one sees.
        const earlier = (seen: ObservedAgent, name: string) =>
          seen.exit === null ? seen : (observed.agents[name] ?? seen);
        const agents = { agent: earlier(a, 'agent'), b: earlier(b, 'b') };
        const between: Observed = { ...observed, now: observed.now - MINUTE / 2, agents };
        const direct = reconcile(run, observed);
        const later = reconcile(applied(run, reconcile(run, between)), observed);
        const decided = (outcome: typeof direct) => ({
          run: outcome.run,
          agents: outcome.agents.map(({ name, verdict, live, patch }) => ({
            name,
            verdict,
            live,
            state: patch.state,
            exitCode: patch.exitCode,
          })),
        });
        expect(decided(later)).toEqual(decided(direct));
      }),
      fuzz(600),
    );
  });

  test('the order in which files are found changes no state', () => {
    fc.assert(
      fc.property(sceneArb, ({ run, observed }) => {
        const turned: Observed = { ...observed, sentinels: [...observed.sentinels].reverse() };
        expect(reconcile(run, turned).run).toEqual(reconcile(run, observed).run);
      }),
      fuzz(300),
    );
  });

  test('every outcome is a legal transition of the run and of its agents', () => {
    fc.assert(
      fc.property(sceneArb, ({ run, observed }) => {
        const outcome = reconcile(run, observed);
        if (outcome.run !== null) expect(mayTransition(run.state, outcome.run.state)).toBe(true);
        for (const { name, patch } of outcome.agents) {
          const agent = applied(run, outcome).agents.find((a) => a.name === name);
          expect(agent?.state).toBe(patch.state);
          const next = reconcile(applied(run, outcome), { ...observed, sentinels: [] });
          const after = next.agents.find((a) => a.name === name)?.patch.state;
          expect(after !== undefined && mayTransitionAgent(patch.state, after)).toBe(true);
        }
      }),
      fuzz(300),
    );
  });

  test('what it is given is left as it was', () => {
    fc.assert(
      fc.property(sceneArb, ({ run, observed }) => {
        const before = structuredClone({ run, observed });
        reconcile(run, observed);
        expect({ run, observed }).toEqual(before);
      }),
      fuzz(100),
    );
  });
});
