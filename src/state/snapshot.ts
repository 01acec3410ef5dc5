/** A look at a database that writes nothing at all: no file, no -wal, no -shm. */
import type { BigIntStats } from 'node:fs';
import { copyFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { withScratchFolder } from '../tools/scratch.js';
import { Database } from './database.js';
import { checkedVersion, migrate } from './migrations.js';
import { codeOf, fileProblem, StateProblem } from './problem.js';

const TRIES = 20;

/** From this try on a database that never is quiet is read with SQLite's own locks. */
const SHARED_FROM = 10;

/**
 * The whole database at one moment, in memory and in the newest layout; null where there is none yet.
 * Throws `StateProblem`.
 */
export async function openSnapshot(file: string, version: string): Promise<Database | null> {
  for (let tries = 1; ; tries++) {
    const before = await fingerprint(file);
    if (before === null || before.main.size === 0n) return null;
    const how = howToRead(before, tries);
    const copied = await copyToMemory(file, how, version).then(
      (db) => ({ db }),
      (error: unknown) => ({ error }),
    );
    const after = await fingerprint(file);
    // Files read beside a writer show anything, also a damaged page: only a quiet look counts.
    const quiet = after !== null && same(before, after);
    if ('db' in copied) {
      if (quiet || how === 'shared') return copied.db;
      await copied.db?.close();
    } else if (quiet || tries >= TRIES) {
      throw copied.error;
    }
    if (tries >= TRIES) {
      throw new StateProblem('state_busy', `${file} changes faster than it can be read`, 'Try again.');
    }
  }
}

/**
 * `immutable`: there is no -wal, the file is all. `copy`: both files are read elsewhere, because SQLite would
 * make a -shm or write to it. `shared`: as readers do, beside a writer that never rests.
 */
type How = 'immutable' | 'copy' | 'shared';

function howToRead({ wal, shm }: Fingerprint, tries: number): How {
  if (wal === null || wal.size === 0n) return 'immutable';
  return shm !== null && tries >= SHARED_FROM ? 'shared' : 'copy';
}

interface Fingerprint {
  readonly main: BigIntStats;
  readonly wal: BigIntStats | null;
  readonly shm: BigIntStats | null;
}

async function fingerprint(file: string): Promise<Fingerprint | null> {
  try {
    const main = await looked(file);
    if (main === null) return null;
    return { main, wal: await looked(`${file}-wal`), shm: await looked(`${file}-shm`) };
  } catch (error) {
    throw fileProblem(error, file);
  }
}

function same(before: Fingerprint, after: Fingerprint): boolean {
  const text = (stats: BigIntStats | null) =>
    stats === null ? '' : `${stats.ino} ${stats.size} ${stats.mtimeNs}`;
  return text(before.main) === text(after.main) && text(before.wal) === text(after.wal);
}

async function looked(path: string): Promise<BigIntStats | null> {
  return stat(path, { bigint: true }).catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return null;
    throw error;
  });
}

async function copyToMemory(file: string, how: How, version: string): Promise<Database | null> {
  if (how !== 'copy') return load(file, file, how === 'immutable', version);
  try {
    return await withScratchFolder(async (folder) => {
      const copy = join(folder, 'metawsm.db');
      await copyFile(file, copy);
      await copyFile(`${file}-wal`, `${copy}-wal`);
      return load(copy, file, false, version);
    });
  } catch (error) {
    throw fileProblem(error, file);
  }
}

async function load(
  path: string,
  file: string,
  immutable: boolean,
  version: string,
): Promise<Database | null> {
  const url = pathToFileURL(path);
  url.searchParams.set('mode', 'ro');
  if (immutable) url.searchParams.set('immutable', '1');
  const db = await Database.inMemory(file);
  try {
    await db.run('ATTACH DATABASE ? AS disk', [url.href]);
    const layout = await checkedVersion(db, 'disk');
    if (layout === 0) {
      const tables = await db.get('SELECT count(*) AS n FROM disk.sqlite_schema');
      if (tables?.n === 0) {
        await db.close();
        return null;
      }
      throw new StateProblem(
        'state_foreign',
        `${file} is a database of another program`,
        'The file was left as it is. Move it away, or name another state folder with --state.',
      );
    }
    // The layout as it is on the disk, its rows, and only then what is newer.
    await migrate(db, version, layout);
    await db.transaction(async () => {
      await db.exec('DELETE FROM main.meta');
      const tables = await db.all(
        "SELECT name FROM disk.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
      );
      for (const { name } of tables) await db.exec(`INSERT INTO main."${name}" SELECT * FROM disk."${name}"`);
    });
    await db.exec('DETACH DATABASE disk');
    await migrate(db, version);
    db.freeze();
    return db;
  } catch (error) {
    await db.close().catch(() => {});
    throw error;
  }
}
