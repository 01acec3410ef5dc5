/**
 * Locks that name their owner. A lock is a row, so a crash leaves it behind; it is taken over only from an
 * owner that is provably dead. Waiting holds no transaction.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Liveness, ProcessIdentity } from '../tools/process.js';
import type { StateContext } from './context.js';
import type { Row } from './database.js';
import { appendEvent } from './journal.js';
import { insertRow } from './rows.js';

/** Who takes locks: one process, named for good by its pid and start time on one boot of one host. */
export interface LockOwner extends Required<ProcessIdentity> {
  /** What it does, such as `apply manifests/a.yaml`; never a secret. */
  readonly command: string;
}

/** The owner of a lock, and since when it is: milliseconds since the epoch. */
export type LockHolder = LockOwner & { readonly takenAt: number };

/** Whether the process that an identity names lives; `unknown` is never taken over. */
export type Probe = (identity: ProcessIdentity) => Liveness;

/** A run by its id, or a repository by its common dir. */
export type LockName = `run:${string}` | `repo:${string}`;

export interface LockWait {
  /** How long to wait for it, in milliseconds; 0: try once. */
  readonly timeoutMs: number;
  /** Ends the waiting: the signal's reason is thrown. */
  readonly signal?: AbortSignal;
}

/** A lock that this process holds. */
export interface Lock {
  readonly name: LockName;
  /** Gives it back; only the own row is ever deleted. Twice is fine. */
  release(): Promise<void>;
}

/** Somebody else holds the lock and kept it for as long as was waited. */
export class LockHeld extends Error {
  override readonly name = 'LockHeld';
  readonly code = 'locked';
  readonly hint: string;

  constructor(
    readonly lock: LockName,
    readonly owner: LockHolder,
    /** Why it was not taken over: it lives, or that could not be found out. */
    readonly liveness: 'alive' | 'unknown',
  ) {
    const since = new Date(owner.takenAt).toISOString();
    super(
      `${inWords(lock)} is held by process ${owner.pid} on ${owner.host} (metawsm ${owner.command}) since ${since}`,
    );
    this.hint =
      liveness === 'alive'
        ? 'Wait until it is done and try again, or wait longer with --lock-timeout.'
        : `Whether that process still lives cannot be seen from here: look on ${owner.host}, then try again.`;
  }
}

export class Locks {
  constructor(
    private readonly context: StateContext,
    private readonly self: LockOwner,
    private readonly probe: Probe,
  ) {}

  /** Takes a lock, or throws `LockHeld` after the time. Not re-entrant: a second taking waits for the first. */
  async acquire(name: LockName, { timeoutMs, signal }: LockWait): Promise<Lock> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      signal?.throwIfAborted();
      const nonce = randomUUID();
      if (await this.#insert(name, nonce)) return this.#held(name, nonce);
      const row = await this.context.db.get('SELECT * FROM locks WHERE name = ?', [name]);
      if (row === undefined) continue;
      const owner = ownerOf(row);
      const liveness = this.probe(owner);
      if (liveness === 'dead') {
        if (await this.#takeOver(name, nonce, row)) return this.#held(name, nonce);
        continue;
      }
      const left = deadline - performance.now();
      if (left <= 0) throw new LockHeld(name, owner, liveness);
      // Jitter: those who wait for one lock do not all come at once.
      await sleep(Math.min(left, 40 + Math.random() * 80), undefined, { ...(signal && { signal }) });
    }
  }

  /** Who holds a lock, unless that owner is provably dead. Changes nothing. */
  async owner(name: LockName): Promise<LockHolder | null> {
    const row = await this.context.db.get('SELECT * FROM locks WHERE name = ?', [name]);
    if (row === undefined) return null;
    const owner = ownerOf(row);
    return this.probe(owner) === 'dead' ? null : owner;
  }

  /** Takes a lock that nobody can hold yet. Inside of the transaction that makes what it protects. */
  async takeNew(name: LockName): Promise<Lock> {
    const nonce = randomUUID();
    await insertRow(this.context.db, 'locks', { name, nonce, ...this.#cells() });
    return this.#held(name, nonce);
  }

  async #insert(name: LockName, nonce: string): Promise<boolean> {
    const cells = Object.entries({ name, nonce, ...this.#cells() });
    const columns = cells.map(([column]) => column).join(', ');
    const places = cells.map(() => '?').join(', ');
    const sql = `INSERT INTO locks (${columns}) VALUES (${places}) ON CONFLICT (name) DO NOTHING`;
    return (
      (await this.context.db.run(
        sql,
        cells.map(([, value]) => value),
      )) === 1
    );
  }

  /** In one transaction with its event; only from the very taking that was seen to be dead. */
  async #takeOver(name: LockName, nonce: string, dead: Row): Promise<boolean> {
    const { db } = this.context;
    return db.transaction(async () => {
      const gone = await db.run('DELETE FROM locks WHERE name = ? AND nonce = ?', [name, dead.nonce ?? null]);
      if (gone === 0 || !(await this.#insert(name, nonce))) return false;
      const { pid, pidStart, host, bootId, command } = ownerOf(dead);
      // Whatever else it held, such as a repository's lock, goes with it: it may never be asked for again.
      await db.run('DELETE FROM locks WHERE pid = ? AND pid_start = ? AND host = ? AND boot_id = ?', [
        pid,
        pidStart,
        host,
        bootId,
      ]);
      const run = await db.get('SELECT id FROM runs WHERE id = ?', [name.replace(/^run:/, '')]);
      const runId = name.startsWith('run:') && run !== undefined ? String(run.id) : null;
      await appendEvent(this.context, runId, 'lock', { name, takenFrom: { pid, host, command } });
      return true;
    });
  }

  #held(name: LockName, nonce: string): Lock {
    const { db } = this.context;
    return {
      name,
      release: async () => {
        await db.run('DELETE FROM locks WHERE name = ? AND nonce = ?', [name, nonce]);
      },
    };
  }

  #cells() {
    const { pid, pidStart, host, bootId, command } = this.self;
    return { pid, pid_start: pidStart, host, boot_id: bootId, command, taken_at: this.context.now() };
  }
}

function ownerOf(row: Row): LockHolder {
  return {
    pid: Number(row.pid),
    pidStart: String(row.pid_start),
    host: String(row.host),
    bootId: String(row.boot_id),
    command: String(row.command),
    takenAt: Number(row.taken_at),
  };
}

function inWords(name: LockName): string {
  const rest = name.slice(name.indexOf(':') + 1);
  return name.startsWith('run:') ? `run ${rest}` : `the repository ${rest}`;
}
