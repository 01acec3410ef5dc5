/** Folders in the system's temporary directory, for what must leave no trace in a repository or the state folder. */
import { lstatSync, readdirSync, rmSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isTemporary, temporaryName, writerOf } from './temporary.js';

const NAME = 'metawsm';

/** Calls `work` with an empty folder that only this user may enter, and removes it then. Throws what `work` throws. */
export async function withScratchFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  removeAbandoned();
  const folder = temporaryName(join(tmpdir(), NAME));
  await mkdir(folder, { mode: 0o700 });
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** What a killed process left. The directory is everybody's: only this user's own folders are touched. */
function removeAbandoned(): void {
  const user = process.getuid?.();
  for (const name of namesIn(tmpdir())) {
    if (!name.startsWith(`.${NAME}.`) || !isTemporary(name) || writerOf(name) !== 'dead') continue;
    const folder = join(tmpdir(), name);
    try {
      const stats = lstatSync(folder);
      if (stats.isDirectory() && stats.uid === user) rmSync(folder, { recursive: true, force: true });
    } catch {
      // Another process removes it, too.
    }
  }
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
