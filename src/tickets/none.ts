import type { BriefWritten, TicketDriver } from './ticket.js';

/** No tickets are kept: there is nothing to find and nothing to close, and nothing must be made. */
export class NoTickets implements TicketDriver {
  readonly kind = 'none';

  async find(): Promise<null> {
    return null;
  }

  async create(): Promise<string> {
    throw new Error('the ticket driver "none" makes no tickets');
  }

  async findBrief(): Promise<null> {
    return null;
  }

  async writeBrief(): Promise<BriefWritten> {
    throw new Error('the ticket driver "none" writes no documents');
  }

  async addChangelog(): Promise<'unchanged'> {
    return 'unchanged';
  }

  async close(): Promise<'unchanged'> {
    return 'unchanged';
  }
}
