import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import path from 'node:path';

/** Everything below a folder: path → type, mode, modification time, size and content hash. */
export type Snapshot = Readonly<Record<string, string>>;

/**
 * A folder as it is now. Two equal snapshots prove that nothing was written in between: no file, no folder,
 * no git ref, not even the same bytes again. A missing folder is an empty snapshot.
 */
export function snapshot(folder: string, ignore: (relative: string) => boolean = () => false): Snapshot {
  const found: Record<string, string> = {};
  const visit = (absolute: string): void => {
    const relative = path.relative(folder, absolute) || '.';
    if (ignore(relative)) return;
    const stat = lstatSync(absolute, { throwIfNoEntry: false });
    if (stat === undefined) return;
    const mode = (stat.mode & 0o7777).toString(8);
    const common = `${mode} ${stat.mtimeMs}`;
    if (stat.isDirectory()) {
      found[`${relative}/`] = common;
      for (const name of readdirSync(absolute).sort()) visit(path.join(absolute, name));
    } else if (stat.isSymbolicLink()) {
      found[relative] = `${common} -> ${readlinkSync(absolute)}`;
    } else if (stat.isFile()) {
      const hash = createHash('sha256').update(readFileSync(absolute)).digest('hex').slice(0, 16);
      found[relative] = `${common} ${stat.size} ${hash}`;
    } else {
      found[relative] = `${common} special`;
    }
  };
  visit(folder);
  return found;
}

/** Relative paths of all files below a folder, links and special files too. */
export function filesBelow(folder: string): string[] {
  return Object.keys(snapshot(folder)).filter((file) => !file.endsWith('/'));
}
