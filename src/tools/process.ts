/**
 * Processes, named so that a recycled pid is never taken for the old process: pid and start time, on one
 * host, within one boot. The session wrapper starts with this file, so it imports nothing but node's own.
 */
import { execFileSync } from 'node:child_process';
import { accessSync, constants, readdirSync, readFileSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** Names one process for good. Without `host` or `bootId` this host and this boot are meant. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Start time as the system gives it, an opaque text; empty where it could not be read. */
  readonly pidStart: string;
  readonly host?: string;
  readonly bootId?: string;
}

/** `unknown`: the probe could not be made, which is never the same as dead. */
export type Liveness = 'alive' | 'dead' | 'unknown';

/** Who the running process is. */
export function selfIdentity(): Required<ProcessIdentity> {
  return {
    pid: process.pid,
    pidStart: processStart(process.pid) ?? '',
    host: hostname(),
    bootId: bootId(),
  };
}

/** Start time of a process (a zombie still has one), or null where there is none or it cannot be read. */
export function processStart(pid: number): string | null {
  const entry = readProcess(pid);
  return typeof entry === 'string' ? null : entry.start;
}

let knownBootId: string | undefined;

/** Changes with each start of the machine. Empty where the system does not tell. */
export function bootId(): string {
  knownBootId ??= readBootId();
  return knownBootId;
}

function readBootId(): string {
  try {
    if (process.platform === 'linux') {
      return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    }
    const time = execFileSync('sysctl', ['-n', 'kern.boottime'], { encoding: 'utf8', stdio: 'pipe' });
    return /sec = (\d+)/.exec(time)?.[1] ?? '';
  } catch {
    return '';
  }
}

/**
 * Whether exactly this process lives. A zombie is dead, so is a pid that another process has by now and any
 * process of an earlier boot. Another host, or a look that was not allowed, is unknown.
 */
export function probe(identity: ProcessIdentity): Liveness {
  if (identity.host !== undefined && identity.host !== '' && identity.host !== hostname()) return 'unknown';
  if (isEarlierBoot(identity)) return 'dead';
  if (!isPid(identity.pid)) return 'unknown';
  const entry = readProcess(identity.pid);
  if (entry === 'absent') return 'dead';
  if (entry === 'unreadable') return 'unknown';
  if (isOver(entry)) return 'dead';
  if (identity.pidStart === '') return 'unknown';
  return entry.start === identity.pidStart ? 'alive' : 'dead';
}

/** Whether the machine was started anew since. False where that cannot be told. */
export function isEarlierBoot(identity: { readonly bootId?: string; readonly host?: string }): boolean {
  if (identity.host !== undefined && identity.host !== '' && identity.host !== hostname()) return false;
  if (identity.bootId === undefined || identity.bootId === '') return false;
  return bootId() !== '' && identity.bootId !== bootId();
}

export interface TerminateOptions {
  /** How long SIGTERM may take before SIGKILL follows, in milliseconds. */
  readonly graceMs: number;
  /** Leaders of sessions that belong to the tree as a whole, dead or alive. */
  readonly sessions?: readonly ProcessIdentity[];
  /**
   * `NAME=value` entries that the environment of every process of the tree has. Only with them are processes
   * found that made a session of their own and lost their parent (a server in the background), or whose session
   * leader is gone: the leader's pid alone could be another session's by now.
   */
  readonly mark?: readonly string[];
  /** Never signalled, though they belong. */
  readonly spare?: readonly number[];
}

/** After SIGKILL only a process that hangs in the kernel is still there. */
const KILL_WAIT_MS = 3_000;

/**
 * Ends a process with all that it started: its descendants, whoever shares its process group or session, and
 * whoever bears the mark.
 * SIGTERM to all that are there now, SIGKILL after the grace to all that are left; what a process starts in
 * its own clean-up gets the grace, too. Each is signalled only while it is still the process that was found.
 * Gives the pids that could not be ended; none when there was nothing to end. Throws for another host.
 */
export async function terminateTree(root: ProcessIdentity, options: TerminateOptions): Promise<number[]> {
  if (root.host !== undefined && root.host !== '' && root.host !== hostname()) {
    throw new Error(`process ${root.pid} runs on host ${root.host}, this is ${hostname()}`);
  }
  if (isEarlierBoot(root)) return [];
  const collect = treeCollector(root, options);
  const end = performance.now() + options.graceMs;

  for (const member of collect()) {
    signal(member, 'SIGTERM');
    // A stopped process sees SIGTERM only when it goes on.
    signal(member, 'SIGCONT');
  }
  for (let wait = 5; ; wait = Math.min(wait * 2, 100)) {
    if (collect().length === 0) return [];
    const left = end - performance.now();
    if (left <= 0) break;
    await delay(Math.min(wait, left));
  }

  const last = performance.now() + KILL_WAIT_MS;
  for (let wait = 5; ; wait = Math.min(wait * 2, 100)) {
    const members = collect();
    if (members.length === 0) return [];
    if (performance.now() > last) return members.map((member) => member.pid);
    for (const member of members) signal(member, 'SIGKILL');
    await delay(wait);
  }
}

/** Each call of what it returns gives the live members of the tree; it remembers those it once found. */
function treeCollector(root: ProcessIdentity, options: TerminateOptions): () => ProcessEntry[] {
  const leaders = [root, ...(options.sessions ?? [])].filter((leader) => leader.pidStart !== '');
  const spare = new Set([process.pid, ...(options.spare ?? [])]);
  const trusted = new Set<number>();
  const found = new Map<number, string>();
  const marked = new Map<string, boolean>();
  const isMarked = ({ pid, start }: ProcessEntry): boolean => {
    const key = `${pid} ${start}`;
    const known = marked.get(key) ?? hasMark(pid, options.mark);
    marked.set(key, known);
    return known;
  };

  return () => {
    const table = processTable();
    const byPid = new Map(table.map((entry) => [entry.pid, entry]));
    const members = new Set<number>();
    for (const [pid, start] of found) if (byPid.get(pid)?.start === start) members.add(pid);
    if (root.pidStart !== '' && byPid.get(root.pid)?.start === root.pidStart) members.add(root.pid);

    for (const leader of leaders) {
      const holder = byPid.get(leader.pid);
      // Another process has the leader's pid: the system gives it out again only when the session is empty.
      if (holder !== undefined && holder.start !== leader.pidStart) continue;
      if (holder !== undefined) trusted.add(leader.pid);
      for (const entry of table) {
        const inGroup = leader === root && entry.group === leader.pid;
        if (!inGroup && entry.session !== leader.pid) continue;
        if (trusted.has(leader.pid)) members.add(entry.pid);
      }
    }
    for (const entry of table) if (isMarked(entry)) members.add(entry.pid);

    for (let size = -1; size !== members.size; ) {
      size = members.size;
      for (const entry of table) if (members.has(entry.parent)) members.add(entry.pid);
    }

    const live: ProcessEntry[] = [];
    for (const pid of members) {
      const entry = byPid.get(pid);
      if (entry === undefined || isOver(entry) || spare.has(pid) || pid <= 1) continue;
      found.set(pid, entry.start);
      live.push(entry);
    }
    return live;
  };
}

/** Signals a process if it is still the one with this start time. Being gone, or another's, is fine. */
function signal(identity: { pid: number; start: string }, name: NodeJS.Signals): void {
  if (!isPid(identity.pid) || processStart(identity.pid) !== identity.start) return;
  try {
    process.kill(identity.pid, name);
  } catch {
    // Gone meanwhile, or not ours: whoever asked looks again and sees who is left.
  }
}

function hasMark(pid: number, mark: readonly string[] | undefined): boolean {
  if (mark === undefined || mark.length === 0 || process.platform !== 'linux') return false;
  try {
    const entries = new Set(readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0'));
    return mark.every((entry) => entries.has(Buffer.from(entry).toString('latin1')));
  } catch {
    return false;
  }
}

/**
 * A command that begins when a line comes on its input, and never when that closes before: in between, its
 * process can be recorded, which is the same process from then on. The rest of the input is the command's.
 */
export function gated(argv: readonly string[]): string[] {
  return ['sh', '-c', 'read -r go && unset go && exec "$@"', 'sh', ...argv];
}

/**
 * First executable file of that name on the PATH of an environment, or null. A name with a slash is a path.
 * Spawns nothing.
 */
export function findProgram(name: string, env: NodeJS.ProcessEnv): string | null {
  if (name.includes('/')) return isExecutable(name) ? name : null;
  for (const folder of (env.PATH ?? '').split(':')) {
    // A relative entry means another program in every folder.
    if (!isAbsolute(folder)) continue;
    const file = join(folder, name);
    if (isExecutable(file)) return file;
  }
  return null;
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

interface ProcessEntry {
  readonly pid: number;
  readonly parent: number;
  readonly group: number;
  /** 0 where the system does not tell. */
  readonly session: number;
  /** One letter: R, S, D, T, Z, X … */
  readonly state: string;
  readonly start: string;
}

/** A zombie has ended, whether or not someone asks for its status: in containers often nobody does. */
function isOver(entry: ProcessEntry): boolean {
  return /^[ZXx]/.test(entry.state);
}

function isPid(pid: number): boolean {
  return Number.isSafeInteger(pid) && pid > 0;
}

function readProcess(pid: number): ProcessEntry | 'absent' | 'unreadable' {
  if (process.platform !== 'linux') {
    const entries = readPs(['-p', String(pid)]);
    if (entries === null) return signalZero(pid);
    return entries[0] ?? 'absent';
  }
  try {
    return parseStat(pid, readFileSync(`/proc/${pid}/stat`, 'latin1')) ?? 'unreadable';
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    // /proc may hide the processes of others, or not be mounted at all.
    return code === 'ENOENT' || code === 'ESRCH' ? signalZero(pid) : 'unreadable';
  }
}

function signalZero(pid: number): 'absent' | 'unreadable' {
  try {
    process.kill(pid, 0);
    return 'unreadable';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH' ? 'absent' : 'unreadable';
  }
}

function processTable(): ProcessEntry[] {
  if (process.platform !== 'linux') return readPs(['-A']) ?? [];
  const entries: ProcessEntry[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const entry = parseStat(Number(name), readFileSync(`/proc/${name}/stat`, 'latin1'));
      if (entry !== null) entries.push(entry);
    } catch {
      // Ended between the two looks, or hidden.
    }
  }
  return entries;
}

/** `pid (name) state ppid pgrp session …`; the name may hold spaces and parentheses, field 22 is the start. */
function parseStat(pid: number, text: string): ProcessEntry | null {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, parent, group, session] = fields;
  const start = fields[19];
  if (state === undefined || start === undefined) return null;
  return { pid, parent: Number(parent), group: Number(group), session: Number(session), state, start };
}

/** null: ps itself failed, other than by finding nothing. */
function readPs(selection: readonly string[]): ProcessEntry[] | null {
  const fields = ['-o', 'pid=', '-o', 'ppid=', '-o', 'pgid=', '-o', 'stat=', '-o', 'lstart='];
  try {
    const text = execFileSync('ps', [...selection, ...fields], {
      encoding: 'utf8',
      stdio: 'pipe',
      // The start time is compared as text: it must not depend on who asks.
      env: { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC' },
    });
    return text.split('\n').flatMap((line) => {
      const match = /^\s*(\d+)\s+(\d+)\s+(\d+)\s+(\S+)\s+(.*\S)/.exec(line);
      if (match === null) return [];
      const [, pid, parent, group, state = '', start = ''] = match;
      return [{ pid: Number(pid), parent: Number(parent), group: Number(group), session: 0, state, start }];
    });
  } catch (error) {
    return (error as { status?: unknown }).status === 1 ? [] : null;
  }
}
