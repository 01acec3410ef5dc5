/** The files inside one ticket's folder, whoever made it: documents found by title, the changelog, the status. */
import { constants } from 'node:fs';
import { open, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  ensureRealFolder,
  isRealFolder,
  moveExclusive,
  readRegular,
  safeText,
  sha256,
  writeAtomic,
} from '../tools/files.js';
import { removeLeftovers, temporaryName } from '../tools/temporary.js';
import { oneLine, setFrontmatterValue, splitDocument, topLevelScalar, yamlScalar } from './frontmatter.js';
import { documentName, localDate, nextNumber, withLineEnd } from './layout.js';
import { clearCreationLock, withCreationLock } from './lock.js';
import { type BriefDocument, type BriefWritten, TicketProblem } from './ticket.js';

/** Larger files of a ticket are not metawsm's business. */
const MAX_BYTES = 4 * 1024 * 1024;

export interface FoundDocument {
  readonly path: string;
  /** Of the whole text. */
  readonly hash: string;
  readonly text: string;
}

/** The reference document with exactly this title, or null. Of several the one with the lowest number. */
export async function findDocument(ticketFolder: string, title: string): Promise<FoundDocument | null> {
  const folder = join(ticketFolder, 'reference');
  if (!(await isRealFolder(folder))) return null;
  const wanted = oneLine(title);
  const names = (await readdir(folder)).filter((name) => name.endsWith('.md') && !name.startsWith('.'));
  for (const name of names.sort(byNumber)) {
    const path = join(folder, name);
    const read = await readRegular(path, MAX_BYTES);
    if (read.kind !== 'file') continue;
    const text = read.bytes.toString('utf8');
    const split = splitDocument(text);
    if (split === null || topLevelScalar(split.frontmatter, 'Title') !== wanted) continue;
    return { path, hash: sha256(read.bytes), text };
  }
  return null;
}

function byNumber(a: string, b: string): number {
  return (Number.parseInt(a, 10) || 0) - (Number.parseInt(b, 10) || 0) || (a < b ? -1 : 1);
}

/** Puts a new document into `reference/` under the next number, whole or not at all. Gives its path. */
export async function addDocument(ticketFolder: string, title: string, text: string): Promise<string> {
  const folder = join(ticketFolder, 'reference');
  await ensureRealFolder(folder, { below: ticketFolder });
  const names = await readdir(folder);
  removeLeftovers(folder);
  const temporary = temporaryName(join(folder, 'metawsm'));
  await writeAtomic(temporary, text);
  for (let number = nextNumber(names); ; number++) {
    const path = join(folder, documentName(number, title));
    const moved = await moveExclusive(temporary, path);
    if (moved === 'moved') return path;
    if (moved === 'absent') throw new Error(`${temporary} was taken away while it was put into place`);
  }
}

/**
 * Writes the brief into the ticket's folder by the rule of `TicketDriver.writeBrief`. `add` makes a document
 * that is not there yet and gives its path; what it wrote as the body is then replaced if need be. New
 * documents are added one at a time, so that no number and no title is given twice.
 */
export async function writeBriefInto(
  root: string,
  ticketFolder: string,
  brief: BriefDocument,
  knownHash: string | null,
  at: Date,
  add: () => Promise<string>,
): Promise<BriefWritten> {
  const found = await findDocument(ticketFolder, brief.title);
  if (found === null) {
    return withCreationLock(root, brief.ticketId, async () => {
      const path = (await findDocument(ticketFolder, brief.title))?.path ?? (await add());
      return { ...(await replaceBody(path, brief.body, null)), result: 'written' };
    });
  }
  await clearCreationLock(root, brief.ticketId);
  removeLeftovers(dirname(found.path));
  if (hasBody(found.text, brief.body)) return { path: found.path, hash: found.hash, result: 'unchanged' };
  // Without a recorded hash it is our own, left by a crash before its body or the record was written:
  // nobody else writes a document of this run's name.
  if (knownHash !== null && found.hash !== knownHash) {
    return { path: found.path, hash: knownHash, result: 'kept' };
  }
  return { ...(await replaceBody(found.path, brief.body, at)), result: 'written' };
}

/** Everything after the frontmatter becomes the body; `LastUpdated` is set where a time is given. */
async function replaceBody(
  path: string,
  body: string,
  at: Date | null,
): Promise<{ readonly path: string; readonly hash: string }> {
  const text = await readText(path);
  const split = splitDocument(text);
  if (split === null) throw unreadable(path, 'has no frontmatter');
  const head = at === null ? split.head : setFrontmatterValue(split.head, 'LastUpdated', at.toISOString());
  const whole = `${withLineEnd(head)}\n${withLineEnd(body)}`;
  if (whole !== text) await writeAtomic(path, whole);
  return { path, hash: sha256(whole) };
}

function hasBody(text: string, body: string): boolean {
  const split = splitDocument(text);
  return split !== null && split.body.replace(/^\r?\n/, '') === withLineEnd(body);
}

/** The `Status` of the ticket's index.md, or null where it has none. */
export async function readStatus(ticketFolder: string): Promise<string | null> {
  const split = splitDocument(await readText(join(ticketFolder, 'index.md')));
  return split === null ? null : topLevelScalar(split.frontmatter, 'Status');
}

/** Sets the `Status` of the ticket's index.md. */
export async function writeStatus(ticketFolder: string, status: string, at: Date): Promise<void> {
  const path = join(ticketFolder, 'index.md');
  const text = await readText(path);
  const changed = setFrontmatterValue(text, 'Status', yamlScalar(status));
  if (changed !== text) {
    await writeAtomic(path, setFrontmatterValue(changed, 'LastUpdated', at.toISOString()));
  }
}

/** An entry as it stands in a changelog: safe to print, no headings that would begin another entry. */
export function changelogText(entry: string): string {
  const text = safeText(entry)
    .trim()
    .replace(/^(#{1,2} )/gm, '\\$1');
  if (text === '') throw new Error('a changelog entry must not be empty');
  return text;
}

/** Whether the changelog has exactly this entry. */
export async function hasEntry(ticketFolder: string, entry: string): Promise<boolean> {
  const path = join(ticketFolder, 'changelog.md');
  const read = await readRegular(path, MAX_BYTES);
  if (read.kind === 'absent') return false;
  if (read.kind === 'problem') throw unreadable(path, read.reason);
  const entries = read.bytes
    .toString('utf8')
    .replaceAll('\r\n', '\n')
    .split(/^## .*$/m)
    .slice(1);
  return entries.some((text) => text.trim() === entry);
}

/** Appends an entry to the changelog, which is made where it is missing. */
export async function appendEntry(ticketFolder: string, entry: string, at: Date): Promise<void> {
  const path = join(ticketFolder, 'changelog.md');
  const handle = await open(
    path,
    constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW,
  );
  try {
    const { size } = await handle.stat();
    const last = Buffer.alloc(1);
    if (size > 0) await handle.read(last, 0, 1, size - 1);
    const before = size === 0 ? '# Changelog\n' : last.toString() === '\n' ? '' : '\n';
    // One write at the end: what others append meanwhile stays.
    await handle.writeFile(`${before}\n## ${localDate(at)}\n\n${entry}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function readText(path: string): Promise<string> {
  const read = await readRegular(path, MAX_BYTES);
  if (read.kind === 'file') return read.bytes.toString('utf8');
  throw unreadable(path, read.kind === 'absent' ? 'is not there' : read.reason);
}

function unreadable(path: string, reason: string): TicketProblem {
  return new TicketProblem(
    'ticket_unreadable',
    `${path} ${reason}`,
    'repair it, or move it out of the ticket tree',
  );
}
