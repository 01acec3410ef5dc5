/** The append-only journal: what happened, in order. A change of state and its event are one transaction. */
import type { StateContext } from './context.js';
import type { Row } from './database.js';

/** One line of the journal. */
export interface StoredEvent {
  readonly id: number;
  readonly runId: string | null;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** `run`, `step`, `agent`, `guidance` as in report/events.ts, or a kind of the journal's own. */
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** Append a line, in the transaction of the change that it tells of where there is one. */
export async function appendEvent(
  { db, now }: StateContext,
  runId: string | null,
  type: string,
  data: Readonly<Record<string, unknown>>,
): Promise<void> {
  await db.run('INSERT INTO events (run_id, at, type, data) VALUES (?, ?, ?, ?)', [
    runId,
    now(),
    type,
    JSON.stringify(data),
  ]);
}

/** The lines of a run, oldest first. */
export async function readEvents({ db }: StateContext, runId: string): Promise<StoredEvent[]> {
  const rows = await db.all('SELECT * FROM events WHERE run_id = ? ORDER BY id', [runId]);
  return rows.map((row: Row) => ({
    id: Number(row.id),
    runId,
    at: Number(row.at),
    type: String(row.type),
    data: JSON.parse(String(row.data)) as Record<string, unknown>,
  }));
}

/** A run was changed: the moment is what `updated_at` says. */
export async function touch({ db, now }: StateContext, runId: string): Promise<void> {
  await db.run('UPDATE runs SET updated_at = ? WHERE id = ?', [now(), runId]);
}
