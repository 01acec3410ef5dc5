/**
 * Tickets through the docmgr program. Its exit codes say little (an unknown ticket is exit 0, a second
 * folder of the same ticket too), so each effect is looked for before and after.
 */
import { lstat } from 'node:fs/promises';
import { isAbsolute, relative, resolve, sep } from 'node:path';
import type { Docmgr } from '../tools/docmgr.js';
import { changelogText, findDocument, hasEntry, readStatus, writeBriefInto } from './documents.js';
import { missingTicket } from './files.js';
import { oneLine } from './frontmatter.js';
import { requireTicketId } from './layout.js';
import { withCreationLock } from './lock.js';
import { ambiguous } from './scan.js';
import type { BriefDocument, BriefWritten, TicketDriver, TicketRef } from './ticket.js';

export class DocmgrTickets implements TicketDriver {
  readonly kind = 'docmgr';

  constructor(private readonly docmgr: Docmgr) {}

  async find(id: string): Promise<string | null> {
    const rows = (await this.docmgr.listTickets()).filter((row) => row.ticket === id);
    const folders = rows.map((row) => this.inside(String(row.path ?? ''), ['list', 'tickets']));
    const distinct = [...new Set(folders)];
    if (distinct.length > 1) throw ambiguous(id, distinct);
    const folder = distinct[0] ?? null;
    if (folder !== null && !(await isFolder(folder))) {
      throw this.docmgr.failure(['list', 'tickets'], `names ${folder} for ticket ${id}, which is no folder`);
    }
    return folder;
  }

  async create(ticket: TicketRef, _at: Date): Promise<string> {
    requireTicketId(ticket.id);
    const found = await this.find(ticket.id);
    if (found !== null) return found;
    // Two at once would make two folders, and the ticket unusable.
    return withCreationLock(this.docmgr.root, ticket.id, async () => {
      const made = await this.find(ticket.id);
      if (made !== null) return made;
      await this.docmgr.createTicket(
        ticket.id,
        oneLine(ticket.title) || ticket.id,
        ticket.topics.map(oneLine),
      );
      const folder = await this.find(ticket.id);
      if (folder !== null) return folder;
      throw this.docmgr.failure(
        ['ticket', 'create-ticket', '--ticket', ticket.id],
        'exit 0, but the ticket is not listed afterwards',
      );
    });
  }

  async findBrief(
    id: string,
    title: string,
  ): Promise<{ readonly path: string; readonly hash: string } | null> {
    const folder = await this.find(id);
    const found = folder === null ? null : await findDocument(folder, title);
    return found === null ? null : { path: found.path, hash: found.hash };
  }

  async writeBrief(brief: BriefDocument, knownHash: string | null, at: Date): Promise<BriefWritten> {
    const folder = await this.require(brief.ticketId);
    return writeBriefInto(this.docmgr.root, folder, brief, knownHash, at, async () => {
      await this.docmgr.addDocument(brief.ticketId, 'reference', oneLine(brief.title));
      const added = await findDocument(folder, brief.title);
      if (added !== null) return added.path;
      throw this.docmgr.failure(
        ['doc', 'add', '--ticket', brief.ticketId, '--title', brief.title],
        `exit 0, but ${folder}/reference has no document of that title`,
      );
    });
  }

  async addChangelog(id: string, entry: string, _at: Date): Promise<'added' | 'unchanged'> {
    const folder = await this.require(id);
    const text = changelogText(entry);
    if (await hasEntry(folder, text)) return 'unchanged';
    await this.docmgr.updateChangelog(id, text);
    await this.requireEntry(folder, id, text, ['changelog', 'update']);
    return 'added';
  }

  async close(id: string, entry: string, at: Date): Promise<'closed' | 'unchanged'> {
    const folder = await this.require(id);
    const text = changelogText(entry);
    if ((await readStatus(folder)) === 'complete') {
      // Closing again would append a second entry; a crash between status and entry left it out.
      return (await this.addChangelog(id, entry, at)) === 'added' ? 'closed' : 'unchanged';
    }
    await this.docmgr.closeTicket(id, text);
    if ((await readStatus(folder)) !== 'complete') {
      throw this.docmgr.failure(
        ['ticket', 'close', '--ticket', id],
        'exit 0, but the ticket is not complete afterwards',
      );
    }
    await this.requireEntry(folder, id, text, ['ticket', 'close']);
    return 'closed';
  }

  private async require(id: string): Promise<string> {
    const folder = await this.find(id);
    if (folder !== null) return folder;
    throw missingTicket(id, this.docmgr.root);
  }

  private async requireEntry(
    folder: string,
    id: string,
    text: string,
    command: readonly string[],
  ): Promise<void> {
    if (await hasEntry(folder, text)) return;
    throw this.docmgr.failure(
      [...command, '--ticket', id],
      `exit 0, but ${folder}/changelog.md lacks the entry afterwards`,
    );
  }

  /** A path that docmgr printed, absolute; it must lie in the tree. */
  private inside(path: string, command: readonly string[]): string {
    const folder = resolve(this.docmgr.root, path);
    const way = relative(this.docmgr.root, folder);
    if (way === '' || way === '..' || way.startsWith(`..${sep}`) || isAbsolute(way)) {
      throw this.docmgr.failure(command, `names a ticket folder outside the tickets root: ${folder}`);
    }
    return folder;
  }
}

async function isFolder(path: string): Promise<boolean> {
  return lstat(path).then(
    (stats) => stats.isDirectory(),
    () => false,
  );
}
