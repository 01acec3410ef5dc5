/**
 * What an agent is told: the brief as Markdown for the ticket and for the workspace, and context.json for
 * programs. Pure: the same input gives the same bytes, so that only a change in what was asked rewrites it.
 *
 * The texts of the manifest are quoted line by line (`> `) or set in code with fences longer than any in
 * them, so that no heading or fence of theirs ends the section they belong to.
 */
import { join } from 'node:path';
import type { Criterion, Intake } from '../manifest/intent.js';
import { safeText } from '../tools/files.js';
import { oneLine } from './frontmatter.js';

export interface BriefInput {
  readonly runId: string;
  readonly ticket: { readonly id: string; readonly title: string };
  /** Absolute, as all paths here. */
  readonly workspace: string;
  readonly manifestPath: string;
  readonly intake: Intake;
  readonly criteria: readonly Criterion[];
  readonly repos: readonly BriefRepo[];
  /** Everybody who works in the workspace; may be empty. */
  readonly agents: readonly BriefAgent[];
}

export interface BriefRepo {
  readonly name: string;
  /** The worktree. */
  readonly path: string;
  readonly branch: string;
  readonly baseBranch: string;
}

export interface BriefAgent {
  readonly name: string;
  readonly cwd: string;
  readonly sentinelDir: string;
}

/** Title of the brief among the ticket's documents, by which it is found again. */
export function briefTitle(runId: string): string {
  return `Run brief ${runId}`;
}

/** The brief as the body of the ticket's document. */
export function renderBrief(input: BriefInput): string {
  return page([title(input), ...intake(input.intake), criteria(input), places(input)]);
}

/** The brief as `brief.md` in the workspace, one for all agents: with the rules and how to signal. */
export function renderAgentBrief(input: BriefInput): string {
  return page([
    title(input),
    'This is your work. Read all of it before you begin.',
    ...intake(input.intake),
    criteria(input),
    places(input),
    rules(input),
    signals(input),
  ]);
}

/** How a criterion is named in sentinels and to people: its words, or its command on one line. */
function criterionText(criterion: Criterion): string {
  if (criterion.kind === 'worded') return criterion.text;
  return typeof criterion.run === 'string' ? criterion.run : criterion.run.join(' ');
}

function title(input: BriefInput): string {
  const { id, title: words } = input.ticket;
  const ticket = oneLine(words) === id ? code(id) : `${code(id)}, ${code(words)}`;
  return `# ${briefTitle(input.runId)}\n\nTicket: ${ticket}`;
}

function intake(asked: Intake): string[] {
  const answers = asked.answers.map((pair) => `${quote(pair.question)}\n\nAnswer:\n\n${quote(pair.answer)}`);
  return [
    `## Goal\n\n${quote(asked.goal)}`,
    `## Scope\n\n${quote(asked.scope)}`,
    `## Constraints\n\n${quote(asked.constraints)}`,
    ...(answers.length === 0 ? [] : [`## Questions already answered\n\n${answers.join('\n\n---\n\n')}`]),
    `## What becomes of the branches\n\n${MERGE_INTENT[asked.mergeIntent]}`,
  ];
}

const MERGE_INTENT: Readonly<Record<Intake['mergeIntent'], string>> = {
  default: 'When the run is closed, metawsm merges them into the base branches by itself, where it can.',
  merge: 'When the run is closed, metawsm merges them into the base branches by itself.',
  pull_request: 'When the run is closed, metawsm pushes them and opens a pull request for each repo.',
  none: 'They are left as they are: metawsm merges nothing.',
};

function criteria(input: BriefInput): string {
  const worded = input.criteria.filter((criterion) => criterion.kind === 'worded');
  const commands = input.criteria.filter((criterion) => criterion.kind === 'command');
  const parts = ['## Done when'];
  if (worded.length > 0) {
    parts.push('These hold, and you (or the operator) attest them in their exact words:');
    parts.push(worded.map((criterion) => item(quote(criterion.text))).join('\n'));
  }
  if (commands.length > 0) {
    parts.push('These commands succeed. metawsm runs them itself, on what is committed:');
    parts.push(commands.map((criterion) => item(commandLine(criterion, input.repos))).join('\n'));
  }
  return parts.join('\n\n');
}

function commandLine(
  criterion: Extract<Criterion, { kind: 'command' }>,
  repos: readonly BriefRepo[],
): string {
  const repo = criterion.repo ?? (repos.length === 1 ? repos[0]?.name : undefined);
  const where = repo === undefined ? 'in the workspace' : `in repo ${code(repo)}`;
  const command =
    typeof criterion.run === 'string' ? criterion.run : `${JSON.stringify(criterion.run)} (without a shell)`;
  return command.includes('\n') ? `${where}:\n\n${fenced(command, 'sh')}` : `${code(command)} ${where}`;
}

function places(input: BriefInput): string {
  const repos = input.repos.map((repo) =>
    item(
      [
        `${code(repo.name)}: worktree ${code(repo.path)}`,
        `on branch ${code(repo.branch)}, which started from ${code(repo.baseBranch)}`,
      ].join(',\n'),
    ),
  );
  const agents = input.agents.map((agent) =>
    item(`${code(agent.name)} works in ${code(agent.cwd)} and signals in ${code(agent.sentinelDir)}`),
  );
  return [
    '## Where things are',
    [`- Workspace: ${code(input.workspace)}`, `- Run manifest: ${code(input.manifestPath)}`].join('\n'),
    'Repos:',
    repos.join('\n'),
    ...(agents.length === 0 ? [] : ['Agents:', agents.join('\n')]),
  ].join('\n\n');
}

function rules(input: BriefInput): string {
  return `## Rules

- Work in the worktrees named above, on their branches. Do not switch branches there.
- Commit all your work in the worktrees. What is not committed does not count, and nothing can be closed while it is there.
- Do not push, do not merge into a base branch, do not change the git configuration.
- Never commit ${code('.metawsm')}.
- When something is unclear, ask (below) instead of guessing.
- An operator may write to you in ${code('operator-feedback.md')} in your sentinel folder${
    input.agents.length === 1
      ? ` (${code(join(input.agents[0]?.sentinelDir ?? '', 'operator-feedback.md'))})`
      : ''
  }, newest last. Read it when you start and before you report completion.`;
}

function signals(input: BriefInput): string {
  const worded = input.criteria.filter((criterion) => criterion.kind === 'worded').map((one) => one.text);
  const agent = input.agents.length === 1 ? (input.agents[0]?.name ?? '') : '<your name>';
  const identity = { run_id: input.runId, agent };
  const own =
    input.agents.length > 1
      ? 'You are one of several agents: your name is in `METAWSM_AGENT`. Signal only in your own sentinel folder.'
      : 'Your sentinel folder is the one named above.';
  const parts = [
    `## How to signal

\`metawsm\` is on your PATH. Run it inside the workspace. Where it is not found, because a login shell has set PATH anew, type \`"$METAWSM_STATE_DIR/bin/metawsm"\` in its place.

Ask, and wait for the answer, which is printed. Asked again in the same words it goes on waiting:

${fenced("metawsm signal guidance --question 'Which of the two limits applies?' --wait", 'sh')}

Report completion, once everything is committed:

${fenced("metawsm signal complete --summary 'What was done, in a sentence'", 'sh')}`,
  ];
  if (worded.length > 0) {
    parts.push(`Attest the criteria in words that hold for what is committed, ${code('--done')} once for each:

${fenced(`metawsm signal validation --status passed --done 'The exact words of the criterion'`, 'sh')}`);
  }
  parts.push(`### Without metawsm

Write these JSON files into your sentinel folder, ${code('$METAWSM_SENTINEL_DIR')}. ${own}
Write each under another name first and rename it, so that nobody reads half of it.

A question, as ${code('guidance-request.json')}. Before asking again remove ${code('guidance-response.json')}; the ${code('answer')} in it is yours when its ${code('request_id')} is:

${fenced(json({ ...identity, request_id: 'q1', question: 'Which of the two limits applies?' }), 'json')}

Completion, as ${code('implementation-complete.json')}:

${fenced(json({ ...identity, summary: 'What was done, in a sentence' }), 'json')}`);
  if (worded.length > 0) {
    parts.push(`The criteria that hold, as ${code('validation-result.json')}:

${fenced(json({ ...identity, status: 'passed', done_criteria: worded }), 'json')}`);
  }
  return parts.join('\n\n');
}

/** What `context.json` says; its schema is `schemas/context.schema.json`. */
export interface ContextDocument {
  readonly format_version: 1;
  readonly run_id: string;
  readonly ticket: string;
  readonly agent: string | null;
  readonly attempt: null;
  readonly workspace: string;
  readonly sentinel_dir: string;
  readonly brief: string;
  readonly manifest: string;
  readonly manifest_dir: string;
  readonly state_dir: string;
  readonly repos: readonly {
    readonly name: string;
    readonly path: string;
    readonly branch: string;
    readonly base_branch: string;
    readonly base_commit: string | null;
  }[];
  readonly agents: readonly { readonly name: string; readonly sentinel_dir: string }[];
  readonly done_criteria: readonly {
    readonly kind: Criterion['kind'];
    readonly text: string;
    readonly repo: string | null;
  }[];
  readonly signal: { readonly complete: string; readonly guidance: string; readonly validation: string };
}

export interface ContextInput extends BriefInput {
  /** Whose context it is; null: the workspace's own, with several agents or none. */
  readonly agent: string | null;
  /** The folder that the context is written into. */
  readonly sentinelDir: string;
  readonly manifestDir: string;
  readonly stateDir: string;
  readonly repos: readonly (BriefRepo & { readonly baseCommit: string | null })[];
}

/** `context.json` of an agent, or of the workspace. */
export function renderContext(input: ContextInput): ContextDocument {
  return {
    format_version: 1,
    run_id: input.runId,
    ticket: input.ticket.id,
    agent: input.agent,
    attempt: null,
    workspace: input.workspace,
    sentinel_dir: input.sentinelDir,
    brief: join(input.sentinelDir, 'brief.md'),
    manifest: input.manifestPath,
    manifest_dir: input.manifestDir,
    state_dir: input.stateDir,
    repos: input.repos.map((repo) => ({
      name: repo.name,
      path: repo.path,
      branch: repo.branch,
      base_branch: repo.baseBranch,
      base_commit: repo.baseCommit,
    })),
    agents: input.agents.map((agent) => ({ name: agent.name, sentinel_dir: agent.sentinelDir })),
    done_criteria: input.criteria.map((criterion) => ({
      kind: criterion.kind,
      text: criterionText(criterion),
      repo: criterion.kind === 'command' ? criterion.repo : null,
    })),
    signal: {
      complete: 'metawsm signal complete --summary TEXT',
      guidance: 'metawsm signal guidance --question TEXT --wait',
      validation: 'metawsm signal validation --status passed --done CRITERION',
    },
  };
}

function page(parts: readonly string[]): string {
  return `${parts.join('\n\n')}\n`;
}

/** A text of any lines, as a Markdown quotation. */
function quote(text: string): string {
  return safeText(text)
    .trim()
    .split('\n')
    .map((line) => `> ${line}`.trimEnd())
    .join('\n');
}

/** A list item of several lines. */
function item(text: string): string {
  return `- ${text.replace(/\n(?!\n|$)/g, '\n  ')}`;
}

/** A text on one line, as code between more backticks than it has in a row. */
function code(text: string): string {
  const line = safeText(oneLine(text));
  const fence = '`'.repeat(longestRun(line) + 1);
  const padded = line === '' || /^`|`$|^ .* $/.test(line) ? ` ${line} ` : line;
  return `${fence}${padded}${fence}`;
}

/** A text in a code block whose fence nothing in the text can close. */
function fenced(text: string, language: string): string {
  const fence = '`'.repeat(Math.max(3, longestRun(text) + 1));
  return `${fence}${language}\n${safeText(text).trimEnd()}\n${fence}`;
}

function longestRun(text: string): number {
  return Math.max(0, ...(text.match(/`+/g) ?? []).map((run) => run.length));
}

function json(value: unknown): string {
  return JSON.stringify(value, null, 2);
}
