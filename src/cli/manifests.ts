/** The manifests that a command line names, all of them valid, or none is used. */
import { resolve } from 'node:path';
import { type Diagnostic, formatDiagnostic } from '../manifest/diagnostic.js';
import { expandManifestArguments } from '../manifest/files.js';
import type { Intent } from '../manifest/intent.js';
import { loadManifest } from '../manifest/load.js';
import type { Warning } from '../plan/observed.js';
import type { CommandContext } from './context.js';
import { CommandError } from './errors.js';
import { EXIT } from './exit-codes.js';

export interface ValidManifest {
  readonly intent: Intent;
  /** What a document or a stream has to tell of it: for a person it is on stderr already. */
  readonly warnings: readonly Warning[];
}

/** Load every manifest. Throws `CommandError` (65) with all problems of all of them. */
export async function loadManifests(
  ctx: CommandContext,
  args: readonly string[],
): Promise<readonly ValidManifest[]> {
  const expanded = await expandManifestArguments(args, ctx.cwd);
  if (!expanded.ok) throw invalid(ctx, expanded.problems);
  const problems: Diagnostic[] = [];
  const valid: ValidManifest[] = [];
  for (const file of expanded.files) {
    const loaded = await loadManifest(file, ctx.env, ctx.cwd);
    if (!loaded.ok) {
      problems.push(...loaded.problems);
      continue;
    }
    valid.push({ intent: loaded.intent, warnings: ctx.json ? loaded.warnings.map(asWarning) : [] });
    if (ctx.json) continue;
    for (const warning of loaded.warnings) {
      ctx.stderr(`${formatDiagnostic({ ...warning, message: `warning: ${warning.message}` })}\n`);
    }
  }
  if (problems.length > 0) throw invalid(ctx, problems);
  return valid;
}

function asWarning(warning: Diagnostic): Warning {
  return { code: 'manifest', message: formatDiagnostic(warning), file: resolve(warning.file) };
}

function invalid(ctx: CommandContext, problems: readonly Diagnostic[]): CommandError {
  const files = new Set(problems.map((problem) => problem.file));
  return new CommandError({
    exitCode: EXIT.invalid,
    code: 'invalid_manifest',
    message: `${problems.length} ${problems.length === 1 ? 'problem' : 'problems'} in ${[...files].join(', ')}; nothing was done`,
    // A person finds a file as it was typed, a program by its whole path.
    problems: ctx.json
      ? problems.map((problem) => ({ ...problem, file: resolve(ctx.cwd, problem.file) }))
      : problems,
  });
}
