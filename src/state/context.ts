import { realpath } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import type { Database } from './database.js';

/** What every part of the store works with. */
export interface StateContext {
  readonly db: Database;
  /** Milliseconds since the epoch, whole. */
  readonly now: () => number;
  /** The folder that the state folder lies in, by its real name: manifest paths are kept relative to it. */
  readonly root: string;
}

/** The folder that a state folder lies in, by its real name. */
export async function rootOf(stateFolder: string): Promise<string> {
  return dirname(await realpath(stateFolder).catch(() => resolve(stateFolder)));
}

/** A manifest's path as it is kept. The manifest and its folder need not exist. */
export async function toStoredPath(root: string, path: string): Promise<string> {
  return relative(root, await canonical(path));
}

/** A path as it is kept that moves with the tree where it lies in it, and stays where it is otherwise. */
export async function toInnerPath(root: string, path: string): Promise<string> {
  const inner = await toStoredPath(root, path);
  return inner === '..' || inner.startsWith('../') ? path : inner;
}

/** A kept path as the rest of the program sees it: absolute. */
export function fromStoredPath(root: string, stored: string): string {
  return resolve(root, stored);
}

/** One name for a file however it is reached: links in its folders are followed, the file itself is not. */
export async function canonical(path: string): Promise<string> {
  const missing = [basename(path)];
  for (let folder = dirname(resolve(path)); ; folder = dirname(folder)) {
    const real = await realpath(folder).catch(() => null);
    if (real !== null) return join(real, ...missing);
    if (dirname(folder) === folder) return resolve(path);
    missing.unshift(basename(folder));
  }
}
