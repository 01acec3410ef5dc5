/**
 * The report of a run: everything that is worth keeping with its ticket or pull request, of which the page, the
 * Markdown and the document are three views. Pure. Every text in it is made safe and has its secrets masked.
 */
import type { CriterionState } from '../plan/evidence.js';
import type { Gate } from '../plan/gates.js';
import type { Warning } from '../plan/observed.js';
import type { RecordedEvidence, RecordedRun } from '../plan/recorded.js';
import { safeText } from '../tools/files.js';
import type { History } from '../tools/git-history.js';
import { type JournalEvent, runTone, type Timeline, type Tone, timelineOf } from './report-timeline.js';
import { unreachable } from './unreachable.js';

/** The end of what a program printed. */
export interface LogEnd {
  /** null: the file is gone. */
  readonly text: string | null;
  /** How many bytes at its beginning were left out. */
  readonly leftOut: number;
}

/** What a repo's branch holds, as git tells it now, or as it was recorded. */
export interface RepoChanges {
  /** Where HEAD is known from: the worktree, the run's branch, what was delivered, or recorded evidence. */
  readonly from: 'worktree' | 'branch' | 'delivery' | 'evidence' | 'nowhere';
  readonly head: string | null;
  /** null: no worktree was looked at. */
  readonly dirtyFiles: readonly string[] | null;
  /** null: git has nothing to tell. */
  readonly history: History | null;
  /** Why something is missing, as a sentence; null: nothing is. */
  readonly note: string | null;
}

export interface ReportInput {
  /** When one looks, in ms since the epoch, as all times here. */
  readonly now: number;
  /** metawsm's own. */
  readonly version: string;
  /** As recorded, with what a look at it meant. */
  readonly run: RecordedRun;
  /** The run's journal, oldest first. */
  readonly events: readonly JournalEvent[];
  readonly criteria: readonly CriterionState[];
  /** None where they were not judged. */
  readonly gates: readonly Gate[];
  /** By repo name. */
  readonly changes: Readonly<Record<string, RepoChanges>>;
  /** Ends of the files that the evidence names. */
  readonly logs: ReadonlyMap<string, LogEnd>;
  /** End of the newest attempt's log, by agent name. */
  readonly agentLogs: ReadonlyMap<string, LogEnd>;
  readonly warnings: readonly Warning[];
  /** Replaces secrets in a text. */
  readonly mask: (text: string) => string;
}

export interface Report {
  readonly generatedAt: number;
  readonly version: string;
  /** How the run stands, in a few words; `run.detail` says more. */
  readonly headline: { readonly tone: Tone; readonly text: string };
  /** Its texts are safe. */
  readonly run: RecordedRun;
  readonly criteria: readonly ReportCriterion[];
  readonly agents: readonly ReportAgent[];
  readonly repos: readonly ReportRepo[];
  readonly gates: readonly Gate[];
  readonly warnings: readonly Warning[];
  readonly timeline: Timeline;
}

export interface ReportCriterion extends CriterionState {
  /** Every check of it, newest first; at most `MOST_CHECKS`. */
  readonly checks: readonly Check[];
  readonly checksLeftOut: number;
}

export interface Check {
  readonly state: 'passed' | 'failed';
  readonly checkedAt: number;
  readonly durationMs: number | null;
  readonly exitCode: number | null;
  readonly detail: string | null;
  /** Repo name → commit. */
  readonly heads: Readonly<Record<string, string>>;
  /** There were uncommitted changes. */
  readonly dirty: boolean;
  /** null: words, or an older check whose output was not asked for. */
  readonly log: LogEnd | null;
}

export interface ReportAgent {
  readonly agent: RecordedRun['agents'][number];
  readonly log: LogEnd | null;
}

export interface ReportRepo extends RepoChanges {
  readonly repo: RecordedRun['repos'][number];
  readonly delivery: RecordedRun['deliveries'][number] | null;
}

/** How many checks of one criterion are told one by one. */
export const MOST_CHECKS = 10;

/** Put a report together. */
export function reportOf(input: ReportInput): Report {
  // Masked again afterwards: a terminal sequence in the middle of a secret hides it from the first.
  const clean = (text: string): string => input.mask(safeText(input.mask(text)));
  const cleanOr = (text: string | null): string | null => (text === null ? null : clean(text));
  const run = cleanRun(input.run, clean);
  const events = input.events.map((event) =>
    typeof event.data.error === 'string'
      ? { ...event, data: { ...event.data, error: clean(event.data.error) } }
      : event,
  );
  const wanted = new Set(run.intent.repos.map(({ name }) => name));
  const criteria = input.criteria.map((criterion): ReportCriterion => {
    const found = run.evidence.filter(({ criterionId }) => criterionId === criterion.key).reverse();
    return {
      ...criterion,
      text: clean(criterion.text),
      detail: cleanOr(criterion.detail),
      voidReason: cleanOr(criterion.voidReason),
      checks: found.slice(0, MOST_CHECKS).map((each) => checkOf(each, input.logs)),
      checksLeftOut: Math.max(0, found.length - MOST_CHECKS),
    };
  });
  return {
    generatedAt: input.now,
    version: input.version,
    headline: headlineOf(run, criteria),
    run,
    criteria,
    agents: run.agents
      .filter((agent) => !agent.removed || agent.attempt > 0)
      .map((agent) => ({ agent, log: input.agentLogs.get(agent.name) ?? null })),
    repos: run.repos
      .filter(({ name }) => wanted.has(name))
      .map((repo) => ({
        repo,
        delivery: run.deliveries.find((delivery) => delivery.repo === repo.name) ?? null,
        ...cleanChanges(input.changes[repo.name] ?? NO_CHANGES, clean),
      })),
    gates: input.gates.map((gate) => ({ ...gate, reason: clean(gate.reason) })),
    warnings: input.warnings.map(({ code, message, file }) => ({
      code,
      message: clean(message),
      file: cleanOr(file),
    })),
    timeline: timelineOf(run, events, input.now),
  };
}

const NO_CHANGES: RepoChanges = { from: 'nowhere', head: null, dirtyFiles: null, history: null, note: null };

function checkOf(found: RecordedEvidence, logs: ReadonlyMap<string, LogEnd>): Check {
  const { state, checkedAt, durationMs, exitCode, detail, heads, dirty, log } = found;
  const end = log === null ? null : (logs.get(log) ?? null);
  return { state, checkedAt, durationMs, exitCode, detail, heads, dirty, log: end };
}

/** A run whose texts are fit to be shown; its names, ids and paths were checked when they came in. */
function cleanRun(run: RecordedRun, clean: (text: string) => string): RecordedRun {
  const or = (text: string | null): string | null => (text === null ? null : clean(text));
  const { intent } = run;
  const { intake, ticket } = intent;
  return {
    ...run,
    detail: or(run.detail),
    intent: {
      ...intent,
      ticket: { ...ticket, title: clean(ticket.title), topics: ticket.topics.map(clean) },
      intake: {
        ...intake,
        goal: clean(intake.goal),
        scope: clean(intake.scope),
        constraints: clean(intake.constraints),
        answers: intake.answers.map(({ question, answer }) => ({
          question: clean(question),
          answer: clean(answer),
        })),
      },
    },
    agents: run.agents.map((agent) => ({
      ...agent,
      healthReason: or(agent.healthReason),
      summary: or(agent.summary),
    })),
    steps: run.steps.map((step) => ({ ...step, error: or(step.error), log: or(step.log) })),
    guidance: run.guidance.map((asked) => ({
      ...asked,
      question: clean(asked.question),
      answer: or(asked.answer),
      context: contextText(asked.context, clean),
    })),
    evidence: run.evidence.map((found) => ({ ...found, detail: or(found.detail) })),
  };
}

/** Any JSON as a text; null: there is none. */
function contextText(context: unknown, clean: (text: string) => string): string | null {
  if (context === null || context === undefined || context === '') return null;
  if (typeof context === 'string') return clean(context);
  // Each text by itself: the escapes of JSON would hide a secret, and what is no character.
  return JSON.stringify(cleanJson(context, clean), null, 2);
}

function cleanJson(value: unknown, clean: (text: string) => string): unknown {
  if (typeof value === 'string') return clean(value);
  if (Array.isArray(value)) return value.map((each) => cleanJson(each, clean));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [clean(key), cleanJson(each, clean)]));
}

function cleanChanges(changes: RepoChanges, clean: (text: string) => string): RepoChanges {
  const { history } = changes;
  return {
    ...changes,
    dirtyFiles: changes.dirtyFiles?.map(clean) ?? null,
    note: changes.note === null ? null : clean(changes.note),
    history: history && {
      ...history,
      commits: history.commits.map((commit) => ({
        ...commit,
        subject: clean(commit.subject),
        author: clean(commit.author),
      })),
      files: history.files.map((file) => ({ ...file, path: clean(file.path) })),
    },
  };
}

function headlineOf(run: RecordedRun, criteria: readonly CriterionState[]): Report['headline'] {
  const passed = criteria.filter(({ state }) => state === 'passed').length;
  const proven = `${passed} of ${criteria.length} criteria passed`;
  const why = run.reason === null ? '' : ` (${run.reason.replaceAll('_', ' ')})`;
  switch (run.state) {
    case 'closed':
      return run.outcome === 'delivered'
        ? { tone: 'good', text: `Closed and delivered, ${proven}` }
        : { tone: 'quiet', text: `Closed without delivering (${run.outcome ?? 'ended'}), ${proven}` };
    case 'completed':
      return {
        tone: passed === criteria.length ? 'good' : 'wait',
        text: `Completed, ${proven}`,
      };
    case 'awaiting_guidance': {
      const open = run.guidance.filter(({ state }) => state === 'pending').length;
      return { tone: 'wait', text: `Waiting for ${open === 1 ? 'an answer' : `${open} answers`}` };
    }
    case 'created':
    case 'planning':
    case 'running':
    case 'paused':
    case 'failed':
    case 'stopping':
    case 'stopped':
    case 'closing': {
      const state = `${run.state.charAt(0).toUpperCase()}${run.state.slice(1)}`;
      return { tone: runTone(run.state), text: `${state}${why}` };
    }
    default:
      return unreachable(run.state);
  }
}
