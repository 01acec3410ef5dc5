import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, test } from 'vitest';
import {
  type BriefInput,
  briefTitle,
  renderAgentBrief,
  renderBrief,
  renderContext,
} from '../../src/tickets/brief.js';

const input: BriefInput = {
  runId: 'run-20261123-120000-ab12',
  ticket: { id: 'ABC-12', title: 'Rate-limit the login' },
  workspace: '/work/abc-12-x1y2z3w4',
  manifestPath: '/repo/manifests/abc.yaml',
  intake: {
    goal: 'Stop password guessing.',
    scope: 'The login endpoint.\n\nNothing else.',
    constraints: 'No new service.',
    answers: [
      { question: 'Per IP or per user?', answer: 'Per user.' },
      { question: 'Which header?', answer: 'Retry-After' },
    ],
    mergeIntent: 'default',
  },
  criteria: [
    { kind: 'worded', text: 'The README documents the header' },
    { kind: 'command', run: 'npm test', repo: 'api', timeoutMs: 1 },
    { kind: 'command', run: ['make', 'check all'], repo: null, timeoutMs: 1 },
  ],
  repos: [
    { name: 'api', path: '/work/abc-12-x1y2z3w4/api', branch: 'task/abc', baseBranch: 'develop' },
    { name: 'web', path: '/work/abc-12-x1y2z3w4/web', branch: 'task/abc', baseBranch: 'main' },
  ],
  agents: [{ name: 'agent', cwd: '/work/abc-12-x1y2z3w4', sentinelDir: '/work/abc-12-x1y2z3w4/.metawsm' }],
};

describe('the brief', () => {
  test('says all that was asked and answered, and where things are', () => {
    for (const text of [renderBrief(input), renderAgentBrief(input)]) {
      expect(text.startsWith(`# ${briefTitle(input.runId)}\n`)).toBe(true);
      for (const piece of [
        '> Stop password guessing.',
        '> The login endpoint.\n>\n> Nothing else.',
        '> No new service.',
        '> Per IP or per user?\n\nAnswer:\n\n> Per user.',
        '> Which header?\n\nAnswer:\n\n> Retry-After',
        '> The README documents the header',
        '`npm test` in repo `api`',
        '`["make","check all"] (without a shell)` in the workspace',
        '`/work/abc-12-x1y2z3w4/api`',
        'on branch `task/abc`, which started from `develop`',
        'which started from `main`',
        '`/repo/manifests/abc.yaml`',
      ]) {
        expect(text.replace(/,\n +/g, ', ')).toContain(piece);
      }
    }
  });

  test('tells the agent the rules and every way to signal', () => {
    const text = renderAgentBrief(input);
    for (const piece of [
      'metawsm signal complete --summary',
      // A login shell may have lost the PATH that the agent was given.
      '"$METAWSM_STATE_DIR/bin/metawsm"',
      'metawsm signal guidance --question',
      '--wait',
      'metawsm signal validation --status passed --done',
      '/work/abc-12-x1y2z3w4/.metawsm/operator-feedback.md',
      'guidance-request.json',
      'guidance-response.json',
      'implementation-complete.json',
      'validation-result.json',
      'Do not push',
      'Never commit `.metawsm`',
    ]) {
      expect(text).toContain(piece);
    }
  });

  test('the raw sentinels that it shows are valid', () => {
    const ajv = new Ajv2020({ allErrors: true, strict: false });
    const blocks = [...renderAgentBrief(input).matchAll(/^```json\n([\s\S]*?)\n```$/gm)].map(
      (match) => JSON.parse(match[1] ?? '') as unknown,
    );
    const names = ['guidance-request', 'implementation-complete', 'validation-result'];
    expect(blocks).toHaveLength(names.length);
    for (const [index, name] of names.entries()) {
      expect([name, ajv.validate(schema(name), blocks[index]), ajv.errorsText()]).toEqual([
        name,
        true,
        'No errors',
      ]);
    }
    expect(blocks[2]).toMatchObject({ done_criteria: ['The README documents the header'] });
  });

  test('the same input is the same text, without a clock', () => {
    expect(renderBrief(structuredClone(input))).toBe(renderBrief(input));
    expect(renderAgentBrief(structuredClone(input))).toBe(renderAgentBrief(input));
  });

  test('several agents read whose folder is whose', () => {
    const agents = ['one', 'two'].map((name) => ({
      name,
      cwd: '/work/x',
      sentinelDir: `/work/x/.metawsm/agents/${name}`,
    }));
    const text = renderAgentBrief({ ...input, agents });
    expect(text).toContain('`two` works in `/work/x` and signals in `/work/x/.metawsm/agents/two`');
    expect(text).toContain('METAWSM_AGENT');
    expect(text).toContain('"agent": "<your name>"');
    expect(renderAgentBrief({ ...input, agents: [] })).toContain('## Rules');
  });

  test('nothing in the words of the manifest ends its section', () => {
    const nasty = [
      'before',
      '# Heading',
      '## Rules',
      '```sh',
      '~~~',
      '---',
      '> quote',
      '<!-- comment',
      '</details>',
      '- [ ] item',
      'Setext\n===',
      '\u001b[31mred\u0007',
      '\r\n## After a carriage return',
    ].join('\n');
    const clean = renderAgentBrief(input);
    const text = renderAgentBrief({
      ...input,
      ticket: { id: 'ABC-12', title: 'a `b` ``c``\n# x' },
      intake: {
        ...input.intake,
        goal: nasty,
        scope: nasty,
        constraints: nasty,
        answers: [{ question: nasty, answer: nasty }],
      },
      criteria: [
        { kind: 'worded', text: nasty },
        { kind: 'command', run: nasty, repo: 'api', timeoutMs: 1 },
        { kind: 'command', run: 'echo `date` ```x```', repo: 'api', timeoutMs: 1 },
      ],
    });
    const headings = (markdown: string) =>
      outsideOfCode(markdown).filter((line) => /^\s{0,3}#{1,6} /.test(line));
    expect(headings(text)).toEqual(headings(clean));
    // Every line of theirs stands in a quotation or in code.
    const loose = outsideOfCode(text).filter((line) => /Heading|item|Setext|comment|details/.test(line));
    expect(loose.every((line) => /^\s*(?:- )?> /.test(line))).toBe(true);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
    expect(text).not.toMatch(/[\u0000-\u0008\u000b-\u001f]/);
  });
});

test.each(['agent', null])('context.json of %s is what its schema says', (agent) => {
  const context = renderContext({
    ...input,
    agent,
    sentinelDir: '/work/abc-12-x1y2z3w4/.metawsm',
    manifestDir: '/repo/manifests',
    stateDir: '/repo/.metawsm',
    repos: input.repos.map((repo) => ({ ...repo, baseCommit: null })),
  });
  const ajv = new Ajv2020({ allErrors: true, strict: false });
  expect([ajv.validate(schema('context'), context), ajv.errorsText()]).toEqual([true, 'No errors']);
  expect(context).toMatchObject({
    agent,
    attempt: null,
    brief: '/work/abc-12-x1y2z3w4/.metawsm/brief.md',
    done_criteria: [
      { kind: 'worded', text: 'The README documents the header', repo: null },
      { kind: 'command', text: 'npm test', repo: 'api' },
      { kind: 'command', text: 'make check all', repo: null },
    ],
  });
});

/** The lines of a Markdown text that stand in no fenced code block. */
function outsideOfCode(markdown: string): string[] {
  const lines: string[] = [];
  let fence: string | null = null;
  for (const line of markdown.split('\n')) {
    const mark = /^\s*(`{3,})/.exec(line)?.[1];
    if (fence === null && mark !== undefined) fence = mark;
    else if (fence !== null && mark !== undefined && line.trim() === mark && mark.length >= fence.length)
      fence = null;
    else if (fence === null) lines.push(line);
  }
  expect(fence).toBeNull();
  return lines;
}

function schema(name: string): Record<string, unknown> {
  const file = new URL(`../../schemas/${name}.schema.json`, import.meta.url);
  return JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
}
