/** Words and numbers that the page and the Markdown of a report have in common. */
import type { CriterionState } from '../plan/evidence.js';
import type { RecordedDelivery } from '../plan/recorded.js';
import type { Check, LogEnd, Report, ReportAgent, ReportRepo } from './report-model.js';
import type { Tone } from './report-timeline.js';
import { durationText } from './stream.js';

/** Never colour alone: each state has a sign too. */
export const CRITERION_SIGNS: Readonly<Record<CriterionState['state'], string>> = {
  unverified: '·',
  passed: '✔',
  failed: '✖',
  void: '○',
};

export const CRITERION_TONES: Readonly<Record<CriterionState['state'], Tone>> = {
  unverified: 'quiet',
  passed: 'good',
  failed: 'bad',
  void: 'wait',
};

/** `2026-03-04 05:06:07`: a moment in UTC. */
export function timeText(at: number): string {
  return new Date(at).toISOString().slice(0, 19).replace('T', ' ');
}

/** A duration that may be days. */
export function spanText(milliseconds: number): string {
  const hours = Math.floor(milliseconds / 3_600_000);
  return hours < 48 ? durationText(milliseconds) : `${Math.floor(hours / 24)}d${hours % 24}h`;
}

export function shortCommit(commit: string): string {
  return commit.slice(0, 8);
}

export function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`;
}

/** The commits that a check is about: one by itself, several with the names of their repos. */
export function headsText(heads: Readonly<Record<string, string>>): string {
  const entries = Object.entries(heads);
  if (entries.length === 1) return shortCommit(entries[0]?.[1] ?? '');
  return entries.map(([repo, commit]) => `${repo} ${shortCommit(commit)}`).join(', ');
}

/** How a check ended. */
export function checkText(check: Check): string {
  const took = check.durationMs === null ? '' : ` after ${durationText(check.durationMs)}`;
  const detail = check.detail === null ? '' : `, ${check.detail}`;
  const dirty = check.dirty ? ', with uncommitted changes' : '';
  return `${check.state}${took}${detail}${dirty}`;
}

/** `the last 32 KB of 120 KB`, or how else the text of a log is to be read. */
export function logNote(log: LogEnd): string {
  if (log.text === null) return 'the file is gone';
  if (log.text === '') return 'it printed nothing';
  return log.leftOut === 0 ? '' : `without its first ${bytesText(log.leftOut)}`;
}

function bytesText(bytes: number): string {
  if (bytes < 1_024) return count(bytes, 'byte');
  if (bytes < 1_024 * 1_024) return `${Math.round(bytes / 1_024)} KB`;
  return `${(bytes / 1_024 / 1_024).toFixed(1)} MB`;
}

/** What an agent did, in a few words. */
export function agentText({ agent }: ReportAgent): string {
  const facts = [
    agent.attempt === 0 ? 'never started' : agent.state,
    agent.attempt > 1 ? `attempt ${agent.attempt}` : null,
    agent.exitCode === null || agent.attempt === 0 ? null : `exit code ${agent.exitCode}`,
    agent.signal,
    agent.startedAt === null || agent.endedAt === null
      ? null
      : `ran for ${spanText(Math.max(0, agent.endedAt - agent.startedAt))}`,
    agent.healthReason,
  ];
  return facts.filter((fact) => fact !== null).join(', ');
}

/** Where the work of a repo is. */
export function repoText({ repo, head, from, dirtyFiles }: ReportRepo): string {
  const at = head === null ? '' : ` at ${shortCommit(head)}`;
  const base = repo.baseCommit === null ? '' : ` ${shortCommit(repo.baseCommit)}`;
  const where = {
    worktree: '',
    branch: ' (the branch; its worktree is gone)',
    delivery: ' (as delivered)',
    evidence: ' (as last checked)',
    nowhere: '',
  }[from];
  const dirty =
    dirtyFiles === null ? '' : dirtyFiles.length === 0 ? ', clean' : `, ${dirtyFiles.length} uncommitted`;
  return `${repo.branch}${at}${where}, from ${repo.baseBranch}${base}${dirty}`;
}

/** `3 files changed, 12 insertions, 4 deletions in 2 commits`. */
export function changesText({ history }: ReportRepo): string {
  if (history === null) return 'unknown';
  if (history.commitCount === 0) return 'no commits';
  const { filesChanged, insertions, deletions, commitCount } = history;
  return `${count(filesChanged, 'file')} changed, ${count(insertions, 'insertion')}, ${count(deletions, 'deletion')} in ${count(commitCount, 'commit')}`;
}

/** What close did with a branch. */
export function deliveryText(delivery: RecordedDelivery): string {
  if (delivery.kind === 'pull_request' && delivery.state === 'done' && delivery.url === null)
    return 'nothing for a pull request';
  const kind = {
    merge: { done: 'merged', otherwise: 'merge' },
    pull_request: { done: 'pull request opened', otherwise: 'pull request' },
    none: { done: 'branch left as it is', otherwise: 'nothing to deliver' },
  }[delivery.kind];
  if (delivery.state === 'done') return kind.done;
  const how = { checked: 'passed the gates', planned: 'planned', rolled_back: 'taken back' }[delivery.state];
  return `${kind.otherwise}: ${how}`;
}

/** Facts of the run, in the order in which they are shown. */
export function factsOf(report: Report): readonly (readonly [name: string, value: string])[] {
  const { run, timeline } = report;
  const ended = run.state === 'closed' ? timeline.to : null;
  return [
    ['Run', run.id],
    ['Created', `${timeText(run.createdAt)} UTC`],
    ended === null
      ? ['Age', spanText(Math.max(0, report.generatedAt - run.createdAt))]
      : ['Closed', `${timeText(ended)} UTC, after ${spanText(ended - run.createdAt)}`],
    ['Merge intent', run.intent.intake.mergeIntent.replaceAll('_', ' ')],
    ...(run.intent.ticket.topics.length === 0
      ? []
      : [['Topics', run.intent.ticket.topics.join(', ')] as const]),
    ['Manifest', run.manifestPath],
    ['Workspace', run.workspace],
  ];
}
