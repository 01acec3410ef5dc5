import { resolve } from 'node:path';
import { type Diagnostic, formatDiagnostic } from '../manifest/diagnostic.js';
import { expandManifestArguments } from '../manifest/files.js';
import { loadManifest } from '../manifest/load.js';
import type { CommandModule } from './commands.js';
import { EXIT } from './exit-codes.js';

export const run: CommandModule['run'] = (ctx, files) => validateCommand(files, ctx);

export interface ValidateOptions {
  readonly json: boolean;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
}

/** What was found out about one file. */
interface Checked {
  readonly file: string;
  readonly problems: readonly Diagnostic[];
  readonly warnings: readonly Diagnostic[];
}

/** `metawsm validate <manifest…>`: schema and semantic checks only. Returns 0, or 65 when a manifest is invalid. */
export async function validateCommand(files: readonly string[], options: ValidateOptions): Promise<number> {
  const checked = await checkAll(files, options);
  const isValid = checked.every(({ problems }) => problems.length === 0);
  if (options.json) options.stdout(`${JSON.stringify(document(checked, options.cwd))}\n`);
  else print(checked, options);
  return isValid ? EXIT.done : EXIT.invalid;
}

async function checkAll(files: readonly string[], { cwd, env }: ValidateOptions): Promise<Checked[]> {
  const checked: Checked[] = [];
  for (const file of files) {
    // One at a time, so that a folder without manifests does not hide what is wrong with the others.
    const expanded = await expandManifestArguments([file], cwd);
    if (!expanded.ok) {
      checked.push({ file, problems: expanded.problems, warnings: [] });
      continue;
    }
    for (const manifest of expanded.files) {
      if (checked.some((other) => resolve(cwd, other.file) === resolve(cwd, manifest))) continue;
      const loaded = await loadManifest(manifest, env, cwd);
      checked.push({
        file: manifest,
        problems: loaded.ok ? [] : loaded.problems,
        warnings: loaded.ok ? loaded.warnings : [],
      });
    }
  }
  return checked;
}

function print(checked: readonly Checked[], { stdout, stderr }: ValidateOptions): void {
  for (const { file, problems, warnings } of checked) {
    for (const problem of problems) stderr(`${formatDiagnostic(problem)}\n`);
    for (const warning of warnings) {
      stderr(`${formatDiagnostic({ ...warning, message: `warning: ${warning.message}` })}\n`);
    }
    if (problems.length === 0) stdout(`${file}: valid\n`);
  }
}

/** The document of `validate --json`: see schemas/validate.schema.json. */
function document(checked: readonly Checked[], cwd: string) {
  return {
    format_version: 1,
    kind: 'validate',
    valid: checked.every(({ problems }) => problems.length === 0),
    files: checked.map(({ file, problems }) => ({
      file: resolve(cwd, file),
      valid: problems.length === 0,
      problems: problems.map(({ line, column, path, message, suggestion }) => ({
        file: resolve(cwd, file),
        line,
        column,
        path,
        message,
        suggestion,
      })),
    })),
  };
}
