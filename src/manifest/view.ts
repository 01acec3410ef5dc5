/** Looks at a manifest's data that may be invalid: what is not of the right type counts as not there. */
import type { Path } from './diagnostic.js';

const TICKET_ID = /^(?!.*\.\.)(?!.*\.lock$)[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?$/;

/** A repo or an agent with its place; `name` is null where it has none that could be looked at. */
export interface Entry {
  readonly path: Path;
  readonly namePath: Path;
  readonly name: string | null;
  readonly fields: Record<string, unknown>;
}

/** The declared repos, also those in the short form. */
export function reposOf(manifest: Record<string, unknown>): Entry[] {
  return list(manifest.repos).map((repo, index) => {
    const path = ['repos', index];
    if (typeof repo === 'string') return { path, namePath: path, name: nameOf(repo), fields: {} };
    const fields = isMap(repo) ? repo : {};
    return { path, namePath: [...path, 'name'], name: nameOf(fields.name), fields };
  });
}

/** The agents of `agent` and `agents`. */
export function agentsOf(manifest: Record<string, unknown>): Entry[] {
  const places: Path[] = list(manifest.agents).map((_, index) => ['agents', index]);
  if (manifest.agent !== undefined) places.unshift(['agent']);
  return places.map((path) => {
    const agent = at(manifest, path);
    const fields = isMap(agent) ? agent : {};
    return { path, namePath: [...path, 'name'], name: nameOf(fields.name), fields };
  });
}

function nameOf(value: unknown): string | null {
  return typeof value === 'string' && value.trim() !== '' ? value : null;
}

/** The ticket's id; null where it has none that is valid. */
export function ticketId(manifest: Record<string, unknown>): string | null {
  const { ticket } = manifest;
  const id = isMap(ticket) ? ticket.id : ticket;
  return typeof id === 'string' && TICKET_ID.test(id) ? id : null;
}

/** The value at a place; undefined where there is none. */
export function at(value: unknown, path: Path): unknown {
  return path.reduce<unknown>(
    (current, part) =>
      typeof current === 'object' && current !== null
        ? (current as Record<string | number, unknown>)[part]
        : undefined,
    value,
  );
}

export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

export function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
