/**
 * Names of what is being made beside its place: each names the process that makes it, so that what a crash
 * left can be told from the work of somebody who lives. The session wrapper loads this file.
 */
import { readdirSync, readlinkSync, unlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { probe, processStart } from './process.js';

const WRITER = /(?:^|\.)([A-Za-z0-9_]+-[0-9]+)-([0-9]+)-([A-Za-z0-9_]+)-[0-9a-z]+(?:\.tmp)?$/;

let place: string | undefined;
let start: string | undefined;
let count = 0;

/** A name for this process and this call alone. */
export function writerName(): string {
  start ??= plain(processStart(process.pid) ?? '0');
  count += 1;
  return `${here()}-${process.pid}-${start}-${count.toString(36)}${process.hrtime.bigint().toString(36)}`;
}

/** A name beside a file for its next content. It begins with a dot and ends in `.tmp`. */
export function temporaryName(file: string): string {
  const cut = file.lastIndexOf('/') + 1;
  return `${file.slice(0, cut)}${prefixOf(file.slice(cut))}${writerName()}.tmp`;
}

/**
 * Whether a name is that of a process that lives no more. `unknown` for names that say nothing, and where the
 * process cannot be looked for from here (another machine, another container).
 */
export function writerOf(name: string): 'alive' | 'dead' | 'unknown' {
  const [, where, pid, began] = WRITER.exec(name) ?? [];
  if (where === undefined || pid === undefined || began === undefined || where !== here()) return 'unknown';
  const now = processStart(Number(pid));
  if (now !== null) return plain(now) === began ? 'alive' : 'dead';
  return probe({ pid: Number(pid), pidStart: '' });
}

/** Whether a name is one that `temporaryName` gives. */
export function isTemporary(name: string): boolean {
  return name.startsWith('.') && name.endsWith('.tmp') && WRITER.test(name);
}

/** Removes temporary files in a folder that a crash left: those beside `file`, by default all. */
export function removeLeftovers(folder: string, file = ''): void {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return;
  }
  const prefix = file === '' ? '.' : prefixOf(file);
  for (const name of names) {
    if (!name.startsWith(prefix) || !isTemporary(name) || writerOf(name) !== 'dead') continue;
    try {
      unlinkSync(join(folder, name));
    } catch {
      // Somebody else removes it, too; or it is a folder, which is nobody's temporary file.
    }
  }
}

function prefixOf(file: string): string {
  return `.${file.slice(0, 80)}.`;
}

/** The machine, and on Linux which processes of it can be seen: in a container a pid means another process. */
function here(): string {
  place ??= `${plain(hostname()).slice(0, 30) || 'host'}-${namespaceOf()}`;
  return place;
}

function namespaceOf(): string {
  try {
    return /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? '0';
  } catch {
    return '0';
  }
}

function plain(text: string): string {
  return text.replace(/[^A-Za-z0-9]/g, '_');
}
