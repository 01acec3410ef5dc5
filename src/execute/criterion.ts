/** One command criterion as a process: its output in a file, its whole tree ended with it or when its time is up. */
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { readdir, unlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Command } from '../manifest/intent.js';
import { durationText } from '../report/stream.js';
import { shellArgv } from '../sessions/argv.js';
import { readRegular, tailLines } from '../tools/files.js';
import { type ProcessIdentity, probe, processStart, selfIdentity, terminateTree } from '../tools/process.js';
import { type CommandEnd, howItEnded } from './command-end.js';

/** What to run, and where. */
export interface CriterionRun {
  readonly command: Command;
  readonly cwd: string;
  readonly timeoutMs: number;
  /** Its stdout and stderr; made anew. */
  readonly log: string;
  readonly env: NodeJS.ProcessEnv;
  /** Aborted when the operator interrupts: the tree is ended, and the call throws. */
  readonly signal: AbortSignal;
  /** The newest line of its output, now and then. */
  readonly output: (line: string) => void;
}

/** How it ended. */
export interface CriterionEnd {
  readonly passed: boolean;
  /** null: it did not end by itself, or could not be started. */
  readonly exitCode: number | null;
  readonly durationMs: number;
  /** How it ended, as a clause; null: with status 0. */
  readonly detail: string | null;
}

/** How long the tree may take to end after SIGTERM, before SIGKILL. */
const GRACE_MS = 500;
const PROGRESS_MS = 1_000;
/** The longest time that a timer takes. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Run a criterion to its end. Throws the signal's reason when it is interrupted. */
export async function runCriterion(run: CriterionRun): Promise<CriterionEnd> {
  run.signal.throwIfAborted();
  mkdirSync(dirname(run.log), { recursive: true, mode: 0o700 });
  const { execa } = await import('execa');
  const fd = openSync(run.log, 'w', 0o600);
  const begun = performance.now();
  const [file = '', ...args] = shellArgv(run.command, run.env);
  try {
    // Its own process group: an interrupt at the terminal reaches metawsm alone, which ends the group itself.
    const child = execa(file, args, {
      cwd: run.cwd,
      env: run.env,
      extendEnv: false,
      detached: true,
      cleanup: false,
      reject: false,
      stdin: 'ignore',
      stdout: fd as 1,
      stderr: fd as 1,
      buffer: false,
    });
    const end = await untilItsEnd(child, run);
    const durationMs = Math.round(performance.now() - begun);
    if (end === 'timeout') {
      const detail = `timed out after ${durationText(run.timeoutMs)}`;
      return { passed: false, exitCode: null, durationMs, detail };
    }
    return { passed: !end.failed, exitCode: end.exitCode ?? null, durationMs, detail: howItEnded(end) };
  } finally {
    closeSync(fd);
  }
}

type Child = PromiseLike<CommandEnd> & { readonly pid?: number | undefined };

async function untilItsEnd(child: Child, run: CriterionRun): Promise<CommandEnd | 'timeout'> {
  const { pid } = child;
  const pidStart = pid === undefined ? null : processStart(pid);
  const identity = pid === undefined || pidStart === null ? null : { pid, pidStart };
  const mark = identity === null ? null : await leaveMark(dirname(run.log), identity);
  let told = '';
  const progress = setInterval(() => {
    void tailLines(run.log, 1).then(([line]) => {
      if (line === undefined || line === told) return;
      told = line;
      run.output(line);
    });
  }, PROGRESS_MS);
  let timer: NodeJS.Timeout | undefined;
  let abort: (() => void) | undefined;
  try {
    return await Promise.race([
      child,
      new Promise<'timeout'>((resolve) => {
        timer = setTimeout(() => resolve('timeout'), Math.min(run.timeoutMs, LONGEST_TIMER_MS));
      }),
      new Promise<never>((_resolve, reject) => {
        abort = () => reject(run.signal.reason);
        if (run.signal.aborted) abort();
        else run.signal.addEventListener('abort', abort, { once: true });
      }),
    ]);
  } finally {
    clearInterval(progress);
    clearTimeout(timer);
    if (abort !== undefined) run.signal.removeEventListener('abort', abort);
    if (identity !== null) await terminateTree(identity, { graceMs: GRACE_MS });
    if (mark !== null) await unlink(mark).catch(() => undefined);
  }
}

const MARK = /^running-\d+\.json$/;

/** While a command runs, a file says which process it is and whose: nobody else ends it after a crash. */
async function leaveMark(folder: string, child: ProcessIdentity): Promise<string | null> {
  const file = join(folder, `running-${child.pid}.json`);
  return writeFile(file, JSON.stringify({ child, owner: selfIdentity() }), { mode: 0o600 }).then(
    () => file,
    () => null,
  );
}

/** End the commands that a metawsm left running when it was killed: they would disturb the next check. */
export async function endLeftovers(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  for (const name of names.filter((each) => MARK.test(each))) {
    const file = join(folder, name);
    const read = await readRegular(file, 65_536);
    if (read.kind !== 'file') continue;
    const marked = parseMark(read.bytes.toString('utf8'));
    if (marked !== null && probe(marked.owner) !== 'dead') continue;
    if (marked !== null) await terminateTree(marked.child, { graceMs: GRACE_MS });
    await unlink(file).catch(() => undefined);
  }
}

function parseMark(text: string): { child: ProcessIdentity; owner: ProcessIdentity } | null {
  try {
    return JSON.parse(text) as { child: ProcessIdentity; owner: ProcessIdentity };
  } catch {
    return null;
  }
}
