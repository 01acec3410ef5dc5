/** What a report is made of: the record, a look at the world where there is one to look at, git, ends of logs. */
import { criteriaStates } from '../plan/evidence.js';
import type { Gate } from '../plan/gates.js';
import type { Warning } from '../plan/observed.js';
import type { RecordedRepo, RecordedRun } from '../plan/recorded.js';
import { type LogEnd, MOST_CHECKS, type RepoChanges, type ReportInput } from '../report/report-model.js';
import { asObserved } from '../report/status-view.js';
import { logFileOf } from '../sessions/attempt.js';
import type { Store } from '../state/store.js';
import { safeText } from '../tools/files.js';
import { historySince } from '../tools/git-history.js';
import { commitOf } from '../tools/git-read.js';
import { readEnd } from '../tools/tail.js';
import { masked, secretsOf } from './agent-env.js';
import { lookAtGates } from './gates.js';
import { type Looked, lookAt } from './look.js';
import { attemptFolder } from './paths.js';

export interface ReportWorld {
  /** Only read. */
  readonly store: Store;
  readonly stateFolder: string;
  readonly env: NodeJS.ProcessEnv;
  readonly now: () => number;
  readonly version: string;
}

/** How many bytes of a log are kept: of the newest check and attempt, and of earlier checks. */
const LOG_BYTES = 32_768;
const EARLIER_LOG_BYTES = 8_192;
/** How many commits and files of a repo are named. */
const NAMED = { commits: 200, files: 300 };

/** Gather everything for the report of a recorded run. Changes nothing, and waits for nobody. */
export async function gatherReport(recorded: RecordedRun, world: ReportWorld): Promise<ReportInput> {
  const { store, stateFolder, env, now, version } = world;
  const secrets = secretsOf(env, recorded);
  const warnings: Warning[] = [];
  const looked = recorded.state === 'closed' ? null : await lookOrWarn(recorded, world, warnings);
  const run = looked === null ? recorded : withOutcome(recorded, looked);
  const changes = await Promise.all(
    run.repos.map(async (repo) => [repo.name, await changesOf(run, repo, looked, warnings)] as const),
  );
  const events = await store.events(run.id);
  return {
    now: now(),
    version,
    run,
    events,
    criteria: looked?.outcome.criteria ?? criteriaStates(run, null),
    gates: (await gatesOrWarn(looked, run, warnings)) ?? closedBy(run, events),
    changes: Object.fromEntries(changes),
    logs: await evidenceLogs(run, secrets),
    agentLogs: await agentLogs(run, stateFolder, secrets),
    warnings: [...(looked?.outcome.warnings ?? []), ...(looked?.observed.warnings ?? []), ...warnings],
    mask: (text) => masked(text, secrets),
  };
}

/** A repository that git cannot read must not keep the rest from being told. */
async function lookOrWarn(run: RecordedRun, world: ReportWorld, warnings: Warning[]): Promise<Looked | null> {
  try {
    const { stateFolder, env, now } = world;
    const looked = await lookAt(run, { stateFolder, env, now });
    for (const { code, message } of looked.observed.problems) warnings.push({ code, message, file: null });
    return looked;
  } catch (error) {
    warnings.push({
      code: 'not_looked_at',
      message: `only what was recorded is told: ${reason(error)}`,
      file: null,
    });
    return null;
  }
}

/** The run as the look would be recorded, what agents said about the criteria included. */
function withOutcome(recorded: RecordedRun, { outcome }: Looked): RecordedRun {
  const run = asObserved(recorded, outcome);
  return { ...run, evidence: [...run.evidence, ...outcome.attested] };
}

/** The gates say something once a run is completed; before that most of them just do not hold yet. null: not judged. */
async function gatesOrWarn(
  looked: Looked | null,
  run: RecordedRun,
  warnings: Warning[],
): Promise<readonly Gate[] | null> {
  if (run.state !== 'completed' || looked === null) return null;
  try {
    return (await lookAtGates(looked)).gates;
  } catch (error) {
    warnings.push({
      code: 'gates_not_judged',
      message: `the gates could not be judged: ${reason(error)}`,
      file: null,
    });
    return [];
  }
}

/** The gates as they were when the run was closed; none where it never was. */
function closedBy(run: RecordedRun, events: Awaited<ReturnType<Store['events']>>): readonly Gate[] {
  const closes = run.state === 'closing' || (run.state === 'closed' && run.outcome === 'delivered');
  const last = closes ? events.findLast(({ type }) => type === 'gates') : undefined;
  return (last?.data.gates ?? []) as readonly Gate[];
}

async function changesOf(
  run: RecordedRun,
  repo: RecordedRepo,
  looked: Looked | null,
  warnings: Warning[],
): Promise<RepoChanges> {
  const worktree = looked?.observed.repos[repo.name]?.worktree;
  const dirtyFiles = worktree?.state === 'ready' ? worktree.dirtyFiles : null;
  const nothing = { from: 'nowhere', head: null, dirtyFiles, history: null } as const;
  if (repo.baseCommit === null) return { ...nothing, note: 'Its worktree was not made yet.' };
  try {
    const found = await headOf(run, repo, worktree?.state === 'ready' ? worktree.head : null);
    if (found === null)
      return { ...nothing, note: 'Its branch is gone, and nothing was recorded of its commits.' };
    const { where, ...head } = found;
    const history = where === null ? null : await historySince(where, repo.baseCommit, head.head, NAMED);
    const note = where === null ? `The repository has no commit ${head.head} any more.` : null;
    return { ...head, dirtyFiles, history, note };
  } catch (error) {
    warnings.push({ code: 'repo_unreadable', message: `repo ${repo.name}: ${reason(error)}`, file: null });
    return { ...nothing, note: 'git could not read the repository.' };
  }
}

/**
 * Where the work of a repo ended: what was delivered, else the worktree, else the branch, else the newest evidence.
 * `where`: the folder in which git knows that commit; null: none does.
 */
async function headOf(
  run: RecordedRun,
  repo: RecordedRepo,
  worktreeHead: string | null,
): Promise<{
  readonly from: RepoChanges['from'];
  readonly head: string;
  readonly where: string | null;
} | null> {
  const { source, name, branch } = repo;
  const known = async (commit: string): Promise<string | null> =>
    (await commitOf(source, commit).catch(() => null)) === null ? null : source;
  const delivered = run.deliveries.find(
    (delivery) => delivery.repo === name && delivery.state === 'done',
  )?.head;
  // After that its branch is anybody's.
  if (delivered !== undefined && delivered !== '') {
    return { from: 'delivery', head: delivered, where: await known(delivered) };
  }
  if (worktreeHead !== null) return { from: 'worktree', head: worktreeHead, where: repo.path };
  const atBranch = await commitOf(source, `refs/heads/${branch}`).catch(() => null);
  if (atBranch !== null) return { from: 'branch', head: atBranch, where: source };
  const checked = run.evidence.findLast(({ heads }) => (heads[name] ?? '') !== '')?.heads[name];
  return checked === undefined ? null : { from: 'evidence', head: checked, where: await known(checked) };
}

/** The ends of the logs that the report shows, by file. */
async function evidenceLogs(
  run: RecordedRun,
  secrets: readonly string[],
): Promise<ReadonlyMap<string, LogEnd>> {
  const logs = new Map<string, LogEnd>();
  const checks = new Map<string, number>();
  for (const { criterionId, log } of [...run.evidence].reverse()) {
    const nth = checks.get(criterionId) ?? 0;
    checks.set(criterionId, nth + 1);
    if (log === null || nth >= MOST_CHECKS) continue;
    logs.set(log, await logEnd(log, nth === 0 ? LOG_BYTES : EARLIER_LOG_BYTES, secrets));
  }
  return logs;
}

async function agentLogs(
  run: RecordedRun,
  stateFolder: string,
  secrets: readonly string[],
): Promise<ReadonlyMap<string, LogEnd>> {
  const logs = new Map<string, LogEnd>();
  for (const { name, attempt } of run.agents) {
    if (attempt === 0) continue;
    const file = logFileOf(attemptFolder(stateFolder, run.id, name, attempt));
    logs.set(name, await logEnd(file, LOG_BYTES, secrets));
  }
  return logs;
}

/** The end of a log, from the beginning of a line on where there is one, never from the middle of a secret. */
async function logEnd(file: string, maxBytes: number, secrets: readonly string[]): Promise<LogEnd> {
  const longest = Math.max(0, ...secrets.map((secret) => Buffer.byteLength(secret)));
  // As much more as a secret that is cut off may be long.
  const end = await readEnd(file, maxBytes + longest);
  if (end === null) return { text: null, leftOut: 0 };
  const all = end.bytes.toString('utf8');
  const cut = end.size <= maxBytes ? 0 : cutOf(all, Math.max(0, end.bytes.length - maxBytes), secrets);
  const kept = all.slice(cut);
  return {
    text: clean(kept, secrets),
    leftOut: cut === 0 && end.size === end.bytes.length ? 0 : Math.max(0, end.size - Buffer.byteLength(kept)),
  };
}

/** Where to cut a text, at `least` or after it. */
function cutOf(text: string, least: number, secrets: readonly string[]): number {
  const parts = secrets.flatMap((secret) => {
    const found: { readonly from: number; readonly to: number }[] = [];
    for (let at = text.indexOf(secret); at >= 0; at = text.indexOf(secret, at + 1)) {
      found.push({ from: at, to: at + secret.length });
    }
    return found;
  });
  const outside = (at: number): number => {
    const inside = parts.find(({ from, to }) => from < at && at < to);
    return inside === undefined ? at : outside(inside.to);
  };
  const line = text.indexOf('\n', outside(least));
  return outside(line < 0 || line + 1 >= text.length ? least : line + 1);
}

/** Masked again after it was made safe: a terminal sequence in the middle of a secret hides it from the first. */
function clean(text: string, secrets: readonly string[]): string {
  return masked(safeText(masked(text, secrets)), secrets);
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
