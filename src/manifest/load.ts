import { dirname, resolve } from 'node:path';
import { intentOf } from './build.js';
import { type Diagnostic, type Finding, inOrder, pointer } from './diagnostic.js';
import type { Env } from './expand.js';
import type { Intent } from './intent.js';
import type { Manifest } from './manifest.generated.js';
import { readManifestText, type TextProblem } from './read.js';
import { semanticFindings, semanticWarnings } from './semantics.js';
import { shapeFindings } from './shape.js';
import { at as valueAt } from './view.js';
import { parseManifestText } from './yaml.js';

export type LoadedManifest =
  | { readonly ok: true; readonly intent: Intent; readonly warnings: readonly Diagnostic[] }
  | { readonly ok: false; readonly problems: readonly Diagnostic[] };

/**
 * Reads a manifest and makes its intent explicit, or says everything that is wrong with it, in the order of the file.
 * Reads nothing but that file; a relative `file` starts at `cwd` and stays relative in the diagnostics.
 */
export async function loadManifest(file: string, env: Env, cwd = process.cwd()): Promise<LoadedManifest> {
  if (file.includes('\0')) return fail(file, [whole('is no file name')]);
  const manifestPath = resolve(cwd, file);
  const read = await readManifestText(manifestPath);
  if (!read.ok) return fail(file, read.problems);

  const parsed = await parseManifestText(read.text);
  const { value, locate } = parsed;
  const diagnostic = ({ path, at, message, suggestion }: Finding): Diagnostic => ({
    file,
    ...locate(path, at),
    path: pointer(path),
    message,
    suggestion,
  });
  const findings = [...parsed.findings];
  if (value !== undefined) {
    findings.push(...shapeFindings(value));
    findings.push(...semanticFindings(value, env, dirname(manifestPath)));
  }
  const problems = [...read.problems, ...parsed.problems];
  if (value === undefined || problems.length > 0 || findings.length > 0) {
    // A key or text that a control character stands in was reported for that.
    const isSpoilt = ({ path, at: which }: Finding): boolean => {
      const text = which === 'key' ? path.at(-1) : valueAt(value, path);
      return read.problems.length > 0 && typeof text === 'string' && text.includes('\ufffd');
    };
    const more = findings.filter((finding) => !isSpoilt(finding));
    return fail(file, problems, more.map(diagnostic));
  }
  // Without findings, the data has the shape of the schema.
  const manifest = value as unknown as Manifest;
  const warnings = semanticWarnings(value).map(diagnostic);
  return { ok: true, intent: intentOf(manifest, manifestPath, env), warnings: inOrder(warnings) };
}

function fail(
  file: string,
  problems: readonly TextProblem[],
  more: readonly Diagnostic[] = [],
): LoadedManifest {
  const located = problems.map((problem) => ({ file, path: '', ...problem }));
  return { ok: false, problems: inOrder([...located, ...more]) };
}

function whole(message: string): TextProblem {
  return { line: 1, column: 1, message, suggestion: null };
}
