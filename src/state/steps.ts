/** Recorded steps: a row before the execution, its end after it. */
import { mayTransitionStep, type StepState } from '../plan/lifecycle.js';
import type { RecordedStep } from '../plan/recorded.js';
import type { StateContext } from './context.js';
import { appendEvent, touch } from './journal.js';
import { IllegalTransition } from './problem.js';
import type { Cells } from './rows.js';
import { fromRow, insertRow, STEP, toCells, updateRow } from './rows.js';

/** What a plan says about a step that is to be recorded. */
export interface StepToRecord extends Pick<RecordedStep, 'id' | 'kind' | 'ordinal' | 'inputHash'> {
  /** It is to be executed although it is recorded as done: its row waits again. */
  readonly again?: boolean;
}

/** The ids of what `planSteps` changed. */
export interface StepsPlanned {
  readonly added: readonly string[];
  readonly replaced: readonly string[];
  readonly removed: readonly string[];
}

/** How a step ended. `pending`: it was cut off and begins anew. */
export interface StepEnd {
  readonly state: Exclude<StepState, 'running'>;
  readonly error?: string | null;
  /** Last lines of its output. */
  readonly log?: string | null;
}

/** Number of the try, and how long it took where that is known. */
export interface StepMoment {
  readonly attempt: number;
  readonly durationMs: number | null;
}

const FRESH: Omit<RecordedStep, keyof StepToRecord | 'child'> = {
  state: 'pending',
  attempts: 0,
  startedAt: null,
  endedAt: null,
  error: null,
  log: null,
};

/**
 * Make the record hold these steps: missing ones are added, those with another input hash begin anew, ordinals
 * follow. With `others: 'remove'` steps that are not named leave the record (their rows stay, marked); a
 * removed one that is planned again begins anew.
 */
export async function planSteps(
  context: StateContext,
  runId: string,
  steps: readonly StepToRecord[],
  others: 'remove' | 'keep',
): Promise<StepsPlanned> {
  const { db } = context;
  return db.transaction(async () => {
    const rows = await db.all('SELECT * FROM steps WHERE run_id = ?', [runId]);
    const old = new Map(rows.map((row) => [String(row.id), row]));
    const planned = { added: [] as string[], replaced: [] as string[], removed: [] as string[] };
    for (const step of steps) {
      const row = old.get(step.id);
      const keys = { run_id: runId, id: step.id };
      if (row === undefined) {
        const cells = toCells<RecordedStep>(STEP, { ...FRESH, child: null, ...fields(step) });
        await insertRow(db, 'steps', { ...keys, ...cells, removed: 0 });
        planned.added.push(step.id);
      } else if (row.removed === 1 || row.input_hash !== step.inputHash) {
        // The child of a step that was cut off may still run: whoever repeats the step has to look.
        const child = row.state === 'running' ? {} : { child: null };
        const cells = toCells<RecordedStep>(STEP, { ...FRESH, ...child, ...fields(step) });
        await updateRow(db, 'steps', keys, { ...cells, removed: 0 });
        planned[row.removed === 1 ? 'added' : 'replaced'].push(step.id);
      } else {
        const waits = step.again === true && row.state !== 'running' ? { state: 'pending' } : {};
        await updateRow(db, 'steps', keys, { ordinal: step.ordinal, kind: step.kind, ...waits });
      }
    }
    const named = new Set(steps.map((step) => step.id));
    for (const [id, row] of others === 'remove' ? old : []) {
      if (named.has(id) || row.removed === 1) continue;
      await updateRow(db, 'steps', { run_id: runId, id }, { removed: 1 });
      planned.removed.push(id);
    }
    if (planned.added.length + planned.replaced.length + planned.removed.length > 0) {
      await touch(context, runId);
      await appendEvent(context, runId, 'plan', planned);
    }
    return planned;
  });
}

function fields({ id, kind, ordinal, inputHash }: StepToRecord): Omit<StepToRecord, 'again'> {
  return { id, kind, ordinal, inputHash };
}

/** A step begins. Resolves to the number of this try, from 1. Throws `IllegalTransition`. */
export async function stepStarted(
  context: StateContext,
  runId: string,
  id: string,
  child: RecordedStep['child'],
): Promise<number> {
  const { attempt } = await changeStep(context, runId, id, 'running', (step) => ({
    attempts: step.attempts + 1,
    startedAt: context.now(),
    endedAt: null,
    error: null,
    log: null,
    child,
  }));
  return attempt;
}

/** A step ended. Throws `IllegalTransition`. */
export async function stepEnded(
  context: StateContext,
  runId: string,
  id: string,
  end: StepEnd,
): Promise<StepMoment> {
  return changeStep(context, runId, id, end.state, () => ({
    endedAt: end.state === 'pending' ? null : context.now(),
    error: end.error ?? null,
    log: end.log ?? null,
    child: null,
  }));
}

/** The process that carries a running step out, so that after a crash it can be seen whether it still runs. */
export async function stepChild(
  { db }: StateContext,
  runId: string,
  id: string,
  child: RecordedStep['child'],
): Promise<void> {
  const cells: Cells = toCells<RecordedStep>(STEP, { child });
  await db.transaction(() => updateRow(db, 'steps', { run_id: runId, id }, cells));
}

async function changeStep(
  context: StateContext,
  runId: string,
  id: string,
  to: StepState,
  change: (step: RecordedStep) => Partial<RecordedStep>,
): Promise<StepMoment> {
  const { db } = context;
  return db.transaction(async () => {
    const row = await db.get('SELECT * FROM steps WHERE run_id = ? AND id = ? AND removed = 0', [runId, id]);
    if (row === undefined) throw new Error(`run ${runId} has no step ${id}`);
    const step = fromRow<RecordedStep>(STEP, row);
    if (!mayTransitionStep(step.state, to))
      throw new IllegalTransition(`step ${id} of ${runId}`, step.state, to);
    const patch = change(step);
    await updateRow(db, 'steps', { run_id: runId, id }, toCells<RecordedStep>(STEP, { ...patch, state: to }));
    await touch(context, runId);
    const attempt = patch.attempts ?? step.attempts;
    const ran = step.state === 'running' && to !== 'running' && step.startedAt !== null;
    const durationMs = ran ? Math.max(0, context.now() - (step.startedAt ?? 0)) : null;
    await appendEvent(context, runId, 'step', {
      id,
      state: to,
      attempt,
      durationMs,
      error: patch.error ?? null,
    });
    return { attempt, durationMs };
  });
}
