/** The layout of the database, as an ordered list of changes that only ever grows. */
import type { Database } from './database.js';
import { StateProblem } from './problem.js';

const FIRST = `
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  ticket_id TEXT NOT NULL,
  -- Relative to the folder that the state folder lies in: moving the whole tree keeps it.
  manifest_path TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('created', 'planning', 'running', 'awaiting_guidance', 'paused', 'failed',
    'completed', 'stopping', 'stopped', 'closing', 'closed')),
  reason TEXT,
  detail TEXT,
  outcome TEXT CHECK (outcome IN ('delivered', 'abandoned')),
  intent TEXT NOT NULL CHECK (json_valid(intent)),
  workspace TEXT NOT NULL,
  token TEXT NOT NULL,
  session TEXT NOT NULL CHECK (session IN ('tmux', 'process')),
  ticket_root TEXT,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX runs_by_ticket ON runs (ticket_id);
CREATE INDEX runs_by_manifest ON runs (manifest_path);

CREATE TABLE repos (
  run_id TEXT NOT NULL REFERENCES runs (id),
  name TEXT NOT NULL,
  ordinal INTEGER NOT NULL,
  source TEXT NOT NULL,
  path TEXT NOT NULL,
  branch TEXT NOT NULL,
  base_branch TEXT NOT NULL,
  base_ref TEXT,
  base_commit TEXT,
  placed TEXT NOT NULL CHECK (json_valid(placed)),
  removed INTEGER NOT NULL CHECK (removed IN (0, 1)),
  PRIMARY KEY (run_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE steps (
  run_id TEXT NOT NULL REFERENCES runs (id),
  id TEXT NOT NULL,
  kind TEXT NOT NULL,
  ordinal INTEGER NOT NULL,
  input_hash TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('pending', 'running', 'done', 'failed', 'skipped')),
  attempts INTEGER NOT NULL CHECK (attempts >= 0),
  started_at INTEGER,
  ended_at INTEGER,
  error TEXT,
  log TEXT,
  child TEXT CHECK (child IS NULL OR json_valid(child)),
  removed INTEGER NOT NULL CHECK (removed IN (0, 1)),
  PRIMARY KEY (run_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE agents (
  run_id TEXT NOT NULL REFERENCES runs (id),
  name TEXT NOT NULL,
  ordinal INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('pending', 'starting', 'running', 'exited', 'completed', 'failed', 'dead',
    'stopped', 'unknown')),
  health TEXT NOT NULL CHECK (health IN ('healthy', 'idle', 'stalled', 'failed', 'dead', 'unknown', 'none')),
  health_reason TEXT,
  attempt INTEGER NOT NULL CHECK (attempt >= 0),
  session TEXT NOT NULL CHECK (session IN ('tmux', 'process')),
  session_name TEXT NOT NULL,
  tmux_socket TEXT,
  cwd TEXT NOT NULL,
  sentinel_dir TEXT NOT NULL,
  pid INTEGER,
  pid_start TEXT,
  boot_id TEXT,
  host TEXT,
  exit_code INTEGER,
  signal TEXT,
  started_at INTEGER,
  ended_at INTEGER,
  last_output_at INTEGER,
  last_progress_at INTEGER,
  progress TEXT,
  stopped_attempt INTEGER,
  starts_used INTEGER NOT NULL CHECK (starts_used >= 0),
  free_start_for TEXT,
  summary TEXT,
  completed_at INTEGER,
  removed INTEGER NOT NULL CHECK (removed IN (0, 1)),
  PRIMARY KEY (run_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE briefs (
  run_id TEXT PRIMARY KEY REFERENCES runs (id),
  ticket_document TEXT,
  ticket_document_hash TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE guidance (
  run_id TEXT NOT NULL REFERENCES runs (id),
  ordinal INTEGER NOT NULL,
  id TEXT NOT NULL,
  agent TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  request_id TEXT,
  question TEXT NOT NULL,
  context TEXT NOT NULL CHECK (json_valid(context)),
  digest TEXT NOT NULL,
  file TEXT NOT NULL,
  asked_at INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('pending', 'answered', 'delivered', 'withdrawn')),
  answer TEXT,
  answered_at INTEGER,
  PRIMARY KEY (run_id, ordinal),
  UNIQUE (run_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE evidence (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  run_id TEXT NOT NULL REFERENCES runs (id),
  criterion_id TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('command', 'worded')),
  repo TEXT,
  -- Repo name to commit: what the evidence is bound to.
  heads TEXT NOT NULL CHECK (json_valid(heads)),
  dirty INTEGER NOT NULL CHECK (dirty IN (0, 1)),
  exit_code INTEGER,
  duration_ms INTEGER,
  checked_at INTEGER NOT NULL,
  log TEXT,
  state TEXT NOT NULL CHECK (state IN ('passed', 'failed', 'void')),
  void_reason TEXT
) STRICT;
CREATE INDEX evidence_by_criterion ON evidence (run_id, criterion_id, id);

CREATE TABLE deliveries (
  run_id TEXT NOT NULL REFERENCES runs (id),
  repo TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('merge', 'pull_request', 'none')),
  state TEXT NOT NULL,
  ref TEXT,
  before TEXT,
  after TEXT,
  url TEXT,
  at INTEGER NOT NULL,
  PRIMARY KEY (run_id, repo)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  run_id TEXT REFERENCES runs (id),
  at INTEGER NOT NULL,
  type TEXT NOT NULL,
  data TEXT NOT NULL CHECK (json_valid(data))
) STRICT;
CREATE INDEX events_by_run ON events (run_id, id);
CREATE TRIGGER events_no_update BEFORE UPDATE ON events
  BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events
  BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;

CREATE TABLE locks (
  name TEXT PRIMARY KEY,
  -- Tells two times of taking apart that the same process took it.
  nonce TEXT NOT NULL,
  pid INTEGER NOT NULL,
  pid_start TEXT NOT NULL,
  host TEXT NOT NULL,
  boot_id TEXT NOT NULL,
  command TEXT NOT NULL,
  taken_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`;

/** What tells evidence apart and shows it, where criteria without a repo run, how often they were handed back. */
const EVIDENCE = `
ALTER TABLE evidence ADD COLUMN label TEXT NOT NULL DEFAULT '';
ALTER TABLE evidence ADD COLUMN command TEXT CHECK (command IS NULL OR json_valid(command));
ALTER TABLE evidence ADD COLUMN detail TEXT;
ALTER TABLE evidence ADD COLUMN source TEXT;
ALTER TABLE runs ADD COLUMN criterion_repos TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(criterion_repos));
ALTER TABLE runs ADD COLUMN fix_attempts INTEGER NOT NULL DEFAULT 0 CHECK (fix_attempts >= 0);
ALTER TABLE agents ADD COLUMN feedback TEXT CHECK (feedback IS NULL OR json_valid(feedback));
`;

/** What is delivered, and what a repository's configuration was before an agent could change it. */
const CLOSING = `
ALTER TABLE deliveries ADD COLUMN head TEXT NOT NULL DEFAULT '';
ALTER TABLE repos ADD COLUMN config_at_creation TEXT NOT NULL DEFAULT 'null' CHECK (json_valid(config_at_creation));
`;

/** `user_version` of a database is how many of these it has seen. Never change one that was released. */
const MIGRATIONS: readonly string[] = [FIRST, EVIDENCE, CLOSING];

/** The newest layout that this program knows. */
export const SCHEMA_VERSION = MIGRATIONS.length;

/**
 * Brings a database to the newest layout, or to `upTo`. Of several processes exactly one does it.
 * `version` is metawsm's own, kept for those who meet a layout they do not know. Throws `StateProblem`.
 */
export async function migrate(db: Database, version: string, upTo = SCHEMA_VERSION): Promise<void> {
  if ((await checkedVersion(db)) >= upTo) return;
  await db.transaction(async () => {
    const from = await checkedVersion(db);
    if (from >= upTo) return;
    if (from === 0 && (await db.get('SELECT name FROM sqlite_schema LIMIT 1')) !== undefined) {
      throw new StateProblem(
        'state_foreign',
        `${db.file} is a database of another program`,
        'The file was left as it is. Move it away, or name another state folder with --state.',
      );
    }
    for (const change of MIGRATIONS.slice(from, upTo)) await db.exec(change);
    await db.run(
      'INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
      ['made_by', version],
    );
    await db.exec(`PRAGMA user_version = ${upTo}`);
  });
}

/** The layout of a database; one that is newer than this program is refused. */
export async function checkedVersion(db: Database, schema = 'main'): Promise<number> {
  const version = Number((await db.get(`PRAGMA ${schema}.user_version`))?.user_version ?? 0);
  if (version <= SCHEMA_VERSION && version >= 0) return version;
  const maker = await db.get(`SELECT value FROM ${schema}.meta WHERE key = 'made_by'`).catch(() => undefined);
  const madeBy = maker === undefined ? 'a newer metawsm' : `metawsm ${maker.value}`;
  throw new StateProblem(
    'state_newer',
    `${db.file} was made by ${madeBy} (layout ${version}; this metawsm knows up to ${SCHEMA_VERSION})`,
    'The file was left as it is. Use that version or a newer one, or name another state folder with --state.',
  );
}
