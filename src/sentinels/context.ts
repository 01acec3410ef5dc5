/** `context.json`: where an agent is and how it signals. It also marks a workspace for whoever stands in it. */
import { dirname, join } from 'node:path';
import {
  ensureRealFolder,
  isRealFolder,
  MAX_DOCUMENT_BYTES,
  readRegular,
  writeAtomic,
} from '../tools/files.js';
import { parseJson, shapeProblem } from './parse.js';
import { context as validateContext } from './validators.generated.js';

/** Name of the folder that metawsm keeps in a workspace, and that agents may make in a repo. */
export const SENTINEL_FOLDER = '.metawsm';
const CONTEXT_FILE = 'context.json';

/** As written. Paths are absolute. */
export interface WorkspaceContext {
  readonly format_version: 1;
  readonly run_id: string;
  readonly ticket: string;
  /** null: the workspace's own, with several agents or none. */
  readonly agent: string | null;
  /** Always null: the environment says which attempt it is. */
  readonly attempt: number | null;
  readonly workspace: string;
  readonly sentinel_dir: string;
  readonly brief: string;
  readonly manifest: string;
  readonly manifest_dir: string;
  readonly state_dir: string;
  readonly repos: readonly {
    readonly name: string;
    readonly path: string;
    readonly branch: string;
    readonly base_branch: string;
    readonly base_commit: string | null;
  }[];
  readonly agents: readonly { readonly name: string; readonly sentinel_dir: string }[];
  readonly done_criteria: readonly {
    readonly kind: 'worded' | 'command';
    readonly text: string;
    readonly repo: string | null;
  }[];
  readonly signal: { readonly complete: string; readonly guidance: string; readonly validation: string };
}

/** Write a context into a sentinel folder. Throws `PathRefused` when that is not a real folder any more. */
export async function writeContext(workspace: string, dir: string, context: WorkspaceContext): Promise<void> {
  const problem = shapeProblem(validateContext, context);
  if (problem !== null) throw new Error(`${CONTEXT_FILE} ${problem}`);
  await ensureRealFolder(dir, { below: workspace });
  await writeAtomic(join(dir, CONTEXT_FILE), `${JSON.stringify(context, null, 2)}\n`);
}

export type ContextResult =
  | { readonly kind: 'absent' }
  | { readonly kind: 'context'; readonly file: string; readonly context: WorkspaceContext }
  | { readonly kind: 'problem'; readonly file: string; readonly reason: string };

/** The context in a sentinel folder. */
export async function readContext(dir: string): Promise<ContextResult> {
  const file = join(dir, CONTEXT_FILE);
  const read = await readRegular(file, MAX_DOCUMENT_BYTES);
  if (read.kind === 'absent') return read;
  if (read.kind === 'problem') return { kind: 'problem', file, reason: read.reason };
  const parsed = parseJson(read.bytes);
  if (parsed.kind === 'problem') return { kind: 'problem', file, reason: parsed.reason };
  const problem = shapeProblem(validateContext, parsed.value);
  if (problem !== null) return { kind: 'problem', file, reason: problem };
  return { kind: 'context', file, context: parsed.value as WorkspaceContext };
}

/**
 * The nearest `.metawsm/context.json` at `folder` or above it: the workspace someone stands in. A `.metawsm`
 * folder without one (the state folder, a repo's own) does not end the way up.
 */
export async function findContext(folder: string): Promise<ContextResult> {
  for (let at = folder; ; at = dirname(at)) {
    const dir = join(at, SENTINEL_FOLDER);
    if (await isRealFolder(dir)) {
      const found = await readContext(dir);
      if (found.kind !== 'absent') return found;
    }
    if (dirname(at) === at) return { kind: 'absent' };
  }
}
