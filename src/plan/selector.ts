/** What an operator types to name a run (PRODUCT §4, `<sel>`). */

/** Whether a word is a manifest's path rather than a run id or a ticket id. */
export function isManifestPath(selector: string): boolean {
  return selector.includes('/') || /\.ya?ml$/.test(selector);
}

/** The word that means a run: its ticket, or its id where the ticket means another run (`meant` is false) or a file. */
export function selectorFor(run: { readonly id: string; readonly ticketId: string }, meant: boolean): string {
  return meant && !isManifestPath(run.ticketId) ? run.ticketId : run.id;
}
