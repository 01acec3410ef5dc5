/** Where tickets are kept. One interface, one file per driver; only `index.ts` knows the drivers. */

export interface TicketRef {
  readonly id: string;
  readonly title: string;
  readonly topics: readonly string[];
}

export interface TicketDriver {
  readonly kind: 'files' | 'docmgr' | 'none';
  /** The folder of the ticket with exactly this id, or null. Looks only. */
  find(id: string): Promise<string | null>;
  /** Create the ticket when it is missing. Returns its folder. */
  create(ticket: TicketRef, at: Date): Promise<string>;
  /** The run's brief among the ticket's documents, found by its title, with the hash of its whole text; or null. Looks only. */
  findBrief(id: string, title: string): Promise<{ readonly path: string; readonly hash: string } | null>;
  /**
   * Write the brief as a `reference` document, new or over the old one.
   * `knownHash` is the hash of what metawsm last wrote: a document that differs was edited by a person and is kept.
   */
  writeBrief(brief: BriefDocument, knownHash: string | null, at: Date): Promise<BriefWritten>;
  /** Append an entry to the ticket's changelog, unless the very same entry is there already. */
  addChangelog(id: string, entry: string, at: Date): Promise<'added' | 'unchanged'>;
  /** Set the ticket's status to `complete` and add the entry; each only where it is not so already. */
  close(id: string, entry: string, at: Date): Promise<'closed' | 'unchanged'>;
}

/** Something is wrong in the ticket tree that only a person can put right. */
export class TicketProblem extends Error {
  override readonly name = 'TicketProblem';

  constructor(
    readonly code:
      | 'ticket_ambiguous'
      | 'ticket_unreadable'
      | 'ticket_missing'
      | 'ticket_in_the_way'
      | 'ticket_id',
    message: string,
    /** What to do about it. */
    readonly hint: string,
  ) {
    super(message);
  }
}

export interface BriefDocument {
  readonly ticketId: string;
  readonly title: string;
  readonly topics: readonly string[];
  /** Markdown, without frontmatter. */
  readonly body: string;
}

export interface BriefWritten {
  readonly path: string;
  /**
   * Hash of the whole document as metawsm last wrote it. For `kept` that is the `knownHash` passed in, so
   * that recording it never makes a person's text look like metawsm's own.
   */
  readonly hash: string;
  /** `kept`: a person had edited it. */
  readonly result: 'written' | 'unchanged' | 'kept';
}
