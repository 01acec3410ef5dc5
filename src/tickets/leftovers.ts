/** What a crash leaves in the ticket tree until somebody writes there again. */
import { join } from 'node:path';
import { removeLeftovers } from '../tools/temporary.js';
import { clearCreationLock } from './lock.js';
import { findTicketFolder } from './scan.js';

/** Takes away what the dead left of the making of a ticket and of writing into it; nothing of the living. */
export async function clearTicketLeftovers(root: string, id: string): Promise<void> {
  await clearCreationLock(root, id);
  let folder: string | null = null;
  try {
    folder = findTicketFolder(root, id);
  } catch {
    // Two folders of one ticket are for an operator to sort out, at another time.
  }
  if (folder === null) return;
  for (const place of [folder, join(folder, 'reference')]) removeLeftovers(place);
}
