/** Which run is meant: by a manifest, or by what an operator typed. */
import { resolve } from 'node:path';
import { isOpen } from '../plan/lifecycle.js';
import type { RecordedRun } from '../plan/recorded.js';
import { isManifestPath } from '../plan/selector.js';
import { type StateContext, toStoredPath } from './context.js';
import { readRuns } from './runs.js';

/** What an operator typed: a word, or `--run-id`, or `--ticket`. */
export type Selector = string | { readonly runId: string } | { readonly ticket: string };

export type Selected =
  | { readonly kind: 'run'; readonly run: RecordedRun }
  /** No such run. `known`: what there is, newest first, at most 20. */
  | { readonly kind: 'unknown'; readonly selector: string; readonly known: readonly RecordedRun[] };

export type ManifestRun =
  /** A run for it is still to be made. */
  | { readonly kind: 'none' }
  | {
      readonly kind: 'run';
      readonly run: RecordedRun;
      /** `ticket`: the manifest it is recorded under is gone, so this one is taken for it, moved. */
      readonly via: 'path' | 'ticket';
      /** The run found is closed, and this one of another manifest holds the ticket: no new run beside it. */
      readonly conflict: RecordedRun | null;
    }
  /** The ticket has an open run of another manifest. */
  | { readonly kind: 'conflict'; readonly run: RecordedRun };

/** The run that an operator means. A relative manifest path is relative to `cwd`. */
export async function resolveSelector(
  context: StateContext,
  selector: Selector,
  cwd: string,
): Promise<Selected> {
  const run = await findSelected(context, selector, cwd);
  if (run !== null) return { kind: 'run', run };
  const word =
    typeof selector === 'string' ? selector : 'runId' in selector ? selector.runId : selector.ticket;
  return { kind: 'unknown', selector: word, known: await readRuns(context, 'true', [], 20) };
}

async function findSelected(
  context: StateContext,
  selector: Selector,
  cwd: string,
): Promise<RecordedRun | null> {
  if (typeof selector !== 'string') {
    return 'runId' in selector ? byId(context, selector.runId) : byTicket(context, selector.ticket);
  }
  if (isManifestPath(selector)) {
    const path = await toStoredPath(context.root, resolve(cwd, selector));
    return current(await readRuns(context, 'manifest_path = ?', [path]));
  }
  return (await byId(context, selector)) ?? byTicket(context, selector);
}

/** The run of a manifest (PRODUCT: Which run). `exists` says whether a recorded manifest is still there. */
export async function resolveManifestRun(
  context: StateContext,
  manifestPath: string,
  ticketId: string,
  exists: (path: string) => boolean | Promise<boolean>,
): Promise<ManifestRun> {
  const path = await toStoredPath(context.root, manifestPath);
  const own = current(await readRuns(context, 'manifest_path = ?', [path]));
  if (own !== null && isOpen(own.state)) return { kind: 'run', run: own, via: 'path', conflict: null };
  const others = await readRuns(context, 'ticket_id = ? AND manifest_path <> ?', [ticketId, path]);
  if (own !== null) {
    return { kind: 'run', run: own, via: 'path', conflict: others.find((run) => isOpen(run.state)) ?? null };
  }
  const gone: RecordedRun[] = [];
  const there: RecordedRun[] = [];
  for (const run of others) ((await exists(run.manifestPath)) ? there : gone).push(run);
  const conflict = there.find((run) => isOpen(run.state)) ?? null;
  const moved = current(gone);
  if (moved !== null && (isOpen(moved.state) || conflict === null)) {
    return { kind: 'run', run: moved, via: 'ticket', conflict };
  }
  return conflict === null ? { kind: 'none' } : { kind: 'conflict', run: conflict };
}

async function byId(context: StateContext, id: string): Promise<RecordedRun | null> {
  return (await readRuns(context, 'id = ?', [id]))[0] ?? null;
}

async function byTicket(context: StateContext, ticket: string): Promise<RecordedRun | null> {
  return current(await readRuns(context, 'ticket_id = ?', [ticket]));
}

/** Of several runs, newest first, the one that counts: the newest that is not closed, else the newest. */
function current(runs: readonly RecordedRun[]): RecordedRun | null {
  return runs.find((run) => isOpen(run.state)) ?? runs[0] ?? null;
}
