import { readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Diagnostic } from './diagnostic.js';

export type ManifestFiles =
  | { readonly ok: true; readonly files: readonly string[] }
  | { readonly ok: false; readonly problems: readonly Diagnostic[] };

/**
 * The manifests that arguments name, each once, in their order: a folder is every `*.yaml` and `*.yml` in it, by name,
 * not deeper, and none that starts with `_`. As for a shell's `*`, hidden files (an editor's `.#login.yaml`) are
 * not among them. A folder without any is a problem; whether a file exists is looked at when it is loaded.
 */
export async function expandManifestArguments(args: readonly string[], cwd: string): Promise<ManifestFiles> {
  const files = new Map<string, string>();
  const problems: Diagnostic[] = [];
  for (const arg of args) {
    const found = await manifestsIn(arg, cwd);
    if (typeof found === 'string') {
      problems.push({
        file: arg,
        line: 1,
        column: 1,
        path: '',
        message: found,
        suggestion:
          'name a manifest, or a folder with *.yaml files (those that start with _ or . are left out)',
      });
      continue;
    }
    for (const file of found) {
      const path = resolve(cwd, file);
      if (!files.has(path)) files.set(path, file);
    }
  }
  return problems.length > 0 ? { ok: false, problems } : { ok: true, files: [...files.values()] };
}

/** The manifests of one argument, as the operator would name them, or what is wrong with it. */
async function manifestsIn(arg: string, cwd: string): Promise<string[] | string> {
  if (arg === '') return 'an empty file name';
  const path = resolve(cwd, arg);
  if (!(await isFolder(path))) return [arg];
  let names: string[];
  try {
    names = await readdir(path);
  } catch (error) {
    return `the folder cannot be read (${(error as NodeJS.ErrnoException).code ?? String(error)})`;
  }
  const found: string[] = [];
  for (const name of names.filter((each) => /^[^_.].*\.ya?ml$/.test(each)).sort()) {
    // A folder that is called like a manifest is deeper.
    if (!(await isFolder(join(path, name)))) found.push(name);
  }
  if (found.length === 0) return 'the folder has no manifests';
  const folder = arg.endsWith('/') ? arg : `${arg}/`;
  return found.map((name) => folder + name);
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isDirectory(),
    () => false,
  );
}
