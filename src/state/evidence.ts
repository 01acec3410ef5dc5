/** What was found when a criterion was checked, and what close did with the branches. */
import type { StateContext } from './context.js';
import { appendEvent, touch } from './journal.js';
import { type Columns, fromRow, insertRow, toCells, updateRow } from './rows.js';

/** One check of one criterion. The newest of a criterion counts. */
export interface RecordedEvidence {
  readonly criterionId: string;
  readonly kind: 'command' | 'worded';
  /** null: bound to the HEADs of all repos. */
  readonly repo: string | null;
  /** Repo name → commit that it was checked at. */
  readonly heads: Readonly<Record<string, string>>;
  /** A worktree had changes that are in no commit. */
  readonly dirty: boolean;
  readonly exitCode: number | null;
  readonly durationMs: number | null;
  /** Milliseconds since the epoch. */
  readonly checkedAt: number;
  readonly log: string | null;
  readonly state: 'passed' | 'failed' | 'void';
  readonly voidReason: string | null;
}

/** What close did with one repo's branch. */
export interface RecordedDelivery {
  readonly repo: string;
  readonly kind: 'merge' | 'pull_request' | 'none';
  /** A word of the delivery's own, such as `planned`, `done` or `rolled_back`. */
  readonly state: string;
  readonly ref: string | null;
  readonly before: string | null;
  readonly after: string | null;
  readonly url: string | null;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

const EVIDENCE: Columns<RecordedEvidence> = {
  criterionId: 'plain',
  kind: 'plain',
  repo: 'plain',
  heads: 'json',
  dirty: 'flag',
  exitCode: 'plain',
  durationMs: 'plain',
  checkedAt: 'plain',
  log: 'plain',
  state: 'plain',
  voidReason: 'plain',
};

const DELIVERY: Columns<RecordedDelivery> = {
  repo: 'plain',
  kind: 'plain',
  state: 'plain',
  ref: 'plain',
  before: 'plain',
  after: 'plain',
  url: 'plain',
  at: 'plain',
};

export async function addEvidence(
  context: StateContext,
  runId: string,
  evidence: RecordedEvidence,
): Promise<void> {
  const { db } = context;
  await db.transaction(async () => {
    await insertRow(db, 'evidence', { run_id: runId, ...toCells(EVIDENCE, evidence) });
    const { criterionId, state, heads, dirty, exitCode, durationMs } = evidence;
    await touch(context, runId);
    await appendEvent(context, runId, 'criterion', {
      id: criterionId,
      state,
      heads,
      dirty,
      exitCode,
      durationMs,
    });
  });
}

/** Evidence that counted no longer does. Resolves to how many pieces were voided. */
export async function voidEvidence(
  context: StateContext,
  runId: string,
  criterionIds: readonly string[],
  reason: string,
): Promise<number> {
  const { db } = context;
  return db.transaction(async () => {
    let count = 0;
    for (const id of criterionIds) {
      const changed = await db.run(
        `UPDATE evidence SET state = 'void', void_reason = ? WHERE run_id = ? AND criterion_id = ? AND state <> 'void'`,
        [reason, runId, id],
      );
      if (changed > 0) await appendEvent(context, runId, 'criterion', { id, state: 'void', reason });
      count += changed;
    }
    if (count > 0) await touch(context, runId);
    return count;
  });
}

/** All evidence of a run, oldest first. */
export async function readEvidence({ db }: StateContext, runId: string): Promise<RecordedEvidence[]> {
  const rows = await db.all('SELECT * FROM evidence WHERE run_id = ? ORDER BY id', [runId]);
  return rows.map((row) => fromRow(EVIDENCE, row));
}

/** Record how far the delivery of a repo is. */
export async function saveDelivery(
  context: StateContext,
  runId: string,
  delivery: RecordedDelivery,
): Promise<void> {
  const { db } = context;
  await db.transaction(async () => {
    const cells = toCells(DELIVERY, delivery);
    const keys = { run_id: runId, repo: delivery.repo };
    const old = await db.get('SELECT at FROM deliveries WHERE run_id = ? AND repo = ?', [
      runId,
      delivery.repo,
    ]);
    if (old === undefined) await insertRow(db, 'deliveries', { run_id: runId, ...cells });
    else if (!(await updateRow(db, 'deliveries', keys, cells))) return;
    await touch(context, runId);
    await appendEvent(context, runId, 'delivery', { ...delivery });
  });
}

/** The deliveries of a run, by repo name. */
export async function readDeliveries({ db }: StateContext, runId: string): Promise<RecordedDelivery[]> {
  const rows = await db.all('SELECT * FROM deliveries WHERE run_id = ? ORDER BY repo', [runId]);
  return rows.map((row) => fromRow(DELIVERY, row));
}
