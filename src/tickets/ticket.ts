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
  readonly hash: string;
  /** `kept`: a person had edited it. */
  readonly result: 'written' | 'unchanged' | 'kept';
}
