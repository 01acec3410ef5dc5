/** What was found when a criterion was checked, and what close did with the branches. */
import type { RecordedEvidence } from '../plan/recorded.js';
import type { StateContext } from './context.js';
import { appendEvent, touch } from './journal.js';
import { type Columns, EVIDENCE, fromRow, insertRow, toCells, updateRow } from './rows.js';

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
    const { criterionId: key, label: id, state, heads, dirty, exitCode, durationMs, detail } = evidence;
    await touch(context, runId);
    const found = { id, key, state, heads, dirty, exitCode, durationMs, detail };
    await appendEvent(context, runId, 'criterion', found);
  });
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
