/** The manifests that a command line names, all of them valid, or none is used. */
import { resolve } from 'node:path';
import { type Diagnostic, formatDiagnostic } from '../manifest/diagnostic.js';
import { expandManifestArguments } from '../manifest/files.js';
import type { Intent } from '../manifest/intent.js';
import { loadManifest } from '../manifest/load.js';
import type { CommandContext } from './context.js';
import { CommandError } from './errors.js';
import { EXIT } from './exit-codes.js';

/** Load every manifest. Throws `CommandError` (65) with all problems of all of them; warnings go to stderr. */
export async function loadManifests(
  ctx: CommandContext,
  args: readonly string[],
): Promise<readonly Intent[]> {
  const expanded = await expandManifestArguments(args, ctx.cwd);
  if (!expanded.ok) throw invalid(ctx, expanded.problems);
  const problems: Diagnostic[] = [];
  const intents: Intent[] = [];
  for (const file of expanded.files) {
    const loaded = await loadManifest(file, ctx.env, ctx.cwd);
    if (!loaded.ok) {
      problems.push(...loaded.problems);
      continue;
    }
    intents.push(loaded.intent);
    for (const warning of loaded.warnings) {
      if (!ctx.json)
        ctx.stderr(`${formatDiagnostic({ ...warning, message: `warning: ${warning.message}` })}\n`);
    }
  }
  if (problems.length > 0) throw invalid(ctx, problems);
  return intents;
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
