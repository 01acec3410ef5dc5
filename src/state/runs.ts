/** Runs and what belongs to each of them: written when decided, read as one `RecordedRun`. */
import { isDeepStrictEqual } from 'node:util';
import type { Intent } from '../manifest/intent.js';
import { mayTransition, type RunOutcome, type RunReason, type RunState } from '../plan/lifecycle.js';
import type {
  RecordedAgent,
  RecordedBrief,
  RecordedDelivery,
  RecordedEvidence,
  RecordedGuidance,
  RecordedRepo,
  RecordedRun,
  RecordedStep,
} from '../plan/recorded.js';
import { selectorFor } from '../plan/selector.js';
import { addAgent, type NewAgent } from './agents.js';
import { canonical, fromStoredPath, type StateContext, toInnerPath, toStoredPath } from './context.js';
import type { Row, SqlValue } from './database.js';
import { upgradeIntent } from './intent.js';
import { appendEvent, touch } from './journal.js';
import { IllegalTransition } from './problem.js';
import {
  AGENT,
  BRIEF,
  type Columns,
  DELIVERY,
  EVIDENCE,
  fromRow,
  GUIDANCE,
  insertRow,
  nextOrdinal,
  REPO,
  RUN,
  type RunHeader,
  STEP,
  toCells,
  updateRow,
} from './rows.js';

/** What is decided about a run before its first step. */
export interface NewRun
  extends Omit<
      RunHeader,
      'state' | 'reason' | 'detail' | 'outcome' | 'createdAt' | 'updatedAt' | 'criterionRepos' | 'fixAttempts'
    >,
    Partial<Pick<RunHeader, 'criterionRepos'>> {
  readonly repos: readonly NewRepo[];
  readonly agents: readonly NewAgent[];
}

/** A repo's decided names; what is only known later may be left out. */
export type NewRepo = Pick<RecordedRepo, 'name' | 'source' | 'path' | 'branch' | 'baseBranch'> &
  Partial<RecordedRepo>;

/** Insert a run, planning, with its repos and agents. Inside of a transaction. */
export async function insertRun(context: StateContext, run: NewRun): Promise<void> {
  const at = context.now();
  const { repos, agents, ...header } = run;
  await insertRow(
    context.db,
    'runs',
    toCells<RunHeader>(RUN, {
      ...header,
      manifestPath: await toStoredPath(context.root, run.manifestPath),
      ticketRoot: run.ticketRoot === null ? null : await toInnerPath(context.root, run.ticketRoot),
      state: 'created',
      reason: null,
      detail: null,
      outcome: null,
      fixAttempts: 0,
      createdAt: at,
      updatedAt: at,
    }),
  );
  await appendEvent(context, run.id, 'run', { state: 'created', reason: null });
  for (const repo of repos) await addRepo(context, run.id, repo);
  for (const agent of agents) await addAgent(context, run.id, agent);
  await transitionRun(context, run.id, 'planning', {});
}

/** Why a run comes to be in a state. What is left out: no reason, no detail, the outcome as it is. */
export interface Transition {
  readonly reason?: RunReason | null;
  readonly detail?: string | null;
  readonly outcome?: RunOutcome;
}

/** The one place where a run changes its state. Resolves to whether it did. Throws `IllegalTransition`. */
export async function transitionRun(
  context: StateContext,
  runId: string,
  to: RunState,
  why: Transition,
): Promise<boolean> {
  const { db } = context;
  return db.transaction(async () => {
    const row = await db.get('SELECT state, reason, outcome FROM runs WHERE id = ?', [runId]);
    if (row === undefined) throw new Error(`no run ${runId}`);
    const from = row.state as RunState;
    if (!mayTransition(from, to)) throw new IllegalTransition(`run ${runId}`, from, to);
    const reason = why.reason ?? null;
    const outcome = why.outcome ?? (row.outcome as RunOutcome | null);
    const changed = await updateRow(
      db,
      'runs',
      { id: runId },
      { state: to, reason, detail: why.detail ?? null, outcome },
    );
    if (changed) await touch(context, runId);
    // A detail alone is words about the same state.
    if (from === to && row.reason === reason && row.outcome === outcome) return false;
    await appendEvent(context, runId, 'run', {
      state: to,
      reason,
      from,
      detail: why.detail ?? null,
      outcome,
    });
    return true;
  });
}

/** Record what an apply carried out. A manifest that was moved is known under its new path from then on. */
export async function saveIntent(context: StateContext, runId: string, intent: Intent): Promise<void> {
  const { db, root } = context;
  const manifestPath = await toStoredPath(root, intent.manifestPath);
  await db.transaction(async () => {
    const before = await db.get('SELECT intent, manifest_path FROM runs WHERE id = ?', [runId]);
    if (before === undefined) throw new Error(`no run ${runId}`);
    // The order of keys says nothing.
    const same = isDeepStrictEqual(JSON.parse(String(before.intent)), JSON.parse(JSON.stringify(intent)));
    if (same && before.manifest_path === manifestPath) return;
    await updateRow(
      db,
      'runs',
      { id: runId },
      { intent: JSON.stringify(intent), manifest_path: manifestPath },
    );
    await touch(context, runId);
    await appendEvent(context, runId, 'intent', { manifest: fromStoredPath(root, manifestPath) });
  });
}

/** Add a repo; one that was removed comes back under its newly decided names. */
export async function addRepo(context: StateContext, runId: string, repo: NewRepo): Promise<void> {
  const { db } = context;
  await db.transaction(async () => {
    const cells = toCells<RecordedRepo>(REPO, {
      baseRef: null,
      baseCommit: null,
      placed: {},
      configAtCreation: null,
      removed: false,
      ...repo,
    });
    const keys = { run_id: runId, name: repo.name };
    const old = await db.get('SELECT removed FROM repos WHERE run_id = ? AND name = ?', [runId, repo.name]);
    if (old?.removed === 1) await updateRow(db, 'repos', keys, cells);
    else await insertRow(db, 'repos', { ...keys, ordinal: await nextOrdinal(db, 'repos', runId), ...cells });
    await touch(context, runId);
    await appendEvent(context, runId, 'repo', { name: repo.name, branch: repo.branch, path: repo.path });
  });
}

/** Write what differs. Resolves to whether anything did. */
export async function updateRepo(
  context: StateContext,
  runId: string,
  name: string,
  patch: Partial<Omit<RecordedRepo, 'name'>>,
): Promise<boolean> {
  const { db } = context;
  return db.transaction(async () => {
    const changed = await updateRow(db, 'repos', { run_id: runId, name }, toCells<RecordedRepo>(REPO, patch));
    if (!changed) return false;
    await touch(context, runId);
    const { placed: _, ...told } = patch;
    await appendEvent(context, runId, 'repo', { name, ...told });
    return true;
  });
}

/** Record how often failed criteria were handed back to the agents. */
export async function saveFixAttempts(context: StateContext, runId: string, count: number): Promise<void> {
  const { db } = context;
  await db.transaction(async () => {
    if (!(await updateRow(db, 'runs', { id: runId }, toCells<RunHeader>(RUN, { fixAttempts: count }))))
      return;
    await touch(context, runId);
    await appendEvent(context, runId, 'fix_attempts', { count });
  });
}

/** Record where criteria run that name no repo. */
export async function saveCriterionRepos(
  { db }: StateContext,
  runId: string,
  criterionRepos: RecordedRun['criterionRepos'],
): Promise<void> {
  await updateRow(db, 'runs', { id: runId }, toCells<RunHeader>(RUN, { criterionRepos }));
}

/** Record where the brief of a run is. */
export async function saveBrief(context: StateContext, runId: string, brief: RecordedBrief): Promise<void> {
  const { db } = context;
  await db.transaction(async () => {
    const cells = toCells(BRIEF, brief);
    const old = await db.get('SELECT run_id FROM briefs WHERE run_id = ?', [runId]);
    if (old === undefined) await insertRow(db, 'briefs', { run_id: runId, ...cells });
    else if (!(await updateRow(db, 'briefs', { run_id: runId }, cells))) return;
    await touch(context, runId);
    await appendEvent(context, runId, 'brief', { ...brief });
  });
}

/** Whether a run is the one that its ticket id selects (`lookup.ts`): the newest that is not closed, else the newest. */
const MEANT_BY_TICKET = `id = (
  SELECT other.id FROM runs AS other WHERE other.ticket_id = runs.ticket_id
  ORDER BY other.state = 'closed', other.seq DESC LIMIT 1
)`;

/** Runs that a condition on table `runs` holds for, newest first, each complete. */
export async function readRuns(
  { db, root }: StateContext,
  condition: string,
  params: readonly SqlValue[],
  limit: number | null = null,
): Promise<RecordedRun[]> {
  return db.snapshot(async () => {
    const sql = `SELECT *, ${MEANT_BY_TICKET} AS meant FROM runs WHERE ${condition} ORDER BY seq DESC LIMIT ?`;
    const headers = await db.all(sql, [...params, limit ?? -1]);
    const ids = JSON.stringify(headers.map((row) => row.id ?? null));
    const grouped = async <T extends object>(
      table: string,
      columns: Columns<T>,
      extra: string,
      order: string,
    ) => {
      const rows = await db.all(
        `SELECT * FROM ${table} WHERE run_id IN (SELECT value FROM json_each(?)) ${extra} ORDER BY ${order}`,
        [ids],
      );
      const byRun = new Map<SqlValue | undefined, T[]>();
      for (const row of rows) {
        const group = byRun.get(row.run_id);
        if (group === undefined) byRun.set(row.run_id, [fromRow(columns, row)]);
        else group.push(fromRow(columns, row));
      }
      return byRun;
    };
    const repos = await grouped<RecordedRepo>('repos', REPO, '', 'ordinal');
    const agents = await grouped<RecordedAgent>('agents', AGENT, '', 'ordinal');
    const steps = await grouped<RecordedStep>('steps', STEP, 'AND removed = 0', 'ordinal, id');
    // The oldest first, whenever each was seen: it is the one to be answered next.
    const guidance = await grouped<RecordedGuidance>('guidance', GUIDANCE, '', 'asked_at, ordinal');
    const briefs = await grouped<RecordedBrief>('briefs', BRIEF, '', 'run_id');
    const evidence = await grouped<RecordedEvidence>('evidence', EVIDENCE, '', 'id');
    const deliveries = await grouped<RecordedDelivery>('deliveries', DELIVERY, '', 'repo');
    return Promise.all(
      headers.map(async (row: Row) => ({
        ...withSelector(await headerOf(root, row), row.meant === 1),
        repos: repos.get(row.id) ?? [],
        agents: agents.get(row.id) ?? [],
        steps: steps.get(row.id) ?? [],
        guidance: guidance.get(row.id) ?? [],
        brief: briefs.get(row.id)?.[0] ?? null,
        evidence: evidence.get(row.id) ?? [],
        deliveries: deliveries.get(row.id) ?? [],
      })),
    );
  });
}

function withSelector(header: RunHeader, meant: boolean): RunHeader & { readonly selector: string } {
  return { ...header, selector: selectorFor(header, meant) };
}

async function headerOf(root: string, row: Row): Promise<RunHeader> {
  const header = fromRow<RunHeader>(RUN, row);
  const manifestPath = fromStoredPath(root, header.manifestPath);
  const intent = upgradeIntent(header.intent);
  // A tree that was moved took its manifest along; otherwise the path stays as it was written.
  const moved = (await canonical(intent.manifestPath)) !== manifestPath;
  const ticketRoot = header.ticketRoot === null ? null : fromStoredPath(root, header.ticketRoot);
  return { ...header, manifestPath, ticketRoot, intent: moved ? { ...intent, manifestPath } : intent };
}
