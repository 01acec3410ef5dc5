/** Agents' questions and operators' answers in the record. */
import { mayTransitionGuidance } from '../plan/lifecycle.js';
import type { NewGuidance } from '../plan/outcome.js';
import type { GuidanceState, RecordedGuidance } from '../plan/recorded.js';
import type { StateContext } from './context.js';
import { appendEvent, touch } from './journal.js';
import { IllegalTransition } from './problem.js';
import { fromRow, GUIDANCE, insertRow, nextOrdinal, toCells, updateRow } from './rows.js';

/** Record a question once, however often its file is read: it is known by its digest until it is delivered. */
export async function recordGuidance(
  context: StateContext,
  runId: string,
  asked: NewGuidance,
): Promise<{ readonly guidance: RecordedGuidance; readonly isNew: boolean }> {
  const { db } = context;
  return db.transaction(async () => {
    const known = await db.get(
      `SELECT * FROM guidance WHERE run_id = ? AND agent = ? AND digest = ? AND state IN ('pending', 'answered')`,
      [runId, asked.agent, asked.digest],
    );
    if (known !== undefined) return { guidance: fromRow<RecordedGuidance>(GUIDANCE, known), isNew: false };
    const ordinal = await nextOrdinal(db, 'guidance', runId);
    const guidance: RecordedGuidance = {
      id: `g${ordinal}`,
      ...asked,
      context: asked.context ?? null,
      askedAt: Math.trunc(asked.askedAt),
      state: 'pending',
      answer: null,
      answeredAt: null,
    };
    await insertRow(db, 'guidance', { run_id: runId, ordinal, ...toCells(GUIDANCE, guidance) });
    await changed(context, runId, guidance);
    return { guidance, isNew: true };
  });
}

/** Record an answer; an answer that was not delivered yet may be given again. Throws `IllegalTransition`. */
export async function answerGuidance(
  context: StateContext,
  runId: string,
  id: string,
  answer: string,
  at: number,
): Promise<RecordedGuidance> {
  return move(context, runId, id, 'answered', { answer, answeredAt: Math.trunc(at) });
}

/** Move a question on. Throws `IllegalTransition`. */
export async function move(
  context: StateContext,
  runId: string,
  id: string,
  to: GuidanceState,
  patch: Partial<RecordedGuidance> = {},
): Promise<RecordedGuidance> {
  const { db } = context;
  return db.transaction(async () => {
    const row = await db.get('SELECT * FROM guidance WHERE run_id = ? AND id = ?', [runId, id]);
    if (row === undefined) throw new Error(`run ${runId} has no guidance ${id}`);
    const before = fromRow<RecordedGuidance>(GUIDANCE, row);
    if (!mayTransitionGuidance(before.state, to)) {
      throw new IllegalTransition(`guidance ${id} of ${runId}`, before.state, to);
    }
    const after: RecordedGuidance = { ...before, ...patch, state: to };
    const cells = toCells(GUIDANCE, after);
    if (await updateRow(db, 'guidance', { run_id: runId, id }, cells)) await changed(context, runId, after);
    return after;
  });
}

async function changed(context: StateContext, runId: string, guidance: RecordedGuidance): Promise<void> {
  const { id, agent, question, state, answer } = guidance;
  await touch(context, runId);
  await appendEvent(context, runId, 'guidance', { id, agent, question, state, answer });
}
