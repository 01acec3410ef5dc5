/** What the commands share: which state folder, which run, who is told. */
import { existsSync } from 'node:fs';
import { dirname, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { World } from '../execute/world.js';
import { nextFor } from '../plan/next.js';
import type { Warning } from '../plan/observed.js';
import type { Outcome } from '../plan/outcome.js';
import type { RecordedRun } from '../plan/recorded.js';
import { isManifestPath } from '../plan/selector.js';
import type { NextCommand, Reporter } from '../report/events.js';
import { jsonReporter } from '../report/json.js';
import { humanReporter, tee } from '../report/stream.js';
import { insideWorkspace, resolveStateFolder } from '../state/folder.js';
import { Store, type StoreOptions } from '../state/store.js';
import { safeText, writeAtomic } from '../tools/files.js';
import { probe, selfIdentity } from '../tools/process.js';
import type { CommandContext } from './context.js';
import { CommandError } from './errors.js';
import { EXIT } from './exit-codes.js';
import { type CommandOptions, type Selector, selectorOf } from './options.js';

/** The state folder for a command. `manifest`: a manifest that was named, as typed. */
export async function stateFolderOf(
  ctx: CommandContext,
  manifest: string | null,
): Promise<{ readonly path: string; readonly exists: boolean }> {
  return resolveStateFolder({
    flag: ctx.globals.state,
    env: ctx.env,
    cwd: ctx.cwd,
    manifestPath: manifest === null ? null : resolve(ctx.cwd, manifest),
  });
}

/** Options of every store this process opens. */
export function storeOptions(ctx: CommandContext): StoreOptions {
  const [command = ''] = ctx.argv;
  return { version: ctx.version, owner: { ...selfIdentity(), command }, probe, now: ctx.now };
}

/** Operators steer a run from outside: a command typed inside a workspace is most likely an agent's mistake. */
export async function refuseInsideWorkspace(ctx: CommandContext): Promise<void> {
  const workspace = await insideWorkspace(ctx.cwd);
  if (workspace === null) return;
  throw new CommandError({
    exitCode: EXIT.refused,
    code: 'inside_workspace',
    message: `this folder is inside the workspace ${workspace}, where only signal, status, logs, validate and schema run`,
    hint: 'agents speak through metawsm signal; operators run this from outside the workspace',
  });
}

/** Where events go: JSON lines, or words for a person. */
export function reporterOf(ctx: CommandContext, also: Reporter | null = null): Reporter {
  const main = ctx.json
    ? jsonReporter({ write: ctx.stdout, now: ctx.now })
    : humanReporter({
        stdout: ctx.stdout,
        stderr: ctx.stderr,
        quiet: ctx.quiet,
        verbose: ctx.verbose,
        color: ctx.color,
        colorStderr: ctx.colorStderr,
      });
  return also === null ? main : tee(main, also);
}

/** The world that steps are executed in. The caller closes its store. */
export function worldOf(ctx: CommandContext, store: Store, stateFolder: string, reporter: Reporter): World {
  return {
    store,
    stateFolder,
    env: { ...ctx.env },
    now: ctx.now,
    reporter,
    signal: ctx.signal,
    self: { node: process.execPath, main: fileURLToPath(new URL('../main.js', import.meta.url)) },
  };
}

/** The run that a command line names, with its store open. The caller closes the store. */
export interface Selected {
  readonly store: Store;
  readonly stateFolder: string;
  readonly run: RecordedRun;
}

/**
 * Find the run of `<sel>`, `--run-id` or `--ticket`. Throws `CommandError` (64) when there is none, with what
 * there is. A manifest that cannot be read is no error here: the record counts. `look` reads where nothing can be
 * written; `read` leaves no trace at all.
 */
export async function selectRun(
  ctx: CommandContext,
  positionals: readonly string[],
  options: CommandOptions,
  mode: 'write' | 'look' | 'read' = 'write',
): Promise<Selected> {
  const selector = selectorOf(positionals, options);
  if (selector === null) {
    throw new CommandError({
      exitCode: EXIT.usage,
      code: 'usage',
      message: 'no run is named',
      hint: 'name a manifest, a run id or a ticket id; metawsm runs lists them',
    });
  }
  const manifest = selector.kind === 'any' && isManifestPath(selector.text) ? selector.text : null;
  const folder = await stateFolderOf(ctx, manifest);
  const open = { write: Store.open, look: Store.openForLook, read: Store.openReadOnly }[mode];
  const store = await open.call(Store, folder.path, storeOptions(ctx));
  if (store === null) throw unknownRun(selector, [], folder.path);
  try {
    const run = await findRun(ctx, store, selector, manifest);
    if (run.kind === 'unknown') throw unknownRun(selector, run.known, folder.path);
    return { store, stateFolder: folder.path, run: run.run };
  } catch (error) {
    await store.close();
    throw error;
  }
}

async function findRun(ctx: CommandContext, store: Store, selector: Selector, manifest: string | null) {
  const typed =
    selector.kind === 'any'
      ? selector.text
      : selector.kind === 'run'
        ? { runId: selector.id }
        : { ticket: selector.id };
  const found = await store.resolveSelector(typed, ctx.cwd);
  if (found.kind === 'run' || manifest === null) return found;
  // A manifest that was moved since: its run is the one of its ticket, if it can be read.
  const { loadManifest } = await import('../manifest/load.js');
  const loaded = await loadManifest(manifest, ctx.env, ctx.cwd);
  if (!loaded.ok) return found;
  const { existsSync } = await import('node:fs');
  const moved = await store.resolveManifestRun(
    loaded.intent.manifestPath,
    loaded.intent.ticket.id,
    existsSync,
  );
  return moved.kind === 'run' ? { kind: 'run' as const, run: moved.run } : found;
}

function unknownRun(selector: Selector, known: readonly RecordedRun[], stateFolder: string): CommandError {
  const typed = selector.kind === 'any' ? selector.text : selector.id;
  const what = selector.kind === 'run' ? 'run id' : selector.kind === 'ticket' ? 'ticket' : 'run';
  const list = known
    .map((run) => `  ${run.id}  ${run.ticketId}  ${run.state}  ${run.manifestPath}`)
    .join('\n');
  return new CommandError({
    exitCode: EXIT.usage,
    code: 'unknown_run',
    message: `there is no ${what} "${typed}" in ${stateFolder}`,
    hint:
      known.length === 0
        ? 'there are no runs here yet; metawsm apply <manifest> makes one'
        : `there are:\n${list}`,
  });
}

/** A path as a person would type it here: relative where that is shorter. */
export function typedPath(ctx: CommandContext, path: string): string {
  const near = relative(ctx.cwd, path);
  return near !== '' && near.length < path.length ? near : path;
}

/** Write what a command was asked to put into a file. */
export async function writeAsked(what: string, file: string, text: string, mode?: number): Promise<void> {
  try {
    await writeAtomic(file, text, mode === undefined ? {} : { mode });
  } catch (cause) {
    throw new CommandError({
      exitCode: EXIT.failed,
      code: 'cannot_write',
      message: `the ${what} cannot be written: ${cause instanceof Error ? cause.message : String(cause)}`,
      hint: 'name a file in a folder that is there and may be written to',
      cause,
    });
  }
}

/** The next command to type, complete: typed as it is here, it does that to this very run. */
export async function nextCommand(
  ctx: CommandContext,
  run: RecordedRun,
  outcome: Outcome | null,
  { store, stateFolder }: Pick<World, 'store' | 'stateFolder'>,
  busy = false,
): Promise<NextCommand | null> {
  if (run.state === 'closed') return null;
  const file = run.intent.manifestPath;
  // Most commands do not run inside a workspace: there it is typed where the manifest is.
  const away =
    (await insideWorkspace(ctx.cwd)) === null ? null : dirname(existsSync(file) ? file : stateFolder);
  const at: CommandContext = away === null ? ctx : { ...ctx, cwd: away };
  const selects = async (word: string): Promise<boolean> => {
    const found = await store.resolveSelector(word, at.cwd);
    return found.kind === 'run' && found.run.id === run.id;
  };
  const manifest = existsSync(file) && (await selects(file)) ? typedPath(at, file) : null;
  const next = nextFor(run, outcome, manifest, busy);
  if (next === null) return null;
  const [, command, word] = next.argv;
  const state = await stateWords(at, command === 'apply' ? (word ?? null) : null, stateFolder);
  const argv = [...next.argv, ...state];
  const typed = argv.map(shellWord).join(' ');
  const text = away === null ? typed : `cd ${shellWord(away)} && ${typed}`;
  return { argv, text, why: next.why };
}

/** What to type after apply refused what a manifest asks for: what was to be done before has to wait for that. */
export async function planCommand(
  ctx: CommandContext,
  manifestPath: string,
  { stateFolder }: Pick<World, 'stateFolder'>,
): Promise<NextCommand> {
  const manifest = typedPath(ctx, manifestPath);
  const argv = ['metawsm', 'plan', manifest, ...(await stateWords(ctx, manifest, stateFolder))];
  return { argv, text: argv.map(shellWord).join(' '), why: 'see what the manifest asks for as it is now' };
}

/** Makes of each command in a text what, typed as it is here, does that to the run that is meant. */
export type Spelling = (text: string) => string;

/** How texts about a run are shown: they are written where nobody knows which state folder is found from here. */
export async function spellingFor(
  ctx: CommandContext,
  run: RecordedRun,
  { stateFolder }: Pick<World, 'stateFolder'>,
): Promise<Spelling> {
  const state = await stateWords(ctx, null, stateFolder);
  if (state.length === 0) return (text) => text;
  const words = [run.selector, ...state].map(shellWord).join(' ');
  const selector = run.selector.replaceAll('.', '\\.');
  const command = new RegExp(`\\bmetawsm ([a-z]+) ${selector}(?![\\w-]|\\.\\w)`, 'g');
  return (text) => text.replace(command, (_, word: string) => `metawsm ${word} ${words}`);
}

/** `--state`, where it was given by hand, or another state folder would be found without it. */
async function stateWords(
  ctx: CommandContext,
  manifest: string | null,
  stateFolder: string,
): Promise<readonly string[]> {
  const given = ctx.globals.state;
  if (given !== null) return ['--state', given];
  const found = await stateFolderOf(ctx, manifest).catch(() => null);
  return found?.path === stateFolder ? [] : ['--state', typedPath(ctx, stateFolder)];
}

function shellWord(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** What is wrong with a run's manifest as it is now: no more than a warning where the recorded run counts. */
export async function brokenManifest(ctx: CommandContext, run: RecordedRun): Promise<Warning | null> {
  const { loadManifest } = await import('../manifest/load.js');
  const file = run.intent.manifestPath;
  const loaded = await loadManifest(file, ctx.env, ctx.cwd);
  if (loaded.ok) return null;
  const [first] = loaded.problems;
  return {
    code: 'manifest_broken',
    message: `the manifest cannot be used as it is now (${first?.message ?? 'invalid'}); the recorded run counts`,
    file,
  };
}

/** A broken manifest is a warning for commands that work on the recorded run. */
export async function warnOfBrokenManifest(
  ctx: CommandContext,
  run: RecordedRun,
  reporter: Reporter,
): Promise<void> {
  const warning = await brokenManifest(ctx, run);
  if (warning !== null) reporter.emit({ type: 'warning', runId: run.id, ...warning });
}

/** The same for a command without events, where the run was named by its manifest. */
export async function warnOfNamedManifest(
  ctx: CommandContext,
  positionals: readonly string[],
  run: RecordedRun,
): Promise<void> {
  if (!positionals.some(isManifestPath)) return;
  const warning = await brokenManifest(ctx, run);
  if (warning !== null) ctx.stderr(`warning: ${safeText(`${warning.file}: ${warning.message}`)}\n`);
}
