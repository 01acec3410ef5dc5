/** What a ticket folder looks like: docmgr's layout, so that docmgr accepts what metawsm writes without it. */
import { oneLine, yamlList, yamlScalar } from './frontmatter.js';
import { TicketProblem, type TicketRef } from './ticket.js';

/** The empty folders of a ticket. */
export const TICKET_FOLDERS = [
  'design',
  'reference',
  'playbooks',
  'scripts',
  'sources',
  '.meta',
  'various',
  'archive',
] as const;

/** Lower case, every run of characters outside `[a-z0-9]` one `-`, trimmed. */
export function slugify(text: string): string {
  const slug = text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');
  return slug === '' ? 'document' : slug;
}

/** Longest slug: names have at most 255 bytes, and the ticket's id stands before it. */
const SLUG_LIMIT = 120;

/** Slug of a ticket's folder: of its title without the ticket's id at its head. */
export function ticketSlug(ticket: Pick<TicketRef, 'id' | 'title'>): string {
  const title = ticket.title.trim();
  const after = title.slice(ticket.id.length);
  // "ABC-12 …" is not headed by ABC-1.
  const headed =
    title.slice(0, ticket.id.length).toLowerCase() === ticket.id.toLowerCase() && !/^[A-Za-z0-9]/.test(after);
  const rest = headed ? after.replace(/^[\s\-–—:_]+/, '') : title;
  return shortened(slugify(rest === '' ? ticket.id : rest));
}

/** File name of a document without its number. */
export function documentSlug(title: string): string {
  // A number at the head would be taken for the document's own.
  return shortened(slugify(title).replace(/^\d{2,3}-(?=.)/, ''));
}

function shortened(slug: string): string {
  return slug.slice(0, SLUG_LIMIT).replace(/-$/, '');
}

/** Number of the next document: one more than the highest among the file names of its folder. */
export function nextNumber(names: readonly string[]): number {
  const numbers = names.map((name) => /^(\d{2,3})-.*\.md$/.exec(name)?.[1]).map(Number);
  return Math.max(0, ...numbers.filter((number) => !Number.isNaN(number))) + 1;
}

/** `07-title.md`; three digits from 100. */
export function documentName(number: number, title: string): string {
  return `${String(number).padStart(2, '0')}-${documentSlug(title)}.md`;
}

/** `YYYY-MM-DD` on this machine's calendar, which is the one docmgr goes by. */
export function localDate(at: Date): string {
  const [year, month, day] = [at.getFullYear(), at.getMonth() + 1, at.getDate()];
  return [String(year).padStart(4, '0'), ...[month, day].map((part) => String(part).padStart(2, '0'))].join(
    '-',
  );
}

/** Path of a new ticket's folder below the root, with `/`. */
export function ticketFolderPath(ticket: Pick<TicketRef, 'id' | 'title'>, at: Date): string {
  return `${localDate(at).replaceAll('-', '/')}/${ticket.id}--${ticketSlug(ticket)}`;
}

/** An id becomes part of a path: refuses what the manifest's schema refuses. */
export function requireTicketId(id: string): void {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(id) && !id.includes('..')) return;
  throw new TicketProblem(
    'ticket_id',
    `${JSON.stringify(id)} is no ticket id`,
    'use letters, digits, ".", "_" and "-", at most 64, beginning with a letter or digit',
  );
}

interface DocumentHead {
  readonly title: string;
  readonly ticket: string;
  readonly topics: readonly string[];
  readonly docType: 'index' | 'reference';
}

/** A whole document: frontmatter with docmgr's keys in docmgr's order, a blank line, the body. */
export function renderDocument(head: DocumentHead, body: string, at: Date): string {
  return `---
Title: ${yamlScalar(head.title)}
Ticket: ${yamlScalar(head.ticket)}
Status: active
Topics:${yamlList(head.topics)}
DocType: ${head.docType}
Intent: long-term
Owners: []
RelatedFiles: []
ExternalSources: []
Summary: ""
LastUpdated: ${at.toISOString()}
WhatFor: ""
WhenToUse: ""
---

${withLineEnd(body)}`;
}

export function withLineEnd(text: string): string {
  return text.endsWith('\n') ? text : `${text}\n`;
}

/** The files of a new ticket in the order they are written: index.md, which makes it a ticket, last. */
export function ticketFiles(ticket: TicketRef, at: Date): readonly (readonly [name: string, text: string])[] {
  const title = oneLine(ticket.title) || ticket.id;
  return [
    ['README.md', readme(ticket.id, title)],
    ['tasks.md', '# Tasks\n\n## TODO\n\n- [ ] Add tasks here\n'],
    ['changelog.md', `# Changelog\n\n## ${localDate(at)}\n\n- Initial workspace created\n`],
    [
      'index.md',
      renderDocument(
        { title, ticket: ticket.id, topics: ticket.topics, docType: 'index' },
        `# ${title}\n\nDocument workspace for ${ticket.id}.\n`,
        at,
      ),
    ],
  ];
}

function readme(id: string, title: string): string {
  return `# ${title}

This is the document workspace of ticket ${id}.

## Structure

- **design/**: design documents and architecture notes
- **reference/**: reference documents, among them the brief of every run
- **playbooks/**: operational procedures
- **scripts/**: scripts of use for this ticket
- **sources/**: imported documents
- **various/**: working notes
- **archive/**: what is no longer valid

Open work is in \`tasks.md\`, what was done in \`changelog.md\`.
`;
}
