import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Event, RunSummary } from '../../src/report/events.js';
import { appendStepSummary, stepSummary } from '../../src/report/github.js';
import { jsonReporter } from '../../src/report/json.js';
import { durationText, humanReporter, oneLine, tee } from '../../src/report/stream.js';

const hostile = 'Which\u001b[2J cache?\r\nOr \u202enone\u0007';

const summary: RunSummary = {
  runId: 'run-1',
  ticket: 'ABC-1',
  manifest: '/m/run.yaml',
  state: 'awaiting_guidance',
  reason: null,
  exitCode: 3,
  changed: true,
  stepsDone: 5,
  stepsFailed: 0,
  guidancePending: 1,
  criteriaPassed: 0,
  criteriaTotal: 2,
  workspace: '/w',
  next: { argv: ['metawsm', 'guide'], text: 'metawsm guide ABC-1 --answer …', why: 'an agent asks' },
  error: null,
};

/** One of each. */
const events: Event[] = [
  { type: 'version', formatVersion: 1, metawsm: '0.1.0' },
  { type: 'note', runId: 'run-1', text: 'resuming run-1 at setup.run/api/1 (3 of 5)' },
  {
    type: 'step',
    runId: 'run-1',
    id: 'agent.start/a',
    state: 'done',
    attempt: 1,
    durationMs: 12,
    error: null,
  },
  { type: 'run', runId: 'run-1', state: 'planning', reason: null },
  { type: 'run', runId: 'run-1', state: 'failed', reason: 'agent_dead' },
  { type: 'agent', runId: 'run-1', name: 'a', state: 'exited', exitCode: 0 },
  { type: 'guidance', runId: 'run-1', id: 'g1', agent: 'a', question: hostile, state: 'pending' },
  { type: 'guidance', runId: 'run-1', id: 'g1', agent: 'a', question: hostile, state: 'delivered' },
  { type: 'warning', runId: null, code: 'malformed', message: 'is no JSON', file: '/w/x.json' },
  {
    type: 'error',
    runId: 'run-1',
    code: 'step_failed',
    message: 'exit 1',
    hint: 'mend it',
    stepId: 'setup.run/api/1',
    logTail: ['npm \u001b[31merr'],
  },
  { type: 'summary', exitCode: 3, durationMs: 99, runs: [summary] },
];

describe('the JSON view', () => {
  const lines: string[] = [];
  const reporter = jsonReporter({
    write: (text) => lines.push(text),
    now: () => Date.UTC(2025, 0, 2, 3, 4, 5, 6),
  });
  for (const event of events) reporter.emit(event);
  const objects = lines.map((line) => JSON.parse(line));

  test('is one object a line, with type, at and run_id first', () => {
    for (const line of lines)
      expect(line).toMatch(/^\{"type":"[a-z]+","at":"2025-01-02T03:04:05\.006Z","run_id":.*\}\n$/);
    expect(objects[0]).toEqual({
      type: 'version',
      at: '2025-01-02T03:04:05.006Z',
      run_id: null,
      format_version: 1,
      metawsm: '0.1.0',
    });
  });

  test('gives no negative time where the clock was set back', () => {
    const printed: string[] = [];
    const back = jsonReporter({ write: (text) => printed.push(text), now: () => 0 });
    const step = { type: 'step', runId: 'run-1', id: 's', state: 'done', attempt: 1, error: null } as const;
    back.emit({ ...step, durationMs: -3_600_000 });
    back.emit({ type: 'summary', exitCode: 0, durationMs: -3_600_000, runs: [] });
    expect(printed.map((line) => JSON.parse(line).duration_ms)).toEqual([0, 0]);
  });

  test('leaves out what is for persons', () => {
    expect(objects.map(({ type }) => type)).not.toContain('note');
    expect(objects).toHaveLength(events.length - 1);
  });

  test('gives an agent’s text as it is', () => {
    expect(objects.find(({ type }) => type === 'guidance').question).toBe(hostile);
  });

  test('has every field, in snake case', () => {
    expect(objects.at(-1)).toEqual({
      type: 'summary',
      at: '2025-01-02T03:04:05.006Z',
      run_id: null,
      exit_code: 3,
      duration_ms: 99,
      runs: [
        {
          run_id: 'run-1',
          ticket: 'ABC-1',
          manifest: '/m/run.yaml',
          state: 'awaiting_guidance',
          reason: null,
          exit_code: 3,
          changed: true,
          steps_done: 5,
          steps_failed: 0,
          guidance_pending: 1,
          criteria_passed: 0,
          criteria_total: 2,
          workspace: '/w',
          next: { argv: ['metawsm', 'guide'], text: 'metawsm guide ABC-1 --answer …', why: 'an agent asks' },
          error: null,
        },
      ],
    });
    expect(objects.find(({ type }) => type === 'error')).toMatchObject({
      run_id: 'run-1',
      step_id: 'setup.run/api/1',
      log_tail: ['npm \u001b[31merr'],
    });
    for (const object of objects) for (const key of Object.keys(object)) expect(key).toMatch(/^[a-z_]+$/);
  });
});

describe('the human view', () => {
  function view(options: { quiet?: boolean; verbose?: boolean; color?: boolean } = {}) {
    const { quiet = false, verbose = false, color = false } = options;
    const seen = { stdout: '', stderr: '' };
    const reporter = humanReporter({
      stdout: (text) => {
        seen.stdout += text;
      },
      stderr: (text) => {
        seen.stderr += text;
      },
      quiet,
      verbose,
      color,
      colorStderr: color,
    });
    for (const event of events) reporter.emit(event);
    return seen;
  }

  test('tells progress on stderr and the result on stdout', () => {
    expect(view()).toEqual({
      stderr: [
        'resuming run-1 at setup.run/api/1 (3 of 5)',
        'run-1 is failed (agent_dead)',
        'agent a is exited, exit code 0',
        '? agent a asks (g1):',
        '  Which cache?',
        '  Or \\u202enone\\x07',
        'question g1 of agent a is delivered',
        'warning: /w/x.json: is no JSON',
        'metawsm: setup.run/api/1: exit 1',
        '  npm err',
        'mend it\n',
      ].join('\n'),
      stdout: [
        'ABC-1: awaiting_guidance [run-1, 5 steps done, 1 open question]',
        '  workspace: /w',
        '  next: metawsm guide ABC-1 --answer … (an agent asks)\n',
      ].join('\n'),
    });
  });

  test('tells only warnings, errors and what is not well with --quiet, more with --verbose', () => {
    const { stdout, stderr } = view({ quiet: true });
    expect(stderr).toBe(
      'warning: /w/x.json: is no JSON\nmetawsm: setup.run/api/1: exit 1\n  npm err\nmend it\n',
    );
    expect(stdout).toContain('ABC-1: awaiting_guidance');
    expect(view({ verbose: true }).stderr).toContain('run-1 is planning\n');
  });

  test('has colours where they are wanted', () => {
    expect(view({ color: true }).stderr).toContain('\u001b[31mmetawsm:\u001b[39m');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: none may be there.
    expect(view().stderr + view().stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f]/);
  });
});

test('several reporters get each event in order', () => {
  const seen: string[] = [];
  const named = (name: string) => ({ emit: (event: Event) => seen.push(`${name} ${event.type}`) });
  const both = tee(named('a'), named('b'));
  for (const event of events.slice(0, 2)) both.emit(event);
  expect(seen).toEqual(['a version', 'b version', 'a note', 'b note']);
});

describe('the step summary', () => {
  test('is a table in which no text says anything to Markdown or HTML', () => {
    const text = stepSummary([
      summary,
      {
        ...summary,
        ticket: 'A|B',
        state: null,
        runId: null,
        stepsFailed: 1,
        error: { code: 'x', stepId: null, message: '<img src=x>\n| `a` | [b](http://c) *d* @e', logTail: [] },
      },
    ]);
    const [title, , head, rule, first, second, ...rest] = text.split('\n');
    expect(title).toBe('### metawsm');
    expect(first).toBe(
      '| ABC-1 | run-1 | awaiting&#95;guidance | 5 done | 1 | 0 of 2 | metawsm guide ABC-1 --answer … |',
    );
    for (const line of [head, rule, first, second]) expect(line?.match(/\|/g)).toHaveLength(8);
    expect(second?.replace(/&#\d+;/g, '')).not.toMatch(/[<>`*[\]()_@]|:\/\//);
    expect(rest).toEqual(['', '']);
  });

  test('is appended where GitHub says, and nowhere else', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'mw-'));
    try {
      const file = join(folder, 'summary.md');
      expect(await appendStepSummary({}, [summary])).toBeNull();
      expect(await appendStepSummary({ GITHUB_STEP_SUMMARY: file }, [])).toBeNull();
      expect(await appendStepSummary({ GITHUB_STEP_SUMMARY: file }, [summary])).toBeNull();
      expect(await appendStepSummary({ GITHUB_STEP_SUMMARY: file }, [summary])).toBeNull();
      expect(readFileSync(file, 'utf8')).toBe(stepSummary([summary]).repeat(2));
      expect(await appendStepSummary({ GITHUB_STEP_SUMMARY: folder }, [summary])).toMatch(
        /^cannot write the step summary .*EISDIR/,
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

test('durations and lines for persons', () => {
  expect([0, 999, 1_000, 59_949, 59_950, 61_000, 3_599_999, 3_725_000].map(durationText)).toEqual([
    '0ms',
    '999ms',
    '1.0s',
    '59.9s',
    '1m00s',
    '1m01s',
    '1h00m',
    '1h02m',
  ]);
  expect(oneLine(' a\r\n  b\u001b[1m c ')).toBe('a b c');
});
