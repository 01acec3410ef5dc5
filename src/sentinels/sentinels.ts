/**
 * Sentinel files: read whatever an agent left, write what metawsm has to say, set aside what is done with.
 * Nothing here trusts what lies in a workspace: no link is followed below it, nothing blocks, and nothing
 * that is read can make it throw.
 */
import { dirname, join, relative, sep } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { FoundSentinel, SentinelKind } from '../plan/observed.js';
import {
  ensureRealFolder,
  firstUnrealFolder,
  MAX_DOCUMENT_BYTES,
  moveExclusive,
  moveOver,
  moveToFresh,
  PathRefused,
  readRegular,
  sha256,
  writeAtomic,
} from '../tools/files.js';
import { parseSentinel, sentinelValue } from './parse.js';

export const SENTINEL_KINDS = [
  'guidance-request',
  'guidance-response',
  'implementation-complete',
  'validation-result',
] as const satisfies readonly SentinelKind[];

/** A folder in which sentinels may lie, somewhere below the workspace. */
export interface SentinelFolder {
  readonly place: FoundSentinel['place'];
  /** Absolute. */
  readonly dir: string;
}

export interface ReadOptions {
  /** The clock, milliseconds since the epoch. */
  readonly now?: () => number;
  /** How long to wait before a file that was written just now and is not whole is read again. */
  readonly retryMs?: number;
}

/** A file changed in this time may be in the middle of being written. */
const RECENT_MS = 2_000;
const RETRY_MS = 150;

/** Path of a kind's file in a sentinel folder. */
export function sentinelFile(dir: string, kind: SentinelKind): string {
  return join(dir, `${kind}.json`);
}

/**
 * Every sentinel file in the given folders, in their order. What is absent is left out. A folder behind a link
 * (or any other thing where a folder should be) is one problem in place of its question, so that a question
 * recorded from there still stands; nothing is read through it.
 */
export async function readSentinels(
  workspace: string,
  folders: readonly SentinelFolder[],
  options: ReadOptions = {},
): Promise<FoundSentinel[]> {
  const perFolder = await Promise.all(
    folders.map(async ({ place, dir }): Promise<FoundSentinel[]> => {
      const unreal = await firstUnrealFolder(workspace, dir);
      if (unreal?.reason === 'absent') return [];
      if (unreal !== null) {
        const kind = 'guidance-request';
        const reason = `is not read: ${unreal.path} ${unreal.reason}`;
        return [{ kind, file: sentinelFile(dir, kind), place, content: { kind: 'problem', reason } }];
      }
      const found = await Promise.all(SENTINEL_KINDS.map((kind) => readSentinel(dir, kind, place, options)));
      return found.filter((sentinel) => sentinel !== null);
    }),
  );
  return perFolder.flat();
}

/** One sentinel file of a folder that the caller knows to be a real one; null: absent. */
export async function readSentinel(
  dir: string,
  kind: SentinelKind,
  place: FoundSentinel['place'],
  options: ReadOptions = {},
): Promise<FoundSentinel | null> {
  const { now = Date.now, retryMs = RETRY_MS } = options;
  const file = sentinelFile(dir, kind);
  for (let again = false; ; again = true) {
    const read = await readRegular(file, MAX_DOCUMENT_BYTES);
    if (read.kind === 'absent') return null;
    if (read.kind === 'problem') return { kind, file, place, content: read };
    const parsed = parseSentinel(kind, read.bytes);
    if (parsed.kind === 'valid') {
      const digest = sha256(read.bytes);
      return {
        kind,
        file,
        place,
        content: { kind: 'valid', value: parsed.value, digest, mtime: read.mtime },
      };
    }
    if (again || !parsed.unfinished || Math.abs(now() - read.mtime) > RECENT_MS) {
      return { kind, file, place, content: { kind: 'problem', reason: parsed.reason } };
    }
    await pause(retryMs);
  }
}

/** An answer, as `guidance-response.json` holds it. */
export interface GuidanceResponse {
  readonly guidance_id: string;
  readonly request_id: string | null;
  readonly run_id: string;
  readonly agent: string;
  readonly question: string;
  readonly answer: string;
  /** RFC 3339, UTC. */
  readonly answered_at: string;
}

/**
 * Deliver an answer into an agent's folder. It is written whole beside the archived request, `ready` is awaited, and
 * then it is moved: after a crash, what `ready` recorded and `isPrepared` tell whether the agent has got it, also
 * when it has taken it already. Throws `PathRefused` when that is no longer a real folder.
 */
export async function writeGuidanceResponse(
  workspace: string,
  dir: string,
  response: GuidanceResponse,
  ready: () => Promise<void> = async () => {},
): Promise<void> {
  const text = sentinelText('guidance-response', response);
  const prepared = preparedFile(workspace, dir, response.guidance_id);
  await ensureRealFolder(dirname(prepared), { below: workspace });
  await writeAtomic(prepared, text);
  await ready();
  await ensureRealFolder(dir, { below: workspace });
  await moveOver(prepared, sentinelFile(dir, 'guidance-response'));
}

/** Whether an answer lies ready and was not moved to its agent yet. */
export async function isPrepared(workspace: string, dir: string, id: string): Promise<boolean> {
  return (await readRegular(preparedFile(workspace, dir, id), 0)).kind !== 'absent';
}

function preparedFile(workspace: string, dir: string, id: string): string {
  return join(archiveFolder(workspace, dir), `answer-${id}.json`);
}

/**
 * Write a sentinel by rename. Throws `PathRefused` for a folder that is not a real one below the workspace,
 * and an Error for a value that its schema or the size limit does not allow.
 */
export async function writeSentinel(
  workspace: string,
  dir: string,
  kind: SentinelKind,
  value: object,
): Promise<void> {
  const text = sentinelText(kind, value);
  await ensureRealFolder(dir, { below: workspace });
  await writeAtomic(sentinelFile(dir, kind), text);
}

/** The text of a sentinel file. Throws for a value that could not be read back. */
export function sentinelText(kind: SentinelKind, value: object): string {
  const checked = sentinelValue(kind, value);
  if (checked.kind === 'problem') throw new Error(`${kind}.json ${checked.reason}`);
  const text = `${JSON.stringify(value, null, 2)}\n`;
  if (Buffer.byteLength(text) > MAX_DOCUMENT_BYTES) throw new Error(`${kind}.json is larger than 1 MiB`);
  return text;
}

/** A file that was taken out of a sentinel folder. */
export interface Archived {
  /** Where it was. */
  readonly original: string;
  /** Where it is now, in the archive folder. */
  readonly archived: string;
  /** What was taken; null when that cannot be read (a link, a FIFO, too large). */
  readonly bytes: Buffer | null;
  /** sha256 of the bytes; null without them. */
  readonly digest: string | null;
}

/**
 * Take a request file into the archive, as it is at this moment, and say what was taken: the caller compares
 * the digest with what it recorded, and gives `putBack` what it did not expect. null: nothing was there.
 */
export async function archiveRequest(workspace: string, file: string, at: number): Promise<Archived | null> {
  return setAside(workspace, file, at);
}

/**
 * Put a file that was taken by mistake back to its place. `newer`: another lies there by now; that one stays,
 * and so does the archived one. `absent`: nothing lies in the archive under this name.
 */
export async function putBack(
  workspace: string,
  taken: { readonly archived: string; readonly original: string },
): Promise<'restored' | 'newer' | 'absent'> {
  await ensureRealFolder(dirname(taken.original), { below: workspace });
  const moved = await moveExclusive(taken.archived, taken.original);
  return moved === 'moved' ? 'restored' : moved === 'exists' ? 'newer' : 'absent';
}

/** Set an agent's earlier claims (completion and validation) in one folder aside. */
export async function archiveClaims(workspace: string, dir: string, at: number): Promise<Archived[]> {
  const taken: Archived[] = [];
  for (const kind of ['implementation-complete', 'validation-result'] as const) {
    const one = await setAside(workspace, sentinelFile(dir, kind), at);
    if (one !== null) taken.push(one);
  }
  return taken;
}

/**
 * Move whatever lies at a sentinel's place into `archive/` of the `.metawsm` folder it is in. null: nothing
 * was there. Throws `PathRefused` when a folder on the way is not a real one.
 */
export async function setAside(workspace: string, file: string, at: number): Promise<Archived | null> {
  const dir = dirname(file);
  const unreal = await firstUnrealFolder(workspace, dir);
  if (unreal?.reason === 'absent') return null;
  if (unreal !== null) throw new PathRefused(unreal.path, unreal.reason);
  if ((await readRegular(file, 0)).kind === 'absent') return null;

  const archive = archiveFolder(workspace, dir);
  await ensureRealFolder(archive, { below: workspace });
  const archived = await moveToFresh(file, archive, stamp(at));
  if (archived === null) return null;
  const read = await readRegular(archived, MAX_DOCUMENT_BYTES);
  const bytes = read.kind === 'file' ? read.bytes : null;
  return { original: file, archived, bytes, digest: bytes === null ? null : sha256(bytes) };
}

/** The archive of the innermost `.metawsm` folder that holds `dir`: several agents share their workspace's. */
export function archiveFolder(workspace: string, dir: string): string {
  const parts = relative(workspace, dir).split(sep);
  const depth = parts.lastIndexOf('.metawsm');
  return join(depth < 0 ? dir : join(workspace, ...parts.slice(0, depth + 1)), 'archive');
}

/** File in a sentinel folder in which the operator speaks to a working agent. */
export const FEEDBACK_FILE = 'operator-feedback.md';

/**
 * Append what the operator says, newest last. The same text at the same time is written once, so that it can be
 * done again after a crash. What cannot be read at its place is set aside, not written through.
 */
export async function appendFeedback(
  workspace: string,
  dir: string,
  text: string,
  at: number,
): Promise<void> {
  await ensureRealFolder(dir, { below: workspace });
  const file = join(dir, FEEDBACK_FILE);
  const read = await readRegular(file, MAX_DOCUMENT_BYTES);
  if (read.kind === 'problem') await setAside(workspace, file, at);
  const before = read.kind === 'file' ? read.bytes.toString('utf8') : '# Operator feedback\n';
  // As it will be read back: half of a character pair is no UTF-8.
  const said = text.trimEnd().replace(/\p{Cs}/gu, '\ufffd');
  const entry = `\n## ${new Date(at).toISOString()}\n\n${said}\n`;
  if (before.includes(entry)) return;
  await writeAtomic(file, `${before}${before === '' || before.endsWith('\n') ? '' : '\n'}${entry}`);
}

/** `20260203T040506789Z`: sorts by time and is a plain file name. */
function stamp(at: number): string {
  return new Date(at).toISOString().replace(/[-:.]/g, '');
}
