/** Tickets as folders in docmgr's layout, without docmgr. */
import { lstat, mkdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ensureRealFolder, writeAtomic } from '../tools/files.js';
import {
  addDocument,
  appendEntry,
  changelogText,
  findDocument,
  hasEntry,
  readStatus,
  writeBriefInto,
  writeStatus,
} from './documents.js';
import { renderDocument, requireTicketId, TICKET_FOLDERS, ticketFiles, ticketFolderPath } from './layout.js';
import { withCreationLock } from './lock.js';
import { findTicketFolder } from './scan.js';
import {
  type BriefDocument,
  type BriefWritten,
  type TicketDriver,
  TicketProblem,
  type TicketRef,
} from './ticket.js';

export class FilesTickets implements TicketDriver {
  readonly kind = 'files';

  /** `root` is absolute; it is made when the first ticket is. */
  constructor(private readonly root: string) {}

  async find(id: string): Promise<string | null> {
    return findTicketFolder(this.root, id);
  }

  async create(ticket: TicketRef, at: Date): Promise<string> {
    requireTicketId(ticket.id);
    const found = findTicketFolder(this.root, ticket.id);
    if (found !== null) return found;
    return withCreationLock(this.root, ticket.id, async (buildFolder) => {
      // Somebody may have made it while we waited.
      const made = findTicketFolder(this.root, ticket.id);
      if (made !== null) return made;
      await fill(buildFolder, ticket, at);
      return this.place(buildFolder, ticket, at);
    });
  }

  /** Gives the built folder its name: from that moment on it is a ticket. */
  private async place(buildFolder: string, ticket: TicketRef, at: Date): Promise<string> {
    const target = join(this.root, ticketFolderPath(ticket, at));
    await ensureRealFolder(dirname(target), { below: this.root });
    try {
      await rename(buildFolder, target);
    } catch (error) {
      if (!['ENOTEMPTY', 'EEXIST', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? ''))
        throw error;
      await requireUnfinished(target, ticket.id);
      await fill(target, ticket, at);
    }
    return target;
  }

  async findBrief(
    id: string,
    title: string,
  ): Promise<{ readonly path: string; readonly hash: string } | null> {
    const folder = findTicketFolder(this.root, id);
    const found = folder === null ? null : await findDocument(folder, title);
    return found === null ? null : { path: found.path, hash: found.hash };
  }

  async writeBrief(brief: BriefDocument, knownHash: string | null, at: Date): Promise<BriefWritten> {
    const folder = this.require(brief.ticketId);
    const head = {
      title: brief.title,
      ticket: brief.ticketId,
      topics: brief.topics,
      docType: 'reference',
    } as const;
    return writeBriefInto(this.root, folder, brief, knownHash, at, () =>
      addDocument(folder, brief.title, renderDocument(head, brief.body, at)),
    );
  }

  async addChangelog(id: string, entry: string, at: Date): Promise<'added' | 'unchanged'> {
    const folder = this.require(id);
    const text = changelogText(entry);
    if (await hasEntry(folder, text)) return 'unchanged';
    await appendEntry(folder, text, at);
    return 'added';
  }

  async close(id: string, entry: string, at: Date): Promise<'closed' | 'unchanged'> {
    const folder = this.require(id);
    // The status last: a ticket that is complete has its entry.
    const added = await this.addChangelog(id, entry, at);
    const complete = (await readStatus(folder)) === 'complete';
    if (!complete) await writeStatus(folder, 'complete', at);
    return complete && added === 'unchanged' ? 'unchanged' : 'closed';
  }

  private require(id: string): string {
    const folder = findTicketFolder(this.root, id);
    if (folder !== null) return folder;
    throw missingTicket(id, this.root);
  }
}

export function missingTicket(id: string, root: string): TicketProblem {
  return new TicketProblem(
    'ticket_missing',
    `there is no ticket ${id} in ${root}`,
    'run metawsm apply, which makes it',
  );
}

/** Writes what a ticket's folder lacks; index.md comes last, since with it the folder is a ticket. */
async function fill(folder: string, ticket: TicketRef, at: Date): Promise<void> {
  for (const name of TICKET_FOLDERS) {
    await mkdir(join(folder, name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
  }
  for (const [name, text] of ticketFiles(ticket, at)) {
    const path = join(folder, name);
    if (!(await exists(path))) await writeAtomic(path, text);
  }
}

/** A folder of the ticket's own name may be there half-made, by hand or by another program; nothing else may. */
async function requireUnfinished(target: string, id: string): Promise<void> {
  const folder = await lstat(target);
  if (folder.isDirectory() && !(await exists(join(target, 'index.md')))) return;
  throw new TicketProblem(
    'ticket_in_the_way',
    `the folder of ticket ${id} cannot be made: ${target} is something else`,
    'move it away',
  );
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false;
      throw error;
    },
  );
}
