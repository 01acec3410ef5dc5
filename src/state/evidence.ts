/** What was found when a criterion was checked, and what close did with the branches. */
import type { RecordedDelivery, RecordedEvidence } from '../plan/recorded.js';
import type { StateContext } from './context.js';
import { appendEvent, touch } from './journal.js';
import { DELIVERY, EVIDENCE, insertRow, toCells, updateRow } from './rows.js';

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
