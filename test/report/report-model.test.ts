import { describe, expect, test } from 'vitest';
import type { RunState } from '../../src/plan/lifecycle.js';
import { reportDocument } from '../../src/report/report-json.js';
import { MOST_CHECKS, reportOf } from '../../src/report/report-model.js';
import { type JournalEvent, timelineOf } from '../../src/report/report-timeline.js';
import { BEGIN, crowdedRun, event, longRun, shortRun } from '../support/report.js';

describe('the headline', () => {
  const { run } = longRun();
  test.for<[state: RunState, more: object, headline: string, tone: string]>([
    ['closed', { outcome: 'delivered' }, 'Closed and delivered, 3 of 3 criteria passed', 'good'],
    [
      'closed',
      { outcome: 'abandoned' },
      'Closed without delivering (abandoned), 3 of 3 criteria passed',
      'quiet',
    ],
    ['completed', {}, 'Completed, 3 of 3 criteria passed', 'good'],
    ['running', {}, 'Running', 'busy'],
    ['planning', {}, 'Planning', 'quiet'],
    ['failed', { reason: 'agent_dead' }, 'Failed (agent dead)', 'bad'],
    ['paused', { reason: 'exited_without_signal' }, 'Paused (exited without signal)', 'wait'],
    ['awaiting_guidance', {}, 'Waiting for 0 answers', 'wait'],
    [
      'awaiting_guidance',
      { guidance: [{ ...run.guidance[0], state: 'pending' }] },
      'Waiting for an answer',
      'wait',
    ],
  ])('%s %o: %s', ([state, more, text, tone]) => {
    const changed = { reason: null, outcome: null, ...more };
    const input = longRun();
    expect(reportOf({ ...input, run: { ...input.run, state, ...changed } }).headline).toEqual({ tone, text });
  });

  test('a completed run without its evidence is not well yet', () => {
    expect(reportOf(shortRun()).headline).toEqual({
      tone: 'wait',
      text: 'Completed, 0 of 3 criteria passed',
    });
  });
});

describe('the evidence', () => {
  test('every check of a criterion is told, the newest first, with its output', () => {
    const { criteria } = reportOf(longRun());
    expect(criteria.map(({ id, state, checks }) => [id, state, checks.map((check) => check.state)])).toEqual([
      ['c1', 'passed', ['passed', 'failed']],
      ['c2', 'passed', ['passed']],
      ['c3', 'passed', ['passed']],
    ]);
    expect(criteria[0]?.checks[1]).toMatchObject({
      detail: 'exited with status 1',
      log: { text: expect.stringContaining('expected 429'), leftOut: 90_000 },
    });
    expect(criteria[2]?.checks[0]?.log).toBeNull();
  });

  test('of many checks the newest are told and the others are counted', () => {
    const input = longRun();
    const [first] = input.run.evidence;
    if (first === undefined) expect.fail('no evidence');
    const evidence = Array.from({ length: 40 }, (_, index) => ({ ...first, checkedAt: BEGIN + index }));
    const [criterion] = reportOf({ ...input, run: { ...input.run, evidence } }).criteria;
    expect(criterion?.checks.map(({ checkedAt }) => checkedAt - BEGIN)).toEqual(
      Array.from({ length: MOST_CHECKS }, (_, index) => 39 - index),
    );
    expect(criterion?.checksLeftOut).toBe(40 - MOST_CHECKS);
  });
});

test('secrets and control characters are in no text, however they are hidden', () => {
  const secret = 'hunter2-hunter2';
  const mask = (text: string): string => text.replaceAll(secret, '***');
  const split = `hunter2\u001b[0m-hunter2 and ${secret}`;
  const input = longRun({ mask });
  const { run } = input;
  const report = reportOf({
    ...input,
    run: {
      ...run,
      detail: split,
      guidance: run.guidance.map((asked) => ({ ...asked, question: split, answer: split, context: [split] })),
      agents: run.agents.map((agent) => ({ ...agent, summary: split, healthReason: split })),
      evidence: run.evidence.map((found) => ({ ...found, detail: split })),
      steps: run.steps.map((step) => ({ ...step, error: split, log: split })),
    },
    events: [...input.events, event(9, 'step', { id: 'x', state: 'failed', error: split })],
    warnings: [{ code: 'x', message: split, file: null }],
  });
  const text = JSON.stringify(report);
  expect(text).toContain('*** and ***');
  expect(text).not.toContain(secret);
  expect(text).not.toContain('\\u001b');
});

describe('the timeline', () => {
  const lanes = (input: ReturnType<typeof longRun>) =>
    Object.fromEntries(
      timelineOf(input.run, input.events, input.now).lanes.map(({ name, rows }) => [
        name,
        rows.map((row) => row.map(({ label, tone }) => `${label} ${tone}`)),
      ]),
    );

  test('has the states of the run, agents by attempt, questions, checks and deliveries', () => {
    const { Steps: steps, ...others } = lanes(longRun());
    expect(steps?.[0]?.length).toBeGreaterThan(5);
    expect(others).toEqual({
      Run: [
        [
          'created quiet',
          'planning quiet',
          'running busy',
          'failed bad',
          'running busy',
          'waiting wait',
          'running busy',
          'completed good',
          'running busy',
          'completed good',
          'closing busy',
        ],
      ],
      'Agent agent': [['#1 failed bad', '#2 completed good', '#3 completed good']],
      Questions: [['g1 good']],
      Criteria: [['c1 bad', 'c3 good', 'c1 good'], ['c2 good']],
      Delivery: [['api good', 'web good']],
    });
  });

  test('the moments are in order, within the run, and name what failed', () => {
    const { moments, from, to } = timelineOf(longRun().run, longRun().events, longRun().now);
    expect(moments.map(({ at }) => at)).toEqual(moments.map(({ at }) => at).toSorted((a, b) => a - b));
    expect(moments.every(({ at }) => at >= from && at <= to)).toBe(true);
    expect(moments.at(-1)?.text).toBe('Run: closed (delivered)');
    const texts = moments.map(({ text }) => text);
    for (const text of [
      'Agent agent: attempt 1 failed after 18m55s, exit code 1',
      'Criterion c1 failed after 41.0s: exited with status 1',
      'api delivered (pull request)',
    ])
      expect(texts).toContain(text);
  });

  test('many steps take a few rows, in which none hides another as long as they fit', () => {
    const { run, events, now } = crowdedRun();
    const steps = timelineOf(run, events, now).lanes.find(({ kind }) => kind === 'steps');
    expect(steps?.rows).toHaveLength(4);
    expect(steps?.rows.flat()).toHaveLength(120);
    for (const row of steps?.rows ?? []) {
      for (const [index, span] of row.entries()) {
        expect(span.from).toBeGreaterThanOrEqual(row[index - 1]?.to ?? 0);
      }
    }
  });

  test.for<[what: string, events: readonly JournalEvent[], more: object, label: string, title: string]>([
    [
      'an agent that lives goes on until now',
      [event(0, 'agent', { name: 'agent', attempt: 1, state: 'running' })],
      { agents: [{ state: 'running', attempt: 1, startedAt: BEGIN, endedAt: null, exitCode: null }] },
      '#1 running',
      'attempt 1 running',
    ],
    [
      'an end that was seen late is told as its own record has it',
      [
        event(0, 'agent', { name: 'agent', attempt: 1, state: 'running' }),
        event(60_000, 'agent', { name: 'agent', attempt: 1, state: 'dead' }),
      ],
      { agents: [{ state: 'dead', attempt: 1, startedAt: BEGIN, endedAt: BEGIN + 2_000, exitCode: null }] },
      '#1 dead',
      'attempt 1 dead after 2.0s',
    ],
    [
      'one that exited and was then found complete ended once',
      [
        event(0, 'agent', { name: 'agent', attempt: 1, state: 'running' }),
        event(2_000, 'agent', { name: 'agent', attempt: 1, state: 'exited', exitCode: 0 }),
        event(9_000, 'agent', { name: 'agent', attempt: 1, state: 'completed', exitCode: 0 }),
        event(9_500, 'agent', { name: 'agent', attempt: 2, state: 'starting' }),
      ],
      { agents: [{ state: 'starting', attempt: 2, startedAt: null, endedAt: null, exitCode: null }] },
      '#1 completed',
      'attempt 1 completed after 2.0s',
    ],
  ])('%s', ([, events, more, label, title]) => {
    const { run } = shortRun();
    const [fields] = (more as { agents: object[] }).agents;
    const agents = run.agents.map((agent) => ({ ...agent, ...fields }));
    const line = timelineOf({ ...run, agents }, events, BEGIN + 30_000);
    expect(line.lanes.find(({ kind }) => kind === 'agent')?.rows[0]?.[0]).toMatchObject({ label, title });
  });

  test('a run of which nothing is known yet has a timeline', () => {
    const { run } = shortRun();
    const line = timelineOf({ ...run, agents: [], steps: [] }, [], BEGIN);
    expect(line).toMatchObject({ from: BEGIN, to: BEGIN + 1, lanes: [], moments: [] });
  });

  test('clocks that disagree do not turn anything round', () => {
    const { run } = longRun();
    const line = timelineOf(
      { ...run, createdAt: BEGIN + 5_000 },
      [event(0, 'run', { state: 'created' })],
      BEGIN - 1,
    );
    for (const span of line.lanes.flatMap(({ rows }) => rows.flat())) {
      expect(span.to).toBeGreaterThanOrEqual(span.from);
      expect(span.from).toBeGreaterThanOrEqual(line.from);
      expect(span.to).toBeLessThanOrEqual(line.to);
    }
  });
});

test('the document has every time as RFC 3339 and nothing that is undefined', () => {
  const document = reportDocument(reportOf(longRun()));
  expect(JSON.parse(JSON.stringify(document))).toEqual(document);
  expect(document.timeline.every(({ at }) => /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(at))).toBe(true);
});
