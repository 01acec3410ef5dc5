/** Finds tickets in a ticket tree by what their index.md says. */
import { closeSync, constants, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { splitDocument, topLevelScalar } from './frontmatter.js';
import { TicketProblem } from './ticket.js';

/** A frontmatter that is longer than this is none. */
const HEAD_BYTES = 64 * 1024;

/**
 * The folder `<root>/YYYY/MM/DD/*` whose index.md has exactly this `Ticket`, or null. Follows no links below
 * the root. Throws `TicketProblem` when there are several, or when a folder with the ticket's name has an
 * index.md that cannot be understood: a second one must not be made beside it.
 *
 * The calls are synchronous: a tree of thousands of tickets is looked through in the time of a few
 * hundred asynchronous ones.
 */
export function findTicketFolder(root: string, id: string): string | null {
  const found: string[] = [];
  const buffer = Buffer.alloc(HEAD_BYTES);
  for (const folder of ticketFolders(root)) {
    const index = join(folder, 'index.md');
    const head = readHead(index, buffer);
    if (head === null) continue;
    const named = isNamedFor(folder, id);
    if (!named && (head === 'unreadable' || !head.includes(id))) continue;
    const ticket = head === 'unreadable' ? null : ticketOf(head.toString('utf8'));
    if (ticket === id) found.push(folder);
    else if (named && (ticket === null || ticket === '')) {
      throw new TicketProblem(
        'ticket_unreadable',
        `${index} is the index of ticket ${id} by its folder's name, but its frontmatter has no readable Ticket`,
        `put "Ticket: ${id}" into its frontmatter, or move the folder away`,
      );
    }
  }
  if (found.length > 1) throw ambiguous(id, found);
  return found[0] ?? null;
}

export function ambiguous(id: string, folders: readonly string[]): TicketProblem {
  return new TicketProblem(
    'ticket_ambiguous',
    `ticket ${id} has ${folders.length} folders: ${folders.join(' and ')}`,
    'keep one of them: move the other out of the tree, or change the Ticket in its index.md',
  );
}

/** `ABC-1` and `ABC-1--slug` are named for ABC-1, `ABC-12--slug` is not. */
function isNamedFor(folder: string, id: string): boolean {
  const name = folder.slice(folder.lastIndexOf('/') + 1);
  return name === id || name.startsWith(`${id}--`);
}

function ticketOf(head: string): string | null {
  const split = splitDocument(head);
  return split === null ? null : (topLevelScalar(split.frontmatter, 'Ticket')?.trim() ?? null);
}

function* ticketFolders(root: string): Generator<string> {
  for (const year of folders(root, /^\d{4}$/)) {
    for (const month of folders(year, /^\d{2}$/)) {
      // docmgr leaves out folders that begin with `_`, and hidden ones hold no tickets.
      for (const day of folders(month, /^\d{2}$/)) yield* folders(day, /^[^._]/);
    }
  }
}

/** Real folders in a folder, in order of their names; none where it cannot be read because it is not there. */
function folders(parent: string, pattern: RegExp): string[] {
  try {
    return readdirSync(parent, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && pattern.test(entry.name))
      .map((entry) => join(parent, entry.name))
      .sort();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw error;
  }
}

/** The first bytes of a regular file, valid until the next call; null: there is none. */
function readHead(file: string, buffer: Buffer): Buffer | 'unreadable' | null {
  let fd: number;
  try {
    fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    return code === 'ENOENT' || code === 'ENOTDIR' ? null : 'unreadable';
  }
  try {
    if (!fstatSync(fd).isFile()) return 'unreadable';
    return buffer.subarray(0, readSync(fd, buffer, 0, buffer.length, 0));
  } catch {
    return 'unreadable';
  } finally {
    closeSync(fd);
  }
}
