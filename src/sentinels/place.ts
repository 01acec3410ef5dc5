/** Where `signal` speaks: which workspace, whose folder, for which run and attempt. */
import { dirname, join, relative, sep } from 'node:path';
import { isRealFolder } from '../tools/files.js';
import {
  type ContextResult,
  findContext,
  readContext,
  SENTINEL_FOLDER,
  type WorkspaceContext,
} from './context.js';

export interface SignalPlace {
  readonly workspace: string;
  /** The sentinel folder to write to; below the workspace. */
  readonly dir: string;
  readonly runId: string | null;
  /** null: the run has no agents. */
  readonly agent: string | null;
  /** null: the environment does not say it. */
  readonly attempt: number | null;
  /** null: there is none that can be read. */
  readonly context: WorkspaceContext | null;
}

export type PlaceResult =
  | { readonly kind: 'place'; readonly place: SignalPlace }
  | { readonly kind: 'problem'; readonly message: string; readonly hint: string };

/**
 * Find the place from what metawsm gave an agent (METAWSM_SENTINEL_DIR and the others), else from the nearest
 * `.metawsm/context.json` upward. `agent` is the one that was asked for by name. `forRun`: with several agents and
 * none named it is the operator who speaks, of the run as a whole, in the workspace's own folder.
 */
export async function findPlace(
  cwd: string,
  environment: Readonly<NodeJS.ProcessEnv>,
  agent: string | null,
  forRun = false,
): Promise<PlaceResult> {
  const env = (name: string) => environment[`METAWSM_${name}`] || null;
  const given = env('SENTINEL_DIR');
  const workspaceGiven = env('WORKSPACE') ?? (given === null ? null : workspaceOf(given));
  if (given !== null || workspaceGiven !== null) {
    if (workspaceGiven === null || !(await isRealFolder(workspaceGiven))) {
      return problem(
        `the environment names a workspace that is not there: ${workspaceGiven ?? given}`,
        'unset METAWSM_SENTINEL_DIR and METAWSM_WORKSPACE, or run this inside the workspace',
      );
    }
    if (given !== null && !isBelow(workspaceGiven, given)) {
      return problem(
        `METAWSM_SENTINEL_DIR (${given}) is not inside the workspace ${workspaceGiven}`,
        'unset it, or run this as the agent that it was set for',
      );
    }
  }
  const found: ContextResult =
    workspaceGiven === null
      ? await findContext(cwd)
      : await readContext(join(workspaceGiven, SENTINEL_FOLDER));
  if (workspaceGiven === null && found.kind === 'absent') {
    return problem(
      `this is not inside a workspace: no ${SENTINEL_FOLDER}/context.json in ${cwd} or above it`,
      'signal is for agents: run it in the workspace of a run, or set METAWSM_SENTINEL_DIR',
    );
  }
  if (workspaceGiven === null && found.kind === 'problem') {
    return problem(`${found.file} ${found.reason}`, 'apply the manifest again: it writes this file anew');
  }
  const context = found.kind === 'context' ? found.context : null;
  const workspace =
    workspaceGiven ?? (found.kind === 'absent' ? cwd : workspaceOf(dirname(found.file))) ?? cwd;
  return choose(workspace, context, env, agent, forRun);
}

/** Whose folder it is, in a workspace that was found. */
function choose(
  workspace: string,
  context: WorkspaceContext | null,
  env: (name: string) => string | null,
  asked: string | null,
  forRun: boolean,
): PlaceResult {
  const agents = context?.agents ?? [];
  const names = agents.map((agent) => agent.name).join(', ');
  if (asked !== null && context !== null && !agents.some((agent) => agent.name === asked)) {
    return problem(
      `no agent of this run is called "${asked}"`,
      names === '' ? 'it has no agents' : `its agents: ${names}`,
    );
  }
  const self = env('AGENT');
  const only = agents.length === 1 ? (agents[0]?.name ?? null) : null;
  const agent = asked ?? self ?? only;
  if (agent === null && agents.length > 1 && !forRun) {
    return problem('this run has several agents', `say who speaks: --agent NAME, one of ${names}`);
  }
  const itself = self === null || self === agent;
  const dir = (itself ? env('SENTINEL_DIR') : null) ?? folderOf(workspace, context, agent);
  if (dir === null) {
    return problem(
      `it is not known where ${agent ?? 'this run'} signals: ${join(workspace, SENTINEL_FOLDER, 'context.json')} does not say it`,
      'set METAWSM_SENTINEL_DIR, or apply the manifest again',
    );
  }
  const attempt = itself ? env('ATTEMPT') : null;
  return {
    kind: 'place',
    place: {
      workspace,
      dir,
      runId: env('RUN_ID') ?? context?.run_id ?? null,
      agent,
      attempt: attempt !== null && /^\d{1,9}$/.test(attempt) ? Number(attempt) : null,
      context,
    },
  };
}

/** An agent's folder as the context tells it, moved along with a workspace that was moved or is seen through a link. */
function folderOf(workspace: string, context: WorkspaceContext | null, agent: string | null): string | null {
  if (agent === null) return join(workspace, SENTINEL_FOLDER);
  const told = context?.agents.find((one) => one.name === agent)?.sentinel_dir;
  if (context === null || told === undefined || !isBelow(context.workspace, told)) return null;
  return join(workspace, relative(context.workspace, told));
}

/** The workspace of a sentinel folder: what is above the innermost `.metawsm` on its path. */
function workspaceOf(dir: string): string | null {
  const parts = dir.split(sep);
  const at = parts.lastIndexOf(SENTINEL_FOLDER);
  return at <= 0 ? null : parts.slice(0, at).join(sep) || sep;
}

function isBelow(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way !== '' && way !== '..' && !way.startsWith(`..${sep}`) && !way.startsWith(sep);
}

function problem(message: string, hint: string): PlaceResult {
  return { kind: 'problem', message, hint };
}
