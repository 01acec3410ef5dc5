/** The ticket drivers. The one place that knows them all. */
import { Docmgr } from '../tools/docmgr.js';
import { DocmgrTickets } from './docmgr.js';
import { FilesTickets } from './files.js';
import { NoTickets } from './none.js';
import type { TicketDriver } from './ticket.js';

type Kind = TicketDriver['kind'];

const drivers = {
  files: (root) => new FilesTickets(root),
  docmgr: (root, env) => new DocmgrTickets(new Docmgr(root, env)),
  none: () => new NoTickets(),
} as const satisfies Record<Kind, (root: string, env: NodeJS.ProcessEnv) => TicketDriver>;

/**
 * The driver of a kind for the ticket tree at `root` (absolute; null only for `none`). `env` is the
 * environment in which docmgr is looked for and run.
 */
export function ticketDriver(
  kind: Kind,
  root: string | null,
  env: NodeJS.ProcessEnv = process.env,
): TicketDriver {
  if (root === null && kind !== 'none') throw new Error(`the ticket driver "${kind}" needs a tickets root`);
  return drivers[kind](root ?? '', env);
}
