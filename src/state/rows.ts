/** How the recorded types lie in table rows: a field `lastOutputAt` is the column `last_output_at`. */
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
import type { Database, Row, SqlValue } from './database.js';

/** How a field is kept: as it is (text, integer, null), as 0 or 1, as JSON text, or as JSON text or NULL. */
type Codec = 'plain' | 'flag' | 'json' | 'json_or_null';

/** Every field of a type and how it is kept: the compiler finds a field that was forgotten. */
export type Columns<T> = Readonly<Record<keyof T & string, Codec>>;

/** A run without what lies in tables of its own. */
export type RunHeader = Omit<
  RecordedRun,
  'selector' | 'repos' | 'agents' | 'steps' | 'guidance' | 'brief' | 'evidence' | 'deliveries'
>;

export const RUN: Columns<RunHeader> = {
  id: 'plain',
  ticketId: 'plain',
  manifestPath: 'plain',
  state: 'plain',
  reason: 'plain',
  detail: 'plain',
  outcome: 'plain',
  intent: 'json',
  workspace: 'plain',
  token: 'plain',
  session: 'plain',
  ticketRoot: 'plain',
  criterionRepos: 'json',
  fixAttempts: 'plain',
  createdAt: 'plain',
  updatedAt: 'plain',
};

export const REPO: Columns<RecordedRepo> = {
  name: 'plain',
  source: 'plain',
  path: 'plain',
  branch: 'plain',
  baseBranch: 'plain',
  baseRef: 'plain',
  baseCommit: 'plain',
  placed: 'json',
  configAtCreation: 'json',
  removed: 'flag',
};

export const AGENT: Columns<RecordedAgent> = {
  name: 'plain',
  state: 'plain',
  health: 'plain',
  healthReason: 'plain',
  attempt: 'plain',
  session: 'plain',
  sessionName: 'plain',
  tmuxSocket: 'plain',
  cwd: 'plain',
  sentinelDir: 'plain',
  pid: 'plain',
  pidStart: 'plain',
  bootId: 'plain',
  host: 'plain',
  exitCode: 'plain',
  signal: 'plain',
  startedAt: 'plain',
  endedAt: 'plain',
  lastOutputAt: 'plain',
  lastProgressAt: 'plain',
  progress: 'plain',
  stoppedAttempt: 'plain',
  startsUsed: 'plain',
  freeStartFor: 'plain',
  summary: 'plain',
  completedAt: 'plain',
  feedback: 'json_or_null',
  removed: 'flag',
};

export const STEP: Columns<RecordedStep> = {
  id: 'plain',
  kind: 'plain',
  ordinal: 'plain',
  inputHash: 'plain',
  state: 'plain',
  attempts: 'plain',
  startedAt: 'plain',
  endedAt: 'plain',
  error: 'plain',
  log: 'plain',
  child: 'json_or_null',
};

export const GUIDANCE: Columns<RecordedGuidance> = {
  id: 'plain',
  agent: 'plain',
  attempt: 'plain',
  requestId: 'plain',
  question: 'plain',
  context: 'json',
  digest: 'plain',
  file: 'plain',
  askedAt: 'plain',
  state: 'plain',
  answer: 'plain',
  answeredAt: 'plain',
};

export const DELIVERY: Columns<RecordedDelivery> = {
  repo: 'plain',
  kind: 'plain',
  state: 'plain',
  head: 'plain',
  ref: 'plain',
  before: 'plain',
  after: 'plain',
  url: 'plain',
  at: 'plain',
};

export const BRIEF: Columns<RecordedBrief> = { ticketDocument: 'plain', ticketDocumentHash: 'plain' };

export const EVIDENCE: Columns<RecordedEvidence> = {
  criterionId: 'plain',
  label: 'plain',
  kind: 'plain',
  command: 'json_or_null',
  repo: 'plain',
  heads: 'json',
  dirty: 'flag',
  exitCode: 'plain',
  durationMs: 'plain',
  checkedAt: 'plain',
  log: 'plain',
  state: 'plain',
  detail: 'plain',
  source: 'plain',
};

/** Columns of a table and their values. */
export type Cells = Readonly<Record<string, SqlValue>>;

/** The cells of the fields that are there; a field that is undefined is left out. */
export function toCells<T extends object>(columns: Columns<T>, values: Partial<T>): Cells {
  const cells: Record<string, SqlValue> = {};
  for (const [field, codec] of Object.entries<Codec>(columns)) {
    const value = (values as Readonly<Record<string, unknown>>)[field];
    if (value !== undefined) cells[columnOf(field)] = encode(codec, value, field);
  }
  return cells;
}

/** The object that a row stands for. Columns that are none of its fields are left out. */
export function fromRow<T extends object>(columns: Columns<T>, row: Row): T {
  const entries = Object.entries<Codec>(columns).map(([field, codec]) => {
    const value = row[columnOf(field)];
    if (value === undefined) throw new Error(`no column ${columnOf(field)}`);
    return [field, decode(codec, value)];
  });
  return Object.fromEntries(entries) as T;
}

/** Insert one row. */
export async function insertRow(db: Database, table: string, cells: Cells): Promise<void> {
  const names = Object.keys(cells);
  const places = names.map(() => '?').join(', ');
  await db.run(`INSERT INTO ${table} (${names.join(', ')}) VALUES (${places})`, Object.values(cells));
}

/**
 * Write the cells that differ from what the one row with these keys has.
 * Resolves to whether anything was written. Throws when there is no such row.
 */
export async function updateRow(db: Database, table: string, keys: Cells, cells: Cells): Promise<boolean> {
  const where = Object.keys(keys).map((key) => `${key} = ?`);
  const filter = `WHERE ${where.join(' AND ')}`;
  const row = await db.get(`SELECT * FROM ${table} ${filter}`, Object.values(keys));
  if (row === undefined) throw new Error(`${table} has no row ${Object.values(keys).join(', ')}`);
  const changed = Object.entries(cells).filter(([column, value]) => row[column] !== value);
  if (changed.length === 0) return false;
  const assignments = changed.map(([column]) => `${column} = ?`).join(', ');
  const values = changed.map(([, value]) => value);
  await db.run(`UPDATE ${table} SET ${assignments} ${filter}`, [...values, ...Object.values(keys)]);
  return true;
}

/** The next free ordinal, from 1, among a run's rows of a table. */
export async function nextOrdinal(
  db: Database,
  table: 'repos' | 'agents' | 'guidance',
  runId: string,
): Promise<number> {
  const row = await db.get(`SELECT max(ordinal) AS last FROM ${table} WHERE run_id = ?`, [runId]);
  return Number(row?.last ?? 0) + 1;
}

function columnOf(field: string): string {
  return field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function encode(codec: Codec, value: unknown, field: string): SqlValue {
  switch (codec) {
    case 'flag':
      return value === true ? 1 : 0;
    case 'json':
      return JSON.stringify(value);
    case 'json_or_null':
      return value === null ? null : JSON.stringify(value);
    case 'plain':
      if (typeof value === 'number') {
        if (!Number.isFinite(value)) throw new Error(`${field} is ${value}`);
        // Times that the file system gives have fractions of a millisecond.
        return Math.trunc(value);
      }
      if (value === null || typeof value === 'string') return value;
      throw new Error(`${field} is ${typeof value}`);
  }
}

function decode(codec: Codec, value: SqlValue): unknown {
  if (codec === 'plain' || value === null) return value;
  return codec === 'flag' ? value === 1 : JSON.parse(String(value));
}
