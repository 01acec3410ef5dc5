/** The docmgr program. Data is read from stdout only: its log goes to stderr, and no rows are no output. */
import { spawn } from 'node:child_process';
import { statSync } from 'node:fs';
import { dirname, isAbsolute } from 'node:path';
import { ToolFailure } from './failure.js';

/** How to get docmgr, for a person. */
const DOCMGR_HINT =
  'install it with "go install github.com/go-go-golems/docmgr/cmd/docmgr@latest", or set tickets.driver to files, which needs no program';

const TIMEOUT_MS = 60_000;

export type DocmgrRow = Readonly<Record<string, unknown>>;

export class Docmgr {
  /** `root` is the ticket tree, absolute: docmgr takes the literal `ttmp` for "not given". */
  constructor(
    readonly root: string,
    private readonly env: NodeJS.ProcessEnv = process.env,
  ) {
    if (!isAbsolute(root)) throw new Error(`docmgr needs an absolute root, not ${root}`);
  }

  /** Every ticket of the tree; none where the tree does not exist. */
  async listTickets(): Promise<DocmgrRow[]> {
    return isFolder(this.root) ? this.rows(['list', 'tickets']) : [];
  }

  async createTicket(id: string, title: string, topics: readonly string[]): Promise<DocmgrRow[]> {
    const list = topics.map((topic) => topic.replace(/[",\s]+/g, ' ').trim()).filter((topic) => topic !== '');
    return this.rows([
      ...['ticket', 'create-ticket', '--ticket', id, '--title', title],
      ...(list.length === 0 ? [] : ['--topics', list.join(',')]),
    ]);
  }

  async addDocument(id: string, docType: string, title: string): Promise<DocmgrRow[]> {
    return this.rows(['doc', 'add', '--ticket', id, '--doc-type', docType, '--title', title]);
  }

  async updateChangelog(id: string, entry: string): Promise<DocmgrRow[]> {
    return this.rows(['changelog', 'update', '--ticket', id, '--entry', entry]);
  }

  async closeTicket(id: string, entry: string): Promise<DocmgrRow[]> {
    return this.rows(['ticket', 'close', '--ticket', id, '--changelog-entry', entry]);
  }

  /** A failure of this program that its exit code did not tell. */
  failure(args: readonly string[], summary: string): ToolFailure {
    return new ToolFailure('docmgr', args, this.root, 0, '', { summary });
  }

  private async rows(command: readonly string[]): Promise<DocmgrRow[]> {
    const args = [...command, '--root', this.root, '--with-glaze-output', '--output', 'json'];
    // docmgr takes defaults from a .ttmp.yaml upward from its working directory: that of the tree counts.
    const cwd = nearestFolder(this.root);
    const stdout = await run(args, cwd, this.env);
    const rows = parseRows(stdout);
    if (rows !== null) return rows;
    const summary = `printed something else than a JSON list of rows: ${stdout.slice(0, 200).trim()}`;
    throw new ToolFailure('docmgr', args, cwd, 0, '', { summary });
  }
}

/** The rows of `--output json`: one JSON array, or nothing at all. null: it is something else. */
export function parseRows(stdout: string): DocmgrRow[] | null {
  if (stdout.trim() === '') return [];
  // Some versions print log lines, objects with a level, before the data.
  const start = stdout.search(/^\s*\[/m);
  if (start < 0) return null;
  try {
    const rows: unknown = JSON.parse(stdout.slice(start));
    return Array.isArray(rows) && rows.every(isRow) ? rows : null;
  } catch {
    return null;
  }
}

function isRow(value: unknown): value is DocmgrRow {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function run(args: readonly string[], cwd: string, env: NodeJS.ProcessEnv): Promise<string> {
  const { promise, resolve, reject } = withResolvers<string>();
  // Its own process group: a Ctrl-C at the terminal lets the call end, and the step be recorded.
  const child = spawn('docmgr', args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  const output = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  child.stdout.on('data', (chunk: Buffer) => output.stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => output.stderr.push(chunk));
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    child.kill('SIGKILL');
  }, TIMEOUT_MS);
  const fail = (exitCode: number | null, options: { cause?: unknown; summary?: string }) => {
    const stderr = withoutLog(Buffer.concat(output.stderr).toString('utf8'));
    reject(new ToolFailure('docmgr', args, cwd, exitCode, stderr, options));
  };
  child.on('error', (cause: NodeJS.ErrnoException) => {
    clearTimeout(timer);
    const summary =
      cause.code === 'ENOENT' ? `is not on PATH; ${DOCMGR_HINT}` : `could not be started: ${cause.message}`;
    fail(null, { cause, summary });
  });
  child.on('close', (exitCode) => {
    clearTimeout(timer);
    if (exitCode === 0) resolve(Buffer.concat(output.stdout).toString('utf8'));
    else fail(exitCode, timedOut ? { summary: `did not end within ${TIMEOUT_MS / 1000} s` } : {});
  });
  return promise;
}

/** Without the JSON lines of docmgr's log, so that what went wrong is not among them. */
function withoutLog(stderr: string): string {
  return stderr
    .split('\n')
    .filter((line) => !/^\s*\{"level":"(?:trace|debug|info)"/.test(line))
    .join('\n');
}

function withResolvers<T>() {
  let resolve!: (value: T) => void;
  let reject!: (reason: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function nearestFolder(path: string): string {
  let folder = path;
  while (!isFolder(folder) && dirname(folder) !== folder) folder = dirname(folder);
  return folder;
}
